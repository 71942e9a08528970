/* SPDX-License-Identifier: MIT
 * message.c: see message.h. What is made is a function of the calls alone, so that the same network
 * is the same bytes. */
#include "message.h"

#include "../base/size.h"

#include <stdio.h>
#include <string.h>

enum { MOST_NAME = 640 };
/* What a protocol buffer's readers take at most: 2^31 - 1 bytes. */
static const size_t most_bytes = INT32_MAX;

char *kdi_onnx_fail(kdi_onnx *o, kd_status status)
{
    if (!o->status) o->status = status;
    return NULL;
}

void *kdi_onnx_alloc(kdi_onnx *o, size_t count, size_t size)
{
    if (o->status) return NULL;
    void *block = kdi_pool_alloc(&o->pool, count, size);
    if (!block) kdi_onnx_fail(o, kd_ctx_memory_status(o->ctx));
    return block;
}

static char *copy(kdi_onnx *o, const char *text)
{
    char *to = kdi_onnx_alloc(o, strlen(text) + 1, 1);
    if (to) memcpy(to, text, strlen(text) + 1);
    return to;
}

/* Room for one more pointer in one of the model's lists. */
static bool grow(kdi_onnx *o, void *list, size_t count, size_t *room)
{
    if (o->status) return false;
    if (kdi_grow(o->ctx, list, count, room, sizeof(void *))) return true;
    kdi_onnx_fail(o, kd_ctx_memory_status(o->ctx));
    return false;
}

void kdi_onnx_begin(kdi_onnx *o, kd_ctx *ctx, int opset, size_t batch)
{
    enum { IR_OF_17 = 8, IR_OF_20 = 9 };
    *o = (kdi_onnx){.ctx = ctx, .pool = {.ctx = ctx}, .opset = opset, .batch = batch};
    o->most = most_bytes;
    onnx__model_proto__init(&o->model);
    onnx__graph_proto__init(&o->graph);
    onnx__operator_set_id_proto__init(&o->opset_import);
    o->opset_import.domain = copy(o, "");
    o->opset_import.has_version = 1;
    o->opset_import.version = opset;
    o->opset_imports[0] = &o->opset_import;
    o->model.has_ir_version = 1;
    o->model.ir_version = opset < 20 ? IR_OF_17 : IR_OF_20;
    o->model.producer_name = copy(o, "libkd");
    o->model.producer_version = copy(o, kd_version());
    o->model.n_opset_import = 1;
    o->model.opset_import = o->opset_imports;
    o->model.graph = &o->graph;
    o->graph.name = copy(o, "network");
}

void kdi_onnx_end(kdi_onnx *o)
{
    void *const lists[] = {o->graph.node, o->graph.initializer, o->graph.input, o->graph.output,
                           o->model.metadata_props};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) kd_ctx_free(o->ctx, lists[i]);
    kdi_pool_free(&o->pool);
}

