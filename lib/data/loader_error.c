/* SPDX-License-Identifier: MIT
 * loader_error.c: an error on its way from a loader's thread. */
#include "data.h"

#include <stdarg.h>
#include <stdio.h>

kd_status kdi_note_fail(kdi_note *note, kd_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(note->text, sizeof note->text, format, args);
    va_end(args);
    note->status = status;
    return status;
}
