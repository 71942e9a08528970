/* SPDX-License-Identifier: MIT
 * atomic.c: files that are replaced as a whole or not at all.
 *
 * The new content is written to PATH.tmp, synced, and renamed over PATH. Then the folder is synced,
 * so that the new name survives a power cut too.
 *
 * The temporary file is locked while it is written, and the lock ends with the process. So two
 * writers of one PATH never share a temporary file: the second takes PATH.tmp1, and so on. A
 * temporary file that a killed process left behind is not locked, and the next writer reuses it. */
#include "atomic.h"

#include "replaceable.h"

#include <kd/file.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES = 16, TRIES = 100, PIECE = 1 << 30 };

int kdi_open(const char *path, int flags)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int kdi_sync(int fd)
{
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

static kd_status fail(const kdi_atomic *a, const char *what, const char *why)
{
    kd_ctx_fail(a->ctx, KD_E_IO, "cannot write '%s': %s%s", a->shown, what, why);
    return KD_E_IO;
}

/* Lock and empty an opened temporary file. Returns 0 or an error number; ESTALE if its writer has
 * renamed or removed it since it was opened. */
static int claim(int fd, const char *name)
{
    struct stat opened, named;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return EBUSY;
    if (fstat(fd, &opened) != 0) return errno;
    if (lstat(name, &named) != 0) return errno == ENOENT ? ESTALE : errno;
    if (named.st_ino != opened.st_ino || named.st_dev != opened.st_dev) return ESTALE;
    if (!S_ISREG(opened.st_mode) || opened.st_nlink != 1) return EEXIST;
    int result;
    do result = ftruncate(fd, 0);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

/* Open a temporary file of that name, new or left behind. Returns -1, with errno, on failure. */
static int take(const char *name)
{
    for (int i = 0; i < TRIES; i++) {
        const int fd = kdi_open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0) return -1;
        const int error = claim(fd, name);
        if (error == 0) return fd;
        close(fd);
        errno = error;
        if (error != ESTALE) break;
    }
    return -1;
}

/* Set a->mode by the file that is there, and a->path, following a final symbolic link. */
static kd_status resolve(kdi_atomic *a)
{
    struct stat status, link;
    char real[PATH_MAX];
    bool linked = false;
    if (stat(a->shown, &status) == 0) {
        if (!S_ISREG(status.st_mode)) return fail(a, "it is not a regular file", "");
        a->mode = (int)(status.st_mode & 0777);
        linked = lstat(a->shown, &link) == 0 && S_ISLNK(link.st_mode);
    } else if (errno != ENOENT) {
        return fail(a, "", strerror(errno));
    }
    if (linked && !realpath(a->shown, real)) return fail(a, "", strerror(errno));
    a->path = kdi_strdup(a->ctx, linked ? real : a->shown);
    return a->path ? KD_OK : kd_ctx_memory_status(a->ctx);
}

static void release(kdi_atomic *a)
{
    if (a->fd >= 0) close(a->fd);
    kd_ctx_free(a->ctx, a->temp);
    kd_ctx_free(a->ctx, a->path);
    *a = (kdi_atomic){.fd = -1};
}

static kd_status take_any(kdi_atomic *a)
{
    const size_t size = strlen(a->path) + 8;
    a->temp = kd_ctx_alloc(a->ctx, size, 1);
    if (!a->temp) return kd_ctx_memory_status(a->ctx);
    for (int i = 0; i < NAMES && a->fd < 0; i++) {
        if (i == 0)
            snprintf(a->temp, size, "%s.tmp", a->path);
        else
            snprintf(a->temp, size, "%s.tmp%d", a->path, i);
        a->fd = take(a->temp);
    }
    return a->fd < 0 ? fail(a, "no temporary file beside it: ", strerror(errno)) : KD_OK;
}

kd_status kdi_atomic_begin(kd_ctx *ctx, const char *path, kdi_atomic *a)
{
    *a = (kdi_atomic){.ctx = ctx, .shown = path, .fd = -1, .mode = -1};
    if (!path || !*path) {
        kd_ctx_fail(ctx, KD_E_INVALID, "writing a file: no path is given");
        return KD_E_INVALID;
    }
    kd_status status = resolve(a);
    if (!status) status = take_any(a);
    if (status) release(a);
    return status;
}

kd_status kdi_atomic_write(kdi_atomic *a, const void *bytes, size_t size)
{
    const char *p = bytes;
    while (size) {
        const ssize_t n = write(a->fd, p, size < PIECE ? size : PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail(a, "", n ? strerror(errno) : "nothing more is taken");
        p += n;
        size -= (size_t)n;
    }
    return KD_OK;
}

/* It is no failure if the folder cannot be opened or synced for one of these reasons: the file
 * system cannot sync folders; the folder is writable but not readable; or it is read-only, with
 * another file system mounted in it. */
int kdi_sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const size_t length = !slash || slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof folder) return ENAMETOOLONG;
    memcpy(folder, slash ? path : ".", length);
    folder[length] = 0;
    const int fd = kdi_open(folder, O_RDONLY | O_DIRECTORY);
    int error = fd < 0 ? errno : 0;
    if (fd >= 0 && kdi_sync(fd) != 0) error = errno;
    if (fd >= 0) close(fd);
    return error == EACCES || error == EINVAL || error == EROFS ? 0 : error;
}

static int set_mode(const kdi_atomic *a)
{
    int result = 0;
    if (a->mode < 0) return 0;
    do result = fchmod(a->fd, (mode_t)a->mode);
    while (result != 0 && errno == EINTR);
    return result;
}

kd_status kdi_atomic_commit(kdi_atomic *a)
{
    kd_status status = KD_OK;
    if (set_mode(a) != 0)
        status = fail(a, "setting its permissions: ", strerror(errno));
    else if (kdi_sync(a->fd) != 0)
        status = fail(a, "syncing it: ", strerror(errno));
    else if (rename(a->temp, a->path) != 0)
        status = fail(a, "renaming the temporary file: ", strerror(errno));
    if (status) {
        kdi_atomic_abort(a);
        return status;
    }
    const int error = kdi_sync_folder_of(a->path);
    if (error)
        status = fail(a, "it is in place, but its folder cannot be synced: ", strerror(error));
    release(a);
    return status;
}

void kdi_atomic_abort(kdi_atomic *a)
{
    if (a->fd < 0) return;
    unlink(a->temp); /* before the lock goes with the close */
    release(a);
}

kd_status kd_file_write_atomic(kd_ctx *ctx, const char *path, const void *bytes, size_t size)
{
    if (!ctx) return KD_E_INVALID;
    if (size && !bytes) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_file_write_atomic: NULL");
    kdi_atomic a;
    const kdi_file_kind kind = kdi_kind_of(bytes, size < KDI_KIND_BYTES ? size : KDI_KIND_BYTES);
    kd_status status = path ? kdi_kind_replaces(ctx, path, kind) : KD_OK;
    if (!status) status = kdi_atomic_begin(ctx, path, &a);
    if (status) return status;
    status = kdi_atomic_write(&a, bytes, size);
    if (!status) return kdi_atomic_commit(&a);
    kdi_atomic_abort(&a);
    return status;
}
