/* SPDX-License-Identifier: MIT
 * walk.c: the graph's nodes in order, those that an output needs, each by its op's function. */
#include "emit.h"

#include "../op/fields.h"

#include <stdio.h>
#include <string.h>

enum { MOST_LAYER = 512 };

/* ---- values ---------------------------------------------------------------------------------- */

const kd_shape *kdi_emit_shape(const kdi_emitter *e, kd_value v)
{
    return &e->graph->values[v].shape;
}

void kdi_emit_refuse(kdi_emitter *e, const char *why)
{
    if (e->o->status) return;
    kdi_onnx_fail(e->o, kd_ctx_fail(e->o->ctx, KD_E_UNSUPPORTED, "%s '%.80s': %s",
                                    e->node ? e->node->op->name : "output", e->o->layer, why));
}

static const kd_param_info *info_of(const kdi_emitter *e, kd_value v)
{
    const kdi_value *value = &e->graph->values[v];
    if (value->kind != KDI_PARAM) return NULL;
    return kd_params_find(e->params, e->graph->params[value->index].name);
}

/* The parameter's numbers in the file's layout: in place where that is ours. */
static void *numbers(kdi_emitter *e, const kd_param_info *info)
{
    char *buffers = kd_params_buffers(e->params);
    if (info->buffer) return buffers + info->offset;
    if (info->layout == KD_LAYOUT_SAME) return kd_params_values(e->params) + info->offset;
    float *copy = kdi_onnx_alloc(e->o, info->count, sizeof *copy);
    if (copy) kd_params_pack(info, kd_params_values(e->params), copy);
    return copy;
}

char *kdi_emit_weight(kdi_emitter *e, kd_value v)
{
    const kd_param_info *info = e->o->status ? NULL : info_of(e, v);
    if (!info || info->dtype != KD_F32) {
        kdi_emit_refuse(e, "its weights are no parameters");
        return NULL;
    }
    const kd_shape *shape = &info->file_shape;
    kdi_onnx_array a = {.name = info->name, .type = KDI_ONNX_FLOAT, .rank = shape->rank};
    memcpy(a.dim, shape->dim, sizeof a.dim);
    char *there = kdi_onnx_find(e->o, info->name);
    if (there) return there;
    if (!kdi_onnx_has_room(e->o, &a)) return NULL;
    a.data = numbers(e, info);
    return kdi_onnx_constant(e->o, &a);
}

/* A parameter that an op reads like any other value. */
static char *plain_parameter(kdi_emitter *e, kd_value v)
{
    static const int64_t order[] = {0, 2, 3, 1};
    const kd_param_info *info = info_of(e, v);
    char *name = kdi_emit_weight(e, v);
    if (!info || info->layout == KD_LAYOUT_SAME) return name;
    if (info->layout == KD_LAYOUT_CONV) return kdi_emit_transpose(e, name, 4, order);
    kdi_emit_refuse(e, "it reads weights in a layout that files do not have");
    return NULL;
}

char *kdi_emit_plain(kdi_emitter *e, kd_value v)
{
    static const int64_t order[] = {0, 2, 3, 1};
    kdi_onnx_value *value = &e->values[v];
    if (value->plain || e->o->status) return value->plain;
    if (e->graph->values[v].kind == KDI_PARAM)
        value->plain = plain_parameter(e, v);
    else if (value->chw)
        value->plain = kdi_emit_transpose(e, value->chw, 4, order);
    return value->plain;
}

char *kdi_emit_chw(kdi_emitter *e, kd_value v)
{
    static const int64_t order[] = {0, 3, 1, 2};
    kdi_onnx_value *value = &e->values[v];
    if (!value->chw && !e->o->status)
        value->chw = kdi_emit_transpose(e, kdi_emit_plain(e, v), 4, order);
    return value->chw;
}

char *kdi_emit_either(kdi_emitter *e, kd_value v, bool *chw)
{
    *chw = e->values[v].chw && !e->values[v].plain;
    return *chw ? e->values[v].chw : kdi_emit_plain(e, v);
}

void kdi_emit_set(kdi_emitter *e, char *name, bool chw)
{
    kdi_onnx_value *value = &e->values[e->node->out[0]];
    if (chw)
        value->chw = name;
    else
        value->plain = name;
}

int64_t kdi_emit_attr(kdi_emitter *e, const char *field, size_t i, size_t count)
{
    int64_t all[KD_MAX_RANK] = {0};
    if (i >= KD_MAX_RANK || count > KD_MAX_RANK ||
        !kdi_attr_ints(e->node->op, e->node->attr, field, count, all)) {
        kdi_emit_refuse(e, "an attribute that ONNX needs is not known");
        return 0;
    }
    return all[i];
}

float kdi_emit_attr_float(kdi_emitter *e, const char *field)
{
    float value = 0;
    if (!kdi_attr_floats(e->node->op, e->node->attr, field, 1, &value))
        kdi_emit_refuse(e, "an attribute that ONNX needs is not known");
    return value;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* needed [values]: what outputs need, and what makes it. */
static void mark_needed(const kd_graph *g, bool *needed)
{
    for (size_t i = 0; i < g->n_outputs; i++) needed[g->outputs[i].value] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const kdi_node *n = &g->nodes[i];
        bool read = false;
        for (int k = 0; k < n->n_out; k++) read |= n->out[k] != KD_NONE && needed[n->out[k]];
        for (int k = 0; k < n->n_in && read; k++)
            if (n->in[k] != KD_NONE) needed[n->in[k]] = true;
    }
}

