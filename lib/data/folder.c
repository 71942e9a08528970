/* SPDX-License-Identifier: MIT
 * folder.c: picture files in folders, ImageNet's layout: PATH/train/CLASS/... and
 * PATH/val/CLASS/... Classes are the folders' names in order; samples are in the order
 * torchvision's ImageFolder has them: by class, then by the folder below it, then by name. Only
 * names are held in memory; files are opened by the loader's workers, and told by their content. */
#include "frame.h"

#include "../base/sort.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum {
    NOMINAL = 224,
    TEXT_BLOCK = 64 * 1024,
    DEEPEST = 16,
    MOST_FOLDERS = 1000000,
    MOST_FILES = 100000000
};

typedef struct entry {
    const char *name;
    uint32_t folder; /* number in state.folders */
    int32_t label;
} entry;

typedef struct state {
    kdi_path root;
    const char **folders; /* [n_folders] below the root */
    size_t n_folders, folder_capacity;
    entry *entries[KD_SPLIT_COUNT]; /* [count] */
    size_t count[KD_SPLIT_COUNT], capacity[KD_SPLIT_COUNT];
    char *block; /* where the next name goes */
    size_t left;
} state;

/* Names are packed: a million of them count. */
static const char *keep(kd_dataset *data, const char *text)
{
    state *s = data->state;
    const size_t n = strlen(text) + 1;
    if (n > s->left) {
        const size_t room = n > TEXT_BLOCK ? n : TEXT_BLOCK;
        char *block = kdi_pool_alloc(&data->pool, room, 1);
        if (!block) return NULL;
        s->block = block;
        s->left = room;
    }
    char *copy = s->block;
    memcpy(copy, text, n);
    s->block += n;
    s->left -= n;
    return copy;
}

/* ---- one folder ------------------------------------------------------------------------------ */

typedef struct names {
    const char **at; /* [count], kept in the data set's pool */
    size_t count, capacity;
} names;

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* By bytes, which for UTF-8 is by code points. */
static void sort(names *list)
{
    kdi_sort(list->at, list->count, sizeof *list->at, by_bytes);
}

static kd_status append(kd_dataset *data, names *list, const char *name)
{
    void *array = list->at;
    if (!kdi_grow(data->ctx, &array, list->count, &list->capacity, sizeof *list->at))
        return KD_E_NOMEM;
    list->at = array;
    const char *copy = keep(data, name);
    if (!copy) return KD_E_NOMEM;
    list->at[list->count++] = copy;
    return KD_OK;
}

