/* SPDX-License-Identifier: MIT
 * blob.c: a net as a .kde blob (docs/edge-format.md): header, records, texts, weights, self-test. It
 * is run once by lib/edge, whose logits become the self-test's, and opened again. */
#include "export.h"

#include "../base/size.h"
#include "../quant/fold.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SEED = 1 };

/* ---- bytes ----------------------------------------------------------------------------------- */

typedef struct bytes {
    kd_ctx *ctx;
    uint8_t *at;
    size_t n, capacity;
    kd_status status;
} bytes;

/* So many zeros at the end, which begins at a multiple of 16; where they begin. */
static size_t extend(bytes *b, size_t size)
{
    const size_t begin = kdi_multiple(b->n, KD_EDGE_ALIGN);
    if (b->status) return 0;
    if (size > INT32_MAX || begin + size > INT32_MAX) {
        b->status = kd_ctx_fail(b->ctx, KD_E_UNSUPPORTED, "a blob holds at most 2 GB");
        return 0;
    }
    while (begin + size > b->capacity) {
        const size_t capacity = b->capacity ? 2 * b->capacity : 4096;
        uint8_t *at = kdi_realloc(b->ctx, b->at, capacity, 1);
        if (!at) {
            b->status = kd_ctx_memory_status(b->ctx);
            return 0;
        }
        b->at = at;
        b->capacity = capacity;
    }
    b->n = begin + size;
    return begin;
}

static uint32_t append(bytes *b, const void *from, size_t size)
{
    const size_t at = extend(b, size);
    if (!b->status && size) memcpy(b->at + at, from, size);
    return (uint32_t)at;
}

/* ---- sections -------------------------------------------------------------------------------- */

/* Rows of weights, each filled up with zeros to a multiple of four. */
static uint32_t append_weights(bytes *b, const void *weights, size_t rows, size_t taps,
                               size_t element)
{
    const size_t stride = kdi_multiple(taps, 4) * element;
    const size_t at = extend(b, rows * stride);
    for (size_t i = 0; i < rows && !b->status; i++)
        memcpy(b->at + at + i * stride, (const char *)weights + i * taps * element, taps * element);
    return (uint32_t)at;
}

static void set_pads(const kdi_net *net, const kdi_layer *l, kd_edge_conv *c)
{
    for (size_t i = 0; i < 4; i++) {
        const double pixel = l->in[0] == 0 ? kdi_pixel_pad(net, i) : 0;
        if (l->pad[0] == 0 && l->pad[1] == 0) continue;
        if (!net->quantised)
            c->pad[i].f = (float)pixel;
        else
            c->pad[i].i = l->in[0] == 0 ? (int32_t)round(pixel) - 128 : net->maps[l->in[0]].zero;
    }
}

static void append_conv(bytes *b, const kd_export *e, const kdi_layer *l, kd_edge_conv *c)
{
    const kdi_net *net = e->net;
    const size_t out = l->out_channels;
    *c = kdi_export_conv(net, l);
    c->in = e->at.map[l->in[0]];
    c->out = e->at.map[l->out];
    c->scratch = e->at.scratch[l - net->layers];
    set_pads(net, l, c);
    if (net->quantised) {
        c->weights = append_weights(b, l->weights8, out, l->taps, 1);
        c->bias = append(b, l->bias32, out * sizeof *l->bias32);
        c->multipliers = append(b, l->multipliers, out * sizeof *l->multipliers);
        c->zero = net->maps[l->out].zero;
        c->low.i = l->low;
        c->high.i = l->high;
    } else {
        c->weights = append_weights(b, kdi_device_weights(l), out, l->taps, 4);
        c->bias = append(b, kdi_device_bias(l), out * sizeof(float));
        c->low.f = l->relu ? 0 : -FLT_MAX;
        c->high.f = FLT_MAX;
    }
}

