/* SPDX-License-Identifier: MIT
 * report_text.c: texts of the page. Every string of a record goes through html(): control
 * characters, marks that change the direction of text and bytes that are not UTF-8 are made visible
 * (cli_escape), and what HTML gives a meaning to is written as an entity. */
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

/* A minus sign for a hyphen before a number. */
static void with_minus(FILE *f, const char *text)
{
    for (; *text; text++)
        if (*text == '-')
            fputs("−", f);
        else
            fputc(*text, f);
}

void html_number(FILE *f, const char *format, double x)
{
    char text[400];
    if (isnan(x)) {
        fputs("–", f);
        return;
    }
    snprintf(text, sizeof text, format, x);
    with_minus(f, text);
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

void html_group_cell(FILE *f, const report *r, size_t group)
{
    fprintf(f, "<th scope=\"row\"><b class=\"n\">%zu</b> ", group + 1);
    html(f, r->groups[group].label);
    fputs("</th>", f);
}
