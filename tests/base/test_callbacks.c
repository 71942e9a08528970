/* SPDX-License-Identifier: MIT
 * test_callbacks.c: what kd_ctx_error says after a function of the caller's has failed: what the
 * function said with kd_ctx_fail, else that it failed; never what an earlier call had to say. Every
 * type of function that returns a status, or a value of a graph, and every function of an op. */
#include "../test.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 16, CLASSES = 3, N = 8, WIDTH = 4 };
typedef enum place { NOWHERE, SHAPE, FORWARD, BACKWARD, PREPARE } place;
typedef enum loss_kind { RETURNS_NONE, FAILS_GRAPH } loss_kind;

typedef struct world {
    kd_ctx *ctx;
    kd_model *model, *student;
    kd_dataset *data;
    const char *words; /* what a function says when it fails; NULL: nothing */
    place place;       /* which function of the op fails */
    loss_kind loss;
} world;

static kd_status fails(world *w)
{
    return w->words ? kd_ctx_fail(w->ctx, KD_E_IO, "%s", w->words) : KD_E_IO;
}

/* ---- files ----------------------------------------------------------------------------------- */

static kd_status write_fn(void *user, const void *bytes, size_t size)
{
    (void)bytes, (void)size;
    return fails(user);
}

static kd_status fill_fn(void *user, size_t first, size_t count, void *out)
{
    (void)first, (void)count, (void)out;
    return fails(user);
}

static kd_status save_model(world *w)
{
    return kd_model_save_fn(w->model, KD_F32, write_fn, w);
}

static kd_status finish_fn(world *w)
{
    static const float x[2] = {1, 2};
    kd_writer *writer;
    test_ok(w->ctx, kd_writer_create_memory(w->ctx, &writer));
    test_ok(w->ctx, kd_writer_tensor(writer, "x", KD_F16, 1, (const int64_t[]){2}, x));
    return kd_writer_finish_fn(writer, write_fn, w);
}

static kd_status fill_memory(world *w)
{
    kd_writer *writer;
    void *bytes;
    size_t size;
    test_ok(w->ctx, kd_writer_create_memory(w->ctx, &writer));
    test_ok(w->ctx, kd_writer_tensor_fn(writer, "x", KD_F16, 1, (const int64_t[]){2}, fill_fn, w));
    return kd_writer_finish_memory(writer, &bytes, &size);
}

static kd_status fill_file(world *w)
{
    char path[600];
    kd_writer *writer;
    snprintf(path, sizeof path, "%s/filled.safetensors", test_dir());
    test_ok(w->ctx, kd_writer_create(w->ctx, path, &writer));
    test_ok(w->ctx, kd_writer_tensor_fn(writer, "x", KD_F32, 1, (const int64_t[]){2}, fill_fn, w));
    return kd_writer_finish(writer);
}

/* ---- data ------------------------------------------------------------------------------------ */

static kd_status sample_fn(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    (void)split, (void)index, (void)image, (void)label;
    return fails(user);
}

static kd_status encoded_fn(void *user, kd_split split, size_t index, const void **bytes,
                            size_t *size, int32_t *label)
{
    (void)split, (void)index, (void)bytes, (void)size, (void)label;
    return fails(user);
}

static const kd_data_info info = {.struct_size = sizeof info,
                                  .classes = CLASSES,
                                  .height = SIDE,
                                  .width = SIDE,
                                  .channels = 3,
                                  .count = {N, N}};

static kd_status first_sample(kd_dataset *data)
{
    static uint8_t image[SIDE * SIDE * 3];
    int32_t label;
    const kd_status status = kd_dataset_sample(data, KD_SPLIT_TRAIN, 0, image, &label);
    kd_dataset_close(data);
    return status;
}

static kd_status sample(world *w)
{
    kd_dataset *data;
    test_ok(w->ctx, kd_dataset_from_callback(w->ctx, &info, sample_fn, w, &data));
    return first_sample(data);
}

static kd_status encoded(world *w)
{
    kd_dataset *data;
    test_ok(w->ctx, kd_dataset_from_encoded(w->ctx, &info, encoded_fn, w, &data));
    return first_sample(data);
}

/* ---- training and measuring ------------------------------------------------------------------ */

static kd_status logits_fn(void *user, const kd_batch *batch, const float *pictures, float *logits)
{
    (void)batch, (void)pictures, (void)logits;
    return fails(user);
}

static kd_status answer_fn(void *user, const float *pictures, size_t n, float *logits)
{
    (void)pictures, (void)n, (void)logits;
    return fails(user);
}

static kd_value loss_fn(void *user, const kd_loss_graph *step)
{
    world *w = user;
    const kd_status status = fails(w);
    return w->loss == RETURNS_NONE ? KD_NONE : kd_graph_fail(step->graph, status);
}

