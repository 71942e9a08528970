/* SPDX-License-Identifier: MIT
 * compare.c: the device's program, run by lib/edge, beside the network in float32, layer by layer.
 * A layer's noise is what its output differs by; its own noise what it differs by when it is given
 * what the float network gave it, rounded. A task is a picture; sums are taken in order of the
 * pictures. */
#include "export.h"

#include "../base/size.h"
#include "../quant/float_run.h"

#include <math.h>
#include <string.h>

typedef struct verdict {
    bool float_right, right, agrees;
} verdict;

typedef struct comparison {
    kd_export *e;
    kd_edge_model model;
    kdi_float_run *run;
    const uint8_t *pictures; /* of the batch */
    const int32_t *labels;   /* of the batch, or NULL */
    uint8_t *arenas;         /* [threads][arena] */
    size_t arena;
    kdi_noise *noise;  /* [batch][n_layers] */
    verdict *verdicts; /* [batch] */
    bool failed;
} comparison;

static size_t wide_map(const kdi_net *net)
{
    return net->sums || !net->quantised ? (size_t)net->layers[net->n_layers - 1].out : SIZE_MAX;
}

/* A map's number in the arena, as a real one. */
static double number(const comparison *c, const uint8_t *at, size_t map, size_t k)
{
    const kdi_net *net = c->e->net;
    const kdi_map *m = &net->maps[map];
    int32_t q;
    float x;
    if (!net->quantised) {
        memcpy(&x, at + 4 * k, sizeof x);
        return (double)x;
    }
    if (map == wide_map(net))
        memcpy(&q, at + 4 * k, sizeof q);
    else
        q = (int8_t)at[k];
    return (double)m->scale * ((double)q - m->zero);
}

/* The float network's map, rounded, where a layer reads it. */
static void give(const comparison *c, uint8_t *at, size_t map, size_t n)
{
    const kdi_net *net = c->e->net;
    const kdi_map *m = &net->maps[map];
    const size_t count = kdi_map_count(m);
    const float *x = kdi_float_map(c->run, map) + n * count;
    if (map == 0) {
        for (size_t k = 0; k < count; k++)
            at[k] = (uint8_t)(c->pictures[n * count + k] ^ (net->quantised ? 0x80 : 0));
    } else if (!net->quantised) {
        memcpy(at, x, count * sizeof *x);
    } else {
        for (size_t k = 0; k < count; k++) {
            const double q = round((double)x[k] / (double)m->scale) + m->zero;
            at[k] = (uint8_t)(int8_t)(q < -128 ? -128 : q > 127 ? 127 : q);
        }
    }
}

/* Squares of a layer's output's errors. */
static double errors(const comparison *c, const uint8_t *arena, size_t layer, size_t n,
                     double *signal)
{
    const size_t map = (size_t)c->e->net->layers[layer].out;
    const size_t count = kdi_map_count(&c->e->net->maps[map]);
    const float *x = kdi_float_map(c->run, map) + n * count;
    double sum = 0;
    *signal = 0;
    for (size_t k = 0; k < count; k++) {
        const double d = number(c, arena + c->e->at.map[map], map, k) - (double)x[k];
        sum += d * d;
        *signal += (double)x[k] * (double)x[k];
    }
    return sum;
}

