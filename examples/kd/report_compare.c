/* SPDX-License-Identifier: MIT
 * report_compare.c: which groups are compared, and their differences seed by seed. Without --against
 * and --paired these are the controls of a study of distillation:
 *
 *   a taught group        the same network on the same data without a teacher, for the same steps;
 *                         and where there is one, for longer, as teachers take time
 *   one trained further   what it started from; and all others that started there for as many steps
 *
 * p-values are Holm's for all comparisons of the report. */
#include "report.h"

#include <math.h>
#include <string.h>

enum { MOST_COMPARISONS = 2000 };

/* ---- one comparison -------------------------------------------------------------------------- */

static const report_run *run_of(const report_group *g, int64_t seed, size_t *n)
{
    const report_run *found = NULL;
    *n = 0;
    for (size_t i = 0; i < g->n; i++)
        if (g->runs[i]->seed == seed) {
            found = g->runs[i];
            ++*n;
        }
    return found;
}

/* Both sides by the seeds of a. */
static void sides(const report_group *a, const report_group *b, compare_side *x, compare_side *y)
{
    for (size_t i = 0; i < a->n_seeds; i++) {
        size_t n, m;
        const report_run *p = run_of(a, a->seeds[i], &n), *q = run_of(b, a->seeds[i], &m);
        x[i] = (compare_side){.there = true, .top1 = a->top1[i]};
        y[i] = (compare_side){.there = q != NULL};
        for (size_t k = 0; q && k < b->n_seeds; k++)
            if (b->seeds[k] == a->seeds[i]) y[i].top1 = b->top1[k];
        if (n != 1 || m != 1) continue; /* means of several networks have no answers */
        x[i].right = p->right;
        x[i].n_right = p->n_right;
        y[i].right = q->right;
        y[i].n_right = q->n_right;
    }
}

static bool have(const report *r, size_t a, size_t b)
{
    for (size_t i = 0; i < r->n_comparisons; i++) {
        const report_comparison *c = &r->comparisons[i];
        if ((c->a == a && c->b == b) || (c->a == b && c->b == a)) return true;
    }
    return false;
}

static compare_difference differ(report *r, size_t a, size_t b, double **each)
{
    const report_group *g = &r->groups[a];
    compare_side *x = report_alloc(r, g->n_seeds, sizeof *x);
    compare_side *y = report_alloc(r, g->n_seeds, sizeof *y);
    *each = report_alloc(r, g->n_seeds, sizeof **each);
    if (r->failed) return (compare_difference){.n = 0};
    sides(g, &r->groups[b], x, y);
    return compare_paired(x, y, g->n_seeds, *each);
}

compare_difference report_differ(report *r, size_t a, size_t b)
{
    double *each;
    return differ(r, a, b, &each);
}

static void add(report *r, size_t a, size_t b, const char *why)
{
    if (a == b || have(r, a, b) || r->failed || r->n_comparisons == MOST_COMPARISONS) return;
    report_comparison *list = report_more(r, r->comparisons, &r->n_comparisons, sizeof *list);
    if (!list) return;
    r->comparisons = list;
    report_comparison *c = &list[r->n_comparisons - 1];
    *c = (report_comparison){.a = a, .b = b, .why = why};
    c->d = differ(r, a, b, &c->each);
}

/* ---- controls -------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static bool same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static bool same_task(const report_run *a, const report_run *b)
{
    return !strcmp(a->spec, b->spec) && !strcmp(a->data, b->data) &&
           !strcmp(a->checksum, b->checksum) &&
           same_text(report_setting_of(a, "dev_count"), report_setting_of(b, "dev_count"));
}

static size_t start_group(const report_run *run)
{
    return run->start ? run->start->group : SIZE_MAX;
}

static bool same_start(const report_run *a, const report_run *b)
{
    if (!a->start_file || !b->start_file) return !a->start_file && !b->start_file;
    if (a->start && b->start) return start_group(a) == start_group(b) && start_group(a) != SIZE_MAX;
    return same_text(report_setting_of(a, "start"), report_setting_of(b, "start"));
}

size_t report_likeness(const report_run *a, const report_run *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_settings; i++)
        n += same_text(a->settings[i].value, report_setting_of(b, a->settings[i].key));
    return n;
}

/* Settings of a control that are other ones, and need not be, as words: "; other lr, augment". The
 * teacher's own settings are meant to differ, and for longer training its length. */
