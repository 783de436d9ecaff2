/* SPDX-License-Identifier: Apache-2.0 */
/* What the front and a resident planner (planner.py) say to each other.
 *
 * A sequenced-packet socket under the run directory, root's alone.  The front sends a request with the descriptor of
 * the bundle; the planner does all that create does but the execution of plans, which it orders from the front: the
 * process of the container is thereby a child of whoever called the front.  Each order but the first, which says what
 * there is to be undone if the planner dies, is answered by a result.  A planner that is absent, busy, of another build
 * or in other namespaces, or that finds anything out of the ordinary, is as none: the front goes on without it, after
 * whatever was made has been undone. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

#define FP_PLANNER_SOCKET "/run/urunc/@planner" /* '@' is in no container id */
#define FP_PLANNER_MAGIC  0x4e4c5052u           /* "RPLN" */

enum { FP_PLANNER_VERSION = 2, FP_PLANNER_STRINGS = 8, FP_PLANNER_TEXT_MAX = 16 << 10, FP_PLANNER_SPACES = 5 };

/* Which file urunc is: a planner that was started from another one is of another build. */
struct fp_planner_build {
    uint64_t device, inode, size, mtime_ns;
};

struct fp_planner_request {
    uint32_t magic, version;
    struct fp_planner_build build;
    uint64_t namespaces[FP_PLANNER_SPACES]; /* inode numbers: mnt pid net user cgroup */
    /* id, root, bundle, console socket, pid file, configuration, log, its format: each ends with a NUL; all paths but
     * the console socket's, which is connected here, are absolute or empty */
    char text[FP_PLANNER_TEXT_MAX];
};

enum fp_planner_order_kind {
    FP_PLANNER_STATE = 'S',   /* the state directory has been made, and nothing is in it yet; it is the descriptor */
    FP_PLANNER_EXECUTE = 'E', /* a plan; descriptors: the plan, its slots from 1 on */
    FP_PLANNER_LOCK = 'L',    /* the network namespace, from its discovery to its change */
    FP_PLANNER_RELEASE = 'R', /* the container lives from here on */
    FP_PLANNER_CLOSE = 'C',   /* the create has failed: end what there is */
    FP_PLANNER_DONE = 'D',    /* the last one: success */
    FP_PLANNER_REFUSED = 'N', /* the last one: go on without me */
};

struct fp_planner_order {
    uint32_t kind;
    uint32_t plan_size;
};

struct fp_planner_result {
    int64_t pid; /* 0 before there is one */
    uint64_t start_time;
    struct fp_error error;
};

struct fp_planner_create {
    const char *id, *root, *bundle, *console_socket, *pid_file, *configuration, *log, *log_format;
};

/* Have the planner make a container.  True if it exists; false if there is no planner for it, or anything went wrong
 * and was undone: then the caller does it. */
bool fp_planner_create(const struct fp_planner_create *wanted);
