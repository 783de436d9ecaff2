// SPDX-License-Identifier: Apache-2.0
// Operations of the stages enter and exec; see enter.h.  One process, one thread, no way back: a failure ends it.
#define _GNU_SOURCE
#include "enter.h"

#include "claim.h"
#include "cleanup.h"
#include "companion.h"
#include "credentials.h"
#include "hook.h"
#include "kernel.h"
#include "protocol.h"
#include "pty.h"
#include "rootfs.h"
#include "scratch.h"
#include "sector.h"
#include "vhost.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>

static void drop_slot(int *slots, int64_t slot)
{
    if (slots[slot] >= 0)
        close(slots[slot]);
    slots[slot] = -1;
}

static int enter_namespace(int *slots, int64_t slot, int type, struct fp_error *error)
{
    if (setns(slots[slot], type) < 0)
        return fp_fail(error, "setns", "time namespace");
    drop_slot(slots, slot);
    return 0;
}

/* On top of the old /, which stays this process's root until pivot_root; paths are relative from here on. */
static int attach_root(int *slots, struct fp_error *error)
{
    if (fp_move_mount(slots[FP_SLOT_ROOT], AT_FDCWD, "/") < 0)
        return fp_fail(error, "move_mount", "the monitor's root");
    if (fchdir(slots[FP_SLOT_ROOT]) < 0)
        return fp_fail(error, "chdir", "the monitor's root");
    return 0;
}

static int attach(int *slots, int64_t slot, const char *path, struct fp_error *error)
{
    if (fp_move_mount(slots[slot], AT_FDCWD, path) < 0)
        return fp_fail(error, "move_mount", path);
    drop_slot(slots, slot);
    return 0;
}

/* What is attached at `below` is a clone of a rootfs: no link in it may lead out of it, and what is mounted on it must
 * not appear on the host, whose mount it is a peer of until it is made a slave. */
static int attach_below(int *slots, int64_t slot, const char *below, const char *path, struct fp_error *error)
{
    const struct fp_open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = FP_RESOLVE_IN_ROOT};
    _cleanup_close_ int root = open(below, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0)
        return fp_fail(error, "open", below);
    const struct fp_mount_attr slave = {.propagation = MS_SLAVE};
    if (syscall(SYS_mount_setattr, root, "", FP_AT_EMPTY_PATH | FP_AT_RECURSIVE, &slave, sizeof(slave)) < 0)
        return fp_fail(error, "mount_setattr", below);
    _cleanup_close_ int target = fp_openat2(root, path, &how);
    if (target < 0 || fp_move_mount_to(slots[slot], target) < 0)
        return fp_fail(error, "mount on the rootfs", path);
    drop_slot(slots, slot);
    return 0;
}

/* Of the processes in this namespace alone, without the kernel's parameters: some monitors reach what they have open
 * through /proc/self/fd. */
static int mount_proc(const char *path, struct fp_error *error)
{
    _cleanup_close_ int context = fp_fsopen("proc");
    if (context < 0)
        return fp_fail(error, "fsopen", "proc");
    if (fp_fsconfig(context, FP_FSCONFIG_SET_STRING, "hidepid", "invisible") < 0 ||
        fp_fsconfig(context, FP_FSCONFIG_SET_STRING, "subset", "pid") < 0 ||
        fp_fsconfig(context, FP_FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        return fp_fail(error, "fsconfig", "proc");
    const unsigned flags = FP_MOUNT_ATTR_RDONLY | FP_MOUNT_ATTR_NOSUID | FP_MOUNT_ATTR_NODEV | FP_MOUNT_ATTR_NOEXEC;
    _cleanup_close_ int mount = fp_fsmount(context, flags);
    if (mount < 0)
        return fp_fail(error, "fsmount", "proc");
    return fp_move_mount(mount, AT_FDCWD, path) < 0 ? fp_fail(error, "move_mount", path) : 0;
}

/* pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and goes from there. */
static int pivot_root(struct fp_error *error)
{
    if (fp_pivot_root(".", ".") < 0)
        return fp_fail(error, "pivot_root", NULL);
    if (umount2(".", MNT_DETACH) < 0)
        return fp_fail(error, "umount", "the old root");
    if (chdir("/") < 0)
        return fp_fail(error, "chdir", "/");
    return 0;
}

static int set_oom_score_adj(int64_t score, struct fp_error *error)
{
    char text[24];
    int length = snprintf(text, sizeof(text), "%lld", (long long)score);
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)length) != length)
        return fp_fail(error, "write", "/proc/self/oom_score_adj");
    return 0;
}

