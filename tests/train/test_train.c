/* SPDX-License-Identifier: MIT
 * test_train.c: training and distillation as a user sees them: they learn, they resume to the same
 * bits, threads and loaders change nothing, errors are told. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char student_spec[] = "vgg8_bn,width=0.0625,classes=10,image=32";
static const char data_name[] = "synthetic:train=640,test=200";

typedef struct setup {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model;
} setup;

static setup make(int threads, const char *isa)
{
    setup s = {.ctx = test_ctx(threads, isa)};
    test_ok(s.ctx, kd_dataset_open(s.ctx, data_name, NULL, &s.data));
    test_ok(s.ctx, kd_model_create(s.ctx, student_spec, 1, &s.model));
    return s;
}

static void drop(setup *s)
{
    kd_model_destroy(s->model);
    kd_dataset_close(s->data);
    ck_assert_uint_eq(kd_ctx_memory(s->ctx), 0);
    kd_ctx_destroy(s->ctx);
}

static kd_train_opt options(void)
{
    return (kd_train_opt){
        .struct_size = sizeof(kd_train_opt), .epochs = 3, .batch = 64, .lr = .05f, .seed = 5};
}

START_TEST(test_learns)
{
    setup s = make(2, NULL);
    kd_train_opt opt = options();
    kd_result r = {.struct_size = sizeof r};
    opt.epochs = 8;
    opt.schedule = KD_SCHEDULE_ONECYCLE;
    opt.nesterov = 1;
    test_ok(s.ctx, kd_train(s.model, s.data, &opt, &r));
    ck_assert_uint_eq(r.steps, 80);
    ck_assert_double_eq(r.epochs, 8);
    ck_assert_msg(r.top1 > 40, "top-1 is %.1f %% after 8 epochs", r.top1);
    ck_assert_msg(r.train_loss < 1.6, "training loss is %.3f", r.train_loss);
    ck_assert(r.times.forward > 0 && r.times.backward > 0 && r.times.loss > 0);
    drop(&s);
}
END_TEST

/* Real pictures, a few seconds: Debian's Fashion-MNIST, which the tests' dependencies install. */
START_TEST(test_learns_real_pictures)
{
    kd_ctx *ctx = test_ctx(0, NULL);
    kd_dataset *data;
    kd_model *m;
    kd_result r = {.struct_size = sizeof r};
    const kd_status status = kd_dataset_open(ctx, "fashion-mnist", NULL, &data);
    if (status == KD_E_NOTFOUND || (!KDI_ZLIB && status == KD_E_UNSUPPORTED)) {
        fprintf(stderr, "test_learns_real_pictures left out: %s\n", kd_ctx_error(ctx));
        kd_ctx_destroy(ctx);
        return;
    }
    test_ok(ctx, status);
    test_ok(ctx, kd_model_create(ctx, "vgg4_bn,width=0.25,classes=10,image=32,channels=1", 1, &m));
    const kd_train_opt opt = {.struct_size = sizeof opt,
                              .max_steps = 250,
                              .batch = 64,
                              .lr = .1f,
                              .schedule = KD_SCHEDULE_ONECYCLE,
                              .nesterov = 1,
                              .augment = "none"};
    test_ok(ctx, kd_train(m, data, &opt, &r));
    ck_assert_msg(r.top1 > 80, "top-1 is %.2f %% after 250 steps", r.top1);
    kd_model_destroy(m);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Train with a teacher; returns a copy of the weights, count floats. */
static float *weights_after(int threads, const char *isa, const kd_train_opt *train, size_t *count)
{
    setup s = make(threads, isa);
    kd_model *teacher;
    test_ok(s.ctx,
            kd_model_create(s.ctx, "vgg11_bn,width=0.0625,classes=10,image=64", 9, &teacher));
    kd_distill_opt opt = {.struct_size = sizeof opt, .teacher = teacher, .train = train};
    test_ok(s.ctx, kd_distill(s.model, s.data, &opt, NULL));
    kd_params *p = kd_model_params(s.model);
    *count = kd_params_flat_count(p);
    float *copy = malloc(*count * sizeof *copy);
    memcpy(copy, kd_params_values(p), *count * sizeof *copy);
    kd_model_destroy(teacher);
    drop(&s);
    return copy;
}

START_TEST(test_same_bits_for_any_threads)
{
    kd_train_opt train = options();
    train.epochs = 1;
    train.no_test = 1;
    train.ema = .9f;
    train.clip = 1;
    train.accumulate = 2;
    const char *isa;
    kd_ctx *ctx = test_ctx(1, NULL);
    const char *const all[] = {kd_ctx_isa(ctx), "generic"};
    for (int k = 0; k < 2; k++) {
        size_t count, again;
        isa = all[k];
        float *one = weights_after(1, isa, &train, &count);
        for (int threads = 2; threads <= 7; threads += threads == 2 ? 1 : 4) {
            float *more = weights_after(threads, isa, &train, &again);
            ck_assert_uint_eq(count, again);
            ck_assert_msg(!memcmp(one, more, count * sizeof *one), "%d threads on %s differ",
                          threads, isa);
            free(more);
        }
        free(one);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* Stops after a number of steps. */
static int stop_at(void *user, const kd_progress *p)
{
    return !p->epoch_end && p->step == *(const size_t *)user;
}

static void read_file(const char *dir, const char *name, char **bytes, size_t *size, kd_ctx *ctx)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 28, bytes, size));
}

