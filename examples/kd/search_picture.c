/* SPDX-License-Identifier: MIT
 * search_picture.c: pareto.svg: accuracy on the development split against MACs, a colour for each
 * rung, and the front of those that were trained to the end. gnuplot draws it, if it is there. */
#include "search.h"

#include "../common/gnuplot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void points(FILE *f, const search *s, size_t rungs)
{
    fprintf(f, "$rung%zu << EOD\n", rungs);
    for (size_t i = 0; i < s->n; i++) {
        const search_candidate *c = s->order[i];
        if (c->rungs == rungs)
            fprintf(f, "%.6g %.4f %s\n", 1e-6 * (double)c->cost.macs, c->dev[rungs - 1], c->name);
    }
    fprintf(f, "EOD\n");
}

/* Nobody of the last rung has fewer MACs and is better. */
static void front(FILE *f, const search *s)
{
    fprintf(f, "$front << EOD\n");
    for (size_t i = s->n; i-- > 0;) { /* from the least accurate on */
        const search_candidate *c = s->order[i];
        bool beaten = c->rungs != s->n_rungs;
        for (size_t k = 0; k < i && !beaten; k++) beaten = s->order[k]->cost.macs <= c->cost.macs;
        if (!beaten) fprintf(f, "%.6g %.4f\n", 1e-6 * (double)c->cost.macs, c->dev[s->n_rungs - 1]);
    }
    fprintf(f, "EOD\n");
}

static size_t count(const search *s, size_t rungs)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) n += s->candidates[i].rungs == rungs;
    return n;
}

static void script(FILE *f, const search *s, const char *picture)
{
    fprintf(f, "set terminal svg size 900,600 font 'DejaVu Sans,12' noenhanced background "
               "'#ffffff'\nset output ");
    gnuplot_quoted(f, picture);
    fprintf(f, "\nset grid\nset key bottom right\nset logscale x\nset xlabel 'million MACs of one "
               "picture'\nset ylabel 'top-1 on the development split, %%'\n");
    for (size_t r = 1; r <= s->n_rungs; r++) points(f, s, r);
    front(f, s);
    fprintf(f, "plot ");
    for (size_t r = 1; r <= s->n_rungs; r++)
        if (count(s, r))
            fprintf(f,
                    "$rung%zu using 1:2 with points pt 7 ps %.1f lc %zu title 'after epoch %zu of "
                    "%zu', ",
                    r, .5 + .3 * (double)r, r, s->rung[r - 1], s->epochs);
    fprintf(f, "$front using 1:2 with steps lw 1.5 lc rgb '#444444' title 'front'\n");
}

int search_write_picture(search *s)
{
    char path[CLI_PATH], picture[CLI_PATH];
    snprintf(path, sizeof path, "%.4000s/pareto.gp", s->args->train.out);
    snprintf(picture, sizeof picture, "%.4000s/pareto.svg", s->args->train.out);
    FILE *f = fopen(path, "w");
    if (!f) return cli_fail("%s: %s", path, strerror(errno));
    script(f, s, picture);
    if (fclose(f)) return cli_fail("%s: %s", path, strerror(errno));
    const gnuplot_end end = gnuplot_run(path);
    if (end != GNUPLOT_FINE && !s->args->quiet)
        fprintf(stderr, "kd: no pareto.svg: %s\n",
                end == GNUPLOT_MISSING ? "gnuplot is not there; pareto.gp is its script"
                                       : "gnuplot failed");
    return CLI_DONE;
}
