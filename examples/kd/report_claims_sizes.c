/* SPDX-License-Identifier: MIT
 * report_claims_sizes.c: claims about what is swept: sizes of the student at a constant duration,
 * resolutions of several sizes, temperatures and weights. */
#include "report_claims.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64 };

static bool same_value(const report_run *a, const report_run *b, const char *key)
{
    const char *x = report_setting_of(a, key), *y = report_setting_of(b, key);
    return x && y ? !strcmp(x, y) : x == y;
}

static bool same_teacher(const report_run *a, const report_run *b)
{
    return same_value(a, b, "teacher") && same_value(a, b, "teacher-run");
}

/* ---- sizes at a constant duration ------------------------------------------------------------ */

/* As long to within a tenth: budgets in seconds are kept to that by the library. */
static bool same_duration(const report_group *a, const report_group *b)
{
    const double x = a->figures[FIG_SECONDS], y = b->figures[FIG_SECONDS];
    return x > 0 && y > 0 && fabs(x - y) <= .1 * (x > y ? x : y);
}

static bool goes_with(const report *r, size_t a, size_t b)
{
    const report_run *x = report_first(&r->groups[a]), *y = report_first(&r->groups[b]);
    return claim_is_distilled(r, b, a) && same_teacher(x, y) &&
           report_family_of(x->spec) == report_family_of(y->spec) &&
           same_duration(&r->groups[a], &r->groups[b]);
}

/* The groups that go with `a`, and it: of each size the best. */
static size_t sizes_with(const report *r, size_t a, size_t *out)
{
    size_t n = 0;
    out[n++] = a;
    for (size_t b = 0; b < r->n_groups && n < MOST; b++) {
        if (b == a || !goes_with(r, a, b)) continue;
        bool seen = false;
        for (size_t i = 0; i < n && !seen; i++) {
            seen =
                !strcmp(report_first(&r->groups[out[i]])->spec, report_first(&r->groups[b])->spec);
            if (seen && r->groups[b].mean > r->groups[out[i]].mean) out[i] = b;
        }
        if (!seen) out[n++] = b;
    }
    return n;
}

static void size_row(report *r, size_t g, FILE *f)
{
    const report_group *group = &r->groups[g];
    fputs("<tr>", f);
    html_group_cell(f, r, g);
    html_cell(f, "%.3f", group->figures[FIG_PARAMS] / 1e6);
    html_cell(f, "%.1f", group->figures[FIG_MACS] / 1e6);
    html_cell(f, "%.3g", group->figures[FIG_LATENCY]);
    html_cell(f, "%.1f", group->figures[FIG_EPOCHS]);
    html_cell(f, "%.0f", group->figures[FIG_SECONDS]);
    html_cell(f, "%.2f", group->mean);
    html_interval_cell(f, group->interval, "%.2f");
    fputs("</tr>\n", f);
}

static void by_macs(const report *r, size_t *list, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0; k--) {
            const double a = r->groups[list[k - 1]].figures[FIG_MACS];
            const double b = r->groups[list[k]].figures[FIG_MACS];
            if (!(b < a)) break;
            const size_t swap = list[k];
            list[k] = list[k - 1];
            list[k - 1] = swap;
        }
}

bool claim_sizes(report *r, const claim *c, FILE *f)
{
    static const char *const columns[] = {"<group",      "parameters, M",   "MACs, M",
                                          "latency, ms", "epochs",          "seconds",
                                          "top-1, %",    "95 % over seeds", NULL};
    size_t list[MOST], best[MOST], n = 0;
    for (size_t g = 0; g < r->n_groups; g++) {
        const size_t k = claim_is_distilled(r, g, SIZE_MAX) ? sizes_with(r, g, list) : 0;
        if (k <= n) continue;
        n = k;
        memcpy(best, list, n * sizeof *list);
    }
    if (n < 3) return false;
    by_macs(r, best, n);
    claim_open(c, f);
    html_table(f, "Sizes, distilled for the same time", columns);
    for (size_t i = 0; i < n; i++) size_row(r, best[i], f);
    html_table_end(f);
    size_t top = 0;
    for (size_t i = 0; i < n; i++)
        if (r->groups[best[i]].mean > r->groups[best[top]].mean) top = i;
    compare_difference d[MOST];
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (i != top) d[k++] = claim_differ(r, best[top], best[i]);
    const claim_test t = claim_test_all(r, d, k);
    claim_close(
        r,
        top + 1 == n
            ? "The largest is the most accurate: a size at which it turns is not among these"
        : top == 0
            ? "The smallest is the most accurate"
            : report_print(r, "The most accurate is neither the smallest nor the largest: %s",
                           r->groups[best[top]].label),
        report_print(r, "Of the most accurate against each other size: %s", t.sure), f);
    return true;
}

/* ---- resolution by size ---------------------------------------------------------------------- */

/* Pixels of "...,image=96,..." or "...,image=48x96,..."; NAN of a spec without it. */
static void split_spec(const char *spec, char without[KD_SPEC_SIZE], double *pixels)
{
    const char *at = strstr(spec, ",image=");
    char *end;
    *pixels = (double)NAN;
    snprintf(without, KD_SPEC_SIZE, "%s", spec);
    if (!at) return;
    const size_t begin = (size_t)(at - spec), n = strcspn(at + 1, ",") + 1;
    const double height = strtod(at + strlen(",image="), &end);
    *pixels = height * (*end == 'x' ? strtod(end + 1, NULL) : height);
    if (begin + n < KD_SPEC_SIZE)
        memmove(without + begin, without + begin + n, strlen(without + begin + n) + 1);
}

