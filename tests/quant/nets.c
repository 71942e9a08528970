/* SPDX-License-Identifier: MIT
 * nets.c: see nets.h. The oracle is written from docs/edge-numerics.md, layer by layer, without any
 * of lib/edge. */
#include "nets.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const float net_mean[NET_C] = {.49f, .45f, .4f}, net_std[NET_C] = {.25f, .2f, .3f};

/* ---- networks -------------------------------------------------------------------------------- */

net_case net_finish(kd_ctx *ctx, kd_graph *g, size_t picture, size_t count, uint64_t seed)
{
    net_case c = {.graph = g, .picture = picture, .count = count};
    test_ok(ctx, kd_graph_status(g));
    test_ok(ctx, kd_params_create(g, seed, &c.params));
    float *values = kd_params_values(c.params);
    for (size_t i = 0; i < kd_params_entries(c.params); i++) {
        const kd_param_info *p = kd_params_info(c.params, i);
        const size_t n = strlen(p->name);
        if (p->dtype != KD_F32) continue;
        float *x = p->buffer ? (void *)((char *)kd_params_buffers(c.params) + p->offset)
                             : (void *)(values + p->offset);
        if (p->buffer || p->shape.rank == 1) test_fill(x, p->count, seed + i, .3f);
        const bool around_one =
            (n > 11 && !strcmp(p->name + n - 11, "running_var")) || strstr(p->name, "norm.weight");
        for (size_t k = 0; k < p->count && around_one; k++) x[k] += 1;
    }
    c.pictures = malloc(count * picture);
    float *noise = malloc(count * picture * sizeof *noise);
    ck_assert(c.pictures && noise);
    test_fill(noise, count * picture, seed + 77, 127.9f);
    for (size_t i = 0; i < count * picture; i++)
        c.pictures[i] = (uint8_t)lrintf(noise[i] * ((float)(i / picture % 3) + 1) / 3 + 127.5f);
    free(noise);
    return c;
}

static kd_value conv(kd_graph *g, kd_value x, const char *name, int out, int kernel, int stride,
                     bool norm)
{
    const kd_conv2d_opt opt = {.struct_size = sizeof opt,
                               .out = out,
                               .kernel = {kernel},
                               .stride = {stride},
                               .pad = {kernel / 2, kernel / 2}};
    char text[40];
    x = kd_conv2d(g, x, name, &opt);
    snprintf(text, sizeof text, "%s_norm", name);
    return norm ? kd_batch_norm(g, x, text, 0, 0) : x;
}

