/* SPDX-License-Identifier: MIT
 * params.c: a network's parameters: the flat arrays, their table, initial values, and reading and
 * writing them in the layout of files. */
#include "params.h"

#include "../base/philox.h"

#include <math.h>
#include <string.h>

enum { ALIGN_FLOATS = 16, ALIGN_BYTES = 64 };

/* A hash table of the names, open addressing, at most half full: lookups stay fast for networks
 * with hundreds of entries. */
static size_t slot_of(const kd_params *p, const char *name)
{
    size_t i = kdi_hash(name, strlen(name)) & (p->n_slots - 1);
    while (p->slots[i] && strcmp(p->entries[p->slots[i] - 1].name, name))
        i = (i + 1) & (p->n_slots - 1);
    return i;
}

static kd_shape file_shape(const kdi_param *from)
{
    kd_shape s = from->shape;
    if (s.rank != 4 || from->opt.layout == KD_LAYOUT_SAME) return s;
    const int64_t h = s.dim[1], w = s.dim[2], c = s.dim[3];
    if (from->opt.layout == KD_LAYOUT_FLATTEN)
        return (kd_shape){.rank = 2, .dim = {s.dim[0], c * h * w}};
    return (kd_shape){.rank = 4, .dim = {s.dim[0], c, h, w}};
}

static bool place(kd_params *p, kd_param_info *e)
{
    size_t bytes, end;
    if (e->buffer) {
        e->offset = p->buffer_bytes;
        if (!kdi_mul(e->count, kd_dtype_size(e->dtype), &bytes) ||
            !kdi_add(e->offset, bytes, &end) || !kdi_round_up(end, ALIGN_BYTES, &p->buffer_bytes))
            return false;
        return true;
    }
    e->offset = p->flat_count;
    p->count += e->count;
    return kdi_add(e->offset, e->count, &end) && kdi_round_up(end, ALIGN_FLOATS, &p->flat_count) &&
           p->flat_count < SIZE_MAX / 64;
}

static bool has(const kd_params *p, const char *name)
{
    return p && kd_params_find(p, name);
}

/* All parameters of the graph that `without` (or NULL) lacks. */
static kd_status build_table(kd_params *p, const kd_graph *g, const kd_params *without)
{
    p->entries = kd_ctx_alloc(p->ctx, g->n_params + 1, sizeof *p->entries);
    for (p->n_slots = 8; p->n_slots < 2 * g->n_params; p->n_slots *= 2) {}
    p->slots = kd_ctx_alloc(p->ctx, p->n_slots, sizeof *p->slots);
    if (!p->entries || !p->slots) return kd_ctx_memory_status(g->ctx);
    for (size_t i = 0; i < g->n_params; i++) {
        const kdi_param *from = &g->params[i];
        kd_param_info *e = &p->entries[p->n_entries];
        if (has(without, from->name)) continue;
        *e = (kd_param_info){.name = kdi_pool_strdup(&p->pool, from->name),
                             .shape = from->shape,
                             .file_shape = file_shape(from),
                             .layout = from->opt.layout,
                             .dtype = from->opt.dtype,
                             .buffer = from->opt.buffer,
                             .no_decay = from->opt.no_decay};
        if (!e->name) return kd_ctx_memory_status(g->ctx);
        if (!kdi_shape_count(&e->shape, 1, &e->count) || !place(p, e))
            return kd_ctx_fail(p->ctx, KD_E_LIMIT, "parameter '%s': the size overflows", e->name);
        p->slots[slot_of(p, e->name)] = (uint32_t)++p->n_entries;
    }
    return KD_OK;
}

static void initialise(float *x, const kd_param_info *e, const kd_param_opt *opt, uint64_t seed)
{
    const uint64_t h = kdi_hash(e->name, strlen(e->name));
    kdi_rng r = kdi_rng_make(seed, KDI_RNG_INIT, (uint32_t)(h >> 32), (uint32_t)h);
    float scale = opt->scale;
    if (opt->init == KD_INIT_KAIMING_FAN_OUT) {
        /* All but the inputs, the last dimension; a single number has none. */
        const int last = e->shape.rank - 1;
        const double fan_out = (double)e->count / (last < 0 ? 1 : (double)e->shape.dim[last]);
        scale = (float)sqrt(2 / fan_out);
    }
    for (size_t i = 0; i < e->count; i++) {
        switch (opt->init) {
        case KD_INIT_ZERO:
            x[i] = 0;
            break;
        case KD_INIT_ONE:
            x[i] = 1;
            break;
        case KD_INIT_UNIFORM:
            x[i] = scale * (2 * kdi_rng_uniform(&r) - 1);
            break;
        case KD_INIT_NORMAL:
        case KD_INIT_KAIMING_FAN_OUT:
            x[i] = scale * kdi_rng_normal(&r);
            break;
        case KD_INIT_TRUNCATED_NORMAL:
            do x[i] = kdi_rng_normal(&r);
            while (fabsf(x[i]) > 2);
            x[i] *= scale;
            break;
        }
    }
}

