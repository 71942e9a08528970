/* SPDX-License-Identifier: MIT
 * fuzz_options.c: a fuzz target. The input is a command line of `kd`: byte 0 says which command and
 * how many words it takes; then the words, each ended by a newline.
 *
 * Promises: what parses is in the range the table of options states, lists do not overflow, and
 * what is said about the rest is one printable line. Options that are found to be without a mistake
 * have, with the defaults, values within their ranges. The functions that would print stand here
 * instead of in kd.c. */
#include "fuzz.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../examples/kd/cli.h"

enum { WORDS = 64, COMMANDS = 16 };

/* ---- the way out, which is only looked at ---------------------------------------------------- */

static void say(const char *format, va_list list)
{
    char text[2048], safe[4096];
    vsnprintf(text, sizeof text, format, list);
    cli_escape(text, safe, sizeof safe);
    require(safe[0]);
    for (const char *p = safe; *p; p++) require((unsigned char)*p >= 0x20 && *p != 0x7F);
}

int cli_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(format, list);
    va_end(list);
    return CLI_FAILED;
}

void cli_warn(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(format, list);
    va_end(list);
}

int cli_fail_ctx(const kd_ctx *ctx)
{
    return cli_fail("%s", kd_ctx_error(ctx));
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list list;
    require(command != NULL);
    va_start(list, format);
    say(format, list);
    va_end(list);
    return CLI_USAGE;
}

int cli_flush(void)
{
    return CLI_DONE;
}

/* Some of the commands, by name: what an option of others is said to be of. */
const cli_command cli_commands[] = {
    {.bit = CMD_TRAIN, .name = "train"},     {.bit = CMD_DISTILL, .name = "distill"},
    {.bit = CMD_EVAL, .name = "eval"},       {.bit = CMD_PREDICT, .name = "predict"},
    {.bit = CMD_PROFILE, .name = "profile"}, {.name = NULL},
};

/* ---- what was parsed ------------------------------------------------------------------------- */

/* A member of the library's structs; settled: with the defaults, and read. */
static void check_library(const kd_option *o, const void *field, bool settled)
{
    double x = 0;
    int number;
    float real;
    size_t count;
    uint64_t wide;
    switch (o->type) {
    case KD_OPTION_FLAG:
        memcpy(&number, field, sizeof number);
        require(number >= -1 && number <= 1);
        return;
    case KD_OPTION_CHOICE:
        memcpy(&number, field, sizeof number);
        require(number >= 0);
        for (int i = 0; i <= number; i++) require(o->choice(i) != NULL);
        return;
    case KD_OPTION_COUNT:
    case KD_OPTION_PIECES:
        memcpy(&count, field, sizeof count);
        if (o->type == KD_OPTION_PIECES && count == KD_MICRO_AUTO) return;
        x = (double)count;
        break;
    case KD_OPTION_U64:
        memcpy(&wide, field, sizeof wide);
        x = (double)wide;
        break;
    case KD_OPTION_FLOAT:
        memcpy(&real, field, sizeof real);
        x = (double)real;
        break;
    case KD_OPTION_DOUBLE:
        memcpy(&x, field, sizeof x);
        break;
    case KD_OPTION_TEXT:
        return;
    }
    const bool off = x == (double)KD_OFF && (o->flags & KD_CAN_BE_OFF);
    /* a float may be rounded beyond the end of the range */
    require(off || (x == 0 && !settled) || (x >= o->low * .9999999 && x <= o->high * 1.0000001));
}

