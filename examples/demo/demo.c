/* SPDX-License-Identifier: MIT
 * demo.c: knowledge distillation in about two minutes: what `make demo` runs.
 *
 * A teacher is trained for a share of the time. Then one student network is trained three times,
 * from the same weights and with the same pictures in the same order:
 *   distilled     by the teacher, for a fixed time;
 *   same steps    alone, for as many steps: has seen the same data, but took less time;
 *   same seconds  alone, for as much time: made more steps, as nobody ran a teacher for it.
 * Both controls are needed: the first says what the teacher's outputs add to the labels, the
 * second what they are worth in time. Every figure that is shown is measured in this run, on the
 * test split, after the last step. */
#include "demo.h"

#include "../common/run_record.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what to tune ---------------------------------------------------------------------------- */

/* Seconds of training in all, and each run's share. The control with the same number of steps has
 * no share: it takes less time than distillation. The networks are small so that the teacher is
 * well trained in its time; a wider one would do too few steps. */
#define SECONDS 92
#define TEACHER_SHARE .42
#define STUDENT_SHARE .22

static const struct setting {
    const char *data, *teacher, *student;
    float teacher_lr, student_lr;
} settings[] = {
    {"cifar-10", "vgg8_bn,width=0.25", "vgg8_bn,width=0.125", .1f, .1f},
    {"fashion-mnist", "vgg8_bn,width=0.25", "vgg8_bn,width=0.0625", .1f, .1f},
    {"synthetic:train=20000,test=4000", "vgg8_bn,width=0.25", "vgg8_bn,width=0.0625", .1f, .1f},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings, BATCH = 128, DEV_COUNT = 2000 };

/* ---- small things ---------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
    (void)number;
    interrupted = 1;
}

bool demo_fail(const demo *d)
{
    fprintf(stderr, "demo: %s\n", interrupted ? "interrupted" : kd_ctx_error(d->ctx));
    return false;
}

demo_path demo_in(const demo *d, const char *name, const char *more)
{
    demo_path p;
    snprintf(p.text, sizeof p.text, "%s/%s%s%s", d->out, name, more ? "/" : "", more ? more : "");
    return p;
}

size_t demo_samples(const demo *d)
{
    return kd_dataset_info(d->data)->count[KD_SPLIT_TRAIN] - d->dev_count;
}

/* ---- progress -------------------------------------------------------------------------------- */

typedef struct progress {
    demo_run *run;
    int number;
    bool terminal;
    double shown, every;
    size_t batches;  /* of this epoch that are in the learning curve, */
    double right;    /* the sum of their accuracies, */
    double fraction; /* and where the run was then */
} progress;

/* A point of the learning curve for every 50th of the run, from steps of one epoch. */
static void note_point(progress *p, const kd_progress *k)
{
    demo_run *run = p->run;
    const double right = k->accuracy * (double)k->batch;
    if (k->batch >= p->batches + 4 && k->fraction >= p->fraction + .02 &&
        run->n_points < MAX_POINTS) {
        run->curve[run->n_points++] =
            (demo_point){k->seconds, (right - p->right) / (double)(k->batch - p->batches)};
        p->fraction = k->fraction;
        p->batches = k->batch;
        p->right = right;
    }
    if (!k->epoch_end) return;
    p->batches = 0;
    p->right = 0;
}

static int show_test(void *user, const kd_progress *k)
{
    const progress *p = user;
    if (p->terminal && !interrupted)
        fprintf(stderr, "\r[%d/%d] %-28s measuring, %zu of %zu batches%s", p->number, RUNS,
                p->run->title, k->batch, k->batches, k->batch == k->batches ? "\r\033[K" : "");
    return interrupted != 0;
}

static int show(void *user, const kd_progress *k)
{
    progress *p = user;
    const double now = kd_seconds();
    if (k->evaluating) return show_test(user, k); /* the pictures set aside, after an epoch */
    note_point(p, k);
    if (!interrupted && now - p->shown >= p->every) {
        p->shown = now;
        const double left = k->fraction > 0 ? k->seconds / k->fraction - k->seconds : 0;
        fprintf(stderr,
                "%s[%d/%d] %-28s %3.0f %%  loss %.3f  accuracy %4.1f %%  %5.0f images/s  %2.0f s "
                "left%s",
                p->terminal ? "\r" : "", p->number, RUNS, p->run->title, 100 * k->fraction, k->loss,
                k->accuracy, k->images_per_second, left, p->terminal ? "\033[K" : "\n");
    }
    return interrupted != 0;
}

static int only_stop(void *user, const kd_progress *k)
{
    (void)user;
    (void)k;
    return interrupted != 0;
}

/* Which test pictures are answered right: networks are compared on the same ones. */
static int note_answer(void *user, const kd_eval_sample *s)
{
    demo_run *run = user;
    run->right[s->id] = s->predicted == s->target;
    return 0;
}

/* ---- the runs -------------------------------------------------------------------------------- */

