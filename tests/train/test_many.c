/* SPDX-License-Identifier: MIT
 * test_many.c: several students in one pass end with the bits of runs of their own: whatever differs
 * between them, after a stop at any step, with a cache, and when one of them leaves. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4 };

static const char teacher_spec[] = "vgg4_bn,width=0.25,image=24,classes=10";

/* What is common to the students of a test. */
typedef struct course {
    const char *augment, *cache, *folder;
    size_t stop_at; /* steps of all students together */
    bool resume;
    size_t bad; /* a student whose rate spoils it; 0: none */
    kd_on_nan on_nan;
    size_t dev_count;
    uint64_t limit;
} course;

typedef struct outcome {
    kd_status status[N], all;
    kd_result result[N];
    float *weights[N];
    size_t count[N], peak;
    char error[900];
    size_t steps, calls_of[N];
} outcome;

typedef struct watcher {
    outcome *o;
    const course *c;
    size_t number; /* of the student, in a run of its own */
} watcher;

static int watch(void *user, const kd_progress *p)
{
    watcher *w = user;
    if (p->evaluating || p->epoch_end) return 0;
    ck_assert(p->students == 1 || p->student == w->number);
    w->o->steps++;
    w->o->calls_of[w->number]++;
    return w->c->stop_at && w->o->steps >= w->c->stop_at;
}

static const char *const specs[N] = {
    "vgg4_bn,width=0.125,image=16,classes=10",
    "vit_tiny_patch16_224,image=16,patch=4,dim=24,depth=2,heads=3,classes=10,drop_path=0.2",
    "vgg2_bn,width=0.125,image=24,classes=10",
    "vgg3,width=0.125,image=16,classes=10",
};

static void options(const course *c, size_t i, kd_train_opt *t, kd_distill_opt *d, char out[600])
{
    static const size_t epochs[N] = {3, 3, 2, 3}, accumulate[N] = {1, 2, 1, 3};
    static const kd_method methods[N] = {KD_METHOD_KD, KD_METHOD_DKD, KD_METHOD_HARD,
                                         KD_METHOD_STANDARDIZED};
    *t = (kd_train_opt){.struct_size = sizeof *t,
                        .epochs = epochs[i],
                        .batch = 16,
                        .accumulate = accumulate[i],
                        .lr = c->bad == i && i ? 1e6f : .01f,
                        .augment = c->augment ? c->augment : "crop-flip",
                        .seed = 5,
                        .micro_batch = i == 1 ? 7 : 0,
                        .ema = i == 2 ? .9f : 0,
                        .on_nan = c->on_nan,
                        .dev_count = c->dev_count,
                        .keep = c->dev_count && i == 0 ? KD_KEEP_BEST : KD_KEEP_LAST,
                        .resume = c->resume};
    *d = (kd_distill_opt){.struct_size = sizeof *d,
                          .method = methods[i],
                          .dkd_warmup = i == 1 ? 2 : 0,
                          .cache = c->cache,
                          .train = t};
    snprintf(out, 600, "%s/%zu", c->folder ? c->folder : "", i);
    if (c->folder) t->out = out;
}

/* together: in one pass; else one after the other. */
static outcome run(const course *c, bool together)
{
    outcome o = {.all = KD_OK};
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *teacher, *models[N];
    kd_student students[N];
    kd_train_opt train[N];
    kd_distill_opt distill[N];
    watcher w[N];
    static char out[N][600];
    const kd_config config = {.struct_size = sizeof config,
                              .threads = together ? 2 : 1,
                              .max_memory = together ? c->limit : 0};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:image=16,train=90,test=16", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, teacher_spec, 9, &teacher));
    for (size_t i = 0; i < N; i++) {
        test_ok(ctx, kd_model_create(ctx, specs[i], 1, &models[i]));
        options(c, i, &train[i], &distill[i], out[i]);
        w[i] = (watcher){&o, c, i};
        train[i].progress = watch;
        train[i].user = &w[i];
        distill[i].teacher = teacher;
        o.result[i].struct_size = sizeof o.result[i];
        students[i] = (kd_student){.model = models[i], .opt = &distill[i], .result = &o.result[i]};
    }
    if (together) o.all = kd_distill_many(students, N, data);
    snprintf(o.error, sizeof o.error, "%s", o.all ? kd_ctx_error(ctx) : "");
    for (size_t i = 0; i < N; i++) {
        o.status[i] =
            together ? students[i].status : kd_distill(models[i], data, &distill[i], &o.result[i]);
        kd_params *p = kd_model_params(models[i]);
        o.count[i] = kd_params_flat_count(p);
        o.weights[i] = malloc(o.count[i] * sizeof(float));
        memcpy(o.weights[i], kd_params_values(p), o.count[i] * sizeof(float));
        kd_model_destroy(models[i]);
    }
    o.peak = kd_ctx_memory_peak(ctx);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return o;
}

