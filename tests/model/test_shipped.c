/* SPDX-License-Identifier: MIT
 * test_shipped.c: the trained networks of examples/models: each gives, on every kernel table, the
 * logits that timm gives with its weights. */
#include "golden.h"

#include "../../lib/kernel/kernels.h"

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

TEST_SUITE(shipped, 60, &test_logits)
