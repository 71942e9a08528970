/* SPDX-License-Identifier: MIT
 * test_follow.c: every option of training and distillation that changes what is computed, alone and
 * with those it meets, against the reference trainer. A new option is one more line. */
#include "follow.h"

#include <stdlib.h>
#include <string.h>

static const float shares[] = {.6f, .3f, .1f};

static const follow_line lines[] = {
    /* ---- training ---- */
    {"defaults", PLAIN},
    {"defaults, bn", NORMED},
    {"defaults, vit", VIT},
    {"defaults, two heads", DEIT},
    {"lr", PLAIN, .train = {.lr = .2f}},
    {"neither smoothing nor clipping", PLAIN, .train = {.label_smoothing = KD_OFF, .clip = KD_OFF}},
    {"no momentum", PLAIN, .train = {.momentum = KD_OFF, .lr = .2f}},
    {"momentum", NORMED, .train = {.momentum = .6f}},
    {"nesterov", NORMED, .train = {.nesterov = 1}},
    {"plain momentum", NORMED, .train = {.nesterov = -1}},
    {"decay", NORMED, .train = {.weight_decay = .1f}},
    {"no decay", NORMED, .train = {.weight_decay = KD_OFF}},
    {"decay all", NORMED, .train = {.weight_decay = .1f, .decay_all = 1}},
    {"decay, vit", VIT, .train = {.optimizer = KD_OPTIMIZER_SGD, .weight_decay = .2f}},
    {"decay all, vit", VIT,
     .train = {.optimizer = KD_OPTIMIZER_SGD, .weight_decay = .2f, .decay_all = 1}},
    {"layer decay", NORMED, .train = {.layer_decay = .5f, .lr = .1f}},
    {"layer decay, vit", VIT,
     .train = {.optimizer = KD_OPTIMIZER_SGD, .layer_decay = .5f, .weight_decay = .2f, .lr = .1f}},
    {"layer decay, two heads", DEIT,
     .train = {.optimizer = KD_OPTIMIZER_SGD, .layer_decay = .4f, .lr = .1f}},
    {"constant", PLAIN, .train = {.schedule = KD_SCHEDULE_CONSTANT}},
    {"step", PLAIN, .train = {.schedule = KD_SCHEDULE_STEP, .epochs = 3}},
    {"cosine", PLAIN, .train = {.schedule = KD_SCHEDULE_COSINE}},
    {"one cycle", NORMED, .train = {.schedule = KD_SCHEDULE_ONECYCLE, .lr = .2f, .epochs = 3}},
    {"least rate", PLAIN, .train = {.schedule = KD_SCHEDULE_COSINE, .min_lr = .02f, .lr = .1f}},
    {"least rate, steps", PLAIN,
     .train = {.schedule = KD_SCHEDULE_STEP, .min_lr = .02f, .lr = .1f}},
    {"warm-up", PLAIN, .train = {.warmup = 1.5f, .lr = .1f}},
    {"warm-up, one cycle", NORMED,
     .train = {.warmup = .7f, .schedule = KD_SCHEDULE_ONECYCLE, .lr = .2f}},
    {"warm-up, cosine, least rate", NORMED,
     .train =
         {.warmup = 1, .schedule = KD_SCHEDULE_COSINE, .min_lr = .01f, .lr = .2f, .epochs = 3}},
    {"smoothing", NORMED, .train = {.label_smoothing = .2f}},
    {"clip", PLAIN, .train = {.clip = .2f, .lr = .2f}},
    {"clip that seldom holds", NORMED, .train = {.clip = .9f}},
    {"accumulate", NORMED, .train = {.accumulate = 3, .batch = 4, .epochs = 3}},
    {"clip, accumulate", PLAIN, .train = {.accumulate = 2, .clip = .3f, .lr = .2f, .batch = 5}},
    {"ema", PLAIN, .train = {.ema = .8f}},
    {"ema, bn, dev", NORMED, .train = {.ema = .8f, .dev_count = 5, .epochs = 3}},
    {"ema, accumulate, clip", NORMED,
     .train = {.ema = .7f, .accumulate = 2, .clip = .5f, .batch = 4}},
    {"micro-batch", PLAIN, .train = {.micro_batch = 4}},
    {"micro-batch, clip, accumulate", PLAIN,
     .train = {.micro_batch = 2, .clip = .3f, .accumulate = 2, .batch = 5}},
    {"micro-batch, vit", VIT, .train = {.micro_batch = 5}},
    {"dev", PLAIN, .train = {.dev_count = 8}},
    {"the best epoch", NORMED, .train = {.dev_count = 8, .epochs = 4, .keep = KD_KEEP_BEST}},
    {"the best epoch of the averages", PLAIN,
     .train = {.dev_count = 8, .epochs = 4, .keep = KD_KEEP_BEST, .ema = .7f, .lr = .3f}},
    {"no test", PLAIN, .train = {.no_test = 1}},
    {"lines by step", NORMED, .train = {.log_steps = 2, .clip = .5f}},
    {"the last batch is left out", NORMED, .train = {.drop_last = 1}},
    {"the last batch is left out, accumulate", PLAIN,
     .train = {.drop_last = 1, .accumulate = 3, .ema = .8f}},
    {"one short batch", NORMED, .train = {.batch = 40}},
    {"fine-tuning", NORMED, .train = {.fine_tune = 1}},
    {"fine-tuning, vit", VIT, .train = {.fine_tune = 1}},
    {"largest number of steps", NORMED, .train = {.max_steps = 6, .schedule = KD_SCHEDULE_COSINE}},
    {"three epochs", NORMED, .train = {.epochs = 3, .schedule = KD_SCHEDULE_COSINE}},
    {"seed", NORMED, .train = {.seed = 77}},
    {"crop and flip", NORMED, .train = {.augment = "crop:1+flip", .seed = 3}},
    {"cutout", VIT, .train = {.augment = "flip+cutout:4", .seed = 4}},
    {"mixup", NORMED, .train = {.augment = "mixup", .seed = 21, .epochs = 3}},
    {"cutmix", NORMED, .train = {.augment = "cutmix", .seed = 6, .epochs = 3}},
    {"mixup and cutmix, smoothing", NORMED,
     .train = {.augment = "flip+mixup+cutmix", .seed = 7, .label_smoothing = .1f, .epochs = 3}},
    {"mixup, micro-batch, accumulate", PLAIN,
     .train = {.augment = "mixup", .seed = 8, .micro_batch = 4, .accumulate = 2}},
    {"a step is skipped", NORMED, .bad_step = 3, .train = {.on_nan = KD_NAN_SKIP}},
    {"a step is skipped: cosine, ema, momentum", NORMED, .bad_step = 2,
     .train = {.on_nan = KD_NAN_SKIP, .schedule = KD_SCHEDULE_COSINE, .ema = .8f, .accumulate = 2}},
    /* ---- AdamW ---- */
    {"adamw", PLAIN, .train = {.optimizer = KD_OPTIMIZER_ADAMW, .lr = .01f}},
    {"adamw, default rate", PLAIN, .train = {.optimizer = KD_OPTIMIZER_ADAMW}},
    {"adamw, betas", PLAIN, .train = {.optimizer = KD_OPTIMIZER_ADAMW, .beta1 = .7, .beta2 = .9}},
    {"adamw, no betas", PLAIN,
     .train = {.optimizer = KD_OPTIMIZER_ADAMW, .beta1 = KD_OFF, .beta2 = KD_OFF, .eps = .01f}},
    {"adamw, eps", PLAIN, .train = {.optimizer = KD_OPTIMIZER_ADAMW, .eps = .01f, .lr = .02f}},
    {"adamw, decay", PLAIN,
     .train = {.optimizer = KD_OPTIMIZER_ADAMW, .weight_decay = 2, .lr = .01f, .seed = 2}},
    {"adamw, no decay", PLAIN,
     .train = {.optimizer = KD_OPTIMIZER_ADAMW, .weight_decay = KD_OFF, .lr = .01f}},
    {"adamw, layer decay, decay all", VIT,
     .train = {.optimizer = KD_OPTIMIZER_ADAMW,
               .layer_decay = .6f,
               .decay_all = 1,
               .weight_decay = 2,
               .eps = .001f,
               .lr = .01f}},
    {"adamw, clip, accumulate, warm-up", PLAIN,
     .train = {.optimizer = KD_OPTIMIZER_ADAMW,
               .clip = .2f,
               .accumulate = 2,
               .warmup = 1,
               .eps = .05f,
               .lr = .02f,
               .batch = 4}},
    {"adamw, a step is skipped", PLAIN, .bad_step = 2,
     .train = {.optimizer = KD_OPTIMIZER_ADAMW, .on_nan = KD_NAN_SKIP, .lr = .01f}},
    /* ---- distillation ---- */
    {"kd", NORMED, 1},
    {"kd, temperature", NORMED, 1, .distill = {.temperature = 2.5f}},
    {"kd, weights", PLAIN, 1, .distill = {.hard = .7f, .soft = .4f}},
    {"kd, no labels", PLAIN, 1, .distill = {.hard = KD_OFF}},
    {"kd, labels alone", PLAIN, 1, .distill = {.soft = KD_OFF, .hard = 1}},
    {"kd, smoothing", NORMED, 1, .train = {.label_smoothing = .2f}, .distill = {.hard = .5f}},
    {"kd, three teachers, equal", NORMED, 3},
    {"kd, three teachers, weights", NORMED, 3, shares},
    {"kd, another size", PLAIN, 2, .train = {.augment = "crop:1+flip", .seed = 9}},
    {"kd, mixup", NORMED, 2, .train = {.augment = "mixup", .seed = 10}, .distill = {.hard = .5f}},
    {"kd, cutmix, smoothing, no soft", NORMED, 1,
     .train = {.augment = "cutmix", .seed = 11, .label_smoothing = .1f},
     .distill = {.hard = 1, .soft = .5f}},
    {"kd, micro-batch, clip", PLAIN, 2, .train = {.micro_batch = 4, .clip = .5f}},
    {"kd, accumulate, ema, dev", NORMED, 2,
     .train = {.accumulate = 2, .ema = .8f, .dev_count = 4, .batch = 4}},
    {"hard", NORMED, 1, .distill = {.method = KD_METHOD_HARD}},
    {"hard, weights, smoothing", NORMED, 2, .train = {.label_smoothing = .2f},
     .distill = {.method = KD_METHOD_HARD, .hard = .3f, .soft = 1.5f}},
    {"hard, mixup", NORMED, 1, .train = {.augment = "mixup", .seed = 12},
     .distill = {.method = KD_METHOD_HARD}},
    {"dkd", NORMED, 1, .distill = {.method = KD_METHOD_DKD}},
    {"dkd, no warm-up", NORMED, 1, .train = {.lr = .01f},
     .distill = {.method = KD_METHOD_DKD, .dkd_warmup = KD_OFF}},
    {"dkd, alpha, beta, temperature", NORMED, 1,
     .distill = {.method = KD_METHOD_DKD,
                 .alpha = 3,
                 .beta = .5f,
                 .temperature = 2,
                 .dkd_warmup = KD_OFF}},
    {"dkd, no alpha", PLAIN, 1,
     .distill = {.method = KD_METHOD_DKD, .alpha = KD_OFF, .beta = 1, .dkd_warmup = 1}},
    {"dkd, no beta", PLAIN, 1,
     .distill = {.method = KD_METHOD_DKD, .alpha = 2, .beta = KD_OFF, .dkd_warmup = 1}},
    {"dkd, warm-up, accumulate, two teachers", NORMED, 2,
     .train = {.accumulate = 2, .batch = 4, .lr = .01f},
     .distill = {.method = KD_METHOD_DKD, .dkd_warmup = 1.2f, .hard = .5f}},
    {"dkd, warm-up, a step is skipped", NORMED, 1, .bad_step = 2,
     .train = {.on_nan = KD_NAN_SKIP, .lr = .02f, .seed = 1},
     .distill = {.method = KD_METHOD_DKD, .dkd_warmup = 1.5f}},
    {"standardized", NORMED, 1, .train = {.lr = .01f},
     .distill = {.method = KD_METHOD_STANDARDIZED}},
    {"standardized, three teachers", PLAIN, 3, shares, .train = {.lr = .02f},
     .distill = {.method = KD_METHOD_STANDARDIZED, .temperature = 3, .soft = 4}},
    {"kd, two heads", DEIT, 1, .train = {.optimizer = KD_OPTIMIZER_SGD, .lr = .1f}},
    {"hard, two heads", DEIT, 2, .train = {.optimizer = KD_OPTIMIZER_SGD, .lr = .1f},
     .distill = {.method = KD_METHOD_HARD}},
    {"dkd, two heads", DEIT, 1, .train = {.optimizer = KD_OPTIMIZER_SGD, .lr = .05f, .ema = .7f},
     .distill = {.method = KD_METHOD_DKD, .dkd_warmup = 1}},
    {"kd, two heads, mixup, smoothing, adamw", DEIT, 1,
     .train = {.optimizer = KD_OPTIMIZER_ADAMW,
               .eps = .001f,
               .lr = .01f,
               .augment = "mixup+cutmix",
               .seed = 13,
               .label_smoothing = .1f},
     .distill = {.hard = .5f, .soft = .5f, .temperature = 2}},
};

