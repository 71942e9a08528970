/* SPDX-License-Identifier: MIT
 * report_group.c: groups of runs that differ in the seed alone, or in what --by does not name. Runs
 * of one seed in a group are averaged first: they are no seeds of their own. A recipe that was tried
 * with several teachers (or starts) is one group only if all seeds have the same or each has its own:
 * else what the teacher's seed does would be taken for what the student's does. */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int report_order(const char *a, const char *b)
{
    while (*a && *b) {
        const size_t n = strspn(a, "0123456789"), m = strspn(b, "0123456789");
        if (n && m) {
            const char *x = a + strspn(a, "0"), *y = b + strspn(b, "0");
            const size_t digits = strspn(x, "0123456789"), others = strspn(y, "0123456789");
            const int order = digits != others ? (digits < others ? -1 : 1) : strncmp(x, y, digits);
            if (order) return order;
            a += n;
            b += m;
        } else if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return (*a != 0) - (*b != 0);
}

const report_run *report_first(const report_group *g)
{
    return g->runs[0];
}

/* ---- one network of others for all seeds, or one for each ------------------------------------ */

static const char *network_of(const report_run *run, bool start)
{
    const char *file = start ? run->start_file : run->teacher_file;
    const char *hash = start ? run->start_hash : run->teacher_hash;
    const report_run *other = start ? run->start : run->teacher;
    if (start ? !run->start_file : !run->teacher_spec) return "";
    return other ? other->real : hash && *hash ? hash : file;
}

/* runs [n] of one signature, sorted by seed. */
static bool is_mixed(report_run *const *runs, size_t n, bool start)
{
    size_t distinct = 0;
    bool repeated = false;
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = !strcmp(network_of(runs[k], start), network_of(runs[i], start));
        distinct += !seen;
        repeated = repeated || (i && runs[i]->seed == runs[i - 1]->seed);
    }
    return distinct > 1 && (distinct < n || repeated);
}

static int by_signature(const void *a, const void *b)
{
    const report_run *x = *(report_run *const *)a, *y = *(report_run *const *)b;
    const int order = strcmp(x->signature, y->signature);
    if (order) return order;
    if (x->seed != y->seed) return x->seed < y->seed ? -1 : 1;
    const int names = report_order(x->name, y->name);
    return names ? names : strcmp(x->real, y->real);
}

static size_t run_length(report_run *const *runs, size_t n)
{
    size_t k = 1;
    while (k < n && !strcmp(runs[0]->signature, runs[k]->signature)) k++;
    return k;
}

static void split(report *r, report_run **runs, size_t n, bool start)
{
    for (size_t i = 0, k; i < n; i += k) {
        k = run_length(runs + i, n - i);
        if (!is_mixed(runs + i, k, start)) continue;
        for (size_t j = i; j < i + k; j++)
            runs[j]->signature =
                report_print(r, "%s\n%s %s", runs[j]->signature, start ? "start" : "teacher",
                             network_of(runs[j], start));
    }
    qsort(runs, n, sizeof *runs, by_signature);
}

/* ---- the same run twice ---------------------------------------------------------------------- */

static size_t drop_copies(report *r, report_run **runs, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        report_run *before = kept ? runs[kept - 1] : NULL;
        const bool same = before && !r->n_by && before->seed == runs[i]->seed &&
                          !strcmp(before->signature, runs[i]->signature);
        if (same && *runs[i]->hash && !strcmp(before->hash, runs[i]->hash)) {
            runs[i]->bad = report_print(r, "it is the same network as %s", before->name);
            report_note(r, "%s: %s; it counts once", runs[i]->name, runs[i]->bad);
            r->n_good--;
            continue;
        }
        if (same)
            report_note(r,
                        "%s has the settings and the seed of %s, and another result: both are "
                        "averaged as one seed",
                        runs[i]->name, before->name);
        runs[kept++] = runs[i];
    }
    return kept;
}

/* ---- figures --------------------------------------------------------------------------------- */

/* The time of a run and of those it started from; NAN: one is not known. */
static double total_seconds(const report_run *run, int depth)
{
    const double own = run->figures[FIG_SECONDS];
    if (!run->start_file) return own;
    return run->start && depth < 16 ? own + total_seconds(run->start, depth + 1) : (double)NAN;
}

