/* SPDX-License-Identifier: MIT
 * test_onnx.c: ONNX models, read back by protobuf-c: arrays with PyTorch's names and a network's
 * numbers, nodes in an order in which they can run, shapes, the same bytes every time; what is
 * refused, and that nothing is half-written. That other runtimes compute the network's logits is
 * tests/golden/onnx_models.py's; sums of what it checked are compared here. */
#include "../quant/nets.h"

#include "../../lib/onnx/onnx.h"

#include <kd/kd.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[512];

static void use_path(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    unlink(path);
}

static void expect(kd_ctx *ctx, kd_status status, kd_status wanted, const char *says)
{
    ck_assert_msg(status == wanted && strstr(kd_ctx_error(ctx), says), "%s, '%s'; not %s, '%s'",
                  kd_status_name(status), kd_ctx_error(ctx), kd_status_name(wanted), says);
    ck_assert_ptr_null(strchr(kd_ctx_error(ctx), '\n'));
}

static kd_model *make_model(kd_ctx *ctx, const char *spec)
{
    static const float half[] = {.5f, .5f, .5f}, third[] = {.25f, .3f, .35f};
    kd_model *m;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &m));
    test_ok(ctx, kd_model_set_normalization(m, half, third));
    return m;
}

#if !KDI_ONNX

START_TEST(test_built_without)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, "vgg2,width=0.0625,image=8,classes=3");
    use_path("none.onnx");
    expect(ctx, kd_export_onnx(m, path, NULL), KD_E_UNSUPPORTED, "built without protobuf-c");
    ck_assert_int_ne(access(path, F_OK), 0);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(onnx, 30, &test_built_without)

#else

#include "../../lib/onnx/emit.h"

static const char *const specs[] = {
    "vgg8_bn,width=0.0625,image=32,classes=4",
    "vgg5,width=0.0625,image=24x40,classes=3,head=fc4096,dense=12",
    "vit_tiny_patch16_224,image=16,patch=4,dim=12,depth=2,heads=3,classes=5",
    "deit_tiny_distilled_patch16_224,image=16,patch=4,dim=12,depth=2,heads=3,classes=5",
    "swin_tiny_patch4_window7_224,image=36,patch=4,dim=6,depth=2-2,heads=3-1,window=4,classes=5"};
enum { SPECS = sizeof specs / sizeof *specs };

typedef struct read_back {
    kd_ctx *ctx;
    char *bytes;
    size_t size;
    Onnx__ModelProto *model;
} read_back;

static read_back reread(kd_ctx *ctx)
{
    read_back r = {.ctx = ctx};
    test_ok(ctx, kd_file_read_all(ctx, path, (size_t)1 << 30, &r.bytes, &r.size));
    const void *bytes = r.bytes;
    r.model = onnx__model_proto__unpack(NULL, r.size, bytes);
    ck_assert_ptr_nonnull(r.model);
    return r;
}

static void forget(read_back *r)
{
    onnx__model_proto__free_unpacked(r->model, NULL);
    kd_ctx_free(r->ctx, r->bytes);
}

static read_back export(kd_model *m, int opset, size_t batch)
{
    const kd_onnx_opt opt = {
        .struct_size = sizeof opt, .opset = opset, .batch = batch, .dynamic_batch = batch == 0};
    test_ok(kd_model_ctx(m), kd_export_onnx(m, path, &opt));
    return reread(kd_model_ctx(m));
}

static const Onnx__TensorProto *array_of(const Onnx__GraphProto *g, const char *name)
{
    for (size_t i = 0; i < g->n_initializer; i++)
        if (!strcmp(g->initializer[i]->name, name)) return g->initializer[i];
    return NULL;
}

/* ---- what is in it --------------------------------------------------------------------------- */

/* Parameters are there under their names, in PyTorch's layout, to the bit; nothing else is but
 * constants, and counters of batch norms are not. */
