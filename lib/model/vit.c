/* SPDX-License-Identifier: MIT
 * vit.c: the vision transformer (Dosovitskiy et al. 2021) and DeiT (Touvron et al. 2021), which
 * differ in how they are trained, and in DeiT's second token and head when it is distilled.
 *
 *   patches [N,T,dim], a class token (and a distillation token) before them, + pos_embed
 *   depth blocks: x += proj(attention(qkv(norm1(x)))); x += fc2(gelu(fc1(norm2(x))))
 *   logits = head(norm(x)[class token]); distilled: the mean with head_dist of the other token
 *   (dist_head=0: there is no such head, as in Hugging Face's DeiTForImageClassification)
 *
 * Names, shapes and initial values are timm's, and so is the norms' eps, 1e-6 (Hugging Face:
 * 1e-12). The last block computes keys and values for all tokens, and the rest only for the tokens
 * that the heads read. As tokens are independent there, logits are the same. With twelve blocks
 * this saves a sixteenth of the work. */
#include "transformer.h"

#include <stdio.h>
#include <string.h>

/* What keeps every count of a network below 2^63. */
enum { MOST_PATCHES = 1 << 16, MOST_DIM = 1 << 14, MOST_BLOCKS = 256 };

static bool has_token(const kdi_spec *s)
{
    return s->distilled;
}

static const kdi_key keys[] = {
    {"patch", KDI_KEY_INT, offsetof(kdi_spec, patch), 1, 1024, NULL, NULL, NULL},
    {"dim", KDI_KEY_INT, offsetof(kdi_spec, dim), 1, MOST_DIM, NULL, NULL, NULL},
    {"depth", KDI_KEY_INT, offsetof(kdi_spec, depth), 1, MOST_BLOCKS, NULL, NULL, NULL},
    {"heads", KDI_KEY_INT, offsetof(kdi_spec, heads), 1, 1024, NULL, NULL, NULL},
    {"mlp_ratio", KDI_KEY_REAL, offsetof(kdi_spec, mlp_ratio), 1.0 / 64, 64, NULL, NULL, NULL},
    {"drop_path", KDI_KEY_REAL, offsetof(kdi_spec, drop_path), 0, .95, NULL, NULL, NULL},
    {"eps", KDI_KEY_REAL, offsetof(kdi_spec, eps), 1e-15, .1, NULL, NULL, NULL},
    {"dist_head", KDI_KEY_INT, offsetof(kdi_spec, dist_head), 0, 1, NULL, has_token, NULL},
};

static const char *name(size_t i)
{
    static const char *const names[] = {
        "vit_tiny_patch16_224",
        "vit_small_patch16_224",
        "vit_base_patch16_224",
        "deit_tiny_patch16_224",
        "deit_small_patch16_224",
        "deit_base_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "deit_small_distilled_patch16_224",
        "deit_base_distilled_patch16_224",
    };
    return i < sizeof names / sizeof *names ? names[i] : NULL;
}

static bool recognise(const char *text, kdi_spec *s)
{
    static const int heads[] = {3, 6, 12};
    const char *known;
    for (size_t i = 0; (known = name(i)); i++) {
        if (strcmp(known, text)) continue;
        s->classes = 1000;
        s->image[0] = s->image[1] = 224;
        s->channels = 3;
        s->patch = 16;
        s->dim = 64 * heads[i % 3];
        s->depth = 12;
        s->heads = heads[i % 3];
        s->mlp_ratio = 4;
        s->drop_path = 0;
        s->eps = 1e-6;
        s->distilled = s->dist_head = i / 3 == 2;
        return true;
    }
    return false;
}

static int patches(const kdi_spec *s)
{
    return (s->image[0] / s->patch) * (s->image[1] / s->patch);
}

static kd_status complete(kd_ctx *ctx, kdi_spec *s)
{
    const kd_status status = kdi_transformer_check(ctx, s);
    if (status) return status;
    if (s->image[0] != s->image[1])
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,image=%dx%d: its pictures are square: image=%d; VGG and Swin take "
                           "others",
                           s->name, s->image[0], s->image[1], s->image[0]);
    if (s->dim % s->heads) {
        char sizes[64];
        kdi_nearest(sizes, sizeof sizes, s->dim, s->heads);
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,dim=%d,heads=%d: dim must be a multiple of heads: dim=%s", s->name,
                           s->dim, s->heads, sizes);
    }
    if (patches(s) > MOST_PATCHES)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,image=%d,patch=%d: %d patches are too many; the most is %d", s->name,
                           s->image[0], s->patch, patches(s), MOST_PATCHES);
    return KD_OK;
}

