/* SPDX-License-Identifier: MIT
 * test_about.c: what a model knows beside its weights, and that it travels in its file; the sum
 * that tells networks apart; classes by name, and what becomes of a head in a new task. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char spec[] = "vgg2_bn,width=0.0625,classes=3,image=8";
static const char *const abc[] = {"ant", "bee", "cat"};

static const char *file_path(void)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/about.safetensors", test_dir());
    return path;
}

static void expect_error(kd_ctx *ctx, const char *says)
{
    ck_assert_msg(strstr(kd_ctx_error(ctx), says) != NULL, "no '%s' in: %s", says,
                  kd_ctx_error(ctx));
}

/* ---- what travels ---------------------------------------------------------------------------- */

static void expect_known(const kd_model *m, const char *const *names)
{
    uint64_t checksum = 0;
    for (size_t i = 0; i < 3; i++) ck_assert_str_eq(kd_model_class_names(m)[i], names[i]);
    ck_assert_str_eq(kd_model_data(m, &checksum), "folder:pets");
    ck_assert(checksum == 0xFEDCBA9876543210u);
    ck_assert_str_eq(kd_model_framing(m), "centre:0.875+bicubic");
}

START_TEST(test_travels)
{
    static const char *const names[] = {"\"a\\b\"\n", "gr\xC3\xBC\xC3\x9F", ""};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *a, *b;
    const float half[] = {.5f, .5f, .5f};
    test_ok(ctx, kd_model_create(ctx, spec, 1, &a));
    ck_assert_ptr_null(kd_model_class_names(a));
    ck_assert_ptr_null(kd_model_data(a, NULL));
    ck_assert_ptr_null(kd_model_framing(a));
    test_ok(ctx, kd_model_set_class_names(a, abc));
    test_ok(ctx, kd_model_set_class_names(a, names));
    test_ok(ctx, kd_model_set_data(a, "other", 1));
    test_ok(ctx, kd_model_set_data(a, "folder:pets", 0xFEDCBA9876543210u));
    test_ok(ctx, kd_model_set_framing(a, "centre:0.875+bicubic"));
    test_ok(ctx, kd_model_set_normalization(a, half, half));
    test_ok(ctx, kd_model_save(a, file_path()));
    kd_model_destroy(a);
    test_ok(ctx, kd_model_load(ctx, file_path(), NULL, &a));
    expect_known(a, names);
    test_ok(ctx, kd_model_save_as(a, file_path(), KD_F16));
    const kd_load_opt larger = {.struct_size = sizeof larger, .change = "image=16"};
    test_ok(ctx, kd_model_load_as(ctx, file_path(), &larger, &b));
    expect_known(b, names);
    ck_assert(kd_model_head_kept(b));
    kd_model_destroy(b);
    const kd_load_opt more = {.struct_size = sizeof more, .change = "classes=4"};
    test_ok(ctx, kd_model_load_as(ctx, file_path(), &more, &b));
    ck_assert(!kd_model_head_kept(b));
    ck_assert_ptr_null(kd_model_class_names(b));
    ck_assert_ptr_null(kd_model_data(b, NULL));
    ck_assert_str_eq(kd_model_framing(b), "centre:0.875+bicubic");
    ck_assert_mem_eq(kd_model_mean(b), half, sizeof half);
    kd_model_destroy(b);
    test_ok(ctx, kd_model_set_class_names(a, NULL));
    test_ok(ctx, kd_model_set_data(a, NULL, 0));
    test_ok(ctx, kd_model_set_framing(a, NULL));
    test_ok(ctx, kd_model_save(a, file_path()));
    test_ok(ctx, kd_model_load(ctx, file_path(), NULL, &b));
    ck_assert(!kd_model_class_names(b) && !kd_model_data(b, NULL) && !kd_model_framing(b));
    kd_model_destroy(a);
    kd_model_destroy(b);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* To memory and back; the bytes are those of the file. */
START_TEST(test_memory)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *a, *b;
    kd_writer *w;
    kd_file *f;
    char *file;
    void *bytes;
    size_t size, file_size;
    uint64_t x, y;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &a));
    test_ok(ctx, kd_model_set_class_names(a, abc));
    test_ok(ctx, kd_model_save_as(a, file_path(), KD_F16));
    test_ok(ctx, kd_writer_create_memory(ctx, &w));
    kd_writer_metadata(w, "format", "pt");
    kd_model_write_metadata(a, w);
    kd_params_write(kd_model_params(a), w, "", KD_F16);
    test_ok(ctx, kd_writer_finish_memory(w, &bytes, &size));
    test_ok(ctx, kd_file_read_all(ctx, file_path(), 1 << 20, &file, &file_size));
    ck_assert_uint_eq(size, file_size);
    ck_assert_mem_eq(bytes, file, size);
    kd_model_destroy(a);
    test_ok(ctx, kd_file_from_memory(ctx, bytes, size, "mine", &f));
    test_ok(ctx, kd_model_load_file(ctx, f, NULL, &a));
    test_ok(ctx, kd_model_load_file(ctx, f, NULL, &b));
    kd_file_close(f);
    memset(bytes, 0, size);
    kd_ctx_free(ctx, bytes);
    kd_ctx_free(ctx, file);
    ck_assert_str_eq(kd_model_class_names(a)[2], "cat");
    test_ok(ctx, kd_model_hash(a, &x));
    test_ok(ctx, kd_model_hash(b, &y));
    ck_assert(x == y);
    kd_model_destroy(b);
    /* Each writer has its own end. */
    test_ok(ctx, kd_writer_create_memory(ctx, &w));
    ck_assert_int_eq(kd_writer_finish(w), KD_E_INVALID);
    test_ok(ctx, kd_writer_create(ctx, file_path(), &w));
    ck_assert_int_eq(kd_writer_finish_memory(w, &bytes, &size), KD_E_INVALID);
    ck_assert(!bytes && size == 0);
    test_ok(ctx, kd_writer_create_memory(ctx, &w));
    ck_assert_int_eq(kd_params_write(kd_model_params(a), w, "", KD_I64), KD_E_INVALID);
    ck_assert_int_eq(kd_writer_finish_memory(w, &bytes, &size), KD_E_INVALID);
    expect_error(ctx, "f32, f16 or bf16, not i64");
    kd_model_destroy(a);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_setting)
{
    static const char *const refused[] = {"",
                                          "crop",
                                          "centre+flip",
                                          "mixup:0.2",
                                          "centre+",
                                          "rrc",
                                          "none,centre",
                                          "centre:a",
                                          "+centre",
                                          "centre:0.5 ",
                                          "erase",
                                          "auto",
                                          "altflip+none",
                                          "centre:2",
                                          "centre:0.09",
                                          "centre:1.000001",
                                          "centre:",
                                          "centre:.5",
                                          "centre:0.5.5",
                                          "centre:0.1234567",
                                          "centre:1.",
                                          "centre+centre",
                                          "bicubic:3",
                                          "bilinear+bicubic",
                                          "none+centre",
                                          "bicubic+none",
                                          "centre+imagenet-eval",
                                          "imagenet-eval+centre",
                                          "imagenet-eval:0.5",
                                          "centre:5000000000"};
    static const char *const taken[] = {"centre",
                                        "centre:0.1",
                                        "centre:1",
                                        "centre=1.000000",
                                        "bicubic",
                                        "centre:0.875+bicubic+exact",
                                        "imagenet-eval+bilinear",
                                        "none"};
    const char *const bytes[] = {"a\xFF\xC3z", "\xE2\x82", "plain"};
    const char *const hole[] = {"a", NULL, "c"};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    char text[80];
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_set_framing(m, "none"));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        ck_assert_msg(kd_model_set_framing(m, refused[i]) == KD_E_INVALID, "%s", refused[i]);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        test_ok(ctx, kd_model_set_framing(m, taken[i]));
    memset(text, '1', sizeof text);
    memcpy(text, "centre:", 7);
    text[79] = 0;
    ck_assert_int_eq(kd_model_set_framing(m, text), KD_E_INVALID);
    ck_assert_str_eq(kd_model_framing(m), "none");
    ck_assert_int_eq(kd_model_set_class_names(m, hole), KD_E_INVALID);
    ck_assert_ptr_null(kd_model_class_names(m));
    /* What isn't UTF-8 is replaced, here as in a file. */
    test_ok(ctx, kd_model_set_class_names(m, bytes));
    ck_assert_str_eq(kd_model_class_names(m)[0], "a\xEF\xBF\xBD\xEF\xBF\xBDz");
    ck_assert_str_eq(kd_model_class_names(m)[1], "\xEF\xBF\xBD\xEF\xBF\xBD");
    int32_t map[3];
    kd_class_match match;
    test_ok(ctx, kd_classes_match(ctx, kd_model_class_names(m), 3, bytes, 3, map, &match));
    ck_assert_int_eq(match, KD_CLASSES_SAME);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The file of a network with this besides. */
