/* SPDX-License-Identifier: MIT
 * test_winograd.c: Winograd's convolution against the definition in double precision: every kernel
 * table, odd shapes, all gradients, epilogues, accumulation, and the same bits on any number of
 * threads. Scratch and outputs are poisoned with NaN before each call; buffers have their exact
 * sizes, for the address sanitizer's sake. */
#include "../test.h"

#include "../../lib/base/base.h"
#include "../../lib/kernel/conv_winograd.h"

#include <math.h>
#include <string.h>

typedef struct shape {
    size_t n, h, w, c, o, ph, pw;
    kdi_conv_algo algo;
} shape;

/* Maps with and without partial tiles, channels around the vectors' lengths, each way to cut the
 * work: by tiles, by panels, with prepared filters and slices, in one chunk and several. */
static const shape shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, KDI_CONV_WINOGRAD2},       {3, 5, 7, 17, 16, 1, 1, KDI_CONV_WINOGRAD2},
    {2, 6, 6, 17, 5, 2, 2, KDI_CONV_WINOGRAD2},      {2, 7, 5, 5, 17, 0, 1, KDI_CONV_WINOGRAD2},
    {2, 4, 4, 300, 270, 1, 1, KDI_CONV_WINOGRAD2},   {1, 31, 23, 130, 40, 1, 1, KDI_CONV_WINOGRAD2},
    {1, 2, 2, 1, 1, 1, 1, KDI_CONV_SMALL_MAP2},      {3, 2, 2, 17, 5, 1, 1, KDI_CONV_SMALL_MAP2},
    {2, 2, 2, 64, 70, 1, 1, KDI_CONV_SMALL_MAP2},    {5, 2, 2, 300, 520, 1, 1, KDI_CONV_SMALL_MAP2},
    {300, 2, 2, 40, 150, 1, 1, KDI_CONV_SMALL_MAP2}, {1, 4, 4, 1, 1, 1, 1, KDI_CONV_SMALL_MAP4},
    {3, 4, 4, 17, 5, 1, 1, KDI_CONV_SMALL_MAP4},     {2, 4, 4, 64, 70, 1, 1, KDI_CONV_SMALL_MAP4},
    {1, 4, 4, 300, 270, 1, 1, KDI_CONV_SMALL_MAP4},  {5, 4, 4, 300, 520, 1, 1, KDI_CONV_SMALL_MAP4},
    {40, 4, 4, 40, 150, 1, 1, KDI_CONV_SMALL_MAP4},  {1, 1, 1, 1, 1, 1, 1, KDI_CONV_WINOGRAD},
    {1, 2, 2, 3, 5, 1, 1, KDI_CONV_WINOGRAD},        {2, 3, 4, 5, 3, 1, 1, KDI_CONV_WINOGRAD},
    {1, 4, 4, 16, 16, 1, 1, KDI_CONV_WINOGRAD},      {3, 5, 7, 17, 16, 1, 1, KDI_CONV_WINOGRAD},
    {2, 8, 8, 16, 17, 1, 1, KDI_CONV_WINOGRAD},      {1, 6, 13, 64, 1, 1, 1, KDI_CONV_WINOGRAD},
    {2, 13, 11, 1, 64, 1, 1, KDI_CONV_WINOGRAD},     {1, 9, 3, 70, 64, 1, 1, KDI_CONV_WINOGRAD},
    {2, 12, 10, 64, 70, 1, 1, KDI_CONV_WINOGRAD},    {1, 3, 3, 3, 3, 0, 0, KDI_CONV_WINOGRAD},
    {2, 7, 5, 5, 17, 0, 1, KDI_CONV_WINOGRAD},       {1, 6, 6, 17, 5, 2, 2, KDI_CONV_WINOGRAD},
    {2, 1, 4, 16, 3, 2, 0, KDI_CONV_WINOGRAD},       {3, 10, 9, 3, 70, 1, 2, KDI_CONV_WINOGRAD},
    {3, 4, 4, 70, 70, 1, 1, KDI_CONV_WINOGRAD},      {2, 11, 12, 70, 70, 0, 2, KDI_CONV_WINOGRAD},
    {2, 4, 4, 300, 270, 1, 1, KDI_CONV_WINOGRAD},    {1, 2, 3, 270, 300, 1, 1, KDI_CONV_WINOGRAD},
    {192, 1, 1, 35, 140, 1, 1, KDI_CONV_WINOGRAD},   {520, 1, 1, 35, 140, 1, 1, KDI_CONV_WINOGRAD},
    {2, 91, 91, 5, 3, 1, 1, KDI_CONV_WINOGRAD},      {1, 61, 50, 130, 40, 1, 1, KDI_CONV_WINOGRAD},
    {5, 33, 37, 17, 35, 1, 1, KDI_CONV_WINOGRAD},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static kdi_conv conv_of(shape s)
{
    return (kdi_conv){.n = s.n,
                      .h = s.h,
                      .w = s.w,
                      .c = s.c,
                      .o = s.o,
                      .kh = 3,
                      .kw = 3,
                      .sh = 1,
                      .sw = 1,
                      .ph = s.ph,
                      .pw = s.pw,
                      .dh = 1,
                      .dw = 1,
                      .groups = 1,
                      .oh = s.h + 2 * s.ph - 2,
                      .ow = s.w + 2 * s.pw - 2};
}

