/* SPDX-License-Identifier: Apache-2.0 */
/* User namespaces: their maps are written by a process outside, while one inside waits. */
#pragma once

#include "error.h"
#include <stddef.h>
#include <sys/types.h>

/* Make a user namespace with these maps (user_namespaces(7), lines "inside outside count"); return a descriptor of it.
 */
int fp_userns_create(const char *uid_map, const char *gid_map, struct fp_error *error);

/* The map (`file`: uid_map or gid_map) of the namespace at `path`, as the caller sees it, to `ret`: NUL-terminated. */
int fp_userns_map(const char *path, const char *file, char *ret, size_t size, struct fp_error *error);

/* That the process is in a time namespace other than ours: before Linux 6.1 exec did not bring one into the time
 * namespace that was made for its children. */
int fp_timens_check(pid_t pid, struct fp_error *error);
