/* SPDX-License-Identifier: MIT
 * pipeline.c: from (epoch, batch index) to a batch: which samples in which order, which of them are
 * mixed, and the work shared out among workers (worker.c). The same numbers whoever asks, whenever,
 * and however many workers there are.
 *
 * A task makes one sample, or the two that are mixed with each other. If a sample cannot be read,
 * the batch fails with the error of the first such sample; or, with kd_dataset_skip_broken, the
 * sample is left out, and the batch is shorter or empty. */
#include "worker.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SIDE = 65536, MAX_CHANNELS = 64 };

/* ---- which samples --------------------------------------------------------------------------- */

/* Draw `wanted` of n without replacement: chosen[i] becomes 1. */
static kd_status choose(kd_ctx *ctx, size_t n, size_t wanted, uint64_t seed, uint8_t *chosen)
{
    uint32_t *deck = kd_ctx_alloc(ctx, n, sizeof *deck);
    if (!deck) return kd_ctx_memory_status(ctx);
    kdi_rng rng = kdi_rng_make(seed, KDI_RNG_SPLIT, 0, 0);
    for (size_t i = 0; i < n; i++) deck[i] = (uint32_t)i;
    for (size_t i = 0; i < wanted; i++) {
        const size_t j = i + kdi_rng_below(&rng, (uint32_t)(n - i));
        const uint32_t card = deck[j];
        deck[j] = deck[i];
        chosen[card] = 1;
    }
    kd_ctx_free(ctx, deck);
    return KD_OK;
}

/* The ids of one side of the development split, ascending; *kept of them. */
static kd_status choose_side(kdi_pipeline *p, const kd_loader_opt *opt, size_t n, size_t *kept)
{
    kd_ctx *ctx = p->data->ctx;
    uint8_t *chosen = kd_ctx_alloc(ctx, n, 1);
    if (!chosen) return kd_ctx_memory_status(ctx);
    const kd_status status = choose(ctx, n, opt->dev_count, opt->dev_seed, chosen);
    *kept = 0;
    for (size_t i = 0; i < n; i++)
        if (chosen[i] == (opt->dev != 0)) p->members[(*kept)++] = (uint32_t)i;
    kd_ctx_free(ctx, chosen);
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
    p->members = kd_ctx_alloc(ctx, n, sizeof *p->members);
    p->order = kd_ctx_alloc(ctx, p->count, sizeof *p->order);
    if (!p->members || !p->order) return kd_ctx_memory_status(ctx);
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
    const size_t channels = view->shape.c;
    view->table = kd_ctx_alloc(p->data->ctx, channels, 256 * sizeof *view->table);
    view->factors = kd_ctx_alloc(p->data->ctx, channels, 4 * sizeof *view->factors);
    if (!view->table || !view->factors) return kd_ctx_memory_status(p->data->ctx);
    float *scale = view->factors, *offset = view->factors + channels;
    float *means = view->factors + 2 * channels, *stds = view->factors + 3 * channels;
    view->mean = means;
    view->std = stds;
    view->units = (kdi_units){channels, info->channels, scale, offset};
    for (size_t c = 0; c < channels; c++) {
        const size_t stored = info->channels == channels ? c : 0; /* else grey, repeated */
        const float mean = from->mean ? from->mean[c] : info->mean[stored];
        const float std = from->std ? from->std[c] : info->std[stored];
        if (!isfinite(mean) || !isfinite(std) || std <= 0)
            return kd_ctx_fail(p->data->ctx, KD_E_INVALID,
                               "loader of '%s': view: channel %zu: mean %g, standard deviation %g",
                               info->name, c, (double)mean, (double)std);
        for (size_t x = 0; x < 256; x++)
            view->table[c * 256 + x] = ((float)x / 255.0f - mean) / std;
        means[c] = mean;
        stds[c] = std;
        scale[c] = info->std[stored] / std;
        offset[c] = (info->mean[stored] - mean) / std;
    }
    return KD_OK;
}

