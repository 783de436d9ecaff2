/* SPDX-License-Identifier: Apache-2.0 */
/* A connection between a monitor and a process that serves it: virtiofsd wants to listen, QEMU to have connected. */
#pragma once

#include "error.h"
#include <stdint.h>

/* Listen below the directory `path` of the root for a moment, and connect: nobody else can be the one that is accepted.
 * The two ends go into the slots. */
int fp_vhost_create(const char *path, int *slots, int64_t listening, int64_t connected, struct fp_error *error);
