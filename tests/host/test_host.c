/* SPDX-License-Identifier: MIT
 * test_host.c: the library as a guest in somebody's program: what that program set is as it was,
 * two contexts do not see each other, a plan may be shared, fork leaves a usable child. The suite
 * means most under the thread sanitizer. */
#include "../test.h"

#include <kd/kd.h>

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif
#if KDI_OPENBLAS
int openblas_get_num_threads(void);
#endif

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#else
#define UNDER_TSAN 0
#endif

extern char **environ;

enum { PICTURES = 8, PICTURE = 32 * 32 * 3, CLASSES = 10 };

/* ---- using the library, from end to end ------------------------------------------------------ */

/* What it computes: the same wherever and whenever it is used. */
typedef struct answer {
    double loss, top1;
    float logits[PICTURES * CLASSES];
} answer;

/* What is used of it. */
typedef struct course {
    const char *teacher, *student, *augment;
    kd_optimizer optimizer;
} course;

static const course cnn = {.teacher = "vgg3_bn,width=0.0625,classes=10,image=32",
                           .student = "vgg4_bn,width=0.125,classes=10,image=32",
                           .augment = "crop-flip"};
static const course transformer = {
    .teacher = "swin_tiny_patch4_window7_224,image=32,dim=12,depth=2-1,heads=2-3,window=4,"
               "classes=10",
    .student = "deit_tiny_distilled_patch16_224,image=32,patch=8,dim=24,depth=2,heads=2,"
               "drop_path=0.2,classes=10",
    .augment = "crop-flip+erase+mixup",
    .optimizer = KD_OPTIMIZER_ADAMW};

/* Data, two networks, a distillation into a folder, a file saved and loaded, predictions. */
static answer use_course(const course *c, kd_ctx *ctx, const char *folder)
{
    kd_dataset *data;
    kd_model *teacher, *student, *loaded;
    kd_result result = {.struct_size = sizeof result};
    answer a;
    char path[600];
    static const float mean[3] = {.4f, .5f, .6f}, std[3] = {.25f, .125f, .3f};
    float *x = malloc(PICTURES * PICTURE * sizeof *x);
    test_fill(x, PICTURES * PICTURE, 1, 1);
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=96,test=32,image=32", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, c->teacher, 1, &teacher));
    test_ok(ctx, kd_model_create(ctx, c->student, 2, &student));
    test_ok(ctx, kd_model_set_normalization(teacher, mean, std));
    const kd_distill_opt opt = {
        .struct_size = sizeof opt,
        .teacher = teacher,
        .temperature = 2.5f,
        .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                 .epochs = 1,
                                 .batch = 16,
                                 .lr = c->optimizer == KD_OPTIMIZER_ADAMW ? .002f : .05f,
                                 .optimizer = c->optimizer,
                                 .augment = c->augment,
                                 .out = folder,
                                 .overwrite = 1}};
    test_ok(ctx, kd_distill(student, data, &opt, &result));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    test_ok(ctx, kd_model_load(ctx, path, NULL, &loaded));
    test_ok(ctx, kd_model_predict(loaded, x, PICTURES, 3, a.logits));
    a.loss = result.train_loss;
    a.top1 = result.top1;
    kd_model_destroy(loaded);
    kd_model_destroy(student);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    free(x);
    return a;
}

static answer use(kd_ctx *ctx, const char *folder)
{
    return use_course(&cnn, ctx, folder);
}

static const char *folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    return path;
}

static answer use_with(int threads, const char *name)
{
    kd_ctx *ctx = test_ctx(threads, NULL);
    const answer a = use(ctx, folder(name));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return a;
}

static bool equal(const answer *a, const answer *b)
{
    return a->loss == b->loss && a->top1 == b->top1 &&
           !memcmp(a->logits, b->logits, sizeof a->logits);
}

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

/* ---- the host's settings --------------------------------------------------------------------- */

static pthread_t host;
static volatile sig_atomic_t signals, on_another_thread;

static void on_signal(int number)
{
    (void)number;
    signals = signals + 1;
    if (!pthread_equal(pthread_self(), host)) on_another_thread = 1;
}

/* Handlers and mask are as they were; a handler runs on the host's thread alone, however often it
 * interrupts, restarting no system call. */
