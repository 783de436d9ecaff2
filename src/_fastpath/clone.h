/* SPDX-License-Identifier: Apache-2.0 */
/* clone3 with a stack of the child's own and the caller's memory: the price does not grow with the caller. */
#pragma once

#include "kernel.h"

/* Call clone3 with `arguments`; in the child run `function(argument)` on the given stack and exit with what it
 * returns.  Returns the pid or -errno.  The child shares the memory and the thread pointer of the caller:
 * `function` may only make system calls, and CLONE_VFORK keeps the caller waiting until it executes or exits. */
long fp_clone3(const struct fp_clone_args *arguments, int (*function)(void *), void *argument);
