// SPDX-License-Identifier: Apache-2.0
// Stage root: the guest's initrd, a file of the monitor's root that archives and host files are streamed into, as
// `newc` entries (Documentation/driver-api/early-userspace/buffer-format.rst).  The size of that tmpfs is what bounds
// it.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "kernel.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

extern const char fp_uinit_image_start[], fp_uinit_image_end[];

enum { HEADER_SIZE = 110, NAME_MAX_SIZE = 4096, DEPTH_MAX = 64, ARCHIVE_ALIGNMENT = 512 };

static const char trailer[] = "TRAILER!!!";

/* The archive that is being written; `name` is the path of the entry at hand. */
struct archive {
    int fd;
    char name[NAME_MAX_SIZE];
};

static int write_all(int fd, const void *bytes, size_t size, const char *what, struct fp_error *error)
{
    for (size_t done = 0; done < size;) {
        ssize_t written = write(fd, (const char *)bytes + done, size - done);
        if (written < 0 && errno != EINTR)
            return fp_fail(error, "write the guest's initrd", what);
        done += written > 0 ? (size_t)written : 0;
    }
    return 0;
}

static int align(int fd, off_t alignment, struct fp_error *error)
{
    static const char zeros[ARCHIVE_ALIGNMENT];
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return fp_fail(error, "seek", "initrd");
    return write_all(fd, zeros, (size_t)((alignment - end % alignment) % alignment), "initrd", error);
}

static int write_header(const struct archive *to, const char *name, const struct stat *status, uint64_t size,
                        struct fp_error *error)
{
    char header[HEADER_SIZE + 1];
    size_t name_size = strlen(name) + 1;
    if (size > UINT32_MAX)
        return fp_fail_with(error, EFBIG, "write the guest's initrd", name);
    /* ino 0 and one link: no two names are the same file */
    snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0u, status->st_mode,
             status->st_uid, status->st_gid, S_ISDIR(status->st_mode) ? 2u : 1u, (unsigned)status->st_mtime,
             (unsigned)size, 0u, 0u, major(status->st_rdev), minor(status->st_rdev), (unsigned)name_size, 0u);
    if (write_all(to->fd, header, HEADER_SIZE, name, error) < 0 || write_all(to->fd, name, name_size, name, error) < 0)
        return -1;
    return align(to->fd, 4, error);
}

/* Exactly `size` bytes, whatever happens to the file meanwhile: zeros for what it lacks. */
static int stream(int to, int from, uint64_t size, const char *what, struct fp_error *error)
{
    while (size) {
        ssize_t sent = sendfile(to, from, NULL, size > 1 << 30 ? 1 << 30 : size);
        if (sent < 0 && errno != EINTR)
            return fp_fail(error, "write the guest's initrd", what);
        if (sent == 0)
            break;
        size -= sent > 0 ? (uint64_t)sent : 0;
    }
    static const char zeros[4096];
    for (; size; size -= size < sizeof(zeros) ? size : sizeof(zeros))
        if (write_all(to, zeros, size < sizeof(zeros) ? size : sizeof(zeros), what, error) < 0)
            return -1;
    return align(to, 4, error);
}

static int write_parents(struct archive *to, struct fp_error *error)
{
    const struct stat directory = {.st_mode = S_IFDIR | 0755};
    for (char *at = to->name; (at = strchr(at, '/')); *at++ = '/') {
        *at = '\0';
        if (write_header(to, to->name, &directory, 0, error) < 0)
            return -1;
    }
    return 0;
}

static int write_node(struct archive *to, int parent, const char *name, struct fp_error *error);

/* The entries of the directory `fd`, which it closes. */
static int write_directory(struct archive *to, int fd, int depth, struct fp_error *error)
{
    DIR *directory = fdopendir(fd);
    if (!directory) {
        close(fd);
        return fp_fail(error, "read", to->name);
    }
    size_t length = strlen(to->name);
    int status = depth > DEPTH_MAX ? fp_fail_with(error, ELOOP, "read", to->name) : 0;
    for (struct dirent *entry; status == 0 && (errno = 0, entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        size_t room = sizeof(to->name) - length;
        int needed = snprintf(to->name + length, room, "%s%s", length ? "/" : "", entry->d_name);
        status = needed >= (int)room ? fp_fail_with(error, ENAMETOOLONG, "read", entry->d_name)
                                     : write_node(to, fd, entry->d_name, error);
        to->name[length] = '\0';
    }
    closedir(directory);
    return status;
}

static int depth_of(const char *name)
{
    int depth = 0;
    for (; *name; name++)
        depth += *name == '/';
    return depth;
}

/* What is open already: a regular file or a directory.  It closes `fd`. */
static int write_open(struct archive *to, int fd, const struct stat *status, struct fp_error *error)
{
    uint64_t size = S_ISREG(status->st_mode) ? (uint64_t)status->st_size : 0;
    int written = to->name[0] ? write_header(to, to->name, status, size, error) : 0;
    if (written == 0 && S_ISDIR(status->st_mode))
        return write_directory(to, fd, depth_of(to->name), error);
    if (written == 0)
        written = stream(to->fd, fd, size, to->name, error);
    close(fd);
    return written;
}

static int write_link(struct archive *to, int parent, const char *name, const struct stat *status,
                      struct fp_error *error)
{
    char target[NAME_MAX_SIZE];
    ssize_t length = readlinkat(parent, name, target, sizeof(target));
    if (length < 0 || length == sizeof(target))
        return fp_fail(error, "readlink", to->name);
    if (write_header(to, to->name, status, (uint64_t)length, error) < 0 ||
        write_all(to->fd, target, (size_t)length, to->name, error) < 0)
        return -1;
    return align(to->fd, 4, error);
}

/* No link is followed: what it leads to is the guest's affair. */
static int write_node(struct archive *to, int parent, const char *name, struct fp_error *error)
{
    struct stat status;
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "stat", to->name); /* it has just been removed */
    if (S_ISLNK(status.st_mode))
        return write_link(to, parent, name, &status, error);
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return S_ISSOCK(status.st_mode) ? 0 : write_header(to, to->name, &status, 0, error);
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open", to->name);
    if (fstat(fd, &status) < 0 || (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))) {
        close(fd);
        return fp_fail_with(error, ESTALE, "open", to->name);
    }
    return write_open(to, fd, &status, error);
}

