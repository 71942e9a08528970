/* SPDX-License-Identifier: MIT
 * test_options.c: every option struct of the library by one rule (kd_options), and every struct that
 * the library fills (kd_results): a forgotten size, an older program's, ours, a newer program's. */
#include "../test.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { N = 128, SIDE = 8, CLASSES = 2, TAIL = 16, MOST = 1024 };
#define SPEC "vgg2_bn,width=0.125,classes=2,image=8,channels=1"

typedef struct world {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model, *teacher;
    kd_plan *plan;
    kd_exec *exec;
    uint8_t pixels[N * SIDE * SIDE];
    int32_t labels[N];
    float input[N * SIDE * SIDE];
} world;

static const kd_data_info about = {.struct_size = sizeof about,
                                   .classes = CLASSES,
                                   .height = SIDE,
                                   .width = SIDE,
                                   .channels = 1,
                                   .count = {[KD_SPLIT_TRAIN] = N, [KD_SPLIT_TEST] = N}};

static kd_status open_data(world *w, const kd_data_info *info, kd_dataset **data)
{
    const uint8_t *const images[KD_SPLIT_COUNT] = {w->pixels, w->pixels};
    const int32_t *const labels[KD_SPLIT_COUNT] = {w->labels, w->labels};
    return kd_dataset_from_arrays(w->ctx, info, images, labels, 0, data);
}

static void world_make(world *w)
{
    *w = (world){.ctx = test_ctx(1, NULL)};
    for (int i = 0; i < N; i++) {
        w->labels[i] = i % CLASSES;
        memset(w->pixels + i * SIDE * SIDE, 100 * (i % CLASSES), SIDE * SIDE);
    }
    test_ok(w->ctx, open_data(w, &about, &w->data));
    test_ok(w->ctx, kd_model_create(w->ctx, SPEC, 1, &w->model));
    test_ok(w->ctx, kd_model_create(w->ctx, SPEC, 2, &w->teacher));
    test_ok(w->ctx, kd_model_plan(w->model, 2, &w->plan, &w->exec));
    test_ok(w->ctx, kd_exec_bind(w->exec, "input", w->input));
}

static void world_free(world *w)
{
    kd_exec_destroy(w->exec);
    kd_plan_destroy(w->plan);
    kd_model_destroy(w->teacher);
    kd_model_destroy(w->model);
    kd_dataset_close(w->data);
    ck_assert_uint_eq(kd_ctx_memory(w->ctx), 0);
    kd_ctx_destroy(w->ctx);
}

/* ---- options: each call is given the struct to be tried -------------------------------------- */

static kd_status call_ctx(world *w, const void *opt)
{
    kd_ctx *ctx;
    const kd_status status = kd_ctx_create(opt, &ctx);
    (void)w;
    kd_ctx_destroy(ctx);
    return status;
}

static kd_status call_data(world *w, const void *opt)
{
    kd_dataset *data = NULL;
    const kd_status status = open_data(w, opt, &data);
    kd_dataset_close(data);
    return status;
}

static kd_status draw_nothing(void *user, kd_split split, size_t index, uint8_t *image,
                              int32_t *label)
{
    (void)user, (void)split, (void)index, (void)image;
    *label = 0;
    return KD_OK;
}

static kd_status call_data_callback(world *w, const void *opt)
{
    kd_dataset *data = NULL;
    const kd_status status = kd_dataset_from_callback(w->ctx, opt, draw_nothing, NULL, &data);
    kd_dataset_close(data);
    return status;
}

static kd_status call_loader(world *w, const void *opt)
{
    kd_loader *loader = NULL;
    const kd_status status = kd_loader_create(w->data, opt, &loader);
    kd_loader_close(loader);
    return status;
}

