// SPDX-License-Identifier: Apache-2.0
// Says hello and its command line, and ends with the number behind its last blank, if there is one: `stay` stays.
#include "hvt.h"

DEVICES(0)

void _start(const struct boot *boot)
{
    const char *last = boot->cmdline;
    int status = 0;
    print("hello: ");
    print(boot->cmdline);
    print("\n");
    for (const char *at = boot->cmdline; *at; at++)
        last = *at == ' ' ? at + 1 : last;
    for (; *last >= '0' && *last <= '9'; last++)
        status = status * 10 + *last - '0';
    while (*last == 's')
        __asm__ volatile("pause");
    end(status);
}
