/* SPDX-License-Identifier: MIT
 * layers.c: which layer of its network a parameter belongs to, by its name, for learning rates that
 * fall from the head to the input (Clark et al. 2020, "ELECTRA"; Bao et al. 2021, "BEiT").
 *
 * The layers are timm's groups. Embeddings and tokens are the lowest. Each "blocks.N" (ViT),
 * "layers.N.blocks.M" (Swin; the merging "layers.N.downsample" goes with block 0) and "features.N"
 * (VGG) is one, in the order of their numbers. The norm behind the last block goes with it. All
 * else is the head. */
#include "optim.h"

#include <string.h>

/* A layer's place in the order: (stage + 1, block), and the head behind all. */
#define KEY(stage, block) (((uint64_t)(stage) + 1) << 32 | (block))
static const uint64_t LOWEST = 0, HEAD = UINT64_MAX, LAST_BLOCK = UINT64_MAX - 1;

/* Is `text` at the start of *name? Then go on behind it. */
static bool skip(const char **name, const char *text)
{
    const size_t n = strlen(text);
    if (strncmp(*name, text, n)) return false;
    *name += n;
    return true;
}

/* "12." of at most six digits. */
static bool skip_number(const char **name, uint32_t *out)
{
    const size_t digits = strspn(*name, "0123456789");
    if (digits == 0 || digits > 6 || (*name)[digits] != '.') return false;
    *out = 0;
    for (size_t i = 0; i < digits; i++) *out = 10 * *out + (uint32_t)((*name)[i] - '0');
    *name += digits + 1;
    return true;
}

static uint64_t key_of(const char *name)
{
    static const char *const lowest[] = {"cls_token", "dist_token", "pos_embed", "patch_embed"};
    uint32_t stage, block;
    for (size_t i = 0; i < sizeof lowest / sizeof *lowest; i++)
        if (skip(&name, lowest[i])) return LOWEST;
    if (skip(&name, "norm")) return LAST_BLOCK;
    if (skip(&name, "blocks.") || skip(&name, "features."))
        return skip_number(&name, &stage) ? KEY(stage, 0) : HEAD;
    if (!skip(&name, "layers.") || !skip_number(&name, &stage)) return HEAD;
    if (skip(&name, "downsample.")) return KEY(stage, 0);
    return skip(&name, "blocks.") && skip_number(&name, &block) ? KEY(stage, block) : HEAD;
}

/* Where `key` is, or belongs, in sorted keys. */
static size_t place_of(const uint64_t *keys, size_t n, uint64_t key)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

kd_status kdt_layers(const kd_params *params, size_t *layer, size_t *count)
{
    const size_t entries = kd_params_entries(params);
    uint64_t *keys = kd_ctx_alloc(kd_params_ctx(params), entries + 1, sizeof *keys);
    size_t n = 0;
    if (!keys) return kd_ctx_memory_status(kd_params_ctx(params));
    for (size_t i = 0; i < entries; i++) {
        const uint64_t key = key_of(kd_params_info(params, i)->name);
        const size_t at = place_of(keys, n, key);
        if (kd_params_info(params, i)->buffer || key == LAST_BLOCK) continue;
        if (at < n && keys[at] == key) continue;
        memmove(keys + at + 1, keys + at, (n - at) * sizeof *keys);
        keys[at] = key;
        n++;
    }
    for (size_t i = 0; i < entries; i++) {
        const uint64_t key = key_of(kd_params_info(params, i)->name);
        const size_t at = place_of(keys, n, key);
        layer[i] = key == LAST_BLOCK && at > 0 ? at - 1 : at; /* the head, if any, lies at `at` */
    }
    *count = n ? n : 1;
    kd_ctx_free(kd_params_ctx(params), keys);
    return KD_OK;
}
