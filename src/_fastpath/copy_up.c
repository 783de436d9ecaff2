// SPDX-License-Identifier: Apache-2.0
// A tree of files, copied; see copy_up.h.
#define _GNU_SOURCE
#include "copy_up.h"

#include "cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

static int copy_directory(int from, int to);

static int copy_content(int from, int to)
{
    ssize_t sent;
    while ((sent = sendfile(to, from, NULL, 1 << 20)) > 0)
        ;
    return (int)sent;
}

static int copy_link(int from, int to, const char *name)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(from, name, target, sizeof(target) - 1);
    if (length < 0)
        return -1;
    target[length] = '\0';
    return symlinkat(target, to, name);
}

/* The owner before the mode, which loses set-id bits by a change of it. */
static int copy_status(int fd, const struct stat *status)
{
    const struct timespec times[] = {status->st_atim, status->st_mtim};
    if (fchown(fd, status->st_uid, status->st_gid) < 0 || fchmod(fd, status->st_mode & 07777) < 0)
        return -1;
    return futimens(fd, times);
}

static int copy_entry(int from, int to, const char *name)
{
    struct stat status;
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (S_ISLNK(status.st_mode))
        return copy_link(from, to, name) < 0 ? -1
                                             : fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW);
    if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
        return 0;
    bool directory = S_ISDIR(status.st_mode);
    if (directory && mkdirat(to, name, 0700) < 0)
        return -1;
    const int flags = O_NOFOLLOW | O_CLOEXEC | (directory ? O_DIRECTORY : O_NONBLOCK);
    _cleanup_close_ int source = openat(from, name, O_RDONLY | flags);
    _cleanup_close_ int target =
        openat(to, name, directory ? O_RDONLY | flags : O_WRONLY | O_CREAT | O_EXCL | flags, 0600);
    if (source < 0 || target < 0)
        return -1;
    int copied = directory ? copy_directory(source, target) : copy_content(source, target);
    return copied < 0 ? -1 : copy_status(target, &status);
}

static int copy_directory(int from, int to)
{
    int own = fcntl(from, F_DUPFD_CLOEXEC, 0), result = 0;
    DIR *directory = own < 0 ? NULL : fdopendir(own);
    if (!directory)
        return -1;
    for (struct dirent *entry; result == 0 && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = copy_entry(from, to, entry->d_name);
    int number = errno;
    closedir(directory);
    errno = number;
    return result;
}

int fp_copy_up(int from, int to, const char *path, struct fp_error *error)
{
    _cleanup_close_ int source = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int target = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (source < 0 || target < 0 || copy_directory(source, target) < 0)
        return fp_fail(error, "tmpcopyup", path);
    return 0;
}