/* Does a name end as pictures' do? */
static bool has_ending(const char *name)
{
    static const char *const endings[] = {"jpg", "jpeg", "jpe", "png",  "ppm",
                                          "bmp", "pgm",  "tif", "tiff", "webp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot + 1, endings[i]) == 0) return true;
    return false;
}

/* Does a file begin as a JPEG or PNG does? */
static bool has_magic(const char *path)
{
    unsigned char head[8] = {0};
    FILE *file = fopen(path, "rbe");
    if (!file) return false;
    const size_t n = fread(head, 1, sizeof head, file);
    fclose(file);
    return (n >= 3 && memcmp(head, kdi_codec_jpeg.magic, 3) == 0) ||
           (n == 8 && memcmp(head, kdi_codec_png.magic, 8) == 0);
}

/* A link is what it points to; one to nowhere is a file, and a broken one where its name is a
 * picture's. */
static bool is_folder(const char *path, const struct dirent *e, bool *is_file)
{
    struct stat st;
    if (e->d_type == DT_REG || e->d_type == DT_DIR) {
        *is_file = e->d_type == DT_REG;
        return e->d_type == DT_DIR;
    }
    const bool there = stat(path, &st) == 0;
    *is_file = !there || S_ISREG(st.st_mode);
    return there && S_ISDIR(st.st_mode);
}

static kd_status list_one(kd_dataset *data, const char *below, const char *path,
                          const struct dirent *e, names *folders, names *files)
{
    bool is_file;
    kdi_path inner;
    if (is_folder(path, e, &is_file)) {
        if (!folders) return KD_OK;
        const kd_status status = kdi_join(data->ctx, below, e->d_name, &inner);
        return status ? status : append(data, folders, inner.text);
    }
    if (!files || !is_file || !(has_ending(e->d_name) || has_magic(path))) return KD_OK;
    return append(data, files, e->d_name);
}

/* Append what lies in a folder below the root: the folders, as paths below the root, and the names
 * of pictures. Either list may be NULL. What begins with a dot is hidden. */
static kd_status list(kd_dataset *data, const char *below, names *folders, names *files)
{
    const state *s = data->state;
    kdi_path path, inner;
    kd_status status = kdi_join(data->ctx, s->root.text, below, &path);
    if (status) return status;
    DIR *dir = opendir(path.text);
    if (!dir) return kd_ctx_fail(data->ctx, KD_E_IO, "'%s': %s", path.text, strerror(errno));
    for (struct dirent *e; !status && (errno = 0, e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        status = kdi_join(data->ctx, path.text, e->d_name, &inner);
        if (!status) status = list_one(data, below, inner.text, e, folders, files);
    }
    if (!status && errno)
        status = kd_ctx_fail(data->ctx, KD_E_IO, "'%s': %s", path.text, strerror(errno));
    closedir(dir);
    return status;
}

/* ---- a class --------------------------------------------------------------------------------- */

static kd_status add_entry(kd_dataset *data, kd_split split, const char *name, size_t label)
{
    state *s = data->state;
    void *array = s->entries[split];
    if (s->count[split] == MOST_FILES)
        return kd_ctx_fail(data->ctx, KD_E_LIMIT, "'%s': too many files", s->root.text);
    if (!kdi_grow(data->ctx, &array, s->count[split], &s->capacity[split], sizeof(entry)))
        return KD_E_NOMEM;
    s->entries[split] = array;
    s->entries[split][s->count[split]++] =
        (entry){name, (uint32_t)(s->n_folders - 1), (int32_t)label};
    return KD_OK;
}

static kd_status add_files(kd_dataset *data, kd_split split, const char *folder, size_t label)
{
    state *s = data->state;
    names files = {0};
    void *array = s->folders;
    kd_status status = list(data, folder, NULL, &files);
    if (!status &&
        !kdi_grow(data->ctx, &array, s->n_folders, &s->folder_capacity, sizeof *s->folders))
        status = KD_E_NOMEM;
    if (!status) {
        s->folders = array;
        s->folders[s->n_folders++] = folder;
        sort(&files);
    }
    for (size_t i = 0; !status && i < files.count; i++)
        status = add_entry(data, split, files.at[i], label);
    kd_ctx_free(data->ctx, files.at);
    return status;
}

static size_t depth_of(const char *path)
{
    size_t n = 0;
    for (; *path; path++) n += *path == '/';
    return n;
}

/* The class's folder and all below it, in order, and their files. */
static kd_status add_class(kd_dataset *data, kd_split split, const char *folder, size_t label)
{
    names folders = {0};
    kd_status status = append(data, &folders, folder);
    for (size_t i = 0; !status && i < folders.count; i++) {
        if (depth_of(folders.at[i]) > DEEPEST || folders.count > MOST_FOLDERS)
            status = kd_ctx_fail(data->ctx, KD_E_FORMAT,
                                 "'%s': folders lie too deep, in a circle, or are too many",
                                 folders.at[i]);
        if (!status) status = list(data, folders.at[i], &folders, NULL);
    }
    sort(&folders);
    for (size_t i = 0; !status && i < folders.count; i++)
        status = add_files(data, split, folders.at[i], label);
    kd_ctx_free(data->ctx, folders.at);
    return status;
}

/* ---- splits ---------------------------------------------------------------------------------- */

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The number of a class; n if there is no such. */
static size_t find_class(const char *const *classes, size_t n, const char *name)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, classes[middle]);
        if (order == 0) return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return n;
}

/* All classes in one of the root's folders. The first split there is says what the classes are. */
static kd_status add_split(kd_dataset *data, kd_split split, const char *below,
                           const char ***classes, size_t *n)
{
    const state *s = data->state;
    names folders = {0};
    kd_status status = list(data, below, &folders, NULL);
    sort(&folders);
    if (!status && !*classes) {
        *n = folders.count;
        *classes = kdi_pool_alloc(&data->pool, *n + 1, sizeof **classes);
        if (!*classes) status = KD_E_NOMEM;
        for (size_t i = 0; !status && i < *n; i++) (*classes)[i] = name_of(folders.at[i]);
    }
    for (size_t i = 0; !status && i < folders.count; i++) {
        const char *name = name_of(folders.at[i]);
        const size_t label = find_class(*classes, *n, name);
        if (label == *n)
            status = kd_ctx_fail(data->ctx, KD_E_FORMAT, "'%s/%s': there is no class '%s' in train",
                                 s->root.text, below, name);
        else
            status = add_class(data, split, folders.at[i], label);
    }
    kd_ctx_free(data->ctx, folders.at);
    return status;
}

