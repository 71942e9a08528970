/* SPDX-License-Identifier: MIT
 * adamw.c: Adam with decoupled weight decay (Loshchilov & Hutter 2019), as PyTorch has it; t counts
 * the updates from 1:
 *
 *   g   = scale * grad
 *   p  -= lr * decay * p
 *   m  += (1 - beta1) * (g - m)
 *   v   = beta2 * v + (1 - beta2) * g * g
 *   p  -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *
 * The betas are doubles: 1 - .999f would be off by 1e-5. One pass over the four arrays, threaded
 * over chunks: memory sets its speed. */
#include "optim.h"

#include <math.h>

/* What all elements of a chunk share. */
typedef struct factors {
    float scale, keep;         /* keep = 1 - lr * decay */
    float beta2, gain1, gain2; /* gain = 1 - beta */
    float step;                /* lr / (1 - beta1^t) */
    float root;                /* 1 / sqrt(1 - beta2^t) */
    float eps;
} factors;

static void update(size_t n, float *restrict p, const float *restrict g, float *restrict m,
                   float *restrict v, const factors *restrict f)
{
    const factors c = *f;
    for (size_t i = 0; i < n; i++) {
        const float grad = c.scale * g[i];
        m[i] += c.gain1 * (grad - m[i]);
        v[i] = c.beta2 * v[i] + c.gain2 * grad * grad;
        p[i] = c.keep * p[i] - c.step * m[i] / (sqrtf(v[i]) * c.root + c.eps);
    }
}

typedef struct adamw_task {
    const kd_optim *o;
    float *values, *m, *v;
    const float *grads;
    float lr, scale;
    double correction1, correction2; /* 1 - beta^t */
} adamw_task;

static void chunk(void *arg, size_t index, int worker)
{
    (void)worker;
    const adamw_task *t = arg;
    const kdt_chunk *c = &t->o->chunks[index];
    const kd_optim_opt *opt = &t->o->opt;
    const double lr = (double)t->lr * (double)c->rate;
    const factors f = {.scale = t->scale,
                       .keep = c->decay ? (float)(1 - lr * (double)opt->weight_decay) : 1,
                       .beta2 = (float)opt->beta2,
                       .gain1 = (float)(1 - opt->beta1),
                       .gain2 = (float)(1 - opt->beta2),
                       .step = (float)(lr / t->correction1),
                       .root = (float)(1 / sqrt(t->correction2)),
                       .eps = opt->eps};
    update(c->count, t->values + c->offset, t->grads + c->offset, t->m + c->offset,
           t->v + c->offset, &f);
}

void kdt_adamw_step(kd_optim *o, float lr, float grad_scale)
{
    adamw_task t = {.o = o,
                    .values = kd_params_values(o->params),
                    .m = o->state[0],
                    .v = o->state[1],
                    .grads = kd_params_grads(o->params),
                    .lr = lr,
                    .scale = grad_scale,
                    .correction1 = 1 - pow(o->opt.beta1, (double)o->steps),
                    .correction2 = 1 - pow(o->opt.beta2, (double)o->steps)};
    kd_parallel_for(kd_params_ctx(o->params), o->n_chunks, chunk, &t);
}
