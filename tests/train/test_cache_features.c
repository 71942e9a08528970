/* SPDX-License-Identifier: MIT
 * test_cache_features.c: a teacher cache with features, which are taps of the teacher. Students learn
 * from them with the bits of a live teacher; the teacher may be another program's, and have no
 * logits. What a cache has not is refused by name. */
#include "cached.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of other classes than the student, and of a wider embedding. */
static const char other[] = "vgg4_bn,width=0.5,image=16,classes=6";

#define FEATURE(name) .distill.feature = KD_FEATURE_##name

START_TEST(test_bits)
{
    cached_check((course){.teacher = CACHED_LARGE, .train.augment = "crop-flip", FEATURE(COSINE)},
                 "cosine", 2);
    cached_check((course){.teacher = other, .train.augment = "crop", FEATURE(EMBEDDING)},
                 "other classes", 2);
    cached_check((course){.teacher = other,
                          .train.augment = "crop",
                          .distill = {.feature = KD_FEATURE_COSINE, .hard = KD_OFF}},
                 "without labels", 2);
    cached_check((course){.teacher = CACHED_LARGE,
                          .train.augment = "crop",
                          .distill = {.feature = KD_FEATURE_COSINE, .soft = .5f, .hard = .5f}},
                 "logits, too", 2);
    cached_check((course){.teacher = CACHED_LARGE, .train.augment = "flip+mixup", FEATURE(RKD)},
                 "rkd", 2);
    cached_check((course){.teacher = CACHED_LARGE, .train.augment = "crop", FEATURE(HINT)},
                 "a hint", 2);
    cached_check((course){.teacher = CACHED_LARGE, .train.augment = "none", FEATURE(AT)}, "at", 1);
    cached_check((course){.student = CACHED_VIT,
                          .teacher = CACHED_VIT,
                          .train = {.augment = "crop", .micro_batch = 7},
                          FEATURE(TOKENS)},
                 "tokens", 2);
    cached_check((course){.student = CACHED_VIT,
                          .teacher = CACHED_VIT,
                          .train.augment = "crop",
                          FEATURE(ATTENTION)},
                 "attention", 2);
    cached_check((course){.teacher = CACHED_LARGE,
                          .train.augment = "crop",
                          .distill = {.feature = KD_FEATURE_EMBEDDING,
                                      .student_tap = "stages.1",
                                      .teacher_tap = "stages.2"}},
                 "taps that are named", 2);
}
END_TEST

/* Whoever fills a cache that has features keeps all of it, and logits are those of a teacher whose
 * taps nobody reads. */
START_TEST(test_shared)
{
    char folder[500], plain[500];
    cached_fresh(folder, sizeof folder, "shared");
    cached_fresh(plain, sizeof plain, "plain");
    const course logits = {.teacher = CACHED_LARGE, .train = {.augment = "crop", .epochs = 3}};
    course c = logits;
    outcome live = cached_run(c);
    c.distill.feature = KD_FEATURE_COSINE;
    outcome features = cached_run(c);
    c.distill.cache = folder;
    c.train.max_steps = 3; /* the first epoch: the key has features */
    outcome begins = cached_run(c);
    ck_assert_msg(begins.status == KD_OK, "%s", begins.error);
    c = logits;
    c.distill.cache = folder;
    outcome fills = cached_run(c); /* of the logits' student */
    cached_same(&fills, &live, "logits of a cache with features");
    c.teacher = NULL;
    c.distill.feature = KD_FEATURE_COSINE;
    outcome reads = cached_run(c);
    cached_same(&reads, &features, "features that a student of logits kept");
    c = logits;
    c.distill.cache = plain;
    outcome without = cached_run(c);
    c.distill.feature = KD_FEATURE_COSINE;
    cached_refused(
        c, KD_E_MISMATCH,
        "has not the teacher's tap embedding, which this loss reads: it has no features");
    free(live.weights);
    free(features.weights);
    free(begins.weights);
    free(fills.weights);
    free(reads.weights);
    free(without.weights);
}
END_TEST

