// SPDX-License-Identifier: Apache-2.0
// A fuzzer's target without libFuzzer: tries the files that are named, once each.  For valgrind.
#include <string.h>

#include "promise.h"

int main(int argc, char **argv)
{
    static uint8_t data[1 << 16];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        must(file != NULL, "the file can be read");
        size_t size = fread(data, 1, sizeof(data), file);
        fclose(file);
        uint8_t *exact = malloc(size ? size : 1); /* whoever reads behind it is told */
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    printf("%d files\n", argc - 1);
    return 0;
}
