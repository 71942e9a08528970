/* SPDX-License-Identifier: MIT
 * predict_output.c: what kd predict writes and prints. The file has the logits, and as metadata the
 * names of the picture files, the network and its classes. Printed are the likeliest classes of
 * each picture, by name if the network has names. */
#include "predict.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const predict_outputs[HEADS] = {"logits", "logits_cls", "logits_dist"};

/* ---- the file -------------------------------------------------------------------------------- */

int predict_begin_output(prediction *p)
{
    const cli_args *a = p->args;
    const char *output = a->words[2];
    char shown[300];
    if (cli_is_picture(output))
        return cli_usage("predict", "OUTPUT is missing: the last word, %s, is a picture",
                         cli_escape(output, shown, sizeof shown));
    int status = cli_apart(p->ctx, "OUTPUT", output, a->words[0]);
    if (!status) status = cli_apart(p->ctx, "OUTPUT", output, a->words[1]);
    for (size_t i = 0; i < a->n_more && !status; i++)
        status = cli_apart(p->ctx, "OUTPUT", output, a->more[i]);
    if (!status) status = cli_replaceable(p->ctx, "OUTPUT", output);
    if (!status && kd_writer_create(p->ctx, output, &p->writer)) status = cli_fail_ctx(p->ctx);
    return status;
}

/* A JSON array of texts. */
static kd_status write_names(const prediction *p, const char *key, const char *const *names,
                             size_t n)
{
    kd_json *json;
    const char *text;
    kd_status status = kd_json_create(p->ctx, 0, &json);
    if (status) return status;
    kd_json_array_begin(json, NULL);
    for (size_t i = 0; i < n; i++) kd_json_string(json, NULL, names[i]);
    kd_json_array_end(json);
    status = kd_json_text(json, &text, NULL);
    if (!status) status = kd_writer_metadata(p->writer, key, text);
    kd_json_destroy(json);
    return status;
}

static kd_status write_metadata(const prediction *p)
{
    char text[20];
    uint64_t hash;
    const char *const *classes = kd_model_class_names(p->model);
    kd_status status = kd_model_hash(p->model, &hash);
    if (status) return status;
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    kd_writer_metadata(p->writer, "libkd.kind", "predictions");
    kd_writer_metadata(p->writer, "libkd.version", kd_version());
    kd_writer_metadata(p->writer, "libkd.network", kd_model_spec(p->model));
    status = kd_writer_metadata(p->writer, "libkd.network_hash", text);
    if (!status && p->framing)
        status = kd_writer_metadata(p->writer, "libkd.framing", kd_loader_augment(p->loader));
    if (!status && classes) status = write_names(p, "libkd.classes", classes, p->classes);
    if (!status && p->paths) status = write_names(p, "libkd.files", p->paths, p->n);
    return status;
}

int predict_write(prediction *p)
{
    const int64_t shape[] = {(int64_t)p->n, (int64_t)p->classes};
    if (write_metadata(p)) return cli_fail_ctx(p->ctx);
    for (int h = 0; h < HEADS; h++)
        if (p->logits[h])
            kd_writer_tensor(p->writer, predict_outputs[h], KD_F32, 2, shape, p->logits[h]);
    kd_writer *writer = p->writer;
    p->writer = NULL;
    return kd_writer_finish(writer) ? cli_fail_ctx(p->ctx) : CLI_DONE;
}

/* ---- the likeliest classes ------------------------------------------------------------------- */

/* The class that follows `last` when classes are sorted by logit, the highest first, then by
 * number. Returns the number of classes if none follows. */
static size_t next_class(const float *logits, size_t classes, size_t last)
{
    size_t best = classes;
    for (size_t k = 0; k < classes; k++) {
        const bool after =
            last == classes || logits[k] < logits[last] || (logits[k] == logits[last] && k > last);
        if (k != last && after && (best == classes || logits[k] > logits[best])) best = k;
    }
    return best;
}

/* Of the logits, as shares of 1: exp(logits[k] - top) / sum. */
static double share(const float *logits, size_t classes, size_t k)
{
    double sum = 0;
    float most = logits[0];
    for (size_t i = 1; i < classes; i++)
        if (logits[i] > most) most = logits[i];
    for (size_t i = 0; i < classes; i++) sum += exp((double)logits[i] - (double)most);
    return exp((double)logits[k] - (double)most) / sum;
}

static bool is_finite(const float *logits, size_t classes)
{
    for (size_t k = 0; k < classes; k++)
        if (!isfinite(logits[k])) return false;
    return true;
}

