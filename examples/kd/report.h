/* SPDX-License-Identifier: MIT
 * report.h: kd report from the inside. Folders are read into runs (report_read.c, report_record.c,
 * report_beside.c); runs that differ in the seed alone make a group (report_settings.c,
 * report_group.c, report_label.c); groups are compared seed by seed (report_compare.c). Each part of
 * the page is a file (report_tables.c ... report_claims.c); report_svg.c draws, report_text.c
 * escapes. All memory is the report's until report_free. What was not measured is NAN or NULL. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "cli.h"

#include "../common/compare.h"

#include <stdio.h>

/* ---- runs ------------------------------------------------------------------------------------ */

/* Figures of a run, in the order of report_figures. */
typedef enum report_figure_id {
    FIG_TOP1,
    FIG_TOP5,
    FIG_LOSS,
    FIG_TRAIN_TOP1,
    FIG_TRAIN_LOSS,
    FIG_DEV_TOP1,
    FIG_EPOCHS,
    FIG_STEPS,
    FIG_PARAMS,
    FIG_MACS,
    FIG_PEAK,
    FIG_SECONDS,
    FIG_SPEED,
    FIG_DATA, /* seconds by part, as in kd_times */
    FIG_TEACHER,
    FIG_FORWARD,
    FIG_LOSS_TIME,
    FIG_BACKWARD,
    FIG_OPTIMIZER,
    FIG_LATENCY,
    FIG_ARENA,
    FIG_FLASH,
    FIG_DEVICE_TOP1,
    FIG_AGREEMENT,
    FIG_KL,
    FIG_ECE,
    FIG_TRAIN_AGREEMENT,
    FIG_TEACHER_TOP1,
    REPORT_FIGURES
} report_figure_id;

enum { REPORT_PARTS = FIG_OPTIMIZER - FIG_DATA + 1 };

typedef struct report_figure {
    const char *name; /* the CSV's column */
    double most;      /* what is above is no such figure */
} report_figure;
extern const report_figure report_figures[REPORT_FIGURES];

/* A value that may separate runs. Keys are options' names, or student, teacher, teacher-run, start,
 * data, command. */
typedef struct report_setting {
    const char *key, *value;
} report_setting;

typedef struct report_epoch {
    double epoch, dev, accuracy, loss;
} report_epoch;

typedef struct report_run {
    const char *name;   /* as it is shown: its path below the folder that was given */
    const char *folder; /* its path; `real` is the same without links */
    const char *real;
    const char *title; /* the last part of the name, without the seed */
    const char *bad;   /* why it does not count; NULL: it does */
    const char *spec, *data, *checksum, *cpu, *version;
    const char *out;          /* the folder that it was written to, as it says itself, or "" */
    const char *weights;      /* the sum that answers.txt has, or "" */
    const char *hash;         /* of the finished network, or "" */
    const char *teacher_spec; /* several: joined by " + "; NULL: none */
    const char *teacher_file, *teacher_hash;  /* of the first; "" where not recorded */
    const char *start_file, *start_hash;      /* NULL: it began with random weights */
    const struct report_run *teacher, *start; /* if they are among the runs */
    int64_t seed;
    double test_pictures;
    report_setting *settings; /* [n_settings] by key */
    size_t n_settings;
    bool sorted; /* the settings are, by key */
    double figures[REPORT_FIGURES];
    report_epoch *epochs; /* [n_epochs] */
    size_t n_epochs;
    const char *right; /* [n_right], see common/answers.h */
    size_t n_right;
    const char *signature; /* equal: the same recipe, but for the seed */
    bool signing;
    size_t group;
} report_run;

/* ---- groups ---------------------------------------------------------------------------------- */

typedef enum report_family {
    FAMILY_CNN,
    FAMILY_VIT,
    FAMILY_DEIT,
    FAMILY_SWIN,
    FAMILIES
} report_family;

typedef struct report_group {
    report_run **runs; /* [n] by seed */
    size_t n, n_seeds;
    int64_t *seeds; /* [n_seeds], ascending */
    double *top1;   /* [n_seeds] means of each seed's runs */
    double mean, deviation;
    stats_interval interval;
    double figures[REPORT_FIGURES]; /* means of runs that have it; NAN: none has */
    double total_seconds;           /* with those of the runs it started from */
    bool mixed;                     /* --by pools other networks, data, or ways to train in it */
    const char *label;
    bool labelling;
} report_group;

typedef struct report_comparison {
    size_t a, b;     /* groups: a minus b */
    const char *why; /* "the same steps without a teacher" */
    compare_difference d;
    double *each;   /* [d.n] */
    double p_alone; /* before Holm's correction, which d.p has */
} report_comparison;

/* ---- costs.json ------------------------------------------------------------------------------ */

/* Quiet timing of a pairing's step: medians of parts and, last, of the whole; ms. */
typedef struct report_timing {
    const char *student, *teacher; /* specs; teacher NULL: none */
    double parts[REPORT_PARTS + 1];
} report_timing;

/* What is known of every run with this spec, or (spec NULL) of the run in this folder. */
typedef struct report_cost {
    const char *spec, *folder;
    double latency, arena, flash; /* ms, bytes */
} report_cost;

/* ---- all of it ------------------------------------------------------------------------------- */

enum { REPORT_MAX_KEYS = 16 };

