/* SPDX-License-Identifier: Apache-2.0 */
/* The container's own root file system, for the process monitor: what config.json says of it, made by urunc-init. */
#pragma once

#include "plan.h"

/* Execute one of the operations `rootfs` to `program`; EINVAL for any other.  Before pivot_root paths of the host are
 * absolute, as / still is the host's; what is in the rootfs never leads out of it (openat2(2), RESOLVE_IN_ROOT).
 *
 * A container without a mount namespace of its own has its rootfs made in one all the same.  `leave_mounts` then takes
 * a detached copy of it, goes to the mount namespace that the container is to be in, and makes the copy its root: what
 * is mounted there is in no namespace, so that nobody else sees it, there is no way out of it by "..", and the kernel
 * lets go of it with the last process that has it as its root. */
int fp_rootfs_operation(const struct fp_operation *operation, int *slots, struct fp_error *error);

/* Find `name` as execvp(3) would by the PATH of `environment`; ENOENT and EACCES say it as runc does. */
int fp_program_find(const char *name, const char *const *environment, char *ret, size_t size, struct fp_error *error);
