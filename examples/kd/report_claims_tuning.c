/* SPDX-License-Identifier: MIT
 * report_claims_tuning.c: what training further after distillation gains. On the same data it has
 * controls: more distillation, plain training, the same for a student that had no teacher. On a task
 * that was held out the control is a start without a teacher. */
#include "report_claims.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t start_of(const report *r, size_t g)
{
    const report_run *start = report_first(&r->groups[g])->start;
    const bool one = start && start->group < r->n_groups && !r->groups[g].mixed;
    return one && !r->groups[start->group].mixed ? start->group : SIZE_MAX;
}

static double rate_of(const report_run *run)
{
    const char *lr = report_setting_of(run, "lr");
    return lr ? strtod(lr, NULL) : (double)NAN;
}

typedef enum kind { OTHER, TUNED, MORE_PLAIN, MORE_DISTILLED, TUNED_ALONE } kind;

static const char *const kind_names[] = {"other", "fine-tuned: labels alone, a lower rate",
                                         "control: plain training, the first rate again",
                                         "control: more distillation",
                                         "control: fine-tuned, but never distilled"};

/* What a group that was trained further is, beside its start. */
static kind kind_of(const report *r, size_t g)
{
    const size_t start = start_of(r, g);
    const report_run *run = report_first(&r->groups[g]);
    if (start == SIZE_MAX || !claim_same_data(r, g, start)) return OTHER;
    const report_run *before = report_first(&r->groups[start]);
    if (strcmp(run->spec, before->spec)) return OTHER;
    const bool lower = rate_of(run) < rate_of(before);
    if (!before->teacher_spec) return !run->teacher_spec && lower ? TUNED_ALONE : OTHER;
    if (run->teacher_spec) return MORE_DISTILLED;
    return lower ? TUNED : MORE_PLAIN;
}

static void gain_row(report *r, size_t g, FILE *f)
{
    const report_run *run = report_first(&r->groups[g]);
    const size_t start = start_of(r, g);
    const compare_difference d = claim_differ(r, g, start);
    fputs("<tr>", f);
    html_text_cell(f, report_family_names[report_family_of(run->spec)]);
    html_group_cell(f, r, g);
    html_text_cell(f, kind_names[kind_of(r, g)]);
    html_cell(f, "%.2f", r->groups[start].mean);
    html_cell(f, "%.2f", r->groups[g].mean);
    html_minus_cell(f, claim_points(r, &d));
    fputs("</tr>\n", f);
}

/* The best gain of this kind by CNNs, or by transformers, and whose it is; NAN: none. */
static double best_gain(report *r, kind what, bool cnn, size_t *group)
{
    double best = (double)NAN;
    for (size_t g = 0; g < r->n_groups; g++) {
        const bool is_cnn = report_family_of(report_first(&r->groups[g])->spec) == FAMILY_CNN;
        if (kind_of(r, g) != what || is_cnn != cnn) continue;
        const double gain = claim_differ(r, g, start_of(r, g)).mean;
        if (isnan(gain) || gain <= best) continue;
        best = gain;
        *group = g;
    }
    return best;
}

/* The best that another way to train further gained, for these students. */
static double best_control(report *r, bool cnn)
{
    static const kind controls[] = {MORE_PLAIN, MORE_DISTILLED, TUNED_ALONE};
    double best = (double)NAN;
    size_t group;
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        const double gain = best_gain(r, controls[i], cnn, &group);
        if (isnan(best) || gain > best) best = gain;
    }
    return best;
}

static const char *order_of(report *r, double cnn, double transformer)
{
    if (isnan(cnn) || isnan(transformer))
        return report_print(r, "Only %s were fine-tuned: the order is not known",
                            isnan(cnn) ? "transformers" : "CNNs");
    return transformer > cnn ? "The order is the study’s: transformers gained more"
                             : "The order is not the study’s: transformers gained no more";
}