/* A graph of one input, handed to a builder; its status. */
static kd_status in_graph(world *w, kd_value (*build)(kd_graph *g, kd_value x, const void *opt),
                          const void *opt)
{
    const int64_t dim[] = {KD_BATCH, SIDE, SIDE, 1};
    kd_graph *g;
    test_ok(w->ctx, kd_graph_create(w->ctx, &g));
    const kd_value y = build(g, kd_input(g, "input", KD_F32, 4, dim), opt);
    const kd_status status = kd_graph_status(g);
    ck_assert_int_eq(y == KD_NONE, status != KD_OK);
    kd_graph_destroy(g);
    return status;
}

static kd_value build_conv(kd_graph *g, kd_value x, const void *opt)
{
    return kd_conv2d(g, x, "conv", opt);
}

static kd_status call_conv(world *w, const void *opt)
{
    return in_graph(w, build_conv, opt);
}

static kd_value build_max(kd_graph *g, kd_value x, const void *opt)
{
    return kd_max_pool(g, x, opt);
}

static kd_status call_max(world *w, const void *opt)
{
    return in_graph(w, build_max, opt);
}

static kd_value build_avg(kd_graph *g, kd_value x, const void *opt)
{
    return kd_avg_pool(g, x, opt);
}

static kd_status call_avg(world *w, const void *opt)
{
    return in_graph(w, build_avg, opt);
}

static kd_value build_param(kd_graph *g, kd_value x, const void *opt)
{
    const int64_t dim[] = {3};
    (void)x;
    return kd_param(g, "param", 1, dim, opt);
}

static kd_status call_param(world *w, const void *opt)
{
    return in_graph(w, build_param, opt);
}

static kd_status op_shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    return KD_OK;
}

static kd_status op_forward(const kd_op_call *c)
{
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    for (size_t i = 0; i < c->in[0].count; i++) y[i] = 2 * x[i];
    return KD_OK;
}

static const kd_op twice = {.struct_size = sizeof twice,
                            .name = "twice",
                            .n_in_min = 1,
                            .n_in_max = 1,
                            .n_out = 1,
                            .shape = op_shape,
                            .forward = op_forward};

static kd_value build_op(kd_graph *g, kd_value x, const void *opt)
{
    return kd_graph_op(g, opt, NULL, &x, 1, NULL);
}

static kd_status call_op(world *w, const void *opt)
{
    return in_graph(w, build_op, opt);
}

static kd_status call_load(world *w, const void *opt)
{
    char path[600];
    kd_model *model = NULL;
    snprintf(path, sizeof path, "%s/options.safetensors", test_dir());
    kd_status status = kd_model_save(w->model, path);
    ck_assert_int_eq(status, KD_OK);
    status = kd_model_load_as(w->ctx, path, opt, &model);
    kd_model_destroy(model);
    return status;
}

typedef struct building {
    const kd_model *model;
    const void *opt;
} building;

static kd_value build_model(kd_graph *g, kd_value x, const void *opt)
{
    const building *b = opt;
    return kd_model_build(b->model, g, x, b->opt);
}

static kd_status call_build(world *w, const void *opt)
{
    const building b = {w->model, opt};
    return in_graph(w, build_model, &b);
}

static kd_status call_plan(world *w, const void *opt)
{
    const int64_t dim[] = {KD_BATCH, 3};
    kd_graph *g;
    kd_plan *plan = NULL;
    test_ok(w->ctx, kd_graph_create(w->ctx, &g));
    kd_output(g, kd_relu(g, kd_input(g, "input", KD_F32, 2, dim)), "output");
    const kd_status status = kd_plan_create(g, opt, &plan);
    kd_plan_destroy(plan);
    kd_graph_destroy(g);
    return status;
}

static kd_status call_run(world *w, const void *opt)
{
    return kd_exec_run(w->exec, opt);
}

static kd_status call_optim(world *w, const void *opt)
{
    kd_optim *optim = NULL;
    const kd_status status = kd_optim_create(kd_model_params(w->model), opt, &optim);
    kd_optim_destroy(optim);
    return status;
}

