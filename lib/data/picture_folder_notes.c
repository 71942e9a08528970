/* SPDX-License-Identifier: MIT
 * picture_folder_notes.c: what people should know about a folder of pictures before they train on
 * it. Files were passed over; classes have no pictures; a split is missing, as its folder has
 * another name or no folders of classes in it. */
#include "picture_folder.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { NAMES_SHOWN = 3 };

static const char *const split_words[KD_SPLIT_COUNT] = {"training", "test"};

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct list_text {
    char text[300];
    size_t used, count;
} list_text;

/* Adds 'name', the first few of them in full. */
static void add_name(list_text *l, const char *name)
{
    const char *comma = l->count ? ", " : "";
    const size_t left = sizeof l->text - l->used;
    int n = 0;
    if (l->count < NAMES_SHOWN)
        n = snprintf(l->text + l->used, left, "%s'%.80s'", comma, name);
    else if (l->count == NAMES_SHOWN)
        n = snprintf(l->text + l->used, left, ", ...");
    l->count++;
    if (n > 0) l->used = (size_t)n < left ? l->used + (size_t)n : sizeof l->text - 1;
}

/* Names that people give to the folders of splits. */
static const char *const names[KD_SPLIT_COUNT][10] = {
    {"train", "training", "trainset", "train_set"},
    {"val", "test", "valid", "validation", "testing", "eval", "dev", "testset", "test_set"}};

static bool means_split(const char *name)
{
    for (size_t s = 0; s < KD_SPLIT_COUNT; s++)
        for (const char *const *p = names[s]; *p; p++)
            if (strcasecmp(name, *p) == 0) return true;
    return false;
}

/* Capitals: 0 none, 1 the first letter, 2 all. */
static void spell(const char *name, int capitals, char out[16])
{
    size_t i = 0;
    for (; name[i] && i < 15; i++) {
        const bool letter = name[i] >= 'a' && name[i] <= 'z';
        const bool up = letter && (capitals == 2 || (capitals == 1 && i == 0));
        out[i] = (char)(name[i] - (up ? 'a' - 'A' : 0));
    }
    out[i] = 0;
}

/* Folders of the root that are not read, but whose names mean the split: "valid", "Train". */
static list_text lookalikes(const kdi_folder *f, kd_split split)
{
    list_text found = {{0}, 0, 0};
    for (const char *const *p = names[split]; *p; p++)
        for (int capitals = 0; capitals < 3; capitals++) {
            char name[16];
            bool read = false;
            spell(*p, capitals, name);
            for (int s = 0; s < KD_SPLIT_COUNT; s++)
                read = read || (f->below[s] && strcmp(f->below[s], name) == 0);
            if (!read && kdi_folder_has(f, name)) add_name(&found, name);
        }
    return found;
}

/* ---- what was passed over -------------------------------------------------------------------- */

static kd_status report_passed(kd_dataset *data, kd_split split)
{
    const kdi_folder *f = data->state;
    const kdi_passed *p = &f->passed[split];
    const char *in = f->below[split];
    kd_status status = KD_OK;
    if (!in) return KD_OK;
    if (!*in) in = "the folder";
    if (p->loose && f->count[split]) /* else report_missing says it */
        status = kdi_dataset_remark(data, KD_LOG_WARN,
                                    "%s: %zu picture%s in no class's folder, e.g. '%.200s', and "
                                    "%s not read: sort them into a folder for each class",
                                    in, p->loose, p->loose == 1 ? " lies" : "s lie", p->loose_name,
                                    p->loose == 1 ? "is" : "are");
    if (!status && p->others)
        status =
            kdi_dataset_remark(data, KD_LOG_INFO,
                               "%s: %zu file%s no picture%s, by name or content, and %s passed "
                               "over, e.g. '%.200s'",
                               in, p->others, p->others == 1 ? " is" : "s are", plural(p->others),
                               p->others == 1 ? "is" : "are", p->other);
    if (!status && p->hidden)
        status =
            kdi_dataset_remark(data, KD_LOG_INFO,
                               "%s: %zu hidden file%s or folder%s (named with a dot first) passed "
                               "over",
                               in, p->hidden, plural(p->hidden), plural(p->hidden));
    return status;
}

/* Mark the classes of which a split has pictures. */
static void mark(const kdi_folder *f, kd_split split, unsigned char *seen)
{
    for (size_t i = 0; i < f->count[split]; i++) seen[f->entries[split][i].label] = 1;
}

