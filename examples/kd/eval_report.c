/* SPDX-License-Identifier: MIT
 * eval_report.c: what kd eval prints, as text or JSON. Intervals are at 95 %, and only pictures
 * vary: Wilson's for one network; the paired one for the difference of two on the same pictures,
 * with McNemar's exact test. Several comparisons are corrected by Holm's method. */
#include "eval.h"

#include "../common/statistics.h"

#include <math.h>
#include <stdio.h>

/* ---- figures --------------------------------------------------------------------------------- */

static stats_interval accuracy_interval(const kd_eval_result *r)
{
    const stats_interval share = stats_wilson(round(r->top1 / 100 * (double)r->n), r->n);
    return (stats_interval){100 * share.low, 100 * share.high};
}

static double speed(const kd_eval_result *r)
{
    return r->seconds > 0 ? (double)r->n / r->seconds : 0;
}

/* A network against the first, on the pictures that both were given. */
typedef struct comparison {
    size_t n, gained, lost; /* pictures; right where the first is wrong, and the other way round */
    double difference;      /* points */
    stats_interval interval;
    double p, holm;
} comparison;

static comparison compare(const evaluation *e, const eval_network *network)
{
    comparison c = {.n = 0};
    const eval_answer *first = e->networks[0].answers, *other = network->answers;
    for (size_t id = 0; id < e->count; id++) {
        if (!first[id].there || !other[id].there) continue;
        const bool a = first[id].predicted == first[id].target;
        const bool b = other[id].predicted == other[id].target;
        c.n++;
        c.gained += b && !a;
        c.lost += a && !b;
    }
    const double gained = (double)c.gained, lost = (double)c.lost;
    const stats_interval share = stats_paired(gained - lost, gained + lost, c.n);
    c.difference = 100 * (gained - lost) / (double)c.n;
    c.interval = (stats_interval){100 * share.low, 100 * share.high};
    c.p = stats_mcnemar(c.gained, c.lost);
    return c;
}