static void check_arrays(kd_model *m, const Onnx__GraphProto *g)
{
    const kd_params *p = kd_model_params(m);
    size_t named = 0;
    for (size_t i = 0; i < kd_params_entries(p); i++) {
        const kd_param_info *info = kd_params_info(p, i);
        const Onnx__TensorProto *t = array_of(g, info->name);
        if (info->dtype != KD_F32) {
            ck_assert_ptr_null(t);
            continue;
        }
        ck_assert_msg(t != NULL, "no array %s", info->name);
        ck_assert_int_eq(t->data_type, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
        ck_assert_uint_eq(t->n_dims, (size_t)info->file_shape.rank);
        for (size_t d = 0; d < t->n_dims; d++)
            ck_assert_int_eq(t->dims[d], info->file_shape.dim[d]);
        ck_assert_uint_eq(t->raw_data.len, info->count * sizeof(float));
        float *wanted = malloc(t->raw_data.len);
        test_ok(kd_model_ctx(m), kd_params_get(p, info, 0, wanted));
        ck_assert_mem_eq(t->raw_data.data, wanted, t->raw_data.len);
        free(wanted);
        named++;
    }
    for (size_t i = 0; i < g->n_initializer; i++)
        named += !strncmp(g->initializer[i]->name, "constants.", 10);
    ck_assert_uint_eq(named, g->n_initializer);
}

/* Is it an input, an array, or the output of one of the first n nodes? */
static bool is_known(const Onnx__GraphProto *g, size_t n, const char *value)
{
    if (!strcmp(value, g->input[0]->name) || array_of(g, value)) return true;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (!strcmp(g->node[i]->output[k], value)) return true;
    return false;
}

static void check_nodes(const Onnx__GraphProto *g)
{
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *n = g->node[i];
        for (size_t k = 0; k < n->n_input; k++)
            ck_assert_msg(is_known(g, i, n->input[k]), "%s reads %s", n->name, n->input[k]);
        for (size_t k = 0; k < n->n_output; k++)
            ck_assert_msg(!is_known(g, i, n->output[k]), "%s is made twice", n->output[k]);
        for (size_t k = 0; k < i; k++) ck_assert_str_ne(g->node[k]->name, n->name);
    }
    ck_assert(is_known(g, g->n_node, "logits"));
}

static size_t count_ops(const Onnx__GraphProto *g, const char *op)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_node; i++) n += !strcmp(g->node[i]->op_type, op);
    return n;
}

