/* SPDX-License-Identifier: MIT
 * json_write.c: JSON into a growing text. Escapes are those of Python's and Rust's writers: quote,
 * backslash, and control characters; everything else stays UTF-8. */
#include "../base/base.h"
#include "number.h"
#include "utf8.h"

#include <kd/json.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH = 32 };

struct kd_json {
    kd_ctx *ctx;
    char *text; /* size bytes and a NUL */
    size_t size, capacity;
    int indent, depth;
    bool object[DEPTH]; /* what is open: an object, or an array */
    bool filled;        /* the innermost already holds something; at the top: all is written */
    kd_status status;
    const char *wrong; /* for KD_E_INVALID: what was misused */
};

kd_status kd_json_create(kd_ctx *ctx, int indent, kd_json **json)
{
    if (json) *json = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!json) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_json_create: NULL");
    if (indent < 0 || indent > 8)
        return kd_ctx_fail(ctx, KD_E_INVALID, "JSON: indent %d is not in [0, 8]", indent);
    kd_json *j = kd_ctx_alloc(ctx, 1, sizeof *j);
    if (!j) return kd_ctx_memory_status(ctx);
    j->ctx = ctx;
    j->indent = indent;
    *json = j;
    return KD_OK;
}

void kd_json_destroy(kd_json *json)
{
    if (!json) return;
    kd_ctx_free(json->ctx, json->text);
    kd_ctx_free(json->ctx, json);
}

void kd_json_clear(kd_json *json)
{
    if (!json) return;
    json->size = 0;
    json->depth = 0;
    json->filled = false;
    json->status = KD_OK;
}

static void misuse(kd_json *j, const char *what)
{
    if (j->status) return;
    j->status = KD_E_INVALID;
    j->wrong = what;
}

static void put(kd_json *j, const char *bytes, size_t n)
{
    size_t need;
    if (j->status) return;
    if (!kdi_add(j->size, n, &need) || !kdi_add(need, 1, &need)) {
        j->status = kd_ctx_memory_status(j->ctx);
        return;
    }
    if (need > j->capacity) {
        size_t capacity = j->capacity > SIZE_MAX / 2 ? SIZE_MAX : 2 * j->capacity;
        if (capacity < need) capacity = need;
        if (capacity < 256) capacity = 256;
        char *text = kdi_realloc(j->ctx, j->text, capacity, 1);
        if (!text) {
            j->status = kd_ctx_memory_status(j->ctx);
            return;
        }
        j->text = text;
        j->capacity = capacity;
    }
    memcpy(j->text + j->size, bytes, n);
    j->size += n;
    j->text[j->size] = 0;
}

static void put_char(kd_json *j, char c)
{
    put(j, &c, 1);
}

/* On a line of its own, as deep as we are. */
static void put_line(kd_json *j)
{
    if (!j->indent) return;
    put_char(j, '\n');
    for (int i = 0; i < j->depth * j->indent; i++) put_char(j, ' ');
}

static void put_escaped(kd_json *j, unsigned char c)
{
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *known = strchr(names, c);
    char text[8];
    const int n = known ? snprintf(text, sizeof text, "\\%c", letters[known - names])
                        : snprintf(text, sizeof text, "\\u%04x", c);
    put(j, text, (size_t)n);
}

static void put_string(kd_json *j, const char *text)
{
    size_t left = strlen(text);
    put_char(j, '"');
    while (left && !j->status) {
        const unsigned char c = (unsigned char)*text;
        size_t n = kdi_utf8_length(text, left);
        if (n == 0) {
            put(j, "\xEF\xBF\xBD", 3);
            n = 1;
        } else if (c < 0x20 || c == '"' || c == '\\') {
            put_escaped(j, c);
        } else {
            put(j, text, n);
        }
        text += n;
        left -= n;
    }
    put_char(j, '"');
}

/* What stands before a value: a comma, the place on the line, the key. False: write nothing. */
static bool lead(kd_json *j, const char *key)
{
    if (!j || j->status) return false;
    const bool in_object = j->depth > 0 && j->object[j->depth - 1];
    if (j->depth == 0 && j->filled) misuse(j, "a second value at the top");
    if (in_object && !key) misuse(j, "a value without a key in an object");
    if (!in_object && key) misuse(j, "a key outside an object");
    if (j->status) return false;
    if (j->filled) put_char(j, ',');
    if (j->depth > 0) put_line(j);
    if (key) {
        put_string(j, key);
        put(j, ": ", j->indent ? 2 : 1);
    }
    j->filled = true;
    return !j->status;
}

static void begin(kd_json *j, const char *key, bool object)
{
    if (j && j->depth == DEPTH) misuse(j, "nested too deeply");
    if (!lead(j, key)) return;
    put_char(j, object ? '{' : '[');
    j->object[j->depth++] = object;
    j->filled = false;
}

static void end(kd_json *j, bool object)
{
    if (!j || j->status) return;
    if (j->depth == 0 || j->object[j->depth - 1] != object) {
        misuse(j, "an end that closes nothing");
        return;
    }
    j->depth--;
    if (j->filled) put_line(j);
    put_char(j, object ? '}' : ']');
    j->filled = true;
}

void kd_json_object_begin(kd_json *json, const char *key)
{
    begin(json, key, true);
}

void kd_json_object_end(kd_json *json)
{
    end(json, true);
}

void kd_json_array_begin(kd_json *json, const char *key)
{
    begin(json, key, false);
}

void kd_json_array_end(kd_json *json)
{
    end(json, false);
}

static void plain(kd_json *j, const char *key, const char *text)
{
    if (lead(j, key)) put(j, text, strlen(text));
}

void kd_json_string(kd_json *json, const char *key, const char *text)
{
    if (!text)
        plain(json, key, "null");
    else if (lead(json, key))
        put_string(json, text);
}

void kd_json_number(kd_json *json, const char *key, double number)
{
    char text[KDI_NUMBER_SIZE] = "null";
    if (isfinite(number)) kdi_print_double(text, number);
    plain(json, key, text);
}

void kd_json_float(kd_json *json, const char *key, float number)
{
    char text[KDI_NUMBER_SIZE] = "null";
    if (isfinite(number)) kdi_print_float(text, number);
    plain(json, key, text);
}

void kd_json_integer(kd_json *json, const char *key, int64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, number);
    plain(json, key, text);
}

void kd_json_bool(kd_json *json, const char *key, int truth)
{
    plain(json, key, truth ? "true" : "false");
}

void kd_json_null(kd_json *json, const char *key)
{
    plain(json, key, "null");
}

kd_status kd_json_text(kd_json *json, const char **text, size_t *size)
{
    if (text) *text = NULL;
    if (!json) return KD_E_INVALID;
    if (!text) return kd_ctx_fail(json->ctx, KD_E_INVALID, "kd_json_text: NULL");
    if (json->depth > 0) misuse(json, "an object or array is still open");
    if (!json->filled) misuse(json, "nothing was written");
    if (json->status == KD_E_INVALID)
        return kd_ctx_fail(json->ctx, KD_E_INVALID, "writing JSON: %s", json->wrong);
    if (json->status) return json->status;
    *text = json->text;
    if (size) *size = json->size;
    return KD_OK;
}