static size_t lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

START_TEST(test_resume_gives_the_same_bits)
{
    char whole[512], parts[512], *a, *b;
    size_t size_a, size_b;
    snprintf(whole, sizeof whole, "%s/whole", test_dir());
    snprintf(parts, sizeof parts, "%s/parts", test_dir());
    kd_train_opt opt = options();
    opt.ema = .95f;
    setup s = make(2, NULL);
    opt.out = whole;
    test_ok(s.ctx, kd_train(s.model, s.data, &opt, NULL));
    drop(&s);
    /* stopped in the middle of an epoch, at its very end, and in the next */
    const size_t stops[] = {4, 10, 17};
    opt.out = parts;
    for (int i = 0; i < 4; i++) {
        s = make(1 + i % 2, NULL);
        opt.resume = i > 0;
        opt.progress = i < 3 ? stop_at : NULL;
        size_t at = i < 3 ? stops[i] : 0;
        opt.user = &at;
        kd_result r = {.struct_size = sizeof r};
        const kd_status status = kd_train(s.model, s.data, &opt, &r);
        ck_assert_msg(status == (i < 3 ? KD_E_STOPPED : KD_OK), "%d: %s", i, kd_ctx_error(s.ctx));
        if (i < 3) ck_assert_uint_eq(r.steps, stops[i]);
        drop(&s);
    }
    kd_ctx *ctx = test_ctx(1, NULL);
    read_file(whole, "model.safetensors", &a, &size_a, ctx);
    read_file(parts, "model.safetensors", &b, &size_b, ctx);
    ck_assert_uint_eq(size_a, size_b);
    ck_assert_mem_eq(a, b, size_a);
    kd_ctx_free(ctx, b);
    read_file(parts, "metrics.jsonl", &b, &size_b, ctx);
    ck_assert_uint_eq(lines(b), 3);
    kd_ctx_free(ctx, a);
    kd_ctx_free(ctx, b);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_resume_refuses_another_run)
{
    char out[512];
    snprintf(out, sizeof out, "%s/other", test_dir());
    kd_train_opt opt = options();
    setup s = make(2, NULL);
    opt.out = out;
    opt.epochs = 1;
    test_ok(s.ctx, kd_train(s.model, s.data, &opt, NULL));
    opt.resume = 1;
    opt.lr = .06f;
    ck_assert_int_eq(kd_train(s.model, s.data, &opt, NULL), KD_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(s.ctx), "its lr is 0.05, this run's is 0.06"));
    drop(&s);
}
END_TEST

/* A second run on the same folder, while the first is in it. */
typedef struct intruder {
    const char *out;
    size_t refused;
} intruder;

static int intrude(void *user, const kd_progress *p)
{
    intruder *in = user;
    if (p->step != 3) return 0;
    setup s = make(1, NULL);
    kd_train_opt opt = options();
    opt.out = in->out;
    ck_assert_int_eq(kd_train(s.model, s.data, &opt, NULL), KD_E_IO);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(s.ctx), in->out));
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(s.ctx), "another run"));
    drop(&s);
    in->refused++;
    return 0;
}

