/* SPDX-License-Identifier: MIT
 * plots.c: demo.gp, a gnuplot script that carries its data, and demo.png made by it: learning
 * curves from the runs' metrics.jsonl, test accuracies, seconds by part of a step. */
#include "demo.h"

#include "../common/gnuplot.h"
#include "../common/run_record.h"

#include <errno.h>
#include <string.h>

static const int order[RUNS] = {TEACHER, SAME_STEPS, SAME_SECONDS, DISTILLED};
static const char *const labels[RUNS] = {[TEACHER] = "teacher",
                                         [SAME_STEPS] = "alone,\\nsame\\nsteps",
                                         [SAME_SECONDS] = "alone,\\nsame\\nseconds",
                                         [DISTILLED] = "distilled"};
static const char *const colours[RUNS] = {"#7f7f7f", "#9ecae1", "#3182bd", "#e6550d"};

/* ---- data ------------------------------------------------------------------------------------ */

/* Lines "seconds accuracy" of a run: on pictures set aside, one an epoch, from metrics.jsonl. */
static bool write_epochs(const demo *d, const demo_run *run, FILE *f)
{
    const demo_path path = demo_in(d, run->key, "metrics.jsonl");
    char *text;
    size_t size, at = 0;
    kd_json_object *o;
    double seconds, sum = 0, top1;
    if (kd_file_read_all(d->ctx, path.text, 1 << 24, &text, &size)) return demo_fail(d);
    while ((o = record_next_line(d->ctx, text, size, &at))) {
        if (kd_json_get_number(o, "seconds", &seconds) &&
            kd_json_get_number(o, "dev_top1", &top1)) {
            sum += seconds;
            fprintf(f, "%.3f %.3f\n", sum, top1);
        }
        kd_json_object_destroy(o);
    }
    kd_ctx_free(d->ctx, text);
    return true;
}

static bool write_data(const demo *d, FILE *f)
{
    for (int i = 0; i < RUNS; i++) {
        const demo_run *run = &d->runs[order[i]];
        fprintf(f, "$steps%d << EOD\n", i);
        for (size_t k = 0; k < run->n_points; k++)
            fprintf(f, "%.3f %.3f\n", run->curve[k].seconds, run->curve[k].accuracy);
        fprintf(f, "EOD\n$epochs%d << EOD\n", i);
        if (!write_epochs(d, run, f)) return false;
        fprintf(f, "EOD\n");
    }
    fprintf(f, "# name, accuracy, its 95 %% interval; data, teacher, forward, loss, "
               "backward, optimiser\n$runs << EOD\n");
    for (int i = 0; i < RUNS; i++) {
        const demo_run *run = &d->runs[order[i]];
        const kd_times *t = &run->result.times;
        const stats_interval interval = demo_interval(run);
        fprintf(f, "\"%s\" %.3f %.3f %.3f %.3f %.3f %.3f %.3f %.3f %.3f\n", labels[order[i]],
                run->test.top1, interval.low, interval.high, t->data, t->teacher, t->forward,
                t->loss, t->backward, t->optimizer);
    }
    fprintf(f, "EOD\n");
    return true;
}

/* ---- the script ------------------------------------------------------------------------------ */

static void write_head(const demo *d, FILE *f)
{
    const demo_path png = demo_in(d, "demo.png", NULL);
    fprintf(f, "# Made by the demo of libkd; gnuplot makes the picture again from it.\n"
               "if (strstrt(GPVAL_TERMINALS, 'pngcairo')) {\n"
               "    set terminal pngcairo size 1600,560 font 'DejaVu Sans,12' noenhanced\n"
               "} else {\n"
               "    set terminal png size 1600,560 noenhanced\n"
               "}\n"
               "set output ");
    gnuplot_quoted(f, png.text);
    fprintf(f, "\n"
               "set style line 9 lc rgb '#dddddd' lw 1\n"
               "set border 3 lc rgb '#444444'\n"
               "set tics nomirror out\n"
               "set grid ytics ls 9\nset bmargin 5\nset tmargin 4\n");
}

