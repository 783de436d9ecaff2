/* SPDX-License-Identifier: Apache-2.0 */
/* Processes by pid and start time: a pid alone may belong to somebody else by now. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fp_process {
    char comm[16];
    char state;            /* proc(5): R S D Z T X ... */
    uint64_t start_time;   /* clock ticks after boot, field 22 of /proc/PID/stat */
    bool namespace_leader; /* pid 1 of a pid namespace below ours */
    uint64_t caught;       /* SigCgt: bit n-1 for signal n */
    uint64_t ignored;      /* SigIgn */
};

/* Read /proc/PID/stat; false with ESRCH if there is no such process (or no /proc), with another errno if nobody could
 * look, as without a free descriptor. */
bool fp_process_stat(pid_t pid, struct fp_process *ret);

/* Add what /proc/PID/status knows: namespace_leader, caught, ignored. */
bool fp_process_signals(pid_t pid, struct fp_process *ret);

/* A pidfd of the process that has this pid and this start time and has not ended; -1 with ESRCH if there is none. */
int fp_process_open(pid_t pid, uint64_t start_time);

/* The signal to send so that `number` does what the sender means: a namespace's pid 1 without a handler does
 * not see a signal whose default is to terminate, so that SIGKILL has to stand in (pid_namespaces(7)). */
int fp_process_effective_signal(pid_t pid, int number);

/* Wait until the process of the pidfd has ended, at most `timeout_ms` (-1: for ever); false if it has not. */
bool fp_process_wait(int pidfd, int timeout_ms);
