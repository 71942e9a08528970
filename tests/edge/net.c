/* SPDX-License-Identifier: MIT
 * net.c: writes .kde blobs of described layers: shapes, places in the arena, sections. */
#include "net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64, its upper half */
uint32_t net_random_bits(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static int32_t between(uint64_t *state, int32_t low, int32_t high)
{
    return low + (int32_t)(net_random_bits(state) % (uint32_t)(high - low + 1));
}

static float unit(uint64_t *state)
{
    return (float)net_random_bits(state) * 0x1p-31f - 1;
}

/* ---- the blob grows --------------------------------------------------------------------------- */

typedef struct file {
    uint8_t *bytes;
    uint32_t size, room;
} file;

static uint32_t align(uint32_t n)
{
    return (n + 15) & ~15u;
}

static uint32_t append(file *f, const void *bytes, uint32_t n)
{
    const uint32_t at = f->size;
    if (at + align(n) > f->room) {
        f->room = align(2 * (at + n));
        uint8_t *more = aligned_alloc(16, f->room);
        if (at) memcpy(more, f->bytes, at);
        free(f->bytes);
        f->bytes = more;
    }
    memset(f->bytes + at, 0, align(n));
    if (bytes) memcpy(f->bytes + at, bytes, n);
    f->size = at + align(n);
    return at;
}

/* ---- places in the arena ---------------------------------------------------------------------- */

typedef struct map {
    uint32_t height, width, channels, at, bytes;
    int last; /* the last layer that reads it */
} map;

typedef struct place {
    map maps[NET_LAYERS + 1];
    kd_edge_conv conv[NET_LAYERS]; /* of convolutions: the record, without weights */
    uint32_t scratch[NET_LAYERS];
    uint32_t arena;
} place;

static int apart(uint32_t a, uint32_t a_bytes, uint32_t b, uint32_t b_bytes)
{
    return a + a_bytes <= b || b + b_bytes <= a;
}

/* May layer `i` use [at, at + bytes)? own: the map that its output may lie over, or -1. */
static int is_free(const net *from, const place *p, int i, uint32_t at, uint32_t bytes, int own)
{
    for (int t = 0; t <= i; t++) {
        const map *m = &p->maps[t];
        if (m->last < i && !from->apart) continue;
        if (t == own || apart(at, bytes, m->at, m->bytes)) continue;
        return 0;
    }
    if (from->apart)
        for (int k = 0; k < i; k++)
            if (!apart(at, bytes, p->conv[k].scratch, p->scratch[k])) return 0;
    return 1;
}

/* Where layer i's output may begin if it lies over its input; -1: nowhere. */
static int64_t over_input(const net *from, const place *p, int i)
{
    const net_layer *layer = &from->layers[i];
    const map *in = &p->maps[layer->from];
    if (from->apart || in->last > i) return -1;
    if (layer->op == KD_EDGE_OP_CONV2D && p->conv[i].rows)
        return (int64_t)in->at - kd_edge_conv_lead(&p->conv[i], from->type);
    if (layer->op == KD_EDGE_OP_ADD && layer->from != layer->with) return in->at;
    const int pool = layer->op == KD_EDGE_OP_MAX_POOL || layer->op == KD_EDGE_OP_AVG_POOL;
    if (pool && layer->kernel_height == layer->stride_height &&
        layer->kernel_width == layer->stride_width && !layer->pad_top && !layer->pad_left)
        return in->at;
    return -1;
}

static void place_layer(const net *from, place *p, int i)
{
    const net_layer *layer = &from->layers[i];
    map *out = &p->maps[i + 1];
    const int64_t over = over_input(from, p, i);
    const int exact = layer->op != KD_EDGE_OP_CONV2D; /* over the input only at its very place */
    for (out->at = 0;; out->at += 16) {
        const int on_top = exact ? out->at == over : out->at <= over;
        if (is_free(from, p, i, out->at, out->bytes, on_top ? layer->from : -1)) break;
    }
    if (p->arena < out->at + out->bytes) p->arena = out->at + out->bytes;
    if (layer->op != KD_EDGE_OP_CONV2D) return;
    kd_edge_conv *conv = &p->conv[i];
    conv->in = p->maps[layer->from].at;
    conv->out = out->at;
    const uint32_t bytes = p->scratch[i] = kd_edge_conv_scratch(conv, from->type);
    if (!bytes) return;
    while (!is_free(from, p, i, conv->scratch, bytes, -1) ||
           !apart(conv->scratch, bytes, out->at, out->bytes))
        conv->scratch += 16;
    if (p->arena < conv->scratch + bytes) p->arena = conv->scratch + bytes;
}

/* ---- shapes ----------------------------------------------------------------------------------- */

static uint32_t outputs(uint32_t in, uint32_t kernel, uint32_t stride, uint32_t pad)
{
    return (in + 2 * pad - kernel) / stride + 1;
}

static void shape_conv(const net *from, const net_layer *layer, const map *in, map *out,
                       kd_edge_conv *conv)
{
    const uint8_t pool = layer->pool ? layer->pool : 1;
    const int linear = layer->op == KD_EDGE_OP_LINEAR;
    const uint32_t all = in->height * in->width * in->channels;
    *conv = (kd_edge_conv){.op = layer->op, .bytes = sizeof *conv, .pool = pool};
    conv->in_height = linear ? 1 : (uint16_t)in->height;
    conv->in_width = linear ? 1 : (uint16_t)in->width;
    conv->in_channels = linear ? (uint16_t)all : (uint16_t)in->channels;
    conv->kernel_height = layer->kernel_height, conv->kernel_width = layer->kernel_width;
    conv->stride_height = layer->stride_height, conv->stride_width = layer->stride_width;
    conv->pad_top = layer->pad_top, conv->pad_left = layer->pad_left;
    uint32_t height = layer->out_height, width = layer->out_width;
    if (!height)
        height =
            outputs(conv->in_height, layer->kernel_height, layer->stride_height, layer->pad_top) /
            pool;
    if (!width)
        width = outputs(conv->in_width, layer->kernel_width, layer->stride_width, layer->pad_left) /
                pool;
    conv->out_height = (uint16_t)height, conv->out_width = (uint16_t)width;
    conv->out_channels = layer->out_channels;
    const uint32_t below = (height * pool - 1) * layer->stride_height + layer->kernel_height;
    const uint32_t right = (width * pool - 1) * layer->stride_width + layer->kernel_width;
    const int padded =
        layer->pad_top || layer->pad_left || below > conv->in_height || right > conv->in_width;
    const int pixels = from->type == KD_EDGE_FLOAT32 && layer->from == 0;
    if (!linear && (padded || layer->lines || pixels))
        conv->rows = (uint8_t)(layer->kernel_height + (pool - 1) * layer->stride_height);
    if (pixels) conv->flags |= KD_EDGE_PIXELS;
    if (from->sums && layer == &from->layers[from->n - 1]) conv->flags |= KD_EDGE_SUMS;
    *out = (map){.height = height, .width = width, .channels = layer->out_channels};
}

static void shape_layer(const net *from, place *p, int i)
{
    const net_layer *layer = &from->layers[i];
    map *in = &p->maps[layer->from], *out = &p->maps[i + 1];
    if (layer->op == KD_EDGE_OP_CONV2D || layer->op == KD_EDGE_OP_LINEAR)
        shape_conv(from, layer, in, out, &p->conv[i]);
    else if (layer->op == KD_EDGE_OP_ADD)
        *out = *in;
    else
        *out = (map){
            .height =
                outputs(in->height, layer->kernel_height, layer->stride_height, layer->pad_top),
            .width = outputs(in->width, layer->kernel_width, layer->stride_width, layer->pad_left),
            .channels = in->channels};
    const int wide = from->type == KD_EDGE_FLOAT32 || (p->conv[i].flags & KD_EDGE_SUMS);
    out->bytes = out->height * out->width * out->channels * (wide ? 4 : 1);
    out->last = i + 1;
    in->last = i;
    if (layer->op == KD_EDGE_OP_ADD) p->maps[layer->with].last = i;
}

static void place_net(const net *from, place *p)
{
    memset(p, 0, sizeof *p);
    map *picture = &p->maps[0];
    *picture = (map){.height = from->height, .width = from->width, .channels = from->channels};
    picture->bytes = from->height * from->width * (uint32_t)from->channels;
    for (int i = 0; i < from->n; i++) shape_layer(from, p, i);
    const net_layer *first = &from->layers[0];
    if (!from->apart && first->op == KD_EDGE_OP_CONV2D && picture->last == 0 && p->conv[0].rows) {
        const int64_t lead = kd_edge_conv_lead(&p->conv[0], from->type);
        picture->at = lead > 0 ? align((uint32_t)lead) : 0;
    }
    p->arena = picture->at + picture->bytes;
    for (int i = 0; i < from->n; i++) place_layer(from, p, i);
}

/* ---- weights ---------------------------------------------------------------------------------- */

static int32_t multiplier(uint64_t *state, uint8_t kind, double spread)
{
    static const int32_t ends[] = {0, 1, 1 << 15, KD_EDGE_MOST_MULTIPLIER, 12345678};
    if (kind == NET_EXTREME) return ends[net_random_bits(state) % 5];
    const double m = (30 + 20 * unit(state)) / spread;
    return (int32_t)fmin(m * 0x1p31, KD_EDGE_MOST_MULTIPLIER);
}

static void write_i8(file *f, kd_edge_conv *conv, const net *from, uint64_t *state)
{
    const uint32_t taps = (uint32_t)conv->kernel_height * conv->kernel_width * conv->in_channels;
    const uint32_t row = (taps + 3) & ~3u, n = conv->out_channels;
    const double spread = 60 * 73 * sqrt(taps);
    int8_t *w = calloc(n, row);
    int32_t *bias = calloc(n, 4), *multipliers = calloc(n, 4);
    for (uint32_t c = 0; c < n; c++) {
        const int extreme = from->kind == NET_EXTREME;
        for (uint32_t k = 0; k < taps; k++)
            w[c * row + k] = (int8_t)(!extreme     ? between(state, -127, 127)
                                      : c % 3 == 0 ? -128
                                      : c % 3 == 1 ? 127
                                                   : between(state, 0, 1) * 255 - 128);
        bias[c] = extreme ? between(state, -1, 1) * KD_EDGE_MOST_BIAS
                          : (int32_t)(spread * unit(state) / 2);
        multipliers[c] = multiplier(state, from->kind, spread);
    }
    conv->weights = append(f, w, n * row);
    conv->bias = append(f, bias, 4 * n);
    conv->multipliers = append(f, multipliers, 4 * n);
    free(w), free(bias), free(multipliers);
}

static void write_f32(file *f, kd_edge_conv *conv, uint64_t *state, int pixels)
{
    const uint32_t taps = (uint32_t)conv->kernel_height * conv->kernel_width * conv->in_channels;
    const uint32_t row = (taps + 3) & ~3u, n = conv->out_channels;
    const float scale = sqrtf(3.0f / (float)taps) / (pixels ? 128.0f : 1.0f);
    float *w = calloc(n, 4 * row), *bias = calloc(n, 4);
    for (uint32_t c = 0; c < n; c++) {
        for (uint32_t k = 0; k < taps; k++) w[c * row + k] = scale * unit(state);
        bias[c] = unit(state) / 4;
    }
    conv->weights = append(f, w, 4 * n * row);
    conv->bias = append(f, bias, 4 * n);
    free(w), free(bias);
}

static void write_conv(file *f, kd_edge_conv *conv, const net *from, const net_layer *layer,
                       uint64_t *state)
{
    if (from->type == KD_EDGE_INT8) {
        write_i8(f, conv, from, state);
        conv->zero = between(state, -20, 20);
        conv->low.i = conv->flags & KD_EDGE_SUMS ? INT32_MIN : layer->relu ? conv->zero : -128;
        conv->high.i = conv->flags & KD_EDGE_SUMS ? INT32_MAX : 127;
        const int32_t pad = between(state, -128, 127);
        for (int i = 0; i < 4; i++) conv->pad[i].i = layer->from ? pad : between(state, -128, 127);
    } else {
        write_f32(f, conv, state, conv->flags & KD_EDGE_PIXELS);
        conv->low.f = layer->relu ? 0 : -3e38f;
        conv->high.f = layer->relu == 2 ? 6 : 3e38f;
        for (int i = 0; i < 4; i++) conv->pad[i].f = layer->from ? 0 : 128 + 100 * unit(state);
    }
}

static kd_edge_pool make_pool(const net *from, const place *p, int i, uint64_t *state)
{
    const net_layer *layer = &from->layers[i];
    const map *in = &p->maps[layer->from], *out = &p->maps[i + 1];
    kd_edge_pool pool = {.op = layer->op, .bytes = sizeof pool, .in = in->at, .out = out->at};
    pool.in_height = (uint16_t)in->height, pool.in_width = (uint16_t)in->width;
    pool.channels = (uint16_t)in->channels;
    pool.out_height = (uint16_t)out->height, pool.out_width = (uint16_t)out->width;
    pool.kernel_height = layer->kernel_height, pool.kernel_width = layer->kernel_width;
    pool.stride_height = layer->stride_height, pool.stride_width = layer->stride_width;
    pool.pad_top = layer->pad_top, pool.pad_left = layer->pad_left;
    if (from->type == KD_EDGE_FLOAT32) {
        pool.low.f = -3e38f, pool.high.f = 3e38f;
    } else if (layer->op == KD_EDGE_OP_AVG_POOL) {
        const int32_t n = layer->kernel_height * layer->kernel_width;
        const int extreme = from->kind == NET_EXTREME;
        pool.bias = extreme ? between(state, -1, 1) * KD_EDGE_MOST_BIAS : n * between(state, -9, 9);
        pool.multiplier = extreme ? multiplier(state, from->kind, 1)
                                  : (int32_t)fmin(0x1p31 / n, KD_EDGE_MOST_MULTIPLIER);
        pool.zero = between(state, -9, 9);
        pool.low.i = -128, pool.high.i = 127;
    }
    return pool;
}

static kd_edge_sum make_sum(const net *from, const place *p, int i, uint64_t *state)
{
    const net_layer *layer = &from->layers[i];
    const map *a = &p->maps[layer->from], *b = &p->maps[layer->with], *out = &p->maps[i + 1];
    kd_edge_sum sum = {.op = layer->op, .bytes = sizeof sum, .a = a->at, .b = b->at};
    sum.out = out->at;
    sum.height = (uint16_t)out->height, sum.width = (uint16_t)out->width;
    sum.channels = (uint16_t)out->channels;
    if (from->type == KD_EDGE_FLOAT32) {
        sum.low.f = layer->relu ? 0 : -3e38f, sum.high.f = 3e38f;
        return sum;
    }
    sum.low.i = layer->relu ? 0 : -128, sum.high.i = 127;
    sum.shift = from->kind == NET_EXTREME ? (uint16_t)between(state, 1, 24) : 20;
    const int32_t most = 1 << 21;
    sum.a_multiplier =
        from->kind == NET_EXTREME ? between(state, -1, 1) * most : between(state, 1 << 18, 1 << 20);
    sum.b_multiplier =
        from->kind == NET_EXTREME ? between(state, -1, 1) * most : between(state, 1 << 18, 1 << 20);
    sum.constant = from->kind == NET_EXTREME ? between(state, -1, 1) * (1 << 30) : 1 << 19;
    return sum;
}

/* ---- the whole -------------------------------------------------------------------------------- */

static void append_texts(file *f, const char *stem, int n, uint32_t *at, uint32_t *bytes)
{
    char *texts = malloc((size_t)n * 24);
    *bytes = 0;
    for (int i = 0; i < n; i++)
        *bytes += 1 + (uint32_t)snprintf(texts + *bytes, 24, "%s%02d", stem, i);
    *at = append(f, texts, *bytes);
    free(texts);
}

void net_seal(uint8_t *blob)
{
    kd_edge_header header;
    memcpy(&header, blob, sizeof header);
    header.crc = kd_edge_crc32(0, blob + 16, header.bytes - 16);
    memcpy(blob, &header, sizeof header);
}

static void append_test(file *f, const net *from, kd_edge_header *header, uint32_t output_bytes)
{
    kd_edge_test test = {KD_EDGE_TEST_NOISE, (uint32_t)from->seed + 1, output_bytes, 0};
    const uint32_t input_bytes = from->height * (uint32_t)from->width * from->channels;
    if (from->picture) test.kind = KD_EDGE_TEST_PICTURE, test.input_bytes = input_bytes;
    header->test_at = append(f, &test, sizeof test);
    uint32_t end = append(f, 0, output_bytes) + align(output_bytes);
    uint8_t *pixels = malloc(input_bytes);
    kd_edge_noise(test.seed, pixels, input_bytes);
    if (from->picture) end = append(f, pixels, input_bytes) + input_bytes;
    header->test_bytes = end - header->test_at;
    header->bytes = f->size;
    memcpy(f->bytes, header, sizeof *header);
    uint8_t *output = malloc(output_bytes);
    net_reference(f->bytes, pixels, output);
    memcpy(f->bytes + header->test_at + sizeof test, output, output_bytes);
    free(pixels), free(output);
}

uint8_t *net_write(const net *from, uint32_t *bytes)
{
    uint64_t state = from->seed;
    place *p = malloc(sizeof *p);
    place_net(from, p);
    file f = {0};
    append(&f, 0, sizeof(kd_edge_header));
    uint8_t *records = calloc(NET_LAYERS, sizeof(kd_edge_conv));
    uint32_t records_bytes = 0;
    for (int i = 0; i < from->n; i++) {
        const net_layer *layer = &from->layers[i];
        kd_edge_pool pool;
        kd_edge_sum sum;
        kd_edge_conv *conv = &p->conv[i];
        const void *record = conv;
        uint32_t size = sizeof *conv;
        if (layer->op == KD_EDGE_OP_ADD)
            sum = make_sum(from, p, i, &state), record = &sum, size = sizeof sum;
        else if (layer->op == KD_EDGE_OP_MAX_POOL || layer->op == KD_EDGE_OP_AVG_POOL)
            pool = make_pool(from, p, i, &state), record = &pool, size = sizeof pool;
        else {
            write_conv(&f, conv, from, layer, &state);
            conv->in = p->maps[layer->from].at;
            conv->out = p->maps[i + 1].at;
        }
        memcpy(records + records_bytes, record, size);
        records_bytes += size;
    }
    const map *last = &p->maps[from->n];
    kd_edge_header header = {.magic = KD_EDGE_MAGIC, .version = KD_EDGE_VERSION};
    header.rounding = KD_EDGE_ROUNDING;
    header.type = from->type;
    header.output_type = from->sums ? KD_EDGE_INT32 : from->type;
    header.records = (uint16_t)from->n;
    header.records_at = append(&f, records, records_bytes);
    header.arena_bytes = p->arena;
    header.input_height = from->height, header.input_width = from->width;
    header.input_channels = from->channels;
    header.classes = (uint16_t)(last->height * last->width * last->channels);
    header.input_at = p->maps[0].at;
    header.output_at = last->at;
    header.output_scale = 1;
    if (from->labels) {
        append_texts(&f, "class ", header.classes, &header.labels_at, &header.labels_bytes);
        append_texts(&f, "layer ", from->n, &header.names_at, &header.names_bytes);
        append_texts(&f, "net ", 1, &header.spec_at, &header.spec_bytes);
    }
    append_test(&f, from, &header, last->bytes);
    net_seal(f.bytes);
    free(p), free(records);
    *bytes = f.size;
    return f.bytes;
}
