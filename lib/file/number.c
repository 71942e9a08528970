/* SPDX-License-Identifier: MIT
 * number.c: printf and strtod do the arithmetic. Both use the locale's decimal point, which may
 * have several bytes, so it is replaced by '.' after printf, and '.' by it before strtod. */
#include "number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool plain(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == 'e' || c == 'E';
}

static void with_point(const char *local, char out[KDI_NUMBER_SIZE])
{
    size_t n = 0;
    for (const char *p = local; *p; p++)
        if (plain(*p))
            out[n++] = *p;
        else if (n == 0 || out[n - 1] != '.')
            out[n++] = '.';
    out[n] = 0;
}

void kdi_print_double(char out[KDI_NUMBER_SIZE], double number)
{
    char local[KDI_NUMBER_SIZE];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(local, sizeof local, "%.*g", digits, number);
        if (strtod(local, NULL) == number) break;
    }
    with_point(local, out);
}

void kdi_print_float(char out[KDI_NUMBER_SIZE], float number)
{
    char local[KDI_NUMBER_SIZE];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(local, sizeof local, "%.*g", digits, (double)number);
        if (strtof(local, NULL) == number) break;
    }
    with_point(local, out);
}

bool kdi_parse_double(const char *text, size_t length, double *number)
{
    char point[16], local[512], *end;
    /* "0" point "5" */
    const int n = snprintf(point, sizeof point, "%.1f", 0.5);
    if (n < 3 || (size_t)n >= sizeof point) return false;
    size_t size = 0;
    for (size_t i = 0; i < length; i++) {
        const bool is_point = text[i] == '.';
        const size_t need = is_point ? (size_t)n - 2 : 1;
        if ((!plain(text[i]) && !is_point) || sizeof local - size <= need) return false;
        memcpy(local + size, is_point ? point + 1 : text + i, need);
        size += need;
    }
    if (size == 0) return false;
    local[size] = 0;
    *number = strtod(local, &end);
    return *end == 0;
}
