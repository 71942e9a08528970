/* SPDX-License-Identifier: MIT
 * test_foreign.c: networks as others leave them: VGG's heads in torchvision's and timm's files,
 * names behind the prefix of a wrapper, counters of other types, weights of eight bits. Each file is
 * made of a network of ours; what is read from it must be that network. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *file_path(void)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/foreign.safetensors", test_dir());
    return path;
}

static void expect_error(kd_ctx *ctx, const char *says)
{
    ck_assert_msg(strstr(kd_ctx_error(ctx), says) != NULL, "no '%s' in: %s", says,
                  kd_ctx_error(ctx));
}

/* How an entry goes into the file: changes its name [300] and shape; false: it is left out. */
typedef bool (*change_fn)(const kd_param_info *info, char *name, kd_shape *shape, kd_dtype *dtype);

/* The file of a network without metadata, and `more`, a number, where it is given. */
static void write_changed(kd_model *m, change_fn change, const char *more)
{
    kd_writer *w;
    const kd_params *p = kd_model_params(m);
    const size_t n = kd_params_entries(p);
    void **arrays = calloc(n, sizeof *arrays);
    const int64_t seven = 7;
    ck_assert_ptr_nonnull(arrays);
    test_ok(kd_model_ctx(m), kd_writer_create(kd_model_ctx(m), file_path(), &w));
    for (size_t i = 0; i < n; i++) {
        const kd_param_info *info = kd_params_info(p, i);
        char name[300];
        kd_shape shape = info->file_shape;
        kd_dtype dtype = info->dtype;
        snprintf(name, sizeof name, "%s", info->name);
        if (!change(info, name, &shape, &dtype)) continue;
        arrays[i] = calloc(info->count, 8);
        test_ok(kd_model_ctx(m), kd_params_get(p, info, 0, arrays[i]));
        if (dtype != info->dtype && dtype == KD_F64) *(double *)arrays[i] = 3;
        if (dtype != info->dtype && (dtype == KD_F32 || dtype == KD_F16)) *(float *)arrays[i] = 3;
        kd_writer_tensor(w, name, dtype, shape.rank, shape.dim, arrays[i]);
    }
    if (more) kd_writer_tensor(w, more, KD_I64, 0, NULL, &seven);
    test_ok(kd_model_ctx(m), kd_writer_finish(w));
    for (size_t i = 0; i < n; i++) free(arrays[i]);
    free(arrays);
}

static void expect_same(kd_ctx *ctx, kd_model *m, const char *spec)
{
    kd_model *again;
    test_ok(ctx, kd_model_load(ctx, file_path(), spec, &again));
    ck_assert_str_eq(kd_model_spec(again), kd_model_spec(m));
    const kd_params *p = kd_model_params(m);
    ck_assert_mem_eq(kd_params_values(kd_model_params(m)), kd_params_values(kd_model_params(again)),
                     kd_params_flat_count(p) * sizeof(float));
    kd_model_destroy(again);
}

static bool as_it_is(const kd_param_info *info, char *name, kd_shape *shape, kd_dtype *dtype)
{
    (void)info, (void)name, (void)shape, (void)dtype;
    return true;
}

/* ---- VGG's heads ----------------------------------------------------------------------------- */

static bool timm(const kd_param_info *info, char *name, kd_shape *shape, kd_dtype *dtype)
{
    static const struct {
        const char *ours, *theirs;
    } heads[] = {{"classifier.0.", "pre_logits.fc1."},
                 {"classifier.3.", "pre_logits.fc2."},
                 {"classifier.6.", "head.fc."}};
    (void)dtype;
    for (size_t i = 0; i < 3; i++) {
        if (strncmp(info->name, heads[i].ours, 13)) continue;
        snprintf(name, 300, "%s%s", heads[i].theirs, info->name + 13);
        const int64_t side = i == 0 ? 7 : 1;
        if (i < 2 && shape->rank == 2)
            *shape = (kd_shape){.rank = 4,
                                .dim = {shape->dim[0], shape->dim[1] / (side * side), side, side}};
    }
    return true;
}

/* The file's tensors say what head it is where the spec does not; the width of the dense layers
 * need not be the spec's, as it was not before width scaled them. */
