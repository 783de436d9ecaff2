// SPDX-License-Identifier: Apache-2.0
// The caller's half of the way of a rootfs from the host to the guest; see snapshot.h.
#define _GNU_SOURCE
#include "snapshot.h"

#include "cleanup.h"
#include "journal.h"
#include "kernel.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

enum { NOTE_MAX = 64 << 10, RETRIES = 200, RETRY_MS = 10 };

int fp_snapshot_find(int fd, struct fp_mounts *table, struct fp_mount *ret_mount, struct fp_device *ret_device,
                     struct fp_error *error)
{
    struct fp_statx status;
    if (fp_statx(fd, FP_STATX_MNT_ID, &status) < 0)
        return fp_fail(error, "statx", "the rootfs");
    /* an overlay, a directory of something larger, 9p: no table of mounts has to be read for those */
    if (!status.dev_major || !(status.attributes & FP_STATX_ATTR_MOUNT_ROOT) || !(status.mask & FP_STATX_MNT_ID))
        return 0;
    if (fp_mounts_init(table, error) < 0)
        return -1;
    while (fp_mounts_next(table, ret_mount))
        if ((uint64_t)ret_mount->id == status.mount_id) {
            if (strcmp(ret_mount->root, "/") != 0 || ret_mount->major != status.dev_major ||
                ret_mount->minor != status.dev_minor)
                return 0;
            return fp_device_read(ret_mount->major, ret_mount->minor, ret_device, error) < 0 ? -1 : 1;
        }
    return 0;
}

/* The file: two numbers in ASCII and five strings, each with a NUL behind it. */
struct note {
    char text[NOTE_MAX];
    unsigned major, minor;
    char *point, *source, *type, *options, *super_options;
};

int fp_snapshot_keep(int state_fd, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    _cleanup_close_ int fd = openat(state_fd, FP_SNAPSHOT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fp_fail(error, "create", FP_SNAPSHOT);
    if (dprintf(fd, "%u:%u%c", (unsigned)argument[0].integer, (unsigned)argument[1].integer, '\0') < 0)
        return fp_fail(error, "write", FP_SNAPSHOT);
    for (int i = 2; i < 7; i++)
        if (!fp_write_whole(fd, argument[i].text, argument[i].length + 1))
            return fp_fail(error, "write", FP_SNAPSHOT);
    return 0;
}

/* 1 = read, 0 = there is none, -1. */
static int read_note(int state_fd, struct note *ret, struct fp_error *error)
{
    _cleanup_close_ int fd = openat(state_fd, FP_SNAPSHOT, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open", FP_SNAPSHOT);
    ssize_t size = read(fd, ret->text, sizeof(ret->text));
    if (size <= 0 || size == sizeof(ret->text) || ret->text[size - 1])
        return fp_fail_with(error, EINVAL, "read", FP_SNAPSHOT);
    char **const fields[] = {&ret->point, &ret->source, &ret->type, &ret->options, &ret->super_options};
    char *at = ret->text, *end = ret->text + size;
    if (sscanf(at, "%u:%u", &ret->major, &ret->minor) != 2)
        return fp_fail_with(error, EINVAL, "read", FP_SNAPSHOT);
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        at += strlen(at) + 1;
        if (at >= end)
            return fp_fail_with(error, EINVAL, "read", FP_SNAPSHOT);
        *fields[i] = at;
    }
    return 1;
}

/* 1 = that file system is mounted at that place here. */
static int is_mounted(const struct note *note, struct fp_error *error)
{
    struct fp_mounts table;
    struct fp_mount mount;
    int found = 0;
    if (fp_mounts_init(&table, error) < 0)
        return -1;
    while (fp_mounts_next(&table, &mount))
        if (mount.major == note->major && mount.minor == note->minor && strcmp(mount.point, note->point) == 0)
            found = 1;
    fp_mounts_deinit(&table);
    return found;
}

/* What can be unmounted must be what can be mounted again. */
static int open_source(const struct note *note, struct fp_error *error)
{
    struct stat status;
    _cleanup_close_ int fd = open(note->source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return fp_fail(error, "open", note->source);
    if (!S_ISBLK(status.st_mode) || status.st_rdev != makedev(note->major, note->minor))
        return fp_fail_with(error, ESTALE, "this is not the device that is mounted", note->source);
    return fp_take_fd(&fd);
}

int fp_snapshot_release(int state_fd, int *ret_hold, struct fp_error *error)
{
    _cleanup_free_ struct note *note = malloc(sizeof(*note));
    if (!note)
        return fp_fail(error, "read", FP_SNAPSHOT);
    int found = read_note(state_fd, note, error);
    if (found == 0)
        return fp_fail_with(error, EINVAL, "plan", "it releases a snapshot that was not noted");
    int mounted = found < 0 ? -1 : is_mounted(note, error);
    if (mounted <= 0)
        return mounted;
    _cleanup_close_ int hold = open_source(note, error);
    if (hold < 0 || fp_journal_add(state_fd, "snapshot", note->source, error) < 0)
        return -1;
    if (umount2(note->point, UMOUNT_NOFOLLOW) < 0)
        return fp_fail(error, "unmount the rootfs for the guest", note->point);
    *ret_hold = fp_take_fd(&hold);
    return 0;
}

int fp_snapshot_restore(int state_fd, struct fp_error *error)
{
    _cleanup_free_ struct note *note = malloc(sizeof(*note));
    if (!note)
        return fp_fail(error, "read", FP_SNAPSHOT);
    int found = read_note(state_fd, note, error);
    if (found <= 0)
        return found;
    int mounted = is_mounted(note, error);
    if (mounted)
        return mounted < 0 ? -1 : 0;
    struct fp_error unheard = {0};
    _cleanup_close_ int source = open_source(note, &unheard);
    if (source < 0)
        return 0; /* the snapshot has been removed, or its number is another device's */
    unsigned long flags = fp_mount_flags(note->options, note->options);
    flags |= fp_mount_flags(note->super_options, note->super_options);
    /* a urunc-init that is just ending may have the device for a moment more */
    for (int i = 0; mount(note->source, note->point, note->type, flags, note->super_options) < 0; i++) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        if (errno != EBUSY || i == RETRIES)
            return fp_fail(error, "mount the rootfs again", note->point);
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000}, NULL);
    }
    return 0;
}

void fp_snapshot_forget(int state_fd)
{
    unlinkat(state_fd, FP_SNAPSHOT, 0);
}
