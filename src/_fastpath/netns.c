// SPDX-License-Identifier: Apache-2.0
// Descriptors from another network namespace; see netns.h.
#define _GNU_SOURCE
#include "netns.h"

#include "cleanup.h"
#include "clone.h"
#include "kernel.h"

#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

enum { STACK_SIZE = 32 << 10, LOCK_POLL_MS = 1 };

struct visit {
    int namespace, protocol;
    int *ret_netlink, *ret_tun;
    struct fp_error *error;
};

/* In the child, on the caller's memory and descriptor table: system calls only. */
static int open_inside(void *argument)
{
    struct visit *visit = argument;
    if (setns(visit->namespace, CLONE_NEWNET) < 0)
        return fp_fail(visit->error, "setns", "network");
    *visit->ret_netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, visit->protocol);
    if (*visit->ret_netlink < 0)
        return fp_fail(visit->error, "socket", "netlink");
    if (visit->ret_tun && (*visit->ret_tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC)) < 0)
        return fp_fail(visit->error, "open", "/dev/net/tun");
    return 0;
}

static int visit_namespace(struct visit *visit, struct fp_error *error)
{
    int pidfd = -1;
    char *stack = fp_stack_map(STACK_SIZE);
    if (stack == MAP_FAILED)
        return fp_fail(error, "mmap", "stack");
    struct fp_clone_args arguments = {.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PIDFD,
                                      .pidfd = (uintptr_t)&pidfd,
                                      .stack = (uintptr_t)stack,
                                      .stack_size = STACK_SIZE};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = fp_clone3(&arguments, open_inside, visit);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    fp_stack_unmap(stack, STACK_SIZE);
    if (pid < 0)
        return fp_fail_with(error, (int)-pid, "clone", "network namespace");
    siginfo_t info;
    /* __WALL: it ends without a signal, so that no handler of the caller's hears of it */
    while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
        ;
    close(pidfd);
    return error->number ? -1 : 0;
}

static int open_namespace(const char *path, struct fp_error *error)
{
    _cleanup_close_ int namespace = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (namespace < 0)
        return fp_fail(error, "open namespace", path);
    if (ioctl(namespace, NS_GET_NSTYPE) != CLONE_NEWNET)
        return fp_fail_with(error, EINVAL, "not a network namespace", path);
    return fp_take_fd(&namespace);
}

int fp_netns_lock(const char *path, int timeout_ms, struct fp_error *error)
{
    _cleanup_close_ int namespace = open_namespace(path, error);
    if (namespace < 0)
        return -1;
    for (int waited = 0; flock(namespace, LOCK_EX | LOCK_NB) < 0; waited += LOCK_POLL_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fp_fail(error, "lock network namespace", path);
        if (waited >= timeout_ms)
            return fp_fail_with(error, EAGAIN, "somebody else holds the lock of the network namespace", path);
        nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000}, NULL);
    }
    return fp_take_fd(&namespace);
}

int fp_netns_open(const char *path, int *ret_netlink, int *ret_tun, struct fp_error *error)
{
    *ret_netlink = -1;
    if (ret_tun)
        *ret_tun = -1;
    _cleanup_close_ int namespace = open_namespace(path, error);
    if (namespace < 0)
        return -1;
    struct visit visit = {namespace, NETLINK_ROUTE, ret_netlink, ret_tun, error};
    if (visit_namespace(&visit, error) == 0)
        return 0;
    if (*ret_netlink >= 0)
        close(*ret_netlink);
    *ret_netlink = -1;
    return -1;
}

int fp_netns_netfilter(const char *path, struct fp_error *error)
{
    int opened = -1;
    _cleanup_close_ int namespace = open_namespace(path, error);
    if (namespace < 0)
        return -1;
    struct visit visit = {namespace, NETLINK_NETFILTER, &opened, NULL, error};
    return visit_namespace(&visit, error) < 0 ? -1 : opened;
}
