/* SPDX-License-Identifier: MIT
 * model_file.c: reading a model from a safetensors file. First it is found out whose names the file
 * has. Then names and shapes are checked against the network. Then values are read. model_write.c
 * writes models. */
#include "model.h"

#include "../file/printable.h"
#include "head_transfer.h"
#include "tensor_names.h"
#include "position_tables.h"
#include "transformer.h"

#include <stdio.h>
#include <string.h>

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
    kd_ctx *ctx;
    kd_model *model;
    kd_file *file;
    kdi_tensors tensors;
    const kdi_names *names;  /* whose names the file has */
    kdi_spec spec, original; /* the network's, and what the file holds */
    kdi_head_choice head;    /* what becomes of the file's */
    bool other_head; /* the file's VGG head is of the other kind, so that all its layers are new */
    bool moved;      /* another size of picture or window: positions may be resized */
} reading;

/* The tensors of a parameter, one behind the other. */
typedef struct pieces {
    const kd_file_tensor *part[3];
    size_t n;
    bool fit;    /* the shape is the model's */
    bool resize; /* it is not, but positions can be resized */
} pieces;

/* [out,in,h,w] of a convolution for [out,in*h*w] of a dense layer. */
static bool same_dense(const kd_param_info *info, const kd_file_tensor *t)
{
    return info->file_shape.rank == 2 && t->rank == 4 && info->file_shape.dim[0] == t->shape[0] &&
           info->count == t->count;
}

static bool same_shape(const kd_param_info *info, const kd_file_tensor *t, size_t parts)
{
    if (info->file_shape.rank != t->rank) return false;
    for (int i = 0; i < t->rank; i++)
        if (info->file_shape.dim[i] !=
            (i == 0 && parts > 1 ? (int64_t)parts * t->shape[0] : t->shape[i]))
            return false;
    return true;
}

/* A counter of a batch norm: PyTorch before 0.4 wrote none, and it changes no result. */
static bool is_counter(const kd_param_info *info)
{
    return info->buffer && info->dtype == KD_I64;
}

static pieces find(const reading *r, const kd_param_info *info)
{
    pieces p = {.n = 0};
    p.n = kdi_names_find(r->names, &r->tensors, info->name, p.part);
    p.fit = p.n > 0;
    for (size_t k = 0; k < p.n && p.fit; k++)
        p.fit = (p.n == 1 || p.part[k]->shape[0] <= info->file_shape.dim[0]) &&
                same_shape(info, p.part[k], p.n);
    if (p.n == 1 && !p.fit)
        p.fit = (is_counter(info) && p.part[0]->rank == 1 && p.part[0]->count == 1) ||
                (kdi_names_convolve(r->names) && same_dense(info, p.part[0]));
    p.resize = p.n == 1 && !p.fit && r->moved &&
               kdi_positions_fit(&r->model->spec, info, p.part[0]->rank, p.part[0]->shape);
    return p;
}

/* Is it of the layer whose size is the number of classes? */
static bool is_head(const kd_model *m, const char *name)
{
    const char *part;
    for (size_t i = 0; (part = m->spec.family->head(&m->spec, i)); i++)
        if (!strcmp(part, name)) return true;
    return false;
}

/* Is it of a head that begins anew? */
static bool is_new(const reading *r, const char *name)
{
    if (r->head.fate != KDI_HEAD_NEW) return false;
    return is_head(r->model, name) || (r->other_head && !strncmp(name, "classifier.", 11));
}

