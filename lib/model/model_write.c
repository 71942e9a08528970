/* SPDX-License-Identifier: MIT
 * model_write.c: writing models as safetensors files, with PyTorch's names, shapes and layouts. One
 * entry at a time is brought into that layout. */
#include "model.h"

#include "../file/writer.h"

#include <stdio.h>
#include <string.h>

/* One tensor of the file. */
typedef struct written {
    const kd_params *params; /* the entry of these, or, where flat is given, its part of flat */
    const float *flat;
    const kd_param_info *info;
    kdi_writer_buffer *buffer;
} written;

static kd_status fill(void *user, size_t first, size_t count, void *out)
{
    const written *e = user;
    const size_t size = kd_dtype_size(e->info->dtype);
    if (e->buffer->owner != e) {
        e->buffer->owner = NULL;
        if (e->flat) {
            kd_params_pack(e->info, e->flat, e->buffer->bytes);
        } else {
            const kd_status status = kd_params_get(e->params, e->info, 0, e->buffer->bytes);
            if (status) return status;
        }
        e->buffer->owner = e;
    }
    memcpy(out, (const char *)e->buffer->bytes + first * size, count * size);
    return KD_OK;
}

static kd_status add(kd_writer *w, const char *prefix, kd_dtype dtype, written *e)
{
    char name[768];
    const int n = snprintf(name, sizeof name, "%s%s", prefix, e->info->name);
    const kd_shape *shape = &e->info->file_shape;
    e->buffer = kdi_writer_reserve(w, e->info->count * kd_dtype_size(e->info->dtype));
    if (n < 0 || (size_t)n >= sizeof name)
        return kdi_writer_fail(w, kd_ctx_fail(kdi_writer_ctx(w), KD_E_LIMIT,
                                              "the name of tensor '%.60s...' is too long", name));
    return kd_writer_tensor_fn(w, name, e->info->dtype == KD_F32 ? dtype : e->info->dtype,
                               shape->rank, shape->dim, fill, e);
}

static kd_status add_all(const kd_params *params, const float *flat, kd_writer *w,
                         const char *prefix, kd_dtype dtype)
{
    const size_t n = kd_params_entries(params);
    written *entries = kdi_writer_alloc(w, n + 1, sizeof *entries);
    kd_status status = entries ? KD_OK : kd_ctx_memory_status(kdi_writer_ctx(w));
    for (size_t i = 0; i < n && !status; i++) {
        const kd_param_info *info = kd_params_info(params, i);
        if (flat && info->buffer) continue;
        entries[i] = (written){.params = params, .flat = flat, .info = info};
        status = add(w, prefix, dtype, &entries[i]);
    }
    return status;
}

kd_status kd_params_write(const kd_params *params, kd_writer *w, const char *prefix, kd_dtype dtype)
{
    if (!w) return KD_E_INVALID;
    if (!params)
        return kdi_writer_fail(
            w, kd_ctx_fail(kdi_writer_ctx(w), KD_E_INVALID, "kd_params_write: NULL"));
    if (dtype != KD_F32 && dtype != KD_F16 && dtype != KD_BF16)
        return kdi_writer_fail(w, kd_ctx_fail(kdi_writer_ctx(w), KD_E_INVALID,
                                              "weights are saved as f32, f16 or bf16, not %s",
                                              kd_dtype_name(dtype)));
    return add_all(params, NULL, w, prefix ? prefix : "", dtype);
}

kd_status kd_params_write_flat(const kd_params *params, const float *flat, kd_writer *w,
                               const char *prefix)
{
    if (!w) return KD_E_INVALID;
    if (!params || !flat)
        return kdi_writer_fail(
            w, kd_ctx_fail(kdi_writer_ctx(w), KD_E_INVALID, "kd_params_write_flat: NULL"));
    return add_all(params, flat, w, prefix ? prefix : "", KD_F32);
}

/* All of a model's file; on failure the writer is gone. */
static kd_status fill_writer(const kd_model *m, const kd_params *params, kd_dtype dtype,
                             kd_writer *w)
{
    kd_writer_metadata(w, "format", "pt");
    kd_status status = kd_model_write_metadata(m, w);
    if (!status) status = kd_params_write(params, w, "", dtype);
    if (status) kd_writer_abandon(w);
    return status;
}

kd_status kd_model_save_params(const kd_model *m, const kd_params *params, const char *path,
                               kd_dtype dtype)
{
    kd_writer *w;
    if (!m) return KD_E_INVALID;
    if (!params) return kd_ctx_fail(m->ctx, KD_E_INVALID, "saving a network: no parameters");
    kd_status status = kd_writer_create(m->ctx, path, &w);
    if (!status) status = fill_writer(m, params, dtype, w);
    return status ? status : kd_writer_finish(w);
}

kd_status kd_model_save_memory(const kd_model *m, kd_dtype dtype, void **bytes, size_t *size)
{
    kd_writer *w;
    if (bytes) *bytes = NULL;
    if (!m) return KD_E_INVALID;
    if (!bytes || !size) return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_model_save_memory: NULL");
    kd_status status = kd_writer_create_memory(m->ctx, &w);
    if (!status) status = fill_writer(m, m->params, dtype, w);
    return status ? status : kd_writer_finish_memory(w, bytes, size);
}

kd_status kd_model_save_fn(const kd_model *m, kd_dtype dtype, kd_write_fn fn, void *user)
{
    kd_writer *w;
    if (!m) return KD_E_INVALID;
    if (!fn) return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_model_save_fn: NULL");
    kd_status status = kd_writer_create_memory(m->ctx, &w);
    if (!status) status = fill_writer(m, m->params, dtype, w);
    return status ? status : kd_writer_finish_fn(w, fn, user);
}

kd_status kd_model_save_as(const kd_model *m, const char *path, kd_dtype dtype)
{
    return kd_model_save_params(m, m ? m->params : NULL, path, dtype);
}

kd_status kd_model_save(const kd_model *m, const char *path)
{
    return kd_model_save_as(m, path, KD_F32);
}
