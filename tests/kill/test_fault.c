/* SPDX-License-Identifier: MIT
 * test_fault.c: a run under a file system that fails. Call after call that changes a file ends the
 * process or fails (every third call, or all with KD_EVERY=1): from an empty folder, from a
 * checkpoint amid an epoch, and over an earlier run. After each the checkpoint is whole, and the
 * resumed run gives what an undisturbed one does. Then disks that are full (also a real one, a
 * tmpfs, where mounting is allowed), folders that can't be written, reads that fail, end early,
 * come in pieces or are interrupted, and data and pictures that vanish. */
#include "../data/files.h"
#include "trial.h"

#include <kd/kd.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Few tensors: every call is tried. */
static const trial tiny = {.name = "tiny",
                           .words = {"train", "vgg2,width=0.125", "--data",
                                     "synthetic:classes=4,image=16,train=64,test=16", "--batch",
                                     "16", "--epochs", "2", "--seed", "3"},
                           .epochs = 2};

/* ---- one call after the other ---------------------------------------------------------------- */

typedef enum start_from { EMPTY, HALF, DONE } start_from;

/* A folder in that state. HALF: stopped after step 2 of 8, in the middle of the first epoch. */
static void prepare(start_from from, const char *folder)
{
    const test_path half = test_in_dir("tiny.half");
    const test_path whole = trial_reference(&tiny);
    if (from == EMPTY) trial_remove(folder);
    if (from == DONE) trial_copy(whole.text, folder);
    if (from != HALF) return;
    if (trial_steps(half.text) == 0) {
        /* step 1 stops for run.json, which makes the first interruption; step 2 for the second */
        for (int resume = 0; resume < 2; resume++) {
            const trial_call call = {
                .out = half.text, .resume = resume, .shim = "rename=1:INT", .path = "run.json"};
            ck_assert_int_eq(trial_run(&tiny, &call, NULL), 130);
        }
        ck_assert_uint_eq(trial_steps(half.text), 2);
    }
    trial_copy(half.text, folder);
}

/* Let the n-th call meet this; false when there are fewer. */
static bool try_call(start_from from, const char *shim, const char *what, bool kills)
{
    const test_path folder = test_in_dir("try");
    prepare(from, folder.text);
    const size_t before = trial_steps(folder.text);
    const trial_call call = {.out = folder.text, .resume = from == HALF, .shim = shim};
    const int status = test_wait(trial_start(&tiny, &call));
    const bool hit = trial_was_hit();
    if (!hit)
        ck_assert_msg(status == 0, "%s: status %d: %s", shim, status, test_err);
    else if (kills)
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s", shim);
    else if (status) { /* or a second name for the temporary file was as good */
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%s: %d", shim, status);
        test_expect_in(test_err, what);
        ck_assert_uint_ge(test_lines(test_err), 1);
    }
    const bool saved = trial_check_whole(&tiny, folder.text);
    ck_assert(saved || from == EMPTY);
    if (from == HALF) ck_assert_uint_ge(trial_steps(folder.text), before);
    const trial_call again = {.out = folder.text, .resume = true};
    const int end = trial_run(&tiny, &again, NULL);
    ck_assert_msg(end == 0, "after %s: %s", shim, test_err);
    trial_check_done(&tiny, folder.text);
    return hit;
}

/* KD_EVERY: only every so many-th, beginning at another one for each state. */
static size_t try_calls(start_from from, const char *format, const char *what, bool kills)
{
    char shim[60];
    const char *every = getenv("KD_EVERY");
    const size_t step = every && atoi(every) > 0 ? (size_t)atoi(every) : 3;
    for (size_t n = 1 + (size_t)from % step;; n += step) {
        snprintf(shim, sizeof shim, format, n);
        if (!try_call(from, shim, what, kills)) return n;
    }
}

START_TEST(test_killed_at_every_change)
{
    static const start_from from[] = {EMPTY, HALF, DONE};
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_gt(try_calls(from[i], "change=%zu:KILL", "", true), 40);
}
END_TEST

