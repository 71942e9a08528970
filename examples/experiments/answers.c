/* SPDX-License-Identifier: MIT
 * answers.c: OUT/NAME/answers.txt of a run (common/answers.h). */
#include "experiments.h"

#include "../common/answers.h"

static const char name[] = "answers.txt";

int ex_answers_write(const ex_work *w, const ex_run *run, const char *weights, const char *right,
                     size_t n)
{
    const ex_path path = ex_in(w, run->name, name);
    return answers_write(w->ctx, path.text, weights, right, n) ? ex_fail_ctx(w) : EX_DONE;
}

char *ex_answers_read(const ex_work *w, const ex_run *run, const ex_record *record, size_t *n)
{
    return answers_read(w->ctx, ex_in(w, run->name, name).text, record->weights, n);
}
