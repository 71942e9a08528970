/* SPDX-License-Identifier: MIT
 * test_quant.c: quantisation: ranges against counting the numbers themselves, weights and biases
 * against their formulas in double, the arithmetic of a device against an oracle in integers, and
 * what cannot be quantised. */
#include "nets.h"

#include "../../lib/quant/float_run.h"
#include "../../lib/quant/quantise.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- ranges ---------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Half of the numbers 0, the others bell-shaped with some far away; two-sided or not. */
static float *numbers(size_t n, bool both)
{
    float *x = malloc(n * sizeof *x);
    float part[4];
    for (size_t i = 0; i < n; i++) {
        test_fill(part, 4, 1000 + i, 1);
        x[i] = part[0] + part[1] + part[2] + part[3];
        if (i % 997 == 0) x[i] *= 8;
        if (!both && x[i] < 0) x[i] = 0;
    }
    return x;
}

static kdi_histogram *histogram_of(const float *x, size_t n)
{
    kdi_histogram *h = calloc(1, sizeof *h);
    kdi_histogram_add(h, x, n);
    return h;
}

enum { NUMBERS = 20000 };

START_TEST(test_range_of_all)
{
    float *x = numbers(NUMBERS, true);
    kdi_histogram *h = histogram_of(x, NUMBERS);
    const kdi_range r = kdi_histogram_range(h, KD_CALIBRATE_RANGE, 1);
    qsort(x, NUMBERS, sizeof *x, by_value);
    ck_assert_double_le(r.low, (double)x[0]);
    ck_assert_double_ge(r.low, 1.01 * (double)x[0]);
    ck_assert_double_ge(r.high, (double)x[NUMBERS - 1]);
    ck_assert_double_le(r.high, 1.01 * (double)x[NUMBERS - 1]);
    free(h);
    free(x);
}
END_TEST

START_TEST(test_percentile)
{
    float *x = numbers(NUMBERS, false);
    kdi_histogram *h = histogram_of(x, NUMBERS);
    qsort(x, NUMBERS, sizeof *x, by_value);
    static const double shares[] = {.9, .99, .999, .9999};
    for (size_t i = 0; i < 4; i++) {
        const kdi_range r = kdi_histogram_range(h, KD_CALIBRATE_PERCENTILE, shares[i]);
        size_t within = 0;
        while (within < NUMBERS && (double)x[within] < r.high) within++;
        const double at = (double)x[(size_t)(shares[i] * NUMBERS) - 1];
        ck_assert_double_ge((double)within, shares[i] * NUMBERS);
        ck_assert_msg(r.high <= 1.02 * at, "%g: %g, the number there is %g", shares[i], r.high, at);
        ck_assert(r.low == 0);
    }
    free(h);
    free(x);
}
END_TEST

/* The true squared error of rounding to 256 steps. */
static double error_of(const float *x, size_t n, kdi_range r)
{
    const double step = (r.high - r.low) / 255, zero = round(-128 - r.low / step);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double q = round((double)x[i] / step) + zero;
        q = q < -128 ? -128 : q > 127 ? 127 : q;
        const double d = step * (q - zero) - (double)x[i];
        sum += d * d;
    }
    return sum;
}

START_TEST(test_squared_error)
{
    for (int both = 0; both < 2; both++) {
        float *x = numbers(NUMBERS, both);
        kdi_histogram *h = histogram_of(x, NUMBERS);
        const kdi_range all = kdi_histogram_range(h, KD_CALIBRATE_RANGE, 1);
        const double found =
            error_of(x, NUMBERS, kdi_histogram_range(h, KD_CALIBRATE_SQUARED_ERROR, 1));
        double least = HUGE_VAL;
        for (int i = 4; i <= 256; i++) {
            const kdi_range r = {all.low * i / 256, all.high * i / 256};
            least = fmin(least, error_of(x, NUMBERS, r));
        }
        ck_assert_double_lt(found, error_of(x, NUMBERS, all));
        ck_assert_msg(found <= 1.05 * least, "%g, the least is %g", found, least);
        free(h);
        free(x);
    }
}
END_TEST