static kd_status call_train(world *w, const void *opt)
{
    return kd_train(w->model, w->data, opt, NULL);
}

static kd_status call_distill(world *w, const void *opt)
{
    return kd_distill(w->model, w->data, opt, NULL);
}

/* The training options inside a distillation's. */
static kd_status call_distill_train(world *w, const void *opt)
{
    const kd_distill_opt distill = {
        .struct_size = sizeof distill, .teacher = w->teacher, .train = opt};
    return kd_distill(w->model, w->data, &distill, NULL);
}

static kd_status call_train_plan(world *w, const void *opt)
{
    kd_plan *plan = NULL;
    const kd_status status = kd_train_plan(w->model, opt, &plan);
    kd_plan_destroy(plan);
    return status;
}

static kd_status call_step(world *w, const void *opt)
{
    kd_step_result result = {.struct_size = sizeof result};
    return kd_train_step(w->model, 4, w->input, w->labels, NULL, opt, &result);
}

static kd_status call_evaluate(world *w, const void *opt)
{
    kd_eval_result result = {.struct_size = sizeof result};
    return kd_evaluate(w->model, w->data, opt, &result);
}

static const float grey[] = {.5f};

static kd_status call_framer(world *w, const void *opt)
{
    kd_framer *framer = NULL;
    const kd_status status = kd_framer_create(w->ctx, opt, &framer);
    kd_framer_destroy(framer);
    return status;
}

static kd_status call_predictor(world *w, const void *opt)
{
    kd_predictor *predictor = NULL;
    test_ok(w->ctx, kd_model_set_normalization(w->model, grey, grey));
    const kd_status status = kd_predictor_create(w->model, opt, &predictor);
    kd_predictor_destroy(predictor);
    return status;
}

/* What the defaults alone give: KD_OK, or the complaint of a call that cannot do without options. */
typedef struct options {
    const char *name, *what;
    kd_status (*call)(world *w, const void *opt);
    const void *full; /* good options */
    size_t size;
    kd_status bare, good;
} options;

static const kd_train_opt training = {.struct_size = sizeof training, .batch = 8, .epochs = 1};
static kd_distill_opt distillation; /* names the teacher */

