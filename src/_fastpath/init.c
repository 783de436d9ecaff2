// SPDX-License-Identifier: Apache-2.0
// urunc-init: waits in the container's namespaces, then becomes the monitor.  See protocol.h for what it hears.
#define _GNU_SOURCE
#include "cleanup.h"
#include "enter.h"
#include "kernel.h"
#include "kvm_probe.h"
#include "listener.h"
#include "protocol.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static int slots[FP_SLOT_COUNT];

/* Pid 1 of a namespace does not see a signal that it has no handler for: the waiting init has to die of TERM. */
static void end(int number)
{
    _exit(128 + number);
}

static void catch_signals(void)
{
    static const int deadly[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM};
    fp_default_signals();
    for (size_t i = 0; i < sizeof(deadly) / sizeof(*deadly); i++)
        sigaction(deadly[i], &(struct sigaction){.sa_handler = end}, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* By "0": see enter_cgroups of execute.c.  There is nothing else above the first, and perhaps not that. */
static int enter_cgroups(struct fp_error *error)
{
    for (int fd = FP_TASKS_FD;; fd++) {
        if (write(fd, "0", 1) != 1)
            return errno == EBADF ? 0 : fp_fail(error, "enter cgroup", NULL);
        close(fd);
    }
}

/* Which processors a container runs on is its cpuset's affair, not that of whoever made it. */
static void unpin(void)
{
    unsigned long all[1024 / (8 * sizeof(unsigned long))];
    memset(all, 0xff, sizeof(all));
    syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
}

static int prepare(bool joined, struct fp_error *error)
{
    prctl(PR_SET_NAME, FP_INIT_NAME);
    /* memory, descriptors and /proc entries of ours are not for processes of the container's user */
    prctl(PR_SET_DUMPABLE, 0);
    if (enter_cgroups(error) < 0)
        return -1;
    unpin();
    setsid();
    if (chdir("/") < 0) /* a waiting container must not keep its maker's working directory busy */
        return fp_fail(error, "chdir", "/");
    /* the host's mounts must go on reaching us (and leaving us), ours must never reach the host */
    if (!joined && mount("", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return fp_fail(error, "make mounts slaves", "/");
    return 0;
}

static int open_plan(int fd, uint32_t size, struct fp_plan *ret, struct fp_error *error)
{
    const void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return fp_fail(error, "mmap", "plan");
    return fp_plan_open(bytes, size, ret, error);
}

/* The operations of one stage. */
static int run_stage(const struct fp_plan *plan, enum fp_stage stage, int notify_fd, struct fp_error *error)
{
    struct fp_operation operation;
    enum fp_stage current = FP_STAGE_SANDBOX;
    for (uint32_t offset = 0; fp_plan_next(plan, &offset, &operation);) {
        if (operation.code == FP_OP_STAGE)
            current = (enum fp_stage)operation.arguments[0].integer;
        else if (current == stage && (operation.code == FP_OP_EXEC || operation.code == FP_OP_EXEC_SLOT))
            return fp_enter_exec(&operation, slots, notify_fd, error);
        else if (current == stage && operation.code == FP_OP_RELEASE) {
            if (fp_enter_release(&operation, slots, notify_fd, error) < 0)
                return -1;
        } else if (current == stage && fp_enter_operation(&operation, slots, error) < 0)
            return -1;
    }
    return 0;
}

/* Above every number that an operation `keep` can name. */
static int moved_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FP_SLOT_COUNT);
    return high < 0 ? fd : (close(fd), high);
}

/* See listener.h. */
static void close_listener(void)
{
    fp_close_guard(&slots[FP_SLOT_LISTENER]);
    slots[FP_SLOT_LISTENER] = -1;
}

static int send_result(struct fp_error *error)
{
    if (slots[FP_SLOT_LISTENER] < 0 || error->number)
        return fp_send_result(FP_SYNC_FD, error);
    strcpy(error->step, FP_LISTENER);
    snprintf(error->path, sizeof(error->path), "%d", slots[FP_SLOT_LISTENER]);
    return write(FP_SYNC_FD, error, sizeof(*error)) == sizeof(*error) ? 0 : -1;
}

/* Until the container is committed, -1, or started, the descriptor to tell; exits when the caller does, or has failed.
 */
static int serve_create(struct fp_plan *ret)
{
    for (;;) {
        struct fp_request request;
        struct fp_error error = {0};
        struct fp_plan plan;
        int plan_fd = -1;
        if (fp_receive_request(FP_SYNC_FD, &request, &plan_fd, slots, &error) <= 0)
            _exit(1);
        if (request.kind == FP_START || request.kind == FP_COMMIT)
            close_listener();
        if (request.kind == FP_START)
            return moved_up(FP_SYNC_FD);
        int opened = request.kind == FP_COMMIT ? -1 : open_plan(plan_fd, request.plan_size, &plan, &error);
        fp_close_guard(&plan_fd); /* not behind a filter that asks for close(2) */
        if (opened == 0) {
            *ret = plan;
            run_stage(&plan, FP_STAGE_WAIT, -1, &error);
        }
        if (request.kind == FP_COMMIT && !error.number)
            break;
        if (send_result(&error) < 0 || error.number)
            _exit(1);
    }
    close(FP_SYNC_FD);
    return -1;
}

/* The connection of the one start that this process serves.  One that closes without asking is a start that was
 * killed: the next one may come. */
static int await_start(struct fp_plan *plan, struct fp_error *error)
{
    for (;;) {
        struct fp_request request;
        struct fp_error unheard = {0};
        int plan_fd = -1, fd = accept4(FP_START_FD, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && fp_receive_request(fd, &request, &plan_fd, slots, &unheard) > 0 && request.kind == FP_START) {
            close(FP_START_FD);
            if (request.plan_size)
                open_plan(plan_fd, request.plan_size, plan, error);
            fp_close_guard(&plan_fd);
            return moved_up(fd);
        }
        fp_close_guard(&plan_fd);
        if (fd >= 0)
            close(fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            _exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--probe-kvm") == 0)
        return fp_kvm_probe_main();
    struct fp_error error = {0};
    struct fp_plan plan = {0};
    for (int i = 0; i < FP_SLOT_COUNT; i++)
        slots[i] = -1;
    catch_signals();
    int prepared = prepare(argc > 1 && strcmp(argv[1], FP_JOINED) == 0, &error);
    if (fp_send_result(FP_SYNC_FD, &error) < 0 || prepared < 0)
        return 1;
    int start_fd = serve_create(&plan);
    if (start_fd < 0)
        start_fd = await_start(&plan, &error);
    prctl(PR_SET_NAME, FP_ENTER_NAME);
    if (!error.number && run_stage(&plan, FP_STAGE_ENTER, start_fd, &error) == 0)
        run_stage(&plan, FP_STAGE_EXEC, start_fd, &error);
    if (!error.number)
        fp_fail_with(&error, EINVAL, "plan", "it ends without exec");
    fp_send_result(start_fd, &error);
    return 1;
}
