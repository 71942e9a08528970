/* SPDX-License-Identifier: MIT
 * test_gemm.c: matrix products against a naive one in double precision: odd shapes, all transposes,
 * strides, epilogues, packed operands, every kernel table, every number of threads. Arrays are heap
 * blocks of exactly the size that may be touched, so that a memory checker sees any step beside. */
#include "../test.h"

#include "../../lib/base/philox.h"
#include "../../lib/kernel/blas.h"
#include "../../lib/kernel/gemm.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *array(size_t n, uint64_t seed)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    test_fill(x, n, seed, 1);
    return x;
}

/* Scratch full of NaN, of exactly that many bytes. */
static void *scratch_of(size_t bytes)
{
    void *s = NULL;
    ck_assert_uint_ne(bytes, SIZE_MAX);
    ck_assert_int_eq(posix_memalign(&s, 64, bytes ? bytes : 64), 0);
    memset(s, 0xff, bytes);
    return s;
}

static double act(double x, kdi_act a)
{
    if (a == KDI_ACT_RELU) return x > 0 ? x : 0;
    if (a == KDI_ACT_GELU) return 0.5 * x * (1 + erf(x / sqrt(2)));
    return x;
}

/* Checks c, which held c0 before, and that the gaps between its rows are as they were. */
static void check(const kdi_gemm *g, const float *c0, const float *c, const char *isa)
{
    for (size_t i = 0; i < g->m; i++) {
        for (size_t j = 0; j < g->n; j++) {
            double sum = g->accumulate ? (double)c0[i * g->ldc + j] : 0, size = fabs(sum) + 1;
            for (size_t p = 0; p < g->k; p++) {
                const double a = (double)(g->ta ? g->a[p * g->lda + i] : g->a[i * g->lda + p]);
                const double b = (double)(g->tb ? g->b[j * g->ldb + p] : g->b[p * g->ldb + j]);
                sum += a * b;
                size += fabs(a * b);
            }
            const kdi_epilogue *e = g->epilogue;
            if (e && e->bias) sum += (double)e->bias[j];
            if (e && e->residual) sum += (double)e->residual[i * e->ldr + j];
            if (e) sum = act(sum, e->act);
            const double got = (double)c[i * g->ldc + j];
            ck_assert_msg(fabs(got - sum) <= 1e-6 * size,
                          "%s: m %zu n %zu k %zu ta %d tb %d: C[%zu,%zu] is %g, not %g", isa, g->m,
                          g->n, g->k, g->ta, g->tb, i, j, got, sum);
        }
        if (i + 1 < g->m)
            ck_assert_mem_eq(c + i * g->ldc + g->n, c0 + i * g->ldc + g->n,
                             (g->ldc - g->n) * sizeof *c);
    }
}

typedef enum how { RUN, SERIAL, PACKED, HOWS } how;

/* Computes g in one way into a fresh copy of c0, checked if asked for. */
static float *product(kd_ctx *ctx, kdi_gemm g, how way, const float *c0, size_t c_size,
                      bool checked)
{
    float *c = malloc(c_size * sizeof *c), *packed = NULL;
    void *scratch;
    memcpy(c, c0, c_size * sizeof *c);
    g.c = c;
    if (way == PACKED) {
        packed = scratch_of(kdi_gemm_packed_size(ctx, g.n, g.k));
        kdi_gemm_pack_b(ctx, g.n, g.k, g.tb, g.b, g.ldb, packed);
        g.packed_b = packed;
    }
    if (way == SERIAL) {
        scratch = scratch_of(kdi_gemm_serial_scratch(ctx, &g));
        kdi_gemm_serial(ctx, &g, scratch);
    } else {
        scratch = scratch_of(kdi_gemm_scratch(ctx, &g));
        kdi_gemm_run(ctx, &g, scratch);
    }
    if (checked) check(&g, c0, c, kd_ctx_isa(ctx));
    free(scratch);
    free(packed);
    return c;
}

typedef struct operands {
    float *a, *b, *c, *bias, *residual;
    size_t c_size;
    kdi_epilogue epilogue;
} operands;

