/* SPDX-License-Identifier: MIT
 * follow.c: one run of kd_train or kd_distill beside the reference's, on a small set of random
 * pictures. After each step the weights, the buffers and what the run says of itself are compared;
 * after each epoch and at the end the evaluations, the lines of metrics.jsonl and the result.
 *
 * Tolerances: float32 keeps 6e-8 of a number. A run of a dozen steps adds up some ten of these: the
 * most that was seen is 6e-7 of an array's largest number. A fault in a formula shows as 1e-4 and
 * more. Where a ReLU's input, or the difference of two numbers that a pool compares, is smaller than
 * rounding, the gradient may jump: such a line must take another seed. */
#include "follow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 7, SIDE = 8, TRAIN = 27, TEST = 11 };

static const double weight_tolerance = 4e-6, smallest_gap = 2e-7;

/* Of a loss: what a step's arithmetic adds up, and an ulp of a logarithm, 2^-24, times the weight that
 * logarithms have in the teachers' part. They nearly cancel there, so that it shows. Never more than
 * a twentieth of what a fault in a formula makes. */
static double loss_tolerance(const ref_run *run)
{
    const kd_distill_opt *d = &run->distill;
    const double t = (double)d->temperature;
    double weight = d->n_teachers ? fmax(1, (double)d->soft) * t * t : 0;
    if (d->method == KD_METHOD_HARD) weight = 0;
    if (d->method == KD_METHOD_DKD) weight *= (double)(d->alpha + d->beta);
    return fmin(5e-6, 1e-6 + ldexp(weight, -24));
}

static const char *const specs[] = {
    [PLAIN] = "vgg3,width=0.0625,classes=7,image=8",
    [NORMED] = "vgg3_bn,width=0.0625,classes=7,image=8",
    [VIT] = "vit_tiny_patch16_224,dim=8,depth=2,heads=2,mlp_ratio=2,patch=4,image=8,classes=7",
    [DEIT] = "deit_tiny_distilled_patch16_224,dim=8,depth=2,heads=2,mlp_ratio=2,patch=4,image=8,"
             "classes=7"};
/* Another norm, another size and normalisation, another family. */
static const char *const teacher_specs[FOLLOW_TEACHERS] = {
    "vgg3_bn,width=0.0625,classes=7,image=8", "vgg2,width=0.125,classes=7,image=12",
    "vit_tiny_patch16_224,dim=8,depth=1,heads=1,mlp_ratio=1,patch=4,image=8,classes=7"};

enum { MOMENTS = 64 };

/* After a step, or an epoch. */
typedef struct moment {
    ref_sums sums;
    double lr, norm, epochs;
    kd_times times;
    ref_score dev;
    size_t step, skipped;
} moment;

typedef struct follower {
    const follow_line *line;
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *model, *teachers[FOLLOW_TEACHERS];
    ref_run run;
    bool stops; /* the run, after every step */
    float good; /* the weight that was made no number */
    double worst_loss, worst_weight;
    size_t skipped;          /* steps of the run */
    size_t epochs, steps;    /* so many of these: what metrics.jsonl must hold */
    size_t best;             /* the epoch that is kept, from 1 */
    ref_score dev, best_dev; /* of the last epoch */
    moment epoch[MOMENTS], step[MOMENTS];
} follower;

/* ---- what there is to train ------------------------------------------------------------------ */

