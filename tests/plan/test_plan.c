/* SPDX-License-Identifier: MIT
 * test_plan.c: plans and executors: memory exact to the byte, nothing allocated by a run, sharing
 * and fusion change no bit or only rounding, smaller batches, custom memory, several executors. */
#include "../test.h"

#include <kd/kd.h>

#include <stdlib.h>
#include <string.h>

static const char spec[] = "vgg11_bn,width=0.0625,classes=10,image=32";
enum { N = 6, PICTURE = 32 * 32 * 3, CLASSES = 10 };

/* A training graph of the small VGG: outputs "logits", "loss" and the gradient by the input. */
static kd_graph *training_graph(kd_ctx *ctx, const kd_model *m)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 32, 32, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value x = kd_input(g, "input", KD_F32, 4, dim);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, dim);
    kd_graph_want_grad(g, x);
    const kd_value logits = kd_model_build(m, g, x, NULL);
    const kd_value loss = kd_cross_entropy(g, logits, labels, .1f);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, logits, "logits");
    kd_output(g, loss, "loss");
    kd_output(g, kd_graph_grad_of(g, x), "dx");
    test_ok(ctx, kd_graph_status(g));
    return g;
}

typedef struct outcome {
    float loss, logits[N * CLASSES], dx[N * PICTURE];
    float *grads;
    size_t n_grads, adds; /* steps of the forward pass that only add */
} outcome;

static size_t count_adds(const kd_plan *plan)
{
    size_t adds = 0;
    kd_plan_step step = {.struct_size = sizeof step};
    for (size_t i = 0; i < kd_plan_steps(plan); i++) {
        ck_assert_int_eq(kd_plan_step_info(plan, i, &step), KD_OK);
        adds += step.part == KD_PART_FORWARD && !strcmp(step.op, "add");
    }
    return adds;
}

