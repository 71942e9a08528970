/* SPDX-License-Identifier: MIT
 * test_null_arguments.c: NULL where a call has no status to return: builders of graphs answer
 * KD_NONE, and keep what was missing as the graph's error; what asks finds nothing; what changes
 * does nothing. The headers are read to see that no such call is left out. */
#include "../test.h"

#include <kd/kd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t dim[] = {KD_BATCH, 4, 4, 2};
static const int pair[] = {2, 2}, zero[] = {0, 0}, order[] = {0, 1, 2, 3};
static const kd_value tokens[] = {0, 0};
static const kd_op op = {.struct_size = sizeof op, .name = "op", .n_in_max = 1, .n_out = 1};
static float number[8 * 8 * 3];

#define NONE(call) ck_assert_msg((call) == KD_NONE, "%s", #call)
#define ZERO(call) ck_assert_msg(!(call), "%s", #call)

/* ---- without a graph ------------------------------------------------------------------------- */

START_TEST(test_layers_without_a_graph)
{
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = 2, .kernel = {3}};
    const kd_pool_opt pool = {.struct_size = sizeof pool, .kernel = {2}};
    NONE(kd_graph_fail(NULL, KD_E_IO));
    NONE(kd_input(NULL, "x", KD_F32, 4, dim));
    NONE(kd_param(NULL, "p", 3, dim + 1, NULL));
    NONE(kd_graph_op(NULL, &op, NULL, tokens, 1, NULL));
    NONE(kd_conv2d(NULL, 0, "c", &conv));
    NONE(kd_linear(NULL, 0, "l", 2, 1));
    NONE(kd_flatten_linear(NULL, 0, "l", 2, 1));
    NONE(kd_batch_norm(NULL, 0, "b", 0, 0));
    NONE(kd_layer_norm(NULL, 0, "n", 0));
    NONE(kd_max_pool(NULL, 0, &pool));
    NONE(kd_avg_pool(NULL, 0, &pool));
    NONE(kd_adaptive_avg_pool(NULL, 0, 1, 1));
    NONE(kd_global_avg_pool(NULL, 0));
    NONE(kd_attention(NULL, 0, 1, 0, KD_NONE, KD_NONE));
    NONE(kd_attention_first(NULL, 0, 1, 0, 1));
    NONE(kd_attention_map(NULL, 0, 1, 0, KD_NONE, KD_NONE));
    NONE(kd_prepend_tokens(NULL, 0, tokens, 2));
    NONE(kd_add_broadcast(NULL, 0, 1));
    NONE(kd_select_tokens(NULL, 0, 0, 1));
    NONE(kd_select_token(NULL, 0, 0));
    NONE(kd_drop_path(NULL, 0, 0));
    NONE(kd_drop_path(NULL, 0, .5f));
    NONE(kd_window_partition(NULL, 0, pair, zero));
    NONE(kd_window_reverse(NULL, 0, pair, pair, zero));
    NONE(kd_window_mask(NULL, pair, pair, zero));
    NONE(kd_position_bias(NULL, 0, pair));
    NONE(kd_patch_merge(NULL, 0));
    NONE(kd_graph_grad_of(NULL, 0));
}
END_TEST

START_TEST(test_functions_without_a_graph)
{
    NONE(kd_relu(NULL, 0));
    NONE(kd_gelu(NULL, 0));
    NONE(kd_sigmoid(NULL, 0));
    NONE(kd_add(NULL, 0, 0));
    NONE(kd_mul(NULL, 0, 0));
    NONE(kd_sub(NULL, 0, 0));
    NONE(kd_scale(NULL, 0, 2));
    NONE(kd_concat(NULL, tokens, 2, 0));
    NONE(kd_reshape(NULL, 0, 2, dim));
    NONE(kd_transpose(NULL, 0, order));
    NONE(kd_mean(NULL, 0));
    NONE(kd_mean_square(NULL, 0));
    NONE(kd_stop_gradient(NULL, 0));
    NONE(kd_softmax(NULL, 0));
    NONE(kd_dropout(NULL, 0, .5f));
    NONE(kd_cross_entropy(NULL, 0, 0, 0));
    NONE(kd_cross_entropy_mixed(NULL, 0, 0, 0, 0, 0));
    NONE(kd_loss_kd(NULL, 0, 0, 1));
    NONE(kd_loss_hard(NULL, 0, 0));
    NONE(kd_loss_dkd(NULL, 0, 0, 0, 1, 1, 1));
    NONE(kd_standardize(NULL, 0));
    NONE(kd_loss_mse(NULL, 0, 0));
    NONE(kd_loss_kl(NULL, 0, 0));
    NONE(kd_loss_rkd(NULL, 0, 0, 1, 1));
    NONE(kd_l2_normalize(NULL, 0));
    NONE(kd_channel_energy(NULL, 0));
}
END_TEST

