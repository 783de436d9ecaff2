/* SPDX-License-Identifier: Apache-2.0 */
/* clone3 with a stack of the child's own and the caller's memory: the price does not grow with the caller. */
#pragma once

#include "kernel.h"

#include <stddef.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

/* The stack of such a child, MAP_FAILED with errno; it is unmapped when the child has executed or ended. */
static inline void *fp_stack_map(size_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
}

static inline void fp_stack_forget(void *stack, size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    /* A child that executes never leaves its frames, and what it has noted of them stands in the memory that we share:
     * the libasan of GCC 12 does not forget it by munmap(2), and takes it for true of the next stack at the address. */
    __asan_unpoison_memory_region(stack, size);
#else
    (void)stack, (void)size;
#endif
}

static inline void fp_stack_unmap(void *stack, size_t size)
{
    fp_stack_forget(stack, size);
    munmap(stack, size);
}

/* Call clone3 with `arguments`; in the child run `function(argument)` on the given stack and exit with what it
 * returns.  Returns the pid or -errno.  The child shares the memory and the thread pointer of the caller:
 * `function` may only make system calls, and CLONE_VFORK keeps the caller waiting until it executes or exits. */
long fp_clone3(const struct fp_clone_args *arguments, int (*function)(void *), void *argument);
