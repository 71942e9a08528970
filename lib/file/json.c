/* SPDX-License-Identifier: MIT
 * json.c: the grammar check, the tokens, strings and integers. */
#include "json.h"

#include "utf8.h"

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#include <jsmn.h>

#include <string.h>

/* ---- grammar --------------------------------------------------------------------------------- */

enum want { ROOT, VALUE, FIRST_VALUE, KEY, FIRST_KEY, COLON, NEXT, END };

typedef struct scan {
    const char *text;
    size_t size, at, tokens, depth;
    bool object[KDI_JSON_DEPTH]; /* what is open: an object, or an array */
    enum want want;
    const char *wrong;
    bool array; /* the outermost value is to be an array */
} scan;

static bool wrong(scan *s, const char *what)
{
    s->wrong = what;
    return false;
}

/* Four hexadecimal digits at s->at. */
static bool scan_hex(scan *s, unsigned *code)
{
    if (s->size - s->at < 4) return wrong(s, "an escape is cut off");
    *code = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        const char c = s->text[s->at];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return wrong(s, "an escape needs four hexadecimal digits");
        *code = *code * 16 + (unsigned)digit;
    }
    return true;
}

/* s->at is behind a backslash. */
static bool scan_escape(scan *s)
{
    unsigned code, low;
    if (s->at == s->size) return wrong(s, "a string is not closed");
    const char c = s->text[s->at++];
    if (c != 'u') return (c && strchr("\"\\/bfnrt", c)) || wrong(s, "an unknown escape");
    if (!scan_hex(s, &code)) return false;
    if (code == 0) return wrong(s, "a NUL in a string");
    if (code < 0xD800 || code > 0xDFFF) return true;
    if (code > 0xDBFF || s->size - s->at < 2 || memcmp(s->text + s->at, "\\u", 2) != 0)
        return wrong(s, "half a surrogate pair");
    s->at += 2;
    return scan_hex(s, &low) &&
           ((low >= 0xDC00 && low <= 0xDFFF) || wrong(s, "half a surrogate pair"));
}

/* s->at is at the opening quote. */
static bool scan_string(scan *s)
{
    s->tokens++;
    s->at++;
    while (s->at < s->size) {
        const char c = s->text[s->at];
        if (c == '"') {
            s->at++;
            return true;
        }
        if ((unsigned char)c < 0x20) return wrong(s, "a control character in a string");
        if (c == '\\') {
            s->at++;
            if (!scan_escape(s)) return false;
            continue;
        }
        const size_t n = kdi_utf8_length(s->text + s->at, s->size - s->at);
        if (n == 0) return wrong(s, "a string is not UTF-8");
        s->at += n;
    }
    return wrong(s, "a string is not closed");
}

static size_t scan_digits(scan *s)
{
    const size_t start = s->at;
    while (s->at < s->size && s->text[s->at] >= '0' && s->text[s->at] <= '9') s->at++;
    return s->at - start;
}

static bool scan_number(scan *s)
{
    s->tokens++;
    if (s->text[s->at] == '-') s->at++;
    const size_t start = s->at, digits = scan_digits(s);
    if (digits == 0 || (digits > 1 && s->text[start] == '0')) return wrong(s, "a bad number");
    if (s->at < s->size && s->text[s->at] == '.') {
        s->at++;
        if (!scan_digits(s)) return wrong(s, "a bad number");
    }
    if (s->at < s->size && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
        s->at++;
        if (s->at < s->size && (s->text[s->at] == '+' || s->text[s->at] == '-')) s->at++;
        if (!scan_digits(s)) return wrong(s, "a bad number");
    }
    return true;
}

