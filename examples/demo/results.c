/* SPDX-License-Identifier: MIT
 * results.c: the table on standard output, and results.json with the same numbers and more. */
#include "demo.h"

#include "../common/run_record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

stats_interval demo_interval(const demo_run *run)
{
    const double right = round(run->test.top1 / 100 * (double)run->test.n);
    const stats_interval share = stats_wilson(right, run->test.n);
    return (stats_interval){100 * share.low, 100 * share.high};
}

/* The distilled student against one that was trained alone, on the same test pictures. */
typedef struct comparison {
    size_t gained, lost; /* pictures that the distilled one alone has right, and the other alone */
    double difference;   /* points */
    stats_interval interval;
    double p; /* McNemar's, and Holm's for both comparisons */
} comparison;

enum { COMPARISONS = 2 };
static const int controls[COMPARISONS] = {SAME_STEPS, SAME_SECONDS};

static comparison compare(const demo *d, int control)
{
    comparison c = {.gained = 0};
    const demo_run *a = &d->runs[control], *b = &d->runs[DISTILLED];
    const size_t n = kd_dataset_info(d->data)->count[KD_SPLIT_TEST];
    for (size_t i = 0; i < n; i++) {
        c.gained += b->right[i] && !a->right[i];
        c.lost += a->right[i] && !b->right[i];
    }
    const double gained = (double)c.gained, lost = (double)c.lost;
    const stats_interval share = stats_paired(gained - lost, gained + lost, n);
    c.difference = 100 * (gained - lost) / (double)n;
    c.interval = (stats_interval){100 * share.low, 100 * share.high};
    c.p = stats_mcnemar(c.gained, c.lost);
    return c;
}

static void compare_all(const demo *d, comparison all[COMPARISONS])
{
    double p[COMPARISONS];
    for (int i = 0; i < COMPARISONS; i++) {
        all[i] = compare(d, controls[i]);
        p[i] = all[i].p;
    }
    stats_holm(p, COMPARISONS);
    for (int i = 0; i < COMPARISONS; i++) all[i].p = p[i];
}

static double epochs_of(const demo *d, const demo_run *run)
{
    return (double)run->result.steps * (double)d->batch / (double)demo_samples(d);
}

/* The parts of a run's seconds, and what lies between them. */
static double other_seconds(const kd_result *r)
{
    const kd_times *t = &r->times;
    const double rest =
        r->seconds - t->data - t->teacher - t->forward - t->loss - t->backward - t->optimizer;
    return rest > 0 ? rest : 0;
}

/* ---- the table ------------------------------------------------------------------------------- */

static void row(const demo *d, const demo_run *run)
{
    const double mib = 1024 * 1024;
    printf("%-28s %6.2f %% %9.0f k %9.2f M %8.3f ms %7.2f %8.1f %8zu %6.1f %7.1f s\n", run->title,
           run->test.top1, 1e-3 * (double)run->cost.params, 1e-6 * (double)run->cost.macs,
           run->cost.latency_median, (double)run->cost.infer_bytes / mib,
           (double)run->cost.train_bytes / mib, run->result.steps, epochs_of(d, run),
           run->result.seconds);
}

static void kd_time(const demo *d)
{
    const kd_result *r = &d->runs[DISTILLED].result;
    const kd_times *t = &r->times;
    printf(
        "KD time %.1f s: data %.1f, teacher %.1f, student forward %.1f, loss %.1f, backward %.1f, "
        "optimiser %.1f, rest %.1f\n",
        r->seconds, t->data, t->teacher, t->forward, t->loss, t->backward, t->optimizer,
        other_seconds(r));
}

