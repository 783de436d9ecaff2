// SPDX-License-Identifier: Apache-2.0
// The sector with a guest's status; see sector.h.  What is in it comes from the guest.
#define _GNU_SOURCE
#include "sector.h"

#include "cleanup.h"
#include "scratch.h"
#include "uinit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* As large as what kernels look for partition tables in, lest they complain; all of it but the first sector is a hole.
 */
enum { DISK_SIZE = 64 << 10 };

int fp_sector_create(const char *path, struct fp_error *error)
{
    int directory;
    if (fp_scratch_mount(path, "128k", 0755, &directory, error) < 0)
        return -1;
    _cleanup_close_ int top = directory;
    /* for the monitor, whatever its user is; nobody else gets here */
    _cleanup_close_ int fd = openat(top, FP_SECTOR_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0666) < 0 || ftruncate(fd, DISK_SIZE) < 0)
        return fp_fail(error, "create", path);
    return 0;
}

int fp_sector_read(const char *path)
{
    char text[sizeof(FP_UINIT_STATUS) + 4] = "";
    const size_t prefix = sizeof(FP_UINIT_STATUS) - 1;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (length < (ssize_t)prefix || memcmp(text, FP_UINIT_STATUS, prefix) != 0)
        return -1;
    int status = 0, digits = 0;
    for (const char *at = text + prefix; *at >= '0' && *at <= '9'; at++, digits++)
        status = status * 10 + *at - '0';
    return digits && text[prefix + (size_t)digits] == '\n' && status <= 255 ? status : -1;
}
