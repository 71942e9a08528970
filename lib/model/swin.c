/* SPDX-License-Identifier: MIT
 * swin.c: Swin transformers (Liu et al. 2021): attention within windows of a map [N,H,W,C], every
 * second block's shifted by half a window, in stages that halve the map and double the channels.
 *
 *   patches [N,H,W,dim], norm; stages of depth[i] blocks, before each but the first: 2x2 pixels
 *   side by side, norm, reduction to half of those channels
 *   a block: x += reverse(proj(attention(qkv(windows(norm1(x)))) + bias[relative position])); x +=
 *   fc2(gelu(fc1(norm2(x))))
 *   logits = head.fc(mean over the map of norm(x))
 *
 * Names, shapes and initial values are timm's, and so are the rules for small maps. A window is at
 * most as large as the map. A map that is one window is not shifted. A map that windows do not
 * divide is padded with zeros after the shift (torchvision and Hugging Face pad before it). The
 * blocks of a stage share one mask. */
#include "transformer.h"

#include <stdio.h>
#include <string.h>

static const float eps = 1e-5f;
/* What keeps every count of a network below 2^63. */
enum { MOST_MAP = 2048, MOST_DIM = 1 << 14, MOST_BLOCKS = 256, MOST_WINDOW = 128 };

static const kdi_key keys[] = {
    {"patch", KDI_KEY_INT, offsetof(kdi_spec, patch), 1, 1024, NULL, NULL, NULL},
    {"dim", KDI_KEY_INT, offsetof(kdi_spec, dim), 1, MOST_DIM, NULL, NULL, NULL},
    {"depth", KDI_KEY_LIST, offsetof(kdi_spec, depths), 1, MOST_BLOCKS, NULL, NULL, NULL},
    {"heads", KDI_KEY_LIST, offsetof(kdi_spec, stage_heads), 1, 1024, NULL, NULL, NULL},
    {"mlp_ratio", KDI_KEY_REAL, offsetof(kdi_spec, mlp_ratio), 1.0 / 64, 64, NULL, NULL, NULL},
    {"drop_path", KDI_KEY_REAL, offsetof(kdi_spec, drop_path), 0, .95, NULL, NULL, NULL},
    {"window", KDI_KEY_INT, offsetof(kdi_spec, window), 1, MOST_WINDOW, NULL, NULL, NULL},
};

static const struct {
    const char *name;
    int dim, depth, heads; /* of the third stage; of the first */
} networks[] = {
    {"swin_tiny_patch4_window7_224", 96, 6, 3},
    {"swin_small_patch4_window7_224", 96, 18, 3},
    {"swin_base_patch4_window7_224", 128, 18, 4},
};
enum { N_NETWORKS = sizeof networks / sizeof *networks };

static const char *name(size_t i)
{
    return i < N_NETWORKS ? networks[i].name : NULL;
}

static bool recognise(const char *text, kdi_spec *s)
{
    for (size_t i = 0; i < N_NETWORKS; i++) {
        const int heads = networks[i].heads;
        if (strcmp(networks[i].name, text)) continue;
        s->classes = 1000;
        s->image[0] = s->image[1] = 224;
        s->channels = 3;
        s->patch = 4;
        s->dim = networks[i].dim;
        s->depths = (kdi_list){4, {2, 2, networks[i].depth, 2}};
        s->stage_heads = (kdi_list){4, {heads, 2 * heads, 4 * heads, 8 * heads}};
        s->mlp_ratio = 4;
        s->drop_path = .1;
        s->window = 7;
        return true;
    }
    return false;
}

static int blocks(const kdi_spec *s)
{
    int total = 0;
    for (int i = 0; i < s->depths.count; i++) total += s->depths.at[i];
    return total;
}

static kd_status complete(kd_ctx *ctx, kdi_spec *s)
{
    const kd_status status = kdi_transformer_check(ctx, s);
    const int stages = s->depths.count;
    char size[KDI_SIZE_TEXT];
    if (status) return status;
    if (s->stage_heads.count != stages)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s: depth has %d numbers, heads %d; there must be one for each stage",
                           s->name, stages, s->stage_heads.count);
    if (blocks(s) > MOST_BLOCKS)
        return kd_ctx_fail(ctx, KD_E_INVALID, "%s: depth makes %d blocks; the most is %d", s->name,
                           blocks(s), MOST_BLOCKS);
    if (s->dim > MOST_DIM >> (stages - 1))
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,dim=%d: %d stages make %d channels of it; the most is %d", s->name,
                           s->dim, stages, s->dim << (stages - 1), MOST_DIM);
    for (int i = 0; i < stages; i++)
        if ((s->dim << i) % s->stage_heads.at[i])
            return kd_ctx_fail(
                ctx, KD_E_INVALID,
                "%s,dim=%d: stage %d has %d channels, which must be a multiple of its "
                "heads, %d",
                s->name, s->dim, i, s->dim << i, s->stage_heads.at[i]);
    for (int i = 0; i < 2; i++)
        if (s->image[i] / s->patch > MOST_MAP)
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "%s,image=%s,patch=%d: a map of %d patches a side; the most is %d",
                               s->name, kdi_size_text(s->image, size), s->patch,
                               s->image[i] / s->patch, MOST_MAP);
    return KD_OK;
}

bool kdi_swin_pads(const kdi_spec *s)
{
    for (int axis = 0; axis < 2; axis++) {
        int map = s->image[axis] / s->patch;
        for (int i = 0; i < s->depths.count; i++, map = (map + 1) / 2)
            if (map > s->window && map % s->window && s->window > 1 && s->depths.at[i] > 1)
                return true;
    }
    return false;
}

