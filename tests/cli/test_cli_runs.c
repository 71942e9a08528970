/* SPDX-License-Identifier: MIT
 * test_cli_runs.c: what a training run of `kd` says before its first step, on its way and of its
 * end; what it records; what it leaves alone. Networks and data are tiny. */
#include "../spawn.h"

#include <kd/kd.h>

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DATA "synthetic:classes=4,image=16,train=250,test=96"
#define NET "vgg4_bn,width=0.125"
#define SMALL "vgg2_bn,width=0.25"
#define QUICK "--data", DATA, "--batch", "32", "--threads", "1"

static const char *kd(void)
{
    static test_path path;
    path = test_bin("kd");
    return path.text;
}

#define RUN(...) test_run(kd(), __VA_ARGS__)
#define RUN_OK(...) test_run_ok(kd(), __VA_ARGS__)

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void expect_not_in(const char *text, const char *part)
{
    ck_assert_msg(!strstr(text, part), "'%s' is in: %s", part, text);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static kd_json_object *parse(kd_ctx *ctx, const char *text, size_t size)
{
    kd_json_object *o;
    test_ok(ctx, kd_json_parse(ctx, text, size, &o));
    return o;
}

static kd_json_object *record(kd_ctx *ctx, const char *folder)
{
    static char text[TEST_MAX_TEXT];
    return parse(ctx, text, test_slurp(test_at(folder, "run.json").text, text));
}

static kd_json_object *inner(kd_ctx *ctx, const kd_json_object *o, const char *key)
{
    kd_json_object *in;
    test_ok(ctx, kd_json_get_object(o, key, &in));
    return in;
}

static double number(const kd_json_object *o, const char *key)
{
    double x = NAN;
    ck_assert_msg(kd_json_get_number(o, key, &x), "no number %s", key);
    return x;
}

static void expect_string(const kd_json_object *o, const char *key, const char *value)
{
    const char *text = kd_json_get_string(o, key);
    ck_assert_msg(text && !strcmp(text, value), "%s is %s, not %s", key, text ? text : "none",
                  value);
}

/* The hash of the network in a file, as texts have it. */
static const char *hash_of(kd_ctx *ctx, const char *path)
{
    static char text[20];
    kd_model *m;
    uint64_t hash;
    test_ok(ctx, kd_model_load(ctx, path, NULL, &m));
    test_ok(ctx, kd_model_hash(m, &hash));
    kd_model_destroy(m);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return text;
}

/* A teacher of 4 classes, made once in each test that wants it. */
static test_path teacher(void)
{
    const test_path folder = test_in_dir("runs_teacher");
    if (!exists(folder.text))
        RUN_OK("train", NET, QUICK, "--epochs", "2", "--out", folder.text, "--quiet");
    return test_at(folder.text, "model.safetensors");
}

/* ---- before the first step ------------------------------------------------------------------- */

/* "12.3 ms", "4 s" or "1 min 02 s" behind these words. */
static double seconds_behind(const char *text, const char *words)
{
    const char *at = strstr(text, words);
    char *end;
    ck_assert_msg(at != NULL, "no %s in %s", words, text);
    const double number = strtod(at + strlen(words), &end);
    return !strncmp(end, " ms", 3)    ? number * 1e-3
           : !strncmp(end, " min", 4) ? number * 60
                                      : number;
}

START_TEST(test_header)
{
    /* 250 = 7 * 32 + 26 pictures are 8 steps; the network's numbers are counted by hand: 3 * 8 * 9
     * weights of the first convolution and so on */
    RUN_OK("train", NET, QUICK, "--epochs", "3", "--lr", "0.05", "--schedule", "onecycle");
    static const char *const says[] = {
        "train=250,test=96,seed=0: 250 training and 96 test pictures, 4 classes, 16x16x3\n",
        "the last batch of an epoch has 26 pictures\n",
        "width=0.125,pool4=1: 6.28 k parameters, 203 k MACs a picture\n",
        "loss        CE\n",
        "sgd, onecycle rate up to 0.05, Nesterov momentum 0.9, weight decay 0.0005\n",
        "32 pictures; 8 steps an epoch, 24 in all\n",
        "augment     crop:4+flip\n",
        "memory      about ",
        "by one forward pass of 32 pictures",
        "run 33 %, epoch 1/3: loss ",
        "run 100 %, epoch 3/3: loss "};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) test_expect_in(test_err, says[i]);
    ck_assert(strstr(test_err, "memory ") < strstr(test_err, "epoch 1/3"));
    /* what is estimated, and what it took: a busy machine is no fault, another formula is one */
    const double about = seconds_behind(test_err, "time        about "),
                 took = seconds_behind(test_out, "time        ");
    ck_assert_msg(about < 150 * took && took < 150 * about, "%g s and %g s", about, took);

    RUN_OK("train", NET, QUICK, "--epochs", "3", "--max-steps", "7", "--drop-last", "--optimizer",
           "adamw", "--schedule", "constant", "--lr", "0.002", "--label-smoothing", "0.1",
           "--accumulate", "2", "--clip", "1", "--ema", "0.5", "--dev-count", "60", "--json");
    static const char *const other[] = {
        "60 of the training pictures are set aside for development\n",
        "an epoch leaves out 30 pictures: its last batch would be short\n", /* 190 - 5 * 32 */
        "CE; labels smoothed by 0.1\n",
        "adamw, constant rate 0.002, betas 0.9 0.999, weight decay 0.05, clipped at 1, averaged by "
        "0.5\n",
        "32 pictures, 2 batches make a step; 3 steps an epoch, 7 in all\n"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) test_expect_in(test_err, other[i]);

    RUN_OK("train", NET, QUICK, "--budget-seconds", "0.1");
    test_expect_in(test_err, "(--budget-seconds); the test comes on top\n");
    RUN_OK("train", NET, QUICK, "--epochs", "1", "--quiet");
    ck_assert_str_eq(test_err, "");
}
END_TEST

