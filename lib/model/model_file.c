/* SPDX-License-Identifier: MIT
 * model_file.c: models in safetensors files: PyTorch's names, shapes and layouts; what the network
 * is stands in the metadata, so that a file describes itself.
 *
 *   libkd.spec             the complete spec
 *   libkd.mean, libkd.std  the normalisation, numbers joined by commas
 *   libkd.version          of the writer */
#include "model.h"

#include "../file/number.h"
#include "names.h"
#include "positions.h"

#include <stdio.h>
#include <string.h>

/* ---- writing --------------------------------------------------------------------------------- */

static kd_status add_numbers(kd_writer *w, const char *key, const float *x, int n)
{
    char text[KDI_MAX_CHANNELS * KDI_NUMBER_SIZE] = "";
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        char number[KDI_NUMBER_SIZE];
        kdi_print_float(number, x[i]);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "," : "", number);
    }
    return kd_writer_metadata(w, key, text);
}

/* One entry at a time is in the file's layout: `room` holds the largest. */
typedef struct save_state {
    const kd_params *params;
    float *room;
    const kd_param_info *in_room;
} save_state;

typedef struct save_entry {
    save_state *state;
    const kd_param_info *info;
} save_entry;

static kd_status fill(void *user, size_t first, size_t count, void *out)
{
    const save_entry *e = user;
    save_state *s = e->state;
    if (s->in_room != e->info) {
        const kd_status status = kd_params_get(s->params, e->info, 0, s->room);
        if (status) return status;
        s->in_room = e->info;
    }
    const size_t size = kd_dtype_size(e->info->dtype);
    memcpy(out, (const char *)s->room + first * size, count * size);
    return KD_OK;
}

static kd_status write_all(const kd_model *m, kd_writer *w, save_state *state, save_entry *entries,
                           kd_dtype dtype)
{
    kd_writer_metadata(w, "format", "pt");
    kd_writer_metadata(w, "libkd.version", kd_version());
    kd_writer_metadata(w, "libkd.spec", m->text);
    if (m->normalized) {
        add_numbers(w, "libkd.mean", m->mean, m->spec.channels);
        add_numbers(w, "libkd.std", m->std, m->spec.channels);
    }
    for (size_t i = 0; i < kd_params_entries(state->params); i++) {
        const kd_param_info *info = kd_params_info(state->params, i);
        entries[i] = (save_entry){state, info};
        const kd_status status =
            kd_writer_tensor_fn(w, info->name, info->dtype == KD_F32 ? dtype : info->dtype,
                                info->file_shape.rank, info->file_shape.dim, fill, &entries[i]);
        if (status) {
            kd_writer_abandon(w);
            return status;
        }
    }
    return kd_writer_finish(w);
}

kd_status kd_model_save_params(const kd_model *m, const kd_params *params, const char *path,
                               kd_dtype dtype)
{
    kd_writer *w;
    size_t largest = 1;
    if (dtype != KD_F32 && dtype != KD_F16 && dtype != KD_BF16)
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "weights are saved as f32, f16 or bf16, not %s",
                           kd_dtype_name(dtype));
    for (size_t i = 0; i < kd_params_entries(params); i++)
        if (kd_params_info(params, i)->count > largest) largest = kd_params_info(params, i)->count;
    save_state state = {.params = params, .room = kd_ctx_alloc(m->ctx, largest, sizeof(int64_t))};
    save_entry *entries = kd_ctx_alloc(m->ctx, kd_params_entries(params) + 1, sizeof *entries);
    kd_status status = state.room && entries ? kd_writer_create(m->ctx, path, &w) : KD_E_NOMEM;
    if (!status) status = write_all(m, w, &state, entries, dtype);
    kd_ctx_free(m->ctx, state.room);
    kd_ctx_free(m->ctx, entries);
    return status;
}

kd_status kd_model_save_as(const kd_model *m, const char *path, kd_dtype dtype)
{
    return kd_model_save_params(m, m->params, path, dtype);
}