/* [n - 1], of all networks but the first; NULL: there is no other, or no memory. */
static comparison *compare_all(const evaluation *e)
{
    if (e->n < 2) return NULL;
    comparison *all = kd_ctx_alloc(e->ctx, e->n - 1, sizeof *all);
    double *p = kd_ctx_alloc(e->ctx, e->n - 1, sizeof *p);
    for (size_t i = 0; all && p && i + 1 < e->n; i++) {
        all[i] = compare(e, &e->networks[i + 1]);
        p[i] = all[i].p;
    }
    if (all && p) {
        stats_holm(p, e->n - 1);
        for (size_t i = 0; i + 1 < e->n; i++) all[i].holm = p[i];
    } else {
        kd_ctx_free(e->ctx, all);
        all = NULL;
    }
    kd_ctx_free(e->ctx, p);
    return all;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void interval_json(kd_json *json, const char *key, stats_interval interval)
{
    kd_json_array_begin(json, key);
    kd_json_number(json, NULL, interval.low);
    kd_json_number(json, NULL, interval.high);
    kd_json_array_end(json);
}

static void bins_json(kd_json *json, const kd_eval_result *r)
{
    kd_json_array_begin(json, "bins");
    for (size_t b = 0; b < KD_EVAL_BINS; b++) {
        kd_json_object_begin(json, NULL);
        kd_json_integer(json, "n", (int64_t)r->bins[b].n);
        kd_json_number(json, "accuracy", r->bins[b].accuracy);
        kd_json_number(json, "confidence", r->bins[b].confidence);
        kd_json_object_end(json);
    }
    kd_json_array_end(json);
}

static void network_json(kd_json *json, const evaluation *e, const eval_network *n)
{
    const kd_eval_result *r = &n->result;
    kd_json_string(json, "file", n->file);
    kd_json_string(json, "spec", n->spec);
    kd_json_integer(json, "n", (int64_t)r->n);
    kd_json_number(json, "top1", r->top1);
    interval_json(json, "top1_interval", accuracy_interval(r));
    kd_json_number(json, "top5", r->top5);
    kd_json_number(json, "loss", r->loss);
    kd_json_number(json, "ece", r->ece);
    if (!isnan(r->top1_cls)) {
        kd_json_number(json, "top1_cls", r->top1_cls);
        kd_json_number(json, "top1_dist", r->top1_dist);
    }
    if (e->teacher) {
        kd_json_number(json, "agreement", r->agreement);
        kd_json_number(json, "kl", r->kl);
    }
    bins_json(json, r);
    kd_json_number(json, "seconds", r->seconds);
    kd_json_number(json, "images_per_second", speed(r));
}

static void comparison_json(kd_json *json, const comparison *c)
{
    kd_json_object_begin(json, "against_first");
    kd_json_integer(json, "n", (int64_t)c->n);
    kd_json_number(json, "difference", c->difference);
    interval_json(json, "interval", c->interval);
    kd_json_integer(json, "gained", (int64_t)c->gained);
    kd_json_integer(json, "lost", (int64_t)c->lost);
    kd_json_number(json, "p", c->p);
    kd_json_number(json, "p_holm", c->holm);
    kd_json_object_end(json);
}

static int as_json(const evaluation *e, const comparison *comparisons)
{
    static const char *const splits[] = {"test", "train", "dev"};
    kd_json *json;
    if (kd_json_create(e->ctx, 0, &json)) return cli_fail_ctx(e->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "data", e->args->data);
    kd_json_string(json, "split", splits[e->args->split]);
    network_json(json, e, &e->networks[0]);
    if (comparisons) {
        kd_json_array_begin(json, "others");
        for (size_t i = 1; i < e->n; i++) {
            kd_json_object_begin(json, NULL);
            network_json(json, e, &e->networks[i]);
            comparison_json(json, &comparisons[i - 1]);
            kd_json_object_end(json);
        }
        kd_json_array_end(json);
    }
    kd_json_object_end(json);
    return cli_print_json(e->ctx, json);
}

/* ---- text ------------------------------------------------------------------------------------ */

static const char *split_name(const evaluation *e)
{
    static const char *const splits[] = {"test", "training", "development"};
    return splits[e->args->split];
}

static int as_text(const evaluation *e)
{
    const eval_network *n = &e->networks[0];
    const kd_eval_result *r = &n->result;
    const stats_interval i = accuracy_interval(r);
    printf("network     %s\n", n->spec);
    printf("samples     %zu of the %s split\n", r->n, split_name(e));
    printf("top-1       %.2f %%, 95 %% interval %.2f to %.2f (Wilson's, of the pictures)\n",
           r->top1, i.low, i.high);
    if (!isnan(r->top5)) printf("top-5       %.2f %%\n", r->top5);
    printf("loss        %.4f\n", r->loss);
    printf("calibration %.2f %% expected error (ECE, %d bins)\n", r->ece, KD_EVAL_BINS);
    if (!isnan(r->top1_cls))
        printf("heads       top-1 %.2f %% by the class token, %.2f %% by the distillation token\n",
               r->top1_cls, r->top1_dist);
    if (e->teacher)
        printf("agreement   %.2f %% with the teacher's first class\n"
               "KL          %.4f nats, KL(teacher || network) at temperature 1\n",
               r->agreement, r->kl);
    printf("time        %s, %.0f images/s\n", cli_duration(r->seconds).text, speed(r));
    return cli_flush();
}

/* "12.34", or a dash for what was not measured. */
static cli_text figure(const char *format, double x)
{
    cli_text t = {"-"};
    char text[40];
    if (isnan(x)) return t;
    snprintf(text, sizeof text, format, x);
    snprintf(t.text, sizeof t.text, "%.31s", text);
    return t;
}

static void table(const evaluation *e)
{
    printf("%8s %16s %8s %8s %7s %s  file\n", "top-1 %", "95 % interval", "top-5 %", "loss",
           "ECE %", e->teacher ? " agree %       KL" : "");
    for (size_t k = 0; k < e->n; k++) {
        const kd_eval_result *r = &e->networks[k].result;
        const stats_interval i = accuracy_interval(r);
        char shown[300];
        printf("%8.2f %7.2f to %-5.2f %8s %8.4f %7.2f ", r->top1, i.low, i.high,
               figure("%.2f", r->top5).text, r->loss, r->ece);
        if (e->teacher) printf("%8.2f %8.4f", r->agreement, r->kl);
        printf("  %s\n", cli_escape(e->networks[k].file, shown, sizeof shown));
    }
}

static void differences(const evaluation *e, const comparison *c)
{
    char shown[300];
    printf("\nagainst %s, on the same pictures:\n",
           cli_escape(e->networks[0].file, shown, sizeof shown));
    printf("%8s %17s %7s %6s %9s %9s  file\n", "points", "95 % interval", "gained", "lost", "p",
           e->n > 2 ? "Holm's p" : "");
    for (size_t i = 1; i < e->n; i++, c++) {
        printf("%+8.2f %+8.2f to %+-6.2f %7zu %6zu %9s %9s  %s\n", c->difference, c->interval.low,
               c->interval.high, c->gained, c->lost, stats_print_p(c->p).text,
               e->n > 2 ? stats_print_p(c->holm).text : "",
               cli_escape(e->networks[i].file, shown, sizeof shown));
    }
    printf("(intervals: Wilson's for one network, paired for a difference; p: McNemar's exact "
           "test%s;\n all of the pictures alone: other seeds differ, too)\n",
           e->n > 2 ? ", Holm's for all of them" : "");
}

static int as_tables(const evaluation *e, const comparison *comparisons)
{
    printf("%zu of the %s split of %s\n\n", e->networks[0].result.n, split_name(e), e->args->data);
    table(e);
    differences(e, comparisons);
    return cli_flush();
}

int eval_report(evaluation *e)
{
    comparison *comparisons = compare_all(e);
    if (e->n > 1 && !comparisons) return cli_fail_ctx(e->ctx);
    const int code = e->args->json ? as_json(e, comparisons)
                     : e->n > 1    ? as_tables(e, comparisons)
                                   : as_text(e);
    kd_ctx_free(e->ctx, comparisons);
    return code;
}
