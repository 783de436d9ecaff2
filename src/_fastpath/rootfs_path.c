// SPDX-License-Identifier: Apache-2.0
// What is at a path of a rootfs, or is made there; see rootfs_path.h.
#define _GNU_SOURCE
#include "rootfs_path.h"

#include "cleanup.h"
#include "kernel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_SIZE = 4096 };

int fp_rootfs_open(int root, const char *path, int flags)
{
    struct fp_open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = FP_RESOLVE_IN_ROOT};
    while (*path == '/')
        path++;
    return fp_openat2(root, *path ? path : ".", &how);
}

/* Whether `name`, the end of `path`, is a link, to nothing then: `ret` is what it leads to. */
static bool link_of(int parent, const char *name, const char *path, char ret[PATH_SIZE])
{
    char text[PATH_SIZE];
    ssize_t length = readlinkat(parent, name, text, sizeof(text) - 1);
    if (length <= 0)
        return false;
    text[length] = '\0';
    int before = text[0] == '/' ? 0 : (int)(name - path);
    return snprintf(ret, PATH_SIZE, "%.*s%s", before, path, text) < PATH_SIZE;
}

int fp_rootfs_make(int root, const char *path, bool directory)
{
    int found = fp_rootfs_open(root, path, O_PATH);
    if (found >= 0 || errno != ENOENT)
        return found;
    const char *name;
    char target[PATH_SIZE];
    _cleanup_close_ int parent = fp_rootfs_parent(root, path, &name);
    if (parent < 0)
        return -1;
    if (link_of(parent, name, path, target))
        return fp_rootfs_make(root, target, directory);
    _cleanup_close_ int file = -1;
    if (directory ? mkdirat(parent, name, 0755) < 0
                  : (file = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644)) < 0)
        return -1;
    return fp_rootfs_open(root, path, O_PATH);
}

int fp_rootfs_parent(int root, const char *path, const char **ret_name)
{
    char parent[PATH_SIZE];
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof(parent)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(parent, path, length);
    parent[length] = '\0';
    return fp_rootfs_make(root, parent, true);
}
