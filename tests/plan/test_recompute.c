/* SPDX-License-Identifier: MIT
 * test_recompute.c: plans that must stay within so many bytes drop values and compute them again:
 * the same bits of loss, gradients and running statistics, for several limits, fused and not,
 * whatever the threads, with guards; what is impossible is refused with a number that is enough. */
#include "../test.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 6, SIDE = 32, PICTURE = SIDE * SIDE * 3, CLASSES = 10 };

static const char *const specs[] = {
    "vit_tiny_patch16_224,image=32,patch=4,dim=24,depth=4,heads=3,classes=10,drop_path=0.3",
    ("swin_tiny_patch4_window7_224,image=32,patch=2,dim=12,depth=2-2-2,heads=1-2-4,window=4,"
     "classes=10,drop_path=0.3"),
    "vgg11_bn,width=0.125,classes=10,image=32",
    "vgg8,width=0.125,classes=10,image=32",
};

static kd_graph *training_graph(kd_ctx *ctx, const kd_model *m)
{
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, SIDE, SIDE, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value x = kd_input(g, "input", KD_F32, 4, dim);
    kd_graph_want_grad(g, x);
    const kd_value y = kd_dropout(g, kd_model_build(m, g, x, NULL), .2f);
    const kd_value loss = kd_cross_entropy(g, y, kd_input(g, "labels", KD_I32, 1, dim), .1f);
    kd_output(g, loss, "loss");
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, kd_graph_grad_of(g, x), "dx");
    return g;
}

typedef struct outcome {
    float loss, dx[N * PICTURE];
    float *grads;
    char *buffers;
    size_t count, buffer_bytes, arena, least;
    uint64_t macs, again;
    kd_status status;
} outcome;

/* Two runs, whose gradients add up. */
static void run(const char *spec, kd_plan_opt opt, int threads, outcome *o)
{
    /* In networks so small some tables' scratch is more than the values: one whose is small. */
    kd_ctx *ctx = test_ctx(threads, "generic");
    static float x[N * PICTURE];
    const int32_t labels[N] = {0, 9, 3, 3, 1, 7};
    kd_model *m;
    kd_plan *plan;
    kd_exec *exec;
    memset(o, 0, sizeof *o);
    test_fill(x, N * PICTURE, 3, 1);
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    kd_graph *g = training_graph(ctx, m);
    opt.struct_size = sizeof opt;
    opt.batch = N;
    opt.training = 1;
    opt.least = &o->least;
    o->status = kd_plan_create(g, &opt, &plan);
    kd_graph_destroy(g);
    kd_params *p = kd_model_params(m);
    if (!o->status) {
        o->arena = kd_plan_arena_size(plan);
        o->macs = kd_plan_macs(plan);
        o->again = kd_plan_macs_recomputed(plan);
        test_ok(ctx, kd_exec_create(plan, p, NULL, &exec));
        test_ok(ctx, kd_exec_bind(exec, "input", x));
        test_ok(ctx, kd_exec_bind(exec, "labels", labels));
        for (int again = 0; again < 2; again++) {
            const kd_run_opt how = {.struct_size = sizeof how,
                                    .batch = again ? N - 2 : N,
                                    .seed = 4,
                                    .step = (uint64_t)again,
                                    .accumulate = again};
            test_ok(ctx, kd_exec_run(exec, &how));
        }
        o->loss = *(float *)kd_exec_output(exec, "loss");
        memcpy(o->dx, kd_exec_output(exec, "dx"), (N - 2) * PICTURE * sizeof(float));
        o->count = kd_params_flat_count(p);
        o->grads = malloc(o->count * sizeof *o->grads);
        memcpy(o->grads, kd_params_grads(p), o->count * sizeof *o->grads);
        o->buffer_bytes = kd_params_buffer_bytes(p);
        o->buffers = malloc(o->buffer_bytes + 1);
        memcpy(o->buffers, kd_params_buffers(p), o->buffer_bytes);
        kd_exec_destroy(exec);
        kd_plan_destroy(plan);
    } else {
        ck_assert_int_eq(o->status, KD_E_LIMIT);
        char wanted[60];
        snprintf(wanted, sizeof wanted, "needs %zu at least", o->least);
        ck_assert_msg(strstr(kd_ctx_error(ctx), wanted), "%s", kd_ctx_error(ctx));
    }
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

static void outcome_free(outcome *o)
{
    free(o->grads);
    free(o->buffers);
}

static void check_same(const char *spec, const outcome *a, const outcome *b, const char *how)
{
    ck_assert_msg(a->status == KD_OK, "%s, %s: refused", spec, how);
    ck_assert_msg(!memcmp(&a->loss, &b->loss, sizeof a->loss), "%s, %s: the loss differs", spec,
                  how);
    ck_assert_msg(!memcmp(a->dx, b->dx, sizeof a->dx), "%s, %s: dx differs", spec, how);
    ck_assert_msg(!memcmp(a->grads, b->grads, a->count * sizeof(float)), "%s, %s: gradients differ",
                  spec, how);
    ck_assert_msg(!memcmp(a->buffers, b->buffers, a->buffer_bytes), "%s, %s: buffers differ", spec,
                  how);
}

/* Limits from what is needed at least to nearly all; more memory never means more work. */
static void check_limits(const char *spec)
{
    static outcome plain, o;
    run(spec, (kd_plan_opt){0}, 2, &plain);
    ck_assert_uint_eq(plain.least, plain.arena);
    ck_assert_uint_eq(plain.again, 0);
    run(spec, (kd_plan_opt){.max_arena = 1}, 2, &o);
    const size_t least = o.least;
    ck_assert_int_eq(o.status, KD_E_LIMIT);
    ck_assert_msg(least < plain.arena * 9 / 10, "%s: %zu of %zu", spec, least, plain.arena);
    run(spec, (kd_plan_opt){.max_arena = least - 1}, 2, &o);
    ck_assert_int_eq(o.status, KD_E_LIMIT);
    ck_assert_uint_eq(o.least, least);
    for (int k = 0; k < 6; k++) {
        char how[60];
        const size_t limit = least + (plain.arena - least) * (size_t)k / 5;
        snprintf(how, sizeof how, "%zu bytes of %zu", limit, plain.arena);
        run(spec, (kd_plan_opt){.max_arena = limit}, k % 2 ? 3 : 1, &o);
        if (o.status) { /* other threads, other scratch */
            ck_assert_msg(o.least > limit, "%s, %s", spec, how);
            continue;
        }
        ck_assert_msg(o.arena <= limit, "%s, %s: %zu", spec, how, o.arena);
        ck_assert_msg(o.macs == plain.macs, "%s, %s: MACs", spec, how);
        if (getenv("KD_RECOMPUTE_REPORT"))
            printf("%.20s: %s: arena %zu, again %.1f %%\n", spec, how, o.arena,
                   100 * (double)o.again / (double)o.macs);
        check_same(spec, &o, &plain, how);
        outcome_free(&o);
    }
    outcome_free(&plain);
}

START_TEST(test_same_bits_within_limits)
{
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) check_limits(specs[i]);
}
END_TEST