static kd_status distill(world *w, kd_distill_opt opt)
{
    const kd_train_opt train = {.struct_size = sizeof train, .epochs = 1, .batch = 4, .no_test = 1};
    opt.struct_size = sizeof opt;
    opt.train = &train;
    return kd_distill(w->student, w->data, &opt, NULL);
}

static kd_status logits(world *w)
{
    return distill(w, (kd_distill_opt){.logits = logits_fn, .logits_user = w});
}

static kd_status loss(world *w)
{
    w->loss = FAILS_GRAPH;
    return distill(w, (kd_distill_opt){.teacher = w->model, .loss = loss_fn, .loss_user = w});
}

static kd_status loss_none(world *w)
{
    w->loss = RETURNS_NONE;
    return distill(w, (kd_distill_opt){.teacher = w->model, .loss = loss_fn, .loss_user = w});
}

static kd_status answer(world *w)
{
    const kd_eval_opt opt = {
        .struct_size = sizeof opt, .answer = answer_fn, .answer_user = w, .any_classes = 1};
    return kd_evaluate(w->model, w->data, &opt, NULL);
}

/* ---- an op ----------------------------------------------------------------------------------- */

static kd_status fails_in(const void *attr, place where)
{
    world *w = *(world *const *)attr;
    return w->place == where ? fails(w) : KD_OK;
}

static kd_status op_shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    return fails_in(s->attr, SHAPE);
}

static kd_status op_forward(const kd_op_call *c)
{
    memcpy(c->out[0].data, c->in[0].data, c->in[0].count * sizeof(float));
    return fails_in(c->attr, FORWARD);
}

static kd_status op_backward(const kd_op_call *c)
{
    memcpy(c->din[0].data, c->dout[0].data, c->din[0].count * sizeof(float));
    return fails_in(c->attr, BACKWARD);
}

static size_t op_prepared(const kd_op_call *c)
{
    (void)c;
    return 64;
}

static kd_status op_prepare(const kd_op_call *c)
{
    return fails_in(c->attr, PREPARE);
}

static const kd_op op = {.struct_size = sizeof(kd_op),
                         .name = "mine",
                         .attr_size = sizeof(world *),
                         .n_in_min = 1,
                         .n_in_max = 1,
                         .n_out = 1,
                         .shape = op_shape,
                         .forward = op_forward,
                         .backward = op_backward,
                         .prepared = op_prepared,
                         .prepare = op_prepare};

