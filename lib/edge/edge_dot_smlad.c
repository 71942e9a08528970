/* SPDX-License-Identifier: MIT
 * edge_dot_smlad.c: the inner loop of int8 convolutions on a Cortex-M4, M7 or M33, by hand: a block of two
 * pixels by two channels takes all 14 registers, and compilers spill it.
 *
 * - r0, r1: pointers to the weights of the two channels.
 * - r2, r3: pointers to the values of the two pixels.
 * - r4 to r7: the four sums.
 * - r8, r9: four weights of the first channel, two in a register. r10, r11: of the second.
 * - r12, lr: four values of a pixel.
 * - [sp]: the count, the function's fifth argument.
 *
 * 20 instructions for 16 products. Words are loaded from any address, which these cores do unless
 * the program forbids it (CCR.UNALIGN_TRP). */
#include "edge_dot.h"

#if KD_EDGE_SMLAD
#define FOUR_TAPS                                                                                  \
    "ldr r8, [r0], #4\n ldr r10, [r1], #4\n ldr r12, [r2], #4\n"                                   \
    "sxtb16 r9, r8, ror #8\n sxtb16 r8, r8\n"                                                      \
    "sxtb16 r11, r10, ror #8\n sxtb16 r10, r10\n"                                                  \
    "sxtb16 lr, r12, ror #8\n sxtb16 r12, r12\n"                                                   \
    "smlad r4, r12, r8, r4\n smlad r5, r12, r10, r5\n ldr r12, [r3], #4\n"                         \
    "smlad r4, lr, r9, r4\n smlad r5, lr, r11, r5\n"                                               \
    "sxtb16 lr, r12, ror #8\n sxtb16 r12, r12\n"                                                   \
    "smlad r6, r12, r8, r6\n smlad r7, r12, r10, r7\n"                                             \
    "smlad r6, lr, r9, r6\n smlad r7, lr, r11, r7\n"

__asm__(".section .text.kd_edge_dot_2x2_blocks, \"ax\", %progbits\n"
        ".syntax unified\n .thumb\n .p2align 2\n"
        ".global kd_edge_dot_2x2_blocks\n"
        ".type kd_edge_dot_2x2_blocks, %function\n"
        ".thumb_func\n"
        "kd_edge_dot_2x2_blocks:\n"
        "push {r4-r11, lr}\n"
        "ldr r8, [sp, #40]\n"
        "ldm r8, {r4-r7}\n"
        "1:\n" FOUR_TAPS FOUR_TAPS FOUR_TAPS FOUR_TAPS "ldr r8, [sp, #36]\n"
        "subs r8, r8, #1\n"
        "str r8, [sp, #36]\n"
        "bne 1b\n"
        "ldr r8, [sp, #40]\n"
        "stm r8, {r4-r7}\n"
        "pop {r4-r11, pc}\n"
        ".size kd_edge_dot_2x2_blocks, . - kd_edge_dot_2x2_blocks\n"
        ".text\n");
#endif
