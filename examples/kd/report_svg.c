/* SPDX-License-Identifier: MIT
 * report_svg.c: see report_svg.h. Colours are Okabe's and Ito's, which differ for the colour-blind,
 * darkened where they are too light for a thin line on white. */
#include "report_svg.h"

#include "report.h"

#include <math.h>
#include <stdlib.h>

static const char *const colours[SVG_STYLES] = {"#0072b2", "#d55e00", "#007a5a", "#b0437f",
                                                "#7a6200", "#3a93c9", "#c27f00", "#333"};
static const char *const dashes[SVG_STYLES] = {"",     "7 3", "2 3", "9 3 2 3",
                                               "12 4", "4 2", "1 3", "14 3 4 3"};

/* ---- axes ------------------------------------------------------------------------------------ */

/* 1, 2 or 5 times a power of ten: about `count` steps fit. */
static double round_step(double length, double count)
{
    const double raw = length / count, power = pow(10, floor(log10(raw))), m = raw / power;
    return power * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
}

svg_axis svg_axis_of(double low, double high, bool log, const char *label)
{
    svg_axis a = {.low = low, .high = high, .label = label};
    a.log = log && low > 0 && high > 1.5 * low;
    if (!(low <= high) || !isfinite(high - low)) {
        a.low = 0;
        a.high = 1;
    } else if (a.log) {
        const double margin = pow(high / low, .06);
        a.low = low / margin;
        a.high = high * margin;
    } else {
        const double least = fabs(high) * 1e-3 + 1e-9;
        if (high - low < least) {
            low -= least;
            high += least;
        }
        const double step = round_step(high - low, 5);
        a.low = floor(low / step + 1e-9) * step;
        a.high = ceil(high / step - 1e-9) * step;
    }
    return a;
}

svg_axis svg_axis_over(const double *x, size_t n, const char *label)
{
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const double margin = .05 * (high - low);
    return svg_axis_of(low - margin, high + margin, false, label);
}

static double place(const svg_axis *a, double x, double from, double to)
{
    const double t = a->log ? (log(x) - log(a->low)) / (log(a->high) - log(a->low))
                            : (x - a->low) / (a->high - a->low);
    return from + t * (to - from);
}

double svg_x(const svg *s, double x)
{
    return place(&s->x, x, s->left, s->right);
}

double svg_y(const svg *s, double y)
{
    return place(&s->y, y, s->bottom, s->top);
}

/* The numbers at an axis. */
static size_t ticks_of(const svg_axis *a, double out[SVG_TICKS])
{
    static const double steps[] = {1, 2, 5};
    size_t n = 0;
    if (a->log) {
        const double decades = log10(a->high / a->low);
        const size_t every = decades > 6 ? 0 : decades > 2.5 ? 1 : 3; /* of 1, 2, 5 */
        for (double p = floor(log10(a->low)); p <= log10(a->high) && n < SVG_TICKS; p++)
            for (size_t k = 0; k < (every ? every : 1) && n < SVG_TICKS; k++) {
                const double x = steps[k] * pow(10, p);
                if (x >= a->low && x <= a->high) out[n++] = x;
            }
        if (n > 2) return n;
        n = 0; /* too short a stretch for 1, 2, 5 */
    }
    double step = round_step(a->high - a->low, 5);
    if (a->whole && step < 1) step = 1;
    for (double k = ceil(a->low / step - 1e-9); k * step <= a->high + step * 1e-6; k++)
        if (n < SVG_TICKS && (!a->log || k > 0)) out[n++] = k * step;
    return n;
}

/* "20 M", "0.05": few characters. */
static void tick_text(FILE *f, double x)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    size_t unit = 0;
    char text[40];
    if (fabs(x) < 1e-12) x = 0;
    while (fabs(x) >= 9999.5 || (unit && fabs(x) >= 999.95)) {
        if (unit == 4) break;
        x /= 1000;
        unit++;
    }
    snprintf(text, sizeof text, "%.4g%s", x, units[unit]);
    html_minus(f, text);
}