/* A convolution's arrays, and what they should be. */
typedef struct problem {
    kd_ctx *ctx; /* of the memory */
    kdi_conv v;
    kdi_conv_algo algo;
    size_t nx, nw, ny;
    float *x, *w, *dy, *bias, *residual;
    double *y, *dx, *dw, *db;
} problem;

static float *filled(kd_ctx *ctx, size_t n, uint64_t seed, float scale)
{
    float *p = kd_ctx_alloc(ctx, n, sizeof *p);
    ck_assert_ptr_nonnull(p);
    test_fill(p, n, seed, scale);
    return p;
}

/* The definition and its derivatives, one pair of pixels after the other. */
static void define(problem *p)
{
    const kdi_conv *v = &p->v;
    for (size_t n = 0; n < v->n; n++)
        for (size_t i = 0; i < v->oh; i++)
            for (size_t j = 0; j < v->ow; j++) {
                const size_t q = ((n * v->oh + i) * v->ow + j) * v->o;
                for (size_t o = 0; o < v->o; o++) p->db[o] += (double)p->dy[q + o];
                for (size_t k = 0; k < 9; k++) {
                    const size_t a = i + k / 3 - v->ph, b = j + k % 3 - v->pw;
                    if (a >= v->h || b >= v->w) continue;
                    const size_t f = ((n * v->h + a) * v->w + b) * v->c;
                    for (size_t o = 0; o < v->o; o++) {
                        const size_t u = (o * 9 + k) * v->c;
                        const double g = (double)p->dy[q + o];
                        double sum = 0;
                        for (size_t c = 0; c < v->c; c++) {
                            sum += (double)p->x[f + c] * (double)p->w[u + c];
                            p->dx[f + c] += g * (double)p->w[u + c];
                            p->dw[u + c] += g * (double)p->x[f + c];
                        }
                        p->y[q + o] += sum;
                    }
                }
            }
}

static problem problem_of(shape s)
{
    problem p = {.ctx = test_ctx(1, NULL), .v = conv_of(s), .algo = s.algo};
    p.nx = s.n * s.h * s.w * s.c;
    p.nw = s.o * 9 * s.c;
    p.ny = s.n * p.v.oh * p.v.ow * s.o;
    p.x = filled(p.ctx, p.nx, 1, 1);
    p.w = filled(p.ctx, p.nw, 2, 1);
    p.dy = filled(p.ctx, p.ny, 3, 1);
    p.bias = filled(p.ctx, s.o, 4, 1);
    p.residual = filled(p.ctx, p.ny, 5, 1);
    p.y = kd_ctx_alloc(p.ctx, p.ny, sizeof *p.y);
    p.dx = kd_ctx_alloc(p.ctx, p.nx, sizeof *p.dx);
    p.dw = kd_ctx_alloc(p.ctx, p.nw, sizeof *p.dw);
    p.db = kd_ctx_alloc(p.ctx, s.o, sizeof *p.db);
    define(&p);
    return p;
}

