/* SPDX-License-Identifier: Apache-2.0 */
/* The front of dist/urunc: serves the ordinary case of start, state, kill and delete without an interpreter, and that
 * of create where a planner is resident (planner.h).
 *
 * The one rule: whatever is not ordinary (hooks, another runtime's container, a fault, an option it does not know) goes
 * to Python with the command line as it came, before anything has been done; so every message is made in one place. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum fp_verb { FP_VERB_OTHER, FP_VERB_START, FP_VERB_STATE, FP_VERB_KILL, FP_VERB_DELETE, FP_VERB_CREATE };

struct fp_command {
    enum fp_verb verb;
    const char *root, *log, *id;
    int signal;
    bool all, force;
    const char *bundle, *pid_file, *console_socket; /* of create; NULL: not given */
    const char *log_format;                         /* text or json */
};

/* Read a command line as arguments.py does; false if it is not one of those that are served here.  `verb` is set
 * even then where it could be found. */
bool fp_front_parse(char *const *argv, struct fp_command *ret);

/* Do it.  An exit status; -1 if Python has to, in which case nothing has been done that would not be done again.
 * A start that failed comes back as -1 too, with `*ret_failed` set: it cannot be tried again. */
struct fp_error;
int fp_front_serve(const struct fp_command *command, bool *ret_failed, struct fp_error *error);

/* Become `python3 -IS` with this file, which is an archive of ours too, and the same words; returns only an exit
 * status. */
int fp_front_become_python(int argc, char *const *argv);

/* Say what errno is about; returns an exit status. */
int fp_front_complain(const char *what);

/* Go on as the static program that lies at `offset` of our own file, with the process's words, which begin at
 * `argv`, and its environment; returns if that cannot be, errno ENOMEM if there is not even memory for that. */
void fp_front_load(off_t offset, char **argv);
_Noreturn void fp_front_jump(uintptr_t entry, void *stack);
