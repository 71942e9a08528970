/* SPDX-License-Identifier: MIT
 * export.c: kd export: a network for a device, quantised by what it makes of training pictures, and
 * compared with itself in float32 before anything is written; and for other runtimes, as ONNX. */
#include "export.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- what was asked for ---------------------------------------------------------------------- */

/* One that means something with --int8 alone; NULL: none was given. */
static const char *option_of_int8(const cli_args *a)
{
    static const char *const names[] = {
        "calibrate", "calibrate-count", "compare-count", "method",  "percentile",
        "equalise",  "keep-bias",       "data-dir",      "augment", "skip-broken"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (cli_given(a, names[i])) return names[i];
    return NULL;
}

/* No two of what is written are one file. */
static int check_different(const cli_args *a)
{
    char source[CLI_PATH + 2], header[CLI_PATH + 2];
    const char *const prefix = a->c_array;
    if (prefix && strlen(prefix) >= CLI_PATH) return cli_fail("the path is too long");
    if (prefix) snprintf(source, sizeof source, "%s.c", prefix);
    if (prefix) snprintf(header, sizeof header, "%s.h", prefix);
    const struct {
        const char *option, *path;
    } out[] = {{"--edge", a->edge},
               {"--report", a->report},
               {"--onnx", a->onnx},
               {"--c-array", prefix ? source : NULL},
               {"--c-array", prefix ? header : NULL}};
    int code = CLI_DONE;
    for (size_t i = 0; i < 3; i++)
        for (size_t k = i + 1; k < sizeof out / sizeof *out && !code; k++)
            code = cli_two_outputs(a, out[i].option, out[i].path, out[k].option, out[k].path);
    return code;
}

/* Is anything made for a device? An ONNX model in float32 alone is not. */
static bool for_device(const cli_args *a)
{
    return a->edge || a->c_array || a->int8;
}

static int check_onnx(const cli_args *a)
{
    static const char *const names[] = {"opset", "dynamic-batch", "batch"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!a->onnx && cli_given(a, names[i]))
            return cli_usage("export", "--%s goes with --onnx FILE", names[i]);
    if (a->dynamic_batch && cli_given(a, "batch"))
        return cli_usage("export", "--batch and --dynamic-batch: is it one number, or any?");
    if (a->report && !for_device(a))
        return cli_usage("export", "--report goes with --edge, --c-array or --int8");
    return CLI_DONE;
}

static int check_usage(const cli_args *a)
{
    const char *of_int8 = option_of_int8(a);
    if (!a->edge && !a->c_array && !a->onnx)
        return cli_usage("export", "what is to be written? --edge OUT.kde, --c-array PREFIX or "
                                   "--onnx FILE");
    if (a->int8 && !a->calibrate)
        return cli_usage("export", "--int8 needs pictures of the training data: --calibrate NAME");
    if (!a->int8 && a->wide_logits)
        return cli_usage("export",
                         "--wide-logits goes with --int8: float32 logits have 32 bits as they are");
    if (!a->int8 && of_int8)
        return cli_usage(
            "export", "--%s goes with --int8: without it there is nothing to calibrate", of_int8);
    if (cli_given(a, "percentile") && a->calibration != KD_CALIBRATE_PERCENTILE)
        return cli_usage("export", "--percentile goes with --method percentile");
    const int code = check_onnx(a);
    return code ? code : check_different(a);
}

/* A file that is there is a report of an earlier export. */
static int check_report(const exporting *x)
{
    enum { LARGEST = 1 << 24 };
    const char *path = x->args->report;
    struct stat about;
    char *text;
    size_t size, layers;
    kd_json_object *o = NULL;
    int64_t bytes;
    if (!path || stat(path, &about) || about.st_size == 0) return CLI_DONE;
    bool is = false;
    if (!kd_file_read_all(x->ctx, path, LARGEST, &text, &size)) {
        is = !kd_json_parse(x->ctx, text, size, &o) &&
             kd_json_get_integer(o, "blob_bytes", &bytes) &&
             kd_json_get_count(o, "layers", &layers);
        kd_json_object_destroy(o);
        kd_ctx_free(x->ctx, text);
    }
    return is ? CLI_DONE
              : cli_fail("--report %s: the file is there and is no such report; it is not replaced",
                         path);
}

static int check_outputs(exporting *x)
{
    const cli_args *a = x->args;
    int code = cli_apart(x->ctx, "--edge", a->edge, a->words[0]);
    if (!code) code = cli_apart(x->ctx, "--onnx", a->onnx, a->words[0]);
    if (!code) code = cli_apart(x->ctx, "--report", a->report, a->words[0]);
    if (!code && a->edge) code = cli_can_write("--edge", a->edge);
    if (!code && a->c_array) code = cli_can_write("--c-array", a->c_array);
    if (!code && a->onnx) code = cli_can_write("--onnx", a->onnx);
    if (!code && a->report) code = cli_can_write("--report", a->report);
    return code ? code : check_report(x);
}

/* ---- pictures -------------------------------------------------------------------------------- */

static int check_data(const exporting *x)
{
    const cli_args *a = x->args;
    const kd_data_info *info = kd_dataset_info(x->data);
    const size_t height = kd_model_height(x->model), width = kd_model_width(x->model);
    const bool one_size = !strcmp(kd_dataset_framing(x->data), "none");
    if (one_size && (info->height != height || info->width != width))
        return cli_fail("%s has pictures of %zu x %zu pixels, %s wants %zu x %zu", a->calibrate,
                        info->height, info->width, a->words[0], height, width);
    return cli_check_channels(a, a->words[0], x->model, x->data);
}

/* Which class of the network each label is: by name, or in order, as is said then. */
static int match_classes(exporting *x)
{
    const kd_data_info *info = kd_dataset_info(x->data);
    const size_t classes = kd_model_classes(x->model);
    kd_class_match match;
    x->class_map = kd_ctx_alloc(x->ctx, info->classes, sizeof *x->class_map);
    if (!x->class_map) return cli_fail_ctx(x->ctx);
    if (kd_classes_match(x->ctx, kd_model_class_names(x->model), classes, info->class_names,
                         info->classes, x->class_map, &match))
        return cli_fail("%s: %s", x->args->calibrate, kd_ctx_error(x->ctx));
    if (match == KD_CLASSES_SUBSET)
        kd_ctx_log(x->ctx, KD_LOG_INFO, "%s has %zu of the network's %zu classes: found by name",
                   info->name, info->classes, classes);
    if (match == KD_CLASSES_UNNAMED && info->class_names)
        kd_ctx_log(x->ctx, KD_LOG_INFO,
                   "the network has no names for its %zu classes: they are taken to be those of "
                   "%s, in their order",
                   classes, info->name);
    return CLI_DONE;
}

static int fill(const exporting *x, kd_loader *loader, pictures *out)
{
    const size_t size =
        kd_model_height(x->model) * kd_model_width(x->model) * kd_model_channels(x->model);
    for (size_t at = 0; at < out->count;) {
        const kd_batch *batch;
        if (kd_loader_next(loader, &batch)) return cli_fail_ctx(x->ctx);
        if (batch->n == 0) continue;
        for (size_t i = 0; i < batch->n && at < out->count; i++, at++) {
            const float *from = batch->views[0] + i * size;
            for (size_t k = 0; k < size; k++) {
                const float pixel = roundf(from[k]);
                out->pixels[at * size + k] = (uint8_t)(pixel < 0 ? 0 : pixel > 255 ? 255 : pixel);
            }
            out->labels[at] = x->class_map[batch->labels[i]];
        }
    }
    return CLI_DONE;
}

/* So many pictures of a split as a device sees them: whole numbers from 0 to 255; those of the
 * training split drawn at random, always the same. most 0: all. */
static int read_pictures(const exporting *x, kd_split split, size_t most, pictures *out)
{
    const size_t height = kd_model_height(x->model), width = kd_model_width(x->model);
    const size_t channels = kd_model_channels(x->model);
    const kd_data_info *info = kd_dataset_info(x->data);
    float zero[64] = {0}, step[64];
    kd_loader *loader = NULL;
    const char *framing = cli_framing(x->args, x->data, x->model);
    if (!framing) return CLI_USAGE;
    if (channels > 64) return cli_fail("%zu channels are too many", channels);
    for (size_t c = 0; c < channels; c++) step[c] = 1.0f / 255;
    const kd_view view = {height, width, channels, zero, step};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = split,
                               .shuffle = split == KD_SPLIT_TRAIN,
                               .augment = framing,
                               .n_views = 1,
                               .views = &view};
    out->count = info->count[split];
    if (most && most < out->count) out->count = most;
    if (!out->count)
        return cli_fail("%s has no %s pictures", x->args->calibrate,
                        split == KD_SPLIT_TRAIN ? "training" : "test");
    out->pixels = kd_ctx_alloc(x->ctx, out->count, height * width * channels);
    out->labels = kd_ctx_alloc(x->ctx, out->count, sizeof *out->labels);
    if (!out->pixels || !out->labels || kd_loader_create(x->data, &opt, &loader))
        return cli_fail_ctx(x->ctx);
    const int code = fill(x, loader, out);
    kd_loader_close(loader);
    return code;
}

