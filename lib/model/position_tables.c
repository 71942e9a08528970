/* SPDX-License-Identifier: MIT
 * position_tables.c: position embeddings and tables of relative positions for another size of
 * picture, as timm has them:
 *
 * pos_embed [1,tokens+a*a,C] -> [1,tokens+b*b,C]. The tokens' rows are kept. The others are resized
 * as a picture [a,a,C] by Keys' cubic with a = -1/2, which is widened when the picture shrinks
 * (antialiasing). The weights of a pixel sum to one.
 *
 * relative_position_bias_table [(2a-1)^2,heads] -> [(2b-1)^2,heads]. The old offsets are placed at
 * 0, 1, 1+q, 1+q+q^2, ..., with the q (at least 1.01) that puts the last, a-1, at b-1: so near
 * offsets keep their distance. Values at the new offsets, 0, 1, 2, ..., b-1, are interpolated
 * linearly; beyond the last old offset its value holds. */
#include "position_tables.h"

#include "../base/resample.h"

#include <math.h>
#include <string.h>

/* The side of a square; 0 if there is none. */
static size_t side_of(int64_t area)
{
    if (area < 1) return 0;
    const int64_t side = (int64_t)(sqrt((double)area) + .5);
    return side * side == area ? (size_t)side : 0;
}

static bool is_embedding(const kd_param_info *info)
{
    return info->shape.rank == 3 && !strcmp(info->name, "pos_embed");
}

static bool is_table(const kd_param_info *info)
{
    static const char end[] = ".relative_position_bias_table";
    const size_t length = strlen(info->name);
    return info->shape.rank == 2 && length >= sizeof end &&
           !strcmp(info->name + length + 1 - sizeof end, end);
}

bool kdi_positions_fit(const kdi_spec *s, const kd_param_info *info, int rank, const int64_t *shape)
{
    if (rank != info->shape.rank || shape[rank - 1] != info->shape.dim[rank - 1]) return false;
    if (is_embedding(info)) return shape[0] == 1 && side_of(shape[1] - 1 - s->distilled) > 0;
    return is_table(info) && side_of(shape[0]) % 2 == 1;
}

/* ---- a separable resize ---------------------------------------------------------------------- */

/* new pixel i = sum over j of weight[i][j] * old pixel first[i] + j */
typedef struct axis {
    size_t from, to, most; /* sizes; numbers in a row of weights */
    size_t *first, *count; /* [to] */
    double *weight;        /* [to,most] */
} axis;

static void free_axis(kd_ctx *ctx, axis *a)
{
    kd_ctx_free(ctx, a->first);
    kd_ctx_free(ctx, a->count);
    kd_ctx_free(ctx, a->weight);
}

static kd_status make_axis(kd_ctx *ctx, axis *a)
{
    a->first = kd_ctx_alloc(ctx, a->to, sizeof *a->first);
    a->count = kd_ctx_alloc(ctx, a->to, sizeof *a->count);
    a->weight = kd_ctx_alloc(ctx, a->to, a->most * sizeof *a->weight);
    return a->first && a->count && a->weight ? KD_OK : kd_ctx_memory_status(ctx);
}

static kd_status cubic_axis(kd_ctx *ctx, size_t from, size_t to, axis *a)
{
    const double scale = (double)from / (double)to, widen = scale > 1 ? scale : 1;
    const double reach = 2 * widen;
    *a = (axis){.from = from, .to = to, .most = (size_t)ceil(reach) * 2 + 1};
    const kd_status status = make_axis(ctx, a);
    for (size_t i = 0; i < to && !status; i++) {
        const double centre = scale * ((double)i + .5);
        size_t first, end;
        kdi_resample_range(centre, reach, 0, from, &first, &end);
        kdi_resample_weights(kdi_cubic, centre, widen, first, end, a->weight + i * a->most);
        a->first[i] = first;
        a->count[i] = end - first;
    }
    return status;
}

/* Where the old offset of `steps` steps lies on the scale of ratio q. */
static double geometric(double q, size_t steps)
{
    double at = 0, step = 1;
    for (size_t i = 0; i < steps; i++, step *= q) at += step;
    return at;
}

