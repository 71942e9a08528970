/* SPDX-License-Identifier: MIT
 * train.c: kd train, distill, finetune: one run. What differs is where the network comes from and
 * whether there are teachers. */
#include "cli.h"

#include "../common/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct session {
    cli_run run;
    kd_model *teachers[KD_MAX_TEACHERS];
    float weights[KD_MAX_TEACHERS];
    kd_distill_opt opt;
    kd_train_opt train;
    kd_result result;
    cli_progress progress;
    bool recorded;     /* run.json is of this run */
    int record_failed; /* an exit status */
    char why[600];     /* the error, for run.json */
} session;

/* ---- before ---------------------------------------------------------------------------------- */

static int check_usage(const cli_args *a)
{
    const char *name = a->command->name;
    if (a->resume && !a->out)
        return cli_usage(name, "--resume needs --out, where the checkpoint is");
    if (a->command->bit != CMD_DISTILL) return CLI_DONE;
    if (a->n_teachers == 0) return cli_usage(name, "--teacher FILE is missing");
    if (a->n_teacher_weights && a->n_teacher_weights != a->n_teachers)
        return cli_usage(name, "there are %zu teachers, but %zu weights (--teacher-weight)",
                         a->n_teachers, a->n_teacher_weights);
    double sum = 0;
    for (size_t i = 0; i < a->n_teacher_weights; i++) sum += a->teacher_weights[i];
    if (a->n_teacher_weights && !(sum > 0))
        return cli_usage(name, "the weights of --teacher-weight are all 0");
    if (a->hard == 0 && a->soft == 0) return cli_usage(name, "--hard 0 --soft 0 leave no loss");
    return CLI_DONE;
}

static int open_student(session *s)
{
    const cli_args *a = s->run.args;
    const char *word = a->words[0];
    const kd_data_info *info = kd_dataset_info(s->run.data);
    char text[KD_SPEC_SIZE];
    if (a->command->bit == CMD_FINETUNE) {
        int used = snprintf(text, sizeof text, "classes=%zu", info->classes);
        if (a->image)
            snprintf(text + used, sizeof text - (size_t)used, ",image=%llu",
                     (unsigned long long)a->image);
        const kd_load_opt opt = {
            .struct_size = sizeof opt, .spec = a->model, .change = text, .seed = a->seed};
        return kd_model_load_as(s->run.ctx, word, &opt, &s->run.model) ? cli_fail_ctx(s->run.ctx)
                                                                       : CLI_DONE;
    }
    const int status = cli_complete(s->run.ctx, word, info, a->image, text);
    if (status) return status;
    return kd_model_create(s->run.ctx, text, a->seed, &s->run.model) ? cli_fail_ctx(s->run.ctx)
                                                                     : CLI_DONE;
}

static int open_teachers(session *s)
{
    const cli_args *a = s->run.args;
    double sum = 0;
    for (size_t i = 0; i < a->n_teachers; i++) {
        int status = cli_load(s->run.ctx, a->teachers[i], a->teacher_model, a->teacher_image,
                              &s->teachers[i]);
        if (!status)
            status = cli_normalize(a, "teacher-normalize", a->teacher_normalize, s->teachers[i]);
        if (status) return status;
        sum += a->teacher_weights[i];
    }
    for (size_t i = 0; i < a->n_teacher_weights; i++)
        s->weights[i] = (float)(a->teacher_weights[i] / sum);
    s->opt.teachers = s->teachers;
    s->opt.n_teachers = a->n_teachers;
    s->opt.teacher_weights = a->n_teacher_weights ? s->weights : NULL;
    return CLI_DONE;
}

static int open_all(session *s)
{
    const cli_args *a = s->run.args;
    int status = cli_open_ctx(a, &s->run.ctx);
    if (!status) status = cli_open_data(a, s->run.ctx, &s->run.data);
    if (!status) status = open_student(s);
    if (!status) status = cli_normalize(a, "normalize", a->normalize, s->run.model);
    if (!status) status = open_teachers(s);
    if (!status) status = cli_macs(s->run.model, &s->run.macs);
    s->run.teachers = s->teachers;
    return status;
}

static void close_all(session *s)
{
    for (size_t i = 0; i < KD_MAX_TEACHERS; i++) kd_model_destroy(s->teachers[i]);
    kd_model_destroy(s->run.model);
    cli_close_data(s->run.data);
    kd_ctx_destroy(s->run.ctx);
}

/* An earlier run is replaced, but not without a word. */
static void warn_about_old_run(const cli_args *a)
{
    char path[4200], safe[300];
    if (!a->out) {
        if (!a->quiet) fprintf(stderr, "kd: without --out the network is not kept\n");
        return;
    }
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", a->out);
    if (a->resume || access(path, F_OK)) return;
    fprintf(stderr, "kd: warning: the earlier run in %s is replaced (--resume goes on with it)\n",
            cli_escape(a->out, safe, sizeof safe));
}

/* ---- after ----------------------------------------------------------------------------------- */

