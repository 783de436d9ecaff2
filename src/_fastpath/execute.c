// SPDX-License-Identifier: Apache-2.0
// The caller's half of the executor; see execute.h and protocol.h.
#define _GNU_SOURCE
#include "execute.h"

#include "cleanup.h"
#include "clone.h"
#include "journal.h"
#include "kernel.h"
#include "listener.h"
#include "protocol.h"
#include "sealed.h"
#include "userns.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* urunc-init as the linker put it in (images.S): run from memory, never from a file that a container could
 * come to write to (CVE-2019-5736). */
extern const char fp_init_image_start[], fp_init_image_end[];

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

enum { STACK_SIZE = 64 << 10, SCRATCH_FD = 64 };

static int listen_for_start(struct fp_sandbox *sandbox, struct fp_error *error)
{
    struct sockaddr_un address;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || fp_unix_address(sandbox->state_fd, FP_SOCKET, &address) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        return fp_fail(error, "listen", FP_SOCKET);
    sandbox->start_fd = fp_take_fd(&fd);
    return 0;
}

struct child {
    const struct fp_sandbox *sandbox;
    int sync_fd, image_fd;
    bool cgroup_namespace;
    bool enters;                 /* the cgroups of version 1 before urunc-init runs, which does so itself else */
    bool joins;                  /* the mounts of a container that is there: they stay as they are */
    bool two_steps;              /* a joined pid namespace holds for children only, and who joins a user namespace has
                                    to make the others from inside, or they belong to the host's */
    struct fp_clone_args second; /* step two */
    long pid;                    /* of the second clone */
    struct fp_error *error;
};

/* What urunc-init has as its descriptors, -1 for none; returns how many. */
static int descriptors_of(const struct child *child, int *ret)
{
    const struct fp_sandbox *sandbox = child->sandbox;
    const int *streams = sandbox->streams;
    const int fixed[FP_TASKS_FD] = {streams[0],     streams[1],        streams[2],
                                    child->sync_fd, sandbox->start_fd, child->image_fd};
    int count = FP_TASKS_FD;
    memcpy(ret, fixed, sizeof(fixed));
    for (int i = 0; !child->enters && i < sandbox->cgroups.count; i++)
        if (sandbox->cgroups.tasks[i] >= 0)
            ret[count++] = sandbox->cgroups.tasks[i];
    return count;
}

/* Everything below runs in the child with the caller's memory, on a stack of its own, while the caller waits: system
 * calls only, no malloc, no locks (signal-safety(7)).  fp_fail writes to the caller's own struct. */
static int execute_image(void *argument)
{
    struct child *child = argument;
    static const char *const environment[] = {NULL};
    const char *const argv[] = {"urunc-init", child->joins ? FP_JOINED : NULL, NULL};
    int from[FP_TASKS_FD + FP_CGROUPS_MAX], scratch[FP_TASKS_FD + FP_CGROUPS_MAX];
    const int count = descriptors_of(child, from);
    for (int i = 0; i < count; i++)
        if ((scratch[i] = from[i] < 0 ? -1 : fcntl(from[i], F_DUPFD, SCRATCH_FD)) < 0 && from[i] >= 0)
            return fp_fail(child->error, "dup", NULL);
    for (int i = 0; i < count; i++)
        if (scratch[i] >= 0 && dup3(scratch[i], i, i == FP_IMAGE_FD ? O_CLOEXEC : 0) < 0)
            return fp_fail(child->error, "dup", NULL);
    if (scratch[FP_START_FD] < 0)
        close(FP_START_FD);
    /* whatever a client has leaked into us ends here */
    if (fp_close_range((unsigned)count, ~0u) < 0)
        return fp_fail(child->error, "close_range", NULL);
    fp_execveat(FP_IMAGE_FD, argv, environment);
    return fp_fail(child->error, "exec", "urunc-init");
}

/* The cgroups of version 1, each by "0" in `tasks`: what one thread asks for itself needs none of the kernel's global
 * locks and takes 0.04 ms, a pid in cgroup.procs 10 to 25 (DESIGN section 5).  cgroup2 was clone3's business.  A cgroup
 * namespace has the cgroups of its maker as its roots, so it comes after them.  Where nothing that follows depends on
 * them urunc-init enters: the caller, which sleeps until it executes, goes on meanwhile. */
