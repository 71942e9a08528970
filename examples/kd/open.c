/* SPDX-License-Identifier: MIT
 * open.c: what every command begins with: a context, data, models, and the library's options made
 * from those that were typed. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- context, data, models ------------------------------------------------------------------- */

static void log_line(void *user, kd_log_level level, const char *text)
{
    const cli_args *args = user;
    char safe[1200], typed[1200];
    if (level == KD_LOG_DEBUG || (args->quiet && level < KD_LOG_WARN)) return;
    cli_as_typed(text, typed, sizeof typed);
    fprintf(stderr, "kd: %s%s%s\n", level == KD_LOG_WARN ? "warning: " : "", cli_spoken_of(),
            cli_escape(typed, safe, sizeof safe));
}

int cli_open_ctx(const cli_args *args, kd_ctx **ctx)
{
    union { /* the logger's user pointer, which kd_config does not call const */
        const cli_args *in;
        void *out;
    } user = {.in = args};
    const kd_config config = {.struct_size = sizeof config,
                              .log = log_line,
                              .log_user = user.out,
                              .threads = (int)args->threads,
                              .max_memory = args->max_memory};
    const kd_status status = kd_ctx_create(&config, ctx);
    if (status == KD_OK) return CLI_DONE;
    if (status == KD_E_UNSUPPORTED) { /* the log has said what it is about */
        const char *isa = getenv("KD_ISA"), *conv = getenv("KD_CONV"), *blas = getenv("KD_BLAS");
        return cli_fail("the environment asks for what is not here:%s%s%s%s%s%s (%s)",
                        isa ? " KD_ISA=" : "", isa ? isa : "", conv ? " KD_CONV=" : "",
                        conv ? conv : "", blas ? " KD_BLAS=" : "", blas ? blas : "",
                        kd_build_info());
    }
    return cli_fail("no context: %s", kd_status_text(status));
}

/* Print the library's error, and the data set's name that comes nearest. */
static int wrong_data(const cli_args *args, const kd_ctx *ctx)
{
    const char *name;
    char word[CLI_GUESS];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(args->data, ":"), args->data);
    cli_guess guess = cli_guess_for(word);
    for (size_t i = 0; (name = kd_dataset_name_at(i)); i++) {
        if (!strcmp(word, name)) return cli_fail_ctx(ctx);
        cli_guess_try(&guess, name);
    }
    if (!guess.best && strchr(args->data, '/'))
        return cli_fail("%s (a folder of pictures is folder:PATH)", kd_ctx_error(ctx));
    return guess.best ? cli_fail("%s; did you mean %s?", kd_ctx_error(ctx), guess.best)
                      : cli_fail_ctx(ctx);
}

bool cli_data_alone(const char *data)
{
    static const char made[] = "synthetic", folder[] = "folder:";
    if (!strncmp(data, folder, sizeof folder - 1))
        return data[sizeof folder - 1] == '/' || access(data + sizeof folder - 1, F_OK) == 0;
    return !strncmp(data, made, sizeof made - 1) && strchr(":", data[sizeof made - 1]);
}

int cli_open_data(const cli_args *args, kd_ctx *ctx, kd_dataset **data)
{
    if (args->data_dir && cli_data_alone(args->data))
        return cli_usage(args->command->name, "--data-dir: %s is found without it", args->data);
    const kd_status status = kd_dataset_open(ctx, args->data, args->data_dir, data);
    if (status == KD_E_INVALID) return wrong_data(args, ctx);
    if (status == KD_E_NOTFOUND && !args->data_dir)
        return cli_fail("%s; --data-dir DIR says where else to look", kd_ctx_error(ctx));
    if (status == KD_E_LIMIT) return cli_fail("%s; networks come on top", kd_ctx_error(ctx));
    if (status) return cli_fail_ctx(ctx);
    if (!args->skip_broken || !kd_dataset_skip_broken(*data)) return CLI_DONE;
    return cli_usage(args->command->name, "--skip-broken: %s", kd_ctx_error(ctx));
}

void cli_close_data(kd_dataset *data)
{
    const size_t broken = data ? kd_dataset_broken(data) : 0;
    if (broken)
        fprintf(stderr, "kd: %zu broken %s left out\n", broken,
                broken == 1 ? "picture was" : "pictures were");
    kd_dataset_close(data);
}

int cli_check_channels(const cli_args *args, const char *file, const kd_model *model,
                       const kd_dataset *data)
{
    const size_t wants = kd_model_channels(model), has = kd_dataset_info(data)->channels;
    if (wants == has || has == 1) return CLI_DONE; /* grey is repeated */
    return cli_fail("%s wants pictures of %zu channel%s; those of %s have %zu", file, wants,
                    wants == 1 ? "" : "s", args->data, has);
}

int cli_is_there(const char *path)
{
    return access(path, F_OK) == 0 ? CLI_DONE : cli_fail("%s: %s", path, strerror(errno));
}

int cli_fail_open(const kd_ctx *ctx, const char *path, kd_status status)
{
    char text[1000], checkpoint[4200];
    snprintf(text, sizeof text, "%s", kd_ctx_error(ctx));
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint.safetensors", path);
    if (status == KD_E_NOTFOUND && access(checkpoint, F_OK) == 0)
        return cli_fail("%s; its run has not come to an end: %s is how far it came", text,
                        checkpoint);
    return cli_fail_ctx(ctx);
}

