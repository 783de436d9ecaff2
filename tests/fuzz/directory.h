/* SPDX-License-Identifier: Apache-2.0 */
/* A state directory for targets that read one: the working directory. */
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "promise.h"

static inline int state_directory(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd;
}

static inline void put(const char *name, const uint8_t *data, size_t size)
{
    int fd = openat(state_directory(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size, "the file can be written");
    close(fd);
}
