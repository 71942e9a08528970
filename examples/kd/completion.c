/* SPDX-License-Identifier: MIT
 * completion.c: kd completion: a script by which bash or zsh complete a command line of kd:
 * commands, options, values of choices, names of networks, files and folders. It is made from the
 * tables of commands and options. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* What the value of an option, or a word of a command, is. */
typedef enum value {
    VALUE_NONE,  /* a flag has none */
    VALUE_TYPED, /* a number, or another text that nobody can guess */
    VALUE_WORDS, /* one of some words */
    VALUE_SPEC,  /* a network's name */
    VALUE_FOLDER,
    VALUE_FILE, /* or a run's folder */
} value;

static bool begins(const char *text, const char *with)
{
    return text && !strncmp(text, with, strlen(with));
}

static value value_of(const cli_option *o)
{
    if (cli_is_flag(o)) return VALUE_NONE;
    if (o->choice || o->words) return VALUE_WORDS;
    if (begins(o->argument, "SPEC")) return VALUE_SPEC;
    if (begins(o->argument, "DIR")) return VALUE_FOLDER;
    if (begins(o->argument, "FILE")) return VALUE_FILE;
    return VALUE_TYPED;
}

static value value_of_word(const char *word)
{
    if (begins(word, "SPEC") || begins(word, "MODEL")) return VALUE_SPEC;
    return begins(word, "SHELL") ? VALUE_WORDS : VALUE_FILE;
}

/* The words of VALUE_WORDS, a blank between two. */
static void print_words(const cli_option *o)
{
    const char *name;
    if (o->words) fputs(o->words, stdout);
    for (int i = 0; o->choice && (name = o->choice(i)); i++) printf("%s%s", i ? " " : "", name);
}

static void print_specs(void)
{
    const char *name;
    for (size_t i = 0; (name = kd_model_name_at(i)); i++) printf("%s%s", i ? " " : "", name);
}

static void print_commands(void)
{
    for (const cli_command *c = cli_commands; c->name; c++) printf("%s ", c->name);
    fputs("help", stdout);
}

/* Is o the first of its name, of those that the command takes (NULL: any does)? */
static bool is_first(size_t at, const cli_command *c)
{
    const cli_option *o = cli_option_at(at);
    if (c && !(o->commands & c->bit)) return false;
    for (size_t i = 0; i < at; i++) {
        const cli_option *other = cli_option_at(i);
        if (!strcmp(o->name, other->name) && (!c || (other->commands & c->bit)) &&
            (c || value_of(o) == value_of(other)))
            return false;
    }
    return true;
}

/* ---- bash ------------------------------------------------------------------------------------ */

/* The options whose value is of this kind, as a pattern of case. */
static void bash_pattern(value kind)
{
    const cli_option *o;
    bool any = false;
    for (size_t i = 0; (o = cli_option_at(i)); i++) {
        if (value_of(o) != kind || !is_first(i, NULL)) continue;
        printf("%s--%s", any ? " | " : "    ", o->name);
        any = true;
    }
    puts(")");
}

/* Later options of that name, which belong to other commands and have other words. */
static void bash_other_words(size_t first)
{
    const cli_option *o, *same = cli_option_at(first);
    for (size_t i = first + 1; (o = cli_option_at(i)); i++) {
        if (strcmp(o->name, same->name) || value_of(o) != VALUE_WORDS) continue;
        fputs("\n        [[ ' ", stdout);
        for (const cli_command *c = cli_commands; c->name; c++)
            if (o->commands & c->bit) printf("%s ", c->name);
        fputs("' == *\" ${COMP_WORDS[1]} \"* ]] && words='", stdout);
        print_words(o);
        fputs("'", stdout);
    }
}