#define FULL(type, ...) &(const type){.struct_size = sizeof(type), __VA_ARGS__}, sizeof(type)
static const options all[] = {
    {"kd_config", "kd_ctx_create", call_ctx, FULL(kd_config, .threads = 2), KD_OK, KD_OK},
    {"kd_data_info", "kd_dataset_from_arrays", call_data, &about, sizeof about, KD_E_INVALID,
     KD_OK},
    {"kd_data_info", "kd_dataset_from_callback", call_data_callback, &about, sizeof about,
     KD_E_INVALID, KD_OK},
    {"kd_loader_opt", "kd_loader_create", call_loader, FULL(kd_loader_opt, .batch = 4), KD_OK,
     KD_OK},
    {"kd_conv2d_opt", "kd_conv2d", call_conv, FULL(kd_conv2d_opt, .out = 2), KD_E_INVALID, KD_OK},
    {"kd_pool_opt", "kd_max_pool", call_max, FULL(kd_pool_opt, .kernel = {2, 2}), KD_E_INVALID,
     KD_OK},
    {"kd_pool_opt", "kd_avg_pool", call_avg, FULL(kd_pool_opt, .kernel = {2, 2}), KD_E_INVALID,
     KD_OK},
    {"kd_param_opt", "kd_param", call_param, FULL(kd_param_opt, .init = KD_INIT_ONE), KD_OK, KD_OK},
    {"kd_op", "kd_graph_op", call_op, &twice, sizeof twice, KD_E_INVALID, KD_OK},
    {"kd_load_opt", "kd_model_load_as", call_load, FULL(kd_load_opt, .seed = 1), KD_OK, KD_OK},
    {"kd_build_opt", "kd_model_build", call_build, FULL(kd_build_opt, .no_dropout = 1), KD_OK,
     KD_OK},
    {"kd_plan_opt", "kd_plan_create", call_plan, FULL(kd_plan_opt, .batch = 4), KD_OK, KD_OK},
    {"kd_run_opt", "kd_exec_run", call_run, FULL(kd_run_opt, .batch = 1), KD_OK, KD_OK},
    {"kd_optim_opt", "kd_optim_create", call_optim,
     FULL(kd_optim_opt, .optimizer = KD_OPTIMIZER_ADAMW), KD_OK, KD_OK},
    {"kd_train_opt", "kd_train", call_train, &training, sizeof training, KD_OK, KD_OK},
    {"kd_train_opt", "kd_distill_opt.train", call_distill_train, &training, sizeof training, KD_OK,
     KD_OK},
    {"kd_distill_opt", "kd_distill", call_distill, &distillation, sizeof distillation, KD_E_INVALID,
     KD_OK},
    {"kd_distill_opt", "kd_train_plan", call_train_plan, FULL(kd_distill_opt, .train = &training),
     KD_OK, KD_OK},
    {"kd_distill_opt", "kd_train_step", call_step, FULL(kd_distill_opt, .train = &training), KD_OK,
     KD_OK},
    {"kd_eval_opt", "kd_evaluate", call_evaluate, FULL(kd_eval_opt, .batch = 8), KD_OK, KD_OK},
    {"kd_framer_opt", "kd_framer_create", call_framer,
     FULL(kd_framer_opt, .view = {SIDE, SIDE, 1, grey, grey}), KD_E_INVALID, KD_OK},
    {"kd_predictor_opt", "kd_predictor_create", call_predictor, FULL(kd_predictor_opt, .batch = 2),
     KD_OK, KD_OK},
};
enum { ALL = sizeof all / sizeof *all };

/* The first `size` bytes of good options, struct_size says so; the rest of the memory is `fill`. */
static kd_status try_size(world *w, const options *o, size_t size, int fill)
{
    union {
        size_t struct_size;
        unsigned char bytes[MOST];
        long double aligned;
    } given;
    ck_assert_uint_le(o->size + TAIL, sizeof given);
    memset(given.bytes, 0, sizeof given);
    memcpy(given.bytes, o->full, o->size);
    memset(given.bytes + o->size, fill, sizeof given - o->size);
    given.struct_size = size;
    kd_ctx_fail(w->ctx, KD_E_INVALID, "what failed before");
    return o->call(w, &given);
}

static void expect(const options *o, world *w, const char *size, kd_status status, kd_status wanted)
{
    ck_assert_msg(status == wanted, "%s of %s: %s, not %s: %s", size, o->what,
                  kd_status_name(status), kd_status_name(wanted), kd_ctx_error(w->ctx));
}

/* The error names the struct, and is about its size. kd_ctx_create has no context to say it. */
static void expect_words(const options *o, const world *w, const char *words)
{
    char text[100];
    if (o->call == call_ctx) return;
    snprintf(text, sizeof text, "%s: %s", o->name, words);
    ck_assert_msg(strstr(kd_ctx_error(w->ctx), text) != NULL, "%s: '%s'", o->what,
                  kd_ctx_error(w->ctx));
}

