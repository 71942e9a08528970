/* SPDX-License-Identifier: MIT
 * workloads.c: the whole steps that are measured, on a fixed batch of random pictures: what the
 * trainer does in a step, without its loader. On the public API. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIT(size) "vit_" size "_patch16_224,classes=10,image=32,patch=4"
static const kdb_work_info works[] = {
    {"kd_vgg13_vgg8", "vgg8_bn,classes=10,image=32", "vgg13_bn,classes=10,image=32", 128, true},
    {"train_vgg16", "vgg16_bn,classes=10,image=32", NULL, 128, true},
    {"infer_vgg16", "vgg16_bn,classes=10,image=32", NULL, 128, false},
    {"latency_vgg16", "vgg16_bn,classes=10,image=32", NULL, 1, false},
    {"infer_vgg16_224", "vgg16,head=fc4096", NULL, 8, false},
    {"kd_vit_small_tiny", VIT("tiny"), VIT("small"), 64, true, 32},
    {"kd_vit_256_by_8", VIT("tiny"), VIT("small"), 256, true, 8},
    {"train_deit_tiny", "deit_tiny_patch16_224", NULL, 16, true},
    {"infer_deit_tiny", "deit_tiny_patch16_224", NULL, 16, false},
    {"latency_deit_tiny", "deit_tiny_patch16_224", NULL, 1, false},
    {"train_swin_tiny", "swin_tiny_patch4_window7_224,drop_path=0", NULL, 8, true, 4},
    {"infer_swin_tiny", "swin_tiny_patch4_window7_224,drop_path=0", NULL, 8, false},
};
#undef VIT

struct kdb_work {
    kd_ctx *ctx;
    const kdb_work_info *info;
    kd_model *student, *teacher;
    kd_plan *plan, *teacher_plan;
    kd_exec *exec, *teacher_exec;
    kd_optim *optim;
    size_t piece;    /* pictures that train at a time */
    float *pictures; /* [batch,image,image,channels] */
    int32_t *labels;
    float *logits; /* of a training step [batch,classes] */
    double loss;
    double teacher_seconds, optimizer_seconds;
};

const kdb_work_info *kdb_work_at(size_t i)
{
    return i < sizeof works / sizeof *works ? &works[i] : NULL;
}

const kdb_work_info *kdb_work_find(const char *name)
{
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (!strcmp(works[i].name, name)) return &works[i];
    return NULL;
}

static void fill_batch(kdb_work *w)
{
    uint32_t state = 1;
    const size_t image = kd_model_image(w->student), n = w->info->batch * image * image * 3;
    w->pictures = malloc(n * sizeof *w->pictures);
    w->labels = malloc(w->info->batch * sizeof *w->labels);
    w->logits = malloc(w->info->batch * kd_model_classes(w->student) * sizeof *w->logits);
    if (!w->pictures || !w->labels || !w->logits) kdb_die(w->ctx, "out of memory");
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        w->pictures[i] = (float)(state >> 8) * 0x1p-23f - 1;
    }
    for (size_t i = 0; i < w->info->batch; i++)
        w->labels[i] = (int32_t)(i % kd_model_classes(w->student));
}

/* The model's graph: input and logits; or a step's: with labels, teacher and the loss. */
static kd_graph *make_graph(kd_ctx *ctx, const kd_model *m, bool training, bool teacher)
{
    kd_graph *g;
    const int64_t image = (int64_t)kd_model_image(m);
    const int64_t dim[] = {KD_BATCH, image, image, 3};
    const int64_t rows[] = {KD_BATCH, (int64_t)kd_model_classes(m)};
    if (kd_graph_create(ctx, &g)) kdb_die(ctx, "graph");
    const kd_value logits = kd_model_build(m, g, kd_input(g, "input", KD_F32, 4, dim), NULL);
    kd_output(g, logits, "logits");
    if (!training) return g;
    kd_graph_part(g, KD_PART_LOSS);
    kd_value loss = kd_cross_entropy(g, logits, kd_input(g, "labels", KD_I32, 1, dim), 0);
    if (teacher)
        loss = kd_add(
            g, kd_scale(g, loss, .1f),
            kd_scale(g, kd_loss_kd(g, logits, kd_input(g, "teacher", KD_F32, 2, rows), 4), .9f));
    kd_output(g, loss, "loss");
    if (kd_graph_grad(g, loss)) kdb_die(ctx, "gradient");
    return g;
}

