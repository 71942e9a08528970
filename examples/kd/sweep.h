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
    kd_ctx *ctx;              /* of the file's text */
    sweep_student **students; /* [SWEEP_MOST] */
    size_t n;
    size_t
        stop_after; /* a pass stops, to be resumed, when all have done so many epochs; 0: never */
} sweep;

/* sweep.c: read the file: every student's options are checked. CLI_DONE, or the line is printed. */
int sweep_read(sweep *s);
void sweep_free(sweep *s);

/* The same by hand: an empty list; a new student, or NULL; a word of it; and the words read, once
 * it has a name. The spec is the last word, behind "--". */
int sweep_begin(sweep *s);
sweep_student *sweep_add(sweep *s);
int sweep_add_word(sweep *s, sweep_student *t, const char *word);
int sweep_parse(sweep *s, sweep_student *t);
/* A string or a number of an object as text; NULL: it is neither. */
const char *sweep_text_of(const kd_json_object *o, const char *key, char value[40]);

/* sweep_run.c */
int sweep_run(sweep *s);
/* Its parts: the students' sessions, all of them in as few passes as can be, and the end. */
int sweep_open(sweep *s);
int sweep_passes(sweep *s);
void sweep_close(sweep *s);

/* What a pass takes, by some steps of it. */
typedef struct sweep_cost {
    double steps, seconds, disk;
    double step; /* seconds of the last pass's, all its students together */
} sweep_cost;
/* Added to *cost. Nothing is written. */
int sweep_estimate(sweep *s, size_t pass, sweep_cost *cost);
/* Do steps of the augmentation frame pictures, so that their size depends on who sees them? */
bool sweep_frames(const cli_args *a);
/* The line above the table of students. */
void sweep_table_head(int width);

/* sweep_report.c: the students as their records have them: of --jobs. */
int sweep_report(sweep *s);

#endif
