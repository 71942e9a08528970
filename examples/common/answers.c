/* SPDX-License-Identifier: MIT
 * answers.c: see answers.h. */
#include "answers.h"

#include <stdbool.h>
#include <string.h>

enum { LARGEST = 1 << 26 };

kd_status answers_write(kd_ctx *ctx, const char *path, const char *weights, const char *right,
                        size_t n)
{
    char *text = kd_ctx_alloc(ctx, ANSWERS_SUM + n + 2, 1);
    if (!text) return KD_E_NOMEM;
    memcpy(text, weights, ANSWERS_SUM);
    text[ANSWERS_SUM] = '\n';
    memcpy(text + ANSWERS_SUM + 1, right, n);
    text[ANSWERS_SUM + 1 + n] = '\n';
    const kd_status status = kd_file_write_atomic(ctx, path, text, ANSWERS_SUM + n + 2);
    kd_ctx_free(ctx, text);
    return status;
}

char *answers_read(kd_ctx *ctx, const char *path, const char *weights, size_t *n)
{
    char *text;
    size_t size;
    if (kd_file_read_all(ctx, path, LARGEST, &text, &size)) return NULL;
    const size_t before = ANSWERS_SUM + 1;
    const bool ours = strlen(weights) == ANSWERS_SUM && size > before + 1 &&
                      !strncmp(text, weights, ANSWERS_SUM) && text[ANSWERS_SUM] == '\n' &&
                      text[size - 1] == '\n' && strspn(text + before, "01-") == size - before - 1;
    if (!ours) {
        kd_ctx_free(ctx, text);
        return NULL;
    }
    *n = size - before - 1;
    memmove(text, text + before, *n + 2);
    return text;
}
