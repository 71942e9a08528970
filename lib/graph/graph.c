/* SPDX-License-Identifier: MIT
 * graph.c: building: values, nodes, names, parameters. The first error sticks to the graph: nothing
 * is built after it. */
#include "graph.h"

#include "../op/fields.h"

#include <stdio.h>
#include <string.h>

kd_status kd_graph_create(kd_ctx *ctx, kd_graph **out)
{
    if (out) *out = NULL;
    if (!ctx) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(ctx, KD_E_INVALID, "kd_graph_create: NULL");
    kd_graph *g = kd_ctx_alloc(ctx, 1, sizeof *g);
    if (!g) return kd_ctx_memory_status(ctx);
    g->ctx = ctx;
    g->pool.ctx = ctx;
    g->heard = kd_ctx_failures(ctx);
    *out = g;
    return KD_OK;
}

void kd_graph_destroy(kd_graph *g)
{
    if (!g) return;
    kdi_pool_free(&g->pool);
    kd_ctx_free(g->ctx, g->values);
    kd_ctx_free(g->ctx, g->nodes);
    kd_ctx_free(g->ctx, g->params);
    kd_ctx_free(g->ctx, g->outputs);
    kd_ctx_free(g->ctx, g->inputs);
    kd_ctx_free(g->ctx, g);
}

kd_value kd_graph_fail(kd_graph *g, kd_status status)
{
    if (g && !g->status) {
        kd_ctx_called(g->ctx, g->heard, status, "a function that builds the graph");
        g->status = status;
        snprintf(g->error, sizeof g->error, "%s", kd_ctx_error(g->ctx));
    }
    return KD_NONE;
}

kd_status kd_graph_status(const kd_graph *g)
{
    if (!g) return KD_E_INVALID;
    return g->status ? kd_ctx_fail(g->ctx, g->status, "%s", g->error) : KD_OK;
}

kd_ctx *kd_graph_ctx(const kd_graph *g)
{
    return g ? g->ctx : NULL;
}

static bool is_value(const kd_graph *g, kd_value v)
{
    return g && v >= 0 && (size_t)v < g->n_values;
}

/* A builder was not given what it needs: `what`, as in "kd_input: NULL name". The first error
 * stays. */
static void lacks(kd_graph *g, const char *what)
{
    if (g && !g->status) kd_graph_fail(g, kd_ctx_fail(g->ctx, KD_E_INVALID, "%s", what));
}

kd_shape kd_graph_shape(const kd_graph *g, kd_value v)
{
    return is_value(g, v) ? g->values[v].shape : (kd_shape){.rank = -1};
}

kd_dtype kd_graph_dtype(const kd_graph *g, kd_value v)
{
    return is_value(g, v) ? g->values[v].dtype : KD_F32;
}

kd_value kdi_graph_root(const kd_graph *g, kd_value v)
{
    while (g->values[v].alias != KD_NONE) v = g->values[v].alias;
    return v;
}

void kd_graph_freeze(kd_graph *g, const char *names)
{
    if (!g) return;
    g->frozen = names ? kdi_pool_strdup(&g->pool, names) : NULL;
    if (names && !g->frozen) kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
}

void kd_graph_part(kd_graph *g, kd_part part)
{
    if (g) g->part = part;
}

void kd_graph_scope(kd_graph *g, const char *format, ...)
{
    if (!g) return;
    const size_t used = strlen(g->scope);
    char name[128];
    va_list args;
    if (!format) {
        lacks(g, "kd_graph_scope: NULL format");
        return;
    }
    va_start(args, format);
    const int n = vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof name || used + 2 + (size_t)n > sizeof g->scope ||
        g->depth == KDI_MAX_SCOPES) {
        kd_graph_fail(g, kd_ctx_fail(g->ctx, KD_E_LIMIT, "scope '%s.%s' is too long or too deep",
                                     g->scope, name));
        return;
    }
    g->scope_length[g->depth++] = used;
    snprintf(g->scope + used, sizeof g->scope - used, "%s%s", used ? "." : "", name);
}