/* What a training checkpoint holds beside the network. */
static bool is_state(const char *name)
{
    return !strncmp(name, "optimizer.", 10) || !strncmp(name, "ema.", 4) ||
           !strncmp(name, "extra.", 6);
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

/* Is a parameter read from this tensor? Also true if other parts of the parameter are missing. */
static bool is_read(const reading *r, const kd_file_tensor *t)
{
    char ours[KDI_NAME_SIZE];
    const kd_file_tensor *part[3];
    if (!kdi_names_ours(r->names, kdi_tensors_name(&r->tensors, t), ours)) return false;
    if (is_new(r, ours)) return true;
    if (!kd_params_find(r->model->params, ours)) return false;
    const size_t n = kdi_names_find(r->names, &r->tensors, ours, part);
    for (size_t k = 0; k < n; k++)
        if (part[k] == t) return true;
    return n == 0;
}

static void check_unexpected(const reading *r, misfits *f)
{
    const char *kind =
        kd_file_metadata_get(r->file, "libkd.kind"); /* "loop": kd_checkpoint_save's */
    const bool checkpoint =
        kd_file_metadata_get(r->file, "libkd.train") || (kind && !strcmp(kind, "loop"));
    for (size_t i = 0; i < kd_file_count(r->file); i++) {
        const char *name = kdi_tensors_name(&r->tensors, kd_file_at(r->file, i));
        if (is_read(r, kd_file_at(r->file, i))) continue;
        if ((checkpoint && is_state(name)) || kdi_names_derived(name)) continue;
        note(f, UNEXPECTED, name, "");
    }
}

/* Say what the reason may be if no tensor fits. */
static void hint(const reading *r, char *out, size_t size)
{
    static const char *const heads[] = {"gap", "fc4096"};
    const char *const path = kd_file_path(r->file), *of = strstr(path, "-of-");
    const bool vgg = r->spec.family == &kdi_family_vgg;
    const int dense = kdi_tensors_find(&r->tensors, "classifier.6.weight") ||
                      kdi_tensors_find(&r->tensors, "head.fc.weight");
    const bool known = dense || kdi_tensors_find(&r->tensors, "classifier.weight");
    *out = 0;
    if (vgg && known && dense != r->spec.head && !r->other_head)
        snprintf(out, size, " (the file's tensors are those of head=%s, the spec says head=%s)",
                 heads[dense], heads[r->spec.head]);
    else if (of && strstr(of, ".safetensors"))
        snprintf(out, size,
                 " (it looks like one of several shards: their index, "
                 "NAME.safetensors.index.json, opens all)");
}

static kd_status check_fit(const reading *r)
{
    const kd_model *m = r->model;
    misfits f = {.used = 0};
    char more[40] = "", why[160];
    for (size_t i = 0; i < kd_params_entries(m->params); i++) {
        const kd_param_info *info = kd_params_info(m->params, i);
        const bool left = is_new(r, info->name);
        const pieces p = find(r, info);
        if (p.n == 0 && !left && !is_counter(info)) note(&f, MISSING, info->name, "");
        if (p.n > 0 && !p.fit && !p.resize && !left) note_shape(&f, info, p.part[0]);
    }
    check_unexpected(r, &f);
    if (f.used == 0) return KD_OK;
    if (f.untold) snprintf(more, sizeof more, "; and %zu more", f.untold);
    hint(r, why, sizeof why);
    return kd_ctx_fail(r->ctx, KD_E_MISMATCH, "%s%s%s%s does not fit %s%s: %s%s",
                       kd_file_path(r->file), r->names ? " (names of " : "",
                       kdi_names_whose(r->names), r->names ? ")" : "", m->text, why, f.text, more);
}

static kd_status read_resized(const reading *r, const kd_param_info *info, const kd_file_tensor *t,
                              float *buffer)
{
    kd_model *m = r->model;
    float *old = kd_ctx_alloc(m->ctx, t->count, sizeof *old);
    kd_status status =
        old ? kd_file_read_f32(r->file, t, 0, t->count, old) : kd_ctx_memory_status(r->model->ctx);
    if (!status) status = kdi_positions_resize(m->ctx, &m->spec, info, t->shape, old, buffer);
    kd_ctx_free(m->ctx, old);
    return status ? status : kd_params_set(m->params, info, buffer);
}

/* Can kd_file_read_f32 read it? */
static bool is_real(kd_dtype dtype)
{
    return dtype == KD_F32 || dtype == KD_F16 || dtype == KD_BF16 || dtype == KD_F64;
}

/* A number of any type; 0 where it is none that a counter can be. */
static kd_status read_counter(const reading *r, const kd_file_tensor *t, int64_t *counter)
{
    float x = 0;
    *counter = 0;
    if (!is_real(t->dtype))
        return kd_file_read_i64(r->file, t, 0, 1, counter) == KD_E_IO ? KD_E_IO : KD_OK;
    const kd_status status = kd_file_read_f32(r->file, t, 0, 1, &x);
    if (!status && x >= 0 && x < 0x1p62f) *counter = (int64_t)x;
    return status;
}

/* Rows of the head in the order of the new task's classes. */
static kd_status reorder(const reading *r, const kd_param_info *info, float *rows)
{
    const size_t n = (size_t)info->file_shape.dim[0], row = info->count / n;
    float *old = kd_ctx_alloc(r->ctx, info->count, sizeof *old);
    if (!old) return kd_ctx_memory_status(r->model->ctx);
    memcpy(old, rows, info->count * sizeof *old);
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * row, old + (size_t)r->head.map[i] * row, row * sizeof *rows);
    kd_ctx_free(r->ctx, old);
    return KD_OK;
}

