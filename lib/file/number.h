/* SPDX-License-Identifier: MIT
 * number.h: numbers as text with a decimal point, whatever the host's locale says. */
#ifndef KDI_NUMBER_H
#define KDI_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

enum { KDI_NUMBER_SIZE = 48 };

/* A finite number with the fewest digits, from 15 to 17, that read back to the same one. */
void kdi_print_double(char out[KDI_NUMBER_SIZE], double number);

/* The same of a float, from 6 to 9 digits. */
void kdi_print_float(char out[KDI_NUMBER_SIZE], float number);

/* length bytes that are all one decimal number. Overflow gives infinity. False if they are none. */
bool kdi_parse_double(const char *text, size_t length, double *number);

#endif
