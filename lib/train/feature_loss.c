/* SPDX-License-Identifier: MIT
 * feature_loss.c: the losses of the option `feature` as ops (kd_feature has their formulas), summed
 * over pairs of taps, times feature_weight.
 *
 * Weights as published: FitNets 100, attention transfer 1000, relations 25 and 50 (RepDistiller's
 * train_student.py: --distill hint -b 100, attention -b 1000, rkd -b 1); TinyBERT's and MiniViT's
 * losses 1. */
#include "train.h"

#include <stdio.h>

/* ---- two taps of one size -------------------------------------------------------------------- */

/* Tokens as the map of their patches: the square at their end, class tokens left out. */
static kd_value as_map(kd_graph *g, kd_value x)
{
    const kd_shape s = kd_graph_shape(g, x);
    int64_t side = 1;
    if (s.rank != 3) return x;
    while ((side + 1) * (side + 1) <= s.dim[1]) side++;
    const int first = (int)(s.dim[1] - side * side);
    const int64_t dim[] = {s.dim[0], side, side, s.dim[2]};
    if (first) x = kd_select_tokens(g, x, first, (int)(side * side));
    return kd_reshape(g, x, 4, dim);
}

/* Two maps: the larger one is averaged to the smaller one's size. */
static void fit(kd_graph *g, kd_value *a, kd_value *b)
{
    *a = as_map(g, *a);
    *b = as_map(g, *b);
    const kd_shape s = kd_graph_shape(g, *a), t = kd_graph_shape(g, *b);
    if (s.rank != 4 || t.rank != 4) return;
    const int h = (int)(s.dim[1] < t.dim[1] ? s.dim[1] : t.dim[1]);
    const int w = (int)(s.dim[2] < t.dim[2] ? s.dim[2] : t.dim[2]);
    if (s.dim[1] != h || s.dim[2] != w) *a = kd_adaptive_avg_pool(g, *a, h, w);
    if (t.dim[1] != h || t.dim[2] != w) *b = kd_adaptive_avg_pool(g, *b, h, w);
}

/* r(s): a linear layer over the channels, to as many as the target has. */
static kd_value regress(kd_graph *g, kd_value s, kd_value target, size_t pair)
{
    char name[32];
    const kd_shape to = kd_graph_shape(g, target);
    if (to.rank < 2) return KD_NONE;
    snprintf(name, sizeof name, "regressor.%zu", pair);
    return kd_linear(g, s, name, (int)to.dim[to.rank - 1], 1);
}

/* [N,heads,T,T] -> [N,T*T], the mean over the heads. */
static kd_value mean_of_heads(kd_graph *g, kd_value x)
{
    const kd_shape s = kd_graph_shape(g, x);
    if (s.rank != 4) return KD_NONE;
    const int64_t rows[] = {s.dim[0], s.dim[1], s.dim[2] * s.dim[3]};
    const int64_t square[] = {s.dim[0], s.dim[2], s.dim[3]};
    return kd_reshape(g, kd_global_avg_pool(g, kd_reshape(g, x, 3, rows)), 3, square);
}

/* ---- the losses ------------------------------------------------------------------------------ */

static kd_value energy(kd_graph *g, kd_value x)
{
    return kd_l2_normalize(g, kd_channel_energy(g, x));
}

static kd_value attention(kd_graph *g, kd_value s, kd_value t)
{
    if (kd_graph_shape(g, s).dim[1] == kd_graph_shape(g, t).dim[1]) return kd_loss_kl(g, s, t);
    return kd_loss_kl(g, mean_of_heads(g, s), mean_of_heads(g, t));
}

/* 1 - cos = |a - b|^2 / 2 of unit vectors, whose mean over all numbers mse has. */
static kd_value cosine(kd_graph *g, kd_value s, kd_value t)
{
    const kd_shape to = kd_graph_shape(g, t);
    if (to.rank < 2) return KD_NONE;
    return kd_scale(g, kd_loss_mse(g, kd_l2_normalize(g, s), kd_l2_normalize(g, t)),
                    .5f * (float)to.dim[to.rank - 1]);
}

static kd_value compare(kd_graph *g, kd_feature feature, kd_value s, kd_value t, size_t pair)
{
    if (feature == KD_FEATURE_ATTENTION) return attention(g, s, t);
    if (feature == KD_FEATURE_RKD) return kd_loss_rkd(g, s, t, 25, 50);
    fit(g, &s, &t);
    if (feature == KD_FEATURE_AT) return kd_loss_mse(g, energy(g, s), energy(g, t));
    s = regress(g, s, t, pair);
    return feature == KD_FEATURE_COSINE ? cosine(g, s, t) : kd_loss_mse(g, s, t);
}

kd_value kdt_feature_loss(kd_graph *g, const kd_distill_opt *o, const kdt_features *f)
{
    const size_t pairs = f->n_student - f->own_student;
    kd_value sum = KD_NONE;
    kd_graph_scope(g, "loss");
    for (size_t i = 0; i < pairs; i++) {
        const kd_value one = compare(g, o->feature, f->student[f->own_student + i].value,
                                     f->teacher[f->own_teacher + i].value, i);
        sum = i ? kd_add(g, sum, one) : one;
    }
    kd_graph_unscope(g);
    kd_output(g, sum, "loss_feature");
    return kd_scale(g, sum, o->feature_weight);
}
