/* SPDX-License-Identifier: MIT
 * kd.c: the command line of libkd: `kd COMMAND ...`. The table of commands, and the way out. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SPEC_HELP                                                                                  \
    "a network, e.g. vgg8_bn or vgg13_bn,width=0.5 (kd models lists them); the keys classes, "     \
    "image and channels come from the data unless they are given"
#define FILE_HELP "a network in a safetensors file, or the folder of a run"

#define METHOD_TEXT                                                                                \
    "The loss of a step is hard * (cross-entropy with the labels) + soft * (distance to the\n"     \
    "teacher), each a mean over the batch; the two weights are independent.\n"

const cli_command cli_commands[] = {
    {CMD_MODELS,
     "models",
     {NULL},
     {NULL},
     "List the networks there are, with their parameters and multiply-accumulates",
     "Two columns of figures: for pictures of 32 x 32 with 10 classes (VGG: a head of global "
     "average\n"
     "pooling), and for 224 x 224 with 1000 classes (VGG: the three dense layers of the paper).\n"
     "A network is named by a spec: NAME[,KEY=VALUE...] with the keys classes, image, channels;\n"
     "VGG: head=gap|fc4096, width (a multiplier), pool4=0|1, and convolutions and channels of "
     "each\n"
     "stage, convs=1-1-2-2-2 and stages=32-48-64-96-128; ViT, DeiT and Swin: patch, dim, depth,\n"
     "heads, mlp_ratio, drop_path; Swin also window, and depth and heads as lists, depth=2-2-6-2.\n"
     "Examples: vgg8_bn,classes=100,width=0.5  vit_tiny_patch16_224,image=32,patch=4,classes=10\n"
     "With --taps: the values inside a network that have a name, for losses on features.\n",
     cmd_models},
    {CMD_PROFILE,
     "profile",
     {"MODEL"},
     {"a spec, e.g. vgg8_bn,classes=10,image=32, or a file"},
     "Measure a network: parameters, MACs, memory, latency",
     "Examples\n"
     "  kd profile vgg16_bn,classes=10,image=32 --batch 128\n"
     "  kd profile student.safetensors --per-op --threads 1\n",
     cmd_profile},
    {CMD_TRAIN,
     "train",
     {"SPEC"},
     {SPEC_HELP},
     "Train a network from scratch and measure it on the test split",
     "Example\n"
     "  kd train vgg13_bn --data cifar-10 --epochs 30 --schedule cosine --lr 0.1 --out teacher\n",
     cmd_train},
    {CMD_DISTILL,
     "distill",
     {"SPEC"},
     {SPEC_HELP "; or a trained student's file, which is trained on"},
     "Train a student by a teacher and measure it on the test split",
     METHOD_TEXT
     "The teacher is in evaluation mode and sees the same augmented pictures as the student.\n"
     "Example\n"
     "  kd distill vgg8_bn --teacher teacher/model.safetensors --epochs 30 --out student\n",
     cmd_train},
    {CMD_FINETUNE,
     "finetune",
     {"FILE"},
     {FILE_HELP},
     "Go on training a network, perhaps on other data",
     "Where the data have another number of classes, the last layer starts anew.\n"
     "Example\n"
     "  kd finetune student/model.safetensors --data cifar-100 --lr 0.01 --epochs 5 --out tuned\n",
     cmd_train},
    {CMD_EVAL,
     "eval",
     {"FILE..."},
     {FILE_HELP "; several are compared with the first, picture by picture"},
     "Measure networks' accuracy, loss and calibration",
     "Pictures are normalised as the file says, or else as the data set says. Classes are those "
     "of\n"
     "the same name. Intervals are at 95 %, of the pictures alone.\n"
     "Examples\n"
     "  kd eval student/model.safetensors --teacher teacher/model.safetensors --json\n"
     "  kd eval alone/model.safetensors distilled/model.safetensors --predictions answers.csv\n",
     cmd_eval},
    {CMD_PREDICT,
     "predict",
     {"FILE", "INPUT...", "OUTPUT"},
     {FILE_HELP,
      "a safetensors file with `input` F32 [N,C,H,W], normalised (channels first, as in PyTorch; "
      "for a .kde pixels from 0 to 255); or one or more picture files, JPEG or PNG",
      "a safetensors file to write: `logits` F32 [N,classes], with the files' names and the "
      "classes' "
      "as metadata"},
     "Compute the logits of pictures, and name the likeliest classes",
     "Pictures are framed as --augment says, else as in training, and normalised as the file says, "
     "or\n"
     "else as for ImageNet.\n"
     "Examples\n"
     "  kd predict student *.jpg logits.safetensors --top 3\n"
     "  kd predict student/model.safetensors pictures.safetensors logits.safetensors\n",
     cmd_predict},
    {CMD_STEP,
     "step",
     {"FILE", "BATCH", "OUTPUT"},
     {FILE_HELP,
      "a safetensors file with `input` F32 [N,C,H,W], `labels` I64 [N], and, for distillation, "
      "`teacher_logits` F32 [N,classes]",
      "a safetensors file to write: `loss` [1], `logits`, and grad.NAME, param.NAME (after the "
      "step), buffer.NAME for every parameter and buffer"},
     "Do one optimiser step on a given batch, for comparisons",
     "Nothing is random: no augmentation, no dropout. Batch norm uses the batch, as in "
     "training.\n" METHOD_TEXT "Without `teacher_logits` the loss is the cross-entropy alone.\n"
     "Example\n"
     "  kd step start.safetensors batch.safetensors after.safetensors --lr 0.1 --momentum 0\n",
     cmd_step},
    {CMD_INSPECT,
     "inspect",
     {"FILE"},
     {"a safetensors file: a network, a checkpoint, any other"},
     "Say what a file holds, and whether it is whole",
     "The header is checked, every tensor is read, and numbers that are not finite are counted.\n"
     "Exit status 1, with the reason, if the file is broken.\n",
     cmd_inspect},
    {CMD_EXPORT,
     "export",
     {"FILE"},
     {FILE_HELP},
     "Write a network for a microcontroller, as a blob or a C array, or for other runtimes, as "
     "ONNX",
     "The blob has everything: weights, the order of layers, where maps lie in memory, the "
     "classes'\n"
     "names, a self-test. Its input is raw pixels, red first. kd eval, predict, profile and "
     "inspect\n"
     "take it as they take a network, and run it by the very code that the device runs.\n"
     "With --int8, training pictures say how far each map's numbers reach; then the result is\n"
     "compared with the network, layer by layer.\n"
     "An ONNX model has PyTorch's conventions: \"input\" [N,C,H,W], normalised (the metadata say "
     "how),\n"
     "\"logits\" [N,classes], and PyTorch's names of tensors. Any network can be one; with --int8, "
     "CNNs.\n"
     "Examples\n"
     "  kd export student --edge student.kde --int8 --calibrate cifar-10\n"
     "  kd export student --c-array firmware/model --int8 --calibrate cifar-10 --method mse\n"
     "  kd export student --onnx student.onnx --dynamic-batch\n",
     cmd_export},
    {CMD_RERUN,
     "rerun",
     {"RUN"},
     {"a run.json, or the folder it is in"},
     "Do a recorded run again, and see whether it gives the same bits",
     "The same command with the same options, seed and files, from any working directory. Before\n"
     "the first step the data, the teachers, the start and the program are compared with the\n"
     "record; what differs is named, and nothing begins. Without --out the record stays as it is,\n"
     "and --check alone keeps nothing; --overwrite puts the new run in its place. Not every run\n"
     "can be repeated to the bit: with --budget-seconds the clock says how many steps it has.\n"
     "Examples\n"
     "  kd rerun student --check\n"
     "  kd rerun student/run.json --out again\n",
     cmd_rerun},
    {CMD_SWEEP,
     "sweep",
     {"FILE"},
     {"a JSON file that says which students there are"},
     "Train many students by one teacher, in one pass over data and teacher",
     "FILE is {\"common\": {OPTION: VALUE, ...}, \"students\": [{\"name\": NAME, \"spec\": SPEC,\n"
     "OPTION: VALUE, ...}, ...], \"grid\": {OPTION: [VALUE, ...], ...}}. Options are those of kd\n"
     "distill, without dashes in front; a student's own go before the common ones, the grid's "
     "before\n"
     "both; grid multiplies each student. Each student has DIR/NAME, as a run of its own would\n"
     "have, and the same bits. Students that see the same pictures share each batch and the\n"
     "teacher's logits of it.\n"
     "Examples\n"
     "  kd sweep students.json --dry-run\n"
     "  kd sweep students.json --out sweep\n"
     "  kd sweep students.json --out sweep --resume\n",
     cmd_sweep},
    {CMD_SEARCH,
     "search",
     {NULL},
     {NULL},
     "Find the most accurate student within limits of work, memory, flash and time",
     "Networks of a space are held against the limits first. Of those that are within, candidates\n"
     "are drawn by the seed; those that use much of what is allowed are likelier. All train a "
     "ninth\n"
     "of the epochs, the better third a third of them, and the better third of these all, with "
     "the\n"
     "schedule of a whole run each; the development split ranks them, and the best one alone is\n"
     "tested. Other options are those of kd distill. DIR/search.jsonl, search.csv and pareto.svg\n"
     "say what became of whom, DIR/best is the best one's run. --resume goes on after a kill.\n"
     "FILE of --space is {\"specs\": [SPEC, ...], \"keys\": {KEY: [VALUE, ...], ...}, "
     "\"options\":\n"
     "{OPTION: [VALUE, ...], ...}}. \"stages\": \"16x1.5\" means 16-24-36 and so on.\n"
     "Examples\n"
     "  kd search --teacher teacher --max-macs 20e6 --max-flash 300K --int8 --dry-run\n"
     "  kd search --teacher teacher --max-macs 20e6 --max-flash 300K --int8 --epochs 18 --out "
     "found\n"
     "  kd eval found/best\n",
     cmd_search},
    {CMD_REPORT,
     "report",
     {"DIR..."},
     {"folders of runs, or folders of such folders: a sweep's, a search's, an experiment's"},
     "Show training runs as one page: tables, differences, curves, costs",
     "Runs that differ in the seed alone make a group. Groups are compared seed by seed: a "
     "distilled\n"
     "student with the same network without a teacher, on the same data for as many steps; a "
     "network\n"
     "that was trained further with what it started from. p-values are Holm's, and a verdict needs "
     "five\n"
     "seeds. Runs that are broken or not done are named and do not count. The page needs nothing "
     "from\n"
     "outside; the same folders give the same bytes.\n"
     "Beside run.json and metrics.jsonl these are read, where they are: answers.txt, "
     "profile.json,\n"
     "eval.json, export.json (kd profile --json, kd eval --json, kd export --report) in a run's "
     "folder;\n"
     "costs.json and search.jsonl in the folder above.\n"
     "Examples\n"
     "  kd report runs -o report.html --csv runs.csv\n"
     "  kd report sweep --by student,temperature -o report.html\n"
     "  kd report runs --against alone --latex tables.tex\n",
     cmd_report},
    {CMD_CACHE,
     "cache",
     {"ACTION", "WHAT..."},
     {"build, info, verify or prune",
      "build: SPEC, the student that the logits are for; else the cache's folder"},
     "Fill and look after a folder of a teacher's logits and features",
     "kd distill --cache DIR reads and fills a cache by itself. build fills one beforehand; "
     "several\n"
     "SPECs are students that share it. info says what a cache is of. verify reads every row, and\n"
     "with --teacher asks the teacher again about some batches; exit status 1 if anything "
     "differs.\n"
     "prune removes damaged epochs, what killed runs left unfinished, and with --epochs N the\n"
     "epochs after the first N.\n"
     "Examples\n"
     "  kd cache build vgg8_bn --teacher teacher --epochs 30 --cache logits\n"
     "  kd cache build vgg8_bn --teacher teacher --feature cosine --cache features\n"
     "  kd cache verify logits --teacher teacher --batches 5\n",
     cmd_cache},
    {CMD_COMPLETION,
     "completion",
     {"SHELL"},
     {"bash or zsh"},
     "Print a script by which a shell completes commands and options",
     "Examples\n"
     "  source <(kd completion bash)\n"
     "  kd completion zsh >~/.zfunc/_kd\n",
     cmd_completion},
    {CMD_MANUAL,
     "manual",
     {NULL},
     {NULL},
     "Print the manual page kd(1)",
     "Example\n"
     "  kd manual | man -l -\n",
     cmd_manual},
    {0, NULL, {NULL}, {NULL}, NULL, NULL, NULL},
};

/* ---- the way out ----------------------------------------------------------------------------- */

