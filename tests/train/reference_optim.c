/* SPDX-License-Identifier: MIT
 * reference_optim.c: what a step does to the weights, in double precision, by the formulas in
 * PyTorch's documentation of SGD, AdamW and OneCycleLR. */
#include "reference.h"

#include <math.h>

/* From a to b by half a cosine. */
static double between(double a, double b, double t)
{
    return (a + b) / 2 + (a - b) / 2 * cos(acos(-1) * t);
}

double ref_schedule(kd_schedule schedule, double progress)
{
    static const double drops[] = {150.0 / 240, 180.0 / 240, 210.0 / 240};
    double factor = 1;
    switch (schedule) {
    case KD_SCHEDULE_STEP:
        for (size_t i = 0; i < 3; i++)
            if (progress >= drops[i]) factor /= 10;
        return factor;
    case KD_SCHEDULE_COSINE:
        return between(1, 0, progress);
    case KD_SCHEDULE_ONECYCLE: /* div_factor 25, final_div_factor 1e4, pct_start .3 */
        if (progress < .3) return between(1.0 / 25, 1, progress / .3);
        return between(1, 1.0 / 25 / 1e4, (progress - .3) / .7);
    case KD_SCHEDULE_AUTO:
    case KD_SCHEDULE_CONSTANT:
    case KD_SCHEDULE_COUNT:
        break;
    }
    return factor;
}

double ref_grad_norm(const ref_net *net)
{
    double sum = 0;
    for (size_t i = 0; i < net->n; i++)
        for (size_t k = 0; k < net->arrays[i].count; k++)
            sum += net->arrays[i].grad[k] * net->arrays[i].grad[k];
    return sqrt(sum);
}

static void sgd(ref_array *a, const kd_train_opt *o, double lr, double scale, double decay)
{
    const double momentum = (double)o->momentum;
    for (size_t i = 0; i < a->count; i++) {
        const double g = scale * a->grad[i] + decay * a->value[i];
        a->first[i] = momentum * a->first[i] + g;
        a->value[i] -= lr * (o->nesterov ? g + momentum * a->first[i] : a->first[i]);
    }
}

static void adamw(ref_array *a, const kd_train_opt *o, double lr, double scale, double decay,
                  size_t t)
{
    for (size_t i = 0; i < a->count; i++) {
        const double g = scale * a->grad[i];
        a->value[i] -= lr * decay * a->value[i];
        a->first[i] = o->beta1 * a->first[i] + (1 - o->beta1) * g;
        a->second[i] = o->beta2 * a->second[i] + (1 - o->beta2) * g * g;
        const double mean = a->first[i] / (1 - pow(o->beta1, (double)t));
        const double square = a->second[i] / (1 - pow(o->beta2, (double)t));
        a->value[i] -= lr * mean / (sqrt(square) + (double)o->eps);
    }
}

void ref_update(ref_net *net, const kd_train_opt *o, double lr, double scale, size_t t)
{
    for (size_t i = 0; i < net->n; i++) {
        ref_array *a = &net->arrays[i];
        if (a->buffer || a->frozen) continue;
        const double above = (double)(net->layers - 1 - a->layer);
        const double rate = lr * a->rate * pow((double)o->layer_decay, above);
        const double decay = a->decays || o->decay_all ? (double)o->weight_decay : 0;
        if (o->optimizer == KD_OPTIMIZER_ADAMW)
            adamw(a, o, rate, scale, decay, t);
        else
            sgd(a, o, rate, scale, decay);
    }
}

/* Buffers are the newest. */
void ref_average(ref_net *net, double decay)
{
    for (size_t i = 0; i < net->n; i++) {
        ref_array *a = &net->arrays[i];
        for (size_t k = 0; k < a->count; k++)
            a->average[k] =
                a->buffer ? a->value[k] : decay * a->average[k] + (1 - decay) * a->value[k];
    }
}
