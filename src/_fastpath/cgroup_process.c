// SPDX-License-Identifier: Apache-2.0
// Control groups that exist: who is in them, freezing, signals, their end.
#define _GNU_SOURCE
#include "cgroup.h"

#include "cleanup.h"
#include "journal.h"
#include "kernel.h"
#include "process.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { DEPTH_MAX = 32, WAIT_MS = 10000, STEP_MS = 2 };

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* --- what a container has --- */

int fp_cgroup_list_read(int state_fd, struct fp_cgroup_list *ret, struct fp_error *error)
{
    *ret = (struct fp_cgroup_list){0};
    ret->text = fp_cgroup_read(state_fd, FP_JOURNAL);
    if (!ret->text)
        return errno == ENOENT ? 0 : fp_fail(error, "read", FP_JOURNAL);
    char *rest = ret->text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (strncmp(line, "cgroup ", 7) != 0 || ret->count == FP_CGROUPS_MAX)
            continue;
        strsep(&line, " ");
        char *controllers = strsep(&line, " ");
        strsep(&line, " ");
        bool again = false; /* of one whose parents had gone meanwhile */
        for (int i = 0; i < ret->count; i++)
            again = again || strcmp(ret->items[i].controllers, controllers) == 0;
        if (line && !again)
            ret->items[ret->count++] = (struct fp_cgroup){controllers, line};
    }
    return 0;
}

void fp_cgroup_list_deinit(struct fp_cgroup_list *list)
{
    free(list->text);
    *list = (struct fp_cgroup_list){0};
}

const struct fp_cgroup *fp_cgroup_freezer(const struct fp_cgroup_list *list)
{
    const struct fp_cgroup *found = NULL;
    for (int i = 0; i < list->count; i++) {
        if (strstr(list->items[i].controllers, "freezer"))
            return &list->items[i];
        if (fp_cgroup_is_unified(list->items[i].controllers))
            found = &list->items[i];
    }
    return found;
}

/* --- freezing --- */

bool fp_cgroup_is_frozen(const struct fp_cgroup *cgroup)
{
    _cleanup_close_ int directory = open(cgroup->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return false;
    bool unified = fp_cgroup_is_unified(cgroup->controllers);
    _cleanup_free_ char *text = fp_cgroup_read(directory, unified ? "cgroup.events" : "freezer.state");
    if (!text)
        return false;
    return unified ? strstr(text, "frozen 1") != NULL : strncmp(text, "FROZEN", 6) == 0;
}

int fp_cgroup_freeze(const struct fp_cgroup *cgroup, bool frozen, struct fp_error *error)
{
    bool unified = fp_cgroup_is_unified(cgroup->controllers);
    const char *file = unified ? "cgroup.freeze" : "freezer.state";
    const char *value = unified ? frozen ? "1" : "0" : frozen ? "FROZEN" : "THAWED";
    _cleanup_close_ int directory = open(cgroup->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return fp_fail(error, "open cgroup", cgroup->path);
    for (int waited = 0; waited < WAIT_MS; waited += STEP_MS) {
        /* version 1 can be stuck in FREEZING while processes fork: asking again helps (kernel, freezer-subsystem.rst)
         */
        if ((waited == 0 || !unified) && fp_cgroup_write(directory, file, value, error) < 0)
            return -1;
        if (fp_cgroup_is_frozen(cgroup) == frozen)
            return 0;
        pause_ms(STEP_MS);
    }
    struct fp_error ignored = {0};
    if (frozen)
        fp_cgroup_write(directory, file, unified ? "0" : "THAWED", &ignored);
    return fp_fail_with(error, ETIMEDOUT, frozen ? "freeze cgroup" : "thaw cgroup", cgroup->path);
}

/* What is frozen by version 1 does not even die.  Nothing that fails here is worth a word: it has its signal. */
void fp_cgroup_thaw(const struct fp_cgroup_list *list)
{
    struct fp_error ignored = {0};
    const struct fp_cgroup *freezer = fp_cgroup_freezer(list);
    if (freezer && fp_cgroup_is_frozen(freezer))
        fp_cgroup_freeze(freezer, false, &ignored);
}

/* --- processes --- */

typedef int (*visitor)(int directory, void *argument, struct fp_error *error);

/* The cgroups below `name` before itself. */
static int walk(int parent, const char *name, int depth, visitor visit, void *argument, struct fp_error *error)
{
    _cleanup_close_ int directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (directory < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open cgroup", name);
    int listed = fcntl(directory, F_DUPFD_CLOEXEC, 3);
    DIR *entries = listed < 0 ? NULL : fdopendir(listed);
    if (!entries)
        return fp_fail(error, "read cgroup", name);
    int status = 0;
    for (struct dirent *entry; status == 0 && (entry = readdir(entries));)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && depth < DEPTH_MAX)
            status = walk(directory, entry->d_name, depth + 1, visit, argument, error);
    closedir(entries);
    return status < 0 ? status : visit(directory, argument, error);
}

static int append_processes(int directory, void *argument, struct fp_error *error)
{
    struct fp_pids *pids = argument;
    _cleanup_free_ char *text = fp_cgroup_read(directory, "cgroup.procs");
    if (!text) /* removed while we look: ENODEV; a threaded cgroup2 lists none: EOPNOTSUPP */
        return errno == ENOENT || errno == ENODEV || errno == EOPNOTSUPP ? 0 : fp_fail(error, "read", "cgroup.procs");
    for (char *at = text; *at;) {
        char *end;
        long pid = strtol(at, &end, 10);
        if (end == at)
            break;
        at = *end ? end + 1 : end;
        if (pid <= 0) {
            pids->strangers++;
            continue;
        }
        if (pids->count == pids->room) {
            size_t room = pids->room ? 2 * pids->room : 64;
            pid_t *items = realloc(pids->items, room * sizeof(*items));
            if (!items)
                return fp_fail(error, "read", "cgroup.procs");
            pids->items = items;
            pids->room = room;
        }
        pids->items[pids->count++] = (pid_t)pid;
    }
    return 0;
}

int fp_cgroup_processes(const char *path, struct fp_pids *ret, struct fp_error *error)
{
    return walk(AT_FDCWD, path, 0, append_processes, ret, error);
}

struct target {
    pid_t pid;
    int pidfd;
};

/* A pid that was listed may be somebody else's by the time that it is opened.  Listed again after that, it is either
 * still ours, or what was opened has ended and takes no signal. */
static void signal_listed(const struct target *targets, size_t count, const struct fp_pids *now, int number)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; targets[i].pidfd >= 0 && j < now->count; j++)
            if (now->items[j] == targets[i].pid) {
                int sent = number == SIGKILL ? number : fp_process_effective_signal(targets[i].pid, number);
                fp_pidfd_send_signal(targets[i].pidfd, sent);
                break;
            }
}

