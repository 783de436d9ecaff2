// SPDX-License-Identifier: Apache-2.0
// Stage root: the way in and out of a guest whose network namespace is not its alone: a tap with a private subnet, and
// rules that translate between that and the namespace's addresses.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "ingress.h"
#include "journal.h"
#include "netns.h"
#include "network.h"
#include "rules.h"
#include "state.h"
#include "tap.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/ip.h>
#include <stdio.h>

enum { NUMBERS = 3 }; /* gateway, prefix, guest; then ports: protocol << 16 | number, or a single 0 for all */

struct share {
    struct fp_redirect tap;
    const char *interface;
    int index; /* of the tap */
    int prefix;
    struct fp_rules rules;
};

static int read_numbers(const union fp_argument *argument, struct share *ret, struct fp_error *error)
{
    const int64_t *numbers = fp_numbers(argument);
    if (argument->count < NUMBERS || argument->count > NUMBERS + FP_PORTS_MAX)
        return fp_fail_with(error, EINVAL, "plan", "share: a gateway, a prefix, a guest and at most 64 ports");
    ret->rules.gateway = htonl((uint32_t)numbers[0]);
    ret->prefix = (int)numbers[1];
    ret->rules.guest = htonl((uint32_t)numbers[2]);
    ret->rules.all_ports = argument->count == NUMBERS + 1 && !numbers[NUMBERS];
    for (uint64_t i = NUMBERS; i < argument->count && !ret->rules.all_ports; i++)
        ret->rules.ports[ret->rules.port_count++] = (struct fp_port){(uint8_t)(numbers[i] >> 16), (uint16_t)numbers[i]};
    return 0;
}

static int note(struct fp_sandbox *sandbox, int netlink, const struct share *share, struct fp_error *error)
{
    char words[FP_NETWORK_WORDS_MAX];
    const char *path = sandbox->network_path ? sandbox->network_path : "";
    if (fp_network_words(netlink, path, "", share->tap.tap, &share->tap.owner, words, error) < 0 ||
        fp_journal_add(sandbox->state_fd, "network", words, error) < 0)
        return -1;
    return fp_journal_add(sandbox->state_fd, "rules", words, error);
}

/* A guest that has taken the interface over gets whatever arrives there: no translation would see any of it. */
static int refuse_taken(int netlink, const struct share *share, struct fp_error *error)
{
    struct fp_ingress ingress;
    char text[FP_PATH_MAX];
    if (fp_ingress_read(netlink, share->tap.interface, share->interface, &ingress, error) < 0)
        return -1;
    if (!ingress.redirects || !ingress.marked || !ingress.target)
        return 0;
    snprintf(text, sizeof(text), "%s: give both the annotation com.urunc.unikernel.network=shared", share->interface);
    return fp_fail_with(error, EBUSY, "another guest has the interface for itself", text);
}

/* Forwarding for the two devices only; route_localnet because both ends of a connection may be on loopback. */
static void put_settings(struct fp_netlink_batch *batch, int index, const char *name, bool localnet)
{
    const uint32_t on = 1;
    struct ifinfomsg header = {.ifi_index = index};
    fp_netlink_request(batch, "set forwarding", name, RTM_SETLINK, 0, &header, sizeof(header));
    uint32_t families = fp_netlink_nest(batch, IFLA_AF_SPEC), inet = fp_netlink_nest(batch, AF_INET);
    uint32_t settings = fp_netlink_nest(batch, IFLA_INET_CONF);
    fp_netlink_put(batch, IPV4_DEVCONF_FORWARDING, &on, sizeof(on));
    if (localnet)
        fp_netlink_put(batch, IPV4_DEVCONF_ROUTE_LOCALNET, &on, sizeof(on));
    fp_netlink_nest_end(batch, settings);
    fp_netlink_nest_end(batch, inet);
    fp_netlink_nest_end(batch, families);
}

static int set_up(int netlink, const struct share *share, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    struct ifaddrmsg address = {
        .ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)share->prefix, .ifa_index = (unsigned)share->index};
    struct ifinfomsg link = {.ifi_index = share->index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    const struct fp_rules *rules = &share->rules;
    fp_netlink_batch_init(&batch);
    fp_network_set_tap(&batch, share->index, &share->tap);
    enum { ADDRESS_MODE = 1 };
    fp_netlink_request(&batch, "add address", share->tap.tap, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &address,
                       sizeof(address));
    fp_netlink_put(&batch, IFA_LOCAL, &rules->gateway, sizeof(rules->gateway));
    fp_netlink_put(&batch, IFA_ADDRESS, &rules->gateway, sizeof(rules->gateway));
    put_settings(&batch, share->index, share->tap.tap, true);
    put_settings(&batch, share->tap.interface, share->interface, false);
    fp_netlink_request(&batch, "set up", share->tap.tap, RTM_SETLINK, 0, &link, sizeof(link));
    if (fp_netlink_send(netlink, &batch, error) < 0)
        return -1;
    batch.requests[ADDRESS_MODE].number = 0; /* no IPv6 in this kernel or namespace: no address either */
    return fp_netlink_check(&batch, error);
}

static int make(struct fp_sandbox *sandbox, struct share *share, int netlink, int tun,
                const struct fp_tap_options *options, struct fp_error *error)
{
    char path[FP_NETWORK_NAME_MAX], made[FP_DEVICE_NAME_MAX];
    fp_sandbox_network(sandbox, path);
    _cleanup_close_ int netfilter = fp_netns_netfilter(path, error);
    if (netfilter < 0 || refuse_taken(netlink, share, error) < 0 || fp_rules_clean(netfilter, error) < 0 ||
        fp_rules_destroy(netfilter, &share->tap.owner, error) < 0 || /* of a start that was killed */
        note(sandbox, netlink, share, error) < 0 || fp_tap_create(tun, share->tap.tap, options, made, error) < 0 ||
        fp_network_index(netlink, share->tap.tap, &share->index, error) < 0)
        return -1;
    share->rules.tap = share->index;
    share->rules.owner = share->tap.owner;
    share->rules.container = share->tap.container;
    if (set_up(netlink, share, error) < 0)
        return -1;
    return fp_rules_create(netfilter, &share->rules, error);
}

int fp_share_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    char path[FP_NETWORK_NAME_MAX], id[FP_PATH_MAX];
    int netlink, tun;
    struct share share = {.tap = {.tap = argument[1].text,
                                  .interface = (int)argument[3].integer,
                                  .mtu = (uint32_t)argument[4].integer,
                                  .owner = {(int)sandbox->pid, sandbox->start_time},
                                  .container = fp_state_name(sandbox->state_fd, id)},
                          .interface = argument[2].text};
    struct fp_tap_options options = {
        .uid = argument[5].integer, .gid = FP_TAP_ANY_ID, .persist = true, .vnet_header = (int)argument[6].integer};
    fp_sandbox_network(sandbox, path);
    if (read_numbers(&argument[7], &share, error) < 0 || fp_netns_open(path, &netlink, &tun, error) < 0)
        return -1;
    _cleanup_close_ int netlink_guard = netlink;
    _cleanup_close_ int tun_guard = tun;
    if (make(sandbox, &share, netlink, tun, &options, error) < 0)
        return -1;
    int64_t slot = argument[0].integer;
    if (slot >= 0) {
        fp_close_guard(&sandbox->slots[slot]);
        sandbox->slots[slot] = fp_take_fd(&tun_guard);
    }
    return 0;
}