static int enter_cgroups(const struct child *child)
{
    const struct fp_cgroups *cgroups = &child->sandbox->cgroups;
    for (int i = 0; i < cgroups->count; i++)
        if (cgroups->tasks[i] >= 0 && write(cgroups->tasks[i], "0", 1) != 1)
            return fp_fail(child->error, "enter cgroup", NULL);
    if (child->cgroup_namespace && unshare(CLONE_NEWCGROUP) < 0)
        return fp_fail(child->error, "unshare", "cgroup namespace");
    return 0;
}

/* By the kernel's calls: those of libc tell every thread of the caller. */
static int become_root(const struct child *child)
{
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
        syscall(SYS_setresuid, 0, 0, 0) < 0)
        return fp_fail(child->error, "become root of the user namespace",
                       "linux.uidMappings and gidMappings must map 0");
    return 0;
}

/* The user namespace last: from inside one nobody can join what belongs to the host. */
static int join_namespaces(const struct child *child)
{
    for (int last = 0; last < 2; last++)
        for (int i = 0; i < child->sandbox->join_count; i++) {
            const struct fp_join *join = &child->sandbox->joins[i];
            if ((join->type == CLONE_NEWUSER) != last)
                continue;
            if (setns(join->fd, join->type) < 0)
                return fp_fail(child->error, "setns", NULL);
            if (last && become_root(child) < 0)
                return -1;
        }
    return 0;
}

static int set_time_offsets(const struct child *child)
{
    const char *text = child->sandbox->time_offsets;
    if (!text)
        return 0;
    _cleanup_close_ int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return fp_fail(child->error, "write linux.timeOffsets", text);
    return 0;
}

static int join_and_execute(void *argument)
{
    struct child *child = argument;
    if ((child->enters && enter_cgroups(child) < 0) || set_time_offsets(child) < 0 || join_namespaces(child) < 0)
        return -1;
    if (!child->two_steps)
        return execute_image(child);
    child->pid = fp_clone3(&child->second, execute_image, child);
    if (child->pid < 0)
        return fp_fail_with(child->error, (int)-child->pid, "clone", NULL);
    return 0;
}

static void reap(int pidfd)
{
    siginfo_t info;
    while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
}

static int clone_child(struct fp_sandbox *sandbox, uint64_t namespaces, struct child *child, char *stacks,
                       struct fp_error *error)
{
    /* of these the first step is the maker: the others' offsets and roots are set from outside the container */
    const uint64_t early = CLONE_NEWTIME, by_hand = CLONE_NEWCGROUP;
    child->cgroup_namespace = namespaces & CLONE_NEWCGROUP;
    for (int i = 0; i < sandbox->join_count; i++)
        child->two_steps |= (sandbox->joins[i].type & (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)) != 0;
    child->enters = child->two_steps || child->cgroup_namespace || child->joins;
    uint64_t late = child->two_steps ? namespaces & ~early & ~by_hand : 0;
    child->second = (struct fp_clone_args){.flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT | late,
                                           .stack = (uintptr_t)stacks + STACK_SIZE,
                                           .stack_size = STACK_SIZE};
    struct fp_clone_args first = {.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | (namespaces & ~late & ~by_hand),
                                  .pidfd = (uintptr_t)&sandbox->pidfd,
                                  .exit_signal = SIGCHLD,
                                  .stack = (uintptr_t)stacks,
                                  .stack_size = STACK_SIZE};
    if (sandbox->cgroups.unified >= 0) {
        first.flags |= FP_CLONE_INTO_CGROUP;
        first.cgroup = (uint64_t)sandbox->cgroups.directories[sandbox->cgroups.unified];
    }
    /* a handler of the caller's must not run in the child, on the caller's memory */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = fp_clone3(&first, join_and_execute, child);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid == -EOPNOTSUPP && sandbox->cgroups.unified >= 0)
        return fp_fail_with(error, EOPNOTSUPP, "clone", "into a cgroup that is threaded or invalid (its cgroup.type)");
    if (pid < 0)
        return fp_fail_with(error, (int)-pid, "clone", "namespaces");
    if (error->number || child->pid) {
        reap(sandbox->pidfd); /* it failed, or was only the first step */
        fp_close_guard(&sandbox->pidfd);
        sandbox->pidfd = -1;
    }
    if (error->number)
        return -1;
    sandbox->pid = (pid_t)(child->pid ? child->pid : pid);
    if (sandbox->pidfd < 0 && (sandbox->pidfd = fp_pidfd_open(sandbox->pid)) < 0)
        return fp_fail(error, "pidfd_open", NULL);
    return 0;
}

