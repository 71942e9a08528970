/* SPDX-License-Identifier: MIT
 * test_evaluate.c: every number of an evaluation against one computed here, in double, from logits
 * of single pictures. Labels are chosen by the rank that a network gives them, so that top-1, top-5
 * and the confusions are known before anything is measured. */
#include "../model/golden.h"
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 8, PICTURE = SIDE * SIDE * 3, N = 53, CLASSES = 10 };
static const char spec[] = "vgg2,width=0.125,image=8,classes=10";

/* ---- a data set and networks ----------------------------------------------------------------- */

typedef struct pictures {
    uint8_t pixels[N][PICTURE];
    int32_t labels[N];
    const char *broken; /* [N], 'x' for those that cannot be read; NULL: none */
} pictures;

static pictures *make_pictures(void)
{
    float x[PICTURE];
    pictures *p = calloc(1, sizeof *p);
    ck_assert(p != NULL);
    for (size_t i = 0; i < N; i++) {
        test_fill(x, PICTURE, 100 + i, 1);
        /* a brightness of its own, so that networks answer differently */
        for (size_t k = 0; k < PICTURE; k++)
            p->pixels[i][k] =
                (uint8_t)(127 + 60 * x[k] + 60 * sinf((float)(i * (k % 3 + 1)) * .7f));
    }
    return p;
}

static kd_status sample(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    const pictures *p = user;
    (void)split;
    if (p->broken && p->broken[index] == 'x') return KD_E_FORMAT;
    memcpy(image, p->pixels[index], PICTURE);
    *label = p->labels[index];
    return KD_OK;
}

/* The same pictures in both splits. */
static kd_dataset *open_data(kd_ctx *ctx, pictures *p, size_t classes, const char *const *names)
{
    kd_dataset *data;
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = classes,
                               .height = SIDE,
                               .width = SIDE,
                               .channels = 3,
                               .count = {N, N},
                               .class_names = names};
    test_ok(ctx, kd_dataset_from_callback(ctx, &info, sample, p, &data));
    test_ok(ctx, kd_dataset_skip_broken(data));
    return data;
}

static void set(kd_model *m, const char *name, float scale, float add)
{
    kd_params *params = kd_model_params(m);
    const kd_param_info *info = kd_params_find(params, name);
    ck_assert_msg(info != NULL, "no %s", name);
    float *x = malloc(info->count * sizeof *x);
    test_ok(kd_model_ctx(m), kd_params_get(params, info, 0, x));
    for (size_t i = 0; i < info->count; i++) x[i] = scale * x[i] + add;
    test_ok(kd_model_ctx(m), kd_params_set(params, info, x));
    free(x);
}

/* Of a class alone. */
static void set_bias(kd_model *m, size_t class, float value)
{
    float bias[CLASSES] = {0};
    kd_params *params = kd_model_params(m);
    bias[class] = value;
    test_ok(kd_model_ctx(m),
            kd_params_set(params, kd_params_find(params, "classifier.bias"), bias));
}

/* A network whose probabilities are spread over (0, 1). */
static kd_model *make_model(kd_ctx *ctx, const char *text, uint64_t seed)
{
    static const float mean[] = {.5f, .4f, .6f}, std[] = {.25f, .2f, .3f};
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, text, seed, &m));
    test_ok(ctx, kd_model_set_normalization(m, mean, std));
    set(m, "classifier.weight", 60, 0);
    return m;
}

/* logits [N,classes], a picture at a time */
static void predict(kd_model *m, const pictures *p, double *logits)
{
    kd_plan *plan;
    kd_exec *exec;
    const size_t classes = kd_model_classes(m);
    float input[PICTURE];
    test_ok(kd_model_ctx(m), kd_model_plan(m, 1, &plan, &exec));
    test_ok(kd_model_ctx(m), kd_exec_bind(exec, "input", input));
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < PICTURE; k++) {
            const double x = p->pixels[i][k] / 255.0;
            const double mean = (double)kd_model_mean(m)[k % 3],
                         std = (double)kd_model_std(m)[k % 3];
            input[k] = (float)((x - mean) / std);
        }
        test_ok(kd_model_ctx(m), kd_exec_run(exec, NULL));
        const float *z = kd_exec_output(exec, "logits");
        for (size_t k = 0; k < classes; k++) logits[i * classes + k] = (double)z[k];
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
}

