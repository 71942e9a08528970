/* SPDX-License-Identifier: MIT
 * sweep_run.c: the students of a sweep, in as few passes over data and teachers as can be: those
 * that see the same pictures, in the same batches, with the same teachers' logits, learn together.
 * Each has its folder and its record, as a run of its own would have. With --jobs, passes are
 * processes. */
#include "sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- who learns together --------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool same_data(const cli_args *a, const cli_args *b)
{
    return same_text(a->data, b->data) && same_text(a->data_dir, b->data_dir) &&
           a->skip_broken == b->skip_broken;
}

static bool same_teachers(const cli_args *a, const cli_args *b)
{
    if (a->n_teachers != b->n_teachers || a->n_teacher_weights != b->n_teacher_weights ||
        a->teacher_image != b->teacher_image || !same_text(a->teacher_model, b->teacher_model) ||
        !same_text(a->teacher_normalize, b->teacher_normalize))
        return false;
    for (size_t i = 0; i < a->n_teachers; i++)
        if (!same_text(a->teachers[i], b->teachers[i])) return false;
    for (size_t i = 0; i < a->n_teacher_weights; i++)
        if (a->teacher_weights[i] < b->teacher_weights[i] ||
            a->teacher_weights[i] > b->teacher_weights[i])
            return false;
    return true;
}

bool sweep_frames(const cli_args *a)
{
    static const char *const words[] = {"rrc", "centre", "imagenet", "deit", "swin"};
    if (!strncmp(a->data, "folder:", 7)) return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (a->train.augment && strstr(a->train.augment, words[i])) return true;
    return false;
}

/* Do both frame pictures at one size? */
static bool same_canvas(const cli_session *a, const cli_session *b)
{
    const cli_session *const both[] = {a, b};
    size_t height[2], width[2];
    for (size_t k = 0; k < 2; k++) {
        height[k] = kd_model_height(both[k]->run.model);
        width[k] = kd_model_width(both[k]->run.model);
        for (size_t i = 0; i < both[k]->args->n_teachers; i++) {
            const kd_model *m = both[k]->teachers[i];
            if (kd_model_height(m) > height[k]) height[k] = kd_model_height(m);
            if (kd_model_width(m) > width[k]) width[k] = kd_model_width(m);
        }
    }
    return height[0] == height[1] && width[0] == width[1];
}

/* The options are complete. */
static bool together(const sweep_student *x, const sweep_student *y)
{
    const cli_args *a = &x->args, *b = &y->args;
    const kd_train_opt *t = &a->train, *u = &b->train;
    if (!same_data(a, b) || !same_teachers(a, b)) return false;
    if (t->budget_seconds > 0 || u->budget_seconds > 0) return false;
    if (!same_text(a->distill.cache, b->distill.cache) ||
        a->distill.cache_precision != b->distill.cache_precision ||
        a->distill.cache_top != b->distill.cache_top)
        return false;
    if (kd_model_classes(x->session.run.model) != kd_model_classes(y->session.run.model))
        return false;
    if (sweep_frames(a) && !same_canvas(&x->session, &y->session)) return false;
    return t->batch == u->batch && t->seed == u->seed && t->dev_count == u->dev_count &&
           t->drop_last == u->drop_last && t->augment_epochs == u->augment_epochs &&
           same_text(t->augment, u->augment);
}

/* ---- opened and closed ----------------------------------------------------------------------- */

/* The first student before this one that has the same. */
static cli_session *find(sweep *s, size_t i, bool (*same)(const cli_args *, const cli_args *))
{
    for (size_t k = 0; k < i; k++)
        if (same(&s->students[k]->args, &s->students[i]->args)) return &s->students[k]->session;
    return &s->students[i]->session;
}

static bool same_data_and_teachers(const cli_args *a, const cli_args *b)
{
    return same_data(a, b) && same_teachers(a, b);
}

