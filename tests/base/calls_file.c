/* SPDX-License-Identifier: MIT
 * calls_file.c: calls of files of tensors, whole files, JSON (calls.h). */
#include "calls.h"

#include <stdio.h>

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
    kd_status status =
        kd_writer_create(w->ctx, calls_path(path, "failing_written.safetensors"), &to);
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
    kd_status status = kd_file_write_atomic(w->ctx, calls_path(path, "failing_lines"), "abc", 3);
    if (!status) status = kd_file_append_line(w->ctx, path, "line");
    if (!status) status = kd_folder_make(w->ctx, calls_path(folder, "failing_folder"));
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

static const call calls[] = {
    {call_file_open, "kd_file_open"},
    {call_file_from_memory, "kd_file_from_memory"},
    {call_file_read, "kd_file_read_f32 kd_file_read_i64 kd_file_read_bytes"},
    {call_writer, "kd_writer_create kd_writer_metadata kd_writer_tensor kd_writer_tensor_fn "
                  "kd_writer_finish"},
    {call_whole_files, "kd_file_write_atomic kd_file_append_line kd_file_read_all kd_folder_make"},
    {call_json, "kd_json_create kd_json_text kd_json_parse kd_json_get_object "
                "kd_json_get_element"},
};

const call_list calls_file = {calls, sizeof calls / sizeof *calls};