static kd_status read_entry(const reading *r, const kd_param_info *info, void *buffer)
{
    const pieces p = find(r, info);
    if (p.resize) return read_resized(r, info, p.part[0], buffer);
    if (!p.fit || is_new(r, info->name)) return KD_OK; /* allowed by check_fit */
    const size_t each = info->count / p.n;
    kd_status status = KD_OK;
    if (is_counter(info))
        status = read_counter(r, p.part[0], buffer);
    else
        for (size_t k = 0; k < p.n && !status; k++)
            status = kd_file_read_f32(r->file, p.part[k], 0, each, (float *)buffer + k * each);
    if (!status && r->head.map && is_head(r->model, info->name)) status = reorder(r, info, buffer);
    return status ? status : kd_params_set(r->model->params, info, buffer);
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
    void *buffer = kd_ctx_alloc(m->ctx, largest, sizeof(int64_t));
    if (!buffer) return kd_ctx_memory_status(r->model->ctx);
    for (size_t i = 0; i < kd_params_entries(m->params) && !status; i++)
        status = read_entry(r, kd_params_info(m->params, i), buffer);
    kd_ctx_free(m->ctx, buffer);
    return status ? status : kdi_model_read_metadata(m, r->file);
}

/* Refuse to make a network that is much larger than the file, before memory is taken. (Tensors that
 * are missing are listed by check_fit.) A new head may be larger than the file's by the number of
 * classes alone, and new positions by the number of pixels. Both numbers are the caller's. */
static kd_status check_size(const reading *r)
{
    kdi_spec old = r->spec;
    char why[160];
    uint64_t params, held = 0;
    old.classes = r->original.classes;
    memcpy(old.image, r->original.image, sizeof old.image);
    old.window = r->original.window;
    old.head = r->original.head;
    old.dense = r->original.dense;
    for (size_t i = 0; i < kd_file_count(r->file); i++)
        if (is_real(kd_file_at(r->file, i)->dtype)) held += kd_file_at(r->file, i)->count;
    const kd_status status = kdi_model_count(r->ctx, &old, &params);
    if (status || params / 2 <= held + 16384) return status;
    hint(r, why, sizeof why);
    return kd_ctx_fail(
        r->ctx, KD_E_MISMATCH, "%s: the model has %llu parameters, the file only %llu%s",
        kd_file_path(r->file), (unsigned long long)params, (unsigned long long)held, why);
}

/* There is no common form for the scales of 8-bit weights. */
static kd_status check_types(const reading *r)
{
    for (size_t i = 0; i < kd_file_count(r->file); i++) {
        const kd_file_tensor *t = kd_file_at(r->file, i);
        if (t->dtype < KD_F8_E5M2 || t->count == 0) continue;
        return kd_ctx_fail(r->ctx, KD_E_UNSUPPORTED,
                           "%s: '%s' is float8 (%s); weights are read as f32, f16, bf16 or f64: "
                           "convert them where they were made",
                           kd_file_path(r->file), kdi_show(t->name).text, kd_dtype_name(t->dtype));
    }
    return KD_OK;
}

/* How wide the file's hidden dense layers are; 0: it has none. */
static int64_t dense_of(const reading *r)
{
    const kd_file_tensor *t = kdi_tensors_find(&r->tensors, "classifier.0.weight");
    if (!t) t = kdi_tensors_find(&r->tensors, "pre_logits.fc1.weight");
    return t && t->rank >= 2 && t->shape[0] <= 65536 ? t->shape[0] : 0;
}

/* Complete spec and change by what the tensors say. */
static kd_status parse(const reading *r, const char *spec, const char *change, kdi_spec *out)
{
    char keys[96];
    const char *const own = kdi_names_keys(r->names);
    kd_status status = kdi_spec_parse(r->ctx, spec, own, change, out);
    const int64_t dense = status ? 0 : dense_of(r);
    if (status || out->family != &kdi_family_vgg || out->head != KDI_HEAD_FC4096 || dense < 1)
        return status;
    snprintf(keys, sizeof keys, "%s%sdense=%d", own ? own : "", own ? "," : "", (int)dense);
    return kdi_spec_parse(r->ctx, spec, keys, change, out);
}

/* Tables of relative positions are interpolated between squares alone. Between other sizes they stay
 * what they are, where every stage's windows do. */
static kd_status check_moved(const reading *r)
{
    const kdi_spec *from = &r->original, *to = &r->spec;
    char a[KDI_SIZE_TEXT], b[KDI_SIZE_TEXT];
    const bool squares = from->image[0] == from->image[1] && to->image[0] == to->image[1];
    if (!r->moved || squares || to->family != &kdi_family_swin || kdi_swin_same_windows(from, to))
        return KD_OK;
    return kd_ctx_fail(r->ctx, KD_E_UNSUPPORTED,
                       "%s: from image=%s to image=%s the windows change, and tables of relative "
                       "positions are interpolated for square pictures alone",
                       kd_file_path(r->file), kdi_size_text(from->image, a),
                       kdi_size_text(to->image, b));
}

