/* SPDX-License-Identifier: MIT
 * run_folder.c: a run's folder is locked (flock) for as long as the run lasts, so that no second run
 * writes into it. The lock is the folder's own, leaves no file behind, and ends with the process,
 * however it ends. Where a file system has no such locks, nothing is locked. */
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 20, WAIT_MS = 100, LONGEST = 3900 };

/* A process that was just killed holds its lock until the system has taken it apart. */
static bool lock(int fd)
{
    const struct timespec wait = {0, WAIT_MS * 1000000L};
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return true;
        if (i >= TRIES) return false;
        nanosleep(&wait, NULL);
    }
    return true;
}

static const char *const files[] = {"checkpoint.safetensors", "model.safetensors",
                                    "last.safetensors", "metrics.jsonl", "run.json"};
enum { FILES = sizeof files / sizeof *files, NETWORKS = 3 };

/* A link to nowhere is there, too: it is somebody's. */
static bool there(const kdt_run *run, const char *file)
{
    char path[KDT_PATH];
    struct stat about;
    kdt_path(run, file, path);
    return lstat(path, &about) == 0;
}

/* The first line of a text is a JSON object with this key, which a run's files have. */
static kd_status check_text(kd_ctx *ctx, const char *path, const char *key)
{
    enum { LIMIT = 1 << 28 };
    char *text;
    size_t size;
    kd_json_object *o;
    double number;
    kd_status status = kd_file_read_all(ctx, path, LIMIT, &text, &size);
    if (status || size == 0) {
        if (!status) kd_ctx_free(ctx, text);
        return status;
    }
    const char *line = strcmp(key, "step") ? NULL : memchr(text, '\n', size);
    status = kd_json_parse(ctx, text, line ? (size_t)(line - text) : size, &o);
    if (!status && !kd_json_get_string(o, key) && !kd_json_get_number(o, key, &number))
        status = KD_E_FORMAT;
    kd_json_object_destroy(o);
    kd_ctx_free(ctx, text);
    return status;
}

static kd_status check_network(kd_ctx *ctx, const char *path)
{
    kd_file *f;
    struct stat about;
    if (stat(path, &about) == 0 && about.st_size == 0) return KD_OK;
    const kd_status status = kd_file_open(ctx, path, &f);
    if (!status) kd_file_close(f);
    return status;
}

/* What is overwritten is of the kind that a run writes, before anything is. */
static kd_status check_kinds(const kdt_run *run)
{
    for (size_t i = 0; i < FILES; i++) {
        char path[KDT_PATH];
        if (!there(run, files[i])) continue;
        kdt_path(run, files[i], path);
        const kd_status status = i < NETWORKS
                                     ? check_network(run->ctx, path)
                                     : check_text(run->ctx, path, i == 3 ? "step" : "status");
        if (status == KD_E_NOMEM || status == KD_E_LIMIT) return status;
        if (status)
            return kd_ctx_fail(run->ctx, KD_E_EXISTS,
                               "%s is there already and is no file of a run: it is not overwritten",
                               path);
    }
    return KD_OK;
}

/* What a run may replace: its own files, if it resumes; any run's, if it is told to. A network
 * without a checkpoint is no run to go on with. Files of these names that are no run's are somebody's
 * all the same. */
static kd_status look(const kdt_run *run)
{
    const kd_train_opt *t = &run->train;
    if (t->overwrite) return check_kinds(run);
    if (t->resume && there(run, files[0])) return KD_OK;
    for (size_t i = 0; i < (t->resume ? NETWORKS : FILES); i++)
        if (there(run, files[i]))
            return kd_ctx_fail(run->ctx, KD_E_EXISTS,
                               t->resume ? "%s/%s is there already, without a checkpoint to go on "
                                           "from"
                                         : "%s/%s is there already, of an earlier run: it is "
                                           "neither resumed nor overwritten unless that is asked "
                                           "for",
                               t->out, files[i]);
    return KD_OK;
}

kd_status kdt_run_folder_clear(kdt_run *run, bool begun)
{
    static const char *const old[] = {"model.safetensors", "last.safetensors", "run.json"};
    char path[KDT_PATH];
    for (size_t i = 0; i < (begun ? 2 : 3); i++) {
        kdt_path(run, old[i], path);
        if (unlink(path) && errno != ENOENT)
            return kd_ctx_fail(run->ctx, KD_E_IO, "%s: %s", path, strerror(errno));
    }
    return KD_OK;
}

/* Length of the part of a path that exists: of its deepest folder, 0 where none of it does. */
static size_t existing(const char *path)
{
    char name[LONGEST + 1];
    struct stat about;
    size_t n = strlen(path);
    for (;;) {
        while (n > 1 && path[n - 1] == '/') n--;
        memcpy(name, path, n);
        name[n] = 0;
        if (n == 0 || stat(name, &about) == 0) return n;
        while (n > 0 && path[n - 1] != '/') n--;
        if (n == 1) return 1;
    }
}

/* A run that was refused leaves no folder that it made. What holds anything stays. */
static void remove_made(const kdt_run *run)
{
    char name[LONGEST + 1];
    size_t n = strlen(run->train.out);
    memcpy(name, run->train.out, n + 1);
    while (n > run->folder_existed) {
        while (n > 1 && name[n - 1] == '/') n--;
        name[n] = 0;
        if (n <= run->folder_existed || rmdir(name)) return;
        while (n > 0 && name[n - 1] != '/') n--;
    }
}

/* Are both the same folder? */
static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static kd_status check_cache_apart(const kdt_run *run)
{
    if (!run->opt.cache || !same_folder(run->opt.cache, run->train.out)) return KD_OK;
    return kd_ctx_fail(run->ctx, KD_E_INVALID,
                       "cache: %s is the run's own folder; a cache has a folder of its own",
                       run->opt.cache);
}

kd_status kdt_run_folder_open(kdt_run *run)
{
    const char *out = run->train.out;
    if (strlen(out) > LONGEST)
        return kd_ctx_fail(run->ctx, KD_E_INVALID, "the name of the output folder is too long");
    run->folder_existed = existing(out);
    run->folder_made = run->folder_existed < strlen(out);
    kd_status status = kd_folder_make(run->ctx, out);
    if (!status) status = check_cache_apart(run);
    if (status) return status;
    do run->folder = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (run->folder < 0 && errno == EINTR);
    if (run->folder < 0) return look(run); /* it may be writable but not readable */
    if (lock(run->folder)) return look(run);
    kdt_run_folder_close(run);
    return kd_ctx_fail(run->ctx, KD_E_IO, "%s: another run is writing there", out);
}

void kdt_run_folder_close(kdt_run *run)
{
    if (run->folder_made && !run->began) remove_made(run);
    run->folder_made = false;
    if (run->folder >= 0) close(run->folder);
    run->folder = -1;
}
