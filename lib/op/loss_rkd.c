/* SPDX-License-Identifier: MIT
 * loss_rkd.c: relational distillation (Park et al. 2019, "Relational Knowledge Distillation"): the
 * pictures of a batch stand to each other as they do for the teacher. x [N,D], teacher [N,E]:
 *
 *   d_ij = |x_i - x_j|, over the mean of all d_ij > 0
 *   a_ijk = cosine of the angle at x_i between x_j and x_k; 0 where one of them is x_i
 *   loss = distance * mean over i, j of h(d_ij - teacher's)
 *        + angle * mean over i, j, k of h(a_ijk - teacher's)
 *
 * h(z) = z^2 / 2 within 1, |z| - 1/2 beyond. Squared distances below 1e-12 count as that, without a
 * gradient; such pictures have no direction. All of it follows from the products of rows, in double:
 *
 *   |x_i - x_j|^2 = G_ii + G_jj - 2 G_ij
 *   a_ijk = (G_jk - G_ij - G_ik + G_ii) / (d_ij d_ik)
 *
 * and the gradient is a matrix times x: dx = M x. A task is a row of a matrix. */
#include "fields.h"
#include "ops.h"
#include "shape.h"

#include "../base/size.h"

#include <math.h>
#include <string.h>

static const double least = 1e-12;

typedef struct loss_rkd_attr {
    float distance, angle;
} loss_rkd_attr;

/* One side's rows, their products, their distances. */
typedef struct side {
    const float *x;
    size_t d;
    double *g, *dist; /* [N,N] */
    double mean;      /* of the distances above 0 */
} side;

typedef struct rkd {
    const kd_op_call *call;
    size_t n;
    side s, t;
    double *m;                    /* [N,N] */
    double *sums;                 /* [2,N] of each row: of distances, of angles */
    double by_distance, by_angle; /* factors of the two parts */
} rkd;

/* Four matrices, in the backward a fifth, and sums. */
static size_t scratch(const kd_op_call *c, int backward)
{
    size_t n = c->in[0].dim[0], square, bytes;
    if (!kdi_mul(n, n, &square) || !kdi_mul(square, (backward ? 5 : 4) * sizeof(double), &bytes) ||
        !kdi_add(bytes, 2 * n * sizeof(double), &bytes))
        return SIZE_MAX;
    return bytes;
}

static rkd rkd_of(const kd_op_call *c, bool backward)
{
    const loss_rkd_attr *attr = c->attr;
    const size_t n = c->in[0].dim[0];
    double *room = c->scratch;
    rkd r = {.call = c, .n = n};
    r.s = (side){c->in[0].data, c->in[0].dim[1], room, room + n * n, 0};
    r.t = (side){c->in[1].data, c->in[1].dim[1], room + 2 * n * n, room + 3 * n * n, 0};
    r.sums = room + 4 * n * n;
    r.m = backward ? r.sums + 2 * n : NULL;
    r.by_distance = (double)attr->distance / ((double)n * (double)n);
    r.by_angle = (double)attr->angle / ((double)n * (double)n * (double)n);
    return r;
}

/* ---- products and distances ------------------------------------------------------------------ */

static void products(side *s, size_t n, size_t i)
{
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t k = 0; k < s->d; k++)
            sum += (double)s->x[i * s->d + k] * (double)s->x[j * s->d + k];
        s->g[i * n + j] = sum;
    }
}

static void product_row(void *arg, size_t i, int worker)
{
    rkd *r = arg;
    (void)worker;
    products(&r->s, r->n, i);
    products(&r->t, r->n, i);
}

/* Of two pictures that are one, 0; of others at least 1e-6. */
static void measure(side *s, size_t n)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            const double square = s->g[i * n + i] + s->g[j * n + j] - 2 * s->g[i * n + j];
            s->dist[i * n + j] = i == j ? 0 : sqrt(fmax(square, least));
            sum += s->dist[i * n + j];
            count += i != j;
        }
    s->mean = count ? sum / (double)count : 1;
}

