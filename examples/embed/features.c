/* SPDX-License-Identifier: MIT
 * features.c: a new head from features that are computed once. The network shows each picture's
 * embedding, what its head reads; these are kept, and the head alone learns from them, epoch after
 * epoch, without the network. It is then put into the network:
 *   features model.safetensors folder:flowers flowers.safetensors */
#include <kd/kd.h>

#include <stdio.h>
#include <string.h>

enum { BATCH = 64, EPOCHS = 30 };

typedef struct work {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model;
    float *features; /* [n, width], all training pictures' */
    int32_t *labels; /* [n] */
    size_t n, width;
    kd_plan *plan; /* of the head's training step */
    kd_params *head;
    kd_exec *exec;
    kd_optim *optim;
} work;

/* The network with a head for these classes, not trained yet. */
static kd_status load(work *w, const char *file)
{
    const kd_data_info *info = kd_dataset_info(w->data);
    char classes[32];
    snprintf(classes, sizeof classes, "classes=%zu", info->classes);
    const kd_load_opt opt = {.struct_size = sizeof opt,
                             .change = classes,
                             .reset_head = 1,
                             .class_names = info->class_names,
                             .n_class_names = info->class_names ? info->classes : 0};
    kd_status status = kd_model_load_as(w->ctx, file, &opt, &w->model);
    if (!status) status = kd_model_take_normalization(w->model, info);
    if (!status && kd_model_head_at(w->model, 2))
        return kd_ctx_fail(w->ctx, KD_E_UNSUPPORTED, "%s has two heads", file);
    return status;
}

/* All batches of the loader through the network. */
static kd_status keep(work *w, kd_loader *loader, kd_exec *exec)
{
    for (size_t left = kd_loader_batches(loader); left > 0; left--) {
        const kd_batch *batch;
        kd_status status = kd_loader_next(loader, &batch);
        if (status) return status;
        const kd_run_opt run = {.struct_size = sizeof run, .batch = batch->n};
        if (batch->n == 0) continue; /* none of its pictures could be read */
        status = kd_exec_bind(exec, "input", batch->views[0]);
        if (!status) status = kd_exec_run(exec, &run);
        if (status) return status;
        memcpy(w->features + w->n * w->width, kd_exec_output(exec, "embedding"),
               batch->n * w->width * sizeof(float));
        memcpy(w->labels + w->n, batch->labels, batch->n * sizeof(int32_t));
        w->n += batch->n;
    }
    return KD_OK;
}

static kd_status compute_features(work *w)
{
    static const char *const tap = "embedding";
    const kd_data_info *info = kd_dataset_info(w->data);
    const size_t count = info->count[KD_SPLIT_TRAIN];
    const kd_view view = kd_model_view(w->model, info);
    /* Shuffled, since folders lie class by class; framed as in an evaluation, not augmented. */
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .batch = BATCH,
                               .shuffle = 1,
                               .augment = kd_dataset_framing(w->data),
                               .n_views = 1,
                               .views = &view};
    kd_loader *loader = NULL;
    kd_plan *plan = NULL;
    kd_exec *exec = NULL;
    kd_status status = kd_loader_create(w->data, &opt, &loader);
    if (!status) status = kd_model_plan_taps(w->model, BATCH, &tap, 1, &plan, &exec);
    if (!status) {
        w->width = (size_t)kd_exec_output_shape(exec, tap).dim[1];
        w->features = kd_ctx_alloc(w->ctx, count * w->width, sizeof *w->features);
        w->labels = kd_ctx_alloc(w->ctx, count, sizeof *w->labels);
        status = w->features && w->labels ? keep(w, loader, exec) : KD_E_NOMEM;
    }
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_loader_close(loader);
    return status;
}

