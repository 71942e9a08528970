/* SPDX-License-Identifier: MIT
 * test_cli_pictures.c: the command `kd` on picture files: train, eval and predict, --augment,
 * --skip-broken. */
#include "../spawn.h"

#include "../model/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#if KDI_JPEG && KDI_PNG

enum { TEXT = 1 << 16, PATH = 600 };
static char err_text[TEXT], out_text[TEXT];

static void slurp(const char *name, char *text)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, TEXT - 1, f)] = 0;
    fclose(f);
}

/* Words as a shell reads them, run in a folder of the tests' folder; the exit status. */
static int run_in(const char *folder, const char *words)
{
    static char bin[4096], command[8192];
    const test_path kd = test_bin("kd");
    ck_assert_msg(realpath(kd.text, bin) != NULL, "there is no %s", kd.text);
    snprintf(command, sizeof command, "cd '%s/%s' && '%s' %s >'%s/stdout' 2>'%s/stderr'",
             test_dir(), folder, bin, words, test_dir(), test_dir());
    const int status = system(command);
    ck_assert(WIFEXITED(status));
    slurp("stderr", err_text);
    slurp("stdout", out_text);
    return WEXITSTATUS(status);
}

static int run(const char *words)
{
    return run_in(".", words);
}

static void must_in(const char *folder, const char *words)
{
    const int status = run_in(folder, words);
    ck_assert_msg(status == 0, "kd %s: %d: %s", words, status, err_text);
}

static void must(const char *words)
{
    must_in(".", words);
}

static void expect(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "no '%s' in: %s", part, text);
}

static void make_folder(const char *name)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void put(const golden *g, const char *form, const char *name)
{
    char path[PATH];
    const kd_file_tensor *t = golden_find(g, "file.%s", form);
    ck_assert_ptr_nonnull(t);
    uint8_t *bytes = malloc(t->count);
    test_ok(g->ctx, kd_file_read_bytes(g->file, t, 0, t->count, bytes));
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    test_ok(g->ctx, kd_file_write_atomic(g->ctx, path, bytes, t->count));
    free(bytes);
}

static void make_set(const golden *g)
{
    static const char *const forms[] = {"jpeg_444", "jpeg_420", "png_rgb", "jpeg_grey"};
    make_folder("shown");
    make_folder("shown/train");
    make_folder("shown/val");
    for (int c = 0; c < 2; c++) {
        char name[100];
        snprintf(name, sizeof name, "shown/train/c%d", c);
        make_folder(name);
        snprintf(name, sizeof name, "shown/val/c%d", c);
        make_folder(name);
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "shown/train/c%d/%d.jpg", c, i);
            put(g, forms[i], name);
            snprintf(name, sizeof name, "shown/val/c%d/%d.jpg", c, i);
            put(g, forms[3 - i], name);
        }
    }
}

START_TEST(test_pictures)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    golden g = golden_open(ctx, "pictures.safetensors");
    make_set(&g);
    must("train vgg4_bn,width=0.125 --image 16 --data folder:shown --epochs 1 --batch 4 --out run "
         "--quiet --augment rrc+flip+mixup=0.2");
    slurp("run/run.json", out_text);
    expect(out_text, "\"augment\": \"rrc+flip+mixup=0.2\"");
    expect(out_text, "\"augmentation\": \"rrc:0.08+flip+mixup:0.2\"");
    must("inspect run/model.safetensors --json");
    expect(out_text, "\"framing\":\"centre:0.875+bilinear\"");
    /* a network is evaluated as it was trained where nothing of that was left to chance */
    must(
        "train vgg4_bn,width=0.125 --image 16 --data folder:shown --epochs 1 --batch 4 --out plain "
        "--quiet --augment none --no-test");
    must("inspect plain/model.safetensors --json");
    expect(out_text, "\"framing\":\"centre:1\"");
    /* no run within the data: its folder would be a class */
    ck_assert_int_eq(run("train vgg4_bn,width=0.125 --image 16 --data folder:shown --epochs 1 "
                         "--quiet --out shown/train/run"),
                     1);
    expect(err_text, "lies in the data");
    ck_assert_int_eq(run("train vgg4_bn,width=0.125 --image 16 --data folder:shown --epochs 1 "
                         "--quiet --out shown/train/c0/../new/run"),
                     1);
    expect(err_text, "lies in the data");
    /* again, from another directory, by the folder's absolute path */
    make_folder("elsewhere");
    must_in("elsewhere", "rerun ../run --check --quiet --json");
    expect(out_text, "\"same_bits\":true");
    must("eval run/model.safetensors --data folder:shown --json");
    expect(out_text, "\"n\":8");
    must("eval run/model.safetensors --data folder:shown --augment centre:0.9+bicubic --json");
    /* a prediction is what the evaluation saw: three files, two commands */
    must("predict run/model.safetensors shown/val/c0/0.jpg shown/val/c0/1.jpg shown/val/c1/2.jpg "
         "out "
         "--batch 2 --json");
    expect(out_text, "\"n\":3");
    must("predict run/model.safetensors shown/val/c0/1.jpg one");
    char path[PATH];
    kd_file *all, *one;
    float a[6], b[2];
    snprintf(path, sizeof path, "%s/out", test_dir());
    test_ok(ctx, kd_file_open(ctx, path, &all));
    snprintf(path, sizeof path, "%s/one", test_dir());
    test_ok(ctx, kd_file_open(ctx, path, &one));
    test_ok(ctx, kd_file_read_f32(all, kd_file_find(all, "logits"), 0, 6, a));
    test_ok(ctx, kd_file_read_f32(one, kd_file_find(one, "logits"), 0, 2, b));
    ck_assert_double_lt(test_distance(a + 2, b, 2), 1e-5);
    kd_file_close(all);
    kd_file_close(one);
    /* a broken file: named; left out if asked; a broken one alone is an error all the same */
    test_ok(ctx, kd_file_write_atomic(
                     ctx, (snprintf(path, PATH, "%s/shown/val/c1/9.jpg", test_dir()), path),
                     "\xFF\xD8\xFF\xE0 and so on", 14));
    ck_assert_int_eq(run("eval run/model.safetensors --data folder:shown"), 1);
    expect(err_text, "shown/val/c1/9.jpg");
    must("eval run/model.safetensors --data folder:shown --skip-broken --json");
    expect(out_text, "\"n\":8");
    expect(err_text, "shown/val/c1/9.jpg");
    expect(err_text, "1 broken picture was left out");
    must("finetune run --data folder:shown --skip-broken --epochs 1 --batch 4 --quiet --out tuned");
    slurp("tuned/run.json", out_text);
    expect(out_text, "\"broken\": 1");
    ck_assert_int_eq(run("predict run/model.safetensors shown/val/c1/9.jpg out"), 1);
    expect(err_text, "shown/val/c1/9.jpg");
    ck_assert_int_eq(run("predict run/model.safetensors out out other"), 1);
    expect(err_text, "only pictures may be several");
    ck_assert_int_eq(run("predict run/model.safetensors out"), 2);
    golden_close(&g);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(cli_pictures, 60, &test_pictures)
#else
START_TEST(test_pictures)
{
    ck_assert(!(KDI_JPEG && KDI_PNG));
}
END_TEST

TEST_SUITE(cli_pictures, 60, &test_pictures)
#endif
