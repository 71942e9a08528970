/* SPDX-License-Identifier: MIT
 * training_facts.c: what a model knows of its training: normalisation and framing of its pictures,
 * names of its classes, its data set. */
#include "model.h"

#include "../base/digits.h"

#include <string.h>

/* ---- normalisation --------------------------------------------------------------------------- */

const float *kd_model_mean(const kd_model *m)
{
    return m && m->normalized ? m->mean : NULL;
}

const float *kd_model_std(const kd_model *m)
{
    return m && m->normalized ? m->std : NULL;
}

static bool is_of_pixels(float mean, float std)
{
    return mean >= 0 && mean <= 1 && std > 0 && std <= 1;
}

kd_status kd_model_set_normalization(kd_model *m, const float *mean, const float *std)
{
    if (!m) return KD_E_INVALID;
    if (!mean || !std)
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "a normalisation has a mean and a std: NULL");
    for (int i = 0; i < m->spec.channels; i++)
        if (!is_of_pixels(mean[i], std[i]))
            return kd_ctx_fail(m->ctx, KD_E_INVALID,
                               "a normalisation of mean %g and std %g: they are of pixels from 0 "
                               "to 1%s",
                               mean[i], std[i],
                               mean[i] > 1 || std[i] > 1 ? "; divide those of 0 to 255 by 255"
                                                         : "");
    memcpy(m->mean, mean, (size_t)m->spec.channels * sizeof *mean);
    memcpy(m->std, std, (size_t)m->spec.channels * sizeof *std);
    m->normalized = true;
    return KD_OK;
}

kd_view kd_model_view(const kd_model *m, const kd_data_info *info)
{
    const size_t channels = kd_model_channels(m);
    kd_view view = {.height = kd_model_height(m), .width = kd_model_width(m), .channels = channels};
    if (m && m->normalized) {
        view.mean = m->mean;
        view.std = m->std;
    } else if (m && info && info->channels == channels) {
        view.mean = info->mean;
        view.std = info->std;
    }
    return view;
}

kd_status kd_model_take_normalization(kd_model *m, const kd_data_info *info)
{
    float mean[KDI_MAX_CHANNELS], std[KDI_MAX_CHANNELS];
    if (!m) return KD_E_INVALID;
    if (!info) return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_model_take_normalization: NULL");
    const size_t channels = kd_model_channels(m);
    if (m->normalized || !info->mean || !info->std) return KD_OK;
    if (info->channels != channels && info->channels != 1)
        return kd_ctx_fail(m->ctx, KD_E_SHAPE, "%s: pictures of %zu channels for a network of %zu",
                           info->name ? info->name : "data", info->channels, channels);
    for (size_t i = 0; i < channels; i++) {
        const size_t from = info->channels == 1 ? 0 : i;
        mean[i] = info->mean[from];
        std[i] = info->std[from];
        if (!is_of_pixels(mean[i], std[i])) {
            kd_ctx_log(m->ctx, KD_LOG_INFO,
                       "%.300s: its numbers are in a unit of their own: the network keeps no "
                       "normalisation, and takes that of the data it is shown",
                       info->name ? info->name : "data");
            return KD_OK;
        }
    }
    if (info->guess)
        kd_ctx_log(m->ctx, KD_LOG_INFO, "%.300s: the network is normalised by %s",
                   info->name ? info->name : "data", info->guess);
    return kd_model_set_normalization(m, mean, std);
}

kd_status kd_model_normalize(const kd_model *m, const uint8_t *pictures, size_t n, float *out)
{
    if (!m) return KD_E_INVALID;
    const size_t channels = kd_model_channels(m);
    if (n && (!pictures || !out))
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "kd_model_normalize: NULL");
    if (!m->normalized)
        return kd_ctx_fail(m->ctx, KD_E_INVALID,
                           "%s has no normalisation: kd_model_set_normalization gives it one",
                           m->text);
    const size_t pixels = n * kd_model_height(m) * kd_model_width(m);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < channels; c++)
            out[i * channels + c] =
                ((float)pictures[i * channels + c] / 255.0f - m->mean[c]) / m->std[c];
    return KD_OK;
}

/* ---- classes and data ------------------------------------------------------------------------ */

