/* SPDX-License-Identifier: MIT
 * cache_mend.c: an epoch of a teacher cache whose file is damaged, where the teachers are there. The
 * file is set aside; its rows that are whole begin the new one, and the teachers compute the rest. */
#include "train.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool kdt_cache_damaged(const kdt_feed *feed, kd_status status)
{
    if (feed->cache.unwritten) return false; /* it has not begun: what is there is another's */
    return feed->teachers[0].model && (status == KD_E_FORMAT || status == KD_E_MISMATCH);
}

/* Rows without a mark, as other programs write them, cannot be told from damaged ones. */
static void keep_rows(kdt_cache *c, kdt_epoch_file *old)
{
    for (size_t row = 0; row < c->layout.rows && c->now.part >= 0; row++) {
        kdt_mark mark;
        bool whole, there;
        if (kdt_epoch_mark(old, row, &mark) || mark.id == 0) continue;
        if (kdt_epoch_read(old, row, mark.id - 1, c->bytes, &whole) || !whole) continue;
        if (kdt_epoch_read(&c->now, row, mark.id - 1, c->bytes, &there) || there) continue;
        if (kdt_epoch_read(old, row, mark.id - 1, c->bytes, &whole) || !whole) continue;
        kdt_epoch_write(&c->now, row, mark.id - 1, c->bytes);
    }
}

kd_status kdt_cache_mend(kdt_cache *c, size_t number)
{
    char from[KDT_PATH], to[KDT_PATH + 16];
    kdt_epoch_file old;
    kd_status status = KD_OK;
    kdt_epoch_path(c->folder, number, true, from, sizeof from);
    snprintf(to, sizeof to, "%s.damaged", from);
    kd_ctx_log(c->ctx, KD_LOG_WARN,
               "%s: the cache's file is set aside as '.damaged', and the teacher computes what it "
               "lacks",
               kd_ctx_error(c->ctx));
    kdt_epoch_close(&c->now);
    c->visited = 0;
    const bool readable = !kdt_epoch_open(c->ctx, &c->layout, c->folder, c->key_hash, number, &old);
    const bool aside = rename(from, to) == 0 || errno == ENOENT;
    if (aside)
        status = kdt_epoch_begin(c->ctx, &c->layout, c->folder, c->key_hash, number, &c->now);
    else
        kd_ctx_log(c->ctx, KD_LOG_WARN, "%s: %s: the epoch is computed, and the cache not mended",
                   from, strerror(errno));
    if (readable && !status) keep_rows(c, &old);
    if (readable) kdt_epoch_close(&old);
    c->now.epoch = number;
    return status;
}