static const char *other_settings(report *r, size_t group, size_t control, bool longer)
{
    const report_run *sides[2] = {report_first(&r->groups[group]),
                                  report_first(&r->groups[control])};
    const char *words = "";
    size_t n = 0;
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < sides[side]->n_settings; i++) {
            const char *key = sides[side]->settings[i].key;
            const char *other = report_setting_of(sides[!side], key);
            const kd_option *o = kd_option_find(key);
            bool expected =
                (o && o->of == KD_OF_DISTILL) || (o && longer && (o->flags & KD_LENGTH));
            expected = expected || !strcmp(key, "command") || !strncmp(key, "teacher", 7);
            if (expected || (side && other) || same_text(sides[side]->settings[i].value, other))
                continue;
            if (n++ < 4) words = report_print(r, "%s%s%s", words, n > 1 ? ", " : "; other ", key);
        }
    return n > 4 ? report_print(r, "%s and %zu more", words, n - 4) : words;
}

static double steps_of(const report_group *g)
{
    return g->figures[FIG_STEPS];
}

size_t report_control(const report *r, size_t group, bool longer)
{
    const report_group *g = &r->groups[group];
    size_t best = SIZE_MAX, most = 0;
    for (size_t k = 0; k < r->n_groups; k++) {
        const report_group *other = &r->groups[k];
        const report_run *a = report_first(g), *b = report_first(other);
        const bool steps =
            longer ? steps_of(other) > steps_of(g) : same_number(steps_of(other), steps_of(g));
        if (k == group || g->mixed || other->mixed || b->teacher_spec || !same_task(a, b) ||
            !same_start(a, b) || !steps)
            continue;
        const size_t n = 1 + report_likeness(a, b);
        if (n <= most) continue;
        most = n;
        best = k;
    }
    return best;
}

const report_timing *report_timing_of(const report *r, const report_run *run)
{
    for (size_t i = 0; i < r->n_timings; i++)
        if (!strcmp(r->timings[i].student, run->spec) &&
            same_text(r->timings[i].teacher, run->teacher_spec))
            return &r->timings[i];
    return NULL;
}

/* Steps of a quiet timing pass, if there is one: runs share their machine with others. */
static double times_longer(const report *r, size_t group, size_t than)
{
    const report_group *a = &r->groups[group], *b = &r->groups[than];
    const report_timing *x = report_timing_of(r, report_first(a));
    const report_timing *y = report_timing_of(r, report_first(b));
    if (x && y)
        return steps_of(a) * x->parts[REPORT_PARTS] / (steps_of(b) * y->parts[REPORT_PARTS]);
    return a->figures[FIG_SECONDS] / b->figures[FIG_SECONDS];
}

const char *report_for_longer(report *r, size_t group, size_t than)
{
    const double times = times_longer(r, group, than);
    return isfinite(times) ? report_print(r, "for %.2f times the time", times) : "for more steps";
}

static void compare_taught(report *r, size_t g)
{
    const size_t same = report_control(r, g, false), longer = report_control(r, g, true);
    if (same != SIZE_MAX)
        add(r, g, same,
            report_print(r, "without a teacher, for as many steps%s",
                         other_settings(r, g, same, false)));
    if (longer != SIZE_MAX)
        add(r, g, longer,
            report_print(r, "without a teacher, %s%s", report_for_longer(r, longer, g),
                         other_settings(r, g, longer, true)));
}

