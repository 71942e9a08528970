/* SPDX-License-Identifier: MIT
 * test_loader.c: batches: order, splits, views, replay at any depth and after any seek, errors,
 * threads, signals, forks, memory. */
#include "files.h"

#include "../../lib/base/base.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIDE = 8, BYTES = SIDE * SIDE * 3, TRAIN = 53, TEST = 9 };

static const kd_data_info shape = {.struct_size = sizeof shape,
                                   .classes = 10,
                                   .height = SIDE,
                                   .width = SIDE,
                                   .channels = 3,
                                   .count = {TRAIN, TEST}};

/* A callback data set that can fail and dawdle. */
typedef struct source {
    atomic_size_t fails_at; /* SIZE_MAX: never */
    kd_status status;
    int32_t label_added;
    long nanoseconds;
    atomic_int calls, at_once, most_at_once, masked;
} source;

static kd_status tell(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    source *s = user;
    sigset_t mask;
    const int now = atomic_fetch_add(&s->at_once, 1) + 1;
    if (now > atomic_load(&s->most_at_once)) atomic_store(&s->most_at_once, now);
    atomic_fetch_add(&s->calls, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    atomic_store(&s->masked, sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) &&
                                 sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGSEGV));
    if (s->nanoseconds) nanosleep(&(struct timespec){0, s->nanoseconds}, NULL);
    for (size_t p = 0; p < BYTES; p++)
        image[p] = files_pixel(split, index, p % 3, p / 3 / SIDE, p / 3 % SIDE);
    *label = files_label(split, index, 10);
    kd_status status = KD_OK;
    if (split == KD_SPLIT_TRAIN && index == atomic_load(&s->fails_at)) {
        *label += s->label_added;
        status = s->status;
    }
    atomic_fetch_sub(&s->at_once, 1);
    return status;
}

static kd_dataset *from_callback(kd_ctx *ctx, source *s)
{
    kd_dataset *data;
    if (!atomic_load(&s->fails_at)) atomic_store(&s->fails_at, SIZE_MAX);
    test_ok(ctx, kd_dataset_from_callback(ctx, &shape, tell, s, &data));
    return data;
}

static kd_dataset *from_arrays(kd_ctx *ctx)
{
    static uint8_t pixels[KD_SPLIT_COUNT][TRAIN][BYTES];
    static int32_t answers[KD_SPLIT_COUNT][TRAIN];
    source s = {.fails_at = SIZE_MAX};
    const uint8_t *images[KD_SPLIT_COUNT];
    const int32_t *labels[KD_SPLIT_COUNT];
    kd_dataset *data;
    for (int split = 0; split < KD_SPLIT_COUNT; split++) {
        for (size_t i = 0; i < TRAIN; i++)
            tell(&s, (kd_split)split, i, pixels[split][i], &answers[split][i]);
        images[split] = pixels[split][0];
        labels[split] = answers[split];
    }
    test_ok(ctx, kd_dataset_from_arrays(ctx, &shape, images, labels, 1, &data));
    return data;
}

static kd_loader *loader(kd_ctx *ctx, kd_dataset *data, kd_loader_opt opt)
{
    kd_loader *l;
    opt.struct_size = sizeof opt;
    test_ok(ctx, kd_loader_create(data, &opt, &l));
    return l;
}

static const kd_batch *next(kd_ctx *ctx, kd_loader *l)
{
    const kd_batch *batch;
    test_ok(ctx, kd_loader_next(l, &batch));
    return batch;
}

/* ---- replay ---------------------------------------------------------------------------------- */

static const float other_mean[3] = {.1f, .2f, .3f}, other_std[3] = {.4f, .5f, .6f};
static const kd_view two_views[2] = {
    {0}, {.height = 12, .width = 6, .mean = other_mean, .std = other_std}};
static const kd_loader_opt rich = {.batch = 8,
                                   .shuffle = 1,
                                   .seed = 77,
                                   .augment = "crop:2-flip+cutout:3",
                                   .n_views = 2,
                                   .views = two_views};

