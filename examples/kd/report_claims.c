/* SPDX-License-Identifier: MIT
 * report_claims.c: claim by claim what the study of distillation says (arXiv 2407.12808: CNNs and
 * transformers, sizes, resolutions, fine-tuning), and what these runs have to say about it; the checks
 * that it lacks; and what these runs cannot speak about. Of the study's figures two are known. */
#include "report_claims.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const claim claims[] = {
    {"Between CNNs, distillation is the most accurate",
     "Of all pairings of CNN and transformer teachers and students, a CNN that teaches a CNN gives "
     "the "
     "most accurate student.",
     "students of a CNN by a CNN, and of another pairing, on the same data", claim_most_accurate},
    {"Between CNNs, distillation is the fastest", "A CNN that teaches a CNN takes the least time.",
     "times of a CNN’s student by a CNN, and of another pairing, on the same data", claim_fastest},
    {"The reason is that logits and the loss are quick",
     "Distillation between CNNs is fast “due to the swift output of logits and the distillation "
     "loss "
     "calculations”.",
     "times by part of distilled runs", claim_loss_is_quick},
    {"The size of a student, at a constant duration of distilling",
     "VGGs of 2 to 19 layers are distilled for the same time: accuracy against inference time.",
     "three sizes of one family, distilled by the same teacher for the same time", claim_sizes},
    {"Higher resolution helps small students, and can hurt large ones",
     "32 against 224 pixels: a small student gains by the larger pictures, a large one may lose.",
     "two sizes of student, each distilled at two resolutions", claim_resolution},
    {"Fine-tuning after distillation gains much, transformers most",
     "After fine-tuning Swin-T has about 16 % more accuracy, VGG about 3 %.",
     "distilled students that were trained further with labels alone, on the same data",
     claim_fine_tuning},
    {"A check it lacks: as much time without a teacher",
     "Nothing is said of a student that trains alone for as long as distilling takes.",
     "a student alone for more steps than it was distilled", claim_time_control},
    {"A check it lacks: the same student by a CNN and by a transformer",
     "Operations and memory of a step are not given.",
     "one network distilled by teachers of two families", claim_same_student},
    {"A check it lacks: temperature and weights",
     "Its temperature and weights are not stated, and were not swept.",
     "one student by one teacher at two temperatures or weights", claim_temperature},
    {"A check it lacks: fine-tuning on a task that was held out",
     "It fine-tunes on the task that was distilled.",
     "distilled students that were trained further, on other data", claim_held_out},
};
enum { CLAIMS = sizeof claims / sizeof *claims };

/* ---- boxes ----------------------------------------------------------------------------------- */

void claim_open(const claim *c, FILE *f)
{
    fputs("<article class=\"claim\"><h3>", f);
    html(f, c->title);
    fputs("</h3>\n<dl><dt>The study</dt><dd>", f);
    html(f, c->says);
    fputs("</dd>\n<dt>Measured</dt><dd>\n", f);
}

void claim_close(report *r, const char *verdict, const char *sure, FILE *f)
{
    fputs("</dd>\n<dt>Verdict</dt><dd><strong>", f);
    html(f, verdict);
    fputs("</strong></dd>\n<dt>How sure</dt><dd>", f);
    html(f, sure);
    fputs("</dd></dl></article>\n", f);
    r->verdict = report_copy(r, verdict);
    r->sure = report_copy(r, sure);
}

compare_difference claim_differ(report *r, size_t a, size_t b)
{
    compare_difference d = report_differ(r, a, b);
    if (!d.n) d.mean = r->groups[a].mean - r->groups[b].mean;
    return d;
}

claim_test claim_test_all(report *r, compare_difference *d, size_t n)
{
    claim_test t = {.all_above = true, .all_told = n > 0, .seeds = SIZE_MAX};
    double *p = report_alloc(r, n, sizeof *p), worst = 0;
    size_t apart = 0;
    for (size_t i = 0; p && i < n; i++) p[i] = d[i].p;
    if (p) stats_holm(p, n);
    for (size_t i = 0; p && i < n; i++) {
        d[i].p = p[i];
        t.all_above = t.all_above && d[i].mean > 0;
        t.all_told = t.all_told && p[i] < .05 && d[i].n >= COMPARE_MANY;
        apart += !d[i].n;
        if (!d[i].n) continue;
        t.seeds = d[i].n < t.seeds ? d[i].n : t.seeds;
        worst = p[i] > worst || isnan(p[i]) ? p[i] : worst;
    }
    if (t.seeds == SIZE_MAX) t.seeds = 0;
    const char *also =
        apart ? report_print(r,
                             " Of %zu of %zu comparisons no seed is common to both sides: "
                             "there it is a difference of means.",
                             apart, n)
              : "";
    if (t.seeds < COMPARE_MANY)
        t.sure = report_print(r, "A description of %zu seed%s; a verdict needs %d.%s", t.seeds,
                              t.seeds == 1 ? "" : "s", COMPARE_MANY, also);
    else
        t.sure = report_print(r,
                              "%zu seeds; the largest p, with Holm’s correction for %zu "
                              "comparison%s, is %s. These test pictures and teachers are fixed.%s",
                              t.seeds, n, n == 1 ? "" : "s", stats_print_p(worst).text, also);
    return t;
}

