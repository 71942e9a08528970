/* SPDX-License-Identifier: MIT
 * about.c: what a model knows of its training beside the weights: the normalisation of its
 * pictures, the names of its classes, the data set, the framing; and the view that follows. */
#include "model.h"

#include <string.h>

/* ---- normalisation --------------------------------------------------------------------------- */

const float *kd_model_mean(const kd_model *m)
{
    return m->normalized ? m->mean : NULL;
}

const float *kd_model_std(const kd_model *m)
{
    return m->normalized ? m->std : NULL;
}

kd_status kd_model_set_normalization(kd_model *m, const float *mean, const float *std)
{
    for (int i = 0; i < m->spec.channels; i++)
        if (!(std[i] > 0 && std[i] < 1e30f) || !(mean[i] > -1e30f && mean[i] < 1e30f))
            return kd_ctx_fail(m->ctx, KD_E_INVALID,
                               "a normalisation of mean %g and std %g is impossible", mean[i],
                               std[i]);
    memcpy(m->mean, mean, (size_t)m->spec.channels * sizeof *mean);
    memcpy(m->std, std, (size_t)m->spec.channels * sizeof *std);
    m->normalized = true;
    return KD_OK;
}

kd_view kd_model_view(const kd_model *m, const kd_data_info *info)
{
    const size_t image = kd_model_image(m), channels = kd_model_channels(m);
    kd_view view = {.height = image, .width = image, .channels = channels};
    if (m->normalized) {
        view.mean = m->mean;
        view.std = m->std;
    } else if (info->channels == channels) {
        view.mean = info->mean;
        view.std = info->std;
    }
    return view;
}

kd_status kd_model_take_normalization(kd_model *m, const kd_data_info *info)
{
    float mean[KDI_MAX_CHANNELS], std[KDI_MAX_CHANNELS];
    const size_t channels = kd_model_channels(m);
    if (m->normalized || !info->mean || !info->std) return KD_OK;
    if (info->channels != channels && info->channels != 1)
        return kd_ctx_fail(m->ctx, KD_E_SHAPE, "%s: pictures of %zu channels for a network of %zu",
                           info->name ? info->name : "data", info->channels, channels);
    for (size_t i = 0; i < channels; i++) {
        const size_t from = info->channels == 1 ? 0 : i;
        mean[i] = info->mean[from];
        std[i] = info->std[from];
    }
    return kd_model_set_normalization(m, mean, std);
}

/* ---- classes and data ------------------------------------------------------------------------ */

const char *const *kd_model_class_names(const kd_model *m)
{
    return m->classes.name;
}

kd_status kd_model_set_class_names(kd_model *m, const char *const *names)
{
    kdi_classes classes = {0};
    if (names) {
        const kd_status status = kdi_classes_copy(m->ctx, names, kd_model_classes(m), &classes);
        if (status) return status;
    }
    kdi_classes_free(m->ctx, &m->classes);
    m->classes = classes;
    return KD_OK;
}

const char *kd_model_data(const kd_model *m, uint64_t *checksum)
{
    if (checksum && m->data) *checksum = m->data_checksum;
    return m->data;
}

kd_status kd_model_set_data(kd_model *m, const char *name, uint64_t checksum)
{
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

/* A step of kd_loader_opt.augment that draws no random numbers, up to its end or its value. */
static bool is_framing(const char *step, size_t length)
{
    static const char *const steps[] = {"none",    "centre", "fit",      "resize",       "squash",
                                        "bicubic", "exact",  "bilinear", "imagenet-eval"};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (strlen(steps[i]) == length && !memcmp(steps[i], step, length)) return true;
    return false;
}

const char *kd_model_framing(const kd_model *m)
{
    return *m->framing ? m->framing : NULL;
}

kd_status kd_model_set_framing(kd_model *m, const char *framing)
{
    const size_t length = framing ? strlen(framing) : 0;
    if (length >= sizeof m->framing || (framing && !length))
        return kd_ctx_fail(m->ctx, KD_E_INVALID, "a framing is a text of 1 to %zu characters",
                           sizeof m->framing - 1);
    for (const char *at = framing; at && *at;) {
        const size_t step = strcspn(at, "+"), name = strcspn(at, "+:=");
        const size_t value = strspn(at + name, ":=.0123456789");
        if (!is_framing(at, name) || name + value != step)
            return kd_ctx_fail(m->ctx, KD_E_INVALID,
                               "'%s' frames no picture: steps like 'centre:0.875' or 'none', "
                               "which leave nothing to chance, do",
                               framing);
        at += step;
        if (*at == '+' && !*++at)
            return kd_ctx_fail(m->ctx, KD_E_INVALID, "'%s' ends with a '+'", framing);
    }
    memset(m->framing, 0, sizeof m->framing);
    if (length) memcpy(m->framing, framing, length);
    return KD_OK;
}