static void fill_pool(const kd_export *e, const kdi_layer *l, kd_edge_pool *p)
{
    const kdi_net *net = e->net;
    const kdi_map *in = &net->maps[l->in[0]], *out = &net->maps[l->out];
    *p = (kd_edge_pool){.op = l->op == KDI_MAX_POOL ? KD_EDGE_OP_MAX_POOL : KD_EDGE_OP_AVG_POOL,
                        .bytes = sizeof *p,
                        .in = e->at.map[l->in[0]],
                        .out = e->at.map[l->out],
                        .in_height = (uint16_t)in->h,
                        .in_width = (uint16_t)in->w,
                        .channels = (uint16_t)in->c,
                        .out_height = (uint16_t)out->h,
                        .out_width = (uint16_t)out->w,
                        .kernel_height = (uint8_t)l->kernel[0],
                        .kernel_width = (uint8_t)l->kernel[1],
                        .stride_height = (uint8_t)l->stride[0],
                        .stride_width = (uint8_t)l->stride[1],
                        .pad_top = (uint8_t)l->pad[0],
                        .pad_left = (uint8_t)l->pad[1]};
    if (net->quantised && l->op == KDI_MAX_POOL) return;
    if (net->quantised) {
        p->bias = l->bias32[0];
        p->multiplier = l->multipliers[0];
        p->zero = out->zero;
        p->low.i = l->low;
        p->high.i = l->high;
    } else {
        p->low.f = l->relu ? 0 : -FLT_MAX;
        p->high.f = FLT_MAX;
    }
}

static void fill_sum(const kd_export *e, const kdi_layer *l, kd_edge_sum *s)
{
    const kdi_net *net = e->net;
    const kdi_map *out = &net->maps[l->out];
    *s = (kd_edge_sum){.op = KD_EDGE_OP_ADD,
                       .bytes = sizeof *s,
                       .a = e->at.map[l->in[0]],
                       .b = e->at.map[l->in[1]],
                       .out = e->at.map[l->out],
                       .height = (uint16_t)out->h,
                       .width = (uint16_t)out->w,
                       .channels = (uint16_t)out->c};
    if (net->quantised) {
        s->shift = (uint16_t)l->shift;
        s->a_multiplier = l->multipliers[0];
        s->b_multiplier = l->multipliers[1];
        s->constant = l->bias32[0];
        s->low.i = l->low;
        s->high.i = l->high;
    } else {
        s->low.f = l->relu ? 0 : -FLT_MAX;
        s->high.f = FLT_MAX;
    }
}

static size_t record_bytes(const kdi_layer *l)
{
    return kdi_has_weights(l) ? sizeof(kd_edge_conv)
           : l->op == KDI_ADD ? sizeof(kd_edge_sum)
                              : sizeof(kd_edge_pool);
}

static void append_records(bytes *b, const kd_export *e, kd_edge_header *h)
{
    size_t size = 0;
    for (size_t i = 0; i < e->net->n_layers; i++) size += record_bytes(&e->net->layers[i]);
    h->records = (uint16_t)e->net->n_layers;
    size_t at = extend(b, size);
    h->records_at = (uint32_t)at;
    for (size_t i = 0; i < e->net->n_layers && !b->status; i++) {
        const kdi_layer *l = &e->net->layers[i];
        union {
            kd_edge_conv conv;
            kd_edge_pool pool;
            kd_edge_sum sum;
        } record;
        if (kdi_has_weights(l))
            append_conv(b, e, l, &record.conv);
        else if (l->op == KDI_ADD)
            fill_sum(e, l, &record.sum);
        else
            fill_pool(e, l, &record.pool);
        if (!b->status) memcpy(b->at + at, &record, record_bytes(l));
        at += record_bytes(l);
    }
}