static void draw_axes(const svg *s)
{
    double ticks[SVG_TICKS];
    size_t n = ticks_of(&s->y, ticks);
    for (size_t i = 0; i < n; i++) {
        const double y = svg_y(s, ticks[i]);
        fprintf(s->f,
                "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"end\">",
                s->left, y, s->right, s->left - 6, y + 4);
        tick_text(s->f, ticks[i]);
        fputs("</text>\n", s->f);
    }
    n = ticks_of(&s->x, ticks);
    for (size_t i = 0; i < n; i++) {
        const double x = svg_x(s, ticks[i]);
        fprintf(s->f,
                "<path d=\"M%.1f %.1fv5\" stroke=\"#666\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"middle\">",
                x, s->bottom, x, s->bottom + 18);
        tick_text(s->f, ticks[i]);
        fputs("</text>\n", s->f);
    }
    fprintf(s->f, "<path d=\"M%.1f %.1fV%.1fH%.1f\" fill=\"none\" stroke=\"#666\"/>\n", s->left,
            s->top, s->bottom, s->right);
    fprintf(s->f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (s->left + s->right) / 2,
            s->bottom + 36);
    html(s->f, s->x.label);
    fprintf(s->f, "</text><text x=\"4\" y=\"13\">");
    html(s->f, s->y.label);
    fputs("</text>\n", s->f);
}

static void open_picture(FILE *f, unsigned id, int height, const char *title,
                         const char *description)
{
    fprintf(f,
            "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"t%u d%u\" font-size=\"13\" "
            "fill=\"#222\">"
            "<title id=\"t%u\">",
            SVG_WIDTH, height, id, id, id);
    html(f, title);
    fprintf(f, "</title><desc id=\"d%u\">", id);
    html(f, description);
    fputs("</desc>\n", f);
}

svg svg_begin(FILE *f, unsigned id, int height, svg_axis x, svg_axis y, const char *title,
              const char *description)
{
    svg s = {.f = f,
             .x = x,
             .y = y,
             .left = 48,
             .top = 24,
             .right = SVG_WIDTH - 28,
             .bottom = height - 44,
             .id = id};
    open_picture(f, id, height, title, description);
    draw_axes(&s);
    return s;
}

void svg_end(svg *s)
{
    fputs("</svg>\n", s->f);
}

/* ---- lines and points ------------------------------------------------------------------------ */

static bool inside(const svg *s, double x, double y)
{
    return x >= s->x.low && x <= s->x.high && y >= s->y.low && y <= s->y.high;
}

static void shape(FILE *f, double x, double y, size_t style, bool filled, double r)
{
    const char *c = colours[style % SVG_STYLES], *fill = filled ? c : "#fff";
    switch (style % SVG_STYLES) {
    case 0:
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"", x, y, r);
        break;
    case 1:
        fprintf(f, "<path d=\"M%.1f %.1fh%.1fv%.1fh-%.1fz\"", x - r, y - r, 2 * r, 2 * r, 2 * r);
        break;
    case 2:
        fprintf(f, "<path d=\"M%.1f %.1fl%.1f %.1fh-%.1fz\"", x, y - 1.2 * r, 1.2 * r, 2.1 * r,
                2.4 * r);
        break;
    case 3:
        fprintf(f, "<path d=\"M%.1f %.1fl%.1f %.1fl-%.1f %.1fl-%.1f -%.1fz\"", x, y - 1.3 * r,
                1.3 * r, 1.3 * r, 1.3 * r, 1.3 * r, 1.3 * r, 1.3 * r);
        break;
    case 4:
        fprintf(f, "<path d=\"M%.1f %.1fl%.1f -%.1fh-%.1fz\"", x, y + 1.2 * r, 1.2 * r, 2.1 * r,
                2.4 * r);
        break;
    case 5:
        fprintf(f, "<path d=\"M%.1f %.1fh%.1fM%.1f %.1fv%.1f\"", x - 1.2 * r, y, 2.4 * r, x,
                y - 1.2 * r, 2.4 * r);
        break;
    case 6:
        fprintf(f, "<path d=\"M%.1f %.1fl%.1f %.1fm0 -%.1fl-%.1f %.1f\"", x - r, y - r, 2 * r,
                2 * r, 2 * r, 2 * r, 2 * r);
        break;
    default:
        fprintf(f, "<path d=\"M%.1f %.1fh%.1fv%.1fh-%.1fz\"", x - 1.4 * r, y - .6 * r, 2.8 * r,
                1.2 * r, 2.8 * r);
        break;
    }
    fprintf(f, " fill=\"%s\" stroke=\"%s\" stroke-width=\"1.6\"/>\n", fill, c);
}

