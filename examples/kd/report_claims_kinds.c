/* SPDX-License-Identifier: MIT
 * report_claims_kinds.c: claims about kinds of teachers and students. Which pairing is the most
 * accurate? Which is the fastest, and why? What does the same student cost by teachers of two kinds?
 * What is left of a teacher's gain if the student alone has the same time? */
#include "report_claims.h"

#include "report_svg.h"

#include <math.h>
#include <string.h>

static report_family student_family(const report *r, size_t g)
{
    return report_family_of(report_first(&r->groups[g])->spec);
}

static report_family teacher_family(const report *r, size_t g)
{
    return report_family_of(report_first(&r->groups[g])->teacher_spec);
}

static bool is_between_cnns(const report *r, size_t g)
{
    return student_family(r, g) == FAMILY_CNN && teacher_family(r, g) == FAMILY_CNN;
}

/* The most accurate distilled group between CNNs that another pairing shares its data with. */
static size_t best_between_cnns(const report *r)
{
    size_t best = SIZE_MAX;
    bool any = false; /* else there is nothing to look for */
    for (size_t g = 0; g < r->n_groups && !any; g++)
        any = claim_is_distilled(r, g, SIZE_MAX) && !is_between_cnns(r, g);
    for (size_t g = 0; g < r->n_groups && any; g++) {
        if (!claim_is_distilled(r, g, SIZE_MAX) || !is_between_cnns(r, g)) continue;
        bool other = false;
        for (size_t k = 0; k < r->n_groups && !other; k++)
            other = claim_is_distilled(r, k, g) && !is_between_cnns(r, k);
        if (other && (best == SIZE_MAX || r->groups[g].mean > r->groups[best].mean)) best = g;
    }
    return best;
}

/* The most accurate group of each other pairing on the same data: [families * families]. */
static size_t rivals_of(const report *r, size_t group, size_t out[FAMILIES * FAMILIES])
{
    size_t n = 0;
    for (int t = 0; t < FAMILIES; t++)
        for (int s = 0; s < FAMILIES; s++) {
            size_t best = SIZE_MAX;
            for (size_t g = 0; g < r->n_groups; g++)
                if (claim_is_distilled(r, g, group) && (int)teacher_family(r, g) == t &&
                    (int)student_family(r, g) == s && !is_between_cnns(r, g) &&
                    (best == SIZE_MAX || r->groups[g].mean > r->groups[best].mean))
                    best = g;
            if (best != SIZE_MAX) out[n++] = best;
        }
    return n;
}

/* A row for each distilled group on the data of `like`: its pairing, its label, then what cells
 * writes. `columns` has all. */
static void table_of_pairings(report *r, FILE *f, const char *caption, const char *const *columns,
                              size_t like, void (*cells)(report *r, size_t group, FILE *f))
{
    html_table(f, caption, columns);
    for (size_t g = 0; g < r->n_groups; g++) {
        if (!claim_is_distilled(r, g, like)) continue;
        fputs("<tr>", f);
        html_text_cell(f, report_print(r, "%s → %s", report_family_names[teacher_family(r, g)],
                                       report_family_names[student_family(r, g)]));
        html_group_cell(f, r, g);
        cells(r, g, f);
        fputs("</tr>\n", f);
    }
    html_table_end(f);
}

/* ---- the most accurate ----------------------------------------------------------------------- */

static void accuracy_cells(report *r, size_t g, FILE *f)
{
    const report_group *group = &r->groups[g];
    const claim_control control = claim_control_of(r, g, false);
    const bool there = control.group != SIZE_MAX;
    html_cell(f, "%.2f", claim_teacher_top1(group));
    html_cell(f, "%.2f", group->mean);
    html_cell(f, "%.2f", there ? r->groups[control.group].mean : (double)NAN);
    html_minus_cell(f, there ? claim_points(r, &control.d) : "–");
}

