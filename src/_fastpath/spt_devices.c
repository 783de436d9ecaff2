// SPDX-License-Identifier: Apache-2.0
// The guest's devices: taps and block devices by descriptor, and the epoll set it waits with; see spt.h.
#define _GNU_SOURCE
#include "spt.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cleanup.h"

enum { MTU_DEFAULT = 1500, SECTOR_DEFAULT = 512 };

/* The descriptor that "@FD" names, -1 for any other text. */
static int named_fd(const char *value)
{
    uint64_t fd;
    return value[0] == '@' && spt_number(value + 1, 3, INT32_MAX, &fd) ? (int)fd : -1; /* those below are the console */
}

/* A descriptor of an interface that is there and up: opening the name of one that is not would create it. */
static int open_tap(const char *name, int control, const char *option, struct fp_error *error)
{
    struct ifreq request = {0};
    if (strlen(name) >= IFNAMSIZ || strchr(name, '%'))
        return spt_refuse(error, option, "not a name of an interface");
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
        return spt_fail(error, option, name);
    if (!(request.ifr_flags & IFF_UP))
        return spt_refuse(error, option, "the interface is down");
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return spt_fail(error, option, "/dev/net/tun");
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return spt_fail(error, option, name);
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
    if (entry->attached)
        return spt_refuse(error, option, "attached already");
    _cleanup_close_ int control = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0)
        return spt_fail(error, option, "socket");
    int fd = value[0] == '@' ? named_fd(value) : open_tap(value, control, option, error);
    if (fd < 0)
        return spt_refuse(error, option, "not a descriptor above 2");
    if (ioctl(fd, TUNGETIFF, &request) < 0)
        return spt_fail(error, option, "not a tap");
    if (!(request.ifr_flags & IFF_TAP) || !(request.ifr_flags & IFF_NO_PI) || request.ifr_flags & IFF_VNET_HDR)
        return spt_refuse(error, option, "must be a tap with IFF_NO_PI and without IFF_VNET_HDR");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return spt_fail(error, option, "fcntl");
    /* The tap behind a descriptor may live in another network namespace, where nobody here can ask. */
    bool known = ioctl(control, SIOCGIFMTU, &request) == 0 && request.ifr_mtu > 0 && request.ifr_mtu <= UINT16_MAX;
    entry->device.net.mtu = known ? (uint16_t)request.ifr_mtu : MTU_DEFAULT;
    entry->host.fd = fd;
    entry->attached = 1;
    return 0;
}

int spt_net_set_mac(struct fp_solo5_entry *entry, const char *option, const char *value, struct fp_error *error)
{
    uint8_t *mac = entry->device.net.mac;
    int end = 0;
    bool digits = strspn(value, "0123456789abcdefABCDEF:") == 17; /* sscanf takes blanks and signs, too */
    if (!digits ||
        sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5],
               &end) != 6 ||
        end != 17 || value[17])
        return spt_refuse(error, option, "not an address like 02:00:00:00:00:01");
    return 0;
}

int spt_block_attach(struct fp_solo5_entry *entry, const char *option, const char *value, struct fp_error *error)
{
    if (entry->attached)
        return spt_refuse(error, option, "attached already");
    int fd = value[0] == '@' ? named_fd(value) : open(value, O_RDWR | O_CLOEXEC);
    if (fd < 0 && value[0] == '@')
        return spt_refuse(error, option, "not a descriptor above 2");
    if (fd < 0)
        return spt_fail(error, option, "open");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return spt_fail(error, option, "fcntl");
    if ((flags & O_ACCMODE) != O_RDWR || flags & O_APPEND)
        return spt_refuse(error, option, "not open for reading and writing anywhere");
    off_t capacity = lseek(fd, 0, SEEK_END);
    if (capacity < 0)
        return spt_fail(error, option, "lseek");
    entry->device.block.capacity = (uint64_t)capacity;
    entry->host.fd = fd;
    entry->attached = 1;
    return 0;
}

int spt_block_set_sector_size(struct fp_solo5_entry *entry, const char *option, const char *value,
                              struct fp_error *error)
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
    uint64_t capacity = entry->device.block.capacity;
    if (capacity == 0 || capacity % entry->device.block.sector_size != 0)
        return spt_refuse(error, entry->name, "the block device's size must be a multiple of its sector's, and not 0");
    return 0;
}

static int watch(int epoll_fd, int fd, uint64_t mark)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = mark};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int finish_net(struct fp_solo5_entry *entry, int epoll_fd, size_t handle, struct fp_error *error)
{
    static const uint8_t none[6];
    uint8_t *mac = entry->device.net.mac;
    if (!memcmp(mac, none, sizeof(none))) {
        if (getrandom(mac, sizeof(none), 0) != sizeof(none))
            return spt_fail(error, entry->name, "getrandom");
        mac[0] = (uint8_t)((mac[0] & 0xfe) | 2); /* one station's, locally administered */
    }
    return watch(epoll_fd, entry->host.fd, handle) < 0 ? spt_fail(error, entry->name, "epoll_ctl") : 0;
}

int spt_devices_init(struct spt *spt, struct fp_error *error)
{
    struct fp_solo5_manifest *manifest = &spt->guest.manifest;
    spt->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    spt->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (spt->epoll_fd < 0 || spt->timer_fd < 0 || watch(spt->epoll_fd, spt->timer_fd, ~1U) < 0)
        return spt_fail(error, "timer", "epoll");
    for (size_t i = 1; i < manifest->count; i++) {
        struct fp_solo5_entry *entry = &manifest->entries[i];
        bool net = entry->type == FP_SOLO5_NET;
        if (!entry->attached)
            return spt_refuse(error, entry->name,
                              net ? "the guest declares this net device: attach one with --net:NAME=TAP"
                                  : "the guest declares this block device: attach one with --block:NAME=FILE");
        if (net ? finish_net(entry, spt->epoll_fd, i, error) < 0 : finish_block(entry, error) < 0)
            return -1;
    }
    return 0;
}
