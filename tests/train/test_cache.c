/* SPDX-License-Identifier: MIT
 * test_cache.c: a teacher cache gives the bits of a live teacher, whoever filled it and however often
 * it was interrupted; what it is not of is refused by name; what is damaged or full ends no run. */
#include "cached.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the same bits --------------------------------------------------------------------------- */

START_TEST(test_bits)
{
    cached_check((course){.teacher = CACHED_LARGE, .train.augment = "crop-flip"}, "crop-flip", 2);
    cached_check((course){.teacher = CACHED_VIT, .train.augment = "none"}, "none", 1);
    cached_check((course){.teacher = CACHED_LARGE,
                          .train = {.augment = "altflip", .epochs = 5, .augment_epochs = 2}},
                 "a cycle of two", 2);
    cached_check((course){.teacher = CACHED_LARGE, .train.augment = "flip+mixup+cutmix"}, "mixed",
                 2);
    cached_check(
        (course){.teacher = CACHED_LARGE, .train = {.augment = "flip+repeat:2", .batch = 12}},
        "repeated", 2);
    cached_check((course){.teacher = CACHED_LARGE, .train.augment = "rrc+flip"}, "framed", 2);
    cached_check((course){.teacher = CACHED_LARGE, .train = {.augment = "crop", .drop_last = 1}},
                 "drop last", 2);
    cached_check((course){.teacher = CACHED_LARGE,
                          .train = {.augment = "flip+mixup", .epochs = 3, .augment_epochs = 2}},
                 "mixed, in a cycle", 2);
    cached_check((course){.teacher = CACHED_LARGE,
                          .train = {.augment = "crop", .dev_count = 20, .accumulate = 2}},
                 "a development split", 2);
    cached_check((course){.student = CACHED_VIT,
                          .teacher = CACHED_LARGE,
                          .train = {.augment = "crop", .micro_batch = 7}},
                 "micro-batches", 2);
    cached_check((course){.teacher = CACHED_LARGE,
                          .second = CACHED_VIT,
                          .train.augment = "crop",
                          .distill = {.method = KD_METHOD_DKD, .dkd_warmup = 1}},
                 "two teachers", 2);
}
END_TEST

/* Epochs that cycle are those of the first cycle, in an order of their own. */
START_TEST(test_cycle)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    kd_loader *l;
    const kd_batch *b;
    static float shown[2][64][16 * 16 * 3];
    uint32_t order[3][64];
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:image=16,train=64,test=1", NULL, &data));
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .batch = 64,
                               .shuffle = 1,
                               .augment = "crop-altflip",
                               .seed = 3,
                               .cycle = 2};
    test_ok(ctx, kd_loader_create(data, &opt, &l));
    for (int e = 0; e < 3; e++) {
        test_ok(ctx, kd_loader_next(l, &b));
        ck_assert_uint_eq(b->epoch, (size_t)e);
        memcpy(order[e], b->ids, sizeof order[e]);
        for (size_t i = 0; i < 64; i++) {
            float *at = shown[e % 2][b->ids[i]];
            if (e == 2) ck_assert_mem_eq(at, b->views[0] + i * 768, sizeof shown[0][0]);
            memcpy(at, b->views[0] + i * 768, sizeof shown[0][0]);
        }
    }
    ck_assert(memcmp(shown[0], shown[1], sizeof shown[0]) != 0);
    ck_assert(memcmp(order[0], order[2], sizeof order[0]) != 0);
    kd_loader_close(l);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Rounded logits: who fills the cache and who reads it learn the same, near what a live teacher
 * teaches. */