void svg_marker(svg *s, double x, double y, size_t style, bool filled)
{
    if (inside(s, x, y)) shape(s->f, svg_x(s, x), svg_y(s, y), style, filled, 4.5);
}

void svg_line(svg *s, const double *x, const double *y, size_t n, size_t style)
{
    bool drawn = false;
    const size_t every = n > 6 ? (n + 4) / 5 : 1;
    fputs("<path d=\"", s->f);
    for (size_t i = 0; i < n; i++) {
        if (!inside(s, x[i], y[i])) {
            drawn = false;
            continue;
        }
        fprintf(s->f, "%c%.1f %.1f", drawn ? 'L' : 'M', svg_x(s, x[i]), svg_y(s, y[i]));
        drawn = true;
    }
    fprintf(s->f, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\"",
            colours[style % SVG_STYLES]);
    if (*dashes[style % SVG_STYLES])
        fprintf(s->f, " stroke-dasharray=\"%s\"", dashes[style % SVG_STYLES]);
    fputs("/>\n", s->f);
    for (size_t i = 0; i < n; i++) /* not at the same places for all */
        if ((i + style) % every == 0 && inside(s, x[i], y[i]))
            shape(s->f, svg_x(s, x[i]), svg_y(s, y[i]), style, true, 3.2);
}

void svg_band(svg *s, const double *x, const double *low, const double *high, size_t n,
              size_t style)
{
    size_t points = 0;
    for (size_t i = 0; i < n; i++)
        if (inside(s, x[i], low[i]) && inside(s, x[i], high[i])) points++;
    if (points < 2) return;
    fputs("<path d=\"", s->f);
    for (size_t i = 0, k = 0; i < n; i++)
        if (inside(s, x[i], low[i]) && inside(s, x[i], high[i]))
            fprintf(s->f, "%c%.1f %.1f", k++ ? 'L' : 'M', svg_x(s, x[i]), svg_y(s, high[i]));
    for (size_t i = n; i-- > 0;)
        if (inside(s, x[i], low[i]) && inside(s, x[i], high[i]))
            fprintf(s->f, "L%.1f %.1f", svg_x(s, x[i]), svg_y(s, low[i]));
    fprintf(s->f, "z\" fill=\"%s\" fill-opacity=\".18\"/>\n", colours[style % SVG_STYLES]);
}

static int by_height(const void *a, const void *b)
{
    const svg_end_label *x = a, *y = b;
    if (x->y != y->y) return x->y < y->y ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

void svg_end_labels(svg *s, svg_end_label *labels, size_t n)
{
    enum { APART = 13 };
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!inside(s, labels[i].x, labels[i].y)) continue;
        labels[kept] = labels[i];
        labels[kept].x = svg_x(s, labels[i].x);
        labels[kept++].y = svg_y(s, labels[i].y);
    }
    if (kept) qsort(labels, kept, sizeof *labels, by_height);
    for (size_t i = 1; i < kept; i++)
        if (labels[i].y < labels[i - 1].y + APART) labels[i].y = labels[i - 1].y + APART;
    for (size_t i = kept; i-- > 0;) { /* not below the plot */
        const double most = i + 1 == kept ? s->bottom : labels[i + 1].y - APART;
        if (labels[i].y > most) labels[i].y = most;
    }
    for (size_t i = 0; i < kept; i++)
        fprintf(s->f, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\" font-weight=\"600\">%zu</text>\n",
                labels[i].x + 7, labels[i].y + 4, colours[labels[i].style % SVG_STYLES],
                labels[i].number);
}