START_TEST(test_failing_at_every_change)
{
    ck_assert_uint_gt(try_calls(EMPTY, "change=%zu:EIO", strerror(EIO), false), 40);
    ck_assert_uint_gt(try_calls(HALF, "change=%zu+:ENOSPC", strerror(ENOSPC), false), 40);
}
END_TEST

/* ---- what replacing a file does -------------------------------------------------------------- */

/* The next line of the log: its call and its path. */
static bool next_line(char **at, char call[20], char path[4200])
{
    int used = 0;
    if (sscanf(*at, "%19s %4199[^\n]\n%n", call, path, &used) != 2 || !used) return false;
    *at += used;
    return true;
}

/* Between making PATH.tmp and renaming it to PATH it is written, then synced and not touched again;
 * then the folder is synced. Lines of metrics are written and synced. Before all, the folder that
 * the run's was made in is synced. */
START_TEST(test_order_of_calls)
{
    static char log[TEST_MAX_TEXT];
    const test_path folder = test_in_dir("order"), file = test_in_dir("order.log");
    const trial_call call = {
        .out = folder.text, .log = file.text, .path = test_dir(), .sync = true};
    trial_remove(folder.text);
    ck_assert_int_eq(trial_run(&tiny, &call, NULL), 0);
    test_slurp(file.text, log);
    char what[20], path[4200], before[20] = "", last[4200] = "", *first = log;
    ck_assert(next_line(&first, what, path)); /* the folder's own name */
    ck_assert_str_eq(what, "sync");
    ck_assert_str_eq(path, test_dir());
    size_t renamed = 0, appended = 0;
    for (char *at = log; next_line(&at, what, path);) {
        if (!strcmp(what, "rename")) {
            renamed++;
            strcat(path, ".tmp");
            ck_assert_str_eq(before, "sync");
            ck_assert_str_eq(last, path);
            ck_assert(next_line(&at, what, path));
            ck_assert_str_eq(what, "sync");
            ck_assert_str_eq(path, folder.text);
        } else if (!strcmp(what, "write") && !strstr(path, ".tmp")) {
            test_expect_in(path, "/metrics.jsonl");
            strcpy(last, path);
            ck_assert(next_line(&at, what, path));
            ck_assert_str_eq(what, "sync");
            ck_assert_str_eq(path, last);
            appended++;
        }
        strcpy(before, what);
        strcpy(last, path);
    }
    ck_assert_uint_eq(renamed, 3 + 1 + 2); /* checkpoints, the model, run.json */
    ck_assert_uint_eq(appended, 2);
}
END_TEST

/* ---- full disks, folders that can't be written ----------------------------------------------- */

/* The run in folder, from a checkpoint, fails in these words and can go on. */
static void fails_then_goes_on(const trial_call *call, const char *what)
{
    const size_t before = trial_steps(call->out);
    ck_assert_int_eq(trial_run(&tiny, call, NULL), 1);
    test_expect_in(test_err, what);
    test_expect_in(test_err, call->out);
    ck_assert(trial_check_whole(&tiny, call->out));
    ck_assert_uint_ge(trial_steps(call->out), before);
    const trial_call again = {.out = call->out, .resume = true};
    ck_assert_msg(trial_run(&tiny, &again, NULL) == 0, "%s", test_err);
    trial_check_done(&tiny, call->out);
}

START_TEST(test_full_at_any_size)
{
    const test_path folder = test_in_dir("full");
    char shim[40];
    for (long room = 0;; room = 3 * room / 2 + 1) {
        bool hit;
        prepare(HALF, folder.text);
        snprintf(shim, sizeof shim, "room=%ld", room);
        const trial_call call = {.out = folder.text, .resume = true, .shim = shim};
        const int status = trial_run(&tiny, &call, &hit);
        if (!hit) {
            ck_assert_int_eq(status, 0);
            ck_assert_int_gt(room, 10000);
            break;
        }
        prepare(HALF, folder.text);
        fails_then_goes_on(&call, strerror(ENOSPC));
    }
}
END_TEST

