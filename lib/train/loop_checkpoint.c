/* SPDX-License-Identifier: MIT
 * loop_checkpoint.c: checkpoints of a loop of the caller's own: model and optimiser in one file, the
 * latter's state as "optimizer.STATE.NAME", as a run's checkpoint has it. In the metadata
 *
 *   libkd.kind   "loop"
 *   libkd.steps  updates that the optimiser has done
 *   libkd.note   the caller's text
 *
 * Everything is read into memory beside the model, and copied when all of it was right. */
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kd_status write_states(const kd_params *params, kd_optim *optim, kd_writer *w)
{
    kd_status status = KD_OK;
    const char *state;
    const float *flat;
    for (size_t k = 0; !status && (flat = kd_optim_state(optim, k, &state)); k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "optimizer.%s.", state);
        status = kd_params_write_flat(params, flat, w, prefix);
    }
    return status;
}

kd_status kd_checkpoint_save(const kd_model *model, kd_optim *optim, const char *note,
                             const char *path)
{
    kd_writer *w;
    char steps[32];
    if (!model) return KD_E_INVALID;
    kd_ctx *ctx = kd_model_ctx(model);
    if (!optim || !path) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_checkpoint_save: NULL");
    union {
        const kd_model *in;
        kd_model *m;
    } u = {model}; /* its parameters are only read */
    const kd_params *params = kd_model_params(u.m);
    kd_status status = kd_writer_create(ctx, path, &w);
    if (status) return status;
    snprintf(steps, sizeof steps, "%llu", (unsigned long long)kd_optim_steps(optim));
    kd_writer_metadata(w, "libkd.kind", "loop");
    kd_writer_metadata(w, "libkd.steps", steps);
    if (note) kd_writer_metadata(w, "libkd.note", note);
    status = kd_model_write_metadata(model, w);
    if (!status) status = kd_params_write(params, w, "", KD_F32);
    if (!status) status = write_states(params, optim, w);
    if (!status) return kd_writer_finish(w);
    kd_writer_abandon(w);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

enum { MOST_STATES = 4 };

typedef struct reading {
    kd_ctx *ctx;
    kd_file *file;
    const char *path;
    kd_params *params; /* the model's, read beside it */
    float *states[MOST_STATES];
    size_t n_states;
    void *values; /* of the largest entry */
} reading;

static kd_status misfit(const reading *r, const char *what)
{
    return kd_ctx_fail(r->ctx, KD_E_MISMATCH,
                       "%s: '%s' is missing or does not fit: a checkpoint of this network and "
                       "optimiser is wanted",
                       r->path, what);
}

static kd_status read_tensor(const reading *r, const char *prefix, const kd_param_info *info)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", prefix, info->name);
    const kd_file_tensor *t = kd_file_find(r->file, name);
    bool fits = t && t->rank == info->file_shape.rank && t->dtype == info->dtype;
    for (int i = 0; fits && i < t->rank; i++) fits = t->shape[i] == info->file_shape.dim[i];
    if (!fits) return misfit(r, name);
    return info->dtype == KD_I64 ? kd_file_read_i64(r->file, t, 0, info->count, r->values)
                                 : kd_file_read_f32(r->file, t, 0, info->count, r->values);
}

static kd_status read_all(reading *r, kd_optim *optim)
{
    const size_t n = kd_params_entries(r->params);
    kd_status status = KD_OK;
    for (size_t i = 0; i < n && !status; i++) {
        const kd_param_info *info = kd_params_info(r->params, i);
        status = read_tensor(r, "", info);
        if (!status) status = kd_params_set(r->params, info, r->values);
        for (size_t k = 0; k < r->n_states && !info->buffer && !status; k++) {
            char prefix[64];
            const char *state;
            kd_optim_state(optim, k, &state);
            snprintf(prefix, sizeof prefix, "optimizer.%s.", state);
            status = read_tensor(r, prefix, info);
            if (!status) kd_params_unpack(info, r->values, r->states[k]);
        }
    }
    return status;
}

/* Memory for all that is read; the file says that it is such a checkpoint. */
static kd_status prepare(reading *r, kd_model *model, kd_optim *optim, uint64_t *steps)
{
    const char *kind = kd_file_metadata_get(r->file, "libkd.kind");
    const char *spec = kd_file_metadata_get(r->file, "libkd.spec");
    const char *text = kd_file_metadata_get(r->file, "libkd.steps");
    const char *state;
    char *end = NULL;
    if (!kind || strcmp(kind, "loop")) return misfit(r, "libkd.kind");
    if (!spec || strcmp(spec, kd_model_spec(model))) return misfit(r, "libkd.spec");
    *steps = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end) return misfit(r, "libkd.steps");
    kd_status status = kd_params_clone(kd_model_params(model), &r->params);
    if (status) return status;
    size_t largest = 1;
    for (size_t i = 0; i < kd_params_entries(r->params); i++)
        if (kd_params_info(r->params, i)->count > largest)
            largest = kd_params_info(r->params, i)->count;
    r->values = kd_ctx_alloc(r->ctx, largest, sizeof(int64_t));
    if (!r->values) return kd_ctx_memory_status(r->ctx);
    for (; r->n_states < MOST_STATES && kd_optim_state(optim, r->n_states, &state); r->n_states++) {
        r->states[r->n_states] =
            kd_ctx_alloc(r->ctx, kd_params_flat_count(r->params), sizeof(float));
        if (!r->states[r->n_states]) return kd_ctx_memory_status(r->ctx);
    }
    return KD_OK;
}

static kd_status copy_note(const reading *r, char **note)
{
    const char *text = kd_file_metadata_get(r->file, "libkd.note");
    const size_t size = text ? strlen(text) + 1 : 1;
    if (!note) return KD_OK;
    *note = kd_ctx_alloc(r->ctx, size, 1);
    if (!*note) return kd_ctx_memory_status(r->ctx);
    if (text) memcpy(*note, text, size);
    return KD_OK;
}

static void adopt(const reading *r, kd_model *model, kd_optim *optim, uint64_t steps)
{
    kd_params *to = kd_model_params(model);
    const size_t bytes = kd_params_flat_count(to) * sizeof(float);
    const char *state;
    memcpy(kd_params_values(to), kd_params_values(r->params), bytes);
    if (kd_params_buffer_bytes(to))
        memcpy(kd_params_buffers(to), kd_params_buffers(r->params), kd_params_buffer_bytes(to));
    for (size_t k = 0; k < r->n_states; k++)
        memcpy(kd_optim_state(optim, k, &state), r->states[k], bytes);
    kd_optim_set_steps(optim, steps);
    kd_params_touch(to);
}

kd_status kd_checkpoint_load(kd_model *model, kd_optim *optim, const char *path, char **note)
{
    uint64_t steps = 0;
    if (note) *note = NULL;
    if (!model) return KD_E_INVALID;
    reading r = {.ctx = kd_model_ctx(model)};
    if (!optim || !path) return kd_ctx_fail(r.ctx, KD_E_INVALID, "kd_checkpoint_load: NULL");
    kd_status status = kd_file_open(r.ctx, path, &r.file);
    if (status) return status;
    r.path = kd_file_path(r.file);
    status = prepare(&r, model, optim, &steps);
    if (!status) status = read_all(&r, optim);
    if (!status) status = copy_note(&r, note);
    if (!status) adopt(&r, model, optim, steps);
    kd_params_destroy(r.params);
    for (size_t k = 0; k < MOST_STATES; k++) kd_ctx_free(r.ctx, r.states[k]);
    kd_ctx_free(r.ctx, r.values);
    kd_file_close(r.file);
    return status;
}
