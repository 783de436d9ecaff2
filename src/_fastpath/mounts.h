/* SPDX-License-Identifier: Apache-2.0 */
/* What is mounted where, read from mountinfo (proc_pid_mountinfo(5)) of the caller's mount namespace. */
#pragma once

#include "error.h"
#include <stdbool.h>

/* One mount.  The strings are the kernel's, without its escapes; they live as long as the table. */
struct fp_mount {
    int id;
    unsigned major, minor;
    const char *root;    /* what of the file system is mounted: "/" for all of it */
    const char *point;   /* where */
    const char *options; /* of the mount: "rw,nosuid" */
    const char *type, *source;
    const char *super_options; /* of the file system: "rw,discard" */
};

struct fp_mounts {
    char *text; /* owned */
    char *next;
};

/* Read the table; what fp_mounts_next returned before is gone. */
int fp_mounts_init(struct fp_mounts *ret, struct fp_error *error);
void fp_mounts_deinit(struct fp_mounts *mounts);

/* The next mount, in the order of mounting; false at the end. */
bool fp_mounts_next(struct fp_mounts *mounts, struct fp_mount *ret);

/* Take one line of the table apart, in place; false if it is none. */
bool fp_mount_parse(char *line, struct fp_mount *ret);

/* The MS_* flags of `options` ("rw,nosuid,relatime") for mount(2); `ret_rest`, which has room for them all and may be
 * `options`, becomes those that are the file system's own. */
unsigned long fp_mount_flags(const char *options, char *ret_rest);