static kd_dataset *open_data(kd_ctx *ctx)
{
    enum { PIXELS = SIDE * SIDE * 3 };
    static uint8_t pictures[2][TRAIN * PIXELS];
    static int32_t labels[2][TRAIN];
    static const float mean[] = {.4f, .5f, .55f}, std[] = {.2f, .3f, .25f};
    float x[TRAIN * PIXELS];
    kd_dataset *data;
    for (size_t s = 0; s < 2; s++) {
        test_fill(x, TRAIN * PIXELS, 100 + s, 127);
        for (size_t i = 0; i < TRAIN * PIXELS; i++) pictures[s][i] = (uint8_t)(128 + x[i]);
        for (size_t i = 0; i < TRAIN; i++) labels[s][i] = (int32_t)((i * 5 + i / 7) % CLASSES);
    }
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = CLASSES,
                               .height = SIDE,
                               .width = SIDE,
                               .channels = 3,
                               .count = {TRAIN, TEST},
                               .mean = mean,
                               .std = std};
    const uint8_t *const all[] = {pictures[0], pictures[1]};
    const int32_t *const classes[] = {labels[0], labels[1]};
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, all, classes, 0, &data));
    return data;
}

/* Nothing as it begins: biases, norms and statistics unlike zero and one, logits that differ. */
static kd_model *make_model(kd_ctx *ctx, const char *spec, uint64_t seed)
{
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, spec, seed, &m));
    kd_params *p = kd_model_params(m);
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        if (info->dtype != KD_F32) continue;
        float *noise = malloc(2 * info->count * sizeof *noise), *x = noise + info->count;
        ck_assert_ptr_nonnull(noise);
        test_fill(noise, info->count, seed * 1000 + i, .25f);
        test_ok(ctx, kd_params_get(p, info, 0, x));
        for (size_t k = 0; k < info->count; k++) x[k] += noise[k];
        test_ok(ctx, kd_params_set(p, info, x));
        free(noise);
    }
    return m;
}