START_TEST(test_option_sizes)
{
    static world w;
    world_make(&w);
    distillation = (kd_distill_opt){
        .struct_size = sizeof distillation, .teacher = w.teacher, .train = &training};
    for (size_t i = 0; i < ALL; i++) {
        const options *o = &all[i];
        const size_t none[] = {0, 1, sizeof(size_t) - 1};
        for (size_t k = 0; k < sizeof none / sizeof *none; k++) {
            expect(o, &w, "no size", try_size(&w, o, none[k], 0), KD_E_INVALID);
            expect_words(o, &w, "struct_size is not set");
        }
        expect(o, &w, "no number", try_size(&w, o, SIZE_MAX / 2, 0), KD_E_INVALID);
        expect_words(o, &w, "struct_size is");
        /* An older program's: nothing but the size. */
        expect(o, &w, "8", try_size(&w, o, sizeof(size_t), 0xFF), o->bare);
        ck_assert_ptr_null(strstr(kd_ctx_error(w.ctx), "struct_size"));
        expect(o, &w, "ours", try_size(&w, o, o->size, 0xFF), o->good);
        expect(o, &w, "zero tail", try_size(&w, o, o->size + TAIL, 0), o->good);
        expect(o, &w, "tail", try_size(&w, o, o->size + TAIL, 1), KD_E_UNSUPPORTED);
        expect_words(o, &w, "this library");
    }
    world_free(&w);
}
END_TEST

/* ---- an op's record, in a plan that outlives the graph --------------------------------------- */

START_TEST(test_older_op)
{
    enum { ROWS = 5, COLUMNS = 3 };
    static world w;
    world_make(&w);
    const size_t sizes[] = {offsetof(kd_op, backward), offsetof(kd_op, scratch), sizeof(kd_op),
                            sizeof(kd_op) + TAIL};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int64_t dim[] = {KD_BATCH, COLUMNS};
        const float x[ROWS * COLUMNS] = {1, -2, 3, 4, 5};
        unsigned char *record = calloc(1, sizes[k]); /* so that reading beyond it is seen */
        kd_graph *g;
        kd_plan *plan;
        kd_params *params;
        kd_exec *exec;
        memcpy(record, &twice, sizes[k] < sizeof twice ? sizes[k] : sizeof twice);
        memcpy(record, &sizes[k], sizeof sizes[k]);
        test_ok(w.ctx, kd_graph_create(w.ctx, &g));
        kd_value y = kd_input(g, "x", KD_F32, 2, dim);
        for (int i = 0; i < 2; i++) y = kd_graph_op(g, (void *)record, NULL, &y, 1, NULL);
        kd_output(g, y, "y");
        const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = ROWS};
        test_ok(w.ctx, kd_plan_create(g, &opt, &plan));
        test_ok(w.ctx, kd_params_create(g, 1, &params));
        kd_graph_destroy(g);
        test_ok(w.ctx, kd_exec_create(plan, params, NULL, &exec));
        test_ok(w.ctx, kd_exec_bind(exec, "x", x));
        test_ok(w.ctx, kd_exec_run(exec, NULL));
        const float *got = kd_exec_output(exec, "y");
        for (int i = 0; i < ROWS * COLUMNS; i++) ck_assert(got[i] == 4 * x[i]);
        kd_exec_destroy(exec);
        kd_params_destroy(params);
        kd_plan_destroy(plan);
        free(record);
    }
    world_free(&w);
}
END_TEST

/* ---- results --------------------------------------------------------------------------------- */

static kd_status fill_result(world *w, void *result)
{
    return kd_train(w->model, w->data, &training, result);
}

static kd_status fill_distilled(world *w, void *result)
{
    return kd_distill(w->model, w->data, &distillation, result);
}

static kd_status fill_eval(world *w, void *result)
{
    return kd_evaluate(w->model, w->data, NULL, result);
}

static kd_status fill_step(world *w, void *result)
{
    return kd_train_step(w->model, 4, w->input, w->labels, NULL, NULL, result);
}

static kd_status fill_plan_step(world *w, void *result)
{
    return kd_plan_step_info(w->plan, 0, result);
}

static const struct {
    const char *name;
    kd_status (*call)(world *w, void *result);
    size_t size;
} results[] = {
    {"kd_result", fill_result, sizeof(kd_result)},
    {"kd_result", fill_distilled, sizeof(kd_result)},
    {"kd_eval_result", fill_eval, sizeof(kd_eval_result)},
    {"kd_step_result", fill_step, sizeof(kd_step_result)},
    {"kd_plan_step", fill_plan_step, sizeof(kd_plan_step)},
};

