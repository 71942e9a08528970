/* SPDX-License-Identifier: MIT
 * blob_file.c: blobs on this machine: read, checked, and run by lib/edge, a picture a task. */
#include "export.h"

#include "../base/size.h"

#include <kd/file.h>

#include <math.h>
#include <string.h>

struct kd_blob {
    kd_ctx *ctx;
    char *bytes;
    kd_edge_model model;
    const char *spec;
    uint8_t *arenas, *logits; /* [threads], each at a multiple of 64 */
    size_t arena, row;        /* bytes between two of them */
};

static const size_t most_bytes = (size_t)1 << 31;

/* ---- opening --------------------------------------------------------------------------------- */

static kd_status refuse(const kd_blob *b, const char *path, kd_edge_status status)
{
    const bool layer = status == KD_EDGE_E_FORMAT || status == KD_EDGE_E_OP;
    if (layer && b->model.bad_record < b->model.records)
        return kd_ctx_fail(b->ctx, KD_E_FORMAT, "%s: %s (layer %lu)", path, kd_edge_text(status),
                           (unsigned long)b->model.bad_record);
    return kd_ctx_fail(b->ctx, KD_E_FORMAT, "%s: %s", path, kd_edge_text(status));
}

/* A partition may be larger than its blob; a file that is was damaged, or is something else, too. */
static kd_status trailing(const kd_blob *b, const char *path, size_t more)
{
    return kd_ctx_fail(b->ctx, KD_E_FORMAT, "%s: %zu byte%s behind the blob's end", path, more,
                       more == 1 ? " follows" : "s follow");
}

/* Which kernels it needs: the type stands in the header, which is not checked yet. */
static const kd_edge_op *const *ops_for(const char *bytes, size_t size)
{
    const size_t at = offsetof(kd_edge_header, type);
    return size > at && bytes[at] == KD_EDGE_FLOAT32 ? kd_edge_ops_f32 : kd_edge_ops_i8;
}

/* At the first answer: a blob that is only looked at may ask for any arena. */
static kd_status take_memory(kd_blob *b)
{
    if (b->arenas && b->logits) return KD_OK;
    kd_ctx_free(b->ctx, b->arenas);
    const size_t threads = (size_t)kd_ctx_threads(b->ctx);
    b->arena = kdi_multiple((size_t)b->model.arena_bytes + b->model.input_bytes, 64);
    b->row = kdi_multiple(b->model.output_bytes, 64);
    b->arenas = kd_ctx_alloc(b->ctx, threads, b->arena);
    b->logits = kd_ctx_alloc(b->ctx, threads, b->row);
    return b->arenas && b->logits ? KD_OK : kd_ctx_memory_status(b->ctx);
}

kd_status kd_blob_open(kd_ctx *ctx, const char *path, kd_blob **out)
{
    size_t size;
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!path || !out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_blob_open: NULL");
    kd_blob *b = kd_ctx_alloc(ctx, 1, sizeof *b);
    if (!b) return kd_ctx_memory_status(ctx);
    b->ctx = ctx;
    kd_status status = kd_file_read_all(ctx, path, most_bytes, &b->bytes, &size);
    if (!status) {
        const kd_edge_status edge =
            kd_edge_open(&b->model, b->bytes, size, ops_for(b->bytes, size));
        if (edge)
            status = refuse(b, path, edge);
        else if (size > b->model.blob_bytes)
            status = trailing(b, path, size - b->model.blob_bytes);
    }
    if (!status) {
        kd_edge_header header;
        memcpy(&header, b->bytes, sizeof header);
        if (header.spec_bytes) b->spec = b->bytes + header.spec_at;
    }
    if (status)
        kd_blob_close(b);
    else
        *out = b;
    return status;
}

void kd_blob_close(kd_blob *b)
{
    if (!b) return;
    kd_ctx *ctx = b->ctx;
    kd_ctx_free(ctx, b->bytes);
    kd_ctx_free(ctx, b->arenas);
    kd_ctx_free(ctx, b->logits);
    kd_ctx_free(ctx, b);
}

const kd_edge_model *kd_blob_model(const kd_blob *b)
{
    return b ? &b->model : NULL;
}

const char *kd_blob_spec(const kd_blob *b)
{
    return b ? b->spec : NULL;
}

/* ---- a network of its form ------------------------------------------------------------------- */

