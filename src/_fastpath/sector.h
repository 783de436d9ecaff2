/* SPDX-License-Identifier: Apache-2.0 */
/* The status of a guest's program, in a sector that is a disk of the guest's: the guest's init writes it (uinit.h), the
 * companion reads it when the monitor has ended.  It works with every monitor that has disks. */
#pragma once

#include "error.h"

#define FP_SECTOR_FILE "sector" /* in the directory that the operation `sector` names */

/* Make the sector, empty, in a file system of its own on `path` of the root: the root is read-only. */
int fp_sector_create(const char *path, struct fp_error *error);

/* The status that is in it, 0 to 255; -1 if the guest has written none. */
int fp_sector_read(const char *path);
