/* SPDX-License-Identifier: MIT
 * synthetic.c: pictures made from numbers alone, for tests and for machines without data.
 *
 * A class is three gratings: triangle waves with a direction, a wavelength, a phase and a colour. A
 * sample shows its class's gratings, moved by up to an eighth of the picture, at a random contrast
 * and brightness. A fourth grating, which does not depend on the class, and noise are added. The
 * arithmetic is of integers (a phase of 2^16 is a period), so pictures are the same on every
 * machine. Sample i has label i mod classes. */
#include "data.h"

#include <stdio.h>
#include <string.h>

enum { GRATINGS = 3, CHANNELS = 4, MAX_CYCLES = 5 };

typedef struct grating {
    uint32_t step_x, step_y, phase; /* modulo 2^16; steps are per pixel */
    int32_t colour[CHANNELS];       /* amplitudes, -64..64 */
} grating;

typedef struct job {
    kd_dataset *data;
    kd_split split;
    uint64_t seed;
    const grating *classes; /* [classes,GRATINGS] */
} job;

/* A whole number in [-limit, limit]. */
static int32_t around_zero(kdi_rng *rng, int32_t limit)
{
    return (int32_t)kdi_rng_below(rng, (uint32_t)(2 * limit + 1)) - limit;
}

/* Between 1 and MAX_CYCLES periods from top to bottom, up to that many from side to side. */
static grating draw_grating(kdi_rng *rng, size_t image)
{
    const int32_t side = (int32_t)image, most = MAX_CYCLES * 65536;
    grating g = {0};
    g.step_x = (uint32_t)(around_zero(rng, most) / side);
    g.step_y = (65536 + kdi_rng_below(rng, (MAX_CYCLES - 1) * 65536)) / (uint32_t)image;
    g.phase = kdi_rng_u32(rng);
    for (size_t c = 0; c < CHANNELS; c++) g.colour[c] = around_zero(rng, 64);
    return g;
}

/* -16384..16384, a triangle over a phase of 2^16. */
static int32_t wave(uint32_t phase)
{
    const int32_t t = (int32_t)(phase & 65535) - 32768;
    return (t < 0 ? -t : t) - 16384;
}

