/* SPDX-License-Identifier: MIT
 * dataset.c: data sets: making them, the caller's arrays and callbacks, single samples, what is
 * odd about them. */
#include "data.h"

#include "../base/sort.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SIDE = 65536, MAX_CHANNELS = 64 };

static const char *const split_names[KD_SPLIT_COUNT] = {"train", "test"};

/* ---- making ---------------------------------------------------------------------------------- */

/* Bytes are pixels from 0 to 1; floats have whatever unit they have. */
static kd_status check_normalisation(kd_ctx *ctx, const kd_data_info *info, bool floats)
{
    for (size_t c = 0; c < info->channels; c++) {
        const float mean = info->mean ? info->mean[c] : 0, std = info->std ? info->std[c] : 1;
        const bool wild = !isfinite(mean) || !isfinite(std) || std <= 0;
        if (wild || (!floats && (mean < 0 || mean > 1 || std > 1)))
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "data set '%s': channel %zu: mean %g, standard deviation %g%s",
                               info->name, c, (double)mean, (double)std,
                               floats ? "" : ": they are of pixels from 0 to 1");
    }
    return KD_OK;
}

static kd_status check_info(kd_ctx *ctx, const kd_data_info *info, bool floats)
{
    if (info->classes < 1 || info->classes > INT32_MAX)
        return kd_ctx_fail(ctx, KD_E_INVALID, "data set '%s': %zu classes", info->name,
                           info->classes);
    if (info->height < 1 || info->height > MAX_SIDE || info->width < 1 || info->width > MAX_SIDE ||
        info->channels < 1 || info->channels > MAX_CHANNELS ||
        !kdi_shape_fits((kdi_shape){info->height, info->width, info->channels}))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "data set '%s': pictures of %zux%zux%zu: sides must be 1..%d, channels "
                           "1..%d",
                           info->name, info->height, info->width, info->channels, MAX_SIDE,
                           MAX_CHANNELS);
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++)
        if (info->count[s] > UINT32_MAX)
            return kd_ctx_fail(ctx, KD_E_INVALID, "data set '%s': %zu %s samples: too many",
                               info->name, info->count[s], split_names[s]);
    return check_normalisation(ctx, info, floats);
}

static const float *pool_floats(kdi_pool *pool, size_t n, const float *from, float otherwise)
{
    float *copy = kdi_pool_alloc(pool, n, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++) copy[i] = from ? from[i] : otherwise;
    return copy;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Classes are told by their names: no two may have the same. */
static kd_status check_names(kd_ctx *ctx, const kd_data_info *info)
{
    kd_status status = KD_OK;
    const char **sorted = kd_ctx_alloc(ctx, info->classes, sizeof *sorted);
    if (!sorted) return kd_ctx_memory_status(ctx);
    for (size_t i = 0; i < info->classes; i++) sorted[i] = info->class_names[i];
    kdi_sort(sorted, info->classes, sizeof *sorted, by_name);
    for (size_t i = 1; i < info->classes && !status; i++)
        if (!strcmp(sorted[i - 1], sorted[i]))
            status = kd_ctx_fail(ctx, KD_E_INVALID, "data set '%s': two classes are called '%.60s'",
                                 info->name, sorted[i]);
    kd_ctx_free(ctx, sorted);
    return status;
}

kd_status kdi_dataset_describe(kd_dataset *data, const kd_data_info *from)
{
    kd_data_info info;
    kd_status status = kd_options(data->ctx, "kd_data_info", &info, sizeof info, from);
    if (status) return status;
    if (!info.name) info.name = "data";
    status = check_info(data->ctx, &info, data->floats);
    if (status) return status;

    kdi_pool *pool = &data->pool;
    data->has_mean = info.mean != NULL;
    data->has_std = info.std != NULL;
    info.name = kdi_pool_strdup(pool, info.name);
    info.mean = pool_floats(pool, info.channels, info.mean, data->floats ? 0 : 0.5f);
    info.std = pool_floats(pool, info.channels, info.std, data->floats ? 1 : 0.25f);
    if (!info.name || !info.mean || !info.std) return kd_ctx_memory_status(data->ctx);
    if (info.class_names) {
        const char **names = kdi_pool_alloc(pool, info.classes, sizeof *names);
        if (!names) return kd_ctx_memory_status(data->ctx);
        for (size_t i = 0; i < info.classes; i++) {
            if (!info.class_names[i])
                return kd_ctx_fail(data->ctx, KD_E_INVALID, "data set '%s': class %zu has no name",
                                   info.name, i);
            names[i] = kdi_pool_strdup(pool, info.class_names[i]);
            if (!names[i]) return kd_ctx_memory_status(data->ctx);
        }
        info.class_names = names;
        status = check_names(data->ctx, &info);
        if (status) return status;
    }
    data->info = info;
    return KD_OK;
}

size_t kdi_dataset_bytes(const kd_dataset *data)
{
    const size_t numbers = data->info.height * data->info.width * data->info.channels;
    return numbers * (data->floats ? sizeof(float) : 1);
}

/* Bytes of the arrays of both splits; SIZE_MAX: more than there can be. */
static size_t size_of(const kd_dataset *data)
{
    enum { BLOCKS = 256 }; /* what the allocator adds */
    size_t all = BLOCKS;
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++) {
        size_t bytes;
        if (!kdi_mul(data->info.count[s], kdi_dataset_bytes(data) + sizeof(int32_t), &bytes) ||
            !kdi_add(all, bytes, &all))
            return SIZE_MAX;
    }
    return all;
}

