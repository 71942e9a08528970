/* SPDX-License-Identifier: MIT
 * reference.c: what the records of a .kde blob compute, after docs/edge-format.md and
 * docs/edge-numerics.md: plain loops over whole maps, each in memory of its own, sums in 64 bits
 * (float32: in double). No line buffer, no place in an arena, nothing of lib/edge but the structs. */
#include "net.h"

#include <stdlib.h>
#include <string.h>

/* A map's values: int8 and int32 as they are, float32 rounded to float. */
typedef struct values {
    uint32_t at; /* arena offset, which names it */
    double *x;
} values;

typedef struct machine {
    const uint8_t *blob;
    int is_float;
    values maps[64];
    int n;
} machine;

static const double *find(const machine *m, uint32_t at)
{
    for (int i = m->n; i-- > 0;)
        if (m->maps[i].at == at) return m->maps[i].x;
    abort();
}

static double *add_map(machine *m, uint32_t at, size_t n)
{
    m->maps[m->n] = (values){at, calloc(n, sizeof(double))};
    return m->maps[m->n++].x;
}

static int64_t floor_shift(int64_t x, int shift)
{
    const int64_t unit = (int64_t)1 << shift;
    return x >= 0 ? x / unit : -((-x + unit - 1) / unit);
}

static int64_t limit(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static int64_t requantise(int64_t sum, int64_t multiplier, int64_t zero)
{
    return zero + floor_shift(sum * multiplier + ((int64_t)1 << 30), 31);
}

static double limit_float(double x, double low, double high)
{
    return (double)(float)(x < low ? low : x > high ? high : x);
}

/* Sum of one window; y, x of its first element. */
static double window(const machine *m, const kd_edge_conv *conv, const double *in, int c, int y0,
                     int x0)
{
    const int taps = conv->kernel_height * conv->kernel_width * conv->in_channels;
    const int row = (taps + 3) / 4 * 4;
    const int8_t *w = (const int8_t *)(m->blob + conv->weights) + c * row;
    const float *wf = (const float *)(m->blob + conv->weights) + c * row;
    int64_t sum = ((const int32_t *)(m->blob + conv->bias))[c];
    double sum_float = m->is_float ? (double)((const float *)(m->blob + conv->bias))[c] : 0;
    int k = 0;
    for (int ky = 0; ky < conv->kernel_height; ky++)
        for (int kx = 0; kx < conv->kernel_width; kx++)
            for (int ic = 0; ic < conv->in_channels; ic++, k++) {
                const int y = y0 + ky, x = x0 + kx;
                const int inside = y >= 0 && x >= 0 && y < conv->in_height && x < conv->in_width;
                const double pad = m->is_float ? (double)conv->pad[ic % 4].f : conv->pad[ic % 4].i;
                const double v =
                    inside ? in[(y * conv->in_width + x) * conv->in_channels + ic] : pad;
                if (m->is_float)
                    sum_float += v * (double)wf[k];
                else
                    sum += (int64_t)v * w[k];
            }
    return m->is_float ? sum_float : (double)sum;
}

static void run_conv(machine *m, const kd_edge_conv *conv)
{
    const double *in = find(m, conv->in);
    const int pool = conv->pool, channels = conv->out_channels;
    const int32_t *multipliers = (const int32_t *)(m->blob + conv->multipliers);
    double *out =
        add_map(m, conv->out, (size_t)conv->out_height * conv->out_width * conv->out_channels);
    for (int y = 0; y < conv->out_height; y++)
        for (int x = 0; x < conv->out_width; x++)
            for (int c = 0; c < channels; c++) {
                double most = 0; /* of what is requantised and clamped: pooling comes last */
                for (int i = 0; i < pool * pool; i++) {
                    const int top = (y * pool + i / 2) * conv->stride_height - conv->pad_top;
                    const int left = (x * pool + i % 2) * conv->stride_width - conv->pad_left;
                    const double sum = window(m, conv, in, c, top, left);
                    const double v =
                        m->is_float
                            ? limit_float(sum, (double)conv->low.f, (double)conv->high.f)
                            : (double)limit(requantise((int64_t)sum, multipliers[c], conv->zero),
                                            conv->low.i, conv->high.i);
                    if (i == 0 || v > most) most = v;
                }
                out[(y * conv->out_width + x) * channels + c] = most;
            }
}

static void run_pool(machine *m, const kd_edge_pool *pool)
{
    const double *in = find(m, pool->in);
    const int average = pool->op == KD_EDGE_OP_AVG_POOL, channels = pool->channels;
    double *out =
        add_map(m, pool->out, (size_t)pool->out_height * pool->out_width * pool->channels);
    for (int y = 0; y < pool->out_height; y++)
        for (int x = 0; x < pool->out_width; x++)
            for (int c = 0; c < channels; c++) {
                double sum = 0, most = -1e300, v;
                for (int i = 0; i < pool->kernel_height; i++)
                    for (int j = 0; j < pool->kernel_width; j++) {
                        const int yy = y * pool->stride_height - pool->pad_top + i;
                        const int xx = x * pool->stride_width - pool->pad_left + j;
                        if (yy < 0 || xx < 0 || yy >= pool->in_height || xx >= pool->in_width)
                            continue;
                        const double q = in[(yy * pool->in_width + xx) * channels + c];
                        sum += q;
                        most = q > most ? q : most;
                    }
                v = average ? sum : most;
                if (m->is_float) {
                    if (average) v /= pool->kernel_height * pool->kernel_width;
                    v = limit_float(v, (double)pool->low.f, (double)pool->high.f);
                } else if (average) {
                    v = (double)limit(
                        requantise((int64_t)v + pool->bias, pool->multiplier, pool->zero),
                        pool->low.i, pool->high.i);
                }
                out[(y * pool->out_width + x) * channels + c] = v;
            }
}

static void run_sum(machine *m, const kd_edge_sum *sum)
{
    const double *a = find(m, sum->a), *b = find(m, sum->b);
    const size_t n = (size_t)sum->height * sum->width * sum->channels;
    double *out = add_map(m, sum->out, n);
    for (size_t i = 0; i < n; i++) {
        if (m->is_float) {
            out[i] = limit_float(a[i] + b[i], (double)sum->low.f, (double)sum->high.f);
            continue;
        }
        const int64_t x =
            (int64_t)a[i] * sum->a_multiplier + (int64_t)b[i] * sum->b_multiplier + sum->constant;
        out[i] = (double)limit(floor_shift(x, sum->shift), sum->low.i, sum->high.i);
    }
}

void net_reference(const uint8_t *blob, const uint8_t *pixels, void *output)
{
    const kd_edge_header *header = (const kd_edge_header *)blob;
    machine m = {.blob = blob, .is_float = header->type == KD_EDGE_FLOAT32};
    const size_t n = (size_t)header->input_height * header->input_width * header->input_channels;
    double *picture = add_map(&m, header->input_at, n);
    for (size_t i = 0; i < n; i++) picture[i] = pixels[i] - (m.is_float ? 0 : 128);
    const uint8_t *at = blob + header->records_at;
    for (int i = 0; i < header->records; i++) {
        const kd_edge_record *record = (const kd_edge_record *)at;
        if (record->op == KD_EDGE_OP_ADD)
            run_sum(&m, (const kd_edge_sum *)at);
        else if (record->op == KD_EDGE_OP_MAX_POOL || record->op == KD_EDGE_OP_AVG_POOL)
            run_pool(&m, (const kd_edge_pool *)at);
        else
            run_conv(&m, (const kd_edge_conv *)at);
        at += record->bytes;
    }
    const double *logits = m.maps[m.n - 1].x;
    for (int i = 0; i < header->classes; i++) {
        if (header->output_type == KD_EDGE_INT8) ((int8_t *)output)[i] = (int8_t)logits[i];
        if (header->output_type == KD_EDGE_INT32) ((int32_t *)output)[i] = (int32_t)logits[i];
        if (header->output_type == KD_EDGE_FLOAT32) ((float *)output)[i] = (float)logits[i];
    }
    while (m.n) free(m.maps[--m.n].x);
}
