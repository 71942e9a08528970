/* SPDX-License-Identifier: MIT
 * report.h: what the files of the report share. It is made from run.json, metrics.jsonl and
 * costs.json alone. */
#ifndef EXPERIMENTS_REPORT_H
#define EXPERIMENTS_REPORT_H

#include "experiments.h"

enum { REPORT_MAX_SEEDS = 16, REPORT_MAX_PAIRINGS = 16 };

/* The finished runs of a kind, by seed. */
typedef struct report_kind {
    const ex_kind *kind;
    size_t seeds, n; /* wanted, done */
    bool done[REPORT_MAX_SEEDS];
    ex_record records[REPORT_MAX_SEEDS];
    char *right[REPORT_MAX_SEEDS]; /* [n_right]: ex_answers_read; NULL: not known */
    size_t n_right[REPORT_MAX_SEEDS];
    double minutes; /* a run takes: steps x median step, its start's included; NAN: not known */
} report_kind;

typedef struct report_quantiles {
    double median, p10, p90; /* ms; NAN: not known */
} report_quantiles;

typedef struct report_pairing {
    bool there;
    report_quantiles parts[EX_PARTS];
    int64_t steps, peak_bytes, data_bytes;
} report_pairing;

typedef struct report_network {
    bool there;
    char spec[KD_SPEC_SIZE];
    int64_t params, macs, arena_1, arena_128;
    report_quantiles forward_1, forward_128;
} report_network;

typedef struct report_costs {
    bool there;
    char started[32], ended[32], cpu[200], isa[20], build[200], version[20];
    int64_t threads, rounds;
    double load_before, load_after;
    report_pairing pairings[REPORT_MAX_PAIRINGS];
    report_network networks[EX_NETWORKS];
} report_costs;

typedef struct report {
    ex_work *w;
    report_costs costs;
    report_kind kinds[EX_MAX_KINDS];
    size_t n_kinds, runs, missing;
} report;

/* report_costs.c */
void report_read_costs(report *r);
/* ending: of the picture's name; NULL: there is none. */
void report_write_costs(const report *r, const char *ending, FILE *f);
/* report_plots.c: returns the ending of the pictures' names, "svg" or "png"; NULL, and says so,
 * if there are none. */
const char *report_pictures(const report *r);

/* report_compare.c: the table of differences between kinds of runs. */
void report_write_comparisons(const report *r, FILE *f);

/* Is there a finished run whose minutes are known? */
bool report_has_times(const report *r);
const report_kind *report_find(const report *r, const char *kind);

#endif
