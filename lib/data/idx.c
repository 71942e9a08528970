/* SPDX-License-Identifier: MIT
 * idx.c: the idx format of MNIST and its kin, and Fashion-MNIST in it (Xiao et al., 2017;
 * https://github.com/zalandoresearch/fashion-mnist).
 *
 * A file is big-endian: bytes 0, 0, the type (8: uint8), the number of dimensions, each dimension
 * as uint32, then the values. Pictures [n,28,28] are grey; we hold them as [n,32,32,1] with 2
 * pixels of black on every side, so that networks for 32x32 fit. Files may be gzipped. */
#include "data.h"

#include <stdio.h>
#include <string.h>

enum {
    FILE_SIDE = 28,
    PAD = 2,
    SIDE = FILE_SIDE + 2 * PAD,
    CLASSES = 10,
    TRAIN = 60000,
    TEST = 10000
};

static const char *const file_names[KD_SPLIT_COUNT][2] = {
    {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
    {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
};

static const char *const class_names[CLASSES] = {
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot",
};

/* Of the padded training pictures. */
static const float fashion_mean[1] = {.2190f}, fashion_std[1] = {.3318f};

static kd_status open_either(kd_ctx *ctx, const char *folder, const char *name, kdi_path *path,
                             kdi_data_file *file)
{
    char gz[64];
    snprintf(gz, sizeof gz, "%s.gz", name);
    kd_status status = kdi_join(ctx, folder, name, path);
    if (!status && !kdi_exists(path->text)) status = kdi_join(ctx, folder, gz, path);
    return status ? status : kdi_data_file_open(ctx, path->text, file);
}

/* Read the header of a file of uint8 with so many dimensions. */
static kd_status read_header(kdi_data_file *file, size_t dims, size_t *sizes)
{
    uint8_t head[4 + 4 * 3];
    kd_status status = kdi_data_file_read(file, head, 4);
    if (status) return status;
    if (head[0] != 0 || head[1] != 0 || head[2] != 8 || head[3] != dims)
        return kd_ctx_fail(
            file->ctx, KD_E_FORMAT,
            "'%s': offset 0: no idx file of bytes with %zu dimensions (it starts with "
            "%02x %02x %02x %02x)",
            file->path, dims, head[0], head[1], head[2], head[3]);
    status = kdi_data_file_read(file, head + 4, 4 * dims);
    for (size_t d = 0; !status && d < dims; d++) {
        const uint8_t *p = head + 4 + 4 * d;
        sizes[d] = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | (size_t)p[3];
    }
    return status;
}

/* How many samples a split's images file says it holds, if so many can be in it. */
static kd_status count_images(kd_ctx *ctx, const char *folder, kd_split split, size_t *count)
{
    kdi_path path;
    kdi_data_file file;
    size_t sizes[3] = {0};
    kd_status status = open_either(ctx, folder, file_names[split][0], &path, &file);
    if (status) return status;
    const size_t most = split == KD_SPLIT_TRAIN ? TRAIN : TEST;
    status = read_header(&file, 3, sizes);
    if (!status && (sizes[1] != FILE_SIDE || sizes[2] != FILE_SIDE))
        status = kd_ctx_fail(ctx, KD_E_FORMAT, "'%s': offset 8: pictures of %zux%zu, not %dx%d",
                             path.text, sizes[1], sizes[2], FILE_SIDE, FILE_SIDE);
    if (!status && (sizes[0] < 1 || sizes[0] > most))
        status = kd_ctx_fail(ctx, KD_E_FORMAT, "'%s': offset 4: %zu pictures, not 1..%zu",
                             path.text, sizes[0], most);
    if (!status && 16 + sizes[0] * FILE_SIDE * FILE_SIDE > kdi_data_file_limit(&file))
        status = kd_ctx_fail(ctx, KD_E_FORMAT,
                             "'%s': offset 4: %zu pictures cannot be in a file of %zu bytes",
                             path.text, sizes[0], file.size);
    if (!status) *count = sizes[0];
    kdi_data_file_close(&file);
    return status;
}

static kd_status read_images(kd_dataset *data, const char *folder, kd_split split)
{
    kdi_path path;
    kdi_data_file file;
    size_t sizes[3] = {0};
    uint8_t picture[FILE_SIDE * FILE_SIDE];
    kd_status status = open_either(data->ctx, folder, file_names[split][0], &path, &file);
    if (status) return status;
    const size_t count = data->info.count[split];
    status = read_header(&file, 3, sizes);
    if (!status && (sizes[0] != count || sizes[1] != FILE_SIDE || sizes[2] != FILE_SIDE))
        status = kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s' changed while it was read", path.text);
    for (size_t i = 0; !status && i < count; i++) {
        uint8_t *out = data->own_pixels[split] + (i * SIDE + PAD) * SIDE + PAD;
        status = kdi_data_file_read(&file, picture, sizeof picture);
        for (size_t y = 0; !status && y < FILE_SIDE; y++)
            memcpy(out + y * SIDE, picture + y * FILE_SIDE, FILE_SIDE);
    }
    if (!status) status = kdi_data_file_end(&file);
    kdi_data_file_close(&file);
    return status;
}

static kd_status read_labels(kd_dataset *data, const char *folder, kd_split split)
{
    kdi_path path;
    kdi_data_file file;
    size_t found = 0;
    kd_status status = open_either(data->ctx, folder, file_names[split][1], &path, &file);
    if (status) return status;
    const size_t count = data->info.count[split];
    status = read_header(&file, 1, &found);
    if (!status && found != count)
        status = kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s': offset 4: %zu labels for %zu pictures",
                             path.text, found, count);
    for (size_t i = 0, n; !status && i < count; i += n) {
        uint8_t chunk[1024];
        const size_t offset = file.offset;
        n = count - i < sizeof chunk ? count - i : sizeof chunk;
        status = kdi_data_file_read(&file, chunk, n);
        for (size_t j = 0; !status && j < n; j++) {
            data->own_labels[split][i + j] = chunk[j];
            if (chunk[j] >= CLASSES)
                status = kd_ctx_fail(data->ctx, KD_E_FORMAT,
                                     "'%s': offset %zu: label %d, but %d classes", path.text,
                                     offset + j, chunk[j], CLASSES);
        }
    }
    if (!status) status = kdi_data_file_end(&file);
    kdi_data_file_close(&file);
    return status;
}

kd_status kdi_read_fashion_mnist(kd_dataset *data, const char *args, const char *dir)
{
    kd_ctx *ctx = data->ctx;
    kdi_path folders[4], folder;
    kd_data_info info = {.struct_size = sizeof info,
                         .name = "fashion-mnist",
                         .classes = CLASSES,
                         .height = SIDE,
                         .width = SIDE,
                         .channels = 1,
                         .mean = fashion_mean,
                         .std = fashion_std,
                         .class_names = class_names};
    if (*args)
        return kd_ctx_fail(ctx, KD_E_INVALID, "data set '%s' has no options ('%.100s')", info.name,
                           args);
    kd_status status = kdi_join(ctx, dir, "", &folders[0]);
    if (!status) status = kdi_join(ctx, dir, "fashion-mnist", &folders[1]);
    if (!status) status = kdi_join(ctx, dir, "FashionMNIST/raw", &folders[2]);
    if (!status) status = kdi_join(ctx, "/usr/share/datasets/fashion-mnist", "", &folders[3]);
    if (!status)
        status =
            kdi_locate(ctx, info.name, folders, 4, file_names[0][0], "train-images-idx3-ubyte.gz",
                       "Install Debian's package dataset-fashion-mnist, or get the four files "
                       "from https://github.com/zalandoresearch/fashion-mnist",
                       &folder);
    for (int s = 0; !status && s < KD_SPLIT_COUNT; s++)
        status = count_images(ctx, folder.text, (kd_split)s, &info.count[s]);
    if (!status) status = kdi_dataset_describe(data, &info);
    if (!status) status = kdi_dataset_reserve(data);
    for (int s = 0; !status && s < KD_SPLIT_COUNT; s++) {
        status = read_images(data, folder.text, (kd_split)s);
        if (!status) status = read_labels(data, folder.text, (kd_split)s);
    }
    if (!status && (info.count[0] != TRAIN || info.count[1] != TEST))
        status = kdi_dataset_remark(
            data, KD_LOG_WARN, "%s in '%.300s' is a subset: %zu + %zu pictures of %d + %d",
            info.name, folder.text, info.count[0], info.count[1], TRAIN, TEST);
    return status;
}