/* Rounded: who fills the cache and who reads it learn the same, near what a live teacher teaches. */
START_TEST(test_rounded)
{
    char folder[500];
    cached_fresh(folder, sizeof folder, "rounded");
    course c = {.teacher = other, .train.augment = "crop", FEATURE(COSINE)};
    outcome live = cached_run(c);
    c.distill.cache = folder;
    c.distill.cache_precision = KD_CACHE_FLOAT16;
    outcome fills = cached_run(c);
    c.teacher = NULL;
    outcome reads = cached_run(c);
    cached_same(&reads, &fills, "float16");
    const double apart = test_distance(fills.weights, live.weights, live.count);
    ck_assert_double_gt(apart, 0);
    ck_assert_double_lt(apart, 1e-3);
    free(live.weights);
    free(fills.weights);
    free(reads.weights);
}
END_TEST

/* The most likely classes alone, and features whole: of a student that reads features alone nothing
 * is rounded. */
START_TEST(test_top)
{
    for (int half = 0; half < 2; half++) {
        char folder[500];
        cached_fresh(folder, sizeof folder, "top");
        course c = {.teacher = CACHED_LARGE, .train.augment = "crop", FEATURE(COSINE)};
        outcome live = cached_run(c);
        c.distill.cache = folder;
        c.distill.cache_top = 3;
        c.distill.cache_precision = half ? KD_CACHE_FLOAT16 : KD_CACHE_FLOAT32;
        outcome fills = cached_run(c);
        ck_assert_msg(fills.status == KD_OK, "%s", fills.error);
        c.teacher = NULL;
        outcome reads = cached_run(c);
        cached_same(&reads, &fills, "top");
        const double apart = test_distance(fills.weights, live.weights, live.count);
        ck_assert(half ? apart > 0 && apart < 1e-3 : apart <= 0);
        c.distill.soft = .5f;
        c.teacher = CACHED_LARGE;
        outcome both = cached_run(c);
        c.teacher = NULL;
        outcome again = cached_run(c);
        cached_same(&again, &both, "top, and logits");
        free(live.weights);
        free(fills.weights);
        free(reads.weights);
        free(both.weights);
        free(again.weights);
    }
}
END_TEST

/* Killed at random moments, then cut: what is whole is used, what is not is an error, or mended. */
START_TEST(test_kills_and_damage)
{
    char folder[500];
    cached_fresh(folder, sizeof folder, "kills");
    course c = {.teacher = other, .train = {.augment = "crop", .batch = 8}, FEATURE(COSINE)};
    outcome live = cached_run(c);
    c.distill.cache = folder;
    cached_killed(c, 12, 40000);
    outcome rest = cached_run(c);
    cached_same(&rest, &live, "after kills");
    course alone = c;
    alone.teacher = NULL;
    outcome reads = cached_run(alone);
    cached_same(&reads, &live, "read after kills");
    cached_flip(folder, 1, false, 50);
    cached_refused(alone, KD_E_FORMAT, "epoch-000001.safetensors: row 79 is damaged");
    outcome mends = cached_run(c);
    cached_same(&mends, &live, "mended");
    char path[600];
    struct stat about;
    snprintf(path, sizeof path, "%s/epoch-000000.safetensors", folder);
    ck_assert(!stat(path, &about) && !truncate(path, about.st_size - 100));
    cached_refused(alone, KD_E_FORMAT, "epoch-000000.safetensors");
    free(live.weights);
    free(rest.weights);
    free(reads.weights);
    free(mends.weights);
}
END_TEST

/* ---- others' features ------------------------------------------------------------------------ */

enum { ROWS = CACHED_ROWS, WIDTH = 3 };

static void write_foreign(kd_ctx *ctx, const char *folder, const char *key, const float *logits,
                          const char *name, const float *features, size_t width)
{
    char text[500];
    const foreign f = {folder, text, logits, name, features, width};
    snprintf(text, sizeof text, "{\"kind\":\"teacher-cache\",\"format\":1,\"rows\":80,%s}", key);
    cached_foreign(ctx, &f);
}

