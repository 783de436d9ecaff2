/* SPDX-License-Identifier: Apache-2.0 */
/* <root>/<id>/: the flat record of a container that C reads and writes, and its lock. */
#pragma once

#include "cgroup.h"
#include "error.h"
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum fp_status { FP_CREATING = 1, FP_CREATED, FP_RUNNING, FP_PAUSED, FP_STOPPED };

/* Whatever else is set, start and delete are left to Python by the front. */
enum {
    FP_FLAG_HOOKS = 1,      /* hooks.json holds poststart or poststop hooks: start and delete need Python */
    FP_FLAG_TIMESTAMPS = 2, /* the host's configuration wants the steps of start written down: so does start */
    FP_FLAG_PROCESS = 4,    /* of the process monitor: an ordinary program, which others can join by exec */
    FP_FLAG_LATE = 8,       /* no network when it was created: start looks again, and needs Python if there is one */
    FP_FLAG_WAITS = 16,     /* and the guest cannot be without: start needs Python */
    FP_FLAG_CHROOT = 32, /* of the process monitor, in a mount namespace of others: its root is not the namespace's */
};

/* The file `record` in its version 2 (1 was without `overhead`): this, then head_size and tail_size bytes of JSON
 * around the two values that change. */
struct fp_record {
    uint32_t magic;
    uint32_t version;
    uint32_t status; /* as last written; fp_state_status knows better */
    uint32_t flags;
    int64_t pid; /* in the pid namespace of who created it; 0 before there is one */
    uint64_t start_time;
    uint64_t overhead; /* bytes of its memory limits that are for the monitor, as create counted them */
    uint32_t head_size;
    uint32_t tail_size;
};

struct fp_state {
    struct fp_record record;
    char *text;          /* head and tail; owned */
    uint64_t entered_ns; /* CLOCK_MONOTONIC when urunc-init was about to execute the monitor; not in the file */
    struct fp_cgroup_list cgroups;
};

void fp_state_deinit(struct fp_state *state);

/* ENOENT: no record here (another runtime's container, or half a directory).  EINVAL: not a record of ours.
 * EPROTONOSUPPORT: one of a version that came after this one. */
int fp_state_read(int state_fd, struct fp_state *ret, struct fp_error *error);

/* JSON in pieces: what is before pid and status, then what is behind them. */
enum { FP_STATE_PIECES = 4 };

/* Write `record` and, once there is a container, `state.json`, each atomically.  The sizes in `record` are those of the
 * first piece and of the others. */
int fp_state_write(int state_fd, const struct fp_record *record, const struct iovec pieces[FP_STATE_PIECES],
                   struct fp_error *error);

/* Write `state.json` alone: what comes after FP_CREATED the record need not say, it is looked at. */
int fp_state_publish(int state_fd, const struct fp_state *state, struct fp_error *error);

/* What is true now: a process that ended, is a zombie or has another start time is stopped; the waiting urunc-init
 * is created whatever a start that was killed has written.  One that nobody could look at is running, lest it be taken
 * for stopped and deleted. */
enum fp_status fp_state_status(const struct fp_state *state);

const char *fp_status_name(enum fp_status status);

/* The OCI state as JSON text, malloc'd; pid 0 when stopped.  `reason` (no character of it needs an escape) says why it
 * has, "" if that is nobody's business. */
char *fp_state_json(const struct fp_state *state, enum fp_status status, const char *reason);

/* The id of the container whose state directory this is, for people; cut to fit into `ret`, "" if it is not known. */
const char *fp_state_name(int state_fd, char ret[FP_PATH_MAX]);

/* An open file description lock on the byte of `<root>/.lock` that `id` hashes to; closing the descriptor or dying
 * releases it.  EAGAIN after `timeout_ms`.  Two ids on one byte only wait for each other. */
int fp_state_lock(int root_fd, const char *id, int timeout_ms, struct fp_error *error);

/* Remove exactly the files that urunc makes in a state directory, then the directory `<root>/<id>`. */
int fp_state_remove(int root_fd, const char *id, struct fp_error *error);
