/* SPDX-License-Identifier: MIT
 * sweep.c: kd sweep: the file that says which students there are. It is one JSON object: "common"
 * has options of all, "students" is a list of objects with a name, a spec and options of their own,
 * "grid" has lists of values by option, and multiplies each student. Options have their names of the
 * command line. They become words, which go the way of those that are typed. */
#include "sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1 << 24, AXES = 16 };

/* What the file holds. */
typedef struct document {
    sweep *s;
    kd_json_object *root, *common, *grid; /* common, grid: may be NULL */
    size_t axes, length[AXES];            /* of the grid, in the order of its keys */
} document;

static int wrong(const sweep *s, const char *where, const char *what)
{
    return cli_fail("%s: %s%s%s", s->file, where, *where ? ": " : "", what);
}

/* ---- words ----------------------------------------------------------------------------------- */

static int no_memory(const sweep *s)
{
    return cli_fail_ctx(s->ctx);
}

static int add_word(sweep *s, sweep_student *t, const char *before, const char *key,
                    const char *equals, const char *value)
{
    const size_t size = strlen(before) + strlen(key) + strlen(equals) + strlen(value) + 1;
    char *word = kd_ctx_alloc(s->ctx, size, 1);
    if (!word) return no_memory(s);
    snprintf(word, size, "%s%s%s%s", before, key, equals, value);
    for (char *c = word + strlen(before); *key && *c && *c != '='; c++)
        if (*c == '_') *c = '-';
    if (t->n_words == SWEEP_WORDS) {
        kd_ctx_free(s->ctx, word);
        return wrong(s, t->name, "it has too many options");
    }
    t->words[t->n_words++] = word;
    return CLI_DONE;
}

const char *sweep_text_of(const kd_json_object *o, const char *key, char value[40])
{
    double number;
    int64_t integer;
    const char *text = kd_json_get_string(o, key);
    if (text) return text;
    if (kd_json_get_integer(o, key, &integer))
        snprintf(value, 40, "%lld", (long long)integer);
    else if (kd_json_get_number(o, key, &number))
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(value, 40, "%.*g", digits, number);
            if (strtod(value, NULL) == number) break;
        }
    else
        return NULL;
    return value;
}

/* Is it an option that may have several values? */
static bool takes_list(const char *key)
{
    const cli_option *o;
    for (size_t i = 0; (o = cli_option_at(i)); i++) {
        size_t k = 0;
        while (key[k] && (key[k] == o->name[k] || (key[k] == '_' && o->name[k] == '-'))) k++;
        if (!key[k] && !o->name[k] && cli_is_list(o)) return true;
    }
    return false;
}

/* The value of `inside` in o as the option `key`; a list is the option several times. */
static int add_option(sweep *s, sweep_student *t, const char *key, const kd_json_object *o,
                      const char *inside)
{
    char value[40];
    size_t count;
    int truth;
    const char *text = sweep_text_of(o, inside, value);
    if (text) return add_word(s, t, "--", key, "=", text);
    if (kd_json_get_bool(o, inside, &truth))
        return add_word(s, t, truth ? "--" : "--no-", key, "", "");
    if (!kd_json_get_count(o, inside, &count)) return wrong(s, key, "it is no value of an option");
    if (!takes_list(key))
        return wrong(s, key, "it has one value; the grid has a list of them, each for a student");
    int status = CLI_DONE;
    for (size_t i = 0; i < count && !status; i++) {
        kd_json_object *element;
        if (kd_json_get_element(o, inside, i, &element)) return cli_fail_ctx(s->ctx);
        text = sweep_text_of(element, "value", value);
        status = text ? add_word(s, t, "--", key, "=", text)
                      : wrong(s, key, "a list holds words and numbers alone");
        kd_json_object_destroy(element);
    }
    return status;
}

/* Said by the command line, for all students. */
static bool is_reserved(const char *key)
{
    static const char *const names[] = {"out",  "resume",  "overwrite", "json",      "quiet",
                                        "help", "dry_run", "threads",   "max_memory"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t k = 0;
        while (names[i][k] && (names[i][k] == key[k] || (names[i][k] == '_' && key[k] == '-'))) k++;
        if (!names[i][k] && !key[k]) return true;
    }
    return false;
}

static bool has(const kd_json_object *o, const char *key)
{
    const char *k;
    for (size_t i = 0; o && (k = kd_json_key(o, i)); i++)
        if (!strcmp(k, key)) return true;
    return false;
}

/* The options of an object, but for those of `first` and `second`, which come before it. */
static int add_options(document *d, sweep_student *t, const kd_json_object *o,
                       const kd_json_object *first, const kd_json_object *second, bool student)
{
    const char *key;
    for (size_t i = 0; o && (key = kd_json_key(o, i)); i++) {
        if (student && (!strcmp(key, "name") || !strcmp(key, "spec"))) continue;
        if (is_reserved(key)) {
            char what[120];
            snprintf(what, sizeof what, "'%.60s' is said to kd sweep itself", key);
            return wrong(d->s, t->name, what);
        }
        if (has(first, key) || has(second, key)) continue;
        const int status = add_option(d->s, t, key, o, key);
        if (status) return status;
    }
    return CLI_DONE;
}

