/* SPDX-License-Identifier: MIT
 * about.c: see about.h. Keys and texts are those of safetensors files (docs/formats.md). */
#include "about.h"

#include "message.h"

#include "../file/number.h"

#include <kd/json.h>

#include <stdio.h>

static void numbers(kdi_onnx *o, const char *key, const float *x, size_t n)
{
    char *text = kdi_onnx_alloc(o, n + 1, KDI_NUMBER_SIZE);
    size_t used = 0;
    for (size_t i = 0; i < n && text; i++) {
        char number[KDI_NUMBER_SIZE];
        kdi_print_float(number, x[i]);
        used += (size_t)snprintf(text + used, (n + 1) * KDI_NUMBER_SIZE - used, "%s%s",
                                 i ? "," : "", number);
    }
    if (text) kdi_onnx_property(o, key, text);
}

static void classes(kdi_onnx *o, const char *const *names, size_t n)
{
    kd_json *j;
    const char *text;
    if (o->status) return;
    kd_status status = kd_json_create(o->ctx, 0, &j);
    if (status) {
        kdi_onnx_fail(o, status);
        return;
    }
    kd_json_array_begin(j, NULL);
    for (size_t i = 0; i < n; i++) kd_json_string(j, NULL, names[i]);
    kd_json_array_end(j);
    status = kd_json_text(j, &text, NULL);
    if (status)
        kdi_onnx_fail(o, status);
    else
        kdi_onnx_property(o, "libkd.classes", text);
    kd_json_destroy(j);
}

void kdi_onnx_describe(kdi_onnx *o, const kdi_onnx_about *a)
{
    char checksum[17];
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)a->data_checksum);
    kdi_onnx_property(o, "libkd.version", kd_version());
    if (a->spec) kdi_onnx_property(o, "libkd.spec", a->spec);
    if (a->mean && a->std) {
        numbers(o, "libkd.mean", a->mean, a->channels);
        numbers(o, "libkd.std", a->std, a->channels);
    }
    if (a->class_names) classes(o, a->class_names, a->classes);
    if (a->data) {
        kdi_onnx_property(o, "libkd.data", a->data);
        kdi_onnx_property(o, "libkd.data_checksum", checksum);
    }
    if (a->framing) kdi_onnx_property(o, "libkd.framing", a->framing);
}