net_case net_residual(kd_ctx *ctx, size_t count, uint64_t seed)
{
    static const int64_t dim[] = {KD_BATCH, NET_H, NET_W, NET_C};
    static const kd_pool_opt pool = {.struct_size = sizeof pool, .kernel = {2, 2}};
    static const kd_pool_opt wide = {
        .struct_size = sizeof wide, .kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_value x = kd_input(g, "input", KD_F32, 4, dim);
    x = kd_relu(g, conv(g, x, "first", 8, 3, 1, true));
    const kd_value a = conv(g, x, "left", 12, 3, 1, true);
    x = kd_relu(g, kd_add(g, a, conv(g, x, "right", 12, 1, 1, false)));
    x = kd_max_pool(g, x, &wide);
    x = kd_max_pool(g, kd_relu(g, conv(g, x, "pooled", 10, 3, 1, true)), &pool);
    x = kd_relu(g, conv(g, x, "strided", 9, 3, 2, false));
    x = kd_linear(g, kd_global_avg_pool(g, x), "last", NET_CLASSES, 1);
    kd_output(g, x, "logits");
    return net_finish(ctx, g, (size_t)NET_H * NET_W * NET_C, count, seed);
}

void net_free(net_case *c)
{
    kd_params_destroy(c->params);
    kd_graph_destroy(c->graph);
    free(c->pictures);
}

kd_export *net_export(net_case *c)
{
    kd_export *e;
    const kd_export_graph_opt opt = {
        .struct_size = sizeof opt, .mean = net_mean, .std = net_std, .spec = "a test's"};
    test_ok(kd_graph_ctx(c->graph), kd_export_create_graph(c->graph, c->params, &opt, &e));
    return e;
}

void net_close(kd_ctx *ctx, net_case *c, kd_export *e)
{
    kd_export_destroy(e);
    net_free(c);
    kd_ctx_destroy(ctx);
}

void net_expect(kd_ctx *ctx, kd_status status, kd_status wanted, const char *says)
{
    ck_assert_msg(status == wanted, "%s, not %s: %s", kd_status_name(status),
                  kd_status_name(wanted), kd_ctx_error(ctx));
    ck_assert_msg(strstr(kd_ctx_error(ctx), says) != NULL, "it says: %s", kd_ctx_error(ctx));
}

/* ---- the oracle ------------------------------------------------------------------------------ */

static int64_t floor_shift(int64_t x, int shift)
{
    const int64_t unit = (int64_t)1 << shift;
    return x >= 0 ? x / unit : -((-x + unit - 1) / unit);
}

static int32_t clamp(int64_t x, int32_t low, int32_t high)
{
    return (int32_t)(x < low ? low : x > high ? high : x);
}

static int32_t requantise(int64_t sum, int32_t multiplier, int32_t zero, const kdi_layer *l)
{
    const int64_t half = (int64_t)1 << 30;
    return clamp(zero + floor_shift(sum * multiplier + half, 31), l->low, l->high);
}

typedef struct place {
    long y, x;
} place;

/* One number of a convolution before its pool. */
static int32_t conv_at(const kdi_net *net, const kdi_layer *l, const int32_t *q, place at, size_t o)
{
    const kdi_map *in = &net->maps[l->in[0]];
    const int8_t *w = l->weights8 + o * l->taps;
    int64_t sum = l->bias32[o];
    for (long ky = 0; ky < l->kernel[0]; ky++)
        for (long kx = 0; kx < l->kernel[1]; kx++)
            for (size_t c = 0; c < in->c; c++) {
                const long y = at.y * l->stride[0] + ky - l->pad[0];
                const long x = at.x * l->stride[1] + kx - l->pad[1];
                const bool inside = y >= 0 && x >= 0 && y < (long)in->h && x < (long)in->w;
                const int32_t outside =
                    l->in[0] ? in->zero : (int32_t)lround(255.0 * (double)net->mean[c]) - 128;
                sum += (int64_t)*w++ *
                       (inside ? q[((size_t)y * in->w + (size_t)x) * in->c + c] : outside);
            }
    return requantise(sum, l->multipliers[o], net->maps[l->out].zero, l);
}

static int32_t weights_at(const kdi_net *net, const kdi_layer *l, const int32_t *q, place at,
                          size_t o)
{
    if (l->op == KDI_LINEAR) {
        int64_t sum = l->bias32[o];
        for (size_t t = 0; t < l->taps; t++) sum += (int64_t)l->weights8[o * l->taps + t] * q[t];
        return requantise(sum, l->multipliers[o], net->maps[l->out].zero, l);
    }
    if (!l->pools) return conv_at(net, l, q, at, o);
    int32_t most = INT32_MIN;
    for (long i = 0; i < 4; i++) {
        const int32_t x = conv_at(net, l, q, (place){2 * at.y + i / 2, 2 * at.x + i % 2}, o);
        if (x > most) most = x;
    }
    return most;
}

static int32_t pool_at(const kdi_net *net, const kdi_layer *l, const int32_t *q, place at, size_t c)
{
    const kdi_map *in = &net->maps[l->in[0]];
    int32_t most = INT32_MIN;
    int64_t sum = l->op == KDI_AVG_POOL ? l->bias32[0] : 0;
    for (long k = 0; k < l->kernel[0] * l->kernel[1]; k++) {
        const long y = at.y * l->stride[0] + k / l->kernel[1] - l->pad[0];
        const long x = at.x * l->stride[1] + k % l->kernel[1] - l->pad[1];
        if (y < 0 || x < 0 || y >= (long)in->h || x >= (long)in->w) continue;
        const int32_t v = q[((size_t)y * in->w + (size_t)x) * in->c + c];
        if (v > most) most = v;
        sum += v;
    }
    if (l->op == KDI_MAX_POOL) return most;
    return requantise(sum, l->multipliers[0], net->maps[l->out].zero, l);
}

static void oracle_layer(const kdi_net *net, const kdi_layer *l, int32_t **maps)
{
    const kdi_map *out = &net->maps[l->out];
    const int32_t *a = maps[l->in[0]];
    for (size_t i = 0; i < kdi_map_count(out); i++) {
        const place at = {(long)(i / out->c / out->w), (long)(i / out->c % out->w)};
        int32_t *to = &maps[l->out][i];
        if (kdi_has_weights(l)) {
            *to = weights_at(net, l, a, at, i % out->c);
        } else if (l->op == KDI_ADD) {
            const int64_t sum = (int64_t)a[i] * l->multipliers[0] +
                                (int64_t)maps[l->in[1]][i] * l->multipliers[1] + l->bias32[0];
            *to = clamp(floor_shift(sum, l->shift), l->low, l->high);
        } else {
            *to = pool_at(net, l, a, at, i % out->c);
        }
    }
}

int32_t **net_oracle(const kdi_net *net, const uint8_t *picture)
{
    int32_t **maps = calloc(net->n_maps, sizeof *maps);
    for (size_t i = 0; i < net->n_maps; i++)
        maps[i] = calloc(kdi_map_count(&net->maps[i]), sizeof **maps);
    for (size_t i = 0; i < kdi_map_count(&net->maps[0]); i++) maps[0][i] = picture[i] - 128;
    for (size_t i = 0; i < net->n_layers; i++) oracle_layer(net, &net->layers[i], maps);
    return maps;
}

void net_oracle_free(const kdi_net *net, int32_t **maps)
{
    for (size_t i = 0; i < net->n_maps; i++) free(maps[i]);
    free(maps);
}