/* Random operands for the shape and flags of g. */
static operands make(kdi_gemm *g, kdi_rng *r, bool epilogue)
{
    operands o;
    const size_t a_rows = g->ta ? g->k : g->m, a_columns = g->ta ? g->m : g->k;
    const size_t b_rows = g->tb ? g->n : g->k, b_columns = g->tb ? g->k : g->n;
    g->lda = a_columns + kdi_rng_below(r, 2) * kdi_rng_below(r, 9);
    g->ldb = b_columns + kdi_rng_below(r, 2) * kdi_rng_below(r, 9);
    g->ldc = g->n + kdi_rng_below(r, 2) * kdi_rng_below(r, 9);
    o.a = array(a_rows && a_columns ? (a_rows - 1) * g->lda + a_columns : 0, r->index);
    o.b = array(b_rows && b_columns ? (b_rows - 1) * g->ldb + b_columns : 0, r->index + 1000u);
    o.c_size = (g->m - 1) * g->ldc + g->n;
    o.c = array(o.c_size, r->index + 2000u);
    o.epilogue =
        (kdi_epilogue){.ldr = g->n + kdi_rng_below(r, 3), .act = (kdi_act)kdi_rng_below(r, 3)};
    o.bias = array(g->n, r->index + 3000u);
    o.residual = array((g->m - 1) * o.epilogue.ldr + g->n, r->index + 4000u);
    if (kdi_rng_below(r, 2)) o.epilogue.bias = o.bias;
    if (kdi_rng_below(r, 2)) o.epilogue.residual = o.residual;
    g->a = o.a;
    g->b = o.b;
    g->epilogue = epilogue ? &o.epilogue : NULL;
    return o;
}

static void drop(operands *o)
{
    free(o->a);
    free(o->b);
    free(o->c);
    free(o->bias);
    free(o->residual);
}

START_TEST(test_odd_shapes)
{
    const kdi_kernels *k;
    for (int i = 0; (k = kdi_kernels_at(i)); i++) {
        kd_ctx *ctx = test_ctx(2, k->name);
        kdi_rng r = kdi_rng_make(1, KDI_RNG_TEST, 0, 0);
        for (int t = 0; t < 400; t++) {
            const uint32_t most = t % 4 ? 20 : 71;
            kdi_gemm g = {.m = 1 + kdi_rng_below(&r, most),
                          .n = 1 + kdi_rng_below(&r, most),
                          .k = kdi_rng_below(&r, most),
                          .ta = t & 1,
                          .tb = t & 2,
                          .accumulate = kdi_rng_below(&r, 2)};
            operands o = make(&g, &r, kdi_rng_below(&r, 2));
            if (g.epilogue) g.epilogue = &o.epilogue;
            free(product(ctx, g, (how)(t / 4 % HOWS), o.c, o.c_size, true));
            drop(&o);
        }
        kd_ctx_destroy(ctx);
    }
}
END_TEST

/* Shapes that are cut in every way: rows, columns, steps along k, parts of k, shared B, copied A.
 */
static const struct {
    size_t m, n, k;
} cuts[] = {{1, 1, 5000},    {3, 33, 4099},   {64, 27, 6000}, {400, 70, 90},  {200, 600, 333},
            {37, 1100, 700}, {169, 31, 1024}, {20, 64, 2048}, {1030, 16, 40}, {90, 90, 2600},
            {2, 47, 703},    {1, 97, 1026},   {26, 80, 130}};

START_TEST(test_cuts)
{
    const kdi_kernels *k;
    for (int i = 0; (k = kdi_kernels_at(i)); i++)
        for (size_t s = 0; s < sizeof cuts / sizeof *cuts; s++) {
            kdi_rng r = kdi_rng_make(2, KDI_RNG_TEST, 0, (uint32_t)s);
            kdi_gemm g = {.m = cuts[s].m,
                          .n = cuts[s].n,
                          .k = cuts[s].k,
                          .ta = (s + 1) & 2,
                          .tb = s & 1,
                          .accumulate = s & 2};
            operands o = make(&g, &r, true);
            /* The copied operands need such a stride. */
            if (!g.ta && g.k % 1024 == 0) g.lda = g.k;
            g.epilogue = &o.epilogue;
            for (how way = RUN; way < HOWS; way++) {
                float *first = NULL;
                for (int threads = 1; threads <= 7; threads += threads < 3 ? 1 : 4) {
                    kd_ctx *ctx = test_ctx(threads, k->name);
                    float *c = product(ctx, g, way, o.c, o.c_size, !first);
                    if (first) {
                        ck_assert_mem_eq(c, first, o.c_size * sizeof *c);
                        free(c);
                    } else {
                        first = c;
                    }
                    kd_ctx_destroy(ctx);
                }
                free(first);
            }
            drop(&o);
        }
}
END_TEST

