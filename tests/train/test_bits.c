/* SPDX-License-Identifier: MIT
 * test_bits.c: what may not change a training run's numbers, by whole runs through the public API:
 * the number of threads, how far ahead batches are prepared, stops and resumes. The same bits are
 * asked for on each kernel table, and in a build with OpenBLAS with it and without. Between tables,
 * and between the built-in products and OpenBLAS, rounding differs: the bounds are here and in
 * docs/design.md. With KD_BITS_REPORT set the differences are printed. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/kernel/kernels.h"

/* ---- runs ------------------------------------------------------------------------------------ */

/* Networks and options that between them reach every kind of op and of state. */
typedef struct course {
    const char *name, *data, *student, *teacher; /* teacher NULL: plain training */
    kd_method method;
    kd_feature feature;
    kd_train_opt train;
    float dkd_warmup;
    bool brief;         /* many weights: fewer runs, fewest on a table that is named */
    size_t stops[3][4]; /* for runs that are resumed: steps to stop after, ended by 0 */
} course;

/* Batch norm, Winograd, a teacher at another size, averages, clipping, added-up gradients. */
static const course distilled = {.name = "distilled",
                                 .data = "synthetic:train=160,test=48",
                                 .student = "vgg8_bn,width=0.125,classes=10,image=32",
                                 .teacher = "vgg4_bn,width=0.125,classes=10,image=48",
                                 .train = {.epochs = 2,
                                           .batch = 16,
                                           .lr = .05f,
                                           .ema = .9f,
                                           .clip = 1,
                                           .accumulate = 2,
                                           .dev_count = 32,
                                           .schedule = KD_SCHEDULE_COSINE,
                                           .augment = "crop-flip+cutout:8",
                                           .seed = 5},
                                 .stops = {{1}, {3, 4, 7}, {2, 6}}};

/* Dropout, dense layers, the rising weight of DKD. */
static const course dropped = {
    .name = "with dropout",
    .data = "synthetic:train=48,test=16",
    .student = "vgg5,width=0.03,classes=10,image=32,head=fc4096",
    .teacher = "vgg2_bn,width=0.125,classes=10,image=32",
    .method = KD_METHOD_DKD,
    .train = {.epochs = 1, .batch = 16, .lr = .01f, .nesterov = 1, .seed = 6},
    .dkd_warmup = 1.5f,
    .brief = true,
    .stops = {{1}}};

/* Attention, two heads, drop path, mixed pictures, AdamW; a Swin as the teacher, at another
 * size. */
static const course deit = {
    .name = "DeiT",
    .data = "synthetic:image=16,train=96,test=24",
    .student =
        "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=24,depth=3,heads=3,drop_path=0.3,"
        "classes=10",
    .teacher =
        "swin_tiny_patch4_window7_224,image=24,dim=12,depth=2-1,heads=2-3,window=3,classes=10",
    .method = KD_METHOD_HARD,
    .train = {.epochs = 2,
              .batch = 16,
              .optimizer = KD_OPTIMIZER_ADAMW,
              .lr = .002f,
              .ema = .9f,
              .clip = 1,
              .accumulate = 2,
              .layer_decay = .75f,
              .schedule = KD_SCHEDULE_COSINE,
              .warmup = .5f,
              .min_lr = 1e-5f,
              .augment = "crop-flip+erase+mixup+cutmix",
              .seed = 8},
    .stops = {{1}, {2, 4, 5}, {3}}};

/* Windows, shifted and of a map that they do not divide, bias tables, an odd map that is merged. */
static const course swin = {.name = "Swin",
                            .data = "synthetic:image=20,train=96,test=24",
                            .student = "swin_tiny_patch4_window7_224,image=20,dim=12,depth=2-1-1,"
                                       "heads=2-3-4,window=2,drop_path=0.3,classes=10",
                            .teacher =
                                "vit_tiny_patch16_224,image=16,patch=4,dim=24,depth=2,heads=2,"
                                "classes=10",
                            .train = {.epochs = 2,
                                      .batch = 16,
                                      .optimizer = KD_OPTIMIZER_ADAMW,
                                      .lr = .002f,
                                      .augment = "randaugment+flip",
                                      .seed = 9},
                            .stops = {{1}, {3, 7}, {5}}};

