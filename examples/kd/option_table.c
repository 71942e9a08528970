/* SPDX-License-Identifier: MIT
 * option_table.c: every option of every command: its name, its default, what it means. Parsing,
 * --help, completion, the manual page and run.json are made from this one list. What the library
 * knows as an option (kd/options.h) comes from its table; what is the program's own stands here. */
#include "cli.h"

#include <kd/export.h>

#include <stdio.h>
#include <string.h>

/* ---- choices --------------------------------------------------------------------------------- */

static const char *split_choice(int i)
{
    static const char *const names[] = {
        [CLI_TEST] = "test", [CLI_TRAIN] = "train", [CLI_DEV] = "dev"};
    return i < 3 ? names[i] : NULL;
}

static const char *calibration_choice(int i)
{
    return kd_calibration_name(i);
}

/* The opsets that kd_export_onnx writes. */
static const char *opset_choice(int i)
{
    static const char *const names[] = {"17", "20"};
    return i < 2 ? names[i] : NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define AT(field) offsetof(cli_args, field)

enum {
    LOADS = CMD_PROFILE | CMD_DISTILL | CMD_FINETUNE | CMD_EVAL | CMD_PREDICT | CMD_STEP |
            CMD_INSPECT | CMD_EXPORT,
    TAUGHT = CMD_DISTILL | CMD_FINETUNE,
    CACHES = TAUGHT | CMD_CACHE | CMD_SEARCH,
    COMPUTES =
        CMD_ALL & ~(CMD_MODELS | CMD_INSPECT | CMD_RERUN | CMD_SWEEP | CMD_SEARCH | CMD_REPORT)
};

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
#define PICTURE(commands, group, name, field, help)                                                \
    {                                                                                              \
        commands, group, OPT_PICTURE, name, "PIXELS", NULL, help, AT(field), 0, 0, NULL            \
    }
#define NUMBER(commands, group, name, argument, standard, low, high, field, help)                  \
    {                                                                                              \
        commands, group, OPT_NUMBER, name, argument, standard, help, AT(field), low, high, NULL    \
    }
#define CHOICE(commands, group, name, names, standard, field, help)                                \
    {                                                                                              \
        commands, group, OPT_CHOICE, name, NULL, standard, help, AT(field), 0, 0, names            \
    }

static const cli_option own[] = {
    {.commands = CMD_TRAINS | CMD_EVAL | CMD_CACHE | CMD_SEARCH,
     .group = KD_GROUP_DATA,
     .kind = OPT_TEXT,
     .name = "data",
     .argument = "NAME",
     .standard = "cifar-10",
     .help = "cifar-10, cifar-100, fashion-mnist, folder:PATH (PATH/train/CLASS/*.JPEG, "
             "PATH/val/...), or synthetic[:KEY=VALUE,...] with the keys classes, image, channels, "
             "train, test, seed",
     .offset = AT(data),
     .words = "cifar-10 cifar-100 fashion-mnist folder: synthetic"},
    TEXT(CMD_MANUAL, KD_GROUP_RUN, "command", "NAME", NULL, manual_of,
         "the page of this command alone, kd-NAME(1)"),
    TEXT(CMD_MODELS, KD_GROUP_RUN, "taps", "SPEC", NULL, taps,
         "list the taps of this network instead: named values inside it, with their shapes for N "
         "pictures"),
    TEXT(CMD_EXPORT, KD_GROUP_RUN, "edge", "OUT.kde", NULL, edge,
         "write a blob, which libkd-edge runs: for files, flash, over the air"),
    TEXT(CMD_EXPORT, KD_GROUP_RUN, "c-array", "PREFIX", NULL, c_array,
         "write PREFIX.c and PREFIX.h: the blob as an array, with the kernels that it needs"),
    TEXT(CMD_EXPORT, KD_GROUP_RUN, "onnx", "FILE", NULL, onnx,
         "write an ONNX model, for other runtimes: pictures go in normalised, [N,C,H,W]"),
    CHOICE(CMD_EXPORT, KD_GROUP_RUN, "opset", opset_choice, "17", opset,
           "with --onnx: ONNX's ops of this version; 20 has GELU as one op"),
    FLAG(CMD_EXPORT, KD_GROUP_RUN, "dynamic-batch", dynamic_batch,
         "with --onnx: any number of pictures a run"),
    FLAG(CMD_EXPORT, KD_GROUP_RUN, "int8", int8,
         "weights and maps in 8 bits: a quarter of the memory, and integers alone [float32]"),
    {.commands = CMD_EXPORT,
     .group = KD_GROUP_DATA,
     .kind = OPT_TEXT,
     .name = "calibrate",
     .argument = "NAME",
     .help = "with --int8: the data it was trained on, named as for kd eval --data; training "
             "pictures say how far maps reach, test pictures what is lost",
     .offset = AT(calibrate),
     .words = "cifar-10 cifar-100 fashion-mnist folder: synthetic"},
    COUNT(CMD_EXPORT, KD_GROUP_DATA, "calibrate-count", "N", "512", 1, 1e6, calibrate_count,
          "training pictures to calibrate with, drawn at random, always the same"),
    COUNT(CMD_EXPORT, KD_GROUP_DATA, "compare-count", "N", "1000", 0, 4294967295.0, compare_count,
          "test pictures to compare on before anything is written; 0: all"),
    CHOICE(CMD_EXPORT, KD_GROUP_DATA, "method", calibration_choice, "percentile", calibration,
           "how far a map's 256 steps reach: all but the furthest few numbers, the least squared "
           "error, the least divergence, or all"),
    NUMBER(CMD_EXPORT, KD_GROUP_DATA, "percentile", "P", NULL, 50.000001, 100, percentile,
           "so many percent of a map's numbers are within reach [99.99]"),
    FLAG(CMD_EXPORT, KD_GROUP_DATA, "equalise", equalise,
         "first bring the weights of channels to like sizes, layer by layer"),
    FLAG(CMD_EXPORT, KD_GROUP_DATA, "keep-bias", keep_bias,
         "do not take back by biases what rounded weights add to a channel's mean"),
    FLAG(CMD_EXPORT, KD_GROUP_RUN, "wide-logits", wide_logits, "with --int8: logits in 32 bits"),
    TEXT(CMD_EXPORT, KD_GROUP_RUN, "report", "FILE", NULL, report,
         "also write the report, as JSON"),
    TEXT(CMD_TRAINS | CMD_EVAL | CMD_EXPORT | CMD_CACHE | CMD_SEARCH, KD_GROUP_DATA, "data-dir",
         "DIR", NULL, data_dir, "where it lies [the environment's KD_DATA, else data]"),
    CHOICE(CMD_EVAL, KD_GROUP_DATA, "split", split_choice, "test", split,
           "which part of it; dev is the part that --dev-count sets aside"),
    COUNT(CMD_EVAL, KD_GROUP_DATA, "dev-count", "N", "0", 0, 4294967295.0, dev_count,
          "samples of the training split that training set aside as a development split"),
    TEXT(CMD_EVAL | CMD_PREDICT | CMD_EXPORT, KD_GROUP_DATA, "augment", "STEPS", NULL, augment,
         "how pictures from files are framed, e.g. centre:0.9+bicubic; none: the centre square, "
         "resized; one of the network's size stays as it is [as FILE's were, else centre:0.875]"),
    FLAG(CMD_TRAINS | CMD_EVAL | CMD_EXPORT | CMD_CACHE | CMD_SEARCH, KD_GROUP_DATA, "skip-broken",
         skip_broken, "leave out pictures that cannot be read, name them, and say how many"),
    FLAG(CMD_PREDICT, KD_GROUP_DATA, "skip-broken", skip_broken,
         "go on after pictures that cannot be read: name them; their logits are NaN"),
    COUNT(CMD_PREDICT, KD_GROUP_RUN, "top", "N", NULL, 1, 1e6, top,
          "say the N likeliest classes of each picture [1; of tensors only if asked for]"),
    TEXT(LOADS, KD_GROUP_DATA, "model", "SPEC", NULL, model,
         "which network FILE holds, where the file does not say so itself (torchvision's, timm's)"),
    TEXT(CMD_TRAINS | CMD_EVAL, KD_GROUP_DATA, "normalize", "MEAN/STD", NULL, normalize,
         "of pixels from 0 to 1, each one number or one a channel, joined by commas, e.g. 0.5/0.5 "
         "[the file's, else the data's]"),
    TEXT(CMD_EXPORT, KD_GROUP_DATA, "normalize", "MEAN/STD", NULL, normalize,
         "of pixels from 0 to 1, each one number or one a channel, joined by commas, e.g. 0.5/0.5 "
         "[the file's]"),
    TEXT(CMD_PREDICT, KD_GROUP_DATA, "normalize", "MEAN/STD", NULL, normalize,
         "of pictures from files: of pixels from 0 to 1, each one number or one a channel, joined "
         "by commas, e.g. 0.5/0.5 [FILE's, else ImageNet's]"),
    PICTURE(CMD_TRAINS | CMD_EVAL | CMD_CACHE, KD_GROUP_DATA, "image", image,
            "picture size the network sees; VGG and Swin take rectangles, 48x96 (height x width) "
            "[the spec's or the file's, else the data's]"),

    FLAG(TAUGHT, KD_GROUP_DATA, "reset-head", reset_head,
         "begin the last layer of a trained network anew, whatever its classes [only where they "
         "are other ones]"),
    COUNT(CMD_PROFILE, KD_GROUP_RUN, "batch", "N", "1", 1, 1e6, batch, "pictures in a batch"),
    COUNT(CMD_EXPORT, KD_GROUP_RUN, "batch", "N", "1", 1, 1e6, batch,
          "with --onnx: pictures of a run, without --dynamic-batch"),
    COUNT(CMD_EVAL, KD_GROUP_RUN, "batch", "N", "128", 1, 1e6, batch,
          "pictures in a batch; changes speed, memory, and a result's last bits"),
    COUNT(CMD_PREDICT, KD_GROUP_RUN, "batch", "N", "128", 1, 1e6, batch,
          "pictures in a batch; changes speed, memory, and a result's last bits"),
    {CMD_PROFILE, KD_GROUP_RUN, OPT_PIECES, "micro-batch", "N|auto", NULL,
     "with --train: pictures that go forward and backward at a time [the whole batch]",
     AT(micro_batch), 1, 1e6, .words = "auto"},

    {CACHES, KD_GROUP_DISTILLATION, OPT_FILES, "teacher", "FILE...", NULL,
     "one or more trained networks; with the student's classes, where their logits teach; may be "
     "given several times",
     0, 0, 0, NULL},
    TEXT(CMD_EVAL, KD_GROUP_RUN, "teacher", "FILE", NULL, teachers,
         "also compare with this network: agreement, KL divergence"),
    {TAUGHT | CMD_SEARCH, KD_GROUP_DISTILLATION, OPT_NUMBERS, "teacher-weight", "W...", NULL,
     "one for each teacher, divided by their sum [equal]", 0, 0, 1e6, NULL},
    TEXT(CACHES | CMD_EVAL, KD_GROUP_DISTILLATION, "teacher-model", "SPEC", NULL, teacher_model,
         "which network the teachers' files hold, where they do not say so"),
    TEXT(CACHES | CMD_EVAL, KD_GROUP_DISTILLATION, "teacher-normalize", "MEAN/STD", NULL,
         teacher_normalize, "for the teachers [their files', else the data's]"),
    PICTURE(CACHES, KD_GROUP_DISTILLATION, "teacher-image", teacher_image,
            "picture size the teachers see [their files']"),
    TEXT(CMD_EVAL, KD_GROUP_RUN, "predictions", "FILE", NULL, predictions,
         "write a CSV table with a line for each sample: its class, the network's, probability, "
         "loss"),
    TEXT(CMD_EVAL, KD_GROUP_RUN, "confusion", "FILE", NULL, confusion,
         "write a CSV table: how many samples of each class got which answer"),
    FLAG(CMD_EVAL, KD_GROUP_DATA, "any-classes", any_classes,
         "take classes by number, whatever their names and however many there are"),
    FLAG(CMD_PROFILE, KD_GROUP_RUN, "train", training,
         "a training step (cross-entropy, SGD) instead of inference"),
    FLAG(CMD_PROFILE, KD_GROUP_RUN, "per-op", per_op,
         "also a table with a line for each operation"),
    NUMBER(CMD_PROFILE, KD_GROUP_RUN, "seconds", "S", "2", 0, 1e6, seconds,
           "measure for about so long, at least 5 runs"),
    FLAG(CMD_TRAINS | CMD_SWEEP | CMD_SEARCH, KD_GROUP_RUN, "dry-run", dry_run,
         "time a few steps, say what the run would take, and write nothing"),
    COUNT(CMD_SWEEP, KD_GROUP_RUN, "jobs", "N", "1", 1, 1024, jobs,
          "students that have a cache train in so many processes at once, instead of in one pass"),
    NUMBER(CMD_SEARCH, KD_GROUP_RUN, "max-macs", "N", "0", 0, 1e18, limit_macs,
           "the student's limit: multiply-accumulates of one picture; 0: none"),
    {CMD_SEARCH, KD_GROUP_RUN, OPT_BYTES, "max-flash", "BYTES", "0",
     "the student's limit: bytes of its weights in float32; with --int8 of its blob, whole; K, M, "
     "G, T are powers of 1024",
     AT(limit_flash), 0, 9e18, NULL},
    {CMD_SEARCH, KD_GROUP_RUN, OPT_BYTES, "max-memory", "BYTES", "0",
     "the student's limit: the arena of one picture; with --int8 its blob's", AT(limit_memory), 0,
     9e18, NULL},
    NUMBER(CMD_SEARCH, KD_GROUP_RUN, "max-latency", "MS", "0", 0, 1e9, limit_latency,
           "the student's limit: milliseconds of one picture, the median, as measured here"),
    FLAG(CMD_SEARCH, KD_GROUP_RUN, "int8", int8,
         "the student is meant for a device: flash, memory and latency are those of the blob that "
         "kd export --int8 writes"),
    TEXT(CMD_SEARCH, KD_GROUP_RUN, "space", "FILE", NULL, space,
         "JSON: which networks and options there are to choose from [VGGs of 3 to 5 stages with "
         "batch norm, temperatures 2 and 4]"),
    COUNT(CMD_SEARCH, KD_GROUP_RUN, "candidates", "N", "27", 1, 1024, candidates,
          "so many of those within the limits are trained"),
    NUMBER(CMD_SEARCH, KD_GROUP_RUN, "budget-seconds", "S", "0", 0, 1e9, search_seconds,
           "fewer candidates, so that the search takes about so long; 0: no budget"),
    COUNT(CMD_CACHE, KD_GROUP_RUN, "batches", "N", "10", 0, 1e9, batches,
          "verify: compare so many batches with the teacher's logits of now; 0: all"),
    TEXT(CMD_REPORT, KD_GROUP_RUN, "out", "FILE.html", NULL, page,
         "write the page; -o FILE.html is the same"),
    TEXT(CMD_REPORT, KD_GROUP_RUN, "csv", "FILE", NULL, csv,
         "write a CSV table with a line for each run"),
    TEXT(CMD_REPORT, KD_GROUP_RUN, "latex", "FILE", NULL, latex,
         "write the groups and their differences as LaTeX tables"),
    TEXT(CMD_REPORT, KD_GROUP_RUN, "by", "KEY,...", NULL, by,
         "what separates groups: options' names, student, model, family, teacher, teacher-family, "
         "teacher-run, start, data, command [all that varies but the seed]"),
    TEXT(CMD_REPORT, KD_GROUP_RUN, "against", "GROUP", NULL, against,
         "compare every group with this one: its label, its number, or its folders' name without "
         "the seed [with the controls that are found]"),
    FLAG(CMD_REPORT, KD_GROUP_RUN, "paired", paired, "compare every two groups"),
    FLAG(CMD_RERUN, KD_GROUP_RUN, "check", check,
         "compare the resulting network with the recorded one, bit by bit; exit status 1 if it is "
         "another"),
    FLAG(CMD_RERUN, KD_GROUP_RUN, "anyway", anyway,
         "also where data, teachers, start or program are not those of the record"),
    COUNT(COMPUTES | CMD_RERUN | CMD_SWEEP | CMD_SEARCH, KD_GROUP_RUN, "threads", "N", "0", 0, 1024,
          threads, "0: as many as there are processors; results are the same for any number"),
    {COMPUTES | CMD_SWEEP, KD_GROUP_RUN, OPT_BYTES, "max-memory", "BYTES", "0",
     "use no more: a training step that is too large takes smaller pieces (with --micro-batch "
     "auto), "
     "then computes values again; else fail and say what would do. K, M, G, T are powers of 1024; "
     "0: no limit",
     AT(max_memory), 0, 9e18, NULL},
    FLAG(CMD_ALL, KD_GROUP_RUN, "json", json,
         "one JSON object on standard output, and nothing else; progress as objects, too"),
    FLAG(CMD_ALL, KD_GROUP_RUN, "quiet", quiet, "no progress on standard error"),
    FLAG(CMD_ALL | CMD_COMPLETION | CMD_MANUAL, KD_GROUP_RUN, "help", help, "this text"),
};
enum { OWN = sizeof own / sizeof *own, MOST = CLI_MOST_OPTIONS, NAME = 32 };

/* ---- the library's --------------------------------------------------------------------------- */

/* What the rows of a teacher cache depend on. */
static bool fills_cache(const kd_option *o)
{
    static const char *const names[] = {"augment",    "augment_epochs",  "batch",     "dev_count",
                                        "cache",      "cache_precision", "cache_top", "drop_last",
                                        "epochs",     "feature",         "seed",      "student_tap",
                                        "teacher_tap"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], o->name)) return true;
    return false;
}

