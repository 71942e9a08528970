/* SPDX-License-Identifier: MIT
 * augment.c: augmentation: specs such as "crop-flip+cutout:8", and running their steps.
 *
 * Each step draws its numbers from a stream of its own, keyed by (seed, epoch, sample) and its
 * place among the steps: no step depends on what another drew, nor on the order of samples. */
#include "data.h"

#include <stdio.h>
#include <string.h>

/* ---- recipes --------------------------------------------------------------------------------- */

/* Names for what the field trains with. More steps may follow. */
static const struct {
    const char *name, *steps;
} recipes[] = {
    {"imagenet-train", "rrc+flip"}, /* torchvision's classification reference */
    {"imagenet-eval", "centre"},
    {"deit", "rrc+bicubic+flip+randaugment+erase+mixup+cutmix+repeat"}, /* Touvron et al. 2021 */
    {"swin", "rrc+bicubic+flip+randaugment+erase+mixup+cutmix"},        /* Liu et al. 2021 */
};
static const char recipe_names[] = " imagenet-train imagenet-eval deit swin";

/* The steps of the recipe that spec begins with, and its name's length; NULL: none. */
static const char *find_recipe(const char *spec, size_t *length)
{
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        const size_t n = *length = strlen(recipes[i].name);
        if (strncmp(spec, recipes[i].name, n) == 0 && (spec[n] == 0 || spec[n] == '+'))
            return recipes[i].steps;
    }
    *length = 0;
    return NULL;
}

/* ---- parsing --------------------------------------------------------------------------------- */

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

enum { MILLION = 1000000 };

typedef struct number_text {
    char text[32];
} number_text;

/* A parameter as it is typed, whatever the locale. */
static number_text show(const kdi_augment *kind, size_t value)
{
    number_text t;
    if (!kind->decimal) {
        snprintf(t.text, sizeof t.text, "%zu", value);
        return t;
    }
    snprintf(t.text, sizeof t.text, "%zu.%06zu", value / MILLION, value % MILLION);
    size_t n = strlen(t.text);
    while (t.text[n - 1] == '0') t.text[--n] = 0;
    if (t.text[n - 1] == '.') t.text[--n] = 0;
    return t;
}

/* Digits, perhaps a point and up to six more, in millionths. */
static bool parse_decimal(const char *text, size_t *out, const char **end)
{
    size_t whole = 0, part = 0, unit = MILLION;
    if (!kdi_parse_size(text, 0, MILLION, &whole, end)) return false;
    if (**end == '.') {
        const char *p = *end + 1;
        if (*p < '0' || *p > '9') return false;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (unit == 1) return false;
            unit /= 10;
            part += unit * (size_t)(*p - '0');
        }
        *end = p;
    }
    *out = whole * MILLION + part;
    return true;
}

static bool parse_value(const kdi_step *step, const char *text, size_t low, size_t high,
                        size_t *value, const char **end)
{
    if (!step->kind->decimal) return kdi_parse_size(text, low, high, value, end);
    return parse_decimal(text, value, end) && *value >= low && *value <= high;
}

static kd_status parse_step(kd_ctx *ctx, const char *text, kdi_step *step, const char **end)
{
    const size_t length = strcspn(text, ":=+-");
    const char *p = text + length;
    step->kind = find(text, length);
    if (!step->kind) {
#define AUGMENT(kind) " " #kind
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "unknown augmentation '%.100s'; known are: none%s, and the recipes%s",
                           text,
#include "augments.def"
                           , recipe_names);
#undef AUGMENT
    }
    size_t low = 0, high = 0;
    const kdi_augment *kind = step->kind;
    if (kind->range) kind->range(step->shape, &low, &high, &step->value);
    if (low > high)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "augmentation '%s' does not fit pictures of %zux%zux%zu", kind->name,
                           step->shape.h, step->shape.w, step->shape.c);
    if (*p == ':' || *p == '=') {
        if (!kind->has_value)
            return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%.100s': %s takes no value", text,
                               kind->name);
        if (!parse_value(step, p + 1, low, high, &step->value, &p) || !strchr("+-", *p))
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "augmentation '%.100s': for pictures of %zux%zu, %s takes a number "
                               "from %s to %s",
                               text, step->shape.h, step->shape.w, kind->name, show(kind, low).text,
                               show(kind, high).text);
    }
    if (step->value < low || step->value > high)
        return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%s' does not fit pictures of %zux%zu",
                           kind->name, step->shape.h, step->shape.w);
    *end = p;
    return KD_OK;
}

