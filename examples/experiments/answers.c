/* SPDX-License-Identifier: MIT
 * answers.c: OUT/NAME/answers.txt: which test pictures a finished network has right, so that two can
 * be compared on the same pictures. Two lines: the sum over the weights that run.json has, too, and a
 * character for each picture of the test split in order: 1 right, 0 wrong, - not read. */
#include "experiments.h"

#include <string.h>

static const char name[] = "answers.txt";
enum { SUM = 16 }; /* hexadecimal digits */

int ex_answers_write(const ex_work *w, const ex_run *run, const char *weights, const char *right,
                     size_t n)
{
    const ex_path path = ex_in(w, run->name, name);
    char *text = kd_ctx_alloc(w->ctx, SUM + n + 2, 1);
    kd_status status = text ? KD_OK : KD_E_NOMEM;
    if (text) {
        memcpy(text, weights, SUM);
        text[SUM] = '\n';
        memcpy(text + SUM + 1, right, n);
        text[SUM + 1 + n] = '\n';
        status = kd_file_write_atomic(w->ctx, path.text, text, SUM + n + 2);
    }
    kd_ctx_free(w->ctx, text);
    return status ? ex_fail_ctx(w) : EX_DONE;
}

char *ex_answers_read(const ex_work *w, const ex_run *run, const ex_record *record, size_t *n)
{
    char *text;
    size_t size;
    const ex_path path = ex_in(w, run->name, name);
    if (kd_file_read_all(w->ctx, path.text, 1 << 26, &text, &size)) return NULL;
    const bool ours = size > SUM + 2 && !strncmp(text, record->weights, SUM) && text[SUM] == '\n' &&
                      text[size - 1] == '\n' && strspn(text + SUM + 1, "01-") == size - SUM - 2;
    if (!ours) {
        kd_ctx_free(w->ctx, text);
        return NULL;
    }
    *n = size - SUM - 2;
    memmove(text, text + SUM + 1, *n + 1);
    return text;
}
