/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of urunc-embedded: the only files with CPython in them are embedded.c and embedded_state.c. */
#pragma once

#include <stdbool.h>

/* Initialise the interpreter to its core and load our modules; false if that cannot be. */
bool fp_embedded_prepare(void);

/* Whether the state of a prepared interpreter is in this program. */
bool fp_embedded_is_prepared(void);

/* Write everything that the prepared interpreter consists of to the file `path`. */
bool fp_embedded_write(const char *path);

/* Make the state that is in this program that of this process. */
bool fp_embedded_resume(void);
