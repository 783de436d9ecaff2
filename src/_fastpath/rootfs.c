// SPDX-License-Identifier: Apache-2.0
// The root file system of a container whose process is no monitor; see rootfs.h.
#define _GNU_SOURCE
#include "rootfs.h"

#include "cleanup.h"
#include "copy_up.h"
#include "kernel.h"
#include "rootfs_path.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { PATH_SIZE = 4096 };

/* The numbers of an operation `mount`. */
enum { FLAGS, SET, CLEAR, RECURSIVE_SET, RECURSIVE_CLEAR, PROPAGATIONS };

static int set_attributes(int mount, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation)
{
    struct fp_mount_attr attributes = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
    if (!set && !clear && !propagation)
        return 0;
    return (int)syscall(SYS_mount_setattr, mount, "", flags | FP_AT_EMPTY_PATH, &attributes, sizeof(attributes));
}

/* All that is to be true of the mount itself: `numbers` of an operation, of which there are `count`. */
static int adjust(int mount, const int64_t *numbers, uint64_t count)
{
    if (set_attributes(mount, 0, (uint64_t)numbers[SET], (uint64_t)numbers[CLEAR], 0) < 0 ||
        set_attributes(mount, FP_AT_RECURSIVE, (uint64_t)numbers[RECURSIVE_SET], (uint64_t)numbers[RECURSIVE_CLEAR],
                       0) < 0)
        return -1;
    for (uint64_t i = PROPAGATIONS; i < count; i++)
        if (set_attributes(mount, numbers[i] & MS_REC ? FP_AT_RECURSIVE : 0, 0, 0,
                           (uint64_t)numbers[i] & ~(uint64_t)MS_REC) < 0)
            return -1;
    return 0;
}

static int fail_mount(struct fp_error *error, const char *source, const char *target, bool missing)
{
    int number = errno;
    char words[FP_PATH_MAX];
    snprintf(words, sizeof(words), "\"%s\" to rootfs at \"%s\"%s%s", source, target, missing ? ": stat " : "",
             missing ? source : "");
    return fp_fail_with(error, number, "error mounting", words);
}

/* A detached mount of what is bound: as the caller has opened it, or by its path. */
static int open_source(int *slots, const char *source, int64_t flags)
{
    int *slot = &slots[FP_SOURCE_SLOT(flags)];
    if (slot != &slots[FP_SLOT_ROOT] && *slot >= 0)
        return fp_take_fd(slot);
    _cleanup_close_ int file =
        flags & FP_IN_ROOTFS ? fp_rootfs_open(slots[FP_SLOT_ROOT], source, O_PATH) : open(source, O_PATH | O_CLOEXEC);
    const unsigned recursive = flags & MS_REC ? FP_AT_RECURSIVE : 0;
    return file < 0 ? -1 : fp_open_tree(file, "", FP_OPEN_TREE_CLONE | O_CLOEXEC | FP_AT_EMPTY_PATH | recursive);
}

static int bind_mount(int *slots, const union fp_argument *argument, struct fp_error *error)
{
    const char *source = argument[0].text, *path = argument[1].text;
    const int64_t *numbers = fp_numbers(&argument[3]);
    struct stat status;
    _cleanup_close_ int tree = open_source(slots, source, numbers[FLAGS]);
    if (tree < 0 || fstat(tree, &status) < 0)
        return fail_mount(error, source, path, true);
    _cleanup_close_ int target = fp_rootfs_make(slots[FP_SLOT_ROOT], path, S_ISDIR(status.st_mode));
    if (target < 0 || adjust(tree, numbers, argument[3].count) < 0 || fp_move_mount_to(tree, target) < 0)
        return fail_mount(error, source, path, false);
    return 0;
}

/* Where a file system goes, made if it is missing.  A link in the place of one of the kernel's own would leave the
 * usual place to the image (CVE-2019-16884): that is looked at by the descriptor that is mounted on, as who shares the
 * rootfs may change it meanwhile. */
