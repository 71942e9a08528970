/* SPDX-License-Identifier: MIT
 * normalize.c: normalisation and framing: a network's pictures must be prepared as in training.
 * --normalize MEAN/STD sets the normalisation, (x / 255 - mean) / std, if neither the file nor the
 * data have the right one. MEAN and STD are one number, or one for each channel, joined by commas.
 * --augment sets the framing. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 64 }; /* channels of a picture */

/* Read the numbers joined by commas in text [length]. Returns how many; 0: it is something else. */
static size_t read_list(const char *text, size_t length, float out[MOST])
{
    for (size_t n = 0, at = 0; n < MOST; n++) {
        char word[40];
        double x;
        const char *comma = memchr(text + at, ',', length - at);
        const size_t size = (comma ? (size_t)(comma - text) : length) - at;
        if (size >= sizeof word) return 0;
        memcpy(word, text + at, size);
        word[size] = 0;
        if (!cli_parse_number(word, &x)) return 0;
        out[n] = (float)x;
        if (!comma) return n + 1;
        at += size + 1;
    }
    return 0;
}

/* One number stands for all channels. */
static bool spread(float x[MOST], size_t n, size_t channels)
{
    for (size_t i = 1; n == 1 && i < channels; i++) x[i] = x[0];
    return n == 1 || n == channels;
}

int cli_normalize(const cli_args *args, const char *option, const char *text, kd_model *model)
{
    char safe[120];
    float mean[MOST], std[MOST];
    if (!text) return CLI_DONE;
    const char *slash = strchr(text, '/');
    const size_t channels = kd_model_channels(model);
    const size_t n = slash ? read_list(text, (size_t)(slash - text), mean) : 0;
    const size_t m = slash ? read_list(slash + 1, strlen(slash + 1), std) : 0;
    if (n && m && spread(mean, n, channels) && spread(std, m, channels))
        return kd_model_set_normalization(model, mean, std) ? cli_fail_ctx(kd_model_ctx(model))
                                                            : CLI_DONE;
    return cli_usage(args->command->name,
                     "--%s %s: it must be MEAN/STD, each one number, or %zu joined by commas",
                     option, cli_escape(text, safe, sizeof safe), channels);
}

/* ---- what is taken where the file says nothing ----------------------------------------------- */

/* "0.485,0.456,0.406" */
static void numbers(const float *x, size_t n, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%.4g", i ? "," : "", (double)x[i]);
}

void cli_say_normalization(const cli_args *args, const char *option, const char *file,
                           const kd_model *model, const kd_dataset *data)
{
    char shown[300], mean[120], std[120];
    const kd_data_info *info = kd_dataset_info(data);
    if (args->quiet || kd_model_mean(model) || !info->mean || !info->std) return;
    numbers(info->mean, info->channels, mean, sizeof mean);
    numbers(info->std, info->channels, std, sizeof std);
    fprintf(stderr,
            "kd: %s does not say how its pictures were normalised: %s are taken, %s/%s; --%s says "
            "otherwise\n",
            cli_escape(file, shown, sizeof shown),
            args->command->bit == CMD_PREDICT ? "ImageNet's mean and deviation"
                                              : "the data's mean and deviation",
            mean, std, option);
}

const char *cli_framing(const cli_args *args, const kd_dataset *data, kd_model *model)
{
    char text[600], safe[600];
    const char *standard = kd_dataset_framing(data), *own = kd_model_framing(model);
    if (!args->augment) return own && strcmp(standard, "none") ? own : standard;
    if (!kd_model_set_framing(model, args->augment)) return args->augment;
    snprintf(text, sizeof text, "%s", kd_ctx_error(kd_model_ctx(model)));
    cli_usage(args->command->name, "--augment: %s", cli_escape(text, safe, sizeof safe));
    return NULL;
}
