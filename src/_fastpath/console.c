// SPDX-License-Identifier: Apache-2.0
// The terminal: a pty of the caller's devpts, its master sent over --console-socket, its slave kept for the monitor; or
// that socket alone.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "pty.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

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

#define CONSOLE "console socket: connect"

static int connect_long(const char *path, const char *step, struct fp_error *error)
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
        return fp_fail(error, step, path);
    return fp_take_fd(&fd);
}

int fp_console_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    _cleanup_close_ int socket = connect_long(argument[1].text, CONSOLE, error);
    if (socket < 0)
        return -1;
    const struct fp_pty pty = {(unsigned short)argument[2].integer, (unsigned short)argument[3].integer,
                               (uid_t)argument[4].integer};
    char name[64];
    _cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        return fp_fail(error, "open terminal", "/dev/ptmx");
    _cleanup_close_ int slave = fp_pty_slave(master, &pty, name, error);
    if (slave < 0 || fp_pty_send(socket, master, name, error) < 0)
        return -1;
    int64_t slot = argument[0].integer;
    if (sandbox->slots[slot] >= 0)
        close(sandbox->slots[slot]);
    sandbox->slots[slot] = fp_take_fd(&slave);
    return 0;
}

int fp_console_connect(struct fp_sandbox *sandbox, const char *path, struct fp_error *error)
{
    int *slot = &sandbox->slots[FP_SLOT_CONSOLE];
    fp_close_guard(slot);
    *slot = connect_long(path, CONSOLE, error);
    return *slot < 0 ? -1 : 0;
}

/* As runc's --pidfd-socket: a client can wait for the process, or signal it, whatever becomes of its number. */
int fp_console_pidfd(struct fp_sandbox *sandbox, const char *path, struct fp_error *error)
{
    _cleanup_close_ int socket = connect_long(path, "pidfd socket: connect", error);
    return socket < 0 ? -1 : fp_pty_send(socket, sandbox->pidfd, "pidfd", error);
}
