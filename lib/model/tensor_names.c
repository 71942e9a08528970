/* SPDX-License-Identifier: MIT
 * tensor_names.c: other libraries' names for a network's tensors, as one table:
 *
 *   - torchvision's vit_* and swin_*.
 *   - Hugging Face's ViT, DeiT and Swin for image classification, as save_pretrained writes them,
 *     and as a state_dict has them since version 5.
 *   - timm's Swin from before it moved the merging of patches to the beginning of a stage.
 *   - timm's VGG.
 *
 * Layouts are the same everywhere. Hugging Face has queries, keys and values as three tensors; one
 * after another they are our qkv.
 *
 * In a pattern:
 *
 *   #  a number
 *   *  the rest of a name
 *   %  "query", "key", "value", one after another
 *   &  "q", "k", "v", one after another
 *
 * A tensor may have several rules, as libraries have renamed some. A file follows one of them. */
#include "tensor_names.h"

#include "transformer.h"

#include <stdio.h>
#include <string.h>

typedef struct rule {
    const char *ours, *theirs;
    int times, plus; /* their first number is times * ours + plus; times 0: it is the same */
} rule;

struct kdi_names {
    const char *whose;
    const kdi_family *family;
    const char *telltale; /* a tensor that only they have */
    const char *head;     /* a head that a network with a distillation token has; NULL: whichever */
    const rule *rules;
    size_t n_rules;
    bool ours_else;   /* names without a rule are the same as ours */
    bool pads_first;  /* where windows do not divide a map, it is padded before it is shifted */
    bool convolves;   /* dense layers are convolutions over the map */
    const char *keys; /* what their networks have unless the spec says otherwise; NULL: nothing */
};

static const rule torchvision_vit[] = {
    {"cls_token", "class_token", 0, 0},
    {"pos_embed", "encoder.pos_embedding", 0, 0},
    {"patch_embed.proj.*", "conv_proj.*", 0, 0},
    {"blocks.#.norm1.*", "encoder.layers.encoder_layer_#.ln_1.*", 0, 0},
    {"blocks.#.attn.qkv.*", "encoder.layers.encoder_layer_#.self_attention.in_proj_*", 0, 0},
    {"blocks.#.attn.proj.*", "encoder.layers.encoder_layer_#.self_attention.out_proj.*", 0, 0},
    {"blocks.#.norm2.*", "encoder.layers.encoder_layer_#.ln_2.*", 0, 0},
    {"blocks.#.mlp.fc1.*", "encoder.layers.encoder_layer_#.mlp.0.*", 0, 0},
    {"blocks.#.mlp.fc2.*", "encoder.layers.encoder_layer_#.mlp.3.*", 0, 0},
    /* before 0.12 */
    {"blocks.#.mlp.fc1.*", "encoder.layers.encoder_layer_#.mlp.linear_1.*", 0, 0},
    {"blocks.#.mlp.fc2.*", "encoder.layers.encoder_layer_#.mlp.linear_2.*", 0, 0},
    {"norm.*", "encoder.ln.*", 0, 0},
    {"head.*", "heads.head.*", 0, 0},
};

/* Patches, stages and mergings take turns: features.0, 1, 2, ... */
static const rule torchvision_swin[] = {
    {"patch_embed.proj.*", "features.0.0.*", 0, 0},
    {"patch_embed.norm.*", "features.0.2.*", 0, 0},
    {"layers.#.downsample.*", "features.#.*", 2, 0},
    {"layers.#.blocks.#.norm1.*", "features.#.#.norm1.*", 2, 1},
    {"layers.#.blocks.#.attn.*", "features.#.#.attn.*", 2, 1},
    {"layers.#.blocks.#.norm2.*", "features.#.#.norm2.*", 2, 1},
    {"layers.#.blocks.#.mlp.fc1.*", "features.#.#.mlp.0.*", 2, 1},
    {"layers.#.blocks.#.mlp.fc2.*", "features.#.#.mlp.3.*", 2, 1},
    {"norm.*", "norm.*", 0, 0},
    {"head.fc.*", "head.*", 0, 0},
};

#define HUGGING_FACE_BLOCK(ours, theirs, self)                                                     \
    {ours "norm1.*", theirs "layernorm_before.*", 0, 0},                                           \
        {ours "attn.qkv.*", theirs self "%.*", 0, 0},                                              \
        {ours "attn.proj.*", theirs "attention.output.dense.*", 0, 0},                             \
        {ours "norm2.*", theirs "layernorm_after.*", 0, 0},                                        \
        {ours "mlp.fc1.*", theirs "intermediate.dense.*", 0, 0},                                   \
    {                                                                                              \
        ours "mlp.fc2.*", theirs "output.dense.*", 0, 0                                            \
    }
