/* SPDX-License-Identifier: MIT
 * test_model.c: spec strings, the VGG family's sizes, models in files. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static void expect_complete(kd_ctx *ctx, const char *spec, const char *defaults, const char *want)
{
    char text[KD_SPEC_SIZE];
    test_ok(ctx, kd_spec_complete(ctx, spec, defaults, text, sizeof text));
    ck_assert_str_eq(text, want);
    char again[KD_SPEC_SIZE];
    test_ok(ctx, kd_spec_complete(ctx, text, NULL, again, sizeof again));
    ck_assert_str_eq(again, text);
}

START_TEST(test_spec_complete)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    expect_complete(ctx, "vgg16", NULL,
                    "vgg16,classes=1000,image=224,channels=3,head=gap,width=1,pool4=1");
    expect_complete(ctx, "vgg16,head=fc4096", NULL,
                    "vgg16,classes=1000,image=224,channels=3,head=fc4096,width=1,pool4=1");
    expect_complete(ctx, "vgg16,dense=4096,head=fc4096", NULL,
                    "vgg16,classes=1000,image=224,channels=3,head=fc4096,width=1,pool4=1");
    expect_complete(ctx, "vgg2,head=fc4096,width=0.0625,dense=256", NULL,
                    "vgg2,classes=1000,image=224,channels=3,head=fc4096,width=0.0625,pool4=1");
    expect_complete(
        ctx, "vgg2,head=fc4096,width=0.0625,dense=4096", NULL,
        "vgg2,classes=1000,image=224,channels=3,head=fc4096,width=0.0625,pool4=1,dense=4096");
    expect_complete(ctx, "vgg8_bn,image=32,classes=10", NULL,
                    "vgg8_bn,classes=10,image=32,channels=3,head=gap,width=1,pool4=1");
    expect_complete(ctx, "vgg8_bn,image=32", "classes=10,image=64,channels=1",
                    "vgg8_bn,classes=10,image=32,channels=1,head=gap,width=1,pool4=1");
    expect_complete(ctx, "vgg8,width=0.125,pool4=0,head=fc4096,image=32", NULL,
                    "vgg8,classes=1000,image=32,channels=3,head=fc4096,width=0.125,pool4=0");
    expect_complete(ctx, "vgg8_bn,convs=1-1-2-2-2,stages=32-48-64-96-128,image=32", "classes=10",
                    "vgg8_bn,classes=10,image=32,channels=3,head=gap,width=1,pool4=1,"
                    "convs=1-1-2-2-2,stages=32-48-64-96-128");
    expect_complete(ctx, "vgg8,stages=64-128-256-512-512,convs=1-1-1-1-1", NULL,
                    "vgg8,classes=1000,image=224,channels=3,head=gap,width=1,pool4=1");
    expect_complete(ctx, "vgg3,convs=8-1", NULL,
                    "vgg3,classes=1000,image=224,channels=3,head=gap,width=1,pool4=1,convs=8-1");
    expect_complete(ctx, "deit_small_distilled_patch16_224,image=32,patch=4", "classes=10",
                    "deit_small_distilled_patch16_224,classes=10,image=32,channels=3,patch=4,"
                    "dim=384,depth=12,heads=6,mlp_ratio=4,drop_path=0,eps=1e-06,dist_head=1");
    expect_complete(ctx, "deit_tiny_distilled_patch16_224,dist_head=0", NULL,
                    "deit_tiny_distilled_patch16_224,classes=1000,image=224,channels=3,patch=16,"
                    "dim=192,depth=12,heads=3,mlp_ratio=4,drop_path=0,eps=1e-06,dist_head=0");
    expect_complete(
        ctx, "swin_base_patch4_window7_224,depth=2-2,heads=4-8,mlp_ratio=2.5", NULL,
        "swin_base_patch4_window7_224,classes=1000,image=224,channels=3,patch=4,dim=128,"
        "depth=2-2,heads=4-8,mlp_ratio=2.5,drop_path=0.1,window=7");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_spec_errors)
{
    static const struct {
        const char *spec, *says;
    } cases[] = {
        {"", "names no model"},
        {"vgg1", "no model 'vgg1'"},
        {"vgg20_bn", "no model"},
        {"VGG8", "no model"},
        {"vgg8,", "ends with a comma"},
        {"vgg8,classes=10,", "ends with a comma"},
        {"vgg8,depth=2", "has no key 'depth'"},
        {"vgg8,classes", "not key=value"},
        {"vgg8,classes=", "whole number"},
        {"vgg8,classes=0", "from 1"},
        {"vgg8,classes=2.5", "whole number"},
        {"vgg8,classes=ten", "whole number"},
        {"vgg8,classes=1e99", "from 1"},
        {"vgg8,width=nan", "number"},
        {"vgg8,width=-1", "from"},
        {"vgg8,head=mlp", "gap|fc4096"},
        {"vgg8,pool4=2", "from 0 to 1"},
        {"vgg8,dense=512", "of head=fc4096's layers, and the head is gap"},
        {"vgg8,head=fc4096,dense=0", "from 1"},
        {"vgg8,image=16", "the least is 32"},
        {"vgg8,image=15,pool4=0", "the least is 16"},
        {"vgg3,image=3", "the least is 4"},
        {"vgg8,,image=32", "not key=value"},
        {"vgg8,convs=1-1", "convs has 2 numbers, stages 5; there must be one for each stage"},
        {"vgg8,stages=32", "convs has 5 numbers, stages 1"},
        {"vgg8,convs=1-0-1-1-1", "from 1 to 8"},
        {"vgg8,convs=1-9-1-1-1", "from 1 to 8"},
        {"vgg8,convs=", "whole number"},
        {"vgg8,stages=32--64", "stages=32--64: it must be whole numbers"},
        {"vgg8,stages=32-48-64-96-4097", "from 1 to 4096"},
        {"vgg8,convs=1-1-1-1-1-1-1-1-1", "at most 8"},
        {"vgg8,width=64,stages=1-1-1-1-513", "stage 4 would have 32832 channels"},
        {"vgg8,width=64,image=16384,convs=8,stages=512", "multiply-accumulates a picture"},
        {"vgg8,convs=1-1-1-1-1-1,stages=8-8-8-8-8-8,image=63", "the least is 64"},
        {"vgg8,convs=1-1-1-1-1-1,stages=8-8-8-8-8-8,image=31,pool4=0", "the least is 32"},
        {"vit_tiny_patch16_224,convs=1", "has no key 'convs'"},
        {"vit_tiny_patch16_224,image=30", "multiple of the patch's: image=16 or 32"},
        {"vit_tiny_patch16_224,image=9", "multiple of the patch's: image=16"},
        {"vit_tiny_patch16_224,heads=5", "dim must be a multiple of heads: dim=190 or 195"},
        {"vit_tiny_patch16_224,depth=0", "from 1"},
        {"vit_tiny_patch16_224,depth=2-2", "whole number"},
        {"vit_tiny_patch16_224,window=7", "has no key 'window'"},
        {"vit_tiny_patch16_224,dim=3,mlp_ratio=.2", "at least 1"},
        {"vit_tiny_patch16_224,image=16384,patch=1", "too many"},
        {"vit_tiny_patch16_224,drop_path=1", "from 0"},
        {"vit_tiny_patch16_224,eps=0", "from 1e-15"},
        {"deit_tiny_patch16_224,dist_head=1", "has no key 'dist_head'"},
        {"deit_tiny_distilled_patch16_224,dist_head=2", "from 0 to 1"},
        {"swin_tiny_patch4_window7_224,depth=2-2", "one for each stage"},
        {"swin_tiny_patch4_window7_224,depth=", "whole number"},
        {"swin_tiny_patch4_window7_224,depth=2--2", "whole number"},
        {"swin_tiny_patch4_window7_224,depth=2-2-", "whole number"},
        {"swin_tiny_patch4_window7_224,depth=2-2-0-2", "from 1"},
        {"swin_tiny_patch4_window7_224,depth=1-1-1-1-1-1-1-1-1", "at most 8"},
        {"swin_tiny_patch4_window7_224,depth=99-99-99-2", "the most is 256"},
        {"swin_tiny_patch4_window7_224,heads=3-6-12-25", "stage 3 has 768 channels"},
        {"swin_tiny_patch4_window7_224,dim=4096", "the most is"},
        {"swin_tiny_patch4_window7_224,image=226", "multiple of the patch"},
        {"swin_tiny_patch4_window7_224,window=0", "from 1"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[KD_SPEC_SIZE];
        ck_assert_msg(kd_spec_complete(ctx, cases[i].spec, NULL, text, sizeof text) == KD_E_INVALID,
                      "'%s' was taken", cases[i].spec);
        ck_assert_msg(strstr(kd_ctx_error(ctx), cases[i].says) != NULL, "'%s' says: %s",
                      cases[i].spec, kd_ctx_error(ctx));
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* Published parameter counts (torchvision, 1000 classes) and multiply-accumulates (KD.md). */
START_TEST(test_published_sizes)
{
    static const struct {
        const char *spec;
        uint64_t params;
        double mmacs;
    } cases[] = {
        {"vgg11,head=fc4096", 132863336, 7610},
        {"vgg13_bn,head=fc4096", 133053736, 0},
        {"vgg16,head=fc4096", 138357544, 15470},
        {"vgg16_bn,head=fc4096", 138365992, 15470},
        {"vgg19_bn,head=fc4096", 143678248, 19630},
        {"vit_tiny_patch16_224", 5717416, 1254},
        {"vit_small_patch16_224", 22050664, 4600},
        {"vit_base_patch16_224", 86567656, 17560},
        {"deit_tiny_patch16_224", 5717416, 0},
        {"deit_tiny_distilled_patch16_224", 5910800, 0},
        {"deit_base_distilled_patch16_224", 87338192, 0},
        {"swin_tiny_patch4_window7_224", 28288354, 4490},
        {"swin_small_patch4_window7_224", 49606258, 8740},
        {"swin_base_patch4_window7_224", 87768224, 15430},
        {"vgg8_bn,image=32,classes=10", 0, 68},
        {"vgg11,image=32,classes=10", 0, 153},
        {"vgg13,image=32,classes=10", 0, 228},
        {"vgg16,image=32,classes=10", 0, 313},
        {"vgg19,image=32,classes=10", 0, 398},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t params, macs;
        test_ok(ctx, kd_spec_count(ctx, cases[i].spec, &params, &macs));
        if (cases[i].params) ck_assert_uint_eq(params, cases[i].params);
        const double mmacs = (double)macs / 1e6;
        if (cases[i].mmacs > 0)
            ck_assert_msg(mmacs > cases[i].mmacs * .995 && mmacs < cases[i].mmacs * 1.005,
                          "%s: %.1f MMACs, published %.0f", cases[i].spec, mmacs, cases[i].mmacs);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* 3x3 kernels, a bias each; norms have two numbers a channel; one layer over the last channels. */
START_TEST(test_stages)
{
    static const struct {
        const char *spec;
        int convs[8], stages[8], norm;
    } cases[] = {
        {"vgg8_bn,convs=1-1-2-2-2,stages=32-48-64-96-128",
         {1, 1, 2, 2, 2},
         {32, 48, 64, 96, 128},
         1},
        {"vgg16,convs=3-1,stages=5-7", {3, 1}, {5, 7}, 0},
        {"vgg2_bn,convs=1-2-1-2-1,stages=4-4-8-8-2,width=2", {1, 2, 1, 2, 1}, {8, 8, 16, 16, 4}, 1},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char spec[KD_SPEC_SIZE];
        uint64_t params, macs, want = 0, want_macs = 0, in = 3, map = 32;
        for (int stage = 0; cases[c].convs[stage]; stage++, map /= 2)
            for (int i = 0; i < cases[c].convs[stage]; i++) {
                const uint64_t out = (uint64_t)cases[c].stages[stage];
                want += 9 * in * out + out + (cases[c].norm ? 2 * out : 0);
                want_macs += 9 * in * out * map * map;
                in = out;
            }
        snprintf(spec, sizeof spec, "%s,image=32,classes=10", cases[c].spec);
        test_ok(ctx, kd_spec_count(ctx, spec, &params, &macs));
        ck_assert_uint_eq(params, want + 10 * in + 10);
        ck_assert_uint_eq(macs, want_macs + 10 * in);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* Parameters and MACs grow with the number, for both heads, with and without norms. */
START_TEST(test_sizes_grow)
{
    static const char *const tails[] = {
        ",image=32,classes=10,head=gap", "_bn,image=32,classes=100,head=gap",
        "_bn,image=224,head=fc4096", ",image=32,classes=10,head=fc4096"};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t t = 0; t < 4; t++) {
        uint64_t before_params = 0, before_macs = 0;
        for (int n = 2; n <= 19; n++) {
            char spec[80];
            uint64_t params, macs;
            snprintf(spec, sizeof spec, "vgg%d%s", n, tails[t]);
            test_ok(ctx, kd_spec_count(ctx, spec, &params, &macs));
            ck_assert_msg(params > before_params && macs > before_macs, "%s does not grow", spec);
            before_params = params;
            before_macs = macs;
        }
    }
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_names)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    size_t n = 0;
    const char *name;
    for (; (name = kd_model_name_at(n)); n++) {
        char text[KD_SPEC_SIZE];
        test_ok(ctx, kd_spec_complete(ctx, name, NULL, text, sizeof text));
    }
    ck_assert_uint_eq(n, 48);
    kd_ctx_destroy(ctx);
}
END_TEST

static const char small[] = "vgg8_bn,width=0.0625,classes=10,image=32";

START_TEST(test_save_and_load)
{
    char path[512];
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_model *a, *b;
    const float mean[] = {.4f, .5f, .6f}, std[] = {.1f, .2f, .3f};
    snprintf(path, sizeof path, "%s/model.safetensors", test_dir());
    test_ok(ctx, kd_model_create(ctx, small, 7, &a));
    test_ok(ctx, kd_model_set_normalization(a, mean, std));
    test_ok(ctx, kd_model_save(a, path));
    test_ok(ctx, kd_model_load(ctx, path, NULL, &b));
    ck_assert_str_eq(kd_model_spec(a), kd_model_spec(b));
    ck_assert_mem_eq(kd_model_mean(b), mean, sizeof mean);
    ck_assert_mem_eq(kd_model_std(b), std, sizeof std);
    kd_params *p = kd_model_params(a), *q = kd_model_params(b);
    ck_assert_mem_eq(kd_params_values(p), kd_params_values(q),
                     kd_params_flat_count(p) * sizeof(float));
    ck_assert_mem_eq(kd_params_buffers(p), kd_params_buffers(q), kd_params_buffer_bytes(p));
    kd_model_destroy(b);
    kd_model *wrong;
    ck_assert_int_eq(kd_model_load(ctx, path, "vgg11_bn,width=0.0625,classes=10,image=32", &wrong),
                     KD_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "missing"));
    ck_assert_int_eq(kd_model_load(ctx, path, "vgg8_bn,width=0.0625,classes=12,image=32", &wrong),
                     KD_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "classifier.weight"));
    test_ok(ctx, kd_model_load_as(ctx, path,
                                  &(kd_load_opt){.struct_size = sizeof(kd_load_opt),
                                                 .change = "classes=12,image=64",
                                                 .seed = 3},
                                  &b));
    ck_assert_uint_eq(kd_model_classes(b), 12);
    ck_assert_uint_eq(kd_model_image(b), 64);
    const kd_param_info *first = kd_params_find(p, "features.0.weight");
    ck_assert_mem_eq(kd_params_values(p) + first->offset,
                     kd_params_values(kd_model_params(b)) + first->offset,
                     first->count * sizeof(float));
    kd_model_destroy(a);
    kd_model_destroy(b);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A spec in a file's metadata that asks for far more than the file holds. */
/* Half as large, rounded once, and read by whoever reads a model. */
static void check_half(kd_ctx *ctx, const char *spec, kd_dtype dtype, float step)
{
    char path[600];
    kd_model *a, *b;
    kd_file *file;
    const float mean[] = {.4f, .5f, .6f}, std[] = {.1f, .2f, .3f};
    snprintf(path, sizeof path, "%s/half.safetensors", test_dir());
    test_ok(ctx, kd_model_create(ctx, spec, 7, &a));
    test_ok(ctx, kd_model_set_normalization(a, mean, std));
    test_ok(ctx, kd_model_save_as(a, path, dtype));
    test_ok(ctx, kd_model_load(ctx, path, NULL, &b));
    kd_params *p = kd_model_params(a), *q = kd_model_params(b);
    const float *x = kd_params_values(p), *y = kd_params_values(q);
    for (size_t i = 0; i < kd_params_flat_count(p); i++)
        ck_assert_float_le(fabsf(x[i] - y[i]), fmaxf(step * fabsf(x[i]), 0x1p-25f));
    test_ok(ctx, kd_file_open(ctx, path, &file));
    ck_assert_uint_lt(kd_file_size(file),
                      2 * kd_params_count(p) + 20000 + kd_params_buffer_bytes(p));
    ck_assert_int_eq(kd_file_at(file, kd_file_count(file) - 1)->dtype, dtype);
    kd_file_close(file);
    test_ok(ctx, kd_model_save_as(b, path, dtype)); /* rounded already: nothing changes */
    kd_model_destroy(a);
    test_ok(ctx,
            kd_model_load_as(
                ctx, path,
                &(kd_load_opt){.struct_size = sizeof(kd_load_opt), .change = "image=64", .seed = 1},
                &a));
    const kd_param_info *head =
        kd_params_find(q, kd_params_find(q, "head.weight") ? "head.weight" : "classifier.weight");
    ck_assert_mem_eq(kd_params_values(q) + head->offset,
                     kd_params_values(kd_model_params(a)) +
                         kd_params_find(kd_model_params(a), head->name)->offset,
                     head->count * sizeof(float));
    kd_model_destroy(a);
    kd_model_destroy(b);
}

START_TEST(test_save_half)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char path[600];
    kd_model *m;
    static const char vit[] =
        "vit_tiny_patch16_224,patch=8,dim=16,depth=1,heads=2,classes=3,image=32";
    check_half(ctx, small, KD_F16, 0x1p-11f);
    check_half(ctx, small, KD_BF16, 0x1p-8f);
    check_half(ctx, vit, KD_F16, 0x1p-11f);
    snprintf(path, sizeof path, "%s/no_half.safetensors", test_dir());
    test_ok(ctx, kd_model_create(ctx, vit, 1, &m));
    ck_assert_int_eq(kd_model_save_as(m, path, KD_I64), KD_E_INVALID);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_hostile_spec)
{
    char path[512];
    const int64_t shape[] = {1};
    const float x = 1;
    kd_writer *w;
    kd_model *m;
    kd_ctx *ctx = test_ctx(1, NULL);
    snprintf(path, sizeof path, "%s/hostile.safetensors", test_dir());
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    kd_writer_metadata(w, "libkd.spec", "vgg19,width=64,image=16384");
    kd_writer_tensor(w, "x", KD_F32, 1, shape, &x);
    test_ok(ctx, kd_writer_finish(w));
    ck_assert_int_eq(kd_model_load(ctx, path, NULL, &m), KD_E_MISMATCH);
    ck_assert_uint_lt(kd_ctx_memory_peak(ctx), 4u << 20);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Values depend on the seed and the parameter's name alone. */
START_TEST(test_seeds)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *a, *b, *c;
    test_ok(ctx, kd_model_create(ctx, small, 1, &a));
    test_ok(ctx, kd_model_create(ctx, "vgg11_bn,width=0.0625,classes=10,image=32", 1, &b));
    test_ok(ctx, kd_model_create(ctx, small, 2, &c));
    const kd_param_info *i = kd_params_find(kd_model_params(a), "features.0.weight");
    const float *x = kd_params_values(kd_model_params(a)) + i->offset;
    const float *y = kd_params_values(kd_model_params(b)) +
                     kd_params_find(kd_model_params(b), "features.0.weight")->offset;
    const float *z = kd_params_values(kd_model_params(c)) + i->offset;
    ck_assert_mem_eq(x, y, i->count * sizeof(float));
    ck_assert_mem_ne(x, z, i->count * sizeof(float));
    kd_model_destroy(a);
    kd_model_destroy(b);
    kd_model_destroy(c);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Every n-th allocation fails: a status, nothing leaked, the context still usable. */
START_TEST(test_allocation_failures)
{
    char path[512];
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    float picture[32 * 32 * 3] = {0}, logits[10];
    kd_model *m;
    snprintf(path, sizeof path, "%s/alloc.safetensors", test_dir());
    test_ok(ctx, kd_model_create(ctx, small, 1, &m));
    test_ok(ctx, kd_model_save(m, path));
    kd_model_destroy(m);
    const long live = heap.live;
    for (long n = 1;; n++) {
        heap.count = 0;
        heap.fail_at = n;
        kd_status status = kd_model_load(ctx, path, NULL, &m);
        if (!status) {
            status = kd_model_predict(m, picture, 1, 1, logits);
            kd_model_destroy(m);
        }
        heap.fail_at = 0;
        ck_assert_msg(heap.live == live, "allocation %ld failed and something leaked", n);
        if (!status) break;
        ck_assert_msg(status == KD_E_NOMEM, "allocation %ld: %s", n, kd_status_name(status));
        ck_assert_int_lt(n, 5000);
    }
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

TEST_SUITE(model, 60, &test_spec_complete, &test_spec_errors, &test_published_sizes, &test_stages,
           &test_sizes_grow, &test_names, &test_save_and_load, &test_save_half, &test_hostile_spec,
           &test_seeds, &test_allocation_failures)
