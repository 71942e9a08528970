/* SPDX-License-Identifier: MIT
 * eval.c: kd eval: accuracy, loss and calibration of networks on a split, how near they come to a
 * teacher, and how they differ from the first of them on the same pictures. */
#include "eval.h"

#include <kd/export.h>

#include <string.h>

static int check_usage(const cli_args *a)
{
    if (a->split == CLI_DEV && a->dev_count == 0)
        return cli_usage("eval", "--split dev needs --dev-count, as it was in training");
    if (a->split != CLI_DEV && a->dev_count)
        return cli_usage("eval", "--dev-count goes with --split dev");
    if (a->n_more && a->confusion)
        return cli_usage("eval", "--confusion is of one network, not of %zu", 1 + a->n_more);
    if (!a->teachers[0] && (a->teacher_model || a->teacher_normalize))
        return cli_usage("eval", "--teacher-%s: there is no --teacher",
                         a->teacher_model ? "model" : "normalize");
    return CLI_DONE;
}

/* ---- one network ----------------------------------------------------------------------------- */

typedef struct listener {
    const evaluation *e;
    eval_network *network;
    bool own; /* the network itself names its classes */
} listener;

static int listen(void *user, const kd_eval_sample *s)
{
    listener *l = user;
    eval_network *n = l->network;
    const char *const *names = kd_dataset_info(l->e->data)->class_names;
    if (n->names && names && !l->own) n->names[s->target] = names[s->label];
    if (n->answers)
        n->answers[s->id] = (eval_answer){.there = true,
                                          .label = s->label,
                                          .target = s->target,
                                          .predicted = s->predicted,
                                          .probability = s->probability,
                                          .loss = s->loss};
    return 0;
}

/* What is asked for besides the result: answers, a confusion matrix, names of the classes. */
static int make_arrays(const evaluation *e, kd_model *model, listener *l)
{
    eval_network *n = l->network;
    const cli_args *a = e->args;
    const char *const *names = kd_model_class_names(model);
    l->own = names != NULL;
    if (a->n_more || a->predictions) {
        n->answers = kd_ctx_alloc(e->ctx, e->count, sizeof *n->answers);
        if (!n->answers) return cli_fail_ctx(e->ctx);
    }
    if (a->predictions || a->confusion) {
        n->names = kd_ctx_alloc(e->ctx, n->classes, sizeof *n->names);
        if (!n->names) return cli_fail_ctx(e->ctx);
        for (size_t k = 0; names && k < n->classes; k++) n->names[k] = names[k];
    }
    if (a->confusion) {
        n->confusion = kd_ctx_alloc(e->ctx, n->classes, n->classes * sizeof *n->confusion);
        if (!n->confusion) return cli_fail_ctx(e->ctx);
    }
    return CLI_DONE;
}

static int failed(const evaluation *e, const eval_network *n, kd_status status)
{
    const cli_args *a = e->args;
    const char *teacher = e->teacher ? a->teachers[0] : NULL;
    if (status == KD_E_STOPPED && cli_interrupted()) {
        cli_fail("interrupted");
        return CLI_INTERRUPTED;
    }
    if (status == KD_E_MISMATCH && !a->any_classes)
        return cli_fail("%s: %s (--any-classes takes classes by number)", n->file,
                        kd_ctx_error(e->ctx));
    if (status == KD_E_NONFINITE)
        return cli_fail("%s (%s%s%s)", kd_ctx_error(e->ctx), n->file, teacher ? ", teacher " : "",
                        teacher ? teacher : "");
    return cli_fail_ctx(e->ctx);
}

static int measure(evaluation *e, eval_network *n, kd_model *model, kd_blob *blob)
{
    const cli_args *a = e->args;
    listener l = {.e = e, .network = n};
    cli_progress progress;
    const char *framing = cli_framing(a, e->data, model);
    int code = framing ? make_arrays(e, model, &l) : CLI_USAGE;
    if (code) return code;
    n->result.struct_size = sizeof n->result;
    const kd_eval_opt opt = {.struct_size = sizeof opt,
                             .split = (kd_eval_split)a->split,
                             .dev_count = a->dev_count,
                             .batch = a->batch,
                             .teacher = e->teacher,
                             .augment = framing,
                             .progress = cli_progress_step,
                             .user = &progress,
                             .each = listen,
                             .each_user = &l,
                             .confusion = n->confusion,
                             .any_classes = a->any_classes,
                             .answer = blob ? kd_blob_answer : NULL,
                             .answer_user = blob};
    cli_progress_start(&progress, e->ctx, a, false);
    const kd_status status = kd_evaluate(model, e->data, &opt, &n->result);
    cli_progress_end(&progress);
    if (status) return failed(e, n, status);
    if (a->predictions) code = eval_add_predictions(e, n);
    if (!code && a->confusion) code = eval_write_confusion(e, n);
    return code;
}