kd_status kdi_dataset_reserve(kd_dataset *data)
{
    const kd_status status = kdi_limit_check(data->ctx, kd_ctx_memory(data->ctx), size_of(data));
    if (status) return status;
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++) {
        data->own_pixels[s] = kd_ctx_alloc(data->ctx, data->info.count[s], kdi_dataset_bytes(data));
        data->own_labels[s] = kd_ctx_alloc(data->ctx, data->info.count[s], sizeof(int32_t));
        if (!data->own_pixels[s] || !data->own_labels[s]) return kd_ctx_memory_status(data->ctx);
        data->pixels[s] = data->own_pixels[s];
        data->labels[s] = data->own_labels[s];
    }
    return KD_OK;
}

kd_dataset *kdi_dataset_make(kd_ctx *ctx)
{
    kd_dataset *data = kd_ctx_alloc(ctx, 1, sizeof *data);
    if (data) {
        data->ctx = ctx;
        data->pool.ctx = ctx;
    }
    return data;
}

void kd_dataset_close(kd_dataset *data)
{
    if (!data) return;
    if (data->release) data->release(data);
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++) {
        kd_ctx_free(data->ctx, data->broken[s]);
        kd_ctx_free(data->ctx, data->own_pixels[s]);
        kd_ctx_free(data->ctx, data->own_labels[s]);
    }
    kd_ctx_free(data->ctx, data->remarks);
    kdi_pool_free(&data->pool);
    kd_ctx_free(data->ctx, data);
}

kd_status kdi_dataset_finish(kd_dataset *data, kd_status status, kd_dataset **out)
{
    if (status)
        kd_dataset_close(data);
    else
        *out = data;
    return status;
}

/* ---- what is odd ----------------------------------------------------------------------------- */

kd_status kdi_dataset_remark(kd_dataset *data, kd_log_level level, const char *format, ...)
{
    char text[640];
    va_list args;
    void *array = data->remarks;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kd_ctx_log(data->ctx, level, "%s", text);
    if (!kdi_grow(data->ctx, &array, data->n_remarks, &data->remark_capacity,
                  sizeof *data->remarks))
        return kd_ctx_memory_status(data->ctx);
    data->remarks = array;
    const char *copy = kdi_pool_strdup(&data->pool, text);
    if (!copy) return kd_ctx_memory_status(data->ctx);
    data->remarks[data->n_remarks++] = copy;
    return KD_OK;
}

