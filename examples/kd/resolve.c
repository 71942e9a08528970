/* SPDX-License-Identifier: MIT
 * resolve.c: absolute paths, which are recorded of a run so that it can be repeated from any
 * working directory. */
#include "cli.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A path of which nothing exists is taken from the working directory. */
bool cli_absolute(const char *path, char out[CLI_PATH])
{
    char here[CLI_PATH], real[PATH_MAX];
    int n;
    if (realpath(path, real))
        n = snprintf(out, CLI_PATH, "%s", real);
    else if (path[0] == '/')
        n = snprintf(out, CLI_PATH, "%s", path);
    else if (getcwd(here, sizeof here))
        n = snprintf(out, CLI_PATH, "%s/%s", here, path);
    else
        return false;
    return n >= 0 && n < CLI_PATH;
}

bool cli_data_dir(const cli_args *a, char out[CLI_PATH])
{
    const char *home = getenv("KD_DATA");
    return cli_absolute(a->data_dir ? a->data_dir : home && *home ? home : "data", out);
}

/* A folder of pictures is at its path, or else below the data's folder. */
bool cli_data_name(const cli_args *a, char out[CLI_PATH])
{
    static const char folder[] = "folder:";
    const size_t prefix = sizeof folder - 1;
    char dir[CLI_PATH], below[2 * CLI_PATH], path[CLI_PATH];
    int n;
    if (strncmp(a->data, folder, prefix) || a->data[prefix] == '/')
        return (n = snprintf(out, CLI_PATH, "%s", a->data)) >= 0 && n < CLI_PATH;
    const char *typed = a->data + prefix;
    if (access(typed, F_OK) != 0 && cli_data_dir(a, dir)) {
        snprintf(below, sizeof below, "%s/%s", dir, typed);
        if (access(below, F_OK) == 0) typed = below;
    }
    if (!cli_absolute(typed, path)) return false;
    n = snprintf(out, CLI_PATH, "%s%s", folder, path);
    return n >= 0 && n < CLI_PATH;
}
