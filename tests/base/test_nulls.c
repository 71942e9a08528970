/* SPDX-License-Identifier: MIT
 * test_nulls.c: one rule for NULL. Without an object a call is KD_E_INVALID; where there is one, and
 * something else is missing, so it is, with words. What a call was to make is NULL. What destroys
 * takes NULL. */
#include "../test.h"

#include <kd/kd.h>
#include <string.h>

#define SPEC "vgg2_bn,width=0.125,classes=2,image=8,channels=1"

typedef struct world {
    kd_ctx *ctx;
    kd_model *model;
    kd_params *params;
    kd_writer *writer;
    kd_dataset *data;
    kd_loader *loader;
    kd_plan *plan;
    kd_json *json;
} world;

static kd_model *made;
static kd_plan *plan;
static kd_exec *exec;
static kd_writer *writer;
static kd_file *file;
static kd_optim *optim;
static uint64_t hash;
static size_t size;
static void *bytes;
static kd_params *copy;
static kd_json *json;
static kd_json_object *object;
static char *text;
static const char *words;
static kd_export *exported;
static kd_blob *blob;
static kd_graph *graph;
static kd_dataset *data;
static kd_loader *loader;
static const kd_batch *batch;
static const void *constant;
static float number[4 * 64] = {1, 1, 1, 1};
static const int32_t label[4];

static kd_status built_without_model(const world *w)
{
    const int64_t dim[] = {KD_BATCH, 8, 8, 1};
    kd_graph *g;
    test_ok(w->ctx, kd_graph_create(w->ctx, &g));
    const kd_value x = kd_input(g, "input", KD_F32, 4, dim);
    ck_assert_int_eq(kd_model_build(NULL, g, x, NULL), KD_NONE);
    const kd_status status = kd_graph_status(g);
    kd_graph_destroy(g);
    return status;
}

#define CALL(name, call)                                                                           \
    static kd_status name(const world *w)                                                          \
    {                                                                                              \
        (void)w;                                                                                   \
        return call;                                                                               \
    }

