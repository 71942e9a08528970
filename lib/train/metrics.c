/* SPDX-License-Identifier: MIT
 * metrics.c: metrics.jsonl, one line an epoch (docs/formats.md). */
#include "train.h"

#include <stdio.h>
#include <string.h>

enum { METRICS_LIMIT = 1 << 28 };

static void path_of(const kdt_run *run, char *out, size_t size)
{
    snprintf(out, size, "%s/metrics.jsonl", run->train.out);
}

static void print_line(kd_json *j, const kdt_run *run, double lr)
{
    const kdt_sums *s = &run->sums;
    kd_json_object_begin(j, NULL);
    kd_json_integer(j, "epoch", (int64_t)run->epoch + 1);
    kd_json_integer(j, "step", (int64_t)run->step);
    kd_json_number(j, "loss", kdt_mean_loss(run));
    kd_json_number(j, "accuracy", kdt_accuracy(run));
    if (run->train.dev_count) {
        kd_json_number(j, "dev_top1", run->dev_top1);
        kd_json_number(j, "dev_loss", run->dev_loss);
    }
    kd_json_float(j, "lr", (float)lr);
    kd_json_number(j, "images_per_second", s->seconds > 0 ? (double)s->images / s->seconds : 0);
    kd_json_number(j, "seconds", s->seconds);
    kd_json_number(j, "seconds_data", s->times.data);
    kd_json_number(j, "seconds_teacher", s->times.teacher);
    kd_json_number(j, "seconds_forward", s->times.forward);
    kd_json_number(j, "seconds_loss", s->times.loss);
    kd_json_number(j, "seconds_backward", s->times.backward);
    kd_json_number(j, "seconds_optimizer", s->times.optimizer);
    kd_json_object_end(j);
}

kd_status kdt_metrics_append(kdt_run *run, double lr)
{
    char path[4096];
    kd_json *j;
    const char *text;
    kd_status status = kd_json_create(run->ctx, 0, &j);
    if (status) return status;
    print_line(j, run, lr);
    status = kd_json_text(j, &text, NULL);
    path_of(run, path, sizeof path);
    if (!status) status = kd_file_append_line(run->ctx, path, text);
    kd_json_destroy(j);
    return status;
}

/* The epoch whose line this is; 0 for none. Not for lack of memory is a line dropped. */
static kd_status epoch_of(kd_ctx *ctx, const char *line, size_t size, uint64_t *epoch)
{
    kd_json_object *o;
    int64_t number = 0;
    *epoch = 0;
    const kd_status status = kd_json_parse(ctx, line, size, &o);
    if (status) return status == KD_E_FORMAT ? KD_OK : status;
    if (kd_json_get_integer(o, "epoch", &number) && number > 0) *epoch = (uint64_t)number;
    kd_json_object_destroy(o);
    return KD_OK;
}

kd_status kdt_metrics_filter(kd_ctx *ctx, char *text, size_t *size, size_t epochs)
{
    size_t kept = 0;
    uint64_t last = 0, epoch;
    for (size_t at = 0; at < *size;) {
        const char *end = memchr(text + at, '\n', *size - at);
        if (!end) break;
        const size_t length = (size_t)(end - (text + at)) + 1;
        const kd_status status = epoch_of(ctx, text + at, length - 1, &epoch);
        if (status) return status;
        if (epoch > last && epoch <= epochs) {
            memmove(text + kept, text + at, length);
            kept += length;
            last = epoch;
        }
        at += length;
    }
    *size = kept;
    return KD_OK;
}

kd_status kdt_metrics_trim(kdt_run *run, size_t epochs)
{
    char path[4096], *text;
    size_t size;
    path_of(run, path, sizeof path);
    kd_status status = kd_file_read_all(run->ctx, path, METRICS_LIMIT, &text, &size);
    if (status == KD_E_NOTFOUND) return KD_OK;
    if (status) return status;
    size_t kept = size;
    status = kdt_metrics_filter(run->ctx, text, &kept, epochs);
    if (!status && kept != size) status = kd_file_write_atomic(run->ctx, path, text, kept);
    kd_ctx_free(run->ctx, text);
    return status;
}
