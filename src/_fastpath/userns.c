// SPDX-License-Identifier: Apache-2.0
// User and time namespaces; see userns.h.
#define _GNU_SOURCE
#include "userns.h"

#include "cleanup.h"
#include "clone.h"
#include "kernel.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { STACK_SIZE = 16 << 10 };

/* A process that is in the namespace and does nothing: it keeps the namespace while its maps are written or read. */
struct holder {
    int join_fd; /* -1: it was born into a new namespace */
    int ready_fd;
    int number; /* errno of setns */
    int pidfd;
    long pid;
    char *stack;
};

/* On the caller's memory, while the caller goes on: system calls that do not fail, or that it waits for. */
static int hold(void *argument)
{
    struct holder *holder = argument;
    if (holder->join_fd >= 0 && setns(holder->join_fd, CLONE_NEWUSER) < 0) {
        holder->number = errno;
        return 1;
    }
    if (write(holder->ready_fd, "", 1) == 1)
        for (;;)
            syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0); /* with every signal blocked: until it is killed */
    return 1;
}

static void end(struct holder *holder)
{
    siginfo_t info;
    if (holder->pidfd >= 0) {
        fp_pidfd_send_signal(holder->pidfd, SIGKILL);
        while (waitid((idtype_t)P_PIDFD, (id_t)holder->pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
            ;
        close(holder->pidfd);
    }
    if (holder->stack != MAP_FAILED)
        fp_stack_unmap(holder->stack, STACK_SIZE);
}

static int begin(struct holder *ret, int join_fd, struct fp_error *error)
{
    *ret = (struct holder){.join_fd = join_fd, .pidfd = -1};
    ret->stack = fp_stack_map(STACK_SIZE);
    int ready[2];
    if (ret->stack == MAP_FAILED || pipe2(ready, O_CLOEXEC) < 0)
        return fp_fail(error, "user namespace", NULL);
    _cleanup_close_ int reading = ready[0];
    ret->ready_fd = ready[1];
    struct fp_clone_args arguments = {.flags = CLONE_VM | CLONE_PIDFD | (join_fd < 0 ? CLONE_NEWUSER : 0),
                                      .pidfd = (uintptr_t)&ret->pidfd,
                                      .stack = (uintptr_t)ret->stack,
                                      .stack_size = STACK_SIZE};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ret->pid = fp_clone3(&arguments, hold, ret);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ready[1]);
    if (ret->pid < 0)
        return fp_fail_with(error, (int)-ret->pid, "clone", "a user namespace");
    char byte;
    if (read(reading, &byte, 1) != 1)
        return fp_fail_with(error, ret->number ? ret->number : ECHILD, "setns", "user namespace");
    return 0;
}

static int write_map(const struct holder *holder, const char *file, const char *map, struct fp_error *error)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/%s", holder->pid, file);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, map, strlen(map)) != (ssize_t)strlen(map))
        return fp_fail(error, file[0] == 'u' ? "write linux.uidMappings" : "write linux.gidMappings", map);
    return 0;
}

int fp_userns_create(const char *uid_map, const char *gid_map, struct fp_error *error)
{
    struct holder holder;
    int fd = -1;
    if (begin(&holder, -1, error) == 0 && write_map(&holder, "uid_map", uid_map, error) == 0 &&
        write_map(&holder, "gid_map", gid_map, error) == 0) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%ld/ns/user", holder.pid);
        if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
            fp_fail(error, "open namespace", path);
    }
    end(&holder);
    return fd;
}

int fp_userns_map(const char *path, const char *file, char *ret, size_t size, struct fp_error *error)
{
    _cleanup_close_ int join_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (join_fd < 0)
        return fp_fail(error, "open namespace", path);
    struct holder holder;
    int status = begin(&holder, join_fd, error);
    if (status == 0) {
        char name[64];
        snprintf(name, sizeof(name), "/proc/%ld/%s", holder.pid, file);
        _cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? -1 : read(fd, ret, size - 1);
        if (length < 0)
            status = fp_fail(error, "read", name);
        else
            ret[length] = '\0';
    }
    end(&holder);
    return status;
}

int fp_timens_check(pid_t pid, struct fp_error *error)
{
    char name[64];
    struct stat theirs, ours;
    snprintf(name, sizeof(name), "/proc/%d/ns/time", (int)pid);
    if (stat(name, &theirs) < 0 || stat("/proc/self/ns/time", &ours) < 0)
        return fp_fail(error, "stat", name);
    if (theirs.st_ino == ours.st_ino)
        return fp_fail_with(error, ENOTSUP, "time namespace", "a new one needs Linux 6.1 or later");
    return 0;
}
