// SPDX-License-Identifier: Apache-2.0
// Pressing a guest's power button over HTTP; see button.h.
#define _GNU_SOURCE
#include "button.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define VERSION_LENGTH 9 /* "HTTP/1.1 ", then the status */

static bool let_go(struct fp_button *button)
{
    if (button->fd >= 0)
        close(button->fd);
    button->fd = -1;
    return false;
}

bool fp_button_press(struct fp_button *button)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(button->request);
    let_go(button);
    if (strlen(button->path) >= sizeof(address.sun_path))
        return false;
    strcpy(address.sun_path, button->path);
    button->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (button->fd < 0 || connect(button->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        send(button->fd, button->request, length, MSG_NOSIGNAL) != (ssize_t)length)
        return let_go(button);
    return true;
}

int fp_button_answer(struct fp_button *button)
{
    char buffer[512];
    ssize_t got = recv(button->fd, buffer, sizeof(buffer), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    let_go(button);
    return got > VERSION_LENGTH && buffer[VERSION_LENGTH] == '2' ? 1 : -1;
}
