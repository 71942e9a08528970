/* SPDX-License-Identifier: MIT
 * text.c: numbers from text, and text from numbers. The program never calls setlocale, so the C
 * library's conversions use a decimal point everywhere. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cli_parse_number(const char *text, double *out)
{
    char *end;
    if (!*text || text[strspn(text, "0123456789.eE+-")] || !strpbrk(text, "0123456789"))
        return false; /* what strtod also takes: spaces, hexadecimal, inf, nan */
    *out = strtod(text, &end);
    return *end == 0 && isfinite(*out);
}

static bool parse_digits(const char *text, size_t length, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        const uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return length > 0;
}

bool cli_parse_count(const char *text, uint64_t *out)
{
    return parse_digits(text, strlen(text), out);
}

bool cli_parse_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    size_t length = strlen(text);
    const char *unit = length ? strchr(units, text[length - 1]) : NULL;
    if (unit) length--;
    if (!parse_digits(text, length, out)) return false;
    const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (*out > UINT64_MAX >> shift) return false;
    *out <<= shift;
    return true;
}

bool cli_parse_picture(const char *text, uint64_t *out)
{
    uint64_t height, width;
    const char *by = strchr(text, 'x');
    if (!parse_digits(text, by ? (size_t)(by - text) : strlen(text), &height)) return false;
    width = height;
    if (by && !parse_digits(by + 1, strlen(by + 1), &width)) return false;
    if (height < 1 || height > CLI_MOST_PIXELS || width < 1 || width > CLI_MOST_PIXELS)
        return false;
    *out = width == height ? height : height | width << 32;
    return true;
}

cli_hash cli_picture_text(uint64_t image)
{
    cli_hash out;
    const unsigned height = (unsigned)(image & UINT32_MAX), width = (unsigned)(image >> 32);
    if (width)
        snprintf(out.text, sizeof out.text, "%ux%u", height, width);
    else
        snprintf(out.text, sizeof out.text, "%u", height);
    return out;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t cli_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t rows[3][LONGEST + 1]; /* of the first i, i-1 and i-2 letters of a; rows turn */
    const size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) return n > m ? n : m;
    for (size_t j = 0; j <= m; j++) rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

/* ---- what may have been meant ---------------------------------------------------------------- */

/* In lower case, with '-' for '_'. */
static void plain(const char *word, char out[CLI_GUESS])
{
    size_t n = 0;
    for (; word[n] && n + 1 < CLI_GUESS; n++)
        out[n] = word[n] == '_'                     ? '-'
                 : word[n] >= 'A' && word[n] <= 'Z' ? (char)(word[n] - 'A' + 'a')
                                                    : word[n];
    out[n] = 0;
}

cli_guess cli_guess_for(const char *word)
{
    cli_guess g = {.best = NULL};
    plain(word, g.word);
    const size_t third = strlen(g.word) / 3;
    g.distance = 1 + (third ? third : 1); /* the least distance that is too far */
    return g;
}

void cli_guess_try(cli_guess *g, const char *name)
{
    char other[CLI_GUESS];
    plain(name, other);
    const size_t n = strlen(g->word), m = strlen(other);
    size_t d = cli_distance(g->word, other);
    const bool begins = n > 2 && !strncmp(g->word, other, n);              /* epo, epochs */
    const bool goes_on = !strncmp(g->word, other, m) && g->word[m] == '-'; /* batch-size, batch */
    if (d > 1 && begins) d = 1;
    if (d > 2 && goes_on) d = 2;
    if (d >= g->distance) return;
    g->best = name;
    g->distance = d;
}

/* ---- numbers for people ---------------------------------------------------------------------- */

static cli_text with_unit(double x, double step, const char *const *units, size_t n)
{
    cli_text t;
    size_t unit = 0;
    while (x >= .9995 * step && unit + 1 < n) {
        x /= step;
        unit++;
    }
    const int digits = unit == 0 ? 0 : x < 9.995 ? 2 : x < 99.95 ? 1 : 0;
    snprintf(t.text, sizeof t.text, "%.*f%s", digits, x, units[unit]);
    return t;
}

cli_text cli_bytes(double bytes)
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    return with_unit(bytes, 1024, units, sizeof units / sizeof *units);
}

cli_text cli_amount(double amount)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    return with_unit(amount, 1000, units, sizeof units / sizeof *units);
}