/* Of evenly spread numbers nothing is cut off; of a few that are far away, those are. */
START_TEST(test_entropy)
{
    enum { N = 200000 };
    float *x = malloc(N * sizeof *x);
    test_fill(x, N, 5, 1);
    kdi_histogram *h = histogram_of(x, N);
    const kdi_range even = kdi_histogram_range(h, KD_CALIBRATE_ENTROPY, 1);
    ck_assert_double_ge(even.high, .95);
    ck_assert_double_le(even.low, -.95);
    float *bell = numbers(N, true);
    for (size_t i = 0; i < N; i++) x[i] = i < 5 ? 40 : fmaxf(-4, fminf(4, bell[i]));
    free(bell);
    memset(h, 0, sizeof *h);
    kdi_histogram_add(h, x, N);
    const kdi_range far = kdi_histogram_range(h, KD_CALIBRATE_ENTROPY, 1);
    ck_assert_double_lt(far.high, 10);
    ck_assert_double_ge(far.high, 2);
    free(h);
    free(x);
}
END_TEST

START_TEST(test_odd_histograms)
{
    static const float zeros[4], tiny[] = {1e-42f, -1e-42f}, low[] = {-3, -2, -1},
                                 bad[] = {1, INFINITY};
    for (int method = 0; method < KD_CALIBRATION_COUNT; method++) {
        kdi_histogram *h = histogram_of(zeros, 4);
        kdi_range r = kdi_histogram_range(h, (kd_calibration)method, .9999);
        ck_assert(r.low == 0 && r.high > 0);
        memset(h, 0, sizeof *h);
        kdi_histogram_add(h, tiny, 2);
        r = kdi_histogram_range(h, (kd_calibration)method, .9999);
        ck_assert(r.low <= 0 && r.high >= 0 && r.low < r.high);
        memset(h, 0, sizeof *h);
        kdi_histogram_add(h, low, 3);
        r = kdi_histogram_range(h, (kd_calibration)method, .9999);
        ck_assert(r.low < -1 && r.high == 0);
        free(h);
    }
    kdi_histogram *h = histogram_of(bad, 2);
    ck_assert(!kdi_histogram_is_finite(h));
    free(h);
}
END_TEST

/* ---- weights --------------------------------------------------------------------------------- */

static kd_quantise_opt options(const net_case *c)
{
    return (kd_quantise_opt){
        .struct_size = sizeof(kd_quantise_opt), .pictures = c->pictures, .count = c->count};
}

static const kdi_layer *layer_named(const kdi_net *net, const char *name)
{
    for (size_t i = 0; i < net->n_layers; i++)
        if (!strcmp(net->layers[i].name, name)) return &net->layers[i];
    ck_abort_msg("there is no layer '%s'", name);
    return NULL;
}

/* Each layer's integers by the formulas, in double, from the float weights. */
static void check_layer(const kdi_net *net, const kdi_layer *l, const double *mean_of_taps)
{
    const kdi_map *in = &net->maps[l->in[0]], *out = &net->maps[l->out];
    const float *w = kdi_device_weights(l);
    for (size_t o = 0; o < l->out_channels; o++) {
        double most = 0, sum = 0, moved = 0;
        for (size_t t = 0; t < l->taps; t++) most = fmax(most, fabs((double)w[o * l->taps + t]));
        const double s = most / 127, m = (double)in->scale * s / (double)out->scale;
        ck_assert_double_eq_tol(m * 2147483648.0, l->multipliers[o], .501);
        ck_assert(m < .5 && m >= 1.0 / 65536);
        for (size_t t = 0; t < l->taps; t++) {
            const double q = l->weights8[o * l->taps + t];
            ck_assert_double_le(fabs(q - (double)w[o * l->taps + t] / s), .5 + 1e-9);
            sum += q;
            if (mean_of_taps) moved += (q * s - (double)w[o * l->taps + t]) * mean_of_taps[t];
        }
        const double bias =
            ((double)kdi_device_bias(l)[o] - moved) / ((double)in->scale * s) - in->zero * sum;
        ck_assert_double_eq_tol(bias, l->bias32[o], .5 + 1e-6 * fabs(bias));
    }
}

START_TEST(test_formulas)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 40, 3);
    kd_export *e = net_export(&c);
    kd_quantise_opt opt = options(&c);
    opt.no_correction = 1;
    test_ok(ctx, kd_export_quantise(e, &opt));
    for (size_t i = 0; i < e->net->n_layers; i++)
        if (kdi_has_weights(&e->net->layers[i])) check_layer(e->net, &e->net->layers[i], NULL);
    ck_assert(e->net->maps[0].scale == 1 && e->net->maps[0].zero == -128);
    net_close(ctx, &c, e);
}
END_TEST

