/* SPDX-License-Identifier: MIT
 * test_params.c: parameters as graphs declare them: names, shapes, how they start. */
#include "../test.h"

#include <kd/kd.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One declaration in a graph of its own: its status, its error's text. */
static kd_status declare(kd_ctx *ctx, const char *name, int rank, const int64_t *dim,
                         const kd_param_opt *opt)
{
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    const kd_value v = kd_param(g, name, rank, dim, opt);
    const kd_status status = kd_graph_status(g);
    ck_assert_int_eq(v == KD_NONE, status != KD_OK);
    kd_graph_destroy(g);
    return status;
}

/* A name that is cut off would be another's. */
START_TEST(test_long_names)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char name[500];
    memset(name, 'n', sizeof name);
    for (size_t length = 380; length < 390; length++) {
        name[length] = 0;
        const kd_status status = declare(ctx, name, 0, NULL, NULL);
        ck_assert_int_eq(status, length <= 383 ? KD_OK : KD_E_LIMIT);
        if (status) ck_assert_ptr_nonnull(strstr(kd_ctx_error(ctx), "more than 383 bytes"));
        name[length] = 'n';
    }
    kd_graph *g; /* the scopes count, too */
    test_ok(ctx, kd_graph_create(ctx, &g));
    name[100] = 0;
    for (int i = 0; i < 2; i++) kd_graph_scope(g, "%s", name);
    name[100] = 'n';
    name[181] = 0;
    ck_assert_int_ne(kd_param(g, name, 0, NULL, NULL), KD_NONE);
    name[181] = 'n';
    name[182] = 0;
    ck_assert_int_eq(kd_param(g, name, 0, NULL, NULL), KD_NONE);
    ck_assert_int_ne(kd_graph_status(g), KD_OK);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_ranks)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const int64_t dim[] = {2, 3, 1, 1, 1, 1, 1, 1};
    for (int rank = -3; rank <= KD_MAX_RANK + 2; rank++)
        ck_assert_int_eq(declare(ctx, "p", rank, dim, NULL),
                         rank >= 0 && rank <= KD_MAX_RANK ? KD_OK : KD_E_SHAPE);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The same name is the same parameter, or an error. */
START_TEST(test_same_name)
{
    static const struct {
        kd_param_opt opt;
        int64_t dim;
        kd_status status;
    } second[] = {{{.dtype = KD_F32}, 3, KD_OK},
                  {{.dtype = KD_F32}, 4, KD_E_SHAPE},
                  {{.buffer = 1}, 3, KD_E_MISMATCH},
                  {{.buffer = 1, .dtype = KD_I64}, 3, KD_E_MISMATCH}};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
        const int64_t dim[] = {3};
        kd_graph *g;
        kd_param_opt opt = second[i].opt;
        opt.struct_size = sizeof opt;
        test_ok(ctx, kd_graph_create(ctx, &g));
        const kd_value v = kd_param(g, "p", 1, dim, NULL);
        const kd_value again = kd_param(g, "p", 1, &second[i].dim, &opt);
        ck_assert_int_eq(kd_graph_status(g), second[i].status);
        ck_assert_int_eq(again, second[i].status ? KD_NONE : v);
        kd_graph_destroy(g);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* Kaiming's fan out is [out,kh,kw], without the inputs: the last dimension; a single number has 1. */
START_TEST(test_fan_out)
{
    static const struct {
        int rank;
        int64_t dim[4];
        double fan_out;
    } cases[] = {{0, {0}, 1}, {1, {4096}, 1}, {2, {64, 64}, 64}, {4, {32, 3, 3, 16}, 32 * 9}};
    const kd_param_opt opt = {.struct_size = sizeof opt, .init = KD_INIT_KAIMING_FAN_OUT};
    kd_ctx *ctx = test_ctx(1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum { SEEDS = 400 }; /* of one number each, where there is but one */
        double sum = 0, n = 0;
        kd_graph *g;
        test_ok(ctx, kd_graph_create(ctx, &g));
        kd_param(g, "p", cases[i].rank, cases[i].dim, &opt);
        for (uint64_t seed = 0; seed < (cases[i].rank ? 1 : SEEDS); seed++) {
            kd_params *p;
            test_ok(ctx, kd_params_create(g, seed, &p));
            const size_t count = kd_params_count(p);
            const float *x = kd_params_values(p);
            for (size_t k = 0; k < count; k++) sum += (double)x[k] * x[k];
            n += (double)count;
            kd_params_destroy(p);
        }
        /* The mean square of n normal numbers strays by sqrt(2 / n): five of these. */
        const double is = sum / n * cases[i].fan_out / 2;
        ck_assert_msg(fabs(is - 1) < 5 * sqrt(2 / n), "%zu: %g times its variance", i, is);
        kd_graph_destroy(g);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(params, 30, &test_long_names, &test_ranks, &test_same_name, &test_fan_out)