/* ---- the right values ------------------------------------------------------------------------ */

/* The class that this many others go before. */
static int32_t class_of_rank(const double *z, size_t classes, size_t rank)
{
    for (size_t k = 0; k < classes; k++) {
        size_t above = 0;
        for (size_t j = 0; j < classes; j++) above += z[j] > z[k];
        if (above == rank) return (int32_t)k;
    }
    ck_abort_msg("two logits are equal");
    return -1;
}

static void softmax(const double *z, size_t classes, double *p)
{
    double sum = 0;
    for (size_t k = 0; k < classes; k++) sum += exp(z[k]);
    for (size_t k = 0; k < classes; k++) p[k] = exp(z[k]) / sum;
}

typedef struct expected {
    double top1, top5, loss, agreement, kl, reverse_kl, ece;
    double bin_n[KD_EVAL_BINS], bin_right[KD_EVAL_BINS], bin_sum[KD_EVAL_BINS];
    uint64_t confusion[CLASSES * CLASSES];
} expected;

/* z, t [N,CLASSES]; only pictures where use [N] is true. */
static expected compute(const double *z, const double *t, const int32_t *labels, const bool *use)
{
    expected e = {.top1 = 0};
    double n = 0, p[CLASSES], q[CLASSES];
    for (size_t i = 0; i < N; i++) {
        if (!use[i]) continue;
        const double *row = z + i * CLASSES, *teacher = t + i * CLASSES;
        const int32_t first = class_of_rank(row, CLASSES, 0);
        size_t rank = 0;
        while (class_of_rank(row, CLASSES, rank) != labels[i]) rank++;
        softmax(row, CLASSES, p);
        softmax(teacher, CLASSES, q);
        n++;
        e.top1 += rank == 0;
        e.top5 += rank <= 4;
        e.loss -= log(p[labels[i]]);
        e.agreement += first == class_of_rank(teacher, CLASSES, 0);
        for (size_t k = 0; k < CLASSES; k++) {
            e.kl += q[k] * log(q[k] / p[k]);
            e.reverse_kl += p[k] * log(p[k] / q[k]);
        }
        const size_t bin = (size_t)ceil(p[first] * 15) - 1;
        e.bin_n[bin]++;
        e.bin_right[bin] += rank == 0;
        e.bin_sum[bin] += p[first];
        e.confusion[(size_t)labels[i] * CLASSES + (size_t)first]++;
    }
    for (size_t b = 0; b < KD_EVAL_BINS; b++)
        if (e.bin_n[b] > 0)
            e.ece += 100 * e.bin_n[b] / n *
                     fabs(e.bin_right[b] / e.bin_n[b] - e.bin_sum[b] / e.bin_n[b]);
    e.top1 *= 100 / n;
    e.top5 *= 100 / n;
    e.agreement *= 100 / n;
    e.loss /= n;
    e.kl /= n;
    e.reverse_kl /= n;
    return e;
}

static void near(const char *what, double x, double right)
{
    ck_assert_msg(fabs(x - right) <= 2e-5 * (1 + fabs(right)), "%s is %.9g, not %.9g", what, x,
                  right);
}

