/* SPDX-License-Identifier: MIT
 * data.h: data sets, and loaders that turn them into batches ahead of their use.
 *
 * A data set is labelled pictures of one size in two splits. Pictures are uint8 [height, width,
 * channels] until the loader normalises them to float32 NHWC. A data set does not change once it is
 * open; several loaders may read one at the same time.
 *
 * Threads are as in ctx.h for the calls of this header. Loaders have threads of their own beside
 * them: these call the allocator and the caller's functions (kd_sample_fn, kd_encoded_fn), never
 * the logger. Functions that return no kd_status don't fail. */
#ifndef KD_DATA_H
#define KD_DATA_H

#include <kd/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kd_dataset kd_dataset;
typedef struct kd_loader kd_loader;

typedef enum kd_split { KD_SPLIT_TRAIN, KD_SPLIT_TEST, KD_SPLIT_COUNT } kd_split;

/* ---- data sets ------------------------------------------------------------------------------- */

/* What is known of a data set. The library gives one out (kd_dataset_info), and takes one in for
 * the caller's own data, where struct_size must be set. */
typedef struct kd_data_info {
    size_t struct_size;             /* sizeof(kd_data_info) */
    const char *name;               /* opens it again: "cifar-10"; NULL for the caller's: "data" */
    size_t classes;                 /* labels are in [0, classes) */
    size_t height, width, channels; /* of a picture: 1..65536 each, 1..64 channels */
    size_t count[KD_SPLIT_COUNT];   /* samples of each split, fewer than 2^32; 0 is allowed */
    const float *mean, *std;        /* [channels] of the training split: of pixels in 0..1, of
                                     * floats in their unit. NULL for the caller's: 0.5 and 0.25,
                                     * a guess, of floats 0 and 1. kd_dataset_measure tells the
                                     * right ones */
    const char *const *class_names; /* [classes], or NULL */
    const char *guess; /* the library's: what mean and std are where they were not measured on
                        * these pictures; logged where a network takes them. NULL: no guess */
    int unlabelled;    /* the training split has no labels: they are 0 and mean nothing. It serves
                         * distillation with a weight of the labels of 0 alone */
} kd_data_info;

/* Open a data set by its name; what follows a ':' in the name is the reader's own.
 *
 *   cifar-10       DIR/cifar-10-batches-bin or DIR: data_batch_1.bin ... data_batch_5.bin,
 *                  test_batch.bin; batches.meta.txt if there. 32x32x3
 *   cifar-100      DIR/cifar-100-binary or DIR: train.bin, test.bin with the 100 fine labels;
 *                  fine_label_names.txt if there. 32x32x3. Without their files of names both
 *                  CIFARs have the published ones
 *   fashion-mnist  DIR, DIR/fashion-mnist, DIR/FashionMNIST/raw or
 *                  /usr/share/datasets/fashion-mnist: {train,t10k}-{images-idx3,labels-idx1}-ubyte,
 *                  gzipped (.gz) or not. The 28x28 grey pictures get 2 pixels of black on every
 *                  side: 32x32x1
 *   folder         folder:PATH, picture files in ImageNet's layout: PATH/train/CLASS/...,
 *                  PATH/val/CLASS/... (or test/); without either, PATH/CLASS/... is the test split.
 *                  Pictures in train/ or PATH itself, without folders of classes beside them, are a
 *                  training split without labels.
 *                  PATH as it is, else below DIR. JPEG (grey, CMYK too) and PNG, told by content,
 *                  not by ending (EXIF's orientation is ignored); classes and samples in
 *                  torchvision's order. What is passed over or looks like a mistake is noted:
 *                  kd_dataset_note. Files are decoded
 *                  when a loader wants them. Pictures have sizes of their own: a loader frames them
 *                  at its views' size (kd_loader_opt.augment); what info and kd_dataset_sample give
 *                  is the centre at 224x224x3. Mean and deviation are ImageNet's
 *   synthetic      pictures with class-dependent textures, made on the spot from numbers alone:
 *                  the same on every machine; its classes are "class0", "class1" and so on, with
 *                  a seed other than 0 "class0-seed1". Options, with their defaults:
 *                  synthetic:classes=10,image=32,channels=3,train=2000,test=500,seed=0
 *
 * dir NULL: the environment's KD_DATA, else "data". The named sets are read into memory, which
 * takes their size in bytes: 184 MB for each of the CIFARs, 72 MB for Fashion-MNIST.
 *
 * A set that is not there is KD_E_NOTFOUND; the error says where it was looked for and how to get
 * it. A file that is too short, too long or holds what it cannot hold is KD_E_FORMAT, with its name
 * and the offset. A file may hold fewer pictures than published (a subset): that is logged. */
