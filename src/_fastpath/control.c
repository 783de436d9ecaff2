// SPDX-License-Identifier: Apache-2.0
// The power button of a guest; see control.h.
#define _GNU_SOURCE
#include "control.h"

#include "cleanup.h"
#include "qmp.h"

#include <poll.h>
#include <sys/socket.h>

enum { ANSWER_MS = 1000, REPLIES = 2 };

int fp_control_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    struct sockaddr_un address;
    int64_t slot = operation->arguments[0].integer;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || fp_unix_address(sandbox->state_fd, FP_CONTROL, &address) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        return fp_fail(error, "listen", FP_CONTROL);
    fp_close_guard(&sandbox->slots[slot]);
    sandbox->slots[slot] = fp_take_fd(&fd);
    return 0;
}

bool fp_control_powerdown(int state_fd)
{
    struct sockaddr_un address;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fp_unix_address(state_fd, FP_CONTROL, &address) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return false;
    unlinkat(state_fd, FP_CONTROL, 0);
    struct fp_qmp qmp = {.fd = fd};
    fp_qmp_send(&qmp, FP_QMP_CAPABILITIES FP_QMP_POWERDOWN);
    struct pollfd one = {.fd = fd, .events = POLLIN};
    for (int answers = 0; qmp.replies < REPLIES && answers < 64; answers++) /* a monitor that talks on is no answer */
        if (poll(&one, 1, ANSWER_MS) <= 0 || !fp_qmp_read(&qmp))
            break;
    return qmp.replies >= REPLIES;
}
