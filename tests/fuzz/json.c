// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as JSON: its tokens lie inside, one behind the other, and its strings take no more room than they
// had.
#include "json.h"

#include <stdbool.h>
#include <string.h>

#include "promise.h"

static void check_string(const struct fp_json_token *token)
{
    char *characters = malloc(token->length ? token->length : 1); /* the sanitizer knows where it ends */
    size_t length = fp_json_unescape(token, characters);
    must(length <= token->length, "what is escaped is longer");
    must(token->escaped || (length == token->length && memcmp(characters, token->start, length) == 0), "as it stands");
    free(characters);
}

/* What can be passed over is inside, and its names are where names are. */
static void check_skip(const uint8_t *data, size_t size, enum fp_json_shape shape)
{
    const char *begin = (const char *)data, *end = begin + size;
    struct fp_json json = {begin, end};
    struct fp_json_token first;
    fp_json_next(&json, &first);
    if (first.kind == FP_JSON_BAD || first.kind == FP_JSON_END || !fp_json_skip(&json, first.kind, shape))
        return;
    must(json.at > begin && json.at <= end, "it ends inside");
    must(json.at[-1] == (first.kind == FP_JSON_OBJECT ? '}' : ']'), "behind its last sign");
    if (shape != FP_JSON_PAIRS)
        return;
    for (const char *at = fp_json_find_name(begin, json.at, "a"); at; at = fp_json_find_name(at + 1, json.at, "a"))
        must(at[0] == '"' && at[1] == 'a' && at + 2 < json.at, "a name begins so");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fp_json json = {(const char *)data, (const char *)data + size};
    struct fp_json_token token;
    const char *before;
    do {
        before = json.at;
        fp_json_next(&json, &token);
        must(json.at >= before && json.at <= json.end, "it goes on, and not too far");
        if (token.kind == FP_JSON_STRING || token.kind == FP_JSON_INTEGER || token.kind == FP_JSON_REAL)
            must(token.start >= before && token.length <= (size_t)(json.at - token.start), "tokens lie inside");
        if (token.kind == FP_JSON_STRING)
            check_string(&token);
    } while (token.kind != FP_JSON_END && token.kind != FP_JSON_BAD && json.at > before);
    for (enum fp_json_shape shape = FP_JSON_TEXTS; shape <= FP_JSON_WHATEVER; shape++)
        check_skip(data, size, shape);
    must(token.kind == FP_JSON_END || token.kind == FP_JSON_BAD, "every token takes a byte at least");
    return 0;
}
