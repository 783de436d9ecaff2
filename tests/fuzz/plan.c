// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as a plan: refused, or every operation and word of it lies inside.
#include "plan.h"

#include <string.h>

#include "promise.h"

static void check(const struct fp_operation *operation, size_t size)
{
    const char *signature = fp_operation_table[operation->code].signature;
    for (int i = 0; signature[i]; i++) {
        const union fp_argument *argument = &operation->arguments[i];
        if (signature[i] == 's')
            must(strlen(argument->text) == argument->length, "strings end");
        if (signature[i] != 'v')
            continue;
        const char **words = calloc(argument->count + 1, sizeof(*words));
        fp_vector(argument, words);
        for (uint64_t j = 0; j < argument->count; j++)
            must(strlen(words[j]) < size, "words are in the plan");
        free(words);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fp_error error = {0};
    struct fp_plan plan;
    struct fp_operation operation;
    uint64_t *aligned = malloc(size ? size : 1); /* the sanitizer knows where it ends */
    uint32_t count = 0;
    if (size)
        memcpy(aligned, data, size);
    if (fp_plan_open(aligned, size, &plan, &error) == 0) {
        for (uint32_t offset = 0; fp_plan_next(&plan, &offset, &operation); count++)
            check(&operation, size);
        must(count == plan.count, "every operation is given once");
    } else {
        must(error.number != 0, "failure has an errno");
    }
    free(aligned);
    return 0;
}
