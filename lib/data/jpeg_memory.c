/* SPDX-License-Identifier: MIT
 * jpeg_memory.c: a memory manager for libjpeg, so that a picture's memory is counted, limited and
 * reused like all other. Memory of a picture is taken from the decoder's arena; "virtual arrays"
 * (the coefficients of a progressive picture) are held there as a whole. Permanent memory, a few
 * kilobytes of tables, is left to libjpeg.
 *
 * A failure ends in libjpeg's error exit, a longjmp: see jpeg.c. */
#include "data.h"

#if KDI_JPEG
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "jpeg.h"

enum { ROW_ALIGN = 64 }; /* libjpeg-turbo's vector code reads and writes whole blocks of a row */

/* The header promises that these exist; what they are is the manager's business. */
struct jvirt_sarray_control {
    JSAMPARRAY rows;
    JDIMENSION width, height;
    boolean zero;
    struct jvirt_sarray_control *next;
};

struct jvirt_barray_control {
    JBLOCKARRAY rows;
    JDIMENSION width, height;
    boolean zero;
    struct jvirt_barray_control *next;
};

/* Requests not yet served, and libjpeg's own functions for permanent pools. */
typedef struct manager {
    kdi_decoder *decoder;
    struct jpeg_memory_mgr own;
    jvirt_sarray_ptr samples;
    jvirt_barray_ptr blocks;
} manager;

static manager *manager_of(j_common_ptr cinfo)
{
    return cinfo->client_data;
}

static void *take(j_common_ptr cinfo, size_t bytes)
{
    void *block = kdi_arena_take(&manager_of(cinfo)->decoder->arena, bytes);
    if (!block) ERREXIT1(cinfo, JERR_OUT_OF_MEMORY, 0);
    return block;
}

static void *take_rows(j_common_ptr cinfo, size_t row, size_t rows)
{
    size_t bytes = 0;
    if (!kdi_mul(row, rows, &bytes)) ERREXIT1(cinfo, JERR_OUT_OF_MEMORY, 1);
    return take(cinfo, bytes);
}

static void *alloc_small(j_common_ptr cinfo, int pool, size_t size)
{
    return pool == JPOOL_IMAGE ? take(cinfo, size)
                               : manager_of(cinfo)->own.alloc_small(cinfo, pool, size);
}

static void *alloc_large(j_common_ptr cinfo, int pool, size_t size)
{
    return pool == JPOOL_IMAGE ? take(cinfo, size)
                               : manager_of(cinfo)->own.alloc_large(cinfo, pool, size);
}

