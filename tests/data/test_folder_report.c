/* SPDX-License-Identifier: MIT
 * test_folder_report.c: what is said about folders of pictures: splits that are missing or have
 * another name, files that are passed over, classes without pictures; the checksum of files. Layout
 * alone matters, so the pictures are files with a picture's ending and nothing in them. */
#include "files.h"

#include <kd/model.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 1200 };

/* What was logged. */
typedef struct journal {
    int warnings, infos;
    char all[8192];
} journal;

static void note_line(void *user, kd_log_level level, const char *text)
{
    journal *j = user;
    const size_t used = strlen(j->all);
    j->warnings += level == KD_LOG_WARN;
    j->infos += level == KD_LOG_INFO;
    snprintf(j->all + used, sizeof j->all - used, "%s\n", text);
}

static kd_ctx *make_ctx(journal *j)
{
    kd_ctx *ctx;
    const kd_config config = {
        .struct_size = sizeof config, .threads = 1, .log = note_line, .log_user = j};
    *j = (journal){0};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    return ctx;
}

/* A fresh folder with files and, where a name ends in '/', folders; those above are made. Names are
 * separated by blanks. The content of a file is its name. */
static const char *make(const char *name, const char *files)
{
    static char root[PATH];
    snprintf(root, sizeof root, "%s", files_folder(name));
    for (const char *p = files; *p;) {
        char path[PATH];
        const size_t n = strcspn(p, " ");
        const int length = snprintf(path, sizeof path, "%s/%.*s", root, (int)n, p);
        ck_assert_int_lt(length, PATH);
        for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
            *slash = 0;
            mkdir(path, 0700);
            *slash = '/';
        }
        if (p[n - 1] != '/') {
            char *last = strrchr(path, '/');
            *last = 0;
            files_write(path, last + 1, p, n);
        }
        p += n + (p[n] == ' ');
    }
    return root;
}

static kd_dataset *open_folder(kd_ctx *ctx, const char *root)
{
    char name[PATH + 8];
    kd_dataset *data;
    snprintf(name, sizeof name, "folder:%s", root);
    test_ok(ctx, kd_dataset_open(ctx, name, "/nonexistent", &data));
    return data;
}

