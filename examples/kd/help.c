/* SPDX-License-Identifier: MIT
 * help.c: --help, made from the tables of commands and options. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 96, COLUMN = 30 };

/* Words of text from `column` on, broken at WIDTH; `at` is where the line stands. */
static void wrap(const char *text, int column, int at)
{
    while (*text) {
        const int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", length, text);
        at += length;
        text += length;
        while (*text == ' ') text++;
    }
    putchar('\n');
}

const cli_variable cli_environment[] = {
    {"KD_DATA", "folder of the data sets"},
    {"KD_ISA", "generic, avx2, avx512, amx, neon"},
    {"KD_CONV", "gemm, direct, depthwise, winograd, winograd2, small_map2, small_map4"},
    {"KD_BLAS", "builtin, openblas (for every product it can compute)"},
    {NULL, NULL},
};

void cli_option_text(const cli_option *o, char *out, size_t size)
{
    if (o->on)
        snprintf(out, size, "%s; the default; --no-%s: without", o->help, o->name);
    else
        snprintf(out, size, "%s%s%s%s%s", o->help, o->standard && *o->help ? " " : "",
                 o->standard ? "[" : "", o->standard ? o->standard : "", o->standard ? "]" : "");
}

static void show_option(const cli_option *o)
{
    char left[200], names[120], text[1200];
    const char *argument = o->argument;
    if (!argument && o->choice) {
        cli_choices(o, names, sizeof names);
        argument = names;
    }
    snprintf(left, sizeof left, "  --%s%s%s", o->name, argument ? " " : "",
             argument ? argument : "");
    cli_option_text(o, text, sizeof text);
    if (strlen(left) < COLUMN)
        printf("%-*s", COLUMN, left);
    else
        printf("%s\n%*s", left, COLUMN, "");
    wrap(text, COLUMN, COLUMN);
}

static void show_usage(const cli_command *c)
{
    printf("kd %s", c->name);
    for (int i = 0; i < CLI_MAX_WORDS && c->words[i]; i++) printf(" %s", c->words[i]);
    printf(" [options]\n");
}

void cli_help_command(const cli_command *c)
{
    const cli_option *o;
    static const char *const titles[KD_GROUPS] = {"Data and model", "Training", "Distillation",
                                                  "Run"};
    show_usage(c);
    printf("\n%s.\n", c->summary);
    if (c->words[0]) putchar('\n');
    for (int i = 0; i < CLI_MAX_WORDS && c->words[i]; i++) {
        printf("  %-8s ", c->words[i]);
        wrap(c->word_help[i], 11, 11);
    }
    for (int group = 0; group < KD_GROUPS; group++) {
        bool first = true;
        for (size_t i = 0; (o = cli_option_at(i)); i++) {
            if (!(o->commands & c->bit) || (int)o->group != group) continue;
            if (first) printf("\n%s (defaults in brackets)\n", titles[group]);
            first = false;
            show_option(o);
        }
    }
    printf("\n%s", c->text);
}

void cli_help(void)
{
    printf("kd %s: trains, distils and measures vision networks.\n\n  kd COMMAND [options]\n\n",
           kd_version());
    for (const cli_command *c = cli_commands; c->name; c++)
        printf("  %-12s%s\n", c->name, c->summary);
    printf("\n"
           "  kd COMMAND --help   what it takes, and examples\n"
           "  kd --version        version and how it was built\n"
           "\n"
           "Results go to standard output (--json: one JSON object), progress to standard error.\n"
           "Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n"
           "Environment:\n");
    for (size_t i = 0; cli_environment[i].name; i++)
        printf("  %-10s%s\n", cli_environment[i].name, cli_environment[i].help);
}