/* There is no object. */
CALL(create_0, kd_model_create(NULL, SPEC, 1, &made))
CALL(load_0, kd_model_load(NULL, "x", NULL, &made))
CALL(taps_0, kd_spec_taps(NULL, SPEC, NULL, 0, &size))
CALL(plan_taps_0, kd_model_plan_taps(NULL, 1, NULL, 0, &plan, &exec))
CALL(count_0, kd_spec_count(NULL, SPEC, &hash, &hash))
CALL(save_0, kd_model_save(NULL, "x"))
CALL(save_as_0, kd_model_save_as(NULL, "x", KD_F32))
CALL(save_params_0, kd_model_save_params(NULL, w->params, "x", KD_F32))
CALL(metadata_0, kd_model_write_metadata(NULL, w->writer))
CALL(metadata_1, kd_model_write_metadata(w->model, NULL))
CALL(write_0, kd_params_write(w->params, NULL, "", KD_F32))
CALL(flat_0, kd_params_write_flat(w->params, number, NULL, ""))
CALL(hash_0, kd_model_hash(NULL, &hash))
CALL(params_hash_0, kd_params_hash(NULL, &hash))
CALL(finite_0, kd_model_check_finite(NULL))
CALL(names_0, kd_model_set_class_names(NULL, NULL))
CALL(data_0, kd_model_set_data(NULL, "x", 1))
CALL(framing_0, kd_model_set_framing(NULL, "none"))
CALL(normal_0, kd_model_set_normalization(NULL, number, number))
CALL(normalize_0, kd_model_normalize(NULL, (const uint8_t *)"", 1, number))
CALL(take_0, kd_model_take_normalization(NULL, NULL))
CALL(predict_0, kd_model_predict(NULL, number, 1, 1, number))
CALL(plan_0, kd_model_plan(NULL, 1, &plan, &exec))
CALL(step_0, kd_train_step(NULL, 1, number, label, NULL, NULL, NULL))
CALL(train_plan_0, kd_train_plan(NULL, NULL, &plan))
CALL(optim_0, kd_optim_create(NULL, NULL, &optim))
CALL(check_0, kd_options_check(NULL, NULL, NULL, NULL, NULL))
CALL(writer_0, kd_writer_create(NULL, "x", &writer))
CALL(writer_memory_0, kd_writer_create_memory(NULL, &writer))
CALL(pair_0, kd_writer_metadata(NULL, "a", "b"))
CALL(tensor_0, kd_writer_tensor(NULL, "a", KD_F32, 0, NULL, number))
CALL(tensor_fn_0, kd_writer_tensor_fn(NULL, "a", KD_F32, 0, NULL, NULL, NULL))
CALL(finish_0, kd_writer_finish(NULL))
CALL(finish_memory_0, kd_writer_finish_memory(NULL, &bytes, &size))
CALL(memory_0, kd_file_from_memory(NULL, "", 0, NULL, &file))
CALL(status_0, kd_graph_status(NULL))
CALL(grad_0, kd_graph_grad(NULL, 0))
CALL(clone_0, kd_params_clone(NULL, &copy))
CALL(need_0, kd_params_need_grads(NULL))
CALL(get_0, kd_params_get(NULL, NULL, 0, number))
CALL(set_0, kd_params_set(NULL, NULL, number))
CALL(bind_0, kd_exec_bind(NULL, "x", number))
CALL(run_0, kd_exec_run(NULL, NULL))
CALL(info_0, kd_plan_step_info(NULL, 0, NULL))
CALL(f32_0, kd_file_read_f32(NULL, NULL, 0, 1, number))
CALL(i64_0, kd_file_read_i64(NULL, NULL, 0, 0, NULL))
CALL(raw_0, kd_file_read_bytes(NULL, NULL, 0, 1, number))
CALL(open_0, kd_file_open(NULL, "x", &file))
CALL(all_0, kd_file_read_all(NULL, "x", 1, &text, &size))
CALL(atomic_0, kd_file_write_atomic(NULL, "x", "", 0))
CALL(line_0, kd_file_append_line(NULL, "x", "x"))
CALL(folder_0, kd_folder_make(NULL, "x"))
CALL(json_0, kd_json_create(NULL, 0, &json))
CALL(json_text_0, kd_json_text(NULL, &words, &size))
CALL(parse_0, kd_json_parse(NULL, "{}", 2, &object))
CALL(object_0, kd_json_get_object(NULL, "x", &object))
CALL(complete_0, kd_spec_complete(NULL, SPEC, NULL, text, 1))
CALL(match_0, kd_classes_match(NULL, NULL, 1, NULL, 1, NULL, NULL))
CALL(export_0, kd_export_create(NULL, &exported))
CALL(export_graph_0, kd_export_create_graph(NULL, NULL, NULL, &exported))
CALL(quantise_0, kd_export_quantise(NULL, NULL))
CALL(compare_0, kd_export_compare(NULL, NULL, NULL, 1))
CALL(layer_0, kd_export_layer_info(NULL, 0, NULL))
CALL(result_0, kd_export_result_get(NULL, NULL))
CALL(blob_0, kd_export_blob(NULL, NULL, NULL))
CALL(write_blob_0, kd_export_write(NULL, "x"))
CALL(write_c_0, kd_export_write_c(NULL, "x"))
CALL(onnx_0, kd_export_onnx(NULL, "x", NULL))
CALL(write_onnx_0, kd_export_write_onnx(NULL, "x", NULL))
CALL(onnx_graph_0, kd_export_onnx_graph(NULL, NULL, "x", NULL, NULL))
CALL(blob_open_0, kd_blob_open(NULL, "x", &blob))
CALL(blob_net_0, kd_blob_network(NULL, &made))
CALL(blob_answer_0, kd_blob_answer(NULL, number, 1, number))
CALL(evaluate_0, kd_evaluate(NULL, w->data, NULL, NULL))
CALL(train_0, kd_train(NULL, w->data, NULL, NULL))
CALL(distill_0, kd_distill(NULL, w->data, NULL, NULL))
CALL(many_0, kd_distill_many(NULL, 1, w->data))
CALL(cache_build_0, kd_cache_build(NULL, w->data, NULL))
CALL(cache_verify_0, kd_cache_verify(NULL, w->data, NULL, 1, NULL))
CALL(cache_agree_0, kd_cache_agree(NULL, w->data, NULL, w->data))
CALL(seek_0, kd_loader_seek(NULL, 0, 0))