START_TEST(test_one_run_a_folder)
{
    char out[512];
    snprintf(out, sizeof out, "%s/mine", test_dir());
    intruder in = {.out = out};
    kd_train_opt opt = options();
    setup s = make(1, NULL);
    opt.out = out;
    opt.max_steps = 5;
    opt.progress = intrude;
    opt.user = &in;
    test_ok(s.ctx, kd_train(s.model, s.data, &opt, NULL));
    ck_assert_uint_eq(in.refused, 1);
    opt.resume = 1;
    opt.progress = NULL;
    test_ok(s.ctx, kd_train(s.model, s.data, &opt, NULL));
    drop(&s);
}
END_TEST

START_TEST(test_methods)
{
    for (kd_method method = 0; method < KD_METHOD_COUNT; method++) {
        setup s = make(2, NULL);
        kd_model *teachers[2];
        test_ok(s.ctx, kd_model_create(s.ctx, "vgg8_bn,width=0.0625,classes=10,image=32", 3,
                                       &teachers[0]));
        test_ok(s.ctx, kd_model_create(s.ctx, "vgg4_bn,width=0.0625,classes=10,image=48", 4,
                                       &teachers[1]));
        const float weights[] = {.75f, .25f};
        kd_train_opt train = options();
        train.max_steps = 5;
        kd_distill_opt opt = {.struct_size = sizeof opt,
                              .teachers = teachers,
                              .n_teachers = 2,
                              .teacher_weights = weights,
                              .method = method,
                              .train = &train};
        kd_result r = {.struct_size = sizeof r};
        test_ok(s.ctx, kd_distill(s.model, s.data, &opt, &r));
        ck_assert_uint_eq(r.steps, 5);
        ck_assert(r.times.teacher > 0);
        kd_model_destroy(teachers[0]);
        kd_model_destroy(teachers[1]);
        drop(&s);
    }
}
END_TEST

START_TEST(test_budget)
{
    setup s = make(2, NULL);
    kd_train_opt opt = options();
    kd_result r = {.struct_size = sizeof r};
    opt.epochs = 0;
    opt.budget_seconds = .5;
    opt.schedule = KD_SCHEDULE_COSINE;
    opt.no_test = 1;
    test_ok(s.ctx, kd_train(s.model, s.data, &opt, &r));
    ck_assert_msg(r.seconds >= .98 * .5 && r.seconds < 5, "%.2f seconds", r.seconds);
    ck_assert_uint_gt(r.steps, 0);
    drop(&s);
}
END_TEST

static float *weight(kd_model *m, const char *name)
{
    const kd_param_info *info = kd_params_find(kd_model_params(m), name);
    ck_assert_msg(info != NULL, "no %s", name);
    kd_params_touch(kd_model_params(m));
    return kd_params_values(kd_model_params(m)) + info->offset;
}

static void expect_stop(const setup *s, kd_status status, const char *const *parts)
{
    ck_assert_int_eq(status, KD_E_NONFINITE);
    for (; *parts; parts++)
        ck_assert_msg(strstr(kd_ctx_error(s->ctx), *parts), "'%s' is not in: %s", *parts,
                      kd_ctx_error(s->ctx));
}

/* The error says at which step, and where the first bad number stands. */
START_TEST(test_nan_stops_and_is_found)
{
    kd_model *teacher;
    setup s = make(1, NULL);
    kd_train_opt opt = options();
    test_ok(s.ctx, kd_model_create(s.ctx, "vgg2_bn,width=0.0625,classes=10,image=32", 3, &teacher));
    float *w = weight(s.model, "features.4.weight"), good = w[3];
    w[3] = NAN;
    expect_stop(&s, kd_train(s.model, s.data, &opt, NULL),
                (const char *const[]){"'features.4.weight' holds nan", NULL});
    /* finite weights whose products are not */
    w[3] = 3e38f;
    w[4] = 3e38f;
    expect_stop(&s, kd_train(s.model, s.data, &opt, NULL),
                (const char *const[]){"step 1 (epoch 1, batch 1)", "'features.4'", NULL});
    w[3] = w[4] = good;
    weight(teacher, "classifier.bias")[0] = INFINITY;
    const kd_distill_opt distill = {
        .struct_size = sizeof distill, .teacher = teacher, .train = &opt};
    expect_stop(&s, kd_distill(s.model, s.data, &distill, NULL),
                (const char *const[]){"'classifier.bias' holds inf", "teacher 0", NULL});
    kd_model_destroy(teacher);
    drop(&s);
}
END_TEST

