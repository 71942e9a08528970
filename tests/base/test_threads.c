/* SPDX-License-Identifier: MIT
 * test_threads.c: loops find the threads they are for and wake no others; those that are awake cost
 * no system call; how many threads a process gets. */
#include "../test.h"

#include "../../lib/base/processors.h"
#include "../../lib/base/threads.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { MEMBERS = 8 };

/* ---- a team's members ------------------------------------------------------------------------ */

/* The C library's stands behind this one, which counts: the team asks before it wakes somebody. */
static atomic_long asked;

pid_t getpid(void)
{
    atomic_fetch_add(&asked, 1);
    return (pid_t)syscall(SYS_getpid);
}

typedef struct served {
    kdi_team team;
    pthread_t threads[MEMBERS + 1];
    struct one {
        kdi_team *team;
        int worker;
    } ones[MEMBERS + 1];
} served;

static void *serve(void *arg)
{
    const struct one *me = arg;
    kdi_team_serve(me->team, me->worker);
    return NULL;
}

static void begin(served *s)
{
    kdi_team_init(&s->team);
    for (int w = 1; w <= MEMBERS; w++) {
        s->ones[w] = (struct one){&s->team, w};
        ck_assert_int_eq(pthread_create(&s->threads[w], NULL, serve, &s->ones[w]), 0);
    }
}

static void end(served *s)
{
    kdi_team_dismiss(&s->team);
    for (int w = 1; w <= MEMBERS; w++) pthread_join(s->threads[w], NULL);
    kdi_team_clear(&s->team);
}

/* Wait until the groups of members in the mask are asleep, and no others. */
static void until_asleep(kdi_team *t, unsigned mask)
{
    for (int i = 0; atomic_load(&t->asleep) != mask; i++) {
        ck_assert_msg(i < 20000, "asleep are the groups %x, not %x", atomic_load(&t->asleep), mask);
        usleep(500);
    }
}

typedef struct meeting {
    int width; /* who come; each waits for all */
    atomic_int came;
    atomic_int seen[MEMBERS + 1];
} meeting;

static void meet(void *arg, int worker)
{
    meeting *m = arg;
    atomic_fetch_add(&m->seen[worker], 1);
    atomic_fetch_add(&m->came, 1);
    for (int i = 0; atomic_load(&m->came) < m->width; i++) {
        ck_assert_msg(i < 20000, "%d of %d came", atomic_load(&m->came), m->width);
        usleep(500);
    }
}

/* Members 1 | 2, 3 | 4 to 7 | 8 wake together: a loop of two wakes one, of three the first three. */
START_TEST(test_a_loop_wakes_whom_it_is_for)
{
    static const struct {
        int width;
        unsigned still; /* groups that sleep on */
    } cases[] = {{2, 0xE}, {3, 0xC}, {4, 0xC}, {5, 0x8}, {8, 0x8}, {9, 0}};
    static served s;
    begin(&s);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        static meeting m;
        memset(&m, 0, sizeof m);
        m.width = cases[c].width;
        usleep(20000);
        until_asleep(&s.team, 0xF);
        ck_assert(kdi_team_run(&s.team, m.width, meet, &m));
        ck_assert_uint_eq(atomic_load(&s.team.asleep) & cases[c].still, cases[c].still);
        for (int w = 0; w <= MEMBERS; w++) ck_assert_int_eq(atomic_load(&m.seen[w]), w < m.width);
    }
    end(&s);
}
END_TEST

static void nothing(void *arg, int worker)
{
    (void)arg;
    (void)worker;
}

/* However often a loop comes, those who sleep are woken once: no more system calls than wakings. */
START_TEST(test_a_loop_makes_no_system_call)
{
    enum { LOOPS = 20000, TRIES = 20 };
    static served s;
    long least = LONG_MAX;
    begin(&s);
    for (int try = 0; try < TRIES && least > LOOPS / 50; try++) {
        const long before = atomic_load(&asked);
        for (int i = 0; i < LOOPS; i++) ck_assert(kdi_team_run(&s.team, 3, nothing, NULL));
        const long calls = atomic_load(&asked) - before;
        if (calls < least) least = calls;
    }
    ck_assert_msg(least <= LOOPS / 50, "%ld system calls in %d loops", least, LOOPS);
    end(&s);
}
END_TEST