static void check_result(const kd_eval_result *r, const expected *e)
{
    near("top-1", r->top1, e->top1);
    near("top-5", r->top5, e->top5);
    near("loss", r->loss, e->loss);
    near("agreement", r->agreement, e->agreement);
    near("KL", r->kl, e->kl);
    near("ECE", r->ece, e->ece);
    for (size_t b = 0; b < KD_EVAL_BINS; b++) {
        const kd_eval_bin *bin = &r->bins[b];
        ck_assert_double_eq((double)bin->n, e->bin_n[b]);
        if (!bin->n) {
            ck_assert(isnan(bin->accuracy) && isnan(bin->confidence));
            continue;
        }
        near("a bin's accuracy", bin->accuracy, 100 * e->bin_right[b] / e->bin_n[b]);
        near("a bin's confidence", bin->confidence, 100 * e->bin_sum[b] / e->bin_n[b]);
    }
}

/* ---- what the callback gets ------------------------------------------------------------------ */

typedef struct seen {
    kd_eval_sample all[N];
    float logits[N][CLASSES], teacher[N][CLASSES];
    size_t n, stop_at;
} seen;

static int collect(void *user, const kd_eval_sample *s)
{
    seen *x = user;
    ck_assert_uint_lt(x->n, N);
    ck_assert_uint_eq(s->struct_size, sizeof *s);
    if (x->n) ck_assert_uint_gt(s->id, x->all[x->n - 1].id);
    memcpy(x->logits[x->n], s->logits, sizeof x->logits[0]);
    if (s->teacher_logits) memcpy(x->teacher[x->n], s->teacher_logits, sizeof x->teacher[0]);
    x->all[x->n++] = *s;
    return x->n == x->stop_at;
}

static void check_samples(const seen *x, const double *z, const double *t, const int32_t *labels)
{
    for (size_t k = 0; k < x->n; k++) {
        double p[CLASSES], q[CLASSES], kl = 0;
        const kd_eval_sample *s = &x->all[k];
        const double *row = z + s->id * CLASSES, *teacher = t + s->id * CLASSES;
        softmax(row, CLASSES, p);
        softmax(teacher, CLASSES, q);
        for (size_t c = 0; c < CLASSES; c++) {
            kl += q[c] * log(q[c] / p[c]);
            near("a logit", (double)x->logits[k][c], row[c]);
            near("a teacher's logit", (double)x->teacher[k][c], teacher[c]);
        }
        ck_assert_int_eq(s->label, labels[s->id]);
        ck_assert_int_eq(s->target, labels[s->id]);
        ck_assert_int_eq(s->predicted, class_of_rank(row, CLASSES, 0));
        ck_assert_int_eq(s->teacher, class_of_rank(teacher, CLASSES, 0));
        near("a probability", s->probability, p[s->predicted]);
        near("a loss", s->loss, -log(p[labels[s->id]]));
        near("a divergence", s->kl, kl);
    }
}

/* ---- the tests ------------------------------------------------------------------------------- */

typedef struct setup {
    kd_ctx *ctx;
    pictures *p;
    kd_model *model, *teacher;
    kd_dataset *data;
    double z[N * CLASSES], t[N * CLASSES];
    seen seen;
} setup;

/* Of 16 labels 6 are the first class, 4 more among the five. */
static setup *make(void)
{
    static const size_t ranks[16] = {0, 3, 0, 7, 5, 0, 0, 9, 1, 0, 4, 6, 2, 0, 5, 8};
    setup *s = calloc(1, sizeof *s);
    ck_assert(s != NULL);
    s->ctx = test_ctx(2, NULL);
    s->p = make_pictures();
    s->model = make_model(s->ctx, spec, 3);
    s->teacher = make_model(s->ctx, spec, 4);
    /* half of the student, so that they agree on some pictures */
    const size_t n = kd_params_flat_count(kd_model_params(s->model));
    const float *from = kd_params_values(kd_model_params(s->model));
    float *to = kd_params_values(kd_model_params(s->teacher));
    for (size_t i = 0; i < n; i++) to[i] = .5f * to[i] + .5f * from[i];
    set(s->teacher, "classifier.weight", .5f, 0); /* and softer: KL has a direction */
    predict(s->model, s->p, s->z);
    predict(s->teacher, s->p, s->t);
    for (size_t i = 0; i < N; i++)
        s->p->labels[i] = class_of_rank(s->z + i * CLASSES, CLASSES, ranks[i % 16]);
    s->data = open_data(s->ctx, s->p, CLASSES, NULL);
    return s;
}

