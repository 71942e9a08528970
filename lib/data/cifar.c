/* SPDX-License-Identifier: MIT
 * cifar.c: CIFAR-10 and CIFAR-100 in their "binary version" (Krizhevsky, "Learning Multiple Layers
 * of Features from Tiny Images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html).
 *
 * A file is records without a header. A record has label bytes (CIFAR-10: the class; CIFAR-100: the
 * coarse class, then the fine one, which is used), then the 3072 bytes of a 32x32 picture in planes
 * of red, green and blue. In memory pictures are [32,32,3]. A file of fewer whole records than
 * published is a subset. */
#include "data.h"

#include <stdio.h>
#include <string.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, PICTURE = 3 * PLANE };

typedef struct cifar {
    const char *name, *folder, *names_file, *url;
    size_t classes, coarse;            /* coarse 0: a record has one label byte */
    const char *const *class_names;    /* [classes] */
    size_t files;                      /* of the training split; the test split has one */
    const char *names[KD_SPLIT_COUNT]; /* of the files; a train file's number comes behind */
    size_t records[KD_SPLIT_COUNT];    /* of each file, as published */
    float mean[3], std[3];
} cifar;

/* As published, for folders without the file of names. */
static const char *const names10[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                      "dog",      "frog",       "horse", "ship", "truck"};
static const char *const names100[] = {
    "apple",       "aquarium_fish", "baby",      "bear",       "beaver",       "bed",
    "bee",         "beetle",        "bicycle",   "bottle",     "bowl",         "boy",
    "bridge",      "bus",           "butterfly", "camel",      "can",          "castle",
    "caterpillar", "cattle",        "chair",     "chimpanzee", "clock",        "cloud",
    "cockroach",   "couch",         "crab",      "crocodile",  "cup",          "dinosaur",
    "dolphin",     "elephant",      "flatfish",  "forest",     "fox",          "girl",
    "hamster",     "house",         "kangaroo",  "keyboard",   "lamp",         "lawn_mower",
    "leopard",     "lion",          "lizard",    "lobster",    "man",          "maple_tree",
    "motorcycle",  "mountain",      "mouse",     "mushroom",   "oak_tree",     "orange",
    "orchid",      "otter",         "palm_tree", "pear",       "pickup_truck", "pine_tree",
    "plain",       "plate",         "poppy",     "porcupine",  "possum",       "rabbit",
    "raccoon",     "ray",           "road",      "rocket",     "rose",         "sea",
    "seal",        "shark",         "shrew",     "skunk",      "skyscraper",   "snail",
    "snake",       "spider",        "squirrel",  "streetcar",  "sunflower",    "sweet_pepper",
    "table",       "tank",          "telephone", "television", "tiger",        "tractor",
    "train",       "trout",         "tulip",     "turtle",     "wardrobe",     "whale",
    "willow_tree", "wolf",          "woman",     "worm"};

static const cifar cifar10 = {
    .name = "cifar-10",
    .folder = "cifar-10-batches-bin",
    .names_file = "batches.meta.txt",
    .url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    .classes = 10,
    .class_names = names10,
    .files = 5,
    .names = {"data_batch_", "test_batch"},
    .records = {10000, 10000},
    .mean = {.4914f, .4822f, .4465f},
    .std = {.2470f, .2435f, .2616f},
};

static const cifar cifar100 = {
    .name = "cifar-100",
    .folder = "cifar-100-binary",
    .names_file = "fine_label_names.txt",
    .url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    .classes = 100,
    .class_names = names100,
    .coarse = 20,
    .files = 1,
    .names = {"train", "test"},
    .records = {50000, 10000},
    .mean = {.5071f, .4867f, .4408f},
    .std = {.2675f, .2565f, .2761f},
};

static size_t record_bytes(const cifar *set)
{
    return (set->coarse ? 2 : 1) + PICTURE;
}

typedef char file_name[64];

static void name_file(const cifar *set, kd_split split, size_t number, file_name name)
{
    if (split == KD_SPLIT_TRAIN && set->files > 1)
        snprintf(name, sizeof(file_name), "%s%zu.bin", set->names[split], number + 1);
    else
        snprintf(name, sizeof(file_name), "%s.bin", set->names[split]);
}

/* How many records a file holds, by its size. */
static kd_status count_records(kdi_data_file *file, const cifar *set, kd_split split, size_t *count)
{
    const size_t record = record_bytes(set), whole = file->size / record;
    if (file->gzip)
        return kd_ctx_fail(file->ctx, KD_E_FORMAT, "'%s' is gzip: unpack it", file->path);
    if (file->size % record)
        return kd_ctx_fail(
            file->ctx, KD_E_FORMAT,
            "'%s': %zu bytes are no whole number of records of %zu: the last one, at "
            "offset %zu, is cut off",
            file->path, file->size, record, whole * record);
    if (whole < 1 || whole > set->records[split])
        return kd_ctx_fail(file->ctx, KD_E_FORMAT, "'%s' holds %zu records instead of %zu",
                           file->path, whole, set->records[split]);
    *count = whole;
    return KD_OK;
}

