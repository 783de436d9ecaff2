// SPDX-License-Identifier: Apache-2.0
// Answers ARP and ping for the address in its command line; see serve.h.
#include "serve.h"

DEVICES(1, {.name = "service", .type = NET})

void _start(const struct boot *boot)
{
    serve(boot, 1);
    end(0);
}
