/* SPDX-License-Identifier: Apache-2.0 */
/* A process that serves the monitor, in the same root, with credentials of its own (operation `helper`). */
#pragma once

#include "plan.h"

#include <sys/types.h>

/* Start it as a child of this process, with which it ends; returns when it has been executed. */
int fp_helper_start(const struct fp_operation *operation, const int *slots, pid_t *ret, struct fp_error *error);
