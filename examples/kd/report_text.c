/* SPDX-License-Identifier: MIT
 * report_text.c: texts of the page. Every string of a record goes through html(). cli_escape makes
 * visible what could hide: control characters, marks that change the direction of text, bytes that
 * are not UTF-8. What HTML gives a meaning to is written as an entity. */
#include "report.h"

#include <math.h>
#include <string.h>

void html(FILE *f, const char *text)
{
    char safe[1024];
    for (const char *c = cli_escape(text ? text : "", safe, sizeof safe); *c; c++) {
        const char *entity = *c == '<'    ? "&lt;"
                             : *c == '>'  ? "&gt;"
                             : *c == '&'  ? "&amp;"
                             : *c == '"'  ? "&quot;"
                             : *c == '\'' ? "&#39;"
                                          : NULL;
        if (entity)
            fputs(entity, f);
        else
            fputc(*c, f);
    }
}

void html_minus(FILE *f, const char *text)
{
    for (; *text; text++)
        if (*text == '-')
            fputs("−", f);
        else if (strchr("<>&", *text))
            fprintf(f, "&%s;", *text == '<' ? "lt" : *text == '>' ? "gt" : "amp");
        else
            fputc(*text, f);
}

void html_number(FILE *f, const char *format, double x)
{
    char text[400];
    if (!isfinite(x)) {
        fputs("–", f);
        return;
    }
    snprintf(text, sizeof text, format, x);
    html_minus(f, text);
}

void html_table(FILE *f, const char *caption, const char *const *columns)
{
    fputs("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"", f);
    html(f, caption);
    fputs("\">\n<table><caption>", f);
    html(f, caption);
    fputs("</caption>\n<thead><tr>", f);
    for (; *columns; columns++) {
        const bool text = **columns == '<';
        fprintf(f, "<th scope=\"col\"%s>", text ? " class=\"t\"" : "");
        html(f, *columns + text);
        fputs("</th>", f);
    }
    fputs("</tr></thead>\n<tbody>\n", f);
}

void html_table_end(FILE *f)
{
    fputs("</tbody></table></div>\n", f);
}

void html_cell(FILE *f, const char *format, double x)
{
    fputs("<td>", f);
    html_number(f, format, x);
    fputs("</td>", f);
}

void html_text_cell(FILE *f, const char *text)
{
    fputs("<td class=\"t\">", f);
    html(f, text && *text ? text : "–");
    fputs("</td>", f);
}

void html_interval_cell(FILE *f, stats_interval i, const char *format)
{
    fputs("<td>", f);
    html_number(f, format, i.low);
    if (!isnan(i.low)) {
        fputs(" to ", f);
        html_number(f, format, i.high);
    }
    fputs("</td>", f);
}

void html_minus_cell(FILE *f, const char *text)
{
    fputs("<td>", f);
    html_minus(f, text);
    fputs("</td>", f);
}

void html_group_cell(FILE *f, const report *r, size_t group)
{
    fprintf(f, "<th scope=\"row\"><b class=\"n\">%zu</b> ", group + 1);
    html(f, r->groups[group].label);
    fputs("</th>", f);
}

void html_spread(FILE *f, const report_group *g, report_figure_id figure, const char *format)
{
    double squares = 0;
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        const double d = g->runs[i]->figures[figure] - g->figures[figure];
        if (isnan(d)) continue;
        squares += d * d;
        n++;
    }
    html_number(f, format, g->figures[figure]);
    if (n < 2) return;
    fputs(" ± ", f);
    html_number(f, format, sqrt(squares / (double)(n - 1)));
}

/* ---- tables of groups ------------------------------------------------------------------------ */

static bool is_measured(const report *r, report_figure_id figure,
                        bool (*shown)(const report_group *))
{
    for (size_t g = 0; g < r->n_groups; g++)
        if ((!shown || shown(&r->groups[g])) && !isnan(r->groups[g].figures[figure])) return true;
    return false;
}

static void figure_cell(FILE *f, const report_group *g, const html_figure *column)
{
    const double x = g->figures[column->figure];
    if (isnan(x)) {
        fputs("<td>–</td>", f);
        return;
    }
    fputs("<td>", f);
    switch (column->as) {
    case AS_NUMBER:
        html_number(f, column->format, x);
        break;
    case AS_SPREAD:
        html_spread(f, g, column->figure, column->format);
        break;
    case AS_TIME:
        html(f, cli_duration(x).text);
        break;
    case AS_BYTES:
        html(f, cli_bytes(x).text);
        break;
    case AS_AMOUNT:
        html(f, cli_amount(x).text);
        break;
    }
    fputs("</td>", f);
}

void html_group_table(report *r, FILE *f, const char *caption, const char *const *columns,
                      void (*begin)(report *r, size_t group, FILE *f), const html_figure *figures,
                      bool (*shown)(const report_group *))
{
    enum { MOST = 24 };
    const char *all[MOST + 1];
    const html_figure *kept[MOST];
    size_t n = 0, k = 0;
    for (; *columns && n < MOST; columns++) all[n++] = *columns;
    for (; figures->title && n < MOST; figures++) {
        if (!is_measured(r, figures->figure, shown)) continue;
        kept[k++] = figures;
        all[n++] = figures->title;
    }
    all[n] = NULL;
    html_table(f, caption, all);
    for (size_t g = 0; g < r->n_groups; g++) {
        if (shown && !shown(&r->groups[g])) continue;
        fputs("<tr>", f);
        begin(r, g, f);
        for (size_t i = 0; i < k; i++) figure_cell(f, &r->groups[g], kept[i]);
        fputs("</tr>\n", f);
    }
    html_table_end(f);
}
