/* SPDX-License-Identifier: MIT
 * test_signals.c: SIGINT, SIGTERM and SIGHUP end a run after its step, with a checkpoint and exit
 * status 130, wherever in an epoch; resumed with any number of threads it gives the same bits. The
 * signals come at chosen moments: in the first step's end, while a checkpoint is written. Further
 * ones change nothing, but for a second SIGINT a second later. */
#include "trial.h"

#include <kd/kd.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DATA "synthetic:classes=4,image=16,train=96,test=16"

/* Whatever a run carries from step to step; a checkpoint after each. */
static const trial trials[] = {
    {.name = "s_train",
     .words = {"train",
               "vgg4_bn,width=0.125",
               "--data",
               DATA,
               "--batch",
               "16",
               "--epochs",
               "3",
               "--seed",
               "5",
               "--dev-count",
               "16",
               "--ema",
               "0.9",
               "--accumulate",
               "2",
               "--schedule",
               "cosine",
               "--augment",
               "crop-altflip-cutout:4",
               "--clip",
               "1",
               "--checkpoint-seconds",
               "1e-9"},
     .epochs = 3},
    {.name = "s_distill",
     .words = {"distill",    "vgg2_bn,width=0.25",
               "--teacher",  "@teacher",
               "@other",     "--teacher-weight",
               "1",          "2",
               "--method",   "dkd",
               "--data",     DATA,
               "--batch",    "16",
               "--epochs",   "2",
               "--seed",     "6",
               "--schedule", "onecycle",
               "--nesterov", "--checkpoint-seconds",
               "1e-9"},
     .epochs = 2},
    {.name = "s_finetune",
     .words = {"finetune", "@other", "--data", DATA, "--batch", "16", "--epochs", "2", "--seed",
               "7", "--checkpoint-seconds", "1e-9"},
     .epochs = 2},
    {.name = "s_deit",
     .words = {"distill",
               "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=24,depth=2,heads=2,drop_path="
               "0.2",
               "--teacher",
               "@teacher",
               "--method",
               "hard",
               "--data",
               DATA,
               "--batch",
               "16",
               "--epochs",
               "2",
               "--seed",
               "8",
               "--optimizer",
               "adamw",
               "--layer-decay",
               "0.75",
               "--ema",
               "0.9",
               "--augment",
               "crop-flip+erase+mixup+cutmix",
               "--micro-batch",
               "5",
               "--checkpoint-seconds",
               "1e-9"},
     .epochs = 2},
};
enum { TRIALS = sizeof trials / sizeof *trials };

static void expect_interrupted(const char *folder)
{
    static char text[TEST_MAX_TEXT];
    test_expect_in(test_err, "kd: interrupted after ");
    ck_assert_uint_eq(test_lines(strstr(test_err, "kd: interrupted after ")), 1);
    ck_assert_ptr_null(strstr(test_err, "finishing this step")); /* with --quiet, to a file */
    test_expect_in(test_err, "--resume");
    test_slurp(test_at(folder, "run.json").text, text);
    test_expect_in(text, "\"status\": \"interrupted\"");
}

static bool has_model(const char *folder)
{
    return access(test_at(folder, "model.safetensors").text, F_OK) == 0;
}

/* One signal after each step; an epoch's end is the next run's, and is stopped, too. After the last
 * one the run that only tests the network writes its record when it is done. */
static void interrupt_every_step(const trial *t)
{
    static const char *const names[] = {"TERM", "INT", "HUP"};
    const test_path folder = test_in_dir("signals");
    size_t steps = 0;
    bool stuck = false; /* the last run did no step */
    trial_remove(folder.text);
    for (size_t n = 0; !has_model(folder.text); n++) {
        char shim[40];
        snprintf(shim, sizeof shim, "rename=1:%s", names[n % 3]);
        const trial_call call = {.out = folder.text,
                                 .resume = n > 0,
                                 .threads = 1 + (int)(n % 3),
                                 .shim = shim,
                                 .path = "run.json"};
        const int status = trial_run(t, &call, NULL);
        if (status == 0 && has_model(folder.text)) break;
        ck_assert_msg(status == 130, "%s: status %d: %s", shim, status, test_err);
        expect_interrupted(folder.text);
        trial_check_whole(t, folder.text);
        const size_t now = trial_steps(folder.text);
        ck_assert_msg(now == steps + 1 || (now == steps && n > 0 && !stuck), "%zu steps", now);
        stuck = now == steps;
        steps = now;
    }
    const trial_call last = {.out = folder.text, .resume = true};
    ck_assert_int_eq(trial_run(t, &last, NULL), 0);
    ck_assert_uint_ge(steps, 5);
    trial_check_done(t, folder.text);
}

START_TEST(test_interrupted_at_every_step)
{
    for (size_t i = 0; i < TRIALS; i++) interrupt_every_step(&trials[i]);
}
END_TEST

