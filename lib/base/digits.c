/* SPDX-License-Identifier: MIT
 * digits.c: see digits.h. */
#include "digits.h"

#include "checked.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool kdi_parse_size(const char *text, size_t low, size_t high, size_t *out, const char **end)
{
    size_t value = 0;
    const char *p = text;
    for (; is_digit(*p); p++)
        if (!kdi_mul(value, 10, &value) || !kdi_add(value, (size_t)(*p - '0'), &value))
            return false;
    if (p == text || value < low || value > high) return false;
    *out = value;
    *end = p;
    return true;
}

bool kdi_parse_millionths(const char *text, size_t *out, const char **end)
{
    size_t whole = 0, part = 0, unit = KDI_MILLION;
    if (!kdi_parse_size(text, 0, KDI_MILLION, &whole, end)) return false;
    if (**end == '.') {
        const char *p = *end + 1;
        if (!is_digit(*p)) return false;
        for (; is_digit(*p); p++) {
            if (unit == 1) return false;
            unit /= 10;
            part += unit * (size_t)(*p - '0');
        }
        *end = p;
    }
    return kdi_mul(whole, KDI_MILLION, &whole) && kdi_add(whole, part, out);
}
