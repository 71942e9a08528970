/* SPDX-License-Identifier: MIT
 * test_cli_report.c: kd report from the outside, on records that are written here by hand: what it
 * computes is computed again, otherwise; records that are broken or hostile are named, and leave the
 * page whole; nothing that is there is destroyed. */
#include "typed.h"

#include <kd/kd.h>

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VGG "vgg8_bn,classes=10,image=32,channels=3,head=gap,width=1,pool4=1"

/* ---- records --------------------------------------------------------------------------------- */

typedef struct record {
    const char *folder, *spec, *teacher, *teacher_spec, *start;
    const char *data; /* NULL: "made" */
    int seed, macs;   /* 0: 2000 */
    double top1;
    const char *options; /* more members of "options" */
    const char *more;    /* more members of the record */
} record;

static void make_folder(const char *name)
{
    char path[700];
    snprintf(path, sizeof path, "%s", typed_at(name));
    for (char *c = path + strlen(test_dir()) + 1; (c = strchr(c, '/')); *c++ = '/') {
        *c = 0;
        mkdir(path, 0777);
    }
    ck_assert(mkdir(path, 0777) == 0 || access(path, F_OK) == 0);
}

static void put(const char *folder, const char *file, const char *text)
{
    make_folder(folder);
    typed_put(test_at(typed_at(folder), file).text, text);
}

static void put_record(const record *x)
{
    char text[4000], teacher[600] = "", start[400] = "";
    if (x->teacher)
        snprintf(teacher, sizeof teacher, "{\"file\": \"%s/model.safetensors\", \"spec\": \"%s\"}",
                 x->teacher, x->teacher_spec ? x->teacher_spec : VGG);
    if (x->start) snprintf(start, sizeof start, "\"start\": \"%s/model.safetensors\",", x->start);
    snprintf(text, sizeof text,
             "{\"command\": \"train\", \"status\": \"done\", \"spec\": \"%s\", \"seed\": %d,"
             "\"params\": 1000, \"macs\": %d, \"options\": {\"epochs\": 4, \"seed\": %d%s%s},"
             "\"data\": {\"name\": \"%s\", \"checksum\": \"0123456789abcdef\", \"test\": 1000},"
             "%s \"teachers\": [%s],%s \"result\": {\"top1\": %.17g, \"loss\": 0.5,"
             "\"steps\": 40, \"epochs\": 4, \"seconds\": 10, \"peak_bytes\": 1048576,"
             "\"times\": {\"data\": 1, \"teacher\": 2, \"forward\": 3, \"loss\": 0.5,"
             "\"backward\": 3, \"optimizer\": 0.5}}}\n",
             x->spec ? x->spec : VGG, x->seed, x->macs ? x->macs : 2000, x->seed,
             x->options ? ", " : "", x->options ? x->options : "", x->data ? x->data : "made",
             start, teacher, x->more ? x->more : "", x->top1);
    put(x->folder, "run.json", text);
}

enum { SEEDS = 5 };
static const double alone[SEEDS] = {90.1, 90.4, 89.9, 90.2, 90};
static const double warm[SEEDS] = {90.9, 91.3, 90.5, 91.4, 90.8};
static const double hot[SEEDS] = {90.3, 90.2, 90.1, 90.5, 90.2};

static void put_seeds(const char *root, const char *name, const double *top1, int seeds,
                      const char *teacher, const char *options)
{
    char folder[200];
    for (int s = 0; s < seeds; s++) {
        snprintf(folder, sizeof folder, "%s/%s-seed%d", root, name, s + 1);
        const record x = {.folder = folder,
                          .seed = s + 1,
                          .top1 = top1[s],
                          .teacher = teacher,
                          .options = options};
        put_record(&x);
    }
}

static void put_study(const char *root, int seeds)
{
    put_seeds(root, "alone", alone, seeds, NULL, NULL);
    put_seeds(root, "warm", warm, seeds, "teacher", "\"temperature\": 4, \"soft\": 0.9");
    put_seeds(root, "hot", hot, seeds, "teacher", "\"temperature\": 20, \"soft\": 0.9");
}

/* ---- what the page and the other outputs must be --------------------------------------------- */

static size_t utf8_length(const unsigned char *s)
{
    const size_t n = s[0] < 0x80       ? 1
                     : s[0] >> 5 == 6  ? 2
                     : s[0] >> 4 == 14 ? 3
                     : s[0] >> 3 == 30 ? 4
                                       : 0;
    for (size_t i = 1; i < n; i++)
        if (s[i] >> 6 != 2) return 0;
    return n;
}

static void check_characters(const char *text)
{
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        const size_t n = utf8_length(s);
        ck_assert_msg(n > 0, "no UTF-8 at '%.40s'", (const char *)s);
        ck_assert_msg(n > 1 || *s == '\n' || (*s >= 0x20 && *s != 0x7F), "a control character %d",
                      *s);
        s += n;
    }
}

