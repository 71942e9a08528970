/* SPDX-License-Identifier: MIT
 * cache_key.c: what the rows of a teacher cache are of, as one JSON object (cache.json): teachers,
 * data, augmentation, split, what computed them, and how rows are kept. A run that reads the cache
 * is compared with it key by key. A key that is missing, as from a cache that another program wrote,
 * is not compared, and that is said. */
#include "train.h"

#include <stdio.h>
#include <string.h>

/* ---- writing --------------------------------------------------------------------------------- */

static void print_teachers(kd_json *j, const kdt_feed *feed)
{
    char key[48];
    kd_json_integer(j, "teachers", (int64_t)feed->n_teachers);
    for (size_t t = 0; t < feed->n_teachers; t++) {
        const kdt_teacher *teacher = &feed->teachers[t];
        snprintf(key, sizeof key, "teacher%zu", t);
        kd_json_string(j, key, teacher->spec);
        snprintf(key, sizeof key, "teacher%zu_hash", t);
        kd_json_string(j, key, teacher->hash);
        snprintf(key, sizeof key, "teacher%zu_normalization_hash", t);
        kd_json_string(j, key, teacher->normalization);
        snprintf(key, sizeof key, "teacher%zu_image", t);
        kd_json_integer(j, key, (int64_t)teacher->height);
        if (teacher->width == teacher->height)
            continue; /* the width of a square goes without saying */
        snprintf(key, sizeof key, "teacher%zu_width", t);
        kd_json_integer(j, key, (int64_t)teacher->width);
    }
    if (feed->teacher_batch) kd_json_integer(j, "teacher_batch", (int64_t)feed->teacher_batch);
}

/* The order of rows and what else follows from the loader. */
static void print_pictures(kd_json *j, const kdt_feed *feed, const kd_train_opt *t)
{
    const kdt_cache *c = &feed->cache;
    const kd_data_info *info = kd_dataset_info(feed->data);
    char text[64];
    size_t height, width;
    uint64_t sum;
    kd_json_string(j, "order", c->by_sample ? "sample" : "position");
    kd_json_integer(j, "rows", (int64_t)c->layout.rows);
    kd_json_integer(j, "batch", (int64_t)feed->batch);
    kd_json_string(j, "data", info->name);
    if (kd_dataset_checksum(feed->data, &sum) == KD_OK) {
        snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
        kd_json_string(j, "data_checksum", text);
    }
    if (kdt_class_names_hash(info, text)) kd_json_string(j, "class_names_hash", text);
    kd_json_string(j, "augmentation", kd_loader_augment(feed->loader));
    kd_json_integer(j, "augment_epochs", (int64_t)c->cycle);
    if (kd_loader_canvas(feed->loader, &height, &width)) {
        snprintf(text, sizeof text, "%zux%zu", height, width);
        kd_json_string(j, "canvas", text);
    }
    if (!c->by_sample || kd_loader_draws(feed->loader))
        kd_json_integer(j, "seed", (int64_t)t->seed);
    kd_json_integer(j, "dev_count", (int64_t)t->dev_count);
    kd_json_bool(j, "drop_last", t->drop_last);
}

