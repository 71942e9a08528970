/* SPDX-License-Identifier: MIT
 * reference.c: a run of training or distillation as the reference does it, one step at a time: the
 * batches come from a loader of its own with the same options, everything else from the formulas.
 * The gradient of a step is the mean over all of its pictures. */
#include "reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- options --------------------------------------------------------------------------------- */

/* Zero means the default, KD_OFF zero. */
static void fill(float *x, double standard)
{
    if (*x == 0)
        *x = (float)standard;
    else if (*x == KD_OFF)
        *x = 0;
}

static void fill_train(kd_train_opt *t)
{
    const bool adamw = t->optimizer == KD_ADAMW;
    if (!t->epochs) t->epochs = 10;
    if (!t->batch) t->batch = 128;
    if (!t->accumulate) t->accumulate = 1;
    fill(&t->lr, adamw ? .001 : .05);
    fill(&t->momentum, .9);
    fill(&t->weight_decay, adamw ? .05 : 5e-4);
    fill(&t->eps, 1e-8);
    fill(&t->layer_decay, 1);
    if (t->layer_decay == 0) t->layer_decay = 1;
    t->beta1 = t->beta1 == 0 ? .9 : t->beta1 < 0 ? 0 : t->beta1;
    t->beta2 = t->beta2 == 0 ? .999 : t->beta2 < 0 ? 0 : t->beta2;
}

static void fill_distill(kd_distill_opt *d)
{
    static const double hard[] = {.1, .5, 1, .1}, soft[] = {.9, .5, 1, 9}, t[] = {4, 1, 4, 2};
    fill(&d->hard, hard[d->method]);
    fill(&d->soft, soft[d->method]);
    fill(&d->temperature, t[d->method]);
    fill(&d->alpha, 1);
    fill(&d->beta, 8);
    fill(&d->dkd_warmup, 20);
}

/* ---- batches --------------------------------------------------------------------------------- */

static kd_view view_for(const ref_net *net, const kd_data_info *info)
{
    kd_view v = {net->image, net->image, net->channels, info->mean, info->std};
    if (kd_model_mean(net->model)) {
        v.mean = kd_model_mean(net->model);
        v.std = kd_model_std(net->model);
    }
    return v;
}

static kd_loader *open_loader(const ref_run *run)
{
    kd_loader *loader;
    kd_view views[1 + KD_MAX_TEACHERS];
    const kd_data_info *info = kd_dataset_info(run->data);
    views[0] = view_for(run->student, info);
    for (size_t k = 0; k < run->distill.n_teachers; k++)
        views[1 + k] = view_for(run->teachers[k], info);
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = KD_SPLIT_TRAIN,
                               .dev_count = run->train.dev_count,
                               .batch = run->train.batch,
                               .shuffle = 1,
                               .drop_last = 1,
                               .augment = run->train.augment,
                               .seed = run->train.seed,
                               .depth = KD_LOADER_SYNC,
                               .n_views = 1 + run->distill.n_teachers,
                               .views = views};
    test_ok(kd_model_ctx(run->student->model), kd_loader_create(run->data, &opt, &loader));
    return loader;
}

void ref_run_open(ref_run *run, kd_model *student, kd_dataset *data, const kd_distill_opt *opt)
{
    *run = (ref_run){.distill = *opt, .data = data, .student = ref_net_open(student)};
    if (opt->train) run->train = *opt->train;
    fill_train(&run->train);
    fill_distill(&run->distill);
    if (opt->teacher) {
        run->distill.n_teachers = 1;
        run->teachers[0] = ref_net_open(opt->teacher);
    }
    for (size_t k = 0; k < opt->n_teachers; k++) run->teachers[k] = ref_net_open(opt->teachers[k]);
    run->loader = open_loader(run);
    const kd_train_opt *t = &run->train;
    run->batches = kd_loader_batches(run->loader);
    run->steps_an_epoch = (run->batches + t->accumulate - 1) / t->accumulate;
    run->steps = t->epochs * run->steps_an_epoch;
    if (t->max_steps && t->max_steps < run->steps) run->steps = t->max_steps;
}

void ref_run_close(ref_run *run)
{
    kd_loader_close(run->loader);
    ref_net_close(run->student);
    for (size_t k = 0; k < run->distill.n_teachers; k++) ref_net_close(run->teachers[k]);
}

/* ---- the loss of a batch --------------------------------------------------------------------- */

