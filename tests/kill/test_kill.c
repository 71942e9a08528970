/* SPDX-License-Identifier: MIT
 * test_kill.c: runs that are killed by SIGKILL at random moments and resumed, until they are done;
 * then they must have given the undisturbed run's network, bit for bit. Half of the time is spent
 * amid writing: every other start has the calls that write slowed down (shim.c). The environment's
 * KD_KILLS says how often to kill; KD_KILL_SEED varies the moments. */
#include "trial.h"

#include "../../lib/base/philox.h"

#include <kd/kd.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DATA "synthetic:classes=4,image=16,train=1024,test=64"

static const trial trials[] = {
    {.name = "k_train",
     .words = {"train",
               "vgg4_bn,width=0.25",
               "--data",
               DATA,
               "--batch",
               "16",
               "--epochs",
               "6",
               "--seed",
               "1",
               "--dev-count",
               "64",
               "--ema",
               "0.95",
               "--schedule",
               "cosine",
               "--augment",
               "crop-flip",
               "--checkpoint-seconds",
               "0.03"},
     .epochs = 6},
    {.name = "k_distill",
     .words = {"distill",   "vgg4_bn,width=0.25",
               "--teacher", "@teacher",
               "@other",    "--data",
               DATA,        "--batch",
               "16",        "--epochs",
               "5",         "--seed",
               "2",         "--accumulate",
               "2",         "--method",
               "dkd",       "--schedule",
               "onecycle",  "--checkpoint-seconds",
               "0.03"},
     .epochs = 5},
    {.name = "k_finetune",
     .words = {"finetune", "@other", "--data", DATA, "--batch", "8", "--epochs", "8", "--seed", "3",
               "--clip", "1", "--checkpoint-seconds", "0.03"},
     .epochs = 8},
    {.name = "k_vit",
     .words = {"train",
               "vit_tiny_patch16_224,image=16,patch=4,dim=48,depth=2,heads=2,drop_path=0.2",
               "--data",
               DATA,
               "--batch",
               "16",
               "--epochs",
               "6",
               "--seed",
               "4",
               "--optimizer",
               "adamw",
               "--schedule",
               "cosine",
               "--warmup",
               "1",
               "--ema",
               "0.95",
               "--augment",
               "crop-flip+erase+mixup+cutmix",
               "--checkpoint-seconds",
               "0.03"},
     .epochs = 6},
};
/* The sweep that is killed: it fills a cache, from which a student learns afterwards. */
#define SWEEP_DATA "synthetic:classes=4,image=16,train=256,test=32"
static const char sweep_text[] =
    "{\"common\": {\"data\": \"" SWEEP_DATA
    "\", \"batch\": 16, \"epochs\": 4, \"teacher\": \"%s\",\n"
    "  \"cache\": \"%s\", \"checkpoint-seconds\": 0.05},\n"
    " \"students\": [{\"name\": \"a\", \"spec\": \"vgg3_bn,width=0.25\"},\n"
    "  {\"name\": \"b\", \"spec\": \"vgg4,width=0.25\", \"epochs\": 3, \"seed\": 0}]}\n";

enum { TRIALS = sizeof trials / sizeof *trials, SLOW_US = 300, MOST_KILLS_A_RUN = 60 };

typedef struct tally {
    size_t kills, in_writing, without_checkpoint, runs;
} tally;