START_TEST(test_heads)
{
    static const struct {
        const char *holds, *spec;
    } cases[] = {
        {"vgg2,width=0.0625,classes=3,image=16,head=fc4096",
         "vgg2,width=0.0625,classes=3,image=16"},
        {"vgg2_bn,width=0.03125,classes=3,image=224,head=fc4096",
         "vgg2_bn,width=0.03125,classes=3"},
        {"vgg2,width=0.0625,classes=3,image=16,head=fc4096,dense=40",
         "vgg2,width=0.0625,classes=3,image=16"},
        {"vgg2,width=0.0625,classes=3,image=16,head=fc4096,dense=40",
         "vgg2,classes=3,image=16,channels=3,head=fc4096,width=0.0625,pool4=1"},
        {"vgg2,width=0.0625,classes=3,image=224", "vgg2,width=0.0625,classes=3"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_model *m;
        test_ok(ctx, kd_model_create(ctx, cases[i].holds, 5, &m));
        write_changed(m, as_it_is, NULL);
        expect_same(ctx, m, cases[i].spec);
        if (strstr(cases[i].holds, "fc4096")) {
            write_changed(m, timm, NULL);
            expect_same(ctx, m, cases[i].spec);
        }
        kd_model_destroy(m);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Another head than the file's: the error names it; asked for as a change it begins anew. */
START_TEST(test_other_head)
{
    static const char dense[] = "vgg2,width=0.0625,classes=3,image=16,head=fc4096",
                      gap[] = "vgg2,width=0.0625,classes=3,image=16,head=gap";
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *a, *b;
    kd_load_opt opt = {.struct_size = sizeof opt, .change = "head=gap"};
    test_ok(ctx, kd_model_create(ctx, dense, 5, &a));
    test_ok(ctx, kd_model_save(a, file_path()));
    ck_assert_int_eq(kd_model_load(ctx, file_path(), gap, &b), KD_E_MISMATCH);
    expect_error(ctx, "the file's tensors are those of head=fc4096, the spec says head=gap");
    test_ok(ctx, kd_model_load_as(ctx, file_path(), &opt, &b));
    ck_assert_ptr_nonnull(strstr(kd_model_spec(b), "head=gap"));
    ck_assert(!kd_model_head_kept(b));
    const kd_params *p = kd_model_params(a), *q = kd_model_params(b);
    const kd_param_info *first = kd_params_find(p, "features.0.weight");
    ck_assert_mem_eq(kd_params_values(kd_model_params(a)) + first->offset,
                     kd_params_values(kd_model_params(b)) +
                         kd_params_find(q, "features.0.weight")->offset,
                     first->count * sizeof(float));
    kd_model_destroy(a);
    test_ok(ctx, kd_model_save(b, file_path()));
    kd_model_destroy(b);
    ck_assert_int_eq(kd_model_load(ctx, file_path(), dense, &b), KD_E_MISMATCH);
    expect_error(ctx, "the file's tensors are those of head=gap, the spec says head=fc4096");
    opt.change = "head=fc4096,image=32";
    test_ok(ctx, kd_model_load_as(ctx, file_path(), &opt, &b));
    ck_assert(!kd_model_head_kept(b));
    kd_model_destroy(b);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- prefixes -------------------------------------------------------------------------------- */

static const char *prefix;

static bool prefixed(const kd_param_info *info, char *name, kd_shape *shape, kd_dtype *dtype)
{
    (void)shape, (void)dtype;
    snprintf(name, 300, "%s%s", prefix, info->name);
    return true;
}

static bool prefixed_timm(const kd_param_info *info, char *name, kd_shape *shape, kd_dtype *dtype)
{
    char theirs[300];
    timm(info, theirs, shape, dtype);
    if (strncmp(info->name, "classifier.", 11)) snprintf(theirs, sizeof theirs, "%s", info->name);
    return snprintf(name, 300, "%s%.200s", prefix, theirs) > 0;
}

static void keep_log(void *user, kd_log_level level, const char *text)
{
    if (level >= KD_LOG_INFO) snprintf(user, 300, "%s", text);
}

START_TEST(test_prefixes)
{
    static const char *const prefixes[] = {"module.",           "_orig_mod.", "model.",
                                           "module._orig_mod.", "backbone.",  "model.student.net."};
    static const char *const specs[] = {
        "vgg2_bn,width=0.0625,classes=3,image=8",
        "vit_small_patch16_224,image=8,patch=4,dim=6,depth=1,heads=2,classes=3"};
    char said[300] = "";
    const kd_config config = {
        .struct_size = sizeof config, .threads = 1, .log = keep_log, .log_user = said};
    kd_ctx *ctx;
    kd_model *m;
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    for (size_t s = 0; s < 2; s++) {
        test_ok(ctx, kd_model_create(ctx, specs[s], 5, &m));
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
            prefix = prefixes[i];
            write_changed(m, prefixed, i % 2 ? "n_averaged" : NULL);
            said[0] = 0;
            expect_same(ctx, m, specs[s]);
            ck_assert_ptr_nonnull(strstr(said, prefix));
        }
        kd_model_destroy(m);
    }
    test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.0625,classes=3,image=8,head=fc4096", 5, &m));
    write_changed(m, prefixed_timm, NULL);
    expect_same(ctx, m, "vgg2,width=0.0625,classes=3,image=8");
    kd_model_destroy(m);
    /* What doesn't fit without it either is said by its name without it. */
    test_ok(ctx, kd_model_create(ctx, specs[0], 5, &m));
    write_changed(m, prefixed, "model.student.net.more");
    kd_model *again;
    ck_assert_int_eq(kd_model_load(ctx, file_path(), specs[0], &again), KD_E_MISMATCH);
    expect_error(ctx, "unexpected 'more'");
    ck_assert_ptr_null(strstr(kd_ctx_error(ctx), "missing"));
    /* On some names alone: nothing is taken off. */
    write_changed(m, prefixed, "more");
    ck_assert_int_eq(kd_model_load(ctx, file_path(), specs[0], &again), KD_E_MISMATCH);
    expect_error(ctx, "missing 'features.0.weight'");
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- counters and types ---------------------------------------------------------------------- */

static kd_dtype counter_type;
static kd_shape counter_shape;
static bool counter_gone;

static bool counters(const kd_param_info *info, char *name, kd_shape *shape, kd_dtype *dtype)
{
    (void)name;
    if (info->dtype != KD_I64) return true;
    *dtype = counter_type;
    *shape = counter_shape;
    return !counter_gone;
}

START_TEST(test_counters)
{
    static const kd_dtype types[] = {KD_I64, KD_F32, KD_F16, KD_F64, KD_I32,
                                     KD_I16, KD_I8,  KD_U8,  KD_U64, KD_BOOL};
    static const char spec[] = "vgg2_bn,width=0.0625,classes=3,image=8";
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m, *again;
    const int64_t three = 3, max = INT64_MAX;
    test_ok(ctx, kd_model_create(ctx, spec, 5, &m));
    const kd_param_info *info =
        kd_params_find(kd_model_params(m), "features.1.num_batches_tracked");
    test_ok(ctx, kd_params_set(kd_model_params(m), info, &three));
    for (size_t i = 0; i < 2 * sizeof types / sizeof *types; i++) {
        int64_t counter = 9;
        counter_type = types[i / 2];
        counter_shape = (kd_shape){.rank = (int)(i % 2), .dim = {1}};
        write_changed(m, counters, NULL);
        test_ok(ctx, kd_model_load(ctx, file_path(), spec, &again));
        test_ok(ctx, kd_params_get(kd_model_params(again), info, 0, &counter));
        ck_assert_int_eq(counter, counter_type == KD_BOOL ? 1 : 3);
        kd_model_destroy(again);
    }
    counter_gone = true;
    write_changed(m, counters, NULL);
    expect_same(ctx, m, spec);
    counter_gone = false;
    /* A number that none can be: it is none. */
    test_ok(ctx, kd_params_set(kd_model_params(m), info, &max));
    counter_type = KD_U64;
    write_changed(m, counters, NULL);
    expect_same(ctx, m, spec);
    counter_shape = (kd_shape){.rank = 2, .dim = {1, 1}};
    write_changed(m, counters, NULL);
    ck_assert_int_eq(kd_model_load(ctx, file_path(), spec, &again), KD_E_MISMATCH);
    expect_error(ctx, "num_batches_tracked");
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static bool float8(const kd_param_info *info, char *name, kd_shape *shape, kd_dtype *dtype)
{
    (void)name, (void)shape;
    if (!info->buffer) *dtype = KD_F8_E4M3;
    return true;
}

START_TEST(test_refused)
{
    static const char spec[] = "vgg8_bn,width=0.25,classes=3,image=32";
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m, *again;
    test_ok(ctx, kd_model_create(ctx, spec, 5, &m));
    write_changed(m, float8, NULL);
    ck_assert_int_eq(kd_model_load(ctx, file_path(), spec, &again), KD_E_UNSUPPORTED);
    expect_error(ctx, "is float8 (f8_e4m3)");
    write_changed(m, as_it_is, NULL);
    ck_assert_int_eq(kd_model_load(ctx, file_path(), NULL, &again), KD_E_FORMAT);
    expect_error(ctx, "a spec is needed");
    ck_assert_ptr_null(strstr(kd_ctx_error(ctx), "--"));
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(foreign, 60, &test_heads, &test_other_head, &test_prefixes, &test_counters,
           &test_refused)
