/* SPDX-License-Identifier: MIT
 * follow_step.c: kd_train_step beside the reference's: the loss, the logits, the gradients before the
 * update and the weights after it, with those of a line's options that it reads. */
#include "follow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 6, K = 7, PIXELS = 8 * 8 * 3 };

static const double tolerance = 5e-6;

/* Members that kd_train_step reads; the others stay zero. */
static void take(kd_option_of of, void *to, const void *from)
{
    static const size_t sizes[] = {
        [KD_OPTION_FLAG] = sizeof(int),      [KD_OPTION_COUNT] = sizeof(size_t),
        [KD_OPTION_PIECES] = sizeof(size_t), [KD_OPTION_U64] = sizeof(uint64_t),
        [KD_OPTION_FLOAT] = sizeof(float),   [KD_OPTION_DOUBLE] = sizeof(double),
        [KD_OPTION_CHOICE] = sizeof(int),    [KD_OPTION_TEXT] = sizeof(char *)};
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++)
        if (o->of == of && (o->flags & KD_READ_BY_STEP))
            memcpy((char *)to + o->offset, (const char *)from + o->offset, sizes[o->type]);
}

static void compare(const follow_line *line, const char *what, const float *got, const double *want,
                    size_t n, double scale)
{
    double largest = .01, off = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(scale * want[i]));
        const double d = fabs((double)got[i] - scale * want[i]);
        off = d <= off ? off : d; /* NaN stays */
    }
    ck_assert_msg(off / largest <= tolerance, "%s: a step's %s is off by %.1e", line->name, what,
                  off / largest);
}

/* The arrays of the model, or of its flat gradients, beside the reference's. */
static void compare_arrays(const follow_line *line, kd_model *m, const ref_net *net,
                           const float *grads)
{
    const kd_params *p = kd_model_params(m);
    for (size_t i = 0; i < net->n; i++) {
        const ref_array *a = &net->arrays[i];
        const kd_param_info *info = kd_params_find(p, a->name);
        if (info->dtype != KD_F32 || (grads && info->buffer)) continue;
        if (!follow_counts(line, a, 0) || strstr(a->name, "qkv.bias")) continue;
        float *got = malloc(info->count * sizeof *got);
        ck_assert_ptr_nonnull(got);
        if (grads)
            kd_params_pack(info, grads, got);
        else
            test_ok(kd_model_ctx(m), kd_params_get(p, info, 0, got));
        compare(line, a->name, got, grads ? a->grad : a->value, a->count, grads ? 1. / N : 1);
        free(got);
    }
}

void follow_step(const follow_line *line)
{
    float input[N * PIXELS], teacher[N * K], got[N * K];
    int32_t labels[N];
    double logits[N * K];
    if (line->distill.feature) return; /* a run's alone */
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = follow_model(ctx, line->network);
    ref_net *net = ref_net_open(m);
    kd_train_opt t = {.struct_size = sizeof t};
    kd_distill_opt d = {.struct_size = sizeof d, .train = &t};
    take(KD_OF_TRAIN, &t, &line->train);
    if (line->teachers) take(KD_OF_DISTILL, &d, &line->distill);
    if (t.micro_batch > N) t.micro_batch = N;
    test_fill(input, N * PIXELS, 31, 2);
    test_fill(teacher, N * K, 32, 3);
    for (size_t i = 0; i < N; i++) labels[i] = (int32_t)(i * 3 % K);
    float *grads = calloc(kd_params_flat_count(kd_model_params(m)), sizeof *grads);
    ck_assert_ptr_nonnull(grads);
    kd_step_result r = {.struct_size = sizeof r, .logits = got, .grads = grads};
    const ref_step_in in = {N, input, line->teachers ? teacher : NULL, labels};
    test_ok(ctx, kd_train_step(m, N, input, labels, in.teacher, &d, &r));
    const double loss = ref_step(net, &in, &t, &d, logits);
    ck_assert_msg(fabs((double)r.loss - loss) <= tolerance * fmax(1, loss),
                  "%s: a step's loss is %.9g and not %.9g", line->name, (double)r.loss, loss);
    compare(line, "logits", got, logits, N * K, 1);
    compare_arrays(line, m, net, grads);
    compare_arrays(line, m, net, NULL);
    free(grads);
    ref_net_close(net);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