static size_t wanted(const prediction *p)
{
    const size_t top = p->args->top ? (size_t)p->args->top : p->paths ? 1 : 0;
    return top < p->classes ? top : p->classes;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* The file's name, or which row of the tensor it is. */
static const char *name_of(const prediction *p, size_t row, char *out, size_t size)
{
    if (p->paths) return cli_escape(p->paths[row], out, size);
    snprintf(out, size, "picture %zu", row);
    return out;
}

static const char *class_of(const prediction *p, size_t k, char *out, size_t size)
{
    const char *const *names = kd_model_class_names(p->model);
    if (names) return cli_escape(names[k], out, size);
    snprintf(out, size, "class %zu", k);
    return out;
}

/* Say on standard error which rows are no prediction. */
static void warn(const prediction *p)
{
    char shown[300];
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (!p->there[i]) {
            fprintf(stderr, "kd: row %zu, %s, could not be read: its logits are NaN\n", i,
                    name_of(p, i, shown, sizeof shown));
            continue;
        }
        if (is_finite(p->logits[0] + i * p->classes, p->classes)) continue;
        if (wrong++ == 0) first = i;
    }
    if (wrong)
        fprintf(stderr,
                "kd: warning: logits of %zu of the %zu pictures are not finite, first of %s\n",
                wrong, p->n, name_of(p, first, shown, sizeof shown));
}

static void print_picture(const prediction *p, size_t row, size_t top)
{
    char file[300], name[200];
    const float *logits = p->logits[0] + row * p->classes;
    name_of(p, row, file, sizeof file);
    if (!is_finite(logits, p->classes)) {
        printf("%10s  %-24s  %s\n", "-", p->there[row] ? "not finite" : "not read", file);
        return;
    }
    for (size_t i = 0, k = p->classes; i < top; i++) {
        k = next_class(logits, p->classes, k);
        printf("%8.2f %%  %-24s  %s\n", 100 * share(logits, p->classes, k),
               class_of(p, k, name, sizeof name), file);
    }
}

static int as_text(const prediction *p)
{
    char safe[400];
    const size_t top = wanted(p), done = p->n - p->broken;
    for (size_t i = 0; top && i < p->n; i++) print_picture(p, i, top);
    printf("%zu picture%s in %s (%.0f images/s), logits [%zu,%zu] in %s\n", done,
           done == 1 ? "" : "s", cli_duration(p->seconds).text, (double)done / p->seconds, p->n,
           p->classes, cli_escape(p->args->words[2], safe, sizeof safe));
    return cli_flush();
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void picture_json(const prediction *p, kd_json *json, size_t row, size_t top)
{
    const float *logits = p->logits[0] + row * p->classes;
    const char *const *names = kd_model_class_names(p->model);
    const bool finite = is_finite(logits, p->classes);
    kd_json_object_begin(json, NULL);
    kd_json_integer(json, "row", (int64_t)row);
    kd_json_string(json, "file", p->paths ? p->paths[row] : NULL);
    kd_json_bool(json, "read", p->there[row]);
    kd_json_array_begin(json, "top");
    for (size_t i = 0, k = p->classes; finite && i < top; i++) {
        k = next_class(logits, p->classes, k);
        kd_json_object_begin(json, NULL);
        kd_json_integer(json, "class", (int64_t)k);
        kd_json_string(json, "name", names ? names[k] : NULL);
        kd_json_number(json, "probability", share(logits, p->classes, k));
        kd_json_object_end(json);
    }
    kd_json_array_end(json);
    kd_json_object_end(json);
}

static int as_json(const prediction *p)
{
    kd_json *json;
    const size_t top = wanted(p);
    if (kd_json_create(p->ctx, 0, &json)) return cli_fail_ctx(p->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_string(json, "spec", kd_model_spec(p->model));
    kd_json_integer(json, "n", (int64_t)p->n);
    kd_json_integer(json, "broken", (int64_t)p->broken);
    kd_json_integer(json, "classes", (int64_t)p->classes);
    kd_json_string(json, "framing", p->loader ? kd_loader_augment(p->loader) : NULL);
    kd_json_number(json, "seconds", p->seconds);
    kd_json_number(json, "images_per_second", (double)(p->n - p->broken) / p->seconds);
    kd_json_string(json, "output", p->args->words[2]);
    if (top) {
        kd_json_array_begin(json, "pictures");
        for (size_t i = 0; i < p->n; i++) picture_json(p, json, i, top);
        kd_json_array_end(json);
    }
    kd_json_object_end(json);
    return cli_print_json(p->ctx, json);
}

int predict_report(const prediction *p)
{
    warn(p);
    return p->args->json ? as_json(p) : as_text(p);
}
