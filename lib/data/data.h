/* SPDX-License-Identifier: MIT
 * data.h: the inside of the data room.
 *
 * A reader fills a kd_dataset: pixels in memory, or a function that fetches one sample. A pipeline
 * turns (epoch, batch index) into a batch: order, augmentation, views; it knows no threads. The
 * loader runs a pipeline ahead of its consumer. Nothing below kdi_pipeline_fill allocates or
 * touches the context, since it runs in the loader's thread: so an error is
 * written into a kdi_failure. */
#ifndef KDI_DATA_H
#define KDI_DATA_H

#include "augment.h"

#include <kd/data.h>

#include <stdatomic.h>

/* An error that a thread without the context writes down, for the one that has it. status KD_OK:
 * none. */
typedef struct kdi_failure {
    kd_status status;
    char text[960];
} kdi_failure;

kd_status kdi_failure_set(kdi_failure *failure, kd_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- data sets (dataset.c) ------------------------------------------------------------------- */

/* Fill image [h,w,c] and *label. May run in several loaders' threads at once. */
typedef kd_status (*kdi_fetch_fn)(const kd_dataset *data, kd_split split, size_t index,
                                  uint8_t *image, int32_t *label, kdi_failure *failure);

/* For sets whose pictures have sizes of their own: one picture at info's size, as an evaluation sees
 * it. That size, where nobody says another: */
enum { KDI_NOMINAL_SIDE = 224 };
kd_status kdi_fetch_centre(const kd_dataset *data, kd_split split, size_t index, uint8_t *image,
                           int32_t *label, kdi_failure *failure);
/* ImageNet's mean and standard deviation serve for all photographs; what to say of that guess. */
extern const float kdi_photo_mean[3], kdi_photo_std[3];
#define KDI_PHOTO_GUESS "ImageNet's mean and standard deviation, not measured on these pictures"

struct kdi_decoder;
/* Open the sample's picture, of whatever size, in the decoder; fill *label. As kdi_fetch_fn. */
typedef kd_status (*kdi_open_fn)(const kd_dataset *data, kd_split split, size_t index,
                                 struct kdi_decoder *decoder, int32_t *label, kdi_failure *failure);

/* The path of the sample's file; false: it is too long, and cut off. */
typedef bool (*kdi_where_fn)(const kd_dataset *data, kd_split split, size_t index, char *path,
                             size_t size);

struct kd_dataset {
    kd_ctx *ctx;
    kd_data_info info; /* its strings and arrays live in the pool */
    kdi_pool pool;
    bool has_mean, has_std;                /* info's were given, not guessed */
    bool floats;                           /* an element of a picture is a float, not a byte */
    const void *pixels[KD_SPLIT_COUNT];    /* [count,h,w,c], or NULL where fetch is set */
    const int32_t *labels[KD_SPLIT_COUNT]; /* [count] */
    uint8_t *own_pixels[KD_SPLIT_COUNT];   /* what close frees */
    int32_t *own_labels[KD_SPLIT_COUNT];
    kdi_fetch_fn fetch; /* NULL: everything is in memory */
    kdi_open_fn open;   /* pictures have sizes of their own, and info's is only
                                        * what fetch gives; NULL: all are of info's size */
    kdi_where_fn where; /* NULL: samples lie in no files of their own */
    kd_status (*fingerprint)(const kd_dataset *data, uint64_t *sum); /* the checksum; NULL: of all
                                                                      * samples */
    void (*release)(kd_dataset *data); /* frees state; NULL: nothing to do */
    void *state;                       /* the reader's */
    uint64_t checksum;
    bool checksum_known;
    bool skip_broken;
    const char **remarks; /* [n_remarks] what is odd, for kd_dataset_note */
    size_t n_remarks, remark_capacity;
    atomic_uchar *broken[KD_SPLIT_COUNT]; /* [count] 1: cannot be read; NULL unless skip_broken */
    atomic_size_t n_broken;
};

/* How an evaluation frames pictures that have sizes of their own: torchvision's Resize(256) and
 * CenterCrop(224), for any size. */
#define KDI_FRAMING_SHARE "centre:0.875"
#define KDI_FRAMING KDI_FRAMING_SHARE "+bilinear"

/* An empty data set; NULL, with the context's error, without memory. */
kd_dataset *kdi_dataset_make(kd_ctx *ctx);
/* The end of making: *out is data if status is KD_OK. Otherwise data is closed. */
kd_status kdi_dataset_finish(kd_dataset *data, kd_status status, kd_dataset **out);

/* Log a sentence about what is odd in the data set, and keep it for kd_dataset_note. */
kd_status kdi_dataset_remark(kd_dataset *data, kd_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* May a sample be left out that failed with this status? */
bool kdi_dataset_may_skip(const kd_dataset *data, kd_status status);
/* The same, and if so the sample is counted. *fresh: it was not counted before. */
bool kdi_dataset_skips(kd_dataset *data, kd_split split, size_t index, kd_status status,
                       bool *fresh);
/* Put the sample's data set, split, number and file before the failure's text. */
void kdi_dataset_blame(const kd_dataset *data, kd_split split, size_t index, kdi_failure *failure);

/* Checks info and copies it into data: names, means and all. Readers call it first. */
kd_status kdi_dataset_describe(kd_dataset *data, const kd_data_info *info);

/* Memory of data's own for the pixels and labels of every split. Readers fill it. */
kd_status kdi_dataset_reserve(kd_dataset *data);

/* Bytes of one picture. */
size_t kdi_dataset_bytes(const kd_dataset *data);

/* The sample's pixels [h,w,c]: in place where they are in memory, else fetched into scratch. NULL,
 * with *failure filled in, if that fails. The label is checked. */
const uint8_t *kdi_dataset_look(const kd_dataset *data, kd_split split, size_t index,
                                uint8_t *scratch, int32_t *label, kdi_failure *failure);

/* A reader: args is what follows the ':' in the name, "" if nothing does. On failure the caller
 * closes data, whatever state it is in. */
typedef kd_status (*kdi_reader_fn)(kd_dataset *data, const char *args, const char *dir);
#define READER(name, function)                                                                     \
    kd_status function(kd_dataset *data, const char *args, const char *dir);
#include "readers.def"
#undef READER

/* The data set of kd_dataset_from_pictures. */
kd_status kdi_read_pictures(kd_dataset *data, const char *const *paths, size_t count);

/* ---- files (data_file.c) --------------------------------------------------------------------- */

typedef struct kdi_path {
    char text[4096];
} kdi_path;

/* A file read from front to end, unpacked on the way if it is gzip. */
typedef struct kdi_data_file {
    kd_ctx *ctx;
    const char *path; /* the caller's, for error texts */
    int fd;
    size_t size;   /* bytes of the file */
    size_t offset; /* bytes handed out so far, unpacked */
    struct kdi_gzip *gzip;
} kdi_data_file;

/* path must stay valid until close. A gzip file is known by its first bytes. Anything but a
 * regular file is refused. On failure there is nothing to close. */
kd_status kdi_data_file_open(kd_ctx *ctx, const char *path, kdi_data_file *file);
/* The most bytes the file can unpack to: a header that promises more is lying. */
size_t kdi_data_file_limit(const kdi_data_file *file);
/* Exactly count bytes: fewer is KD_E_FORMAT. */
kd_status kdi_data_file_read(kdi_data_file *file, void *bytes, size_t count);
/* The file must end here (and a gzip file's check sum must be right), else KD_E_FORMAT. */
kd_status kdi_data_file_end(kdi_data_file *file);
void kdi_data_file_close(kdi_data_file *file);

/* Join a folder and a name into path; KD_E_INVALID if that is too long. */
kd_status kdi_join(kd_ctx *ctx, const char *folder, const char *name, kdi_path *path);
bool kdi_exists(const char *path);

/* The first of count folders that holds one of two marker files (the second may be NULL) is copied
 * to found; else KD_E_NOTFOUND with the folders and advice, which says how to get the set. */
kd_status kdi_locate(kd_ctx *ctx, const char *set, const kdi_path *folders, size_t count,
                     const char *marker, const char *other_marker, const char *advice,
                     kdi_path *found);

/* The class names of a text file, one a line, as an array [classes] in data's pool; *names stays
 * NULL if there is no such file. */
kd_status kdi_read_names(kd_dataset *data, const char *path, size_t classes,
                         const char *const **names);

/* ---- resizing (resize_view.c) --------------------------------------------------------------------- */

/* Output i is the sum over t < taps of weight[i * taps + t] * input[first[i] + t]. */
typedef struct kdi_axis {
    size_t in, out, taps;
    size_t *first; /* [out]; first[i] + taps <= in */
    float *weight; /* [out,taps] */
} kdi_axis;

kd_status kdi_axis_make(kd_ctx *ctx, size_t in, size_t out, kdi_axis *axis);
void kdi_axis_free(kd_ctx *ctx, kdi_axis *axis);
/* src [y.in, x.in, c] to dst [y.out, x.out, c]; scratch holds y.in * x.out * c floats. */
void kdi_resize(const kdi_axis *y, const kdi_axis *x, size_t c, const float *src, float *scratch,
                float *dst);

/* ---- batches (pipeline.c) -------------------------------------------------------------------- */

/* One view, ready to be made. */
typedef struct kdi_view {
    kdi_shape shape;
    float *table; /* [channels,256]: a byte's normalised value */
    kdi_units units;
    float *factors;          /* [4,channels] the units' scale and offset, mean and std */
    const float *mean, *std; /* [channels] */
    bool resized;
    kdi_axis y, x; /* where resized */
} kdi_view;

typedef struct kdi_pipeline {
    kd_dataset *data;
    kd_split split;
    uint64_t seed;
    bool shuffle;
    kdi_shape canvas;               /* what pictures are augmented at, before they become views; c:
                                     * bytes of a pixel */
    size_t batch, batches, samples; /* in a batch; in an epoch */
    kdi_shape least;                /* of the canvas, where a step frames pictures */
    size_t cycle;                   /* kd_loader_opt.cycle */
    bool order_cycles;              /* the order of samples does, too */
    size_t count;                   /* members */
    uint32_t *members;              /* [count] ids, ascending */
    uint32_t *order;                /* [count] members in the order of order_epoch */
    size_t order_epoch;             /* SIZE_MAX: none yet */
    kdi_augmentation augmentation;
    bool mixes; /* two samples become two mixtures */
    size_t n_views;
    kdi_view *views; /* [n_views] */
    size_t n_workers;
    struct kdi_worker *workers; /* [n_workers] */
} kdi_pipeline;

/* The memory of one batch. */
typedef struct kdi_slot {
    kd_batch batch;      /* first: a batch is found in its slot */
    float **buffers;     /* [n_views] of [batch,H,W,C] */
    const float **views; /* the same, for reading */
    int32_t *labels;
    uint32_t *ids, *copies;
    int32_t *partners;     /* labels of what is mixed in */
    float *shares;         /* of the label itself */
    unsigned char *bad;    /* [batch] 1: left out */
    size_t made;           /* samples, those left out among them */
    kdi_failure *failures; /* [batch], NULL unless broken samples are left out: why a sample
                         * that was not counted before is left out; status KD_OK: none */
} kdi_slot;

/* How the pieces of a batch are shared out: call fn(arg, i, w) for all i below count, w below the
 * pipeline's workers telling apart those that run at once. */
typedef void (*kdi_spread_fn)(void *user, size_t count, kd_task_fn fn, void *arg);

/* On failure there is nothing to free. */
kd_status kdi_pipeline_make(kd_dataset *data, const kd_loader_opt *opt, size_t workers,
                            kdi_pipeline *pipeline);
void kdi_pipeline_free(kdi_pipeline *pipeline);
kd_status kdi_slot_make(const kdi_pipeline *pipeline, kdi_slot *slot);
void kdi_slot_free(const kdi_pipeline *pipeline, kdi_slot *slot);
/* Make one batch. Gives up with KD_E_STOPPED soon after *cancel becomes true. */
kd_status kdi_pipeline_fill(kdi_pipeline *pipeline, size_t epoch, size_t index, kdi_slot *slot,
                            kdi_spread_fn spread, void *user, const atomic_bool *cancel,
                            kdi_failure *failure);

#endif