/* Layers that the graph gives no name have that of the layer before them. */
START_TEST(test_names)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 1, 3);
    kd_export *e = net_export(&c);
    size_t found = 0;
    for (size_t i = 0; i < e->net->n_layers; i++) {
        const char *name = e->net->layers[i].name;
        ck_assert_str_ne(name, "");
        found += !strcmp(name, "left.add") || !strcmp(name, "left.add.max_pool");
        for (size_t k = 0; k < i; k++) ck_assert_str_ne(name, e->net->layers[k].name);
    }
    ck_assert_uint_eq(found, 2);
    net_close(ctx, &c, e);
}
END_TEST

/* The mean of what each tap meets, window by window and picture by picture, from the maps of the
 * float network; in pixels where the layer reads them. */
static void means_of(const kdi_net *net, const kdi_layer *l, const net_case *c, double *means)
{
    const kdi_map *in = &net->maps[l->in[0]], *out = &net->maps[l->out];
    const size_t pool = l->pools ? 2 : 1, windows = out->h * out->w * pool * pool;
    kdi_float_run *run;
    memset(means, 0, l->taps * sizeof *means);
    test_ok(net->ctx, kdi_float_create(net, &run));
    for (size_t n = 0; n < c->count; n++) {
        test_ok(net->ctx, kdi_float_do(run, c->pictures + n * c->picture, 1));
        const float *x = kdi_float_map(run, (size_t)l->in[0]);
        for (size_t at = 0; at < windows; at++)
            for (size_t t = 0; t < l->taps; t++) {
                const size_t k = t / in->c;
                const long y = (long)(at / (out->w * pool)) * l->stride[0] +
                               (long)k / l->kernel[1] - l->pad[0];
                const long col = (long)(at % (out->w * pool)) * l->stride[1] +
                                 (long)k % l->kernel[1] - l->pad[1];
                double v = 0;
                if (l->op == KDI_LINEAR)
                    v = (double)x[t];
                else if (y >= 0 && col >= 0 && y < (long)in->h && col < (long)in->w)
                    v = (double)x[((size_t)y * in->w + (size_t)col) * in->c + t % in->c];
                if (l->pixel_weights)
                    v = 255 * (v * (double)net->std[t % in->c] + (double)net->mean[t % in->c]);
                means[t] += v / (double)(windows * c->count);
            }
    }
    kdi_float_destroy(run);
}

START_TEST(test_correction)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 6, 4);
    kd_export *e = net_export(&c);
    const kd_quantise_opt opt = options(&c);
    test_ok(ctx, kd_export_quantise(e, &opt));
    for (size_t i = 0; i < e->net->n_layers; i++) {
        const kdi_layer *l = &e->net->layers[i];
        if (!kdi_has_weights(l)) continue;
        double *means = calloc(l->taps, sizeof *means);
        means_of(e->net, l, &c, means);
        check_layer(e->net, l, means);
        free(means);
    }
    net_close(ctx, &c, e);
}
END_TEST

/* A channel that is next to nothing, or nothing, beside its bias. */
START_TEST(test_small_channels)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 10, 5);
    float *values = kd_params_values(c.params);
    const kd_param_info *w = kd_params_find(c.params, "right.weight");
    const kd_param_info *b = kd_params_find(c.params, "right.bias");
    for (size_t t = 0; t < 8; t++) values[w->offset + t] = 0;
    for (size_t t = 8; t < 16; t++) values[w->offset + t] *= 1e-12f;
    values[b->offset] = 2.5f;
    values[b->offset + 1] = -3;
    kd_export *e = net_export(&c);
    const kd_quantise_opt opt = options(&c);
    test_ok(ctx, kd_export_quantise(e, &opt));
    const kdi_net *net = e->net;
    const kdi_layer *l = layer_named(net, "right");
    int32_t **maps = net_oracle(net, c.pictures);
    const double step = (double)net->maps[l->out].scale, zero = net->maps[l->out].zero;
    ck_assert_double_eq_tol(step * (maps[l->out][0] - zero), 2.5, step);
    ck_assert_double_eq_tol(step * (maps[l->out][1] - zero), -3, step);
    net_oracle_free(net, maps);
    net_close(ctx, &c, e);
}
END_TEST

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* Every map of lib/edge is the oracle's, to the bit, for every way of choosing. */
START_TEST(test_device_is_the_oracle)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 12, 6);
    for (int way = 0; way < 2 * KD_CALIBRATION_COUNT; way++) {
        kd_export *e = net_export(&c);
        kd_quantise_opt opt = options(&c);
        opt.method = (kd_calibration)(way / 2);
        opt.wide_logits = way % 2;
        opt.equalise = way % 2;
        test_ok(ctx, kd_export_quantise(e, &opt));
        const void *blob;
        size_t size;
        kd_edge_model m;
        test_ok(ctx, kd_export_blob(e, &blob, &size));
        ck_assert_int_eq(kd_edge_open(&m, blob, size, kd_edge_ops_i8), KD_EDGE_OK);
        uint8_t *arena = kd_ctx_alloc(ctx, m.arena_bytes, 1);
        for (size_t n = 0; n < c.count; n++) {
            const uint8_t *picture = c.pictures + n * c.picture;
            int32_t **maps = net_oracle(e->net, picture);
            ck_assert_int_eq(kd_edge_begin(&m, arena, m.arena_bytes, picture), KD_EDGE_OK);
            for (size_t i = 0; i < e->net->n_layers; i++) {
                const size_t map = (size_t)e->net->layers[i].out;
                ck_assert_int_eq(kd_edge_step(&m, arena, (uint32_t)i), KD_EDGE_OK);
                const bool wide = opt.wide_logits && i + 1 == e->net->n_layers;
                for (size_t k = 0; k < kdi_map_count(&e->net->maps[map]); k++) {
                    int32_t q = (int8_t)arena[e->at.map[map] + k];
                    if (wide) memcpy(&q, arena + e->at.map[map] + 4 * k, sizeof q);
                    ck_assert_msg(q == maps[map][k], "way %d, %s, number %zu: %d, not %d", way,
                                  e->net->layers[i].name, k, q, maps[map][k]);
                }
            }
            net_oracle_free(e->net, maps);
        }
        kd_ctx_free(ctx, arena);
        kd_export_destroy(e);
    }
    net_free(&c);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Rounding noise is what one expects of 8 bits, the wide logits are finer, and the worst layer is
 * one of them. */
