/* SPDX-License-Identifier: MIT
 * step.c: kd step: one optimiser step on a batch from a file. Loss, logits, gradients and weights
 * are written to another file, for comparisons with other libraries. Layouts in files are
 * PyTorch's. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct step {
    cli_args *args;
    kd_ctx *ctx;
    kd_model *model;
    kd_file *file;
    size_t n, height, width, channels, classes;
    float *planar, *input; /* [n,C,H,W], [n,H,W,C] */
    int64_t *wide;         /* [n] labels as in the file */
    int32_t *labels;       /* [n] */
    float *teacher;        /* [n,classes] or NULL */
    float *logits;         /* [n,classes] */
    char *buffer; /* what is written: gradients, parameters, buffers in the file's layout */
    kd_writer *writer;
    float loss;
} step;

/* ---- the batch ------------------------------------------------------------------------------- */

static void shape_text(int rank, const int64_t *shape, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (used < size) snprintf(out + used, size - used, "]");
}

/* The tensor of this name and shape; dimension -1 matches any. NULL, with the reason printed. */
static const kd_file_tensor *want(const step *s, const char *name, int rank, const int64_t *shape)
{
    char has[200], wants[200];
    const kd_file_tensor *t = kd_file_find(s->file, name);
    bool fits = t && t->rank == rank;
    for (int i = 0; fits && i < rank; i++) fits = shape[i] < 0 || shape[i] == t->shape[i];
    if (fits) return t;
    if (!t) {
        cli_fail("%s has no tensor `%s`", s->args->words[1], name);
        return NULL;
    }
    shape_text(t->rank, t->shape, has, sizeof has);
    shape_text(rank, shape, wants, sizeof wants);
    cli_fail("%s: `%s` is %s, it must be %s (-1: any)", s->args->words[1], name, has, wants);
    return NULL;
}

static int read_labels(step *s)
{
    const int64_t shape[] = {(int64_t)s->n};
    const kd_file_tensor *t = want(s, "labels", 1, shape);
    if (!t) return CLI_FAILED;
    s->wide = kd_ctx_alloc(s->ctx, s->n, sizeof *s->wide);
    s->labels = kd_ctx_alloc(s->ctx, s->n, sizeof *s->labels);
    if (!s->wide || !s->labels || kd_file_read_i64(s->file, t, 0, s->n, s->wide))
        return cli_fail_ctx(s->ctx);
    for (size_t i = 0; i < s->n; i++) {
        if (s->wide[i] < 0 || s->wide[i] >= (int64_t)s->classes)
            return cli_fail("%s: label %zu is %lld, the network has %zu classes", s->args->words[1],
                            i, (long long)s->wide[i], s->classes);
        s->labels[i] = (int32_t)s->wide[i];
    }
    return CLI_DONE;
}

static int read_teacher(step *s)
{
    const int64_t shape[] = {(int64_t)s->n, (int64_t)s->classes};
    if (!kd_file_find(s->file, "teacher_logits")) return CLI_DONE;
    const kd_file_tensor *t = want(s, "teacher_logits", 2, shape);
    if (!t) return CLI_FAILED;
    s->teacher = kd_ctx_alloc(s->ctx, t->count, sizeof *s->teacher);
    if (!s->teacher || kd_file_read_f32(s->file, t, 0, t->count, s->teacher))
        return cli_fail_ctx(s->ctx);
    return CLI_DONE;
}

static int read_batch(step *s)
{
    const int64_t shape[] = {-1, (int64_t)s->channels, (int64_t)s->height, (int64_t)s->width};
    if (kd_file_open(s->ctx, s->args->words[1], &s->file)) return cli_fail_ctx(s->ctx);
    const kd_file_tensor *t = want(s, "input", 4, shape);
    if (!t) return CLI_FAILED;
    if (t->shape[0] < 1) return cli_fail("%s: `input` holds no picture", s->args->words[1]);
    s->n = (size_t)t->shape[0];
    s->planar = kd_ctx_alloc(s->ctx, t->count, sizeof *s->planar);
    s->input = kd_ctx_alloc(s->ctx, t->count, sizeof *s->input);
    s->logits = kd_ctx_alloc(s->ctx, s->n, s->classes * sizeof *s->logits);
    if (!s->planar || !s->input || !s->logits ||
        kd_file_read_f32(s->file, t, 0, t->count, s->planar))
        return cli_fail_ctx(s->ctx);
    cli_channels_last(s->planar, s->input, s->n, s->channels, s->height * s->width);
    const int status = read_labels(s);
    return status ? status : read_teacher(s);
}

/* ---- the step -------------------------------------------------------------------------------- */

static int do_step(step *s)
{
    kd_step_result result = {.struct_size = sizeof result, .logits = s->logits};
    s->args->train.batch = s->n;
    const int status = cli_defaults(s->args, s->ctx, s->model, s->teacher != NULL);
    if (status) return status;
    if (kd_train_step(s->model, s->n, s->input, s->labels, s->teacher, &s->args->distill, &result))
        return cli_fail_ctx(s->ctx);
    s->loss = result.loss;
    return CLI_DONE;
}

