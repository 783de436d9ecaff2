// SPDX-License-Identifier: Apache-2.0
// Makes the control groups of a container: journal, directories, limits.
#define _GNU_SOURCE
#include "cgroup.h"

#include "cleanup.h"
#include "journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { ATTEMPTS = 20 }; /* at a directory above ours that others remove meanwhile */

void fp_cgroups_init(struct fp_cgroups *cgroups)
{
    cgroups->count = 0;
    cgroups->unified = -1;
}

void fp_cgroups_deinit(struct fp_cgroups *cgroups)
{
    for (int i = 0; i < cgroups->count; i++) {
        free(cgroups->paths[i]);
        fp_close_guard(&cgroups->directories[i]);
        fp_close_guard(&cgroups->tasks[i]);
    }
    fp_cgroups_init(cgroups);
}

bool fp_cgroup_is_unified(const char *controllers)
{
    return strcmp(controllers, FP_CGROUP2) == 0;
}

static bool has_controller(const char *controllers, const char *wanted)
{
    size_t length = strlen(wanted);
    for (const char *at = controllers; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (strncmp(at, wanted, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

/* How many of the last components of `path` are not there, without looking above `mount`. */
static int missing(const char *path, size_t mount)
{
    char cut[FP_CGROUP_PATH_MAX];
    size_t length = strlen(path);
    int count = 0;
    memcpy(cut, path, length + 1);
    while (length > mount && faccessat(AT_FDCWD, cut, F_OK, 0) < 0) {
        count++;
        while (length > mount && cut[length] != '/')
            length--;
        cut[length] = '\0';
    }
    return count;
}

/* A cgroup that is there already is the container's if nobody is in it, as for runc since 1.2. */
static int check_existing(const char *controllers, const char *path, pid_t welcome, struct fp_error *error)
{
    _cleanup_free_ pid_t *pids = NULL;
    struct fp_pids found = {0};
    int status = fp_cgroup_processes(path, &found, error);
    pids = found.items;
    if (status < 0)
        return -1;
    char text[FP_PATH_MAX];
    snprintf(text, sizeof(text), "%zu process(es) found in %.200s", found.count + found.strangers, path);
    if (found.strangers || found.count > 1 || (found.count == 1 && found.items[0] != welcome))
        return fp_fail_with(error, EEXIST, "container's cgroup is not empty:", text);
    const struct fp_cgroup cgroup = {controllers, path};
    if ((has_controller(controllers, "freezer") || fp_cgroup_is_unified(controllers)) && fp_cgroup_is_frozen(&cgroup))
        return fp_fail_with(error, EBUSY, "container's cgroup unexpectedly frozen", path);
    return 0;
}

struct group {
    const char *controllers;
    size_t mount;  /* bytes of the path that are where it is mounted */
    pid_t welcome; /* a process that holds the cgroup for the container; 0 = none */
    bool seen;     /* what is there now was looked at; else it is taken for a new one below one that is there */
    int depth;     /* how many of the last components are made by us; one that is there already becomes ours */
    char path[FP_CGROUP_PATH_MAX];
};

/* An empty cgroup that is there is made anew: so it has no limits of old, and none of the processes that version 1 does
 * not list, those of a pid namespace that is not below ours.  One with others below it stays what it is. */
static int look(struct group *group, struct fp_error *error)
{
    group->seen = true;
    group->depth = missing(group->path, group->mount);
    if (group->depth)
        return 0;
    if (check_existing(group->controllers, group->path, group->welcome, error) < 0)
        return -1;
    struct stat status;
    if (group->welcome)
        return 0;
    (void)rmdir(group->path); /* whether it is gone is looked at */
    group->depth = missing(group->path, group->mount);
    if (group->depth == 0 && stat(group->path, &status) == 0 && status.st_nlink <= 2)
        return fp_fail_with(error, EEXIST, "container's cgroup is not empty:", group->path);
    return 0;
}

static int note(int state_fd, const struct group *groups, int count, struct fp_error *error)
{
    size_t size = 0, room = 0;
    for (int i = 0; i < count; i++)
        room += strlen(groups[i].path) + strlen(groups[i].controllers) + 32;
    _cleanup_free_ char *lines = malloc(room + 1);
    if (!lines)
        return fp_fail(error, "cgroup", NULL);
    for (int i = 0; i < count; i++) {
        if (strpbrk(groups[i].path, "\n") || strpbrk(groups[i].controllers, " \n") ||
            strlen(groups[i].controllers) > FP_CGROUP_CONTROLLERS_MAX)
            return fp_fail_with(error, EINVAL, "cgroup path", groups[i].path);
        int depth = groups[i].depth || groups[i].welcome ? groups[i].depth : 1; /* 0: a manager has made it */
        size += (size_t)sprintf(lines + size, "cgroup %s %d %s\n", groups[i].controllers, depth, groups[i].path);
    }
    return fp_journal_add_lines(state_fd, lines, size, error);
}

/* The last `depth` components of `path`; 1 if one above them has gone meanwhile. */
static int make_directories(const char *path, int depth, struct fp_error *error)
{
    char cut[FP_CGROUP_PATH_MAX];
    size_t ends[FP_CGROUP_PATH_MAX / 2], length = strlen(path);
    memcpy(cut, path, length + 1);
    for (int i = 0; i < depth; i++) {
        ends[i] = length;
        while (cut[length - 1] != '/')
            length--;
        length--;
    }
    for (int i = depth - 1; i >= 0; i--) {
        cut[ends[i]] = '\0';
        if (mkdir(cut, 0755) < 0 && errno != EEXIST)
            return errno == ENOENT ? 1 : fp_fail(error, "create cgroup", cut);
        cut[ends[i]] = path[ends[i]];
    }
    return 0;
}

static int open_group(struct fp_cgroups *cgroups, const char *controllers, const char *path, struct fp_error *error)
{
    int index = cgroups->count;
    bool unified = fp_cgroup_is_unified(controllers);
    char tasks[FP_CGROUP_PATH_MAX + 8];
    snprintf(tasks, sizeof(tasks), "%s/tasks", path);
    _cleanup_close_ int fd = open(unified ? path : tasks, (unified ? O_PATH | O_DIRECTORY : O_WRONLY) | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "open cgroup", path);
    if (!(cgroups->paths[index] = strdup(path)))
        return fp_fail(error, "cgroup", path);
    if (unified)
        cgroups->unified = index;
    cgroups->directories[index] = unified ? fp_take_fd(&fd) : -1;
    cgroups->tasks[index] = fp_take_fd(&fd);
    cgroups->count = index + 1;
    return 0;
}

/* Most are only entered: one is opened when something is to be written there. */
static int directory_of(struct fp_cgroups *cgroups, int64_t index, struct fp_error *error)
{
    int *directory = &cgroups->directories[index];
    if (*directory < 0 && (*directory = open(cgroups->paths[index], O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        return fp_fail(error, "open cgroup", cgroups->paths[index]);
    return *directory;
}

/* Most often nothing is in the way, and the look is spared: 1 if there has to be one. */
static int make_unseen(const struct group *group, struct fp_error *error)
{
    if (mkdir(group->path, 0755) == 0)
        return 0;
    return errno == ENOENT || errno == EEXIST ? 1 : fp_fail(error, "create cgroup", group->path);
}

static int make_group(struct fp_cgroups *cgroups, int state_fd, struct group *group, struct fp_error *error)
{
    int status = group->seen ? make_directories(group->path, group->depth, error) : make_unseen(group, error);
    for (int attempt = 0; status > 0 && attempt < ATTEMPTS; attempt++) {
        if (look(group, error) < 0 || note(state_fd, group, 1, error) < 0)
            return -1;
        status = make_directories(group->path, group->depth, error);
    }
    if (status)
        return fp_fail_with(error, ENOENT, "create cgroup", group->path);
    if (has_controller(group->controllers, "cpuset") &&
        fp_cgroup_inherit_cpuset(group->path, group->mount, group->depth, error) < 0)
        return -1;
    if (fp_cgroup_is_unified(group->controllers) && fp_cgroup_enable(group->path, group->mount, error) < 0)
        return -1;
    return open_group(cgroups, group->controllers, group->path, error);
}

/* Before it is in the journal: what a manager has made, and a frozen one without processes, which undoing would remove.
 */
static bool needs_look(const struct group *group)
{
    return group->welcome || fp_cgroup_is_unified(group->controllers) || has_controller(group->controllers, "freezer");
}

static int make_groups(struct fp_cgroups *cgroups, int state_fd, const union fp_argument *argument,
                       struct fp_error *error)
{
    const char *names[FP_CGROUPS_MAX + 1], *mounts[FP_CGROUPS_MAX + 1], *paths[FP_CGROUPS_MAX + 1];
    int count = (int)argument[0].count;
    if (argument[0].count > FP_CGROUPS_MAX || argument[1].count != argument[0].count ||
        argument[2].count != argument[0].count || cgroups->count)
        return fp_fail_with(error, EINVAL, "plan", "cgroup");
    fp_vector(&argument[0], names);
    fp_vector(&argument[1], mounts);
    fp_vector(&argument[2], paths);
    _cleanup_free_ struct group *groups = calloc((size_t)count + 1, sizeof(*groups));
    if (!groups)
        return fp_fail(error, "cgroup", NULL);
    for (int i = 0; i < count; i++) {
        groups[i].controllers = names[i];
        groups[i].welcome = (pid_t)argument[3].integer;
        groups[i].mount = strlen(mounts[i]);
        size_t length = (size_t)snprintf(groups[i].path, sizeof(groups[i].path), "%s%s", mounts[i], paths[i]);
        if (length >= sizeof(groups[i].path) || paths[i][0] != '/' || !paths[i][1])
            return fp_fail_with(error, EINVAL, "cgroup path", paths[i]);
        groups[i].depth = 1;
        if (needs_look(&groups[i]) && look(&groups[i], error) < 0)
            return -1;
    }
    if (note(state_fd, groups, count, error) < 0)
        return -1;
    for (int i = 0; i < count; i++)
        if (make_group(cgroups, state_fd, &groups[i], error) < 0)
            return -1;
    fp_cgroups_mark(cgroups, state_fd, argument[3].integer != 0); /* before anybody is let in */
    return 0;
}

static int join_groups(struct fp_cgroups *cgroups, const union fp_argument *argument, struct fp_error *error)
{
    const char *names[FP_CGROUPS_MAX + 1], *paths[FP_CGROUPS_MAX + 1];
    if (argument[0].count > FP_CGROUPS_MAX || argument[1].count != argument[0].count || cgroups->count)
        return fp_fail_with(error, EINVAL, "plan", "cgroup_join");
    fp_vector(&argument[0], names);
    fp_vector(&argument[1], paths);
    for (uint64_t i = 0; i < argument[0].count; i++)
        if (open_group(cgroups, names[i], paths[i], error) < 0)
            return -1;
    return 0;
}

/* The descriptor's path, for messages: what is written below is known by it alone. */
static int fail_at(int dirfd, const char *file, const char *value, struct fp_error *error)
{
    int number = errno;
    char link[32], path[FP_CGROUP_PATH_MAX], text[FP_CGROUP_PATH_MAX + 128];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    path[length < 0 ? 0 : length] = '\0';
    snprintf(text, sizeof(text), "%.*s to %s/%s", (int)strcspn(value, "\n"), value, path, file);
    if (number == ENOENT)
        return fp_fail_with(error, number, "cgroup limit not available here: write", text);
    return fp_fail_with(error, number, "cgroup limit: write", text);
}

int fp_cgroup_write(int dirfd, const char *file, const char *value, struct fp_error *error)
{
    _cleanup_close_ int fd = openat(dirfd, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    size_t length = strlen(value);
    if (fd < 0 || write(fd, value, length) != (ssize_t)length)
        return fail_at(dirfd, file, value, error);
    return 0;
}

/* Several values for one file are given one after the other. */
static int write_values(int dirfd, const char *file, const union fp_argument *values, struct fp_error *error)
{
    _cleanup_free_ const char **value = calloc(values->count + 1, sizeof(*value));
    if (!value)
        return fp_fail(error, "cgroup", file);
    fp_vector(values, value);
    _cleanup_close_ int fd = openat(dirfd, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    for (uint64_t i = 0; i < values->count; i++)
        if (fd < 0 || write(fd, value[i], strlen(value[i])) != (ssize_t)strlen(value[i]))
            return fail_at(dirfd, file, value[i], error);
    return 0;
}

static int write_first(int dirfd, const union fp_argument *files, const union fp_argument *values,
                       struct fp_error *error)
{
    const char *file[8], *value[8];
    if (!files->count || files->count > 7 || values->count != files->count)
        return fp_fail_with(error, EINVAL, "plan", "cgroup_write_first");
    fp_vector(files, file);
    fp_vector(values, value);
    uint64_t i = 0;
    while (i + 1 < files->count && faccessat(dirfd, file[i], F_OK, 0) < 0)
        i++;
    return fp_cgroup_write(dirfd, file[i], value[i], error);
}

int fp_cgroups_operation(struct fp_cgroups *cgroups, int state_fd, const struct fp_operation *operation,
                         struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    if (operation->code == FP_OP_CGROUP)
        return make_groups(cgroups, state_fd, argument, error);
    if (operation->code == FP_OP_CGROUP_JOIN)
        return join_groups(cgroups, argument, error);
    if (argument[0].integer < 0 || argument[0].integer >= cgroups->count)
        return fp_fail_with(error, EINVAL, "plan", "cgroup");
    int directory = directory_of(cgroups, argument[0].integer, error);
    if (directory < 0)
        return -1;
    switch (operation->code) {
    case FP_OP_CGROUP_WRITE:
        return write_values(directory, argument[1].text, &argument[2], error);
    case FP_OP_CGROUP_WRITE_FIRST:
        return write_first(directory, &argument[1], &argument[2], error);
    default:
        return fp_cgroup_devices(directory, fp_numbers(&argument[1]), argument[1].count, error);
    }
}