/* There is one, and it can say what is missing. */
CALL(export_1, kd_export_create(w->model, NULL))
CALL(blob_open_1, kd_blob_open(w->ctx, NULL, &blob))
CALL(blob_open_2, kd_blob_open(w->ctx, "x", NULL))
CALL(create_1, kd_model_create(w->ctx, NULL, 1, &made))
CALL(create_2, kd_model_create(w->ctx, SPEC, 1, NULL))
CALL(load_1, kd_model_load(w->ctx, NULL, NULL, &made))
CALL(load_2, kd_model_load(w->ctx, "x", NULL, NULL))
CALL(load_file_1, kd_model_load_file(w->ctx, NULL, NULL, &made))
CALL(taps_1, kd_spec_taps(w->ctx, NULL, NULL, 0, &size))
CALL(taps_2, kd_spec_taps(w->ctx, SPEC, NULL, 0, NULL))
CALL(plan_taps_1, kd_model_plan_taps(w->model, 1, NULL, 1, &plan, &exec))
CALL(count_1, kd_spec_count(w->ctx, NULL, &hash, &hash))
CALL(save_1, kd_model_save(w->model, NULL))
CALL(save_params_1, kd_model_save_params(w->model, NULL, "x", KD_F32))
CALL(hash_1, kd_model_hash(w->model, NULL))
CALL(normal_1, kd_model_set_normalization(w->model, NULL, number))
CALL(normal_2, kd_model_set_normalization(w->model, number, NULL))
CALL(normalize_1, kd_model_normalize(w->model, NULL, 1, number))
CALL(take_1, kd_model_take_normalization(w->model, NULL))
CALL(predict_1, kd_model_predict(w->model, NULL, 1, 1, number))
CALL(predict_2, kd_model_predict(w->model, number, 1, 1, NULL))
CALL(plan_1, kd_model_plan(w->model, 1, NULL, &exec))
CALL(plan_2, kd_model_plan(w->model, 1, &plan, NULL))
CALL(step_1, kd_train_step(w->model, 1, NULL, label, NULL, NULL, NULL))
CALL(step_2, kd_train_step(w->model, 1, number, NULL, NULL, NULL, NULL))
CALL(train_plan_1, kd_train_plan(w->model, NULL, NULL))
CALL(optim_1, kd_optim_create(w->params, NULL, NULL))
CALL(writer_1, kd_writer_create(w->ctx, NULL, &writer))
CALL(writer_2, kd_writer_create(w->ctx, "x", NULL))
CALL(writer_memory_1, kd_writer_create_memory(w->ctx, NULL))
CALL(memory_1, kd_file_from_memory(w->ctx, NULL, 100, NULL, &file))
CALL(memory_2, kd_file_from_memory(w->ctx, "", 0, NULL, NULL))
CALL(clone_9, kd_params_clone(w->params, NULL))
CALL(get_9, kd_params_get(w->params, NULL, 0, number))
CALL(set_9, kd_params_set(w->params, NULL, number))
CALL(open_9, kd_file_open(w->ctx, NULL, &file))
CALL(all_9, kd_file_read_all(w->ctx, "x", 1, NULL, &size))
CALL(folder_9, kd_folder_make(w->ctx, NULL))
CALL(json_9, kd_json_create(w->ctx, 0, NULL))
CALL(parse_9, kd_json_parse(w->ctx, NULL, 2, &object))
CALL(complete_9, kd_spec_complete(w->ctx, NULL, NULL, NULL, 1))
CALL(graph_8, kd_graph_create(w->ctx, NULL))
CALL(open_8, kd_dataset_open(w->ctx, "synthetic", NULL, NULL))
CALL(arrays_8, kd_dataset_from_arrays(w->ctx, NULL, NULL, NULL, 0, NULL))
CALL(callback_8, kd_dataset_from_callback(w->ctx, NULL, NULL, NULL, NULL))
CALL(build_1, built_without_model(w))
CALL(evaluate_1, kd_evaluate(w->model, NULL, NULL, NULL))
CALL(train_1, kd_train(w->model, NULL, NULL, NULL))
CALL(distill_1, kd_distill(w->model, NULL, NULL, NULL))
CALL(many_1, kd_distill_many(&(kd_student){.model = w->model}, 1, NULL))
CALL(cache_build_1, kd_cache_build(w->model, NULL, NULL))
CALL(cache_verify_1, kd_cache_verify(w->model, NULL, NULL, 1, NULL))
CALL(cache_agree_1, kd_cache_agree(&(kd_student){.model = w->model}, NULL, NULL, NULL))
CALL(exec_1, kd_exec_create(w->plan, NULL, NULL, &exec))
CALL(next_1, kd_loader_next(w->loader, NULL))
CALL(json_text_1, kd_json_text(w->json, NULL, NULL))
CALL(atomic_1, kd_file_write_atomic(w->ctx, "x", NULL, 1))