/* What would end a later pass is said before the first. */
static int check_student(sweep_student *t)
{
    const cli_run *run = &t->session.run;
    const size_t own = kd_model_classes(run->model);
    const bool hears = !t->args.distill.feature || t->args.distill.soft > 0;
    for (size_t i = 0; i < t->args.n_teachers && hears; i++)
        if (kd_model_classes(t->session.teachers[i]) != own)
            return cli_fail("%s: the student has %zu classes, the teacher %zu", t->name, own,
                            kd_model_classes(t->session.teachers[i]));
    const size_t classes = kd_dataset_info(run->data)->classes;
    if (!(t->args.distill.hard < 0) && classes != own)
        return cli_fail("%s: the student has %zu classes, the data %zu", t->name, own, classes);
    return CLI_DONE;
}

/* Does t take the cache that `first` would begin? With --jobs either may be the one that begins. */
static kd_status agree(const sweep *s, const sweep_student *first, const sweep_student *t)
{
    const kd_student one = {.model = first->session.run.model, .opt = &first->args.distill};
    const kd_student other = {.model = t->session.run.model, .opt = &t->args.distill};
    kd_dataset *data = first->session.run.data, *others = t->session.run.data;
    const kd_status status = kd_cache_agree(&one, data, &other, others);
    return status || s->args->jobs < 2 ? status : kd_cache_agree(&other, others, &one, data);
}

/* Is a cache that is there this pass's? Passes of one cache, and with --jobs all of its students:
 * does each take what the first of them would begin? */
static int check_cache(sweep *s, size_t i)
{
    sweep_student *t = s->students[i], *first = NULL;
    for (size_t k = 0; k < i && !first; k++)
        if (same_text(s->students[k]->args.distill.cache, t->args.distill.cache))
            first = s->students[k];
    if (!t->args.distill.cache || (t->pass != i && s->args->jobs < 2)) return CLI_DONE;
    if (!first) first = t;
    first->args.distill.train = &first->args.train;
    t->args.distill.train = &t->args.train;
    kd_ctx *ctx = t->session.run.ctx;
    if (!agree(s, first, t)) return CLI_DONE;
    return first == t ? cli_fail("%s: %s", t->name, kd_ctx_error(ctx))
                      : cli_fail("%s and %s cannot share a cache: %s", first->name, t->name,
                                 kd_ctx_error(ctx));
}

int sweep_open(sweep *s)
{
    int status = CLI_DONE;
    for (size_t i = 0; i < s->n && !status; i++) {
        sweep_student *t = s->students[i];
        t->session = (cli_session){.args = &t->args,
                                   .run = {.args = &t->args},
                                   .result.struct_size = sizeof t->session.result,
                                   .name = t->name,
                                   .context = &s->students[0]->session};
        t->session.data = find(s, i, same_data);
        t->session.taught = find(s, i, same_data_and_teachers);
        cli_speaks_of(t->name);
        status = cli_session_open(&t->session);
        cli_speaks_of(NULL);
        if (!status) status = check_student(t);
    }
    for (size_t i = 0; i < s->n && !status; i++) {
        size_t k = 0;
        while (k < i && !together(s->students[k], s->students[i])) k++;
        s->students[i]->pass = k;
        status = check_cache(s, i);
    }
    return status;
}

/* Owners of what is shared come first, and close last. */
void sweep_close(sweep *s)
{
    for (size_t i = s->n; i-- > 0;) cli_session_close(&s->students[i]->session);
}

/* ---- a pass ---------------------------------------------------------------------------------- */

struct pass;

typedef struct watcher {
    sweep *s;
    sweep_student *student;
    struct pass *pass;
} watcher;

/* Is the pass to stop here? One that has left is waited for in vain: then the next step is over. */
static int at_stop(watcher *w, const kd_progress *p);

static int watch(void *user, const kd_progress *p)
{
    watcher *w = user;
    if (cli_session_record(&w->student->session, p)) return 1;
    if (cli_interrupted()) return 1;
    const int stop = at_stop(w, p);
    if (w->s->args->quiet || !p->epoch_end || p->evaluating) return stop;
    char top1[40] = "", dev[40] = "";
    if (!isnan(p->accuracy)) snprintf(top1, sizeof top1, ", top-1 %.2f %%", p->accuracy);
    if (!isnan(p->dev_top1)) snprintf(dev, sizeof dev, ", development %.2f %%", p->dev_top1);
    fprintf(stderr, "kd: %s: epoch %.4g of %zu: loss %.4f%s%s, %.0f images/s\n", w->student->name,
            p->epochs_done, p->epochs, p->loss, top1, dev, p->images_per_second);
    return stop;
}

