/* SPDX-License-Identifier: MIT
 * spec.h: what a spec string says, and what a family of networks is: its names, its keys, its
 * defaults and its graph. A new family is one file with one such record and one line in
 * models.def. */
#ifndef KDI_SPEC_H
#define KDI_SPEC_H

#include "../base/base.h"

#include <kd/model.h>

typedef struct kdi_family kdi_family;

enum kdi_head { KDI_HEAD_GAP, KDI_HEAD_FC4096 };

enum { KDI_MAX_LIST = 8 };
typedef struct kdi_list {
    int count, at[KDI_MAX_LIST];
} kdi_list;

/* The values of all keys of all families; a family sets their defaults. */
typedef struct kdi_spec {
    const kdi_family *family;
    char name[48];
    int classes, channels;
    int image[2]; /* height, width */
    /* vgg */
    int layers, norm; /* the number in the name; with batch norm */
    int head;         /* enum kdi_head */
    int dense;        /* units of each hidden layer of fc4096; 0 until complete */
    int pool4;
    double width;
    kdi_list convs, stages; /* of each stage: convolutions; channels */
    /* transformers */
    int patch, dim;
    double mlp_ratio, drop_path, eps; /* eps: of the norms; vit */
    int distilled, dist_head;         /* vit: with a distillation token; and with its head */
    int depth, heads;
    int window;                   /* swin */
    kdi_list depths, stage_heads; /* swin: of each stage */
} kdi_spec;

typedef enum kdi_key_type {
    KDI_KEY_INT,
    KDI_KEY_REAL,
    KDI_KEY_CHOICE,
    KDI_KEY_LIST,
    KDI_KEY_SIZE /* "48", or "48x96": height and width */
} kdi_key_type;

typedef struct kdi_key {
    const char *name;
    kdi_key_type type;
    size_t offset;              /* into kdi_spec: of an int, a double, a kdi_list, or int[2] */
    double low, high;           /* of a number, or of each one of a list; both included */
    const char *const *choices; /* of a choice: the int is its index; NULL ends the list */
    bool (*has)(const kdi_spec *spec); /* which networks of the family have it; NULL: all */
    /* Must it be printed: is its value another than the one that follows from the other keys? NULL:
     * it is always printed. */
    bool (*told)(const kdi_spec *spec);
} kdi_key;

struct kdi_family {
    /* The i-th name of the family, NULL past the last. */
    const char *(*name)(size_t i);
    /* Is this a name of the family? If so, the defaults of its keys are put into spec. */
    bool (*recognise)(const char *name, kdi_spec *spec);
    const kdi_key *keys; /* besides classes, image and channels */
    size_t n_keys;
    /* Fill in what depends on other keys; refuse what cannot be. */
    kd_status (*complete)(kd_ctx *ctx, kdi_spec *spec);
    /* x [N,height,width,channels] -> logits [N,classes]. opt->heads has room; a family with two
     * heads fills it. */
    kd_value (*build)(const kdi_spec *spec, kd_graph *g, kd_value x, const kd_build_opt *opt);
    /* The parameters of the layer whose size is the number of classes, e.g. "classifier.weight",
     * one after another for i = 0, 1, ...; NULL past the last. */
    const char *(*head)(const kdi_spec *spec, size_t i);
    bool transformer;
};

#define FAMILY(name) extern const kdi_family kdi_family_##name;
#include "models.def"
#undef FAMILY

/* taps.c: does somebody ask for a tap of this name? */
bool kdi_tap_wanted(const kd_build_opt *opt, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* This is the value of that name. */
void kdi_tap(const kd_build_opt *opt, kd_value value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Pixels of the map that a VGG's pools leave: axis 0 of its height, 1 of its width. */
int kdi_vgg_map(const kdi_spec *s, int axis);

/* A size as a spec has it: "48" of a square, else "48x96". Returns text. */
enum { KDI_SIZE_TEXT = 28 };
const char *kdi_size_text(const int size[2], char text[KDI_SIZE_TEXT]);
static inline bool kdi_same_size(const int a[2], const int b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

/* Parse defaults, then the spec, then changes: a key has its last value. All but the spec may be
 * NULL. */
kd_status kdi_spec_parse(kd_ctx *ctx, const char *spec, const char *defaults, const char *change,
                         kdi_spec *out);
/* In full, in the fixed order of keys. */
void kdi_spec_print(const kdi_spec *spec, char *out, size_t size);

#endif
