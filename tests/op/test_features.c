/* SPDX-License-Identifier: MIT
 * test_features.c: the ops of which losses on features are made: mean squares, the divergence of
 * rows, relations of pictures, normalised rows, a map's energy. Against oracles in double precision,
 * written from the definitions; against PyTorch (golden_features.h). */
#include "golden_features.h"
#include "harness.h"

#include "../../lib/kernel/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- normalised rows, energy ----------------------------------------------------------------- */

static kd_value build_normalize(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_l2_normalize(g, in[0]);
}

static void oracle_normalize(const op_oracle *o)
{
    const op_array *x = &o->in[0];
    const size_t k = x->dim[x->rank - 1];
    for (size_t i = 0; i < x->count; i += k) {
        double sum = 0;
        for (size_t j = 0; j < k; j++) sum += x->data[i + j] * x->data[i + j];
        for (size_t j = 0; j < k; j++) o->y.data[i + j] = x->data[i + j] / fmax(sqrt(sum), 1e-12);
    }
}

static kd_value build_energy(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_channel_energy(g, in[0]);
}

static void oracle_energy(const op_oracle *o)
{
    const op_array *x = &o->in[0];
    const size_t k = x->dim[x->rank - 1];
    for (size_t i = 0; i < o->y.count; i++) {
        o->y.data[i] = 0;
        for (size_t j = 0; j < k; j++)
            o->y.data[i] += x->data[i * k + j] * x->data[i * k + j] / (double)k;
    }
}

