/* SPDX-License-Identifier: MIT
 * test_json.c: the JSON writer, the reader of plain objects, and the grammar under both. */
#include "../test.h"

#include "../../lib/base/philox.h"
#include "../../lib/file/json.h"
#include "../../lib/file/number.h"

#include <kd/json.h>

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_sample(kd_json *j)
{
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "name", "a\"b\\c\n\x01é\xF0\x9F\x98\x80/");
    kd_json_string(j, "bytes", "x\xFFy\xC3");
    kd_json_string(j, "none", NULL);
    kd_json_number(j, "tenth", 0.1);
    kd_json_number(j, "nan", (double)NAN);
    kd_json_number(j, "inf", -(double)INFINITY);
    kd_json_integer(j, "least", INT64_MIN);
    kd_json_bool(j, "yes", 1);
    kd_json_null(j, "null");
    kd_json_array_begin(j, "list");
    kd_json_number(j, NULL, 1);
    kd_json_object_begin(j, NULL);
    kd_json_object_end(j);
    kd_json_array_begin(j, NULL);
    kd_json_array_end(j);
    kd_json_array_end(j);
    kd_json_object_end(j);
}

START_TEST(test_json_write)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json *j;
    const char *text;
    size_t size;
    test_ok(ctx, kd_json_create(ctx, 0, &j));
    write_sample(j);
    test_ok(ctx, kd_json_text(j, &text, &size));
    ck_assert_str_eq(text, "{\"name\":\"a\\\"b\\\\c\\n\\u0001é\xF0\x9F\x98\x80/\","
                           "\"bytes\":\"x\xEF\xBF\xBDy\xEF\xBF\xBD\",\"none\":null,\"tenth\":0.1,"
                           "\"nan\":null,\"inf\":null,\"least\":-9223372036854775808,"
                           "\"yes\":true,\"null\":null,\"list\":[1,{},[]]}");
    ck_assert_uint_eq(size, strlen(text));
    kd_json_clear(j);
    kd_json_array_begin(j, NULL);
    kd_json_array_end(j);
    test_ok(ctx, kd_json_text(j, &text, NULL));
    ck_assert_str_eq(text, "[]");
    kd_json_destroy(j);

    test_ok(ctx, kd_json_create(ctx, 2, &j));
    kd_json_object_begin(j, NULL);
    kd_json_integer(j, "a", 1);
    kd_json_array_begin(j, "b");
    kd_json_bool(j, NULL, 0);
    kd_json_array_end(j);
    kd_json_object_begin(j, "c");
    kd_json_object_end(j);
    kd_json_object_end(j);
    test_ok(ctx, kd_json_text(j, &text, NULL));
    ck_assert_str_eq(text, "{\n  \"a\": 1,\n  \"b\": [\n    false\n  ],\n  \"c\": {}\n}");
    kd_json_destroy(j);
    kd_ctx_destroy(ctx);
}
END_TEST

static void no_key(kd_json *j)
{
    kd_json_object_begin(j, NULL);
    kd_json_integer(j, NULL, 1);
    kd_json_object_end(j);
}
static void key_outside(kd_json *j)
{
    kd_json_integer(j, "a", 1);
}
static void left_open(kd_json *j)
{
    kd_json_array_begin(j, NULL);
}
static void wrong_end(kd_json *j)
{
    kd_json_array_begin(j, NULL);
    kd_json_object_end(j);
}
static void end_alone(kd_json *j)
{
    kd_json_object_end(j);
}
static void two_values(kd_json *j)
{
    kd_json_bool(j, NULL, 1);
    kd_json_bool(j, NULL, 1);
}
static void too_deep(kd_json *j)
{
    for (int i = 0; i < 40; i++) kd_json_array_begin(j, NULL);
    for (int i = 0; i < 40; i++) kd_json_array_end(j);
}
static void nothing(kd_json *j)
{
    (void)j;
}

