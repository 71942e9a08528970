/* SPDX-License-Identifier: MIT
 * step_loss.c: the loss of a step, hard * cross-entropy + soft * sum over teachers of weight * what the
 * method asks for, written as ops.
 *
 * Of a student with a distillation token the class head learns the labels, and the distillation
 * head from the teachers (Touvron et al. 2021, "DeiT"); without a teacher their mean learns the
 * labels. */
#include "train.h"

#include <stdio.h>

bool kdt_needs_soft_weight(const kd_distill_opt *opt)
{
    return opt->n_teachers > 0 && opt->method == KD_METHOD_DKD && opt->dkd_warmup > 0;
}

bool kdt_reads_logits(const kd_distill_opt *o)
{
    return o->soft > 0 || o->loss;
}

static kd_value from_teacher(kd_graph *g, const kd_distill_opt *o, kd_value logits,
                             kd_value teacher, kd_value labels)
{
    switch (o->method) {
    case KD_METHOD_HARD:
        return kd_loss_hard(g, logits, teacher);
    case KD_METHOD_DKD:
        return kd_loss_dkd(g, logits, teacher, labels, o->temperature, o->alpha, o->beta);
    case KD_METHOD_STANDARDIZED:
        return kd_loss_kd(g, kd_standardize(g, logits), kd_standardize(g, teacher), o->temperature);
    case KD_METHOD_KD:
    case KD_METHOD_COUNT:
        break;
    }
    return kd_loss_kd(g, logits, teacher, o->temperature);
}

kd_value kdt_step_loss(kd_graph *g, const kd_distill_opt *o, const kdt_step *step, kd_value logits,
                       const kd_value heads[2], size_t classes)
{
    const bool mixed = step->mixed;
    kd_value teachers[KD_MAX_TEACHERS];
    const kd_value mean = logits;
    const int64_t rows[] = {KD_BATCH, (int64_t)classes}, one[] = {1};
    kd_graph_part(g, KD_PART_LOSS);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, rows);
    const kd_value partners = mixed ? kd_input(g, "partners", KD_I32, 1, rows) : KD_NONE;
    const kd_value shares = mixed ? kd_input(g, "shares", KD_F32, 1, rows) : KD_NONE;
    const float hard = o->n_teachers ? o->hard : 1;
    kd_value loss = KD_NONE, soft = KD_NONE;
    bool first = true;
    if (hard > 0) {
        const float smoothing = o->train->label_smoothing;
        if (o->n_teachers) logits = heads[0];
        loss = mixed ? kd_cross_entropy_mixed(g, logits, labels, partners, shares, smoothing)
                     : kd_cross_entropy(g, logits, labels, smoothing);
        kd_output(g, loss, "loss_hard");
        if (hard != 1) loss = kd_scale(g, loss, hard);
        first = false;
    }
    for (size_t t = 0; t < o->n_teachers && kdt_reads_logits(o); t++) {
        char name[32];
        snprintf(name, sizeof name, "teacher%zu", t);
        const kd_value teacher = teachers[t] = kd_input(g, name, KD_F32, 2, rows);
        if (o->soft <= 0) continue;
        const float weight =
            o->teacher_weights ? o->teacher_weights[t] : 1.0f / (float)o->n_teachers;
        kd_value part = from_teacher(g, o, heads[1], teacher, labels);
        if (o->n_teachers > 1) part = kd_scale(g, part, weight);
        soft = t ? kd_add(g, soft, part) : part;
    }
    if (o->n_teachers && o->soft > 0) {
        kd_output(g, soft, "loss_soft");
        if (o->soft != 1) soft = kd_scale(g, soft, o->soft);
        if (kdt_needs_soft_weight(o))
            soft = kd_mul(g, soft, kd_input(g, "soft_weight", KD_F32, 1, one));
        loss = first ? soft : kd_add(g, loss, soft);
        first = false;
    }
    if (o->feature && step->features) {
        const kd_value feature = kdt_feature_loss(g, o, step->features);
        loss = first ? feature : kd_add(g, loss, feature);
        first = false;
    }
    if (o->loss && step->features) {
        const kd_value own = kdt_own_loss(g, o, step->features, mean, labels, teachers);
        loss = first ? own : kd_add(g, loss, own);
        first = false;
    }
    return loss;
}