static int take_terminal(int *slots, int64_t slot, struct fp_error *error)
{
    int fd = slots[slot];
    if (ioctl(fd, TIOCSCTTY, 0) < 0)
        return fp_fail(error, "set the controlling terminal", NULL);
    for (int stream = 0; stream < 3; stream++)
        if (dup2(fd, stream) < 0)
            return fp_fail(error, "dup", "terminal");
    drop_slot(slots, slot);
    return 0;
}

/* The number may be in use for something of ours: that moves out of the way, and closes at exec as it would have. */
static int keep(int *slots, int64_t slot, int64_t number, struct fp_error *error)
{
    for (int other = 0; other < FP_SLOT_COUNT; other++)
        if (slots[other] == number && (slots[other] = fcntl((int)number, F_DUPFD_CLOEXEC, FP_SLOT_COUNT)) < 0)
            return fp_fail(error, "dup", "a descriptor of the plan");
    if (dup2(slots[slot], (int)number) < 0)
        return fp_fail(error, "dup", "a descriptor for the monitor");
    return 0;
}

static int run_hook(const struct fp_operation *operation, const int *slots, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    _cleanup_free_ const char **argv = calloc(argument[2].count + 1, sizeof(*argv));
    _cleanup_free_ const char **environment = calloc(argument[3].count + 1, sizeof(*environment));
    if (!argv || !environment)
        return fp_fail(error, "hook", argument[1].text);
    fp_vector(&argument[2], argv);
    fp_vector(&argument[3], environment);
    struct fp_hook hook = {.path = argument[1].text,
                           .argv = argv,
                           .environment = environment,
                           .input = argument[5].text,
                           .input_size = argument[5].length,
                           .timeout_s = argument[4].integer,
                           .directory = argument[6].text,
                           .root_fd = argument[0].integer < 0 ? -1 : slots[argument[0].integer]};
    if (fp_hook_run(&hook, error) < 0 && strcmp(error->step, FP_HOOK_FAILED) == 0)
        snprintf(error->step, sizeof(error->step), "error running %s", argument[7].text);
    return error->number ? -1 : 0;
}