static void check_dims(const Onnx__ValueInfoProto *v, size_t batch, size_t n, const int64_t *rest)
{
    const Onnx__TypeProto__Tensor *t = v->type->tensor_type;
    ck_assert_int_eq(t->elem_type, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    ck_assert_uint_eq(t->shape->n_dim, n + 1);
    if (batch)
        ck_assert_int_eq(t->shape->dim[0]->dim_value, (int64_t)batch);
    else
        ck_assert_str_eq(t->shape->dim[0]->dim_param, "N");
    for (size_t i = 0; i < n; i++) ck_assert_int_eq(t->shape->dim[i + 1]->dim_value, rest[i]);
}

static void check_model(kd_model *m, int opset, size_t batch)
{
    read_back r = export(m, opset, batch);
    const Onnx__GraphProto *g = r.model->graph;
    const int64_t picture[] = {(int64_t)kd_model_channels(m), (int64_t)kd_model_height(m),
                               (int64_t)kd_model_width(m)};
    const int64_t classes = (int64_t)kd_model_classes(m);
    ck_assert_int_eq(r.model->ir_version, opset == 20 ? 9 : 8);
    ck_assert_uint_eq(r.model->n_opset_import, 1);
    ck_assert_int_eq(r.model->opset_import[0]->version, opset);
    ck_assert_str_eq(r.model->producer_name, "libkd");
    ck_assert(g->n_input == 1 && g->n_output == 1);
    ck_assert_str_eq(g->input[0]->name, "input");
    ck_assert_str_eq(g->output[0]->name, "logits");
    check_dims(g->input[0], batch, 3, picture);
    check_dims(g->output[0], batch, 1, &classes);
    check_arrays(m, g);
    check_nodes(g);
    const size_t gelus = count_ops(g, opset == 20 ? "Gelu" : "Erf");
    ck_assert_uint_eq(gelus > 0, kd_model_is_transformer(m) != 0);
    ck_assert_uint_eq(count_ops(g, opset == 20 ? "Erf" : "Gelu"), 0);
    forget(&r);
}

START_TEST(test_every_family)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    use_path("family.onnx");
    for (size_t s = 0; s < SPECS; s++) {
        kd_model *m = make_model(ctx, specs[s]);
        check_model(m, 17, 1);
        check_model(m, 17, 0);
        check_model(m, 20, 3);
        kd_model_destroy(m);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* The unfused network: a node for each of its ops, no transposition, no constant. */
START_TEST(test_vgg_is_plain)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, "vgg4_bn,image=16,classes=4,convs=2-1-1,stages=8-12-16");
    static const char *const ops[] = {"Conv",
                                      "BatchNormalization",
                                      "Relu",
                                      "Conv",
                                      "BatchNormalization",
                                      "Relu",
                                      "MaxPool",
                                      "Conv",
                                      "BatchNormalization",
                                      "Relu",
                                      "MaxPool",
                                      "Conv",
                                      "BatchNormalization",
                                      "Relu",
                                      "MaxPool",
                                      "GlobalAveragePool",
                                      "Flatten",
                                      "Gemm"};
    use_path("plain.onnx");
    read_back r = export(m, 17, 1);
    ck_assert_uint_eq(r.model->graph->n_node, sizeof ops / sizeof *ops);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        ck_assert_str_eq(r.model->graph->node[i]->op_type, ops[i]);
    ck_assert_str_eq(r.model->graph->node[0]->name, "features.0/Conv");
    forget(&r);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

static const char *property(const Onnx__ModelProto *m, const char *key)
{
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (!strcmp(m->metadata_props[i]->key, key)) return m->metadata_props[i]->value;
    return NULL;
}

/* Metadata are those of the network's own file. */
START_TEST(test_metadata)
{
    static const char *const names[] = {"a \"cat\"", "dog", "Vögel", "d"};
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, specs[0]);
    kd_file *f;
    void *bytes;
    size_t size;
    test_ok(ctx, kd_model_set_class_names(m, names));
    test_ok(ctx, kd_model_set_data(m, "cifar-10", 0x1234));
    test_ok(ctx, kd_model_set_framing(m, "centre:0.9"));
    test_ok(ctx, kd_model_save_memory(m, KD_F32, &bytes, &size));
    test_ok(ctx, kd_file_from_memory(ctx, bytes, size, "memory", &f));
    use_path("metadata.onnx");
    read_back r = export(m, 17, 1);
    ck_assert_uint_eq(kd_file_metadata_count(f), r.model->n_metadata_props + 1); /* format: pt */
    for (size_t i = 0; i < kd_file_metadata_count(f); i++) {
        const char *key, *value;
        ck_assert(kd_file_metadata_at(f, i, &key, &value));
        if (!strcmp(key, "format")) continue;
        ck_assert_msg(property(r.model, key) && !strcmp(property(r.model, key), value), "%s", key);
    }
    forget(&r);
    kd_file_close(f);
    kd_ctx_free(ctx, bytes);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_same_bytes)
{
    for (size_t s = 0; s < SPECS; s++) {
        char *bytes[2];
        size_t size[2];
        kd_ctx *ctxs[2];
        use_path("same.onnx");
        for (int i = 0; i < 2; i++) {
            kd_ctx *ctx = ctxs[i] = test_ctx(i ? 3 : 1, i ? NULL : "generic");
            kd_model *m = make_model(ctx, specs[s]);
            for (int again = 0; again <= i; again++) test_ok(ctx, kd_export_onnx(m, path, NULL));
            test_ok(ctx, kd_file_read_all(ctx, path, (size_t)1 << 30, &bytes[i], &size[i]));
            kd_model_destroy(m);
        }
        ck_assert_uint_eq(size[0], size[1]);
        ck_assert_mem_eq(bytes[0], bytes[1], size[0]);
        for (int i = 0; i < 2; i++) {
            kd_ctx_free(ctxs[i], bytes[i]);
            kd_ctx_destroy(ctxs[i]);
        }
    }
}
END_TEST

/* ---- ops ------------------------------------------------------------------------------------- */

/* What no network computes with once it is trained: losses, and what they alone use. */
static bool only_training(const kd_op *op)
{
    static const kd_op *const ops[] = {
        &kdi_op_channel_energy, &kdi_op_cross_entropy, &kdi_op_l2_normalize, &kdi_op_loss_dkd,
        &kdi_op_loss_hard,      &kdi_op_loss_kd,       &kdi_op_loss_kl,      &kdi_op_loss_mse,
        &kdi_op_loss_rkd,       &kdi_op_mean,          &kdi_op_mean_square,  &kdi_op_one,
        &kdi_op_standardize};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i] == op) return true;
    return false;
}