static kd_status new_model(demo *d, const char *spec, kd_model **model)
{
    char defaults[80], complete[KD_SPEC_SIZE];
    const kd_data_info *info = kd_dataset_info(d->data);
    snprintf(defaults, sizeof defaults, "classes=%zu,image=%zu,channels=%zu", info->classes,
             info->height, info->channels);
    const kd_status status = kd_spec_complete(d->ctx, spec, defaults, complete, sizeof complete);
    return status ? status : kd_model_create(d->ctx, complete, d->seed, model);
}

/* One training run: for so many seconds, or for so many steps. */
static bool run_one(demo *d, int which, int number, double seconds, size_t steps)
{
    demo_run *run = &d->runs[which];
    run->result.struct_size = sizeof run->result;
    run->test.struct_size = sizeof run->test;
    kd_model *teacher = d->runs[TEACHER].model;
    const demo_path out = demo_in(d, run->key, NULL);
    progress p = {.run = run, .number = number, .terminal = isatty(STDERR_FILENO) != 0};
    p.every = p.terminal ? .2 : 5;
    p.shown = kd_seconds();
    const kd_train_opt train = {.struct_size = sizeof train,
                                .batch = d->batch,
                                .lr = which == TEACHER ? d->teacher_lr : d->student_lr,
                                .nesterov = 1,
                                .schedule = KD_SCHEDULE_ONECYCLE,
                                .augment = d->augment,
                                .seed = d->seed,
                                .budget_seconds = seconds,
                                .max_steps = steps,
                                .epochs = seconds > 0 ? 0 : 1000000, /* the steps end it */
                                .dev_count = d->dev_count,
                                .out = out.text,
                                .overwrite = 1, /* the demo's own, of another day */
                                .no_test = 1,
                                .progress = show,
                                .user = &p};
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .temperature = d->temperature,
                                .hard = d->hard,
                                .soft = d->soft,
                                .teacher = teacher,
                                .train = &train};

    kd_status status = new_model(d, which == TEACHER ? d->teacher : d->student, &run->model);
    if (!status && which == DISTILLED) status = kd_distill(run->model, d->data, &opt, &run->result);
    if (!status && which != DISTILLED) status = kd_train(run->model, d->data, &train, &run->result);
    if (p.terminal) fputs("\r\033[K", stderr);
    if (status) return demo_fail(d);
    const kd_eval_opt eval = {.struct_size = sizeof eval,
                              .split = KD_EVAL_TEST,
                              .teacher = which == TEACHER ? NULL : teacher,
                              .progress = show_test,
                              .user = &p,
                              .each = note_answer,
                              .each_user = run};
    run->right = kd_ctx_alloc(d->ctx, kd_dataset_info(d->data)->count[KD_SPLIT_TEST], 1);
    if (!run->right || kd_evaluate(run->model, d->data, &eval, &run->test)) return demo_fail(d);
    fprintf(stderr, "[%d/%d] %-28s %.2f %% of the test pictures right, %zu steps in %.1f s\n",
            number, RUNS, run->title, run->test.top1, run->result.steps, run->result.seconds);
    return demo_measure(d, run, which == DISTILLED ? teacher : NULL);
}

static bool run_all(demo *d)
{
    const double seconds = STUDENT_SHARE * d->seconds;
    if (!run_one(d, TEACHER, 1, TEACHER_SHARE * d->seconds, 0)) return false;
    if (!run_one(d, DISTILLED, 2, seconds, 0)) return false;
    if (!run_one(d, SAME_STEPS, 3, 0, d->runs[DISTILLED].result.steps)) return false;
    return run_one(d, SAME_SECONDS, 4, seconds, 0);
}

/* ---- setting up ------------------------------------------------------------------------------ */

/* The first data set of the list that is there, or the one asked for, which may have options. */
static bool open_data(demo *d, const char *wanted)
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const struct setting *s = &settings[i];
        const char *name = wanted && strchr(wanted, ':') ? wanted : s->data;
        const size_t length = strcspn(s->data, ":");
        if (wanted && (strcspn(wanted, ":") != length || strncmp(wanted, s->data, length)))
            continue;
        d->teacher = s->teacher;
        d->student = s->student;
        d->teacher_lr = s->teacher_lr;
        d->student_lr = s->student_lr;
        const kd_status status = kd_dataset_open(d->ctx, name, NULL, &d->data);
        if (!status) return true;
        if (status != KD_E_NOTFOUND || wanted) return demo_fail(d);
        fprintf(stderr, "no %s here (looked in KD_DATA, else in data/): taking the next\n",
                s->data);
    }
    fprintf(stderr, "demo: there is no data set '%s' here: cifar-10, fashion-mnist, synthetic\n",
            wanted ? wanted : "");
    return false;
}

static int usage(int status)
{
    fprintf(status ? stderr : stdout,
            "demo [options]: a teacher, a student alone and the same student distilled\n"
            "  --seconds S   of training in all [%d]\n"
            "  --data NAME   cifar-10, fashion-mnist or synthetic [the first that is there]\n"
            "  --seed N      of weights, order and augmentation [1]\n"
            "  --out DIR     where the files go [build/demo]\n"
            "  --help        this text\n"
            "KD_DATA names the folder of the data sets [data].\n",
            SECONDS);
    return status;
}