/* ---- what claims look for -------------------------------------------------------------------- */

bool claim_same_data(const report *r, size_t a, size_t b)
{
    const report_run *x = report_first(&r->groups[a]), *y = report_first(&r->groups[b]);
    return !strcmp(x->data, y->data) && !strcmp(x->checksum, y->checksum);
}

bool claim_is_distilled(const report *r, size_t group, size_t like)
{
    const report_run *run = report_first(&r->groups[group]);
    return run->teacher_spec && !run->start_file && !r->groups[group].mixed &&
           (like == SIZE_MAX || claim_same_data(r, group, like));
}

claim_control claim_control_of(report *r, size_t group, bool longer)
{
    claim_control c = {.group = report_control(r, group, longer)};
    if (c.group != SIZE_MAX) c.d = claim_differ(r, group, c.group);
    return c;
}

double claim_teacher_top1(const report_group *g)
{
    double sum = 0;
    for (size_t i = 0; i < g->n; i++)
        sum += g->runs[i]->teacher ? g->runs[i]->teacher->figures[FIG_TOP1] : (double)NAN;
    return sum / (double)g->n;
}

bool claim_is_timed(const report *r, const report_group *g)
{
    return report_timing_of(r, report_first(g)) != NULL;
}

double claim_step_ms(const report *r, const report_group *g, size_t part)
{
    const report_timing *t = report_timing_of(r, report_first(g));
    if (t) return t->parts[part];
    if (part == REPORT_PARTS) return 1e3 * g->figures[FIG_SECONDS] / g->figures[FIG_STEPS];
    return 1e3 * g->figures[FIG_DATA + (int)part] / g->figures[FIG_STEPS];
}

const char *claim_teacher_name(report *r, const report_group *g)
{
    return report_short_spec(r, report_first(g)->teacher_spec);
}

const char *claim_points(report *r, const compare_difference *d)
{
    if (isnan(d->mean)) return "–";
    if (isnan(d->seeds.low)) return report_print(r, "%+.2f", d->mean);
    return report_print(r, "%+.2f (%+.2f to %+.2f)", d->mean, d->seeds.low, d->seeds.high);
}

/* ---- the section ----------------------------------------------------------------------------- */

bool report_has_claims(const report *r)
{
    for (size_t g = 0; g < r->n_groups; g++)
        if (report_first(&r->groups[g])->teacher_spec) return true;
    return false;
}

static void glance(const char *const *verdicts, const char *const *sure, FILE *f)
{
    static const char *const columns[] = {"<claim", "<verdict, and how sure it is", NULL};
    html_table(f, "At a glance", columns);
    for (size_t i = 0; i < CLAIMS; i++) {
        fputs("<tr><th scope=\"row\">", f);
        html(f, claims[i].title);
        fputs("</th><td class=\"t g\">", f);
        if (verdicts[i]) {
            fputs("<strong>", f);
            html(f, verdicts[i]);
            fputs("</strong> <span class=\"sure\">", f);
            html(f, sure[i]);
            fputs("</span>", f);
        } else {
            fputs("These runs cannot speak about it", f);
        }
        fputs("</td></tr>\n", f);
    }
    html_table_end(f);
}

static void silent(const char *const *verdicts, FILE *f)
{
    size_t n = 0;
    for (size_t i = 0; i < CLAIMS; i++) {
        if (verdicts[i]) continue;
        if (!n++) fputs("<h3>What these runs cannot speak about</h3>\n<ul>\n", f);
        fputs("<li>", f);
        html(f, claims[i].title);
        fputs(". It would take ", f);
        html(f, claims[i].needs);
        fputs(".</li>\n", f);
    }
    if (n) fputs("</ul>\n", f);
}

void report_claims(report *r, FILE *f)
{
    const char *verdicts[CLAIMS], *sure[CLAIMS];
    char *boxes = NULL;
    size_t size;
    FILE *to = open_memstream(&boxes, &size);
    for (size_t i = 0; to && i < CLAIMS; i++) {
        const bool spoke = claims[i].write(r, &claims[i], to);
        verdicts[i] = spoke ? r->verdict : NULL;
        sure[i] = spoke ? r->sure : NULL;
    }
    if (!to || fclose(to)) {
        r->failed = true;
        free(boxes);
        return;
    }
    fprintf(
        f,
        "<p>The study is arXiv 2407.12808. What is measured here follows from these runs’ records "
        "alone; networks are counted as CNN, ViT, DeiT or Swin by their specs. Intervals are at "
        "95 %%, over seeds. With fewer than %d seeds there is no verdict, but a description.</p>\n",
        COMPARE_MANY);
    glance(verdicts, sure, f);
    fwrite(boxes, 1, size, f);
    silent(verdicts, f);
    free(boxes);
}
