/* SPDX-License-Identifier: MIT
 * names.c: lists of parameters by patterns of their names (kd_name_matches). */
#include <kd/graph.h>

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Does the whole text match the pattern [n], or up to a point in it? A "*" that failed takes one
 * character more: time is the product of the two lengths at most. */
static bool matches(const char *pattern, size_t n, const char *text)
{
    size_t p = 0, star = n;
    const char *after = NULL; /* where the text went on after the last "*" */
    for (;;) {
        const bool whole = p == n && (*text == 0 || *text == '.');
        if (whole) return true;
        if (p < n && pattern[p] == '*') {
            star = p++;
            after = text;
        } else if (*text && p < n && (pattern[p] == '?' || pattern[p] == *text)) {
            p++;
            text++;
        } else {
            if (!after || !*after) return false;
            text = ++after;
            p = star + 1;
        }
    }
}

int kd_name_matches(const char *names, const char *name)
{
    bool found = false;
    while (names && name && *names) {
        const size_t n = strcspn(names, ",");
        const bool out = *names == '!';
        if (matches(names + out, n - out, name)) found = !out;
        names += n + (names[n] == ',');
    }
    return found;
}
