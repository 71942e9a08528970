/* SPDX-License-Identifier: MIT
 * pack.c: which order of placing items gives the smallest arena. An order is tried by putting each
 * item at the lowest place that its neighbours in time allow; orders by size, by time and against
 * time come first, then the best one with places exchanged, by numbers of a fixed generator. It
 * stops where no arena can be smaller. */
#include "export.h"

#include <string.h>

enum { TRIES = 4000, ALIGN = KD_EDGE_ALIGN };

typedef struct packer {
    kdi_packing *p;
    size_t *order, *best; /* [n] */
    bool *placed;         /* [n] */
    int64_t least;
    uint32_t random;
} packer;

static int64_t aligned(int64_t offset)
{
    return offset <= 0 ? 0 : (offset + ALIGN - 1) / ALIGN * ALIGN;
}

static bool meet(const kdi_item *a, const kdi_item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static bool fits(const packer *k, size_t v, int64_t offset)
{
    const kdi_packing *p = k->p;
    for (size_t u = 0; u < p->n; u++) {
        if (!k->placed[u] || !meet(&p->items[u], &p->items[v])) continue;
        const int64_t other = p->items[u].offset;
        const bool above = offset >= other + p->apart[u * p->n + v];
        const bool below = other >= offset + p->apart[v * p->n + u];
        if (!above && !below && !(p->same[u * p->n + v] && offset == other)) return false;
    }
    return true;
}

/* The lowest place of v among the items that have theirs. */
static int64_t lowest(const packer *k, size_t v)
{
    const kdi_packing *p = k->p;
    if (fits(k, v, 0)) return 0;
    int64_t best = INT64_MAX;
    for (size_t u = 0; u < p->n; u++) {
        if (!k->placed[u] || !meet(&p->items[u], &p->items[v])) continue;
        const int64_t at = aligned(p->items[u].offset + p->apart[u * p->n + v]);
        const int64_t same = p->items[u].offset;
        if (at < best && fits(k, v, at)) best = at;
        if (p->same[u * p->n + v] && same < best && fits(k, v, same)) best = same;
    }
    return best;
}

static int64_t pack_in_order(packer *k)
{
    kdi_packing *p = k->p;
    int64_t total = 0;
    memset(k->placed, 0, p->n * sizeof *k->placed);
    for (size_t i = 0; i < p->n; i++) {
        kdi_item *item = &p->items[k->order[i]];
        if (item->bytes == 0) continue;
        item->offset = lowest(k, k->order[i]);
        k->placed[k->order[i]] = true;
        if (item->offset + item->bytes > total) total = item->offset + item->bytes;
    }
    return total;
}

static void attempt(packer *k)
{
    const int64_t total = pack_in_order(k);
    if (total >= k->least) return;
    k->least = total;
    memcpy(k->best, k->order, k->p->n * sizeof *k->best);
}

static uint32_t next(packer *k, size_t below)
{
    k->random = k->random * 1664525 + 1013904223;
    return (uint32_t)((k->random >> 8) % below);
}

/* The best order so far with one to three pairs exchanged. */
static void exchange(packer *k)
{
    const size_t n = k->p->n;
    memcpy(k->order, k->best, n * sizeof *k->order);
    for (uint32_t pairs = 1 + next(k, 3); pairs > 0; pairs--) {
        const size_t a = next(k, n), b = next(k, n), was = k->order[a];
        k->order[a] = k->order[b];
        k->order[b] = was;
    }
}

/* Indices by falling size, the first of equals first: an insertion sort. */
static void order_by_size(packer *k)
{
    for (size_t i = 0; i < k->p->n; i++) {
        size_t at = i;
        for (; at > 0 && k->p->items[k->order[at - 1]].bytes < k->p->items[i].bytes; at--)
            k->order[at] = k->order[at - 1];
        k->order[at] = i;
    }
}

kd_status kdi_pack(kdi_packing *p)
{
    packer k = {.p = p, .least = INT64_MAX, .random = 1};
    k.order = kd_ctx_alloc(p->ctx, p->n + 1, sizeof *k.order);
    k.best = kd_ctx_alloc(p->ctx, p->n + 1, sizeof *k.best);
    k.placed = kd_ctx_alloc(p->ctx, p->n + 1, sizeof *k.placed);
    const kd_status status = k.order && k.best && k.placed ? KD_OK : kd_ctx_memory_status(p->ctx);
    if (!status && p->n) {
        order_by_size(&k);
        attempt(&k);
        for (size_t i = 0; i < p->n; i++) k.order[i] = i;
        attempt(&k);
        for (size_t i = 0; i < p->n; i++) k.order[i] = p->n - 1 - i;
        attempt(&k);
        for (int i = 0; i < TRIES && k.least > p->least; i++) {
            exchange(&k);
            attempt(&k);
        }
        memcpy(k.order, k.best, p->n * sizeof *k.order);
        p->total = pack_in_order(&k);
    }
    kd_ctx_free(p->ctx, k.order);
    kd_ctx_free(p->ctx, k.best);
    kd_ctx_free(p->ctx, k.placed);
    return status;
}