void svg_number(svg *s, double x, double y, size_t number, double dx, double dy)
{
    if (inside(s, x, y))
        fprintf(s->f,
                "<text x=\"%.1f\" y=\"%.1f\" font-size=\"12\" stroke=\"#fff\" stroke-width=\"3\" "
                "paint-order=\"stroke\">%zu</text>\n",
                svg_x(s, x) + dx, svg_y(s, y) + dy, number);
}

/* ---- bars ------------------------------------------------------------------------------------ */

static const char *const shades[SVG_FILLS] = {"#8c8c8c", "#b0437f", "#3a93c9",
                                              "#000",    "#0072b2", "#007a5a"};

/* A tile of each part: plain, or lines and dots on a light ground. */
static void pattern(FILE *f, unsigned id, size_t part)
{
    static const char *const marks[SVG_FILLS] = {
        "",
        "<path d=\"M0 6L6 0\" stroke=\"#fff\" stroke-width=\"1.6\"/>",
        "<circle cx=\"3\" cy=\"3\" r=\"1.3\" fill=\"#fff\"/>",
        "",
        "<path d=\"M0 3H6\" stroke=\"#fff\" stroke-width=\"1.2\"/>",
        "<path d=\"M3 0V6M0 3H6\" stroke=\"#fff\"/>"};
    fprintf(f,
            "<pattern id=\"p%u-%zu\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
            "<path d=\"M0 0H6V6H0z\" fill=\"%s\"/>%s</pattern>",
            id, part, shades[part % SVG_FILLS], marks[part % SVG_FILLS]);
}

static double sum_of(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i])) sum += values[i];
    return sum;
}

void svg_bars(FILE *f, unsigned id, const double *values, size_t n, size_t parts,
              const char *const *names, const char *unit, const char *title,
              const char *description)
{
    enum { ROW = 24, BAR = 16, LEFT = 34, RIGHT = 84 };
    double most = 0;
    for (size_t i = 0; i < n; i++)
        if (sum_of(values + i * parts, parts) > most) most = sum_of(values + i * parts, parts);
    open_picture(f, id, (int)n * ROW + 4, title, description);
    fputs("<defs>", f);
    for (size_t p = 0; p < parts; p++) pattern(f, id, p);
    fputs("</defs>\n", f);
    for (size_t i = 0; i < n; i++) {
        double x = LEFT;
        const double y = (double)i * ROW + 2;
        fprintf(f, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\" font-weight=\"600\">", LEFT - 6,
                y + 13);
        html(f, names[i]);
        fputs("</text>", f);
        for (size_t p = 0; p < parts; p++) {
            const double v = values[i * parts + p];
            const double w = most > 0 && v > 0 ? v / most * (SVG_WIDTH - LEFT - RIGHT) : 0;
            if (!(w >= .05)) continue;
            fprintf(f,
                    "<path d=\"M%.1f %.0fh%.1fv%dh-%.1fz\" fill=\"url(#p%u-%zu)\" stroke=\"#fff\" "
                    "stroke-width=\".6\"/>",
                    x, y, w, BAR, w, id, p);
            x += w;
        }
        fprintf(f, "<text x=\"%.1f\" y=\"%.0f\">", x + 6, y + 13);
        html_number(f, "%.4g", sum_of(values + i * parts, parts));
        fprintf(f, " %s</text>\n", unit);
    }
    fputs("</svg>\n", f);
}