/* Classes without pictures in a split that has pictures. For the test split only classes of the
 * training split count. */
static kd_status report_classes(kd_dataset *data, kd_split split)
{
    const kdi_folder *f = data->state;
    list_text none = {{0}, 0, 0};
    if (f->count[split] == 0) return KD_OK; /* report_missing says it */
    if (f->unlabelled && (!f->classes || split == KD_SPLIT_TRAIN)) return KD_OK;
    unsigned char *seen = kd_ctx_alloc(data->ctx, 2 * f->n_classes, 1);
    if (!seen) return kd_ctx_memory_status(data->ctx);
    unsigned char *trained = seen + f->n_classes;
    mark(f, split, seen);
    mark(f, KD_SPLIT_TRAIN, trained);
    const bool all = split == KD_SPLIT_TRAIN || f->count[KD_SPLIT_TRAIN] == 0 || f->unlabelled;
    for (size_t k = 0; k < f->n_classes; k++)
        if (!seen[k] && (all || trained[k])) add_name(&none, f->classes[k]);
    kd_ctx_free(data->ctx, seen);
    if (none.count == 0) return KD_OK;
    return kdi_dataset_remark(data, KD_LOG_WARN, "no %s pictures of %zu of the %zu classes: %s",
                              split_words[split], none.count, f->n_classes, none.text);
}

/* ---- splits ---------------------------------------------------------------------------------- */

/* A split without pictures: why, and what to do. */
static kd_status report_missing(kd_dataset *data, kd_split split)
{
    const kdi_folder *f = data->state;
    const char *below = f->below[split];
    const bool test = split == KD_SPLIT_TEST;
    /* A folder of test pictures alone is common, so that is no warning. */
    const kd_log_level level = test && !f->unlabelled ? KD_LOG_WARN : KD_LOG_INFO;
    if (f->count[split]) return KD_OK;
    if (below && f->passed[split].loose)
        return kdi_dataset_remark(data, KD_LOG_WARN,
                                  "no %s pictures: those of '%s' lie in it directly, where nothing "
                                  "says their class: sort them into %s/CLASS",
                                  split_words[split], below, below);
    if (below)
        return kdi_dataset_remark(data, KD_LOG_WARN, "no %s pictures: there are none in '%s'",
                                  split_words[split], below);
    list_text other = {{0}, 0, 0};
    const bool whole = f->below[KD_SPLIT_TEST] && !*f->below[KD_SPLIT_TEST]; /* root/CLASS */
    if (!whole) other = lookalikes(f, split);
    if (other.count)
        return kdi_dataset_remark(data, KD_LOG_WARN, "no %s pictures: %s %s not read; call it %s",
                                  split_words[split], other.text, other.count == 1 ? "is" : "are",
                                  test ? "val or test" : "train");
    return kdi_dataset_remark(data, level, "no %s pictures: there is no folder %s",
                              split_words[split], test ? "val or test" : "train");
}

/* Folders that look like a split beside the one that is read. */
static kd_status report_unread(kd_dataset *data)
{
    const kdi_folder *f = data->state;
    for (int split = 0; split < KD_SPLIT_COUNT; split++) {
        const char *below = f->below[split];
        if (!below || !*below || !f->count[split]) continue;
        const list_text other = lookalikes(f, (kd_split)split);
        if (!other.count) continue;
        const kd_status status = kdi_dataset_remark(
            data, KD_LOG_INFO, "the %s pictures are those of '%s'; %s %s not read",
            split_words[split], below, other.text, other.count == 1 ? "is" : "are");
        if (status) return status;
    }
    return KD_OK;
}

/* If there is one class, or classes are named like splits, the layout was probably misread. */
static kd_status report_layout(kd_dataset *data)
{
    const kdi_folder *f = data->state;
    list_text splits = {{0}, 0, 0};
    if (!f->classes) return KD_OK;
    for (size_t k = 0; k < f->n_classes; k++)
        if (means_split(f->classes[k])) add_name(&splits, f->classes[k]);
    if (splits.count)
        return kdi_dataset_remark(data, KD_LOG_WARN,
                                  "%s %s taken for %s: splits are called train, and val or test",
                                  splits.text, splits.count == 1 ? "was" : "were",
                                  splits.count == 1 ? "a class" : "classes");
    if (f->n_classes == 1)
        return kdi_dataset_remark(data, KD_LOG_WARN,
                                  "there is one class alone, '%.100s': pictures of several classes "
                                  "lie in a folder for each",
                                  f->classes[0]);
    return KD_OK;
}

