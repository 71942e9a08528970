/* SPDX-License-Identifier: MIT
 * output.c: a command's output never destroys its input. Files are compared by inode, so another
 * spelling of the path or a link does not hide that they are the same. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4200, INDEX_LIMIT = 1 << 28 };

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The length of path's folder with its last '/'; 0: there is none. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* "." of a path without a folder. */
static void folder_of(const char *path, char out[PATH])
{
    const size_t length = folder_length(path);
    snprintf(out, PATH, "%.*s%s", (int)length, path, length ? "" : ".");
}

/* ---- shards ---------------------------------------------------------------------------------- */

/* Does an index of shards name this file of its folder? */
static bool is_shard(kd_ctx *ctx, const char *output, const char *index)
{
    char *text, folder[PATH], other[PATH], name[PATH];
    size_t size;
    static const char ending[] = ".index.json";
    const size_t length = strlen(index);
    if (length < sizeof ending || strcmp(index + length - (sizeof ending - 1), ending))
        return false;
    folder_of(index, folder);
    folder_of(output, other);
    if (!same_file(folder, other)) return false;
    if (kd_file_read_all(ctx, index, INDEX_LIMIT, &text, &size)) return false;
    snprintf(name, sizeof name, "\"%s\"", output + folder_length(output));
    const bool named = strstr(text, name) != NULL;
    kd_ctx_free(ctx, text);
    return named;
}

/* Is output the file that input names, or, where that is a folder or an index, one of its files? */
static bool is_of(kd_ctx *ctx, const char *output, const char *input)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    char path[PATH];
    if (same_file(output, input) || is_shard(ctx, output, input)) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", input, names[i]);
        if (same_file(output, path) || is_shard(ctx, output, path)) return true;
    }
    return false;
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* The path of the temporary file, which is written first and then replaces the output. */
static void temporary_of(const char *output, char out[PATH])
{
    char *real = realpath(output, NULL);
    snprintf(out, PATH, "%s.tmp", real ? real : output);
    free(real);
}

int cli_apart(kd_ctx *ctx, const char *what, const char *output, const char *input)
{
    char temporary[PATH];
    if (!output || !input) return CLI_DONE;
    if (is_of(ctx, output, input))
        return cli_fail("%s %s is what is read as %s: it would be destroyed", what, output, input);
    temporary_of(output, temporary);
    if (is_of(ctx, temporary, input))
        return cli_fail("%s %s is written by way of %s, which is what is read as %s", what, output,
                        temporary, input);
    return CLI_DONE;
}

int cli_replaceable(kd_ctx *ctx, const char *what, const char *output)
{
    struct stat about;
    kd_file *file;
    if (stat(output, &about) || !S_ISREG(about.st_mode)) return CLI_DONE;
    if (kd_file_open(ctx, output, &file)) return CLI_DONE; /* the writer knows what else it is */
    const bool answers = kd_file_find(file, "logits") != NULL;
    kd_file_close(file);
    if (answers) return CLI_DONE;
    return cli_fail("%s %s is there and holds no logits: it is not replaced", what, output);
}

/* Is `output`, or the folder that it would be made in, below `folder`? */
static int outside(const char *what, const char *output, const char *folder)
{
    char *inside = realpath(folder, NULL), *at = NULL, path[PATH];
    snprintf(path, sizeof path, "%s", output);
    while (inside && !(at = realpath(path, NULL))) { /* what is there of it */
        char *slash = strrchr(path, '/');
        if (!slash)
            snprintf(path, sizeof path, ".");
        else if (slash == path)
            path[1] = 0;
        else
            *slash = 0;
    }
    const size_t n = inside ? strlen(inside) : 0;
    const bool is = at && !strncmp(at, inside, n) && (at[n] == '/' || !at[n]);
    free(inside);
    free(at);
    return is ? cli_fail("%s %s lies in the data, %s: a folder there would be taken for a class",
                         what, output, folder)
              : CLI_DONE;
}

int cli_outside_data(const cli_args *args, const char *what, const char *output)
{
    char name[CLI_PATH];
    if (!output || !cli_data_name(args, name) || strncmp(name, "folder:", 7)) return CLI_DONE;
    return outside(what, output, name + 7);
}

int cli_two_outputs(const cli_args *args, const char *what, const char *output,
                    const char *other_what, const char *other)
{
    char a[PATH], b[PATH];
    if (!output || !other) return CLI_DONE;
    folder_of(output, a);
    folder_of(other, b);
    const bool names =
        !strcmp(output + folder_length(output), other + folder_length(other)) && same_file(a, b);
    if (names || !strcmp(output, other) || same_file(output, other))
        return cli_usage(args->command->name, "%s and %s name the same file, %s", what, other_what,
                         output);
    return CLI_DONE;
}

int cli_can_write(const char *what, const char *output)
{
    char folder[PATH];
    struct stat about;
    if (!output) return CLI_DONE;
    if (!strcmp(output, "-"))
        return cli_fail("%s -: this goes to a file, not to standard output; ./- is a file's name",
                        what);
    if (stat(output, &about) == 0 && !S_ISREG(about.st_mode))
        return cli_fail("%s %s: it is no regular file, and is not replaced", what, output);
    folder_of(output, folder);
    if (access(folder, W_OK | X_OK) == 0) return CLI_DONE;
    return cli_fail("%s %s: nothing can be written in its folder: %s", what, output,
                    strerror(errno));
}

int cli_can_replace(const char *what, const char *output, const char *head, const char *kind)
{
    char start[200];
    FILE *f = fopen(output, "rb");
    if (!f && errno == ENOENT) return CLI_DONE;
    if (!f) return cli_fail("%s: %s", output, strerror(errno));
    const size_t wanted = strlen(head), size = fread(start, 1, sizeof start, f);
    const bool failed = ferror(f) != 0;
    fclose(f);
    if (!failed && (size == 0 || (size >= wanted && !memcmp(start, head, wanted)))) return CLI_DONE;
    return cli_fail("%s %s: the file is there and is no such %s; it is not replaced", what, output,
                    kind);
}

/* ---- pictures -------------------------------------------------------------------------------- */

bool cli_is_picture(const char *path)
{
    unsigned char head[4] = {0};
    struct stat about;
    const int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not be waited for */
    if (fd < 0) return false;
    const bool regular = fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
    const ssize_t n = regular ? read(fd, head, sizeof head) : 0;
    close(fd);
    return n == 4 && (!memcmp(head, "\xFF\xD8\xFF", 3) || !memcmp(head, "\x89PNG", 4));
}
