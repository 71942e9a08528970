/* SPDX-License-Identifier: MIT
 * test_own_loss.c: losses of the caller's own, and features, around what tests/train/follow_lines.c
 * follows step by step: a function that builds a loss the library has leads to the same network; its
 * parameters are in checkpoints and not in models, and resume; several students; teachers of other
 * classes; what is refused. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct setup {
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *student, *teacher;
    kd_train_opt train;
    kd_distill_opt opt;
} setup;

static const char swin_spec[] = "swin_tiny_patch4_window7_224,image=16,patch=2,dim=6,depth=1-2,"
                                "heads=1-2,window=4,classes=5";
static const char student_spec[] = "vgg3_bn,width=0.125,classes=5,image=16";

static void open_all(setup *s, const char *student, const char *teacher)
{
    *s = (setup){.ctx = test_ctx(2, NULL)};
    test_ok(s->ctx, kd_dataset_open(s->ctx, "synthetic:classes=5,image=16,train=40,test=10", NULL,
                                    &s->data));
    test_ok(s->ctx, kd_model_create(s->ctx, student, 1, &s->student));
    test_ok(s->ctx, kd_model_create(s->ctx, teacher, 2, &s->teacher));
    s->train = (kd_train_opt){.struct_size = sizeof s->train,
                              .epochs = 2,
                              .batch = 8,
                              .lr = .02f,
                              .seed = 3,
                              .no_test = 1};
    s->opt =
        (kd_distill_opt){.struct_size = sizeof s->opt, .teacher = s->teacher, .train = &s->train};
}

static void close_all(setup *s)
{
    kd_model_destroy(s->student);
    kd_model_destroy(s->teacher);
    kd_dataset_close(s->data);
    ck_assert_uint_eq(kd_ctx_memory(s->ctx), 0);
    kd_ctx_destroy(s->ctx);
}

/* The network that a run leads to, from the same start. */
static uint64_t outcome(setup *s, const kd_distill_opt *opt, kd_result *result)
{
    uint64_t hash;
    const char *spec = kd_model_spec(s->student);
    kd_model *m;
    test_ok(s->ctx, kd_model_create(s->ctx, spec, 1, &m));
    test_ok(s->ctx, kd_distill(m, s->data, opt, result));
    test_ok(s->ctx, kd_model_hash(m, &hash));
    kd_model_destroy(s->student);
    s->student = m;
    return hash;
}

/* ---- a loss that the library has --------------------------------------------------------------- */

/* What the option `hint` builds, with the same names. */
static kd_value hint(void *user, const kd_loss_graph *step)
{
    (void)user;
    ck_assert_uint_eq(step->n_student_taps, 1);
    ck_assert_uint_eq(step->n_teacher_taps, 1);
    ck_assert_str_eq(step->student_taps[0].name, "stages.1");
    const kd_value r = kd_linear(step->graph, step->student_taps[0].value, "regressor.0", 32, 1);
    return kd_scale(step->graph, kd_loss_mse(step->graph, r, step->teacher_taps[0].value), 100);
}

START_TEST(test_hint)
{
    static const char *const tap = "stages.1";
    setup s;
    open_all(&s, student_spec, "vgg3_bn,width=0.25,classes=5,image=16");
    s.opt.feature = KD_FEATURE_HINT;
    const uint64_t built_in = outcome(&s, &s.opt, NULL);
    s.opt.feature = KD_FEATURE_NONE;
    s.opt.hard = 1;
    s.opt.soft = KD_OFF;
    const uint64_t none = outcome(&s, &s.opt, NULL);
    s.opt.loss = hint;
    s.opt.student_taps = s.opt.teacher_taps = &tap;
    s.opt.n_student_taps = s.opt.n_teacher_taps = 1;
    ck_assert_uint_eq(outcome(&s, &s.opt, NULL), built_in);
    ck_assert_uint_ne(none, built_in);
    close_all(&s);
}
END_TEST

