/* SPDX-License-Identifier: MIT
 * status.c: names and texts of the statuses, from the list in status.h. */
#include <kd/status.h>

const char *kd_status_name(kd_status status)
{
    static const char *const names[] = {
#define NAME(name, text) #name,
        KD_STATUS_LIST(NAME)
#undef NAME
    };
    return (unsigned)status < KD_STATUS_COUNT ? names[status] : "unknown status";
}

const char *kd_status_text(kd_status status)
{
    static const char *const texts[] = {
#define TEXT(name, text) text,
        KD_STATUS_LIST(TEXT)
#undef TEXT
    };
    return (unsigned)status < KD_STATUS_COUNT ? texts[status] : "unknown status";
}