static void outcome_free(outcome *o)
{
    for (size_t i = 0; i < N; i++) free(o->weights[i]);
}

static bool same_bits(double a, double b)
{
    return !memcmp(&a, &b, sizeof a);
}

static void same(const outcome *a, const outcome *b, size_t i)
{
    const kd_result *x = &a->result[i], *y = &b->result[i];
    ck_assert_msg(!memcmp(a->weights[i], b->weights[i], a->count[i] * sizeof(float)),
                  "student %zu: other weights, %g apart", i,
                  test_distance(a->weights[i], b->weights[i], a->count[i]));
    ck_assert_msg(same_bits(x->train_loss, y->train_loss) && same_bits(x->loss, y->loss) &&
                      same_bits(x->soft_loss, y->soft_loss) && same_bits(x->top1, y->top1) &&
                      same_bits(x->teacher_top1, y->teacher_top1) &&
                      same_bits(x->dev_top1, y->dev_top1) && x->steps == y->steps &&
                      x->skipped == y->skipped && x->micro_batch == y->micro_batch,
                  "student %zu: other results", i);
}

static void fresh(char *path, size_t size, const char *name)
{
    static int number;
    snprintf(path, size, "%s/%s%d", test_dir(), name, number++);
}

static void check(course c)
{
    outcome alone = run(&c, false), together = run(&c, true);
    ck_assert_msg(together.all == KD_OK, "%s", together.error);
    for (size_t i = 0; i < N; i++) {
        ck_assert_int_eq(alone.status[i], KD_OK);
        ck_assert_int_eq(together.status[i], KD_OK);
        same(&together, &alone, i);
        ck_assert_uint_eq(together.calls_of[i], alone.calls_of[i]);
    }
    outcome_free(&alone);
    outcome_free(&together);
}

START_TEST(test_bits)
{
    char folder[500];
    check((course){.augment = "crop-flip"});
    check((course){.augment = "none", .dev_count = 20});
    fresh(folder, sizeof folder, "cache");
    check((course){.augment = "crop-altflip", .cache = folder});
}
END_TEST

/* Stopped after any step, and gone on with: nothing is lost, nothing is done twice. */
START_TEST(test_stopped)
{
    char folder[500];
    const course plain = {.augment = "crop-flip"};
    outcome alone = run(&plain, false);
    for (size_t at = 1; at < 30; at += 4) {
        course c = plain;
        fresh(folder, sizeof folder, "stop");
        c.folder = folder;
        c.resume = true;
        c.stop_at = at;
        outcome first = run(&c, true);
        ck_assert_msg(first.all == KD_E_STOPPED, "%d: %s", (int)first.all, first.error);
        for (size_t i = 0; i < N; i++)
            ck_assert(first.status[i] == KD_E_STOPPED || first.status[i] == KD_OK);
        c.stop_at = 5;
        outcome more = run(&c, true);
        outcome_free(&more);
        c.stop_at = 0;
        outcome rest = run(&c, true);
        ck_assert_msg(rest.all == KD_OK, "%s", rest.error);
        for (size_t i = 0; i < N; i++) same(&rest, &alone, i);
        outcome_free(&first);
        outcome_free(&rest);
    }
    outcome_free(&alone);
}
END_TEST

/* Students that stand at different places: each was stopped in a run of its own. */
START_TEST(test_different_places)
{
    char folder[500];
    const course plain = {.augment = "crop-flip"};
    outcome alone = run(&plain, false);
    course c = plain;
    fresh(folder, sizeof folder, "places");
    c.folder = folder;
    c.resume = true;
    c.stop_at = 9; /* in runs one after the other: the first one's ninth step, then at once */
    outcome first = run(&c, false);
    c.stop_at = 0;
    outcome rest = run(&c, true);
    ck_assert_msg(rest.all == KD_OK, "%s", rest.error);
    for (size_t i = 0; i < N; i++) same(&rest, &alone, i);
    outcome_free(&alone);
    outcome_free(&first);
    outcome_free(&rest);
}
END_TEST

