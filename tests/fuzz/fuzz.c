/* SPDX-License-Identifier: MIT
 * fuzz.c: see fuzz.h. A process runs one target, in one thread. */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *fuzz_running = "the input";

void fuzz_require(bool truth, const char *what, const char *file, int line)
{
    if (truth) return;
    fprintf(stderr, "%s:%d: %s: broken: %s\n", file, line, fuzz_running, what);
    abort();
}

/* ---- the context ----------------------------------------------------------------------------- */

static struct {
    size_t held, peak;
    long blocks;
} heap;

static void *measured(void *user, void *ptr, size_t old_size, size_t new_size, size_t align)
{
    void *fresh = NULL;
    (void)user;
    if (new_size) {
        const size_t now = heap.held - old_size + new_size;
        if (now > heap.peak) heap.peak = now;
        if (new_size > FUZZ_MOST || posix_memalign(&fresh, align, new_size)) return NULL;
        heap.held += new_size;
        heap.blocks++;
    }
    if (ptr) {
        if (fresh) memcpy(fresh, ptr, old_size < new_size ? old_size : new_size);
        free(ptr);
        heap.held -= old_size;
        heap.blocks--;
    }
    return fresh;
}

kd_ctx *fuzz_begin(size_t limit)
{
    static kd_ctx *ctx;
    static size_t own;
    if (!ctx) {
        const kd_config config = {.struct_size = sizeof config,
                                  .alloc = measured,
                                  .threads = 1,
                                  .max_memory = limit,
                                  .isa = "generic"};
        require(kd_ctx_create(&config, &ctx) == KD_OK);
        own = heap.held;
        heap.held = 0;
        heap.blocks = 0;
    }
    require(own && heap.held == 0);
    heap.peak = 0;
    kd_ctx_fail(ctx, KD_OK, "%s", "");
    return ctx;
}

size_t fuzz_peak(void)
{
    const size_t peak = heap.peak;
    heap.peak = heap.held;
    return peak;
}

void fuzz_words(kd_ctx *ctx)
{
    require(kd_ctx_error(ctx)[0]);
}

void fuzz_end(kd_ctx *ctx)
{
    require(kd_ctx_memory(ctx) == 0);
    require(heap.held == 0 && heap.blocks == 0);
}

/* ---- recipes --------------------------------------------------------------------------------- */

uint8_t fuzz_byte(fuzz_input *in)
{
    if (in->left == 0) return 0;
    in->left--;
    return *in->at++;
}

size_t fuzz_number(fuzz_input *in)
{
    const size_t low = fuzz_byte(in);
    return low | (size_t)fuzz_byte(in) << 8;
}

size_t fuzz_content(fuzz_input *in, uint8_t *room, size_t most)
{
    size_t size = fuzz_number(in), own = fuzz_byte(in);
    if (size > most) size = most;
    if (own > in->left) own = in->left;
    const size_t used = own < size ? own : size;
    if (used) memcpy(room, in->at, used);
    if (size) memset(room + used, own ? in->at[own - 1] : 0, size - used);
    in->at += own;
    in->left -= own;
    return size;
}

static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    static uint32_t table[256];
    uint32_t crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; !table[255] && i < 256; i++) {
        uint32_t x = i;
        for (int bit = 0; bit < 8; bit++) x = x & 1 ? x >> 1 ^ 0xEDB88320u : x >> 1;
        table[i] = x;
    }
    for (size_t i = 0; i < size; i++) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255];
    return ~crc;
}

static uint8_t *put(uint8_t *out, size_t number, int bytes)
{
    for (int i = 0; i < bytes; i++) *out++ = (uint8_t)(number >> 8 * i);
    return out;
}

/* RFC 1952 around one stored block (RFC 1951, 3.2.4), which holds fewer than 2^16 bytes. */
size_t fuzz_wrap(const uint8_t *content, size_t size, uint8_t *out)
{
    static const uint8_t head[] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1};
    uint8_t *const start = out;
    memcpy(out, head, sizeof head);
    out = put(put(out + sizeof head, size, 2), ~size, 2);
    if (size) memcpy(out, content, size);
    out = put(put(out + size, crc32_of(content, size), 4), size, 4);
    return (size_t)(out - start);
}

/* ---- files ----------------------------------------------------------------------------------- */

const char *fuzz_folder(fuzz_place *place, const char *name)
{
    if (place->path[0]) return place->path;
    const char *under = getenv("FUZZ_DIR");
    if (!under || !*under) under = getenv("TMPDIR");
    if (!under || !*under) under = "/tmp";
    snprintf(place->path, sizeof place->path, "%.500s/%s.%ld", under, name, (long)getpid());
    require(mkdir(place->path, 0700) == 0 || errno == EEXIST);
    return place->path;
}

static void path_of(char path[700], const char *folder, const char *name)
{
    require(snprintf(path, 700, "%s/%s", folder, name) < 700);
}

/* How many of the first n bytes are the same in both, in whole pieces but for the last. */
static size_t same(const uint8_t *a, const uint8_t *b, size_t n)
{
    enum { PIECE = 256 };
    size_t at = 0;
    while (at < n && memcmp(a + at, b + at, n - at < PIECE ? n - at : PIECE) == 0)
        at = n - at < PIECE ? n : at + PIECE;
    return at;
}

void fuzz_write(fuzz_file *f, const char *folder, const uint8_t *bytes, size_t size)
{
    require(size <= sizeof f->bytes);
    if (!f->there) {
        char path[700];
        path_of(path, folder, f->name);
        f->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        require(f->fd > 0);
        f->there = true;
        f->size = 0;
    }
    const size_t both = size < f->size ? size : f->size, from = same(f->bytes, bytes, both);
    const size_t n = size - from;
    if (n) require(pwrite(f->fd, bytes + from, n, (off_t)from) == (ssize_t)n);
    if (f->size > size) require(ftruncate(f->fd, (off_t)size) == 0);
    if (n) memcpy(f->bytes + from, bytes + from, n);
    f->size = size;
}

void fuzz_remove(fuzz_file *f, const char *folder)
{
    char path[700];
    if (!f->there) return;
    path_of(path, folder, f->name);
    require(unlink(path) == 0 && close(f->fd) == 0);
    f->there = false;
}