static void drop(setup *s)
{
    kd_dataset_close(s->data);
    kd_model_destroy(s->model);
    kd_model_destroy(s->teacher);
    ck_assert_uint_eq(kd_ctx_memory(s->ctx), 0);
    kd_ctx_destroy(s->ctx);
    free(s->p);
    free(s);
}

static kd_eval_result evaluate(setup *s, kd_eval_opt opt)
{
    kd_eval_result r = {.struct_size = sizeof r};
    opt.struct_size = sizeof opt;
    opt.teacher = s->teacher;
    opt.each = collect;
    opt.each_user = &s->seen;
    s->seen.n = 0;
    test_ok(s->ctx, kd_evaluate(s->model, s->data, &opt, &r));
    ck_assert_uint_eq(r.n, s->seen.n);
    return r;
}

START_TEST(test_numbers)
{
    static const size_t batches[] = {1, 8, 52, 53, 0}; /* 8: the last has 5 */
    setup *s = make();
    bool all[N];
    size_t bins = 0;
    for (size_t i = 0; i < N; i++) all[i] = true;
    const expected e = compute(s->z, s->t, s->p->labels, all);
    for (size_t b = 0; b < KD_EVAL_BINS; b++) bins += e.bin_n[b] > 0;
    /* a wrong formula would give another number */
    near("the chosen top-1", e.top1, 100 * 20.0 / N);
    near("the chosen top-5", e.top5, 100 * 33.0 / N);
    ck_assert(e.agreement > 20 && e.agreement < 80 && bins > 5);
    ck_assert(fabs(e.kl - e.reverse_kl) > .05 * e.kl && e.ece > 1);
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        uint64_t confusion[CLASSES * CLASSES];
        memset(confusion, 255, sizeof confusion);
        const kd_eval_result r =
            evaluate(s, (kd_eval_opt){.batch = batches[b], .confusion = confusion});
        ck_assert_uint_eq(r.n, N);
        check_result(&r, &e);
        check_samples(&s->seen, s->z, s->t, s->p->labels);
        ck_assert(!memcmp(confusion, e.confusion, sizeof confusion));
        ck_assert(isnan(r.top1_cls) && isnan(r.top1_dist));
    }
    drop(s);
}
END_TEST

START_TEST(test_broken_pictures)
{
    setup *s = make();
    bool use[N];
    char broken[N + 1] = "";
    for (size_t i = 0; i < N; i++) {
        use[i] = i % 7 != 2 && !(i >= 16 && i < 24); /* a whole batch of 8 is gone */
        broken[i] = use[i] ? '.' : 'x';
    }
    s->p->broken = broken;
    const expected e = compute(s->z, s->t, s->p->labels, use);
    const kd_eval_result r = evaluate(s, (kd_eval_opt){.batch = 8});
    check_result(&r, &e);
    check_samples(&s->seen, s->z, s->t, s->p->labels);
    for (size_t k = 0; k < s->seen.n; k++) ck_assert(use[s->seen.all[k].id]);
    drop(s);
}
END_TEST