static void offer_again(void *arg, int worker)
{
    (void)worker;
    ck_assert(!kdi_team_run(arg, 2, nothing, NULL));
}

START_TEST(test_one_loop_at_a_time)
{
    static served s;
    begin(&s);
    ck_assert(kdi_team_run(&s.team, 2, offer_again, &s.team));
    ck_assert(kdi_team_run(&s.team, MEMBERS + 1, offer_again, &s.team));
    end(&s);
}
END_TEST

/* A loop lives on its caller's stack: whoever came has left, and what was written is seen. */
typedef struct tally {
    int width;
    size_t number;
    size_t wrote[MEMBERS + 1]; /* not atomic: the team orders it */
} tally;

static void write_number(void *arg, int worker)
{
    tally *l = arg;
    ck_assert_int_lt(worker, l->width);
    ck_assert_uint_eq(l->wrote[worker], 0);
    l->wrote[worker] = l->number;
}

typedef struct offerer {
    kdi_team *team;
    unsigned seed;
    size_t loops; /* that the team took */
} offerer;

/* Loops of every width, with pauses in some places that let members fall asleep. */
static void *offer_loops(void *arg)
{
    enum { LOOPS = 20000, PAUSE = 500 };
    offerer *me = arg;
    for (size_t i = 1; i <= LOOPS; i++) {
        me->seed = me->seed * 1103515245u + 12345u;
        tally l = {.width = 2 + (int)(me->seed >> 16) % MEMBERS, .number = i};
        const bool ran = kdi_team_run(me->team, l.width, write_number, &l);
        me->loops += ran;
        ck_assert_uint_eq(l.wrote[0], ran ? i : 0);
        for (int w = 1; w <= MEMBERS; w++) ck_assert(!l.wrote[w] || (ran && l.wrote[w] == i));
        if (i % PAUSE == 0) usleep(300);
    }
    return NULL;
}

START_TEST(test_loops_end_whole)
{
    static served s;
    begin(&s);
    offerer one = {&s.team, 1, 0}, other = {&s.team, 2, 0};
    pthread_t beside;
    ck_assert_int_eq(pthread_create(&beside, NULL, offer_loops, &other), 0);
    offer_loops(&one);
    pthread_join(beside, NULL);
    ck_assert_uint_gt(one.loops, 0);
    ck_assert_uint_gt(other.loops, 0);
    end(&s);
}
END_TEST

/* Threads come and go, used or not. */
START_TEST(test_threads_come_and_go)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    for (int i = 0; i < 40; i++) {
        kdi_threads *t = kdi_threads_create(ctx, 2 + i % 3);
        ck_assert_ptr_nonnull(t);
        static meeting m;
        memset(&m, 0, sizeof m);
        m.width = 2 + i % 3;
        if (i % 4) ck_assert(kdi_threads_run(t, m.width, meet, &m));
        kdi_threads_destroy(ctx, t);
    }
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- how many -------------------------------------------------------------------------------- */

static void put(const char *root, const char *path, const char *text)
{
    char at[700];
    ck_assert_int_lt(snprintf(at, sizeof at, "%s/%s", root, path), (int)sizeof at);
    for (char *slash = at + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        mkdir(at, 0700);
    }
    FILE *f = fopen(at, "w");
    ck_assert_msg(f != NULL, "%s", at);
    fputs(text, f);
    fclose(f);
}

static const char *tree(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    mkdir(path, 0700);
    return path;
}

