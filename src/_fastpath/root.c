// SPDX-License-Identifier: Apache-2.0
// Stage root: the monitor's own file system, built detached, before any process can see it.
#define _GNU_SOURCE
#include "cleanup.h"
#include "control.h"
#include "denied.h"
#include "kernel.h"
#include "snapshot.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define INODES_MAX "1024" /* of a root: directories, links, nodes and mount points */

static void set_slot(struct fp_sandbox *sandbox, int64_t slot, int fd)
{
    if (sandbox->slots[slot] >= 0)
        close(sandbox->slots[slot]);
    sandbox->slots[slot] = fd;
}

static int create_root(struct fp_sandbox *sandbox, int64_t size, int64_t mode, const char *label,
                       struct fp_error *error)
{
    char size_text[32], mode_text[32];
    snprintf(size_text, sizeof(size_text), "%lld", (long long)size);
    snprintf(mode_text, sizeof(mode_text), "%llo", (unsigned long long)mode);
    _cleanup_close_ int context = fp_fsopen("tmpfs");
    if (context < 0)
        return fp_fail(error, "fsopen", "tmpfs");
    if (*label && fp_fsconfig(context, FP_FSCONFIG_SET_STRING, "context", label) < 0)
        return fp_fail(error, "label a tmpfs as linux.mountLabel asks for", label);
    if (fp_fsconfig(context, FP_FSCONFIG_SET_STRING, "size", size_text) < 0 ||
        fp_fsconfig(context, FP_FSCONFIG_SET_STRING, "nr_inodes", INODES_MAX) < 0 ||
        fp_fsconfig(context, FP_FSCONFIG_SET_STRING, "mode", mode_text) < 0 ||
        fp_fsconfig(context, FP_FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return fp_fail(error, "fsconfig", "tmpfs");
    /* device nodes are the reason for not being nodev; what executes is in a mount of its own */
    int root = fp_fsmount(context, FP_MOUNT_ATTR_NOSUID | FP_MOUNT_ATTR_NOEXEC);
    if (root < 0)
        return fp_fail(error, "fsmount", "tmpfs");
    set_slot(sandbox, FP_SLOT_ROOT, root);
    return 0;
}

/* Modes are set afterwards because mkdir, mknod and open obey the umask, which belongs to the whole process. */
static int set_mode(int root, const char *path, int64_t mode, struct fp_error *error)
{
    if (fchmodat(root, path, (mode_t)mode & 07777, 0) < 0)
        return fp_fail(error, "chmod", path);
    return 0;
}

static int create_file(int root, const struct fp_operation *operation, struct fp_error *error)
{
    const char *path = operation->arguments[0].text;
    _cleanup_close_ int fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fp_fail(error, "create", path);
    const union fp_argument *content = &operation->arguments[2];
    if (!fp_write_whole(fd, content->text, content->length))
        return fp_fail(error, "write", path);
    return set_mode(root, path, operation->arguments[1].integer, error);
}

/* From a file system that the host is to let go of: the descriptor would keep it mounted, so it goes. */
static int copy_file(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    int root = sandbox->slots[FP_SLOT_ROOT], *from = &sandbox->slots[operation->arguments[0].integer];
    const char *path = operation->arguments[1].text;
    _cleanup_close_ int fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fp_fail(error, "create", path);
    off_t offset = 0;
    ssize_t copied;
    do
        copied = sendfile(fd, *from, &offset, 1 << 30);
    while (copied > 0 || (copied < 0 && errno == EINTR));
    if (copied < 0)
        return fp_fail(error, "copy", path);
    close(*from);
    *from = -1;
    return set_mode(root, path, operation->arguments[2].integer, error);
}

static int create_node(int root, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    dev_t device = makedev((unsigned)argument[2].integer, (unsigned)argument[3].integer);
    if (mknodat(root, argument[0].text, (mode_t)argument[1].integer, device) < 0)
        return fp_fail(error, "mknod", argument[0].text);
    return set_mode(root, argument[0].text, argument[1].integer, error);
}

/* A directory is shared as it is where one of its file systems cannot map ids (overlayfs before 5.19, tmpfs
 * before 6.3): then it is nobody's. */
static int map_ids(const struct fp_sandbox *sandbox, int mount, bool directory, struct fp_error *error)
{
    unsigned flags = directory ? FP_AT_RECURSIVE : 0;
    for (int i = 0; i < sandbox->join_count; i++)
        if (sandbox->joins[i].type == CLONE_NEWUSER && fp_mount_idmap(mount, sandbox->joins[i].fd, flags) == 0)
            return 0;
    if (directory && errno == EINVAL)
        return 0;
    return fp_fail(error, "map the ids of a file of the guest", "give it to a user of linux.uidMappings instead");
}

static int clone_mount(struct fp_sandbox *sandbox, int64_t slot, const char *path, int64_t attributes,
                       struct fp_error *error)
{
    bool by_path = path != NULL, mapped = attributes & FP_MOUNT_ATTR_IDMAP;
    attributes &= ~(int64_t)FP_MOUNT_ATTR_IDMAP;
    unsigned flags = FP_OPEN_TREE_CLONE | O_CLOEXEC | (by_path ? FP_AT_RECURSIVE : FP_AT_EMPTY_PATH);
    _cleanup_close_ int mount = fp_open_tree(by_path ? AT_FDCWD : sandbox->slots[slot], by_path ? path : "", flags);
    if (mount < 0)
        return fp_fail(error, "open_tree", by_path ? path : "a file of the guest");
    /* noexec of the host's /run would hold for the monitor too; what must not execute has it in `attributes` */
    if (fp_mount_setattr(mount, by_path ? FP_AT_RECURSIVE : 0, (uint64_t)attributes,
                         by_path ? FP_MOUNT_ATTR_NOEXEC & ~(uint64_t)attributes : 0) < 0)
        return fp_fail(error, "mount_setattr", path);
    if (mapped && map_ids(sandbox, mount, by_path, error) < 0)
        return -1;
    set_slot(sandbox, slot, fp_take_fd(&mount));
    return 0;
}

/* Of the host, in a directory that is for such files: they stay, as whoever removed one could not know who locks it. */
static int open_lock_file(struct fp_sandbox *sandbox, int64_t slot, const char *path, struct fp_error *error)
{
    char directory[256];
    const char *end = strrchr(path, '/');
    if (!end || (size_t)(end - path) >= sizeof(directory))
        return fp_fail_with(error, ENAMETOOLONG, "open", path);
    memcpy(directory, path, (size_t)(end - path));
    directory[end - path] = '\0';
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return fp_fail(error, "mkdir", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fp_fail(error, "open", path);
    set_slot(sandbox, slot, fd);
    return 0;
}

/* For a container whose root may not reach it.  What it mounts there must not come to the host. */
static int clone_source(struct fp_sandbox *sandbox, const union fp_argument *argument, struct fp_error *error)
{
    const char *path = argument[1].text;
    int *slot = &sandbox->slots[argument[0].integer];
    const struct fp_mount_attr slave = {.propagation = MS_SLAVE};
    const unsigned recursive = argument[2].integer ? FP_AT_RECURSIVE : 0;
    _cleanup_close_ int tree = fp_open_tree(AT_FDCWD, path, FP_OPEN_TREE_CLONE | O_CLOEXEC | recursive);
    if (tree < 0)
        return fp_fail(error, "error mounting", path);
    if (syscall(SYS_mount_setattr, tree, "", FP_AT_EMPTY_PATH | recursive, &slave, sizeof(slave)) < 0)
        return fp_fail(error, "mount_setattr", path);
    fp_close_guard(slot);
    *slot = fp_take_fd(&tree);
    return 0;
}

int fp_root_operation(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    int root = sandbox->slots[FP_SLOT_ROOT];
    switch (operation->code) {
    case FP_OP_ROOT:
        return create_root(sandbox, argument[0].integer, argument[1].integer, argument[2].text, error);
    case FP_OP_DIRECTORY:
        if (mkdirat(root, argument[0].text, 0700) < 0)
            return fp_fail(error, "mkdir", argument[0].text);
        return set_mode(root, argument[0].text, argument[1].integer, error);
    case FP_OP_FILE:
        return create_file(root, operation, error);
    case FP_OP_SYMLINK:
        if (symlinkat(argument[0].text, root, argument[1].text) < 0)
            return fp_fail(error, "symlink", argument[1].text);
        return 0;
    case FP_OP_NODE:
        return create_node(root, operation, error);
    case FP_OP_CLONE_TREE:
        return clone_mount(sandbox, argument[0].integer, argument[1].text, argument[2].integer, error);
    case FP_OP_SOURCE:
        return clone_source(sandbox, argument, error);
    case FP_OP_CLONE_FILE:
        return clone_mount(sandbox, argument[0].integer, NULL, argument[1].integer, error);
    case FP_OP_INITRD:
    case FP_OP_INITRD_FILE:
    case FP_OP_INITRD_TREE:
    case FP_OP_INITRD_UINIT:
    case FP_OP_INITRD_END:
        return fp_initrd_operation(sandbox, operation, error);
    case FP_OP_COPY:
        return copy_file(sandbox, operation, error);
    case FP_OP_SNAPSHOT:
        return fp_snapshot_keep(sandbox->state_fd, operation, error);
    case FP_OP_LINK:
        return fp_link_create(sandbox, operation, error);
    case FP_OP_VHOST_NET:
        return fp_vhost_net_open(sandbox, argument[0].integer, error);
    case FP_OP_NOWHERE:
        return fp_nowhere_open(sandbox, argument[0].integer, error);
    case FP_OP_SHARE:
        return fp_share_create(sandbox, operation, error);
    case FP_OP_CONTROL:
        return fp_control_create(sandbox, operation, error);
    case FP_OP_LOCK_FILE:
        return open_lock_file(sandbox, argument[0].integer, argument[1].text, error);
    case FP_OP_DENIED:
        return fp_denied_create(sandbox, operation, error);
    case FP_OP_CONSOLE:
        return fp_console_create(sandbox, operation, error);
    case FP_OP_PIDFD_SOCKET:
        return fp_console_pidfd(sandbox, argument[0].text, error);
    case FP_OP_CONSOLE_SOCKET:
        return fp_console_connect(sandbox, argument[0].text, error);
    default:
        return fp_fail_with(error, EINVAL, "plan", fp_operation_table[operation->code].name);
    }
}