const char *kd_dataset_note(const kd_dataset *data, size_t i)
{
    return data && i < data->n_remarks ? data->remarks[i] : NULL;
}

/* In words: the numbers that stand in for a mean or a deviation that the caller did not give; NULL:
 * both were given. */
static const char *guess_of(const kd_dataset *data)
{
    if (data->floats) return NULL;
    if (!data->has_mean && !data->has_std)
        return "0.5 and 0.25, a guess: no mean and standard deviation were given";
    if (!data->has_std) return "a standard deviation of 0.25, a guess: none was given";
    return data->has_mean ? NULL : "a mean of 0.5, a guess: none was given";
}

/* ---- the caller's ---------------------------------------------------------------------------- */

/* images [KD_SPLIT_COUNT], or NULL */
static kd_status take_arrays(kd_dataset *data, const void *const *images,
                             const int32_t *const *labels, bool borrow)
{
    const kd_data_info *info = &data->info;
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++) {
        size_t bytes;
        if (info->count[s] && (!images || !labels || !images[s] || !labels[s]))
            return kd_ctx_fail(data->ctx, KD_E_INVALID, "data set '%s': no %s arrays", info->name,
                               split_names[s]);
        if (!kdi_mul(info->count[s], kdi_dataset_bytes(data), &bytes))
            return kd_ctx_fail(data->ctx, KD_E_INVALID, "data set '%s': its size overflows",
                               info->name);
        for (size_t i = 0; i < info->count[s]; i++)
            if (labels[s][i] < 0 || (size_t)labels[s][i] >= info->classes)
                return kd_ctx_fail(data->ctx, KD_E_INVALID,
                                   "data set '%s': %s sample %zu: label %d, but %zu classes",
                                   info->name, split_names[s], i, (int)labels[s][i], info->classes);
        if (borrow && info->count[s]) {
            data->pixels[s] = images[s];
            data->labels[s] = labels[s];
        }
    }
    if (borrow) return KD_OK;
    const kd_status status = kdi_dataset_reserve(data);
    for (size_t s = 0; !status && s < KD_SPLIT_COUNT; s++) {
        if (info->count[s] == 0) continue;
        memcpy(data->own_pixels[s], images[s], info->count[s] * kdi_dataset_bytes(data));
        memcpy(data->own_labels[s], labels[s], info->count[s] * sizeof *labels[s]);
    }
    return status;
}

/* A number that is not finite, in images of floats. */
static kd_status check_finite(const kd_dataset *data)
{
    const size_t each = kdi_dataset_bytes(data) / sizeof(float);
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++) {
        const float *x = data->pixels[s];
        for (size_t i = 0; i < data->info.count[s] * each; i++)
            if (!isfinite(x[i]))
                return kd_ctx_fail(data->ctx, KD_E_INVALID,
                                   "data set '%s': %s sample %zu: number %zu of it is not finite",
                                   data->info.name, split_names[s], i / each, i % each);
    }
    return KD_OK;
}

/* caller: for errors. */
static kd_status from_arrays(kd_ctx *ctx, const char *caller, const kd_data_info *info, bool floats,
                             const void *const *images, const int32_t *const *labels, bool borrow,
                             kd_dataset **out)
{
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "%s: NULL", caller);
    if (!info) return kd_ctx_fail(ctx, KD_E_INVALID, "%s: no kd_data_info", caller);
    kd_dataset *data = kdi_dataset_make(ctx);
    if (!data) return kd_ctx_memory_status(ctx);
    data->floats = floats;
    kd_status status = kdi_dataset_describe(data, info);
    data->info.guess = guess_of(data);
    if (!status) status = take_arrays(data, images, labels, borrow);
    if (!status && floats) status = check_finite(data);
    return kdi_dataset_finish(data, status, out);
}

