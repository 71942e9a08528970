/* SPDX-License-Identifier: MIT
 * test_cli_texts.c: what kd prints for other programs to read: completion for bash and zsh, and the
 * manual page. Shells and groff are asked where they are installed; what they must offer is read
 * from --help. */
#include "../spawn.h"

#include <kd/model.h>

#include <stdio.h>
#include <string.h>

#define RUN(...) test_run(test_bin("kd").text, __VA_ARGS__)
#define RUN_OK(...) test_run_ok(test_bin("kd").text, __VA_ARGS__)

static const char *const commands[] = {
    "models",  "profile", "train", "distill", "finetune", "eval",  "predict",    "step",
    "inspect", "rerun",   "sweep", "search",  "report",   "cache", "completion", "manual"};
enum { COMMANDS = sizeof commands / sizeof *commands, OPTIONS = 100 };

/* Options of a command as --help lists them, one a line; a flag that is on by default as --no-NAME.
 * The values of a choice are behind it. */
typedef struct option {
    char name[64], values[160];
} option;

static size_t options_of(const char *command, option out[OPTIONS])
{
    size_t n = 0;
    RUN_OK(command, "--help");
    for (const char *line = test_out; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "  --", 4)) continue;
        ck_assert_uint_lt(n, OPTIONS);
        option *o = &out[n++];
        snprintf(o->name, sizeof o->name, "%.*s", (int)strcspn(line + 2, " \n"), line + 2);
        const char *value = line + 2 + strlen(o->name);
        value += *value == ' ';
        snprintf(o->values, sizeof o->values, "%.*s", (int)strcspn(value, " \n"), value);
        char negated[60];
        snprintf(negated, sizeof negated, "--no-%s: without", o->name + 2);
        const char *next = strstr(line + 1, "\n  --");
        const char *off = strstr(line, negated);
        if (off && (!next || off < next)) snprintf(o->name, sizeof o->name, "%.39s", negated);
        o->name[strcspn(o->name, ":")] = 0;
    }
    ck_assert_uint_gt(n, 0);
    return n;
}

/* ---- shells ---------------------------------------------------------------------------------- */

static test_path script(const char *shell)
{
    const test_path path = test_in_dir(shell);
    ck_assert_int_eq(test_finish(test_start(TEST_WORDS(test_bin("kd").text, "completion", shell),
                                            NULL, path.text)),
                     0);
    return path;
}

/* Is there such a program? */
static bool is_there(const char *program)
{
    return test_run("sh", "-c", "command -v \"$0\"", program) == 0;
}

/* What bash offers for the last of these words, one a line, into test_out. */
static void complete(const test_path *file, const char *words)
{
    char text[9000];
    snprintf(text, sizeof text,
             "source '%s'; complete -p kd >/dev/null || exit 9; COMP_WORDS=(%s); "
             "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _kd; printf '%%s\\n' \"${COMPREPLY[@]}\"",
             file->text, words);
    const int status = test_run("bash", "--norc", "-c", text);
    ck_assert_msg(status == 0, "bash: exit status %d: %s", status, test_err);
    ck_assert_str_eq(test_err, "");
}

static bool offers(const char *word)
{
    const size_t n = strlen(word);
    for (const char *line = test_out; *line; line = strchr(line, '\n') + 1)
        if (!strncmp(line, word, n) && line[n] == '\n') return true;
    return false;
}

START_TEST(test_bash)
{
    static option options[OPTIONS];
    char words[9000];
    const char *name;
    if (!is_there("bash")) return;
    const test_path file = script("bash"), own = test_in_dir("own");
    complete(&file, "kd ''");
    for (size_t c = 0; c < COMMANDS; c++) ck_assert_msg(offers(commands[c]), "%s", commands[c]);
    for (size_t c = 0; c < COMMANDS; c++) {
        const size_t n = options_of(commands[c], options);
        snprintf(words, sizeof words, "kd %s --", commands[c]);
        complete(&file, words);
        ck_assert_uint_eq(test_lines(test_out), n);
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(offers(options[i].name), "%s %s", commands[c], options[i].name);
        for (size_t i = 0; i < n; i++) {
            char *value = options[i].values;
            if (!strchr(value, '|') || strstr(value, "N|")) continue;
            snprintf(words, sizeof words, "kd %s %s ''", commands[c], options[i].name);
            complete(&file, words);
            for (char *end; *value; value = end + (*end == '|')) {
                char one[60];
                end = value + strcspn(value, "|");
                snprintf(one, sizeof one, "%.*s", (int)(end - value), value);
                ck_assert_msg(offers(one), "%s %s", words, one);
            }
        }
    }
    complete(&file, "kd train ''");
    for (size_t i = 0; (name = kd_model_name_at(i)); i++) ck_assert_msg(offers(name), "%s", name);
    complete(&file, "kd train --schedule = co"); /* bash cuts words at = */
    ck_assert_str_eq(test_out, "constant\ncosine\n");
    complete(&file, "kd eval --data fa");
    ck_assert_str_eq(test_out, "fashion-mnist\n");
    complete(&file, "kd eval --data ''");
    for (size_t i = 0; (name = kd_dataset_name_at(i)); i++)
        ck_assert_msg(strstr(test_out, name), "%s", name);
    complete(&file, "kd completion ''");
    ck_assert_str_eq(test_out, "bash\nzsh\n");
    complete(&file, "kd help insp");
    ck_assert_str_eq(test_out, "inspect\n");
    complete(&file, "kd train --epochs ''");
    ck_assert_str_eq(test_out, "\n");
    /* files, with blanks in their names, too; folders alone where a folder is meant */
    ck_assert_int_eq(test_run("sh", "-c", "mkdir -p \"$0/w dir\" && : >\"$0/w file\"", own.text),
                     0);
    snprintf(words, sizeof words, "kd inspect '%s/w '", own.text);
    complete(&file, words);
    ck_assert_uint_eq(test_lines(test_out), 2);
    snprintf(words, sizeof words, "kd train --out '%s/w '", own.text);
    complete(&file, words);
    ck_assert_uint_eq(test_lines(test_out), 1);
    test_expect_in(test_out, "w dir");
    snprintf(words, sizeof words, "kd train --data folder : '%s/w'", own.text);
    complete(&file, words);
    ck_assert_uint_eq(test_lines(test_out), 1);
    test_expect_in(test_out, "w dir");
}
END_TEST

