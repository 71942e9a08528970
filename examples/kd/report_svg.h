/* SPDX-License-Identifier: MIT
 * report_svg.h: pictures as SVG inside the page. Each has a title and a description for those who
 * cannot see it; series differ in shape and dashes beside their colour; text is text. Sizes are in
 * units of a drawing SVG_WIDTH wide, which the page scales. */
#ifndef CLI_REPORT_SVG_H
#define CLI_REPORT_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { SVG_WIDTH = 420, SVG_STYLES = 8, SVG_FILLS = 6, SVG_TICKS = 24 };

typedef struct svg_axis {
    double low, high; /* of what is drawn; svg_axis_of widens them to round numbers */
    bool log, whole;  /* whole: no fractions at the axis */
    const char *label;
} svg_axis;

typedef struct svg {
    FILE *f;
    svg_axis x, y;
    double left, top, right, bottom; /* of the plot */
    unsigned id;
} svg;

/* An axis for numbers from low to high; log only if both are above 0 and far enough apart. */
svg_axis svg_axis_of(double low, double high, bool log, const char *label);
/* The same with a margin, so that no point lies on the edge; x [n]. */
svg_axis svg_axis_over(const double *x, size_t n, const char *label);
/* Begin a picture with axes; id is one that no other picture of the page has. */
svg svg_begin(FILE *f, unsigned id, int height, svg_axis x, svg_axis y, const char *title,
              const char *description);
void svg_end(svg *s);

/* Where numbers are in the drawing. */
double svg_x(const svg *s, double x);
double svg_y(const svg *s, double y);

/* Points outside the axes are not drawn. style: any number, counted modulo SVG_STYLES. */
void svg_line(svg *s, const double *x, const double *y, size_t n, size_t style);
void svg_band(svg *s, const double *x, const double *low, const double *high, size_t n,
              size_t style);
void svg_marker(svg *s, double x, double y, size_t style, bool filled);
/* Numbers at the ends of lines, moved apart where they would lie over each other. */
typedef struct svg_end_label {
    double x, y;
    size_t number, style;
} svg_end_label;
void svg_end_labels(svg *s, svg_end_label *labels, size_t n);
void svg_number(svg *s, double x, double y, size_t number, double dx, double dy);

/* Stacked bars, one below the other: parts [n][parts], of which NAN is left out; names [n] stand in
 * front, totals behind. */
void svg_bars(FILE *f, unsigned id, const double *values, size_t n, size_t parts,
              const char *const *names, const char *unit, const char *title,
              const char *description);

/* Intervals, one below the other, with a line at zero: rows [n]. A mean without an interval (low NAN)
 * is a point alone; the point is filled where the interval is on one side of zero. */
typedef struct svg_interval {
    const char *name;
    double mean, low, high;
} svg_interval;
void svg_intervals(FILE *f, unsigned id, const svg_interval *rows, size_t n, const char *label,
                   const char *title, const char *description);

/* Samples for a key beside the picture. */
void svg_key_line(FILE *f, size_t style);
void svg_key_marker(FILE *f, size_t style, bool filled);
void svg_key_fill(FILE *f, unsigned id, size_t part);

#endif
