// SPDX-License-Identifier: Apache-2.0
// start, kill and the end of a container; see lifecycle.h.
#define _GNU_SOURCE
#include "lifecycle.h"

#include "cleanup.h"
#include "control.h"
#include "kernel.h"
#include "process.h"
#include "protocol.h"
#include "sealed.h"
#include "snapshot.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { END_WAIT_MS = 10000 };

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* On our monotonic clock: that of a time namespace has an offset, so what is sent is of the wall clock. */
static uint64_t moment_of(const struct fp_error *result)
{
    uint64_t sent = strtoull(result->path, NULL, 10), now = now_ns(CLOCK_REALTIME), ago = now - sent;
    return now_ns(CLOCK_MONOTONIC) - (sent && sent <= now ? ago : 0);
}

/* What urunc-init says first: it is about to execute the monitor, but for the rootfs that we have to unmount. */
static int receive_first(int fd, int state_fd, int *hold, struct fp_error *ret, struct fp_error *error)
{
    int received = fp_receive_result(fd, ret, error);
    if (received <= 0 || ret->number || strcmp(ret->step, FP_RELEASE) != 0)
        return received;
    struct fp_request answer = {.kind = FP_RELEASED};
    if (fp_snapshot_release(state_fd, hold, error) < 0 || fp_send_request(fd, &answer, -1, NULL, error) < 0)
        return -1;
    return fp_receive_result(fd, ret, error);
}

/* The result stays in the socket until its end: it alone is no reason to wake up.  Not so where init may ask for the
 * rootfs. */
static void await_end(int fd)
{
    struct pollfd one = {.fd = fd}; /* no events: POLLHUP alone */
    while (poll(&one, 1, -1) < 0 && errno == EINTR)
        ;
}

static int await_exec(int fd, int state_fd, int *hold, uint64_t *entered_ns, struct fp_error *error)
{
    struct fp_error result;
    if (faccessat(state_fd, FP_SNAPSHOT, F_OK, 0) < 0)
        await_end(fd);
    int received = receive_first(fd, state_fd, hold, &result, error);
    if (received == 0)
        return fp_fail_with(error, ECONNRESET, "start", "urunc-init ended before it ran the monitor");
    if (received > 0 && result.number == 0) {
        *entered_ns = moment_of(&result);
        received = fp_receive_result(fd, &result, error); /* end of file: execve closed it */
        if (received == 0)
            return 0;
    }
    if (received > 0)
        *error = result;
    return -1;
}

/* A start that was killed after it had asked is still obeyed: who asks next finds nobody listening, and the container
 * running in a moment. */
static int explain(const struct fp_state *state, struct fp_error *error)
{
    if (error->number != ECONNREFUSED && error->number != ECONNRESET && error->number != EPIPE)
        return -1;
    enum fp_status status = fp_state_status(state);
    for (int waited = 0; status == FP_CREATED && waited < END_WAIT_MS; waited++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        status = fp_state_status(state);
    }
    if (status == FP_RUNNING)
        *error =
            (struct fp_error){.number = EALREADY, .step = "start", .path = "cannot start an already running container"};
    return -1;
}

int fp_lifecycle_start(int state_fd, struct fp_state *state, struct fp_error *error)
{
    return fp_lifecycle_start_as(state_fd, state, NULL, 0, NULL, error);
}

int fp_lifecycle_start_as(int state_fd, struct fp_state *state, const void *plan, size_t size, const int *slots,
                          struct fp_error *error)
{
    struct fp_request request = {.kind = FP_START, .plan_size = (uint32_t)size};
    _cleanup_close_ int plan_fd = size ? fp_sealed_memfd("urunc-plan", plan, size, false, error) : -1;
    if (size && plan_fd < 0)
        return -1;
    struct sockaddr_un address;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || fp_unix_address(state_fd, FP_SOCKET, &address) < 0)
        return fp_fail(error, "socket", FP_SOCKET);
    _cleanup_close_ int hold = -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fp_fail(error, "connect", FP_SOCKET);
    else if (fp_send_request(fd, &request, plan_fd, slots, error) == 0)
        await_exec(fd, state_fd, &hold, &state->entered_ns, error);
    if (error->number) {
        close(fp_take_fd(&fd)); /* a urunc-init that still waits ends */
        if (hold >= 0)
            fp_snapshot_restore(state_fd, error);
        return explain(state, error);
    }
    fp_snapshot_forget(state_fd);
    unlinkat(state_fd, FP_SOCKET, 0);
    state->record.status = FP_RUNNING;
    return fp_state_publish(state_fd, state, error);
}