static void differences(const demo *d)
{
    comparison all[COMPARISONS];
    compare_all(d, all);
    printf("distilled against alone, on the same %zu test pictures:\n", d->runs[DISTILLED].test.n);
    for (int i = 0; i < COMPARISONS; i++) {
        const comparison *c = &all[i];
        printf("  at the same %-8s %+6.2f points, 95 %% interval %+.2f to %+.2f, p %s: %s\n",
               controls[i] == SAME_STEPS ? "steps:" : "seconds:", c->difference, c->interval.low,
               c->interval.high, stats_print_p(c->p).text,
               c->p >= .05         ? "no clear difference"
               : c->difference > 0 ? "the distilled network is the better one"
                                   : "the one trained alone is the better one");
    }
    printf("  (paired intervals and McNemar's exact test, with Holm's correction for two. They are "
           "about these networks:\n   what varies is the pictures; teacher, seed and time are "
           "fixed, and another seed may well differ by more. The\n   rate follows the clock, at "
           "the same steps the count of steps: nearly the same schedule, not quite.)\n");
}

void demo_table(const demo *d)
{
    static const int order[RUNS] = {TEACHER, SAME_STEPS, SAME_SECONDS, DISTILLED};
    printf("\nteacher %s\nstudent %s\n", kd_model_spec(d->runs[TEACHER].model),
           kd_model_spec(d->runs[DISTILLED].model));
    printf("distilled with hard %g, soft %g, temperature %g\n", (double)d->hard, (double)d->soft,
           (double)d->temperature);
    printf("all: SGD with Nesterov's momentum, one cycle to %g, batch %zu, augmentation %s\n\n",
           (double)d->student_lr, d->batch, d->augment);
    printf("%-28s %8s %11s %11s %11s %16s %8s %6s %9s\n", "", "test", "", "MACs of", "latency,",
           "peak memory, MiB", "", "", "time of");
    printf("%-28s %8s %11s %11s %11s %7s %8s %8s %6s %9s\n", "", "accuracy", "parameters",
           "a picture", "batch 1", "infer", "train", "steps", "epochs", "training");
    for (int i = 0; i < RUNS; i++) row(d, &d->runs[order[i]]);
    putchar('\n');
    kd_time(d);
    differences(d);
    printf("agrees with the teacher: distilled %.1f %%, alone %.1f %% and %.1f %% of the test "
           "pictures\n\n",
           d->runs[DISTILLED].test.agreement, d->runs[SAME_STEPS].test.agreement,
           d->runs[SAME_SECONDS].test.agreement);
    printf(
        "accuracy: after the last step. latency: median of single pictures, %d threads. peak "
        "memory: the arena,\nplanned to the byte, for one picture and for a step of %zu (with the "
        "teacher's where there is one)\n",
        kd_ctx_threads(d->ctx), d->batch);
}

/* ---- results.json ---------------------------------------------------------------------------- */

static void times_json(kd_json *j, const kd_result *r)
{
    kd_json_object_begin(j, "seconds_by_part");
    kd_json_number(j, "data", r->times.data);
    kd_json_number(j, "teacher", r->times.teacher);
    kd_json_number(j, "forward", r->times.forward);
    kd_json_number(j, "loss", r->times.loss);
    kd_json_number(j, "backward", r->times.backward);
    kd_json_number(j, "optimizer", r->times.optimizer);
    kd_json_number(j, "rest", other_seconds(r));
    kd_json_object_end(j);
}

static void interval_json(kd_json *j, const char *key, stats_interval interval)
{
    kd_json_array_begin(j, key);
    kd_json_number(j, NULL, interval.low);
    kd_json_number(j, NULL, interval.high);
    kd_json_array_end(j);
}

static void comparisons_json(kd_json *j, const demo *d)
{
    comparison all[COMPARISONS];
    compare_all(d, all);
    kd_json_array_begin(j, "distilled_against");
    for (int i = 0; i < COMPARISONS; i++) {
        kd_json_object_begin(j, NULL);
        kd_json_string(j, "folder", d->runs[controls[i]].key);
        kd_json_number(j, "difference", all[i].difference);
        interval_json(j, "interval", all[i].interval);
        kd_json_integer(j, "gained", (int64_t)all[i].gained);
        kd_json_integer(j, "lost", (int64_t)all[i].lost);
        kd_json_number(j, "p_holm", all[i].p);
        kd_json_object_end(j);
    }
    kd_json_array_end(j);
}