/* [n,k]: the label's weight, smoothed, or both labels' by their shares. */
static double *make_targets(const kd_batch *b, size_t k, double smoothing)
{
    double *t = calloc(b->n * k, sizeof *t);
    ck_assert_ptr_nonnull(t);
    for (size_t r = 0; r < b->n; r++) {
        const double share = b->shares ? (double)b->shares[r] : 1;
        t[r * k + (size_t)b->labels[r]] += share;
        if (b->shares) t[r * k + (size_t)b->partners[r]] += 1 - share;
        for (size_t i = 0; i < k; i++)
            t[r * k + i] = (1 - smoothing) * t[r * k + i] + smoothing / (double)k;
    }
    return t;
}

/* What a teacher asks for, times factor. */
static double from_teacher(const ref_run *run, const kd_batch *b, const double *teacher,
                           ref_value *logits, double factor)
{
    const kd_distill_opt *d = &run->distill;
    const size_t n = b->n, k = run->student->classes;
    const double t = (double)d->temperature;
    switch (d->method) {
    case KD_METHOD_HARD:
        return ref_loss_hard(logits->x, teacher, n, k, factor, logits->g);
    case KD_METHOD_DKD:
        return ref_loss_dkd(logits->x, teacher, b->labels, n, k, t, (double)d->alpha,
                            (double)d->beta, factor, logits->g);
    case KD_METHOD_STANDARDIZED:
        return ref_loss_standardized(logits->x, teacher, n, k, t, factor, logits->g);
    case KD_METHOD_KD:
    case KD_METHODS:
        break;
    }
    return ref_loss_kd(logits->x, teacher, n, k, t, factor, logits->g);
}

/* DKD's soft part rises in a line over its first epochs. */
static double warm(const ref_run *run)
{
    const double epochs = (double)run->distill.dkd_warmup;
    if (run->distill.method != KD_METHOD_DKD || epochs == 0) return 1;
    return fmin(1, (double)(run->step + 1) / (epochs * (double)run->steps_an_epoch));
}

static double teachers_loss(const ref_run *run, const kd_batch *b, ref_value *logits)
{
    const kd_distill_opt *d = &run->distill;
    double loss = 0;
    for (size_t k = 0; k < d->n_teachers; k++) {
        const double weight =
            d->teacher_weights ? (double)d->teacher_weights[k] : 1 / (double)d->n_teachers;
        ref_logits teacher = ref_net_forward(run->teachers[k], b->views[1 + k], b->n, false, false);
        loss += from_teacher(run, b, teacher.mean->x, logits, (double)d->soft * weight * warm(run));
        ref_logits_free(&teacher);
    }
    return loss;
}