int fp_lifecycle_exec(struct fp_sandbox *sandbox, struct fp_error *error)
{
    struct fp_request request = {.kind = FP_START};
    uint64_t entered_ns;
    int hold = -1;
    if (fp_sandbox_ready(sandbox, error) < 0 || fp_send_request(sandbox->sync_fd, &request, -1, NULL, error) < 0 ||
        await_exec(sandbox->sync_fd, -1, &hold, &entered_ns, error) < 0)
        return -1;
    fp_sandbox_drop(sandbox); /* it is nobody's half-made process any more */
    return 0;
}

int fp_lifecycle_kill(int state_fd, const struct fp_state *state, int number, struct fp_error *error)
{
    if (number == SIGTERM && state_fd >= 0 && fp_state_status(state) == FP_RUNNING && fp_control_powerdown(state_fd))
        return 0;
    pid_t pid = (pid_t)state->record.pid;
    _cleanup_close_ int pidfd = fp_process_open(pid, state->record.start_time);
    if (pidfd < 0)
        return fp_fail(error, "kill", NULL);
    int sent = fp_process_effective_signal(pid, number);
    if (fp_pidfd_send_signal(pidfd, sent) < 0)
        return fp_fail(error, "kill", NULL);
    if (sent == SIGKILL)
        fp_cgroup_thaw(&state->cgroups);
    return 0;
}

int fp_lifecycle_kill_all(const struct fp_state *state, int number, struct fp_error *error)
{
    if (!state->cgroups.count)
        return fp_lifecycle_kill(-1, state, number, error);
    const struct fp_cgroup *freezer = fp_cgroup_freezer(&state->cgroups);
    if (fp_cgroup_signal((freezer ? freezer : state->cgroups.items)->path, number, error) < 0)
        return -1;
    if (number == SIGKILL)
        fp_cgroup_thaw(&state->cgroups);
    return 0;
}

/* Where nothing freezes: every process of the container is stopped.  Unlike a frozen one it is seen by its parent to
 * be. */
static int stop(const struct fp_state *state, bool paused, struct fp_error *error)
{
    int number = paused ? SIGSTOP : SIGCONT;
    int sent = state->cgroups.count ? fp_cgroup_signal(state->cgroups.items[0].path, number, error)
                                    : fp_lifecycle_kill(-1, state, number, error);
    for (int waited = 0; sent == 0 && waited < END_WAIT_MS; waited++) {
        enum fp_status status = fp_state_status(state);
        if (status == FP_STOPPED || (status == FP_PAUSED) == paused)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return sent < 0 ? -1 : fp_fail_with(error, ETIMEDOUT, "pause", "the process does not stop");
}

int fp_lifecycle_pause(const struct fp_state *state, bool paused, struct fp_error *error)
{
    const struct fp_cgroup *freezer = fp_cgroup_freezer(&state->cgroups);
    return freezer ? fp_cgroup_freeze(freezer, paused, error) : stop(state, paused, error);
}

int fp_lifecycle_end(const struct fp_state *state, struct fp_error *error)
{
    _cleanup_close_ int pidfd = fp_process_open((pid_t)state->record.pid, state->record.start_time);
    if (pidfd < 0)
        return errno == ESRCH ? 0 : fp_fail(error, "pidfd_open", NULL);
    if (fp_pidfd_send_signal(pidfd, SIGKILL) < 0 && errno != ESRCH)
        return fp_fail(error, "kill", NULL);
    fp_cgroup_thaw(&state->cgroups);
    if (!fp_process_wait(pidfd, END_WAIT_MS))
        return fp_fail_with(error, ETIMEDOUT, "kill", "the process does not end");
    return 0;
}