void kdi_onnx_layer(kdi_onnx *o, const char *layer)
{
    o->layer = layer;
    o->first = o->graph.n_node;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* "features.0/Conv"; a layer's second of a kind is "blocks.0.attn/Reshape_1". */
static char *name_of_node(kdi_onnx *o, const char *op)
{
    char name[MOST_NAME];
    size_t same = 0;
    for (size_t i = o->first; i < o->graph.n_node; i++)
        same += !strcmp(o->graph.node[i]->op_type, op);
    if (same)
        snprintf(name, sizeof name, "%s/%s_%zu", o->layer, op, same);
    else
        snprintf(name, sizeof name, "%s/%s", o->layer, op);
    return copy(o, name);
}

static Onnx__NodeProto *last(const kdi_onnx *o)
{
    return o->status ? NULL : o->graph.node[o->graph.n_node - 1];
}

char *kdi_onnx_node(kdi_onnx *o, const char *op, char *const *in, size_t n_in)
{
    for (size_t i = 0; i < n_in; i++)
        if (!in[i] && !o->status)
            return kdi_onnx_fail(o, kd_ctx_fail(o->ctx, KD_E_UNSUPPORTED,
                                                "%s '%.60s' reads what no node before it makes", op,
                                                o->layer));
    Onnx__NodeProto *n = kdi_onnx_alloc(o, 1, sizeof *n);
    char *name = name_of_node(o, op), *type = copy(o, op);
    char **ends = kdi_onnx_alloc(o, n_in + 1, sizeof *ends);
    Onnx__AttributeProto **attributes =
        kdi_onnx_alloc(o, KDI_ONNX_MOST_ATTRIBUTES, sizeof *attributes);
    if (!grow(o, &o->graph.node, o->graph.n_node, &o->node_room)) return NULL;
    onnx__node_proto__init(n);
    n->name = name;
    n->op_type = type;
    n->n_input = n_in;
    n->input = ends + 1;
    for (size_t i = 0; i < n_in; i++) n->input[i] = in[i];
    n->n_output = 1;
    n->output = ends;
    n->output[0] = name;
    n->attribute = attributes;
    o->graph.node[o->graph.n_node++] = n;
    return name;
}

void kdi_onnx_outputs(kdi_onnx *o, size_t n, char **out)
{
    char name[MOST_NAME];
    Onnx__NodeProto *node = last(o);
    char **all = kdi_onnx_alloc(o, n + 1, sizeof *all);
    for (size_t i = 0; i < n; i++) {
        out[i] = NULL;
        if (o->status) continue;
        snprintf(name, sizeof name, "%s:%zu", node->name, i + 1);
        out[i] = all[i + 1] = copy(o, name);
    }
    if (o->status) return;
    all[0] = node->output[0];
    node->output = all;
    node->n_output = n + 1;
}

static Onnx__AttributeProto *attribute(kdi_onnx *o, const char *name,
                                       Onnx__AttributeProto__AttributeType type)
{
    Onnx__NodeProto *node = last(o);
    Onnx__AttributeProto *a = kdi_onnx_alloc(o, 1, sizeof *a);
    char *text = copy(o, name);
    if (!text) return NULL;
    onnx__attribute_proto__init(a);
    a->name = text;
    a->has_type = 1;
    a->type = type;
    node->attribute[node->n_attribute++] = a;
    return a;
}

void kdi_onnx_int(kdi_onnx *o, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!a) return;
    a->has_i = 1;
    a->i = value;
}

void kdi_onnx_float(kdi_onnx *o, const char *name, float value)
{
    Onnx__AttributeProto *a = attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!a) return;
    a->has_f = 1;
    a->f = value;
}

