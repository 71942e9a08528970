/* SPDX-License-Identifier: MIT
 * kernels.c: products and convolutions at the shapes of networks, against the machine's FMA peak
 * measured in the same run. The rate of a convolution counts the FLOPs of a direct one, so
 * Winograd's may be above the peak. */
#include "bench.h"

#include "../lib/kernel/conv.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_RUNS = 100, TURNS = 3 };

static float *random_floats(kd_ctx *ctx, size_t n)
{
    float *x = kd_ctx_alloc(ctx, n, sizeof *x);
    uint32_t state = 7;
    if (!x) kdb_die(ctx, "out of memory");
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) * 0x1p-24f - .5f;
    }
    return x;
}

typedef void (*run_fn)(void *arg);

static double median_of(run_fn fn, void *arg)
{
    double x[MOST_RUNS], sum = 0;
    size_t n = 0;
    fn(arg);
    for (; n < MOST_RUNS && (n < 5 || sum < .25); n++) {
        const double start = kd_seconds();
        fn(arg);
        sum += x[n] = kd_seconds() - start;
    }
    return stats_quantile(x, n, .5);
}

/* ---- products -------------------------------------------------------------------------------- */

typedef struct product {
    kd_ctx *ctx;
    kdi_gemm g;
    void *scratch;
} product;

static void run_product(void *arg)
{
    product *p = arg;
    kdi_gemm_run(p->ctx, &p->g, p->scratch);
}

/* The same product by OpenBLAS in blocks, as it would be called; 0: there is none. */
static void compare(product *p, product *blas, double *ours, double *theirs)
{
    double a[TURNS], b[TURNS];
    for (int i = 0; i < TURNS; i++) {
        a[i] = median_of(run_product, p);
        b[i] = blas->ctx ? median_of(run_product, blas) : 0;
    }
    *ours = stats_quantile(a, TURNS, .5);
    *theirs = stats_quantile(b, TURNS, .5);
}

/* A context whose products are those of that library; NULL: there is none in this build. */
static kd_ctx *with_products(const kd_ctx *like, const char *blas)
{
    kd_ctx *ctx = NULL;
    const kd_config config = {
        .struct_size = sizeof config, .threads = kd_ctx_threads(like), .blas = blas};
    kd_ctx_create(&config, &ctx);
    return ctx;
}

static void products(kd_ctx *ctx, double peak)
{
    static const struct {
        size_t m, n, k;
        bool ta, tb;
    } shapes[] = {
        {8192, 64, 576, false, true},     {8192, 256, 1152, false, true},
        {2048, 512, 2304, false, true},   {512, 512, 4608, false, true},
        {2048, 2048, 2048, false, false}, {64, 576, 32768, true, false},
        {512, 4608, 2048, true, false},   {8, 4096, 25088, false, true},
        {1, 512, 4608, false, true},      {4096, 4096, 4096, false, false},
        {4096, 1024, 16384, true, false}, {256, 4096, 25088, false, true},
    };
    kd_ctx *plain = with_products(ctx, "builtin"), *blas = with_products(ctx, "openblas");
    printf("\nproducts C[m,n] = A[m,k] B[k,n]\n%8s%8s%8s%10s%10s%10s%s\n", "m", "n", "k", "ms",
           "GFLOP/s", "of peak", blas ? "  x OpenBLAS" : "");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t m = shapes[i].m, n = shapes[i].n, k = shapes[i].k;
        product p = {.ctx = plain,
                     .g = {.m = m,
                           .n = n,
                           .k = k,
                           .ta = shapes[i].ta,
                           .tb = shapes[i].tb,
                           .lda = shapes[i].ta ? m : k,
                           .ldb = shapes[i].tb ? k : n,
                           .ldc = n}};
        float *a = random_floats(ctx, m * k), *b = random_floats(ctx, k * n);
        float *c = random_floats(ctx, m * n);
        p.g.a = a;
        p.g.b = b;
        p.g.c = c;
        p.scratch = kd_ctx_alloc(ctx, kdi_gemm_scratch(plain, &p.g), 1);
        product other = {.ctx = blas, .g = p.g, .scratch = p.scratch};
        if (blas) kdi_gemm_scratch(blas, &p.g); /* looks at OpenBLAS */
        double t, theirs;
        compare(&p, &other, &t, &theirs);
        const double rate = 2.0 * (double)(m * n) * (double)k / t;
        printf("%8zu%8zu%8zu%10.3f%10.1f%9.0f%%", m, n, k, t * 1e3, rate * 1e-9, 100 * rate / peak);
        printf(theirs > 0 ? "%12.2f\n" : "\n", theirs / t);
        kd_ctx_free(ctx, a);
        kd_ctx_free(ctx, b);
        kd_ctx_free(ctx, c);
        kd_ctx_free(ctx, p.scratch);
    }
    kd_ctx_destroy(plain);
    kd_ctx_destroy(blas);
}

