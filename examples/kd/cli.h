/* SPDX-License-Identifier: MIT
 * cli.h: what the files of the command `kd` share: the options, the texts, the way out.
 *
 * The program is written on the public headers alone, as any user's would be. One file a command;
 * option_table.c is the one list that parsing, --help and run.json are made from. */
#ifndef CLI_H
#define CLI_H

#include <kd/kd.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the way out ----------------------------------------------------------------------------- */

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

/* "kd: ..." on standard error, one line whatever the text holds; returns CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "kd: warning: ..." likewise. */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The context's last error as such a line. */
int cli_fail_ctx(const kd_ctx *ctx);
/* "kd COMMAND: ... (kd COMMAND --help)"; returns CLI_USAGE. command NULL: no command. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* From here on options come from this file, not from what was typed: wrong ones are CLI_FAILED. */
void cli_options_are_from(const char *file);

/* ---- what was typed -------------------------------------------------------------------------- */

enum cli_command_bit {
    CMD_MODELS = 1,
    CMD_PROFILE = 2,
    CMD_TRAIN = 4,
    CMD_DISTILL = 8,
    CMD_FINETUNE = 16,
    CMD_EVAL = 32,
    CMD_PREDICT = 64,
    CMD_STEP = 128,
    CMD_INSPECT = 256,
    CMD_RERUN = 512,
    CMD_TRAINS = CMD_TRAIN | CMD_DISTILL | CMD_FINETUNE,
    CMD_ALL = 1023 | 4096 | 8192 | 16384 | 32768 | 65536,
    CMD_COMPLETION = 1024, /* these two take --help alone */
    CMD_MANUAL = 2048,
    CMD_EXPORT = 4096,
    CMD_CACHE = 8192,
    CMD_SWEEP = 16384,
    CMD_SEARCH = 32768,
    CMD_REPORT = 65536
};

enum { CLI_MAX_WORDS = 3, CLI_MOST_OPTIONS = 200 };
typedef enum cli_split { CLI_TEST, CLI_TRAIN, CLI_DEV } cli_split;

#define CLI_AUTO UINT64_MAX

struct cli_command;

/* The value of every option; one that has no default is NULL, or NAN for a number. */
typedef struct cli_args {
    const struct cli_command *command;
    const char *taps;      /* kd models */
    const char *manual_of; /* of kd manual */
    int argc;              /* as main had them, for run.json */
    char **argv;
    const char *words[CLI_MAX_WORDS]; /* SPEC, FILE, INPUT ... */
    int n_words;
    char **more; /* [n_more] further words that stand before the last of words */
    size_t n_more;
    /* [place in the table of options] the value that was typed last, a flag's "on" or "off"; NULL: none */
    const char *given[CLI_MOST_OPTIONS];

    const char *data, *data_dir, *augment; /* augment: of eval and predict */
    int split;                             /* cli_split */
    bool skip_broken;
    uint64_t dev_count; /* of eval */
    const char *model, *normalize;
    uint64_t image;

    /* The library's options (kd/options.h), as they were typed; after cli_defaults, complete. */
    kd_train_opt train;
    kd_distill_opt distill;

    const char *teachers[KD_MAX_TEACHERS];
    size_t n_teachers;
    double teacher_weights[KD_MAX_TEACHERS];
    size_t n_teacher_weights;
    const char *teacher_model, *teacher_normalize;
    uint64_t teacher_image;

    uint64_t batch; /* of profile, eval, predict and export */
    uint64_t micro_batch;
    double seconds;
    bool training, per_op; /* of profile */
    const char *predictions, *confusion;
    bool any_classes;
    uint64_t top; /* of predict; 0: not given */

    bool reset_head, dry_run, json, quiet, help;
    uint64_t threads, max_memory;
    uint64_t batches; /* of cache verify */
    uint64_t jobs;    /* of sweep */

    /* of search: the student's limits; 0: none */
    double limit_latency, limit_macs, search_seconds;
    uint64_t limit_memory, limit_flash, candidates;
    const char *space;

    /* of export */
    const char *edge, *c_array, *onnx, *calibrate, *report;
    int opset; /* 0: 17, 1: 20 */
    bool int8, equalise, keep_bias, wide_logits, dynamic_batch;
    uint64_t calibrate_count, compare_count;
    int calibration; /* kd_calibration */
    double percentile;

    /* of report */
    const char *page, *csv, *latex, *by, *against;
    bool paired;

    bool check, anyway;                  /* of rerun */
    const struct cli_expected *expected; /* this run is done again: what was recorded; or NULL */
} cli_args;