static void write_text(kdi_augmentation *a)
{
    size_t used = 0;
    for (size_t i = 0; i < a->count; i++) {
        const kdi_step *step = &a->steps[i];
        const bool value = step->kind->has_value;
        if (step->second) continue;
        if (used < sizeof a->text)
            used += (size_t)snprintf(a->text + used, sizeof a->text - used, "%s%s%s%s",
                                     i ? "+" : "", step->kind->name, value ? ":" : "",
                                     value ? show(step->kind, step->value).text : "");
    }
    if (!a->count) memcpy(a->text, "none", 5);
}

/* What a step says about the whole. */
static kd_status take_role(kd_ctx *ctx, kdi_augmentation *a, const kdi_step *step)
{
    const kdi_role role = step->kind->role;
    for (const kdi_step *s = a->steps; s < step; s++)
        if (role != KDI_ROLE_PICTURE && s->kind->role == role)
            return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation: %s after %s", step->kind->name,
                               s->kind->name);
    if (role == KDI_ROLE_FRAME) {
        a->frame = step->kind;
        a->frame_step = (size_t)(step - a->steps);
    }
    if (role == KDI_ROLE_EXACT) a->exact = true;
    if (role == KDI_ROLE_FILTER) a->bicubic = step->kind == &kdi_augment_bicubic;
    if (role == KDI_ROLE_MIXUP) a->mixup = kdi_step_number(step);
    if (role == KDI_ROLE_CUTMIX) a->cutmix = kdi_step_number(step);
    if (role == KDI_ROLE_REPEAT) a->repeat = step->value;
    return KD_OK;
}

static kd_status parse_steps(kd_ctx *ctx, const char *spec, kdi_shape shape, kdi_augmentation *a)
{
    for (const char *p = spec;;) {
        kdi_step *step = &a->steps[a->count];
        if (a->count + 1 >= KDI_STEPS)
            return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%.100s': too many steps", spec);
        step->shape = shape;
        step->slot = (uint32_t)a->count++;
        kd_status status = parse_step(ctx, p, step, &p);
        if (!status) status = take_role(ctx, a, step);
        if (status) return status;
        if (step->kind->twice) {
            a->steps[a->count] = *step;
            a->steps[a->count].slot = (uint32_t)a->count;
            a->steps[a->count].second = true;
            a->count++;
        }
        if (!*p) break;
        p++;
    }
    return KD_OK;
}

kd_status kdi_augment_parse(kd_ctx *ctx, const char *spec, kdi_shape shape, kdi_augmentation *a)
{
    char steps[2 * KDI_AUGMENT_TEXT];
    memset(a, 0, sizeof *a);
    a->repeat = 1;
    size_t known;
    const char *recipe = find_recipe(spec, &known);
    const int n = snprintf(steps, sizeof steps, "%s%s", recipe ? recipe : "", spec + known);
    if (n < 0 || (size_t)n >= sizeof steps)
        return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%.100s...': too many steps", spec);
    const kd_status status = strcmp(steps, "none") == 0 ? KD_OK : parse_steps(ctx, steps, shape, a);
    if (!status) write_text(a);
    return status;
}

void kdi_augment_fill(kdi_augmentation *a, const float *mean, size_t channels)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t c = 0; c < 4; c++) {
            const float x = mean[channels > c ? c : channels - 1] * 255 + .5f;
            a->steps[i].fill[c] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
        }
}

kdi_rng kdi_augment_rng(const kdi_step *step, kdi_key key)
{
    kdi_rng rng = kdi_rng_make(key.seed, KDI_RNG_AUGMENT, key.epoch, key.sample);
    rng.index = key.copy << 24 | step->slot << 16;
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

void kdi_augment_values(const kdi_augmentation *a, kdi_key key, const kdi_units *units,
                        float *picture)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->steps[i].kind->values) a->steps[i].kind->values(&a->steps[i], key, units, picture);
}