kd_status kd_model_save(const kd_model *m, const char *path)
{
    return kd_model_save_as(m, path, KD_F32);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What does not fit, collected into one error text: some of each kind. */
typedef enum misfit { MISSING, SHAPE, UNEXPECTED, MISFITS } misfit;
typedef struct misfits {
    char text[900];
    size_t used, count[MISFITS], untold;
} misfits;

static void note(misfits *f, misfit kind, const char *name, const char *more)
{
    static const char *const what[MISFITS] = {"missing", "shape:", "unexpected"};
    if (f->count[kind]++ >= 4 || f->used >= sizeof f->text)
        f->untold++;
    else
        f->used += (size_t)snprintf(f->text + f->used, sizeof f->text - f->used, "%s%s '%.60s'%s",
                                    f->used ? "; " : "", what[kind], name, more);
}

/* A file that is read for a model. */
typedef struct reading {
    kd_model *model;
    kd_file *file;
    const kdi_names *names; /* whose names the file has */
    bool new_head;          /* another number of classes: what the file has of the head is left */
    bool moved;             /* another size of picture or window: positions may be resized */
} reading;

/* The tensors of a parameter, one behind the other. */
typedef struct pieces {
    const kd_file_tensor *part[3];
    size_t n;
    bool fit;    /* the shape is the model's */
    bool resize; /* it is not, but positions can be resized */
} pieces;

static bool same_shape(const kd_param_info *info, const kd_file_tensor *t, size_t parts)
{
    if (info->file_shape.rank != t->rank) return false;
    for (int i = 0; i < t->rank; i++)
        if (info->file_shape.dim[i] !=
            (i == 0 && parts > 1 ? (int64_t)parts * t->shape[0] : t->shape[i]))
            return false;
    return true;
}

static pieces find(const reading *r, const kd_param_info *info)
{
    pieces p = {.n = 0};
    p.n = kdi_names_find(r->names, r->file, info->name, p.part);
    p.fit = p.n > 0;
    for (size_t k = 0; k < p.n && p.fit; k++)
        p.fit = (p.n == 1 || p.part[k]->shape[0] <= info->file_shape.dim[0]) &&
                same_shape(info, p.part[k], p.n);
    p.resize = p.n == 1 && !p.fit && r->moved &&
               kdi_positions_fit(&r->model->spec, info, p.part[0]->rank, p.part[0]->shape);
    return p;
}

static bool is_head(const kd_model *m, const char *name)
{
    const char *part;
    for (size_t i = 0; (part = m->spec.family->head(&m->spec, i)); i++)
        if (!strcmp(part, name)) return true;
    return false;
}

/* PyTorch before 0.4 wrote no counters, and a counter changes no result. */
static bool optional(const kd_param_info *info)
{
    return info->buffer && info->dtype == KD_I64;
}

/* What a training checkpoint holds beside the network. */
static bool is_state(const char *name)
{
    return !strncmp(name, "optimizer.", 10) || !strncmp(name, "ema.", 4);
}

static void print_shape(char *out, size_t size, int rank, const int64_t *dim)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%lld", i ? "," : "", (long long)dim[i]);
    if (used < size) snprintf(out + used, size - used, "]");
}

static void note_shape(misfits *f, const kd_param_info *info, const kd_file_tensor *t)
{
    char has[96], wants[96], more[224];
    print_shape(has, sizeof has, t->rank, t->shape);
    print_shape(wants, sizeof wants, info->file_shape.rank, info->file_shape.dim);
    snprintf(more, sizeof more, " is %s, the model wants %s", has, wants);
    note(f, SHAPE, info->name, more);
}

/* Is it what a parameter is read from? Where one is missing, its other parts are no surprise. */
static bool is_read(const reading *r, const kd_file_tensor *t)
{
    char ours[KDI_NAME_SIZE];
    const kd_file_tensor *part[3];
    if (!kdi_names_ours(r->names, t->name, ours) || !kd_params_find(r->model->params, ours))
        return false;
    const size_t n = kdi_names_find(r->names, r->file, ours, part);
    for (size_t k = 0; k < n; k++)
        if (part[k] == t) return true;
    return n == 0;
}

