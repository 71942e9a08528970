/* SPDX-License-Identifier: MIT
 * report_fidelity.c: how near a student is to its teacher: how often both name the same class, the
 * divergence of their answers, and how far a network's confidence is from its accuracy. On the test
 * split where that was measured; of kd's own records on the last epoch's training pictures. */
#include "report.h"

#include <math.h>

static bool has_any(const report_group *g)
{
    static const report_figure_id which[] = {FIG_AGREEMENT, FIG_KL, FIG_ECE, FIG_TRAIN_AGREEMENT};
    for (size_t i = 0; i < sizeof which / sizeof *which; i++)
        if (!isnan(g->figures[which[i]])) return true;
    return false;
}

static void row(report *r, size_t group, FILE *f)
{
    const report_run *teacher = report_first(&r->groups[group])->teacher;
    html_group_cell(f, r, group);
    html_cell(f, "%.2f", teacher ? teacher->figures[FIG_TOP1] : (double)NAN);
    html_cell(f, "%.2f", r->groups[group].mean);
}

void report_fidelity(report *r, FILE *f)
{
    static const char *const columns[] = {"<group", "teacher’s top-1, %", "top-1, %", NULL};
    static const html_figure figures[] = {
        {"agrees with its teacher, %", FIG_AGREEMENT, "%.2f", AS_SPREAD},
        {"KL, nats", FIG_KL, "%.4f", AS_SPREAD},
        {"calibration error, %", FIG_ECE, "%.2f", AS_SPREAD},
        {"agrees on training pictures, %", FIG_TRAIN_AGREEMENT, "%.2f", AS_SPREAD},
        {"teacher’s top-1 on them, %", FIG_TEACHER_TOP1, "%.2f", AS_SPREAD},
        {.title = NULL}};
    size_t n = 0;
    for (size_t g = 0; g < r->n_groups; g++) n += has_any(&r->groups[g]);
    if (!n) {
        fputs("<p>No record has an agreement, a divergence or a calibration error. <code>kd eval "
              "--teacher FILE --json</code>, kept as <code>eval.json</code> in a run’s folder, has "
              "all three.</p>\n",
              f);
        return;
    }
    fputs(
        "<p>Test pictures, mean ± standard deviation over runs; a column that no record has is "
        "left "
        "out. KL is of the teacher’s answers from the student’s, at temperature 1. A student that "
        "agrees with a bad teacher has learnt its mistakes.</p>\n",
        f);
    html_group_table(r, f, "Fidelity and calibration", columns, row, figures, has_any);
}
