/* SPDX-License-Identifier: MIT
 * export.h: what the files of kd export share.
 *
 *   export.c          the network, pictures to calibrate with and to compare on, what is written
 *   export_report.c   what it costs, layer by layer: text and JSON */
#ifndef EXPORT_H
#define EXPORT_H

#include "cli.h"

#include <kd/export.h>

typedef struct pictures {
    uint8_t *pixels; /* [count, height, width, channels] */
    int32_t *labels; /* [count]: the network's classes */
    size_t count;
} pictures;

typedef struct exporting {
    const cli_args *args;
    kd_ctx *ctx;
    kd_model *model;
    kd_dataset *data;
    int32_t *class_map;   /* [the data's classes]: the network's */
    kd_export *e;         /* NULL: nothing is made for a device */
    kd_edge_model device; /* the blob, open */
    size_t calibrated;    /* pictures */
    bool compared;
} exporting;

/* 17 or 20. */
int export_opset(const cli_args *a);
/* On standard output: what was written, and what it costs. */
int export_report(exporting *x);
/* The same as JSON into --report's file. */
int export_write_report(exporting *x);

#endif