START_TEST(test_foreign)
{
    static const char nothing[] =
        "\"classes\":0,\"teacher0\":\"dino\",\"augmentation\":\"any\",\"features\":\"pooled=3\"";
    static float features[ROWS * WIDTH], logits[ROWS * 10];
    char folder[500], with[500];
    kd_ctx *ctx = test_ctx(1, NULL);
    test_fill(features, ROWS * WIDTH, 2, 5);
    test_fill(logits, ROWS * 10, 4, 6);
    cached_fresh(folder, sizeof folder, "foreign");
    cached_fresh(with, sizeof with, "foreign");
    write_foreign(ctx, folder, nothing, NULL, "pooled", features, WIDTH);
    course c = {.train.augment = "crop",
                .distill = {.cache = folder,
                            .feature = KD_FEATURE_COSINE,
                            .teacher_tap = "pooled",
                            .hard = KD_OFF}};
    outcome learns = cached_run(c);
    ck_assert_msg(learns.status == KD_OK, "%s", learns.error);
    ck_assert(isnan(learns.result.hard_loss) && isnan(learns.result.soft_loss) &&
              isnan(learns.result.agreement) && isnan(learns.result.teacher_top1));
    ck_assert(learns.result.train_loss > 0 && learns.result.train_loss < 2);
    /* What the features are counts. */
    test_fill(features, ROWS * WIDTH, 2, 7);
    write_foreign(ctx, with,
                  "\"classes\":10,\"teacher0\":\"resnet\",\"augmentation\":\"any\","
                  "\"features\":\"pooled=3\"",
                  logits, "pooled", features, WIDTH);
    c.distill.cache = with;
    outcome others = cached_run(c);
    ck_assert_msg(others.status == KD_OK, "%s", others.error);
    ck_assert(memcmp(others.weights, learns.weights, learns.count * sizeof(float)) != 0);
    c.distill.soft = .5f; /* and logits, which this one has */
    outcome both = cached_run(c);
    ck_assert_msg(both.status == KD_OK && both.result.soft_loss > 0, "%s", both.error);
    c.distill.cache = folder;
    cached_refused(c, KD_E_MISMATCH,
                   "the cache has no logits, and this run reads them: it has pooled");
    c.distill.soft = 0;
    c.distill.feature = KD_FEATURE_NONE;
    c.distill.teacher_tap = NULL;
    cached_refused(c, KD_E_MISMATCH, "the cache has no logits, and this run reads them");
    c.distill.feature = KD_FEATURE_COSINE;
    cached_refused(c, KD_E_MISMATCH, "the teacher (dino) has no tap embedding; it has pooled");
    c.distill.teacher_tap = "poled";
    cached_refused(c, KD_E_INVALID, "teacher_tap: the teacher (dino) has no tap 'poled'");
    c.distill.teacher_tap = NULL;
    c.distill.feature = KD_FEATURE_HINT;
    cached_refused(c, KD_E_INVALID, "hint compares layers, and which of the teacher's (dino)");
    c.distill.feature = KD_FEATURE_AT;
    c.distill.teacher_tap = "pooled";
    c.distill.student_tap = "stages.1";
    cached_refused(c, KD_E_INVALID, "cannot be compared");
    c = (course){.train.augment = "mixup", .distill = {.cache = folder}, FEATURE(COSINE)};
    c.distill.teacher_tap = "pooled";
    cached_refused(c, KD_E_UNSUPPORTED, "the cache has logits of single pictures");
    free(learns.weights);
    free(others.weights);
    free(both.weights);
    kd_ctx_destroy(ctx);
}
END_TEST

static kd_value own(void *user, const kd_loss_graph *step)
{
    (void)user;
    kd_graph *g = step->graph;
    const kd_value target = step->teacher_taps[0].value;
    const int width = (int)kd_graph_shape(g, target).dim[1];
    return kd_loss_mse(g, kd_linear(g, step->student_taps[0].value, "to", width, 0), target);
}

/* A loss of the caller's own reads them, too. */
START_TEST(test_own_loss)
{
    static const char *const student[] = {"embedding"}, *const teacher[] = {"embedding"};
    char folder[500];
    cached_fresh(folder, sizeof folder, "own");
    course c = {.teacher = "vgg4_bn,width=0.015625,image=16,classes=10",
                .train.augment = "crop",
                .distill = {.loss = own,
                            .student_taps = student,
                            .n_student_taps = 1,
                            .teacher_taps = teacher,
                            .n_teacher_taps = 1}};
    outcome live = cached_run(c);
    ck_assert_msg(live.status == KD_OK, "%s", live.error);
    c.distill.cache = folder;
    outcome fills = cached_run(c);
    cached_same(&fills, &live, "an own loss fills");
    c.teacher = NULL;
    outcome reads = cached_run(c);
    cached_same(&reads, &live, "an own loss reads");
    free(live.weights);
    free(fills.weights);
    free(reads.weights);
}
END_TEST