static void problem_free(problem *p)
{
    void *const blocks[] = {p->x, p->w, p->dy, p->bias, p->residual, p->y, p->dx, p->dw, p->db};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) kd_ctx_free(p->ctx, blocks[i]);
    ck_assert_uint_eq(kd_ctx_memory(p->ctx), 0);
    kd_ctx_destroy(p->ctx);
}

/* Largest error over the largest magnitude (or 1). */
static double error_of(const float *is, const double *should, size_t n)
{
    double worst = 0, scale = 1;
    for (size_t i = 0; i < n; i++) {
        const double e = fabs((double)is[i] - should[i]);
        if (!isfinite(e)) return INFINITY;
        if (e > worst) worst = e;
        if (fabs(should[i]) > scale) scale = fabs(should[i]);
    }
    return worst / scale;
}

/* What one context makes of a problem. */
typedef struct result {
    float *y, *prepared, *dx, *dw, *db;
} result;

static float *poisoned(kd_ctx *ctx, size_t n)
{
    float *p = kd_ctx_alloc(ctx, n, sizeof *p);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xFF, n * sizeof *p);
    return p;
}

static void *scratch_for(kd_ctx *ctx, const problem *p, kdi_conv_pass pass)
{
    const size_t bytes = kdi_winograd_scratch(ctx, &p->v, p->algo, pass);
    ck_assert_uint_ne(bytes, SIZE_MAX);
    ck_assert_uint_eq(bytes % sizeof(float), 0);
    return poisoned(ctx, bytes / sizeof(float));
}

static void forward(kd_ctx *ctx, const problem *p, bool prepare, const kdi_epilogue *e, float *y)
{
    const kdi_conv_pass pass = prepare ? KDI_CONV_FORWARD_PREPARED : KDI_CONV_FORWARD;
    void *scratch = scratch_for(ctx, p, pass), *prepared = NULL;
    if (prepare) {
        prepared = poisoned(ctx, kdi_winograd_prepared_size(ctx, &p->v, p->algo) / sizeof(float));
        kdi_winograd_prepare(ctx, &p->v, p->algo, p->w, prepared, NULL);
    }
    kdi_winograd_forward(ctx, &p->v, p->algo, p->x, prepare ? NULL : p->w, prepared, e, y, scratch);
    kd_ctx_free(ctx, prepared);
    kd_ctx_free(ctx, scratch);
}

static void backward(kd_ctx *ctx, const problem *p, float *dx, float *dw, float *db, bool add)
{
    void *scratch = scratch_for(ctx, p, KDI_CONV_BACKWARD);
    kdi_winograd_backward(ctx, &p->v, p->algo, p->x, p->w, p->dy, dx, dw, db, add, add, scratch);
    kd_ctx_free(ctx, scratch);
}

static result run(kd_ctx *ctx, const problem *p)
{
    const result r = {poisoned(ctx, p->ny), poisoned(ctx, p->ny), poisoned(ctx, p->nx),
                      poisoned(ctx, p->nw), poisoned(ctx, p->v.o)};
    forward(ctx, p, false, NULL, r.y);
    forward(ctx, p, true, NULL, r.prepared);
    backward(ctx, p, r.dx, r.dw, r.db, false);
    return r;
}

static void result_free(kd_ctx *ctx, const result *r)
{
    float *const blocks[] = {r->y, r->prepared, r->dx, r->dw, r->db};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) kd_ctx_free(ctx, blocks[i]);
}

#define TOLERANCE 5e-6 /* of the largest magnitude */

START_TEST(test_shapes)
{
    problem p = problem_of(shapes[_i]);
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++) {
        kd_ctx *ctx = test_ctx(2, k->name);
        const result r = run(ctx, &p);
        ck_assert_double_lt(error_of(r.y, p.y, p.ny), TOLERANCE);
        ck_assert_double_lt(error_of(r.dx, p.dx, p.nx), TOLERANCE);
        ck_assert_double_lt(error_of(r.dw, p.dw, p.nw), TOLERANCE);
        ck_assert_double_lt(error_of(r.db, p.db, p.v.o), TOLERANCE);
        ck_assert_mem_eq(r.y, r.prepared, p.ny * sizeof(float));
        result_free(ctx, &r);
        kd_ctx_destroy(ctx);
    }
    problem_free(&p);
}
END_TEST

