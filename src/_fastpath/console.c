// SPDX-License-Identifier: Apache-2.0
// The terminal: a pty of the caller's devpts, its master sent over --console-socket, its slave kept for the monitor.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "kernel.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

int fp_unix_address(int dirfd, const char *name, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
    if (length >= (int)sizeof(ret->sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

static int connect_long(const char *path, struct fp_error *error)
{
    const char *slash = strrchr(path, '/');
    char directory[4096] = ".";
    if (slash && (size_t)(slash - path) < sizeof(directory)) {
        memcpy(directory, path, (size_t)(slash - path) + 1);
        directory[slash - path + 1] = '\0';
    }
    _cleanup_close_ int dirfd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    if (dirfd < 0 || fd < 0 || fp_unix_address(dirfd, slash ? slash + 1 : path, &address) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return fp_fail(error, "console socket: connect", path);
    return fp_take_fd(&fd);
}

/* The client learns the terminal's name from the data and its master from the control message (runc's way). */
static int send_master(int socket, int master, const char *name, struct fp_error *error)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)name, strlen(name)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    control.header =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &master, sizeof(int));
    if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        return fp_fail(error, "console socket: send", name);
    return 0;
}

int fp_console_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    _cleanup_close_ int socket = connect_long(argument[1].text, error);
    if (socket < 0)
        return -1;
    _cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[64];
    if (master < 0 || unlockpt(master) < 0 || ptsname_r(master, name, sizeof(name)) != 0)
        return fp_fail(error, "open terminal", "/dev/ptmx");
    _cleanup_close_ int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return fp_fail(error, "open terminal", name);
    struct winsize size = {.ws_row = (unsigned short)argument[2].integer,
                           .ws_col = (unsigned short)argument[3].integer};
    if (size.ws_row && size.ws_col && ioctl(slave, TIOCSWINSZ, &size) < 0)
        return fp_fail(error, "set terminal size", name);
    if (fchown(slave, (uid_t)argument[4].integer, (gid_t)-1) < 0)
        return fp_fail(error, "chown", name);
    if (send_master(socket, master, name, error) < 0)
        return -1;
    int64_t slot = argument[0].integer;
    if (sandbox->slots[slot] >= 0)
        close(sandbox->slots[slot]);
    sandbox->slots[slot] = fp_take_fd(&slave);
    return 0;
}
