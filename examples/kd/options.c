/* SPDX-License-Identifier: MIT
 * options.c: parsing the command line by the table of options. A word that starts with '-' is an
 * option, except a single '-' and words after '--'. "--name value" and "--name=value" are the same.
 * If an option is given twice, the last one counts, and that is said if it is another value; a list
 * grows. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool cli_is_spec(const char *word)
{
    const size_t length = strcspn(word, ",");
    const char *name;
    for (size_t i = 0; (name = kd_model_name_at(i)); i++)
        if (strlen(name) == length && !memcmp(name, word, length)) return true;
    return false;
}

void cli_choices(const cli_option *option, char *out, size_t size)
{
    const char *name;
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; (name = option->choice(i)) && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "|" : "", name);
}

/* ---- one value ------------------------------------------------------------------------------- */

/* What is wrong with a value, or "". */
typedef struct complaint {
    char text[200];
} complaint;

static complaint set_choice(const cli_option *o, const char *value, int *field)
{
    complaint c = {""};
    char names[120], shown[40];
    cli_guess guess = cli_guess_for(value);
    const char *name;
    for (int i = 0; (name = o->choice(i)); i++)
        if (!strcmp(name, value)) {
            *field = i;
            return c;
        }
    cli_choices(o, names, sizeof names);
    for (int i = 0; (name = o->choice(i)); i++) cli_guess_try(&guess, name);
    snprintf(shown, sizeof shown, guess.best ? "; did you mean %s?" : "%s",
             guess.best ? guess.best : "");
    snprintf(c.text, sizeof c.text, "it must be %s%s", names, shown);
    return c;
}

static complaint set_number(const cli_option *o, const char *value, double *field)
{
    complaint c = {""};
    double number;
    if (!cli_parse_number(value, &number))
        snprintf(c.text, sizeof c.text, "it must be a number");
    else if (number < o->low && o->low < 1e-12)
        snprintf(c.text, sizeof c.text,
                 o->low > 0 ? "it must be above 0" : "it must be at least 0");
    else if (number < o->low)
        snprintf(c.text, sizeof c.text, "it must be at least %.10g", o->low);
    else if (number > o->high)
        snprintf(c.text, sizeof c.text, "it must be at most %.10g", o->high);
    else
        *field = number;
    return c;
}

/* Digits, with a unit if one may be there, but more than any number here has. */
static bool is_huge(const char *value, bool bytes)
{
    const size_t digits = strspn(value, "0123456789");
    return digits &&
           (!value[digits] || (bytes && strchr("KMGT", value[digits]) && !value[digits + 1]));
}

static complaint set_count(const cli_option *o, const char *value, uint64_t *field)
{
    complaint c = {""};
    uint64_t number;
    const bool bytes = o->kind == OPT_BYTES;
    const bool read = bytes ? cli_parse_bytes(value, &number) : cli_parse_count(value, &number);
    if (!read && !is_huge(value, bytes))
        snprintf(c.text, sizeof c.text,
                 bytes ? "it must be a whole number, perhaps with K, M, G or T after it"
                       : "it must be a whole number");
    else if (!read || (double)number < o->low || (double)number > o->high)
        snprintf(c.text, sizeof c.text, "it must be from %.0f to %.19g", o->low, o->high);
    else
        *field = number;
    return c;
}

static complaint set_pieces(const cli_option *o, const char *value, uint64_t *field)
{
    if (!strcmp(value, "auto")) {
        *field = CLI_AUTO;
        return (complaint){""};
    }
    const complaint c = set_count(o, value, field);
    if (c.text[0]) return (complaint){"it must be a whole number from 1 on, or auto"};
    return c;
}

static complaint set_picture(const char *value, uint64_t *field)
{
    complaint c = {""};
    if (!cli_parse_picture(value, field))
        snprintf(c.text, sizeof c.text,
                 "it must be from 1 to %d, or two of these, HEIGHTxWIDTH: 48x96", CLI_MOST_PIXELS);
    return c;
}

/* A number as the library takes it: where zero is a value of its own, it is KD_OFF there. */
static double or_off(const kd_option *o, double number)
{
    return number == 0 && (o->flags & KD_CAN_BE_OFF) ? (double)KD_OFF : number;
}