static JSAMPARRAY alloc_sarray(j_common_ptr cinfo, int pool, JDIMENSION width, JDIMENSION height)
{
    if (pool != JPOOL_IMAGE) return manager_of(cinfo)->own.alloc_sarray(cinfo, pool, width, height);
    const size_t row = ((size_t)width * sizeof(JSAMPLE) + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
    JSAMPARRAY rows = take_rows(cinfo, sizeof *rows, height);
    JSAMPROW samples = take_rows(cinfo, row, height);
    for (JDIMENSION i = 0; i < height; i++) rows[i] = samples + i * row;
    return rows;
}

static JBLOCKARRAY alloc_barray(j_common_ptr cinfo, int pool, JDIMENSION width, JDIMENSION height)
{
    if (pool != JPOOL_IMAGE) return manager_of(cinfo)->own.alloc_barray(cinfo, pool, width, height);
    JBLOCKARRAY rows = take_rows(cinfo, sizeof *rows, height);
    JBLOCKROW blocks = take_rows(cinfo, width * sizeof *blocks, height);
    for (JDIMENSION i = 0; i < height; i++) rows[i] = blocks + (size_t)i * width;
    return rows;
}

static jvirt_sarray_ptr request_sarray(j_common_ptr cinfo, int pool, boolean zero, JDIMENSION width,
                                       JDIMENSION height, JDIMENSION at_once)
{
    manager *m = manager_of(cinfo);
    (void)at_once;
    if (pool != JPOOL_IMAGE) ERREXIT1(cinfo, JERR_BAD_POOL_ID, pool);
    jvirt_sarray_ptr a = take(cinfo, sizeof *a);
    *a = (struct jvirt_sarray_control){NULL, width, height, zero, m->samples};
    m->samples = a;
    return a;
}

static jvirt_barray_ptr request_barray(j_common_ptr cinfo, int pool, boolean zero, JDIMENSION width,
                                       JDIMENSION height, JDIMENSION at_once)
{
    manager *m = manager_of(cinfo);
    (void)at_once;
    if (pool != JPOOL_IMAGE) ERREXIT1(cinfo, JERR_BAD_POOL_ID, pool);
    jvirt_barray_ptr a = take(cinfo, sizeof *a);
    *a = (struct jvirt_barray_control){NULL, width, height, zero, m->blocks};
    m->blocks = a;
    return a;
}

static void realize(j_common_ptr cinfo)
{
    manager *m = manager_of(cinfo);
    for (; m->samples; m->samples = m->samples->next) {
        jvirt_sarray_ptr a = m->samples;
        a->rows = alloc_sarray(cinfo, JPOOL_IMAGE, a->width, a->height);
        for (JDIMENSION i = 0; a->zero && i < a->height; i++) memset(a->rows[i], 0, a->width);
    }
    for (; m->blocks; m->blocks = m->blocks->next) {
        jvirt_barray_ptr a = m->blocks;
        a->rows = alloc_barray(cinfo, JPOOL_IMAGE, a->width, a->height);
        for (JDIMENSION i = 0; a->zero && i < a->height; i++)
            memset(a->rows[i], 0, a->width * sizeof(JBLOCK));
    }
}

static JSAMPARRAY access_sarray(j_common_ptr cinfo, jvirt_sarray_ptr a, JDIMENSION first,
                                JDIMENSION count, boolean writable)
{
    (void)writable;
    if (!a->rows || first > a->height || count > a->height - first)
        ERREXIT(cinfo, JERR_BAD_VIRTUAL_ACCESS);
    return a->rows + first;
}

static JBLOCKARRAY access_barray(j_common_ptr cinfo, jvirt_barray_ptr a, JDIMENSION first,
                                 JDIMENSION count, boolean writable)
{
    (void)writable;
    if (!a->rows || first > a->height || count > a->height - first)
        ERREXIT(cinfo, JERR_BAD_VIRTUAL_ACCESS);
    return a->rows + first;
}

/* The arena is reset when the picture is closed. */
static void free_pool(j_common_ptr cinfo, int pool)
{
    if (pool != JPOOL_IMAGE) manager_of(cinfo)->own.free_pool(cinfo, pool);
}

void kdi_jpeg_memory(j_decompress_ptr cinfo)
{
    kdi_decoder *d = cinfo->client_data;
    j_common_ptr common = (j_common_ptr)cinfo;
    manager *m = kdi_arena_take(&d->arena, sizeof *m);
    if (!m) {
        ERREXIT1(common, JERR_OUT_OF_MEMORY, 2); /* which does not come back */
        return;
    }
    *m = (manager){.decoder = d, .own = *cinfo->mem};
    cinfo->client_data = m;
    cinfo->mem->alloc_small = alloc_small;
    cinfo->mem->alloc_large = alloc_large;
    cinfo->mem->alloc_sarray = alloc_sarray;
    cinfo->mem->alloc_barray = alloc_barray;
    cinfo->mem->request_virt_sarray = request_sarray;
    cinfo->mem->request_virt_barray = request_barray;
    cinfo->mem->realize_virt_arrays = realize;
    cinfo->mem->access_virt_sarray = access_sarray;
    cinfo->mem->access_virt_barray = access_barray;
    cinfo->mem->free_pool = free_pool;
}
#endif