typedef struct cli_command {
    unsigned bit;
    const char *name;
    const char *words[CLI_MAX_WORDS]; /* what follows the name: "FILE", "INPUT"; one that ends with
                                       * "..." may be several */
    const char *word_help[CLI_MAX_WORDS];
    const char *summary; /* one line, for the list of commands */
    const char *text;    /* more, for its own help; lines end with \n */
    int (*run)(cli_args *args);
} cli_command;

/* ---- the table of options -------------------------------------------------------------------- */

typedef enum opt_kind {
    OPT_FLAG,    /* bool */
    OPT_TEXT,    /* const char * */
    OPT_COUNT,   /* uint64_t */
    OPT_PIECES,  /* uint64_t: a count, or "auto", CLI_AUTO; 0: not given */
    OPT_BYTES,   /* uint64_t, with K, M, G, T for powers of 1024 */
    OPT_PICTURE, /* uint64_t: a side, or HEIGHTxWIDTH, see cli_parse_picture; 0: not given */
    OPT_NUMBER,  /* double */
    OPT_CHOICE,  /* int: an index of choice() */
    OPT_FILES,   /* cli_args.teachers: several words, or the option several times */
    OPT_NUMBERS, /* cli_args.teacher_weights: the same */
    OPT_LIBRARY  /* as the library's option says */
} opt_kind;

typedef struct cli_option {
    unsigned commands; /* bits of those that take it */
    kd_option_group group;
    opt_kind kind;
    const char *name;     /* without the dashes */
    const char *argument; /* "N"; NULL: a flag, or a choice, whose names are listed */
    const char *standard; /* the default, as it would be typed; NULL: none */
    const char *help;
    size_t offset;                /* into cli_args */
    double low, high;             /* of a number */
    const char *(*choice)(int i); /* NULL past the last */
    const kd_option *library;     /* OPT_LIBRARY: name, argument, help and range are from it */
    const char *words; /* what a value may be, for completion: "auto none"; NULL: not known */
    bool on;           /* a flag that is on by default: --no-NAME turns it off */
} cli_option;

/* The program's own options and the library's, as one list; NULL past the last. */
const cli_option *cli_option_at(size_t i);
extern const cli_command cli_commands[]; /* ends with a NULL name */

/* Fill args from the words after the command's name. CLI_DONE, or CLI_USAGE with the line printed;
 * --help ends the parsing with args->help set. */
int cli_parse(const cli_command *command, int argc, char **argv, cli_args *args);
/* Has it no value? */
bool cli_is_flag(const cli_option *option);
/* May it be given several times, each one more value? */
bool cli_is_list(const cli_option *option);
/* Was it typed, in this command line? */
bool cli_given(const cli_args *args, const char *name);
/* Is this word, up to a comma, the name of a network? */
bool cli_is_spec(const char *word);

void cli_help(void);                                                /* kd --help */
void cli_help_command(const cli_command *command);                  /* kd COMMAND --help */
void cli_choices(const cli_option *option, char *out, size_t size); /* "sgd|adamw" */
/* What an option means, with its default. */
void cli_option_text(const cli_option *option, char *out, size_t size);

typedef struct cli_variable {
    const char *name, *help;
} cli_variable;
extern const cli_variable cli_environment[]; /* ends with a NULL name */

/* ---- texts ----------------------------------------------------------------------------------- */

/* Strict: the whole text, decimal, finite, no spaces, whatever the locale. */
bool cli_parse_number(const char *text, double *out);
bool cli_parse_count(const char *text, uint64_t *out);
bool cli_parse_bytes(const char *text, uint64_t *out);
/* "48", the side of a square, or "48x96", height and width, each from 1 to CLI_MOST_PIXELS: the
 * height, with the width in the upper half unless it is the same. */
enum { CLI_MOST_PIXELS = 16384 };
bool cli_parse_picture(const char *text, uint64_t *out);
/* Single edits between two words: a letter inserted, left out or changed, two neighbours swapped. */
size_t cli_distance(const char *a, const char *b);