static void save_with(kd_ctx *ctx, const char *key, const char *value)
{
    kd_model *m;
    kd_writer *w;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_writer_create(ctx, file_path(), &w));
    kd_model_write_metadata(m, w);
    kd_writer_metadata(w, key, value);
    kd_params_write(kd_model_params(m), w, NULL, KD_F32);
    test_ok(ctx, kd_writer_finish(w));
    kd_model_destroy(m);
}

START_TEST(test_hostile)
{
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"libkd.classes", ""},
        {"libkd.classes", "[\"a\",\"b\"]"},
        {"libkd.classes", "[\"a\",\"b\",\"c\",\"d\"]"},
        {"libkd.classes", "[\"a\",\"b\",3]"},
        {"libkd.classes", "[\"a\",\"b\",[\"c\"]]"},
        {"libkd.classes", "[\"a\",[\"b\",\"c\"]]"},
        {"libkd.classes", "{\"a\":\"b\"}"},
        {"libkd.classes", "[\"a\",\"b\",\"c\""},
        {"libkd.classes", "[\"a\",\"b\",\"c\"]]"},
        {"libkd.classes", "a,b,c"},
        {"libkd.data", "cifar-10"}, /* without its checksum */
        {"libkd.framing", "mixup"},
        {"libkd.framing", ""},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        save_with(ctx, cases[i].key, cases[i].value);
        ck_assert_msg(kd_model_load(ctx, file_path(), NULL, &m) == KD_E_FORMAT, "%s",
                      cases[i].value);
        ck_assert_ptr_null(m);
        expect_error(ctx, cases[i].key);
    }
    /* A spec of the caller's own makes other names none of its business. */
    save_with(ctx, "libkd.classes", "[\"a\",\"b\"]");
    test_ok(ctx, kd_model_load(ctx, file_path(), spec, &m));
    ck_assert_ptr_null(kd_model_class_names(m));
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- the sum and finite numbers -------------------------------------------------------------- */

