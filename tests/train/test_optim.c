/* SPDX-License-Identifier: MIT
 * test_optim.c: optimisers beyond what golden cases show: layer-wise rates, AdamW's bits over
 * threads, stops and failing allocations, averaged weights in files, and the loss of two heads. */
#include "../../lib/train/train.h"
#include "../test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- layer-wise rates ------------------------------------------------------------------------ */

/* Names as ViT, Swin and VGG have them, and the layers above each, in timm's groups. */
typedef struct named {
    const char *name;
    int above;
} named;

static const named vit[] = {{"cls_token", 4},
                            {"dist_token", 4},
                            {"pos_embed", 4},
                            {"patch_embed.proj.weight", 4},
                            {"blocks.0.norm1.weight", 3},
                            {"blocks.2.mlp.fc2.bias", 2},
                            {"blocks.10.attn.qkv.weight", 1},
                            {"norm.weight", 1},
                            {"head.weight", 0},
                            {"head_dist.weight", 0}};
static const named swin[] = {{"patch_embed.norm.weight", 4},
                             {"layers.0.blocks.0.attn.relative_position_bias_table", 3},
                             {"layers.1.downsample.reduction.weight", 2},
                             {"layers.1.blocks.0.norm1.weight", 2},
                             {"layers.1.blocks.1.mlp.fc1.weight", 1},
                             {"norm.bias", 1},
                             {"head.fc.weight", 0}};
static const named vgg[] = {{"features.0.weight", 3},
                            {"features.3.bias", 2},
                            {"features.10.weight", 1},
                            {"classifier.0.weight", 0},
                            {"classifier.6.bias", 0}};
static const named odd[] = {{"norm.weight", 0}, {"blocks.", 0}, {"layers.12345678.blocks.1.x", 0}};

static kd_params *params_of(kd_ctx *ctx, const named *names, size_t n)
{
    static const kd_param_opt opt = {.struct_size = sizeof opt, .init = KD_INIT_ONE};
    const int64_t dim[] = {3};
    kd_graph *g;
    kd_params *p;
    test_ok(ctx, kd_graph_create(ctx, &g));
    for (size_t i = 0; i < n; i++) kd_param(g, names[i].name, 1, dim, &opt);
    test_ok(ctx, kd_params_create(g, 1, &p));
    kd_graph_destroy(g);
    return p;
}

static void check_rates(kd_ctx *ctx, kd_optimizer optimizer, const named *names, size_t n)
{
    kd_params *p = params_of(ctx, names, n);
    kd_optim *optim;
    const kd_optim_opt opt = {.struct_size = sizeof opt,
                              .optimizer = optimizer,
                              .momentum = optimizer == KD_OPTIMIZER_ADAMW ? 0 : KD_OFF,
                              .weight_decay = KD_OFF,
                              .layer_decay = .5f};
    test_ok(ctx, kd_optim_create(p, &opt, &optim));
    for (size_t i = 0; i < kd_params_flat_count(p); i++) kd_params_grads(p)[i] = 1;
    kd_optim_step(optim, .25f, 1);
    for (size_t i = 0; i < n; i++) {
        const kd_param_info *info = kd_params_find(p, names[i].name);
        const double want = 1 - .25 * pow(.5, names[i].above);
        const double got = (double)kd_params_values(p)[info->offset + 2];
        ck_assert_msg(fabs(got - want) < 1e-6, "%s: %g, not %g", names[i].name, got, want);
    }
    kd_optim_destroy(optim);
    kd_params_destroy(p);
}

