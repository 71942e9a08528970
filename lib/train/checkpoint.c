/* SPDX-License-Identifier: MIT
 * checkpoint.c: all a resume needs, in one safetensors file: the network under its own names, so
 * that a checkpoint is also a model file; "optimizer.STATE.NAME" and "ema.NAME" beside it; and in
 * the metadata
 *
 * parameters of a loss are "extra.NAME" and "extra.optimizer.STATE.NAME";
 *
 *   libkd.kind     "checkpoint"
 *   libkd.run      what must be the same for a resume (run_description.c)
 *   libkd.train    a JSON object: epoch, batch, step, seconds, and the sums of the epoch so far */
#include "train.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- writing --------------------------------------------------------------------------------- */

static void print_times(kd_json *j, const char *prefix, const kd_times *t)
{
    const double values[] = {t->data, t->teacher, t->forward, t->loss, t->backward, t->optimizer};
    for (int i = 0; i < 6; i++) {
        char key[48];
        snprintf(key, sizeof key, "%s%d", prefix, i);
        kd_json_number(j, key, values[i]);
    }
}

static void print_sums(kd_json *j, const char *prefix, const kdt_sums *s)
{
    const double numbers[] = {s->loss, s->hard, s->soft, s->seconds, s->feature};
    const uint64_t counts[] = {s->images, s->correct, s->teacher_correct, s->agreed};
    static const char *const names[] = {"loss", "hard", "soft", "seconds", "feature"};
    static const char *const kinds[] = {"images", "correct", "teacher_correct", "agreed"};
    char key[48];
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s_%s", prefix, names[i]);
        kd_json_number(j, key, numbers[i]);
        snprintf(key, sizeof key, "%s_%s", prefix, kinds[i]);
        kd_json_integer(j, key, (int64_t)counts[i]);
    }
    snprintf(key, sizeof key, "%s_%s", prefix, names[4]);
    kd_json_number(j, key, numbers[4]);
    snprintf(key, sizeof key, "%s_times", prefix);
    print_times(j, key, &s->times);
}

static kd_status add_state(kdt_run *run, kd_writer *w)
{
    kd_json *j;
    const char *text;
    char hash[17];
    uint64_t weights;
    kd_status status = kd_model_hash(run->model, &weights);
    if (!status) status = kd_json_create(run->ctx, 0, &j);
    if (status) return status;
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)weights);
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "weights_hash", hash);
    kd_json_integer(j, "epoch", (int64_t)run->epoch);
    kd_json_integer(j, "batch", (int64_t)run->batch);
    kd_json_integer(j, "step", (int64_t)run->step);
    kd_json_integer(j, "optimizer_steps", (int64_t)kd_optim_steps(run->optim));
    kd_json_integer(j, "seed", (int64_t)run->train.seed);
    kd_json_integer(j, "skipped", (int64_t)run->skipped);
    kd_json_integer(j, "skipped_here", (int64_t)run->skipped_here);
    kd_json_number(j, "seconds", run->seconds);
    kd_json_integer(j, "images", (int64_t)run->images);
    kd_json_integer(j, "best_epoch", (int64_t)run->best.epoch);
    kd_json_number(j, "best_top1", run->best.top1);
    kd_json_number(j, "best_loss", run->best.loss);
    kd_json_number(j, "dev_top1", run->last_dev_top1);
    kd_json_number(j, "dev_loss", run->last_dev_loss);
    kd_json_number(j, "lr", run->lr); /* for the line of an epoch that waits for its evaluation */
    print_times(j, "times", &run->times);
    print_sums(j, "sum", &run->sums);
    print_sums(j, "last", &run->last);
    kd_json_object_end(j);
    status = kd_json_text(j, &text, NULL);
    if (!status) status = kd_writer_metadata(w, "libkd.train", text);
    kd_json_destroy(j);
    return status;
}

