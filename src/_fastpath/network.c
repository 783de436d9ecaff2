// SPDX-License-Identifier: Apache-2.0
// What is in a network namespace; see network.h.
#define _GNU_SOURCE
#include "network.h"

#include "cleanup.h"
#include "netlink.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef SO_NETNS_COOKIE /* since 5.14; a libc may be older */
#define SO_NETNS_COOKIE 71
#endif

enum { ATTEMPTS = 8 };

static int namespace_inode(int fd, struct stat *ret, struct fp_error *error)
{
    _cleanup_close_ int namespace_fd = ioctl(fd, SIOCGSKNS);
    if (namespace_fd < 0 && errno == EPERM)
        return fp_fail(error, "no CAP_NET_ADMIN in the network namespace", NULL);
    if (namespace_fd < 0 || fstat(namespace_fd, ret) < 0)
        return fp_fail(error, "network namespace of a descriptor", NULL);
    return 0;
}

int fp_network_identity(int netlink, uint64_t *ret, struct fp_error *error)
{
    socklen_t size = sizeof(*ret);
    if (getsockopt(netlink, SOL_SOCKET, SO_NETNS_COOKIE, ret, &size) < 0)
        return fp_fail(error, "SO_NETNS_COOKIE", "network namespace of a socket");
    return 0;
}

