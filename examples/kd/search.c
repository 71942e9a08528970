/* SPDX-License-Identifier: MIT
 * search.c: kd search: the most accurate student within limits. Networks of a space are held against
 * the limits first, without training. Some of those that are within are drawn as candidates. All of
 * them train a ninth of their epochs, the better third goes on to a third of the epochs, and the
 * better third of these to the end (successive halving, Jamieson and Talwalkar 2016). Each has the
 * schedule of a whole run, which is stopped and resumed. The development split ranks them. */
#include "search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int check_usage(const cli_args *a)
{
    const bool limited =
        a->limit_latency > 0 || a->limit_memory || a->limit_macs > 0 || a->limit_flash;
    if (!a->train.out && !a->dry_run) return cli_usage("search", "--out DIR is missing");
    if (!cli_taught(a)) return cli_usage("search", "--teacher FILE is missing");
    if (!limited)
        return cli_usage("search", "a limit is missing: --max-macs, --max-flash, --max-memory or "
                                   "--max-latency");
    if (a->distill.feature) return cli_usage("search", "--feature: %s", search_no_feature);
    return CLI_DONE;
}

/* What there is to choose on: as typed, else a tenth of the training pictures, at most 5000. */
static int open_data(search *s)
{
    const cli_args *a = s->args;
    const int status = cli_open_data(a, s->ctx, &s->data);
    if (status) return status;
    const kd_data_info *info = kd_dataset_info(s->data);
    const size_t all = info->count[KD_SPLIT_TRAIN], tenth = all / 10 < 5000 ? all / 10 : 5000;
    if (info->unlabelled) return cli_fail("%s has no labels to choose by", a->data);
    s->dev_count = a->train.dev_count ? a->train.dev_count : tenth;
    if (s->dev_count == 0 || s->dev_count >= all)
        return cli_fail("%s: a development split of %zu of %zu pictures leaves nothing to train or "
                        "to choose by",
                        a->data, s->dev_count, all);
    const size_t batch = a->train.batch ? a->train.batch : 128;
    s->steps = (all - s->dev_count + batch - 1) / batch;
    return CLI_DONE;
}

/* A ninth of the epochs, a third, all; each once. */
static void set_rungs(search *s)
{
    kd_train_opt t = s->args->train;
    kd_train_defaults(&t, NULL);
    s->epochs = t.epochs;
    const size_t at[SEARCH_RUNGS] = {(s->epochs + 8) / 9, (s->epochs + 2) / 3, s->epochs};
    for (size_t i = 0; i < SEARCH_RUNGS; i++)
        if (!s->n_rungs || at[i] > s->rung[s->n_rungs - 1]) s->rung[s->n_rungs++] = at[i];
}

/* Candidates that are new. */
static int choose(search *s)
{
    int status = search_read_space(s);
    if (!status) status = search_sieve_networks(s);
    if (!status) status = search_draw(s);
    if (!status) status = search_check(s);
    if (!status) status = search_estimate(s);
    return status;
}

static int begin(search *s)
{
    bool found = false;
    set_rungs(s);
    int status = open_data(s);
    if (!status && !s->args->dry_run) status = search_read_plan(s, &found);
    if (!status && !found) status = choose(s);
    if (!status && !found && !s->args->dry_run) status = search_write_plan(s);
    return status;
}

static void release(search *s)
{
    if (!s->ctx) return;
    for (size_t i = 0; s->networks && i < s->n_networks; i++)
        kd_ctx_free(s->ctx, s->networks[i].spec);
    kd_ctx_free(s->ctx, s->networks);
    kd_ctx_free(s->ctx, s->points);
    kd_ctx_free(s->ctx, s->candidates);
    kd_ctx_free(s->ctx, s->order);
    kd_ctx_free(s->ctx, s->space);
    cli_close_data(s->data);
    kd_ctx_destroy(s->ctx);
}

int cmd_search(cli_args *args)
{
    search s = {.args = args, .started = kd_seconds()};
    int status = check_usage(args);
    if (status) return status;
    cli_catch_signals();
    status = cli_open_ctx(args, &s.ctx);
    if (!status) status = begin(&s);
    if (status == CLI_INTERRUPTED) cli_fail("interrupted before anything was trained");
    if (!status && args->dry_run) status = search_print_plan(&s);
    if (!status && !args->dry_run) {
        cli_close_data(s.data); /* each rung opens it for itself */
        s.data = NULL;
        status = search_run(&s);
        if (!status) status = search_print(&s);
    }
    release(&s);
    return status;
}