/* ---- the table of options -------------------------------------------------------------------- */

/* The option's member in a line: as a number, of a text whether it is there. */
static double value_of(const follow_line *line, const kd_option *o)
{
    const char *base =
        o->of == KD_OF_TRAIN ? (const char *)&line->train : (const char *)&line->distill;
    const void *at = base + o->offset;
    switch (o->type) {
    case KD_OPTION_FLAG:
    case KD_OPTION_CHOICE:
        return *(const int *)at;
    case KD_OPTION_COUNT:
    case KD_OPTION_PIECES:
        return (double)*(const size_t *)at;
    case KD_OPTION_U64:
        return (double)*(const uint64_t *)at;
    case KD_OPTION_FLOAT:
        return (double)*(const float *)at;
    case KD_OPTION_DOUBLE:
        return *(const double *)at;
    case KD_OPTION_TEXT:
        return *(const char *const *)at != NULL;
    }
    return 0;
}

static bool some_line_has(const kd_option *o, double value)
{
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (value_of(&lines[i], o) == value) return true;
    return false;
}

static bool some_line_sets(const kd_option *o)
{
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (value_of(&lines[i], o) > 0) return true;
    return false;
}

/* By the clock: tests/train/test_train.c has runs with a budget. */
static bool elsewhere(const kd_option *o)
{
    return !strcmp(o->name, "budget_seconds");
}

/* Every option that changes what is computed is in a line: each choice of it, and KD_OFF where that
 * is allowed. */
START_TEST(test_every_option)
{
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        if (!(o->flags & (KD_CHANGES_RESULT | KD_READ_BY_STEP)) || elsewhere(o)) continue;
        if (o->type == KD_OPTION_CHOICE) {
            for (int k = 0; o->choice(k); k++)
                ck_assert_msg(some_line_has(o, k), "no line has %s %s", o->name, o->choice(k));
            continue;
        }
        ck_assert_msg(some_line_sets(o), "no line sets %s", o->name);
        if (!(o->flags & KD_CAN_BE_OFF) && o->standard[0] != 1) continue;
        if (o->type != KD_OPTION_FLAG && !(o->flags & KD_CAN_BE_OFF)) continue;
        ck_assert_msg(some_line_has(o, (double)KD_OFF), "no line switches %s off", o->name);
    }
}
END_TEST

/* KD_FOLLOW=NAME: that line alone. */
START_TEST(test_lines)
{
    const char *only = getenv("KD_FOLLOW");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!only || !*only || !strcmp(only, lines[i].name)) follow(&lines[i]);
}
END_TEST

TEST_SUITE(follow, 120, &test_every_option, &test_lines)
