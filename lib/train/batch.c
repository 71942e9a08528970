/* SPDX-License-Identifier: MIT
 * batch.c: forward and backward of one batch, in as many pieces as the program takes. A piece of n
 * pictures has weight n / B, B being the batch that was asked for (pictures that cannot be read
 * make it smaller): in the loss that is summed up, and in the gradients, which are added in the
 * pieces' order. What the optimiser then sees is the batch's mean gradient, summed differently. */
#include "train.h"

/* A piece's arrays begin with picture `first`. */
static kd_status bind(kdt_run *run, size_t first)
{
    const kd_batch *b = run->now;
    const size_t side = kd_model_image(run->model);
    const size_t picture = side * side * kd_model_channels(run->model);
    kd_status status = kd_exec_bind(run->exec, "input", b->views[0] + first * picture);
    if (!status) status = kd_exec_bind(run->exec, "labels", b->labels + first);
    if (!status && b->shares) {
        status = kd_exec_bind(run->exec, "partners", b->partners + first);
        if (!status) status = kd_exec_bind(run->exec, "shares", b->shares + first);
    }
    return status;
}

static uint64_t count_correct(const kdt_run *run, size_t first, size_t n)
{
    const kd_batch *b = run->now;
    const float *logits = kd_exec_output(run->exec, "logits");
    const size_t classes = kd_model_classes(run->model);
    uint64_t correct = 0;
    for (size_t i = 0; i < n; i++) {
        const float *row = logits + i * classes;
        size_t best = 0;
        for (size_t k = 1; k < classes; k++)
            if (row[k] > row[best]) best = k;
        /* A mixed picture counts as what it shows most of. */
        const bool other = b->shares && b->shares[first + i] < .5f;
        correct += best == (size_t)(other ? b->partners : b->labels)[first + i];
    }
    return correct;
}

static kd_status run_piece(kdt_run *run, size_t first, size_t n, kdt_outcome *outcome)
{
    const double weight = (double)n / (double)run->train.batch, start = kdt_seconds();
    kd_run_opt how = run->how;
    kd_status status = kdt_teachers_run(run, first, n);
    if (status) return status;
    run->sums.times.teacher += kdt_seconds() - start;
    how.batch = n;
    how.first = first;
    how.weight = (float)weight;
    how.accumulate |= first > 0;
    status = bind(run, first);
    if (!status) status = kd_exec_run(run->exec, &how);
    if (status) return status;
    outcome->loss += weight * (double)*(const float *)kd_exec_output(run->exec, "loss");
    outcome->correct += count_correct(run, first, n);
    return KD_OK;
}

kd_status kdt_batch_run(kdt_run *run, kdt_outcome *outcome)
{
    const size_t all = run->now->n, most = kd_plan_batch(run->plan);
    kd_times *times = &run->sums.times;
    kd_status status = KD_OK;
    *outcome = (kdt_outcome){0};
    kd_exec_reset_seconds(run->exec);
    for (size_t first = 0; first < all && !status; first += most)
        status = run_piece(run, first, all - first < most ? all - first : most, outcome);
    times->forward += kd_exec_seconds(run->exec, KD_PART_FORWARD);
    times->loss += kd_exec_seconds(run->exec, KD_PART_LOSS);
    times->backward += kd_exec_seconds(run->exec, KD_PART_BACKWARD);
    return status;
}
