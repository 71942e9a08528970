/* SPDX-License-Identifier: MIT
 * test_failing.c: every public call that can fail survives the failure of each of its allocations,
 * and a limit on memory set anywhere below its need. It returns a status and says why, nothing is
 * leaked, and the same call succeeds right after. The headers are read to see that no call is left out. */
#include "calls.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/base/ctx.h"

/* ---- each allocation failing ----------------------------------------------------------------- */

static void check_calm(const world *w, const char *names, long n, long live, size_t held)
{
    ck_assert_msg(w->heap.live == live, "%s: allocation %ld fails: %ld blocks leak", names, n,
                  w->heap.live - live);
    ck_assert_msg(kd_ctx_memory(w->ctx) == held, "%s: allocation %ld fails: %zu bytes, not %zu",
                  names, n, kd_ctx_memory(w->ctx), held);
}

START_TEST(test_each_allocation_failing)
{
    static world w;
    calls_make(&w);
    const call *c;
    for (size_t i = 0; (c = calls_at(i)) != NULL; i++) {
        const char *names = c->names;
        test_ok(w.ctx, c->call(&w));
        const long live = w.heap.live;
        const size_t held = kd_ctx_memory(w.ctx);
        for (long n = 1;; n++) {
            w.heap.count = 0;
            w.heap.fail_at = n;
            const kd_status status = c->call(&w);
            w.heap.fail_at = 0;
            const bool failed = w.heap.count >= n;
            check_calm(&w, names, n, live, held);
            if (!failed) {
                ck_assert_msg(!status, "%s: %s", names, kd_ctx_error(w.ctx));
                break;
            }
            ck_assert_msg(status == KD_E_NOMEM, "%s: allocation %ld fails: %s", names, n,
                          kd_status_name(status));
            ck_assert_msg(strstr(kd_ctx_error(w.ctx), "out of memory: ") != NULL,
                          "%s: allocation %ld fails: '%s'", names, n, kd_ctx_error(w.ctx));
            kd_ctx_fail(w.ctx, KD_E_NOMEM, "what failed before");
        }
        test_ok(w.ctx, c->call(&w)); /* usable as before */
    }
    calls_free(&w);
}
END_TEST

/* ---- a limit on memory ----------------------------------------------------------------------- */

START_TEST(test_limits)
{
    static world w;
    calls_make(&w);
    const call *c;
    for (size_t i = 0; (c = calls_at(i)) != NULL; i++) {
        const char *names = c->names;
        test_ok(w.ctx, c->call(&w));
        const long live = w.heap.live;
        const size_t held = kd_ctx_memory(w.ctx);
        for (size_t more = 1;; more += 1 + more / 2) {
            size_t limit, says_held, says_needed, says_all;
            atomic_store(&w.ctx->peak, held);
            w.ctx->config.max_memory = held + more;
            const kd_status status = c->call(&w);
            w.ctx->config.max_memory = 0;
            check_calm(&w, names, (long)more, live, held);
            ck_assert_uint_le(kd_ctx_memory_peak(w.ctx), held + more);
            if (!status) break;
            ck_assert_msg(status == KD_E_LIMIT, "%s: %s", names, kd_status_name(status));
            const char *said = kd_ctx_error(w.ctx); /* of several students it names one first */
            if (!strncmp(said, "student ", 8)) said = strchr(said, ':') + 2;
            ck_assert_msg(sscanf(said,
                                 "memory limit of %zu bytes: %zu are held and %zu more are needed "
                                 "(%zu in all)",
                                 &limit, &says_held, &says_needed, &says_all) == 4,
                          "%s: %s", names, kd_ctx_error(w.ctx));
            ck_assert_uint_eq(limit, held + more);
            ck_assert_uint_eq(says_held + says_needed, says_all);
            ck_assert_uint_gt(says_all, limit);
            kd_ctx_fail(w.ctx, KD_E_NOMEM, "what failed before");
        }
    }
    calls_free(&w);
}
END_TEST

/* ---- contexts, threads ----------------------------------------------------------------------- */

/* The context itself, and an executor that starts its threads. */
START_TEST(test_contexts)
{
    for (long n = 1;; n++) {
        test_heap heap = {.fail_at = n};
        kd_model *m = NULL;
        kd_plan *plan;
        kd_exec *exec;
        kd_ctx *ctx = test_ctx_counting(&heap, 3);
        kd_status status = ctx ? KD_OK : KD_E_NOMEM;
        if (!status) status = kd_model_create(ctx, calls_spec, 1, &m);
        if (!status) status = kd_model_plan(m, 2, &plan, &exec);
        if (!status) {
            kd_exec_destroy(exec);
            kd_plan_destroy(plan);
        }
        kd_model_destroy(m);
        kd_ctx_destroy(ctx);
        ck_assert_msg(heap.live == 0, "allocation %ld fails: %ld blocks leak", n, heap.live);
        ck_assert_int_eq(status, heap.count >= n ? KD_E_NOMEM : KD_OK);
        if (!status) break;
    }
}
END_TEST

/* ---- nothing left out ------------------------------------------------------------------------ */

static bool listed(const char *name, size_t length)
{
    const call *c;
    for (size_t i = 0; (c = calls_at(i)) != NULL; i++)
        for (const char *at = c->names; (at = strstr(at, name)) != NULL; at += length)
            if ((at == c->names || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
                return true;
    return false;
}

/* kd_ctx_create has a test of its own. The others write down what failed, or copy. */
static bool allocates_nothing(const char *name)
{
    static const char *const names[] = {
        "kd_ctx_called",    "kd_ctx_check_cancel", "kd_ctx_create",
        "kd_ctx_fail",      "kd_graph_fail",       "kd_options",
        "kd_options_check", "kd_results_check",    "kd_ctx_memory_status"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

/* Every call that returns a status or a value is in the table. */
static size_t check_header(const char *path)
{
    static const char *const kinds[] = {"KD_API kd_status ", "KD_API kd_value "};
    char line[512];
    size_t found = 0;
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    while (fgets(line, sizeof line, f))
        for (int k = 0; k < 2; k++) {
            if (strncmp(line, kinds[k], strlen(kinds[k]))) continue;
            char *name = line + strlen(kinds[k]);
            const size_t length = strcspn(name, "(");
            name[length] = 0;
            found++;
            ck_assert_msg(listed(name, length) || allocates_nothing(name),
                          "%s is tested with no failing allocation", name);
        }
    fclose(f);
    return found;
}

START_TEST(test_no_call_is_left_out)
{
    DIR *folder = opendir("include/kd");
    size_t found = 0;
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        char path[300];
        snprintf(path, sizeof path, "include/kd/%s", e->d_name);
        if (strstr(e->d_name, ".h")) found += check_header(path);
    }
    closedir(folder);
    ck_assert_uint_gt(found, 70);
}
END_TEST

TEST_SUITE(failing, 120, &test_each_allocation_failing, &test_limits, &test_contexts,
           &test_no_call_is_left_out)