START_TEST(test_signals)
{
    struct sigaction before[65], after, mine = {.sa_handler = on_signal};
    sigset_t mask_before, mask_after;
    const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    host = pthread_self();
    ck_assert_int_eq(sigaction(SIGALRM, &mine, NULL), 0);
    memset(before, 0, sizeof before);
    for (int s = 1; s < 65; s++)
        if (sigaction(s, NULL, &before[s])) before[s].sa_handler = SIG_ERR;
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    const answer quiet = use_with(3, "quiet");
    ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
    const answer rung = use_with(3, "rung");
    ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
    ck_assert_int_gt(signals, 0);
    ck_assert_int_eq(on_another_thread, 0);
    ck_assert(equal(&quiet, &rung));
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    for (int s = 1; s < 65; s++) {
        ck_assert_int_eq(sigismember(&mask_before, s), sigismember(&mask_after, s));
        if (sigaction(s, NULL, &after)) continue;
        ck_assert_msg(after.sa_handler == before[s].sa_handler &&
                          after.sa_flags == before[s].sa_flags,
                      "signal %d is handled otherwise", s);
    }
}
END_TEST

/* Rounding, flushing of denormals and traps are the host's. */
START_TEST(test_floating_point_mode)
{
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_TOWARDZERO};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        ck_assert_int_eq(fesetround(modes[i]), 0);
#if defined(__x86_64__)
        enum { CONTROL = 0xFFC0 }; /* without the sticky flags */
        _mm_setcsr((_mm_getcsr() & ~0x8040u) | (i ? 0x8040u : 0));
        const unsigned before = _mm_getcsr() & CONTROL;
        use_with(2, "rounded");
        ck_assert_uint_eq(_mm_getcsr() & CONTROL, before);
        _mm_setcsr(_mm_getcsr() & ~0x8040u);
#else
        use_with(2, "rounded");
#endif
        ck_assert_int_eq(fegetround(), modes[i]);
    }
    fesetround(FE_TONEAREST);
}
END_TEST

/* A locale whose numbers have a comma: an installed one, or one made from C.UTF-8's file. */
static bool set_comma(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "ru_RU.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (setlocale(LC_NUMERIC, names[i])) return true;
    char path[600], bytes[256];
    FILE *f = fopen("/usr/lib/locale/C.utf8/LC_NUMERIC", "rb");
    if (!f) return false;
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (size_t i = 0; i < n; i++)
        if (bytes[i] == '.') bytes[i] = ',';
    snprintf(path, sizeof path, "%s/locale", test_dir());
    mkdir(path, 0700);
    setenv("LOCPATH", path, 1);
    snprintf(path, sizeof path, "%s/locale/comma", test_dir());
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/locale/comma/LC_NUMERIC", test_dir());
    f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) return false;
    return setlocale(LC_NUMERIC, "comma") != NULL;
}

static void read_whole(const char *of, const char *name, char **bytes, size_t *size)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char path[700], *got;
    snprintf(path, sizeof path, "%s/%s/%s", test_dir(), of, name);
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 24, &got, size));
    *bytes = malloc(*size + 1);
    memcpy(*bytes, got, *size);
    (*bytes)[*size] = 0;
    kd_ctx_free(ctx, got);
    kd_ctx_destroy(ctx);
}

/* Numbers in files, in specs and in JSON have a point, whatever the host's have. */
START_TEST(test_locale)
{
    char text[64], spec[KD_SPEC_SIZE], *a, *b;
    size_t size_a, size_b;
    const answer plain = use_with(2, "point");
    if (!set_comma()) {
        fprintf(stderr, "test_locale left out: no locale with a decimal comma\n");
        return;
    }
    snprintf(text, sizeof text, "%.1f", 1.5);
    ck_assert_str_eq(text, "1,5");
    const answer comma = use_with(2, "comma");
    ck_assert(equal(&plain, &comma));
    read_whole("point", "model.safetensors", &a, &size_a);
    read_whole("comma", "model.safetensors", &b, &size_b);
    ck_assert_uint_eq(size_a, size_b);
    ck_assert(!memcmp(a, b, size_a));
    free(a);
    free(b);
    /* a line of metrics is JSON whose numbers mean the same */
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json_object *o;
    double loss;
    read_whole("comma", "metrics.jsonl", &a, &size_a);
    test_ok(ctx, kd_json_parse(ctx, a, strcspn(a, "\n"), &o));
    ck_assert(kd_json_get_number(o, "loss", &loss));
    ck_assert_double_eq(loss, plain.loss);
    kd_json_object_destroy(o);
    free(a);
    test_ok(ctx, kd_spec_complete(ctx, "vgg8,width=0.0625", NULL, spec, sizeof spec));
    ck_assert_ptr_nonnull(strstr(spec, "width=0.0625"));
    /* and a checkpoint is read */
    kd_dataset *data;
    kd_model *m;
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=32,test=8", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.0625,classes=10,image=32", 1, &m));
    kd_train_opt opt = {.struct_size = sizeof opt,
                        .epochs = 1,
                        .batch = 16,
                        .out = folder("again"),
                        .overwrite = 1};
    test_ok(ctx, kd_train(m, data, &opt, NULL));
    opt.overwrite = 0;
    opt.resume = 1;
    test_ok(ctx, kd_train(m, data, &opt, NULL));
    kd_model_destroy(m);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    snprintf(text, sizeof text, "%.1f", 1.5);
    ck_assert_str_eq(text, "1,5");
}
END_TEST