/* The folder opens with that many warnings; among the notes, all of them logged, is a sentence. */
static void expect(const char *name, const char *files, int warnings, const char *sentence)
{
    journal j;
    kd_ctx *ctx = make_ctx(&j);
    kd_dataset *data = open_folder(ctx, make(name, files));
    bool found = !sentence;
    size_t n = 0;
    for (const char *note; (note = kd_dataset_note(data, n)); n++) {
        found = found || strcmp(note, sentence) == 0;
        ck_assert_msg(sentence, "%s: %s", name, note);
        ck_assert_ptr_nonnull(strstr(j.all, note));
    }
    ck_assert_msg(found, "%s: no '%s' in:\n%s", name, sentence, j.all);
    ck_assert_msg(j.warnings == warnings, "%s: %d warnings:\n%s", name, j.warnings, j.all);
    ck_assert_uint_eq(n + 1, (size_t)(j.warnings + j.infos)); /* and a line of numbers */
    ck_assert_ptr_null(kd_dataset_note(data, n));
    ck_assert_ptr_null(kd_dataset_note(data, SIZE_MAX));
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

#define GOOD "train/ant/1.png train/bee/1.jpg "

START_TEST(test_splits)
{
    expect("good", GOOD "val/ant/1.png val/bee/2.png", 0, NULL);
    expect("flat", GOOD "val/1.png val/2.png val/val_labels.txt", 1,
           "no test pictures: those of 'val' lie in it directly, where nothing says their class: "
           "sort them into val/CLASS");
    expect("flat_test", GOOD "test/1.png", 1,
           "no test pictures: those of 'test' lie in it directly, where nothing says their class: "
           "sort them into test/CLASS");
    expect("valid", GOOD "valid/ant/1.png", 1,
           "no test pictures: 'valid' is not read; call it val or test");
    expect("validation", GOOD "validation/ant/1.png Testing/ant/1.png", 1,
           "no test pictures: 'validation', 'Testing' are not read; call it val or test");
    expect("capital", GOOD "VAL/ant/1.png", 1,
           "no test pictures: 'VAL' is not read; call it val or test");
    expect("none", GOOD "readme.txt notes/ant/1.png", 1,
           "no test pictures: there is no folder val or test");
    expect("empty", GOOD "val/ant/ val/bee/", 1, "no test pictures: there are none in 'val'");
    expect("both", GOOD "val/ant/1.png val/bee/1.png test/1.png", 0,
           "the test pictures are those of 'val'; 'test' is not read");
    expect("training", "training/ant/1.png val/ant/1.png val/bee/1.png", 1,
           "no training pictures: 'training' is not read; call it train");
    expect("report_whole", "ant/1.png bee/1.png", 0,
           "no training pictures: there is no folder train");
    expect("classes", "Train/ant/1.png Valid/ant/1.png", 1,
           "'Train', 'Valid' were taken for classes: splits are called train, and val or test");
    expect("report_one", "train/images/1.png val/images/2.png", 1,
           "there is one class alone, 'images': pictures of several classes lie in a folder for "
           "each");
}
END_TEST

START_TEST(test_passed_over)
{
    expect("loose", GOOD "train/3.png train/4.jpg val/ant/1.png val/bee/1.png", 1,
           "train: 2 pictures lie in no class's folder, e.g. 'train/3.png', and are not read: sort "
           "them into a folder for each class");
    expect("report_other", GOOD "train/ant/boxes.txt val/ant/1.png val/bee/1.png", 0,
           "train: 1 file is no picture, by name or content, and is passed over, e.g. "
           "'train/ant/boxes.txt'");
    expect("others", GOOD "val/list.csv val/ant/1.png val/bee/1.png val/bee/x", 0,
           "val: 2 files "
           "are no pictures, by name or content, and are passed over, e.g. 'val/list.csv'");
    expect("hidden",
           GOOD "train/.DS_Store train/ant/.1.png train/.git/x val/ant/1.png "
                "val/bee/1.png",
           0, "train: 3 hidden files or folders (named with a dot first) passed over");
    expect("classless", GOOD "train/cat/ train/dog/x.txt val/ant/1.png val/bee/1.png", 1,
           "no training pictures of 2 of the 4 classes: 'cat', 'dog'");
    expect("lacking", GOOD "val/bee/1.png", 1, "no test pictures of 1 of the 2 classes: 'ant'");
    expect("many",
           "train/a/1.png train/b/1.png train/c/1.png train/d/1.png train/e/1.png "
           "val/c/1.png",
           1, "no test pictures of 4 of the 5 classes: 'a', 'b', 'd', ...");
}
END_TEST

static void refuse(const char *name, const char *files, kd_status status, const char *words)
{
    journal j;
    kd_ctx *ctx = make_ctx(&j);
    char full[PATH + 8];
    kd_dataset *data;
    snprintf(full, sizeof full, "folder:%s", make(name, files));
    ck_assert_int_eq(kd_dataset_open(ctx, full, NULL, &data), status);
    ck_assert_msg(strstr(kd_ctx_error(ctx), words) != NULL, "%s: no '%s' in: %s", name, words,
                  kd_ctx_error(ctx));
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}

START_TEST(test_refused)
{
    refuse(
        "unknown", GOOD "val/cat/1.png", KD_E_FORMAT,
        "there is no class 'cat' in train: each folder in it must have the name of one in train");
    refuse("case", GOOD "val/Ant/1.png", KD_E_FORMAT,
           "there is no class 'Ant' in train, but there is 'ant'");
    refuse("flat_train", "train/x.txt val/ant/1.png", KD_E_FORMAT, "which has no folder at all");
    refuse("flat_all", "val/1.png val/2.png", KD_E_NOTFOUND, "2 pictures lie in no class's folder");
    refuse("nothing", "x.txt", KD_E_NOTFOUND, "no pictures in");
}
END_TEST

/* How many there are, and what they are called. */
static void unlabelled(const char *name, const char *files, size_t train, size_t test,
                       size_t classes)
{
    journal j;
    kd_ctx *ctx = make_ctx(&j);
    char full[PATH + 8];
    kd_dataset *data;
    snprintf(full, sizeof full, "folder:%s", make(name, files));
    ck_assert_int_eq(kd_dataset_open(ctx, full, NULL, &data), KD_OK);
    const kd_data_info *info = kd_dataset_info(data);
    ck_assert(info->unlabelled);
    ck_assert_uint_eq(info->count[KD_SPLIT_TRAIN], train);
    ck_assert_uint_eq(info->count[KD_SPLIT_TEST], test);
    ck_assert_uint_eq(info->classes, classes);
    ck_assert_int_eq(info->class_names != NULL, test != 0);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}

START_TEST(test_unlabelled)
{
    unlabelled("u_root", "b.png a.jpg notes.txt", 2, 0, 1);
    unlabelled("u_train", "train/1.png train/2.png", 2, 0, 1);
    unlabelled("u_test", "1.png 2.png 3.png val/ant/1.png val/bee/1.png", 3, 2, 2);
    unlabelled("u_both", "train/1.png test/ant/1.png test/bee/1.png", 1, 2, 2);
    expect("u_said", "1.png val/ant/1.png val/bee/1.png", 0,
           "the 1 training picture lies in the folder itself, in no class's folder: without labels "
           "they serve distillation with a hard weight of 0 alone");
    expect(
        "u_none", "train/1.png train/2.png", 0,
        "the 2 training pictures lie in 'train', in no class's folder: without labels they serve "
        "distillation with a hard weight of 0 alone");
}
END_TEST

/* Tiny-ImageNet as it is published: what the error says to do makes it readable. */
START_TEST(test_tiny_imagenet)
{
    journal j;
    char command[2 * PATH];
    const char *files = "train/n01/images/n01_0.JPEG train/n01/n01_boxes.txt "
                        "train/n02/images/n02_0.JPEG val/images/val_0.JPEG val/images/val_1.JPEG "
                        "val/val_annotations.txt test/images/test_0.JPEG wnids.txt";
    refuse("tiny", files, KD_E_FORMAT,
           "there is no class 'images' in train. These are "
           "Tiny-ImageNet's");
    kd_ctx *ctx = make_ctx(&j);
    char root[PATH], name[PATH + 8], val[PATH + 8];
    snprintf(root, sizeof root, "%s", make("tinier", files));
    snprintf(val, sizeof val, "%s/val", root);
    static const char list[] = "val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t1\t2\t3\t4\n";
    files_write(val, "val_annotations.txt", list, sizeof list - 1);
    snprintf(name, sizeof name, "folder:%s", root);
    kd_dataset *data;
    ck_assert_int_eq(kd_dataset_open(ctx, name, NULL, &data), KD_E_FORMAT);
    const char *advice = strstr(kd_ctx_error(ctx), "while read");
    ck_assert_ptr_nonnull(advice);
    snprintf(command, sizeof command, "cd '%s' && %s", val, advice);
    ck_assert_int_eq(system(command), 0);
    data = open_folder(ctx, root);
    const kd_data_info *info = kd_dataset_info(data);
    ck_assert(info->count[KD_SPLIT_TRAIN] == 2 && info->count[KD_SPLIT_TEST] == 2);
    ck_assert_str_eq(info->class_names[1], "n02");
    ck_assert_int_eq(j.warnings, 0);
    kd_dataset_close(data);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- checksums ------------------------------------------------------------------------------- */

static uint64_t sum_of(kd_ctx *ctx, kd_dataset *data)
{
    uint64_t sum, again;
    test_ok(ctx, kd_dataset_checksum(data, &sum));
    test_ok(ctx, kd_dataset_checksum(data, &again));
    ck_assert_uint_eq(sum, again);
    kd_dataset_close(data);
    return sum;
}

/* Of a folder: the same wherever it lies and however it was typed; another for another name, size,
 * class or content. */
START_TEST(test_folder_checksum)
{
    journal j;
    kd_ctx *ctx = make_ctx(&j);
    char root[PATH], typed[2 * PATH];
    const char *files = GOOD "val/ant/1.png val/bee/2.png";
    snprintf(root, sizeof root, "%s", make("sum", files));
    const uint64_t sum = sum_of(ctx, open_folder(ctx, root));
    snprintf(typed, sizeof typed, "%s/../sum/.", root);
    ck_assert_uint_eq(sum_of(ctx, open_folder(ctx, typed)), sum);
    ck_assert_uint_eq(sum_of(ctx, open_folder(ctx, make("moved", files))), sum);
    const char *test = "train/ant/1.png train/bee/1.jpg test/ant/1.png test/bee/2.png";
    snprintf(root, sizeof root, "%s", make("test_for_val", test));
    /* the content of these files is their name */
    snprintf(typed, sizeof typed, "%s/test/ant", root);
    files_write(typed, "1.png", "val/ant/1.png", 13);
    snprintf(typed, sizeof typed, "%s/test/bee", root);
    files_write(typed, "2.png", "val/bee/2.png", 13);
    ck_assert_uint_eq(sum_of(ctx, open_folder(ctx, root)), sum);
    files_write(typed, "2.png", "val/bee/3.png", 13); /* as long, but another */
    ck_assert_uint_ne(sum_of(ctx, open_folder(ctx, root)), sum);
    static const char *const others[] = {
        GOOD "val/ant/1.png val/bee/3.png", GOOD "val/ant/1.png val/ant/2.png",
        GOOD "val/ant/1.png val/bee/2.png val/bee/3.png",
        GOOD "val/ant/1.png val/bee/2.png train/cat/", "train/ant/1.png val/ant/1.png"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char name[20];
        snprintf(name, sizeof name, "other%zu", i);
        ck_assert_uint_ne(sum_of(ctx, open_folder(ctx, make(name, others[i]))), sum);
    }
    /* Cancelled, there is no sum; and what is known needs no file. */
    kd_dataset *data = open_folder(ctx, make("again", files));
    uint64_t again;
    kd_ctx_cancel(ctx, 1);
    ck_assert_int_eq(kd_dataset_checksum(data, &again), KD_E_STOPPED);
    kd_ctx_cancel(ctx, 0);
    test_ok(ctx, kd_dataset_checksum(data, &again));
    ck_assert_uint_eq(again, sum);
    kd_ctx_cancel(ctx, 1);
    test_ok(ctx, kd_dataset_checksum(data, &again));
    kd_dataset_close(data);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

static uint64_t sum_of_pictures(kd_ctx *ctx, const char *one, const char *two)
{
    const char *const paths[] = {one, two};
    kd_dataset *data;
    test_ok(ctx, kd_dataset_from_pictures(ctx, paths, 2, &data));
    ck_assert_ptr_null(kd_dataset_info(data)->class_names);
    ck_assert_ptr_null(kd_dataset_note(data, 0));
    return sum_of(ctx, data);
}

/* Of single pictures: content and order, not the paths. */
START_TEST(test_pictures_checksum)
{
    journal j;
    kd_ctx *ctx = make_ctx(&j);
    char root[PATH], a[2 * PATH], b[2 * PATH], again[2 * PATH];
    snprintf(root, sizeof root, "%s", make("single", "a.png b.png c.png"));
    snprintf(a, sizeof a, "%s/a.png", root);
    snprintf(b, sizeof b, "%s/b.png", root);
    const uint64_t sum = sum_of_pictures(ctx, a, b);
    ck_assert_uint_ne(sum_of_pictures(ctx, b, a), sum);
    ck_assert_uint_ne(sum_of_pictures(ctx, a, a), sum);
    snprintf(again, sizeof again, "%s/../single/./a.png", root);
    ck_assert_uint_eq(sum_of_pictures(ctx, again, b), sum);
    char here[PATH];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    ck_assert_int_eq(chdir(root), 0);
    ck_assert_uint_eq(sum_of_pictures(ctx, "a.png", "./b.png"), sum);
    files_write(root, "c.png", "a.png", 5); /* a copy under another name */
    ck_assert_uint_eq(sum_of_pictures(ctx, "c.png", "b.png"), sum);
    files_write(root, "c.png", "a.pnh", 5);
    ck_assert_uint_ne(sum_of_pictures(ctx, "c.png", "b.png"), sum);
    ck_assert_uint_ne(sum_of_pictures(ctx, "gone.png", "b.png"), sum);
    ck_assert_int_eq(chdir(here), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- other sets ------------------------------------------------------------------------------ */

/* A network without a normalisation of its own takes the data's: said if it is a guess, once. */
static void expect_taken(kd_ctx *ctx, journal *j, const kd_data_info *info)
{
    kd_model *m;
    char line[200];
    test_ok(ctx, kd_model_create(ctx, "vgg2,width=0.0625,classes=2,image=8,channels=1", 1, &m));
    for (int i = 0; i < 2; i++) test_ok(ctx, kd_model_take_normalization(m, info));
    ck_assert_int_eq(j->infos, info->guess != NULL);
    snprintf(line, sizeof line, "%s: the network is normalised by %s", info->name, info->guess);
    ck_assert(!info->guess || strstr(j->all, line));
    kd_model_destroy(m);
}

/* The caller's own pictures: a normalisation nobody gave is told, and logged where a network takes
 * it, not where the pictures are opened. */
START_TEST(test_guess)
{
    static const char *const sentences[] = {
        "0.5 and 0.25, a guess: no mean and standard deviation were given",
        "a standard deviation of 0.25, a guess: none was given",
        "a mean of 0.5, a guess: none was given", NULL};
    static const float half = .5f;
    static const uint8_t pixel = 7;
    static const int32_t label = 0;
    for (int given = 0; given < 4; given++) {
        journal j;
        kd_ctx *ctx = make_ctx(&j);
        kd_dataset *data;
        const kd_data_info info = {.struct_size = sizeof info,
                                   .classes = 1,
                                   .height = 1,
                                   .width = 1,
                                   .channels = 1,
                                   .count = {1},
                                   .mean = given & 1 ? &half : NULL,
                                   .std = given & 2 ? &half : NULL};
        test_ok(ctx, kd_dataset_from_arrays(ctx, &info, (const uint8_t *const[]){&pixel, NULL},
                                            (const int32_t *const[]){&label, NULL}, 0, &data));
        const kd_data_info *told = kd_dataset_info(data);
        ck_assert_pstr_eq(told->guess, sentences[given]);
        ck_assert_int_eq(j.infos, 0);
        ck_assert_ptr_null(kd_dataset_note(data, 0));
        expect_taken(ctx, &j, told);
        ck_assert_str_eq(kd_dataset_framing(data), "none");
        kd_dataset_close(data);
        ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
        kd_ctx_destroy(ctx);
    }
    ck_assert_ptr_null(kd_dataset_note(NULL, 0));
}
END_TEST

START_TEST(test_out_of_memory)
{
    const char *root =
        make("report_memory", GOOD "train/1.png train/cat/ train/x.txt train/.y val/1.png valid/");
    char name[PATH + 8];
    snprintf(name, sizeof name, "folder:%s", root);
    bool done = false;
    for (long n = 1; !done; n++) {
        test_heap heap = {0};
        kd_ctx *ctx = test_ctx_counting(&heap, 1);
        const long before = heap.live;
        kd_dataset *data;
        heap.fail_at = heap.count + n;
        const kd_status status = kd_dataset_open(ctx, name, NULL, &data);
        done = heap.count < heap.fail_at;
        ck_assert_int_eq(status, done ? KD_OK : KD_E_NOMEM);
        kd_dataset_close(data);
        ck_assert_int_eq(heap.live, before);
        kd_ctx_destroy(ctx);
        ck_assert_int_lt(n, 200);
    }
}
END_TEST

TEST_SUITE(folder_report, 60, &test_splits, &test_passed_over, &test_refused, &test_unlabelled,
           &test_tiny_imagenet, &test_folder_checksum, &test_pictures_checksum, &test_guess,
           &test_out_of_memory)