/* The name that is nearest to a word which is none of the names. Case does not matter, nor '_' for
 * '-'. A word that is the beginning of a name counts as one edit; words added to a name count as
 * two. */
enum { CLI_GUESS = 64 };
typedef struct cli_guess {
    char word[CLI_GUESS];
    const char *best; /* NULL: none is near */
    size_t distance;
} cli_guess;
cli_guess cli_guess_for(const char *word);
void cli_guess_try(cli_guess *guess, const char *name);

typedef struct cli_text {
    char text[32];
} cli_text;
cli_text cli_bytes(double bytes);      /* "12.3 MiB" */
cli_text cli_amount(double amount);    /* "12.3 M" */
cli_text cli_duration(double seconds); /* "1 h 02 min" */

/* Escape a name from a file: control characters and marks that change the direction of text become
 * \xNN or \uNNNN. out is cut at size. */
const char *cli_escape(const char *text, char *out, size_t size);

/* The library's words with its options' names as they are typed here: "budget_seconds" is
 * --budget-seconds. out is cut at size. */
void cli_as_typed(const char *text, char *out, size_t size);
/* Until the next call "student 3" of the library's words is the name of that place; NULL: it stays.
 * names [n] live on. */
void cli_students_are(const char *const *names, size_t n);
/* Until the next call all that is said is about this student; NULL: about none. */
void cli_speaks_of(const char *name);
/* The beginning of such a line: "NAME: ", or "". */
const char *cli_spoken_of(void);

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Print the finished text as a line on standard output and destroy json. */
int cli_print_json(kd_ctx *ctx, kd_json *json);
/* Flush standard output: a full disk is an error. */
int cli_flush(void);

/* ---- opening things -------------------------------------------------------------------------- */

/* A context with the threads and limits that were asked for; its log goes to standard error. */
int cli_open_ctx(const cli_args *args, kd_ctx **ctx);
/* Is it found without a folder of data: made from numbers, or by its own path? */
bool cli_data_alone(const char *data);
int cli_open_data(const cli_args *args, kd_ctx *ctx, kd_dataset **data);
/* Says how many broken pictures were left out. NULL is allowed. */
void cli_close_data(kd_dataset *data);
/* The complete spec: what it leaves out comes from the data (info NULL: the family's defaults);
 * image (cli_parse_picture) 0: as spec or data say. */
int cli_complete(kd_ctx *ctx, const char *spec, const kd_data_info *info, uint64_t image,
                 char out[KD_SPEC_SIZE]);
/* What a student's spec takes from the data; of data without labels the classes are the first
 * teacher's, if there is one. */
kd_data_info cli_student_data(const kd_dataset *data, const kd_model *teacher);
/* A model from a file, at another image size if that is not 0. */
int cli_load(kd_ctx *ctx, const char *path, const char *spec, uint64_t image, kd_model **model);
/* Normalise the model's pictures as the option's text says; text NULL: leave it. */
int cli_normalize(const cli_args *args, const char *option, const char *text, kd_model *model);
/* The steps by which pictures are framed for this network: as --augment says, else as its file does
 * where pictures have sizes of their own, else as the data set does. NULL, with the line printed:
 * --augment leaves something to chance. */
const char *cli_framing(const cli_args *args, const kd_dataset *data, kd_model *model);
/* Say in a line each, unless --quiet: that the normalisation is a guess (option: that which says
 * otherwise), and that the network was trained on other data. */
void cli_say_normalization(const cli_args *args, const char *option, const char *file,
                           const kd_model *model, const kd_dataset *data);
/* Grey data fit any network; else the channels must be the same: CLI_FAILED. */
int cli_check_channels(const cli_args *args, const char *file, const kd_model *model,
                       const kd_dataset *data);
/* CLI_FAILED unless the path exists. It is called before anything is read. */
int cli_is_there(const char *path);
/* CLI_FAILED with the context's error about this path, and what may be meant instead. */
int cli_fail_open(const kd_ctx *ctx, const char *path, kd_status status);
int cli_say_data(const cli_args *args, const char *file, const kd_model *model, kd_dataset *data);
/* blob.c: is it a .kde? */
bool cli_is_blob(const char *path);
struct kd_blob;
/* One, and (model not NULL) a network of its form. CLI_USAGE: options that it has no use for. */
int cli_open_blob(const cli_args *args, kd_ctx *ctx, const char *path, struct kd_blob **blob,
                  kd_model **model);
