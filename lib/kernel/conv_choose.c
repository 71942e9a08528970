/* SPDX-License-Identifier: MIT
 * conv_choose.c: which algorithm computes which convolution. The table of rules is read from its
 * top: the first rule that holds for the shape, and whose algorithm can compute it, decides.
 * KD_CONV forces one. The rules were measured (bench/kernels.c); they do not depend on the kernel
 * table. */
#include "conv_algo.h"

#include "../base/checked.h"

#include <string.h>

#define ANY 1, SIZE_MAX

/*  algorithm, c, o, map, pixels, why */
static const kdi_conv_rule rules[] = {
    {KDI_CONV_DEPTHWISE, ANY, ANY, ANY, SIZE_MAX, "one channel a group: there are no matrices"},
    {KDI_CONV_GEMM, 192, SIZE_MAX, 384, SIZE_MAX, 4, 4, 4, "the time is that of reading weights"},
    {KDI_CONV_SMALL_MAP2, 32, SIZE_MAX, 32, SIZE_MAX, 4, 4, SIZE_MAX, "2x2: 9 products for 16"},
    {KDI_CONV_GEMM, ANY, ANY, 1, 4, SIZE_MAX, "on a 2x2 map most of Winograd's tile is padding"},
    {KDI_CONV_SMALL_MAP4, 64, SIZE_MAX, 64, SIZE_MAX, 16, 16, 16,
     "4x4: as few weights as possible"},
    {KDI_CONV_SMALL_MAP4, 192, SIZE_MAX, 192, SIZE_MAX, 16, 16, 32,
     "two images: the time is still that of reading weights, if there are many"},
    {KDI_CONV_GEMM, 192, SIZE_MAX, 192, SIZE_MAX, 5, 25, 25,
     "few tiles: the time is that of reading weights, of which Winograd has more"},
    {KDI_CONV_GEMM, 192, SIZE_MAX, 384, SIZE_MAX, 5, 15, 48, "the same with more weights"},
    {KDI_CONV_WINOGRAD2, 8, SIZE_MAX, 8, SIZE_MAX, 5, 25, 48,
     "some tiles: F(2x2) has fewer weights than F(4x4), which stay in cache if channels are few"},
    {KDI_CONV_WINOGRAD2, 192, SIZE_MAX, 192, SIZE_MAX, 5, 25, 80, "the same with more weights"},
    {KDI_CONV_WINOGRAD2, 384, SIZE_MAX, 384, SIZE_MAX, 5, 25, 112, "the same with more weights"},
    {KDI_CONV_WINOGRAD2, 128, SIZE_MAX, 192, SIZE_MAX, 26, 100, 100, "the same on larger maps"},
    {KDI_CONV_WINOGRAD, 8, SIZE_MAX, 8, SIZE_MAX, ANY, SIZE_MAX, "a quarter of the products"},
    {KDI_CONV_DIRECT, 1, 32, ANY, 16, SIZE_MAX, SIZE_MAX, "patches would cost more than they save"},
    {KDI_CONV_GEMM, ANY, ANY, ANY, SIZE_MAX, "any shape"},
};

const kdi_conv_rule *kdi_conv_rules(size_t *count)
{
    *count = sizeof rules / sizeof *rules;
    return rules;
}

const char *kdi_conv_algo_name(kdi_conv_algo algo)
{
    return (size_t)algo < KDI_CONV_ALGOS ? kdi_conv_methods[algo]->name : "unknown";
}

int kdi_conv_algo_named(const char *name)
{
    for (int i = 0; i < KDI_CONV_ALGOS; i++)
        if (!strcmp(kdi_conv_methods[i]->name, name)) return i;
    return -1;
}

bool kdi_conv_can(const kdi_conv *v, kdi_conv_algo algo)
{
    if ((size_t)algo >= KDI_CONV_ALGOS) return false;
    const kdi_conv_method *m = kdi_conv_methods[algo];
    if (v->bn_after && !(v->bn_after->writes ? m->bn_after_writes : m->bn_after)) return false;
    return (!v->pools || m->pools) && (!v->bn_before || m->bn_before) && m->can(v);
}

static bool holds(const kdi_conv_rule *r, const kdi_conv *v, size_t batch)
{
    const size_t c = v->c / v->groups, o = v->o / v->groups, map = v->oh * v->ow;
    size_t pixels;
    if (!batch || !kdi_mul(batch, map, &pixels)) pixels = SIZE_MAX;
    return c >= r->min_c && c <= r->max_c && o >= r->min_o && o <= r->max_o && map >= r->min_map &&
           map <= r->max_map && pixels <= r->max_pixels;
}

kdi_conv_algo kdi_conv_choose_for(const kdi_conv *v, size_t batch, const kdi_conv_algo *forced)
{
    if (forced && kdi_conv_can(v, *forced)) return *forced;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
        if (holds(&rules[r], v, batch) && kdi_conv_can(v, rules[r].algo)) return rules[r].algo;
    return KDI_CONV_GEMM;
}

kdi_conv_algo kdi_conv_choose(const kdi_conv *v, const kdi_conv_algo *forced)
{
    return kdi_conv_choose_for(v, 0, forced);
}