void kd_graph_unscope(kd_graph *g)
{
    /* After an error scopes may be out of step, which is harmless: nothing is built any more. */
    if (g && g->depth > 0) g->scope[g->scope_length[--g->depth]] = 0;
}

kd_value kdi_graph_value(kd_graph *g, kdi_kind kind, const kd_shape *shape, kd_dtype dtype)
{
    size_t count;
    if (g->n_values >= INT32_MAX || !kdi_shape_count(shape, 1, &count) || count > SIZE_MAX / 16)
        return kd_graph_fail(g, kd_ctx_fail(g->ctx, KD_E_LIMIT, "a shape overflows"));
    if (!kdi_grow(g->ctx, (void **)&g->values, g->n_values, &g->cap_values, sizeof *g->values))
        return kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
    g->values[g->n_values] = (kdi_value){.kind = kind,
                                         .shape = *shape,
                                         .dtype = dtype,
                                         .node = -1,
                                         .alias = KD_NONE,
                                         .grad = KD_NONE};
    return (kd_value)g->n_values++;
}

/* A shape from a caller: rank and dimensions in range, only the first symbolic. */
static kd_status check_shape(kd_graph *g, const char *name, int rank, const int64_t *dim,
                             bool symbolic, kd_shape *shape)
{
    if (rank < 1 || rank > KD_MAX_RANK)
        return kd_ctx_fail(g->ctx, KD_E_SHAPE, "'%s': rank %d is not in 1..%d", name, rank,
                           (int)KD_MAX_RANK);
    *shape = (kd_shape){.rank = rank};
    for (int i = 0; i < rank; i++) {
        if (dim[i] == 0 || (dim[i] < 0 && (i > 0 || !symbolic)) || dim[i] > INT32_MAX ||
            dim[i] < -INT32_MAX)
            return kd_ctx_fail(g->ctx, KD_E_SHAPE, "'%s': dimension %d cannot be %lld", name, i,
                               (long long)dim[i]);
        shape->dim[i] = dim[i];
    }
    return KD_OK;
}

kd_value kd_input(kd_graph *g, const char *name, kd_dtype dtype, int rank, const int64_t *dim)
{
    kd_shape shape;
    if (!name || !dim) lacks(g, name ? "kd_input: NULL dim" : "kd_input: NULL name");
    if (!g || g->status) return KD_NONE;
    const kd_status status = check_shape(g, name, rank, dim, true, &shape);
    if (status) return kd_graph_fail(g, status);
    for (size_t i = 0; i < g->n_inputs; i++)
        if (!strcmp(g->values[g->inputs[i]].name, name))
            return kd_graph_fail(
                g, kd_ctx_fail(g->ctx, KD_E_INVALID, "there is an input '%s' already", name));
    if (!kdi_grow(g->ctx, (void **)&g->inputs, g->n_inputs, &g->cap_inputs, sizeof *g->inputs))
        return kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
    const char *copy = kdi_pool_strdup(&g->pool, name);
    const kd_value v = copy ? kdi_graph_value(g, KDI_INPUT, &shape, dtype) : KD_NONE;
    if (v == KD_NONE) return kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
    g->values[v].name = copy;
    g->values[v].index = (int)g->n_inputs;
    g->inputs[g->n_inputs++] = v;
    return v;
}

static kd_value add_param(kd_graph *g, const char *name, const kd_shape *shape,
                          const kd_param_opt *opt)
{
    if (!kdi_grow(g->ctx, (void **)&g->params, g->n_params, &g->cap_params, sizeof *g->params))
        return kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
    const char *copy = kdi_pool_strdup(&g->pool, name);
    const kd_value v = copy ? kdi_graph_value(g, KDI_PARAM, shape, opt->dtype) : KD_NONE;
    if (v == KD_NONE) return kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
    g->values[v].index = (int)g->n_params;
    g->values[v].needs_grad = !opt->buffer && !(g->frozen && kd_name_matches(g->frozen, name));
    g->params[g->n_params++] =
        (kdi_param){.name = copy, .shape = *shape, .value = v, .grad = KD_NONE, .opt = *opt};
    return v;
}