START_TEST(test_zsh)
{
    static option options[OPTIONS];
    char text[9000];
    if (!is_there("zsh")) return;
    const test_path file = script("zsh");
    for (size_t c = 0; c < COMMANDS; c++) {
        const size_t n = options_of(commands[c], options);
        snprintf(text, sizeof text,
                 "compdef() { [[ \"$*\" == '_kd kd' ]] || exit 8 }; source '%s'; "
                 "_arguments() { print -rl -- \"$@\" }; words=(kd %s ''); CURRENT=3; _kd",
                 file.text, commands[c]);
        test_run_ok("zsh", "-f", "-c", text);
        ck_assert_str_eq(test_err, "");
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(strstr(test_out, options[i].name) != NULL, "%s: no %s", commands[c],
                          options[i].name);
        size_t found = 0;
        for (const char *line = test_out; *line; line = strchr(line, '\n') + 1)
            found += !strncmp(line, "--", 2) || !strncmp(line, "*--", 3);
        ck_assert_uint_eq(found, n);
    }
    test_run_ok("zsh", "-f", "-n", file.text);
}
END_TEST

START_TEST(test_usage)
{
    ck_assert_int_eq(RUN("completion"), 2);
    test_expect_in(test_err, "SHELL is missing");
    ck_assert_int_eq(RUN("completion", "fish\033"), 2);
    test_expect_in(test_err, "fish\\x1b: the shell must be bash or zsh");
    ck_assert_int_eq(RUN("manual", "x"), 2);
    ck_assert_int_eq(RUN("manual", "--json"), 2);
    ck_assert_int_eq(RUN("manual", "--command", "trian"), 2);
    test_expect_in(test_err, "--command: there is no command trian");
}
END_TEST

/* ---- the manual ------------------------------------------------------------------------------ */

/* A line that begins with a dot is one of these requests. */
static void check_request(const char *line)
{
    static const char *const requests[] = {".\\\"", ".TH ", ".nh", ".ad l", ".SH ", ".SS ",
                                           ".TP",   ".PP",  ".B ", ".EX",   ".EE"};
    bool known = false;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        known |= !strncmp(line, requests[i], strlen(requests[i]));
    ck_assert_msg(known, "%.60s", line);
}

