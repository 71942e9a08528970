/* SPDX-License-Identifier: MIT
 * pipeline.c: from (epoch, batch index) to a batch: which samples in which order, their
 * augmentation, their views. The same numbers whoever asks, and whenever.
 *
 * A picture goes: stored bytes, steps on bytes, a table look-up to normalised floats (256 values a
 * channel, so the two divisions of (x / 255 - mean) / std cost nothing), steps on values, resizing.
 * Making may allocate; filling does not, and may run in a thread of its own. */
#include "data.h"

#include <math.h>
#include <string.h>

enum { MAX_SIDE = 65536, MAX_CHANNELS = 64 };

/* ---- which samples --------------------------------------------------------------------------- */

/* Mark wanted random ones of n. */
static kd_status choose(kd_ctx *ctx, size_t n, size_t wanted, uint64_t seed, uint8_t *chosen)
{
    uint32_t *deck = kd_alloc(ctx, n, sizeof *deck);
    if (!deck) return KD_E_NOMEM;
    kdi_rng rng = kdi_rng_make(seed, KDI_RNG_SPLIT, 0, 0);
    for (size_t i = 0; i < n; i++) deck[i] = (uint32_t)i;
    for (size_t i = 0; i < wanted; i++) {
        const size_t j = i + kdi_rng_below(&rng, (uint32_t)(n - i));
        const uint32_t card = deck[j];
        deck[j] = deck[i];
        chosen[card] = 1;
    }
    kd_free(ctx, deck);
    return KD_OK;
}

/* The ids of one side of the development split, ascending; *kept of them. */
static kd_status choose_side(kdi_pipeline *p, const kd_loader_opt *opt, size_t n, size_t *kept)
{
    kd_ctx *ctx = p->data->ctx;
    uint8_t *chosen = kd_alloc(ctx, n, 1);
    if (!chosen) return KD_E_NOMEM;
    const kd_status status = choose(ctx, n, opt->dev_count, opt->dev_seed, chosen);
    *kept = 0;
    for (size_t i = 0; i < n; i++)
        if (chosen[i] == (opt->dev != 0)) p->members[(*kept)++] = (uint32_t)i;
    kd_free(ctx, chosen);
    return status;
}

static kd_status make_members(kdi_pipeline *p, const kd_loader_opt *opt)
{
    kd_ctx *ctx = p->data->ctx;
    const char *name = p->data->info.name;
    const size_t n = p->data->info.count[p->split];
    if (opt->dev_count > n || (opt->dev && !opt->dev_count))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "loader of '%s': a development split of %zu samples out of %zu", name,
                           opt->dev_count, n);
    const size_t left = opt->dev ? opt->dev_count : n - opt->dev_count;
    if (left == 0)
        return kd_ctx_fail(ctx, KD_E_INVALID, "loader of '%s': no samples in its %s split", name,
                           p->split == KD_SPLIT_TRAIN ? "train" : "test");
    if (opt->first >= left || opt->count > left - opt->first)
        return kd_ctx_fail(ctx, KD_E_INVALID, "loader of '%s': samples %zu + %zu out of %zu", name,
                           opt->first, opt->count, left);
    p->count = opt->count ? opt->count : left - opt->first;
    p->members = kd_alloc(ctx, n, sizeof *p->members);
    p->order = kd_alloc(ctx, p->count, sizeof *p->order);
    if (!p->members || !p->order) return KD_E_NOMEM;
    size_t kept;
    const kd_status status = choose_side(p, opt, n, &kept);
    memmove(p->members, p->members + opt->first, p->count * sizeof *p->members);
    memcpy(p->order, p->members, p->count * sizeof *p->order);
    return status;
}

/* Fisher-Yates; the order is a function of (seed, epoch). */
static void shuffle(kdi_pipeline *p, size_t epoch)
{
    if (!p->shuffle || epoch == p->order_epoch) return;
    kdi_rng rng = kdi_rng_make(p->seed, KDI_RNG_SHUFFLE, (uint32_t)epoch, 0);
    memcpy(p->order, p->members, p->count * sizeof *p->order);
    for (size_t i = p->count; i > 1; i--) {
        const size_t j = kdi_rng_below(&rng, (uint32_t)i);
        const uint32_t id = p->order[j];
        p->order[j] = p->order[i - 1];
        p->order[i - 1] = id;
    }
    p->order_epoch = epoch;
}

/* ---- views ----------------------------------------------------------------------------------- */

static kd_status make_table(kdi_pipeline *p, const kd_view *from, kdi_view *view)
{
    const kd_data_info *info = &p->data->info;
    view->table = kd_alloc(p->data->ctx, view->shape.c, 256 * sizeof *view->table);
    if (!view->table) return KD_E_NOMEM;
    for (size_t c = 0; c < view->shape.c; c++) {
        const size_t stored = info->channels == view->shape.c ? c : 0;
        const float mean = from->mean ? from->mean[c] : info->mean[stored];
        const float std = from->std ? from->std[c] : info->std[stored];
        if (!isfinite(mean) || !isfinite(std) || std <= 0)
            return kd_ctx_fail(p->data->ctx, KD_E_INVALID,
                               "loader of '%s': view: channel %zu: mean %g, standard deviation %g",
                               info->name, c, (double)mean, (double)std);
        for (size_t x = 0; x < 256; x++)
            view->table[c * 256 + x] = ((float)x / 255.0f - mean) / std;
    }
    return KD_OK;
}

