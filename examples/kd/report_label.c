/* SPDX-License-Identifier: MIT
 * report_label.c: what a group is called: its network, its teacher, its start, and as few settings
 * as tell it from the other groups. A spec is shown by its name and by the keys in which networks of
 * that name differ. */
#include "report.h"

#include <string.h>

const char *const report_family_names[FAMILIES] = {"CNN", "ViT", "DeiT", "Swin"};

report_family report_family_of(const char *spec)
{
    return !strncmp(spec, "vit", 3)    ? FAMILY_VIT
           : !strncmp(spec, "deit", 4) ? FAMILY_DEIT
           : !strncmp(spec, "swin", 4) ? FAMILY_SWIN
                                       : FAMILY_CNN;
}

/* ---- specs ----------------------------------------------------------------------------------- */

/* Does spec have exactly this item, "key=value" [n]? */
static bool has_item(const char *spec, const char *item, size_t n)
{
    for (const char *at = spec; (at = strchr(at, ','));) {
        at++;
        if (!strncmp(at, item, n) && (!at[n] || at[n] == ',')) return true;
    }
    return false;
}

/* "vit_tiny" of "vit_tiny_patch16_224": what a name says of patches, windows and pictures is a default
 * that keys may have changed. */
static int name_length(const char *spec)
{
    const size_t n = strcspn(spec, ",");
    const char *patch = strstr(spec, "_patch");
    return (int)(patch && patch < spec + n ? (size_t)(patch - spec) : n);
}

/* The other specs of this name, students' and teachers', that are not told from it yet: told says of
 * which it was. The i-th; NULL: it is no such. */
static const char *other_spec(const report *r, size_t i, const char *spec)
{
    const report_run *run = r->runs[i / 2];
    const char *other = i % 2 ? run->teacher_spec : run->spec;
    const int n = name_length(spec);
    if (run->bad || !other || strstr(other, " + ") || !strcmp(other, spec)) return NULL;
    return name_length(other) == n && !strncmp(other, spec, (size_t)n) ? other : NULL;
}

static const char *shorten(report *r, const char *spec)
{
    const char *text = report_print(r, "%.*s", name_length(spec), spec);
    bool *told = report_alloc(r, 2 * r->n_runs, sizeof *told);
    for (const char *at = spec; told && (at = strchr(at, ','));) {
        const size_t n = strcspn(++at, ",");
        bool needed = false;
        for (size_t i = 0; i < 2 * r->n_runs; i++) {
            const char *other = told[i] ? NULL : other_spec(r, i, spec);
            if (!other || has_item(other, at, n)) continue;
            told[i] = needed = true;
        }
        if (needed) text = report_print(r, "%s,%.*s", text, (int)n, at);
    }
    return text;
}

/* Looked up, as all networks have to be gone through for one. */
typedef struct report_name {
    const char *spec, *name;
} report_name;

const char *report_short_spec(report *r, const char *spec)
{
    if (strstr(spec, " + ")) return spec; /* several teachers */
    for (size_t i = 0; i < r->n_names; i++)
        if (!strcmp(r->names[i].spec, spec)) return r->names[i].name;
    report_name *list = report_more(r, r->names, &r->n_names, sizeof *list);
    const char *name = shorten(r, spec);
    if (!list) return name;
    r->names = list;
    list[r->n_names - 1] = (report_name){spec, name};
    return name;
}

/* ---- the beginning --------------------------------------------------------------------------- */

static const char *label_of(report *r, size_t group);

static const char *by_keys(report *r, const report_run *run)
{
    const char *text = "";
    for (size_t i = 0; i < r->n_by; i++) {
        const char *value = report_setting_of(run, r->by[i]);
        const bool spec = value && (!strcmp(r->by[i], "student") || !strcmp(r->by[i], "teacher"));
        if (spec) value = report_short_spec(r, value);
        text = report_print(r, "%s%s%s %s", text, i ? ", " : "", r->by[i], value ? value : "none");
    }
    return text;
}

static const char *start_of(report *r, const report_run *run)
{
    const report_run *start = run->start;
    enum { SHORT = 48 };
    const char *label = start && start->group < r->n_groups ? label_of(r, start->group) : NULL;
    if (label && strlen(label) < SHORT) return report_print(r, "(%s)", label);
    return report_setting_of(run, "start") ? report_setting_of(run, "start") : "?";
}

static const char *base_of(report *r, const report_group *g)
{
    const report_run *run = report_first(g);
    if (r->n_by) return by_keys(r, run);
    const char *student = report_short_spec(r, run->spec);
    const char *teacher = run->teacher_spec ? report_short_spec(r, run->teacher_spec) : NULL;
    if (run->start_file)
        return report_print(r, "%s trained further, %s%s, from %s", student,
                            teacher ? "by " : "labels alone", teacher ? teacher : "",
                            start_of(r, run));
    return teacher ? report_print(r, "%s from %s", student, teacher)
                   : report_print(r, "%s alone", student);
}

/* ---- what tells groups with the same beginning apart ----------------------------------------- */

static bool says_enough(const char *key)
{
    static const char *const apart[] = {"student", "model",   "family",  "teacher-family",
                                        "teacher", "command", "checksum"};
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (!strcmp(apart[i], key)) return true;
    return false;
}