static void sleep_for(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

static bool amid_writing(const char *folder)
{
    static const char *const names[] = {"checkpoint.safetensors.tmp", "model.safetensors.tmp",
                                        "metrics.jsonl.tmp", "run.json.tmp"};
    bool any = false;
    for (size_t i = 0; i < 4; i++) any |= access(test_at(folder, names[i]).text, F_OK) == 0;
    return any;
}

static trial_call call_for(const char *folder, size_t n, char shim[40])
{
    snprintf(shim, 40, "slow=%d", SLOW_US);
    return (trial_call){.out = folder,
                        .resume = n > 0,
                        .threads = 1 + (int)(n / 2 % 3),
                        .shim = n % 2 ? NULL : shim,
                        .sync = true};
}

/* Seconds an undisturbed run takes, slowed down or not. */
static double duration(const trial *t, size_t n)
{
    const test_path folder = test_in_dir("timed");
    char shim[40];
    const trial_call call = call_for(folder.text, n, shim);
    const double start = kd_seconds();
    trial_remove(folder.text);
    ck_assert_msg(
        trial_run(t, &(trial_call){.out = folder.text, .shim = call.shim, .sync = true}, NULL) == 0,
        "%s", test_err);
    const double seconds = kd_seconds() - start;
    trial_check_done(t, folder.text);
    return seconds;
}

/* One start, killed after so long; true if it came to its end before. */
static bool one_start(const trial *t, const trial_call *call, double seconds, tally *sum)
{
    const pid_t pid = trial_start(t, call);
    sleep_for(seconds);
    kill(pid, SIGKILL);
    const int status = test_wait(pid);
    if (WIFEXITED(status)) {
        ck_assert_msg(WEXITSTATUS(status) == 0, "%s: %s", t->name, test_err);
        return true;
    }
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    sum->kills++;
    sum->in_writing += amid_writing(call->out);
    sum->without_checkpoint += !trial_check_whole(t, call->out);
    return false;
}

/* One run, killed again and again, to its end. */
static void one_run(const trial *t, const double whole[2], size_t kills, kdi_rng *rng, tally *sum)
{
    const test_path folder = test_in_dir("killed");
    char shim[40];
    trial_remove(folder.text);
    bool done = false;
    for (size_t n = 0; !done && n < MOST_KILLS_A_RUN && sum->kills < kills; n++) {
        const trial_call call = call_for(folder.text, n, shim);
        done = one_start(t, &call, .6 * whole[n % 2] * (double)kdi_rng_uniform(rng), sum);
    }
    if (!done) {
        const trial_call call = {.out = folder.text, .resume = true};
        ck_assert_msg(trial_run(t, &call, NULL) == 0, "%s: %s", t->name, test_err);
    }
    trial_check_done(t, folder.text);
    sum->runs++;
}

static size_t wanted(const char *name, size_t standard)
{
    const char *text = getenv(name);
    return text && *text ? (size_t)strtoull(text, NULL, 10) : standard;
}

static size_t kills(void)
{
    return wanted("KD_KILLS", 4);
}

START_TEST(test_kills)
{
    tally sum = {0};
    double whole[TRIALS][2];
    kdi_rng rng = kdi_rng_make(wanted("KD_KILL_SEED", 1), KDI_RNG_TEST, 0, 0);
    for (size_t i = 0; i < TRIALS; i++)
        for (size_t n = 0; n < 2; n++) whole[i][n] = duration(&trials[i], n);
    for (size_t i = 0; sum.kills < kills(); i++)
        one_run(&trials[i % TRIALS], whole[i % TRIALS], kills(), &rng, &sum);
    printf("%zu runs killed %zu times, %zu of them amid writing a file, %zu before the first "
           "checkpoint: each run's network is the undisturbed run's, bit for bit\n",
           sum.runs, sum.kills, sum.in_writing, sum.without_checkpoint);
}
END_TEST

/* ---- a sweep and its cache ------------------------------------------------------------------- */

typedef struct swept {
    test_path file, out, cache, teacher;
} swept;

static swept sweep_at(const char *name)
{
    char part[100];
    swept s;
    snprintf(part, sizeof part, "%s.json", name);
    s.file = test_in_dir(part);
    s.out = test_in_dir(name);
    snprintf(part, sizeof part, "%s.cache", name);
    s.cache = test_in_dir(part);
    s.teacher = test_in_dir("sweeps_teacher.safetensors");
    if (access(s.teacher.text, F_OK) != 0) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_model *m;
        test_ok(ctx,
                kd_model_create(ctx, "vgg3_bn,width=0.5,classes=4,image=16,channels=3", 3, &m));
        test_ok(ctx, kd_model_save(m, s.teacher.text));
        kd_model_destroy(m);
        kd_ctx_destroy(ctx);
    }
    FILE *f = fopen(s.file.text, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, sweep_text, s.teacher.text, s.cache.text);
    fclose(f);
    return s;
}