/* Training pictures that nothing sorts. */
static kd_status report_unlabelled(kd_dataset *data)
{
    const kdi_folder *f = data->state;
    const size_t n = f->count[KD_SPLIT_TRAIN];
    const char *below = f->below[KD_SPLIT_TRAIN];
    if (!f->unlabelled) return KD_OK;
    return kdi_dataset_remark(data, KD_LOG_INFO,
                              "the %zu training picture%s in %s%s%s, in no class's folder: without "
                              "labels they serve distillation with a hard weight of 0 alone",
                              n, n == 1 ? " lies" : "s lie", *below ? "'" : "the folder itself",
                              below, *below ? "'" : "");
}

kd_status kdi_folder_report(kd_dataset *data, const char *name)
{
    const kdi_folder *f = data->state;
    kd_ctx_log(data->ctx, KD_LOG_INFO, "%.300s: %zu classes, %zu training and %zu test pictures",
               name, f->classes ? f->n_classes : 0, f->count[KD_SPLIT_TRAIN],
               f->count[KD_SPLIT_TEST]);
    kd_status status = report_unlabelled(data);
    for (int s = 0; !status && s < KD_SPLIT_COUNT; s++) status = report_missing(data, (kd_split)s);
    if (!status) status = report_unread(data);
    if (!status) status = report_layout(data);
    for (int s = 0; !status && s < KD_SPLIT_COUNT; s++) status = report_classes(data, (kd_split)s);
    for (int s = 0; !status && s < KD_SPLIT_COUNT; s++) status = report_passed(data, (kd_split)s);
    return status;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* The class that differs from name in upper and lower case alone; NULL: none. */
static const char *same_letters(const kdi_folder *f, const char *name)
{
    for (size_t k = 0; k < f->n_classes; k++)
        if (strcasecmp(f->classes[k], name) == 0) return f->classes[k];
    return NULL;
}

kd_status kdi_folder_unknown_class(const kd_dataset *data, const char *below, const char *name)
{
    const kdi_folder *f = data->state;
    const char *near = same_letters(f, name);
    char path[sizeof f->root.text + 64];
    snprintf(path, sizeof path, "%s/%s/val_annotations.txt", f->root.text, below);
    if (strcmp(name, "images") == 0 && kdi_exists(path))
        return kd_ctx_fail(
            data->ctx, KD_E_FORMAT,
            "'%.300s/%s': there is no class '%s' in train. These are Tiny-ImageNet's "
            "pictures as they are published; this sorts them, run there: while read "
            "-r f c x; do mkdir -p \"$c\" && mv \"images/$f\" \"$c\"; done < "
            "val_annotations.txt && rmdir images",
            f->root.text, below, name);
    if (f->n_classes == 0)
        return kd_ctx_fail(data->ctx, KD_E_FORMAT,
                           "'%.300s/%s': there is no class '%.100s' in train, which has no folder "
                           "at all: sort its pictures into train/CLASS",
                           f->root.text, below, name);
    return kd_ctx_fail(data->ctx, KD_E_FORMAT,
                       "'%.300s/%s': there is no class '%.100s' in train%s%.100s%s: each folder in "
                       "it must have the name of one in train, or its pictures have no label",
                       f->root.text, below, name, near ? ", but there is '" : "", near ? near : "",
                       near ? "'" : "");
}

kd_status kdi_folder_no_pictures(const kd_dataset *data)
{
    const kdi_folder *f = data->state;
    size_t loose = 0;
    char also[160] = "";
    for (int s = 0; s < KD_SPLIT_COUNT; s++) loose += f->passed[s].loose;
    if (loose)
        snprintf(also, sizeof also, ". %zu picture%s in no class's folder", loose,
                 loose == 1 ? " lies" : "s lie");
    return kd_ctx_fail(data->ctx, KD_E_NOTFOUND,
                       "folder: no pictures in '%.300s/train/CLASS' or '%.300s/val/CLASS' (JPEG or "
                       "PNG files in a folder for each class, as ImageNet has them)%s",
                       f->root.text, f->root.text, also);
}