static uint8_t clamp_byte(int32_t x)
{
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

static void draw_sample(void *arg, size_t index, int worker)
{
    const job *j = arg;
    const kd_data_info *info = &j->data->info;
    const size_t side = info->height, channels = info->channels, label = index % info->classes;
    uint8_t *out = j->data->own_pixels[j->split] + index * kdi_dataset_bytes(j->data);
    (void)worker;
    j->data->own_labels[j->split][index] = (int32_t)label;

    kdi_rng rng = kdi_rng_make(j->seed, KDI_RNG_SYNTHETIC, 1 + (uint32_t)j->split, (uint32_t)index);
    const int32_t reach = (int32_t)side / 8;
    const uint32_t dx = (uint32_t)around_zero(&rng, reach), dy = (uint32_t)around_zero(&rng, reach);
    const int32_t contrast = 96 + (int32_t)kdi_rng_below(&rng, 161); /* of 256 */
    const int32_t brightness = 128 + around_zero(&rng, 32);
    grating g[GRATINGS + 1];
    memcpy(g, j->classes + label * GRATINGS, GRATINGS * sizeof *g);
    g[GRATINGS] = draw_grating(&rng, side);
    for (size_t i = 0; i < GRATINGS; i++) {
        g[i].phase += g[i].step_x * dx + g[i].step_y * dy;
        for (size_t c = 0; c < channels; c++) g[i].colour[c] = g[i].colour[c] * contrast / 256;
    }
    for (uint32_t y = 0; y < side; y++)
        for (uint32_t x = 0; x < side; x++) {
            int32_t sum[CHANNELS] = {0};
            for (size_t i = 0; i <= GRATINGS; i++) {
                const int32_t w = wave(g[i].phase + x * g[i].step_x + y * g[i].step_y);
                for (size_t c = 0; c < channels; c++) sum[c] += w * g[i].colour[c];
            }
            const uint32_t noise = kdi_rng_u32(&rng);
            for (size_t c = 0; c < channels; c++)
                *out++ =
                    clamp_byte(brightness + sum[c] / 16384 + (int32_t)(noise >> 8 * c & 63) - 32);
        }
}

/* ---- options --------------------------------------------------------------------------------- */

typedef struct options {
    size_t classes, image, channels, train, test, seed;
} options;

static kd_status parse(kd_ctx *ctx, const char *args, options *o)
{
    const struct {
        const char *key;
        size_t low, high, *value;
    } keys[] = {
        {"classes", 2, 1000, &o->classes},       {"image", 8, 1024, &o->image},
        {"channels", 1, CHANNELS, &o->channels}, {"train", 1, 10000000, &o->train},
        {"test", 1, 10000000, &o->test},         {"seed", 0, UINT32_MAX, &o->seed},
    };
    const size_t n = sizeof keys / sizeof *keys;
    unsigned given = 0;
    for (const char *p = args; *p;) {
        const size_t length = strcspn(p, "=,");
        size_t k = 0;
        while (k < n && (strlen(keys[k].key) != length || memcmp(keys[k].key, p, length) != 0)) k++;
        if (k == n)
            return kd_ctx_fail(
                ctx, KD_E_INVALID,
                "data set synthetic: unknown option '%.100s'; known are: classes image "
                "channels train test seed",
                p);
        if (given >> k & 1)
            return kd_ctx_fail(ctx, KD_E_INVALID, "data set synthetic: %s is given twice",
                               keys[k].key);
        given |= 1u << k;
        const char *end = NULL;
        if (p[length] != '=' ||
            !kdi_parse_size(p + length + 1, keys[k].low, keys[k].high, keys[k].value, &end) ||
            (*end && *end != ',') || (*end == ',' && !end[1]))
            return kd_ctx_fail(ctx, KD_E_INVALID,
                               "data set synthetic: '%.100s': %s must be a number from %zu to %zu",
                               p, keys[k].key, keys[k].low, keys[k].high);
        p = *end ? end + 1 : end;
    }
    return KD_OK;
}

/* Another seed makes other textures, so its classes have other names. */
static const char **name_classes(kd_dataset *data, const options *o)
{
    const char **names = kdi_pool_alloc(&data->pool, o->classes, sizeof *names);
    for (size_t k = 0; names && k < o->classes; k++) {
        char name[64];
        snprintf(name, sizeof name, "class%zu", k);
        if (o->seed) snprintf(name, sizeof name, "class%zu-seed%zu", k, o->seed);
        names[k] = kdi_pool_strdup(&data->pool, name);
        if (!names[k]) return NULL;
    }
    return names;
}

kd_status kdi_read_synthetic(kd_dataset *data, const char *args, const char *dir)
{
    options o = {.classes = 10, .image = 32, .channels = 3, .train = 2000, .test = 500};
    char name[160];
    (void)dir;
    kd_status status = parse(data->ctx, args, &o);
    if (status) return status;
    snprintf(name, sizeof name,
             "synthetic:classes=%zu,image=%zu,channels=%zu,train=%zu,test=%zu,seed=%zu", o.classes,
             o.image, o.channels, o.train, o.test, o.seed);
    const char **names = name_classes(data, &o);
    if (!names) return kd_ctx_memory_status(data->ctx);
    const kd_data_info info = {.struct_size = sizeof info,
                               .name = name,
                               .class_names = names,
                               .classes = o.classes,
                               .height = o.image,
                               .width = o.image,
                               .channels = o.channels,
                               .count = {o.train, o.test}};
    status = kdi_dataset_describe(data, &info);
    if (!status) status = kdi_dataset_reserve(data);
    if (status) return status;
    grating *classes = kdi_pool_alloc(&data->pool, o.classes * GRATINGS, sizeof *classes);
    if (!classes) return kd_ctx_memory_status(data->ctx);
    for (size_t k = 0; k < o.classes; k++) {
        kdi_rng rng = kdi_rng_make(o.seed, KDI_RNG_SYNTHETIC, 0, (uint32_t)k);
        for (size_t i = 0; i < GRATINGS; i++)
            classes[k * GRATINGS + i] = draw_grating(&rng, o.image);
    }
    for (int s = 0; s < KD_SPLIT_COUNT; s++) {
        job j = {data, (kd_split)s, o.seed, classes};
        kd_parallel_for(data->ctx, info.count[s], draw_sample, &j);
    }
    return KD_OK;
}