static void check_entities(const char *text)
{
    static const char *const known[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"};
    for (const char *at = text; (at = strchr(at, '&')); at++) {
        bool is = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            is = is || !strncmp(at, known[i], strlen(known[i]));
        ck_assert_msg(is, "'%.20s' is no entity", at);
    }
}

/* Nothing is loaded: no address but places of the page itself. */
static void check_self_contained(const char *text)
{
    static const char *const never[] = {"<script", "<link",   "<img", "<iframe", "<object",
                                        "<base",   "@import", "src=", "://",     "http-equiv",
                                        "onload",  "onclick", "<form"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        ck_assert_msg(!strstr(text, never[i]), "the page has %s", never[i]);
    for (const char *at = text; (at = strstr(at, "href=")); at++)
        ck_assert_msg(!strncmp(at, "href=\"#", 7), "%.40s", at);
    for (const char *at = text; (at = strstr(at, "url(")); at++)
        ck_assert_msg(!strncmp(at, "url(#", 5), "%.40s", at);
}

/* The end of a tag, with all its attributes' values in quotes. */
static const char *end_of_tag(const char *tag)
{
    for (const char *at = tag; *at; at++) {
        if (*at == '>') return at;
        ck_assert_msg(*at != '<', "'<' in '%.60s'", tag);
        if (*at != '=') continue;
        ck_assert_msg(at[1] == '"', "no quotes in '%.60s'", tag);
        at = strchr(at + 2, '"');
        ck_assert_ptr_nonnull(at);
    }
    ck_abort_msg("'%.60s' does not end", tag);
    return tag;
}

/* Every element is closed, the innermost first. */
static void check_balance(const char *text)
{
    static char open[64][24];
    size_t depth = 0;
    ck_assert(!strncmp(text, "<!DOCTYPE html>\n", 16));
    for (const char *at = text + 16; (at = strchr(at, '<'));) {
        if (!strncmp(at, "<!--", 4)) {
            at = strstr(at, "-->");
            ck_assert_ptr_nonnull(at);
            continue;
        }
        const bool closes = at[1] == '/';
        const char *name = at + 1 + closes, *end = end_of_tag(at + 1);
        const size_t n = strcspn(name, " />");
        ck_assert_msg(n > 0 && n < 24 && isalpha((unsigned char)*name), "'%.30s'", at);
        if (closes) {
            ck_assert_msg(depth > 0 && strlen(open[depth - 1]) == n &&
                              !strncmp(open[depth - 1], name, n),
                          "'%.30s' closes '%s'", at, depth ? open[depth - 1] : "nothing");
            depth--;
        } else if (end[-1] != '/' && strncmp(name, "meta", n)) {
            ck_assert_uint_lt(depth, 64);
            snprintf(open[depth++], 24, "%.*s", (int)n, name);
        }
        at = end;
    }
    ck_assert_uint_eq(depth, 0);
}

/* Each id comes once, and what is referred to is there. */
static void check_ids(const char *text)
{
    char id[100], wanted[120];
    for (const char *at = text; (at = strstr(at, " id=\"")); at += 5) {
        snprintf(id, sizeof id, " id=\"%.*s\"", (int)strcspn(at + 5, "\""), at + 5);
        const char *first = strstr(text, id);
        ck_assert_msg(first == at, "%s comes twice", id);
    }
    for (const char *at = text; (at = strstr(at, "url(#")); at += 5) {
        snprintf(wanted, sizeof wanted, " id=\"%.*s\"", (int)strcspn(at + 5, ")"), at + 5);
        ck_assert_msg(strstr(text, wanted) != NULL, "no%s", wanted);
    }
    for (const char *at = text; (at = strstr(at, "href=\"#")); at += 7) {
        snprintf(wanted, sizeof wanted, " id=\"%.*s\"", (int)strcspn(at + 7, "\""), at + 7);
        ck_assert_msg(strstr(text, wanted) != NULL, "no%s", wanted);
    }
}

static const char *check_page(const char *file)
{
    static char text[TEST_MAX_TEXT];
    const size_t n = test_slurp(typed_at(file), text);
    ck_assert_uint_eq(n, strlen(text));
    check_characters(text);
    check_entities(text);
    check_self_contained(text);
    check_balance(text);
    check_ids(text);
    return text;
}

/* ---- what the last command printed as JSON --------------------------------------------------- */

static kd_json_object *said_json(kd_ctx *ctx)
{
    static char text[TEST_MAX_TEXT];
    kd_json_object *o;
    const size_t n = test_slurp(typed_at("said"), text);
    test_ok(ctx, kd_json_parse(ctx, text, n, &o));
    return o;
}

/* all[list][i] as an object. */
static kd_json_object *member(kd_ctx *ctx, const kd_json_object *all, const char *list, size_t i)
{
    kd_json_object *element, *inner;
    test_ok(ctx, kd_json_get_element(all, list, i, &element));
    test_ok(ctx, kd_json_get_object(element, "value", &inner));
    kd_json_object_destroy(element);
    return inner;
}

static double number(const kd_json_object *o, const char *key)
{
    double x;
    return kd_json_get_number(o, key, &x) ? x : (double)NAN;
}

static double element(kd_ctx *ctx, const kd_json_object *o, const char *list, size_t i)
{
    kd_json_object *e;
    test_ok(ctx, kd_json_get_element(o, list, i, &e));
    const double x = number(e, "value");
    kd_json_object_destroy(e);
    return x;
}

static void close_to(double a, double b)
{
    ck_assert_msg(fabs(a - b) <= 1e-9 * (1 + fabs(b)), "%.17g, not %.17g", a, b);
}

/* ---- the right numbers ----------------------------------------------------------------------- */

/* Two-sided, by the closed form for four degrees of freedom. */
static double p_of_t4(double t)
{
    const double u = t * t / 4, root = sqrt(1 + u);
    return 2 * (.5 - .375 * fabs(t) / root * (1 - t * t / (12 * (1 + u))));
}

typedef struct figures {
    double mean, deviation, low, high, p;
} figures;

static figures figures_of(const double *a, const double *b)
{
    const double t975 = 2.7764451051977987; /* of four degrees of freedom: tables */
    double sum = 0, squares = 0;
    figures f;
    for (int s = 0; s < SEEDS; s++) sum += a[s] - (b ? b[s] : 0);
    f.mean = sum / SEEDS;
    for (int s = 0; s < SEEDS; s++) {
        const double d = a[s] - (b ? b[s] : 0) - f.mean;
        squares += d * d;
    }
    f.deviation = sqrt(squares / (SEEDS - 1));
    const double error = f.deviation / sqrt((double)SEEDS);
    f.low = f.mean - t975 * error;
    f.high = f.mean + t975 * error;
    f.p = p_of_t4(f.mean / error);
    return f;
}

static void check_group(kd_ctx *ctx, const kd_json_object *all, size_t i, const char *label,
                        const double *top1)
{
    const figures f = figures_of(top1, NULL);
    kd_json_object *g = member(ctx, all, "groups", i);
    ck_assert_str_eq(kd_json_get_string(g, "label"), label);
    close_to(number(g, "mean"), f.mean);
    close_to(number(g, "deviation"), f.deviation);
    close_to(element(ctx, g, "interval", 0), f.low);
    close_to(element(ctx, g, "interval", 1), f.high);
    for (size_t s = 0; s < SEEDS; s++) close_to(element(ctx, g, "each", s), top1[s]);
    kd_json_object_destroy(g);
}

static void check_difference(kd_ctx *ctx, const kd_json_object *all, size_t i, const double *a,
                             double holm, const char *verdict)
{
    const figures f = figures_of(a, alone);
    kd_json_object *d = member(ctx, all, "differences", i);
    close_to(number(d, "mean"), f.mean);
    close_to(number(d, "deviation"), f.deviation);
    close_to(element(ctx, d, "interval", 0), f.low);
    close_to(element(ctx, d, "interval", 1), f.high);
    close_to(number(d, "p"), f.p);
    close_to(number(d, "p_holm"), holm);
    ck_assert_str_eq(kd_json_get_string(d, "verdict"), verdict);
    kd_json_object_destroy(d);
}

START_TEST(test_report_numbers)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    put_study("runs", SEEDS);
    typed(0, "report %s --json -o %s --latex %s", typed_at("runs"), typed_at("page.html"),
          typed_at("tables.tex"));
    kd_json_object *all = said_json(ctx);
    check_group(ctx, all, 0, "vgg8_bn alone", alone);
    check_group(ctx, all, 1, "vgg8_bn from vgg8_bn, temperature 4", warm);
    check_group(ctx, all, 2, "vgg8_bn from vgg8_bn, temperature 20", hot);
    const double small = figures_of(warm, alone).p, large = figures_of(hot, alone).p;
    ck_assert(small < large && 2 * small < large);
    check_difference(ctx, all, 0, warm, 2 * small, "better");
    check_difference(ctx, all, 1, hot, large, "not told from zero");
    const char *page = check_page("page.html");
    const figures f = figures_of(warm, alone);
    char cell[200];
    snprintf(cell, sizeof cell, "<td>%+.2f ± %.2f</td><td>%+.2f to %+.2f</td><td>5</td>", f.mean,
             f.deviation, f.low, f.high);
    ck_assert_msg(strstr(page, cell) != NULL, "%s", cell);
    snprintf(cell, sizeof cell, "$%+.2f$ $\\pm$ $%.2f$ & 5 & $%+.2f$ to $%+.2f$ & --", f.mean,
             f.deviation, f.low, f.high);
    typed_says("tables.tex", cell);
    typed_says("tables.tex", "vgg8\\_bn alone");
    kd_json_object_destroy(all);
    kd_ctx_destroy(ctx);
}
END_TEST

/* The paired interval of the mean difference over pictures, from answers.txt. */
START_TEST(test_report_pictures)
{
    enum { PICTURES = 1000 };
    static const char sum[] = "0123456789abcdef";
    kd_ctx *ctx = test_ctx(1, NULL);
    static char right[2][2][PICTURES + 1], text[PICTURES + 40];
    char folder[100];
    double squares = 0, total = 0;
    for (int seed = 0; seed < 2; seed++)
        for (int taught = 0; taught < 2; taught++) {
            int n = 0;
            for (int i = 0; i < PICTURES; i++) {
                right[seed][taught][i] = (i * 7 + seed * 3 + taught * i * i) % 10 < 8 ? '1' : '0';
                n += right[seed][taught][i] == '1';
            }
            snprintf(folder, sizeof folder, "answers/%s-seed%d", taught ? "taught" : "alone", seed);
            const record x = {.folder = folder,
                              .seed = seed,
                              .top1 = n / 10.,
                              .teacher = taught ? "t" : NULL,
                              .more = "\"weights\": \"0123456789abcdef\","};
            put_record(&x);
            snprintf(text, sizeof text, "%s\n%s\n", sum, right[seed][taught]);
            put(folder, "answers.txt", text);
        }
    for (int i = 0; i < PICTURES; i++) {
        const double d = (right[0][1][i] - right[0][0][i] + right[1][1][i] - right[1][0][i]) / 2.;
        total += d;
        squares += d * d;
    }
    const double mean = total / PICTURES;
    const double half = 1.959963984540054 * sqrt(squares / PICTURES - mean * mean) / sqrt(PICTURES);
    typed(0, "report %s --json", typed_at("answers"));
    kd_json_object *all = said_json(ctx), *d = member(ctx, all, "differences", 0);
    close_to(element(ctx, d, "interval_pictures", 0), 100 * (mean - half));
    close_to(element(ctx, d, "interval_pictures", 1), 100 * (mean + half));
    ck_assert_str_eq(kd_json_get_string(d, "verdict"), "too few seeds");
    kd_json_object_destroy(d);
    kd_json_object_destroy(all);
    put("answers/alone-seed0", "answers.txt", "ffffffffffffffff\n10\n"); /* of another network */
    typed(0, "report %s --json", typed_at("answers"));
    all = said_json(ctx);
    d = member(ctx, all, "differences", 0);
    ck_assert(isnan(element(ctx, d, "interval_pictures", 0)));
    kd_json_object_destroy(d);
    kd_json_object_destroy(all);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- groups ---------------------------------------------------------------------------------- */

static size_t groups_of(kd_ctx *ctx, const char *options)
{
    size_t n = 0;
    typed(0, "report %s --json %s", typed_at("runs"), options);
    kd_json_object *all = said_json(ctx);
    ck_assert(kd_json_get_count(all, "groups", &n));
    kd_json_object_destroy(all);
    return n;
}

START_TEST(test_report_by)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    put_study("runs", SEEDS);
    ck_assert_uint_eq(groups_of(ctx, ""), 3);
    ck_assert_uint_eq(groups_of(ctx, "--by student"), 1);
    ck_assert_uint_eq(groups_of(ctx, "--by student,teacher"), 2);
    ck_assert_uint_eq(groups_of(ctx, "--by soft"), 2);
    ck_assert_uint_eq(groups_of(ctx, "--by teacher,temperature"), 3);
    typed(0, "report %s --json --by teacher", typed_at("runs"));
    kd_json_object *all = said_json(ctx), *g = member(ctx, all, "groups", 0);
    if (element(ctx, g, "each", 0) == alone[0]) { /* runs of a seed are averaged first */
        kd_json_object_destroy(g);
        g = member(ctx, all, "groups", 1);
    }
    for (size_t s = 0; s < SEEDS; s++) close_to(element(ctx, g, "each", s), (warm[s] + hot[s]) / 2);
    kd_json_object_destroy(g);
    kd_json_object_destroy(all);
    const record other = {.folder = "pooled/nine-seed1", .spec = "vgg9_bn", .seed = 1, .top1 = 90};
    put_study("pooled", 2);
    put_record(&other);
    typed(0, "report %s --json --by teacher -o %s", typed_at("pooled"), typed_at("pooled.html"));
    typed_says("said", "\"differences\":[]"); /* two networks in a group: no control */
    test_expect_in(check_page("pooled.html"), "student " VGG ", vgg9_bn");
    typed(2, "report %s --json --by studnet", typed_at("runs"));
    typed_says("errors", "did you mean student?");
    typed(2, "report %s --json --by student,,teacher", typed_at("runs"));
    kd_ctx_destroy(ctx);
}
END_TEST

static size_t differences_of(kd_ctx *ctx, const char *options)
{
    size_t n = 0;
    typed(0, "report %s --json %s", typed_at("runs"), options);
    kd_json_object *all = said_json(ctx);
    ck_assert(kd_json_get_count(all, "differences", &n));
    kd_json_object_destroy(all);
    return n;
}

START_TEST(test_report_against)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    put_study("runs", SEEDS);
    ck_assert_uint_eq(differences_of(ctx, ""), 2);
    ck_assert_uint_eq(differences_of(ctx, "--paired"), 3);
    ck_assert_uint_eq(differences_of(ctx, "--against alone"), 2);
    ck_assert_uint_eq(differences_of(ctx, "--against 2"), 2);
    ck_assert_uint_eq(differences_of(ctx, "--against 'vgg8_bn alone'"), 2);
    typed(1, "report %s --json --against nobody", typed_at("runs"));
    typed_says("errors", "--against nobody");
    typed(2, "report %s --json --against alone --paired", typed_at("runs"));
    kd_ctx_destroy(ctx);
}
END_TEST

