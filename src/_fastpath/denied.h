/* SPDX-License-Identifier: Apache-2.0 */
/* Which system call a filter has denied to a container's process.
 *
 * What has a companion tells it (unotify.h), which notes it in the file `denied` of the state directory; of another
 * the kernel's audit record is what there is. */
#pragma once

#include "execute.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FP_DENIED "denied" /* empty, or an int: the number of the call, -1 if it is not known */

/* Make it, empty (operation `denied`); the descriptor in the slot is the companion's to write to. */
int fp_denied_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);

/* Whether the process was ended by a filter; see fp_audit_denied, which is asked where no companion has noted it. */
bool fp_denied_find(int state_fd, pid_t pid, uint64_t start_time, int *ret);