/* n is the view's number, for errors. */
static kd_status make_view(kdi_pipeline *p, const kd_view *from, size_t n, kdi_view *view)
{
    kd_ctx *ctx = p->data->ctx;
    const kd_data_info *info = &p->data->info;
    view->shape = (kdi_shape){from->height ? from->height : info->height,
                              from->width ? from->width : info->width,
                              from->channels ? from->channels : info->channels};
    const kdi_shape s = view->shape;
    if (s.h > MAX_SIDE || s.w > MAX_SIDE || s.c > MAX_CHANNELS || !kdi_shape_fits(s))
        return kd_ctx_fail(ctx, KD_E_INVALID, "loader of '%s': a view of %zux%zux%zu is too large",
                           info->name, s.h, s.w, s.c);
    if (s.c != info->channels && info->channels != 1)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "data set '%s': view %zu wants %zu channel%s, but the pictures have "
                           "%zu: only grey pictures, of 1 channel, can be shown in another number",
                           info->name, n, s.c, s.c == 1 ? "" : "s", info->channels);
    return make_table(p, from, view);
}

/* The canvas is as large as the largest view, or as was asked for, if pictures are framed; else as
 * the pictures. */
static void choose_canvas(kdi_pipeline *p, bool framed)
{
    const kd_data_info *info = &p->data->info;
    p->canvas = (kdi_shape){info->height, info->width,
                            info->channels * (p->data->floats ? sizeof(float) : 1)};
    for (size_t v = 0; framed && v < p->n_views; v++) {
        const kdi_shape s = p->views[v].shape;
        if (v == 0 || s.h > p->canvas.h) p->canvas.h = s.h;
        if (v == 0 || s.w > p->canvas.w) p->canvas.w = s.w;
    }
    if (framed && p->least.h > p->canvas.h) p->canvas.h = p->least.h;
    if (framed && p->least.w > p->canvas.w) p->canvas.w = p->least.w;
}

static kd_status make_axes(kdi_pipeline *p, kdi_view *view)
{
    const kdi_shape s = view->shape, c = p->canvas;
    view->resized = s.h != c.h || s.w != c.w;
    if (!view->resized) return KD_OK;
    if (!kdi_shape_fits((kdi_shape){c.h, c.w, s.c}) || !kdi_shape_fits((kdi_shape){c.h, s.w, s.c}))
        return kd_ctx_fail(p->data->ctx, KD_E_INVALID,
                           "loader of '%s': a view of %zux%zux%zu from pictures of %zux%zu is too "
                           "large",
                           p->data->info.name, s.h, s.w, s.c, c.h, c.w);
    const kd_status status = kdi_axis_make(p->data->ctx, p->canvas.h, s.h, &view->y);
    return status ? status : kdi_axis_make(p->data->ctx, p->canvas.w, s.w, &view->x);
}

static kd_status make_views(kdi_pipeline *p, const kd_loader_opt *opt)
{
    kd_ctx *ctx = p->data->ctx;
    const kd_view plain = {0};
    const kd_data_info *info = &p->data->info;
    if (opt->n_views && !opt->views)
        return kd_ctx_fail(ctx, KD_E_INVALID, "loader of '%s': no views given", info->name);
    const size_t n = opt->n_views ? opt->n_views : 1;
    p->views = kd_ctx_alloc(ctx, n, sizeof *p->views);
    if (!p->views) return kd_ctx_memory_status(ctx);
    p->n_views = n;
    for (size_t v = 0; v < n; v++) {
        const kd_view *view = opt->n_views ? &opt->views[v] : &plain;
        const kd_status status = make_view(p, view, v, &p->views[v]);
        if (status) return status;
    }
    return KD_OK;
}

/* ---- augmentation ---------------------------------------------------------------------------- */

static kd_status parse(kdi_pipeline *p, const char *spec, bool framed)
{
    choose_canvas(p, framed);
    const size_t bytes = p->canvas.c; /* of a pixel; what words ask for is channels */
    p->canvas.c = p->data->info.channels;
    const kd_status status = kdi_augment_parse(p->data->ctx, spec, p->canvas, &p->augmentation);
    p->canvas.c = bytes;
    for (size_t i = 0; i < p->augmentation.n_steps; i++) p->augmentation.steps[i].shape.c = bytes;
    return status;
}

/* For pictures of different sizes and a text without a framing: the data set's framing is put
 * before it. "none" becomes centre:1, the largest square in the middle. */