cli_text cli_duration(double seconds)
{
    cli_text t;
    const double whole = floor(seconds + .5);
    if (!(seconds < 1e9))
        snprintf(t.text, sizeof t.text, "for ever");
    else if (seconds < .0995)
        snprintf(t.text, sizeof t.text, "%.3g ms", 1e3 * seconds);
    else if (seconds < 9.95)
        snprintf(t.text, sizeof t.text, "%.1f s", seconds);
    else if (whole < 60)
        snprintf(t.text, sizeof t.text, "%.0f s", whole);
    else if (whole < 3600)
        snprintf(t.text, sizeof t.text, "%.0f min %02.0f s", floor(whole / 60), fmod(whole, 60));
    else
        snprintf(t.text, sizeof t.text, "%.0f h %02.0f min", floor(whole / 3600),
                 floor(fmod(whole, 3600) / 60));
    return t;
}

cli_hash cli_hash_text(uint64_t hash)
{
    cli_hash t;
    snprintf(t.text, sizeof t.text, "%016llx", (unsigned long long)hash);
    return t;
}

/* ---- hostile names --------------------------------------------------------------------------- */

/* Decode one UTF-8 character of at most 4 bytes; 0 bytes if there is none. */
static size_t decode(const unsigned char *s, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (n == 0) return 0;
    *code = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) return 0; /* the NUL at the end included */
        *code = *code << 6 | (s[i] & 63u);
    }
    return *code >= least[n] && *code <= 0x10FFFF ? n : 0;
}

/* Control characters, line separators, and marks that are invisible or change the direction of
 * text. */
static bool unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

const char *cli_escape(const char *text, char *out, size_t size)
{
    size_t used = 0;
    while (*text && used + 12 < size) {
        const unsigned char *s = (const unsigned char *)text;
        uint32_t code = 0;
        const size_t n = decode(s, &code);
        if (n == 0)
            used += (size_t)snprintf(out + used, size - used, "\\x%02x", (unsigned)s[0]);
        else if (unsafe(code))
            used += (size_t)snprintf(out + used, size - used, code < 256 ? "\\x%02x" : "\\u%04x",
                                     (unsigned)code);
        else {
            memcpy(out + used, text, n);
            used += n;
        }
        text += n ? n : 1;
    }
    if (*text && used + 4 < size) {
        memcpy(out + used, "...", 3);
        used += 3;
    }
    out[used] = 0;
    return out;
}

/* ---- the library's words --------------------------------------------------------------------- */

static const char *const *student_names;
static size_t n_students;
static char spoken_of[220];

void cli_students_are(const char *const *names, size_t n)
{
    student_names = names;
    n_students = n;
}

void cli_speaks_of(const char *name)
{
    snprintf(spoken_of, sizeof spoken_of, name ? "%s: " : "", name);
}

const char *cli_spoken_of(void)
{
    return spoken_of;
}

/* "student 3: " at the beginning becomes the student's name. Returns what is behind it. */
static const char *name_student(const char *text, char *out, size_t size, size_t *used)
{
    static const char word[] = "student ";
    char *end;
    *used = 0;
    if (!student_names || strncmp(text, word, sizeof word - 1)) return text;
    const unsigned long i = strtoul(text + sizeof word - 1, &end, 10);
    if (strncmp(end, ": ", 2) || i >= n_students) return text;
    const int n = snprintf(out, size, "%s: ", student_names[i]);
    if (n < 0 || (size_t)n >= size) return text;
    *used = (size_t)n;
    return end + 2;
}

void cli_as_typed(const char *text, char *out, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_0123456789";
    size_t used;
    text = name_student(text, out, size, &used);
    bool first = true;
    for (const char *at = text; *at && used + 2 < size; first = false) {
        char name[40];
        const size_t length = strspn(at, letters);
        if (length == 0) {
            out[used++] = *at++;
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        const bool begins = first && at[length] == ':';
        const bool inside = at > text && strchr(" (", at[-1]) && strchr(name, '_');
        const bool after_needs = at - text >= 6 && !strncmp(at - 6, "needs ", 6);
        const bool option = (begins || inside || after_needs) && kd_option_find(name);
        for (char *c = name; *c && option; c++)
            if (*c == '_') *c = '-';
        const int n = option ? snprintf(out + used, size - used, "--%s", name)
                             : snprintf(out + used, size - used, "%.*s", (int)length, at);
        used += (size_t)n < size - used ? (size_t)n : size - used - 1;
        at += length;
    }
    out[used] = 0;
}
