/* SPDX-License-Identifier: MIT
 * options.h: every option of training and distillation as one table: its name, its place in
 * kd_train_opt or kd_distill_opt, its default, its range, what reads it, and whether it changes the
 * result. The library takes its defaults and its checks from it; a program can make a command line,
 * a record of a run, or a form of it.
 *
 * Threads: the table is constant. Any thread may call what takes no context and no kd_json. */
#ifndef KD_OPTIONS_H
#define KD_OPTIONS_H

#include <kd/json.h>
#include <kd/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The type of an option's member. */
typedef enum kd_option_type {
    KD_OPTION_FLAG,   /* int: 0 or 1; where the default is 1, 0 means that, and -1 means 0 */
    KD_OPTION_COUNT,  /* size_t */
    KD_OPTION_PIECES, /* size_t, or KD_MICRO_AUTO */
    KD_OPTION_U64,    /* uint64_t */
    KD_OPTION_FLOAT,  /* float */
    KD_OPTION_DOUBLE, /* double */
    KD_OPTION_CHOICE, /* an enum */
    KD_OPTION_TEXT    /* const char * */
} kd_option_type;

typedef enum kd_option_of { KD_OF_TRAIN, KD_OF_DISTILL } kd_option_of;

/* What an option is about: headings of a help text. */
typedef enum kd_option_group {
    KD_GROUP_DATA,
    KD_GROUP_TRAINING,
    KD_GROUP_DISTILLATION,
    KD_GROUP_RUN,
    KD_GROUPS
} kd_option_group;

enum {
    KD_CHANGES_RESULT = 1, /* another value gives another network: a resume compares it */
    KD_READ_BY_STEP = 2,   /* kd_train_step reads it, too */
    KD_CAN_BE_OFF = 4,     /* KD_OFF means kd_option.off; no other negative number is allowed */
    KD_LENGTH = 8          /* how long the run is: may grow where the schedule does not follow it */
};

/* What a default depends on. */
typedef enum kd_option_by {
    KD_BY_NOTHING,   /* standard[0] */
    KD_BY_OPTIMIZER, /* standard[kd_optimizer] */
    KD_BY_METHOD,    /* standard[kd_method] */
    KD_BY_FEATURE,   /* standard[kd_feature] */
    KD_BY_EPOCHS /* standard[0] * epochs, at most standard[1]; standard[2] with budget_seconds */
} kd_option_by;

typedef struct kd_option {
    const char *name; /* the member's: "weight_decay" */
    kd_option_type type;
    kd_option_of of;
    size_t offset; /* of the member, in kd_train_opt or kd_distill_opt */
    kd_option_group group;
    unsigned flags;       /* KD_CHANGES_RESULT ... */
    const char *argument; /* what a value is called: "RATE"; NULL of flags and choices */
    const char *help;
    double low, high;             /* of a number, both included */
    const char *(*choice)(int i); /* the names of a choice; NULL past the last */
    kd_option_by by;
    /* The default. Of a model that is trained already it is `tuned`, if that is not 0; of a
     * convolutional network without batch norm `plain`, if not 0. */
    double standard[KD_FEATURE_COUNT];
    double tuned[KD_METHOD_COUNT], plain[KD_METHOD_COUNT];
    const char *text;       /* the default of a text, or of what is found by the model, in words */
    unsigned optimizers;    /* bits 1 << kd_optimizer of those that read it; 0: all */
    unsigned schedules;     /* 1 << kd_schedule */
    unsigned methods;       /* 1 << kd_method */
    const char *needs;      /* another option without which nobody reads it; NULL: none */
    const char *not_with;   /* another option it contradicts; NULL: none */
    double off;             /* what KD_OFF means: zero, but one for layer_decay */
    const double *featured; /* the default beside a feature; NULL: the same */
} kd_option;

/* The i-th option of the table, from 0; NULL past the last. Valid for ever. */
KD_API const kd_option *kd_option_at(size_t i);
/* NULL if there is none of this name, or name is NULL. */
KD_API const kd_option *kd_option_find(const char *name);

/* An option's member, found in its struct (kd_train_opt or kd_distill_opt, whole), as a number: a
 * choice's index, 1 for a text that is there. What is zero was not given. */
KD_API double kd_option_get(const kd_option *option, const void *opt);
/* Set it to a number of the option's range, or to KD_OFF: the range is not checked here. A text
 * stays. */
KD_API void kd_option_set(const kd_option *option, void *opt, double number);

/* The default as it would be typed: "0.9", "sgd 0.05, adamw 0.001"; "" where there is none. out
 * [size] ends with a NUL; what has no room is cut off. */
KD_API void kd_option_default_text(const kd_option *option, char *out, size_t size);

/* The structs below are taken by the rule of kd_options, so that an older program's shorter ones
 * will do.
 *
 * Do these options, after kd_train_defaults and kd_distill_defaults, read this one? distill NULL:
 * training without a teacher. 0 also for NULL, and for a struct that kd_train would refuse for its
 * size. */
KD_API int kd_option_is_read(const kd_option *option, const kd_train_opt *train,
                             const kd_distill_opt *distill);

/* Is there a mistake in these options: a value out of its range, one that nothing reads, two that
 * contradict each other? KD_E_INVALID, and the error's text begins with the option's name and a
 * colon; *which (may be NULL) is the option, or NULL where the mistake is in no option of the table
 * (struct_size, fine_tune). What is zero was not given; KD_OFF is no mistake where the option that
 * this one needs is off, too. What defaults have filled in can't be told from what was given: set
 * options first. model: whose optimiser and schedule hold where none is given; NULL: a CNN's. train
 * NULL: all defaults. distill NULL: training without a teacher; its teachers are not looked at.
 * kd_train and kd_distill check this first. */
KD_API kd_status kd_options_check(kd_ctx *ctx, const kd_model *model, const kd_train_opt *train,
                                  const kd_distill_opt *distill, const kd_option **which);

/* Every option as a member of an open object, by its name, as a run uses it: defaults filled in,
 * KD_OFF as what it means, null for what these options do not read. flags: only options that have
 * all of these. A struct that kd_train would refuse for its size is a misuse, which kd_json_text
 * tells. */
KD_API void kd_options_json(kd_json *json, unsigned flags, const kd_train_opt *train,
                            const kd_distill_opt *distill);

#ifdef __cplusplus
}
#endif
#endif
