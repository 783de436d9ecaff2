// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as the configuration of uinit: refused, or every directive of it stays inside.
#include "uinit.h"

#include <string.h>

#include "promise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct uinit_config config;
    struct uinit_directive found;
    struct fp_error error = {0};
    char *exact = malloc(size ? size : 1); /* the sanitizer knows where it ends */
    if (size)
        memcpy(exact, data, size);
    if (uinit_config_open(exact, size, &config, &error) == 0) {
        for (size_t offset = 0; uinit_config_next(&config, UINIT_COUNT, &offset, &found);)
            must(offset <= config.size && found.code < UINIT_COUNT, "directives are in the bytes");
        for (int code = 0; code < UINIT_COUNT; code++)
            uinit_config_last(&config, (enum uinit_code)code, &found);
    } else {
        must(error.number == EINVAL && error.step[0], "failure says why");
    }
    free(exact);
    return 0;
}
