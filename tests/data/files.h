/* SPDX-License-Identifier: MIT
 * files.h: tiny data sets in their file formats, and ways to damage them. */
#ifndef KDI_TEST_FILES_H
#define KDI_TEST_FILES_H

#include "../test.h"

#include <kd/data.h>

#include <stddef.h>
#include <stdint.h>

/* A fresh folder of that name in test_dir(); valid until the next call. */
const char *files_folder(const char *name);

/* Write folder/name; the second form gzips (where the build has zlib). Folders are made. */
void files_write(const char *folder, const char *name, const void *bytes, size_t count);
void files_write_gzip(const char *folder, const char *name, const void *bytes, size_t count);

/* Cut or fill up a file with zeros to size + change bytes; set one byte. */
void files_resize(const char *folder, const char *name, long change);
void files_poke(const char *folder, const char *name, long offset, unsigned char byte);
long files_size(const char *folder, const char *name);

/* What the files made below hold: any byte, any label. */
uint8_t files_pixel(kd_split split, size_t sample, size_t channel, size_t y, size_t x);
int32_t files_label(kd_split split, size_t sample, size_t classes);

/* folder/cifar-10-batches-bin or folder/cifar-100-binary; per_file records a training file. */
void files_cifar(const char *folder, bool hundred, size_t per_file, size_t test);
/* Four idx files of 28x28 pictures in folder. */
void files_idx(const char *folder, size_t train, size_t test, bool gzip);

#endif
