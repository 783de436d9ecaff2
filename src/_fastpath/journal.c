// SPDX-License-Identifier: Apache-2.0
// The journal of a container; see journal.h.
#define _GNU_SOURCE
#include "journal.h"

#include "cgroup.h"
#include "cleanup.h"
#include "kernel.h"
#include "netns.h"
#include "network.h"
#include "process.h"
#include "rules.h"
#include "snapshot.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { JOURNAL_MAX = 1 << 20, KILL_WAIT_MS = 10000, LOCK_WAIT_MS = 10000 };

/* What is frozen does not end, not even by SIGKILL (version 1). */
static void thaw(int state_fd)
{
    struct fp_error ignored = {0};
    struct fp_cgroup_list list;
    if (fp_cgroup_list_read(state_fd, &list, &ignored) < 0)
        return;
    fp_cgroup_thaw(&list);
    fp_cgroup_list_deinit(&list);
}

/* "process PID START": a pid that is somebody else's by now has another start time. */
static int undo_process(int state_fd, const char *words, struct fp_error *error)
{
    int pid;
    unsigned long long start;
    if (sscanf(words, "%d %llu", &pid, &start) != 2)
        return 0;
    _cleanup_close_ int pidfd = fp_process_open(pid, start);
    if (pidfd < 0)
        return errno == ESRCH ? 0 : fp_fail(error, "pidfd_open", words);
    if (fp_pidfd_send_signal(pidfd, SIGKILL) < 0 && errno != ESRCH)
        return fp_fail(error, "kill", words);
    thaw(state_fd);
    if (!fp_process_wait(pidfd, KILL_WAIT_MS))
        return fp_fail_with(error, ETIMEDOUT, "the process does not end", words);
    return 0;
}

/* Whether the path leads nowhere, or to what is no network namespace: a client has removed it, and it has ended. */
static bool has_ended(struct fp_error *error)
{
    bool ended = error->number == ENOENT || error->number == EINVAL;
    if (ended)
        *error = (struct fp_error){0};
    return ended;
}

/* "network INTERFACE TAP NAMESPACE PID START PATH": in a namespace that the container has joined; its own goes with it.
 */
static int undo_network(int state_fd, const char *words, struct fp_error *error)
{
    (void)state_fd;
    const char *path = fp_network_words_path(words);
    if (!path || !*path || access(path, F_OK) < 0)
        return 0;
    int netlink;
    struct fp_error ignored = {0};
    /* whoever holds it for so long is none of us; what is removed says whose it is */
    _cleanup_close_ int lock = fp_netns_lock(path, LOCK_WAIT_MS, &ignored);
    struct fp_error own = {0}; /* not an earlier line's */
    if (fp_netns_open(path, &netlink, NULL, &own) < 0)
        return has_ended(&own) ? 0 : fp_fail_with(error, own.number, own.step, own.path);
    int status = fp_network_undo_words(netlink, words, error);
    close(netlink);
    return status;
}

/* "rules NAMESPACE...", as above: the table of a guest that shared the namespace. */
static int undo_rules(int state_fd, const char *words, struct fp_error *error)
{
    (void)state_fd;
    const char *path = fp_network_words_path(words);
    uint64_t written, found;
    struct fp_owner owner;
    if (!path || !*path || access(path, F_OK) < 0 || !fp_network_words_owner(words, &written, &owner))
        return 0;
    struct fp_error own = {0};
    _cleanup_close_ int netfilter = fp_netns_netfilter(path, &own);
    if (netfilter < 0)
        return has_ended(&own) ? 0 : fp_fail_with(error, own.number, own.step, own.path);
    if (fp_network_identity(netfilter, &found, error) < 0)
        return -1;
    return found == written ? fp_rules_destroy(netfilter, &owner, error) : 0;
}

/* "snapshot DEVICE": a start that was killed between unmounting the rootfs and the run of the monitor. */
static int undo_snapshot(int state_fd, const char *words, struct fp_error *error)
{
    (void)words;
    return fp_snapshot_restore(state_fd, error);
}

static const struct {
    const char *kind;
    int (*undo)(int state_fd, const char *words, struct fp_error *error);
} kinds[] = {
    {"process", undo_process},
    {"network", undo_network},
    {"rules", undo_rules},
    {"snapshot", undo_snapshot},
};

int fp_journal_add(int state_fd, const char *kind, const char *words, struct fp_error *error)
{
    char line[4352];
    int length = snprintf(line, sizeof(line), "%s %s\n", kind, words);
    if (length >= (int)sizeof(line) || strchr(words, '\n'))
        return fp_fail_with(error, EINVAL, "journal", words);
    return fp_journal_add_lines(state_fd, line, (size_t)length, error);
}

int fp_journal_add_lines(int state_fd, const char *lines, size_t size, struct fp_error *error)
{
    _cleanup_close_ int fd = openat(state_fd, FP_JOURNAL, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || !fp_write_whole(fd, lines, size))
        return fp_fail(error, "write", FP_JOURNAL);
    return 0;
}

/* Of a cgroup without a process in the journal nobody was let in: whoever is there is not ours.  One that stays keeps
 * those of the lines before it: the mark of all of them is on the first. */
static void undo_line(int state_fd, const char *line, bool had_process, bool *stays, struct fp_error *error)
{
    if (strncmp(line, "cgroup ", 7) == 0 && !*stays)
        *stays = fp_cgroup_undo(state_fd, line + 7, had_process, error) < 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        size_t length = strlen(kinds[i].kind);
        if (strncmp(line, kinds[i].kind, length) == 0 && line[length] == ' ')
            kinds[i].undo(state_fd, line + length + 1, error);
    }
}

int fp_journal_undo(int state_fd, struct fp_error *error)
{
    _cleanup_close_ int fd = openat(state_fd, FP_JOURNAL, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open", FP_JOURNAL);
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > JOURNAL_MAX)
        return fp_fail_with(error, EINVAL, "read", FP_JOURNAL);
    size_t size = (size_t)status.st_size;
    _cleanup_free_ char *text = malloc(size + 1);
    if (!text || read(fd, text, size) != (ssize_t)size)
        return fp_fail(error, "read", FP_JOURNAL);
    /* a line without its end was cut by a crash: what it names was not made yet, or is a prefix nobody owns */
    while (size && text[size - 1] != '\n')
        size--;
    bool had_process = memmem(text, size, "process ", 8) == text || memmem(text, size, "\nprocess ", 9);
    bool stays = false;
    while (size) {
        text[size - 1] = '\0';
        char *start = memrchr(text, '\n', size - 1);
        start = start ? start + 1 : text;
        undo_line(state_fd, start, had_process, &stays, error);
        size = (size_t)(start - text);
    }
    if (error->number)
        return -1;
    if (unlinkat(state_fd, FP_JOURNAL, 0) < 0 && errno != ENOENT)
        return fp_fail(error, "unlink", FP_JOURNAL);
    return 0;
}
