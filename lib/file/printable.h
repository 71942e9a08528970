/* SPDX-License-Identifier: MIT
 * printable.h: names from untrusted files, for error texts. They are cut short, and control
 * characters are replaced, as a terminal might obey them. */
#ifndef KDI_PRINTABLE_H
#define KDI_PRINTABLE_H

typedef struct kdi_shown {
    char text[104];
} kdi_shown;

/* Use as kdi_show(name).text within one expression. */
kdi_shown kdi_show(const char *name);

#endif
