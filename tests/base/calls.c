/* SPDX-License-Identifier: MIT
 * calls.c: see calls.h. A new public call that can fail gets its line here: the headers are read to
 * see that none is left out (test_failing.c). */
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char calls_spec[] = "vgg2_bn,width=0.0625,classes=10,image=32";
static const int64_t picture_dim[] = {KD_BATCH, 32, 32, 3}, rows_dim[] = {KD_BATCH, CLASSES};

static const char *in_dir(char path[600], const char *name)
{
    snprintf(path, 600, "%s/%s", test_dir(), name);
    return path;
}

static kd_status training_graph(kd_ctx *ctx, const kd_model *m, kd_graph **g)
{
    kd_status status = kd_graph_create(ctx, g);
    if (status) return status;
    const kd_value x = kd_input(*g, "input", KD_F32, 4, picture_dim);
    const kd_value labels = kd_input(*g, "labels", KD_I32, 1, picture_dim);
    kd_graph_want_grad(*g, x);
    const kd_value loss = kd_cross_entropy(*g, kd_model_build(m, *g, x, NULL), labels, 0);
    kd_output(*g, loss, "loss");
    status = kd_graph_grad(*g, loss);
    kd_output(*g, kd_graph_grad_of(*g, x), "dx");
    if (!status) status = kd_graph_status(*g);
    return status;
}

void calls_make(world *w)
{
    memset(w, 0, sizeof *w);
    w->ctx = test_ctx_counting(&w->heap, 1);
    kd_ctx *ctx = w->ctx;
    test_fill(w->pictures, PICTURES * PICTURE, 1, 1);
    test_ok(ctx, kd_dataset_open(ctx, "synthetic:train=32,test=16,image=32", NULL, &w->data));
    test_ok(ctx, kd_model_create(ctx, calls_spec, 1, &w->model));
    test_ok(ctx, kd_model_create(ctx, calls_spec, 2, &w->teacher));
    const float half[] = {.5f, .5f, .5f};
    test_ok(ctx, kd_model_set_normalization(w->model, half, half));
    test_ok(ctx, kd_params_need_grads(kd_model_params(w->model)));
    test_ok(ctx, training_graph(ctx, w->model, &w->graph));
    const kd_plan_opt opt = {.struct_size = sizeof opt, .batch = PICTURES, .training = 1};
    test_ok(ctx, kd_plan_create(w->graph, &opt, &w->plan));
    test_ok(ctx, kd_exec_create(w->plan, kd_model_params(w->model), NULL, &w->exec));
    const kd_loader_opt load = {
        .struct_size = sizeof load, .batch = PICTURES, .depth = KD_LOADER_SYNC};
    test_ok(ctx, kd_loader_create(w->data, &load, &w->loader));
    in_dir(w->out, "failing");
    test_ok(ctx, kd_model_save(w->model, in_dir(w->path, "failing.safetensors")));
    test_ok(ctx, kd_file_open(ctx, w->path, &w->file));
    test_ok(ctx, kd_file_read_all(ctx, w->path, 1 << 26, &w->bytes, &w->size));
}

void calls_free(world *w)
{
    kd_ctx_free(w->ctx, w->bytes);
    kd_file_close(w->file);
    kd_loader_close(w->loader);
    kd_exec_destroy(w->exec);
    kd_plan_destroy(w->plan);
    kd_graph_destroy(w->graph);
    kd_model_destroy(w->model);
    kd_model_destroy(w->teacher);
    kd_dataset_close(w->data);
    ck_assert_uint_eq(kd_ctx_memory(w->ctx), 0);
    kd_ctx_destroy(w->ctx);
    ck_assert_int_eq(w->heap.live, 0);
}

/* ---- the calls: each leaves nothing behind --------------------------------------------------- */

static kd_status call_alloc(world *w)
{
    void *block = kd_ctx_alloc(w->ctx, 100, 100);
    kd_ctx_free(w->ctx, block);
    return block ? KD_OK : kd_ctx_memory_status(w->ctx);
}

static kd_status call_dataset_open(world *w)
{
    kd_dataset *d;
    const kd_status status = kd_dataset_open(w->ctx, "synthetic:train=8,test=4", NULL, &d);
    kd_dataset_close(status ? NULL : d);
    return status;
}

static const kd_data_info small_data = {.struct_size = sizeof small_data,
                                        .classes = 3,
                                        .height = 4,
                                        .width = 4,
                                        .channels = 3,
                                        .count = {4, 4}};

static kd_status from_arrays(world *w, int borrow)
{
    static uint8_t images[2][4 * 4 * 4 * 3];
    static const int32_t labels[4] = {0, 1, 2, 1};
    const uint8_t *const both[2] = {images[0], images[1]};
    const int32_t *const label[2] = {labels, labels};
    kd_dataset *d;
    uint64_t sum;
    uint8_t one[48];
    float mean[3], std[3];
    kd_status status = kd_dataset_from_arrays(w->ctx, &small_data, both, label, borrow, &d);
    if (status) return status;
    status = kd_dataset_checksum(d, &sum);
    if (!status) status = kd_dataset_sample(d, KD_SPLIT_TEST, 3, one, NULL);
    if (!status) status = kd_dataset_measure(d, mean, std);
    kd_dataset_close(d);
    return status;
}

