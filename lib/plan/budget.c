/* SPDX-License-Identifier: MIT
 * budget.c: which forward nodes are recomputed (recompute.c), so that a plan stays within
 * kd_plan_opt.max_arena.
 *
 * A choice is a set of forward nodes. Each choice is tried by making the plan, so that sizes are
 * exact. Two kinds of choices:
 *   cheap     Nodes without multiply-accumulates whose inputs are kept anyway: norms, activations.
 *   segments  The cheap ones, and all nodes between places where a single value crosses (a residual
 *             stream, the input of a VGG's layer). That value is kept. Places are taken at several
 *             distances: long segments keep fewer values, but need more memory while they run.
 * If a kind as a whole fits, as few of its parts are taken as fit; those that save the most bytes
 * for a multiply-accumulate come first. Of the kinds that fit, the one with the fewest repeated
 * multiply-accumulates is taken. All of it follows from the graph and the limit. */
#include "plan.h"

#include "../base/sort.h"

enum { HALVINGS = 8 }; /* distances between places: none, and all bytes / 2, / 4 ... */

/* A forward node. */
typedef struct info {
    bool may;   /* it can be recomputed */
    bool chain; /* it is cheap: no multiply-accumulates, from values that are kept or cheap */
    double saved, cost; /* bytes that need not be kept for the backward; operations */
    bool place;         /* a single value crosses from it and before to later nodes */
} info;

/* Nodes that are chosen together. */
typedef struct part {
    double saved, cost;
    size_t number;
} part;

typedef struct search {
    const kd_graph *graph;
    const kd_plan_opt *opt;
    kdi_draft *draft;
    size_t n; /* forward nodes */
    info *infos;
    bool *kept;       /* [values], by root: read by the backward */
    int *maker;       /* [values], by root */
    size_t *cross;    /* [n + 1] values of node i or before that a later one reads */
    bool *recomputed; /* [nodes] the choice to be tried */
    size_t *part_of;  /* [n] SIZE_MAX: none */
    size_t *rank;     /* [parts] */
    part *parts;
    size_t n_parts;
    kd_plan *best;
    size_t least; /* bytes of the smallest plan so far */
} search;

/* ---- what the graph says --------------------------------------------------------------------- */

static void keep(void *arg, kd_value v)
{
    search *s = arg;
    s->kept[kdi_draft_root(s->draft, v)] = true;
}

static double bytes_of(const kdi_draft *d, kd_value v, size_t batch)
{
    size_t count = 0;
    kdi_shape_count(&d->values[v].shape, batch, &count); /* checked when the plain plan was made */
    return (double)count * (double)kd_dtype_size(d->values[v].dtype);
}

static bool is_output(const kdi_draft *d, kd_value root)
{
    for (size_t o = 0; o < d->graph->n_outputs; o++)
        if (kdi_draft_root(d, d->graph->outputs[o].value) == root) return true;
    return false;
}

/* Can it be recomputed? An op with buffers must support it, and what it then reads must exist. */
static bool may_repeat(const search *s, const kdi_node *n)
{
    const kdi_draft *d = s->draft;
    bool grows = false;
    if (!n->op || n->op->view || n->part != KD_PART_FORWARD) return false;
    if (n->op->updates && !n->op->repeats) return false;
    for (int k = 0; k < n->n_out; k++) {
        const kd_value root = kdi_draft_root(d, n->out[k]);
        if (is_output(d, root)) return false;
        if (n->op->updates && !d->needed[root]) return false;
        grows |= kdi_value_grows(d, root);
    }
    return grows;
}

/* Is v kept for the backward, or cheap? */
static bool at_hand(const search *s, kd_value v)
{
    const kd_value root = kdi_draft_root(s->draft, v);
    if (!kdi_value_grows(s->draft, root) || s->kept[root]) return true;
    return s->maker[root] >= 0 && s->infos[s->maker[root]].chain;
}

static void look_at(search *s, size_t i, uint64_t macs)
{
    const kdi_draft *d = s->draft;
    const kdi_node *n = &d->nodes[i];
    info *f = &s->infos[i];
    f->may = may_repeat(s, n);
    f->chain = f->may && macs == 0;
    for (int k = 0; k < n->n_in; k++) f->chain &= at_hand(s, n->in[k]);
    f->cost = (double)macs;
    for (int k = 0; k < n->n_out; k++) {
        const kd_value root = kdi_draft_root(d, n->out[k]);
        s->maker[root] = (int)i;
        f->cost += bytes_of(d, root, 1) / 4;
        if (f->may && s->kept[root] && kdi_value_grows(d, root))
            f->saved += bytes_of(d, root, d->plan->batch);
    }
}