static void interleave(const uint8_t *planes, uint8_t *picture)
{
    const uint8_t *red = planes, *green = planes + PLANE, *blue = planes + 2 * PLANE;
    for (size_t i = 0; i < PLANE; i++, picture += 3) {
        picture[0] = red[i];
        picture[1] = green[i];
        picture[2] = blue[i];
    }
}

static kd_status read_records(kdi_data_file *file, const cifar *set, size_t count, uint8_t *pixels,
                              int32_t *labels)
{
    uint8_t record[2 + PICTURE];
    const size_t label_bytes = set->coarse ? 2 : 1;
    for (size_t i = 0; i < count; i++) {
        const size_t offset = file->offset;
        const kd_status status = kdi_data_file_read(file, record, label_bytes + PICTURE);
        if (status) return status;
        if (set->coarse && record[0] >= set->coarse)
            return kd_ctx_fail(file->ctx, KD_E_FORMAT,
                               "'%s': offset %zu: coarse label %d, but %zu classes", file->path,
                               offset, record[0], set->coarse);
        labels[i] = record[label_bytes - 1];
        if ((size_t)labels[i] >= set->classes)
            return kd_ctx_fail(file->ctx, KD_E_FORMAT,
                               "'%s': offset %zu: label %d, but %zu classes", file->path,
                               offset + label_bytes - 1, (int)labels[i], set->classes);
        interleave(record + label_bytes, pixels + i * PICTURE);
    }
    return kdi_data_file_end(file);
}

/* Count the records of all files of a split, or read them if data's memory is there. */
static kd_status visit_split(kd_dataset *data, const cifar *set, const char *folder, kd_split split,
                             size_t *total)
{
    const size_t files = split == KD_SPLIT_TRAIN ? set->files : 1;
    const bool reading = data->own_pixels[split] != NULL;
    size_t done = 0;
    for (size_t f = 0; f < files; f++) {
        kdi_path path;
        kdi_data_file file;
        size_t count = 0;
        file_name name;
        name_file(set, split, f, name);
        kd_status status = kdi_join(data->ctx, folder, name, &path);
        if (!status) status = kdi_data_file_open(data->ctx, path.text, &file);
        if (status) return status;
        status = count_records(&file, set, split, &count);
        /* The files may have changed since they were counted. */
        if (!status && reading && count > data->info.count[split] - done)
            status =
                kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s' has grown while it was read", path.text);
        if (!status && reading)
            status = read_records(&file, set, count, data->own_pixels[split] + done * PICTURE,
                                  data->own_labels[split] + done);
        kdi_data_file_close(&file);
        if (status) return status;
        done += count;
    }
    if (reading && done != *total)
        return kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s': files changed while they were read",
                           folder);
    *total = done;
    return KD_OK;
}

static kd_status read_cifar(kd_dataset *data, const cifar *set, const char *args, const char *dir)
{
    kd_ctx *ctx = data->ctx;
    kdi_path folders[2], folder, path;
    file_name first;
    char advice[256];
    kd_data_info info = {.struct_size = sizeof info,
                         .name = set->name,
                         .classes = set->classes,
                         .height = SIDE,
                         .width = SIDE,
                         .channels = 3,
                         .mean = set->mean,
                         .std = set->std};
    if (*args)
        return kd_ctx_fail(ctx, KD_E_INVALID, "data set '%s' has no options ('%.100s')", set->name,
                           args);
    snprintf(advice, sizeof advice, "Get %s and unpack it there (tar -xzf)", set->url);
    name_file(set, KD_SPLIT_TRAIN, 0, first);
    kd_status status = kdi_join(ctx, dir, set->folder, &folders[0]);
    if (!status) status = kdi_join(ctx, dir, "", &folders[1]);
    if (!status) status = kdi_locate(ctx, set->name, folders, 2, first, NULL, advice, &folder);
    if (!status) status = kdi_join(ctx, folder.text, set->names_file, &path);
    if (!status) status = kdi_read_names(data, path.text, set->classes, &info.class_names);
    if (!info.class_names) info.class_names = set->class_names;
    for (int s = 0; !status && s < KD_SPLIT_COUNT; s++)
        status = visit_split(data, set, folder.text, (kd_split)s, &info.count[s]);
    if (!status) status = kdi_dataset_describe(data, &info);
    if (!status) status = kdi_dataset_reserve(data);
    for (int s = 0; !status && s < KD_SPLIT_COUNT; s++)
        status = visit_split(data, set, folder.text, (kd_split)s, &info.count[s]);
    if (status) return status;
    const size_t train = set->files * set->records[KD_SPLIT_TRAIN];
    if (info.count[KD_SPLIT_TRAIN] != train || info.count[KD_SPLIT_TEST] != set->records[1])
        return kdi_dataset_remark(
            data, KD_LOG_WARN, "%s in '%.300s' is a subset: %zu + %zu pictures of %zu + %zu",
            set->name, folder.text, info.count[0], info.count[1], train, set->records[1]);
    return KD_OK;
}

kd_status kdi_read_cifar10(kd_dataset *data, const char *args, const char *dir)
{
    return read_cifar(data, &cifar10, args, dir);
}

kd_status kdi_read_cifar100(kd_dataset *data, const char *args, const char *dir)
{
    return read_cifar(data, &cifar100, args, dir);
}
