/* SPDX-License-Identifier: MIT
 * steps.c: whole steps: rate, spread, parts, share of the machine's peak, gain of the threads; and
 * the same steps served to the peers' script. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_RUNS = 20000, TURNS = 16 };
static const double TURN = .2; /* seconds, or one step */

static kd_ctx *make_ctx(int threads)
{
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config, .threads = threads};
    if (kd_ctx_create(&config, &ctx)) exit(1);
    return ctx;
}

/* A work on some threads, and its steps' seconds. */
typedef struct runner {
    kd_ctx *ctx;
    kdb_work *work;
    double x[MOST_RUNS];
    size_t n;
} runner;

static void open_runner(runner *r, const kdb_work_info *info, int threads)
{
    r->ctx = make_ctx(threads);
    r->work = kdb_work_open(r->ctx, info);
    r->n = 0;
    kdb_work_step(r->work);
    kdb_work_step(r->work);
}

static void close_runner(runner *r)
{
    kdb_work_close(r->work);
    kd_ctx_destroy(r->ctx);
}

/* A turn of steps, at least one. */
static void measure(runner *r)
{
    double sum = 0;
    for (int i = 0; r->n < MOST_RUNS && (i < 1 || sum < TURN); i++)
        sum += r->x[r->n++] = kdb_work_step(r->work);
}

/* The two take turns: a machine whose speed drifts treats them alike. What the machine itself gives
 * to all threads at once is measured between: a host may let two virtual processors share one, or
 * take one away for a while. Its gain is the median of the turns'; *peak the best of all threads. */
static double take_turns(runner *all, runner *one, double *peak)
{
    double gains[TURNS];
    *peak = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        const kdb_rates now = kdb_rates_now(all->ctx);
        gains[turn] = now.all / now.one;
        if (now.all > *peak) *peak = now.all;
        measure(all);
        if (one) measure(one);
    }
    return stats_quantile(gains, TURNS, .5);
}

/* Seconds to make a plan, the best of some. */
static double planning(kd_ctx *ctx, const char *spec, bool training)
{
    double best = 1;
    for (int i = 0; i < 9; i++) {
        kd_model *m;
        kd_plan *plan;
        if (kd_model_create(ctx, spec, 1, &m)) kdb_die(ctx, spec);
        kd_graph *g = kdb_graph(ctx, m, training);
        const kd_plan_opt opt = {
            .struct_size = sizeof opt, .batch = 128, .training = training, .frozen = !training};
        const double start = kd_seconds();
        if (kd_plan_create(g, &opt, &plan)) kdb_die(ctx, spec);
        const double t = kd_seconds() - start;
        if (t < best) best = t;
        kd_plan_destroy(plan);
        kd_graph_destroy(g);
        kd_model_destroy(m);
    }
    return best;
}

static void startup(kd_ctx *ctx)
{
    static const char spec[] = "vgg16_bn,classes=10,image=32";
    printf("\nplans of vgg16_bn, batch 128: training %.2f ms, inference %.2f ms\n",
           1e3 * planning(ctx, spec, true), 1e3 * planning(ctx, spec, false));
}

static uint64_t macs_of(kd_ctx *ctx, const kdb_work_info *info)
{
    uint64_t student = 0, teacher = 0;
    if (kd_spec_count(ctx, info->student, NULL, &student) ||
        (info->teacher && kd_spec_count(ctx, info->teacher, NULL, &teacher)))
        kdb_die(ctx, info->name);
    return student * (info->training ? 3 : 1) + teacher;
}

static void print_parts(const kdb_work *w)
{
    static const char *const names[] = {"teacher", "forward", "loss", "backward", "optimizer"};
    double parts[5], sum = 0;
    kdb_work_parts(w, parts);
    for (int i = 0; i < 5; i++) sum += parts[i];
    for (int i = 0; i < 5; i++)
        if (parts[i] > 0) printf("  %s %.1f %%", names[i], 100 * parts[i] / sum);
    printf("\n");
}

static bool is_named(const kdb_work_info *info, char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], info->name)) return true;
    return count == 0;
}

int kdb_steps(int threads, char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (!kdb_work_find(names[i])) {
            fprintf(stderr, "bench: there is no work '%s'\n", names[i]);
            return 2;
        }
    kd_ctx *ctx = make_ctx(threads);
    const kdb_work_info *info;
    static runner all, one;
    startup(ctx);
    printf("\nwhole steps, %d threads, %s; FLOPs of direct convolutions, training counted three "
           "times\n%-18s%9s%9s%9s%12s%10s%10s%12s%9s%10s\n",
           threads, kd_ctx_isa(ctx), "work", "ms", "p10", "p90", "images/s", "GFLOP/s", "of peak",
           "x 1 thread", "p10", "machine");
    for (size_t i = 0; (info = kdb_work_at(i)); i++) {
        if (!is_named(info, names, count)) continue;
        double peak;
        open_runner(&all, info, threads);
        if (threads > 1) open_runner(&one, info, 1);
        const double machine = take_turns(&all, threads > 1 ? &one : NULL, &peak);
        const double median = stats_quantile(all.x, all.n, .5),
                     p10 = stats_quantile(all.x, all.n, .1);
        const double rate = 2.0 * (double)macs_of(ctx, info) * (double)info->batch / median;
        printf("%-18s%9.2f%9.2f%9.2f%12.1f%10.1f%9.0f%%", info->name, median * 1e3, p10 * 1e3,
               stats_quantile(all.x, all.n, .9) * 1e3, (double)info->batch / median, rate * 1e-9,
               100 * rate / peak);
        if (threads > 1)
            printf("%12.2f%9.2f%10.2f", stats_quantile(one.x, one.n, .5) / median,
                   stats_quantile(one.x, one.n, .1) / p10, machine);
        printf("\n");
        print_parts(all.work);
        fflush(stdout);
        close_runner(&all);
        if (threads > 1) close_runner(&one);
    }
    kd_ctx_destroy(ctx);
    return 0;
}

/* "run N": N lines of seconds; "dump DIR"; "memory": peak bytes of this process; end of input. */
int kdb_serve(const char *name, int threads)
{
    char line[1200];
    kd_ctx *ctx = make_ctx(threads);
    const kdb_work_info *info = kdb_work_find(name);
    if (!info) {
        fprintf(stderr, "bench: there is no work '%s'\n", name);
        return 2;
    }
    kdb_work *w = kdb_work_open(ctx, info);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "run ", 4)) {
            for (long n = atol(line + 4); n > 0; n--) printf("%.9f\n", kdb_work_step(w));
        } else if (!strncmp(line, "dump ", 5)) {
            kdb_work_dump(w, line + 5);
        } else if (!strcmp(line, "memory")) {
            struct rusage usage;
            getrusage(RUSAGE_SELF, &usage);
            printf("%ld\n", usage.ru_maxrss * 1024L);
        }
        printf("done\n");
        fflush(stdout);
    }
    kdb_work_close(w);
    kd_ctx_destroy(ctx);
    return 0;
}
