/* SPDX-License-Identifier: MIT
 * calls_model.c: calls of specs, networks and their files, predictions (calls.h). */
#include "calls.h"

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
    calls_path(path, "failing_about.safetensors");
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

static kd_status call_model_save(world *w)
{
    char path[600];
    calls_path(path, "failing_saved.safetensors");
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

static const call calls[] = {
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
    {call_model_save, "kd_model_save kd_model_save_as kd_model_save_params"},
    {call_model_predict, "kd_model_predict kd_model_plan kd_model_plan_taps"},
};

const call_list calls_model = {calls, sizeof calls / sizeof *calls};
