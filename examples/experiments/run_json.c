/* SPDX-License-Identifier: MIT
 * run_json.c: OUT/NAME/run.json: all that is needed to do a run again, and what came of it. It has
 * the keys of the run.json that kd writes (docs/formats.md), and two more:
 *
 *   name, settings  the run; one line of all that must be the same for it to count as done
 * weights         a hash of the finished network. It is part of the settings of runs that start or
 *                   learn from this one: if a teacher is trained anew, so are its students */
#include "experiments.h"

#include "../common/run_record.h"

#include <math.h>
#include <string.h>

/* ---- sums and settings ----------------------------------------------------------------------- */

static uint64_t add_bytes(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001B3u; /* FNV-1a */
    return h;
}

void ex_weights_sum(kd_model *model, char out[24])
{
    kd_params *p = kd_model_params(model);
    uint64_t h = 0xCBF29CE484222325u;
    h = add_bytes(h, kd_params_values(p), kd_params_flat_count(p) * sizeof(float));
    h = add_bytes(h, kd_params_buffers(p), kd_params_buffer_bytes(p));
    snprintf(out, 24, "%016llx", (unsigned long long)h);
}

void ex_settings(const ex_work *w, const ex_run *run, const ex_record *teacher,
                 const ex_record *start, char out[EX_SETTINGS_SIZE])
{
    kd_distill_opt opt;
    kd_train_opt train;
    const kd_train_opt *t = &train;
    ex_options_of(w, run, &opt, &train);
    char optimizer[80];
    if (t->optimizer == KD_OPTIMIZER_ADAMW)
        snprintf(optimizer, sizeof optimizer, "AdamW %g %g", t->beta1, t->beta2);
    else
        snprintf(optimizer, sizeof optimizer, "SGD momentum %g%s", (double)t->momentum,
                 t->nesterov ? " nesterov" : "");
    int n = snprintf(out, EX_SETTINGS_SIZE,
                     "%s; %s %s; epochs %zu, batch %zu, %s, rate %g, decay %g, %s, warm-up %g, "
                     "augment %s, seed %llu",
                     w->opt.scale->networks[run->kind->network], w->data_name, w->data_sum,
                     t->epochs, t->batch, optimizer, (double)t->lr, (double)t->weight_decay,
                     kd_schedule_name(t->schedule), (double)t->warmup, t->augment,
                     (unsigned long long)t->seed);
    if (teacher)
        n += snprintf(out + n, EX_SETTINGS_SIZE - (size_t)n,
                      "; teacher %s %s, %s, temperature %g, hard %g, soft %g", run->kind->teacher,
                      teacher->weights, kd_method_name(opt.method), (double)opt.temperature,
                      (double)opt.hard, (double)opt.soft);
    if (start)
        n += snprintf(out + n, EX_SETTINGS_SIZE - (size_t)n, "; from %s %s", run->kind->start,
                      start->weights);
    if (run->kind->half) snprintf(out + n, EX_SETTINGS_SIZE - (size_t)n, "; kept in float16");
}

/* ---- reading --------------------------------------------------------------------------------- */

static void copy(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text ? text : "");
}

static void read_result(ex_record *r, kd_json_object *run)
{
    kd_json_object *o;
    if (kd_json_get_object(run, "result", &o)) return;
    kd_json_get_number(o, "top1", &r->top1);
    kd_json_get_number(o, "top5", &r->top5);
    kd_json_get_number(o, "loss", &r->loss);
    kd_json_get_number(o, "train_top1", &r->train_top1);
    kd_json_get_number(o, "seconds", &r->seconds);
    kd_json_get_number(o, "agreement", &r->agreement);
    kd_json_get_integer(o, "steps", &r->steps);
    kd_json_get_integer(o, "epochs", &r->epochs);
    kd_json_get_integer(o, "peak_bytes", &r->peak_bytes);
    kd_json_get_integer(o, "test_pictures", &r->test_pictures);
    kd_json_object_destroy(o);
}

