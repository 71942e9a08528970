/* SPDX-License-Identifier: MIT
 * report_claims.h: what the files of the claims share. A claim is a box with what the study says,
 * what these runs have to say about it, a verdict, and how sure that is. */
#ifndef CLI_REPORT_CLAIMS_H
#define CLI_REPORT_CLAIMS_H

#include "report.h"

typedef struct claim {
    const char *title, *says;
    const char *needs; /* which runs could speak about it */
    bool (*write)(report *r, const struct claim *c,
                  FILE *f); /* false: these cannot, nothing is written */
} claim;

/* A box: its head; the measurements follow as HTML; then the verdict ends it. */
void claim_open(const claim *c, FILE *f);
void claim_close(report *r, const char *verdict, const char *sure, FILE *f);

/* report_differ; of groups that have no seed in common the difference of means, with n 0. */
compare_difference claim_differ(report *r, size_t a, size_t b);

/* Differences that should all be above zero; their p-values become Holm's. */
typedef struct claim_test {
    bool all_above, all_told; /* told from zero, by enough seeds */
    size_t seeds;             /* the fewest, of those that have seeds in common */
    const char *sure;
} claim_test;
claim_test claim_test_all(report *r, compare_difference *d, size_t n);

/* Distilled from random weights, on the data of group `like` (SIZE_MAX: any). */
bool claim_is_distilled(const report *r, size_t group, size_t like);
bool claim_same_data(const report *r, size_t a, size_t b);
/* The same network without a teacher, for as many steps or for more; group SIZE_MAX: there is none. */
typedef struct claim_control {
    size_t group;
    compare_difference d;
} claim_control;
claim_control claim_control_of(report *r, size_t group, bool longer);
/* Top-1 of the group's teacher; NAN: it is not among the runs. */
double claim_teacher_top1(const report_group *g);
/* ms of a step: of the timing pass if there is one, else of the runs. part: REPORT_PARTS for all. */
double claim_step_ms(const report *r, const report_group *g, size_t part);
bool claim_is_timed(const report *r, const report_group *g);
const char *claim_teacher_name(report *r, const report_group *g);
/* A number in a sentence: "+1.02 (+0.84 to +1.21)", points. */
const char *claim_points(report *r, const compare_difference *d);

/* report_claims_kinds.c */
bool claim_most_accurate(report *r, const claim *c, FILE *f);
bool claim_fastest(report *r, const claim *c, FILE *f);
bool claim_loss_is_quick(report *r, const claim *c, FILE *f);
bool claim_same_student(report *r, const claim *c, FILE *f);
bool claim_time_control(report *r, const claim *c, FILE *f);
/* report_claims_sizes.c */
bool claim_sizes(report *r, const claim *c, FILE *f);
bool claim_resolution(report *r, const claim *c, FILE *f);
bool claim_temperature(report *r, const claim *c, FILE *f);
/* report_claims_tuning.c */
bool claim_fine_tuning(report *r, const claim *c, FILE *f);
bool claim_held_out(report *r, const claim *c, FILE *f);

#endif
