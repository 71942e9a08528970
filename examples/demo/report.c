/* SPDX-License-Identifier: MIT
 * report.c: the table on standard output, and results.json with the same numbers and more. */
#include "demo.h"

#include "../common/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double demo_interval(double percent, size_t n)
{
    const double p = percent / 100;
    return n ? 196 * sqrt(p * (1 - p) / (double)n) : 0;
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

static void compare(const demo *d, int control)
{
    const demo_run *a = &d->runs[control], *b = &d->runs[DISTILLED];
    const double ia = demo_interval(a->test.top1, a->test.n);
    const double ib = demo_interval(b->test.top1, b->test.n);
    const double difference = b->test.top1 - a->test.top1, most = sqrt(ia * ia + ib * ib);
    printf("  at the same %-8s %+6.2f +- %.2f points: %s\n",
           control == SAME_STEPS ? "steps:" : "seconds:", difference, most,
           fabs(difference) <= most ? "no clear difference"
           : difference > 0         ? "distilling was better"
                                    : "training alone was better");
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
    printf("distilled against alone:\n");
    compare(d, SAME_STEPS);
    compare(d, SAME_SECONDS);
    printf("  (+-: 95 %% interval from the number of test pictures alone; this is one seed, and "
           "other seeds differ, too)\n");
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

static void run_json(kd_json *j, const demo *d, int which)
{
    const demo_run *run = &d->runs[which];
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "name", run->title);
    kd_json_string(j, "folder", run->key);
    kd_json_string(j, "spec", kd_model_spec(run->model));
    kd_json_number(j, "top1", run->test.top1);
    kd_json_number(j, "top1_interval", demo_interval(run->test.top1, run->test.n));
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
    kd_json_object_end(j);
    return record_write(d->ctx, path.text, j) ? demo_fail(d) : true;
}