bool kdi_swin_same_windows(const kdi_spec *a, const kdi_spec *b)
{
    if (a->depths.count != b->depths.count) return false;
    for (int axis = 0; axis < 2; axis++) {
        int map[2] = {a->image[axis] / a->patch, b->image[axis] / b->patch};
        for (int i = 0; i < a->depths.count; i++) {
            const int one = map[0] < a->window ? map[0] : a->window;
            const int other = map[1] < b->window ? map[1] : b->window;
            if (one != other) return false;
            for (int k = 0; k < 2; k++) map[k] = (map[k] + 1) / 2;
        }
    }
    return true;
}

/* What the blocks of a stage have in common. */
typedef struct stage {
    const kdi_spec *spec;
    int map[2], window[2], shift[2], dim, heads;
    kd_value mask; /* of shifted windows; KD_NONE: none are shifted */
    int index;
    const kd_build_opt *opt;
} stage;

static kd_value attention(const stage *t, kd_graph *g, kd_value x, int i, bool shifted)
{
    static const int none[2];
    const int *const shift = shifted ? t->shift : none;
    const int64_t table[] = {(2 * t->window[0] - 1) * (2 * t->window[1] - 1), t->heads};
    x = kd_window_partition(g, x, t->window, shift);
    kd_graph_scope(g, "attn");
    const kd_value bias = kd_position_bias(
        g, kdi_position(g, "relative_position_bias_table", 2, table, .02f), t->window);
    x = kdi_dense(g, x, "qkv", 3 * t->dim, 1);
    const kd_value mask = shifted ? t->mask : KD_NONE;
    if (kdi_tap_wanted(t->opt, "layers.%d.blocks.%d.attn", t->index, i))
        kdi_tap(t->opt, kd_attention_map(g, x, t->heads, 0, bias, mask), "layers.%d.blocks.%d.attn",
                t->index, i);
    x = kd_attention(g, x, t->heads, 0, bias, mask);
    x = kdi_dense(g, x, "proj", t->dim, 1);
    kd_graph_unscope(g);
    return kd_window_reverse(g, x, t->map, t->window, shift);
}

static kd_value block(const stage *t, kd_graph *g, kd_value x, int i, float drop)
{
    kd_graph_scope(g, "blocks.%d", i);
    const kd_value y = attention(t, g, kd_layer_norm(g, x, "norm1", eps), i,
                                 i % 2 == 1 && (t->shift[0] > 0 || t->shift[1] > 0));
    x = kd_add(g, x, drop > 0 ? kd_drop_path(g, y, drop) : y);
    x = kdi_perceptron(g, x, t->spec, eps, drop);
    kdi_tap(t->opt, x, "layers.%d.blocks.%d", t->index, i);
    kd_graph_unscope(g);
    return x;
}

static kd_value merge(kd_graph *g, kd_value x, int out)
{
    kd_graph_scope(g, "downsample");
    x = kd_layer_norm(g, kd_patch_merge(g, x), "norm", eps);
    x = kdi_dense(g, x, "reduction", out, 0);
    kd_graph_unscope(g);
    return x;
}

/* Each side by itself: a window is at most as long as the map, and where it is, nothing is shifted. */
static stage stage_of(const kdi_spec *s, kd_graph *g, int index, const int map[2],
                      const kd_build_opt *opt)
{
    stage t = {.spec = s,
               .map = {map[0], map[1]},
               .dim = s->dim << index,
               .heads = s->stage_heads.at[index],
               .mask = KD_NONE,
               .index = index,
               .opt = opt};
    for (int i = 0; i < 2; i++) {
        const bool whole = map[i] <= s->window;
        t.window[i] = whole ? map[i] : s->window;
        t.shift[i] = whole ? 0 : s->window / 2;
    }
    if ((t.shift[0] > 0 || t.shift[1] > 0) && s->depths.at[index] > 1)
        t.mask = kd_window_mask(g, t.map, t.window, t.shift);
    return t;
}

static kd_value build(const kdi_spec *s, kd_graph *g, kd_value x, const kd_build_opt *opt)
{
    const int total = blocks(s);
    int map[2] = {s->image[0] / s->patch, s->image[1] / s->patch}, done = 0;
    x = kd_layer_norm(g, kdi_patches(g, x, s->patch, s->dim), "patch_embed.norm", eps);
    kdi_tap(opt, x, "patch_embed");
    for (int i = 0; i < s->depths.count; i++) {
        kd_graph_scope(g, "layers.%d", i);
        if (i > 0) {
            x = merge(g, x, s->dim << i);
            for (int a = 0; a < 2; a++) map[a] = (map[a] + 1) / 2;
        }
        const stage t = stage_of(s, g, i, map, opt);
        for (int b = 0; b < s->depths.at[i]; b++, done++)
            x = block(&t, g, x, b, kdi_drop_rate(s, opt, done, total));
        kdi_tap(opt, x, "layers.%d", i);
        kd_graph_unscope(g);
    }
    x = kd_layer_norm(g, x, "norm", eps);
    kdi_tap(opt, x, "norm");
    x = kd_global_avg_pool(g, x);
    kdi_tap(opt, x, "embedding");
    return kdi_dense(g, x, "head.fc", s->classes, 1);
}

static const char *head(const kdi_spec *s, size_t i)
{
    static const char *const names[] = {"head.fc.weight", "head.fc.bias"};
    (void)s;
    return i < 2 ? names[i] : NULL;
}

const kdi_family kdi_family_swin = {name,     recognise, keys, sizeof keys / sizeof *keys,
                                    complete, build,     head, true};
