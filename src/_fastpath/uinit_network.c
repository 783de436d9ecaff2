// SPDX-License-Identifier: Apache-2.0
// uinit: the interfaces, which are told by their MACs; see uinit.h.
#define _GNU_SOURCE
#include "cleanup.h"
#include "netlink.h"
#include "uinit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The index of the interface with this MAC; 0 if there is none. */
static int find_link(const char *mac)
{
    DIR *directory = opendir("/sys/class/net");
    struct dirent *entry;
    int index = 0;
    while (directory && !index && (entry = readdir(directory))) {
        char path[300], text[32] = "";
        snprintf(path, sizeof(path), "/sys/class/net/%s/address", entry->d_name);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strncasecmp(text, mac, strlen(mac)) == 0 &&
            text[strlen(mac)] == '\n')
            index = (int)if_nametoindex(entry->d_name);
    }
    if (directory)
        closedir(directory);
    return index;
}

static int need_link(const char *mac, struct fp_error *error)
{
    int index = find_link(mac);
    return index ? index : fp_fail_with(error, ENODEV, "no interface has the address", mac);
}

static void ask_link(struct fp_netlink_batch *batch, int index, bool up, const char *name, uint32_t mtu)
{
    struct ifinfomsg header = {.ifi_index = index, .ifi_change = up ? IFF_UP : 0, .ifi_flags = up ? IFF_UP : 0};
    fp_netlink_request(batch, "link", name, RTM_NEWLINK, 0, &header, sizeof(header));
    if (!up)
        fp_netlink_put_text(batch, IFLA_IFNAME, name);
    if (mtu)
        fp_netlink_put(batch, IFLA_MTU, &mtu, sizeof(mtu));
}

/* A name may be in use by an interface that is to have another one: all get neutral ones first. */
static int name_links(int socket, const struct uinit_config *config, struct fp_error *error)
{
    struct uinit_directive link;
    for (int round = 0; round < 2; round++) {
        for (size_t offset = 0; uinit_config_next(config, UINIT_LINK, &offset, &link);) {
            struct fp_netlink_batch batch;
            char name[IF_NAMESIZE] = "";
            int index = need_link(link.text[0], error);
            if (index < 0)
                return -1;
            if (if_indextoname((unsigned)index, name) && strcmp(name, link.text[1]) == 0)
                continue;
            snprintf(name, sizeof(name), "urunc%d", index);
            fp_netlink_batch_init(&batch);
            ask_link(&batch, index, false, round ? link.text[1] : name, 0);
            if (fp_netlink_execute(socket, &batch, error) < 0)
                return -1;
        }
    }
    return 0;
}

static int raise_links(int socket, const struct uinit_config *config, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    struct uinit_directive link;
    fp_netlink_batch_init(&batch);
    ask_link(&batch, 1, true, "lo", 0);
    if (fp_netlink_execute(socket, &batch, error) < 0)
        return -1;
    for (size_t offset = 0; uinit_config_next(config, UINIT_LINK, &offset, &link);) {
        fp_netlink_batch_init(&batch);
        ask_link(&batch, find_link(link.text[0]), true, link.text[1], (uint32_t)link.number[2]);
        if (fp_netlink_execute(socket, &batch, error) < 0)
            return -1;
    }
    return 0;
}

/* Its length in bytes, 0 if the text is no address. */
static unsigned char read_address(const char *text, unsigned char *ret)
{
    if (inet_pton(AF_INET, text, ret) == 1)
        return 4;
    return inet_pton(AF_INET6, text, ret) == 1 ? 16 : 0;
}

static int send_one(int socket, struct fp_netlink_batch *batch, const char *text, bool optional, struct fp_error *error)
{
    struct fp_error mine = {0};
    if (fp_netlink_execute(socket, batch, &mine) == 0)
        return 0;
    if (!optional)
        return fp_fail_with(error, mine.number, mine.step, text);
    /* a kernel without IPv6 is no reason to have no network at all */
    fprintf(stderr, "uinit: %s %s: %s\n", mine.step, text, strerror(mine.number));
    return 0;
}

static int add_addresses(int socket, const struct uinit_config *config, struct fp_error *error)
{
    struct uinit_directive found;
    for (size_t offset = 0; uinit_config_next(config, UINIT_ADDRESS, &offset, &found);) {
        struct fp_netlink_batch batch;
        unsigned char address[16];
        unsigned char size = read_address(found.text[1], address);
        int index = need_link(found.text[0], error);
        if (!size || index < 0)
            return fp_fail_with(error, EINVAL, "address", found.text[1]);
        struct ifaddrmsg header = {.ifa_family = size == 4 ? AF_INET : AF_INET6,
                                   .ifa_prefixlen = (unsigned char)found.number[2],
                                   .ifa_flags = size == 4 ? 0 : IFA_F_NODAD,
                                   .ifa_index = (unsigned)index};
        fp_netlink_batch_init(&batch);
        fp_netlink_request(&batch, "address", found.text[1], RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &header,
                           sizeof(header));
        fp_netlink_put(&batch, IFA_LOCAL, address, size);
        fp_netlink_put(&batch, IFA_ADDRESS, address, size);
        if (send_one(socket, &batch, found.text[1], size != 4, error) < 0)
            return -1;
    }
    return 0;
}

/* onlink: a gateway need not be in one of the interface's networks, and with some CNI plugins is not. */
static int add_gateways(int socket, const struct uinit_config *config, struct fp_error *error)
{
    struct uinit_directive found;
    for (size_t offset = 0; uinit_config_next(config, UINIT_GATEWAY, &offset, &found);) {
        struct fp_netlink_batch batch;
        unsigned char address[16];
        unsigned char size = read_address(found.text[1], address);
        int index = need_link(found.text[0], error);
        if (!size || index < 0)
            return fp_fail_with(error, EINVAL, "gateway", found.text[1]);
        uint32_t output = (uint32_t)index;
        struct rtmsg header = {.rtm_family = size == 4 ? AF_INET : AF_INET6,
                               .rtm_table = RT_TABLE_MAIN,
                               .rtm_protocol = RTPROT_BOOT,
                               .rtm_scope = RT_SCOPE_UNIVERSE,
                               .rtm_type = RTN_UNICAST,
                               .rtm_flags = RTNH_F_ONLINK};
        fp_netlink_batch_init(&batch);
        fp_netlink_request(&batch, "gateway", found.text[1], RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &header,
                           sizeof(header));
        fp_netlink_put(&batch, RTA_GATEWAY, address, size);
        fp_netlink_put(&batch, RTA_OIF, &output, sizeof(output));
        if (send_one(socket, &batch, found.text[1], size != 4, error) < 0)
            return -1;
    }
    return 0;
}

int uinit_network(const struct uinit_config *config, struct fp_error *error)
{
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return errno == EAFNOSUPPORT ? 0 : fp_fail(error, "socket", "netlink"); /* a kernel without network */
    if (name_links(fd, config, error) < 0 || raise_links(fd, config, error) < 0 || add_addresses(fd, config, error) < 0)
        return -1;
    return add_gateways(fd, config, error);
}
