/* SPDX-License-Identifier: MIT
 * eval.c: kd eval: accuracy and loss on a split, and how near a network comes to its teacher. */
#include "cli.h"

#include <stdio.h>

static int check_usage(const cli_args *a)
{
    if (a->split == CLI_DEV && a->dev_count == 0)
        return cli_usage("eval", "--split dev needs --dev-count, as it was in training");
    if (a->split != CLI_DEV && a->dev_count)
        return cli_usage("eval", "--dev-count goes with --split dev");
    return CLI_DONE;
}

static int as_json(const cli_args *a, kd_ctx *ctx, const kd_model *model, const kd_eval_result *r)
{
    static const char *const splits[] = {"test", "train", "dev"};
    kd_json *json;
    if (kd_json_create(ctx, 0, &json)) return cli_fail_ctx(ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "spec", kd_model_spec(model));
    kd_json_string(json, "data", a->data);
    kd_json_string(json, "split", splits[a->split]);
    kd_json_integer(json, "n", (int64_t)r->n);
    kd_json_number(json, "top1", r->top1);
    kd_json_number(json, "top5", r->top5);
    kd_json_number(json, "loss", r->loss);
    if (r->top1_cls >= 0) {
        kd_json_number(json, "top1_cls", r->top1_cls);
        kd_json_number(json, "top1_dist", r->top1_dist);
    }
    if (a->teachers[0]) {
        kd_json_number(json, "agreement", r->agreement);
        kd_json_number(json, "kl", r->kl);
    }
    kd_json_number(json, "seconds", r->seconds);
    kd_json_number(json, "images_per_second", r->seconds > 0 ? (double)r->n / r->seconds : 0);
    kd_json_object_end(json);
    return cli_print_json(ctx, json);
}

static int as_table(const cli_args *a, const kd_model *model, const kd_eval_result *r)
{
    static const char *const splits[] = {"test", "training", "development"};
    printf("network     %s\n", kd_model_spec(model));
    printf("samples     %zu of the %s split\n", r->n, splits[a->split]);
    printf("top-1       %.2f %%\ntop-5       %.2f %%\nloss        %.4f\n", r->top1, r->top5,
           r->loss);
    if (r->top1_cls >= 0)
        printf("heads       top-1 %.2f %% by the class token, %.2f %% by the distillation token\n",
               r->top1_cls, r->top1_dist);
    if (a->teachers[0])
        printf("agreement   %.2f %% with the teacher's first class\n"
               "KL          %.4f nats, KL(teacher || network) at temperature 1\n",
               r->agreement, r->kl);
    printf("time        %s, %.0f images/s\n", cli_duration(r->seconds).text,
           r->seconds > 0 ? (double)r->n / r->seconds : 0);
    return cli_flush();
}

static int evaluate(const cli_args *a, kd_model *model, kd_model *teacher, kd_dataset *data)
{
    kd_ctx *ctx = kd_model_ctx(model);
    cli_progress progress;
    kd_eval_result result = {.struct_size = sizeof result};
    const kd_eval_opt opt = {.struct_size = sizeof opt,
                             .split = (kd_eval_split)a->split,
                             .dev_count = a->dev_count,
                             .batch = a->batch,
                             .teacher = teacher,
                             .augment = a->augment,
                             .progress = cli_progress_step,
                             .user = &progress};
    cli_progress_start(&progress, a, false);
    const kd_status status = kd_evaluate(model, data, &opt, &result);
    cli_progress_end(&progress);
    if (status == KD_E_STOPPED && cli_interrupted()) {
        cli_fail("interrupted");
        return CLI_INTERRUPTED;
    }
    if (status) return cli_fail_ctx(ctx);
    return a->json ? as_json(a, ctx, model, &result) : as_table(a, model, &result);
}

int cmd_eval(cli_args *args)
{
    kd_ctx *ctx = NULL;
    kd_dataset *data = NULL;
    kd_model *model = NULL, *teacher = NULL;
    char spec[KD_SPEC_SIZE];
    int status = check_usage(args);
    if (status) return status;
    cli_catch_signals();
    status = cli_open_ctx(args, &ctx);
    if (!status) status = cli_open_data(args, ctx, &data);
    if (!status && args->model)
        status = cli_complete(ctx, args->model, kd_dataset_info(data), args->image, spec);
    if (!status)
        status = cli_load(ctx, args->words[0], args->model ? spec : NULL, args->image, &model);
    if (!status) status = cli_normalize(args, "normalize", args->normalize, model);
    if (!status && args->teachers[0])
        status = cli_load(ctx, args->teachers[0], args->teacher_model, 0, &teacher);
    if (!status && teacher)
        status = cli_normalize(args, "teacher-normalize", args->teacher_normalize, teacher);
    if (!status) status = evaluate(args, model, teacher, data);
    kd_model_destroy(model);
    kd_model_destroy(teacher);
    cli_close_data(data);
    kd_ctx_destroy(ctx);
    return status;
}