/* The members of a pass, into list; how many. */
static size_t members(const sweep *s, size_t pass, sweep_student **list)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->students[i]->pass == pass) list[n++] = s->students[i];
    return n;
}

typedef struct pass {
    size_t reached; /* students that have done the epochs after which it stops */
    sweep_student **list;
    kd_student *students;
    watcher *watchers;
    const char **names;
    size_t n;
} pass;

static int at_stop(watcher *w, const kd_progress *p)
{
    const size_t after = w->s->stop_after;
    if (!after || p->evaluating) return 0;
    if (!p->epoch_end) return p->epoch >= after;
    w->pass->reached += p->epoch + 1 == after;
    return p->epoch + 1 >= after && w->pass->reached == w->pass->n;
}

/* What keeps all of them from beginning is said once. */
static bool none_began(const pass *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i]->session.recorded || p->students[i].error[0] ||
            p->list[i]->session.result.steps)
            return false;
    return true;
}

static int learn(sweep *s, pass *p)
{
    kd_dataset *data = p->list[0]->session.run.data;
    int code = CLI_DONE;
    for (size_t i = 0; i < p->n && !code; i++) {
        cli_session *session = &p->list[i]->session;
        code = cli_session_begin(session);
        session->stops = s->stop_after > 0;
        p->watchers[i] = (watcher){.s = s, .student = p->list[i], .pass = p};
        p->list[i]->args.train.progress = watch;
        p->list[i]->args.train.user = &p->watchers[i];
        p->list[i]->args.distill.train = &p->list[i]->args.train;
        p->students[i] = (kd_student){.model = session->run.model,
                                      .opt = &p->list[i]->args.distill,
                                      .result = &session->result};
    }
    if (code) return code;
    const kd_status status = kd_distill_many(p->students, p->n, data);
    if (status && none_began(p)) return cli_fail_ctx(p->list[0]->session.run.ctx);
    cli_speaks_of(NULL);
    char words[600];
    snprintf(words, sizeof words, "%s", status ? kd_ctx_error(p->list[0]->session.run.ctx) : "");
    for (size_t i = 0; i < p->n; i++) {
        cli_session *session = &p->list[i]->session;
        const char *why = p->students[i].error[0] ? p->students[i].error : words;
        if (p->students[i].status) snprintf(session->why, sizeof session->why, "%s", why);
        p->list[i]->status = p->students[i].status;
        const int one = cli_session_finish(session, p->students[i].status);
        if (one > code) code = one;
    }
    return code;
}

static int run_pass(sweep *s, size_t number)
{
    pass p = {.list = calloc(s->n, sizeof *p.list),
              .students = calloc(s->n, sizeof *p.students),
              .watchers = calloc(s->n, sizeof *p.watchers),
              .names = calloc(s->n, sizeof *p.names)};
    int code = CLI_FAILED;
    if (p.list && p.students && p.watchers && p.names) {
        p.n = members(s, number, p.list);
        for (size_t i = 0; i < p.n; i++) p.names[i] = p.list[i]->name;
        cli_students_are(p.names, p.n);
        if (p.n == 1) cli_speaks_of(p.names[0]);
        if (!s->args->quiet)
            fprintf(stderr, "kd: a pass of %zu student%s from %s on\n", p.n, p.n == 1 ? "" : "s",
                    p.list[0]->name);
        code = learn(s, &p);
    } else {
        cli_fail("no memory");
    }
    cli_students_are(NULL, 0);
    cli_speaks_of(NULL);
    free(p.names);
    free(p.list);
    free(p.students);
    free(p.watchers);
    return code;
}

int sweep_passes(sweep *s)
{
    int code = CLI_DONE;
    for (size_t i = 0; i < s->n && code != CLI_INTERRUPTED; i++) {
        if (s->students[i]->pass != i) continue;
        const int one = run_pass(s, i);
        if (one > code) code = one;
    }
    if (code == CLI_INTERRUPTED)
        cli_fail("interrupted; the same command with --resume goes on from there");
    return code;
}

