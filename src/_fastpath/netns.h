/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors from another network namespace, for a caller that may be a threaded server and never enters one. */
#pragma once

#include "error.h"

/* Open a NETLINK_ROUTE socket and, unless `ret_tun` is NULL, /dev/net/tun inside the network namespace at `path`.
 * A child that shares our memory and descriptors enters it for the two calls, while we wait. */
int fp_netns_open(const char *path, int *ret_netlink, int *ret_tun, struct fp_error *error);
