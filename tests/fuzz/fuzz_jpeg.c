/* SPDX-License-Identifier: MIT
 * fuzz_jpeg.c: a fuzz target. The input is a JPEG file; the corpus holds one of each kind. */
#include "picture.h"

int FUZZ_TARGET(jpeg)(const uint8_t *bytes, size_t size)
{
    return fuzz_picture(bytes, size);
}