static bool scan_word(scan *s, const char *word)
{
    const size_t n = strlen(word);
    s->tokens++;
    if (s->size - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return wrong(s, "an unknown word");
    s->at += n;
    return true;
}

static bool scan_open(scan *s, bool object)
{
    if (s->depth == KDI_JSON_DEPTH) return wrong(s, "nested too deeply");
    s->tokens++;
    s->object[s->depth++] = object;
    s->want = object ? FIRST_KEY : FIRST_VALUE;
    s->at++;
    return true;
}

static bool scan_close(scan *s, bool object)
{
    if (s->depth == 0 || s->object[s->depth - 1] != object ||
        (s->want != NEXT && s->want != FIRST_KEY && s->want != FIRST_VALUE))
        return wrong(s, "an unexpected closing bracket");
    s->want = --s->depth ? NEXT : END;
    s->at++;
    return true;
}

static bool scan_value(scan *s, char c)
{
    if (c == '{' || c == '[') return scan_open(s, c == '{');
    s->want = NEXT; /* a plain value is never the outermost */
    if (c == '"') return scan_string(s);
    if (c == '-' || (c >= '0' && c <= '9')) return scan_number(s);
    return scan_word(s, c == 't' ? "true" : c == 'f' ? "false" : "null");
}

static bool scan_step(scan *s, char c)
{
    if (c == '}' || c == ']') return scan_close(s, c == '}');
    switch (s->want) {
    case ROOT:
        if (s->array) return c == '[' ? scan_open(s, false) : wrong(s, "an array is expected");
        return c == '{' ? scan_open(s, true) : wrong(s, "an object is expected");
    case KEY:
    case FIRST_KEY:
        if (c != '"') return wrong(s, "a key is expected");
        s->want = COLON;
        return scan_string(s);
    case COLON:
        if (c != ':') return wrong(s, "a colon is expected");
        s->want = VALUE;
        s->at++;
        return true;
    case NEXT:
        if (c != ',') return wrong(s, "a comma or a closing bracket is expected");
        s->want = s->object[s->depth - 1] ? KEY : VALUE;
        s->at++;
        return true;
    case END:
        return wrong(s, "something follows the object");
    default:
        return scan_value(s, c);
    }
}

static bool scan_text(scan *s)
{
    while (s->at < s->size) {
        const char c = s->text[s->at];
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            s->at++;
        else if (!scan_step(s, c))
            return false;
    }
    return s->want == END || wrong(s, "the text ends too early");
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static kd_status json_open(kd_ctx *ctx, const char *what, char *text, size_t size,
                           size_t max_tokens, bool array, kdi_json *json)
{
    scan s = {.text = text, .size = size, .want = ROOT, .array = array};
    if (size > INT32_MAX) return kd_ctx_fail(ctx, KD_E_FORMAT, "%s: JSON text too long", what);
    if (!scan_text(&s))
        return kd_ctx_fail(ctx, KD_E_FORMAT, "%s: malformed JSON at byte %zu: %s", what, s.at,
                           s.wrong);
    if (s.tokens > max_tokens)
        return kd_ctx_fail(ctx, KD_E_FORMAT, "%s: %zu JSON values in %zu bytes are too many", what,
                           s.tokens, size);
    jsmntok_t *tokens = kd_ctx_alloc(ctx, s.tokens, sizeof *tokens);
    if (!tokens) return kd_ctx_memory_status(ctx);
    jsmn_parser parser;
    jsmn_init(&parser);
    const int made = jsmn_parse(&parser, text, size, tokens, (unsigned)s.tokens);
    if (made < 0 || (size_t)made != s.tokens) {
        kd_ctx_free(ctx, tokens);
        return kd_ctx_fail(ctx, KD_E_FORMAT, "%s: malformed JSON", what);
    }
    *json = (kdi_json){.ctx = ctx, .text = text, .tokens = tokens, .count = s.tokens};
    return KD_OK;
}

kd_status kdi_json_open(kd_ctx *ctx, const char *what, char *text, size_t size, size_t max_tokens,
                        kdi_json *json)
{
    return json_open(ctx, what, text, size, max_tokens, false, json);
}

kd_status kdi_json_open_array(kd_ctx *ctx, const char *what, char *text, size_t size,
                              size_t max_tokens, kdi_json *json)
{
    return json_open(ctx, what, text, size, max_tokens, true, json);
}

void kdi_json_close(kdi_json *json)
{
    kd_ctx_free(json->ctx, json->tokens);
    json->tokens = NULL;
}

static const jsmntok_t *at(const kdi_json *json, size_t token)
{
    return (const jsmntok_t *)json->tokens + token;
}

kdi_json_type kdi_json_kind(const kdi_json *json, size_t token)
{
    const jsmntok_t *t = at(json, token);
    if (t->type == JSMN_OBJECT) return KDI_JSON_OBJECT;
    if (t->type == JSMN_ARRAY) return KDI_JSON_ARRAY;
    if (t->type == JSMN_STRING) return KDI_JSON_STRING;
    switch (json->text[t->start]) {
    case 't':
        return KDI_JSON_TRUE;
    case 'f':
        return KDI_JSON_FALSE;
    case 'n':
        return KDI_JSON_NULL;
    default:
        return KDI_JSON_NUMBER;
    }
}

size_t kdi_json_size(const kdi_json *json, size_t token)
{
    return (size_t)at(json, token)->size;
}

size_t kdi_json_after(const kdi_json *json, size_t token)
{
    const int end = at(json, token)->end;
    do token++;
    while (token < json->count && at(json, token)->start < end);
    return token;
}

static unsigned hex4(const char *p)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        code = code * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return code;
}

static char *put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xF0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

/* Every escape is whole: the grammar was checked. The result is never longer than its source, as
 * six bytes become three at most, and twelve become four. */
char *kdi_json_string(kdi_json *json, size_t token)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char *const start = json->text + at(json, token)->start;
    char *const end = json->text + at(json, token)->end;
    char *out = start;
    for (const char *p = start; p < end;) {
        if (*p != '\\') {
            *out++ = *p++;
        } else if (p[1] != 'u') {
            const char *known = strchr(from, p[1]);
            *out++ = known ? to[known - from] : p[1];
            p += 2;
        } else {
            unsigned code = hex4(p + 2);
            p += 6;
            if (code >= 0xD800 && code <= 0xDFFF) {
                code = 0x10000 + ((code & 0x3FF) << 10) + (hex4(p + 2) & 0x3FF);
                p += 6;
            }
            out = put_utf8(out, code);
        }
    }
    *out = 0; /* at the latest where the closing quote was */
    return start;
}

const char *kdi_json_number(const kdi_json *json, size_t token, size_t *length)
{
    const jsmntok_t *t = at(json, token);
    *length = (size_t)(t->end - t->start);
    return json->text + t->start;
}

bool kdi_json_u64(const kdi_json *json, size_t token, uint64_t *out)
{
    size_t length;
    if (kdi_json_kind(json, token) != KDI_JSON_NUMBER) return false;
    const char *text = kdi_json_number(json, token, &length);
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        const unsigned digit = (unsigned)(text[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}