START_TEST(test_folder_not_writable)
{
    static const int errors[] = {EACCES, EROFS};
    const test_path folder = test_in_dir("locked"), below = test_at(folder.text, "below");
    for (size_t i = 0; i < 2; i++) {
        prepare(HALF, folder.text);
        const trial_call call = {
            .out = folder.text, .resume = true, .shim = i ? "open=1+:EROFS" : "open=1+:EACCES"};
        fails_then_goes_on(&call, strerror(errors[i]));
    }
    if (geteuid() == 0) return; /* who may write everywhere */
    prepare(HALF, folder.text);
    ck_assert_int_eq(chmod(folder.text, 0555), 0);
    const trial_call call = {.out = folder.text, .resume = true};
    ck_assert_int_eq(trial_run(&tiny, &call, NULL), 1);
    test_expect_in(test_err, strerror(EACCES));
    const trial_call call_below = {.out = below.text};
    ck_assert_int_eq(trial_run(&tiny, &call_below, NULL), 1);
    test_expect_in(test_err, strerror(EACCES));
    ck_assert_int_eq(chmod(folder.text, 0755), 0);
    ck_assert(trial_check_whole(&tiny, folder.text));
}
END_TEST

static bool write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

/* A small tmpfs that nobody else sees; false where that is not allowed. */
static bool mount_small(const char *folder)
{
    char map[60];
    const unsigned uid = geteuid();
    if (unshare(uid ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS)) return false;
    snprintf(map, sizeof map, "0 %u 1", uid);
    if (uid && !write_text("/proc/self/uid_map", map)) return false;
    return mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", folder, "tmpfs", 0, "size=8k") == 0;
}

