/* SPDX-License-Identifier: MIT
 * transformer.h: what ViT and Swin have in common, with timm's names and initial values. */
#ifndef KDI_TRANSFORMER_H
#define KDI_TRANSFORMER_H

#include "spec.h"

/* A layer kd_linear, its weights normal with deviation .02. */
kd_value kdi_dense(kd_graph *g, kd_value x, const char *name, int out, int bias);
/* A parameter of deviation `scale` that weight decay leaves alone: a token, an embedding, a
 * table. */
kd_value kdi_position(kd_graph *g, const char *name, int rank, const int64_t *dim, float scale);
/* x [N,H,W,C] -> [N,H/patch,W/patch,dim]: patch_embed.proj, each patch by itself. */
kd_value kdi_patches(kd_graph *g, kd_value x, int patch, int dim);

/* One block's second half: x + drop_path(mlp(norm2(x))). */
kd_value kdi_perceptron(kd_graph *g, kd_value x, const kdi_spec *s, float eps, float drop);
/* Drop path's rate of block i of `depth`: from 0 in even steps to the spec's in the last. */
float kdi_drop_rate(const kdi_spec *s, const kd_build_opt *opt, int i, int depth);

/* The nearest multiples of a number, in words: "32 or 48". */
void kdi_nearest(char *out, size_t size, int number, int of);
/* Refuses a picture that patches do not divide, and an MLP without a hidden unit. */
kd_status kdi_transformer_check(kd_ctx *ctx, const kdi_spec *s);

/* Does a Swin shift the windows of a map that they do not divide? */
bool kdi_swin_pads(const kdi_spec *s);
/* Has every stage of the two networks windows of the same size? */
bool kdi_swin_same_windows(const kdi_spec *a, const kdi_spec *b);

#endif
