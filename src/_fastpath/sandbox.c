// SPDX-License-Identifier: Apache-2.0
// The descriptors of a container in the making; see execute.h.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "kernel.h"

#include <signal.h>
#include <sys/wait.h>

void fp_sandbox_init(struct fp_sandbox *sandbox, int state_fd)
{
    *sandbox = (struct fp_sandbox){.state_fd = state_fd,
                                   .sync_fd = -1,
                                   .start_fd = -1,
                                   .pidfd = -1,
                                   .network_lock = -1,
                                   .agent = -1,
                                   .listener = -1};
    for (int i = 0; i < 3; i++)
        sandbox->streams[i] = -1;
    for (int i = 0; i < FP_SLOT_COUNT; i++)
        sandbox->slots[i] = -1;
    fp_cgroups_init(&sandbox->cgroups);
}

void fp_sandbox_drop(struct fp_sandbox *sandbox)
{
    fp_close_guard(&sandbox->sync_fd);
    fp_close_guard(&sandbox->start_fd);
    fp_close_guard(&sandbox->network_lock);
    fp_close_guard(&sandbox->agent);
    sandbox->sync_fd = sandbox->start_fd = sandbox->network_lock = sandbox->agent = -1;
    for (int i = 0; i < FP_SLOT_COUNT; i++) {
        fp_close_guard(&sandbox->slots[i]);
        sandbox->slots[i] = -1;
    }
    for (int i = 0; i < sandbox->join_count; i++)
        fp_close_guard(&sandbox->joins[i].fd);
    sandbox->join_count = 0;
    fp_cgroups_deinit(&sandbox->cgroups);
    free(sandbox->network_path);
    sandbox->network_path = NULL;
}

void fp_sandbox_deinit(struct fp_sandbox *sandbox)
{
    if (sandbox->sync_fd >= 0 && sandbox->pidfd >= 0) {
        fp_pidfd_send_signal(sandbox->pidfd, SIGKILL);
        siginfo_t info;
        while (waitid((idtype_t)P_PIDFD, (id_t)sandbox->pidfd, &info, WEXITED) < 0 && errno == EINTR)
            ;
    }
    fp_close_guard(&sandbox->pidfd);
    fp_sandbox_drop(sandbox);
    fp_sandbox_init(sandbox, sandbox->state_fd);
}