/* Find out whose names the tensors have, under which prefix, and so what network it is. */
static kd_status identify(reading *r, const char *spec, const kd_load_opt *o)
{
    kd_status status = kdi_spec_parse(r->ctx, spec, NULL, NULL, &r->original);
    if (status) return status;
    const kdi_tensors prefixed = kdi_tensors_of(r->file);
    r->tensors = (kdi_tensors){.file = r->file};
    r->names = kdi_names_of(&r->tensors, &r->original);
    if (!r->names) {
        r->tensors = prefixed;
        r->names = kdi_names_of(&r->tensors, &r->original);
    }
    status = parse(r, spec, NULL, &r->original);
    if (!status) status = parse(r, spec, o->change, &r->spec);
    if (status) return status;
    r->moved =
        !kdi_same_size(r->spec.image, r->original.image) || r->spec.window != r->original.window;
    status = check_moved(r);
    if (status) return status;
    r->other_head = r->spec.head != r->original.head;
    return kdi_head_decide(r->ctx, r->file, o, &r->original, &r->spec, &r->head);
}

/* A prefix counts only if names without it are known. */
static void judge_prefix(reading *r)
{
    const kd_params *params = r->model->params;
    const kd_file_tensor *part[3];
    size_t found = 0;
    if (!*r->tensors.prefix) return;
    for (size_t i = 0; i < kd_params_entries(params); i++)
        found += kdi_names_find(r->names, &r->tensors, kd_params_info(params, i)->name, part) > 0;
    if (found)
        kd_ctx_log(r->ctx, KD_LOG_INFO,
                   "%s: every tensor's name begins with '%s', which is left out",
                   kd_file_path(r->file), r->tensors.prefix);
    else
        *r->tensors.prefix = 0;
}

static kd_status load(reading *r, const char *spec, const kd_load_opt *o)
{
    kd_status status = identify(r, spec, o);
    if (status == KD_E_INVALID)
        return kd_ctx_fail(r->ctx, status, "%s: %s", kd_file_path(r->file), kd_ctx_error(r->ctx));
    char size[KDI_SIZE_TEXT];
    const char *differs = status ? NULL : kdi_names_differ(r->names, &r->spec);
    if (differs)
        kd_ctx_log(r->ctx, KD_LOG_WARN, "%s: at image=%s %s's network computes otherwise: %s",
                   kd_file_path(r->file), kdi_size_text(r->spec.image, size),
                   kdi_names_whose(r->names), differs);
    if (!status) status = check_types(r);
    if (!status) status = check_size(r);
    if (!status) status = kdi_model_create(r->ctx, &r->spec, o->seed, &r->model);
    if (status) return status;
    r->model->new_head = r->head.fate == KDI_HEAD_NEW;
    judge_prefix(r);
    status = read_all(r);
    if (status) return status;
    r->model->classes = r->head.names;
    r->head.names = (kdi_classes){0};
    return KD_OK;
}

kd_status kd_model_load_file(kd_ctx *ctx, kd_file *file, const kd_load_opt *opt, kd_model **out)
{
    kd_load_opt o;
    reading r = {.ctx = ctx, .file = file};
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!file || !out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_model_load_file: NULL");
    kd_status status = kd_options(ctx, "kd_load_opt", &o, sizeof o, opt);
    if (status) return status;
    const char *spec = o.spec ? o.spec : kd_file_metadata_get(file, "libkd.spec");
    if (!spec)
        return kd_ctx_fail(ctx, KD_E_FORMAT,
                           "%s does not say which network it holds: a spec is needed",
                           kd_file_path(file));
    status = load(&r, spec, &o);
    kdi_head_free(ctx, &r.head);
    if (status)
        kd_model_destroy(r.model);
    else
        *out = r.model;
    return status;
}

kd_status kd_model_load_memory(kd_ctx *ctx, const void *bytes, size_t size, const kd_load_opt *opt,
                               kd_model **out)
{
    kd_file *file;
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!bytes || !out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_model_load_memory: NULL");
    kd_status status = kd_file_from_memory(ctx, bytes, size, NULL, &file);
    if (status) return status;
    status = kd_model_load_file(ctx, file, opt, out);
    kd_file_close(file);
    return status;
}

kd_status kd_model_load_as(kd_ctx *ctx, const char *path, const kd_load_opt *opt, kd_model **out)
{
    kd_file *file;
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!path || !out) return kd_ctx_fail(ctx, KD_E_INVALID, "loading a network: NULL");
    kd_status status = kd_file_open(ctx, path, &file);
    if (!status) {
        status = kd_model_load_file(ctx, file, opt, out);
        kd_file_close(file);
    }
    return kdi_limit_for(ctx, status, "the network in %s", path);
}

kd_status kd_model_load(kd_ctx *ctx, const char *path, const char *spec, kd_model **out)
{
    const kd_load_opt opt = {.struct_size = sizeof opt, .spec = spec};
    return kd_model_load_as(ctx, path, &opt, out);
}

int kd_model_head_kept(const kd_model *m)
{
    return m && !m->new_head;
}
