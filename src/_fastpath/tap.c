// SPDX-License-Identifier: Apache-2.0
// Taps; see tap.h.
#define _GNU_SOURCE
#include "tap.h"

#include "network.h"

#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

static int set_interface(int tun, const char *name, int flags, struct ifreq *ret, struct fp_error *error)
{
    *ret = (struct ifreq){0};
    if (!*name || strlen(name) >= sizeof(ret->ifr_name))
        return fp_fail_with(error, EINVAL, "tap name", name);
    memcpy(ret->ifr_name, name, strlen(name));
    ret->ifr_flags = (short)flags;
    if (ioctl(tun, TUNSETIFF, ret) == 0)
        return 0;
    if (errno == EBUSY || errno == EEXIST)
        return fp_fail_with(error, EBUSY, "the tap exists already", name);
    if (errno == EPERM)
        return fp_fail_with(error, EPERM, "no CAP_NET_ADMIN to make a tap", name);
    return fp_fail(error, "TUNSETIFF", name);
}

static int flags_of(const struct fp_tap_options *options)
{
    return IFF_TAP | IFF_NO_PI | (options->vnet_header ? IFF_VNET_HDR : 0) |
           (options->multi_queue ? IFF_MULTI_QUEUE : 0);
}

static int refuse_own(int tun, const char *name, struct fp_error *error)
{
    int own = fp_network_is_own(tun, error);
    return own > 0 ? fp_fail_with(error, EPERM, "tap in the caller's own network namespace", name) : own;
}

int fp_tap_create(int tun, const char *name, const struct fp_tap_options *options, char *ret, struct fp_error *error)
{
    struct ifreq request;
    if (options->offload && !options->vnet_header)
        return fp_fail_with(error, EINVAL, "tap offloads need a vnet header", name);
    if (refuse_own(tun, name, error) < 0 ||
        set_interface(tun, name, flags_of(options) | IFF_TUN_EXCL, &request, error) < 0)
        return -1;
    memcpy(ret, request.ifr_name, FP_DEVICE_NAME_MAX);
    int size = options->vnet_header;
    if (size && ioctl(tun, TUNSETVNETHDRSZ, &size) < 0)
        return fp_fail(error, "TUNSETVNETHDRSZ", name);
    if (options->offload && ioctl(tun, TUNSETOFFLOAD, (unsigned long)options->offload) < 0)
        return fp_fail(error, "TUNSETOFFLOAD", name);
    if (options->uid != FP_TAP_ANY_ID && ioctl(tun, TUNSETOWNER, (unsigned long)options->uid) < 0)
        return fp_fail(error, "TUNSETOWNER", name);
    if (options->gid != FP_TAP_ANY_ID && ioctl(tun, TUNSETGROUP, (unsigned long)options->gid) < 0)
        return fp_fail(error, "TUNSETGROUP", name);
    if (options->persist && ioctl(tun, TUNSETPERSIST, 1ul) < 0)
        return fp_fail(error, "TUNSETPERSIST", name);
    return 0;
}

int fp_tap_attach(int tun, const char *name, const struct fp_tap_options *options, struct fp_error *error)
{
    struct ifreq request;
    if (refuse_own(tun, name, error) < 0)
        return -1;
    return set_interface(tun, name, flags_of(options), &request, error);
}