static kd_status parse_framed(kdi_pipeline *p, const char *spec)
{
    char text[KDI_AUGMENT_TEXT];
    if (strcmp(spec, "none") == 0) return parse(p, "centre:1", true);
    const int n = snprintf(text, sizeof text, "%s+%s", KDI_FRAMING_SHARE, spec);
    if (n < 0 || (size_t)n >= sizeof text)
        return kd_ctx_fail(p->data->ctx, KD_E_INVALID, "augmentation '%.100s...': too long", spec);
    return parse(p, text, true);
}

/* Pictures of floats are moved about, not computed with, before they are normalised. */
static kd_status check_floats(const kdi_pipeline *p)
{
    const kdi_augmentation *a = &p->augmentation;
    const kdi_augment *odd = a->framing.kind;
    for (size_t i = 0; !odd && i < a->n_steps; i++)
        if (a->steps[i].kind->pixels && !a->steps[i].kind->moves) odd = a->steps[i].kind;
    return odd ? kd_ctx_fail(p->data->ctx, KD_E_UNSUPPORTED,
                             "data set '%s': its pictures are floats, and %s is for bytes",
                             p->data->info.name, odd->name)
               : KD_OK;
}

/* Pictures in memory are resized by a framing alone, and always from all of their pixels. */
static kd_status check_resizing(const kdi_pipeline *p)
{
    const kdi_augmentation *a = &p->augmentation;
    if (p->data->open) return KD_OK;
    if (p->data->floats) {
        const kd_status status = check_floats(p);
        if (status) return status;
    }
    if (a->exact)
        return kd_ctx_fail(p->data->ctx, KD_E_INVALID,
                           "augmentation: exact: it is for picture files; pictures in memory are "
                           "never read at a fraction of their size");
    if (a->filtered && !a->framing.kind)
        return kd_ctx_fail(p->data->ctx, KD_E_INVALID,
                           "augmentation: %s: nothing is resized: it goes with rrc or centre",
                           a->bicubic ? "bicubic" : "bilinear");
    return KD_OK;
}

/* The size of the canvas depends on whether there is a framing, and what values the words accept
 * depends on the canvas: so the text may be parsed twice. Pictures of different sizes are always
 * framed. */
static kd_status parse_steps(kdi_pipeline *p, const char *spec)
{
    kd_status status = parse(p, spec, true);
    if (!status && p->augmentation.framing.kind) return check_resizing(p);
    if (p->data->open) return status ? status : parse_framed(p, spec);
    status = parse(p, spec, false);
    if (!status && p->augmentation.framing.kind) status = parse(p, spec, true);
    return status ? status : check_resizing(p);
}

static kd_status make_augmentation(kdi_pipeline *p, const kd_loader_opt *opt)
{
    const kd_data_info *info = &p->data->info;
    const bool training = opt->split == KD_SPLIT_TRAIN && !opt->dev;
    const char *spec = opt->augment ? opt->augment
                       : training   ? "auto"
                                    : kd_dataset_framing(p->data);
    if (strcmp(spec, "auto") == 0) spec = p->data->open ? "imagenet-train" : "crop-flip";
    kd_status status = parse_steps(p, spec);
    for (size_t v = 0; !status && v < p->n_views; v++) status = make_axes(p, &p->views[v]);
    if (status) return status;
    kdi_augment_fill(&p->augmentation, info->mean, info->channels);
    p->mixes = p->augmentation.mixup > 0 || p->augmentation.cutmix > 0;
    p->order_cycles = p->mixes || p->augmentation.repeat > 1 || opt->drop_last;
    return KD_OK;
}

/* ---- making ---------------------------------------------------------------------------------- */

static kd_status make_batches(kdi_pipeline *p, const kd_loader_opt *opt)
{
    p->batch = opt->batch ? opt->batch : KD_LOADER_BATCH;
    p->batches = p->count / p->batch;
    if (!opt->drop_last && p->count % p->batch) p->batches++;
    if (p->batches == 0)
        return kd_ctx_fail(p->data->ctx, KD_E_INVALID,
                           "data set '%s': the %s set of %zu picture%s is smaller than a batch of "
                           "%zu: use a smaller batch",
                           p->data->info.name,
                           opt->dev                       ? "development"
                           : opt->split == KD_SPLIT_TRAIN ? "training"
                                                          : "test",
                           p->count, p->count == 1 ? "" : "s", p->batch);
    p->samples = p->count / p->batch < p->batches ? p->count : p->batches * p->batch;
    return KD_OK;
}

