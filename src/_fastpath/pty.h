/* SPDX-License-Identifier: Apache-2.0 */
/* A terminal for a container: of the caller's devpts for a guest's monitor, of the container's own for a program, to
 * which it has a name then. */
#pragma once

#include "error.h"
#include "plan.h"
#include <sys/types.h>

/* What a terminal is to be; 0 rows or columns: as the kernel has it. */
struct fp_pty {
    unsigned short rows, columns;
    uid_t uid; /* of the slave */
};

/* The slave of `master`, made so; -1.  `ret_name` is its name where the master is from. */
int fp_pty_slave(int master, const struct fp_pty *pty, char ret_name[64], struct fp_error *error);

/* Send the master over the console socket. */
int fp_pty_send(int socket, int master, const char *name, struct fp_error *error);

/* The operation rootfs_terminal, of urunc-init. */
int fp_rootfs_terminal(int *slots, const struct fp_operation *operation, struct fp_error *error);
