/* SPDX-License-Identifier: MIT
 * test_predictor.c: from the caller's bytes to classes: the logits are those of a loader and
 * kd_model_predict, for any batch and in four threads with one plan; nothing is allocated; rectangular
 * pictures; models through memory and functions. */
#include "golden.h"

#include <kd/kd.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float mean[] = {.4f, .5f, .6f}, deviation[] = {.2f, .25f, .3f};
static const char *const names[] = {"ant", "bee", "cat", "dog", "eel"};

static void refused(kd_ctx *ctx, kd_status got, kd_status want, const char *words)
{
    ck_assert_msg(got == want, "%s: %s", kd_status_name(got), kd_ctx_error(ctx));
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "'%s' lacks '%s'", kd_ctx_error(ctx),
                  words);
}

static kd_model *make_model(kd_ctx *ctx, const char *spec)
{
    kd_model *model;
    test_ok(ctx, kd_model_create(ctx, spec, 3, &model));
    test_ok(ctx, kd_model_set_normalization(model, mean, deviation));
    test_ok(ctx, kd_model_set_class_names(model, names));
    return model;
}

enum { N = 5, CLASSES = 5, H = 60, W = 50, STRIDE = W * 3 + 10 };

/* N pictures of different sizes in one block of memory. */
static void make_pictures(uint8_t *pixels, kd_picture *p)
{
    for (size_t i = 0; i < N * H * STRIDE; i++) pixels[i] = (uint8_t)(i * 13 + i / 97 + i / 4001);
    for (size_t i = 0; i < N; i++)
        p[i] = (kd_picture){pixels + i * H * STRIDE, H * STRIDE, H - 9 * i, W - 4 * i, 3, STRIDE};
}

/* The same by kd_framer_show and kd_model_predict. */
static void by_parts(kd_model *model, const char *framing, const kd_picture *p, size_t n,
                     float *logits)
{
    kd_ctx *ctx = kd_model_ctx(model);
    const kd_framer_opt opt = {
        .struct_size = sizeof opt,
        .view = {kd_model_height(model), kd_model_width(model), 3, mean, deviation},
        .framing = framing};
    const size_t size = opt.view.height * opt.view.width * 3;
    float *x = malloc(n * size * sizeof *x);
    kd_framer *framer;
    test_ok(ctx, kd_framer_create(ctx, &opt, &framer));
    for (size_t i = 0; i < n; i++) test_ok(ctx, kd_framer_show(framer, &p[i], x + i * size));
    test_ok(ctx, kd_model_predict(model, x, n, n, logits));
    kd_framer_destroy(framer);
    free(x);
}

START_TEST(test_batches)
{
    static const char *const specs[] = {
        "vgg4_bn,width=0.0625,classes=5,image=32", "vgg4_bn,width=0.0625,classes=5,image=16x40",
        "vit_tiny_patch16_224,image=16,patch=4,dim=12,depth=2,heads=2,classes=5"};
    static uint8_t pixels[N * H * STRIDE];
    kd_picture p[N];
    make_pictures(pixels, p);
    for (size_t s = 0; s < sizeof specs / sizeof *specs; s++)
        for (size_t batch = 0; batch < 4; batch++) {
            kd_ctx *ctx = test_ctx(1, NULL);
            kd_model *model = make_model(ctx, specs[s]);
            float want[N * CLASSES], got[N * CLASSES];
            kd_predictor *predictor;
            if (batch == 2) test_ok(ctx, kd_model_set_framing(model, "centre:0.5+bicubic"));
            const kd_predictor_opt opt = {.struct_size = sizeof opt, .batch = batch};
            test_ok(ctx, kd_predictor_create(model, batch ? &opt : NULL, &predictor));
            by_parts(model, kd_model_framing(model), p, N, want);
            test_ok(ctx, kd_predictor_run(predictor, p, N, got));
            ck_assert_double_le(test_distance(got, want, N * CLASSES), 1e-5);
            test_ok(ctx, kd_predictor_run(predictor, p, 0, NULL));
            kd_predictor_destroy(predictor);
            kd_model_destroy(model);
            ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
            kd_ctx_destroy(ctx);
        }
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 20 };

typedef struct thread {
    pthread_t id;
    kd_predictor *predictor;
    const kd_picture *pictures;
    const float *want;
    int wrong;
} thread;

