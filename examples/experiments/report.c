/* SPDX-License-Identifier: MIT
 * report.c: what came of an experiment, as Markdown: accuracies over seeds, differences
 * (report_compare.c), what is missing. OUT/NAME.md is this program's part; OUT/results.md has all
 * programs' parts that are there, below the costs, which they share. */
#include "report.h"

#include "../common/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is there --------------------------------------------------------------------------- */

const report_kind *report_find(const report *r, const char *kind)
{
    for (size_t i = 0; kind && i < r->n_kinds; i++)
        if (!strcmp(r->kinds[i].kind->name, kind)) return &r->kinds[i];
    return NULL;
}

bool report_has_times(const report *r)
{
    for (size_t i = 0; i < r->n_kinds; i++)
        if (r->kinds[i].n && !isnan(r->kinds[i].minutes)) return true;
    return false;
}

/* Settings hold the data set's name and sum. Without the data set at hand, those of the first
 * finished run count: runs on other data are not counted with it. */
static void take_data_from(report *r, const ex_record *record)
{
    ex_work *w = r->w;
    if (w->data_sum[0] || !record->done) return;
    snprintf(w->data_name, sizeof w->data_name, "%s", record->data_name);
    snprintf(w->data_sum, sizeof w->data_sum, "%s", record->data_sum);
}

static double minutes_of(const report *r, const ex_kind *kind, int64_t steps)
{
    const ex_pairing *p = ex_pairing_of(kind);
    const report_pairing *c = p ? &r->costs.pairings[p - ex_pairings] : NULL;
    return c && c->there ? (double)steps * c->parts[EX_PARTS - 1].median / 6e4 : (double)NAN;
}