static void compare_trained_further(report *r, size_t g)
{
    const report_run *run = report_first(&r->groups[g]);
    const size_t start = start_group(run);
    const bool same_data = start < r->n_groups && same_task(run, report_first(&r->groups[start]));
    if (same_data) add(r, g, start, "what it started from");
    for (size_t k = 0; k < r->n_groups; k++) {
        const report_run *other = report_first(&r->groups[k]);
        if (r->groups[k].mixed || !other->start_file || !same_start(run, other) ||
            !same_task(run, other))
            continue;
        if (same_number(steps_of(&r->groups[g]), steps_of(&r->groups[k])))
            add(r, g, k, "another way to train further, for as many steps");
    }
}

static size_t count_alone(const report *r)
{
    size_t n = 0;
    for (size_t g = 0; g < r->n_groups; g++) {
        bool compared = false;
        for (size_t i = 0; i < r->n_comparisons && !compared; i++)
            compared = r->comparisons[i].a == g || r->comparisons[i].b == g;
        n += !compared;
    }
    return n;
}

/* ---- what was asked for ---------------------------------------------------------------------- */

/* A group by its label, its number, or its runs' folder without the seed; SIZE_MAX: none. */
static size_t find_group(const report *r, const char *text)
{
    uint64_t number;
    size_t found = SIZE_MAX;
    if (cli_parse_count(text, &number) && number >= 1 && number <= r->n_groups)
        return (size_t)number - 1;
    for (size_t g = 0; g < r->n_groups; g++)
        if (!strcmp(r->groups[g].label, text)) return g;
    for (size_t g = 0; g < r->n_groups; g++)
        if (!strcmp(report_first(&r->groups[g])->title, text)) {
            if (found != SIZE_MAX) return SIZE_MAX; /* several */
            found = g;
        }
    return found;
}

static int compare_with_one(report *r)
{
    char shown[200];
    const size_t control = find_group(r, r->args->against);
    if (control == SIZE_MAX)
        return cli_fail("--against %s: no group has this name, or several have it; a group's "
                        "number of the report will do",
                        cli_escape(r->args->against, shown, sizeof shown));
    for (size_t g = 0; g < r->n_groups; g++) add(r, g, control, "what --against names");
    return CLI_DONE;
}

static int compare_all(report *r)
{
    if (r->n_groups * (r->n_groups - 1) / 2 > MOST_COMPARISONS)
        return cli_fail("--paired: %zu groups are more than %d pairs; --by joins groups",
                        r->n_groups, MOST_COMPARISONS);
    for (size_t g = 0; g < r->n_groups; g++)
        for (size_t k = 0; k < g; k++) add(r, g, k, "every other group");
    return CLI_DONE;
}

static void correct(report *r)
{
    double *p = report_alloc(r, r->n_comparisons, sizeof *p);
    for (size_t i = 0; p && i < r->n_comparisons; i++)
        p[i] = r->comparisons[i].p_alone = r->comparisons[i].d.p;
    if (p) stats_holm(p, r->n_comparisons);
    for (size_t i = 0; p && i < r->n_comparisons; i++) r->comparisons[i].d.p = p[i];
}

int report_compare(report *r)
{
    int code = CLI_DONE;
    if (r->args->against)
        code = compare_with_one(r);
    else if (r->args->paired)
        code = compare_all(r);
    else
        for (size_t g = 0; g < r->n_groups; g++) {
            if (r->groups[g].mixed) continue; /* it has no control */
            if (report_first(&r->groups[g])->teacher_spec) compare_taught(r, g);
            if (report_first(&r->groups[g])->start_file) compare_trained_further(r, g);
        }
    if (r->n_comparisons == MOST_COMPARISONS)
        report_note(r, "there are more than %d comparisons: the rest is left out",
                    MOST_COMPARISONS);
    correct(r);
    r->alone = count_alone(r);
    return code ? code : r->failed ? cli_fail("out of memory") : CLI_DONE;
}
