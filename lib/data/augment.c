/* SPDX-License-Identifier: MIT
 * augment.c: augmentation: specs such as "crop-flip+cutout:8", and running their steps.
 *
 * Each step draws its numbers from a stream of its own, keyed by (seed, epoch, sample) and its
 * place among the steps: no step depends on what another drew, nor on the order of samples. */
#include "data.h"

#include <stdio.h>
#include <string.h>

static const kdi_augment *find(const char *name, size_t length)
{
    static const kdi_augment *const kinds[] = {
#define AUGMENT(kind) &kdi_augment_##kind,
#include "augments.def"
#undef AUGMENT
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i]->name) == length && memcmp(kinds[i]->name, name, length) == 0)
            return kinds[i];
    return NULL;
}

static kd_status parse_step(kd_ctx *ctx, const char *text, kdi_step *step, const char **end)
{
    const size_t length = strcspn(text, ":+-");
    const char *p = text + length;
    step->kind = find(text, length);
    if (!step->kind) {
#define AUGMENT(kind) " " #kind
        return kd_ctx_fail(ctx, KD_E_INVALID, "unknown augmentation '%.100s'; known are: none%s",
                           text,
#include "augments.def"
        );
#undef AUGMENT
    }
    size_t low = 0, high = 0;
    if (step->kind->range) step->kind->range(step->shape, &low, &high, &step->value);
    if (*p == ':') {
        if (!step->kind->has_value)
            return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%.100s': %s takes no value", text,
                               step->kind->name);
        if (!kdi_parse_size(p + 1, low, high, &step->value, &p) || !strchr("+-", *p))
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "augmentation '%.100s': for pictures of %zux%zu, %s takes a number "
                               "from %zu to %zu",
                               text, step->shape.h, step->shape.w, step->kind->name, low, high);
    }
    if (step->value < low || step->value > high)
        return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%s' does not fit pictures of %zux%zu",
                           step->kind->name, step->shape.h, step->shape.w);
    *end = p;
    return KD_OK;
}

static void write_text(kdi_augmentation *a)
{
    size_t used = 0;
    for (size_t i = 0; i < a->count; i++) {
        const kdi_step *step = &a->steps[i];
        int n = snprintf(a->text + used, sizeof a->text - used, "%s%.24s", i ? "+" : "",
                         step->kind->name);
        used += n > 0 ? (size_t)n : 0;
        if (!step->kind->has_value) continue;
        n = snprintf(a->text + used, sizeof a->text - used, ":%zu", step->value);
        used += n > 0 ? (size_t)n : 0;
    }
}

kd_status kdi_augment_parse(kd_ctx *ctx, const char *spec, kdi_shape shape, kdi_augmentation *a)
{
    memset(a, 0, sizeof *a);
    if (strcmp(spec, "none") == 0) {
        memcpy(a->text, "none", 5);
        return KD_OK;
    }
    for (const char *p = spec;;) {
        if (a->count == KDI_STEPS)
            return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%.100s': more than %d steps", spec,
                               KDI_STEPS);
        kdi_step *step = &a->steps[a->count];
        step->shape = shape;
        step->slot = (uint32_t)a->count++;
        const kd_status status = parse_step(ctx, p, step, &p);
        if (status) return status;
        if (!*p) break;
        p++;
    }
    write_text(a);
    return KD_OK;
}

kdi_rng kdi_augment_rng(const kdi_step *step, kdi_key key)
{
    kdi_rng rng = kdi_rng_make(key.seed, KDI_RNG_AUGMENT, key.epoch, key.sample);
    rng.index = step->slot << 16;
    return rng;
}

const uint8_t *kdi_augment_pixels(const kdi_augmentation *a, kdi_key key, const uint8_t *picture,
                                  uint8_t *one, uint8_t *other)
{
    uint8_t *to = one;
    for (size_t i = 0; i < a->count; i++) {
        const kdi_step *step = &a->steps[i];
        if (!step->kind->pixels || !step->kind->pixels(step, key, picture, to)) continue;
        picture = to;
        to = to == one ? other : one;
    }
    return picture;
}

void kdi_augment_values(const kdi_augmentation *a, kdi_key key, float *picture, size_t channels)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->steps[i].kind->values)
            a->steps[i].kind->values(&a->steps[i], key, picture, channels);
}
