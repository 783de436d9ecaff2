// SPDX-License-Identifier: Apache-2.0
// The events of Cloud Hypervisor; see events.h.
#define _GNU_SOURCE
#include "events.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* `"source": "vm", "event": "rebooting"`, with line ends wherever (event_monitor/src/lib.rs, vmm/src/lib.rs) */
static const char WORD[] = "\"rebooting\"";

bool fp_events_reboot(struct fp_events *events)
{
    char buffer[512];
    ssize_t got;
    while ((got = recv(events->fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
        for (ssize_t i = 0; i < got; i++) {
            events->matched = buffer[i] == WORD[events->matched] ? events->matched + 1 : buffer[i] == WORD[0];
            if (events->matched == sizeof(WORD) - 1) {
                events->matched = 0;
                return true;
            }
        }
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(events->fd);
        events->fd = -1;
    }
    return false;
}
