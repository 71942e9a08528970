/* SPDX-License-Identifier: MIT
 * typed.h: command lines of kd as they are typed into a shell, and what they say, in files of the
 * test's folder. */
#ifndef KDI_TEST_TYPED_H
#define KDI_TEST_TYPED_H

#include "../spawn.h"

/* A path in test_dir(). The last eight of them stay. */
const char *typed_at(const char *name);
/* kd with these words ends with that exit status; what it says is in "said" and "errors". */
void typed(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* That file of test_dir() has these words. */
void typed_says(const char *file, const char *words);
void typed_put(const char *path, const char *text);

#endif
