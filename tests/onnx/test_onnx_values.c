/* SPDX-License-Identifier: MIT
 * test_onnx_values.c: what ONNX models compute. By the ops' definitions (evaluate.c) logits are the
 * network's, in float32 to rounding, in int8 to a step. And files of the goldens are those that
 * tests/golden/onnx_models.py has checked in onnxruntime and OpenVINO. */
#if KDI_ONNX

#include "../model/golden.h"
#include "../quant/nets.h"
#include "evaluate.h"

#include "../../lib/edge/edge_format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char path[512];

static Onnx__ModelProto *reread(kd_ctx *ctx)
{
    char *bytes;
    size_t size;
    test_ok(ctx, kd_file_read_all(ctx, path, (size_t)1 << 30, &bytes, &size));
    const void *from = bytes;
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, size, from);
    ck_assert_ptr_nonnull(m);
    kd_ctx_free(ctx, bytes);
    return m;
}

/* [n,H,W,C] as [n,C,H,W]; to be freed. */
static float *channels_first(const float *x, size_t n, size_t places, size_t channels)
{
    float *y = malloc(n * places * channels * sizeof *y);
    ck_assert_ptr_nonnull(y);
    for (size_t i = 0; i < n; i++)
        for (size_t p = 0; p < places; p++)
            for (size_t c = 0; c < channels; c++)
                y[(i * channels + c) * places + p] = x[(i * places + p) * channels + c];
    return y;
}

/* ---- float32 --------------------------------------------------------------------------------- */

/* Nothing stands at the value it begins with: norms' weights and statistics, biases, tokens. */
static void fill(kd_model *m)
{
    kd_params *p = kd_model_params(m);
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        if (info->dtype != KD_F32) continue;
        float *x = malloc(info->count * sizeof *x);
        ck_assert_ptr_nonnull(x);
        test_ok(kd_model_ctx(m), kd_params_get(p, info, 0, x));
        if (info->shape.rank == 1 || info->buffer) {
            test_fill(x, info->count, i, .3f);
            for (size_t k = 0; k < info->count && !strstr(info->name, "bias"); k++) x[k] += 1;
        }
        test_ok(kd_model_ctx(m), kd_params_set(p, info, x));
        free(x);
    }
}

static void check_float(kd_ctx *ctx, const char *spec, int opset, int dynamic)
{
    enum { N = 2 };
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, spec, 5, &m));
    fill(m);
    const kd_onnx_opt opt = {.struct_size = sizeof opt,
                             .opset = opset,
                             .batch = dynamic ? 0 : N,
                             .dynamic_batch = dynamic};
    test_ok(ctx, kd_export_onnx(m, path, &opt));
    Onnx__ModelProto *onnx = reread(ctx);
    const size_t places = kd_model_height(m) * kd_model_width(m), channels = kd_model_channels(m);
    const size_t classes = kd_model_classes(m);
    float *x = malloc(N * places * channels * sizeof *x), *wanted = malloc(N * classes * sizeof *x);
    float *got = malloc(N * classes * sizeof *got);
    size_t count;
    ck_assert(x && wanted && got);
    test_fill(x, N * places * channels, 11, 2);
    test_ok(ctx, kd_model_predict(m, x, N, N, wanted));
    float *turned = channels_first(x, N, places, channels);
    double *logits = evaluate(onnx->graph, turned, N, &count);
    ck_assert(logits && count == N * classes);
    for (size_t i = 0; i < count; i++) got[i] = (float)logits[i];
    const double apart = test_distance(got, wanted, count);
    ck_assert_msg(apart <= 2e-5, "%s, opset %d: %g", spec, opset, apart);
    void *const blocks[] = {x, wanted, got, turned, logits};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    onnx__model_proto__free_unpacked(onnx, NULL);
    kd_model_destroy(m);
}

