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

static void fill_train(kd_train_opt *t, const ref_net *net)
{
    const bool transformer = ref_find(net, "cls_token") != NULL;
    if (t->optimizer == KD_OPTIMIZER_AUTO)
        t->optimizer = transformer ? KD_OPTIMIZER_ADAMW : KD_OPTIMIZER_SGD;
    if (t->schedule == KD_SCHEDULE_AUTO) t->schedule = KD_SCHEDULE_ONECYCLE;
    const bool adamw = t->optimizer == KD_OPTIMIZER_ADAMW;
    if (!t->epochs) t->epochs = 10;
    if (!t->batch) t->batch = 128;
    if (!t->accumulate) t->accumulate = 1;
    if (t->fine_tune)
        fill(&t->lr, adamw ? 1e-4 : .01);
    else
        fill(&t->lr, adamw ? .001 : transformer || kd_model_has_batch_norm(net->model) ? .1 : .05);
    fill(&t->momentum, .9);
    t->nesterov = t->nesterov >= 0;
    fill(&t->weight_decay, adamw ? .05 : 5e-4);
    fill(&t->eps, 1e-8);
    if (t->layer_decay <= 0) t->layer_decay = 1;
    fill(&t->warmup, 0);
    fill(&t->min_lr, 0);
    fill(&t->ema, 0);
    fill(&t->clip, 0);
    fill(&t->label_smoothing, 0);
    t->beta1 = t->beta1 == 0 ? .9 : t->beta1 < 0 ? 0 : t->beta1;
    t->beta2 = t->beta2 == 0 ? .999 : t->beta2 < 0 ? 0 : t->beta2;
}

static bool is_head(const char *name)
{
    return !strncmp(name, "classifier.", 11) || !strncmp(name, "head", 4);
}

/* Of a pattern and its length: "*" is the only special character of the tests' lines. */
static bool like(const char *pattern, size_t n, const char *name)
{
    if (n == 0) return !*name || *name == '.';
    if (*pattern != '*') return *name == *pattern && like(pattern + 1, n - 1, name + 1);
    for (;; name++) {
        if (like(pattern + 1, n - 1, name)) return true;
        if (!*name) return false;
    }
}