static kd_status make_workers(kdi_pipeline *p, size_t n)
{
    p->workers = kd_ctx_alloc(p->data->ctx, n, sizeof *p->workers);
    if (!p->workers) return kd_ctx_memory_status(p->data->ctx);
    p->n_workers = n;
    for (size_t i = 0; i < n; i++) {
        const kd_status status = kdi_worker_make(p, &p->workers[i]);
        if (status) return status;
    }
    return KD_OK;
}

kd_status kdi_pipeline_make(kd_dataset *data, const kd_loader_opt *opt, size_t workers,
                            kdi_pipeline *p)
{
    if ((unsigned)opt->split >= KD_SPLIT_COUNT)
        return kd_ctx_fail(data->ctx, KD_E_INVALID, "loader of '%s': there is no split %d",
                           data->info.name, (int)opt->split);
    *p = (kdi_pipeline){.data = data,
                        .split = opt->split,
                        .seed = opt->seed,
                        .shuffle = opt->shuffle != 0,
                        .order_epoch = SIZE_MAX,
                        .least = {opt->canvas_height, opt->canvas_width, 0},
                        .cycle = opt->cycle};
    if (p->least.h > MAX_SIDE || p->least.w > MAX_SIDE)
        return kd_ctx_fail(data->ctx, KD_E_INVALID, "loader of '%s': a canvas of %zux%zu",
                           data->info.name, p->least.h, p->least.w);
    kd_status status = make_views(p, opt);
    if (!status) status = make_augmentation(p, opt);
    if (!status) status = make_members(p, opt);
    if (!status) status = make_batches(p, opt);
    if (!status) status = make_workers(p, workers);
    if (status) kdi_pipeline_free(p);
    return status;
}

void kdi_pipeline_free(kdi_pipeline *p)
{
    kd_ctx *ctx = p->data->ctx;
    for (size_t v = 0; v < p->n_views; v++) {
        kd_ctx_free(ctx, p->views[v].table);
        kd_ctx_free(ctx, p->views[v].factors);
        kdi_axis_free(ctx, &p->views[v].y);
        kdi_axis_free(ctx, &p->views[v].x);
    }
    for (size_t i = 0; i < p->n_workers; i++) kdi_worker_free(ctx, &p->workers[i]);
    kd_ctx_free(ctx, p->workers);
    kd_ctx_free(ctx, p->views);
    kd_ctx_free(ctx, p->members);
    kd_ctx_free(ctx, p->order);
}

kd_status kdi_slot_make(const kdi_pipeline *p, kdi_slot *slot)
{
    kd_ctx *ctx = p->data->ctx;
    const size_t n = p->batch < p->count ? p->batch : p->count, mixed = p->mixes ? n : 0;
    slot->buffers = kd_ctx_alloc(ctx, p->n_views, sizeof *slot->buffers);
    slot->views = kd_ctx_alloc(ctx, p->n_views, sizeof *slot->views);
    slot->labels = kd_ctx_alloc(ctx, n, sizeof *slot->labels);
    slot->ids = kd_ctx_alloc(ctx, n, sizeof *slot->ids);
    slot->copies = kd_ctx_alloc(ctx, n, sizeof *slot->copies);
    slot->partners = kd_ctx_alloc(ctx, mixed, sizeof *slot->partners);
    slot->shares = kd_ctx_alloc(ctx, mixed, sizeof *slot->shares);
    slot->bad = kd_ctx_alloc(ctx, n, 1);
    if (p->data->skip_broken) slot->failures = kd_ctx_alloc(ctx, n, sizeof *slot->failures);
    if (!slot->buffers || !slot->views || !slot->labels || !slot->ids || !slot->copies ||
        !slot->partners || !slot->shares || !slot->bad || (p->data->skip_broken && !slot->failures))
        return kd_ctx_memory_status(ctx);
    for (size_t v = 0; v < p->n_views; v++) {
        const kdi_shape s = p->views[v].shape;
        slot->buffers[v] = kd_ctx_alloc(ctx, n, s.h * s.w * s.c * sizeof(float));
        if (!slot->buffers[v]) return kd_ctx_memory_status(ctx);
        slot->views[v] = slot->buffers[v];
    }
    slot->batch = (kd_batch){.n_views = p->n_views,
                             .views = slot->views,
                             .labels = slot->labels,
                             .ids = slot->ids,
                             .copies = slot->copies,
                             .partners = p->mixes ? slot->partners : NULL,
                             .shares = p->mixes ? slot->shares : NULL};
    return KD_OK;
}