#define HUGGING_FACE_BLOCK_5(ours, theirs)                                                         \
    {ours "norm1.*", theirs "layernorm_before.*", 0, 0},                                           \
        {ours "attn.qkv.*", theirs "attention.&_proj.*", 0, 0},                                    \
        {ours "attn.proj.*", theirs "attention.o_proj.*", 0, 0},                                   \
        {ours "norm2.*", theirs "layernorm_after.*", 0, 0},                                        \
        {ours "mlp.fc1.*", theirs "mlp.fc1.*", 0, 0},                                              \
    {                                                                                              \
        ours "mlp.fc2.*", theirs "mlp.fc2.*", 0, 0                                                 \
    }

static const rule hugging_face_vit[] = {
    {"cls_token", "vit.embeddings.cls_token", 0, 0},
    {"pos_embed", "vit.embeddings.position_embeddings", 0, 0},
    {"patch_embed.proj.*", "vit.embeddings.patch_embeddings.projection.*", 0, 0},
    HUGGING_FACE_BLOCK("blocks.#.", "vit.encoder.layer.#.", "attention.attention."),
    HUGGING_FACE_BLOCK_5("blocks.#.", "vit.layers.#."),
    {"norm.*", "vit.layernorm.*", 0, 0},
    {"head.*", "classifier.*", 0, 0},
};

static const rule hugging_face_deit[] = {
    {"cls_token", "deit.embeddings.cls_token", 0, 0},
    {"dist_token", "deit.embeddings.distillation_token", 0, 0},
    {"pos_embed", "deit.embeddings.position_embeddings", 0, 0},
    {"patch_embed.proj.*", "deit.embeddings.patch_embeddings.projection.*", 0, 0},
    HUGGING_FACE_BLOCK("blocks.#.", "deit.encoder.layer.#.", "attention.attention."),
    HUGGING_FACE_BLOCK_5("blocks.#.", "deit.layers.#."),
    {"norm.*", "deit.layernorm.*", 0, 0},
    {"head.*", "cls_classifier.*", 0, 0},
    {"head_dist.*", "distillation_classifier.*", 0, 0},
    {"head.*", "classifier.*", 0, 0}, /* the only one */
};

static const rule hugging_face_swin[] = {
    {"patch_embed.proj.*", "swin.embeddings.patch_embeddings.projection.*", 0, 0},
    {"patch_embed.norm.*", "swin.embeddings.norm.*", 0, 0},
    {"layers.#.downsample.*", "swin.encoder.layers.#.downsample.*", 1, -1},
    {"layers.#.blocks.#.attn.relative_position_bias_table",
     "swin.encoder.layers.#.blocks.#.attention.self.relative_position_bias_table", 0, 0},
    {"layers.#.blocks.#.attn.relative_position_bias_table",
     "swin.encoder.layers.#.blocks.#.attention.relative_position_bias."
     "relative_position_bias_table",
     0, 0},
    HUGGING_FACE_BLOCK("layers.#.blocks.#.", "swin.encoder.layers.#.blocks.#.", "attention.self."),
    HUGGING_FACE_BLOCK_5("layers.#.blocks.#.", "swin.encoder.layers.#.blocks.#."),
    {"norm.*", "swin.layernorm.*", 0, 0},
    {"head.fc.*", "classifier.*", 0, 0},
};

static const rule old_swin[] = {
    {"layers.#.downsample.*", "layers.#.downsample.*", 1, -1},
    {"head.fc.*", "head.*", 0, 0},
};

/* timm's VGG: the dense layers are convolutions of 7x7 and 1x1. */
static const rule timm_vgg[] = {
    {"classifier.0.*", "pre_logits.fc1.*", 0, 0},
    {"classifier.3.*", "pre_logits.fc2.*", 0, 0},
    {"classifier.6.*", "head.fc.*", 0, 0},
};

