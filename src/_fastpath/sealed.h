/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a descriptor that nobody can change any more. */
#pragma once

#include "error.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/* A sealed memfd with `size` bytes in it; executable if asked (vm.memfd_noexec). */
int fp_sealed_memfd(const char *name, const void *bytes, size_t size, bool executable, struct fp_error *error);

/* A program that this process has in memory, kept as such a memfd: written once, not for each container. */
struct fp_sealed_image {
    atomic_flag busy;
    int fd; /* 0 = none yet */
    dev_t device;
    ino_t inode;
};

/* A descriptor of it, the caller's; made if there is none yet, or if somebody has closed ours and has another file of
 * that number now.  For any number of threads: one that finds another at work makes one for itself. */
int fp_sealed_image(struct fp_sealed_image *kept, const char *name, const void *bytes, size_t size,
                    struct fp_error *error);
