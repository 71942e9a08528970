/* SPDX-License-Identifier: MIT
 * clock.c: the one clock of the library and of its programs. */
#include <kd/ctx.h>

#include <time.h>

double kd_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
