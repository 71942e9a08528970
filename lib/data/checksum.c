/* SPDX-License-Identifier: MIT
 * checksum.c: the checksum of a data set, of all pixels and labels unless the reader has one of its
 * own (picture_folder.c). It is the same on every machine.
 *
 * Words are little-endian, of 64 bits. A block of 32 bytes gives one word to each of four lanes,
 * which take FNV-like steps, with a rotation so that high bits affect low ones. */
#include "checksum.h"

#include <string.h>

kdi_sum kdi_sum_begin(void)
{
    return (kdi_sum){{1, 2, 3, 4}};
}

static void add_block(kdi_sum *s, const uint8_t block[32])
{
    for (size_t i = 0; i < 4; i++) {
        uint64_t word;
        memcpy(&word, block + 8 * i, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        const uint64_t x = (s->lane[i] ^ word) * 0x9E3779B97F4A7C15u;
        s->lane[i] = x << 29 | x >> 35;
    }
}

/* The last block is filled up with zeros. */
void kdi_sum_bytes(kdi_sum *s, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    uint8_t last[32] = {0};
    for (; n >= 32; n -= 32, at += 32) add_block(s, at);
    if (n) {
        memcpy(last, at, n);
        add_block(s, last);
    }
}

void kdi_sum_number(kdi_sum *s, uint64_t number)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < 8; i++) bytes[i] = (uint8_t)(number >> 8 * i);
    kdi_sum_bytes(s, bytes, 8);
}

void kdi_sum_text(kdi_sum *s, const char *text)
{
    const size_t n = strlen(text);
    kdi_sum_number(s, n);
    kdi_sum_bytes(s, text, n);
}

uint64_t kdi_sum_end(const kdi_sum *s)
{
    uint64_t x = 0;
    for (size_t i = 0; i < 4; i++) {
        x = (x ^ s->lane[i]) * 0xFF51AFD7ED558CCDu;
        x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53u;
        x ^= x >> 29;
    }
    return x;
}

static kd_status sum_samples(kd_dataset *data, uint8_t *scratch, kdi_failure *failure)
{
    const kd_data_info *info = &data->info;
    kdi_sum s = kdi_sum_begin();
    kdi_sum_number(&s, info->classes);
    kdi_sum_number(&s, info->height);
    kdi_sum_number(&s, info->width);
    kdi_sum_number(&s, info->channels);
    for (int split = 0; split < KD_SPLIT_COUNT; split++) {
        kdi_sum_number(&s, info->count[split]);
        for (size_t i = 0; i < info->count[split]; i++) {
            int32_t label;
            if (kd_ctx_cancelled(data->ctx))
                return kdi_failure_set(failure, KD_E_STOPPED, "the context was cancelled");
            const uint8_t *picture =
                kdi_dataset_look(data, (kd_split)split, i, scratch, &label, failure);
            if (!picture) return failure->status;
            kdi_sum_bytes(&s, picture, kdi_dataset_bytes(data));
            kdi_sum_number(&s, (uint64_t)label);
        }
    }
    data->checksum = kdi_sum_end(&s);
    data->checksum_known = true;
    return KD_OK;
}

kd_status kd_dataset_checksum(kd_dataset *data, uint64_t *checksum)
{
    if (!data) return KD_E_INVALID;
    if (!checksum) return kd_ctx_fail(data->ctx, KD_E_INVALID, "kd_dataset_checksum: NULL");
    if (data->fingerprint && !data->checksum_known) {
        const kd_status status = data->fingerprint(data, &data->checksum);
        if (status) return status;
        data->checksum_known = true;
    }
    if (!data->checksum_known) {
        uint8_t *scratch = NULL;
        if (data->fetch) {
            scratch = kd_ctx_alloc(data->ctx, kdi_dataset_bytes(data), 1);
            if (!scratch) return kd_ctx_memory_status(data->ctx);
        }
        kdi_failure failure = {0};
        const kd_status status = sum_samples(data, scratch, &failure);
        kd_ctx_free(data->ctx, scratch);
        if (status) return kd_ctx_fail(data->ctx, status, "%s", failure.text);
    }
    *checksum = data->checksum;
    return KD_OK;
}