/* The ratio by bisection, to the precision timm has it. */
static double ratio(size_t from, size_t to)
{
    double low = 1.01, high = 1.5, q = high;
    while (high - low > 1e-6) {
        q = (low + high) / 2;
        if (geometric(q, from) > (double)to)
            high = q;
        else
            low = q;
    }
    return q;
}

static kd_status relative_axis(kd_ctx *ctx, size_t from, size_t to, axis *a)
{
    const size_t half = from / 2, middle = to / 2;
    const double q = ratio(half, middle);
    *a = (axis){.from = from, .to = to, .most = 2};
    const kd_status status = make_axis(ctx, a);
    for (size_t i = 0; i < to && !status; i++) {
        const bool negative = i < middle;
        const double x = fabs((double)i - (double)middle);
        size_t k = 0; /* the old offsets k and k + 1 are around x */
        while (k < half && geometric(q, k + 1) < x) k++;
        const double left = geometric(q, k), t = (x - left) / (geometric(q, k + 1) - left);
        double *w = a->weight + 2 * i;
        a->count[i] = k < half ? 2 : 1;
        if (k == half) {
            a->first[i] = negative ? half - k : half + k;
            w[0] = 1;
        } else if (negative) {
            a->first[i] = half - k - 1;
            w[0] = t;
            w[1] = 1 - t;
        } else {
            a->first[i] = half + k;
            w[0] = 1 - t;
            w[1] = t;
        }
    }
    return status;
}

/* out[c] = sum over j of w[j] * x[j * step + c] */
static void blend(const axis *a, size_t i, const double *x, size_t step, size_t channels,
                  double *out)
{
    const double *w = a->weight + i * a->most;
    x += a->first[i] * step;
    for (size_t c = 0; c < channels; c++) {
        double sum = 0;
        for (size_t j = 0; j < a->count[i]; j++) sum += w[j] * x[j * step + c];
        out[c] = sum;
    }
}

/* [from,from,C] -> [to,to,C], rows and columns alike. */
static kd_status resize(kd_ctx *ctx, const axis *a, size_t channels, const float *from, float *to)
{
    const size_t old_row = a->from * channels, row = a->to * channels;
    double *line = kd_ctx_alloc(ctx, old_row > row ? old_row : row, sizeof *line);
    double *wide = kd_ctx_alloc(ctx, a->from, row * sizeof *wide); /* [from,to,C] */
    const kd_status status = line && wide ? KD_OK : kd_ctx_memory_status(ctx);
    for (size_t y = 0; y < a->from && !status; y++) {
        for (size_t k = 0; k < old_row; k++) line[k] = (double)from[y * old_row + k];
        for (size_t i = 0; i < a->to; i++)
            blend(a, i, line, channels, channels, wide + y * row + i * channels);
    }
    for (size_t i = 0; i < a->to && !status; i++) {
        blend(a, i, wide, row, row, line);
        for (size_t k = 0; k < row; k++) to[i * row + k] = (float)line[k];
    }
    kd_ctx_free(ctx, line);
    kd_ctx_free(ctx, wide);
    return status;
}

kd_status kdi_positions_resize(kd_ctx *ctx, const kdi_spec *s, const kd_param_info *info,
                               const int64_t *shape, const float *from, float *to)
{
    axis a;
    const bool table = is_table(info);
    const int64_t tokens = table ? 0 : 1 + s->distilled;
    const int rows = table ? 0 : 1;
    const size_t channels = (size_t)shape[rows + 1], skip = (size_t)tokens * channels;
    const size_t old = side_of(shape[rows] - tokens);
    const size_t side = side_of(info->shape.dim[rows] - tokens);
    kd_status status = table ? relative_axis(ctx, old, side, &a) : cubic_axis(ctx, old, side, &a);
    if (skip) memcpy(to, from, skip * sizeof *to);
    if (!status) status = resize(ctx, &a, channels, from + skip, to + skip);
    free_axis(ctx, &a);
    return status;
}
