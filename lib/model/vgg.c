/* SPDX-License-Identifier: MIT
 * vgg.c: VGG networks (Simonyan & Zisserman 2015), with and without batch norm, and the smaller
 * and in-between ones that studies of student size use.
 *
 * Five stages of 3x3 convolutions, pad 1, each with (batch norm and) ReLU; a 2x2 max pool ends a
 * stage. 8 is RepDistiller's CIFAR student, 11, 13, 16, 19 are the paper's A, B, D, E; the number
 * counts three dense layers, as the paper does. The others lie between them: parameters and MACs
 * grow with the number. Below 8 stages go missing, and the fourth narrows first.
 *
 * Tensor names are torchvision's: features.N counts convolutions, norms, ReLUs and pools.
 *
 * The head is one layer after an average over the map (gap), at every size of picture. The
 * published networks have three layers instead, the hidden ones 4096 wide (fc4096); width scales
 * them too, unless dense says how wide they are. */
#include "spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STAGES = 5, SMALLEST = 2, LARGEST = 19, DENSE = 4096 };

/* For each number: convolutions in each stage, and their channels. */
static const struct {
    unsigned char convs[STAGES];
    short channels[STAGES];
} tables[] = {
    [2] = {{1, 0, 0, 0, 0}, {64, 0, 0, 0, 0}},
    [3] = {{1, 1, 0, 0, 0}, {64, 128, 0, 0, 0}},
    [4] = {{1, 1, 1, 0, 0}, {64, 128, 256, 0, 0}},
    [5] = {{1, 1, 1, 1, 0}, {64, 128, 256, 512, 0}},
    [6] = {{1, 1, 1, 1, 1}, {64, 128, 256, 384, 512}},
    [7] = {{1, 1, 1, 1, 1}, {64, 128, 256, 448, 512}},
    [8] = {{1, 1, 1, 1, 1}, {64, 128, 256, 512, 512}},
    [9] = {{1, 1, 1, 1, 2}, {64, 128, 256, 512, 512}},
    [10] = {{1, 1, 1, 2, 2}, {64, 128, 256, 512, 512}},
    [11] = {{1, 1, 2, 2, 2}, {64, 128, 256, 512, 512}},
    [12] = {{1, 2, 2, 2, 2}, {64, 128, 256, 512, 512}},
    [13] = {{2, 2, 2, 2, 2}, {64, 128, 256, 512, 512}},
    [14] = {{2, 2, 2, 2, 3}, {64, 128, 256, 512, 512}},
    [15] = {{2, 2, 2, 3, 3}, {64, 128, 256, 512, 512}},
    [16] = {{2, 2, 3, 3, 3}, {64, 128, 256, 512, 512}},
    [17] = {{2, 2, 3, 3, 4}, {64, 128, 256, 512, 512}},
    [18] = {{2, 2, 3, 4, 4}, {64, 128, 256, 512, 512}},
    [19] = {{2, 2, 4, 4, 4}, {64, 128, 256, 512, 512}},
};

static const char *const heads[] = {"gap", "fc4096", NULL};

static int scaled(const kdi_spec *s, int units)
{
    const long n = lround(s->width * units);
    return n > 1 ? (int)n : 1;
}

static bool dense_told(const kdi_spec *s)
{
    return s->head == KDI_HEAD_FC4096 && s->dense != scaled(s, DENSE);
}

static const kdi_key keys[] = {
    {"head", KDI_KEY_CHOICE, offsetof(kdi_spec, head), 0, 0, heads, NULL, NULL},
    {"width", KDI_KEY_REAL, offsetof(kdi_spec, width), 1.0 / 64, 64, NULL, NULL, NULL},
    {"pool4", KDI_KEY_INT, offsetof(kdi_spec, pool4), 0, 1, NULL, NULL, NULL},
    {"dense", KDI_KEY_INT, offsetof(kdi_spec, dense), 1, 65536, NULL, NULL, dense_told},
};

static const char *name(size_t i)
{
    static const char *const names[] = {
        "vgg2",     "vgg3",     "vgg4",     "vgg5",     "vgg6",     "vgg7",
        "vgg8",     "vgg9",     "vgg10",    "vgg11",    "vgg12",    "vgg13",
        "vgg14",    "vgg15",    "vgg16",    "vgg17",    "vgg18",    "vgg19",
        "vgg2_bn",  "vgg3_bn",  "vgg4_bn",  "vgg5_bn",  "vgg6_bn",  "vgg7_bn",
        "vgg8_bn",  "vgg9_bn",  "vgg10_bn", "vgg11_bn", "vgg12_bn", "vgg13_bn",
        "vgg14_bn", "vgg15_bn", "vgg16_bn", "vgg17_bn", "vgg18_bn", "vgg19_bn"};
    return i < sizeof names / sizeof *names ? names[i] : NULL;
}

