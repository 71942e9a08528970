/* SPDX-License-Identifier: MIT
 * calls_graph.c: calls of graphs, plans, parameters, executors (calls.h). */
#include "calls.h"

#include <stdlib.h>
#include <string.h>

static const int64_t rows_dim[] = {KD_BATCH, CLASSES};

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

static const call calls[] = {
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
    {call_plan_within, "kd_plan_create"},
};

const call_list calls_graph = {calls, sizeof calls / sizeof *calls};
