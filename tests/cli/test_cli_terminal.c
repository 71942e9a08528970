/* SPDX-License-Identifier: MIT
 * test_cli_terminal.c: what a person at a terminal sees of a run: a bar that says what it is of, as
 * long as the percentage says, and one line an epoch that takes its place. */
#include "../spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run kd with its standard error on a terminal of so many columns; what it wrote there. */
static char *on_terminal(const char *const *words, unsigned short columns)
{
    static char text[TEST_MAX_TEXT];
    const test_path kd = test_bin("kd");
    const struct winsize size = {.ws_row = 24, .ws_col = columns};
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    ck_assert(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0);
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        char *argv[32] = {NULL};
        for (size_t i = 0; words[i] && i < 31; i++) argv[i] = strdup(words[i]);
        const int nothing = open("/dev/null", O_RDWR);
        dup2(nothing, STDOUT_FILENO);
        dup2(slave, STDERR_FILENO);
        execv(kd.text, argv);
        _exit(127);
    }
    close(slave);
    size_t used = 0;
    for (ssize_t n; used + 1 < sizeof text;) {
        n = read(master, text + used, sizeof text - 1 - used);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* EIO: the other side is closed */
        used += (size_t)n;
    }
    text[used] = 0;
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", text);
    close(master);
    return text;
}

/* The bar "[##......] 25 %" at `at`, of so many cells. */
static void check_bar(const char *at, size_t cells)
{
    const size_t full = strspn(at + 1, "#"), empty = strspn(at + 1 + full, ".");
    double percent;
    ck_assert_msg(full + empty == cells && at[1 + cells] == ']', "%.40s", at);
    ck_assert_int_eq(sscanf(at + cells + 2, " %lf %%", &percent), 1);
    const double off = (double)full - percent / 100 * (double)cells;
    ck_assert_msg(off < .7 && off > -.7, "%.60s", at);
}

START_TEST(test_bar)
{
    static const char *const words[] = {"kd",
                                        "train",
                                        "vgg4_bn,width=0.5",
                                        "--data",
                                        "synthetic:classes=4,image=32,train=3000,test=2000",
                                        "--epochs",
                                        "2",
                                        "--batch",
                                        "50",
                                        "--threads",
                                        "1",
                                        NULL};
    static const struct {
        unsigned short columns;
        size_t cells;
    } terminals[] = {{80, 8}, {100, 16}, {140, 30}};
    for (size_t i = 0; i < 3; i++) {
        const char *text = on_terminal(words, terminals[i].columns);
        size_t bars = 0, lines = 0;
        for (const char *at = text; (at = strstr(at, "\rrun [")); at++, bars++) {
            check_bar(at + 5, terminals[i].cells);
            const size_t width = strcspn(at + 1, "\r\n\033");
            ck_assert_uint_lt(width, terminals[i].columns);
        }
        for (const char *at = text; (at = strstr(at, "run ")); at++)
            lines += at[4] != '[' && strstr(at, ", epoch ") && strcspn(at, "\n") > 0;
        ck_assert_msg(bars > 0, "%s", text);
        ck_assert_uint_ge(lines, 2); /* an epoch each */
        test_expect_in(text, "\033[K");
        test_expect_in(text, ", epoch 2/2: loss ");
    }
}
END_TEST

TEST_SUITE(cli_terminal, 90, &test_bar)