static kd_status allocate_values(kd_params *p)
{
    enum { BLOCKS = 128 }; /* what the allocator adds */
    const size_t bytes = p->flat_count * sizeof(float) + p->buffer_bytes + BLOCKS;
    const kd_status status = kdi_limit_check(p->ctx, kd_ctx_memory(p->ctx), bytes);
    if (status) return status;
    p->values = kd_ctx_alloc(p->ctx, p->flat_count, sizeof(float));
    p->buffers = kd_ctx_alloc(p->ctx, p->buffer_bytes, 1);
    return p->values && p->buffers ? KD_OK : kd_ctx_memory_status(p->ctx);
}

static kd_status create(kd_graph *g, uint64_t seed, const kd_params *without, kd_params **out)
{
    kd_status status = kd_graph_status(g);
    if (status) return status;
    kd_params *p = kd_ctx_alloc(g->ctx, 1, sizeof *p);
    if (!p) return kd_ctx_memory_status(g->ctx);
    p->ctx = g->ctx;
    p->pool.ctx = g->ctx;
    p->version = 1;
    status = build_table(p, g, without);
    if (!status) status = allocate_values(p);
    if (status) {
        kd_params_destroy(p);
        return status;
    }
    for (size_t i = 0, k = 0; k < p->n_entries; i++) {
        if (has(without, g->params[i].name)) continue;
        const kd_param_info *e = &p->entries[k++];
        if (e->dtype != KD_F32) continue; /* counters start at zero */
        float *x = e->buffer ? (float *)(void *)(p->buffers + e->offset) : p->values + e->offset;
        initialise(x, e, &g->params[i].opt, seed);
    }
    *out = p;
    return KD_OK;
}

kd_status kd_params_create(kd_graph *g, uint64_t seed, kd_params **out)
{
    if (out) *out = NULL;
    if (!g) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(g->ctx, KD_E_INVALID, "kd_params_create: NULL");
    return create(g, seed, NULL, out);
}

kd_status kd_params_create_others(kd_graph *g, uint64_t seed, const kd_params *have,
                                  kd_params **out)
{
    if (out) *out = NULL;
    if (!g) return KD_E_INVALID;
    if (!out || !have) return kd_ctx_fail(g->ctx, KD_E_INVALID, "kd_params_create_others: NULL");
    const kd_status status = create(g, seed, have, out);
    if (status || (*out)->n_entries) return status;
    kd_params_destroy(*out);
    *out = NULL;
    return KD_OK;
}

kd_status kd_params_clone(const kd_params *from, kd_params **out)
{
    if (out) *out = NULL;
    if (!from) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(from->ctx, KD_E_INVALID, "kd_params_clone: NULL");
    kd_params *p = kd_ctx_alloc(from->ctx, 1, sizeof *p);
    if (!p) return kd_ctx_memory_status(from->ctx);
    p->ctx = from->ctx;
    p->pool.ctx = from->ctx;
    p->version = 1;
    p->n_slots = from->n_slots;
    p->flat_count = from->flat_count;
    p->buffer_bytes = from->buffer_bytes;
    p->count = from->count;
    p->entries = kd_ctx_alloc(p->ctx, from->n_entries + 1, sizeof *p->entries);
    p->slots = kd_ctx_alloc(p->ctx, p->n_slots, sizeof *p->slots);
    kd_status status =
        p->entries && p->slots ? allocate_values(p) : kd_ctx_memory_status(from->ctx);
    for (size_t i = 0; i < from->n_entries && !status; i++) {
        p->entries[i] = from->entries[i];
        p->entries[i].name = kdi_pool_strdup(&p->pool, from->entries[i].name);
        if (!p->entries[i].name) status = kd_ctx_memory_status(from->ctx);
        p->n_entries++;
    }
    if (status) {
        kd_params_destroy(p);
        return status;
    }
    memcpy(p->slots, from->slots, p->n_slots * sizeof *p->slots);
    memcpy(p->values, from->values, p->flat_count * sizeof(float));
    memcpy(p->buffers, from->buffers, p->buffer_bytes);
    *out = p;
    return KD_OK;
}

void kd_params_destroy(kd_params *p)
{
    if (!p) return;
    kd_ctx_free(p->ctx, p->values);
    kd_ctx_free(p->ctx, p->grads);
    kd_ctx_free(p->ctx, p->buffers);
    kd_ctx_free(p->ctx, p->entries);
    kd_ctx_free(p->ctx, p->slots);
    kdi_pool_free(&p->pool);
    kd_ctx_free(p->ctx, p);
}

