/* SPDX-License-Identifier: MIT
 * sgd.c: stochastic gradient descent with momentum, as PyTorch has it:
 *
 *   g   = scale * grad + decay * p
 *   buf = momentum * buf + g       (the first time: g)
 *   p  -= lr * (nesterov ? g + momentum * buf : buf)
 *
 * One pass over the four arrays, threaded over chunks. */
#include "optim.h"

typedef struct sgd_task {
    const kd_optim *o;
    float *values, *momentum;
    const float *grads;
    float lr, scale;
} sgd_task;

static void plain(size_t n, float *restrict p, const float *restrict g, float lr, float scale,
                  float decay)
{
    for (size_t i = 0; i < n; i++) p[i] -= lr * (scale * g[i] + decay * p[i]);
}

static void with_momentum(size_t n, float *restrict p, const float *restrict g, float *restrict buf,
                          float lr, float scale, float decay, float momentum)
{
    for (size_t i = 0; i < n; i++) {
        buf[i] = momentum * buf[i] + (scale * g[i] + decay * p[i]);
        p[i] -= lr * buf[i];
    }
}

static void nesterov(size_t n, float *restrict p, const float *restrict g, float *restrict buf,
                     float lr, float scale, float decay, float momentum)
{
    for (size_t i = 0; i < n; i++) {
        const float step = scale * g[i] + decay * p[i];
        buf[i] = momentum * buf[i] + step;
        p[i] -= lr * (step + momentum * buf[i]);
    }
}

static void chunk(void *arg, size_t index, int worker)
{
    (void)worker;
    const sgd_task *t = arg;
    const kdt_chunk *c = &t->o->chunks[index];
    const kd_optim_opt *opt = &t->o->opt;
    float *p = t->values + c->offset;
    const float *g = t->grads + c->offset;
    const float decay = c->decay ? opt->weight_decay : 0, lr = t->lr * c->rate;
    if (opt->momentum == 0)
        plain(c->count, p, g, lr, t->scale, decay);
    else if (opt->nesterov)
        nesterov(c->count, p, g, t->momentum + c->offset, lr, t->scale, decay, opt->momentum);
    else
        with_momentum(c->count, p, g, t->momentum + c->offset, lr, t->scale, decay, opt->momentum);
}

/* The buffers start at zero, so that the first step's momentum * 0 + g is PyTorch's g. */
void kdt_sgd_step(kd_optim *o, float lr, float grad_scale)
{
    sgd_task t = {
        o, kd_params_values(o->params), o->state[0], kd_params_grads(o->params), lr, grad_scale};
    kd_parallel_for(kd_params_ctx(o->params), o->n_chunks, chunk, &t);
}
