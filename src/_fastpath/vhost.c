// SPDX-License-Identifier: Apache-2.0
// A vhost-user connection; see vhost.h.
#define _GNU_SOURCE
#include "vhost.h"

#include "cleanup.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int fp_vhost_create(const char *path, int *slots, int64_t listening, int64_t connected, struct fp_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return fp_fail_with(error, ENAMETOOLONG, "listen", path);
    strcpy(address.sun_path, path);
    _cleanup_close_ int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    _cleanup_close_ int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 || client < 0 || bind(server, (struct sockaddr *)&address, sizeof(address)) < 0)
        return fp_fail(error, "listen", path);
    if (listen(server, 1) < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) < 0 || unlink(path) < 0)
        return fp_fail(error, "connect", path);
    fp_close_guard(&slots[listening]);
    fp_close_guard(&slots[connected]);
    slots[listening] = fp_take_fd(&server);
    slots[connected] = fp_take_fd(&client);
    return 0;
}
