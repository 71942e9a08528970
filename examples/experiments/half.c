/* SPDX-License-Identifier: MIT
 * half.c: --half: a finished network in float16, half as large, and what that costs in accuracy. */
#include "experiments.h"

#include <string.h>
#include <unistd.h>

static int watch(void *user, const kd_progress *k)
{
    const ex_work *w = user;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rtest, %zu of %zu batches%s", k->batch, k->batches,
                k->batch == k->batches ? "\r\033[K" : "");
    return ex_must_stop(w);
}

static int test_half(ex_work *w, const char *path, double top1)
{
    kd_model *model;
    kd_file *file;
    const kd_eval_opt opt = {
        .struct_size = sizeof opt, .split = KD_EVAL_TEST, .progress = watch, .user = w};
    kd_eval_result r = {.struct_size = sizeof r};
    if (kd_file_open(w->ctx, path, &file)) return ex_fail_ctx(w);
    const double size = (double)kd_file_size(file);
    kd_file_close(file);
    if (kd_model_load(w->ctx, path, NULL, &model)) return ex_fail_ctx(w);
    const kd_status status = kd_evaluate(model, w->data, &opt, &r);
    kd_model_destroy(model);
    if (status == KD_E_STOPPED) return ex_why_stopped(w);
    if (status) return ex_fail_ctx(w);
    printf("%s: %.2f MB, %.2f %% of the test pictures right; in float32 %.2f %%\n", path,
           1e-6 * size, r.top1, top1);
    return EX_DONE;
}

int ex_half(ex_work *w)
{
    ex_run runs[EX_MAX_RUNS];
    ex_record record;
    kd_model *model;
    size_t i = 0;
    const size_t n = ex_list(w, runs);
    const ex_path from = ex_in(w, w->opt.half, "model.safetensors");
    const ex_path to = ex_in(w, w->opt.half, "half.safetensors");
    int code = ex_open(w);
    while (i < n && strcmp(runs[i].name, w->opt.half)) i++;
    if (!code && (i == n || !ex_has_model(w, &runs[i]) || !ex_is_recorded(w, &runs[i])))
        code = ex_fail("'%s' is no finished run of this experiment", w->opt.half);
    if (!code) {
        ex_record_read(w->ctx, w, &runs[i], &record);
        kd_status status = kd_model_load(w->ctx, from.text, NULL, &model);
        if (!status) {
            status = kd_model_save_as(model, to.text, KD_F16);
            kd_model_destroy(model);
        }
        code = status ? ex_fail_ctx(w) : test_half(w, to.text, record.top1);
    }
    ex_close(w);
    return code;
}
