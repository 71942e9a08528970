/* SPDX-License-Identifier: MIT
 * predict.h: what the files of kd predict share.
 *
 *   predict.c          pictures are opened, and their logits computed
 *   predict_output.c   the file that is written, and what is said: classes by name */
#ifndef PREDICT_H
#define PREDICT_H

#include "cli.h"

#include <kd/export.h>

/* What is written; the two heads where the network has a distillation token. */
enum { HEADS = 3 };
extern const char *const predict_outputs[HEADS];

typedef struct prediction {
    const cli_args *args;
    kd_ctx *ctx;
    kd_model *model;
    kd_writer *writer;
    kd_file *file; /* the input, or: */
    const kd_file_tensor *input;
    const char **paths; /* [n] of picture files */
    kd_dataset *data;
    kd_loader *loader;
    const char *framing;
    kd_plan *plan;
    kd_exec *exec;
    kd_blob *blob; /* answers instead of plan and exec; or NULL */
    size_t n, batch, height, width, channels, classes;
    size_t broken;        /* pictures that could not be read: their rows are NaN */
    bool *there;          /* [n] the others */
    float *planar;        /* [batch,C,H,W] */
    float *picture;       /* [batch,H,W,C] */
    float *logits[HEADS]; /* [n,classes]; of single heads: NULL where there is one only */
    double seconds;
} prediction;

/* Look at OUTPUT before anything is computed, and begin it. */
int predict_begin_output(prediction *p);
int predict_write(prediction *p);
int predict_report(const prediction *p);

#endif