/* Teacher's accuracy and gain of each distilled group that has both: x, y, group [n]. */
typedef struct gains {
    double *x, *y;
    size_t *group, n;
} gains;

static gains gains_of(report *r, size_t like)
{
    gains a = {.x = report_alloc(r, r->n_groups, sizeof(double)),
               .y = report_alloc(r, r->n_groups, sizeof(double)),
               .group = report_alloc(r, r->n_groups, sizeof(size_t))};
    for (size_t g = 0; !r->failed && g < r->n_groups; g++) {
        if (!claim_is_distilled(r, g, like)) continue;
        const claim_control c = claim_control_of(r, g, false);
        const double x = claim_teacher_top1(&r->groups[g]);
        if (c.group == SIZE_MAX || isnan(x) || isnan(c.d.mean)) continue;
        a.x[a.n] = x;
        a.y[a.n] = c.d.mean;
        a.group[a.n++] = g;
    }
    return a;
}

static void gains_key(const report *r, const gains *a, FILE *f)
{
    fputs("<ul class=\"key\">", f);
    for (size_t t = 0; t < FAMILIES; t++) {
        bool there = false;
        for (size_t i = 0; i < a->n && !there; i++)
            there = (size_t)teacher_family(r, a->group[i]) == t;
        if (!there) continue;
        fputs("<li>", f);
        svg_key_marker(f, t, true);
        fprintf(f, "<span>a %s teaches</span></li>\n", report_family_names[t]);
    }
    fputs("</ul></figure>\n", f);
}

static void draw_gains(report *r, size_t like, FILE *f)
{
    static const char title[] = "What a teacher adds, against its own accuracy";
    const gains a = gains_of(r, like);
    if (a.n < 3) return; /* the table says as much */
    fprintf(f, "<figure><figcaption>%s</figcaption>\n", title);
    svg s = svg_begin(
        f, r->next_id++, 260, svg_axis_over(a.x, a.n, "teacher’s top-1, %"),
        svg_axis_over(a.y, a.n, "gain, points"), title,
        "A point a group, numbered as in the tables; its shape is the teacher’s family. The "
        "numbers are in the table above.");
    for (size_t i = 0; i < a.n; i++) {
        svg_marker(&s, a.x[i], a.y[i], teacher_family(r, a.group[i]), true);
        svg_number(&s, a.x[i], a.y[i], a.group[i] + 1, 8, 4);
    }
    svg_end(&s);
    gains_key(r, &a, f);
}

/* Do the teachers of groups [n] differ in accuracy, so that their kind and their quality are one? */
static const char *teachers_differ(report *r, const size_t *groups, size_t n)
{
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        const double x = claim_teacher_top1(&r->groups[groups[i]]);
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    return high - low > 1
               ? report_print(r,
                              " The teachers’ own accuracies differ by %.1f points: what "
                              "is their kind’s is not told from what is their quality’s.",
                              high - low)
               : "";
}

bool claim_most_accurate(report *r, const claim *c, FILE *f)
{
    static const char *const columns[] = {"<teacher → student",
                                          "<group",
                                          "teacher’s top-1, %",
                                          "student’s, %",
                                          "alone, as many steps, %",
                                          "the teacher’s gain, points",
                                          NULL};
    size_t rivals[FAMILIES * FAMILIES];
    const size_t best = best_between_cnns(r);
    if (best == SIZE_MAX) return false;
    const size_t n = rivals_of(r, best, rivals);
    compare_difference d[FAMILIES * FAMILIES];
    claim_open(c, f);
    table_of_pairings(r, f, "Students by pairing", columns, best, accuracy_cells);
    draw_gains(r, best, f);
    fputs("<p>The best of each pairing is taken by the accuracy in the table.</p>\n", f);
    for (size_t i = 0; i < n; i++) {
        d[i] = claim_differ(r, best, rivals[i]);
        fprintf(
            f,
            "<p>The best student between CNNs, <b class=\"n\">%zu</b>, against the best of %s → "
            "%s, <b class=\"n\">%zu</b>: ",
            best + 1, report_family_names[teacher_family(r, rivals[i])],
            report_family_names[student_family(r, rivals[i])], rivals[i] + 1);
        html_minus(f, claim_points(r, &d[i]));
        fputs(" points.</p>\n", f);
    }
    const claim_test t = claim_test_all(r, d, n);
    rivals[n] = best; /* there is room: the pairing of CNNs is no rival */
    const char *verdict = !t.all_above
                              ? "Not so in these runs: another pairing is as accurate or more"
                          : t.all_told             ? "Holds for these networks"
                          : t.seeds < COMPARE_MANY ? "So it was in these runs"
                                                   : "So it was, but not told from chance in all";
    claim_close(r, verdict, report_print(r, "%s%s", t.sure, teachers_differ(r, rivals, n + 1)), f);
    return true;
}