static void read_kind(report *r, const ex_kind *kind)
{
    report_kind *k = &r->kinds[r->n_kinds++];
    k->kind = kind;
    k->seeds = kind->once ? 1 : r->w->opt.scale->seeds;
    k->minutes = (double)NAN;
    for (size_t s = 0; s < k->seeds; s++) {
        const ex_run run = ex_run_of(kind, s + 1);
        ex_record_read(r->w->ctx, r->w, &run, &k->records[s]);
        take_data_from(r, &k->records[s]);
        k->done[s] = ex_is_recorded(r->w, &run);
        if (k->done[s]) k->right[s] = ex_answers_read(r->w, &run, &k->records[s], &k->n_right[s]);
        if (k->done[s]) k->minutes = minutes_of(r, kind, k->records[s].steps);
        k->n += k->done[s];
        r->runs++;
        r->missing += !k->done[s];
    }
    const report_kind *start = report_find(r, kind->start);
    if (start) k->minutes += start->minutes;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* "12.3", or a dash for NAN. */
static void cell(FILE *f, const char *format, double x)
{
    if (isnan(x))
        fputs(" – |", f);
    else
        fprintf(f, format, x);
}

static void mean_cell(FILE *f, const double *x, size_t n)
{
    double mean, deviation;
    stats_mean(x, n, &mean, &deviation);
    if (n == 0)
        fputs(" – |", f);
    else if (n == 1)
        fprintf(f, " %.2f |", mean);
    else
        fprintf(f, " %.2f ± %.2f |", mean, deviation);
}

/* Half of the interval of the mean accuracy, of the pictures alone. */
static double sampling_error(const double *top1, size_t n, const report_kind *k)
{
    double mean, deviation;
    int64_t pictures = 0;
    for (size_t s = 0; s < k->seeds; s++)
        if (k->done[s]) pictures = k->records[s].test_pictures;
    if (!n || pictures < 1) return (double)NAN;
    stats_mean(top1, n, &mean, &deviation);
    const stats_interval i = stats_wilson(mean / 100 * (double)pictures, (size_t)pictures);
    return 50 * (i.high - i.low);
}

static void kind_row(const report_kind *k, FILE *f)
{
    double top1[REPORT_MAX_SEEDS], train[REPORT_MAX_SEEDS], same[REPORT_MAX_SEEDS];
    size_t n = 0, agreements = 0;
    int64_t epochs = 0, steps = 0;
    for (size_t s = 0; s < k->seeds; s++) {
        const ex_record *record = &k->records[s];
        if (!k->done[s]) continue;
        top1[n] = record->top1;
        train[n++] = record->train_top1;
        if (!isnan(record->agreement)) same[agreements++] = record->agreement;
        epochs = record->epochs;
        steps = record->steps;
    }
    fprintf(f, "| %s (`%s`) |", k->kind->title, k->kind->name);
    mean_cell(f, top1, n);
    fprintf(f, " %zu of %zu |", n, k->seeds);
    for (size_t i = 0; i < n; i++) fprintf(f, "%s%.2f", i ? ", " : " ", top1[i]);
    fputs(n ? " |" : " – |", f);
    cell(f, " ±%.1f |", sampling_error(top1, n, k));
    mean_cell(f, train, n);
    mean_cell(f, same, agreements);
    if (n)
        fprintf(f, " %lld (%lld) |", (long long)epochs, (long long)steps);
    else
        fputs(" – |", f);
    cell(f, " %.1f |", k->minutes);
    fputc('\n', f);
}

static void accuracy_table(const report *r, FILE *f)
{
    const report_kind *any = r->kinds;
    const int64_t pictures = any->done[0] ? any->records[0].test_pictures : 0;
    fprintf(
        f, "### Accuracy\n\n"
           "On the test pictures after the last epoch, in percent; mean ± standard deviation over "
           "seeds, which is of the seeds alone. Sampling error: half of the 95 %% interval of such "
           "an accuracy ");
    if (pictures) fprintf(f, "on %lld pictures ", (long long)pictures);
    fprintf(
        f,
        "(Wilson's), which is of the pictures alone. Minutes: steps × the median step of [the "
        "timing pass](#costs), without tests; fine-tuning has those of its start in it.\n\n"
        "| run | test accuracy | seeds | each | sampling error | training accuracy, last epoch | "
        "agrees with its teacher | epochs (steps) | minutes of training |\n"
        "|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < r->n_kinds; i++) kind_row(&r->kinds[i], f);
    fputc('\n', f);
}

static void list_missing(const report *r, FILE *f)
{
    if (!r->missing) return;
    fprintf(f, "**Still missing**, %zu of %zu runs:", r->missing, r->runs);
    for (size_t i = 0, n = 0; i < r->n_kinds; i++)
        for (size_t s = 0; s < r->kinds[i].seeds; s++) {
            const ex_run run = ex_run_of(r->kinds[i].kind, s + 1);
            if (!r->kinds[i].done[s]) fprintf(f, "%s `%s`", n++ ? "," : "", run.name);
        }
    fputs(".\n\n", f);
}

static void list_settings(const report *r, FILE *f)
{
    fprintf(f, "<details><summary>Settings of each run</summary>\n\n");
    for (size_t i = 0; i < r->n_kinds; i++) {
        size_t s = 0;
        while (s < r->kinds[i].seeds && !r->kinds[i].done[s]) s++;
        if (s == r->kinds[i].seeds) continue;
        const ex_run run = ex_run_of(r->kinds[i].kind, s + 1);
        const ex_record *record = &r->kinds[i].records[s];
        fprintf(f, "- `%s`: %s%s%s\n", run.name, record->settings,
                record->begun_by[0] ? "; begun by " : "", record->begun_by);
    }
    fprintf(f, "\n</details>\n");
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A text that is written to a file as a whole. */
typedef struct text {
    char *bytes;
    size_t size;
    FILE *f;
} text;

static bool text_open(text *t)
{
    *t = (text){.bytes = NULL};
    t->f = open_memstream(&t->bytes, &t->size);
    return t->f != NULL;
}

static int text_write(const ex_work *w, text *t, const char *name)
{
    const bool whole = fclose(t->f) == 0;
    const ex_path path = ex_in(w, name, NULL);
    const int code = !whole ? ex_fail("out of memory")
                     : kd_file_write_atomic(w->ctx, path.text, t->bytes, t->size) ? ex_fail_ctx(w)
                                                                                  : EX_DONE;
    free(t->bytes);
    return code;
}

static int write_part(const report *r, const char *ending)
{
    text t;
    char name[64];
    const ex_experiment *e = r->w->experiment;
    if (!text_open(&t)) return ex_fail("out of memory");
    fprintf(t.f, "## %s\n\n%s\n\n`build/bin/experiment-%s --scale %s`\n\n", e->title, e->question,
            e->name, r->w->opt.scale->name);
    accuracy_table(r, t.f);
    report_write_comparisons(r, t.f);
    list_missing(r, t.f);
    if (ending && r->missing < r->runs)
        fprintf(t.f, "![learning curves](%s-curves.%s)\n\n", e->name, ending);
    if (ending && report_has_times(r))
        fprintf(t.f, "![accuracy against time](%s-time.%s)\n\n", e->name, ending);
    list_settings(r, t.f);
    snprintf(name, sizeof name, "%s.md", e->name);
    return text_write(r->w, &t, name);
}

static void append_part(const report *r, const char *name, FILE *f)
{
    char *bytes;
    size_t size;
    const ex_path path = ex_in(r->w, name, NULL);
    if (kd_file_read_all(r->w->ctx, path.text, 1 << 24, &bytes, &size)) return;
    fputc('\n', f);
    fwrite(bytes, 1, size, f);
    kd_ctx_free(r->w->ctx, bytes);
}

static int write_all(const report *r, const char *ending)
{
    static const char *const parts[] = {"cnn-to-cnn.md", "vit-to-cnn.md", "vit-to-vit.md"};
    text t;
    if (!text_open(&t)) return ex_fail("out of memory");
    fprintf(
        t.f,
        "# Results, scale %s\n\n"
        "Data: %s%s%s. Made by `make experiments SCALE=%s` from the runs' own records; nothing in "
        "here was typed by hand.\n\n",
        r->w->opt.scale->name, r->w->data_name[0] ? r->w->data_name : "none yet",
        r->w->data_sum[0] ? ", checksum " : "", r->w->data_sum, r->w->opt.scale->name);
    report_write_costs(r, ending, t.f);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) append_part(r, parts[i], t.f);
    return text_write(r->w, &t, "results.md");
}

static int make(report *r)
{
    report_read_costs(r);
    for (const char *const *name = r->w->experiment->kinds; *name; name++)
        read_kind(r, ex_kind_named(*name));
    const char *ending = report_pictures(r);
    const int code = write_part(r, ending);
    return code ? code : write_all(r, ending);
}

int ex_report(ex_work *w)
{
    const kd_config config = {.struct_size = sizeof config, .threads = 1};
    report *r = calloc(1, sizeof *r);
    int code = r ? EX_DONE : ex_fail("out of memory");
    if (!code && kd_ctx_create(&config, &w->ctx)) code = ex_fail("no context: out of memory");
    if (!code) {
        r->w = w;
        code = make(r);
    }
    if (!code)
        printf("%s: %zu of %zu runs are done; %s/results.md\n", w->experiment->name,
               r->runs - r->missing, r->runs, w->opt.out);
    for (size_t i = 0; r && i < r->n_kinds; i++)
        for (size_t s = 0; s < r->kinds[i].seeds; s++) kd_ctx_free(w->ctx, r->kinds[i].right[s]);
    kd_ctx_destroy(w->ctx);
    w->ctx = NULL;
    free(r);
    return code;
}