static void bash_values(void)
{
    const cli_option *o;
    for (size_t i = 0; (o = cli_option_at(i)); i++) {
        if (value_of(o) != VALUE_WORDS || !is_first(i, NULL)) continue;
        printf("    --%s) words='", o->name);
        print_words(o);
        fputs("'", stdout);
        bash_other_words(i);
        puts(" ;;");
    }
    bash_pattern(VALUE_SPEC);
    puts("        words=$specs ;;");
    bash_pattern(VALUE_FOLDER);
    puts("        _kd_files -d \"$cur\"\n        return ;;");
    bash_pattern(VALUE_FILE);
    puts("        _kd_files -f \"$cur\"\n        return ;;");
    bash_pattern(VALUE_TYPED);
    puts("        return ;;");
}

static void bash_commands(void)
{
    const cli_option *o;
    for (const cli_command *c = cli_commands; c->name; c++) {
        printf("    %s)\n        options='", c->name);
        bool any = false;
        for (size_t i = 0; (o = cli_option_at(i)); i++) {
            if (!is_first(i, c)) continue;
            printf("%s--%s%s", any ? " " : "", o->on ? "no-" : "", o->name);
            any = true;
        }
        printf("'\n        words=");
        if (!c->words[0])
            puts("none");
        else if (value_of_word(c->words[0]) == VALUE_WORDS)
            puts("'bash zsh'");
        else
            puts(value_of_word(c->words[0]) == VALUE_SPEC ? "$specs" : "");
        puts("        ;;");
    }
}

