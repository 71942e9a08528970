/* SPDX-License-Identifier: MIT
 * json.h: reading JSON from untrusted files. A first pass checks the grammar (RFC 8259: UTF-8,
 * escapes, numbers, nesting) and counts the tokens. Then jsmn cuts the text into tokens. jsmn
 * accepts more than the grammar; since it sees checked text alone, code may rely on the order of
 * tokens.
 *
 * Tokens are in the order of the text. An object is followed by key, value, key, value, ..., an
 * array by its elements. */
#ifndef KDI_JSON_H
#define KDI_JSON_H

#include "../base/base.h"

enum { KDI_JSON_DEPTH = 32 }; /* how deep objects and arrays may nest */

typedef enum kdi_json_type {
    KDI_JSON_OBJECT,
    KDI_JSON_ARRAY,
    KDI_JSON_STRING,
    KDI_JSON_NUMBER,
    KDI_JSON_TRUE,
    KDI_JSON_FALSE,
    KDI_JSON_NULL
} kdi_json_type;

typedef struct kdi_json {
    kd_ctx *ctx;
    char *text;
    void *tokens; /* jsmn's; json.c alone includes it */
    size_t count;
} kdi_json;

/* Parse one array or one object, of at most max_tokens tokens (20 bytes each). text must live until
 * the close and be writable: strings are unescaped in place. what names the text in errors. On
 * failure there is nothing to close. */
kd_status kdi_json_open_array(kd_ctx *ctx, const char *what, char *text, size_t size,
                              size_t max_tokens, kdi_json *json);
kd_status kdi_json_open(kd_ctx *ctx, const char *what, char *text, size_t size, size_t max_tokens,
                        kdi_json *json);
void kdi_json_close(kdi_json *json);

kdi_json_type kdi_json_kind(const kdi_json *json, size_t token);
/* Keys of an object, elements of an array. */
size_t kdi_json_size(const kdi_json *json, size_t token);
/* The token after a value and all that is in it. */
size_t kdi_json_after(const kdi_json *json, size_t token);
/* A string's text, unescaped in place and NUL-terminated: UTF-8 without NULs. Call it once for each
 * token. */
char *kdi_json_string(kdi_json *json, size_t token);
/* A number's text as it stands, or all of an object's or array's; not NUL-terminated. */
const char *kdi_json_number(const kdi_json *json, size_t token, size_t *length);
/* A number without sign, fraction or exponent that fits; else false. */
bool kdi_json_u64(const kdi_json *json, size_t token, uint64_t *out);

#endif