static complaint set_library(const cli_option *o, const char *value, void *field)
{
    complaint c = {""};
    double number = 0;
    uint64_t count = 0;
    switch (o->library->type) {
    case KD_OPTION_FLAG:
        *(int *)field = value ? -1 : 1;
        break;
    case KD_OPTION_TEXT:
        *(const char **)field = value;
        if (!*value) snprintf(c.text, sizeof c.text, "it must not be empty");
        break;
    case KD_OPTION_CHOICE:
        return set_choice(o, value, field);
    case KD_OPTION_FLOAT:
        c = set_number(o, value, &number);
        if (!c.text[0]) *(float *)field = (float)or_off(o->library, number);
        break;
    case KD_OPTION_DOUBLE:
        c = set_number(o, value, &number);
        if (!c.text[0]) *(double *)field = or_off(o->library, number);
        break;
    case KD_OPTION_PIECES:
        c = set_pieces(o, value, &count);
        if (!c.text[0]) *(size_t *)field = count == CLI_AUTO ? KD_MICRO_AUTO : (size_t)count;
        break;
    case KD_OPTION_COUNT:
        c = set_count(o, value, &count);
        if (!c.text[0]) *(size_t *)field = (size_t)count;
        break;
    case KD_OPTION_U64:
        return set_count(o, value, field);
    }
    return c;
}

/* value NULL: a flag that is set; "": one that is turned off. */
static complaint set_value(const cli_option *o, const char *value, cli_args *args)
{
    complaint c = {""};
    void *field = (char *)args + o->offset;
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)field = true;
        break;
    case OPT_TEXT:
        *(const char **)field = value;
        if (!*value) snprintf(c.text, sizeof c.text, "it must not be empty");
        break;
    case OPT_COUNT:
    case OPT_BYTES:
        return set_count(o, value, field);
    case OPT_PIECES:
        return set_pieces(o, value, field);
    case OPT_PICTURE:
        return set_picture(value, field);
    case OPT_NUMBER:
        return set_number(o, value, field);
    case OPT_CHOICE:
        return set_choice(o, value, field);
    case OPT_FILES:
        if (!*value)
            snprintf(c.text, sizeof c.text, "it must not be empty");
        else if (args->n_teachers == KD_MAX_TEACHERS)
            snprintf(c.text, sizeof c.text, "there may be %d at most", KD_MAX_TEACHERS);
        else
            args->teachers[args->n_teachers++] = value;
        break;
    case OPT_NUMBERS:
        if (args->n_teacher_weights == KD_MAX_TEACHERS)
            snprintf(c.text, sizeof c.text, "there may be %d at most", KD_MAX_TEACHERS);
        else
            c = set_number(o, value, &args->teacher_weights[args->n_teacher_weights]);
        args->n_teacher_weights += !c.text[0];
        break;
    case OPT_LIBRARY:
        return set_library(o, value, field);
    }
    return c;
}

static void set_defaults(unsigned command, cli_args *args)
{
    const cli_option *o;
    args->train.struct_size = sizeof args->train;
    args->distill.struct_size = sizeof args->distill;
    args->distill.train = &args->train;
    for (size_t i = 0; (o = cli_option_at(i)); i++) {
        if (o->kind == OPT_NUMBER) *(double *)(void *)((char *)args + o->offset) = NAN;
        if (o->standard && o->kind != OPT_LIBRARY && (o->commands & command))
            set_value(o, o->standard, args);
    }
}

/* ---- words ----------------------------------------------------------------------------------- */

bool cli_is_flag(const cli_option *o)
{
    return o->kind == OPT_FLAG || (o->library && o->library->type == KD_OPTION_FLAG);
}

bool cli_is_list(const cli_option *o)
{
    return o->kind == OPT_FILES || o->kind == OPT_NUMBERS;
}

static const cli_option *find(const char *name, size_t length, unsigned commands)
{
    const cli_option *o;
    for (size_t i = 0; (o = cli_option_at(i)); i++)
        if ((o->commands & commands) && strlen(o->name) == length && !memcmp(o->name, name, length))
            return o;
    return NULL;
}

static size_t place_of(const cli_option *o)
{
    size_t i = 0;
    while (cli_option_at(i) != o) i++;
    return i;
}

bool cli_given(const cli_args *args, const char *name)
{
    const cli_option *o = find(name, strlen(name), args->command->bit);
    return o && args->given[place_of(o)];
}

/* "no-NAME" of a flag that is on by default. */
static const cli_option *find_negated(const char *name, size_t length, unsigned commands)
{
    if (length < 4 || memcmp(name, "no-", 3)) return NULL;
    const cli_option *o = find(name + 3, length - 3, commands);
    return o && o->on ? o : NULL;
}

/* An option of others: which. */
static int of_others(const cli_command *command, const char *name, const char *shown)
{
    char others[200] = "";
    size_t used = 0;
    for (const cli_command *c = cli_commands; c->name && used < sizeof others; c++)
        if (find(name, strlen(name), c->bit))
            used += (size_t)snprintf(others + used, sizeof others - used, "%s%s", used ? ", " : "",
                                     c->name);
    return cli_usage(command->name, "%s is no option of this command, but of %s", shown, others);
}

