/* SPDX-License-Identifier: MIT
 * checkpoint.c: all a resume needs, in one safetensors file: the network under its own names, so
 * that a checkpoint is also a model file; "optimizer.STATE.NAME" and "ema.NAME" beside it; and in
 * the metadata
 *
 *   libkd.kind     "checkpoint"
 *   libkd.run      what must be the same for a resume: spec, data, options, teachers
 *   libkd.train    a JSON object: epoch, batch, step, seconds, and the sums of the epoch so far */
#include "train.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- what must agree ------------------------------------------------------------------------- */

/* 64-bit FNV-1a, four bytes at a time, over x [n] after what made h. */
static uint64_t hash(uint64_t h, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        h = (h ^ bits) * 0x100000001B3u;
    }
    return h;
}

static const uint64_t HASH_OF_NOTHING = 0xCBF29CE484222325u;

static uint64_t weights_hash(kd_model *m)
{
    kd_params *p = kd_model_params(m);
    return hash(HASH_OF_NOTHING, kd_params_values(p), kd_params_flat_count(p));
}

/* How a batch is cut is a part of the result, too, where it is cut. */
static void print_options(kd_json *j, const kd_distill_opt *o, size_t micro_batch)
{
    const kd_train_opt *t = o->train;
    kd_json_integer(j, "epochs", t->budget_seconds > 0 ? 0 : (int64_t)t->epochs);
    kd_json_integer(j, "batch", (int64_t)t->batch);
    if (micro_batch < t->batch) kd_json_integer(j, "micro_batch", (int64_t)micro_batch);
    kd_json_integer(j, "accumulate", (int64_t)t->accumulate);
    kd_json_string(j, "optimizer", kd_optimizer_name(t->optimizer));
    kd_json_float(j, "lr", t->lr);
    kd_json_float(j, "momentum", t->momentum);
    kd_json_bool(j, "nesterov", t->nesterov);
    kd_json_number(j, "beta1", t->beta1);
    kd_json_number(j, "beta2", t->beta2);
    kd_json_float(j, "eps", t->eps);
    kd_json_float(j, "layer_decay", t->layer_decay);
    kd_json_float(j, "weight_decay", t->weight_decay);
    kd_json_bool(j, "decay_all", t->decay_all);
    kd_json_string(j, "schedule", kd_schedule_name(t->schedule));
    kd_json_float(j, "warmup", t->warmup);
    kd_json_float(j, "min_lr", t->min_lr);
    kd_json_float(j, "label_smoothing", t->label_smoothing);
    kd_json_float(j, "clip", t->clip);
    kd_json_float(j, "ema", t->ema);
    kd_json_string(j, "augment", t->augment);
    kd_json_integer(j, "seed", (int64_t)t->seed);
    kd_json_integer(j, "max_steps", (int64_t)t->max_steps);
    kd_json_number(j, "budget_seconds", t->budget_seconds);
    kd_json_integer(j, "dev_count", (int64_t)t->dev_count);
    if (o->n_teachers == 0) return;
    kd_json_string(j, "method", kd_method_name(o->method));
    kd_json_float(j, "temperature", o->temperature);
    kd_json_float(j, "hard", o->hard);
    kd_json_float(j, "soft", o->soft);
    kd_json_float(j, "alpha", o->alpha);
    kd_json_float(j, "beta", o->beta);
    kd_json_float(j, "dkd_warmup", o->dkd_warmup);
}

static void hex(char out[17], uint64_t x)
{
    snprintf(out, 17, "%016llx", (unsigned long long)x);
}

/* Only of a normalisation that is not the data's. */
static void print_normalization(kd_json *j, const char *key, const kd_model *m,
                                const kd_data_info *info)
{
    char text[17];
    const float *const mean = kd_model_mean(m), *const std = kd_model_std(m);
    const size_t n = kd_model_channels(m), bytes = n * sizeof *mean;
    if (!mean ||
        (n == info->channels && !memcmp(mean, info->mean, bytes) && !memcmp(std, info->std, bytes)))
        return;
    hex(text, hash(hash(HASH_OF_NOTHING, mean, n), std, n));
    kd_json_string(j, key, text);
}

