/* SPDX-License-Identifier: MIT
 * vgg.c: VGG networks (Simonyan & Zisserman 2015), with and without batch norm, and the smaller
 * and in-between ones that studies of student size use.
 *
 * Five stages of 3x3 convolutions, pad 1, each with (batch norm and) ReLU; a 2x2 max pool ends a
 * stage. 8 is RepDistiller's CIFAR student, 11, 13, 16, 19 are the paper's A, B, D, E; the number
 * counts three dense layers, as the paper does. The others lie between them: parameters and MACs
 * grow with the number. Below 8 stages go missing, and the fourth narrows first. The keys convs and
 * stages give a network other stages than its number's: convolutions and channels of each.
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
/* What keeps every count of a network below 2^63. */
enum { MOST_CONVS = 8, MOST_CHANNELS = 4096, MOST_SCALED = 1 << 15 };
static const double most_macs = 1e18;

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

/* The stages that the number in the name stands for. */
static kdi_list table_convs(int layers)
{
    kdi_list list = {0};
    while (list.count < STAGES && tables[layers].convs[list.count]) {
        list.at[list.count] = tables[layers].convs[list.count];
        list.count++;
    }
    return list;
}

static kdi_list table_channels(int layers)
{
    kdi_list list = {.count = table_convs(layers).count};
    for (int i = 0; i < list.count; i++) list.at[i] = tables[layers].channels[i];
    return list;
}

static bool differ(kdi_list a, kdi_list b)
{
    return a.count != b.count || memcmp(a.at, b.at, (size_t)a.count * sizeof *a.at) != 0;
}

static bool convs_told(const kdi_spec *s)
{
    return differ(s->convs, table_convs(s->layers));
}

static bool stages_told(const kdi_spec *s)
{
    return differ(s->stages, table_channels(s->layers));
}

static const kdi_key keys[] = {
    {"head", KDI_KEY_CHOICE, offsetof(kdi_spec, head), 0, 0, heads, NULL, NULL},
    {"width", KDI_KEY_REAL, offsetof(kdi_spec, width), 1.0 / 64, 64, NULL, NULL, NULL},
    {"pool4", KDI_KEY_INT, offsetof(kdi_spec, pool4), 0, 1, NULL, NULL, NULL},
    {"dense", KDI_KEY_INT, offsetof(kdi_spec, dense), 1, 65536, NULL, NULL, dense_told},
    {"convs", KDI_KEY_LIST, offsetof(kdi_spec, convs), 1, MOST_CONVS, NULL, NULL, convs_told},
    {"stages", KDI_KEY_LIST, offsetof(kdi_spec, stages), 1, MOST_CHANNELS, NULL, NULL, stages_told},
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
        s->image[0] = s->image[1] = 224;
        s->channels = 3;
        s->width = 1;
        s->pool4 = 1;
        s->head = KDI_HEAD_GAP;
        s->convs = table_convs(s->layers);
        s->stages = table_channels(s->layers);
        return true;
    }
    return false;
}

static int channels(const kdi_spec *s, int stage)
{
    return scaled(s, s->stages.at[stage]);
}

static bool pooled(const kdi_spec *s, int stage)
{
    return stage != 3 || s->pool4;
}

int kdi_vgg_map(const kdi_spec *s, int axis)
{
    int map = s->image[axis];
    for (int stage = 0; stage < s->stages.count; stage++)
        if (pooled(s, stage)) map /= 2;
    return map;
}

static int smallest_image(const kdi_spec *s)
{
    int image = 1;
    for (int stage = 0; stage < s->stages.count; stage++)
        if (pooled(s, stage)) image *= 2;
    return image;
}

static double macs(const kdi_spec *s)
{
    double sum = 0, in = s->channels, map[2] = {s->image[0], s->image[1]};
    for (int stage = 0; stage < s->stages.count; stage++) {
        const double out = channels(s, stage);
        sum += 9 * map[0] * map[1] * out * (in + (s->convs.at[stage] - 1) * out);
        if (pooled(s, stage)) map[0] /= 2, map[1] /= 2;
        in = out;
    }
    return sum;
}