void kdi_slot_free(const kdi_pipeline *p, kdi_slot *slot)
{
    kd_ctx *ctx = p->data->ctx;
    for (size_t v = 0; slot->buffers && v < p->n_views; v++) kd_ctx_free(ctx, slot->buffers[v]);
    kd_ctx_free(ctx, slot->buffers);
    kd_ctx_free(ctx, slot->views);
    kd_ctx_free(ctx, slot->labels);
    kd_ctx_free(ctx, slot->ids);
    kd_ctx_free(ctx, slot->copies);
    kd_ctx_free(ctx, slot->partners);
    kd_ctx_free(ctx, slot->shares);
    kd_ctx_free(ctx, slot->bad);
    kd_ctx_free(ctx, slot->failures);
}

/* ---- filling --------------------------------------------------------------------------------- */

/* A batch being made. */
typedef struct job {
    kdi_pipeline *p;
    size_t epoch; /* as which pictures are augmented */
    size_t n;
    kdi_slot *slot;
    kdi_mix mix;
    const atomic_bool *cancel;
    atomic_size_t failed;  /* the first sample of the batch that failed; n: none */
    pthread_mutex_t mutex; /* of what follows */
    kdi_failure *failure;
} job;

/* Sample i of the batch failed. If it may be left out, its failure is kept for the log. If not, the
 * batch fails with the failure of the first such sample. */
static void failed(job *j, size_t i, const kdi_failure *failure)
{
    kdi_slot *slot = j->slot;
    bool fresh = false;
    slot->bad[i] = 1;
    const bool skip =
        kdi_dataset_skips(j->p->data, j->p->split, slot->ids[i], failure->status, &fresh);
    if (skip) {
        if (fresh && slot->failures) slot->failures[i] = *failure;
        return;
    }
    pthread_mutex_lock(&j->mutex);
    if (i < atomic_load(&j->failed)) {
        *j->failure = *failure;
        atomic_store(&j->failed, i);
    }
    pthread_mutex_unlock(&j->mutex);
}

static const uint8_t *canvas_of(job *j, kdi_worker *w, size_t side, size_t i, kdi_key *key)
{
    kdi_slot *slot = j->slot;
    kdi_failure failure = {0};
    *key = (kdi_key){j->p->seed, (uint32_t)j->epoch, slot->ids[i], slot->copies[i]};
    const uint8_t *canvas = kdi_worker_canvas(j->p, w, side, *key, &slot->labels[i], &failure);
    if (!canvas) failed(j, i, &failure);
    return canvas;
}

static float *view_at(const job *j, size_t v, size_t i)
{
    const kdi_shape s = j->p->views[v].shape;
    return j->slot->buffers[v] + i * s.h * s.w * s.c;
}

static bool gives_up(const job *j, size_t i)
{
    return atomic_load_explicit(j->cancel, memory_order_relaxed) || atomic_load(&j->failed) < i;
}

/* A kd_task_fn: sample i. */
static void make_one(void *arg, size_t i, int worker)
{
    job *j = arg;
    kdi_worker *w = &j->p->workers[worker];
    kdi_key key;
    if (gives_up(j, i)) return;
    const uint8_t *canvas = canvas_of(j, w, 0, i, &key);
    for (size_t v = 0; canvas && v < j->p->n_views; v++)
        kdi_worker_show(j->p, w, &j->p->views[v], key, canvas, view_at(j, v, i));
}

/* A kd_task_fn: samples i and n - 1 - i, mixed. A sample stays as it is if its partner is broken or
 * is itself (the middle of an odd batch). */