static int signal_members(int directory, void *argument, struct fp_error *error)
{
    int number = *(const int *)argument;
    struct fp_pids first = {0}, again = {0};
    int status = append_processes(directory, &first, error);
    _cleanup_free_ struct target *targets = calloc(first.count + 1, sizeof(*targets));
    for (size_t i = 0; targets && i < first.count; i++)
        targets[i] = (struct target){first.items[i], fp_pidfd_open(first.items[i])};
    if (status == 0 && targets && first.count && append_processes(directory, &again, error) == 0)
        signal_listed(targets, first.count, &again, number);
    for (size_t i = 0; targets && i < first.count; i++)
        fp_close_guard(&targets[i].pidfd);
    free(first.items);
    free(again.items);
    return targets ? status : fp_fail(error, "signal", "cgroup.procs");
}

int fp_cgroup_signal(const char *path, int number, struct fp_error *error)
{
    struct fp_error ignored = {0};
    _cleanup_close_ int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open cgroup", path);
    if (number == SIGKILL && faccessat(directory, "cgroup.kill", F_OK, 0) == 0 &&
        fp_cgroup_write(directory, "cgroup.kill", "1", &ignored) == 0)
        return 0;
    return walk(AT_FDCWD, path, 0, signal_members, &number, error);
}

/* --- the end --- */

static int remove_below(int directory, void *argument, struct fp_error *error)
{
    (void)argument, (void)error;
    int listed = fcntl(directory, F_DUPFD_CLOEXEC, 3);
    DIR *entries = listed < 0 ? NULL : fdopendir(listed);
    if (!entries)
        return 0;
    rewinddir(entries);
    for (struct dirent *entry; (entry = readdir(entries));)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            unlinkat(directory, entry->d_name, AT_REMOVEDIR);
    closedir(entries);
    return 0;
}

int fp_cgroup_remove(const char *path, bool kill, struct fp_error *error)
{
    for (int waited = 0; waited < WAIT_MS; waited += STEP_MS) {
        struct fp_error ignored = {0};
        if (rmdir(path) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY && errno != ENOTEMPTY)
            return fp_fail(error, "remove cgroup", path);
        if (waited) /* the last process may be on its way out */
            pause_ms(STEP_MS);
        if (kill)
            fp_cgroup_signal(path, SIGKILL, &ignored);
        walk(AT_FDCWD, path, 0, remove_below, NULL, &ignored);
        if (fp_is_shortage(ignored.number)) /* nothing that waiting helps against */
            return fp_fail_with(error, ignored.number, "remove cgroup", path);
    }
    return fp_fail_with(error, EBUSY, "remove cgroup", path);
}
