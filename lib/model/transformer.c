/* SPDX-License-Identifier: MIT
 * transformer.c: what ViT and Swin have in common: the embedding of patches, linear layers, and the
 * MLP of a block.
 *
 * Initial values are timm's. Linear weights are normal with deviation .02 (timm cuts them at 2, a
 * hundred deviations). The convolution of patches, and its bias, are PyTorch's: uniform within
 * 1/sqrt(inputs). Other biases are zero. */
#include "transformer.h"

#include <math.h>
#include <stdio.h>

kd_value kdi_position(kd_graph *g, const char *name, int rank, const int64_t *dim, float scale)
{
    const kd_param_opt opt = {
        .struct_size = sizeof opt, .init = KD_INIT_NORMAL, .scale = scale, .no_decay = 1};
    return kd_param(g, name, rank, dim, &opt);
}

kd_value kdi_dense(kd_graph *g, kd_value x, const char *name, int out, int bias)
{
    const kd_param_opt opt = {.struct_size = sizeof opt, .init = KD_INIT_NORMAL, .scale = .02f};
    const kd_shape s = kd_graph_shape(g, x);
    if (s.rank > 0) { /* declared first, so the layer takes it as it is */
        const int64_t dim[] = {out, s.dim[s.rank - 1]};
        kd_graph_scope(g, "%s", name);
        kd_param(g, "weight", 2, dim, &opt);
        kd_graph_unscope(g);
    }
    return kd_linear(g, x, name, out, bias);
}

kd_value kdi_patches(kd_graph *g, kd_value x, int patch, int dim)
{
    const kd_conv2d_opt conv = {
        .struct_size = sizeof conv, .out = dim, .kernel = {patch, patch}, .stride = {patch, patch}};
    const kd_shape s = kd_graph_shape(g, x);
    kd_graph_scope(g, "patch_embed");
    if (s.rank == 4) {
        const int64_t shape[] = {dim, patch, patch, s.dim[3]};
        kd_param_opt opt = {.struct_size = sizeof opt,
                            .init = KD_INIT_UNIFORM,
                            .scale = (float)(1 / sqrt((double)(patch * patch) * (double)s.dim[3])),
                            .layout = KD_LAYOUT_CONV};
        kd_graph_scope(g, "proj");
        kd_param(g, "weight", 4, shape, &opt);
        opt.layout = KD_LAYOUT_SAME;
        opt.no_decay = 1;
        kd_param(g, "bias", 1, shape, &opt);
        kd_graph_unscope(g);
    }
    x = kd_conv2d(g, x, "proj", &conv);
    kd_graph_unscope(g);
    return x;
}

kd_value kdi_perceptron(kd_graph *g, kd_value x, const kdi_spec *s, float eps, float drop)
{
    const kd_shape shape = kd_graph_shape(g, x);
    if (shape.rank < 1) return KD_NONE;
    const int dim = (int)shape.dim[shape.rank - 1];
    kd_value y = kd_layer_norm(g, x, "norm2", eps);
    y = kd_gelu(g, kdi_dense(g, y, "mlp.fc1", (int)(dim * s->mlp_ratio), 1));
    y = kdi_dense(g, y, "mlp.fc2", dim, 1);
    return kd_add(g, x, drop > 0 ? kd_drop_path(g, y, drop) : y);
}

float kdi_drop_rate(const kdi_spec *s, const kd_build_opt *opt, int i, int depth)
{
    if (opt->no_dropout || depth < 2) return 0;
    return (float)(s->drop_path * i / (depth - 1));
}

void kdi_nearest(char *out, size_t size, int number, int of)
{
    const int below = number / of * of;
    if (below > 0)
        snprintf(out, size, "%d or %d", below, below + of);
    else
        snprintf(out, size, "%d", of);
}

kd_status kdi_transformer_check(kd_ctx *ctx, const kdi_spec *s)
{
    for (int i = 0; i < 2; i++) {
        char sizes[64], size[KDI_SIZE_TEXT];
        if (s->image[i] % s->patch == 0) continue;
        kdi_nearest(sizes, sizeof sizes, s->image[i], s->patch);
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,image=%s,patch=%d: the picture's side must be a multiple of the "
                           "patch's: %s%s",
                           s->name, kdi_size_text(s->image, size), s->patch,
                           s->image[0] == s->image[1] ? "image=" : "", sizes);
    }
    if (s->dim * s->mlp_ratio < 1)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "%s,dim=%d,mlp_ratio=%g: dim times mlp_ratio must be at least 1",
                           s->name, s->dim, s->mlp_ratio);
    return KD_OK;
}
