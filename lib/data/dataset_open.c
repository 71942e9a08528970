/* SPDX-License-Identifier: MIT
 * dataset_open.c: opening a data set by the name of its reader, or from the paths of pictures. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    kdi_reader_fn open;
} readers[] = {
#define READER(text, function) {text, function},
#include "readers.def"
#undef READER
};
enum { READERS = sizeof readers / sizeof *readers };

const char *kd_dataset_name_at(size_t i)
{
    return i < READERS ? readers[i].name : NULL;
}

static kdi_reader_fn find_reader(const char *name, size_t length)
{
    for (size_t i = 0; i < READERS; i++)
        if (strlen(readers[i].name) == length && memcmp(readers[i].name, name, length) == 0)
            return readers[i].open;
    return NULL;
}

kd_status kd_dataset_open(kd_ctx *ctx, const char *name, const char *dir, kd_dataset **out)
{
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_dataset_open: NULL");
    if (!name) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_dataset_open: no name");
    const size_t length = strcspn(name, ":");
    const kdi_reader_fn open = find_reader(name, length);
    if (!open) {
#define READER(text, function) " " text
        return kd_ctx_fail(ctx, KD_E_INVALID, "unknown data set '%.100s'; known are:%s", name,
#include "readers.def"
        );
#undef READER
    }
    if (!dir) dir = getenv("KD_DATA");
    if (!dir || !*dir) dir = "data";
    kd_dataset *data = kdi_dataset_make(ctx);
    kd_status status = data ? KD_OK : kd_ctx_memory_status(ctx);
    if (!status) status = open(data, name[length] ? name + length + 1 : "", dir);
    kdi_limit_for(ctx, status, "the data set %.100s", name);
    return kdi_dataset_finish(data, status, out);
}

kd_status kd_dataset_from_pictures(kd_ctx *ctx, const char *const *paths, size_t count,
                                   kd_dataset **out)
{
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_dataset_from_pictures: NULL");
    if (!paths && count)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_dataset_from_pictures: no paths");
    kd_dataset *data = kdi_dataset_make(ctx);
    if (!data) return kd_ctx_memory_status(ctx);
    return kdi_dataset_finish(data, kdi_read_pictures(data, paths, count), out);
}