static void append_texts(bytes *b, const kd_export *e, kd_edge_header *h)
{
    size_t size = 0;
    for (size_t i = 0; i < e->net->n_layers; i++) size += strlen(e->net->layers[i].name) + 1;
    size_t at = extend(b, size);
    h->names_at = (uint32_t)at;
    h->names_bytes = (uint32_t)size;
    for (size_t i = 0; i < e->net->n_layers && !b->status; i++) {
        const size_t n = strlen(e->net->layers[i].name) + 1;
        memcpy(b->at + at, e->net->layers[i].name, n);
        at += n;
    }
    if (e->labels) {
        h->labels_at = append(b, e->labels, e->labels_bytes);
        h->labels_bytes = (uint32_t)e->labels_bytes;
    }
    if (e->spec) {
        h->spec_bytes = (uint32_t)strlen(e->spec) + 1;
        h->spec_at = append(b, e->spec, h->spec_bytes);
    }
}

static void append_test(bytes *b, const kd_export *e, kd_edge_header *h)
{
    const size_t logits = e->net->classes * (h->output_type == KD_EDGE_INT8 ? 1 : 4);
    const kd_edge_test test = {
        .kind = KD_EDGE_TEST_NOISE, .seed = SEED, .output_bytes = (uint32_t)logits};
    h->test_bytes = (uint32_t)(sizeof test + kdi_multiple(logits, KD_EDGE_ALIGN));
    h->test_at = (uint32_t)extend(b, h->test_bytes);
    if (!b->status) memcpy(b->at + h->test_at, &test, sizeof test);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static kd_edge_header header_of(const kd_export *e)
{
    const kdi_net *net = e->net;
    const kdi_map *picture = &net->maps[0];
    const size_t output = (size_t)net->layers[net->n_layers - 1].out;
    kd_edge_header h = {.magic = KD_EDGE_MAGIC,
                        .version = KD_EDGE_VERSION,
                        .rounding = KD_EDGE_ROUNDING,
                        .type = kdi_export_type(net),
                        .arena_bytes = e->at.arena_bytes,
                        .input_height = (uint16_t)picture->h,
                        .input_width = (uint16_t)picture->w,
                        .input_channels = (uint16_t)picture->c,
                        .classes = (uint16_t)net->classes,
                        .input_at = e->at.map[0],
                        .output_at = e->at.map[output],
                        .output_scale = net->quantised ? net->output_scale : 1,
                        .output_zero = net->quantised ? net->output_zero : 0};
    h.output_type = (uint8_t)(!net->quantised ? KD_EDGE_FLOAT32
                              : net->sums     ? KD_EDGE_INT32
                                              : KD_EDGE_INT8);
    return h;
}

static void seal(kd_export *e)
{
    kd_edge_header h;
    memcpy(&h, e->blob, sizeof h);
    h.crc = kd_edge_crc32(0, e->blob + offsetof(kd_edge_header, type),
                          (uint32_t)(e->blob_bytes - offsetof(kd_edge_header, type)));
    memcpy(e->blob, &h, sizeof h);
}

static kd_status open_blob(kd_export *e, kd_edge_model *m)
{
    const kd_edge_op *const *ops = e->net->quantised ? kd_edge_ops_i8 : kd_edge_ops_f32;
    return kdi_export_edge_status(e, m, kd_edge_open(m, e->blob, e->blob_bytes, ops));
}

/* A float32 layer's output. The device's ops cut infinities off at FLT_MAX. */
static kd_status check_finite(const kd_export *e, size_t layer, const uint8_t *arena)
{
    const kdi_layer *l = &e->net->layers[layer];
    const void *at = arena + e->at.map[l->out];
    const float *x = at;
    char text[KDI_LAYER_TEXT];
    bool finite = true;
    for (size_t k = 0; k < kdi_map_count(&e->net->maps[l->out]); k++)
        finite &= fabsf(x[k]) < FLT_MAX;
    return finite
               ? KD_OK
               : kd_ctx_fail(e->ctx, KD_E_NONFINITE, "%s: what it makes of a picture is not finite",
                             kdi_layer_text(l, text, sizeof text));
}

/* Run layer by layer, so that an error can name the one that fails. */
static kd_status run_layers(kd_export *e, const kd_edge_model *m, uint8_t *arena,
                            const uint8_t *picture)
{
    kd_status status =
        kdi_export_edge_status(e, m, kd_edge_begin(m, arena, m->arena_bytes, picture));
    for (size_t i = 0; i < e->net->n_layers && !status; i++) {
        status = kdi_export_edge_status(e, m, kd_edge_step(m, arena, (uint32_t)i));
        if (!status && !e->net->quantised) status = check_finite(e, i, arena);
    }
    return status;
}

/* The logits of the noise picture, as lib/edge computes them, into the self-test. */
static kd_status run_test(kd_export *e)
{
    kd_edge_model m;
    kd_edge_header h;
    kd_status status = open_blob(e, &m);
    if (status) return status;
    memcpy(&h, e->blob, sizeof h);
    uint8_t *arena = kd_ctx_alloc(e->ctx, m.arena_bytes, 1);
    uint8_t *picture = kd_ctx_alloc(e->ctx, m.input_bytes, 1);
    if (!arena || !picture) {
        status = kd_ctx_memory_status(e->ctx);
    } else {
        kd_edge_noise(SEED, picture, m.input_bytes);
        uint8_t *logits = e->blob + h.test_at + sizeof(kd_edge_test);
        status = run_layers(e, &m, arena, picture);
        memcpy(logits, arena + m.output_at, m.output_bytes);
        seal(e);
        if (!status) status = open_blob(e, &m);
        if (!status)
            status = kdi_export_edge_status(e, &m, kd_edge_selftest(&m, arena, m.arena_bytes));
    }
    kd_ctx_free(e->ctx, arena);
    kd_ctx_free(e->ctx, picture);
    return status;
}

static kd_status check_host(kd_ctx *ctx)
{
    static const uint32_t magic = KD_EDGE_MAGIC;
    uint8_t first;
    memcpy(&first, &magic, 1);
    return first == 'K'
               ? KD_OK
               : kd_ctx_fail(ctx, KD_E_UNSUPPORTED, "blobs are little-endian; this machine is not");
}

kd_status kdi_export_make_blob(kd_export *e)
{
    bytes b = {.ctx = e->ctx};
    if (e->blob) return KD_OK;
    kd_status status = check_host(e->ctx);
    if (!status && e->net->n_layers > UINT16_MAX)
        status = kd_ctx_fail(e->ctx, KD_E_UNSUPPORTED, "%zu layers; a blob has at most 65535",
                             e->net->n_layers);
    if (!status) status = kdi_place(e->net, &e->at);
    if (status) return status;
    kd_edge_header h = header_of(e);
    append(&b, &h, sizeof h);
    append_records(&b, e, &h);
    append_texts(&b, e, &h);
    append_test(&b, e, &h);
    h.bytes = (uint32_t)kdi_multiple(b.n, KD_EDGE_ALIGN);
    extend(&b, 0);
    if (b.status) {
        kd_ctx_free(e->ctx, b.at);
        return b.status;
    }
    memcpy(b.at, &h, sizeof h);
    e->blob = b.at;
    e->blob_bytes = h.bytes;
    seal(e);
    status = run_test(e);
    if (status) kdi_export_drop_blob(e);
    return status;
}

void kdi_export_drop_blob(kd_export *e)
{
    kd_ctx_free(e->ctx, e->blob);
    e->blob = NULL;
    e->blob_bytes = 0;
}

kd_status kdi_export_edge_status(kd_export *e, const kd_edge_model *m, kd_edge_status status)
{
    char text[KDI_LAYER_TEXT];
    if (status == KD_EDGE_OK) return KD_OK;
    if (m->bad_record < e->net->n_layers)
        return kd_ctx_fail(e->ctx, KD_E_UNSUPPORTED, "%s: the device cannot run it: %s",
                           kdi_layer_text(&e->net->layers[m->bad_record], text, sizeof text),
                           kd_edge_text(status));
    return kd_ctx_fail(e->ctx, KD_E_UNSUPPORTED, "the device cannot run this network: %s",
                       kd_edge_text(status));
}