START_TEST(test_header_of_teachers)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m;
    const float half[] = {.5f, .5f, .5f};
    const test_path trained = teacher(), bare = test_in_dir("bare.safetensors");
    const test_path named = test_in_dir("named.safetensors");
    static const char *const names[] = {"oak", "elm", "ash", "fir"};
    test_ok(ctx, kd_model_create(ctx, NET ",classes=4,image=16", 1, &m));
    test_ok(ctx, kd_model_save(m, bare.text));
    test_ok(ctx, kd_model_set_normalization(m, half, half));
    test_ok(ctx, kd_model_set_data(m, "trees", 0x1234));
    test_ok(ctx, kd_model_set_class_names(m, names));
    test_ok(ctx, kd_model_save(m, named.text));
    kd_model_destroy(m);

    RUN_OK("distill", SMALL, QUICK, "--epochs", "1", "--teacher", trained.text);
    test_expect_in(test_err, "teacher     vgg4_bn,classes=4");
    test_expect_in(test_err, "teacher/model.safetensors\n");
    test_expect_in(test_err, "0.1 CE + 0.9 T^2 KL, T 4\n");
    test_expect_in(test_err, "and the teachers'");
    test_expect_in(test_err, "epoch 1/1: loss ");
    test_expect_in(test_err, ", teacher top-1 ");
    test_expect_in(test_err, " %, agreement ");
    expect_not_in(test_err, "is a guess");
    expect_not_in(test_err, "other data");

    RUN_OK("distill", SMALL, QUICK, "--epochs", "1", "--teacher", bare.text, "--method", "dkd",
           "--dkd-warmup", "1");
    test_expect_in(test_err, "its normalisation is a guess");
    test_expect_in(test_err, "its classes have no names to compare");
    test_expect_in(test_err, "1 CE + 1 T^2 (1 TCKD + 8 NCKD), T 4, the second part rising for 1 ");

    RUN_OK("distill", "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=24,depth=1,heads=2",
           QUICK, "--max-steps", "1", "--teacher", trained.text);
    test_expect_in(test_err, "; CE by the class token's head, the rest by the distillation ");

    RUN("distill", SMALL, QUICK, "--epochs", "1", "--teacher", named.text, "--method", "hard",
        "--hard", "0");
    test_expect_in(test_err, "it was trained on other data: trees, checksum 0000000000001234; ");
    test_expect_in(test_err, "its classes are other ones: ");
    test_expect_in(test_err, "0 CE + 0.5 CE with the teacher's class\n");
    expect_not_in(test_err, "is a guess");
    kd_ctx_destroy(ctx);
}
END_TEST

