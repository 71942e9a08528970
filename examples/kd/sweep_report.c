/* SPDX-License-Identifier: MIT
 * sweep_report.c: what the processes of kd sweep --jobs came to, as their records have it, in the form
 * in which kd sweep reports students that it trained itself. */
#include "sweep.h"

#include <stdio.h>
#include <string.h>

enum { LARGEST = 1 << 26 };

/* One student's record; all NULL: it has none. */
typedef struct record {
    kd_json_object *all, *result;
} record;

static record open_record(sweep *s, const sweep_student *t)
{
    char path[CLI_PATH + 12], *text;
    size_t size;
    record r = {NULL, NULL};
    snprintf(path, sizeof path, "%s/run.json", t->out);
    if (kd_file_read_all(s->ctx, path, LARGEST, &text, &size)) return r;
    if (!kd_json_parse(s->ctx, text, size, &r.all)) kd_json_get_object(r.all, "result", &r.result);
    kd_ctx_free(s->ctx, text);
    return r;
}

static void close_record(record *r)
{
    kd_json_object_destroy(r->result);
    kd_json_object_destroy(r->all);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void copy(kd_json *json, const kd_json_object *from, const char *key)
{
    const char *text = from ? kd_json_get_string(from, key) : NULL, *inner;
    int64_t integer;
    double number;
    kd_json_object *object;
    if (text)
        kd_json_string(json, key, text);
    else if (from && kd_json_get_integer(from, key, &integer))
        kd_json_integer(json, key, integer);
    else if (from && kd_json_get_number(from, key, &number))
        kd_json_number(json, key, number);
    else if (from && !kd_json_get_object(from, key, &object)) {
        kd_json_object_begin(json, key);
        for (size_t i = 0; (inner = kd_json_key(object, i)); i++) copy(json, object, inner);
        kd_json_object_end(json);
        kd_json_object_destroy(object);
    } else
        kd_json_null(json, key);
}

static void student_json(sweep *s, kd_json *json, const sweep_student *t)
{
    static const char *const of_run[] = {"spec", "status", "error", "params", "macs"};
    const char *key;
    record r = open_record(s, t);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "name", t->name);
    for (size_t i = 0; i < sizeof of_run / sizeof *of_run; i++) copy(json, r.all, of_run[i]);
    for (size_t i = 0; r.result && (key = kd_json_key(r.result, i)); i++) copy(json, r.result, key);
    kd_json_string(json, "out", t->out);
    kd_json_object_end(json);
    close_record(&r);
}

static int print_json(sweep *s)
{
    kd_json *json;
    if (kd_json_create(s->ctx, 0, &json)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_array_begin(json, "students");
    for (size_t i = 0; i < s->n; i++) student_json(s, json, s->students[i]);
    kd_json_array_end(json);
    kd_json_object_end(json);
    return cli_print_json(s->ctx, json);
}

/* ---- the table ------------------------------------------------------------------------------- */

static void student_line(sweep *s, const sweep_student *t, int width)
{
    record r = open_record(s, t);
    int64_t params = 0;
    double top1, loss, seconds = 0;
    char status[40];
    const char *said = r.all ? kd_json_get_string(r.all, "status") : NULL;
    if (r.all) kd_json_get_integer(r.all, "params", &params);
    if (r.result) kd_json_get_number(r.result, "seconds", &seconds);
    printf("%-*s  %10lld  ", width, t->name, (long long)params);
    if (r.result && kd_json_get_number(r.result, "top1", &top1) &&
        kd_json_get_number(r.result, "loss", &loss))
        printf("%8.2f  %8.4f  ", top1, loss);
    else
        printf("%8s  %8s  ", "", "");
    printf("%8.1f  %s\n", seconds, said ? cli_escape(said, status, sizeof status) : "not begun");
    close_record(&r);
}

int sweep_report(sweep *s)
{
    size_t width = 7;
    if (s->args->json) return print_json(s);
    for (size_t i = 0; i < s->n; i++)
        if (strlen(s->students[i]->name) > width) width = strlen(s->students[i]->name);
    sweep_table_head((int)width);
    for (size_t i = 0; i < s->n; i++) student_line(s, s->students[i], (int)width);
    return cli_flush();
}
