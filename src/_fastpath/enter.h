/* SPDX-License-Identifier: Apache-2.0 */
/* The stages enter and exec, in urunc-init: from the caller's view of the machine to the monitor's. */
#pragma once

#include "plan.h"

/* Execute one operation.  `slots` are urunc-init's; what an operation uses up it closes. */
int fp_enter_operation(const struct fp_operation *operation, int *slots, struct fp_error *error);

/* Operation `release`: have the caller of start, behind `notify_fd`, unmount the rootfs; then the device is ours. */
int fp_enter_release(const struct fp_operation *operation, int *slots, int notify_fd, struct fp_error *error);

/* Replace this process (exec, exec_slot); `notify_fd` gets a zero result just before.  Returns only with an error. */
int fp_enter_exec(const struct fp_operation *operation, const int *slots, int notify_fd, struct fp_error *error);
