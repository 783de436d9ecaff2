// SPDX-License-Identifier: Apache-2.0
// Sealed memory files; see sealed.h.
#define _GNU_SOURCE
#include "sealed.h"

#include "cleanup.h"
#include "kernel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { FP_MFD_EXEC = 0x10 };

int fp_sealed_memfd(const char *name, const void *bytes, size_t size, bool executable, struct fp_error *error)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    _cleanup_close_ int fd = memfd_create(name, flags | (executable ? FP_MFD_EXEC : 0));
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 every memfd was executable and the flag unknown */
        fd = memfd_create(name, flags);
    if (fd < 0)
        return fp_fail(error, "memfd_create", name);
    if (!fp_write_whole(fd, bytes, size))
        return fp_fail(error, "write", name);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return fp_fail(error, "seal", name);
    return fp_take_fd(&fd);
}

/* A duplicate of what is kept, -1 if that is not what it was. */
static int duplicate(const struct fp_sealed_image *kept)
{
    struct stat status;
    _cleanup_close_ int fd = kept->fd ? fcntl(kept->fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (fd < 0 || fstat(fd, &status) < 0 || status.st_dev != kept->device || status.st_ino != kept->inode)
        return -1;
    return fp_take_fd(&fd);
}

int fp_sealed_image(struct fp_sealed_image *kept, const char *name, const void *bytes, size_t size,
                    struct fp_error *error)
{
    if (atomic_flag_test_and_set(&kept->busy)) /* nobody waits here: after a fork there may be nobody to wait for */
        return fp_sealed_memfd(name, bytes, size, true, error);
    struct stat status;
    _cleanup_close_ int fd = duplicate(kept);
    if (fd < 0 && (fd = fp_sealed_memfd(name, bytes, size, true, error)) >= 0 && fstat(fd, &status) == 0) {
        int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        kept->fd = own < 0 ? 0 : own;
        kept->device = status.st_dev;
        kept->inode = status.st_ino;
    }
    atomic_flag_clear(&kept->busy);
    return fp_take_fd(&fd);
}
