/* SPDX-License-Identifier: MIT
 * report_settings.c: what separates runs: options, network, data, teacher, start, as keys and values.
 * A run's signature is all of them as one text, with those of its teacher and its start if they are
 * among the runs; with --by it is the named ones alone. The seed is never in it: a teacher or a start
 * that has a seed in its folder's name is known by the rest of that name. */
#include "report.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* '-' and '_' are the same. */
static int compare_keys(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        const int x = *a == '-' ? '_' : *a, y = *b == '-' ? '_' : *b;
        if (x != y) return x < y ? -1 : 1;
    }
    return (*a != 0) - (*b != 0);
}

void report_add_setting(report *r, report_run *run, const char *key, const char *value)
{
    if (!value || !*value) return;
    report_setting *list = report_more(r, run->settings, &run->n_settings, sizeof *list);
    if (!list) return;
    run->settings = list;
    list[run->n_settings - 1] = (report_setting){report_copy(r, key), report_copy(r, value)};
}

const char *report_setting_of(const report_run *run, const char *key)
{
    size_t low = 0, high = run->n_settings;
    while (run->sorted && high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (compare_keys(run->settings[middle].key, key) <= 0)
            low = middle;
        else
            high = middle;
    }
    for (size_t i = low; i < high; i++)
        if (!compare_keys(run->settings[i].key, key)) return run->settings[i].value;
    return NULL;
}

/* ---- names without the seed ------------------------------------------------------------------ */

/* The last folder of a path: "teacher" of "runs/teacher/model.safetensors". */
static void last_folder(const char *path, char *out, size_t size)
{
    static const char ending[] = ".safetensors";
    const char *slash = strrchr(path, '/'), *begin = slash ? slash + 1 : path,
               *end = strchr(begin, 0);
    const size_t n = strlen(begin);
    if (slash && slash > path && n >= sizeof ending && !strcmp(end - (sizeof ending - 1), ending)) {
        end = slash;
        for (begin = slash; begin > path && begin[-1] != '/';) begin--;
    }
    snprintf(out, size, "%.*s", (int)(end - begin), begin);
}

/* "-seed3", "_seed=3", "seed3": gone, wherever it stands. */
static void drop_seed(char *name)
{
    for (char *at = name; (at = strstr(at, "seed"));) {
        char *digits = at + 4, *begin = at, *end;
        if (*digits == '=' || *digits == '-' || *digits == '_') digits++;
        for (end = digits; isdigit((unsigned char)*end);) end++;
        if (end == digits) {
            at += 4;
            continue;
        }
        if (begin > name && strchr("-_,.", begin[-1])) begin--;
        if (begin == name && strchr("-_,.", *end) && *end) end++;
        memmove(begin, end, strlen(end) + 1);
        at = begin;
    }
}

const char *report_title(report *r, const char *path)
{
    char name[CLI_PATH];
    last_folder(path, name, sizeof name);
    drop_seed(name);
    if (!*name) last_folder(path, name, sizeof name);
    return report_copy(r, name);
}

/* ---- teachers and starts among the runs ------------------------------------------------------ */

/* Is `file` a network of the folder `folder`, or the folder itself? */
static bool is_of(const char *file, const char *folder)
{
    const size_t n = strlen(folder);
    return n && !strncmp(file, folder, n) &&
           (!file[n] || (file[n] == '/' && !strchr(file + n + 1, '/')));
}

/* A file of the right path that holds other weights by now is another network. A start's sum is its
 * file's only where the head was kept. */
static bool is_contradicted(const report_run *of, const report_run *run, const char *hash,
                            bool start)
{
    if (!*hash || !*run->hash || !strcmp(hash, run->hash)) return false;
    const bool same_head = !strcmp(of->spec, run->spec) && !strcmp(of->checksum, run->checksum) &&
                           !report_setting_of(of, "reset_head");
    return !start || same_head;
}

static const report_run *find_network(const report *r, const report_run *of, const char *file,
                                      const char *hash, bool start)
{
    char beside[2 * CLI_PATH];
    const char *slash = strrchr(of->real, '/');
    const int parent = slash ? (int)(slash - of->real) : 0;
    snprintf(beside, sizeof beside, "%.*s/%s", parent, of->real, file);
    for (size_t i = 0; i < r->n_runs; i++) {
        const report_run *run = r->runs[i];
        if (run != of && run->spec && *hash && !strcmp(run->hash, hash)) return run;
    }
    for (size_t i = 0; i < r->n_runs && *file; i++) {
        const report_run *run = r->runs[i];
        if (run == of || !run->spec || is_contradicted(of, run, hash, start)) continue;
        if (is_of(file, run->real) || is_of(beside, run->real) || is_of(file, run->out)) return run;
    }
    return NULL;
}

static const char *name_of(report *r, const report_run *run, const char *file)
{
    return run ? run->title : report_title(r, file);
}

static const char *model_name(report *r, const char *spec)
{
    return report_print(r, "%.*s", (int)strcspn(spec, ", "), spec);
}