kd_status kdt_describe(kdt_run *run)
{
    kd_json *j;
    uint64_t sum;
    char text[17];
    const kd_data_info *info = kd_dataset_info(run->data);
    kd_status status = kd_dataset_checksum(run->data, &sum);
    if (!status) status = kd_json_create(run->ctx, 0, &j);
    if (status) return status;
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "spec", kd_model_spec(run->model));
    kd_json_string(j, "data", info->name);
    hex(text, sum);
    kd_json_string(j, "data_checksum", text);
    print_normalization(j, "normalization_hash", run->model, info);
    print_options(j, &run->opt, kd_plan_batch(run->plan));
    for (size_t t = 0; t < run->opt.n_teachers; t++) {
        char key[48];
        snprintf(key, sizeof key, "teacher%zu", t);
        kd_json_string(j, key, kd_model_spec(run->opt.teachers[t]));
        snprintf(key, sizeof key, "teacher%zu_hash", t);
        hex(text, weights_hash(run->opt.teachers[t]));
        kd_json_string(j, key, text);
        snprintf(key, sizeof key, "teacher%zu_normalization_hash", t);
        print_normalization(j, key, run->opt.teachers[t], info);
        snprintf(key, sizeof key, "teacher%zu_weight", t);
        kd_json_float(j, key, run->opt.teacher_weights ? run->opt.teacher_weights[t] : 0);
    }
    kd_json_object_end(j);
    const char *description;
    size_t size;
    status = kd_json_text(j, &description, &size);
    if (!status && size >= sizeof run->description)
        status = kd_ctx_fail(run->ctx, KD_E_LIMIT, "the run's description is too long");
    if (!status) memcpy(run->description, description, size + 1);
    kd_json_destroy(j);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* One array of the file: an entry of the parameters, of the averages, or of a flat state. */
typedef struct piece {
    struct saver *saver;
    const kd_param_info *info;
    const kd_params *params; /* or: */
    const float *flat;
} piece;

typedef struct saver {
    kd_writer *w;
    void *room; /* [largest entry]: in the file's layout */
    const piece *in_room;
    piece *pieces;
    size_t n_pieces;
} saver;

static kd_status fill(void *user, size_t first, size_t count, void *out)
{
    const piece *p = user;
    saver *s = p->saver;
    if (s->in_room != p) {
        if (p->params) {
            const kd_status status = kd_params_get(p->params, p->info, 0, s->room);
            if (status) return status;
        } else {
            kd_params_pack(p->info, p->flat, s->room);
        }
        s->in_room = p;
    }
    const size_t size = kd_dtype_size(p->info->dtype);
    memcpy(out, (const char *)s->room + first * size, count * size);
    return KD_OK;
}

static void add(saver *s, const char *prefix, const kd_param_info *info, const kd_params *params,
                const float *flat)
{
    char name[512];
    piece *p = &s->pieces[s->n_pieces++];
    *p = (piece){s, info, params, flat};
    snprintf(name, sizeof name, "%s%s", prefix, info->name);
    kd_writer_tensor_fn(s->w, name, info->dtype, info->file_shape.rank, info->file_shape.dim, fill,
                        p);
}

static void add_all(kdt_run *run, saver *s)
{
    const kd_params *params = kd_model_params(run->model);
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        const char *state;
        const float *flat;
        add(s, "", info, params, NULL);
        if (run->ema) add(s, "ema.", info, run->ema, NULL);
        for (size_t k = 0; !info->buffer && (flat = kd_optim_state(run->optim, k, &state)); k++) {
            char prefix[64];
            snprintf(prefix, sizeof prefix, "optimizer.%s.", state);
            add(s, prefix, info, NULL, flat);
        }
    }
}

static void print_times(kd_json *j, const char *prefix, const kd_times *t)
{
    const double values[] = {t->data, t->teacher, t->forward, t->loss, t->backward, t->optimizer};
    for (int i = 0; i < 6; i++) {
        char key[48];
        snprintf(key, sizeof key, "%s%d", prefix, i);
        kd_json_number(j, key, values[i]);
    }
}

static kd_status add_state(kdt_run *run, kd_writer *w)
{
    kd_json *j;
    const char *text;
    kd_status status = kd_json_create(run->ctx, 0, &j);
    if (status) return status;
    const kdt_sums *s = &run->sums;
    kd_json_object_begin(j, NULL);
    kd_json_integer(j, "epoch", (int64_t)run->epoch);
    kd_json_integer(j, "batch", (int64_t)run->batch);
    kd_json_integer(j, "step", (int64_t)run->step);
    kd_json_integer(j, "optimizer_steps", (int64_t)kd_optim_steps(run->optim));
    kd_json_integer(j, "seed", (int64_t)run->train.seed);
    kd_json_number(j, "seconds", run->seconds);
    kd_json_integer(j, "images", (int64_t)run->images);
    kd_json_number(j, "last_loss", run->last_loss);
    kd_json_number(j, "last_accuracy", run->last_accuracy);
    print_times(j, "times", &run->times);
    kd_json_number(j, "sum_loss", s->loss);
    kd_json_integer(j, "sum_images", (int64_t)s->images);
    kd_json_integer(j, "sum_correct", (int64_t)s->correct);
    kd_json_integer(j, "sum_batches", (int64_t)s->batches);
    kd_json_number(j, "sum_seconds", s->seconds);
    print_times(j, "sum_times", &s->times);
    kd_json_object_end(j);
    status = kd_json_text(j, &text, NULL);
    if (!status) status = kd_writer_metadata(w, "libkd.train", text);
    kd_json_destroy(j);
    return status;
}

