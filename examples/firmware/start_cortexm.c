/* SPDX-License-Identifier: MIT
 * start_cortexm.c: from reset to main on a Cortex-M, and board.h by semihosting: a breakpoint that
 * a debugger, or QEMU, answers. On a board without a debugger board_write is where a UART's send
 * loop goes (docs/edge.md). */
#include "board.h"

extern uint32_t board_data_from[], board_data[], board_data_end[], board_bss[], board_bss_end[];
extern uint32_t board_stack_low[], board_stack_top[];

void board_reset(void);
static void fault(void);

/* Stack, reset, NMI, hard fault, ...: what is not used ends the program. */
typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    vector handlers[15];
} vectors = {board_stack_top,
             {board_reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
              fault, fault, fault, fault}};

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *at, int byte, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    while (n--) *t++ = *f++;
    return to;
}

void *memset(void *at, int byte, size_t n)
{
    uint8_t *t = at;
    while (n--) *t++ = (uint8_t)byte;
    return at;
}

static volatile uint32_t *device(uintptr_t address)
{
    return (volatile uint32_t *)address; /* a register of the processor */
}

void board_reset(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *device(0xE000ED88) |= 0xFu << 20; /* CPACR: floating point and vectors on */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    const uint32_t *from = board_data_from;
    for (uint32_t *to = board_data; to < board_data_end;) *to++ = *from++;
    for (uint32_t *to = board_bss; to < board_bss_end;) *to++ = 0;
    board_exit(main());
}

/* ---- semihosting ------------------------------------------------------------------------------ */

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20 };

static void semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void board_write(const char *text)
{
    semihosting(SYS_WRITE0, text);
}

void board_exit(int status)
{
    const uint32_t reason[2] = {0x20026, (uint32_t)status}; /* ADP_Stopped_ApplicationExit */
    semihosting(SYS_EXIT_EXTENDED, reason);
    for (;;) {}
}

static void fault(void)
{
    board_write("fault\n");
    board_exit(99);
}

/* ---- counting: SysTick, 24 bits downwards, by the processor's clock ------------------------------ */

static uint64_t past; /* ticks of whole rounds */
static uint32_t last; /* the counter when it was last read */

static uint32_t ticks_down(void)
{
    return *device(0xE000E018);
}

void board_count_begin(void)
{
    *device(0xE000E014) = 0xFFFFFF; /* reload value */
    *device(0xE000E018) = 0;        /* any write clears the counter */
    *device(0xE000E010) = 5;        /* run by the processor's clock, no interrupt */
    past = 0;
    last = ticks_down();
}

/* Call it at least once a round: 2^24 ticks. */
uint64_t board_count(void)
{
    const uint32_t now = ticks_down();
    past += (last - now) & 0xFFFFFF;
    last = now;
    return past * (1000000000u / 1000u) / (BOARD_CLOCK_HZ / 1000u);
}

/* ---- stack ------------------------------------------------------------------------------------ */

enum { PAINT = 0x5EA5A5E5, MARGIN = 64 }; /* MARGIN: for board_stack_begin itself */

static uint32_t *stack_begin;

void board_stack_begin(void)
{
    uint32_t *end;
    __asm__("mov %0, sp" : "=r"(end));
    end -= MARGIN / 4;
    stack_begin = end;
    for (uint32_t *at = board_stack_low; at < end; at++) *(volatile uint32_t *)at = PAINT;
}

uint32_t board_stack_used(void)
{
    const uint32_t *at = board_stack_low;
    while (at < stack_begin && *at == PAINT) at++;
    return (uint32_t)(stack_begin - at) * 4 + MARGIN;
}
