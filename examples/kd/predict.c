/* SPDX-License-Identifier: MIT
 * predict.c: kd predict: logits of pictures, read batch by batch. In a safetensors file pictures
 * are [N,C,H,W], as PyTorch has them; the network reads [N,H,W,C]. Picture files are read by a
 * loader. Row i of the logits belongs to picture i; if that cannot be read, the row is NaN. */
#include "predict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the input ------------------------------------------------------------------------------- */

static int make_loader(prediction *p)
{
    const cli_args *a = p->args;
    const kd_view view = {p->height, p->width, p->channels, kd_model_mean(p->model),
                          kd_model_std(p->model)};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TEST,
                               .batch = p->batch,
                               .augment = p->framing,
                               .n_views = 1,
                               .views = &view};
    if (p->channels != 3)
        return cli_fail("%s wants pictures of %zu channel%s; picture files are read in colour, of "
                        "3: give a safetensors file with `input`",
                        a->words[0], p->channels, p->channels == 1 ? "" : "s");
    if (!p->blob) cli_say_normalization(a, "normalize", a->words[0], p->model, p->data);
    return kd_loader_create(p->data, &opt, &p->loader) ? cli_fail_ctx(p->ctx) : CLI_DONE;
}

static int open_pictures(prediction *p)
{
    const cli_args *a = p->args;
    p->n = 1 + a->n_more;
    p->batch = a->batch < p->n ? a->batch : p->n;
    p->paths = kd_ctx_alloc(p->ctx, p->n, sizeof *p->paths);
    if (!p->paths) return cli_fail_ctx(p->ctx);
    p->paths[0] = a->words[1];
    for (size_t i = 0; i < a->n_more; i++) p->paths[1 + i] = a->more[i];
    if (kd_dataset_from_pictures(p->ctx, p->paths, p->n, &p->data) ||
        (a->skip_broken && kd_dataset_skip_broken(p->data)))
        return cli_fail_ctx(p->ctx);
    p->framing = cli_framing(a, p->data, p->model);
    return p->framing ? make_loader(p) : CLI_USAGE;
}

static int open_tensor(prediction *p)
{
    const cli_args *a = p->args;
    const char *path = a->words[1];
    if (a->normalize || a->augment || a->skip_broken)
        return cli_usage("predict",
                         "--%s is for picture files; %s is taken as a file of tensors, "
                         "which are normalised and framed already",
                         a->normalize ? "normalize"
                         : a->augment ? "augment"
                                      : "skip-broken",
                         path);
    const kd_status status = kd_file_open(p->ctx, path, &p->file);
    if (status == KD_E_FORMAT)
        return cli_fail("%s (INPUT is a safetensors file, a JPEG or a PNG)", kd_ctx_error(p->ctx));
    if (status == KD_E_NOTFOUND && access(path, F_OK) == 0)
        return cli_fail("%s is a folder; INPUT is one picture or more, %s/*.jpg for one", path,
                        path);
    if (status) return cli_fail_ctx(p->ctx);
    const kd_file_tensor *t = p->input = kd_file_find(p->file, "input");
    const long long height = (long long)p->height, width = (long long)p->width;
    const long long channels = (long long)p->channels;
    if (!t) return cli_fail("%s has no tensor `input`", path);
    if (t->rank != 4)
        return cli_fail("%s: `input` has %d dimensions, the network wants [N,%lld,%lld,%lld]", path,
                        t->rank, channels, height, width);
    if (t->shape[1] != channels || t->shape[2] != height || t->shape[3] != width)
        return cli_fail("%s: `input` is [%lld,%lld,%lld,%lld], the network wants "
                        "[N,%lld,%lld,%lld] (channels first)",
                        path, (long long)t->shape[0], (long long)t->shape[1],
                        (long long)t->shape[2], (long long)t->shape[3], channels, height, width);
    if (t->shape[0] < 1) return cli_fail("%s: `input` holds no picture", path);
    p->n = (size_t)t->shape[0];
    p->batch = p->args->batch < p->n ? p->args->batch : p->n;
    return CLI_DONE;
}

/* Several inputs are pictures. A single one may also be a file of tensors. */
static int open_input(prediction *p)
{
    const cli_args *a = p->args;
    kd_file *file;
    if (!a->n_more) return cli_is_picture(a->words[1]) ? open_pictures(p) : open_tensor(p);
    for (size_t i = 0; i <= a->n_more; i++) {
        const char *path = i ? a->more[i - 1] : a->words[1];
        if (cli_is_picture(path) || kd_file_open(p->ctx, path, &file)) continue;
        kd_file_close(file);
        return cli_fail("%s is no picture; only pictures may be several", path);
    }
    return open_pictures(p);
}

/* ---- the logits ------------------------------------------------------------------------------ */

static int make_arrays(prediction *p)
{
    const size_t picture = p->height * p->width * p->channels * sizeof(float);
    p->planar = kd_ctx_alloc(p->ctx, p->batch, picture);
    p->picture = kd_ctx_alloc(p->ctx, p->batch, picture);
    p->there = kd_ctx_alloc(p->ctx, p->n, sizeof *p->there);
    if (!p->planar || !p->picture || !p->there ||
        (!p->blob && kd_model_plan(p->model, p->batch, &p->plan, &p->exec)))
        return cli_fail_ctx(p->ctx);
    for (int h = 0; h < HEADS; h++) {
        if (p->blob ? h > 0 : !kd_exec_output(p->exec, predict_outputs[h])) continue;
        p->logits[h] = kd_ctx_alloc(p->ctx, p->n, p->classes * sizeof(float));
        if (!p->logits[h]) return cli_fail_ctx(p->ctx);
        for (size_t i = 0; i < p->n * p->classes; i++) p->logits[h][i] = NAN;
    }
    return CLI_DONE;
}