/* x [n], numbers joined by commas, as kd_model_save has it. */
static kd_status add_numbers(const kdt_run *run, kd_writer *w, const char *key, const float *x)
{
    kd_json *j;
    const char *text;
    char numbers[1600]; /* of 64 channels at most */
    size_t size;
    kd_status status = kd_json_create(run->ctx, 0, &j);
    if (status) return status;
    kd_json_array_begin(j, NULL);
    for (size_t i = 0; i < kd_model_channels(run->model); i++) kd_json_float(j, NULL, x[i]);
    kd_json_array_end(j);
    status = kd_json_text(j, &text, &size);
    if (!status) snprintf(numbers, sizeof numbers, "%.*s", (int)size - 2, text + 1);
    if (!status) status = kd_writer_metadata(w, key, numbers);
    kd_json_destroy(j);
    return status;
}

static void path_of(const kdt_run *run, char *out, size_t size)
{
    snprintf(out, size, "%s/checkpoint.safetensors", run->train.out);
}

kd_status kdt_checkpoint_save(kdt_run *run)
{
    char path[4096];
    size_t largest = 1;
    const kd_params *params = kd_model_params(run->model);
    const size_t entries = kd_params_entries(params);
    for (size_t i = 0; i < entries; i++)
        if (kd_params_info(params, i)->count > largest) largest = kd_params_info(params, i)->count;
    saver s = {.room = kd_ctx_alloc(run->ctx, largest, sizeof(int64_t)),
               .pieces = kd_ctx_alloc(run->ctx, 4 * entries + 1, sizeof(piece))};
    path_of(run, path, sizeof path);
    kd_status status = s.room && s.pieces ? kd_writer_create(run->ctx, path, &s.w) : KD_E_NOMEM;
    if (!status) {
        kd_writer_metadata(s.w, "libkd.kind", "checkpoint");
        kd_writer_metadata(s.w, "libkd.version", kd_version());
        kd_writer_metadata(s.w, "libkd.spec", kd_model_spec(run->model));
        kd_writer_metadata(s.w, "libkd.run", run->description);
        add_all(run, &s);
        status = add_numbers(run, s.w, "libkd.mean", kd_model_mean(run->model));
        if (!status) status = add_numbers(run, s.w, "libkd.std", kd_model_std(run->model));
        if (!status) status = add_state(run, s.w);
        if (status)
            kd_writer_abandon(s.w);
        else
            status = kd_writer_finish(s.w);
    }
    kd_ctx_free(run->ctx, s.room);
    kd_ctx_free(run->ctx, s.pieces);
    run->saved_at = kdt_seconds();
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static kd_status damaged(kdt_run *run, const char *path, const char *what)
{
    return kd_ctx_fail(run->ctx, KD_E_FORMAT, "%s: '%s' is missing or does not fit", path, what);
}

/* The first key whose value differs, for the error text. */
static kd_status check_same(kdt_run *run, kd_file *file)
{
    const char *was = kd_file_metadata_get(file, "libkd.run");
    if (!was) return damaged(run, kd_file_path(file), "libkd.run");
    if (!strcmp(was, run->description)) return KD_OK;
    size_t i = 0, key = 0;
    while (was[i] && was[i] == run->description[i]) {
        if (was[i] == ',') key = i + 1;
        i++;
    }
    const int a = (int)strcspn(was + key, ",}"), b = (int)strcspn(run->description + key, ",}");
    return kd_ctx_fail(
        run->ctx, KD_E_MISMATCH,
        "%s belongs to another run: it says %.*s, this run %.*s (leave --resume out to "
        "start anew)",
        kd_file_path(file), a > 80 ? 80 : a, was + key, b > 80 ? 80 : b, run->description + key);
}

static bool whole(const kd_json_object *o, const char *key, uint64_t *out)
{
    int64_t n;
    if (!kd_json_get_integer(o, key, &n) || n < 0) return false;
    *out = (uint64_t)n;
    return true;
}

static bool read_times(const kd_json_object *o, const char *prefix, kd_times *t)
{
    double *const values[] = {&t->data, &t->teacher,  &t->forward,
                              &t->loss, &t->backward, &t->optimizer};
    for (int i = 0; i < 6; i++) {
        char key[48];
        snprintf(key, sizeof key, "%s%d", prefix, i);
        if (!kd_json_get_number(o, key, values[i])) return false;
    }
    return true;
}

/* Numbers that were not finite are null in JSON: a loss that was one is one again. */
static double number_or_nan(const kd_json_object *o, const char *key)
{
    double x;
    return kd_json_get_number(o, key, &x) ? x : (double)NAN;
}

static bool read_counters(kdt_run *run, const kd_json_object *o)
{
    uint64_t epoch, batch, step, steps;
    kdt_sums *s = &run->sums;
    if (!whole(o, "epoch", &epoch) || !whole(o, "batch", &batch) || !whole(o, "step", &step) ||
        !whole(o, "optimizer_steps", &steps) || !whole(o, "images", &run->images) ||
        !kd_json_get_number(o, "seconds", &run->seconds) || !whole(o, "sum_images", &s->images) ||
        !whole(o, "sum_correct", &s->correct) || !whole(o, "sum_batches", &s->batches) ||
        !kd_json_get_number(o, "sum_seconds", &s->seconds) ||
        !read_times(o, "times", &run->times) || !read_times(o, "sum_times", &s->times))
        return false;
    if (batch >= run->batches || epoch > UINT32_MAX || step > SIZE_MAX / 2) return false;
    if (!(run->seconds >= 0 && run->seconds < 1e12)) return false;
    run->epoch = (size_t)epoch;
    run->batch = (size_t)batch;
    run->step = (size_t)step;
    run->last_loss = number_or_nan(o, "last_loss");
    run->last_accuracy = number_or_nan(o, "last_accuracy");
    s->loss = number_or_nan(o, "sum_loss");
    kd_optim_set_steps(run->optim, steps);
    return true;
}

static kd_status read_state(kdt_run *run, kd_file *file)
{
    const char *text = kd_file_metadata_get(file, "libkd.train");
    kd_json_object *o;
    if (!text) return damaged(run, kd_file_path(file), "libkd.train");
    kd_status status = kd_json_parse(run->ctx, text, strlen(text), &o);
    if (status) return status;
    if (!read_counters(run, o)) status = damaged(run, kd_file_path(file), "libkd.train");
    kd_json_object_destroy(o);
    return status;
}

/* "PREFIXname" into room, in the file's layout. */
static kd_status read_tensor(kdt_run *run, kd_file *file, const char *prefix,
                             const kd_param_info *info, void *room)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", prefix, info->name);
    const kd_file_tensor *t = kd_file_find(file, name);
    bool fits = t && t->rank == info->file_shape.rank && t->dtype == info->dtype;
    for (int i = 0; fits && i < t->rank; i++) fits = t->shape[i] == info->file_shape.dim[i];
    if (!fits) return damaged(run, kd_file_path(file), name);
    return info->dtype == KD_I64 ? kd_file_read_i64(file, t, 0, info->count, room)
                                 : kd_file_read_f32(file, t, 0, info->count, room);
}

