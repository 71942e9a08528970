/* SPDX-License-Identifier: MIT
 * dry_run.c: --dry-run: what a run would take. A few steps are done on the run's data with its
 * teachers. All but the first, which warms up, are timed. Nothing is written. */
#include "cli.h"

#include <stdio.h>

enum { MOST_STEPS = 40 };
static const double LEAST_SECONDS = 2;

typedef struct timing {
    double first, last; /* ends of the first and of the latest step */
    size_t steps;       /* seen */
    size_t planned;     /* of the whole run; 0: not known */
    size_t epochs;
} timing;

static int watch(void *user, const kd_progress *p)
{
    timing *t = user;
    if (p->epoch_end) return 0;
    t->last = kd_seconds();
    if (t->steps++ == 0) t->first = t->last;
    t->planned = p->steps;
    t->epochs = p->epochs;
    return cli_interrupted() || t->steps >= MOST_STEPS ||
           (t->steps > 3 && t->last - t->first > LEAST_SECONDS);
}

typedef struct figures {
    size_t steps, epochs, params, micro_batch, arena, peak;
    double step_seconds, hours;
} figures;

static int as_json(const cli_run *run, const figures *f)
{
    const cli_args *a = run->args;
    kd_json *json;
    if (kd_json_create(run->ctx, 0, &json)) return cli_fail_ctx(run->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "command", a->command->name);
    kd_json_bool(json, "dry_run", 1);
    kd_json_string(json, "spec", kd_model_spec(run->model));
    kd_json_string(json, "data", a->data);
    kd_json_integer(json, "steps", (int64_t)f->steps);
    kd_json_integer(json, "epochs", (int64_t)f->epochs);
    kd_json_integer(json, "params", (int64_t)f->params);
    kd_json_integer(json, "macs", (int64_t)run->macs);
    kd_json_integer(json, "micro_batch", (int64_t)f->micro_batch);
    kd_json_integer(json, "arena_bytes", (int64_t)f->arena);
    kd_json_integer(json, "peak_bytes", (int64_t)f->peak);
    kd_json_number(json, "step_seconds", f->step_seconds);
    kd_json_number(json, "images_per_second",
                   (double)(a->train.batch * a->train.accumulate) / f->step_seconds);
    kd_json_number(json, "hours", f->hours);
    kd_json_object_end(json);
    return cli_print_json(run->ctx, json);
}

static int as_table(const cli_run *run, const figures *f, size_t timed)
{
    const cli_args *a = run->args;
    printf("network     %s\n", kd_model_spec(run->model));
    printf("parameters  %zu (%s)\n", f->params, cli_amount((double)f->params).text);
    printf("MACs        %llu of one picture (%s)\n", (unsigned long long)run->macs,
           cli_amount((double)run->macs).text);
    printf("arena       %zu bytes (%s) of the student's training step, %zu pictures at a time\n",
           f->arena, cli_bytes((double)f->arena).text, f->micro_batch);
    printf("memory      %s in all, data included\n", cli_bytes((double)f->peak).text);
    if (f->epochs)
        printf("steps       %zu in %zu epochs\n", f->steps, f->epochs);
    else
        printf("steps       about %zu\n", f->steps);
    printf("step        %.4g ms, %.0f images/s (mean of %zu steps)\n", 1e3 * f->step_seconds,
           (double)(a->train.batch * a->train.accumulate) / f->step_seconds, timed);
    printf("time        %s (%.4f hours), evaluations not counted\n",
           cli_duration(3600 * f->hours).text, f->hours);
    printf("nothing was written (--dry-run)\n");
    return cli_flush();
}

int cli_dry_run(const cli_run *run)
{
    const cli_args *a = run->args;
    timing t = {0};
    kd_plan *plan;
    figures f = {.params = kd_params_count(kd_model_params(run->model))};
    kd_train_opt train = a->train;
    kd_distill_opt opt = a->distill;
    opt.train = &train;
    train.out = NULL;
    train.resume = train.overwrite = 0;
    train.checkpoint_seconds = 0;
    train.log_steps = 0;
    train.keep = KD_KEEP_LAST;
    train.no_test = 1;
    if (a->n_teachers) opt.cache = NULL; /* it stays as it is */
    if (!opt.cache) train.dev_count = 0;
    kd_distill_opt step = opt;
    cli_without_feature(&step);
    if (kd_train_plan(run->model, &step, &plan)) return cli_fail_ctx(run->ctx);
    f.arena = kd_plan_arena_size(plan);
    f.micro_batch = kd_plan_batch(plan);
    kd_plan_destroy(plan);

    train.progress = watch;
    train.user = &t;
    kd_result unused = {.struct_size = sizeof unused};
    opt.train = &train;
    const kd_status done = cli_taught(a) ? kd_distill(run->model, run->data, &opt, &unused)
                                         : kd_train(run->model, run->data, &train, &unused);
    if (cli_interrupted()) {
        cli_fail("interrupted");
        return CLI_INTERRUPTED;
    }
    if (done && done != KD_E_STOPPED) return cli_fail_ctx(run->ctx);
    if (t.steps < 2) return cli_fail("the run is too short to be timed: %zu step", t.steps);
    f.peak = kd_ctx_memory_peak(run->ctx);
    f.step_seconds = (t.last - t.first) / (double)(t.steps - 1);
    f.epochs = t.epochs;
    f.steps = t.planned;
    if (a->train.budget_seconds > 0) {
        f.steps = (size_t)(a->train.budget_seconds / f.step_seconds);
        f.epochs = 0;
    }
    f.hours =
        (a->train.budget_seconds > 0 ? a->train.budget_seconds : (double)f.steps * f.step_seconds) /
        3600;
    return a->json ? as_json(run, &f) : as_table(run, &f, t.steps - 1);
}
