/* SPDX-License-Identifier: MIT
 * optim.c: what all optimisers share: the flat arrays cut into chunks by shape, each chunk inside
 * one parameter, so that a chunk either decays or does not; norms and averages over the same
 * cuts. */
#include "optim.h"

#include "train.h"

#include <math.h>
#include <string.h>

const char *kd_optimizer_name(kd_optimizer optimizer)
{
    static const char *const names[] = {
        [KD_OPTIMIZER_AUTO] = "auto", [KD_OPTIMIZER_SGD] = "sgd", [KD_OPTIMIZER_ADAMW] = "adamw"};
    return (unsigned)optimizer < KD_OPTIMIZER_COUNT ? names[optimizer] : NULL;
}

/* The factor of the last group that has this name. */
static float group_rate(const kd_optim_opt *o, const char *name)
{
    for (size_t g = o->n_groups; g-- > 0;)
        if (kd_name_matches(o->groups[g].names, name)) return o->groups[g].rate;
    return 1;
}

/* Chunks of all entries that learn; with chunks NULL they are only counted. rates: factors on each
 * entry's learning rate. */
static size_t cut(const kd_params *params, bool decay_all, const float *rates, kdt_chunk *chunks)
{
    size_t n = 0;
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        for (size_t at = 0; !info->buffer && rates[i] > 0 && at < info->count; at += KDT_CHUNK) {
            const size_t left = info->count - at;
            if (chunks)
                chunks[n] = (kdt_chunk){info->offset + at, left < KDT_CHUNK ? left : KDT_CHUNK,
                                        decay_all || !info->no_decay, rates[i]};
            n++;
        }
    }
    return n;
}

static void find_rates(const kd_optim *o, const size_t *layer, size_t layers, float *rates)
{
    for (size_t i = 0; i < kd_params_entries(o->params); i++) {
        const size_t above = layer[i] < layers ? layers - 1 - layer[i] : 0;
        rates[i] = (float)pow((double)o->opt.layer_decay, (double)above) *
                   group_rate(&o->opt, kd_params_info(o->params, i)->name);
    }
}

static kd_status make_chunks(kd_optim *o)
{
    kd_ctx *ctx = kd_params_ctx(o->params);
    const size_t entries = kd_params_entries(o->params);
    const bool all = o->opt.decay_all != 0;
    size_t layers;
    size_t *layer = kd_ctx_alloc(ctx, entries, sizeof *layer);
    float *rates = kd_ctx_alloc(ctx, entries, sizeof *rates);
    kd_status status =
        layer && rates ? kdt_layers(o->params, layer, &layers) : kd_ctx_memory_status(ctx);
    if (!status) {
        find_rates(o, layer, layers, rates);
        o->n_chunks = cut(o->params, all, rates, NULL);
        o->chunks = kd_ctx_alloc(ctx, o->n_chunks, sizeof *o->chunks);
        if (!o->chunks) status = kd_ctx_memory_status(ctx);
    }
    if (!status) cut(o->params, all, rates, o->chunks);
    kd_ctx_free(ctx, layer);
    kd_ctx_free(ctx, rates);
    return status;
}

/* Rates are numbers, and none is below zero. */
static kd_status check_groups(kd_ctx *ctx, const kd_optim_opt *o)
{
    for (size_t g = 0; g < o->n_groups; g++)
        if (!o->groups || !o->groups[g].names || !isfinite(o->groups[g].rate) ||
            o->groups[g].rate < 0)
            return kd_ctx_fail(ctx, KD_E_INVALID, "kd_optim_opt.groups: group %zu is none", g);
    return KD_OK;
}

/* The options as a run has them: the table of options knows their defaults and mistakes. */
static kd_status resolve(kd_ctx *ctx, kd_optim_opt *o)
{
    const kd_train_opt given = {.struct_size = sizeof given,
                                .optimizer = o->optimizer,
                                .momentum = o->momentum,
                                .nesterov = o->nesterov,
                                .weight_decay = o->weight_decay,
                                .decay_all = o->decay_all,
                                .beta1 = o->beta1,
                                .beta2 = o->beta2,
                                .eps = o->eps,
                                .layer_decay = o->layer_decay};
    kd_train_opt t;
    kd_distill_opt none;
    const kd_status status = kdt_take(ctx, NULL, &given, NULL, false, &t, &none);
    if (status) return status;
    *o = (kd_optim_opt){.struct_size = sizeof *o,
                        .optimizer = t.optimizer,
                        .momentum = t.momentum,
                        .nesterov = t.nesterov,
                        .weight_decay = t.weight_decay,
                        .decay_all = t.decay_all,
                        .beta1 = t.beta1,
                        .beta2 = t.beta2,
                        .eps = t.eps,
                        .layer_decay = t.layer_decay,
                        .groups = o->groups,
                        .n_groups = o->n_groups};
    return KD_OK;
}