static bool number(const char *text, double low, double high, double *x)
{
    char *end;
    *x = strtod(text, &end);
    return end != text && !*end && *x >= low && *x <= high;
}

/* 0: go on; otherwise the exit status plus one. */
static int read_arguments(demo *d, const char **data, int argc, char **argv)
{
    double x;
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(name, "--help")) return usage(0) + 1;
        if (!value) return usage(2) + 1;
        if (!strcmp(name, "--seconds") && number(value, .1, 1e6, &x))
            d->seconds = x;
        else if (!strcmp(name, "--seed") && number(value, 0, 1e9, &x))
            d->seed = (uint64_t)x;
        else if (!strcmp(name, "--data"))
            *data = value;
        else if (!strcmp(name, "--out"))
            d->out = value;
        else
            return usage(2) + 1;
    }
    return 0;
}

static void say_what(const demo *d)
{
    const kd_data_info *info = kd_dataset_info(d->data);
    printf("libkd %s, %s: %zu training and %zu test pictures of %zux%zux%zu, %zu classes\n",
           kd_version(), info->name, info->count[KD_SPLIT_TRAIN], info->count[KD_SPLIT_TEST],
           info->height, info->width, info->channels, info->classes);
    printf("%s, %d threads, kernels %s; %.0f s of training in all\n", d->cpu,
           kd_ctx_threads(d->ctx), kd_ctx_isa(d->ctx), d->seconds);
    fflush(stdout);
}

/* Test a network of longer training, if the tree has one for these pictures (make demo runs at its
 * root). */
static bool test_shipped(demo *d, const char *path, const char *what)
{
    const kd_eval_opt opt = {
        .struct_size = sizeof opt, .split = KD_EVAL_TEST, .progress = only_stop};
    kd_model *model;
    kd_eval_result r = {.struct_size = sizeof r};
    if (strcmp(kd_dataset_info(d->data)->name, "cifar-10") || access(path, R_OK)) return true;
    if (kd_model_load(d->ctx, path, NULL, &model)) return demo_fail(d);
    const kd_status status = kd_evaluate(model, d->data, &opt, &r);
    kd_model_destroy(model);
    if (status) return demo_fail(d);
    printf("for comparison: %s, %s, gets %.2f %% right\n", path, what, r.top1);
    return true;
}

static bool work(demo *d, const char *data)
{
    const double start = kd_seconds();
    if (!open_data(d, data)) return false;
    if (kd_folder_make(d->ctx, d->out)) return demo_fail(d);
    const size_t count = kd_dataset_info(d->data)->count[KD_SPLIT_TRAIN];
    d->dev_count = count >= 10 * DEV_COUNT ? DEV_COUNT : count / 10;
    say_what(d);
    if (!run_all(d)) return false;
    demo_table(d);
    if (!test_shipped(d, "examples/models/vit-cifar10.safetensors", "trained for 20 epochs") ||
        !test_shipped(d, "examples/models/small-vit-cifar10.safetensors",
                      "distilled from it in 12"))
        return false;
    if (!demo_results(d, kd_seconds() - start) || !demo_picture(d)) return false;
    printf("files: %s/: demo.png, results.json, and a folder a run with its model, checkpoint and "
           "metrics\n",
           d->out);
    printf("took %.0f s\n", kd_seconds() - start);
    return true;
}

int main(int argc, char **argv)
{
    demo d = {
        .out = "build/demo",
        .seconds = SECONDS,
        .batch = BATCH,
        .seed = 1,
        .augment = "flip", /* cropping pays in longer runs */
        .temperature = 4,
        .hard = .1f,
        .soft = .9f,
        .runs = {
            [TEACHER] = {.key = "teacher", .title = "teacher"},
            [SAME_STEPS] = {.key = "alone-same-steps", .title = "student alone, same steps"},
            [SAME_SECONDS] = {.key = "alone-same-seconds", .title = "student alone, same seconds"},
            [DISTILLED] = {.key = "distilled", .title = "student distilled"}}};
    const char *data = NULL;
    const struct sigaction action = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND};
    const int status = read_arguments(&d, &data, argc, argv);
    if (status) return status - 1;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (kd_ctx_create(NULL, &d.ctx)) {
        fprintf(stderr, "demo: no context: out of memory, or KD_ISA names no kernels of this "
                        "processor\n");
        return 1;
    }
    record_cpu(d.cpu);
    if (!d.cpu[0]) snprintf(d.cpu, sizeof d.cpu, "unknown processor");
    const bool done = work(&d, data);
    for (int i = 0; i < RUNS; i++) {
        kd_model_destroy(d.runs[i].model);
        kd_ctx_free(d.ctx, d.runs[i].right);
    }
    kd_dataset_close(d.data);
    kd_ctx_destroy(d.ctx);
    return done ? 0 : interrupted ? 130 : 1;
}
