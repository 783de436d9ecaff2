// SPDX-License-Identifier: Apache-2.0
// Two disks and a network between them: copies a sector of `source` to `target`, then answers as net.c does.
#include "serve.h"

DEVICES(3, {.name = "target", .type = BLOCK}, {.name = "service", .type = NET}, {.name = "source", .type = BLOCK})

static char sector[513] __attribute__((aligned(512)));

void _start(const struct boot *boot)
{
    if (block(BLOCK_READ, 3, 0, sector))
        end(1);
    print("read: ");
    print(sector);
    print("\n");
    if (block(BLOCK_WRITE, 1, 512, sector))
        end(2);
    serve(boot, 2);
    end(0);
}