/* <conv(x), dy> = <x, dx> = <w, dw>, summed in double precision. */
START_TEST(test_adjoint)
{
    problem p = problem_of(shapes[_i]);
    kd_ctx *ctx = test_ctx(2, NULL);
    const result r = run(ctx, &p);
    double forth = 0, to_x = 0, to_w = 0, scale = 0;
    for (size_t i = 0; i < p.ny; i++) {
        forth += (double)r.y[i] * (double)p.dy[i];
        scale += fabs((double)r.y[i] * (double)p.dy[i]);
    }
    for (size_t i = 0; i < p.nx; i++) to_x += (double)p.x[i] * (double)r.dx[i];
    for (size_t i = 0; i < p.nw; i++) to_w += (double)p.w[i] * (double)r.dw[i];
    ck_assert_double_le(fabs(forth - to_x), 1e-6 * scale + 1e-6);
    ck_assert_double_le(fabs(forth - to_w), 1e-6 * scale + 1e-6);
    result_free(ctx, &r);
    kd_ctx_destroy(ctx);
    problem_free(&p);
}
END_TEST

START_TEST(test_threads)
{
    problem p = problem_of(shapes[_i]);
    kd_ctx *one = test_ctx(1, NULL);
    const result a = run(one, &p);
    static const int widths[] = {2, 3, 4, 7};
    for (size_t t = 0; t < sizeof widths / sizeof *widths; t++) {
        kd_ctx *ctx = test_ctx(widths[t], NULL);
        const result b = run(ctx, &p);
        ck_assert_mem_eq(a.y, b.y, p.ny * sizeof(float));
        ck_assert_mem_eq(a.dx, b.dx, p.nx * sizeof(float));
        ck_assert_mem_eq(a.dw, b.dw, p.nw * sizeof(float));
        ck_assert_mem_eq(a.db, b.db, p.v.o * sizeof(float));
        result_free(ctx, &b);
        kd_ctx_destroy(ctx);
    }
    result_free(one, &a);
    kd_ctx_destroy(one);
    problem_free(&p);
}
END_TEST

START_TEST(test_accumulate)
{
    problem p = problem_of(shapes[_i]);
    kd_ctx *ctx = test_ctx(2, NULL);
    float *dx = filled(ctx, p.nx, 7, 1), *dw = filled(ctx, p.nw, 8, 1),
          *db = filled(ctx, p.v.o, 9, 1);
    for (size_t i = 0; i < p.nx; i++) p.dx[i] += (double)dx[i];
    for (size_t i = 0; i < p.nw; i++) p.dw[i] += (double)dw[i];
    for (size_t i = 0; i < p.v.o; i++) p.db[i] += (double)db[i];
    backward(ctx, &p, dx, NULL, db, true); /* one at a time, too */
    backward(ctx, &p, NULL, dw, NULL, true);
    ck_assert_double_lt(error_of(dx, p.dx, p.nx), TOLERANCE);
    ck_assert_double_lt(error_of(dw, p.dw, p.nw), TOLERANCE);
    ck_assert_double_lt(error_of(db, p.db, p.v.o), TOLERANCE);
    kd_ctx_free(ctx, dx);
    kd_ctx_free(ctx, dw);
    kd_ctx_free(ctx, db);
    kd_ctx_destroy(ctx);
    problem_free(&p);
}
END_TEST

static double act(double x, kdi_act algo)
{
    if (algo == KDI_ACT_RELU) return x > 0 ? x : 0;
    if (algo == KDI_ACT_GELU) return 0.5 * x * (1 + erf(x * sqrt(0.5)));
    return x;
}

