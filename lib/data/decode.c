/* SPDX-License-Identifier: MIT
 * decode.c: what the picture formats share: the file's bytes, which format they are, an arena. */
#include "decode.h"

#include "../base/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Beyond this a file, or the memory one picture took, is not kept for the next. */
static const size_t KEPT = (size_t)32 << 20, FILE_MOST = (size_t)1 << 30;

/* ---- arena ----------------------------------------------------------------------------------- */

struct kdi_arena_chunk {
    struct kdi_arena_chunk *next;
    size_t used, size;
    _Alignas(64) unsigned char bytes[];
};

static struct kdi_arena_chunk *add_chunk(kdi_arena *a, size_t bytes)
{
    size_t total;
    void *block;
    const size_t least = a->total > a->before ? a->total : a->before;
    const size_t wanted = least > bytes ? least : bytes;
    a->failed = KD_E_NOMEM;
    if (!kdi_add(sizeof(struct kdi_arena_chunk), wanted, &total)) return NULL;
    a->failed = kdi_alloc_either(a->ctx, a->loud, total, &block);
    if (a->failed) return NULL;
    struct kdi_arena_chunk *chunk = block;
    chunk->next = a->chunks;
    chunk->used = 0;
    chunk->size = wanted;
    a->chunks = chunk;
    a->total += wanted;
    return chunk;
}

void *kdi_arena_take(kdi_arena *a, size_t bytes)
{
    struct kdi_arena_chunk *chunk = a->chunks;
    if (!kdi_round_up(bytes ? bytes : 1, 64, &bytes)) {
        a->failed = KD_E_NOMEM;
        return NULL;
    }
    if (!chunk || chunk->size - chunk->used < bytes) chunk = add_chunk(a, bytes);
    if (!chunk) return NULL;
    void *block = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return block;
}

void kdi_arena_free(kdi_arena *a)
{
    while (a->chunks) {
        struct kdi_arena_chunk *next = a->chunks->next;
        kd_ctx_free(a->ctx, a->chunks);
        a->chunks = next;
    }
    a->total = 0;
}