/* What is frozen, and rates of learning by name: the last that matches counts. */
static void set_groups(ref_net *net, const kd_train_opt *t)
{
    for (size_t i = 0; i < net->n; i++) {
        ref_array *a = &net->arrays[i];
        if (t->head_lr > 0 && is_head(a->name)) a->rate = (double)t->head_lr / (double)t->lr;
        for (const char *at = t->group_lr; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
            if (like(at, strcspn(at, "="), a->name))
                a->rate = strtod(strchr(at, '=') + 1, NULL) / (double)t->lr;
        if (t->freeze && !strcmp(t->freeze, "body")) a->frozen = !is_head(a->name);
        if (!t->freeze || !strcmp(t->freeze, "body")) continue;
        for (const char *at = t->freeze; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
            const bool out = *at == '!';
            if (like(at + out, strcspn(at, ",") - out, a->name)) a->frozen = !out;
        }
    }
}

static void fill_distill(kd_distill_opt *d, const kd_train_opt *train)
{
    static const double hard[] = {.1, .5, 1, .1}, soft[] = {.9, .5, 1, 9}, t[] = {4, 1, 4, 2};
    static const double weights[] = {0, 100, 1000, 1, 1, 1, 1, 1};
    fill(&d->hard, d->feature ? 1 : hard[d->method]);
    fill(&d->soft, d->feature ? 0 : soft[d->method]);
    fill(&d->feature_weight, weights[d->feature]);
    fill(&d->temperature, t[d->method]);
    fill(&d->alpha, 1);
    fill(&d->beta, 8);
    fill(&d->dkd_warmup, train->budget_seconds > 0 ? 1 : fmin(20, (double)train->epochs / 12));
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
                               .drop_last = run->train.drop_last,
                               .augment = run->train.augment,
                               .seed = run->train.seed,
                               .cycle = run->train.augment_epochs,
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
    fill_train(&run->train, run->student);
    set_groups(run->student, &run->train);
    fill_distill(&run->distill, &run->train);
    if (opt->teacher) {
        run->distill.n_teachers = 1;
        run->teachers[0] = ref_net_open(opt->teacher);
    }
    for (size_t k = 0; k < opt->n_teachers; k++) run->teachers[k] = ref_net_open(opt->teachers[k]);
    run->feature = (ref_feature){.ctx = kd_model_ctx(student), .seed = run->train.seed};
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
    ref_feature_close(&run->feature);
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
static double from_teacher(const kd_distill_opt *d, const int32_t *labels, const double *teacher,
                           ref_value *logits, double factor)
{
    const size_t n = logits->n, k = logits->c;
    const double t = (double)d->temperature;
    switch (d->method) {
    case KD_METHOD_HARD:
        return ref_loss_hard(logits->x, teacher, n, k, factor, logits->g);
    case KD_METHOD_DKD:
        return ref_loss_dkd(logits->x, teacher, labels, n, k, t, (double)d->alpha, (double)d->beta,
                            factor, logits->g);
    case KD_METHOD_STANDARDIZED:
        return ref_loss_standardized(logits->x, teacher, n, k, t, factor, logits->g);
    case KD_METHOD_KD:
    case KD_METHOD_COUNT:
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

static double weight_of(const kd_distill_opt *d, size_t teacher)
{
    return d->teacher_weights ? (double)d->teacher_weights[teacher] : 1 / (double)d->n_teachers;
}

/* The class that a picture counts as: of a mixed one what it shows most of. */
static size_t label_of(const kd_batch *b, size_t row)
{
    return (size_t)(b->shares && b->shares[row] < .5f ? b->partners[row] : b->labels[row]);
}

static void run_feature(ref_run *run, const ref_logits *student, const ref_logits *teacher,
                        size_t n)
{
    const kd_distill_opt *d = &run->distill;
    const double part = ref_feature_loss(&run->feature, d, student, teacher, n, 1);
    run->now.loss += part;
    run->now.feature += part / (double)d->feature_weight;
}

/* The teachers' part, and what they say of the pictures: the class is that of the mean of their
 * probabilities. */
static void run_teachers(ref_run *run, const kd_batch *b, const ref_logits *all_of_student)
{
    ref_value *student = all_of_student->teacher;
    const ref_value *mean = all_of_student->mean;
    const kd_distill_opt *d = &run->distill;
    const size_t k = student->c;
    const double soft = (double)d->soft * warm(run);
    double part = 0;
    double *all = calloc(b->n * k, sizeof *all), *grad = calloc(b->n * k, sizeof *grad), p[64];
    ck_assert(all && grad);
    ref_value logits = {b->n, 1, 1, k, student->x, grad};
    for (size_t t = 0; t < d->n_teachers; t++) {
        ref_logits teacher =
            ref_net_forward(run->teachers[t], b->views[1 + t], b->n, false, REF_VALUES);
        if (d->feature) run_feature(run, all_of_student, &teacher, b->n);
        part += from_teacher(d, b->labels, teacher.mean->x, &logits, weight_of(d, t));
        for (size_t r = 0; r < b->n; r++) {
            ref_softmax(teacher.mean->x + r * k, k, 1, p);
            for (size_t i = 0; i < k; i++) all[r * k + i] += weight_of(d, t) * p[i];
        }
        ref_logits_free(&teacher);
    }
    run->now.soft += part;
    run->now.loss += soft * part;
    for (size_t i = 0; i < b->n * k; i++) student->g[i] += soft * grad[i];
    for (size_t r = 0; r < b->n; r++) {
        const size_t taught = ref_argmax(all + r * k, k);
        run->now.teacher_correct += taught == label_of(b, r);
        run->now.agreed += taught == ref_argmax(mean->x + r * k, k);
    }
    free(all);
    free(grad);
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
    ref_logits l = ref_net_forward(run->student, b->views[0], b->n, true, REF_VALUES);
    ref_value *labels = d->n_teachers ? l.labels : l.mean;
    const double hard = d->n_teachers ? (double)d->hard : 1;
    const double part = ref_loss_classes(labels->x, targets, b->n, k, hard, labels->g);
    run->now.loss += part;
    run->now.hard += hard > 0 ? part / hard : 0;
    if (d->n_teachers) run_teachers(run, b, &l);
    for (size_t r = 0; r < b->n; r++)
        run->now.correct += ref_argmax(l.mean->x + r * k, k) == label_of(b, r);
    run->now.pictures += (double)b->n;
    ref_net_backward(&l);
    ref_logits_free(&l);
    free(targets);
}

bool ref_run_has_hard(const ref_run *run)
{
    return run->distill.n_teachers == 0 || run->distill.hard > 0;
}

bool ref_run_has_soft(const ref_run *run)
{
    return run->distill.n_teachers > 0 && run->distill.soft > 0;
}

/* Of the step to come. */
static double rate(const ref_run *run)
{
    const kd_train_opt *t = &run->train;
    const double progress = (double)run->step / (double)run->steps;
    const double least = (double)t->min_lr;
    const double warm = (double)t->warmup * (double)run->steps_an_epoch;
    const double lr = least + ((double)t->lr - least) * ref_schedule(t->schedule, progress);
    const double rising = warm > 0 ? ((double)run->step + 1) / warm : 1;
    return rising < 1 ? rising * lr : lr;
}

static void add(ref_sums *to, const ref_sums *from)
{
    to->pictures += from->pictures;
    to->loss += from->loss;
    to->correct += from->correct;
    to->hard += from->hard;
    to->soft += from->soft;
    to->feature += from->feature;
    to->teacher_correct += from->teacher_correct;
    to->agreed += from->agreed;
}

/* The step's batches; of one that is skipped, the first whose loss is no number is the last that
 * goes forward. */
static void run_batches(ref_run *run, bool bad)
{
    for (size_t n = 0; n < run->train.accumulate && run->batch < run->batches; n++, run->batch++) {
        const kd_batch *b;
        test_ok(kd_model_ctx(run->student->model), kd_loader_next(run->loader, &b));
        if (!bad || n == 0) run->seen += (double)b->n;
        if (!bad) run_batch(run, b);
    }
}

void ref_run_step(ref_run *run, bool bad)
{
    const kd_train_opt *t = &run->train;
    ref_net *net = run->student;
    double *kept = calloc(count_buffers(net) + 1, sizeof *kept);
    ck_assert_ptr_nonnull(kept);
    swap_buffers(net, kept, false);
    for (size_t i = 0; i < net->n; i++)
        memset(net->arrays[i].grad, 0, net->arrays[i].count * sizeof(double));
    for (size_t i = 0; i < run->feature.net.n; i++)
        memset(run->feature.net.arrays[i].grad, 0,
               run->feature.net.arrays[i].count * sizeof(double));
    run->lr = rate(run);
    run->now = (ref_sums){0};
    run_batches(run, bad);
    run->step++;
    if (bad) swap_buffers(net, kept, true);
    free(kept);
    if (bad) return;
    add(&run->sums, &run->now);
    const double more = run->feature.open ? ref_grad_norm(&run->feature.net) : 0;
    run->norm = hypot(ref_grad_norm(net), more) / run->now.pictures;
    const double clip = (double)t->clip;
    const double clipped = clip > 0 && run->norm > clip ? clip / (run->norm + 1e-6) : 1;
    ref_update(net, t, run->lr, clipped / run->now.pictures, ++run->updates);
    if (run->feature.open) {
        kd_train_opt alone = *t;
        alone.layer_decay = 1;
        ref_update(&run->feature.net, &alone, run->lr, clipped / run->now.pictures, run->updates);
    }
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
    run->sums = (ref_sums){0};
}

/* ---- a step alone ----------------------------------------------------------------------------- */

static void update_alone(ref_net *net, const kd_train_opt *t, double n)
{
    const double norm = ref_grad_norm(net) / n, clip = (double)t->clip;
    ref_update(net, t, (double)t->lr, (clip > 0 && norm > clip ? clip / (norm + 1e-6) : 1) / n, 1);
}

double ref_step(ref_net *net, const ref_step_in *in, const kd_train_opt *train,
                const kd_distill_opt *distill, double *logits)
{
    kd_train_opt t = *train;
    kd_distill_opt d = *distill;
    const kd_batch batch = {.n = in->n, .labels = in->labels};
    const size_t k = net->classes;
    double loss = 0, *teacher = calloc(in->n * k, sizeof *teacher);
    ck_assert_ptr_nonnull(teacher);
    fill_train(&t, net);
    set_groups(net, &t);
    fill_distill(&d, &t);
    double *targets = make_targets(&batch, k, (double)t.label_smoothing);
    ref_logits l = ref_net_forward(net, in->input, in->n, true, REF_VALUES);
    for (size_t i = 0; i < in->n * k; i++) logits[i] = l.mean->x[i];
    ref_value *labels = in->teacher ? l.labels : l.mean;
    const double hard = in->teacher ? (double)d.hard : 1;
    loss += ref_loss_classes(labels->x, targets, in->n, k, hard, labels->g);
    for (size_t i = 0; in->teacher && i < in->n * k; i++) teacher[i] = (double)in->teacher[i];
    if (in->teacher) loss += from_teacher(&d, in->labels, teacher, l.teacher, (double)d.soft);
    ref_net_backward(&l);
    ref_logits_free(&l);
    free(teacher);
    free(targets);
    update_alone(net, &t, (double)in->n);
    return loss / (double)in->n;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

/* Classes with a higher logit than the label's. */
static size_t above(const double *row, size_t label, size_t k)
{
    size_t n = 0;
    for (size_t i = 0; i < k; i++) n += row[i] > row[label];
    return n;
}

static void score_batch(const ref_run *run, const kd_batch *b, ref_which which, ref_score *s)
{
    const size_t k = run->student->classes;
    double *targets = make_targets(b, k, 0), *unused = calloc(b->n * k, sizeof *unused);
    ref_logits l = ref_net_forward(run->student, b->views[0], b->n, false, which);
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

ref_which ref_run_which(const ref_run *run)
{
    return run->train.ema > 0 ? REF_AVERAGES : REF_VALUES;
}

ref_score ref_run_evaluate(const ref_run *run, kd_eval_split split, ref_which which)
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
        score_batch(run, b, which, &s);
    }
    kd_loader_close(loader);
    s.top1 *= 100 / (double)s.n;
    s.top5 *= 100 / (double)s.n;
    s.loss /= (double)s.n;
    return s;
}
