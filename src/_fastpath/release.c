// SPDX-License-Identifier: Apache-2.0
// urunc-init's half of the way of a rootfs from the host to the guest; see snapshot.h.
#define _GNU_SOURCE
#include "cleanup.h"
#include "enter.h"
#include "protocol.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

/* Somebody's mount may be on its way out (a mount namespace that has just ended, a probe of the device). */
enum { RETRIES = 300, RETRY_MS = 10 };

static int await_release(int notify_fd, struct fp_error *error)
{
    struct fp_error question = {.step = FP_RELEASE};
    struct fp_request request;
    int plan_fd = -1, none[FP_SLOT_COUNT];
    memset(none, -1, sizeof(none));
    if (fp_send_result(notify_fd, &question) < 0)
        return fp_fail(error, "send to start", NULL);
    int received = fp_receive_request(notify_fd, &request, &plan_fd, none, error);
    fp_close_guard(&plan_fd);
    if (received < 0)
        return -1;
    if (received == 0 || request.kind != FP_RELEASED)
        return fp_fail_with(error, ECONNRESET, "start", "it ended before it had unmounted the rootfs");
    return 0;
}

int fp_enter_release(const struct fp_operation *operation, int *slots, int notify_fd, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    int64_t slot = argument[0].integer;
    const char *path = argument[2].text, *name = argument[4].text;
    for (uint64_t i = 0; i < argument[1].count; i++) {
        int *held = &slots[fp_numbers(&argument[1])[i]];
        fp_close_guard(held);
        *held = -1;
    }
    /* a loop device that clears itself must not do so between the two */
    _cleanup_close_ int hold = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (hold < 0)
        return fp_fail(error, "open", name);
    if (await_release(notify_fd, error) < 0)
        return -1;
    int mode = argument[3].integer ? O_RDONLY : O_RDWR;
    for (int i = 0; (slots[slot] = open(path, mode | O_EXCL | O_CLOEXEC)) < 0; i++) {
        if (errno == EBUSY && i == RETRIES)
            return fp_fail(error, "the rootfs is still mounted elsewhere", name);
        if (errno != EBUSY && errno != EINTR)
            return fp_fail(error, "open", name);
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000}, NULL);
    }
    return 0;
}