kd_status kd_dataset_from_arrays(kd_ctx *ctx, const kd_data_info *info,
                                 const uint8_t *const images[KD_SPLIT_COUNT],
                                 const int32_t *const labels[KD_SPLIT_COUNT], int borrow,
                                 kd_dataset **out)
{
    const void *arrays[KD_SPLIT_COUNT] = {0};
    for (size_t s = 0; images && s < KD_SPLIT_COUNT; s++) arrays[s] = images[s];
    return from_arrays(ctx, "kd_dataset_from_arrays", info, false, arrays, labels, borrow != 0,
                       out);
}

kd_status kd_dataset_from_floats(kd_ctx *ctx, const kd_data_info *info,
                                 const float *const images[KD_SPLIT_COUNT],
                                 const int32_t *const labels[KD_SPLIT_COUNT], int borrow,
                                 kd_dataset **out)
{
    const void *arrays[KD_SPLIT_COUNT] = {0};
    for (size_t s = 0; images && s < KD_SPLIT_COUNT; s++) arrays[s] = images[s];
    return from_arrays(ctx, "kd_dataset_from_floats", info, true, arrays, labels, borrow != 0, out);
}

typedef struct callback {
    kd_sample_fn fn;
    void *user;
    pthread_mutex_t mutex; /* a caller's function need not be ready for several threads */
} callback;

static kd_status callback_fetch(const kd_dataset *data, kd_split split, size_t index,
                                uint8_t *image, int32_t *label, kdi_failure *failure)
{
    callback *cb = data->state;
    kdi_words words;
    pthread_mutex_lock(&cb->mutex);
    kdi_words_begin(&words, data->ctx);
    const kd_status status = cb->fn(cb->user, split, index, image, label);
    kdi_words_end(&words, data->ctx);
    pthread_mutex_unlock(&cb->mutex);
    if (!status) return KD_OK;
    if (words.said) return kdi_failure_set(failure, status, "%s", words.text);
    return kdi_failure_set(failure, status, "the callback returned %s", kd_status_name(status));
}

static void callback_release(kd_dataset *data)
{
    callback *cb = data->state;
    pthread_mutex_destroy(&cb->mutex);
    kd_ctx_free(data->ctx, cb);
}

kd_status kd_dataset_from_callback(kd_ctx *ctx, const kd_data_info *info, kd_sample_fn fn,
                                   void *user, kd_dataset **out)
{
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_dataset_from_callback: NULL");
    if (!info || !fn)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_dataset_from_callback: no kd_data_info or function");
    kd_dataset *data = kdi_dataset_make(ctx);
    if (!data) return kd_ctx_memory_status(ctx);
    kd_status status = kdi_dataset_describe(data, info);
    callback *cb = status ? NULL : kd_ctx_alloc(ctx, 1, sizeof *cb);
    if (!status && !cb) status = kd_ctx_memory_status(ctx);
    if (!status && pthread_mutex_init(&cb->mutex, NULL)) {
        kd_ctx_free(ctx, cb);
        status = kd_ctx_fail(ctx, KD_E_SYSTEM, "data set '%s': no mutex", data->info.name);
    }
    if (!status) {
        cb->fn = fn;
        cb->user = user;
        data->state = cb;
        data->fetch = callback_fetch;
        data->release = callback_release;
        data->info.guess = guess_of(data);
    }
    return kdi_dataset_finish(data, status, out);
}

/* ---- broken samples -------------------------------------------------------------------------- */

kd_status kd_dataset_skip_broken(kd_dataset *data)
{
    if (!data) return KD_E_INVALID;
    if (!data->fetch && !data->open)
        return kd_ctx_fail(data->ctx, KD_E_INVALID,
                           "data set '%s': its pictures are in memory: none can be broken",
                           data->info.name);
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++) {
        if (data->broken[s]) continue;
        data->broken[s] = kd_ctx_alloc(data->ctx, data->info.count[s], sizeof *data->broken[s]);
        if (!data->broken[s]) return kd_ctx_memory_status(data->ctx);
    }
    data->skip_broken = true;
    return KD_OK;
}

size_t kd_dataset_broken(const kd_dataset *data)
{
    return data ? atomic_load(&data->n_broken) : 0;
}