/* Fine-tuned networks are compared with their starts, by the start's own seed. */
START_TEST(test_report_starts)
{
    kd_ctx *ctx = test_ctx(1, NULL);
    char folder[100], start[100];
    put_study("tuned", 2);
    for (int s = 1; s <= 2; s++) {
        snprintf(folder, sizeof folder, "tuned/warm-tuned-seed%d", s);
        snprintf(start, sizeof start, "warm-seed%d", s);
        const record x = {.folder = folder, .seed = s, .top1 = warm[s - 1] + s, .start = start};
        put_record(&x);
    }
    typed(0, "report %s --json", typed_at("tuned"));
    kd_json_object *all = said_json(ctx), *d = member(ctx, all, "differences", 2);
    ck_assert_str_eq(kd_json_get_string(d, "which_is"), "what it started from");
    close_to(element(ctx, d, "each", 0), 1);
    close_to(element(ctx, d, "each", 1), 2);
    kd_json_object_destroy(d);
    kd_json_object_destroy(all);
    kd_ctx_destroy(ctx);
}
END_TEST

/* ---- sections -------------------------------------------------------------------------------- */

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

/* A CNN and a ViT teach the same student for five seeds; the CNN's is always two points better. */
static void put_kinds(void)
{
    static const char vit[] = "vit_tiny_patch16_224,classes=10,image=32";
    const double teachers[] = {93, 92.5};
    char folder[100];
    const record teacher = {
        .folder = "kinds/cnn", .spec = "vgg13_bn,classes=10", .top1 = teachers[0]};
    const record other = {.folder = "kinds/vit", .spec = vit, .top1 = teachers[1]};
    put_record(&teacher);
    put_record(&other);
    for (int s = 1; s <= SEEDS; s++) {
        const double top1 = alone[s - 1];
        snprintf(folder, sizeof folder, "kinds/alone-seed%d", s);
        const record plain = {.folder = folder, .seed = s, .top1 = top1};
        put_record(&plain);
        snprintf(folder, sizeof folder, "kinds/by-cnn-seed%d", s);
        const record by_cnn = {.folder = folder,
                               .seed = s,
                               .top1 = top1 + 2 + .001 * s,
                               .teacher = "cnn",
                               .teacher_spec = "vgg13_bn,classes=10"};
        put_record(&by_cnn);
        put(folder, "metrics.jsonl",
            "{\"event\":\"epoch\",\"epoch\":1,\"loss\":2,\"accuracy\":40,\"dev_top1\":41}\n"
            "{\"event\":\"step\",\"step\":7,\"loss\":1e9}\n"
            "{\"event\":\"epoch\",\"epoch\":2,\"loss\":1,\"accuracy\":60,\"dev_top1\":59}\n");
        snprintf(folder, sizeof folder, "kinds/by-vit-seed%d", s);
        const record by_vit = {
            .folder = folder, .seed = s, .top1 = top1, .teacher = "vit", .teacher_spec = vit};
        put_record(&by_vit);
    }
    put("kinds", "costs.json",
        "{\"networks\": {\"s\": {\"spec\": \"" VGG "\", \"arena_1_bytes\": 4096,"
        " \"forward_1\": {\"median_ms\": 0.25}}}, \"pairings\": {\"p\": {\"student_spec\": \"" VGG
        "\", \"teacher_spec\": \"vgg13_bn,classes=10\", \"loss\": {\"median_ms\": 1},"
        " \"step\": {\"median_ms\": 100}, \"teacher\": {\"median_ms\": 40}}}}");
    put("kinds/by-cnn-seed1", "export.json",
        "{\"spec\": \"" VGG "\", \"type\": \"int8\", \"blob_bytes\": 2048, \"top1\": 91}");
    put("kinds/by-cnn-seed1", "eval.json",
        "{\"spec\": \"" VGG
        "\", \"split\": \"test\", \"ece\": 3.25, \"agreement\": 95.5, \"kl\": 0.125}");
    put("kinds/by-cnn-seed2", "eval.json",
        "{\"spec\": \"another\", \"split\": \"test\", \"ece\": 99}");
}

