/* SPDX-License-Identifier: MIT
 * augment_parse.c: reading the text of an augmentation, such as "crop-flip+cutout:8", and writing
 * it out with all values. augment.h says what it is made of. */
#include "data.h"

#include <stdio.h>
#include <string.h>

/* ---- recipes --------------------------------------------------------------------------------- */

/* Further words may follow a recipe's name: "imagenet-train+cutout:4". */
static const struct {
    const char *name, *words;
} recipes[] = {
    {"imagenet-train", "rrc+flip"}, /* torchvision's classification reference */
    {"imagenet-eval", "centre"},
    {"deit", "rrc+bicubic+flip+randaugment+erase+mixup+cutmix+repeat"}, /* Touvron et al. 2021 */
    {"swin", "rrc+bicubic+flip+randaugment+erase+mixup+cutmix"},        /* Liu et al. 2021 */
};
static const char recipe_names[] = " imagenet-train imagenet-eval deit swin";

/* The words of the recipe that spec begins with, and the length of its name. NULL: none. */
static const char *find_recipe(const char *spec, size_t *length)
{
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        const size_t n = *length = strlen(recipes[i].name);
        if (strncmp(spec, recipes[i].name, n) == 0 && (spec[n] == 0 || spec[n] == '+'))
            return recipes[i].words;
    }
    *length = 0;
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct value_text {
    char text[32];
} value_text;

/* A value as it is typed, whatever the locale. */
static value_text write_value(const kdi_augment *kind, size_t value)
{
    value_text t;
    if (!kind->decimal) {
        snprintf(t.text, sizeof t.text, "%zu", value);
        return t;
    }
    snprintf(t.text, sizeof t.text, "%zu.%06zu", value / KDI_MILLION, value % KDI_MILLION);
    size_t n = strlen(t.text);
    while (t.text[n - 1] == '0') t.text[--n] = 0;
    if (t.text[n - 1] == '.') t.text[--n] = 0;
    return t;
}

static bool parse_value(const kdi_augment *kind, const char *text, size_t low, size_t high,
                        size_t *value, const char **end)
{
    if (!kind->decimal) return kdi_parse_size(text, low, high, value, end);
    return kdi_parse_millionths(text, value, end) && *value >= low && *value <= high;
}

/* ---- words ----------------------------------------------------------------------------------- */

typedef struct parser {
    kd_ctx *ctx;
    kdi_shape shape;
    uint32_t slot;                        /* of the next word */
    const kdi_augment *given[KDI_GROUPS]; /* the last word of each group */
    size_t used;                          /* characters of a->text */
    kdi_augmentation *a;
} parser;

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

static kd_status unknown(kd_ctx *ctx, const char *text)
{
    static const char names[] =
#define AUGMENT(kind) " " #kind
#include "augments.def"
#undef AUGMENT
        ;
    return kd_ctx_fail(ctx, KD_E_INVALID,
                       "unknown augmentation '%.100s'; known are: none%s, and the recipes%s", text,
                       names, recipe_names);
}

/* The word that text begins with; *end is set behind it. */
static kd_status parse_word(const parser *r, const char *text, kdi_augment_step *word,
                            const char **end)
{
    const size_t length = strcspn(text, ":=+-");
    const char *p = text + length;
    const kdi_augment *kind = find(text, length);
    const kdi_shape s = r->shape;
    size_t low = 0, high = 0;
    if (!kind) return unknown(r->ctx, text);
    *word = (kdi_augment_step){.kind = kind, .shape = s, .slot = r->slot};
    if (kind->range) kind->range(s, &low, &high, &word->value);
    if (low > high)
        return kd_ctx_fail(r->ctx, KD_E_INVALID,
                           "augmentation '%s' does not fit pictures of %zux%zux%zu", kind->name,
                           s.h, s.w, s.c);
    if (*p == ':' || *p == '=') {
        if (!kind->has_value)
            return kd_ctx_fail(r->ctx, KD_E_INVALID, "augmentation '%.100s': %s takes no value",
                               text, kind->name);
        if (!parse_value(kind, p + 1, low, high, &word->value, &p) || !strchr("+-", *p))
            return kd_ctx_fail(r->ctx, KD_E_INVALID,
                               "augmentation '%.100s': for pictures of %zux%zu, %s takes a number "
                               "from %s to %s",
                               text, s.h, s.w, kind->name, write_value(kind, low).text,
                               write_value(kind, high).text);
    }
    if (word->value < low || word->value > high)
        return kd_ctx_fail(r->ctx, KD_E_INVALID,
                           "augmentation '%s' does not fit pictures of %zux%zu", kind->name, s.h,
                           s.w);
    *end = p;
    return KD_OK;
}

static void write_word(parser *r, const kdi_augment_step *word)
{
    char *text = r->a->text;
    const kdi_augment *kind = word->kind;
    if (r->used >= sizeof r->a->text) return;
    r->used += (size_t)snprintf(text + r->used, sizeof r->a->text - r->used, "%s%s%s%s",
                                r->used ? "+" : "", kind->name, kind->has_value ? ":" : "",
                                kind->has_value ? write_value(kind, word->value).text : "");
}

static kd_status add_word(parser *r, const kdi_augment_step *word)
{
    kdi_augmentation *a = r->a;
    const kdi_augment *kind = word->kind;
    bool again = r->given[kind->group] == kind;
    for (size_t i = 0; i < a->n_steps; i++) again |= a->steps[i].kind == kind;
    if (again)
        return kd_ctx_fail(r->ctx, KD_E_INVALID,
                           "augmentation: %s comes twice (recipes have it, too)", kind->name);
    if (kind->group != KDI_GROUP_STEP && r->given[kind->group])
        return kd_ctx_fail(r->ctx, KD_E_INVALID, "augmentation: %s after %s", kind->name,
                           r->given[kind->group]->name);
    r->given[kind->group] = kind;
    r->slot++;
    a->random |= kind->random;
    a->filtered |= kind->group == KDI_GROUP_FILTER;
    if (kind->place) a->framing = *word;
    if (kind->set) kind->set(a, word);
    if (kind->pixels || kind->values) a->steps[a->n_steps++] = *word;
    if (kind->twice) {
        a->steps[a->n_steps] = *word;
        a->steps[a->n_steps++].slot = r->slot++;
    }
    write_word(r, word);
    return KD_OK;
}

static kd_status parse_words(kd_ctx *ctx, const char *words, kdi_shape shape, kdi_augmentation *a)
{
    parser r = {.ctx = ctx, .shape = shape, .a = a};
    for (const char *p = words;; p++) {
        kdi_augment_step word;
        if (r.slot + 1 >= KDI_AUGMENT_WORDS)
            return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%.100s': too many steps", words);
        kd_status status = parse_word(&r, p, &word, &p);
        if (!status) status = add_word(&r, &word);
        if (status || !*p) return status;
    }
}

kd_status kdi_augment_parse(kd_ctx *ctx, const char *spec, kdi_shape shape, kdi_augmentation *a)
{
    char words[2 * KDI_AUGMENT_TEXT];
    *a = (kdi_augmentation){.repeat = 1, .text = "none"};
    size_t known;
    const char *recipe = find_recipe(spec, &known);
    const int n = snprintf(words, sizeof words, "%s%s", recipe ? recipe : "", spec + known);
    if (n < 0 || (size_t)n >= sizeof words)
        return kd_ctx_fail(ctx, KD_E_INVALID, "augmentation '%.100s...': too many steps", spec);
    return strcmp(words, "none") == 0 ? KD_OK : parse_words(ctx, words, shape, a);
}