KD_API kd_status kd_dataset_open(kd_ctx *ctx, const char *name, const char *dir, kd_dataset **out);
/* The names there are, in order, without what follows a ':': "cifar-10"; NULL past the last. */
KD_API const char *kd_dataset_name_at(size_t i);

/* A data set from arrays: images[split] is [count, height, width, channels], labels[split] [count];
 * both may be NULL where the count is 0. Copied, unless borrow is non-zero: then they must stay as
 * they are until the data set is closed. info is copied. KD_E_INVALID: a number of info or a label is
 * out of its range, or two classes have one name. A mean is in [0,1], a deviation in (0,1]. The
 * error says which. */
KD_API kd_status kd_dataset_from_arrays(kd_ctx *ctx, const kd_data_info *info,
                                        const uint8_t *const images[KD_SPLIT_COUNT],
                                        const int32_t *const labels[KD_SPLIT_COUNT], int borrow,
                                        kd_dataset **out);

/* The same of floats: images[split] is [count, height, width, channels], numbers in the unit of
 * info's mean and std (0 and 1 where they are NULL): a loader gives (x - mean) / std. The mean may
 * be any finite number, the deviation any above 0. Where they are pictures, let them be 0..1, so
 * that the network can be shown bytes later: see kd_model_take_normalization. Numbers that are not
 * finite are KD_E_INVALID, and so is what else kd_dataset_from_arrays refuses. Steps that move
 * pixels or work on normalised values are done (crop, flip, altflip, cutout, erase, mixup, cutmix,
 * repeat); those that compute with bytes are KD_E_UNSUPPORTED. */
KD_API kd_status kd_dataset_from_floats(kd_ctx *ctx, const kd_data_info *info,
                                        const float *const images[KD_SPLIT_COUNT],
                                        const int32_t *const labels[KD_SPLIT_COUNT], int borrow,
                                        kd_dataset **out);

/* Fill image [height, width, channels] and *label for sample index of a split: always the same for
 * the same index. Called one at a time, from the threads of loaders and, within kd_dataset_sample,
 * kd_dataset_checksum and kd_dataset_measure, from the caller's; it must not call back into this
 * data set or its loaders. Anything but KD_OK comes out of kd_loader_next, with the words of
 * kd_ctx_fail if fn called that on the data set's context, which it may in any thread:
 * `return kd_ctx_fail(ctx, KD_E_IO, "frame %d is dark", n)`. */
typedef kd_status (*kd_sample_fn)(void *user, kd_split split, size_t index, uint8_t *image,
                                  int32_t *label);
/* Samples that fn makes when a loader wants them. info is copied; its errors are those of
 * kd_dataset_from_arrays. KD_E_SYSTEM: there is no mutex to be had. */
KD_API kd_status kd_dataset_from_callback(kd_ctx *ctx, const kd_data_info *info, kd_sample_fn fn,
                                          void *user, kd_dataset **out);

/* Say where the JPEG or PNG file of sample index lies in memory, and its *label. The bytes must
 * stay as they are until the data set is closed. Called as a kd_sample_fn is, and errors come out
 * as its. */
typedef kd_status (*kd_encoded_fn)(void *user, kd_split split, size_t index, const void **bytes,
                                   size_t *size, int32_t *label);
/* Picture files in memory, decoded when a loader wants them: as folder: has them, framed by a
 * loader at its views' size. info: classes, count, names; what is 0 or NULL in height and width is
 * 224, in channels 3 (nothing else is possible), in mean and std ImageNet's. Errors are those of
 * kd_dataset_from_callback. */