static kd_status call_from_arrays(world *w)
{
    const kd_status status = from_arrays(w, 0);
    return status ? status : from_arrays(w, 1);
}

static kd_status sample(void *user, kd_split split, size_t index, uint8_t *image, int32_t *label)
{
    (void)user;
    memset(image, (int)(index + split), 48);
    *label = (int32_t)index % 3;
    return KD_OK;
}

static kd_status call_from_callback(world *w)
{
    kd_dataset *d;
    uint64_t sum;
    kd_status status = kd_dataset_from_callback(w->ctx, &small_data, sample, NULL, &d);
    if (status) return status;
    status = kd_dataset_checksum(d, &sum);
    kd_dataset_close(d);
    return status;
}

static kd_status call_from_floats(world *w)
{
    static const float zeros[4 * 48];
    static const int32_t labels[4];
    const float *const images[] = {zeros, zeros};
    const int32_t *const known[] = {labels, labels};
    kd_dataset *d;
    float mean[3];
    kd_status status = kd_dataset_from_floats(w->ctx, &small_data, images, known, 0, &d);
    if (status) return status;
    status = kd_dataset_measure(d, mean, NULL);
    kd_dataset_close(d);
    return status;
}

/* One grey pixel: a PNG file. */
static const unsigned char dot[] = {0x89, 'P', 'N',  'G',  13,   10,   26,   10,   0,    0, 0, 13,
                                    'I',  'H', 'D',  'R',  0,    0,    0,    1,    0,    0, 0, 1,
                                    8,    0,   0,    0,    0,    0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0,
                                    10,   'I', 'D',  'A',  'T',  0x78, 0x9c, 0x63, 0x68, 0, 0, 0,
                                    0x82, 0,   0x81, 0x77, 0xcd, 0x72, 0xb6, 0,    0,    0, 0, 'I',
                                    'E',  'N', 'D',  0xae, 0x42, 0x60, 0x82};

static kd_status give_dot(void *user, kd_split split, size_t index, const void **bytes,
                          size_t *size, int32_t *label)
{
    (void)user, (void)split, (void)index;
    *bytes = dot;
    *size = sizeof dot;
    *label = 0;
    return KD_OK;
}

static kd_status call_from_encoded(world *w)
{
    kd_dataset *d;
    const kd_data_info info = {.struct_size = sizeof info, .classes = 1, .count = {2, 0}};
    const kd_status status = kd_dataset_from_encoded(w->ctx, &info, give_dot, NULL, &d);
    if (!status) kd_dataset_close(d);
    return status;
}

/* Without the reader of its format a picture cannot be decoded. */
static kd_status call_single(world *w)
{
    static const float half[] = {.5f, .5f, .5f};
    float out[8 * 8 * 3];
    kd_framer *framer;
    const uint8_t pixels[9 * 7 * 3] = {1};
    const kd_picture picture = {pixels, sizeof pixels, 9, 7, 3, 0};
    const kd_framer_opt opt = {.struct_size = sizeof opt, .view = {8, 8, 3, half, half}};
    kd_status status = kd_framer_create(w->ctx, &opt, &framer);
    if (status) return status;
    status = kd_framer_show(framer, &picture, out);
    kd_framer_destroy(framer);
#if KDI_PNG
    uint8_t *decoded;
    size_t h, width;
    if (!status) status = kd_picture_decode(w->ctx, dot, sizeof dot, &decoded, &h, &width);
    if (!status) kd_ctx_free(w->ctx, decoded);
#endif
    return status;
}

/* Without the readers of pictures there is nothing to open. */
static kd_status call_from_pictures(world *w)
{
#if KDI_PNG
    static const char *const paths[] = {"tests/fuzz/corpus/png/rgb", "tests/fuzz/corpus/png/grey"};
    kd_dataset *d;
    kd_status status = kd_dataset_from_pictures(w->ctx, paths, 2, &d);
    if (status) return status;
    status = kd_dataset_skip_broken(d);
    kd_dataset_close(d);
    return status;
#else
    kd_json *j;
    const kd_status status = kd_json_create(w->ctx, 0, &j);
    if (!status) kd_json_destroy(j);
    return status;
#endif
}

static kd_status call_loader(world *w)
{
    kd_loader *l;
    const kd_batch *batch;
    const kd_view views[] = {{0}, {.height = 24, .width = 40}};
    const kd_loader_opt opt = {.struct_size = sizeof opt,
                               .batch = 8,
                               .shuffle = 1,
                               .dev_count = 4,
                               .augment = "crop-flip+cutout:8",
                               .n_views = 2,
                               .views = views};
    kd_status status = kd_loader_create(w->data, &opt, &l);
    if (status) return status;
    status = kd_loader_next(l, &batch);
    if (!status) status = kd_loader_seek(l, 3, 1);
    if (!status) status = kd_loader_next(l, &batch);
    kd_loader_close(l);
    return status;
}

static kd_status call_loader_next(world *w)
{
    const kd_batch *batch;
    const kd_status status = kd_loader_next(w->loader, &batch);
    return status ? status : kd_loader_seek(w->loader, 0, 0);
}

static kd_status call_file_open(world *w)
{
    kd_file *f;
    const kd_status status = kd_file_open(w->ctx, w->path, &f);
    kd_file_close(status ? NULL : f);
    return status;
}

