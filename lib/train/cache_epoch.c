/* SPDX-License-Identifier: MIT
 * cache_epoch.c: an epoch's file of a teacher cache. While it is filled it is called
 * epoch-N.safetensors.part, has its full size, and is locked by the process that fills it; another
 * process then computes for itself. A row's mark is written after the row and holds its sum, so that
 * a row cut off by a kill or a power failure is not there. A killed process leaves the file, and the
 * next one goes on filling it. The complete file is synced and renamed. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void kdt_epoch_path(const char *folder, size_t epoch, bool finished, char *out, size_t size)
{
    snprintf(out, size, "%s/epoch-%06zu.safetensors%s", folder, epoch, finished ? "" : ".part");
}

enum { PATH = 4096 };

/* ---- complete files -------------------------------------------------------------------------- */

/* The tensors are those of the layout. "rows" may be missing from files of others. */
static kd_status find_tensors(kdt_epoch_file *e)
{
    const kdt_layout *l = e->layout;
    const char *path = kd_file_path(e->file), *key = kd_file_metadata_get(e->file, "libkd.cache");
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)e->key);
    if (key && strcmp(key, hash))
        return kd_ctx_fail(e->ctx, KD_E_MISMATCH, "%s belongs to another cache", path);
    for (size_t i = 0; i < l->n_segments; i++) {
        const kdt_segment *s = &l->segment[i];
        const kd_file_tensor *t = kd_file_find(e->file, s->name);
        e->tensors[i] = t;
        if (!t && i == 0) continue;
        if (!t || t->dtype != s->dtype || t->rank != 2 || t->shape[0] != (int64_t)l->rows ||
            t->shape[1] != (int64_t)s->width)
            return kd_ctx_fail(e->ctx, KD_E_FORMAT, "%s: '%s' is missing or is not %s [%zu,%zu]",
                               path, s->name, kd_dtype_name(s->dtype), l->rows, s->width);
    }
    return KD_OK;
}

static kd_status open_file(kdt_epoch_file *e, const char *path)
{
    const kd_status status = kd_file_open(e->ctx, path, &e->file);
    return status ? status : find_tensors(e);
}

static void set(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                size_t epoch, kdt_epoch_file *out)
{
    *out = (kdt_epoch_file){
        .ctx = ctx, .layout = layout, .folder = folder, .key = key, .epoch = epoch, .part = -1};
}

static kd_status open_named(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                            size_t epoch, bool finished, kdt_epoch_file *out)
{
    char path[PATH];
    struct stat about;
    set(ctx, layout, folder, key, epoch, out);
    kdt_epoch_path(folder, epoch, finished, path, sizeof path);
    const bool found = stat(path, &about) == 0;
    if (!found && errno == ENOENT) return KD_E_NOTFOUND;
    if (found && !S_ISREG(about.st_mode))
        return kd_ctx_fail(ctx, KD_E_FORMAT, "%s is no regular file", path);
    const kd_status status = open_file(out, path);
    if (status) kdt_epoch_close(out);
    return status;
}

kd_status kdt_epoch_open(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                         size_t epoch, kdt_epoch_file *out)
{
    return open_named(ctx, layout, folder, key, epoch, true, out);
}

kd_status kdt_epoch_adopt(kd_ctx *ctx, const kdt_layout *layout, uint64_t key, kd_file *file,
                          kdt_epoch_file *out)
{
    set(ctx, layout, "", key, 0, out);
    out->file = file;
    const kd_status status = find_tensors(out);
    if (status) kdt_epoch_close(out);
    return status;
}

kd_status kdt_epoch_look(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                         size_t epoch, kdt_epoch_file *out)
{
    return open_named(ctx, layout, folder, key, epoch, false, out);
}

void kdt_epoch_close(kdt_epoch_file *e)
{
    kd_file_close(e->file);
    if (e->part >= 0) close(e->part);
    e->file = NULL;
    e->part = -1;
    e->epoch = KDT_NO_EPOCH;
}

/* ---- the unfinished file --------------------------------------------------------------------- */

/* Opened and locked, and still the file of that name. -1: it is another's, *why NULL, or there can
 * be none, *why says why. */
static int open_part(const char *path, const char **why)
{
    struct stat ours, there;
    int fd;
    *why = NULL;
    do fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        *why = strerror(errno);
        return -1;
    }
    const bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    if (locked && fstat(fd, &ours) == 0 && stat(path, &there) == 0 && S_ISREG(ours.st_mode) &&
        ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
        return fd;
    close(fd);
    return -1;
}

