// SPDX-License-Identifier: Apache-2.0
// The guest's devices: taps and block devices by descriptor, and the epoll set it waits with; see spt.h.
#define _GNU_SOURCE
#include "spt.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cleanup.h"

enum { MTU_DEFAULT = 1500, SECTOR_DEFAULT = 512 };

/* The descriptor that "@FD" names, 0 for any other text; -1 if there is none or `entry` had one before. */
static int attach(struct fp_solo5_entry *entry, const char *option, const char *value, struct fp_error *error)
{
    uint64_t fd = 0;
    if (entry->attached)
        return spt_refuse(error, option, "attached already");
    if (value[0] == '@' && !spt_number(value + 1, 3, INT32_MAX, &fd)) /* those below are the console */
        return spt_refuse(error, option, "not a descriptor above 2");
    entry->attached = 1;
    return (int)fd;
}

/* A descriptor of an interface that is there and up: opening the name of one that is not would create it. */
static int open_tap(const char *name, int control, const char *option, struct fp_error *error)
{
    struct ifreq request = {0};
    if (strlen(name) >= IFNAMSIZ || strchr(name, '%'))
        return spt_refuse(error, option, "not a name of an interface");
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
        return fp_fail(error, "interface", option);
    if (!(request.ifr_flags & IFF_UP))
        return spt_refuse(error, option, "the interface is down");
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "/dev/net/tun", option);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return fp_fail(error, "TUNSETIFF", option);
    /* Without virtio headers a guest cannot tell an aggregate of packets from one; it fails for the unprivileged. */
    struct ethtool_value off[] = {{.cmd = ETHTOOL_SGRO}, {.cmd = ETHTOOL_SGSO}};
    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
        request.ifr_data = (char *)&off[i];
        ioctl(control, SIOCETHTOOL, &request);
    }
    return fp_take_fd(&fd);
}

int spt_net_attach(struct fp_solo5_entry *entry, const char *option, const char *value, struct fp_error *error)
{
    struct ifreq request = {0};
    int fd = attach(entry, option, value, error);
    _cleanup_close_ int control = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0)
        return fp_fail(error, "socket", option);
    if (fd == 0)
        fd = open_tap(value, control, option, error);
    if (fd < 0)
        return -1;
    if (ioctl(fd, TUNGETIFF, &request) < 0)
        return fp_fail(error, "not a tap", option);
    if (!(request.ifr_flags & IFF_TAP) || !(request.ifr_flags & IFF_NO_PI) || request.ifr_flags & IFF_VNET_HDR)
        return spt_refuse(error, option, "must be a tap with IFF_NO_PI and without IFF_VNET_HDR");
    if (ioctl(fd, FIONBIO, &(int){1}) < 0)
        return fp_fail(error, "FIONBIO", option);
    /* The tap behind a descriptor may live in another network namespace, where nobody here can ask. */
    bool known = ioctl(control, SIOCGIFMTU, &request) == 0 && request.ifr_mtu > 0 && request.ifr_mtu <= UINT16_MAX;
    entry->device.net.mtu = known ? (uint16_t)request.ifr_mtu : MTU_DEFAULT;
    entry->host.fd = fd;
    return 0;
}

int spt_set_mac(struct fp_solo5_entry *entry, const char *option, const char *value, struct fp_error *error)
{
    for (size_t i = 0; i < sizeof(entry->device.net.mac); i++, value += 3) {
        if (strspn(value, "0123456789abcdefABCDEF") != 2 || value[2] != ":::::"[i])
            return spt_refuse(error, option, "not an address like 02:00:00:00:00:01");
        entry->device.net.mac[i] = (uint8_t)strtoul(value, NULL, 16);
    }
    return 0;
}

int spt_block_attach(struct fp_solo5_entry *entry, const char *option, const char *value, struct fp_error *error)
{
    int fd = attach(entry, option, value, error);
    if (fd == 0)
        fd = open(value, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "open", option); /* unless attach() said why */
    int flags = fcntl(fd, F_GETFL);
    off_t capacity = lseek(fd, 0, SEEK_END);
    if (flags < 0 || capacity < 0)
        return fp_fail(error, "lseek", option);
    if ((flags & O_ACCMODE) != O_RDWR || flags & O_APPEND)
        return spt_refuse(error, option, "not open for reading and writing anywhere");
    entry->device.block.capacity = (uint64_t)capacity;
    entry->host.fd = fd;
    return 0;
}

int spt_set_sector_size(struct fp_solo5_entry *entry, const char *option, const char *value, struct fp_error *error)
{
    uint64_t size;
    if (!spt_number(value, 512, 32768, &size) || size & (size - 1))
        return spt_refuse(error, option, "a sector has 512 to 32768 bytes, a power of two");
    entry->device.block.sector_size = (uint16_t)size;
    return 0;
}

static int finish_block(struct fp_solo5_entry *entry, struct fp_error *error)
{
    if (entry->device.block.sector_size == 0)
        entry->device.block.sector_size = SECTOR_DEFAULT;
    if (entry->device.block.capacity == 0 || entry->device.block.capacity % entry->device.block.sector_size != 0)
        return spt_refuse(error, entry->name, "the block device's size must be a multiple of its sector's, and not 0");
    return 0;
}

static int finish_net(struct fp_solo5_entry *entry, struct fp_error *error)
{
    static const uint8_t none[6];
    uint8_t *mac = entry->device.net.mac;
    if (memcmp(mac, none, sizeof(none)) != 0)
        return 0;
    if (getrandom(mac, sizeof(none), 0) != sizeof(none))
        return fp_fail(error, "getrandom", entry->name);
    mac[0] = (uint8_t)((mac[0] & 0xfe) | 2); /* one station's, locally administered */
    return 0;
}

int spt_devices_init(struct spt *spt, struct fp_error *error)
{
    struct fp_solo5_manifest *manifest = &spt->guest.manifest;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = ~1U}; /* the timer's name; a net device's is its index */
    spt->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    spt->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (spt->epoll_fd < 0 || spt->timer_fd < 0 || epoll_ctl(spt->epoll_fd, EPOLL_CTL_ADD, spt->timer_fd, &event) < 0)
        return fp_fail(error, "epoll", "timer");
    for (size_t i = 1; i < manifest->count; i++) {
        struct fp_solo5_entry *entry = &manifest->entries[i];
        bool net = entry->type == FP_SOLO5_NET;
        if (!entry->attached)
            return spt_refuse(error, entry->name,
                              net ? "the guest declares this net device: attach one with --net:NAME=TAP"
                                  : "the guest declares this block device: attach one with --block:NAME=FILE");
        if (net ? finish_net(entry, error) < 0 : finish_block(entry, error) < 0)
            return -1;
        event.data.u64 = i;
        if (net && epoll_ctl(spt->epoll_fd, EPOLL_CTL_ADD, entry->host.fd, &event) < 0)
            return fp_fail(error, "epoll", entry->name);
    }
    return 0;
}
