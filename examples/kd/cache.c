/* SPDX-License-Identifier: MIT
 * cache.c: kd cache build, info, verify, prune: folders of teachers' logits. */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef struct session {
    cli_args *args;
    kd_ctx *ctx;
    kd_dataset *data;
    kd_model *teachers[KD_MAX_TEACHERS], *student;
    double told; /* when progress was last shown */
} session;

/* ---- data and networks ----------------------------------------------------------------------- */

static int open_teachers(session *s)
{
    const cli_args *a = s->args;
    int status = CLI_DONE;
    for (size_t i = 0; i < a->n_teachers && !status; i++) {
        status =
            cli_load(s->ctx, a->teachers[i], a->teacher_model, a->teacher_image, &s->teachers[i]);
        if (!status)
            status = cli_normalize(a, "teacher-normalize", a->teacher_normalize, s->teachers[i]);
    }
    s->args->distill.teachers = s->teachers;
    s->args->distill.n_teachers = a->n_teachers;
    return status;
}

static int open_student(session *s, const char *spec)
{
    char text[KD_SPEC_SIZE];
    kd_model_destroy(s->student);
    s->student = NULL;
    const kd_data_info info = cli_student_data(s->data, s->teachers[0]);
    const int status = cli_complete(s->ctx, spec, &info, s->args->image, text);
    if (status) return status;
    if (kd_model_create(s->ctx, text, 1, &s->student)) return cli_fail_ctx(s->ctx);
    return CLI_DONE;
}

static void close_all(session *s)
{
    for (size_t i = 0; i < KD_MAX_TEACHERS; i++) kd_model_destroy(s->teachers[i]);
    kd_model_destroy(s->student);
    cli_close_data(s->data);
    kd_ctx_destroy(s->ctx);
}

static int watch(void *user, const kd_progress *p)
{
    session *s = user;
    const double now = kd_seconds();
    const bool terminal = isatty(STDERR_FILENO);
    if (cli_interrupted()) return 1;
    if (s->args->quiet || (p->fraction < 1 && now - s->told < (terminal ? .2 : 10))) return 0;
    s->told = now;
    fprintf(stderr, "%skd: %3.0f %%  epoch %zu  batch %zu of %zu%s", terminal ? "\r" : "",
            100 * p->fraction, p->epoch + 1, p->batch, p->batches,
            terminal && p->fraction < 1 ? " " : "\n");
    return 0;
}

static int failed(const session *s, kd_status status)
{
    if (status != KD_E_STOPPED) return cli_fail_ctx(s->ctx);
    cli_fail("interrupted; epochs that are complete stay, and so does what the next one has");
    return CLI_INTERRUPTED;
}

/* ---- build ----------------------------------------------------------------------------------- */

static int build_for(session *s, const char *spec)
{
    cli_args *a = s->args;
    int status = open_student(s, spec);
    if (!status) status = cli_normalize(a, "normalize", a->normalize, s->student);
    if (status) return status;
    const kd_status done = kd_cache_build(s->student, s->data, &a->distill);
    return done ? failed(s, done) : CLI_DONE;
}

