/* SPDX-License-Identifier: MIT
 * test_export.c: what ships. The arena, and what may lie over what; blobs and C arrays to the byte,
 * for any number of threads; files that are replaced and that are not; networks that a device
 * cannot run. */
#include "../quant/nets.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quantise(kd_export *e, const uint8_t *pictures, size_t count)
{
    const kd_quantise_opt opt = {.struct_size = sizeof opt, .pictures = pictures, .count = count};
    test_ok(e->ctx, kd_export_quantise(e, &opt));
}

static kd_edge_model open_blob(kd_export *e)
{
    const void *blob;
    size_t size;
    kd_edge_model m;
    test_ok(e->ctx, kd_export_blob(e, &blob, &size));
    const kd_edge_op *const *ops = e->net->quantised ? kd_edge_ops_i8 : kd_edge_ops_f32;
    ck_assert_int_eq(kd_edge_open(&m, blob, size, ops), KD_EDGE_OK);
    return m;
}

static kd_model *make_model(kd_ctx *ctx, const char *spec)
{
    static const float half[] = {.5f, .5f, .5f}, quarter[] = {.25f, .25f, .25f};
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_set_normalization(m, half, quarter));
    return m;
}

static uint8_t *noise(size_t bytes)
{
    uint8_t *x = malloc(bytes);
    ck_assert_ptr_nonnull(x);
    kd_edge_noise(7, x, (uint32_t)bytes);
    return x;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* In float32 the device computes what the host does. */
START_TEST(test_float_is_the_network)
{
    static const char *const specs[] = {
        "vgg8_bn,width=0.0625,image=32,classes=7", "vgg5,width=0.125,image=18,classes=3,pool4=0",
        "vgg4_bn,image=16,classes=4,convs=2-1-1,stages=8-12-16",
        "vgg2,head=fc4096,width=0.0625,dense=20,image=14,classes=5"};
    kd_ctx *ctx = test_ctx(2, NULL);
    for (size_t s = 0; s < 4; s++) {
        enum { N = 3 };
        kd_model *m = make_model(ctx, specs[s]);
        const size_t side = kd_model_image(m), classes = kd_model_classes(m);
        uint8_t *pixels = noise(N * side * side * 3);
        float *x = malloc(N * side * side * 3 * sizeof *x), wanted[N * 7], logits[7];
        kd_export *e;
        test_ok(ctx, kd_model_normalize(m, pixels, N, x));
        test_ok(ctx, kd_model_predict(m, x, N, N, wanted));
        test_ok(ctx, kd_export_create(m, &e));
        kd_model_destroy(m);
        const kd_edge_model d = open_blob(e);
        void *arena = kd_ctx_alloc(ctx, d.arena_bytes, 1);
        for (size_t n = 0; n < N; n++) {
            ck_assert_int_eq(
                kd_edge_run(&d, arena, d.arena_bytes, pixels + n * side * side * 3, logits),
                KD_EDGE_OK);
            const double apart = test_distance(logits, wanted + n * classes, classes);
            ck_assert_msg(apart <= 2e-5, "%s: %g", specs[s], apart);
        }
        kd_ctx_free(ctx, arena);
        kd_export_destroy(e);
        free(pixels);
        free(x);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- the arena ------------------------------------------------------------------------------- */

/* One byte less is a status; with fences around it nothing outside is written, and the answer does
 * not depend on what was in it. */
static void check_arena(kd_export *e, const uint8_t *picture)
{
    enum { FENCE = 64 };
    const kd_edge_model m = open_blob(e);
    uint8_t *room = kd_ctx_alloc(e->ctx, m.arena_bytes + 2 * FENCE, 1);
    uint8_t *logits[2], *arena = room + FENCE;
    for (int fill = 0; fill < 2; fill++) {
        logits[fill] = kd_ctx_alloc(e->ctx, m.output_bytes, 1);
        memset(room, fill ? 0xA5 : 0, m.arena_bytes + 2 * FENCE);
        ck_assert_int_eq(kd_edge_run(&m, arena, m.arena_bytes - 1, picture, logits[fill]),
                         KD_EDGE_E_ARENA);
        ck_assert_int_eq(kd_edge_run(&m, arena, m.arena_bytes, picture, logits[fill]), KD_EDGE_OK);
        for (size_t i = 0; i < FENCE; i++)
            ck_assert(room[i] == room[FENCE + m.arena_bytes + i] && room[i] == (fill ? 0xA5 : 0));
    }
    ck_assert_mem_eq(logits[0], logits[1], m.output_bytes);
    ck_assert_int_eq(kd_edge_selftest(&m, arena, m.arena_bytes), KD_EDGE_OK);
    for (int i = 0; i < 2; i++) kd_ctx_free(e->ctx, logits[i]);
    kd_ctx_free(e->ctx, room);
}

START_TEST(test_arena)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    for (uint64_t seed = 0; seed < 3; seed++) {
        net_case c = net_residual(ctx, 4, seed);
        kd_export *e = net_export(&c);
        check_arena(e, c.pictures);
        quantise(e, c.pictures, c.count);
        check_arena(e, c.pictures);
        kd_export_destroy(e);
        net_free(&c);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

static size_t arena_of(kd_ctx *ctx, const char *spec)
{
    kd_model *m = make_model(ctx, spec);
    const size_t side = kd_model_image(m);
    uint8_t *pixels = noise(4 * side * side * 3);
    kd_export *e;
    test_ok(ctx, kd_export_create(m, &e));
    quantise(e, pixels, 4);
    check_arena(e, pixels);
    const size_t bytes = e->at.arena_bytes;
    kd_export_destroy(e);
    kd_model_destroy(m);
    free(pixels);
    return bytes;
}

/* Convolutions in place: one map of 32 x 32 x 32, and three rows with their padding. The input and
 * what the pool leaves fit in there, too. */
START_TEST(test_in_place)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const size_t map = 32 * 32 * 32, rows = 3 * 34 * 32, four = 4 * 34 * 32;
    size_t bytes = arena_of(ctx, "vgg2_bn,image=32,classes=10,convs=4,stages=32");
    ck_assert_uint_ge(bytes, map);
    ck_assert_msg(bytes <= map + rows, "%zu, more than %zu + %zu", bytes, map, rows);
    bytes = arena_of(ctx, "vgg8_bn,image=32,classes=10,convs=2-2-2,stages=32-64-128");
    ck_assert_msg(bytes <= map + four, "%zu, more than %zu + %zu", bytes, map, four);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ResNet-8 for CIFAR, the shape of MLPerf Tiny's image classification. */
static kd_value resnet_block(kd_graph *g, kd_value x, const char *name, int out, int stride)
{
    char text[4][40];
    static const char *const ends[] = {"conv1", "conv2", "skip", "norm"};
    for (int i = 0; i < 4; i++) snprintf(text[i], sizeof text[i], "%s.%s", name, ends[i]);
    const kd_conv2d_opt first = {.struct_size = sizeof first,
                                 .out = out,
                                 .kernel = {3, 3},
                                 .stride = {stride, stride},
                                 .pad = {1, 1}};
    const kd_conv2d_opt second = {
        .struct_size = sizeof second, .out = out, .kernel = {3, 3}, .pad = {1, 1}};
    const kd_conv2d_opt skip = {.struct_size = sizeof skip, .out = out, .stride = {stride, stride}};
    kd_value y = kd_relu(g, kd_batch_norm(g, kd_conv2d(g, x, text[0], &first), text[3], 0, 0));
    y = kd_conv2d(g, y, text[1], &second);
    if (stride != 1) x = kd_conv2d(g, x, text[2], &skip);
    return kd_relu(g, kd_add(g, x, y));
}

START_TEST(test_resnet8)
{
    static const int64_t dim[] = {KD_BATCH, 32, 32, 3};
    const kd_conv2d_opt stem = {
        .struct_size = sizeof stem, .out = 16, .kernel = {3, 3}, .pad = {1, 1}};
    kd_ctx *ctx = test_ctx(2, NULL);
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_value x = kd_input(g, "input", KD_F32, 4, dim);
    x = kd_relu(g, kd_batch_norm(g, kd_conv2d(g, x, "stem", &stem), "stem_norm", 0, 0));
    x = resnet_block(g, x, "block1", 16, 1);
    x = resnet_block(g, x, "block2", 32, 2);
    x = resnet_block(g, x, "block3", 64, 2);
    kd_output(g, kd_linear(g, kd_global_avg_pool(g, x), "head", 10, 1), "logits");
    net_case c = net_finish(ctx, g, 3072, 4, 11);
    kd_export *e = net_export(&c);
    quantise(e, c.pictures, c.count);
    check_arena(e, c.pictures);
    uint64_t macs = 0;
    for (size_t i = 0; i < kd_export_layers(e); i++) {
        kd_export_layer l = {.struct_size = sizeof l};
        test_ok(ctx, kd_export_layer_info(e, i, &l));
        macs += l.macs;
    }
    ck_assert_uint_eq(macs / 1000, 12501);
    ck_assert_msg(e->at.arena_bytes <= 36 * 1024, "%lu bytes", (unsigned long)e->at.arena_bytes);
    net_close(ctx, &c, e);
}
END_TEST

/* ---- to the byte ----------------------------------------------------------------------------- */

static char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s is not there", path);
    char *text = calloc(1, 1 << 22);
    *size = fread(text, 1, (1 << 22) - 1, f);
    fclose(f);
    return text;
}

static const char *in_dir(const char *name)
{
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    return path;
}

START_TEST(test_any_number_of_threads)
{
    void *first = NULL;
    size_t first_size = 0;
    double noise_of_first = 0;
    for (int threads = 1; threads <= 5; threads += 2) {
        kd_ctx *ctx = test_ctx(threads, NULL);
        net_case c = net_residual(ctx, 70, 1);
        kd_export *e = net_export(&c);
        const void *blob;
        size_t size;
        kd_export_result r = {.struct_size = sizeof r};
        quantise(e, c.pictures, c.count);
        test_ok(ctx, kd_export_blob(e, &blob, &size));
        test_ok(ctx, kd_export_compare(e, c.pictures, NULL, c.count));
        test_ok(ctx, kd_export_result_get(e, &r));
        if (!first) {
            first = malloc(size);
            memcpy(first, blob, size);
            first_size = size;
            noise_of_first = r.signal_to_noise;
        }
        ck_assert_uint_eq(size, first_size);
        ck_assert_mem_eq(blob, first, size);
        ck_assert(r.signal_to_noise == noise_of_first);
        kd_export_destroy(e);
        net_free(&c);
        kd_ctx_destroy(ctx);
    }
    free(first);
}
END_TEST

/* The numbers in the text are the blob's bytes; the table has the kernels that are needed alone. */
START_TEST(test_c_array)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, "vgg3_bn,width=0.0625,image=8,classes=3");
    uint8_t *pixels = noise(4 * 8 * 8 * 3);
    kd_export *e;
    const void *blob;
    size_t size, length;
    test_ok(ctx, kd_export_create(m, &e));
    for (int int8 = 0; int8 < 2; int8++) {
        char wanted[80];
        if (int8) quantise(e, pixels, 4);
        test_ok(ctx, kd_export_blob(e, &blob, &size));
        test_ok(ctx, kd_export_write_c(e, in_dir("net_1")));
        char *text = slurp(in_dir("net_1.c"), &length);
        const char *at = strstr(text, "net_1_blob[NET_1_BLOB_BYTES] = {");
        ck_assert_ptr_nonnull(at);
        at = strchr(at, '{') + 1;
        for (size_t i = 0; i < size; i++) {
            char *end;
            const long byte = strtol(at, &end, 10);
            ck_assert_msg(*end == ',' && byte == ((const uint8_t *)blob)[i], "byte %zu", i);
            at = end + 1;
        }
        ck_assert_int_eq(strtol(at, NULL, 10), 0);
        ck_assert(strchr(at, '}') && strspn(at, " \n") == (size_t)(strchr(at, '}') - at));
        snprintf(wanted, sizeof wanted, "&kd_edge_conv2d_%s,", int8 ? "i8" : "f32");
        ck_assert(strstr(text, wanted) && strstr(text, "&kd_edge_linear_"));
        ck_assert(!strstr(text, "kd_edge_add") && !strstr(text, "max_pool"));
        free(text);
        text = slurp(in_dir("net_1.h"), &length);
        snprintf(wanted, sizeof wanted, "#define NET_1_ARENA_BYTES %luu\n",
                 (unsigned long)e->at.arena_bytes);
        ck_assert_ptr_nonnull(strstr(text, wanted));
        ck_assert_ptr_nonnull(strstr(text, int8 ? "OUTPUT_TYPE int8_t" : "OUTPUT_TYPE float"));
        free(text);
    }
    kd_export_destroy(e);
    kd_model_destroy(m);
    free(pixels);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* What is there is replaced if it is ours, and else stays as it is. */
START_TEST(test_files)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, "vgg2,width=0.03125,image=4,classes=2");
    kd_export *e;
    kd_blob *b;
    size_t length;
    test_ok(ctx, kd_export_create(m, &e));
    test_ok(ctx, kd_export_write(e, in_dir("one.kde")));
    test_ok(ctx, kd_export_write(e, in_dir("one.kde")));
    test_ok(ctx, kd_blob_open(ctx, in_dir("one.kde"), &b));
    ck_assert_str_eq(kd_blob_spec(b), kd_model_spec(m));
    kd_blob_close(b);
    test_ok(ctx, kd_model_save(m, in_dir("net.safetensors")));
    net_expect(ctx, kd_export_write(e, in_dir("net.safetensors")), KD_E_EXISTS, "safetensors");
    net_expect(ctx, kd_model_save(m, in_dir("one.kde")), KD_E_EXISTS, "one.kde");
    net_expect(ctx, kd_export_write(e, in_dir("no/one.kde")), KD_E_IO, "one.kde");
    write_text(in_dir("mine.c"), "int main(void) { return 0; }\n");
    net_expect(ctx, kd_export_write_c(e, in_dir("mine")), KD_E_EXISTS, "mine.c");
    char *text = slurp(in_dir("mine.c"), &length);
    ck_assert_str_eq(text, "int main(void) { return 0; }\n");
    free(text);
    net_expect(ctx, kd_export_write_c(e, in_dir("1st")), KD_E_INVALID, "begins names in C");
    net_expect(ctx, kd_export_write_c(e, in_dir("a-b")), KD_E_INVALID, "begins names in C");
    net_expect(ctx, kd_export_write_c(e, in_dir("")), KD_E_INVALID, "begins names in C");
    kd_export_destroy(e);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Every byte of a blob: cut there, or changed there, it is an error in words and never a fault. */
START_TEST(test_broken_blobs)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, "vgg2,width=0.03125,image=4,classes=2");
    kd_export *e;
    kd_blob *b;
    const void *blob;
    size_t size;
    test_ok(ctx, kd_export_create(m, &e));
    test_ok(ctx, kd_export_blob(e, &blob, &size));
    uint8_t *copy = malloc(size);
    for (size_t i = 0; i < size; i += i < 400 ? 1 : 13) {
        memcpy(copy, blob, size);
        copy[i] ^= (uint8_t)(1 + i % 255);
        test_ok(ctx, kd_folder_make(ctx, test_dir()));
        FILE *f = fopen(in_dir("broken.kde"), "wb");
        ck_assert(f && fwrite(copy, 1, size, f) == size && !fclose(f));
        net_expect(ctx, kd_blob_open(ctx, in_dir("broken.kde"), &b), KD_E_FORMAT, "broken.kde: ");
        f = fopen(in_dir("broken.kde"), "wb");
        ck_assert(f && fwrite(blob, 1, i, f) == i && !fclose(f));
        net_expect(ctx, kd_blob_open(ctx, in_dir("broken.kde"), &b), KD_E_FORMAT, "broken.kde: ");
        ck_assert_ptr_null(b);
    }
    net_expect(ctx, kd_blob_open(ctx, in_dir("nowhere.kde"), &b), KD_E_NOTFOUND, "nowhere.kde");
    for (size_t more = 1; more <= 16; more += 15) { /* in memory a blob may lie in a larger place */
        FILE *f = fopen(in_dir("long.kde"), "wb");
        ck_assert(f && fwrite(blob, 1, size, f) == size && fwrite(copy, 1, more, f) == more);
        ck_assert_int_eq(fclose(f), 0);
        net_expect(ctx, kd_blob_open(ctx, in_dir("long.kde"), &b), KD_E_FORMAT,
                   more == 1 ? "long.kde: 1 byte follows" : "long.kde: 16 bytes follow");
        ck_assert_ptr_null(b);
    }
    free(copy);
    kd_export_destroy(e);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- networks that no device runs ------------------------------------------------------------ */

