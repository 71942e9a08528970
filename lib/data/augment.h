/* SPDX-License-Identifier: MIT
 * augment.h: augmentation: how a text such as "rrc+flip+mixup:0.8" is read, and what it does.
 *
 * A text is made of words, joined by '+' or '-'. augments.def lists them. A word is one of these:
 *
 *   a step     changes one picture: its bytes, or a view's normalised values
 *   a framing  says which part of a picture the canvas shows
 *   a setting  is about the whole: how pictures are resized, mixing, repeats
 *
 * A recipe is a name for several words: "deit" (augment_parse.c). */
#ifndef KDI_AUGMENT_H
#define KDI_AUGMENT_H

#include "../base/base.h"
#include "../base/digits.h"
#include "../base/philox.h"

/* The height, width and channels a step sees. */
typedef struct kdi_shape {
    size_t h, w, c;
} kdi_shape;

/* Can the bytes of such a picture of floats be counted? Where sizes have 32 bits, not always. */
static inline bool kdi_shape_fits(kdi_shape s)
{
    size_t n;
    return kdi_mul(s.h, s.w, &n) && kdi_mul(n, s.c, &n) && kdi_mul(n, sizeof(float), &n);
}

/* All that random numbers may depend on. */
typedef struct kdi_key {
    uint64_t seed;
    uint32_t epoch, sample;
    uint32_t copy; /* of the sample within the epoch, below KDI_COPIES */
} kdi_key;

enum { KDI_COPIES = 16 };

/* The units of a view. What is x in the data set's own normalisation is scale[c] * x + offset[c] in
 * channel c of the view. */
typedef struct kdi_units {
    size_t channels, stored;     /* of the view; of the data, 1 where grey is repeated */
    const float *scale, *offset; /* [channels] */
} kdi_units;

/* ---- words ----------------------------------------------------------------------------------- */

typedef struct kdi_augment_step kdi_augment_step;
typedef struct kdi_augmentation kdi_augmentation;
struct kdi_span;

/* A text may have any number of steps, but of each other group one word at most. */
typedef enum kdi_augment_group {
    KDI_GROUP_STEP,
    KDI_GROUP_FRAMING,
    KDI_GROUP_FILTER,
    KDI_GROUP_EXACT,
    KDI_GROUP_MIXUP,
    KDI_GROUP_CUTMIX,
    KDI_GROUP_REPEAT,
    KDI_GROUPS
} kdi_augment_group;

typedef struct kdi_augment {
    const char *name;
    kdi_augment_group group;
    bool has_value; /* NAME:VALUE is allowed */
    bool decimal;   /* the value may have decimals: it is counted in millionths */
    bool random;    /* what it does depends on the key */
    /* The value's range and default for pictures of that shape. low above high: the word does not
     * fit such pictures. */
    void (*range)(kdi_shape shape, size_t *low, size_t *high, size_t *value);

    /* A step has one of these two, or both. */

    /* On bytes. Returns true if it wrote the changed picture to out, false if nothing changes. */
    bool (*pixels)(const kdi_augment_step *step, kdi_key key, const uint8_t *in, uint8_t *out);
    bool moves; /* pixels moves pixels as they are, of shape.c bytes whatever these mean */
    /* On a view's normalised values [h,w,units->channels], in place. It is called for each view
     * with the same key. Every view must show the same change, whatever its channels and units. */
    void (*values)(const kdi_augment_step *step, kdi_key key, const kdi_units *units,
                   float *picture);
    bool twice; /* it is done twice in a row, each time with random numbers of its own */

    /* A framing has this: the part of a picture [height,width] that the canvas shows. */
    void (*place)(const kdi_augment_step *step, kdi_key key, size_t height, size_t width,
                  struct kdi_span *y, struct kdi_span *x);
    bool reducible; /* a JPEG may be decoded at a fraction of its size */

    /* A setting has this. */
    void (*set)(kdi_augmentation *augmentation, const kdi_augment_step *word);
} kdi_augment;

#define AUGMENT(name) extern const kdi_augment kdi_augment_##name;
#include "augments.def"
#undef AUGMENT

/* ---- an augmentation ------------------------------------------------------------------------- */

/* A word of a text with its value. */
struct kdi_augment_step {
    const kdi_augment *kind;
    kdi_shape shape;
    size_t value;
    uint32_t slot;   /* its number in the text: each word draws random numbers of its own */
    uint8_t fill[4]; /* the colour of what a step moves in from outside */
};

static inline double kdi_augment_number(const kdi_augment_step *step)
{
    return (double)step->value * 1e-6;
}

enum { KDI_AUGMENT_WORDS = 16, KDI_AUGMENT_TEXT = 256 };

struct kdi_augmentation {
    size_t n_steps;
    kdi_augment_step steps[KDI_AUGMENT_WORDS];
    kdi_augment_step framing; /* kind NULL: none */
    bool random;              /* two epochs may show a sample in two ways */
    bool filtered;            /* a word says by which filter pictures are resized */
    bool bicubic;         /* pictures are resized by the bicubic filter, else the bilinear one */
    bool exact;           /* JPEGs are decoded at full size */
    double mixup, cutmix; /* the parameter of the beta distribution; 0: none */
    size_t repeat;        /* times a sample is shown in an epoch that shows it */
    char text[KDI_AUGMENT_TEXT]; /* with all values, e.g. "crop:4+flip" */
};

kd_status kdi_augment_parse(kd_ctx *ctx, const char *spec, kdi_shape shape,
                            kdi_augmentation *augmentation);
/* The colour of what steps move in from outside: means [channels] of values in 0..1. */
void kdi_augment_fill(kdi_augmentation *augmentation, const float *mean, size_t channels);
/* The random numbers of a step for a sample. */
kdi_rng kdi_augment_rng(const kdi_augment_step *step, kdi_key key);
/* All steps on bytes. The result is in picture, one or other, the last two of which are scratch
 * [h,w,c]. */
const uint8_t *kdi_augment_pixels(const kdi_augmentation *augmentation, kdi_key key,
                                  const uint8_t *picture, uint8_t *one, uint8_t *other);
/* All steps on values, in place. */
void kdi_augment_values(const kdi_augmentation *augmentation, kdi_key key, const kdi_units *units,
                        float *picture);

#endif