/* ---- the fastest ----------------------------------------------------------------------------- */

static void time_cells(report *r, size_t g, FILE *f)
{
    const report_group *group = &r->groups[g];
    const report_run *teacher = report_first(group)->teacher;
    html_cell(f, "%.1f",
              claim_is_timed(r, group) ? claim_step_ms(r, group, REPORT_PARTS) : (double)NAN);
    html_cell(f, "%.1f", 1e3 * group->figures[FIG_SECONDS] / group->figures[FIG_STEPS]);
    html_cell(f, "%.1f", teacher ? 1e-6 * teacher->figures[FIG_MACS] : (double)NAN);
    html_cell(f, "%.1f", 1e-6 * group->figures[FIG_MACS]);
}

bool claim_fastest(report *r, const claim *c, FILE *f)
{
    static const char *const columns[] = {"<teacher → student",
                                          "<group",
                                          "ms a step, timing pass",
                                          "ms a step, the runs",
                                          "teacher’s MMACs",
                                          "student’s MMACs",
                                          NULL};
    size_t rivals[FAMILIES * FAMILIES];
    const size_t best = best_between_cnns(r);
    if (best == SIZE_MAX) return false;
    const size_t n = rivals_of(r, best, rivals);
    const double own = claim_step_ms(r, &r->groups[best], REPORT_PARTS);
    double low = HUGE_VAL, high = 0;
    bool timed = claim_is_timed(r, &r->groups[best]);
    for (size_t i = 0; i < n; i++) {
        const double ratio = claim_step_ms(r, &r->groups[rivals[i]], REPORT_PARTS) / own;
        if (!isfinite(ratio)) return false;
        low = ratio < low ? ratio : low;
        high = ratio > high ? ratio : high;
        timed = timed && claim_is_timed(r, &r->groups[rivals[i]]);
    }
    claim_open(c, f);
    table_of_pairings(r, f, "Time of a step by pairing", columns, best, time_cells);
    fprintf(
        f,
        "<p>A step of the other pairings takes %.2f to %.2f times that of the best student between "
        "CNNs%s.</p>\n",
        low, high, timed ? " in the timing pass" : ", by the runs’ own clocks");
    claim_close(
        r,
        low <= 1    ? "Not so in these runs: another pairing is as fast or faster"
        : low < 1.1 ? "So it was, by less than machines differ from day to day"
                    : "So it was in these runs",
        timed ? "One timing pass on one machine: a description. Which networks are compared, not "
                "their kind, decides most of it."
              : "The runs’ own clocks, with whatever else the machine did: a description.",
        f);
    return true;
}

/* ---- the loss -------------------------------------------------------------------------------- */