static void look(rkd *r)
{
    kd_parallel_for(r->call->ctx, r->n, product_row, r);
    measure(&r->s, r->n);
    measure(&r->t, r->n);
}

/* Is there a direction from i to j? */
static bool apart(const side *s, size_t n, size_t i, size_t j)
{
    return i != j && s->dist[i * n + j] > 1.0000001e-6;
}

static double cosine(const side *s, size_t n, size_t i, size_t j, size_t k)
{
    if (!apart(s, n, i, j) || !apart(s, n, i, k)) return 0;
    const double *g = s->g;
    return (g[j * n + k] - g[i * n + j] - g[i * n + k] + g[i * n + i]) /
           (s->dist[i * n + j] * s->dist[i * n + k]);
}

static double h(double z)
{
    return fabs(z) < 1 ? z * z / 2 : fabs(z) - .5;
}

static double slope(double z)
{
    return z < -1 ? -1 : z > 1 ? 1 : z;
}

static double distance_gap(const rkd *r, size_t i, size_t j)
{
    return r->s.dist[i * r->n + j] / r->s.mean - r->t.dist[i * r->n + j] / r->t.mean;
}

/* ---- forward --------------------------------------------------------------------------------- */

static void sum_row(void *arg, size_t i, int worker)
{
    const rkd *r = arg;
    double distance = 0, angle = 0;
    (void)worker;
    for (size_t j = 0; j < r->n; j++) {
        distance += h(distance_gap(r, i, j));
        for (size_t k = 0; k < j && r->by_angle > 0;
             k++) /* (j, k) and (k, j); j = k is 1 for both */
            angle += 2 * h(cosine(&r->s, r->n, i, j, k) - cosine(&r->t, r->n, i, j, k));
        if (r->by_angle > 0)
            angle += h(apart(&r->s, r->n, i, j) - (double)apart(&r->t, r->n, i, j));
    }
    r->sums[i] = distance;
    r->sums[r->n + i] = angle;
}