static char failure[4096];       /* the last one's text, for --json */
static const char *options_file; /* where options come from that nobody typed */
static bool printed;             /* the one object of --json */

static void say(const char *before, const char *format, va_list list, const char *after)
{
    char text[2048], safe[4096];
    vsnprintf(text, sizeof text, format, list);
    fflush(stdout);
    snprintf(failure, sizeof failure, "%s", cli_escape(text, safe, sizeof safe));
    fprintf(stderr, "kd%s: %s%s%s\n", before, cli_spoken_of(), safe, after);
}

int cli_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say("", format, list, "");
    va_end(list);
    return CLI_FAILED;
}

void cli_warn(const char *format, ...)
{
    char text[1200], safe[1200];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fprintf(stderr, "kd: warning: %s\n", cli_escape(text, safe, sizeof safe));
}

int cli_fail_ctx(const kd_ctx *ctx)
{
    char text[1200];
    cli_as_typed(kd_ctx_error(ctx), text, sizeof text);
    return cli_fail("%s", *text ? text : "failed, and the library does not say why");
}

int cli_usage(const char *command, const char *format, ...)
{
    char before[40], after[80], text[1000];
    va_list list;
    if (options_file) {
        va_start(list, format);
        vsnprintf(text, sizeof text, format, list);
        va_end(list);
        return cli_fail("%s: %s", options_file, text);
    }
    snprintf(before, sizeof before, "%s%s", command ? " " : "", command ? command : "");
    snprintf(after, sizeof after, " (kd%s --help says more)", before);
    va_start(list, format);
    say(before, format, list, after);
    va_end(list);
    return CLI_USAGE;
}

