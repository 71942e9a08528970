/* SPDX-License-Identifier: MIT
 * test_cli_search.c: kd search from the outside: what it says a network costs is what kd profile and
 * kd export say; who goes on is who was better on the development split; a search that was killed
 * ends as one that was left alone. */
#include "made.h"
#include "typed.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DATA "synthetic:train=200,test=24,image=16,classes=4"
#define LIMITS "--max-macs 6e5 --max-flash 16K"
#define COMMON "--data " DATA " --batch 32 --epochs 9 --seed 3 --candidates 6 " LIMITS " --int8"

static void make_teacher(void)
{
    typed(0,
          "train vgg4_bn,width=0.25 --data %s --batch 16 --epochs 2 --quiet --overwrite --out %s",
          DATA, typed_at("teacher"));
}

static kd_json_object *object_of(kd_ctx *ctx, const char *text, size_t size)
{
    kd_json_object *o;
    test_ok(ctx, kd_json_parse(ctx, text, size, &o));
    return o;
}

static double number(const kd_json_object *o, const char *key)
{
    double value = (double)NAN;
    kd_json_get_number(o, key, &value);
    return value;
}

/* What the last command printed as JSON: a number of it. */
static double said(kd_ctx *ctx, const char *key)
{
    static char text[TEST_MAX_TEXT];
    const size_t n = test_slurp(typed_at("said"), text);
    kd_json_object *o = object_of(ctx, text, n);
    const double value = number(o, key);
    kd_json_object_destroy(o);
    return value;
}

enum { MOST = 8, RUNGS = 3 };
typedef struct line {
    char name[16], spec[400], options[200];
    double macs, params, flash, memory, epochs, dev[RUNGS], top1;
} line;

/* search.jsonl, in its order. */
static size_t read_record(kd_ctx *ctx, const char *folder, line *lines)
{
    static char text[TEST_MAX_TEXT];
    test_slurp(test_at(typed_at(folder), "search.jsonl").text, text);
    size_t n = 0;
    for (char *from = text; *from && n < MOST; n++) {
        char *end = from + strcspn(from, "\n");
        kd_json_object *o = object_of(ctx, from, (size_t)(end - from)), *element;
        line *l = &lines[n];
        *l = (line){.macs = number(o, "macs"),
                    .params = number(o, "params"),
                    .flash = number(o, "flash_bytes"),
                    .memory = number(o, "memory_bytes"),
                    .epochs = number(o, "epochs"),
                    .top1 = number(o, "top1")};
        snprintf(l->name, sizeof l->name, "%s", kd_json_get_string(o, "name"));
        snprintf(l->spec, sizeof l->spec, "%s", kd_json_get_string(o, "spec"));
        snprintf(l->options, sizeof l->options, "%s", kd_json_get_string(o, "options"));
        for (size_t r = 0; r < RUNGS; r++) {
            test_ok(ctx, kd_json_get_element(o, "dev_top1", r, &element));
            l->dev[r] = number(element, "value");
            kd_json_object_destroy(element);
        }
        kd_json_object_destroy(o);
        from = end + (*end == '\n');
    }
    return n;
}

static bool same_number(double a, double b)
{
    return (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a);
}

static void same_record(kd_ctx *ctx, const char *one, const char *other)
{
    line a[MOST], b[MOST];
    const size_t n = read_record(ctx, one, a), m = read_record(ctx, other, b);
    ck_assert_uint_eq(n, m);
    for (size_t i = 0; i < n; i++) {
        ck_assert_str_eq(a[i].name, b[i].name);
        ck_assert_str_eq(a[i].spec, b[i].spec);
        ck_assert_str_eq(a[i].options, b[i].options);
        ck_assert(same_number(a[i].epochs, b[i].epochs) && same_number(a[i].top1, b[i].top1));
        for (size_t r = 0; r < RUNGS; r++) ck_assert(same_number(a[i].dev[r], b[i].dev[r]));
    }
}

/* Costs are those of kd profile and of the blob that is written. */
static void check_costs(kd_ctx *ctx, const line *best)
{
    typed(0, "profile %s --seconds 0 --json", best->spec);
    ck_assert(same_number(said(ctx, "macs"), best->macs));
    ck_assert(same_number(said(ctx, "params"), best->params));
    typed(0, "export %s --edge %s --int8 --calibrate %s --calibrate-count 16 --compare-count 16",
          typed_at("found/best"), typed_at("best.kde"), DATA);
    FILE *f = fopen(typed_at("best.kde"), "rb");
    ck_assert(f && !fseek(f, 0, SEEK_END));
    ck_assert_uint_eq((size_t)ftell(f), (size_t)best->flash);
    fclose(f);
    typed(0, "profile %s --seconds 0 --json", typed_at("best.kde"));
    ck_assert(same_number(said(ctx, "arena_bytes"), best->memory));
}

