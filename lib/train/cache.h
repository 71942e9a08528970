/* SPDX-License-Identifier: MIT
 * cache.h: a teacher cache from the inside (docs/formats.md). It is a folder with what its rows are
 * of (cache.json, the key) and a safetensors file for each epoch, with a row for each picture shown.
 * A row has logits of the teachers, and features, which are taps of one teacher by name. */
#ifndef KDT_CACHE_H
#define KDT_CACHE_H

#include <kd/kd.h>

#include <stdbool.h>

enum {
    KDT_FEATURES = 16,                                     /* of a cache at most */
    KDT_SEGMENTS = 2 * KD_MAX_TEACHERS + KDT_FEATURES + 1, /* tensors of an epoch's file */
    KDT_NO_EPOCH = INT32_MAX
};

/* A tap of the teacher that rows hold. */
typedef struct kdt_feature {
    char name[KD_TAP_NAME];
    kd_shape shape; /* [N, ...] */
    size_t size;    /* floats of a picture */
} kdt_feature;

/* What a row holds of each teacher. */
typedef struct kdt_row_form {
    size_t classes; /* 0: there are features, and no logits */
    size_t teachers;
    size_t n_features; /* of a teacher that is the only one */
    kdt_feature feature[KDT_FEATURES];
    size_t top; /* 0: all classes */
    bool half;
} kdt_row_form;

/* One tensor of an epoch's file, [rows, width]. */
typedef struct kdt_segment {
    char name[KD_TAP_NAME + 16];
    kd_dtype dtype;
    size_t width;
    size_t bytes;    /* of a row */
    uint64_t offset; /* of the tensor, from the beginning of the file */
} kdt_segment;

/* An epoch's file: the first segment is "rows" (kdt_mark), the others are logits and features. */
typedef struct kdt_layout {
    kdt_row_form form;
    size_t rows;
    kdt_segment segment[KDT_SEGMENTS];
    size_t n_segments;
    size_t row_bytes; /* of the other segments together, as kdt_row_encode packs them */
    uint64_t file_bytes;
    char *header; /* the file's first bytes */
    size_t header_bytes;
} kdt_layout;

/* "rows": says that a row is there. All zero: it is not. */
typedef struct kdt_mark {
    uint32_t id;  /* of the picture within the split, plus one */
    uint32_t sum; /* over the epoch's number, id and bytes */
} kdt_mark;

/* cache_features.c: "embedding=512,stages.3=4x4x256" */
void kdt_features_print(const kdt_row_form *form, char *out, size_t size);
/* False: the text is none, or of more than a cache can have. */
bool kdt_features_read(const char *text, kdt_row_form *form);
/* NULL: there is no feature of this name. */
const kdt_feature *kdt_features_named(const kdt_row_form *form, const char *name);
/* The names alone, to be read: "embedding, stages.3"; of none "no features". */
void kdt_features_names(const kdt_row_form *form, char *out, size_t size);
/* Append a tap of this shape. False: its rows are not one a picture, or there are too many. */
bool kdt_features_add(kdt_row_form *form, const char *name, const kd_shape *shape);

/* cache_row.c */
/* The layout of files with this key's hash. Free it with kdt_layout_free. */
kd_status kdt_layout_make(kd_ctx *ctx, const kdt_row_form *form, size_t rows, uint64_t key,
                          kdt_layout *layout);
void kdt_layout_free(kd_ctx *ctx, kdt_layout *layout);
/* logits[t]: a row of `classes` floats of teacher t; features[i]: feature i's. False: one is not
 * finite, or too large. */
bool kdt_row_encode(const kdt_layout *layout, const float *const *logits,
                    const float *const *features, unsigned char *bytes);
/* False: what the bytes say is no row. logits NULL, a feature NULL: not asked for. */
bool kdt_row_decode(const kdt_layout *layout, const unsigned char *bytes, float *const *logits,
                    float *const *features);
/* Of a row of that epoch's file: a row that lies in another file has another sum. */
uint32_t kdt_row_sum(const kdt_layout *layout, size_t epoch, uint32_t id,
                     const unsigned char *bytes);

/* An epoch's file that is open: a complete one, or one that this process fills. */
typedef struct kdt_epoch_file {
    kd_ctx *ctx;
    const kdt_layout *layout;
    const char *folder;
    uint64_t key;
    size_t epoch;
    kd_file *file; /* NULL: there is none yet */
    const kd_file_tensor *tensors[KDT_SEGMENTS];
    int part;      /* descriptor of the unfinished file, locked; -1: none */
    size_t filled; /* rows of the unfinished file */
} kdt_epoch_file;

/* cache_epoch.c */
void kdt_epoch_path(const char *folder, size_t epoch, bool finished, char *out, size_t size);
/* The complete file of an epoch. KD_E_NOTFOUND: there is none. */
kd_status kdt_epoch_open(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                         size_t epoch, kdt_epoch_file *out);
/* The same of a file that is open; it is closed with the epoch, or when this fails. */
kd_status kdt_epoch_adopt(kd_ctx *ctx, const kdt_layout *layout, uint64_t key, kd_file *file,
                          kdt_epoch_file *out);
/* The unfinished one, to look at. KD_E_NOTFOUND: there is none. */
kd_status kdt_epoch_look(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                         size_t epoch, kdt_epoch_file *out);
/* The unfinished one, made if need be. Where another process fills it, or it cannot be written, out
 * holds nothing, and KD_OK: a cache that cannot be written is no reason to end a run. */
kd_status kdt_epoch_begin(kd_ctx *ctx, const kdt_layout *layout, const char *folder, uint64_t key,
                          size_t epoch, kdt_epoch_file *out);
void kdt_epoch_close(kdt_epoch_file *e);
/* All zero where the row is missing, or the file has no marks. */
kd_status kdt_epoch_mark(kdt_epoch_file *e, size_t row, kdt_mark *mark);
/* A row's bytes. *there: false where the row is missing; in a complete file a row that is damaged is
 * KD_E_FORMAT, in an unfinished one it is missing. */
kd_status kdt_epoch_read(kdt_epoch_file *e, size_t row, uint32_t id, unsigned char *bytes,
                         bool *there);
/* False: the disk is full, or broken; then nothing more is written. */
bool kdt_epoch_write(kdt_epoch_file *e, size_t row, uint32_t id, const unsigned char *bytes);
/* The unfinished file takes the complete one's name. */
void kdt_epoch_finish(kdt_epoch_file *e);

/* What cache.json says of the rows. */
typedef struct kdt_key_facts {
    kdt_row_form form;
    size_t rows, cycle, teacher_batch;
    bool by_sample;
    bool any_augmentation; /* the logits go with any view of the picture */
    size_t height[KD_MAX_TEACHERS], width[KD_MAX_TEACHERS]; /* of their pictures; 0: unknown */
} kdt_key_facts;

/* A cache as a feed uses it. */
typedef struct kdt_cache {
    kd_ctx *ctx;
    const char *folder;
    kd_json_object *key; /* what cache.json says; NULL: there is none yet */
    char *unwritten;     /* the text that cache.json gets with the first epoch; NULL: it is there */
    kdt_key_facts facts; /* the same */
    uint64_t key_hash;   /* of its text */
    size_t unwritten_size;
    bool by_sample; /* a row's number is the picture's; else its place in the epoch */
    size_t cycle;   /* epoch e is file e mod cycle; 0: file e */
    kdt_layout layout;
    kdt_epoch_file now;
    size_t visited;       /* batches of this epoch that went by, from its first on */
    unsigned char *bytes; /* of a row */
} kdt_cache;

#endif
