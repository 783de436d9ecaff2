/* SPDX-License-Identifier: Apache-2.0 */
/* A rootfs that is a file system of its own on a block device, and its way from the host to the guest.
 *
 * create notes the mount in the state directory (fp_snapshot_keep).  start unmounts it, in its caller's mount
 * namespace, when nothing but the run of the monitor is left to do, and tells urunc-init, which then opens the device
 * with O_EXCL: that fails for as long as any mount namespace has the file system.  So guest and host never have it at
 * once.  If the monitor does not run after all, start mounts it again as it was; if start itself is killed, delete
 * does. */
#pragma once

#include "devmapper.h"
#include "mounts.h"
#include "plan.h"

#define FP_SNAPSHOT "snapshot"

/* Find what the directory `fd` is on.  1 = all of a file system on a block device is mounted exactly there: `ret_mount`
 * (its strings belong to `table`, which the caller ends) and `ret_device`; 0 = it is anything else; -1. */
int fp_snapshot_find(int fd, struct fp_mounts *table, struct fp_mount *ret_mount, struct fp_device *ret_device,
                     struct fp_error *error);

/* Operation `snapshot`: write down what start is to unmount. */
int fp_snapshot_keep(int state_fd, const struct fp_operation *operation, struct fp_error *error);

/* Unmount it here; a mount that is not (or no longer) here is no error.  `*ret_hold` is a descriptor of the device,
 * which a loop device that clears itself must not lose before the outcome is known. */
int fp_snapshot_release(int state_fd, int *ret_hold, struct fp_error *error);

/* Mount it again, with the same options, unless it is mounted.  Device or directory gone: nothing to do. */
int fp_snapshot_restore(int state_fd, struct fp_error *error);

/* The guest has it: nobody is to mount it again. */
void fp_snapshot_forget(int state_fd);