/* kd inspect, and kd profile, which also measures for so many seconds. */
int cli_list_blob(const cli_args *args, const char *path, double seconds);
/* Multiply-accumulates of one picture. */
int cli_macs(kd_model *model, uint64_t *macs);

/* output.c: `what` names an output in what is said, "OUTPUT" or "--predictions"; a path that is
 * NULL is none. Each is CLI_DONE, or CLI_FAILED with the line printed. apart: writing output must
 * not touch input (nor a file of that folder, nor a shard of it). */
int cli_apart(kd_ctx *ctx, const char *what, const char *output, const char *input);
/* What output would replace, if anything: a file of logits (of kd predict, of kd step), never a
 * network. */
int cli_replaceable(kd_ctx *ctx, const char *what, const char *output);
/* Of --data folder:PATH: output, which need not be there yet, lies neither in that folder nor is it. */
int cli_outside_data(const cli_args *args, const char *what, const char *output);
/* Two outputs are not one file: CLI_USAGE. */
int cli_two_outputs(const cli_args *args, const char *what, const char *output,
                    const char *other_what, const char *other);
/* Its folder exists, and the path is free or a regular file. */
int cli_can_write(const char *what, const char *output);
/* What is there is empty or begins with `head` (at most 200 bytes), as such a `kind` of file does. */
int cli_can_replace(const char *what, const char *output, const char *head, const char *kind);
/* A JPEG or PNG file: by its first bytes, whatever it is called. */
bool cli_is_picture(const char *path);

/* Pictures [n,channels,pixels], as files hold them, to [n,pixels,channels]. */
void cli_channels_last(const float *planar, float *out, size_t n, size_t channels, size_t pixels);

/* Look for mistakes among the library's options (taught: there are teachers), and fill in its
 * defaults for this network. CLI_DONE, or CLI_USAGE with the line printed. */
int cli_defaults(cli_args *args, kd_ctx *ctx, const kd_model *model, bool taught);
/* The same before the network is known, which is what is left out, and whether networks and files
 * that are named are there: mistakes are found before anything is read. */
int cli_check(const cli_args *args, kd_ctx *ctx, bool taught);

/* ---- progress and interruption --------------------------------------------------------------- */

/* Since when, and from which fraction on, time is measured. */
typedef struct cli_stretch {
    double started, first_fraction;
} cli_stretch;

typedef struct cli_progress {
    kd_ctx *ctx;
    bool quiet, json, terminal, taught;
    const char *what; /* is evaluated; NULL: a training run, which evaluates, too */
    size_t dev_count, log_steps;
    bool shown;             /* a bar stands on the terminal's line */
    bool evaluating;        /* the last call was of an evaluation */
    double last;            /* when something was shown */
    cli_stretch stretch[2]; /* of the run; of the evaluation within it */
    kd_progress latest;     /* what the last call of training said */
} cli_progress;

/* epochs: of a training run; else of an evaluation of args->split. */
void cli_progress_start(cli_progress *p, kd_ctx *ctx, const cli_args *args, bool epochs);
/* A kd_progress_fn; user is the cli_progress. Returns non-zero when interrupted. */
int cli_progress_step(void *user, const kd_progress *progress);
void cli_progress_end(cli_progress *p);

/* From here on SIGINT, SIGTERM and SIGHUP set a flag; only a second SIGINT, a second or more after
 * the first, ends the program. A reader of our output that goes away (SIGPIPE) does not end it. */
void cli_catch_signals(void);
bool cli_interrupted(void);
/* A process that starts others: those that are started from here on are interrupted as soon as this
 * one is gone, however it ended. */
int cli_hold_lifeline(void);
/* What the first signal says at once on standard error: "...\n"; NULL: nothing. Copied. */
void cli_answer_signals(const char *text);

/* What tells a file from another one that replaced it. */
typedef struct cli_mark {
    bool there;
    uint64_t inode;
    int64_t seconds, nanoseconds; /* when it was changed */
} cli_mark;
cli_mark cli_mark_of(const char *path); /* may be called in a signal's handler */
bool cli_same_mark(const cli_mark *a, const cli_mark *b);

