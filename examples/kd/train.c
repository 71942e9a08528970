/* SPDX-License-Identifier: MIT
 * train.c: kd train, distill, finetune: one run. What differs is where the network comes from and
 * whether there are teachers. */
#include "session.h"

#include "../common/run_record.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- before ---------------------------------------------------------------------------------- */

bool cli_taught(const cli_args *a)
{
    return a->n_teachers > 0 || a->distill.cache;
}

int cli_session_check(const cli_args *a)
{
    const char *name = a->command->name;
    if (a->command->bit == CMD_DISTILL && !cli_taught(a))
        return cli_usage(name, "--teacher FILE is missing");
    if (a->n_teachers == 0 && (a->teacher_model || a->teacher_normalize || a->teacher_image))
        return cli_usage(name, "--teacher-%s: there is no --teacher",
                         a->teacher_model   ? "model"
                         : a->teacher_image ? "image"
                                            : "normalize");
    if (a->n_teachers && a->n_teacher_weights && a->n_teacher_weights != a->n_teachers)
        return cli_usage(name, "there are %zu teachers, but %zu weights (--teacher-weight)",
                         a->n_teachers, a->n_teacher_weights);
    if (a->n_teacher_weights == 1)
        return cli_usage(name, "--teacher-weight: there is one teacher, which has all the weight");
    double sum = 0;
    for (size_t i = 0; i < a->n_teacher_weights; i++) sum += a->teacher_weights[i];
    if (a->n_teacher_weights && !(sum > 0))
        return cli_usage(name, "the weights of --teacher-weight are all 0");
    return CLI_DONE;
}

/* A network that is trained already, for these classes; a head of other classes begins anew. */
static int open_trained(cli_session *s)
{
    const cli_args *a = s->args;
    const kd_data_info *info = kd_dataset_info(s->run.data);
    char text[KD_SPEC_SIZE] = "";
    int used = 0;
    if (!info->class_names) used = snprintf(text, sizeof text, "classes=%zu", info->classes);
    if (a->image)
        snprintf(text + used, sizeof text - (size_t)used, "%simage=%s", used ? "," : "",
                 cli_picture_text(a->image).text);
    const kd_load_opt opt = {.struct_size = sizeof opt,
                             .spec = a->model,
                             .change = *text ? text : NULL,
                             .seed = a->train.seed,
                             .reset_head = a->reset_head,
                             .class_names = info->class_names,
                             .n_class_names = info->class_names ? info->classes : 0};
    return kd_model_load_as(s->run.ctx, a->words[0], &opt, &s->run.model) ? cli_fail_ctx(s->run.ctx)
                                                                          : CLI_DONE;
}

/* kd train begins with a spec, kd finetune with a file, kd distill with either. */
static int open_student(cli_session *s)
{
    const cli_args *a = s->args;
    char text[KD_SPEC_SIZE];
    s->args->train.fine_tune = a->command->bit == CMD_FINETUNE ||
                               (a->command->bit == CMD_DISTILL && !cli_is_spec(a->words[0]));
    if (s->args->train.fine_tune) return open_trained(s);
    const kd_data_info info = cli_student_data(s->run.data, s->teachers[0]);
    const int status = cli_complete(s->run.ctx, a->words[0], &info, a->image, text);
    if (status) return status;
    return kd_model_create(s->run.ctx, text, a->train.seed, &s->run.model)
               ? cli_fail_ctx(s->run.ctx)
               : CLI_DONE;
}

static int open_teachers(cli_session *s)
{
    cli_args *a = s->args;
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
    a->distill.teachers = a->n_teachers ? s->teachers : NULL;
    a->distill.n_teachers = a->n_teachers;
    a->distill.teacher_weights = a->n_teacher_weights ? s->weights : NULL;
    return CLI_DONE;
}

/* What tells this run's parts from others of the same names. */
static int identify(cli_session *s)
{
    cli_run *run = &s->run;
    kd_status status = kd_dataset_checksum(run->data, &run->data_checksum);
    if (!status) status = kd_model_hash(run->model, &run->start_hash);
    for (size_t i = 0; i < run->args->n_teachers && !status; i++)
        status = kd_model_hash(s->teachers[i], &run->teacher_hash[i]);
    return status ? cli_fail_ctx(run->ctx) : CLI_DONE;
}