static void feed(uint64_t *h, const void *bytes, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        const unsigned char *p = (const unsigned char *)bytes + 4 * i;
        const uint64_t word =
            p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
        *h = (*h ^ word) * 1099511628211u;
    }
}

/* As docs/formats.md has it. */
static uint64_t sum_of(const kd_params *p)
{
    static union {
        float x[8192];
        int64_t n[8192];
    } room;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        const uint32_t head[] = {(uint32_t)info->dtype, (uint32_t)info->file_shape.rank};
        for (const char *c = info->name; *c; c++) {
            const uint32_t word = (unsigned char)*c;
            feed(&h, &word, 1);
        }
        feed(&h, head, 2);
        feed(&h, info->file_shape.dim, 2 * (size_t)info->file_shape.rank);
        ck_assert_int_eq(kd_params_get(p, info, 0, &room), KD_OK);
        feed(&h, &room, info->count * (info->dtype == KD_I64 ? 2 : 1));
    }
    return h;
}

START_TEST(test_hash)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *a, *b;
    uint64_t x, y;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &a));
    test_ok(ctx, kd_model_hash(a, &x));
    ck_assert(x == sum_of(kd_model_params(a)));
    test_ok(ctx, kd_model_save(a, file_path()));
    test_ok(ctx, kd_model_load(ctx, file_path(), NULL, &b));
    test_ok(ctx, kd_model_hash(b, &y));
    ck_assert(x == y);
    /* Every entry counts: weights, running statistics, counters. */
    kd_params *p = kd_model_params(b);
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        char *bytes = info->buffer ? (char *)kd_params_buffers(p) + info->offset
                                   : (char *)(kd_params_values(p) + info->offset);
        bytes[0] ^= 1;
        test_ok(ctx, kd_params_hash(p, &y));
        ck_assert_msg(x != y, "%s", info->name);
        bytes[0] ^= 1;
    }
    kd_model_destroy(b);
    test_ok(ctx, kd_model_create(ctx, spec, 2, &b));
    test_ok(ctx, kd_model_hash(b, &y));
    ck_assert(x != y);
    kd_model_destroy(a);
    kd_model_destroy(b);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_finite)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_check_finite(m));
    kd_params *p = kd_model_params(m);
    const kd_param_info *var = kd_params_find(p, "features.1.running_var");
    float *x = (float *)(void *)((char *)kd_params_buffers(p) + var->offset);
    x[1] = INFINITY;
    ck_assert_int_eq(kd_model_check_finite(m), KD_E_NONFINITE);
    expect_error(ctx, "'features.1.running_var'");
    x[1] = 1;
    kd_params_values(p)[kd_params_find(p, "classifier.bias")->offset + 2] = NAN;
    ck_assert_int_eq(kd_model_check_finite(m), KD_E_NONFINITE);
    expect_error(ctx, "'classifier.bias'");
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- views ----------------------------------------------------------------------------------- */

