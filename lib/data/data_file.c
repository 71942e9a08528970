/* SPDX-License-Identifier: MIT
 * data_file.c: files of data sets: finding them, reading them from front to end, gzip on the way.
 *
 * A file is hostile: nothing is allocated on the word of its header before kdi_data_file_limit has
 * been asked whether so much can be in it. zlib's memory comes from the context like all other. */
#include "data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if KDI_ZLIB
#include <zlib.h>
#endif

/* ---- finding --------------------------------------------------------------------------------- */

kd_status kdi_join(kd_ctx *ctx, const char *folder, const char *name, kdi_path *path)
{
    const size_t n = strlen(folder);
    const char *slash = n == 0 || *name == 0 || folder[n - 1] == '/' ? "" : "/";
    path->text[0] = 0;
    const int length = snprintf(path->text, sizeof path->text, "%s%s%s", folder, slash, name);
    if (length < 0 || (size_t)length >= sizeof path->text)
        return kd_ctx_fail(ctx, KD_E_INVALID, "the path '%.100s...%s' is too long", folder, name);
    return KD_OK;
}

bool kdi_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

kd_status kdi_locate(kd_ctx *ctx, const char *set, const kdi_path *folders, size_t count,
                     const char *marker, const char *other_marker, const char *advice,
                     kdi_path *found)
{
    const char *const markers[] = {marker, other_marker};
    char looked[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t m = 0; m < 2 && markers[m]; m++) {
            kdi_path path;
            const kd_status status = kdi_join(ctx, folders[i].text, markers[m], &path);
            if (status) return status;
            if (kdi_exists(path.text)) {
                *found = folders[i];
                return KD_OK;
            }
        }
        const int n = snprintf(looked + used, sizeof looked - used, "%s'%.150s'",
                               i == 0 ? "" : ", ", folders[i].text);
        if (n > 0) used = used + (size_t)n < sizeof looked ? used + (size_t)n : sizeof looked - 1;
    }
    return kd_ctx_fail(ctx, KD_E_NOTFOUND, "%s: no %s%s%s in %s. %s", set, marker,
                       other_marker ? " or " : "", other_marker ? other_marker : "", looked,
                       advice);
}

/* ---- gzip ------------------------------------------------------------------------------------ */

struct kdi_gzip {
#if KDI_ZLIB
    z_stream stream;
    bool ended; /* the member's end was reached, its check sum was right */
    unsigned char in[64 * 1024];
#else
    char unused;
#endif
};