void cli_options_are_from(const char *file)
{
    options_file = file;
}

int cli_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return CLI_DONE;
    return cli_fail("standard output: %s", strerror(errno ? errno : EIO));
}

int cli_print_json(kd_ctx *ctx, kd_json *json)
{
    const char *text;
    const kd_status status = kd_json_text(json, &text, NULL);
    if (status == KD_OK) {
        printf("%s\n", text);
        printed = true;
    }
    kd_json_destroy(json);
    return status ? cli_fail_ctx(ctx) : cli_flush();
}

/* With --json a command that failed, or that is not understood, prints one object, too. The text is without control
 * characters and whole UTF-8 (cli_escape). */
static int print_failure(int status)
{
    fputs("{\"error\":\"", stdout);
    for (const char *c = failure; *c; c++) {
        if (*c == '"' || *c == '\\') putchar('\\');
        putchar(*c);
    }
    printf("\",\"status\":%d}\n", status);
    fflush(stdout);
    return status;
}

/* ---- main ------------------------------------------------------------------------------------ */

static const cli_command *find_command(const char *name)
{
    for (const cli_command *c = cli_commands; c->name; c++)
        if (!strcmp(c->name, name)) return c;
    return NULL;
}

static int unknown_command(const char *word)
{
    char shown[100];
    const char *best = NULL;
    size_t least = 0;
    cli_escape(word, shown, sizeof shown);
    for (const cli_command *c = cli_commands; c->name; c++) {
        const size_t d = cli_distance(word, c->name);
        if (best && d >= least) continue;
        best = c->name;
        least = d;
    }
    if (word[0] == '-') return cli_usage(NULL, "the command comes first, not %s", shown);
    if (least <= 2)
        return cli_usage(NULL, "there is no command '%s'; did you mean %s?", shown, best);
    return cli_usage(NULL, "there is no command '%s'", shown);
}