void kdi_onnx_ints(kdi_onnx *o, const char *name, const int64_t *values, size_t n)
{
    Onnx__AttributeProto *a = attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *to = kdi_onnx_alloc(o, n, sizeof *to);
    if (!to) return;
    memcpy(to, values, n * sizeof *to);
    a->n_ints = n;
    a->ints = to;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static size_t size_of(kdi_onnx_type type)
{
    if (type == KDI_ONNX_INT64) return 8;
    return type == KDI_ONNX_UINT8 || type == KDI_ONNX_INT8 ? 1 : 4;
}

static bool same_array(const Onnx__TensorProto *t, const kdi_onnx_array *a, size_t bytes)
{
    return t->data_type == (int32_t)a->type && t->n_dims == (size_t)a->rank &&
           t->raw_data.len == bytes && !memcmp(t->dims, a->dim, (size_t)a->rank * sizeof *a->dim) &&
           !memcmp(t->raw_data.data, a->data, bytes);
}

/* The name of such an array that is there; NULL: there is none. */
static char *find_array(const kdi_onnx *o, const kdi_onnx_array *a, size_t bytes)
{
    static const char unnamed[] = "constants.";
    for (size_t i = 0; i < o->graph.n_initializer; i++) {
        const Onnx__TensorProto *t = o->graph.initializer[i];
        if (a->name ? !strcmp(t->name, a->name)
                    : !strncmp(t->name, unnamed, sizeof unnamed - 1) && same_array(t, a, bytes))
            return t->name;
    }
    return NULL;
}

/* Bytes of an array, if the file has room for it. */
static bool count_bytes(kdi_onnx *o, const kdi_onnx_array *a, size_t *bytes)
{
    *bytes = size_of(a->type);
    bool fits = true;
    for (int i = 0; i < a->rank; i++) fits = fits && kdi_mul(*bytes, (size_t)a->dim[i], bytes);
    if (fits && *bytes <= o->most && o->bytes <= o->most - *bytes) return true;
    if (!o->status)
        kdi_onnx_fail(o, kd_ctx_fail(o->ctx, KD_E_LIMIT,
                                     "the network's arrays take more than %zu bytes with '%.80s', "
                                     "and an ONNX file has no room for more",
                                     o->most, a->name ? a->name : o->layer));
    return false;
}

bool kdi_onnx_has_room(kdi_onnx *o, const kdi_onnx_array *a)
{
    size_t bytes;
    return count_bytes(o, a, &bytes);
}

char *kdi_onnx_find(const kdi_onnx *o, const char *name)
{
    return find_array(o, &(kdi_onnx_array){.name = name}, 0);
}

static char *add_array(kdi_onnx *o, const kdi_onnx_array *a, const char *name, size_t bytes)
{
    Onnx__TensorProto *t = kdi_onnx_alloc(o, 1, sizeof *t);
    int64_t *dims = kdi_onnx_alloc(o, (size_t)a->rank + 1, sizeof *dims);
    char *own = copy(o, name);
    void *data = a->name ? a->data : kdi_onnx_alloc(o, bytes + 1, 1);
    if (!grow(o, &o->graph.initializer, o->graph.n_initializer, &o->array_room)) return NULL;
    if (!a->name) memcpy(data, a->data, bytes);
    memcpy(dims, a->dim, (size_t)a->rank * sizeof *dims);
    onnx__tensor_proto__init(t);
    t->name = own;
    t->has_data_type = t->has_raw_data = 1;
    t->data_type = (int32_t)a->type;
    t->n_dims = (size_t)a->rank;
    t->dims = dims;
    t->raw_data.len = bytes;
    t->raw_data.data = data;
    o->graph.initializer[o->graph.n_initializer++] = t;
    o->bytes += bytes;
    return own;
}

char *kdi_onnx_constant(kdi_onnx *o, const kdi_onnx_array *a)
{
    char number[40];
    size_t bytes;
    if (o->status || !count_bytes(o, a, &bytes)) return NULL;
    char *there = find_array(o, a, bytes);
    if (there) return there;
    if (a->name) return add_array(o, a, a->name, bytes);
    snprintf(number, sizeof number, "constants.%zu", o->constants++);
    return add_array(o, a, number, bytes);
}

char *kdi_onnx_int64s(kdi_onnx *o, const int64_t *values, size_t n)
{
    int64_t *copies = kdi_onnx_alloc(o, n, sizeof *copies);
    if (!copies) return NULL;
    memcpy(copies, values, n * sizeof *copies);
    const kdi_onnx_array a = {
        .type = KDI_ONNX_INT64, .rank = 1, .dim = {(int64_t)n}, .data = copies};
    return kdi_onnx_constant(o, &a);
}

char *kdi_onnx_number(kdi_onnx *o, float value)
{
    return kdi_onnx_constant(o, &(kdi_onnx_array){.type = KDI_ONNX_FLOAT, .data = &value});
}

/* ---- inputs and outputs ---------------------------------------------------------------------- */

int64_t kdi_onnx_dim(const kdi_onnx *o, int64_t dim)
{
    if (dim >= 0) return dim;
    return o->batch ? -dim * (int64_t)o->batch : -1;
}

/* All messages that say of which shape a value is, in one block. */
typedef struct described {
    Onnx__ValueInfoProto info;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    Onnx__TensorShapeProto__Dimension dim[KD_MAX_RANK], *dims[KD_MAX_RANK];
} described;

static Onnx__ValueInfoProto *describe(kdi_onnx *o, char *name, const kd_shape *shape)
{
    described *d = kdi_onnx_alloc(o, 1, sizeof *d);
    char *symbol = copy(o, "N");
    if (!symbol) return NULL;
    onnx__value_info_proto__init(&d->info);
    onnx__type_proto__init(&d->type);
    onnx__type_proto__tensor__init(&d->tensor);
    onnx__tensor_shape_proto__init(&d->shape);
    d->info.name = name;
    d->info.type = &d->type;
    d->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    d->type.tensor_type = &d->tensor;
    d->tensor.has_elem_type = 1;
    d->tensor.elem_type = KDI_ONNX_FLOAT;
    d->tensor.shape = &d->shape;
    d->shape.n_dim = (size_t)shape->rank;
    d->shape.dim = d->dims;
    for (int i = 0; i < shape->rank; i++) {
        const int64_t size = kdi_onnx_dim(o, shape->dim[i]);
        d->dims[i] = &d->dim[i];
        onnx__tensor_shape_proto__dimension__init(&d->dim[i]);
        if (size >= 0) {
            d->dim[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim[i].dim_value = size;
        } else if (shape->dim[i] == KD_BATCH) {
            d->dim[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim[i].dim_param = symbol;
        }
    }
    return &d->info;
}

char *kdi_onnx_input(kdi_onnx *o, const char *name, const kd_shape *shape)
{
    char *own = copy(o, name);
    Onnx__ValueInfoProto *info = describe(o, own, shape);
    if (!grow(o, &o->graph.input, o->graph.n_input, &o->input_room)) return NULL;
    o->graph.input[o->graph.n_input++] = info;
    return own;
}

/* The node that made a value, by the name that it had then; NULL: none. */
static Onnx__NodeProto *maker_of(const kdi_onnx *o, const char *value)
{
    for (size_t i = 0; i < o->graph.n_node; i++)
        if (!strcmp(o->graph.node[i]->name, value)) return o->graph.node[i];
    return NULL;
}

static bool is_output(const kdi_onnx *o, const char *value)
{
    for (size_t i = 0; i < o->graph.n_output; i++)
        if (!strcmp(o->graph.output[i]->name, value)) return true;
    return false;
}

static void rename_inputs(kdi_onnx *o, const char *from, char *to)
{
    for (size_t i = 0; i < o->graph.n_node; i++) {
        Onnx__NodeProto *n = o->graph.node[i];
        for (size_t k = 0; k < n->n_input; k++)
            if (!strcmp(n->input[k], from)) n->input[k] = to;
    }
}

/* The value is renamed; an input or a constant, or what is an output already, goes through an
 * Identity. */
void kdi_onnx_output(kdi_onnx *o, char *value, const char *name, const kd_shape *shape)
{
    char *own = copy(o, name);
    Onnx__ValueInfoProto *info = describe(o, own, shape);
    if (!grow(o, &o->graph.output, o->graph.n_output, &o->output_room)) return;
    Onnx__NodeProto *maker = value ? maker_of(o, value) : NULL;
    if (maker && !is_output(o, maker->output[0])) {
        rename_inputs(o, maker->output[0], own);
        maker->output[0] = own;
    } else {
        kdi_onnx_layer(o, name);
        KDI_ONNX_NODE(o, "Identity", maker ? maker->output[0] : value);
        if (o->status) return;
        last(o)->output[0] = own;
    }
    o->graph.output[o->graph.n_output++] = info;
}

/* ---- metadata -------------------------------------------------------------------------------- */

static kd_status property(void *model, const char *key, const char *value)
{
    kdi_onnx *o = model;
    Onnx__StringStringEntryProto *p = kdi_onnx_alloc(o, 1, sizeof *p);
    char *k = copy(o, key), *v = copy(o, value);
    if (!grow(o, &o->model.metadata_props, o->model.n_metadata_props, &o->property_room))
        return o->status;
    onnx__string_string_entry_proto__init(p);
    p->key = k;
    p->value = v;
    o->model.metadata_props[o->model.n_metadata_props++] = p;
    return KD_OK;
}

void kdi_onnx_describe(kdi_onnx *o, const kdi_about *about)
{
    if (!o->status) o->status = kdi_about_tell(o->ctx, about, property, o);
}
