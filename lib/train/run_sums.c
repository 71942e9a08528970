/* SPDX-License-Identifier: MIT
 * run_sums.c: what all parts of a run use: its sums, the paths of its files. */
#include "train.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void kdt_warn(const kdt_run *run, const char *format, ...)
{
    char text[1000];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (run->feed->runs > 1)
        kd_ctx_log(run->ctx, KD_LOG_WARN, "student %zu: %s", run->number, text);
    else
        kd_ctx_log(run->ctx, KD_LOG_WARN, "%s", text);
}

double kdt_mean(const kdt_run *run, const kdt_sums *s, double loss)
{
    const double mean = loss * (double)run->train.batch / (double)s->images;
    return s->images == 0 || isnan(mean) ? (double)NAN : mean; /* without the sign it may have */
}

double kdt_percent(const kdt_sums *s, uint64_t count)
{
    return s->images ? 100.0 * (double)count / (double)s->images : (double)NAN;
}

double kdt_accuracy(const kdt_run *run, const kdt_sums *s, uint64_t correct)
{
    return kd_dataset_info(run->data)->unlabelled ? (double)NAN : kdt_percent(s, correct);
}

double kdt_epochs(const kdt_run *run)
{
    return (double)run->epoch + (run->batches ? (double)run->batch / (double)run->batches : 0);
}

void kdt_path(const kdt_run *run, const char *file, char out[KDT_PATH])
{
    snprintf(out, KDT_PATH, "%s/%s", run->train.out, file);
}

void kdt_add_times(kd_times *to, const kd_times *from)
{
    to->data += from->data;
    to->teacher += from->teacher;
    to->forward += from->forward;
    to->loss += from->loss;
    to->backward += from->backward;
    to->optimizer += from->optimizer;
}

void kdt_add_sums(kdt_sums *to, const kdt_sums *from)
{
    to->loss += from->loss;
    to->hard += from->hard;
    to->soft += from->soft;
    to->feature += from->feature;
    to->images += from->images;
    to->correct += from->correct;
    to->teacher_correct += from->teacher_correct;
    to->agreed += from->agreed;
    to->seconds += from->seconds;
    kdt_add_times(&to->times, &from->times);
}