/* The sum over segments is the sum over one long k whose rows of A are in pieces. */
START_TEST(test_segments)
{
    enum { M = 67, K = 7, SEGMENTS = 3, STEP = 150, N = 41 };
    const kdi_kernels *k;
    for (int i = 0; (k = kdi_kernels_at(i)); i++) {
        float *a = array((SEGMENTS - 1) * STEP + (M - 1) * 2 + K, 1),
              *b = array(SEGMENTS * K * N, 2);
        const size_t panel = SEGMENTS * K * k->gemm_nr;
        float *packed = scratch_of((N / k->gemm_nr + 1) * panel * sizeof *packed);
        float c[M * N], *scratch = scratch_of(k->gemm_scratch(M, SEGMENTS * K) * sizeof *scratch);
        k->pack_b(SEGMENTS * K, N, b, N, packed, panel);
        const kdi_block block = {.m = M,
                                 .n = N,
                                 .k = K,
                                 .segments = SEGMENTS,
                                 .segment = STEP,
                                 .a = a,
                                 .rsa = 2,
                                 .csa = 1,
                                 .b = packed,
                                 .panel = panel,
                                 .c = c,
                                 .ldc = N,
                                 .scratch = scratch};
        k->gemm_block(&block);
        for (size_t row = 0; row < M; row++)
            for (size_t j = 0; j < N; j++) {
                double sum = 0;
                for (size_t s = 0; s < SEGMENTS; s++)
                    for (size_t p = 0; p < K; p++)
                        sum += (double)a[s * STEP + row * 2 + p] * (double)b[(s * K + p) * N + j];
                ck_assert_double_eq_tol((double)c[row * N + j], sum, 1e-5);
            }
        free(a);
        free(b);
        free(packed);
        free(scratch);
    }
}
END_TEST

/* C[M,N] = A B on one table. */
static void square(const kdi_kernels *k, size_t n, const float *a, const float *b, float *c)
{
    kd_ctx *ctx = test_ctx(1, k->name);
    const kdi_gemm g = {
        .m = n, .n = n, .k = n, .a = a, .lda = n, .b = b, .ldb = n, .c = c, .ldc = n};
    void *scratch = scratch_of(kdi_gemm_scratch(ctx, &g));
    kdi_gemm_run(ctx, &g, scratch);
    free(scratch);
    kd_ctx_destroy(ctx);
}

/* A is diagonal, so that C is B's numbers times one: infinities, NaN, the largest floats and the
 * least come out as they should, whatever a kernel makes of them on the way. Where there are
 * infinities or NaN, the rest of their column in B is zero times something: NaN with infinity. */
START_TEST(test_values)
{
    enum { N = 64 };
    static const float values[] = {INFINITY,
                                   -INFINITY,
                                   NAN,
                                   FLT_MAX,
                                   -FLT_MAX,
                                   0x1.fffffcp127f,
                                   0x1.fefffep127f,
                                   0x1.ff0002p127f,
                                   FLT_MIN,
                                   -FLT_MIN,
                                   0x1p-149f,
                                   0x1.234567p-100f,
                                   1.0f,
                                   0x1.fffffep0f,
                                   0x1.000002p0f,
                                   -0.0f};
    const size_t count = sizeof values / sizeof *values;
    static float a[N * N], b[N * N], c[N * N];
    const kdi_kernels *k;
    for (size_t i = 0; i < N; i++) a[i * N + i] = 1;
    for (size_t i = 0; i < N; i++) b[i * N + i] = values[i % count];
    for (int i = 0; (k = kdi_kernels_at(i)); i++)
        for (int swapped = 0; swapped < 2; swapped++) {
            square(k, N, swapped ? b : a, swapped ? a : b, c);
            for (size_t row = 0; row < N; row++) {
                const float want = values[row % count], got = c[row * N + row];
                if (isnan(want))
                    ck_assert_msg(isnan(got), "%s: NaN became %g", k->name, (double)got);
                else if (isinf(want) || fabsf(want) > 1)
                    ck_assert_msg(got == want, "%s: %a became %a", k->name, (double)want,
                                  (double)got);
                else
                    ck_assert_msg(fabsf(got - want) <= FLT_MIN, "%s: %a became %a", k->name,
                                  (double)want, (double)got);
            }
        }
}
END_TEST

