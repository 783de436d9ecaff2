/* SPDX-License-Identifier: Apache-2.0 */
/* Which system call a seccomp filter has denied to a process that it ended, by the kernel's audit record. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Whether the process with this pid and start time (process.h) was ended by a filter, as its parent, who has not waited
 * for it, or the kernel's log tells; `ret` is the number of the call, -1 where the log has no record: not every one is
 * written there (kernel.printk_ratelimit, an auditd), and pids in it are those of the initial pid namespace. */
bool fp_audit_denied(pid_t pid, uint64_t start_time, int *ret);

/* The number in the last record of seccomp in `log` that is of `pid` and no older than `since_s` (seconds since 1970);
 * -1 if there is none. */
int fp_audit_find(const char *log, pid_t pid, double since_s);
