/* SPDX-License-Identifier: Apache-2.0 */
/* The power button of a guest: a listening socket in the state directory, on which the monitor speaks QMP. */
#pragma once

#include "execute.h"

#include <stdbool.h>

#define FP_CONTROL "control.sock"

/* Operation `control`: the listening end, into the slot. */
int fp_control_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);

/* Press it; true if the monitor has said that it did.  Once: the socket is gone afterwards, so that whoever asks again
 * has no patience with a guest that does not listen. */
bool fp_control_powerdown(int state_fd);
