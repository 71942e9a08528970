/* SPDX-License-Identifier: MIT
 * fuzz.h: what the fuzz targets share: the entry point's name, promises, one context whose memory
 * is measured, and files made from the input.
 *
 * `make fuzz` builds each fuzz_NAME.c with libFuzzer (FUZZ_ALONE); the test suite builds the same
 * files under the names of targets.def and replays the corpus (test_replay.c). A target keeps
 * nothing from one input to the next. */
#ifndef KDI_FUZZ_H
#define KDI_FUZZ_H

#include <kd/ctx.h>

#include <stdbool.h>

/* int FUZZ_TARGET(json)(const uint8_t *bytes, size_t size) { ... return 0; } */
#ifdef FUZZ_ALONE
#define FUZZ_TARGET(name) LLVMFuzzerTestOneInput
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
#else
#define FUZZ_TARGET(name) fuzz_##name
#endif
#define FUZZ(name, most) int fuzz_##name(const uint8_t *bytes, size_t size);
#include "targets.def"
#undef FUZZ

/* A promise of the library: the process aborts where it is broken, in every build. */
void fuzz_require(bool truth, const char *what, const char *file, int line);
#define require(truth) fuzz_require((truth) != 0, #truth, __FILE__, __LINE__)

/* What is being run, for the words of a broken promise. */
extern const char *fuzz_running;

/* The context of all inputs: one thread, no error noted, peak of memory at zero. limit: bytes it
 * may hold (kd_config's max_memory; 0: none), the same at each call of a target. */
kd_ctx *fuzz_begin(size_t limit);
/* Bytes the library has held, or asked for in vain, since fuzz_begin or the last fuzz_peak. What is
 * asked for beyond FUZZ_MOST is refused, so that a greedy reader shows without a greedy machine. */
size_t fuzz_peak(void);
enum { FUZZ_MOST = 1 << 26 };
/* A failure has words. */
void fuzz_words(kd_ctx *ctx);
/* Everything was given back. */
void fuzz_end(kd_ctx *ctx);

/* ---- inputs that are recipes ----------------------------------------------------------------- */

typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

uint8_t fuzz_byte(fuzz_input *in);  /* 0 where nothing is left */
size_t fuzz_number(fuzz_input *in); /* two bytes, the low one first */

/* A file described by the input: its size (two bytes), the number of bytes that follow, these; the
 * rest of the file repeats the last of them. Written to room [most]; returns the size. */
size_t fuzz_content(fuzz_input *in, uint8_t *room, size_t most);
/* content as a gzip file of stored blocks with a right check sum; out [size + 64]. */
size_t fuzz_wrap(const uint8_t *content, size_t size, uint8_t *out);

/* A folder of that name, made when it is first asked for, under the environment's FUZZ_DIR, TMPDIR,
 * or /tmp. */
typedef struct fuzz_place {
    char path[600];
} fuzz_place;
const char *fuzz_folder(fuzz_place *place, const char *name);

enum { FUZZ_FILE_MOST = 8192 };
typedef struct fuzz_file {
    const char *name;
    int fd; /* 0: not made yet */
    bool there;
    size_t size;
    uint8_t bytes[FUZZ_FILE_MOST]; /* what it holds, so that the same is not written twice */
} fuzz_file;

void fuzz_write(fuzz_file *file, const char *folder, const uint8_t *bytes, size_t size);
void fuzz_remove(fuzz_file *file, const char *folder);

#endif