/* The loss is fine, and what its gradient multiplies is too large: 3e38 in the classifier, beside
 * activations so small that the logits are not, and inputs of 100 to the layer before. */
START_TEST(test_infinite_gradient)
{
    setup s = make(2, NULL);
    kd_model *m;
    test_ok(s.ctx, kd_model_create(s.ctx, "vgg3,width=0.0625,classes=10,image=32", 1, &m));
    static const float to[] = {0, 100, 0, 1e-37f, 3e38f, 0};
    kd_params *p = kd_model_params(m);
    ck_assert_uint_eq(kd_params_entries(p), 6);
    for (size_t i = 0; i < 6; i++) {
        const kd_param_info *info = kd_params_info(p, i);
        float *w = weight(m, info->name);
        const size_t count = i == 4 ? 1 : info->count;
        for (size_t k = 0; k < info->count; k++) w[k] = k < count ? to[i] : 0;
    }
    const size_t size = kd_params_flat_count(p) * sizeof(float);
    float *before = malloc(size);
    memcpy(before, kd_params_values(p), size);
    kd_train_opt opt = options();
    expect_stop(&s, kd_train(m, s.data, &opt, NULL),
                (const char *const[]){"step 1 (epoch 1, batch 1)", "the gradient is not finite; ",
                                      "the gradient of 'features.", NULL});
    opt.on_nan = KD_NAN_SKIP;
    opt.max_steps = 2;
    kd_result r = {.struct_size = sizeof r};
    expect_stop(&s, kd_train(m, s.data, &opt, &r),
                (const char *const[]){"every step of epoch 1 was skipped, 2 in all", NULL});
    ck_assert_uint_eq(r.skipped, 2);
    ck_assert_double_nan(r.train_loss);
    ck_assert_double_nan(r.train_top1);
    ck_assert_mem_eq(before, kd_params_values(p), size);
    free(before);
    kd_model_destroy(m);
    drop(&s);
}
END_TEST

/* A rate at which the weights explode: later than the first step. */
START_TEST(test_divergence_stops)
{
    setup s = make(2, NULL);
    kd_train_opt opt = options();
    opt.lr = 9e5f;
    opt.epochs = 50;
    expect_stop(&s, kd_train(s.model, s.data, &opt, NULL), (const char *const[]){"step ", NULL});
    ck_assert_ptr_null(strstr(kd_ctx_error(s.ctx), "step 0 "));
    drop(&s);
}
END_TEST

/* One bad step in the middle of a run. */
typedef struct accident {
    kd_model *model;
    size_t at;
    float good;
    float mean; /* of the statistics, before it */
} accident;

static int have_accident(void *user, const kd_progress *p)
{
    accident *a = user;
    if (p->epoch_end || p->evaluating) return 0;
    float *w = weight(a->model, "features.4.weight");
    const kd_param_info *info =
        kd_params_find(kd_model_params(a->model), "features.1.running_mean");
    const char *buffers = kd_params_buffers(kd_model_params(a->model));
    if (p->step == a->at) {
        a->good = *w;
        *w = INFINITY;
        memcpy(&a->mean, buffers + info->offset, sizeof a->mean);
    } else if (p->step == a->at + 1) {
        float mean;
        memcpy(&mean, buffers + info->offset, sizeof mean);
        ck_assert_msg(mean == a->mean, "a skipped step changed the running statistics");
        ck_assert(isinf(*w));
        *w = a->good;
    }
    return 0;
}

static void count_warnings(void *user, kd_log_level level, const char *text)
{
    int *count = user;
    if (level < KD_LOG_WARN) return;
    *count += strstr(text, "step 5 (epoch 1, batch 5)") && strstr(text, "skipped") &&
              strstr(text, "weights of 'features.4.weight'");
}