/* One student's loss is not finite: it leaves, or skips its steps; the others do not notice. */
START_TEST(test_one_leaves)
{
    for (int skips = 0; skips < 2; skips++) {
        const course c = {
            .augment = "crop-flip", .bad = 3, .on_nan = skips ? KD_NAN_SKIP : KD_NAN_STOP};
        outcome alone = run(&c, false), together = run(&c, true);
        ck_assert_int_eq(together.status[3], alone.status[3]);
        ck_assert_int_eq(together.all, KD_E_NONFINITE);
        ck_assert_msg(strstr(together.error, "student 3: "), "%s", together.error);
        for (size_t i = 0; i < 3; i++) {
            ck_assert_int_eq(together.status[i], KD_OK);
            same(&together, &alone, i);
        }
        outcome_free(&alone);
        outcome_free(&together);
    }
}
END_TEST

/* The arenas are one: what a pass holds is far less than the sum. */
START_TEST(test_memory)
{
    const course c = {.augment = "crop-flip"};
    outcome free_run = run(&c, true);
    course limited = c;
    limited.limit = 2 * free_run.peak;
    outcome within = run(&limited, true);
    ck_assert_msg(within.all == KD_OK, "%s", within.error);
    ck_assert_uint_le(within.peak, limited.limit);
    for (size_t i = 0; i < N; i++) same(&within, &free_run, i);
    limited.limit = free_run.peak / 8;
    outcome refused = run(&limited, true);
    ck_assert_int_eq(refused.all, KD_E_LIMIT);
    outcome_free(&free_run);
    outcome_free(&within);
    outcome_free(&refused);
}
END_TEST

START_TEST(test_refused)
{
    static const char *const words[] = {"batch",       "seed",           "dev_count", "drop_last",
                                        "augment",     "augment_epochs", "cache",     "same model",
                                        "same folder", "budget_seconds", "framed"};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_dataset *data;
        kd_model *m[3];
        test_ok(ctx, kd_dataset_open(ctx, "synthetic:image=16,train=90,test=16", NULL, &data));
        test_ok(ctx, kd_model_create(ctx, specs[0], 1, &m[0]));
        test_ok(ctx, kd_model_create(ctx, k == 10 ? specs[2] : specs[0], 1, &m[1]));
        test_ok(ctx, kd_model_create(ctx, specs[0], 2, &m[2]));
        kd_train_opt t[2] = {{.struct_size = sizeof t[0], .augment = k == 10 ? "rrc" : "crop"},
                             {.struct_size = sizeof t[0], .augment = k == 10 ? "rrc" : "crop"}};
        kd_distill_opt d[2] = {{.struct_size = sizeof d[0], .teacher = m[2], .train = &t[0]},
                               {.struct_size = sizeof d[0], .teacher = m[2], .train = &t[1]}};
        if (k == 0) t[1].batch = 16;
        if (k == 1) t[1].seed = 1;
        if (k == 2) t[1].dev_count = 1;
        if (k == 3) t[1].drop_last = 1;
        if (k == 4) t[1].augment = "flip";
        if (k == 5) t[1].augment_epochs = 1;
        if (k == 6) d[1].cache = test_dir();
        if (k == 8) t[0].out = t[1].out = test_dir();
        if (k == 9) t[0].budget_seconds = t[1].budget_seconds = 1;
        kd_student s[2] = {{.model = m[0], .opt = &d[0]},
                           {.model = m[k == 7 ? 0 : 1], .opt = &d[1]}};
        ck_assert_int_eq(kd_distill_many(s, 2, data), KD_E_INVALID);
        ck_assert_msg(strstr(kd_ctx_error(ctx), words[k]), "%s: %s", words[k], kd_ctx_error(ctx));
        ck_assert_int_eq(s[0].status, KD_E_INVALID);
        for (int i = 0; i < 3; i++) kd_model_destroy(m[i]);
        kd_dataset_close(data);
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

TEST_SUITE(many, 120, &test_bits, &test_stopped, &test_different_places, &test_one_leaves,
           &test_memory, &test_refused)