/* A file that is written, by way of temp, before a second SIGINT ends the program. */
typedef struct cli_last_words {
    const char *path, *temp, *text;
    size_t size;
    const char *witness; /* only if this file is another one than `was`; NULL: in any case */
    cli_mark was;
} cli_last_words;
/* words must stay as they are until the next call. NULL: none. */
void cli_leave_when_killed(const cli_last_words *words);

/* ---- run.json -------------------------------------------------------------------------------- */

enum { CLI_PATH = 4096 };

/* What `kd rerun` holds a run against; a text is NULL where nothing was recorded. */
typedef struct cli_expected {
    const char *file; /* the record's path */
    const char *version, *isa, *conv, *blas, *data_checksum, *start_hash, *network_hash;
    const char *teacher_hash[KD_MAX_TEACHERS];
    bool check, anyway;
} cli_expected;

/* The record that a resumed run finds in its folder; without one, zeros. */
typedef struct cli_earlier {
    bool done;
    char started[32], augment[256], network_hash[20];
    double top1, top5, loss; /* NaN: not measured */
    size_t peak_bytes;
} cli_earlier;

typedef struct cli_run {
    const cli_args *args;
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model;
    kd_model *const *teachers; /* [args->n_teachers] */
    uint64_t macs;
    uint64_t data_checksum, start_hash, teacher_hash[KD_MAX_TEACHERS];
    char started[32];
    char augment[256];       /* with all its values; "": no step was made */
    const char *status;      /* "running", "done", "interrupted", "failed" */
    const char *error;       /* what kept it from being done, or NULL */
    const kd_result *result; /* NULL: not yet */
    bool finished;           /* there is a result_hash */
    uint64_t result_hash;
    kd_json *killed; /* the record if a second interrupt ends the program */
    char killed_path[4200], killed_temp[4200], checkpoint[4200];
    cli_last_words last_words;
} cli_run;

void cli_read_earlier(kd_ctx *ctx, const char *out, cli_earlier *earlier);

/* DIR/run.json, atomically. */
int cli_write_run(const cli_run *run);
/* Prepare the record which says that the run was killed. It is written only if the checkpoint is
 * not `was`; NULL: in any case. */
int cli_prepare_killed(cli_run *run, const cli_mark *was);
/* The fields of a result, into an open object. */
void cli_json_result(kd_json *json, const kd_result *result);

/* Absolute paths: of a file; of the folder that the data are looked for in; of a data set, which
 * its name has where that is "folder:PATH". False: it is too long. */
bool cli_absolute(const char *path, char out[CLI_PATH]);
bool cli_data_dir(const cli_args *args, char out[CLI_PATH]);
bool cli_data_name(const cli_args *args, char out[CLI_PATH]);

typedef struct cli_hash {
    char text[20];
} cli_hash;
cli_hash cli_hash_text(uint64_t hash);     /* 16 digits */
cli_hash cli_picture_text(uint64_t image); /* as cli_parse_picture takes it */

/* A step without what a feature adds, whose memory kd_train_plan can tell: a little less. */
void cli_without_feature(kd_distill_opt *opt);
/* What a run consists of, on standard error: the data as soon as they are open, then the rest. */
void cli_header_data(const cli_args *args, kd_dataset *data);
void cli_header(const cli_run *run);

/* Is this the run that was recorded? CLI_DONE, or CLI_FAILED with all that differs named. */
int cli_rerun_agrees(const cli_run *run);

/* ---- commands -------------------------------------------------------------------------------- */

int cmd_models(cli_args *args);
int cmd_profile(cli_args *args);
int cmd_train(cli_args *args); /* train, distill, finetune */
int cmd_eval(cli_args *args);
int cmd_predict(cli_args *args);
int cmd_step(cli_args *args);
int cmd_export(cli_args *args);
int cmd_inspect(cli_args *args);
int cmd_completion(cli_args *args);
int cmd_manual(cli_args *args);
int cmd_rerun(cli_args *args);
int cmd_cache(cli_args *args);
int cmd_sweep(cli_args *args);
int cmd_search(cli_args *args);
int cmd_report(cli_args *args);

/* Is there a teacher, or a cache of its logits? */
bool cli_taught(const cli_args *args);

/* What --dry-run prints instead of a run. */
int cli_dry_run(const cli_run *run);
/* kd_distill if there are teachers, else kd_train. */
kd_status cli_call(const cli_run *run, const kd_train_opt *train, kd_result *result);

#endif