START_TEST(test_layer_decay)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    for (kd_optimizer o = 0; o < KD_OPTIMIZER_COUNT; o++) {
        check_rates(ctx, o, vit, sizeof vit / sizeof *vit);
        check_rates(ctx, o, swin, sizeof swin / sizeof *swin);
        check_rates(ctx, o, vgg, sizeof vgg / sizeof *vgg);
        check_rates(ctx, o, odd, sizeof odd / sizeof *odd);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_impossible_options)
{
    static const kd_optim_opt bad[] = {{.optimizer = KD_OPTIMIZER_COUNT},
                                       {.optimizer = KD_OPTIMIZER_ADAMW, .beta1 = 1},
                                       {.optimizer = KD_OPTIMIZER_ADAMW, .beta2 = (double)NAN},
                                       {.optimizer = KD_OPTIMIZER_ADAMW, .eps = INFINITY},
                                       {.layer_decay = 1.5f},
                                       {.layer_decay = NAN},
                                       {.momentum = KD_OFF, .nesterov = 1},
                                       {.nesterov = -2},
                                       {.nesterov = 2},
                                       {.decay_all = 7},
                                       {.weight_decay = KD_OFF, .decay_all = 1},
                                       {.beta1 = .5},
                                       {.eps = KD_OFF},
                                       {.momentum = -3},
                                       {.optimizer = KD_OPTIMIZER_ADAMW, .momentum = .5f},
                                       {.optimizer = KD_OPTIMIZER_ADAMW, .nesterov = 1}};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_params *p = params_of(ctx, vgg, 1);
    kd_optim *optim;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_optim_opt opt = bad[i];
        opt.struct_size = sizeof opt;
        ck_assert_msg(kd_optim_create(p, &opt, &optim) == KD_E_INVALID, "case %zu", i);
        ck_assert_ptr_null(optim);
    }
    kd_params_destroy(p);
    kd_ctx_destroy(ctx);
}
END_TEST

/* One weight after two steps with a gradient of 1 at rate 1/4, and a momentum of 1/2. */
static double walked(kd_ctx *ctx, kd_optim_opt opt)
{
    kd_params *p = params_of(ctx, vgg, 1);
    kd_optim *optim;
    opt.struct_size = sizeof opt;
    opt.weight_decay = KD_OFF;
    test_ok(ctx, kd_optim_create(p, &opt, &optim));
    for (int step = 0; step < 2; step++) {
        kd_params_grads(p)[0] = 1;
        kd_optim_step(optim, .25f, 1);
    }
    const double x = (double)kd_params_values(p)[0];
    kd_optim_destroy(optim);
    kd_params_destroy(p);
    return x;
}

/* 0 is the default, as in kd_train_opt: on; -1 is off, and no contradiction without a momentum. */
START_TEST(test_nesterov)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const double plain = 1 - .25 * (1 + 1.5), nesterov = 1 - .25 * (1.5 + 1.75);
    ck_assert(walked(ctx, (kd_optim_opt){.momentum = .5f}) == nesterov);
    ck_assert(walked(ctx, (kd_optim_opt){.momentum = .5f, .nesterov = 1}) == nesterov);
    ck_assert(walked(ctx, (kd_optim_opt){.momentum = .5f, .nesterov = -1}) == plain);
    for (int n = -1; n <= 0; n++)
        ck_assert(walked(ctx, (kd_optim_opt){.momentum = KD_OFF, .nesterov = n}) == .5);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- runs ------------------------------------------------------------------------------------ */

static int stop_at(void *user, const kd_progress *p)
{
    return !p->epoch_end && p->step == *(const size_t *)user;
}

static kd_train_opt adamw_options(void)
{
    return (kd_train_opt){.struct_size = sizeof(kd_train_opt),
                          .optimizer = KD_OPTIMIZER_ADAMW,
                          .epochs = 2,
                          .batch = 32,
                          .schedule = KD_SCHEDULE_COSINE,
                          .warmup = .5f,
                          .min_lr = 1e-5f,
                          .layer_decay = .75f,
                          .clip = 1,
                          .ema = .75f,
                          .no_test = 1,
                          .seed = 3};
}