static int unknown(const cli_command *command, const char *word)
{
    char name[66], shown[160], safe[160];
    const char *body = word + strspn(word, "-");
    const cli_option *o;
    const size_t length = strcspn(word, "=");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(body, "="), body);
    snprintf(shown, sizeof shown, "%.*s", (int)(length < 150 ? length : 150), word);
    cli_escape(shown, safe, sizeof safe);
    const bool off = !strncmp(name, "no-", 3) && !find(name, strlen(name), CMD_ALL);
    cli_guess guess = cli_guess_for(name + (off ? 3 : 0));
    for (size_t i = 0; (o = cli_option_at(i)); i++)
        if ((o->commands & command->bit) && (o->on || !off)) cli_guess_try(&guess, o->name);
    const bool other = !guess.best || guess.distance > 0;
    if (other && find(name, strlen(name), CMD_ALL)) return of_others(command, name, safe);
    if (guess.best)
        return cli_usage(command->name, "there is no option %s; did you mean --%s%s?", safe,
                         off ? "no-" : "", guess.best);
    return cli_usage(command->name, "there is no option %s", safe);
}

static int bad_value(const cli_command *command, const cli_option *o, const char *value,
                     const char *why)
{
    char shown[120];
    return cli_usage(command->name, "--%s %s: %s", o->name, cli_escape(value, shown, sizeof shown),
                     why);
}

/* Note that it was typed. value of a flag: "on" or "off". */
static void note_given(cli_args *args, const cli_option *o, const char *value)
{
    char last[120], first[120];
    const char **given = &args->given[place_of(o)];
    if (*given && !cli_is_list(o) && strcmp(*given, value))
        cli_warn("--%s is given twice: %s counts, not %s", o->name,
                 cli_escape(value, last, sizeof last), cli_escape(*given, first, sizeof first));
    *given = value;
}

/* Does a word that follows a list's option belong to it? */
static bool continues(const cli_option *o, const char *word)
{
    double number;
    if (!word || word[0] == '-') return false;
    if (o->kind == OPT_NUMBERS) return cli_parse_number(word, &number);
    return o->kind == OPT_FILES && !cli_is_spec(word);
}

/* argv[i] is an option; the index of the word after it and its values, or -1. */
static int take_option(cli_args *args, int argc, char **argv, int i)
{
    const cli_command *command = args->command;
    const char *word = argv[i++];
    if (!strcmp(word, "-h")) word = "--help";
    if (!strcmp(word, "-q")) word = "--quiet";
    if (!strcmp(word, "-o")) word = "--out";
    const bool dashes = word[0] == '-' && word[1] == '-';
    const char *equals = strchr(word, '=');
    const size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const cli_option *o = dashes ? find(word + 2, length - 2, command->bit) : NULL;
    const cli_option *off = dashes && !o ? find_negated(word + 2, length - 2, command->bit) : NULL;
    if (off) o = off;
    if (!o) {
        unknown(command, word);
        return -1;
    }
    if (cli_is_flag(o)) {
        if (equals) {
            cli_usage(command->name, "--%s takes no value", o->name);
            return -1;
        }
        set_value(o, off ? "" : NULL, args);
        note_given(args, o, off ? "off" : "on");
        return i;
    }
    const char *value = equals ? equals + 1 : i < argc ? argv[i] : NULL;
    if (!value || (!equals && value[0] == '-' && value[1] == '-')) {
        cli_usage(command->name, "--%s needs a value", o->name);
        return -1;
    }
    if (!equals) i++;
    for (;;) {
        const complaint c = set_value(o, value, args);
        if (c.text[0]) {
            bad_value(command, o, value, c.text);
            return -1;
        }
        note_given(args, o, value);
        if (i >= argc || !continues(o, argv[i])) return i;
        value = argv[i++];
    }
}

static int check_words(const cli_args *args)
{
    const cli_command *command = args->command;
    const char *missing = args->n_words < CLI_MAX_WORDS ? command->words[args->n_words] : NULL;
    if (!missing) return CLI_DONE;
    if (args->n_teachers > 1)
        return cli_usage(command->name,
                         "%s is missing (words after --teacher are the teachers' files)", missing);
    return cli_usage(command->name, "%s is missing", missing);
}

/* May this word of the command be several? */
static bool takes_more(const cli_command *command, int word)
{
    const char *name = word >= 0 && word < CLI_MAX_WORDS ? command->words[word] : NULL;
    return name && strlen(name) > 3 && !strcmp(name + strlen(name) - 3, "...");
}