START_TEST(test_report_sections)
{
    put_kinds();
    typed(0, "report %s -o %s --csv %s --latex %s", typed_at("kinds"), typed_at("kinds.html"),
          typed_at("kinds.csv"), typed_at("kinds.tex"));
    const char *page = check_page("kinds.html");
    ck_assert(strstr(page, "<td>&lt; 0.0001</td>") != NULL); /* escaped */
    typed_says("kinds.tex", "\\textless{} 0.0001");
    const size_t pictures = count_of(page, "role=\"img\"");
    ck_assert_uint_eq(pictures, 4); /* differences, curves, times of runs and of the pass */
    ck_assert_uint_eq(count_of(page, "<title id="), pictures);
    ck_assert_uint_eq(count_of(page, "<desc id="), pictures);
    ck_assert(strstr(page, "accuracy on the development split, %</figcaption>") != NULL);
    ck_assert(strstr(page, "training loss</figcaption>") == NULL);
    ck_assert(strstr(page, "<tr><td>2</td><td>59.00</td></tr>") != NULL);
    ck_assert(strstr(page, "accuracy against flash") == NULL);                /* one group has it */
    ck_assert(strstr(page, "accuracy against multiply-accumulates") == NULL); /* all are alike */
    ck_assert(strstr(page, "<strong>Holds for these networks</strong>") != NULL);
    ck_assert(strstr(page, "<strong>The CNN is the better teacher here</strong>") != NULL);
    ck_assert(
        strstr(page, "Higher resolution helps small students, and can hurt large ones. It would"));
    typed_says("errors", "by-cnn-seed2/eval.json: it is not of this run");
    typed_says("kinds.csv", ",0.25,4096,2048,91,95.5,0.125,3.25,");
}
END_TEST

