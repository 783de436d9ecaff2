// SPDX-License-Identifier: Apache-2.0
// The caller's half of the listener of a seccomp filter; see listener.h.
#define _GNU_SOURCE
#include "listener.h"

#include "cleanup.h"
#include "kernel.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int fp_listener_connect(const char *path, struct fp_error *error)
{
    static const char step[] = "failed to connect with seccomp agent";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int file = open(path, O_PATH | O_CLOEXEC); /* a path may be longer than sun_path */
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0 || fd < 0)
        return fp_fail(error, step, path);
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return fp_fail(error, step, path);
    return fp_take_fd(&fd);
}

int fp_listener_pass(int socket, int pidfd, int number, const void *state, size_t size, struct fp_error *error)
{
    _cleanup_close_ int listener = fp_pidfd_getfd(pidfd, number);
    if (listener < 0)
        return fp_fail(error, "pidfd_getfd", "the listener of linux.seccomp");
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    control.header =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &listener, sizeof(listener));
    struct iovec part = {(void *)(uintptr_t)state, size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)};
    while (part.iov_len) {
        ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return fp_fail(error, "send to the seccomp agent", NULL);
        part.iov_base = (char *)part.iov_base + sent;
        part.iov_len -= (size_t)sent;
        message.msg_control = NULL; /* it is there once */
        message.msg_controllen = 0;
    }
    return 0;
}