/* Where there were several chunks, the next picture's first is as large as all of them. */
void kdi_arena_reset(kdi_arena *a)
{
    const size_t total = a->total;
    if (!a->chunks) return;
    if (a->chunks->next || total > KEPT) {
        kdi_arena_free(a);
        a->before = total <= KEPT ? total : 0;
    } else {
        a->chunks->used = 0;
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

void kdi_decoder_init(kd_ctx *ctx, kdi_decoder *d)
{
    *d = (kdi_decoder){.ctx = ctx, .arena = {.ctx = ctx}};
}

static void shut(kdi_decoder *d)
{
    if (d->codec) d->codec->close(d);
    d->codec = NULL;
    d->state = NULL;
    kdi_arena_reset(&d->arena);
}

void kdi_decoder_free(kdi_decoder *d)
{
    shut(d);
    kdi_arena_free(&d->arena);
    kd_ctx_free(d->ctx, d->buffer);
    d->buffer = NULL;
}

kd_status kdi_decoder_no_memory(const kdi_decoder *d, kdi_failure *failure)
{
    const bool limit = d->arena.failed == KD_E_LIMIT;
    return kdi_failure_set(failure, limit ? KD_E_LIMIT : KD_E_NOMEM,
                           limit
                               ? "a picture of %zux%zu does not fit into the context's memory limit"
                               : "out of memory for a picture of %zux%zu",
                           d->width, d->height);
}

static kd_status make_buffer(kdi_decoder *d, size_t size, kdi_failure *failure)
{
    void *block;
    if (size <= d->capacity && d->capacity <= KEPT) return KD_OK;
    kd_ctx_free(d->ctx, d->buffer);
    d->buffer = NULL;
    d->capacity = 0;
    const size_t wanted = size + size / 4;
    const kd_status status = kdi_alloc_quietly(d->ctx, wanted, &block);
    if (status)
        return kdi_failure_set(failure, status,
                               status == KD_E_LIMIT
                                   ? "a file of %zu bytes does not fit into the memory limit"
                                   : "out of memory for a file of %zu bytes",
                               size);
    d->buffer = block;
    d->capacity = wanted;
    return KD_OK;
}

static kd_status read_all(kdi_decoder *d, int fd, kdi_failure *failure)
{
    struct stat st;
    if (fstat(fd, &st)) return kdi_failure_set(failure, KD_E_IO, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode)) return kdi_failure_set(failure, KD_E_FORMAT, "is not a regular file");
    if (st.st_size < 0 || (uintmax_t)st.st_size > FILE_MOST)
        return kdi_failure_set(failure, KD_E_FORMAT, "is too large: %lld bytes",
                               (long long)st.st_size);
    const size_t size = (size_t)st.st_size;
    const kd_status status = make_buffer(d, size, failure);
    if (status) return status;
    size_t got = 0;
    while (got < size) {
        const ssize_t n = read(fd, d->buffer + got, size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kdi_failure_set(failure, KD_E_IO, "%s", strerror(errno));
        if (n == 0) return kdi_failure_set(failure, KD_E_IO, "became shorter while it was read");
        got += (size_t)n;
    }
    d->size = size;
    return KD_OK;
}

kd_status kdi_decoder_open_file(kdi_decoder *d, const char *path, kdi_failure *failure)
{
    shut(d);
    /* Opening a pipe must not wait for a writer. */
    int fd;
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        const bool missing = errno == ENOENT || errno == ENOTDIR;
        return kdi_failure_set(failure, missing ? KD_E_NOTFOUND : KD_E_IO, "%s", strerror(errno));
    }
    const kd_status status = read_all(d, fd, failure);
    close(fd);
    return status ? status : kdi_decoder_open_bytes(d, d->buffer, d->size, failure);
}

kd_status kdi_decoder_open_bytes(kdi_decoder *d, const uint8_t *bytes, size_t size,
                                 kdi_failure *failure)
{
    static const kdi_codec *const codecs[] = {&kdi_codec_jpeg, &kdi_codec_png};
    shut(d);
    d->bytes = bytes;
    d->size = size;
    d->width = d->height = 0;
    if (!bytes || size == 0)
        return kdi_failure_set(failure, KD_E_FORMAT, "is neither JPEG nor PNG: it is empty");
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) {
        const kdi_codec *codec = codecs[i];
        if (size < codec->magic_size || memcmp(bytes, codec->magic, codec->magic_size)) continue;
        d->codec = codec;
        const kd_status status = codec->open(d, failure);
        if (status) shut(d);
        return status;
    }
    const kdi_file_kind kind = kdi_kind_of(bytes, size < KDI_KIND_BYTES ? size : KDI_KIND_BYTES);
    const bool known = kind != KDI_KIND_BINARY && kind != KDI_KIND_PNG && kind != KDI_KIND_JPEG;
    return kdi_failure_set(failure, KD_E_FORMAT, "is neither JPEG nor PNG%s%s%s", known ? ": " : "",
                           known ? kdi_kind_name(kind) : "", known ? kdi_kind_advice(kind) : "");
}

kd_status kdi_decoder_check_size(const kdi_decoder *d, size_t most, kdi_failure *failure)
{
    const size_t w = d->width, h = d->height;
    if (w == 0 || h == 0 || w > KDI_PICTURE_SIDE || h > KDI_PICTURE_SIDE ||
        w * h > KDI_PICTURE_PIXELS)
        return kdi_failure_set(failure, KD_E_FORMAT,
                               "%zux%zu pixels: sides must be 1..%d, pixels at most %d", w, h,
                               KDI_PICTURE_SIDE, KDI_PICTURE_PIXELS);
    if (w * h / most > d->size)
        return kdi_failure_set(failure, KD_E_FORMAT, "%zu bytes cannot hold %zux%zu pixels",
                               d->size, w, h);
    return KD_OK;
}

kd_status kdi_decoder_rows(kdi_decoder *d, size_t shrink, kdi_area area, kdi_row_fn row, void *arg,
                           kdi_failure *failure)
{
    const kd_status status = d->codec->rows(d, shrink, area, row, arg, failure);
    shut(d);
    return status;
}
