/* SPDX-License-Identifier: MIT
 * option_table.c: every option of every command: its name, its default, what it means. Parsing,
 * --help and run.json are made from this one list. */
#include "cli.h"

#include <math.h>

/* ---- choices --------------------------------------------------------------------------------- */

static const char *optimizer_choice(int i)
{
    return i < (int)KD_OPTIMIZERS ? kd_optimizer_name((kd_optimizer)i) : NULL;
}

static const char *schedule_choice(int i)
{
    return i < (int)KD_SCHEDULES ? kd_schedule_name((kd_schedule)i) : NULL;
}

static const char *method_choice(int i)
{
    return i < (int)KD_METHODS ? kd_method_name((kd_method)i) : NULL;
}

static const char *on_nan_choice(int i)
{
    return i == KD_NAN_STOP ? "stop" : i == KD_NAN_SKIP ? "skip" : NULL;
}

static const char *split_choice(int i)
{
    static const char *const names[] = {
        [CLI_TEST] = "test", [CLI_TRAIN] = "train", [CLI_DEV] = "dev"};
    return i < 3 ? names[i] : NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define AT(field) offsetof(cli_args, field)

enum {
    ONE_STEP = CMD_TRAINS | CMD_STEP,  /* what one optimiser step depends on */
    ONE_LOSS = CMD_DISTILL | CMD_STEP, /* what the distillation loss depends on */
    LOADS = CMD_PROFILE | CMD_FINETUNE | CMD_EVAL | CMD_PREDICT | CMD_STEP | CMD_INSPECT,
    COMPUTES = CMD_ALL & ~(CMD_MODELS | CMD_INSPECT)
};
static const double MANY = 1e12, HUGE_NUMBER = 1e30, TINY = 1e-30;

#define FLAG(commands, group, name, field, help)                                                   \
    {                                                                                              \
        commands, group, OPT_FLAG, name, NULL, NULL, help, AT(field), 0, 0, NULL                   \
    }
#define TEXT(commands, group, name, argument, standard, field, help)                               \
    {                                                                                              \
        commands, group, OPT_TEXT, name, argument, standard, help, AT(field), 0, 0, NULL           \
    }
#define COUNT(commands, group, name, argument, standard, low, high, field, help)                   \
    {                                                                                              \
        commands, group, OPT_COUNT, name, argument, standard, help, AT(field), low, high, NULL     \
    }
#define NUMBER(commands, group, name, argument, standard, low, high, field, help)                  \
    {                                                                                              \
        commands, group, OPT_NUMBER, name, argument, standard, help, AT(field), low, high, NULL    \
    }
#define PIECES(commands, group)                                                                    \
    {                                                                                              \
        commands, group, OPT_PIECES, "micro-batch", "N|auto", NULL,                                \
            "pictures that go forward and backward at a time; gradients are summed over the "      \
            "batch, and memory does not grow with it. auto: as many as need 256 MiB. Not for "     \
            "networks with batch norm [the whole batch]",                                          \
            AT(micro_batch), 1, 1e6, NULL                                                          \
    }
#define CHOICE(commands, group, name, names, standard, field, help)                                \
    {                                                                                              \
        commands, group, OPT_CHOICE, name, NULL, standard, help, AT(field), 0, 0, names            \
    }

const cli_option cli_options[] = {
    TEXT(CMD_TRAINS | CMD_EVAL, IN_DATA, "data", "NAME", "cifar-10", data,
         "cifar-10, cifar-100, fashion-mnist, folder:PATH (PATH/train/CLASS/*.JPEG, PATH/val/...), "
         "or synthetic[:KEY=VALUE,...] with the keys classes, image, channels, train, test, seed"),
    TEXT(CMD_TRAINS | CMD_EVAL, IN_DATA, "data-dir", "DIR", NULL, data_dir,
         "where it lies [the environment's KD_DATA, else data]"),
    CHOICE(CMD_EVAL, IN_DATA, "split", split_choice, "test", split,
           "which part of it; dev is the part that --dev-count sets aside"),
    COUNT(CMD_TRAINS | CMD_EVAL, IN_DATA, "dev-count", "N", "0", 0, 4294967295.0, dev_count,
          "samples of the training split set aside as a development split"),
    TEXT(
        CMD_TRAINS, IN_DATA, "augment", "STEPS", "auto", augment,
        "none, or steps joined by '+': crop[:PAD], flip, altflip, cutout[:SIZE], rrc[:SCALE], "
        "centre[:SHARE], bicubic, exact, randaugment[:M], erase[:P], mixup[:A], cutmix[:A], "
        "repeat[:K]; "
        "or a recipe: imagenet-train, imagenet-eval, deit, swin; auto: imagenet-train for folder:, "
        "else crop-flip"),
    TEXT(CMD_EVAL | CMD_PREDICT, IN_DATA, "augment", "STEPS", "none", augment,
         "how pictures from files are framed, e.g. centre:0.9+bicubic [imagenet-eval, "
         "centre:0.875]"),
    FLAG(CMD_TRAINS | CMD_EVAL, IN_DATA, "skip-broken", skip_broken,
         "leave out pictures that cannot be read, name them, and say how many"),
    TEXT(LOADS, IN_DATA, "model", "SPEC", NULL, model,
         "which network FILE holds, where the file does not say so itself (torchvision's, timm's)"),
    TEXT(CMD_TRAINS | CMD_EVAL, IN_DATA, "normalize", "MEAN/STD", NULL, normalize,
         "of pixels from 0 to 1, each one number or one a channel, joined by commas, e.g. 0.5/0.5 "
         "[the file's, else the data's]"),
    TEXT(CMD_PREDICT, IN_DATA, "normalize", "MEAN/STD", NULL, normalize,
         "of pictures from files: of pixels from 0 to 1, each one number or one a channel, joined "
         "by commas, e.g. 0.5/0.5 [FILE's, else ImageNet's]"),
    COUNT(CMD_TRAINS | CMD_EVAL, IN_DATA, "image", "PIXELS", NULL, 1, 16384, image,
          "picture size the network sees [the spec's or the file's, else the data's]"),

    COUNT(CMD_TRAINS, IN_TRAINING, "epochs", "N", "10", 1, 1e9, epochs,
          "passes over the training split; --budget-seconds goes before it"),
    COUNT(CMD_TRAINS, IN_TRAINING, "batch", "N", "128", 1, 1e6, batch, "pictures in a batch"),
    COUNT(CMD_PROFILE, IN_RUN, "batch", "N", "1", 1, 1e6, batch, "pictures in a batch"),
    COUNT(CMD_EVAL, IN_RUN, "batch", "N", "250", 1, 1e6, batch,
          "pictures in a batch; changes speed and memory alone"),
    COUNT(CMD_PREDICT, IN_RUN, "batch", "N", "128", 1, 1e6, batch,
          "pictures in a batch; changes speed and memory alone"),
    PIECES(CMD_TRAINS | CMD_STEP, IN_TRAINING),
    PIECES(CMD_PROFILE, IN_RUN),
    COUNT(CMD_TRAINS, IN_TRAINING, "accumulate", "N", "1", 1, 1e6, accumulate,
          "batches whose gradients make one step"),
    CHOICE(ONE_STEP, IN_TRAINING, "optimizer", optimizer_choice, "sgd", optimizer,
           "sgd: with momentum; adamw: Adam with decoupled weight decay; both as in PyTorch"),
    NUMBER(ONE_STEP, IN_TRAINING, "lr", "RATE", NULL, TINY, 1e6, lr,
           "learning rate [sgd 0.05, adamw 0.001]"),
    NUMBER(ONE_STEP, IN_TRAINING, "momentum", "M", "0.9", 0, .999999, momentum, "sgd; 0: none"),
    FLAG(ONE_STEP, IN_TRAINING, "nesterov", nesterov, "sgd: Nesterov's momentum"),
    NUMBER(ONE_STEP, IN_TRAINING, "beta1", "B", "0.9", 0, .999999, beta1,
           "adamw: decay of the gradients' average"),
    NUMBER(ONE_STEP, IN_TRAINING, "beta2", "B", "0.999", 0, .9999999, beta2,
           "adamw: decay of the average of their squares"),
    NUMBER(ONE_STEP, IN_TRAINING, "eps", "E", "1e-8", TINY, 1, eps,
           "adamw: added to the root of that average"),
    NUMBER(ONE_STEP, IN_TRAINING, "layer-decay", "D", "1", TINY, 1, layer_decay,
           "the learning rate falls by this factor from layer to layer, from the head down; 1: the "
           "same for all"),
    NUMBER(ONE_STEP, IN_TRAINING, "weight-decay", "W", NULL, 0, 1e6, weight_decay,
           "of all weights but norms, biases, tokens, embeddings of positions [sgd 5e-4, adamw "
           "0.05]"),
    FLAG(ONE_STEP, IN_TRAINING, "decay-all", decay_all, "weight decay for those, too"),
    CHOICE(CMD_TRAINS, IN_TRAINING, "schedule", schedule_choice, "constant", schedule,
           "of the learning rate; step: times 0.1 at 62.5, 75 and 87.5 % of the way"),
    NUMBER(CMD_TRAINS, IN_TRAINING, "warmup", "EPOCHS", "0", 0, 1e6, warmup,
           "the learning rate first rises for so long"),
    NUMBER(CMD_TRAINS, IN_TRAINING, "min-lr", "RATE", "0", 0, 1e6, min_lr,
           "where a falling schedule ends"),
    NUMBER(ONE_STEP, IN_TRAINING, "label-smoothing", "S", "0", 0, .999999, label_smoothing,
           "share of the label's weight spread over all classes"),
    NUMBER(ONE_STEP, IN_TRAINING, "clip", "NORM", "0", 0, HUGE_NUMBER, clip,
           "largest norm of the gradient; 0: no limit"),
    NUMBER(CMD_TRAINS, IN_TRAINING, "ema", "DECAY", "0", 0, .9999999, ema,
           "average the weights over the steps; the average is measured and saved, a checkpoint "
           "has both; 0: none"),
    COUNT(CMD_TRAINS, IN_TRAINING, "max-steps", "N", "0", 0, MANY, max_steps,
          "end after so many optimiser steps; 0: no limit"),
    NUMBER(CMD_TRAINS, IN_TRAINING, "budget-seconds", "S", "0", 0, 1e9, budget_seconds,
           "train for so long instead of --epochs; the schedule follows the clock; 0: by epochs"),
    CHOICE(CMD_TRAINS, IN_TRAINING, "on-nan", on_nan_choice, "stop", on_nan,
           "when a loss is not finite: stop the run, or skip the step"),

    {CMD_DISTILL, IN_DISTILLATION, OPT_FILES, "teacher", "FILE...", NULL,
     "one or more trained networks with the student's classes; may be given several times", 0, 0, 0,
     NULL},
    TEXT(CMD_EVAL, IN_RUN, "teacher", "FILE", NULL, teachers,
         "also compare with this network: agreement, KL divergence"),
    {CMD_DISTILL, IN_DISTILLATION, OPT_NUMBERS, "teacher-weight", "W...", NULL,
     "one for each teacher, divided by their sum [equal]", 0, 0, 1e6, NULL},
    TEXT(CMD_DISTILL | CMD_EVAL, IN_DISTILLATION, "teacher-model", "SPEC", NULL, teacher_model,
         "which network the teachers' files hold, where they do not say so"),
    TEXT(CMD_DISTILL | CMD_EVAL, IN_DISTILLATION, "teacher-normalize", "MEAN/STD", NULL,
         teacher_normalize, "for the teachers [their files', else the data's]"),
    COUNT(CMD_DISTILL, IN_DISTILLATION, "teacher-image", "PIXELS", NULL, 1, 16384, teacher_image,
          "picture size the teachers see [their files']"),
    CHOICE(ONE_LOSS, IN_DISTILLATION, "method", method_choice, "kd", method,
           "kd: hard * CE + soft * T^2 * KL(teacher || student) at temperature T; hard: the "
           "teacher's class as a label; dkd: decoupled; standardized: kd on z-scored logits. A "
           "distilled "
           "deit learns from the teacher with its distillation head alone"),
    NUMBER(ONE_LOSS, IN_DISTILLATION, "temperature", "T", NULL, 1e-3, 1e4, temperature,
           "[4; standardized 2]"),
    NUMBER(ONE_LOSS, IN_DISTILLATION, "hard", "WEIGHT", NULL, 0, 1e6, hard,
           "weight of the labels [kd 0.1, hard 0.5, dkd 1, standardized 0.1]"),
    NUMBER(ONE_LOSS, IN_DISTILLATION, "soft", "WEIGHT", NULL, 0, 1e6, soft,
           "weight of the teacher [kd 0.9, hard 0.5, dkd 1, standardized 9]"),
    NUMBER(ONE_LOSS, IN_DISTILLATION, "alpha", "A", NULL, TINY, 1e6, alpha,
           "dkd: weight of the target class [1]"),
    NUMBER(ONE_LOSS, IN_DISTILLATION, "beta", "B", NULL, TINY, 1e6, beta,
           "dkd: weight of the other classes [8]"),
    NUMBER(CMD_DISTILL, IN_DISTILLATION, "dkd-warmup", "EPOCHS", NULL, 0, 1e9, dkd_warmup,
           "dkd: its weight first rises for so long [20]"),

    TEXT(CMD_EVAL, IN_RUN, "predictions", "FILE", NULL, predictions,
         "write a CSV table with a line for each sample: its class, the network's, probability, "
         "loss"),
    TEXT(CMD_EVAL, IN_RUN, "confusion", "FILE", NULL, confusion,
         "write a CSV table: how many samples of each class got which answer"),
    FLAG(CMD_EVAL, IN_DATA, "any-classes", any_classes,
         "take classes by number, whatever their names and however many there are"),
    FLAG(CMD_PROFILE, IN_RUN, "train", train,
         "a training step (cross-entropy, SGD) instead of inference"),
    FLAG(CMD_PROFILE, IN_RUN, "per-op", per_op, "also a table with a line for each operation"),
    NUMBER(CMD_PROFILE, IN_RUN, "seconds", "S", "2", 0, 1e6, seconds,
           "measure for about so long, at least 5 runs"),
    TEXT(CMD_TRAINS, IN_RUN, "out", "DIR", NULL, out,
         "write model.safetensors, checkpoint.safetensors, metrics.jsonl and run.json there "
         "[nothing is written]"),
    FLAG(CMD_TRAINS, IN_RUN, "resume", resume,
         "go on from the checkpoint in --out, if there is one: give the same options again"),
    NUMBER(CMD_TRAINS, IN_RUN, "checkpoint-seconds", "S", "300", TINY, 1e9, checkpoint_seconds,
           "write a checkpoint at least so often; one is written after every epoch, too"),
    FLAG(CMD_TRAINS, IN_RUN, "dry-run", dry_run,
         "time a few steps, say what the run would take, and write nothing"),
    COUNT(CMD_TRAINS | CMD_STEP, IN_RUN, "seed", "N", "0", 0, 9223372036854774784.0, seed,
          "of all that is random: weights, order, augmentation, dropout"),
    COUNT(COMPUTES, IN_RUN, "threads", "N", "0", 0, 1024, threads,
          "0: as many as there are processors; results are the same for any number"),
    {COMPUTES, IN_RUN, OPT_BYTES, "max-memory", "BYTES", "0",
     "use no more: a training step that is too large takes smaller pieces (with --micro-batch "
     "auto), "
     "then computes values again; else fail and say what would do. K, M, G, T are powers of 1024; "
     "0: no limit",
     AT(max_memory), 0, 9e18, NULL},
    FLAG(CMD_ALL, IN_RUN, "json", json, "one JSON object on standard output, and nothing else"),
    FLAG(CMD_ALL, IN_RUN, "quiet", quiet, "no progress on standard error"),
    FLAG(CMD_ALL, IN_RUN, "help", help, "this text"),
};
const size_t cli_n_options = sizeof cli_options / sizeof *cli_options;
