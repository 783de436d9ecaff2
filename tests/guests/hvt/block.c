// SPDX-License-Identifier: Apache-2.0
// Two disks: says what is in the first sector of `source`, and writes it to the second sector of `target`.
#include "hvt.h"

DEVICES(2, {.name = "target", .type = BLOCK}, {.name = "source", .type = BLOCK})

static char sector[513] __attribute__((aligned(512)));

static int transfer(int what, uint64_t device, uint64_t offset)
{
    struct {
        uint64_t device, offset;
        void *data;
        uint64_t size;
        int32_t result;
    } request = {device, offset, sector, 512, -1};
    ask(what, &request);
    return request.result;
}

void _start(const struct boot *boot)
{
    (void)boot;
    if (transfer(BLOCK_READ, 2, 0))
        end(1);
    print("read: ");
    print(sector);
    print("\n");
    end(transfer(BLOCK_WRITE, 1, 512) ? 2 : 0);
}