bool kdi_dataset_may_skip(const kd_dataset *data, kd_status status)
{
    return data->skip_broken && (status == KD_E_FORMAT || status == KD_E_IO ||
                                 status == KD_E_NOTFOUND || status == KD_E_UNSUPPORTED);
}

bool kdi_dataset_skips(kd_dataset *data, kd_split split, size_t index, kd_status status,
                       bool *fresh)
{
    *fresh = false;
    if (!kdi_dataset_may_skip(data, status)) return false;
    *fresh = atomic_exchange(&data->broken[split][index], 1) == 0;
    if (*fresh) atomic_fetch_add(&data->n_broken, 1);
    return true;
}

void kdi_dataset_blame(const kd_dataset *data, kd_split split, size_t index, kdi_failure *failure)
{
    enum { SHOWN = 200 };
    const kdi_failure cause = *failure;
    kdi_path path = {""};
    if (data->where) data->where(data, split, index, path.text, sizeof path.text);
    const size_t length = strlen(path.text);
    const char *end = length > SHOWN ? path.text + length - SHOWN : path.text;
    kdi_failure_set(failure, cause.status, "data set '%.80s': %s sample %zu: %s%s%s%s%s",
                    data->info.name, split_names[split], index, length ? "'" : "",
                    length > SHOWN ? "..." : "", end, length ? "': " : "", cause.text);
}

/* ---- looking --------------------------------------------------------------------------------- */

const kd_data_info *kd_dataset_info(const kd_dataset *data)
{
    return data ? &data->info : NULL;
}

const char *kd_dataset_framing(const kd_dataset *data)
{
    return !data ? NULL : data->open ? KDI_FRAMING : "none";
}

const uint8_t *kdi_dataset_look(const kd_dataset *data, kd_split split, size_t index,
                                uint8_t *scratch, int32_t *label, kdi_failure *failure)
{
    const uint8_t *picture = scratch;
    if (data->fetch) {
        *label = -1;
        if (data->fetch(data, split, index, scratch, label, failure)) {
            kdi_dataset_blame(data, split, index, failure);
            return NULL;
        }
    } else {
        picture = (const uint8_t *)data->pixels[split] + index * kdi_dataset_bytes(data);
        *label = data->labels[split][index];
    }
    if (*label < 0 || (size_t)*label >= data->info.classes) {
        kdi_failure_set(
            failure, KD_E_INVALID, "data set '%.100s': %s sample %zu: label %d, but %zu classes",
            data->info.name, split_names[split], index, (int)*label, data->info.classes);
        return NULL;
    }
    return picture;
}

kd_status kd_dataset_sample(kd_dataset *data, kd_split split, size_t index, uint8_t *image,
                            int32_t *label)
{
    if (!data) return KD_E_INVALID;
    if ((unsigned)split >= KD_SPLIT_COUNT || index >= data->info.count[split])
        return kd_ctx_fail(data->ctx, KD_E_INVALID,
                           "data set '%s': there is no sample %zu in split %d", data->info.name,
                           index, (int)split);
    if (image && data->floats)
        return kd_ctx_fail(data->ctx, KD_E_UNSUPPORTED, "data set '%s': its pictures are floats",
                           data->info.name);
    uint8_t *scratch = NULL;
    if (data->fetch && !image) {
        scratch = kd_ctx_alloc(data->ctx, kdi_dataset_bytes(data), 1);
        if (!scratch) return kd_ctx_memory_status(data->ctx);
    }
    int32_t found;
    kdi_failure failure = {0};
    const uint8_t *picture =
        kdi_dataset_look(data, split, index, image ? image : scratch, &found, &failure);
    if (picture && image && picture != image) memcpy(image, picture, kdi_dataset_bytes(data));
    if (picture && label) *label = found;
    kd_ctx_free(data->ctx, scratch);
    return picture ? KD_OK : kd_ctx_fail(data->ctx, failure.status, "%s", failure.text);
}