/* The spec is a text from outside: its network must be as small as the blob, before it is made. */
static kd_status check_spec(const kd_blob *b)
{
    uint64_t params;
    if (!b->spec)
        return kd_ctx_fail(b->ctx, KD_E_UNSUPPORTED, "the blob does not say which network it was");
    const kd_status status = kd_spec_count(b->ctx, b->spec, &params, NULL);
    if (status == KD_E_NOMEM || status == KD_E_LIMIT) return status;
    if (status)
        return kd_ctx_fail(b->ctx, KD_E_UNSUPPORTED,
                           "the blob's network, '%.80s', is not known here", b->spec);
    if (params > b->model.blob_bytes)
        return kd_ctx_fail(b->ctx, KD_E_UNSUPPORTED,
                           "the blob says that it was %.80s, which has %llu parameters: it is "
                           "smaller than that",
                           b->spec, (unsigned long long)params);
    return KD_OK;
}

static kd_status describe(const kd_blob *b, kd_model *m)
{
    const kd_edge_model *e = &b->model;
    float mean[64] = {0}, std[64];
    if (kd_model_classes(m) != e->classes || kd_model_height(m) != e->input_height ||
        kd_model_width(m) != e->input_width || kd_model_channels(m) != e->input_channels)
        return kd_ctx_fail(b->ctx, KD_E_UNSUPPORTED,
                           "the blob says that it was %.80s, and has other pictures or classes",
                           b->spec);
    for (size_t c = 0; c < 64; c++) std[c] = 1.0f / 255;
    kd_status status = kd_model_set_normalization(m, mean, std);
    if (status || !kd_edge_label(e, 0)) return status;
    const char **names = kd_ctx_alloc(b->ctx, e->classes, sizeof *names);
    if (!names) return kd_ctx_memory_status(b->ctx);
    for (uint32_t i = 0; i < e->classes; i++) names[i] = kd_edge_label(e, i);
    status = kd_model_set_class_names(m, names);
    kd_ctx_free(b->ctx, names);
    return status;
}

kd_status kd_blob_network(kd_blob *b, kd_model **out)
{
    if (out) *out = NULL;
    if (!b) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(b->ctx, KD_E_INVALID, "kd_blob_network: NULL");
    kd_model *m = NULL;
    kd_status status = check_spec(b);
    if (!status) status = kd_model_create(b->ctx, b->spec, 0, &m);
    if (!status) status = describe(b, m);
    if (status)
        kd_model_destroy(m);
    else
        *out = m;
    return status;
}

/* ---- running --------------------------------------------------------------------------------- */

typedef struct question {
    const kd_blob *blob;
    const float *pictures;
    float *logits;
    bool failed;
} question;

static void to_reals(const kd_edge_model *m, const uint8_t *from, float *to)
{
    for (size_t k = 0; k < m->classes; k++) {
        int32_t q = (int8_t)from[k];
        if (m->output_type == KD_EDGE_FLOAT32) {
            memcpy(&to[k], from + 4 * k, sizeof *to);
            continue;
        }
        if (m->output_type == KD_EDGE_INT32) memcpy(&q, from + 4 * k, sizeof q);
        to[k] = (float)((double)m->output_scale * ((double)q - m->output_zero));
    }
}

static void answer_one(void *arg, size_t i, int worker)
{
    question *q = arg;
    const kd_edge_model *m = &q->blob->model;
    uint8_t *arena = q->blob->arenas + (size_t)worker * q->blob->arena;
    uint8_t *picture = arena + m->arena_bytes;
    uint8_t *logits = q->blob->logits + (size_t)worker * q->blob->row;
    const float *x = q->pictures + i * m->input_bytes;
    float *answer = q->logits + i * m->classes;
    bool finite = true;
    for (size_t k = 0; k < m->input_bytes; k++) {
        finite = finite && isfinite(x[k]);
        picture[k] = (uint8_t)(x[k] > 0 ? x[k] < 255 ? lrintf(x[k]) : 255 : 0);
    }
    if (kd_edge_run(m, arena, m->arena_bytes, picture, logits)) q->failed = true;
    to_reals(m, logits, answer);
    for (uint32_t k = 0; k < m->classes && !finite; k++) answer[k] = NAN;
}

kd_status kd_blob_answer(void *user, const float *pictures, size_t n, float *logits)
{
    kd_blob *b = user;
    if (!b) return KD_E_INVALID;
    if (n && (!pictures || !logits))
        return kd_ctx_fail(b->ctx, KD_E_INVALID, "kd_blob_answer: NULL");
    const kd_status status = take_memory(b);
    if (status) return status;
    question q = {.blob = b, .pictures = pictures, .logits = logits};
    kd_parallel_for(b->ctx, n, answer_one, &q);
    return q.failed ? kd_ctx_fail(b->ctx, KD_E_INVALID, "the blob did not run") : KD_OK;
}