#define ROW(name)                                                                                  \
    {                                                                                              \
#name, name                                                                                \
    }
typedef struct row {
    const char *name;
    kd_status (*call)(const world *w);
} row;

static const row without[] = {
    ROW(taps_0),        ROW(plan_taps_0),   ROW(create_0),        ROW(load_0),
    ROW(count_0),       ROW(save_0),        ROW(save_as_0),       ROW(write_0),
    ROW(save_params_0), ROW(metadata_0),    ROW(metadata_1),      ROW(flat_0),
    ROW(hash_0),        ROW(params_hash_0), ROW(finite_0),        ROW(names_0),
    ROW(data_0),        ROW(framing_0),     ROW(normal_0),        ROW(normalize_0),
    ROW(take_0),        ROW(predict_0),     ROW(plan_0),          ROW(step_0),
    ROW(optim_0),       ROW(train_plan_0),  ROW(check_0),         ROW(writer_0),
    ROW(pair_0),        ROW(tensor_0),      ROW(writer_memory_0), ROW(tensor_fn_0),
    ROW(finish_0),      ROW(memory_0),      ROW(finish_memory_0), ROW(status_0),
    ROW(grad_0),        ROW(clone_0),       ROW(need_0),          ROW(get_0),
    ROW(set_0),         ROW(bind_0),        ROW(run_0),           ROW(info_0),
    ROW(f32_0),         ROW(i64_0),         ROW(raw_0),           ROW(open_0),
    ROW(all_0),         ROW(atomic_0),      ROW(line_0),          ROW(folder_0),
    ROW(json_0),        ROW(json_text_0),   ROW(parse_0),         ROW(object_0),
    ROW(complete_0),    ROW(match_0),       ROW(export_0),        ROW(export_graph_0),
    ROW(quantise_0),    ROW(compare_0),     ROW(layer_0),         ROW(result_0),
    ROW(blob_0),        ROW(write_blob_0),  ROW(write_c_0),       ROW(blob_open_0),
    ROW(onnx_0),        ROW(onnx_graph_0),  ROW(write_onnx_0),    ROW(blob_net_0),
    ROW(blob_answer_0), ROW(evaluate_0),    ROW(train_0),         ROW(distill_0),
    ROW(many_0),        ROW(cache_build_0), ROW(cache_verify_0),  ROW(cache_agree_0),
    ROW(seek_0)};