#define RULES(table) .rules = table, .n_rules = sizeof table / sizeof *table
static const kdi_names all[] = {
    {.whose = "timm",
     .family = &kdi_family_vgg,
     .telltale = "pre_logits.fc1.weight",
     RULES(timm_vgg),
     .ours_else = true,
     .convolves = true,
     .keys = "head=fc4096"},
    {.whose = "torchvision", /* and ours */
     .family = &kdi_family_vgg,
     .telltale = "classifier.6.weight",
     .ours_else = true,
     .keys = "head=fc4096"},
    {.whose = "torchvision",
     .family = &kdi_family_vit,
     .telltale = "encoder.pos_embedding",
     RULES(torchvision_vit)},
    {.whose = "torchvision",
     .family = &kdi_family_swin,
     .telltale = "features.0.0.weight",
     RULES(torchvision_swin),
     .pads_first = true},
    {.whose = "Hugging Face",
     .family = &kdi_family_vit,
     .telltale = "vit.embeddings.cls_token",
     RULES(hugging_face_vit),
     .keys = "eps=1e-12"},
    {.whose = "Hugging Face", /* DeiTForImageClassification */
     .family = &kdi_family_vit,
     .telltale = "deit.embeddings.cls_token",
     .head = "classifier.weight",
     RULES(hugging_face_deit),
     .keys = "eps=1e-12,dist_head=0"},
    {.whose = "Hugging Face",
     .family = &kdi_family_vit,
     .telltale = "deit.embeddings.cls_token",
     RULES(hugging_face_deit),
     .keys = "eps=1e-12"},
    {.whose = "Hugging Face",
     .family = &kdi_family_swin,
     .telltale = "swin.embeddings.patch_embeddings.projection.weight",
     RULES(hugging_face_swin),
     .pads_first = true},
    {.whose = "the first Swin",
     .family = &kdi_family_swin,
     .telltale = "layers.0.downsample.reduction.weight",
     RULES(old_swin),
     .ours_else = true},
};

enum { PARTS = 3, MOST_NUMBERS = 4, MOST_NUMBER = 100000 };
static const char *const words[PARTS] = {"query", "key", "value"};
static const char *const initials[PARTS] = {"q", "k", "v"};

/* ---- patterns -------------------------------------------------------------------------------- */

/* What a pattern's signs stood for. */
typedef struct found {
    int number[MOST_NUMBERS], n, part;
    const char *rest;
} found;

/* A number as it is printed; NULL: none. */
static const char *read_number(const char *at, int *number)
{
    if (*at == '0' && at[1] >= '0' && at[1] <= '9') return NULL;
    const char *const start = at;
    for (*number = 0; *at >= '0' && *at <= '9' && *number < MOST_NUMBER; at++)
        *number = 10 * *number + *at - '0';
    return at > start ? at : NULL;
}

static const char *read_part(const char *at, const char *const parts[PARTS], int *part)
{
    for (*part = 0; *part < PARTS; ++*part) {
        const size_t length = strlen(parts[*part]);
        if (!strncmp(at, parts[*part], length)) return at + length;
    }
    return NULL;
}

static bool match(const char *pattern, const char *name, found *f)
{
    *f = (found){.rest = ""};
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            f->rest = name;
            return *name != 0;
        }
        if (*pattern == '#')
            name = f->n < MOST_NUMBERS ? read_number(name, &f->number[f->n++]) : NULL;
        else if (*pattern == '%' || *pattern == '&')
            name = read_part(name, *pattern == '%' ? words : initials, &f->part);
        else
            name = *name == *pattern ? name + 1 : NULL;
        if (!name) return false;
    }
    return *name == 0;
}