kd_status kdt_key_print(const kdt_feed *feed, const kd_train_opt *t, kd_json *j)
{
    const kdt_row_form *f = &feed->cache.layout.form;
    kd_json_object_begin(j, NULL);
    kd_json_string(j, "kind", "teacher-cache");
    kd_json_integer(j, "format", 1);
    kd_json_integer(j, "classes", (int64_t)f->classes);
    kd_json_string(j, "precision", f->half ? "float16" : "float32");
    kd_json_integer(j, "top", (int64_t)f->top);
    char features[KDT_FEATURES * (KD_TAP_NAME + 40)];
    kdt_features_print(f, features, sizeof features);
    if (*features) kd_json_string(j, "features", features);
    print_teachers(j, feed);
    print_pictures(j, feed, t);
    kd_json_string(j, "isa", kd_ctx_isa(feed->ctx));
    kd_json_string(j, "products", kd_ctx_blas(feed->ctx));
    kd_json_string(j, "version", kd_version());
    kd_json_object_end(j);
    return KD_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

static kd_status wrong(kd_ctx *ctx, const char *path, const char *key)
{
    return kd_ctx_fail(ctx, KD_E_FORMAT, "%s: '%s' is missing or is no possible value", path, key);
}

/* A whole number in low..high; `otherwise` where there is no such key. */
static bool whole(const kd_json_object *o, const char *key, int64_t low, int64_t high,
                  size_t otherwise, size_t *out)
{
    char text[120];
    int64_t n;
    *out = otherwise;
    kdt_json_value(o, key, text);
    if (!strcmp(text, "null")) return otherwise != SIZE_MAX;
    if (!kd_json_get_integer(o, key, &n) || n < low || n > high) return false;
    *out = (size_t)n;
    return true;
}

/* None where there is no such key. */
static kd_status read_features(kd_ctx *ctx, const char *path, const kd_json_object *key,
                               kdt_key_facts *f)
{
    char text[120];
    const char *features = kd_json_get_string(key, "features");
    kdt_json_value(key, "features", text);
    if (!features && !strcmp(text, "null")) return KD_OK;
    if (features && kdt_features_read(features, &f->form)) return KD_OK;
    return kd_ctx_fail(ctx, KD_E_FORMAT,
                       "%s: 'features' is no list such as embedding=512,stages.3=4x4x256, of %d at "
                       "most",
                       path, (int)KDT_FEATURES);
}

kd_status kdt_key_read(kd_ctx *ctx, const char *path, const kd_json_object *key, kdt_key_facts *f)
{
    const char *kind = kd_json_get_string(key, "kind");
    const char *order = kd_json_get_string(key, "order");
    const char *precision = kd_json_get_string(key, "precision");
    size_t format;
    *f = (kdt_key_facts){0};
    if (!kind || strcmp(kind, "teacher-cache"))
        return kd_ctx_fail(ctx, KD_E_FORMAT, "%s: this is no teacher cache", path);
    if (!whole(key, "format", 1, INT32_MAX, SIZE_MAX, &format)) return wrong(ctx, path, "format");
    if (format != 1)
        return kd_ctx_fail(ctx, KD_E_UNSUPPORTED, "%s: format %zu is of a newer version", path,
                           format);
    const kd_status status = read_features(ctx, path, key, f);
    if (status) return status;
    if (!whole(key, "classes", f->form.n_features ? 0 : 1, 1 << 24, SIZE_MAX, &f->form.classes))
        return wrong(ctx, path, "classes");
    if (!whole(key, "teachers", 1, f->form.n_features ? 1 : KD_MAX_TEACHERS, 1, &f->form.teachers))
        return wrong(ctx, path, "teachers");
    if (!whole(key, "top", 0, 65536, 0, &f->form.top) || f->form.top > f->form.classes)
        return wrong(ctx, path, "top");
    if (!whole(key, "rows", 1, UINT32_MAX, SIZE_MAX, &f->rows)) return wrong(ctx, path, "rows");
    if (!whole(key, "augment_epochs", 0, 1 << 20, 1, &f->cycle))
        return wrong(ctx, path, "augment_epochs");
    if (!whole(key, "teacher_batch", 1, 1 << 20, 0, &f->teacher_batch))
        return wrong(ctx, path, "teacher_batch");
    if (precision && strcmp(precision, "float32") && strcmp(precision, "float16"))
        return wrong(ctx, path, "precision");
    if (order && strcmp(order, "sample") && strcmp(order, "position"))
        return wrong(ctx, path, "order");
    f->form.half = precision && !strcmp(precision, "float16");
    f->by_sample = !order || !strcmp(order, "sample");
    const char *augmentation = kd_json_get_string(key, "augmentation");
    f->any_augmentation = augmentation && !strcmp(augmentation, "any");
    if (f->any_augmentation && (!f->by_sample || f->cycle == 0))
        return wrong(ctx, path, "augment_epochs");
    for (size_t t = 0; t < f->form.teachers; t++) {
        char name[48];
        snprintf(name, sizeof name, "teacher%zu_image", t);
        if (!whole(key, name, 0, 65536, 0, &f->height[t])) return wrong(ctx, path, name);
        snprintf(name, sizeof name, "teacher%zu_width", t);
        if (!whole(key, name, 0, 65536, f->height[t], &f->width[t])) return wrong(ctx, path, name);
    }
    return KD_OK;
}

void kdt_key_teacher(const kd_json_object *key, size_t t, uint64_t key_hash, kdt_teacher *teacher)
{
    char name[48];
    snprintf(name, sizeof name, "teacher%zu", t);
    const char *spec = kd_json_get_string(key, name);
    snprintf(name, sizeof name, "teacher%zu_hash", t);
    const char *hash = kd_json_get_string(key, name);
    snprintf(name, sizeof name, "teacher%zu_normalization_hash", t);
    const char *normalization = kd_json_get_string(key, name);
    teacher->spec = spec ? spec : "a teacher without a name";
    snprintf(teacher->hash, sizeof teacher->hash, "%s", hash ? hash : "");
    if (!hash)
        snprintf(teacher->hash, sizeof teacher->hash, "%016llx", (unsigned long long)key_hash);
    snprintf(teacher->normalization, sizeof teacher->normalization, "%s",
             normalization ? normalization : "");
}

/* ---- comparing ------------------------------------------------------------------------------- */

enum { VALUE = 120 };

typedef struct comparison {
    const kd_json_object *was, *now;
    kdt_list differs, unknown;
} comparison;

static void compare(comparison *c, const char *key)
{
    char was[VALUE], now[VALUE];
    if (kdt_json_same(c->was, c->now, key, was, now)) return;
    if (strcmp(was, "null"))
        kdt_list_add(&c->differs, "its %s is %s, this run's is %s", key, was,
                     strcmp(now, "null") ? now : "none");
    else
        kdt_list_add(&c->unknown, "%s", key);
}

static void compare_teachers(comparison *c, size_t n)
{
    static const char *const parts[] = {"", "_hash", "_normalization_hash", "_image", "_width"};
    compare(c, "teachers");
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            char key[48];
            snprintf(key, sizeof key, "teacher%zu%s", t, parts[i]);
            compare(c, key);
        }
}