/* While a checkpoint is written, at each of its calls in turn: that one is finished, and one more
 * step is done. */
static void interrupt_checkpoints(const trial *t)
{
    const test_path folder = test_in_dir("midst");
    static const char *const shims[] = {"open=2:INT", "truncate=3:TERM", "write=40:INT",
                                        "sync=4:TERM", "rename=2:INT"};
    for (size_t i = 0; i < sizeof shims / sizeof *shims; i++) {
        bool hit;
        trial_remove(folder.text);
        const trial_call call = {
            .out = folder.text, .shim = shims[i], .path = "checkpoint.safetensors"};
        ck_assert_int_eq(trial_run(t, &call, &hit), 130);
        ck_assert(hit);
        expect_interrupted(folder.text);
        ck_assert(!has_model(folder.text));
        ck_assert_uint_ge(trial_steps(folder.text), 1);
        const trial_call again = {.out = folder.text, .resume = true, .threads = 2};
        ck_assert_int_eq(trial_run(t, &again, NULL), 0);
        trial_check_done(t, folder.text);
    }
}

START_TEST(test_interrupted_in_a_checkpoint)
{
    for (size_t i = 0; i < TRIALS; i++) interrupt_checkpoints(&trials[i]);
}
END_TEST

/* ---- signals that follow one another --------------------------------------------------------- */

