/* SPDX-License-Identifier: MIT
 * report_page.c: the page: one HTML file that needs nothing from outside, no script, and no colour
 * to be understood. What it shows follows from the records alone: the same folders give the same
 * bytes. */
#include "report.h"

#include <string.h>

const char report_page_head[] = "<!DOCTYPE html>\n<!-- kd report -->\n";

static const char style[] =
    ":root{color-scheme:light}\n"
    "body{margin:0 auto;max-width:76rem;padding:0 1rem 3rem;background:#fff;color:#1a1a1a;"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
    "h1{font-size:1.6rem;line-height:1.2;margin:1.5rem 0 .5rem}\n"
    "h2{font-size:1.25rem;line-height:1.25;margin:2.5rem 0 .5rem;padding-top:.75rem;"
    "border-top:1px solid #ccc}\n"
    "h3{font-size:1rem;margin:1.5rem 0 .25rem}\n"
    "p,li,dd{max-width:46rem;overflow-wrap:anywhere}\n"
    "p{margin:.5rem 0}\n"
    "nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:.75rem "
    "0;padding:0}\n"
    "a{color:#0b57a4}\n"
    ".scroll{overflow-x:auto;margin:.75rem 0}\n"
    "table{border-collapse:collapse;overflow-wrap:normal;font-size:.85rem;font-variant-numeric:"
    "tabular-nums}\n"
    "caption{text-align:left;font-weight:600;padding:.25rem 0;white-space:nowrap}\n"
    "th,td{padding:.3rem .6rem;text-align:right;vertical-align:top;white-space:nowrap;"
    "border-bottom:1px solid #ddd}\n"
    "thead th{white-space:normal;vertical-align:bottom;border-bottom:2px solid "
    "#888;font-weight:600}\n"
    "th.t,td.t,tbody th{text-align:left}\n"
    "tbody th{font-weight:400;white-space:normal;min-width:11rem;max-width:20rem;"
    "overflow-wrap:break-word}\n"
    "td.t{white-space:normal;min-width:5rem;max-width:20rem;overflow-wrap:break-word}\n"
    "td.g{min-width:12rem;max-width:24rem}\n"
    ".why,.sure{color:#555}\n"
    ".sure{display:block;font-size:.95em}\n"
    "td.each{white-space:normal;min-width:9rem;max-width:16rem}\n"
    "b.n{display:inline-block;min-width:1.2em;text-align:center;font-size:.8em;padding:0 .25em;"
    "border:1px solid #888;border-radius:.6em;margin-right:.2em}\n"
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));"
    "gap:1rem 2rem;align-items:start}\n"
    "figure{margin:.75rem 0;min-width:0}\n"
    "figcaption{font-weight:600;font-size:.9rem}\n"
    "svg{display:block;width:100%;height:auto;max-width:36rem}\n"
    ".key{list-style:none;padding:0;margin:.25rem 0;font-size:.85rem;columns:20rem}\n"
    ".key li{break-inside:avoid;display:flex;gap:.4rem;align-items:flex-start;line-height:1.35;"
    "padding:.1rem 0}\n"
    ".key svg{flex:none;width:2.4rem;height:1.2rem}\n"
    "details{margin:.25rem 0;font-size:.9rem}\n"
    "summary{cursor:pointer}\n"
    ".claim{border:1px solid #ccc;border-left:.4rem solid #555;padding:.25rem 1rem .5rem;"
    "margin:1rem 0;max-width:60rem}\n"
    ".claim svg{max-width:32rem}.claim .key svg{max-width:none}\n"
    ".claim dd{max-width:none}\n"
    ".claim h3{margin-top:.5rem}\n"
    "dl{margin:.25rem 0}\n"
    "dt{font-weight:600;font-size:.85rem;margin-top:.4rem}\n"
    "dd{margin:0}\n"
    "code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:.9em;"
    "overflow-wrap:anywhere}\n"
    "@media(max-width:40rem){tbody th,td.g{min-width:9rem}}\n"
    "@media print{details::details-content{content-visibility:visible;block-size:auto}"
    "svg{max-width:32rem}@page{size:A4 "
    "landscape;margin:12mm}body{max-width:none;padding:0;font-size:10pt}"
    ".scroll{overflow:visible}table{font-size:7pt}th,td{padding:.15rem .3rem}"
    "tbody th,td.t,td.g,td.each{min-width:0}nav{display:none}"
    "tr,figure,.claim{break-inside:avoid}h2,h3,caption{break-after:avoid}a{color:inherit}}\n";