/* Every bit of a batch. */
static uint64_t fingerprint(const kd_batch *b)
{
    ck_assert_uint_eq(b->n_views, 2);
    const uint64_t parts[] = {b->n,
                              b->epoch,
                              b->index,
                              kdi_hash(b->views[0], b->n * BYTES * sizeof(float)),
                              kdi_hash(b->views[1], b->n * 12 * 6 * 3 * sizeof(float)),
                              kdi_hash(b->labels, b->n * sizeof *b->labels),
                              kdi_hash(b->ids, b->n * sizeof *b->ids)};
    return kdi_hash(parts, sizeof parts);
}

enum { EPOCHS = 5, BATCHES = 7 };

START_TEST(test_replay)
{
    static const int depths[] = {KD_LOADER_SYNC, 1, 3, 0, 40};
    kd_ctx *ctx = test_ctx(1, NULL);
    source s = {0};
    uint64_t truth[EPOCHS * BATCHES];
    for (int kind = 0; kind < 2; kind++) {
        kd_dataset *data = kind ? from_callback(ctx, &s) : from_arrays(ctx);
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
            kd_loader_opt opt = rich;
            opt.depth = depths[d];
            kd_loader *l = loader(ctx, data, opt);
            ck_assert_uint_eq(kd_loader_batches(l), BATCHES);
            ck_assert_uint_eq(kd_loader_samples(l), TRAIN);
            ck_assert_str_eq(kd_loader_augment(l), "crop:2+flip+cutout:3");
            for (size_t i = 0; i < EPOCHS * BATCHES; i++) {
                const kd_batch *b = next(ctx, l);
                ck_assert_uint_eq(b->epoch, i / BATCHES);
                ck_assert_uint_eq(b->index, i % BATCHES);
                ck_assert_uint_eq(b->n, i % BATCHES == BATCHES - 1 ? TRAIN % 8 : 8);
                if (kind == 0 && d == 0) truth[i] = fingerprint(b);
                ck_assert_uint_eq(fingerprint(b), truth[i]);
            }
            /* from anywhere to anywhere, with some batches taken in between */
            for (size_t round = 0; round < 100; round++) {
                size_t at = (size_t)files_pixel(KD_SPLIT_TEST, round, 0, 1, d) % (EPOCHS * BATCHES);
                const size_t steps = files_pixel(KD_SPLIT_TEST, round, 1, 2, d) % 5;
                test_ok(ctx, kd_loader_seek(l, at / BATCHES, at % BATCHES));
                for (size_t i = 0; i < steps && at < EPOCHS * BATCHES; i++, at++)
                    ck_assert_uint_eq(fingerprint(next(ctx, l)), truth[at]);
            }
            test_ok(ctx, kd_loader_seek(l, 1, BATCHES)); /* means the next epoch's first */
            ck_assert_uint_eq(fingerprint(next(ctx, l)), truth[2 * BATCHES]);
            ck_assert_int_eq(kd_loader_seek(l, 0, BATCHES + 1), KD_E_INVALID);
            ck_assert_int_eq(kd_loader_seek(l, (size_t)1 << 31, 0), KD_E_INVALID);
            ck_assert_uint_eq(fingerprint(next(ctx, l)), truth[2 * BATCHES + 1]);
            kd_loader_close(l);
        }
        kd_dataset_close(data);
    }
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A sample is augmented alike in whatever batch it comes, and another seed changes it. */
START_TEST(test_augmentation_follows_sample)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    static float seen[2][TRAIN][BYTES];
    for (uint64_t seed = 0; seed < 2; seed++)
        for (size_t batch = 1; batch <= TRAIN; batch += 13) {
            kd_loader_opt opt = rich;
            opt.seed = seed;
            opt.batch = batch;
            opt.shuffle = batch % 2 == 0;
            kd_loader *l = loader(ctx, data, opt);
            test_ok(ctx, kd_loader_seek(l, 3, 0));
            for (size_t i = 0; i < kd_loader_batches(l); i++) {
                const kd_batch *b = next(ctx, l);
                for (size_t j = 0; j < b->n; j++) {
                    float *first = seen[seed][b->ids[j]];
                    const float *now = b->views[0] + j * BYTES;
                    ck_assert_int_eq(b->labels[j], files_label(KD_SPLIT_TRAIN, b->ids[j], 10));
                    if (batch == 1) memcpy(first, now, sizeof *seen[0]);
                    ck_assert_int_eq(memcmp(first, now, sizeof *seen[0]), 0);
                }
            }
            kd_loader_close(l);
        }
    ck_assert_int_ne(memcmp(seen[0], seen[1], sizeof seen[0]), 0);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- order and splits ------------------------------------------------------------------------ */