/* ---- what else is the host's ----------------------------------------------------------------- */

typedef struct surroundings {
    char folder[4096], environment[65536];
    mode_t mask;
    long number; /* the host's random sequence */
    int files;
#ifdef _OPENMP
    int omp_threads, omp_dynamic, omp_levels, omp_chunk;
    omp_sched_t omp_schedule;
#endif
    int blas_threads;
} surroundings;

static void look(surroundings *s)
{
    memset(s, 0, sizeof *s);
    ck_assert_ptr_nonnull(getcwd(s->folder, sizeof s->folder));
    size_t at = 0;
    for (char **e = environ; *e && at < sizeof s->environment - 1; e++)
        at += (size_t)snprintf(s->environment + at, sizeof s->environment - at, "%s\n", *e);
    s->mask = umask(0);
    umask(s->mask);
    for (int fd = 0; fd < 1024; fd++) s->files += fcntl(fd, F_GETFD) >= 0;
#ifdef _OPENMP
    s->omp_threads = omp_get_max_threads();
    s->omp_dynamic = omp_get_dynamic();
    s->omp_levels = omp_get_max_active_levels();
    omp_get_schedule(&s->omp_schedule, &s->omp_chunk);
#endif
#if KDI_OPENBLAS
    s->blas_threads = openblas_get_num_threads();
#endif
}

/* Folder, environment, open files, random numbers, OpenMP's and OpenBLAS's settings. */
START_TEST(test_surroundings)
{
    static surroundings before, after;
#ifdef _OPENMP
    omp_set_num_threads(3);
    omp_set_schedule(omp_sched_guided, 7);
#endif
    srandom(5);
    const long first = random(), second = random();
    use_with(2, "warm"); /* what the C library opens once is open now */
    srandom(5);
    look(&before);
    before.number = first;
    ck_assert_int_eq(random(), first);
    use_with(4, "looked");
    setenv("KD_BLAS", "openblas", 1); /* for every product, where it is built in */
    kd_ctx *with_blas;
    if (!kd_ctx_create(NULL, &with_blas)) {
        for (int threads = 1; threads <= 3; threads++) use_with(threads, "looked");
        kd_ctx_destroy(with_blas);
    }
    unsetenv("KD_BLAS");
    look(&after);
    after.number = first;
    ck_assert(!memcmp(&before, &after, sizeof before));
    ck_assert_int_eq(random(), second);
}
END_TEST

/* Not a word on the standard streams, even when things fail. */
START_TEST(test_silence)
{
    char path[600];
    struct stat about;
    snprintf(path, sizeof path, "%s/output", test_dir());
    const int said = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), out = dup(1), err = dup(2);
    ck_assert(said >= 0 && out >= 0 && err >= 0);
    fflush(stdout);
    dup2(said, 1);
    dup2(said, 2);
    use_with(2, "silent");
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    kd_dataset *data;
    const kd_status a = kd_model_create(ctx, "vgg8,width=none", 1, &m);
    const kd_status b = kd_model_load(ctx, "/nonexistent", NULL, &m);
    const kd_status c = kd_dataset_open(ctx, "cifar-10", "/nonexistent", &data);
    kd_ctx_destroy(ctx);
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    ck_assert(a && b && c);
    ck_assert_int_eq(fstat(said, &about), 0);
    ck_assert_int_eq(about.st_size, 0);
    close(said);
    close(out);
    close(err);
}
END_TEST

TEST_SUITE(host, 120, &test_two_contexts_train_at_once, &test_executors_share_a_plan,
           &test_executors_share_a_training_plan, &test_executors_come_and_go,
           &test_training_executors_come_and_go, &test_fork_in_serial_mode, &test_fork_with_threads,
           &test_regions_of_the_program, &test_fork_after_a_region, &test_whose_threads,
           &test_signals, &test_floating_point_mode, &test_locale, &test_surroundings,
           &test_silence)