bool claim_loss_is_quick(report *r, const claim *c, FILE *f)
{
    double most = 0, least_teacher = HUGE_VAL, most_teacher = 0, longest = 0;
    size_t n = 0;
    bool timed = true;
    for (size_t g = 0; g < r->n_groups; g++) {
        const report_group *group = &r->groups[g];
        if (!claim_is_distilled(r, g, SIZE_MAX)) continue;
        const double whole = claim_step_ms(r, group, REPORT_PARTS);
        const double loss = claim_step_ms(r, group, FIG_LOSS_TIME - FIG_DATA);
        const double teacher = claim_step_ms(r, group, FIG_TEACHER - FIG_DATA);
        if (!(loss <= whole && teacher <= whole && whole > 0))
            continue; /* no times, or none that are so */
        most = loss / whole > most ? loss / whole : most;
        longest = loss > longest ? loss : longest;
        least_teacher = teacher / whole < least_teacher ? teacher / whole : least_teacher;
        most_teacher = teacher / whole > most_teacher ? teacher / whole : most_teacher;
        timed = timed && claim_is_timed(r, group);
        n++;
    }
    if (!n || !(most > 0)) return false;
    claim_open(c, f);
    fprintf(
        f,
        "<p>In %zu pairings the loss and its gradient take at most %.3g ms, %.2g %% of a step; the "
        "teacher’s forward pass takes %.0f to %.0f %%. The rest is the student’s forward and "
        "backward pass, the optimiser and the data.</p>\n",
        n, longest, 100 * most, 100 * least_teacher, 100 * most_teacher);
    const size_t best = best_between_cnns(r);
    size_t rivals[FAMILIES * FAMILIES];
    const size_t others = best == SIZE_MAX ? 0 : rivals_of(r, best, rivals);
    for (size_t i = 0; i < others; i++) {
        const size_t k = rivals[i];
        double d[REPORT_PARTS + 1];
        for (size_t p = 0; p <= REPORT_PARTS; p++)
            d[p] = claim_step_ms(r, &r->groups[k], p) - claim_step_ms(r, &r->groups[best], p);
        fprintf(f, "<p>From <b class=\"n\">%zu</b> to <b class=\"n\">%zu</b> a step changes by ",
                best + 1, k + 1);
        html_number(f, "%+.2f", d[REPORT_PARTS]);
        fputs(" ms: the loss by ", f);
        html_number(f, "%+.3f", d[FIG_LOSS_TIME - FIG_DATA]);
        fputs(", the teacher’s forward by ", f);
        html_number(f, "%+.2f", d[FIG_TEACHER - FIG_DATA]);
        fputs(", the student’s forward and backward by ", f);
        html_number(f, "%+.2f", d[FIG_FORWARD - FIG_DATA] + d[FIG_BACKWARD - FIG_DATA]);
        fputs(".</p>\n", f);
    }
    claim_close(
        r,
        most < .01  ? "Does not hold for the loss: it is no part of a step worth the name"
        : most < .1 ? "The loss is a small part of a step"
                    : "The loss is a part of a step that counts",
        report_print(r,
                     "%s; the share of a part hardly depends on what else the machine does. "
                     "The loss would have to be %.0f times slower to be a tenth of a step.",
                     timed ? "A timing pass, medians of its steps" : "Sums over whole runs",
                     .1 / most),
        f);
    return true;
}

/* ---- the same student by two kinds ----------------------------------------------------------- */

static bool by_other_kind(const report *r, size_t a, size_t b)
{
    return claim_is_distilled(r, a, SIZE_MAX) && claim_is_distilled(r, b, a) &&
           !strcmp(report_first(&r->groups[a])->spec, report_first(&r->groups[b])->spec) &&
           teacher_family(r, a) == FAMILY_CNN && teacher_family(r, b) != FAMILY_CNN;
}

static void kind_row(report *r, size_t g, FILE *f)
{
    const report_group *group = &r->groups[g];
    const report_run *teacher = report_first(group)->teacher;
    fputs("<tr>", f);
    html_group_cell(f, r, g);
    html_cell(f, "%.2f", claim_teacher_top1(group));
    html_cell(f, "%.1f", teacher ? 1e-6 * teacher->figures[FIG_MACS] : (double)NAN);
    html_cell(f, "%.1f", 1e-6 * group->figures[FIG_MACS]);
    html_cell(f, "%.1f", claim_step_ms(r, group, FIG_TEACHER - FIG_DATA));
    html_cell(f, "%.1f", claim_step_ms(r, group, REPORT_PARTS));
    html_cell(f, "%.0f", group->figures[FIG_PEAK] / 1048576);
    html_cell(f, "%.2f", group->mean);
    fputs("</tr>\n", f);
}