START_TEST(test_comparison)
{
    kd_ctx *ctx = test_ctx(2, NULL);
    net_case c = net_residual(ctx, 64, 7);
    kd_export *e = net_export(&c);
    for (int wide = 0; wide < 2; wide++) {
        kd_quantise_opt opt = options(&c);
        opt.method = KD_CALIBRATE_RANGE;
        opt.wide_logits = wide;
        test_ok(ctx, kd_export_quantise(e, &opt));
        kd_export_result r = {.struct_size = sizeof r};
        ck_assert_int_eq(kd_export_result_get(e, &r), KD_E_INVALID);
        test_ok(ctx, kd_export_compare(e, c.pictures, NULL, c.count));
        test_ok(ctx, kd_export_result_get(e, &r));
        ck_assert_double_gt(r.signal_to_noise, 25);
        ck_assert_double_ge(r.agreement, 85);
        ck_assert(isnan(r.top1) && isnan(r.float_top1) && r.count == c.count);
        double least = HUGE_VAL;
        for (size_t i = 0; i < kd_export_layers(e); i++) {
            kd_export_layer l = {.struct_size = sizeof l};
            test_ok(ctx, kd_export_layer_info(e, i, &l));
            ck_assert_double_gt(l.own, 25);
            ck_assert_double_gt(l.signal_to_noise, 25);
            if (l.own < least) {
                least = l.own;
                ck_assert(i <= r.worst_layer);
            }
            if (wide && i + 1 == kd_export_layers(e)) ck_assert_double_gt(l.own, 40);
        }
    }
    net_close(ctx, &c, e);
}
END_TEST

/* Equalised by powers of two: the float network's bits stay, the channels' weights come nearer. */
START_TEST(test_equalise)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 8, 8);
    float *w = kd_params_values(c.params) + kd_params_find(c.params, "pooled.weight")->offset;
    for (size_t i = 0; i < 9 * 12; i++) w[i] *= 60; /* its first channel */
    kd_export *e = net_export(&c);
    float before[NET_CLASSES];
    kdi_float_run *run;
    kd_quantise_opt opt = options(&c);
    opt.equalise = 1;
    test_ok(ctx, kdi_float_create(e->net, &run));
    test_ok(ctx, kdi_float_do(run, c.pictures, 1));
    memcpy(before, kdi_float_map(run, e->net->n_maps - 1), sizeof before);
    kdi_float_destroy(run);
    test_ok(ctx, kd_export_quantise(e, &opt));
    test_ok(ctx, kdi_float_create(e->net, &run));
    test_ok(ctx, kdi_float_do(run, c.pictures, 1));
    ck_assert_double_le(test_distance(kdi_float_map(run, e->net->n_maps - 1), before, NET_CLASSES),
                        1e-6);
    kdi_float_destroy(run);
    const kdi_layer *l = layer_named(e->net, "pooled");
    float most[2] = {0, 0};
    for (size_t t = 0; t < l->taps; t++)
        for (size_t o = 0; o < 2; o++) most[o] = fmaxf(most[o], fabsf(l->weights[o * l->taps + t]));
    ck_assert_double_lt((double)(most[0] / most[1]), 20);
    net_close(ctx, &c, e);
}
END_TEST