/* A spec from outside makes no network that is larger than the blob. */
START_TEST(test_blob_network)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    static const struct {
        const char *spec, *says;
    } cases[] = {{"vgg19,width=64,classes=5", "smaller than that"},
                 {"vgg2,width=0.03125,classes=2,image=4", "other pictures or classes"},
                 {"resnet8", "not known here"},
                 {NULL, "does not say"}};
    net_case c = net_residual(ctx, 2, 1);
    for (size_t i = 0; i < 4; i++) {
        const kd_export_graph_opt opt = {.struct_size = sizeof opt, .spec = cases[i].spec};
        kd_export *e;
        kd_blob *b;
        kd_model *m;
        test_ok(ctx, kd_export_create_graph(c.graph, c.params, &opt, &e));
        test_ok(ctx, kd_export_write(e, in_dir("graph.kde")));
        test_ok(ctx, kd_blob_open(ctx, in_dir("graph.kde"), &b));
        net_expect(ctx, kd_blob_network(b, &m), KD_E_UNSUPPORTED, cases[i].says);
        ck_assert_ptr_null(m);
        kd_blob_close(b);
        kd_export_destroy(e);
    }
    net_free(&c);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_unsupported_models)
{
    static const struct {
        const char *spec, *says;
    } cases[] = {
        {"vit_tiny_patch16_224,image=32,patch=8,dim=24,depth=1,heads=2", "set of ops lacks it"},
        {"swin_tiny_patch4_window7_224,image=16,patch=2,dim=8,depth=1,heads=1,window=4",
         "set of ops lacks it"},
        {"vgg8,width=0.03125,head=fc4096,dense=8,image=32", "its windows have several sizes"}};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_export *e;
    for (size_t i = 0; i < 3; i++) {
        kd_model *m = make_model(ctx, cases[i].spec);
        net_expect(ctx, kd_export_create(m, &e), KD_E_UNSUPPORTED, cases[i].says);
        ck_assert_ptr_null(e);
        kd_model_destroy(m);
    }
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.03125,image=4,classes=2", 1, &m));
    net_expect(ctx, kd_export_create(m, &e), KD_E_INVALID, "normalised");
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

typedef kd_value (*build_fn)(kd_graph *g, kd_value x);

static kd_value grouped(kd_graph *g, kd_value x)
{
    const kd_conv2d_opt opt = {.struct_size = sizeof opt, .out = 3, .kernel = {3}, .groups = 3};
    return kd_conv2d(g, x, "deep", &opt);
}

static kd_value dilated(kd_graph *g, kd_value x)
{
    const kd_conv2d_opt opt = {
        .struct_size = sizeof opt, .out = 3, .kernel = {3}, .dilation = {2, 2}};
    return kd_conv2d(g, x, "wide", &opt);
}

static kd_value large(kd_graph *g, kd_value x)
{
    const kd_conv2d_opt opt = {.struct_size = sizeof opt, .out = 3, .kernel = {17}};
    return kd_conv2d(g, x, "large", &opt);
}

static kd_value curved(kd_graph *g, kd_value x)
{
    const kd_conv2d_opt opt = {.struct_size = sizeof opt, .out = 3};
    return kd_gelu(g, kd_conv2d(g, x, "curved", &opt));
}

static kd_value pool_first(kd_graph *g, kd_value x)
{
    const kd_pool_opt opt = {.struct_size = sizeof opt, .kernel = {2, 2}};
    return kd_max_pool(g, x, &opt);
}

static kd_value ceiled(kd_graph *g, kd_value x)
{
    const kd_pool_opt opt = {
        .struct_size = sizeof opt, .kernel = {3, 3}, .stride = {2, 2}, .ceil_mode = 1};
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = 3};
    return kd_avg_pool(g, kd_conv2d(g, x, "c", &conv), &opt);
}