kd_model *follow_model(kd_ctx *ctx, follow_network network)
{
    return make_model(ctx, specs[network], 1);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void expect(const follower *f, const char *what, double got, double want, double tolerance)
{
    const double off = fabs(got - want) / fmax(1, fabs(want));
    ck_assert_msg(off <= tolerance || (isnan(got) && isnan(want)),
                  "%s: after step %zu, %s is %.9g and not %.9g (off by %.1e)", f->line->name,
                  f->run.step, what, got, want, off);
}

/* Some biases change nothing: a key's, as softmax takes no notice of what all keys have in common,
 * and one before a batch norm. Their gradients are nothing but rounding, and AdamW makes large steps
 * of it. */
bool follow_counts(const follow_line *line, const ref_array *a, size_t i)
{
    const size_t dot = strlen(a->name) - strlen("bias");
    if (strstr(a->name, "qkv.bias")) return i / (a->count / 3) != 1;
    if (line->network != NORMED || strncmp(a->name, "features.", 9)) return true;
    return strcmp(a->name + dot, "bias") || strtoul(a->name + 9, NULL, 10) % 4 != 0;
}

/* Relative to the array's largest, or to 1/100. */
static void compare_array(follower *f, kd_model *model, const ref_array *a, const double *want)
{
    const kd_params *p = kd_model_params(model);
    const kd_param_info *info = kd_params_find(p, a->name);
    float *got = calloc(a->count, sizeof(int64_t));
    double largest = .01, off = 0;
    ck_assert_ptr_nonnull(got);
    test_ok(f->ctx, kd_params_get(p, info, 0, got));
    for (size_t i = 0; i < a->count; i++) {
        int64_t whole = 0;
        if (info->dtype == KD_I64) memcpy(&whole, (char *)got + i * sizeof whole, sizeof whole);
        const double x = info->dtype == KD_I64 ? (double)whole : (double)got[i];
        if (!follow_counts(f->line, a, i)) continue;
        largest = fmax(largest, fabs(want[i]));
        off = isfinite(x) ? fmax(off, fabs(x - want[i])) : INFINITY;
    }
    free(got);
    off /= largest;
    f->worst_weight = fmax(f->worst_weight, off);
    ck_assert_msg(off <= weight_tolerance,
                  "%s: after step %zu, %s is off by %.1e of its largest (least gap %.1e)",
                  f->line->name, f->run.step, a->name, off, f->run.student->least_gap);
}

static void compare_weights(follower *f, kd_model *model, ref_which which)
{
    for (size_t i = 0; i < f->run.student->n; i++) {
        const ref_array *a = &f->run.student->arrays[i];
        compare_array(f, model, a, ref_values(a, which));
    }
}

/* ---- beside the run -------------------------------------------------------------------------- */

static double percent(double count, double pictures)
{
    return pictures > 0 ? 100 * count / pictures : (double)NAN;
}

static double mean(double sum, double pictures)
{
    return pictures > 0 ? sum / pictures : (double)NAN;
}

static float *first_weight(const follower *f)
{
    kd_params_touch(kd_model_params(f->model));
    return kd_params_values(kd_model_params(f->model));
}

/* Of the epoch so far. */
static void compare_sums(follower *f, const kd_progress *p)
{
    const ref_run *r = &f->run;
    const ref_sums *s = &r->sums;
    const bool taught = r->distill.n_teachers > 0;
    const double loss = mean(s->loss, s->pictures), none = (double)NAN;
    if (s->pictures > 0)
        f->worst_loss = fmax(f->worst_loss, fabs(p->loss - loss) / fmax(1, fabs(loss)));
    expect(f, "the loss", p->loss, loss, loss_tolerance(&f->run));
    expect(f, "the accuracy", p->accuracy, percent(s->correct, s->pictures), 1e-9);
    expect(f, "the labels' loss", p->hard_loss,
           ref_run_has_hard(r) ? mean(s->hard, s->pictures) : none, loss_tolerance(&f->run));
    expect(f, "the teachers' loss", p->soft_loss,
           ref_run_has_soft(r) ? mean(s->soft, s->pictures) : none, loss_tolerance(&f->run));
    expect(f, "the loss inside", p->feature_loss,
           r->distill.feature ? mean(s->feature, s->pictures) : none, loss_tolerance(&f->run));
    expect(f, "the teachers' accuracy", p->teacher_accuracy,
           taught ? percent(s->teacher_correct, s->pictures) : none, 1e-9);
    expect(f, "the agreement", p->agreement, taught ? percent(s->agreed, s->pictures) : none, 1e-9);
    expect(f, "the rate", p->lr, r->lr, 1e-7);
    ck_assert_uint_eq(p->skipped, f->skipped);
    ck_assert_uint_eq(p->epoch, r->epoch);
    ck_assert_uint_eq(p->epochs, r->train.epochs);
    ck_assert_uint_eq(p->step, r->step);
    ck_assert_uint_eq(p->steps, r->steps);
    ck_assert_uint_eq(p->batch, r->batch);
    ck_assert_uint_eq(p->batches, r->batches);
    expect(f, "the fraction", p->fraction, (double)r->step / (double)r->steps, 1e-12);
}

static moment moment_now(const follower *f)
{
    const ref_run *r = &f->run;
    return (moment){.sums = r->sums,
                    .lr = r->lr,
                    .norm = r->norm,
                    .epochs = (double)r->epoch + (double)r->batch / (double)r->batches,
                    .dev = f->dev,
                    .step = r->step,
                    .skipped = f->skipped};
}

static void after_step(follower *f, const kd_progress *p)
{
    ref_run *r = &f->run;
    const bool bad = f->line->bad_step == r->step + 1;
    if (ref_run_epoch_over(r)) ref_run_next_epoch(r);
    ref_run_step(r, bad);
    f->skipped += bad;
    if (bad) *first_weight(f) = f->good;
    compare_sums(f, p);
    if (!bad) {
        expect(f, "the step's loss", p->step_loss, mean(r->now.loss, r->now.pictures),
               loss_tolerance(&f->run));
        expect(f, "the gradient's norm", p->grad_norm, r->norm, loss_tolerance(&f->run));
    }
    ck_assert(isnan(p->dev_top1) && isnan(p->dev_loss));
    compare_weights(f, f->model, REF_VALUES);
    if (r->train.log_steps && r->step % r->train.log_steps == 0) {
        ck_assert_uint_lt(f->steps, MOMENTS);
        f->step[f->steps] = moment_now(f);
        f->step[f->steps++].sums = r->now;
    }
    if (f->line->bad_step && f->line->bad_step == r->step + 1) {
        f->good = *first_weight(f);
        *first_weight(f) = NAN;
    }
}

static void after_epoch(follower *f, const kd_progress *p)
{
    ref_run *r = &f->run;
    ck_assert(ref_run_epoch_over(r));
    ck_assert_uint_lt(f->epochs, MOMENTS);
    compare_sums(f, p);
    if (r->train.dev_count) {
        f->dev = ref_run_evaluate(r, KD_EVAL_DEV, ref_run_which(r));
        ck_assert_uint_eq(f->dev.n, r->train.dev_count);
        if (f->best == 0 || f->dev.top1 > f->best_dev.top1) {
            f->best = r->epoch + 1;
            f->best_dev = f->dev;
            ref_net_keep(r->student, ref_run_which(r));
        }
    } else {
        f->dev.top1 = f->dev.loss = (double)NAN;
    }
    expect(f, "dev_top1", p->dev_top1, f->dev.top1, 1e-9);
    expect(f, "dev_loss", p->dev_loss, f->dev.loss, loss_tolerance(&f->run));
    f->epoch[f->epochs] = moment_now(f);
    f->epoch[f->epochs++].times = p->times;
}

/* Of an evaluation: what belongs to training is not measured. */
static void evaluating(const kd_progress *p)
{
    const double none[] = {
        p->hard_loss, p->soft_loss, p->teacher_accuracy, p->agreement, p->step_loss,
        p->grad_norm, p->lr,        p->dev_top1,         p->dev_loss,  p->feature_loss};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) ck_assert(isnan(none[i]));
    ck_assert(p->loss > 0 && p->accuracy >= 0 && p->images_per_second > 0);
    ck_assert(p->batch > 0 && p->batch <= p->batches && p->fraction > 0 && p->fraction <= 1);
}

