/* SPDX-License-Identifier: MIT
 * head_transfer.c: whether a file's head is kept in a new task. If the names of the classes are
 * known, they decide, else the number of classes. */
#include "head_transfer.h"

#include <string.h>

void kdi_head_free(kd_ctx *ctx, kdi_head_choice *h)
{
    kd_ctx_free(ctx, h->map);
    kdi_classes_free(ctx, &h->names);
    h->map = NULL;
}

/* The new task's names into h->names, and their number into spec. */
static kd_status take_names(kd_ctx *ctx, const kd_load_opt *o, const kdi_spec *original,
                            kdi_spec *spec, kdi_head_choice *h)
{
    const size_t n = o->n_class_names;
    if (n < 1 || n > 1000000)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_load_opt: %zu names of classes", n);
    const bool said = o->change && strstr(o->change, "classes=");
    if ((said || spec->classes != original->classes) && (size_t)spec->classes != n)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_load_opt: change says classes=%d, and %zu classes are named",
                           spec->classes, n);
    spec->classes = (int)n;
    const kd_status status = kdi_classes_copy(ctx, o->class_names, n, &h->names);
    return status ? status : kdi_classes_differ(ctx, &h->names);
}

/* Are the new task's classes the file's? Then h->map is set, unless they have the same order. */
static kd_status compare(kd_ctx *ctx, const kdi_classes *from, kdi_head_choice *h)
{
    const size_t n = h->names.n;
    kd_status status;
    bool same = true;
    h->map = kd_ctx_alloc(ctx, n, sizeof *h->map);
    if (!h->map) return kd_ctx_memory_status(ctx);
    const size_t found = kdi_classes_map(ctx, from, &h->names, h->map, &status);
    if (status) return status;
    for (size_t i = 0; i < n && same; i++) same = h->map[i] == (int32_t)i;
    if (found < n || n != from->n) h->fate = KDI_HEAD_NEW;
    if (h->fate == KDI_HEAD_KEPT && !same) return KD_OK;
    kd_ctx_free(ctx, h->map);
    h->map = NULL;
    return KD_OK;
}

static void say(kd_ctx *ctx, const char *path, const kdi_head_choice *h, const char *why)
{
    kd_ctx_log(ctx, KD_LOG_INFO, "%s: the head begins anew for %zu classes: %s", path, h->names.n,
               why);
}

/* The new task's classes have names. */
static kd_status by_name(kd_ctx *ctx, const char *path, const kdi_classes *from, size_t classes,
                         kdi_head_choice *h)
{
    if (h->fate == KDI_HEAD_NEW) return KD_OK;
    if (!from->name) {
        if (h->names.n != classes) {
            h->fate = KDI_HEAD_NEW;
            say(ctx, path, h, "the file has another number");
        } else {
            kd_ctx_log(ctx, KD_LOG_WARN,
                       "%s does not name its classes; the head is kept, as there are %zu of them "
                       "here and there",
                       path, classes);
        }
        return KD_OK;
    }
    const kd_status status = compare(ctx, from, h);
    if (status) return status;
    if (h->fate == KDI_HEAD_NEW)
        say(ctx, path, h, "they are not the file's");
    else if (h->map)
        kd_ctx_log(ctx, KD_LOG_INFO,
                   "%s: the classes have another order; the head's rows change places", path);
    return KD_OK;
}

kd_status kdi_head_decide(kd_ctx *ctx, const kd_file *file, const kd_load_opt *o,
                          const kdi_spec *original, kdi_spec *spec, kdi_head_choice *h)
{
    kdi_classes from = {0};
    const char *const path = kd_file_path(file), *const own =
                                                     kd_file_metadata_get(file, "libkd.spec");
    if (!o->class_names && o->n_class_names)
        return kd_ctx_fail(ctx, KD_E_INVALID,
                           "kd_load_opt: n_class_names is %zu, and class_names is NULL",
                           o->n_class_names);
    kd_status status = o->class_names ? take_names(ctx, o, original, spec, h) : KD_OK;
    /* If the caller's spec is not the file's, wrong names in the file are no error. */
    if (!status) status = kdi_read_classes(ctx, file, (size_t)original->classes, &from);
    if (status == KD_E_FORMAT && o->spec && (!own || strcmp(own, o->spec))) status = KD_OK;
    if (!status) {
        if (o->reset_head || spec->head != original->head) {
            h->fate = KDI_HEAD_NEW;
            kd_ctx_log(ctx, KD_LOG_INFO, "%s: the head begins anew, for %d classes: %s", path,
                       spec->classes,
                       o->reset_head ? "that was asked for" : "it is of another kind");
        }
        if (o->class_names)
            status = by_name(ctx, path, &from, (size_t)original->classes, h);
        else if (spec->classes != original->classes && h->fate == KDI_HEAD_KEPT) {
            h->fate = KDI_HEAD_NEW;
            kd_ctx_log(ctx, KD_LOG_INFO,
                       "%s: the head begins anew, for %d classes instead of the file's %d", path,
                       spec->classes, original->classes);
        } else if (h->fate == KDI_HEAD_KEPT) {
            h->names = from;
            from = (kdi_classes){0};
            if (o->change && strstr(o->change, "classes="))
                kd_ctx_log(ctx, KD_LOG_INFO,
                           "%s: the head is kept, as there are %d classes here and there", path,
                           spec->classes);
        }
    }
    kdi_classes_free(ctx, &from);
    return status;
}
