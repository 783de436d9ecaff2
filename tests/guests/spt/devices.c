// SPDX-License-Identifier: Apache-2.0
// As many devices as a manifest has room for.  Prints the first byte of the last sector of each; "beyond" then reads
// the last device's one byte further.
#include "spt.h"

#define DISK(TENS, ONES)                                                                                               \
    {                                                                                                                  \
        .name = "disk" TENS ONES, .type = BLOCK                                                                        \
    }
#define NINE(TENS)                                                                                                     \
    DISK(TENS, "1"), DISK(TENS, "2"), DISK(TENS, "3"), DISK(TENS, "4"), DISK(TENS, "5"), DISK(TENS, "6"),              \
        DISK(TENS, "7"), DISK(TENS, "8"), DISK(TENS, "9")
DEVICES(63, NINE("1"), NINE("2"), NINE("3"), NINE("4"), NINE("5"), NINE("6"), NINE("7"))

static char sector[512];

static long read_at(const struct device *disk, uint64_t offset)
{
    return call(PREAD, disk->fd, (long)sector, sizeof(sector), (long)offset, 0, 0);
}

static int run(const struct boot *boot)
{
    const struct device *disks = boot->manifest->devices, *last = &disks[boot->manifest->count - 1];
    print_number("devices ", boot->manifest->count - 1);
    for (const struct device *disk = disks + 1; disk <= last; disk++) {
        if (read_at(disk, disk->block.capacity - sizeof(sector)) != sizeof(sector))
            return 3;
        sector[1] = 0;
        print(sector);
    }
    print("\n");
    if (same(boot->cmdline, "beyond"))
        read_at(last, last->block.capacity - sizeof(sector) + 1);
    return 0;
}