static const char *meanwhile; /* a folder */

static kd_value begins_another(void *user, const kd_loss_graph *step)
{
    kd_ctx *ctx = kd_graph_ctx(step->graph);
    char path[600];
    snprintf(path, sizeof path, "%s/cache.json", meanwhile);
    test_ok(ctx, kd_folder_make(ctx, meanwhile));
    test_ok(ctx, kd_file_write_atomic(ctx, path, "{}", 2));
    return own(user, step);
}

/* Another process begins the cache after this run has looked: the run ends, and leaves it alone. */
START_TEST(test_begun_meanwhile)
{
    static const char *const taps[] = {"embedding"};
    char folder[500], part[600];
    cached_fresh(folder, sizeof folder, "meanwhile");
    meanwhile = folder;
    cached_refused((course){.teacher = CACHED_LARGE,
                            .train.augment = "crop",
                            .distill = {.cache = folder,
                                        .loss = begins_another,
                                        .student_taps = taps,
                                        .n_student_taps = 1,
                                        .teacher_taps = taps,
                                        .n_teacher_taps = 1}},
                   KD_E_MISMATCH, "another process has begun this cache meanwhile");
    snprintf(part, sizeof part, "%s/epoch-000000.safetensors.part", folder);
    ck_assert(access(part, F_OK) != 0 && !cached_there(folder, 0));
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

#define LONG "fifty_letters_which_are_far_too_many_for_one_name."

START_TEST(test_hostile)
{
    static const char *const bad[] = {"",
                                      "pooled",
                                      "pooled=",
                                      "pooled=0",
                                      "pooled=03",
                                      "pooled=3,",
                                      "=3",
                                      "pooled=3x",
                                      "pooled=3x1x1x1",
                                      "pooled=3,pooled=3",
                                      "pooled=-3",
                                      "po oled=3",
                                      "pooled=16777217",
                                      "pooled=4096x4096x2",
                                      "pooled=99999999999999999999999",
                                      "a_name_that_is_as_long_as_forty_letters_1=3",
                                      LONG LONG LONG LONG LONG "=3",
                                      "pooled=3x0",
                                      "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1,"
                                      "p=1,q=1"};
    static float features[ROWS * WIDTH];
    kd_ctx *ctx = test_ctx(1, NULL);
    char folder[500], key[400];
    course c = {.train.augment = "crop",
                .distill = {.cache = folder,
                            .feature = KD_FEATURE_COSINE,
                            .teacher_tap = "pooled",
                            .hard = KD_OFF}};
    test_fill(features, ROWS * WIDTH, 2, 5);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cached_fresh(folder, sizeof folder, "hostile");
        snprintf(key, sizeof key, "\"classes\":0,\"augmentation\":\"any\",\"features\":\"%s\"",
                 bad[i]);
        write_foreign(ctx, folder, key, NULL, "pooled", features, WIDTH);
        cached_refused(c, KD_E_FORMAT, "'features' is no list such as ");
    }
    static const struct {
        const char *key, *words;
        size_t width;
    } keys[] = {
        {"\"classes\":0", "'classes'", WIDTH},
        {"\"classes\":0,\"features\":3", "'features' is no list", WIDTH},
        {"\"classes\":0,\"features\":\"pooled=3\",\"teachers\":2", "'teachers'", WIDTH},
        {"\"classes\":0,\"features\":\"pooled=3\",\"top\":1", "'top'", WIDTH},
        {"\"classes\":0,\"features\":\"pooled=3\"",
         "'feature.pooled' is missing or is not f32 [80,3]", 2},
        {"\"classes\":0,\"features\":\"pooled=3,a=1\"", "'feature.a' is missing", WIDTH},
        {"\"classes\":10,\"features\":\"pooled=3\"", "'logits0' is missing", WIDTH},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        cached_fresh(folder, sizeof folder, "hostile");
        snprintf(key, sizeof key, "%s,\"augmentation\":\"any\"", keys[i].key);
        write_foreign(ctx, folder, key, NULL, "pooled", features, keys[i].width);
        cached_refused(c, KD_E_FORMAT, keys[i].words);
    }
    features[50 * WIDTH] = INFINITY;
    cached_fresh(folder, sizeof folder, "hostile");
    write_foreign(ctx, folder, "\"classes\":0,\"features\":\"pooled=3\",\"augmentation\":\"any\"",
                  NULL, "pooled", features, WIDTH);
    cached_refused(c, KD_E_FORMAT, "epoch-000000.safetensors: row 50 is damaged");
    kd_ctx_destroy(ctx);
}
END_TEST

