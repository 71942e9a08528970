/* SPDX-License-Identifier: MIT
 * test_cli_report_page.c: the page of kd report: its sections and what it says of the study's claims.
 * Records that are broken or hostile are named, and leave the page whole. Nothing that is there is
 * destroyed. */
#include "page.h"
#include "records.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
        put_file(folder, "metrics.jsonl",
                 "{\"event\":\"epoch\",\"epoch\":1,\"loss\":2,\"accuracy\":40,\"dev_top1\":41}\n"
                 "{\"event\":\"step\",\"step\":7,\"loss\":1e9}\n"
                 "{\"event\":\"epoch\",\"epoch\":2,\"loss\":1,\"accuracy\":60,\"dev_top1\":59}\n");
        snprintf(folder, sizeof folder, "kinds/by-vit-seed%d", s);
        const record by_vit = {
            .folder = folder, .seed = s, .top1 = top1, .teacher = "vit", .teacher_spec = vit};
        put_record(&by_vit);
    }
    put_file(
        "kinds", "costs.json",
        "{\"networks\": {\"s\": {\"spec\": \"" VGG "\", \"arena_1_bytes\": 4096,"
        " \"forward_1\": {\"median_ms\": 0.25}}}, \"pairings\": {\"p\": {\"student_spec\": \"" VGG
        "\", \"teacher_spec\": \"vgg13_bn,classes=10\", \"loss\": {\"median_ms\": 1},"
        " \"step\": {\"median_ms\": 100}, \"teacher\": {\"median_ms\": 40}}}}");
    put_file("kinds/by-cnn-seed1", "export.json",
             "{\"spec\": \"" VGG "\", \"type\": \"int8\", \"blob_bytes\": 2048, \"top1\": 91}");
    put_file("kinds/by-cnn-seed1", "eval.json",
             "{\"spec\": \"" VGG
             "\", \"split\": \"test\", \"ece\": 3.25, \"agreement\": 95.5, \"kl\": 0.125}");
    put_file("kinds/by-cnn-seed2", "eval.json",
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

/* Of each pair's two teachers the accuracies are compared, not of the first pair's alone. */
START_TEST(test_report_teachers)
{
    static const char weak[] = "vgg4_bn,classes=10";
    char folder[100];
    put_kinds();
    const record teacher = {.folder = "kinds/weak", .spec = weak, .top1 = 80};
    put_record(&teacher);
    for (int s = 1; s <= SEEDS; s++) {
        snprintf(folder, sizeof folder, "kinds/by-weak-seed%d", s);
        const record by_weak = {.folder = folder,
                                .seed = s,
                                .top1 = alone[s - 1] + 1,
                                .teacher = "weak",
                                .teacher_spec = weak};
        put_record(&by_weak);
    }
    typed(0, "report %s -o %s", typed_at("kinds"), typed_at("teachers.html"));
    /* in the box of that claim, and in the table of all; the best pairs' differ by half a point */
    ck_assert_uint_eq(count_of(check_page("teachers.html"), "accuracies differ by 13.0 points"), 2);
    ck_assert_uint_eq(count_of(check_page("teachers.html"), "accuracies differ by"), 2);
}
END_TEST

static void put_sweep(const char *name, const char *spec, int macs, int temperature, double more)
{
    char folder[100], options[60];
    snprintf(options, sizeof options, "\"temperature\": %d, \"lr\": 0.1", temperature);
    for (int s = 1; s <= SEEDS; s++) {
        snprintf(folder, sizeof folder, "%s-seed%d", name, s);
        const record x = {.folder = folder,
                          .spec = spec,
                          .seed = s,
                          .macs = macs,
                          .top1 = alone[s - 1] + more + .01 * s,
                          .teacher = "t",
                          .options = options};
        put_record(&x);
    }
}

/* Sizes at one duration, two of them at two resolutions, temperatures, and another task. */
START_TEST(test_report_sweeps)
{
    char folder[100], start[100];
    put_sweep("sweep/small", "vgg4_bn,image=32", 1000, 4, -3);
    put_sweep("sweep/middle", "vgg6_bn,image=32", 2000, 4, 2);
    put_sweep("sweep/large", "vgg9_bn,image=32", 3000, 4, 1);
    put_sweep("sweep/small-64", "vgg4_bn,image=64", 4000, 4, -2);
    put_sweep("sweep/large-64", "vgg9_bn,image=64", 12000, 4, -1);
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

/* Of a size the best recipe counts, whichever group comes first; pictures of two sizes are compared
 * within a recipe, and a rectangle by its pixels. */
START_TEST(test_report_recipes)
{
    put_sweep("recipes/small", "vgg4_bn,image=32", 1000, 4, -3);
    put_sweep("recipes/small-hot", "vgg4_bn,image=32", 1000, 20, 5);
    put_sweep("recipes/small-64", "vgg4_bn,image=64", 4000, 4, -2);
    put_sweep("recipes/small-64-hot", "vgg4_bn,image=64", 4000, 20, 4);
    put_sweep("recipes/small-wide", "vgg4_bn,image=16x96", 1500, 4, -7);
    put_sweep("recipes/middle", "vgg6_bn,image=32", 2000, 4, 2);
    put_sweep("recipes/large", "vgg9_bn,image=32", 3000, 4, 1);
    put_sweep("recipes/large-64", "vgg9_bn,image=64", 12000, 4, -1);
    typed(0, "report %s -o %s", typed_at("recipes"), typed_at("recipes.html"));
    const char *page = check_page("recipes.html");
    test_expect_in(page, "<strong>The smallest is the most accurate</strong>");
    test_expect_in(page, ": +1.00 (+1.00 to +1.00) points");
    test_expect_in(page, ": −1.00 (−1.00 to −1.00) points");
    test_expect_in(page, ": −2.00 (−2.00 to −2.00) points");
    ck_assert_uint_eq(count_of(page, "against the smaller pictures"), 3);
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

/* ---- what is broken or hostile --------------------------------------------------------------- */

START_TEST(test_report_broken)
{
    put_study("broken", 2);
    put_file("broken/cut", "run.json", "{\"status\": \"done\", \"spec");
    put_file("broken/list", "run.json", "[1, 2]");
    put_file("broken/empty", "run.json", "");
    put_file("broken/nothing", "metrics.jsonl", "{\"epoch\":1,\"accuracy\":5}\n");
    put_file("broken/null", "run.json",
             "{\"status\":\"done\",\"spec\":\"" VGG "\",\"result\":"
             "{\"top1\":null}}");
    put_file("broken/large", "run.json",
             "{\"status\":\"done\",\"spec\":\"" VGG "\",\"result\":"
             "{\"top1\":1e300}}");
    put_file("broken/running", "run.json", "{\"status\":\"running\",\"spec\":\"" VGG "\"}");
    put_file("broken/failed", "run.json",
             "{\"status\":\"failed\",\"error\":\"no room <b>\",\"spec\":\"" VGG "\"}");
    put_file(
        "broken/kinds", "run.json",
        "{\"status\":7,\"spec\":{},\"seed\":\"x\",\"options\":[],\"teachers\":{},\"result\":3}");
    put_file("broken/warm-seed1", "metrics.jsonl",
             "{\"epoch\":1,\"accuracy\":null}\n{\"epo\n\n[]\n");
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
    put_file("none/cut", "run.json", "{");
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
        put_file(folder, "metrics.jsonl",
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
    put_file("odd", "costs.json",
             "{\"pairings\": {\"p\": {\"student_spec\": \"" VGG "\", \"teacher_spec\": \"" VGG
             "\", \"loss\": {\"median_ms\": 1}, \"teacher\": {\"median_ms\": 1e11},"
             " \"step\": {\"median_ms\": 1e-308}}}}");
    typed(0, "report %s -o %s", typed_at("odd"), typed_at("odd.html"));
    const char *body = strstr(check_page("odd.html"), "</style>");
    ck_assert(body && !strstr(body, "inf %") && !strstr(body, ">inf<") && !strstr(body, "nan"));
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

TEST_SUITE(cli_report_page, 120, &test_report_sections, &test_report_teachers, &test_report_sweeps,
           &test_report_recipes, &test_report_untaught, &test_report_broken, &test_report_hostile,
           &test_report_odd_times, &test_report_deterministic, &test_report_refusals)