enum { RESULTS = sizeof results / sizeof *results };

/* No byte behind what the caller says is written; his size stays. */
START_TEST(test_result_sizes)
{
    static world w;
    world_make(&w);
    distillation = (kd_distill_opt){
        .struct_size = sizeof distillation, .teacher = w.teacher, .train = &training};
    for (size_t i = 0; i < RESULTS; i++) {
        const size_t full = results[i].size;
        const size_t sizes[] = {0, sizeof(size_t), 2 * sizeof(size_t), full, full + TAIL};
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            union {
                size_t struct_size;
                unsigned char bytes[MOST];
                long double aligned;
            } given;
            memset(given.bytes, 0, sizeof given);
            memset(given.bytes + sizes[k], 0xA5, sizeof given - sizes[k]);
            given.struct_size = sizes[k];
            const kd_status status = results[i].call(&w, &given);
            ck_assert_msg(status == (k ? KD_OK : KD_E_INVALID), "%s of %zu: %s", results[i].name,
                          sizes[k], kd_status_name(status));
            ck_assert_uint_eq(given.struct_size, sizes[k]);
            if (!k)
                ck_assert_msg(strstr(kd_ctx_error(w.ctx), results[i].name) &&
                                  strstr(kd_ctx_error(w.ctx), "struct_size is not set"),
                              "%s", kd_ctx_error(w.ctx));
            const size_t from = sizes[k] < full ? sizes[k] : full;
            for (size_t b = from; k && b < sizeof given; b++)
                ck_assert_msg(given.bytes[b] == (b < sizes[k] ? 0 : 0xA5),
                              "%s of %zu: byte %zu was written", results[i].name, sizes[k], b);
        }
    }
    world_free(&w);
}
END_TEST

/* A copy of n bytes that ends where memory does, with its size. */
static void *at_edge(const void *from, size_t n, void **pages)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(two != MAP_FAILED && !mprotect(two + page, page, PROT_NONE));
    memcpy(two + page - n, from, n);
    memcpy(two + page - n, &n, sizeof n);
    *pages = two;
    return two + page - n;
}

static void no_edge(void *pages)
{
    munmap(pages, 2 * (size_t)sysconf(_SC_PAGESIZE));
}

/* What stands in for a run's options takes shorter structs, and never looks behind them. */
START_TEST(test_short_tables)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const kd_train_opt train = {.struct_size = sizeof train};
    const kd_distill_opt distill = {.struct_size = sizeof distill};
    kd_train_opt full = train;
    kd_distill_opt taught = distill;
    kd_json *json;
    kd_train_defaults(&full, NULL);
    kd_distill_defaults(&taught);
    test_ok(ctx, kd_json_create(ctx, 0, &json));
    for (size_t k = 0; k < 3; k++) {
        const size_t a[] = {8, sizeof train / 16 * 8, sizeof train - 8};
        const size_t b[] = {8, sizeof distill / 16 * 8, sizeof distill - 8};
        void *pages, *more;
        kd_train_opt *t = at_edge(&train, a[k], &pages);
        kd_distill_opt *d = at_edge(&distill, b[k], &more);
        test_ok(ctx, kd_options_check(ctx, NULL, t, d, NULL));
        kd_train_defaults(t, NULL);
        kd_distill_defaults(d);
        ck_assert_uint_eq(t->struct_size, a[k]);
        ck_assert_mem_eq((char *)t + 8, (char *)&full + 8, a[k] - 8);
        ck_assert_mem_eq((char *)d + 8, (char *)&taught + 8, b[k] - 8);
        test_ok(ctx, kd_options_check(ctx, NULL, t, d, NULL));
        for (size_t i = 0; kd_option_at(i); i++) kd_option_is_read(kd_option_at(i), t, d);
        kd_json_clear(json);
        kd_json_object_begin(json, NULL);
        kd_options_json(json, 0, t, d);
        kd_json_object_end(json);
        test_ok(ctx, kd_json_text(json, &(const char *){NULL}, NULL));
        no_edge(pages);
        no_edge(more);
    }
    kd_json_destroy(json);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A forgotten size, and members this library does not know. */
