// SPDX-License-Identifier: Apache-2.0
// A pair of terminals; see pty.h.
#define _GNU_SOURCE
#include "pty.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

int fp_pty_slave(int master, const struct fp_pty *pty, char ret_name[64], struct fp_error *error)
{
    unsigned number;
    int unlocked = 0;
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
        return fp_fail(error, "open terminal", "ptmx");
    snprintf(ret_name, 64, "/dev/pts/%u", number);
    _cleanup_close_ int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return fp_fail(error, "open terminal", ret_name);
    struct winsize size = {.ws_row = pty->rows, .ws_col = pty->columns};
    if (size.ws_row && size.ws_col && ioctl(slave, TIOCSWINSZ, &size) < 0)
        return fp_fail(error, "set terminal size", ret_name);
    if (fchown(slave, pty->uid, (gid_t)-1) < 0)
        return fp_fail(error, "chown", ret_name);
    return fp_take_fd(&slave);
}

/* The client learns the terminal's name from the data and its master from the control message (runc's way). */
int fp_pty_send(int socket, int master, const char *name, struct fp_error *error)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)name, strlen(name)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    control.header =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &master, sizeof(int));
    if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        return fp_fail(error, "send over the socket", name);
    return 0;
}
