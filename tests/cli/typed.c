/* SPDX-License-Identifier: MIT
 * typed.c: command lines of kd as they are typed into a shell. */
#include "typed.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

const char *typed_at(const char *name)
{
    static char path[8][600];
    static int i;
    i = (i + 1) % 8;
    snprintf(path[i], sizeof path[i], "%s/%s", test_dir(), name);
    return path[i];
}

void typed(int code, const char *format, ...)
{
    char words[3000], line[9000];
    va_list list;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    snprintf(line, sizeof line, "%s %s >%s 2>%s", test_bin("kd").text, words, typed_at("said"),
             typed_at("errors"));
    const int done = system(line);
    ck_assert_msg(WIFEXITED(done) && WEXITSTATUS(done) == code, "%s: %d, not %d", line,
                  WEXITSTATUS(done), code);
}

void typed_says(const char *file, const char *words)
{
    static char text[TEST_MAX_TEXT];
    test_slurp(typed_at(file), text);
    ck_assert_msg(strstr(text, words), "'%.400s' has no '%s'", text, words);
}

void typed_put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}