void ex_record_read(kd_ctx *ctx, const ex_work *w, const ex_run *run, ex_record *r)
{
    const ex_path path = ex_in(w, run->name, "run.json");
    kd_json_object *o = ex_read_json(ctx, path.text), *inner;
    *r = (ex_record){.there = o != NULL, .agreement = (double)NAN, .top5 = (double)NAN};
    if (!o) return;
    const char *status = kd_json_get_string(o, "status");
    copy(r->settings, sizeof r->settings, kd_json_get_string(o, "settings"));
    copy(r->started, sizeof r->started, kd_json_get_string(o, "started"));
    copy(r->ended, sizeof r->ended, kd_json_get_string(o, "ended"));
    const char *command = kd_json_get_string(o, "command");
    copy(r->begun_by, sizeof r->begun_by, kd_json_get_string(o, "begun_by"));
    if (command && !r->settings[0]) snprintf(r->begun_by, sizeof r->begun_by, "kd %.30s", command);
    copy(r->weights, sizeof r->weights, kd_json_get_string(o, "weights"));
    copy(r->spec, sizeof r->spec, kd_json_get_string(o, "spec"));
    kd_json_get_integer(o, "params", &r->params);
    kd_json_get_integer(o, "macs", &r->macs);
    if (kd_json_get_object(o, "machine", &inner) == KD_OK) {
        copy(r->cpu, sizeof r->cpu, kd_json_get_string(inner, "cpu"));
        kd_json_object_destroy(inner);
    }
    if (kd_json_get_object(o, "data", &inner) == KD_OK) {
        copy(r->data_name, sizeof r->data_name, kd_json_get_string(inner, "name"));
        copy(r->data_sum, sizeof r->data_sum, kd_json_get_string(inner, "checksum"));
        kd_json_object_destroy(inner);
    }
    read_result(r, o);
    r->done = status && !strcmp(status, "done") && r->settings[0] && r->weights[0];
    kd_json_object_destroy(o);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void options_json(kd_json *j, const ex_work *w, const ex_story *s)
{
    const kd_train_opt *t = s->opt->train;
    kd_json_object_begin(j, "options");
    kd_json_string(j, "scale", w->opt.scale->name);
    kd_json_string(j, "data", w->opt.data);
    kd_json_string(j, "augment", t->augment);
    kd_json_integer(j, "epochs", (int64_t)t->epochs);
    kd_json_integer(j, "batch", (int64_t)t->batch);
    kd_json_string(j, "optimizer", kd_optimizer_name(t->optimizer));
    kd_json_float(j, "lr", t->lr);
    kd_json_float(j, "momentum", t->momentum);
    kd_json_bool(j, "nesterov", t->nesterov);
    kd_json_number(j, "beta1", t->beta1);
    kd_json_number(j, "beta2", t->beta2);
    kd_json_float(j, "eps", t->eps);
    kd_json_float(j, "weight_decay", t->weight_decay);
    kd_json_string(j, "schedule", kd_schedule_name(t->schedule));
    kd_json_float(j, "warmup", t->warmup);
    kd_json_float(j, "min_lr", t->min_lr);
    kd_json_float(j, "label_smoothing", t->label_smoothing);
    kd_json_integer(j, "seed", (int64_t)t->seed);
    if (s->teacher) {
        kd_json_string(j, "method", kd_method_name(s->opt->method));
        kd_json_float(j, "temperature", s->opt->temperature);
        kd_json_float(j, "hard", s->opt->hard);
        kd_json_float(j, "soft", s->opt->soft);
    }
    kd_json_object_end(j);
}

static void data_json(kd_json *j, const ex_work *w)
{
    const kd_data_info *info = kd_dataset_info(w->data);
    kd_json_object_begin(j, "data");
    kd_json_string(j, "name", w->data_name);
    kd_json_string(j, "checksum", w->data_sum);
    record_sizes(j, info);
    kd_json_object_end(j);
}

/* The model of another run, as a path from the folder of them all. */
static void model_json(kd_json *j, const char *key, const ex_kind *kind, const ex_run *run)
{
    char path[128];
    const ex_run from = ex_run_of(kind, run->seed);
    snprintf(path, sizeof path, "%s/model.safetensors", from.name);
    kd_json_string(j, key, path);
}

/* Where the start and the teacher come from. */
static void others_json(kd_json *j, const ex_story *s)
{
    const ex_kind *start = ex_kind_named(s->run->kind->start);
    const ex_kind *teacher = ex_kind_named(s->run->kind->teacher);
    if (start) model_json(j, "start", start, s->run);
    kd_json_array_begin(j, "teachers");
    if (teacher) {
        kd_json_object_begin(j, NULL);
        model_json(j, "file", teacher, s->run);
        kd_json_string(j, "spec", kd_model_spec(s->teacher));
        kd_json_object_end(j);
    }
    kd_json_array_end(j);
}

static void result_json(kd_json *j, const ex_story *s)
{
    const kd_result *r = s->result;
    const kd_eval_result *t = s->test;
    kd_json_object_begin(j, "result");
    kd_json_number(j, "top1", t->top1);
    kd_json_number(j, "top5", t->top5);
    kd_json_number(j, "loss", t->loss);
    kd_json_integer(j, "test_pictures", (int64_t)t->n);
    if (s->teacher) {
        kd_json_number(j, "agreement", t->agreement);
        kd_json_number(j, "kl", t->kl);
    }
    kd_json_number(j, "train_loss", r->train_loss);
    kd_json_number(j, "train_top1", r->train_top1);
    kd_json_integer(j, "epochs", (int64_t)r->epochs);
    kd_json_integer(j, "steps", (int64_t)r->steps);
    kd_json_number(j, "seconds", r->seconds);
    kd_json_number(j, "images_per_second", r->images_per_second);
    record_times(j, &r->times);
    kd_json_integer(j, "peak_bytes", (int64_t)r->peak_bytes);
    kd_json_object_end(j);
}

int ex_record_write(const ex_work *w, const ex_story *s)
{
    char text[80];
    uint64_t macs;
    kd_json *j;
    if (kd_spec_count(w->ctx, kd_model_spec(s->model), NULL, &macs) ||
        kd_json_create(w->ctx, 2, &j))
        return ex_fail_ctx(w);
    kd_json_object_begin(j, NULL);
    snprintf(text, sizeof text, "experiment-%s", w->experiment->name);
    kd_json_string(j, "command", text);
    if (s->begun_by[0]) kd_json_string(j, "begun_by", s->begun_by);
    kd_json_string(j, "name", s->run->name);
    kd_json_string(j, "status", s->status);
    if (s->error) kd_json_string(j, "error", s->error);
    kd_json_string(j, "started", s->started);
    if (strcmp(s->status, "running")) {
        record_time(text);
        kd_json_string(j, "ended", s->ended ? s->ended : text);
    }
    kd_json_string(j, "settings", s->settings);
    kd_json_string(j, "spec", kd_model_spec(s->model));
    kd_json_integer(j, "seed", (int64_t)s->run->seed);
    kd_json_integer(j, "params", (int64_t)kd_params_count(kd_model_params(s->model)));
    kd_json_integer(j, "macs", (int64_t)macs);
    options_json(j, w, s);
    data_json(j, w);
    others_json(j, s);
    record_machine(j, w->ctx);
    kd_json_string(j, "version", kd_version());
    kd_json_string(j, "build", kd_build_info());
    kd_json_string(j, "blas", kd_ctx_blas(w->ctx));
    if (s->test) {
        ex_weights_sum(s->model, text);
        kd_json_string(j, "weights", text);
        result_json(j, s);
    }
    kd_json_object_end(j);
    return ex_write_json(w, ex_in(w, s->run->name, "run.json").text, j);
}