static void free_pictures(const exporting *x, pictures *p)
{
    kd_ctx_free(x->ctx, p->pixels);
    kd_ctx_free(x->ctx, p->labels);
}

/* ---- int8 ------------------------------------------------------------------------------------ */

static int quantise(exporting *x)
{
    const cli_args *a = x->args;
    pictures p = {0};
    int code = read_pictures(x, KD_SPLIT_TRAIN, (size_t)a->calibrate_count, &p);
    const kd_quantise_opt opt = {.struct_size = sizeof opt,
                                 .pictures = p.pixels,
                                 .count = p.count,
                                 .method = (kd_calibration)a->calibration,
                                 .percentile = isnan(a->percentile) ? 0 : a->percentile,
                                 .no_correction = a->keep_bias,
                                 .equalise = a->equalise,
                                 .wide_logits = a->wide_logits};
    if (!code && kd_export_quantise(x->e, &opt)) code = cli_fail_ctx(x->ctx);
    x->calibrated = p.count;
    if (!code && p.count < a->calibrate_count)
        kd_ctx_log(x->ctx, KD_LOG_INFO, "%s has %zu training pictures: all of them calibrate",
                   a->calibrate, p.count);
    free_pictures(x, &p);
    return code;
}

static int compare(exporting *x)
{
    pictures p = {0};
    const size_t tests = kd_dataset_info(x->data)->count[KD_SPLIT_TEST];
    if (!tests) return CLI_DONE;
    int code = read_pictures(x, KD_SPLIT_TEST, (size_t)x->args->compare_count, &p);
    if (!code && kd_export_compare(x->e, p.pixels, p.labels, p.count)) code = cli_fail_ctx(x->ctx);
    free_pictures(x, &p);
    x->compared = !code;
    return code;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int open_model(exporting *x)
{
    const cli_args *a = x->args;
    int code = cli_load(x->ctx, a->words[0], a->model, 0, &x->model);
    if (!code) code = cli_normalize(a, "normalize", a->normalize, x->model);
    if (code || !for_device(a)) return code;
    if (!kd_model_mean(x->model))
        return cli_fail("%s does not say how its pictures are normalised, which becomes part of "
                        "the first layer; --normalize MEAN/STD says it",
                        a->words[0]);
    return kd_export_create(x->model, &x->e) ? cli_fail("%s: %s", a->words[0], kd_ctx_error(x->ctx))
                                             : CLI_DONE;
}

static int open_data(exporting *x)
{
    cli_args args = *x->args;
    args.data = args.calibrate;
    int code = cli_open_data(&args, x->ctx, &x->data);
    if (!code) code = check_data(x);
    if (!code) code = match_classes(x);
    return code ? code : cli_say_data(&args, args.words[0], x->model, x->data);
}

static int open_device(exporting *x)
{
    const void *blob;
    size_t size;
    if (kd_export_blob(x->e, &blob, &size)) return cli_fail_ctx(x->ctx);
    const kd_edge_op *const *ops = x->args->int8 ? kd_edge_ops_i8 : kd_edge_ops_f32;
    const kd_edge_status status = kd_edge_open(&x->device, blob, size, ops);
    return status ? cli_fail("the blob cannot be opened: %s", kd_edge_text(status)) : CLI_DONE;
}

int export_opset(const cli_args *a)
{
    return a->opset ? 20 : 17;
}

static int write_onnx(exporting *x)
{
    const cli_args *a = x->args;
    const kd_onnx_opt opt = {.struct_size = sizeof opt,
                             .opset = export_opset(a),
                             .batch = a->dynamic_batch ? 0 : (size_t)a->batch,
                             .dynamic_batch = a->dynamic_batch};
    const kd_status status = a->int8 ? kd_export_write_onnx(x->e, a->onnx, &opt)
                                     : kd_export_onnx(x->model, a->onnx, &opt);
    return status ? cli_fail_ctx(x->ctx) : CLI_DONE;
}

static int write_all(exporting *x)
{
    const cli_args *a = x->args;
    if (a->onnx && write_onnx(x)) return CLI_FAILED;
    if (a->edge && kd_export_write(x->e, a->edge)) return cli_fail_ctx(x->ctx);
    if (a->c_array && kd_export_write_c(x->e, a->c_array)) return cli_fail_ctx(x->ctx);
    return CLI_DONE;
}

int cmd_export(cli_args *args)
{
    exporting x = {.args = args};
    int code = check_usage(args);
    if (code) return code;
    code = cli_is_there(args->words[0]);
    if (!code) code = cli_open_ctx(args, &x.ctx);
    if (!code) code = check_outputs(&x);
    if (!code) code = open_model(&x);
    if (!code && args->calibrate) code = open_data(&x);
    if (!code && args->int8) code = quantise(&x);
    if (!code && x.e) code = open_device(&x);
    if (!code && x.data) code = compare(&x);
    if (!code) code = write_all(&x);
    if (!code && args->report) code = export_write_report(&x);
    if (!code) code = export_report(&x);
    kd_ctx_free(x.ctx, x.class_map);
    kd_export_destroy(x.e);
    kd_model_destroy(x.model);
    cli_close_data(x.data);
    kd_ctx_destroy(x.ctx);
    return code;
}