static void nap(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

static void wait_for(const char *path)
{
    for (int i = 0; i < 5000 && access(path, F_OK) != 0; i++) nap(.002);
    ck_assert_msg(access(path, F_OK) == 0, "%s does not come", path);
}

/* Signals that come at once, many of them, of any kind: one checkpoint, which the resume takes. */
START_TEST(test_many_signals)
{
    static const char *const shims[] = {"write=30+:TERM", "write=30+:INT", "write=30+:HUP"};
    const trial *t = &trials[0];
    const test_path folder = test_in_dir("many_signals");
    for (size_t i = 0; i < 3; i++) {
        bool hit;
        trial_remove(folder.text);
        const trial_call call = {.out = folder.text, .shim = shims[i]};
        ck_assert_int_eq(trial_run(t, &call, &hit), 130);
        ck_assert(hit);
        expect_interrupted(folder.text);
        trial_check_whole(t, folder.text);
        ck_assert_uint_ge(trial_steps(folder.text), 1);
        const trial_call again = {.out = folder.text, .resume = true};
        ck_assert_int_eq(trial_run(t, &again, NULL), 0);
        trial_check_done(t, folder.text);
    }
}
END_TEST

/* What `timeout` and a shell do: the signal goes to the group, and then to the process. */
START_TEST(test_signals_to_the_group)
{
    static const int numbers[] = {SIGTERM, SIGHUP, SIGINT};
    static char text[TEST_MAX_TEXT];
    const test_path kd = test_bin("kd"), folder = test_in_dir("group");
    const test_path record = test_at(folder.text, "run.json");
    for (size_t i = 0; i < 3; i++) {
        trial_remove(folder.text);
        const pid_t pid =
            test_start(TEST_WORDS("setsid", kd.text, "train", "vgg4_bn,width=0.125", "--data", DATA,
                                  "--batch", "16", "--epochs", "20000", "--out", folder.text),
                       NULL, NULL);
        ck_assert_int_gt(pid, 0);
        wait_for(record.text);
        ck_assert_int_eq(kill(-pid, numbers[i]), 0);
        kill(pid, numbers[i]);
        kill(-pid, SIGTERM);
        ck_assert_int_eq(test_finish(pid), 130);
        test_expect_in(test_err, "kd: finishing this step, then a checkpoint; Ctrl-C again");
        test_expect_in(test_err, "kd: interrupted after ");
        test_slurp(record.text, text);
        test_expect_in(text, "\"status\": \"interrupted\"");
        test_expect_in(text, "\"steps\": ");
        ck_assert_uint_ge(trial_steps(folder.text), 1);
    }
}
END_TEST

/* A person's second Ctrl-C ends the process in the midst of a checkpoint, and even so nothing is
 * lost, and the record does not say that the run goes on. */
START_TEST(test_second_interrupt)
{
    static char text[TEST_MAX_TEXT];
    const trial *t = &trials[0];
    const test_path folder = test_in_dir("twice");
    const test_path record = test_at(folder.text, "run.json");
    const trial_call call = {
        .out = folder.text, .shim = "slow=60000", .path = "checkpoint.safetensors"};
    const pid_t pid = trial_start(t, &call);
    wait_for(record.text);
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    nap(.2);
    ck_assert_int_eq(kill(pid, SIGINT), 0); /* too soon: the same press, or a group's */
    nap(.2);
    ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
    nap(.8);
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    const int status = test_wait(pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "status %d", status);
    trial_check_whole(t, folder.text);
    test_slurp(record.text, text);
    test_expect_in(text, "\"status\": \"interrupted\"");
    test_expect_in(text, "killed by a second interrupt");
    const trial_call again = {.out = folder.text, .resume = true};
    ck_assert_int_eq(trial_run(t, &again, NULL), 0);
    trial_check_done(t, folder.text);
}
END_TEST

/* The same while the first record is written: its place is taken by one that tells of the end. */
START_TEST(test_second_interrupt_at_once)
{
    static char text[TEST_MAX_TEXT];
    const trial *t = &trials[2];
    const test_path folder = test_in_dir("at_once");
    const trial_call call = {.out = folder.text, .shim = "slow=800000", .path = "run.json"};
    const pid_t pid = trial_start(t, &call);
    wait_for(test_at(folder.text, "checkpoint.safetensors").text);
    nap(.2);
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    nap(1.1);
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    const int status = test_wait(pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "status %d", status);
    test_slurp(test_at(folder.text, "run.json").text, text);
    test_expect_in(text, "\"status\": \"interrupted\"");
    trial_check_whole(t, folder.text);
}
END_TEST

/* While files are read: no step is made, and nothing is written. */
START_TEST(test_interrupted_before_the_first_step)
{
    const test_path folder = test_in_dir("early");
    bool hit;
    const trial_call call = {
        .out = folder.text, .shim = "read=1:TERM", .path = "other.safetensors"};
    ck_assert_int_eq(trial_run(&trials[2], &call, &hit), 130);
    ck_assert(hit);
    test_expect_in(test_err, "kd: interrupted before the first step\n");
    ck_assert(access(folder.text, F_OK) != 0);
}
END_TEST

/* ---- other ends ------------------------------------------------------------------------------ */

/* The record is of the run whose files are there: a run that replaces another one and fails before
 * its first step has removed that one's network. */
START_TEST(test_failed_before_the_first_step)
{
    static char text[TEST_MAX_TEXT];
    const test_path folder = test_in_dir("unbegun");
    trial t = trials[2];
    trial_call call = {.out = folder.text};
    ck_assert_int_eq(trial_run(&t, &call, NULL), 0);
    for (size_t i = 0; i < 32; i++)
        if (!t.words[i]) {
            t.words[i] = "--overwrite";
            break;
        }
    call.shim = "rename=1:EIO";
    call.path = "checkpoint.safetensors";
    ck_assert_int_eq(trial_run(&t, &call, NULL), 1);
    ck_assert(!has_model(folder.text));
    test_slurp(test_at(folder.text, "run.json").text, text);
    test_expect_in(text, "\"status\": \"failed\"");
    test_expect_in(text, "\"error\": \"cannot write");
}
END_TEST

/* The last epoch is done and the test begins: what is left is done by the resume. */
START_TEST(test_interrupted_in_the_test)
{
    const trial *t = &trials[1];
    const test_path folder = test_in_dir("late");
    const trial_call call = {
        .out = folder.text, .shim = "rename=1:TERM", .path = "model.safetensors"};
    ck_assert_int_eq(trial_run(t, &call, NULL), 130);
    trial_check_whole(t, folder.text);
    const trial_call again = {.out = folder.text, .resume = true};
    ck_assert_int_eq(trial_run(t, &again, NULL), 0);
    trial_check_done(t, folder.text);
}
END_TEST

/* No room for the record of the end: the network is there, what came of it is printed, and the
 * record of the beginning does not say that the run goes on. */
START_TEST(test_no_room_for_the_record)
{
    static char text[TEST_MAX_TEXT];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json_object *o;
    const trial *t = &trials[2];
    const test_path folder = test_in_dir("no_room");
    bool hit;
    const trial_call call = {.out = folder.text, .shim = "rename=2:ENOSPC", .path = "run.json"};
    ck_assert_int_eq(trial_run(t, &call, &hit), 1);
    ck_assert(hit);
    test_expect_in(test_err, "cannot write '");
    test_expect_in(test_out, "top-1 ");
    ck_assert(has_model(folder.text));
    const size_t size = test_slurp(test_at(folder.text, "run.json").text, text);
    test_ok(ctx, kd_json_parse(ctx, text, size, &o));
    ck_assert_str_eq(kd_json_get_string(o, "status"), "failed");
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
    const trial_call again = {.out = folder.text, .resume = true};
    ck_assert_int_eq(trial_run(t, &again, NULL), 0);
    trial_check_done(t, folder.text);
}
END_TEST

TEST_SUITE(signals, 120, &test_interrupted_at_every_step, &test_interrupted_in_a_checkpoint,
           &test_many_signals, &test_signals_to_the_group, &test_second_interrupt,
           &test_second_interrupt_at_once, &test_interrupted_before_the_first_step,
           &test_failed_before_the_first_step, &test_no_room_for_the_record,
           &test_interrupted_in_the_test)