START_TEST(test_splits)
{
    setup *s = make();
    bool dev[N] = {false}, rest[N] = {false};
    kd_eval_result r = evaluate(s, (kd_eval_opt){.split = KD_EVAL_DEV, .dev_count = 20});
    ck_assert_uint_eq(r.n, 20);
    for (size_t k = 0; k < r.n; k++) dev[s->seen.all[k].id] = true;
    expected e = compute(s->z, s->t, s->p->labels, dev);
    check_result(&r, &e);
    r = evaluate(s, (kd_eval_opt){.split = KD_EVAL_TRAIN, .dev_count = 20, .batch = 9});
    ck_assert_uint_eq(r.n, N - 20);
    for (size_t k = 0; k < r.n; k++) rest[s->seen.all[k].id] = true;
    for (size_t i = 0; i < N; i++) ck_assert(dev[i] != rest[i]);
    e = compute(s->z, s->t, s->p->labels, rest);
    check_result(&r, &e);
    drop(s);
}
END_TEST

/* Parameters of an average take the model's place, which itself stays as it is. */
START_TEST(test_average)
{
    setup *s = make();
    bool all[N];
    kd_params *average, *own = kd_model_params(s->model);
    for (size_t i = 0; i < N; i++) all[i] = true;
    test_ok(s->ctx, kd_params_clone(own, &average));
    for (size_t i = 0; i < kd_params_flat_count(own); i++)
        kd_params_values(average)[i] =
            .7f * kd_params_values(own)[i] + .3f * kd_params_values(kd_model_params(s->teacher))[i];
    kd_params_touch(average);
    const kd_eval_result r = evaluate(s, (kd_eval_opt){.params = average});
    kd_eval_result now = evaluate(s, (kd_eval_opt){.batch = 8});
    expected e = compute(s->z, s->t, s->p->labels, all);
    check_result(&now, &e);
    ck_assert(fabs(r.loss - now.loss) > .01);
    memcpy(kd_params_values(own), kd_params_values(average),
           kd_params_flat_count(own) * sizeof(float));
    kd_params_touch(own);
    predict(s->model, s->p, s->z);
    e = compute(s->z, s->t, s->p->labels, all);
    check_result(&r, &e);
    kd_params_destroy(average);
    drop(s);
}
END_TEST

/* Five classes have no top-5, a single network no agreement. Equal logits: the lower class is the
 * first, its probability of 1/5 lies in (2/15, 3/15], one of 1/3 in (4/15, 5/15]. */
START_TEST(test_not_measured)
{
    static const size_t counts[] = {3, 5, 6};
    kd_ctx *ctx = test_ctx(1, NULL);
    pictures *p = make_pictures();
    for (size_t c = 0; c < 3; c++) {
        char text[64];
        const size_t classes = counts[c], bin = classes == 3 ? 4 : 2;
        kd_eval_result r = {.struct_size = sizeof r};
        for (size_t i = 0; i < N; i++) p->labels[i] = (int32_t)(i % classes);
        snprintf(text, sizeof text, "vgg2,width=0.125,image=8,classes=%zu", classes);
        kd_model *m = make_model(ctx, text, 1);
        set(m, "classifier.weight", 0, 0);
        set(m, "classifier.bias", 0, .25f);
        kd_dataset *data = open_data(ctx, p, classes, NULL);
        test_ok(ctx, kd_evaluate(m, data, NULL, &r));
        ck_assert_uint_eq(r.n, N);
        near("top-1", r.top1, 100 * (double)((N + classes - 1) / classes) / N);
        near("loss", r.loss, log((double)classes));
        if (classes == 6)
            near("top-5", r.top5, 100 * 45.0 / N); /* all but every sixth */
        else
            ck_assert_double_nan(r.top5);
        ck_assert(isnan(r.agreement) && isnan(r.kl) && isnan(r.top1_cls) && isnan(r.top1_dist));
        for (size_t b = 0; b < KD_EVAL_BINS; b++) ck_assert_uint_eq(r.bins[b].n, b == bin ? N : 0);
        near("a bin's confidence", r.bins[bin].confidence, 100.0 / (double)classes);
        near("ECE", r.ece, fabs(r.top1 - 100.0 / (double)classes));
        test_ok(ctx, kd_evaluate(m, data, NULL, NULL));
        set_bias(m, 1, 9); /* sure of class 1: the last bin */
        test_ok(ctx, kd_evaluate(m, data, NULL, &r));
        for (size_t b = 0; b < KD_EVAL_BINS; b++)
            ck_assert_uint_eq(r.bins[b].n, b == KD_EVAL_BINS - 1 ? N : 0);
        near("a bin's accuracy", r.bins[KD_EVAL_BINS - 1].accuracy, r.top1);
        kd_model_destroy(m);
        kd_dataset_close(data);
    }
    free(p);
    kd_ctx_destroy(ctx);
}
END_TEST

