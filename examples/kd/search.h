/* SPDX-License-Identifier: MIT
 * search.h: kd search from the inside: the networks of a space, the limits they are held against,
 * the candidates that are drawn, and what became of them. */
#ifndef CLI_SEARCH_H
#define CLI_SEARCH_H

#include "sweep.h"

enum {
    SEARCH_NETWORKS = 20000, /* of a space, at most */
    SEARCH_POINTS = 1000,    /* of its options */
    SEARCH_WORDS = 16,       /* options of a candidate */
    SEARCH_RUNGS = 3,
    SEARCH_OPTIONS = 400 /* characters of a candidate's options */
};

/* What a network costs: exact, but for the latency. */
typedef struct search_cost {
    uint64_t params, macs, flash, memory; /* macs: of one picture; the others: bytes */
    bool sized;                           /* flash and memory are known */
    double latency;                       /* milliseconds of one picture; NAN: not measured */
} search_cost;

typedef struct search_network {
    char *spec;
    search_cost cost;
} search_network;

/* Why networks fell out, and how near the nearest of them came. */
typedef struct search_sieve {
    size_t considered, within;
    size_t macs, flash, memory, latency; /* fell out by this limit, the first that they broke */
    size_t unsupported;                  /* the device's format lacks something */
    double least_macs, least_flash, least_memory, least_latency; /* of those */
} search_sieve;

/* One student: a network with options. */
typedef struct search_candidate {
    char name[16], spec[KD_SPEC_SIZE];
    char options[SEARCH_OPTIONS]; /* "--temperature=2 --soft=0.9" */
    search_cost cost;
    double dev[SEARCH_RUNGS]; /* top-1 on the development split after each rung; NAN: not there */
    size_t rungs;             /* reached */
    double top1, loss;        /* of the best one, on the test split */
} search_candidate;

typedef struct search {
    cli_args *args;
    kd_ctx *ctx;
    kd_dataset *data;
    char *space; /* [space_size] the file's text, or the built-in one */
    size_t space_size;
    const char *space_name;
    search_network *networks;
    size_t n_networks;
    char (*points)[SEARCH_OPTIONS]; /* [n_points] options */
    size_t n_points;
    search_sieve sieve;
    search_candidate *candidates; /* [n] */
    size_t n, epochs, dev_count, rung[SEARCH_RUNGS], n_rungs;
    bool sizes_vary; /* networks see pictures of different sizes */
    double step[2];  /* seconds of a step: of data and teacher; of a student */
    size_t steps;    /* of an epoch */
    double started;
    search_candidate **order; /* [n] the best first */
} search;

/* search_space.c: the networks and the points of the space. */
int search_read_space(search *s);
/* Its text alone: the file's, or the built-in one. */
int search_open_space(search *s);
/* Why the option `feature` is refused. */
extern const char search_no_feature[];

/* search_limits.c */
/* Leave the networks that are within the limits, but for the latency. */
int search_sieve_networks(search *s);
/* The sizes of one network: *taken false: the device's format does not take it. */
int search_size(search *s, search_network *n, bool *taken);
int search_measure(search *s, search_network *n);
/* None is within the limits: the line that says why. */
int search_none_within(const search *s);

/* search_draw.c: candidates from networks and points. */
int search_draw(search *s);

/* search_rungs.c */
/* Time steps of the candidates, and drop the last of them as far as --budget-seconds asks for it. */
int search_estimate(search *s);
/* Are the candidates' options right? Nothing is opened. */
int search_check(search *s);
/* Seconds of the whole search with n candidates. */
double search_seconds(const search *s, size_t n);
/* Train, rank, drop, until the best one is tested. */
int search_run(search *s);
/* How many go into this rung. */
size_t search_kept(size_t n, size_t rung);

/* search_record.c */
/* DIR/search.json: the candidates, written before the first is trained. */
int search_write_plan(search *s);
/* The same read back; *found false: there is none. */
int search_read_plan(search *s, bool *found);
/* DIR/search.jsonl and search.csv: how far it is. */
int search_write_record(search *s);
int search_print(search *s);
int search_print_plan(search *s);

/* search_picture.c: DIR/pareto.svg */
int search_write_picture(search *s);

#endif
