/* SPDX-License-Identifier: Apache-2.0 */
/* As much of QEMU's machine protocol as a runtime needs (docs/interop/qmp-spec of its sources).
 *
 * The peer is what an attacker who leaves the guest has taken over: nothing it sends is kept beyond one line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FP_QMP_LINE_MAX = 8192 }; /* "info registers" takes 3 kB */

struct fp_qmp {
    int fd; /* non-blocking; -1: no connection */
    int replies;
    bool halted;        /* the last registers are those of a processor that halts with interrupts off, or for long */
    int still;          /* how often in a row a halted processor had the same registers */
    uint64_t registers; /* a sum of the last ones */
    size_t length;
    bool skip; /* until the end of a line that is too long */
    char line[FP_QMP_LINE_MAX];
};

/* Send a command that is a whole line; what the peer does not take is no error here. */
void fp_qmp_send(const struct fp_qmp *qmp, const char *command);

/* Read what has come; false at the end of file. */
bool fp_qmp_read(struct fp_qmp *qmp);

#define FP_QMP_CAPABILITIES "{\"execute\":\"qmp_capabilities\"}\n"
#define FP_QMP_CONTINUE     "{\"execute\":\"cont\"}\n"
#define FP_QMP_REGISTERS    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info registers\"}}\n"
#define FP_QMP_POWERDOWN    "{\"execute\":\"system_powerdown\"}\n"
#define FP_QMP_QUIT         "{\"execute\":\"quit\"}\n"
