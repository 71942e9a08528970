/* SPDX-License-Identifier: MIT
 * picture_folder.c: picture files in folders, ImageNet's layout: PATH/train/CLASS/... and
 * PATH/val/CLASS/... Classes are the folders' names in order; samples are in the order
 * torchvision's ImageFolder has them: by class, then by the folder below it, then by name. Pictures
 * that lie in PATH/train or PATH itself, where there are no classes, have no labels. Only names are
 * held in memory; files are opened by the loader's workers, and told by their content. */
#include "checksum.h"
#include "picture_folder.h"
#include "crop_resize.h"

#include "../base/sort.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BLOCK = 64 * 1024, DEEPEST = 16, MOST_FOLDERS = 1000000, MOST_FILES = 100000000 };

/* Names are packed: a million of them count. */
static const char *keep(kd_dataset *data, const char *text)
{
    kdi_folder *f = data->state;
    const size_t n = strlen(text) + 1;
    if (n > f->left) {
        const size_t size = n > TEXT_BLOCK ? n : TEXT_BLOCK;
        char *block = kdi_pool_alloc(&data->pool, size, 1);
        if (!block) return NULL;
        f->block = block;
        f->left = size;
    }
    char *copy = f->block;
    memcpy(copy, text, n);
    f->block += n;
    f->left -= n;
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
        return kd_ctx_memory_status(data->ctx);
    list->at = array;
    const char *copy = keep(data, name);
    if (!copy) return kd_ctx_memory_status(data->ctx);
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

/* The first bytes of a regular file, at most count; how many there are. False, with errno, if it
 * can't be read. */
static bool read_head(const char *path, uint8_t *bytes, size_t count, size_t *size)
{
    size_t got = 0;
    int failed = 0;
    struct stat st;
    int fd;
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    *size = 0;
    if (fd < 0) return false;
    while (got < count && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        const ssize_t n = read(fd, bytes + got, count - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) failed = errno;
        if (n == 0 && (uint64_t)st.st_size > got) failed = EIO; /* shorter than it says */
        if (n <= 0) break;
        got += (size_t)n;
    }
    close(fd);
    *size = got;
    errno = failed;
    return failed == 0;
}

/* Does a file begin as a JPEG or PNG does? */
static bool has_magic(const char *path)
{
    static const kdi_codec *const codecs[] = {&kdi_codec_jpeg, &kdi_codec_png};
    uint8_t head[8];
    size_t n;
    read_head(path, head, sizeof head, &n);
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (n >= codecs[i]->magic_size && !memcmp(head, codecs[i]->magic, codecs[i]->magic_size))
            return true;
    return false;
}

/* A link counts as what it points to. A link to nothing counts as a file; if its name is a
 * picture's, it is a broken picture. */
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

/* Count one more. The first is kept as an example. */
static void count_passed(size_t *count, char *example, size_t size, const char *below,
                         const char *name)
{
    if ((*count)++) return;
    const int n = snprintf(example, size, "%s%s%s", below, *below ? "/" : "", name);
    if (n < 0 || (size_t)n >= size) memcpy(example + size - 4, "...", 4);
}

static kd_status list_one(kd_dataset *data, const char *below, const char *path,
                          const struct dirent *e, names *folders, names *files, kdi_passed *passed)
{
    bool is_file;
    kdi_path inner;
    if (is_folder(path, e, &is_file)) {
        if (!folders) return KD_OK;
        const kd_status status = kdi_join(data->ctx, below, e->d_name, &inner);
        return status ? status : append(data, folders, inner.text);
    }
    if (!is_file || (!files && !passed)) return KD_OK;
    const bool picture = has_ending(e->d_name) || has_magic(path);
    if (picture && files) return append(data, files, e->d_name);
    if (picture)
        count_passed(&passed->loose, passed->loose_name, sizeof passed->loose_name, below,
                     e->d_name);
    else if (passed)
        count_passed(&passed->others, passed->other, sizeof passed->other, below, e->d_name);
    return KD_OK;
}

/* Append the content of a folder below the root: folders as paths below the root, pictures as
 * names. Either list may be NULL. The rest is counted in `passed`, unless that is NULL: pictures if
 * they are not wanted, other files, and what is hidden as its name begins with a dot. */
static kd_status list(kd_dataset *data, const char *below, names *folders, names *files,
                      kdi_passed *passed)
{
    const kdi_folder *f = data->state;
    kdi_path path, inner;
    kd_status status = kdi_join(data->ctx, f->root.text, below, &path);
    if (status) return status;
    DIR *dir = opendir(path.text);
    if (!dir) return kd_ctx_fail(data->ctx, KD_E_IO, "'%s': %s", path.text, strerror(errno));
    while (!status) {
        errno = 0; /* readdir leaves it alone at the end */
        const struct dirent *e = readdir(dir);
        if (!e) break;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (e->d_name[0] == '.') {
            if (passed) passed->hidden++;
            continue;
        }
        status = kdi_join(data->ctx, path.text, e->d_name, &inner);
        if (!status) status = list_one(data, below, inner.text, e, folders, files, passed);
    }
    if (!status && errno)
        status = kd_ctx_fail(data->ctx, KD_E_IO, "'%s': %s", path.text, strerror(errno));
    closedir(dir);
    return status;
}

/* ---- a class --------------------------------------------------------------------------------- */

static kd_status add_entry(kd_dataset *data, kd_split split, const char *name, size_t label)
{
    kdi_folder *f = data->state;
    void *array = f->entries[split];
    if (f->count[split] == MOST_FILES)
        return kd_ctx_fail(data->ctx, KD_E_LIMIT, "'%s': too many files", f->root.text);
    if (!kdi_grow(data->ctx, &array, f->count[split], &f->capacity[split], sizeof(kdi_entry)))
        return kd_ctx_memory_status(data->ctx);
    f->entries[split] = array;
    f->entries[split][f->count[split]++] =
        (kdi_entry){name, (uint32_t)(f->n_folders - 1), (int32_t)label};
    return KD_OK;
}

static kd_status add_files(kd_dataset *data, kd_split split, const char *folder, size_t label)
{
    kdi_folder *f = data->state;
    names files = {0};
    void *array = f->folders;
    kd_status status = list(data, folder, NULL, &files, &f->passed[split]);
    if (!status &&
        !kdi_grow(data->ctx, &array, f->n_folders, &f->folder_capacity, sizeof *f->folders))
        status = kd_ctx_memory_status(data->ctx);
    if (!status) {
        f->folders = array;
        f->folders[f->n_folders++] = folder;
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
        if (!status) status = list(data, folders.at[i], &folders, NULL, NULL);
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

/* Read all classes in one of the root's folders. The first split that is found defines the
 * classes. */
static kd_status add_split(kd_dataset *data, kd_split split, const char *below)
{
    kdi_folder *f = data->state;
    names folders = {0};
    f->below[split] = below;
    kd_status status = list(data, below, &folders, NULL, &f->passed[split]);
    sort(&folders);
    if (!status && !f->classes) {
        f->n_classes = folders.count;
        f->classes = kdi_pool_alloc(&data->pool, folders.count + 1, sizeof *f->classes);
        if (!f->classes) status = kd_ctx_memory_status(data->ctx);
        for (size_t i = 0; !status && i < folders.count; i++)
            f->classes[i] = name_of(folders.at[i]);
    }
    for (size_t i = 0; !status && i < folders.count; i++) {
        const char *name = name_of(folders.at[i]);
        const size_t label = find_class(f->classes, f->n_classes, name);
        status = label < f->n_classes ? add_class(data, split, folders.at[i], label)
                                      : kdi_folder_unknown_class(data, below, name);
    }
    kd_ctx_free(data->ctx, folders.at);
    return status;
}

bool kdi_folder_has(const kdi_folder *f, const char *name)
{
    struct stat st;
    char path[sizeof f->root.text + 300];
    const int n = snprintf(path, sizeof path, "%s/%s", f->root.text, name);
    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Does this folder of the root hold pictures, and no folders but that of the test split? */
static kd_status is_flat(kd_dataset *data, const char *below, const char *test, bool *flat)
{
    names folders = {0}, files = {0};
    const kd_status status = list(data, below, &folders, &files, NULL);
    size_t others = 0;
    for (size_t i = 0; i < folders.count; i++)
        others += *below || !test || strcmp(folders.at[i], test) != 0;
    *flat = !status && files.count && others == 0;
    kd_ctx_free(data->ctx, folders.at);
    kd_ctx_free(data->ctx, files.at);
    return status;
}

/* The training split, if its pictures have no labels. */
static kd_status add_unlabelled(kd_dataset *data, const char *test)
{
    kdi_folder *f = data->state;
    const char *below = kdi_folder_has(f, "train") ? "train" : "";
    kd_status status = is_flat(data, below, test, &f->unlabelled);
    if (status || !f->unlabelled) return status;
    f->below[KD_SPLIT_TRAIN] = below;
    return add_files(data, KD_SPLIT_TRAIN, below, 0);
}

static kd_status add_splits(kd_dataset *data)
{
    kdi_folder *f = data->state;
    const char *test = kdi_folder_has(f, "val") ? "val" : kdi_folder_has(f, "test") ? "test" : NULL;
    kd_status status = add_unlabelled(data, test);
    if (!status && !f->unlabelled && kdi_folder_has(f, "train"))
        status = add_split(data, KD_SPLIT_TRAIN, "train");
    if (!status && test) status = add_split(data, KD_SPLIT_TEST, test);
    if (f->unlabelled && f->n_classes == 0) { /* labels are of one class at least */
        f->classes = NULL;
        f->n_classes = 1;
    }
    if (!status && !f->unlabelled && !f->classes) status = add_split(data, KD_SPLIT_TEST, "");
    if (!status && f->count[KD_SPLIT_TRAIN] + f->count[KD_SPLIT_TEST] == 0)
        status = kdi_folder_no_pictures(data);
    return status;
}

/* ---- samples --------------------------------------------------------------------------------- */

static bool where(const kd_dataset *data, kd_split split, size_t index, char *path, size_t size)
{
    const kdi_folder *f = data->state;
    const kdi_entry *e = &f->entries[split][index];
    const char *folder = f->folders[e->folder], *root = f->root.text;
    const int n = snprintf(path, size, "%s%s%s%s%s", root, *root && *folder ? "/" : "", folder,
                           *root || *folder ? "/" : "", e->name);
    return n >= 0 && (size_t)n < size;
}

static kd_status open_picture(const kd_dataset *data, kd_split split, size_t index, kdi_decoder *d,
                              int32_t *label, kdi_failure *failure)
{
    const kdi_folder *f = data->state;
    kdi_path path;
    *label = f->entries[split][index].label;
    if (!where(data, split, index, path.text, sizeof path.text))
        return kdi_failure_set(failure, KD_E_INVALID, "the path is too long");
    return kdi_decoder_open_file(d, path.text, failure);
}

enum { SAMPLED = 1024, SAMPLE_BYTES = 16 * 1024 };

/* A folder's path below the split's. */
static const char *below_split(const kdi_folder *f, size_t split, const char *folder)
{
    const size_t n = f->below[split] ? strlen(f->below[split]) : 0;
    return n && folder[n] == '/' ? folder + n + 1 : folder;
}

/* The checksum of a folder covers names, labels and sizes of all files and the beginning of some:
 * reading ImageNet whole would take hours. For single pictures it is the same without names, as
 * these are paths as somebody typed them. */
static kd_status fingerprint(const kd_dataset *data, uint64_t *out)
{
    const kdi_folder *f = data->state;
    const uint64_t all = f->count[KD_SPLIT_TRAIN] + f->count[KD_SPLIT_TEST];
    kdi_sum sum = kdi_sum_begin();
    uint64_t number = 0;
    uint8_t head[SAMPLE_BYTES];
    kdi_sum_number(&sum, data->info.classes);
    for (size_t split = 0; split < KD_SPLIT_COUNT; split++) {
        kdi_sum_number(&sum, f->count[split]);
        for (size_t i = 0; i < f->count[split]; i++, number++) {
            const kdi_entry *e = &f->entries[split][i];
            kdi_path path;
            struct stat st;
            const kd_status stopped = kd_ctx_check_cancel(data->ctx);
            if (stopped) return stopped;
            const bool there = where(data, (kd_split)split, i, path.text, sizeof path.text) &&
                               stat(path.text, &st) == 0;
            kdi_sum_number(&sum, (uint64_t)e->label);
            kdi_sum_number(&sum, there ? (uint64_t)st.st_size : UINT64_MAX);
            if (f->classes || f->unlabelled) {
                kdi_sum_text(&sum, below_split(f, split, f->folders[e->folder]));
                kdi_sum_text(&sum, e->name);
            }
            const bool sampled = number * SAMPLED / all != (number + 1) * SAMPLED / all;
            size_t size = 0;
            if (sampled && there && !read_head(path.text, head, sizeof head, &size) &&
                !data->skip_broken)
                return kd_ctx_fail(data->ctx, KD_E_IO, "%s: %s", path.text, strerror(errno));
            if (sampled && there) kdi_sum_bytes(&sum, head, size);
        }
    }
    *out = kdi_sum_end(&sum);
    return KD_OK;
}

static void release(kd_dataset *data)
{
    kdi_folder *f = data->state;
    kd_ctx_free(data->ctx, f->folders);
    for (size_t split = 0; split < KD_SPLIT_COUNT; split++)
        kd_ctx_free(data->ctx, f->entries[split]);
    kd_ctx_free(data->ctx, f);
}

/* ---- opening --------------------------------------------------------------------------------- */

static kd_status begin(kd_dataset *data)
{
    data->state = kd_ctx_alloc(data->ctx, 1, sizeof(kdi_folder));
    if (!data->state) return kd_ctx_memory_status(data->ctx);
    data->release = release;
    return KD_OK;
}

static kd_status describe(kd_dataset *data, const char *name, size_t n_classes)
{
    const kdi_folder *f = data->state;
    const kd_data_info info = {.struct_size = sizeof info,
                               .name = name,
                               .classes = n_classes,
                               .height = KDI_NOMINAL_SIDE,
                               .width = KDI_NOMINAL_SIDE,
                               .channels = 3,
                               .count = {f->count[KD_SPLIT_TRAIN], f->count[KD_SPLIT_TEST]},
                               .mean = kdi_photo_mean,
                               .std = kdi_photo_std,
                               .class_names = f->classes,
                               .unlabelled = f->unlabelled,
                               .guess = KDI_PHOTO_GUESS};
    const kd_status status = kdi_dataset_describe(data, &info);
    data->open = open_picture;
    data->where = where;
    data->fetch = kdi_fetch_centre;
    data->fingerprint = fingerprint;
    return status;
}

/* PATH as it is, else below dir. */
static kd_status find_root(kd_dataset *data, const char *path, const char *dir)
{
    kdi_folder *f = data->state;
    kd_status status = kdi_join(data->ctx, path, "", &f->root);
    if (status || *path == '/' || kdi_exists(path)) return status;
    kdi_path below;
    status = kdi_join(data->ctx, dir, path, &below);
    if (!status && kdi_exists(below.text)) f->root = below;
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
    const kdi_folder *f = data->state;
    if (!kdi_exists(f->root.text))
        return kd_ctx_fail(data->ctx, KD_E_NOTFOUND,
                           "folder: there is no '%.300s', nor is it in '%.300s'", args, dir);
    status = add_splits(data);
    if (status) return status;
    char name[sizeof f->root.text + 8]; /* the path has just been found to be no longer */
    snprintf(name, sizeof name, "folder:%s", args);
    status = describe(data, name, f->n_classes);
    return status ? status : kdi_folder_report(data, name);
}

kd_status kdi_read_pictures(kd_dataset *data, const char *const *paths, size_t count)
{
    kd_status status = begin(data);
    if (status) return status;
    kdi_folder *f = data->state;
    f->folders = kd_ctx_alloc(data->ctx, 1, sizeof *f->folders);
    if (!f->folders) return kd_ctx_memory_status(data->ctx);
    f->folders[f->n_folders++] = "";
    for (size_t i = 0; i < count; i++) {
        const char *path = paths[i] ? keep(data, paths[i]) : NULL;
        if (!paths[i]) return kd_ctx_fail(data->ctx, KD_E_INVALID, "picture %zu has no path", i);
        status = path ? add_entry(data, KD_SPLIT_TEST, path, 0) : kd_ctx_memory_status(data->ctx);
        if (status) return status;
    }
    return describe(data, "pictures", 1);
}
