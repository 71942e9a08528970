/* SPDX-License-Identifier: MIT
 * page.h: what an HTML page that kd writes must be: UTF-8 without control characters, every element
 * closed, every reference there, nothing loaded from elsewhere. */
#ifndef KDI_TEST_PAGE_H
#define KDI_TEST_PAGE_H

/* A file of test_dir(); its text, which stays until the next call. */
const char *check_page(const char *file);
/* UTF-8, without control characters but newlines. */
void check_characters(const char *text);

#endif
