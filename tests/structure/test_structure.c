/* SPDX-License-Identifier: MIT
 * test_structure.c: the rooms depend on each other one way only (docs/design.md), and the library
 * neither prints nor ends the program, and asks for cache lines in a way that compilers keep. Every
 * suite of the tests is in their list, and each planted fault has its place. Reads the sources, from
 * the top of the tree. */
#include "../test.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* What a room's files may include with "../ROOM/". */
static const struct {
    const char *room, *may;
} rooms[] = {
    {"base", " "},
    {"kernel", " base "},
    {"op", " base kernel "},
    {"graph", " base op "},
    {"plan", " base op graph "},
    {"model", " base file "},
    {"train", " "}, /* the public headers alone */
    {"data", " base kernel "},
    {"file", " base "},
    {"quant", " base op graph plan "},
    {"export", " base quant edge "},
    {"onnx", " base op graph file export "},
    {"edge", " "}, /* freestanding */
};
enum { ROOMS = sizeof rooms / sizeof *rooms };

static bool is_source(const char *name)
{
    const size_t n = strlen(name);
    return n > 2 && name[n - 2] == '.' && (name[n - 1] == 'c' || name[n - 1] == 'h');
}

static void check_include(const char *path, const char *line, const char *may)
{
    char word[64];
    const char *from = strstr(line, "\"../");
    if (strncmp(line, "#include", 8) || !from) return;
    from += 4;
    if (!strncmp(from, "../", 3)) from += 3; /* from lib/kernel/isa */
    const char *slash = strchr(from, '/');
    if (!slash || (size_t)(slash - from) > sizeof word - 3) return;
    snprintf(word, sizeof word, " %.*s ", (int)(slash - from), from);
    ck_assert_msg(strstr(may, word) != NULL, "%s may not include from%s: %s", path, word, line);
}

static void check_calls(const char *path, const char *line)
{
    static const char *const never[] = {"abort(", "exit(",    "assert(",  " printf(", "perror(",
                                        "puts(",  "fprintf(", " malloc(", " calloc("};
    const char *text = line + strspn(line, " \t");
    if (*text == '*' || !strncmp(text, "/*", 2) || strstr(line, "static_assert(")) return;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        const char *at = strstr(line, never[i]);
        const bool part = at && at > line && (isalnum((unsigned char)at[-1]) || at[-1] == '_');
        ck_assert_msg(!at || part, "%s calls %s: %s", path, never[i], line);
    }
}

/* Calls of the C library that take memory of its heap: the context's allocator would not know. */
static void check_heap(const char *path, const char *line)
{
    static const char *const never[] = {"malloc",  "calloc", "realloc", "free",    "strdup",
                                        "strndup", "qsort",  "fdopen",  "getline", "asprintf",
                                        "scandir", "fopen",  "opendir", "tmpfile", "aligned_alloc"};
    static const struct {
        const char *file, *call;
    } allowed[] = {{"lib/base/alloc.c", "free"}, /* the default allocator */
                   {"lib/data/picture_folder.c", "fopen"},
                   {"lib/data/picture_folder.c", "opendir"}};
    const char *text = line + strspn(line, " \t");
    if (*text == '*' || !strncmp(text, "/*", 2)) return;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        const size_t n = strlen(never[i]);
        const char *at = strstr(line, never[i]);
        if (!at || at[n] != '(') continue;
        if (at > line && (isalnum((unsigned char)at[-1]) || strchr("_.>", at[-1]))) continue;
        bool may = false;
        for (size_t k = 0; k < sizeof allowed / sizeof *allowed; k++)
            may |= !strcmp(path, allowed[k].file) && !strcmp(never[i], allowed[k].call);
        ck_assert_msg(may, "%s calls %s: %s", path, never[i], line);
    }
}

/* Outside of kernels, which do something besides, gcc drops what only asks for lines. */
static void check_prefetch(const char *path, const char *line)
{
    if (strstr(path, "/isa/") || strstr(path, "/prefetch.h")) return;
    ck_assert_msg(!strstr(line, "__builtin_prefetch("), "%s: kdi_prefetch, please: %s", path, line);
}

static void check_file(const char *path, const char *may)
{
    char line[1024];
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s cannot be read", path);
    while (fgets(line, sizeof line, file)) {
        check_include(path, line, may);
        check_calls(path, line);
        check_heap(path, line);
        check_prefetch(path, line);
    }
    fclose(file);
}

