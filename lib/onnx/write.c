/* SPDX-License-Identifier: MIT
 * write.c: a finished model into its file, piece by piece: large arrays are never copied. */
#include "message.h"

#include "../file/atomic.h"
#include "../file/replaceable.h"

#include <string.h>

enum { PIECE = 1 << 16 };

/* What protobuf-c writes to: a buffer before the file. */
typedef struct sink {
    ProtobufCBuffer base; /* first: protobuf-c knows this part */
    kdi_atomic file;
    kd_status status;
    size_t used;
    uint8_t piece[PIECE];
} sink;

static void flush(sink *s)
{
    if (!s->status) s->status = kdi_atomic_write(&s->file, s->piece, s->used);
    s->used = 0;
}

static void append(ProtobufCBuffer *buffer, size_t n, const uint8_t *bytes)
{
    void *whole = buffer;
    sink *s = whole;
    if (n > PIECE - s->used) flush(s);
    if (s->status) return;
    if (n > PIECE) {
        s->status = kdi_atomic_write(&s->file, bytes, n);
    } else {
        memcpy(s->piece + s->used, bytes, n);
        s->used += n;
    }
}

static kd_status write_to(kdi_onnx *o, sink *s, const char *path)
{
    const kd_status status = kdi_atomic_begin(o->ctx, path, &s->file);
    if (status) return status;
    s->base.append = append;
    protobuf_c_message_pack_to_buffer(&o->model.base, &s->base);
    flush(s);
    if (!s->status) return kdi_atomic_commit(&s->file);
    kdi_atomic_abort(&s->file);
    return s->status;
}

kd_status kdi_onnx_write(kdi_onnx *o, const char *path)
{
    if (o->status) return o->status;
    const size_t bytes = protobuf_c_message_get_packed_size(&o->model.base);
    if (bytes > o->most)
        return kd_ctx_fail(o->ctx, KD_E_LIMIT,
                           "%s would have %zu bytes; an ONNX file has at most %zu", path, bytes,
                           o->most);
    kd_status status = kdi_kind_replaces(o->ctx, path, KDI_KIND_ONNX);
    if (status) return status;
    sink *s = kd_ctx_alloc(o->ctx, 1, sizeof *s);
    if (!s) return kd_ctx_memory_status(o->ctx);
    status = write_to(o, s, path);
    kd_ctx_free(o->ctx, s);
    return status;
}
