/* SPDX-License-Identifier: MIT
 * predict.c: kd predict: logits of pictures. Those in a safetensors file lie as PyTorch has them,
 * [N,C,H,W]; the network reads [N,H,W,C]. Picture files go through a loader. Either way they are
 * read batch by batch. */
#include "cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is written; the two heads where the network has a distillation token. */
enum { HEADS = 3 };
static const char *const outputs[HEADS] = {"logits", "logits_cls", "logits_dist"};

typedef struct prediction {
    const cli_args *args;
    kd_ctx *ctx;
    kd_model *model;
    kd_file *file; /* the input, or: */
    const kd_file_tensor *input;
    kd_dataset *data;
    kd_loader *loader;
    kd_plan *plan;
    kd_exec *exec;
    size_t n, batch, side, channels, classes;
    float *planar;        /* [batch,C,H,W] */
    float *picture;       /* [batch,H,W,C] */
    float *logits[HEADS]; /* [n,classes]; of single heads: NULL where there is one only */
    double seconds;
} prediction;

/* A picture file is told by its first bytes, whatever it is called. */
static bool is_picture(const char *path)
{
    unsigned char head[4] = {0};
    struct stat about;
    const int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not be waited for */
    if (fd < 0) return false;                          /* kd_file_open will say why */
    const bool regular = fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
    const ssize_t n = regular ? read(fd, head, sizeof head) : 0;
    close(fd);
    return n == 4 && (!memcmp(head, "\xFF\xD8\xFF", 3) || !memcmp(head, "\x89PNG", 4));
}

static int open_pictures(prediction *p)
{
    const cli_args *a = p->args;
    p->n = 1 + a->n_more;
    p->batch = a->batch < p->n ? a->batch : p->n;
    const char **paths = kd_ctx_alloc(p->ctx, p->n, sizeof *paths);
    if (!paths) return cli_fail_ctx(p->ctx);
    paths[0] = a->words[1];
    for (size_t i = 0; i < a->n_more; i++) paths[1 + i] = a->more[i];
    kd_status status = kd_dataset_from_pictures(p->ctx, paths, p->n, &p->data);
    kd_ctx_free(p->ctx, paths);
    const kd_view view = {p->side, p->side, p->channels, kd_model_mean(p->model),
                          kd_model_std(p->model)};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TEST,
                               .batch = p->batch,
                               .augment = a->augment,
                               .n_views = 1,
                               .views = &view};
    if (!status) status = kd_loader_create(p->data, &opt, &p->loader);
    return status ? cli_fail_ctx(p->ctx) : CLI_DONE;
}

static int open_input(prediction *p)
{
    const char *path = p->args->words[1];
    if (is_picture(path)) return open_pictures(p);
    if (p->args->n_more) return cli_fail("%s is no picture; only pictures may be several", path);
    if (kd_file_open(p->ctx, path, &p->file)) return cli_fail_ctx(p->ctx);
    const kd_file_tensor *t = p->input = kd_file_find(p->file, "input");
    const long long side = (long long)p->side, channels = (long long)p->channels;
    if (!t) return cli_fail("%s has no tensor `input`", path);
    if (t->rank != 4)
        return cli_fail("%s: `input` has %d dimensions, the network wants [N,%lld,%lld,%lld]", path,
                        t->rank, channels, side, side);
    if (t->shape[1] != channels || t->shape[2] != side || t->shape[3] != side)
        return cli_fail("%s: `input` is [%lld,%lld,%lld,%lld], the network wants "
                        "[N,%lld,%lld,%lld] (channels first)",
                        path, (long long)t->shape[0], (long long)t->shape[1],
                        (long long)t->shape[2], (long long)t->shape[3], channels, side, side);
    if (t->shape[0] < 1) return cli_fail("%s: `input` holds no picture", path);
    p->n = (size_t)t->shape[0];
    p->batch = p->args->batch < p->n ? p->args->batch : p->n;
    return CLI_DONE;
}

static int make_room(prediction *p)
{
    const size_t picture = p->side * p->side * p->channels * sizeof(float);
    p->planar = kd_ctx_alloc(p->ctx, p->batch, picture);
    p->picture = kd_ctx_alloc(p->ctx, p->batch, picture);
    if (!p->planar || !p->picture || kd_model_plan(p->model, p->batch, &p->plan, &p->exec))
        return cli_fail_ctx(p->ctx);
    for (int h = 0; h < HEADS; h++) {
        if (!kd_exec_output(p->exec, outputs[h])) continue;
        p->logits[h] = kd_ctx_alloc(p->ctx, p->n, p->classes * sizeof(float));
        if (!p->logits[h]) return cli_fail_ctx(p->ctx);
    }
    return CLI_DONE;
}

