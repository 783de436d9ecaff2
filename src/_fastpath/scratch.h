/* SPDX-License-Identifier: Apache-2.0 */
/* A small file system of its own in the monitor's root, which is read-only: for what is written there. */
#pragma once

#include "error.h"

#include <sys/types.h>

/* Mount one of `size` ("128k") on the directory `path`; `ret` becomes its top, which is the caller's. */
int fp_scratch_mount(const char *path, const char *size, mode_t mode, int *ret, struct fp_error *error);

/* Operation `scratch`: one for a few sockets, whose top is this user's alone. */
int fp_scratch_create(const char *path, uid_t uid, gid_t gid, struct fp_error *error);
