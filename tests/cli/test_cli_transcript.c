/* SPDX-License-Identifier: MIT
 * test_cli_transcript.c: what `kd` prints, word for word: commands are run in a folder of their own
 * ("cat" shows a file) and compared with tests/cli/transcript.txt, where an expected answer follows each. Times, rates,
 * memory, hashes and what names the machine are masked, long numbers rounded. KD_TRANSCRIPT=FILE writes the answers there
 * instead of comparing them: read the difference before it takes the place of the old ones. */
#include "made.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 48, LINE = 4096 };

/* ---- masks ----------------------------------------------------------------------------------- */

/* Members of JSON objects whose values change from run to run or from machine to machine. */
static const char *const changing[] = {"times",
                                       "seconds",
                                       "seconds_data",
                                       "seconds_teacher",
                                       "seconds_forward",
                                       "seconds_loss",
                                       "seconds_backward",
                                       "seconds_optimizer",
                                       "images_per_second",
                                       "peak_bytes",
                                       "network_hash",
                                       "hash",
                                       "data_checksum",
                                       "isa",
                                       "threads",
                                       "latency",
                                       "median",
                                       "minimum",
                                       "p10",
                                       "p90",
                                       "best",
                                       "gflops",
                                       "milliseconds",
                                       "microseconds",
                                       "grad_norm",
                                       "kl"};

/* Units of what is measured. */
static const char *const units[] = {"ms",      "s",       "us",     "images/s", "min",  "h",
                                    "MiB",     "KiB",     "GiB",    "bytes",    "runs", "left",
                                    "GFLOP/s", "MFLOP/s", "GMAC/s", "MMAC/s"};

static bool is_unit(const char *at)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        const size_t n = strlen(units[i]);
        if (!strncmp(at, units[i], n) && !isalnum((unsigned char)at[n]) && at[n] != '/')
            return true;
    }
    return false;
}

static bool is_hash(const char *at)
{
    return strspn(at, "0123456789abcdef") == 16;
}

/* The length of a kernel table's name at `at`; 0: none is there. */
static size_t table(const char *at)
{
    static const char *const names[] = {"generic", "avx2", "avx512", "amx", "neon"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t n = strlen(names[i]);
        if (!strncmp(at, names[i], n) && !isalnum((unsigned char)at[n])) return n;
    }
    return 0;
}

/* The value of a member that changes, behind its key at `at`; 0: it is none. */
static size_t changes(const char *at)
{
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++) {
        const size_t n = strlen(changing[i]);
        if (strncmp(at + 1, changing[i], n) || strncmp(at + 1 + n, "\":", 2)) continue;
        return n + 3;
    }
    return 0;
}

/* A number of more than five digits to four, which do not depend on the kernel table; its length. */
static size_t round_number(const char *at, char **out)
{
    char *end;
    const double x = strtod(at, &end);
    const size_t n = (size_t)(end - at);
    if (n <= 6) return 0;
    *out += sprintf(*out, "%.4g", x);
    return n;
}