/* ---- convolutions ---------------------------------------------------------------------------- */

typedef struct convolution {
    kd_ctx *ctx;
    kdi_conv v;
    kdi_conv_algo algo;
    float *x, *w, *y, *dx, *dw, *db;
    void *prepared, *scratch;
} convolution;

static void run_forward(void *arg)
{
    const convolution *c = arg;
    kdi_conv_forward(c->ctx, &c->v, c->algo, c->x, c->w, c->prepared, NULL, c->y, c->scratch);
}

static void run_backward(void *arg)
{
    const convolution *c = arg;
    kdi_conv_backward(c->ctx, &c->v, c->algo, c->x, c->w, c->y, c->dx, c->dw, c->db, false, false,
                      c->scratch);
}

static size_t most_scratch(const convolution *c)
{
    size_t most = 0;
    for (kdi_conv_pass pass = KDI_CONV_FORWARD; pass <= KDI_CONV_PREPARE; pass++) {
        const size_t size = kdi_conv_scratch(c->ctx, &c->v, c->algo, pass);
        if (size > most) most = size;
    }
    return most;
}

static void one_convolution(kd_ctx *ctx, double peak, size_t n, size_t map, size_t in, size_t out)
{
    convolution c = {.ctx = ctx,
                     .v = {.n = n,
                           .h = map,
                           .w = map,
                           .c = in,
                           .o = out,
                           .kh = 3,
                           .kw = 3,
                           .sh = 1,
                           .sw = 1,
                           .ph = 1,
                           .pw = 1,
                           .dh = 1,
                           .dw = 1,
                           .groups = 1,
                           .oh = map,
                           .ow = map}};
    c.algo = kdi_conv_choose_for(&c.v, n, NULL);
    c.x = random_floats(ctx, n * map * map * in);
    c.dx = random_floats(ctx, n * map * map * in);
    c.y = random_floats(ctx, n * map * map * out);
    c.w = random_floats(ctx, out * 9 * in);
    c.dw = random_floats(ctx, out * 9 * in);
    c.db = random_floats(ctx, out);
    c.scratch = kd_ctx_alloc(ctx, most_scratch(&c), 1);
    void *prepared = kd_ctx_alloc(ctx, kdi_conv_prepared_size(ctx, &c.v, c.algo), 1);
    if (!c.scratch || !prepared) kdb_die(ctx, "out of memory");
    kdi_conv_prepare(ctx, &c.v, c.algo, c.w, prepared, c.scratch);
    const double flops = 2.0 * 9 * (double)(n * map * map) * (double)(in * out);
    const double forward = median_of(run_forward, &c), backward = median_of(run_backward, &c);
    c.prepared = prepared;
    const double frozen = median_of(run_forward, &c);
    printf("%6zu%6zu%6zu%6zu  %-10s%9.1f%6.0f%%%9.1f%6.0f%%%9.1f%6.0f%%\n", n, map, in, out,
           kdi_conv_algo_name(c.algo), flops / frozen * 1e-9, 100 * flops / frozen / peak,
           flops / forward * 1e-9, 100 * flops / forward / peak, 2 * flops / backward * 1e-9,
           200 * flops / backward / peak);
    float *const arrays[] = {c.x, c.dx, c.y, c.w, c.dw, c.db};
    for (size_t i = 0; i < 6; i++) kd_ctx_free(ctx, arrays[i]);
    kd_ctx_free(ctx, c.scratch);
    kd_ctx_free(ctx, prepared);
}

int kdb_kernels(int threads)
{
    static const size_t layers[][3] = {{32, 3, 64},    {32, 64, 64},  {16, 64, 128},
                                       {16, 128, 128}, {8, 128, 256}, {8, 256, 256},
                                       {4, 256, 512},  {4, 512, 512}, {2, 512, 512}};
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config, .threads = threads};
    if (kd_ctx_create(&config, &ctx)) return 1;
    const double peak = kdb_peak(ctx);
    printf("\n%d threads, %s, FMA peak %.1f GFLOP/s\n", threads, kd_ctx_isa(ctx), peak * 1e-9);
    products(ctx, peak);
    printf("\n3x3 convolutions, GFLOP/s of a direct one and share of the peak\n"
           "%6s%6s%6s%6s  %-10s%16s%16s%16s\n",
           "n", "map", "in", "out", "algorithm", "frozen", "forward", "backward");
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        one_convolution(ctx, peak, 128, layers[i][0], layers[i][1], layers[i][2]);
    one_convolution(ctx, peak, 1, 32, 64, 64);
    one_convolution(ctx, peak, 1, 4, 512, 512);
    one_convolution(ctx, peak, 8, 224, 64, 64);
    one_convolution(ctx, peak, 8, 56, 256, 256);
    kd_ctx_destroy(ctx);
    return 0;
}
