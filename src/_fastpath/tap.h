/* SPDX-License-Identifier: Apache-2.0 */
/* Taps: made on a /dev/net/tun descriptor, in the network namespace that it was opened in. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

enum {
    FP_TAP_ANY_ID = -1,
    FP_TAP_VNET_HEADER = 12, /* struct virtio_net_hdr_v1, what monitors of today set */
};

struct fp_tap_options {
    int64_t uid, gid; /* who may open it, FP_TAP_ANY_ID: whoever has CAP_NET_ADMIN */
    bool persist;     /* stays when the last descriptor is closed; must, if it goes on by name */
    int vnet_header;  /* size of the virtio-net header before each frame, 0 = none */
    unsigned offload; /* TUN_F_*: what the guest can take from the header; needs one */
    bool multi_queue; /* more descriptors may be attached, see fp_tap_attach */
};

/* Make a tap and attach `tun` to it.  `name` may hold %d, for the lowest number that is free; the name that it has got
 * is put in `ret` (16 bytes).  EBUSY if there is such a device already.  It is made persistent last: on
 * failure it goes with the descriptor. */
int fp_tap_create(int tun, const char *name, const struct fp_tap_options *options, char *ret, struct fp_error *error);

/* Attach one more descriptor, opened in the same namespace, to a tap made with multi_queue. */
int fp_tap_attach(int tun, const char *name, const struct fp_tap_options *options, struct fp_error *error);
