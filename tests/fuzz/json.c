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
    must(token.kind == FP_JSON_END || token.kind == FP_JSON_BAD, "every token takes a byte at least");
    return 0;
}