int fp_enter_operation(const struct fp_operation *operation, int *slots, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    switch (operation->code) {
    case FP_OP_ENTER_NAMESPACE:
        return enter_namespace(slots, argument[0].integer, (int)argument[1].integer, error);
    case FP_OP_ATTACH_ROOT:
        return attach_root(slots, error);
    case FP_OP_ATTACH:
        return attach(slots, argument[0].integer, argument[1].text, error);
    case FP_OP_ATTACH_BELOW:
        return attach_below(slots, argument[0].integer, argument[1].text, argument[2].text, error);
    case FP_OP_CLAIM:
        return fp_claim_device(slots, argument[0].integer, argument[1].text, error);
    case FP_OP_LOCK:
        return fp_claim_lock(slots, argument[0].integer, argument[1].text, argument[2].integer != 0, argument[3].text,
                             error);
    case FP_OP_PROC:
        return mount_proc(argument[0].text, error);
    case FP_OP_PIVOT_ROOT:
        return pivot_root(error);
    case FP_OP_READ_ONLY:
        if (fp_mount_setattr(slots[FP_SLOT_ROOT], 0, FP_MOUNT_ATTR_RDONLY, 0) < 0)
            return fp_fail(error, "mount_setattr", "the monitor's root");
        return 0;
    case FP_OP_HOSTNAME:
        return sethostname(argument[0].text, argument[0].length) < 0 ? fp_fail(error, "sethostname", argument[0].text)
                                                                     : 0;
    case FP_OP_DOMAINNAME:
        return setdomainname(argument[0].text, argument[0].length) < 0
                   ? fp_fail(error, "setdomainname", argument[0].text)
                   : 0;
    case FP_OP_OOM_SCORE_ADJ:
        return set_oom_score_adj(argument[0].integer, error);
    case FP_OP_TERMINAL:
        return take_terminal(slots, argument[0].integer, error);
    case FP_OP_ROOTFS_TERMINAL:
        return fp_rootfs_terminal(slots, operation, error);
    case FP_OP_ROOTFS:
    case FP_OP_MOUNT:
    case FP_OP_ROOTFS_NODE:
    case FP_OP_ROOTFS_LINK:
    case FP_OP_ROOTFS_CONSOLE:
    case FP_OP_MASK:
    case FP_OP_READ_ONLY_PATH:
    case FP_OP_SYSCTL:
    case FP_OP_PROPAGATION:
    case FP_OP_WORKING_DIRECTORY:
    case FP_OP_CHANGE_DIRECTORY:
    case FP_OP_PROGRAM:
    case FP_OP_LEAVE_MOUNTS:
    case FP_OP_CHANGE_ROOT:
        return fp_rootfs_operation(operation, slots, error);
    case FP_OP_KEEP:
        return keep(slots, argument[0].integer, argument[1].integer, error);
    case FP_OP_HOOK:
        return run_hook(operation, slots, error);
    case FP_OP_VHOST:
        return fp_vhost_create(argument[0].text, slots, argument[1].integer, argument[2].integer, error);
    case FP_OP_SECTOR:
        return fp_sector_create(argument[0].text, error);
    case FP_OP_SCRATCH:
        return fp_scratch_create(argument[0].text, (uid_t)argument[1].integer, (gid_t)argument[2].integer, error);
    case FP_OP_HELPER:
        return fp_companion_helper(operation, slots, error);
    case FP_OP_COMPANION:
        return fp_companion_split(operation, slots, error);
    default:
        return fp_credentials_operation(operation, slots, error);
    }
}

int fp_enter_exec(const struct fp_operation *operation, const int *slots, int notify_fd, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    bool by_slot = operation->code == FP_OP_EXEC_SLOT;
    const char *name = by_slot ? "the monitor" : argument[0].text;
    static const sigset_t no_signals; /* handlers go by execve(2); SIGPIPE alone was ignored */
    const char **argv = calloc(argument[1].count + 1, sizeof(*argv));
    const char **environment = calloc(argument[2].count + 1, sizeof(*environment));
    if (!argv || !environment)
        return fp_fail(error, "exec", name);
    fp_vector(&argument[1], argv);
    fp_vector(&argument[2], environment);
    char path[4096];
    if (!by_slot && fp_program_find(name, environment, path, sizeof(path), error) < 0)
        return -1;
    if (signal(SIGPIPE, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &no_signals, NULL) < 0)
        return fp_fail(error, "signals", name);
    struct fp_error none = {0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(none.path, sizeof(none.path), "%lld%09ld", (long long)now.tv_sec, now.tv_nsec);
    fp_send_result(notify_fd, &none); /* a caller that died meanwhile is no reason to stop */
    if (fp_filters_load(error) < 0)
        return -1;
    if (by_slot)
        fp_execveat(slots[argument[0].integer], argv, environment);
    else
        execve(path, (char *const *)argv, (char *const *)environment);
    return fp_fail(error, "exec", name);
}
