/* SPDX-License-Identifier: MIT
 * calls.c: see calls.h. What the calls are made with, and all of them in one row. */
#include "calls.h"

#include <stdio.h>
#include <string.h>

const char calls_spec[] = "vgg2_bn,width=0.0625,classes=10,image=32";
static const int64_t picture_dim[] = {KD_BATCH, 32, 32, 3};

const char *calls_path(char path[600], const char *name)
{
    snprintf(path, 600, "%s/%s", test_dir(), name);
    return path;
}

static kd_status training_graph(kd_ctx *ctx, const kd_model *m, kd_graph **g)
{
    kd_status status = kd_graph_create(ctx, g);
    if (status) return status;
    const kd_value x = kd_input(*g, "input", KD_F32, 4, picture_dim);
    const kd_value labels = kd_input(*g, "labels", KD_I32, 1, picture_dim);
    kd_graph_want_grad(*g, x);
    const kd_value loss = kd_cross_entropy(*g, kd_model_build(m, *g, x, NULL), labels, 0);
    kd_output(*g, loss, "loss");
    status = kd_graph_grad(*g, loss);
    kd_output(*g, kd_graph_grad_of(*g, x), "dx");
    if (!status) status = kd_graph_status(*g);
    return status;
}

void calls_make(world *w)
{
    memset(w, 0, sizeof *w);
    w->ctx = test_ctx_counting(&w->heap, 1);
    kd_ctx *ctx = w->ctx;
    test_fill(w->pictures, PICTURES * PICTURE, 1, 1);
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=32,test=16,image=32", NULL, &w->data));
    test_ok(ctx, kd_model_create(ctx, calls_spec, 1, &w->model));
    test_ok(ctx, kd_model_create(ctx, calls_spec, 2, &w->teacher));
    const float half[] = {.5f, .5f, .5f};
    test_ok(ctx, kd_model_set_normalization(w->model, half, half));
    test_ok(ctx, kd_params_need_grads(kd_model_params(w->model)));
    test_ok(ctx, training_graph(ctx, w->model, &w->graph));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = PICTURES, .training = 1};
    test_ok(ctx, kd_plan_create(w->graph, &opt, &w->plan));
    test_ok(ctx, kd_exec_create(w->plan, kd_model_params(w->model), NULL, &w->exec));
    const kd_loader_opt load = {
        .struct_size = sizeof load, .batch = PICTURES, .depth = KD_LOADER_SYNC};
    test_ok(ctx, kd_loader_create(w->data, &load, &w->loader));
    calls_path(w->out, "failing");
    test_ok(ctx, kd_model_save(w->model, calls_path(w->path, "failing.safetensors")));
    test_ok(ctx, kd_file_open(ctx, w->path, &w->file));
    test_ok(ctx, kd_file_read_all(ctx, w->path, 1 << 26, &w->bytes, &w->size));
}

void calls_free(world *w)
{
    kd_ctx_free(w->ctx, w->bytes);
    kd_file_close(w->file);
    kd_loader_close(w->loader);
    kd_exec_destroy(w->exec);
    kd_plan_destroy(w->plan);
    kd_graph_destroy(w->graph);
    kd_model_destroy(w->model);
    kd_model_destroy(w->teacher);
    kd_dataset_close(w->data);
    ck_assert_uint_eq(kd_ctx_memory(w->ctx), 0);
    kd_ctx_destroy(w->ctx);
    ck_assert_int_eq(w->heap.live, 0);
}

const call *calls_at(size_t i)
{
    static const call_list *const rooms[] = {&calls_data,  &calls_file,  &calls_graph,
                                             &calls_model, &calls_train, &calls_export};
    for (size_t r = 0; r < sizeof rooms / sizeof *rooms; r++) {
        if (i < rooms[r]->n) return &rooms[r]->first[i];
        i -= rooms[r]->n;
    }
    return NULL;
}