static int go_on(void)
{
    if (!cli_interrupted()) return CLI_DONE;
    cli_fail("interrupted before the first step");
    return CLI_INTERRUPTED;
}

/* What the run writes is nothing that it reads: neither FILE nor a teacher. */
static int check_apart(const cli_session *s)
{
    static const char *const files[] = {"model.safetensors", "last.safetensors",
                                        "checkpoint.safetensors", "metrics.jsonl", "run.json"};
    const cli_args *a = s->args;
    char path[4200];
    int status = CLI_DONE;
    for (size_t i = 0; a->train.out && i < sizeof files / sizeof *files && !status; i++) {
        snprintf(path, sizeof path, "%s/%s", a->train.out, files[i]);
        if (!cli_is_spec(a->words[0])) status = cli_apart(s->run.ctx, "--out's", path, a->words[0]);
        for (size_t t = 0; t < a->n_teachers && !status; t++)
            status = cli_apart(s->run.ctx, "--out's", path, a->teachers[t]);
    }
    return status;
}

/* The session's own, or the one that it is told to use. */
static int open_data(cli_session *s)
{
    const cli_args *a = s->args;
    if (s->data && s->data != s) {
        s->run.data = s->data->run.data;
        return CLI_DONE;
    }
    const int status = cli_open_data(a, s->run.ctx, &s->run.data);
    if (!status && !a->dry_run && !s->name) cli_header_data(a, s->run.data);
    return status;
}

static int share_teachers(cli_session *s)
{
    const cli_session *from = s->taught;
    if (!from || from == s) return open_teachers(s);
    memcpy(s->teachers, from->teachers, sizeof s->teachers);
    memcpy(s->weights, from->weights, sizeof s->weights);
    s->args->distill.teachers = s->args->n_teachers ? from->teachers : NULL;
    s->args->distill.n_teachers = s->args->n_teachers;
    s->args->distill.teacher_weights = s->args->n_teacher_weights ? s->weights : NULL;
    return CLI_DONE;
}

/* Where there is no memory to count them there is none to train either: the run says what it needs. */
static int count_macs(cli_session *s)
{
    kd_ctx *ctx = s->run.ctx;
    const kd_status status = kd_spec_count(ctx, kd_model_spec(s->run.model), NULL, &s->run.macs);
    return status && status != KD_E_LIMIT ? cli_fail_ctx(ctx) : CLI_DONE;
}

int cli_session_open(cli_session *s)
{
    const cli_args *a = s->run.args;
    int status = CLI_DONE;
    if (s->context && s->context != s)
        s->run.ctx = s->context->run.ctx;
    else
        status = cli_open_ctx(a, &s->run.ctx);
    if (!status) status = cli_check(a, s->run.ctx, cli_taught(a));
    if (!status) status = check_apart(s);
    if (!status) status = cli_outside_data(a, "--out", a->train.out);
    if (!status) status = cli_outside_data(a, "--cache", a->distill.cache);
    if (!status) status = open_data(s);
    if (!status) status = go_on();
    const bool unlabelled = !status && kd_dataset_info(s->run.data)->unlabelled;
    if (unlabelled) status = share_teachers(s); /* the student's classes are theirs */
    if (!status) status = open_student(s);
    if (!status) status = cli_defaults(s->args, s->run.ctx, s->run.model, cli_taught(a));
    if (!status) status = cli_normalize(a, "normalize", a->normalize, s->run.model);
    if (!status && !unlabelled) status = share_teachers(s);
    if (!status) status = count_macs(s);
    if (!status) status = go_on();
    s->run.teachers = s->teachers;
    if (!status && a->expected) status = identify(s);
    if (!status && a->expected) status = cli_rerun_agrees(&s->run);
    return status;
}