static int open_place(int root, const char *type, const char *path, bool *ret_new, struct fp_error *error)
{
    struct stat status;
    char step[FP_STEP_MAX];
    bool own = strcmp(type, "proc") == 0 || strcmp(type, "sysfs") == 0;
    _cleanup_close_ int made = -1;
    _cleanup_close_ int found = fp_rootfs_open(root, path, own ? O_PATH | O_NOFOLLOW : O_PATH);
    *ret_new = found < 0;
    if (found < 0 && (made = fp_rootfs_make(root, path, true)) >= 0)
        found = own ? fp_rootfs_open(root, path, O_PATH | O_NOFOLLOW) : fp_take_fd(&made);
    if (!own || found < 0 || fstat(found, &status) < 0 || S_ISDIR(status.st_mode))
        return fp_take_fd(&found);
    snprintf(step, sizeof(step), "%s must be mounted on ordinary directory", type);
    return fp_fail_with(error, ENOTDIR, step, path);
}

/* A new instance of a file system.  A tmpfs looks like the directory that it hides, unless its options say otherwise.
 */
static int new_mount(int root, const union fp_argument *argument, struct fp_error *error)
{
    const char *source = argument[0].text, *path = argument[1].text, *type = argument[2].text, *data = argument[4].text;
    const int64_t *numbers = fp_numbers(&argument[3]);
    struct stat before;
    char place[32], options[PATH_SIZE];
    bool is_new;
    _cleanup_close_ int target = open_place(root, type, path, &is_new, error);
    bool like = !is_new && strcmp(type, "tmpfs") == 0 && !strstr(data, "mode=");
    if (target < 0 || fstat(target, &before) < 0)
        return fail_mount(error, source, path, false);
    snprintf(place, sizeof(place), "/proc/self/fd/%d", target);
    const int64_t all = numbers[FLAGS], copied = all & FP_COPY_UP;
    const unsigned long flags = (uint32_t)(copied ? all & ~MS_RDONLY : all);
    snprintf(options, sizeof(options), like ? "%s%smode=%o" : "%s", data, *data ? "," : "", before.st_mode & 07777);
    if (mount(source, place, type, flags, options) < 0)
        return fail_mount(error, source, path, false);
    _cleanup_close_ int made = fp_rootfs_open(root, path, O_PATH);
    if (made < 0 || (copied && fp_copy_up(target, made, path, error) < 0) ||
        set_attributes(made, 0, copied && all & MS_RDONLY ? FP_MOUNT_ATTR_RDONLY : 0, 0, 0) < 0 ||
        adjust(made, numbers, argument[3].count) < 0)
        return fail_mount(error, source, path, false);
    return 0;
}

static int mount_one(int *slots, const union fp_argument *argument, struct fp_error *error)
{
    if (argument[3].count < PROPAGATIONS)
        return fp_fail_with(error, EINVAL, "plan", "mount");
    return fp_numbers(&argument[3])[FLAGS] & MS_BIND ? bind_mount(slots, argument, error)
                                                     : new_mount(slots[FP_SLOT_ROOT], argument, error);
}

/* Where nodes cannot be made (a user namespace) it is the host's, bound. */
static int create_node(int root, const union fp_argument *argument, struct fp_error *error)
{
    const char *path = argument[0].text, *name;
    mode_t mode = (mode_t)argument[1].integer;
    _cleanup_close_ int parent = fp_rootfs_parent(root, path, &name);
    if (parent < 0)
        return fp_fail(error, "create device node", path);
    dev_t device = makedev((unsigned)argument[2].integer, (unsigned)argument[3].integer);
    if (mknodat(parent, name, mode, device) < 0) {
        if (errno == EPERM) {
            _cleanup_close_ int tree = fp_open_tree(AT_FDCWD, path, FP_OPEN_TREE_CLONE | O_CLOEXEC);
            _cleanup_close_ int target = fp_rootfs_make(root, path, false);
            return tree < 0 || target < 0 || fp_move_mount_to(tree, target) < 0
                       ? fp_fail(error, "bind device node", path)
                       : 0;
        }
        return errno == EEXIST ? 0 : fp_fail(error, "create device node", path);
    }
    if (fchmodat(parent, name, mode & 07777, 0) < 0 ||
        fchownat(parent, name, (uid_t)argument[4].integer, (gid_t)argument[5].integer, AT_SYMLINK_NOFOLLOW) < 0)
        return fp_fail(error, "create device node", path);
    return 0;
}

static int create_link(int root, const union fp_argument *argument, struct fp_error *error)
{
    const char *name;
    _cleanup_close_ int parent = fp_rootfs_parent(root, argument[1].text, &name);
    if (parent < 0 || (symlinkat(argument[0].text, parent, name) < 0 && errno != EEXIST))
        return fp_fail(error, "symlink", argument[1].text);
    return 0;
}