static void check_value(const cli_option *o, const cli_args *args)
{
    const void *field = (const char *)args + o->offset;
    double number;
    uint64_t count;
    int choice;
    if (o->library) {
        check_library(o->library, field, false);
    } else if (o->kind == OPT_NUMBER) {
        memcpy(&number, field, sizeof number);
        require(isnan(number) ? !o->standard : number >= o->low && number <= o->high);
    } else if (o->kind == OPT_COUNT || o->kind == OPT_BYTES) {
        memcpy(&count, field, sizeof count);
        require((double)count <= o->high && (count == 0 || (double)count >= o->low));
    } else if (o->kind == OPT_PIECES) {
        memcpy(&count, field, sizeof count);
        require(count <= (uint64_t)o->high || count == CLI_AUTO);
    } else if (o->kind == OPT_CHOICE) {
        memcpy(&choice, field, sizeof choice);
        require(choice >= 0);
        for (int i = 0; i <= choice; i++) require(o->choice(i) != NULL);
    }
}

/* As kd step does, which looks for no file. */
static void check_mistakes(const cli_args *given, bool taught)
{
    const cli_command step = {.bit = CMD_STEP, .name = "step"};
    cli_args args = *given;
    const kd_option *o;
    kd_ctx *ctx = fuzz_begin(0);
    args.command = &step;
    args.distill.train = &args.train;
    const int early = cli_check(&args, ctx, taught);
    const int status = cli_defaults(&args, ctx, NULL, taught);
    require(early == CLI_DONE || early == CLI_USAGE);
    require(status == CLI_DONE || status == CLI_USAGE);
    require(early == CLI_DONE || status == CLI_USAGE); /* what is wrong early is wrong later */
    for (size_t i = 0; !status && (o = kd_option_at(i)); i++) {
        const char *base =
            o->of == KD_OF_TRAIN ? (const char *)&args.train : (const char *)&args.distill;
        if (o->of == KD_OF_DISTILL && !taught) continue;
        const bool settled = o->standard[0] > 0 && o->by == KD_BY_NOTHING &&
                             kd_option_is_read(o, &args.train, taught ? &args.distill : NULL);
        check_library(o, base + o->offset, settled);
    }
    fuzz_end(ctx);
}

static void check(cli_args *args)
{
    require(args->n_teachers <= KD_MAX_TEACHERS && args->n_teacher_weights <= KD_MAX_TEACHERS);
    for (size_t i = 0; i < args->n_teachers; i++) require(args->teachers[i] != NULL);
    for (size_t i = 0; i < args->n_teacher_weights; i++)
        require(isfinite(args->teacher_weights[i]));
    require(args->n_words <= CLI_MAX_WORDS);
    for (int i = 0; i < args->n_words; i++) require(args->words[i][0]);
    if (args->help) return;
    const cli_option *o;
    for (size_t i = 0; (o = cli_option_at(i)); i++)
        if (o->commands & args->command->bit) check_value(o, args);
    if (args->command->bit & (CMD_TRAINS | CMD_STEP)) {
        check_mistakes(args, false);
        check_mistakes(args, true);
        kd_train_defaults(&args->train, NULL);
        kd_distill_defaults(&args->distill);
        require(isfinite(args->train.lr) && args->train.lr > 0);
        require(isfinite(args->distill.temperature) && isfinite(args->distill.hard));
    }
}

int FUZZ_TARGET(options)(const uint8_t *bytes, size_t size)
{
    char *argv[WORDS + 1] = {NULL};
    char *text = malloc(size + 1);
    cli_args args;
    fuzz_input in = {bytes, size};
    require(text != NULL);
    const unsigned how = fuzz_byte(&in);
    cli_command command = {.bit = 1u << how % COMMANDS, .name = "command"};
    for (unsigned i = 0; i < how / COMMANDS % (CLI_MAX_WORDS + 1); i++) command.words[i] = "WORD";
    if (in.left) memcpy(text, in.at, in.left);
    text[in.left] = 0;
    int argc = 0;
    for (char *p = text; *p && argc < WORDS;) {
        char *end = p + strcspn(p, "\n");
        argv[argc++] = p;
        p = *end ? end + 1 : end;
        *end = 0;
    }
    const int status = cli_parse(&command, argc, argv, &args);
    require(status == CLI_DONE || status == CLI_USAGE);
    if (status == CLI_DONE) check(&args);
    free(text);
    return 0;
}
