/* SPDX-License-Identifier: MIT
 * cached.c: short runs with a teacher cache, in contexts of their own, and what came out. */
#include "cached.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int stop(void *user, const kd_progress *p)
{
    const course *c = user;
    return c->stop_at && p->step >= c->stop_at;
}

static void note(void *user, kd_log_level level, const char *text)
{
    outcome *o = user;
    if (level == KD_LOG_WARN && strstr(text, "cache"))
        snprintf(o->warning, sizeof o->warning, "%s", text);
}

static void run_in(kd_ctx *ctx, course *c, outcome *o)
{
    kd_dataset *data;
    kd_model *m, *teachers[2] = {NULL, NULL};
    kd_train_opt train = c->train;
    kd_distill_opt opt = c->distill;
    train.struct_size = sizeof train;
    if (!train.epochs) train.epochs = 2;
    train.batch = train.batch ? train.batch : 32;
    train.lr = .01f;
    train.progress = stop;
    train.user = c;
    opt.struct_size = sizeof opt;
    opt.train = &train;
    test_ok(ctx, kd_dataset_open(ctx, c->data ? c->data : "synthetic:image=16,train=80,test=16",
                                 NULL, &data));
    test_ok(ctx, kd_model_create(ctx, c->student ? c->student : CACHED_SMALL, 1, &m));
    if (c->teacher)
        test_ok(ctx, kd_model_create(ctx, c->teacher, c->teacher_seed ? c->teacher_seed : 7,
                                     &teachers[0]));
    if (c->second) test_ok(ctx, kd_model_create(ctx, c->second, 8, &teachers[1]));
    if (c->second) {
        opt.teachers = teachers;
        opt.n_teachers = 2;
    } else {
        opt.teacher = teachers[0];
    }
    o->status = kd_distill(m, data, &opt, &o->result);
    kd_params *p = kd_model_params(m);
    o->count = kd_params_flat_count(p);
    o->weights = malloc(o->count * sizeof *o->weights);
    memcpy(o->weights, kd_params_values(p), o->count * sizeof *o->weights);
    kd_model_destroy(m);
    kd_model_destroy(teachers[0]);
    kd_model_destroy(teachers[1]);
    kd_dataset_close(data);
}

outcome cached_run(course c)
{
    outcome o = {.result.struct_size = sizeof o.result};
    kd_ctx *ctx;
    const kd_config config = {.struct_size = sizeof config,
                              .threads = c.threads ? c.threads : 1,
                              .log = note,
                              .log_user = &o};
    ck_assert_int_eq(kd_ctx_create(&config, &ctx), KD_OK);
    run_in(ctx, &c, &o);
    snprintf(o.error, sizeof o.error, "%s", kd_ctx_error(ctx));
    o.peak = kd_ctx_memory_peak(ctx);
    ck_assert_uint_eq(kd_ctx_memory(ctx), 0);
    kd_ctx_destroy(ctx);
    return o;
}

void cached_same(const outcome *a, const outcome *b, const char *what)
{
    ck_assert_msg(!a->status && !b->status, "%s: %s%s", what, a->error, b->error);
    ck_assert_msg(!memcmp(a->weights, b->weights, a->count * sizeof(float)),
                  "%s: other weights, %g apart", what,
                  test_distance(a->weights, b->weights, a->count));
    ck_assert_msg(!memcmp(&a->result.train_loss, &b->result.train_loss, sizeof(double)) &&
                      !memcmp(&a->result.soft_loss, &b->result.soft_loss, sizeof(double)) &&
                      !memcmp(&a->result.teacher_top1, &b->result.teacher_top1, sizeof(double)) &&
                      !memcmp(&a->result.agreement, &b->result.agreement, sizeof(double)) &&
                      !memcmp(&a->result.loss, &b->result.loss, sizeof(double)),
                  "%s: other results", what);
}

void cached_fresh(char *path, size_t size, const char *name)
{
    static int number;
    snprintf(path, size, "%s/%s%d", test_dir(), name, number++);
}

bool cached_there(const char *folder, size_t epoch)
{
    char path[600];
    struct stat about;
    snprintf(path, sizeof path, "%s/epoch-%06zu.safetensors", folder, epoch);
    return stat(path, &about) == 0;
}

void cached_flip(const char *folder, size_t epoch, bool part, off_t from_end)
{
    char path[600];
    unsigned char byte;
    struct stat about;
    snprintf(path, sizeof path, "%s/epoch-%06zu.safetensors%s", folder, epoch, part ? ".part" : "");
    const int fd = open(path, O_RDWR);
    ck_assert(fd >= 0 && fstat(fd, &about) == 0);
    ck_assert_int_eq(pread(fd, &byte, 1, about.st_size - from_end), 1);
    byte ^= 16;
    ck_assert_int_eq(pwrite(fd, &byte, 1, about.st_size - from_end), 1);
    close(fd);
}

void cached_refused(course c, kd_status status, const char *words)
{
    outcome o = cached_run(c);
    ck_assert_msg(o.status == status && strstr(o.error, words), "%d, not %d: %s (%s)",
                  (int)o.status, (int)status, o.error, words);
    free(o.weights);
}

void cached_check(course c, const char *what, size_t files)
{
    char folder[500];
    cached_fresh(folder, sizeof folder, "bits");
    outcome live = cached_run(c);
    c.distill.cache = folder;
    c.threads = 3;
    outcome fills = cached_run(c);
    cached_same(&fills, &live, what);
    for (size_t i = 0; i < files + 1; i++)
        ck_assert_msg(cached_there(folder, i) == (i < files), "%s", what);
    outcome reads = cached_run(c);
    cached_same(&reads, &live, what);
    c.teacher = c.second = NULL;
    outcome alone = cached_run(c);
    cached_same(&alone, &live, what);
    ck_assert_msg(alone.peak < fills.peak, "%s: %zu bytes, %zu with the teacher", what, alone.peak,
                  fills.peak);
    ck_assert_str_eq(alone.warning, "");
    free(live.weights);
    free(fills.weights);
    free(reads.weights);
    free(alone.weights);
}

void cached_killed(course c, int times, unsigned within)
{
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < times; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            cached_run(c);
            _exit(0);
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usleep((useconds_t)(random % within));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

void cached_foreign(kd_ctx *ctx, const foreign *f)
{
    char path[600], tensor[80];
    const int64_t classes[] = {CACHED_ROWS, 10}, wide[] = {CACHED_ROWS, (int64_t)f->width};
    kd_writer *w;
    test_ok(ctx, kd_folder_make(ctx, f->folder));
    snprintf(path, sizeof path, "%s/cache.json", f->folder);
    test_ok(ctx, kd_file_write_atomic(ctx, path, f->key, strlen(f->key)));
    snprintf(path, sizeof path, "%s/epoch-000000.safetensors", f->folder);
    snprintf(tensor, sizeof tensor, "feature.%s", f->name);
    test_ok(ctx, kd_writer_create(ctx, path, &w));
    if (f->logits) kd_writer_tensor(w, "logits0", KD_F32, 2, classes, f->logits);
    kd_writer_tensor(w, tensor, KD_F32, 2, wide, f->features);
    test_ok(ctx, kd_writer_finish(w));
}
