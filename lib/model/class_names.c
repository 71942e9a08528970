/* SPDX-License-Identifier: MIT
 * class_names.c: names of classes: keeping them, and finding those of one list in another. Names
 * are compared byte by byte. Before that, bytes that are not UTF-8 are replaced by U+FFFD, as they
 * are in files. */
#include "model.h"

#include "../base/sort.h"
#include "../file/printable.h"
#include "../file/utf8.h"

#include <stdio.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* The length of a copied name without its NUL. If out is not NULL, the copy is written there. */
static size_t clean(const char *name, char *out)
{
    size_t used = 0, left = strlen(name);
    while (left) {
        size_t n = kdi_utf8_length(name, left);
        const char *const from = n ? name : replacement;
        const size_t length = n ? n : sizeof replacement - 1;
        if (out) memcpy(out + used, from, length);
        used += length;
        n = n ? n : 1;
        name += n;
        left -= n;
    }
    return used;
}

kd_status kdi_classes_copy(kd_ctx *ctx, const char *const *names, size_t n, kdi_classes *out)
{
    size_t bytes = 0;
    *out = (kdi_classes){0};
    for (size_t i = 0; i < n; i++) {
        if (!names[i]) return kd_ctx_fail(ctx, KD_E_INVALID, "class %zu of %zu has no name", i, n);
        if (!kdi_add(bytes, clean(names[i], NULL), &bytes) || !kdi_add(bytes, 1, &bytes))
            return kd_ctx_fail(ctx, KD_E_LIMIT, "names of classes are too long");
    }
    out->name = kd_ctx_alloc(ctx, n, sizeof *out->name);
    out->text = kd_ctx_alloc(ctx, bytes, 1);
    if (!out->name || !out->text) {
        kdi_classes_free(ctx, out);
        return kd_ctx_memory_status(ctx);
    }
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        out->name[i] = out->text + used;
        used += clean(names[i], out->text + used) + 1;
    }
    out->n = n;
    return KD_OK;
}

void kdi_classes_free(kd_ctx *ctx, kdi_classes *c)
{
    kd_ctx_free(ctx, c->name);
    kd_ctx_free(ctx, c->text);
    *c = (kdi_classes){0};
}

/* ---- finding --------------------------------------------------------------------------------- */

typedef struct indexed {
    const char *name;
    int32_t index;
} indexed;

static int by_name(const void *a, const void *b)
{
    const indexed *s = a, *t = b;
    const int order = strcmp(s->name, t->name);
    return order ? order : s->index - t->index;
}

/* The class of that name; -1: none, or it comes twice. */
static int32_t find(const indexed *sorted, size_t n, const char *name)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(sorted[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == n || strcmp(sorted[low].name, name)) return -1;
    return low + 1 < n && !strcmp(sorted[low + 1].name, name) ? -1 : sorted[low].index;
}

size_t kdi_classes_map(kd_ctx *ctx, const kdi_classes *of, const kdi_classes *classes, int32_t *map,
                       kd_status *status)
{
    size_t found = 0;
    indexed *sorted = kd_ctx_alloc(ctx, of->n, sizeof *sorted);
    bool *taken = kd_ctx_alloc(ctx, of->n, sizeof *taken);
    *status = sorted && taken ? KD_OK : kd_ctx_memory_status(ctx);
    if (!*status) {
        for (size_t i = 0; i < of->n; i++) sorted[i] = (indexed){of->name[i], (int32_t)i};
        kdi_sort(sorted, of->n, sizeof *sorted, by_name);
        for (size_t i = 0; i < classes->n; i++) {
            map[i] = find(sorted, of->n, classes->name[i]);
            if (map[i] >= 0 && taken[map[i]]) map[i] = -1;
            if (map[i] < 0) continue;
            taken[map[i]] = true;
            found++;
        }
    }
    kd_ctx_free(ctx, sorted);
    kd_ctx_free(ctx, taken);
    return found;
}

kd_status kdi_classes_differ(kd_ctx *ctx, const kdi_classes *c)
{
    kd_status status = KD_OK;
    indexed *sorted = kd_ctx_alloc(ctx, c->n, sizeof *sorted);
    if (!sorted) return kd_ctx_memory_status(ctx);
    for (size_t i = 0; i < c->n; i++) sorted[i] = (indexed){c->name[i], (int32_t)i};
    kdi_sort(sorted, c->n, sizeof *sorted, by_name);
    for (size_t i = 1; i < c->n && !status; i++)
        if (!strcmp(sorted[i - 1].name, sorted[i].name))
            status = kd_ctx_fail(ctx, KD_E_INVALID, "classes %d and %d have one name, '%s'",
                                 (int)sorted[i - 1].index, (int)sorted[i].index,
                                 kdi_show(sorted[i].name).text);
    kd_ctx_free(ctx, sorted);
    return status;
}

/* ---- a network's and a data set's ------------------------------------------------------------ */

static kd_status unnamed(kd_ctx *ctx, bool network, size_t n_network, size_t n_data, int32_t *map,
                         kd_class_match *match)
{
    if (n_network != n_data)
        return kd_ctx_fail(ctx, KD_E_MISMATCH,
                           "the network has %zu classes, the data %zu, and the %s's have no names "
                           "that could tell which is which",
                           n_network, n_data, network ? "data" : "network");
    for (size_t i = 0; i < n_data; i++) map[i] = (int32_t)i;
    *match = KD_CLASSES_UNNAMED;
    return KD_OK;
}

/* Some of the names, for an error: "ant, bee, cat, ...". */
static void list(char *out, size_t size, const kdi_classes *c)
{
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < c->n && i < 7 && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "",
                                 i == 6 ? "..." : kdi_show(c->name[i]).text);
}

static kd_status judge(kd_ctx *ctx, const kdi_classes *network, const kdi_classes *data,
                       const int32_t *map, size_t found, kd_class_match *match)
{
    bool same = network->n == data->n;
    size_t stray = 0;
    char names[320];
    if (found == data->n) {
        for (size_t i = 0; same && i < data->n; i++) same = map[i] == (int32_t)i;
        *match = same                    ? KD_CLASSES_SAME
                 : network->n == data->n ? KD_CLASSES_REORDERED
                                         : KD_CLASSES_SUBSET;
        return KD_OK;
    }
    while (map[stray] >= 0) stray++;
    list(names, sizeof names, network);
    return kd_ctx_fail(ctx, KD_E_MISMATCH,
                       "%zu of the data's %zu classes, '%s' for one, are not among the "
                       "network's, or not once: %s",
                       data->n - found, data->n, kdi_show(data->name[stray]).text, names);
}

kd_status kd_classes_match(kd_ctx *ctx, const char *const *network, size_t n_network,
                           const char *const *data, size_t n_data, int32_t *map,
                           kd_class_match *match)
{
    if (!ctx) return KD_E_INVALID;
    kdi_classes a = {0}, b = {0};
    if (!map || !match || n_network > INT32_MAX || n_data > INT32_MAX)
        return kd_ctx_fail(ctx, KD_E_INVALID, "kd_classes_match: no map, or too many classes");
    if (!network || !data) return unnamed(ctx, network, n_network, n_data, map, match);
    kd_status status = kdi_classes_copy(ctx, network, n_network, &a);
    if (!status) status = kdi_classes_copy(ctx, data, n_data, &b);
    const size_t found = status ? 0 : kdi_classes_map(ctx, &a, &b, map, &status);
    if (!status) status = judge(ctx, &a, &b, map, found, match);
    kdi_classes_free(ctx, &a);
    kdi_classes_free(ctx, &b);
    return status;
}
