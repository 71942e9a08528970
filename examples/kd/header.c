/* SPDX-License-Identifier: MIT
 * header.c: what a run consists of, on standard error before its first step: data,
 * networks, loss, optimiser, steps, memory, about how much time. So a wrong split, teacher or rate
 * is seen in time. What the data set's reader noticed was logged when the set was opened. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct outline {
    const cli_run *run;
    const kd_data_info *info;
    size_t samples, batches; /* of an epoch; 0: not known */
    char augment[256];
    size_t pieces; /* pictures that go forward and backward at a time; 0: not known */
    size_t arena;  /* bytes, of the student's training step; 0: not known */
} outline;

/* ---- what is found out ----------------------------------------------------------------------- */

static void look_at_epoch(outline *o)
{
    const kd_train_opt *t = &o->run->args->train;
    const kd_view view = kd_model_view(o->run->model, o->info);
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .dev_count = t->dev_count,
                               .batch = t->batch,
                               .drop_last = t->drop_last,
                               .augment = t->augment,
                               .depth = KD_LOADER_SYNC,
                               .n_views = 1,
                               .views = &view};
    kd_loader *loader;
    if (kd_loader_create(o->run->data, &opt, &loader)) return; /* the run will say why */
    o->samples = kd_loader_samples(loader);
    o->batches = kd_loader_batches(loader);
    snprintf(o->augment, sizeof o->augment, "%s", kd_loader_augment(loader));
    kd_loader_close(loader);
}

static void look_at_plan(outline *o)
{
    kd_distill_opt opt = o->run->args->distill;
    kd_plan *plan;
    opt.train = &o->run->args->train;
    cli_without_feature(&opt);
    if (kd_train_plan(o->run->model, &opt, &plan)) return;
    o->arena = kd_plan_arena_size(plan);
    o->pieces = kd_plan_batch(plan);
    kd_plan_destroy(plan);
}

/* Bytes of a network's forward pass of n pictures, weights prepared for it included. */
static size_t forward_arena(const kd_model *model, size_t n)
{
    const int64_t dims[] = {KD_BATCH, (int64_t)kd_model_height(model),
                            (int64_t)kd_model_width(model), (int64_t)kd_model_channels(model)};
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = n, .frozen = 1};
    kd_graph *graph;
    kd_plan *plan = NULL;
    if (kd_graph_create(kd_model_ctx(model), &graph)) return 0;
    const kd_value x = kd_input(graph, "input", KD_F32, 4, dims);
    kd_output(graph, kd_model_build(model, graph, x, NULL), "logits");
    const bool fine = kd_plan_create(graph, &opt, &plan) == KD_OK;
    const size_t arena = fine ? kd_plan_arena_size(plan) : 0;
    kd_plan_destroy(plan);
    kd_graph_destroy(graph);
    return arena;
}

/* Seconds of a forward pass of one picture, measured on n that are grey; NAN: no memory for it.
 * The first run of a plan prepares weights. */
static double forward_seconds(kd_model *model, size_t n)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const size_t pixels = kd_model_height(model) * kd_model_width(model);
    float *pictures = kd_ctx_alloc(ctx, n * pixels * kd_model_channels(model), sizeof(float));
    kd_plan *plan = NULL;
    kd_exec *exec = NULL;
    double seconds = (double)NAN;
    bool fine = pictures && !kd_model_plan(model, n, &plan, &exec);
    if (fine) fine = !kd_exec_bind(exec, "input", pictures) && !kd_exec_run(exec, NULL);
    const double before = kd_seconds();
    if (fine && !kd_exec_run(exec, NULL)) seconds = (kd_seconds() - before) / (double)n;
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_ctx_free(ctx, pictures);
    return seconds;
}

/* Pictures for that measurement: enough to keep the threads busy, and soon done. */
static size_t timed_pictures(const outline *o, uint64_t macs)
{
    enum { MOST = 32 };
    const double fit = 2e9 / ((double)macs + 1);
    size_t n = fit > MOST ? MOST : fit < 1 ? 1 : (size_t)fit;
    if (n > o->pieces) n = o->pieces;
    return n ? n : 1;
}

/* ---- what is said ---------------------------------------------------------------------------- */

