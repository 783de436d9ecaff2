/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one hook: a program with nothing of ours but its standard streams, and a time to end in. */
#pragma once

#include "error.h"
#include <stdint.h>

#define FP_HOOK_FAILED "error running hook" /* step of the error of one that ran */

struct fp_hook {
    const char *path;
    const char *const *argv;
    const char *const *environment; /* all of it: nothing is inherited (runtime-spec, config.md#posix-platform-hooks) */
    const void *input;              /* its standard input: the state as JSON */
    uint64_t input_size;
    int64_t timeout_s;     /* 0 = none */
    const char *directory; /* working directory; NULL = the caller's */
    int root_fd;           /* chroot there first; -1 = the caller's root */
};

/* 0 if it exited with status 0.  Otherwise `error` tells which hook, how it ended and what it wrote. */
int fp_hook_run(const struct fp_hook *hook, struct fp_error *error);