/* A graph of the head alone. Its layer has the name that it has in the network. */
static kd_status make_head(work *w)
{
    const int64_t rows[] = {KD_BATCH, (int64_t)w->width}, row[] = {KD_BATCH};
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = BATCH, .training = 1};
    const char *weight = kd_model_head_at(w->model, 0); /* "classifier.weight" */
    const char *end = strrchr(weight, '.');
    char layer[100];
    snprintf(layer, sizeof layer, "%.*s", (int)(end - weight), weight);
    kd_graph *g = NULL;
    kd_status status = kd_graph_create(w->ctx, &g);
    if (status) return status;
    const kd_value x = kd_input(g, "features", KD_F32, 2, rows);
    const kd_value y = kd_linear(g, x, layer, (int)kd_model_classes(w->model), 1);
    const kd_value loss = kd_cross_entropy(g, y, kd_input(g, "labels", KD_I32, 1, row), 0);
    kd_output(g, loss, "loss");
    status = kd_graph_grad(g, loss);
    if (!status) status = kd_params_create(g, 1, &w->head);
    if (!status) status = kd_plan_create(g, &opt, &w->plan);
    if (!status) status = kd_exec_create(w->plan, w->head, NULL, &w->exec);
    if (!status) status = kd_optim_create(w->head, NULL, &w->optim);
    kd_graph_destroy(g);
    return status;
}

static kd_status train_head(work *w)
{
    const kd_train_opt how = {.struct_size = sizeof how, .schedule = KD_SCHEDULE_COSINE, .lr = .1f};
    const size_t per_epoch = (w->n + BATCH - 1) / BATCH;
    kd_status status = KD_OK;
    for (size_t epoch = 0; epoch < EPOCHS && !status; epoch++) {
        double sum = 0;
        for (size_t at = 0; at < w->n && !status; at += BATCH) {
            const size_t step = (size_t)kd_optim_steps(w->optim);
            const size_t rows = w->n - at < BATCH ? w->n - at : BATCH;
            const kd_run_opt run = {.struct_size = sizeof run, .batch = rows, .step = step};
            status = kd_exec_bind(w->exec, "features", w->features + at * w->width);
            if (!status) status = kd_exec_bind(w->exec, "labels", w->labels + at);
            if (!status) status = kd_exec_run(w->exec, &run);
            if (status) break;
            sum += (double)rows * (double)*(const float *)kd_exec_output(w->exec, "loss");
            kd_optim_step(w->optim, (float)kd_train_rate(&how, step, EPOCHS * per_epoch, per_epoch),
                          1);
        }
        if (!status && epoch % 10 == 9)
            printf("epoch %zu: loss %.4f\n", epoch + 1, sum / (double)w->n);
    }
    return status;
}

/* The trained numbers into the network. */
static kd_status put_back(work *w)
{
    kd_params *to = kd_model_params(w->model);
    const kd_param_info *info;
    kd_status status = KD_OK;
    for (size_t i = 0; (info = kd_params_info(w->head, i)) && !status; i++) {
        float *values = kd_ctx_alloc(w->ctx, info->count, sizeof *values);
        status = values ? kd_params_get(w->head, info, 0, values) : KD_E_NOMEM;
        if (!status) status = kd_params_set(to, kd_params_find(to, info->name), values);
        kd_ctx_free(w->ctx, values);
    }
    return status;
}

int main(int argc, char **argv)
{
    work w = {0};
    kd_eval_result result = {.struct_size = sizeof result};
    if (argc != 4 || kd_ctx_create(NULL, &w.ctx)) return 2;
    kd_status status = kd_dataset_open(w.ctx, argv[2], NULL, &w.data);
    if (!status) status = load(&w, argv[1]);
    if (!status) status = compute_features(&w);
    if (!status) status = make_head(&w);
    if (!status) status = train_head(&w);
    if (!status) status = put_back(&w);
    if (!status) status = kd_evaluate(w.model, w.data, NULL, &result);
    if (!status) status = kd_model_save(w.model, argv[3]);
    if (status) fprintf(stderr, "features: %s\n", kd_ctx_error(w.ctx));
    if (!status)
        printf("%zu pictures, %zu features each; test accuracy %.2f %%\n", w.n, w.width,
               result.top1);
    kd_optim_destroy(w.optim);
    kd_exec_destroy(w.exec);
    kd_plan_destroy(w.plan);
    kd_params_destroy(w.head);
    kd_ctx_free(w.ctx, w.features);
    kd_ctx_free(w.ctx, w.labels);
    kd_model_destroy(w.model);
    kd_dataset_close(w.data);
    kd_ctx_destroy(w.ctx);
    return status != KD_OK;
}