/* A value crosses from its maker to its last reader in the forward. Find where only one does. */
static void find_places(search *s)
{
    const kdi_draft *d = s->draft;
    for (size_t v = 0; v < d->n_values; v++) {
        size_t last = 0;
        const kd_value root = (kd_value)v;
        if (kdi_draft_root(d, root) != root || s->maker[v] < 0 || !kdi_value_grows(d, root))
            continue;
        const size_t first = (size_t)s->maker[v];
        for (size_t i = first + 1; i < s->n; i++)
            for (int k = 0; k < d->nodes[i].n_in && d->nodes[i].op; k++)
                if (kdi_draft_root(d, d->nodes[i].in[k]) == root) last = i;
        for (size_t i = first; i < last; i++) s->cross[i]++;
    }
    for (size_t i = 0; i < s->n; i++) s->infos[i].place = d->nodes[i].op && s->cross[i] == 1;
}

/* The draft's nodes and the plain plan's steps are in the same order. */
static void survey(search *s, const kd_plan *plain)
{
    kdi_draft *d = s->draft;
    size_t step = 0;
    for (size_t i = s->n; i < d->n_nodes; i++)
        if (d->nodes[i].op && !d->nodes[i].op->view) kdi_each_read(&d->nodes[i], keep, s);
    for (size_t v = 0; v < d->n_values; v++) s->maker[v] = -1;
    for (size_t i = 0; i < s->n; i++)
        if (d->nodes[i].op) look_at(s, i, plain->steps[step++].macs);
    find_places(s);
}

/* ---- trying ---------------------------------------------------------------------------------- */

/* Make the plan of the choice; keep it if it is the best so far. */
static kd_status try(search *s, bool *fits)
{
    kd_plan *plan;
    const kd_status status = kdi_plan_build(s->graph, s->opt, s->recomputed, &plan);
    if (status) return status;
    const size_t bytes = plan->arena_bytes;
    if (bytes < s->least) s->least = bytes;
    *fits = bytes <= s->opt->max_arena;
    const bool better =
        *fits &&
        (!s->best || plan->recomputed_macs < s->best->recomputed_macs ||
         (plan->recomputed_macs == s->best->recomputed_macs && bytes < s->best->arena_bytes));
    if (better) {
        kd_plan_destroy(s->best);
        s->best = plan;
    } else {
        kd_plan_destroy(plan);
    }
    return KD_OK;
}

/* Choose the first `count` parts by rank. Cheap nodes that save nothing by themselves are always
 * chosen; with `cheap`, all cheap nodes. */
static void choose(search *s, size_t count, bool cheap)
{
    for (size_t i = 0; i < s->n; i++) {
        const info *f = &s->infos[i];
        s->recomputed[i] = f->chain && (cheap || f->saved == 0);
        if (s->part_of[i] != SIZE_MAX && s->rank[s->part_of[i]] < count) s->recomputed[i] |= f->may;
    }
}

/* The most bytes saved for an operation first. */
static int by_worth(const void *a, const void *b)
{
    const part *x = a, *y = b;
    const double p = x->saved * y->cost, q = y->saved * x->cost;
    if (p != q) return p > q ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* If all parts together fit: as few as fit, by bisection. */
static kd_status try_parts(search *s, bool cheap)
{
    bool fits = false;
    kdi_sort(s->parts, s->n_parts, sizeof *s->parts, by_worth);
    for (size_t i = 0; i < s->n_parts; i++) s->rank[s->parts[i].number] = i;
    choose(s, s->n_parts, cheap);
    kd_status status = try(s, &fits);
    size_t bad = 0, good = s->n_parts;
    while (!status && fits && good - bad > 1) {
        const size_t middle = bad + (good - bad) / 2;
        bool enough = false;
        choose(s, middle, cheap);
        status = try(s, &enough);
        *(enough ? &good : &bad) = middle;
    }
    return status;
}

static void add_to_part(search *s, size_t i, size_t number)
{
    s->part_of[i] = number;
    if (number == s->n_parts) s->parts[s->n_parts++] = (part){.number = number};
    s->parts[number].saved += s->infos[i].saved;
    s->parts[number].cost += s->infos[i].cost;
}

/* Each cheap node is a part. */
static kd_status try_cheap(search *s)
{
    s->n_parts = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->part_of[i] = SIZE_MAX;
        if (s->infos[i].chain && s->infos[i].saved > 0) add_to_part(s, i, s->n_parts);
    }
    return s->n_parts ? try_parts(s, false) : KD_OK;
}

