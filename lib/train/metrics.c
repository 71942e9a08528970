/* SPDX-License-Identifier: MIT
 * metrics.c: metrics.jsonl, one line an epoch, and one every few steps where it is asked for
 * (docs/formats.md). */
#include "train.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { METRICS_LIMIT = 1 << 28 };

/* An epoch that the run's end cuts short counts as a fraction. */
static void print_epoch(kd_json *j, const kdt_run *run)
{
    const kdt_sums *s = &run->sums;
    const bool taught = run->opt.n_teachers > 0;
    kd_json_string(j, "event", "epoch");
    kd_json_integer(j, "epoch", (int64_t)run->epoch + 1);
    kd_json_number(j, "epochs", kdt_epochs(run));
    kd_json_integer(j, "step", (int64_t)run->step);
    kd_json_number(j, "loss", kdt_mean(run, s, s->loss));
    kd_json_number(j, "loss_hard", kdt_mean(run, s, s->hard));
    kd_json_number(j, "loss_soft", taught ? kdt_mean(run, s, s->soft) : (double)NAN);
    if (run->opt.feature) kd_json_number(j, "loss_feature", kdt_mean(run, s, s->feature));
    kd_json_number(j, "accuracy", kdt_accuracy(run, s, s->correct));
    if (taught && !run->feed->mute) {
        kd_json_number(j, "teacher_accuracy", kdt_accuracy(run, s, s->teacher_correct));
        kd_json_number(j, "agreement", kdt_percent(s, s->agreed));
    }
    if (run->train.dev_count) {
        kd_json_number(j, "dev_top1", run->dev_top1);
        kd_json_number(j, "dev_loss", run->dev_loss);
    }
    kd_json_integer(j, "skipped", (int64_t)run->skipped_here);
    kd_json_float(j, "lr", (float)run->lr);
    kd_json_number(j, "images_per_second",
                   s->seconds > 0 && s->images ? (double)s->images / s->seconds : (double)NAN);
    kd_json_number(j, "seconds", s->seconds);
    kd_json_number(j, "seconds_data", s->times.data);
    kd_json_number(j, "seconds_teacher", s->times.teacher);
    kd_json_number(j, "seconds_forward", s->times.forward);
    kd_json_number(j, "seconds_loss", s->times.loss);
    kd_json_number(j, "seconds_backward", s->times.backward);
    kd_json_number(j, "seconds_optimizer", s->times.optimizer);
}

static void print_step(kd_json *j, const kdt_run *run)
{
    kd_json_string(j, "event", "step");
    kd_json_integer(j, "step", (int64_t)run->step);
    kd_json_number(j, "epochs", kdt_epochs(run));
    kd_json_number(j, "loss", run->step_loss);
    kd_json_number(j, "grad_norm", run->grad_norm);
    kd_json_float(j, "lr", (float)run->lr);
    kd_json_number(j, "seconds", run->seconds);
}

kd_status kdt_metrics_append(kdt_run *run, bool epoch_end)
{
    char path[KDT_PATH];
    kd_json *j;
    const char *text;
    kd_status status = kd_json_create(run->ctx, 0, &j);
    if (status) return status;
    kd_json_object_begin(j, NULL);
    if (epoch_end)
        print_epoch(j, run);
    else
        print_step(j, run);
    kd_json_object_end(j);
    status = kd_json_text(j, &text, NULL);
    kdt_path(run, "metrics.jsonl", path);
    if (!status) status = kd_file_append_line(run->ctx, path, text);
    kd_json_destroy(j);
    return status;
}

/* What a line is of: an epoch, from 1, or a step; 0 of both: neither, and it goes. A line that can't
 * be read for lack of memory is an error, not a line to drop. */
static kd_status line_of(kd_ctx *ctx, const char *line, size_t size, uint64_t *epoch,
                         uint64_t *step)
{
    kd_json_object *o;
    int64_t number = 0;
    *epoch = *step = 0;
    const kd_status status = kd_json_parse(ctx, line, size, &o);
    if (status) return status == KD_E_FORMAT ? KD_OK : status;
    const char *event = kd_json_get_string(o, "event");
    const bool is_step = event && !strcmp(event, "step");
    if (kd_json_get_integer(o, is_step ? "step" : "epoch", &number) && number > 0)
        *(is_step ? step : epoch) = (uint64_t)number;
    kd_json_object_destroy(o);
    return KD_OK;
}

kd_status kdt_metrics_filter(kd_ctx *ctx, char *text, size_t *size, size_t epochs, size_t steps)
{
    size_t kept = 0;
    uint64_t last = 0, last_step = 0, epoch, step;
    for (size_t at = 0; at < *size;) {
        const char *end = memchr(text + at, '\n', *size - at);
        if (!end) break;
        const size_t length = (size_t)(end - (text + at)) + 1;
        const kd_status status = line_of(ctx, text + at, length - 1, &epoch, &step);
        if (status) return status;
        if ((epoch > last && epoch <= epochs) || (step > last_step && step <= steps)) {
            memmove(text + kept, text + at, length);
            kept += length;
            if (epoch) last = epoch;
            if (step) last_step = step;
        }
        at += length;
    }
    *size = kept;
    return KD_OK;
}

kd_status kdt_metrics_trim(kdt_run *run, size_t epochs, size_t steps)
{
    char path[KDT_PATH], *text;
    size_t size;
    kdt_path(run, "metrics.jsonl", path);
    if (access(path, F_OK)) return KD_OK;
    kd_status status = kd_file_read_all(run->ctx, path, METRICS_LIMIT, &text, &size);
    if (status) return status;
    size_t kept = size;
    status = kdt_metrics_filter(run->ctx, text, &kept, epochs, steps);
    if (!status && kept != size) status = kd_file_write_atomic(run->ctx, path, text, kept);
    kd_ctx_free(run->ctx, text);
    return status;
}
