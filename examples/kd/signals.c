/* SPDX-License-Identifier: MIT
 * signals.c: how a command is stopped. The first SIGINT, SIGTERM or SIGHUP sets a flag, which is
 * read after each step, and prints at once what happens next. Further signals change nothing, as a
 * group of processes may be sent the same one twice. Only a second SIGINT, a second or more after
 * the first, ends the program. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* All of this is read in the handler, which runs in the main thread: the library's own threads
 * block signals. What is written while handlers may run is complete before it is pointed to. */
static volatile sig_atomic_t signalled, interrupts;
static struct timespec first_interrupt;
static const char *volatile answer;
static char answers[2][300];
static const cli_last_words *volatile last_words;

/* ---- marks ----------------------------------------------------------------------------------- */

static struct timespec changed(const struct stat *about)
{
#ifdef __APPLE__
    return about->st_mtimespec;
#else
    return about->st_mtim;
#endif
}

cli_mark cli_mark_of(const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0) return (cli_mark){.there = false};
    const struct timespec time = changed(&about);
    return (cli_mark){true, about.st_ino, time.tv_sec, time.tv_nsec};
}

bool cli_same_mark(const cli_mark *a, const cli_mark *b)
{
    return a->there == b->there && a->inode == b->inode && a->seconds == b->seconds &&
           a->nanoseconds == b->nanoseconds;
}

/* ---- in the handler: calls that are safe there, alone ---------------------------------------- */

static void put(int fd, const char *text, size_t size)
{
    while (size) {
        const ssize_t n = write(fd, text, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        text += n;
        size -= (size_t)n;
    }
}

/* Write the file as a whole or not at all, from the handler. */
static void leave(const cli_last_words *w)
{
    if (w->witness) {
        const cli_mark is = cli_mark_of(w->witness);
        if (cli_same_mark(&is, &w->was)) return;
    }
    const int fd = open(w->temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) return;
    put(fd, w->text, w->size);
    const bool whole = lseek(fd, 0, SEEK_CUR) == (off_t)w->size && fsync(fd) == 0;
    close(fd);
    if (!whole || rename(w->temp, w->path) != 0) unlink(w->temp);
}

static bool a_second_later(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const time_t seconds = now.tv_sec - first_interrupt.tv_sec;
    return seconds > 1 || (seconds == 1 && now.tv_nsec >= first_interrupt.tv_nsec);
}

static void handle(int number)
{
    const int error = errno;
    const char *text = answer;
    if (!signalled && text) put(STDERR_FILENO, text, strlen(text));
    signalled = 1;
    if (number == SIGINT && interrupts && a_second_later()) {
        if (last_words) leave(last_words);
        signal(SIGINT, SIG_DFL);
        raise(SIGINT); /* comes as soon as this returns */
    } else if (number == SIGINT && !interrupts) {
        clock_gettime(CLOCK_MONOTONIC, &first_interrupt);
        interrupts = 1;
    }
    errno = error;
}

/* ---- the process that started this one ------------------------------------------------------- */

/* The environment's KD_LIFELINE is the descriptor of a pipe's reading end. Nothing is ever written
 * to it: it hangs up when the process that holds the other end is gone. */
static const char lifeline_name[] = "KD_LIFELINE";
static int lifeline = -1;

static bool is_pipe(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode);
}

static void take_lifeline(void)
{
    uint64_t fd;
    const char *text = getenv(lifeline_name);
    if (!text || !cli_parse_count(text, &fd) || fd > 1 << 20 || !is_pipe((int)fd)) return;
    lifeline = (int)fd;
}

static bool lifeline_cut(void)
{
    struct pollfd end = {.fd = lifeline, .events = POLLIN};
    return lifeline >= 0 && poll(&end, 1, 0) > 0 && (end.revents & POLLHUP);
}

int cli_hold_lifeline(void)
{
    int ends[2];
    char text[20];
    if (pipe(ends)) return cli_fail("no pipe: %s", strerror(errno));
    snprintf(text, sizeof text, "%d", ends[0]);
    if (fcntl(ends[1], F_SETFD, FD_CLOEXEC) || setenv(lifeline_name, text, 1))
        return cli_fail("no pipe: %s", strerror(errno));
    return CLI_DONE;
}

/* ---- outside --------------------------------------------------------------------------------- */

void cli_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART; /* reads and writes go on */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < 3; i++) sigaddset(&action.sa_mask, numbers[i]);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* the terminal is gone; under nohup nothing happens */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    /* whoever read our output is gone: an error of that output, not the end of a run */
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
    take_lifeline();
}

bool cli_interrupted(void)
{
    return signalled != 0 || lifeline_cut();
}

void cli_answer_signals(const char *text)
{
    static int next;
    if (!text) {
        answer = NULL;
        return;
    }
    char *const to = answers[next];
    const char *clear = isatty(STDERR_FILENO) ? "\r\033[K" : "";
    if (answer && !strcmp(answer + strlen(clear) + 4, text)) return;
    snprintf(to, sizeof answers[0], "%skd: %s", clear, text);
    answer = to;
    next = !next;
}

void cli_leave_when_killed(const cli_last_words *words)
{
    last_words = words;
}
