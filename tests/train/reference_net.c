/* SPDX-License-Identifier: MIT
 * reference_net.c: small networks of the library's families put together of the reference's layers,
 * by the names of their parameters: VGG with one convolution a stage (vgg2 to vgg8, with and
 * without batch norm), ViT and DeiT. */
#include "reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *copy_of(const kd_params *params, const kd_param_info *info)
{
    double *x = calloc(info->count, sizeof *x);
    float *f = calloc(info->count, sizeof(int64_t));
    int64_t whole;
    ck_assert(x && f);
    test_ok(kd_params_ctx(params), kd_params_get(params, info, 0, f));
    for (size_t i = 0; i < info->count; i++) {
        if (info->dtype == KD_I64) {
            memcpy(&whole, (char *)f + i * sizeof whole, sizeof whole);
            x[i] = (double)whole;
        } else {
            x[i] = (double)f[i];
        }
    }
    free(f);
    return x;
}

static bool starts(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

enum { LAST_NORM = 1000, HEADS = 2000 };

/* Embeddings are layer 0; "features.N" and "blocks.N" are one each, told here by N + 1; the last
 * norm belongs to the last block, and the heads lie above all. */
static size_t level(const char *name)
{
    if (starts(name, "features.") || starts(name, "blocks."))
        return (size_t)strtoul(strchr(name, '.') + 1, NULL, 10) + 1;
    if (starts(name, "norm.")) return LAST_NORM;
    if (starts(name, "head") || starts(name, "classifier")) return HEADS;
    return 0;
}

/* From levels to layers without gaps. */
static void count_layers(ref_net *net)
{
    enum { LEVELS = HEADS + 1 };
    bool used[LEVELS] = {false};
    size_t layer[LEVELS], last_block = 0;
    for (size_t i = 0; i < net->n; i++) {
        const size_t l = level(net->arrays[i].name);
        if (l == LAST_NORM || net->arrays[i].buffer) continue;
        used[l] = true;
        if (l < LAST_NORM && l > last_block) last_block = l;
    }
    for (size_t l = 0; l < LEVELS; l++) {
        layer[l] = net->layers;
        net->layers += used[l];
    }
    for (size_t i = 0; i < net->n; i++) {
        const size_t l = level(net->arrays[i].name);
        net->arrays[i].layer = layer[l == LAST_NORM ? last_block : l];
    }
}

/* Matrices and kernels decay; vectors, tokens and positions do not. */
static bool decays(const ref_array *a)
{
    return a->rank > 1 && !strstr(a->name, "token") && !strstr(a->name, "pos_embed");
}

void ref_arrays_open(ref_net *net, const kd_params *params)
{
    net->n = kd_params_entries(params);
    net->arrays = calloc(net->n, sizeof *net->arrays);
    ck_assert_ptr_nonnull(net->arrays);
    for (size_t i = 0; i < net->n; i++) {
        const kd_param_info *info = kd_params_info(params, i);
        ref_array *a = &net->arrays[i];
        snprintf(a->name, sizeof a->name, "%s", info->name);
        a->count = info->count;
        a->buffer = info->buffer != 0;
        a->rank = (size_t)info->file_shape.rank;
        for (size_t d = 0; d < a->rank; d++) a->dim[d] = (size_t)info->file_shape.dim[d];
        a->value = copy_of(params, info);
        a->average = copy_of(params, info);
        a->kept = copy_of(params, info);
        a->grad = calloc(a->count, sizeof *a->grad);
        a->first = calloc(a->count, sizeof *a->first);
        a->second = calloc(a->count, sizeof *a->second);
        ck_assert(a->grad && a->first && a->second);
        a->decays = decays(a);
        a->rate = 1;
    }
}

ref_net *ref_net_open(kd_model *model)
{
    ref_net *net = calloc(1, sizeof *net);
    ck_assert_ptr_nonnull(net);
    *net = (ref_net){.model = model,
                     .image = kd_model_image(model),
                     .channels = kd_model_channels(model),
                     .classes = kd_model_classes(model),
                     .heads = 1,
                     .least_gap = INFINITY};
    const char *heads = strstr(kd_model_spec(model), "heads=");
    if (heads) net->heads = (size_t)strtoul(heads + 6, NULL, 10);
    ref_arrays_open(net, kd_model_params(model));
    count_layers(net);
    return net;
}

void ref_arrays_close(ref_net *net)
{
    for (size_t i = 0; i < net->n; i++) {
        free(net->arrays[i].value);
        free(net->arrays[i].average);
        free(net->arrays[i].kept);
        free(net->arrays[i].grad);
        free(net->arrays[i].first);
        free(net->arrays[i].second);
    }
    free(net->arrays);
}

void ref_net_close(ref_net *net)
{
    ref_arrays_close(net);
    free(net);
}

const double *ref_values(const ref_array *a, ref_which which)
{
    return which == REF_KEPT ? a->kept : which == REF_AVERAGES ? a->average : a->value;
}

void ref_net_keep(ref_net *net, ref_which which)
{
    for (size_t i = 0; i < net->n; i++)
        memcpy(net->arrays[i].kept, ref_values(&net->arrays[i], which),
               net->arrays[i].count * sizeof(double));
}

ref_array *ref_find(const ref_net *net, const char *name)
{
    for (size_t i = 0; i < net->n; i++)
        if (!strcmp(net->arrays[i].name, name)) return &net->arrays[i];
    return NULL;
}

static ref_array *array(const ref_net *net, const char *before, size_t number, const char *after)
{
    char name[96];
    snprintf(name, sizeof name, "%s%zu%s", before, number, after);
    return ref_find(net, name);
}

/* features.0 convolution, (1 norm,) ReLU, pool, and again. */
static ref_logits vgg(ref_net *net, ref_tape *t, ref_value *x, bool training)
{
    ref_array *weight;
    ref_logits l = {.tape = t};
    for (size_t i = 0; (weight = array(net, "features.", i, ".weight"));) {
        ck_assert_uint_eq(weight->rank, 4);
        x = ref_conv(t, x, weight, array(net, "features.", i, ".bias"), 1, 1);
        i++;
        if (array(net, "features.", i, ".running_mean")) {
            char name[32];
            snprintf(name, sizeof name, "features.%zu", i++);
            x = ref_batch_norm(t, x, name, training);
        }
        x = ref_relu(t, x);
        if (l.levels < REF_LEVELS) l.level[l.levels++] = x;
        x = ref_max_pool(t, x);
        i += 2;
    }
    l.embedding = ref_mean(t, x);
    l.mean = l.labels = l.teacher = ref_linear(t, l.embedding, "classifier");
    return l;
}

static ref_value *block(const ref_net *net, ref_tape *t, ref_value *x, size_t i, ref_value **map)
{
    char name[64];
    const int at = snprintf(name, sizeof name, "blocks.%zu.", i);
    char *rest = name + at;
    const size_t left = sizeof name - (size_t)at;
#define NAMED(text) (snprintf(rest, left, "%s", text), name)
    ref_value *y = ref_layer_norm(t, x, NAMED("norm1"), 1e-6);
    y = ref_linear(t, y, NAMED("attn.qkv"));
    *map = ref_attention_map(t, y, net->heads);
    y = ref_attention(t, y, net->heads);
    x = ref_add(t, x, ref_linear(t, y, NAMED("attn.proj")), 1);
    y = ref_layer_norm(t, x, NAMED("norm2"), 1e-6);
    y = ref_gelu(t, ref_linear(t, y, NAMED("mlp.fc1")));
    return ref_add(t, x, ref_linear(t, y, NAMED("mlp.fc2")), 1);
#undef NAMED
}

static ref_logits vit(ref_net *net, ref_tape *t, ref_value *x)
{
    ref_array *const tokens[] = {ref_find(net, "cls_token"), ref_find(net, "dist_token")};
    ref_array *weight = ref_find(net, "patch_embed.proj.weight");
    ref_logits l = {.tape = t};
    x = ref_conv(t, x, weight, ref_find(net, "patch_embed.proj.bias"), weight->dim[2], 0);
    x = ref_tokens(t, x, tokens, tokens[1] ? 2 : 1, ref_find(net, "pos_embed"));
    for (size_t i = 0; array(net, "blocks.", i, ".norm1.weight"); i++) {
        x = block(net, t, x, i, &l.map);
        if (i < REF_LEVELS) l.level[l.levels++] = x;
    }
    x = ref_layer_norm(t, x, "norm", 1e-6);
    l.embedding = ref_token(t, x, 0);
    l.mean = l.labels = l.teacher = ref_linear(t, l.embedding, "head");
    if (!tokens[1]) return l;
    l.teacher = ref_linear(t, ref_token(t, x, 1), "head_dist");
    l.mean = ref_add(t, l.labels, l.teacher, .5);
    return l;
}

ref_logits ref_net_forward(ref_net *net, const float *pictures, size_t n, bool training,
                           ref_which which)
{
    ref_tape *t = ref_tape_open(net, which);
    ref_value *x = ref_value_make(t, n, net->image, net->image, net->channels);
    for (size_t i = 0; i < n * net->image * net->image * net->channels; i++)
        x->x[i] = (double)pictures[i];
    if (ref_find(net, "cls_token")) return vit(net, t, x);
    return vgg(net, t, x, training);
}

void ref_net_backward(const ref_logits *logits)
{
    ref_tape_backward(logits->tape);
}

void ref_logits_free(ref_logits *logits)
{
    ref_tape_close(logits->tape);
}
