// SPDX-License-Identifier: Apache-2.0
// Runs one hook; see hook.h.
#define _GNU_SOURCE
#include "hook.h"

#include "cleanup.h"
#include "clone.h"
#include "kernel.h"
#include "sealed.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { STACK_SIZE = 64 << 10, OUTPUT_MAX = 160, SCRATCH_FD = 64 };

struct child {
    const struct fp_hook *hook;
    int input_fd, output_fd;
    pid_t parent;
    struct fp_error *error;
};

/* Runs with the caller's memory, see execute.c: system calls only. */
static int execute_hook(void *argument)
{
    struct child *child = argument;
    const struct fp_hook *hook = child->hook;
    fp_default_signals();
    /* A hook is its maker's: it ends with the thread that waits for it.  Looked at afterwards, for one that died
     * before. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != child->parent)
        return fp_fail_with(child->error, ESRCH, "hook", hook->path);
    if (hook->root_fd >= 0 && (fchdir(hook->root_fd) < 0 || chroot(".") < 0))
        return fp_fail(child->error, "chroot", hook->path);
    if (hook->directory && chdir(hook->directory) < 0)
        return fp_fail(child->error, "chdir", hook->directory);
    int input = fcntl(child->input_fd, F_DUPFD, SCRATCH_FD), output = fcntl(child->output_fd, F_DUPFD, SCRATCH_FD);
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 || fp_close_range(3, ~0u) < 0)
        return fp_fail(child->error, "dup", hook->path);
    execve(hook->path, (char *const *)hook->argv, (char *const *)hook->environment);
    return fp_fail(child->error, "hook: exec", hook->path);
}

static int spawn(struct child *child, int *ret_pidfd, struct fp_error *error)
{
    char *stack = fp_stack_map(STACK_SIZE);
    if (stack == MAP_FAILED)
        return fp_fail(error, "mmap", "stack");
    struct fp_clone_args arguments = {.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
                                      .pidfd = (uintptr_t)ret_pidfd,
                                      .exit_signal = SIGCHLD,
                                      .stack = (uintptr_t)stack,
                                      .stack_size = STACK_SIZE};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = fp_clone3(&arguments, execute_hook, child);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    fp_stack_unmap(stack, STACK_SIZE);
    if (pid < 0)
        return fp_fail_with(error, (int)-pid, "clone", child->hook->path);
    return 0;
}

/* What the hook writes is read as it comes, for the message; the end is that of the process, not of the pipe, which a
 * daemon that it left behind may hold. */
static bool await_end(int pidfd, int output_fd, int64_t timeout_s, char *output)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct pollfd both[] = {{.fd = pidfd, .events = POLLIN}, {.fd = output_fd, .events = POLLIN}};
    size_t length = 0;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t left = timeout_s * 1000 - (now.tv_sec - start.tv_sec) * 1000 - (now.tv_nsec - start.tv_nsec) / 1000000;
        if (timeout_s && left <= 0)
            return false;
        int wait = !timeout_s ? -1 : left > 60000 ? 60000 : (int)left;
        if (poll(both, 2, wait) < 0 && errno != EINTR)
            return false;
        char buffer[512];
        ssize_t got = both[1].revents ? read(output_fd, buffer, sizeof(buffer)) : 0;
        for (ssize_t i = 0; i < got && length < OUTPUT_MAX; i++)
            output[length++] = buffer[i] < ' ' ? ' ' : buffer[i];
        if (both[1].revents && got <= 0)
            both[1].fd = -1;
        if (both[0].revents && got <= 0)
            return true;
    }
}

static int report(const struct fp_hook *hook, const siginfo_t *info, const char *output, struct fp_error *error)
{
    char message[FP_PATH_MAX];
    bool exited = info->si_code == CLD_EXITED;
    if (exited && info->si_status == 0)
        return 0;
    snprintf(message, sizeof(message), "%.60s: %s %d, output: %s", hook->path, exited ? "exit status" : "signal",
             info->si_status, output);
    return fp_fail_with(error, ECHILD, FP_HOOK_FAILED, message);
}

int fp_hook_run(const struct fp_hook *hook, struct fp_error *error)
{
    int pipes[2], pidfd = -1;
    char output[OUTPUT_MAX + 1] = "";
    if (hook->path[0] != '/')
        return fp_fail_with(error, EINVAL, "hook path is not absolute", hook->path);
    _cleanup_close_ int input = fp_sealed_memfd("hook-state", hook->input, hook->input_size, false, error);
    if (input < 0 || lseek(input, 0, SEEK_SET) < 0)
        return -1;
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return fp_fail(error, "pipe", hook->path);
    _cleanup_close_ int read_end = pipes[0];
    _cleanup_close_ int write_end = pipes[1];
    fcntl(read_end, F_SETFL, O_NONBLOCK);
    struct child child = {hook, input, write_end, getpid(), error};
    if (spawn(&child, &pidfd, error) < 0)
        return -1;
    close(fp_take_fd(&write_end));
    bool ended = error->number || await_end(pidfd, read_end, hook->timeout_s, output);
    if (!ended)
        fp_pidfd_send_signal(pidfd, SIGKILL);
    siginfo_t info = {0};
    int waited;
    while ((waited = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED)) < 0 && errno == EINTR)
        ;
    /* an embedding program may ignore SIGCHLD, or wait for whatever child there is */
    if (waited < 0 && ended)
        fp_fail(error, "hook: the calling program took its exit status", hook->path);
    close(pidfd);
    if (error->number)
        return -1;
    if (!ended)
        return fp_fail_with(error, ETIMEDOUT, "hook ran past its timeout", hook->path);
    return report(hook, &info, output, error);
}
