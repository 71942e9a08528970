/* SPDX-License-Identifier: MIT
 * test_names.c: transformers in files of other libraries: torchvision's names, Hugging Face's as it
 * saves them and as its state_dicts have them since version 5, the first Swin's. Each file is made
 * of a network of ours; what is read from it must be that network. What does not fit is refused by
 * name. */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* part: 0 the whole tensor, 1, 2, 3 a third of it. */
typedef struct renamed {
    const char *theirs, *ours;
    int part;
} renamed;

static void write_renamed(kd_model *model, const renamed *names, const char *path)
{
    kd_writer *w;
    kd_params *params = kd_model_params(model);
    kd_ctx *ctx = kd_model_ctx(model);
    float *arrays[64];
    size_t n = 0;
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    for (; names[n].theirs; n++) {
        const renamed *r = &names[n];
        const kd_param_info *info = kd_params_find(params, r->ours);
        ck_assert_msg(info != NULL, "%s", r->ours);
        kd_shape s = info->file_shape;
        size_t skip = 0;
        arrays[n] = golden_param(params, info, 0);
        if (r->part) {
            s.dim[0] /= 3;
            skip = info->count / 3 * (size_t)(r->part - 1);
        }
        test_ok(ctx, kd_writer_tensor(w, r->theirs, KD_F32, s.rank, s.dim, arrays[n] + skip));
    }
    test_ok(ctx, kd_writer_finish(w));
    for (size_t i = 0; i < n; i++) free(arrays[i]);
}

