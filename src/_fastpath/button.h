/* SPDX-License-Identifier: Apache-2.0 */
/* The power button of a guest whose monitor is asked over HTTP, on a socket in its root: Firecracker, Cloud Hypervisor.
 *
 * Nothing waits for an answer, so that a signal's handler may press it.  Of an answer nothing is kept but the kind of
 * its status: the peer is what an attacker who leaves the guest has taken over. */
#pragma once

#include <stdbool.h>

struct fp_button {
    const char *path;    /* of the socket; "": the guest has no such button */
    const char *request; /* whole, headers included */
    int fd;              /* of the connection on which it was pressed last; -1: none */
};

/* Press it; false if the monitor does not listen. */
bool fp_button_press(struct fp_button *button);

/* Read what the monitor has answered: 1 = it did, 0 = nothing yet, -1 = it cannot.  The connection is closed unless 0.
 */
int fp_button_answer(struct fp_button *button);