static int note_process(struct fp_sandbox *sandbox, struct fp_error *error)
{
    struct fp_process process;
    if (!fp_process_stat(sandbox->pid, &process))
        return fp_fail_with(error, ESRCH, "clone", "urunc-init ended at once");
    sandbox->start_time = process.start_time;
    char words[64];
    if (sandbox->state_fd < 0)
        return 0;
    snprintf(words, sizeof(words), "%d %llu", (int)sandbox->pid, (unsigned long long)process.start_time);
    return fp_journal_add(sandbox->state_fd, "process", words, error);
}

static int await_reply(struct fp_sandbox *sandbox, struct fp_error *error)
{
    struct fp_error reply;
    int received = fp_receive_result(sandbox->sync_fd, &reply, error);
    if (received == 0)
        return fp_fail_with(error, ECONNRESET, "urunc-init", "it ended before it was ready");
    if (received > 0 && reply.number == 0) {
        sandbox->listener = strcmp(reply.step, FP_LISTENER) == 0 ? atoi(reply.path) : -1;
        return 0;
    }
    if (received > 0)
        *error = reply;
    return -1;
}

int fp_sandbox_ready(struct fp_sandbox *sandbox, struct fp_error *error)
{
    if (!sandbox->ready && await_reply(sandbox, error) < 0)
        return -1;
    sandbox->ready = true;
    if (!sandbox->checks_plan)
        return 0;
    sandbox->checks_plan = false;
    return await_reply(sandbox, error);
}

/* One pair is kept: to unmap it means to interrupt every processor that runs a thread of the caller. */
static _Atomic(char *) spare_stacks;

static char *take_stacks(void)
{
    char *stacks = atomic_exchange(&spare_stacks, NULL);
    return stacks ? stacks : fp_stack_map(2 * STACK_SIZE);
}

static void give_stacks(char *stacks)
{
    char *none = NULL;
    fp_stack_forget(stacks, 2 * STACK_SIZE);
    if (!atomic_compare_exchange_strong(&spare_stacks, &none, stacks))
        fp_stack_unmap(stacks, 2 * STACK_SIZE);
}