bool claim_fine_tuning(report *r, const claim *c, FILE *f)
{
    static const char *const columns[] = {"<student", "<group",       "<what it is", "before, %",
                                          "after, %", "gain, points", NULL};
    size_t cnn_group = 0, other_group = 0, n = 0;
    const double cnn = best_gain(r, TUNED, true, &cnn_group);
    const double other = best_gain(r, TUNED, false, &other_group);
    if (isnan(cnn) && isnan(other)) return false;
    claim_open(c, f);
    html_table(f, "Trained further, on the same data", columns);
    for (size_t g = 0; g < r->n_groups; g++)
        if (kind_of(r, g) != OTHER) gain_row(r, g, f);
    html_table_end(f);
    compare_difference d[2];
    if (!isnan(cnn)) d[n++] = claim_differ(r, cnn_group, start_of(r, cnn_group));
    if (!isnan(other)) d[n++] = claim_differ(r, other_group, start_of(r, other_group));
    const bool beaten = best_control(r, true) >= cnn || best_control(r, false) >= other;
    const double most = isnan(other) || cnn > other ? cnn : other;
    const claim_test t = claim_test_all(r, d, n);
    claim_close(
        r,
        report_print(r, "%s; the most is %+.1f points%s", order_of(r, cnn, other), most,
                     beaten ? ", and a control gained as much or more: not distillation’s doing"
                            : ""),
        report_print(r,
                     "Of fine-tuning against its start: %s For how long and on what the study "
                     "fine-tuned is not known.",
                     t.sure),
        f);
    return true;
}

/* ---- held out -------------------------------------------------------------------------------- */

static bool is_held_out(const report *r, size_t g)
{
    const size_t start = start_of(r, g);
    return start != SIZE_MAX && !claim_same_data(r, g, start);
}

/* The group that started from a network without a teacher, in the same way on the same data. */
static size_t plain_start(const report *r, size_t g)
{
    for (size_t k = 0; k < r->n_groups; k++) {
        if (!is_held_out(r, k) || !claim_same_data(r, k, g)) continue;
        const report_run *a = report_first(&r->groups[g]), *b = report_first(&r->groups[k]);
        if (strcmp(a->spec, b->spec) || report_first(&r->groups[start_of(r, k)])->teacher_spec)
            continue;
        if (r->groups[g].figures[FIG_STEPS] == r->groups[k].figures[FIG_STEPS] &&
            rate_of(a) == rate_of(b))
            return k;
    }
    return SIZE_MAX;
}

bool claim_held_out(report *r, const claim *c, FILE *f)
{
    enum { MOST = 32 };
    static const char *const columns[] = {"<group",
                                          "<data",
                                          "top-1, %",
                                          "95 % over seeds",
                                          "from the plain start, %",
                                          "difference, points",
                                          NULL};
    compare_difference d[MOST];
    size_t n = 0;
    bool open = false;
    for (size_t g = 0; g < r->n_groups; g++) {
        if (!is_held_out(r, g) || !report_first(&r->groups[start_of(r, g)])->teacher_spec) continue;
        if (!open) {
            claim_open(c, f);
            html_table(f, "Trained further, on other data", columns);
        }
        open = true;
        const size_t plain = plain_start(r, g);
        fputs("<tr>", f);
        html_group_cell(f, r, g);
        html_text_cell(f, report_first(&r->groups[g])->data);
        html_cell(f, "%.2f", r->groups[g].mean);
        html_interval_cell(f, r->groups[g].interval, "%.2f");
        html_cell(f, "%.2f", plain == SIZE_MAX ? (double)NAN : r->groups[plain].mean);
        compare_difference own = {.mean = (double)NAN};
        if (plain != SIZE_MAX) own = claim_differ(r, g, plain);
        html_minus_cell(f, claim_points(r, &own));
        fputs("</tr>\n", f);
        if (plain != SIZE_MAX && n < MOST) d[n++] = own;
    }
    if (!open) return false;
    html_table_end(f);
    const claim_test t = claim_test_all(r, d, n);
    claim_close(r,
                !n             ? "No control that started from a network without a teacher"
                : !t.all_above ? "A distilled start is not better in all of these"
                : t.all_told   ? "A distilled start is better"
                               : "A distilled start was better in these runs",
                t.sure, f);
    return true;
}