KD_API kd_status kd_dataset_from_encoded(kd_ctx *ctx, const kd_data_info *info, kd_encoded_fn fn,
                                         void *user, kd_dataset **out);

/* A test split of picture files as in folder:, each with label 0 and without class names: for
 * predictions. paths [count] are copied. A file is opened when it is wanted: what is wrong with it
 * is told then. */
KD_API kd_status kd_dataset_from_pictures(kd_ctx *ctx, const char *const *paths, size_t count,
                                          kd_dataset **out);

/* From now on samples that cannot be read (a broken file, one that is gone) are left out of their
 * batches, which get shorter, instead of being an error; each is logged once. Before its loaders
 * are made. KD_E_INVALID where the pictures are in memory already. */
KD_API kd_status kd_dataset_skip_broken(kd_dataset *data);
/* How many different samples have been left out so far. Any thread. */
KD_API size_t kd_dataset_broken(const kd_dataset *data);

/* Valid until the data set is closed. */
KD_API const kd_data_info *kd_dataset_info(const kd_dataset *data);

/* Sentence number i about what is odd in a data set and its reader noticed: files that were passed
 * over, classes without pictures, a folder that is not read, a normalisation that is a guess. NULL
 * past the last. Each was logged, too, when the data set was opened (KD_LOG_WARN, or KD_LOG_INFO
 * where nothing need be done). Valid until the data set is closed. */
KD_API const char *kd_dataset_note(const kd_dataset *data, size_t i);

/* How pictures are framed when a network is evaluated with this set: "none" where all have info's
 * size, "centre:0.875+bilinear" for picture files. kd_loader_opt.augment takes the text, so that it
 * can be kept with a network and used for other pictures. Valid until the data set is closed. */
KD_API const char *kd_dataset_framing(const kd_dataset *data);

/* Mean and standard deviation of the training split's pixels in 0..1, for each channel; mean and
 * std are [channels], each may be NULL. Over all pixels of all pictures, divided by their number;
 * computed in double from exact counts: the same bits for any number of threads. Reads and decodes
 * every training picture; files' pictures are measured as kd_dataset_sample gives them. The data
 * set stays as it is: give the result to kd_view or, for the caller's own data, to kd_data_info.
 * Where all pixels of a channel are alike the deviation is 0, by which nothing can be normalised.
 * Pictures that kd_dataset_skip_broken allows to be left out are. Of a set of floats both are in
 * the unit of its numbers.
 *
 *   KD_E_INVALID  there are no training pictures, or none of them can be read
 *   KD_E_STOPPED  kd_ctx_cancel
 *   others        of the first picture that cannot be read */
KD_API kd_status kd_dataset_measure(kd_dataset *data, float *mean, float *std);

/* Copy one sample as it is stored: image [height, width, channels], label; each may be NULL. Of a
 * set of floats image is NULL, else KD_E_UNSUPPORTED. KD_E_INVALID: there is no such split or
 * sample. A sample that cannot be read is the error that a loader would give. */
KD_API kd_status kd_dataset_sample(kd_dataset *data, kd_split split, size_t index, uint8_t *image,
                                   int32_t *label);

/* A 64-bit sum over the shape, every pixel and every label, the same on every machine; reads all
 * samples at the first call and remembers. It tells data sets apart; it is not cryptographic.
 *
 * Of picture files it is over their order, labels and sizes in bytes, the names below the split's
 * folder (of kd_dataset_from_pictures: no names), and the first 16 KiB of 1,024 of them, evenly
 * spread; of all if they are fewer. Where the folder lies, and how its path was typed, makes no
 * difference. A sample that cannot be read is an error. kd_ctx_cancel is KD_E_STOPPED, unless
 * the sum is known already. */
KD_API kd_status kd_dataset_checksum(kd_dataset *data, uint64_t *checksum);

/* Close its loaders first. NULL is allowed. */
KD_API void kd_dataset_close(kd_dataset *data);