/* [N,height,width,channels] -> [N,tokens,dim] */
static kd_value embed(const kdi_spec *s, kd_graph *g, kd_value x)
{
    const int count = 1 + s->distilled;
    const int64_t token[] = {1, 1, s->dim}, positions[] = {1, count + patches(s), s->dim};
    const int64_t rows[] = {KD_BATCH, patches(s), s->dim};
    kd_value tokens[2];
    tokens[0] = kdi_position(g, "cls_token", 3, token, 1e-6f);
    if (s->distilled) tokens[1] = kdi_position(g, "dist_token", 3, token, .02f);
    const kd_value position = kdi_position(g, "pos_embed", 3, positions, .02f);
    x = kd_reshape(g, kdi_patches(g, x, s->patch, s->dim), 3, rows);
    return kd_add_broadcast(g, kd_prepend_tokens(g, x, tokens, count), position);
}

static kd_value norm(const kdi_spec *s, kd_graph *g, kd_value x, const char *name)
{
    return kd_layer_norm(g, x, name, (float)s->eps);
}

/* keep: how many tokens the block gives out; 0: all. */
static kd_value block(const kdi_spec *s, kd_graph *g, kd_value x, int i, int keep,
                      const kd_build_opt *opt)
{
    const float drop = kdi_drop_rate(s, opt, i, s->depth);
    kd_graph_scope(g, "blocks.%d", i);
    kd_value y = kdi_dense(g, norm(s, g, x, "norm1"), "attn.qkv", 3 * s->dim, 1);
    if (kdi_tap_wanted(opt, "blocks.%d.attn", i))
        kdi_tap(opt, kd_attention_map(g, y, s->heads, 0, KD_NONE, KD_NONE), "blocks.%d.attn", i);
    if (keep) {
        y = kd_attention_first(g, y, s->heads, 0, keep);
        x = kd_select_tokens(g, x, 0, keep);
    } else {
        y = kd_attention(g, y, s->heads, 0, KD_NONE, KD_NONE);
    }
    y = kdi_dense(g, y, "attn.proj", s->dim, 1);
    x = kd_add(g, x, drop > 0 ? kd_drop_path(g, y, drop) : y);
    x = kdi_perceptron(g, x, s, (float)s->eps, drop);
    if (!keep) kdi_tap(opt, x, "blocks.%d", i);
    kd_graph_unscope(g);
    return x;
}

static kd_value build(const kdi_spec *s, kd_graph *g, kd_value x, const kd_build_opt *opt)
{
    const int heads = 1 + s->dist_head, last = s->depth - 1;
    const bool norm_tapped = kdi_tap_wanted(opt, "norm");
    const bool whole = opt->whole || norm_tapped || kdi_tap_wanted(opt, "blocks.%d", last);
    x = embed(s, g, x);
    kdi_tap(opt, x, "patch_embed");
    for (int i = 0; i < s->depth; i++) x = block(s, g, x, i, i == last && !whole ? heads : 0, opt);
    if (norm_tapped) {
        x = norm(s, g, x, "norm");
        kdi_tap(opt, x, "norm");
    } else {
        if (whole) x = kd_select_tokens(g, x, 0, heads);
        x = norm(s, g, x, "norm");
    }
    const kd_value embedding = kd_select_token(g, x, 0);
    kdi_tap(opt, embedding, "embedding");
    opt->heads[0] = kdi_dense(g, embedding, "head", s->classes, 1);
    opt->heads[1] = opt->heads[0];
    if (!s->dist_head) return opt->heads[0];
    opt->heads[1] = kdi_dense(g, kd_select_token(g, x, 1), "head_dist", s->classes, 1);
    return kd_scale(g, kd_add(g, opt->heads[0], opt->heads[1]), .5f);
}

static const char *head(const kdi_spec *s, size_t i)
{
    static const char *const names[] = {"head.weight", "head.bias", "head_dist.weight",
                                        "head_dist.bias"};
    return i < (s->dist_head ? 4u : 2u) ? names[i] : NULL;
}

const kdi_family kdi_family_vit = {name,     recognise, keys, sizeof keys / sizeof *keys,
                                   complete, build,     head, true};