static int print_json(session *s)
{
    kd_json *json;
    const cli_run *run = &s->run;
    if (kd_json_create(run->ctx, 0, &json)) return cli_fail_ctx(run->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "command", run->args->command->name);
    kd_json_string(json, "spec", kd_model_spec(run->model));
    kd_json_string(json, "data", run->args->data);
    kd_json_integer(json, "seed", (int64_t)run->args->seed);
    kd_json_integer(json, "params", (int64_t)kd_params_count(kd_model_params(run->model)));
    kd_json_integer(json, "macs", (int64_t)run->macs);
    cli_json_result(json, &s->result);
    kd_json_integer(json, "threads", kd_ctx_threads(run->ctx));
    kd_json_string(json, "isa", kd_ctx_isa(run->ctx));
    kd_json_string(json, "out", run->args->out);
    kd_json_object_end(json);
    return cli_print_json(run->ctx, json);
}

static void print_parts(const kd_times *t, bool distilled)
{
    const double parts[] = {t->data, t->teacher, t->forward, t->loss, t->backward, t->optimizer};
    static const char *const names[] = {"data", "teacher",  "forward",
                                        "loss", "backward", "optimizer"};
    double sum = 0;
    for (size_t i = 0; i < 6; i++) sum += parts[i];
    if (!(sum > 0)) return;
    printf("parts     ");
    for (size_t i = 0; i < 6; i++)
        if (i != 1 || distilled) printf("  %s %.1f %%", names[i], 100 * parts[i] / sum);
    putchar('\n');
}

static int print_table(session *s)
{
    const kd_result *r = &s->result;
    const size_t params = kd_params_count(kd_model_params(s->run.model));
    printf("network     %s\n", kd_model_spec(s->run.model));
    printf("            %zu parameters, %llu MACs of one picture\n", params,
           (unsigned long long)s->run.macs);
    if (!isnan(r->top1))
        printf("test        top-1 %.2f %%  top-5 %.2f %%  loss %.4f\n", r->top1, r->top5, r->loss);
    printf("training    loss %.4f  top-1 %.2f %% in the last epoch\n", r->train_loss,
           r->train_top1);
    printf("time        %s for %zu %s, %zu steps: %.0f images/s\n", cli_duration(r->seconds).text,
           r->epochs, r->epochs == 1 ? "epoch" : "epochs", r->steps, r->images_per_second);
    print_parts(&r->times, s->run.args->command->bit == CMD_DISTILL);
    printf("memory      %s at most\n", cli_bytes((double)r->peak_bytes).text);
    if (s->run.args->out) {
        char safe[400];
        printf("written     %s/model.safetensors\n",
               cli_escape(s->run.args->out, safe, sizeof safe));
    }
    return cli_flush();
}

/* The library's status, as an exit status; run.json says so, too. */
static int finish(session *s, kd_status status)
{
    const cli_args *a = s->run.args;
    int code = CLI_DONE;
    cli_progress_end(&s->progress);
    if (s->record_failed) return s->record_failed; /* that was told already */
    if (status == KD_E_STOPPED && cli_interrupted()) {
        code = CLI_INTERRUPTED;
        s->run.status = "interrupted";
        if (a->out)
            cli_fail("interrupted after %zu steps; --resume goes on from there",
                     s->progress.latest.step);
        else
            cli_fail("interrupted after %zu steps; without --out nothing was kept",
                     s->progress.latest.step);
    } else if (status) {
        snprintf(s->why, sizeof s->why, "%s", kd_ctx_error(s->run.ctx));
        code = cli_fail_ctx(s->run.ctx);
        s->run.status = "failed";
        s->run.error = s->why;
    } else {
        s->run.status = "done";
        if (kd_dataset_info(s->run.data)->count[KD_SPLIT_TEST] == 0)
            s->result.top1 = s->result.top5 = s->result.loss = (double)NAN;
        s->run.result = &s->result;
    }
    if (a->out && (s->recorded || code != CLI_FAILED)) {
        const int written = cli_write_run(&s->run);
        if (!code) code = written;
    }
    return code;
}

kd_status cli_call(const cli_run *run, const kd_distill_opt *opt, kd_result *result)
{
    return run->args->command->bit == CMD_DISTILL
               ? kd_distill(run->model, run->data, opt, result)
               : kd_train(run->model, run->data, opt->train, result);
}

/* run.json is written once the first step is done: a run that is refused (--resume with other
 * options) must not take the place of the record of the one before. */
static int watch(void *user, const kd_progress *progress)
{
    session *s = user;
    if (progress->augment) snprintf(s->run.augment, sizeof s->run.augment, "%s", progress->augment);
    if (s->run.args->out && !s->recorded) {
        s->record_failed = cli_write_run(&s->run);
        if (s->record_failed) return 1;
        s->recorded = true;
    }
    return cli_progress_step(&s->progress, progress);
}

static int train(session *s)
{
    const cli_args *a = s->run.args;
    s->run.status = "running";
    record_time(s->run.started);
    warn_about_old_run(a);
    int code = CLI_DONE;
    if (a->out && kd_folder_make(s->run.ctx, a->out)) return cli_fail_ctx(s->run.ctx);
    cli_progress_start(&s->progress, a, true);
    s->train.progress = watch;
    s->train.user = s;
    code = finish(s, cli_call(&s->run, &s->opt, &s->result));
    if (code) return code;
    return a->json ? print_json(s) : print_table(s);
}

int cmd_train(cli_args *args)
{
    session s = {.run = {.args = args}, .result.struct_size = sizeof s.result};
    int status = check_usage(args);
    if (status) return status;
    cli_catch_signals();
    cli_distill_opt(args, &s.opt, &s.train);
    status = open_all(&s);
    if (!status) status = args->dry_run ? cli_dry_run(&s.run, &s.opt) : train(&s);
    close_all(&s);
    return status;
}