/* ---- what cannot be -------------------------------------------------------------------------- */

START_TEST(test_wrong_options)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 4, 9);
    kd_export *e = net_export(&c);
    kd_quantise_opt opt = options(&c);
    opt.count = 0;
    net_expect(ctx, kd_export_quantise(e, &opt), KD_E_INVALID, "no pictures");
    opt = options(&c);
    opt.method = KD_CALIBRATION_COUNT;
    net_expect(ctx, kd_export_quantise(e, &opt), KD_E_INVALID, "no method 4");
    opt = options(&c);
    opt.percentile = 50;
    net_expect(ctx, kd_export_quantise(e, &opt), KD_E_INVALID, "percentile 50");
    opt.percentile = (double)NAN;
    net_expect(ctx, kd_export_quantise(e, &opt), KD_E_INVALID, "percentile");
    opt.struct_size = 0;
    ck_assert_int_eq(kd_export_quantise(e, &opt), KD_E_INVALID);
    net_expect(ctx, kd_export_compare(e, NULL, NULL, 0), KD_E_INVALID, "no pictures");
    ck_assert_ptr_null(kd_calibration_name(KD_CALIBRATION_COUNT));
    ck_assert_str_eq(kd_calibration_name(KD_CALIBRATE_SQUARED_ERROR), "mse");
    kd_export_destroy(e);
    kd_export_destroy(NULL);
    net_free(&c);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_not_finite)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    net_case c = net_residual(ctx, 4, 10);
    kd_export *e;
    float *values = kd_params_values(c.params);
    float *w = values + kd_params_find(c.params, "strided.weight")->offset;
    const float was = *w;
    const kd_export_graph_opt opt = {.struct_size = sizeof opt};
    *w = NAN;
    net_expect(ctx, kd_export_create_graph(c.graph, c.params, &opt, &e), KD_E_NONFINITE,
               "conv2d 'strided'");
    ck_assert_ptr_null(e);
    *w = was;
    /* Finite weights, but the sums are not. */
    const kd_param_info *strided = kd_params_find(c.params, "strided.weight");
    for (size_t i = 0; i < strided->count; i++) values[strided->offset + i] = 3e38f;
    test_ok(ctx, kd_export_create_graph(c.graph, c.params, &opt, &e));
    const kd_quantise_opt q = options(&c);
    net_expect(ctx, kd_export_quantise(e, &q), KD_E_NONFINITE, "'strided'");
    const void *blob;
    size_t size;
    net_expect(ctx, kd_export_blob(e, &blob, &size), KD_E_NONFINITE,
               "conv2d 'strided': what it makes");
    ck_assert(!blob && size == 0);
    kd_export_destroy(e);
    for (size_t i = 0; i < strided->count; i++) values[strided->offset + i] = 0;
    const size_t logits = kd_params_find(c.params, "last.bias")->offset;
    for (int sign = -1; sign < 2; sign += 2) {
        values[logits] = (float)sign * FLT_MAX; /* where the device cuts off */
        test_ok(ctx, kd_export_create_graph(c.graph, c.params, &opt, &e));
        net_expect(ctx, kd_export_blob(e, &blob, &size), KD_E_NONFINITE, "'last': what it makes");
        kd_export_destroy(e);
    }
    values[logits] = 0;
    /* Nor are the weights once they are for pixels. */
    static const float mean[] = {.5f, .5f, .5f}, deviation[] = {1e-4f, 1e-4f, 1e-4f};
    const kd_export_graph_opt normal = {
        .struct_size = sizeof normal, .mean = mean, .std = deviation};
    values[kd_params_find(c.params, "first.weight")->offset] = 1e37f;
    net_expect(ctx, kd_export_create_graph(c.graph, c.params, &normal, &e), KD_E_NONFINITE,
               "'first': its weights are not finite once");
    net_free(&c);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(quant, 120, &test_range_of_all, &test_percentile, &test_squared_error, &test_entropy,
           &test_odd_histograms, &test_formulas, &test_names, &test_correction,
           &test_small_channels, &test_device_is_the_oracle, &test_comparison, &test_equalise,
           &test_wrong_options, &test_not_finite)