/* text with what changes replaced by '~'. */
static void mask(const char *text, char *out)
{
    static const char *const whole[] = {"parts ", "time ", "memory "};
    for (const char *at = text; *at;) {
        const bool begins = at == text || at[-1] == '\n';
        size_t used, skip = 0, key = *at == '"' ? changes(at) : 0;
        if (!strncmp(at, test_dir(), strlen(test_dir()))) skip = strlen(test_dir());
        if (begins || at[-1] == ' ') skip += table(at);
        for (size_t i = 0; begins && i < 3 && !skip; i++)
            if (!strncmp(at, whole[i], strlen(whole[i]))) skip = strcspn(at, "\n");
        if (key) { /* "seconds":1.5 */
            memcpy(out, at, key);
            out += key;
            at += key;
            skip = *at == '{' ? strcspn(at, "}\n") : strcspn(at, ",}]\n");
        } else if (!skip && is_hash(at) && (begins || !isalnum((unsigned char)at[-1]))) {
            skip = 16;
        } else if (!skip && isdigit((unsigned char)*at) &&
                   (begins || !strchr("0123456789.-_", at[-1]))) {
            const size_t digits = strspn(at, "0123456789.e-+:");
            if (at[digits] == ' ' && is_unit(at + digits + 1))
                skip = digits;
            else if (strcspn(at, ".") < digits && (used = round_number(at, &out)) > 0) {
                at += used;
                continue;
            }
        }
        if (skip) {
            *out++ = '~';
            at += skip;
        } else {
            *out++ = *at++;
        }
    }
    *out = 0;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Words between blanks; those in quotes may hold some. */
static size_t split(char *line, const char *words[WORDS])
{
    size_t n = 1;
    while (*(line += strspn(line, " "))) {
        const bool quoted = *line == '\'';
        char *end = line + quoted + strcspn(line + quoted, quoted ? "'" : " ");
        ck_assert_uint_lt(n, WORDS - 1);
        words[n++] = line + quoted;
        if (!*end) break;
        *end = 0;
        line = end + 1;
    }
    words[n] = NULL;
    return n;
}

static void answer(const char *kd, const char *command, char *out)
{
    static char masked[2 * TEST_MAX_TEXT];
    char line[LINE];
    const char *words[WORDS] = {kd};
    snprintf(line, sizeof line, "%s", command);
    split(line, words);
    int status = 0;
    test_err[0] = 0;
    if (!strcmp(words[1], "cat")) /* a file that was written */
        test_slurp(words[2], test_out);
    else
        status = test_finish(test_start(words, NULL, NULL));
    const char *const texts[] = {test_out, test_err};
    if (status) out += sprintf(out, "= %d\n", status);
    for (int i = 0; i < 2; i++) {
        mask(texts[i], masked);
        for (const char *at = masked; *at; at += strcspn(at, "\n"), at += *at == '\n')
            out += sprintf(out, "%c %.*s\n", i ? '!' : '>', (int)strcspn(at, "\n"), at);
    }
}

/* Pictures, a network with names and one without anything, a tensor of pictures, a batch. */
static void make_files(kd_ctx *ctx)
{
    static const char *const names[] = {"ant", "bee", "cat"};
    static const char spec[] = "vgg2_bn,width=0.0625,classes=3,image=16";
    made_network(ctx, "net.safetensors", 3,
                 &(made_about){.spec = spec, .names = names, .normalized = true, .data = "some"});
    made_network(ctx, "bare.safetensors", 4, &(made_about){.spec = spec});
    made_copy(ctx, "bare.safetensors", "foreign.safetensors", (made_change){.prefix = "module."});
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 4; i++) {
            char path[80];
            snprintf(path, sizeof path, "pets/%s/%s/%d.png", i < 3 ? "train" : "val", names[c], i);
            made_picture(path, 20, (uint64_t)(10 * c + i));
        }
    made_picture("./one.png", 16, 1);
    made_picture("./two.png", 24, 2);
    made_text("./broken.png", "\x89PNG\r\n\x1a\nxx", 10);
    made_text("./text.txt", "some words\n", 11);
    float input[2 * 3 * 16 * 16], teacher[2 * 3] = {1, 0, -1, 0, 2, 1};
    const int64_t labels[2] = {0, 2};
    test_fill(input, sizeof input / sizeof *input, 5, 1);
    kd_writer *w;
    test_ok(ctx, kd_writer_create(ctx, "batch.safetensors", &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, (const int64_t[]){2, 3, 16, 16}, input));
    test_ok(ctx, kd_writer_tensor(w, "labels", KD_I64, 1, (const int64_t[]){2}, labels));
    test_ok(ctx,
            kd_writer_tensor(w, "teacher_logits", KD_F32, 2, (const int64_t[]){2, 3}, teacher));
    test_ok(ctx, kd_writer_finish(w));
    test_ok(ctx, kd_writer_create(ctx, "wrong.safetensors", &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, (const int64_t[]){2, 3, 16, 16}, input));
    test_ok(ctx, kd_writer_tensor(w, "labels", KD_I64, 2, (const int64_t[]){2, 1}, labels));
    test_ok(ctx, kd_writer_finish(w));
    test_ok(ctx, kd_writer_create(ctx, "large.safetensors", &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, (const int64_t[]){2, 3, 16, 16}, input));
    test_ok(ctx,
            kd_writer_tensor(w, "labels", KD_I64, 1, (const int64_t[]){2}, ((int64_t[]){0, 3})));
    test_ok(ctx, kd_writer_finish(w));
    test_ok(ctx, kd_writer_create(ctx, "taught.safetensors", &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, (const int64_t[]){2, 3, 16, 16}, input));
    test_ok(ctx, kd_writer_tensor(w, "labels", KD_I64, 1, (const int64_t[]){2}, labels));
    test_ok(ctx,
            kd_writer_tensor(w, "teacher_logits", KD_F32, 2, (const int64_t[]){3, 2}, teacher));
    test_ok(ctx, kd_writer_finish(w));
    test_ok(ctx, kd_writer_create(ctx, "channels.safetensors", &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, (const int64_t[]){1, 6, 16, 16}, input));
    test_ok(ctx, kd_writer_finish(w));
    test_ok(ctx, kd_writer_create(ctx, "none.safetensors", &w));
    test_ok(ctx, kd_writer_tensor(w, "input", KD_F32, 4, (const int64_t[]){0, 3, 16, 16}, input));
    test_ok(ctx, kd_writer_tensor(w, "labels", KD_I64, 1, (const int64_t[]){0}, labels));
    test_ok(ctx, kd_writer_finish(w));
}

START_TEST(test_transcript)
{
    static char wanted[TEST_MAX_TEXT], got[4 * TEST_MAX_TEXT];
    char here[4096], path[4200];
    kd_ctx *ctx = test_ctx(1, NULL);
    const char *golden = getenv("KD_GOLDEN"), *update = getenv("KD_TRANSCRIPT");
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    test_path kd = test_bin("kd");
    if (*kd.text != '/') kd = test_at(here, test_bin("kd").text);
    snprintf(path, sizeof path, "%s/../cli/transcript.txt", golden ? golden : "tests/golden");
    test_slurp(path, wanted);
    ck_assert_int_eq(chdir(test_dir()), 0);
    setenv("KD_DATA", "none", 1);
    make_files(ctx);
    FILE *file = update ? fopen(update, "w") : NULL;
    for (char *at = wanted; *at;) {
        char *const end = at + strcspn(at, "\n"), *next = end + (*end == '\n');
        if (*at != '$') { /* a remark, or an answer that is written anew */
            if (file && (*at == '#' || *at == '\n')) fprintf(file, "%.*s\n", (int)(end - at), at);
            at = next;
            continue;
        }
        char command[LINE];
        snprintf(command, sizeof command, "%.*s", (int)(end - at), at);
        answer(kd.text, command + 1, got);
        const size_t n = strlen(got);
        if (file)
            fprintf(file, "%s\n%s", command, got);
        else
            ck_assert_msg(!strncmp(next, got, n) && (!next[n] || strchr("$#\n", next[n])), "%s\n%s",
                          command, got);
        at = next;
    }
    if (file) fclose(file);
    ck_assert_int_eq(chdir(here), 0);
    kd_ctx_destroy(ctx);
}
END_TEST

TEST_SUITE(cli_transcript, 120, &test_transcript)
