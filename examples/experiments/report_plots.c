/* SPDX-License-Identifier: MIT
 * report_plots.c: gnuplot scripts that carry their data, beside the pictures made by them:
 *
 *   NAME-curves  training accuracy by epoch, a line a run; fine-tuning goes on where its start
 *                ended
 *   NAME-time    test accuracy against minutes of training, a point a run
 *   costs        milliseconds of a step by part, for each pairing */
#include "report.h"

#include "../common/gnuplot.h"
#include "../common/run_record.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const char *const colours[] = {"#7f7f7f", "#e6550d", "#3182bd", "#9ecae1", "#31a354",
                                      "#756bb1", "#d62728", "#8c6d31", "#17becf", "#e377c2"};
enum { COLOURS = sizeof colours / sizeof *colours };

/* ---- running gnuplot ------------------------------------------------------------------------- */

/* What this gnuplot can make, "svg" if at all; NULL, and says so, if there is none. */
static const char *ending(void)
{
    const gnuplot_end svg = gnuplot_ask("strstrt(GPVAL_TERMINALS, ' svg ')");
    if (svg == GNUPLOT_FINE) return "svg";
    if (svg == GNUPLOT_MISSING) {
        printf("no pictures: gnuplot is not installed\n");
        return NULL;
    }
    if (gnuplot_ask("strstrt(GPVAL_TERMINALS, ' png ')") == GNUPLOT_FINE) return "png";
    printf("no pictures: this gnuplot makes neither SVG nor PNG\n");
    return NULL;
}

/* A script OUT/NAME.gp and the picture it makes. */
typedef struct picture {
    ex_path script;
    FILE *f;
} picture;

static bool begin(const report *r, picture *p, const char *name, const char *kind, int height)
{
    char file[100];
    snprintf(file, sizeof file, "%s.gp", name);
    p->script = ex_in(r->w, file, NULL);
    p->f = fopen(p->script.text, "w");
    if (!p->f) {
        ex_fail("%s: %s", p->script.text, strerror(errno));
        return false;
    }
    fprintf(p->f,
            "# Made by the experiments of libkd; gnuplot makes the picture again from it.\n"
            "set terminal %s size 1000,%d font 'DejaVu Sans,12' noenhanced background '#ffffff'\n"
            "set output ",
            kind, height);
    snprintf(file, sizeof file, "%s.%s", name, kind);
    gnuplot_quoted(p->f, ex_in(r->w, file, NULL).text);
    fprintf(p->f, "\nset style line 9 lc rgb '#dddddd' lw 1\nset border 3 lc rgb '#444444'\n"
                  "set tics nomirror out\nset grid ytics ls 9\n");
    return true;
}

static void end(picture *p)
{
    const bool written = fclose(p->f) == 0;
    if (!written || gnuplot_run(p->script.text) != GNUPLOT_FINE)
        printf("gnuplot failed on %s\n", p->script.text);
}

/* ---- learning curves ------------------------------------------------------------------------- */

/* Lines "epoch accuracy" of a run, after those of its start. */
static void write_curve(const report *r, const report_kind *k, uint64_t seed, FILE *f)
{
    char *bytes;
    size_t size, at = 0;
    kd_json_object *o;
    int64_t epoch;
    double accuracy;
    const report_kind *start = report_find(r, k->kind->start);
    const int64_t before = start && start->done[seed - 1] ? start->records[seed - 1].epochs : 0;
    const ex_run run_ = ex_run_of(k->kind, seed);
    const ex_path path = ex_in(r->w, run_.name, "metrics.jsonl");
    if (kd_file_read_all(r->w->ctx, path.text, 1 << 24, &bytes, &size)) return;
    while ((o = record_next_line(r->w->ctx, bytes, size, &at))) {
        if (kd_json_get_integer(o, "epoch", &epoch) && kd_json_get_number(o, "accuracy", &accuracy))
            fprintf(f, "%lld %.3f\n", (long long)(before + epoch), accuracy);
        kd_json_object_destroy(o);
    }
    kd_ctx_free(r->w->ctx, bytes);
}