/* ---- the beginning --------------------------------------------------------------------------- */

/* Distinct texts of the runs that count, in order of the runs. */
static void list_distinct(report *r, FILE *f, const char *what, bool cpu)
{
    const char *shown[8];
    size_t n = 0;
    for (size_t i = 0; i < r->n_runs && n < 8; i++) {
        const report_run *run = r->runs[i];
        const char *text = run->bad ? "" : cpu ? run->cpu : run->data;
        bool seen = !*text;
        for (size_t k = 0; k < n && !seen; k++) seen = !strcmp(shown[k], text);
        if (!seen) shown[n++] = text;
    }
    for (size_t k = 0; k < n; k++) {
        fputs(k ? ", " : what, f);
        html(f, shown[k]);
    }
    if (n) fputs(". ", f);
}

static void summary(report *r, FILE *f)
{
    size_t most = 0, fewest = SIZE_MAX;
    for (size_t g = 0; g < r->n_groups; g++) {
        const size_t n = r->groups[g].n_seeds;
        if (n > most) most = n;
        if (n < fewest) fewest = n;
    }
    fprintf(f, "<p>%zu of %zu runs count, in %zu groups of ", r->n_good, r->n_runs, r->n_groups);
    if (most == fewest)
        fprintf(f, "%zu seed%s. ", most, most == 1 ? "" : "s");
    else
        fprintf(f, "%zu to %zu seeds. ", fewest, most);
    list_distinct(r, f, "Data: ", false);
    list_distinct(r, f, "Machine: ", true);
    fputs("Made by <code>kd report</code> from the runs’ own records alone.</p>\n", f);
    if (most < COMPARE_MANY)
        fprintf(f,
                "<p><strong>No group has %d seeds: what follows describes these runs, and gives no "
                "verdict.</strong></p>\n",
                COMPARE_MANY);
}

static void left_out(report *r, FILE *f)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_runs; i++) n += r->runs[i]->bad != NULL;
    if (!n && !r->n_notes) return;
    fputs("<h2 id=\"missing\">What does not count</h2>\n<ul>\n", f);
    for (size_t i = 0; i < r->n_runs; i++) {
        if (!r->runs[i]->bad) continue;
        fputs("<li><code>", f);
        html(f, r->runs[i]->name);
        fputs("</code>: ", f);
        html(f, r->runs[i]->bad);
        fputs("</li>\n", f);
    }
    for (size_t i = 0; i < r->n_notes; i++) {
        fputs("<li>", f);
        html(f, r->notes[i]);
        fputs("</li>\n", f);
    }
    fputs("</ul>\n", f);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Of each setting of `run`, whether all runs that count have the same value. */
static bool *find_common(report *r, const report_run *run)
{
    bool *common = report_alloc(r, run->n_settings, sizeof *common);
    for (size_t s = 0; common && s < run->n_settings; s++) {
        common[s] = true;
        for (size_t i = 0; i < r->n_runs && common[s]; i++) {
            if (r->runs[i]->bad) continue;
            const char *value = report_setting_of(r->runs[i], run->settings[s].key);
            common[s] = value && !strcmp(value, run->settings[s].value);
        }
    }
    return common;
}

static void list_setting(const report_setting *s, size_t n, FILE *f)
{
    fputs(n ? "; " : "", f);
    html(f, s->key);
    fputs(" ", f);
    html(f, s->value);
}