int cli_say_data(const cli_args *args, const char *file, const kd_model *model, kd_dataset *data)
{
    char shown[300], name[200], now[200];
    uint64_t trained, sum;
    const char *trained_on = kd_model_data(model, &trained);
    if (args->quiet || !trained_on) return CLI_DONE;
    if (kd_dataset_checksum(data, &sum)) return cli_fail_ctx(kd_model_ctx(model));
    if (sum == trained) return CLI_DONE;
    cli_escape(file, shown, sizeof shown);
    cli_escape(trained_on, name, sizeof name);
    cli_escape(args->data, now, sizeof now);
    if (strcmp(trained_on, args->data))
        fprintf(stderr, "kd: %s was trained on %s, not on %s\n", shown, name, now);
    else
        fprintf(stderr, "kd: %s was trained on another %s than this one: their checksums differ\n",
                shown, name);
    return CLI_DONE;
}

/* Copy spec, with the value of its key "image" replaced. */
static void with_image(const char *spec, uint64_t image, char out[KD_SPEC_SIZE])
{
    static const char key[] = ",image=";
    const char *at = strstr(spec, key);
    if (!at) {
        snprintf(out, KD_SPEC_SIZE, "%s,image=%s", spec, cli_picture_text(image).text);
        return;
    }
    const char *rest = at + sizeof key - 1;
    snprintf(out, KD_SPEC_SIZE, "%.*s,image=%s%s", (int)(at - spec), spec,
             cli_picture_text(image).text, rest + strcspn(rest, ","));
}

/* Print the library's error, and the network's name that comes nearest. */
static int unknown_network(const kd_ctx *ctx, const char *spec)
{
    char word[CLI_GUESS];
    const char *name;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(spec, ","), spec);
    cli_guess guess = cli_guess_for(word);
    for (size_t i = 0; (name = kd_model_name_at(i)); i++) cli_guess_try(&guess, name);
    return guess.best ? cli_fail("%s; did you mean %s?", kd_ctx_error(ctx), guess.best)
                      : cli_fail_ctx(ctx);
}

/* Two sizes at once: neither is dropped in silence. */
static int check_image(const char *spec, uint64_t image)
{
    static const char key[] = ",image=";
    const char *at = strstr(spec, key);
    uint64_t own;
    char digits[24];
    if (!at || !image) return CLI_DONE;
    at += sizeof key - 1;
    snprintf(digits, sizeof digits, "%.*s", (int)strcspn(at, ","), at);
    if (!cli_parse_picture(digits, &own) || own == image) return CLI_DONE;
    return cli_fail("--image %s, but the spec says image=%s: give one of the two",
                    cli_picture_text(image).text, digits);
}

int cli_complete(kd_ctx *ctx, const char *spec, const kd_data_info *info, uint64_t image,
                 char out[KD_SPEC_SIZE])
{
    char defaults[120] = "", changed[KD_SPEC_SIZE];
    if (strlen(spec) > KD_SPEC_SIZE - 30) return cli_fail("the spec is too long");
    const int status = check_image(spec, image);
    if (status) return status;
    if (info)
        snprintf(defaults, sizeof defaults, "classes=%zu,image=%zux%zu,channels=%zu", info->classes,
                 info->height, info->width, info->channels);
    else if (image)
        snprintf(defaults, sizeof defaults, "image=%s", cli_picture_text(image).text);
    if (image) {
        with_image(spec, image, changed);
        spec = changed;
    }
    if (kd_spec_complete(ctx, spec, defaults[0] ? defaults : NULL, out, KD_SPEC_SIZE) == KD_OK)
        return CLI_DONE;
    return cli_is_spec(spec) ? cli_fail_ctx(ctx) : unknown_network(ctx, spec);
}

kd_data_info cli_student_data(const kd_dataset *data, const kd_model *teacher)
{
    kd_data_info info = *kd_dataset_info(data);
    if (info.unlabelled && !info.class_names && teacher) info.classes = kd_model_classes(teacher);
    return info;
}

int cli_load(kd_ctx *ctx, const char *path, const char *spec, uint64_t image, kd_model **model)
{
    char change[40];
    snprintf(change, sizeof change, "image=%s", cli_picture_text(image).text);
    const kd_load_opt opt = {
        .struct_size = sizeof opt, .spec = spec, .change = image ? change : NULL};
    const kd_status status = kd_model_load_as(ctx, path, &opt, model);
    return status ? cli_fail_open(ctx, path, status) : CLI_DONE;
}

int cli_macs(kd_model *model, uint64_t *macs)
{
    kd_ctx *ctx = kd_model_ctx(model);
    return kd_spec_count(ctx, kd_model_spec(model), NULL, macs) ? cli_fail_ctx(ctx) : CLI_DONE;
}

void cli_channels_last(const float *planar, float *out, size_t n, size_t channels, size_t pixels)
{
    for (size_t i = 0; i < n; i++, planar += channels * pixels)
        for (size_t p = 0; p < pixels; p++)
            for (size_t c = 0; c < channels; c++) *out++ = planar[c * pixels + p];
}