static void check_unexpected(const reading *r, misfits *f)
{
    const bool checkpoint = kd_file_metadata_get(r->file, "libkd.train") != NULL;
    for (size_t i = 0; i < kd_file_count(r->file); i++) {
        const char *name = kd_file_at(r->file, i)->name;
        if (is_read(r, kd_file_at(r->file, i))) continue;
        if ((checkpoint && is_state(name)) || kdi_names_derived(name)) continue;
        note(f, UNEXPECTED, name, "");
    }
}

static kd_status check_fit(const reading *r)
{
    const kd_model *m = r->model;
    misfits f = {.used = 0};
    char more[40] = "";
    for (size_t i = 0; i < kd_params_entries(m->params); i++) {
        const kd_param_info *info = kd_params_info(m->params, i);
        const bool left = optional(info) || (r->new_head && is_head(m, info->name));
        const pieces p = find(r, info);
        if (p.n == 0 && !left) note(&f, MISSING, info->name, "");
        if (p.n > 0 && !p.fit && !p.resize && !(r->new_head && is_head(m, info->name)))
            note_shape(&f, info, p.part[0]);
    }
    check_unexpected(r, &f);
    if (f.used == 0) return KD_OK;
    if (f.untold) snprintf(more, sizeof more, "; and %zu more", f.untold);
    return kd_ctx_fail(m->ctx, KD_E_MISMATCH, "%s%s%s%s does not fit %s: %s%s",
                       kd_file_path(r->file), r->names ? " (names of " : "",
                       kdi_names_whose(r->names), r->names ? ")" : "", m->text, f.text, more);
}

static kd_status read_resized(const reading *r, const kd_param_info *info, const kd_file_tensor *t,
                              float *room)
{
    kd_model *m = r->model;
    float *old = kd_ctx_alloc(m->ctx, t->count, sizeof *old);
    kd_status status = old ? kd_file_read_f32(r->file, t, 0, t->count, old) : KD_E_NOMEM;
    if (!status) status = kdi_positions_resize(m->ctx, &m->spec, info, t->shape, old, room);
    kd_ctx_free(m->ctx, old);
    return status ? status : kd_params_set(m->params, info, room);
}

static kd_status read_entry(const reading *r, const kd_param_info *info, void *room)
{
    const pieces p = find(r, info);
    if (p.resize) return read_resized(r, info, p.part[0], room);
    if (!p.fit) return KD_OK; /* allowed by check_fit */
    const size_t each = info->count / p.n;
    kd_status status = KD_OK;
    for (size_t k = 0; k < p.n && !status; k++)
        status = info->dtype == KD_I64
                     ? kd_file_read_i64(r->file, p.part[k], 0, each, (int64_t *)room + k * each)
                     : kd_file_read_f32(r->file, p.part[k], 0, each, (float *)room + k * each);
    return status ? status : kd_params_set(r->model->params, info, room);
}

static kd_status read_numbers(kd_model *m, const kd_file *file, const char *key, float *out)
{
    const char *text = kd_file_metadata_get(file, key);
    for (int i = 0; i < m->spec.channels; i++) {
        const size_t length = text ? strcspn(text, ",") : 0;
        double number;
        if (!text || !kdi_parse_double(text, length, &number))
            return kd_ctx_fail(m->ctx, KD_E_FORMAT, "%s: '%s' is not %d numbers",
                               kd_file_path(file), key, m->spec.channels);
        out[i] = (float)number;
        text = text[length] ? text + length + 1 : NULL;
    }
    return KD_OK;
}

static kd_status read_normalization(kd_model *m, const kd_file *file)
{
    float mean[KDI_MAX_CHANNELS], std[KDI_MAX_CHANNELS];
    if (!kd_file_metadata_get(file, "libkd.mean")) return KD_OK;
    kd_status status = read_numbers(m, file, "libkd.mean", mean);
    if (!status) status = read_numbers(m, file, "libkd.std", std);
    return status ? status : kd_model_set_normalization(m, mean, std);
}

