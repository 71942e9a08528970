/* SPDX-License-Identifier: MIT
 * fuzz_gzip.c: a fuzz target. Byte 0 of the input says how many bytes are asked for at a time, and
 * its highest bit whether the rest is a gzip file as it stands, or the content of one that is made
 * here; kdi_data_file then reads it from front to end.
 *
 * Promises: what comes out is no longer than kdi_data_file_limit; memory does not depend on the file;
 * of a file made here exactly its content comes out. */
#include "fuzz.h"

#include <string.h>

#include "../../lib/data/data.h"

/* MOST: pieces of what a small file unpacks to are enough. SINGLE: so many are read one at a
 * time. */
enum { ROOM = 4096, MOST = 1 << 17, MEMORY = 160 * 1024, SINGLE = 64 };

int FUZZ_TARGET(gzip)(const uint8_t *bytes, size_t size)
{
    static fuzz_file file = {.name = "file.gz"};
    uint8_t wrapped[ROOM + 64], piece[128 * 32];
    static fuzz_place place;
    const char *folder = fuzz_folder(&place, "gzip");
    kdi_path path;
    kd_ctx *ctx = fuzz_begin(0);
    fuzz_input in = {bytes, size};
    kdi_data_file source;
    const uint8_t how = fuzz_byte(&in);
    const bool wrap = KDI_ZLIB && how >> 7 && in.left <= ROOM;
    if (in.left > FUZZ_FILE_MOST) in.left = FUZZ_FILE_MOST;
    if (wrap)
        fuzz_write(&file, folder, wrapped, fuzz_wrap(in.at, in.left, wrapped));
    else
        fuzz_write(&file, folder, in.at, in.left);
    kd_status status = kdi_join(ctx, folder, file.name, &path);
    if (!status) status = kdi_data_file_open(ctx, path.text, &source);
    if (!status) {
        const size_t limit = kdi_data_file_limit(&source), step = 1 + (size_t)(how & 127) * 32;
        size_t done = 0;
        while (!status && done < MOST && !(wrap && done == in.left)) {
            size_t n = step == 1 && done >= SINGLE ? 32 : step;
            if (wrap && in.left - done < n) n = in.left - done;
            status = kdi_data_file_read(&source, piece, n);
            if (!status && wrap) require(!memcmp(piece, in.at + done, n));
            if (!status) done += n;
            require(source.offset == done && done <= limit);
        }
        /* Also after a read that failed: there the file may end. */
        const kd_status end = kdi_data_file_end(&source);
        if (!status) status = end;
        kdi_data_file_close(&source);
    }
    require(!wrap || !status);
    if (status) fuzz_words(ctx);
    require(fuzz_peak() <= MEMORY);
    fuzz_end(ctx);
    return 0;
}