static int help_on(int argc, char **argv)
{
    const cli_command *c = argc > 0 ? find_command(argv[0]) : NULL;
    if (argc > 0 && !c) return unknown_command(argv[0]);
    if (c)
        cli_help_command(c);
    else
        cli_help();
    return cli_flush();
}

/* Of a command line that is not understood: does it ask for JSON? */
static bool asks_for_json(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--json")) return true;
    return false;
}

static int run(int argc, char **argv)
{
    cli_args args;
    if (argc < 2) return cli_usage(NULL, "a command is missing");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) return help_on(0, NULL);
    if (!strcmp(argv[1], "help")) return help_on(argc - 2, argv + 2);
    if (!strcmp(argv[1], "--version")) {
        printf("kd %s (%s)\n", kd_version(), kd_build_info());
        return cli_flush();
    }
    const cli_command *command = find_command(argv[1]);
    if (!command) return unknown_command(argv[1]);
    const int status = cli_parse(command, argc - 2, argv + 2, &args);
    if (status) return status;
    if (args.help) return help_on(1, argv + 1);
    args.argc = argc;
    args.argv = argv;
    return command->run(&args);
}

int main(int argc, char **argv)
{
    const bool json = asks_for_json(argc, argv); /* words change places */
    const int status = run(argc, argv);
    return status && json && !printed ? print_failure(status) : status;
}
