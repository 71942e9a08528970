/* SPDX-License-Identifier: MIT
 * test_blas.c: a context looks at its BLAS before it trusts it: what it computes, and whether it can
 * be kept to one thread. The command is run
 * with BLASes preloaded that are wrong in several ways (wrong_blas.c): each is found, said in the
 * log and in run.json, and the run has the numbers of the built-in products. */
#include "../spawn.h"

#include <kd/kd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

static kd_ctx *ctx_with(const char *blas, kd_status want)
{
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config, .threads = 1, .blas = blas};
    const kd_status status = kd_ctx_create(&config, &ctx);
    ck_assert_msg(status == want, "%s: %s", blas, kd_status_name(status));
    return ctx;
}

/* In a build without OpenBLAS there is nothing to check. */
START_TEST(test_what_a_context_says)
{
    const bool built = !strstr(kd_build_info(), "blas=builtin");
    kd_ctx *ctx = ctx_with("", KD_OK);
    if (built)
        ck_assert(begins(kd_ctx_blas(ctx), "openblas ") ||
                  begins(kd_ctx_blas(ctx), "builtin: OpenBLAS "));
    else
        ck_assert_str_eq(kd_ctx_blas(ctx), "builtin");
    ck_assert(built == begins(kd_blas_config(), "OpenBLAS "));
    ck_assert(built == (*kd_blas_core() != 0));
    kd_ctx_destroy(ctx);
    ctx = ctx_with("builtin", KD_OK);
    ck_assert_str_eq(kd_ctx_blas(ctx), "builtin");
    kd_ctx_destroy(ctx);
    kd_ctx_destroy(ctx_with("openblas", built ? KD_OK : KD_E_UNSUPPORTED));
    ctx_with("mkl", KD_E_UNSUPPORTED);
    setenv("KD_BLAS", "mkl", 1);
    ctx_with(NULL, KD_E_UNSUPPORTED);
    unsetenv("KD_BLAS");
}
END_TEST

#if KDI_OPENBLAS && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* A training run in a folder of its own whose products are OpenBLAS's; what it said. */
static void run(const char *environment, const char *folder, char *said, size_t size)
{
    char command[10000];
    const test_path kd = test_bin("kd"), wrong = test_bin("wrong_blas.so");
    ck_assert_int_lt(snprintf(command, sizeof command,
                              "%s%s %s train vgg2,width=0.0625,head=fc4096 --data "
                              "synthetic:classes=10,image=32,train=256,test=16 --batch 256 "
                              "--max-steps 1 --quiet --threads 2 --out %s/%s 2>&1",
                              strstr(environment, "WRONG_BLAS") ? "LD_PRELOAD=" : "",
                              strstr(environment, "WRONG_BLAS") ? wrong.text : "", kd.text,
                              test_dir(), folder),
                     (int)sizeof command);
    char line[10200];
    snprintf(line, sizeof line, "%s %s", environment, command);
    FILE *pipe = popen(line, "r");
    ck_assert_ptr_nonnull(pipe);
    const size_t n = fread(said, 1, size - 1, pipe);
    said[n] = 0;
    ck_assert_msg(pclose(pipe) == 0, "%s: %s", environment, said);
}

static void read_whole(kd_ctx *ctx, const char *folder, const char *name, char **text, size_t *size)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s/%s", test_dir(), folder, name);
    test_ok(ctx, kd_file_read_all(ctx, path, 1 << 28, text, size));
}

static void expect_blas(kd_ctx *ctx, const char *folder, const char *blas)
{
    char *text, want[200];
    size_t size;
    read_whole(ctx, folder, "run.json", &text, &size);
    snprintf(want, sizeof want, "\"blas\": \"%s", blas);
    ck_assert_msg(strstr(text, want) != NULL, "%s: no %s in %.*s", folder, want, (int)size, text);
    kd_ctx_free(ctx, text);
}

static bool same_model(kd_ctx *ctx, const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    read_whole(ctx, a, "model.safetensors", &x, &n);
    read_whole(ctx, b, "model.safetensors", &y, &m);
    const bool same = n == m && !memcmp(x, y, n);
    kd_ctx_free(ctx, x);
    kd_ctx_free(ctx, y);
    return same;
}

START_TEST(test_wrong_ones_are_found)
{
    static const char *const faults[] = {"edge", "large", "transposed", "nan", "add", "beyond"};
    static char said[1 << 16];
    char environment[64];
    kd_ctx *ctx = test_ctx(1, NULL);
    run("KD_BLAS=builtin", "builtin", said, sizeof said);
    expect_blas(ctx, "builtin", "builtin\"");
    run("KD_BLAS=openblas OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1", "openblas", said, sizeof said);
    expect_blas(ctx, "openblas", "openblas ");
    ck_assert_ptr_null(strstr(said, "wrong numbers"));
    ck_assert_msg(!same_model(ctx, "openblas", "builtin"), "OpenBLAS was never called");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        snprintf(environment, sizeof environment, "KD_BLAS=openblas WRONG_BLAS=%s", faults[i]);
        run(environment, faults[i], said, sizeof said);
        expect_blas(ctx, faults[i], "builtin: OpenBLAS is wrong on this processor");
        ck_assert_msg(strstr(said, "OpenBLAS computes wrong numbers on this processor") != NULL,
                      "%s: %s", faults[i], said);
        ck_assert_msg(same_model(ctx, faults[i], "builtin"), "%s changed the numbers", faults[i]);
    }
    run("KD_BLAS=openblas WRONG_BLAS=none", "none", said, sizeof said);
    expect_blas(ctx, "none", "openblas ");
    kd_ctx_destroy(ctx);
}
END_TEST

/* Those that cannot be kept to one thread are not called, and their thread count is left alone. */
START_TEST(test_variants)
{
    static const struct {
        const char *fault, *said;
    } cases[] = {
        {"threads", "builtin: OpenBLAS uses more than one thread"},
        {"sequential", "builtin: OpenBLAS was built without threads"},
#ifdef _OPENMP
        {"sticky", "builtin: OpenBLAS cannot be kept to one thread"},
#else
        {"sticky", "builtin: OpenBLAS uses more than one thread"},
#endif
    };
    static char said[1 << 16];
    char environment[64];
    kd_ctx *ctx = test_ctx(1, NULL);
    run("KD_BLAS=builtin", "ours", said, sizeof said);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(environment, sizeof environment, "KD_BLAS=openblas WRONG_BLAS=%s", cases[i].fault);
        run(environment, cases[i].fault, said, sizeof said);
        expect_blas(ctx, cases[i].fault, cases[i].said);
        ck_assert_msg(same_model(ctx, cases[i].fault, "ours"), "%s was called", cases[i].fault);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

#else
START_TEST(test_wrong_ones_are_found)
{
}
END_TEST

START_TEST(test_variants)
{
}
END_TEST
#endif

TEST_SUITE(blas, 120, &test_what_a_context_says, &test_wrong_ones_are_found, &test_variants)