/* The ids of the epoch the loader is at the start of; returns how many. */
static size_t epoch_ids(kd_ctx *ctx, kd_loader *l, uint32_t *ids)
{
    size_t n = 0;
    for (size_t i = 0; i < kd_loader_batches(l); i++) {
        const kd_batch *b = next(ctx, l);
        memcpy(ids + n, b->ids, b->n * sizeof *ids);
        n += b->n;
    }
    ck_assert_uint_eq(n, kd_loader_samples(l));
    return n;
}

START_TEST(test_order)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    uint32_t orders[4][TRAIN], ids[TRAIN];
    kd_loader *l = loader(ctx, data, (kd_loader_opt){.batch = 10, .shuffle = 1, .seed = 3});
    for (size_t epoch = 0; epoch < 3; epoch++) {
        int seen[TRAIN] = {0};
        ck_assert_uint_eq(epoch_ids(ctx, l, orders[epoch]), TRAIN);
        for (size_t i = 0; i < TRAIN; i++) seen[orders[epoch][i]]++;
        for (size_t i = 0; i < TRAIN; i++) ck_assert_int_eq(seen[i], 1);
    }
    kd_loader_close(l);
    l = loader(ctx, data, (kd_loader_opt){.batch = 7, .shuffle = 1, .seed = 4});
    epoch_ids(ctx, l, orders[3]);
    kd_loader_close(l);
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < a; b++)
            ck_assert_int_ne(memcmp(orders[a], orders[b], sizeof *orders), 0);

    l = loader(ctx, data, (kd_loader_opt){.batch = 10, .shuffle = 1, .seed = 3, .drop_last = 1});
    ck_assert_uint_eq(kd_loader_batches(l), 5);
    ck_assert_uint_eq(epoch_ids(ctx, l, ids), 50);
    ck_assert_int_eq(memcmp(ids, orders[0], 50 * sizeof *ids), 0);
    ck_assert_uint_eq(epoch_ids(ctx, l, ids), 50);
    ck_assert_int_eq(memcmp(ids, orders[1], 50 * sizeof *ids), 0);
    kd_loader_close(l);

    l = loader(ctx, data, (kd_loader_opt){.first = 5, .count = 20, .batch = 20});
    ck_assert_uint_eq(kd_loader_batches(l), 1);
    epoch_ids(ctx, l, ids);
    for (uint32_t i = 0; i < 20; i++) ck_assert_uint_eq(ids[i], 5 + i);
    kd_loader_close(l);
    l = loader(ctx, data, (kd_loader_opt){.split = KD_SPLIT_TEST});
    ck_assert_uint_eq(epoch_ids(ctx, l, ids), TEST);
    ck_assert_str_eq(kd_loader_augment(l), "none");
    kd_loader_close(l);
    test_ok(ctx, kd_loader_create(data, NULL, &l));
    ck_assert_uint_eq(next(ctx, l)->n, TRAIN);
    ck_assert_str_eq(kd_loader_augment(l), "crop:4+flip");
    kd_loader_close(l);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A batch of more than the set is the set, in as much memory, mixing included. */
