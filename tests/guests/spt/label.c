// SPDX-License-Identifier: Apache-2.0
// Stands for a Rumprun guest: says its command line and the label of the ext2 file system on its device `rootfs`, and
// writes a new label, as a guest that has the file system for itself may.
#include "spt.h"

DEVICES(1, {.name = "rootfs", .type = BLOCK})

enum { SUPERBLOCK = 1024, MAGIC = 56, LABEL = 120, LABEL_SIZE = 16 }; /* struct ext2_super_block */

static char superblock[512]; /* of which a device gives one sector at a time */

static int run(const struct boot *boot)
{
    const struct device *disk = &boot->manifest->devices[1];
    print(boot->cmdline);
    print("\n");
    if (call(PREAD, disk->fd, (long)superblock, 512, SUPERBLOCK, 0, 0) != 512)
        return 3;
    if (superblock[MAGIC] != 0x53 || (unsigned char)superblock[MAGIC + 1] != 0xef)
        return 4;
    print("label ");
    char label[LABEL_SIZE + 1] = {0};
    for (int i = 0; i < LABEL_SIZE; i++)
        label[i] = superblock[LABEL + i];
    print(label);
    print("\n");
    superblock[LABEL] = 'W';
    return call(PWRITE, disk->fd, (long)superblock, 512, SUPERBLOCK, 0, 0) == 512 ? 0 : 5;
}
