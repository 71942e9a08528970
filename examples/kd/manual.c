/* SPDX-License-Identifier: MIT
 * manual.c: kd manual: the manual page kd(1), or that of one command, kd-train(1), in roff, made from
 * the tables of commands and options. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* Print text so that roff prints it as it is: '-' as typed, no escapes, no requests. */
static void roff(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        const bool start = i == 0 || text[i - 1] == '\n';
        if (start && (c == '.' || c == '\'')) fputs("\\&", stdout);
        if (c == '\\')
            fputs("\\e", stdout);
        else if (c == '-')
            fputs("\\-", stdout);
        else if (c == '\'')
            fputs("\\(aq", stdout);
        else if (c == '^')
            fputs("\\(ha", stdout);
        else if (c == '~')
            fputs("\\(ti", stdout);
        else if (c == '`')
            fputs("\\(ga", stdout);
        else
            putchar(c);
    }
}

static void roff_text(const char *text)
{
    roff(text, strlen(text));
}

/* Lines; those that begin with blanks are examples, and stay as they are. */
static void roff_lines(const char *text)
{
    bool example = false;
    while (*text) {
        const size_t length = strcspn(text, "\n");
        const bool indented = *text == ' ';
        if (indented != example) puts(indented ? ".EX" : ".EE");
        example = indented;
        roff(text, length);
        putchar('\n');
        text += length + (text[length] == '\n');
    }
    if (example) puts(".EE");
}

static void show_option(const cli_option *o)
{
    char text[1200], names[200];
    const char *argument = o->argument;
    if (!argument && o->choice) {
        cli_choices(o, names, sizeof names);
        argument = names;
    }
    printf(".TP\n\\fB\\-\\-");
    roff_text(o->name);
    fputs("\\fR", stdout);
    if (argument) {
        fputs(" \\fI", stdout);
        roff_text(argument);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    cli_option_text(o, text, sizeof text);
    roff_text(text);
    putchar('\n');
}

/* Its words and options, then the text. */
static void show_details(const cli_command *c)
{
    const cli_option *o;
    for (int i = 0; i < CLI_MAX_WORDS && c->words[i]; i++) {
        printf(".TP\n\\fI%s\\fR\n", c->words[i]);
        roff_text(c->word_help[i]);
        putchar('\n');
    }
    for (int group = 0; group < KD_GROUPS; group++)
        for (size_t i = 0; (o = cli_option_at(i)); i++)
            if ((o->commands & c->bit) && (int)o->group == group && strcmp(o->name, "help"))
                show_option(o);
    if (c->text && *c->text) {
        puts(".PP");
        roff_lines(c->text);
    }
}

static void show_command(const cli_command *c)
{
    printf(".SS \"kd %s", c->name);
    for (int i = 0; i < CLI_MAX_WORDS && c->words[i]; i++) printf(" %s", c->words[i]);
    puts(" [\\fIoptions\\fR]\"");
    roff_text(c->summary);
    puts(".");
    show_details(c);
}

static void show_ends(void)
{
    puts(".SH EXIT STATUS\n"
         "0 done, 1 failed, 2 wrong usage, 130 interrupted.\n"
         ".SH ENVIRONMENT");
    for (size_t i = 0; cli_environment[i].name; i++) {
        printf(".TP\n.B %s\n", cli_environment[i].name);
        roff_text(cli_environment[i].help);
        putchar('\n');
    }
}

/* A page of one command: its summary begins small, as names of pages do. */
static int show_page(const cli_command *c)
{
    char title[40];
    size_t n = 0;
    for (; c->name[n] && n + 1 < sizeof title; n++)
        title[n] = (char)(c->name[n] >= 'a' && c->name[n] <= 'z' ? c->name[n] - 32 : c->name[n]);
    title[n] = 0;
    printf(".\\\" made by `kd manual --command %s`\n"
           ".TH KD-%s 1 \"\" \"libkd %s\" \"User Commands\"\n.nh\n.ad l\n.SH NAME\nkd-%s \\- ",
           c->name, title, kd_version(), c->name);
    roff_text(c->summary);
    printf("\n.SH SYNOPSIS\n.B kd %s\n", c->name);
    for (int i = 0; i < CLI_MAX_WORDS && c->words[i]; i++) printf("\\fI%s\\fR\n", c->words[i]);
    puts("[\\fIoptions\\fR]\n.SH DESCRIPTION");
    roff_text(c->summary);
    puts(".");
    show_details(c);
    show_ends();
    puts(".SH SEE ALSO\n.B kd\n(1)");
    return cli_flush();
}

int cmd_manual(cli_args *args)
{
    for (const cli_command *c = cli_commands; c->name && args->manual_of; c++)
        if (!strcmp(c->name, args->manual_of)) return show_page(c);
    if (args->manual_of) {
        char shown[100];
        return cli_usage("manual", "--command: there is no command %s",
                         cli_escape(args->manual_of, shown, sizeof shown));
    }
    printf(".\\\" made by `kd manual`\n"
           ".TH KD 1 \"\" \"libkd %s\" \"User Commands\"\n"
           ".nh\n"
           ".ad l\n"
           ".SH NAME\n"
           "kd \\- train, distil and measure vision networks\n"
           ".SH SYNOPSIS\n"
           ".B kd\n"
           "\\fICOMMAND\\fR [\\fIoptions\\fR]\n"
           ".PP\n"
           ".B kd help\n"
           "[\\fICOMMAND\\fR]\n"
           ".SH DESCRIPTION\n",
           kd_version());
    roff_text("Results go to standard output, progress to standard error. An option may be typed "
              "as --name value or --name=value; defaults stand in brackets. After -- no word is an "
              "option.\n");
    puts(".SH COMMANDS");
    for (const cli_command *c = cli_commands; c->name; c++) show_command(c);
    show_ends();
    return cli_flush();
}
