/* SPDX-License-Identifier: Apache-2.0 */
/* create, start and delete of an ordinary container, as launch.py and runtime.py do them, for the embedding API; the
 * last two for the front, too.
 *
 * The one rule: what is not ordinary (hooks, another runtime's container, a fault, somebody at work on it) is left as
 * it was found, so that Python does it, or says what is wrong. */
#pragma once

#include "execute.h"
#include "state.h"
#include <stdbool.h>

enum { FP_CREATION_PLANS = 3 };

/* What a create is about: plans without hooks, the last one with what goes to urunc-init. */
struct fp_creation {
    const char *root, *id;
    struct fp_record record; /* flags, overhead and sizes of it */
    struct iovec document[FP_STATE_PIECES];
    const void *plans[FP_CREATION_PLANS];
    size_t sizes[FP_CREATION_PLANS];
    const int *slots; /* of the last plan */
    int slot_count;
};

/* 1 = it waits for its start, and `sandbox` has its pidfd; 0 = nothing was done, as another is at work on it, or has
 * its name, or there is no such root; -1 = it has failed, and was undone unless `error` says so. */
int fp_container_create(struct fp_sandbox *sandbox, struct fp_creation *wanted, struct fp_error *error);

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