static bool is_needed(const kdi_node *n, const bool *needed)
{
    for (int k = 0; k < n->n_out; k++)
        if (n->out[k] != KD_NONE && needed[n->out[k]]) return true;
    return false;
}

/* "features.0", or for a node without a name of its own "relu.2", as for what reuses a name. */
static void name_layer(kdi_emitter *e, size_t i, char name[MOST_LAYER])
{
    const kdi_node *nodes = e->graph->nodes, *n = &nodes[i];
    bool own = n->name && *n->name;
    for (size_t k = 0; k < i && own; k++)
        if (nodes[k].name && !strcmp(nodes[k].name, n->name)) own = false;
    if (own)
        snprintf(name, MOST_LAYER, "%s", n->name);
    else
        snprintf(name, MOST_LAYER, "%s%s%s.%zu", n->name ? n->name : "",
                 n->name && *n->name ? "." : "", n->op->name, i);
    kdi_onnx_layer(e->o, name);
}

/* Of what has several outputs, such as a batch norm's statistics, the first is written. */
static void emit_node(kdi_emitter *e, const kdi_node *n)
{
    kdi_emit_fn *emit = kdi_emit_of(n->op);
    e->node = n;
    if (n->forward >= 0) {
        kdi_emit_refuse(e, "an output needs the backward pass, which ONNX models do not have");
    } else if (emit) {
        emit(e, n);
    } else {
        kdi_emit_refuse(e, "ONNX export knows no nodes for this op");
    }
}

static void emit_inputs(kdi_emitter *e, const bool *needed)
{
    const kd_graph *g = e->graph;
    for (size_t i = 0; i < g->n_inputs; i++) {
        const kdi_value *v = &g->values[g->inputs[i]];
        kd_shape shape = v->shape;
        if (!needed[g->inputs[i]]) continue;
        if (v->dtype != KD_F32) {
            kdi_onnx_fail(e->o, kd_ctx_fail(e->o->ctx, KD_E_UNSUPPORTED,
                                            "input '%.80s' is of type %s; ONNX models have inputs "
                                            "of floats",
                                            v->name, kd_dtype_name(v->dtype)));
            return;
        }
        if (shape.rank == 4) {
            const kd_shape *s = &v->shape;
            shape = (kd_shape){4, {s->dim[0], s->dim[3], s->dim[1], s->dim[2]}};
            e->values[g->inputs[i]].chw = kdi_onnx_input(e->o, v->name, &shape);
        } else {
            e->values[g->inputs[i]].plain = kdi_onnx_input(e->o, v->name, &shape);
        }
    }
}

static void emit_outputs(kdi_emitter *e)
{
    const kd_graph *g = e->graph;
    e->node = NULL;
    for (size_t i = 0; i < g->n_outputs && !e->o->status; i++) {
        const kd_value v = g->outputs[i].value;
        kdi_onnx_layer(e->o, g->outputs[i].name);
        kdi_onnx_output(e->o, kdi_emit_plain(e, v), g->outputs[i].name, kdi_emit_shape(e, v));
    }
}

void kdi_emit_graph(kdi_onnx *o, const kd_graph *g, kd_params *params)
{
    char layer[MOST_LAYER];
    bool *needed = kdi_onnx_alloc(o, g->n_values, sizeof *needed);
    kdi_emitter e = {.o = o, .graph = g, .params = params};
    e.values = kdi_onnx_alloc(o, g->n_values, sizeof *e.values);
    if (o->status) return;
    mark_needed(g, needed);
    emit_inputs(&e, needed);
    for (size_t i = 0; i < g->n_nodes && !o->status; i++) {
        if (!is_needed(&g->nodes[i], needed)) continue;
        name_layer(&e, i, layer);
        emit_node(&e, &g->nodes[i]);
    }
    emit_outputs(&e);
    o->layer = "";
}

/* ---- nodes that many ops have ---------------------------------------------------------------- */

char *kdi_emit_reshape(kdi_emitter *e, char *x, int rank, const int64_t *dim)
{
    int64_t to[KD_MAX_RANK];
    for (int i = 0; i < rank; i++) to[i] = kdi_onnx_dim(e->o, dim[i]);
    return KDI_ONNX_NODE(e->o, "Reshape", x, kdi_onnx_int64s(e->o, to, (size_t)rank));
}

char *kdi_emit_transpose(kdi_emitter *e, char *x, int rank, const int64_t *order)
{
    char *y = KDI_ONNX_NODE(e->o, "Transpose", x);
    kdi_onnx_ints(e->o, "perm", order, (size_t)rank);
    return y;
}

/* Constants are made one after another: in what order arguments are computed is the compiler's. */
char *kdi_emit_slice(kdi_emitter *e, char *x, int64_t first, int64_t count)
{
    const int64_t end = first + count, axis = 1;
    char *begins = kdi_onnx_int64s(e->o, &first, 1), *ends = kdi_onnx_int64s(e->o, &end, 1);
    char *axes = kdi_onnx_int64s(e->o, &axis, 1);
    return KDI_ONNX_NODE(e->o, "Slice", x, begins, ends, axes);
}

/* From opset 18 on the axes are an input. */
char *kdi_emit_mean(kdi_emitter *e, char *x, size_t n, const int64_t *axes)
{
    const bool by_input = e->o->opset >= 18;
    char *y = by_input ? KDI_ONNX_NODE(e->o, "ReduceMean", x, kdi_onnx_int64s(e->o, axes, n))
                       : KDI_ONNX_NODE(e->o, "ReduceMean", x);
    if (!by_input) kdi_onnx_ints(e->o, "axes", axes, n);
    kdi_onnx_int(e->o, "keepdims", 1);
    return y;
}