START_TEST(test_bad_tables)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    struct {
        kd_train_opt opt;
        size_t more;
    } newer = {.opt = {.struct_size = sizeof newer}, .more = 1};
    kd_train_opt t = {.lr = -4};
    kd_distill_opt d = {.alpha = 1};
    kd_json *json;
    const char *text;
    ck_assert_int_eq(kd_options_check(ctx, NULL, &t, NULL, NULL), KD_E_INVALID);
    ck_assert_str_eq(kd_ctx_error(ctx), "kd_train_opt: struct_size is not set");
    ck_assert_int_eq(kd_options_check(ctx, NULL, NULL, &d, NULL), KD_E_INVALID);
    ck_assert_str_eq(kd_ctx_error(ctx), "kd_distill_opt: struct_size is not set");
    ck_assert_int_eq(kd_options_check(ctx, NULL, &newer.opt, NULL, NULL), KD_E_UNSUPPORTED);
    kd_train_defaults(&t, NULL);
    kd_distill_defaults(&d);
    kd_train_defaults(&newer.opt, NULL);
    ck_assert(t.batch == 0 && t.lr == -4 && d.soft == 0 && newer.opt.batch == 0);
    ck_assert_int_eq(kd_option_is_read(kd_option_find("lr"), &t, NULL), 0);
    test_ok(ctx, kd_json_create(ctx, 0, &json));
    kd_json_object_begin(json, NULL);
    kd_options_json(json, 0, &t, NULL);
    kd_json_object_end(json);
    ck_assert_int_eq(kd_json_text(json, &text, NULL), KD_E_INVALID);
    kd_json_destroy(json);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Structs of the headers that begin with their size are all tried here. */
START_TEST(test_no_struct_is_left_out)
{
    /* The library sets these sizes itself. */
    static const char *const its_own[] = {"kd_progress", "kd_eval_sample", "kd_loss_graph"};
    static const char *const headers[] = {"ctx",  "data",    "graph", "model", "op",     "optim",
                                          "plan", "predict", "train", "file",  "params", "json"};
    size_t found = 0;
    for (size_t h = 0; h < sizeof headers / sizeof *headers; h++) {
        char path[100], line[512], name[100] = "", next[100];
        snprintf(path, sizeof path, "include/kd/%s.h", headers[h]);
        FILE *f = fopen(path, "r");
        ck_assert_msg(f != NULL, "%s: run the tests from the top of the tree", path);
        while (fgets(line, sizeof line, f)) {
            const bool opens = sscanf(line, "typedef struct %99s {", next) == 1;
            if (!strncmp(line, "    size_t struct_size;", 23) && *name) {
                bool known = false;
                for (size_t i = 0; i < ALL; i++) known |= !strcmp(all[i].name, name);
                for (size_t i = 0; i < RESULTS; i++) known |= !strcmp(results[i].name, name);
                for (size_t i = 0; i < sizeof its_own / sizeof *its_own; i++)
                    known |= !strcmp(its_own[i], name);
                ck_assert_msg(known, "%s: nobody tries the sizes of %s", path, name);
                found++;
            }
            snprintf(name, sizeof name, "%s", opens ? next : "");
        }
        fclose(f);
    }
    ck_assert_uint_ge(found, 20);
}
END_TEST

TEST_SUITE(options, 120, &test_option_sizes, &test_older_op, &test_result_sizes, &test_short_tables,
           &test_bad_tables, &test_no_struct_is_left_out)