kd_graph *kdb_graph(kd_ctx *ctx, const kd_model *m, bool training)
{
    return make_graph(ctx, m, training, false);
}

static void plan_training(kdb_work *w)
{
    kd_graph *g = make_graph(w->ctx, w->student, true, w->teacher != NULL);
    w->piece = w->info->piece ? w->info->piece : w->info->batch;
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = w->piece, .training = 1};
    const bool vgg = !strncmp(w->info->student, "vgg", 3);
    const kd_optim_opt optim = {.struct_size = sizeof optim,
                                .optimizer = vgg ? KD_OPTIMIZER_SGD : KD_OPTIMIZER_ADAMW,
                                .nesterov = vgg ? -1 : 0,
                                .weight_decay = vgg ? 5e-4f : .05f};
    if (kd_plan_create(g, &opt, &w->plan) ||
        kd_exec_create(w->plan, kd_model_params(w->student), NULL, &w->exec) ||
        kd_optim_create(kd_model_params(w->student), &optim, &w->optim))
        kdb_die(w->ctx, w->info->name);
    kd_graph_destroy(g);
}

kdb_work *kdb_work_open(kd_ctx *ctx, const kdb_work_info *info)
{
    kdb_work *w = calloc(1, sizeof *w);
    if (!w) kdb_die(ctx, "out of memory");
    w->ctx = ctx;
    w->info = info;
    if (kd_model_create(ctx, info->student, 1, &w->student)) kdb_die(ctx, info->student);
    fill_batch(w);
    if (info->teacher &&
        (kd_model_create(ctx, info->teacher, 2, &w->teacher) ||
         kd_model_plan(w->teacher, info->batch, &w->teacher_plan, &w->teacher_exec) ||
         kd_exec_bind(w->teacher_exec, "input", w->pictures)))
        kdb_die(ctx, info->teacher);
    if (info->training)
        plan_training(w);
    else if (kd_model_plan(w->student, info->batch, &w->plan, &w->exec))
        kdb_die(ctx, info->student);
    if (!info->training && kd_exec_bind(w->exec, "input", w->pictures)) kdb_die(ctx, info->name);
    return w;
}

void kdb_work_close(kdb_work *w)
{
    kd_exec_destroy(w->exec);
    kd_plan_destroy(w->plan);
    kd_exec_destroy(w->teacher_exec);
    kd_plan_destroy(w->teacher_plan);
    kd_optim_destroy(w->optim);
    kd_model_destroy(w->student);
    kd_model_destroy(w->teacher);
    free(w->pictures);
    free(w->labels);
    free(w->logits);
    free(w);
}

/* Forward and backward of pictures [from, from + n). */
static void run_piece(kdb_work *w, size_t from, size_t n)
{
    const size_t image = kd_model_image(w->student), classes = kd_model_classes(w->student);
    const float share = (float)n / (float)w->info->batch;
    const kd_run_opt opt = {.struct_size = sizeof opt,
                            .batch = n,
                            .accumulate = from > 0,
                            .first = from,
                            .weight = share};
    const float *taught = w->teacher ? kd_exec_output(w->teacher_exec, "logits") : NULL;
    if (kd_exec_bind(w->exec, "input", w->pictures + from * image * image * 3) ||
        kd_exec_bind(w->exec, "labels", w->labels + from) ||
        (taught && kd_exec_bind(w->exec, "teacher", taught + from * classes)) ||
        kd_exec_run(w->exec, &opt))
        kdb_die(w->ctx, "student");
    memcpy(w->logits + from * classes, kd_exec_output(w->exec, "logits"),
           n * classes * sizeof *w->logits);
    w->loss += (double)share * (double)*(const float *)kd_exec_output(w->exec, "loss");
}

static void run_student(kdb_work *w)
{
    w->loss = 0;
    if (!w->info->training) {
        if (kd_exec_run(w->exec, NULL)) kdb_die(w->ctx, "student");
        return;
    }
    for (size_t from = 0; from < w->info->batch; from += w->piece) {
        const size_t left = w->info->batch - from;
        run_piece(w, from, left < w->piece ? left : w->piece);
    }
}