/* Hidden by an empty one, the same for all: `empty` is it, once there is one. */
static int mask_directory(int root, int target, const char *path)
{
    static const char *empty;
    char place[32];
    if (empty) {
        _cleanup_close_ int first = fp_rootfs_open(root, empty, O_PATH);
        _cleanup_close_ int tree = fp_open_tree(first, "", FP_OPEN_TREE_CLONE | O_CLOEXEC | FP_AT_EMPTY_PATH);
        return tree < 0 ? -1 : fp_move_mount_to(tree, target);
    }
    snprintf(place, sizeof(place), "/proc/self/fd/%d", target);
    if (mount("tmpfs", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "nr_blocks=1,nr_inodes=1") < 0)
        return -1;
    empty = path;
    return 0;
}

/* A file is hidden by /dev/null; what is not there needs no hiding. */
static int mask(int root, const char *path, struct fp_error *error)
{
    struct stat status;
    char place[32];
    _cleanup_close_ int target = fp_rootfs_open(root, path, O_PATH);
    if (target < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "mask", path);
    snprintf(place, sizeof(place), "/proc/self/fd/%d", target);
    if (fstat(target, &status) < 0)
        return fp_fail(error, "mask", path);
    if (S_ISDIR(status.st_mode) ? mask_directory(root, target, path) < 0
                                : mount("/dev/null", place, NULL, MS_BIND, NULL) < 0)
        return fp_fail(error, "mask", path);
    return 0;
}

static int make_read_only(int root, const char *path, struct fp_error *error)
{
    _cleanup_close_ int target = fp_rootfs_open(root, path, O_PATH);
    if (target < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "make read-only", path);
    if (fp_mount_setattr(target, 0, FP_MOUNT_ATTR_RDONLY, 0) == 0)
        return 0; /* a mount is there already */
    _cleanup_close_ int tree =
        fp_open_tree(target, "", FP_OPEN_TREE_CLONE | O_CLOEXEC | FP_AT_EMPTY_PATH | FP_AT_RECURSIVE);
    if (tree < 0 || fp_mount_setattr(tree, 0, FP_MOUNT_ATTR_RDONLY, 0) < 0 || fp_move_mount_to(tree, target) < 0)
        return fp_fail(error, "make read-only", path);
    return 0;
}

static int write_sysctl(const char *name, const char *value, struct fp_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "/proc/sys/%s", name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
        return fp_fail(error, "write sysctl", name);
    return 0;
}

/* The terminal, which is our standard input by now, as /dev/console too; it need not be of a devpts that / leads to. */
static int bind_console(int root, struct fp_error *error)
{
    _cleanup_close_ int tree = fp_open_tree(STDIN_FILENO, "", FP_OPEN_TREE_CLONE | O_CLOEXEC | FP_AT_EMPTY_PATH);
    _cleanup_close_ int target = fp_rootfs_make(root, "dev/console", false);
    if (tree < 0 || target < 0 || fp_move_mount_to(tree, target) < 0)
        return fp_fail(error, "bind /dev/console", NULL);
    return 0;
}

static int open_rootfs(int *slots, const char *path, struct fp_error *error)
{
    slots[FP_SLOT_ROOT] = fp_open_tree(AT_FDCWD, path, FP_OPEN_TREE_CLONE | O_CLOEXEC | FP_AT_RECURSIVE);
    return slots[FP_SLOT_ROOT] < 0 ? fp_fail(error, "open_tree", path) : 0;
}

static int change_root(int directory, struct fp_error *error)
{
    if (fchdir(directory) < 0 || chroot(".") < 0)
        return fp_fail(error, "chroot", "the container's rootfs");
    return 0;
}

static int leave_mounts(int *slots, int64_t slot, struct fp_error *error)
{
    _cleanup_close_ int tree =
        fp_open_tree(slots[FP_SLOT_ROOT], "", FP_OPEN_TREE_CLONE | O_CLOEXEC | FP_AT_EMPTY_PATH | FP_AT_RECURSIVE);
    if (tree < 0)
        return fp_fail(error, "open_tree", "the container's rootfs");
    if (setns(slots[slot], CLONE_NEWNS) < 0)
        return fp_fail(error, "setns", "mount namespace");
    if (change_root(tree, error) < 0)
        return -1;
    fp_close_guard(&slots[FP_SLOT_ROOT]);
    fp_close_guard(&slots[slot]);
    slots[FP_SLOT_ROOT] = fp_take_fd(&tree);
    slots[slot] = -1;
    return 0;
}

