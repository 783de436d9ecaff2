// SPDX-License-Identifier: Apache-2.0
// Whose a control group is, and its end.
#define _GNU_SOURCE
#include "cgroup.h"

#include "cleanup.h"
#include "kernel.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>

#define MARK "user.urunc"
enum { EXIT_STEP_US = 50, EXIT_US = 2000, STEP_MS = 2, MANAGER_MS = 2000, MARK_MAX = 48 + 24 * FP_CGROUPS_MAX };

/* A journal is no reason to remove a directory that is no cgroup, or is not there any more. */
static bool is_cgroup(const char *path)
{
    struct statfs about;
    return statfs(path, &about) == 0 &&
           (about.f_type == 0x27e0eb /* CGROUP_SUPER_MAGIC */ || about.f_type == 0x63677270 /* CGROUP2_SUPER_MAGIC */);
}

/* The kernel's number of a cgroup, which no other one has had since the machine was started: of the file by which
 * version 1 lets a process in, of cgroup2 itself. */
static uint64_t number_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) < 0 ? 0 : status.st_ino;
}

static uint64_t number_at(const char *controllers, const char *path)
{
    char tasks[FP_CGROUP_PATH_MAX + 8];
    struct stat status;
    snprintf(tasks, sizeof(tasks), "%s%s", path, fp_cgroup_is_unified(controllers) ? "" : "/tasks");
    return stat(tasks, &status) < 0 ? 0 : status.st_ino;
}

/* Which state directory: the first word of what is written on a cgroup.  0 if nobody can say. */
static size_t owner_of(int state_fd, char *ret, size_t size)
{
    struct stat status;
    if (fstat(state_fd, &status) < 0)
        return 0;
    return (size_t)snprintf(ret, size, "%llx:%llx ", (unsigned long long)status.st_dev,
                            (unsigned long long)status.st_ino);
}

/* One attribute costs as much as the making of a file: the first cgroup has it for all, with their numbers.  Not where
 * somebody else may remove that one before the others. */
void fp_cgroups_mark(const struct fp_cgroups *cgroups, int state_fd, bool each)
{
    char mark[MARK_MAX];
    size_t size = owner_of(state_fd, mark, sizeof(mark));
    for (int i = 0; i < cgroups->count; i++) {
        int fd = i == cgroups->unified ? cgroups->directories[i] : cgroups->tasks[i];
        size += (size_t)snprintf(mark + size, sizeof(mark) - size, "%llx ", (unsigned long long)number_of(fd));
    }
    for (int i = 0; i < (each ? cgroups->count : 1); i++)
        setxattr(cgroups->paths[i], MARK, mark, size, 0);
}

/* Whether the mark of the container's first cgroup, or of itself, has its number: 1, 0, or -1 if nobody could look. */
static int is_ours(int state_fd, const char *controllers, const char *path, struct fp_error *error)
{
    char owner[MARK_MAX], found[MARK_MAX], number[32];
    struct fp_cgroup_list list;
    ssize_t size = getxattr(path, MARK, found, sizeof(found) - 1);
    if (size < 0 && errno == EOPNOTSUPP)
        return is_cgroup(path); /* Linux before 5.7 */
    bool own = size >= 0;
    if (!own) {
        if (fp_cgroup_list_read(state_fd, &list, error) < 0)
            return -1;
        if (list.count)
            size = getxattr(list.items[0].path, MARK, found, sizeof(found) - 1);
        fp_cgroup_list_deinit(&list);
    }
    size_t length = owner_of(state_fd, owner, sizeof(owner));
    if (own && length && (size_t)size == length - 1 && memcmp(found, owner, (size_t)size) == 0)
        return 1; /* of an older urunc: each has a mark, and no numbers */
    if (size < (ssize_t)length || !length || memcmp(found, owner, length) != 0)
        return 0;
    found[size] = '\0';
    snprintf(number, sizeof(number), " %llx ", (unsigned long long)number_at(controllers, path));
    return strstr(found + length - 1, number) != NULL;
}

/* Of one that is removed before its manager has looked, the news that it is empty may be lost (kernfs tells by a work
 * item, which finds no file then): the unit would stay for ever. */
static int await_manager(const char *path, bool kill, struct fp_error *error)
{
    struct fp_error ignored = {0};
    if (!kill) /* nobody but whom the manager was told of */
        return 0;
    for (int waited = 0; waited < MANAGER_MS && is_cgroup(path); waited += STEP_MS) {
        fp_cgroup_signal(path, SIGKILL, &ignored);
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
    return is_cgroup(path) ? fp_cgroup_remove(path, kill, error) : 0;
}

/* A process is in its cgroups for a moment longer than its parent knows that it has ended, for some more where others
 * want the processor: to wait for that costs less than to look whose the cgroup is, and who is in it. */
static bool goes(const char *path)
{
    for (int waited_us = 0; rmdir(path) < 0; waited_us += EXIT_STEP_US) {
        if (errno != EBUSY || waited_us >= EXIT_US)
            return errno == ENOENT;
        if (waited_us)
            nanosleep(&(struct timespec){.tv_nsec = EXIT_STEP_US * 1000L}, NULL);
        else
            sched_yield();
    }
    return true;
}

/* One that is empty goes, whoever's it is: that is the kernel's own word that nobody uses it.  In one without our mark
 * there is nobody that we have let in. */
static int undo_group(int state_fd, const char *controllers, const char *path, bool managed, bool kill,
                      struct fp_error *error)
{
    if (!managed && goes(path))
        return 0;
    int ours = is_ours(state_fd, controllers, path, error);
    if (ours <= 0)
        return ours;
    if (managed)
        return await_manager(path, kill, error);
    struct fp_error ignored = {0};
    struct fp_cgroup_list list;
    if (fp_cgroup_list_read(state_fd, &list, &ignored) == 0) {
        fp_cgroup_thaw(&list);
        fp_cgroup_list_deinit(&list);
    }
    return fp_cgroup_remove(path, kill, error);
}

int fp_cgroup_undo(int state_fd, const char *words, bool kill, struct fp_error *error)
{
    char controllers[FP_CGROUP_CONTROLLERS_MAX + 1], path[FP_CGROUP_PATH_MAX];
    int depth, start = 0;
    if (sscanf(words, "%255s %d %n", controllers, &depth, &start) != 2 || words[start] != '/' ||
        snprintf(path, sizeof(path), "%s", words + start) >= (int)sizeof(path))
        return 0;
    if (is_cgroup(path) && undo_group(state_fd, controllers, path, depth == 0, kill, error) < 0)
        return -1;
    for (int i = 1; i < depth; i++) {
        *strrchr(path, '/') = '\0';
        if (!is_cgroup(path) || rmdir(path) < 0)
            break; /* somebody else's too, by now */
    }
    return 0;
}
