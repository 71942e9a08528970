/* SPDX-License-Identifier: MIT
 * test_dataset.c: data from the caller's arrays and callbacks; checksums. */
#include "files.h"

#include <math.h>
#include <string.h>

enum { H = 3, W = 5, C = 2, BYTES = H * W * C, TRAIN = 7, TEST = 4, CLASSES = 6 };

typedef struct arrays {
    uint8_t pixels[KD_SPLIT_COUNT][TRAIN][BYTES];
    int32_t labels[KD_SPLIT_COUNT][TRAIN];
    const uint8_t *images[KD_SPLIT_COUNT];
    const int32_t *answers[KD_SPLIT_COUNT];
} arrays;

static const kd_data_info plain = {.struct_size = sizeof plain,
                                   .classes = CLASSES,
                                   .height = H,
                                   .width = W,
                                   .channels = C,
                                   .count = {TRAIN, TEST}};

static void fill(arrays *a)
{
    for (int s = 0; s < KD_SPLIT_COUNT; s++) {
        for (size_t i = 0; i < TRAIN; i++) {
            a->labels[s][i] = files_label((kd_split)s, i, CLASSES);
            for (size_t p = 0; p < BYTES; p++)
                a->pixels[s][i][p] = files_pixel((kd_split)s, i, p % C, p / C / W, p / C % W);
        }
        a->images[s] = a->pixels[s][0];
        a->answers[s] = a->labels[s];
    }
}

/* As a callback; a sample of its own choice fails. */
typedef struct teller {
    arrays *a;
    size_t fails_at;
    kd_status status;
    int32_t label_added;
} teller;

static kd_status tell(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    const teller *t = user;
    if (split == KD_SPLIT_TRAIN && index == t->fails_at && t->status) return t->status;
    memcpy(image, t->a->pixels[split][index], BYTES);
    *label = t->a->labels[split][index];
    if (split == KD_SPLIT_TRAIN && index == t->fails_at) *label += t->label_added;
    return KD_OK;
}

static void check_content(kd_ctx *ctx, kd_dataset *data)
{
    for (int s = 0; s < KD_SPLIT_COUNT; s++)
        for (size_t i = 0; i < kd_dataset_info(data)->count[s]; i++) {
            uint8_t image[BYTES];
            int32_t label = -1;
            test_ok(ctx, kd_dataset_sample(data, (kd_split)s, i, image, NULL));
            test_ok(ctx, kd_dataset_sample(data, (kd_split)s, i, NULL, &label));
            ck_assert_int_eq(label, files_label((kd_split)s, i, CLASSES));
            for (size_t p = 0; p < BYTES; p++)
                ck_assert_int_eq(image[p],
                                 files_pixel((kd_split)s, i, p % C, p / C / W, p / C % W));
        }
}

START_TEST(test_arrays)
{
    static const char *const names[CLASSES] = {"a", "b", "c", "d", "e", "f"};
    static const float mean[C] = {.1f, .2f}, std[C] = {.3f, .4f};
    static arrays a;
    kd_ctx *ctx = test_ctx(1, NULL);
    for (int borrow = 0; borrow < 2; borrow++) {
        kd_dataset *data;
        fill(&a);
        kd_data_info info = plain;
        info.name = "mine";
        info.class_names = names;
        info.mean = mean;
        info.std = std;
        test_ok(ctx, kd_dataset_from_arrays(ctx, &info, a.images, a.answers, borrow, &data));
        const kd_data_info *got = kd_dataset_info(data);
        ck_assert_str_eq(got->name, "mine");
        ck_assert_str_eq(got->class_names[5], "f");
        ck_assert_float_eq(got->mean[1], .2f);
        ck_assert_float_eq(got->std[0], .3f);
        ck_assert_ptr_ne(got->mean, mean);
        if (!borrow) memset(&a, 0, sizeof a);
        check_content(ctx, data);
        kd_dataset_close(data);
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    }
    /* defaults, and a split without samples */
    kd_dataset *data;
    kd_data_info info = plain;
    info.count[KD_SPLIT_TEST] = 0;
    fill(&a);
    a.images[1] = NULL;
    a.answers[1] = NULL;
    for (int borrow = 0; borrow < 2; borrow++) {
        test_ok(ctx, kd_dataset_from_arrays(ctx, &info, a.images, a.answers, borrow, &data));
        ck_assert_str_eq(kd_dataset_info(data)->name, "data");
        ck_assert_float_eq(kd_dataset_info(data)->mean[0], .5f);
        ck_assert_float_eq(kd_dataset_info(data)->std[1], .25f);
        check_content(ctx, data);
        kd_dataset_close(data);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

static void refuse(kd_ctx *ctx, const kd_data_info *info, const arrays *a, const char *words)
{
    kd_dataset *data;
    ck_assert_int_eq(kd_dataset_from_arrays(ctx, info, a->images, a->answers, 0, &data),
                     KD_E_INVALID);
    ck_assert_ptr_null(data);
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "%s", kd_ctx_error(ctx));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
}

START_TEST(test_arrays_refused)
{
    static arrays a;
    static const float zero[C] = {0}, nan[C] = {0, NAN};
    static const char *const names[CLASSES] = {"a", NULL};
    static const char *twice[CLASSES];
    for (size_t i = 0; i < CLASSES; i++) twice[i] = "a";
    kd_ctx *ctx = test_ctx(1, NULL);
    fill(&a);
    kd_data_info info = plain;
#define REFUSE(field, value, words)                                                                \
    do {                                                                                           \
        info = plain;                                                                              \
        info.field = value;                                                                        \
        refuse(ctx, &info, &a, words);                                                             \
    } while (0)
    REFUSE(struct_size, 0, "struct_size");
    REFUSE(classes, 0, "0 classes");
    REFUSE(classes, 1UL << 31, "2147483648 classes");
    REFUSE(classes, 3, "but 3 classes");
    REFUSE(height, 0, "pictures of 0x5x2");
    REFUSE(width, 65537, "pictures of 3x65537x2");
    REFUSE(channels, 65, "pictures of 3x5x65");
    REFUSE(count[1], 1UL << 32, "4294967296 test samples");
    REFUSE(std, zero, "standard deviation 0");
    REFUSE(mean, nan, "mean nan");
    REFUSE(class_names, names, "class 1 has no name");
    REFUSE(class_names, twice, "two classes are called");
    a.labels[1][2] = -1;
    refuse(ctx, &plain, &a, "test sample 2: label -1");
    a.labels[1][2] = 0;
    a.answers[0] = NULL;
    refuse(ctx, &plain, &a, "no train arrays");
    refuse(ctx, NULL, &a, "no kd_data_info");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_callback)
{
    static arrays a;
    teller t = {.a = &a, .fails_at = 5, .status = KD_E_IO};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_dataset *data;
    uint8_t image[BYTES];
    int32_t label;
    uint64_t sum;
    fill(&a);
    ck_assert_int_eq(kd_dataset_from_callback(ctx, &plain, NULL, NULL, &data), KD_E_INVALID);
    test_ok(ctx, kd_dataset_from_callback(ctx, &plain, tell, &t, &data));
    ck_assert_int_eq(kd_dataset_sample(data, KD_SPLIT_TRAIN, 5, image, &label), KD_E_IO);
    ck_assert_str_eq(kd_ctx_error(ctx),
                     "data set 'data': train sample 5: the callback returned KD_E_IO");
    ck_assert_int_eq(kd_dataset_checksum(data, &sum), KD_E_IO);
    t.status = KD_OK;
    t.label_added = 100;
    ck_assert_int_eq(kd_dataset_sample(data, KD_SPLIT_TRAIN, 5, NULL, NULL), KD_E_INVALID);
    ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "but 6 classes"));
    t.label_added = 0;
    check_content(ctx, data);
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static uint64_t sum_of(kd_ctx *ctx, const kd_data_info *info, arrays *a)
{
    kd_dataset *data;
    uint64_t sum, again;
    test_ok(ctx, kd_dataset_from_arrays(ctx, info, a->images, a->answers, 1, &data));
    test_ok(ctx, kd_dataset_checksum(data, &sum));
    test_ok(ctx, kd_dataset_checksum(data, &again));
    ck_assert_uint_eq(sum, again);
    kd_dataset_close(data);
    return sum;
}

