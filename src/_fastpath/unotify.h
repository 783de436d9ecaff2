/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that a filter denies, told to the companion: the kernel's log is neither complete nor everybody's.
 *
 * Such a filter answers SECCOMP_RET_USER_NOTIF where it killed.  A call is never made by that: it waits for an answer
 * that nobody gives, until the companion has noted its number and ended the monitor; without a companion it fails with
 * ENOSYS (seccomp_unotify(2)). */
#pragma once

#include "error.h"

#include <linux/filter.h>
#include <stdbool.h>

enum { FP_UNOTIFY_MAX = 4096 }; /* instructions, BPF_MAXINSNS */

/* Fill `ret`, which has room for the instructions of `program`, with one that tells where that kills.  False: it kills
 * for nothing, or the message by which its listener is given away is no call that it lets through for certain. */
bool fp_unotify_rewrite(const struct sock_fprog *program, struct sock_filter *ret);

/* Of the monitor to be: give the listener of its filter, which is used up, to whoever has the other end of `socket`. */
int fp_unotify_send(int socket, int listener, struct fp_error *error);

/* Until the other end is closed, as by exec, or a call of whoever has it waits already, perhaps exec itself: the
 * listener that was given, -1 if there was none. */
int fp_unotify_receive(int socket);

/* The call that waits, once poll(2) says that there is one (POLLIN; else this would wait, too): its number, -1 if it is
 * one of another architecture.  False: who made it is gone. */
bool fp_unotify_read(int listener, int *ret);