/* ---- loaders --------------------------------------------------------------------------------- */

/* One form in which a batch is wanted, e.g. the student's or a teacher's. Zero or NULL: as the data
 * set has it. Views of one batch show the same augmented pictures, erased and cut out parts
 * included, whatever their channels and normalisation.
 *
 * A value is (x / 255 - mean) / std. Pictures are augmented at the data set's size, or, where a
 * step frames them (rrc, centre), at the largest view's. Another size is reached by bilinear
 * resizing of the normalised picture, with antialiasing where it shrinks (what torchvision's
 * Resize(antialias=True) does to a float tensor). Grey data (1 channel) can be asked for in more
 * channels: the grey is repeated, and so are the data's mean and std where the view has none of its
 * own. Any other difference of channels is KD_E_INVALID. */
typedef struct kd_view {
    size_t height, width, channels;
    /* [channels] of the view, also where the data have fewer; read during kd_loader_create only */
    const float *mean, *std;
} kd_view;

enum { KD_LOADER_SYNC = -1, KD_LOADER_DEPTH = 2, KD_LOADER_BATCH = 128 };

typedef struct kd_loader_opt {
    size_t struct_size; /* sizeof(kd_loader_opt) */
    kd_split split;
    /* A development split: dev_count samples of the split, a random choice that depends on dev_seed
     * alone, are set aside. dev 0: this loader gives the others; 1: it gives those. */
    size_t dev_count;
    uint64_t dev_seed;
    int dev;
    size_t first, count; /* of what that leaves, in order of index, only these; count 0: the rest */
    size_t batch;        /* samples in a batch; 0: KD_LOADER_BATCH */
    int shuffle;         /* a new order each epoch, by seed and epoch alone; 0: in order of index */
    int drop_last;       /* leave out the last batch of an epoch if it is short; an epoch of less
                          * than one batch is then KD_E_INVALID */
    /* Steps joined by '+' or '-', e.g. "crop-flip+cutout:8". NULL: "auto" for the training split
     * (without its development part), kd_dataset_framing otherwise. What a step does to a sample
     * depends on seed, epoch and the sample's index alone (of mixing: and on its batch's).
     *   none            nothing. Pictures with sizes of their own must be brought to the views': it
     *                   is centre:1 for them
     *   auto            imagenet-train for folder:, crop-flip for other sets
     *   imagenet-train  rrc+flip
     *   imagenet-eval   centre
     *   deit            rrc+bicubic+flip+randaugment+erase+mixup+cutmix+repeat
     *   swin            deit without repeat
     *   crop[:PAD]      pad by PAD (4) black pixels, cut out at a random place
     *   flip            mirror left to right, every other time by chance
     *   altflip         the same, but chance decides once a sample: later epochs alternate
     *   cutout[:SIZE]   a square of SIZE (half the height) around a random pixel becomes the data
     *                   set's mean colour: 0 in its normalisation
     *   rrc[:SCALE]     a random part of SCALE (0.08) to all of the area, 3:4 to 4:3, resized to
     *                   the largest view (torchvision's RandomResizedCrop)
     *   centre[:SHARE]  resized so that the largest view takes SHARE (0.875) of the shorter side,
     *                   then its centre (Resize and CenterCrop); 1: the centre square, resized. A
     *                   picture of exactly the largest view's size stays as it is, whatever SHARE.
     *                   Picture files without rrc are framed by it anyway
     *   bilinear, bicubic  how these resize, always with antialiasing: as Pillow does
     *   exact           from all pixels: else a JPEG of which rrc shows a part more than six times
     *                   the canvas is decoded at 1/2, 1/4 or 1/8 of its size, which is quicker
     *   randaugment[:M] RandAugment of magnitude M (9), timm's rand-mM-mstd0.5-inc1
     *   erase[:P]       with probability P (0.25) a random rectangle becomes noise: N(0, 1) in the
     *                   data set's normalisation
     *   mixup[:A], cutmix[:A]  sample i of a batch and sample n-1-i are mixed, shares drawn from
     *                   Beta(A, A), A 0.8 and 1; both: one of them by chance. See kd_batch
     *   repeat[:K]      repeated augmentation: an epoch has a K-th (3) of the samples, each K times
     * Steps on normalised values (cutout, erase) come after those on pixels, mixing at the end. A
     * value may also follow '=': "mixup=0.8". */
    const char *augment;
    uint64_t seed;
    int depth;            /* batches prepared ahead by a thread of the loader; 0: KD_LOADER_DEPTH;
                           * KD_LOADER_SYNC: no thread, kd_loader_next does the work itself */
    size_t n_views;       /* 0: one view, as the data set has it */
    const kd_view *views; /* [n_views] */
    int threads; /* that share a batch's work; 0: the context's number for folder:, else 1. With
                  * KD_LOADER_SYNC more than 1 means the context's parallel-for. Changes no
                  * result */
    /* Where a step frames the pictures, it does so at this size or larger, as if there were such a
     * view, too; 0: at the largest view's. */
    size_t canvas_height, canvas_width;
    /* Epoch e augments as epoch e mod cycle does; 0: each epoch in a way of its own. The order of
     * the samples is each epoch's own; with mixup, cutmix, repeat or drop_last it is that of epoch
     * e mod cycle, too. */
    size_t cycle;
} kd_loader_opt;