/* Hinton's loss from the teacher's logits, and the labels': as hard .1 and soft .9. */
static kd_value hinton(void *user, const kd_loss_graph *step)
{
    kd_graph *g = step->graph;
    ++*(int *)user;
    ck_assert_uint_eq(step->n_teachers, 1);
    const kd_value labels = kd_scale(g, kd_cross_entropy(g, step->logits, step->labels, 0), .1f);
    const kd_value taught = kd_loss_kd(g, step->logits, step->teachers[0], 4);
    return kd_add(g, labels, kd_scale(g, taught, .9f));
}

START_TEST(test_hinton)
{
    setup s;
    int calls = 0;
    kd_result a = {.struct_size = sizeof a}, b = a;
    open_all(&s, student_spec, "vgg2_bn,width=0.25,classes=5,image=16");
    const uint64_t built_in = outcome(&s, &s.opt, &a);
    s.opt.hard = s.opt.soft = KD_OFF;
    s.opt.loss = hinton;
    s.opt.loss_user = &calls;
    ck_assert_uint_eq(outcome(&s, &s.opt, &b), built_in);
    ck_assert_int_eq(calls, 1);
    ck_assert(fabs(a.train_loss - b.train_loss) < 1e-12 && a.teacher_top1 == b.teacher_top1);
    close_all(&s);
}
END_TEST

/* ---- parameters of its own --------------------------------------------------------------------- */

static int stop_early(void *user, const kd_progress *p)
{
    return !p->evaluating && !p->epoch_end && p->step == *(const size_t *)user;
}

/* Tensors of a file whose names begin so. */
static size_t tensors(kd_ctx *ctx, const char *folder, const char *name, const char *begin)
{
    char path[700];
    size_t n = 0;
    kd_file *f;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    test_ok(ctx, kd_file_open(ctx, path, &f));
    for (size_t i = 0; i < kd_file_count(f); i++)
        n += !strncmp(kd_file_at(f, i)->name, begin, strlen(begin));
    kd_file_close(f);
    return n;
}

START_TEST(test_parameters)
{
    static const char *const tap = "stages.1";
    char out[600], path[700];
    setup s;
    size_t stop = 3;
    open_all(&s, student_spec, "vgg3_bn,width=0.25,classes=5,image=16");
    s.opt.hard = 1;
    s.opt.soft = KD_OFF;
    s.opt.loss = hint;
    s.opt.student_taps = s.opt.teacher_taps = &tap;
    s.opt.n_student_taps = s.opt.n_teacher_taps = 1;
    const uint64_t whole = outcome(&s, &s.opt, NULL);
    snprintf(out, sizeof out, "%s/own", test_dir());
    s.train.out = out;
    s.train.progress = stop_early;
    s.train.user = &stop;
    kd_model *m;
    test_ok(s.ctx, kd_model_create(s.ctx, student_spec, 1, &m));
    ck_assert_int_eq(kd_distill(m, s.data, &s.opt, NULL), KD_E_STOPPED);
    kd_model_destroy(m);
    ck_assert_uint_eq(tensors(s.ctx, out, "checkpoint.safetensors", "extra.loss.regressor.0."), 2);
    ck_assert_uint_eq(
        tensors(s.ctx, out, "checkpoint.safetensors", "extra.optimizer.momentum.loss."), 2);
    /* A checkpoint is a model file. */
    snprintf(path, sizeof path, "%s/checkpoint.safetensors", out);
    test_ok(s.ctx, kd_model_load(s.ctx, path, NULL, &m));
    kd_model_destroy(m);
    s.train.progress = NULL;
    s.train.resume = 1;
    s.opt.loss = NULL; /* is refused */
    s.opt.n_student_taps = s.opt.n_teacher_taps = 0;
    test_ok(s.ctx, kd_model_create(s.ctx, student_spec, 1, &m));
    ck_assert_int_eq(kd_distill(m, s.data, &s.opt, NULL), KD_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(s.ctx), "own_loss"));
    kd_model_destroy(m);
    s.opt.loss = hint;
    s.opt.n_student_taps = s.opt.n_teacher_taps = 1;
    ck_assert_uint_eq(outcome(&s, &s.opt, NULL), whole);
    ck_assert_uint_eq(tensors(s.ctx, out, "model.safetensors", "extra."), 0);
    ck_assert_uint_eq(tensors(s.ctx, out, "model.safetensors", "loss."), 0);
    close_all(&s);
}
END_TEST