START_TEST(test_json_misuse)
{
    static void (*const uses[])(kd_json *) = {no_key,    key_outside, left_open, wrong_end,
                                              end_alone, two_values,  too_deep,  nothing};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json *j;
    const char *text;
    test_ok(ctx, kd_json_create(ctx, 0, &j));
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        kd_json_clear(j);
        uses[i](j);
        ck_assert_int_eq(kd_json_text(j, &text, NULL), KD_E_INVALID);
        ck_assert_ptr_null(text);
    }
    kd_json_clear(j);
    kd_json_bool(j, NULL, 1);
    test_ok(ctx, kd_json_text(j, &text, NULL));
    kd_json_destroy(j);
    ck_assert_int_eq(kd_json_create(ctx, 9, &j), KD_E_INVALID);
    kd_ctx_destroy(ctx);
}
END_TEST

static double random_double(kdi_rng *r)
{
    const uint64_t bits = (uint64_t)kdi_rng_u32(r) << 32 | kdi_rng_u32(r);
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void check_numbers(void)
{
    static const struct {
        double number;
        const char *text;
    } table[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {-1.5, "-1.5"},
                 {0.1, "0.1"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {1e22, "1e+22"},
                 {123456789012345678.0, "1.2345678901234568e+17"},
                 {5e-324, "4.94065645841247e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"}};
    char text[KDI_NUMBER_SIZE];
    double back;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        kdi_print_double(text, table[i].number);
        ck_assert_str_eq(text, table[i].text);
        ck_assert(kdi_parse_double(text, strlen(text), &back) && back == table[i].number);
    }
    kdi_rng r = kdi_rng_make(1, KDI_RNG_TEST, 0, 0);
    for (int i = 0; i < 20000; i++) {
        const double x = random_double(&r);
        if (!isfinite(x)) continue;
        kdi_print_double(text, x);
        ck_assert_uint_eq(strspn(text, "0123456789.+-e"), strlen(text));
        ck_assert_msg(kdi_parse_double(text, strlen(text), &back) && back == x, "%s", text);
    }
    ck_assert(!kdi_parse_double("1,5", 3, &back) && !kdi_parse_double("", 0, &back));
}

START_TEST(test_json_numbers)
{
    check_numbers();
}
END_TEST

/* Where the machine has such a locale: one with a comma, and one with several bytes. */
START_TEST(test_json_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8", "de_DE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (setlocale(LC_ALL, names[i])) check_numbers();
    setlocale(LC_ALL, "C");
}
END_TEST

START_TEST(test_json_read)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json *j;
    const char *text;
    size_t size;
    test_ok(ctx, kd_json_create(ctx, 1, &j));
    write_sample(j);
    test_ok(ctx, kd_json_text(j, &text, &size));
    kd_json_object *o;
    test_ok(ctx, kd_json_parse(ctx, text, size, &o));
    kd_json_destroy(j);
    ck_assert_str_eq(kd_json_get_string(o, "name"), "a\"b\\c\n\x01é\xF0\x9F\x98\x80/");
    ck_assert_ptr_null(kd_json_get_string(o, "none"));
    ck_assert_ptr_null(kd_json_get_string(o, "tenth"));
    ck_assert_ptr_null(kd_json_get_string(o, "absent"));
    double number = 7;
    int64_t integer = 7;
    int truth = 7;
    ck_assert(kd_json_get_number(o, "tenth", &number) && number == 0.1);
    ck_assert(kd_json_get_number(o, "least", &number) && number == -0x1p63);
    ck_assert(!kd_json_get_number(o, "nan", &number) && !kd_json_get_number(o, "yes", &number));
    ck_assert(!kd_json_get_number(o, "name", &number) && !kd_json_get_number(o, "list", &number));
    ck_assert(kd_json_get_integer(o, "least", &integer) && integer == INT64_MIN);
    ck_assert(!kd_json_get_integer(o, "tenth", &integer));
    ck_assert(kd_json_get_bool(o, "yes", &truth) && truth == 1);
    ck_assert(!kd_json_get_bool(o, "null", &truth));
    kd_json_object_destroy(o);

    static const char more[] = " {\"max\":9223372036854775807,\"over\":9223372036854775808,"
                               "\"under\":-9223372036854775809,\"zero\":-0,\"huge\":1e999,"
                               "\"s\":\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\"} ";
    test_ok(ctx, kd_json_parse(ctx, more, strlen(more), &o));
    ck_assert(kd_json_get_integer(o, "max", &integer) && integer == INT64_MAX);
    ck_assert(!kd_json_get_integer(o, "over", &integer));
    ck_assert(!kd_json_get_integer(o, "under", &integer));
    ck_assert(kd_json_get_integer(o, "zero", &integer) && integer == 0);
    ck_assert(kd_json_get_number(o, "huge", &number) && isinf(number));
    ck_assert_str_eq(kd_json_get_string(o, "s"), "Aé€\xF0\x9F\x98\x80/\b\f\n\r\t");
    kd_json_object_destroy(o);
    kd_json_object_destroy(NULL);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_json_grammar)
{
    static const char *const good[] = {"{}",
                                       " {\t} \r\n",
                                       "{\"a\":{}}",
                                       "{\"a\":[[],[[]]],\"b\":[{},{\"c\":[1,2]}]}",
                                       "{\"\":\"\",\"\\\"\":\"\\\\\"}",
                                       "{\"a\":[0,-0,1.5,1e5,1E+5,1e-05,true,false,null]}",
                                       "{\"a\" : [ 1 , 2 ] , \"b\" : \"\\uD83D\\uDE00\" }",
                                       "{\"\xF4\x8F\xBF\xBF\":1}"};
    static const char *const wrong[] = {"",
                                        " ",
                                        "[]",
                                        "1",
                                        "\"a\"",
                                        "{",
                                        "}",
                                        "{]",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{\"a\":1,}",
                                        "{,}",
                                        "{\"a\":1 \"b\":2}",
                                        "{\"a\" 1}",
                                        "{a:1}",
                                        "{'a':1}",
                                        "{1:1}",
                                        "{\"a\":1}}",
                                        "{\"a\":1} x",
                                        "{\"a\":[1,]}",
                                        "{\"a\":[,1]}",
                                        "{\"a\":[1 2]}",
                                        "{\"a\":[}]",
                                        "{\"a\":(1)}",
                                        "{\"a\":01}",
                                        "{\"a\":+1}",
                                        "{\"a\":.5}",
                                        "{\"a\":1.}",
                                        "{\"a\":1e}",
                                        "{\"a\":1e+}",
                                        "{\"a\":-}",
                                        "{\"a\":0x1}",
                                        "{\"a\":NaN}",
                                        "{\"a\":tru}",
                                        "{\"a\":truex}",
                                        "{\"a\":nul",
                                        "{\"a\":\"",
                                        "{\"a\":\"\\",
                                        "{\"a\":\"\\x\"}",
                                        "{\"a\":\"\\u12\"}",
                                        "{\"a\":\"\\u12g4\"}",
                                        "{\"a\":\"\\u0000\"}",
                                        "{\"a\":\"\\ud800\"}",
                                        "{\"a\":\"\\udc00\"}",
                                        "{\"a\":\"\\ud800\\u0041\"}",
                                        "{\"a\":\"\t\"}",
                                        "{\"a\":\"\n\"}",
                                        "{\"a\":\"\x80\"}",
                                        "{\"a\":\"\xC0\x80\"}",
                                        "{\"a\":\"\xED\xA0\x80\"}",
                                        "{\"a\":\"\xF4\x90\x80\x80\"}",
                                        "{\"a\":\"\xE2\x82\"}",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":1,\"\\u0061\":2}",
                                        "{\"a\"::1}",
                                        "{\"a\":1:2}",
                                        "{\"a\":\"b\":\"c\"}",
                                        "{{}}",
                                        "{[]}",
                                        "{\"a\":1/**/}",
                                        "\xEF\xBB\xBF{}",
                                        "{\"a\":{\"b\":1,}}",
                                        "{\"a\":[1}",
                                        "{\"a\":[1]"};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_json_object *o;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        test_ok(ctx, kd_json_parse(ctx, good[i], strlen(good[i]), &o));
        kd_json_object_destroy(o);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const kd_status status = kd_json_parse(ctx, wrong[i], strlen(wrong[i]), &o);
        ck_assert_msg(status == KD_E_FORMAT && !o, "taken: %s", wrong[i]);
    }
    ck_assert_int_eq(kd_json_parse(ctx, "{}\0", 3, &o), KD_E_FORMAT);
    char deep[2 * KDI_JSON_DEPTH + 8] = "{\"a\":";
    for (int depth = KDI_JSON_DEPTH - 1; depth <= KDI_JSON_DEPTH; depth++) {
        memset(deep + 5, '[', (size_t)depth);
        memset(deep + 5 + depth, ']', (size_t)depth);
        strcpy(deep + 5 + 2 * depth, "}");
        ck_assert_int_eq(kd_json_parse(ctx, deep, strlen(deep), &o),
                         depth < KDI_JSON_DEPTH ? KD_OK : KD_E_FORMAT);
        kd_json_object_destroy(o);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Walking the tokens of nested values lands behind them, whatever is in them. */
START_TEST(test_json_tokens)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char text[] =
        "{\"a\":{\"x\":[1,[2,{}],\"\"],\"y\":\"\"},\"b\":[],\"\":\"\",\"c\":18446744073709551615,"
        "\"d\":18446744073709551616,\"e\":-1}";
    static const char *const keys[] = {"a", "b", "", "c", "d", "e"};
    static const kdi_json_type kinds[] = {KDI_JSON_OBJECT, KDI_JSON_ARRAY,  KDI_JSON_STRING,
                                          KDI_JSON_NUMBER, KDI_JSON_NUMBER, KDI_JSON_NUMBER};
    kdi_json json;
    uint64_t value;
    test_ok(ctx, kdi_json_open(ctx, "text", text, strlen(text), 100, &json));
    ck_assert_uint_eq(kdi_json_size(&json, 0), 6);
    size_t token = 1;
    for (size_t i = 0; i < 6; i++) {
        ck_assert_str_eq(kdi_json_string(&json, token), keys[i]);
        ck_assert_int_eq(kdi_json_kind(&json, token + 1), kinds[i]);
        ck_assert(kdi_json_u64(&json, token + 1, &value) == (i == 3));
        token = kdi_json_after(&json, token + 1);
    }
    ck_assert_uint_eq(value, UINT64_MAX);
    ck_assert_uint_eq(token, json.count);
    kdi_json_close(&json);
    char again[] = "{\"a\":[1,2,3]}";
    ck_assert_int_eq(kdi_json_open(ctx, "text", again, strlen(again), 5, &json), KD_E_FORMAT);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_json_nested)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    static const char text[] =
        "{\"a\": {\"s\": \"x\\u0041\\n\", \"b\": {\"n\": 2.5}, \"l\": [{}]}, \"n\": 1, \"e\":{}, "
        "\"twice\":{\"k\":1,\"k\":2}}";
    kd_json_object *o, *a, *b, *none;
    double n;
    test_ok(ctx, kd_json_parse(ctx, text, sizeof text - 1, &o));
    test_ok(ctx, kd_json_get_object(o, "a", &a));
    test_ok(ctx, kd_json_get_object(a, "b", &b));
    ck_assert_str_eq(kd_json_get_string(a, "s"), "xA\n");
    ck_assert_int_eq(kd_json_get_object(a, "l", &none), KD_E_NOTFOUND);
    ck_assert_ptr_null(none);
    ck_assert_int_eq(kd_json_get_object(o, "n", &none), KD_E_NOTFOUND);
    ck_assert_int_eq(kd_json_get_object(o, "absent", &none), KD_E_NOTFOUND);
    ck_assert_int_eq(kd_json_get_object(o, "twice", &none), KD_E_FORMAT);
    test_ok(ctx, kd_json_get_object(o, "e", &none));
    kd_json_object_destroy(none);
    kd_json_object_destroy(o); /* the others live on */
    ck_assert(kd_json_get_number(b, "n", &n) && n == 2.5);
    kd_json_object_destroy(a);
    kd_json_object_destroy(b);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_json_arrays)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    static const char text[] =
        "{\"l\": [ \"a\\u0042\\n\", 2.5, -3, true, null, {\"k\": \"\\\"\"}, [1, "
        "[]], \"\"], \"e\": [], \"n\": 1}";
    kd_json_object *o, *e, *inner;
    double x;
    int64_t n;
    int truth;
    size_t count = 7;
    test_ok(ctx, kd_json_parse(ctx, text, sizeof text - 1, &o));
    ck_assert_str_eq(kd_json_key(o, 0), "e");
    ck_assert_str_eq(kd_json_key(o, 2), "n");
    ck_assert_ptr_null(kd_json_key(o, 3));
    ck_assert(!kd_json_get_count(o, "n", &count) && !kd_json_get_count(o, "x", &count));
    ck_assert(count == 7 && kd_json_get_count(o, "e", &count) && count == 0);
    ck_assert(kd_json_get_count(o, "l", &count) && count == 8);
    for (size_t i = 0; i < 8; i++) {
        test_ok(ctx, kd_json_get_element(o, "l", i, &e));
        const char *s = kd_json_get_string(e, "value");
        if (i == 0) ck_assert_str_eq(s, "aB\n");
        if (i == 1) ck_assert(kd_json_get_number(e, "value", &x) && x == 2.5);
        if (i == 2) ck_assert(kd_json_get_integer(e, "value", &n) && n == -3);
        if (i == 3) ck_assert(kd_json_get_bool(e, "value", &truth) && truth);
        if (i == 4) ck_assert(!s && !kd_json_get_number(e, "value", &x));
        if (i == 5) {
            test_ok(ctx, kd_json_get_object(e, "value", &inner));
            ck_assert_str_eq(kd_json_get_string(inner, "k"), "\"");
            kd_json_object_destroy(inner);
        }
        if (i == 6) ck_assert(kd_json_get_count(e, "value", &count) && count == 2);
        if (i == 7) ck_assert_str_eq(s, "");
        kd_json_object_destroy(e);
    }
    ck_assert_int_eq(kd_json_get_element(o, "l", 8, &e), KD_E_NOTFOUND);
    ck_assert_ptr_null(e);
    ck_assert_int_eq(kd_json_get_element(o, "n", 0, &e), KD_E_NOTFOUND);
    ck_assert_int_eq(kd_json_get_element(o, "e", 0, &e), KD_E_NOTFOUND);
    ck_assert_int_eq(kd_json_get_element(o, "l", 0, NULL), KD_E_INVALID);
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_json_memory)
{
    test_heap heap = {0};
    static const char text[] = "{\"a\":[1,2,{\"b\":3}],\"c\":\"d\"}";
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    for (long n = 1;; n++) {
        kd_json *j = NULL;
        kd_json_object *o = NULL;
        const char *out;
        heap.fail_at = heap.count + n;
        kd_status status = kd_json_create(ctx, 0, &j);
        if (!status) {
            write_sample(j);
            status = kd_json_text(j, &out, NULL);
        }
        const kd_status parsed = kd_json_parse(ctx, text, strlen(text), &o);
        const bool failed = heap.count >= heap.fail_at;
        ck_assert_int_eq(status == KD_E_NOMEM || parsed == KD_E_NOMEM, failed);
        ck_assert(parsed == KD_OK || !o);
        kd_json_destroy(j);
        kd_json_object_destroy(o);
        ck_assert_int_eq(heap.live, 1);
        if (!failed) break;
    }
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

TEST_SUITE(json, 30, &test_json_write, &test_json_misuse, &test_json_numbers, &test_json_locale,
           &test_json_read, &test_json_grammar, &test_json_tokens, &test_json_nested,
           &test_json_arrays, &test_json_memory)
