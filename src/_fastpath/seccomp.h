/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp profile of a spec, compiled by libseccomp, which is looked for when it is needed: no container without a
 * profile depends on it. */
#pragma once

#include "error.h"
#include <stddef.h>
#include <stdint.h>

/* struct scmp_arg_cmp of seccomp.h (libseccomp 2.2 to 2.6). */
struct fp_comparison {
    uint32_t argument;  /* 0 to 5 */
    uint32_t operation; /* enum scmp_compare: 1 NE, 2 LT, 3 LE, 4 EQ, 5 GE, 6 GT, 7 MASKED_EQ */
    uint64_t first, second;
};

struct fp_seccomp {
    void *library;
    void *filter;
};

/* Begin a filter with the action (SCMP_ACT_*) of every call without a rule; ENOENT if there is no libseccomp. */
int fp_seccomp_init(struct fp_seccomp *ret, uint32_t action, struct fp_error *error);
void fp_seccomp_deinit(struct fp_seccomp *seccomp);

/* An architecture beside the machine's own, by libseccomp's name: x86_64, x86, x32, aarch64 ... */
int fp_seccomp_architecture(struct fp_seccomp *seccomp, const char *name, struct fp_error *error);

/* `action` for the call `name` if all `count` comparisons hold.  A call that libseccomp does not know has no rule. */
int fp_seccomp_rule(struct fp_seccomp *seccomp, uint32_t action, const char *name,
                    const struct fp_comparison *comparisons, unsigned count, struct fp_error *error);

/* The filter as struct sock_filter[] in a memfd, which is the caller's. */
int fp_seccomp_export(struct fp_seccomp *seccomp, struct fp_error *error);

/* FNV-1a, 64 bits: names a compiled filter in the cache. */
uint64_t fp_digest(const void *data, size_t size);