static kd_status call_file_from_memory(world *w)
{
    kd_file *f;
    const kd_status status = kd_file_from_memory(w->ctx, w->bytes, w->size, NULL, &f);
    kd_file_close(status ? NULL : f);
    return status;
}

static kd_status call_file_read(world *w)
{
    const kd_file_tensor *t = kd_file_find(w->file, "classifier.weight"),
                         *n = kd_file_find(w->file, "features.1.num_batches_tracked");
    float x[8];
    int64_t count;
    kd_status status = t && n ? KD_OK : KD_E_NOTFOUND;
    if (!status) status = kd_file_read_f32(w->file, t, 1, 8, x);
    if (!status) status = kd_file_read_bytes(w->file, t, 1, 8, x);
    if (!status) status = kd_file_read_i64(w->file, n, 0, 1, &count);
    return status;
}

static kd_status ones(void *user, size_t first, size_t count, void *out)
{
    float *x = out;
    (void)user;
    (void)first;
    for (size_t i = 0; i < count; i++) x[i] = 1;
    return KD_OK;
}

static kd_status call_writer(world *w)
{
    char path[600];
    kd_writer *to;
    const int64_t dim[] = {2, 5};
    kd_status status = kd_writer_create(w->ctx, in_dir(path, "failing_written.safetensors"), &to);
    if (status) return status;
    for (int i = 0; i < 20 && !status; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        status = kd_writer_metadata(to, name, "text");
        if (!status) status = kd_writer_tensor(to, name, KD_F16, 2, dim, w->pictures);
        name[0] = 'f';
        if (!status) status = kd_writer_tensor_fn(to, name, KD_F32, 2, dim, ones, NULL);
    }
    if (!status) return kd_writer_finish(to);
    kd_writer_abandon(to);
    return status;
}

static kd_status call_whole_files(world *w)
{
    char path[600], folder[600], *bytes;
    size_t size;
    kd_status status = kd_file_write_atomic(w->ctx, in_dir(path, "failing_lines"), "abc", 3);
    if (!status) status = kd_file_append_line(w->ctx, path, "line");
    if (!status) status = kd_folder_make(w->ctx, in_dir(folder, "failing_folder"));
    if (!status) status = kd_file_read_all(w->ctx, path, 1000, &bytes, &size);
    if (!status) kd_ctx_free(w->ctx, bytes);
    return status;
}

static kd_status call_json(world *w)
{
    kd_json *j;
    kd_json_object *o, *inner;
    const char *text;
    size_t size;
    kd_status status = kd_json_create(w->ctx, 2, &j);
    if (status) return status;
    kd_json_object_begin(j, NULL);
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        kd_json_number(j, key, i / 3.0);
    }
    kd_json_object_begin(j, "inner");
    kd_json_object_end(j);
    kd_json_array_begin(j, "list");
    kd_json_string(j, NULL, "one");
    kd_json_array_end(j);
    kd_json_object_end(j);
    status = kd_json_text(j, &text, &size);
    if (!status) status = kd_json_parse(w->ctx, text, size, &o);
    if (!status) {
        status = kd_json_get_object(o, "inner", &inner);
        if (!status) kd_json_object_destroy(inner);
        if (!status) status = kd_json_get_element(o, "list", 0, &inner);
        if (!status) kd_json_object_destroy(inner);
        kd_json_object_destroy(o);
    }
    kd_json_destroy(j);
    return status;
}

static kd_status nothing_shape(kd_op_shapes *s)
{
    s->out[0] = s->in[0];
    return KD_OK;
}

static kd_status nothing_forward(const kd_op_call *c)
{
    memcpy(c->out[0].data, c->in[0].data, c->in[0].count * sizeof(float));
    return KD_OK;
}

static const kd_op nothing = {.struct_size = sizeof(kd_op),
                              .name = "nothing",
                              .n_in_min = 1,
                              .n_in_max = 1,
                              .n_out = 1,
                              .shape = nothing_shape,
                              .forward = nothing_forward};

