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

/* What a value has to be for fp_json_skip. */
enum fp_json_shape {
    FP_JSON_TEXTS = 1, /* an array of strings that can be arguments: without NUL, without a lone surrogate */
    FP_JSON_PAIRS,     /* an object of such names and such strings, no name twice */
    FP_JSON_WHATEVER,  /* an object of anything */
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

/* Pass over the rest of a value that began with a token of the kind `first`.  False if it has not that shape, is no
 * JSON or is something that only a whole reader can judge, such as a number with an exponent: read it then. */
bool fp_json_skip(struct fp_json *json, enum fp_json_kind first, enum fp_json_shape shape);

/* The next place from `at` on where a name begins with `prefix`, that of its quote, in an object of strings that is
 * right and whose names have no escapes within the prefix; NULL if there is none. */
const char *fp_json_find_name(const char *at, const char *end, const char *prefix);
