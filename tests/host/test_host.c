/* SPDX-License-Identifier: MIT
 * test_host.c: the library as a guest in somebody's program: two contexts do not see each other, a
 * plan may be shared, fork leaves a usable child, the program's own OpenMP goes on.
 * The suite means most under the thread sanitizer. */
#include "../test.h"
#include "course.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#else
#define UNDER_TSAN 0
#endif

/* ---- two at once ----------------------------------------------------------------------------- */

typedef struct guest {
    const course *course;
    kd_ctx *ctx;
    char folder[512];
    answer a;
} guest;

static void *be_guest(void *arg)
{
    guest *g = arg;
    g->a = use_course(g->course, g->ctx, g->folder);
    return NULL;
}

/* Each gives what it gives alone. */
static void train_at_once(const course *first, const course *second)
{
    static int count;
    const course *const courses[2] = {first, second};
    guest alone[2], both[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        guest *g = &alone[i];
        *g = (guest){.course = courses[i], .ctx = test_ctx(1, NULL)};
        snprintf(g->folder, sizeof g->folder, "%s/guest%d", test_dir(), count++);
        be_guest(g);
        kd_ctx_destroy(g->ctx);
    }
    for (int i = 0; i < 2; i++) {
        guest *g = &both[i];
        *g = (guest){.course = courses[i], .ctx = test_ctx(2 + i, NULL)};
        snprintf(g->folder, sizeof g->folder, "%s/guest%d", test_dir(), count++);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, be_guest, g), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_uint_eq(kd_ctx_memory(both[i].ctx), 0);
        kd_ctx_destroy(both[i].ctx);
        ck_assert(equal(&both[i].a, &alone[i].a));
    }
}

START_TEST(test_two_contexts_train_at_once)
{
    train_at_once(&cnn, &cnn);
    train_at_once(&cnn, &transformer);
    train_at_once(&transformer, &transformer);
}
END_TEST

/* One of two executors of a plan, with parameters of its own or shared ones. */
typedef struct runner {
    kd_exec *exec;
    int runs;
    kd_status status;
} runner;

static void *run_often(void *arg)
{
    runner *r = arg;
    const kd_run_opt opt = {.struct_size = sizeof opt, .batch = r->runs ? PICTURES : 1000};
    r->status = kd_exec_run(r->exec, &opt);
    for (int i = 1; i < r->runs && !r->status; i++) r->status = kd_exec_run(r->exec, &opt);
    return NULL;
}

static void run_both(runner *r, kd_status expected)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_often, &r[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) ck_assert_int_eq(r[i].status, expected);
}

/* Evaluating, with the same parameters, transformed weights in each arena. */
START_TEST(test_executors_share_a_plan)
{
    kd_ctx *ctx = test_ctx(3, NULL);
    kd_model *m;
    kd_plan *plan;
    runner r[2] = {{.runs = 10}, {.runs = 10}};
    float *x = malloc(2 * PICTURES * PICTURE * sizeof *x), alone[2][PICTURES * CLASSES];
    test_fill(x, 2 * PICTURES * PICTURE, 1, 1);
    test_ok(ctx, kd_model_create(ctx, "vgg5_bn,width=0.125,classes=10,image=32", 1, &m));
    test_ok(ctx, kd_model_plan(m, PICTURES, &plan, &r[0].exec));
    test_ok(ctx, kd_exec_create(plan, kd_model_params(m), NULL, &r[1].exec));
    for (int i = 0; i < 2; i++) {
        test_ok(ctx, kd_exec_bind(r[i].exec, "input", x + i * PICTURES * PICTURE));
        test_ok(ctx, kd_model_predict(m, x + i * PICTURES * PICTURE, PICTURES, PICTURES, alone[i]));
    }
    run_both(r, KD_OK);
    for (int i = 0; i < 2; i++)
        ck_assert_mem_eq(kd_exec_output(r[i].exec, "logits"), alone[i], sizeof alone[i]);
    /* Both fail: the error is that of one of them. */
    r[0].runs = r[1].runs = 0;
    run_both(r, KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "a batch of 1000"));
    kd_exec_destroy(r[0].exec);
    kd_exec_destroy(r[1].exec);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    free(x);
    kd_ctx_destroy(ctx);
}
END_TEST

/* What docs/embedder.md allows: in several threads at the same moment, executors of one plan are
 * made, bound, run, asked and destroyed, and some of the calls fail. */
