/* SPDX-License-Identifier: MIT
 * write.c: an export as a file: the blob, or a C array of it (c_array.c makes its text). */
#include "export.h"

#include <kd/file.h>

#include <stdio.h>
#include <string.h>

kd_status kd_export_blob(kd_export *e, const void **bytes, size_t *size)
{
    if (bytes) *bytes = NULL;
    if (!e) return KD_E_INVALID;
    if (!bytes || !size) return kd_ctx_fail(e->ctx, KD_E_INVALID, "kd_export_blob: NULL");
    const kd_status status = kdi_export_make_blob(e);
    *bytes = status ? NULL : e->blob;
    *size = status ? 0 : e->blob_bytes;
    return status;
}

kd_status kd_export_write(kd_export *e, const char *path)
{
    const void *bytes;
    size_t size;
    if (!e) return KD_E_INVALID;
    if (!path) return kd_ctx_fail(e->ctx, KD_E_INVALID, "kd_export_write: NULL");
    const kd_status status = kd_export_blob(e, &bytes, &size);
    return status ? status : kd_file_write_atomic(e->ctx, path, bytes, size);
}

/* The last part of a prefix, as names in C begin with it. */
static kd_status name_of(kd_export *e, const char *prefix, const char **name)
{
    const char *slash = strrchr(prefix, '/');
    *name = slash ? slash + 1 : prefix;
    const size_t n =
        strspn(*name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    if (n == 0 || n > 60 || (*name)[n] || ((*name)[0] >= '0' && (*name)[0] <= '9'))
        return kd_ctx_fail(e->ctx, KD_E_INVALID,
                           "'%.80s' begins names in C: letters, digits and '_', at most 60, the "
                           "first no digit",
                           *name);
    return KD_OK;
}

/* May this path be written: is nothing there, or a text that we wrote? */
static kd_status may_replace(kd_export *e, const char *path)
{
    static const char ours[] = KDI_C_ARRAY_FIRST;
    char *bytes;
    size_t size;
    const kd_status status = kd_file_read_all(e->ctx, path, (size_t)1 << 31, &bytes, &size);
    if (status == KD_E_NOTFOUND) return KD_OK;
    if (status) return status;
    const bool same =
        size == 0 || (size >= sizeof ours - 1 && !memcmp(bytes, ours, sizeof ours - 1));
    kd_ctx_free(e->ctx, bytes);
    return same ? KD_OK
                : kd_ctx_fail(e->ctx, KD_E_EXISTS,
                              "%s is there, and no network written by libkd: it stays", path);
}

kd_status kd_export_write_c(kd_export *e, const char *prefix)
{
    const char *name;
    char *paths[2] = {NULL, NULL}, *texts[2] = {NULL, NULL};
    if (!e) return KD_E_INVALID;
    if (!prefix) return kd_ctx_fail(e->ctx, KD_E_INVALID, "kd_export_write_c: NULL");
    kd_status status = name_of(e, prefix, &name);
    if (!status) status = kdi_export_make_blob(e);
    const size_t size = strlen(prefix) + 3;
    for (int i = 0; i < 2 && !status; i++) {
        paths[i] = kd_ctx_alloc(e->ctx, size, 1);
        if (!paths[i]) status = kd_ctx_memory_status(e->ctx);
        if (status) break;
        snprintf(paths[i], size, "%s.%c", prefix, i ? 'c' : 'h');
        status = may_replace(e, paths[i]);
    }
    if (!status) status = kdi_c_array(e, name, texts);
    for (int i = 0; i < 2 && !status; i++)
        status = kd_file_write_atomic(e->ctx, paths[i], texts[i], strlen(texts[i]));
    for (int i = 0; i < 2; i++) {
        kd_ctx_free(e->ctx, paths[i]);
        kd_ctx_free(e->ctx, texts[i]);
    }
    return status;
}
