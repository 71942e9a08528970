/* SPDX-License-Identifier: MIT
 * rerun.c: kd rerun: a recorded run again, from any working directory. run.json is turned into
 * words of a command line, which are parsed like typed ones: so a value of the file is valid or
 * refused. Before the first step the record is compared with the data, teachers, start and program
 * of now. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_WORDS = 200, LARGEST = 1 << 26 };

typedef struct record {
    kd_ctx *ctx;
    char path[CLI_PATH + 20], folder[CLI_PATH + 20]; /* run.json, and where it lies */
    const char *out;                                 /* where the repeated run goes, or NULL */
    kd_json_object *all, *options, *rerun, *data, *result; /* result: may be NULL */
    char *words[MOST_WORDS];
    int n;
    bool full; /* words did not fit, or there was no memory for them */
} record;

/* ---- words ----------------------------------------------------------------------------------- */

static void add_word(record *r, const char *name, const char *equals, const char *value)
{
    const size_t size = strlen(name) + strlen(equals) + strlen(value) + 1;
    char *word = r->n < MOST_WORDS ? kd_ctx_alloc(r->ctx, size, 1) : NULL;
    if (!word) {
        r->full = true;
        return;
    }
    snprintf(word, size, "%s%s%s", name, equals, value);
    r->words[r->n++] = word;
}

static void add_option(record *r, const char *name, const char *value)
{
    char dashed[60];
    snprintf(dashed, sizeof dashed, "--%s", name);
    add_word(r, dashed, value ? "=" : "", value ? value : "");
}

/* Options that are not taken from the record: others say the same, the command line has them, or
 * they mean nothing to a run that begins. */
static bool left_out(const cli_option *o)
{
    static const char *const names[] = {"data",    "data-dir",  "teacher", "teacher-weight", "out",
                                        "resume",  "overwrite", "json",    "quiet",          "help",
                                        "dry-run", "threads",   "cache"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], o->name)) return true;
    return false;
}

/* A number as it would be typed. 0 counts as not given if the option cannot be 0. */
static bool number_text(const kd_json_object *from, const cli_option *o, const char *key,
                        char out[40])
{
    int64_t integer;
    double number;
    if (kd_json_get_integer(from, key, &integer))
        snprintf(out, 40, "%lld", (long long)integer);
    else if (kd_json_get_number(from, key, &number))
        snprintf(out, 40, "%.17g", number);
    else
        return false;
    return !(o->low > 0 && strtod(out, NULL) == 0);
}

static void take_option(record *r, const cli_option *o, bool kept)
{
    char key[40], number[40];
    int truth;
    snprintf(key, sizeof key, "%s", o->name);
    for (char *c = key; *c; c++)
        if (*c == '-') *c = '_';
    const char *text = kd_json_get_string(r->options, key);
    if (!kept && o->library && o->library->needs && !strcmp(o->library->needs, "out")) return;
    if (text)
        add_option(r, o->name, text);
    else if (number_text(r->options, o, key, number))
        add_option(r, o->name, number);
    else if (kd_json_get_bool(r->options, key, &truth) && truth)
        add_option(r, o->name, NULL);
    else if (kd_json_get_bool(r->options, key, &truth) && o->on)
        add_word(r, "--no-", "", o->name);
}

static void take_options(record *r, const cli_command *command, bool kept)
{
    const cli_option *o;
    char key[40], number[40];
    const char *text;
    double weight;
    for (size_t i = 0; (o = cli_option_at(i)); i++)
        if ((o->commands & command->bit) && !left_out(o)) take_option(r, o, kept);
    const char *data = kd_json_get_string(r->rerun, "data");
    if (data) add_option(r, "data", data);
    text = kd_json_get_string(r->rerun, "data_dir");
    if (text && !(data && cli_data_alone(data))) add_option(r, "data-dir", text);
    if ((text = kd_json_get_string(r->rerun, "cache"))) add_option(r, "cache", text);
    for (size_t i = 0; i < KD_MAX_TEACHERS; i++) {
        snprintf(key, sizeof key, "teacher%zu", i);
        if ((text = kd_json_get_string(r->rerun, key))) add_option(r, "teacher", text);
        snprintf(key, sizeof key, "teacher%zu_weight", i);
        if (!kd_json_get_number(r->rerun, key, &weight)) continue;
        snprintf(number, sizeof number, "%.17g", weight);
        add_option(r, "teacher-weight", number);
    }
}