/* The values that the group's runs have, which are several where --by pools them. */
static void list_values(const report_group *g, const char *key, size_t n, FILE *f)
{
    enum { MOST = 6 };
    const char *shown[MOST];
    size_t k = 0;
    fputs(n ? "; " : "", f);
    html(f, key);
    for (size_t i = 0; i < g->n && k < MOST; i++) {
        const char *value = report_setting_of(g->runs[i], key);
        bool seen = false;
        if (!value) value = "none";
        for (size_t j = 0; j < k && !seen; j++) seen = !strcmp(shown[j], value);
        if (seen) continue;
        fputs(k ? ", " : " ", f);
        html(f, value);
        shown[k++] = value;
    }
}

/* What the group has beside what all runs have. */
static void list_own(const report_group *g, const report_run *first, const bool *common, FILE *f)
{
    const report_run *run = report_first(g);
    size_t n = 0;
    for (size_t i = 0; i < run->n_settings; i++) {
        bool known = false;
        for (size_t k = 0; k < first->n_settings && !known; k++)
            known = common[k] && !strcmp(first->settings[k].key, run->settings[i].key);
        if (!known) list_values(g, run->settings[i].key, n++, f);
    }
    if (!n) fputs("nothing", f);
}

static void settings(report *r, FILE *f)
{
    const report_run *first = report_first(&r->groups[0]);
    const bool *common = find_common(r, first);
    size_t n = 0;
    if (!common) return;
    fputs("<h2 id=\"settings\">Settings</h2>\n<p>All runs have: ", f);
    for (size_t i = 0; i < first->n_settings; i++)
        if (common[i]) list_setting(&first->settings[i], n++, f);
    if (!n) fputs("nothing", f);
    fputs(".</p>\n<details><summary>What else each group has, and its runs</summary>\n<ul>\n", f);
    for (size_t g = 0; g < r->n_groups; g++) {
        fprintf(f, "<li><b class=\"n\">%zu</b> ", g + 1);
        list_own(&r->groups[g], first, common, f);
        fputs(". Runs: ", f);
        for (size_t i = 0; i < r->groups[g].n; i++) {
            fputs(i ? ", <code>" : "<code>", f);
            html(f, r->groups[g].runs[i]->name);
            fputs("</code>", f);
        }
        fputs(".</li>\n", f);
    }
    fputs("</ul></details>\n", f);
}

/* ---- the page -------------------------------------------------------------------------------- */

typedef struct section {
    const char *id, *title;
    void (*write)(report *r, FILE *f);
} section;

static void accuracy(report *r, FILE *f)
{
    report_accuracy_table(r, f);
    report_cost_table(r, f);
}

static const section sections[] = {
    {"groups", "Accuracy and costs", accuracy},
    {"differences", "Differences", report_difference_table},
    {"curves", "Learning curves", report_curves},
    {"times", "Time by part", report_times},
    {"costs", "Accuracy against costs", report_pareto},
    {"fidelity", "Fidelity and calibration", report_fidelity},
    {"claims", "What the study says, claim by claim", report_claims},
};
enum { SECTIONS = sizeof sections / sizeof *sections };

/* Only of distillation has the study something to say. */
static bool is_shown(const report *r, const section *s)
{
    return s->write != report_claims || report_has_claims(r);
}

void report_page(report *r, FILE *f)
{
    fprintf(f,
            "%s<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
            "<title>Training runs compared</title>\n<style>\n%s</style></head>\n<body>\n<main>\n"
            "<h1>Training runs compared</h1>\n",
            report_page_head, style);
    summary(r, f);
    fputs("<nav aria-label=\"Sections\"><ul>", f);
    for (size_t i = 0; i < SECTIONS; i++)
        if (is_shown(r, &sections[i]))
            fprintf(f, "<li><a href=\"#%s\">%s</a></li>", sections[i].id, sections[i].title);
    fputs("<li><a href=\"#settings\">Settings</a></li></ul></nav>\n", f);
    left_out(r, f);
    for (size_t i = 0; i < SECTIONS; i++) {
        if (!is_shown(r, &sections[i])) continue;
        fprintf(f, "<h2 id=\"%s\">%s</h2>\n", sections[i].id, sections[i].title);
        sections[i].write(r, f);
    }
    settings(r, f);
    fputs("</main>\n</body></html>\n", f);
}