double kdb_work_step(kdb_work *w)
{
    const double start = kd_seconds();
    if (w->teacher && kd_exec_run(w->teacher_exec, NULL)) kdb_die(w->ctx, "teacher");
    const double taught = kd_seconds();
    run_student(w);
    const double ran = kd_seconds();
    if (w->optim) kd_optim_step(w->optim, 1e-3f, 1);
    const double end = kd_seconds();
    w->teacher_seconds += taught - start;
    w->optimizer_seconds += end - ran;
    return end - start;
}

void kdb_work_parts(const kdb_work *w, double parts[5])
{
    parts[0] = w->teacher_seconds;
    parts[1] = kd_exec_seconds(w->exec, KD_PART_FORWARD);
    parts[2] = kd_exec_seconds(w->exec, KD_PART_LOSS);
    parts[3] = kd_exec_seconds(w->exec, KD_PART_BACKWARD);
    parts[4] = w->optimizer_seconds;
}

/* ---- for the peers --------------------------------------------------------------------------- */

static float *to_nchw(const kdb_work *w)
{
    const size_t s = kd_model_image(w->student) * kd_model_image(w->student), n = w->info->batch;
    float *out = malloc(n * s * 3 * sizeof *out);
    if (!out) kdb_die(w->ctx, "out of memory");
    for (size_t i = 0; i < n; i++)
        for (size_t p = 0; p < s; p++)
            for (size_t c = 0; c < 3; c++)
                out[(i * 3 + c) * s + p] = w->pictures[(i * s + p) * 3 + c];
    return out;
}

static void dump_gradients(const kdb_work *w, kd_writer *out, float ***kept, size_t *n_kept)
{
    kd_params *p = kd_model_params(w->student);
    *kept = calloc(kd_params_entries(p), sizeof **kept);
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        char name[300];
        if (info->buffer) continue;
        float *grad = malloc(info->count * sizeof *grad);
        if (!grad || kd_params_get(p, info, 1, grad)) kdb_die(w->ctx, "gradient");
        (*kept)[(*n_kept)++] = grad;
        snprintf(name, sizeof name, "grad.%s", info->name);
        kd_writer_tensor(out, name, KD_F32, info->file_shape.rank, info->file_shape.dim, grad);
    }
}

void kdb_work_dump(kdb_work *w, const char *dir)
{
    char path[1024];
    kd_writer *out;
    float **kept = NULL;
    size_t n_kept = 0;
    snprintf(path, sizeof path, "%s/student.safetensors", dir);
    if (kd_model_save(w->student, path)) kdb_die(w->ctx, path);
    snprintf(path, sizeof path, "%s/teacher.safetensors", dir);
    if (w->teacher && kd_model_save(w->teacher, path)) kdb_die(w->ctx, path);
    if (w->teacher && kd_exec_run(w->teacher_exec, NULL)) kdb_die(w->ctx, "teacher");
    run_student(w);
    const int64_t image = (int64_t)kd_model_image(w->student), n = (int64_t)w->info->batch;
    const int64_t input[] = {n, 3, image, image}, one[] = {1};
    const int64_t logits[] = {n, (int64_t)kd_model_classes(w->student)};
    float *pictures = to_nchw(w);
    snprintf(path, sizeof path, "%s/batch.safetensors", dir);
    if (kd_writer_create(w->ctx, path, &out)) kdb_die(w->ctx, path);
    kd_writer_tensor(out, "input", KD_F32, 4, input, pictures);
    kd_writer_tensor(out, "labels", KD_I32, 1, input, w->labels);
    const float loss = (float)w->loss;
    kd_writer_tensor(out, "logits", KD_F32, 2, logits,
                     w->info->training ? w->logits : kd_exec_output(w->exec, "logits"));
    if (w->info->training) {
        kd_writer_tensor(out, "loss", KD_F32, 1, one, &loss);
        dump_gradients(w, out, &kept, &n_kept);
    }
    if (kd_writer_finish(out)) kdb_die(w->ctx, path);
    for (size_t i = 0; i < n_kept; i++) free(kept[i]);
    free(kept);
    free(pictures);
}