START_TEST(test_rows)
{
    const op_case cases[] = {
        {.name = "l2_normalize [N,9]", .batch = 5, .in = {{2, {KD_BATCH, 9}}}},
        {.name = "l2_normalize [N,3,40]", .batch = 3, .in = {{3, {KD_BATCH, 3, 40}}}},
        {.name = "channel_energy [N,4,5,7]", .batch = 3, .in = {{4, {KD_BATCH, 4, 5, 7}}}},
        {.name = "channel_energy [N,9,70]", .batch = 4, .in = {{3, {KD_BATCH, 9, 70}}}},
        {.name = "channel_energy [N,40,40,3]", .batch = 2, .in = {{4, {KD_BATCH, 40, 40, 3}}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.n_in = 1;
        c.build = i < 2 ? build_normalize : build_energy;
        c.oracle = i < 2 ? oracle_normalize : oracle_energy;
        op_check(&c);
    }
}
END_TEST

/* ---- mean squares, divergence ---------------------------------------------------------------- */

static kd_value build_mse(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_loss_mse(g, in[0], in[1]);
}

static void oracle_mse(const op_oracle *o)
{
    const op_array *x = &o->in[0], *t = &o->in[1];
    o->y.data[0] = 0;
    for (size_t i = 0; i < x->count; i++)
        o->y.data[0] += (x->data[i] - t->data[i]) * (x->data[i] - t->data[i]) / (double)x->count;
}

static kd_value build_kl(kd_graph *g, const kd_value *in, const void *attr)
{
    (void)attr;
    return kd_loss_kl(g, in[0], in[1]);
}

static void oracle_kl(const op_oracle *o)
{
    const op_array *x = &o->in[0], *t = &o->in[1];
    const double rows = (double)(x->count / x->dim[x->rank - 1]);
    o->y.data[0] = 0;
    for (size_t i = 0; i < x->count; i++)
        if (t->data[i] > 0) o->y.data[0] += t->data[i] * log(t->data[i] / x->data[i]) / rows;
}

/* Above zero; of targets some are zero. */
static void fill_shares(const op_case *c, int i, const char *name, float *x, size_t n)
{
    op_fill(c, i, name, x, n);
    for (size_t k = 0; k < n; k++) {
        x[k] = .55f + .45f * x[k];
        if (i == 1 && k % 5 == 0) x[k] = 0;
    }
}

START_TEST(test_pairs)
{
    const op_case cases[] = {
        {.name = "loss_mse [N,7]",
         .batch = 5,
         .in = {{2, {KD_BATCH, 7}}, {2, {KD_BATCH, 7}, KD_F32, true}}},
        {.name = "loss_mse [N,30,30,9]",
         .batch = 2,
         .in = {{4, {KD_BATCH, 30, 30, 9}}, {4, {KD_BATCH, 30, 30, 9}, KD_F32, true}},
         .grad_tol = 3e-4},
        {.name = "loss_kl [N,7]",
         .batch = 5,
         .in = {{2, {KD_BATCH, 7}}, {2, {KD_BATCH, 7}, KD_F32, true}},
         .fill = fill_shares},
        {.name = "loss_kl [N,2,9,9]",
         .batch = 3,
         .in = {{4, {KD_BATCH, 2, 9, 9}}, {4, {KD_BATCH, 2, 9, 9}, KD_F32, true}},
         .fill = fill_shares},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.n_in = 2;
        c.build = i < 2 ? build_mse : build_kl;
        c.oracle = i < 2 ? oracle_mse : oracle_kl;
        op_check(&c);
    }
}
END_TEST

/* ---- relations ------------------------------------------------------------------------------- */

typedef struct rkd_attr {
    float distance, angle;
} rkd_attr;

static kd_value build_rkd(kd_graph *g, const kd_value *in, const void *attr)
{
    const rkd_attr *a = attr;
    return kd_loss_rkd(g, in[0], in[1], a->distance, a->angle);
}

static double huber(double z)
{
    return fabs(z) < 1 ? z * z / 2 : fabs(z) - .5;
}

static double *difference(const op_array *x, size_t i, size_t j, double *to)
{
    const size_t d = x->dim[1];
    for (size_t k = 0; k < d; k++) to[k] = x->data[j * d + k] - x->data[i * d + k];
    return to;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double distance_of(const op_array *x, size_t i, size_t j)
{
    double v[64];
    if (i == j) return 0;
    difference(x, i, j, v);
    return sqrt(fmax(dot(v, v, x->dim[1]), 1e-12));
}

static double mean_distance(const op_array *x)
{
    const size_t n = x->dim[0];
    double sum = 0, count = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            sum += distance_of(x, i, j);
            count += distance_of(x, i, j) > 0;
        }
    return count > 0 ? sum / count : 1;
}

/* As published, by differences of the rows. */
static double angle_of(const op_array *x, size_t i, size_t j, size_t k)
{
    double v[64], w[64];
    const size_t d = x->dim[1];
    difference(x, i, j, v);
    difference(x, i, k, w);
    const double a = sqrt(dot(v, v, d)), b = sqrt(dot(w, w, d));
    return a < 1e-6 || b < 1e-6 ? 0 : dot(v, w, d) / (a * b);
}

static void oracle_rkd(const op_oracle *o)
{
    const op_array *x = &o->in[0], *t = &o->in[1];
    const rkd_attr *attr = o->attr;
    const size_t n = x->dim[0];
    const double mean_x = mean_distance(x), mean_t = mean_distance(t);
    double distance = 0, angle = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            distance += huber(distance_of(x, i, j) / mean_x - distance_of(t, i, j) / mean_t);
            for (size_t k = 0; k < n; k++)
                angle += huber(angle_of(x, i, j, k) - angle_of(t, i, j, k));
        }
    const double count = (double)n;
    o->y.data[0] = (double)attr->distance * distance / (count * count) +
                   (double)attr->angle * angle / (count * count * count);
}

/* One picture twice, for the teacher. */
static void fill_twice(const op_case *c, int i, const char *name, float *x, size_t n)
{
    op_fill(c, i, name, x, n);
    if (i == 1)
        for (size_t k = 0; k < (size_t)c->in[1].dim[1]; k++) x[(size_t)c->in[1].dim[1] + k] = x[k];
}

START_TEST(test_relations)
{
    static const rkd_attr both = {25, 50}, distance = {1, 0}, angle = {0, 1};
    const op_case cases[] = {
        {.name = "loss_rkd [N,5] and [N,5]",
         .batch = 7,
         .in = {{2, {KD_BATCH, 5}}, {2, {KD_BATCH, 5}, KD_F32, true}},
         .attr = &both},
        {.name = "loss_rkd [N,33] and [N,9]",
         .batch = 12,
         .in = {{2, {KD_BATCH, 33}}, {2, {KD_BATCH, 9}, KD_F32, true}},
         .attr = &both},
        {.name = "loss_rkd by distance",
         .batch = 6,
         .in = {{2, {KD_BATCH, 4}}, {2, {KD_BATCH, 6}, KD_F32, true}},
         .attr = &distance},
        {.name = "loss_rkd by angle",
         .batch = 6,
         .in = {{2, {KD_BATCH, 4}}, {2, {KD_BATCH, 6}, KD_F32, true}},
         .attr = &angle},
        {.name = "loss_rkd, two pictures are one for the teacher",
         .batch = 6,
         .in = {{2, {KD_BATCH, 4}}, {2, {KD_BATCH, 6}, KD_F32, true}},
         .attr = &both,
         .fill = fill_twice},
        {.name = "loss_rkd of two",
         .batch = 2,
         .in = {{2, {KD_BATCH, 4}}, {2, {KD_BATCH, 6}, KD_F32, true}},
         .attr = &angle,
         .full_batch_only = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        op_case c = cases[i];
        c.n_in = 2;
        c.build = build_rkd;
        c.oracle = oracle_rkd;
        op_check(&c);
    }
}
END_TEST

/* ---- PyTorch --------------------------------------------------------------------------------- */

static kd_value of_mse(kd_graph *g, kd_value s, kd_value t)
{
    return kd_loss_mse(g, s, t);
}

static kd_value of_cosine(kd_graph *g, kd_value s, kd_value t)
{
    return kd_scale(g, kd_loss_mse(g, kd_l2_normalize(g, s), kd_l2_normalize(g, t)),
                    FEATURE_K / 2.0f);
}

static kd_value of_rkd(kd_graph *g, kd_value s, kd_value t)
{
    return kd_loss_rkd(g, s, t, 25, 50);
}

static kd_value of_distance(kd_graph *g, kd_value s, kd_value t)
{
    return kd_loss_rkd(g, s, t, 1, 0);
}

static kd_value of_angle(kd_graph *g, kd_value s, kd_value t)
{
    return kd_loss_rkd(g, s, t, 0, 1);
}

static kd_value of_at(kd_graph *g, kd_value s, kd_value t)
{
    return kd_loss_mse(g, kd_l2_normalize(g, kd_channel_energy(g, s)),
                       kd_l2_normalize(g, kd_channel_energy(g, t)));
}

typedef struct golden {
    const char *name;
    kd_value (*build)(kd_graph *g, kd_value s, kd_value t);
    const float *s, *t, *value, *grad;
    op_input of_s, of_t;
} golden;

static void check_golden(const golden *v, const char *table)
{
    kd_ctx *ctx = test_ctx(2, table);
    kd_graph *g;
    kd_plan *plan;
    kd_exec *exec;
    kd_params *none;
    size_t n = FEATURE_N;
    for (int i = 1; i < v->of_s.rank; i++) n *= (size_t)v->of_s.dim[i];
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value s = kd_input(g, "s", KD_F32, v->of_s.rank, v->of_s.dim);
    const kd_value t = kd_input(g, "t", KD_F32, v->of_t.rank, v->of_t.dim);
    kd_graph_want_grad(g, s);
    const kd_value loss = v->build(g, s, t);
    test_ok(ctx, kd_graph_grad(g, loss));
    kd_output(g, loss, "loss");
    kd_output(g, kd_graph_grad_of(g, s), "grad");
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = FEATURE_N, .training = 1};
    test_ok(ctx, kd_params_create(g, 1, &none));
    test_ok(ctx, kd_plan_create(g, &opt, &plan));
    test_ok(ctx, kd_exec_create(plan, none, NULL, &exec));
    test_ok(ctx, kd_exec_bind(exec, "s", v->s));
    test_ok(ctx, kd_exec_bind(exec, "t", v->t));
    test_ok(ctx, kd_exec_run(exec, NULL));
    ck_assert_msg(test_distance(kd_exec_output(exec, "loss"), v->value, 1) < 1e-6, "%s: %.9g",
                  v->name, (double)*(float *)kd_exec_output(exec, "loss"));
    ck_assert_msg(test_distance(kd_exec_output(exec, "grad"), v->grad, n) < 2e-6, "%s", v->name);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_params_destroy(none);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}

START_TEST(test_golden)
{
    static float s[FEATURE_N * FEATURE_K], t[FEATURE_N * FEATURE_K];
    const op_input rows = {2, {KD_BATCH, FEATURE_K}}, other = {2, {KD_BATCH, FEATURE_K + 2}};
    const op_input map = {4, {KD_BATCH, 3, 3, 2}}, wide = {4, {KD_BATCH, 3, 3, 3}};
    const golden all[] = {
        {"mse", of_mse, golden_rows, golden_teacher_rows, golden_mse, golden_mse_grad, rows, rows},
        {"cosine", of_cosine, golden_rows, golden_teacher_rows, golden_cosine, golden_cosine_grad,
         rows, rows},
        {"rkd", of_rkd, golden_rows, golden_other, golden_rkd, golden_rkd_grad, rows, other},
        {"distance", of_distance, golden_rows, golden_other, golden_rkd_distance,
         golden_rkd_distance_grad, rows, other},
        {"angle", of_angle, golden_rows, golden_other, golden_rkd_angle, golden_rkd_angle_grad,
         rows, other},
        {"at", of_at, golden_map, golden_teacher_map, golden_at, golden_at_grad, map, wide},
        {"kl", kd_loss_kl, s, t, golden_kl, golden_kl_grad, rows, rows},
    };
    const kdi_kernels *k;
    for (size_t i = 0; i < FEATURE_N; i++) {
        double sums[2] = {0, 0};
        for (size_t j = 0; j < FEATURE_K; j++) {
            sums[0] += exp((double)golden_rows[i * FEATURE_K + j]);
            sums[1] += exp((double)golden_teacher_rows[i * FEATURE_K + j]);
        }
        for (size_t j = i * FEATURE_K; j < (i + 1) * FEATURE_K; j++) {
            s[j] = (float)(exp((double)golden_rows[j]) / sums[0]);
            t[j] = (float)(exp((double)golden_teacher_rows[j]) / sums[1]);
        }
    }
    for (int table = 0; (k = kdi_kernels_at(table)); table++)
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_golden(&all[i], k->name);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(kd_graph *g, kd_value v, const char *says)
{
    kd_ctx *ctx = kd_graph_ctx(g);
    ck_assert_int_eq(v, KD_NONE);
    ck_assert_int_ne(kd_graph_status(g), KD_OK);
    ck_assert_msg(strstr(kd_ctx_error(ctx), says) != NULL, "%s", kd_ctx_error(ctx));
    kd_graph_destroy(g);
}

static kd_graph *fresh(kd_ctx *ctx, kd_value *a, kd_value *b, kd_value *map)
{
    kd_graph *g;
    const int64_t one[] = {KD_BATCH, 4}, two[] = {KD_BATCH, 5}, maps[] = {KD_BATCH, 2, 2, 3};
    test_ok(ctx, kd_graph_create(ctx, &g));
    *a = kd_input(g, "a", KD_F32, 2, one);
    *b = kd_input(g, "b", KD_F32, 2, two);
    *map = kd_input(g, "map", KD_F32, 4, maps);
    return g;
}

START_TEST(test_refused)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_value a, b, map;
    kd_graph *g = fresh(ctx, &a, &b, &map);
    refused(g, kd_loss_mse(g, a, b), "loss_mse '': [N,4] and the target [N,5] differ");
    g = fresh(ctx, &a, &b, &map);
    refused(g, kd_loss_kl(g, a, map), "loss_kl '': [N,4] and the target [N,2,2,3] differ");
    g = fresh(ctx, &a, &b, &map);
    refused(g, kd_loss_rkd(g, a, map, 1, 1), "are not [N,D] and [N,E]");
    g = fresh(ctx, &a, &b, &map);
    refused(g, kd_loss_rkd(g, a, b, -1, 1), "weights -1 and 1");
    g = fresh(ctx, &a, &b, &map);
    refused(g, kd_loss_rkd(g, a, b, 1, INFINITY), "weights 1 and inf");
    g = fresh(ctx, &a, &b, &map);
    refused(g, kd_channel_energy(g, a),
            "channel_energy '': input [N,4] is neither a map nor tokens");
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(features, 60, &test_rows, &test_pairs, &test_relations, &test_golden, &test_refused)