START_TEST(test_epilogue)
{
    problem p = problem_of(shapes[_i]);
    double *should = kd_ctx_alloc(p.ctx, p.ny, sizeof *should);
    const kdi_kernels *k;
    for (int table = 0; (k = kdi_kernels_at(table)); table++) {
        kd_ctx *ctx = test_ctx(2, k->name);
        for (unsigned algo = 0; algo < 12; algo++) {
            const kdi_epilogue e = {.bias = algo & 1 ? p.bias : NULL,
                                    .residual = algo & 2 ? p.residual : NULL,
                                    .ldr = p.v.o,
                                    .act = (kdi_act)(algo / 4)};
            for (size_t i = 0; i < p.ny; i++) {
                const double b = e.bias ? (double)e.bias[i % p.v.o] : 0;
                should[i] = act(p.y[i] + b + (e.residual ? (double)e.residual[i] : 0), e.act);
            }
            float *y = poisoned(ctx, p.ny);
            forward(ctx, &p, algo % 2, &e, y);
            ck_assert_double_lt(error_of(y, should, p.ny), TOLERANCE);
            kd_ctx_free(ctx, y);
        }
        kd_ctx_destroy(ctx);
    }
    kd_ctx_free(p.ctx, should);
    problem_free(&p);
}
END_TEST

/* Mean and squared deviations of y as it was written, whose mean is far from 0. */
START_TEST(test_moments)
{
    problem p = problem_of(shapes[_i]);
    const size_t o = p.v.o, pixels = p.ny / o;
    for (size_t i = 0; i < o; i++) p.bias[i] = 1000 * p.bias[i];
    const kdi_epilogue e = {.bias = p.bias};
    static float first[1200], moments[1200];
    for (int prepare = 0; prepare < 2; prepare++)
        for (int threads = 1; threads <= 3; threads++) {
            kd_ctx *ctx = test_ctx(threads, NULL);
            const kdi_conv_pass pass = prepare ? KDI_CONV_FORWARD_PREPARED : KDI_CONV_FORWARD;
            const size_t floats =
                kdi_winograd_moments_scratch(ctx, &p.v, p.algo, pass) / sizeof(float);
            float *scratch = poisoned(ctx, floats), *y = poisoned(ctx, p.ny);
            float *u = poisoned(ctx, kdi_winograd_prepared_size(ctx, &p.v, p.algo) / sizeof(float));
            kdi_winograd_prepare(ctx, &p.v, p.algo, p.w, u, NULL);
            kdi_winograd_forward_moments(ctx, &p.v, p.algo, p.x, p.w, prepare ? u : NULL, &e, y,
                                         moments, scratch);
            if (threads == 1) {
                memcpy(first, moments, 2 * o * sizeof *moments);
            }
            ck_assert_mem_eq(moments, first, 2 * o * sizeof *moments);
            for (size_t i = 0; i < o; i++) {
                double sum = 0, square = 0;
                for (size_t q = 0; q < pixels; q++) sum += (double)y[q * o + i];
                sum /= (double)pixels;
                for (size_t q = 0; q < pixels; q++) square += pow((double)y[q * o + i] - sum, 2);
                const double deviation = sqrt(square / (double)pixels);
                ck_assert_double_le(fabs((double)moments[i] - sum),
                                    1e-6 * deviation + 1e-7 * fabs(sum));
                ck_assert_double_le(fabs((double)moments[o + i] - square), 1e-5 * square + 1e-6);
            }
            kd_ctx_free(ctx, scratch);
            kd_ctx_free(ctx, y);
            kd_ctx_free(ctx, u);
            kd_ctx_destroy(ctx);
        }
    problem_free(&p);
}
END_TEST

/* At a real layer's 512 channels the error of F(4x4) stays near 1e-5 of the output's deviation, the
 * others' below that of the definition in float32, 1.2e-6 and 6e-6. */
static const struct {
    shape shape;
    double worst, rms;
} deep[] = {{{4, 8, 8, 512, 48, 1, 1, KDI_CONV_WINOGRAD}, 2e-5, 3e-6},
            {{4, 8, 8, 512, 48, 1, 1, KDI_CONV_WINOGRAD2}, 6e-6, 1e-6},
            {{16, 2, 2, 512, 48, 1, 1, KDI_CONV_SMALL_MAP2}, 6e-6, 1e-6},
            {{4, 4, 4, 512, 48, 1, 1, KDI_CONV_SMALL_MAP4}, 6e-6, 1e-6}};

