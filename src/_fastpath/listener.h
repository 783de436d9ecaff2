/* SPDX-License-Identifier: Apache-2.0 */
/* The agent that answers for system calls of a container (runtime-spec, config-linux.md#containerprocessstate).
 *
 * urunc-init loads the filter as the last operation of stage wait and says by write(2) which of its descriptors is the
 * listener: the one call that no filter may hand to the agent, as nobody could answer.  The caller, which no filter
 * holds, fetches it (pidfd_getfd(2)) and passes it on with the state. */
#pragma once

#include "error.h"
#include <stddef.h>

#define FP_LISTENER "listener" /* step of urunc-init's result: the number of the descriptor is its path */

/* A connection with the agent that listens at `path`; -1. */
int fp_listener_connect(const char *path, struct fp_error *error);

/* Pass descriptor `number` of the process `pidfd` on over `socket`, with the state, a JSON document. */
int fp_listener_pass(int socket, int pidfd, int number, const void *state, size_t size, struct fp_error *error);
