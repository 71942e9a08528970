/* SPDX-License-Identifier: MIT
 * eval.h: what the files of kd eval share.
 *
 *   eval.c          networks are opened and measured, one after the other
 *   eval_csv.c      --predictions and --confusion
 *   eval_report.c   text and JSON, intervals, comparisons of networks */
#ifndef EVAL_H
#define EVAL_H

#include "cli.h"

/* What a network said of a sample. */
typedef struct eval_answer {
    bool there; /* the sample could be read */
    int32_t label, target, predicted;
    double probability, loss;
} eval_answer;

typedef struct eval_network {
    const char *file;
    char spec[KD_SPEC_SIZE];
    size_t classes;
    kd_eval_result result;
    eval_answer *answers; /* [count], by id; NULL: nobody asks for them */
    uint64_t *confusion;  /* [classes, classes]; NULL: nobody asks */
    const char **names;   /* [classes], while the network is open; NULL: not known */
} eval_network;

typedef struct evaluation {
    const cli_args *args;
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *teacher;
    size_t count;           /* samples of the split of the data set that is read */
    eval_network *networks; /* [n], in the order of the files */
    size_t n;
    char *csv; /* of --predictions, so far */
    size_t csv_size, csv_capacity;
} evaluation;

/* ---- eval_csv.c ------------------------------------------------------------------------------ */

/* An output that is there and is no such table is not replaced, nor is a network: CLI_FAILED. Asked
 * for before anything is measured. */
int eval_check_outputs(const evaluation *e);
/* Add a network's answers to the text of --predictions. */
int eval_add_predictions(evaluation *e, const eval_network *network);
int eval_write_predictions(evaluation *e);
int eval_write_confusion(evaluation *e, const eval_network *network);

/* ---- eval_report.c --------------------------------------------------------------------------- */

int eval_report(evaluation *e);

#endif