static const row with[] = {
    ROW(taps_1),        ROW(taps_2),      ROW(plan_taps_1),   ROW(export_1),
    ROW(blob_open_1),   ROW(blob_open_2), ROW(create_1),      ROW(create_2),
    ROW(load_1),        ROW(load_2),      ROW(load_file_1),   ROW(count_1),
    ROW(save_1),        ROW(hash_1),      ROW(save_params_1), ROW(normal_1),
    ROW(normal_2),      ROW(take_1),      ROW(normalize_1),   ROW(predict_1),
    ROW(predict_2),     ROW(plan_1),      ROW(plan_2),        ROW(step_1),
    ROW(step_2),        ROW(optim_1),     ROW(writer_1),      ROW(writer_2),
    ROW(train_plan_1),  ROW(memory_1),    ROW(memory_2),      ROW(writer_memory_1),
    ROW(clone_9),       ROW(get_9),       ROW(set_9),         ROW(open_9),
    ROW(all_9),         ROW(folder_9),    ROW(json_9),        ROW(parse_9),
    ROW(complete_9),    ROW(graph_8),     ROW(open_8),        ROW(arrays_8),
    ROW(callback_8),    ROW(build_1),     ROW(evaluate_1),    ROW(train_1),
    ROW(distill_1),     ROW(many_1),      ROW(cache_build_1), ROW(cache_verify_1),
    ROW(cache_agree_1), ROW(exec_1),      ROW(next_1),        ROW(json_text_1),
    ROW(atomic_1)};

static void make(world *w)
{
    const kd_loader_opt load = {.struct_size = sizeof load, .batch = 4, .depth = KD_LOADER_SYNC};
    const char *const synthetic = "synthetic:train=8,test=4,image=8,classes=2,channels=1";
    kd_exec *unused;
    w->ctx = test_ctx(1, NULL);
    test_ok(w->ctx, kd_model_create(w->ctx, SPEC, 1, &w->model));
    test_ok(w->ctx, kd_model_plan(w->model, 1, &w->plan, &unused));
    kd_exec_destroy(unused);
    test_ok(w->ctx, kd_writer_create_memory(w->ctx, &w->writer));
    test_ok(w->ctx, kd_dataset_open(w->ctx, synthetic, NULL, &w->data));
    test_ok(w->ctx, kd_loader_create(w->data, &load, &w->loader));
    test_ok(w->ctx, kd_json_create(w->ctx, 0, &w->json));
    w->params = kd_model_params(w->model);
}

START_TEST(test_null)
{
    world w;
    make(&w);
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        ck_assert_msg(without[i].call(&w) == KD_E_INVALID, "%s", without[i].name);
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        kd_ctx_fail(w.ctx, KD_E_IO, "before");
        ck_assert_msg(with[i].call(&w) == KD_E_INVALID, "%s", with[i].name);
        ck_assert_msg(strcmp(kd_ctx_error(w.ctx), "before"), "%s: no words", with[i].name);
    }
    kd_json_destroy(w.json);
    kd_loader_close(w.loader);
    kd_dataset_close(w.data);
    kd_writer_abandon(w.writer);
    kd_plan_destroy(w.plan);
    kd_model_destroy(w.model);
    ck_assert_uint_eq(kd_ctx_memory(w.ctx), 0);
    kd_ctx_destroy(w.ctx);
}
END_TEST

/* Without its object, too, a call leaves NULL where it was to make something. */
#define MAKES_NULL(made, call)                                                                     \
    do {                                                                                           \
        (made) = (void *)&hash;                                                                    \
        ck_assert_int_eq(call, KD_E_INVALID);                                                      \
        ck_assert_ptr_null(made);                                                                  \
    } while (0)