/* Every builder, in one graph. */
static kd_status build_all(kd_graph *g)
{
    static const int two[2] = {2, 2}, none[2] = {0, 0}, map[2] = {4, 4}, order[] = {0, 2, 1};
    static const int64_t map_dim[] = {KD_BATCH, 4, 4, 8}, tokens_dim[] = {KD_BATCH, 6, 24},
                         one[] = {1, 1, 24}, all[] = {1, 6, 24}, table[] = {9, 2},
                         flat[] = {KD_BATCH, 0};
    const kd_param_opt normal = {.struct_size = sizeof normal, .init = KD_INIT_NORMAL, .scale = 1};
    const kd_conv2d_opt conv = {
        .struct_size = sizeof conv, .out = 8, .kernel = {3}, .pad = {1, -1}};
    const kd_pool_opt pool = {.struct_size = sizeof pool, .kernel = {2}};
    const kd_value x = kd_input(g, "x", KD_F32, 4, map_dim),
                   t = kd_input(g, "t", KD_F32, 3, tokens_dim);
    const kd_value rows = kd_input(g, "rows", KD_F32, 2, rows_dim);
    const kd_value labels = kd_input(g, "labels", KD_I32, 1, rows_dim);
    const kd_value c = kd_batch_norm(g, kd_conv2d(g, x, "conv", &conv), "bn", 0, 0);
    const kd_value both[] = {c, kd_relu(g, x)}, token = kd_param(g, "token", 3, one, &normal);
    kd_output(g, kd_max_pool(g, kd_concat(g, both, 2, -1), &pool), "a");
    kd_output(g, kd_avg_pool(g, kd_mul(g, kd_add(g, c, x), kd_gelu(g, x)), &pool), "b");
    kd_output(g, kd_adaptive_avg_pool(g, c, 3, 3), "c");
    kd_output(g, kd_flatten_linear(g, kd_dropout(g, c, .5f), "flat", 5, 1), "d");
    kd_output(g, kd_linear(g, kd_global_avg_pool(g, c), "fc", 5, 0), "e");
    kd_output(g, kd_softmax(g, kd_scale(g, kd_reshape(g, c, 2, flat), 2)), "f");
    kd_output(g, kd_patch_merge(g, x), "g");
    kd_output(g, kd_mean(g, kd_sub(g, c, kd_stop_gradient(g, x))), "mean");
    kd_output(g, kd_mean_square(g, kd_sigmoid(g, c)), "square");
    const kd_value windows = kd_window_partition(g, x, two, none);
    kd_output(g, kd_window_reverse(g, windows, map, two, none), "h");
    const kd_value bias = kd_position_bias(g, kd_param(g, "table", 2, table, &normal), two);
    const kd_value qkv = kd_linear(g, windows, "qkv", 24, 1);
    kd_output(g, kd_attention(g, qkv, 2, 0, bias, kd_window_mask(g, map, two, none)), "i");
    kd_output(g, kd_attention_first(g, qkv, 2, 0, 1), "first");
    const kd_value seen = kd_attention_map(g, qkv, 2, 0, bias, KD_NONE);
    kd_output(g, kd_loss_kl(g, seen, seen), "map");
    const kd_value energy = kd_channel_energy(g, x);
    kd_output(g, kd_loss_mse(g, kd_l2_normalize(g, energy), energy), "energy");
    kd_output(g, kd_loss_rkd(g, rows, rows, 1, 1), "relations");
    const kd_value n = kd_layer_norm(g, t, "ln", 0);
    const kd_value p = kd_add_broadcast(g, n, kd_param(g, "position", 3, all, &normal));
    const kd_value more = kd_prepend_tokens(g, kd_drop_path(g, p, .1f), &token, 1);
    kd_output(g, kd_select_tokens(g, more, 1, 2), "j");
    kd_output(g, kd_select_token(g, more, 0), "k");
    kd_output(g, kd_transpose(g, n, order), "l");
    kd_output(g, kd_graph_op(g, &nothing, NULL, &x, 1, NULL), "n");
    const kd_value logits = kd_standardize(g, kd_linear(g, rows, "head", CLASSES, 1));
    const kd_value kd = kd_add(g, kd_loss_kd(g, logits, rows, 4), kd_loss_hard(g, logits, rows));
    const kd_value dkd = kd_loss_dkd(g, logits, rows, labels, 4, 1, 8);
    const kd_value mixed =
        kd_cross_entropy_mixed(g, logits, labels, kd_input(g, "partners", KD_I32, 1, rows_dim),
                               kd_input(g, "shares", KD_F32, 1, rows_dim), .1f);
    const kd_value loss =
        kd_add(g, kd_add(g, kd_add(g, kd, dkd), mixed), kd_cross_entropy(g, logits, labels, .1f));
    kd_graph_want_grad(g, rows);
    const kd_status status = kd_graph_grad(g, loss);
    kd_output(g, kd_graph_grad_of(g, rows), "m");
    return status ? status : kd_graph_status(g);
}

static kd_status call_graph(world *w)
{
    kd_graph *g;
    kd_plan *plan = NULL;
    kd_params *params = NULL, *clone = NULL, *others = NULL;
    kd_status status = kd_graph_create(w->ctx, &g);
    if (status) return status;
    status = build_all(g);
    if (!status) status = kd_params_create(g, 1, &params);
    if (!status) status = kd_params_create_others(g, 1, kd_model_params(w->model), &others);
    if (!status) status = kd_params_need_grads(params);
    if (!status) status = kd_params_clone(params, &clone);
    for (int training = 0; training < 2 && !status; training++) {
        const kd_plan_opt opt = {.struct_size = sizeof opt,
                                 .batch = 4,
                                 .training = training,
                                 .frozen = !training,
                                 .guard = training};
        kd_exec *exec;
        kd_plan_step info = {.struct_size = sizeof info};
        status = kd_plan_create(g, &opt, &plan);
        if (!status) status = kd_plan_step_info(plan, 0, &info);
        if (!status) status = kd_exec_create(plan, params, NULL, &exec);
        if (!status) kd_exec_destroy(exec);
        if (!status)
            status = kd_exec_create_with(plan, kd_model_params(w->model), others, NULL, &exec);
        if (!status) kd_exec_destroy(exec);
        kd_plan_destroy(plan);
        plan = NULL;
    }
    kd_params_destroy(clone);
    kd_params_destroy(others);
    kd_params_destroy(params);
    kd_graph_destroy(g);
    return status;
}

