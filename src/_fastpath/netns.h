/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors from another network namespace, for a caller that may be a threaded server and never enters one. */
#pragma once

#include "error.h"

/* Open a NETLINK_ROUTE socket and, unless `ret_tun` is NULL, /dev/net/tun inside the network namespace at `path`.
 * A child that shares our memory and descriptors enters it for the two calls, while we wait. */
int fp_netns_open(const char *path, int *ret_netlink, int *ret_tun, struct fp_error *error);

/* A NETLINK_NETFILTER socket opened inside the namespace at `path`; -1 with an error. */
int fp_netns_netfilter(const char *path, struct fp_error *error);

/* Wait until nobody else is between looking at the network namespace at `path` and having changed it; the lock is
 * given up when the descriptor returned is closed, by whatever end of its process.  It belongs to the namespace itself
 * (flock(2) on its file of nsfs), so that it holds between runtimes with different roots, and for any path.
 * EAGAIN after the time. */
int fp_netns_lock(const char *path, int timeout_ms, struct fp_error *error);
