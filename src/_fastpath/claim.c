// SPDX-License-Identifier: Apache-2.0
// Who has a disk; see claim.h.
#define _GNU_SOURCE
#include "claim.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

static void replace(int *slots, int64_t slot, int *fd)
{
    fp_close_guard(&slots[slot]);
    slots[slot] = fp_take_fd(fd);
}

int fp_claim_device(int *slots, int64_t slot, const char *path, struct fp_error *error)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_EXCL | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "have the block device for the guest alone", path);
    replace(slots, slot, &fd);
    return 0;
}

int fp_claim_lock(int *slots, int64_t slot, const char *path, bool exclusive, const char *name, struct fp_error *error)
{
    if (*path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return fp_fail(error, "open", path);
        replace(slots, slot, &fd);
    }
    if (flock(slots[slot], (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return fp_fail(error, "lock block", name);
    char words[FP_PATH_MAX];
    snprintf(words, sizeof(words),
             "%.100s: another guest %s: end that one, give each a disk of its own,"
             " or have both only read it",
             name, exclusive ? "has it, and this one may write to it" : "may write to it");
    return fp_fail_with(error, EBUSY, "block", words);
}
