/* SPDX-License-Identifier: MIT
 * sweep.h: kd sweep from the inside: students as a file has them, and what runs them. */
#ifndef CLI_SWEEP_H
#define CLI_SWEEP_H

#include "session.h"

enum { SWEEP_WORDS = 300, SWEEP_NAME = 200, SWEEP_MOST = 4096 };

/* One student: its options as words, parsed. */
typedef struct sweep_student {
    char name[SWEEP_NAME], out[CLI_PATH];
    char *words[SWEEP_WORDS];
    int n_words;
    cli_args args;
    cli_session session;
    size_t pass; /* the number of its first companion: students of one pass share it */
    kd_status status;
} sweep_student;

typedef struct sweep {
    const cli_args *args;
    const char *file;
    kd_ctx *ctx; /* of the file's text */
    sweep_student **students;
    size_t n;
} sweep;

/* sweep.c: read the file: every student's options are checked. CLI_DONE, or the line is printed. */
int sweep_read(sweep *s);
void sweep_free(sweep *s);

/* sweep_run.c */
int sweep_run(sweep *s);
/* The line above the table of students. */
void sweep_table_head(int width);

/* sweep_report.c: the students as their records have them: of --jobs. */
int sweep_report(sweep *s);

#endif
