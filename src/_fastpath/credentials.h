/* SPDX-License-Identifier: Apache-2.0 */
/* Who the monitor is and what it may do: operations of the stages wait, enter and exec, on the process itself. */
#pragma once

#include "plan.h"

/* Execute one operation; EINVAL if it is none of credentials. */
int fp_credentials_operation(const struct fp_operation *operation, int *slots, struct fp_error *error);

/* Load the filters of the operations `seccomp` in their order, just before exec. */
int fp_filters_load(struct fp_error *error);

/* Have the first filter tell the companion of the calls that it denies, over this socket (unotify.h). */
void fp_filters_tell(int socket);
