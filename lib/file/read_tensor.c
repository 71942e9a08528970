/* SPDX-License-Identifier: MIT
 * read_tensor.c: reading values of an open file. Files are read, not mapped: a file that becomes
 * shorter meanwhile gives an error instead of a signal. Values of the wanted type are read into
 * their place. Others are converted piece by piece, by way of a buffer on the stack. */
#include "open_file.h"

#include "half.h"
#include "printable.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 1 << 30, PIECE = 16384 };

/* Of shards: a tensor lies in one of them. */
static kd_status shard_bytes(kd_file *f, uint64_t offset, void *out, size_t size)
{
    size_t part = 0;
    while (part + 1 < f->n_parts && offset >= f->parts[part]->size)
        offset -= f->parts[part++]->size;
    return kdi_file_bytes(f->parts[part], offset, out, size);
}

kd_status kdi_file_bytes(kd_file *f, uint64_t offset, void *out, size_t size)
{
    if (offset > f->size || size > f->size - offset)
        return kd_ctx_fail(f->ctx, KD_E_INVALID, "'%s': %zu bytes at %llu are outside the file",
                           f->path, size, (unsigned long long)offset);
    if (f->parts) return shard_bytes(f, offset, out, size);
    if (f->fd < 0) {
        if (size) memcpy(out, f->memory + offset, size);
        return KD_OK;
    }
    unsigned char *p = out;
    while (size) {
        const ssize_t n = pread(f->fd, p, size < MOST ? size : MOST, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return kd_ctx_fail(f->ctx, KD_E_IO, "cannot read '%s': %s", f->path,
                               n ? strerror(errno) : "it has become shorter");
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return KD_OK;
}

kd_status kd_file_read_bytes(kd_file *file, const kd_file_tensor *t, uint64_t first, size_t count,
                             void *out)
{
    if (!file) return KD_E_INVALID;
    if (!t) return kd_ctx_fail(file->ctx, KD_E_INVALID, "'%s': no such tensor", file->path);
    if (first > t->bytes || count > t->bytes - first)
        return kd_ctx_fail(file->ctx, KD_E_INVALID,
                           "'%s': tensor '%s': %zu bytes from %llu on, but it has %llu", file->path,
                           kdi_show(t->name).text, count, (unsigned long long)first,
                           (unsigned long long)t->bytes);
    return kdi_file_bytes(file, t->offset + first, out, count);
}

/* Convert count elements at in to out. False if a value does not fit into the other type. */
typedef bool (*convert_fn)(const void *in, size_t count, void *out);

#define CONVERT(name, from, to, expression)                                                        \
    static bool name(const void *in, size_t count, void *out)                                      \
    {                                                                                              \
        const from *x = in;                                                                        \
        to *y = out;                                                                               \
        for (size_t i = 0; i < count; i++) y[i] = expression;                                      \
        return true;                                                                               \
    }
CONVERT(f32_from_f16, uint16_t, float, kdi_f16_to_f32(x[i]))
CONVERT(f32_from_bf16, uint16_t, float, kdi_bf16_to_f32(x[i]))
CONVERT(f32_from_f64, double, float, (float)x[i])
CONVERT(i64_from_i32, int32_t, int64_t, x[i])
CONVERT(i64_from_i16, int16_t, int64_t, x[i])
CONVERT(i64_from_i8, int8_t, int64_t, x[i])
CONVERT(i64_from_u32, uint32_t, int64_t, x[i])
CONVERT(i64_from_u16, uint16_t, int64_t, x[i])
CONVERT(i64_from_u8, uint8_t, int64_t, x[i])
CONVERT(i64_from_bool, uint8_t, int64_t, x[i] != 0)
#undef CONVERT

static bool i64_from_u64(const void *in, size_t count, void *out)
{
    const uint64_t *x = in;
    int64_t *y = out;
    for (size_t i = 0; i < count; i++) {
        if (x[i] > INT64_MAX) return false;
        y[i] = (int64_t)x[i];
    }
    return true;
}

static convert_fn to_f32(kd_dtype from)
{
    switch (from) {
    case KD_F16:
        return f32_from_f16;
    case KD_BF16:
        return f32_from_bf16;
    case KD_F64:
        return f32_from_f64;
    default:
        return NULL;
    }
}

static convert_fn to_i64(kd_dtype from)
{
    switch (from) {
    case KD_I32:
        return i64_from_i32;
    case KD_I16:
        return i64_from_i16;
    case KD_I8:
        return i64_from_i8;
    case KD_U64:
        return i64_from_u64;
    case KD_U32:
        return i64_from_u32;
    case KD_U16:
        return i64_from_u16;
    case KD_U8:
        return i64_from_u8;
    case KD_BOOL:
        return i64_from_bool;
    default:
        return NULL;
    }
}

/* Elements [first, first + count) of t as type `to`. */
static kd_status read_as(kd_file *f, const kd_file_tensor *t, size_t first, size_t count,
                         kd_dtype to, void *out)
{
    _Alignas(64) unsigned char piece[PIECE] = {0};
    if (!t) return kd_ctx_fail(f->ctx, KD_E_INVALID, "'%s': no such tensor", f->path);
    const size_t from_size = kd_dtype_size(t->dtype), to_size = kd_dtype_size(to);
    const convert_fn convert = to == KD_F32 ? to_f32(t->dtype) : to_i64(t->dtype);
    if (!convert && t->dtype != to)
        return kd_ctx_fail(f->ctx, KD_E_UNSUPPORTED, "'%s': tensor '%s': %s cannot be read as %s",
                           f->path, kdi_show(t->name).text, kd_dtype_name(t->dtype),
                           kd_dtype_name(to));
    if (first > t->count || count > t->count - first)
        return kd_ctx_fail(f->ctx, KD_E_INVALID,
                           "'%s': tensor '%s': %zu elements from %zu on, but it has %zu", f->path,
                           kdi_show(t->name).text, count, first, t->count);
    if (t->dtype == to)
        return kdi_file_bytes(f, t->offset + first * from_size, out, count * from_size);
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < PIECE / from_size ? count - done : PIECE / from_size;
        const kd_status status =
            kdi_file_bytes(f, t->offset + (first + done) * from_size, piece, n * from_size);
        if (status) return status;
        if (!convert(piece, n, (unsigned char *)out + done * to_size))
            return kd_ctx_fail(f->ctx, KD_E_UNSUPPORTED, "'%s': tensor '%s': a value is too large",
                               f->path, kdi_show(t->name).text);
    }
    return KD_OK;
}

kd_status kd_file_read_f32(kd_file *file, const kd_file_tensor *tensor, size_t first, size_t count,
                           float *out)
{
    if (!file) return KD_E_INVALID;
    return read_as(file, tensor, first, count, KD_F32, out);
}

kd_status kd_file_read_i64(kd_file *file, const kd_file_tensor *tensor, size_t first, size_t count,
                           int64_t *out)
{
    if (!file) return KD_E_INVALID;
    return read_as(file, tensor, first, count, KD_I64, out);
}