/* After 1 of 9 epochs the better third of 6 goes on to 3, and of these one to the end. */
static void check_ranks(const line *lines, size_t n)
{
    static const double epochs[] = {9, 3, 1, 1, 1, 1};
    ck_assert_uint_eq(n, 6);
    for (size_t i = 0; i < n; i++) {
        ck_assert(same_number(lines[i].epochs, epochs[i]));
        ck_assert(lines[i].macs <= 6e5 && lines[i].flash <= 16384);
        ck_assert(isnan(lines[i].top1) == (i > 0));
        for (size_t k = i + 1; k < n; k++) {
            ck_assert(i > 1 || k < 2 || lines[i].dev[0] >= lines[k].dev[0]);
            ck_assert(strcmp(lines[i].name, lines[k].name));
        }
    }
    ck_assert(lines[0].dev[1] >= lines[1].dev[1]);
}

START_TEST(test_search)
{
    line lines[MOST];
    kd_ctx *ctx = test_ctx(1, NULL);
    make_teacher();
    typed(0, "search --teacher %s " COMMON " --dry-run --json", typed_at("teacher"));
    typed_says("said", "\"within\":");
    ck_assert(access(typed_at("found"), F_OK) != 0);
    typed(0, "search --teacher %s " COMMON " --out %s --quiet", typed_at("teacher"),
          typed_at("found"));
    check_ranks(lines, read_record(ctx, "found", lines));
    check_costs(ctx, &lines[0]);
    typed(0, "eval %s --data %s --json", typed_at("found/best"), DATA);
    ck_assert(same_number(said(ctx, "top1"), lines[0].top1));
    typed(0, "rerun %s --check --quiet", typed_at("found/best"));
    typed(0, "cache info %s --json", typed_at("found/cache"));
    typed_says("said", "\"epochs\":9,\"unfinished\":0,\"damaged\":0");
    typed(1, "search --teacher %s " COMMON " --out %s --quiet", typed_at("teacher"),
          typed_at("found"));
    typed_says("errors", "is there already, of an earlier search");
    typed(1, "search --teacher %s " COMMON " --lr 0.2 --out %s --resume", typed_at("teacher"),
          typed_at("found"));
    typed_says("errors", "is of a search with other options");
    typed(0, "search --teacher %s " COMMON " --out %s --resume --json", typed_at("teacher"),
          typed_at("found"));
    ck_assert(same_number(said(ctx, "top1"), lines[0].top1));
    kd_ctx_destroy(ctx);
}
END_TEST

/* Killed at moments that are spread over the search; each part goes on from the one before. */
START_TEST(test_killed)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    const test_path kd = test_bin("kd");
    char teacher[600], out[600];
    make_teacher();
    snprintf(teacher, sizeof teacher, "%s", typed_at("teacher"));
    snprintf(out, sizeof out, "%s", typed_at("killed"));
    const double start = kd_seconds();
    typed(0, "search --teacher %s " COMMON " --out %s --quiet", teacher, typed_at("alone"));
    const double whole = kd_seconds() - start;
    for (int i = 0; i < 4; i++) {
        const double wait = whole * (.2 + .2 * i);
        const struct timespec t = {(time_t)wait, (long)(1e9 * (wait - floor(wait)))};
        const pid_t pid = test_start(
            TEST_WORDS(kd.text, "search", "--teacher", teacher, "--data", DATA, "--batch", "32",
                       "--epochs", "9", "--seed", "3", "--candidates", "6", "--max-macs", "6e5",
                       "--max-flash", "16K", "--int8", "--out", out, "--quiet", "--resume"),
            NULL, NULL);
        nanosleep(&t, NULL);
        kill(pid, SIGKILL);
        test_wait(pid);
    }
    typed(0, "search --teacher %s " COMMON " --out %s --quiet --resume", teacher, out);
    same_record(ctx, "alone", "killed");
    typed(0, "eval %s %s --data %s", typed_at("alone/best"), typed_at("killed/best"), DATA);
    kd_ctx_destroy(ctx);
}
END_TEST

/* Families with keys of their own, other sizes of pictures, options; latency as a limit. */
START_TEST(test_space)
{
    make_teacher();
    typed_put(
        typed_at("space.json"),
        "{\"specs\": [\"vgg8_bn\", \"vit_tiny_patch16_224,depth=1,heads=2,mlp_ratio=1\"],\n"
        " \"keys\": {\"convs\": [\"1-1\", \"1-1-1\"], \"stages\": [\"4x2\", \"8-8\"], \"image\": "
        "[16, 12],\n"
        "  \"patch\": [4], \"dim\": [8, 16]}, \"options\": {\"temperature\": [2], \"soft\": [0.5, "
        "1]}}");
    typed(0,
          "search --teacher %s --data %s --batch 64 --epochs 1 --candidates 5 --space %s "
          "--max-latency 1000 --out %s --quiet --json",
          typed_at("teacher"), DATA, typed_at("space.json"), typed_at("spaced"));
    typed_says("said", " --temperature=2");
    /* 2 x 3 of VGG (8-8 fits two stages alone), 2 x 2 of ViT */
    typed(0,
          "search --teacher %s --data %s --batch 64 --epochs 1 --space %s --max-macs 1e9 --dry-run",
          typed_at("teacher"), DATA, typed_at("space.json"));
    typed_says("said", "networks    10 of the space, 0 over the MACs");
}
END_TEST

