/* SPDX-License-Identifier: MIT
 * export_report.c: what an export costs and loses, layer by layer. */
#include "export.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *what(const exporting *x)
{
    return x->args->int8 ? "int8" : "float32";
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void layer_json(const exporting *x, kd_json *json, size_t i)
{
    kd_export_layer l = {.struct_size = sizeof l};
    kd_edge_layer d;
    if (kd_export_layer_info(x->e, i, &l) || kd_edge_layer_get(&x->device, (uint32_t)i, &d)) return;
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "op", l.op);
    kd_json_string(json, "name", l.name);
    kd_json_array_begin(json, "out");
    for (int k = 0; k < 3; k++) kd_json_integer(json, NULL, (int64_t)l.out[k]);
    kd_json_array_end(json);
    kd_json_integer(json, "macs", (int64_t)l.macs);
    kd_json_integer(json, "flash_bytes", d.flash_bytes);
    kd_json_integer(json, "in_at", d.in_at);
    kd_json_integer(json, "out_at", d.out_at);
    kd_json_integer(json, "out_bytes", d.out_bytes);
    kd_json_integer(json, "scratch_bytes", d.scratch_bytes);
    kd_json_number(json, "scale", l.scale);
    kd_json_integer(json, "zero", l.zero);
    kd_json_number(json, "low", l.low);
    kd_json_number(json, "high", l.high);
    kd_json_number(json, "signal_to_noise", l.signal_to_noise);
    kd_json_number(json, "own_signal_to_noise", l.own);
    kd_json_object_end(json);
}

static int64_t onnx_bytes(const exporting *x)
{
    struct stat about;
    return stat(x->args->onnx, &about) ? 0 : about.st_size;
}

/* Of the blob: what it needs, and what was found when it was compared. */
static void device_json(const exporting *x, kd_json *json)
{
    const double none = (double)NAN;
    kd_export_result r = {.struct_size = sizeof r};
    kd_export_layer worst = {.struct_size = sizeof worst};
    if (x->compared &&
        (kd_export_result_get(x->e, &r) || kd_export_layer_info(x->e, r.worst_layer, &worst)))
        r.count = 0;
    kd_json_integer(json, "blob_bytes", x->device.blob_bytes);
    kd_json_integer(json, "arena_bytes", x->device.arena_bytes);
    if (x->args->int8) {
        kd_json_string(json, "method", kd_calibration_name(x->args->calibration));
        kd_json_integer(json, "calibrated", (int64_t)x->calibrated);
    }
    kd_json_integer(json, "n", (int64_t)r.count);
    kd_json_number(json, "float_top1", r.count ? r.float_top1 : none);
    kd_json_number(json, "top1", r.count ? r.top1 : none);
    kd_json_number(json, "agreement", r.count ? r.agreement : none);
    kd_json_number(json, "signal_to_noise", r.count ? r.signal_to_noise : none);
    if (r.count) kd_json_string(json, "worst_layer", worst.name);
    kd_json_array_begin(json, "layers");
    for (size_t i = 0; i < kd_export_layers(x->e); i++) layer_json(x, json, i);
    kd_json_array_end(json);
}

static kd_json *as_json(const exporting *x)
{
    kd_json *json;
    if (kd_json_create(x->ctx, 0, &json)) return NULL;
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "spec", kd_model_spec(x->model));
    kd_json_string(json, "type", what(x));
    if (x->args->onnx) {
        kd_json_integer(json, "opset", export_opset(x->args));
        kd_json_integer(json, "onnx_bytes", onnx_bytes(x));
    }
    if (x->e) device_json(x, json);
    kd_json_object_end(json);
    return json;
}

int export_write_report(exporting *x)
{
    const char *text;
    size_t size;
    kd_json *json = as_json(x);
    if (!json) return cli_fail_ctx(x->ctx);
    kd_status status = kd_json_text(json, &text, &size);
    if (!status) status = kd_file_write_atomic(x->ctx, x->args->report, text, size);
    kd_json_destroy(json);
    return status ? cli_fail_ctx(x->ctx) : CLI_DONE;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void decibels(char *out, size_t size, double x)
{
    if (isnan(x))
        snprintf(out, size, "-");
    else if (x > DBL_MAX)
        snprintf(out, size, "exact");
    else
        snprintf(out, size, "%.1f", x);
}

/* Bytes of the arena that a layer touches. A layer in place writes over what it has read. */
static uint64_t arena_of(const kd_edge_layer *l)
{
    const uint64_t in_end = (uint64_t)l->in_at + l->in_bytes;
    const uint64_t out_end = (uint64_t)l->out_at + l->out_bytes;
    const uint64_t from = l->in_at > l->out_at ? l->in_at : l->out_at;
    const uint64_t to = in_end < out_end ? in_end : out_end;
    const uint64_t shared = to > from ? to - from : 0;
    return (uint64_t)l->in_bytes + l->out_bytes + l->scratch_bytes - shared;
}

static void layer_line(const exporting *x, size_t i)
{
    char name[80], out[40], all[16], own[16];
    kd_export_layer l = {.struct_size = sizeof l};
    kd_edge_layer d;
    if (kd_export_layer_info(x->e, i, &l) || kd_edge_layer_get(&x->device, (uint32_t)i, &d)) return;
    snprintf(out, sizeof out, "%zux%zux%zu", l.out[0], l.out[1], l.out[2]);
    decibels(all, sizeof all, l.signal_to_noise);
    decibels(own, sizeof own, l.own);
    printf("%-9s %-20s %12s %9.3f %9lu %9lu %8s %8s\n", l.op, cli_escape(l.name, name, sizeof name),
           out, 1e-6 * (double)l.macs, (unsigned long)d.flash_bytes, (unsigned long)arena_of(&d),
           all, own);
}

static void verdict(const exporting *x)
{
    kd_export_result r = {.struct_size = sizeof r};
    kd_export_layer worst = {.struct_size = sizeof worst};
    char name[80];
    if (kd_export_result_get(x->e, &r) || kd_export_layer_info(x->e, r.worst_layer, &worst)) return;
    printf("\n%zu test pictures: top-1 %.2f %% in float32, %.2f %% in %s; the same answer for "
           "%.2f %%\n",
           r.count, r.float_top1, r.top1, what(x), r.agreement);
    if (worst.own > DBL_MAX)
        printf("nothing is lost in any layer\n");
    else
        printf("most is lost in %s %s, %.1f dB\n", worst.op,
               cli_escape(worst.name, name, sizeof name), worst.own);
}

static void device_lines(const exporting *x)
{
    printf("%-9s %-20s %12s %9s %9s %9s %8s %8s\n", "layer", "", "out", "MMACs", "flash", "RAM",
           "S/N dB", "own");
    for (size_t i = 0; i < kd_export_layers(x->e); i++) layer_line(x, i);
    if (x->compared) verdict(x);
    printf("\n%s, blob %lu bytes, arena %lu bytes\n", what(x), (unsigned long)x->device.blob_bytes,
           (unsigned long)x->device.arena_bytes);
    if (x->args->edge) printf("%s\n", x->args->edge);
    if (x->args->c_array) printf("%s.c, %s.h\n", x->args->c_array, x->args->c_array);
}

int export_report(exporting *x)
{
    if (x->args->json) {
        kd_json *json = as_json(x);
        return json ? cli_print_json(x->ctx, json) : cli_fail_ctx(x->ctx);
    }
    if (x->e) device_lines(x);
    if (x->args->onnx)
        printf("%s, opset %d, %lld bytes\n%s\n", what(x), export_opset(x->args),
               (long long)onnx_bytes(x), x->args->onnx);
    return cli_flush();
}