/* Up to count bytes of the file as it is; *got is fewer only at its end. */
static kd_status read_raw(kdi_data_file *s, void *bytes, size_t count, size_t *got)
{
    *got = 0;
    while (*got < count) {
        const ssize_t n = read(s->fd, (char *)bytes + *got, count - *got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return kd_ctx_fail(s->ctx, KD_E_IO, "'%s': reading at %zu: %s", s->path,
                               s->offset + *got, strerror(errno));
        if (n == 0) break;
        *got += (size_t)n;
    }
    return KD_OK;
}

#if KDI_ZLIB
static void *gzip_alloc(void *ctx, unsigned count, unsigned size)
{
    return kd_ctx_alloc(ctx, count, size);
}

static void gzip_free(void *ctx, void *block)
{
    kd_ctx_free(ctx, block);
}

static kd_status gzip_open(kdi_data_file *s)
{
    s->gzip = kd_ctx_alloc(s->ctx, 1, sizeof *s->gzip);
    if (!s->gzip) return kd_ctx_memory_status(s->ctx);
    z_stream *z = &s->gzip->stream;
    z->zalloc = gzip_alloc;
    z->zfree = gzip_free;
    z->opaque = s->ctx;
    const int result = inflateInit2(z, 16 + MAX_WBITS); /* 16: gzip and nothing else */
    if (result == Z_OK) return KD_OK;
    kd_ctx_free(s->ctx, s->gzip);
    s->gzip = NULL;
    return result == Z_MEM_ERROR ? KD_E_NOMEM
                                 : kd_ctx_fail(s->ctx, KD_E_SYSTEM, "zlib: error %d", result);
}

static void gzip_close(kdi_data_file *s)
{
    if (s->gzip) inflateEnd(&s->gzip->stream);
    kd_ctx_free(s->ctx, s->gzip);
}

/* Up to count unpacked bytes; *got is fewer only at the end. Never unpacks more than is asked. */
static kd_status gzip_read(kdi_data_file *s, void *bytes, size_t count, size_t *got)
{
    z_stream *z = &s->gzip->stream;
    *got = 0;
    while (*got < count && !s->gzip->ended) {
        if (z->avail_in == 0) {
            size_t n;
            const kd_status status = read_raw(s, s->gzip->in, sizeof s->gzip->in, &n);
            if (status) return status;
            if (n == 0)
                return kd_ctx_fail(s->ctx, KD_E_FORMAT,
                                   "'%s': the gzip data are cut off (after %zu unpacked bytes)",
                                   s->path, s->offset + *got);
            z->next_in = s->gzip->in;
            z->avail_in = (uInt)n;
        }
        const size_t wanted = count - *got < 1 << 30 ? count - *got : 1 << 30;
        z->next_out = (Bytef *)bytes + *got;
        z->avail_out = (uInt)wanted;
        const int result = inflate(z, Z_NO_FLUSH);
        *got += wanted - z->avail_out;
        if (result == Z_STREAM_END)
            s->gzip->ended = true;
        else if (result == Z_MEM_ERROR)
            return kd_ctx_memory_status(s->ctx);
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return kd_ctx_fail(s->ctx, KD_E_FORMAT,
                               "'%s': bad gzip data after %zu unpacked bytes: %s", s->path,
                               s->offset + *got, z->msg ? z->msg : "no reason given");
    }
    return KD_OK;
}

/* Whether anything follows the gzip member. */
static kd_status gzip_rest(kdi_data_file *s, bool *more)
{
    unsigned char byte;
    size_t n = 0;
    const kd_status status = s->gzip->stream.avail_in ? KD_OK : read_raw(s, &byte, sizeof byte, &n);
    *more = s->gzip->stream.avail_in > 0 || n > 0;
    return status;
}
#else
static kd_status gzip_open(kdi_data_file *s)
{
    return kd_ctx_fail(
        s->ctx, KD_E_UNSUPPORTED,
        "'%s' is gzip, and this library was built without zlib: unpack it with gunzip", s->path);
}

static void gzip_close(kdi_data_file *s)
{
    (void)s;
}

static kd_status gzip_read(kdi_data_file *s, void *bytes, size_t count, size_t *got)
{
    (void)bytes, (void)count;
    *got = 0;
    return gzip_open(s);
}

static kd_status gzip_rest(kdi_data_file *s, bool *more)
{
    *more = false;
    return gzip_open(s);
}
#endif

/* ---- reading --------------------------------------------------------------------------------- */

static kd_status start(kdi_data_file *s)
{
    struct stat st;
    unsigned char magic[2];
    size_t n;
    if (fstat(s->fd, &st))
        return kd_ctx_fail(s->ctx, KD_E_IO, "'%s': %s", s->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return kd_ctx_fail(s->ctx, KD_E_FORMAT, "'%s' is not a regular file", s->path);
    s->size = (size_t)st.st_size;
    const kd_status status = read_raw(s, magic, sizeof magic, &n);
    if (status) return status;
    if (lseek(s->fd, 0, SEEK_SET) < 0)
        return kd_ctx_fail(s->ctx, KD_E_IO, "'%s': %s", s->path, strerror(errno));
    return n == 2 && magic[0] == 0x1f && magic[1] == 0x8b ? gzip_open(s) : KD_OK;
}

kd_status kdi_data_file_open(kd_ctx *ctx, const char *path, kdi_data_file *s)
{
    *s = (kdi_data_file){.ctx = ctx, .path = path};
    /* Opening a pipe must not wait for a writer. */
    do s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (s->fd < 0 && errno == EINTR);
    if (s->fd < 0) {
        const bool missing = errno == ENOENT || errno == ENOTDIR;
        return kd_ctx_fail(ctx, missing ? KD_E_NOTFOUND : KD_E_IO, "'%s': %s", path,
                           strerror(errno));
    }
    const kd_status status = start(s);
    if (status) close(s->fd);
    return status;
}

size_t kdi_data_file_limit(const kdi_data_file *s)
{
    /* Deflate's best is 258 bytes for 2 bits, 1032 to 1. */
    size_t limit;
    if (!s->gzip) return s->size;
    return kdi_mul(s->size, 1032, &limit) ? limit : SIZE_MAX;
}

kd_status kdi_data_file_read(kdi_data_file *s, void *bytes, size_t count)
{
    size_t got;
    const kd_status status =
        s->gzip ? gzip_read(s, bytes, count, &got) : read_raw(s, bytes, count, &got);
    if (status) return status;
    if (got < count)
        return kd_ctx_fail(s->ctx, KD_E_FORMAT,
                           "'%s' ends at offset %zu, where %zu more bytes should be", s->path,
                           s->offset + got, count - got);
    s->offset += count;
    return KD_OK;
}

kd_status kdi_data_file_end(kdi_data_file *s)
{
    unsigned char byte;
    size_t got;
    bool more = false;
    kd_status status = s->gzip ? gzip_read(s, &byte, 1, &got) : read_raw(s, &byte, 1, &got);
    if (!status && s->gzip && got == 0) status = gzip_rest(s, &more);
    if (status) return status;
    if (got || more)
        return kd_ctx_fail(s->ctx, KD_E_FORMAT,
                           "'%s' goes on after offset %zu, where it should end", s->path,
                           s->offset);
    return KD_OK;
}

void kdi_data_file_close(kdi_data_file *s)
{
    gzip_close(s);
    close(s->fd);
}

/* ---- class names ----------------------------------------------------------------------------- */

enum { NAMES_MAX = 64 * 1024 };

/* Cut text at its line ends; blank lines don't count. */
static kd_status split_names(kd_dataset *data, const char *path, char *text, size_t classes,
                             const char **names)
{
    size_t found = 0, line_number = 0;
    for (char *line = text; line;) {
        char *next = strchr(line, '\n');
        if (next) *next++ = 0;
        line_number++;
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r') line[--length] = 0;
        for (size_t i = 0; i < length; i++)
            if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
                return kd_ctx_fail(data->ctx, KD_E_FORMAT,
                                   "'%s': line %zu holds a control character", path, line_number);
        if (length && found == classes)
            return kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s': line %zu: more than %zu class names",
                               path, line_number, classes);
        if (length) names[found++] = line;
        line = next;
    }
    if (found < classes)
        return kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s': %zu class names instead of %zu", path,
                           found, classes);
    return KD_OK;
}

kd_status kdi_read_names(kd_dataset *data, const char *path, size_t classes,
                         const char *const **names)
{
    *names = NULL;
    if (!kdi_exists(path)) return KD_OK;
    kdi_data_file file;
    kd_status status = kdi_data_file_open(data->ctx, path, &file);
    if (status) return status;
    char *text = NULL;
    const char **lines = NULL;
    const size_t size = file.size;
    if (file.gzip || size > NAMES_MAX) {
        status = kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s' is no list of %zu class names", path,
                             classes);
    } else {
        text = kdi_pool_alloc(&data->pool, size + 1, 1);
        lines = kdi_pool_alloc(&data->pool, classes, sizeof *lines);
        status =
            text && lines ? kdi_data_file_read(&file, text, size) : kd_ctx_memory_status(data->ctx);
    }
    kdi_data_file_close(&file);
    if (!status && text && strlen(text) != size)
        status = kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s' holds a zero byte", path);
    if (!status) status = split_names(data, path, text, classes, lines);
    if (!status) *names = lines;
    return status;
}