static void put_sweep(const char *name, const char *spec, int macs, double more)
{
    char folder[100];
    for (int s = 1; s <= SEEDS; s++) {
        snprintf(folder, sizeof folder, "sweep/%s-seed%d", name, s);
        const record x = {.folder = folder,
                          .spec = spec,
                          .seed = s,
                          .macs = macs,
                          .top1 = alone[s - 1] + more + .01 * s,
                          .teacher = "t",
                          .options = "\"temperature\": 4, \"lr\": 0.1"};
        put_record(&x);
    }
}

/* Sizes at one duration, two of them at two resolutions, temperatures, and another task. */
START_TEST(test_report_sweeps)
{
    char folder[100], start[100];
    put_sweep("small", "vgg4_bn,image=32", 1000, -3);
    put_sweep("middle", "vgg6_bn,image=32", 2000, 2);
    put_sweep("large", "vgg9_bn,image=32", 3000, 1);
    put_sweep("small-64", "vgg4_bn,image=64", 4000, -2);
    put_sweep("large-64", "vgg9_bn,image=64", 12000, -1);
    for (int s = 1; s <= SEEDS; s++) {
        snprintf(folder, sizeof folder, "sweep/hot-seed%d", s);
        const record hot_one = {.folder = folder,
                                .spec = "vgg6_bn,image=32",
                                .seed = s,
                                .macs = 2000,
                                .top1 = alone[s - 1],
                                .teacher = "t",
                                .options = "\"temperature\": 20, \"lr\": 0.1"};
        put_record(&hot_one);
        snprintf(folder, sizeof folder, "sweep/plain-seed%d", s);
        const record plain = {.folder = folder,
                              .spec = "vgg6_bn,image=32",
                              .seed = s,
                              .macs = 2000,
                              .top1 = alone[s - 1] + .5,
                              .options = "\"lr\": 0.1"};
        put_record(&plain);
        for (int taught = 0; taught < 2; taught++) {
            snprintf(folder, sizeof folder, "sweep/%s-other-seed%d", taught ? "middle" : "plain",
                     s);
            snprintf(start, sizeof start, "%s-seed%d", taught ? "middle" : "plain", s);
            const record other = {.folder = folder,
                                  .spec = "vgg6_bn,image=32",
                                  .seed = s,
                                  .macs = 2000,
                                  .top1 = hot[s - 1] + 3 * taught + .02 * s * taught,
                                  .start = start,
                                  .data = "other",
                                  .options = "\"lr\": 0.01"};
            put_record(&other);
        }
    }
    typed(0, "report %s -o %s", typed_at("sweep"), typed_at("sweep.html"));
    const char *page = check_page("sweep.html");
    test_expect_in(page, "neither the smallest nor the largest: vgg6_bn from");
    test_expect_in(page, "<strong>So it was: the smallest gained, the largest lost</strong>");
    test_expect_in(page, "<strong>The most accurate: vgg6_bn from vgg8_bn, temperature 4</strong>");
    test_expect_in(page, "<strong>A distilled start is better</strong>");
    test_expect_in(page, ": +1.00 (+1.00 to +1.00) points");
    test_expect_in(page, ": −2.00 (−2.00 to −2.00) points");
    ck_assert(strstr(page, "Between CNNs, distillation is the most accurate. It would take"));
}
END_TEST

