/* SPDX-License-Identifier: Apache-2.0 */
/* What a new mount hides, copied into it (the mount option tmpcopyup). */
#pragma once

#include "error.h"

/* Copy what is in the directory `from` into the directory `to`, with owners, modes and times, and its own too; `path`
 * is named for errors.  Device nodes stay behind: they are the spec's affair. */
int fp_copy_up(int from, int to, const char *path, struct fp_error *error);