/* ---- frozen is frozen -------------------------------------------------------------------------- */

/* To the bit, in an average of the weights, too. */
START_TEST(test_frozen)
{
    setup s;
    kd_model *was;
    open_all(&s, student_spec, "vgg2_bn,width=0.25,classes=5,image=16");
    test_ok(s.ctx, kd_model_create(s.ctx, student_spec, 1, &was));
    s.train.freeze = "body";
    s.train.ema = .9f;
    test_ok(s.ctx, kd_distill(s.student, s.data, &s.opt, NULL));
    kd_params *a = kd_model_params(was), *b = kd_model_params(s.student);
    ck_assert_int_eq(memcmp(kd_params_buffers(a), kd_params_buffers(b), kd_params_buffer_bytes(a)),
                     0);
    for (size_t i = 0; i < kd_params_entries(a); i++) {
        const kd_param_info *info = kd_params_info(a, i);
        if (info->buffer) continue;
        const bool same = !memcmp(kd_params_values(a) + info->offset,
                                  kd_params_values(b) + info->offset, info->count * sizeof(float));
        ck_assert_msg(same == !strncmp(info->name, "features.", 9), "%s", info->name);
    }
    kd_model_destroy(was);
    close_all(&s);
}
END_TEST

/* ---- several students -------------------------------------------------------------------------- */

START_TEST(test_many)
{
    static const kd_feature features[] = {KD_FEATURE_HINT, KD_FEATURE_AT, KD_FEATURE_RKD,
                                          KD_FEATURE_COSINE, KD_FEATURE_NONE};
    enum { STUDENTS = 5 };
    static const char *const specs[STUDENTS] = {
        student_spec, student_spec, "vgg2_bn,width=0.125,classes=5,image=16",
        "vgg4_bn,width=0.125,classes=5,image=16", student_spec};
    setup s;
    kd_distill_opt opts[STUDENTS];
    kd_student students[STUDENTS];
    uint64_t alone[STUDENTS], hash;
    open_all(&s, student_spec, "vgg4_bn,width=0.25,classes=5,image=16");
    for (size_t i = 0; i < STUDENTS; i++) {
        kd_model *m;
        opts[i] = s.opt;
        opts[i].feature = features[i];
        test_ok(s.ctx, kd_model_create(s.ctx, specs[i], 10 + i, &m));
        test_ok(s.ctx, kd_distill(m, s.data, &opts[i], NULL));
        test_ok(s.ctx, kd_model_hash(m, &alone[i]));
        kd_model_destroy(m);
        students[i] = (kd_student){.opt = &opts[i]};
        test_ok(s.ctx, kd_model_create(s.ctx, specs[i], 10 + i, &students[i].model));
    }
    test_ok(s.ctx, kd_distill_many(students, STUDENTS, s.data));
    for (size_t i = 0; i < STUDENTS; i++) {
        test_ok(s.ctx, kd_model_hash(students[i].model, &hash));
        ck_assert_msg(hash == alone[i], "student %zu", i);
        kd_model_destroy(students[i].model);
    }
    close_all(&s);
}
END_TEST

static kd_value square(void *user, const kd_loss_graph *step)
{
    (void)user;
    return kd_mean_square(step->graph, step->logits);
}