/* A truth is an option with or without its no-; of the underscores the option's own alone change. */
START_TEST(test_options)
{
    make_teacher();
    typed_put(typed_at("options.json"),
              "{\"specs\": [\"vit_tiny_patch16_224,patch=8,dim=8,depth=1,heads=2,mlp_ratio=1\"],\n"
              " \"options\": {\"nesterov\": [true, false], \"optimizer\": [\"sgd\"],\n"
              "  \"min_lr\": [0.0123456789012], \"freeze\": [\"pos_embed\"]}}");
    typed(0,
          "search --teacher %s --data %s --batch 64 --epochs 1 --space %s --max-macs 1e9 "
          "--dry-run --quiet",
          typed_at("teacher"), DATA, typed_at("options.json"));
    typed_says("said", " --freeze=pos_embed --min-lr=0.0123456789012 --nesterov --optimizer=sgd\n");
    typed_says("said",
               " --freeze=pos_embed --min-lr=0.0123456789012 --no-nesterov --optimizer=sgd\n");
}
END_TEST

static size_t lines_in(const char *file)
{
    static char text[TEST_MAX_TEXT];
    size_t n = 0;
    test_slurp(typed_at(file), text);
    for (const char *c = text; *c; c++) n += *c == '\n';
    return n;
}

START_TEST(test_refused)
{
    static const struct {
        const char *space, *words;
    } spaces[] = {
        {"[]", "an object is expected"},
        {"{\"specs\": []}", "specs: it must be a list"},
        {"{\"spec\": [\"vgg2\"]}", "spec: it is none of specs, keys, options"},
        {"{\"specs\": [\"vgg2\"], \"keys\": {\"patch\": [4]}}",
         "patch: none of the specs has this"},
        {"{\"specs\": [\"vgg2\"], \"keys\": {\"width\": 4}}", "width: it has a list of values"},
        {"{\"specs\": [\"vgg99\"]}", "vgg99"},
        {"{\"specs\": [\"vgg2\"], \"options\": {\"seed\": [1]}}", "seed: it is the same for all"},
        {"{\"specs\": [\"vgg2\"], \"options\": {\"feature\": [\"cosine\"]}}",
         "feature: a search keeps the teacher's logits"},
        {"{\"specs\": [\"vgg2\"], \"options\": {\"tempreture\": [1]}}",
         "did you mean --temperature?"},
        {"{\"specs\": [\"vgg2\"], \"keys\": {\"stages\": [\"4x99\"]}}", "a list 16-24-36"},
        {"{\"specs\": [\"vgg8\"], \"keys\": {\"stages\": [\"4x2\"], \"convs\": [\"1 1\"]}}",
         "convs: a value is a number or a word"},
        {"{\"specs\": [\"vgg2\"], \"options\": {\"nesterov\": [[true]]}}",
         "nesterov: a value is a number or a word"},
        {"{\"specs\": [\"vgg2\"], \"options\": {\"lr\": [true]}}", "--lr"},
    };
    make_teacher();
    typed(2, "search --teacher %s --data %s --out %s", typed_at("teacher"), DATA,
          typed_at("never"));
    typed_says("errors", "a limit is missing");
    typed(2, "search --data %s --max-macs 1e6 --out %s", DATA, typed_at("never"));
    typed(2, "search --teacher %s --data %s --max-macs 1e6 --feature at --soft 0.9 --dry-run",
          typed_at("teacher"), DATA);
    typed_says("errors", "--feature: a search keeps the teacher's logits");
    typed(1, "search --teacher %s --data %s --max-macs 1000 --max-flash 10K --int8 --out %s",
          typed_at("teacher"), DATA, typed_at("never"));
    typed_says("errors", "kd: none of the ");
    typed_says("errors", "need more MACs (the least ");
    typed(1, "search --teacher %s --data %s --max-latency 0.0000001 --candidates 2 --out %s",
          typed_at("teacher"), DATA, typed_at("never"));
    typed_says("errors", "need more time (the least ");
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        typed_put(typed_at("bad.json"), spaces[i].space);
        typed(1, "search --teacher %s --data %s --max-macs 1e9 --space %s --out %s --quiet",
              typed_at("teacher"), DATA, typed_at("bad.json"), typed_at("never"));
        typed_says("errors", spaces[i].words);
        ck_assert_uint_eq(lines_in("errors"), 1);
        ck_assert_msg(access(typed_at("never"), F_OK) != 0, "%s left something", spaces[i].space);
    }
}
END_TEST

TEST_SUITE(cli_search, 120, &test_search, &test_killed, &test_space, &test_options, &test_refused)
