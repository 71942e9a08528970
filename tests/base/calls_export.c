/* SPDX-License-Identifier: MIT
 * calls_export.c: calls that export, and read back what was exported (calls.h). */
#include "calls.h"

#include <stdio.h>

static kd_status use_export(kd_export *e, const char *prefix)
{
    static uint8_t pixels[4 * 8 * 8 * 3];
    static const int32_t labels[4];
    char path[600];
    const void *blob;
    size_t size;
    kd_export_layer layer = {.struct_size = sizeof layer};
    kd_export_result result = {.struct_size = sizeof result};
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37);
    const kd_quantise_opt opt = {
        .struct_size = sizeof opt, .pictures = pixels, .count = 4, .equalise = 1};
    kd_status status = kd_export_blob(e, &blob, &size);
    if (!status) status = kd_export_quantise(e, &opt);
    if (!status) status = kd_export_compare(e, pixels, labels, 4);
    if (!status) status = kd_export_layer_info(e, 0, &layer);
    if (!status) status = kd_export_result_get(e, &result);
    snprintf(path, sizeof path, "%.500s.kde", prefix);
    if (!status) status = kd_export_write(e, path);
#if KDI_ONNX
    snprintf(path, sizeof path, "%.500s.onnx", prefix);
    if (!status) status = kd_export_write_onnx(e, path, NULL);
#endif
    snprintf(path, sizeof path, "%.500s", prefix);
    return status ? status : kd_export_write_c(e, path);
}

static kd_status call_export(world *w)
{
    static const float half[] = {.5f, .5f, .5f};
    char path[600];
    kd_model *m;
    kd_export *e = NULL;
    calls_path(path, "failing_export");
    kd_status status = kd_model_create(w->ctx, "vgg3_bn,width=0.0625,image=8,classes=3", 1, &m);
    if (status) return status;
    status = kd_model_set_normalization(m, half, half);
    if (!status) status = kd_export_create(m, &e);
    if (!status) status = use_export(e, path);
    kd_export_destroy(e);
    kd_model_destroy(m);
    return status;
}

/* Swin moves rows by tables that are found by running its ops. Without protobuf-c there is nothing
 * to fail but the refusal. */
static kd_status call_onnx(world *w)
{
#if KDI_ONNX
    char path[600];
    kd_model *m;
    calls_path(path, "failing.onnx");
    kd_status status = kd_model_create(w->ctx,
                                       "swin_tiny_patch4_window7_224,image=8,patch=2,dim=4,depth=2,"
                                       "heads=2,window=2,classes=3",
                                       1, &m);
    if (status) return status;
    status = kd_export_onnx(m, path, NULL);
    kd_model_destroy(m);
    return status;
#else
    (void)w;
    return KD_OK;
#endif
}

static kd_status call_blob(world *w)
{
    char path[600];
    kd_blob *b;
    kd_model *m = NULL;
    static float pixels[2 * 8 * 8 * 3], logits[2 * 3];
    calls_path(path, "failing_export.kde");
    kd_status status = kd_blob_open(w->ctx, path, &b);
    if (status) return status;
    status = kd_blob_network(b, &m);
    if (!status) status = kd_blob_answer(b, pixels, 2, logits);
    kd_model_destroy(m);
    kd_blob_close(b);
    return status;
}

static const call calls[] = {
    {call_export, "kd_export_create kd_export_create_graph kd_export_quantise kd_export_compare "
                  "kd_export_layer_info kd_export_result_get kd_export_blob kd_export_write "
                  "kd_export_write_c kd_export_write_onnx"},
    {call_onnx, "kd_export_onnx kd_export_onnx_graph"},
    {call_blob, "kd_blob_open kd_blob_network kd_blob_answer"},
};

const call_list calls_export = {calls, sizeof calls / sizeof *calls};
