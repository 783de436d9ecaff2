/* SPDX-License-Identifier: Apache-2.0 */
/* start, kill and the end of a container: what needs no Python. */
#pragma once

#include "execute.h"
#include "state.h"

/* Ask the waiting urunc-init to become the monitor.  0 only after its execve succeeded; otherwise `error` has the
 * step that failed in it.  The caller holds the lock and has checked the status. */
int fp_lifecycle_start(int state_fd, struct fp_state *state, struct fp_error *error);

/* The same with a plan of `size` bytes, whose stages enter and exec take the place of those that urunc-init keeps, and
 * with slots (NULL: none) that take the place of its. */
int fp_lifecycle_start_as(int state_fd, struct fp_state *state, const void *plan, size_t size, const int *slots,
                          struct fp_error *error);

/* Have the process of `sandbox`, which joins a container (its state_fd is -1), execute its program; as for start. */
int fp_lifecycle_exec(struct fp_sandbox *sandbox, struct fp_error *error);

/* Send `number` to the container's process, by pidfd; ESRCH if it has ended.  A first SIGTERM is the power button of a
 * guest that has one (control.h); `state_fd` -1: no. */
int fp_lifecycle_kill(int state_fd, const struct fp_state *state, int number, struct fp_error *error);

/* Send it to every process of the container's cgroup, to those that a monitor has left behind too. */
int fp_lifecycle_kill_all(const struct fp_state *state, int number, struct fp_error *error);

/* Freeze the container's cgroup, or thaw it. */
int fp_lifecycle_pause(const struct fp_state *state, bool paused, struct fp_error *error);

/* SIGKILL, and wait until the process has ended; nothing to do for one that has. */
int fp_lifecycle_end(const struct fp_state *state, struct fp_error *error);