/* A new op is written by a function in lib/onnx/maps.c, or stands in the list above. */
START_TEST(test_every_op_is_known)
{
    static const kd_op *const all[] = {
#define OP(name) &kdi_op_##name,
#include "../../lib/op/ops.def"
#undef OP
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const bool written = kdi_emit_of(all[i]) != NULL;
        ck_assert_msg(written != only_training(all[i]), "%s: lib/onnx/maps.c or only_training?",
                      all[i]->name);
    }
}
END_TEST

static kd_status export_graph(kd_graph *g)
{
    kd_params *p = NULL;
    kd_status status = kd_params_create(g, 1, &p);
    if (!status) status = kd_export_onnx_graph(g, p, path, NULL, NULL);
    kd_params_destroy(p);
    return status;
}

static kd_graph *graph_of(kd_ctx *ctx, kd_value *x)
{
    static const int64_t dim[] = {KD_BATCH, 6, 6, 4};
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    *x = kd_input(g, "x", KD_F32, 4, dim);
    return g;
}

/* A graph of one's own: several inputs, two outputs of one value, an input as an output, names that come
 * twice. */
START_TEST(test_own_graph)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const int64_t dim[] = {KD_BATCH, 6, 6, 4}, row[] = {KD_BATCH, 144};
    const kd_pool_opt odd = {.struct_size = sizeof odd,
                             .kernel = {3, 3},
                             .stride = {2, 2},
                             .pad = {1, 0},
                             .ceil_mode = 1};
    kd_value x;
    use_path("own.onnx");
    kd_graph *g = graph_of(ctx, &x);
    const kd_value z = kd_input(g, "z", KD_F32, 4, dim);
    const kd_value sum = kd_sub(g, kd_mul(g, x, z), kd_scale(g, x, 2));
    const kd_value y = kd_linear(g, kd_sigmoid(g, kd_reshape(g, sum, 2, row)), "fc", 5, 0);
    const kd_value pooled = kd_adaptive_avg_pool(g, kd_max_pool(g, x, &odd), 2, 3);
    kd_output(g, kd_softmax(g, y), "p");
    kd_output(g, y, "a");
    kd_output(g, y, "b");
    kd_output(g, kd_input(g, "same_in", KD_F32, 2, row), "same");
    kd_output(g, pooled, "pooled");
    kd_linear(g, y, "unused", 7, 1);
    test_ok(ctx, export_graph(g));
    read_back r = reread(ctx);
    const Onnx__GraphProto *got = r.model->graph;
    ck_assert(got->n_input == 3 && got->n_output == 5);
    ck_assert_ptr_null(array_of(got, "unused.weight"));
    ck_assert_uint_eq(count_ops(got, "Identity"), 2);
    ck_assert_uint_eq(r.model->n_metadata_props, 1); /* libkd.version */
    for (size_t i = 0; i < 5; i++) {
        static const char *const names[] = {"p", "a", "b", "same", "pooled"};
        ck_assert_str_eq(got->output[i]->name, names[i]);
    }
    forget(&r);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_unsupported)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const int64_t n[] = {KD_BATCH}, four[] = {2, 2, 2, 2};
    const kd_param_opt flat = {.struct_size = sizeof flat, .layout = KD_LAYOUT_FLATTEN};
    const kd_param_opt counter = {.struct_size = sizeof counter, .buffer = 1, .dtype = KD_I64};
    const kd_pool_opt beyond = {.struct_size = sizeof beyond,
                                .kernel = {3, 3},
                                .stride = {3, 3},
                                .pad = {1, 1},
                                .ceil_mode = 1};
    kd_value x;
    use_path("unsupported.onnx");
    kd_graph *g = graph_of(ctx, &x);
    kd_graph_scope(g, "tail");
    kd_output(g, kd_l2_normalize(g, x), "y");
    expect(ctx, export_graph(g), KD_E_UNSUPPORTED, "l2_normalize 'tail");
    kd_graph_destroy(g);
    g = graph_of(ctx, &x);
    kd_output(g, kd_avg_pool(g, x, &beyond), "y");
    expect(ctx, export_graph(g), KD_E_UNSUPPORTED, "avg_pool '");
    kd_graph_destroy(g);
    g = graph_of(ctx, &x);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, n);
    const kd_value logits = kd_linear(g, kd_global_avg_pool(g, x), "fc", 3, 1);
    kd_output(g, kd_cross_entropy(g, logits, labels, 0), "loss");
    expect(ctx, export_graph(g), KD_E_UNSUPPORTED, "input 'labels' is of type");
    kd_graph_destroy(g);
    g = graph_of(ctx, &x); /* outputs that no node makes */
    kd_output(g, kd_param(g, "flat", 4, four, &flat), "y");
    expect(ctx, export_graph(g), KD_E_UNSUPPORTED, "output 'y'");
    kd_graph_destroy(g);
    g = graph_of(ctx, &x);
    kd_output(g, kd_param(g, "count", 1, four, &counter), "y");
    expect(ctx, export_graph(g), KD_E_UNSUPPORTED, "output 'y'");
    kd_graph_destroy(g);
    ck_assert_int_ne(access(path, F_OK), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static kd_status try(kd_model *m, int opset, size_t batch, int dynamic)
{
    const kd_onnx_opt opt = {
        .struct_size = sizeof opt, .opset = opset, .batch = batch, .dynamic_batch = dynamic};
    return kd_export_onnx(m, path, &opt);
}

START_TEST(test_refused)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, specs[0]);
    use_path("refused.onnx");
    expect(ctx, try(m, 18, 0, 0), KD_E_INVALID, "opset 18");
    expect(ctx, try(m, -1, 0, 0), KD_E_INVALID, "opset -1");
    expect(ctx, try(m, 17, 2, 1), KD_E_INVALID, "a batch of 2, and one that may be any");
    expect(ctx, try(m, 17, (size_t)1 << 40, 0), KD_E_INVALID, "the most is");
    expect(ctx, kd_export_onnx(m, NULL, NULL), KD_E_INVALID, "no path");
    expect(ctx, kd_export_onnx(m, "", NULL), KD_E_INVALID, "no path");
    ck_assert_int_eq(kd_export_onnx(NULL, path, NULL), KD_E_INVALID);
    ck_assert_int_eq(kd_export_onnx_graph(NULL, NULL, path, NULL, NULL), KD_E_INVALID);
    kd_params_values(kd_model_params(m))[3] = INFINITY;
    expect(ctx, try(m, 17, 1, 0), KD_E_NONFINITE, "features.0");
    ck_assert_int_ne(access(path, F_OK), 0);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