static kd_status call_params(world *w)
{
    kd_params *p = kd_model_params(w->model);
    const kd_param_info *info = kd_params_find(p, "classifier.weight");
    float *x = malloc(info->count * sizeof *x);
    kd_status status = kd_params_get(p, info, 0, x);
    if (!status) status = kd_params_set(p, info, x);
    free(x);
    return status;
}

static kd_status call_exec_run(world *w)
{
    kd_status status = kd_exec_bind(w->exec, "input", w->pictures);
    if (!status) status = kd_exec_bind(w->exec, "labels", w->labels);
    if (!status) status = kd_exec_run(w->exec, NULL);
    return status;
}

static kd_status call_optim(world *w)
{
    kd_optim *o;
    const kd_optim_opt opt = {.struct_size = sizeof opt};
    const kd_status status = kd_optim_create(kd_model_params(w->model), &opt, &o);
    if (!status) kd_optim_destroy(o);
    return status;
}

static kd_status call_spec(world *w)
{
    char text[KD_SPEC_SIZE];
    uint64_t params, macs;
    kd_status status = kd_spec_complete(w->ctx, calls_spec, "classes=5", text, sizeof text);
    size_t taps;
    if (!status) status = kd_spec_taps(w->ctx, calls_spec, NULL, 0, &taps);
    return status ? status : kd_spec_count(w->ctx, calls_spec, &params, &macs);
}

static kd_status call_model_make(world *w)
{
    kd_model *m;
    const float half[] = {.5f, .5f, .5f};
    kd_status status = kd_model_create(w->ctx, calls_spec, 1, &m);
    if (status) return status;
    status = kd_model_set_normalization(m, half, half);
    kd_model_destroy(m);
    if (!status) status = kd_model_load(w->ctx, w->path, NULL, &m);
    if (status) return status;
    kd_model_destroy(m);
    status = kd_model_load_as(
        w->ctx, w->path,
        &(kd_load_opt){.struct_size = sizeof(kd_load_opt), .change = "classes=3", .seed = 1}, &m);
    if (!status) kd_model_destroy(m);
    return status;
}

static kd_status name_all(kd_model *m, const kd_data_info *info)
{
    const char *const names[] = {"ant", "bee", "cat", "dog",  "eel",
                                 "fox", "gnu", "hen", "ibis", "jay"};
    int32_t map[10];
    kd_class_match match;
    kd_status status = kd_classes_match(kd_model_ctx(m), names, 10, names, 10, map, &match);
    if (!status) status = kd_model_set_class_names(m, names);
    if (!status) status = kd_model_set_data(m, "data", 1);
    if (!status) status = kd_model_set_framing(m, "none");
    return status ? status : kd_model_take_normalization(m, info);
}

static kd_status call_model_about(world *w)
{
    char path[600];
    kd_model *m;
    kd_writer *writer;
    uint64_t sum;
    in_dir(path, "failing_about.safetensors");
    kd_status status = kd_model_create(w->ctx, calls_spec, 1, &m);
    if (status) return status;
    status = name_all(m, kd_dataset_info(w->data));
    if (!status) status = kd_model_hash(m, &sum);
    if (!status) status = kd_params_hash(kd_model_params(m), &sum);
    if (!status) status = kd_model_check_finite(m);
    if (!status) status = kd_writer_create(w->ctx, path, &writer);
    if (!status) {
        kd_model_write_metadata(m, writer);
        kd_writer_metadata(writer, "libkd.train", "{}"); /* which may have averages besides */
        kd_params_write(kd_model_params(m), writer, "", KD_F32);
        kd_params_write_flat(kd_model_params(m), kd_params_values(kd_model_params(m)), writer,
                             "ema.");
        status = kd_writer_finish(writer);
    }
    kd_model_destroy(m);
    if (!status) status = kd_model_load(w->ctx, path, NULL, &m);
    if (!status) kd_model_destroy(m);
    return status;
}

static kd_status call_model_memory(world *w)
{
    kd_writer *writer;
    void *bytes = NULL;
    size_t size;
    kd_file *file = NULL;
    kd_model *m = NULL;
    const uint8_t pixels[32 * 32 * 3] = {0};
    float numbers[32 * 32 * 3];
    kd_status status = kd_writer_create_memory(w->ctx, &writer);
    if (status) return status;
    kd_model_write_metadata(w->model, writer);
    kd_params_write(kd_model_params(w->model), writer, "", KD_BF16);
    status = kd_writer_finish_memory(writer, &bytes, &size);
    if (!status) status = kd_file_from_memory(w->ctx, bytes, size, NULL, &file);
    if (!status) status = kd_model_load_file(w->ctx, file, NULL, &m);
    if (!status && kd_model_mean(m)) status = kd_model_normalize(m, pixels, 1, numbers);
    kd_model_destroy(m);
    kd_file_close(file);
    kd_ctx_free(w->ctx, bytes);
    return status;
}

static kd_status nowhere(void *user, const void *bytes, size_t size)
{
    (void)user, (void)bytes, (void)size;
    return KD_OK;
}

