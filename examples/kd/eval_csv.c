/* SPDX-License-Identifier: MIT
 * eval_csv.c: the tables that kd eval writes, as CSV (RFC 4180) in UTF-8. A name with
 * a comma, a quote or a line break is quoted.
 *
 *   --predictions   a line for each sample of each network
 *   --confusion     [label, class]: a line for each class, a column for each answer */
#include "eval.h"

#include <stdio.h>
#include <string.h>

static const char predictions_head[] = "file,id,label,label_name,class,class_name,probability,loss";
static const char confusion_head[] = "label \\ class";

/* ---- a text that grows ----------------------------------------------------------------------- */

static bool add(evaluation *e, const char *text, size_t size)
{
    if (e->csv_size + size + 1 > e->csv_capacity) {
        const size_t capacity = 2 * (e->csv_size + size) + 4096;
        char *more = kd_ctx_alloc(e->ctx, capacity, 1);
        if (!more) return false;
        if (e->csv) memcpy(more, e->csv, e->csv_size);
        kd_ctx_free(e->ctx, e->csv);
        e->csv = more;
        e->csv_capacity = capacity;
    }
    memcpy(e->csv + e->csv_size, text, size);
    e->csv_size += size;
    return true;
}

static bool add_text(evaluation *e, const char *text)
{
    return add(e, text, strlen(text));
}

static bool add_cell(evaluation *e, const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) return add_text(e, text);
    bool done = add(e, "\"", 1);
    for (; done && *text; text++) done = (*text != '"' || add(e, "\"", 1)) && add(e, text, 1);
    return done && add(e, "\"", 1);
}

/* The class's name, or its number where it has none. */
static bool add_class(evaluation *e, const eval_network *n, size_t k)
{
    char number[32];
    if (n->names && n->names[k]) return add_cell(e, n->names[k]);
    snprintf(number, sizeof number, "%zu", k);
    return add_text(e, number);
}

/* ---- outputs --------------------------------------------------------------------------------- */

static int check(const evaluation *e, const char *option, const char *path, const char *head)
{
    const cli_args *a = e->args;
    if (!path) return CLI_DONE;
    int code = cli_apart(e->ctx, option, path, a->words[0]);
    for (size_t i = 0; i < a->n_more && !code; i++)
        code = cli_apart(e->ctx, option, path, a->more[i]);
    if (!code) code = cli_apart(e->ctx, option, path, a->teachers[0]);
    if (!code) code = cli_can_write(option, path);
    return code ? code : cli_can_replace(option, path, head, "table");
}

int eval_check_outputs(const evaluation *e)
{
    const cli_args *a = e->args;
    int code = cli_two_outputs(a, "--predictions", a->predictions, "--confusion", a->confusion);
    if (!code) code = check(e, "--predictions", a->predictions, predictions_head);
    return code ? code : check(e, "--confusion", a->confusion, confusion_head);
}

static int put(evaluation *e, const char *path)
{
    const kd_status status = kd_file_write_atomic(e->ctx, path, e->csv, e->csv_size);
    e->csv_size = 0;
    return status ? cli_fail_ctx(e->ctx) : CLI_DONE;
}

/* ---- predictions ----------------------------------------------------------------------------- */

static bool add_answer(evaluation *e, const eval_network *n, size_t id)
{
    char text[80];
    const eval_answer *a = &n->answers[id];
    bool done = add_cell(e, n->file);
    snprintf(text, sizeof text, ",%zu,%ld,", id, (long)a->target);
    done = done && add_text(e, text) && add_class(e, n, (size_t)a->target);
    snprintf(text, sizeof text, ",%ld,", (long)a->predicted);
    done = done && add_text(e, text) && add_class(e, n, (size_t)a->predicted);
    snprintf(text, sizeof text, ",%.9g,%.9g\n", a->probability, a->loss);
    return done && add_text(e, text);
}

int eval_add_predictions(evaluation *e, const eval_network *n)
{
    bool done = e->csv_size > 0 || (add_text(e, predictions_head) && add(e, "\n", 1));
    for (size_t id = 0; done && id < e->count; id++)
        if (n->answers[id].there) done = add_answer(e, n, id);
    return done ? CLI_DONE : cli_fail_ctx(e->ctx);
}

int eval_write_predictions(evaluation *e)
{
    return put(e, e->args->predictions);
}

/* ---- the confusion matrix -------------------------------------------------------------------- */

static bool add_row(evaluation *e, const eval_network *n, size_t label)
{
    char text[40];
    bool done = add_class(e, n, label);
    for (size_t k = 0; done && k < n->classes; k++) {
        snprintf(text, sizeof text, ",%llu",
                 (unsigned long long)n->confusion[label * n->classes + k]);
        done = add_text(e, text);
    }
    return done && add(e, "\n", 1);
}

int eval_write_confusion(evaluation *e, const eval_network *n)
{
    /* a text of its own: that of --predictions goes on */
    evaluation own = {.args = e->args, .ctx = e->ctx};
    bool done = add_text(&own, confusion_head);
    for (size_t k = 0; done && k < n->classes; k++)
        done = add(&own, ",", 1) && add_class(&own, n, k);
    done = done && add(&own, "\n", 1);
    for (size_t label = 0; done && label < n->classes; label++) done = add_row(&own, n, label);
    const int code = done ? put(&own, e->args->confusion) : cli_fail_ctx(e->ctx);
    kd_ctx_free(e->ctx, own.csv);
    return code;
}
