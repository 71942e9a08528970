/* SPDX-License-Identifier: MIT
 * mix.c: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), as timm has them with mode
 * "batch". Picture i's partner is picture n - 1 - i. The share of the picture itself is drawn
 * from Beta(alpha, alpha) once for the batch. If both are asked for, each batch takes one of them,
 * with probability one half.
 *
 * CutMix's box has a random pixel as its centre and reaches half its height and width, rounded
 * down, to either side. It is cut at the picture's borders, and the share becomes what lies outside
 * it. */
#include "mix.h"

#include <math.h>

/* Gamma(a, 1): Marsaglia and Tsang (2000), from Gamma(a + 1) where a is below 1. */
static double gamma_draw(kdi_rng *rng, double a)
{
    const double boost = a < 1 ? pow(1 - (double)kdi_rng_uniform(rng), 1 / a) : 1;
    const double d = (a < 1 ? a + 1 : a) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = (double)kdi_rng_normal(rng), root = 1 + c * x;
        const double u = 1 - (double)kdi_rng_uniform(rng); /* in (0, 1] */
        if (root <= 0) continue;
        const double v = root * root * root;
        if (log(u) < .5 * x * x + d - d * v + d * log(v)) return d * v * boost;
    }
}

static double beta_draw(kdi_rng *rng, double a)
{
    const double x = gamma_draw(rng, a), y = gamma_draw(rng, a);
    return x + y > 0 ? x / (x + y) : .5; /* tiny a: both may vanish */
}

static void place_box(kdi_mix *m, kdi_shape canvas, double share, kdi_rng *rng)
{
    const double side = sqrt(1 - share);
    const size_t half_h = (size_t)((double)canvas.h * side) / 2;
    const size_t half_w = (size_t)((double)canvas.w * side) / 2;
    const size_t y = kdi_rng_below(rng, (uint32_t)canvas.h);
    const size_t x = kdi_rng_below(rng, (uint32_t)canvas.w);
    m->top = y > half_h ? y - half_h : 0;
    m->left = x > half_w ? x - half_w : 0;
    m->bottom = y + half_h < canvas.h ? y + half_h : canvas.h;
    m->right = x + half_w < canvas.w ? x + half_w : canvas.w;
    const double covered = (double)((m->bottom - m->top) * (m->right - m->left));
    m->share = (float)(1 - covered / (double)(canvas.h * canvas.w));
}

kdi_mix kdi_mix_draw(const kdi_augmentation *a, kdi_shape canvas, uint64_t seed, size_t epoch,
                     size_t index)
{
    kdi_mix m = {.share = 1};
    kdi_rng rng = kdi_rng_make(seed, KDI_RNG_MIX, (uint32_t)epoch, (uint32_t)index);
    const bool coin = kdi_rng_u32(&rng) >> 31;
    m.cut = a->cutmix > 0 && (a->mixup <= 0 || coin);
    const double share = beta_draw(&rng, m.cut ? a->cutmix : a->mixup);
    if (m.cut)
        place_box(&m, canvas, share, &rng);
    else
        m.share = (float)share;
    return m;
}

void kdi_mix_apply(const kdi_mix *m, kdi_shape canvas, size_t channels, float *a, float *b)
{
    if (!m->cut) {
        const float s = m->share, r = 1 - s;
        for (size_t i = 0; i < canvas.h * canvas.w * channels; i++) {
            const float x = a[i], y = b[i];
            a[i] = s * x + r * y;
            b[i] = s * y + r * x;
        }
        return;
    }
    for (size_t y = m->top; y < m->bottom; y++)
        for (size_t i = m->left * channels; i < m->right * channels; i++) {
            const size_t at = y * canvas.w * channels + i;
            const float x = a[at];
            a[at] = b[at];
            b[at] = x;
        }
}