/* "memory      about 12.3 MiB" and "memory      12.3 MiB at most". */
static double mebibytes(const char *text, const char *before)
{
    const char *at = strstr(text, before);
    char *unit;
    ck_assert_msg(at != NULL, "no '%s' in %s", before, text);
    const double x = strtod(at + strlen(before), &unit);
    ck_assert_msg(strncmp(unit, " MiB", 4) == 0, "%s", at);
    return x;
}

START_TEST(test_memory_beforehand)
{
    const test_path trained = test_in_dir("runs_wide");
    RUN_OK("train", "vgg4_bn,width=2", QUICK, "--max-steps", "1", "--out", trained.text, "-q");
    RUN_OK("distill", "vgg4_bn,width=0.5", "--teacher", trained.text, "--data", DATA, "--batch",
           "128", "--max-steps", "1", "--optimizer", "adamw", "--ema", "0.5");
    const double about = mebibytes(test_err, "memory      about ");
    const double most = mebibytes(test_out, "memory      ");
    ck_assert_msg(fabs(about / most - 1) < .2, "about %g MiB were %g MiB", about, most);
}
END_TEST

/* ---- on its way ------------------------------------------------------------------------------ */

START_TEST(test_progress_as_objects)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path trained = teacher(), out = test_in_dir("objects");
    size_t steps = 0, epochs = 0;
    RUN_OK("distill", SMALL, QUICK, "--epochs", "2", "--teacher", trained.text, "--log-steps", "3",
           "--out", out.text, "--json");
    ck_assert_uint_eq(test_lines(test_out), 1);
    for (const char *line = test_err; *line; line = strchr(line, '\n') + 1) {
        if (*line != '{') continue;
        kd_json_object *o = parse(ctx, line, strcspn(line, "\n"));
        const char *event = kd_json_get_string(o, "event");
        const bool epoch = !strcmp(event, "epoch");
        ck_assert_msg(epoch || !strcmp(event, "step"), "%s", event);
        steps += !epoch;
        epochs += epoch;
        ck_assert(number(o, "steps_in_all") == 16 && number(o, "epochs_in_all") == 2);
        ck_assert_double_eq_tol(number(o, "epochs"), number(o, "step") / 8, 1e-12);
        if (epoch)
            ck_assert(number(o, "step") == 8 * (double)epochs &&
                      number(o, "epoch") == (double)epochs);
        else
            ck_assert(number(o, "step") == 3 * (double)steps);
        /* 0.1 CE + 0.9 T^2 KL, each a mean over the epoch so far */
        const bool e = epoch;
        ck_assert_double_eq_tol(number(o, e ? "loss" : "epoch_loss"),
                                .1 * number(o, e ? "loss_hard" : "epoch_loss_hard") +
                                    .9 * number(o, e ? "loss_soft" : "epoch_loss_soft"),
                                1e-5);
        ck_assert(number(o, e ? "teacher_accuracy" : "epoch_teacher_accuracy") >= 0);
        ck_assert(number(o, e ? "agreement" : "epoch_agreement") <= 100);
        ck_assert(number(o, e ? "skipped" : "epoch_skipped") == 0 && number(o, "lr") > 0);
        ck_assert_ptr_null(strstr(line, "dev_top1")); /* there is no such split */
        kd_json_object_destroy(o);
    }
    ck_assert_uint_eq(epochs, 2);
    ck_assert_uint_eq(steps, 5); /* 3, 6, 9, 12, 15 */
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- its end --------------------------------------------------------------------------------- */

/* One object of these on standard output, one line on standard error. */
static void expect_failure(kd_ctx *ctx, int status, int code, const char *says)
{
    ck_assert_msg(status == code, "exit status %d: %s", status, test_err);
    ck_assert_uint_eq(test_lines(test_out), 1);
    kd_json_object *o = parse(ctx, test_out, strlen(test_out));
    ck_assert(number(o, "status") == code);
    test_expect_in(kd_json_get_string(o, "error"), says);
    test_expect_in(test_err, says);
    kd_json_object_destroy(o);
}

