/* SPDX-License-Identifier: MIT
 * records.h: folders of runs as kd leaves them, written by hand in the test's folder: a study of a
 * student alone, and by one teacher at two temperatures, and whatever else a test puts beside it. */
#ifndef KDI_TEST_RECORDS_H
#define KDI_TEST_RECORDS_H

#include "typed.h"

#define VGG "vgg8_bn,classes=10,image=32,channels=3,head=gap,width=1,pool4=1"

enum { SEEDS = 5 };
/* Test accuracies of the study, in percent: [seed - 1]. */
extern const double alone[SEEDS], warm[SEEDS], hot[SEEDS];

typedef struct record {
    const char *folder, *spec, *teacher, *teacher_spec, *start;
    const char *data; /* NULL: "made" */
    int seed, macs;   /* 0: 2000 */
    double top1;
    const char *options; /* more members of "options" */
    const char *more;    /* more members of the record */
} record;

/* A folder of test_dir(), with those above it. */
void make_folder(const char *name);
void put_file(const char *folder, const char *file, const char *text);
/* folder/run.json */
void put_record(const record *x);
/* root/NAME-seed1 ...; top1 [seeds]. teacher, options: as in a record, or NULL. */
void put_seeds(const char *root, const char *name, const double *top1, int seeds,
               const char *teacher, const char *options);
/* Groups alone, warm (temperature 4) and hot (20), SEEDS seeds at most. */
void put_study(const char *root, int seeds);

#endif