static int progress(void *user, const kd_progress *p)
{
    follower *f = user;
    if (p->evaluating) {
        evaluating(p);
        return 0;
    }
    (p->epoch_end ? after_epoch : after_step)(f, p);
    return f->stops && !p->epoch_end;
}

/* ---- what a run leaves ----------------------------------------------------------------------- */

/* The number behind "key": in a line of JSON. */
static double number(const char *line, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(line, quoted);
    ck_assert_msg(at != NULL, "no %s in %s", key, line);
    at += strlen(quoted);
    at += strspn(at, " ");
    return strncmp(at, "null", 4) ? strtod(at, NULL) : (double)NAN;
}

static bool has(const char *line, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    return strstr(line, quoted) != NULL;
}

/* Skipped steps are those of the epoch alone. */
static void check_epoch_line(const follower *f, const char *line, size_t i)
{
    const moment *m = &f->epoch[i];
    const ref_sums *s = &m->sums;
    const ref_run *r = &f->run;
    const double none = (double)NAN;
    expect(f, "metrics: epoch", number(line, "epoch"), (double)i + 1, 0);
    expect(f, "metrics: epochs", number(line, "epochs"), m->epochs, 1e-12);
    expect(f, "metrics: step", number(line, "step"), (double)m->step, 0);
    expect(f, "metrics: loss", number(line, "loss"), mean(s->loss, s->pictures),
           loss_tolerance(&f->run));
    expect(f, "metrics: loss_hard", number(line, "loss_hard"),
           ref_run_has_hard(r) ? mean(s->hard, s->pictures) : none, loss_tolerance(&f->run));
    expect(f, "metrics: loss_soft", number(line, "loss_soft"),
           ref_run_has_soft(r) ? mean(s->soft, s->pictures) : none, loss_tolerance(&f->run));
    if (r->distill.feature)
        expect(f, "metrics: loss_feature", number(line, "loss_feature"),
               mean(s->feature, s->pictures), loss_tolerance(&f->run));
    expect(f, "metrics: accuracy", number(line, "accuracy"), percent(s->correct, s->pictures),
           1e-9);
    expect(f, "metrics: lr", number(line, "lr"), m->lr, 1e-6 * m->lr);
    expect(f, "metrics: skipped", number(line, "skipped"),
           (double)(m->skipped - (i ? f->epoch[i - 1].skipped : 0)), 0);
    expect(f, "metrics: pictures", number(line, "images_per_second") * number(line, "seconds"),
           s->pictures, 1e-6);
    ck_assert_int_eq(has(line, "teacher_accuracy"), r->distill.n_teachers > 0);
    if (r->distill.n_teachers > 0) {
        expect(f, "metrics: teacher_accuracy", number(line, "teacher_accuracy"),
               percent(s->teacher_correct, s->pictures), 1e-9);
        expect(f, "metrics: agreement", number(line, "agreement"), percent(s->agreed, s->pictures),
               1e-9);
    }
    ck_assert_int_eq(has(line, "dev_top1"), r->train.dev_count > 0);
    if (r->train.dev_count == 0) return;
    expect(f, "metrics: dev_top1", number(line, "dev_top1"), m->dev.top1, 1e-9);
    expect(f, "metrics: dev_loss", number(line, "dev_loss"), m->dev.loss, loss_tolerance(&f->run));
}