static int make_directory(int root, const char *path, struct fp_error *error)
{
    _cleanup_close_ int directory = fp_rootfs_make(root, path, true);
    return directory < 0 ? fp_fail(error, "create cwd", path) : 0;
}

static int change_directory(const char *path, struct fp_error *error)
{
    char words[FP_PATH_MAX];
    snprintf(words, sizeof(words), "(\"%s\") set in config.json failed", path);
    return chdir(path) < 0 ? fp_fail(error, "chdir to cwd", words) : 0;
}

static int fail_find(struct fp_error *error, int number, const char *name, const char *words)
{
    char text[FP_PATH_MAX];
    snprintf(text, sizeof(text), "\"%s\"%s%s", name, *words ? ": " : "", words);
    return fp_fail_with(error, number, "exec:", text);
}

static bool is_program(const char *path, int *number)
{
    struct stat status;
    if (stat(path, &status) < 0) {
        *number = errno;
        return false;
    }
    *number = EACCES;
    return S_ISREG(status.st_mode) && status.st_mode & 0111;
}

int fp_program_find(const char *name, const char *const *environment, char *ret, size_t size, struct fp_error *error)
{
    const char *path = NULL;
    int number = ENOENT, denied = 0;
    if (strchr(name, '/')) {
        if ((size_t)snprintf(ret, size, "%s", name) >= size)
            return fail_find(error, ENAMETOOLONG, name, "");
        return is_program(ret, &number) ? 0 : fail_find(error, number, name, number == EACCES ? "" : "stat");
    }
    for (; *environment; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0)
            path = *environment + 5;
    for (const char *end; path && *name; path = *end ? end + 1 : NULL) {
        end = strchrnul(path, ':');
        int length = (int)(end - path);
        if ((size_t)snprintf(ret, size, "%.*s/%s", length ? length : 1, length ? path : ".", name) < size) {
            if (is_program(ret, &number))
                return 0;
            denied |= number == EACCES;
        }
    }
    return fail_find(error, denied ? EACCES : ENOENT, name, denied ? "" : "executable file not found in $PATH");
}

static int check_program(const union fp_argument *argument, struct fp_error *error)
{
    char path[PATH_SIZE];
    _cleanup_free_ const char **environment = calloc(argument[1].count + 1, sizeof(*environment));
    if (!environment)
        return fp_fail(error, "exec", argument[0].text);
    fp_vector(&argument[1], environment);
    return fp_program_find(argument[0].text, environment, path, sizeof(path), error);
}

int fp_rootfs_operation(const struct fp_operation *operation, int *slots, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    int root = slots[FP_SLOT_ROOT];
    switch (operation->code) {
    case FP_OP_ROOTFS:
        return open_rootfs(slots, argument[0].text, error);
    case FP_OP_MOUNT:
        return mount_one(slots, argument, error);
    case FP_OP_ROOTFS_NODE:
        return create_node(root, argument, error);
    case FP_OP_ROOTFS_LINK:
        return create_link(root, argument, error);
    case FP_OP_ROOTFS_CONSOLE:
        return bind_console(root, error);
    case FP_OP_MASK:
        return mask(root, argument[0].text, error);
    case FP_OP_READ_ONLY_PATH:
        return make_read_only(root, argument[0].text, error);
    case FP_OP_SYSCTL:
        return write_sysctl(argument[0].text, argument[1].text, error);
    case FP_OP_PROPAGATION:
        return mount("", "/", NULL, (unsigned long)argument[0].integer, NULL) < 0
                   ? fp_fail(error, "set propagation", "/")
                   : 0;
    case FP_OP_WORKING_DIRECTORY:
        return make_directory(root, argument[0].text, error);
    case FP_OP_CHANGE_DIRECTORY:
        return change_directory(argument[0].text, error);
    case FP_OP_LEAVE_MOUNTS:
        return leave_mounts(slots, argument[0].integer, error);
    case FP_OP_CHANGE_ROOT:
        return change_root(slots[argument[0].integer], error);
    case FP_OP_PROGRAM:
        return check_program(argument, error);
    default:
        return fp_fail_with(error, EINVAL, "plan", fp_operation_table[operation->code].name);
    }
}