/* Without a teacher there is nothing to say about the study, and no control. */
START_TEST(test_report_untaught)
{
    put_seeds("plain", "alone", alone, SEEDS, NULL, NULL);
    typed(0, "report %s -o %s", typed_at("plain"), typed_at("plain.html"));
    const char *page = check_page("plain.html");
    ck_assert(strstr(page, "claim by claim") == NULL);
    ck_assert(strstr(page, "No two groups are each other’s control") != NULL);
    ck_assert(strstr(page, "No run has a metrics.jsonl") != NULL);
}
END_TEST

/* ---- what is broken, hostile, or twice ------------------------------------------------------- */

START_TEST(test_report_broken)
{
    put_study("broken", 2);
    put("broken/cut", "run.json", "{\"status\": \"done\", \"spec");
    put("broken/list", "run.json", "[1, 2]");
    put("broken/empty", "run.json", "");
    put("broken/nothing", "metrics.jsonl", "{\"epoch\":1,\"accuracy\":5}\n");
    put("broken/null", "run.json",
        "{\"status\":\"done\",\"spec\":\"" VGG "\",\"result\":"
        "{\"top1\":null}}");
    put("broken/large", "run.json",
        "{\"status\":\"done\",\"spec\":\"" VGG "\",\"result\":"
        "{\"top1\":1e300}}");
    put("broken/running", "run.json", "{\"status\":\"running\",\"spec\":\"" VGG "\"}");
    put("broken/failed", "run.json",
        "{\"status\":\"failed\",\"error\":\"no room <b>\",\"spec\":\"" VGG "\"}");
    put("broken/kinds", "run.json",
        "{\"status\":7,\"spec\":{},\"seed\":\"x\",\"options\":[],\"teachers\":{},\"result\":3}");
    put("broken/warm-seed1", "metrics.jsonl", "{\"epoch\":1,\"accuracy\":null}\n{\"epo\n\n[]\n");
    typed(0, "report %s -o %s --csv %s", typed_at("broken"), typed_at("broken.html"),
          typed_at("broken.csv"));
    typed_says("said", "6 runs of 15 count");
    const char *page = check_page("broken.html");
    static const char *const named[] = {"cut",   "list",    "empty",  "nothing", "null",
                                        "large", "running", "failed", "kinds"};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        char text[80];
        snprintf(text, sizeof text, "<li><code>%s</code>: ", named[i]);
        ck_assert_msg(strstr(page, text) != NULL, "%s", text);
        snprintf(text, sizeof text, "warning: %s does not count", named[i]);
        typed_says("errors", text);
    }
    ck_assert(strstr(page, "failed: no room &lt;b&gt;") != NULL);
    typed_says("broken.csv", ",running,running,");
    put("none/cut", "run.json", "{");
    typed(1, "report %s -o %s", typed_at("none"), typed_at("none.html"));
    ck_assert(access(typed_at("none.html"), F_OK));
    make_folder("void");
    typed(1, "report %s -o %s", typed_at("void"), typed_at("none.html"));
    typed_says("errors", "there is no run");
    ck_assert(access(typed_at("none.html"), F_OK));
}
END_TEST

