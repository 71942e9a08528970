/* SPDX-License-Identifier: MIT
 * report_costs.c: costs.json read back, and the tables made from it: networks, steps by part, and
 * what makes distilling one pairing faster than another. */
#include "report.h"

#include <math.h>
#include <string.h>

/* The parts between the first and the whole, in the order of a step. */
enum { DATA, TEACHER, FORWARD, LOSS, BACKWARD, OPTIMIZER, STEP };

/* ---- reading --------------------------------------------------------------------------------- */

static report_quantiles quantiles(const kd_json_object *o, const char *key)
{
    report_quantiles q = {(double)NAN, (double)NAN, (double)NAN};
    kd_json_object *inner;
    if (kd_json_get_object(o, key, &inner)) return q;
    kd_json_get_number(inner, "median_ms", &q.median);
    kd_json_get_number(inner, "p10_ms", &q.p10);
    kd_json_get_number(inner, "p90_ms", &q.p90);
    kd_json_object_destroy(inner);
    return q;
}

static void copy(char *to, size_t size, const kd_json_object *o, const char *key)
{
    const char *text = kd_json_get_string(o, key);
    snprintf(to, size, "%s", text ? text : "");
}

static void read_pairing(const kd_json_object *all, const char *name, report_pairing *p)
{
    kd_json_object *o;
    if (kd_json_get_object(all, name, &o)) return;
    for (int i = 0; i < EX_PARTS; i++) p->parts[i] = quantiles(o, ex_parts[i]);
    p->there = !isnan(p->parts[STEP].median);
    kd_json_get_integer(o, "steps", &p->steps);
    kd_json_get_integer(o, "peak_bytes", &p->peak_bytes);
    kd_json_get_integer(o, "data_bytes", &p->data_bytes);
    kd_json_object_destroy(o);
}

static void read_network(const kd_json_object *all, const char *name, report_network *n)
{
    kd_json_object *o;
    if (kd_json_get_object(all, name, &o)) return;
    n->there = true;
    copy(n->spec, sizeof n->spec, o, "spec");
    kd_json_get_integer(o, "params", &n->params);
    kd_json_get_integer(o, "macs", &n->macs);
    kd_json_get_integer(o, "arena_1_bytes", &n->arena_1);
    kd_json_get_integer(o, "arena_128_bytes", &n->arena_128);
    n->forward_1 = quantiles(o, "forward_1");
    n->forward_128 = quantiles(o, "forward_128");
    kd_json_object_destroy(o);
}