static kd_status call_model_through(world *w)
{
    void *bytes = NULL;
    size_t size;
    kd_writer *writer;
    kd_model *m = NULL;
    kd_status status = kd_model_save_fn(w->model, KD_F32, nowhere, NULL);
    if (!status) status = kd_model_save_memory(w->model, KD_F16, &bytes, &size);
    if (!status) status = kd_model_load_memory(w->ctx, bytes, size, NULL, &m);
    if (!status) status = kd_writer_create_memory(w->ctx, &writer);
    if (!status) status = kd_writer_finish_fn(writer, nowhere, NULL);
    kd_model_destroy(m);
    kd_ctx_free(w->ctx, bytes);
    return status;
}

static kd_status call_predictor(world *w)
{
    kd_predictor *p, *q = NULL;
    kd_guess best;
    const uint8_t pixels[40 * 36 * 3] = {1};
    const kd_picture picture = {pixels, sizeof pixels, 40, 36, 3, 0};
    kd_status status = kd_predictor_create(w->model, NULL, &p);
    if (status) return status;
    status = kd_predictor_share(p, &q);
    if (!status) status = kd_predictor_run(q, &picture, 1, w->logits);
    if (!status) status = kd_model_guess(w->model, w->logits, 1, &best);
    kd_predictor_destroy(q);
    kd_predictor_destroy(p);
    return status;
}

static kd_status call_checkpoint(world *w)
{
    char path[600], *note = NULL;
    kd_optim *optim;
    in_dir(path, "failing_loop.safetensors");
    kd_status status = kd_optim_create(kd_model_params(w->model), NULL, &optim);
    if (status) return status;
    status = kd_checkpoint_save(w->model, optim, "here", path);
    if (!status) status = kd_checkpoint_load(w->model, optim, path, &note);
    kd_ctx_free(w->ctx, note);
    kd_optim_destroy(optim);
    return status;
}

static kd_status call_model_save(world *w)
{
    char path[600];
    in_dir(path, "failing_saved.safetensors");
    kd_status status = kd_model_save(w->model, path);
    if (!status) status = kd_model_save_as(w->model, path, KD_BF16);
    if (!status) status = kd_model_save_params(w->model, kd_model_params(w->teacher), path, KD_F32);
    return status;
}

static kd_status call_model_predict(world *w)
{
    kd_plan *plan;
    kd_exec *exec;
    kd_status status = kd_model_predict(w->model, w->pictures, PICTURES, 3, w->logits);
    if (!status) status = kd_model_plan(w->model, 2, &plan, &exec);
    if (status) return status;
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    const char *const taps[] = {"embedding", "stages.0"};
    status = kd_model_plan_taps(w->model, 2, taps, 2, &plan, &exec);
    if (status) return status;
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    return KD_OK;
}

static kd_status call_train(world *w)
{
    kd_train_opt opt = {.struct_size = sizeof opt,
                        .epochs = 1,
                        .batch = 16,
                        .lr = 1e-3f,
                        .on_nan = KD_NAN_SKIP,
                        .out = w->out,
                        .overwrite = 1};
    kd_status status = kd_train(w->model, w->data, &opt, NULL);
    opt.resume = 1;
    opt.overwrite = 0;
    opt.epochs = 1;
    return status ? status : kd_train(w->model, w->data, &opt, NULL);
}

static kd_status call_distill(world *w)
{
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .teacher = w->teacher,
                                .method = KD_METHOD_DKD,
                                .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                         .epochs = 1,
                                                         .batch = 16,
                                                         .ema = .5f,
                                                         .dev_count = 8}};
    return kd_distill(w->model, w->data, &opt, NULL);
}

/* From inside the teacher, and by a function. */
static kd_value own_loss(void *user, const kd_loss_graph *step)
{
    (void)user;
    const kd_value r = kd_linear(step->graph, step->student_taps[0].value, "mine", 4, 1);
    return kd_loss_mse(step->graph, r, step->teacher_taps[0].value);
}

static kd_status call_distill_inside(world *w)
{
    static const char *const tap = "stages.0.pool";
    const kd_train_opt train = {.struct_size = sizeof train,
                                .epochs = 1,
                                .batch = 16,
                                .lr = 1e-4f,
                                .freeze = "features.0",
                                .head_lr = 1e-3f,
                                .on_nan = KD_NAN_SKIP,
                                .out = w->out,
                                .overwrite = 1};
    kd_distill_opt opt = {.struct_size = sizeof opt,
                          .teacher = w->teacher,
                          .train = &train,
                          .loss = own_loss,
                          .student_taps = &tap,
                          .n_student_taps = 1,
                          .teacher_taps = &tap,
                          .n_teacher_taps = 1,
                          .feature = KD_FEATURE_HINT,
                          .feature_weight = .1f};
    return kd_distill(w->model, w->data, &opt, NULL);
}

/* Two students of one pass. */
static kd_status call_distill_many(world *w)
{
    kd_model *other;
    const kd_train_opt train = {.struct_size = sizeof train, .epochs = 1, .batch = 16};
    const kd_distill_opt opt = {.struct_size = sizeof opt, .teacher = w->teacher, .train = &train};
    kd_status status = kd_model_create(w->ctx, calls_spec, 3, &other);
    if (status) return status;
    kd_student students[] = {{.model = w->model, .opt = &opt}, {.model = other, .opt = &opt}};
    status = kd_distill_many(students, 2, w->data);
    kd_model_destroy(other);
    return status;
}