START_TEST(test_the_rest_without_a_graph)
{
    ZERO(kd_graph_ctx(NULL));
    ZERO(kd_graph_param_count(NULL));
    ck_assert_int_eq(kd_graph_shape(NULL, 0).rank, -1);
    ck_assert_int_eq(kd_graph_dtype(NULL, 0), KD_F32);
    ZERO(kd_name_matches(NULL, "x"));
    ZERO(kd_name_matches("x", NULL));
    kd_graph_scope(NULL, "%s", "x");
    kd_graph_unscope(NULL);
    kd_graph_part(NULL, KD_PART_LOSS);
    kd_graph_freeze(NULL, "x");
    kd_graph_want_grad(NULL, 0);
    kd_output(NULL, 0, "x");
}
END_TEST

/* ---- with a graph, and something else missing ------------------------------------------------ */

static void is_refused(kd_ctx *ctx, kd_graph *g, kd_value made, const char *call)
{
    ck_assert_msg(made == KD_NONE, "%s", call);
    ck_assert_msg(kd_graph_status(g) == KD_E_INVALID, "%s", call);
    ck_assert_msg(strstr(kd_ctx_error(ctx), "NULL") != NULL, "%s: %s", call, kd_ctx_error(ctx));
    NONE(kd_relu(g, 0)); /* it sticks */
    kd_graph_destroy(g);
}

static kd_graph *begin(kd_ctx *ctx, kd_value *x)
{
    kd_graph *g;
    test_ok(ctx, kd_graph_create(ctx, &g));
    *x = kd_input(g, "x", KD_F32, 4, dim);
    test_ok(ctx, kd_graph_status(g));
    return g;
}