static kd_status make_view(kdi_pipeline *p, const kd_view *from, kdi_view *view)
{
    kd_ctx *ctx = p->data->ctx;
    const kd_data_info *info = &p->data->info;
    view->shape = (kdi_shape){from->height ? from->height : info->height,
                              from->width ? from->width : info->width,
                              from->channels ? from->channels : info->channels};
    const kdi_shape s = view->shape;
    if (s.h > MAX_SIDE || s.w > MAX_SIDE || s.c > MAX_CHANNELS || !kdi_shape_fits(s) ||
        !kdi_shape_fits((kdi_shape){info->height, s.w, s.c}))
        return kd_ctx_fail(ctx, KD_E_INVALID, "loader of '%s': a view of %zux%zux%zu is too large",
                           info->name, s.h, s.w, s.c);
    if (s.c != info->channels && info->channels != 1)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "loader of '%s': a view of %zu channels of data with %zu", info->name,
                           s.c, info->channels);
    view->resized = s.h != info->height || s.w != info->width;
    kd_status status = make_table(p, from, view);
    if (!status && view->resized) {
        status = kdi_axis_make(ctx, info->height, s.h, &view->y);
        if (!status) status = kdi_axis_make(ctx, info->width, s.w, &view->x);
    }
    return status;
}

static kd_status make_views(kdi_pipeline *p, const kd_loader_opt *opt)
{
    kd_ctx *ctx = p->data->ctx;
    const kd_view plain = {0};
    const kd_data_info *info = &p->data->info;
    if (opt->n_views && !opt->views)
        return kd_ctx_fail(ctx, KD_E_INVALID, "loader of '%s': no views given", info->name);
    const size_t n = opt->n_views ? opt->n_views : 1;
    p->views = kd_alloc(ctx, n, sizeof *p->views);
    if (!p->views) return KD_E_NOMEM;
    p->n_views = n;
    size_t channels = 0, half = 0;
    for (size_t v = 0; v < n; v++) {
        kdi_view *view = &p->views[v];
        const kd_status status = make_view(p, opt->n_views ? &opt->views[v] : &plain, view);
        if (status) return status;
        const size_t floats = info->height * view->shape.w * view->shape.c;
        if (view->resized && view->shape.c > channels) channels = view->shape.c;
        if (view->resized && floats > half) half = floats;
    }
    p->plain = kd_alloc(ctx, info->height * info->width, channels * sizeof *p->plain);
    p->half = kd_alloc(ctx, half, sizeof *p->half);
    return p->plain && p->half ? KD_OK : KD_E_NOMEM;
}

/* pixels of stored channels to view channels: as they are, or grey repeated. */
static void normalise(const float *table, size_t stored, size_t channels, size_t pixels,
                      const uint8_t *in, float *out)
{
    if (stored == 3) {
        for (size_t i = 0; i < pixels; i++, in += 3, out += 3) {
            out[0] = table[in[0]];
            out[1] = table[256 + in[1]];
            out[2] = table[512 + in[2]];
        }
    } else if (stored == channels) {
        for (size_t i = 0; i < pixels; i++)
            for (size_t c = 0; c < channels; c++) *out++ = table[256 * c + *in++];
    } else {
        for (size_t i = 0; i < pixels; i++, in++)
            for (size_t c = 0; c < channels; c++) *out++ = table[256 * c + *in];
    }
}

static void show(kdi_pipeline *p, const kdi_view *view, kdi_key key, const uint8_t *picture,
                 float *out)
{
    const kd_data_info *info = &p->data->info;
    float *plain = view->resized ? p->plain : out;
    normalise(view->table, info->channels, view->shape.c, info->height * info->width, picture,
              plain);
    kdi_augment_values(&p->augmentation, key, plain, view->shape.c);
    if (view->resized) kdi_resize(&view->y, &view->x, view->shape.c, plain, p->half, out);
}

/* ---- making and filling ---------------------------------------------------------------------- */

static kd_status make_batches(kdi_pipeline *p, const kd_loader_opt *opt)
{
    p->batch = opt->batch ? opt->batch : KD_LOADER_BATCH;
    p->batches = p->count / p->batch;
    if (!opt->drop_last && p->count % p->batch) p->batches++;
    if (p->batches == 0)
        return kd_ctx_fail(p->data->ctx, KD_E_INVALID,
                           "loader of '%s': drop_last leaves nothing: %zu samples, batches of %zu",
                           p->data->info.name, p->count, p->batch);
    p->samples = p->count / p->batch < p->batches ? p->count : p->batches * p->batch;
    return KD_OK;
}