/* Their losses together read more of the teacher's taps than there may be: no lack of memory. */
START_TEST(test_many_taps)
{
    enum { STUDENTS = 3, EACH = 24, ALL = STUDENTS * EACH };
    static const char *names[ALL];
    static kd_tap_info taps[ALL];
    setup s;
    kd_distill_opt opts[STUDENTS];
    kd_student students[STUDENTS];
    size_t n;
    open_all(&s, student_spec,
             "vit_tiny_patch16_224,image=16,patch=4,dim=12,heads=3,depth=36,classes=5");
    test_ok(s.ctx, kd_spec_taps(s.ctx, kd_model_spec(s.teacher), taps, ALL, &n));
    ck_assert_uint_ge(n, ALL);
    for (size_t i = 0; i < ALL; i++) names[i] = taps[i].name;
    for (size_t i = 0; i < STUDENTS; i++) {
        opts[i] = s.opt;
        opts[i].loss = square;
        opts[i].teacher_taps = names + i * EACH;
        opts[i].n_teacher_taps = EACH;
        students[i] = (kd_student){.opt = &opts[i]};
        test_ok(s.ctx, kd_model_create(s.ctx, student_spec, i, &students[i].model));
    }
    ck_assert_int_eq(kd_distill_many(students, STUDENTS, s.data), KD_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(s.ctx), "the losses read more than 64 taps"));
    for (size_t i = 0; i < STUDENTS; i++) kd_model_destroy(students[i].model);
    close_all(&s);
}
END_TEST

/* ---- a teacher of other classes ---------------------------------------------------------------- */

START_TEST(test_other_classes)
{
    setup s;
    kd_result r = {.struct_size = sizeof r};
    open_all(&s, student_spec,
             "vit_tiny_patch16_224,image=16,patch=4,dim=24,heads=3,depth=2,classes=9");
    s.opt.feature = KD_FEATURE_COSINE;
    s.opt.hard = KD_OFF;
    test_ok(s.ctx, kd_distill(s.student, s.data, &s.opt, &r));
    ck_assert(isnan(r.teacher_top1) && isnan(r.agreement) && isfinite(r.train_loss));
    ck_assert(r.train_loss > 0 && r.train_loss < 2);
    s.opt.soft = 1;
    ck_assert_int_eq(kd_distill(s.student, s.data, &s.opt, &r), KD_E_MISMATCH);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(s.ctx), "has 9 classes, the student 5"));
    close_all(&s);
}
END_TEST

/* ---- what is refused --------------------------------------------------------------------------- */

static void refused(setup *s, const kd_distill_opt *opt, kd_status want, const char *says)
{
    const kd_status status = kd_distill(s->student, s->data, opt, NULL);
    ck_assert_msg(status == want && strstr(kd_ctx_error(s->ctx), says), "%s: %s (%s)", says,
                  kd_ctx_error(s->ctx), kd_status_name(status));
}

static kd_value nothing(void *user, const kd_loss_graph *step)
{
    (void)user, (void)step;
    return KD_NONE;
}

static kd_value not_a_scalar(void *user, const kd_loss_graph *step)
{
    (void)user;
    return step->logits;
}

static kd_status logits(void *user, const kd_batch *b, const float *pictures, float *out)
{
    (void)user, (void)pictures;
    memset(out, 0, b->n * 5 * sizeof *out);
    return KD_OK;
}

