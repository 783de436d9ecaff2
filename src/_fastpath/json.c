// SPDX-License-Identifier: Apache-2.0
// The tokens of a JSON text; see json.h.
#include "json.h"

#include <stdint.h>
#include <string.h>

enum { SURROGATE = 0xd800, LOW_SURROGATE = 0xdc00, AFTER_SURROGATES = 0xe000 };

typedef unsigned char vector __attribute__((vector_size(16)));

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at `at`; -1 if they are none. */
static long hex4(const char *at, const char *end)
{
    long value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static uint64_t bits_below(int count)
{
    return count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX;
}

/* Where a string may end, escape a character or hold one that it must not: sixteen bytes at a time.  `*seen` gets the
 * bits of all before. */
static const char *plain_end(const char *at, const char *end, uint64_t *seen)
{
    vector all = {0};
    uint64_t words[2], stops[2] = {0}; /* little-endian, as all machines of ours */
    for (vector bytes; end - at >= (ptrdiff_t)sizeof(bytes); at += sizeof(bytes)) {
        memcpy(&bytes, at, sizeof(bytes));
        vector found = (vector)((bytes == '"') | (bytes == '\\') | (bytes < 0x20));
        memcpy(stops, &found, sizeof(stops));
        if (stops[0] | stops[1]) {
            int first = stops[0] ? __builtin_ctzll(stops[0]) : 64;
            int second = stops[0] ? 0 : __builtin_ctzll(stops[1]);
            memcpy(words, &bytes, sizeof(words));
            *seen |= (words[0] & bits_below(first)) | (words[1] & bits_below(second));
            at += (first + second) / 8;
            break;
        }
        all |= bytes;
    }
    memcpy(words, &all, sizeof(words));
    *seen |= words[0] | words[1];
    if (stops[0] | stops[1])
        return at;
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        *seen |= (unsigned char)*at++;
    return at;
}

static void take_string(struct fp_json *json, struct fp_json_token *ret)
{
    const char *at = json->at + 1;
    uint64_t seen = 0;
    ret->start = at;
    for (; (at = plain_end(at, json->end, &seen)) < json->end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return;
        ret->escaped = true;
        if (++at == json->end || !memchr("\"\\/bfnrtu", *at, 9) || (*at == 'u' && hex4(at + 1, json->end) < 0))
            return;
    }
    if (at >= json->end)
        return;
    ret->kind = FP_JSON_STRING;
    ret->length = (size_t)(at - ret->start);
    ret->other = seen & 0x8080808080808080;
    json->at = at + 1;
}

static const char *digits(const char *at, const char *end)
{
    while (at < end && is_digit(*at))
        at++;
    return at;
}

static void take_number(struct fp_json *json, struct fp_json_token *ret)
{
    const char *at = json->at, *end = json->end, *begin;
    enum fp_json_kind kind = FP_JSON_INTEGER;
    at += *at == '-';
    begin = at;
    at = digits(at, end);
    if (at == begin || (*begin == '0' && at - begin > 1))
        return;
    if (at < end && *at == '.') {
        kind = FP_JSON_REAL;
        begin = ++at;
        if ((at = digits(at, end)) == begin)
            return;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        kind = FP_JSON_REAL;
        at++;
        at += at < end && (*at == '+' || *at == '-');
        begin = at;
        if ((at = digits(at, end)) == begin)
            return;
    }
    *ret = (struct fp_json_token){.kind = kind, .start = json->at, .length = (size_t)(at - json->at)};
    json->at = at;
}

static void take_word(struct fp_json *json, struct fp_json_token *ret)
{
    static const struct {
        const char *text;
        enum fp_json_kind kind;
    } words[] = {{"true", FP_JSON_TRUE}, {"false", FP_JSON_FALSE}, {"null", FP_JSON_NULL}};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        size_t length = strlen(words[i].text);
        if ((size_t)(json->end - json->at) >= length && memcmp(json->at, words[i].text, length) == 0) {
            ret->kind = words[i].kind;
            json->at += length;
            return;
        }
    }
}

bool fp_json_is_plain(const char *text, size_t length)
{
    vector found = {0};
    uint64_t words[2];
    for (vector bytes; length >= sizeof(bytes); text += sizeof(bytes), length -= sizeof(bytes)) {
        memcpy(&bytes, text, sizeof(bytes));
        found |= (vector)((bytes < 0x20) | (bytes >= 0x7f) | (bytes == '"') | (bytes == '\\'));
    }
    memcpy(words, &found, sizeof(words));
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)(text[i] - 0x20) >= 0x7f - 0x20 || text[i] == '"' || text[i] == '\\')
            return false;
    return !(words[0] | words[1]);
}

void fp_json_next(struct fp_json *json, struct fp_json_token *ret)
{
    static const enum fp_json_kind signs[256] = {
        ['{'] = FP_JSON_OBJECT,    ['}'] = FP_JSON_OBJECT_END, ['['] = FP_JSON_ARRAY,
        [']'] = FP_JSON_ARRAY_END, [':'] = FP_JSON_COLON,      [','] = FP_JSON_COMMA,
    };
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
    *ret = (struct fp_json_token){.kind = FP_JSON_BAD};
    if (json->at >= json->end) {
        ret->kind = FP_JSON_END;
        return;
    }
    char c = *json->at;
    if (c == '"') {
        take_string(json, ret);
    } else if (signs[(unsigned char)c]) {
        ret->kind = signs[(unsigned char)c];
        json->at++;
    } else if (c == '-' || is_digit(c)) {
        take_number(json, ret);
    } else {
        take_word(json, ret);
    }
}

static char *put(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

size_t fp_json_unescape(const struct fp_json_token *token, char *ret)
{
    static const char plain[256] = {
        ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t', ['"'] = '"', ['/'] = '/', ['\\'] = '\\'};
    const char *at = token->start, *end = at + token->length;
    char *to = ret;
    while (at < end) {
        if (*at != '\\') {
            *to++ = *at++;
        } else if (at[1] != 'u') {
            *to++ = plain[(unsigned char)at[1]];
            at += 2;
        } else {
            long code = hex4(at + 2, end), low = -1;
            at += 6;
            if (code >= SURROGATE && code < LOW_SURROGATE && end - at >= 6 && at[0] == '\\' && at[1] == 'u')
                low = hex4(at + 2, end);
            if (low >= LOW_SURROGATE && low < AFTER_SURROGATES) {
                code = 0x10000 + ((code - SURROGATE) << 10) + (low - LOW_SURROGATE);
                at += 6;
            }
            to = put(to, (uint32_t)code);
        }
    }
    return (size_t)(to - ret);
}