void report_read_costs(report *r)
{
    report_costs *c = &r->costs;
    kd_json_object *o = ex_read_json(r->w->ctx, ex_in(r->w, "costs.json", NULL).text), *inner;
    if (!o) return;
    c->there = true;
    copy(c->started, sizeof c->started, o, "started");
    copy(c->ended, sizeof c->ended, o, "ended");
    copy(c->version, sizeof c->version, o, "version");
    copy(c->build, sizeof c->build, o, "build");
    kd_json_get_integer(o, "rounds", &c->rounds);
    kd_json_get_number(o, "load_average_before", &c->load_before);
    kd_json_get_number(o, "load_average_after", &c->load_after);
    if (kd_json_get_object(o, "machine", &inner) == KD_OK) {
        copy(c->cpu, sizeof c->cpu, inner, "cpu");
        copy(c->isa, sizeof c->isa, inner, "isa");
        kd_json_get_integer(inner, "threads", &c->threads);
        kd_json_object_destroy(inner);
    }
    if (kd_json_get_object(o, "pairings", &inner) == KD_OK) {
        for (size_t i = 0; ex_pairings[i].name; i++)
            read_pairing(inner, ex_pairings[i].name, &c->pairings[i]);
        kd_json_object_destroy(inner);
    }
    if (kd_json_get_object(o, "networks", &inner) == KD_OK) {
        for (int i = 0; i < EX_NETWORKS; i++)
            read_network(inner, ex_network_names[i], &c->networks[i]);
        kd_json_object_destroy(inner);
    }
    kd_json_object_destroy(o);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void quantile_cell(FILE *f, const report_quantiles *q)
{
    fprintf(f, " %.4g (%.4g–%.4g) |", q->median, q->p10, q->p90);
}

static void network_table(const report_costs *c, FILE *f)
{
    const double mib = 1048576;
    fprintf(f,
            "| network | parameters | MACs of a picture | forward of 1, ms | forward of 128, ms | "
            "memory of 1, MiB | of 128 | spec |\n|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < EX_NETWORKS; i++) {
        const report_network *n = &c->networks[i];
        if (!n->there) continue;
        fprintf(f, "| %s | %.3f M | %.2f M |", ex_network_names[i], 1e-6 * (double)n->params,
                1e-6 * (double)n->macs);
        quantile_cell(f, &n->forward_1);
        quantile_cell(f, &n->forward_128);
        fprintf(f, " %.1f | %.1f | `%s` |\n", (double)n->arena_1 / mib, (double)n->arena_128 / mib,
                n->spec);
    }
    fputc('\n', f);
}

static void step_table(const report *r, FILE *f)
{
    fprintf(f,
            "A training step at batch %zu by part, ms: medians (10th–90th percentile). Memory: the "
            "most the program held, the data set not counted.\n\n"
            "| teacher > student | step | data | teacher | student's forward | loss | backward | "
            "optimiser | loss, %% of the step | memory, MiB |\n"
            "|---|---|---|---|---|---|---|---|---|---|\n",
            r->w->opt.scale->batch);
    for (size_t i = 0; ex_pairings[i].name; i++) {
        const report_pairing *p = &r->costs.pairings[i];
        if (!p->there) continue;
        fprintf(f, "| %s |", ex_pairings[i].name);
        quantile_cell(f, &p->parts[STEP]);
        for (int part = DATA; part <= OPTIMIZER; part++)
            if (part == TEACHER && ex_pairings[i].teacher < 0)
                fputs(" – |", f);
            else
                quantile_cell(f, &p->parts[part]);
        fprintf(f, " %.3f | %.0f |\n", 100 * p->parts[LOSS].median / p->parts[STEP].median,
                (double)(p->peak_bytes - p->data_bytes) / 1048576);
    }
    fputc('\n', f);
}

/* ---- where the difference lies --------------------------------------------------------------- */

static bool teaches_student(size_t i)
{
    const ex_pairing *p = &ex_pairings[i];
    return p->teacher >= 0 && (p->student == CNN_STUDENT || p->student == VIT_STUDENT);
}

/* A pairing's medians less those of the first pairing, CNN to CNN. */
static double more(const report_costs *c, size_t i, int part)
{
    return c->pairings[i].parts[part].median - c->pairings[0].parts[part].median;
}

static void difference_table(const report_costs *c, FILE *f, double *most_of_step,
                             double *most_of_difference)
{
    fprintf(
        f,
        "What a step takes more than one of CNN to CNN, ms, by part (differences of medians):\n\n"
        "| teacher > student | step | teacher | student's forward | loss | backward | data and "
        "optimiser | the loss's share of the difference, %% "
        "|\n|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; ex_pairings[i].name; i++) {
        const report_pairing *p = &c->pairings[i];
        if (!teaches_student(i) || !p->there) continue;
        const double of_step = 100 * p->parts[LOSS].median / p->parts[STEP].median;
        if (of_step > *most_of_step) *most_of_step = of_step;
        if (i == 0) continue;
        const double share = 100 * more(c, i, LOSS) / more(c, i, STEP);
        if (isfinite(share) && fabs(share) > *most_of_difference) *most_of_difference = fabs(share);
        fprintf(f, "| %s | %+.4g | %+.4g | %+.4g | %+.4g | %+.4g | %+.4g | %.3f |\n",
                ex_pairings[i].name, more(c, i, STEP), more(c, i, TEACHER), more(c, i, FORWARD),
                more(c, i, LOSS), more(c, i, BACKWARD), more(c, i, DATA) + more(c, i, OPTIMIZER),
                share);
    }
    fputc('\n', f);
}

/* Of distillation, the pairing with the quickest step. */
static const char *fastest_pairing(const report_costs *c, double *step)
{
    const char *name = "none";
    for (size_t i = 0; ex_pairings[i].name; i++) {
        const report_pairing *p = &c->pairings[i];
        if (!teaches_student(i) || !p->there || (*step > 0 && p->parts[STEP].median >= *step))
            continue;
        name = ex_pairings[i].name;
        *step = p->parts[STEP].median;
    }
    return name;
}

/* The study's words on why, against these figures. */
static void mechanism(const report_costs *c, FILE *f)
{
    enum { CLEARLY = 5 }; /* percent */
    double of_step = 0, of_difference = 0, least = 0;
    if (!c->pairings[0].there) return;
    const char *fastest = fastest_pairing(c, &least);
    fprintf(f,
            "### Is it the loss?\n\n"
            "The study says that distillation between CNNs is fastest \"due to the swift output of "
            "logits and the distillation loss calculations\".\n\n");
    difference_table(c, f, &of_step, &of_difference);
    const double cnns = c->pairings[0].parts[STEP].median;
    if (least < cnns)
        fprintf(f,
                "The fastest step of distillation here is that of %s, %.4g ms; CNN to CNN takes "
                "%.4g ms. ",
                fastest, least, cnns);
    else
        fprintf(f, "CNN to CNN is the fastest here, by as much as the table says. ");
    fprintf(
        f,
        "The loss, forward and backward, is at most %.3f %% of a step, and at most %.3f %% of a "
        "difference between two pairings: ",
        of_step, of_difference);
    if (of_step < CLEARLY && of_difference < CLEARLY)
        fprintf(f,
                "what makes one pairing faster than another is the networks' forward and backward "
                "passes, not the loss.\n\n");
    else
        fprintf(f, "at this size the loss has a share in it.\n\n");
}

void report_write_costs(const report *r, const char *ending, FILE *f)
{
    const report_costs *c = &r->costs;
    fprintf(f, "## Costs\n\n");
    if (!c->there) {
        fprintf(f, "Not measured yet: `build/bin/experiment-%s --scale %s --costs`.\n",
                r->w->experiment->name, r->w->opt.scale->name);
        return;
    }
    fprintf(f,
            "Measured by `build/bin/experiment-%s --scale %s --costs` apart from the runs, in %lld "
            "rounds in which all take turns, from %s to %s on %s, %lld threads, kernels %s; load "
            "average %.2f before and %.2f after. libkd %s, %s.\n\n",
            r->w->experiment->name, r->w->opt.scale->name, (long long)c->rounds, c->started,
            c->ended, c->cpu[0] ? c->cpu : "an unknown processor", (long long)c->threads, c->isa,
            c->load_before, c->load_after, c->version, c->build);
    network_table(c, f);
    step_table(r, f);
    if (ending) fprintf(f, "![a step by part](costs.%s)\n\n", ending);
    mechanism(c, f);
}