/* Write one entry under PREFIX.NAME. *at is where its copy goes in the buffer. */
static kd_status add(step *s, kd_writer *w, const char *prefix, const kd_param_info *info,
                     int which, char **at)
{
    char name[300];
    snprintf(name, sizeof name, "%s.%s", prefix, info->name);
    kd_status status = kd_params_get(kd_model_params(s->model), info, which, *at);
    if (!status)
        status = kd_writer_tensor(w, name, info->dtype, info->file_shape.rank, info->file_shape.dim,
                                  *at);
    *at += info->count * kd_dtype_size(info->dtype);
    return status;
}

static kd_status add_all(step *s, kd_writer *w)
{
    const kd_params *params = kd_model_params(s->model);
    const int64_t one[] = {1}, wide[] = {(int64_t)s->n, (int64_t)s->classes};
    char *at = s->buffer;
    kd_status status = kd_writer_tensor(w, "loss", KD_F32, 1, one, &s->loss);
    if (!status) status = kd_writer_tensor(w, "logits", KD_F32, 2, wide, s->logits);
    for (int integers = 1; integers >= 0; integers--) /* the wider type first keeps both aligned */
        for (size_t i = 0; i < kd_params_entries(params) && !status; i++) {
            const kd_param_info *info = kd_params_info(params, i);
            if ((info->dtype == KD_I64) != integers) continue;
            if (info->buffer) {
                status = add(s, w, "buffer", info, 0, &at);
                continue;
            }
            status = add(s, w, "grad", info, 1, &at);
            if (!status) status = add(s, w, "param", info, 0, &at);
        }
    return status;
}

/* Look at OUTPUT before anything is computed, and begin it. */
static int begin_output(step *s)
{
    const char *const *words = s->args->words;
    int status = cli_apart(s->ctx, "OUTPUT", words[2], words[0]);
    if (!status) status = cli_apart(s->ctx, "OUTPUT", words[2], words[1]);
    if (!status) status = cli_replaceable(s->ctx, "OUTPUT", words[2]);
    if (!status && kd_writer_create(s->ctx, words[2], &s->writer)) status = cli_fail_ctx(s->ctx);
    return status;
}

static int write_output(step *s)
{
    const kd_params *params = kd_model_params(s->model);
    size_t bytes = 1;
    kd_writer *w = s->writer;
    for (size_t i = 0; i < kd_params_entries(params); i++) {
        const kd_param_info *info = kd_params_info(params, i);
        bytes += info->count * kd_dtype_size(info->dtype) * (info->buffer ? 1 : 2);
    }
    s->buffer = kd_ctx_alloc(s->ctx, bytes, 1);
    if (!s->buffer) return cli_fail_ctx(s->ctx);
    kd_writer_metadata(w, "libkd.kind", "step");
    kd_writer_metadata(w, "libkd.spec", kd_model_spec(s->model));
    if (add_all(s, w)) return cli_fail_ctx(s->ctx);
    s->writer = NULL;
    return kd_writer_finish(w) ? cli_fail_ctx(s->ctx) : CLI_DONE;
}

static int report(const step *s)
{
    kd_json *json;
    char safe[400];
    const double norm = kd_params_grad_norm(kd_model_params(s->model));
    if (!s->args->json) {
        printf("loss %.6g over %zu samples%s, gradient's norm %.6g; written to %s\n",
               (double)s->loss, s->n, s->teacher ? ", distilling" : "", norm,
               cli_escape(s->args->words[2], safe, sizeof safe));
        return cli_flush();
    }
    if (kd_json_create(s->ctx, 0, &json)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "spec", kd_model_spec(s->model));
    kd_json_integer(json, "n", (int64_t)s->n);
    kd_json_number(json, "loss", (double)s->loss);
    kd_json_number(json, "grad_norm", norm);
    kd_json_bool(json, "distilling", s->teacher != NULL);
    kd_json_string(json, "output", s->args->words[2]);
    kd_json_object_end(json);
    return cli_print_json(s->ctx, json);
}

int cmd_step(cli_args *args)
{
    step s = {.args = args};
    int status = cli_open_ctx(args, &s.ctx);
    if (!status) status = begin_output(&s);
    /* before anything is read; whether there is a teacher is not known yet */
    if (!status) status = cli_check(args, s.ctx, true);
    if (!status) status = cli_load(s.ctx, args->words[0], args->model, 0, &s.model);
    if (!status) {
        s.height = kd_model_height(s.model);
        s.width = kd_model_width(s.model);
        s.channels = kd_model_channels(s.model);
        s.classes = kd_model_classes(s.model);
        status = read_batch(&s);
    }
    if (!status) status = cli_can_write("OUTPUT", args->words[2]);
    if (!status) status = do_step(&s);
    if (!status) status = write_output(&s);
    if (!status) status = report(&s);
    kd_file_close(s.file);
    kd_writer_abandon(s.writer);
    kd_model_destroy(s.model);
    if (s.ctx) {
        void *const blocks[] = {s.planar, s.input, s.wide, s.labels, s.teacher, s.logits, s.buffer};
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) kd_ctx_free(s.ctx, blocks[i]);
    }
    kd_ctx_destroy(s.ctx);
    return status;
}