/* ---- students -------------------------------------------------------------------------------- */

int sweep_begin(sweep *s)
{
    s->students = kd_ctx_alloc(s->ctx, SWEEP_MOST, sizeof(sweep_student *));
    return s->students ? CLI_DONE : cli_fail_ctx(s->ctx);
}

int sweep_add_word(sweep *s, sweep_student *t, const char *word)
{
    return add_word(s, t, "", "", "", word);
}

sweep_student *sweep_add(sweep *s)
{
    sweep_student *t = s->n < SWEEP_MOST ? kd_ctx_alloc(s->ctx, 1, sizeof *t) : NULL;
    if (!t) {
        if (s->n < SWEEP_MOST)
            cli_fail_ctx(s->ctx);
        else
            wrong(s, "", "it has too many students");
        return NULL;
    }
    s->students[s->n++] = t;
    return t;
}

static void append(char name[SWEEP_NAME], const char *text)
{
    const size_t used = strlen(name);
    snprintf(name + used, SWEEP_NAME - used, "%s", text);
}

/* The values of grid point `at`, as options and in the name: "small-temperature=4". */
static int add_point(document *d, sweep_student *t, const size_t at[AXES])
{
    for (size_t a = 0; a < d->axes; a++) {
        char value[40];
        kd_json_object *element;
        const char *key = kd_json_key(d->grid, a);
        int truth;
        if (kd_json_get_element(d->grid, key, at[a], &element)) return cli_fail_ctx(d->s->ctx);
        const char *text = sweep_text_of(element, "value", value);
        append(t->name, "-");
        append(t->name, key);
        append(t->name, "=");
        const size_t before = strlen(t->name);
        if (text)
            append(t->name, text);
        else if (kd_json_get_bool(element, "value", &truth))
            append(t->name, truth ? "true" : "false");
        for (char *c = t->name + before; *c; c++) /* a value may be a path */
            if (*c == '/') *c = '_';
        const int status =
            !strcmp(key, "spec") ? CLI_DONE : add_option(d->s, t, key, element, "value");
        kd_json_object_destroy(element);
        if (status) return status;
    }
    return CLI_DONE;
}

/* What may be in a folder's name, and be printed, on every system. */
static bool plain_name(const char *name)
{
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c < ' ' || *c == 127 || *c == '/' || *c == '\\') return false;
    return *name && strlen(name) <= 180 && *name != '.' && *name != '-';
}

