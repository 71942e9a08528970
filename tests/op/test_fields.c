/* SPDX-License-Identifier: MIT
 * test_fields.c: ops' tables of fields: each covers its attributes' struct without a gap, so that no
 * member is forgotten, and numbers come out by their names as they were put in. */
#include "../../lib/graph/graph.h"
#include "../../lib/op/fields.h"
#include "../../lib/op/ops.h"
#include "../test.h"

#include <string.h>

static const kd_op *const ops[] = {
#define OP(name) &kdi_op_##name,
#include "../../lib/op/ops.def"
#undef OP
};

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Between two fields, and behind the last, there is nothing but what alignment asks for. */
START_TEST(test_fields_cover_attributes)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        const kd_op *op = ops[i];
        size_t end = 0, largest = 1;
        for (size_t k = 0; k < op->n_fields; k++) {
            const kd_op_field *f = &op->fields[k];
            const size_t size = kdi_field_size(f);
            ck_assert_msg(f->count > 0, "%s: %s is empty", op->name, f->name);
            ck_assert_msg(f->offset >= end && f->offset <= round_up(end, size),
                          "%s: %s does not follow what is before it", op->name, f->name);
            ck_assert_msg(kdi_op_field(op, f->name) == f, "%s has two %s", op->name, f->name);
            end = f->offset + f->count * size;
            if (size > largest) largest = size;
        }
        ck_assert_msg(op->attr_size >= end && op->attr_size <= round_up(end, largest),
                      "%s has attributes without a field", op->name);
    }
}
END_TEST

static const kdi_node *last_node(const kd_graph *g)
{
    ck_assert_int_eq(kd_graph_status(g), KD_OK);
    return &g->nodes[g->n_nodes - 1];
}

START_TEST(test_fields_are_read)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_graph *g = NULL;
    int64_t whole[KD_MAX_RANK];
    float real[2];
    ck_assert_int_eq(kd_graph_create(ctx, &g), KD_OK);
    const int64_t map[] = {KD_BATCH, 8, 9, 6}, rows[] = {KD_BATCH, 4, 12};
    kd_value x = kd_input(g, "x", KD_F32, 4, map);

    const kd_conv2d_opt conv = {.struct_size = sizeof conv,
                                .out = 10,
                                .kernel = {3, 5},
                                .stride = {2, 1},
                                .pad = {1, 2},
                                .groups = 2};
    kd_conv2d(g, x, "conv", &conv);
    const kdi_node *n = last_node(g);
    ck_assert(kdi_attr_ints(n->op, n->attr, "kernel", 2, whole) && whole[0] == 3 && whole[1] == 5);
    ck_assert(kdi_attr_ints(n->op, n->attr, "stride", 2, whole) && whole[0] == 2 && whole[1] == 1);
    ck_assert(kdi_attr_ints(n->op, n->attr, "groups", 1, whole) && whole[0] == 2);
    ck_assert(!kdi_attr_ints(n->op, n->attr, "kernel", 1, whole));  /* there are two */
    ck_assert(!kdi_attr_ints(n->op, n->attr, "bn_eps", 1, whole));  /* not a whole number */
    ck_assert(!kdi_attr_floats(n->op, n->attr, "groups", 1, real)); /* a whole number */
    ck_assert(!kdi_attr_ints(n->op, n->attr, "kernels", 2, whole)); /* not there */
    ck_assert_int_eq(whole[0], 2);

    kd_batch_norm(g, x, "bn", .25f, 1e-3f);
    n = last_node(g);
    ck_assert(kdi_attr_floats(n->op, n->attr, "momentum", 1, real) && real[0] == .25f);
    ck_assert(kdi_attr_floats(n->op, n->attr, "eps", 1, real) && real[0] == 1e-3f);

    const int64_t to[] = {KD_BATCH, 72, 6};
    kd_reshape(g, x, 3, to);
    n = last_node(g);
    ck_assert(kdi_attr_ints(n->op, n->attr, "to.rank", 1, whole) && whole[0] == 3);
    ck_assert(kdi_attr_ints(n->op, n->attr, "to.dim", KD_MAX_RANK, whole));
    ck_assert(whole[0] == KD_BATCH && whole[1] == 72 && whole[2] == 6);

    x = kd_input(g, "tokens", KD_F32, 3, rows);
    kd_attention_first(g, x, 2, .5f, 3);
    n = last_node(g);
    ck_assert(kdi_attr_ints(n->op, n->attr, "heads", 1, whole) && whole[0] == 2);
    ck_assert(kdi_attr_ints(n->op, n->attr, "queries", 1, whole) && whole[0] == 3);
    ck_assert(kdi_attr_floats(n->op, n->attr, "scale", 1, real) && real[0] == .5f);

    const kd_value two[] = {x, x};
    size_t before[KD_MAX_OPERANDS + 1];
    int64_t same[KD_MAX_OPERANDS + 1];
    kd_concat(g, two, 2, 1);
    n = last_node(g);
    ck_assert(kdi_attr_ints(n->op, n->attr, "before", KD_MAX_OPERANDS + 1, same));
    memcpy(before, (const char *)n->attr + kdi_op_field(n->op, "before")->offset, sizeof before);
    for (size_t i = 0; i <= KD_MAX_OPERANDS; i++) ck_assert(same[i] == (int64_t)before[i]);

    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

static kd_status as_input(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    return KD_OK;
}

static kd_status nothing(const kd_op_call *c)
{
    (void)c;
    return KD_OK;
}

/* A program's own op: its fields are read as ours are, and must lie within its attributes. */
START_TEST(test_fields_of_custom_ops)
{
    static const struct {
        kd_op_field field;
        bool fits;
    } cases[] = {
        {{"size", KD_FIELD_SIZE, 8, 1}, true},   {{"size", KD_FIELD_SIZE, 9, 1}, false},
        {{"ints", KD_FIELD_INT, 0, 4}, true},    {{"ints", KD_FIELD_INT, 0, 5}, false},
        {{"ints", KD_FIELD_INT, 20, 1}, false},  {{"many", KD_FIELD_FLOAT, 4, SIZE_MAX / 4}, false},
        {{"none", KD_FIELD_FLOAT, 4, 0}, false}, {{NULL, KD_FIELD_FLOAT, 4, 1}, false},
    };
    const struct {
        int a, b;
        size_t c;
    } attr = {1, 2, 3};
    const int64_t shape[] = {KD_BATCH, 4};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        kd_graph *g = NULL;
        const kd_op op = {.struct_size = sizeof op,
                          .name = "own",
                          .attr_size = 16,
                          .n_in_min = 1,
                          .n_in_max = 1,
                          .n_out = 1,
                          .shape = as_input,
                          .forward = nothing,
                          .fields = &cases[i].field,
                          .n_fields = 1};
        ck_assert_int_eq(kd_graph_create(ctx, &g), KD_OK);
        const kd_value x = kd_input(g, "x", KD_F32, 2, shape);
        kd_graph_op(g, &op, &attr, &x, 1, NULL);
        ck_assert_int_eq(kd_graph_status(g), cases[i].fits ? KD_OK : KD_E_INVALID);
        int64_t c = 0;
        if (i == 0) {
            const kdi_node *n = last_node(g);
            ck_assert(kdi_attr_ints(n->op, n->attr, "size", 1, &c) && c == 3);
        }
        kd_graph_destroy(g);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

TEST_SUITE(fields, 20, &test_fields_cover_attributes, &test_fields_are_read,
           &test_fields_of_custom_ops)
