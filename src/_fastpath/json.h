/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens of a JSON text (RFC 8259); fastpath.pyx makes values of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum fp_json_kind {
    FP_JSON_BAD,
    FP_JSON_END,
    FP_JSON_OBJECT,
    FP_JSON_OBJECT_END,
    FP_JSON_ARRAY,
    FP_JSON_ARRAY_END,
    FP_JSON_COLON,
    FP_JSON_COMMA,
    FP_JSON_STRING,
    FP_JSON_INTEGER,
    FP_JSON_REAL,
    FP_JSON_TRUE,
    FP_JSON_FALSE,
    FP_JSON_NULL,
};

struct fp_json {
    const char *at, *end;
};

struct fp_json_token {
    enum fp_json_kind kind;
    const char *start; /* of a string: behind its quote */
    size_t length;
    bool escaped, other; /* of a string: has an escape; has a character that is not ASCII */
};

/* Read one token.  The text is UTF-8 that somebody has checked; FP_JSON_BAD for what is no token. */
void fp_json_next(struct fp_json *json, struct fp_json_token *ret);

/* Whether those characters stand for themselves in a string of ASCII. */
bool fp_json_is_plain(const char *text, size_t length);

/* Write the characters of a string token to `ret`, which has room for its length, and return how many bytes they take.
 * UTF-8, but that a lone surrogate has the three bytes it would have as a character. */
size_t fp_json_unescape(const struct fp_json_token *token, char *ret);
