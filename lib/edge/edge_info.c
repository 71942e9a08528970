/* SPDX-License-Identifier: MIT
 * edge_info.c: what a model says of itself: labels, layers, and statuses in words. Linked only into
 * programs that ask. */
#include "edge_shape.h"

/* Text number i of a section. */
static const char *text_at(const kd_edge_model *model, uint32_t at, uint32_t i)
{
    const void *section = kd_edge_section(model, at);
    const char *text = section;
    for (; i; i--)
        while (*text++) {}
    return text;
}

const char *kd_edge_label(const kd_edge_model *model, uint32_t i)
{
    if (!model || !model->blob || i >= model->classes) return 0;
    const kd_edge_header *header = kd_edge_section(model, 0);
    return header->labels_at ? text_at(model, header->labels_at, i) : 0;
}

/* A logit's bits as an integer of the same order. */
static int32_t ordered(const kd_edge_model *model, const void *output, uint32_t i)
{
    const int8_t *bytes = output;
    const int32_t *words = output;
    if (model->output_type == KD_EDGE_INT8) return bytes[i];
    const int32_t x = words[i];
    return model->output_type == KD_EDGE_FLOAT32 && x < 0 ? x ^ 0x7FFFFFFF : x;
}

uint32_t kd_edge_argmax(const kd_edge_model *model, const void *output)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < model->classes; i++)
        if (ordered(model, output, i) > ordered(model, output, best)) best = i;
    return best;
}

/* a * b, b below 2^16, without a product of 64 bits. */
static uint64_t product(uint32_t a, uint32_t b)
{
    return ((uint64_t)((a >> 16) * b) << 16) + (a & 0xFFFF) * b;
}

static void describe_conv(const kd_edge_model *model, const kd_edge_conv *conv,
                          kd_edge_layer *layer)
{
    const uint32_t row = kd_edge_weight_row(conv) * kd_edge_size(model->type);
    const uint32_t outs = (uint32_t)conv->out_height * conv->out_width * conv->out_channels;
    layer->in[0] = conv->in_height, layer->in[1] = conv->in_width, layer->in[2] = conv->in_channels;
    layer->out[0] = conv->out_height, layer->out[1] = conv->out_width;
    layer->out[2] = conv->out_channels;
    layer->flash_bytes += conv->out_channels * (row + 4);
    if (conv->multipliers) layer->flash_bytes += conv->out_channels * 4u;
    layer->macs = product(outs, kd_edge_taps(conv));
    if (conv->pool == 2) layer->macs *= 4;
}

static void describe_pool(const kd_edge_pool *pool, kd_edge_layer *layer)
{
    layer->in[0] = pool->in_height, layer->in[1] = pool->in_width, layer->in[2] = pool->channels;
    layer->out[0] = pool->out_height, layer->out[1] = pool->out_width;
    layer->out[2] = pool->channels;
}

static void describe_sum(const kd_edge_sum *sum, kd_edge_layer *layer)
{
    layer->in[0] = layer->out[0] = sum->height;
    layer->in[1] = layer->out[1] = sum->width;
    layer->in[2] = layer->out[2] = sum->channels;
}

kd_edge_status kd_edge_layer_get(const kd_edge_model *model, uint32_t record, kd_edge_layer *layer)
{
    if (!model || !model->blob || !layer || record >= model->records) return KD_EDGE_E_ARGUMENT;
    const kd_edge_header *header = kd_edge_section(model, 0);
    uint32_t at = header->records_at;
    const kd_edge_record *from = kd_edge_section(model, at);
    for (uint32_t i = 0; i < record; i++) {
        at += from->bytes;
        from = kd_edge_section(model, at);
    }
    const kd_edge_op *const *op = model->ops;
    while ((*op)->code != from->op || (*op)->type != model->type) op++;
    kd_edge_use use;
    (*op)->use(from, &use);
    *layer = (kd_edge_layer){.op = (*op)->name, .out_type = use.write_type};
    layer->name = header->names_at ? text_at(model, header->names_at, record) : 0;
    layer->in_at = use.read[0].at, layer->in_bytes = use.read[0].bytes;
    layer->out_at = use.write.at, layer->out_bytes = use.write.bytes;
    layer->scratch_bytes = use.scratch.bytes;
    layer->flash_bytes = from->bytes;
    const void *fields = from;
    if (from->op == KD_EDGE_OP_CONV2D || from->op == KD_EDGE_OP_LINEAR)
        describe_conv(model, fields, layer);
    else if (from->op == KD_EDGE_OP_MAX_POOL || from->op == KD_EDGE_OP_AVG_POOL)
        describe_pool(fields, layer);
    else if (from->op == KD_EDGE_OP_ADD)
        describe_sum(fields, layer);
    return KD_EDGE_OK;
}

const char *kd_edge_text(kd_edge_status status)
{
    static const char *const texts[] = {"success",
                                        "wrong argument",
                                        "blob or arena is not at a multiple of 16 bytes",
                                        "not a .kde blob",
                                        "the machine is big-endian",
                                        "unknown version of the blob",
                                        "the blob is cut",
                                        "the blob is damaged: wrong checksum",
                                        "the blob holds something impossible",
                                        "an op that this program does not have",
                                        "the arena is too small",
                                        "the self-test's logits differ"};
    const uint32_t i = (uint32_t)status;
    return i < sizeof texts / sizeof *texts ? texts[i] : "unknown status";
}
