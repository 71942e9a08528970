/* SPDX-License-Identifier: MIT
 * test_shards.c: networks in several files with an index, and in folders. */
#include "../test.h"

#include <kd/kd.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[300];

static const char *in_folder(const char *name)
{
    static char path[2][700];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void use_folder(const char *name)
{
    snprintf(folder, sizeof folder, "%s/%s", test_dir(), name);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
}

static void put_text(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "wb");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* A shard of tensors NAME [2], whose values are v, v + 1, v + 2, ... */
static void put_shard(kd_ctx *ctx, const char *file, const char *const *names, size_t n, float v)
{
    float values[8];
    kd_writer *w;
    const int64_t shape[] = {2};
    test_ok(ctx, kd_writer_create(ctx, in_folder(file), &w));
    kd_writer_metadata(w, "format", "pt");
    kd_writer_metadata(w, "shard", file);
    for (size_t i = 0; i < 2 * n; i++) values[i] = v + (float)i;
    for (size_t i = 0; i < n; i++) kd_writer_tensor(w, names[i], KD_F32, 1, shape, values + 2 * i);
    test_ok(ctx, kd_writer_finish(w));
}

static const char index_name[] = "model.safetensors.index.json";

START_TEST(test_one_file)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    float x[2];
    const char *value;
    use_folder("shards");
    put_shard(ctx, "b.safetensors", (const char *const[]){"w.0", "z"}, 2, 1);
    put_shard(ctx, "a.safetensors", (const char *const[]){"w.1"}, 1, 10);
    put_text(index_name,
             "{\"metadata\":{\"total_size\":24},\"weight_map\":{\"z\":\"b.safetensors\","
             "\"w.1\":\"a.safetensors\",\"w.0\":\"b.safetensors\"}}");
    test_ok(ctx, kd_file_open(ctx, in_folder(index_name), &f));
    ck_assert_str_eq(kd_file_path(f), in_folder(index_name));
    ck_assert_uint_eq(kd_file_count(f), 3);
    uint64_t end = 0;
    for (size_t i = 0; i < 3; i++) {
        const kd_file_tensor *t = kd_file_at(f, i);
        ck_assert_uint_ge(t->offset, end);
        end = t->offset + t->bytes;
        ck_assert_ptr_eq(kd_file_find(f, t->name), t);
    }
    ck_assert_uint_eq(end, kd_file_size(f));
    const struct {
        const char *name;
        float first;
    } want[] = {{"w.0", 1}, {"w.1", 10}, {"z", 3}};
    for (size_t i = 0; i < 3; i++) {
        kd_file_tensor copy = *kd_file_find(f, want[i].name); /* a copy does as well */
        test_ok(ctx, kd_file_read_f32(f, &copy, 0, 2, x));
        ck_assert(x[0] == want[i].first && x[1] == want[i].first + 1);
        test_ok(ctx, kd_file_read_f32(f, &copy, 1, 1, x));
        ck_assert(x[0] == want[i].first + 1);
    }
    ck_assert_ptr_null(kd_file_find(f, "w"));
    ck_assert(kd_file_metadata_count(f) == 2 && kd_file_metadata_at(f, 1, NULL, &value));
    ck_assert_str_eq(value, "a.safetensors");
    kd_file_close(f);
    test_ok(ctx, kd_file_open(ctx, folder, &f));
    ck_assert_uint_eq(kd_file_count(f), 3);
    kd_file_close(f);
    /* A whole file is preferred. */
    put_shard(ctx, "model.safetensors", (const char *const[]){"one"}, 1, 0);
    char slash[320];
    snprintf(slash, sizeof slash, "%s/", folder);
    test_ok(ctx, kd_file_open(ctx, slash, &f));
    ck_assert_uint_eq(kd_file_count(f), 1);
    kd_file_close(f);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_refused)
{
    static const struct {
        const char *map, *says;
        kd_status status;
    } cases[] = {
        {"{\"x\":\"a.safetensors\"}", "doesn't say so", KD_E_FORMAT},
        {"{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}", "doesn't say so", KD_E_FORMAT},
        {"{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"q\":\"a.safetensors\"}",
         "tensor 'q' is in none", KD_E_FORMAT},
        {"{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"z\":\"gone.safetensors\"}",
         "gone.safetensors", KD_E_IO},
        {"{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"x\":\"a.safetensors\"}",
         "'x' comes twice", KD_E_FORMAT},
        {"{\"x\":\"../shards_bad/a.safetensors\"}", "no plain name", KD_E_FORMAT},
        {"{\"x\":\"..\"}", "no plain name", KD_E_FORMAT},
        {"{\"x\":\".\"}", "no plain name", KD_E_FORMAT},
        {"{\"x\":\"\"}", "no plain name", KD_E_FORMAT},
        {"{\"x\":\"/etc/passwd\"}", "no plain name", KD_E_FORMAT},
        {"{\"x\":\"a\\\\b\"}", "no plain name", KD_E_FORMAT},
        {"{\"x\":\"pytorch_model-00001-of-00002.bin\"}", "safe_serialization", KD_E_FORMAT},
        {"{\"x\":1}", "its value is no string", KD_E_FORMAT},
        {"{\"x\":[\"a.safetensors\"]}", "its value is no string", KD_E_FORMAT},
        {"{}", "weight_map is empty", KD_E_FORMAT},
        {"[\"a.safetensors\"]", "no weight_map", KD_E_FORMAT},
        {"{\"x\":\"a.safetensors\",", "malformed JSON", KD_E_FORMAT},
        /* an index isn't a shard, nor is a folder */
        {"{\"x\":\"bad.index.json\"}", "no safetensors file", KD_E_FORMAT},
        {"{\"x\":\"sub\"}", "not a regular file", KD_E_IO},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    use_folder("shards_bad");
    put_shard(ctx, "a.safetensors", (const char *const[]){"x", "y"}, 2, 1);
    put_shard(ctx, "b.safetensors", (const char *const[]){"y"}, 1, 1);
    ck_assert_int_eq(mkdir(in_folder("sub"), 0755), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        kd_file *f;
        snprintf(text, sizeof text, "{\"weight_map\": %s}", cases[i].map);
        put_text("bad.index.json", text);
        const kd_status status = kd_file_open(ctx, in_folder("bad.index.json"), &f);
        ck_assert_msg(status == cases[i].status, "%s: %s", text, kd_ctx_error(ctx));
        ck_assert_ptr_null(f);
        ck_assert_msg(strstr(kd_ctx_error(ctx), cases[i].says) != NULL, "no '%s' in: %s",
                      cases[i].says, kd_ctx_error(ctx));
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* Two shards with one tensor: the index can name only one of them. More shards than are taken. */
START_TEST(test_doubles_and_many)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *f;
    static char text[20000];
    size_t used = 0;
    use_folder("shards_many");
    put_shard(ctx, "a.safetensors", (const char *const[]){"x", "y"}, 2, 1);
    put_shard(ctx, "b.safetensors", (const char *const[]){"x", "z"}, 2, 1);
    put_text("i.json", "{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\","
                       "\"z\":\"b.safetensors\"}}");
    ck_assert_int_eq(kd_file_open(ctx, in_folder("i.json"), &f), KD_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "'x' is in shard 'b.safetensors'"));
    for (int i = 0; i < 257; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\"t%d\":\"s%d.safetensors\"",
                                 i ? "," : "{\"weight_map\":{", i, i);
    snprintf(text + used, sizeof text - used, "}}");
    put_text("i.json", text);
    ck_assert_int_eq(kd_file_open(ctx, in_folder("i.json"), &f), KD_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "257 shards"));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Every allocation failing. */
START_TEST(test_memory)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    kd_file *f;
    use_folder("shards_memory");
    put_shard(ctx, "a.safetensors", (const char *const[]){"x"}, 1, 1);
    put_shard(ctx, "b.safetensors", (const char *const[]){"y"}, 1, 1);
    put_text(index_name, "{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}");
    const long live = heap.live;
    for (long n = 1;; n++) {
        heap.count = 0;
        heap.fail_at = n;
        const kd_status status = kd_file_open(ctx, folder, &f);
        heap.fail_at = 0;
        if (!status) kd_file_close(f);
        ck_assert_int_eq(heap.live, live);
        if (!status) break;
        ck_assert_int_eq(status, KD_E_NOMEM);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A network from two shards is the one that was cut up; its folder is as good as its file. */
START_TEST(test_network)
{
    static const char spec[] = "vgg2_bn,width=0.0625,classes=3,image=8";
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *a, *b;
    kd_writer *w[2];
    char text[4000] = "{\"weight_map\":{";
    uint64_t x, y;
    use_folder("shards_network");
    test_ok(ctx, kd_model_create(ctx, spec, 3, &a));
    const kd_params *p = kd_model_params(a);
    float *room = kd_ctx_alloc(ctx, kd_params_entries(p) * 4096, sizeof *room);
    for (int k = 0; k < 2; k++)
        test_ok(ctx, kd_writer_create(ctx,
                                      in_folder(k ? "model-00002-of-00002.safetensors"
                                                  : "model-00001-of-00002.safetensors"),
                                      &w[k]));
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        const size_t used = strlen(text);
        test_ok(ctx, kd_params_get(p, info, 0, room + i * 4096));
        kd_writer_tensor(w[i % 2], info->name, info->dtype, info->file_shape.rank,
                         info->file_shape.dim, room + i * 4096);
        snprintf(text + used, sizeof text - used, "%s\"%s\":\"model-0000%d-of-00002.safetensors\"",
                 i ? "," : "", info->name, (int)(i % 2) + 1);
    }
    strcat(text, "}}");
    put_text(index_name, text);
    for (int k = 0; k < 2; k++) test_ok(ctx, kd_writer_finish(w[k]));
    test_ok(ctx, kd_model_load(ctx, in_folder(index_name), spec, &b));
    test_ok(ctx, kd_model_hash(a, &x));
    test_ok(ctx, kd_model_hash(b, &y));
    ck_assert_uint_eq(x, y);
    kd_model_destroy(b);
    test_ok(ctx, kd_model_load(ctx, folder, spec, &b));
    kd_model_destroy(b);
    ck_assert_int_eq(kd_model_load(ctx, in_folder("model-00001-of-00002.safetensors"), spec, &b),
                     KD_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "one of several shards"));
    test_ok(ctx, kd_model_save(a, in_folder("model.safetensors")));
    test_ok(ctx, kd_model_load(ctx, folder, NULL, &b));
    kd_model_destroy(b);
    kd_ctx_free(ctx, room);
    kd_model_destroy(a);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(shards, 30, &test_one_file, &test_refused, &test_doubles_and_many, &test_memory,
           &test_network)