int fp_sandbox_clone(struct fp_sandbox *sandbox, uint64_t namespaces, struct fp_error *error)
{
    int pair[2];
    if (sandbox->pid)
        return fp_fail_with(error, EEXIST, "plan", "a second clone");
    if (sandbox->state_fd >= 0 && listen_for_start(sandbox, error) < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return fp_fail(error, "socketpair", NULL);
    _cleanup_close_ int theirs = pair[1];
    sandbox->sync_fd = pair[0];
    static struct fp_sealed_image kept = {.busy = ATOMIC_FLAG_INIT};
    _cleanup_close_ int image = fp_sealed_image(&kept, "urunc-init", fp_init_image_start,
                                                (size_t)(fp_init_image_end - fp_init_image_start), error);
    if (image < 0)
        return -1;
    char *stacks = take_stacks();
    if (stacks == MAP_FAILED)
        return fp_fail(error, "mmap", "stack");
    struct child child = {
        .sandbox = sandbox, .sync_fd = theirs, .image_fd = image, .joins = !(namespaces & CLONE_NEWNS), .error = error};
    int status = clone_child(sandbox, namespaces, &child, stacks, error);
    sandbox->time_offsets = NULL;
    give_stacks(stacks);
    if (status < 0 || note_process(sandbox, error) < 0)
        return -1;
    close(fp_take_fd(&theirs)); /* or its end of file would never come */
    fp_close_guard(&sandbox->start_fd);
    sandbox->start_fd = -1;
    if (!(namespaces & CLONE_NEWTIME))
        return 0; /* it gets ready while we go on */
    return fp_sandbox_ready(sandbox, error) < 0 ? -1 : fp_timens_check(sandbox->pid, error);
}

static void unlock_network(struct fp_sandbox *sandbox)
{
    fp_close_guard(&sandbox->network_lock);
    sandbox->network_lock = -1;
}

static int pass_listener(struct fp_sandbox *sandbox, struct fp_error *error)
{
    const union fp_argument *state = &sandbox->agent_state;
    if (sandbox->listener < 0)
        return fp_fail_with(error, EINVAL, "plan", "nothing listens");
    int status = fp_listener_pass(sandbox->agent, sandbox->pidfd, sandbox->listener, state->text, state->length, error);
    fp_close_guard(&sandbox->agent);
    sandbox->agent = -1;
    return status;
}

/* What urunc-init says of a plan is heard at once if hooks run before the container is committed: it is `creating` for
 * them; and if somebody waits for a listener.  Else it is heard at the commit, and both go on meanwhile. */
static int send_plan(struct fp_sandbox *sandbox, const void *bytes, size_t size, bool hooks, struct fp_error *error)
{
    struct fp_request request = {.kind = FP_KEEP, .plan_size = (uint32_t)size};
    _cleanup_close_ int plan = fp_sealed_memfd("urunc-plan", bytes, size, false, error);
    if (plan < 0 || fp_sandbox_ready(sandbox, error) < 0 ||
        fp_send_request(sandbox->sync_fd, &request, plan, sandbox->slots, error) < 0)
        return -1;
    sandbox->checks_plan = true;
    if ((hooks || sandbox->agent >= 0) && fp_sandbox_ready(sandbox, error) < 0)
        return -1;
    return sandbox->agent < 0 ? 0 : pass_listener(sandbox, error);
}

/* Whether what follows `offset` of the plan, up to the next stage, has a hook. */
static bool has_hook(const struct fp_plan *plan, uint32_t offset)
{
    struct fp_operation next;
    while (fp_plan_next(plan, &offset, &next) && next.code != FP_OP_STAGE)
        if (next.code == FP_OP_HOOK)
            return true;
    return false;
}

static int keep_slots(struct fp_sandbox *sandbox, const int *slots, int count, struct fp_error *error)
{
    for (int i = 0; i < count; i++) {
        int slot = i + FP_SLOT_ROOT + 1;
        if (slot >= FP_SLOT_COUNT)
            return fp_fail_with(error, E2BIG, "plan", "descriptors");
        fp_close_guard(&sandbox->slots[slot]);
        sandbox->slots[slot] = slots[i] < 0 ? -1 : fcntl(slots[i], F_DUPFD_CLOEXEC, 3);
        if (slots[i] >= 0 && sandbox->slots[slot] < 0)
            return fp_fail(error, "dup", "a descriptor of the plan");
    }
    return 0;
}

int fp_sandbox_execute(struct fp_sandbox *sandbox, const void *bytes, size_t size, const int *slots, int slot_count,
                       struct fp_error *error)
{
    struct fp_plan plan;
    struct fp_operation operation;
    if (fp_plan_open(bytes, size, &plan, error) < 0 || keep_slots(sandbox, slots, slot_count, error) < 0)
        return -1;
    for (uint32_t offset = 0; fp_plan_next(&plan, &offset, &operation);) {
        if (operation.code == FP_OP_STAGE) {
            if (operation.arguments[0].integer >= FP_STAGE_WAIT) {
                unlock_network(sandbox); /* hooks follow, which may take their time */
                return send_plan(sandbox, bytes, size, has_hook(&plan, offset), error);
            }
        } else if (fp_sandbox_operation(sandbox, &operation, error) < 0) {
            return -1;
        }
    }
    return 0;
}

int fp_sandbox_release(struct fp_sandbox *sandbox, struct fp_error *error)
{
    struct fp_request request = {.kind = FP_COMMIT};
    if (fp_sandbox_ready(sandbox, error) < 0 || fp_send_request(sandbox->sync_fd, &request, -1, NULL, error) < 0)
        return -1;
    fp_sandbox_drop(sandbox); /* what was sent is received all the same */
    return 0;
}
