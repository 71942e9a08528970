/* SPDX-License-Identifier: MIT
 * digits.h: numbers at the beginning of a text, without a sign or blanks, whatever the locale. Each
 * sets *end behind the number. Each returns false if there is none. */
#ifndef KDI_DIGITS_H
#define KDI_DIGITS_H

#include <stdbool.h>
#include <stddef.h>

/* A number with decimals is counted in millionths. */
enum { KDI_MILLION = 1000000 };

/* A whole number in [low, high]. */
bool kdi_parse_size(const char *text, size_t low, size_t high, size_t *out, const char **end);
/* Digits, and perhaps a point and one to six more, in millionths; at most about a million. */
bool kdi_parse_millionths(const char *text, size_t *out, const char **end);

#endif
