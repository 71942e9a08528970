/* SPDX-License-Identifier: MIT
 * normalize.c: --normalize MEAN/STD: how a network's pictures are normalised, (x / 255 - mean) /
 * std, where neither its file nor the data say it right. MEAN and STD are one number, or one for
 * each channel, joined by commas. */
#include "cli.h"

#include <string.h>

enum { MOST = 64 }; /* channels of a picture */

/* The numbers joined by commas in text[length]; 0: that is not what it is. */
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
