/* SPDX-License-Identifier: MIT
 * test_replay.c: the fuzz targets without libFuzzer: each runs its committed corpus, then some
 * thousand inputs made from it by simple changes, the same ones every time. */
#include "../test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "../../lib/base/philox.h"
#include "fuzz.h"

enum { SEEDS = 256, LONGEST = 65536, ROUNDS = 3000 };

typedef int (*target_fn)(const uint8_t *bytes, size_t size);

typedef struct seed {
    uint8_t *bytes;
    size_t size;
} seed;

/* Targets whose input becomes files write these themselves. */
static bool writes(const char *name)
{
    static const char *const writers[] = {"cifar", "idx", "gzip", "shards"};
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++)
        if (strcmp(name, writers[i]) == 0) return true;
    return false;
}

/* Run one input, of the others without the right to write a byte into any file: SIGXFSZ ends the
 * process if it does. Check's own assertions write, so there are none here. */
static void run_one(const char *name, target_fn run, const uint8_t *bytes, size_t size)
{
    struct rlimit before, none;
    if (getrlimit(RLIMIT_FSIZE, &before)) abort();
    none = before;
    if (!writes(name)) none.rlim_cur = 0;
    if (setrlimit(RLIMIT_FSIZE, &none)) abort();
    run(bytes, size);
    if (setrlimit(RLIMIT_FSIZE, &before)) abort();
}

static size_t read_seeds(const char *name, seed *seeds, char running[300], target_fn run)
{
    char folder[100], path[400];
    struct dirent **entries;
    size_t n = 0;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    const int found = scandir(folder, &entries, NULL, alphasort);
    ck_assert_msg(found > 2, "no corpus in %s: run the tests from the top of the tree", folder);
    for (int i = 0; i < found; i++) {
        if (entries[i]->d_name[0] != '.') {
            ck_assert_uint_lt(n, SEEDS);
            snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
            snprintf(running, 300, "%.290s", path);
            FILE *f = fopen(path, "rb");
            ck_assert_ptr_nonnull(f);
            uint8_t *room = malloc(LONGEST);
            const size_t size = fread(room, 1, LONGEST, f);
            fclose(f);
            /* No larger than it is, so that a sanitizer sees an overrun. */
            seeds[n].bytes = malloc(size ? size : 1);
            memcpy(seeds[n].bytes, room, size);
            seeds[n].size = size;
            free(room);
            run_one(name, run, seeds[n].bytes, size);
            n++;
        }
        free(entries[i]);
    }
    free(entries);
    return n;
}

/* Where in [0, size] a change begins. */
static size_t somewhere(kdi_rng *rng, size_t size)
{
    return kdi_rng_below(rng, (uint32_t)size + 1);
}

/* One change of bytes [size] in a room of most + 1; returns the new size. */
static size_t change(kdi_rng *rng, const seed *other, uint8_t *bytes, size_t size, size_t most)
{
    static const uint8_t special[] = {0,   1,   0x7F, 0x80, 0xFF, '"', '{', '}',
                                      '[', ']', ',',  ':',  '=',  '-', '9', '\n'};
    const size_t at = somewhere(rng, size);
    size_t n = 1 + kdi_rng_below(rng, 8);
    switch (kdi_rng_below(rng, 6)) {
    case 0: /* a bit */
        if (at < size) bytes[at] ^= (uint8_t)(1u << kdi_rng_below(rng, 8));
        return size;
    case 1: /* a byte that often means something */
        if (at < size) bytes[at] = special[kdi_rng_below(rng, sizeof special)];
        return size;
    case 2: /* take out */
        if (n > size - at) n = size - at;
        memmove(bytes + at, bytes + at + n, size - at - n);
        return size - n;
    case 3: /* put in */
        if (n > most - size) n = most - size;
        memmove(bytes + at + n, bytes + at, size - at);
        for (size_t i = 0; i < n; i++) bytes[at + i] = (uint8_t)kdi_rng_u32(rng);
        return size + n;
    case 4: /* cut off */
        return at;
    default: { /* a piece of another input */
        const size_t from = somewhere(rng, other->size);
        n = somewhere(rng, other->size - from);
        if (n > most - at) n = most - at;
        memcpy(bytes + at, other->bytes + from, n);
        return at + n > size ? at + n : size;
    }
    }
}

static void replay(const char *name, target_fn run, size_t most)
{
    static seed seeds[SEEDS];
    char running[300];
    ck_assert_int_eq(setenv("FUZZ_DIR", test_dir(), 1), 0);
    fuzz_running = running;
    const size_t n = read_seeds(name, seeds, running, run);
    uint8_t *room = malloc(LONGEST + 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        kdi_rng rng = kdi_rng_make(20, KDI_RNG_TEST, 0, round);
        const seed *from = &seeds[kdi_rng_below(&rng, (uint32_t)n)];
        size_t size = from->size < most ? from->size : most;
        memcpy(room, from->bytes, size);
        for (uint32_t changes = 1 + kdi_rng_below(&rng, 4); changes; changes--)
            size = change(&rng, &seeds[kdi_rng_below(&rng, (uint32_t)n)], room, size, most);
        uint8_t *input = malloc(size ? size : 1);
        memcpy(input, room, size);
        snprintf(running, sizeof running, "%s, change %u", name, round);
        run_one(name, run, input, size);
        free(input);
    }
    free(room);
    for (size_t i = 0; i < n; i++) free(seeds[i].bytes);
}

#define FUZZ(name, most)                                                                           \
    START_TEST(test_##name)                                                                        \
    {                                                                                              \
        replay(#name, fuzz_##name, most);                                                          \
    }                                                                                              \
    END_TEST
#include "targets.def"
#undef FUZZ

static void enter(void)
{
    test_enter("fuzz");
}

Suite *fuzz_suite(void);
Suite *fuzz_suite(void)
{
    static const TTest **const tests[] = {
#define FUZZ(name, most) &test_##name,
#include "targets.def"
#undef FUZZ
    };
    return test_suite("fuzz", 120, enter, tests, sizeof tests / sizeof *tests);
}