START_TEST(test_nan_is_skipped)
{
    int warnings = 0;
    const kd_config config = {
        .struct_size = sizeof config, .threads = 2, .log = count_warnings, .log_user = &warnings};
    setup s;
    kd_result r = {.struct_size = sizeof r};
    ck_assert_int_eq(kd_ctx_create(&config, &s.ctx), KD_OK);
    test_ok(s.ctx, kd_dataset_open(s.ctx, data_name, NULL, &s.data));
    test_ok(s.ctx, kd_model_create(s.ctx, student_spec, 1, &s.model));
    accident a = {.model = s.model, .at = 4};
    kd_train_opt opt = options();
    opt.on_nan = KD_NAN_SKIP;
    opt.epochs = 1;
    opt.progress = have_accident;
    opt.user = &a;
    test_ok(s.ctx, kd_train(s.model, s.data, &opt, &r));
    ck_assert_int_eq(warnings, 1);
    ck_assert_uint_eq(r.steps, 10);
    ck_assert_uint_eq(r.skipped, 1);
    ck_assert_msg(isfinite(r.loss) && isfinite(r.train_loss), "loss %g, %g", r.loss, r.train_loss);
    kd_params *p = kd_model_params(s.model);
    for (size_t i = 0; i < kd_params_flat_count(p); i++)
        ck_assert(isfinite(kd_params_values(p)[i]));
    drop(&s);
}
END_TEST

START_TEST(test_errors)
{
    setup s = make(1, NULL);
    kd_model *narrow;
    test_ok(s.ctx, kd_model_create(s.ctx, "vgg2,width=0.0625,classes=3,image=32", 1, &narrow));
    kd_train_opt opt = options();
    ck_assert_int_eq(kd_train(narrow, s.data, &opt, NULL), KD_E_MISMATCH);
    kd_distill_opt d = {.struct_size = sizeof d, .teacher = narrow, .train = &opt};
    ck_assert_int_eq(kd_distill(s.model, s.data, &d, NULL), KD_E_MISMATCH);
    d.teacher = NULL;
    ck_assert_int_eq(kd_distill(s.model, s.data, &d, NULL), KD_E_INVALID);
    opt.batch = 100000;
    opt.drop_last = 1;
    ck_assert_int_eq(kd_train(s.model, s.data, &opt, NULL), KD_E_INVALID);
    opt = options();
    opt.out = "/dev/null/run"; /* no folder, and none can be made */
    ck_assert_int_eq(kd_train(s.model, s.data, &opt, NULL), KD_E_IO);
    kd_model_destroy(narrow);
    drop(&s);
}
END_TEST

START_TEST(test_every_allocation_failing)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    kd_dataset *data;
    kd_model *model, *teacher;
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=32,test=16,image=32", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, "vgg2_bn,width=0.0625,classes=10,image=32", 1, &model));
    test_ok(ctx, kd_model_create(ctx, "vgg3_bn,width=0.0625,classes=10,image=32", 2, &teacher));
    const float mean[] = {.5f, .5f, .5f};
    test_ok(ctx, kd_model_set_normalization(model, mean, mean));
    test_ok(ctx, kd_params_need_grads(kd_model_params(model)));
    /* what a run notes in the model stays there */
    test_ok(ctx, kd_model_set_class_names(model, kd_dataset_info(data)->class_names));
    test_ok(ctx, kd_model_set_framing(model, kd_dataset_framing(data)));
    test_ok(ctx, kd_model_set_data(model, kd_dataset_info(data)->name, 1));
    char out[512];
    snprintf(out, sizeof out, "%s/failing", test_dir());
    kd_distill_opt opt = {.struct_size = sizeof opt,
                          .teacher = teacher,
                          .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                   .epochs = 1,
                                                   .batch = 16,
                                                   .ema = .5f,
                                                   .dev_count = 8,
                                                   .out = out,
                                                   .overwrite = 1}};
    const long live = heap.live;
    for (long n = 1;; n++) {
        heap.count = 0;
        heap.fail_at = n;
        const kd_status status = kd_distill(model, data, &opt, NULL);
        heap.fail_at = 0;
        ck_assert_msg(heap.live == live, "allocation %ld failed and %ld blocks leaked", n,
                      heap.live - live);
        if (!status) break;
        ck_assert_msg(status == KD_E_NOMEM, "allocation %ld: %s: %s", n, kd_status_name(status),
                      kd_ctx_error(ctx));
        ck_assert_int_lt(n, 20000);
    }
    kd_model_destroy(model);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

