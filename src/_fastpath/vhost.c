// SPDX-License-Identifier: Apache-2.0
// A vhost-user connection; see vhost.h.
#define _GNU_SOURCE
#include "vhost.h"

#include "cleanup.h"
#include "scratch.h"

#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

/* In a file system of its own: in a user namespace nobody else's is to be written to.  It is gone with the last use. */
static int name_socket(const char *path, struct sockaddr_un *ret, struct fp_error *error)
{
    int directory;
    if (fp_scratch_mount(path, "4k", 0700, &directory, error) < 0)
        return -1;
    close(directory);
    if (snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/socket", path) >= (int)sizeof(ret->sun_path))
        return fp_fail_with(error, ENAMETOOLONG, "listen", path);
    return 0;
}

int fp_vhost_create(const char *path, int *slots, int64_t listening, int64_t connected, struct fp_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (name_socket(path, &address, error) < 0)
        return -1;
    _cleanup_close_ int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    _cleanup_close_ int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 || client < 0 || bind(server, (struct sockaddr *)&address, sizeof(address)) < 0)
        return fp_fail(error, "listen", path);
    if (listen(server, 1) < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        unlink(address.sun_path) < 0 || umount2(path, MNT_DETACH) < 0)
        return fp_fail(error, "connect", path);
    fp_close_guard(&slots[listening]);
    fp_close_guard(&slots[connected]);
    slots[listening] = fp_take_fd(&server);
    slots[connected] = fp_take_fd(&client);
    return 0;
}