kd_value kd_param(kd_graph *g, const char *name, int rank, const int64_t *dim,
                  const kd_param_opt *options)
{
    char full[384];
    kd_shape shape = {0};
    kd_param_opt opt;
    if (!name) lacks(g, "kd_param: NULL name");
    if (rank != 0 && !dim) lacks(g, "kd_param: NULL dim");
    if (!g || g->status) return KD_NONE;
    const int length = snprintf(full, sizeof full, "%s%s%s", g->scope, *g->scope ? "." : "", name);
    if (length < 0 || (size_t)length >= sizeof full)
        return kd_graph_fail(g,
                             kd_ctx_fail(g->ctx, KD_E_LIMIT,
                                         "parameter '%.60s...': its name has more than %zu bytes",
                                         full, sizeof full - 1));
    const kd_status known = kd_options(g->ctx, "kd_param_opt", &opt, sizeof opt, options);
    if (known) return kd_graph_fail(g, known);
    if (rank != 0) { /* 0: a single number */
        const kd_status status = check_shape(g, full, rank, dim, false, &shape);
        if (status) return kd_graph_fail(g, status);
    }
    for (size_t i = 0; i < g->n_params; i++) {
        if (strcmp(g->params[i].name, full)) continue;
        char a[KDI_SHAPE_TEXT], b[KDI_SHAPE_TEXT];
        if (g->params[i].opt.dtype != opt.dtype || !g->params[i].opt.buffer != !opt.buffer)
            return kd_graph_fail(
                g,
                kd_ctx_fail(g->ctx, KD_E_MISMATCH,
                            "parameter '%s' is a %s of type %s, and a %s of type %s is asked for",
                            full, g->params[i].opt.buffer ? "buffer" : "parameter",
                            kd_dtype_name(g->params[i].opt.dtype),
                            opt.buffer ? "buffer" : "parameter", kd_dtype_name(opt.dtype)));
        if (kdi_shape_equal(&g->params[i].shape, &shape)) return g->params[i].value;
        return kd_graph_fail(g, kd_ctx_fail(g->ctx, KD_E_SHAPE,
                                            "parameter '%s' has shape %s, and %s is asked for",
                                            full, kdi_shape_text(&g->params[i].shape, a),
                                            kdi_shape_text(&shape, b)));
    }
    return add_param(g, full, &shape, &opt);
}

uint64_t kd_graph_param_count(const kd_graph *g)
{
    uint64_t total = 0;
    for (size_t i = 0; g && i < g->n_params; i++) {
        size_t count = 0;
        kdi_shape_count(&g->params[i].shape, 1, &count);
        if (!g->params[i].opt.buffer) total += count;
    }
    return total;
}

kdi_node *kdi_graph_node(kd_graph *g, const kd_op *op, const void *attr, int n_in)
{
    if (!kdi_grow(g->ctx, (void **)&g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes)) {
        kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
        return NULL;
    }
    kdi_node n = {.op = op, .part = g->part, .forward = -1, .n_in = n_in, .n_out = op->n_out};
    n.name = kdi_pool_strdup(&g->pool, g->scope);
    n.attr = kdi_pool_alloc(&g->pool, 1, op->attr_size);
    n.in = kdi_pool_alloc(&g->pool, (size_t)n_in + 1, sizeof *n.in);
    n.out = kdi_pool_alloc(&g->pool, (size_t)op->n_out + 1, sizeof *n.out);
    if (!n.name || !n.attr || !n.in || !n.out) {
        kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
        return NULL;
    }
    if (attr && op->attr_size) memcpy(n.attr, attr, op->attr_size);
    g->nodes[g->n_nodes] = n;
    return &g->nodes[g->n_nodes++];
}