/* Up to a batch of pictures, normalised, channels last; rows [n]: which of all pictures they
 * are. */
typedef struct pieces {
    const float *pictures; /* [n,H,W,C] */
    const uint32_t *rows;  /* NULL: those from `first` on */
    size_t first, n;
} pieces;

/* A .kde takes pixels: what was normalised for the network would be rounded to hardly anything. */
static kd_status check_pixels(const prediction *p, const pieces *in)
{
    const size_t picture = p->height * p->width * p->channels;
    for (size_t i = 0; i < in->n * picture; i++) {
        const float x = in->pictures[i];
        if (!(x >= 0 && x <= 255)) /* NaN is neither */
            return kd_ctx_fail(p->ctx, KD_E_INVALID,
                               "%s: `input` holds %.6g in picture %zu: a .kde takes pixels from 0 "
                               "to 255, not numbers that are normalised",
                               p->args->words[1], (double)x, in->first + i / picture);
    }
    return KD_OK;
}

static kd_status next(prediction *p, size_t at, pieces *out)
{
    const size_t pixels = p->height * p->width, picture = pixels * p->channels;
    const size_t n = p->n - at < p->batch ? p->n - at : p->batch;
    kd_status status;
    if (p->loader) {
        const kd_batch *batch;
        status = kd_loader_next(p->loader, &batch);
        if (!status) *out = (pieces){batch->views[0], batch->ids, 0, batch->n};
        return status;
    }
    *out = (pieces){p->picture, NULL, at, n};
    status = kd_file_read_f32(p->file, p->input, at * picture, n * picture, p->planar);
    if (!status) cli_channels_last(p->planar, p->picture, n, p->channels, pixels);
    return status || !p->blob ? status : check_pixels(p, out);
}

/* The device's answers, row by row. */
static kd_status run_blob(prediction *p, const pieces *in)
{
    const size_t picture = p->height * p->width * p->channels;
    const double start = kd_seconds();
    for (size_t i = 0; i < in->n; i++) {
        const size_t row = in->rows ? in->rows[i] : in->first + i;
        const kd_status status =
            kd_blob_answer(p->blob, in->pictures + i * picture, 1, p->logits[0] + row * p->classes);
        if (status) return status;
        p->there[row] = true;
    }
    p->seconds += kd_seconds() - start;
    return KD_OK;
}

static kd_status run(prediction *p, const pieces *in)
{
    const kd_run_opt opt = {.struct_size = sizeof opt, .batch = in->n};
    if (p->blob) return run_blob(p, in);
    const double start = kd_seconds();
    kd_status status = kd_exec_bind(p->exec, "input", in->pictures);
    if (!status) status = kd_exec_run(p->exec, &opt);
    if (status) return status;
    p->seconds += kd_seconds() - start;
    for (size_t i = 0; i < in->n; i++) {
        const size_t row = in->rows ? in->rows[i] : in->first + i;
        p->there[row] = true;
        for (int h = 0; h < HEADS; h++) {
            const float *out = kd_exec_output(p->exec, predict_outputs[h]); /* [n,classes] */
            if (p->logits[h])
                memcpy(p->logits[h] + row * p->classes, out + i * p->classes,
                       p->classes * sizeof(float));
        }
    }
    return KD_OK;
}

static int predict(prediction *p)
{
    for (size_t at = 0; at < p->n; at += p->batch) {
        pieces in;
        if (next(p, at, &in) || (in.n && run(p, &in))) return cli_fail_ctx(p->ctx);
    }
    for (size_t i = 0; i < p->n; i++) p->broken += !p->there[i];
    return p->broken < p->n ? CLI_DONE : cli_fail("no picture could be read: nothing is written");
}

/* ---- the command ----------------------------------------------------------------------------- */

static int open_model(prediction *p)
{
    const cli_args *a = p->args;
    int status;
    if (cli_is_blob(a->words[0])) {
        status = cli_open_blob(a, p->ctx, a->words[0], &p->blob, &p->model);
    } else {
        status = cli_load(p->ctx, a->words[0], a->model, 0, &p->model);
        if (!status) status = cli_normalize(a, "normalize", a->normalize, p->model);
    }
    if (status) return status;
    p->height = kd_model_height(p->model);
    p->width = kd_model_width(p->model);
    p->channels = kd_model_channels(p->model);
    p->classes = kd_model_classes(p->model);
    return CLI_DONE;
}

static void close_all(prediction *p)
{
    kd_exec_destroy(p->exec);
    kd_plan_destroy(p->plan);
    kd_loader_close(p->loader);
    kd_dataset_close(p->data);
    kd_file_close(p->file);
    kd_writer_abandon(p->writer);
    kd_model_destroy(p->model);
    kd_blob_close(p->blob);
    if (p->ctx) {
        void *const blocks[] = {p->paths,     p->there,     p->planar,   p->picture,
                                p->logits[0], p->logits[1], p->logits[2]};
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) kd_ctx_free(p->ctx, blocks[i]);
    }
    kd_ctx_destroy(p->ctx);
}

int cmd_predict(cli_args *args)
{
    prediction p = {.args = args};
    int status = cli_open_ctx(args, &p.ctx);
    if (!status) status = predict_begin_output(&p);
    if (!status) status = open_model(&p);
    if (!status) status = open_input(&p);
    if (!status) status = cli_can_write("OUTPUT", args->words[2]);
    if (!status) status = make_arrays(&p);
    if (!status) status = predict(&p);
    if (!status) status = predict_write(&p);
    if (!status) status = predict_report(&p);
    close_all(&p);
    return status;
}