/* A cache that says another width than its teacher has, or keeps logits that nobody can make. */
START_TEST(test_refused)
{
    static float features[ROWS * WIDTH];
    kd_ctx *ctx = test_ctx(1, NULL);
    char folder[500];
    test_fill(features, ROWS * WIDTH, 2, 5);
    cached_fresh(folder, sizeof folder, "width");
    write_foreign(ctx, folder,
                  "\"classes\":0,\"features\":\"embedding=3\",\"augmentation\":\"any\"", NULL,
                  "embedding", features, WIDTH);
    cached_refused(
        (course){
            .teacher = other, .train.augment = "crop", .distill.cache = folder, FEATURE(COSINE)},
        KD_E_MISMATCH, "the cache's tap embedding has 3 numbers a picture");
    cached_refused(
        (course){
            .teacher = other,
            .train.augment = "crop",
            .distill = {.cache = folder, .feature = KD_FEATURE_HINT, .teacher_tap = "stages.1"}},
        KD_E_MISMATCH, "has not the teacher's tap stages.1");
    /* With logits of six classes, of which one epoch is there. */
    cached_fresh(folder, sizeof folder, "six");
    course six = {.student = "vgg4_bn,width=0.125,image=16,classes=6",
                  .teacher = other,
                  .data = "synthetic:classes=6,image=16,train=80,test=16",
                  .train = {.augment = "none", .epochs = 1},
                  .distill = {.cache = folder, .feature = KD_FEATURE_COSINE}};
    outcome o = cached_run(six);
    ck_assert_msg(o.status == KD_OK, "%s", o.error);
    course ten = six;
    ten.student = NULL;
    ten.distill.hard = KD_OFF;
    ten.train.no_test = 1;
    outcome reads = cached_run(ten); /* nobody looks at its logits */
    ck_assert_msg(reads.status == KD_OK && isnan(reads.result.agreement), "%s", reads.error);
    char path[600];
    snprintf(path, sizeof path, "%s/epoch-000000.safetensors", folder);
    ck_assert(!unlink(path));
    cached_refused(ten, KD_E_UNSUPPORTED,
                   "the cache lacks rows of this run, and keeps logits of 6 classes, too");
    ten.distill.cache_top = 3;
    cached_fresh(folder, sizeof folder, "top");
    cached_refused(ten, KD_E_INVALID, "cache_top: the teacher has other classes");
    cached_refused((course){.teacher = "swin_tiny_patch4_window7_224,image=16,patch=2,dim=12,"
                                       "depth=1-1,heads=1-2,window=4,classes=10",
                            .student = "swin_tiny_patch4_window7_224,image=16,patch=2,dim=12,"
                                       "depth=1-1,heads=1-2,window=4,classes=10",
                            .train.augment = "crop",
                            .distill = {.cache = folder,
                                        .feature = KD_FEATURE_ATTENTION,
                                        .student_tap = "layers.0.blocks.0.attn",
                                        .teacher_tap = "layers.0.blocks.0.attn"}},
                   KD_E_UNSUPPORTED, "of one row a picture");
    free(o.weights);
    free(reads.weights);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(cache_features, 90, &test_bits, &test_shared, &test_rounded, &test_top,
           &test_kills_and_damage, &test_foreign, &test_own_loss, &test_begun_meanwhile,
           &test_hostile, &test_refused)
