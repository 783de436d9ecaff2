/* SPDX-License-Identifier: Apache-2.0 */
/* Scope guards: what a function opens, it closes on every way out. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

static inline void fp_close_guard(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void fp_free_guard(void *pointer)
{
    free(*(void **)pointer);
}

#define _cleanup_close_ __attribute__((cleanup(fp_close_guard)))
#define _cleanup_free_  __attribute__((cleanup(fp_free_guard)))

/* Hand the descriptor on: the guard then has nothing to close. */
static inline int fp_take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