/* A frozen beginning, which runs depth first, a frozen norm behind what learns, rates by name. */
static const course frozen = {
    .name = "frozen",
    .data = "synthetic:train=96,test=24",
    .student = "vgg8_bn,width=0.125,classes=10,image=32",
    .teacher = "vgg4_bn,width=0.125,classes=10,image=32",
    .train = {.epochs = 2,
              .batch = 16,
              .lr = .05f,
              .ema = .9f,
              .freeze = "features.0,features.1,features.4,features.5,features.13",
              .head_lr = .2f,
              .group_lr = "features.12=0.01",
              .seed = 5},
    .stops = {{1}, {3, 7}, {6}}};

/* A layer that learns with the student, by an optimiser of its own; what is inside a transformer. */
static const course hinted = {
    .name = "hint",
    .data = "synthetic:train=96,test=24",
    .student = "vgg8_bn,width=0.125,classes=10,image=32",
    .teacher = "vgg11_bn,width=0.25,classes=10,image=32",
    .feature = KD_FEATURE_HINT,
    .train = {.epochs = 2, .batch = 16, .lr = .01f, .ema = .9f, .seed = 5},
    .stops = {{1}, {3, 7}, {6}}};
static const course attentive = {
    .name = "attention",
    .data = "synthetic:image=16,train=48,test=24",
    .student = "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=24,depth=3,heads=3,classes=10",
    .teacher = "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=30,depth=2,heads=5,classes=10",
    .feature = KD_FEATURE_ATTENTION,
    .train = {.epochs = 2, .batch = 16, .lr = .002f, .seed = 8},
    .stops = {{1}, {2, 4}}};
static const course relations = {.name = "relations",
                                 .data = "synthetic:train=64,test=24",
                                 .student = "vgg5_bn,width=0.125,classes=10,image=32",
                                 .teacher = "vgg4_bn,width=0.25,classes=10,image=32",
                                 .feature = KD_FEATURE_RKD,
                                 .brief = true,
                                 .train = {.epochs = 2, .batch = 16, .lr = .01f, .seed = 5},
                                 .stops = {{1}}};

#if KDI_OPENBLAS
/* Products of the sizes that are OpenBLAS's, and dropout. */
static const course dense = {.name = "dense",
                             .data = "synthetic:train=1024,test=16",
                             .student = "vgg2,width=0.0625,classes=10,image=32,head=fc4096",
                             .brief = true,
                             .train = {.epochs = 1, .batch = 256, .lr = .01f, .seed = 7},
                             .stops = {{2}}};
#endif

/* What a run is done with. */
typedef struct manner {
    int threads, depth;
    const char *isa;
    const size_t *stops; /* NULL: in one go */
} manner;

/* What a run leaves: the network, the averages reported, and of runs with a folder the file. */
typedef struct outcome {
    float *weights;
    void *buffers;
    size_t count, buffer_bytes;
    kd_result result;
    char *file;
    size_t size;
} outcome;

static int stop_at(void *user, const kd_progress *p)
{
    return !p->epoch_end && !p->evaluating && p->step == *(const size_t *)user;
}

static void *copy(const void *from, size_t size)
{
    void *to = malloc(size + 1);
    ck_assert_ptr_nonnull(to);
    memcpy(to, from, size);
    return to;
}

static void keep_file(kd_ctx *ctx, const char *out, outcome *o)
{
    char path[600], *bytes;
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 28, &bytes, &o->size));
    o->file = copy(bytes, o->size);
    kd_ctx_free(ctx, bytes);
}

static void keep_model(kd_model *model, outcome *o)
{
    kd_params *p = kd_model_params(model);
    o->count = kd_params_flat_count(p);
    o->weights = copy(kd_params_values(p), o->count * sizeof *o->weights);
    o->buffer_bytes = kd_params_buffer_bytes(p);
    o->buffers = copy(kd_params_buffers(p), o->buffer_bytes);
}

/* One part of a run: up to a stop, or to the end (stop 0). */
static void run_part(const course *c, const manner *m, kd_train_opt train, size_t stop, outcome *o)
{
    kd_ctx *ctx = test_ctx(m->threads, m->isa);
    kd_dataset *data;
    kd_model *student, *teacher = NULL;
    test_ok(ctx, kd_dataset_open(ctx, c->data, NULL, &data));
    test_ok(ctx, kd_model_create(ctx, c->student, 1, &student));
    if (c->teacher) test_ok(ctx, kd_model_create(ctx, c->teacher, 2, &teacher));
    train.struct_size = sizeof train;
    o->result.struct_size = sizeof o->result;
    train.depth = m->depth;
    train.progress = stop ? stop_at : NULL;
    train.user = &stop;
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .teacher = teacher,
                                .method = c->method,
                                .feature = c->feature,
                                .dkd_warmup = c->dkd_warmup,
                                .train = &train};
    const kd_status status = teacher ? kd_distill(student, data, &opt, &o->result)
                                     : kd_train(student, data, &train, &o->result);
    ck_assert_msg(status == (stop ? KD_E_STOPPED : KD_OK), "%s: %s", c->name, kd_ctx_error(ctx));
    if (!stop) keep_model(student, o);
    if (!stop && train.out) keep_file(ctx, train.out, o);
    kd_model_destroy(student);
    kd_model_destroy(teacher);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