static kd_status read_entry(kdt_run *run, kd_file *file, const kd_param_info *info, void *room)
{
    const char *state;
    float *flat;
    kd_status status = read_tensor(run, file, "", info, room);
    if (!status) status = kd_params_set(kd_model_params(run->model), info, room);
    if (!status && run->ema) status = read_tensor(run, file, "ema.", info, room);
    if (!status && run->ema) status = kd_params_set(run->ema, info, room);
    for (size_t k = 0; !status && !info->buffer && (flat = kd_optim_state(run->optim, k, &state));
         k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "optimizer.%s.", state);
        status = read_tensor(run, file, prefix, info, room);
        if (!status) kd_params_unpack(info, room, flat);
    }
    return status;
}

static kd_status read_tensors(kdt_run *run, kd_file *file)
{
    const kd_params *params = kd_model_params(run->model);
    size_t largest = 1;
    for (size_t i = 0; i < kd_params_entries(params); i++)
        if (kd_params_info(params, i)->count > largest) largest = kd_params_info(params, i)->count;
    void *room = kd_ctx_alloc(run->ctx, largest, sizeof(int64_t));
    kd_status status = room ? KD_OK : KD_E_NOMEM;
    for (size_t i = 0; i < kd_params_entries(params) && !status; i++)
        status = read_entry(run, file, kd_params_info(params, i), room);
    kd_ctx_free(run->ctx, room);
    return status;
}

kd_status kdt_checkpoint_read(kdt_run *run, kd_file *file)
{
    kd_status status = check_same(run, file);
    if (!status) status = read_tensors(run, file);
    if (!status) status = read_state(run, file);
    return status;
}

kd_status kdt_checkpoint_load(kdt_run *run, bool *found)
{
    char path[4096];
    struct stat info;
    kd_file *file;
    *found = false;
    path_of(run, path, sizeof path);
    if (stat(path, &info)) /* nothing was saved yet: the run starts from the beginning */
        return errno == ENOENT ? KD_OK
                               : kd_ctx_fail(run->ctx, KD_E_IO, "%s: %s", path, strerror(errno));
    kd_status status = kd_file_open(run->ctx, path, &file);
    if (status) return status;
    status = kdt_checkpoint_read(run, file);
    kd_file_close(file);
    *found = !status;
    return status;
}