START_TEST(test_failure_as_an_object)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path odd = test_in_dir("odd\"\\\n\xff.safetensors");
    expect_failure(ctx, RUN("train", "vgg8", "--data", "cifar-11", "--json"), 1, "cifar-11");
    expect_failure(ctx, RUN("eval", "/nowhere/f", "--data", DATA, "--json"), 1, "/nowhere/f");
    expect_failure(ctx, RUN("inspect", odd.text, "--json"), 1, "odd\"\\\\x0a\\xff");
    expect_failure(ctx,
                   RUN("train", "vgg4,width=0.125", QUICK, "--lr", "90000", "--epochs", "3",
                       "--quiet", "--json"),
                   1, "step ");
    expect_failure(ctx, RUN("train", "vgg8", "--epochs", "x", "--json"), 2, "--epochs x");
    expect_failure(ctx, RUN("train", "vgg8", "--json", "--nothing"), 2, "--nothing");
    expect_failure(ctx, RUN("cache", "mend", "folder", "--json"), 2, "'mend' is none of");
    ck_assert_int_eq(RUN("train", "vgg8", "--epochs", "x"), 2);
    ck_assert_str_eq(test_out, "");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_failure_is_recorded)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path out = test_in_dir("failed");
    ck_assert_int_eq(RUN("train", "vgg4,width=0.125", QUICK, "--lr", "90000", "--epochs", "3",
                         "--quiet", "--out", out.text),
                     1);
    kd_json_object *o = record(ctx, out.text);
    expect_string(o, "status", "failed");
    test_expect_in(kd_json_get_string(o, "error"), "step ");
    ck_assert_ptr_nonnull(kd_json_get_string(o, "ended"));
    kd_json_object_destroy(o);

    /* the first step ruins the weights, the other seven of the epoch are skipped */
    ck_assert_int_eq(RUN("train", "vgg4,width=0.125", QUICK, "--lr", "90000", "--schedule",
                         "constant", "--epochs", "3", "--on-nan", "skip", "--out", out.text,
                         "--overwrite"),
                     1);
    test_expect_in(test_err, " steps skipped");
    o = record(ctx, out.text);
    expect_string(o, "status", "failed");
    kd_json_object *r = inner(ctx, o, "result");
    double x;
    ck_assert(number(r, "skipped") >= 8 && number(r, "steps") > number(r, "skipped"));
    ck_assert(!kd_json_get_number(r, "top1", &x) && !kd_json_get_string(r, "network_hash"));
    kd_json_object_destroy(r);
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- the record ------------------------------------------------------------------------------ */