kd_status kdi_pipeline_make(kd_dataset *data, const kd_loader_opt *opt, kdi_pipeline *p)
{
    kd_ctx *ctx = data->ctx;
    const kd_data_info *info = &data->info;
    const bool training = opt->split == KD_SPLIT_TRAIN && !opt->dev;
    const char *augment = opt->augment ? opt->augment : training ? "crop-flip" : "none";
    const kdi_shape shape = {info->height, info->width, info->channels};
    if ((unsigned)opt->split >= KD_SPLIT_COUNT)
        return kd_ctx_fail(ctx, KD_E_INVALID, "loader of '%s': there is no split %d", info->name,
                           (int)opt->split);
    *p = (kdi_pipeline){.data = data,
                        .split = opt->split,
                        .seed = opt->seed,
                        .shuffle = opt->shuffle != 0,
                        .order_epoch = SIZE_MAX};
    kd_status status = kdi_augment_parse(ctx, augment, shape, &p->augmentation);
    if (!status) status = make_members(p, opt);
    if (!status) status = make_batches(p, opt);
    if (!status) status = make_views(p, opt);
    for (size_t i = 0; !status && i < 3; i++) {
        p->bytes[i] = kd_alloc(ctx, kdi_dataset_bytes(data), 1);
        if (!p->bytes[i]) status = KD_E_NOMEM;
    }
    if (status) kdi_pipeline_free(p);
    return status;
}

void kdi_pipeline_free(kdi_pipeline *p)
{
    kd_ctx *ctx = p->data->ctx;
    for (size_t v = 0; v < p->n_views; v++) {
        kd_free(ctx, p->views[v].table);
        kdi_axis_free(ctx, &p->views[v].y);
        kdi_axis_free(ctx, &p->views[v].x);
    }
    for (size_t i = 0; i < 3; i++) kd_free(ctx, p->bytes[i]);
    kd_free(ctx, p->views);
    kd_free(ctx, p->plain);
    kd_free(ctx, p->half);
    kd_free(ctx, p->members);
    kd_free(ctx, p->order);
}

kd_status kdi_slot_make(const kdi_pipeline *p, kdi_slot *slot)
{
    kd_ctx *ctx = p->data->ctx;
    slot->buffers = kd_alloc(ctx, p->n_views, sizeof *slot->buffers);
    slot->views = kd_alloc(ctx, p->n_views, sizeof *slot->views);
    slot->labels = kd_alloc(ctx, p->batch, sizeof *slot->labels);
    slot->ids = kd_alloc(ctx, p->batch, sizeof *slot->ids);
    if (!slot->buffers || !slot->views || !slot->labels || !slot->ids) return KD_E_NOMEM;
    for (size_t v = 0; v < p->n_views; v++) {
        const kdi_shape s = p->views[v].shape;
        slot->buffers[v] = kd_alloc(ctx, p->batch, s.h * s.w * s.c * sizeof(float));
        if (!slot->buffers[v]) return KD_E_NOMEM;
        slot->views[v] = slot->buffers[v];
    }
    slot->batch = (kd_batch){
        .n_views = p->n_views, .views = slot->views, .labels = slot->labels, .ids = slot->ids};
    return KD_OK;
}

void kdi_slot_free(const kdi_pipeline *p, kdi_slot *slot)
{
    kd_ctx *ctx = p->data->ctx;
    for (size_t v = 0; slot->buffers && v < p->n_views; v++) kd_free(ctx, slot->buffers[v]);
    kd_free(ctx, slot->buffers);
    kd_free(ctx, slot->views);
    kd_free(ctx, slot->labels);
    kd_free(ctx, slot->ids);
}

kd_status kdi_pipeline_fill(kdi_pipeline *p, size_t epoch, size_t index, kdi_slot *slot,
                            const atomic_bool *cancel, kdi_note *note)
{
    const size_t start = index * p->batch, left = p->count - start;
    const size_t n = left < p->batch ? left : p->batch;
    shuffle(p, epoch);
    for (size_t i = 0; i < n; i++) {
        if (atomic_load_explicit(cancel, memory_order_relaxed)) return KD_E_STOPPED;
        const uint32_t id = p->order[start + i];
        const kdi_key key = {p->seed, (uint32_t)epoch, id};
        const uint8_t *picture =
            kdi_dataset_look(p->data, p->split, id, p->bytes[0], &slot->labels[i], note);
        if (!picture) return note->status;
        slot->ids[i] = id;
        picture = kdi_augment_pixels(&p->augmentation, key, picture, p->bytes[1], p->bytes[2]);
        for (size_t v = 0; v < p->n_views; v++) {
            const kdi_shape s = p->views[v].shape;
            show(p, &p->views[v], key, picture, slot->buffers[v] + i * s.h * s.w * s.c);
        }
    }
    slot->batch.n = n;
    slot->batch.epoch = epoch;
    slot->batch.index = index;
    return KD_OK;
}