/* A segment ends at the first place where it would save `distance` bytes. The value that crosses
 * there is kept, so its maker is in no segment; nor is what comes after the last place. */
static kd_status try_segments(search *s, double distance)
{
    const kdi_draft *d = s->draft;
    size_t first = 0;
    double saved = 0;
    s->n_parts = 0;
    for (size_t i = 0; i < s->n; i++) s->part_of[i] = SIZE_MAX;
    for (size_t i = 0; i < s->n; i++) {
        saved += s->infos[i].saved;
        if (!s->infos[i].place || saved < distance) continue;
        size_t number = s->n_parts;
        for (size_t j = first; j <= i; j++) {
            bool crosses = false;
            for (size_t next = i + 1; next < s->n && !crosses; next++)
                for (int k = 0; k < d->nodes[next].n_in && d->nodes[next].op; k++) {
                    const kd_value root = kdi_draft_root(d, d->nodes[next].in[k]);
                    crosses |= kdi_value_grows(d, root) && s->maker[root] == (int)j;
                }
            if (s->infos[j].may && !crosses) add_to_part(s, j, number);
        }
        first = i + 1;
        saved = 0;
    }
    return s->n_parts ? try_parts(s, true) : KD_OK;
}

static kd_status try_all(search *s)
{
    double all = 0;
    kd_status status = try_cheap(s);
    for (size_t i = 0; i < s->n; i++) all += s->infos[i].saved;
    if (s->best) return status; /* nothing is cheaper */
    if (!status) status = try_segments(s, 0);
    for (int k = 1; k <= HALVINGS && !status; k++) {
        all /= 2;
        status = try_segments(s, all);
    }
    return status;
}

/* ---- the way in ------------------------------------------------------------------------------ */

static kd_status run_search(search *s, const kd_plan *plain)
{
    kd_ctx *ctx = s->graph->ctx;
    const size_t values = s->draft->n_values + 1;
    s->n = kdi_draft_forwards(s->draft);
    s->infos = kd_ctx_alloc(ctx, s->n + 1, sizeof *s->infos);
    s->kept = kd_ctx_alloc(ctx, values, sizeof *s->kept);
    s->maker = kd_ctx_alloc(ctx, values, sizeof *s->maker);
    s->cross = kd_ctx_alloc(ctx, s->n + 1, sizeof *s->cross);
    s->recomputed = kd_ctx_alloc(ctx, s->draft->n_nodes + 1, sizeof *s->recomputed);
    s->part_of = kd_ctx_alloc(ctx, s->n + 1, sizeof *s->part_of);
    s->rank = kd_ctx_alloc(ctx, s->n + 1, sizeof *s->rank);
    s->parts = kd_ctx_alloc(ctx, s->n + 1, sizeof *s->parts);
    kd_status status = s->infos && s->kept && s->maker && s->cross && s->recomputed && s->part_of &&
                               s->rank && s->parts
                           ? KD_OK
                           : kd_ctx_memory_status(ctx);
    if (!status) {
        survey(s, plain);
        status = try_all(s);
    }
    kd_ctx_free(ctx, s->infos);
    kd_ctx_free(ctx, s->kept);
    kd_ctx_free(ctx, s->maker);
    kd_ctx_free(ctx, s->cross);
    kd_ctx_free(ctx, s->recomputed);
    kd_ctx_free(ctx, s->part_of);
    kd_ctx_free(ctx, s->rank);
    kd_ctx_free(ctx, s->parts);
    return status;
}

kd_status kdi_plan_within(const kd_graph *g, const kd_plan_opt *opt, kd_plan **plan)
{
    kdi_draft draft = {0};
    search s = {.graph = g, .opt = opt, .draft = &draft, .least = (*plan)->arena_bytes};
    kd_status status = kdi_draft_open(g, opt, KDI_FOR_HOST, &draft);
    if (!status) status = run_search(&s, *plan);
    kdi_draft_close(&draft);
    if (!status && opt->least) *opt->least = s.least;
    if (!status && !s.best)
        status =
            kd_ctx_fail(g->ctx, KD_E_LIMIT,
                        "the plan may have %zu bytes of memory; it has %zu as it is, and needs "
                        "%zu at least",
                        opt->max_arena, (*plan)->arena_bytes, s.least);
    if (status) {
        kd_plan_destroy(s.best);
        return status;
    }
    kd_plan_destroy(*plan);
    *plan = s.best;
    return KD_OK;
}
