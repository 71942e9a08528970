/* SPDX-License-Identifier: MIT
 * fuzz_png.c: a fuzz target. The input is a PNG file; the corpus holds one of each kind. */
#include "picture.h"

int FUZZ_TARGET(png)(const uint8_t *bytes, size_t size)
{
    return fuzz_picture(bytes, size);
}
