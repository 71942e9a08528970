/* SPDX-License-Identifier: MIT
 * golden.c: see golden.h. Written on the public headers alone. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ----------------------------------------------------------------------------------- */

void golden_path(char path[GOLDEN_PATH], const char *name)
{
    const char *folder = getenv("KD_GOLDEN");
    const int n =
        snprintf(path, GOLDEN_PATH, "%s/%s", folder && *folder ? folder : "tests/golden", name);
    ck_assert_int_lt(n, GOLDEN_PATH);
}

golden golden_open(kd_ctx *ctx, const char *name)
{
    char path[GOLDEN_PATH];
    golden f = {.ctx = ctx};
    golden_path(path, name);
    test_ok(ctx, kd_file_open(ctx, path, &f.file));
    return f;
}

void golden_close(golden *f)
{
    kd_file_close(f->file);
    f->file = NULL;
}

const kd_file_tensor *golden_find(const golden *f, const char *format, ...)
{
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    ck_assert(n > 0 && (size_t)n < sizeof name);
    return kd_file_find(f->file, name);
}

static void *need(size_t count, size_t size)
{
    void *block = calloc(count ? count : 1, size);
    ck_assert_ptr_nonnull(block);
    return block;
}

float *golden_floats(const golden *f, const kd_file_tensor *t)
{
    ck_assert_msg(t != NULL, "%s lacks a tensor", kd_file_path(f->file));
    float *x = need(t->count, sizeof *x);
    if (t->dtype == KD_I64) {
        int64_t whole;
        ck_assert_uint_eq(t->count, 1);
        test_ok(f->ctx, kd_file_read_i64(f->file, t, 0, 1, &whole));
        *x = (float)whole;
    } else {
        test_ok(f->ctx, kd_file_read_f32(f->file, t, 0, t->count, x));
    }
    return x;
}

float *golden_pictures(const golden *f, const kd_file_tensor *t)
{
    float *x = golden_floats(f, t);
    if (t->rank != 4) return x;
    const size_t n = (size_t)t->shape[0], c = (size_t)t->shape[1],
                 pixels = (size_t)(t->shape[2] * t->shape[3]);
    float *y = need(t->count, sizeof *y);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < c; k++)
            for (size_t p = 0; p < pixels; p++)
                y[(i * pixels + p) * c + k] = x[(i * c + k) * pixels + p];
    free(x);
    return y;
}

int32_t *golden_labels(const golden *f, const kd_file_tensor *t)
{
    ck_assert_msg(t != NULL, "%s lacks labels", kd_file_path(f->file));
    int64_t *wide = need(t->count, sizeof *wide);
    int32_t *labels = need(t->count, sizeof *labels);
    test_ok(f->ctx, kd_file_read_i64(f->file, t, 0, t->count, wide));
    for (size_t i = 0; i < t->count; i++) labels[i] = (int32_t)wide[i];
    free(wide);
    return labels;
}

/* ---- comparing ------------------------------------------------------------------------------- */

double golden_distance(const float *got, const float *want, size_t n, double least)
{
    double scale = least, worst = 0;
    for (size_t i = 0; i < n; i++)
        if (fabs((double)want[i]) > scale) scale = fabs((double)want[i]);
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - (double)want[i]);
        if (!isfinite(d)) return INFINITY;
        if (d > worst) worst = d;
    }
    return scale > 0 ? worst / scale : worst;
}

void golden_compare(golden_worst *w, const char *what, const char *tensor, const float *got,
                    const float *want, size_t n)
{
    const double error = golden_distance(got, want, n, w->least);
    ck_assert_msg(error <= w->tolerance, "%s: %s is off by %.3g, more than %.3g", what, tensor,
                  error, w->tolerance);
    if (error >= w->error) {
        w->error = error;
        snprintf(w->where, sizeof w->where, "%s: %s", what, tensor);
    }
    w->compared++;
}

void golden_report(const golden_worst *w, const char *title)
{
    ck_assert_msg(w->compared > 0, "%s: nothing was compared", title);
    if (getenv("KD_GOLDEN_REPORT"))
        printf("%-40s %4zu tensors, worst %.2e of %.0e (%s)\n", title, w->compared, w->error,
               w->tolerance, w->where);
}

/* ---- parameters ------------------------------------------------------------------------------ */

void golden_set_params(const golden *f, kd_params *params, const char *prefix, size_t skip)
{
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        const kd_file_tensor *t = golden_find(f, "%s%s", prefix, info->name + skip);
        ck_assert_msg(t != NULL, "%s: no %s%s", kd_file_path(f->file), prefix, info->name + skip);
        ck_assert_int_eq(t->rank, info->file_shape.rank);
        for (int d = 0; d < t->rank; d++) ck_assert_int_eq(t->shape[d], info->file_shape.dim[d]);
        if (info->dtype == KD_I64) {
            int64_t whole;
            test_ok(f->ctx, kd_file_read_i64(f->file, t, 0, 1, &whole));
            test_ok(f->ctx, kd_params_set(params, info, &whole));
        } else {
            float *x = golden_floats(f, t);
            test_ok(f->ctx, kd_params_set(params, info, x));
            free(x);
        }
    }
}

float *golden_param(const kd_params *params, const kd_param_info *info, int which)
{
    kd_ctx *ctx = kd_params_ctx(params);
    float *x = need(info->count, sizeof *x);
    if (info->dtype == KD_I64) {
        int64_t whole;
        ck_assert_uint_eq(info->count, 1);
        test_ok(ctx, kd_params_get(params, info, which, &whole));
        *x = (float)whole;
    } else {
        test_ok(ctx, kd_params_get(params, info, which, x));
    }
    return x;
}

/* ---- the sum, a custom op -------------------------------------------------------------------- */

static kd_status sum_shape(kd_op_shapes *s)
{
    if (s->in_dtype[0] != KD_F32)
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: the input is not f32", s->name);
    s->out[0] = (kd_shape){.rank = 1, .dim = {1}};
    return KD_OK;
}

static kd_status sum_forward(const kd_op_call *c)
{
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    double sum = 0;
    for (size_t i = 0; i < c->in[0].count; i++) sum += (double)x[i];
    *y = (float)sum;
    return KD_OK;
}

static kd_status sum_backward(const kd_op_call *c)
{
    const float *dy = c->dout[0].data;
    float *dx = c->din[0].data;
    for (size_t i = 0; i < c->din[0].count; i++) dx[i] = *dy;
    return KD_OK;
}

static const kd_op sum_op = {.struct_size = sizeof(kd_op),
                             .name = "golden_sum",
                             .n_in_min = 1,
                             .n_in_max = 1,
                             .n_out = 1,
                             .shape = sum_shape,
                             .forward = sum_forward,
                             .backward = sum_backward};

kd_value golden_sum(kd_graph *g, kd_value x)
{
    return kd_graph_op(g, &sum_op, NULL, &x, 1, NULL);
}
