/* SPDX-License-Identifier: MIT
 * report.c: kd report: run folders as one page, a CSV table, LaTeX tables. The order of work, the
 * report's memory, and what is written: nothing unless something could be read, each file as a whole
 * and never over a file of another kind. */
#include "report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------- */

typedef struct report_block {
    struct report_block *next;
    max_align_t bytes[];
} report_block;

void *report_alloc(report *r, size_t count, size_t size)
{
    const size_t units = size && count > (SIZE_MAX / 2) / size
                             ? 0
                             : (count * size + sizeof(max_align_t) - 1) / sizeof(max_align_t) + 1;
    report_block *b =
        units ? kd_ctx_alloc(r->ctx, sizeof *b + units * sizeof(max_align_t), 1) : NULL;
    if (!b) {
        r->failed = true;
        return NULL;
    }
    memset(b, 0, sizeof *b + units * sizeof(max_align_t));
    b->next = r->blocks;
    r->blocks = b;
    return b->bytes;
}

const char *report_copy(report *r, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = report_alloc(r, size, 1);
    if (copy) memcpy(copy, text, size);
    return copy ? copy : "";
}

const char *report_print(report *r, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(NULL, 0, format, list);
    va_end(list);
    char *text = n < 0 ? NULL : report_alloc(r, (size_t)n + 1, 1);
    if (!text) return "";
    va_start(list, format);
    vsnprintf(text, (size_t)n + 1, format, list);
    va_end(list);
    return text;
}

void *report_more(report *r, void *list, size_t *n, size_t size)
{
    if ((*n & (*n - 1)) == 0) { /* a power of two, or none: it is full */
        void *more = report_alloc(r, *n ? 2 * *n : 1, size);
        if (!more) return NULL;
        if (*n) memcpy(more, list, *n * size);
        list = more;
    }
    ++*n;
    return list;
}

void report_note(report *r, const char *format, ...)
{
    char text[1200];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    const char **notes = report_more(r, r->notes, &r->n_notes, sizeof *notes);
    if (!notes) return;
    r->notes = notes;
    notes[r->n_notes - 1] = report_copy(r, text);
    cli_warn("%s", text);
}

static void release(report *r)
{
    for (report_block *b = r->blocks, *next; b; b = next) {
        next = b->next;
        kd_ctx_free(r->ctx, b);
    }
    kd_ctx_destroy(r->ctx);
}

/* ---- outputs --------------------------------------------------------------------------------- */

typedef struct output {
    const char *option, *path, *head; /* head: how such a file begins */
    void (*write)(report *r, FILE *f);
} output;
enum { OUTPUTS = 3 };

static void outputs_of(const cli_args *a, output out[OUTPUTS])
{
    out[0] = (output){"--out", a->page, report_page_head, report_page};
    out[1] = (output){"--csv", a->csv, report_csv_head, report_csv};
    out[2] = (output){"--latex", a->latex, report_latex_head, report_latex};
}

static int check_outputs(report *r, const output *outputs)
{
    int code = CLI_DONE;
    for (size_t i = 0; i < OUTPUTS && !code; i++)
        for (size_t k = 0; k < i && !code; k++)
            code = cli_two_outputs(r->args, outputs[k].option, outputs[k].path, outputs[i].option,
                                   outputs[i].path);
    for (size_t i = 0; i < OUTPUTS && !code; i++) {
        const output *o = &outputs[i];
        if (!o->path) continue;
        code = cli_can_write(o->option, o->path);
        if (!code) code = cli_can_replace(o->option, o->path, o->head, "report");
    }
    return code;
}

/* All texts are made before the first file is written. */
static int write_outputs(report *r, const output *outputs)
{
    char *bytes[OUTPUTS] = {NULL};
    size_t size[OUTPUTS] = {0};
    bool whole = true;
    int code = CLI_DONE;
    for (size_t i = 0; i < OUTPUTS && whole; i++) {
        FILE *f = outputs[i].path ? open_memstream(&bytes[i], &size[i]) : NULL;
        if (f) outputs[i].write(r, f);
        whole = (!outputs[i].path || f) && (!f || fclose(f) == 0) && !r->failed;
    }
    if (!whole) code = cli_fail("out of memory");
    for (size_t i = 0; i < OUTPUTS && !code; i++)
        if (outputs[i].path && kd_file_write_atomic(r->ctx, outputs[i].path, bytes[i], size[i]))
            code = cli_fail_ctx(r->ctx);
    for (size_t i = 0; i < OUTPUTS; i++) free(bytes[i]);
    return code;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void name_bad(const report *r)
{
    for (size_t i = 0; i < r->n_runs; i++)
        if (r->runs[i]->bad) cli_warn("%s does not count: %s", r->runs[i]->name, r->runs[i]->bad);
}

static int say(report *r, const output *outputs)
{
    if (r->args->json) return report_json(r);
    if (r->args->quiet) return CLI_DONE;
    printf("%zu runs of %zu count, %zu groups, %zu comparisons\n", r->n_good, r->n_runs,
           r->n_groups, r->n_comparisons);
    for (size_t i = 0; i < OUTPUTS; i++)
        if (outputs[i].path) printf("%s\n", outputs[i].path);
    return cli_flush();
}

static int work(report *r)
{
    output outputs[OUTPUTS];
    outputs_of(r->args, outputs);
    int code = check_outputs(r, outputs);
    if (!code) code = report_read(r);
    if (!code) name_bad(r);
    if (!code && !r->n_good)
        code = r->n_runs ? cli_fail("none of the %zu runs is done and whole", r->n_runs)
                         : cli_fail("%s: there is no run", r->args->words[0]);
    if (!code) code = report_check_keys(r);
    if (!code) code = report_group_runs(r);
    if (!code) code = report_compare(r);
    if (!code && r->failed) code = cli_fail("out of memory");
    if (!code) code = write_outputs(r, outputs);
    return code ? code : say(r, outputs);
}

int cmd_report(cli_args *args)
{
    report r = {.args = args};
    if (!args->page && !args->csv && !args->latex && !args->json)
        return cli_usage(args->command->name, "say what to write: -o FILE.html, --csv FILE, "
                                              "--latex FILE or --json");
    if (args->paired && args->against)
        return cli_usage(args->command->name,
                         "--paired compares every two groups, --against all with one");
    int code = cli_open_ctx(args, &r.ctx);
    if (code) return code;
    code = work(&r);
    release(&r);
    return code;
}