static void clear_sweep(const swept *s)
{
    trial_remove(test_at(s->out.text, "a").text);
    trial_remove(test_at(s->out.text, "b").text);
    trial_remove(s->out.text);
    trial_remove(s->cache.text);
}

/* jobs: 0: one pass. */
static pid_t start_sweep(const swept *s, bool jobs)
{
    const test_path kd = test_bin("kd");
    return test_start(TEST_WORDS(kd.text, "sweep", s->file.text, "--out", s->out.text, "--quiet",
                                 "--threads", "2", "--resume", jobs ? "--jobs" : NULL, "2"),
                      NULL, NULL);
}

/* The processes that a killed one started still have the folders: they end by themselves. */
static void finish_sweep(const swept *s)
{
    int status = 1;
    for (int tries = 0; tries < 40 && status != 0; tries++) {
        status = test_finish(start_sweep(s, false));
        if (status) sleep_for(.25);
    }
    ck_assert_msg(status == 0, "%s", test_err);
}

static void same_bytes(const char *a, const char *b)
{
    static char x[TEST_MAX_TEXT], y[TEST_MAX_TEXT];
    const size_t n = test_slurp(a, x), m = test_slurp(b, y);
    ck_assert_msg(n == m && n > 0 && !memcmp(x, y, n), "%s is not %s", a, b);
}

static void same_sweep(const swept *s, const swept *as)
{
    static const char *const files[] = {"a/model.safetensors", "b/model.safetensors"};
    static const char *const epochs[] = {"epoch-000000.safetensors", "epoch-000001.safetensors",
                                         "epoch-000002.safetensors", "epoch-000003.safetensors"};
    for (size_t i = 0; i < 2; i++)
        same_bytes(test_at(s->out.text, files[i]).text, test_at(as->out.text, files[i]).text);
    for (size_t i = 0; i < 4; i++)
        same_bytes(test_at(s->cache.text, epochs[i]).text, test_at(as->cache.text, epochs[i]).text);
}

/* Killed amid the sweep, or its cache's rows: in the end networks and cache are the undisturbed
 * ones, byte for byte. Every third start is of processes of their own. */
START_TEST(test_sweep_kills)
{
    size_t killed = 0, sweeps = 0;
    kdi_rng rng = kdi_rng_make(wanted("KD_KILL_SEED", 1), KDI_RNG_TEST, 1, 0);
    const swept whole = sweep_at("sweep_whole"), s = sweep_at("sweep_killed");
    clear_sweep(&whole);
    const double start = kd_seconds();
    finish_sweep(&whole);
    const double seconds = kd_seconds() - start;
    while (killed < kills()) {
        bool done = false;
        clear_sweep(&s);
        for (size_t n = 0; !done && n < MOST_KILLS_A_RUN && killed < kills(); n++) {
            const pid_t pid = start_sweep(&s, n % 3 == 2);
            sleep_for(.7 * seconds * (double)kdi_rng_uniform(&rng));
            kill(pid, SIGKILL);
            const int status = test_wait(pid);
            killed += WIFSIGNALED(status) != 0;
            done = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        }
        finish_sweep(&s);
        same_sweep(&s, &whole);
        sweeps++;
    }
    printf("%zu sweeps killed %zu times: each student's network and each epoch of the cache is the "
           "undisturbed one's, byte for byte\n",
           sweeps, killed);
}
END_TEST

static void enter(void)
{
    test_enter("kill");
}

Suite *kill_suite(void);
Suite *kill_suite(void)
{
    static const TTest **const tests[] = {&test_kills, &test_sweep_kills};
    return test_suite("kill", 120 + 4 * (double)kills(), enter, tests, 2);
}