/* A key that is no option, as a later version may write it: what it did would be left out. NULL: there
 * is none. */
static const char *unknown_option(const record *r)
{
    const char *key;
    const cli_option *o;
    for (size_t i = 0; (key = kd_json_key(r->options, i)); i++) {
        bool known = false;
        for (size_t k = 0; (o = cli_option_at(k)) && !known; k++) {
            size_t n = 0;
            while (key[n] && (key[n] == o->name[n] || (key[n] == '_' && o->name[n] == '-'))) n++;
            known = !key[n] && !o->name[n];
        }
        if (!known) return key;
    }
    return NULL;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int broken(const record *r, const char *what)
{
    return cli_fail("%s: %s", r->path, what);
}

static int open_record(record *r)
{
    char *text;
    size_t size;
    kd_status status = kd_file_read_all(r->ctx, r->path, LARGEST, &text, &size);
    if (status) return cli_fail_ctx(r->ctx);
    status = kd_json_parse(r->ctx, text, size, &r->all);
    kd_ctx_free(r->ctx, text);
    if (status) return broken(r, kd_ctx_error(r->ctx));
    kd_json_get_object(r->all, "result", &r->result);
    if (kd_json_get_object(r->all, "options", &r->options) ||
        kd_json_get_object(r->all, "data", &r->data))
        return broken(r, "it is no record of a run");
    if (kd_json_get_object(r->all, "rerun", &r->rerun))
        return broken(r, "it does not say what a run needs to be repeated (`rerun`): an earlier "
                         "version wrote it");
    return CLI_DONE;
}

static void close_record(record *r)
{
    kd_json_object *const objects[] = {r->result, r->data, r->rerun, r->options, r->all};
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        kd_json_object_destroy(objects[i]);
    for (int i = 0; i < r->n; i++) kd_ctx_free(r->ctx, r->words[i]);
    kd_ctx_destroy(r->ctx);
}

static const cli_command *command_of(const record *r)
{
    const char *name = kd_json_get_string(r->all, "command");
    for (const cli_command *c = cli_commands; c->name && name; c++)
        if ((c->bit & CMD_TRAINS) && !strcmp(c->name, name)) return c;
    return NULL;
}

static void expect(const record *r, const cli_args *args, cli_expected *e)
{
    char key[40];
    *e = (cli_expected){.file = r->path, .check = args->check, .anyway = args->anyway};
    e->version = kd_json_get_string(r->all, "version");
    e->isa = kd_json_get_string(r->rerun, "isa");
    e->conv = kd_json_get_string(r->rerun, "KD_CONV");
    e->blas = kd_json_get_string(r->rerun, "blas");
    e->data_checksum = kd_json_get_string(r->data, "checksum");
    e->start_hash = kd_json_get_string(r->rerun, "start_hash");
    if (r->result) e->network_hash = kd_json_get_string(r->result, "network_hash");
    for (size_t i = 0; i < KD_MAX_TEACHERS; i++) {
        snprintf(key, sizeof key, "teacher%zu_hash", i);
        e->teacher_hash[i] = kd_json_get_string(r->rerun, key);
    }
}

/* If a kernel table or an algorithm was forced, force it again, unless another one is forced
 * now. */
static void force(const record *r)
{
    static const char *const names[] = {"KD_ISA", "KD_CONV", "KD_BLAS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *was = kd_json_get_string(r->rerun, names[i]);
        if (was) setenv(names[i], was, 0);
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

static int repeat(record *r, const cli_args *args)
{
    cli_args again;
    cli_expected expected;
    const cli_command *command = command_of(r);
    const char *spec = kd_json_get_string(r->rerun, "spec");
    const char *file = kd_json_get_string(r->rerun, "file");
    if (!command) return broken(r, "it is no record of kd train, distill or finetune");
    if (!spec && !file) return broken(r, "it does not say which network the run began with");
    expect(r, args, &expected);
    if (args->check && !expected.network_hash)
        return broken(r, "the run was not finished: there is nothing to compare with (--check)");
    const char *unknown = unknown_option(r);
    if (unknown && !args->anyway) {
        char what[120];
        snprintf(what, sizeof what, "there is no option '%.60s' here (--anyway runs it without)",
                 unknown);
        return broken(r, what);
    }
    take_options(r, command, r->out != NULL);
    add_word(r, "--", "", "");
    add_word(r, spec ? spec : file, "", "");
    if (r->full) return broken(r, "it has too many options");
    cli_options_are_from(r->path);
    if (cli_parse(command, r->n, r->words, &again)) return CLI_FAILED;
    again.argc = args->argc;
    again.argv = args->argv;
    again.train.out = r->out;
    again.train.overwrite = args->train.overwrite;
    again.json = args->json;
    again.quiet = args->quiet;
    again.threads = args->threads;
    again.expected = &expected;
    force(r);
    return cmd_train(&again);
}

/* Where it goes: --out; with --overwrite the record's own folder; with --check alone nowhere. */
static int choose_out(record *r, const cli_args *args)
{
    r->out = args->train.out ? args->train.out : args->train.overwrite ? r->folder : NULL;
    if (r->out || args->check) return CLI_DONE;
    return cli_usage("rerun", "the run that is recorded stays: --out DIR for another folder, "
                              "--overwrite to replace it, --check to compare and keep nothing");
}

static int find(record *r, const char *word)
{
    struct stat about;
    if (strlen(word) >= CLI_PATH) return cli_fail("the path is too long");
    if (stat(word, &about) != 0) return cli_fail("%s: %s", word, strerror(errno));
    snprintf(r->path, sizeof r->path, "%s%s", word, S_ISDIR(about.st_mode) ? "/run.json" : "");
    snprintf(r->folder, sizeof r->folder, "%s", r->path);
    char *slash = strrchr(r->folder, '/');
    if (slash)
        slash[slash == r->folder] = 0;
    else
        snprintf(r->folder, sizeof r->folder, ".");
    return CLI_DONE;
}

int cmd_rerun(cli_args *args)
{
    const kd_config config = {.struct_size = sizeof config, .threads = 1, .isa = "generic"};
    record r = {.n = 0};
    int status = find(&r, args->words[0]);
    if (!status) status = choose_out(&r, args);
    if (status) return status;
    const kd_status made = kd_ctx_create(&config, &r.ctx);
    if (made) return cli_fail("no context: %s", kd_status_text(made));
    status = open_record(&r);
    if (!status) status = repeat(&r, args);
    close_record(&r);
    return status;
}

/* ---- is it the same run? --------------------------------------------------------------------- */

typedef struct differences {
    char text[1500];
    size_t used;
} differences;

static void compare(differences *d, const char *what, const char *was, const char *is)
{
    if (was && is ? !strcmp(was, is) : was == is) return;
    const int n = snprintf(d->text + d->used, sizeof d->text - d->used, "%s%s was %s, is %s",
                           d->used ? "; " : "", what, was ? was : "not known", is ? is : "not set");
    if (n > 0) d->used += (size_t)n;
    if (d->used >= sizeof d->text) d->used = sizeof d->text - 1;
}

int cli_rerun_agrees(const cli_run *run)
{
    const cli_expected *e = run->args->expected;
    differences d = {"", 0};
    compare(&d, "the version", e->version, kd_version());
    compare(&d, "the kernel table", e->isa, kd_ctx_isa(run->ctx));
    compare(&d, "KD_CONV", e->conv, getenv("KD_CONV"));
    compare(&d, "the product's library", e->blas, kd_ctx_blas(run->ctx));
    compare(&d, "the data's checksum", e->data_checksum, cli_hash_text(run->data_checksum).text);
    compare(&d, "the start's hash", e->start_hash, cli_hash_text(run->start_hash).text);
    for (size_t i = 0; i < run->args->n_teachers; i++) {
        char name[60];
        snprintf(name, sizeof name, "the hash of teacher %zu", i);
        compare(&d, name, e->teacher_hash[i], cli_hash_text(run->teacher_hash[i]).text);
    }
    if (!d.used) return CLI_DONE;
    if (!e->anyway) return cli_fail("%s: %s (--anyway runs it nonetheless)", e->file, d.text);
    char safe[2000];
    fprintf(stderr, "kd: warning: %s\n", cli_escape(d.text, safe, sizeof safe));
    return CLI_DONE;
}
