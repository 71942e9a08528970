/* SPDX-License-Identifier: MIT
 * start_hosted.c: the same programs under an operating system, to compare their output with a board's. */
#include "board.h"

#include <stdio.h>
#include <stdlib.h>

void board_write(const char *text)
{
    fputs(text, stdout);
}

void board_exit(int status)
{
    exit(status);
}

void board_count_begin(void)
{
}

uint64_t board_count(void)
{
    return 0;
}

void board_stack_begin(void)
{
}

uint32_t board_stack_used(void)
{
    return 0;
}
