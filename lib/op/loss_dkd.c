/* SPDX-License-Identifier: MIT
 * loss_dkd.c: decoupled distillation (Zhao et al. 2022): (alpha TCKD + beta NCKD) T^2,
 *   TCKD = KL((b, 1-b) || (p, 1-p)), NCKD = KL(r_t || r_s).
 * b is the teacher's and p the student's probability of the label. r_t and r_s are the
 * distributions over the other classes alone. All are at temperature T.
 * Gradient by the student's logits: T alpha (p - b) for the label, and for another class k
 * T ((beta - alpha (p - b)) r_s,k - beta r_t,k).
 *
 * The published code masks the label with -1000 instead of leaving it out: the same, rounded. The
 * label's probability is the sigmoid of l = z_label - log sum_others exp z, exact however close to
 * 0 or 1. */
#include "fields.h"
#include "loss.h"

#include <math.h>

typedef struct loss_dkd_attr {
    float temperature, alpha, beta;
} loss_dkd_attr;

/* One side, teacher or student: the classes but the label, and the label's log odds. */
typedef struct side {
    const float *x;
    kdi_dist others;
    double odds;
} side;

static side side_of(const kd_op_call *c, int input, size_t i)
{
    const loss_dkd_attr *attr = c->attr;
    const float *x = kdi_loss_row(c, input, i), t = attr->temperature;
    const size_t k = c->in[0].dim[1], label = kdi_loss_label(c, 2, i);
    const kdi_dist a = kdi_dist_of(c, label, x, t);
    const kdi_dist b = kdi_dist_of(c, k - label - 1, x + label + 1, t);
    side s = {x, a.max > b.max ? a : b, 0};
    const double gap = fabs((double)a.max - (double)b.max) / (double)t;
    s.others.sum += (a.max > b.max ? b.sum : a.sum) * exp(-gap);
    s.odds = ((double)x[label] - (double)s.others.max) / (double)t - log(s.others.sum);
    return s;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

/* b log(b/p), b and p by their log odds. */
static double binary_term(double teacher, double student)
{
    const double b = sigmoid(teacher);
    return b == 0 ? 0 : b * (log_sigmoid(teacher) - log_sigmoid(student));
}

static double row_loss(const kd_op_call *c, size_t i)
{
    const loss_dkd_attr *attr = c->attr;
    const float t = attr->temperature;
    const size_t k = c->in[0].dim[1], label = kdi_loss_label(c, 2, i), after = label + 1;
    const side s = side_of(c, 0, i), q = side_of(c, 1, i);
    const double target = binary_term(q.odds, s.odds) + binary_term(-q.odds, -s.odds);
    const double sum =
        c->kernels->row_kl_sum(label, q.x, q.others.max, s.x, s.others.max, t) +
        c->kernels->row_kl_sum(k - after, q.x + after, q.others.max, s.x + after, s.others.max, t);
    const double others = sum / q.others.sum + log(s.others.sum) - log(q.others.sum);
    return ((double)attr->alpha * target + (double)attr->beta * others) * (double)t * (double)t;
}

static kd_status forward(const kd_op_call *c)
{
    const kd_status status = kdi_check_labels(c, 2, "loss_dkd");
    return status ? status : kdi_loss_forward(c, row_loss);
}

/* d (+)= a * distribution, over the classes but the label. */
static void add_others(const kd_op_call *c, size_t i, const side *s, double a, float *d,
                       int accumulate)
{
    const loss_dkd_attr *attr = c->attr;
    const float t = attr->temperature, factor = (float)(a / s->others.sum);
    const size_t k = c->in[0].dim[1], label = kdi_loss_label(c, 2, i), after = label + 1;
    c->kernels->row_exp(label, s->x, s->others.max, t, factor, 0, d, accumulate);
    c->kernels->row_exp(k - after, s->x + after, s->others.max, t, factor, 0, d + after,
                        accumulate);
}

static void row_grad(const kd_op_call *c, size_t i, double g, float *d, int accumulate)
{
    const loss_dkd_attr *attr = c->attr;
    const size_t label = kdi_loss_label(c, 2, i);
    const side s = side_of(c, 0, i), q = side_of(c, 1, i);
    const double beta = (double)attr->beta;
    const double pull = (double)attr->alpha * (sigmoid(s.odds) - sigmoid(q.odds));
    g *= (double)attr->temperature;
    add_others(c, i, &s, g * (beta - pull), d, accumulate);
    add_others(c, i, &q, -g * beta, d, 1);
    d[label] = (float)(g * pull) + (accumulate ? d[label] : 0);
}

static kd_status backward(const kd_op_call *c)
{
    const kd_status status = kdi_check_labels(c, 2, "loss_dkd");
    return status ? status : kdi_loss_backward(c, row_grad);
}

static kd_status shape(kd_op_shapes *s)
{
    const loss_dkd_attr *attr = s->attr;
    const kd_status status = kdi_check_temperature(s, attr->temperature);
    if (status) return status;
    if (!isfinite(attr->alpha) || !isfinite(attr->beta))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: alpha %g and beta %g must be finite", s->name,
                           (double)attr->alpha, (double)attr->beta);
    return kdi_loss_shape(s, true, true, 2);
}

static const kd_op_field fields[] = {
    KDI_FLOAT(loss_dkd_attr, temperature),
    KDI_FLOAT(loss_dkd_attr, alpha),
    KDI_FLOAT(loss_dkd_attr, beta),
};

const kd_op kdi_op_loss_dkd = {
    .struct_size = sizeof(kd_op),
    .name = "loss_dkd",
    .attr_size = sizeof(loss_dkd_attr),
    KDI_FIELDS(fields),
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1) | KD_KEEP_IN(2),
    .no_grad = 1u << 1 | 1u << 2,
    .accumulates = 1,
    .scratch = kdi_loss_scratch,
};

kd_value kd_loss_dkd(kd_graph *g, kd_value logits, kd_value teacher, kd_value labels,
                     float temperature, float alpha, float beta)
{
    const loss_dkd_attr attr = {temperature, alpha, beta};
    const kd_value in[] = {logits, teacher, labels};
    return kd_graph_op(g, &kdi_op_loss_dkd, &attr, in, 3, NULL);
}