typedef struct visitor {
    const kd_plan *plan;
    kd_params *params;
    const float *x, *expected; /* logits; NULL: nothing is compared */
    const int32_t *labels;
    const char *nobody; /* no input has this name */
    kd_status status;
    bool same;
} visitor;

static void *come_and_go(void *arg)
{
    visitor *v = arg;
    v->same = true;
    for (int i = 0; i < 4 && !v->status; i++) {
        kd_exec *exec;
        v->status = kd_exec_create(v->plan, v->params, NULL, &exec);
        if (v->status) break;
        if (kd_exec_bind(exec, v->nobody, v->x) != KD_E_NOTFOUND) v->status = KD_E_INVALID;
        if (!v->status) v->status = kd_exec_bind(exec, "input", v->x);
        if (!v->status && v->labels) v->status = kd_exec_bind(exec, "labels", v->labels);
        for (int k = 0; k < 2 && !v->status; k++) v->status = kd_exec_run(exec, NULL);
        if (!v->status && v->expected)
            v->same &= !memcmp(kd_exec_output(exec, "logits"), v->expected,
                               PICTURES * CLASSES * sizeof(float));
        kd_exec_destroy(exec);
    }
    return NULL;
}

static void all_come_and_go(kd_ctx *ctx, visitor *v, int n)
{
    static const char *const names[] = {"nobody's first", "nobody's second", "nobody's third"};
    pthread_t threads[3];
    for (int i = 0; i < n; i++) {
        v[i].nobody = names[i];
        ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, &v[i]), 0);
    }
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(v[i].status, KD_OK);
        ck_assert(v[i].same);
    }
    /* The error is one of theirs, whole. */
    char text[3][100];
    bool whole = false;
    for (int i = 0; i < n; i++) {
        snprintf(text[i], sizeof text[i], "'%s'", names[i]);
        whole |= strstr(kd_ctx_error(ctx), text[i]) != NULL;
    }
    ck_assert_msg(whole, "%s", kd_ctx_error(ctx));
}