static void refused(setup *s, kd_eval_opt opt, kd_status status, const char *word)
{
    kd_eval_result r = {.struct_size = sizeof r, .top1 = 7};
    opt.struct_size = sizeof opt;
    ck_assert_int_eq(kd_evaluate(s->model, s->data, &opt, &r), status);
    ck_assert_msg(strstr(kd_ctx_error(s->ctx), word) != NULL, "'%s' lacks '%s'",
                  kd_ctx_error(s->ctx), word);
    if (!r.n) ck_assert(isnan(r.top1) && isnan(r.loss) && isnan(r.ece) && isnan(r.agreement));
}

/* A network that answers NaN or infinity measures nothing. */
START_TEST(test_not_finite)
{
    static const float bad[] = {NAN, INFINITY};
    setup *s = make();
    for (size_t i = 0; i < 2; i++) {
        kd_model *m = make_model(s->ctx, spec, 8);
        set_bias(m, 3, bad[i]);
        refused(s, (kd_eval_opt){.teacher = m}, KD_E_NONFINITE,
                "the teacher, vgg2,classes=10,image=8");
        refused(s, (kd_eval_opt){.teacher = m}, KD_E_NONFINITE, "sample 0 of the test split");
        kd_model *good = s->model;
        s->model = m;
        refused(s, (kd_eval_opt){.split = KD_EVAL_TRAIN}, KD_E_NONFINITE,
                "the network, vgg2,classes=10,image=8");
        refused(s, (kd_eval_opt){.split = KD_EVAL_TRAIN}, KD_E_NONFINITE,
                "sample 0 of the training split");
        s->model = good;
        kd_model_destroy(m);
    }
    drop(s);
}
END_TEST

/* Data of three of the ten classes. */
START_TEST(test_class_map)
{
    static const int32_t map[] = {7, 2, 4}, outside[] = {7, 10, 4}, below[] = {7, -1, 4};
    setup *s = make();
    bool all[N];
    int32_t targets[N];
    kd_dataset_close(s->data);
    for (size_t i = 0; i < N; i++) {
        all[i] = true;
        s->p->labels[i] = (int32_t)(i % 3);
        targets[i] = map[i % 3];
    }
    s->data = open_data(s->ctx, s->p, 3, NULL);
    expected e = compute(s->z, s->t, targets, all);
    uint64_t confusion[CLASSES * CLASSES];
    kd_eval_result r = evaluate(s, (kd_eval_opt){.class_map = map, .confusion = confusion});
    check_result(&r, &e);
    ck_assert(!memcmp(confusion, e.confusion, sizeof confusion));
    for (size_t i = 0; i < N; i++) {
        ck_assert_int_eq(s->seen.all[i].label, s->p->labels[i]);
        ck_assert_int_eq(s->seen.all[i].target, targets[i]);
    }
    refused(s, (kd_eval_opt){.batch = 8}, KD_E_MISMATCH, "3");
    refused(s, (kd_eval_opt){.class_map = outside}, KD_E_INVALID,
            "class 1 of the data is class 10");
    refused(s, (kd_eval_opt){.class_map = below}, KD_E_INVALID, "class 1 of the data is class -1");
    r = evaluate(s, (kd_eval_opt){.any_classes = 1});
    e = compute(s->z, s->t, s->p->labels, all);
    check_result(&r, &e);
    kd_dataset_close(s->data);
    s->data = open_data(s->ctx, s->p, 11, NULL);
    refused(s, (kd_eval_opt){.batch = 8}, KD_E_MISMATCH, "the data 11");
    refused(s, (kd_eval_opt){.any_classes = 1}, KD_E_MISMATCH, "11 classes");
    drop(s);
}
END_TEST