/* ---- intervals ------------------------------------------------------------------------------- */

static void interval_row(const svg *s, const svg_interval *row, double y)
{
    const bool known = isfinite(row->low) && isfinite(row->high);
    const bool apart = known && (row->low > 0 || row->high < 0);
    fprintf(s->f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" font-size=\"12\">", s->left - 6,
            y + 4);
    html(s->f, row->name);
    fputs("</text>", s->f);
    if (known)
        fprintf(s->f,
                "<path d=\"M%.1f %.1fH%.1fm0 -4v8M%.1f %.1fv8\" fill=\"none\" stroke=\"%s\" "
                "stroke-width=\"1.6\"/>",
                svg_x(s, row->low), y, svg_x(s, row->high), svg_x(s, row->low), y - 4, colours[0]);
    if (isfinite(row->mean)) shape(s->f, svg_x(s, row->mean), y, 0, apart, 4);
}

void svg_intervals(FILE *f, unsigned id, const svg_interval *rows, size_t n, const char *label,
                   const char *title, const char *description)
{
    enum { ROW = 18, TOP = 8, BOTTOM = 44, LEFT = 64 };
    double low = 0, high = 0, ticks[SVG_TICKS];
    for (size_t i = 0; i < n; i++) {
        const double ends[] = {rows[i].mean, rows[i].low, rows[i].high};
        for (size_t k = 0; k < 3; k++) {
            low = isfinite(ends[k]) && ends[k] < low ? ends[k] : low;
            high = isfinite(ends[k]) && ends[k] > high ? ends[k] : high;
        }
    }
    const svg s = {.f = f,
                   .x = svg_axis_of(low, high, false, label),
                   .left = LEFT,
                   .top = TOP,
                   .right = SVG_WIDTH - 16,
                   .bottom = TOP + ROW * (double)n};
    open_picture(f, id, TOP + ROW * (int)n + BOTTOM, title, description);
    const size_t k = ticks_of(&s.x, ticks);
    for (size_t i = 0; i < k; i++) {
        const double x = svg_x(&s, ticks[i]);
        fprintf(f,
                "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"middle\">",
                x, s.top, s.bottom + 4, fabs(ticks[i]) < 1e-9 ? "#333" : "#ddd", x, s.bottom + 18);
        tick_text(f, ticks[i]);
        fputs("</text>\n", f);
    }
    for (size_t i = 0; i < n; i++) interval_row(&s, &rows[i], s.top + ROW * ((double)i + .5));
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (s.left + s.right) / 2,
            s.bottom + 36);
    html(f, label);
    fputs("</text></svg>\n", f);
}

/* ---- the key --------------------------------------------------------------------------------- */

static void open_sample(FILE *f)
{
    fputs("<svg viewBox=\"0 0 36 18\" aria-hidden=\"true\">", f);
}

void svg_key_line(FILE *f, size_t style)
{
    open_sample(f);
    fprintf(f, "<path d=\"M1 9H35\" stroke=\"%s\" stroke-width=\"1.8\"",
            colours[style % SVG_STYLES]);
    if (*dashes[style % SVG_STYLES])
        fprintf(f, " stroke-dasharray=\"%s\"", dashes[style % SVG_STYLES]);
    fputs("/>", f);
    shape(f, 18, 9, style, true, 3.2);
    fputs("</svg>", f);
}

void svg_key_marker(FILE *f, size_t style, bool filled)
{
    open_sample(f);
    shape(f, 18, 9, style, filled, 4.5);
    fputs("</svg>", f);
}

void svg_key_fill(FILE *f, unsigned id, size_t part)
{
    open_sample(f);
    fprintf(f, "<path d=\"M4 2H32V16H4z\" fill=\"url(#p%u-%zu)\"/></svg>", id, part);
}
