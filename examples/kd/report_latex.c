/* SPDX-License-Identifier: MIT
 * report_latex.c: the groups and their differences as two LaTeX tabulars, to be \input. They need no
 * package; texts are escaped. */
#include "report.h"

#include <math.h>
#include <string.h>

const char report_latex_head[] = "% kd report: ";

static void text(FILE *f, const char *words)
{
    char safe[1024];
    for (const char *c = cli_escape(words, safe, sizeof safe); *c; c++) switch (*c) {
        case '\\':
            fputs("\\textbackslash{}", f);
            break;
        case '~':
            fputs("\\textasciitilde{}", f);
            break;
        case '^':
            fputs("\\textasciicircum{}", f);
            break;
        case '<':
            fputs("\\textless{}", f);
            break;
        case '>':
            fputs("\\textgreater{}", f);
            break;
        case '"':
            fputs("''", f);
            break;
        case '|':
            fputs("\\textbar{}", f);
            break;
        default:
            if (strchr("#$%&_{}", *c)) fputc('\\', f);
            fputc(*c, f);
        }
}

/* "$+1.02$", or a dash. */
static void number(FILE *f, const char *format, double x)
{
    if (isnan(x)) {
        fputs("--", f);
        return;
    }
    fputc('$', f);
    fprintf(f, format, x);
    fputc('$', f);
}

static void mean(FILE *f, const char *format, double x, double deviation)
{
    number(f, format, x);
    if (!isnan(deviation)) fprintf(f, " $\\pm$ $%.2f$", deviation);
}

static void interval(FILE *f, const char *format, stats_interval i)
{
    number(f, format, i.low);
    if (isnan(i.low)) return;
    fputs(" to ", f);
    number(f, format, i.high);
}

static void group_line(const report *r, size_t group, FILE *f)
{
    const report_group *g = &r->groups[group];
    fprintf(f, "%zu & ", group + 1);
    text(f, g->label);
    fputs(" & ", f);
    mean(f, "%.2f", g->mean, g->deviation);
    fputs(" & ", f);
    interval(f, "%.2f", g->interval);
    fprintf(f, " & %zu & ", g->n_seeds);
    number(f, "%.2f", g->figures[FIG_PARAMS] / 1e6);
    fputs(" & ", f);
    number(f, "%.1f", g->figures[FIG_MACS] / 1e6);
    fputs(" & ", f);
    number(f, "%.0f", g->figures[FIG_SECONDS]);
    fputs(" \\\\\n", f);
}

static void difference_line(const report_comparison *c, FILE *f)
{
    fprintf(f, "%zu & %zu & ", c->a + 1, c->b + 1);
    text(f, c->why);
    fputs(" & ", f);
    mean(f, "%+.2f", c->d.mean, c->d.deviation);
    fprintf(f, " & %zu & ", c->d.n);
    interval(f, "%+.2f", c->d.seeds);
    fputs(" & ", f);
    interval(f, "%+.2f", c->d.pictures);
    fputs(" & ", f);
    text(f, isnan(c->d.p) ? "--" : stats_print_p(c->d.p).text);
    fputs(" & ", f);
    text(f, compare_verdict(&c->d));
    fputs(" \\\\\n", f);
}

void report_latex(report *r, FILE *f)
{
    fprintf(f,
            "%sgroups; top-1 in percent, mean, standard deviation and 95 %% interval over seeds\n"
            "\\begin{tabular}{rlrrrrrr}\n\\hline\n"
            "& group & top-1, \\%% & 95\\,\\%% & seeds & parameters, M & MACs, M & training, s "
            "\\\\\n\\hline\n",
            report_latex_head);
    for (size_t g = 0; g < r->n_groups; g++) group_line(r, g, f);
    fputs("\\hline\n\\end{tabular}\n", f);
    if (!r->n_comparisons) return;
    fprintf(f,
            "\n%% differences in points, seed by seed; p with Holm's correction for all of them; a "
            "verdict needs %d seeds\n"
            "\\begin{tabular}{rrlrrrrrl}\n\\hline\n"
            "group & against & which is & points & seeds & 95\\,\\%% over seeds & 95\\,\\%% over "
            "pictures & $p$ & verdict \\\\\n\\hline\n",
            COMPARE_MANY);
    for (size_t i = 0; i < r->n_comparisons; i++) difference_line(&r->comparisons[i], f);
    fputs("\\hline\n\\end{tabular}\n", f);
}