START_TEST(test_executors_come_and_go)
{
    enum { VISITORS = 3 };
    for (int threads = 1; threads <= 3; threads += 2) {
        kd_ctx *ctx = test_ctx(threads, NULL), *other = test_ctx(1, NULL);
        kd_model *m, *same;
        kd_plan *plan;
        kd_exec *exec;
        float *x = malloc(PICTURES * PICTURE * sizeof *x), expected[PICTURES * CLASSES];
        visitor v[VISITORS] = {{0}};
        test_fill(x, PICTURES * PICTURE, 1, 1);
        test_ok(other, kd_model_create(other, cnn.student, 1, &same));
        test_ok(other, kd_model_predict(same, x, PICTURES, PICTURES, expected));
        test_ok(ctx, kd_model_create(ctx, cnn.student, 1, &m));
        test_ok(ctx, kd_model_plan(m, PICTURES, &plan, &exec));
        kd_exec_destroy(exec);
        const size_t held = kd_ctx_memory(ctx);
        for (int i = 0; i < VISITORS; i++)
            v[i] =
                (visitor){.plan = plan, .params = kd_model_params(m), .x = x, .expected = expected};
        all_come_and_go(ctx, v, VISITORS);
        ck_assert_uint_eq(kd_ctx_memory(ctx), held);
        kd_plan_destroy(plan);
        kd_model_destroy(m);
        kd_model_destroy(same);
        free(x);
        kd_ctx_destroy(other);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

/* The same of a training plan, each with parameters of its own, whose gradients the executors ask for. */
START_TEST(test_training_executors_come_and_go)
{
    enum { VISITORS = 3 };
    kd_ctx *ctx = test_ctx(3, NULL);
    kd_model *m[VISITORS];
    kd_plan *plan;
    int32_t labels[PICTURES];
    float *x = malloc(PICTURES * PICTURE * sizeof *x);
    visitor v[VISITORS] = {{0}};
    const kd_train_opt train = {.struct_size = sizeof train, .batch = PICTURES};
    const kd_distill_opt opt = {.struct_size = sizeof opt, .train = &train};
    test_fill(x, PICTURES * PICTURE, 1, 1);
    for (int i = 0; i < PICTURES; i++) labels[i] = i;
    for (int i = 0; i < VISITORS; i++) test_ok(ctx, kd_model_create(ctx, cnn.student, 1, &m[i]));
    test_ok(ctx, kd_train_plan(m[0], &opt, &plan));
    for (int i = 0; i < VISITORS; i++)
        v[i] = (visitor){.plan = plan, .params = kd_model_params(m[i]), .x = x, .labels = labels};
    all_come_and_go(ctx, v, VISITORS);
    kd_params *first = kd_model_params(m[0]);
    const size_t bytes = kd_params_flat_count(first) * sizeof(float);
    for (int i = 1; i < VISITORS; i++)
        ck_assert(!memcmp(kd_params_grads(kd_model_params(m[i])), kd_params_grads(first), bytes));
    kd_plan_destroy(plan);
    for (int i = 0; i < VISITORS; i++) kd_model_destroy(m[i]);
    free(x);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Training, each with parameters of its own: the gradients are those of one alone. */
START_TEST(test_executors_share_a_training_plan)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_model *m[3];
    kd_graph *g;
    kd_plan *plan;
    kd_exec *alone;
    runner r[2] = {{.runs = 5}, {.runs = 5}};
    const int64_t dim[] = {KD_BATCH, 32, 32, 3};
    int32_t labels[PICTURES];
    float *x = malloc(PICTURES * PICTURE * sizeof *x);
    test_fill(x, PICTURES * PICTURE, 1, 1);
    for (int i = 0; i < PICTURES; i++) labels[i] = i;
    for (int i = 0; i < 3; i++)
        test_ok(ctx, kd_model_create(ctx, "vgg5_bn,width=0.125,classes=10,image=32", 1, &m[i]));
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value logits = kd_model_build(m[0], g, kd_input(g, "input", KD_F32, 4, dim), NULL);
    test_ok(ctx, kd_graph_grad(
                     g, kd_cross_entropy(g, logits, kd_input(g, "labels", KD_I32, 1, dim), 0)));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = PICTURES, .training = 1};
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    kd_graph_destroy(g);
    test_ok(ctx, kd_exec_create(plan, kd_model_params(m[2]), NULL, &alone));
    kd_exec *const all[] = {alone, NULL, NULL};
    for (int i = 0; i < 2; i++)
        test_ok(ctx, kd_exec_create(plan, kd_model_params(m[i]), NULL, &r[i].exec));
    for (int i = 0; i < 3; i++) {
        kd_exec *e = i ? r[i - 1].exec : all[0];
        test_ok(ctx, kd_exec_bind(e, "input", x));
        test_ok(ctx, kd_exec_bind(e, "labels", labels));
    }
    for (int i = 0; i < 5; i++) test_ok(ctx, kd_exec_run(alone, NULL));
    run_both(r, KD_OK);
    const size_t bytes = kd_params_flat_count(kd_model_params(m[2])) * sizeof(float);
    for (int i = 0; i < 2; i++) {
        kd_params *p = kd_model_params(m[i]), *q = kd_model_params(m[2]);
        ck_assert(!memcmp(kd_params_grads(p), kd_params_grads(q), bytes));
        ck_assert(!memcmp(kd_params_buffers(p), kd_params_buffers(q), kd_params_buffer_bytes(q)));
        kd_exec_destroy(r[i].exec);
    }
    kd_exec_destroy(alone);
    kd_plan_destroy(plan);
    for (int i = 0; i < 3; i++) kd_model_destroy(m[i]);
    free(x);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- fork ------------------------------------------------------------------------------------ */

/* Work on in the child of a context that has been used, and with a new one; then end it all. */
static void work_after_fork(int threads)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    kd_model *m;
    kd_plan *plan;
    kd_exec *exec;
    float *x = malloc(PICTURES * PICTURE * sizeof *x), before[PICTURES * CLASSES];
    test_fill(x, PICTURES * PICTURE, 1, 1);
    const answer whole = use(ctx, folder("forked"));
    test_ok(ctx, kd_model_create(ctx, "vgg5_bn,width=0.125,classes=10,image=32", 1, &m));
    test_ok(ctx, kd_model_plan(m, PICTURES, &plan, &exec));
    test_ok(ctx, kd_exec_bind(exec, "input", x));
    test_ok(ctx, kd_exec_run(exec, NULL));
    memcpy(before, kd_exec_output(exec, "logits"), sizeof before);
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        bool good = !kd_exec_run(exec, NULL) &&
                    !memcmp(before, kd_exec_output(exec, "logits"), sizeof before);
        kd_exec_destroy(exec);
        kd_plan_destroy(plan);
        kd_model_destroy(m);
        if (threads == 1 || !UNDER_TSAN) { /* the sanitizer forbids threads in such a child */
            const answer again = use(ctx, folder("child"));
            good = good && equal(&again, &whole);
        }
        kd_ctx_destroy(ctx);
        if (!UNDER_TSAN) {
            const answer again = use_with(3, "child2");
            good = good && equal(&again, &whole);
        }
        free(x);
        _exit(good ? 0 : 3);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) ck_assert_int_eq(errno, EINTR);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %d",
                  status);
    test_ok(ctx, kd_exec_run(exec, NULL));
    ck_assert_mem_eq(before, kd_exec_output(exec, "logits"), sizeof before);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(m);
    free(x);
    kd_ctx_destroy(ctx);
}