/* The less, the sooner a key is taken. */
static int rank(const char *key)
{
    static const char *const first[] = {
        "data",    "teacher-run", "start", "method",    "temperature",    "soft", "hard",
        "feature", "epochs",      "lr",    "max_steps", "budget_seconds", "image"};
    int i = 0;
    while (i < (int)(sizeof first / sizeof *first) && strcmp(first[i], key)) i++;
    return i;
}

static const char *value_in(const report *r, size_t group, const char *key)
{
    const char *value = report_setting_of(report_first(&r->groups[group]), key);
    return value ? value : "none";
}

/* Pairs of these groups that have the same label but other values of key. */
static size_t told_apart(const report *r, const size_t *same, size_t n, const char *const *labels,
                         const char *key)
{
    size_t pairs = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            pairs += !strcmp(labels[i], labels[k]) &&
                     strcmp(value_in(r, same[i], key), value_in(r, same[k], key)) != 0;
    return pairs;
}

/* Any of the groups may have a key that others lack. */
static const char *best_key(const report *r, const size_t *same, size_t n,
                            const char *const *labels)
{
    const char *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < n && i < 40; i++) {
        const report_run *run = report_first(&r->groups[same[i]]);
        for (size_t s = 0; s < run->n_settings; s++) {
            const char *key = run->settings[s].key;
            if (says_enough(key) || (best && !strcmp(best, key))) continue;
            const size_t pairs = told_apart(r, same, n, labels, key);
            if (!pairs || pairs < most) continue;
            if (pairs == most && rank(key) >= rank(best)) continue;
            best = key;
            most = pairs;
        }
    }
    return best;
}

/* The first key, not before `from`, of which these groups have several values. With many groups all
 * such keys are taken: to look for the fewest would take the square of their number. */
static const char *next_key(const report *r, const size_t *same, size_t n, size_t *from)
{
    const report_run *run = report_first(&r->groups[same[0]]);
    while (*from < run->n_settings) {
        const char *key = run->settings[(*from)++].key;
        if (says_enough(key)) continue;
        for (size_t i = 1; i < n; i++)
            if (strcmp(value_in(r, same[0], key), value_in(r, same[i], key))) return key;
    }
    return NULL;
}

/* same [n]: groups with the same beginning. */
static void tell_apart(report *r, const size_t *same, size_t n)
{
    const char **labels = report_alloc(r, n, sizeof *labels), *key;
    for (size_t i = 0; labels && i < n; i++) labels[i] = r->groups[same[i]].label;
    size_t from = 0;
    const bool many = n > 64;
    for (int keys = 0; labels && keys < 8 &&
                       (key = many ? next_key(r, same, n, &from) : best_key(r, same, n, labels));
         keys++)
        for (size_t i = 0; i < n; i++)
            labels[i] = report_print(r, "%s, %s %s", labels[i], key, value_in(r, same[i], key));
    for (size_t i = 0; labels && i < n; i++) r->groups[same[i]].label = labels[i];
}

/* The label of a group, with those that begin alike. A start's label is needed first; records that
 * name each other as starts end at `labelling`. */
static const char *label_of(report *r, size_t group)
{
    report_group *g = &r->groups[group];
    if (g->label) return g->label;
    if (g->labelling) return report_first(g)->title;
    g->labelling = true;
    return base_of(r, g);
}

/* The groups that have this label, from `from` on; how many. */
static size_t same_label(const report *r, const char *const *labels, size_t from, size_t *same)
{
    size_t n = 0;
    for (size_t k = from; k < r->n_groups; k++)
        if (!strcmp(labels[k], labels[from])) same[n++] = k;
    return n;
}

static bool is_first(const char *const *labels, size_t group)
{
    for (size_t k = 0; k < group; k++)
        if (!strcmp(labels[k], labels[group])) return false;
    return true;
}

/* What is still alike (its teacher's settings differ, say) is numbered. */
static void number_alike(report *r, const char **labels, size_t *same)
{
    for (size_t g = 0; g < r->n_groups; g++) labels[g] = r->groups[g].label;
    for (size_t g = 0; g < r->n_groups; g++) {
        const size_t n = is_first(labels, g) ? same_label(r, labels, g, same) : 0;
        for (size_t i = 0; n > 1 && i < n; i++)
            r->groups[same[i]].label = report_print(r, "%s (%zu)", labels[same[i]], i + 1);
    }
}

void report_label_groups(report *r)
{
    enum { DEPTH = 4 }; /* of starts of starts */
    const char **bases = report_alloc(r, r->n_groups, sizeof *bases);
    size_t *same = report_alloc(r, r->n_groups, sizeof *same);
    for (int depth = 0; bases && same && depth < DEPTH; depth++) {
        for (size_t g = 0; g < r->n_groups; g++) r->groups[g].labelling = false;
        for (size_t g = 0; g < r->n_groups; g++) bases[g] = base_of(r, &r->groups[g]);
        for (size_t g = 0; g < r->n_groups; g++) {
            const size_t n = is_first(bases, g) ? same_label(r, bases, g, same) : 0;
            for (size_t i = 0; i < n; i++) r->groups[same[i]].label = bases[g];
            if (n > 1) tell_apart(r, same, n);
        }
    }
    if (bases && same) number_alike(r, bases, same);
}
