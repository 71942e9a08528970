/* SPDX-License-Identifier: MIT
 * option_table.c: the table of options (kd/options.h). An option is one entry here and one member
 * of its struct. */
#include <kd/options.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- choices --------------------------------------------------------------------------------- */

static const char *optimizer_name(int i)
{
    return kd_optimizer_name((kd_optimizer)i);
}

static const char *schedule_name(int i)
{
    return kd_schedule_name((kd_schedule)i);
}

static const char *method_name(int i)
{
    return kd_method_name((kd_method)i);
}

static const char *feature_name(int i)
{
    return kd_feature_name((kd_feature)i);
}

static const char *on_nan_name(int i)
{
    return i == KD_NAN_STOP ? "stop" : i == KD_NAN_SKIP ? "skip" : NULL;
}

static const char *keep_name(int i)
{
    return i == KD_KEEP_LAST ? "last" : i == KD_KEEP_BEST ? "best" : NULL;
}

static const char *precision_name(int i)
{
    return i == KD_CACHE_FLOAT32 ? "float32" : i == KD_CACHE_FLOAT16 ? "float16" : NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define TRAIN(member) .of = KD_OF_TRAIN, .offset = offsetof(kd_train_opt, member)
#define DISTILL(member) .of = KD_OF_DISTILL, .offset = offsetof(kd_distill_opt, member)

enum {
    RESULT = KD_CHANGES_RESULT,
    STEP = KD_CHANGES_RESULT | KD_READ_BY_STEP,
    STEP_OFF = KD_CHANGES_RESULT | KD_READ_BY_STEP | KD_CAN_BE_OFF,
    RESULT_OFF = KD_CHANGES_RESULT | KD_CAN_BE_OFF,
    SGD = 1 << KD_OPTIMIZER_SGD,
    ADAMW = 1 << KD_OPTIMIZER_ADAMW,
    FALLING = 1 << KD_SCHEDULE_STEP | 1 << KD_SCHEDULE_COSINE | 1 << KD_SCHEDULE_ONECYCLE,
    DKD = 1 << KD_METHOD_DKD,
    SOFTENED = 1 << KD_METHOD_KD | 1 << KD_METHOD_DKD | 1 << KD_METHOD_STANDARDIZED
};

static const double FEATURED_HARD = 1, FEATURED_SOFT = 0;
static const double MANY = 1e12, HUGE_NUMBER = 1e30, TINY = 1e-30, BELOW_ONE = .9999999;

#define BY_OPTIMIZER(sgd, adamw)                                                                   \
    .by = KD_BY_OPTIMIZER, .standard = {[KD_OPTIMIZER_SGD] = sgd, [KD_OPTIMIZER_ADAMW] = adamw}
#define TUNED(sgd, adamw) .tuned = {[KD_OPTIMIZER_SGD] = sgd, [KD_OPTIMIZER_ADAMW] = adamw}
#define PLAIN(sgd) .plain = {[KD_OPTIMIZER_SGD] = sgd}
#define BY_EPOCHS(share, most, timed) .by = KD_BY_EPOCHS, .standard = {share, most, timed}
#define BY_METHOD(kd, hard, dkd, standardized)                                                     \
    .by = KD_BY_METHOD, .standard = {[KD_METHOD_KD] = kd,                                          \
                                     [KD_METHOD_HARD] = hard,                                      \
                                     [KD_METHOD_DKD] = dkd,                                        \
                                     [KD_METHOD_STANDARDIZED] = standardized}

static const kd_option table[] = {
    {"augment", KD_OPTION_TEXT, TRAIN(augment), .group = KD_GROUP_DATA, .flags = RESULT,
     .argument = "STEPS", .text = "auto",
     .help = "none, or steps joined by '+': crop[:PAD], flip, altflip, cutout[:SIZE], rrc[:SCALE], "
             "centre[:SHARE], bicubic, exact, randaugment[:M], erase[:P], mixup[:A], cutmix[:A], "
             "repeat[:K]; or a recipe: imagenet-train, imagenet-eval, deit, swin; auto: "
             "imagenet-train for folder:, else crop-flip"},
    {"augment_epochs", KD_OPTION_COUNT, TRAIN(augment_epochs), .group = KD_GROUP_DATA,
     .flags = RESULT, .argument = "N", .high = 1e6,
     .help = "epochs cycle through so many augmentations of each picture, so that a cache of N "
             "epochs serves a longer run; 0: each epoch has its own"},
    {"dev_count", KD_OPTION_COUNT, TRAIN(dev_count), .group = KD_GROUP_DATA, .flags = RESULT,
     .argument = "N", .high = 4294967295.0,
     .help = "samples of the training split set aside as a development split, the same ones "
             "whatever the seed"},
    {"drop_last", KD_OPTION_FLAG, TRAIN(drop_last), .group = KD_GROUP_DATA, .flags = RESULT,
     .help = "leave out an epoch's last batch where it is shorter than the others"},

    {"epochs", KD_OPTION_COUNT, TRAIN(epochs), .group = KD_GROUP_TRAINING,
     .flags = RESULT | KD_LENGTH, .argument = "N", .low = 1, .high = 1e9, .standard = {10},
     .not_with = "budget_seconds", .help = "passes over the training split"},
    {"max_steps", KD_OPTION_COUNT, TRAIN(max_steps), .group = KD_GROUP_TRAINING,
     .flags = RESULT | KD_LENGTH, .argument = "N", .high = MANY,
     .help = "end after so many optimiser steps; 0: no limit"},
    {"budget_seconds", KD_OPTION_DOUBLE, TRAIN(budget_seconds), .group = KD_GROUP_TRAINING,
     .flags = RESULT_OFF | KD_LENGTH, .argument = "S", .high = 1e9,
     .help = "train for so long instead of for epochs; the schedule follows the clock; the test at "
             "the end comes on top; 0: by epochs"},
    {"batch", KD_OPTION_COUNT, TRAIN(batch), .group = KD_GROUP_TRAINING, .flags = RESULT,
     .argument = "N", .low = 1, .high = 1e6, .standard = {128}, .help = "pictures in a batch"},
    {"micro_batch", KD_OPTION_PIECES, TRAIN(micro_batch), .group = KD_GROUP_TRAINING,
     .flags = KD_READ_BY_STEP, .argument = "N|auto", .low = 1, .high = 1e6,
     .help =
         "pictures that go forward and backward at a time; gradients are summed over the batch, "
         "and memory does not grow with it. auto: as many as need 256 MiB. Not for networks "
         "with batch norm [the whole batch]"},
    {"accumulate", KD_OPTION_COUNT, TRAIN(accumulate), .group = KD_GROUP_TRAINING, .flags = RESULT,
     .argument = "N", .low = 1, .high = 1e6, .standard = {1},
     .help = "batches whose gradients make one step"},
    {"optimizer", KD_OPTION_CHOICE, TRAIN(optimizer), .group = KD_GROUP_TRAINING, .flags = STEP,
     .choice = optimizer_name, .text = "sgd for CNNs, adamw for transformers",
     .help = "sgd: with momentum; adamw: Adam with decoupled weight decay; both as in PyTorch"},
    {"lr", KD_OPTION_FLOAT, TRAIN(lr), .group = KD_GROUP_TRAINING, .flags = STEP,
     .argument = "RATE", .low = TINY, .high = 1e6, BY_OPTIMIZER(.1, 1e-3), TUNED(.01, 1e-4),
     PLAIN(.05), .help = "learning rate: the highest that the schedule comes to"},
    {"momentum", KD_OPTION_FLOAT, TRAIN(momentum), .group = KD_GROUP_TRAINING, .flags = STEP_OFF,
     .argument = "M", .high = BELOW_ONE, .standard = {.9}, .optimizers = SGD, .help = "0: none"},
    {"nesterov", KD_OPTION_FLAG, TRAIN(nesterov), .group = KD_GROUP_TRAINING, .flags = STEP,
     .optimizers = SGD, .standard = {1}, .needs = "momentum", .help = "Nesterov's momentum"},
    {"beta1", KD_OPTION_DOUBLE, TRAIN(beta1), .group = KD_GROUP_TRAINING, .flags = STEP_OFF,
     .argument = "B", .high = BELOW_ONE, .standard = {.9}, .optimizers = ADAMW,
     .help = "decay of the gradients' average"},
    {"beta2", KD_OPTION_DOUBLE, TRAIN(beta2), .group = KD_GROUP_TRAINING, .flags = STEP_OFF,
     .argument = "B", .high = BELOW_ONE, .standard = {.999}, .optimizers = ADAMW,
     .help = "decay of the average of their squares"},
    {"eps", KD_OPTION_FLOAT, TRAIN(eps), .group = KD_GROUP_TRAINING, .flags = STEP, .argument = "E",
     .low = TINY, .high = 1, .standard = {1e-8}, .optimizers = ADAMW,
     .help = "added to the root of that average"},
    {"layer_decay", KD_OPTION_FLOAT, TRAIN(layer_decay), .group = KD_GROUP_TRAINING,
     .flags = STEP_OFF, .argument = "D", .low = TINY, .high = 1, .standard = {1}, .off = 1,
     .help = "the learning rate falls by this factor from layer to layer, from the head down; 1: "
             "the same for all"},
    {"freeze", KD_OPTION_TEXT, TRAIN(freeze), .group = KD_GROUP_TRAINING, .flags = STEP,
     .argument = "NAMES",
     .help = "parameters that do not learn, e.g. 'features.0,features.1' or '*,!head'; body: all "
             "but the head. Their backward is not computed, their batch norms evaluate"},
    {"head_lr", KD_OPTION_FLOAT, TRAIN(head_lr), .group = KD_GROUP_TRAINING, .flags = STEP,
     .argument = "RATE", .low = TINY, .high = 1e6, .text = "as lr",
     .help = "learning rate of the head, the layer that makes the logits"},
    {"group_lr", KD_OPTION_TEXT, TRAIN(group_lr), .group = KD_GROUP_TRAINING, .flags = STEP,
     .argument = "NAME=RATE,...",
     .help = "learning rates of parameters by their names, e.g. blocks.0=1e-5,blocks.1=1e-4"},
    {"weight_decay", KD_OPTION_FLOAT, TRAIN(weight_decay), .group = KD_GROUP_TRAINING,
     .flags = STEP_OFF, .argument = "W", .high = 1e6, BY_OPTIMIZER(5e-4, .05),
     .help = "of all weights but norms, biases, tokens, embeddings of positions"},
    {"decay_all", KD_OPTION_FLAG, TRAIN(decay_all), .group = KD_GROUP_TRAINING, .flags = STEP,
     .needs = "weight_decay", .help = "weight decay for those, too"},
    {"schedule", KD_OPTION_CHOICE, TRAIN(schedule), .group = KD_GROUP_TRAINING, .flags = RESULT,
     .choice = schedule_name, .text = "onecycle",
     .help = "of the learning rate; step: times 0.1 at 62.5, 75 and 87.5 % of the way; cosine: to "
             "zero; onecycle: up for 30 % of the way, then down to zero"},
    {"warmup", KD_OPTION_FLOAT, TRAIN(warmup), .group = KD_GROUP_TRAINING, .flags = RESULT_OFF,
     .argument = "EPOCHS", .high = 1e6, .help = "the learning rate first rises for so long"},
    {"min_lr", KD_OPTION_FLOAT, TRAIN(min_lr), .group = KD_GROUP_TRAINING, .flags = RESULT_OFF,
     .argument = "RATE", .high = 1e6, .schedules = FALLING, .help = "where the schedule ends"},
    {"label_smoothing", KD_OPTION_FLOAT, TRAIN(label_smoothing), .group = KD_GROUP_TRAINING,
     .flags = STEP_OFF, .argument = "S", .high = BELOW_ONE,
     .help = "share of the label's weight spread over all classes"},
    {"clip", KD_OPTION_FLOAT, TRAIN(clip), .group = KD_GROUP_TRAINING, .flags = STEP_OFF,
     .argument = "NORM", .high = HUGE_NUMBER, .help = "largest norm of the gradient; 0: no limit"},
    {"ema", KD_OPTION_FLOAT, TRAIN(ema), .group = KD_GROUP_TRAINING, .flags = RESULT_OFF,
     .argument = "DECAY", .high = BELOW_ONE,
     .help = "average the weights over the steps; the average is measured and saved, a checkpoint "
             "has both; 0: none"},
    {"on_nan", KD_OPTION_CHOICE, TRAIN(on_nan), .group = KD_GROUP_TRAINING, .flags = RESULT,
     .choice = on_nan_name, .help = "when a loss is not finite: stop the run, or skip the step"},

    {"method", KD_OPTION_CHOICE, DISTILL(method), .group = KD_GROUP_DISTILLATION, .flags = STEP,
     .choice = method_name,
     .help = "kd: hard * CE + soft * T^2 * KL(teacher || student) at temperature T; hard: the "
             "teacher's class as a label; dkd: decoupled; standardized: kd on z-scored logits. A "
             "distilled deit learns from the teacher with its distillation head alone"},
    {"temperature", KD_OPTION_FLOAT, DISTILL(temperature), .group = KD_GROUP_DISTILLATION,
     .flags = STEP, .argument = "T", .low = 1e-3, .high = 1e4, BY_METHOD(4, 1, 4, 2),
     .methods = SOFTENED, .needs = "soft", .help = "softens both sides"},
    {"hard", KD_OPTION_FLOAT, DISTILL(hard), .group = KD_GROUP_DISTILLATION, .flags = STEP_OFF,
     .argument = "WEIGHT", .high = 1e6, BY_METHOD(.1, .5, 1, .1), .featured = &FEATURED_HARD,
     .help = "weight of the labels; with feature 1"},
    {"soft", KD_OPTION_FLOAT, DISTILL(soft), .group = KD_GROUP_DISTILLATION, .flags = STEP_OFF,
     .argument = "WEIGHT", .high = 1e6, BY_METHOD(.9, .5, 1, 9), .featured = &FEATURED_SOFT,
     .help = "weight of the teacher's logits; with feature 0"},
    {"alpha", KD_OPTION_FLOAT, DISTILL(alpha), .group = KD_GROUP_DISTILLATION, .flags = STEP_OFF,
     .argument = "A", .high = 1e6, .standard = {1, 1, 1, 1}, .methods = DKD, .needs = "soft",
     .help = "weight of the target class"},
    {"beta", KD_OPTION_FLOAT, DISTILL(beta), .group = KD_GROUP_DISTILLATION, .flags = STEP_OFF,
     .argument = "B", .high = 1e6, .standard = {8, 8, 8, 8}, .methods = DKD, .needs = "soft",
     .help = "weight of the other classes"},
    {"dkd_warmup", KD_OPTION_FLOAT, DISTILL(dkd_warmup), .group = KD_GROUP_DISTILLATION,
     .flags = RESULT_OFF, .argument = "EPOCHS", .high = 1e9, BY_EPOCHS(1. / 12, 20, 1),
     .methods = DKD, .needs = "soft",
     .text = "a twelfth of the epochs, at most 20; with a budget 1",
     .help = "the teacher's weight first rises for so long"},

    {"feature", KD_OPTION_CHOICE, DISTILL(feature), .group = KD_GROUP_DISTILLATION, .flags = RESULT,
     .choice = feature_name,
     .help =
         "learn from inside the teacher, too. hint: a layer of FitNets; at: attention transfer; "
         "rkd: relations between pictures; tokens: of several blocks; attention: of "
         "transformers; embedding, cosine: what the head reads, of any teacher"},
    {"feature_weight", KD_OPTION_FLOAT, DISTILL(feature_weight), .group = KD_GROUP_DISTILLATION,
     .flags = RESULT, .argument = "WEIGHT", .low = TINY, .high = 1e9, .by = KD_BY_FEATURE,
     .standard = {0, 100, 1000, 1, 1, 1, 1, 1}, .needs = "feature", .text = "as published",
     .help = "weight of that loss"},
    {"student_tap", KD_OPTION_TEXT, DISTILL(student_tap), .group = KD_GROUP_DISTILLATION,
     .flags = RESULT, .argument = "TAP,...", .needs = "feature", .text = "what suits",
     .help = "where in the student ('kd models --taps SPEC' lists the names); one for each of the "
             "teacher's"},
    {"teacher_tap", KD_OPTION_TEXT, DISTILL(teacher_tap), .group = KD_GROUP_DISTILLATION,
     .flags = RESULT, .argument = "TAP,...", .needs = "feature", .text = "what suits",
     .help = "where in the teacher"},

    {"cache", KD_OPTION_TEXT, DISTILL(cache), .group = KD_GROUP_DISTILLATION, .argument = "DIR",
     .help = "read the teacher's logits, and what feature reads, from this folder, and write there "
             "what it lacks; all runs with the same teacher, data, augmentation, seed and batch "
             "share it. A full one needs no teacher"},
    {"cache_precision", KD_OPTION_CHOICE, DISTILL(cache_precision), .group = KD_GROUP_DISTILLATION,
     .choice = precision_name, .needs = "cache",
     .help = "how a cache that begins keeps its numbers; float32: the bits of a live teacher"},
    {"cache_top", KD_OPTION_COUNT, DISTILL(cache_top), .group = KD_GROUP_DISTILLATION,
     .argument = "N", .high = 65535, .needs = "cache",
     .help = "of a cache that begins: it keeps the probabilities of the N most likely classes, and "
             "the rest is spread evenly; 0: of all"},

    {"out", KD_OPTION_TEXT, TRAIN(out), .group = KD_GROUP_RUN, .argument = "DIR",
     .help = "write model.safetensors, checkpoint.safetensors, metrics.jsonl and run.json there "
             "[nothing is written]"},
    {"resume", KD_OPTION_FLAG, TRAIN(resume), .group = KD_GROUP_RUN, .needs = "out",
     .not_with = "overwrite",
     .help = "go on from the checkpoint there, if there is one: give the same options again"},
    {"overwrite", KD_OPTION_FLAG, TRAIN(overwrite), .group = KD_GROUP_RUN, .needs = "out",
     .help = "replace the run that is there; without it, it stays, and nothing begins"},
    {"keep", KD_OPTION_CHOICE, TRAIN(keep), .group = KD_GROUP_RUN, .flags = RESULT,
     .choice = keep_name, .needs = "dev_count",
     .help = "which epoch's network is tested and saved as model.safetensors; best: on the "
             "development split, and the last one's is last.safetensors"},
    {"log_steps", KD_OPTION_COUNT, TRAIN(log_steps), .group = KD_GROUP_RUN, .argument = "N",
     .high = MANY, .needs = "out",
     .help = "a line of metrics.jsonl every so many steps, too; 0: one an epoch"},
    {"checkpoint_seconds", KD_OPTION_DOUBLE, TRAIN(checkpoint_seconds), .group = KD_GROUP_RUN,
     .argument = "S", .low = TINY, .high = 1e9, .standard = {300}, .needs = "out",
     .help = "write a checkpoint at least so often; one is written after every epoch, too"},
    {"no_test", KD_OPTION_FLAG, TRAIN(no_test), .group = KD_GROUP_RUN,
     .help = "do not measure on the test split at the end"},
    {"seed", KD_OPTION_U64, TRAIN(seed), .group = KD_GROUP_RUN, .flags = RESULT, .argument = "N",
     .high = 9223372036854774784.0,
     .help = "of all that is random: weights, order, augmentation, dropout"},
};

const kd_option *kd_option_at(size_t i)
{
    return i < sizeof table / sizeof *table ? &table[i] : NULL;
}

const kd_option *kd_option_find(const char *name)
{
    for (size_t i = 0; name && i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

/* ---- defaults in words ----------------------------------------------------------------------- */

static size_t append(char *out, size_t size, size_t used, const char *name, double value)
{
    char number[32];
    snprintf(number, sizeof number, "%.7g", value);
    const int n = snprintf(out + used, size - used, "%s%s%s%s", used ? ", " : "", name,
                           *name ? " " : "", number);
    return n < 0 || (size_t)n >= size - used ? size - 1 : used + (size_t)n;
}

void kd_option_default_text(const kd_option *o, char *out, size_t size)
{
    size_t used = 0;
    if (!out || size == 0) return;
    out[0] = 0;
    if (!o) return;
    const bool number = o->type != KD_OPTION_FLAG && o->type != KD_OPTION_CHOICE;
    if (o->text) {
        snprintf(out, size, "%s", o->text);
    } else if (o->type == KD_OPTION_CHOICE) {
        snprintf(out, size, "%s", o->choice(0));
    } else if (number && o->by == KD_BY_NOTHING) {
        if (o->standard[0] != 0)
            append(out, size, 0, "", o->standard[0]);
        else if (o->low <= 0 && o->type != KD_OPTION_TEXT)
            append(out, size, 0, "", 0);
    } else if (number) {
        const char *(*const name)(int) = o->by == KD_BY_OPTIMIZER ? optimizer_name : method_name;
        const int last = o->by == KD_BY_OPTIMIZER ? KD_OPTIMIZER_COUNT : KD_METHOD_COUNT;
        for (int i = o->by == KD_BY_OPTIMIZER; i < last; i++)
            if (!o->methods || o->by != KD_BY_METHOD || (o->methods >> i & 1))
                used = append(out, size, used, name(i), o->standard[i]);
        for (int i = 1; i < last && o->by == KD_BY_OPTIMIZER; i++)
            if (o->plain[i] != 0) {
                char title[60];
                snprintf(title, sizeof title, "%s without batch norm", name(i));
                used = append(out, size, used, title, o->plain[i]);
            }
        for (int i = 1; i < last && o->by == KD_BY_OPTIMIZER; i++)
            if (o->tuned[i] != 0) {
                char title[40];
                snprintf(title, sizeof title, "%s%s", i == 1 ? "fine-tuning " : "", name(i));
                used = append(out, size, used, title, o->tuned[i]);
            }
    }
}
