/* SPDX-License-Identifier: MIT
 * eval_measure.c: what is measured of a batch of logits: accuracy, cross-entropy, calibration, the
 * agreement with a teacher. All of it in double, from the float logits z of a sample:
 *
 *   loss         log(sum_k exp(z_k)) - z_target
 *   probability  of the first class, exp(max z) / sum_k exp(z_k)
 *   kl           sum_k t_k * (log t_k - log s_k), t the teacher's softmax, s the network's */
#include "evaluate.h"

#include <math.h>
#include <string.h>

/* The softmax's parts: log(sum_k exp(x_k)), and the first class with its probability. */
typedef struct softmax {
    double log_sum, probability;
    size_t first;
} softmax;

static softmax softmax_of(const float *x, size_t n)
{
    softmax s = {.first = 0};
    double sum = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[s.first]) s.first = i;
    const double most = (double)x[s.first];
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - most);
    s.log_sum = most + log(sum);
    s.probability = 1 / sum;
    return s;
}

/* How many classes go before the target; of equal logits the lower class. */
static size_t rank_of(const float *row, size_t target, size_t classes)
{
    size_t above = 0;
    for (size_t k = 0; k < classes; k++)
        above += row[k] > row[target] || (k < target && row[k] == row[target]);
    return above;
}

/* KL(teacher || network); ls, lt: log sums of the exponentials. */
static double divergence(const float *s, double ls, const float *t, double lt, size_t classes)
{
    double kl = 0;
    for (size_t k = 0; k < classes; k++) {
        const double p = exp((double)t[k] - lt);
        if (p > 0) kl += p * (((double)t[k] - lt) - ((double)s[k] - ls));
    }
    return kl;
}

static bool is_finite(const float *x, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++) finite &= isfinite(x[i]) != 0;
    return finite;
}

static kd_status not_finite(const kdt_measure *m, const char *who, kd_model *model, size_t id)
{
    static const char *const splits[] = {"test", "training", "training"};
    return kd_ctx_fail(m->ctx, KD_E_NONFINITE,
                       "the %s, %s, answers sample %zu of the %s split with logits that are not "
                       "finite",
                       who, kd_model_spec(model), id, splits[m->opt->split]);
}

/* Bin i holds probabilities in (i / BINS, (i + 1) / BINS]. */
static size_t bin_of(double probability)
{
    size_t bin = 0;
    while (bin + 1 < KD_EVAL_BINS && probability > (double)(bin + 1) / KD_EVAL_BINS) bin++;
    return bin;
}

static void add(kdt_sums_of_eval *s, const kd_eval_sample *sample, size_t rank)
{
    const size_t bin = bin_of(sample->probability);
    s->n++;
    s->right += rank == 0;
    s->right5 += rank < 5;
    s->loss += sample->loss;
    s->bin_n[bin]++;
    s->bin_right[bin] += rank == 0;
    s->bin_confidence[bin] += sample->probability;
}

/* The teacher's logits of a sample go to m->row. */
static kd_status compare(kdt_measure *m, const softmax *network, const float *teacher,
                         kd_eval_sample *sample)
{
    const size_t theirs = kd_model_classes(m->opt->teacher);
    if (!is_finite(teacher, theirs)) return not_finite(m, "teacher", m->opt->teacher, sample->id);
    for (size_t k = 0; k < m->classes; k++) m->row[k] = teacher[m->classes_of.teacher[k]];
    const softmax t = softmax_of(m->row, m->classes);
    sample->teacher_logits = m->row;
    sample->teacher = (int32_t)t.first;
    sample->kl = divergence(sample->logits, network->log_sum, m->row, t.log_sum, m->classes);
    m->sums.agreed += t.first == network->first;
    m->sums.kl += sample->kl;
    return KD_OK;
}

static kd_status one(kdt_measure *m, const kd_batch *batch, const kdt_logits *logits, size_t i)
{
    const float *row = logits->mean + i * m->classes;
    const size_t id = batch->ids[i], target = (size_t)m->classes_of.target[batch->labels[i]];
    if (!is_finite(row, m->classes)) return not_finite(m, "network", m->model, id);
    const softmax s = softmax_of(row, m->classes);
    const size_t rank = rank_of(row, target, m->classes);
    kd_eval_sample sample = {.struct_size = sizeof sample,
                             .id = id,
                             .label = batch->labels[i],
                             .target = (int32_t)target,
                             .predicted = (int32_t)s.first,
                             .teacher = -1,
                             .probability = s.probability,
                             .loss = s.log_sum - (double)row[target],
                             .kl = (double)NAN,
                             .logits = row};
    if (logits->teacher) {
        const float *theirs = logits->teacher + i * kd_model_classes(m->opt->teacher);
        const kd_status status = compare(m, &s, theirs, &sample);
        if (status) return status;
    }
    add(&m->sums, &sample, rank);
    if (m->opt->confusion) m->opt->confusion[target * m->classes + s.first]++;
    if (logits->heads[0]) {
        const size_t at = i * m->classes;
        m->sums.right_cls += rank_of(logits->heads[0] + at, target, m->classes) == 0;
        m->sums.right_dist += rank_of(logits->heads[1] + at, target, m->classes) == 0;
    }
    if (m->opt->each && m->opt->each(m->opt->each_user, &sample))
        return kd_ctx_fail(m->ctx, KD_E_STOPPED, "evaluation stopped");
    return KD_OK;
}

kd_status kdt_measure_batch(kdt_measure *m, const kd_batch *batch, const kdt_logits *logits)
{
    kd_status status = KD_OK;
    m->heads = logits->heads[0] != NULL;
    for (size_t i = 0; !status && i < batch->n; i++) status = one(m, batch, logits, i);
    return status;
}

/* ---- means ----------------------------------------------------------------------------------- */

static double percent(size_t count, size_t n)
{
    return n ? 100 * (double)count / (double)n : (double)NAN;
}

static void calibration(const kdt_sums_of_eval *s, kd_eval_result *r)
{
    double error = 0;
    for (size_t b = 0; b < KD_EVAL_BINS; b++) {
        const size_t n = s->bin_n[b];
        kd_eval_bin *bin = &r->bins[b];
        bin->n = n;
        bin->accuracy = percent(s->bin_right[b], n);
        bin->confidence = n ? 100 * s->bin_confidence[b] / (double)n : (double)NAN;
        error += fabs((double)s->bin_right[b] - s->bin_confidence[b]);
    }
    r->ece = s->n ? 100 * error / (double)s->n : (double)NAN;
}

void kdt_measure_result(const kdt_measure *m, kd_eval_result *r)
{
    const kdt_sums_of_eval *s = &m->sums;
    const double none = (double)NAN, n = s->n ? (double)s->n : none;
    const bool teacher = m->opt->teacher != NULL;
    r->n = s->n;
    r->top1 = percent(s->right, s->n);
    r->top5 = m->classes > 5 ? percent(s->right5, s->n) : none;
    r->loss = s->loss / n;
    r->agreement = teacher ? percent(s->agreed, s->n) : none;
    r->kl = teacher ? s->kl / n : none;
    r->top1_cls = m->heads ? percent(s->right_cls, s->n) : none;
    r->top1_dist = m->heads ? percent(s->right_dist, s->n) : none;
    calibration(s, r);
}