START_TEST(test_error_of_deep_sums)
{
    problem p = problem_of(deep[_i].shape);
    kd_ctx *ctx = test_ctx(2, NULL);
    float *y = poisoned(ctx, p.ny);
    forward(ctx, &p, true, NULL, y);
    double square = 0, worst = 0, errors = 0;
    for (size_t i = 0; i < p.ny; i++) {
        const double e = fabs((double)y[i] - p.y[i]);
        square += p.y[i] * p.y[i];
        errors += e * e;
        if (e > worst) worst = e;
    }
    const double deviation = sqrt(square / (double)p.ny);
    ck_assert_double_lt(worst / deviation, deep[_i].worst);
    ck_assert_double_lt(sqrt(errors / (double)p.ny) / deviation, deep[_i].rms);
    kd_ctx_free(ctx, y);
    kd_ctx_destroy(ctx);
    problem_free(&p);
}
END_TEST

/* Tasks fall into parts however many tiles there are: never more of them than memory is laid out
 * for. */
START_TEST(test_parts)
{
    kd_ctx *ctx = test_ctx(4, NULL);
    for (int i = 0; i < SHAPES; i++)
        for (size_t n = 1; n < 1200; n++) {
            shape s = shapes[i];
            s.n = n;
            const kdi_conv v = conv_of(s);
            const kdi_winograd g = kdi_winograd_of(ctx, &v, s.algo, false);
            for (int prepared = 0; prepared < 2; prepared++) {
                const kdi_winograd_parts p = kdi_winograd_parts_of(&g, prepared);
                ck_assert_msg(p.count <= p.most, "shape %d, %zu images: %zu parts, room for %zu", i,
                              n, p.count, p.most);
            }
        }
    kd_ctx_destroy(ctx);
}
END_TEST

/* Memory: more images never need less, and sizes that overflow are told. */
START_TEST(test_sizes)
{
    kd_ctx *ctx = test_ctx(3, NULL);
    for (int i = 0; i < SHAPES; i++) {
        size_t last[KDI_CONV_PREPARE + 1] = {0}, moments[KDI_CONV_PREPARE + 1] = {0};
        for (size_t n = 1; n < 100; n += 1 + n / 3) {
            shape s = shapes[i];
            s.n = n;
            const kdi_conv v = conv_of(s);
            for (int pass = 0; pass <= KDI_CONV_BACKWARD; pass++) {
                const size_t bytes = kdi_winograd_scratch(ctx, &v, s.algo, (kdi_conv_pass)pass);
                ck_assert_uint_ge(bytes, last[pass]);
                last[pass] = bytes;
                if (pass == KDI_CONV_BACKWARD) break;
                const size_t with =
                    kdi_winograd_moments_scratch(ctx, &v, s.algo, (kdi_conv_pass)pass);
                ck_assert_uint_ge(with, moments[pass]);
                moments[pass] = with;
            }
        }
    }
    const kdi_conv huge =
        conv_of((shape){1, 4, 4, SIZE_MAX / 64, SIZE_MAX / 64, 1, 1, KDI_CONV_WINOGRAD});
    ck_assert_uint_eq(kdi_winograd_prepared_size(ctx, &huge, KDI_CONV_WINOGRAD), SIZE_MAX);
    ck_assert_uint_eq(kdi_winograd_scratch(ctx, &huge, KDI_CONV_WINOGRAD, KDI_CONV_FORWARD),
                      SIZE_MAX);
    ck_assert_uint_eq(kdi_winograd_scratch(ctx, &huge, KDI_CONV_WINOGRAD, KDI_CONV_BACKWARD),
                      SIZE_MAX);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A suite of its own making: most tests loop over the shapes. */
Suite *winograd_suite(void);
Suite *winograd_suite(void)
{
    Suite *suite = suite_create("winograd");
    TCase *tcase = tcase_create("winograd");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, test_shapes, 0, SHAPES);
    tcase_add_loop_test(tcase, test_adjoint, 0, SHAPES);
    tcase_add_loop_test(tcase, test_threads, 0, SHAPES);
    tcase_add_loop_test(tcase, test_accumulate, 0, SHAPES);
    tcase_add_loop_test(tcase, test_epilogue, 0, SHAPES - 2);
    tcase_add_loop_test(tcase, test_moments, 0, SHAPES);
    tcase_add_loop_test(tcase, test_error_of_deep_sums, 0, sizeof deep / sizeof *deep);
    tcase_add_test(tcase, test_parts);
    tcase_add_test(tcase, test_sizes);
    suite_add_tcase(suite, tcase);
    return suite;
}
