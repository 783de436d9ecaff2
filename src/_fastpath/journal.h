/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: what a container has made outside its state directory, written down before it is made. */
#pragma once

#include "error.h"

#define FP_JOURNAL "journal"

/* Append one line: the kind (a row of the table in journal.c) and its words.  Survives the death of the
 * process, not of the machine: --root is a tmpfs (DESIGN section 6). */
int fp_journal_add(int state_fd, const char *kind, const char *words, struct fp_error *error);

/* The same for whole lines, of which the reader sees all or none. */
int fp_journal_add_lines(int state_fd, const char *lines, size_t size, struct fp_error *error);

/* Undo every line, the last one first, and empty the journal.  Goes on after a failure and reports the first.
 * What is gone already is no failure; what is not recognised as ours is left alone. */
int fp_journal_undo(int state_fd, struct fp_error *error);
