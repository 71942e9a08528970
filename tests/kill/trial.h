/* SPDX-License-Identifier: MIT
 * trial.h: one run of `kd`, done undisturbed once and then under kills and faults: whatever befalls
 * it, resumed to its end it must give the same network, bit for bit, and each epoch's line once. */
#ifndef KDI_TRIAL_H
#define KDI_TRIAL_H

#include "../spawn.h"

typedef struct trial {
    const char *name;
    /* the command and its options but --out, --resume and --threads; @teacher and @other are files
     * of networks for 4 classes on 16 x 16 pictures, @NAME/ is a folder of that name */
    const char *words[32];
    size_t epochs;
} trial;

/* How it is called this time. */
typedef struct trial_call {
    const char *out; /* the run's folder */
    bool resume;
    int threads;      /* 0: 1 */
    const char *shim; /* KD_SHIM of shim.c, or NULL */
    const char *path; /* KD_SHIM_PATH; NULL: the run's folder */
    const char *log;  /* KD_SHIM_LOG, or NULL */
    bool sync;        /* really */
} trial_call;

pid_t trial_start(const trial *t, const trial_call *call);
/* The shim's fault came. */
bool trial_was_hit(void);
/* To its end: the exit status; *hit may be NULL. */
int trial_run(const trial *t, const trial_call *call, bool *hit);

/* The undisturbed run's folder; run at the first call. */
test_path trial_reference(const trial *t);

/* What is in a folder after a kill is whole: no file but ours and temporary ones; checkpoint,
 * model, run.json can be read, metrics up to the last line. False if there is no checkpoint. */
bool trial_check_whole(const trial *t, const char *folder);
/* The run in this folder is done, with the reference's results. */
void trial_check_done(const trial *t, const char *folder);
/* The steps done according to the checkpoint; 0: there is none. */
size_t trial_steps(const char *folder);

void trial_copy(const char *from, const char *to); /* folders of files */
void trial_remove(const char *folder);

#endif
