/* SPDX-License-Identifier: MIT
 * printable.h: names from strangers inside error texts: short, and without control characters,
 * which could make a terminal do things. */
#ifndef KDI_PRINTABLE_H
#define KDI_PRINTABLE_H

typedef struct kdi_shown {
    char text[104];
} kdi_shown;

/* Use as kdi_show(name).text within one expression. */
kdi_shown kdi_show(const char *name);

#endif
