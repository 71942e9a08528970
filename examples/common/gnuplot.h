/* SPDX-License-Identifier: MIT
 * gnuplot.h: running gnuplot, which is a program of its own and may be missing. */
#ifndef GNUPLOT_H
#define GNUPLOT_H

#include <stdbool.h>
#include <stdio.h>

typedef enum gnuplot_end { GNUPLOT_FINE, GNUPLOT_FAILED, GNUPLOT_MISSING } gnuplot_end;

/* Run a script, and wait for its end. What gnuplot says goes to standard error. */
gnuplot_end gnuplot_run(const char *script);
/* Is a condition of gnuplot's own language true, such as "strstrt(GPVAL_TERMINALS, ' svg ')"?
 * GNUPLOT_FAILED: it is false. */
gnuplot_end gnuplot_ask(const char *condition);
/* text as a string of gnuplot's: between single quotes, with quotes doubled. */
void gnuplot_quoted(FILE *f, const char *text);

#endif