static bool has(const state *s, const char *name)
{
    struct stat st;
    char path[sizeof s->root.text + 16];
    snprintf(path, sizeof path, "%s/%s", s->root.text, name);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static kd_status add_splits(kd_dataset *data, const char ***classes, size_t *n)
{
    const state *s = data->state;
    const char *test = has(s, "val") ? "val" : has(s, "test") ? "test" : NULL;
    kd_status status = KD_OK;
    if (has(s, "train")) status = add_split(data, KD_SPLIT_TRAIN, "train", classes, n);
    if (!status && test) status = add_split(data, KD_SPLIT_TEST, test, classes, n);
    if (!status && !*classes) status = add_split(data, KD_SPLIT_TEST, "", classes, n);
    if (!status && s->count[KD_SPLIT_TRAIN] + s->count[KD_SPLIT_TEST] == 0)
        status = kd_ctx_fail(data->ctx, KD_E_NOTFOUND,
                             "folder: no pictures in '%s/train/CLASS' or '%s/val/CLASS' (JPEG or "
                             "PNG files in a folder for each class, as ImageNet has them)",
                             s->root.text, s->root.text);
    return status;
}

/* ---- samples --------------------------------------------------------------------------------- */

static bool where(const kd_dataset *data, kd_split split, size_t index, char *path, size_t size)
{
    const state *s = data->state;
    const entry *e = &s->entries[split][index];
    const char *folder = s->folders[e->folder], *root = s->root.text;
    const int n = snprintf(path, size, "%s%s%s%s%s", root, *root && *folder ? "/" : "", folder,
                           *root || *folder ? "/" : "", e->name);
    return n >= 0 && (size_t)n < size;
}

static kd_status open_picture(const kd_dataset *data, kd_split split, size_t index, kdi_decoder *d,
                              int32_t *label, kdi_note *note)
{
    const state *s = data->state;
    kdi_path path;
    *label = s->entries[split][index].label;
    if (!where(data, split, index, path.text, sizeof path.text))
        return kdi_note_fail(note, KD_E_INVALID, "the path is too long");
    return kdi_decoder_open_file(d, path.text, note);
}

/* One picture at the nominal size, as an evaluation sees it. */
static kd_status fetch(const kd_dataset *data, kd_split split, size_t index, uint8_t *image,
                       int32_t *label, kdi_note *note)
{
    const kdi_step step = {.kind = &kdi_augment_centre,
                           .shape = {data->info.height, data->info.width, 3},
                           .value = 875000};
    kdi_decoder d;
    kdi_framer f;
    kdi_span y, x;
    kdi_decoder_init(data->ctx, &d);
    kdi_framer_init(data->ctx, &f);
    kd_status status = open_picture(data, split, index, &d, label, note);
    if (!status) {
        step.kind->place(&step, (kdi_key){0}, d.height, d.width, &y, &x);
        status = kdi_frame_decode(&f, &d, true, false, y, x, image, note);
    }
    kdi_decoder_free(&d);
    kdi_framer_free(&f);
    return status;
}

static uint64_t add(uint64_t sum, const void *bytes, size_t count)
{
    const uint64_t pair[] = {sum, kdi_hash(bytes, count)};
    return kdi_hash(pair, sizeof pair);
}

/* Names, labels and sizes of the files: reading them all would take hours for ImageNet. */
static uint64_t fingerprint(const kd_dataset *data)
{
    const state *s = data->state;
    uint64_t sum = add(0, &data->info.classes, sizeof data->info.classes);
    for (size_t split = 0; split < KD_SPLIT_COUNT; split++)
        for (size_t i = 0; i < s->count[split]; i++) {
            const entry *e = &s->entries[split][i];
            char path[2 * sizeof s->root.text];
            struct stat st;
            const char *folder = s->folders[e->folder];
            snprintf(path, sizeof path, "%s/%s/%s", s->root.text, folder, e->name);
            const uint64_t facts[] = {split, (uint64_t)e->label,
                                      stat(path, &st) ? UINT64_MAX : (uint64_t)st.st_size};
            sum = add(sum, folder, strlen(folder));
            sum = add(sum, e->name, strlen(e->name));
            sum = add(sum, facts, sizeof facts);
        }
    return sum;
}

static void release(kd_dataset *data)
{
    state *s = data->state;
    kd_ctx_free(data->ctx, s->folders);
    for (size_t split = 0; split < KD_SPLIT_COUNT; split++)
        kd_ctx_free(data->ctx, s->entries[split]);
    kd_ctx_free(data->ctx, s);
}

/* ---- opening --------------------------------------------------------------------------------- */

static kd_status begin(kd_dataset *data)
{
    data->state = kd_ctx_alloc(data->ctx, 1, sizeof(state));
    if (!data->state) return KD_E_NOMEM;
    data->release = release;
    return KD_OK;
}

/* ImageNet's mean and standard deviation serve for all photographs. */
static kd_status describe(kd_dataset *data, const char *name, const char *const *classes, size_t n)
{
    static const float mean[] = {.485f, .456f, .406f}, std[] = {.229f, .224f, .225f};
    const state *s = data->state;
    const kd_data_info info = {.struct_size = sizeof info,
                               .name = name,
                               .classes = n,
                               .height = NOMINAL,
                               .width = NOMINAL,
                               .channels = 3,
                               .count = {s->count[KD_SPLIT_TRAIN], s->count[KD_SPLIT_TEST]},
                               .mean = mean,
                               .std = std,
                               .class_names = classes};
    const kd_status status = kdi_dataset_describe(data, &info);
    data->open = open_picture;
    data->where = where;
    data->fetch = fetch;
    data->fingerprint = fingerprint;
    return status;
}

/* PATH as it is, else below dir. */
static kd_status find_root(kd_dataset *data, const char *path, const char *dir)
{
    state *s = data->state;
    kd_status status = kdi_join(data->ctx, path, "", &s->root);
    if (status || *path == '/' || kdi_exists(path)) return status;
    kdi_path below;
    status = kdi_join(data->ctx, dir, path, &below);
    if (!status && kdi_exists(below.text)) s->root = below;
    return status;
}

kd_status kdi_read_folder(kd_dataset *data, const char *args, const char *dir)
{
    if (!*args)
        return kd_ctx_fail(data->ctx, KD_E_INVALID,
                           "data set folder: folder:PATH is wanted, with the pictures in "
                           "PATH/train/CLASS and PATH/val/CLASS");
    kd_status status = begin(data);
    if (!status) status = find_root(data, args, dir);
    if (status) return status;
    const state *s = data->state;
    if (!kdi_exists(s->root.text))
        return kd_ctx_fail(data->ctx, KD_E_NOTFOUND,
                           "folder: there is no '%.300s', nor is it in '%.300s'", args, dir);
    const char **classes = NULL;
    size_t n = 0;
    status = add_splits(data, &classes, &n);
    if (status) return status;
    char name[sizeof s->root.text + 8]; /* the path has just been found to be no longer */
    snprintf(name, sizeof name, "folder:%s", args);
    return describe(data, name, classes, n);
}

kd_status kdi_read_pictures(kd_dataset *data, const char *const *paths, size_t count)
{
    static const char *const nothing[] = {"picture"};
    kd_status status = begin(data);
    if (status) return status;
    state *s = data->state;
    s->folders = kd_ctx_alloc(data->ctx, 1, sizeof *s->folders);
    if (!s->folders) return KD_E_NOMEM;
    s->folders[s->n_folders++] = "";
    for (size_t i = 0; i < count; i++) {
        const char *path = paths[i] ? keep(data, paths[i]) : NULL;
        if (!paths[i]) return kd_ctx_fail(data->ctx, KD_E_INVALID, "picture %zu has no path", i);
        status = path ? add_entry(data, KD_SPLIT_TEST, path, 0) : KD_E_NOMEM;
        if (status) return status;
    }
    return describe(data, "pictures", nothing, 1);
}