/* The error of sums of N products, against double precision: no table is worse than adding up in
 * order, and none has a bias. */
START_TEST(test_precision)
{
    enum { N = 384 };
    float *a = array(N * N, 5), *b = array(N * N, 6), *c = malloc(N * N * sizeof *c);
    const kdi_kernels *k;
    for (size_t i = 0; i < N * N; i++) a[i] = fabsf(a[i]), b[i] = fabsf(b[i]);
    for (int t = 0; (k = kdi_kernels_at(t)); t++) {
        double error = 0, bias = 0, plain = 0;
        square(k, N, a, b, c);
        for (size_t i = 0; i < N; i += 7)
            for (size_t j = 0; j < N; j += 3) {
                double sum = 0;
                float simple = 0;
                for (size_t p = 0; p < N; p++) {
                    sum += (double)a[i * N + p] * (double)b[p * N + j];
                    simple += a[i * N + p] * b[p * N + j];
                }
                const double e = (double)c[i * N + j] / sum - 1, s = (double)simple / sum - 1;
                error += e * e;
                plain += s * s;
                bias += e;
            }
        const double n = (N / 7 + 1) * (N / 3);
        if (getenv("KD_PRECISION_REPORT"))
            printf("%s: relative error %.2g, mean %.1g; added up in order %.2g\n", k->name,
                   sqrt(error / n), bias / n, sqrt(plain / n));
        ck_assert_double_le(error, 1.2 * plain);
        ck_assert_double_le(fabs(bias / n), 2e-8);
    }
    free(a);
    free(b);
    free(c);
}
END_TEST

START_TEST(test_column_sums)
{
    static const size_t rows[] = {1, 5, 511, 512, 1500}, columns[] = {1, 3, 64, 133};
    const kdi_kernels *k;
    for (int i = 0; (k = kdi_kernels_at(i)); i++)
        for (size_t s = 0; s < 20; s++) {
            const size_t m = rows[s % 5], n = columns[s / 5], ld = n + s % 3;
            float *x = array((m - 1) * ld + n, s), *y0 = array(n, 99), *first = array(n, 99);
            for (int threads = 1; threads <= 3; threads++) {
                kd_ctx *ctx = test_ctx(threads, k->name);
                float *y = array(n, 99);
                void *scratch = scratch_of(kdi_column_sums_scratch(ctx, m, n));
                kdi_column_sums(ctx, m, n, x, ld, y, s & 1, scratch);
                for (size_t j = 0; j < n && threads == 1; j++) {
                    double sum = s & 1 ? (double)y0[j] : 0;
                    for (size_t p = 0; p < m; p++) sum += (double)x[p * ld + j];
                    ck_assert_double_eq_tol((double)y[j], sum, 1e-6 * (double)(m + 10));
                }
                if (threads == 1) memcpy(first, y, n * sizeof *y);
                ck_assert_mem_eq(first, y, n * sizeof *y);
                free(scratch);
                free(y);
                kd_ctx_destroy(ctx);
            }
            free(x);
            free(y0);
            free(first);
        }
}
END_TEST

