/* SPDX-License-Identifier: MIT
 * metadata.c: what a model's file says of itself, in its metadata (lib/file/about.c has the keys).
 * All but the spec may be missing. A file that contradicts itself is refused. */
#include "model.h"

#include "../file/about.h"
#include "../file/json.h"
#include "../file/number.h"
#include "../file/writer.h"

#include <string.h>

/* ---- writing --------------------------------------------------------------------------------- */

static kd_status put(void *writer, const char *key, const char *text)
{
    return kd_writer_metadata(writer, key, text);
}

kd_status kd_model_write_metadata(const kd_model *m, kd_writer *w)
{
    if (!m || !w) return KD_E_INVALID;
    const kdi_about about = {.spec = m->text,
                             .data = m->data,
                             .framing = *m->framing ? m->framing : NULL,
                             .data_checksum = m->data_checksum,
                             .mean = kd_model_mean(m),
                             .std = kd_model_std(m),
                             .channels = kd_model_channels(m),
                             .class_names = m->classes.name,
                             .classes = m->classes.n};
    const kd_status status = kdi_about_tell(kdi_writer_ctx(w), &about, put, w);
    return status ? kdi_writer_fail(w, status) : KD_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

static kd_status read_numbers(kd_model *m, const kd_file *file, const char *key, float *out)
{
    const char *text = kd_file_metadata_get(file, key);
    for (int i = 0; i < m->spec.channels; i++) {
        const size_t length = text ? strcspn(text, ",") : 0;
        double number;
        if (!text || !kdi_parse_double(text, length, &number))
            return kd_ctx_fail(m->ctx, KD_E_FORMAT, "%s: '%s' is not %d numbers",
                               kd_file_path(file), key, m->spec.channels);
        out[i] = (float)number;
        text = text[length] ? text + length + 1 : NULL;
    }
    return KD_OK;
}

static kd_status read_normalization(kd_model *m, const kd_file *file)
{
    float mean[KDI_MAX_CHANNELS], std[KDI_MAX_CHANNELS];
    if (!kd_file_metadata_get(file, "libkd.mean")) return KD_OK;
    kd_status status = read_numbers(m, file, "libkd.mean", mean);
    if (!status) status = read_numbers(m, file, "libkd.std", std);
    return status ? status : kd_model_set_normalization(m, mean, std);
}

/* json holds an array, whose strings are put into names [n]. */
static kd_status take_names(kd_ctx *ctx, kdi_json *json, const char **names, size_t n,
                            kdi_classes *out)
{
    for (size_t i = 0; i < n; i++) {
        if (kdi_json_kind(json, 1 + i) != KDI_JSON_STRING) return KD_E_FORMAT;
        names[i] = kdi_json_string(json, 1 + i);
    }
    return kdi_classes_copy(ctx, names, n, out);
}

/* text is a copy, and writable. */
static kd_status parse_classes(kd_ctx *ctx, char *text, size_t n, kdi_classes *out)
{
    kdi_json json;
    const char **names = NULL;
    kd_status status = kdi_json_open_array(ctx, "libkd.classes", text, strlen(text), n + 1, &json);
    if (status) return status;
    if (kdi_json_size(&json, 0) != n || json.count != n + 1)
        status = KD_E_FORMAT;
    else if (!(names = kd_ctx_alloc(ctx, n, sizeof *names)))
        status = kd_ctx_memory_status(ctx);
    if (!status) status = take_names(ctx, &json, names, n, out);
    kd_ctx_free(ctx, names);
    kdi_json_close(&json);
    return status;
}

kd_status kdi_read_classes(kd_ctx *ctx, const kd_file *file, size_t n, kdi_classes *out)
{
    const char *text = kd_file_metadata_get(file, "libkd.classes");
    *out = (kdi_classes){0};
    if (!text) return KD_OK;
    char *copy = kdi_strdup(ctx, text);
    if (!copy) return kd_ctx_memory_status(ctx);
    const kd_status status = parse_classes(ctx, copy, n, out);
    kd_ctx_free(ctx, copy);
    if (status != KD_E_FORMAT) return status;
    return kd_ctx_fail(ctx, status, "%s: 'libkd.classes' is no JSON array of %zu strings",
                       kd_file_path(file), n);
}

static bool read_hex(const char *text, uint64_t *number)
{
    static const char digits[] = "0123456789abcdef";
    *number = 0;
    if (strlen(text) != 16) return false;
    for (; *text; text++) {
        const char *digit = strchr(digits, *text);
        if (!digit) return false;
        *number = *number << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

static kd_status read_data(kd_model *m, const kd_file *file)
{
    const char *name = kd_file_metadata_get(file, "libkd.data");
    const char *text = kd_file_metadata_get(file, "libkd.data_checksum");
    uint64_t checksum;
    if (!name) return KD_OK;
    if (!text || !read_hex(text, &checksum))
        return kd_ctx_fail(m->ctx, KD_E_FORMAT,
                           "%s: 'libkd.data_checksum' is not 16 hexadecimal digits",
                           kd_file_path(file));
    return kd_model_set_data(m, name, checksum);
}

static kd_status read_framing(kd_model *m, const kd_file *file)
{
    const char *text = kd_file_metadata_get(file, "libkd.framing");
    const kd_status status = text ? kd_model_set_framing(m, text) : KD_OK;
    if (!status) return KD_OK;
    return kd_ctx_fail(m->ctx, KD_E_FORMAT, "%s: 'libkd.framing': %s", kd_file_path(file),
                       kd_ctx_error(m->ctx));
}

kd_status kdi_model_read_metadata(kd_model *m, const kd_file *file)
{
    kd_status status = read_normalization(m, file);
    if (!status && !m->new_head) status = read_data(m, file);
    if (!status) status = read_framing(m, file);
    return status;
}
