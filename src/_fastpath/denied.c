// SPDX-License-Identifier: Apache-2.0
// What the companion notes of a denied system call; see denied.h.
#define _GNU_SOURCE
#include "denied.h"

#include "audit.h"
#include "cleanup.h"

#include <fcntl.h>
#include <unistd.h>

int fp_denied_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    int *slot = &sandbox->slots[operation->arguments[0].integer];
    fp_close_guard(slot);
    *slot = openat(sandbox->state_fd, FP_DENIED, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *slot < 0 ? fp_fail(error, "create", FP_DENIED) : 0;
}

bool fp_denied_find(int state_fd, pid_t pid, uint64_t start_time, int *ret)
{
    _cleanup_close_ int fd = openat(state_fd, FP_DENIED, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && read(fd, ret, sizeof(*ret)) == sizeof(*ret))
        return true;
    return fp_audit_denied(pid, start_time, ret);
}