typedef struct report {
    const cli_args *args;
    kd_ctx *ctx;
    struct report_block *blocks;
    bool failed;       /* memory ran out */
    report_run **runs; /* [n_runs] by name */
    size_t n_runs, room, n_good;
    struct report_name *names; /* [n_names] specs and what they are called */
    size_t n_names;
    report_timing *timings;
    size_t n_timings;
    report_cost *costs;
    size_t n_costs;
    const char *
        *notes; /* [n_notes] what is odd, in words: said on standard error and in the page */
    size_t n_notes;
    const char *by[REPORT_MAX_KEYS]; /* [n_by] of --by; 0: whatever varies */
    size_t n_by;
    report_group *groups;
    size_t n_groups;
    report_comparison *comparisons;
    size_t n_comparisons, alone; /* alone: groups without a control */
    const char *verdict, *sure;  /* of the claim that was written last */
    unsigned next_id;            /* of what is drawn */
} report;

/* report.c: memory that lives as long as the report, zeroed; NULL: failed is set. */
void *report_alloc(report *r, size_t count, size_t size);
const char *report_copy(report *r, const char *text);
const char *report_print(report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One element more: *list [*n] of such size; NULL: no memory. */
void *report_more(report *r, void *list, size_t *n, size_t size);
void report_note(report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* report_read.c: all runs below the folders of the command line. */
int report_read(report *r);
/* report_record.c: run.json, metrics.jsonl, answers.txt of run->folder. */
void report_read_run(report *r, report_run *run);
kd_json_object *report_json_of(report *r, const char *folder, const char *name, const char **why);
double report_number(const kd_json_object *o, const char *key, double most);
/* report_beside.c: costs.json and search.jsonl of a folder of runs; then what runs take from them,
 * and from eval.json, export.json, profile.json in their own folders. */
void report_read_beside(report *r, const char *folder);
void report_take_costs(report *r);

/* report_settings.c */
void report_add_setting(report *r, report_run *run, const char *key, const char *value);
const char *report_setting_of(const report_run *run, const char *key); /* NULL: it has none */
void report_link(report *r); /* which run is whose teacher and start */
int report_check_keys(report *r);
void report_sign(report *r, report_run *run);
const char *report_title(report *r, const char *path);

/* report_group.c, report_label.c */
int report_group_runs(report *r);
void report_label_groups(report *r);
const char *report_short_spec(report *r, const char *spec);
report_family report_family_of(const char *spec);
extern const char *const report_family_names[FAMILIES];
/* Of the group's first run; all have the same, unless --by pools them. */
const report_run *report_first(const report_group *g);
/* Order of texts in which numbers count as such: vgg8 before vgg13. */
int report_order(const char *a, const char *b);

/* report_compare.c */
int report_compare(report *r);
/* a minus b, seed by seed; p is not corrected. */
compare_difference report_differ(report *r, size_t a, size_t b);
/* Settings that both have with the same value: the nearest control has most. */
size_t report_likeness(const report_run *a, const report_run *b);
/* The nearest group without a teacher that has the same network, data, start, and steps (longer:
 * more); SIZE_MAX: there is none. */
size_t report_control(const report *r, size_t group, bool longer);
/* "for 1.79 times the time": of the runs of `group` against those of `than`. */
const char *report_for_longer(report *r, size_t group, size_t than);
/* The timing pass of such a step; NULL: there is none. */
const report_timing *report_timing_of(const report *r, const report_run *run);

/* ---- texts ----------------------------------------------------------------------------------- */

/* Escaped for HTML, whatever it holds; at most some 1,000 characters of it. */
void html(FILE *f, const char *text);
void html_number(FILE *f, const char *format, double x); /* a dash for NAN; format has one double */
/* A table's begin, with a caption and columns; those that begin with '<' are texts, flush left. */
void html_table(FILE *f, const char *caption, const char *const *columns);
void html_table_end(FILE *f);
void html_cell(FILE *f, const char *format, double x);
void html_text_cell(FILE *f, const char *text);
void html_interval_cell(FILE *f, stats_interval i, const char *format);
/* A text of numbers, escaped, with minus signs for hyphens. */
void html_minus(FILE *f, const char *text);
void html_minus_cell(FILE *f, const char *text);
/* Mean ± standard deviation over the group's runs. */
void html_spread(FILE *f, const report_group *g, report_figure_id figure, const char *format);

/* A column of a figure; it is left out where no group has it. */
typedef struct html_figure {
    const char *title; /* NULL: behind the last */
    report_figure_id figure;
    const char *format; /* of a number */
    enum { AS_NUMBER, AS_SPREAD, AS_TIME, AS_BYTES, AS_AMOUNT } as;
} html_figure;
/* A row for each group (shown: those alone): what begin writes below `columns`, then the figures. */
void html_group_table(report *r, FILE *f, const char *caption, const char *const *columns,
                      void (*begin)(report *r, size_t group, FILE *f), const html_figure *figures,
                      bool (*shown)(const report_group *));
/* "3 vgg8_bn alone" as the cell that heads a row. */
void html_group_cell(FILE *f, const report *r, size_t group);

/* ---- what is written ------------------------------------------------------------------------- */

void report_page(report *r, FILE *f);
void report_csv(report *r, FILE *f);
void report_latex(report *r, FILE *f);
int report_json(report *r);
extern const char report_page_head[], report_csv_head[], report_latex_head[];

/* Sections of the page. */
void report_accuracy_table(report *r, FILE *f);
void report_cost_table(report *r, FILE *f);
void report_difference_table(report *r, FILE *f);
void report_curves(report *r, FILE *f);
void report_times(report *r, FILE *f);
void report_pareto(report *r, FILE *f);
void report_fidelity(report *r, FILE *f);
void report_claims(report *r, FILE *f);
bool report_has_claims(const report *r); /* is there a run with a teacher? */

#endif