void cli_session_close(cli_session *s)
{
    cli_leave_when_killed(NULL);
    kd_json_destroy(s->run.killed);
    for (size_t i = 0; i < KD_MAX_TEACHERS && (!s->taught || s->taught == s); i++)
        kd_model_destroy(s->teachers[i]);
    kd_model_destroy(s->run.model);
    if (!s->data || s->data == s) cli_close_data(s->run.data);
    if (!s->context || s->context == s) kd_ctx_destroy(s->run.ctx);
}

/* ---- after ----------------------------------------------------------------------------------- */

/* kd rerun --check */
static bool compared(const cli_run *run)
{
    return run->args->expected && run->args->expected->check;
}

static bool same_bits(const cli_run *run)
{
    const char *was = run->args->expected->network_hash;
    return was && !strcmp(was, cli_hash_text(run->result_hash).text);
}

static int print_json(cli_session *s)
{
    kd_json *json;
    const cli_run *run = &s->run;
    if (kd_json_create(run->ctx, 0, &json)) return cli_fail_ctx(run->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "command", run->args->command->name);
    kd_json_string(json, "spec", kd_model_spec(run->model));
    kd_json_string(json, "data", run->args->data);
    kd_json_integer(json, "seed", (int64_t)run->args->train.seed);
    kd_json_integer(json, "params", (int64_t)kd_params_count(kd_model_params(run->model)));
    kd_json_integer(json, "macs", (int64_t)run->macs);
    cli_json_result(json, &s->result);
    kd_json_string(json, "network_hash", cli_hash_text(run->result_hash).text);
    if (compared(run)) kd_json_bool(json, "same_bits", same_bits(run));
    kd_json_integer(json, "threads", kd_ctx_threads(run->ctx));
    kd_json_string(json, "isa", kd_ctx_isa(run->ctx));
    kd_json_string(json, "out", run->args->train.out);
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

static int print_table(cli_session *s)
{
    const kd_result *r = &s->result;
    const size_t params = kd_params_count(kd_model_params(s->run.model));
    printf("network     %s\n", kd_model_spec(s->run.model));
    printf("            %zu parameters, %llu MACs of one picture\n", params,
           (unsigned long long)s->run.macs);
    if (!isnan(r->top1)) printf("test        top-1 %.2f %%", r->top1);
    if (!isnan(r->top1) && !isnan(r->top5)) printf("  top-5 %.2f %%", r->top5);
    if (!isnan(r->top1)) printf("  loss %.4f\n", r->loss);
    if (!isnan(r->dev_top1)) {
        printf("development top-1 %.2f %%  loss %.4f", r->dev_top1, r->dev_loss);
        if (r->best_epoch) printf("  (epoch %zu, the best, is kept)", r->best_epoch);
        putchar('\n');
    }
    printf("training    loss %.4f", r->train_loss);
    if (!isnan(r->train_top1)) printf("  top-1 %.2f %%", r->train_top1);
    puts(" in the last epoch");
    printf("time        %s for %.4g %s, %zu step%s: %.0f images/s\n", cli_duration(r->seconds).text,
           r->epochs, r->epochs == 1 ? "epoch" : "epochs", r->steps, r->steps == 1 ? "" : "s",
           r->images_per_second);
    if (r->skipped) printf("skipped     %zu steps that were not finite\n", r->skipped);
    if (!isnan(r->teacher_top1))
        printf("teacher     top-1 %.2f %% on the training pictures, agreement %.2f %%\n",
               r->teacher_top1, r->agreement);
    print_parts(&r->times, cli_taught(s->args));
    if (compared(&s->run))
        printf("same bits   %s: the network's hash is %s, recorded was %s\n",
               same_bits(&s->run) ? "yes" : "no", cli_hash_text(s->run.result_hash).text,
               s->run.args->expected->network_hash);
    printf("memory      %s at most\n", cli_bytes((double)r->peak_bytes).text);
    if (s->run.args->train.out) {
        char safe[400];
        printf("written     %s/model.safetensors\n",
               cli_escape(s->run.args->train.out, safe, sizeof safe));
    }
    return cli_flush();
}

/* Why a run did not begin, and what would begin it. */
static int refused(cli_session *s)
{
    char text[600];
    snprintf(text, sizeof text, "%s", kd_ctx_error(s->run.ctx));
    return cli_fail("%s (%s--overwrite replaces it)", text,
                    s->args->expected ? "" : "--resume goes on with a run, ");
}

static void mark_files(const char *out, cli_mark marks[2])
{
    static const char *const names[2] = {"checkpoint.safetensors", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", out, names[i]);
        marks[i] = cli_mark_of(path);
    }
}

/* A run holds its folder's lock; ours is over. */
static bool of_another_run(const char *out)
{
    const int fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool locked = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return locked;
}

/* Has the run written into its folder, or removed what was there? One that was refused has not, and
 * the folder's record is that of the run before, or of one that is writing there. */
static bool began(const cli_session *s)
{
    cli_mark now[2];
    if (s->recorded) return true;
    if (of_another_run(s->args->train.out)) return false;
    mark_files(s->args->train.out, now);
    return !cli_same_mark(&now[0], &s->before[0]) || !cli_same_mark(&now[1], &s->before[1]);
}

static int say_interrupted(cli_session *s)
{
    const size_t steps = s->result.steps;
    cli_fail("interrupted after %zu step%s; %s", steps, steps == 1 ? "" : "s",
             s->args->train.out ? "--resume goes on from there" : "without --out nothing was kept");
    return CLI_INTERRUPTED;
}

/* A run that goes on is the run that began: its record keeps what the earlier part of it knew. Of the
 * same network what was measured stays so. True: it was finished, and nothing is new. */
static bool carry_over(cli_session *s)
{
    const cli_earlier *was = &s->earlier;
    kd_result *r = &s->result;
    const bool same =
        s->run.finished && !strcmp(was->network_hash, cli_hash_text(s->run.result_hash).text);
    const bool more = isnan(was->top1) && !isnan(r->top1);
    if (was->peak_bytes > r->peak_bytes) r->peak_bytes = was->peak_bytes;
    if (!s->run.augment[0]) snprintf(s->run.augment, sizeof s->run.augment, "%s", was->augment);
    if (same && isnan(r->top1)) {
        r->top1 = was->top1;
        r->top5 = was->top5;
        r->loss = was->loss;
    }
    return was->done && !s->recorded && !more && (same || !s->run.finished);
}

/* What the library says of a cache's file, and what helps. */
static void advise(cli_session *s, kd_status status)
{
    const char *cache = s->args->distill.cache;
    const size_t used = strlen(s->why);
    if (!cache || status != KD_E_FORMAT || s->args->n_teachers || !strstr(s->why, "/epoch-"))
        return;
    snprintf(s->why + used, sizeof s->why - used,
             " (--teacher computes it anew; 'kd cache prune' removes damaged epochs)");
}

static int say_why(const cli_session *s)
{
    char typed[600];
    cli_as_typed(s->why, typed, sizeof typed);
    if (s->name) return cli_fail("%s: %s", s->name, typed);
    return cli_fail("%s", *typed ? typed : "failed, and the library does not say why");
}

int cli_session_finish(cli_session *s, kd_status status)
{
    int code = CLI_DONE;
    cli_run *run = &s->run;
    if (!s->name) cli_progress_end(&s->progress);
    if (!s->name) cli_answer_signals(NULL);
    if (s->record_failed) return s->record_failed; /* that was told already */
    if (status == KD_E_EXISTS) return refused(s);
    if (!status && kd_model_hash(run->model, &run->result_hash)) return cli_fail_ctx(run->ctx);
    run->finished = status == KD_OK;
    run->status = "done";
    if (status == KD_E_STOPPED && s->stops && !cli_interrupted()) {
        run->status = "interrupted";
    } else if (status == KD_E_STOPPED && cli_interrupted()) {
        run->status = "interrupted";
        code = s->name ? CLI_INTERRUPTED : say_interrupted(s);
    } else if (status) {
        if (!s->why[0]) snprintf(s->why, sizeof s->why, "%s", kd_ctx_error(run->ctx));
        advise(s, status);
        run->status = "failed";
        run->error = s->why;
        code = say_why(s);
    }
    if (run->finished || s->result.steps) run->result = &s->result;
    const bool whole = carry_over(s);
    if (s->args->train.out && !whole && (run->finished || began(s)))
        s->record_failed = cli_write_run(run);
    cli_leave_when_killed(NULL);
    return code;
}

kd_status cli_call(const cli_run *run, const kd_train_opt *train, kd_result *result)
{
    kd_distill_opt distill = run->args->distill;
    distill.train = train;
    return cli_taught(run->args) ? kd_distill(run->model, run->data, &distill, result)
                                 : kd_train(run->model, run->data, train, result);
}

static void answer(const cli_session *s, const char *now)
{
    char text[200];
    const bool kept = s->args->train.out != NULL;
    if (s->args->quiet && !isatty(STDERR_FILENO)) return;
    snprintf(text, sizeof text, "%s, then %s\n", now,
             kept ? "a checkpoint; Ctrl-C again, a second later, loses it"
                  : "the end: without --out nothing is kept");
    cli_answer_signals(text);
}

/* A run that is refused (--resume with other options) must not take the place of the record of the
 * one before. */
int cli_session_record(cli_session *s, const kd_progress *progress)
{
    if (progress->augment) snprintf(s->run.augment, sizeof s->run.augment, "%s", progress->augment);
    if (!s->args->train.out || s->recorded || progress->evaluating) return CLI_DONE;
    s->record_failed = cli_write_run(&s->run);
    if (!s->record_failed && !s->name) s->record_failed = cli_prepare_killed(&s->run, NULL);
    s->recorded = !s->record_failed;
    return s->record_failed;
}

static int watch(void *user, const kd_progress *progress)
{
    cli_session *s = user;
    answer(s, progress->evaluating ? "ending the evaluation" : "finishing this step");
    if (cli_session_record(s, progress)) return 1;
    return cli_progress_step(&s->progress, progress);
}

int cli_session_begin(cli_session *s)
{
    const cli_args *a = s->args;
    s->run.status = "running";
    record_time(s->run.started);
    if (!s->name) cli_header(&s->run);
    int code = go_on();
    if (!code && a->train.out && !a->expected) code = identify(s);
    if (!code) code = go_on();
    s->earlier = (cli_earlier){.top1 = (double)NAN};
    if (code || !a->train.out) return code;
    if (a->train.resume) {
        cli_read_earlier(s->run.ctx, a->train.out, &s->earlier);
        if (s->earlier.started[0])
            snprintf(s->run.started, sizeof s->run.started, "%s", s->earlier.started);
    }
    mark_files(a->train.out, s->before);
    return s->name ? CLI_DONE : cli_prepare_killed(&s->run, &s->before[0]);
}

static int train(cli_session *s)
{
    const cli_args *a = s->args;
    int code = cli_session_begin(s);
    if (code) return code;
    if (!a->train.out && !a->quiet) fprintf(stderr, "kd: without --out the network is not kept\n");
    answer(s, "finishing this step");
    cli_progress_start(&s->progress, s->run.ctx, a, true);
    s->args->train.progress = watch;
    s->args->train.user = s;
    code = cli_session_finish(s, cli_call(&s->run, &a->train, &s->result));
    if (code || !s->run.finished) return code;
    /* a record that could not be written takes nothing from what is printed */
    code = a->json ? print_json(s) : print_table(s);
    if (s->record_failed) return s->record_failed;
    return code || !compared(&s->run) || same_bits(&s->run)
               ? code
               : cli_fail("the bits are not those of %s", a->expected->file);
}

int cmd_train(cli_args *args)
{
    cli_session s = {.args = args, .run = {.args = args}, .result.struct_size = sizeof s.result};
    int status = cli_session_check(args);
    if (status) return status;
    cli_catch_signals();
    if (!args->quiet || isatty(STDERR_FILENO))
        cli_answer_signals("this ends before the first step\n");
    status = cli_session_open(&s);
    if (!status) status = args->dry_run ? cli_dry_run(&s.run) : train(&s);
    cli_session_close(&s);
    return status;
}