static int by_key(const void *a, const void *b)
{
    const report_setting *x = a, *y = b;
    return compare_keys(x->key, y->key);
}

static void describe(report *r, report_run *run)
{
    const char *command = run->start_file ? "finetune" : run->teacher_spec ? "distill" : "train";
    report_add_setting(r, run, "command", command);
    report_add_setting(r, run, "student", run->spec);
    report_add_setting(r, run, "model", model_name(r, run->spec));
    report_add_setting(r, run, "family", report_family_names[report_family_of(run->spec)]);
    report_add_setting(r, run, "data", run->data);
    report_add_setting(r, run, "checksum", run->checksum);
    if (run->teacher_spec) {
        report_add_setting(r, run, "teacher", run->teacher_spec);
        report_add_setting(r, run, "teacher-family",
                           report_family_names[report_family_of(run->teacher_spec)]);
        report_add_setting(r, run, "teacher-run", name_of(r, run->teacher, run->teacher_file));
    }
    if (run->start_file)
        report_add_setting(r, run, "start", name_of(r, run->start, run->start_file));
    if (run->n_settings) qsort(run->settings, run->n_settings, sizeof *run->settings, by_key);
    run->sorted = true;
}

void report_link(report *r)
{
    for (size_t i = 0; i < r->n_runs; i++) {
        report_run *run = r->runs[i];
        if (!run->spec) continue;
        if (run->teacher_spec)
            run->teacher = find_network(r, run, run->teacher_file, run->teacher_hash, false);
        if (run->start_file)
            run->start = find_network(r, run, run->start_file, run->start_hash, true);
    }
    for (size_t i = 0; i < r->n_runs; i++)
        if (r->runs[i]->spec) describe(r, r->runs[i]);
}

/* ---- signatures ------------------------------------------------------------------------------ */

static const char *sum_of(report *r, const char *text)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001B3u; /* FNV-1a */
    return report_print(r, "%016llx", (unsigned long long)h);
}

static const char *sign_other(report *r, const report_run *other)
{
    for (size_t i = 0; other && i < r->n_runs; i++)
        if (r->runs[i] == other) {
            report_sign(r, r->runs[i]);
            return r->runs[i]->signature ? sum_of(r, r->runs[i]->signature) : "";
        }
    return "";
}

static const char *print_settings(report *r, const report_run *run)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&bytes, &size);
    for (size_t i = 0; f && i < run->n_settings && !r->n_by; i++)
        fprintf(f, "%s=%s\n", run->settings[i].key, run->settings[i].value);
    for (size_t i = 0; f && i < r->n_by; i++) {
        const char *value = report_setting_of(run, r->by[i]);
        fprintf(f, "%s=%s\n", r->by[i], value ? value : "");
    }
    if (!f || fclose(f)) r->failed = true;
    const char *text = f && !r->failed ? report_copy(r, bytes) : "";
    free(bytes);
    return text;
}

void report_sign(report *r, report_run *run)
{
    if (run->signature || run->signing || !run->spec) return;
    run->signing = true; /* records may name each other as teachers */
    const char *own = print_settings(r, run);
    run->signature = r->n_by ? own
                             : report_print(r, "%s%s\n%s", own, sign_other(r, run->teacher),
                                            sign_other(r, run->start));
}

/* ---- --by ------------------------------------------------------------------------------------ */

static bool is_known(const report *r, const char *key, cli_guess *guess)
{
    static const char *const derived[] = {"student",        "model",       "family",
                                          "data",           "command",     "teacher",
                                          "teacher-family", "teacher-run", "start"};
    const kd_option *o;
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++) {
        if (!compare_keys(derived[i], key)) return true;
        cli_guess_try(guess, derived[i]);
    }
    for (size_t i = 0; i < r->n_runs; i++)
        if (report_setting_of(r->runs[i], key)) return true;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        if (!(o->flags & KD_CHANGES_RESULT) || !strcmp(o->name, "seed")) continue;
        if (!compare_keys(o->name, key)) return true;
        cli_guess_try(guess, o->name);
    }
    return false;
}

int report_check_keys(report *r)
{
    const char *at = r->args->by;
    while (at) {
        char key[60], shown[80];
        const size_t n = strcspn(at, ",");
        snprintf(key, sizeof key, "%.*s", (int)(n < 59 ? n : 59), at);
        cli_guess guess = cli_guess_for(key);
        if (!n) return cli_usage(r->args->command->name, "--by: a key is empty");
        if (r->n_by == REPORT_MAX_KEYS)
            return cli_usage(r->args->command->name, "--by: more than %d keys", REPORT_MAX_KEYS);
        if (!is_known(r, key, &guess))
            return cli_usage(r->args->command->name, "--by %s: no run has such an option%s%s%s",
                             cli_escape(key, shown, sizeof shown),
                             guess.best ? "; did you mean " : "", guess.best ? guess.best : "",
                             guess.best ? "?" : "");
        r->by[r->n_by++] = report_copy(r, key);
        at = at[n] ? at + n + 1 : NULL;
    }
    return CLI_DONE;
}