static void train_network(const char *network, int threads, kd_plan_opt opt, outcome *o)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    static float x[N * PICTURE];
    const int32_t labels[N] = {0, 9, 3, 3, 1, 7};
    kd_model *m;
    kd_plan *plan;
    kd_exec *exec;
    test_fill(x, N * PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, network, 1, &m));
    kd_graph *g = training_graph(ctx, m);
    opt.struct_size = sizeof opt;
    opt.batch = N;
    opt.training = 1;
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    test_ok(ctx, kd_exec_create(plan, kd_model_params(m), NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    test_ok(ctx, kd_exec_run(exec, NULL));
    o->loss = *(float *)kd_exec_output(exec, "loss");
    memcpy(o->logits, kd_exec_output(exec, "logits"), sizeof o->logits);
    memcpy(o->dx, kd_exec_output(exec, "dx"), sizeof o->dx);
    o->adds = count_adds(plan);
    o->n_grads = kd_params_flat_count(kd_model_params(m));
    o->grads = malloc(o->n_grads * sizeof *o->grads);
    memcpy(o->grads, kd_params_grads(kd_model_params(m)), o->n_grads * sizeof *o->grads);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

static void run_training(int threads, kd_plan_opt opt, outcome *o)
{
    train_network(spec, threads, opt, o);
}

START_TEST(test_sharing_changes_no_bit)
{
    static outcome a, b;
    run_training(2, (kd_plan_opt){0}, &a);
    run_training(3, (kd_plan_opt){.no_sharing = 1}, &b);
    ck_assert_mem_eq(&a.loss, &b.loss, sizeof a.loss);
    ck_assert_mem_eq(a.logits, b.logits, sizeof a.logits);
    ck_assert_mem_eq(a.dx, b.dx, sizeof a.dx);
    ck_assert_mem_eq(a.grads, b.grads, a.n_grads * sizeof *a.grads);
    free(a.grads);
    free(b.grads);
}
END_TEST

START_TEST(test_fusion_changes_only_rounding)
{
    static outcome a, b;
    run_training(2, (kd_plan_opt){0}, &a);
    run_training(2, (kd_plan_opt){.no_fusion = 1}, &b);
    ck_assert_double_lt(test_distance(&a.loss, &b.loss, 1), 1e-5);
    ck_assert_double_lt(test_distance(a.grads, b.grads, a.n_grads), 1e-4);
    free(a.grads);
    free(b.grads);
}
END_TEST

/* The sum of all arrays is the arena when nothing is shared; sharing makes it smaller. */
START_TEST(test_sharing_saves_memory)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    kd_plan *shared, *alone;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    kd_graph *g = training_graph(ctx, m);
    const kd_plan_opt a = {.struct_size = sizeof a, .batch = 32, .training = 1};
    const kd_plan_opt b = {.struct_size = sizeof b, .batch = 32, .training = 1, .no_sharing = 1};
    test_ok(ctx, kd_plan_create(g, &a, &shared));
    test_ok(ctx, kd_plan_create(g, &b, &alone));
    ck_assert_uint_lt(kd_plan_arena_size(shared), kd_plan_arena_size(alone) * 2 / 3);
    kd_plan_destroy(shared);
    kd_plan_destroy(alone);
    kd_graph_destroy(g);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The arena is used up to its last byte's line and not beyond; a run allocates nothing. */
START_TEST(test_arena_is_exact_and_runs_allocate_nothing)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 2);
    static float x[N * PICTURE];
    kd_model *m;
    kd_plan *plan;
    kd_exec *exec;
    float *logits;
    test_fill(x, N * PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_plan(m, N, &plan, &exec));
    kd_exec_destroy(exec);
    const size_t size = kd_plan_arena_size(plan);
    ck_assert_uint_eq(size % 64, 0);
    unsigned char *memory;
    ck_assert_int_eq(posix_memalign((void **)&memory, 64, size + 4096), 0);
    memset(memory, 0xA5, size + 4096);
    test_ok(ctx, kd_exec_create(plan, kd_model_params(m), memory, &exec));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    const long before = heap.count;
    test_ok(ctx, kd_exec_run(exec, NULL));
    test_ok(ctx, kd_exec_run(exec, NULL));
    ck_assert_int_eq(heap.count, before);
    for (size_t i = size; i < size + 4096; i++) ck_assert_uint_eq(memory[i], 0xA5);
    size_t untouched = 0;
    while (untouched < size && memory[size - 1 - untouched] == 0xA5) untouched++;
    ck_assert_msg(untouched < 64, "the last %zu bytes of the arena are never used", untouched);
    logits = kd_exec_output(exec, "logits");
    ck_assert((unsigned char *)logits >= memory && (unsigned char *)logits < memory + size);
    const kd_shape shape = kd_exec_output_shape(exec, "logits");
    ck_assert(shape.rank == 2 && shape.dim[0] == N && shape.dim[1] == CLASSES);
    ck_assert_ptr_null(kd_exec_output(exec, "nothing"));
    kd_exec_destroy(exec);
    ck_assert_int_eq(kd_exec_create(plan, kd_model_params(m), memory + 8, &exec), KD_E_INVALID);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    free(memory);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

/* A picture's logits are the same alone and in a batch, by a smaller batch and by another plan. */
START_TEST(test_smaller_batches)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    static float x[N * PICTURE];
    float all[N * CLASSES], some[N * CLASSES];
    kd_model *m;
    test_fill(x, N * PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_predict(m, x, N, N, all));
    for (size_t batch = 1; batch < N; batch++) {
        test_ok(ctx, kd_model_predict(m, x, N, batch, some));
        ck_assert_double_lt(test_distance(some, all, N * CLASSES), 1e-5);
    }
    kd_plan *plan;
    kd_exec *exec;
    test_ok(ctx, kd_model_plan(m, N, &plan, &exec));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    for (size_t n = N; n > 0; n--) {
        const kd_run_opt run = {.struct_size = sizeof run, .batch = n};
        test_ok(ctx, kd_exec_run(exec, &run));
        ck_assert_double_lt(test_distance(kd_exec_output(exec, "logits"), all, n * CLASSES), 1e-5);
    }
    const kd_run_opt more = {.struct_size = sizeof more, .batch = N + 1};
    ck_assert_int_eq(kd_exec_run(exec, &more), KD_E_INVALID);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Early layers run for a few images at a time: the same bits as for all at once, with prepared
 * weights and without, and less memory. The middle of the network is an output, too. */
START_TEST(test_depth_first_changes_no_bit)
{
    enum { MANY = 150 };
    const int64_t dim[] = {KD_BATCH, 32, 32, 3};
    kd_ctx *ctx = test_ctx(2, NULL);
    float *x = malloc(MANY * PICTURE * sizeof *x);
    kd_model *m;
    kd_graph *g;
    test_fill(x, MANY * PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, "vgg13_bn,width=0.25,classes=10,image=32", 1, &m));
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value input = kd_input(g, "input", KD_F32, 4, dim);
    const kd_value logits = kd_model_build(m, g, input, NULL);
    kd_output(g, logits, "logits");
    kd_output(g, kd_gelu(g, input), "gelu");
    kd_output(g, kd_loss_hard(g, kd_scale(g, logits, 2), logits), "loss");
    for (int frozen = 0; frozen < 2; frozen++) {
        kd_plan *plan[2];
        kd_exec *exec[2];
        for (int whole = 0; whole < 2; whole++) {
            const kd_plan_opt opt = {
                .struct_size = sizeof opt, .batch = MANY, .frozen = frozen, .whole_batch = whole};
            test_ok(ctx, kd_plan_create(g, &opt, &plan[whole]));
            test_ok(ctx, kd_exec_create(plan[whole], kd_model_params(m), NULL, &exec[whole]));
            test_ok(ctx, kd_exec_bind(exec[whole], "input", x));
        }
        ck_assert_uint_lt(kd_plan_arena_size(plan[0]), kd_plan_arena_size(plan[1]) * 3 / 4);
        static const size_t batches[] = {MANY, 1, 76, 75, 149};
        for (size_t b = 0; b < 5; b++) {
            const kd_run_opt run = {.struct_size = sizeof run, .batch = batches[b]};
            for (int i = 0; i < 2; i++) test_ok(ctx, kd_exec_run(exec[i], &run));
            ck_assert_mem_eq(kd_exec_output(exec[0], "logits"), kd_exec_output(exec[1], "logits"),
                             batches[b] * CLASSES * sizeof(float));
            ck_assert_mem_eq(kd_exec_output(exec[0], "gelu"), kd_exec_output(exec[1], "gelu"),
                             batches[b] * PICTURE * sizeof(float));
            ck_assert_mem_eq(kd_exec_output(exec[0], "loss"), kd_exec_output(exec[1], "loss"),
                             sizeof(float));
        }
        for (int i = 0; i < 2; i++) {
            kd_exec_destroy(exec[i]);
            kd_plan_destroy(plan[i]);
        }
    }
    kd_graph_destroy(g);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    free(x);
}
END_TEST