uint32_t kdi_node_no_grad(const kdi_node *n)
{
    return n->op->no_grad_fn ? n->op->no_grad_fn(n->attr) : n->op->no_grad;
}

/* The op's record as this library knows it (kd_options). A shorter one is copied to the graph's
 * pool and completed by zeros. The copy keeps the short struct_size, by which plans know to copy
 * it, too. */
static const kd_op *op_record(kd_graph *g, const kd_op *theirs)
{
    kd_op ours;
    if (theirs->struct_size == sizeof *theirs) return theirs;
    const kd_status status = kd_options(g->ctx, "kd_op", &ours, sizeof ours, theirs);
    if (status) {
        kd_graph_fail(g, status);
        return NULL;
    }
    if (theirs->struct_size > sizeof ours) return theirs;
    kd_op *copy = kdi_pool_alloc(&g->pool, 1, sizeof *copy);
    if (!copy) {
        kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
        return NULL;
    }
    *copy = ours;
    copy->struct_size = theirs->struct_size;
    return copy;
}

/* The checks on an op that its shape rule need not repeat. */
static kd_status check_op(kd_graph *g, const kd_op *op, const kd_value *in, int n_in)
{
    if (!op->name || op->n_out < 1 || op->n_out > KD_MAX_OPERANDS || !op->shape ||
        (!op->forward && !op->view) || !kdi_fields_fit(op))
        return kd_ctx_fail(g->ctx, KD_E_INVALID, "op '%s': its record is incomplete",
                           op->name ? op->name : "");
    if (n_in < op->n_in_min || n_in > op->n_in_max || n_in > KD_MAX_OPERANDS)
        return kd_ctx_fail(g->ctx, KD_E_INVALID, "%s '%s': %d inputs, %d to %d are wanted",
                           op->name, g->scope, n_in, op->n_in_min, op->n_in_max);
    if (n_in > 0 && !in)
        return kd_ctx_fail(g->ctx, KD_E_INVALID, "%s '%s': NULL inputs", op->name, g->scope);
    for (int i = 0; i < n_in; i++)
        if (!is_value(g, in[i]))
            return kd_ctx_fail(g->ctx, KD_E_INVALID, "%s '%s': input %d is no value of this graph",
                               op->name, g->scope, i);
    if (g->differentiated)
        return kd_ctx_fail(g->ctx, KD_E_INVALID,
                           "%s '%s': the graph was differentiated and takes no more ops", op->name,
                           g->scope);
    return KD_OK;
}

static kd_status infer(kd_graph *g, const kd_op *op, void *attr, const kd_value *in, int n_in,
                       kd_shape *out, kd_dtype *dtype)
{
    kd_shape shapes[KD_MAX_OPERANDS];
    kd_dtype dtypes[KD_MAX_OPERANDS];
    char name[384];
    for (int i = 0; i < n_in; i++) {
        shapes[i] = g->values[in[i]].shape;
        dtypes[i] = g->values[in[i]].dtype;
    }
    snprintf(name, sizeof name, "%s '%s'", op->name, g->scope);
    kd_op_shapes s = {.ctx = g->ctx,
                      .name = name,
                      .attr = attr,
                      .n_in = n_in,
                      .in = shapes,
                      .in_dtype = dtypes,
                      .n_out = op->n_out,
                      .out = out,
                      .out_dtype = dtype};
    const size_t before = kd_ctx_failures(g->ctx);
    const kd_status status = kd_ctx_called(g->ctx, before, op->shape(&s), name);
    for (int i = 0; i < op->n_out && !status; i++) {
        size_t count;
        if (out[i].rank < 0 || out[i].rank > KD_MAX_RANK || !kdi_shape_count(&out[i], 1, &count) ||
            count == 0)
            return kd_ctx_fail(g->ctx, KD_E_SHAPE, "%s: output %d has an impossible shape", name,
                               i);
    }
    return status;
}