START_TEST(test_report_hostile)
{
    static const char names[] = "<script>alert(1)</script>&\\\"'\\u0001\\u202e\\ud83d\\ude00,";
    char folder[200];
    make_folder("hostile");
    for (int s = 1; s <= 2; s++) {
        snprintf(folder, sizeof folder, "hostile/a<b>&\"'\x01\xff$,=-%d", s);
        char options[300];
        snprintf(options, sizeof options, "\"<i>key</i>\": \"%s\", \"augment\": \"=%s%d\"", names,
                 names, s);
        const record x = {.folder = folder,
                          .seed = 1,
                          .top1 = 50 + s,
                          .options = options,
                          .spec = "vgg8_bn,<x>&='y'",
                          .teacher = "</td></table>"};
        put_record(&x);
        put(folder, "metrics.jsonl",
            "{\"epoch\":1,\"accuracy\":10,\"loss\":1e308}\n{\"epoch\":2,\"accuracy\":20}\n");
    }
    typed(0, "report %s -o %s --csv %s --latex %s --by augment", typed_at("hostile"),
          typed_at("hostile.html"), typed_at("hostile.csv"), typed_at("hostile.tex"));
    const char *page = check_page("hostile.html");
    ck_assert(strstr(page, "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;\\x01\\u202e"));
    ck_assert(strstr(page, "a&lt;b&gt;&amp;&quot;&#39;\\x01\\xff$,=-1"));
    static char text[TEST_MAX_TEXT];
    test_slurp(typed_at("hostile.csv"), text);
    check_characters(text);
    ck_assert(strstr(text, ",\"'=<script>") != NULL); /* no formula, one cell */
    test_slurp(typed_at("hostile.tex"), text);
    check_characters(text);
    ck_assert(strstr(text, "\\textless{}script\\textgreater{}") != NULL);
    ck_assert(strstr(text, "\\&") != NULL && !strstr(text, " & &"));
}
END_TEST

