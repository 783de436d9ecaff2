// SPDX-License-Identifier: Apache-2.0
// Answers ARP and ping for the address in its command line, "A.B.C.D COUNT": ends after COUNT pings.
#include "echo.h"
#include "spt.h"

DEVICES(1, {.name = "service", .type = NET})

static int run(const struct boot *boot)
{
    const struct device *net = &boot->manifest->devices[1];
    uint64_t left = listen(boot->cmdline);
    print_number("mtu ", net->net.mtu);
    print_number("first byte of the address ", net->net.mac[0]);
    print_number("attached ", net->attached);
    while (left > 0) {
        struct event event = {0};
        if (call(EPOLL_PWAIT, boot->epoll_fd, (long)&event, 1, -1, 0, 0) != 1 || event.mark != 1)
            return 4;
        long size = call(READ, net->fd, (long)frame, sizeof(frame), 0, 0, 0);
        if (size == -11) /* EAGAIN */
            continue;
        if (size < 0)
            return 5;
        int kind = answer(net->net.mac, (size_t)size);
        if (kind > 0 && call(WRITE, net->fd, (long)frame, size, 0, 0, 0) != size)
            return 6;
        left -= kind == 2;
    }
    print("answered\n");
    return 0;
}