/* A builder in a graph g with an input x. */
#define LACKS(call)                                                                                \
    do {                                                                                           \
        kd_value x;                                                                                \
        kd_graph *const g = begin(ctx, &x);                                                        \
        const kd_value value = call;                                                               \
        is_refused(ctx, g, value, #call);                                                          \
    } while (0)

START_TEST(test_builders_lack)
{
    kd_ctx *const ctx = test_ctx(1, NULL);
    const char *none = NULL; /* not known to the compiler, which would warn */
    const kd_conv2d_opt conv = {.struct_size = sizeof conv, .out = 2, .kernel = {3}};
    const kd_build_opt taps = {.struct_size = sizeof taps, .n_taps = 2};
    kd_model *model;
    test_ok(ctx, kd_model_create(ctx, "vgg2_bn,width=0.125,classes=2,image=8", 1, &model));
    LACKS(kd_input(g, NULL, KD_F32, 4, dim));
    LACKS(kd_input(g, "y", KD_F32, 1, NULL));
    LACKS(kd_param(g, NULL, 3, dim + 1, NULL));
    LACKS(kd_param(g, "p", 3, NULL, NULL));
    LACKS(kd_graph_op(g, NULL, NULL, &x, 1, NULL));
    LACKS(kd_conv2d(g, x, NULL, &conv));
    LACKS(kd_linear(g, x, NULL, 2, 1));
    LACKS(kd_flatten_linear(g, x, NULL, 2, 1));
    LACKS(kd_batch_norm(g, x, NULL, 0, 0));
    LACKS(kd_layer_norm(g, x, NULL, 0));
    LACKS(kd_concat(g, NULL, 3, 0));
    LACKS(kd_reshape(g, x, 2, NULL));
    LACKS(kd_transpose(g, x, NULL));
    LACKS(kd_prepend_tokens(g, x, NULL, 2));
    LACKS(kd_window_partition(g, x, NULL, zero));
    LACKS(kd_window_partition(g, x, pair, NULL));
    LACKS(kd_window_reverse(g, x, NULL, pair, zero));
    LACKS(kd_window_reverse(g, x, pair, NULL, zero));
    LACKS(kd_window_reverse(g, x, pair, pair, NULL));
    LACKS(kd_window_mask(g, NULL, pair, zero));
    LACKS(kd_window_mask(g, pair, NULL, zero));
    LACKS(kd_window_mask(g, pair, pair, NULL));
    LACKS(kd_position_bias(g, x, NULL));
    LACKS(kd_model_build(NULL, g, x, NULL));
    LACKS(kd_model_build(model, g, x, &taps));
    LACKS((kd_output(g, x, NULL), KD_NONE));
    LACKS((kd_graph_scope(g, none, 0), KD_NONE));
    NONE(kd_model_build(model, NULL, 0, NULL));
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
}
END_TEST

/* An earlier error is the one that stays. */
START_TEST(test_the_first_error_stays)
{
    kd_ctx *const ctx = test_ctx(1, NULL);
    kd_value x;
    kd_graph *const g = begin(ctx, &x);
    static const int64_t too_many[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    NONE(kd_reshape(g, x, 9, too_many));
    NONE(kd_reshape(g, x, 2, NULL));
    NONE(kd_input(g, NULL, KD_F32, 4, dim));
    ck_assert_int_eq(kd_graph_status(g), KD_E_SHAPE);
    kd_graph_destroy(g);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- what asks, and what changes ------------------------------------------------------------- */

START_TEST(test_params)
{
    const kd_param_info info = {.name = "x", .count = 1};
    ZERO(kd_params_ctx(NULL));
    ZERO(kd_params_entries(NULL));
    ZERO(kd_params_info(NULL, 0));
    ZERO(kd_params_find(NULL, "x"));
    ZERO(kd_params_count(NULL));
    ZERO(kd_params_flat_count(NULL));
    ZERO(kd_params_values(NULL));
    ZERO(kd_params_grads(NULL));
    ZERO(kd_params_buffers(NULL));
    ZERO(kd_params_buffer_bytes(NULL));
    kd_params_touch(NULL);
    kd_params_pack(NULL, number, number);
    kd_params_pack(&info, NULL, number);
    kd_params_pack(&info, number, NULL);
    kd_params_unpack(NULL, number, number);
    kd_params_unpack(&info, NULL, number);
    kd_params_unpack(&info, number, NULL);
    ZERO(kd_params_grad_norm(NULL) > 0);
    kd_params_average(NULL, NULL, .5f);
    kd_optim_step(NULL, 1, 1);
    ZERO(kd_optim_state(NULL, 0, NULL));
    ZERO(kd_optim_steps(NULL));
    kd_optim_set_steps(NULL, 1);
    ZERO(kd_optimizer_name(KD_OPTIMIZER_COUNT));
    ZERO(kd_schedule_name(KD_SCHEDULE_COUNT));
    ck_assert(kd_schedule_factor(KD_SCHEDULE_CONSTANT, .5) > 0); /* takes no pointer */
}
END_TEST

START_TEST(test_plans)
{
    ZERO(kd_plan_arena_size(NULL));
    ZERO(kd_plan_batch(NULL));
    ZERO(kd_plan_values_size(NULL));
    ZERO(kd_plan_mixes(NULL));
    ZERO(kd_plan_macs(NULL));
    ZERO(kd_plan_macs_recomputed(NULL));
    ZERO(kd_plan_steps(NULL));
    ZERO(kd_exec_output(NULL, "x"));
    ck_assert_int_eq(kd_exec_output_shape(NULL, "x").rank, 0);
    ZERO(kd_exec_seconds(NULL, KD_PART_LOSS) > 0);
    ZERO(kd_exec_step_seconds(NULL, 0) > 0);
    kd_exec_reset_seconds(NULL);
}
END_TEST

START_TEST(test_models)
{
    uint64_t sum = 7;
    const kd_data_info info = {.struct_size = sizeof info, .channels = 3};
    ZERO(kd_model_name_at(SIZE_MAX));
    ZERO(kd_model_ctx(NULL));
    ZERO(kd_model_spec(NULL));
    ZERO(kd_model_params(NULL));
    ZERO(kd_model_classes(NULL));
    ZERO(kd_model_height(NULL));
    ZERO(kd_model_width(NULL));
    ZERO(kd_model_image(NULL));
    ZERO(kd_model_channels(NULL));
    ZERO(kd_model_is_transformer(NULL));
    ZERO(kd_model_head_at(NULL, 0));
    ZERO(kd_model_head_kept(NULL));
    ZERO(kd_model_has_batch_norm(NULL));
    ZERO(kd_model_mean(NULL));
    ZERO(kd_model_std(NULL));
    ZERO(kd_model_class_names(NULL));
    ZERO(kd_model_data(NULL, &sum));
    ck_assert_uint_eq(sum, 7);
    ZERO(kd_model_framing(NULL));
    ZERO(kd_model_view(NULL, &info).mean);
    NONE(kd_model_build(NULL, NULL, 0, NULL));
}
END_TEST

START_TEST(test_data)
{
    size_t height = 1;
    ZERO(kd_dataset_name_at(SIZE_MAX));
    ZERO(kd_dataset_broken(NULL));
    ZERO(kd_dataset_info(NULL));
    ZERO(kd_dataset_note(NULL, 0));
    ZERO(kd_dataset_framing(NULL));
    ZERO(kd_loader_mixes(NULL));
    ZERO(kd_loader_draws(NULL));
    ZERO(kd_loader_canvas(NULL, NULL, NULL));
    ZERO(kd_loader_canvas(NULL, &height, NULL));
    ck_assert_uint_eq(height, 0);
    ZERO(kd_loader_batches(NULL));
    ZERO(kd_loader_samples(NULL));
    ZERO(kd_loader_augment(NULL));
    ZERO(kd_loader_seconds_waited(NULL) > 0);
}
END_TEST

START_TEST(test_files)
{
    kd_ctx *const ctx = test_ctx(1, NULL);
    const char *const text = "{\"n\":1,\"b\":true,\"a\":[]}";
    kd_json_object *object;
    ZERO(kd_file_path(NULL));
    ZERO(kd_file_size(NULL));
    ZERO(kd_file_count(NULL));
    ZERO(kd_file_at(NULL, 0));
    ZERO(kd_file_find(NULL, "x"));
    ZERO(kd_file_metadata_count(NULL));
    ZERO(kd_file_metadata_get(NULL, "x"));
    ZERO(kd_file_metadata_at(NULL, 0, NULL, NULL));
    kd_json_clear(NULL);
    kd_json_object_begin(NULL, NULL);
    kd_json_object_end(NULL);
    kd_json_array_begin(NULL, NULL);
    kd_json_array_end(NULL);
    kd_json_string(NULL, NULL, "x");
    kd_json_number(NULL, NULL, 1);
    kd_json_float(NULL, NULL, 1);
    kd_json_integer(NULL, NULL, 1);
    kd_json_bool(NULL, NULL, 1);
    kd_json_null(NULL, NULL);
    test_ok(ctx, kd_json_parse(ctx, text, strlen(text), &object));
    ZERO(kd_json_get_string(NULL, "n"));
    ZERO(kd_json_get_string(object, NULL));
    ZERO(kd_json_get_number(object, "n", NULL));
    ZERO(kd_json_get_integer(object, "n", NULL));
    ZERO(kd_json_get_bool(object, "b", NULL));
    ZERO(kd_json_get_count(object, "a", NULL));
    ZERO(kd_json_key(NULL, 0));
    kd_json_object_destroy(object);
    kd_ctx_destroy(ctx);
}
END_TEST

START_TEST(test_contexts)
{
    ck_assert_str_ne(kd_ctx_error(NULL), "");
    ZERO(kd_ctx_threads(NULL));
    ZERO(kd_ctx_isa(NULL));
    ZERO(kd_ctx_blas(NULL));
    ZERO(kd_ctx_memory(NULL));
    ZERO(kd_ctx_memory_peak(NULL));
    ZERO(kd_ctx_memory_limit(NULL));
    ZERO(kd_ctx_cancelled(NULL));
    ZERO(kd_ctx_alloc(NULL, 1, 1));
    kd_ctx_cancel(NULL, 1);
    kd_ctx_log(NULL, KD_LOG_INFO, "x");
    kd_ctx_free(NULL, NULL);
    kd_parallel_for(NULL, 2, NULL, NULL);
    kd_results(NULL, number, sizeof number);
}
END_TEST

/* Where there is an object, and something else is missing. */
START_TEST(test_objects)
{
    const char *const spec = "vgg2_bn,width=0.125,classes=2,image=8";
    const float half[] = {.5f, .5f, .5f};
    kd_ctx *const ctx = test_ctx(1, NULL);
    kd_model *model;
    kd_plan *plan;
    kd_exec *exec;
    kd_export *exported;
    test_ok(ctx, kd_model_create(ctx, spec, 1, &model));
    test_ok(ctx, kd_model_set_normalization(model, half, half));
    test_ok(ctx, kd_model_plan(model, 1, &plan, &exec));
    test_ok(ctx, kd_export_create(model, &exported));
    kd_params *const params = kd_model_params(model);
    const kd_param_info *const info = kd_params_info(params, 0);
    test_ok(ctx, kd_params_need_grads(params));
    float *const values = calloc(info->count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    ZERO(kd_params_find(params, NULL));
    ZERO(kd_exec_output(exec, NULL));
    ck_assert_int_eq(kd_exec_output_shape(exec, NULL).rank, 0);
    ck_assert_uint_eq(kd_model_view(model, NULL).height, 8);
    kd_params_average(params, NULL, .5f);
    kd_params_average(NULL, params, .5f);
    ck_assert_int_eq(kd_plan_step_info(plan, 0, NULL), KD_E_INVALID);
    ck_assert_int_eq(kd_export_layer_info(exported, 0, NULL), KD_E_INVALID);
    ck_assert_int_eq(kd_export_result_get(exported, NULL), KD_E_INVALID);
    test_ok(ctx, kd_params_get(params, info, 1, values));
    ck_assert_int_eq(kd_params_get(params, info, 7, values), KD_E_INVALID);
    ck_assert_int_eq(kd_params_get(params, info, -1, values), KD_E_INVALID);
    test_ok(ctx, kd_exec_bind(exec, "input", number));
    test_ok(ctx, kd_exec_bind(exec, "input", NULL));
    ck_assert_int_eq(kd_exec_run(exec, NULL), KD_E_INVALID);
    free(values);
    kd_export_destroy(exported);
    kd_exec_destroy(exec);
    kd_plan_destroy(plan);
    kd_model_destroy(model);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- every call that has no status ----------------------------------------------------------- */

static char *read_text(const char *path)
{
    enum { MOST = 1 << 17 };
    char *text = calloc(MOST, 1);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f && text, "%s", path);
    ck_assert_uint_lt(fread(text, 1, MOST - 1, f), MOST - 1);
    fclose(f);
    return text;
}

START_TEST(test_no_call_is_left_out)
{
    static const char *const headers[] = {"graph", "op",   "params", "plan", "optim",
                                          "model", "data", "file",   "json"};
    char *const tested = read_text("tests/base/test_null_arguments.c");
    size_t found = 0;
    for (size_t h = 0; h < sizeof headers / sizeof *headers; h++) {
        char path[100], call[100];
        snprintf(path, sizeof path, "include/kd/%s.h", headers[h]);
        char *const text = read_text(path);
        for (const char *at = text; (at = strstr(at, "\nKD_API ")); at++) {
            const char *const end = strchr(at, '('), *name = end;
            while (name[-1] != ' ' && name[-1] != '*') name--;
            snprintf(call, sizeof call, "%.*s(", (int)(end - name), name);
            found++;
            if (!strncmp(at, "\nKD_API kd_status ", 18)) continue; /* test_nulls.c */
            if (strstr(call, "_destroy(") || strstr(call, "_close(") || strstr(call, "_abandon("))
                continue;
            if (!strncmp(call, "kd_f32_", 7) || !strncmp(call, "kd_f16_", 7))
                continue; /* numbers */
            ck_assert_msg(strstr(tested, call) != NULL, "%s is not called with NULL", call);
        }
        free(text);
    }
    free(tested);
    ck_assert_uint_gt(found, 150);
}
END_TEST

TEST_SUITE(null_arguments, 30, &test_layers_without_a_graph, &test_functions_without_a_graph,
           &test_the_rest_without_a_graph, &test_builders_lack, &test_the_first_error_stays,
           &test_params, &test_plans, &test_models, &test_data, &test_files, &test_contexts,
           &test_objects, &test_no_call_is_left_out)