/* A .kde, which runs as it does on a device. */
static int one_blob(evaluation *e, eval_network *n)
{
    kd_blob *blob = NULL;
    kd_model *model = NULL;
    int code = cli_open_blob(e->args, e->ctx, n->file, &blob, &model);
    if (!code) {
        n->classes = kd_model_classes(model);
        memcpy(n->spec, kd_model_spec(model), strlen(kd_model_spec(model)) + 1);
        code = cli_check_channels(e->args, n->file, model, e->data);
    }
    if (!code) code = measure(e, n, model, blob);
    kd_model_destroy(model);
    kd_blob_close(blob);
    kd_ctx_free(e->ctx, n->names);
    n->names = NULL;
    return code;
}

static int one(evaluation *e, eval_network *n)
{
    const cli_args *a = e->args;
    kd_model *model = NULL;
    char spec[KD_SPEC_SIZE];
    int code = CLI_DONE;
    if (a->model) code = cli_complete(e->ctx, a->model, kd_dataset_info(e->data), a->image, spec);
    if (!code) code = cli_load(e->ctx, n->file, a->model ? spec : NULL, a->image, &model);
    if (!code) code = cli_normalize(a, "normalize", a->normalize, model);
    if (!code) {
        n->classes = kd_model_classes(model);
        memcpy(n->spec, kd_model_spec(model), strlen(kd_model_spec(model)) + 1);
        code = cli_check_channels(a, n->file, model, e->data);
    }
    if (!code) {
        cli_say_normalization(a, "normalize", n->file, model, e->data);
        code = cli_say_data(a, n->file, model, e->data);
    }
    if (!code) code = measure(e, n, model, NULL);
    kd_model_destroy(model);
    kd_ctx_free(e->ctx, n->names);
    n->names = NULL;
    return code;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int open_all(evaluation *e)
{
    const cli_args *a = e->args;
    int code = cli_open_data(a, e->ctx, &e->data);
    if (!code && a->teachers[0])
        code = cli_load(e->ctx, a->teachers[0], a->teacher_model, 0, &e->teacher);
    if (!code && e->teacher)
        code = cli_normalize(a, "teacher-normalize", a->teacher_normalize, e->teacher);
    if (code) return code;
    if (e->teacher) {
        code = cli_check_channels(a, a->teachers[0], e->teacher, e->data);
        if (code) return code;
        cli_say_normalization(a, "teacher-normalize", a->teachers[0], e->teacher, e->data);
        code = cli_say_data(a, a->teachers[0], e->teacher, e->data);
        if (code) return code;
    }
    e->count =
        kd_dataset_info(e->data)->count[a->split == CLI_TEST ? KD_SPLIT_TEST : KD_SPLIT_TRAIN];
    e->networks = kd_ctx_alloc(e->ctx, e->n, sizeof *e->networks);
    if (!e->networks) return cli_fail_ctx(e->ctx);
    e->networks[0].file = a->words[0];
    for (size_t i = 1; i < e->n; i++) e->networks[i].file = a->more[i - 1];
    return CLI_DONE;
}

int cmd_eval(cli_args *args)
{
    evaluation e = {.args = args, .n = 1 + args->n_more};
    int code = check_usage(args);
    if (code) return code;
    cli_catch_signals();
    if (!args->quiet) cli_answer_signals("this ends after the batch it is at\n");
    for (size_t i = 0; i < e.n && !code; i++)
        code = cli_is_there(i ? args->more[i - 1] : args->words[0]);
    if (!code && args->teachers[0]) code = cli_is_there(args->teachers[0]);
    if (!code) code = cli_open_ctx(args, &e.ctx);
    if (!code) code = eval_check_outputs(&e);
    if (!code) code = open_all(&e);
    for (size_t i = 0; !code && i < e.n; i++)
        code = cli_is_blob(e.networks[i].file) ? one_blob(&e, &e.networks[i])
                                               : one(&e, &e.networks[i]);
    if (!code && args->predictions) code = eval_write_predictions(&e);
    if (!code) code = eval_report(&e);
    for (size_t i = 0; e.networks && i < e.n; i++) {
        kd_ctx_free(e.ctx, e.networks[i].answers);
        kd_ctx_free(e.ctx, e.networks[i].confusion);
    }
    kd_ctx_free(e.ctx, e.networks);
    kd_ctx_free(e.ctx, e.csv);
    kd_model_destroy(e.teacher);
    cli_close_data(e.data);
    kd_ctx_destroy(e.ctx);
    return code;
}