static size_t check_folder(const char *folder, const char *may)
{
    size_t n = 0;
    char path[600];
    DIR *dir = opendir(folder);
    ck_assert_msg(dir != NULL, "%s cannot be read: run the tests from the top of the tree", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        if (!is_source(e->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        check_file(path, may);
        n++;
    }
    closedir(dir);
    return n;
}

START_TEST(test_rooms)
{
    for (size_t r = 0; r < ROOMS; r++) {
        char folder[64];
        snprintf(folder, sizeof folder, "lib/%s", rooms[r].room);
        ck_assert_uint_gt(check_folder(folder, rooms[r].may), 0);
    }
    check_folder("lib/kernel/isa", " base ");
}
END_TEST

START_TEST(test_programs_use_public_headers)
{
    check_folder("lib/train", " ");
    static const char *const folders[] = {"examples/kd",          "examples/demo",
                                          "examples/embed",       "examples/firmware",
                                          "examples/experiments", "examples/common"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[600], line[1024];
        DIR *dir = opendir(folders[i]);
        if (!dir) continue;
        for (struct dirent *e; (e = readdir(dir));) {
            if (!is_source(e->d_name)) continue;
            snprintf(path, sizeof path, "%s/%s", folders[i], e->d_name);
            FILE *file = fopen(path, "r");
            while (file && fgets(line, sizeof line, file))
                ck_assert_msg(strncmp(line, "#include \"../", 13) != 0 ||
                                  !strncmp(line, "#include \"../common/", 20),
                              "%s: %s", path, line);
            if (file) fclose(file);
        }
        closedir(dir);
    }
}
END_TEST

/* A suite that suites.def lacks would never run. */
START_TEST(test_suites_are_listed)
{
    static char listed[1 << 14];
    size_t suites = 0;
    FILE *def = fopen("tests/suites.def", "r");
    ck_assert_msg(def != NULL, "tests/suites.def: run the tests from the top of the tree");
    listed[fread(listed, 1, sizeof listed - 1, def)] = 0;
    ck_assert(feof(def));
    fclose(def);
    DIR *tests = opendir("tests");
    for (struct dirent *t; (t = readdir(tests));) {
        char folder[300];
        snprintf(folder, sizeof folder, "tests/%s", t->d_name);
        DIR *dir = *t->d_name == '.' ? NULL : opendir(folder);
        if (!dir) continue;
        for (struct dirent *e; (e = readdir(dir));) {
            char path[600], line[1024], name[100], entry[120];
            if (!is_source(e->d_name)) continue;
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            FILE *file = fopen(path, "r");
            while (file && fgets(line, sizeof line, file)) {
                if (sscanf(line, "TEST_SUITE(%99[a-z0-9_]", name) != 1) continue;
                snprintf(entry, sizeof entry, "SUITE(%s)", name);
                ck_assert_msg(strstr(listed, entry) != NULL, "%s: suites.def lacks %s", path, name);
                suites++;
            }
            if (file) fclose(file);
        }
        closedir(dir);
    }
    closedir(tests);
    ck_assert_uint_gt(suites, 50);
}
END_TEST

/* A file's text without white space; "" if there is none. */
static const char *squeezed(const char *path, char *text, size_t size)
{
    size_t n = 0;
    FILE *file = fopen(path, "r");
    for (int c; file && (c = fgetc(file)) != EOF && n + 1 < size;)
        if (!isspace(c)) text[n++] = (char)c;
    if (file) fclose(file);
    ck_assert_msg(n + 1 < size, "%s is too long", path);
    text[n] = 0;
    return text;
}

/* A fault whose text has changed would not be planted any more: its text is in its file, once. */
START_TEST(test_planted_faults_have_a_place)
{
    static char text[1 << 17], old[1 << 12], head[2000];
    size_t faults = 0;
    char line[2000], path[200] = "";
    FILE *list = fopen("tests/mutants/planted.txt", "r");
    ck_assert_ptr_nonnull(list);
    for (bool more = true; more;) {
        more = fgets(line, sizeof line, list) != NULL;
        if (!more || !strncmp(line, "@ ", 2)) {
            if (*path) {
                const char *at = strstr(squeezed(path, text, sizeof text), old);
                ck_assert_msg(*old && at && !strstr(at + 1, old), "planted.txt: %s", head);
                faults++;
            }
            old[0] = 0;
            if (more) ck_assert_int_eq(sscanf(line + 2, "%199s", path), 1);
            snprintf(head, sizeof head, "%s", line);
        } else if (!strncmp(line, "- ", 2)) {
            size_t n = strlen(old);
            for (const char *c = line + 2; *c && n + 1 < sizeof old; c++)
                if (!isspace((unsigned char)*c)) old[n++] = *c;
            old[n] = 0;
        }
    }
    fclose(list);
    ck_assert_uint_gt(faults, 30);
}
END_TEST

TEST_SUITE(structure, 30, &test_rooms, &test_programs_use_public_headers, &test_suites_are_listed,
           &test_planted_faults_have_a_place)
