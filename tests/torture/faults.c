// SPDX-License-Identifier: Apache-2.0
// Linked into the program of `ci/build --faults` in front of what is named there by --wrap: the n-th of these calls of
// a process fails, before it does anything or when all of it is done.
#define _GNU_SOURCE
#include "enter.h"
#include "execute.h"
#include "journal.h"
#include "state.h"

#include <stdbool.h>
#include <sys/resource.h>

#ifndef FP_FAULT_SIDE
#define FP_FAULT_SIDE 0 /* the caller; 1: urunc-init */
#endif

/* Which one comes by a resource limit that Linux has not used since 2.4: a container's processes inherit it, in
 * whatever namespaces, and need neither environment nor files.  errno, side << 8, done << 9, number << 10; what is
 * more, none. */
static int fault(bool done, int number)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_LOCKS, &limit) < 0 || limit.rlim_cur > 1 << 20)
        return 0;
    unsigned wanted = (unsigned)limit.rlim_cur;
    bool ours = (wanted >> 8 & 1) == FP_FAULT_SIDE && (wanted >> 9 & 1) == done && (int)(wanted >> 10) == number;
    return ours ? (int)(wanted & 255) : 0;
}

static int calls;

#define POINT(name, step, parameters, arguments)                                                                       \
    int __real_##name parameters __attribute__((weak));                                                                \
    int __wrap_##name parameters;                                                                                      \
    int __wrap_##name parameters                                                                                       \
    {                                                                                                                  \
        int number = calls++, before = fault(false, number);                                                           \
        if (before)                                                                                                    \
            return fp_fail_with(error, before, step, "before");                                                        \
        int status = __real_##name arguments;                                                                          \
        int after = status < 0 ? 0 : fault(true, number);                                                              \
        return after ? fp_fail_with(error, after, step, "after") : status;                                             \
    }

#define NAME fp_operation_table[operation->code].name

POINT(fp_sandbox_operation, NAME,
      (struct fp_sandbox * sandbox, const struct fp_operation *operation, struct fp_error *error),
      (sandbox, operation, error))
POINT(fp_sandbox_release, "commit", (struct fp_sandbox * sandbox, struct fp_error *error), (sandbox, error))
POINT(fp_enter_operation, NAME, (const struct fp_operation *operation, int *slots, struct fp_error *error),
      (operation, slots, error))
POINT(fp_enter_release, NAME, (const struct fp_operation *operation, int *slots, int notify_fd, struct fp_error *error),
      (operation, slots, notify_fd, error))
POINT(fp_enter_exec, NAME,
      (const struct fp_operation *operation, const int *slots, int notify_fd, struct fp_error *error),
      (operation, slots, notify_fd, error))
POINT(fp_journal_add, "journal", (int state_fd, const char *kind, const char *words, struct fp_error *error),
      (state_fd, kind, words, error))
POINT(fp_journal_add_lines, "journal", (int state_fd, const char *lines, size_t size, struct fp_error *error),
      (state_fd, lines, size, error))
POINT(fp_state_write, "record",
      (int state_fd, const struct fp_record *record, const struct iovec pieces[FP_STATE_PIECES],
       struct fp_error *error),
      (state_fd, record, pieces, error))
