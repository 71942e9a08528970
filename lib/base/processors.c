/* SPDX-License-Identifier: MIT
 * processors.c: how many threads suit this process: processors it may run on, and the share of
 * their time that its control groups leave it. Linux's second version says "quota period" (or "max
 * ...") in cpu.max, the first has a file for each number; every group up to the root counts. */
#include "processors.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4096, NOTE = 4096 };

/* The beginning of a small file as a string; false if there is none. */
static bool read_note(const char *path, char *text, size_t size)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    size_t used = 0;
    ssize_t n;
    while (used + 1 < size && (n = read(file, text + used, size - 1 - used)) > 0) used += (size_t)n;
    close(file);
    text[used] = 0;
    return used > 0;
}

/* Threads for so much time in a period, rounded up; INT_MAX where that is no limit. */
static int threads_for(long quota, long period)
{
    if (quota <= 0 || period <= 0 || quota / period >= INT_MAX) return INT_MAX;
    return (int)(quota / period + (quota % period > 0));
}

static int limit_of_group(const char *folder, bool second)
{
    char path[PATH + 64], note[128], *end;
    snprintf(path, sizeof path, "%s/%s", folder, second ? "cpu.max" : "cpu.cfs_quota_us");
    if (!read_note(path, note, sizeof note)) return INT_MAX;
    const long quota = strtol(note, &end, 10); /* of "max": 0 */
    if (second) return threads_for(quota, strtol(end, NULL, 10));
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return read_note(path, note, sizeof note) ? threads_for(quota, strtol(note, NULL, 10))
                                              : INT_MAX;
}

/* The least of the limits of a group and of those it is in. `mount` itself is asked, too: in a
 * container it is the process's own group, whatever the group is called outside. */
static int limit_up(const char *mount, const char *group, bool second)
{
    char path[PATH];
    const int n = snprintf(path, sizeof path, "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof path) return INT_MAX;
    const size_t shortest = strlen(mount);
    int least = INT_MAX;
    for (;;) {
        const int limit = limit_of_group(path, second);
        if (limit < least) least = limit;
        char *slash = strrchr(path, '/');
        if (!slash || (size_t)(slash - path) < shortest) return least;
        *slash = 0;
    }
}

/* Does a list "cpu,cpuacct" name the controller of processors' time? */
static bool names_cpu(const char *list)
{
    for (const char *at = list; (at = strstr(at, "cpu")); at += 3)
        if ((at == list || at[-1] == ',') && (at[3] == 0 || at[3] == ',')) return true;
    return false;
}

/* A line "number:controllers:/group" of /proc/self/cgroup. */
static int limit_by_line(const char *root, char *line)
{
    static const char *const firsts[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
    static const char *const seconds[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char mount[PATH];
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : 0;
    if (!group) return INT_MAX;
    *group++ = 0;
    controllers++;
    const bool second = !strncmp(line, "0:", 2) && !*controllers;
    if (!second && !names_cpu(controllers)) return INT_MAX;
    if (!strcmp(group, "/")) group = "";
    int least = INT_MAX;
    for (int i = 0; i < 2; i++) {
        snprintf(mount, sizeof mount, "%s%s", root, second ? seconds[i] : firsts[i]);
        const int limit = limit_up(mount, group, second);
        if (limit < least) least = limit;
    }
    return least;
}

int kdi_processors_quota(const char *root)
{
    char path[PATH], note[NOTE];
    int least = INT_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (!read_note(path, note, sizeof note)) return INT_MAX;
    for (char *line = note, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        const int limit = limit_by_line(root, line);
        if (limit < least) least = limit;
    }
    return least;
}

int kdi_processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}