static void make_two(void *arg, size_t i, int worker)
{
    job *j = arg;
    kdi_worker *w = &j->p->workers[worker];
    kdi_slot *slot = j->slot;
    const size_t at[2] = {i, j->n - 1 - i};
    kdi_key key[2];
    const uint8_t *canvas[2] = {NULL, NULL};
    if (gives_up(j, i)) return;
    for (size_t k = 0; k < (at[0] == at[1] ? 1 : 2); k++)
        canvas[k] = canvas_of(j, w, k, at[k], &key[k]);
    for (size_t v = 0; v < j->p->n_views; v++) {
        const kdi_view *view = &j->p->views[v];
        if (canvas[0] && canvas[1]) {
            float *const out[2] = {view_at(j, v, at[0]), view_at(j, v, at[1])};
            kdi_worker_show_mixed(j->p, w, view, &j->mix, key, canvas, out);
            continue;
        }
        for (size_t k = 0; k < 2; k++)
            if (canvas[k]) kdi_worker_show(j->p, w, view, key[k], canvas[k], view_at(j, v, at[k]));
    }
    const bool both = canvas[0] && canvas[1];
    for (size_t k = 0; k < 2; k++) {
        if (!canvas[k]) continue;
        slot->partners[at[k]] = slot->labels[at[both ? 1 - k : k]];
        slot->shares[at[k]] = both ? j->mix.share : 1;
    }
}

/* Move samples up into the places of those that were left out. Returns how many there are. */
static size_t close_gaps(const kdi_pipeline *p, kdi_slot *slot, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (slot->bad[i]) continue;
        const size_t to = kept++;
        if (to == i) continue;
        slot->ids[to] = slot->ids[i];
        slot->copies[to] = slot->copies[i];
        slot->labels[to] = slot->labels[i];
        if (p->mixes) {
            slot->partners[to] = slot->partners[i];
            slot->shares[to] = slot->shares[i];
        }
        for (size_t v = 0; v < p->n_views; v++) {
            const kdi_shape s = p->views[v].shape;
            const size_t floats = s.h * s.w * s.c;
            memcpy(slot->buffers[v] + to * floats, slot->buffers[v] + i * floats,
                   floats * sizeof(float));
        }
    }
    return kept;
}

static kd_status run_job(job *j, kdi_spread_fn spread, void *user)
{
    kdi_pipeline *p = j->p;
    kdi_slot *slot = j->slot;
    if (p->mixes)
        spread(user, (j->n + 1) / 2, make_two, j);
    else
        spread(user, j->n, make_one, j);
    if (atomic_load(j->cancel)) return KD_E_STOPPED;
    if (atomic_load(&j->failed) < j->n) return j->failure->status;
    slot->batch.n = close_gaps(p, slot, j->n);
    return KD_OK;
}

kd_status kdi_pipeline_fill(kdi_pipeline *p, size_t epoch, size_t index, kdi_slot *slot,
                            kdi_spread_fn spread, void *user, const atomic_bool *cancel,
                            kdi_failure *failure)
{
    const size_t start = index * p->batch, left = p->count - start, repeat = p->augmentation.repeat;
    const size_t as = p->cycle ? epoch % p->cycle : epoch;
    job j = {.p = p,
             .epoch = as,
             .n = left < p->batch ? left : p->batch,
             .slot = slot,
             .cancel = cancel,
             .failure = failure};
    atomic_init(&j.failed, j.n);
    shuffle(p, p->order_cycles ? as : epoch);
    for (size_t i = 0; i < j.n; i++) {
        slot->ids[i] = p->order[(start + i) / repeat];
        slot->copies[i] = (uint32_t)((start + i) % repeat);
    }
    memset(slot->bad, 0, j.n);
    for (size_t i = 0; i < j.n && slot->failures; i++) slot->failures[i].status = KD_OK;
    slot->made = j.n;
    slot->batch.epoch = epoch;
    slot->batch.index = index;
    if (p->mixes) j.mix = kdi_mix_draw(&p->augmentation, p->canvas, p->seed, as, index);
    if (pthread_mutex_init(&j.mutex, NULL))
        return kdi_failure_set(failure, KD_E_SYSTEM, "loader of '%.100s': no mutex",
                               p->data->info.name);
    const kd_status status = run_job(&j, spread, user);
    pthread_mutex_destroy(&j.mutex);
    return status;
}