/* Candidates of a search are runs of kd distill, but as long as the search says. */
static bool searched(const kd_option *o)
{
    static const char *const never[] = {"budget_seconds", "max_steps", "no_test", "overwrite"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (!strcmp(never[i], o->name)) return false;
    return true;
}

/* kd step does no more than one step; what is only for a run means nothing to it. seed is taken, as
 * of any training command, though nothing in a step is random. */
static unsigned commands_of(const kd_option *o)
{
    unsigned commands = o->of == KD_OF_DISTILL ? TAUGHT : CMD_TRAINS;
    if ((o->flags & KD_READ_BY_STEP) || !strcmp(o->name, "seed")) commands |= CMD_STEP;
    if (!strcmp(o->name, "out") || !strcmp(o->name, "overwrite")) commands |= CMD_RERUN | CMD_SWEEP;
    if (!strcmp(o->name, "resume")) commands |= CMD_SWEEP;
    if (searched(o)) commands |= CMD_SEARCH;
    if (fills_cache(o)) commands |= CMD_CACHE;
    return commands;
}

static void take(const kd_option *o, char name[NAME], char standard[120], cli_option *out)
{
    const size_t base = o->of == KD_OF_TRAIN ? AT(train) : AT(distill);
    snprintf(name, NAME, "%s", o->name);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    kd_option_default_text(o, standard, 120);
    *out = (cli_option){.commands = commands_of(o),
                        .group = o->group,
                        .kind = OPT_LIBRARY,
                        .name = name,
                        .argument = o->argument,
                        .standard = *standard ? standard : NULL,
                        .help = o->help,
                        .offset = base + o->offset,
                        .low = o->low,
                        .high = o->high,
                        .choice = o->choice,
                        .library = o,
                        .words = o->type == KD_OPTION_PIECES ? "auto" : NULL,
                        .on = o->type == KD_OPTION_FLAG && o->standard[0] != 0};
}

const cli_option *cli_option_at(size_t i)
{
    static cli_option all[MOST];
    static char names[MOST][NAME], standards[MOST][120];
    static size_t n;
    const kd_option *o;
    if (n == 0) {
        memcpy(all, own, sizeof own);
        for (n = OWN; n < MOST && (o = kd_option_at(n - OWN)); n++)
            take(o, names[n], standards[n], &all[n]);
    }
    return i < n ? &all[i] : NULL;
}