static bool recognise(const char *text, kdi_spec *s)
{
    const char *known;
    for (size_t i = 0; (known = name(i)); i++) {
        if (strcmp(known, text)) continue;
        s->layers = SMALLEST + (int)i % (LARGEST - SMALLEST + 1);
        s->norm = (int)i > LARGEST - SMALLEST;
        s->classes = 1000;
        s->image = 224;
        s->channels = 3;
        s->width = 1;
        s->pool4 = 1;
        s->head = KDI_HEAD_GAP;
        return true;
    }
    return false;
}

static int channels(const kdi_spec *s, int stage)
{
    return scaled(s, tables[s->layers].channels[stage]);
}

static int last_stage(const kdi_spec *s)
{
    int stage = STAGES - 1;
    while (tables[s->layers].convs[stage] == 0) stage--;
    return stage;
}

int kdi_vgg_map(const kdi_spec *s)
{
    int map = s->image;
    for (int stage = 0; stage <= last_stage(s); stage++)
        if (stage != 3 || s->pool4) map /= 2;
    return map;
}

static kd_status complete(kd_ctx *ctx, kdi_spec *s)
{
    if (s->dense && s->head != KDI_HEAD_FC4096)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,dense=%d: that is the width of head=fc4096's layers, and the head "
                           "is gap",
                           s->name, s->dense);
    if (!s->dense && s->head == KDI_HEAD_FC4096) s->dense = scaled(s, DENSE);
    if (kdi_vgg_map(s) < 1)
        return kd_ctx_fail(
            ctx, KD_E_INVALID, "%s,image=%d: the picture is gone after the pools; the least is %d",
            s->name, s->image, 1 << (last_stage(s) + (s->pool4 || last_stage(s) < 3)));
    return KD_OK;
}

static kd_value convolution(kd_graph *g, kd_value x, int out, int *index, bool norm)
{
    char layer[16];
    const kd_conv2d_opt conv = {
        .struct_size = sizeof conv, .out = out, .kernel = {3, 3}, .pad = {1, 1}};
    snprintf(layer, sizeof layer, "%d", (*index)++);
    x = kd_conv2d(g, x, layer, &conv);
    if (norm) {
        snprintf(layer, sizeof layer, "%d", (*index)++);
        x = kd_batch_norm(g, x, layer, 0, 0);
    }
    (*index)++;
    return kd_relu(g, x);
}

static kd_value features(const kdi_spec *s, kd_graph *g, kd_value x)
{
    const kd_pool_opt pool = {.struct_size = sizeof pool, .kernel = {2, 2}};
    int index = 0;
    kd_graph_scope(g, "features");
    for (int stage = 0; stage <= last_stage(s); stage++) {
        for (int i = 0; i < tables[s->layers].convs[stage]; i++)
            x = convolution(g, x, channels(s, stage), &index, s->norm);
        if (stage == 3 && !s->pool4) continue;
        x = kd_max_pool(g, x, &pool);
        index++;
    }
    kd_graph_unscope(g);
    return x;
}

/* torchvision's: average to 7x7, then dense-dense-classes with dropout. */
static kd_value dense_head(const kdi_spec *s, kd_graph *g, kd_value x, float dropout)
{
    kd_graph_scope(g, "classifier");
    x = kd_adaptive_avg_pool(g, x, 7, 7);
    x = kd_dropout(g, kd_relu(g, kd_flatten_linear(g, x, "0", s->dense, 1)), dropout);
    x = kd_dropout(g, kd_relu(g, kd_linear(g, x, "3", s->dense, 1)), dropout);
    x = kd_linear(g, x, "6", s->classes, 1);
    kd_graph_unscope(g);
    return x;
}

static kd_value build(const kdi_spec *s, kd_graph *g, kd_value x, const kd_build_opt *opt)
{
    x = features(s, g, x);
    if (s->head == KDI_HEAD_FC4096) return dense_head(s, g, x, opt->no_dropout ? 0 : 0.5f);
    return kd_linear(g, kd_global_avg_pool(g, x), "classifier", s->classes, 1);
}

static const char *head(const kdi_spec *s, size_t i)
{
    static const char *const gap[] = {"classifier.weight", "classifier.bias"};
    static const char *const dense[] = {"classifier.6.weight", "classifier.6.bias"};
    if (i >= 2) return NULL;
    return s->head == KDI_HEAD_FC4096 ? dense[i] : gap[i];
}

const kdi_family kdi_family_vgg = {name,     recognise, keys, sizeof keys / sizeof *keys,
                                   complete, build,     head};
