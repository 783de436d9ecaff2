// SPDX-License-Identifier: Apache-2.0
// Answers ARP and ping for the address in its command line, "A.B.C.D COUNT": ends after COUNT pings.
#include "echo.h"
#include "hvt.h"

DEVICES(1, {.name = "service", .type = NET})

enum { WAIT_NS = 1000000000 }; /* at most: less if a frame comes */

static int transfer(int what, uint64_t *size)
{
    struct {
        uint64_t device;
        void *data;
        uint64_t size;
        int32_t result;
    } request = {1, frame, *size, -1};
    ask(what, &request);
    *size = request.size;
    return request.result;
}

void _start(const struct boot *boot)
{
    const uint8_t *mac = (const uint8_t *)&boot->manifest->devices[1].capacity;
    struct {
        uint64_t timeout_ns, ready;
        int32_t result;
    } poll = {WAIT_NS, 0, 0};
    uint64_t left = listen(boot->cmdline);
    print("told ");
    print(boot->cmdline);
    print("\nlistens\n");
    while (left > 0) {
        uint64_t size = sizeof(frame);
        if (transfer(NET_READ, &size)) {
            ask(POLL, &poll);
            continue;
        }
        int kind = answer(mac, size);
        if (kind > 0 && transfer(NET_WRITE, &size))
            end(6);
        left -= kind == 2;
    }
    print("answered\n");
    end(0);
}
