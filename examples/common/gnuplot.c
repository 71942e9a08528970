/* SPDX-License-Identifier: MIT
 * gnuplot.c: see gnuplot.h. */
#include "gnuplot.h"

#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* gnuplot with one argument, or two. posix_spawnp wants strings that may be written to. */
static gnuplot_end run(const char *first, const char *second)
{
    char name[] = "gnuplot", arguments[2][4200];
    char *argv[] = {name, arguments[0], second ? arguments[1] : NULL, NULL};
    pid_t pid;
    int status;
    snprintf(arguments[0], sizeof arguments[0], "%s", first);
    snprintf(arguments[1], sizeof arguments[1], "%s", second ? second : "");
    fflush(NULL);
    const int failed = posix_spawnp(&pid, name, NULL, NULL, argv, environ);
    if (failed) return failed == ENOENT ? GNUPLOT_MISSING : GNUPLOT_FAILED;
    return waitpid(pid, &status, 0) == pid && status == 0 ? GNUPLOT_FINE : GNUPLOT_FAILED;
}

gnuplot_end gnuplot_run(const char *script)
{
    return run(script, NULL);
}

gnuplot_end gnuplot_ask(const char *condition)
{
    char command[200];
    snprintf(command, sizeof command, "exit status %s ? 0 : 1", condition);
    return run("-e", command);
}

void gnuplot_quoted(FILE *f, const char *text)
{
    fputc('\'', f);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', f);
        fputc(*text, f);
    }
    fputc('\'', f);
}
