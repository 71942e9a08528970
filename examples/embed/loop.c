/* SPDX-License-Identifier: MIT
 * loop.c: a training loop by hand. Batches come from a loader, a step is one of the library's plans,
 * and the rate warms up and falls. Each epoch ends with a checkpoint; where the file is there already
 * the loop goes on from it. Another thread may cancel the loop at any moment:
 *   loop synthetic:train=320,test=64 checkpoint.safetensors [SECONDS until it is cancelled] */
#include <kd/kd.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { EPOCHS = 4, BATCH = 32 };

typedef struct loop {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model;
    kd_plan *plan; /* forward, loss, backward of a batch */
    kd_exec *exec;
    kd_optim *optim;
    kd_loader *loader;
    const char *checkpoint;
    size_t epoch, per_epoch; /* done; steps */
} loop;

/* The same options serve the plan, the optimiser and the rate. */
static kd_status open_loop(loop *l, kd_train_opt *how)
{
    const kd_distill_opt step = {.struct_size = sizeof step, .train = how};
    const kd_data_info *info = kd_dataset_info(l->data);
    kd_status status = kd_model_take_normalization(l->model, info);
    if (status) return status;
    kd_train_defaults(how, l->model);
    const kd_optim_opt optim = {.struct_size = sizeof optim,
                                .optimizer = how->optimizer,
                                .momentum = how->momentum,
                                .weight_decay = how->weight_decay};
    const kd_view view = kd_model_view(l->model, info); /* how the network wants the pictures */
    const kd_loader_opt load = {.struct_size = sizeof load,
                                .batch = BATCH,
                                .shuffle = 1,
                                .drop_last = 1,
                                .augment = "crop-flip",
                                .seed = how->seed,
                                .n_views = 1,
                                .views = &view};
    status = kd_train_plan(l->model, &step, &l->plan);
    if (!status) status = kd_exec_create(l->plan, kd_model_params(l->model), NULL, &l->exec);
    if (!status) status = kd_optim_create(kd_model_params(l->model), &optim, &l->optim);
    if (!status) status = kd_loader_create(l->data, &load, &l->loader);
    if (!status) l->per_epoch = kd_loader_batches(l->loader);
    return status;
}

/* Where a checkpoint is, its epoch is where the loop goes on. */
static kd_status resume(loop *l)
{
    char *note;
    kd_status status = kd_checkpoint_load(l->model, l->optim, l->checkpoint, &note);
    if (status == KD_E_NOTFOUND) return KD_OK; /* there is none yet */
    if (status) return status;
    l->epoch = strtoul(note, NULL, 10);
    kd_ctx_free(l->ctx, note);
    printf("from epoch %zu on\n", l->epoch + 1);
    return kd_loader_seek(l->loader, l->epoch, 0);
}

static kd_status one_step(loop *l, const kd_train_opt *how, double *loss)
{
    const kd_batch *batch;
    const size_t step = (size_t)kd_optim_steps(l->optim);
    const kd_run_opt run = {.struct_size = sizeof run, .seed = how->seed, .step = step};
    kd_status status = kd_loader_next(l->loader, &batch);
    if (!status) status = kd_exec_bind(l->exec, "input", batch->views[0]);
    if (!status) status = kd_exec_bind(l->exec, "labels", batch->labels);
    if (!status) status = kd_exec_run(l->exec, &run);
    if (status) return status;
    *loss += *(const float *)kd_exec_output(l->exec, "loss") / (double)l->per_epoch;
    kd_optim_step(l->optim, (float)kd_train_rate(how, step, EPOCHS * l->per_epoch, l->per_epoch),
                  1);
    return KD_OK;
}

static kd_status train(loop *l, const kd_train_opt *how)
{
    kd_status status = resume(l);
    for (; l->epoch < EPOCHS && !status; l->epoch++) {
        double loss = 0;
        char note[32];
        for (size_t i = 0; i < l->per_epoch && !status; i++) status = one_step(l, how, &loss);
        if (status) return status;
        printf("epoch %zu: loss %.4f\n", l->epoch + 1, loss);
        snprintf(note, sizeof note, "%zu", l->epoch + 1);
        status = kd_checkpoint_save(l->model, l->optim, note, l->checkpoint);
    }
    kd_eval_result r = {.struct_size = sizeof r};
    if (!status) status = kd_evaluate(l->model, l->data, NULL, &r);
    if (!status) printf("test accuracy %.1f %%\n", r.top1);
    return status;
}

/* What a program's window would do when its user has had enough. */
typedef struct patience {
    kd_ctx *ctx;
    double seconds;
} patience;

static void *wait_and_cancel(void *arg)
{
    const patience *p = arg;
    const struct timespec pause = {(time_t)p->seconds,
                                   (long)((p->seconds - (double)(time_t)p->seconds) * 1e9)};
    nanosleep(&pause, NULL);
    kd_ctx_cancel(p->ctx, 1); /* in the middle of a step, or of the evaluation */
    return NULL;
}

int main(int argc, char **argv)
{
    kd_train_opt how = {.struct_size = sizeof how,
                        .epochs = EPOCHS,
                        .batch = BATCH,
                        .schedule = KD_SCHEDULE_COSINE,
                        .warmup = 1,
                        .seed = 7};
    loop l = {.checkpoint = argc > 2 ? argv[2] : NULL};
    pthread_t thread;
    if (argc < 3 || kd_ctx_create(NULL, &l.ctx)) return 2;
    patience p = {l.ctx, argc > 3 ? strtod(argv[3], NULL) : 0};
    const int hurried = argc > 3 && !pthread_create(&thread, NULL, wait_and_cancel, &p);
    kd_status status = kd_dataset_open(l.ctx, argv[1], NULL, &l.data);
    if (!status)
        status = kd_model_create(l.ctx, "vgg4_bn,width=0.25,classes=10,image=32", 1, &l.model);
    if (!status) status = open_loop(&l, &how);
    if (!status) status = train(&l, &how);
    if (status) fprintf(stderr, "loop: %s\n", kd_ctx_error(l.ctx));
    if (hurried) pthread_join(thread, NULL);
    kd_loader_close(l.loader);
    kd_optim_destroy(l.optim);
    kd_exec_destroy(l.exec);
    kd_plan_destroy(l.plan);
    kd_model_destroy(l.model);
    kd_dataset_close(l.data);
    kd_ctx_destroy(l.ctx);
    return status == KD_E_STOPPED ? 3 : status != KD_OK;
}