static size_t first_largest(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void judge(comparison *c, const uint8_t *arena, size_t n)
{
    const kdi_net *net = c->e->net;
    const size_t map = (size_t)net->layers[net->n_layers - 1].out;
    const size_t theirs =
        first_largest(kdi_float_map(c->run, map) + n * net->classes, net->classes);
    const size_t ours = kd_edge_argmax(&c->model, arena + c->e->at.map[map]);
    verdict *v = &c->verdicts[n];
    v->agrees = ours == theirs;
    if (!c->labels) return;
    v->right = ours == (size_t)c->labels[n];
    v->float_right = theirs == (size_t)c->labels[n];
}

static void compare_one(void *arg, size_t n, int worker)
{
    comparison *c = arg;
    const kdi_net *net = c->e->net;
    uint8_t *arena = c->arenas + (size_t)worker * c->arena;
    kdi_noise *noise = c->noise + n * net->n_layers;
    const uint8_t *picture = c->pictures + n * kdi_map_count(&net->maps[0]);
    kd_edge_status status = kd_edge_begin(&c->model, arena, c->model.arena_bytes, picture);
    for (size_t i = 0; i < net->n_layers && !status; i++) {
        status = kd_edge_step(&c->model, arena, (uint32_t)i);
        noise[i].noise = errors(c, arena, i, n, &noise[i].signal);
    }
    judge(c, arena, n);
    for (size_t i = 0; i < net->n_layers && !status; i++) {
        double signal;
        for (int k = 0; k < 2 && net->layers[i].in[k] >= 0; k++) {
            const size_t map = (size_t)net->layers[i].in[k];
            give(c, arena + c->e->at.map[map], map, n);
        }
        status = kd_edge_step(&c->model, arena, (uint32_t)i);
        noise[i].own = errors(c, arena, i, n, &signal);
    }
    if (status) c->failed = true;
}

/* ---- all pictures ---------------------------------------------------------------------------- */

typedef struct counts {
    size_t float_right, right, agreed;
} counts;

static void add_batch(comparison *c, size_t batch, counts *sum)
{
    const size_t layers = c->e->net->n_layers;
    for (size_t n = 0; n < batch; n++) {
        sum->float_right += c->verdicts[n].float_right;
        sum->right += c->verdicts[n].right;
        sum->agreed += c->verdicts[n].agrees;
        for (size_t i = 0; i < layers; i++) {
            c->e->noise[i].signal += c->noise[n * layers + i].signal;
            c->e->noise[i].noise += c->noise[n * layers + i].noise;
            c->e->noise[i].own += c->noise[n * layers + i].own;
        }
    }
}

static kd_status open_all(comparison *c)
{
    kd_export *e = c->e;
    const kd_edge_op *const *ops = e->net->quantised ? kd_edge_ops_i8 : kd_edge_ops_f32;
    kd_status status =
        kdi_export_edge_status(e, &c->model, kd_edge_open(&c->model, e->blob, e->blob_bytes, ops));
    if (!status) status = kdi_float_create(e->net, &c->run);
    if (status) return status;
    const size_t batch = kdi_float_batch(c->run);
    c->arena = kdi_multiple(c->model.arena_bytes, 64);
    c->arenas = kd_ctx_alloc(e->ctx, (size_t)kd_ctx_threads(e->ctx), c->arena);
    c->noise = kd_ctx_alloc(e->ctx, batch, e->net->n_layers * sizeof *c->noise);
    c->verdicts = kd_ctx_alloc(e->ctx, batch, sizeof *c->verdicts);
    e->noise = kd_ctx_alloc(e->ctx, e->net->n_layers, sizeof *e->noise);
    return c->arenas && c->noise && c->verdicts && e->noise ? KD_OK : kd_ctx_memory_status(e->ctx);
}

double kdi_export_decibels(double signal, double noise)
{
    return noise > 0 ? 10 * log10(signal / noise) : (double)INFINITY;
}

static void conclude(kd_export *e, const counts *sum, size_t count, bool labels)
{
    const double percent = 100 / (double)count, none = (double)NAN;
    const kdi_noise *logits = &e->noise[e->net->n_layers - 1];
    double worst = (double)INFINITY;
    e->result = (kd_export_result){.struct_size = sizeof e->result,
                                   .count = count,
                                   .float_top1 = labels ? percent * (double)sum->float_right : none,
                                   .top1 = labels ? percent * (double)sum->right : none,
                                   .agreement = percent * (double)sum->agreed};
    e->result.signal_to_noise = kdi_export_decibels(logits->signal, logits->noise);
    for (size_t i = 0; i < e->net->n_layers; i++) {
        const double own = kdi_export_decibels(e->noise[i].signal, e->noise[i].own);
        if (own >= worst) continue;
        worst = own;
        e->result.worst_layer = i;
    }
}

static kd_status compare(comparison *c, const uint8_t *pictures, const int32_t *labels,
                         size_t count)
{
    kd_export *e = c->e;
    counts sum = {0};
    kd_status status = open_all(c);
    const size_t picture = kdi_map_count(&e->net->maps[0]);
    for (size_t at = 0; at < count && !status; at += kdi_float_batch(c->run)) {
        const size_t n = kdi_smaller(kdi_float_batch(c->run), count - at);
        c->pictures = pictures + at * picture;
        c->labels = labels ? labels + at : NULL;
        status = kdi_float_do(c->run, c->pictures, n);
        if (!status) kd_parallel_for(e->ctx, n, compare_one, c);
        if (!status && c->failed)
            status = kd_ctx_fail(e->ctx, KD_E_INVALID, "the device's program did not run");
        if (!status) add_batch(c, n, &sum);
    }
    if (!status) conclude(e, &sum, count, labels != NULL);
    return status;
}

kd_status kd_export_compare(kd_export *e, const uint8_t *pictures, const int32_t *labels,
                            size_t count)
{
    if (!e) return KD_E_INVALID;
    if (!pictures || !count)
        return kd_ctx_fail(e->ctx, KD_E_INVALID, "kd_export_compare: there are no pictures");
    comparison c = {.e = e};
    kd_ctx_free(e->ctx, e->noise);
    e->noise = NULL;
    kd_status status = kdi_export_make_blob(e);
    if (!status) status = compare(&c, pictures, labels, count);
    kdi_float_destroy(c.run);
    kd_ctx_free(e->ctx, c.arenas);
    kd_ctx_free(e->ctx, c.noise);
    kd_ctx_free(e->ctx, c.verdicts);
    if (status) {
        kd_ctx_free(e->ctx, e->noise);
        e->noise = NULL;
    }
    return status;
}