/* A single step: what is not finite changes nothing, and a teacher needs its logits given. */
START_TEST(test_step_refuses)
{
    setup s = make(1, NULL);
    enum { N = 2, PICTURE = 32 * 32 * 3, K = 10 };
    static float x[N * PICTURE], teacher[N * K];
    static const int32_t labels[N] = {1, 2};
    kd_params *p = kd_model_params(s.model);
    const size_t size = kd_params_flat_count(p) * sizeof(float);
    float *before = malloc(size);
    const kd_distill_opt opt = {.struct_size = sizeof opt, .teacher = s.model};
    const kd_distill_opt plain = {.struct_size = sizeof plain};
    memcpy(before, kd_params_values(p), size);
    for (size_t i = 0; i < N * PICTURE; i++) x[i] = .01f * (float)(i % 101);
    ck_assert_int_eq(kd_train_step(s.model, N, x, labels, NULL, &opt, NULL), KD_E_INVALID);
    teacher[3] = NAN;
    ck_assert_int_eq(kd_train_step(s.model, N, x, labels, teacher, &plain, NULL), KD_E_NONFINITE);
    teacher[3] = 0;
    x[7] = INFINITY;
    ck_assert_int_eq(kd_train_step(s.model, N, x, labels, teacher, &plain, NULL), KD_E_NONFINITE);
    ck_assert_mem_eq(before, kd_params_values(p), size);
    x[7] = 0;
    free(before);
    drop(&s);
}
END_TEST

static void put(const char *folder, const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_msg(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

/* Files that have a run's names, but are of another kind, stay, whatever is asked for; and a link to
 * nowhere is somebody's, too. */
START_TEST(test_files_of_another_kind)
{
    static const char *const names[] = {"checkpoint.safetensors", "model.safetensors",
                                        "last.safetensors", "metrics.jsonl", "run.json"};
    char out[512], path[600], text[100] = "";
    setup s = make(1, NULL);
    kd_train_opt opt = options();
    opt.max_steps = 1;
    opt.no_test = 1;
    opt.out = out;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(out, sizeof out, "%s/kind%zu", test_dir(), i);
        test_ok(s.ctx, kd_folder_make(s.ctx, out));
        put(out, names[i], i % 2 ? "notes of mine\n" : "{\"mine\":1}\n");
        for (int k = 0; k < 2; k++) {
            opt.overwrite = k;
            ck_assert_int_eq(kd_train(s.model, s.data, &opt, NULL), KD_E_EXISTS);
            ck_assert_ptr_nonnull(strstr(kd_ctx_error(s.ctx), names[i]));
            for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
                snprintf(path, sizeof path, "%s/%s", out, names[j]);
                ck_assert_int_eq(access(path, F_OK) == 0, i == j);
            }
        }
        snprintf(path, sizeof path, "%s/%s", out, names[i]);
        FILE *f = fopen(path, "r");
        ck_assert(f && fgets(text, sizeof text, f) && strstr(text, "mine"));
        fclose(f);
    }
    snprintf(out, sizeof out, "%s/kind_link", test_dir());
    test_ok(s.ctx, kd_folder_make(s.ctx, out));
    snprintf(path, sizeof path, "%s/last.safetensors", out);
    ck_assert_int_eq(symlink("/nowhere/at/all", path), 0);
    opt.overwrite = 0;
    ck_assert_int_eq(kd_train(s.model, s.data, &opt, NULL), KD_E_EXISTS);
    ck_assert_int_eq(readlink(path, text, sizeof text) > 0, 1);
    drop(&s);
}
END_TEST

TEST_SUITE(train, 120, &test_learns, &test_learns_real_pictures, &test_same_bits_for_any_threads,
           &test_resume_gives_the_same_bits, &test_resume_refuses_another_run,
           &test_one_run_a_folder, &test_methods, &test_budget, &test_nan_stops_and_is_found,
           &test_infinite_gradient, &test_divergence_stops, &test_nan_is_skipped, &test_errors,
           &test_every_allocation_failing, &test_step_refuses, &test_files_of_another_kind)