static void *run_thread(void *arg)
{
    thread *t = arg;
    float got[N * CLASSES];
    for (int i = 0; i < ROUNDS; i++) {
        t->wrong += kd_predictor_run(t->predictor, t->pictures, N, got) != KD_OK;
        t->wrong += memcmp(got, t->want, sizeof got) != 0;
    }
    return NULL;
}

START_TEST(test_threads)
{
    static uint8_t pixels[N * H * STRIDE];
    kd_picture p[N];
    float want[N * CLASSES];
    thread t[THREADS];
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_model *model = make_model(ctx, "vgg4_bn,width=0.0625,classes=5,image=32");
    const kd_predictor_opt opt = {.struct_size = sizeof opt, .batch = 2};
    make_pictures(pixels, p);
    for (size_t i = 0; i < THREADS; i++) {
        t[i] = (thread){.pictures = p, .want = want};
        test_ok(ctx, i ? kd_predictor_share(t[0].predictor, &t[i].predictor)
                       : kd_predictor_create(model, &opt, &t[0].predictor));
    }
    test_ok(ctx, kd_predictor_run(t[0].predictor, p, N, want));
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&t[i].id, NULL, run_thread, &t[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(t[i].id, NULL);
        ck_assert_int_eq(t[i].wrong, 0);
    }
    for (size_t i = THREADS; i-- > 0;) kd_predictor_destroy(t[i].predictor);
    kd_model_destroy(model);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_allocates_nothing)
{
    static uint8_t pixels[N * H * STRIDE];
    kd_picture p[N];
    float logits[N * CLASSES];
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    kd_model *model = make_model(ctx, "vgg4_bn,width=0.0625,classes=5,image=32");
    kd_predictor *predictor;
    const kd_predictor_opt opt = {.struct_size = sizeof opt, .batch = 2, .height = H, .width = W};
    make_pictures(pixels, p);
    test_ok(ctx, kd_predictor_create(model, &opt, &predictor));
    const long before = heap.count;
    for (int i = 0; i < 10; i++) test_ok(ctx, kd_predictor_run(predictor, p, N, logits));
    ck_assert_int_eq(heap.count, before);
    kd_predictor_destroy(predictor);
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

/* ---- guesses and refusals -------------------------------------------------------------------- */

START_TEST(test_guesses)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model = make_model(ctx, "vgg2,width=0.0625,classes=5,image=8");
    float logits[CLASSES] = {1, 3, -2, 3, 0};
    kd_guess g[CLASSES];
    double sum = 0, all = 0;
    test_ok(ctx, kd_model_guess(model, logits, CLASSES, g));
    const size_t order[] = {1, 3, 0, 4, 2};
    for (size_t k = 0; k < CLASSES; k++) all += exp((double)logits[k]);
    for (size_t k = 0; k < CLASSES; k++) {
        ck_assert_uint_eq(g[k].index, order[k]);
        ck_assert_str_eq(g[k].name, names[order[k]]);
        ck_assert_double_le(fabs(g[k].probability - exp((double)logits[order[k]]) / all), 1e-12);
        sum += g[k].probability;
    }
    ck_assert_double_le(fabs(sum - 1), 1e-12);
    test_ok(ctx, kd_model_set_class_names(model, NULL));
    test_ok(ctx, kd_model_guess(model, logits, 1, g));
    ck_assert_ptr_null(g[0].name);
    refused(ctx, kd_model_guess(model, logits, 6, g), KD_E_INVALID, "6 likeliest of 5");
    logits[2] = NAN;
    refused(ctx, kd_model_guess(model, logits, 1, g), KD_E_NONFINITE, "class 2");
    refused(ctx, kd_model_guess(model, NULL, 1, g), KD_E_INVALID, "NULL");
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_refusals)
{
    static uint8_t pixels[N * H * STRIDE];
    kd_picture p[N];
    float logits[N * CLASSES];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model;
    kd_predictor *predictor;
    test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.0625,classes=5,image=8", 1, &model));
    refused(ctx, kd_predictor_create(model, NULL, &predictor), KD_E_INVALID, "no normalisation");
    ck_assert_ptr_null(predictor);
    test_ok(ctx, kd_model_set_normalization(model, mean, deviation));
    kd_predictor_opt opt = {.struct_size = sizeof opt, .framing = "rrc"};
    refused(ctx, kd_predictor_create(model, &opt, &predictor), KD_E_INVALID, "framing 'rrc'");
    opt.struct_size = 0;
    refused(ctx, kd_predictor_create(model, &opt, &predictor), KD_E_INVALID, "struct_size");
    test_ok(ctx, kd_predictor_create(model, NULL, &predictor));
    make_pictures(pixels, p);
    p[3].stride = 9;
    refused(ctx, kd_predictor_run(predictor, p, N, logits), KD_E_INVALID,
            "picture 3 of 5: a picture's stride of 9 bytes");
    p[3].stride = STRIDE;
    p[3].bytes = 100;
    refused(ctx, kd_predictor_run(predictor, p + 3, 1, logits), KD_E_INVALID, "end before");
    p[4].pixels = NULL;
    refused(ctx, kd_predictor_run(predictor, p + 4, 1, logits), KD_E_INVALID,
            "a picture without pixels");
    kd_ctx_cancel(ctx, 1);
    refused(ctx, kd_predictor_run(predictor, p, 1, logits), KD_E_STOPPED, "cancelled");
    kd_ctx_cancel(ctx, 0);
    test_ok(ctx, kd_predictor_run(predictor, p, 1, logits));
    refused(ctx, kd_predictor_run(predictor, NULL, 1, logits), KD_E_INVALID, "NULL");
    kd_predictor_destroy(predictor);
    kd_predictor_destroy(NULL);
    kd_model_destroy(model);
    refused(ctx, kd_model_create(ctx, "vgg8,image=31x64", 1, &model), KD_E_INVALID,
            "image=31x64: the picture is gone after the pools; the least is 32");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

typedef struct sink {
    char *bytes;
    size_t used, size, fail_at;
} sink;

static kd_status take(void *user, const void *bytes, size_t size)
{
    sink *s = user;
    if (s->used + size > s->size || s->used >= s->fail_at) return KD_E_IO;
    memcpy(s->bytes + s->used, bytes, size);
    s->used += size;
    return KD_OK;
}

/* File, memory and function have the same bytes; what is loaded from them is the model. */
START_TEST(test_through_memory)
{
    char path[700], *file;
    void *memory;
    size_t size, n;
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *model = make_model(ctx, "vgg4_bn,width=0.0625,classes=5,image=16x40"), *copy;
    static char room[1 << 20];
    sink s = {.bytes = room, .size = sizeof room, .fail_at = SIZE_MAX};
    snprintf(path, sizeof path, "%s/model.safetensors", test_dir());
    test_ok(ctx, kd_model_save_as(model, path, KD_F16));
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 24, &file, &n));
    test_ok(ctx, kd_model_save_memory(model, KD_F16, &memory, &size));
    test_ok(ctx, kd_model_save_fn(model, KD_F16, take, &s));
    ck_assert(size == n && s.used == n);
    ck_assert_mem_eq(file, memory, n);
    ck_assert_mem_eq(file, room, n);
    kd_ctx_free(ctx, file);
    kd_ctx_free(ctx, memory);
    test_ok(ctx, kd_model_load_memory(ctx, room, n, NULL, &copy));
    ck_assert_str_eq(kd_model_spec(copy), kd_model_spec(model));
    ck_assert_uint_eq(kd_model_height(copy), 16);
    ck_assert_uint_eq(kd_model_width(copy), 40);
    ck_assert_str_eq(kd_model_class_names(copy)[4], "eel");
    kd_model_destroy(copy);
    for (size_t cut = 0; cut < n; cut += n / 13 + 1) {
        kd_status status = kd_model_load_memory(ctx, room, cut, NULL, &copy);
        refused(ctx, status, KD_E_FORMAT, "memory");
        ck_assert_ptr_null(copy);
    }
    s = (sink){.bytes = room, .size = sizeof room, .fail_at = 2000};
    ck_assert_int_eq(kd_model_save_fn(model, KD_F16, take, &s), KD_E_IO);
    refused(ctx, kd_model_save_fn(model, KD_F16, NULL, NULL), KD_E_INVALID, "NULL");
    refused(ctx, kd_model_save_fn(model, KD_I32, take, &s), KD_E_INVALID, "f32, f16 or bf16");
    refused(ctx, kd_model_save_memory(model, KD_F32, NULL, NULL), KD_E_INVALID, "NULL");
    refused(ctx, kd_model_load_memory(ctx, NULL, 0, NULL, &copy), KD_E_INVALID, "NULL");
    kd_writer *writer;
    test_ok(ctx, kd_writer_create(ctx, path, &writer));
    refused(ctx, kd_writer_finish_fn(writer, take, &s), KD_E_INVALID, "it goes to a file");
    kd_model_destroy(model);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- other sizes ----------------------------------------------------------------------------- */