/* x -> mine "own" -> cross entropy, with the gradient by x; or frozen, without. */
static kd_status run_op(world *w, place where)
{
    kd_graph *g;
    kd_plan *plan = NULL;
    kd_params *params = NULL;
    kd_exec *exec = NULL;
    float x[WIDTH] = {1, 2, 3, 4};
    int32_t label = 0;
    const int64_t dim[] = {KD_BATCH, WIDTH};
    const kd_plan_opt how = {.struct_size = sizeof how, .batch = 1, .frozen = where == PREPARE};
    w->place = where;
    test_ok(w->ctx, kd_graph_create(w->ctx, &g));
    const kd_value in = kd_input(g, "x", KD_F32, 2, dim);
    kd_graph_want_grad(g, in);
    kd_graph_scope(g, "own");
    const kd_value y = kd_graph_op(g, &op, &w, &in, 1, NULL);
    kd_graph_unscope(g);
    kd_output(g, y, "y");
    kd_status status = kd_graph_status(g);
    if (!status && !how.frozen) {
        const kd_value labels = kd_input(g, "labels", KD_I32, 1, dim);
        test_ok(w->ctx, kd_graph_grad(g, kd_cross_entropy(g, y, labels, 0)));
        kd_output(g, kd_graph_grad_of(g, in), "dx");
    }
    if (!status) {
        test_ok(w->ctx, kd_plan_create(g, &how, &plan));
        test_ok(w->ctx, kd_params_create(g, 1, &params));
        test_ok(w->ctx, kd_exec_create(plan, params, NULL, &exec));
        test_ok(w->ctx, kd_exec_bind(exec, "x", x));
        if (!how.frozen) test_ok(w->ctx, kd_exec_bind(exec, "labels", &label));
        status = kd_exec_run(exec, NULL);
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    return status;
}

static kd_status shape(world *w)
{
    return run_op(w, SHAPE);
}

static kd_status forward(world *w)
{
    return run_op(w, FORWARD);
}

static kd_status backward(world *w)
{
    return run_op(w, BACKWARD);
}

static kd_status prepare(world *w)
{
    return run_op(w, PREPARE);
}

/* ---- what is said ---------------------------------------------------------------------------- */

static const struct {
    kd_status (*call)(world *w);
    kd_status status;
    const char *name, *silent; /* the end of the error where the function says nothing */
} cases[] = {
    {save_model, KD_E_IO, "kd_model_save_fn", "the callback that takes the file returned KD_E_IO"},
    {finish_fn, KD_E_IO, "kd_writer_finish_fn",
     "the callback that takes the file returned KD_E_IO"},
    {fill_memory, KD_E_IO, "kd_fill_fn", "the callback that fills tensor 'x' returned KD_E_IO"},
    {fill_file, KD_E_IO, "kd_fill_fn, a file",
     "the callback that fills tensor 'x' returned KD_E_IO"},
    {sample, KD_E_IO, "kd_sample_fn", "the callback returned KD_E_IO"},
    {encoded, KD_E_IO, "kd_encoded_fn", "the callback returned KD_E_IO"},
    {logits, KD_E_IO, "kd_logits_fn", "kd_distill_opt.logits returned KD_E_IO"},
    {answer, KD_E_IO, "kd_answer_fn", "kd_eval_opt.answer returned KD_E_IO"},
    {loss, KD_E_IO, "kd_loss_fn, kd_graph_fail",
     "a function that builds the graph returned KD_E_IO"},
    {loss_none, 0, "kd_loss_fn, KD_NONE", "what it returned is no scalar [1] of the graph"},
    {shape, KD_E_IO, "kd_op.shape", "mine 'own' returned KD_E_IO"},
    {forward, KD_E_IO, "kd_op.forward", "mine 'own' returned KD_E_IO"},
    {backward, KD_E_IO, "kd_op.backward", "mine 'own' returned KD_E_IO"},
    {prepare, KD_E_IO, "kd_op.prepare", "mine 'own' returned KD_E_IO"},
};

static void check(world *w, size_t i, const char *words)
{
    kd_model *none;
    w->words = words;
    ck_assert_int_eq(kd_model_create(w->ctx, "nonsense", 1, &none), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(w->ctx), "nonsense"));
    const kd_status status = cases[i].call(w);
    const char *said = kd_ctx_error(w->ctx), *want = words ? words : cases[i].silent;
    const size_t n = strlen(said), m = strlen(want);
    ck_assert_msg(cases[i].status ? status == cases[i].status : status != KD_OK, "%s: %s",
                  cases[i].name, kd_status_name(status));
    ck_assert_msg(n >= m && !strcmp(said + n - m, want), "%s: '%s', not '%s'", cases[i].name, said,
                  want);
}

START_TEST(test_words)
{
    static const char spec[] = "vgg3_bn,width=0.125,classes=3,image=16";
    world w = {.ctx = test_ctx(2, NULL)};
    test_ok(w.ctx, kd_model_create(w.ctx, spec, 1, &w.model));
    test_ok(w.ctx, kd_model_create(w.ctx, spec, 2, &w.student));
    test_ok(w.ctx,
            kd_dataset_open(w.ctx, "synthetic:classes=3,image=16,train=8,test=8", NULL, &w.data));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(&w, i, NULL);
        check(&w, i, "lens 7 is dark");
        check(&w, i, NULL); /* nor what this very function said before */
    }
    kd_dataset_close(w.data);
    kd_model_destroy(w.student);
    kd_model_destroy(w.model);
    ck_assert_uint_eq(kd_ctx_memory(w.ctx), 0);
    kd_ctx_destroy(w.ctx);
}
END_TEST

/* The two calls by themselves. */
START_TEST(test_called)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    size_t before = kd_ctx_failures(ctx);
    ck_assert_int_eq(kd_ctx_called(ctx, before, KD_OK, "it"), KD_OK);
    ck_assert_str_eq(kd_ctx_error(ctx), "");
    ck_assert_int_eq(kd_ctx_called(ctx, before, KD_E_SHAPE, "it"), KD_E_SHAPE);
    ck_assert_str_eq(kd_ctx_error(ctx), "it returned KD_E_SHAPE");
    before = kd_ctx_failures(ctx);
    ck_assert_int_eq(kd_ctx_called(ctx, before, KD_E_IO, NULL), KD_E_IO);
    ck_assert_str_eq(kd_ctx_error(ctx), "a callback returned KD_E_IO");
    before = kd_ctx_failures(ctx);
    kd_ctx_fail(ctx, KD_E_IO, "words");
    ck_assert_int_eq(kd_ctx_called(ctx, before, KD_E_SHAPE, "it"), KD_E_SHAPE);
    ck_assert_str_eq(kd_ctx_error(ctx), "words");
    ck_assert_uint_eq(kd_ctx_failures(NULL), 0);
    ck_assert_int_eq(kd_ctx_called(NULL, 0, KD_E_SHAPE, "it"), KD_E_SHAPE);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(callbacks, 60, &test_words, &test_called)