static void line(const char *name)
{
    fprintf(stderr, "%-11s ", name);
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

void cli_header_data(const cli_args *args, kd_dataset *data)
{
    const kd_data_info *info = kd_dataset_info(data);
    char name[400], classes[40] = "no labels";
    if (args->quiet) return;
    line("data");
    if (!info->unlabelled) snprintf(classes, sizeof classes, "%zu classes", info->classes);
    fprintf(stderr, "%s: %zu training and %zu test pictures, %s, %zux%zux%zu%s\n",
            cli_escape(info->name, name, sizeof name), info->count[KD_SPLIT_TRAIN],
            info->count[KD_SPLIT_TEST], classes, info->height, info->width, info->channels,
            info->count[KD_SPLIT_TEST] ? "" : "; nothing is tested");
}

static void say_epoch(const outline *o)
{
    const kd_train_opt *t = &o->run->args->train;
    const size_t all = o->info->count[KD_SPLIT_TRAIN], n = o->samples % t->batch;
    if (t->dev_count) {
        line("development");
        fprintf(stderr, "%zu of the training pictures are set aside for development\n",
                t->dev_count);
    }
    if (!o->samples) return;
    const size_t left = t->dev_count < all ? all - t->dev_count : 0;
    if (t->drop_last && left % t->batch && o->samples < left && left - o->samples < t->batch) {
        line("epoch");
        fprintf(stderr, "an epoch leaves out %zu picture%s: its last batch would be short\n",
                left - o->samples, plural(left - o->samples));
    } else if (n && o->samples > t->batch) {
        line("epoch");
        fprintf(stderr, "the last batch of an epoch has %zu picture%s\n", n, plural(n));
    }
}

static void say_network(const char *role, kd_model *model, const char *file)
{
    uint64_t macs = 0;
    char name[700];
    kd_spec_count(kd_model_ctx(model), kd_model_spec(model), NULL, &macs);
    line(role);
    fprintf(stderr, "%s: %s parameters, %s MACs a picture%s%s\n", kd_model_spec(model),
            cli_amount((double)kd_params_count(kd_model_params(model))).text,
            cli_amount((double)macs).text, file ? "; " : "",
            file ? cli_escape(file, name, sizeof name) : "");
}

static void say_guess(const kd_model *model)
{
    if (kd_model_mean(model)) return;
    line("");
    fprintf(stderr, "its normalisation is a guess: the file says none, so the data's is taken\n");
}

static void say_origin(const outline *o, const kd_model *model)
{
    uint64_t was = 0, is = 0;
    char name[400];
    const char *data = kd_model_data(model, &was);
    if (!data || kd_dataset_checksum(o->run->data, &is) || was == is) return;
    line("");
    fprintf(stderr, "it was trained on other data: %s, checksum %016llx; here it is %016llx\n",
            cli_escape(data, name, sizeof name), (unsigned long long)was, (unsigned long long)is);
}

static void say_classes(const outline *o, const kd_model *model)
{
    kd_ctx *ctx = o->run->ctx;
    const char *const *names = kd_model_class_names(model);
    const size_t n = kd_model_classes(model), m = o->info->classes;
    kd_class_match match = KD_CLASSES_SAME;
    int32_t *map = kd_ctx_alloc(ctx, m, sizeof *map);
    if (!map) return;
    if (kd_classes_match(ctx, names, n, o->info->class_names, m, map, &match)) {
        char text[600];
        line("");
        fprintf(stderr, "its classes are other ones: %s\n",
                cli_escape(kd_ctx_error(ctx), text, sizeof text));
    } else if (match != KD_CLASSES_SAME) {
        line("");
        fprintf(stderr, "%s\n",
                match == KD_CLASSES_UNNAMED
                    ? "its classes have no names to compare: they are taken in order"
                : match == KD_CLASSES_REORDERED
                    ? "its classes have the data's names in another order"
                    : "it has more classes than the data");
    }
    kd_ctx_free(ctx, map);
}

static void say_networks(const outline *o)
{
    const cli_args *a = o->run->args;
    const bool file = a->train.fine_tune != 0;
    say_network("student", o->run->model, file ? a->words[0] : NULL);
    if (file) say_guess(o->run->model);
    for (size_t i = 0; i < a->n_teachers; i++) {
        const kd_model *teacher = o->run->teachers[i];
        say_network("teacher", o->run->teachers[i], a->teachers[i]);
        say_guess(teacher);
        say_origin(o, teacher);
        say_classes(o, teacher);
    }
    if (!a->distill.cache) return;
    char safe[300];
    line("cache");
    fprintf(stderr, "%s\n", cli_escape(a->distill.cache, safe, sizeof safe));
}

/* KD_OFF is zero. */
static double value(double x)
{
    return x > 0 ? x : 0;
}

void cli_without_feature(kd_distill_opt *opt)
{
    if (opt->feature == KD_FEATURE_NONE) return;
    opt->feature = KD_FEATURE_NONE;
    opt->feature_weight = 0;
    opt->student_tap = opt->teacher_tap = NULL;
    if (opt->hard <= 0) opt->hard = 1;
}

static void say_loss(const cli_run *run)
{
    const cli_args *a = run->args;
    const kd_distill_opt *d = &a->distill;
    const double hard = value((double)d->hard), soft = value((double)d->soft);
    const double t = (double)d->temperature;
    line("loss");
    if (!cli_taught(a)) {
        fprintf(stderr, "CE");
    } else if (d->feature && soft <= 0) {
        fprintf(stderr, "%.4g CE", hard);
    } else if (d->method == KD_METHOD_HARD) {
        fprintf(stderr, "%.4g CE + %.4g CE with the teacher's class", hard, soft);
    } else if (d->method == KD_METHOD_DKD) {
        fprintf(stderr, "%.4g CE + %.4g T^2 (%.4g TCKD + %.4g NCKD), T %.4g", hard, soft,
                value((double)d->alpha), value((double)d->beta), t);
        if (d->dkd_warmup > 0)
            fprintf(stderr, ", the second part rising for %.4g epochs", (double)d->dkd_warmup);
    } else {
        fprintf(stderr, "%.4g CE + %.4g T^2 KL%s, T %.4g", hard, soft,
                d->method == KD_METHOD_STANDARDIZED ? " of standardised logits" : "", t);
    }
    if (cli_taught(a) && d->feature)
        fprintf(stderr, " + %.4g %s", (double)d->feature_weight, kd_feature_name(d->feature));
    if (a->train.label_smoothing > 0)
        fprintf(stderr, "; labels smoothed by %.4g", (double)a->train.label_smoothing);
    if (a->n_teachers > 1) fprintf(stderr, "; the mean of %zu teachers", a->n_teachers);
    if (cli_taught(a) && strstr(kd_model_spec(run->model), "_distilled_"))
        fprintf(stderr, "; CE by the class token's head, the rest by the distillation token's");
    fputc('\n', stderr);
}

static void say_optimizer(const kd_train_opt *t)
{
    char safe[400];
    line("optimiser");
    fprintf(stderr, "%s, %s rate%s %.4g", kd_optimizer_name(t->optimizer),
            kd_schedule_name(t->schedule), t->schedule == KD_SCHEDULE_CONSTANT ? "" : " up to",
            (double)t->lr);
    if (t->min_lr > 0) fprintf(stderr, ", at the end %.4g", (double)t->min_lr);
    if (t->warmup > 0) fprintf(stderr, ", rising for %.4g epochs", (double)t->warmup);
    if (t->optimizer == KD_OPTIMIZER_SGD)
        fprintf(stderr, ", %smomentum %.4g", t->nesterov > 0 ? "Nesterov " : "",
                value((double)t->momentum));
    else
        fprintf(stderr, ", betas %.4g %.4g", value(t->beta1), value(t->beta2));
    fprintf(stderr, ", weight decay %.4g", value((double)t->weight_decay));
    if (t->layer_decay > 0 && t->layer_decay < 1)
        fprintf(stderr, ", layer decay %.4g", (double)t->layer_decay);
    if (t->head_lr > 0) fprintf(stderr, ", the head's rate %.4g", (double)t->head_lr);
    if (t->group_lr)
        fprintf(stderr, ", rates by name %s", cli_escape(t->group_lr, safe, sizeof safe));
    if (t->freeze) fprintf(stderr, ", frozen %s", cli_escape(t->freeze, safe, sizeof safe));
    if (t->clip > 0) fprintf(stderr, ", clipped at %.4g", (double)t->clip);
    if (t->ema > 0) fprintf(stderr, ", averaged by %.4g", (double)t->ema);
    fputc('\n', stderr);
}

/* Optimiser steps in an epoch; 0: not known. */
static size_t epoch_steps(const outline *o)
{
    const size_t k = o->run->args->train.accumulate;
    return o->batches / k + (o->batches % k != 0);
}

/* In the whole run; 0: not known. */
static double all_steps(const outline *o)
{
    const kd_train_opt *t = &o->run->args->train;
    double steps = t->budget_seconds > 0 ? 0 : (double)epoch_steps(o) * (double)t->epochs;
    if (t->max_steps && (double)t->max_steps < steps) steps = (double)t->max_steps;
    return steps;
}

static void say_steps(const outline *o)
{
    const kd_train_opt *t = &o->run->args->train;
    line("batch");
    fprintf(stderr, "%zu picture%s", t->batch, plural(t->batch));
    if (o->pieces && o->pieces < t->batch) fprintf(stderr, ", %zu at a time", o->pieces);
    if (t->accumulate > 1) fprintf(stderr, ", %zu batches make a step", t->accumulate);
    if (o->batches)
        fprintf(stderr, "; %zu step%s an epoch", epoch_steps(o), plural(epoch_steps(o)));
    if (all_steps(o) > 0) fprintf(stderr, ", %.0f in all", all_steps(o));
    fputc('\n', stderr);
    if (!o->augment[0]) return;
    char safe[300];
    line("augment");
    fprintf(stderr, "%s\n", cli_escape(o->augment, safe, sizeof safe));
}

/* Memory of the run: what is held now (data and networks), and what the run adds: gradients, arrays
 * of the optimiser, the average, batches prepared ahead, arenas. */
static void say_memory(const outline *o)
{
    const cli_args *a = o->run->args;
    const kd_train_opt *t = &a->train;
    const double flat = 4 * (double)kd_params_flat_count(kd_model_params(o->run->model));
    const double states = t->optimizer == KD_OPTIMIZER_ADAMW ? 2 : t->momentum > 0 ? 1 : 0;
    double bytes = (double)kd_ctx_memory(o->run->ctx) + (double)o->arena;
    bytes += flat * (1 + states + (t->ema > 0) + (t->keep == KD_KEEP_BEST));
    for (size_t i = 0; i <= a->n_teachers; i++) {
        const kd_model *m = i ? o->run->teachers[i - 1] : o->run->model;
        if (i) bytes += (double)forward_arena(m, o->pieces);
        const double pixels = (double)(kd_model_height(m) * kd_model_width(m));
        bytes +=
            4 * pixels * (double)kd_model_channels(m) * (double)t->batch * (KD_LOADER_DEPTH + 1);
    }
    if (!o->arena) return; /* the run will say why */
    line("memory");
    fprintf(stderr, "about %s, %s of it for the values of a step\n", cli_bytes(bytes).text,
            cli_bytes((double)o->arena).text);
}

static void say_time(const outline *o)
{
    const cli_args *a = o->run->args;
    const kd_train_opt *t = &a->train;
    if (t->budget_seconds > 0) {
        line("time");
        fprintf(stderr, "%s (--budget-seconds)%s\n", cli_duration(t->budget_seconds).text,
                t->no_test || !o->info->count[KD_SPLIT_TEST] ? "" : "; the test comes on top");
        return;
    }
    if (!(all_steps(o) > 0) || !o->arena) return;
    const size_t n = timed_pictures(o, o->run->macs);
    double picture = 3 * forward_seconds(o->run->model, n);
    for (size_t i = 0; i < a->n_teachers; i++) {
        uint64_t macs = 0;
        kd_spec_count(o->run->ctx, kd_model_spec(o->run->teachers[i]), NULL, &macs);
        picture += forward_seconds(o->run->teachers[i], timed_pictures(o, macs));
    }
    if (isnan(picture)) return;
    const double share = all_steps(o) / ((double)epoch_steps(o) * (double)t->epochs);
    const double pictures = (double)o->samples * (double)t->epochs * share;
    line("time");
    const bool tests = t->dev_count || (!t->no_test && o->info->count[KD_SPLIT_TEST]);
    fprintf(stderr, "about %s%s, by one forward pass of %zu picture%s%s%s\n",
            cli_duration(picture * pictures).text, t->resume ? " for the whole run" : "", n,
            plural(n), a->n_teachers ? " and the teachers'" : "",
            tests ? "; tests come on top" : "");
}

void cli_header(const cli_run *run)
{
    outline o = {.run = run, .info = kd_dataset_info(run->data)};
    if (run->args->quiet) return;
    look_at_epoch(&o);
    look_at_plan(&o);
    say_epoch(&o);
    say_networks(&o);
    say_loss(run);
    say_optimizer(&run->args->train);
    say_steps(&o);
    say_memory(&o);
    fflush(stderr);
    say_time(&o);
}
