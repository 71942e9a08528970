/* SPDX-License-Identifier: MIT
 * glibc.c: what Debian's Check, which is compiled for glibc, calls and musl does not have; linked with the tests
 * where the C library is musl. The checked forms of printf and longjmp do without the check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

int __vfprintf_chk(FILE *file, int flag, const char *format, va_list arguments);
int __vsnprintf_chk(char *to, size_t n, int flag, size_t room, const char *format,
                    va_list arguments);
int __fprintf_chk(FILE *file, int flag, const char *format, ...);
int __printf_chk(int flag, const char *format, ...);
int __snprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, ...);
_Noreturn void __longjmp_chk(jmp_buf to, int value);
void __pthread_register_cancel(void *buffer);
void __pthread_unregister_cancel(void *buffer);

int __vfprintf_chk(FILE *file, int flag, const char *format, va_list arguments)
{
    (void)flag;
    return vfprintf(file, format, arguments);
}

int __vsnprintf_chk(char *to, size_t n, int flag, size_t room, const char *format,
                    va_list arguments)
{
    (void)flag, (void)room;
    return vsnprintf(to, n, format, arguments);
}

int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int n = __vfprintf_chk(file, flag, format, arguments);
    va_end(arguments);
    return n;
}

int __printf_chk(int flag, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int n = __vfprintf_chk(stdout, flag, format, arguments);
    va_end(arguments);
    return n;
}

int __snprintf_chk(char *to, size_t n, int flag, size_t room, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = __vsnprintf_chk(to, n, flag, room, format, arguments);
    va_end(arguments);
    return length;
}

_Noreturn void __longjmp_chk(jmp_buf to, int value)
{
    longjmp(to, value);
}

/* Handlers of cancelled threads: the tests cancel none. */
void __pthread_register_cancel(void *buffer)
{
    (void)buffer;
}

void __pthread_unregister_cancel(void *buffer)
{
    (void)buffer;
}