static kd_status read_all(const reading *r)
{
    kd_model *m = r->model;
    size_t largest = 1;
    kd_status status = check_fit(r);
    if (status) return status;
    for (size_t i = 0; i < kd_params_entries(m->params); i++)
        if (kd_params_info(m->params, i)->count > largest)
            largest = kd_params_info(m->params, i)->count;
    void *room = kd_ctx_alloc(m->ctx, largest, sizeof(int64_t));
    if (!room) return KD_E_NOMEM;
    for (size_t i = 0; i < kd_params_entries(m->params) && !status; i++)
        status = read_entry(r, kd_params_info(m->params, i), room);
    kd_ctx_free(m->ctx, room);
    return status ? status : read_normalization(m, r->file);
}

/* Can kd_file_read_f32 read it? */
static bool is_real(kd_dtype dtype)
{
    return dtype == KD_F32 || dtype == KD_F16 || dtype == KD_BF16 || dtype == KD_F64;
}

/* No network is made that is much larger than the file; what is merely missing, check_fit lists. A
 * new head has as many inputs as the file's, and new positions as many channels: only the numbers
 * of classes and pixels, which are the caller's, make it larger. */
static kd_status check_size(kd_ctx *ctx, const kd_file *file, const kdi_spec *spec,
                            const kdi_spec *original)
{
    kdi_spec old = *spec;
    uint64_t params, held = 0;
    old.classes = original->classes;
    old.image = original->image;
    old.window = original->window;
    for (size_t i = 0; i < kd_file_count(file); i++)
        if (is_real(kd_file_at(file, i)->dtype)) held += kd_file_at(file, i)->count;
    const kd_status status = kdi_model_count(ctx, &old, &params);
    if (status || params / 2 <= held + 16384) return status;
    return kd_ctx_fail(ctx, KD_E_MISMATCH, "%s: the model has %llu parameters, the file only %llu",
                       kd_file_path(file), (unsigned long long)params, (unsigned long long)held);
}

kd_status kdi_model_from_file(kd_ctx *ctx, kd_file *file, const char *spec, const char *change,
                              uint64_t seed, kd_model **out)
{
    kdi_spec s, original;
    reading r = {.file = file};
    *out = NULL;
    if (!spec) spec = kd_file_metadata_get(file, "libkd.spec");
    if (!spec)
        return kd_ctx_fail(ctx, KD_E_FORMAT,
                           "%s does not say which network it holds: name it (--model SPEC)",
                           kd_file_path(file));
    kd_status status = kdi_spec_parse(ctx, spec, NULL, NULL, &original);
    if (!status) {
        r.names = kdi_names_of(file, &original);
        const char *const keys = kdi_names_keys(r.names);
        if (keys) status = kdi_spec_parse(ctx, spec, keys, NULL, &original);
        if (!status) status = kdi_spec_parse(ctx, spec, keys, change, &s);
    }
    if (status) return kd_ctx_fail(ctx, status, "%s: %s", kd_file_path(file), kd_ctx_error(ctx));
    r.new_head = s.classes != original.classes;
    r.moved = s.image != original.image || s.window != original.window;
    if (kdi_names_differ(r.names, &s))
        kd_ctx_log(
            ctx, KD_LOG_WARN,
            "%s: at image=%d windows of %d do not divide every map; %s pads such a map before "
            "shifting it, timm and libkd after: the numbers differ a little",
            kd_file_path(file), s.image, s.window, kdi_names_whose(r.names));
    status = check_size(ctx, file, &s, &original);
    if (!status) status = kdi_model_create(ctx, &s, seed, &r.model);
    if (!status) status = read_all(&r);
    if (status)
        kd_model_destroy(r.model);
    else
        *out = r.model;
    return status;
}

kd_status kd_model_load_as(kd_ctx *ctx, const char *path, const char *spec, const char *change,
                           uint64_t seed, kd_model **out)
{
    kd_file *file;
    if (!ctx || !path || !out) return KD_E_INVALID;
    *out = NULL;
    kd_status status = kd_file_open(ctx, path, &file);
    if (status) return status;
    status = kdi_model_from_file(ctx, file, spec, change, seed, out);
    kd_file_close(file);
    return status;
}

kd_status kd_model_load(kd_ctx *ctx, const char *path, const char *spec, kd_model **out)
{
    return kd_model_load_as(ctx, path, spec, NULL, 0, out);
}