/* Each part of a run that is resumed has other threads and another depth than the one before. */
static outcome run(const course *c, manner m, bool with_file)
{
    static int count;
    static const int widths[] = {1, 7, 2, 3};
    char out[512];
    outcome o = {0};
    kd_train_opt train = c->train;
    snprintf(out, sizeof out, "%s/bits%d", test_dir(), count++);
    if (with_file || m.stops) train.out = out;
    train.overwrite = train.out != NULL;
    for (size_t part = 0; m.stops && m.stops[part]; part++) {
        const manner changed = {widths[part % 4], part % 2 ? KD_LOADER_SYNC : 3, m.isa, NULL};
        run_part(c, &changed, train, m.stops[part], &o);
        train.resume = 1;
        train.overwrite = 0;
    }
    run_part(c, &m, train, 0, &o);
    return o;
}

static void outcome_free(outcome *o)
{
    free(o->file);
    free(o->weights);
    free(o->buffers);
}

/* ---- equal ----------------------------------------------------------------------------------- */

/* Equal, or both not measured. */
static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void check_same(const course *c, const outcome *a, const outcome *b, const manner *m)
{
    const kd_result *r = &a->result, *s = &b->result;
    char what[128];
    snprintf(what, sizeof what, "%s: %d threads, depth %d, %s on %s", c->name, m->threads, m->depth,
             m->stops ? "resumed" : "in one go", m->isa ? m->isa : "the best table");
    ck_assert_uint_eq(a->count, b->count);
    ck_assert_uint_eq(a->buffer_bytes, b->buffer_bytes);
    ck_assert_msg(!memcmp(a->weights, b->weights, a->count * sizeof *a->weights),
                  "%s: the weights differ", what);
    ck_assert_msg(!memcmp(a->buffers, b->buffers, a->buffer_bytes), "%s: the buffers differ", what);
    ck_assert_msg(same(r->top1, s->top1) && same(r->top5, s->top5) && same(r->loss, s->loss),
                  "%s: the test differs: loss %.17g, %.17g", what, r->loss, s->loss);
    ck_assert_msg(r->train_loss == s->train_loss && r->train_top1 == s->train_top1 &&
                      r->steps == s->steps && r->epochs == s->epochs,
                  "%s: what is reported differs: loss %.17g, %.17g", what, r->train_loss,
                  s->train_loss);
    if (a->file && b->file)
        ck_assert_msg(a->size == b->size && !memcmp(a->file, b->file, a->size),
                      "%s: the files differ", what);
}

static void check_table(const course *c, const char *isa)
{
    const manner manners[] = {{7, 9, isa, c->stops[0]},
                              {3, 1, isa, NULL},
                              {2, 0, isa, NULL},
                              {7, 5, isa, NULL},
                              {1, KD_LOADER_SYNC, isa, c->stops[1]},
                              {3, 2, isa, c->stops[2]}};
    const size_t runs = !c->brief ? sizeof manners / sizeof *manners : isa ? 1 : 3;
    outcome whole = run(c, (manner){1, KD_LOADER_SYNC, isa, NULL}, !c->brief);
    for (size_t i = 0; i < runs; i++) {
        outcome o = run(c, manners[i], false);
        check_same(c, &whole, &o, &manners[i]);
        outcome_free(&o);
    }
    outcome_free(&whole);
}

START_TEST(test_distillation_gives_the_same_bits)
{
    const kdi_kernels *k;
    for (int i = 0; (k = kdi_kernels_at(i)); i++) check_table(&distilled, k->name);
}
END_TEST

START_TEST(test_dropout_gives_the_same_bits)
{
    check_table(&dropped, NULL);
}
END_TEST

START_TEST(test_frozen)
{
    check_table(&frozen, NULL);
}
END_TEST

