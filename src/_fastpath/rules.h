/* SPDX-License-Identifier: Apache-2.0 */
/* The nftables rules of a guest that shares its network namespace: one table for each, named for its owner, so that
 * removing the table removes all.  Every function works on a NETLINK_NETFILTER socket of the namespace. */
#pragma once

#include "network.h"

enum { FP_PORTS_MAX = 64 };

struct fp_port {
    uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
    uint16_t number;
};

struct fp_rules {
    int tap;                 /* its index */
    uint32_t gateway, guest; /* IPv4 addresses of the tap and of the guest, in network order */
    int port_count;
    struct fp_port ports[FP_PORTS_MAX]; /* of the namespace's own addresses, loopback too, that are the guest's */
    bool all_ports; /* instead: whatever comes from outside for a port of TCP or UDP at which nobody listens here */
    struct fp_owner owner;
    const char *container; /* its id, a comment of the table; NULL: none */
};

/* Make the table, in one transaction.  The guest's connections leave with the namespace's address; those to the gateway
 * reach the namespace's loopback, where side-cars listen; those of anybody to a port of `ports` reach the guest, before
 * another guest that has all of them. */
int fp_rules_create(int netfilter, const struct fp_rules *rules, struct fp_error *error);

/* Remove the table of an owner; none is no failure. */
int fp_rules_destroy(int netfilter, const struct fp_owner *owner, struct fp_error *error);

/* Remove the tables whose owners have ended. */
int fp_rules_clean(int netfilter, struct fp_error *error);

/* The same in the namespace at `path`; a kernel without nftables has none. */
int fp_rules_clean_in(const char *path, struct fp_error *error);
