/* SPDX-License-Identifier: MIT
 * edge_core.c: opening a blob, which checks every byte of it once, and running it, which then
 * cannot fail. What a record may be is said by its op (kd_edge_op); what the whole may be, here. */
#include "edge_shape.h"
#include "edge_memory.h"

static const kd_edge_op *find_op(const kd_edge_model *model, const kd_edge_record *record)
{
    for (const kd_edge_op *const *op = model->ops; *op; op++)
        if ((*op)->code == record->op && (*op)->type == model->type) return *op;
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int is_aligned(const void *at)
{
    return (uintptr_t)at % KD_EDGE_ALIGN == 0;
}

/* `n` texts, each with its NUL, fill the section; or there is none. */
static int texts_fit(const kd_edge_model *model, uint32_t at, uint32_t bytes, uint32_t n)
{
    if (!at && !bytes) return 1;
    if (!kd_edge_in_blob(model, at, bytes) || model->blob[at + bytes - 1]) return 0;
    for (uint32_t i = 0; i < bytes; i++)
        if (!model->blob[at + i]) {
            if (!n) return 0;
            n--;
        }
    return n == 0;
}

static int test_fits(const kd_edge_model *model, const kd_edge_header *header)
{
    const uint32_t logits = (model->output_bytes + KD_EDGE_ALIGN - 1) & ~(KD_EDGE_ALIGN - 1u);
    uint32_t bytes = (uint32_t)sizeof(kd_edge_test) + logits;
    if (!header->test_at && !header->test_bytes) return 1;
    if (header->test_bytes < bytes || !kd_edge_in_blob(model, header->test_at, header->test_bytes))
        return 0;
    const kd_edge_test *test = kd_edge_section(model, header->test_at);
    const int picture = test->kind == KD_EDGE_TEST_PICTURE;
    if (!picture && test->kind != KD_EDGE_TEST_NOISE) return 0;
    if (test->input_bytes != (picture ? model->input_bytes : 0)) return 0;
    return test->output_bytes == model->output_bytes &&
           header->test_bytes - bytes == test->input_bytes;
}

/* The blob is whole and ours. */
static kd_edge_status check_blob(const void *blob, size_t bytes)
{
    const kd_edge_header *header = blob;
    if (!is_aligned(blob)) return KD_EDGE_E_ALIGNMENT;
    if (bytes < sizeof *header) return KD_EDGE_E_SIZE;
    if (header->magic == KD_EDGE_MAGIC_SWAPPED) return KD_EDGE_E_ENDIAN;
    if (header->magic != KD_EDGE_MAGIC) return KD_EDGE_E_MAGIC;
    if (header->version != KD_EDGE_VERSION || header->rounding != KD_EDGE_ROUNDING)
        return KD_EDGE_E_VERSION;
    if (header->bytes > bytes) return KD_EDGE_E_SIZE;
    if (header->bytes < sizeof *header || header->bytes % KD_EDGE_ALIGN) return KD_EDGE_E_FORMAT;
    const uint32_t from = (uint32_t)offsetof(kd_edge_header, type);
    const uint8_t *at = blob;
    return kd_edge_crc32(0, at + from, header->bytes - from) == header->crc ? KD_EDGE_OK
                                                                            : KD_EDGE_E_CHECKSUM;
}

/* The header's fields into the model. */
static kd_edge_status read_header(kd_edge_model *model, const kd_edge_header *header)
{
    const uint8_t type = header->type, out = header->output_type;
    model->type = type;
    model->output_type = out;
    model->records = header->records;
    model->bad_record = header->records;
    model->arena_bytes = header->arena_bytes;
    model->input_at = header->input_at;
    model->output_at = header->output_at;
    model->input_height = header->input_height;
    model->input_width = header->input_width;
    model->input_channels = header->input_channels;
    model->input_bytes =
        kd_edge_map_bytes(header->input_height, header->input_width, header->input_channels, 1);
    model->classes = header->classes;
    model->output_bytes = header->classes * kd_edge_size(out);
    model->output_zero = header->output_zero;
    memcpy(&model->output_scale, &header->output_scale, sizeof model->output_scale);
    if (type != KD_EDGE_INT8 && type != KD_EDGE_FLOAT32) return KD_EDGE_E_FORMAT;
    if (out != type && !(type == KD_EDGE_INT8 && out == KD_EDGE_INT32)) return KD_EDGE_E_FORMAT;
    if (!model->input_bytes || !header->classes || header->arena_bytes > 0x7FFFFFFF)
        return KD_EDGE_E_FORMAT;
    if (!header->records || header->records > KD_EDGE_MOST_RECORDS || header->reserved[0] ||
        header->reserved[1] || header->reserved[2])
        return KD_EDGE_E_FORMAT;
    if (!texts_fit(model, header->labels_at, header->labels_bytes, header->classes) ||
        !texts_fit(model, header->names_at, header->names_bytes, header->records) ||
        !texts_fit(model, header->spec_at, header->spec_bytes, 1) || !test_fits(model, header))
        return KD_EDGE_E_FORMAT;
    return KD_EDGE_OK;
}

/* The region lies in the arena; `end` grows to its end. */
static int in_arena(const kd_edge_model *model, kd_edge_region region, uint32_t *end)
{
    if (!region.bytes) return 1;
    if (region.at % KD_EDGE_ALIGN || region.at > model->arena_bytes ||
        region.bytes > model->arena_bytes - region.at)
        return 0;
    if (*end < region.at + region.bytes) *end = region.at + region.bytes;
    return 1;
}

static const kd_edge_record *next_record(const kd_edge_record *record)
{
    const uint8_t *at = (const uint8_t *)record;
    const void *next = at + record->bytes;
    return next;
}

static int is_same(kd_edge_region a, kd_edge_region b)
{
    return a.at == b.at && a.bytes == b.bytes;
}

/* When record number `n` runs, what it reads is what an earlier one wrote, or the picture. */
static int is_alive(const kd_edge_model *model, const kd_edge_record *record, uint32_t n,
                    kd_edge_region read, uint8_t type)
{
    const kd_edge_region input = {model->input_at, model->input_bytes};
    int alive = is_same(read, input) && type == KD_EDGE_INT8;
    for (uint32_t i = 0; i < n; i++, record = next_record(record)) {
        kd_edge_use use;
        const kd_edge_op *op = find_op(model, record);
        if (op->use(record, &use) != KD_EDGE_OK) return 0;
        if (is_same(use.write, read) && use.write_type == type)
            alive = 1;
        else if (kd_edge_overlap(use.write, read) || kd_edge_overlap(use.scratch, read))
            alive = 0;
    }
    return alive;
}

/* One record against the arena and the records before it. */
static int use_fits(const kd_edge_model *model, const kd_edge_use *use,
                    const kd_edge_record *records, uint32_t n, uint32_t *end)
{
    if (!in_arena(model, use->write, end) || !in_arena(model, use->scratch, end)) return 0;
    if (kd_edge_overlap(use->write, use->scratch)) return 0;
    for (uint32_t i = 0; i < use->reads; i++) {
        const kd_edge_region read = use->read[i];
        if (!in_arena(model, read, end) || kd_edge_overlap(read, use->scratch)) return 0;
        if (kd_edge_overlap(read, use->write) && !use->in_place) return 0;
        if (!is_alive(model, records, n, read, use->read_type)) return 0;
    }
    if (n + 1 < model->records) return use->write_type == model->type;
    const kd_edge_region output = {model->output_at, model->output_bytes};
    return is_same(use->write, output) && use->write_type == model->output_type;
}

static kd_edge_status check_records(kd_edge_model *model, const kd_edge_header *header)
{
    uint32_t at = header->records_at, end = 0;
    const kd_edge_region input = {model->input_at, model->input_bytes};
    if (!kd_edge_in_blob(model, at, sizeof(kd_edge_record)) || !in_arena(model, input, &end))
        return KD_EDGE_E_FORMAT;
    const kd_edge_record *records = kd_edge_section(model, at), *record = records;
    for (uint32_t i = 0; i < model->records; i++, record = next_record(record)) {
        model->bad_record = i;
        kd_edge_use use;
        const uint32_t left = model->blob_bytes - at;
        if (left < KD_EDGE_ALIGN || record->bytes < KD_EDGE_ALIGN || record->bytes % 4 ||
            record->bytes > left)
            return KD_EDGE_E_FORMAT;
        const kd_edge_op *op = find_op(model, record);
        if (!op) return KD_EDGE_E_OP;
        if (op->use(record, &use) != KD_EDGE_OK || !use_fits(model, &use, records, i, &end) ||
            op->check(model, record) != KD_EDGE_OK)
            return KD_EDGE_E_FORMAT;
        at += record->bytes;
    }
    model->bad_record = model->records;
    return end == model->arena_bytes ? KD_EDGE_OK : KD_EDGE_E_FORMAT;
}

kd_edge_status kd_edge_open(kd_edge_model *model, const void *blob, size_t blob_bytes,
                            const kd_edge_op *const *ops)
{
    if (!model) return KD_EDGE_E_ARGUMENT;
    memset(model, 0, sizeof *model);
    if (!blob || !ops) return KD_EDGE_E_ARGUMENT;
    kd_edge_status status = check_blob(blob, blob_bytes);
    if (status != KD_EDGE_OK) return status;
    const kd_edge_header *header = blob;
    model->blob = blob;
    model->blob_bytes = header->bytes;
    model->ops = ops;
    status = read_header(model, header);
    if (status == KD_EDGE_OK) status = check_records(model, header);
    if (status != KD_EDGE_OK) model->blob = 0; /* not open */
    return status;
}

/* ---- running --------------------------------------------------------------------------------- */

static kd_edge_status check_arena(const kd_edge_model *model, const void *arena)
{
    if (!model || !model->blob || !arena) return KD_EDGE_E_ARGUMENT;
    return is_aligned(arena) ? KD_EDGE_OK : KD_EDGE_E_ALIGNMENT;
}

kd_edge_status kd_edge_begin(const kd_edge_model *model, void *arena, size_t arena_bytes,
                             const uint8_t *input)
{
    const kd_edge_status status = check_arena(model, arena);
    if (status != KD_EDGE_OK) return status;
    if (arena_bytes < model->arena_bytes) return KD_EDGE_E_ARENA;
    uint8_t *to = arena;
    to += model->input_at;
    if (input && input != to) memcpy(to, input, model->input_bytes);
    if (model->type == KD_EDGE_INT8) /* pixel - 128 */
        for (uint32_t i = 0; i < model->input_bytes; i++) to[i] ^= 0x80;
    return KD_EDGE_OK;
}

static void run_record(const kd_edge_model *model, const kd_edge_record *record, uint8_t *arena)
{
    find_op(model, record)->run(model, record, arena);
}

static const kd_edge_record *first_record(const kd_edge_model *model)
{
    const kd_edge_header *header = kd_edge_section(model, 0);
    return kd_edge_section(model, header->records_at);
}

kd_edge_status kd_edge_step(const kd_edge_model *model, void *arena, uint32_t record)
{
    const kd_edge_status status = check_arena(model, arena);
    if (status != KD_EDGE_OK) return status;
    if (record >= model->records) return KD_EDGE_E_ARGUMENT;
    const kd_edge_record *at = first_record(model);
    for (uint32_t i = 0; i < record; i++) at = next_record(at);
    run_record(model, at, arena);
    return KD_EDGE_OK;
}

kd_edge_status kd_edge_run(const kd_edge_model *model, void *arena, size_t arena_bytes,
                           const uint8_t *input, void *output)
{
    const kd_edge_status status = kd_edge_begin(model, arena, arena_bytes, input);
    if (status != KD_EDGE_OK) return status;
    const kd_edge_record *record = first_record(model);
    uint8_t *bytes = arena;
    for (uint32_t i = 0; i < model->records; i++, record = next_record(record))
        run_record(model, record, bytes);
    if (output) memcpy(output, bytes + model->output_at, model->output_bytes);
    return KD_EDGE_OK;
}