/* Seconds by part: of what was done, and together no more than all of them. */
static void check_seconds(const follower *f, const char *line, size_t i)
{
    static const char *const names[] = {"seconds_data", "seconds_teacher",  "seconds_forward",
                                        "seconds_loss", "seconds_backward", "seconds_optimizer"};
    const kd_times *t = &f->epoch[i].times;
    const double parts[] = {t->data, t->teacher, t->forward, t->loss, t->backward, t->optimizer};
    double sum = 0;
    for (int k = 0; k < 6; k++) {
        expect(f, names[k], number(line, names[k]), parts[k], 1e-9);
        ck_assert_msg(parts[k] > 0, "%s: %s is %g", f->line->name, names[k], parts[k]);
        sum += parts[k];
    }
    ck_assert_double_le(sum, number(line, "seconds") + 1e-9);
}

static void check_step_line(const follower *f, const char *line, size_t i)
{
    const moment *m = &f->step[i];
    expect(f, "metrics: step", number(line, "step"), (double)m->step, 0);
    expect(f, "metrics: epochs", number(line, "epochs"), m->epochs, 1e-12);
    expect(f, "metrics: loss", number(line, "loss"), mean(m->sums.loss, m->sums.pictures),
           loss_tolerance(&f->run));
    expect(f, "metrics: grad_norm", number(line, "grad_norm"), m->norm, loss_tolerance(&f->run));
    expect(f, "metrics: lr", number(line, "lr"), m->lr, 1e-6 * m->lr);
}

static void check_metrics(const follower *f, const char *out)
{
    char path[700], line[4096];
    size_t epochs = 0, steps = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", out);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        if (strstr(line, "\"event\": \"step\"") || strstr(line, "\"event\":\"step\""))
            check_step_line(f, line, steps++);
        else
            check_epoch_line(f, line, epochs++);
        if (strstr(line, "\"seconds_data\"")) check_seconds(f, line, epochs - 1);
    }
    fclose(file);
    ck_assert_uint_eq(epochs, f->epochs);
    ck_assert_uint_eq(steps, f->steps);
}

static void check_test(const follower *f, const kd_result *r, ref_which which)
{
    const ref_score test = ref_run_evaluate(&f->run, KD_EVAL_TEST, which);
    const bool tested = !f->run.train.no_test;
    const double none = (double)NAN;
    expect(f, "the test's top-1", r->top1, tested ? test.top1 : none, 1e-9);
    expect(f, "the test's top-5", r->top5, tested ? test.top5 : none, 1e-9);
    expect(f, "the test's loss", r->loss, tested ? test.loss : none, loss_tolerance(&f->run));
}