/* Names decide: classes of the data in another order, some of them, one that the network lacks. */
START_TEST(test_class_names)
{
    static const char *const own[CLASSES] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    static const char *const some[] = {"h", "c", "e"}, *const stray[] = {"h", "C", "e"};
    static const char *const turned[CLASSES] = {"j", "i", "h", "g", "f", "e", "d", "c", "b", "a"};
    static const char *const other[CLASSES] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "k"};
    setup *s = make();
    bool all[N];
    int32_t targets[N];
    double t[N * CLASSES];
    for (size_t i = 0; i < N; i++) all[i] = true;
    test_ok(s->ctx, kd_model_set_class_names(s->model, own));
    kd_dataset_close(s->data);
    for (size_t i = 0; i < N; i++) {
        targets[i] = s->p->labels[i];
        s->p->labels[i] = 9 - s->p->labels[i];
    }
    s->data = open_data(s->ctx, s->p, CLASSES, turned);
    expected e = compute(s->z, s->t, targets, all);
    kd_eval_result r = evaluate(s, (kd_eval_opt){.batch = 8});
    check_result(&r, &e);

    test_ok(s->ctx, kd_model_set_class_names(s->teacher, turned)); /* its class 0 is class 9 */
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < CLASSES; k++) t[i * CLASSES + k] = s->t[i * CLASSES + 9 - k];
    e = compute(s->z, t, targets, all);
    r = evaluate(s, (kd_eval_opt){.batch = 8});
    check_result(&r, &e);
    for (size_t i = 0; i < N; i++)
        ck_assert_int_eq(s->seen.all[i].teacher, class_of_rank(t + i * CLASSES, CLASSES, 0));
    r = evaluate(s, (kd_eval_opt){.any_classes = 1}); /* by number, both */
    e = compute(s->z, s->t, s->p->labels, all);
    check_result(&r, &e);
    test_ok(s->ctx, kd_model_set_class_names(s->teacher, other));
    refused(s, (kd_eval_opt){.teacher = s->teacher}, KD_E_MISMATCH, "class 9, 'j'");
    test_ok(s->ctx, kd_model_set_class_names(s->teacher, NULL));

    kd_dataset_close(s->data);
    static const int32_t places[] = {7, 2, 4};
    for (size_t i = 0; i < N; i++) {
        s->p->labels[i] = (int32_t)(i % 3);
        targets[i] = places[i % 3];
    }
    s->data = open_data(s->ctx, s->p, 3, some);
    e = compute(s->z, s->t, targets, all);
    r = evaluate(s, (kd_eval_opt){.batch = 8});
    check_result(&r, &e);
    kd_dataset_close(s->data);
    s->data = open_data(s->ctx, s->p, 3, stray);
    refused(s, (kd_eval_opt){.batch = 8}, KD_E_MISMATCH, "'C'");
    kd_dataset_close(s->data);
    s->data = open_data(s->ctx, s->p, 3, NULL);
    refused(s, (kd_eval_opt){.batch = 8}, KD_E_MISMATCH, "the data's have no names");
    drop(s);
}
END_TEST

#if KDI_PNG
static double loss_of_picture(kd_model *m, kd_dataset *data, const char *augment)
{
    const kd_eval_opt opt = {.struct_size = sizeof opt, .augment = augment, .any_classes = 1};
    kd_eval_result r = {.struct_size = sizeof r};
    test_ok(kd_model_ctx(m), kd_evaluate(m, data, &opt, &r));
    ck_assert_uint_eq(r.n, 1);
    return r.loss;
}

