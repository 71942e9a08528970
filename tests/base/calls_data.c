/* SPDX-License-Identifier: MIT
 * calls_data.c: calls of datasets, loaders, single pictures (calls.h). */
#include "calls.h"

#include <string.h>

static kd_status call_alloc(world *w)
{
    void *block = kd_ctx_alloc(w->ctx, 100, 100);
    kd_ctx_free(w->ctx, block);
    return block ? KD_OK : kd_ctx_memory_status(w->ctx);
}

static kd_status call_dataset_open(world *w)
{
    kd_dataset *d;
    const kd_status status = kd_dataset_open(w->ctx, "synthetic:train=8,test=4", NULL, &d);
    kd_dataset_close(status ? NULL : d);
    return status;
}

static const kd_data_info small_data = {.struct_size = sizeof small_data,
                                        .classes = 3,
                                        .height = 4,
                                        .width = 4,
                                        .channels = 3,
                                        .count = {4, 4}};

static kd_status from_arrays(world *w, int borrow)
{
    static uint8_t images[2][4 * 4 * 4 * 3];
    static const int32_t labels[4] = {0, 1, 2, 1};
    const uint8_t *const both[2] = {images[0], images[1]};
    const int32_t *const label[2] = {labels, labels};
    kd_dataset *d;
    uint64_t sum;
    uint8_t one[48];
    float mean[3], std[3];
    kd_status status = kd_dataset_from_arrays(w->ctx, &small_data, both, label, borrow, &d);
    if (status) return status;
    status = kd_dataset_checksum(d, &sum);
    if (!status) status = kd_dataset_sample(d, KD_SPLIT_TEST, 3, one, NULL);
    if (!status) status = kd_dataset_measure(d, mean, std);
    kd_dataset_close(d);
    return status;
}

static kd_status call_from_arrays(world *w)
{
    const kd_status status = from_arrays(w, 0);
    return status ? status : from_arrays(w, 1);
}

static kd_status sample(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    (void)user;
    memset(image, (int)(index + split), 48);
    *label = (int32_t)index % 3;
    return KD_OK;
}

static kd_status call_from_callback(world *w)
{
    kd_dataset *d;
    uint64_t sum;
    kd_status status = kd_dataset_from_callback(w->ctx, &small_data, sample, NULL, &d);
    if (status) return status;
    status = kd_dataset_checksum(d, &sum);
    kd_dataset_close(d);
    return status;
}

static kd_status call_from_floats(world *w)
{
    static const float zeros[4 * 48];
    static const int32_t labels[4];
    const float *const images[] = {zeros, zeros};
    const int32_t *const known[] = {labels, labels};
    kd_dataset *d;
    float mean[3];
    kd_status status = kd_dataset_from_floats(w->ctx, &small_data, images, known, 0, &d);
    if (status) return status;
    status = kd_dataset_measure(d, mean, NULL);
    kd_dataset_close(d);
    return status;
}

/* One grey pixel: a PNG file. */
static const unsigned char dot[] = {0x89, 'P', 'N',  'G',  13,   10,   26,   10,   0,    0, 0, 13,
                                    'I',  'H', 'D',  'R',  0,    0,    0,    1,    0,    0, 0, 1,
                                    8,    0,   0,    0,    0,    0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0,
                                    10,   'I', 'D',  'A',  'T',  0x78, 0x9c, 0x63, 0x68, 0, 0, 0,
                                    0x82, 0,   0x81, 0x77, 0xcd, 0x72, 0xb6, 0,    0,    0, 0, 'I',
                                    'E',  'N', 'D',  0xae, 0x42, 0x60, 0x82};

static kd_status give_dot(void *user, kd_split split, size_t index, const void **bytes,
                          size_t *size, int32_t *label)
{
    (void)user, (void)split, (void)index;
    *bytes = dot;
    *size = sizeof dot;
    *label = 0;
    return KD_OK;
}

static kd_status call_from_encoded(world *w)
{
    kd_dataset *d;
    const kd_data_info info = {.struct_size = sizeof info, .classes = 1, .count = {2, 0}};
    const kd_status status = kd_dataset_from_encoded(w->ctx, &info, give_dot, NULL, &d);
    if (!status) kd_dataset_close(d);
    return status;
}

/* Without the reader of its format a picture cannot be decoded. */
static kd_status call_single(world *w)
{
    static const float half[] = {.5f, .5f, .5f};
    float out[8 * 8 * 3];
    kd_framer *framer;
    const uint8_t pixels[9 * 7 * 3] = {1};
    const kd_picture picture = {pixels, sizeof pixels, 9, 7, 3, 0};
    const kd_framer_opt opt = {.struct_size = sizeof opt, .view = {8, 8, 3, half, half}};
    kd_status status = kd_framer_create(w->ctx, &opt, &framer);
    if (status) return status;
    status = kd_framer_show(framer, &picture, out);
    kd_framer_destroy(framer);
#if KDI_PNG
    uint8_t *decoded;
    size_t h, width;
    if (!status) status = kd_picture_decode(w->ctx, dot, sizeof dot, &decoded, &h, &width);
    if (!status) kd_ctx_free(w->ctx, decoded);
#endif
    return status;
}

/* Without the readers of pictures there is nothing to open. */
static kd_status call_from_pictures(world *w)
{
#if KDI_PNG
    static const char *const paths[] = {"tests/fuzz/corpus/png/rgb", "tests/fuzz/corpus/png/grey"};
    kd_dataset *d;
    kd_status status = kd_dataset_from_pictures(w->ctx, paths, 2, &d);
    if (status) return status;
    status = kd_dataset_skip_broken(d);
    kd_dataset_close(d);
    return status;
#else
    kd_json *j;
    const kd_status status = kd_json_create(w->ctx, 0, &j);
    if (!status) kd_json_destroy(j);
    return status;
#endif
}

static kd_status call_loader(world *w)
{
    kd_loader *l;
    const kd_batch *batch;
    const kd_view views[] = {{0}, {.height = 24, .width = 40}};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .batch = 8,
                               .shuffle = 1,
                               .dev_count = 4,
                               .augment = "crop-flip+cutout:8",
                               .n_views = 2,
                               .views = views};
    kd_status status = kd_loader_create(w->data, &opt, &l);
    if (status) return status;
    status = kd_loader_next(l, &batch);
    if (!status) status = kd_loader_seek(l, 3, 1);
    if (!status) status = kd_loader_next(l, &batch);
    kd_loader_close(l);
    return status;
}

static kd_status call_loader_next(world *w)
{
    const kd_batch *batch;
    const kd_status status = kd_loader_next(w->loader, &batch);
    return status ? status : kd_loader_seek(w->loader, 0, 0);
}

static const call calls[] = {
    {call_alloc, "kd_ctx_alloc"},
    {call_dataset_open, "kd_dataset_open"},
    {call_from_arrays,
     "kd_dataset_from_arrays kd_dataset_checksum kd_dataset_sample kd_dataset_measure"},
    {call_from_callback, "kd_dataset_from_callback"},
    {call_from_floats, "kd_dataset_from_floats"},
    {call_from_encoded, "kd_dataset_from_encoded"},
    {call_single, "kd_framer_create kd_framer_show kd_picture_decode"},
    {call_from_pictures, "kd_dataset_from_pictures kd_dataset_skip_broken"},
    {call_loader, "kd_loader_create"},
    {call_loader_next, "kd_loader_next kd_loader_seek"},
};

const call_list calls_data = {calls, sizeof calls / sizeof *calls};
