/* SPDX-License-Identifier: MIT
 * printable.c: see printable.h. */
#include "printable.h"

#include "utf8.h"

#include <string.h>

kdi_shown kdi_show(const char *name)
{
    kdi_shown shown = {{0}};
    const size_t most = sizeof shown.text - 4; /* for "..." and the NUL */
    size_t left = strlen(name), used = 0;
    while (left) {
        const unsigned char *c = (const unsigned char *)name;
        size_t n = kdi_utf8_length(name, left);
        if (used + n > most || used == most) {
            memcpy(shown.text + used, "...", 3);
            break;
        }
        /* C0, DEL, and C1, whose UTF-8 is C2 80 to C2 9F */
        const int control = c[0] < 0x20 || c[0] == 0x7F || (c[0] == 0xC2 && n == 2 && c[1] < 0xA0);
        if (n == 0 || control) {
            shown.text[used++] = '?';
            n = n ? n : 1;
        } else {
            memcpy(shown.text + used, name, n);
            used += n;
        }
        name += n;
        left -= n;
    }
    return shown;
}
