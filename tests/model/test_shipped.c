/* SPDX-License-Identifier: MIT
 * test_shipped.c: the trained networks of examples/models: each gives, on every kernel table, the
 * logits that timm gives with its weights. */
#include "golden.h"

#include "../../lib/kernel/kernels.h"

#include <kd/edge.h>

#include <glob.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE * 3, CLASSES = 10 };

static const struct shipped {
    const char *path;
    float logits[CLASSES];
} shipped[] = {
    {"examples/models/vit-cifar10.safetensors",
     {6.8226027F, -4.1239061F, 2.6193590F, -3.0202236F, 3.7240429F, -3.9329577F, -.2077727F,
      -4.1892271F, .3092722F, -1.8994234F}},
    {"examples/models/small-vit-cifar10.safetensors",
     {1.7464464F, -2.1162190F, -1.5432486F, -1.6636701F, -.2957745F, -4.7679464F, .1266683F,
      -4.9489864F, 6.6534722F, .0815962F}},
};
enum { SHIPPED = sizeof shipped / sizeof *shipped };

static void check_on(const char *isa)
{
    float x[PIXELS], logits[CLASSES];
    kd_ctx *ctx = test_ctx(2, isa);
    for (int i = 0; i < PIXELS; i++) x[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int i = 0; i < SHIPPED; i++) {
        kd_model *model;
        test_ok(ctx, kd_model_load(ctx, shipped[i].path, NULL, &model));
        ck_assert_uint_eq(kd_model_image(model), SIDE);
        ck_assert_uint_eq(kd_model_classes(model), CLASSES);
        test_ok(ctx, kd_model_predict(model, x, 1, 0, logits));
        const double far = test_distance(logits, shipped[i].logits, CLASSES);
        ck_assert_msg(far < 2e-5, "%s on %s: %g", shipped[i].path, isa, far);
        kd_model_destroy(model);
    }
    kd_ctx_destroy(ctx);
}

START_TEST(test_logits)
{
    const kdi_kernels *table;
    for (int i = 0; (table = kdi_kernels_at(i)); i++) check_on(table->name);
}
END_TEST

/* Networks for boards: this machine computes what the exporter did, in the memory that was promised. */
static void check_blob(kd_ctx *ctx, const char *path)
{
    enum { MOST_BYTES = 300000, MOST_ARENA = 65536 - 1024 };
    kd_edge_model model;
    char *text;
    size_t size;
    test_ok(ctx, kd_file_read_all(ctx, path, MOST_BYTES, &text, &size));
    uint8_t *blob = aligned_alloc(16, (size + 15) & ~(size_t)15);
    memcpy(blob, text, size);
    kd_ctx_free(ctx, text);
    ck_assert_msg(kd_edge_open(&model, blob, size, kd_edge_ops_i8) == KD_EDGE_OK, "%s", path);
    ck_assert_uint_eq(model.classes, CLASSES);
    ck_assert_uint_eq(model.input_bytes, PIXELS);
    ck_assert_uint_le(model.arena_bytes, MOST_ARENA);
    for (uint32_t i = 0; i < CLASSES; i++) ck_assert_ptr_nonnull(kd_edge_label(&model, i));
    uint8_t *arena = aligned_alloc(16, (model.arena_bytes + 15) & ~15u);
    ck_assert_msg(kd_edge_selftest(&model, arena, model.arena_bytes) == KD_EDGE_OK, "%s", path);
    free(arena);
    free(blob);
}

START_TEST(test_blobs)
{
    glob_t found;
    kd_ctx *ctx = test_ctx(1, NULL);
    if (!glob("examples/models/*.kde", 0, NULL, &found)) {
        for (size_t i = 0; i < found.gl_pathc; i++) check_blob(ctx, found.gl_pathv[i]);
        globfree(&found);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(shipped, 60, &test_logits, &test_blobs)
