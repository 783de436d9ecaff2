// SPDX-License-Identifier: Apache-2.0
// The terminal of a program, of its own devpts; see pty.h.
#define _GNU_SOURCE
#include "pty.h"

#include "cleanup.h"
#include "kernel.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

enum { DEVPTS_MAGIC = 0x1cd1 };

/* Whatever an image has put in its place, it is devpts' own (CVE-2025-52565). */
static int open_master(int root, const char *path, struct fp_error *error)
{
    const struct fp_open_how how = {.flags = O_RDWR | O_NOCTTY | O_CLOEXEC, .resolve = FP_RESOLVE_IN_ROOT};
    struct stat status;
    struct statfs system;
    while (*path == '/')
        path++;
    _cleanup_close_ int here = root < 0 ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    _cleanup_close_ int master = fp_openat2(root < 0 ? here : root, path, &how);
    if (master < 0 || fstat(master, &status) < 0 || fstatfs(master, &system) < 0)
        return fp_fail(error, "open terminal", path);
    if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(5, 2) || system.f_type != DEVPTS_MAGIC)
        return fp_fail_with(error, ENOTTY, "open terminal", path);
    return fp_take_fd(&master);
}

int fp_rootfs_terminal(int *slots, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    const struct fp_pty pty = {(unsigned short)argument[2].integer, (unsigned short)argument[3].integer,
                               (uid_t)argument[4].integer};
    char name[64];
    _cleanup_close_ int socket = slots[FP_SLOT_CONSOLE];
    slots[FP_SLOT_CONSOLE] = -1;
    _cleanup_close_ int master = open_master(slots[FP_SLOT_ROOT], argument[1].text, error);
    if (master < 0)
        return -1;
    _cleanup_close_ int slave = fp_pty_slave(master, &pty, name, error);
    if (slave < 0 || fp_pty_send(socket, master, name, error) < 0)
        return -1;
    int *slot = &slots[argument[0].integer];
    fp_close_guard(slot);
    *slot = fp_take_fd(&slave);
    return 0;
}