START_TEST(test_view)
{
    const float mean[] = {.1f, .2f, .3f}, std[] = {.4f, .5f, .6f}, half[] = {.5f, .5f, .5f};
    kd_data_info colour = {.struct_size = sizeof colour, .channels = 3, .mean = mean, .std = std};
    kd_data_info grey = {.struct_size = sizeof grey, .channels = 1, .mean = mean, .std = std};
    kd_data_info two = {.struct_size = sizeof two, .channels = 2, .mean = mean, .std = std};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    kd_view v = kd_model_view(m, &colour);
    ck_assert(v.height == 8 && v.width == 8 && v.channels == 3 && v.mean == mean && v.std == std);
    v = kd_model_view(m, &grey); /* the loader repeats grey pictures' one mean */
    ck_assert(v.channels == 3 && !v.mean && !v.std);
    ck_assert_int_eq(kd_model_take_normalization(m, &two), KD_E_SHAPE);
    ck_assert_ptr_null(kd_model_mean(m));
    test_ok(ctx, kd_model_take_normalization(m, &grey));
    for (int i = 0; i < 3; i++)
        ck_assert(kd_model_mean(m)[i] == mean[0] && kd_model_std(m)[i] == std[0]);
    v = kd_model_view(m, &grey);
    ck_assert(v.mean == kd_model_mean(m) && v.std == kd_model_std(m));
    test_ok(ctx, kd_model_set_normalization(m, half, half));
    test_ok(ctx, kd_model_take_normalization(m, &colour)); /* it has one */
    ck_assert_mem_eq(kd_model_mean(m), half, sizeof half);
    v = kd_model_view(m, &colour);
    ck_assert(v.mean == kd_model_mean(m));
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* As a loader does it. */
START_TEST(test_normalize)
{
    static uint8_t pixels[4 * 8 * 8 * 3];
    static float got[4 * 8 * 8 * 3];
    const int32_t labels[4] = {0, 1, 2, 0};
    const float mean[] = {.485f, .456f, .406f}, std[] = {.229f, .224f, .225f};
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = 3,
                               .height = 8,
                               .width = 8,
                               .channels = 3,
                               .count = {0, 4}};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    kd_loader *loader;
    const kd_batch *batch;
    kd_model *m;
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37 + i / 256);
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    ck_assert_int_eq(kd_model_normalize(m, pixels, 4, got), KD_E_INVALID);
    test_ok(ctx, kd_model_set_normalization(m, mean, std));
    test_ok(ctx, kd_model_normalize(m, pixels, 4, got));
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, (const uint8_t *const[]){NULL, pixels},
                                        (const int32_t *const[]){NULL, labels}, 1, &data));
    const kd_view view = kd_model_view(m, kd_dataset_info(data));
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TEST,
                               .batch = 4,
                               .depth = KD_LOADER_SYNC,
                               .n_views = 1,
                               .views = &view};
    test_ok(ctx, kd_loader_create(data, &opt, &loader));
    test_ok(ctx, kd_loader_next(loader, &batch));
    ck_assert_mem_eq(got, batch->views[0], sizeof got);
    kd_loader_close(loader);
    kd_dataset_close(data);
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- classes by name ------------------------------------------------------------------------- */