/* The name that a pattern and its signs' meaning make; false: it is too long. */
static bool print(const char *pattern, const found *f, char out[KDI_NAME_SIZE])
{
    size_t used = 0;
    for (int n = 0; *pattern && used < KDI_NAME_SIZE; pattern++) {
        char *const at = out + used;
        const size_t left = KDI_NAME_SIZE - used;
        int length;
        if (*pattern == '#')
            length = snprintf(at, left, "%d", f->number[n++]);
        else if (*pattern == '*')
            length = snprintf(at, left, "%s", f->rest);
        else if (*pattern == '%' || *pattern == '&')
            length = snprintf(at, left, "%s", (*pattern == '%' ? words : initials)[f->part]);
        else
            length = snprintf(at, left, "%c", *pattern);
        used += (size_t)length;
    }
    return used < KDI_NAME_SIZE;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_counter(const char *name)
{
    return !strcmp(name, "n_averaged");
}

kdi_tensors kdi_tensors_of(const kd_file *file)
{
    kdi_tensors t = {.file = file};
    const char *first = NULL;
    size_t shared = 0;
    for (size_t i = 0; i < kd_file_count(file); i++) {
        const char *name = kd_file_at(file, i)->name;
        if (is_counter(name)) continue;
        if (!first) {
            first = name;
            shared = strlen(name);
        }
        size_t same = 0;
        while (same < shared && name[same] == first[same]) same++;
        shared = same;
    }
    while (shared > 0 && first[shared - 1] != '.') shared--;
    if (shared >= sizeof t.prefix) return t;
    if (shared) memcpy(t.prefix, first, shared);
    return t;
}

const kd_file_tensor *kdi_tensors_find(const kdi_tensors *tensors, const char *name)
{
    char whole[KDI_NAME_SIZE + sizeof tensors->prefix];
    if (!*tensors->prefix) return kd_file_find(tensors->file, name);
    const int n = snprintf(whole, sizeof whole, "%s%s", tensors->prefix, name);
    return n > 0 && (size_t)n < sizeof whole ? kd_file_find(tensors->file, whole) : NULL;
}

const char *kdi_tensors_name(const kdi_tensors *tensors, const kd_file_tensor *t)
{
    const size_t length = strlen(tensors->prefix);
    return strncmp(t->name, tensors->prefix, length) ? t->name : t->name + length;
}

const kdi_names *kdi_names_of(const kdi_tensors *tensors, const kdi_spec *spec)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].family == spec->family && kdi_tensors_find(tensors, all[i].telltale) &&
            (!all[i].head || (spec->distilled && kdi_tensors_find(tensors, all[i].head))))
            return &all[i];
    return NULL;
}

const char *kdi_names_differ(const kdi_names *names, const kdi_spec *spec)
{
    if (names && names->pads_first && kdi_swin_pads(spec))
        return "windows do not divide every map, and it pads such a map before shifting it, timm "
               "and libkd after";
    if (names && names->convolves && (kdi_vgg_map(spec, 0) > 7 || kdi_vgg_map(spec, 1) > 7))
        return "its head runs over every 7x7 part of the map and takes the mean, torchvision's and "
               "libkd's over the map's mean of 7x7";
    return NULL;
}

bool kdi_names_convolve(const kdi_names *names)
{
    return names && names->convolves;
}

const char *kdi_names_keys(const kdi_names *names)
{
    return names ? names->keys : NULL;
}

const char *kdi_names_whose(const kdi_names *names)
{
    return names ? names->whose : "";
}

/* The parts by a rule whose pattern of ours is this. */
static size_t follow(const rule *r, found f, const kdi_tensors *tensors,
                     const kd_file_tensor **part)
{
    char theirs[KDI_NAME_SIZE];
    if (r->times) f.number[0] = r->times * f.number[0] + r->plus;
    const size_t n = strpbrk(r->theirs, "%&") ? PARTS : 1;
    for (size_t k = 0; k < n; k++) {
        f.part = (int)k;
        if (!print(r->theirs, &f, theirs) || !(part[k] = kdi_tensors_find(tensors, theirs)))
            return 0;
    }
    return n;
}

size_t kdi_names_find(const kdi_names *names, const kdi_tensors *tensors, const char *ours,
                      const kd_file_tensor **part)
{
    bool ruled = names && !names->ours_else;
    for (size_t i = 0; names && i < names->n_rules; i++) {
        found f;
        if (!match(names->rules[i].ours, ours, &f)) continue;
        const size_t n = follow(&names->rules[i], f, tensors, part);
        if (n) return n;
        ruled = true;
    }
    if (ruled) return 0;
    part[0] = kdi_tensors_find(tensors, ours);
    return part[0] ? 1 : 0;
}

bool kdi_names_ours(const kdi_names *names, const char *theirs, char out[KDI_NAME_SIZE])
{
    found f;
    for (size_t i = 0; names && i < names->n_rules; i++) {
        const rule *r = &names->rules[i];
        if (!match(r->theirs, theirs, &f)) continue;
        if (r->times) {
            const int from = f.number[0] - r->plus;
            if (from % r->times) continue;
            f.number[0] = from / r->times;
        }
        return print(r->ours, &f, out);
    }
    if (names && !names->ours_else) return false;
    return (size_t)snprintf(out, KDI_NAME_SIZE, "%s", theirs) < KDI_NAME_SIZE;
}

bool kdi_names_derived(const char *name)
{
    static const char *const ends[] = {".relative_position_index", ".attn_mask"};
    if (is_counter(name)) return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t length = strlen(name), end = strlen(ends[i]);
        if (length > end && !strcmp(name + length - end, ends[i])) return true;
    }
    return false;
}