START_TEST(test_rectangles)
{
    static const struct {
        const char *spec, *words;
    } odd[] = {{"vgg8,image=48x", "image=48x: it must be a whole number, or two, as 48x96"},
               {"vgg8,image=x48", "image=x48: it must be a whole number"},
               {"vgg8,image=48x96x3", "image=48x96x3: it must be a whole number"},
               {"vgg8,image=48x99999", "from 1 to 16384"},
               {"vit_tiny_patch16_224,image=32x64", "its pictures are square"},
               {"swin_tiny_patch4_window7_224,image=32x62",
                "must be a multiple of the patch's: 60 or 64"}};
    char text[KD_SPEC_SIZE];
    uint64_t params[2], macs[2];
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        refused(ctx, kd_spec_complete(ctx, odd[i].spec, NULL, text, sizeof text), KD_E_INVALID,
                odd[i].words);
    test_ok(ctx, kd_spec_complete(ctx, "vgg4,image=64x64,classes=3", NULL, text, sizeof text));
    ck_assert_msg(strstr(text, ",image=64,") != NULL, "%s", text);
    test_ok(ctx, kd_spec_complete(ctx, "vgg4,image=48x96", "image=32", text, sizeof text));
    ck_assert_msg(strstr(text, ",image=48x96,") != NULL, "%s", text);
    test_ok(ctx, kd_spec_count(ctx, "vgg4,image=32", &params[0], &macs[0]));
    test_ok(ctx, kd_spec_count(ctx, "vgg4,image=32x64", &params[1], &macs[1]));
    ck_assert_uint_eq(params[0], params[1]);
    ck_assert(macs[1] > 2 * macs[0] - macs[0] / 100 && macs[1] <= 2 * macs[0]);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Weights at another size: VGG's as they are; Swin's where windows stay, else refused. */
START_TEST(test_rectangles_loaded)
{
    static const struct {
        const char *spec, *change;
        bool good;
    } cases[] = {
        {"vgg4_bn,width=0.0625,classes=5,image=32", "image=16x40", true},
        {"swin_tiny_patch4_window7_224,image=32,patch=4,dim=8,depth=2-2,heads=2-1,window=2,"
         "classes=5",
         "image=32x48", true},
        {"swin_tiny_patch4_window7_224,image=32,patch=4,dim=8,depth=2-2,heads=2-1,window=7,"
         "classes=5",
         "image=32x48", false},
        /* Tables of 9 rows both: windows of 1x5 and of 2x2. */
        {"swin_tiny_patch4_window7_224,image=4x20,patch=4,dim=8,depth=2,heads=2,window=5,classes=5",
         "image=8", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_model *model = make_model(ctx, cases[i].spec), *other;
        void *bytes;
        size_t size;
        const kd_load_opt opt = {.struct_size = sizeof opt, .change = cases[i].change};
        test_ok(ctx, kd_model_save_memory(model, KD_F32, &bytes, &size));
        if (cases[i].good) {
            test_ok(ctx, kd_model_load_memory(ctx, bytes, size, &opt, &other));
            ck_assert_mem_eq(kd_params_values(kd_model_params(model)),
                             kd_params_values(kd_model_params(other)),
                             kd_params_flat_count(kd_model_params(model)) * sizeof(float));
            kd_model_destroy(other);
        } else {
            refused(ctx, kd_model_load_memory(ctx, bytes, size, &opt, &other), KD_E_UNSUPPORTED,
                    "the windows change");
        }
        kd_ctx_free(ctx, bytes);
        kd_model_destroy(model);
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

TEST_SUITE(predictor, 60, &test_batches, &test_threads, &test_allocates_nothing, &test_guesses,
           &test_refusals, &test_through_memory, &test_rectangles, &test_rectangles_loaded)
