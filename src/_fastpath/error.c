// SPDX-License-Identifier: Apache-2.0
// Errors as values; see error.h.
#include "error.h"

static void copy_cut(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; from && from[i] && i + 1 < size; i++)
        to[i] = from[i];
    to[i] = '\0';
}

int fp_fail_with(struct fp_error *ret, int number, const char *step, const char *path)
{
    if (ret->number)
        return -1;
    ret->number = number ? number : EIO;
    copy_cut(ret->step, sizeof(ret->step), step);
    copy_cut(ret->path, sizeof(ret->path), path);
    return -1;
}

int fp_fail(struct fp_error *ret, const char *step, const char *path)
{
    return fp_fail_with(ret, errno, step, path);
}