START_TEST(test_record)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path trained = teacher(), out = test_in_dir("recorded");
    const test_path other = test_in_dir("other_teacher");
    const test_path files[] = {trained, test_at(other.text, "model.safetensors")};
    char key[40], real[4200];
    uint64_t checksum;
    kd_dataset *data;
    kd_model *start;
    RUN_OK("train", SMALL, QUICK, "--max-steps", "1", "--seed", "8", "--out", other.text,
           "--quiet");
    RUN_OK("distill", SMALL, QUICK, "--epochs", "2", "--teacher", trained.text, files[1].text,
           "--teacher-weight", "1", "3", "--out", out.text, "--quiet", "--seed", "5", "--no-test");
    kd_json_object *o = record(ctx, out.text), *r = inner(ctx, o, "rerun");
    expect_string(o, "status", "done");
    expect_string(o, "version", kd_version());
    ck_assert_ptr_nonnull(kd_json_get_string(o, "commit"));
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_nonnull(realpath(i ? files[1].text : trained.text, real));
        snprintf(key, sizeof key, "teacher%d", i);
        expect_string(r, key, real);
        snprintf(key, sizeof key, "teacher%d_hash", i);
        expect_string(r, key, hash_of(ctx, files[i].text));
        snprintf(key, sizeof key, "teacher%d_weight", i);
        ck_assert(number(r, key) == 1 + 2 * i);
    }
    ck_assert_ptr_nonnull(realpath(out.text, real));
    expect_string(o, "out", real);
    ck_assert_ptr_nonnull(getcwd(real, sizeof real));
    expect_string(r, "directory", real);

    /* the start is a function of spec and seed */
    test_ok(ctx, kd_model_create(ctx, SMALL ",classes=4,image=16", 5, &start));
    test_ok(ctx, kd_model_save(start, test_in_dir("start.safetensors").text));
    kd_model_destroy(start);
    expect_string(r, "start_hash", hash_of(ctx, test_in_dir("start.safetensors").text));
    kd_json_object_destroy(r);

    r = inner(ctx, o, "result");
    expect_string(r, "network_hash", hash_of(ctx, test_at(out.text, "model.safetensors").text));
    double x;
    ck_assert(!kd_json_get_number(r, "top1", &x)); /* null: no test */
    ck_assert(!kd_json_get_number(r, "best_epoch", &x));
    ck_assert(number(r, "epochs") == 2 && number(r, "steps") == 16 && number(r, "skipped") == 0);
    ck_assert(number(r, "teacher_top1") > 0 && number(r, "agreement") >= 0);
    kd_json_object_destroy(r);

    r = inner(ctx, o, "data");
    test_ok(ctx, kd_dataset_open(ctx, DATA, NULL, &data));
    test_ok(ctx, kd_dataset_checksum(data, &checksum));
    kd_dataset_close(data);
    snprintf(key, sizeof key, "%016llx", (unsigned long long)checksum);
    expect_string(r, "checksum", key);
    kd_json_object_destroy(r);
    kd_json_object_destroy(o);

    static char text[TEST_MAX_TEXT];
    test_slurp(test_at(out.text, "run.json").text, text);
    test_expect_in(text, "\"class_names\": [\n      \"class0\",\n      \"class1\",");
    test_expect_in(text, "\"weight\": 0.25");
    test_expect_in(text, "\"KD_ISA\": ");
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- folders --------------------------------------------------------------------------------- */

static const char *const files[] = {"model.safetensors", "checkpoint.safetensors", "metrics.jsonl",
                                    "run.json"};
enum { FILES = sizeof files / sizeof *files };

typedef struct bytes {
    char *at[FILES];
    size_t size[FILES];
    struct timespec written[FILES];
} bytes;

static bytes read_files(kd_ctx *ctx, const char *folder)
{
    bytes b;
    for (size_t i = 0; i < FILES; i++) {
        struct stat about;
        const test_path path = test_at(folder, files[i]);
        test_ok(ctx, kd_file_read_all(ctx, path.text, 1 << 28, &b.at[i], &b.size[i]));
        ck_assert_int_eq(stat(path.text, &about), 0);
        b.written[i] = about.st_mtim;
    }
    return b;
}

static void expect_untouched(kd_ctx *ctx, const bytes *was, const char *folder)
{
    bytes now = read_files(ctx, folder);
    for (size_t i = 0; i < FILES; i++) {
        ck_assert_msg(was->size[i] == now.size[i] && !memcmp(was->at[i], now.at[i], now.size[i]) &&
                          was->written[i].tv_sec == now.written[i].tv_sec &&
                          was->written[i].tv_nsec == now.written[i].tv_nsec,
                      "%s was written", files[i]);
        kd_ctx_free(ctx, now.at[i]);
    }
}

START_TEST(test_finished_run_stays)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path out = test_in_dir("stays");
    const test_path model = test_at(out.text, "model.safetensors");
    RUN_OK("train", NET, QUICK, "--epochs", "2", "--out", out.text, "--quiet");
    bytes was = read_files(ctx, out.text);
    ck_assert_int_eq(RUN("train", NET, QUICK, "--epochs", "2", "--out", out.text, "--quiet"), 1);
    test_expect_in(test_err, "--resume goes on with a run, --overwrite replaces it");
    ck_assert_uint_eq(test_lines(test_err), 1);
    expect_untouched(ctx, &was, out.text);
    ck_assert_int_eq(RUN("finetune", model.text, QUICK, "--out", out.text, "--quiet"), 1);
    expect_untouched(ctx, &was, out.text);
    ck_assert_int_eq(RUN("distill", SMALL, "--teacher", model.text, QUICK, "--out", out.text), 1);
    expect_untouched(ctx, &was, out.text);
    ck_assert_int_eq(RUN("rerun", out.text, "--quiet"), 2);
    ck_assert_int_eq(RUN("rerun", out.text, "--out", out.text, "--quiet"), 1);
    expect_untouched(ctx, &was, out.text);
    /* a resume with other options, or from another start, is no resume */
    ck_assert_int_eq(RUN("train", NET, QUICK, "--epochs", "2", "--lr", "0.02", "--out", out.text,
                         "--resume", "--quiet"),
                     1);
    test_expect_in(test_err, "lr");
    expect_untouched(ctx, &was, out.text);
    RUN_OK("train", NET, QUICK, "--epochs", "2", "--seed", "9", "--out", out.text, "--quiet",
           "--overwrite");
    for (size_t i = 0; i < FILES; i++) kd_ctx_free(ctx, was.at[i]);
    kd_ctx_destroy(ctx);
}
END_TEST

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