START_TEST(test_float_values)
{
    static const char *const specs[] = {
        "vgg5_bn,width=0.0625,image=20x24,classes=4",
        "vgg4,width=0.0625,image=72,classes=3,head=fc4096,dense=9", /* windows of several sizes */
        "vgg3,width=0.0625,image=8,classes=3,head=fc4096,dense=7",  /* a 1x1 map becomes 7x7 */
        "vit_tiny_patch16_224,image=12,patch=4,dim=12,depth=2,heads=3,classes=5",
        "deit_tiny_distilled_patch16_224,image=12,patch=4,dim=12,depth=1,heads=2,classes=5",
        "deit_tiny_distilled_patch16_224,image=8,patch=4,dim=8,depth=2,heads=2,classes=3,dist_head="
        "0",
        "swin_tiny_patch4_window7_224,image=20,patch=2,dim=4,depth=2-2,heads=2-1,window=4,classes="
        "3",
        "swin_tiny_patch4_window7_224,image=12x20,patch=2,dim=6,depth=1-2,heads=3-2,window=3,"
        "classes=4,channels=1"};
    kd_ctx *ctx = test_ctx(2, NULL);
    snprintf(path, sizeof path, "%s/values.onnx", test_dir());
    for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
        check_float(ctx, specs[s], 17, 1);
        check_float(ctx, specs[s], 20, 0);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- int8 ------------------------------------------------------------------------------------ */

/* The blob's logits of the same pictures. The blob multiplies by whole numbers over 2^31 and rounds
 * halves up: a number in a hundred or so is rounded to the other side, by a step, and few reach the
 * logits. */
START_TEST(test_int8_values)
{
    for (uint64_t seed = 0; seed < 3; seed++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        net_case c = net_residual(ctx, 24, seed);
        kd_export *e = net_export(&c);
        const kd_quantise_opt opt = {
            .struct_size = sizeof opt, .pictures = c.pictures, .count = c.count};
        const size_t places = NET_H * NET_W, all = c.count * NET_CLASSES;
        kd_blob *blob;
        char kde[520];
        size_t count, other = 0;
        test_ok(ctx, kd_export_quantise(e, &opt));
        snprintf(path, sizeof path, "%s/values8.onnx", test_dir());
        snprintf(kde, sizeof kde, "%s/values8.kde", test_dir());
        test_ok(ctx, kd_export_write(e, kde));
        test_ok(ctx, kd_export_write_onnx(e, path, NULL));
        test_ok(ctx, kd_blob_open(ctx, kde, &blob));
        float *pixels = malloc(c.count * c.picture * sizeof *pixels);
        float *x = malloc(c.count * c.picture * sizeof *x), *wanted = malloc(all * sizeof *wanted);
        ck_assert(pixels && x && wanted);
        for (size_t i = 0; i < c.count * c.picture; i++) {
            pixels[i] = c.pictures[i];
            x[i] = (pixels[i] / 255 - net_mean[i % NET_C]) / net_std[i % NET_C];
        }
        test_ok(ctx, kd_blob_answer(blob, pixels, c.count, wanted));
        float *turned = channels_first(x, c.count, places, NET_C);
        Onnx__ModelProto *onnx = reread(ctx);
        double *logits = evaluate(onnx->graph, turned, c.count, &count);
        ck_assert(logits && count == all);
        for (size_t i = 0; i < count; i++) {
            const double steps = fabs(logits[i] - (double)wanted[i]) / (double)e->net->output_scale;
            ck_assert_msg(steps < 1.01, "seed %d, %zu: %g steps", (int)seed, i, steps);
            other += steps > .5;
        }
        ck_assert_msg(other * 10 <= count, "%zu of %zu are a step apart", other, count);
        void *const blocks[] = {pixels, x, wanted, turned, logits};
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
        onnx__model_proto__free_unpacked(onnx, NULL);
        kd_blob_close(blob);
        net_close(ctx, &c, e);
    }
}
END_TEST

/* ---- what other runtimes have seen ----------------------------------------------------------- */

static kd_model *golden_model(kd_ctx *ctx, const char *name)
{
    char file[GOLDEN_PATH], short_name[100];
    kd_model *m;
    snprintf(short_name, sizeof short_name, "%s_expected.safetensors", name);
    golden expected = golden_open(ctx, short_name);
    const char *spec = kd_file_metadata_get(expected.file, "spec");
    snprintf(short_name, sizeof short_name, "%s.safetensors", name);
    golden_path(file, short_name);
    test_ok(ctx, kd_model_load(ctx, file, spec, &m));
    golden_close(&expected);
    return m;
}

/* "NAME OPSET BATCH SUM": of the graph's message, batch 0 being any. */
START_TEST(test_checked_files)
{
    char file[GOLDEN_PATH], name[64];
    kd_ctx *ctx = test_ctx(1, NULL);
    size_t lines = 0, batch;
    unsigned sum;
    int opset;
    golden_path(file, "onnx.txt");
    snprintf(path, sizeof path, "%s/checked.onnx", test_dir());
    FILE *list = fopen(file, "r");
    ck_assert_msg(list != NULL, "%s", file);
    while (fscanf(list, "%63s %d %zu %x", name, &opset, &batch, &sum) == 4) {
        kd_model *m = golden_model(ctx, name);
        const kd_onnx_opt opt = {
            .struct_size = sizeof opt, .opset = opset, .batch = batch, .dynamic_batch = !batch};
        test_ok(ctx, kd_export_onnx(m, path, &opt));
        Onnx__ModelProto *onnx = reread(ctx);
        const size_t size = onnx__graph_proto__get_packed_size(onnx->graph);
        uint8_t *bytes = malloc(size);
        ck_assert_ptr_nonnull(bytes);
        onnx__graph_proto__pack(onnx->graph, bytes);
        ck_assert_msg(
            kd_edge_crc32(0, bytes, (uint32_t)size) == sum,
            "%s, opset %d, batch %zu: another graph than the one that was checked in other "
            "runtimes; tests/golden/onnx_models.py KD --write checks it and says so",
            name, opset, batch);
        free(bytes);
        onnx__model_proto__free_unpacked(onnx, NULL);
        kd_model_destroy(m);
        lines++;
    }
    fclose(list);
    ck_assert_uint_ge(lines, 60);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(onnx_values, 120, &test_float_values, &test_int8_values, &test_checked_files)

#else

#include "../test.h"

START_TEST(test_nothing_is_written)
{
    ck_assert(!KDI_ONNX);
}
END_TEST

TEST_SUITE(onnx_values, 1, &test_nothing_is_written)

#endif
