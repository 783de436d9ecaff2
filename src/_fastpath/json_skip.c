// SPDX-License-Identifier: Apache-2.0
// JSON that is checked and not read: what is only handed on as it stands, such as a thousand annotations.
//
// The one rule: in doubt it is not passed over, and a whole reader has the last word.
#define _GNU_SOURCE
#include "json.h"

#include "cleanup.h"

#include <stdint.h>
#include <string.h>

enum {
    DEPTH_MAX = 64,
    DIGITS_MAX = 18, /* of a whole number that surely is one of Python's */
    COLLISIONS_MAX = 64,
};

/* Surrogates are left to whom reads the string, pairs of them too. */
static bool is_text(const struct fp_json_token *token)
{
    if (token->kind != FP_JSON_STRING || !token->escaped)
        return token->kind == FP_JSON_STRING;
    const char *at = token->start, *end = at + token->length;
    while ((at = memchr(at, '\\', (size_t)(end - at)))) {
        bool is_surrogate = at[1] == 'u' && (at[2] | 0x20) == 'd' && at[3] >= '8';
        if (is_surrogate || (at[1] == 'u' && memcmp(at + 2, "0000", 4) == 0))
            return false;
        at += 2;
    }
    return true;
}

/* The character that is no blank, 0 at the end. */
static char take_sign(struct fp_json *json)
{
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
    return json->at < json->end ? *json->at++ : '\0';
}

/* Take what follows an item: true for a comma, and for `last`, which ends it all. */
static bool take_separator(struct fp_json *json, char last, bool *ret_is_last)
{
    char sign = take_sign(json);
    *ret_is_last = sign == last;
    return *ret_is_last || sign == ',';
}

static bool take_if_empty(struct fp_json *json, char last)
{
    struct fp_json after = *json;
    if (take_sign(&after) != last)
        return false;
    *json = after;
    return true;
}

static bool skip_texts(struct fp_json *json)
{
    struct fp_json_token token;
    bool is_last = take_if_empty(json, ']');
    while (!is_last) {
        fp_json_next(json, &token);
        if (!is_text(&token) || !take_separator(json, ']', &is_last))
            return false;
    }
    return true;
}

/* A name, the colon and the first token of what it names. */
static bool take_pair(struct fp_json *json, struct fp_json_token *ret_name, struct fp_json_token *ret_value)
{
    fp_json_next(json, ret_name);
    if (ret_name->kind != FP_JSON_STRING || take_sign(json) != ':')
        return false;
    fp_json_next(json, ret_value);
    return true;
}

struct name {
    uint32_t hash, place; /* behind its quote */
};

struct names {
    const char *base;
    struct name *items;
    size_t count, room;
};

static void deinit_names(struct names *names)
{
    free(names->items);
}

static uint32_t hash_of(const char *at, size_t length)
{
    uint64_t value = length, word;
    for (; length >= sizeof(word); at += sizeof(word), length -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        value = (value ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        value ^= value >> 32;
    }
    word = 0;
    memcpy(&word, at, length);
    value = (value ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(value >> 32);
}

static bool add_name(struct names *names, const struct fp_json_token *token)
{
    if (names->count == names->room) {
        size_t room = names->room ? 2 * names->room : 64;
        struct name *items = realloc(names->items, room * sizeof(*items));
        if (!items)
            return false;
        names->items = items;
        names->room = room;
    }
    names->items[names->count++] =
        (struct name){hash_of(token->start, token->length), (uint32_t)(token->start - names->base)};
    return true;
}

/* Of names without escapes, which a quote ends. */
static bool is_same(const char *one, const char *other)
{
    while (*one == *other && *one != '"')
        one++, other++;
    return *one == *other;
}

static bool are_distinct(const struct names *names)
{
    size_t size = (size_t)2 << (64 - __builtin_clzl(names->count));
    _cleanup_free_ uint32_t *table = calloc(size, sizeof(*table)); /* numbers of names, from 1 */
    for (uint32_t number = 1; table && number <= names->count; number++) {
        const struct name *new = &names->items[number - 1], *other;
        size_t at = new->hash &(size - 1), tries = 0;
        for (; table[at]; at = (at + 1) & (size - 1)) {
            other = &names->items[table[at] - 1];
            if (tries++ == COLLISIONS_MAX)
                return false;
            if (other->hash == new->hash && is_same(names->base + other->place, names->base + new->place))
                return false;
        }
        table[at] = number;
    }
    return table;
}

static bool skip_pairs(struct fp_json *json)
{
    __attribute__((cleanup(deinit_names))) struct names names = {.base = json->at};
    struct fp_json_token name, value;
    bool is_last = take_if_empty(json, '}');
    if (is_last || json->end - names.base > UINT32_MAX)
        return is_last;
    while (!is_last)
        if (!take_pair(json, &name, &value) || name.escaped || !is_text(&value) || !add_name(&names, &name) ||
            !take_separator(json, '}', &is_last))
            return false;
    return are_distinct(&names);
}

static bool skip_value(struct fp_json *json, const struct fp_json_token *token, int depth)
{
    bool is_object = token->kind == FP_JSON_OBJECT;
    char last = is_object ? '}' : ']';
    struct fp_json_token name, value;
    if (token->kind == FP_JSON_STRING || token->kind >= FP_JSON_TRUE)
        return true;
    if (token->kind == FP_JSON_INTEGER)
        return token->length <= DIGITS_MAX;
    if ((!is_object && token->kind != FP_JSON_ARRAY) || depth == 0)
        return false;
    bool is_last = take_if_empty(json, last);
    while (!is_last) {
        if (!is_object)
            fp_json_next(json, &value);
        else if (!take_pair(json, &name, &value))
            return false;
        if (!skip_value(json, &value, depth - 1) || !take_separator(json, last, &is_last))
            return false;
    }
    return true;
}

bool fp_json_skip(struct fp_json *json, enum fp_json_kind first, enum fp_json_shape shape)
{
    struct fp_json_token token = {.kind = first};
    if (shape == FP_JSON_TEXTS)
        return first == FP_JSON_ARRAY && skip_texts(json);
    return first == FP_JSON_OBJECT && (shape == FP_JSON_PAIRS ? skip_pairs(json) : skip_value(json, &token, DEPTH_MAX));
}

/* A quote within a string has a backslash before it, one that begins a value a colon. */
const char *fp_json_find_name(const char *at, const char *end, const char *prefix)
{
    const char *begin = at;
    char quoted[64] = "\"";
    size_t length = strlen(strncat(quoted, prefix, sizeof(quoted) - 2));
    while ((at = memmem(at, (size_t)(end - at), quoted, length))) {
        const char *before = at;
        while (before > begin && strchr(" \n\t\r", before[-1]))
            before--;
        if (before > begin && (before[-1] == '{' || before[-1] == ','))
            return at;
        at++;
    }
    return NULL;
}
