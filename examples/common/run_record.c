/* SPDX-License-Identifier: MIT
 * run_record.c: see run_record.h. */
#include "run_record.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

void record_time(char out[32])
{
    const time_t now = time(NULL);
    struct tm parts;
    out[0] = 0;
    if (gmtime_r(&now, &parts)) strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* "model name : ..." of Linux' /proc/cpuinfo */
void record_cpu(char out[200])
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    out[0] = 0;
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, 200, "%.*s", (int)strcspn(colon, "\n"), colon);
    }
    if (f) fclose(f);
}

void record_machine(kd_json *json, const kd_ctx *ctx)
{
    struct utsname u;
    char cpu[200];
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    kd_json_object_begin(json, "machine");
    record_cpu(cpu);
    kd_json_string(json, "cpu", cpu[0] ? cpu : NULL);
    if (uname(&u) == 0) {
        kd_json_string(json, "architecture", u.machine);
        kd_json_string(json, "system", u.sysname);
        kd_json_string(json, "kernel", u.release);
    }
    kd_json_integer(json, "cores", sysconf(_SC_NPROCESSORS_ONLN));
    kd_json_integer(json, "threads", kd_ctx_threads(ctx));
    kd_json_string(json, "isa", kd_ctx_isa(ctx));
    kd_json_integer(json, "memory_bytes", pages > 0 && page > 0 ? (int64_t)pages * page : 0);
    kd_json_object_end(json);
}

void record_times(kd_json *json, const kd_times *t)
{
    kd_json_object_begin(json, "times");
    kd_json_number(json, "data", t->data);
    kd_json_number(json, "teacher", t->teacher);
    kd_json_number(json, "forward", t->forward);
    kd_json_number(json, "loss", t->loss);
    kd_json_number(json, "backward", t->backward);
    kd_json_number(json, "optimizer", t->optimizer);
    kd_json_object_end(json);
}

void record_sizes(kd_json *json, const kd_data_info *info)
{
    kd_json_integer(json, "classes", (int64_t)info->classes);
    kd_json_integer(json, "height", (int64_t)info->height);
    kd_json_integer(json, "width", (int64_t)info->width);
    kd_json_integer(json, "channels", (int64_t)info->channels);
    kd_json_integer(json, "train", (int64_t)info->count[KD_SPLIT_TRAIN]);
    kd_json_integer(json, "test", (int64_t)info->count[KD_SPLIT_TEST]);
}

kd_status record_write(kd_ctx *ctx, const char *path, kd_json *json)
{
    const char *text;
    size_t size;
    kd_status status = kd_json_text(json, &text, &size);
    char *line = status ? NULL : kd_ctx_alloc(ctx, size + 1, 1);
    if (!status && !line) status = KD_E_NOMEM;
    if (!status) {
        memcpy(line, text, size);
        line[size] = '\n';
        status = kd_file_write_atomic(ctx, path, line, size + 1);
    }
    kd_ctx_free(ctx, line);
    kd_json_destroy(json);
    return status;
}

kd_json_object *record_next_line(kd_ctx *ctx, const char *text, size_t size, size_t *at)
{
    kd_json_object *o;
    while (*at < size) {
        const char *line = text + *at, *end = memchr(line, '\n', size - *at);
        const size_t length = end ? (size_t)(end - line) : size - *at;
        *at += length + (end != NULL);
        if (!kd_json_parse(ctx, line, length, &o)) return o;
    }
    return NULL;
}