static void bash(void)
{
    puts("# bash completion of kd, made by `kd completion bash`\n"
         "_kd_files() # -f or -d, the beginning of a path\n"
         "{\n"
         "    local IFS=$'\\n'\n"
         "    COMPREPLY=($(compgen \"$1\" -- \"$2\"))\n"
         "    compopt -o filenames 2>/dev/null\n"
         "}\n"
         "_kd()\n"
         "{\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
         "    local before='' words='' options=''\n"
         "    ((COMP_CWORD > 1)) && before=${COMP_WORDS[COMP_CWORD-2]}\n"
         "    COMPREPLY=()");
    fputs("    local specs='", stdout);
    print_specs();
    puts("'\n"
         "    # bash cuts words at = and at :\n"
         "    if [[ $cur == '=' ]]; then cur=''; elif [[ $prev == '=' ]]; then prev=$before; fi\n"
         "    if [[ $cur == ':' && $prev == folder ]]; then _kd_files -d ''; return; fi\n"
         "    if [[ $prev == ':' && $before == folder ]]; then _kd_files -d \"$cur\"; return; fi\n"
         "    if ((COMP_CWORD == 1)) || [[ ${COMP_WORDS[1]} == help ]]; then");
    fputs("        words='", stdout);
    print_commands();
    puts(" --help --version'\n"
         "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "        return\n"
         "    fi\n"
         "    case $prev in");
    bash_values();
    puts("    esac\n"
         "    if [[ $words ]]; then\n"
         "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "        [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null\n"
         "        return\n"
         "    fi\n"
         "    case ${COMP_WORDS[1]} in");
    bash_commands();
    puts("    esac\n"
         "    if [[ $cur == -* ]]; then\n"
         "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
         "        return\n"
         "    fi\n"
         "    [[ $words == none ]] && return\n"
         "    [[ $words ]] && COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "    ((${#COMPREPLY[@]})) || _kd_files -f \"$cur\"\n"
         "}\n"
         "complete -F _kd kd");
}

/* ---- zsh ------------------------------------------------------------------------------------- */

/* Inside '...' and [...]: quotes end the one, brackets the other. The first clause is enough. */
static void zsh_text(const char *text)
{
    enum { LEAST = 30, MOST = 72 };
    size_t length = strcspn(text + 1, ";([") + 1;
    const char *comma = length > LEAST ? strstr(text + LEAST, ", ") : NULL;
    if (comma && (size_t)(comma - text) < length) length = (size_t)(comma - text);
    while (length > MOST || text[length - 1] == ' ') /* whole words */
        for (length--; length > 1 && text[length] != ' ';) length--;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\'')
            fputs("'\\''", stdout);
        else
            printf("%s%c", strchr("[]\\:", text[i]) ? "\\" : "", text[i]);
    }
}

static void zsh_value(const cli_option *o)
{
    const char *name = o->argument ? o->argument : o->name;
    if (value_of(o) == VALUE_NONE) return;
    printf(":%.*s:", (int)strcspn(name, ".|/"), name);
    switch (value_of(o)) {
    case VALUE_WORDS:
        if (!strcmp(o->name, "data")) {
            fputs("_kd_data", stdout);
            break;
        }
        putchar('(');
        print_words(o);
        putchar(')');
        break;
    case VALUE_SPEC:
        fputs("_kd_specs", stdout);
        break;
    case VALUE_FOLDER:
        fputs("_files -/", stdout);
        break;
    case VALUE_FILE:
        fputs("_files", stdout);
        break;
    case VALUE_TYPED:
    case VALUE_NONE:
        putchar(' ');
        break;
    }
}

static void zsh_option(const cli_option *o)
{
    const bool list = o->kind == OPT_FILES || o->kind == OPT_NUMBERS;
    printf(" \\\n            '%s--%s%s%s[", list ? "*" : "", o->on ? "no-" : "", o->name,
           cli_is_flag(o) ? "" : "=");
    zsh_text(o->help);
    putchar(']');
    zsh_value(o);
    putchar('\'');
}

static void zsh_word(const char *word, int place)
{
    const size_t length = strcspn(word, ".");
    const value kind = value_of_word(word);
    if (word[length])
        printf(" \\\n            '*:%.*s:", (int)length, word);
    else
        printf(" \\\n            '%d:%s:", place, word);
    fputs(kind == VALUE_SPEC ? "_kd_specs" : kind == VALUE_WORDS ? "(bash zsh)" : "_files", stdout);
    putchar('\'');
}

static void zsh_command(const cli_command *c)
{
    printf("    %s)\n        _arguments", c->name);
    for (size_t i = 0; cli_option_at(i); i++)
        if (is_first(i, c)) zsh_option(cli_option_at(i));
    for (int i = 0; i < CLI_MAX_WORDS && c->words[i]; i++) {
        zsh_word(c->words[i], i + 1);
        if (strchr(c->words[i], '.')) break; /* any number, up to the last word */
    }
    puts(" ;;");
}

static void zsh(void)
{
    const char *name;
    fputs("#compdef kd\n"
          "# zsh completion of kd, made by `kd completion zsh`\n"
          "_kd_specs() {\n"
          "    compadd -- ",
          stdout);
    print_specs();
    fputs("\n"
          "    _files\n"
          "}\n"
          "_kd_data() {\n"
          "    if [[ $PREFIX == folder:* ]]; then compset -P 'folder:'; _files -/; return; fi\n"
          "    compadd -S '' -- folder: synthetic:\n"
          "    compadd --",
          stdout);
    for (size_t i = 0; (name = kd_dataset_name_at(i)); i++)
        if (strcmp(name, "folder")) printf(" %s", name); /* which needs a path */
    fputs("\n"
          "}\n"
          "_kd() {\n"
          "    local -a commands\n"
          "    commands=(",
          stdout);
    for (const cli_command *c = cli_commands; c->name; c++) {
        printf("\n        '%s:", c->name);
        zsh_text(c->summary);
        putchar('\'');
    }
    puts("\n        'help:What a command takes')\n"
         "    if (( CURRENT == 2 )) || [[ $words[2] == help ]]; then\n"
         "        _describe command commands\n"
         "        return\n"
         "    fi\n"
         "    local command=$words[2]\n"
         "    shift words\n"
         "    (( CURRENT-- ))\n"
         "    case $command in");
    for (const cli_command *c = cli_commands; c->name; c++) zsh_command(c);
    puts("    esac\n"
         "}\n"
         "if [[ $funcstack[1] == _kd ]]; then _kd \"$@\"; else compdef _kd kd; fi");
}

int cmd_completion(cli_args *args)
{
    char shown[100];
    if (!strcmp(args->words[0], "bash"))
        bash();
    else if (!strcmp(args->words[0], "zsh"))
        zsh();
    else
        return cli_usage("completion", "%s: the shell must be bash or zsh",
                         cli_escape(args->words[0], shown, sizeof shown));
    return cli_flush();
}