kd_status kdt_key_compare(const kdt_feed *feed, const char *path, const kd_json_object *was,
                          const kd_json_object *now, bool any_augmentation, bool teachers)
{
    static const char *const always[] = {"classes", "rows", "data_checksum", "class_names_hash"};
    static const char *const shown[] = {"order",  "batch", "augmentation", "augment_epochs",
                                        "canvas", "seed",  "dev_count",    "drop_last"};
    static const char *const computed[] = {"isa", "products"};
    comparison c = {.was = was, .now = now};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++) compare(&c, always[i]);
    if (teachers) compare_teachers(&c, feed->n_teachers);
    for (size_t i = 0; i < sizeof shown / sizeof *shown && !any_augmentation; i++)
        compare(&c, shown[i]);
    for (size_t i = 0; i < sizeof computed / sizeof *computed; i++) compare(&c, computed[i]);
    if (*kdt_list_text(&c.differs))
        return kd_ctx_fail(feed->ctx, KD_E_MISMATCH, "%s: the cache is of other logits: %s", path,
                           c.differs.text);
    if (*kdt_list_text(&c.unknown))
        kd_ctx_log(feed->ctx, KD_LOG_WARN, "%s does not say, so that it is not compared: %s", path,
                   c.unknown.text);
    return KD_OK;
}
