// SPDX-License-Identifier: Apache-2.0
// Who the monitor is and what it may do; see credentials.h.
#define _GNU_SOURCE
#include "credentials.h"

#include "cleanup.h"
#include "kernel.h"
#include "unotify.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/ioprio.h>
#include <linux/keyctl.h>
#include <linux/sched/types.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* by number, include/uapi/asm-generic/resource.h */
static const char *const LIMITS[] = {"CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
                                     "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};

static int set_rlimit(const union fp_argument *argument, struct fp_error *error)
{
    int64_t which = argument[0].integer;
    if (which < 0 || which >= (int64_t)(sizeof(LIMITS) / sizeof(*LIMITS)))
        return fp_fail_with(error, EINVAL, "setrlimit", "resource");
    struct rlimit limit = {(rlim_t)argument[1].integer, (rlim_t)argument[2].integer};
    if (setrlimit((int)which, &limit) < 0) {
        char text[64];
        snprintf(text, sizeof(text), "RLIMIT_%s to %lld, %lld", LIMITS[which], (long long)argument[1].integer,
                 (long long)argument[2].integer);
        return fp_fail(error, "setrlimit", text);
    }
    return 0;
}

/* A program that kernel.core_pattern names gets a core whatever the limit, but for 1 (do_coredump of the kernel); 0
 * where a hard limit of 0 cannot be raised. */
static int leave_no_core(struct fp_error *error)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) < 0)
        return fp_fail(error, "getrlimit", "RLIMIT_CORE");
    limit.rlim_cur = limit.rlim_max = limit.rlim_max < 1 ? 0 : 1;
    return setrlimit(RLIMIT_CORE, &limit) < 0 ? fp_fail(error, "setrlimit", "RLIMIT_CORE") : 0;
}

static int set_groups(const union fp_argument *argument, struct fp_error *error)
{
    gid_t groups[1024];
    if (argument->count > sizeof(groups) / sizeof(*groups))
        return fp_fail_with(error, E2BIG, "setgroups", NULL);
    for (uint64_t i = 0; i < argument->count; i++)
        groups[i] = (gid_t)fp_numbers(argument)[i];
    if (setgroups(argument->count, groups) < 0)
        return fp_fail(error, "setgroups", NULL);
    return 0;
}

/* Capabilities are kept across the change of user; the operation `capabilities` says which remain. */
static int set_user(int64_t uid, int64_t gid, struct fp_error *error)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return fp_fail(error, "prctl", "PR_SET_KEEPCAPS");
    if (setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) < 0)
        return fp_fail(error, "setresgid", NULL);
    if (setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0)
        return fp_fail(error, "setresuid", NULL);
    return 0;
}

static int set_bounding_set(int64_t keep, struct fp_error *error)
{
    for (int capability = 0; capability < 64; capability++)
        if (!(keep >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL && capability) /* the kernel knows no more */
                break;
            return fp_fail(error, "prctl", "PR_CAPBSET_DROP");
        }
    return 0;
}

static int set_capabilities(const union fp_argument *argument, struct fp_error *error)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++) {
        data[i].effective = (uint32_t)(argument[0].integer >> 32 * i);
        data[i].permitted = (uint32_t)(argument[1].integer >> 32 * i);
        data[i].inheritable = (uint32_t)(argument[2].integer >> 32 * i);
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return fp_fail(error, "prctl", "PR_CAP_AMBIENT_CLEAR_ALL");
    if (syscall(SYS_capset, &header, data) < 0)
        return fp_fail(error, "capset", NULL);
    for (int capability = 0; capability < 64; capability++)
        if (argument[3].integer >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
            return fp_fail(error, "prctl", "PR_CAP_AMBIENT_RAISE");
    return 0;
}

enum { FILTERS_MAX = 4 };

static struct filter {
    unsigned flags;
    struct sock_fprog program;
} filters[FILTERS_MAX];
static int filter_count;
static int companion_fd = -1;

/* Kept until the last moment: once it is loaded, telling how it went may be denied. */
static int add_filter(const union fp_argument *argument, struct fp_error *error)
{
    if (filter_count == FILTERS_MAX)
        return fp_fail_with(error, E2BIG, "seccomp", "filters");
    filters[filter_count++] =
        (struct filter){.flags = (unsigned)argument[0].integer,
                        .program = {.len = (unsigned short)(argument[1].length / sizeof(struct sock_filter)),
                                    .filter = (struct sock_filter *)(uintptr_t)argument[1].text}};
    return 0;
}

void fp_filters_tell(int socket)
{
    companion_fd = socket;
}

int fp_filters_load(struct fp_error *error)
{
    static struct sock_filter rewritten[FP_UNOTIFY_MAX];
    for (int i = 0; i < filter_count; i++) {
        const struct filter *one = &filters[i];
        /* the first, while no other can keep us from giving its listener away */
        bool tells = i == 0 && companion_fd >= 0 && !one->flags && fp_unotify_rewrite(&one->program, rewritten);
        const struct sock_fprog telling = {one->program.len, rewritten};
        long listener =
            tells ? syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &telling) : -1;
        if (listener >= 0 && fp_unotify_send(companion_fd, (int)listener, error) < 0)
            return -1;
        /* also where a filter around us has a listener, beside which there is no other (EBUSY) */
        if (listener < 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, one->flags, &one->program) < 0)
            return fp_fail(error, "seccomp", i ? "the filter of the spec" : "the filter of the monitor");
    }
    filter_count = 0;
    return 0;
}

/* Alone here, so FLAG_TSYNC, which cannot be beside a listener, has nothing to do.  urunc-init still has the privilege
 * that it takes without no_new_privs (seccomp(2)). */