/* Parameters, and the state of their optimiser. */
static kd_status add_set(const kd_params *params, kd_optim *optim, const char *before, kd_writer *w)
{
    const char *state;
    const float *flat;
    kd_status status = kd_params_write(params, w, before, KD_F32);
    for (size_t k = 0; !status && (flat = kd_optim_state(optim, k, &state)); k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%soptimizer.%s.", before, state);
        status = kd_params_write_flat(params, flat, w, prefix);
    }
    return status;
}

/* The network under its own names, its average, what the loss has. */
static kd_status add_tensors(kdt_run *run, kd_writer *w)
{
    kd_status status = add_set(kd_model_params(run->model), run->optim, "", w);
    if (!status && run->ema) status = kd_params_write(run->ema, w, "ema.", KD_F32);
    if (!status && run->extra) status = add_set(run->extra, run->extra_optim, "extra.", w);
    return status;
}

kd_status kdt_checkpoint_save(kdt_run *run)
{
    char path[KDT_PATH];
    kd_writer *w;
    kdt_path(run, "checkpoint.safetensors", path);
    kd_status status = kd_writer_create(run->ctx, path, &w);
    if (status) return status;
    kd_writer_metadata(w, "libkd.kind", "checkpoint");
    kd_writer_metadata(w, "libkd.run", run->description);
    status = kd_model_write_metadata(run->model, w);
    if (!status) status = add_state(run, w);
    if (!status) status = add_tensors(run, w);
    if (status)
        kd_writer_abandon(w);
    else
        status = kd_writer_finish(w);
    run->saved_at = kd_seconds();
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

static kd_status damaged(kdt_run *run, const char *path, const char *what)
{
    return kd_ctx_fail(run->ctx, KD_E_FORMAT, "%s: '%s' is missing or does not fit", path, what);
}

static kd_status check_same(kdt_run *run, kd_file *file)
{
    const char *was = kd_file_metadata_get(file, "libkd.run");
    const char *state = kd_file_metadata_get(file, "libkd.train");
    kd_json_object *o;
    if (!was) return damaged(run, kd_file_path(file), "libkd.run");
    if (!state) return damaged(run, kd_file_path(file), "libkd.train");
    kd_status status = kd_json_parse(run->ctx, state, strlen(state), &o);
    if (status) return status;
    status =
        kdt_describe_compare(run, kd_file_path(file), was, kd_json_get_string(o, "weights_hash"));
    kd_json_object_destroy(o);
    return status;
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

/* Counts that older checkpoints lack stay 0. */
static bool read_sums(const kd_json_object *o, const char *prefix, kdt_sums *s)
{
    uint64_t *const counts[] = {&s->images, &s->correct, &s->teacher_correct, &s->agreed};
    static const char *const kinds[] = {"images", "correct", "teacher_correct", "agreed"};
    char key[48];
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s_%s", prefix, kinds[i]);
        if (!whole(o, key, counts[i]) && i < 2) return false;
    }
    snprintf(key, sizeof key, "%s_seconds", prefix);
    if (!kd_json_get_number(o, key, &s->seconds)) return false;
    snprintf(key, sizeof key, "%s_loss", prefix);
    s->loss = number_or_nan(o, key);
    snprintf(key, sizeof key, "%s_hard", prefix);
    s->hard = number_or_nan(o, key);
    snprintf(key, sizeof key, "%s_soft", prefix);
    s->soft = number_or_nan(o, key);
    snprintf(key, sizeof key, "%s_feature", prefix);
    s->feature = number_or_nan(o, key);
    snprintf(key, sizeof key, "%s_times", prefix);
    return read_times(o, key, &s->times);
}

static bool read_counters(kdt_run *run, const kd_json_object *o)
{
    uint64_t epoch, batch, step, steps, skipped = 0, here = 0, best = 0;
    if (!whole(o, "epoch", &epoch) || !whole(o, "batch", &batch) || !whole(o, "step", &step) ||
        !whole(o, "optimizer_steps", &steps) || !whole(o, "images", &run->images) ||
        !kd_json_get_number(o, "seconds", &run->seconds) || !read_times(o, "times", &run->times) ||
        !read_sums(o, "sum", &run->sums))
        return false;
    if (batch > run->batches || epoch > UINT32_MAX || step > SIZE_MAX / 2) return false;
    if (!(run->seconds >= 0 && run->seconds < 1e12)) return false;
    whole(o, "skipped", &skipped);
    whole(o, "skipped_here", &here);
    whole(o, "best_epoch", &best);
    if (skipped > step || here > skipped || best > epoch + 1) return false;
    if (!read_sums(o, "last", &run->last)) run->last = (kdt_sums){0};
    run->epoch = (size_t)epoch;
    run->batch = (size_t)batch;
    run->step = (size_t)step;
    run->skipped = (size_t)skipped;
    run->skipped_here = (size_t)here;
    run->best.epoch = (size_t)best;
    run->best.top1 = number_or_nan(o, "best_top1");
    run->best.loss = number_or_nan(o, "best_loss");
    run->last_dev_top1 = number_or_nan(o, "dev_top1");
    run->last_dev_loss = number_or_nan(o, "dev_loss");
    run->lr = number_or_nan(o, "lr");
    kd_optim_set_steps(run->optim, steps);
    if (run->extra) kd_optim_set_steps(run->extra_optim, steps);
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

/* "PREFIXname" into values, in the file's layout. */
static kd_status read_tensor(kdt_run *run, kd_file *file, const char *prefix,
                             const kd_param_info *info, void *values)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", prefix, info->name);
    const kd_file_tensor *t = kd_file_find(file, name);
    bool fits = t && t->rank == info->file_shape.rank && t->dtype == info->dtype;
    for (int i = 0; fits && i < t->rank; i++) fits = t->shape[i] == info->file_shape.dim[i];
    if (!fits) return damaged(run, kd_file_path(file), name);
    return info->dtype == KD_I64 ? kd_file_read_i64(file, t, 0, info->count, values)
                                 : kd_file_read_f32(file, t, 0, info->count, values);
}

/* Parameters with their average (or NULL) and their optimiser's state, as add_set writes them. */
typedef struct set {
    kd_params *params, *ema;
    kd_optim *optim;
    const char *before;
} set;

static kd_status read_entry(kdt_run *run, kd_file *file, const set *s, const kd_param_info *info,
                            void *values)
{
    const char *state;
    float *flat;
    kd_status status = read_tensor(run, file, s->before, info, values);
    if (!status) status = kd_params_set(s->params, info, values);
    if (!status && s->ema) status = read_tensor(run, file, "ema.", info, values);
    if (!status && s->ema) status = kd_params_set(s->ema, info, values);
    for (size_t k = 0; !status && !info->buffer && (flat = kd_optim_state(s->optim, k, &state));
         k++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%soptimizer.%s.", s->before, state);
        status = read_tensor(run, file, prefix, info, values);
        if (!status) kd_params_unpack(info, values, flat);
    }
    return status;
}

static kd_status read_set(kdt_run *run, kd_file *file, const set *s)
{
    const kd_params *params = s->params;
    size_t largest = 1;
    for (size_t i = 0; i < kd_params_entries(params); i++)
        if (kd_params_info(params, i)->count > largest) largest = kd_params_info(params, i)->count;
    void *values = kd_ctx_alloc(run->ctx, largest, sizeof(int64_t));
    kd_status status = values ? KD_OK : kd_ctx_memory_status(run->ctx);
    for (size_t i = 0; i < kd_params_entries(params) && !status; i++)
        status = read_entry(run, file, s, kd_params_info(params, i), values);
    kd_ctx_free(run->ctx, values);
    return status;
}

static kd_status read_tensors(kdt_run *run, kd_file *file)
{
    const set network = {kd_model_params(run->model), run->ema, run->optim, ""};
    const set loss = {run->extra, NULL, run->extra_optim, "extra."};
    const kd_status status = read_set(run, file, &network);
    return status || !run->extra ? status : read_set(run, file, &loss);
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
    char path[KDT_PATH];
    struct stat info;
    kd_file *file;
    *found = false;
    kdt_path(run, "checkpoint.safetensors", path);
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