START_TEST(test_two_runs_in_a_folder)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path out = test_in_dir("shared");
    const test_path run_json = test_at(out.text, "run.json");
    const pid_t pid = test_start(
        TEST_WORDS(kd(), "train", NET, QUICK, "--epochs", "100000", "--out", out.text, "--quiet"),
        NULL, NULL);
    for (int i = 0; i < 5000 && !exists(run_json.text); i++) nap();
    ck_assert_int_eq(
        RUN("train", NET, QUICK, "--epochs", "2", "--out", out.text, "--quiet", "--overwrite"), 1);
    test_expect_in(test_err, "another run is writing there");
    kd_json_object *o = record(ctx, out.text);
    expect_string(o, "status", "running");
    kd_json_object_destroy(o);
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    ck_assert_int_eq(test_finish(pid), 130);
    o = record(ctx, out.text);
    expect_string(o, "status", "interrupted");
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
}
END_TEST

/* With a constant rate two epochs and one more are three, bit for bit. */
START_TEST(test_prolonged)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char three[20];
    const test_path a = test_in_dir("three"), b = test_in_dir("two_and_one");
    const test_path model = test_at(b.text, "model.safetensors");
    RUN_OK("train", NET, QUICK, "--schedule", "constant", "--epochs", "3", "--out", a.text, "-q");
    RUN_OK("train", NET, QUICK, "--schedule", "constant", "--epochs", "2", "--out", b.text, "-q");
    snprintf(three, sizeof three, "%s", hash_of(ctx, test_at(a.text, "model.safetensors").text));
    ck_assert_str_ne(three, hash_of(ctx, model.text));
    RUN_OK("train", NET, QUICK, "--schedule", "constant", "--epochs", "3", "--out", b.text, "-q",
           "--resume");
    ck_assert_str_eq(three, hash_of(ctx, model.text));
    kd_json_object *o = record(ctx, b.text), *r = inner(ctx, o, "options");
    ck_assert(number(r, "epochs") == 3);
    kd_json_object_destroy(r);
    r = inner(ctx, o, "result");
    ck_assert(number(r, "epochs") == 3 && number(r, "steps") == 24);
    expect_string(r, "network_hash", three);
    kd_json_object_destroy(r);
    kd_json_object_destroy(o);
    /* a schedule that ends cannot be prolonged */
    RUN_OK("train", NET, QUICK, "--epochs", "2", "--out", b.text, "-q", "--overwrite");
    ck_assert_int_eq(RUN("train", NET, QUICK, "--epochs", "3", "--out", b.text, "-q", "--resume"),
                     1);
    test_expect_in(test_err, "epochs");
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_keep_best)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path out = test_in_dir("best");
    RUN_OK("train", NET, QUICK, "--epochs", "4", "--dev-count", "60", "--keep", "best", "--out",
           out.text);
    const char *at = strstr(test_out, ", the best, is kept)");
    ck_assert_msg(at != NULL, "%s", test_out);
    ck_assert(exists(test_at(out.text, "last.safetensors").text));
    kd_json_object *o = record(ctx, out.text), *r = inner(ctx, o, "result");
    const double top1 = number(r, "dev_top1");
    ck_assert(number(r, "best_epoch") >= 1 && number(r, "best_epoch") <= 4);
    kd_json_object_destroy(r);
    kd_json_object_destroy(o);
    RUN_OK("eval", test_at(out.text, "model.safetensors").text, "--data", DATA, "--split", "dev",
           "--dev-count", "60", "--json");
    o = parse(ctx, test_out, strlen(test_out));
    ck_assert_double_eq_tol(number(o, "top1"), top1, 1e-9);
    kd_json_object_destroy(o);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- a student that is trained already ------------------------------------------------------- */