/* A file or directory of the host, with all that is below. */
static int add_tree(struct archive *to, const char *path, struct fp_error *error)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "open", path);
    if (fstat(fd, &status) < 0 || (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))) {
        close(fd);
        return fp_fail_with(error, EINVAL, "neither a file nor a directory", path);
    }
    return write_open(to, fd, &status, error);
}

static int add_bytes(struct archive *to, mode_t mode, const void *bytes, size_t size, struct fp_error *error)
{
    const struct stat file = {.st_mode = S_IFREG | mode};
    if (write_header(to, to->name, &file, size, error) < 0 || write_all(to->fd, bytes, size, to->name, error) < 0)
        return -1;
    return align(to->fd, 4, error);
}

static int end_archive(struct archive *to, struct fp_error *error)
{
    const struct stat none = {0};
    if (write_header(to, trailer, &none, 0, error) < 0)
        return -1;
    return align(to->fd, ARCHIVE_ALIGNMENT, error);
}

/* Where the trailer of an uncompressed archive begins; -1 if there is none. */
static off_t find_trailer(int fd)
{
    char text[HEADER_SIZE + sizeof(trailer)];
    for (off_t at = 0;;) {
        char number[9] = "", *end;
        if (pread(fd, text, sizeof(text), at) != (ssize_t)sizeof(text) || memcmp(text, "07070", 5) != 0)
            return -1;
        if (memcmp(text + HEADER_SIZE, trailer, sizeof(trailer)) == 0)
            return at;
        off_t size = strtoll(memcpy(number, text + 54, 8), &end, 16); /* c_filesize */
        if (*end)
            return -1;
        off_t name = strtoll(memcpy(number, text + 94, 8), &end, 16); /* c_namesize */
        if (*end || size < 0 || name <= 0)
            return -1;
        at = (((at + HEADER_SIZE + name + 3) & ~(off_t)3) + size + 3) & ~(off_t)3;
    }
}

/* One after the other; with `cut` without the last one's trailer, so that its reader goes on to what is added. */
static int begin_archive(struct archive *to, const struct fp_sandbox *sandbox, const union fp_argument *slots, bool cut,
                         struct fp_error *error)
{
    for (uint64_t i = 0; i < slots->count; i++) {
        int from = sandbox->slots[fp_numbers(slots)[i]];
        struct stat status;
        if (fstat(from, &status) < 0 || lseek(from, 0, SEEK_SET) < 0)
            return fp_fail(error, "seek", "initrd");
        off_t size = cut && i + 1 == slots->count ? find_trailer(from) : status.st_size;
        if (size < 0)
            return fp_fail_with(error, EINVAL, "the initrd is no uncompressed newc archive", NULL);
        if (stream(to->fd, from, (uint64_t)size, "initrd", error) < 0)
            return -1;
    }
    return align(to->fd, cut ? 4 : ARCHIVE_ALIGNMENT, error);
}

int fp_initrd_operation(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    bool begins = operation->code == FP_OP_INITRD, ends = operation->code == FP_OP_INITRD_END;
    struct archive archive = {.name = ""};
    int flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (begins ? O_CREAT | O_EXCL : 0);
    _cleanup_close_ int fd = archive.fd = openat(sandbox->slots[FP_SLOT_ROOT], argument[0].text, flags, 0644);
    if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
        return fp_fail(error, "open", argument[0].text);
    if (begins)
        return fchmod(fd, 0644) < 0 ? fp_fail(error, "chmod", argument[0].text)
                                    : begin_archive(&archive, sandbox, &argument[1], argument[2].integer, error);
    if (ends)
        return end_archive(&archive, error);
    if (argument[1].length >= sizeof(archive.name))
        return fp_fail_with(error, ENAMETOOLONG, "initrd", argument[1].text);
    strcpy(archive.name, argument[1].text);
    if (write_parents(&archive, error) < 0)
        return -1;
    if (operation->code == FP_OP_INITRD_TREE)
        return add_tree(&archive, argument[2].text, error);
    if (operation->code == FP_OP_INITRD_UINIT)
        return add_bytes(&archive, 0755, fp_uinit_image_start, (size_t)(fp_uinit_image_end - fp_uinit_image_start),
                         error);
    return add_bytes(&archive, (mode_t)argument[2].integer & 07777, argument[3].text, argument[3].length, error);
}
