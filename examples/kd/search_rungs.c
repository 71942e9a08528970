/* SPDX-License-Identifier: MIT
 * search_rungs.c: candidates learn together, as the students of a sweep: each batch and the teacher's
 * logits are made once. At a rung all are stopped, with a checkpoint, and ranked; those that go on
 * resume. What a rung has found is read from the runs' metrics, so that a search which was killed
 * goes on from the runs that are there. */
#include "search.h"

#include "../common/run_record.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- candidates as students ------------------------------------------------------------------ */

/* Options of kd search itself; what is typed besides is kd distill's. */
static bool is_own(const char *word, size_t length, bool *takes_value)
{
    static const char *const flags[] = {"dry-run", "resume", "json", "quiet", "int8"};
    static const char *const valued[] = {"out",        "space",    "candidates", "max-latency",
                                         "max-memory", "max-macs", "max-flash",  "budget-seconds",
                                         "threads",    "cache",    "epochs",     "dev-count"};
    char name[40];
    if (length >= sizeof name) return false;
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    *takes_value = true;
    for (size_t i = 0; i < sizeof valued / sizeof *valued; i++)
        if (!strcmp(name, valued[i])) return true;
    *takes_value = false;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (!strcmp(name, flags[i])) return true;
    return false;
}

/* The words after "search" that are kd distill's. */
static int add_typed(sweep *w, sweep_student *t)
{
    int status = CLI_DONE;
    for (int i = 2; i < w->args->argc && !status; i++) {
        const char *word = w->args->argv[i];
        bool takes_value;
        if (!strcmp(word, "-q")) continue;
        const char *name = word[0] == '-' && word[1] == '-' ? word + 2 : "";
        const size_t length = strcspn(name, "=");
        if (*name && is_own(name, length, &takes_value))
            i += takes_value && !name[length];
        else
            status = sweep_add_word(w, t, word);
    }
    return status;
}

static int add_options(sweep *w, sweep_student *t, const char *options)
{
    int status = CLI_DONE;
    while (*options && !status) {
        char word[SEARCH_OPTIONS];
        const size_t n = strcspn(options, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, options);
        status = sweep_add_word(w, t, word);
        options += n + (options[n] == ' ');
    }
    return status;
}

/* One cache for all who see the same pictures: where networks of other sizes are framed otherwise,
 * one for each size. */
static void cache_of(const search *s, const search_candidate *c, char out[CLI_PATH])
{
    const cli_args *a = s->args;
    const char *image = strstr(c->spec, ",image=");
    const char *folder = a->distill.cache ? a->distill.cache : a->train.out;
    const char *below = a->distill.cache ? "" : "/cache";
    if (s->sizes_vary && image && sweep_frames(a))
        snprintf(out, CLI_PATH, "%.3000s%s-%.*s", folder, below,
                 (int)strspn(image + 7, "0123456789"), image + 7);
    else
        snprintf(out, CLI_PATH, "%.3000s%s", folder, below);
}

static int add_candidate(search *s, sweep *w, const search_candidate *c)
{
    char word[CLI_PATH + 10], cache[CLI_PATH];
    sweep_student *t = sweep_add(w);
    if (!t) return CLI_FAILED;
    snprintf(t->name, sizeof t->name, "%s", c->name);
    int status = add_typed(w, t);
    if (!status) status = add_options(w, t, c->options);
    snprintf(word, sizeof word, "--epochs=%zu", s->epochs);
    if (!status) status = sweep_add_word(w, t, word);
    snprintf(word, sizeof word, "--dev-count=%zu", s->dev_count);
    if (!status) status = sweep_add_word(w, t, word);
    cache_of(s, c, cache);
    snprintf(word, sizeof word, "--cache=%s", cache);
    if (!status && !s->args->dry_run) status = sweep_add_word(w, t, word);
    if (!status) status = sweep_add_word(w, t, "--");
    if (!status) status = sweep_add_word(w, t, c->spec);
    if (!status) status = sweep_parse(w, t);
    t->args.train.no_test = 1;
    return status;
}

/* Where the candidates of a rung, or of a part of it, are sessions. */
static int begin_sweep(search *s, sweep *w, cli_args *copy, search_candidate *const *list, size_t n)
{
    *copy = *s->args;
    copy->train.resume = 1;
    copy->max_memory = 0;
    if (!copy->train.out) copy->train.out = "";
    *w = (sweep){.args = copy, .file = "kd search", .ctx = s->ctx};
    int status = sweep_begin(w);
    for (size_t i = 0; i < n && !status; i++) status = add_candidate(s, w, list[i]);
    cli_options_are_from(w->file);
    return status;
}

/* ---- how far they are ------------------------------------------------------------------------ */

