/* SPDX-License-Identifier: MIT
 * report_csv.c: the rows of the report as CSV (RFC 4180, UTF-8): a line for each run that was found,
 * with its group. What was not measured is an empty cell. docs/formats.md describes it. */
#include "report.h"

#include <math.h>
#include <string.h>

const char report_csv_head[] = "group,label,run,status,seed,student,family,teacher,teacher_family";

/* A spreadsheet takes a text that begins so for a formula: it gets a quote in front. */
static bool is_formula(const char *text)
{
    return *text && strchr("=+-@", *text);
}

static void cell(FILE *f, const char *text)
{
    char safe[2048];
    cli_escape(text ? text : "", safe, sizeof safe);
    fputs(",", f);
    const bool formula = is_formula(safe), quoted = formula || safe[strcspn(safe, ",\"\r\n")];
    if (quoted) fputc('"', f);
    if (formula) fputc('\'', f);
    for (const char *c = safe; *c; c++) {
        if (*c == '"') fputc('"', f);
        fputc(*c, f);
    }
    if (quoted) fputc('"', f);
}

static void number(FILE *f, double x)
{
    if (isnan(x))
        fputc(',', f);
    else
        fprintf(f, ",%.10g", x);
}

static void line(report *r, const report_run *run, FILE *f)
{
    const bool counts = !run->bad && run->group < r->n_groups;
    if (counts) fprintf(f, "%zu", run->group + 1);
    cell(f, counts ? r->groups[run->group].label : NULL);
    cell(f, run->name);
    cell(f, run->bad ? run->bad : "done");
    if (run->spec)
        fprintf(f, ",%lld", (long long)run->seed);
    else
        fputc(',', f);
    cell(f, run->spec);
    cell(f, run->spec ? report_setting_of(run, "family") : NULL);
    cell(f, run->teacher_spec);
    cell(f, report_setting_of(run, "teacher-family"));
    cell(f, report_setting_of(run, "teacher-run"));
    cell(f, report_setting_of(run, "start"));
    cell(f, run->data);
    for (size_t i = 0; i < r->n_by; i++) cell(f, report_setting_of(run, r->by[i]));
    for (int i = 0; i < REPORT_FIGURES; i++) number(f, run->figures[i]);
    fputc('\n', f);
}

void report_csv(report *r, FILE *f)
{
    fprintf(f, "%s,teacher_run,start,data", report_csv_head);
    for (size_t i = 0; i < r->n_by; i++) cell(f, report_print(r, "by %s", r->by[i]));
    for (int i = 0; i < REPORT_FIGURES; i++) fprintf(f, ",%s", report_figures[i].name);
    fputc('\n', f);
    for (size_t i = 0; i < r->n_runs; i++) line(r, r->runs[i], f);
}