START_TEST(test_from_a_file)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path trained = teacher(), a = test_in_dir("first"), b = test_in_dir("second");
    const test_path c = test_in_dir("third"), model = test_at(a.text, "model.safetensors");
    char hash[20];
    RUN_OK("train", SMALL, QUICK, "--epochs", "1", "--out", a.text, "--quiet");
    snprintf(hash, sizeof hash, "%s", hash_of(ctx, model.text));
    RUN_OK("distill", model.text, "--teacher", trained.text, QUICK, "--epochs", "1", "--out",
           b.text);
    test_expect_in(test_err, "first/model.safetensors\n"); /* the student's file, in the header */
    RUN_OK("finetune", a.text, "--teacher", trained.text, QUICK, "--epochs", "1", "--out", c.text,
           "--quiet");
    const test_path out[] = {b, c};
    for (size_t i = 0; i < 2; i++) {
        kd_json_object *o = record(ctx, out[i].text), *r = inner(ctx, o, "rerun");
        expect_string(r, "start_hash", hash); /* it goes on with what the file holds */
        ck_assert_ptr_nonnull(kd_json_get_string(r, "file"));
        ck_assert_ptr_null(kd_json_get_string(r, "spec"));
        kd_json_object_destroy(r);
        r = inner(ctx, o, "options");
        ck_assert_double_eq_tol(number(r, "lr"), kd_option_find("lr")->tuned[KD_OPTIMIZER_SGD],
                                1e-9);
        kd_json_object_destroy(r);
        kd_json_object_destroy(o);
    }
    /* both are the same run */
    snprintf(hash, sizeof hash, "%s", hash_of(ctx, test_at(b.text, "model.safetensors").text));
    ck_assert_str_eq(hash, hash_of(ctx, test_at(c.text, "model.safetensors").text));
    RUN_OK("distill", model.text, "--teacher", trained.text, QUICK, "--epochs", "1", "--out",
           b.text, "--quiet", "--overwrite", "--reset-head");
    ck_assert_str_ne(hash, hash_of(ctx, test_at(b.text, "model.safetensors").text));
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_refused_options)
{
    const test_path trained = teacher();
    static const struct {
        const char *words[6], *says;
    } cases[] = {
        {{"--alpha", "2"}, "--alpha: "},
        {{"--beta", "2", "--method", "hard"}, "--beta: "},
        {{"--temperature", "2", "--method", "hard"}, "--temperature: "},
        {{"--dkd-warmup", "2"}, "--dkd-warmup: "},
        {{"--beta1", "0.5", "--optimizer", "sgd"}, "--beta1: "},
        {{"--momentum", "0.5", "--optimizer", "adamw"}, "--momentum: "},
        {{"--min-lr", "0.001", "--schedule", "constant"}, "--min-lr: "},
        {{"--keep", "best"}, "--keep: "},
        {{"--log-steps", "3"}, "--log-steps: "},
        {{"--epochs", "3", "--budget-seconds", "2"}, "--budget-seconds"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *w = cases[i].words;
        const int status = RUN("distill", SMALL, "--teacher", trained.text, "--data", DATA, w[0],
                               w[1], w[2], w[3], w[4], w[5]);
        ck_assert_msg(status == 2, "case %zu: exit status %d: %s", i, status, test_err);
        ck_assert_uint_eq(test_lines(test_err), 1);
        test_expect_in(test_err, cases[i].says);
    }
    ck_assert_int_eq(RUN("distill", SMALL, "--teacher", trained.text, "--alpha", "2"), 2);
    test_expect_in(test_err, "dkd");
}
END_TEST

TEST_SUITE(cli_runs, 120, &test_header, &test_header_of_teachers, &test_memory_beforehand,
           &test_progress_as_objects, &test_failure_as_an_object, &test_failure_is_recorded,
           &test_record, &test_finished_run_stays, &test_two_runs_in_a_folder, &test_prolonged,
           &test_keep_best, &test_from_a_file, &test_refused_options)
