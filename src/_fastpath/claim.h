/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that guests have: those who only read share one, and who writes has it alone (stage enter).
 *
 * What is claimed is a descriptor that the monitor keeps: with it the claim ends, however that ends. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

/* Open the block device at `path` into the slot. O_EXCL: EBUSY while any mount namespace has it mounted, or any other
 * guest writes to it. */
int fp_claim_device(int *slots, int64_t slot, const char *path, struct fp_error *error);

/* Lock the file in the slot, or, into the slot, the one at `path` unless that is ""; `name` is what people call the
 * disk.  EBUSY while another guest has it who writes to it, or any if this one is to write (`exclusive`). */
int fp_claim_lock(int *slots, int64_t slot, const char *path, bool exclusive, const char *name, struct fp_error *error);