/* A mixed picture counts as what it shows most of. */
static size_t count_correct(const kd_batch *b, const ref_value *logits)
{
    size_t correct = 0;
    for (size_t r = 0; r < b->n; r++) {
        const bool other = b->shares && b->shares[r] < .5f;
        const int32_t label = other ? b->partners[r] : b->labels[r];
        correct += ref_argmax(logits->x + r * logits->c, logits->c) == (size_t)label;
    }
    return correct;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Buffers as they were, when a batch was of no use. */
static void swap_buffers(const ref_net *net, double *kept, bool back)
{
    for (size_t i = 0; i < net->n; i++) {
        const ref_array *a = &net->arrays[i];
        if (!a->buffer) continue;
        memcpy(back ? a->value : kept, back ? kept : a->value, a->count * sizeof *kept);
        kept += a->count;
    }
}

static size_t count_buffers(const ref_net *net)
{
    size_t n = 0;
    for (size_t i = 0; i < net->n; i++) n += net->arrays[i].buffer ? net->arrays[i].count : 0;
    return n;
}

/* Gradients of the sum over the batch's pictures are added to those that are there. */
static void run_batch(ref_run *run, const kd_batch *b)
{
    const kd_distill_opt *d = &run->distill;
    const size_t k = run->student->classes;
    double *targets = make_targets(b, k, (double)run->train.label_smoothing);
    ref_logits l = ref_net_forward(run->student, b->views[0], b->n, true, false);
    ref_value *labels = d->n_teachers ? l.labels : l.mean;
    const double hard = d->n_teachers ? (double)d->hard : 1;
    run->loss += ref_loss_classes(labels->x, targets, b->n, k, hard, labels->g);
    if (d->n_teachers) run->loss += teachers_loss(run, b, l.teacher);
    run->correct += (double)count_correct(b, l.mean);
    run->pictures += (double)b->n;
    ref_net_backward(&l);
    ref_logits_free(&l);
    free(targets);
}

double ref_run_rate(const ref_run *run)
{
    const kd_train_opt *t = &run->train;
    const double progress = (double)run->step / (double)run->steps;
    const double least = (double)t->min_lr;
    const double warm = (double)t->warmup * (double)run->steps_an_epoch;
    const double lr = least + ((double)t->lr - least) * ref_schedule(t->schedule, progress);
    const double rising = warm > 0 ? ((double)run->step + 1) / warm : 1;
    return rising < 1 ? rising * lr : lr;
}

void ref_run_step(ref_run *run, bool bad)
{
    const kd_train_opt *t = &run->train;
    ref_net *net = run->student;
    double pictures = 0;
    double *kept = calloc(count_buffers(net) + 1, sizeof *kept);
    ck_assert_ptr_nonnull(kept);
    swap_buffers(net, kept, false);
    for (size_t i = 0; i < net->n; i++)
        memset(net->arrays[i].grad, 0, net->arrays[i].count * sizeof(double));
    run->lr = ref_run_rate(run);
    for (size_t n = 0; n < t->accumulate && run->batch < run->batches; n++, run->batch++) {
        const kd_batch *b;
        test_ok(kd_model_ctx(net->model), kd_loader_next(run->loader, &b));
        run->seen += (double)b->n;
        if (bad) continue;
        run_batch(run, b);
        pictures += (double)b->n;
    }
    run->skipped = bad;
    run->step++;
    if (bad) swap_buffers(net, kept, true);
    free(kept);
    if (bad) return;
    run->norm = ref_grad_norm(net) / pictures;
    const double clip = (double)t->clip;
    const double clipped = clip > 0 && run->norm > clip ? clip / (run->norm + 1e-6) : 1;
    ref_update(net, t, run->lr, clipped / pictures, ++run->updates);
    ref_average(net, (double)t->ema);
}

bool ref_run_over(const ref_run *run)
{
    return run->step >= run->steps;
}

bool ref_run_epoch_over(const ref_run *run)
{
    return run->batch >= run->batches || ref_run_over(run);
}

void ref_run_next_epoch(ref_run *run)
{
    run->epoch++;
    run->batch = 0;
    run->loss = run->correct = run->pictures = 0;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

/* Classes with a higher logit than the label's. */
static size_t above(const double *row, size_t label, size_t k)
{
    size_t n = 0;
    for (size_t i = 0; i < k; i++) n += row[i] > row[label];
    return n;
}

static void score_batch(const ref_run *run, const kd_batch *b, ref_score *s)
{
    const size_t k = run->student->classes;
    double *targets = make_targets(b, k, 0), *unused = calloc(b->n * k, sizeof *unused);
    ref_logits l = ref_net_forward(run->student, b->views[0], b->n, false, run->train.ema > 0);
    s->loss += ref_loss_classes(l.mean->x, targets, b->n, k, 1, unused);
    for (size_t r = 0; r < b->n; r++) {
        const size_t before = above(l.mean->x + r * k, (size_t)b->labels[r], k);
        s->top1 += before < 1;
        s->top5 += before < 5;
    }
    s->n += b->n;
    ref_logits_free(&l);
    free(targets);
    free(unused);
}

ref_score ref_run_evaluate(const ref_run *run, kd_eval_split split)
{
    kd_ctx *ctx = kd_model_ctx(run->student->model);
    ref_score s = {0};
    kd_loader *loader;
    const kd_batch *b;
    const kd_view view = view_for(run->student, kd_dataset_info(run->data));
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .split = split == KD_EVAL_TEST ? KD_SPLIT_TEST : KD_SPLIT_TRAIN,
                               .dev_count = split == KD_EVAL_TEST ? 0 : run->train.dev_count,
                               .dev = split == KD_EVAL_DEV,
                               .batch = 4,
                               .augment = "none",
                               .depth = KD_LOADER_SYNC,
                               .n_views = 1,
                               .views = &view};
    test_ok(ctx, kd_loader_create(run->data, &opt, &loader));
    for (size_t i = 0; i < kd_loader_batches(loader); i++) {
        test_ok(ctx, kd_loader_next(loader, &b));
        score_batch(run, b, &s);
    }
    kd_loader_close(loader);
    s.top1 *= 100 / (double)s.n;
    s.top5 *= 100 / (double)s.n;
    s.loss /= (double)s.n;
    return s;
}
