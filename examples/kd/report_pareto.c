/* SPDX-License-Identifier: MIT
 * report_pareto.c: accuracy against what it costs: latency, multiply-accumulates, memory, time of
 * training, flash. A group is on the front if no other on the same data is at least as accurate and as
 * cheap, and better in one of the two. Uncertainty is not in it: groups whose intervals overlap may
 * change places. */
#include "report.h"

#include "report_svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 200, MOST_DATA = 6 };

typedef struct price {
    const char *axis, *name;
    report_figure_id figure;
    double scale;
    bool total; /* seconds with those of the starts */
} price;

static const price prices[] = {
    {"latency of one picture, ms", "latency, ms", FIG_LATENCY, 1, false},
    {"multiply-accumulates of one picture", "MACs", FIG_MACS, 1, false},
    {"arena of one picture, KiB", "arena, KiB", FIG_ARENA, 1. / 1024, false},
    {"flash, KiB", "flash, KiB", FIG_FLASH, 1. / 1024, false},
    {"peak memory of training, MiB", "peak memory, MiB", FIG_PEAK, 1. / 1048576, false},
    {"time of training, with its starts’, minutes", "training, min", FIG_SECONDS, 1. / 60, true},
};
enum { PRICES = sizeof prices / sizeof *prices };

typedef struct point {
    size_t group;
    double price, top1;
    bool front;
} point;

static double price_of(const report_group *g, const price *p)
{
    return p->scale * (p->total ? g->total_seconds : g->figures[p->figure]);
}

static int by_price(const void *a, const void *b)
{
    const point *x = a, *y = b;
    if (x->price != y->price) return x->price < y->price ? -1 : 1;
    if (x->top1 != y->top1) return x->top1 > y->top1 ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

/* The groups of that data set, the cheapest first, and which of them are on the front. */
static size_t points_of(report *r, const char *data, const price *p, point **out)
{
    point *list = report_alloc(r, r->n_groups, sizeof *list);
    size_t n = 0;
    *out = list;
    for (size_t g = 0; list && g < r->n_groups; g++) {
        const double x = price_of(&r->groups[g], p);
        if (isnan(x) || x <= 0 || r->groups[g].mixed ||
            strcmp(report_first(&r->groups[g])->data, data))
            continue;
        list[n++] = (point){.group = g, .price = x, .top1 = r->groups[g].mean};
    }
    if (n) qsort(list, n, sizeof *list, by_price);
    double best = -1, at = 0;
    for (size_t i = 0; i < n; i++) {
        list[i].front = list[i].top1 > best || (list[i].top1 == best && list[i].price == at);
        if (list[i].top1 > best) {
            best = list[i].top1;
            at = list[i].price;
        }
    }
    return n;
}

/* ---- the picture ----------------------------------------------------------------------------- */

/* A family has a shape of its own. */
static size_t style_of(const report *r, size_t group)
{
    return (size_t)report_family_of(report_first(&r->groups[group])->spec);
}

/* From each to the next at the same height, then up: what a budget between them buys. */
static void draw_front(svg *s, report *r, const point *list, size_t n)
{
    double *x = report_alloc(r, 2 * n, sizeof *x), *y = report_alloc(r, 2 * n, sizeof *y);
    size_t k = 0;
    for (size_t i = 0; x && y && i < n; i++) {
        if (!list[i].front) continue;
        if (k) {
            x[k] = list[i].price;
            y[k] = y[k - 1];
            k++;
        }
        x[k] = list[i].price;
        y[k++] = list[i].top1;
    }
    if (!k) return;
    fputs("<path d=\"", s->f);
    for (size_t i = 0; i < k; i++)
        fprintf(s->f, "%c%.1f %.1f", i ? 'L' : 'M', svg_x(s, x[i]), svg_y(s, y[i]));
    fputs("\" fill=\"none\" stroke=\"#555\" stroke-width=\"1.3\" stroke-dasharray=\"5 3\"/>\n",
          s->f);
}

/* Numbers that would lie over one that is there already are moved, or left to the table. */
static void draw_numbers(svg *s, report *r, const point *list, size_t n)
{
    static const double places[][2] = {{7, -7}, {7, 16}, {-19, -7}, {-19, 16}, {10, 4}, {-23, 4}};
    double *taken = report_alloc(r, 2 * n, sizeof *taken);
    size_t k = 0;
    for (size_t i = 0; taken && i < n; i++)
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            const double x = svg_x(s, list[i].price) + places[p][0];
            const double y = svg_y(s, list[i].top1) + places[p][1];
            bool room = x < SVG_WIDTH - 16;
            for (size_t t = 0; t < k && room; t++)
                room = fabs(taken[2 * t] - x) > 16 || fabs(taken[2 * t + 1] - y) > 11;
            if (!room) continue;
            svg_number(s, list[i].price, list[i].top1, list[i].group + 1, places[p][0],
                       places[p][1]);
            taken[2 * k] = x;
            taken[2 * k++ + 1] = y;
            break;
        }
}

