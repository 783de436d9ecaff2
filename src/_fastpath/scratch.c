// SPDX-License-Identifier: Apache-2.0
// Small file systems in the monitor's root; see scratch.h.
#define _GNU_SOURCE
#include "scratch.h"

#include "cleanup.h"
#include "kernel.h"

#include <sys/stat.h>

#define SOCKETS_SIZE "64k"

int fp_scratch_mount(const char *path, const char *size, mode_t mode, int *ret, struct fp_error *error)
{
    _cleanup_close_ int context = fp_fsopen("tmpfs");
    if (context < 0)
        return fp_fail(error, "fsopen", "tmpfs");
    if (fp_fsconfig(context, FP_FSCONFIG_SET_STRING, "size", size) < 0 ||
        fp_fsconfig(context, FP_FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return fp_fail(error, "fsconfig", "tmpfs");
    _cleanup_close_ int mount = fp_fsmount(context, FP_MOUNT_ATTR_NOSUID | FP_MOUNT_ATTR_NODEV | FP_MOUNT_ATTR_NOEXEC);
    if (mount < 0)
        return fp_fail(error, "fsmount", "tmpfs");
    _cleanup_close_ int top = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0 || fchmod(top, mode) < 0)
        return fp_fail(error, "chmod", path);
    if (fp_move_mount(mount, AT_FDCWD, path) < 0)
        return fp_fail(error, "move_mount", path);
    *ret = fp_take_fd(&top);
    return 0;
}

int fp_scratch_create(const char *path, uid_t uid, gid_t gid, struct fp_error *error)
{
    int fd;
    if (fp_scratch_mount(path, SOCKETS_SIZE, 0700, &fd, error) < 0)
        return -1;
    _cleanup_close_ int top = fd;
    return fchown(top, uid, gid) < 0 ? fp_fail(error, "chown", path) : 0;
}