static kd_status check_stages(kd_ctx *ctx, const kdi_spec *s)
{
    if (s->convs.count != s->stages.count)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s: convs has %d numbers, stages %d; there must be one for each stage",
                           s->name, s->convs.count, s->stages.count);
    for (int i = 0; i < s->stages.count; i++)
        if (channels(s, i) > MOST_SCALED)
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "%s,width=%g: stage %d would have %d channels; the most is %d",
                               s->name, s->width, i, channels(s, i), MOST_SCALED);
    if (macs(s) > most_macs)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s: the stages take %.1e multiply-accumulates a picture; the most "
                           "is %.0e",
                           s->name, macs(s), most_macs);
    return KD_OK;
}

static kd_status complete(kd_ctx *ctx, kdi_spec *s)
{
    if (s->dense && s->head != KDI_HEAD_FC4096)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,dense=%d: that is the width of head=fc4096's layers, and the head "
                           "is gap",
                           s->name, s->dense);
    if (!s->dense && s->head == KDI_HEAD_FC4096) s->dense = scaled(s, DENSE);
    const kd_status status = check_stages(ctx, s);
    if (status) return status;
    char size[KDI_SIZE_TEXT];
    if (kdi_vgg_map(s, 0) < 1 || kdi_vgg_map(s, 1) < 1)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,image=%s: the picture is gone after the pools; the least is %d",
                           s->name, kdi_size_text(s->image, size), smallest_image(s));
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

static kd_value features(const kdi_spec *s, kd_graph *g, kd_value x, const kd_build_opt *opt)
{
    const kd_pool_opt pool = {.struct_size = sizeof pool, .kernel = {2, 2}};
    int index = 0;
    kd_graph_scope(g, "features");
    for (int stage = 0; stage < s->stages.count; stage++) {
        for (int i = 0; i < s->convs.at[stage]; i++)
            x = convolution(g, x, channels(s, stage), &index, s->norm);
        kdi_tap(opt, x, "stages.%d", stage);
        if (!pooled(s, stage)) continue;
        x = kd_max_pool(g, x, &pool);
        kdi_tap(opt, x, "stages.%d.pool", stage);
        index++;
    }
    kd_graph_unscope(g);
    return x;
}

/* torchvision's: average to 7x7, then dense-dense-classes with dropout. */
static kd_value dense_head(const kdi_spec *s, kd_graph *g, kd_value x, const kd_build_opt *opt)
{
    const float dropout = opt->no_dropout ? 0 : 0.5f;
    kd_graph_scope(g, "classifier");
    x = kd_adaptive_avg_pool(g, x, 7, 7);
    x = kd_dropout(g, kd_relu(g, kd_flatten_linear(g, x, "0", s->dense, 1)), dropout);
    x = kd_relu(g, kd_linear(g, x, "3", s->dense, 1));
    kdi_tap(opt, x, "embedding");
    x = kd_linear(g, kd_dropout(g, x, dropout), "6", s->classes, 1);
    kd_graph_unscope(g);
    return x;
}

static kd_value build(const kdi_spec *s, kd_graph *g, kd_value x, const kd_build_opt *opt)
{
    x = features(s, g, x, opt);
    if (s->head == KDI_HEAD_FC4096) return dense_head(s, g, x, opt);
    x = kd_global_avg_pool(g, x);
    kdi_tap(opt, x, "embedding");
    return kd_linear(g, x, "classifier", s->classes, 1);
}

static const char *head(const kdi_spec *s, size_t i)
{
    static const char *const gap[] = {"classifier.weight", "classifier.bias"};
    static const char *const dense[] = {"classifier.6.weight", "classifier.6.bias"};
    if (i >= 2) return NULL;
    return s->head == KDI_HEAD_FC4096 ? dense[i] : gap[i];
}

const kdi_family kdi_family_vgg = {name,     recognise, keys, sizeof keys / sizeof *keys,
                                   complete, build,     head, false};
