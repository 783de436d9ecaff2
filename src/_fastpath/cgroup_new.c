// SPDX-License-Identifier: Apache-2.0
// What a new control group needs before a process may enter.
#define _GNU_SOURCE
#include "cgroup.h"

#include "cleanup.h"

#include <fcntl.h>
#include <string.h>

enum { CPUSET_FILES = 2 };
static const char *const cpuset_files[CPUSET_FILES] = {"cpuset.cpus", "cpuset.mems"};

/* A new cpuset of version 1 has no cpus and no memory, and takes no process: it gets what the one above has.  The last
 * `depth` of the path have just been made, and need not be read.  Returns by `ret` what is in the files now, to be
 * freed, NULL for what could not be read. */
static int fill_cpuset(char *path, size_t mount, int depth, char **ret, struct fp_error *error)
{
    _cleanup_close_ int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return fp_fail(error, "open cgroup", path);
    for (int i = 0; i < CPUSET_FILES; i++)
        if (!(ret[i] = depth > 0 ? strdup("\n") : fp_cgroup_read(directory, cpuset_files[i])))
            return fp_fail(error, cpuset_files[i], path);
    if ((*ret[0] != '\n' && *ret[1] != '\n') || strlen(path) <= mount)
        return 0;
    char *above[CPUSET_FILES] = {NULL}, *slash = strrchr(path, '/');
    *slash = '\0';
    int status = fill_cpuset(path, mount, depth - 1, above, error);
    *slash = '/';
    for (int i = 0; i < CPUSET_FILES; i++) {
        bool empty = *ret[i] == '\n';
        if (status == 0 && empty && fp_cgroup_write(directory, cpuset_files[i], above[i], error) < 0)
            status = fp_fail(error, cpuset_files[i], path);
        free(empty ? ret[i] : above[i]);
        ret[i] = empty ? above[i] : ret[i];
    }
    return status;
}

int fp_cgroup_inherit_cpuset(char *path, size_t mount, int depth, struct fp_error *error)
{
    char *values[CPUSET_FILES] = {NULL};
    int status = fill_cpuset(path, mount, depth, values, error);
    for (int i = 0; i < CPUSET_FILES; i++)
        free(values[i]);
    return status;
}

/* " +cpu +io" of "cpu io\n". */
static void with_signs(const char *controllers, char *ret, size_t size)
{
    size_t length = 0;
    for (const char *at = controllers; *at && *at != '\n' && length + 2 < size; at++) {
        if (at == controllers || at[-1] == ' ')
            ret[length++] = '+';
        ret[length++] = *at;
    }
    ret[length] = '\0';
}

/* One that cannot be had (a cgroup with processes of its own grants none) is missed where its file is written. */
static void enable_below(int directory, const char *wanted)
{
    char all[512], *rest = all;
    with_signs(wanted, all, sizeof(all));
    struct fp_error ignored = {0};
    if (!*all || fp_cgroup_write(directory, "cgroup.subtree_control", all, &ignored) == 0)
        return;
    if (ignored.number == EBUSY) /* it has processes: some controllers would make it a threaded one, of no use to us */
        return;
    for (const char *one; (one = strsep(&rest, " "));)
        fp_cgroup_write(directory, "cgroup.subtree_control", one, &ignored);
}

int fp_cgroup_enable(const char *path, size_t mount, struct fp_error *error)
{
    char at[FP_CGROUP_PATH_MAX];
    size_t length = strlen(path);
    memcpy(at, path, length + 1);
    _cleanup_close_ int leaf = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
    at[mount] = '\0';
    _cleanup_close_ int root = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *ours = fp_cgroup_read(leaf, "cgroup.controllers");
    _cleanup_free_ char *wanted = fp_cgroup_read(root, "cgroup.controllers");
    if (!ours || !wanted)
        return fp_fail(error, "read cgroup.controllers", path);
    if (strcmp(ours, wanted) == 0)
        return 0;
    for (size_t end = mount; end < length;) {
        at[end] = '\0';
        _cleanup_close_ int directory = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory >= 0)
            enable_below(directory, wanted);
        at[end] = path[end];
        for (end++; path[end] && path[end] != '/';)
            end++;
    }
    return 0;
}
