/* SPDX-License-Identifier: MIT
 * failure.c: an error that a thread without the context writes down. */
#include "data.h"

#include <stdarg.h>
#include <stdio.h>

kd_status kdi_failure_set(kdi_failure *failure, kd_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(failure->text, sizeof failure->text, format, args);
    va_end(args);
    failure->status = status;
    return status;
}