START_TEST(test_real_disk)
{
    const test_path folder = test_in_dir("tmpfs"), run = test_at(folder.text, "run");
    const trial_call fresh = {.out = run.text}, resume = {.out = run.text, .resume = true};
    trial_reference(&tiny);
    ck_assert_int_eq(mkdir(folder.text, 0777), 0);
    if (!mount_small(folder.text)) {
        printf("fault: mounting is not allowed here: no test of a disk that is really full\n");
        return;
    }
    /* two pages, then one more each time: no space at one place after another */
    size_t failures = 0;
    int status = trial_run(&tiny, &fresh, NULL);
    for (unsigned size = 12; status && size < 1000; size += 4, failures++) {
        char option[40];
        ck_assert_int_eq(status, 1);
        test_expect_in(test_err, strerror(ENOSPC));
        trial_check_whole(&tiny, run.text);
        snprintf(option, sizeof option, "size=%uk", size);
        ck_assert_int_eq(mount("tmpfs", folder.text, "tmpfs", MS_REMOUNT, option), 0);
        status = trial_run(&tiny, &resume, NULL);
    }
    ck_assert_int_eq(status, 0);
    trial_check_done(&tiny, run.text);
    ck_assert_int_eq(mount("tmpfs", folder.text, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    ck_assert_int_eq(trial_run(&tiny, &resume, NULL), 1);
    test_expect_in(test_err, strerror(EROFS));
    trial_check_done(&tiny, run.text);
    umount(folder.text);
    ck_assert_uint_gt(failures, 0);
}
END_TEST

/* ---- outputs nobody takes -------------------------------------------------------------------- */

START_TEST(test_standard_output_full)
{
    const test_path folder = test_in_dir("said"), kd = test_bin("kd");
    const char *const *w = tiny.words;
    if (access("/dev/full", F_OK)) return;
    trial_reference(&tiny);
    const char *const *words = TEST_WORDS(kd.text, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7],
                                          w[8], w[9], "--quiet", "--out", folder.text);
    ck_assert_int_eq(test_finish(test_start(words, NULL, "/dev/full")), 1);
    test_expect_in(test_err, "standard output");
    trial_check_done(&tiny, folder.text);
}
END_TEST

/* As in `kd train ... 2>&1 | head -1`: the reader is gone before the first line. */
START_TEST(test_reader_goes_away)
{
    const test_path folder = test_in_dir("piped"), kd = test_bin("kd");
    char command[16000], words[1000] = "";
    trial_reference(&tiny);
    for (size_t i = 0; tiny.words[i]; i++) {
        strcat(words, " ");
        strcat(words, tiny.words[i]);
    }
    snprintf(command, sizeof command,
             "(sleep 0.2; '%s' %s --out '%s' 2>&1; echo $? >'%s.status') | :", kd.text, words,
             folder.text, folder.text);
    test_run_ok("sh", "-c", command);
    const test_path status = test_in_dir("piped.status");
    for (int i = 0; i < 5000 && access(status.text, F_OK); i++) usleep(2000);
    test_slurp(status.text, test_out);
    ck_assert_str_eq(test_out, "1\n"); /* the table could not be printed */
    trial_check_done(&tiny, folder.text);
}
END_TEST

/* ---- reading --------------------------------------------------------------------------------- */

START_TEST(test_short_and_interrupted)
{
    static const char *const shims[] = {"short=61 eintr=1", "eintr=1", "short=1000"};
    static const start_from from[] = {HALF, EMPTY, DONE};
    const test_path folder = test_in_dir("pieces");
    for (size_t i = 0; i < 3; i++) {
        prepare(from[i], folder.text);
        const trial_call call = {
            .out = folder.text, .resume = from[i] != DONE, .shim = shims[i], .path = "/"};
        ck_assert_msg(trial_run(&tiny, &call, NULL) == 0, "%s: %s", shims[i], test_err);
        trial_check_done(&tiny, folder.text);
    }
}
END_TEST

/* Reading the checkpoint or the metrics fails, or ends early, at any place. A run whose checkpoint
 * cannot be read never begins anew. */
START_TEST(test_unreadable)
{
    static const char *const what[] = {"EIO", "END", "EIO", "END"};
    const test_path folder = test_in_dir("unread");
    const test_path checkpoint = test_at(folder.text, "checkpoint.safetensors");
    char shim[40];
    size_t failed = 0;
    for (size_t i = 0; i < 4; i++)
        for (size_t n = 1;; n++) {
            bool hit;
            prepare(HALF, folder.text);
            snprintf(shim, sizeof shim, "read=%zu:%s", n, what[i]);
            const trial_call call = {.out = folder.text,
                                     .resume = true,
                                     .shim = shim,
                                     .path = i < 2 ? checkpoint.text : NULL};
            const int status = trial_run(&tiny, &call, &hit);
            if (!hit) break;
            if (i < 2) ck_assert_int_eq(status, 1);
            if (status) { /* the end of a text can come early without harm */
                ck_assert_int_eq(status, 1);
                test_expect_in(test_err, folder.text);
                ck_assert_uint_ge(trial_steps(folder.text), 2);
                failed++;
            }
            ck_assert(trial_check_whole(&tiny, folder.text));
            const trial_call again = {.out = folder.text, .resume = true};
            ck_assert_int_eq(trial_run(&tiny, &again, NULL), 0);
            trial_check_done(&tiny, folder.text);
        }
    ck_assert_uint_gt(failed, 20);
}
END_TEST

/* A checkpoint that is there but can't be looked at is no reason to begin anew. */
START_TEST(test_unreachable)
{
    const test_path folder = test_in_dir("loop");
    const test_path checkpoint = test_at(folder.text, "checkpoint.safetensors");
    const trial_call call = {.out = folder.text, .resume = true};
    ck_assert_int_eq(mkdir(folder.text, 0777), 0);
    ck_assert_int_eq(symlink("checkpoint.safetensors", checkpoint.text), 0);
    ck_assert_int_eq(trial_run(&tiny, &call, NULL), 1);
    test_expect_in(test_err, strerror(ELOOP));
    ck_assert_ptr_null(strstr(test_err, "cannot write"));
}
END_TEST

/* ---- data ------------------------------------------------------------------------------------ */

START_TEST(test_data_vanish)
{
    static const trial cifar = {.name = "cifar",
                                .words = {"train", "vgg2,width=0.125", "--data", "cifar-10",
                                          "--data-dir", "@data/", "--batch", "10", "--epochs", "2"},
                                .epochs = 2};
    const test_path folder = test_in_dir("vanish"), data = test_in_dir("data");
    const test_path inner = test_at(data.text, "cifar-10-batches-bin");
    const test_path batch = test_at(inner.text, "data_batch_3.bin");
    const test_path away = test_at(inner.text, "away");
    ck_assert_int_eq(mkdir(data.text, 0777), 0);
    files_cifar(data.text, false, 10, 20);
    trial_reference(&cifar);
    const trial_call stop = {.out = folder.text, .shim = "rename=1:INT", .path = "run.json"};
    ck_assert_int_eq(trial_run(&cifar, &stop, NULL), 130);
    const trial_call go_on = {.out = folder.text, .resume = true};
    const trial_call sick = {
        .out = folder.text, .resume = true, .shim = "read=3:EIO", .path = "data_batch_3.bin"};
    const trial_call short_file = {
        .out = folder.text, .resume = true, .shim = "read=3+:END", .path = "data_batch_3.bin"};
    for (int i = 0; i < 5; i++) {
        if (i == 0) ck_assert_int_eq(rename(batch.text, away.text), 0);
        if (i == 1) files_resize(inner.text, "data_batch_3.bin", -1);
        if (i == 2) files_poke(inner.text, "data_batch_3.bin", 100, 77);
        const trial_call *call = i == 3 ? &sick : i == 4 ? &short_file : &go_on;
        ck_assert_int_eq(trial_run(&cifar, call, NULL), 1);
        test_expect_in(test_err, i == 2 ? "data_checksum" : "data_batch_3.bin");
        ck_assert_uint_eq(trial_steps(folder.text), 1);
        if (i == 0) ck_assert_int_eq(rename(away.text, batch.text), 0);
        if (i == 0) continue;
        trial_remove(inner.text);
        files_cifar(data.text, false, 10, 20);
    }
    ck_assert_int_eq(trial_run(&cifar, &go_on, NULL), 0);
    trial_check_done(&cifar, folder.text);
}
END_TEST

/* ---- pictures, which are read all through a run ---------------------------------------------- */

#if KDI_PNG
static char pictures_name[4300]; /* folder:PATH */

static const trial pictures = {.name = "pictures",
                               .words = {"train", "vgg2,width=0.125", "--image", "16", "--data",
                                         pictures_name, "--batch", "4", "--epochs", "4",
                                         "--augment", "flip"},
                               .epochs = 4};

/* Two classes of four pictures in each split; the path of one. */
static test_path make_pictures(void)
{
    static const char *const kinds[] = {"rgb", "grey", "rgba", "palette"};
    const test_path set = test_in_dir("fault_set");
    char from[60], to[60];
    if (access(set.text, F_OK)) {
        ck_assert_int_eq(mkdir(set.text, 0777), 0);
        for (int split = 0; split < 2; split++)
            for (int c = -1; c < 2; c++) {
                snprintf(to, sizeof to, c < 0 ? "%s" : "%s/%d", split ? "val" : "train", c);
                const test_path folder = test_at(set.text, to);
                ck_assert_int_eq(mkdir(folder.text, 0777), 0);
                for (int i = 0; c >= 0 && i < 4; i++) {
                    snprintf(from, sizeof from, "tests/fuzz/corpus/png/%s", kinds[(i + c) % 4]);
                    snprintf(to, sizeof to, "%d.png", i);
                    test_slurp(from, test_out);
                    files_write(folder.text, to, test_out, (size_t)files_size(".", from));
                }
            }
    }
    snprintf(pictures_name, sizeof pictures_name, "folder:%s", set.text);
    return test_at(set.text, "train/1/2.png");
}

/* Any epoch's reading of a picture fails, or comes to its end too early. */
START_TEST(test_pictures_unreadable)
{
    static const char *const shims[] = {"read=1:EIO", "read=2:EIO", "read=3:END", "read=1+:END"};
    const test_path folder = test_in_dir("unseen");
    make_pictures();
    for (size_t i = 0; i < 4; i++) {
        bool hit;
        trial_remove(folder.text);
        const trial_call call = {.out = folder.text, .shim = shims[i], .path = "train/1/2.png"};
        const int status = trial_run(&pictures, &call, &hit);
        ck_assert_msg(hit && status == 1, "%s: %d", shims[i], status);
        test_expect_in(test_err, "train/1/2.png");
        ck_assert_uint_eq(test_lines(test_err), 1);
        trial_check_whole(&pictures, folder.text);
        const trial_call again = {.out = folder.text, .resume = true, .threads = 2};
        ck_assert_msg(trial_run(&pictures, &again, NULL) == 0, "%s", test_err);
        trial_check_done(&pictures, folder.text);
    }
}
END_TEST

START_TEST(test_pictures_in_pieces)
{
    static const char *const shims[] = {"short=61 eintr=1", "short=1000"};
    const test_path folder = test_in_dir("bits");
    make_pictures();
    for (size_t i = 0; i < 2; i++) {
        trial_remove(folder.text);
        const trial_call call = {.out = folder.text, .shim = shims[i], .path = "/fault_set/"};
        ck_assert_msg(trial_run(&pictures, &call, NULL) == 0, "%s: %s", shims[i], test_err);
        trial_check_done(&pictures, folder.text);
    }
}
END_TEST

static int take_away(void *picture, const kd_progress *p)
{
    const test_path *path = picture, away = test_in_dir("away.png");
    if (p->epoch_end && p->epoch == 0) ck_assert_int_eq(rename(path->text, away.text), 0);
    return 0;
}

/* A picture is gone after an epoch: the run ends with its name and is resumed when it is back. */
START_TEST(test_pictures_vanish)
{
    test_path picture = make_pictures();
    const test_path folder = test_in_dir("gone"), away = test_in_dir("away.png");
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_dataset *data;
    kd_model *m;
    test_ok(ctx, kd_dataset_open(ctx, pictures_name, NULL, &data));
    for (int resume = 0; resume < 2; resume++) {
        const kd_train_opt opt = {.struct_size = sizeof opt,
                                  .epochs = 4,
                                  .batch = 4,
                                  .augment = "flip",
                                  .out = folder.text,
                                  .resume = resume,
                                  .depth = KD_LOADER_SYNC,
                                  .progress = resume ? NULL : take_away,
                                  .user = &picture};
        test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.125,classes=2,image=16,channels=3", 0, &m));
        const kd_status status = kd_train(m, data, &opt, NULL);
        kd_model_destroy(m);
        if (resume) test_ok(ctx, status);
        if (resume) break;
        ck_assert_int_eq(status, KD_E_NOTFOUND);
        test_expect_in(kd_ctx_error(ctx), "train/1/2.png");
        ck_assert(trial_check_whole(&pictures, folder.text));
        ck_assert_uint_eq(trial_steps(folder.text), 2);
        ck_assert_int_eq(rename(away.text, picture.text), 0);
    }
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    trial_check_whole(&pictures, folder.text);
}
END_TEST
#else
START_TEST(test_pictures_unreadable)
{
}
END_TEST

START_TEST(test_pictures_in_pieces)
{
}
END_TEST

START_TEST(test_pictures_vanish)
{
}
END_TEST
#endif

TEST_SUITE(fault, 400, &test_killed_at_every_change, &test_failing_at_every_change,
           &test_order_of_calls, &test_full_at_any_size, &test_folder_not_writable, &test_real_disk,
           &test_standard_output_full, &test_reader_goes_away, &test_short_and_interrupted,
           &test_unreadable, &test_unreachable, &test_data_vanish, &test_pictures_unreadable,
           &test_pictures_in_pieces, &test_pictures_vanish)
