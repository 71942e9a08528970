/* SPDX-License-Identifier: MIT
 * fuzz_json.c: a libFuzzer target. The input is JSON text for kd_json_parse; what the object holds
 * is written again, and must then be read back the same. */
#include "fuzz.h"

#include <kd/json.h>

#include <string.h>

/* Ask for keys the corpus uses, and write down what comes. */
static void again(kd_ctx *ctx, const kd_json_object *o)
{
    static const char *const keys[] = {"", "a", "b", "epoch", "spec", "seed", "lr"};
    kd_json *j;
    kd_json_object *copy;
    const char *text, *string;
    size_t size;
    double number, number2;
    int64_t integer, integer2;
    int truth, truth2;
    require(!kd_json_create(ctx, 2, &j));
    kd_json_object_begin(j, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if ((string = kd_json_get_string(o, keys[i]))) kd_json_string(j, keys[i], string);
        if (kd_json_get_integer(o, keys[i], &integer))
            kd_json_integer(j, keys[i], integer);
        else if (kd_json_get_number(o, keys[i], &number))
            kd_json_number(j, keys[i], number);
        if (kd_json_get_bool(o, keys[i], &truth)) kd_json_bool(j, keys[i], truth);
    }
    kd_json_object_end(j);
    require(!kd_json_text(j, &text, &size) && !kd_json_parse(ctx, text, size, &copy));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if ((string = kd_json_get_string(o, keys[i])))
            require(!strcmp(string, kd_json_get_string(copy, keys[i])));
        if (kd_json_get_integer(o, keys[i], &integer))
            require(kd_json_get_integer(copy, keys[i], &integer2) && integer == integer2);
        else if (kd_json_get_number(o, keys[i], &number) && number - number == 0)
            require(kd_json_get_number(copy, keys[i], &number2) && number == number2);
        if (kd_json_get_bool(o, keys[i], &truth))
            require(kd_json_get_bool(copy, keys[i], &truth2) && truth == truth2);
    }
    kd_json_object_destroy(copy);
    kd_json_destroy(j);
}

int FUZZ_TARGET(json)(const uint8_t *bytes, size_t size)
{
    kd_ctx *ctx = fuzz_begin(0);
    kd_json_object *o;
    const kd_status status = kd_json_parse(ctx, (const char *)bytes, size, &o);
    require(fuzz_peak() <= 24 * size + 4096);
    require(!status == (o != NULL));
    if (status)
        fuzz_words(ctx);
    else
        again(ctx, o);
    kd_json_object_destroy(o);
    fuzz_end(ctx);
    return 0;
}
