/* SPDX-License-Identifier: MIT
 * batch_gradient.c: forward and backward of one batch, in as many micro-batches as the plan takes. A
 * micro-batch of n pictures has weight n / B, in the losses that are summed up and in the gradients.
 * B is the batch that was asked for: an epoch's last batch is smaller, and so is one with pictures
 * that cannot be read. Gradients are added in the micro-batches' order. */
#include "train.h"

#include <math.h>
#include <stdio.h>

/* A micro-batch's arrays begin with picture `first`. */
static kd_status bind(kdt_run *run, size_t first)
{
    const kdt_feed *feed = run->feed;
    const kd_batch *b = feed->now;
    const size_t picture = kdt_picture(run->model);
    kd_status status = kd_exec_bind(run->exec, "input", b->views[run->view] + first * picture);
    if (!status) status = kd_exec_bind(run->exec, "labels", b->labels + first);
    if (!status && b->shares) {
        status = kd_exec_bind(run->exec, "partners", b->partners + first);
        if (!status) status = kd_exec_bind(run->exec, "shares", b->shares + first);
    }
    for (size_t t = 0; t < run->features.n_teacher && !status; t++) {
        char name[KD_TAP_NAME + 16];
        const kdt_tap_rows *tap = kdt_taps_find(feed, run->features.teacher[t].name);
        snprintf(name, sizeof name, "teacher0.%s", tap->name);
        status = kd_exec_bind(run->exec, name, tap->rows + first * tap->size);
    }
    for (size_t t = 0; t < run->opt.n_teachers && !status && kdt_reads_logits(&run->opt); t++) {
        char name[32];
        snprintf(name, sizeof name, "teacher%zu", t);
        status = kd_exec_bind(run->exec, name, kdt_teacher_logits(feed, t, first));
    }
    return status;
}

static size_t argmax(const float *row, size_t classes)
{
    size_t best = 0;
    for (size_t k = 1; k < classes; k++)
        if (row[k] > row[best]) best = k;
    return best;
}

/* The class that counts as right: of a mixed picture the one of which it shows most. */
static size_t label_of(const kd_batch *b, size_t i)
{
    if (b->shares && b->shares[i] < .5f) return (size_t)b->partners[i];
    return (size_t)b->labels[i];
}

static void count(kdt_run *run, size_t first, size_t n, kdt_sums *sums)
{
    const float *logits = kd_exec_output(run->exec, "logits");
    const size_t classes = kd_model_classes(run->model);
    for (size_t i = 0; i < n; i++) {
        const size_t label = label_of(run->feed->now, first + i);
        const size_t best = argmax(logits + i * classes, classes);
        sums->correct += best == label;
        if (!run->opt.n_teachers || run->feed->mute) continue;
        const size_t taught = kdt_teachers_class(run->feed, first + i);
        sums->teacher_correct += taught == label;
        sums->agreed += taught == best;
    }
}

/* A part of the loss that this plan does not have is not measured. */
static double part(const kdt_run *run, const char *name)
{
    const float *value = kd_exec_output(run->exec, name);
    return value ? (double)*value : (double)NAN;
}

static kd_status run_micro_batch(kdt_run *run, size_t first, size_t n, kdt_sums *sums)
{
    const double weight = (double)n / (double)run->train.batch;
    kd_run_opt how = run->how;
    how.batch = n;
    how.first = first;
    how.weight = (float)weight;
    how.accumulate |= first > 0;
    kd_status status = bind(run, first);
    if (!status) status = kd_exec_run(run->exec, &how);
    if (status) return status;
    sums->loss += weight * part(run, "loss");
    sums->hard += weight * part(run, "loss_hard");
    sums->soft += weight * part(run, "loss_soft");
    sums->feature += weight * part(run, "loss_feature");
    sums->images += n;
    count(run, first, n, sums);
    return KD_OK;
}

kd_status kdt_batch_gradient(kdt_run *run, kdt_sums *sums)
{
    const size_t all = run->feed->taken, most = kd_plan_batch(run->plan);
    kd_status status = KD_OK;
    kd_exec_reset_seconds(run->exec);
    for (size_t first = 0; first < all && !status; first += most)
        status = run_micro_batch(run, first, all - first < most ? all - first : most, sums);
    sums->times.forward += kd_exec_seconds(run->exec, KD_PART_FORWARD);
    sums->times.loss += kd_exec_seconds(run->exec, KD_PART_LOSS);
    sums->times.backward += kd_exec_seconds(run->exec, KD_PART_BACKWARD);
    return status;
}