/* argv[i] is a word. Where there are more than places, one joins the others, in argv's first
 * places, whose words are done with: this one, if the last word may be several; the one that was
 * last until now, if the one before it may. */
static int take_word(cli_args *args, char **argv, int i, int *last)
{
    const cli_command *command = args->command;
    char shown[120], *word = argv[i];
    const bool full = args->n_words == CLI_MAX_WORDS || !command->words[args->n_words];
    if (full && takes_more(command, args->n_words - 1) && *word) {
        argv[args->n_more++] = word;
        return CLI_DONE;
    }
    if (full && takes_more(command, args->n_words - 2) && *word) {
        argv[args->n_more++] = argv[*last];
        args->n_words--;
    }
    *last = i;
    if (args->n_words == CLI_MAX_WORDS || !command->words[args->n_words])
        return cli_usage(command->name, "'%s' is one word too many",
                         cli_escape(word, shown, sizeof shown));
    if (!*word) return cli_usage(command->name, "%s is empty", command->words[args->n_words]);
    args->words[args->n_words++] = word;
    return CLI_DONE;
}

int cli_parse(const cli_command *command, int argc, char **argv, cli_args *args)
{
    bool options = true;
    int last = 0;
    memset(args, 0, sizeof *args);
    args->command = command;
    args->more = argv;
    set_defaults(command->bit, args);
    for (int i = 0; i < argc;) {
        const char *word = argv[i];
        if (options && !strcmp(word, "--")) {
            options = false;
            i++;
        } else if (options && word[0] == '-' && word[1]) {
            i = take_option(args, argc, argv, i);
            if (i < 0) return CLI_USAGE;
            if (args->help) return CLI_DONE;
        } else {
            const int status = take_word(args, argv, i, &last);
            if (status) return status;
            i++;
        }
    }
    return check_words(args);
}

/* ---- the library's options ------------------------------------------------------------------- */

/* Without a teacher nothing reads an option of distillation. */
static int check_untaught(const cli_args *a)
{
    const cli_option *o;
    for (size_t i = 0; (o = cli_option_at(i)); i++) {
        const kd_option *l = o->library;
        if (!l || l->of != KD_OF_DISTILL || !(o->commands & a->command->bit)) continue;
        if (kd_option_get(l, &a->distill) == 0) continue;
        return cli_usage(a->command->name, "--%s: without a teacher nothing reads it", o->name);
    }
    return CLI_DONE;
}

static int check(const cli_args *a, kd_ctx *ctx, const kd_model *model, const kd_train_opt *train,
                 bool taught)
{
    char text[400];
    if (!taught && check_untaught(a)) return CLI_USAGE;
    if (!kd_options_check(ctx, model, train, taught ? &a->distill : NULL, NULL)) return CLI_DONE;
    cli_as_typed(kd_ctx_error(ctx), text, sizeof text);
    return cli_usage(a->command->name, "%s", text);
}

/* The networks that a run begins with, by name or as files. */
static int check_named(const cli_args *a, kd_ctx *ctx)
{
    char spec[KD_SPEC_SIZE];
    const char *word = a->words[0];
    int status = CLI_DONE;
    const bool name = a->command->bit == CMD_TRAIN || (a->command->bit == CMD_DISTILL &&
                                                       !strpbrk(word, "/.") && access(word, F_OK));
    if (cli_is_spec(word) && (a->model || a->reset_head))
        return cli_usage(a->command->name, "--%s is for a file; %s is the name of a network",
                         a->model ? "model" : "reset-head", word);
    if (!cli_is_spec(word))
        status = name ? cli_complete(ctx, word, NULL, 0, spec) : cli_is_there(word);
    for (size_t i = 0; i < a->n_teachers && !status; i++) status = cli_is_there(a->teachers[i]);
    return status;
}

int cli_check(const cli_args *a, kd_ctx *ctx, bool taught)
{
    kd_train_opt train = a->train;
    if (train.optimizer == KD_OPTIMIZER_AUTO) { /* a CNN's or a transformer's: not known yet */
        train.momentum = train.eps = 0;
        train.beta1 = train.beta2 = 0;
        train.nesterov = 0;
    }
    if (a->command->bit == CMD_STEP) train.micro_batch = 0; /* nor the batch */
    const int status = check(a, ctx, NULL, &train, taught);
    return status || !(a->command->bit & CMD_TRAINS) ? status : check_named(a, ctx);
}

int cli_defaults(cli_args *a, kd_ctx *ctx, const kd_model *model, bool taught)
{
    const int status = check(a, ctx, model, &a->train, taught);
    if (status) return status;
    kd_train_defaults(&a->train, model);
    if (taught) kd_distill_defaults(&a->distill);
    return CLI_DONE;
}