static int build(session *s)
{
    cli_args *a = s->args;
    if (a->n_teachers == 0) return cli_usage("cache", "--teacher FILE is missing");
    if (!a->distill.cache) return cli_usage("cache", "--cache DIR is missing");
    int status = cli_outside_data(a, "--cache", a->distill.cache);
    if (!status) status = cli_open_data(a, s->ctx, &s->data);
    if (!status) status = open_teachers(s);
    /* the first SPEC stands in words, the last of several, too: the others in between */
    for (size_t i = 0; i < a->n_more && !status; i++) status = build_for(s, a->more[i]);
    if (!status) status = build_for(s, a->words[1]);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

enum { NO_EPOCH = 1000000000 }; /* files have lower numbers */
typedef enum kind { COMPLETE, PART, SET_ASIDE, KINDS } kind;

/* The number in "epoch-NNNNNN.safetensors[.part|.damaged]"; false: another file. */
static bool number_of(const char *name, size_t *epoch, kind *k)
{
    static const char *const ends[KINDS] = {".safetensors", ".safetensors.part",
                                            ".safetensors.damaged"};
    char *end;
    if (strncmp(name, "epoch-", 6) || name[6] < '0' || name[6] > '9') return false;
    const unsigned long n = strtoul(name + 6, &end, 10);
    *epoch = n;
    *k = COMPLETE;
    while (*k < KINDS && strcmp(end, ends[*k])) ++*k;
    return n < NO_EPOCH && *k < KINDS;
}

typedef struct listing {
    size_t complete, unfinished, filled, bytes;
    size_t *damaged, n_damaged; /* numbers of files, ascending: from 0, as epochs are from 1 */
} listing;

typedef int (*visit_fn)(session *s, const char *folder, const char *name, size_t epoch, kind k,
                        listing *l);

/* In its place among them. */
static int add_damaged(listing *l, size_t epoch)
{
    size_t *more = realloc(l->damaged, (l->n_damaged + 1) * sizeof *more), i = l->n_damaged;
    if (!more) return cli_fail("no memory");
    l->damaged = more;
    for (; i && more[i - 1] > epoch; i--) more[i] = more[i - 1];
    more[i] = epoch;
    l->n_damaged++;
    return CLI_DONE;
}

static int each_file(session *s, const char *folder, visit_fn visit, listing *l)
{
    const struct dirent *e;
    int status = CLI_DONE;
    DIR *d = opendir(folder);
    if (!d) return cli_fail("%s: %s", folder, strerror(errno));
    while (!status && (e = readdir(d))) {
        size_t epoch;
        kind k;
        if (number_of(e->d_name, &epoch, &k)) status = visit(s, folder, e->d_name, epoch, k, l);
    }
    closedir(d);
    return status;
}

static bool no_memory(kd_status status)
{
    return status == KD_E_NOMEM || status == KD_E_LIMIT;
}

static int count(session *s, const char *folder, size_t epoch, int read, kind k, listing *l)
{
    const bool part = k == PART;
    if (k == SET_ASIDE) return CLI_DONE;
    kd_cache_epoch about = {.struct_size = sizeof about};
    const kd_status status = kd_cache_look(s->ctx, folder, epoch, read, &about);
    if (status == KD_E_NOTFOUND || (!status && about.complete == part)) return CLI_DONE;
    if (status) {
        const int failed = cli_fail_ctx(s->ctx);
        return no_memory(status) ? failed : add_damaged(l, epoch);
    }
    l->complete += !part;
    l->unfinished += part;
    l->filled += about.filled;
    l->bytes += about.bytes;
    if (part || !about.damaged) return CLI_DONE;
    cli_fail("%s/epoch-%06zu.safetensors: %zu of %zu rows are damaged", folder, epoch,
             about.damaged, about.filled);
    return add_damaged(l, epoch);
}

static int look(session *s, const char *folder, const char *name, size_t epoch, kind k, listing *l)
{
    (void)name;
    return count(s, folder, epoch, 0, k, l);
}

static int read_all(session *s, const char *folder, const char *name, size_t epoch, kind k,
                    listing *l)
{
    (void)name;
    return count(s, folder, epoch, 1, k, l);
}

/* ---- info ------------------------------------------------------------------------------------ */

static int read_key(session *s, const char *folder, char **text, kd_json_object **key)
{
    char path[CLI_PATH];
    size_t size;
    kd_cache_epoch about = {.struct_size = sizeof about};
    *text = NULL;
    if (snprintf(path, sizeof path, "%s/cache.json", folder) >= (int)sizeof path)
        return cli_fail("the path is too long");
    if (kd_file_read_all(s->ctx, path, 1 << 20, text, &size)) return cli_fail_ctx(s->ctx);
    /* The library looks whether it is a cache's; of that number there is no epoch. */
    const kd_status status = kd_cache_look(s->ctx, folder, NO_EPOCH, 0, &about);
    if (status && status != KD_E_NOTFOUND) return cli_fail_ctx(s->ctx);
    return kd_json_parse(s->ctx, *text, size, key) ? cli_fail_ctx(s->ctx) : CLI_DONE;
}

static void key_json(kd_json *json, const kd_json_object *key)
{
    const char *name, *text;
    int64_t integer;
    int truth;
    kd_json_object_begin(json, "cache");
    for (size_t i = 0; (name = kd_json_key(key, i)); i++)
        if ((text = kd_json_get_string(key, name)))
            kd_json_string(json, name, text);
        else if (kd_json_get_integer(key, name, &integer))
            kd_json_integer(json, name, integer);
        else if (kd_json_get_bool(key, name, &truth))
            kd_json_bool(json, name, truth);
    kd_json_object_end(json);
}

/* check NULL: no teacher was asked. */
static int print_json(session *s, const kd_json_object *key, const listing *l,
                      const kd_cache_check *check)
{
    kd_json *json;
    if (kd_json_create(s->ctx, 0, &json)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(json, NULL);
    key_json(json, key);
    kd_json_integer(json, "epochs", (int64_t)l->complete);
    kd_json_integer(json, "unfinished", (int64_t)l->unfinished);
    kd_json_integer(json, "damaged", (int64_t)l->n_damaged);
    kd_json_integer(json, "rows", (int64_t)l->filled);
    kd_json_integer(json, "bytes", (int64_t)l->bytes);
    kd_json_array_begin(json, "damaged_epochs");
    for (size_t i = 0; i < l->n_damaged; i++) kd_json_integer(json, NULL, (int64_t)l->damaged[i]);
    kd_json_array_end(json);
    if (check) {
        kd_json_integer(json, "compared", (int64_t)check->rows);
        kd_json_integer(json, "different", (int64_t)check->different);
        kd_json_number(json, "worst", check->worst);
    }
    kd_json_object_end(json);
    return cli_print_json(s->ctx, json);
}

static int print_listing(const listing *l)
{
    printf("epochs      %zu complete, %zu unfinished\n", l->complete, l->unfinished);
    for (size_t i = 0; i < l->n_damaged; i++)
        printf(i ? ", %zu" : "damaged     epoch %zu", l->damaged[i] + 1);
    if (l->n_damaged) putchar('\n');
    printf("rows        %zu\n", l->filled);
    printf("bytes       %s\n", cli_bytes((double)l->bytes).text);
    return cli_flush();
}

static int print(session *s, const kd_json_object *key, const listing *l)
{
    return s->args->json ? print_json(s, key, l, NULL) : print_listing(l);
}

static int info(session *s, const char *folder)
{
    char *text;
    kd_json_object *key = NULL;
    listing l = {0};
    int status = read_key(s, folder, &text, &key);
    if (!status) status = each_file(s, folder, look, &l);
    if (!status && !s->args->json) printf("%s\n", text);
    if (!status) status = print(s, key, &l);
    free(l.damaged);
    kd_json_object_destroy(key);
    kd_ctx_free(s->ctx, text);
    return status;
}

/* ---- verify ---------------------------------------------------------------------------------- */

static size_t number(const kd_json_object *key, const char *name)
{
    int64_t n;
    return kd_json_get_integer(key, name, &n) && n > 0 ? (size_t)n : 0;
}

/* Options as the cache was made with, and a network that sees pictures of its canvas. */
static int as_recorded(session *s, const kd_json_object *key)
{
    kd_train_opt *t = &s->args->train;
    char spec[120];
    int drop = 0;
    size_t height = 0, width = 0; /* of the canvas */
    const kd_data_info *data = kd_dataset_info(s->data);
    const char *text = kd_json_get_string(key, "canvas");
    const char *augmentation = kd_json_get_string(key, "augmentation");
    if (!augmentation || !strcmp(augmentation, "any"))
        return cli_fail("the cache does not say how its pictures were augmented: they cannot be "
                        "made again");
    if (text && (text = strchr(text, 'x')) != NULL) width = strtoul(text + 1, NULL, 10);
    if (width) height = strtoul(kd_json_get_string(key, "canvas"), NULL, 10);
    t->augment = augmentation;
    t->augment_epochs = number(key, "augment_epochs");
    t->batch = number(key, "batch");
    t->dev_count = number(key, "dev_count");
    t->seed = number(key, "seed");
    t->drop_last = kd_json_get_bool(key, "drop_last", &drop) && drop;
    s->args->distill.cache_top = 0;
    if (kd_model_height(s->teachers[0]) > height) height = 4; /* the teacher's is the canvas */
    if (kd_model_width(s->teachers[0]) > width) width = 4;
    snprintf(spec, sizeof spec, "vgg2,width=0.0625,image=%zux%zu,classes=%zu,channels=%zu",
             height > 3 ? height : 4, width > 3 ? width : 4, data->classes, data->channels);
    return open_student(s, spec);
}

static int compare(session *s, const char *folder, const kd_json_object *key, kd_cache_check *r)
{
    cli_args *a = s->args;
    a->distill.cache = folder;
    int status = cli_open_data(a, s->ctx, &s->data);
    if (!status) status = open_teachers(s);
    if (!status) status = as_recorded(s, key);
    if (status) return status;
    const kd_status done = kd_cache_verify(s->student, s->data, &a->distill, a->batches, r);
    return done ? failed(s, done) : CLI_DONE;
}

static int print_check(const kd_cache_check *r)
{
    printf("compared    %zu rows with the teacher's logits of now: %zu differ", r->rows,
           r->different);
    printf(r->different ? ", by %.3g at most\n" : "\n", r->worst);
    return cli_flush();
}

static int verify(session *s, const char *folder)
{
    char *text;
    kd_json_object *key = NULL;
    listing l = {0};
    kd_cache_check check = {.struct_size = sizeof check};
    const bool asks = s->args->n_teachers > 0, json = s->args->json;
    int status = read_key(s, folder, &text, &key);
    if (!status) status = each_file(s, folder, read_all, &l);
    if (!status && !json) status = print_listing(&l);
    if (!status && asks) status = compare(s, folder, key, &check);
    if (!status && json) status = print_json(s, key, &l, asks ? &check : NULL);
    if (!status && asks && !json) status = print_check(&check);
    free(l.damaged);
    kd_json_object_destroy(key);
    kd_ctx_free(s->ctx, text);
    return status ? status : l.n_damaged || check.different ? CLI_FAILED : CLI_DONE;
}

/* ---- prune ----------------------------------------------------------------------------------- */

/* Does a process fill this file just now? */
static bool busy(const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    const bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0) close(fd);
    return locked;
}

static int prune_one(session *s, const char *folder, const char *name, size_t epoch, kind k,
                     listing *l)
{
    char path[CLI_PATH];
    kd_cache_epoch about = {.struct_size = sizeof about};
    const size_t keep = s->args->train.epochs;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return cli_fail("the path is too long");
    bool goes = k == PART ? !busy(path) : k == SET_ASIDE || (keep && epoch >= keep);
    if (!goes && k == COMPLETE) {
        const kd_status status = kd_cache_look(s->ctx, folder, epoch, 1, &about);
        goes = status ? !no_memory(status) : about.damaged > 0;
        if (status && !goes) return cli_fail_ctx(s->ctx);
    }
    if (!goes) return CLI_DONE;
    if (unlink(path)) { /* a folder, or not ours: the others go all the same */
        cli_fail("%s: %s", path, strerror(errno));
        return add_damaged(l, epoch);
    }
    if (!s->args->json) printf("removed     %s\n", name);
    return CLI_DONE;
}

static int prune(session *s, const char *folder)
{
    listing l = {0};
    char *text;
    kd_json_object *key = NULL;
    int status = read_key(s, folder, &text, &key); /* is it a cache at all? */
    if (!status) status = each_file(s, folder, prune_one, &l);
    const bool stayed = l.n_damaged > 0;
    free(l.damaged);
    l = (listing){0};
    if (!status) status = each_file(s, folder, look, &l);
    if (!status) status = print(s, key, &l);
    free(l.damaged);
    kd_json_object_destroy(key);
    kd_ctx_free(s->ctx, text);
    return status ? status : stayed ? CLI_FAILED : CLI_DONE;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Which options an action reads, in front of those that all have; NULL: all but --batches. */
typedef struct reader {
    const char *name, *reads;
} reader;

static const reader actions[] = {
    {"build", NULL},
    {"info", ""},
    {"verify", "teacher teacher-model teacher-normalize teacher-image data data-dir skip-broken "
               "batches"},
    {"prune", "epochs"},
};

static bool holds(const char *names, const char *name)
{
    const size_t n = strlen(name);
    for (const char *at = names; (at = strstr(at, name)); at += n)
        if ((at == names || at[-1] == ' ') && (!at[n] || at[n] == ' ')) return true;
    return false;
}

/* An option that this action does not read is refused: it would do nothing. */
static int check_read(const cli_args *a, const reader *act)
{
    const cli_option *o;
    for (size_t i = 0; (o = cli_option_at(i)); i++) {
        if (!a->given[i] || holds("threads max-memory json quiet", o->name)) continue;
        const bool read = act->reads ? holds(act->reads, o->name) : strcmp(o->name, "batches") != 0;
        if (!read) return cli_usage("cache", "--%s: %s does not read it", o->name, act->name);
        if (act->reads && strstr(act->reads, "teacher") && a->n_teachers == 0)
            return cli_usage("cache", "--%s: %s reads it with --teacher alone", o->name, act->name);
    }
    return CLI_DONE;
}

static int check_usage(const cli_args *a)
{
    const char *name = a->words[0];
    size_t i = 0;
    char shown[60];
    while (i < sizeof actions / sizeof *actions && strcmp(name, actions[i].name)) i++;
    if (i == sizeof actions / sizeof *actions)
        return cli_usage("cache", "'%.40s' is none of build, info, verify, prune",
                         cli_escape(name, shown, sizeof shown));
    if (i > 0 && a->n_more) return cli_usage("cache", "%s takes one folder", name);
    return check_read(a, &actions[i]);
}

int cmd_cache(cli_args *args)
{
    session s = {.args = args};
    const char *action = args->words[0], *folder = args->words[1];
    const bool builds = !strcmp(action, "build");
    int status = check_usage(args);
    if (status) return status;
    status = cli_open_ctx(args, &s.ctx);
    cli_catch_signals();
    args->train.progress = watch;
    args->train.user = &s;
    if (!status && builds)
        status = build(&s);
    else if (!status && !strcmp(action, "info"))
        status = info(&s, folder);
    else if (!status && !strcmp(action, "verify"))
        status = verify(&s, folder);
    else if (!status)
        status = prune(&s, folder);
    close_all(&s);
    return status;
}