kd_status kd_optim_create(kd_params *params, const kd_optim_opt *options, kd_optim **out)
{
    kd_optim_opt opt;
    if (out) *out = NULL;
    if (!params) return KD_E_INVALID;
    kd_ctx *ctx = kd_params_ctx(params);
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_optim_create: NULL");
    kd_status status = kd_options(ctx, "kd_optim_opt", &opt, sizeof opt, options);
    if (!status) status = check_groups(ctx, &opt);
    if (!status) status = resolve(ctx, &opt);
    if (status) return status;
    kd_optim *o = kd_ctx_alloc(ctx, 1, sizeof *o);
    if (!o) return kd_ctx_memory_status(ctx);
    o->params = params;
    o->opt = opt;
    o->n_states = opt.optimizer == KD_OPTIMIZER_ADAMW ? 2 : opt.momentum > 0 ? 1 : 0;
    status = make_chunks(o);
    o->opt.groups = NULL; /* the caller's */
    for (size_t i = 0; i < o->n_states && !status; i++) {
        o->state[i] = kd_ctx_alloc(ctx, kd_params_flat_count(params), sizeof(float));
        if (!o->state[i]) status = kd_ctx_memory_status(ctx);
    }
    if (!status) status = kd_params_need_grads(params);
    if (status)
        kd_optim_destroy(o);
    else
        *out = o;
    return status;
}

void kd_optim_destroy(kd_optim *o)
{
    if (!o) return;
    kd_ctx *ctx = kd_params_ctx(o->params);
    kd_ctx_free(ctx, o->chunks);
    for (size_t i = 0; i < KDT_STATES; i++) kd_ctx_free(ctx, o->state[i]);
    kd_ctx_free(ctx, o);
}

void kd_optim_step(kd_optim *o, float lr, float grad_scale)
{
    if (!o) return;
    o->steps++;
    if (o->opt.optimizer == KD_OPTIMIZER_ADAMW)
        kdt_adamw_step(o, lr, grad_scale);
    else
        kdt_sgd_step(o, lr, grad_scale);
    kd_params_touch(o->params);
}

float *kd_optim_state(kd_optim *o, size_t i, const char **name)
{
    static const char *const names[KD_OPTIMIZER_COUNT][KDT_STATES] = {
        [KD_OPTIMIZER_SGD] = {"momentum"}, [KD_OPTIMIZER_ADAMW] = {"exp_avg", "exp_avg_sq"}};
    if (!o || i >= o->n_states) return NULL;
    if (name) *name = names[o->opt.optimizer][i];
    return o->state[i];
}

uint64_t kd_optim_steps(const kd_optim *o)
{
    return o ? o->steps : 0;
}

void kd_optim_set_steps(kd_optim *o, uint64_t steps)
{
    if (o) o->steps = steps;
}

/* ---- norms and averages ---------------------------------------------------------------------- */

/* Sums of squares of as many equal pieces of the flat array; its padding is zero. */
enum { PIECES = 64, LANES = 8 };

typedef struct squares {
    const float *x;
    size_t count;
    double sums[PIECES];
} squares;

static void square_piece(void *arg, size_t index, int worker)
{
    squares *s = arg;
    const size_t size = (s->count / PIECES + LANES) / LANES * LANES, begin = index * size;
    const size_t left = begin < s->count ? s->count - begin : 0, n = left < size ? left : size;
    double sum[LANES] = {0};
    (void)worker;
    for (size_t i = 0; i + LANES <= n; i += LANES) /* the count is a multiple of 16 */
        for (size_t k = 0; k < LANES; k++) {
            const double x = (double)s->x[begin + i + k];
            sum[k] += x * x;
        }
    for (int k = 0; k < LANES; k++) s->sums[index] += sum[k];
}

double kd_params_grad_norm(const kd_params *params)
{
    /* A const set of parameters still has one array of gradients, which is only read here. */
    union {
        const kd_params *in;
        kd_params *p;
    } u = {params};
    squares s = {.x = kd_params_grads(u.p), .count = kd_params_flat_count(params)};
    double sum = 0;
    if (!s.x) return 0;
    kd_parallel_for(kd_params_ctx(params), PIECES, square_piece, &s);
    for (int i = 0; i < PIECES; i++) sum += s.sums[i];
    return sqrt(sum);
}

typedef struct average_task {
    float *average;
    const float *values;
    size_t count;
    float decay;
} average_task;

static void average_block(void *arg, size_t index, int worker)
{
    (void)worker;
    const average_task *t = arg;
    const size_t begin = index * KDT_CHUNK;
    const size_t end = t->count - begin < KDT_CHUNK ? t->count : begin + KDT_CHUNK;
    for (size_t i = begin; i < end; i++)
        t->average[i] = t->decay * t->average[i] + (1 - t->decay) * t->values[i];
}

void kd_params_average(kd_params *average, const kd_params *params, float decay)
{
    union {
        const kd_params *in;
        kd_params *p;
    } u = {params}; /* only read */
    if (!average || !params) return;
    average_task t = {kd_params_values(average), kd_params_values(u.p),
                      kd_params_flat_count(params), decay};
    kd_parallel_for(kd_params_ctx(params), (t.count + KDT_CHUNK - 1) / KDT_CHUNK, average_block,
                    &t);
    memcpy(kd_params_buffers(average), kd_params_buffers(u.p), kd_params_buffer_bytes(params));
    kd_params_touch(average);
}
