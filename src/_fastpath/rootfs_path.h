/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of a container's rootfs, whose root is the directory `root`: none leads out of it (openat2(2),
 * RESOLVE_IN_ROOT). */
#pragma once

#include <fcntl.h>
#include <stdbool.h>

/* What `path` is; -1. */
int fp_rootfs_open(int root, const char *path, int flags);

/* The same with O_PATH, made as a directory or an empty file where there is nothing, links to nothing followed. */
int fp_rootfs_make(int root, const char *path, bool directory);

/* The directory that `path` is in, made where it is missing; `*ret_name` points into `path`. */
int fp_rootfs_parent(int root, const char *path, const char **ret_name);
