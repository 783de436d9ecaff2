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

void fp_qmp_send(const struct fp_qmp *qmp, const char *command)
{
    if (qmp->fd >= 0)
        send(qmp->fd, command, strlen(command), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* "... EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1 ..." (target/i386/cpu-dump.c); RFL in long mode. */
static bool halts(const char *line)
{
    const char *flags = strstr(line, "FL=");
    return flags && strstr(flags, "HLT=1") && !(strtoull(flags + 3, NULL, 16) & INTERRUPTS_ON);
}

static void take_line(struct fp_qmp *qmp)
{
    qmp->line[qmp->length] = '\0';
    if (strncmp(qmp->line, "{\"return\"", 9) != 0)
        return; /* the greeting, an event, an error */
    qmp->replies++;
    qmp->halted = halts(qmp->line);
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