/* With KD_KEEP_BEST the network is the best epoch's, and last.safetensors the last one's. */
static void check_kept(follower *f, const kd_result *r, const char *out)
{
    char path[700];
    kd_model *last;
    ck_assert_uint_eq(r->best_epoch, f->best);
    expect(f, "the best dev_top1", r->dev_top1, f->best_dev.top1, 1e-9);
    expect(f, "the best dev_loss", r->dev_loss, f->best_dev.loss, loss_tolerance(&f->run));
    snprintf(path, sizeof path, "%s/last.safetensors", out);
    test_ok(f->ctx, kd_model_load(f->ctx, path, NULL, &last));
    compare_weights(f, last, ref_run_which(&f->run));
    kd_model_destroy(last);
}

static void check_times(const follower *f, const kd_result *r)
{
    kd_times all = {0};
    for (size_t i = 0; i < f->epochs; i++) {
        const kd_times *t = &f->epoch[i].times;
        all.data += t->data;
        all.teacher += t->teacher;
        all.forward += t->forward;
        all.loss += t->loss;
        all.backward += t->backward;
        all.optimizer += t->optimizer;
    }
    expect(f, "seconds of data", r->times.data, all.data, 1e-9);
    expect(f, "seconds of teachers", r->times.teacher, all.teacher, 1e-9);
    expect(f, "seconds forward", r->times.forward, all.forward, 1e-9);
    expect(f, "seconds of losses", r->times.loss, all.loss, 1e-9);
    expect(f, "seconds backward", r->times.backward, all.backward, 1e-9);
    expect(f, "seconds of the optimiser", r->times.optimizer, all.optimizer, 1e-9);
}

static void check_result(follower *f, const kd_result *r, const char *out)
{
    char path[700];
    kd_model *saved;
    const moment *m = &f->epoch[f->epochs - 1];
    const ref_sums *s = &m->sums;
    const bool best = f->run.train.keep == KD_KEEP_BEST, taught = f->run.distill.n_teachers > 0;
    const ref_which which = best ? REF_KEPT : ref_run_which(&f->run);
    const double none = (double)NAN;
    check_test(f, r, which);
    expect(f, "the result's loss", r->train_loss, mean(s->loss, s->pictures),
           loss_tolerance(&f->run));
    expect(f, "the result's accuracy", r->train_top1, percent(s->correct, s->pictures), 1e-9);
    expect(f, "the result's labels' loss", r->hard_loss,
           ref_run_has_hard(&f->run) ? mean(s->hard, s->pictures) : none, loss_tolerance(&f->run));
    expect(f, "the result's teachers' loss", r->soft_loss,
           ref_run_has_soft(&f->run) ? mean(s->soft, s->pictures) : none, loss_tolerance(&f->run));
    expect(f, "the result's teachers' accuracy", r->teacher_top1,
           taught ? percent(s->teacher_correct, s->pictures) : none, 1e-9);
    expect(f, "the result's agreement", r->agreement,
           taught ? percent(s->agreed, s->pictures) : none, 1e-9);
    expect(f, "the result's pictures", r->images_per_second * r->seconds, f->run.seen, 1e-6);
    expect(f, "the result's epochs", r->epochs, m->epochs, 1e-12);
    check_times(f, r);
    ck_assert_uint_gt(r->peak_bytes, 0);
    ck_assert_uint_eq(r->steps, f->run.step);
    ck_assert_uint_eq(r->skipped, f->skipped);
    const size_t whole = f->run.train.batch < TRAIN ? f->run.train.batch : TRAIN;
    const size_t piece = f->run.train.micro_batch;
    ck_assert_uint_eq(r->micro_batch, piece && piece < whole ? piece : whole);
    compare_weights(f, f->model, which);
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    test_ok(f->ctx, kd_model_load(f->ctx, path, NULL, &saved));
    compare_weights(f, saved, which);
    kd_model_destroy(saved);
    if (best) {
        check_kept(f, r, out);
        return;
    }
    ck_assert_uint_eq(r->best_epoch, 0);
    expect(f, "the result's dev_top1", r->dev_top1, m->dev.top1, 1e-9);
    expect(f, "the result's dev_loss", r->dev_loss, m->dev.loss, loss_tolerance(&f->run));
}