START_TEST(test_refused)
{
    static const char *const tap = "stages.9", *const fine = "stages.1";
    setup s;
    open_all(&s, student_spec, "vgg3_bn,width=0.25,classes=5,image=16");
    kd_distill_opt o = s.opt;
    o.loss = nothing;
    refused(&s, &o, KD_E_SHAPE, "kd_distill_opt.loss: what it returned is no scalar");
    o.loss = not_a_scalar;
    refused(&s, &o, KD_E_SHAPE, "kd_distill_opt.loss: what it returned is no scalar");
    o.loss = hint;
    o.student_taps = &tap;
    o.n_student_taps = 1;
    refused(&s, &o, KD_E_NOTFOUND, "vgg3_bn has no tap 'stages.9'; it has stages.0");
    o.student_taps = &fine;
    o.teacher_taps = &tap;
    o.n_teacher_taps = 1;
    refused(&s, &o, KD_E_NOTFOUND, "has no tap 'stages.9'");
    o.teacher_taps = NULL;
    refused(&s, &o, KD_E_INVALID, "taps are counted, not named");
    o.teacher_taps = &fine;
    o.loss = NULL;
    refused(&s, &o, KD_E_INVALID, "no loss reads them");
    o.loss = hint;
    o.teacher = NULL;
    o.logits = logits;
    refused(&s, &o, KD_E_UNSUPPORTED, "a function gives a teacher's logits alone");
    kd_plan *plan;
    ck_assert_int_eq(kd_train_plan(s.student, &o, &plan), KD_E_UNSUPPORTED);
    o = s.opt;
    o.feature = KD_FEATURE_ATTENTION;
    refused(&s, &o, KD_E_INVALID, "feature: the student (vgg3_bn");
    o.feature = KD_FEATURE_HINT;
    o.student_tap = "stages.1,stages.2";
    refused(&s, &o, KD_E_INVALID, "student_tap: the student (vgg3_bn");
    o.student_tap = "stages.1,stages.0";
    refused(&s, &o, KD_E_INVALID, "student_tap: 2 taps of the student and 1 of the teacher");
    o.student_tap = "embedding";
    refused(&s, &o, KD_E_INVALID,
            "feature: embedding of the student and stages.1 of the teacher cannot be compared by "
            "hint");
    o.student_tap = NULL;
    o.teacher_tap = "";
    refused(&s, &o, KD_E_INVALID, "teacher_tap: the teacher (vgg3_bn");
    o = s.opt;
    o.feature_weight = 3;
    refused(&s, &o, KD_E_INVALID, "feature_weight: it needs feature");
    o = s.opt;
    o.feature = (kd_feature)50;
    refused(&s, &o, KD_E_INVALID, "feature: 50: there is no such choice");
    o = s.opt;
    kd_model *other;
    test_ok(s.ctx, kd_model_create(s.ctx, student_spec, 7, &other));
    kd_model *const both[] = {s.teacher, other};
    o.teacher = NULL;
    o.teachers = both;
    o.n_teachers = 2;
    o.feature = KD_FEATURE_RKD;
    refused(&s, &o, KD_E_UNSUPPORTED, "a loss reads the taps of one teacher, and 2 are given");
    kd_model_destroy(other);
    close_all(&s);
    open_all(&s, "vgg3,width=0.125,classes=5,image=16", "vgg3,width=0.25,classes=5,image=16");
    s.opt.feature = KD_FEATURE_RKD;
    s.train.micro_batch = 4;
    refused(&s, &s.opt, KD_E_UNSUPPORTED, "a micro-batch of 4: loss_rkd 'loss' of vgg3,classes=5");
    close_all(&s);
    open_all(&s,
             "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=12,heads=2,depth=2,classes=5",
             "vit_tiny_patch16_224,image=16,patch=4,dim=12,heads=3,depth=2,classes=5");
    s.opt.feature = KD_FEATURE_ATTENTION;
    refused(&s, &s.opt, KD_E_INVALID,
            "blocks.1.attn of the student is over 18 tokens, blocks.1.attn of the teacher over 17");
    close_all(&s);
}
END_TEST

/* Every method for every two families: defaults there are, and they learn. */
START_TEST(test_families)
{
    static const char *const specs[] = {
        "vgg3_bn,width=0.125,classes=5,image=16",
        "vit_tiny_patch16_224,image=16,patch=4,dim=12,heads=3,depth=5,classes=5",
        "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=12,heads=2,depth=2,classes=5",
        swin_spec};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++)
            for (int f = 1; f < KD_FEATURE_COUNT; f++) {
                setup s;
                kd_result r = {.struct_size = sizeof r};
                if (f == KD_FEATURE_ATTENTION && (i != k || i == 0)) continue;
                open_all(&s, specs[i], specs[k]);
                s.opt.feature = (kd_feature)f;
                s.train.max_steps = 2;
                const kd_status status = kd_distill(s.student, s.data, &s.opt, &r);
                ck_assert_msg(status == KD_OK && isfinite(r.train_loss), "%s, %s, %s: %s", specs[i],
                              specs[k], kd_feature_name((kd_feature)f), kd_ctx_error(s.ctx));
                close_all(&s);
            }
}
END_TEST

TEST_SUITE(own_loss, 60, &test_hint, &test_hinton, &test_parameters, &test_frozen, &test_many,
           &test_many_taps, &test_other_classes, &test_refused, &test_families)
