/* SPDX-License-Identifier: MIT
 * trial.c: see trial.h. What is not compared are times, and what follows from them: the checkpoint
 * and run.json hold some, and so does the end of a line of metrics.jsonl. model.safetensors holds
 * none. */
#include "trial.h"

#include <kd/kd.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT = 1 << 26 };

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* ---- folders --------------------------------------------------------------------------------- */

typedef void (*file_fn)(const char *folder, const char *name, const void *arg);

static void each_file(const char *folder, file_fn fn, const void *arg)
{
    DIR *d = opendir(folder);
    if (!d && errno == ENOENT) return;
    ck_assert_msg(d != NULL, "%s: %s", folder, strerror(errno));
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') fn(folder, e->d_name, arg);
    closedir(d);
}

static void remove_file(const char *folder, const char *name, const void *arg)
{
    (void)arg;
    ck_assert_int_eq(unlink(test_at(folder, name).text), 0);
}

void trial_remove(const char *folder)
{
    each_file(folder, remove_file, NULL);
    rmdir(folder);
}

static void copy_file(const char *folder, const char *name, const void *to)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char *bytes;
    size_t size;
    test_ok(ctx, kd_file_read_all(ctx, test_at(folder, name).text, LIMIT, &bytes, &size));
    FILE *f = fopen(test_at(to, name).text, "wb");
    ck_assert(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
    kd_ctx_free(ctx, bytes);
    kd_ctx_destroy(ctx);
}

void trial_copy(const char *from, const char *to)
{
    trial_remove(to);
    ck_assert_int_eq(mkdir(to, 0777), 0);
    each_file(from, copy_file, to);
}

/* ---- running --------------------------------------------------------------------------------- */

static test_path mark(void)
{
    return test_in_dir("mark");
}

/* A sanitizer's runtime wants to be the first library, and is told that it need not be. */
static void preload(const trial_call *call, const char **env, char room[6][4400])
{
    const char *asan = getenv("ASAN_OPTIONS");
    const test_path shim = test_bin("shim.so"), hit = mark();
    char *real = realpath(shim.text, NULL);
    ck_assert_msg(real != NULL, "%s: %s", shim.text, strerror(errno));
    unlink(hit.text);
    snprintf(room[0], 4400, "LD_PRELOAD=%s", real);
    snprintf(room[1], 4400, "KD_SHIM=%s%s", call->sync ? "" : "nosync=1 ",
             call->shim ? call->shim : "");
    snprintf(room[2], 4400, "KD_SHIM_PATH=%s", call->path ? call->path : call->out);
    snprintf(room[3], 4400, "KD_SHIM_MARK=%s", hit.text);
    snprintf(room[4], 4400, "KD_SHIM_LOG=%s", call->log ? call->log : "");
    snprintf(room[5], 4400, "ASAN_OPTIONS=%s%sverify_asan_link_order=0", asan ? asan : "",
             asan ? ":" : "");
    for (int i = 0; i < 6; i++) env[i] = room[i];
    env[6] = NULL;
    free(real);
}

/* "@NAME" stands for the path of such a network, made once; "@NAME/" for a folder. */
static const char *word_of(const char *word, test_path *path)
{
    if (word[0] != '@') return word;
    *path = test_in_dir(word + 1);
    if (word[strlen(word) - 1] == '/') return path->text;
    strcat(path->text, ".safetensors");
    if (exists(path->text)) return path->text;
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, "vgg2_bn,width=0.125,classes=4,image=16,channels=3",
                                 strlen(word), &m));
    test_ok(ctx, kd_model_save(m, path->text));
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
    return path->text;
}

pid_t trial_start(const trial *t, const trial_call *call)
{
    static char room[6][4400];
    static test_path networks[32];
    const char *words[50], *env[7];
    const test_path kd = test_bin("kd");
    char threads[20];
    size_t n = 0;
    snprintf(threads, sizeof threads, "%d", call->threads ? call->threads : 1);
    words[n++] = kd.text;
    for (size_t i = 0; t->words[i]; i++) words[n++] = word_of(t->words[i], &networks[i]);
    words[n++] = "--quiet";
    words[n++] = "--threads";
    words[n++] = threads;
    words[n++] = "--out";
    words[n++] = call->out;
    words[n++] = call->resume ? "--resume" : "--overwrite";
    words[n] = NULL;
    preload(call, env, room);
    const pid_t pid = test_start(words, env, NULL);
    ck_assert_int_gt(pid, 0);
    return pid;
}

bool trial_was_hit(void)
{
    return exists(mark().text);
}

int trial_run(const trial *t, const trial_call *call, bool *hit)
{
    const int status = test_finish(trial_start(t, call));
    if (hit) *hit = trial_was_hit();
    return status;
}

test_path trial_reference(const trial *t)
{
    char name[100];
    snprintf(name, sizeof name, "%s.reference", t->name);
    const test_path folder = test_in_dir(name);
    if (!exists(test_at(folder.text, "model.safetensors").text)) {
        const trial_call call = {.out = folder.text};
        const int status = trial_run(t, &call, NULL);
        ck_assert_msg(status == 0, "%s: %s", t->name, test_err);
    }
    return folder;
}

/* ---- what is left after a kill --------------------------------------------------------------- */

static void check_name(const char *folder, const char *name, const void *arg)
{
    static const char *const ours[] = {"checkpoint.safetensors", "model.safetensors",
                                       "metrics.jsonl", "run.json"};
    (void)arg;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        const size_t n = strlen(ours[i]);
        if (strncmp(name, ours[i], n) == 0 && (name[n] == 0 || !strcmp(name + n, ".tmp"))) return;
    }
    ck_abort_msg("%s in %s is none of ours", name, folder);
}

