/* SPDX-License-Identifier: MIT
 * loader.c: a pipeline that runs ahead of its consumer in a thread of its own.
 *
 * A ring of depth + 1 slots: one may be held by the consumer, the others hold batches that are
 * ready, oldest first, and one that is being made. Everything below `mutex` in the struct is
 * guarded by it; a slot's contents belong to the thread while it is made, to the consumer while it
 * is held. The pipeline is the thread's alone; seek waits until it is idle. Without a thread
 * (KD_LOADER_SYNC) there is one slot, and kd_loader_next fills it.
 *
 * The samples of a batch are shared out among the pipeline's workers: the thread and a team of its
 * own, apart from the context's, so that computing and loading do not wait for each other. Without
 * a thread the context's parallel-for does it.
 *
 * The order of batches, and what is in them, is the pipeline's; the threads only decide when. */
#include "data.h"

#include "../base/threads.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEPTH = 1024, MAX_THREADS = 256 };

typedef struct place {
    size_t epoch, index;
} place;

struct kd_loader {
    kd_ctx *ctx;
    kdi_pipeline pipeline;
    size_t n_slots;
    kdi_slot *slots; /* [n_slots] */
    bool threaded;   /* the thread runs, and what follows was set up */
    pid_t owner;     /* the process the thread lives in */
    pthread_t thread;
    kdi_threads *team;  /* who the thread works with; NULL: nobody */
    atomic_bool cancel; /* the batch being made is not wanted any more */
    double waited;      /* the consumer's */
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* to the thread: a slot is free, or seek or close was called */
    pthread_cond_t news;  /* to the consumer: a batch, an error, or idleness */
    size_t oldest, ready; /* slots [oldest, oldest + ready) of the ring hold batches */
    bool held;            /* the slot before the oldest is the consumer's */
    bool busy, stop;
    place next;        /* to be made */
    kdi_failure error; /* status KD_OK: none */
};

static place after(const kd_loader *l, place p)
{
    p.index++;
    if (p.index == l->pipeline.batches) p = (place){p.epoch + 1, 0};
    return p;
}

/* ---- sharing out ----------------------------------------------------------------------------- */

typedef struct pieces {
    atomic_size_t next;
    size_t count;
    kd_task_fn fn;
    void *arg;
} pieces;

static void take_pieces(void *arg, int worker)
{
    pieces *p = arg;
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->count) return;
        p->fn(p->arg, i, worker);
    }
}

