/* SPDX-License-Identifier: Apache-2.0 */
/* What the caller and urunc-init say to each other.
 *
 * Two sequenced-packet sockets.  *sync* lives during create: the caller sends struct fp_request (a plan as a sealed
 * memfd, then the descriptors of its slots), init says once that it is ready and answers each but FP_COMMIT with a
 * struct fp_error.  End of file before FP_COMMIT means that the caller died: init exits, so that a half-made container
 * cannot outlive its maker.  *start* is the listening socket in the state directory: it serves one start, whose
 * connection carries the result: a zero struct fp_error just before execve, with the moment (ns since 1970, decimal) as
 * its path, or one that is not zero if a step failed; end of file after the zero one alone is success.  Before that one
 * init may ask by a zero one with the step FP_RELEASE for the rootfs to be unmounted (snapshot.h), and waits for
 * FP_RELEASED.  The request that begins it may carry a plan, whose stages enter and exec then take the place of the
 * kept ones. */
#pragma once

#include "error.h"
#include "plan.h"

enum {
    FP_SYNC_FD = 3,
    FP_START_FD = 4,
    FP_IMAGE_FD = 5, /* close-on-exec: urunc-init itself, until it runs */
    FP_TASKS_FD = 6, /* and all above: `tasks` of the cgroups that urunc-init has yet to enter */
};

enum fp_request_kind {
    FP_KEEP = 'P',     /* run stage wait of the plan, keep the rest for start */
    FP_COMMIT = 'C',   /* the container exists: wait for start */
    FP_RELEASED = 'R', /* on the other socket: the answer to FP_RELEASE */
    FP_START = 'S',    /* on the other socket; a connection alone, of a start that died, does not begin anything; on the
                          first one, in place of FP_COMMIT, it is of a process that joins a container */
};

struct fp_request {
    uint32_t kind;
    uint32_t plan_size;
    uint64_t slots; /* bit n: slot n follows, in ascending order, after the plan */
};

#define FP_INIT_NAME  "urunc:[1:init]" /* comm of the waiting init: how `created` is told from `running` */
#define FP_ENTER_NAME "urunc:[2:enter]"
#define FP_SOCKET     "start.sock"
#define FP_RELEASE    "release"
#define FP_JOINED     "--joined" /* argument of urunc-init: the mount namespace is another's */

/* Both take and leave the descriptors they do not own; -1 in `slots` = empty. */
int fp_send_request(int socket, const struct fp_request *request, int plan_fd, const int *slots,
                    struct fp_error *error);
/* `*ret_plan_fd` and `ret_slots` become the caller's; returns 0 at end of file, 1 for a request, -1. */
int fp_receive_request(int socket, struct fp_request *ret, int *ret_plan_fd, int *ret_slots, struct fp_error *error);

/* 1 = received (`*ret`), 0 = end of file, -1 = `error`. */
int fp_receive_result(int socket, struct fp_error *ret, struct fp_error *error);
int fp_send_result(int socket, const struct fp_error *result);