/* The next n pictures, normalised, channels last. */
static kd_status next(prediction *p, size_t at, size_t n, const float **pictures)
{
    const size_t pixels = p->side * p->side, picture = pixels * p->channels;
    kd_status status;
    if (p->loader) {
        const kd_batch *batch;
        status = kd_loader_next(p->loader, &batch);
        if (!status) *pictures = batch->views[0];
        return status;
    }
    status = kd_file_read_f32(p->file, p->input, at * picture, n * picture, p->planar);
    if (!status) cli_channels_last(p->planar, p->picture, n, p->channels, pixels);
    *pictures = p->picture;
    return status;
}

static int predict(prediction *p)
{
    for (size_t at = 0; at < p->n; at += p->batch) {
        const size_t n = p->n - at < p->batch ? p->n - at : p->batch;
        const kd_run_opt run = {.struct_size = sizeof run, .batch = n};
        const float *pictures = NULL;
        if (next(p, at, n, &pictures)) return cli_fail_ctx(p->ctx);
        const double start = cli_now();
        if (kd_exec_bind(p->exec, "input", pictures) || kd_exec_run(p->exec, &run))
            return cli_fail_ctx(p->ctx);
        p->seconds += cli_now() - start;
        for (int h = 0; h < HEADS; h++)
            if (p->logits[h])
                memcpy(p->logits[h] + at * p->classes, kd_exec_output(p->exec, outputs[h]),
                       n * p->classes * sizeof(float));
    }
    return CLI_DONE;
}

static int write_output(prediction *p)
{
    kd_writer *w;
    const int64_t shape[] = {(int64_t)p->n, (int64_t)p->classes};
    if (kd_writer_create(p->ctx, p->args->words[2], &w)) return cli_fail_ctx(p->ctx);
    for (int h = 0; h < HEADS; h++)
        if (p->logits[h]) kd_writer_tensor(w, outputs[h], KD_F32, 2, shape, p->logits[h]);
    return kd_writer_finish(w) ? cli_fail_ctx(p->ctx) : CLI_DONE;
}

static int report(const prediction *p)
{
    kd_json *json;
    char safe[400];
    if (!p->args->json) {
        printf("%zu pictures in %s (%.0f images/s), logits [%zu,%zu] in %s\n", p->n,
               cli_duration(p->seconds).text, (double)p->n / p->seconds, p->n, p->classes,
               cli_escape(p->args->words[2], safe, sizeof safe));
        return cli_flush();
    }
    if (kd_json_create(p->ctx, 0, &json)) return cli_fail_ctx(p->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "spec", kd_model_spec(p->model));
    kd_json_integer(json, "n", (int64_t)p->n);
    kd_json_integer(json, "classes", (int64_t)p->classes);
    kd_json_number(json, "seconds", p->seconds);
    kd_json_number(json, "images_per_second", (double)p->n / p->seconds);
    kd_json_string(json, "output", p->args->words[2]);
    kd_json_object_end(json);
    return cli_print_json(p->ctx, json);
}

int cmd_predict(cli_args *args)
{
    prediction p = {.args = args};
    int status = cli_open_ctx(args, &p.ctx);
    if (!status) status = cli_load(p.ctx, args->words[0], args->model, 0, &p.model);
    if (!status) status = cli_normalize(args, "normalize", args->normalize, p.model);
    if (!status) {
        p.side = kd_model_image(p.model);
        p.channels = kd_model_channels(p.model);
        p.classes = kd_model_classes(p.model);
        status = open_input(&p);
    }
    if (!status) status = make_room(&p);
    if (!status) status = predict(&p);
    if (!status) status = write_output(&p);
    if (!status) status = report(&p);
    kd_exec_destroy(p.exec);
    kd_plan_destroy(p.plan);
    kd_loader_close(p.loader);
    kd_dataset_close(p.data);
    kd_file_close(p.file);
    kd_model_destroy(p.model);
    if (p.ctx) {
        kd_ctx_free(p.ctx, p.planar);
        kd_ctx_free(p.ctx, p.picture);
        for (int h = 0; h < HEADS; h++) kd_ctx_free(p.ctx, p.logits[h]);
    }
    kd_ctx_destroy(p.ctx);
    return status;
}