static bool write_all(int fd, const void *bytes, size_t size, uint64_t at)
{
    const char *from = bytes;
    while (size) {
        const ssize_t n = pwrite(fd, from, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        from += n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *bytes, size_t size, uint64_t at)
{
    char *to = bytes;
    while (size) {
        const ssize_t n = pread(fd, to, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        to += n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

/* Rows that an earlier process wrote. */
static void count_filled(kdt_epoch_file *e)
{
    enum { PIECE = 512 };
    kdt_mark marks[PIECE];
    const uint64_t offset = e->layout->segment[0].offset;
    for (size_t first = 0; first < e->layout->rows; first += PIECE) {
        const size_t left = e->layout->rows - first, n = left < PIECE ? left : PIECE;
        if (!read_all(e->part, marks, n * sizeof *marks, offset + first * sizeof *marks)) return;
        for (size_t i = 0; i < n; i++) e->filled += marks[i].id != 0;
    }
}

/* Is the file, of its full size, one that begins as ours do? */
static bool begins_as_ours(const kdt_epoch_file *e, uint64_t size)
{
    const kdt_layout *l = e->layout;
    char piece[512];
    if (size != l->file_bytes) return false;
    for (size_t at = 0; at < l->header_bytes; at += sizeof piece) {
        const size_t left = l->header_bytes - at, n = left < sizeof piece ? left : sizeof piece;
        if (!read_all(e->part, piece, n, at) || memcmp(piece, l->header + at, n)) return false;
    }
    return true;
}

static void give_up(kdt_epoch_file *e, const char *path, const char *why)
{
    kd_ctx_log(e->ctx, KD_LOG_WARN, "%s: %s: the teacher's logits of epoch %zu are not kept", path,
               why, e->epoch + 1);
    kd_file_close(e->file);
    if (e->part >= 0) close(e->part);
    e->file = NULL;
    e->part = -1;
}

kd_status kdt_epoch_begin(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                          size_t epoch, kdt_epoch_file *e)
{
    char path[PATH];
    const char *why;
    struct stat about;
    set(ctx, layout, folder, key, epoch, e);
    kdt_epoch_path(folder, epoch, false, path, sizeof path);
    e->part = open_part(path, &why);
    if (why) give_up(e, path, why);
    if (e->part < 0 || fstat(e->part, &about)) return KD_OK;
    if (about.st_size == 0) {
        if (!write_all(e->part, layout->header, layout->header_bytes, 0) ||
            ftruncate(e->part, (off_t)layout->file_bytes)) {
            give_up(e, path, strerror(errno));
            unlink(path);
            return KD_OK;
        }
    } else if (!begins_as_ours(e, (uint64_t)about.st_size)) {
        give_up(e, path, "it is there already, and is no part of this cache");
        return KD_OK;
    }
    const kd_status status = open_file(e, path);
    if (status == KD_E_NOMEM || status == KD_E_LIMIT) return status;
    if (status)
        give_up(e, path, kd_ctx_error(ctx));
    else
        count_filled(e);
    return KD_OK;
}

bool kdt_epoch_write(kdt_epoch_file *e, size_t row, uint32_t id, const unsigned char *bytes)
{
    const kdt_layout *l = e->layout;
    const kdt_mark mark = {id + 1, kdt_row_sum(l, e->epoch, id, bytes)};
    bool good = true;
    if (e->part < 0) return false;
    for (size_t i = 1; i < l->n_segments && good; i++) {
        const kdt_segment *s = &l->segment[i];
        good = write_all(e->part, bytes, s->bytes, s->offset + (uint64_t)row * s->bytes);
        bytes += s->bytes;
    }
    if (good)
        good = write_all(e->part, &mark, sizeof mark,
                         l->segment[0].offset + (uint64_t)row * sizeof mark);
    if (good) {
        e->filled++;
        return true;
    }
    char path[PATH];
    kdt_epoch_path(e->folder, e->epoch, false, path, sizeof path);
    unlink(path); /* while it is ours: what it took is free again */
    give_up(e, path, strerror(errno));
    return false;
}

static void sync_folder(const char *folder)
{
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

void kdt_epoch_finish(kdt_epoch_file *e)
{
    char from[PATH], to[PATH];
    if (e->part < 0) return;
    kdt_epoch_path(e->folder, e->epoch, false, from, sizeof from);
    kdt_epoch_path(e->folder, e->epoch, true, to, sizeof to);
    if (fsync(e->part) || rename(from, to)) {
        give_up(e, from, strerror(errno));
        return;
    }
    sync_folder(e->folder);
    kdt_epoch_close(e);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static kd_status damaged(const kdt_epoch_file *e, size_t row)
{
    return kd_ctx_fail(e->ctx, KD_E_FORMAT, "%s: row %zu is damaged", kd_file_path(e->file), row);
}

kd_status kdt_epoch_mark(kdt_epoch_file *e, size_t row, kdt_mark *mark)
{
    *mark = (kdt_mark){0};
    if (!e->tensors[0]) return KD_OK;
    return kd_file_read_bytes(e->file, e->tensors[0], (uint64_t)row * sizeof *mark, sizeof *mark,
                              mark);
}

/* What was cut off is not there; it counts when it is written again. */
static void take_out(kdt_epoch_file *e, size_t row)
{
    const kdt_mark none = {0};
    if (write_all(e->part, &none, sizeof none,
                  e->layout->segment[0].offset + (uint64_t)row * sizeof none))
        e->filled--;
}

kd_status kdt_epoch_read(kdt_epoch_file *e, size_t row, uint32_t id, unsigned char *bytes,
                         bool *there)
{
    const kdt_layout *l = e->layout;
    kdt_mark mark;
    unsigned char *to = bytes;
    *there = false;
    if (!e->file) return KD_OK;
    if (row >= l->rows) return damaged(e, row);
    kd_status status = kdt_epoch_mark(e, row, &mark);
    if (status || (e->tensors[0] && mark.id == 0)) return status;
    for (size_t i = 1; i < l->n_segments && !status; i++) {
        const size_t n = l->segment[i].bytes;
        status = kd_file_read_bytes(e->file, e->tensors[i], (uint64_t)row * n, n, to);
        to += n;
    }
    if (status) return status;
    *there =
        !e->tensors[0] || (mark.id == id + 1 && mark.sum == kdt_row_sum(l, e->epoch, id, bytes));
    if (!*there && e->part >= 0) take_out(e, row);
    if (*there || e->part >= 0) return KD_OK;
    if (mark.id != id + 1)
        return kd_ctx_fail(e->ctx, KD_E_MISMATCH, "%s: row %zu is of picture %u, not of %u",
                           kd_file_path(e->file), row, (unsigned)(mark.id - 1), (unsigned)id);
    return damaged(e, row);
}