const char *const *kd_model_class_names(const kd_model *m)
{
    return m ? m->classes.name : NULL;
}

kd_status kd_model_set_class_names(kd_model *m, const char *const *names)
{
    kdi_classes classes = {0};
    if (!m) return KD_E_INVALID;
    if (names) {
        kd_status status = kdi_classes_copy(m->ctx, names, kd_model_classes(m), &classes);
        if (!status) status = kdi_classes_differ(m->ctx, &classes);
        if (status) {
            kdi_classes_free(m->ctx, &classes);
            return status;
        }
    }
    kdi_classes_free(m->ctx, &m->classes);
    m->classes = classes;
    return KD_OK;
}

const char *kd_model_data(const kd_model *m, uint64_t *checksum)
{
    if (!m) return NULL;
    if (checksum && m->data) *checksum = m->data_checksum;
    return m->data;
}

kd_status kd_model_set_data(kd_model *m, const char *name, uint64_t checksum)
{
    if (!m) return KD_E_INVALID;
    kdi_classes copy = {0}; /* as a name of a class is copied */
    if (name) {
        const kd_status status = kdi_classes_copy(m->ctx, &name, 1, &copy);
        if (status) return status;
        kd_ctx_free(m->ctx, copy.name);
    }
    kd_ctx_free(m->ctx, m->data);
    m->data = copy.text;
    m->data_checksum = checksum;
    return KD_OK;
}

/* ---- framing --------------------------------------------------------------------------------- */

/* What a word of the text is about. There may be one word of each. */
typedef enum role { FRAME = 1, FILTER = 2, EXACT = 4, ALONE = 8 } role;

/* The words of an augmentation that draw no random numbers (lib/data/augment.h). */
static const struct {
    const char *name;
    role role;
    bool first, share; /* only at the beginning; may have a number */
} steps[] = {
    {"none", ALONE, true, false},          {"centre", FRAME, false, true},
    {"imagenet-eval", FRAME, true, false}, {"bilinear", FILTER, false, false},
    {"bicubic", FILTER, false, false},     {"exact", EXACT, false, false},
};

/* ":0.875" as the loader reads it: from 0.1 to 1. */
static bool is_share(const char *text, size_t length)
{
    size_t millionths;
    const char *end;
    return kdi_parse_millionths(text + 1, &millionths, &end) && end == text + length &&
           millionths >= KDI_MILLION / 10 && millionths <= KDI_MILLION;
}

/* Does the loader take the step [at, at + length), which begins the text or not, after what others
 * have decided? */
static bool take_step(const char *at, size_t length, bool first, unsigned *decided)
{
    const size_t name = strcspn(at, "+:="), rest = length - name;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (strlen(steps[i].name) != name || memcmp(steps[i].name, at, name)) continue;
        if ((steps[i].first && !first) || *decided & (steps[i].role | ALONE)) return false;
        *decided |= steps[i].role;
        return rest == 0 || (steps[i].share && is_share(at + name, rest));
    }
    return false;
}

const char *kd_model_framing(const kd_model *m)
{
    return m && *m->framing ? m->framing : NULL;
}

kd_status kd_model_set_framing(kd_model *m, const char *framing)
{
    const size_t length = framing ? strlen(framing) : 0;
    if (!m) return KD_E_INVALID;
    if (length >= sizeof m->framing || (framing && !length))
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "a framing is a text of 1 to %zu characters",
                           sizeof m->framing - 1);
    unsigned decided = 0;
    for (const char *at = framing; at && *at;) {
        const size_t step = strcspn(at, "+");
        if (!take_step(at, step, at == framing, &decided))
            return kd_ctx_fail(m->ctx, KD_E_INVALID,
                               "'%s' frames no picture: steps like 'centre:0.875' (from 0.1 to 1) "
                               "or 'none', which leave nothing to chance, do",
                               framing);
        at += step;
        if (*at == '+' && !*++at)
            return kd_ctx_fail(m->ctx, KD_E_INVALID, "'%s' ends with a '+'", framing);
    }
    memset(m->framing, 0, sizeof m->framing);
    if (length) memcpy(m->framing, framing, length);
    return KD_OK;
}