START_TEST(test_batch_beyond_the_set)
{
    static const size_t batches[] = {TRAIN, TRAIN + 1, SIZE_MAX / 2, SIZE_MAX};
    size_t bytes[4];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    for (int i = 0; i < 4; i++) {
        const size_t before = kd_ctx_memory(ctx);
        uint32_t ids[TRAIN];
        kd_loader *l = loader(ctx, data, (kd_loader_opt){.batch = batches[i], .augment = "mixup"});
        bytes[i] = kd_ctx_memory(ctx) - before;
        ck_assert_uint_eq(kd_loader_batches(l), 1);
        for (int epoch = 0; epoch < 2; epoch++) ck_assert_uint_eq(epoch_ids(ctx, l, ids), TRAIN);
        kd_loader_close(l);
        ck_assert_uint_eq(bytes[i], bytes[0]);
    }
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Every place gets every sample about equally often. */
START_TEST(test_shuffle_is_fair)
{
    enum { N = 5, ROUNDS = 4000 };
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    int seen[N][N] = {{0}};
    kd_loader *l = loader(ctx, data, (kd_loader_opt){.count = N, .shuffle = 1, .augment = "none"});
    for (int round = 0; round < ROUNDS; round++) {
        const kd_batch *b = next(ctx, l);
        for (size_t i = 0; i < N; i++) seen[i][b->ids[i]]++;
    }
    for (int i = 0; i < N * N; i++) {
        ck_assert_int_gt(seen[i / N][i % N], ROUNDS / N - 5 * 26);
        ck_assert_int_lt(seen[i / N][i % N], ROUNDS / N + 5 * 26);
    }
    kd_loader_close(l);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_dev_split)
{
    static const size_t counts[] = {1, 10, 52};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    for (size_t c = 0; c < 3; c++) {
        uint32_t dev[3][TRAIN];
        for (uint64_t v = 0; v < 3; v++) { /* v 1: another seed of the run; 2: of the split */
            uint32_t rest[TRAIN];
            int seen[TRAIN] = {0};
            kd_loader_opt opt = {.dev_count = counts[c], .dev_seed = v == 2, .seed = v, .dev = 1};
            kd_loader *l = loader(ctx, data, opt);
            ck_assert_str_eq(kd_loader_augment(l), "none");
            ck_assert_uint_eq(epoch_ids(ctx, l, dev[v]), counts[c]);
            kd_loader_close(l);
            opt.dev = 0;
            l = loader(ctx, data, opt);
            ck_assert_str_eq(kd_loader_augment(l), "crop:4+flip");
            ck_assert_uint_eq(epoch_ids(ctx, l, rest), TRAIN - counts[c]);
            kd_loader_close(l);
            for (size_t i = 0; i < counts[c]; i++) seen[dev[v][i]]++;
            for (size_t i = 0; i < TRAIN - counts[c]; i++) {
                seen[rest[i]]++;
                ck_assert(i == 0 || rest[i - 1] < rest[i]);
            }
            for (size_t i = 0; i < TRAIN; i++) ck_assert_int_eq(seen[i], 1);
        }
        ck_assert_int_eq(memcmp(dev[0], dev[1], counts[c] * sizeof *dev[0]), 0);
        ck_assert_int_ne(memcmp(dev[0], dev[2], counts[c] * sizeof *dev[0]), 0);
    }
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- views ----------------------------------------------------------------------------------- */

START_TEST(test_normalisation)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    kd_loader *l =
        loader(ctx, data,
               (kd_loader_opt){.n_views = 2,
                               .views = (kd_view[]){{0}, {.mean = other_mean, .std = other_std}},
                               .augment = "none"});
    const kd_batch *b = next(ctx, l);
    for (size_t i = 0; i < TRAIN * BYTES; i++) {
        const size_t p = i % BYTES, c = p % 3;
        const float x = files_pixel(KD_SPLIT_TRAIN, i / BYTES, c, p / 3 / SIDE, p / 3 % SIDE);
        ck_assert(b->views[0][i] == (x / 255.0f - .5f) / .25f);
        ck_assert(b->views[1][i] == (x / 255.0f - other_mean[c]) / other_std[c]);
    }
    kd_loader_close(l);
    kd_dataset_close(data);

    /* grey in three channels, each normalised its own way */
    uint8_t grey[6] = {0, 10, 100, 200, 250, 255};
    int32_t label = 0;
    const float grey_mean = .6f, grey_std = .125f;
    const kd_data_info info = {.struct_size = sizeof info,
                               .classes = 1,
                               .height = 2,
                               .width = 3,
                               .channels = 1,
                               .count = {1},
                               .mean = &grey_mean,
                               .std = &grey_std};
    test_ok(ctx, kd_dataset_from_arrays(ctx, &info, (const uint8_t *const[]){grey, NULL},
                                        (const int32_t *const[]){&label, NULL}, 0, &data));
    l = loader(
        ctx, data,
        (kd_loader_opt){.n_views = 6,
                        .views = (kd_view[]){{.channels = 3, .mean = other_mean, .std = other_std},
                                             {.channels = 2},
                                             {0},
                                             {.channels = 3, .mean = other_mean},
                                             {.channels = 3, .std = other_std},
                                             {.channels = 64}},
                        .augment = "none"});
    b = next(ctx, l);
    for (size_t i = 0; i < 18; i++) {
        const float x = grey[i / 3];
        ck_assert(b->views[0][i] == (x / 255.0f - other_mean[i % 3]) / other_std[i % 3]);
        if (i < 12) ck_assert(b->views[1][i] == ((float)grey[i / 2] / 255.0f - .6f) / .125f);
        if (i < 6) ck_assert(b->views[2][i] == ((float)grey[i] / 255.0f - .6f) / .125f);
        /* what a view leaves out is the data's grey mean or deviation, repeated */
        ck_assert(b->views[3][i] == (x / 255.0f - other_mean[i % 3]) / .125f);
        ck_assert(b->views[4][i] == (x / 255.0f - .6f) / other_std[i % 3]);
    }
    for (size_t i = 0; i < sizeof grey * 64; i++)
        ck_assert(b->views[5][i] == ((float)grey[i / 64] / 255.0f - .6f) / .125f);
    kd_loader_close(l);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A view of another size is the plain view resized, augmentation included: the mean of the pixels
 * where the size is halved exactly is checked by its oracle in test_augment.c; here, that the views
 * show the same picture. Doubling and halving with a triangle keeps a picture's mean. */
START_TEST(test_views_agree)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    const kd_view views[2] = {{0}, {.height = 2 * SIDE, .width = 2 * SIDE}};
    kd_loader *l =
        loader(ctx, data,
               (kd_loader_opt){
                   .batch = 16, .n_views = 2, .views = views, .augment = "crop:2-flip+cutout:4"});
    for (int round = 0; round < 8; round++) {
        const kd_batch *b = next(ctx, l);
        for (size_t i = 0; i < b->n; i++)
            for (size_t c = 0; c < 3; c++) {
                double small = 0, large = 0;
                for (size_t p = 0; p < SIDE * SIDE; p++)
                    small += (double)b->views[0][(i * SIDE * SIDE + p) * 3 + c];
                for (size_t p = 0; p < 4 * SIDE * SIDE; p++)
                    large += (double)b->views[1][(i * 4 * SIDE * SIDE + p) * 3 + c];
                ck_assert_double_eq_tol(small, large / 4, 1e-4);
            }
    }
    kd_loader_close(l);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

START_TEST(test_refused)
{
    static const float zero[3] = {0}, inf[3] = {INFINITY};
    static const kd_view grey[] = {{0}, {.channels = 1}}, wide = {.width = 65537},
                         two = {.channels = 2}, flat = {.std = zero}, far = {.mean = inf};
    const struct {
        kd_loader_opt opt;
        const char *words;
    } bad[] = {
        {{.split = KD_SPLIT_COUNT}, "no split 2"},
        {{.dev = 1}, "development split of 0"},
        {{.dev_count = TRAIN + 1}, "development split of 54 samples out of 53"},
        {{.dev_count = TRAIN}, "no samples"},
        {{.first = TRAIN}, "samples 53 + 0 out of 53"},
        {{.first = 1, .count = TRAIN}, "samples 1 + 53 out of 53"},
        {{.count = SIZE_MAX, .first = 2}, "out of 53"},
        {{.batch = TRAIN + 1, .drop_last = 1},
         "the training set of 53 pictures is smaller than a batch of 54: use a smaller batch"},
        {{.batch = 2, .drop_last = 1, .dev_count = 1, .dev = 1},
         "the development set of 1 picture is smaller than a batch of 2"},
        {{.batch = 10, .drop_last = 1, .split = KD_SPLIT_TEST}, "the test set of 9 pictures is"},
        {{.augment = "spin"}, "unknown augmentation 'spin'"},
        {{.augment = "crop:8"}, "8x8"},
        {{.depth = -2}, "depth -2"},
        {{.depth = 1025}, "depth 1025"},
        {{.n_views = 1}, "no views given"},
        {{.n_views = 1, .views = &wide}, "8x65537x3 is too large"},
        {{.n_views = 1, .views = &two}, "view 0 wants 2 channels, but the pictures have 3"},
        {{.n_views = 2, .views = grey},
         "data set 'data': view 1 wants 1 channel, but the pictures"},
        {{.n_views = 1, .views = &flat}, "standard deviation 0"},
        {{.n_views = 1, .views = &far}, "mean inf"},
    };
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    const size_t before = kd_ctx_memory(ctx);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_loader_opt opt = bad[i].opt;
        kd_loader *l = (kd_loader *)&opt;
        opt.struct_size = sizeof opt;
        ck_assert_msg(kd_loader_create(data, &opt, &l) != KD_OK, "%zu", i);
        ck_assert_ptr_null(l);
        ck_assert_msg(strstr(kd_ctx_error(ctx), bad[i].words) != NULL, "%zu: %s", i,
                      kd_ctx_error(ctx));
        ck_assert_uint_eq(kd_ctx_memory(ctx), before);
    }
    kd_loader *l;
    ck_assert_int_eq(kd_loader_create(data, &(kd_loader_opt){.batch = 3}, &l), KD_E_INVALID);
    ck_assert_int_eq(kd_loader_create(NULL, NULL, &l), KD_E_INVALID);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- errors and threads ---------------------------------------------------------------------- */

START_TEST(test_callback_errors)
{
    static const int depths[] = {KD_LOADER_SYNC, 1, 3};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t d = 0; d < 3; d++) {
        source s = {.fails_at = 29, .status = KD_E_IO};
        kd_dataset *data = from_callback(ctx, &s);
        kd_loader *l = loader(ctx, data, (kd_loader_opt){.batch = 8, .depth = depths[d]});
        const kd_batch *batch;
        for (size_t i = 0; i < 3; i++) ck_assert_uint_eq(next(ctx, l)->index, i);
        for (int again = 0; again < 3; again++) { /* it stays */
            ck_assert_int_eq(kd_loader_next(l, &batch), KD_E_IO);
            ck_assert_ptr_null(batch);
            ck_assert_str_eq(kd_ctx_error(ctx),
                             "data set 'data': train sample 29: the callback returned KD_E_IO");
        }
        test_ok(ctx, kd_loader_seek(l, 0, 4)); /* past it */
        for (size_t i = 4; i < 7; i++) ck_assert_uint_eq(next(ctx, l)->index, i);
        test_ok(ctx, kd_loader_seek(l, 0, 3));
        ck_assert_int_eq(kd_loader_next(l, &batch), KD_E_IO);
        atomic_store(&s.fails_at, SIZE_MAX); /* and once it is mended */
        test_ok(ctx, kd_loader_seek(l, 0, 3));
        ck_assert_uint_eq(next(ctx, l)->index, 3);
        kd_loader_close(l);
        s.status = KD_OK;
        s.label_added = 10;
        atomic_store(&s.fails_at, 0);
        l = loader(ctx, data, (kd_loader_opt){.depth = depths[d]});
        ck_assert_int_eq(kd_loader_next(l, &batch), KD_E_INVALID);
        ck_assert_ptr_nonnull(
            strstr(kd_ctx_error(ctx), "train sample 0: label 13, but 10 classes"));
        kd_loader_close(l);
        kd_dataset_close(data);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* A callback that explains itself, now and then. */
typedef struct camera {
    kd_ctx *ctx;
    atomic_int explains; /* 1: with words; 2: with words, and goes on */
} camera;

static kd_status photograph(void *user, kd_split split, size_t index, uint8_t *image,
                            int32_t *label)
{
    camera *c = user;
    memset(image, (int)index, BYTES);
    *label = 0;
    if (split != KD_SPLIT_TRAIN || index != 5) return KD_OK;
    const int explains = atomic_load(&c->explains);
    if (explains == 0) return KD_E_IO;
    const kd_status status = kd_ctx_fail(c->ctx, KD_E_IO, "frame %zu is dark", index);
    return explains == 2 ? KD_OK : status;
}

/* What a callback says with kd_ctx_fail reaches the caller, from any thread; it is not mixed up with
 * what others say, nor remembered. */
START_TEST(test_callback_words)
{
    static const char dark[] = "data set 'data': train sample 5: frame 5 is dark";
    kd_ctx *ctx = test_ctx(1, NULL);
    camera c = {.ctx = ctx};
    kd_dataset *data;
    test_ok(ctx, kd_dataset_from_callback(ctx, &shape, photograph, &c, &data));
    for (int depth = KD_LOADER_SYNC; depth < 3; depth++) {
        const kd_batch *batch;
        kd_loader *l = NULL;
        atomic_store(&c.explains, 2);
        l = loader(ctx, data, (kd_loader_opt){.batch = 4, .depth = depth, .threads = 2});
        for (size_t i = 0; i < 6; i++) {
            kd_ctx_fail(ctx, KD_E_INVALID, "the caller's own %zu", i);
            next(ctx, l);
            char words[40];
            snprintf(words, sizeof words, "the caller's own %zu", i);
            ck_assert_str_eq(kd_ctx_error(ctx), words); /* stays, whatever the callback said */
        }
        for (int explains = 1; explains >= 0; explains--) {
            atomic_store(&c.explains, explains);
            test_ok(ctx, kd_loader_seek(l, 0, 1));
            ck_assert_int_eq(kd_loader_next(l, &batch), KD_E_IO);
            ck_assert_str_eq(kd_ctx_error(ctx),
                             explains ? dark
                                      : "data set 'data': train sample 5: the callback returned "
                                        "KD_E_IO");
        }
        kd_loader_close(l);
    }
    uint64_t sum;
    float mean[3];
    atomic_store(&c.explains, 1);
    ck_assert_int_eq(kd_dataset_sample(data, KD_SPLIT_TRAIN, 5, NULL, NULL), KD_E_IO);
    ck_assert_str_eq(kd_ctx_error(ctx), dark);
    ck_assert_int_eq(kd_dataset_checksum(data, &sum), KD_E_IO);
    ck_assert_str_eq(kd_ctx_error(ctx), dark);
    ck_assert_int_eq(kd_dataset_measure(data, mean, NULL), KD_E_IO);
    ck_assert_str_eq(kd_ctx_error(ctx), dark);
    kd_ctx_fail(ctx, KD_E_INVALID, "afterwards");
    ck_assert_str_eq(kd_ctx_error(ctx), "afterwards");
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_close_while_busy)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    for (size_t i = 0; i < 300; i++) {
        kd_loader_opt opt = rich;
        opt.depth = (int)(i % 4) + 1;
        kd_loader *l = loader(ctx, data, opt);
        for (size_t j = 0; j < i % 3; j++) next(ctx, l);
        if (i % 5 == 0) test_ok(ctx, kd_loader_seek(l, i, i % BATCHES));
        kd_loader_close(l);
    }
    kd_dataset_close(data);
    /* a callback that takes 20 ms a sample: closing waits for a sample, not for the batch */
    source s = {.nanoseconds = 20000000};
    data = from_callback(ctx, &s);
    kd_loader *l = loader(ctx, data, (kd_loader_opt){.batch = TRAIN});
    while (atomic_load(&s.calls) == 0) nanosleep(&(struct timespec){0, 1000000}, NULL);
    test_ok(ctx, kd_loader_seek(l, 5, 0));
    kd_loader_close(l);
    ck_assert_int_lt(atomic_load(&s.calls), TRAIN);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Two loaders take turns on one data set: each gives what it gives alone; a callback is never
 * entered twice at once. */
START_TEST(test_two_loaders)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    source s = {.nanoseconds = 1000};
    for (int kind = 0; kind < 2; kind++) {
        kd_dataset *data = kind ? from_callback(ctx, &s) : from_arrays(ctx);
        uint64_t truth[2][20];
        for (int together = 0; together < 2; together++) {
            kd_loader *l[2];
            for (uint64_t i = 0; i < 2; i++) {
                kd_loader_opt opt = rich;
                opt.seed = i;
                opt.split = i ? KD_SPLIT_TEST : KD_SPLIT_TRAIN;
                opt.depth = together ? 2 : KD_LOADER_SYNC;
                l[i] = loader(ctx, data, opt);
            }
            for (size_t i = 0; i < 40; i++) {
                uint64_t *print = &truth[i % 2][i / 2];
                const uint64_t now = fingerprint(next(ctx, l[i % 2]));
                if (together) ck_assert_uint_eq(now, *print);
                *print = now;
            }
            kd_loader_close(l[0]);
            kd_loader_close(l[1]);
        }
        kd_dataset_close(data);
    }
    ck_assert_int_eq(atomic_load(&s.most_at_once), 1);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_waited)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    source s = {.nanoseconds = 1000000};
    kd_dataset *data = from_callback(ctx, &s);
    for (int depth = KD_LOADER_SYNC; depth < 2; depth++) {
        kd_loader *l = loader(ctx, data, (kd_loader_opt){.batch = 20, .depth = depth});
        ck_assert_double_eq(kd_loader_seconds_waited(l), 0);
        next(ctx, l);
        /* with a thread the batch may have been ready by then, on a busy machine */
        ck_assert_double_gt(kd_loader_seconds_waited(l), depth == KD_LOADER_SYNC ? .020 : 0);
        kd_loader_close(l);
    }
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_signals)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    source s = {0};
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    kd_dataset *data = from_callback(ctx, &s);
    kd_loader *l = loader(ctx, data, (kd_loader_opt){.batch = 4});
    next(ctx, l);
    ck_assert_int_eq(atomic_load(&s.masked), 1); /* in the loader's thread */
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_int_eq(sigismember(&after, SIGUSR2), 1); /* here everything is as it was */
    ck_assert_int_eq(sigismember(&after, SIGINT), 0);
    kd_loader_close(l);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* What a child does after a fork: 0 if all is as it should be. */
static int child(kd_ctx *ctx, kd_dataset *data, kd_loader *threaded, kd_loader *sync)
{
    const kd_batch *batch;
    if (kd_loader_next(threaded, &batch) != KD_E_SYSTEM) return 1;
    if (!strstr(kd_ctx_error(ctx), "before a fork")) return 2;
    if (kd_loader_seek(threaded, 0, 0) != KD_E_SYSTEM) return 3;
    if (kd_loader_next(sync, &batch) != KD_OK) return 4;
    kd_loader_close(threaded);
    kd_loader_close(sync);
    kd_dataset_close(data);
    return kd_ctx_memory(ctx) ? 5 : 0;
}

START_TEST(test_fork)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data = from_arrays(ctx);
    kd_loader *threaded = loader(ctx, data, rich);
    kd_loader *sync = loader(ctx, data, (kd_loader_opt){.depth = KD_LOADER_SYNC});
    next(ctx, threaded);
    const pid_t pid = fork();
    if (pid == 0) _exit(child(ctx, data, threaded, sync));
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    next(ctx, threaded); /* the parent goes on */
    kd_loader_close(threaded);
    kd_loader_close(sync);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(test_nothing_allocated_after_create)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    source s = {0};
    kd_dataset *data = from_callback(ctx, &s);
    for (int depth = KD_LOADER_SYNC; depth < 3; depth++) {
        kd_loader_opt opt = rich;
        opt.depth = depth;
        opt.dev_count = 5;
        kd_loader *l = loader(ctx, data, opt);
        const long count = heap.count;
        for (size_t i = 0; i < 30; i++) next(ctx, l);
        test_ok(ctx, kd_loader_seek(l, 9, 2));
        next(ctx, l);
        ck_assert_int_eq(heap.count, count);
        kd_loader_close(l);
    }
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

START_TEST(test_create_out_of_memory)
{
    test_heap heap = {0};
    kd_ctx *ctx = test_ctx_counting(&heap, 1);
    kd_dataset *data = from_arrays(ctx);
    const long before = heap.live;
    bool done = false;
    for (long n = 1; !done; n++) {
        kd_loader_opt opt = rich;
        kd_loader *l;
        opt.struct_size = sizeof opt;
        opt.dev_count = 3;
        heap.fail_at = heap.count + n;
        const kd_status status = kd_loader_create(data, &opt, &l);
        done = heap.count < heap.fail_at;
        ck_assert_int_eq(status, done ? KD_OK : KD_E_NOMEM);
        if (done) next(ctx, l);
        heap.fail_at = 0;
        kd_loader_close(l);
        ck_assert_int_eq(heap.live, before);
        ck_assert_int_lt(n, 200);
    }
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
    ck_assert_int_eq(heap.live, 0);
}
END_TEST

TEST_SUITE(loader, 60, &test_replay, &test_augmentation_follows_sample, &test_order,
           &test_batch_beyond_the_set, &test_shuffle_is_fair, &test_dev_split, &test_normalisation,
           &test_views_agree, &test_refused, &test_callback_errors, &test_callback_words,
           &test_close_while_busy, &test_two_loaders, &test_waited, &test_signals, &test_fork,
           &test_nothing_allocated_after_create, &test_create_out_of_memory)
