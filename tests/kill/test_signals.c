/* SPDX-License-Identifier: MIT
 * test_signals.c: SIGINT, SIGTERM and SIGHUP end a run after its step, with a checkpoint and exit
 * status 130, wherever in an epoch; resumed with any number of threads it gives the same bits. The
 * signals come at chosen moments: in the first step's end, while a checkpoint is written. */
#include "trial.h"

#include <kd/kd.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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
    ck_assert_uint_eq(test_lines(test_err), 1);
    test_expect_in(test_err, "interrupted after ");
    test_expect_in(test_err, "--resume");
    test_slurp(test_at(folder, "run.json").text, text);
    test_expect_in(text, "\"status\": \"interrupted\"");
}

static bool has_model(const char *folder)
{
    return access(test_at(folder, "model.safetensors").text, F_OK) == 0;
}

/* One signal after each step; after the last one the model is written, and its test left out. */
static void interrupt_every_step(const trial *t)
{
    static const char *const names[] = {"TERM", "INT", "HUP"};
    const test_path folder = test_in_dir("signals");
    size_t steps = 0;
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
        ck_assert_msg(status == 130, "%s: status %d: %s", shim, status, test_err);
        expect_interrupted(folder.text);
        trial_check_whole(t, folder.text);
        ck_assert_uint_eq(trial_steps(folder.text), ++steps);
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

/* A second signal of the kind ends the process at once, and even so nothing is lost. */
START_TEST(test_second_signal)
{
    const trial *t = &trials[0];
    const test_path folder = test_in_dir("twice");
    const trial_call call = {.out = folder.text, .shim = "write=30+:INT"};
    const int status = test_wait(trial_start(t, &call));
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    trial_check_whole(t, folder.text);
    const trial_call again = {.out = folder.text, .resume = true};
    ck_assert_int_eq(trial_run(t, &again, NULL), 0);
    trial_check_done(t, folder.text);
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

TEST_SUITE(signals, 120, &test_interrupted_at_every_step, &test_interrupted_in_a_checkpoint,
           &test_second_signal, &test_interrupted_in_the_test)