START_TEST(test_rounded)
{
    char folder[500];
    course c = {.teacher = CACHED_LARGE, .train.augment = "crop"};
    outcome live = cached_run(c);
    for (int k = 0; k < 3; k++) {
        cached_fresh(folder, sizeof folder, "rounded");
        c.distill.cache = folder;
        c.distill.cache_precision = k == 1 ? KD_CACHE_FLOAT32 : KD_CACHE_FLOAT16;
        c.distill.cache_top = k ? 5 : 0;
        outcome fills = cached_run(c);
        course again = c;
        again.distill.cache_precision = KD_CACHE_FLOAT32;
        again.distill.cache_top = 0;
        outcome reads = cached_run(again);
        cached_same(&reads, &fills, "rounded");
        const double apart = test_distance(fills.weights, live.weights, live.count);
        ck_assert_double_gt(apart, 0);
        ck_assert_double_lt(apart, k ? .1 : 1e-3);
        free(fills.weights);
        free(reads.weights);
    }
    free(live.weights);
}
END_TEST

/* ---- interruptions --------------------------------------------------------------------------- */

/* A run stopped in its second epoch leaves the first one complete and goes on filling the second,
 * with which no third run has to do. */
START_TEST(test_stopped)
{
    char folder[500], out[500], part[600];
    struct stat about;
    cached_fresh(folder, sizeof folder, "stopped");
    cached_fresh(out, sizeof out, "out");
    course c = {.teacher = CACHED_LARGE, .train = {.augment = "crop", .epochs = 3, .resume = 1}};
    course alive = c;
    alive.train.resume = 0;
    outcome live = cached_run(alive);
    c.train.resume = 1;
    c.train.out = out;
    c.distill.cache = folder;
    c.stop_at = 4;
    outcome first = cached_run(c);
    ck_assert_int_eq(first.status, KD_E_STOPPED);
    ck_assert(cached_there(folder, 0) && !cached_there(folder, 1));
    snprintf(part, sizeof part, "%s/epoch-000001.safetensors.part", folder);
    ck_assert_int_eq(stat(part, &about), 0);
    c.stop_at = 0;
    outcome rest = cached_run(c);
    cached_same(&rest, &live, "resumed");
    ck_assert(cached_there(folder, 1) && cached_there(folder, 2) && stat(part, &about) != 0);
    c.train.out = NULL;
    c.train.resume = 0;
    c.teacher = NULL;
    outcome alone = cached_run(c);
    cached_same(&alone, &live, "read after a resume");
    free(live.weights);
    free(first.weights);
    free(rest.weights);
    free(alone.weights);
}
END_TEST

/* Killed at random moments, again and again: what is left is used, and is right. */
START_TEST(test_kills)
{
    char folder[500];
    cached_fresh(folder, sizeof folder, "kills");
    course c = {.teacher = CACHED_LARGE, .train = {.augment = "crop", .epochs = 3, .batch = 8}};
    outcome live = cached_run(c);
    c.distill.cache = folder;
    cached_killed(c, 25, 60000);
    outcome rest = cached_run(c);
    cached_same(&rest, &live, "after kills");
    ck_assert(cached_there(folder, 0) && cached_there(folder, 1) && cached_there(folder, 2));
    c.teacher = NULL;
    outcome alone = cached_run(c);
    cached_same(&alone, &live, "read after kills");
    free(live.weights);
    free(rest.weights);
    free(alone.weights);
}
END_TEST

