/* SPDX-License-Identifier: MIT
 * text_file.c: adding a line to a file of lines, reading a small file whole, making a folder. */
#include "atomic.h"
#include "replaceable.h"

#include <kd/file.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One call usually writes all of it. If only a part can be written, that is removed again. errno
 * says why. */
static bool write_all(int fd, const char *bytes, size_t size, off_t before)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t n = write(fd, bytes + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            const int error = n ? errno : ENOSPC;
            while (done && ftruncate(fd, before) != 0 && errno == EINTR) continue;
            errno = error;
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

/* The byte at that place, or a newline if there is none. */
static bool byte_at(int fd, off_t at, char *byte)
{
    ssize_t n;
    do n = pread(fd, byte, 1, at);
    while (n < 0 && errno == EINTR);
    if (n == 0) *byte = '\n';
    return n >= 0;
}

/* line starts with a newline, for the case that the file's last line has none. */
static bool append(int fd, const char *path, const char *line, size_t size)
{
    struct stat status;
    char last = '\n';
    if (fstat(fd, &status) != 0) return false;
    const bool old = S_ISREG(status.st_mode) && status.st_size > 0;
    if (old && !byte_at(fd, status.st_size - 1, &last)) return false;
    const size_t skip = last == '\n';
    if (!write_all(fd, line + skip, size - skip, status.st_size)) return false;
    if (kdi_sync(fd) != 0 && errno != EINVAL && errno != EROFS) return false;
    if (old || !S_ISREG(status.st_mode)) return true;
    errno = kdi_sync_folder_of(path); /* the file may be new */
    return errno == 0;
}

kd_status kd_file_append_line(kd_ctx *ctx, const char *path, const char *text)
{
    if (!ctx) return KD_E_INVALID;
    if (!path || !text || strchr(text, '\n'))
        return kd_ctx_fail(ctx, KD_E_INVALID, "appending a line to '%s': not a line",
                           path ? path : "");
    kd_status status = kdi_kind_replaces(ctx, path, KDI_KIND_OTHER);
    if (status) return status;
    const size_t length = strlen(text);
    char *line = kd_ctx_alloc(ctx, length + 3, 1);
    if (!line) return kd_ctx_memory_status(ctx);
    line[0] = '\n';
    memcpy(line + 1, text, length);
    line[length + 1] = '\n';
    const int fd = kdi_open(path, O_RDWR | O_APPEND | O_CREAT);
    if (fd < 0 || !append(fd, path, line, length + 2))
        status = kd_ctx_fail(ctx, KD_E_IO, "cannot append to '%s': %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    kd_ctx_free(ctx, line);
    return status;
}

static kd_status read_whole(kd_ctx *ctx, int fd, const char *path, size_t limit, char **bytes,
                            size_t *size)
{
    size_t capacity = 4096, used = 0;
    char *text = kd_ctx_alloc(ctx, capacity, 1);
    if (!text) return kd_ctx_memory_status(ctx);
    for (;;) {
        if (used + 1 == capacity) {
            char *more = kdi_realloc(ctx, text, capacity, 2);
            if (!more) {
                kd_ctx_free(ctx, text);
                return kd_ctx_memory_status(ctx);
            }
            text = more;
            capacity *= 2;
        }
        const ssize_t n = read(fd, text + used, capacity - used - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 || used + (size_t)n > limit) {
            const int error = errno;
            kd_ctx_free(ctx, text);
            return n < 0
                       ? kd_ctx_fail(ctx, KD_E_IO, "cannot read '%s': %s", path, strerror(error))
                       : kd_ctx_fail(ctx, KD_E_LIMIT, "'%s' has more than %zu bytes", path, limit);
        }
        if (n == 0) break;
        used += (size_t)n;
    }
    text[used] = 0;
    *bytes = text;
    *size = used;
    return KD_OK;
}

kd_status kd_file_read_all(kd_ctx *ctx, const char *path, size_t limit, char **bytes, size_t *size)
{
    if (bytes) *bytes = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!bytes || !size) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_file_read_all: NULL");
    *size = 0;
    if (!path) return kd_ctx_fail(ctx, KD_E_INVALID, "reading a file: no path is given");
    const int fd =
        kdi_open(path, O_RDONLY | O_NONBLOCK); /* opening a pipe must not wait for a writer */
    struct stat st;
    if (fd < 0)
        return kd_ctx_fail(ctx, errno == ENOENT ? KD_E_NOTFOUND : KD_E_IO, "cannot read '%s': %s",
                           path, strerror(errno));
    kd_status status;
    if (fstat(fd, &st) != 0 || S_ISFIFO(st.st_mode))
        status = kd_ctx_fail(ctx, KD_E_IO, "cannot read '%s': it is a pipe", path);
    else
        status = read_whole(ctx, fd, path, limit, bytes, size);
    close(fd);
    return status;
}

/* The name is synced even if the folder was there: whoever made it may have been killed before
 * that. */
static int make_folder(const char *name)
{
    struct stat about;
    int error = mkdir(name, 0777) == 0 ? 0 : errno;
    if (error && stat(name, &about) == 0) error = S_ISDIR(about.st_mode) ? 0 : ENOTDIR;
    return error ? error : kdi_sync_folder_of(name);
}

kd_status kd_folder_make(kd_ctx *ctx, const char *path)
{
    if (!ctx) return KD_E_INVALID;
    char name[PATH_MAX];
    struct stat about;
    int error = 0;
    size_t length = path ? strlen(path) : 0;
    if (length == 0 || length >= sizeof name)
        return kd_ctx_fail(ctx, KD_E_INVALID, "making a folder: %s",
                           length ? "its name is too long" : "no name is given");
    while (length > 1 && path[length - 1] == '/') length--;
    for (size_t i = 1; i <= length && !error; i++) {
        if (i < length && (path[i] != '/' || path[i - 1] == '/')) continue;
        memcpy(name, path, i);
        name[i] = 0;
        if (i == length || stat(name, &about) != 0) error = make_folder(name);
    }
    return error ? kd_ctx_fail(ctx, KD_E_IO, "%s: %s", name, strerror(error)) : KD_OK;
}
