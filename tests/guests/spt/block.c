// SPDX-License-Identifier: Apache-2.0
// "copy": writes a pattern to the last sector and reads the first; others reach where they may not.
#include "spt.h"

DEVICES(1, {.name = "disk", .type = BLOCK})

static char sector[32768 + 512];

static long transfer(long number, const struct device *disk, uint64_t size, uint64_t offset)
{
    return call(number, disk->fd, (long)sector, (long)size, (long)offset, 0, 0);
}

static int run(const struct boot *boot)
{
    const struct device *disk = &boot->manifest->devices[1];
    uint64_t size = disk->block.sector_size, capacity = disk->block.capacity;
    print_number("capacity ", capacity);
    print_number("sector ", size);
    print_number("attached ", disk->attached);
    if (same(boot->cmdline, "read-beyond"))
        transfer(PREAD, disk, size, capacity);
    if (same(boot->cmdline, "read-partly-beyond"))
        transfer(PREAD, disk, size, capacity - size + 1);
    if (same(boot->cmdline, "read-far-beyond"))
        transfer(PREAD, disk, size, (uint64_t)1 << 32);
    if (same(boot->cmdline, "read-negative"))
        transfer(PREAD, disk, size, ~(uint64_t)0);
    if (same(boot->cmdline, "write-beyond"))
        transfer(PWRITE, disk, size, capacity);
    if (same(boot->cmdline, "write-long"))
        transfer(PWRITE, disk, size * 2, 0);
    if (same(boot->cmdline, "write-very-long"))
        transfer(PWRITE, disk, size | (uint64_t)1 << 32, 0);
    if (same(boot->cmdline, "write-plain"))
        call(WRITE, disk->fd, (long)sector, (long)size, 0, 0, 0);
    if (!same(boot->cmdline, "copy"))
        return 3;
    print_number("read ", (uint64_t)transfer(PREAD, disk, size, 0));
    sector[16] = 0;
    print(sector);
    for (uint64_t i = 0; i < size; i++)
        sector[i] = (char)('a' + i % 26);
    print_number("\nwritten ", (uint64_t)transfer(PWRITE, disk, size, capacity - size));
    return 0;
}
