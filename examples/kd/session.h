/* SPDX-License-Identifier: MIT
 * session.h: one run of training from the options to its record, as kd train has it and kd sweep has
 * several. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli.h"

typedef struct cli_session {
    cli_args *args;
    cli_run run;
    kd_model *teachers[KD_MAX_TEACHERS];
    float weights[KD_MAX_TEACHERS];
    kd_result result;
    cli_progress progress;
    cli_mark before[2]; /* checkpoint and network, as the run found them */
    cli_earlier earlier;
    bool recorded;     /* run.json is of this run */
    bool stops;        /* it may be stopped by its progress function, to go on later */
    int record_failed; /* an exit status */
    char why[600];     /* the error, for run.json */
    /* Of several: its name, and the session whose context, data and teachers it shares, which may be
     * itself; NULL: a run alone. */
    const char *name;
    struct cli_session *context, *data, *taught;
} cli_session;

/* Wrong options: CLI_USAGE, with the line printed. */
int cli_session_check(const cli_args *args);
/* Open data, student, teachers. What is shared must be open. */
int cli_session_open(cli_session *s);
/* What is shared is closed with the session it belongs to, which comes last. */
void cli_session_close(cli_session *s);
/* Before the first step: sums, and what the folder holds now. */
int cli_session_begin(cli_session *s);
/* After each step: run.json, once the first one is done. Its failure is a status. */
int cli_session_record(cli_session *s, const kd_progress *progress);
/* The library's status as an exit status; run.json says so, too. */
int cli_session_finish(cli_session *s, kd_status status);

#endif