/* Weights changed by hand are seen by an executor that keeps transformed ones. */
START_TEST(test_prepared_weights_follow_changes)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    static float x[PICTURE];
    float before[CLASSES], after[CLASSES];
    kd_model *m;
    kd_plan *plan;
    kd_exec *exec;
    test_fill(x, PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_plan(m, 1, &plan, &exec));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_run(exec, NULL));
    memcpy(before, kd_exec_output(exec, "logits"), sizeof before);
    kd_params *p = kd_model_params(m);
    for (size_t i = 0; i < kd_params_flat_count(p); i++) kd_params_values(p)[i] *= 1.25f;
    kd_params_touch(p);
    test_ok(ctx, kd_exec_run(exec, NULL));
    memcpy(after, kd_exec_output(exec, "logits"), sizeof after);
    ck_assert_double_gt(test_distance(before, after, CLASSES), 1e-3);
    float fresh[CLASSES];
    test_ok(ctx, kd_model_predict(m, x, 1, 1, fresh));
    ck_assert_mem_eq(after, fresh, sizeof fresh);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* run.accumulate adds gradients: two half batches of a network without batch norm, halved, are the
 * whole batch's. */
START_TEST(test_accumulated_gradients)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    static float x[N * PICTURE];
    const int32_t labels[N] = {0, 9, 3, 3, 1, 7};
    kd_model *m;
    kd_plan *plan;
    kd_exec *exec;
    test_fill(x, N * PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, "vgg4,width=0.0625,classes=10,image=32", 1, &m));
    kd_graph *g = training_graph(ctx, m);
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = N, .training = 1};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    kd_params *p = kd_model_params(m);
    test_ok(ctx, kd_exec_create(plan, p, NULL, &exec));
    const size_t count = kd_params_flat_count(p);
    float *whole = malloc(count * sizeof *whole);
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    test_ok(ctx, kd_exec_run(exec, NULL));
    memcpy(whole, kd_params_grads(p), count * sizeof *whole);
    for (int half = 0; half < 2; half++) {
        const kd_run_opt run = {.struct_size = sizeof run, .batch = N / 2, .accumulate = half};
        test_ok(ctx, kd_exec_bind(exec, "input", x + half * (N / 2) * PICTURE));
        test_ok(ctx, kd_exec_bind(exec, "labels", labels + half * (N / 2)));
        test_ok(ctx, kd_exec_run(exec, &run));
    }
    for (size_t i = 0; i < count; i++) kd_params_grads(p)[i] *= .5f;
    ck_assert_double_lt(test_distance(kd_params_grads(p), whole, count), 1e-5);
    free(whole);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_errors)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    kd_model *m;
    kd_plan *plan;
    kd_exec *exec;
    const int64_t dim[] = {KD_BATCH, 8, 8, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    ck_assert_int_eq(kd_plan_create(g, NULL, &plan), KD_E_INVALID);
    kd_output(g, kd_linear(g, kd_input(g, "x", KD_F32, 4, dim), "fc", 5, 1), "y");
    test_ok(ctx, kd_plan_create(g, NULL, &plan));
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    ck_assert_int_eq(kd_exec_create(plan, kd_model_params(m), NULL, &exec), KD_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "fc.weight"));
    kd_params *p;
    test_ok(ctx, kd_params_create(g, 1, &p));
    test_ok(ctx, kd_exec_create(plan, p, NULL, &exec));
    ck_assert_int_eq(kd_exec_run(exec, NULL), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "'x' is not bound"));
    ck_assert_int_eq(kd_exec_bind(exec, "z", p), KD_E_NOTFOUND);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(p);
    kd_graph_destroy(g);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A residual is added by the layer before: the same sums in the same order. */
