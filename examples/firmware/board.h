/* SPDX-License-Identifier: MIT
 * board.h: what the programs of this folder need from where they run: a way to print, to end, and to
 * count. Cortex-M: start_cortexm.c. A machine with an operating system: start_hosted.c. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

int main(void);

void board_write(const char *text);
void board_exit(int status);

/* Instructions since board_count_begin, where the emulator counts time in instructions
 * (qemu-system-arm -icount shift=0: a nanosecond each); 0 where nothing counts. On a board: the
 * clock's ticks in nanoseconds. */
void board_count_begin(void);
uint64_t board_count(void);

/* The stack: fill what is free with a pattern, then bytes used since. 0 where that is not known. */
void board_stack_begin(void);
uint32_t board_stack_used(void);

/* A number in decimal, or 8 hexadecimal digits, then what follows it. */
void board_write_int(int64_t number, const char *after);
void board_write_hex(uint32_t number, const char *after);

#endif