static kd_status call_cache(world *w)
{
    char path[600];
    const kd_train_opt train = {.struct_size = sizeof train, .epochs = 1, .batch = 16};
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .teacher = w->teacher,
                                .train = &train,
                                .cache = in_dir(path, "cache"),
                                .cache_top = 3};
    kd_status status = kd_cache_build(w->model, w->data, &opt);
    if (!status) status = kd_cache_verify(w->model, w->data, &opt, 1, NULL);
    const kd_student one = {.model = w->model, .opt = &opt};
    if (!status) status = kd_cache_agree(&one, w->data, &one, w->data);
    return status ? status : kd_cache_look(w->ctx, path, 0, 1, NULL);
}

static kd_status call_train_step(world *w)
{
    const kd_distill_opt opt = {.struct_size = sizeof opt};
    kd_step_result r = {.struct_size = sizeof r, .logits = w->logits};
    return kd_train_step(w->model, PICTURES, w->pictures, w->labels, w->logits, &opt, &r);
}

/* A plan in the least memory there is for it. */
static kd_status call_plan_within(world *w)
{
    size_t least = 0;
    kd_plan *plan;
    kd_plan_opt opt = {.struct_size = sizeof opt,
                       .batch = PICTURES,
                       .training = 1,
                       .max_arena = 1,
                       .least = &least};
    const kd_status status = kd_plan_create(w->graph, &opt, &plan);
    if (status != KD_E_LIMIT || least == 0) return status;
    opt.max_arena = least;
    const kd_status again = kd_plan_create(w->graph, &opt, &plan);
    kd_plan_destroy(plan);
    return again;
}

/* Pieces, whose size is looked for. */
static kd_status call_train_plan(world *w)
{
    const char *small = "vit_tiny_patch16_224,image=32,patch=8,dim=24,depth=1,heads=2,classes=10";
    const kd_distill_opt opt = {.struct_size = sizeof opt,
                                .train = &(kd_train_opt){.struct_size = sizeof(kd_train_opt),
                                                         .batch = 8,
                                                         .micro_batch = KD_MICRO_AUTO}};
    kd_model *m;
    kd_plan *plan;
    kd_status status = kd_model_create(w->ctx, small, 1, &m);
    if (status) return status;
    status = kd_train_plan(m, &opt, &plan);
    kd_plan_destroy(status ? NULL : plan);
    kd_model_destroy(m);
    return status;
}

static kd_status call_evaluate(world *w)
{
    const kd_eval_opt opt = {
        .struct_size = sizeof opt, .split = KD_EVAL_TEST, .batch = 8, .teacher = w->teacher};
    kd_eval_result r = {.struct_size = sizeof r};
    return kd_evaluate(w->model, w->data, &opt, &r);
}

static kd_status use_export(kd_export *e, const char *prefix)
{
    static uint8_t pixels[4 * 8 * 8 * 3];
    static const int32_t labels[4];
    char path[600];
    const void *blob;
    size_t size;
    kd_export_layer layer = {.struct_size = sizeof layer};
    kd_export_result result = {.struct_size = sizeof result};
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37);
    const kd_quantise_opt opt = {
        .struct_size = sizeof opt, .pictures = pixels, .count = 4, .equalise = 1};
    kd_status status = kd_export_blob(e, &blob, &size);
    if (!status) status = kd_export_quantise(e, &opt);
    if (!status) status = kd_export_compare(e, pixels, labels, 4);
    if (!status) status = kd_export_layer_info(e, 0, &layer);
    if (!status) status = kd_export_result_get(e, &result);
    snprintf(path, sizeof path, "%.500s.kde", prefix);
    if (!status) status = kd_export_write(e, path);
#if KDI_ONNX
    snprintf(path, sizeof path, "%.500s.onnx", prefix);
    if (!status) status = kd_export_write_onnx(e, path, NULL);
#endif
    snprintf(path, sizeof path, "%.500s", prefix);
    return status ? status : kd_export_write_c(e, path);
}

static kd_status call_blob(world *w)
{
    char path[600];
    kd_blob *b;
    kd_model *m = NULL;
    static float pixels[2 * 8 * 8 * 3], logits[2 * 3];
    in_dir(path, "failing_export.kde");
    kd_status status = kd_blob_open(w->ctx, path, &b);
    if (status) return status;
    status = kd_blob_network(b, &m);
    if (!status) status = kd_blob_answer(b, pixels, 2, logits);
    kd_model_destroy(m);
    kd_blob_close(b);
    return status;
}

static kd_status call_export(world *w)
{
    static const float half[] = {.5f, .5f, .5f};
    char path[600];
    kd_model *m;
    kd_export *e = NULL;
    in_dir(path, "failing_export");
    kd_status status = kd_model_create(w->ctx, "vgg3_bn,width=0.0625,image=8,classes=3", 1, &m);
    if (status) return status;
    status = kd_model_set_normalization(m, half, half);
    if (!status) status = kd_export_create(m, &e);
    if (!status) status = use_export(e, path);
    kd_export_destroy(e);
    kd_model_destroy(m);
    return status;
}

/* Swin moves rows by tables that are found by running its ops. Without protobuf-c there is nothing
 * to fail but the refusal. */