/* ---- a line ---------------------------------------------------------------------------------- */

static void open_all(follower *f, kd_distill_opt *d, kd_train_opt *t)
{
    static const float mean[] = {.3f, .45f, .6f}, std[] = {.35f, .2f, .3f};
    f->ctx = test_ctx(1, NULL);
    f->data = open_data(f->ctx);
    f->model = follow_model(f->ctx, f->line->network);
    for (size_t k = 0; k < f->line->teachers; k++)
        f->teachers[k] = make_model(f->ctx, teacher_specs[f->line->first + k], 11 + k);
    if (f->line->teachers > 1)
        test_ok(f->ctx, kd_model_set_normalization(f->teachers[1], mean, std));
    *t = f->line->train;
    *d = f->line->distill;
    t->struct_size = sizeof *t;
    d->struct_size = sizeof *d;
    d->train = t;
    if (!t->epochs) t->epochs = 2;
    if (!t->batch) t->batch = 6;
    if (!t->augment) t->augment = "none";
    t->progress = progress;
    t->user = f;
    d->teacher_weights = f->line->weights;
    d->n_teachers = f->line->teachers;
    d->teachers = f->teachers;
    ref_run_open(&f->run, f->model, f->data, d);
}

static void close_all(follower *f)
{
    ref_run_close(&f->run);
    for (size_t k = 0; k < f->line->teachers; k++) kd_model_destroy(f->teachers[k]);
    kd_model_destroy(f->model);
    kd_dataset_close(f->data);
    kd_ctx_destroy(f->ctx);
}

static kd_status run(const follower *f, const kd_distill_opt *d, kd_result *result)
{
    if (f->line->teachers) return kd_distill(f->model, f->data, d, result);
    return kd_train(f->model, f->data, d->train, result);
}

/* A run that stops after every step goes on from its checkpoint, with a network made anew. */
static kd_status run_in_parts(follower *f, const kd_distill_opt *d, kd_train_opt *t,
                              kd_result *result)
{
    for (size_t parts = 1;; parts++) {
        const kd_status status = run(f, d, result);
        if (status != KD_E_STOPPED) return status;
        ck_assert_uint_eq(f->run.step, parts);
        ck_assert_uint_eq(result->steps, parts);
        kd_model_destroy(f->model);
        f->run.student->model = f->model = follow_model(f->ctx, f->line->network);
        t->resume = 1;
        t->overwrite = 0;
    }
}

static void follow_line_by(const follow_line *line, bool stops)
{
    follower f = {.line = line, .stops = stops};
    kd_distill_opt d;
    kd_train_opt t;
    kd_result result = {.struct_size = sizeof result};
    char out[600];
    open_all(&f, &d, &t);
    snprintf(out, sizeof out, "%s/follow", test_dir());
    t.out = out;
    t.overwrite = 1;
    test_ok(f.ctx, run_in_parts(&f, &d, &t, &result));
    ck_assert_uint_eq(f.run.step, f.run.steps);
    check_result(&f, &result, out);
    check_metrics(&f, out);
    ck_assert_msg(f.run.student->least_gap >= smallest_gap,
                  "%s: a gap of %.1e is too small to be sure: take another seed", line->name,
                  f.run.student->least_gap);
    if (getenv("KD_FOLLOW"))
        fprintf(stderr, "%-42s losses %.1e, weights %.1e, gap %.1e\n", line->name, f.worst_loss,
                f.worst_weight, f.run.student->least_gap);
    close_all(&f);
}

void follow(const follow_line *line)
{
    follow_line_by(line, false);
}

void follow_stopped(const follow_line *line)
{
    follow_line_by(line, true);
}
