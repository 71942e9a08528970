/* SPDX-License-Identifier: MIT
 * optim.c: what all optimisers share: the flat arrays cut into chunks by shape, each chunk inside
 * one parameter, so that a chunk either decays or does not; norms and averages over the same cuts. */
#include "optim.h"

#include <math.h>
#include <string.h>

const char *kd_optimizer_name(kd_optimizer optimizer)
{
    static const char *const names[] = {[KD_SGD] = "sgd"};
    return (unsigned)optimizer < KD_OPTIMIZERS ? names[optimizer] : NULL;
}

/* Chunks of all trainable entries; with chunks NULL they are only counted. */
static size_t cut(const kd_params *params, bool decay_all, kdt_chunk *chunks)
{
    size_t n = 0;
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        for (size_t at = 0; !info->buffer && at < info->count; at += KDT_CHUNK) {
            const size_t left = info->count - at;
            if (chunks)
                chunks[n] = (kdt_chunk){info->offset + at, left < KDT_CHUNK ? left : KDT_CHUNK,
                                        decay_all || !info->no_decay};
            n++;
        }
    }
    return n;
}

kd_status kd_optim_create(kd_params *params, const kd_optim_opt *options, kd_optim **out)
{
    kd_ctx *ctx = kd_params_ctx(params);
    kd_optim_opt opt = {.struct_size = sizeof opt};
    *out = NULL;
    if (options && options->struct_size > sizeof opt)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_optim_create: unknown options");
    if (options) memcpy(&opt, options, options->struct_size);
    if (opt.momentum == 0) opt.momentum = .9f;
    if (opt.momentum < 0) opt.momentum = 0;
    if (opt.weight_decay < 0) opt.weight_decay = 0;
    if (!(opt.momentum < 1) || !(opt.weight_decay < 1e6f) ||
        (unsigned)opt.optimizer >= KD_OPTIMIZERS)
        return kd_ctx_fail(ctx, KD_E_INVALID, "momentum %g and weight decay %g: out of range",
                           (double)opt.momentum, (double)opt.weight_decay);
    if (opt.nesterov && opt.momentum == 0)
        return kd_ctx_fail(ctx, KD_E_INVALID, "Nesterov's method needs a momentum");
    kd_optim *o = kd_alloc(ctx, 1, sizeof *o);
    if (!o) return KD_E_NOMEM;
    o->params = params;
    o->opt = opt;
    o->n_chunks = cut(params, opt.decay_all != 0, NULL);
    o->chunks = kd_alloc(ctx, o->n_chunks, sizeof *o->chunks);
    o->momentum = kd_alloc(ctx, opt.momentum > 0 ? kd_params_flat_count(params) : 0, sizeof(float));
    kd_status status = o->chunks && o->momentum ? kd_params_need_grads(params) : KD_E_NOMEM;
    if (status) {
        kd_optim_destroy(o);
        return status;
    }
    cut(params, opt.decay_all != 0, o->chunks);
    *out = o;
    return KD_OK;
}

void kd_optim_destroy(kd_optim *o)
{
    if (!o) return;
    kd_ctx *ctx = kd_params_ctx(o->params);
    kd_free(ctx, o->chunks);
    kd_free(ctx, o->momentum);
    kd_free(ctx, o);
}

void kd_optim_step(kd_optim *o, float lr, float grad_scale)
{
    kdt_sgd_step(o, lr, grad_scale);
    o->steps++;
    kd_params_touch(o->params);
}

float *kd_optim_state(kd_optim *o, size_t i, const char **name)
{
    if (i > 0 || o->opt.momentum == 0) return NULL;
    if (name) *name = "momentum";
    return o->momentum;
}

uint64_t kd_optim_steps(const kd_optim *o)
{
    return o->steps;
}

void kd_optim_set_steps(kd_optim *o, uint64_t steps)
{
    o->steps = steps;
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
    average_task t = {kd_params_values(average), kd_params_values(u.p),
                      kd_params_flat_count(params), decay};
    kd_parallel_for(kd_params_ctx(params), (t.count + KDT_CHUNK - 1) / KDT_CHUNK, average_block,
                    &t);
    memcpy(kd_params_buffers(average), kd_params_buffers(u.p), kd_params_buffer_bytes(params));
    kd_params_touch(average);
}
