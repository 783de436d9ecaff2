// SPDX-License-Identifier: Apache-2.0
// QMP; see qmp.h.
#define _GNU_SOURCE
#include "qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INTERRUPTS_ON 0x200 /* EFLAGS.IF */
enum { STILL = 15 }; /* answers in a row with the same registers: no clock of a guest that lives leaves them alone */

void fp_qmp_send(const struct fp_qmp *qmp, const char *command)
{
    if (qmp->fd >= 0)
        send(qmp->fd, command, strlen(command), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* "... EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1 ..." (target/i386/cpu-dump.c); RFL in long mode. */
static bool halts(struct fp_qmp *qmp)
{
    const char *flags = strstr(qmp->line, "FL=");
    if (!flags || !strstr(flags, "HLT=1"))
        return qmp->still = 0, false;
    uint64_t sum = 0xcbf29ce484222325; /* FNV-1a */
    for (const char *at = qmp->line; *at; at++)
        sum = (sum ^ (unsigned char)*at) * 0x100000001b3;
    qmp->still = sum == qmp->registers ? qmp->still + 1 : 0;
    qmp->registers = sum;
    return !(strtoull(flags + 3, NULL, 16) & INTERRUPTS_ON) || qmp->still >= STILL;
}

static void take_line(struct fp_qmp *qmp)
{
    qmp->line[qmp->length] = '\0';
    if (strncmp(qmp->line, "{\"return\"", 9) != 0)
        return; /* the greeting, an event, an error */
    qmp->replies++;
    qmp->halted = halts(qmp);
}

bool fp_qmp_read(struct fp_qmp *qmp)
{
    char buffer[512];
    for (;;) {
        ssize_t got = recv(qmp->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        for (ssize_t i = 0; i < got; i++) {
            if (buffer[i] == '\n') {
                if (!qmp->skip)
                    take_line(qmp);
                qmp->length = 0;
                qmp->skip = false;
            } else if (qmp->length < FP_QMP_LINE_MAX - 1) {
                qmp->line[qmp->length++] = buffer[i];
            } else {
                qmp->skip = true;
            }
        }
    }
}
