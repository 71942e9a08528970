/* SPDX-License-Identifier: MIT
 * fuzz_jpeg.c: a libFuzzer target: a JPEG file in memory. The corpus holds one of each kind. */
#include "picture.h"
