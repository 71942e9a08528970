/* SPDX-License-Identifier: MIT
 * search_draw.c: which candidates are tried. Those that use much of what the limits allow are more
 * likely to be accurate: a candidate is drawn with a weight that is the square of the geometric mean,
 * over the limits, of its share of each (without replacement, by exponential clocks: Efraimidis and
 * Spirakis 2006). The draw depends on the seed alone, but for latencies, which are measured. */
#include "search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* splitmix64 (Steele, Lea and Flood 2014), in (0,1). */
static double uniform(uint64_t seed, uint64_t i)
{
    uint64_t z = seed * 0xD1342543DE82EF95u + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return ((double)(z >> 11) + .5) / 9007199254740992.0;
}

static void share(double value, double limit, double *log_sum, size_t *limits)
{
    if (!(limit > 0)) return;
    *log_sum += log((value > 1 ? value : 1) / limit);
    ++*limits;
}

static double weight_of(const search *s, const search_cost *c)
{
    const cli_args *a = s->args;
    double sum = 0;
    size_t n = 0;
    share((double)c->macs, a->limit_macs, &sum, &n);
    share((double)c->flash, (double)a->limit_flash, &sum, &n);
    share((double)c->memory, (double)a->limit_memory, &sum, &n);
    return n ? exp(2 * sum / (double)n) : 1;
}

/* A network at a point of the options. */
typedef struct ticket {
    double clock; /* the earliest are drawn */
    size_t network, point;
} ticket;

static bool earlier(const ticket *a, const ticket *b)
{
    if (a->clock < b->clock || a->clock > b->clock) return a->clock < b->clock;
    return a->network < b->network || (a->network == b->network && a->point < b->point);
}

/* The earliest `length` tickets, in order. Returns how many there are. */
static size_t draw(const search *s, ticket *list, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < s->sieve.within; i++) {
        const double weight = weight_of(s, &s->networks[i].cost);
        for (size_t p = 0; p < s->n_points; p++) {
            const double u = uniform(s->args->train.seed, i * s->n_points + p);
            const ticket t = {-log(u) / weight, i, p};
            if (n == length && !earlier(&t, &list[n - 1])) continue;
            size_t at = n < length ? n++ : n - 1;
            for (; at > 0 && earlier(&t, &list[at - 1]); at--) list[at] = list[at - 1];
            list[at] = t;
        }
    }
    return n;
}

static int take(search *s, const ticket *t)
{
    bool taken;
    search_network *n = &s->networks[t->network];
    int status = search_size(s, n, &taken);
    if (!status) status = search_measure(s, n); /* without a limit, too: for the record */
    if (status) return status;
    const double latency = n->cost.latency, limit = s->args->limit_latency;
    search_sieve *v = &s->sieve;
    if (limit > 0 && latency > limit) {
        if (v->latency == 0 || latency < v->least_latency) v->least_latency = latency;
        v->latency++;
        return CLI_DONE;
    }
    search_candidate *c = &s->candidates[s->n++];
    *c = (search_candidate){.cost = n->cost, .top1 = (double)NAN, .loss = (double)NAN};
    for (size_t i = 0; i < SEARCH_RUNGS; i++) c->dev[i] = (double)NAN;
    snprintf(c->name, sizeof c->name, "c%03zu", s->n);
    snprintf(c->spec, sizeof c->spec, "%s", n->spec);
    snprintf(c->options, sizeof c->options, "%s", s->points[t->point]);
    return CLI_DONE;
}

/* If all that were drawn are too slow, the network with the least work is not. */
static int take_least(search *s)
{
    ticket t = {0};
    for (size_t i = 1; i < s->sieve.within; i++)
        if (s->networks[i].cost.macs < s->networks[t.network].cost.macs) t.network = i;
    const int status = take(s, &t);
    return status || s->n ? status : search_none_within(s);
}

int search_draw(search *s)
{
    const size_t all = s->sieve.within * s->n_points, wanted = (size_t)s->args->candidates;
    const size_t most = s->args->limit_latency > 0 ? 32 * wanted : wanted; /* some are too slow */
    const size_t length = most < all ? most : all;
    ticket *list = kd_ctx_alloc(s->ctx, length, sizeof *list);
    s->candidates = kd_ctx_alloc(s->ctx, wanted, sizeof *s->candidates);
    int status = list && s->candidates ? CLI_DONE : cli_fail_ctx(s->ctx);
    const size_t n = status ? 0 : draw(s, list, length);
    for (size_t i = 0; i < n && s->n < wanted && !status; i++) {
        status = take(s, &list[i]);
        if (!status && cli_interrupted()) status = CLI_INTERRUPTED;
    }
    kd_ctx_free(s->ctx, list);
    return status || s->n ? status : take_least(s);
}