static void path_of(const search *s, const search_candidate *c, const char *file,
                    char out[CLI_PATH])
{
    snprintf(out, CLI_PATH, "%.3000s/%s/%s", s->args->train.out, c->name, file);
}

/* The development split after that epoch, by the run's metrics; NAN: it is not there. */
static int read_dev(search *s, const search_candidate *c, size_t epoch, double *dev)
{
    enum { LARGEST = 1 << 28 };
    char path[CLI_PATH], *text;
    size_t size, at = 0;
    kd_json_object *o;
    int64_t number;
    *dev = (double)NAN;
    path_of(s, c, "metrics.jsonl", path);
    const kd_status read = kd_file_read_all(s->ctx, path, LARGEST, &text, &size);
    if (read == KD_E_NOTFOUND) return CLI_DONE;
    if (read) return cli_fail_ctx(s->ctx);
    while ((o = record_next_line(s->ctx, text, size, &at))) {
        const char *event = kd_json_get_string(o, "event");
        if (event && !strcmp(event, "epoch") && kd_json_get_integer(o, "epoch", &number) &&
            number == (int64_t)epoch)
            kd_json_get_number(o, "dev_top1", dev);
        kd_json_object_destroy(o);
    }
    kd_ctx_free(s->ctx, text);
    return CLI_DONE;
}

static int read_rung(search *s, size_t rung, size_t n)
{
    int status = CLI_DONE;
    for (size_t i = 0; i < n && !status; i++) {
        search_candidate *c = s->order[i];
        status = read_dev(s, c, s->rung[rung], &c->dev[rung]);
        c->rungs = isnan(c->dev[rung]) ? rung : rung + 1;
    }
    return status;
}

