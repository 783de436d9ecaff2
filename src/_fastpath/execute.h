/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's half of the executor: makes what a plan names, starts urunc-init, hands it the rest. */
#pragma once

#include "cgroup.h"
#include "plan.h"
#include "process.h"
#include <sys/un.h>

enum { FP_JOINS_MAX = 8 };

struct fp_join {
    int type; /* CLONE_NEW* */
    int fd;
};

/* One container in the making.  It owns its descriptors; `state_fd` (the state directory) is the caller's; -1 = it is
 * a process that joins a container, which nobody but its maker starts and nobody has to find again. */
struct fp_sandbox {
    int state_fd;
    int sync_fd;  /* to urunc-init until it is committed */
    int start_fd; /* listening, until urunc-init has it */
    int pidfd;
    int network_lock;   /* of the network namespace, from looking into it to the end of stage root; -1 = not held */
    char *network_path; /* of the network namespace that was joined; NULL = it is ours */
    pid_t pid;
    uint64_t start_time;
    int streams[3];   /* borrowed: standard input, output and error of the container; -1 = the caller's own */
    bool ready;       /* urunc-init has said that it is */
    bool checks_plan; /* it has yet to say whether it keeps the plan that it was sent */
    int slots[FP_SLOT_COUNT];
    struct fp_join joins[FP_JOINS_MAX];
    int join_count;
    const char *time_offsets;      /* of the plan, until the clone */
    int agent;                     /* a connection with whom the listener of a filter is for; -1 = none: listener.h */
    union fp_argument agent_state; /* of the plan, what goes with it */
    int listener;                  /* its number in urunc-init, which has said so; -1 */
    struct fp_cgroups cgroups;
};

void fp_sandbox_init(struct fp_sandbox *sandbox, int state_fd);

/* Close everything; a urunc-init that was not released is killed and reaped first. */
void fp_sandbox_deinit(struct fp_sandbox *sandbox);

/* Close everything but the pidfd: what was needed to make the container would be held for all its life. */
void fp_sandbox_drop(struct fp_sandbox *sandbox);

/* Execute the stages sandbox and root of a plan; a plan that has later stages is then given to urunc-init, which
 * keeps it for start; what it objects to may come out at the release.  `slots` are borrowed (numbered from 1;
 * duplicates are kept). */
int fp_sandbox_execute(struct fp_sandbox *sandbox, const void *bytes, size_t size, const int *slots, int slot_count,
                       struct fp_error *error);

/* Take the lock of the container's network namespace (netns.h), which fp_sandbox_execute gives up (link.c). */
int fp_sandbox_lock_network(struct fp_sandbox *sandbox, struct fp_error *error);

enum { FP_NETWORK_NAME_MAX = 40 };

/* Its path: by what is locked if it is, as the process may have ended and its pid be another's. */
void fp_sandbox_network(const struct fp_sandbox *sandbox, char ret[FP_NETWORK_NAME_MAX]);

/* From here on the container lives without its maker: urunc-init waits for start.  All descriptors but the pidfd go. */
int fp_sandbox_release(struct fp_sandbox *sandbox, struct fp_error *error);

/* An operation of the stages sandbox and root (operations.c); the first's `clone`, which starts urunc-init, and
 * `ready`, which waits for it. */
int fp_sandbox_operation(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);
int fp_sandbox_clone(struct fp_sandbox *sandbox, uint64_t namespaces, struct fp_error *error);
int fp_sandbox_ready(struct fp_sandbox *sandbox, struct fp_error *error);

/* Operations of stage root (root.c, link.c, console.c, initrd.c). */
int fp_root_operation(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);
int fp_link_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);
int fp_vhost_net_open(struct fp_sandbox *sandbox, int64_t slot, struct fp_error *error);
int fp_nowhere_open(struct fp_sandbox *sandbox, int64_t slot, struct fp_error *error);
int fp_share_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);
int fp_console_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);
int fp_console_pidfd(struct fp_sandbox *sandbox, const char *path, struct fp_error *error);
int fp_console_connect(struct fp_sandbox *sandbox, const char *path, struct fp_error *error);
int fp_initrd_operation(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error);

/* The address of a socket whose path may be longer than sun_path: `name` below `dirfd`, by /proc/self/fd. */
int fp_unix_address(int dirfd, const char *name, struct sockaddr_un *ret);