/* Times that cannot be make no infinite ratio. */
START_TEST(test_report_odd_times)
{
    const record x = {.folder = "odd/taught", .seed = 1, .top1 = 50, .teacher = "t"};
    put_record(&x);
    put("odd", "costs.json",
        "{\"pairings\": {\"p\": {\"student_spec\": \"" VGG "\", \"teacher_spec\": \"" VGG
        "\", \"loss\": {\"median_ms\": 1}, \"teacher\": {\"median_ms\": 1e11},"
        " \"step\": {\"median_ms\": 1e-308}}}}");
    typed(0, "report %s -o %s", typed_at("odd"), typed_at("odd.html"));
    const char *body = strstr(check_page("odd.html"), "</style>");
    ck_assert(body && !strstr(body, "inf %") && !strstr(body, ">inf<") && !strstr(body, "nan"));
}
END_TEST

/* The same run by two paths, and its copy, count once; another result of the same seed is said. */
START_TEST(test_report_twice)
{
    record x = {
        .folder = "twice/a", .seed = 1, .top1 = 50, .more = "\"weights\": \"0123456789abcdef\","};
    put_record(&x);
    x.folder = "twice/copy";
    put_record(&x);
    ck_assert(symlink("a", typed_at("twice/best")) == 0);
    ck_assert(symlink(".", typed_at("twice/loop")) == 0);
    typed(0, "report %s --json", typed_at("twice"));
    typed_says("said", "\"counted\":1,");
    typed_says("errors", "copy: it is the same network as a");
    x.folder = "twice/other";
    x.more = "\"weights\": \"fedcba9876543210\",";
    x.top1 = 52;
    put_record(&x);
    typed(0, "report %s --json", typed_at("twice"));
    typed_says("said", "\"each\":[51]");
    typed_says("errors", "averaged as one seed");
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------- */

static void check_same(const char *a, const char *b)
{
    static char x[TEST_MAX_TEXT], y[TEST_MAX_TEXT];
    const size_t n = test_slurp(typed_at(a), x), m = test_slurp(typed_at(b), y);
    ck_assert_uint_eq(n, m);
    ck_assert(n > 0 && !memcmp(x, y, n));
}

START_TEST(test_report_deterministic)
{
    put_study("runs", SEEDS);
    for (int i = 1; i <= 2; i++) {
        char page[40], csv[40], tex[40];
        snprintf(page, sizeof page, "same%d.html", i);
        snprintf(csv, sizeof csv, "same%d.csv", i);
        snprintf(tex, sizeof tex, "same%d.tex", i);
        typed(0, "report %s%s -o %s --csv %s --latex %s", typed_at("runs"), i == 2 ? "/" : "",
              typed_at(page), typed_at(csv), typed_at(tex));
    }
    check_same("same1.html", "same2.html");
    check_same("same1.csv", "same2.csv");
    check_same("same1.tex", "same2.tex");
}
END_TEST

START_TEST(test_report_csv)
{
    static char text[TEST_MAX_TEXT];
    put_study("rows", 1);
    typed(0, "report %s --csv %s --by temperature", typed_at("rows"), typed_at("rows.csv"));
    test_slurp(typed_at("rows.csv"), text);
    ck_assert_uint_eq(test_lines(text), 4);
    test_expect_in(text, "group,label,run,status,seed,student,family,teacher,teacher_family,"
                         "teacher_run,start,data,by temperature,top1,top5,loss,");
    test_expect_in(text, ",alone-seed1,done,1,\"" VGG "\",CNN,,,,,made,,90.1,,0.5,");
    test_expect_in(text,
                   ",hot-seed1,done,1,\"" VGG "\",CNN,\"" VGG "\",CNN,teacher,,made,20,90.3,");
}
END_TEST

START_TEST(test_report_refusals)
{
    put_study("runs", SEEDS);
    typed(2, "report %s", typed_at("runs"));
    typed(2, "report -o %s", typed_at("page.html"));
    typed(1, "report %s -o %s", typed_at("missing"), typed_at("page.html"));
    typed(2, "report %s -o %s --csv %s", typed_at("runs"), typed_at("one"), typed_at("one"));
    typed_put(typed_at("diary"), "dear diary");
    typed(1, "report %s -o %s", typed_at("runs"), typed_at("diary"));
    typed(1, "report %s --csv %s", typed_at("runs"), typed_at("diary"));
    typed(1, "report %s --latex %s", typed_at("runs"), typed_at("diary"));
    typed(1, "report %s -o %s", typed_at("runs"), typed_at("runs/alone-seed1/run.json"));
    typed_says("errors", "it is not replaced");
    typed_says("diary", "dear diary");
    typed_put(typed_at("blank.html"), "");
    typed(0, "report %s -o %s", typed_at("runs"), typed_at("blank.html"));
    typed(0, "report %s -o %s", typed_at("runs"), typed_at("blank.html")); /* its own kind */
    typed(1, "report %s -o %s", typed_at("runs"), typed_at("no/such/folder.html"));
}
END_TEST

TEST_SUITE(cli_report, 120, &test_report_numbers, &test_report_pictures, &test_report_by,
           &test_report_against, &test_report_starts, &test_report_broken, &test_report_hostile,
           &test_report_sections, &test_report_sweeps, &test_report_untaught,
           &test_report_odd_times, &test_report_twice, &test_report_deterministic, &test_report_csv,
           &test_report_refusals)