/* A plan made for the largest batch must do for every smaller one. */
START_TEST(test_scratch_grows)
{
    static const size_t ks[] = {27, 700, 5000}, ns[] = {10, 64, 1000};
    kd_ctx *ctx = test_ctx(3, NULL);
    for (int flags = 0; flags < 8; flags++)
        for (size_t s = 0; s < 9; s++) {
            size_t before = 0;
            for (size_t m = 1; m < 3000; m += 1 + m / 7) {
                kdi_gemm g = {
                    .m = m, .n = ns[s % 3], .k = ks[s / 3], .ta = flags & 1, .tb = flags & 2};
                const float packed = 0;
                if (flags & 4) g.packed_b = &packed;
                g.lda = g.ta ? m : g.k;
                g.ldb = g.tb ? g.k : g.n;
                const size_t now = kdi_gemm_scratch(ctx, &g);
                ck_assert_uint_ge(now, before);
                before = now;
            }
        }
    const kdi_gemm huge = {.m = SIZE_MAX / 8, .n = SIZE_MAX / 8, .k = SIZE_MAX / 8};
    ck_assert_uint_eq(kdi_gemm_scratch(ctx, &huge), SIZE_MAX);
    ck_assert_uint_eq(kdi_gemm_packed_size(ctx, SIZE_MAX / 8, SIZE_MAX / 8), SIZE_MAX);
    kd_ctx_destroy(ctx);
}
END_TEST

static kd_ctx *ctx_with(int threads, const char *isa, const char *blas)
{
    kd_ctx *ctx;
    const kd_config config = {
        .struct_size = sizeof config, .threads = threads, .isa = isa, .blas = blas};
    return kd_ctx_create(&config, &ctx) ? NULL : ctx;
}

/* A rule's smallest shape is OpenBLAS's on its table, where it is built in, and none below it; on
 * no other table, and not where the program says so. */
START_TEST(test_blas_rules)
{
    size_t count;
    const kdi_blas_rule *rules = kdi_blas_rules(&count);
    const kdi_kernels *k;
    ck_assert_uint_gt(count, 0);
    for (size_t i = 0; i < count; i++)
        for (int t = 0; (k = kdi_kernels_at(t)); t++) {
            const kdi_blas_rule *r = &rules[i];
            const bool its = kdi_blas_built() && !strcmp(k->name, r->isa);
            kd_ctx *ctx = ctx_with(1, k->name, ""), *never = ctx_with(1, k->name, "builtin");
            kdi_gemm g = {.m = r->min_m, .n = r->min_n, .k = r->min_k};
            g.lda = g.k;
            g.ldb = g.ldc = g.n;
            if (its) ck_assert(kdi_blas_wants(ctx, &g));
            ck_assert(!kdi_blas_wants(never, &g));
            g.packed_b = (const float *)(const void *)rules;
            ck_assert(!kdi_blas_wants(ctx, &g));
            g.packed_b = NULL;
            g.lda = SIZE_MAX / 8;
            ck_assert(!kdi_blas_wants(ctx, &g));
            g.lda = g.k;
            g.m = g.n = g.k = 1;
            ck_assert(!kdi_blas_wants(ctx, &g));
            kd_ctx_destroy(ctx);
            kd_ctx_destroy(never);
        }
}
END_TEST

/* What OpenBLAS computes when all products are its own, on any number of threads. */
START_TEST(test_blas)
{
    static const struct {
        size_t m, n, k;
        bool ta, tb;
    } shapes[] = {{1, 1, 1, false, false},
                  {3, 17, 5, false, true},
                  {33, 2, 70, true, false},
                  {64, 130, 9, true, true},
                  {256, 1024, 300, false, true}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && kdi_blas_built(); i++) {
        kdi_gemm g = {.m = shapes[i].m,
                      .n = shapes[i].n,
                      .k = shapes[i].k,
                      .ta = shapes[i].ta,
                      .tb = shapes[i].tb,
                      .accumulate = i % 2};
        kdi_rng r = kdi_rng_make(4, KDI_RNG_TEST, 0, 0);
        operands o = make(&g, &r, true);
        g.epilogue = &o.epilogue;
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            kd_ctx *ctx = ctx_with(threads, NULL, "openblas");
            float *c = product(ctx, g, RUN, o.c, o.c_size, threads == 1);
            if (first) ck_assert_mem_eq(c, first, o.c_size * sizeof *c);
            free(first);
            first = c;
            kd_ctx_destroy(ctx);
        }
        free(first);
        drop(&o);
    }
}
END_TEST

TEST_SUITE(gemm, 60, &test_odd_shapes, &test_cuts, &test_segments, &test_values, &test_precision,
           &test_column_sums, &test_scratch_grows, &test_blas_rules, &test_blas)
