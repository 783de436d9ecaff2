/* SPDX-License-Identifier: Apache-2.0 */
/* Answers ARP and ping for the address in the command line, "A.B.C.D COUNT", as net device `device`; returns after
 * COUNT pings. */
#pragma once

#include "echo.h"
#include "hvt.h"

enum { WAIT_NS = 1000000000 }; /* at most: less if a frame comes */

static int transfer(int what, uint64_t device, uint64_t *size)
{
    struct {
        uint64_t device;
        void *data;
        uint64_t size;
        int32_t result;
    } request = {device, frame, *size, -1};
    ask(what, &request);
    *size = request.size;
    return request.result;
}

static void serve(const struct boot *boot, uint64_t device)
{
    const uint8_t *mac = (const uint8_t *)&boot->manifest->devices[device].capacity;
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
        if (transfer(NET_READ, device, &size)) {
            ask(POLL, &poll);
            continue;
        }
        int kind = answer(mac, size);
        if (kind > 0 && transfer(NET_WRITE, device, &size))
            end(6);
        left -= kind == 2;
    }
    print("answered\n");
}
