/* SPDX-License-Identifier: MIT
 * board_text.c: numbers as text, without a C library. */
#include "board.h"

void board_write_int(int64_t number, const char *after)
{
    char text[24];
    char *at = text + sizeof text - 1;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    *at = 0;
    do *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (number < 0) *--at = '-';
    board_write(at);
    board_write(after);
}

void board_write_hex(uint32_t number, const char *after)
{
    char text[9];
    for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[number >> (28 - 4 * i) & 15];
    text[8] = 0;
    board_write(text);
    board_write(after);
}