/* Made by the loader; read only. Valid until the next call on the loader. */
typedef struct kd_batch {
    size_t n;            /* samples: kd_loader_opt.batch, or fewer in an epoch's last batch, and
                          * where broken ones are skipped; 0 only where all of them were */
    size_t epoch, index; /* index of the batch within the epoch */
    size_t n_views;
    const float *const *views; /* [n_views] of [n, height, width, channels] */
    const int32_t *labels;     /* [n] */
    const uint32_t *ids;       /* [n] indices of the samples within the split */
    const uint32_t *copies;    /* [n] which showing of the sample in this epoch: see repeat */
    /* With mixup or cutmix: of picture i, shares[i] is of class labels[i], the rest of class
     * partners[i]. Else both NULL. */
    const int32_t *partners; /* [n] */
    const float *shares;     /* [n] in 0..1 */
} kd_batch;

/* opt NULL: all defaults. All memory is allocated here, (depth + 1) * batch pictures of each view,
 * but for what decoding a large file takes. KD_E_INVALID: a number or a step of opt is out of its
 * range (depth -1..1024, threads 0..256), or it leaves no samples. KD_E_UNSUPPORTED: a set of
 * floats has no such step. KD_E_SYSTEM: there is no thread to be had. The loader's thread blocks
 * signals, so that the program's handlers run elsewhere. A loader does not survive fork: in the
 * child it can only be closed. */
KD_API kd_status kd_loader_create(kd_dataset *data, const kd_loader_opt *opt, kd_loader **out);

/* The next batch; after an epoch's last comes the first of the next epoch, without end. Waits for
 * it. A sample that cannot be read is an error that stays until a seek: KD_E_FORMAT, KD_E_IO and
 * the like, or what the caller's function returned. KD_E_STOPPED: kd_ctx_cancel; it does not stay.
 * KD_E_SYSTEM: the loader was made before a fork. On failure *batch is NULL. */
KD_API kd_status kd_loader_next(kd_loader *loader, const kd_batch **batch);

/* Go on with that batch of that epoch (below 2^31); index = kd_loader_batches means the next
 * epoch's first. What then comes is the same as if the loader had run up to there. Waits for a
 * sample that is just being read. KD_E_INVALID: there is no such batch; KD_E_SYSTEM: as
 * kd_loader_next. */
KD_API kd_status kd_loader_seek(kd_loader *loader, size_t epoch, size_t index);

/* Non-zero: pictures are mixed, and batches have partners and shares. */
KD_API int kd_loader_mixes(const kd_loader *loader);
/* Non-zero: a step of the augmentation draws random numbers, so that an epoch shows other pictures,
 * or other samples, than the next. */
KD_API int kd_loader_draws(const kd_loader *loader);

/* The size at which pictures are augmented, into *height and *width. Non-zero: a step frames them,
 * and the size follows from the views. */
