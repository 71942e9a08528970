/* SPDX-License-Identifier: MIT
 * test_guard.c: guarded plans tell of ops that write outside their arrays, and make NaN of what
 * nobody wrote. The ops that do so are made here, through the public headers. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 4, WIDTH = 5, ROOM = 100 };

/* What the bad op does wrong. */
typedef enum fault {
    NOTHING,
    BEHIND,
    IN_FRONT,
    SCRATCH,
    PREPARED,
    WHILE_PREPARING,
    READS_ITS_OUTPUT,
    BACKWARD_BEHIND
} fault;

static kd_status bad_shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    return KD_OK;
}

static size_t room(const kd_op_call *c)
{
    (void)c;
    return ROOM;
}

static size_t room_both(const kd_op_call *c, int backward)
{
    (void)backward;
    return room(c);
}

static kd_status bad_prepare(const kd_op_call *c)
{
    const fault f = *(const fault *)c->attr;
    memset(c->prepared, 1, f == WHILE_PREPARING ? ROOM + 1 : ROOM);
    return KD_OK;
}

static kd_status bad_forward(const kd_op_call *c)
{
    const fault f = *(const fault *)c->attr;
    const float *x = c->in[0].data;
    float *y = c->out[0].data;
    const float sum = f == READS_ITS_OUTPUT ? y[0] : 0;
    memset(c->scratch, 1, f == SCRATCH ? ROOM + 1 : ROOM);
    if (f == PREPARED) memset((char *)c->prepared + ROOM, 1, 1);
    for (size_t i = 0; i < c->out[0].count; i++) y[i] = x[i] + sum;
    if (f == BEHIND) y[c->out[0].count] = 1;
    if (f == IN_FRONT) y[-1] = 1;
    return KD_OK;
}

static kd_status bad_backward(const kd_op_call *c)
{
    const fault f = *(const fault *)c->attr;
    memcpy(c->din[0].data, c->dout[0].data, c->din[0].count * sizeof(float));
    if (f == BACKWARD_BEHIND) ((float *)c->din[0].data)[c->din[0].count] = 1;
    return KD_OK;
}

static const kd_op bad = {.struct_size = sizeof(kd_op),
                          .name = "bad",
                          .attr_size = sizeof(fault),
                          .n_in_min = 1,
                          .n_in_max = 1,
                          .n_out = 1,
                          .shape = bad_shape,
                          .forward = bad_forward,
                          .backward = bad_backward,
                          .scratch = room_both,
                          .prepared = room,
                          .prepare = bad_prepare};

typedef struct outcome {
    kd_status status;
    char error[512];
    float y; /* the first of it */
} outcome;

/* x -> relu "before" -> bad "bad" -> softmax "after", and with grad the sum's gradient by x. */
static outcome run(fault f, bool grad, size_t batch, kd_plan_opt opt)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    kd_plan *plan;
    kd_params *params;
    kd_exec *exec;
    float x[N * WIDTH];
    int32_t labels[N] = {0};
    outcome o = {0};
    const int64_t dim[] = {KD_BATCH, WIDTH};
    test_fill(x, N * WIDTH, 1, 1);
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value in = kd_input(g, "x", KD_F32, 2, dim);
    kd_graph_want_grad(g, in);
    kd_graph_scope(g, "before");
    kd_value v = kd_relu(g, in);
    kd_graph_unscope(g);
    kd_graph_scope(g, "wrong");
    v = kd_graph_op(g, &bad, &f, &v, 1, NULL);
    kd_graph_unscope(g);
    v = kd_relu(g, kd_softmax(g, v));
    kd_output(g, v, "y");
    if (grad) {
        const kd_value classes = kd_input(g, "labels", KD_I32, 1, dim);
        test_ok(ctx, kd_graph_grad(g, kd_cross_entropy(g, v, classes, 0)));
        kd_output(g, kd_graph_grad_of(g, in), "dx");
    }
    opt.struct_size = sizeof opt;
    opt.batch = N;
    opt.frozen = !grad;
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_params_create(g, 1, &params));
    /* room behind the arena, should nobody stop the op */
    _Alignas(64) static unsigned char memory[16384];
    ck_assert_uint_lt(kd_plan_arena_size(plan) + 5000, sizeof memory);
    test_ok(ctx, kd_exec_create(plan, params, memory + 64, &exec));
    test_ok(ctx, kd_exec_bind(exec, "x", x));
    if (grad) test_ok(ctx, kd_exec_bind(exec, "labels", labels));
    const kd_run_opt how = {.struct_size = sizeof how, .batch = batch};
    for (int again = 0; again < 2 && !o.status; again++) o.status = kd_exec_run(exec, &how);
    snprintf(o.error, sizeof o.error, "%s", kd_ctx_error(ctx));
    o.y = *(float *)kd_exec_output(exec, "y");
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
    return o;
}

