/* SPDX-License-Identifier: MIT
 * test_follow.c: whole runs, and kd_train_step, against the reference trainer: the lines of
 * follow_lines.c, which have every option of the table in kd/options.h. */
#include "follow.h"

#include <stdlib.h>
#include <string.h>

/* ---- the table of options -------------------------------------------------------------------- */

static double value_of(const follow_line *line, const kd_option *o)
{
    return kd_option_get(o, o->of == KD_OF_TRAIN ? (const void *)&line->train
                                                 : (const void *)&line->distill);
}

static bool some_line_has(const kd_option *o, double value)
{
    for (size_t i = 0; i < follow_line_count; i++)
        if (value_of(&follow_lines[i], o) == value) return true;
    return false;
}

static bool some_line_sets(const kd_option *o)
{
    for (size_t i = 0; i < follow_line_count; i++)
        if (value_of(&follow_lines[i], o) > 0) return true;
    return false;
}

/* By the clock: tests/train/test_train.c has runs with a budget. */
static bool elsewhere(const kd_option *o)
{
    return !strcmp(o->name, "budget_seconds");
}

/* Every option that changes what is computed is in a line: each choice of it, and KD_OFF where that
 * is allowed. */
START_TEST(test_every_option)
{
    const kd_option *o;
    for (size_t i = 0; (o = kd_option_at(i)); i++) {
        if (!(o->flags & (KD_CHANGES_RESULT | KD_READ_BY_STEP)) || elsewhere(o)) continue;
        if (o->type == KD_OPTION_CHOICE) {
            for (int k = 0; o->choice(k); k++)
                ck_assert_msg(some_line_has(o, k), "no line has %s %s", o->name, o->choice(k));
            continue;
        }
        ck_assert_msg(some_line_sets(o), "no line sets %s", o->name);
        if (!(o->flags & KD_CAN_BE_OFF) && o->standard[0] != 1) continue;
        if (o->type != KD_OPTION_FLAG && !(o->flags & KD_CAN_BE_OFF)) continue;
        ck_assert_msg(some_line_has(o, (double)KD_OFF), "no line switches %s off", o->name);
    }
}
END_TEST

/* KD_FOLLOW=NAME: that line alone. */
START_TEST(test_lines)
{
    const char *only = getenv("KD_FOLLOW");
    for (size_t i = 0; i < follow_line_count; i++)
        if (!only || !*only || !strcmp(only, follow_lines[i].name)) follow(&follow_lines[i]);
}
END_TEST

/* Every third line, and those whose runs carry more from step to step than weights and momentum. */
static bool carries_more(const follow_line *l)
{
    return l->train.ema > 0 || l->train.keep || l->train.optimizer == KD_OPTIMIZER_ADAMW ||
           l->train.log_steps || l->distill.dkd_warmup > 0;
}

START_TEST(test_stopped)
{
    for (size_t i = 0; i < follow_line_count; i++)
        if (!follow_lines[i].bad_step && (i % 3 == 0 || carries_more(&follow_lines[i])))
            follow_stopped(&follow_lines[i]);
}
END_TEST

START_TEST(test_steps)
{
    for (size_t i = 0; i < follow_line_count; i++) follow_step(&follow_lines[i]);
}
END_TEST

TEST_SUITE(follow, 120, &test_every_option, &test_lines, &test_stopped, &test_steps)