START_TEST(test_made)
{
    MAKES_NULL(made, kd_model_create(NULL, SPEC, 1, &made));
    MAKES_NULL(made, kd_model_load(NULL, "x", NULL, &made));
    MAKES_NULL(made, kd_model_load_file(NULL, NULL, NULL, &made));
    MAKES_NULL(made, kd_model_load_memory(NULL, "", 0, NULL, &made));
    MAKES_NULL(made, kd_blob_network(NULL, &made));
    MAKES_NULL(plan, kd_plan_create(NULL, NULL, &plan));
    MAKES_NULL(plan, kd_train_plan(NULL, NULL, &plan));
    MAKES_NULL(plan, kd_model_plan(NULL, 1, &plan, &exec));
    MAKES_NULL(exec, kd_model_plan(NULL, 1, &plan, &exec));
    MAKES_NULL(exec, kd_exec_create(NULL, NULL, NULL, &exec));
    MAKES_NULL(graph, kd_graph_create(NULL, &graph));
    MAKES_NULL(copy, kd_params_create(NULL, 1, &copy));
    MAKES_NULL(copy, kd_params_create_others(NULL, 1, NULL, &copy));
    MAKES_NULL(copy, kd_params_clone(NULL, &copy));
    MAKES_NULL(optim, kd_optim_create(NULL, NULL, &optim));
    MAKES_NULL(data, kd_dataset_open(NULL, "synthetic", NULL, &data));
    MAKES_NULL(data, kd_dataset_from_arrays(NULL, NULL, NULL, NULL, 0, &data));
    MAKES_NULL(data, kd_dataset_from_floats(NULL, NULL, NULL, NULL, 0, &data));
    MAKES_NULL(data, kd_dataset_from_callback(NULL, NULL, NULL, NULL, &data));
    MAKES_NULL(data, kd_dataset_from_encoded(NULL, NULL, NULL, NULL, &data));
    MAKES_NULL(data, kd_dataset_from_pictures(NULL, NULL, 0, &data));
    MAKES_NULL(loader, kd_loader_create(NULL, NULL, &loader));
    MAKES_NULL(batch, kd_loader_next(NULL, &batch));
    MAKES_NULL(file, kd_file_open(NULL, "x", &file));
    MAKES_NULL(file, kd_file_from_memory(NULL, "", 0, NULL, &file));
    MAKES_NULL(writer, kd_writer_create(NULL, "x", &writer));
    MAKES_NULL(writer, kd_writer_create_memory(NULL, &writer));
    MAKES_NULL(bytes, kd_writer_finish_memory(NULL, &bytes, &size));
    MAKES_NULL(text, kd_file_read_all(NULL, "x", 1, &text, &size));
    MAKES_NULL(json, kd_json_create(NULL, 0, &json));
    MAKES_NULL(object, kd_json_parse(NULL, "{}", 2, &object));
    MAKES_NULL(words, kd_json_text(NULL, &words, &size));
    MAKES_NULL(exported, kd_export_create(NULL, &exported));
    MAKES_NULL(constant, kd_export_blob(NULL, &constant, &size));
    MAKES_NULL(blob, kd_blob_open(NULL, "x", &blob));
}
END_TEST

/* What has no status does nothing, or finds nothing. */
START_TEST(test_nothing)
{
    const kd_train_opt t = {.struct_size = sizeof t};
    kd_train_defaults(NULL, NULL);
    kd_distill_defaults(NULL);
    ck_assert_ptr_null(kd_option_find(NULL));
    ck_assert_int_eq(kd_option_is_read(NULL, &t, NULL), 0);
    ck_assert_int_eq(kd_option_is_read(kd_option_find("lr"), NULL, NULL), 0);
    ck_assert_ptr_null(kd_method_name(KD_METHOD_COUNT));
    ck_assert_ptr_null(kd_schedule_name(KD_SCHEDULE_COUNT));
    ck_assert_ptr_null(kd_optimizer_name(KD_OPTIMIZER_COUNT));
    kd_ctx_destroy(NULL);
    kd_model_destroy(NULL);
    kd_optim_destroy(NULL);
    kd_plan_destroy(NULL);
    kd_exec_destroy(NULL);
    kd_params_destroy(NULL);
    kd_graph_destroy(NULL);
    kd_loader_close(NULL);
    kd_dataset_close(NULL);
    kd_file_close(NULL);
    kd_writer_abandon(NULL);
    kd_json_destroy(NULL);
    kd_json_object_destroy(NULL);
}
END_TEST

TEST_SUITE(nulls, 20, &test_null, &test_made, &test_nothing)