START_TEST(test_fork_in_serial_mode)
{
    work_after_fork(1);
}
END_TEST

START_TEST(test_fork_with_threads)
{
    work_after_fork(3);
}
END_TEST

/* ---- the program's own OpenMP ---------------------------------------------------------------- */

#ifdef _OPENMP

/* Threads that a region of the program's gets here. */
static int region_threads(void)
{
    int n = 0;
#pragma omp parallel reduction(+ : n)
    n++;
    return n;
}

/* Between regions of the program's, whatever number of threads it has chosen, and within one: the
 * numbers are the same, and so are the program's regions. */
START_TEST(test_regions_of_the_program)
{
    enum { TASKS = 3 };
    static guest g[TASKS];
    const answer whole = use_with(1, "plain");
    for (int n = 1; n <= 4; n++) {
        omp_set_num_threads(n);
        ck_assert_int_eq(region_threads(), n);
        const answer again = use_with(3, "between");
        ck_assert(equal(&again, &whole));
        const answer by_default = use_with(0, "default");
        ck_assert(equal(&by_default, &whole));
        ck_assert_int_eq(region_threads(), n);
        ck_assert_int_eq(omp_get_max_threads(), n);
    }
    for (int levels = 1; levels <= 2; levels++) {
        omp_set_max_active_levels(levels);
        for (int i = 0; i < TASKS; i++) {
            g[i] = (guest){.course = &cnn, .ctx = test_ctx(2, NULL)};
            snprintf(g[i].folder, sizeof g[i].folder, "%s/within%d", test_dir(), i);
        }
#pragma omp parallel for num_threads(TASKS) schedule(static, 1)
        for (int i = 0; i < TASKS; i++) be_guest(&g[i]);
        for (int i = 0; i < TASKS; i++) {
            kd_ctx_destroy(g[i].ctx);
            ck_assert(equal(&g[i].a, &whole));
        }
    }
    omp_set_max_active_levels(1);
}
END_TEST

/* The program's OpenMP has threads when it forks: in the child GNU's would wait for ever for them,
 * the library's loops do not. */
START_TEST(test_fork_after_a_region)
{
    omp_set_num_threads(2);
    ck_assert_int_eq(region_threads(), 2);
    work_after_fork(3);
}
END_TEST

static void where(void *arg, size_t index, int worker)
{
    int *of = arg; /* [tasks] */
    (void)worker;
    of[index] = omp_in_parallel();
    if (index == 0) usleep(20000); /* somebody else has the time to come */
}

/* In a task of a region the library computes on its thread alone, unless OpenMP may nest; loops'
 * other threads are OpenMP's. */
START_TEST(test_whose_threads)
{
    int inside[64], others = 0;
    kd_ctx *ctx = test_ctx(2, NULL);
    for (int i = 0; i < 50 && !others; i++) {
        kd_parallel_for(ctx, 64, where, inside);
        for (int j = 0; j < 64; j++) others += inside[j];
    }
    ck_assert_int_gt(others, 0);
    kd_ctx_destroy(ctx);
}
END_TEST

#else
START_TEST(test_regions_of_the_program)
{
}
END_TEST

START_TEST(test_fork_after_a_region)
{
}
END_TEST

START_TEST(test_whose_threads)
{
}
END_TEST
#endif

TEST_SUITE(host, 120, &test_two_contexts_train_at_once, &test_executors_share_a_plan,
           &test_executors_share_a_training_plan, &test_executors_come_and_go,
           &test_training_executors_come_and_go, &test_fork_in_serial_mode, &test_fork_with_threads,
           &test_regions_of_the_program, &test_fork_after_a_region, &test_whose_threads)