/* A kdi_spread_fn. */
static void spread(void *user, size_t count, kd_task_fn fn, void *arg)
{
    kd_loader *l = user;
    if (!l->threaded && l->pipeline.n_workers > 1) {
        kd_parallel_for(l->ctx, count, fn, arg);
        return;
    }
    pieces p = {.count = count, .fn = fn, .arg = arg};
    atomic_init(&p.next, 0);
    const size_t most = l->pipeline.n_workers, width = count < most ? count : most;
    if (!l->team || !kdi_threads_run(l->team, (int)width, take_pieces, &p)) take_pieces(&p, 0);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool may_work(const kd_loader *l)
{
    return l->ready + l->held < l->n_slots && !l->error.status && !atomic_load(&l->cancel);
}

static void *run(void *arg)
{
    kd_loader *l = arg;
    pthread_mutex_lock(&l->mutex);
    for (;;) {
        while (!l->stop && !may_work(l)) pthread_cond_wait(&l->work, &l->mutex);
        if (l->stop) break;
        kdi_slot *slot = &l->slots[(l->oldest + l->ready) % l->n_slots];
        kdi_failure failure = {0};
        const place p = l->next;
        l->busy = true;
        pthread_mutex_unlock(&l->mutex);
        const kd_status status = kdi_pipeline_fill(&l->pipeline, p.epoch, p.index, slot, spread, l,
                                                   &l->cancel, &failure);
        pthread_mutex_lock(&l->mutex);
        l->busy = false;
        if (status == KD_OK && !atomic_load(&l->cancel)) {
            l->ready++;
            l->next = after(l, p);
        } else if (failure.status) {
            l->error = failure;
        }
        pthread_cond_signal(&l->news);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

static void destroy_sync(kd_loader *l)
{
    pthread_cond_destroy(&l->news);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->mutex);
}

/* The mutex and both conditions; 0, or an error number, and then none of them. */
static int make_sync(kd_loader *l)
{
    int failed = pthread_mutex_init(&l->mutex, NULL);
    if (failed) return failed;
    failed = pthread_cond_init(&l->work, NULL);
    if (!failed) {
        failed = pthread_cond_init(&l->news, NULL);
        if (failed) pthread_cond_destroy(&l->work);
    }
    if (failed) pthread_mutex_destroy(&l->mutex);
    return failed;
}

/* The new thread inherits the signal mask: everything is blocked but what a fault in the thread
 * itself raises. */
static int start_masked(kd_loader *l)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    int failed = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (failed) return failed;
    failed = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

static kd_status start(kd_loader *l)
{
    if (l->pipeline.n_workers > 1) {
        l->team = kdi_threads_create(l->ctx, (int)l->pipeline.n_workers);
        if (!l->team) return kd_ctx_fail(l->ctx, KD_E_NOMEM, "out of memory");
    }
    int failed = make_sync(l);
    if (!failed) {
        l->threaded = true; /* before the thread looks at it */
        failed = start_masked(l);
        if (failed) destroy_sync(l);
    }
    if (failed) {
        l->threaded = false;
        return kd_ctx_fail(l->ctx, KD_E_SYSTEM, "loader of '%s': no thread: %s",
                           l->pipeline.data->info.name, strerror(failed));
    }
    l->owner = getpid();
    return KD_OK;
}

/* ---- making and closing ---------------------------------------------------------------------- */

static kd_status make_slots(kd_loader *l, int depth)
{
    if (depth == 0) depth = KD_LOADER_DEPTH;
    if (depth < KD_LOADER_SYNC || depth > MAX_DEPTH)
        return kd_ctx_fail(l->ctx, KD_E_INVALID, "loader of '%s': depth %d is not in %d..%d",
                           l->pipeline.data->info.name, depth, KD_LOADER_SYNC, MAX_DEPTH);
    const size_t n = depth == KD_LOADER_SYNC ? 1 : (size_t)depth + 1;
    l->slots = kd_ctx_alloc(l->ctx, n, sizeof *l->slots);
    if (!l->slots) return kd_ctx_memory_status(l->ctx);
    l->n_slots = n;
    for (size_t i = 0; i < n; i++) {
        const kd_status status = kdi_slot_make(&l->pipeline, &l->slots[i]);
        if (status) return status;
    }
    return KD_OK;
}

/* Decoding is worth as many workers as the context has; copying from memory is not. */
static kd_status count_workers(const kd_dataset *data, const kd_loader_opt *opt, size_t *n)
{
    const int width = kd_ctx_threads(data->ctx);
    int wanted = opt->threads ? opt->threads : data->open ? width : 1;
    if (wanted < 1 || wanted > MAX_THREADS)
        return kd_ctx_fail(data->ctx, KD_E_INVALID, "loader of '%s': %d threads are not in 1..%d",
                           data->info.name, wanted, MAX_THREADS);
    /* The context's parallel-for has a width of its own. */
    if (opt->depth == KD_LOADER_SYNC && wanted > 1) wanted = width;
    *n = (size_t)wanted;
    return KD_OK;
}

kd_status kd_loader_create(kd_dataset *data, const kd_loader_opt *options, kd_loader **out)
{
    kd_loader_opt opt;
    if (out) *out = NULL;
    if (!data) return KD_E_INVALID;
    if (!out) return kd_ctx_fail(data->ctx, KD_E_INVALID, "kd_loader_create: NULL");
    kd_status status = kd_options(data->ctx, "kd_loader_opt", &opt, sizeof opt, options);
    if (status) return status;
    kd_loader *l = kd_ctx_alloc(data->ctx, 1, sizeof *l);
    if (!l) return kd_ctx_memory_status(data->ctx);
    l->ctx = data->ctx;
    atomic_init(&l->cancel, false);
    size_t workers = 1;
    status = count_workers(data, &opt, &workers);
    if (!status) status = kdi_pipeline_make(data, &opt, workers, &l->pipeline);
    if (status) {
        kd_ctx_free(l->ctx, l);
        return status;
    }
    status = make_slots(l, opt.depth);
    if (!status && opt.depth != KD_LOADER_SYNC) status = start(l);
    if (status)
        kd_loader_close(l);
    else
        *out = l;
    return status;
}

void kd_loader_close(kd_loader *l)
{
    if (!l) return;
    /* After a fork the child has no such thread, and the mutex may be locked for ever. */
    if (l->threaded && l->owner == getpid()) {
        pthread_mutex_lock(&l->mutex);
        l->stop = true;
        atomic_store(&l->cancel, true);
        pthread_cond_signal(&l->work);
        pthread_mutex_unlock(&l->mutex);
        pthread_join(l->thread, NULL);
        destroy_sync(l);
    }
    kdi_threads_destroy(l->ctx, l->team);
    for (size_t i = 0; i < l->n_slots; i++) kdi_slot_free(&l->pipeline, &l->slots[i]);
    kd_ctx_free(l->ctx, l->slots);
    kdi_pipeline_free(&l->pipeline);
    kd_ctx_free(l->ctx, l);
}

/* ---- using ----------------------------------------------------------------------------------- */

/* Log why samples of the batch were left out. */
static void tell_skipped(const kd_loader *l, const kd_batch *batch)
{
    const kdi_slot *slot = (const kdi_slot *)(const void *)batch; /* its first member */
    for (size_t i = 0; slot->failures && i < slot->made; i++)
        if (slot->failures[i].status)
            kd_ctx_log(l->ctx, KD_LOG_WARN, "skipped: %s", slot->failures[i].text);
}

static kd_status fail(kd_loader *l, const kdi_failure *failure)
{
    return kd_ctx_fail(l->ctx, failure->status, "%s", failure->text);
}

static kd_status check_process(const kd_loader *l)
{
    if (!l->threaded || l->owner == getpid()) return KD_OK;
    return kd_ctx_fail(l->ctx, KD_E_SYSTEM, "loader of '%s': it was made before a fork",
                       l->pipeline.data->info.name);
}

/* The next batch, made here and now; nobody else touches the loader. */
static const kd_batch *make_now(kd_loader *l)
{
    kdi_slot *slot = &l->slots[0];
    if (l->error.status || kdi_pipeline_fill(&l->pipeline, l->next.epoch, l->next.index, slot,
                                             spread, l, &l->cancel, &l->error))
        return NULL;
    l->next = after(l, l->next);
    return &slot->batch;
}

/* The oldest batch of the ring; the one held until now goes back to the thread. */
static const kd_batch *take(kd_loader *l, kdi_failure *error)
{
    const kd_batch *batch = NULL;
    pthread_mutex_lock(&l->mutex);
    if (l->held) {
        l->held = false;
        pthread_cond_signal(&l->work);
    }
    while (!l->ready && !l->error.status) pthread_cond_wait(&l->news, &l->mutex);
    if (l->ready) {
        batch = &l->slots[l->oldest].batch;
        l->oldest = (l->oldest + 1) % l->n_slots;
        l->ready--;
        l->held = true;
    } else {
        *error = l->error;
    }
    pthread_mutex_unlock(&l->mutex);
    return batch;
}

kd_status kd_loader_next(kd_loader *l, const kd_batch **batch)
{
    if (batch) *batch = NULL;
    if (!l) return KD_E_INVALID;
    if (!batch) return kd_ctx_fail(l->ctx, KD_E_INVALID, "kd_loader_next: NULL");
    kd_status status = check_process(l);
    if (!status) status = kd_ctx_check_cancel(l->ctx);
    if (status) return status;
    const double since = kd_seconds();
    kdi_failure error = {0};
    *batch = l->threaded ? take(l, &error) : make_now(l);
    l->waited += kd_seconds() - since;
    if (*batch) tell_skipped(l, *batch);
    return *batch ? KD_OK : fail(l, l->threaded ? &error : &l->error);
}

kd_status kd_loader_seek(kd_loader *l, size_t epoch, size_t index)
{
    if (!l) return KD_E_INVALID;
    kd_status status = check_process(l);
    if (status) return status;
    if (epoch > INT32_MAX || index > l->pipeline.batches)
        return kd_ctx_fail(l->ctx, KD_E_INVALID,
                           "loader of '%s': there is no batch %zu in epoch %zu (%zu in an epoch)",
                           l->pipeline.data->info.name, index, epoch, l->pipeline.batches);
    const place wanted =
        index < l->pipeline.batches ? (place){epoch, index} : (place){epoch + 1, 0};
    if (l->threaded) {
        pthread_mutex_lock(&l->mutex);
        atomic_store(&l->cancel, true);
        while (l->busy) pthread_cond_wait(&l->news, &l->mutex);
        l->ready = 0;
        l->held = false;
        l->error.status = KD_OK;
        l->next = wanted;
        atomic_store(&l->cancel, false);
        pthread_cond_signal(&l->work);
        pthread_mutex_unlock(&l->mutex);
    } else {
        l->error.status = KD_OK;
        l->next = wanted;
    }
    return KD_OK;
}

int kd_loader_canvas(const kd_loader *l, size_t *height, size_t *width)
{
    if (height) *height = l ? l->pipeline.canvas.h : 0;
    if (width) *width = l ? l->pipeline.canvas.w : 0;
    return l && l->pipeline.augmentation.framing.kind;
}

size_t kd_loader_batches(const kd_loader *l)
{
    return l ? l->pipeline.batches : 0;
}

int kd_loader_mixes(const kd_loader *l)
{
    return l && l->pipeline.mixes;
}

int kd_loader_draws(const kd_loader *l)
{
    return l && l->pipeline.augmentation.random;
}

size_t kd_loader_samples(const kd_loader *l)
{
    return l ? l->pipeline.samples : 0;
}

const char *kd_loader_augment(const kd_loader *l)
{
    return l ? l->pipeline.augmentation.text : NULL;
}

double kd_loader_seconds_waited(const kd_loader *l)
{
    return l ? l->waited : 0;
}
