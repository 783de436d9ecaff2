/* SPDX-License-Identifier: Apache-2.0 */
/* System calls and numbers that glibc 2.36 or musl 1.2.3 lack, under the kernel's names with fp_ before them. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* include/uapi/linux/mount.h, sched.h, fcntl.h of Linux 6.1; the headers of libc and kernel exclude each other. */
enum {
    FP_OPEN_TREE_CLONE = 1,
    FP_FSCONFIG_SET_STRING = 1,
    FP_FSCONFIG_CMD_CREATE = 6,
    FP_FSMOUNT_CLOEXEC = 1,
    FP_MOVE_MOUNT_F_EMPTY_PATH = 0x4,
    FP_MOVE_MOUNT_T_EMPTY_PATH = 0x40,
    FP_MOUNT_ATTR_RDONLY = 0x1,
    FP_MOUNT_ATTR_NOSUID = 0x2,
    FP_MOUNT_ATTR_NODEV = 0x4,
    FP_MOUNT_ATTR_NOEXEC = 0x8,
    FP_MOUNT_ATTR_IDMAP = 0x100000,
    FP_AT_RECURSIVE = 0x8000,
    FP_AT_EMPTY_PATH = 0x1000,
    FP_STATX_MNT_ID = 0x1000,
    FP_STATX_ATTR_MOUNT_ROOT = 0x2000,
    FP_RESOLVE_NO_MAGICLINKS = 0x02,
    FP_RESOLVE_IN_ROOT = 0x10,
};

#define FP_CLONE_INTO_CGROUP UINT64_C(0x200000000)

struct fp_mount_attr {
    uint64_t attr_set, attr_clr, propagation, userns_fd;
};

struct fp_statx { /* struct statx of include/uapi/linux/stat.h, which musl lacks */
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, pad;
    uint64_t inode, size, blocks, attributes_mask, times[8];
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mount_id, rest[13];
};

struct fp_open_how {
    uint64_t flags, mode, resolve;
};

struct fp_clone_args { /* struct clone_args, CLONE_ARGS_SIZE_VER2 */
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static inline int fp_open_tree(int dirfd, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dirfd, path, flags);
}

static inline int fp_move_mount(int from, int to, const char *path)
{
    return (int)syscall(SYS_move_mount, from, "", to, path, FP_MOVE_MOUNT_F_EMPTY_PATH);
}

/* Onto what the descriptor `target` is. */
static inline int fp_move_mount_to(int from, int target)
{
    const unsigned flags = FP_MOVE_MOUNT_F_EMPTY_PATH | FP_MOVE_MOUNT_T_EMPTY_PATH;
    return (int)syscall(SYS_move_mount, from, "", target, "", flags);
}

static inline int fp_fsopen(const char *type)
{
    return (int)syscall(SYS_fsopen, type, FP_FSMOUNT_CLOEXEC);
}

static inline int fp_fsconfig(int fd, unsigned command, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, fd, command, key, value, 0);
}

static inline int fp_fsmount(int fd, unsigned attributes)
{
    return (int)syscall(SYS_fsmount, fd, FP_FSMOUNT_CLOEXEC, attributes);
}

static inline int fp_mount_setattr(int fd, unsigned flags, uint64_t set, uint64_t clear)
{
    struct fp_mount_attr attributes = {.attr_set = set, .attr_clr = clear};
    return (int)syscall(SYS_mount_setattr, fd, "", flags | FP_AT_EMPTY_PATH, &attributes, sizeof(attributes));
}

/* Files belong to whom the user namespace maps their owners to (mount_setattr(2)). */
static inline int fp_mount_idmap(int fd, int userns_fd, unsigned flags)
{
    struct fp_mount_attr attributes = {.attr_set = FP_MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
    return (int)syscall(SYS_mount_setattr, fd, "", flags | FP_AT_EMPTY_PATH, &attributes, sizeof(attributes));
}

static inline int fp_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static inline int fp_openat2(int dirfd, const char *path, const struct fp_open_how *how)
{
    return (int)syscall(SYS_openat2, dirfd, path, how, sizeof(*how));
}

static inline int fp_statx(int fd, unsigned mask, struct fp_statx *ret)
{
    return (int)syscall(SYS_statx, fd, "", FP_AT_EMPTY_PATH, mask, ret);
}

static inline int fp_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static inline int fp_pidfd_send_signal(int pidfd, int number)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

/* A duplicate of a descriptor of another process. */
static inline int fp_pidfd_getfd(int pidfd, int number)
{
    return (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
}

static inline int fp_close_range(unsigned first, unsigned last)
{
    return (int)syscall(SYS_close_range, first, last, 0);
}

static inline int fp_execveat(int fd, const char *const *argv, const char *const *environment)
{
    return (int)syscall(SYS_execveat, fd, "", argv, environment, FP_AT_EMPTY_PATH);
}

/* All of it: a file system that runs full takes a part, and says why it is one only when asked again. */
static inline bool fp_write_whole(int fd, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t written = write(fd, (const char *)bytes + done, size - done);
        if (written < 0 && errno != EINTR)
            return false;
        done += written < 0 ? 0 : (size_t)written;
    }
    return true;
}

/* Every signal at its default and none blocked, as execve(2) should find them: Python ignores SIGPIPE.  By system
 * calls, because it runs in a child that shares the memory (and libc's books) of its parent. */
static inline void fp_default_signals(void)
{
    const struct {
        void (*handler)(int);
        unsigned long flags, restorer, mask;
    } by_default = {0};
    const uint64_t none = 0;
    for (int number = 1; number <= 64; number++)
        syscall(SYS_rt_sigaction, number, &by_default, NULL, sizeof(none));
    syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, NULL, sizeof(none));
}