/* The sum tells any change; it is the same for a callback with the same content. */
START_TEST(test_checksum)
{
    static arrays a;
    kd_ctx *ctx = test_ctx(1, NULL);
    fill(&a);
    const uint64_t sum = sum_of(ctx, &plain, &a);
    teller t = {.a = &a};
    kd_dataset *data;
    uint64_t other;
    test_ok(ctx, kd_dataset_from_callback(ctx, &plain, tell, &t, &data));
    test_ok(ctx, kd_dataset_checksum(data, &other));
    ck_assert_uint_eq(sum, other);
    kd_dataset_close(data);
    for (int s = 0; s < KD_SPLIT_COUNT; s++)
        for (size_t i = 0; i < plain.count[s]; i++) {
            for (size_t p = 0; p < BYTES; p++)
                for (int bit = 0; bit < 8; bit += 7) {
                    a.pixels[s][i][p] ^= (uint8_t)(1 << bit);
                    ck_assert_uint_ne(sum_of(ctx, &plain, &a), sum);
                    a.pixels[s][i][p] ^= (uint8_t)(1 << bit);
                }
            a.labels[s][i] ^= 1;
            ck_assert_uint_ne(sum_of(ctx, &plain, &a), sum);
            a.labels[s][i] ^= 1;
        }
    kd_data_info info = plain;
    info.height = W;
    info.width = H;
    ck_assert_uint_ne(sum_of(ctx, &info, &a), sum);
    info = plain;
    info.count[0]--;
    ck_assert_uint_ne(sum_of(ctx, &info, &a), sum);
    info = plain;
    info.classes++;
    ck_assert_uint_ne(sum_of(ctx, &info, &a), sum);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_out_of_memory)
{
    static arrays a;
    static const char *const names[CLASSES] = {"a", "b", "c", "d", "e", "f"};
    teller t = {.a = &a};
    kd_data_info info = plain;
    info.class_names = names;
    fill(&a);
    for (int callback = 0; callback < 2; callback++) {
        bool done = false;
        for (long n = 1; !done; n++) {
            test_heap heap = {0};
            kd_ctx *ctx = test_ctx_counting(&heap, 1);
            const long before = heap.live;
            kd_dataset *data;
            uint64_t sum;
            heap.fail_at = heap.count + n;
            kd_status status =
                callback ? kd_dataset_from_callback(ctx, &info, tell, &t, &data)
                         : kd_dataset_from_arrays(ctx, &info, a.images, a.answers, 0, &data);
            if (!status) status = kd_dataset_checksum(data, &sum);
            if (!status) status = kd_dataset_sample(data, KD_SPLIT_TEST, 0, NULL, NULL);
            done = heap.count < heap.fail_at;
            ck_assert_int_eq(status, done ? KD_OK : KD_E_NOMEM);
            kd_dataset_close(data);
            ck_assert_int_eq(heap.live, before);
            kd_ctx_destroy(ctx);
            ck_assert_int_lt(n, 100);
        }
    }
}
END_TEST

TEST_SUITE(dataset, 30, &test_arrays, &test_arrays_refused, &test_callback, &test_checksum,
           &test_out_of_memory)