/* While another process fills an epoch's file this one computes for itself, and leaves it alone. */
START_TEST(test_two_writers)
{
    char folder[500], part[600];
    cached_fresh(folder, sizeof folder, "two");
    course c = {.teacher = CACHED_LARGE, .train.augment = "crop"};
    outcome live = cached_run(c);
    c.distill.cache = folder;
    c.train.max_steps = 1;
    outcome begins = cached_run(c); /* makes the key and the first epoch's unfinished file */
    ck_assert_msg(begins.status == KD_OK, "%s", begins.error);
    c.train.max_steps = 0;
    snprintf(part, sizeof part, "%s/epoch-000000.safetensors.part", folder);
    const int fd = open(part, O_RDWR);
    ck_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    outcome meanwhile = cached_run(c);
    cached_same(&meanwhile, &live, "while another fills it");
    ck_assert(!cached_there(folder, 0) && cached_there(folder, 1));
    close(fd);
    outcome after = cached_run(c);
    cached_same(&after, &live, "afterwards");
    ck_assert(cached_there(folder, 0));
    free(live.weights);
    free(begins.weights);
    free(meanwhile.weights);
    free(after.weights);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

/* With the teacher a damaged epoch is mended, and no bit of the run is another; then the cache is
 * whole. */
static void mended(course c, const outcome *good, const char *what)
{
    char aside[700];
    snprintf(aside, sizeof aside, "%s/epoch-000001.safetensors.damaged", c.distill.cache);
    outcome mends = cached_run(c);
    cached_same(&mends, good, what);
    ck_assert_msg(strstr(mends.warning, "set aside"), "%s: '%s'", what, mends.warning);
    ck_assert_msg(access(aside, F_OK) == 0 && cached_there(c.distill.cache, 1), "%s", what);
    c.teacher = NULL;
    outcome reads = cached_run(c);
    cached_same(&reads, good, what);
    ck_assert_str_eq(reads.warning, "");
    free(mends.weights);
    free(reads.weights);
}

START_TEST(test_damage)
{
    char folder[500];
    cached_fresh(folder, sizeof folder, "damage");
    course c = {.teacher = CACHED_LARGE, .train.augment = "crop", .distill.cache = folder};
    outcome good = cached_run(c);
    for (off_t at = 401; at < 3200; at += 411) {
        cached_flip(folder, 1, false, at);
        course without = c;
        without.teacher = NULL;
        outcome bad = cached_run(without);
        ck_assert_int_eq(bad.status, KD_E_FORMAT);
        ck_assert_msg(strstr(bad.error, "epoch-000001") && strstr(bad.error, "damaged"), "%s",
                      bad.error);
        free(bad.weights);
        mended(c, &good, "a damaged row");
    }
    cached_flip(folder, 1, false, 80 * (40 + 8) + 40); /* in the header */
    mended(c, &good, "a damaged header");
    /* Files that have each other's names. */
    char first[600], second[600], third[600];
    cached_fresh(folder, sizeof folder, "swapped");
    outcome whole = cached_run(c);
    snprintf(first, sizeof first, "%s/epoch-000000.safetensors", folder);
    snprintf(second, sizeof second, "%s/epoch-000001.safetensors", folder);
    snprintf(third, sizeof third, "%s/aside", folder);
    ck_assert(!rename(first, third) && !rename(second, first) && !rename(third, second));
    c.teacher = NULL;
    outcome swapped = cached_run(c);
    ck_assert_int_eq(swapped.status, KD_E_FORMAT);
    ck_assert_msg(strstr(swapped.error, "epoch-000000"), "%s", swapped.error);
    c.teacher = CACHED_LARGE;
    mended(c, &good, "files that have each other's names");
    free(whole.weights);
    free(swapped.weights);
    /* A link is not followed: what it names is not made, and training goes on. */
    cached_fresh(folder, sizeof folder, "linked");
    snprintf(first, sizeof first, "%s/epoch-000000.safetensors.part", folder);
    snprintf(second, sizeof second, "%s/elsewhere", folder);
    ck_assert(!mkdir(folder, 0777) && !symlink(second, first));
    outcome linked = cached_run(c);
    cached_same(&linked, &good, "a link");
    ck_assert(access(second, F_OK) != 0);
    free(linked.weights);
    /* A row of an unfinished file that was cut off is computed again. */
    cached_fresh(folder, sizeof folder, "torn");
    c.train.max_steps = 2;
    outcome begins = cached_run(c);
    c.train.max_steps = 0;
    for (off_t at = 0; at < 80; at++) cached_flip(folder, 0, true, at * 40 + 1);
    outcome rest = cached_run(c);
    cached_same(&rest, &good, "torn rows");
    outcome reads = cached_run(c);
    cached_same(&reads, &good, "rows that were mended");
    free(good.weights);
    free(begins.weights);
    free(rest.weights);
    free(reads.weights);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(test_refused)
{
    char folder[500], nothing[500];
    cached_fresh(folder, sizeof folder, "refused");
    cached_fresh(nothing, sizeof nothing, "nothing");
    const course made = {
        .teacher = CACHED_LARGE, .train = {.augment = "crop", .seed = 3}, .distill.cache = folder};
    outcome o = cached_run(made);
    ck_assert_msg(o.status == KD_OK, "%s", o.error);
    free(o.weights);
    course c = made;
    c.teacher_seed = 9;
    cached_refused(c, KD_E_MISMATCH, "its teacher0_hash is ");
    c = made;
    c.teacher = CACHED_VIT;
    cached_refused(c, KD_E_MISMATCH, "its teacher0 is vgg4_bn");
    c = made;
    c.second = CACHED_VIT;
    cached_refused(c, KD_E_MISMATCH, "the cache is of 1 teachers, this run has 2");
    c = made;
    c.data = "synthetic:image=16,train=80,test=16,seed=1";
    cached_refused(c, KD_E_MISMATCH, "its data_checksum is ");
    c = made;
    c.train.augment = "flip";
    cached_refused(c, KD_E_MISMATCH, "its augmentation is crop:4, this run's is flip");
    c = made;
    c.train.augment = "crop+mixup";
    cached_refused(c, KD_E_MISMATCH, "its order is sample, this run's is position");
    c = made;
    c.train.augment_epochs = 2;
    cached_refused(c, KD_E_MISMATCH, "its augment_epochs is 0, this run's is 2");
    c = made;
    c.train.seed = 4;
    cached_refused(c, KD_E_MISMATCH, "its seed is 3, this run's is 4");
    c = made;
    c.train.dev_count = 10;
    cached_refused(c, KD_E_MISMATCH, "its dev_count is 0, this run's is 10");
    c = made;
    c.train.batch = 16;
    cached_refused(c, KD_E_MISMATCH, "its batch is 32, this run's is 16");
    c = made;
    c.train.drop_last = 1;
    cached_refused(c, KD_E_MISMATCH, "its drop_last is false, this run's is true");
    c = made;
    c.distill.cache_precision = KD_CACHE_FLOAT16;
    cached_refused(c, KD_E_MISMATCH, "cache_precision: the cache ");
    c = made;
    c.distill.cache_top = 3;
    cached_refused(c, KD_E_MISMATCH, "cache_top: the cache ");
    c = made;
    c.teacher = NULL;
    c.train.epochs = 3;
    cached_refused(c, KD_E_NOTFOUND,
                   "the cache lacks epoch 3 of this run, and no teacher is given");
    c.distill.cache = nothing;
    cached_refused(c, KD_E_NOTFOUND, "there is no teacher cache, and no teacher is given");
    c = made;
    c.distill.cache = nothing;
    c.distill.cache_top = 11;
    cached_refused(c, KD_E_INVALID, "cache_top: 11 of 10 classes");
    c = made;
    c.student = "vgg4_bn,width=0.125,image=32,classes=10";
    c.train.augment = "rrc";
    c.distill.cache = nothing;
    o = cached_run(c);
    ck_assert_msg(o.status == KD_OK, "%s", o.error);
    free(o.weights);
    c.student = CACHED_SMALL;
    cached_refused(c, KD_E_MISMATCH, "its canvas is 32x32, this run's is 24x24");
}
END_TEST

/* cache.json as others may write it: nothing there is trusted. */
START_TEST(test_hostile_key)
{
    static const struct {
        const char *text, *words;
    } keys[] = {
        {"", "this is no teacher cache"},
        {"[]", "this is no teacher cache"},
        {"{\"kind\":\"other\"}", "this is no teacher cache"},
        {"{\"kind\":\"teacher-cache\"}", "'format' is missing"},
        {"{\"kind\":\"teacher-cache\",\"format\":2}", "format 2 is of a newer version"},
        {"{\"kind\":\"teacher-cache\",\"format\":1}", "'classes' is missing"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10}", "'rows' is missing"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":-1,\"rows\":80}", "'classes'"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":1e9}", "'rows'"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,\"top\":11}",
         "'top'"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,\"teachers\":9}",
         "'teachers'"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,\"order\":\"x\"}",
         "'order'"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,"
         "\"precision\":\"float8\"}",
         "'precision'"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,"
         "\"augmentation\":\"any\",\"augment_epochs\":0}",
         "'augment_epochs'"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":70}",
         "its rows is 70, this run's is 80"},
        {"{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":7,\"rows\":80}",
         "of 7 classes, the student has 10"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char folder[500], path[600];
        cached_fresh(folder, sizeof folder, "hostile");
        snprintf(path, sizeof path, "%s/cache.json", folder);
        ck_assert_int_eq(mkdir(folder, 0777), 0);
        FILE *f = fopen(path, "w");
        fputs(keys[i].text, f);
        fclose(f);
        outcome o = cached_run((course){.distill.cache = folder, .train.augment = "none"});
        ck_assert_msg(o.status && strstr(o.error, keys[i].words), "%s: %s", keys[i].text, o.error);
        free(o.weights);
    }
}
END_TEST

/* ---- others' logits -------------------------------------------------------------------------- */

/* Logits by the picture's number, and named features, which no run reads. */
static void write_foreign(kd_ctx *ctx, const char *folder, const char *key, const float *logits)
{
    static const float zeros[CACHED_ROWS * 3];
    const foreign f = {folder, key, logits, "pooled", zeros, 3};
    cached_foreign(ctx, &f);
}

static const float *foreign_logits;

static kd_status ask(void *user, const kd_batch *b, const float *pictures, float *logits)
{
    int *calls = user;
    ++*calls;
    ck_assert_ptr_eq(pictures, b->views[0]);
    for (size_t i = 0; i < b->n; i++)
        memcpy(logits + i * 10, foreign_logits + b->ids[i] * 10, 10 * sizeof(float));
    return KD_OK;
}

static kd_status is_ill(void *user, const kd_batch *b, const float *pictures, float *logits)
{
    (void)b, (void)pictures, (void)logits;
    return kd_ctx_fail(*(kd_ctx *const *)user, KD_E_IO, "the teacher is ill");
}

START_TEST(test_foreign)
{
    static float logits[80 * 10];
    char folder[500];
    int calls = 0;
    kd_ctx *ctx = test_ctx(1, NULL);
    test_fill(logits, 800, 4, 5);
    foreign_logits = logits;
    cached_fresh(folder, sizeof folder, "foreign");
    write_foreign(ctx, folder,
                  "{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,"
                  "\"teacher0\":\"resnet\",\"augmentation\":\"any\"}",
                  logits);
    outcome cached = cached_run((course){.distill.cache = folder, .train.augment = "crop"});
    ck_assert_msg(strstr(cached.warning, "does not say, so that it is not compared: data_checksum"),
                  "%s", cached.warning);
    outcome asked = cached_run(
        (course){.distill = {.logits = ask, .logits_user = &calls}, .train.augment = "crop"});
    cached_same(&cached, &asked, "a function and a file of the same logits");
    ck_assert_int_eq(calls, 6);
    cached_refused((course){.distill.cache = folder, .train.augment = "mixup"}, KD_E_UNSUPPORTED,
                   "the cache has logits of single pictures, this run's are mixed");
    /* With the labels left out. */
    outcome soft =
        cached_run((course){.distill = {.cache = folder, .hard = KD_OFF}, .train.augment = "crop"});
    ck_assert_msg(soft.status == KD_OK, "%s", soft.error);
    ck_assert(isnan(soft.result.hard_loss) && soft.result.soft_loss > 0);
    /* Of pictures that nobody has labelled. */
    course c = {.data = "synthetic:classes=2,image=16,train=80,test=16",
                .distill = {.cache = folder, .hard = KD_OFF},
                .train = {.augment = "crop", .no_test = 1}};
    outcome flat = cached_run(c);
    ck_assert_msg(flat.status == KD_OK, "%s", flat.error);
    c.distill.hard = 0;
    cached_refused(c, KD_E_MISMATCH, "has 2 classes, the network 10");
    free(flat.weights);
    kd_ctx *other = ctx;
    cached_refused((course){.distill = {.logits = ask, .logits_user = &calls, .cache = folder}},
                   KD_E_INVALID, "logits goes with neither teachers nor a cache");
    outcome ill = cached_run((course){.distill = {.logits = is_ill, .logits_user = &other}});
    ck_assert_int_eq(ill.status, KD_E_IO);
    free(cached.weights);
    free(asked.weights);
    free(soft.weights);
    free(ill.weights);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A value of the description of the run in its checkpoint. */
static void described(const char *out, const char *key, char value[64])
{
    char path[600];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_file *file;
    kd_json_object *run;
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", out);
    test_ok(ctx, kd_file_open(ctx, path, &file));
    const char *text = kd_file_metadata_get(file, "libkd.run");
    ck_assert_ptr_nonnull(text);
    test_ok(ctx, kd_json_parse(ctx, text, strlen(text), &run));
    snprintf(value, 64, "%s", kd_json_get_string(run, key));
    kd_json_object_destroy(run);
    kd_file_close(file);
    kd_ctx_destroy(ctx);
}

/* A teacher that only a cache knows is the one that cache.json names by its sum; without a sum
 * another cache.json is another teacher: the sum is FNV-1a over its text. */
START_TEST(test_foreign_identity)
{
    static const char *const keys[] = {
        "{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,"
        "\"teacher0\":\"resnet\",\"augmentation\":\"any\"}",
        "{\"kind\":\"teacher-cache\",\"format\":1,\"classes\":10,\"rows\":80,"
        "\"teacher0\":\"resnet\",\"teacher0_hash\":\"0123abc\",\"augmentation\":\"any\"}",
    };
    static float logits[80 * 10];
    kd_ctx *ctx = test_ctx(1, NULL);
    char folder[2][500], out[500], value[64], sum[17];
    uint64_t h = 0xCBF29CE484222325u;
    test_fill(logits, 800, 4, 5);
    cached_fresh(out, sizeof out, "identity");
    for (const char *c = keys[0]; *c; c++) h = (h ^ (unsigned char)*c) * 0x100000001B3u;
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)h);
    for (int i = 0; i < 2; i++) {
        cached_fresh(folder[i], sizeof folder[i], "foreign");
        write_foreign(ctx, folder[i], keys[i], logits);
        outcome o = cached_run((course){.distill.cache = folder[i],
                                        .train = {.augment = "crop", .out = out, .overwrite = 1}});
        ck_assert_msg(o.status == KD_OK, "%s", o.error);
        described(out, "teacher0_hash", value);
        ck_assert_str_eq(value, i ? "0123abc" : sum);
        free(o.weights);
    }
    cached_refused(
        (course){.distill.cache = folder[0], .train = {.augment = "crop", .out = out, .resume = 1}},
        KD_E_MISMATCH, "its teacher0_hash is 0123abc, this run's is ");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- a full disk ----------------------------------------------------------------------------- */

/* The cache's folder cannot be written: training goes on, and says so. */
START_TEST(test_unwritable)
{
    char folder[500], part[600];
    cached_fresh(folder, sizeof folder, "full");
    course c = {.teacher = CACHED_LARGE, .train.augment = "crop"};
    outcome live = cached_run(c);
    c.distill.cache = folder;
    c.train.max_steps = 1;
    outcome begins = cached_run(c);
    c.train.max_steps = 0;
    snprintf(part, sizeof part, "%s/epoch-000000.safetensors.part", folder);
    ck_assert_int_eq(unlink(part), 0);
    ck_assert_int_eq(symlink("/dev/full", part), 0);
    outcome full = cached_run(c);
    cached_same(&full, &live, "a full disk");
    ck_assert(!cached_there(folder, 0) && cached_there(folder, 1));
    free(live.weights);
    free(begins.weights);
    free(full.weights);
}
END_TEST

TEST_SUITE(cache, 90, &test_bits, &test_cycle, &test_rounded, &test_stopped, &test_kills,
           &test_two_writers, &test_damage, &test_refused, &test_hostile_key, &test_foreign,
           &test_foreign_identity, &test_unwritable)