KD_API int kd_loader_canvas(const kd_loader *loader, size_t *height, size_t *width);

/* Batches, and samples, in an epoch; samples that drop_last leaves out are not counted, broken ones
 * that are skipped are. */
KD_API size_t kd_loader_batches(const kd_loader *loader);
KD_API size_t kd_loader_samples(const kd_loader *loader);

/* The augmentation with all its values, e.g. "crop:4+flip"; "none" if there is none. Valid until
 * the loader is closed. */
KD_API const char *kd_loader_augment(const kd_loader *loader);

/* Seconds that calls of kd_loader_next have waited for data so far. */
KD_API double kd_loader_seconds_waited(const kd_loader *loader);

/* Stops the thread, at whatever it is, and waits for its end. NULL is allowed. */
KD_API void kd_loader_close(kd_loader *loader);

/* ---- single pictures ------------------------------------------------------------------------- */

/* A picture in the caller's memory: `height` rows, each `stride` bytes after the one before, of
 * `width` pixels of `channels` bytes; RGB where there are three. An element of arrays: it does not
 * grow. */
typedef struct kd_picture {
    const uint8_t *pixels;
    size_t bytes;         /* of the memory: nothing beyond is read */
    size_t height, width; /* 1..65535 each */
    size_t channels;      /* 1 to 64 */
    size_t stride;        /* 0: width * channels */
} kd_picture;

/* What bytes of a JPEG or PNG file show: *pixels [height, width, 3] RGB, to be freed with
 * kd_ctx_free; grey is repeated, palettes are looked up, alpha is dropped, EXIF's orientation
 * ignored. On failure *pixels is NULL:
 *
 *   KD_E_INVALID      an argument is NULL
 *   KD_E_FORMAT       neither JPEG nor PNG, or broken, or cut off; sides above 65535, more than
 *                     2^27 pixels, or more than so few bytes can hold
 *   KD_E_UNSUPPORTED  the library was built without that format
 *   KD_E_LIMIT, KD_E_NOMEM */
KD_API kd_status kd_picture_decode(kd_ctx *ctx, const void *bytes, size_t size, uint8_t **pixels,
                                   size_t *height, size_t *width);

/* Makes of pictures of any size what a network wants to see: framed, resized, normalised. To the
 * bit what a loader over picture files does. Used by one thread at a time; two may run at once. */
typedef struct kd_framer kd_framer;
typedef struct kd_framer_opt {
    size_t struct_size; /* sizeof(kd_framer_opt) */
    kd_view view;       /* all of it: the size wanted, and [channels] mean and deviation */
    /* As kd_loader_opt.augment: one of centre and none (the middle square), with bilinear or bicubic;
     * nothing that leaves something to chance. NULL: "centre:0.875+bilinear". A picture of exactly the
     * view's size stays as it is. */
    const char *framing;
    /* Memory for pictures up to this size is taken when the framer is made: nothing is allocated for
     * them later. A larger one is framed, too; its memory is then kept. 0: of the view's size. */
    size_t height, width;
} kd_framer_opt;
/* On failure *framer is NULL: KD_E_INVALID for a view without size or normalisation, or a text that
 * is no framing; KD_E_LIMIT, KD_E_NOMEM. */
KD_API kd_status kd_framer_create(kd_ctx *ctx, const kd_framer_opt *opt, kd_framer **framer);
/* The picture as out [view.height, view.width, view.channels]. Its channels are the view's, or 1:
 * then the grey is repeated.
 *
 *   KD_E_INVALID            pixels is NULL
 *                           a side is 0 or above 65535
 *                           the stride is shorter than a row
 *                           the bytes end before the last row does
 *   KD_E_SHAPE              other channels
 *   KD_E_LIMIT, KD_E_NOMEM  a picture larger than was reserved for */
KD_API kd_status kd_framer_show(kd_framer *framer, const kd_picture *picture, float *out);
/* NULL is allowed. */
KD_API void kd_framer_destroy(kd_framer *framer);

#ifdef __cplusplus
}
#endif
#endif
