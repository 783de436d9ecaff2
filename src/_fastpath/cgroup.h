/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups: where the machine has them, those of a container, who is in them (cgroups(7)).
 *
 * A hierarchy is named by its controllers as /proc/PID/cgroup has them ("cpu,cpuacct", "name=systemd"), cgroup2 by
 * FP_CGROUP2.  A container has one directory in each; its journal lists them before they are made. */
#pragma once

#include "error.h"
#include "plan.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FP_CGROUP2 "cgroup2"

enum { FP_CGROUPS_MAX = 24, FP_CGROUP_PATH_MAX = 4096, FP_CGROUP_CONTROLLERS_MAX = 255 };

struct fp_hierarchy {
    const char *controllers;
    const char *mount; /* where it is mounted */
    const char *root;  /* what of it is mounted there */
    const char *own;   /* the calling process's cgroup */
};

struct fp_cgroup_layout {
    struct fp_hierarchy items[FP_CGROUPS_MAX];
    int count;
    char *mounts_text, *own_text; /* owned; the strings above are in them */
};

/* The hierarchies that the caller's mount namespace shows: cgroup2 alone where it is on /sys/fs/cgroup, else those of
 * version 1, and cgroup2 if it is mounted beside them: where those are each in its place below /sys/fs/cgroup, only one
 * on /sys/fs/cgroup/unified counts, as for systemd and runc.  None at all is no error. */
int fp_cgroup_layout_read(struct fp_cgroup_layout *ret, struct fp_error *error);
void fp_cgroup_layout_deinit(struct fp_cgroup_layout *layout);

/* The whole of a file of /proc or of a cgroup, malloc'd and terminated; NULL with errno. */
char *fp_cgroup_read(int dirfd, const char *name);

/* --- of a container in the making --- */

struct fp_cgroups {
    char *paths[FP_CGROUPS_MAX];     /* owned */
    int directories[FP_CGROUPS_MAX]; /* O_PATH; -1 until something is written there */
    int tasks[FP_CGROUPS_MAX];       /* version 1: where the child writes 0; -1 for cgroup2 */
    int count;
    int unified; /* index of the cgroup2, -1 if there is none */
};

void fp_cgroups_init(struct fp_cgroups *cgroups);
void fp_cgroups_deinit(struct fp_cgroups *cgroups);

/* Operations of stage sandbox: `cgroup`, `cgroup_join`, `cgroup_write`, `cgroup_write_first`, `cgroup_devices`. */
int fp_cgroups_operation(struct fp_cgroups *cgroups, int state_fd, const struct fp_operation *operation,
                         struct fp_error *error);

/* What a new one needs before a process may enter (cgroup_new.c).  A cpuset of version 1, of whose path the last
 * `depth` components have just been made below the `mount` bytes of its hierarchy, gets what the one above has. cgroup2
 * hands down, from its root to the path, what the root has. */
int fp_cgroup_inherit_cpuset(char *path, size_t mount, int depth, struct fp_error *error);
int fp_cgroup_enable(const char *path, size_t mount, struct fp_error *error);

/* --- of a container that exists --- */

struct fp_cgroup {
    const char *controllers, *path;
};

struct fp_cgroup_list {
    struct fp_cgroup items[FP_CGROUPS_MAX];
    int count;
    char *text;
};

/* What the journal of a container lists; none is no error. */
int fp_cgroup_list_read(int state_fd, struct fp_cgroup_list *ret, struct fp_error *error);
void fp_cgroup_list_deinit(struct fp_cgroup_list *list);

/* The one that freezes: that of the controller `freezer`, else the cgroup2; NULL if there is neither. */
const struct fp_cgroup *fp_cgroup_freezer(const struct fp_cgroup_list *list);

bool fp_cgroup_is_unified(const char *controllers);
bool fp_cgroup_is_frozen(const struct fp_cgroup *cgroup);

/* Freeze or thaw and wait until that is so; what cannot be frozen in 10 s is thawed again. */
int fp_cgroup_freeze(const struct fp_cgroup *cgroup, bool frozen, struct fp_error *error);

/* Let go on what the container's freezer holds. */
void fp_cgroup_thaw(const struct fp_cgroup_list *list);

struct fp_pids {
    pid_t *items; /* owned */
    size_t count, room;
    size_t strangers; /* of a pid namespace that is not below ours: they have no pid here */
};

/* Append the processes of a cgroup and of those below it; a cgroup that is gone has none. */
int fp_cgroup_processes(const char *path, struct fp_pids *ret, struct fp_error *error);

/* Send `number` to every process of a cgroup and of those below it, by pidfd, to none that has left it. */
int fp_cgroup_signal(const char *path, int number, struct fp_error *error);

/* Write `value` to a file of a cgroup, as one write(2). */
int fp_cgroup_write(int dirfd, const char *file, const char *value, struct fp_error *error);

/* End what lingers in a cgroup if `kill`, remove what is below it, then itself; waits for processes on their way out.
 */
int fp_cgroup_remove(const char *path, bool kill, struct fp_error *error);

/* Write on the first cgroup, or on `each`, which ones are the container's of that state directory.  What cannot be
 * marked can be removed all the same on kernels without such attributes (before 5.7), elsewhere only as long as it is
 * empty. */
void fp_cgroups_mark(const struct fp_cgroups *cgroups, int state_fd, bool each);

/* "CONTROLLERS DEPTH PATH" of a journal: remove the cgroup if it is marked or empty, and the DEPTH - 1 above it that
 * nobody else uses.  With `kill` processes that linger in it are ended.  DEPTH 0: systemd's, which removes it itself
 * once it is empty. */
int fp_cgroup_undo(int state_fd, const char *words, bool kill, struct fp_error *error);

/* Have the cgroup2 of `dirfd` grant what `rules` say and nothing else (cgroup_devices.c); replaces what we set before.
 * Rules: the default (1 = allow), then type ('b', 'c', 'a'), major, minor (-1: any), access (1 mknod, 2 read,
 * 4 write) of each exception from it. */
int fp_cgroup_devices(int dirfd, const int64_t *rules, size_t count, struct fp_error *error);
