/* SPDX-License-Identifier: MIT
 * weights_hash.c: one number for a network's weights and buffers, and whether all of them are
 * finite.
 *
 * The sum is FNV-1a with words of 32 bits: h = (h ^ word) * 0x100000001B3 from
 * 0xCBF29CE484222325 on. Entries come in the network's order. Each gives these words:
 *
 *   its name    a word for each byte
 *   its type    a kd_dtype
 *   its rank
 *   its sizes   in the file's layout, two words each, the lower first
 *   its values  in the file's layout: a float's bits, or an int64's halves, the lower first */
#include "model.h"

#include <math.h>
#include <string.h>

static uint64_t add(uint64_t h, uint32_t word)
{
    return (h ^ word) * 0x100000001B3u;
}

static uint64_t add_wide(uint64_t h, uint64_t number)
{
    return add(add(h, (uint32_t)number), (uint32_t)(number >> 32));
}

static uint64_t add_head(uint64_t h, const kd_param_info *info)
{
    for (const char *c = info->name; *c; c++) h = add(h, (unsigned char)*c);
    h = add(add(h, (uint32_t)info->dtype), (uint32_t)info->file_shape.rank);
    for (int i = 0; i < info->file_shape.rank; i++)
        h = add_wide(h, (uint64_t)info->file_shape.dim[i]);
    return h;
}

static uint64_t add_values(uint64_t h, const kd_param_info *info, const void *values)
{
    const float *x = values;
    const int64_t *n = values;
    for (size_t i = 0; i < info->count; i++) {
        uint32_t bits;
        if (info->dtype == KD_I64) {
            h = add_wide(h, (uint64_t)n[i]);
            continue;
        }
        memcpy(&bits, &x[i], sizeof bits);
        h = add(h, bits);
    }
    return h;
}

/* A buffer for any one entry in the layout of files. */
static void *buffer_for(const kd_params *params)
{
    size_t largest = 1;
    for (size_t i = 0; i < kd_params_entries(params); i++)
        if (kd_params_info(params, i)->count > largest) largest = kd_params_info(params, i)->count;
    return kd_ctx_alloc(kd_params_ctx(params), largest, sizeof(int64_t));
}

kd_status kd_params_hash(const kd_params *params, uint64_t *hash)
{
    uint64_t h = 0xCBF29CE484222325u;
    if (!params) return KD_E_INVALID;
    if (!hash) return kd_ctx_fail(kd_params_ctx(params), KD_E_INVALID, "kd_params_hash: NULL");
    void *buffer = buffer_for(params);
    kd_status status = buffer ? KD_OK : kd_ctx_memory_status(kd_params_ctx(params));
    for (size_t i = 0; i < kd_params_entries(params) && !status; i++) {
        const kd_param_info *info = kd_params_info(params, i);
        status = kd_params_get(params, info, 0, buffer);
        if (!status) h = add_values(add_head(h, info), info, buffer);
    }
    kd_ctx_free(kd_params_ctx(params), buffer);
    if (!status) *hash = h;
    return status;
}

kd_status kd_model_hash(const kd_model *m, uint64_t *hash)
{
    return kd_params_hash(m ? m->params : NULL, hash);
}

kd_status kd_model_check_finite(const kd_model *m)
{
    if (!m) return KD_E_INVALID;
    void *buffer = buffer_for(m->params);
    kd_status status = buffer ? KD_OK : kd_ctx_memory_status(m->ctx);
    for (size_t i = 0; i < kd_params_entries(m->params) && !status; i++) {
        const kd_param_info *info = kd_params_info(m->params, i);
        const float *x = buffer;
        size_t bad = 0;
        if (info->dtype != KD_F32) continue;
        status = kd_params_get(m->params, info, 0, buffer);
        while (!status && bad < info->count && isfinite(x[bad])) bad++;
        if (!status && bad < info->count)
            status = kd_ctx_fail(m->ctx, KD_E_NONFINITE, "%s: '%s' holds %g", m->text, info->name,
                                 (double)x[bad]);
    }
    kd_ctx_free(m->ctx, buffer);
    return status;
}