/* With frozen parameters: does the node compute as in evaluation? */
static bool evaluates(const kd_graph *g, const kdi_node *n, bool needs_grad)
{
    bool params = false, learns = false;
    if (!g->frozen || n->part != KD_PART_FORWARD) return false;
    for (int i = 0; i < n->n_in; i++) {
        const kdi_value *v = &g->values[n->in[i]];
        if (v->kind != KDI_PARAM || g->params[v->index].opt.buffer) continue;
        params = true;
        learns |= v->needs_grad;
    }
    return n->op->updates ? params && !learns : !needs_grad;
}

kd_value kd_graph_op(kd_graph *g, const kd_op *theirs, const void *attr, const kd_value *in,
                     int n_in, kd_value *outputs)
{
    if (!theirs) {
        lacks(g, "kd_graph_op: NULL op");
        return KD_NONE;
    }
    /* A record that is too short to say how many outputs there are has none. */
    const size_t known = offsetof(kd_op, n_out) + sizeof theirs->n_out;
    const int n_out = theirs->struct_size >= known ? theirs->n_out : 0;
    for (int i = 0; outputs && i < n_out; i++) outputs[i] = KD_NONE;
    if (!g || g->status) return KD_NONE;
    const kd_op *op = op_record(g, theirs);
    if (!op) return KD_NONE;
    kd_status status = check_op(g, op, in, n_in);
    if (status) return kd_graph_fail(g, status);
    kdi_node *node = kdi_graph_node(g, op, attr, n_in);
    if (!node) return KD_NONE;
    const int id = (int)(node - g->nodes);

    kd_shape shape[KD_MAX_OPERANDS] = {{0}};
    kd_dtype dtype[KD_MAX_OPERANDS] = {KD_F32};
    status = infer(g, op, node->attr, in, n_in, shape, dtype);
    if (status) {
        g->n_nodes--;
        return kd_graph_fail(g, status);
    }
    bool needs_grad = false;
    for (int i = 0; i < n_in; i++) {
        node->in[i] = in[i];
        needs_grad |= g->values[in[i]].needs_grad && !(kdi_node_no_grad(node) >> i & 1);
    }
    node->evaluates = evaluates(g, node, needs_grad);
    for (int i = 0; i < op->n_out; i++) {
        const kd_value v = kdi_graph_value(g, KDI_RESULT, &shape[i], dtype[i]);
        if (v == KD_NONE) {
            g->n_nodes--;
            return KD_NONE;
        }
        g->values[v].node = id;
        g->values[v].needs_grad = needs_grad;
        if (op->view && i == 0) g->values[v].alias = in[0];
        node->out[i] = v;
        if (outputs) outputs[i] = v;
    }
    g->heard = kd_ctx_failures(g->ctx);
    return node->out[0];
}

void kd_graph_want_grad(kd_graph *g, kd_value v)
{
    if (!is_value(g, v)) return;
    g->values[v].needs_grad = true;
    g->values[v].want_grad = true;
}

void kd_output(kd_graph *g, kd_value v, const char *name)
{
    if (!name) lacks(g, "kd_output: NULL name");
    if (!g || g->status) return;
    if (!is_value(g, v)) {
        kd_graph_fail(g, kd_ctx_fail(g->ctx, KD_E_INVALID, "output '%s' is no value", name));
        return;
    }
    const char *copy = kdi_pool_strdup(&g->pool, name);
    if (!copy || !kdi_grow(g->ctx, (void **)&g->outputs, g->n_outputs, &g->cap_outputs,
                           sizeof *g->outputs)) {
        kd_graph_fail(g, kd_ctx_memory_status(g->ctx));
        return;
    }
    g->outputs[g->n_outputs++] = (kdi_output){copy, v};
}
