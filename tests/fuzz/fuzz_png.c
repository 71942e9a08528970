/* SPDX-License-Identifier: MIT
 * fuzz_png.c: a libFuzzer target: a PNG file in memory. The corpus holds one of each kind. */
#include "picture.h"