static kd_value doubled(kd_graph *g, kd_value x)
{
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = 3};
    x = kd_conv2d(g, x, "c", &conv);
    return kd_add(g, x, x);
}

static kd_value reshaped(kd_graph *g, kd_value x)
{
    const int64_t dim[] = {KD_BATCH, 10, 10, 12};
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = 3};
    x = kd_reshape(g, kd_conv2d(g, x, "c", &conv), 4, dim);
    return kd_conv2d(g, x, "behind", &conv);
}

static kd_value strided(kd_graph *g, kd_value x)
{
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = 3, .stride = {300, 300}};
    return kd_conv2d(g, x, "c", &conv);
}

static kd_value shared_relu(kd_graph *g, kd_value x)
{
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = 3};
    x = kd_conv2d(g, x, "c", &conv);
    return kd_add(g, x, kd_relu(g, x));
}

START_TEST(test_unsupported_layers)
{
    static const struct {
        build_fn build;
        const char *says;
    } cases[] = {{grouped, "conv2d 'deep': the device has no convolutions in groups"},
                 {dilated, "conv2d 'wide': the device has no dilated"},
                 {large, "conv2d 'large': its kernel"},
                 {curved, "conv2d 'curved': the device has no activation"},
                 {pool_first, "max_pool reads the picture"},
                 {ceiled, "avg_pool 'c.avg_pool': the device's pools have no partial windows"},
                 {doubled, "adds two different maps"},
                 {reshaped, "conv2d 'behind': it reads a map in another shape"},
                 {strided, "conv2d 'c': its kernel, stride"},
                 {shared_relu, "relu"}};
    static const int64_t dim[] = {KD_BATCH, 20, 20, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_graph *g;
        kd_params *p;
        kd_export *e;
        const kd_export_graph_opt opt = {.struct_size = sizeof opt};
        test_ok(ctx, kd_graph_create(ctx, &g));
        const kd_value x = cases[i].build(g, kd_input(g, "input", KD_F32, 4, dim));
        kd_output(g, kd_linear(g, kd_global_avg_pool(g, x), "last", 2, 1), "logits");
        test_ok(ctx, kd_params_create(g, 1, &p));
        net_expect(ctx, kd_export_create_graph(g, p, &opt, &e), KD_E_UNSUPPORTED, cases[i].says);
        kd_params_destroy(p);
        kd_graph_destroy(g);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* The picture itself is no network. */
START_TEST(test_no_layers)
{
    static const int64_t dim[] = {KD_BATCH, 4, 4, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    kd_params *p;
    kd_export *e;
    const kd_export_graph_opt opt = {.struct_size = sizeof opt};
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_output(g, kd_input(g, "input", KD_F32, 4, dim), "logits");
    test_ok(ctx, kd_params_create(g, 1, &p));
    net_expect(ctx, kd_export_create_graph(g, p, &opt, &e), KD_E_UNSUPPORTED, "no layer's");
    kd_params_destroy(p);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

static kd_status whole_way(net_case *c)
{
    const kd_export_graph_opt opt = {
        .struct_size = sizeof opt, .mean = net_mean, .std = net_std, .spec = "a test's"};
    const kd_quantise_opt int8 = {
        .struct_size = sizeof int8, .pictures = c->pictures, .count = c->count, .equalise = 1};
    kd_export *e;
    const void *blob;
    size_t size;
    kd_status status = kd_export_create_graph(c->graph, c->params, &opt, &e);
    if (status) return status;
    status = kd_export_blob(e, &blob, &size);
    if (!status) status = kd_export_quantise(e, &int8);
    if (!status) status = kd_export_compare(e, c->pictures, NULL, c->count);
    kd_export_destroy(e);
    return status;
}

/* Every n-th allocation fails: a status, nothing leaked. */
START_TEST(test_allocation_failures)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    net_case c = net_residual(ctx, 2, 1);
    const long live = heap.live;
    for (long n = 1;; n++) {
        heap.count = 0;
        heap.fail_at = n;
        const kd_status status = whole_way(&c);
        heap.fail_at = 0;
        ck_assert_msg(heap.live == live, "allocation %ld failed and something leaked", n);
        if (!status) break;
        ck_assert_msg(status == KD_E_NOMEM, "allocation %ld: %s", n, kd_status_name(status));
        ck_assert_int_lt(n, 5000);
    }
    net_free(&c);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

/* A linear layer alone, in both types. */
START_TEST(test_linear_alone)
{
    static const int64_t dim[] = {KD_BATCH, 6, 5, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g;
    float wanted[4];
    test_ok(ctx, kd_graph_create(ctx, &g));
    kd_output(g, kd_flatten_linear(g, kd_input(g, "input", KD_F32, 4, dim), "only", 4, 1),
              "logits");
    net_case c = net_finish(ctx, g, 90, 8, 2);
    kd_export *e = net_export(&c);
    kd_edge_model m = open_blob(e);
    uint8_t *arena = kd_ctx_alloc(ctx, m.arena_bytes, 1);
    ck_assert_int_eq(kd_edge_run(&m, arena, m.arena_bytes, c.pictures, wanted), KD_EDGE_OK);
    quantise(e, c.pictures, c.count);
    check_arena(e, c.pictures);
    int32_t **maps = net_oracle(e->net, c.pictures);
    const kdi_map *out = &e->net->maps[1];
    for (int k = 0; k < 4; k++)
        ck_assert_double_eq_tol((double)out->scale * (maps[1][k] - out->zero), (double)wanted[k],
                                2 * (double)out->scale);
    net_oracle_free(e->net, maps);
    kd_ctx_free(ctx, arena);
    net_close(ctx, &c, e);
}
END_TEST

TEST_SUITE(export, 120, &test_float_is_the_network, &test_arena, &test_in_place, &test_resnet8,
           &test_any_number_of_threads, &test_c_array, &test_files, &test_broken_blobs,
           &test_blob_network, &test_unsupported_models, &test_unsupported_layers, &test_no_layers,
           &test_allocation_failures, &test_linear_alone)