static int load_listened(int *slots, const union fp_argument *argument, struct fp_error *error)
{
    const unsigned flags = (unsigned)argument[0].integer & ~SECCOMP_FILTER_FLAG_TSYNC;
    const struct sock_fprog program = {.len = (unsigned short)(argument[1].length / sizeof(struct sock_filter)),
                                       .filter = (struct sock_filter *)(uintptr_t)argument[1].text};
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    slots[FP_SLOT_LISTENER] = fd; /* close-on-exec, as the kernel makes it */
    return fd < 0 ? fp_fail(error, "seccomp", "the filter of the spec") : 0;
}

/* A session keyring of its own without a name: joining one by name could meet another container's.  A kernel without
 * keys (ENOSYS) has nothing to share. */
static int join_keyring(struct fp_error *error)
{
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
        return fp_fail(error, "join a new session keyring", "run with --no-new-keyring to keep the caller's");
    return 0;
}

/* Opened while there is a /proc; only who has opened it may write to it (proc_pid_attr_write of the kernel).  The file
 * is there without a module behind it; that none answers shows in the label of now. */
static int open_label(int *slots, int64_t slot, const char *directory, struct fp_error *error)
{
    char name[64], label[256];
    snprintf(name, sizeof(name), "/proc/thread-self/%s/current", directory);
    _cleanup_close_ int current = open(name, O_RDONLY | O_CLOEXEC);
    if (current < 0 || read(current, label, sizeof(label)) < 0)
        return fp_fail(error, "no security module for the label of the spec:", name);
    snprintf(name, sizeof(name), "/proc/thread-self/%s/exec", directory);
    if ((slots[slot] = open(name, O_WRONLY | O_CLOEXEC)) < 0)
        return fp_fail(error, "open", name);
    return 0;
}

static int set_label(int *slots, int64_t slot, const char *label, struct fp_error *error)
{
    if (write(slots[slot], label, strlen(label)) < 0)
        return fp_fail(error, "set the label for exec", label);
    close(slots[slot]);
    slots[slot] = -1;
    return 0;
}

static int set_io_priority(int64_t class, int64_t level, struct fp_error *error)
{
    if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(class, level)) < 0)
        return fp_fail(error, "ioprio_set", NULL);
    return 0;
}

static int set_scheduler(const union fp_argument *argument, struct fp_error *error)
{
    struct sched_attr attributes = {
        .size = sizeof(attributes),
        .sched_policy = (uint32_t)argument[0].integer,
        .sched_flags = (uint64_t)argument[1].integer,
        .sched_nice = (int32_t)argument[2].integer,
        .sched_priority = (uint32_t)argument[3].integer,
        .sched_runtime = (uint64_t)argument[4].integer,
        .sched_deadline = (uint64_t)argument[5].integer,
        .sched_period = (uint64_t)argument[6].integer,
    };
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) < 0)
        return fp_fail(error, "sched_setattr", NULL);
    return 0;
}

/* Of this process and what it becomes (set_mempolicy(2)); the kernel takes one node less than it is told of. */
static int set_memory_policy(const union fp_argument *argument, struct fp_error *error)
{
    enum { NODES = 1024, BITS = 8 * sizeof(unsigned long) };
    unsigned long mask[NODES / BITS] = {0};
    const int64_t *nodes = fp_numbers(&argument[1]);
    for (uint64_t i = 0; i < argument[1].count; i++)
        if (nodes[i] >= 0 && nodes[i] < NODES)
            mask[nodes[i] / BITS] |= 1UL << nodes[i] % BITS;
    bool any = argument[1].count;
    if (syscall(SYS_set_mempolicy, argument[0].integer, any ? mask : NULL, any ? NODES + 1 : 0) < 0)
        return fp_fail(error, "set_mempolicy", "linux.memoryPolicy");
    return 0;
}

static int set_personality(int64_t persona, struct fp_error *error)
{
    return personality((unsigned long)persona) < 0 ? fp_fail(error, "personality", NULL) : 0;
}

int fp_credentials_operation(const struct fp_operation *operation, int *slots, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    switch (operation->code) {
    case FP_OP_RLIMIT:
        return set_rlimit(argument, error);
    case FP_OP_NO_CORE:
        return leave_no_core(error);
    case FP_OP_KEYRING:
        return join_keyring(error);
    case FP_OP_LABEL_FILE:
        return open_label(slots, argument[0].integer, argument[1].text, error);
    case FP_OP_LABEL:
        return set_label(slots, argument[0].integer, argument[1].text, error);
    case FP_OP_IO_PRIORITY:
        return set_io_priority(argument[0].integer, argument[1].integer, error);
    case FP_OP_SCHEDULER:
        return set_scheduler(argument, error);
    case FP_OP_MEMORY_POLICY:
        return set_memory_policy(argument, error);
    case FP_OP_PERSONALITY:
        return set_personality(argument[0].integer, error);
    case FP_OP_UMASK:
        umask((mode_t)argument[0].integer);
        return 0;
    case FP_OP_GROUPS:
        return set_groups(argument, error);
    case FP_OP_USER:
        return set_user(argument[0].integer, argument[1].integer, error);
    case FP_OP_BOUNDING_SET:
        return set_bounding_set(argument[0].integer, error);
    case FP_OP_CAPABILITIES:
        return set_capabilities(argument, error);
    case FP_OP_NO_NEW_PRIVILEGES:
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fp_fail(error, "prctl", "PR_SET_NO_NEW_PRIVS") : 0;
    case FP_OP_LOAD_FILTERS:
        return fp_filters_load(error);
    case FP_OP_SECCOMP:
        return add_filter(argument, error);
    case FP_OP_NOTIFY:
        return load_listened(slots, argument, error);
    default:
        return fp_fail_with(error, EINVAL, "plan", fp_operation_table[operation->code].name);
    }
}
