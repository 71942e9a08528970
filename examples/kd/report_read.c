/* SPDX-License-Identifier: MIT
 * report_read.c: the folders of the command line, and those below them, as runs. A folder with
 * run.json or metrics.jsonl is a run; others are looked into. A run that is reached by several ways,
 * as a search's best is by its link, counts once. Runs are sorted by name, so that the result does not
 * depend on the order in which the system lists a folder. */
#include "report.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST = 6, MOST_RUNS = 4096, MOST_NAMES = 1000000 };

typedef struct walk {
    report *r;
    size_t names; /* looked at so far */
} walk;

static bool is_there(const char *folder, const char *name)
{
    char path[CLI_PATH + 40];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static int add_run(walk *w, const char *folder, const char *name)
{
    report *r = w->r;
    char *real = realpath(folder, NULL);
    if (r->n_runs == MOST_RUNS) {
        free(real);
        return cli_fail("%s: there are more than %d runs", folder, MOST_RUNS);
    }
    report_run *run = report_alloc(r, 1, sizeof *run);
    report_run **list = run ? report_more(r, r->runs, &r->n_runs, sizeof(report_run *)) : NULL;
    if (list) {
        run->name = report_copy(r, name);
        run->folder = report_copy(r, folder);
        run->real = report_copy(r, real ? real : folder);
        run->title = report_title(r, name);
        r->runs = list;
        list[r->n_runs - 1] = run;
    }
    free(real);
    return list ? CLI_DONE : cli_fail("out of memory");
}

/* ---- names of a folder ----------------------------------------------------------------------- */

typedef struct names {
    char **all;
    size_t n;
} names;

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted; those that begin with a dot are left out. */
static int list(walk *w, const char *folder, names *out)
{
    *out = (names){NULL, 0};
    DIR *d = opendir(folder);
    if (!d) {
        report_note(w->r, "%s: %s", folder, strerror(errno));
        return CLI_DONE;
    }
    int code = CLI_DONE;
    for (struct dirent *e; !code && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        if (++w->names > MOST_NAMES) {
            code = cli_fail("%s: there are more than %d files", folder, MOST_NAMES);
            break;
        }
        char **all = report_more(w->r, out->all, &out->n, sizeof *all);
        const char *copy = all ? report_copy(w->r, e->d_name) : NULL;
        if (!copy || w->r->failed) {
            code = cli_fail("out of memory");
            break;
        }
        out->all = all;
        memcpy(&all[out->n - 1], &copy, sizeof copy);
    }
    closedir(d);
    if (!code && out->n) qsort(out->all, out->n, sizeof *out->all, by_text);
    return code;
}

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* name: what is shown of it; "" for the folder of the command line itself. */
static int look(walk *w, const char *folder, const char *name, const char *own, int depth)
{
    char path[CLI_PATH], shown[CLI_PATH];
    names in;
    if (is_there(folder, "run.json") || is_there(folder, "metrics.jsonl"))
        return add_run(w, folder, *name ? name : own);
    report_read_beside(w->r, folder);
    int code = list(w, folder, &in);
    for (size_t i = 0; i < in.n && !code; i++) {
        const int n = snprintf(path, sizeof path, "%s/%s", folder, in.all[i]);
        const int m = snprintf(shown, sizeof shown, "%s%s%s", name, *name ? "/" : "", in.all[i]);
        if (n < 0 || n >= CLI_PATH || m < 0 || m >= CLI_PATH || !is_folder(path)) continue;
        if (depth == DEEPEST)
            report_note(w->r, "%s: folders below it are not looked into", shown);
        else
            code = look(w, path, shown, own, depth + 1);
    }
    return code;
}

/* ---- the command line's folders -------------------------------------------------------------- */

static int look_into(walk *w, const char *word)
{
    char folder[CLI_PATH];
    size_t n = strlen(word);
    while (n > 1 && word[n - 1] == '/') n--;
    if (n >= CLI_PATH) return cli_fail("%.60s...: the path is too long", word);
    snprintf(folder, sizeof folder, "%.*s", (int)n, word);
    if (access(folder, F_OK)) return cli_fail("%s: %s", folder, strerror(errno));
    if (!is_folder(folder)) return cli_fail("%s: it is no folder", folder);
    const char *slash = strrchr(folder, '/');
    return look(w, folder, w->r->args->n_more ? folder : "", slash && slash[1] ? slash + 1 : folder,
                0);
}

static int by_name(const void *a, const void *b)
{
    const report_run *x = *(report_run *const *)a, *y = *(report_run *const *)b;
    const int order = report_order(x->name, y->name);
    return order ? order : strcmp(x->real, y->real);
}

static int by_real(const void *a, const void *b)
{
    const report_run *x = *(report_run *const *)a, *y = *(report_run *const *)b;
    const int order = strcmp(x->real, y->real);
    return order ? order : by_name(a, b);
}

/* Keep the path that is the folder's own, else the first by name. */
static void drop_repeated(report *r)
{
    size_t n = 0;
    qsort(r->runs, r->n_runs, sizeof *r->runs, by_real);
    for (size_t i = 0; i < r->n_runs;) {
        size_t k = i, kept = i;
        bool own = false;
        for (; k < r->n_runs && !strcmp(r->runs[k]->real, r->runs[i]->real); k++) {
            struct stat about;
            if (own || lstat(r->runs[k]->folder, &about) || S_ISLNK(about.st_mode)) continue;
            own = true;
            kept = k;
        }
        r->runs[n++] = r->runs[kept];
        i = k;
    }
    r->n_runs = n;
    qsort(r->runs, r->n_runs, sizeof *r->runs, by_name);
}

int report_read(report *r)
{
    walk w = {.r = r};
    int code = look_into(&w, r->args->words[0]);
    for (size_t i = 0; i < r->args->n_more && !code; i++) code = look_into(&w, r->args->more[i]);
    if (code || !r->n_runs) return code;
    drop_repeated(r);
    for (size_t i = 0; i < r->n_runs; i++) {
        report_read_run(r, r->runs[i]);
        r->n_good += !r->runs[i]->bad;
    }
    report_take_costs(r);
    report_link(r);
    return r->failed ? cli_fail("out of memory") : CLI_DONE;
}
