/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to frames that arrive at a device: its ingress qdisc, the redirect of ours in it, filters of others. */
#pragma once

#include "netlink.h"

/* What is at a device's ingress. */
struct fp_ingress {
    int redirects; /* to `target`, made by us or like ours */
    int others;
    int target;
    bool marked; /* with our cookie */
    bool beside; /* others have the preference that ours have */
    uint32_t handle, info;
};

/* Requests, added to a batch.  `name` is the device's, for errors. */
void fp_ingress_add(struct fp_netlink_batch *batch, int index, const char *name);
void fp_ingress_add_redirect(struct fp_netlink_batch *batch, int from, int to, const char *name);
void fp_ingress_remove_redirect(struct fp_netlink_batch *batch, int index, const struct fp_ingress *ingress,
                                const char *name);

/* The qdisc with all that is in it.  The kernel says EINVAL if it is a clsact qdisc, which has the same handle. */
void fp_ingress_remove(struct fp_netlink_batch *batch, int index, const char *name);

/* Nothing at all where there is no qdisc. */
int fp_ingress_read(int netlink, int index, const char *name, struct fp_ingress *ret, struct fp_error *error);
