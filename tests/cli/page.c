/* SPDX-License-Identifier: MIT
 * page.c: see page.h. */
#include "page.h"

#include "typed.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

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

void check_characters(const char *text)
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

const char *check_page(const char *file)
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
