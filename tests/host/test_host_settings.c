/* SPDX-License-Identifier: MIT
 * test_host_settings.c: what the program around the library set is as it was: signals, floating point,
 * locale, files, OpenMP's settings, streams. */
#include "../test.h"
#include "course.h"

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

extern char **environ;

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

TEST_SUITE(host_settings, 120, &test_signals, &test_floating_point_mode, &test_locale,
           &test_surroundings, &test_silence)