int fp_network_is_own(int fd, struct fp_error *error)
{
    struct stat theirs, ours;
    _cleanup_close_ int own = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (own < 0)
        return fp_fail(error, "socket", "netlink");
    if (namespace_inode(fd, &theirs, error) < 0 || namespace_inode(own, &ours, error) < 0)
        return -1;
    return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

int fp_network_index(int netlink, const char *name, int *ret, struct fp_error *error)
{
    struct ifreq request = {0};
    if (strlen(name) >= sizeof(request.ifr_name))
        return fp_fail_with(error, ENAMETOOLONG, "device", name);
    memcpy(request.ifr_name, name, strlen(name));
    *ret = 0;
    if (ioctl(netlink, SIOCGIFINDEX, &request) < 0)
        return errno == ENODEV ? 0 : fp_fail(error, "index of device", name);
    *ret = request.ifr_ifindex;
    return 0;
}

bool fp_network_tap_is_ours(const char *name)
{
    size_t digits = strncmp(name, "tap", 3) == 0 ? strspn(name + 3, "0123456789") : 0;
    return digits && strcmp(name + 3 + digits, "_urunc") == 0;
}

/* The interface's entry; a new one if it has none, NULL if there is no room. */
static struct fp_interface *entry_of(struct fp_network *network, int index)
{
    for (int i = 0; i < network->count; i++)
        if (network->interfaces[i].index == index)
            return &network->interfaces[i];
    if (network->count == FP_INTERFACES_MAX)
        return NULL;
    struct fp_interface *added = &network->interfaces[network->count++];
    *added = (struct fp_interface){.index = index};
    return added;
}

static bool read_address(const struct rtattr *attribute, int family, struct fp_address *ret)
{
    *ret = (struct fp_address){0};
    size_t size = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
    if (!size || !fp_netlink_get(attribute, ret->bytes, size))
        return false;
    ret->family = family;
    return true;
}

/* The first way of a route: its own, or the first one of several. */
static void read_next_hop(const struct rtattr **attributes, int family, struct fp_route *ret)
{
    const struct rtattr *inside[RTA_MAX + 1];
    const struct rtattr *several = attributes[RTA_MULTIPATH];
    const struct rtnexthop *hop = several ? RTA_DATA(several) : NULL;
    ret->index = (int)fp_netlink_u32(attributes[RTA_OIF]);
    if (several && RTA_PAYLOAD(several) >= sizeof(*hop) && hop->rtnh_len >= sizeof(*hop) &&
        hop->rtnh_len <= RTA_PAYLOAD(several)) {
        ret->index = hop->rtnh_ifindex;
        fp_netlink_parse_bytes(RTNH_DATA(hop), hop->rtnh_len - sizeof(*hop), inside, RTA_MAX + 1);
        attributes = inside;
    }
    const struct rtattr *via = attributes[RTA_VIA];
    if (!read_address(attributes[RTA_GATEWAY], family, &ret->gateway) && via && RTA_PAYLOAD(via) == 2 + 16) {
        memcpy(ret->gateway.bytes, (const char *)RTA_DATA(via) + 2, 16); /* struct rtvia: u16 family, address */
        ret->gateway.family = AF_INET6;
    }
}

static int visit_route(void *context, const struct nlmsghdr *message, struct fp_error *error)
{
    struct fp_network *network = context;
    const struct rtattr *attributes[RTA_MAX + 1];
    const struct rtmsg *route = NLMSG_DATA(message);
    if (message->nlmsg_type != RTM_NEWROUTE || message->nlmsg_len < NLMSG_LENGTH(sizeof(*route)))
        return 0;
    if (route->rtm_dst_len || route->rtm_src_len || route->rtm_tos || route->rtm_type != RTN_UNICAST ||
        route->rtm_table != RT_TABLE_MAIN || route->rtm_flags & RTM_F_CLONED)
        return 0;
    fp_netlink_parse(message, sizeof(*route), attributes, RTA_MAX + 1);
    struct fp_route found = {.metric = fp_netlink_u32(attributes[RTA_PRIORITY])};
    read_next_hop(attributes, route->rtm_family, &found);
    struct fp_route *best = route->rtm_family == AF_INET ? &network->route4 : &network->route6;
    if (found.index <= 0 || (best->index && best->metric <= found.metric))
        return 0;
    *best = found;
    (void)error;
    return 0;
}

static int visit_address(void *context, const struct nlmsghdr *message, struct fp_error *error)
{
    struct fp_network *network = context;
    const struct rtattr *attributes[IFA_FLAGS + 1];
    const struct ifaddrmsg *header = NLMSG_DATA(message);
    struct fp_address address;
    if (message->nlmsg_type != RTM_NEWADDR || message->nlmsg_len < NLMSG_LENGTH(sizeof(*header)))
        return 0;
    fp_netlink_parse(message, sizeof(*header), attributes, IFA_FLAGS + 1);
    int farthest = header->ifa_family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_SITE;
    uint32_t flags = attributes[IFA_FLAGS] ? fp_netlink_u32(attributes[IFA_FLAGS]) : header->ifa_flags;
    const struct rtattr *local = attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
    if (header->ifa_scope > farthest || flags & IFA_F_DADFAILED || !read_address(local, header->ifa_family, &address))
        return 0;
    address.prefix = header->ifa_prefixlen;
    struct fp_interface *interface = entry_of(network, (int)header->ifa_index);
    if (!interface)
        return fp_fail_with(error, E2BIG, "network", "more than 16 interfaces have addresses");
    if (interface->address_count == FP_ADDRESSES_MAX)
        return fp_fail_with(error, E2BIG, "network", "an interface has more than 16 addresses");
    interface->addresses[interface->address_count++] = address;
    return 0;
}

/* The devices that tunnel modules put into every namespace. */
static bool is_template(const char *name)
{
    static const char *const names[] = {"tunl0",   "sit0",     "gre0",    "gretap0", "erspan0",
                                        "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

bool fp_network_has_links(int pid)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/net/dev", pid);
    FILE *file = fopen(path, "re");
    bool found = !file && fp_is_shortage(errno);
    while (file && !found && fgets(line, sizeof(line), file)) {
        char *name = line + strspn(line, " "), *end = strchr(name, ':');
        if (!end) /* the two lines of headings have bars instead */
            continue;
        *end = '\0';
        found = strcmp(name, "lo") != 0 && !is_template(name);
    }
    if (file)
        fclose(file);
    return found;
}

void fp_network_read_owner(const struct rtattr *alias, struct fp_owner *ret)
{
    char text[IFALIASZ];
    int pid;
    unsigned long long start;
    fp_netlink_text(alias, text, sizeof(text));
    bool known = sscanf(text, "urunc %d %llu", &pid, &start) == 2;
    *ret = known ? (struct fp_owner){pid, start} : (struct fp_owner){0};
}

static void add_tap(struct fp_network *network, struct fp_tap_link tap, const struct rtattr *alias)
{
    fp_network_read_owner(alias, &tap.owner);
    if (network->tap_count < FP_INTERFACES_MAX)
        network->taps[network->tap_count++] = tap;
}

static int visit_link(void *context, const struct nlmsghdr *message, struct fp_error *error)
{
    struct fp_network *network = context;
    const struct rtattr *attributes[IFLA_CARRIER + 1], *info[IFLA_INFO_KIND + 1];
    const struct ifinfomsg *link = NLMSG_DATA(message);
    char name[FP_DEVICE_NAME_MAX], kind[FP_DEVICE_NAME_MAX];
    uint8_t carrier;
    if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < NLMSG_LENGTH(sizeof(*link)))
        return 0;
    fp_netlink_parse(message, sizeof(*link), attributes, IFLA_CARRIER + 1);
    fp_netlink_parse_nested(attributes[IFLA_LINKINFO], info, IFLA_INFO_KIND + 1);
    fp_netlink_text(attributes[IFLA_IFNAME], name, sizeof(name));
    fp_netlink_text(info[IFLA_INFO_KIND], kind, sizeof(kind));
    fp_netlink_get(attributes[IFLA_CARRIER], &carrier, sizeof(carrier));
    if (link->ifi_flags & IFF_LOOPBACK || (*kind && is_template(name) && !(link->ifi_flags & IFF_UP)))
        return 0; /* an address may have made an entry: without a name, which tidy drops */
    if (strcmp(kind, "tun") == 0 && fp_network_tap_is_ours(name)) {
        struct fp_tap_link tap = {.index = link->ifi_index, .carrier = carrier};
        memcpy(tap.name, name, sizeof(tap.name));
        add_tap(network, tap, attributes[IFLA_IFALIAS]);
        return 0;
    }
    network->links++;
    struct fp_interface *interface = entry_of(network, link->ifi_index);
    if (!interface)
        return 0;
    memcpy(interface->name, name, sizeof(name));
    memcpy(interface->kind, kind, sizeof(kind));
    interface->mtu = fp_netlink_u32(attributes[IFLA_MTU]);
    interface->ethernet = link->ifi_type == ARPHRD_ETHER;
    interface->up = link->ifi_flags & IFF_UP;
    interface->carrier = carrier;
    fp_netlink_get(attributes[IFLA_ADDRESS], interface->mac, sizeof(interface->mac));
    (void)error;
    return 0;
}

/* With strict checking the kernel dumps only what the header asks for. */
static int dump_routes(int netlink, unsigned char family, struct fp_network *ret, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    struct rtmsg header = {.rtm_family = family, .rtm_table = RT_TABLE_MAIN};
    fp_netlink_batch_init(&batch);
    fp_netlink_request(&batch, "list routes", "", RTM_GETROUTE, NLM_F_DUMP, &header, sizeof(header));
    int status = fp_netlink_query(netlink, &batch, visit_route, ret, error);
    int number = batch.requests[0].number;
    if (status < 0 && (number == ENOENT || number == EOPNOTSUPP || number == EAFNOSUPPORT)) {
        *error = (struct fp_error){0}; /* no such table, or a kernel without IPv6: no route */
        return 0;
    }
    return status;
}

static int dump_addresses(int netlink, struct fp_network *ret, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    struct ifaddrmsg header = {.ifa_family = AF_UNSPEC};
    fp_netlink_batch_init(&batch);
    fp_netlink_request(&batch, "list addresses", "", RTM_GETADDR, NLM_F_DUMP, &header, sizeof(header));
    return fp_netlink_query(netlink, &batch, visit_address, ret, error);
}

static int dump_links(int netlink, struct fp_network *ret, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    const uint32_t without_statistics = RTEXT_FILTER_SKIP_STATS;
    fp_netlink_batch_init(&batch);
    fp_netlink_request(&batch, "list interfaces", "", RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
    fp_netlink_put(&batch, IFLA_EXT_MASK, &without_statistics, sizeof(without_statistics));
    return fp_netlink_query(netlink, &batch, visit_link, ret, error);
}

/* Sort by index, and drop what has an address but is no interface, or was gone when the links were listed. */
static void tidy(struct fp_network *network)
{
    struct fp_interface *all = network->interfaces;
    int kept = 0;
    for (int i = 0; i < network->count; i++) {
        if (!all[i].name[0])
            continue;
        struct fp_interface moved = all[i];
        int place = kept++;
        for (; place > 0 && all[place - 1].index > moved.index; place--)
            all[place] = all[place - 1];
        all[place] = moved;
    }
    network->count = kept;
}

/* What matters comes first, so that in a namespace of 500 links the room is not taken by the other ones. */
static int discover_once(int netlink, struct fp_network *ret, struct fp_error *error)
{
    *ret = (struct fp_network){0};
    if (dump_routes(netlink, AF_INET, ret, error) < 0 || dump_routes(netlink, AF_INET6, ret, error) < 0)
        return -1;
    if (ret->route4.index)
        entry_of(ret, ret->route4.index);
    if (ret->route6.index)
        entry_of(ret, ret->route6.index);
    if (dump_addresses(netlink, ret, error) < 0 || dump_links(netlink, ret, error) < 0)
        return -1;
    tidy(ret);
    return 0;
}

int fp_network_discover(int netlink, struct fp_network *ret, struct fp_error *error)
{
    const int on = 1;
    setsockopt(netlink, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)); /* since 4.20; only a saving */
    for (int attempt = 1; discover_once(netlink, ret, error) < 0; attempt++) {
        if (error->number != EINTR || attempt == ATTEMPTS)
            return -1;
        *error = (struct fp_error){0};
    }
    return 0;
}

static bool is_usable(const struct fp_interface *interface)
{
    return interface->up && interface->address_count && interface->ethernet;
}

/* Why the interface cannot be the guest's; 0 if it can. */
static int check_usable(const struct fp_interface *interface, struct fp_error *error)
{
    if (!interface->up)
        return fp_fail_with(error, ENETDOWN, "the interface is down", interface->name);
    if (!interface->address_count)
        return fp_fail_with(error, EADDRNOTAVAIL, "the interface has no address", interface->name);
    if (!interface->ethernet)
        return fp_fail_with(error, EPROTOTYPE, "not an Ethernet device", interface->name);
    return 0;
}

/* Position of the main interface; -1 with an error. */
static int main_interface(const struct fp_network *network, struct fp_error *error)
{
    const int by_route[] = {network->route4.index, network->route6.index};
    for (int i = 0; i < 2; i++)
        for (int at = 0; at < network->count; at++)
            if (by_route[i] && network->interfaces[at].index == by_route[i])
                return check_usable(&network->interfaces[at], error) < 0 ? -1 : at;
    char names[FP_PATH_MAX] = "";
    int usable = 0, found = 0;
    for (int at = 0; at < network->count; at++) {
        const struct fp_interface *interface = &network->interfaces[at];
        size_t length = strlen(names);
        if (!is_usable(interface))
            continue;
        found = at;
        snprintf(names + length, sizeof(names) - length, "%s%s", usable++ ? ", " : "", interface->name);
    }
    if (usable == 1)
        return found;
    if (usable)
        return fp_fail_with(error, ENOTUNIQ, "several interfaces and no default route", names);
    for (int at = 0; at < network->count; at++) /* one with an address says more than one without */
        if (network->interfaces[at].address_count)
            return check_usable(&network->interfaces[at], error);
    return check_usable(&network->interfaces[0], error);
}

int fp_network_choose(const struct fp_network *network, struct fp_choice *ret, struct fp_error *error)
{
    *ret = (struct fp_choice){0};
    if (!network->count)
        return 0;
    int first = main_interface(network, error);
    if (first < 0)
        return -1;
    ret->interfaces[ret->count++] = first;
    for (int at = 0; at < network->count; at++)
        if (at != first && is_usable(&network->interfaces[at]))
            ret->interfaces[ret->count++] = at;
    return 0;
}