static double mean_of(const report_group *g, int figure)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++)
        if (!isnan(g->runs[i]->figures[figure])) {
            sum += g->runs[i]->figures[figure];
            n++;
        }
    return n ? sum / (double)n : (double)NAN;
}

static void count_seeds(report *r, report_group *g)
{
    g->seeds = report_alloc(r, g->n, sizeof *g->seeds);
    g->top1 = report_alloc(r, g->n, sizeof *g->top1);
    for (size_t i = 0, k; g->seeds && g->top1 && i < g->n; i = k) {
        double sum = 0;
        for (k = i; k < g->n && g->runs[k]->seed == g->runs[i]->seed; k++)
            sum += g->runs[k]->figures[FIG_TOP1];
        g->seeds[g->n_seeds] = g->runs[i]->seed;
        g->top1[g->n_seeds++] = sum / (double)(k - i);
    }
}

/* What is pooled by --by may be several networks, data sets, or taught and not. */
static bool is_pooled(const report_group *g)
{
    const report_run *first = report_first(g);
    for (size_t i = 1; i < g->n; i++) {
        const report_run *run = g->runs[i];
        if (strcmp(run->spec, first->spec) || strcmp(run->data, first->data) ||
            strcmp(run->checksum, first->checksum) || !run->teacher_spec != !first->teacher_spec ||
            !run->start_file != !first->start_file)
            return true;
    }
    return false;
}

static void measure(report *r, report_group *g)
{
    g->mixed = is_pooled(g);
    count_seeds(r, g);
    if (r->failed) return;
    stats_mean(g->top1, g->n_seeds, &g->mean, &g->deviation);
    g->interval = stats_t(g->mean, g->deviation, g->n_seeds);
    for (int i = 0; i < REPORT_FIGURES; i++) g->figures[i] = mean_of(g, i);
    g->total_seconds = 0;
    for (size_t i = 0; i < g->n; i++)
        g->total_seconds += total_seconds(g->runs[i], 0) / (double)g->n;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int by_label(const void *a, const void *b)
{
    const report_group *x = a, *y = b;
    const report_run *p = report_first(x), *q = report_first(y);
    int order = report_order(p->data, q->data);
    if (!order) order = report_order(p->spec, q->spec);
    if (!order) order = (p->start_file != NULL) - (q->start_file != NULL);
    if (!order) order = (p->teacher_spec != NULL) - (q->teacher_spec != NULL);
    if (!order) order = report_order(x->label, y->label);
    return order ? order : strcmp(p->signature, q->signature);
}

static int by_key_label(const void *a, const void *b)
{
    const report_group *x = a, *y = b;
    const int order = report_order(x->label, y->label);
    return order ? order : strcmp(report_first(x)->signature, report_first(y)->signature);
}

/* Labels need each run's group, and order needs labels. */
static void number(report *r)
{
    for (size_t g = 0; g < r->n_groups; g++)
        for (size_t i = 0; i < r->groups[g].n; i++) r->groups[g].runs[i]->group = g;
}

int report_group_runs(report *r)
{
    report_run **runs = report_alloc(r, r->n_runs, sizeof *runs);
    size_t n = 0;
    for (size_t i = 0; i < r->n_runs; i++) {
        report_sign(r, r->runs[i]);
        r->runs[i]->group = SIZE_MAX;
        if (runs && !r->runs[i]->bad && r->runs[i]->signature) runs[n++] = r->runs[i];
    }
    if (r->failed) return cli_fail("out of memory");
    qsort(runs, n, sizeof *runs, by_signature);
    for (int start = 0; start < 2 && !r->n_by; start++) split(r, runs, n, start);
    n = drop_copies(r, runs, n);
    for (size_t i = 0, k; i < n && !r->failed; i += k) {
        k = run_length(runs + i, n - i);
        report_group *list = report_more(r, r->groups, &r->n_groups, sizeof *list);
        if (!list) break;
        r->groups = list;
        list[r->n_groups - 1] = (report_group){.runs = runs + i, .n = k};
        measure(r, &list[r->n_groups - 1]);
    }
    if (r->failed) return cli_fail("out of memory");
    number(r);
    report_label_groups(r);
    if (r->failed) return cli_fail("out of memory");
    qsort(r->groups, r->n_groups, sizeof *r->groups, r->n_by ? by_key_label : by_label);
    number(r);
    return CLI_DONE;
}