START_TEST(test_match)
{
    static const struct {
        const char *network[5], *data[5];
        kd_status status;
        kd_class_match match;
        int32_t map[4];
        const char *says;
    } cases[] = {
        {{"a", "b", "c"}, {"a", "b", "c"}, KD_OK, KD_CLASSES_SAME, {0, 1, 2}, NULL},
        {{"a", "b", "c"}, {"c", "a", "b"}, KD_OK, KD_CLASSES_REORDERED, {2, 0, 1}, NULL},
        {{"a", "b", "c"}, {"c"}, KD_OK, KD_CLASSES_SUBSET, {2}, NULL},
        {{"a", "b", "c"}, {"a", "b"}, KD_OK, KD_CLASSES_SUBSET, {0, 1}, NULL},
        {{"a", "b"}, {"a", "d", "e"}, KD_E_MISMATCH, 0, {0}, "2 of the data's 3 classes, 'd'"},
        {{"a", "b"}, {"A", "B"}, KD_E_MISMATCH, 0, {0}, "network's, or not once: a, b"},
        {{"a", "a", "b"}, {"a"}, KD_E_MISMATCH, 0, {0}, "not once"},
        {{"a", "b"}, {"a", "a"}, KD_E_MISMATCH, 0, {0}, "1 of the data's 2"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    int32_t map[5];
    kd_class_match match;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 0, m = 0;
        while (cases[i].network[n]) n++;
        while (cases[i].data[m]) m++;
        ck_assert_int_eq(kd_classes_match(ctx, cases[i].network, n, cases[i].data, m, map, &match),
                         cases[i].status);
        if (cases[i].says) {
            expect_error(ctx, cases[i].says);
        } else {
            ck_assert_int_eq(match, cases[i].match);
            ck_assert_mem_eq(map, cases[i].map, m * sizeof *map);
        }
    }
    test_ok(ctx, kd_classes_match(ctx, abc, 3, NULL, 3, map, &match));
    ck_assert(match == KD_CLASSES_UNNAMED && map[0] == 0 && map[2] == 2);
    ck_assert_int_eq(kd_classes_match(ctx, NULL, 10, abc, 3, map, &match), KD_E_MISMATCH);
    expect_error(ctx, "the network's have no names");
    ck_assert_int_eq(kd_classes_match(ctx, abc, 3, NULL, 2, map, &match), KD_E_MISMATCH);
    expect_error(ctx, "the data's have no names");
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Row i of the head, with its bias. */
static void head_row(const kd_model *model, size_t i, float *row, size_t *n)
{
    union {
        const kd_model *in;
        kd_model *out;
    } m = {.in = model};
    const kd_params *p = kd_model_params(m.out);
    float all[256], bias[8];
    const kd_param_info *weight = kd_params_find(p, "classifier.weight");
    *n = (size_t)weight->file_shape.dim[1];
    ck_assert_int_eq(kd_params_get(p, weight, 0, all), KD_OK);
    ck_assert_int_eq(kd_params_get(p, kd_params_find(p, "classifier.bias"), 0, bias), KD_OK);
    memcpy(row, all + i * *n, *n * sizeof *row);
    row[(*n)++] = bias[i];
}

/* Class i of the new network is class from[i] of the old; -1: new. */
static void check_head(kd_ctx *ctx, const kd_model *old, const kd_load_opt *opt, const int *from,
                       const char *const *names)
{
    kd_model *m;
    bool kept = true;
    test_ok(ctx, kd_model_load_as(ctx, file_path(), opt, &m));
    for (size_t i = 0; i < kd_model_classes(m); i++) {
        float a[64], b[64];
        size_t n;
        kept = kept && from[i] >= 0;
        head_row(m, i, a, &n);
        for (size_t k = 0; k < 3; k++) {
            head_row(old, k, b, &n);
            ck_assert_int_eq(!memcmp(a, b, n * sizeof *a), from[i] == (int)k);
        }
        if (names) ck_assert_str_eq(kd_model_class_names(m)[i], names[i]);
    }
    if (!names) ck_assert_ptr_null(kd_model_class_names(m));
    ck_assert_int_eq(kd_model_head_kept(m), kept);
    kd_model_destroy(m);
}

static void count_logs(void *user, kd_log_level level, const char *text)
{
    (void)text;
    ((int *)user)[level]++;
}

START_TEST(test_heads)
{
    static const char *const cab[] = {"cat", "ant", "bee"}, *const xyz[] = {"x", "y", "z"},
                             *const abd[] = {"ant", "bee", "dog"},
                             *const twice[] = {"ant", "bee", "ant"};
    int logs[4] = {0};
    const kd_config config = {
        .struct_size = sizeof config, .threads = 1, .log = count_logs, .log_user = logs};
    kd_ctx *ctx;
    kd_model *m, *m2;
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    kd_load_opt opt = {.struct_size = sizeof opt, .seed = 5};
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    const float biases[] = {1, 2, 3}; /* rows that can be told apart */
    test_ok(ctx, kd_params_set(kd_model_params(m),
                               kd_params_find(kd_model_params(m), "classifier.bias"), biases));
    test_ok(ctx, kd_model_set_class_names(m, abc));
    test_ok(ctx, kd_model_save(m, file_path()));
    const int same[] = {0, 1, 2}, none[] = {-1, -1, -1, -1}, turned[] = {2, 0, 1};
    check_head(ctx, m, NULL, same, abc);
    ck_assert(!logs[KD_LOG_INFO] && !logs[KD_LOG_WARN]);
    opt.n_class_names = 3;
    opt.class_names = abc;
    check_head(ctx, m, &opt, same, abc);
    opt.class_names = cab;
    check_head(ctx, m, &opt, turned, cab);
    opt.class_names = xyz;
    check_head(ctx, m, &opt, none, xyz);
    opt.class_names = abd;
    check_head(ctx, m, &opt, none, abd);
    ck_assert_int_eq(logs[KD_LOG_INFO], 3);
    opt.n_class_names = 2; /* some of them: another task */
    check_head(ctx, m, &opt, none, abd);
    opt.n_class_names = 3;
    opt.class_names = abc;
    opt.reset_head = 1;
    const int before = logs[KD_LOG_INFO];
    check_head(ctx, m, &opt, none, abc);
    ck_assert_int_eq(logs[KD_LOG_INFO], before + 1);
    opt.class_names = NULL;
    ck_assert_int_eq(kd_model_load_as(ctx, file_path(), &opt, &m2), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "n_class_names is 3"));
    opt.n_class_names = 0;
    opt.reset_head = 0;
    opt.change = "classes=3";
    check_head(ctx, m, &opt, same, abc);
    opt.change = "classes=4";
    check_head(ctx, m, &opt, none, NULL);
    opt.class_names = abc;
    opt.n_class_names = 3;
    ck_assert_int_eq(kd_model_load_as(ctx, file_path(), &opt, &m2), KD_E_INVALID);
    opt.change = "classes=3"; /* the file's number, but not that of the names */
    opt.n_class_names = 2;
    ck_assert_int_eq(kd_model_load_as(ctx, file_path(), &opt, &m2), KD_E_INVALID);
    opt.n_class_names = 3;
    opt.change = NULL;
    opt.class_names = twice;
    ck_assert_int_eq(kd_model_load_as(ctx, file_path(), &opt, &m2), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "'ant'"));
    ck_assert_int_eq(kd_model_set_class_names(m, twice), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "'ant'"));
    ck_assert_str_eq(kd_model_class_names(m)[1], abc[1]);
    /* A file without names. */
    test_ok(ctx, kd_model_set_class_names(m, NULL));
    test_ok(ctx, kd_model_save(m, file_path()));
    opt.class_names = xyz;
    ck_assert_int_eq(logs[KD_LOG_WARN], 0);
    check_head(ctx, m, &opt, same, xyz);
    ck_assert_int_eq(logs[KD_LOG_WARN], 1);
    opt.n_class_names = 2;
    check_head(ctx, m, &opt, none, xyz);
    kd_model *wrong;
    opt.change = "classes=5";
    ck_assert_int_eq(kd_model_load_as(ctx, file_path(), &opt, &wrong), KD_E_INVALID);
    expect_error(ctx, "classes=5, and 2 classes are named");
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A size that was forgotten: no network is built, and the graph, the heads and the error say so. */
START_TEST(test_bad_options)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    kd_graph *g;
    const int64_t dim[] = {KD_BATCH, 8, 8, 3};
    struct {
        kd_build_opt opt;
        size_t more;
    } longer = {.opt = {.struct_size = sizeof longer}, .more = 1};
    kd_value heads[2] = {7, 7};
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_graph_create(ctx, &g));
    longer.opt.heads = heads;
    kd_value x = kd_input(g, "input", KD_F32, 4, dim);
    ck_assert(kd_model_build(m, g, x, &longer.opt) == KD_NONE);
    ck_assert(heads[0] == KD_NONE && heads[1] == KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_UNSUPPORTED);
    expect_error(ctx, "kd_build_opt");
    kd_graph_destroy(g);
    test_ok(ctx, kd_graph_create(ctx, &g));
    x = kd_input(g, "input", KD_F32, 4, dim);
    ck_assert(kd_model_build(m, g, x, &(kd_build_opt){.no_dropout = 1}) == KD_NONE);
    ck_assert_int_eq(kd_graph_status(g), KD_E_INVALID);
    kd_graph_destroy(g);
    /* The input is none: heads are none either. */
    test_ok(ctx, kd_graph_create(ctx, &g));
    heads[0] = heads[1] = 7;
    const kd_build_opt opt = {.struct_size = sizeof opt, .heads = heads};
    ck_assert(kd_model_build(m, g, KD_NONE, &opt) == KD_NONE);
    ck_assert(heads[0] == KD_NONE && heads[1] == KD_NONE);
    kd_graph_destroy(g);
    kd_model *wrong;
    ck_assert_int_eq(kd_model_load_as(ctx, "x", &(kd_load_opt){.seed = 1}, &wrong), KD_E_NOTFOUND);
    test_ok(ctx, kd_model_save(m, file_path()));
    ck_assert_int_eq(kd_model_load_as(ctx, file_path(), &(kd_load_opt){.seed = 1}, &wrong),
                     KD_E_INVALID);
    expect_error(ctx, "kd_load_opt");
    kd_model_destroy(m);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(about, 30, &test_travels, &test_memory, &test_setting, &test_normalize, &test_hostile,
           &test_hash, &test_finite, &test_view, &test_match, &test_heads, &test_bad_options)
