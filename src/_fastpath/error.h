/* SPDX-License-Identifier: Apache-2.0 */
/* The one way an error leaves C: what was tried, the errno, and the thing it was tried on. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

enum { FP_STEP_MAX = 48, FP_PATH_MAX = 256 };

/* Fixed size and without pointers: it crosses sockets and shared memory as it is. */
struct fp_error {
    int number;             /* errno; 0 = no error */
    char step[FP_STEP_MAX]; /* "mount", "clone", "exec": a word of the plan or of the kernel */
    char path[FP_PATH_MAX]; /* the thing, or a sentence about it; may be empty */
};

/* Record errno, `step` and `path` (NULL: none; cut to fit) in `ret` and return -1.
 * The first error stays: a failing undo cannot hide what went wrong.  Async-signal-safe. */
int fp_fail(struct fp_error *ret, const char *step, const char *path);

/* The same with an errno of the caller's choice. */
int fp_fail_with(struct fp_error *ret, int number, const char *step, const char *path);

/* Descriptors or memory have run out: an errno that says nothing of the thing that was to be looked at. */
static inline bool fp_is_shortage(int number)
{
    return number == EMFILE || number == ENFILE || number == ENOMEM;
}