/* Guarded, every buffer apart from its neighbours; and each op as it was built. */
START_TEST(test_guarded_and_unfused)
{
    static outcome plain, o;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (int unfused = 0; unfused < 2; unfused++) {
            kd_plan_opt opt = {.no_fusion = unfused, .guard = !unfused};
            run(specs[i], opt, 2, &plain);
            opt.max_arena = 1;
            run(specs[i], opt, 2, &o);
            opt.max_arena = o.least;
            run(specs[i], opt, 2, &o);
            check_same(specs[i], &o, &plain, unfused ? "unfused" : "guarded");
            ck_assert(plain.status == KD_OK && o.arena == opt.max_arena);
            outcome_free(&plain);
            outcome_free(&o);
        }
}
END_TEST

/* Without a backward pass there is nothing to repeat: the number is the arena's. */
START_TEST(test_inference_is_refused)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const int64_t dim[] = {KD_BATCH, SIDE, SIDE, 3};
    size_t least = 0;
    kd_model *m;
    kd_graph *g;
    kd_plan *plan;
    test_ok(ctx, kd_model_create(ctx, specs[2], 1, &m));
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_output(g, kd_model_build(m, g, kd_input(g, "input", KD_F32, 4, dim), NULL), "logits");
    kd_plan_opt opt = {.struct_size = sizeof opt, .batch = N, .max_arena = 1, .least = &least};
    ck_assert_int_eq(kd_plan_create(g, &opt, &plan), KD_E_LIMIT);
    ck_assert_ptr_null(plan);
    opt.max_arena = least;
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    ck_assert_uint_eq(kd_plan_arena_size(plan), least);
    kd_plan_destroy(plan);
    kd_graph_destroy(g);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(recompute, 60, &test_same_bits_within_limits, &test_guarded_and_unfused,
           &test_inference_is_refused)
