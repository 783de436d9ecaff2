// SPDX-License-Identifier: Apache-2.0
// Two disks: says what is in the first sector of `source`, and writes it to the second sector of `target`.
#include "hvt.h"

DEVICES(2, {.name = "target", .type = BLOCK}, {.name = "source", .type = BLOCK})

static char sector[513] __attribute__((aligned(512)));

void _start(const struct boot *boot)
{
    (void)boot;
    if (block(BLOCK_READ, 2, 0, sector))
        end(1);
    print("read: ");
    print(sector);
    print("\n");
    end(block(BLOCK_WRITE, 1, 512, sector) ? 2 : 0);
}