/* ---- results --------------------------------------------------------------------------------- */

static int print_json(sweep *s)
{
    kd_json *json;
    if (kd_json_create(s->ctx, 0, &json)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_array_begin(json, "students");
    for (size_t i = 0; i < s->n; i++) {
        const cli_session *x = &s->students[i]->session;
        kd_json_object_begin(json, NULL);
        kd_json_string(json, "name", s->students[i]->name);
        kd_json_string(json, "spec", kd_model_spec(x->run.model));
        kd_json_string(json, "status", x->run.status);
        kd_json_string(json, "error", x->run.error);
        kd_json_integer(json, "params", (int64_t)kd_params_count(kd_model_params(x->run.model)));
        kd_json_integer(json, "macs", (int64_t)x->run.macs);
        cli_json_result(json, &x->result);
        kd_json_string(json, "out", x->args->train.out);
        kd_json_object_end(json);
    }
    kd_json_array_end(json);
    kd_json_object_end(json);
    return cli_print_json(s->ctx, json);
}

void sweep_table_head(int width)
{
    printf("%-*s  %10s  %8s  %8s  %8s  %s\n", width, "student", "parameters", "top-1 %", "loss",
           "seconds", "status");
}

static int print_table(const sweep *s)
{
    size_t width = 7;
    for (size_t i = 0; i < s->n; i++)
        if (strlen(s->students[i]->name) > width) width = strlen(s->students[i]->name);
    sweep_table_head((int)width);
    for (size_t i = 0; i < s->n; i++) {
        const cli_session *x = &s->students[i]->session;
        printf("%-*s  %10zu  ", (int)width, s->students[i]->name,
               kd_params_count(kd_model_params(x->run.model)));
        if (x->run.finished && !isnan(x->result.top1))
            printf("%8.2f  %8.4f  ", x->result.top1, x->result.loss);
        else
            printf("%8s  %8s  ", "", "");
        printf("%8.1f  %s\n", x->result.seconds, x->run.status ? x->run.status : "not begun");
    }
    return cli_flush();
}

/* ---- --dry-run ------------------------------------------------------------------------------- */

enum { TIMED = 4 };

/* Steps of one student, with the time between the first and the last that is timed. */
typedef struct timing {
    size_t steps, planned;
    double first, last;
} timing;

static int time_steps(void *user, const kd_progress *p)
{
    timing *t = user;
    if (p->epoch_end || p->evaluating) return cli_interrupted();
    t->planned = p->steps;
    t->last = kd_seconds();
    if (t->steps++ == 0) t->first = t->last;
    return cli_interrupted() || t->steps > TIMED;
}

int sweep_estimate(sweep *s, size_t number, sweep_cost *e)
{
    int code = CLI_DONE;
    sweep_student **list = calloc(s->n, sizeof *list);
    kd_student *students = calloc(s->n, sizeof *students);
    timing *timings = calloc(s->n, sizeof *timings);
    const size_t n = list ? members(s, number, list) : 0;
    for (size_t i = 0; i < n && students && timings; i++) {
        cli_args *a = &list[i]->args;
        const kd_params *p = kd_model_params(list[i]->session.run.model);
        const double states = a->train.optimizer == KD_OPTIMIZER_ADAMW ? 2 : 1;
        a->train.no_test = 1;
        a->train.progress = time_steps;
        a->train.user = &timings[i];
        a->train.checkpoint_seconds = 0;
        a->train.log_steps = 0;
        if (a->n_teachers) {
            a->distill.cache = NULL;
            a->distill.cache_top = 0;
            a->distill.cache_precision = KD_CACHE_FLOAT32;
        }
        a->distill.train = &a->train;
        students[i] = (kd_student){.model = list[i]->session.run.model, .opt = &a->distill};
        e->disk += (2 + states + (a->train.ema > 0)) * 4 * (double)kd_params_flat_count(p);
    }
    if (!students || !timings || !list) code = cli_fail("no memory");
    kd_dataset *data = code ? NULL : list[0]->session.run.data;
    const kd_status status = code ? KD_OK : kd_distill_many(students, n, data);
    if (cli_interrupted()) code = CLI_INTERRUPTED;
    if (!code && status && status != KD_E_STOPPED) code = cli_fail_ctx(list[0]->session.run.ctx);
    double seconds = 0;
    for (size_t i = 0; i < n && !code; i++) {
        const timing *t = &timings[i];
        const double step = t->steps > 1 ? (t->last - t->first) / (double)(t->steps - 1) : 0;
        if (step > e->step) e->step = step;
        if ((double)t->planned * step > seconds) seconds = (double)t->planned * step;
        e->steps += (double)t->planned;
    }
    e->seconds += seconds;
    free(list);
    free(students);
    free(timings);
    return code;
}

static int dry_run(sweep *s)
{
    sweep_cost e = {0};
    size_t passes = 0;
    kd_json *json;
    for (size_t i = 0; i < s->n; i++) {
        if (s->students[i]->pass != i) continue;
        passes++;
        const int code = sweep_estimate(s, i, &e);
        if (code) return code;
    }
    const double memory = (double)kd_ctx_memory_peak(s->students[0]->session.run.ctx);
    if (!s->args->json) {
        printf("students    %zu in %zu pass%s\n", s->n, passes, passes == 1 ? "" : "es");
        printf("steps       %.0f in all\n", e.steps);
        printf("time        %s (%.4f hours), evaluations not counted\n",
               cli_duration(e.seconds).text, e.seconds / 3600);
        printf("memory      %s\n", cli_bytes(memory).text);
        printf("disk        %s, without a cache\n", cli_bytes(e.disk).text);
        printf("nothing was written (--dry-run)\n");
        return cli_flush();
    }
    if (kd_json_create(s->ctx, 0, &json)) return cli_fail_ctx(s->ctx);
    kd_json_object_begin(json, NULL);
    kd_json_integer(json, "students", (int64_t)s->n);
    kd_json_integer(json, "passes", (int64_t)passes);
    kd_json_number(json, "steps", e.steps);
    kd_json_number(json, "hours", e.seconds / 3600);
    kd_json_number(json, "memory_bytes", memory);
    kd_json_number(json, "disk_bytes", e.disk);
    kd_json_object_end(json);
    return cli_print_json(s->ctx, json);
}

/* ---- --jobs ---------------------------------------------------------------------------------- */

/* kd distill with the student's words, in a process of its own, which ends with a checkpoint when
 * this one is gone: it holds the reading end of a pipe whose other end is here alone. */
static pid_t start(const sweep *s, sweep_student *t, size_t threads)
{
    static char self[CLI_PATH];
    char out[CLI_PATH + 10], count[40], memory[60];
    char *words[SWEEP_WORDS + 10];
    char distill[] = "distill", quiet[] = "--quiet", resume[] = "--resume",
         overwrite[] = "--overwrite";
    int n = 0;
    pid_t child;
    posix_spawn_file_actions_t silent; /* what came out is said for all of them, in one table */
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return -1;
    self[length] = 0;
    snprintf(out, sizeof out, "--out=%s", t->out);
    snprintf(count, sizeof count, "--threads=%zu", threads);
    words[n++] = self;
    words[n++] = distill;
    words[n++] = out;
    words[n++] = count;
    words[n++] = quiet;
    if (s->args->max_memory) {
        const unsigned long long share = s->args->max_memory / s->args->jobs;
        snprintf(memory, sizeof memory, "--max-memory=%llu", share ? share : 1);
        words[n++] = memory;
    }
    if (s->args->train.resume) words[n++] = resume;
    if (s->args->train.overwrite) words[n++] = overwrite;
    for (int i = 0; i < t->n_words; i++) words[n++] = t->words[i];
    words[n] = NULL;
    if (posix_spawn_file_actions_init(&silent)) return -1;
    const bool fine =
        !posix_spawn_file_actions_addopen(&silent, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) &&
        !posix_spawn(&child, self, &silent, NULL, words, environ);
    posix_spawn_file_actions_destroy(&silent);
    return fine ? child : -1;
}

static int wait_for_one(sweep *s, pid_t *children, size_t *left)
{
    static const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    int how;
    const pid_t child = waitpid(-1, &how, WNOHANG); /* a signal does not end a wait */
    if (child == 0) nanosleep(&moment, NULL);
    if (child == 0 || (child < 0 && errno == EINTR)) return CLI_DONE;
    if (child < 0) return cli_fail("a student's process is gone");
    for (size_t i = 0; i < s->n; i++) {
        if (children[i] != child) continue;
        children[i] = 0;
        --*left;
        const int code = WIFEXITED(how) ? WEXITSTATUS(how) : CLI_FAILED;
        if (!s->args->quiet)
            fprintf(stderr, "kd: %s: %s\n", s->students[i]->name, code ? "failed" : "done");
        return code;
    }
    return CLI_DONE;
}

/* A signal that came to this process alone is passed on, once. */
static void stop_children(const sweep *s, const pid_t *children)
{
    for (size_t i = 0; i < s->n; i++)
        if (children[i] > 0) kill(children[i], SIGTERM);
}

/* Each student is a process. A signal to the group reaches all of them; they take a second one as
 * the same. */
static int run_jobs(sweep *s)
{
    const size_t jobs = (size_t)s->args->jobs, threads = (size_t)s->args->threads;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const size_t all = threads ? threads : processors > 0 ? (size_t)processors : 1;
    pid_t *children = calloc(s->n, sizeof *children);
    size_t running = 0;
    bool stopped = false;
    int code = children ? cli_hold_lifeline() : cli_fail("no memory");
    if (code) {
        free(children);
        return code;
    }
    for (size_t i = 0; i < s->n || running;) {
        if (i < s->n && running < jobs && !cli_interrupted()) {
            children[i] = start(s, s->students[i], all > jobs ? all / jobs : 1);
            if (children[i] < 0)
                code = cli_fail("%s: its process does not start", s->students[i]->name);
            running += children[i] > 0;
            i++;
            continue;
        }
        if (cli_interrupted() && !stopped) {
            stop_children(s, children);
            stopped = true;
        }
        if (!running) break;
        const int one = wait_for_one(s, children, &running);
        if (one > code) code = one;
    }
    free(children);
    if (!cli_interrupted()) return code;
    cli_fail("interrupted; the same command with --resume goes on from there");
    return CLI_INTERRUPTED;
}

/* With --json an interrupted sweep, too, has one object, with how far each student came. */
static int run_and_report(sweep *s)
{
    const int code = run_jobs(s), printed = sweep_report(s);
    return code ? code : printed;
}

/* A folder that is taken is found before the first pass, not before the last. */
static int check_folders(const sweep *s)
{
    static const char *const files[] = {"checkpoint.safetensors", "model.safetensors",
                                        "last.safetensors", "metrics.jsonl", "run.json"};
    char path[CLI_PATH + 40];
    if (s->args->dry_run || s->args->train.resume || s->args->train.overwrite) return CLI_DONE;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
            snprintf(path, sizeof path, "%s/%s", s->students[i]->out, files[k]);
            if (access(path, F_OK) == 0)
                return cli_fail("%s is there already, of an earlier run (--resume goes on with a "
                                "sweep, --overwrite replaces its runs)",
                                path);
        }
    return CLI_DONE;
}

static bool any_began(const sweep *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->students[i]->session.recorded || s->students[i]->session.run.finished) return true;
    return false;
}

int sweep_run(sweep *s)
{
    int code = check_folders(s);
    if (code) return code;
    if (s->args->jobs > 1 && !s->args->dry_run) {
        for (size_t i = 0; i < s->n; i++)
            if (!s->students[i]->args.distill.cache)
                return cli_usage("sweep",
                                 "--jobs: %s has no cache: each process would run the "
                                 "teacher for itself",
                                 s->students[i]->name);
        code = sweep_open(s); /* what is wrong is said before a process starts */
        sweep_close(s);
        return code ? code : run_and_report(s);
    }
    code = sweep_open(s);
    if (!code) {
        cli_options_are_from(NULL);
        code = s->args->dry_run ? dry_run(s) : sweep_passes(s);
        if (!s->args->dry_run && any_began(s)) {
            const int printed = s->args->json ? print_json(s) : print_table(s);
            if (!code) code = printed;
        }
    }
    sweep_close(s);
    return code;
}
