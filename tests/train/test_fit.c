/* SPDX-License-Identifier: MIT
 * test_fit.c: training within a limit of memory: values that are computed again change no bit,
 * smaller pieces are taken where they may be, and a refusal's number is enough. */
#include "../test.h"

#include <kd/kd.h>

#include "../../lib/train/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char vit[] = "vit_tiny_patch16_224,image=32,patch=4,dim=24,depth=4,heads=3,classes=10,"
                          "drop_path=0.2";
static const char vgg[] = "vgg8_bn,width=0.25,image=32,classes=10";

/* A teacher whose values are more than those of the student. */
static const char wide[] =
    "vit_tiny_patch16_224,image=64,patch=4,dim=96,depth=2,heads=3,classes=10";

typedef struct outcome {
    kd_status status;
    kd_result result;
    size_t needed; /* what a refusal says */
    float *weights;
    char *buffers;
    size_t count, buffer_bytes;
    char error[400];
} outcome;

typedef struct course {
    const char *student, *teacher;
    size_t limit, micro, batch; /* batch 0: 32 */
    int threads;
    bool bare; /* no evaluations: they take more than this network's training */
} course;

static kd_status train(kd_ctx *ctx, const course *c, outcome *o)
{
    kd_dataset *data = NULL;
    kd_model *m = NULL, *teacher = NULL;
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                         .epochs = 1,
                                                         .batch = c->batch ? c->batch : 32,
                                                         .lr = .01f,
                                                         .dev_count = c->bare ? 0 : 10,
                                                         .no_test = c->bare,
                                                         .augment = "crop-flip",
                                                         .seed = 3,
                                                         .micro_batch = c->micro}};
    kd_status status = kd_dataset_open(ctx, "synthetic:train=74,test=16", NULL, &data);
    if (!status) status = kd_model_create(ctx, c->student, 1, &m);
    if (!status && c->teacher) status = kd_model_create(ctx, c->teacher, 2, &teacher);
    if (!status) {
        kd_distill_opt with = opt;
        with.teacher = teacher;
        status = teacher ? kd_distill(m, data, &with, &o->result)
                         : kd_train(m, data, opt.train, &o->result);
    }
    if (!status) {
        kd_params *p = kd_model_params(m);
        o->count = kd_params_flat_count(p);
        o->weights = malloc(o->count * sizeof *o->weights);
        memcpy(o->weights, kd_params_values(p), o->count * sizeof *o->weights);
        o->buffer_bytes = kd_params_buffer_bytes(p);
        o->buffers = malloc(o->buffer_bytes + 1);
        memcpy(o->buffers, kd_params_buffers(p), o->buffer_bytes);
    }
    kd_model_destroy(m);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    return status;
}