START_TEST(test_quota)
{
    static const struct {
        const char *name, *group; /* of /proc/self/cgroup */
        const char *files[4][2];
        int quota;
    } cases[] = {
        {"none", NULL, {{0}}, INT_MAX},
        {"empty", "", {{0}}, INT_MAX},
        {"nonsense", "cpu\n:\n::\n0:\n4:cpu\n", {{0}}, INT_MAX},
        {"max", "0::/a\n", {{"sys/fs/cgroup/a/cpu.max", "max 100000\n"}}, INT_MAX},
        {"two", "0::/a\n", {{"sys/fs/cgroup/a/cpu.max", "200000 100000\n"}}, 2},
        {"part", "0::/a/b\n", {{"sys/fs/cgroup/a/b/cpu.max", "50000 100000\n"}}, 1},
        {"more", "0::/a/b\n", {{"sys/fs/cgroup/a/b/cpu.max", "150000 100000\n"}}, 2},
        {"above",
         "0::/a/b\n",
         {{"sys/fs/cgroup/a/b/cpu.max", "800000 100000\n"},
          {"sys/fs/cgroup/a/cpu.max", "300000 100000\n"}},
         3},
        /* a container sees its own group as the root, whatever it is called outside */
        {"inside", "0::/pod/one\n", {{"sys/fs/cgroup/cpu.max", "400000 100000\n"}}, 4},
        {"hybrid",
         "4:cpu,cpuacct:/x\n3:cpuset:/y\n0::/z\n",
         {{"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "250000\n"},
          {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "50000\n"},
          {"sys/fs/cgroup/unified/z/cpu.max", "max 100000\n"}},
         5},
        {"first",
         "2:cpuacct:/x\n1:cpu:/x/y\n",
         {{"sys/fs/cgroup/cpu/x/y/cpu.cfs_quota_us", "-1\n"},
          {"sys/fs/cgroup/cpu/x/y/cpu.cfs_period_us", "100000\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "600000\n"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n"}},
         6},
        {"zero", "0::/a\n", {{"sys/fs/cgroup/a/cpu.max", "100000 0\n"}}, INT_MAX},
        {"short", "0::/a\n", {{"sys/fs/cgroup/a/cpu.max", "100000"}}, INT_MAX},
        {"huge", "0::/a\n", {{"sys/fs/cgroup/a/cpu.max", "9223372036854775807 1\n"}}, INT_MAX},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const char *root = tree(cases[c].name);
        if (cases[c].group) put(root, "proc/self/cgroup", cases[c].group);
        for (size_t f = 0; f < 4 && cases[c].files[f][0]; f++)
            put(root, cases[c].files[f][0], cases[c].files[f][1]);
        const int quota = kdi_processors_quota(root);
        ck_assert_msg(quota == cases[c].quota, "%s: %d", cases[c].name, quota);
    }
    /* a group whose name is longer than any path */
    static char line[9000];
    memset(line, 'a', sizeof line - 1);
    memcpy(line, "0::/", 4);
    put(tree("long"), "proc/self/cgroup", line);
    ck_assert_int_eq(kdi_processors_quota(tree("long")), INT_MAX);
}
END_TEST

/* The default: what OpenMP was told, else the processors within the quota. */
START_TEST(test_default_number)
{
    const int quota = kdi_processors_quota("");
    kd_ctx *ctx = test_ctx(0, NULL);
    if (strstr(kd_build_info(), "threads=none")) {
        ck_assert_int_eq(kd_ctx_threads(ctx), 1);
    } else {
#ifdef _OPENMP
        const int processors = omp_get_num_procs(), said = omp_get_max_threads();
        const int want = said != processors ? said : quota < processors ? quota : processors;
        ck_assert_int_eq(kd_ctx_threads(ctx), want);
        omp_set_num_threads(processors + 3);
        kd_ctx_destroy(ctx);
        ctx = test_ctx(0, NULL);
        ck_assert_int_eq(kd_ctx_threads(ctx), processors + 3);
        kd_ctx_destroy(ctx);
        ctx = test_ctx(2, NULL);
        ck_assert_int_eq(kd_ctx_threads(ctx), 2);
        omp_set_num_threads(said);
#else
        const int processors = kdi_processors();
        ck_assert_int_eq(kd_ctx_threads(ctx), quota < processors ? quota : processors);
#endif
    }
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(threads, 60, &test_a_loop_wakes_whom_it_is_for, &test_a_loop_makes_no_system_call,
           &test_one_loop_at_a_time, &test_loops_end_whole, &test_threads_come_and_go, &test_quota,
           &test_default_number)