START_TEST(test_residuals_change_no_bit)
{
    static const char vit[] =
        "vit_tiny_patch16_224,image=32,patch=8,dim=24,depth=3,heads=2,classes=10";
    static outcome a, b;
    train_network(vit, 2, (kd_plan_opt){0}, &a);
    train_network(vit, 2, (kd_plan_opt){.no_fusion = 1}, &b);
    ck_assert_uint_eq(a.adds, 0);
    ck_assert_uint_eq(b.adds, 6);
    ck_assert_mem_eq(&a.loss, &b.loss, sizeof a.loss);
    ck_assert_mem_eq(a.logits, b.logits, sizeof a.logits);
    ck_assert_mem_eq(a.dx, b.dx, sizeof a.dx);
    ck_assert_mem_eq(a.grads, b.grads, a.n_grads * sizeof *a.grads);
    free(a.grads);
    free(b.grads);
}
END_TEST

TEST_SUITE(plan, 60, &test_sharing_changes_no_bit, &test_fusion_changes_only_rounding,
           &test_residuals_change_no_bit, &test_sharing_saves_memory,
           &test_arena_is_exact_and_runs_allocate_nothing, &test_smaller_batches,
           &test_depth_first_changes_no_bit, &test_prepared_weights_follow_changes,
           &test_accumulated_gradients, &test_errors)