kd_ctx *kd_params_ctx(const kd_params *p)
{
    return p ? p->ctx : NULL;
}

size_t kd_params_entries(const kd_params *p)
{
    return p ? p->n_entries : 0;
}

const kd_param_info *kd_params_info(const kd_params *p, size_t i)
{
    return p && i < p->n_entries ? &p->entries[i] : NULL;
}

const kd_param_info *kd_params_find(const kd_params *p, const char *name)
{
    if (!p || !name) return NULL;
    const size_t slot = slot_of(p, name);
    return p->slots[slot] ? &p->entries[p->slots[slot] - 1] : NULL;
}

size_t kd_params_count(const kd_params *p)
{
    return p ? p->count : 0;
}

size_t kd_params_flat_count(const kd_params *p)
{
    return p ? p->flat_count : 0;
}

float *kd_params_values(kd_params *p)
{
    return p ? p->values : NULL;
}

float *kd_params_grads(kd_params *p)
{
    return p ? p->grads : NULL;
}

kd_status kd_params_need_grads(kd_params *p)
{
    if (!p) return KD_E_INVALID;
    if (!p->grads) p->grads = kd_ctx_alloc(p->ctx, p->flat_count, sizeof(float));
    return p->grads ? KD_OK : kd_ctx_memory_status(p->ctx);
}

void *kd_params_buffers(kd_params *p)
{
    return p ? p->buffers : NULL;
}

size_t kd_params_buffer_bytes(const kd_params *p)
{
    return p ? p->buffer_bytes : 0;
}

void kd_params_touch(kd_params *p)
{
    if (p) p->version++;
}

/* Element (s, i) of each [h*w, c] picture of weights lies at s * c + i in memory and at i * h * w +
 * s in files. Returns the number of pictures, 0 if the layouts are the same. */
static size_t pictures(const kd_param_info *e, size_t *hw, size_t *c)
{
    if (e->layout == KD_LAYOUT_SAME || e->shape.rank != 4) return 0;
    *hw = (size_t)e->shape.dim[1] * (size_t)e->shape.dim[2];
    *c = (size_t)e->shape.dim[3];
    return (size_t)e->shape.dim[0];
}

static void to_file(const kd_param_info *e, const void *memory, void *file)
{
    size_t hw, c;
    const size_t n = pictures(e, &hw, &c);
    if (n == 0) {
        memcpy(file, memory, e->count * kd_dtype_size(e->dtype));
        return;
    }
    const float *m = memory;
    float *f = file;
    for (size_t a = 0; a < n; a++, m += hw * c, f += hw * c)
        for (size_t s = 0; s < hw; s++)
            for (size_t i = 0; i < c; i++) f[i * hw + s] = m[s * c + i];
}

static void from_file(const kd_param_info *e, const void *file, void *memory)
{
    size_t hw, c;
    const size_t n = pictures(e, &hw, &c);
    if (n == 0) {
        memcpy(memory, file, e->count * kd_dtype_size(e->dtype));
        return;
    }
    const float *f = file;
    float *m = memory;
    for (size_t a = 0; a < n; a++, m += hw * c, f += hw * c)
        for (size_t s = 0; s < hw; s++)
            for (size_t i = 0; i < c; i++) m[s * c + i] = f[i * hw + s];
}

void kd_params_pack(const kd_param_info *e, const float *flat, float *out)
{
    if (e && flat && out) to_file(e, flat + e->offset, out);
}

void kd_params_unpack(const kd_param_info *e, const float *in, float *flat)
{
    if (e && in && flat) from_file(e, in, flat + e->offset);
}

kd_status kd_params_get(const kd_params *p, const kd_param_info *e, int which, void *out)
{
    if (!p) return KD_E_INVALID;
    if (!e || !out) return kd_ctx_fail(p->ctx, KD_E_INVALID, "kd_params_get: NULL");
    if (which != 0 && which != 1)
        return kd_ctx_fail(p->ctx, KD_E_INVALID, "kd_params_get: which is 0 or 1, not %d", which);
    if (which && (e->buffer || !p->grads))
        return kd_ctx_fail(p->ctx, KD_E_INVALID, "'%s' has no gradient", e->name);
    if (e->buffer)
        to_file(e, p->buffers + e->offset, out);
    else
        to_file(e, (which ? p->grads : p->values) + e->offset, out);
    return KD_OK;
}

kd_status kd_params_set(kd_params *p, const kd_param_info *e, const void *in)
{
    if (!p) return KD_E_INVALID;
    if (!e || !in) return kd_ctx_fail(p->ctx, KD_E_INVALID, "kd_params_set: NULL");
    if (e->buffer)
        from_file(e, in, p->buffers + e->offset);
    else
        from_file(e, in, p->values + e->offset);
    kd_params_touch(p);
    return KD_OK;
}