typedef struct sized {
    size_t low, high; /* groups of one network at its smallest and largest pictures */
    double macs;      /* at the smallest */
    compare_difference d;
} sized;

/* The pair that group g begins as the one with the smaller pictures. Of several groups with the
 * largest it is the one whose settings are most like g's. False: no larger one. */
static bool pair_of(report *r, size_t g, sized *out)
{
    char own[KD_SPEC_SIZE], other[KD_SPEC_SIZE];
    double small, image, largest = 0;
    size_t most = 0;
    split_spec(report_first(&r->groups[g])->spec, own, &small);
    *out = (sized){.low = g, .high = SIZE_MAX, .macs = r->groups[g].figures[FIG_MACS]};
    for (size_t k = 0; k < r->n_groups; k++) {
        if (!claim_is_distilled(r, k, g)) continue;
        split_spec(report_first(&r->groups[k])->spec, other, &image);
        if (strcmp(own, other)) continue;
        if (image < small) return false;
        const size_t alike =
            report_likeness(report_first(&r->groups[g]), report_first(&r->groups[k]));
        if (!(image > small) || image < largest || (image == largest && alike <= most)) continue;
        largest = image;
        most = alike;
        out->high = k;
    }
    if (out->high == SIZE_MAX) return false;
    out->d = claim_differ(r, out->high, out->low);
    return true;
}

bool claim_resolution(report *r, const claim *c, FILE *f)
{
    sized all[MOST];
    size_t n = 0, small = 0, large = 0;
    for (size_t g = 0; g < r->n_groups && n < MOST; g++)
        if (claim_is_distilled(r, g, SIZE_MAX)) n += pair_of(r, g, &all[n]);
    for (size_t i = 0; i < n; i++) {
        if (all[i].macs < all[small].macs) small = i;
        if (all[i].macs > all[large].macs) large = i;
    }
    if (n < 2 || small == large) return false;
    claim_open(c, f);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "<p><b class=\"n\">%zu</b> ", all[i].high + 1);
        html(f, r->groups[all[i].high].label);
        fprintf(f, " against the smaller pictures of <b class=\"n\">%zu</b>: ", all[i].low + 1);
        html_minus(f, claim_points(r, &all[i].d));
        fputs(" points.</p>\n", f);
    }
    compare_difference d[2] = {all[small].d, all[large].d};
    const bool helps = d[0].mean > 0, hurts = d[1].mean < 0;
    const claim_test t = claim_test_all(r, d, 2);
    claim_close(r,
                helps && hurts ? "So it was: the smallest gained, the largest lost"
                : helps        ? "The smallest gained; the largest did not lose"
                : hurts        ? "The largest lost; the smallest did not gain"
                               : "Not so in these runs",
                t.sure, f);
    return true;
}

/* ---- temperature and weights ----------------------------------------------------------------- */

static bool differs_in_loss_alone(const report_run *a, const report_run *b)
{
    static const char *const loss[] = {"temperature", "soft", "hard"};
    bool differs = false;
    for (size_t i = 0; i < sizeof loss / sizeof *loss; i++)
        differs = differs || !same_value(a, b, loss[i]);
    for (size_t i = 0; i < a->n_settings && differs; i++) {
        const char *key = a->settings[i].key;
        const bool own = !strcmp(key, loss[0]) || !strcmp(key, loss[1]) || !strcmp(key, loss[2]);
        if (!own && !same_value(a, b, key)) return false;
    }
    return differs;
}

static void loss_row(report *r, size_t g, FILE *f)
{
    const report_group *group = &r->groups[g];
    const report_run *run = report_first(group);
    fputs("<tr>", f);
    html_group_cell(f, r, g);
    html_text_cell(f, report_setting_of(run, "temperature"));
    html_text_cell(f, report_setting_of(run, "hard"));
    html_text_cell(f, report_setting_of(run, "soft"));
    html_cell(f, "%.2f", group->mean);
    html_interval_cell(f, group->interval, "%.2f");
    fputs("</tr>\n", f);
}

bool claim_temperature(report *r, const claim *c, FILE *f)
{
    static const char *const columns[] = {"<group",
                                          "<temperature",
                                          "<labels’ weight",
                                          "<teacher’s weight",
                                          "top-1, %",
                                          "95 % over seeds",
                                          NULL};
    size_t list[MOST], n = 0, best = 0;
    for (size_t a = 0; a < r->n_groups && n < 2; a++) {
        n = 0;
        if (!claim_is_distilled(r, a, SIZE_MAX)) continue;
        for (size_t b = 0; b < r->n_groups && n < MOST; b++)
            if (b == a ||
                (claim_is_distilled(r, b, a) &&
                 differs_in_loss_alone(report_first(&r->groups[a]), report_first(&r->groups[b]))))
                list[n++] = b;
    }
    if (n < 2) return false;
    claim_open(c, f);
    html_table(f, "Temperatures and weights", columns);
    for (size_t i = 0; i < n; i++) {
        loss_row(r, list[i], f);
        if (r->groups[list[i]].mean > r->groups[list[best]].mean) best = i;
    }
    html_table_end(f);
    compare_difference d[MOST];
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (i != best) d[k++] = claim_differ(r, list[best], list[i]);
    const claim_test t = claim_test_all(r, d, k);
    claim_close(r, report_print(r, "The most accurate: %s", r->groups[list[best]].label),
                report_print(r, "Of it against each other: %s", t.sure), f);
    return true;
}
