/* SPDX-License-Identifier: Apache-2.0 */
/* What Cloud Hypervisor says of its guest on --event-monitor: of that the one word that matters.
 *
 * It starts a guest that reboots again, for ever, one whose kernel panics too, and has no option for anything else. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct fp_events {
    int fd;         /* non-blocking; -1: none, or gone */
    size_t matched; /* bytes of the word that came last */
};

/* Read what has come; true once the guest reboots.  The descriptor is closed at the end of file. */
bool fp_events_reboot(struct fp_events *events);