static bool is_done(const search *s, const search_candidate *c, size_t rung)
{
    char path[CLI_PATH];
    if (isnan(c->dev[rung])) return false;
    path_of(s, c, "model.safetensors", path);
    return rung + 1 < s->n_rungs || access(path, F_OK) == 0;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

/* Who is further, then who is better, then who is smaller, then who was drawn first. */
static int compare(const void *x, const void *y)
{
    const search_candidate *a = *(search_candidate *const *)x, *b = *(search_candidate *const *)y;
    if (a->rungs != b->rungs) return a->rungs > b->rungs ? -1 : 1;
    const double p = a->rungs ? a->dev[a->rungs - 1] : 0, q = b->rungs ? b->dev[b->rungs - 1] : 0;
    if (p > q || p < q) return p > q ? -1 : 1;
    if (a->cost.macs != b->cost.macs) return a->cost.macs < b->cost.macs ? -1 : 1;
    return strcmp(a->name, b->name);
}

size_t search_kept(size_t n, size_t rung)
{
    for (; rung > 0; rung--) n = (n + 2) / 3;
    return n;
}

/* ---- time ------------------------------------------------------------------------------------ */

double search_seconds(const search *s, size_t n)
{
    double seconds = 0;
    for (size_t r = 0; r < s->n_rungs; r++) {
        const size_t epochs = s->rung[r] - (r ? s->rung[r - 1] : 0);
        const double students = (double)search_kept(n, r);
        seconds += (double)(epochs * s->steps) * (s->step[0] + students * s->step[1]);
    }
    return seconds;
}

/* Seconds of a step that the first n candidates share. */
static int time_step(search *s, size_t n, double *seconds)
{
    sweep w;
    cli_args copy;
    int status = begin_sweep(s, &w, &copy, s->order, n);
    copy.dry_run = true;
    for (size_t i = 0; i < w.n && !status; i++) w.students[i]->args.train.out = NULL;
    if (!status) status = sweep_open(&w);
    *seconds = 0;
    for (size_t i = 0; i < w.n && !status; i++) {
        sweep_cost cost = {0};
        if (w.students[i]->pass != i) continue;
        status = sweep_estimate(&w, i, &cost);
        *seconds += cost.step;
    }
    sweep_close(&w);
    sweep_free(&w);
    return status;
}

static int make_order(search *s)
{
    if (s->order) return CLI_DONE;
    s->order = kd_ctx_alloc(s->ctx, s->n, sizeof(search_candidate *));
    if (!s->order) return cli_fail_ctx(s->ctx);
    for (size_t i = 0; i < s->n; i++) s->order[i] = &s->candidates[i];
    for (size_t i = 1; i < s->n; i++) {
        const char *a = strstr(s->candidates[0].spec, ",image=");
        const char *b = strstr(s->candidates[i].spec, ",image=");
        s->sizes_vary |= a && b && atol(a + 7) != atol(b + 7);
    }
    return CLI_DONE;
}

int search_check(search *s)
{
    sweep w;
    cli_args copy;
    int status = make_order(s);
    if (status) return status;
    status = begin_sweep(s, &w, &copy, s->order, s->n);
    sweep_free(&w);
    cli_options_are_from(NULL);
    return status;
}

int search_estimate(search *s)
{
    double one, all;
    const double margin = .85; /* evaluations, checkpoints */
    const double budget = s->args->search_seconds;
    int status = make_order(s);
    if (status || (!s->args->dry_run && !(budget > 0))) return status;
    if (!s->args->quiet) fprintf(stderr, "kd: timing steps of %zu candidates\n", s->n);
    status = time_step(s, s->n, &all);
    if (!status) status = time_step(s, 1, &one);
    if (status) return status;
    s->step[1] = s->n > 1 ? (all - one) / (double)(s->n - 1) : one;
    if (!(s->step[1] > 0)) s->step[1] = all / (double)s->n;
    s->step[0] = one > s->step[1] ? one - s->step[1] : 0;
    if (!(budget > 0)) return CLI_DONE;
    const double left = margin * (budget - (kd_seconds() - s->started));
    const size_t n = s->n;
    while (s->n > 1 && search_seconds(s, s->n) > left) s->n--;
    if (search_seconds(s, s->n) > left)
        return cli_fail("--budget-seconds: one candidate alone takes about %s; fewer --epochs?",
                        cli_duration(search_seconds(s, 1)).text);
    if (s->n < n && !s->args->quiet)
        fprintf(stderr, "kd: the budget is enough for %zu of %zu candidates\n", s->n, n);
    return CLI_DONE;
}

/* ---- rungs ----------------------------------------------------------------------------------- */

/* Train those of the first n that have not reached the rung. */
static int train_rung(search *s, size_t rung, size_t n)
{
    sweep w;
    cli_args copy;
    search_candidate **list = kd_ctx_alloc(s->ctx, n, sizeof(search_candidate *));
    size_t left = 0;
    if (!list) return cli_fail_ctx(s->ctx);
    for (size_t i = 0; i < n; i++)
        if (!is_done(s, s->order[i], rung)) list[left++] = s->order[i];
    int status = begin_sweep(s, &w, &copy, list, left);
    kd_ctx_free(s->ctx, list);
    w.stop_after = rung + 1 < s->n_rungs ? s->rung[rung] : 0;
    if (!status && left) status = sweep_open(&w);
    if (!status && left) {
        if (!s->args->quiet)
            fprintf(stderr, "kd: rung %zu of %zu: %zu candidates to epoch %zu of %zu\n", rung + 1,
                    s->n_rungs, n, s->rung[rung], s->epochs);
        status = sweep_passes(&w);
    }
    sweep_close(&w);
    sweep_free(&w);
    return status;
}

/* A candidate whose loss is not finite has left; the others go on. */
static int climb(search *s, size_t rung, size_t *n)
{
    int status = read_rung(s, rung, *n);
    const int trained = status ? status : train_rung(s, rung, *n);
    if (trained == CLI_INTERRUPTED) return trained;
    if (!status) status = read_rung(s, rung, *n);
    if (status) return status;
    qsort(s->order, *n, sizeof *s->order, compare);
    size_t good = 0;
    while (good < *n && s->order[good]->rungs == rung + 1) good++;
    if (good == 0)
        return trained ? trained : cli_fail("no candidate reached epoch %zu", s->rung[rung]);
    *n = good;
    return search_write_record(s);
}

/* The best one is tested, and DIR/best is its folder. */
static int crown(search *s)
{
    char link[CLI_PATH], new[CLI_PATH];
    sweep w;
    cli_args copy;
    search_candidate *best = s->order[0];
    int status = begin_sweep(s, &w, &copy, s->order, 1);
    if (!status) w.students[0]->args.train.no_test = 0;
    if (!status) status = sweep_open(&w);
    if (!status) status = sweep_passes(&w);
    if (!status) best->top1 = w.students[0]->session.result.top1;
    if (!status) best->loss = w.students[0]->session.result.loss;
    sweep_close(&w);
    sweep_free(&w);
    if (status) return status;
    snprintf(link, sizeof link, "%.3000s/best", s->args->train.out);
    snprintf(new, sizeof new, "%.3000s/best.new", s->args->train.out);
    unlink(new);
    if (symlink(best->name, new) || rename(new, link))
        return cli_fail("%s: %s", link, strerror(errno));
    status = search_write_record(s);
    return status ? status : search_write_picture(s);
}

int search_run(search *s)
{
    int status = make_order(s);
    size_t n = s->n;
    for (size_t r = 0; r < s->n_rungs && !status; r++) {
        if (r) n = search_kept(n, 1);
        status = climb(s, r, &n);
    }
    return status ? status : crown(s);
}
