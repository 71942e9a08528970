/* SPDX-License-Identifier: MIT
 * utf8.h: telling well-formed UTF-8 (Unicode 15, table 3-7) from other bytes. */
#ifndef KDI_UTF8_H
#define KDI_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character that starts text, of which left > 0 bytes may be read; 0 if it is none: a
 * stray or missing continuation, an overlong form, a surrogate, or above U+10FFFF. */
static inline size_t kdi_utf8_length(const char *text, size_t left)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4) return 0;
    const size_t length = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (left < length) return 0;
    const unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return length;
}

static inline bool kdi_utf8_valid(const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        const size_t n = kdi_utf8_length(text + i, size - i);
        if (n == 0) return false;
        i += n;
    }
    return true;
}

#endif
