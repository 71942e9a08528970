/* SPDX-License-Identifier: MIT
 * foreign.c: a program whose own functions have names that begin with kd_. They are those of the
 * widespread k-d tree library (kd_create, kd_free, ...). With -DOURS they are some of libkd's own,
 * which a shared library would let it replace. libkd must never call them: the program uses it from
 * end to end, and answers 0 if all went well and nobody came here. tests/consumer/foreign.sh links
 * and runs it. */
#include <kd/kd.h>

#include <stdio.h>
#include <string.h>

static const char *called; /* the last foreign function that was called */

#define FOREIGN(type, name, parameters, result)                                                    \
    type name parameters;                                                                          \
    type name parameters                                                                           \
    {                                                                                              \
        called = #name;                                                                            \
        return result;                                                                             \
    }

#ifndef OURS
struct kdtree;
struct kdres;
FOREIGN(struct kdtree *, kd_create, (int dimensions), dimensions ? NULL : NULL)
FOREIGN(void *, kd_alloc, (size_t size), size ? NULL : NULL)
FOREIGN(int, kd_insert, (struct kdtree * t, const double *p, void *data), t || p || data)
FOREIGN(int, kd_insertf, (struct kdtree * t, const float *p, void *data), t || p || data)
FOREIGN(struct kdres *, kd_nearest, (struct kdtree * t, const double *p), t || p ? NULL : NULL)
FOREIGN(int, kd_res_size, (struct kdres * r), r != NULL)
FOREIGN(int, kd_res_end, (struct kdres * r), r != NULL)
FOREIGN(int, kd_res_next, (struct kdres * r), r != NULL)
FOREIGN(void *, kd_res_item_data, (struct kdres * r), r)
FOREIGN(void, kd_free, (struct kdtree * t), (void)t)
FOREIGN(void, kd_clear, (struct kdtree * t), (void)t)
FOREIGN(void, kd_res_free, (struct kdres * r), (void)r)
FOREIGN(void, kd_res_rewind, (struct kdres * r), (void)r)
#else
/* As the headers declare them; this program itself calls none. */
FOREIGN(void *, kd_ctx_alloc, (kd_ctx * ctx, size_t n, size_t size), ctx &&n &&size ? NULL : NULL)
FOREIGN(void, kd_ctx_free, (kd_ctx * ctx, void *block), (void)(ctx &&block))
FOREIGN(void, kd_parallel_for, (kd_ctx * ctx, size_t n, kd_task_fn f, void *arg),
        (void)(ctx &&n &&f &&arg))
FOREIGN(kd_value, kd_relu, (kd_graph * g, kd_value x), g ? x : KD_NONE)
FOREIGN(kd_value, kd_add, (kd_graph * g, kd_value a, kd_value b), g &&a ? b : KD_NONE)
FOREIGN(kd_status, kd_exec_run, (kd_exec * exec, const kd_run_opt *opt),
        exec &&opt ? KD_OK : KD_E_INVALID)
FOREIGN(void, kd_params_touch, (kd_params * params), (void)params)
FOREIGN(const char *, kd_status_name, (kd_status status), status ? "" : "KD")
#endif

enum { PICTURES = 32, SIDE = 8, CLASSES = 2 };

static kd_status use(kd_ctx *ctx)
{
    static uint8_t pixels[PICTURES * SIDE * SIDE];
    static int32_t labels[PICTURES];
    static float picture[SIDE * SIDE], logits[CLASSES];
    kd_dataset *data = NULL;
    kd_model *model = NULL;
    for (int i = 0; i < PICTURES; i++) {
        labels[i] = i % CLASSES;
        memset(pixels + i * SIDE * SIDE, labels[i] ? 200 : 50, SIDE * SIDE);
    }
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = CLASSES,
                               .height = SIDE,
                               .width = SIDE,
                               .channels = 1,
                               .count = {[KD_SPLIT_TRAIN] = PICTURES, [KD_SPLIT_TEST] = PICTURES}};
    const uint8_t *const images[KD_SPLIT_COUNT] = {pixels, pixels};
    const int32_t *const answers[KD_SPLIT_COUNT] = {labels, labels};
    const kd_train_opt opt = {
        .struct_size = sizeof opt, .epochs = 2, .batch = 8, .augment = "none"};
    kd_status status = kd_dataset_from_arrays(ctx, &info, images, answers, 0, &data);
    if (!status)
        status =
            kd_model_create(ctx, "vgg2_bn,width=0.125,classes=2,image=8,channels=1", 1, &model);
    if (!status) status = kd_train(model, data, &opt, NULL);
    if (!status) status = kd_model_predict(model, picture, 1, 0, logits);
    kd_model_destroy(model);
    kd_dataset_close(data);
    return status;
}

int main(void)
{
    const kd_config config = {.struct_size = sizeof config, .threads = 2};
    kd_ctx *ctx = NULL;
    kd_status status = kd_ctx_create(&config, &ctx);
    if (!status) status = use(ctx);
    const size_t left = ctx ? kd_ctx_memory(ctx) : 0;
    if (status) fprintf(stderr, "foreign: %s\n", kd_ctx_error(ctx));
    if (left) fprintf(stderr, "foreign: %zu bytes are still held\n", left);
    if (called) fprintf(stderr, "foreign: the library called the program's %s\n", called);
    kd_ctx_destroy(ctx);
    return status || left || called;
}