static void curves(const report *r, const char *kind)
{
    picture p;
    char name[64];
    size_t drawn = 0;
    if (r->missing == r->runs) return;
    snprintf(name, sizeof name, "%s-curves", r->w->experiment->name);
    if (!begin(r, &p, name, kind, 520)) return;
    for (size_t i = 0; i < r->n_kinds; i++)
        for (size_t s = 0; s < r->kinds[i].seeds; s++) {
            if (!r->kinds[i].done[s]) continue;
            fprintf(p.f, "$run_%zu_%zu << EOD\n", i, s);
            write_curve(r, &r->kinds[i], s + 1, p.f);
            fprintf(p.f, "EOD\n");
        }
    fprintf(p.f, "set title 'learning curves: accuracy on the training pictures as they come'\n"
                 "set xlabel 'epoch'\nset ylabel 'accuracy, %%'\n"
                 "set key outside right top reverse Left samplen 2\nset xrange [0:*]\nplot \\\n");
    for (size_t i = 0; i < r->n_kinds; i++) {
        bool titled = false;
        for (size_t s = 0; s < r->kinds[i].seeds; s++) {
            if (!r->kinds[i].done[s]) continue;
            fprintf(p.f,
                    "%s    $run_%zu_%zu using 1:2 with linespoints lw 1.5 pt 7 ps 0.3 lc rgb '%s' ",
                    drawn++ ? ", \\\n" : "", i, s, colours[i % COLOURS]);
            fputs(titled ? "notitle" : "title ", p.f);
            if (!titled) gnuplot_quoted(p.f, r->kinds[i].kind->title);
            titled = true;
        }
    }
    fputc('\n', p.f);
    end(&p);
}

/* ---- accuracy against time ------------------------------------------------------------------- */

static void times(const report *r, const char *kind)
{
    picture p;
    char name[64];
    size_t drawn = 0;
    if (!report_has_times(r)) return;
    snprintf(name, sizeof name, "%s-time", r->w->experiment->name);
    if (!begin(r, &p, name, kind, 520)) return;
    for (size_t i = 0; i < r->n_kinds; i++) {
        const report_kind *k = &r->kinds[i];
        fprintf(p.f, "$kind_%zu << EOD\n", i);
        for (size_t s = 0; s < k->seeds; s++)
            if (k->done[s] && !isnan(k->minutes))
                fprintf(p.f, "%.4f %.3f\n", k->minutes, k->records[s].top1);
        fprintf(p.f, "EOD\n");
    }
    fprintf(p.f,
            "set title 'test accuracy against time of training: steps × median step, a point a "
            "seed'\nset xlabel 'minutes'\nset ylabel 'test accuracy, %%'\n"
            "set key outside right top reverse Left samplen 1\nset xrange [0:*]\n"
            "set offsets 0,0,0.3,0.3\nplot \\\n");
    for (size_t i = 0; i < r->n_kinds; i++) {
        if (!r->kinds[i].n || isnan(r->kinds[i].minutes)) continue;
        fprintf(p.f, "%s    $kind_%zu using 1:2 with points pt 7 ps 1 lc rgb '%s' title ",
                drawn++ ? ", \\\n" : "", i, colours[i % COLOURS]);
        gnuplot_quoted(p.f, r->kinds[i].kind->title);
    }
    fputc('\n', p.f);
    end(&p);
}

/* ---- time by part ---------------------------------------------------------------------------- */

static void parts(const report *r, const char *kind)
{
    static const char *const titles[] = {"waiting for data",  "teacher's forward",
                                         "student's forward", "loss, forward and backward",
                                         "backward",          "optimiser"};
    static const char *const shades[] = {"#969696", "#756bb1", "#6baed6",
                                         "#e31a1c", "#2171b5", "#74c476"};
    enum { SHOWN = sizeof titles / sizeof *titles };
    picture p;
    if (!r->costs.there || !begin(r, &p, "costs", kind, 420)) return;
    fprintf(p.f, "# teacher > student; data, teacher, forward, loss, backward, optimiser: ms\n"
                 "$steps << EOD\n");
    for (size_t i = 0; ex_pairings[i].name; i++) {
        if (!r->costs.pairings[i].there) continue;
        fprintf(p.f, "\"%s\"", ex_pairings[i].name);
        for (int part = 0; part < SHOWN; part++)
            fprintf(p.f, " %.4f", r->costs.pairings[i].parts[part].median);
        fputc('\n', p.f);
    }
    fprintf(p.f,
            "EOD\nset title 'a training step at batch %zu by part, medians'\n"
            "set ylabel 'ms'\nset yrange [0:*]\nset xtics rotate by -20\n"
            "set key outside right top reverse Left invert samplen 1\n"
            "set style data histograms\nset style histogram rowstacked\n"
            "set boxwidth 0.7\nset style fill solid 1 noborder\nplot \\\n",
            r->w->opt.scale->batch);
    for (int part = 0; part < SHOWN; part++)
        fprintf(p.f, "    $steps using %d:xtic(1) title \"%s\" lc rgb '%s'%s\n", part + 2,
                titles[part], shades[part], part + 1 < SHOWN ? ", \\" : "");
    end(&p);
}

const char *report_pictures(const report *r)
{
    const char *kind = ending();
    if (!kind) return NULL;
    curves(r, kind);
    times(r, kind);
    parts(r, kind);
    return kind;
}