/* model_spec: what the file holds; spec: what the caller says it does. */
static void check_implied(const char *model_spec, const char *spec, const renamed *names)
{
    char path[512];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model, *again;
    snprintf(path, sizeof path, "%s/renamed.safetensors", test_dir());
    test_ok(ctx, kd_model_create(ctx, model_spec, 5, &model));
    write_renamed(model, names, path);
    test_ok(ctx, kd_model_load(ctx, path, spec, &again));
    ck_assert_str_eq(kd_model_spec(again), kd_model_spec(model));
    const kd_params *params = kd_model_params(model);
    ck_assert_mem_eq(kd_params_values(kd_model_params(model)),
                     kd_params_values(kd_model_params(again)),
                     kd_params_flat_count(params) * sizeof(float));
    kd_model_destroy(again);
    /* The first one missing: refused by our name. */
    write_renamed(model, names + 1, path);
    ck_assert_int_eq(kd_model_load(ctx, path, spec, &again), KD_E_MISMATCH);
    ck_assert_msg(strstr(kd_ctx_error(ctx), names->ours) != NULL, "%s", kd_ctx_error(ctx));
    kd_model_destroy(model);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

static void check_renamed(const char *spec, const renamed *names)
{
    check_implied(spec, spec, names);
}

/* Hugging Face's norms have an eps of their own, unless the spec says otherwise. */
static void check_hugging_face(const char *spec, const renamed *names)
{
    char with_eps[200];
    snprintf(with_eps, sizeof with_eps, "%s,eps=1e-12", spec);
    check_implied(with_eps, spec, names);
    snprintf(with_eps, sizeof with_eps, "%s,eps=1e-5", spec);
    check_renamed(with_eps, names);
}

/* Such a file of a network does not fit a spec, and the error says all of that. */
static void check_refused(const char *model_spec, const char *spec, const renamed *names,
                          const char *const *says)
{
    char path[512];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model, *again;
    snprintf(path, sizeof path, "%s/renamed.safetensors", test_dir());
    test_ok(ctx, kd_model_create(ctx, model_spec, 5, &model));
    write_renamed(model, names, path);
    ck_assert_int_eq(kd_model_load(ctx, path, spec, &again), KD_E_MISMATCH);
    ck_assert_ptr_null(again);
    for (; *says; says++)
        ck_assert_msg(strstr(kd_ctx_error(ctx), *says) != NULL, "no '%s' in: %s", *says,
                      kd_ctx_error(ctx));
    kd_model_destroy(model);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

#define BOTH(theirs, ours)                                                                         \
    {theirs ".weight", ours ".weight", 0},                                                         \
    {                                                                                              \
        theirs ".bias", ours ".bias", 0                                                            \
    }
#define THIRD(theirs, ours, part)                                                                  \
    {theirs ".weight", ours ".weight", part},                                                      \
    {                                                                                              \
        theirs ".bias", ours ".bias", part                                                         \
    }

static const char small_vit[] = "vit_small_patch16_224,image=8,patch=4,dim=6,depth=1,heads=2,"
                                "classes=3";

#define TORCHVISION_VIT(fc1, fc2)                                                                  \
    {"class_token", "cls_token", 0}, {"encoder.pos_embedding", "pos_embed", 0},                    \
        BOTH("conv_proj", "patch_embed.proj"),                                                     \
        BOTH("encoder.layers.encoder_layer_0.ln_1", "blocks.0.norm1"),                             \
        {"encoder.layers.encoder_layer_0.self_attention.in_proj_weight",                           \
         "blocks.0.attn.qkv.weight", 0},                                                           \
        {"encoder.layers.encoder_layer_0.self_attention.in_proj_bias", "blocks.0.attn.qkv.bias",   \
         0},                                                                                       \
        BOTH("encoder.layers.encoder_layer_0.self_attention.out_proj", "blocks.0.attn.proj"),      \
        BOTH("encoder.layers.encoder_layer_0.ln_2", "blocks.0.norm2"),                             \
        BOTH("encoder.layers.encoder_layer_0.mlp." fc1, "blocks.0.mlp.fc1"),                       \
        BOTH("encoder.layers.encoder_layer_0.mlp." fc2, "blocks.0.mlp.fc2"),                       \
        BOTH("encoder.ln", "norm"), BOTH("heads.head", "head"),                                    \
    {                                                                                              \
        NULL, NULL, 0                                                                              \
    }

START_TEST(test_torchvision_vit)
{
    static const renamed names[] = {TORCHVISION_VIT("0", "3")};
    static const renamed old[] = {TORCHVISION_VIT("linear_1", "linear_2")};
    check_renamed(small_vit, names);
    check_renamed(small_vit, old);
}
END_TEST

#define HUGGING_FACE(name)                                                                         \
    {name ".embeddings.position_embeddings", "pos_embed", 0},                                      \
        BOTH(name ".embeddings.patch_embeddings.projection", "patch_embed.proj"),                  \
        BOTH(name ".encoder.layer.0.layernorm_before", "blocks.0.norm1"),                          \
        THIRD(name ".encoder.layer.0.attention.attention.query", "blocks.0.attn.qkv", 1),          \
        THIRD(name ".encoder.layer.0.attention.attention.key", "blocks.0.attn.qkv", 2),            \
        THIRD(name ".encoder.layer.0.attention.attention.value", "blocks.0.attn.qkv", 3),          \
        BOTH(name ".encoder.layer.0.attention.output.dense", "blocks.0.attn.proj"),                \
        BOTH(name ".encoder.layer.0.layernorm_after", "blocks.0.norm2"),                           \
        BOTH(name ".encoder.layer.0.intermediate.dense", "blocks.0.mlp.fc1"),                      \
        BOTH(name ".encoder.layer.0.output.dense", "blocks.0.mlp.fc2"),                            \
        BOTH(name ".layernorm", "norm"),                                                           \
    {                                                                                              \
        name ".embeddings.cls_token", "cls_token", 0                                               \
    }

#define HUGGING_FACE_5(name)                                                                       \
    {name ".embeddings.position_embeddings", "pos_embed", 0},                                      \
        BOTH(name ".embeddings.patch_embeddings.projection", "patch_embed.proj"),                  \
        BOTH(name ".layers.0.layernorm_before", "blocks.0.norm1"),                                 \
        THIRD(name ".layers.0.attention.q_proj", "blocks.0.attn.qkv", 1),                          \
        THIRD(name ".layers.0.attention.k_proj", "blocks.0.attn.qkv", 2),                          \
        THIRD(name ".layers.0.attention.v_proj", "blocks.0.attn.qkv", 3),                          \
        BOTH(name ".layers.0.attention.o_proj", "blocks.0.attn.proj"),                             \
        BOTH(name ".layers.0.layernorm_after", "blocks.0.norm2"),                                  \
        BOTH(name ".layers.0.mlp.fc1", "blocks.0.mlp.fc1"),                                        \
        BOTH(name ".layers.0.mlp.fc2", "blocks.0.mlp.fc2"), BOTH(name ".layernorm", "norm"),       \
    {                                                                                              \
        name ".embeddings.cls_token", "cls_token", 0                                               \
    }

START_TEST(test_hugging_face_vit)
{
    static const renamed names[] = {
        HUGGING_FACE("vit"), BOTH("classifier", "head"), {NULL, NULL, 0}};
    static const renamed names_5[] = {
        HUGGING_FACE_5("vit"), BOTH("classifier", "head"), {NULL, NULL, 0}};
    check_hugging_face(small_vit, names);
    check_hugging_face(small_vit, names_5);
}
END_TEST

static const char small_deit[] = "deit_small_distilled_patch16_224,image=8,patch=4,dim=6,depth=1,"
                                 "heads=2,classes=3";
static const char one_head[] = "deit_small_distilled_patch16_224,image=8,patch=4,dim=6,depth=1,"
                               "heads=2,classes=3,dist_head=0";

/* DeiTForImageClassificationWithTeacher */
START_TEST(test_hugging_face_deit)
{
    static const renamed names[] = {HUGGING_FACE("deit"),
                                    {"deit.embeddings.distillation_token", "dist_token", 0},
                                    BOTH("cls_classifier", "head"),
                                    BOTH("distillation_classifier", "head_dist"),
                                    {NULL, NULL, 0}};
    static const renamed names_5[] = {HUGGING_FACE_5("deit"),
                                      {"deit.embeddings.distillation_token", "dist_token", 0},
                                      BOTH("cls_classifier", "head"),
                                      BOTH("distillation_classifier", "head_dist"),
                                      {NULL, NULL, 0}};
    check_hugging_face(small_deit, names);
    check_hugging_face(small_deit, names_5);
}
END_TEST

/* DeiTForImageClassification: a token, but no head, of distillation. */
START_TEST(test_hugging_face_one_head)
{
    static const renamed names[] = {HUGGING_FACE("deit"),
                                    {"deit.embeddings.distillation_token", "dist_token", 0},
                                    BOTH("classifier", "head"),
                                    {NULL, NULL, 0}};
    static const renamed names_5[] = {HUGGING_FACE_5("deit"),
                                      {"deit.embeddings.distillation_token", "dist_token", 0},
                                      BOTH("classifier", "head"),
                                      {NULL, NULL, 0}};
    static const char *const no_token[] = {"unexpected 'deit.embeddings.distillation_token'",
                                           "'pos_embed' is [1,6,6], the model wants [1,5,6]", NULL};
    static const char *const no_head[] = {"missing 'head_dist.weight'", NULL};
    char two_heads[160];
    snprintf(two_heads, sizeof two_heads, "%s,dist_head=1", small_deit);
    char implied[160];
    snprintf(implied, sizeof implied, "%s,eps=1e-12", one_head);
    check_hugging_face(one_head, names);
    check_implied(implied, small_deit, names);
    check_implied(implied, small_deit, names_5);
    check_refused(one_head,
                  "deit_small_patch16_224,image=8,patch=4,dim=6,depth=1,heads=2,classes=3", names,
                  no_token);
    check_refused(one_head, two_heads, names, no_head);
}
END_TEST

/* What those networks have and ours don't, or the other way round. */
START_TEST(test_refused)
{
    static const renamed masked[] = {HUGGING_FACE("vit"),
                                     BOTH("decoder.0", "head"),
                                     {"vit.embeddings.mask_token", "cls_token", 0},
                                     {NULL, NULL, 0}};
    static const renamed base[] = {
        HUGGING_FACE("vit"), BOTH("vit.pooler.dense", "head"), {NULL, NULL, 0}};
    static const renamed twice[] = {HUGGING_FACE("vit"),
                                    BOTH("classifier", "head"),
                                    BOTH("vit.layers.0.attention.o_proj", "blocks.0.attn.proj"),
                                    {NULL, NULL, 0}};
    static const char *const says_masked[] = {"names of Hugging Face",
                                              "missing 'head.weight'",
                                              "missing 'head.bias'",
                                              "unexpected 'decoder.0.weight'",
                                              "unexpected 'vit.embeddings.mask_token'",
                                              NULL};
    static const char *const says_base[] = {"missing 'head.weight'",
                                            "unexpected 'vit.pooler.dense.weight'", NULL};
    /* Without the prefix these are nobody's names: some of what is missing and of what is there. */
    static const renamed bare[] = {{"embeddings.cls_token", "cls_token", 0},
                                   {"layernorm.bias", "norm.bias", 0},
                                   {NULL, NULL, 0}};
    static const char *const says_bare[] = {"missing 'cls_token'",
                                            "missing 'patch_embed.proj.bias'",
                                            "unexpected 'embeddings.cls_token'",
                                            "unexpected 'layernorm.bias'",
                                            "; and 16 more",
                                            NULL};
    static const char *const says_twice[] = {"unexpected 'vit.layers.0.attention.o_proj.weight'",
                                             NULL};
    check_refused(small_vit, small_vit, masked, says_masked);
    check_refused(small_vit, small_vit, base, says_base);
    check_refused(small_vit, small_vit, twice, says_twice);
    check_refused(small_vit, small_vit, bare, says_bare);
}
END_TEST

static const char small_swin[] = "swin_small_patch4_window7_224,image=16,patch=4,dim=6,depth=1-1,"
                                 "heads=2-3,window=2,classes=3";

#define TORCHVISION_BLOCK(theirs, ours)                                                            \
    BOTH(theirs ".norm1", ours ".norm1"), BOTH(theirs ".attn.qkv", ours ".attn.qkv"),              \
        BOTH(theirs ".attn.proj", ours ".attn.proj"),                                              \
        {theirs ".attn.relative_position_bias_table", ours ".attn.relative_position_bias_table",   \
         0},                                                                                       \
        BOTH(theirs ".norm2", ours ".norm2"), BOTH(theirs ".mlp.0", ours ".mlp.fc1"),              \
        BOTH(theirs ".mlp.3", ours ".mlp.fc2")

START_TEST(test_torchvision_swin)
{
    static const renamed names[] = {
        BOTH("features.0.2", "patch_embed.norm"),
        BOTH("features.0.0", "patch_embed.proj"),
        TORCHVISION_BLOCK("features.1.0", "layers.0.blocks.0"),
        {"features.1.0.attn.relative_position_index", "norm.bias", 0}, /* whatever it holds */
        BOTH("features.2.norm", "layers.1.downsample.norm"),
        {"features.2.reduction.weight", "layers.1.downsample.reduction.weight", 0},
        TORCHVISION_BLOCK("features.3.0", "layers.1.blocks.0"),
        BOTH("norm", "norm"),
        BOTH("head", "head.fc"),
        {NULL, NULL, 0}};
    check_renamed(small_swin, names);
}
END_TEST

#define SWIN_BLOCK(theirs, ours)                                                                   \
    BOTH(theirs ".layernorm_before", ours ".norm1"),                                               \
        THIRD(theirs ".attention.self.query", ours ".attn.qkv", 1),                                \
        THIRD(theirs ".attention.self.key", ours ".attn.qkv", 2),                                  \
        THIRD(theirs ".attention.self.value", ours ".attn.qkv", 3),                                \
        {theirs ".attention.self.relative_position_bias_table",                                    \
         ours ".attn.relative_position_bias_table", 0},                                            \
        BOTH(theirs ".attention.output.dense", ours ".attn.proj"),                                 \
        BOTH(theirs ".layernorm_after", ours ".norm2"),                                            \
        BOTH(theirs ".intermediate.dense", ours ".mlp.fc1"),                                       \
        BOTH(theirs ".output.dense", ours ".mlp.fc2")

#define SWIN_BLOCK_5(theirs, ours)                                                                 \
    BOTH(theirs ".layernorm_before", ours ".norm1"),                                               \
        THIRD(theirs ".attention.q_proj", ours ".attn.qkv", 1),                                    \
        THIRD(theirs ".attention.k_proj", ours ".attn.qkv", 2),                                    \
        THIRD(theirs ".attention.v_proj", ours ".attn.qkv", 3),                                    \
        {theirs ".attention.relative_position_bias.relative_position_bias_table",                  \
         ours ".attn.relative_position_bias_table", 0},                                            \
        BOTH(theirs ".attention.o_proj", ours ".attn.proj"),                                       \
        BOTH(theirs ".layernorm_after", ours ".norm2"), BOTH(theirs ".mlp.fc1", ours ".mlp.fc1"),  \
        BOTH(theirs ".mlp.fc2", ours ".mlp.fc2")

#define HUGGING_FACE_SWIN(BLOCK)                                                                   \
    BOTH("swin.embeddings.norm", "patch_embed.norm"),                                              \
        BOTH("swin.embeddings.patch_embeddings.projection", "patch_embed.proj"),                   \
        BLOCK("swin.encoder.layers.0.blocks.0", "layers.0.blocks.0"),                              \
        BOTH("swin.encoder.layers.0.downsample.norm", "layers.1.downsample.norm"),                 \
        {"swin.encoder.layers.0.downsample.reduction.weight",                                      \
         "layers.1.downsample.reduction.weight", 0},                                               \
        BLOCK("swin.encoder.layers.1.blocks.0", "layers.1.blocks.0"),                              \
        BOTH("swin.layernorm", "norm"), BOTH("classifier", "head.fc"),                             \
    {                                                                                              \
        NULL, NULL, 0                                                                              \
    }

START_TEST(test_hugging_face_swin)
{
    static const renamed names[] = {HUGGING_FACE_SWIN(SWIN_BLOCK)};
    static const renamed names_5[] = {HUGGING_FACE_SWIN(SWIN_BLOCK_5)};
    check_renamed(small_swin, names);
    check_renamed(small_swin, names_5);
}
END_TEST

static void count_warning(void *user, kd_log_level level, const char *text)
{
    int *const count = user;
    if (level == KD_LOG_WARN && strstr(text, "before shifting it")) ++*count;
}

/* Hugging Face pads a map before it shifts it: with windows that do not divide it, one is told. */
START_TEST(test_padding)
{
    static const renamed names[] = {
        SWIN_BLOCK("swin.encoder.layers.0.blocks.1", "layers.0.blocks.1"),
        HUGGING_FACE_SWIN(SWIN_BLOCK)};
    static const char net[] = "swin_small_patch4_window7_224,patch=4,dim=6,depth=2-1,heads=2-3,"
                              "window=2,classes=3";
    char path[512], spec[160];
    int count = 0;
    const kd_config config = {
        .struct_size = sizeof config, .threads = 1, .log = count_warning, .log_user = &count};
    kd_ctx *ctx;
    kd_model *model, *again;
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    snprintf(path, sizeof path, "%s/renamed.safetensors", test_dir());
    for (int i = 0; i < 2; i++) { /* a map of 4 pixels a side, and one of 5 */
        snprintf(spec, sizeof spec, "%s,image=%d", net, 16 + 4 * i);
        test_ok(ctx, kd_model_create(ctx, spec, 5, &model));
        write_renamed(model, names, path);
        test_ok(ctx, kd_model_load(ctx, path, spec, &again));
        ck_assert_int_eq(count, i);
        kd_model_destroy(again);
        kd_model_destroy(model);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* timm before 0.9, and Microsoft's own files. */
#define FIRST_BLOCK(name)                                                                          \
    BOTH(name ".norm1", name ".norm1"), BOTH(name ".attn.qkv", name ".attn.qkv"),                  \
        BOTH(name ".attn.proj", name ".attn.proj"),                                                \
        {name ".attn.relative_position_bias_table", name ".attn.relative_position_bias_table", 0}, \
        BOTH(name ".norm2", name ".norm2"), BOTH(name ".mlp.fc1", name ".mlp.fc1"),                \
        BOTH(name ".mlp.fc2", name ".mlp.fc2")

START_TEST(test_first_swin)
{
    static const renamed names[] = {
        BOTH("patch_embed.norm", "patch_embed.norm"),
        BOTH("patch_embed.proj", "patch_embed.proj"),
        FIRST_BLOCK("layers.0.blocks.0"),
        {"layers.0.blocks.0.attn.relative_position_index", "norm.bias", 0},
        BOTH("layers.0.downsample.norm", "layers.1.downsample.norm"),
        {"layers.0.downsample.reduction.weight", "layers.1.downsample.reduction.weight", 0},
        FIRST_BLOCK("layers.1.blocks.0"),
        BOTH("norm", "norm"),
        BOTH("head", "head.fc"),
        {NULL, NULL, 0}};
    check_renamed(small_swin, names);
}
END_TEST

TEST_SUITE(names, 30, &test_torchvision_vit, &test_hugging_face_vit, &test_hugging_face_deit,
           &test_hugging_face_one_head, &test_refused, &test_torchvision_swin,
           &test_hugging_face_swin, &test_padding, &test_first_swin)