static kd_status forward(const kd_op_call *c)
{
    rkd r = rkd_of(c, false);
    double distance = 0, angle = 0;
    look(&r);
    kd_parallel_for(c->ctx, r.n, sum_row, &r);
    for (size_t i = 0; i < r.n; i++) {
        distance += r.sums[i];
        angle += r.sums[r.n + i];
    }
    *(float *)c->out[0].data = (float)(r.by_distance * distance + r.by_angle * angle);
    return KD_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* By the distances: e_ij = d loss / d d_ij, through the mean too; row i gets
 * 2 e_ij (x_i - x_j) / d_ij for each j, as d_ij is d_ji. along: sum over all pairs of slope times d_ij. */
static void distance_row(const rkd *r, size_t i, double along)
{
    const size_t n = r->n;
    const double mean = r->s.mean, pairs = (double)n * (double)(n - 1);
    double *m = r->m + i * n;
    for (size_t j = 0; j < n; j++) {
        const double d = r->s.dist[i * n + j];
        if (!apart(&r->s, n, i, j)) continue;
        const double e = slope(distance_gap(r, i, j)) / mean - along / (mean * mean * pairs);
        const double w = 2 * r->by_distance * e / d;
        m[i] += w;
        m[j] -= w;
    }
}

/* The gradient by the vector v from i to j is sum over k of c_k (x_k - x_i) - s (x_j - x_i): added to
 * m, times sign. */
static void vector_row(const rkd *r, size_t i, size_t j, double sign, double *m)
{
    const size_t n = r->n;
    const double *d = r->s.dist + i * n;
    double sum = 0, self = 0;
    if (!apart(&r->s, n, i, j)) return;
    for (size_t k = 0; k < n; k++) {
        if (k == j || !apart(&r->s, n, i, k)) continue;
        const double a = cosine(&r->s, n, i, j, k);
        const double w = 2 * sign * r->by_angle * slope(a - cosine(&r->t, n, i, j, k));
        const double c = w / (d[j] * d[k]);
        m[k] += c;
        sum += c;
        self += w * a / (d[j] * d[j]);
    }
    m[i] += self - sum;
    m[j] -= self;
}

static void matrix_row(void *arg, size_t i, int worker)
{
    const rkd *r = arg;
    double *m = r->m + i * r->n;
    (void)worker;
    memset(m, 0, r->n * sizeof *m);
    if (r->by_distance > 0) distance_row(r, i, r->sums[0]);
    for (size_t j = 0; j < r->n && r->by_angle > 0; j++) {
        vector_row(r, j, i, 1, m);  /* i is where the vector from j ends */
        vector_row(r, i, j, -1, m); /* and where the one to j begins */
    }
}

static void gradient_row(void *arg, size_t i, int worker)
{
    const rkd *r = arg;
    const kd_op_call *c = r->call;
    const double dy = (double)*(const float *)c->dout[0].data;
    float *dx = (float *)c->din[0].data + i * r->s.d;
    (void)worker;
    for (size_t k = 0; k < r->s.d; k++) {
        double sum = 0;
        for (size_t j = 0; j < r->n; j++)
            sum += r->m[i * r->n + j] * (double)r->s.x[j * r->s.d + k];
        dx[k] = c->accumulate & 1 ? dx[k] + (float)(dy * sum) : (float)(dy * sum);
    }
}

static kd_status backward(const kd_op_call *c)
{
    rkd r = rkd_of(c, true);
    double along = 0;
    look(&r);
    for (size_t i = 0; i < r.n; i++)
        for (size_t j = 0; j < r.n; j++)
            along += slope(distance_gap(&r, i, j)) * r.s.dist[i * r.n + j];
    r.sums[0] = along;
    kd_parallel_for(c->ctx, r.n, matrix_row, &r);
    kd_parallel_for(c->ctx, r.n, gradient_row, &r);
    return KD_OK;
}

/* ---- the op ---------------------------------------------------------------------------------- */

static kd_status shape(kd_op_shapes *s)
{
    char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
    const loss_rkd_attr *attr = s->attr;
    const kd_status status = kdi_want_f32(s, 0);
    if (status) return status;
    if (!(attr->distance >= 0 && attr->angle >= 0 && isfinite(attr->distance + attr->angle)))
        return kd_ctx_fail(s->ctx, KD_E_INVALID, "%s: weights %g and %g", s->name,
                           (double)attr->distance, (double)attr->angle);
    if (s->in[0].rank != 2 || s->in[1].rank != 2 || s->in[0].dim[0] != s->in[1].dim[0])
        return kd_ctx_fail(s->ctx, KD_E_SHAPE,
                           "%s: %s and the teacher's %s are not [N,D] and [N,E]", s->name,
                           kdi_shape_text(&s->in[0], a), kdi_shape_text(&s->in[1], b));
    s->out[0] = (kd_shape){.rank = 1, .dim = {1}};
    return KD_OK;
}

static const kd_op_field fields[] = {
    KDI_FLOAT(loss_rkd_attr, distance),
    KDI_FLOAT(loss_rkd_attr, angle),
};

const kd_op kdi_op_loss_rkd = {
    .struct_size = sizeof(kd_op),
    .name = "loss_rkd",
    .attr_size = sizeof(loss_rkd_attr),
    KDI_FIELDS(fields),
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .shape = shape,
    .forward = forward,
    .backward = backward,
    .keeps = KD_KEEP_IN(0) | KD_KEEP_IN(1),
    .no_grad = 1u << 1,
    .mixes_in_training = 1,
    .accumulates = 1,
    .scratch = scratch,
};

kd_value kd_loss_rkd(kd_graph *g, kd_value x, kd_value teacher, float distance, float angle)
{
    const loss_rkd_attr attr = {distance, angle};
    const kd_value in[] = {x, teacher};
    return kd_graph_op(g, &kdi_op_loss_rkd, &attr, in, 2, NULL);
}