/* A picture file is framed as the network knows from its training. */
START_TEST(test_framing)
{
    char path[300];
    kd_dataset *data;
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, spec, 3);
    golden g = golden_open(ctx, "pictures.safetensors");
    const kd_file_tensor *t = golden_find(&g, "file.png_rgb");
    uint8_t *bytes = malloc(t->count);
    snprintf(path, sizeof path, "%s/ev_framed.png", test_dir());
    test_ok(ctx, kd_file_read_bytes(g.file, t, 0, t->count, bytes));
    test_ok(ctx, kd_file_write_atomic(ctx, path, bytes, t->count));
    test_ok(ctx, kd_dataset_from_pictures(ctx, (const char *const[]){path}, 1, &data));
    const double plain = loss_of_picture(m, data, NULL);
    const double half = loss_of_picture(m, data, "centre:0.5");
    ck_assert(fabs(plain - half) > 1e-3);
    test_ok(ctx, kd_model_set_framing(m, "centre:0.5"));
    ck_assert_double_eq(loss_of_picture(m, data, NULL), half);
    ck_assert_double_eq(loss_of_picture(m, data, "centre:0.875"), plain);
    test_ok(ctx, kd_model_set_framing(m, "none"));
    ck_assert_double_eq(loss_of_picture(m, data, NULL), loss_of_picture(m, data, "none"));
    free(bytes);
    golden_close(&g);
    kd_dataset_close(data);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST
#else
START_TEST(test_framing)
{
}
END_TEST
#endif

static int stop_at_third(void *user, const kd_progress *p)
{
    (void)user;
    ck_assert(p->evaluating && p->batches == 7 && p->fraction == (double)p->batch / 7);
    ck_assert(isnan(p->lr) && isnan(p->agreement) && isnan(p->hard_loss) && isnan(p->dev_top1));
    if (p->batch == 2) near("accuracy so far", p->accuracy, 100 * 6.0 / 16);
    return p->batch == 3;
}

START_TEST(test_stops)
{
    setup *s = make();
    kd_eval_result r = {.struct_size = sizeof r};
    kd_eval_opt opt = {.struct_size = sizeof opt, .batch = 8, .progress = stop_at_third};
    ck_assert_int_eq(kd_evaluate(s->model, s->data, &opt, &r), KD_E_STOPPED);
    ck_assert_uint_eq(r.n, 24);
    near("top-1 so far", r.top1, 100 * 10.0 / 24);
    opt.progress = NULL;
    opt.each = collect;
    opt.each_user = &s->seen;
    s->seen.stop_at = 11;
    ck_assert_int_eq(kd_evaluate(s->model, s->data, &opt, &r), KD_E_STOPPED);
    ck_assert_uint_eq(r.n, 11);
    drop(s);
}
END_TEST

START_TEST(test_refuses)
{
    setup *s = make();
    refused(s, (kd_eval_opt){.split = KD_EVAL_DEV}, KD_E_INVALID, "dev_count");
    refused(s, (kd_eval_opt){.dev_count = 3}, KD_E_INVALID, "dev_count");
    refused(s, (kd_eval_opt){.split = (kd_eval_split)9}, KD_E_INVALID, "no split 9");
    refused(s, (kd_eval_opt){.augment = "mixup"}, KD_E_INVALID, "leaves something to chance");
    kd_model *fewer = make_model(s->ctx, "vgg2,width=0.125,image=8,classes=9", 8);
    refused(s, (kd_eval_opt){.teacher = fewer}, KD_E_MISMATCH, "teacher has 9 classes");
    kd_model_destroy(fewer);
    drop(s);
}
END_TEST

TEST_SUITE(evaluate, 60, &test_numbers, &test_broken_pictures, &test_splits, &test_average,
           &test_not_measured, &test_not_finite, &test_class_map, &test_class_names, &test_framing,
           &test_stops, &test_refuses)