bool claim_same_student(report *r, const claim *c, FILE *f)
{
    static const char *const columns[] = {
        "<group",           "teacher’s top-1, %",  "teacher’s MMACs",
        "student’s MMACs",  "teacher’s ms a step", "step, ms",
        "peak memory, MiB", "student’s top-1, %",  NULL};
    enum { MOST = 8 };
    compare_difference d[MOST];
    size_t n = 0, pairs[2 * MOST]; /* by the CNN, by the other */
    for (size_t a = 0; a < r->n_groups; a++)
        for (size_t b = 0; b < r->n_groups && n < MOST; b++)
            if (by_other_kind(r, a, b)) {
                pairs[2 * n] = a;
                pairs[2 * n + 1] = b;
                d[n++] = claim_differ(r, a, b);
            }
    if (!n) return false;
    claim_open(c, f);
    html_table(f, "The same student by two kinds of teachers", columns);
    for (size_t i = 0; i < n; i++) {
        if (!i || pairs[2 * i] != pairs[2 * i - 2]) kind_row(r, pairs[2 * i], f);
        kind_row(r, pairs[2 * i + 1], f);
    }
    html_table_end(f);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "<p>By the CNN, <b class=\"n\">%zu</b>, against <b class=\"n\">%zu</b>: ",
                pairs[2 * i] + 1, pairs[2 * i + 1] + 1);
        html_minus(f, claim_points(r, &d[i]));
        fputs(" points.</p>\n", f);
    }
    const claim_test t = claim_test_all(r, d, n);
    claim_close(r,
                !t.all_above ? "The CNN is not the better teacher in all of these pairs"
                : t.all_told ? "The CNN is the better teacher here"
                             : "The CNN was the better teacher in these runs",
                report_print(r, "%s%s", t.sure, teachers_differ(r, pairs, 2 * n)), f);
    return true;
}

/* ---- the same time --------------------------------------------------------------------------- */

static void time_line(report *r, size_t g, const claim_control *longer, FILE *f)
{
    const claim_control same = claim_control_of(r, g, false);
    fprintf(f, "<p><b class=\"n\">%zu</b> ", g + 1);
    html(f, r->groups[g].label);
    fprintf(f, ", against the student alone %s (<b class=\"n\">%zu</b>): ",
            report_for_longer(r, longer->group, g), longer->group + 1);
    html_minus(f, claim_points(r, &longer->d));
    fputs(" points", f);
    if (same.group != SIZE_MAX) {
        fputs("; for as many steps: ", f);
        html_minus(f, claim_points(r, &same.d));
    }
    fputs(".</p>\n", f);
}

bool claim_time_control(report *r, const claim *c, FILE *f)
{
    enum { MOST = 32 };
    compare_difference d[MOST];
    size_t n = 0;
    for (size_t g = 0; g < r->n_groups && n < MOST; g++) {
        if (!claim_is_distilled(r, g, SIZE_MAX)) continue;
        const claim_control longer = claim_control_of(r, g, true);
        if (longer.group == SIZE_MAX) continue;
        if (!n) claim_open(c, f);
        d[n++] = longer.d;
        time_line(r, g, &longer, f);
    }
    if (!n) return false;
    const claim_test t = claim_test_all(r, d, n);
    claim_close(r,
                t.all_above && t.all_told ? "Teachers add something beyond the time they take"
                : t.all_above ? "In these runs teachers added something beyond their time"
                              : "Not in all of these does a teacher add something beyond its time",
                t.sure, f);
    return true;
}