START_TEST(test_features)
{
    check_table(&hinted, NULL);
    check_table(&attentive, NULL);
    check_table(&relations, NULL);
}
END_TEST

START_TEST(test_transformers_give_the_same_bits)
{
    const kdi_kernels *k;
    for (int i = 0; (k = kdi_kernels_at(i)); i++) {
        check_table(&deit, k->name);
        check_table(&swin, k->name);
    }
}
END_TEST

/* ---- not equal, but near --------------------------------------------------------------------- */

/* How far training moved a weight, at most. */
static double moved(const course *c, const outcome *o)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *fresh;
    double most = 0;
    test_ok(ctx, kd_model_create(ctx, c->student, 1, &fresh));
    const float *start = kd_params_values(kd_model_params(fresh));
    for (size_t i = 0; i < o->count; i++)
        most = fmax(most, fabs((double)o->weights[i] - (double)start[i]));
    kd_model_destroy(fresh);
    kd_ctx_destroy(ctx);
    return most;
}

/* Two runs' distance: of the weights, relative to how far training moved them; of the last epoch's
 * mean loss, relative to itself. */
static void check_near(const course *c, const outcome *a, const outcome *b, const char *what,
                       double weights, double loss)
{
    double worst = 0;
    ck_assert_uint_eq(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        worst = fmax(worst, fabs((double)a->weights[i] - (double)b->weights[i]));
    const double w = worst / moved(c, b), l = fabs(a->result.train_loss / b->result.train_loss - 1);
    if (getenv("KD_BITS_REPORT"))
        printf("%s, %s, %zu steps: weights %.1e of %.0e, loss %.1e of %.0e\n", c->name, what,
               b->result.steps, w, weights, l, loss);
    ck_assert_msg(w <= weights, "%s, %s: the weights are %.3g apart", c->name, what, w);
    ck_assert_msg(l <= loss, "%s, %s: the losses are %.3g apart", c->name, what, l);
}

START_TEST(test_tables_differ_by_rounding)
{
    const kdi_kernels *k;
    char what[64];
    outcome best = run(&distilled, (manner){.threads = 2}, false);
    for (int t = 1; (k = kdi_kernels_at(t)); t++) {
        outcome o = run(&distilled, (manner){.threads = 2, .isa = k->name}, false);
        snprintf(what, sizeof what, "%s for %s", k->name, kdi_kernels_at(0)->name);
        check_near(&distilled, &o, &best, what, 1e-4, 1e-5);
        outcome_free(&o);
    }
    outcome_free(&best);
}
END_TEST

/* ---- OpenBLAS -------------------------------------------------------------------------------- */

#if KDI_OPENBLAS
int openblas_get_num_threads(void);

static void check_dense(void)
{
    const kdi_kernels *k;
    check_table(&dense, NULL);
    for (int i = 1; (k = kdi_kernels_at(i)); i++) check_table(&dense, k->name);
}

/* With the built-in products alone, with OpenBLAS for every product it can compute, and with each
 * where it is faster; OpenBLAS's number of threads is the program's. */
START_TEST(test_blas)
{
    const int threads = openblas_get_num_threads();
    setenv("KD_BLAS", "builtin", 1);
    check_dense();
    outcome ours = run(&dense, (manner){.threads = 2}, false);
    setenv("KD_BLAS", "openblas", 1);
    check_dense();
    kd_ctx *ctx = test_ctx(2, NULL);
    const bool called = !strncmp(kd_ctx_blas(ctx), "openblas ", 9);
    kd_ctx_destroy(ctx);
#ifdef _OPENMP
    ck_assert(called);
#endif
    outcome theirs = run(&dense, (manner){.threads = 2}, false);
    unsetenv("KD_BLAS");
    check_dense();
    ck_assert_int_eq(openblas_get_num_threads(), threads);
    ck_assert_msg(
        called == (memcmp(ours.weights, theirs.weights, ours.count * sizeof *ours.weights) != 0),
        "OpenBLAS was %s", called ? "never called" : "called");
    check_near(&dense, &theirs, &ours, "OpenBLAS for the built-in products", 1e-4, 1e-5);
    outcome_free(&ours);
    outcome_free(&theirs);
}
END_TEST
#else
START_TEST(test_blas)
{
}
END_TEST
#endif

TEST_SUITE(bits, 120, &test_distillation_gives_the_same_bits, &test_dropout_gives_the_same_bits,
           &test_transformers_give_the_same_bits, &test_tables_differ_by_rounding, &test_blas,
           &test_frozen, &test_features)
