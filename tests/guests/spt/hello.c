// SPDX-License-Identifier: Apache-2.0
// Says hello, its command line, its memory and what it finds there.
#include "spt.h"

DEVICES(0)

static char zeros[10000];
static char data[] = "data";

static int run(const struct boot *boot)
{
    uint64_t stack = (uint64_t)__builtin_frame_address(0), set = 0;
    for (size_t i = 0; i < sizeof(zeros); i++)
        set += zeros[i] != 0;
    print("hello: ");
    print(boot->cmdline);
    print_number("\nmemory ", boot->memory);
    print_number("devices ", boot->manifest->count - 1);
    print_number("bytes of bss that are set ", set);
    print_number("stack in the last page ", stack < boot->memory && stack > boot->memory - 4096);
    print_number("heap can be written ", *(volatile char *)(boot->kernel_end) = 1);
    data[0] = 'D';
    print(data);
    print("\n");
    return 0;
}