static outcome run(course c)
{
    outcome o = {.result.struct_size = sizeof o.result};
    kd_ctx *ctx;
    size_t limit, held, more;
    const kd_config config = {
        .struct_size = sizeof config, .threads = c.threads, .max_memory = c.limit};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    ck_assert_uint_eq(kd_ctx_memory_limit(ctx), c.limit);
    o.status = train(ctx, &c, &o);
    snprintf(o.error, sizeof o.error, "%s", kd_ctx_error(ctx));
    if (o.status) {
        ck_assert_msg(o.status == KD_E_LIMIT, "%s", o.error);
        ck_assert_msg(sscanf(o.error,
                             "memory limit of %zu bytes: %zu are held and %zu more are needed "
                             "(%zu in all)",
                             &limit, &held, &more, &o.needed) == 4,
                      "%s", o.error);
        ck_assert_uint_gt(o.needed, c.limit);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    if (c.limit) ck_assert_uint_le(kd_ctx_memory_peak(ctx), c.limit);
    kd_ctx_destroy(ctx);
    return o;
}

static void outcome_free(outcome *o)
{
    free(o->weights);
    free(o->buffers);
}

/* From a limit that is too low to one that is enough. The step's refusal names all that a run
 * needs, the allocator's only what one more block does: after that one, and a little more. */
static outcome find(course *c, bool *named)
{
    outcome o = run(*c);
    *named = false;
    for (int i = 0; o.status; i++) {
        ck_assert_msg(i < 30, "%s", o.error);
        *named = o.needed > c->limit + c->limit / 16;
        c->limit = *named ? o.needed : c->limit + c->limit / 16;
        o = run(*c);
    }
    return o;
}

static void check(course c, size_t start)
{
    bool named;
    c.threads = 2;
    outcome free_run = run(c);
    ck_assert_msg(free_run.status == KD_OK, "%s", free_run.error);
    c.limit = free_run.result.peak_bytes / start;
    outcome least = find(&c, &named);
    ck_assert_uint_eq(least.result.micro_batch, 32);
    /* What is saved is values: how large a part they are depends on the threads' scratch memory. */
    ck_assert_msg(c.limit < free_run.result.peak_bytes, "%s: %zu of %zu", c.student, c.limit,
                  free_run.result.peak_bytes);
    ck_assert_mem_eq(least.weights, free_run.weights, least.count * sizeof(float));
    ck_assert_mem_eq(least.buffers, free_run.buffers, least.buffer_bytes);
    if (c.bare) /* nothing was tested */
        ck_assert(isnan(least.result.loss) && isnan(free_run.result.loss));
    else
        ck_assert(least.result.loss == free_run.result.loss);
    if (named) { /* by the plan of the step to the byte; before it is made, by counting */
        const size_t enough = c.limit--;
        outcome refused = run(c);
        if (refused.status) {
            ck_assert_uint_eq(refused.needed, enough);
        } else {
            outcome_free(&refused);
            c.limit = enough - enough / 50;
            refused = run(c);
            ck_assert_int_eq(refused.status, KD_E_LIMIT);
        }
    }
    outcome_free(&free_run);
    outcome_free(&least);
}

START_TEST(test_same_bits_in_less_memory)
{
    check((course){.student = vit}, 4);
    check((course){.student = vgg, .bare = true}, 2);
    check((course){.student = vit, .teacher = "vgg4_bn,width=0.125,image=32,classes=10"}, 4);
    check((course){.student = vgg, .teacher = wide, .bare = true}, 2);
}
END_TEST

/* Where the batch may be cut, a limit makes the pieces smaller; how small does not depend on the
 * threads. */
START_TEST(test_pieces_in_less_memory)
{
    course c = {.student = vit, .threads = 2};
    outcome whole = run(c);
    c.micro = KD_MICRO_AUTO;
    c.limit = whole.result.peak_bytes / 4;
    bool named;
    outcome o = find(&c, &named);
    ck_assert_uint_lt(o.result.micro_batch, 32);
    ck_assert_double_lt(test_distance(o.weights, whole.weights, o.count), 1e-4);
    c.limit += c.limit / 8;
    outcome two = run(c);
    c.threads = 7;
    outcome seven = run(c);
    ck_assert_int_eq(two.status, KD_OK);
    if (!seven.status) {
        ck_assert_uint_eq(two.result.micro_batch, seven.result.micro_batch);
        ck_assert_mem_eq(two.weights, seven.weights, two.count * sizeof(float));
        outcome_free(&seven);
    }
    outcome_free(&whole);
    outcome_free(&o);
    outcome_free(&two);
}
END_TEST

/* From what the data and the network take on, a refusal names all that the run needs at least: whoever
 * follows it is there after a few, before any step, and not led beyond a quarter more than is enough. */
START_TEST(test_least)
{
    static const course courses[] = {{.student = vgg, .batch = 64, .threads = 1},
                                     {.student = vit, .threads = 1, .bare = true},
                                     {.student = vit, .teacher = wide, .threads = 1}};
    for (size_t i = 0; i < sizeof courses / sizeof *courses; i++) {
        course c = courses[i];
        outcome o = run(c);
        ck_assert_msg(o.status == KD_OK, "%s", o.error);
        const size_t enough = o.result.peak_bytes;
        outcome_free(&o);
        int refused = 0;
        for (c.limit = enough / 2; (o = run(c)).status; c.limit = o.needed) {
            ck_assert_msg(o.result.steps == 0, "refused after a step: %s", o.error);
            ck_assert_uint_le(o.needed, enough + enough / 4);
            ck_assert_msg(++refused < 4, "%s", o.error);
            outcome_free(&o);
        }
        outcome_free(&o);
    }
}
END_TEST

/* Whoever may cut the batch and does not is told that it would help; nobody else is. */
START_TEST(test_hint)
{
    static const char hint[] = "; smaller pieces of the batch (micro_batch) need less";
    const course cases[] = {{.student = vit, .threads = 1, .bare = true},
                            {.student = vit, .threads = 1, .bare = true, .micro = 4},
                            {.student = vgg, .threads = 1, .bare = true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        course c = cases[i];
        outcome o = run(c);
        ck_assert_int_eq(o.status, KD_OK);
        bool hinted = false;
        size_t low = 0, high = o.result.peak_bytes;
        outcome_free(&o);
        for (int k = 0; k < 12 && !hinted; k++) { /* a limit that the step alone does not keep */
            c.limit = (low + high) / 2;
            o = run(c);
            hinted = o.status && strstr(o.error, hint);
            if (o.status)
                low = c.limit;
            else
                high = c.limit;
            outcome_free(&o);
        }
        ck_assert_msg(hinted == (i == 0), "%zu: %s", i, o.error);
    }
}
END_TEST

/* What an evaluation is said to take beforehand is what it takes, or a little more. */
START_TEST(test_evaluation)
{
    static const char *const specs[] = {"vgg8_bn,width=0.5,image=32,classes=10",
                                        "vit_tiny_patch16_224,image=32,patch=4,dim=48,depth=2,"
                                        "heads=3,classes=10"};
    for (int i = 0; i < 2; i++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_dataset *data;
        kd_model *m;
        size_t bytes;
        test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=1,test=200", NULL, &data));
        test_ok(ctx, kd_model_create(ctx, specs[i], 1, &m));
        const size_t held = kd_ctx_memory(ctx);
        test_ok(ctx, kd_evaluate(m, data, NULL, NULL));
        const size_t taken = kd_ctx_memory_peak(ctx) - held;
        test_ok(ctx, kdt_evaluate_bytes(m, 200, 0, &bytes));
        ck_assert_msg(taken <= bytes && (double)bytes < 1.1 * (double)taken,
                      "%s takes %zu bytes, said were %zu", specs[i], taken, bytes);
        kd_model_destroy(m);
        kd_dataset_close(data);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

static kd_status answer(void *user, const float *pictures, size_t n, float *logits)
{
    (void)user, (void)pictures;
    memset(logits, 0, n * 10 * sizeof *logits);
    return KD_OK;
}

/* Of one in which no network runs there is nothing to count: the error says what it was for. */
START_TEST(test_answers)
{
    kd_config config = {.struct_size = sizeof config, .threads = 1};
    const kd_eval_opt opt = {.struct_size = sizeof opt, .answer = answer};
    for (int i = 0; i < 2; i++) {
        kd_ctx *ctx;
        kd_dataset *data;
        kd_model *m;
        ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
        test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=1,test=200", NULL, &data));
        test_ok(ctx, kd_model_create(ctx, vgg, 1, &m));
        const size_t held = kd_ctx_memory(ctx);
        ck_assert_int_eq(kd_evaluate(m, data, &opt, NULL), i ? KD_E_LIMIT : KD_OK);
        if (i) ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), ", for the evaluation"));
        config.max_memory = held + (kd_ctx_memory_peak(ctx) - held) / 2;
        kd_model_destroy(m);
        kd_dataset_close(data);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

/* One on some pictures set aside takes what is counted for so many, not for all of the split. */
START_TEST(test_development)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    kd_model *m;
    size_t bytes;
    const kd_eval_opt opt = {.struct_size = sizeof opt, .split = KD_EVAL_DEV, .dev_count = 10};
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=200,test=1", NULL, &data));
    test_ok(ctx, kd_model_create(ctx, vgg, 1, &m));
    test_ok(ctx, kdt_evaluate_bytes(m, 10, 0, &bytes));
    const size_t held = kd_ctx_memory(ctx);
    test_ok(ctx, kd_evaluate(m, data, &opt, NULL));
    const size_t taken = kd_ctx_memory_peak(ctx) - held;
    ck_assert_msg(taken <= bytes, "it takes %zu bytes, said were %zu", taken, bytes);
    kd_model_destroy(m);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A batch holds no more than the set, 64 pictures: one that is asked to be 2^13 of them takes the
 * memory of 64, and by exact powers of two the same bits. */
START_TEST(test_batch_of_all)
{
    for (int i = 0; i < 2; i++) {
        course c = {.student = i ? vit : vgg, .teacher = wide, .batch = 64, .threads = 2};
        outcome all = run(c);
        c.batch = (size_t)64 << 13;
        outcome asked = run(c);
        ck_assert_msg(!all.status && !asked.status, "%s%s", all.error, asked.error);
        ck_assert_uint_eq(asked.result.micro_batch, 64);
        ck_assert_uint_eq(asked.result.peak_bytes, all.result.peak_bytes);
        ck_assert_mem_eq(asked.weights, all.weights, all.count * sizeof(float));
        ck_assert(asked.result.train_loss == all.result.train_loss);
        outcome_free(&all);
        outcome_free(&asked);
    }
}
END_TEST

/* An evaluation's batch, too. */
START_TEST(test_evaluation_of_all)
{
    size_t peak[2];
    kd_eval_result r[2];
    for (int i = 0; i < 2; i++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_dataset *data;
        kd_model *m;
        const kd_eval_opt opt = {.struct_size = sizeof opt, .batch = i ? 1000000 : 20};
        r[i].struct_size = sizeof r[i];
        test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=1,test=20", NULL, &data));
        test_ok(ctx, kd_model_create(ctx, vgg, 1, &m));
        test_ok(ctx, kd_evaluate(m, data, &opt, &r[i]));
        peak[i] = kd_ctx_memory_peak(ctx);
        kd_model_destroy(m);
        kd_dataset_close(data);
        kd_ctx_destroy(ctx);
    }
    ck_assert_uint_eq(peak[0], peak[1]);
    ck_assert(r[0].loss == r[1].loss);
}
END_TEST

TEST_SUITE(fit, 90, &test_same_bits_in_less_memory, &test_pieces_in_less_memory, &test_least,
           &test_hint, &test_evaluation, &test_answers, &test_development, &test_batch_of_all,
           &test_evaluation_of_all)