static void check_blamed(fault f, bool grad, size_t batch, const char *step, const char *buffer)
{
    for (int apart = 0; apart < 2; apart++) {
        const outcome o = run(f, grad, batch, (kd_plan_opt){.guard = 1, .no_sharing = apart});
        ck_assert_msg(o.status == KD_E_INVALID, "fault %d: %s", (int)f, kd_status_name(o.status));
        ck_assert_msg(strstr(o.error, step) && (apart || strstr(o.error, buffer)), "fault %d: %s",
                      (int)f, o.error);
    }
}

START_TEST(test_a_good_op_is_left_alone)
{
    for (int grad = 0; grad < 2; grad++)
        for (int apart = 0; apart < 2; apart++)
            for (size_t batch = 1; batch <= N; batch++) {
                const outcome o =
                    run(NOTHING, grad, batch, (kd_plan_opt){.guard = 1, .no_sharing = apart});
                ck_assert_msg(!o.status && isfinite(o.y), "%s", o.error);
            }
}
END_TEST

START_TEST(test_writes_outside_are_found)
{
    const char *const step = "step 1, bad 'wrong', forward", *const y = "output 0 of bad 'wrong'";
    check_blamed(BEHIND, false, N, step, "0 bytes behind the end of output 0 of bad 'wrong'");
    check_blamed(BEHIND, true, N, step, y);
    check_blamed(IN_FRONT, false, N, step, "4 bytes in front of output 0 of bad 'wrong'");
    check_blamed(SCRATCH, false, N, step, "0 bytes behind the end of the scratch of bad 'wrong'");
    check_blamed(PREPARED, false, N, step,
                 "0 bytes behind the end of the prepared weights of bad 'wrong'");
    check_blamed(WHILE_PREPARING, false, N, "step 1, bad 'wrong', preparing its weights",
                 "0 bytes behind the end of the prepared weights of bad 'wrong'");
    check_blamed(BACKWARD_BEHIND, true, N, "bad 'wrong', backward",
                 "0 bytes behind the end of the gradient by input 0 of bad 'wrong'");
}
END_TEST

/* What a smaller batch leaves of an array is not the op's either. */
START_TEST(test_smaller_batches)
{
    for (size_t batch = 1; batch < N; batch++)
        check_blamed(BEHIND, false, batch, "step 1, bad 'wrong', forward",
                     "0 bytes behind the end of output 0 of bad 'wrong'");
}
END_TEST

START_TEST(test_unwritten_memory_is_nan)
{
    for (int apart = 0; apart < 2; apart++) {
        const outcome o =
            run(READS_ITS_OUTPUT, false, N, (kd_plan_opt){.guard = 1, .no_sharing = apart});
        ck_assert_msg(!o.status && isnan(o.y), "%s: %g", o.error, (double)o.y);
    }
}
END_TEST

/* Guards cost fences, nothing else. */
START_TEST(test_guards_change_no_bit)
{
    const outcome a = run(NOTHING, false, N, (kd_plan_opt){0});
    const outcome b = run(NOTHING, false, N, (kd_plan_opt){.guard = 1});
    ck_assert_mem_eq(&a.y, &b.y, sizeof a.y);
}
END_TEST

TEST_SUITE(guard, 30, &test_a_good_op_is_left_alone, &test_writes_outside_are_found,
           &test_smaller_batches, &test_unwritten_memory_is_nan, &test_guards_change_no_bit)