static void write_curves(const demo *d, FILE *f)
{
    const char *data = kd_dataset_info(d->data)->name;
    fprintf(f,
            "set multiplot\n"
            "set size 0.42,1\nset origin 0,0\n"
            "set title \"learning curves, %.*s\\nlines: training pictures as they come; points: "
            "%zu pictures set aside, each epoch\"\n"
            "set xlabel 'seconds of training'\nset ylabel 'accuracy, %%'\n"
            "set key bottom right reverse Left samplen 2\n"
            "set xrange [0:*]\n"
            "plot \\\n",
            (int)strcspn(data, ":"), data, d->dev_count);
    for (int i = 0; i < RUNS; i++)
        fprintf(f,
                "    $steps%d using 1:2 with lines lw 2 lc rgb '%s' title title%d, \\\n"
                "    $epochs%d using 1:2 with points pt 7 ps 1.1 lc rgb '%s' notitle%s\n",
                i, colours[i], i, i, colours[i], i + 1 < RUNS ? ", \\" : "");
}

static void write_accuracies(FILE *f)
{
    fprintf(f, "unset key\nunset xlabel\n"
               "set size 0.28,1\nset origin 0.42,0\n"
               "set title 'test accuracy, with 95 %% intervals'\n"
               "set xrange [-0.6:3.6]\nset boxwidth 0.6\nset style fill solid 1 noborder\n"
               "stats $runs using 2 nooutput\n"
               "low = floor((STATS_min - 4) / 5) * 5\nlow = low < 0 ? 0 : low\n"
               "set yrange [low:STATS_max + 0.12 * (STATS_max - low)]\n"
               "plot \\\n");
    for (int i = 0; i < RUNS; i++)
        fprintf(f, "    $runs every ::%d::%d using (%d):2:xtic(1) with boxes lc rgb '%s', \\\n", i,
                i, i, colours[i]);
    fprintf(f, "    $runs using 0:3:(0):($4-$3) with vectors nohead lw 1.5 lc rgb '#222222', \\\n"
               "    $runs using 0:4:(sprintf('%%.1f', $2)) with labels offset 0,0.8\n");
}

static void write_times(FILE *f)
{
    static const char *const parts[] = {"data", "teacher's forward", "student's forward",
                                        "loss", "backward",          "optimiser"};
    static const char *const shades[] = {"#969696", "#756bb1", "#6baed6",
                                         "#e31a1c", "#2171b5", "#74c476"};
    enum { PARTS = sizeof parts / sizeof *parts };
    fprintf(f, "set size 0.30,1\nset origin 0.70,0\n"
               "set title 'seconds of training, by part of a step'\n"
               "set ylabel 's'\nset yrange [0:*]\n"
               "set key top right reverse Left invert samplen 1\n"
               "set style data histograms\nset style histogram rowstacked\n"
               "plot \\\n");
    for (int i = 0; i < PARTS; i++)
        fprintf(f, "    $runs using %d:xtic(1) title \"%s\" lc rgb '%s'%s\n", i + 4, parts[i],
                shades[i], i + 1 < PARTS ? ", \\" : "");
    fprintf(f, "unset multiplot\n");
}

static bool write_script(const demo *d, const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f) {
        fprintf(stderr, "demo: %s: %s\n", path, strerror(errno));
        return false;
    }
    write_head(d, f);
    bool done = write_data(d, f);
    for (int i = 0; i < RUNS; i++) fprintf(f, "title%d = '%s'\n", i, d->runs[order[i]].title);
    write_curves(d, f);
    write_accuracies(f);
    write_times(f);
    if (fclose(f) && done) {
        fprintf(stderr, "demo: %s: %s\n", path, strerror(errno));
        done = false;
    }
    return done;
}

bool demo_picture(const demo *d)
{
    const demo_path path = demo_in(d, "demo.gp", NULL);
    if (!write_script(d, path.text)) return false;
    const gnuplot_end end = gnuplot_run(path.text);
    if (end == GNUPLOT_MISSING)
        printf("no picture: gnuplot is not installed (%s is its script)\n", path.text);
    if (end == GNUPLOT_FAILED) printf("no picture: gnuplot failed on %s\n", path.text);
    return true;
}
