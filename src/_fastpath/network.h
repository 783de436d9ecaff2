/* SPDX-License-Identifier: Apache-2.0 */
/* A container's network namespace: what is in it, and the guest's way in and out.
 *
 * Every function works on a NETLINK_ROUTE socket that was opened inside the namespace and may be used from any other;
 * those that change something refuse (EPERM) if that namespace is the caller's own. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

enum {
    FP_INTERFACES_MAX = 16,
    FP_ADDRESSES_MAX = 16,
    FP_DEVICE_NAME_MAX = 16, /* IFNAMSIZ */
    FP_NETWORK_WORDS_MAX = 4224,
};

struct fp_address {
    int family; /* AF_INET, AF_INET6; 0 = none */
    int prefix;
    uint8_t bytes[16];
};

struct fp_interface {
    int index;
    uint32_t mtu;
    char name[FP_DEVICE_NAME_MAX];
    char kind[FP_DEVICE_NAME_MAX]; /* "veth", "macvlan" ...; empty: a device of the machine */
    uint8_t mac[6];
    bool ethernet;
    bool up;
    bool carrier;
    int address_count;
    struct fp_address addresses[FP_ADDRESSES_MAX]; /* as the kernel lists them: the primary one first */
};

struct fp_route {
    int index; /* of the interface; 0 = there is no default route */
    uint32_t metric;
    struct fp_address gateway; /* may be absent, outside every subnet, or IPv6 for an IPv4 route; prefix is not used */
};

/* The process that something was made for; 0 0: not known. */
struct fp_owner {
    int pid;
    uint64_t start; /* see process.h */
};

/* A tap of ours, `tap<N>_urunc`. */
struct fp_tap_link {
    int index;
    char name[FP_DEVICE_NAME_MAX];
    bool carrier; /* some process has it open */
    struct fp_owner owner;
};

/* Without loopback and the tunnel templates that every namespace starts with (tunl0, sit0 ...). */
struct fp_network {
    int count;                                         /* sorted by index: all that have an address or a default */
    struct fp_interface interfaces[FP_INTERFACES_MAX]; /* route, and others as long as there is room */
    int links;                                         /* how many there are in all */
    int tap_count;
    struct fp_tap_link taps[FP_INTERFACES_MAX];
    struct fp_route route4, route6; /* of the main table, lowest metric */
};

/* Look at the namespace.  IPv4 and IPv6 addresses without those of the link only (IPv6) or the host. E2BIG if more
 * interfaces have addresses, or one has more of them, than there is room for. */
int fp_network_discover(int netlink, struct fp_network *ret, struct fp_error *error);

/* The interfaces for a guest to take over, as positions in network->interfaces; the main one is the first. */
struct fp_choice {
    int count; /* 0: the namespace has no interface at all */
    int interfaces[FP_INTERFACES_MAX];
};

/* The main one has the default route (IPv4's before IPv6's), else it is the only one that is up and has an address.
 * Others that are up and have an address follow it.  The error names the interfaces: ENOTUNIQ several and no default
 * route, ENETDOWN down, EADDRNOTAVAIL no address, EPROTOTYPE not an Ethernet device. */
int fp_network_choose(const struct fp_network *network, struct fp_choice *ret, struct fp_error *error);

/* 1 if a socket or tun descriptor is of the caller's own network namespace, 0 if not, -1 on error. */
int fp_network_is_own(int fd, struct fp_error *error);

/* The number of the network namespace that the socket is of: no other one has it until the machine reboots, as it may
 * an inode number (SO_NETNS_COOKIE, socket(7)). */
int fp_network_identity(int netlink, uint64_t *ret, struct fp_error *error);

/* The index of a device, 0 if there is none of that name. */
int fp_network_index(int netlink, const char *name, int *ret, struct fp_error *error);

/* Redirection (redirect.c). */

struct fp_redirect {
    int interface;         /* its index */
    const char *tap;       /* its name */
    uint32_t mtu;          /* for the tap */
    struct fp_owner owner; /* written on the tap, so that it can be told from one whose guest has ended: see
                              fp_network_stale; 0 0 = do not */
    const char *container; /* its id, for people: on the tap too; NULL = do not */
};

/* Ask for the tap's mtu and owner, and for no IPv6 address of its own, which would speak to the guest as a stranger:
 * two requests, of which the second may fail. */
struct fp_netlink_batch;
void fp_network_set_tap(struct fp_netlink_batch *batch, int index, const struct fp_redirect *redirect);

/* Whatever arrives at one of the two leaves by the other; the tap is up afterwards.  An ingress qdisc of the interface
 * that is empty, or holds only a redirect of ours to a device that is gone, is replaced; EBUSY if it holds more.
 * On failure everything is as before, but for the tap's mtu and an empty or dead qdisc. */
int fp_network_redirect(int netlink, const struct fp_redirect *redirect, struct fp_error *error);

/* Remove our redirect from the interface (empty name: none) and the tap with its own.  What is gone already is no
 * failure; what is not ours is left alone: EINVAL for a tap that is not called tap<N>_urunc, filters of others and
 * the qdisc they are in stay, and so does a tap that says it was made for another process than the owner (0 0: any),
 * with all that leads to it: another guest has it by now. */
int fp_network_undo(int netlink, const char *interface, const char *tap, const struct fp_owner *owner,
                    struct fp_error *error);

/* EBUSY if somebody has a tap of our names open that says nothing of whose it is.  Whoever asks has the lock of the
 * namespace, so it is no guest of ours that is just being made. */
int fp_network_refuse_foreign(const struct fp_network *network, struct fp_error *error);

/* What guests that have ended have left; of more than 16 taps, 16 at a time. */
struct fp_stale {
    int tap_count;
    int taps[FP_INTERFACES_MAX]; /* positions in network->taps: no process has it open and its owner has ended */
    int interface_count;
    int interfaces[FP_INTERFACES_MAX]; /* positions in network->interfaces: redirected by us to such a tap or nowhere */
};

int fp_network_stale(int netlink, const struct fp_network *network, struct fp_stale *ret, struct fp_error *error);

/* Remove that. */
int fp_network_clean(int netlink, const struct fp_network *network, const struct fp_stale *stale,
                     struct fp_error *error);

/* What a tap's IFLA_IFALIAS says. */
struct rtattr;
void fp_network_read_owner(const struct rtattr *alias, struct fp_owner *ret);

/* Whether the network namespace of a process has an interface by now, of whatever kind: read from /proc, for a start
 * that has nothing else to do with networks.  True, too, if nobody could look: who plans again says why. */
bool fp_network_has_links(int pid);

/* tap<N>_urunc */
bool fp_network_tap_is_ours(const char *name);

/* For the journal: the words that say what to undo, "INTERFACE TAP NAMESPACE PID START PATH" (fp_network_identity, the
 * owner, and the namespace's path, empty if it has none), and the other way round.  `ret` has FP_NETWORK_WORDS_MAX
 * bytes. */
int fp_network_words(int netlink, const char *path, const char *interface, const char *tap,
                     const struct fp_owner *owner, char *ret, struct fp_error *error);

/* Whose the words are, and the namespace they were written for; false if they are none. */
bool fp_network_words_owner(const char *words, uint64_t *ret_namespace, struct fp_owner *ret);

/* The namespace's path in the words of a journal; NULL if they are none. */
const char *fp_network_words_path(const char *words);

/* fp_network_undo of such words; nothing to do if `netlink` is not of the namespace they were written for. */
int fp_network_undo_words(int netlink, const char *words, struct fp_error *error);
