/* SPDX-License-Identifier: Apache-2.0 */
/* start and delete of an ordinary container, as runtime.py does them, for the front and for the embedding API.
 *
 * The one rule: what is not ordinary (hooks, another runtime's container, a fault, somebody at work on it) is left as
 * it was found, so that Python does it, or says what is wrong. */
#pragma once

#include "state.h"
#include <stdbool.h>

struct fp_container {
    int root_fd, lock_fd, fd;
    struct fp_state state;
    enum fp_status status;
};

void fp_container_deinit(struct fp_container *container);

/* 1 = there is one of ours, read, and locked if it is to be; 0 = there is none of that name; -1 = it is not ordinary.
 */
int fp_container_open(struct fp_container *ret, const char *root, const char *id, bool locks);

/* 1 = the monitor runs; 0 = it is not ordinary; -1 = it has been tried, and cannot be again. */
int fp_container_start(struct fp_container *container, struct fp_error *error);

/* False if it is not ordinary, or could not be removed: each step can be done again, so that Python finds the fault. */
bool fp_container_delete(struct fp_container *container, const char *id, bool force);