static void key(const report *r, const point *list, size_t n, FILE *f)
{
    fputs("<ul class=\"key\">", f);
    for (size_t family = 0; family < FAMILIES; family++) {
        bool there = false;
        for (size_t i = 0; i < n; i++) there = there || style_of(r, list[i].group) == family;
        if (!there) continue;
        fputs("<li>", f);
        svg_key_marker(f, family, true);
        fprintf(f, "<span>%s, on the front (hollow: not)</span></li>\n",
                report_family_names[family]);
    }
    fputs("</ul>\n", f);
}

static void table(report *r, const price *p, const point *list, size_t n, FILE *f)
{
    const char *columns[] = {"<group",          p->name,         "top-1, %",
                             "95 % over seeds", "<on the front", NULL};
    fputs("<details><summary>The numbers, the cheapest first</summary>\n", f);
    html_table(f, p->axis, columns);
    for (size_t i = 0; i < n; i++) {
        const report_group *g = &r->groups[list[i].group];
        fputs("<tr>", f);
        html_group_cell(f, r, list[i].group);
        html_cell(f, "%.4g", list[i].price);
        html_cell(f, "%.2f", list[i].top1);
        html_interval_cell(f, g->interval, "%.2f");
        html_text_cell(f, list[i].front ? "yes" : "no");
        fputs("</tr>\n", f);
    }
    html_table_end(f);
    fputs("</details>\n", f);
}

static bool draw(report *r, const char *data, const price *p, FILE *f)
{
    point *list;
    const size_t all = points_of(r, data, p, &list), n = all < MOST_POINTS ? all : MOST_POINTS;
    if (n < 2 || list[0].price == list[n - 1].price) return false;
    double *heights = report_alloc(r, n, sizeof *heights);
    if (!heights) return false;
    for (size_t i = 0; i < n; i++) heights[i] = list[i].top1;
    const char *title = report_print(r, "%s: accuracy against %s", data, p->axis);
    fputs("<figure><figcaption>", f);
    html(f, title);
    fputs("</figcaption>\n", f);
    svg s = svg_begin(
        f, r->next_id++, 270, svg_axis_of(list[0].price, list[n - 1].price, true, p->axis),
        svg_axis_over(heights, n, "top-1, %"), title,
        "A point a group, numbered as in the tables; those on the front are filled and "
        "joined. The numbers are in the table below.");
    draw_front(&s, r, list, n);
    for (size_t i = 0; i < n; i++)
        svg_marker(&s, list[i].price, list[i].top1, style_of(r, list[i].group), list[i].front);
    draw_numbers(&s, r, list, n);
    svg_end(&s);
    key(r, list, n, f);
    table(r, p, list, n, f);
    fputs("</figure>\n", f);
    return true;
}

void report_pareto(report *r, FILE *f)
{
    const char *data[MOST_DATA];
    size_t n = 0, drawn = 0;
    for (size_t g = 0; g < r->n_groups && n < MOST_DATA; g++) {
        const char *name = report_first(&r->groups[g])->data;
        bool seen = false;
        for (size_t i = 0; i < n; i++) seen = seen || !strcmp(data[i], name);
        if (!seen) data[n++] = name;
    }
    fputs(
        "<p>A group is on the front if no other on these data is as cheap and more accurate, or as "
        "accurate and cheaper. It goes by means: where intervals overlap, groups may change places."
        "</p>\n<div class=\"figures\">\n",
        f);
    for (size_t i = 0; i < n; i++)
        for (size_t p = 0; p < PRICES; p++) drawn += draw(r, data[i], &prices[p], f);
    fputs("</div>\n", f);
    if (!drawn)
        fputs("<p>No two groups on the same data differ in a cost that was measured.</p>\n", f);
}