static void expect_file(kd_ctx *ctx, const char *text)
{
    char *bytes;
    size_t size;
    test_ok(ctx, kd_file_read_all(ctx, path, 1000, &bytes, &size));
    ck_assert_str_eq(bytes, text);
    kd_ctx_free(ctx, bytes);
}

/* What is there and is no ONNX model stays; a model takes the place of a model. */
START_TEST(test_other_files_stay)
{
    static const char text[] = "something else";
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, specs[0]);
    use_path("there.onnx");
    test_ok(ctx, kd_file_write_atomic(ctx, path, text, sizeof text - 1));
    expect(ctx, kd_export_onnx(m, path, NULL), KD_E_EXISTS, "is not replaced by an ONNX model");
    expect_file(ctx, text);
    ck_assert_int_eq(unlink(path), 0);
    test_ok(ctx, kd_export_onnx(m, path, NULL));
    test_ok(ctx, kd_export_onnx(m, path, NULL));
    expect(ctx, kd_file_write_atomic(ctx, path, text, sizeof text - 1), KD_E_EXISTS,
           "is an ONNX model");
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The most bytes of a file, played by smaller ones: of the arrays, and of all. */
START_TEST(test_too_large)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_value x;
    kd_params *p;
    use_path("large.onnx");
    kd_graph *g = graph_of(ctx, &x);
    kd_output(g, kd_linear(g, x, "fc", 1000, 1), "y"); /* 20000 bytes of arrays, and names */
    test_ok(ctx, kd_params_create(g, 1, &p));
    kdi_about about = {0};
    kdi_onnx_file file = {.path = path, .opset = 17, .batch = 1, .most = 16010};
    expect(ctx, kdi_onnx_write_graph(g, p, &about, &file), KD_E_LIMIT,
           "more than 16010 bytes with 'fc.bias'");
    file.most = 20010;
    expect(ctx, kdi_onnx_write_graph(g, p, &about, &file), KD_E_LIMIT,
           "an ONNX file has at most 20010");
    ck_assert_int_ne(access(path, F_OK), 0);
    file.most = 0;
    test_ok(ctx, kdi_onnx_write_graph(g, p, &about, &file));
    kd_params_destroy(p);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Nothing is left of an export without memory, and nothing is lost. */
