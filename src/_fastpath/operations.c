// SPDX-License-Identifier: Apache-2.0
// Operations of the caller's stages: namespaces to join are here, all else is given on; see execute.h.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "kernel.h"
#include "listener.h"
#include "userns.h"

#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static int open_typed(const char *path, int type, struct fp_error *error)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fp_fail(error, "open namespace", path);
    int found = ioctl(fd, NS_GET_NSTYPE);
    if (found != type)
        return fp_fail_with(error, EINVAL, found < 0 ? "not a namespace" : "a namespace of another type", path);
    return fp_take_fd(&fd);
}

static int open_namespace(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const char *path = operation->arguments[1].text;
    int type = (int)operation->arguments[0].integer;
    if (sandbox->join_count == FP_JOINS_MAX)
        return fp_fail_with(error, E2BIG, "join", path);
    _cleanup_close_ int fd = open_typed(path, type, error);
    if (fd < 0)
        return -1;
    if (type == CLONE_NEWNET && !sandbox->network_path && !(sandbox->network_path = strdup(path)))
        return fp_fail(error, "join", path);
    if (type == CLONE_NEWTIME) /* takes a process with memory of its own: urunc-init */
        sandbox->slots[FP_SLOT_TIME] = fp_take_fd(&fd);
    else
        sandbox->joins[sandbox->join_count++] = (struct fp_join){type, fp_take_fd(&fd)};
    return 0;
}

/* For a later stage; the same checks as of one to join. */
static int keep_namespace(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const char *path = operation->arguments[2].text;
    int type = (int)operation->arguments[1].integer, *slot = &sandbox->slots[operation->arguments[0].integer];
    _cleanup_close_ int fd = open_typed(path, type, error);
    if (fd < 0)
        return -1;
    fp_close_guard(slot);
    *slot = fp_take_fd(&fd);
    return 0;
}

static int keep_directory(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    int *slot = &sandbox->slots[operation->arguments[0].integer];
    fp_close_guard(slot);
    *slot = open(operation->arguments[1].text, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return *slot < 0 ? fp_fail(error, "open", operation->arguments[1].text) : 0;
}

static int make_user_namespace(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    int fd = fp_userns_create(operation->arguments[0].text, operation->arguments[1].text, error);
    if (fd < 0)
        return -1;
    if (sandbox->join_count == FP_JOINS_MAX)
        return close(fd), fp_fail_with(error, E2BIG, "join", "user namespace");
    sandbox->joins[sandbox->join_count++] = (struct fp_join){CLONE_NEWUSER, fd};
    return 0;
}

int fp_sandbox_operation(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    switch (operation->code) {
    case FP_OP_JOIN:
        return open_namespace(sandbox, operation, error);
    case FP_OP_USER_NAMESPACE:
        return make_user_namespace(sandbox, operation, error);
    case FP_OP_TIME_OFFSETS:
        sandbox->time_offsets = operation->arguments[0].text;
        return 0;
    case FP_OP_CGROUP:
    case FP_OP_CGROUP_JOIN:
    case FP_OP_CGROUP_WRITE:
    case FP_OP_CGROUP_WRITE_FIRST:
    case FP_OP_CGROUP_DEVICES:
        return fp_cgroups_operation(&sandbox->cgroups, sandbox->state_fd, operation, error);
    case FP_OP_CLONE:
        return fp_sandbox_clone(sandbox, (uint64_t)operation->arguments[0].integer, error);
    case FP_OP_LISTENER:
        sandbox->agent_state = operation->arguments[1];
        sandbox->agent = fp_listener_connect(operation->arguments[0].text, error);
        return sandbox->agent < 0 ? -1 : 0;
    case FP_OP_NAMESPACE:
        return keep_namespace(sandbox, operation, error);
    case FP_OP_OTHER_ROOT:
        return keep_directory(sandbox, operation, error);
    case FP_OP_READY:
        return fp_sandbox_ready(sandbox, error);
    default:
        return fp_root_operation(sandbox, operation, error);
    }
}