static kd_status call_onnx(world *w)
{
#if KDI_ONNX
    char path[600];
    kd_model *m;
    in_dir(path, "failing.onnx");
    kd_status status = kd_model_create(w->ctx,
                                       "swin_tiny_patch4_window7_224,image=8,patch=2,dim=4,depth=2,"
                                       "heads=2,window=2,classes=3",
                                       1, &m);
    if (status) return status;
    status = kd_export_onnx(m, path, NULL);
    kd_model_destroy(m);
    return status;
#else
    (void)w;
    return KD_OK;
#endif
}

const call calls[] = {
    {call_alloc, "kd_ctx_alloc"},
    {call_dataset_open, "kd_dataset_open"},
    {call_from_arrays,
     "kd_dataset_from_arrays kd_dataset_checksum kd_dataset_sample kd_dataset_measure"},
    {call_from_callback, "kd_dataset_from_callback"},
    {call_from_floats, "kd_dataset_from_floats"},
    {call_from_encoded, "kd_dataset_from_encoded"},
    {call_single, "kd_framer_create kd_framer_show kd_picture_decode"},
    {call_from_pictures, "kd_dataset_from_pictures kd_dataset_skip_broken"},
    {call_loader, "kd_loader_create"},
    {call_loader_next, "kd_loader_next kd_loader_seek"},
    {call_file_open, "kd_file_open"},
    {call_file_from_memory, "kd_file_from_memory"},
    {call_file_read, "kd_file_read_f32 kd_file_read_i64 kd_file_read_bytes"},
    {call_writer, "kd_writer_create kd_writer_metadata kd_writer_tensor kd_writer_tensor_fn "
                  "kd_writer_finish"},
    {call_whole_files, "kd_file_write_atomic kd_file_append_line kd_file_read_all kd_folder_make"},
    {call_json, "kd_json_create kd_json_text kd_json_parse kd_json_get_object "
                "kd_json_get_element"},
    {call_graph,
     "kd_graph_create kd_graph_status kd_graph_grad kd_graph_grad_of kd_graph_op kd_input kd_param "
     "kd_conv2d kd_linear kd_flatten_linear kd_batch_norm kd_layer_norm kd_relu kd_gelu kd_add "
     "kd_mul kd_sub kd_sigmoid kd_mean kd_mean_square kd_stop_gradient kd_scale kd_concat "
     "kd_reshape kd_transpose kd_softmax kd_dropout kd_max_pool "
     "kd_avg_pool kd_adaptive_avg_pool kd_global_avg_pool kd_attention kd_attention_first "
     "kd_attention_map kd_loss_kl kd_loss_mse kd_loss_rkd kd_l2_normalize kd_channel_energy "
     "kd_params_create_others kd_exec_create_with "
     "kd_prepend_tokens kd_add_broadcast kd_select_tokens kd_select_token kd_drop_path "
     "kd_window_partition "
     "kd_window_reverse kd_window_mask kd_position_bias kd_patch_merge kd_cross_entropy "
     "kd_cross_entropy_mixed kd_loss_kd "
     "kd_loss_hard kd_loss_dkd kd_standardize kd_params_create kd_params_need_grads "
     "kd_params_clone kd_plan_create kd_plan_step_info kd_exec_create"},
    {call_params, "kd_params_get kd_params_set"},
    {call_exec_run, "kd_exec_bind kd_exec_run"},
    {call_optim, "kd_optim_create"},
    {call_spec, "kd_spec_complete kd_spec_count kd_spec_taps"},
    {call_model_make,
     "kd_model_create kd_model_set_normalization kd_model_load kd_model_load_as kd_model_build"},
    {call_model_about, "kd_model_set_class_names kd_model_set_data kd_model_set_framing "
                       "kd_model_take_normalization kd_classes_match kd_model_hash kd_params_hash "
                       "kd_model_check_finite kd_model_write_metadata kd_params_write "
                       "kd_params_write_flat"},
    {call_model_memory, "kd_writer_create_memory kd_writer_finish_memory kd_model_load_file "
                        "kd_model_normalize"},
    {call_model_through,
     "kd_model_save_fn kd_model_save_memory kd_model_load_memory kd_writer_finish_fn"},
    {call_predictor, "kd_predictor_create kd_predictor_share kd_predictor_run kd_model_guess"},
    {call_checkpoint, "kd_checkpoint_save kd_checkpoint_load"},
    {call_model_save, "kd_model_save kd_model_save_as kd_model_save_params"},
    {call_model_predict, "kd_model_predict kd_model_plan kd_model_plan_taps"},
    {call_train, "kd_train"},
    {call_distill, "kd_distill"},
    {call_distill_inside, "kd_distill"},
    {call_distill_many, "kd_distill_many"},
    {call_cache, "kd_cache_build kd_cache_verify kd_cache_agree kd_cache_look"},
    {call_train_step, "kd_train_step"},
    {call_train_plan, "kd_train_plan"},
    {call_plan_within, "kd_plan_create"},
    {call_evaluate, "kd_evaluate"},
    {call_export, "kd_export_create kd_export_create_graph kd_export_quantise kd_export_compare "
                  "kd_export_layer_info kd_export_result_get kd_export_blob kd_export_write "
                  "kd_export_write_c kd_export_write_onnx"},
    {call_onnx, "kd_export_onnx kd_export_onnx_graph"},
    {call_blob, "kd_blob_open kd_blob_network kd_blob_answer"},
};

const size_t n_calls = sizeof calls / sizeof *calls;