static void run_json(kd_json *j, const demo *d, int which)
{
    const demo_run *run = &d->runs[which];
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "name", run->title);
    kd_json_string(j, "folder", run->key);
    kd_json_string(j, "spec", kd_model_spec(run->model));
    kd_json_number(j, "top1", run->test.top1);
    interval_json(j, "top1_interval", demo_interval(run));
    kd_json_number(j, "top5", run->test.top5);
    kd_json_number(j, "loss", run->test.loss);
    kd_json_integer(j, "test_pictures", (int64_t)run->test.n);
    if (which != TEACHER) {
        kd_json_number(j, "teacher_agreement", run->test.agreement);
        kd_json_number(j, "teacher_kl", run->test.kl);
    }
    kd_json_integer(j, "params", (int64_t)run->cost.params);
    kd_json_integer(j, "macs", (int64_t)run->cost.macs);
    kd_json_number(j, "latency_ms_median", run->cost.latency_median);
    kd_json_number(j, "latency_ms_p95", run->cost.latency_p95);
    kd_json_integer(j, "latency_runs", (int64_t)run->cost.latency_runs);
    kd_json_integer(j, "arena_bytes_inference", (int64_t)run->cost.infer_bytes);
    kd_json_integer(j, "arena_bytes_training", (int64_t)run->cost.train_bytes);
    kd_json_float(j, "lr", which == TEACHER ? d->teacher_lr : d->student_lr);
    kd_json_integer(j, "steps", (int64_t)run->result.steps);
    kd_json_number(j, "epochs", epochs_of(d, run));
    kd_json_number(j, "seconds", run->result.seconds);
    kd_json_number(j, "images_per_second", run->result.images_per_second);
    times_json(j, &run->result);
    kd_json_object_end(j);
}

static void head_json(kd_json *j, const demo *d, double seconds)
{
    const kd_data_info *info = kd_dataset_info(d->data);
    kd_json_string(j, "version", kd_version());
    kd_json_string(j, "build", kd_build_info());
    kd_json_string(j, "cpu", d->cpu);
    kd_json_integer(j, "threads", kd_ctx_threads(d->ctx));
    kd_json_string(j, "isa", kd_ctx_isa(d->ctx));
    kd_json_string(j, "data", info->name);
    kd_json_integer(j, "train_pictures", (int64_t)demo_samples(d));
    kd_json_integer(j, "dev_pictures", (int64_t)d->dev_count);
    kd_json_integer(j, "seed", (int64_t)d->seed);
    kd_json_integer(j, "batch", (int64_t)d->batch);
    kd_json_float(j, "temperature", d->temperature);
    kd_json_float(j, "hard", d->hard);
    kd_json_float(j, "soft", d->soft);
    kd_json_string(j, "augment", d->augment);
    kd_json_string(j, "schedule", kd_schedule_name(KD_SCHEDULE_ONECYCLE));
    kd_json_number(j, "seconds", seconds);
    kd_json_number(j, "seconds_of_training", d->seconds);
}

bool demo_results(const demo *d, double seconds)
{
    const demo_path path = demo_in(d, "results.json", NULL);
    kd_json *j;
    if (kd_json_create(d->ctx, 2, &j)) return demo_fail(d);
    kd_json_object_begin(j, NULL);
    head_json(j, d, seconds);
    kd_json_array_begin(j, "runs");
    for (int i = 0; i < RUNS; i++) run_json(j, d, i);
    kd_json_array_end(j);
    comparisons_json(j, d);
    kd_json_object_end(j);
    return record_write(d->ctx, path.text, j) ? demo_fail(d) : true;
}