START_TEST(test_manual)
{
    static option options[OPTIONS];
    static char page[TEST_MAX_TEXT];
    const test_path file = test_in_dir("kd.1");
    const char *const groff = "groff -ww -man -Tutf8 -z \"$0\" && groff -man -Tutf8 \"$0\" | "
                              "sed 's/\\x1b\\[[0-9;]*m//g; s/.\\x08//g'";
    ck_assert_int_eq(
        test_finish(test_start(TEST_WORDS(test_bin("kd").text, "manual"), NULL, file.text)), 0);
    test_slurp(file.text, page);
    ck_assert_ptr_nonnull(strstr(page, "\n.SH NAME\nkd \\- "));
    size_t open = 0;
    for (const char *line = page; *line; line = strchr(line, '\n') + 1) {
        if (*line == '.') check_request(line);
        ck_assert_msg(*line != '\'', "%.60s", line);
        if (!strncmp(line, ".EX", 3)) ck_assert_uint_eq(open++, 0);
        if (!strncmp(line, ".EE", 3)) ck_assert_uint_eq(open--, 1);
    }
    ck_assert_uint_eq(open, 0);
    for (size_t c = 0; c < COMMANDS; c++) {
        char text[100];
        snprintf(text, sizeof text, "\n.SS \"kd %s", commands[c]);
        const char *section = strstr(page, text);
        ck_assert_msg(section != NULL, "no %s", commands[c]);
        const char *end = strstr(section + 1, "\n.S");
        const size_t n = options_of(commands[c], options);
        for (size_t i = 0; i < n; i++) {
            const char *name = options[i].name + 2;
            char roff[100] = "\\fB\\-\\-";
            size_t used = strlen(roff);
            if (!strcmp(name, "help")) continue;
            for (; *name; name++)
                used += (size_t)snprintf(roff + used, sizeof roff - used,
                                         *name == '-' ? "\\-" : "%c", *name);
            const char *at = strstr(section, roff);
            /* "nesterov" of "no-nesterov" */
            if (!at) at = strstr(section, strstr(roff, "no\\-") ? strstr(roff, "no\\-") + 4 : roff);
            ck_assert_msg(at && at < end, "%s has no %s", commands[c], roff);
        }
    }
    if (!is_there("groff")) return;
    test_run_ok("sh", "-c", groff, file.text);
    ck_assert_str_eq(test_err, ""); /* no warning */
    test_expect_in(test_out, "--weight-decay W");
    test_expect_in(test_out, "kd train SPEC [options]");
    test_expect_in(test_out, "EXIT STATUS");
}
END_TEST

/* A page for each command: sections in order, every option of it and no other, no warning of groff's. */
START_TEST(test_pages)
{
    static char page[TEST_MAX_TEXT];
    static option options[OPTIONS];
    const bool groff = is_there("groff");
    for (size_t c = 0; c < COMMANDS; c++) {
        char name[100], title[100];
        snprintf(name, sizeof name, "kd-%s.1", commands[c]);
        const test_path file = test_in_dir(name);
        const char *const words[] = {test_bin("kd").text, "manual", "--command", commands[c], NULL};
        ck_assert_int_eq(test_finish(test_start(words, NULL, file.text)), 0);
        test_slurp(file.text, page);
        snprintf(title, sizeof title, "\n.SH NAME\nkd-%s \\- ", commands[c]);
        ck_assert_msg(strstr(page, title) != NULL, "%s", page);
        size_t shown = 0, want = 0;
        for (const char *at = page; (at = strstr(at, "\n.TP\n\\fB\\-\\-")) != NULL; at++) shown++;
        const size_t n = options_of(commands[c], options);
        for (size_t i = 0; i < n; i++) want += strcmp(options[i].name, "--help") != 0;
        ck_assert_msg(shown > 0 ? shown <= want : want == 0, "%s: %zu of %zu options", commands[c],
                      shown, want);
        ck_assert_ptr_nonnull(strstr(page, "\n.SH EXIT STATUS\n"));
        if (!groff) continue;
        test_run_ok("groff", "-ww", "-man", "-Tutf8", "-z", file.text);
        ck_assert_str_eq(test_err, "");
    }
}
END_TEST

/* A line of zsh's for each kind of option and word, with or without zsh. */
START_TEST(test_zsh_lines)
{
    static const char *const lines[] = {
        "#compdef kd\n",
        "\n        'distill:Train a student by a teacher and measure it on the test split'\n",
        "\n            '*--teacher=[one or more trained networks]:FILE:_files' \\\n",
        "\n            '*--teacher-weight=[one for each teacher, divided by their sum]:W: ' \\\n",
        "\n            '--teacher-model=[which network the teachers'\\'' files "
        "hold]:SPEC:_kd_specs' "
        "\\\n",
        "\n            '--epochs=[passes over the training split]:N: ' \\\n",
        "\n            '--lr=[learning rate\\: the highest that the schedule comes to]:RATE: ' "
        "\\\n",
        "\n            '--no-nesterov[Nesterov'\\''s momentum]' \\\n",
        "\n            '--split=[which part of it]:split:(test train dev)' \\\n",
        ":DIR:_files -/' \\\n",
        "]:NAME:_kd_data' \\\n",
        "\n            '1:SPEC:_kd_specs' ;;\n",
        "\n            '*:FILE:_files' ;;\n",
        "\n            '1:FILE:_files' \\\n            '*:INPUT:_files' ;;\n",
        "\n            '2:BATCH:_files' \\\n            '3:OUTPUT:_files' ;;\n",
        "\n            '1:SHELL:(bash zsh)' ;;\n"};
    RUN_OK("completion", "zsh");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) test_expect_in(test_out, lines[i]);
    ck_assert_ptr_null(strstr(test_out, "'*--lr"));
    ck_assert_ptr_null(strstr(test_out, "'--teacher-weight"));
    ck_assert_ptr_null(strstr(test_out, "'--nesterov"));
}
END_TEST

TEST_SUITE(cli_texts, 60, &test_zsh_lines, &test_bash, &test_zsh, &test_usage, &test_manual,
           &test_pages)
