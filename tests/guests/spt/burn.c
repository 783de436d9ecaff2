// SPDX-License-Identifier: Apache-2.0
// "memory=N": writes to each page of N MiB, says so, and waits for ever.
#include "spt.h"

DEVICES(0)

enum { PAGE = 4096, PREFIX = 7 };

static int run(const struct boot *boot)
{
    uint64_t size = number(boot->cmdline + PREFIX) << 20;
    uint64_t start = (boot->kernel_end + PAGE - 1) / PAGE * PAGE;
    struct event event = {0};
    /* the stack is at the end */
    for (uint64_t at = start; at < start + size && at + (1 << 20) < boot->memory; at += PAGE)
        *(volatile uint64_t *)at = at;
    print("touched\n");
    for (;;)
        if (call(EPOLL_PWAIT, boot->epoll_fd, (long)&event, 1, -1, 0, 0) > 0)
            return 1;
}