START_TEST(test_failing_allocations)
{
    for (size_t s = 0; s < SPECS; s += SPECS - 1) {
        test_heap heap = {0};
        kd_ctx *ctx = test_ctx_counting(&heap, 1);
        kd_model *m = make_model(ctx, specs[s]);
        use_path("failing.onnx");
        const long live = heap.live;
        for (long n = 1;; n++) {
            heap.count = 0;
            heap.fail_at = n;
            const kd_status status = try(m, 17, 0, 1);
            heap.fail_at = 0;
            ck_assert_int_eq(heap.live, live);
            if (heap.count < n) {
                test_ok(ctx, status);
                break;
            }
            ck_assert_int_eq(status, KD_E_NOMEM);
            ck_assert_int_ne(access(path, F_OK), 0);
        }
        kd_model_destroy(m);
        kd_ctx_destroy(ctx);
    }
}
END_TEST

/* ---- int8 ------------------------------------------------------------------------------------ */

static kd_export *quantised(net_case *c, int wide)
{
    kd_export *e = net_export(c);
    const kd_quantise_opt opt = {
        .struct_size = sizeof opt, .pictures = c->pictures, .count = c->count, .wide_logits = wide};
    test_ok(e->ctx, kd_export_quantise(e, &opt));
    return e;
}

static const Onnx__TensorProto *array_behind(const Onnx__GraphProto *g, const kdi_layer *l,
                                             const char *what)
{
    char name[200];
    snprintf(name, sizeof name, "%s.%s", l->name, what);
    const Onnx__TensorProto *t = array_of(g, name);
    ck_assert_msg(t != NULL, "no array %s", name);
    return t;
}

/* A layer's weights, biases and scales, in PyTorch's order. */
static void check_layer(const kdi_net *net, const kdi_layer *l, const Onnx__GraphProto *g)
{
    const kdi_map *in = &net->maps[l->in[0]];
    const Onnx__TensorProto *w = array_behind(g, l, "weight_quantized");
    const Onnx__TensorProto *b = array_behind(g, l, "bias_quantized");
    const Onnx__TensorProto *scale = array_behind(g, l, "weight_scale");
    const Onnx__TensorProto *bias_scale = array_behind(g, l, "bias_scale");
    const size_t out = l->out_channels, places = l->taps / in->c;
    const void *data = w->raw_data.data;
    const int8_t *weights = data;
    int32_t bias;
    float one, both;
    ck_assert_int_eq(w->data_type, ONNX__TENSOR_PROTO__DATA_TYPE__INT8);
    ck_assert_int_eq(b->data_type, ONNX__TENSOR_PROTO__DATA_TYPE__INT32);
    ck_assert(w->raw_data.len == out * l->taps && b->raw_data.len == 4 * out);
    for (size_t o = 0; o < out; o++) {
        int64_t sum = 0;
        for (size_t t = 0; t < l->taps; t++) {
            const int8_t q = l->weights8[o * l->taps + t];
            ck_assert_int_eq(weights[o * l->taps + t % in->c * places + t / in->c], q);
            sum += q;
        }
        memcpy(&bias, b->raw_data.data + 4 * o, sizeof bias);
        ck_assert_int_eq(bias, l->bias32[o] + in->zero * sum);
        memcpy(&one, scale->raw_data.data + 4 * o, sizeof one);
        memcpy(&both, bias_scale->raw_data.data + 4 * o, sizeof both);
        ck_assert(one == l->weight_scales[o] && both == one * in->scale);
    }
}

