/* SPDX-License-Identifier: MIT
 * atomic.h: replacing a file as a whole or not at all, piece by piece (see kd_file_write_atomic).
 */
#ifndef KDI_ATOMIC_H
#define KDI_ATOMIC_H

#include "../base/base.h"

typedef struct kdi_atomic {
    kd_ctx *ctx;
    const char *shown; /* the path as the caller gave it, for errors; must outlive this */
    char *path, *temp; /* symbolic links followed; the temporary file beside it */
    int fd;            /* of the temporary file, locked; -1: none */
    int mode;          /* permissions of the file to be replaced; -1: there is none */
} kdi_atomic;

/* On failure there is nothing to commit or abort. */
kd_status kdi_atomic_begin(kd_ctx *ctx, const char *path, kdi_atomic *a);
kd_status kdi_atomic_write(kdi_atomic *a, const void *bytes, size_t size);
/* Sync, rename, sync the folder; releases everything, also on failure. */
kd_status kdi_atomic_commit(kdi_atomic *a);
/* Remove the temporary file; the old file was never touched. */
void kdi_atomic_abort(kdi_atomic *a);

/* open and fsync, again for as long as a signal interrupts them. */
int kdi_open(const char *path, int flags);
int kdi_sync(int fd);
/* Sync the folder a file is in, so that the file's name outlives a power cut. 0, or why not. */
int kdi_sync_folder_of(const char *path);

#endif