/* One run; a copy of the model's values afterwards, *count floats. */
static float *run(int threads, const kd_train_opt *opt, kd_status want, size_t *count)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    kd_dataset *data;
    kd_model *m;
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=192,test=32", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, "vgg4_bn,width=0.125,classes=10,image=32", 1, &m));
    const kd_status status = kd_train(m, data, opt, NULL);
    ck_assert_msg(status == want, "%s", kd_ctx_error(ctx));
    kd_params *p = kd_model_params(m);
    *count = kd_params_flat_count(p);
    float *copy = malloc(*count * sizeof *copy);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, kd_params_values(p), *count * sizeof *copy);
    kd_model_destroy(m);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return copy;
}

/* ---- schedules ------------------------------------------------------------------------------- */

/* Beginnings, middles and ends of what they are made of; what lies outside of a run is its end. */
START_TEST(test_factors)
{
    static const struct {
        kd_schedule schedule;
        double t, factor;
    } cases[] = {{KD_SCHEDULE_CONSTANT, .7, 1},
                 {KD_SCHEDULE_STEP, .62, 1},
                 {KD_SCHEDULE_STEP, .63, .1},
                 {KD_SCHEDULE_STEP, .76, .01},
                 {KD_SCHEDULE_STEP, 1, .001},
                 {KD_SCHEDULE_COSINE, -1, 1},
                 {KD_SCHEDULE_COSINE, .25, .8535533905932737},
                 {KD_SCHEDULE_COSINE, .5, .5},
                 {KD_SCHEDULE_COSINE, 2, 0},
                 {KD_SCHEDULE_ONECYCLE, 0, .04},
                 {KD_SCHEDULE_ONECYCLE, .15, .52},
                 {KD_SCHEDULE_ONECYCLE, .3, 1},
                 {KD_SCHEDULE_ONECYCLE, .65, .500002},
                 {KD_SCHEDULE_ONECYCLE, 1, 4e-6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_double_eq_tol(kd_schedule_factor(cases[i].schedule, cases[i].t), cases[i].factor,
                                1e-12);
}
END_TEST

static int check_rate(void *user, const kd_progress *p)
{
    const kd_train_opt *o = user;
    const double warm = 3, steps = 12, done = (double)p->step - 1;
    const double fall = .5 * (1 + cos(3.14159265358979323846 * done / steps));
    const double rate = (double)o->min_lr + ((double)o->lr - (double)o->min_lr) * fall;
    ck_assert_double_eq_tol(p->lr, done + 1 < warm ? rate * (done + 1) / warm : rate, 1e-9);
    return 0;
}

/* The rate rises to a cosine for half an epoch and falls with it; it is the one that the step was done with. */
START_TEST(test_warmup)
{
    kd_train_opt opt = adamw_options();
    size_t count;
    opt.lr = .002f;
    opt.progress = check_rate;
    opt.user = &opt;
    free(run(1, &opt, KD_OK, &count));
}
END_TEST

START_TEST(test_threads_and_stops_change_nothing)
{
    static const int threads[] = {2, 3, 7};
    char out[512];
    size_t n, again;
    kd_train_opt opt = adamw_options();
    float *one = run(1, &opt, KD_OK, &n);
    for (size_t i = 0; i < 3; i++) {
        float *more = run(threads[i], &opt, KD_OK, &again);
        ck_assert_uint_eq(n, again);
        ck_assert_msg(!memcmp(one, more, n * sizeof *one), "%d threads differ", threads[i]);
        free(more);
    }
    snprintf(out, sizeof out, "%s/adamw", test_dir());
    opt.out = out;
    static const size_t stops[] = {3, 8, 0};
    for (size_t i = 0; i < 3; i++) {
        size_t at = stops[i];
        opt.resume = i > 0;
        opt.progress = at ? stop_at : NULL;
        opt.user = &at;
        float *part = run(2, &opt, at ? KD_E_STOPPED : KD_OK, &again);
        if (!at) ck_assert_msg(!memcmp(one, part, n * sizeof *one), "resumed: differs");
        free(part);
    }
    opt.resume = 1;
    opt.beta2 = .99; /* another run */
    free(run(1, &opt, KD_E_MISMATCH, &again));
    free(one);
}
END_TEST

/* model.safetensors holds the average, the checkpoint the weights themselves and the average. */
START_TEST(test_average_in_files)
{
    char out[512], path[600], name[300];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *model, *checkpoint;
    kd_train_opt opt = adamw_options();
    size_t n, differ = 0, states = 0;
    snprintf(out, sizeof out, "%s/average", test_dir());
    opt.out = out;
    free(run(1, &opt, KD_OK, &n));
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    test_ok(ctx, kd_file_open(ctx, path, &model));
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", out);
    test_ok(ctx, kd_file_open(ctx, path, &checkpoint));
    for (size_t i = 0; i < kd_file_count(model); i++) {
        const kd_file_tensor *t = kd_file_at(model, i), *own, *average;
        if (t->dtype != KD_F32) continue;
        snprintf(name, sizeof name, "ema.%s", t->name);
        ck_assert_ptr_nonnull(average = kd_file_find(checkpoint, name));
        ck_assert_ptr_nonnull(own = kd_file_find(checkpoint, t->name));
        float *x = malloc(3 * t->count * sizeof *x);
        ck_assert_ptr_nonnull(x);
        test_ok(ctx, kd_file_read_f32(model, t, 0, t->count, x));
        test_ok(ctx, kd_file_read_f32(checkpoint, average, 0, t->count, x + t->count));
        test_ok(ctx, kd_file_read_f32(checkpoint, own, 0, t->count, x + 2 * t->count));
        ck_assert_msg(!memcmp(x, x + t->count, t->count * sizeof *x), "%s", t->name);
        differ += memcmp(x, x + 2 * t->count, t->count * sizeof *x) != 0;
        free(x);
        snprintf(name, sizeof name, "optimizer.exp_avg_sq.%s", t->name);
        states += kd_file_find(checkpoint, name) != NULL;
    }
    ck_assert_uint_gt(differ, 4);
    ck_assert_uint_gt(states, 4);
    kd_file_close(model);
    kd_file_close(checkpoint);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_every_allocation_failing)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    kd_params *p = params_of(ctx, vit, sizeof vit / sizeof *vit);
    test_ok(ctx, kd_params_need_grads(p));
    const kd_optim_opt opt = {
        .struct_size = sizeof opt, .optimizer = KD_OPTIMIZER_ADAMW, .layer_decay = .5f};
    const long live = heap.live;
    kd_optim *optim;
    for (long n = 1;; n++) {
        heap.count = 0;
        heap.fail_at = n;
        const kd_status status = kd_optim_create(p, &opt, &optim);
        heap.fail_at = 0;
        if (!status) break;
        ck_assert_int_eq(status, KD_E_NOMEM);
        ck_assert_ptr_null(optim);
        ck_assert_int_eq(heap.live, live);
        ck_assert_int_lt(n, 100);
    }
    kd_optim_destroy(optim);
    kd_params_destroy(p);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

/* ---- two heads ------------------------------------------------------------------------------- */

enum { N = 4, K = 5 };

/* -log softmax(x)[k] */
static double entropy(const float *x, size_t k, double t)
{
    double sum = 0;
    for (size_t i = 0; i < K; i++) sum += exp((double)x[i] / t);
    return log(sum) - (double)x[k] / t;
}

/* DeiT's loss by its formula: the labels by the class head, the teacher by the other one. */
static double formula(const kd_distill_opt *o, const float *cls, const float *dist,
                      const float *teacher, const int32_t *labels)
{
    double loss = 0;
    const double t = (double)o->temperature;
    for (size_t r = 0; r < N; r++, cls += K, dist += K, teacher += K) {
        size_t best = 0;
        for (size_t k = 1; k < K; k++)
            if (teacher[k] > teacher[best]) best = k;
        loss += (double)o->hard * entropy(cls, (size_t)labels[r], 1);
        if (o->method == KD_METHOD_HARD) loss += (double)o->soft * entropy(dist, best, 1);
        for (size_t k = 0; k < K && o->method == KD_METHOD_KD; k++) {
            const double log_q = -entropy(teacher, k, t);
            loss += (double)o->soft * t * t * exp(log_q) * (log_q + entropy(dist, k, t));
        }
    }
    return loss / N;
}

static void check_heads(kd_ctx *ctx, kd_method method, float hard, float soft, float temperature)
{
    const int64_t dim[] = {KD_BATCH, K};
    static const int32_t labels[N] = {1, 4, 0, 2};
    float cls[N * K], dist[N * K], teacher[N * K];
    const kd_distill_opt from = {.struct_size = sizeof from,
                                 .method = method,
                                 .hard = hard,
                                 .soft = soft,
                                 .temperature = method == KD_METHOD_HARD ? 0 : temperature};
    kd_train_opt train;
    kd_distill_opt o;
    kd_graph *g;
    kd_params *params;
    kd_plan *plan;
    kd_exec *exec;
    test_fill(cls, N * K, 1, 3);
    test_fill(dist, N * K, 2, 3);
    test_fill(teacher, N * K, 3, 3);
    test_ok(ctx, kdt_take(ctx, NULL, NULL, &from, true, &train, &o));
    o.n_teachers = 1;
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value heads[2] = {kd_input(g, "cls", KD_F32, 2, dim),
                               kd_input(g, "dist", KD_F32, 2, dim)};
    for (int h = 0; h < 2; h++) kd_graph_want_grad(g, heads[h]);
    const kd_value logits = kd_scale(g, kd_add(g, heads[0], heads[1]), .5f);
    const kd_value loss = kdt_step_loss(g, &o, &(kdt_step){.batch = 1}, logits, heads, K);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    kd_output(g, kd_graph_grad_of(g, heads[0]), "grad0");
    kd_output(g, kd_graph_grad_of(g, heads[1]), "grad1");
    test_ok(ctx, kd_params_create(g, 1, &params));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = N, .training = 1};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, params, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "cls", cls));
    test_ok(ctx, kd_exec_bind(exec, "dist", dist));
    test_ok(ctx, kd_exec_bind(exec, "teacher0", teacher));
    test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    test_ok(ctx, kd_exec_run(exec, NULL));
    const double want = formula(&o, cls, dist, teacher, labels);
    ck_assert_double_eq_tol(*(const float *)kd_exec_output(exec, "loss"), want, 1e-6);
    float *const x[] = {cls, dist};
    for (int h = 0; h < 2; h++) /* finite differences of the formula */
        for (size_t i = 0; i < N * K; i++) {
            const float *got = kd_exec_output(exec, h ? "grad1" : "grad0"), was = x[h][i];
            x[h][i] = was + .0078125f;
            const double more = formula(&o, cls, dist, teacher, labels);
            x[h][i] = was - .0078125f;
            const double less = formula(&o, cls, dist, teacher, labels);
            x[h][i] = was;
            ck_assert_double_eq_tol(got[i], (more - less) / .015625, 1e-5);
        }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
}

START_TEST(test_two_heads)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    check_heads(ctx, KD_METHOD_HARD, 0, 0, 0); /* the defaults: a half each */
    check_heads(ctx, KD_METHOD_HARD, .25f, .75f, 0);
    check_heads(ctx, KD_METHOD_KD, .5f, .5f, 1);
    check_heads(ctx, KD_METHOD_KD, .9f, .1f, 3);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(optim, 60, &test_layer_decay, &test_impossible_options, &test_nesterov, &test_factors,
           &test_warmup, &test_threads_and_stops_change_nothing, &test_average_in_files,
           &test_every_allocation_failing, &test_two_heads)