/* Every map between ops is quantised and back, in uint8; only the logits may not be. */
START_TEST(test_int8)
{
    for (int wide = 0; wide < 2; wide++) {
        kd_ctx *ctx = test_ctx(1, NULL);
        net_case c = net_residual(ctx, 16, 3);
        kd_export *e = quantised(&c, wide);
        const kdi_net *net = e->net;
        size_t pools = 0;
        use_path("int8.onnx");
        test_ok(ctx, kd_export_write_onnx(e, path, NULL));
        read_back r = reread(ctx);
        const Onnx__GraphProto *g = r.model->graph;
        const int64_t picture[] = {NET_C, NET_H, NET_W}, classes = NET_CLASSES;
        check_dims(g->input[0], 1, 3, picture);
        check_dims(g->output[0], 1, 1, &classes);
        check_nodes(g);
        for (size_t i = 0; i < net->n_layers; i++) {
            if (kdi_has_weights(&net->layers[i])) check_layer(net, &net->layers[i], g);
            pools += net->layers[i].pools;
        }
        const size_t rounded = count_ops(g, "QuantizeLinear"), flat = count_ops(g, "Flatten");
        ck_assert_uint_eq(rounded, 1 + net->n_layers + pools + flat - (wide ? 1 : 0));
        for (size_t i = 0; i < g->n_node; i++)
            if (!strcmp(g->node[i]->op_type, "QuantizeLinear"))
                ck_assert_int_eq(array_of(g, g->node[i]->input[2])->data_type,
                                 ONNX__TENSOR_PROTO__DATA_TYPE__UINT8);
        ck_assert_ptr_nonnull(property(r.model, "libkd.mean"));
        forget(&r);
        net_close(ctx, &c, e);
    }
}
END_TEST

/* The same metadata, whichever the type of numbers. */
START_TEST(test_int8_metadata)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    static uint8_t pixels[4 * 32 * 32 * 3];
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, specs[0]);
    kd_export *e;
    const kd_quantise_opt opt = {.struct_size = sizeof opt, .pictures = pixels, .count = 4};
    kd_edge_noise(7, pixels, sizeof pixels);
    test_ok(ctx, kd_model_set_class_names(m, names));
    test_ok(ctx, kd_model_set_data(m, "cifar-10", 0x1234));
    test_ok(ctx, kd_model_set_framing(m, "centre:0.9"));
    test_ok(ctx, kd_export_create(m, &e));
    use_path("metadata8.onnx");
    expect(ctx, kd_export_write_onnx(e, path, NULL), KD_E_INVALID, "not in int8");
    test_ok(ctx, kd_export_quantise(e, &opt));
    test_ok(ctx, kd_export_write_onnx(e, path, NULL));
    read_back small = reread(ctx), wide = export(m, 20, 0);
    ck_assert_uint_eq(small.model->n_metadata_props, wide.model->n_metadata_props);
    for (size_t i = 0; i < small.model->n_metadata_props; i++)
        ck_assert_str_eq(small.model->metadata_props[i]->value,
                         wide.model->metadata_props[i]->value);
    forget(&small);
    forget(&wide);
    kd_export_destroy(e);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

/* A disk that fills up, in a process of its own. */
START_TEST(test_full_disk)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    kd_model *m = make_model(ctx, specs[0]);
    int status;
    use_path("full.onnx");
    test_ok(ctx, try(m, 17, 1, 0));
    read_back before = reread(ctx);
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {4096, 4096};
        signal(SIGXFSZ, SIG_IGN);
        _exit(setrlimit(RLIMIT_FSIZE, &limit) || try(m, 20, 1, 0) != KD_E_IO ||
              !strstr(kd_ctx_error(ctx), path));
    }
    ck_assert(waitpid(child, &status, 0) == child && WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    read_back after = reread(ctx);
    ck_assert(before.size == after.size && !memcmp(before.bytes, after.bytes, after.size));
    forget(&before);
    forget(&after);
    kd_model_destroy(m);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(onnx, 120, &test_every_family, &test_vgg_is_plain, &test_metadata, &test_same_bytes,
           &test_every_op_is_known, &test_own_graph, &test_unsupported, &test_refused,
           &test_other_files_stay, &test_too_large, &test_failing_allocations, &test_full_disk,
           &test_int8, &test_int8_metadata)

#endif