static int check_name(const sweep *s, const sweep_student *t)
{
    char shown[SWEEP_NAME];
    snprintf(shown, sizeof shown, "%s", t->name);
    for (char *c = shown; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    if (!plain_name(t->name))
        return wrong(s, shown,
                     "a student's name is a folder's: 1 to 180 characters, without '/', '\\' and "
                     "control characters, and not beginning with '.' or '-'");
    for (size_t i = 0; i + 1 < s->n; i++)
        if (!strcmp(s->students[i]->name, t->name))
            return wrong(s, t->name, "two students have this name");
    return CLI_DONE;
}

int sweep_parse(sweep *s, sweep_student *t)
{
    static char from[CLI_PATH + SWEEP_NAME + 8];
    const cli_command *command = cli_commands;
    const cli_args *a = s->args;
    while (command->bit != CMD_DISTILL) command++;
    snprintf(from, sizeof from, "%s: %s", s->file, t->name);
    cli_options_are_from(from);
    int status = cli_parse(command, t->n_words, t->words, &t->args) ? CLI_FAILED : CLI_DONE;
    if (!status) status = cli_session_check(&t->args);
    if (status) return status;
    if (snprintf(t->out, sizeof t->out, "%s/%s", a->train.out, t->name) >= (int)sizeof t->out)
        return wrong(s, t->name, "the path of its folder is too long");
    t->args.argc = a->argc;
    t->args.argv = a->argv;
    t->args.train.out = a->dry_run ? NULL : t->out;
    t->args.train.resume = a->dry_run ? 0 : a->train.resume;
    t->args.train.overwrite = a->dry_run ? 0 : a->train.overwrite;
    t->args.threads = a->threads;
    t->args.max_memory = a->max_memory;
    t->args.quiet = true;
    return CLI_DONE;
}

static int add_student(document *d, const kd_json_object *o, const size_t at[AXES])
{
    sweep *s = d->s;
    sweep_student *t = sweep_add(s);
    if (!t) return CLI_FAILED;
    const char *name = kd_json_get_string(o, "name"), *spec = kd_json_get_string(o, "spec");
    if (!name) return wrong(s, "students", "one has no 'name'");
    if (strlen(name) > 100) return wrong(s, "students", "a name is too long");
    snprintf(t->name, sizeof t->name, "%s", name);
    if (!spec) return wrong(s, name, "it has no 'spec'");
    int status = add_options(d, t, d->common, o, d->grid, false);
    if (!status) status = add_options(d, t, o, d->grid, NULL, true);
    if (!status) status = add_point(d, t, at);
    if (!status) status = check_name(s, t);
    if (!status) status = add_word(s, t, "--", "", "", "");
    if (!status) status = add_word(s, t, "", "", "", spec);
    return status ? status : sweep_parse(s, t);
}

/* The student at every point of the grid. */
static int add_points(document *d, const kd_json_object *o)
{
    size_t at[AXES] = {0};
    for (;;) {
        const int status = add_student(d, o, at);
        if (status) return status;
        size_t a = d->axes;
        while (a > 0 && ++at[a - 1] == d->length[a - 1]) at[--a] = 0;
        if (a == 0) return CLI_DONE;
    }
}

/* ---- the file -------------------------------------------------------------------------------- */

static int check_keys(const document *d)
{
    const char *key;
    for (size_t i = 0; (key = kd_json_key(d->root, i)); i++)
        if (strcmp(key, "common") && strcmp(key, "students") && strcmp(key, "grid")) {
            char what[120];
            snprintf(what, sizeof what, "'%.60s' is none of common, students, grid", key);
            return wrong(d->s, "", what);
        }
    return CLI_DONE;
}

static int read_grid(document *d)
{
    const char *key;
    if (has(d->root, "common") && kd_json_get_object(d->root, "common", &d->common))
        return wrong(d->s, "common", "it must be an object");
    if (!has(d->root, "grid")) return CLI_DONE;
    if (kd_json_get_object(d->root, "grid", &d->grid))
        return wrong(d->s, "grid", "it must be an object");
    for (size_t i = 0; (key = kd_json_key(d->grid, i)); i++) {
        if (i == AXES) return wrong(d->s, "grid", "it has too many options");
        if (is_reserved(key) || !strcmp(key, "spec") || !strcmp(key, "name"))
            return wrong(d->s, key, "the grid does not multiply it");
        if (!kd_json_get_count(d->grid, key, &d->length[i]) || d->length[i] == 0)
            return wrong(d->s, key, "the grid has a list of values for each option");
        d->axes++;
    }
    return CLI_DONE;
}

static int read_students(document *d)
{
    size_t count;
    int status = CLI_DONE;
    if (!kd_json_get_count(d->root, "students", &count) || count == 0)
        return wrong(d->s, "students", "it must be a list of students");
    for (size_t i = 0; i < count && !status; i++) {
        kd_json_object *element, *o = NULL;
        if (kd_json_get_element(d->root, "students", i, &element)) return cli_fail_ctx(d->s->ctx);
        if (kd_json_get_object(element, "value", &o))
            status = wrong(d->s, "students", "a student is an object with name and spec");
        else
            status = add_points(d, o);
        kd_json_object_destroy(o);
        kd_json_object_destroy(element);
    }
    return status;
}

int sweep_read(sweep *s)
{
    document d = {.s = s};
    char *text;
    size_t size;
    kd_status failed = kd_file_read_all(s->ctx, s->file, LARGEST, &text, &size);
    if (failed) return cli_fail_ctx(s->ctx);
    int status = sweep_begin(s);
    if (!status) failed = kd_json_parse(s->ctx, text, size, &d.root);
    kd_ctx_free(s->ctx, text);
    if (status) return status;
    if (failed) return wrong(s, "", kd_ctx_error(s->ctx));
    status = check_keys(&d);
    if (!status) status = read_grid(&d);
    if (!status) status = read_students(&d);
    kd_json_object_destroy(d.grid);
    kd_json_object_destroy(d.common);
    kd_json_object_destroy(d.root);
    cli_options_are_from(s->file);
    return status;
}

void sweep_free(sweep *s)
{
    for (size_t i = s->n; i-- > 0;) {
        sweep_student *t = s->students[i];
        for (int w = 0; w < t->n_words; w++) kd_ctx_free(s->ctx, t->words[w]);
        kd_ctx_free(s->ctx, t);
    }
    kd_ctx_free(s->ctx, s->students);
}

int cmd_sweep(cli_args *args)
{
    const kd_config config = {.struct_size = sizeof config, .threads = 1, .isa = "generic"};
    sweep s = {.args = args, .file = args->words[0]};
    if (!args->train.out && !args->dry_run) return cli_usage("sweep", "--out DIR is missing");
    if (!args->train.out) args->train.out = "";
    const kd_status made = kd_ctx_create(&config, &s.ctx);
    if (made) return cli_fail("no context: %s", kd_status_text(made));
    cli_catch_signals();
    int status = sweep_read(&s);
    if (!status) status = sweep_run(&s);
    sweep_free(&s);
    kd_ctx_destroy(s.ctx);
    return status;
}
