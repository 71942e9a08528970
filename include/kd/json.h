/* SPDX-License-Identifier: MIT
 * json.h: writing JSON (a command's --json, run.json, a line of metrics.jsonl), and reading the
 * plain values of an object back. Numbers look the same whatever the host's locale is.
 *
 * Threads are as in ctx.h: a text or an object is used by one thread at a time. */
#ifndef KD_JSON_H
#define KD_JSON_H

#include <kd/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- writing --------------------------------------------------------------------------------- */

/* A text that grows. The first failure sticks (no memory, a wrong order of calls) and is told by
 * kd_json_text, so that the calls between need no checks. Each value takes a key when it stands in
 * an object and NULL when it stands in an array or alone. There is one outermost value. Keys and
 * texts are copied. */
typedef struct kd_json kd_json;

/* indent: spaces a level, 0..8, else KD_E_INVALID; 0 writes everything on one line without
 * spaces. */
KD_API kd_status kd_json_create(kd_ctx *ctx, int indent, kd_json **json);
KD_API void kd_json_destroy(kd_json *json); /* NULL is allowed */
/* Start afresh, keeping the memory; a failure that stuck is gone. */
KD_API void kd_json_clear(kd_json *json);

/* Begin an object or an array, which is a value itself: what is written next stands in it. End the
 * innermost one. At most 32 are open at a time; one more, and an end that does not fit, is a
 * misuse. */
KD_API void kd_json_object_begin(kd_json *json, const char *key);
KD_API void kd_json_object_end(kd_json *json);
KD_API void kd_json_array_begin(kd_json *json, const char *key);
KD_API void kd_json_array_end(kd_json *json);
/* text ends with a NUL. Bytes that are not UTF-8 become U+FFFD. text NULL writes null. */
KD_API void kd_json_string(kd_json *json, const char *key, const char *text);
/* The fewest digits, from 15 to 17, that read back to the same number; null for NaN and infinity.
 */
KD_API void kd_json_number(kd_json *json, const char *key, double number);
/* The fewest digits that read back to the same float: .05f is 0.05. */
KD_API void kd_json_float(kd_json *json, const char *key, float number);
/* All digits, with a minus sign where it is negative. */
KD_API void kd_json_integer(kd_json *json, const char *key, int64_t number);
/* false for 0, else true. */
KD_API void kd_json_bool(kd_json *json, const char *key, int truth);
/* The value null. */
KD_API void kd_json_null(kd_json *json, const char *key);

/* The finished text, NUL-terminated, without a newline at the end; valid until the next call that
 * changes it. *size is its bytes without the NUL; size may be NULL. On failure *text is NULL:
 *
 *   KD_E_INVALID            nothing was written, something is still open, or a call was a misuse
 *   KD_E_NOMEM, KD_E_LIMIT  the text could not grow */
KD_API kd_status kd_json_text(kd_json *json, const char **text, size_t *size);

/* ---- reading --------------------------------------------------------------------------------- */

/* One JSON object, strictly parsed. Its own strings, numbers, truth values, objects, and elements
 * of arrays can be asked for. Where a kd_json_get_ function returns 0, what it was to set stays. */
typedef struct kd_json_object kd_json_object;

/* text [size] is copied. Malformed text, one whose outermost value is no object, and a key that
 * comes twice are KD_E_FORMAT. On failure *object is NULL. */
KD_API kd_status kd_json_parse(kd_ctx *ctx, const char *text, size_t size, kd_json_object **object);
KD_API void kd_json_object_destroy(kd_json_object *object); /* NULL is allowed */
/* NULL if there is no such key, or its value is no string. Lives as long as the object. */
KD_API const char *kd_json_get_string(const kd_json_object *object, const char *key);
/* 1 and *number set, or 0 if there is no such key or its value is no number (null included). A
 * number's text has 500 characters at most. An integer must be written without fraction or
 * exponent, and fit. */
KD_API int kd_json_get_number(const kd_json_object *object, const char *key, double *number);
KD_API int kd_json_get_integer(const kd_json_object *object, const char *key, int64_t *number);
/* A nested object, to be destroyed by itself. KD_E_NOTFOUND if there is no such key or its value is
 * no object; then *inner is NULL. */
KD_API kd_status kd_json_get_object(const kd_json_object *object, const char *key,
                                    kd_json_object **inner);
/* 1 and *truth set to 0 or 1, or 0 if there is no such key or its value is neither true nor
 * false. */
KD_API int kd_json_get_bool(const kd_json_object *object, const char *key, int *truth);
/* The i-th key, in order of their bytes; NULL past the last. Lives as long as the object. */
KD_API const char *kd_json_key(const kd_json_object *object, size_t i);
/* 1 and the number of elements, or 0 if there is no such key or its value is no array. */
KD_API int kd_json_get_count(const kd_json_object *object, const char *key, size_t *count);
/* Element i of an array as an object whose one key is "value", to be destroyed by itself.
 * KD_E_NOTFOUND if there is none; then *element is NULL. */
KD_API kd_status kd_json_get_element(const kd_json_object *object, const char *key, size_t i,
                                     kd_json_object **element);

#ifdef __cplusplus
}
#endif
#endif