/* Every byte of a safetensors file can be read. */
static void check_tensors(kd_ctx *ctx, const char *path)
{
    kd_file *f;
    test_ok(ctx, kd_file_open(ctx, path, &f));
    for (size_t i = 0; i < kd_file_count(f); i++) {
        const kd_file_tensor *t = kd_file_at(f, i);
        void *room = kd_ctx_alloc(ctx, (size_t)t->bytes + 1, 1);
        test_ok(ctx, kd_file_read_bytes(f, t, 0, (size_t)t->bytes, room));
        kd_ctx_free(ctx, room);
    }
    kd_file_close(f);
}

static void check_object(kd_ctx *ctx, const char *text, size_t size, int64_t epoch)
{
    kd_json_object *o;
    int64_t n = epoch;
    test_ok(ctx, kd_json_parse(ctx, text, size, &o));
    if (epoch) kd_json_get_integer(o, "epoch", &n);
    ck_assert_msg(n == epoch, "epoch %d instead of %d", (int)n, (int)epoch);
    kd_json_object_destroy(o);
}

/* Lines 1, 2, ... of the epochs; returns how many. `cut`: there may be a piece of one more. */
static size_t check_metrics(kd_ctx *ctx, const char *folder, bool cut)
{
    char *text;
    size_t size, lines = 0, at = 0;
    const test_path path = test_at(folder, "metrics.jsonl");
    if (cut && !exists(path.text)) return 0;
    test_ok(ctx, kd_file_read_all(ctx, path.text, LIMIT, &text, &size));
    for (char *end; at < size && (end = memchr(text + at, '\n', size - at)); lines++) {
        check_object(ctx, text + at, (size_t)(end - (text + at)), (int64_t)lines + 1);
        at = (size_t)(end - text) + 1;
    }
    ck_assert(cut || at == size);
    kd_ctx_free(ctx, text);
    return lines;
}

static int64_t train_number(const char *folder, const char *key)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    kd_json_object *o;
    int64_t n = -1;
    test_ok(ctx, kd_file_open(ctx, test_at(folder, "checkpoint.safetensors").text, &f));
    const char *text = kd_file_metadata_get(f, "libkd.train");
    ck_assert_ptr_nonnull(text);
    test_ok(ctx, kd_json_parse(ctx, text, strlen(text), &o));
    ck_assert(kd_json_get_integer(o, key, &n));
    kd_json_object_destroy(o);
    kd_file_close(f);
    kd_ctx_destroy(ctx);
    return n;
}

size_t trial_steps(const char *folder)
{
    return exists(test_at(folder, "checkpoint.safetensors").text)
               ? (size_t)train_number(folder, "step")
               : 0;
}

static void check_same(kd_ctx *ctx, const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    test_ok(ctx, kd_file_read_all(ctx, a, LIMIT, &x, &n));
    test_ok(ctx, kd_file_read_all(ctx, b, LIMIT, &y, &m));
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
}

bool trial_check_whole(const trial *t, const char *folder)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path model = test_at(folder, "model.safetensors"), ref = trial_reference(t);
    const test_path run = test_at(folder, "run.json");
    const test_path checkpoint = test_at(folder, "checkpoint.safetensors");
    char *text;
    size_t size;
    each_file(folder, check_name, NULL);
    if (exists(model.text))
        check_same(ctx, model.text, test_at(ref.text, "model.safetensors").text);
    if (exists(run.text)) {
        test_ok(ctx, kd_file_read_all(ctx, run.text, LIMIT, &text, &size));
        check_object(ctx, text, size, 0);
        kd_ctx_free(ctx, text);
    }
    const bool saved = exists(checkpoint.text);
    const size_t lines = check_metrics(ctx, folder, true);
    if (saved) {
        check_tensors(ctx, checkpoint.text);
        ck_assert_int_le(train_number(folder, "epoch"), (int64_t)lines);
    }
    kd_ctx_destroy(ctx);
    return saved;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* All of a line up to its times, with a NUL there; returns the next line. */
static char *cut_times(char *line)
{
    char *end = strchr(line, '\n'), *times = strstr(line, ",\"images_per_second\"");
    ck_assert(end && times && times < end);
    *times = 0;
    return end + 1;
}

static void check_same_metrics(kd_ctx *ctx, const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    test_ok(ctx, kd_file_read_all(ctx, a, LIMIT, &x, &n));
    test_ok(ctx, kd_file_read_all(ctx, b, LIMIT, &y, &m));
    for (char *p = x, *q = y; *p && *q;) {
        char *p_next = cut_times(p), *q_next = cut_times(q);
        ck_assert_str_eq(p, q);
        p = p_next;
        q = q_next;
    }
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
}

void trial_check_done(const trial *t, const char *folder)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path ref = trial_reference(t);
    char *text;
    size_t size;
    trial_check_whole(t, folder);
    check_same(ctx, test_at(folder, "model.safetensors").text,
               test_at(ref.text, "model.safetensors").text);
    ck_assert_uint_eq(check_metrics(ctx, folder, false), t->epochs);
    check_same_metrics(ctx, test_at(folder, "metrics.jsonl").text,
                       test_at(ref.text, "metrics.jsonl").text);
    test_ok(ctx, kd_file_read_all(ctx, test_at(folder, "run.json").text, LIMIT, &text, &size));
    test_expect_in(text, "\"status\": \"done\"");
    kd_ctx_free(ctx, text);
    kd_ctx_destroy(ctx);
}
