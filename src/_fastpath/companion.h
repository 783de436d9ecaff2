/* SPDX-License-Identifier: Apache-2.0 */
/* The companion: urunc-init stays the container's process and runs the monitor as its child.
 *
 * For the pairs that need one, and only for these: a monitor whose exit status has to be translated, a guest whose end
 * shows over QMP or as an event alone, a monitor that other processes serve (virtiofsd).  The companion reaps, forwards
 * signals, translates the status, and ends the container when a process that serves the monitor dies. */
#pragma once

#include "plan.h"

enum fp_exit_code {
    FP_EXIT_AS_IS,
    FP_EXIT_ISA_DEBUG,    /* 2n + 1 is the guest's n (QEMU, hw/misc/debugexit.c) */
    FP_EXIT_SOLO5_VIRTIO, /* 83 is the end of the guest, good or bad (Solo5, bindings/virtio/platform.c) */
    FP_EXIT_HALT,         /* the guest halts its processor for ever, which QMP tells; that is its end, with 0 */
    FP_EXIT_SECTOR,       /* the guest has written it into a sector (sector.h), or has failed */
    FP_EXIT_REBOOT,       /* the monitor would start the guest again (events.h); that is its end, with 0 */
    FP_EXIT_COUNT
};

enum {
    FP_HELPERS_MAX = 8,
    FP_EXIT_HELPER_DIED = 125, /* of the container, as docker's for "the fault is not the program's" */
    FP_EXIT_NO_STATUS = 125,   /* the guest has ended without a word: its kernel failed */
};

#define FP_COMPANION_SECTOR "/guest/status/sector"
#define FP_COMPANION_NAME   "urunc:[3:watch]"

/* Start a helper at once (operation `helper`), with credentials of its own; it ends with this process. */
int fp_companion_helper(const struct fp_operation *operation, const int *slots, struct fp_error *error);

/* Become the companion (operation `companion`): this returns in a child, which goes on to be the monitor, and never in
 * the process that called, which keeps no descriptor but standard error, its ends of QMP and of events, the listener of
 * the monitor's filter and what it notes a denied call in. */
int fp_companion_split(const struct fp_operation *operation, int *slots, struct fp_error *error);

/* The status of the container for `status`, as waitpid(2) gives it for the monitor.  `ran`: QMP has said that the guest
 * was started; without it a status is QEMU's own. */
int fp_companion_status(enum fp_exit_code code, int status, bool ran);
