// SPDX-License-Identifier: Apache-2.0
// The ingress of a device; see ingress.h.
//
// u32 and not matchall, which some kernels lack.  Our redirects carry a cookie, so that they are recognised when the
// device they lead to is gone: the kernel then says index 0.
#define _GNU_SOURCE
#include "ingress.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>

#define INGRESS_HANDLE TC_H_MAKE(TC_H_INGRESS, 0)

static const char cookie[] = {'u', 'r', 'u', 'n', 'c'};

enum { PREFERENCE = 49152 }; /* what the kernel gives to a first filter */

void fp_ingress_add(struct fp_netlink_batch *batch, int index, const char *name)
{
    struct tcmsg header = {.tcm_ifindex = index, .tcm_handle = INGRESS_HANDLE, .tcm_parent = TC_H_INGRESS};
    fp_netlink_request(batch, "add ingress qdisc", name, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &header,
                       sizeof(header));
    fp_netlink_put_text(batch, TCA_KIND, "ingress");
}

void fp_ingress_remove(struct fp_netlink_batch *batch, int index, const char *name)
{
    struct tcmsg header = {.tcm_ifindex = index, .tcm_handle = INGRESS_HANDLE, .tcm_parent = TC_H_INGRESS};
    fp_netlink_request(batch, "remove ingress qdisc", name, RTM_DELQDISC, 0, &header, sizeof(header));
    fp_netlink_put_text(batch, TCA_KIND, "ingress");
}

void fp_ingress_add_redirect(struct fp_netlink_batch *batch, int from, int to, const char *name)
{
    struct tcmsg header = {.tcm_ifindex = from,
                           .tcm_parent = INGRESS_HANDLE,
                           .tcm_info = TC_H_MAKE((uint32_t)PREFERENCE << 16, htons(ETH_P_ALL))};
    const struct tc_u32_sel selector = {.flags = TC_U32_TERMINAL, .nkeys = 1};
    char match[sizeof(selector) + sizeof(struct tc_u32_key)] = {0}; /* a key whose mask is 0: every frame */
    memcpy(match, &selector, sizeof(selector));
    struct tc_mirred mirred = {.action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (uint32_t)to};
    fp_netlink_request(batch, "add redirect", name, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
    fp_netlink_put_text(batch, TCA_KIND, "u32");
    uint32_t options = fp_netlink_nest(batch, TCA_OPTIONS);
    fp_netlink_put(batch, TCA_U32_SEL, match, sizeof(match));
    uint32_t actions = fp_netlink_nest(batch, TCA_U32_ACT);
    uint32_t first = fp_netlink_nest(batch, 1);
    fp_netlink_put_text(batch, TCA_ACT_KIND, "mirred");
    fp_netlink_put(batch, TCA_ACT_COOKIE, cookie, sizeof(cookie));
    uint32_t parameters = fp_netlink_nest(batch, TCA_ACT_OPTIONS);
    fp_netlink_put(batch, TCA_MIRRED_PARMS, &mirred, sizeof(mirred));
    fp_netlink_nest_end(batch, parameters);
    fp_netlink_nest_end(batch, first);
    fp_netlink_nest_end(batch, actions);
    fp_netlink_nest_end(batch, options);
}

/* With the whole preference, if there is nothing else in it: u32 keeps an empty one as long as it has others. */
void fp_ingress_remove_redirect(struct fp_netlink_batch *batch, int index, const struct fp_ingress *ingress,
                                const char *name)
{
    bool alone = !ingress->beside && TC_H_MAJ(ingress->info) == (uint32_t)PREFERENCE << 16;
    struct tcmsg header = {.tcm_ifindex = index,
                           .tcm_parent = INGRESS_HANDLE,
                           .tcm_handle = alone ? 0 : ingress->handle,
                           .tcm_info = ingress->info};
    fp_netlink_request(batch, "remove redirect", name, RTM_DELTFILTER, 0, &header, sizeof(header));
    fp_netlink_put_text(batch, TCA_KIND, "u32");
}

/* Whether the action of a u32 filter is a redirect, and where to. */
static bool read_redirect(const struct rtattr *actions, int *ret_target, bool *ret_marked)
{
    const struct rtattr *list[3], *action[TCA_ACT_COOKIE + 1], *options[TCA_MIRRED_PARMS + 1];
    char kind[16];
    struct tc_mirred mirred;
    fp_netlink_parse_nested(actions, list, 3);
    if (!list[1] || list[2])
        return false;
    fp_netlink_parse_nested(list[1], action, TCA_ACT_COOKIE + 1);
    fp_netlink_text(action[TCA_ACT_KIND], kind, sizeof(kind));
    fp_netlink_parse_nested(action[TCA_ACT_OPTIONS], options, TCA_MIRRED_PARMS + 1);
    if (strcmp(kind, "mirred") != 0 || !fp_netlink_get(options[TCA_MIRRED_PARMS], &mirred, sizeof(mirred)) ||
        mirred.eaction != TCA_EGRESS_REDIR)
        return false;
    const struct rtattr *mark = action[TCA_ACT_COOKIE];
    *ret_target = (int)mirred.ifindex;
    *ret_marked = mark && RTA_PAYLOAD(mark) == sizeof(cookie) && memcmp(RTA_DATA(mark), cookie, sizeof(cookie)) == 0;
    return true;
}

static int visit_filter(void *context, const struct nlmsghdr *message, struct fp_error *error)
{
    struct fp_ingress *ingress = context;
    const struct rtattr *attributes[TCA_OPTIONS + 1], *options[TCA_U32_ACT + 1];
    const struct tcmsg *header = NLMSG_DATA(message);
    char kind[16];
    (void)error;
    if (message->nlmsg_type != RTM_NEWTFILTER || message->nlmsg_len < NLMSG_LENGTH(sizeof(*header)))
        return 0;
    fp_netlink_parse(message, sizeof(*header), attributes, TCA_OPTIONS + 1);
    fp_netlink_parse_nested(attributes[TCA_OPTIONS], options, TCA_U32_ACT + 1);
    fp_netlink_text(attributes[TCA_KIND], kind, sizeof(kind));
    bool u32 = strcmp(kind, "u32") == 0;
    if (u32 && !options[TCA_U32_SEL])
        return 0; /* a preference or a hash table: filters are in them */
    if (u32 && !ingress->redirects && read_redirect(options[TCA_U32_ACT], &ingress->target, &ingress->marked)) {
        ingress->redirects++;
        ingress->handle = header->tcm_handle;
        ingress->info = header->tcm_info;
    } else {
        ingress->others++;
        ingress->beside = ingress->beside || TC_H_MAJ(header->tcm_info) == (uint32_t)PREFERENCE << 16;
    }
    return 0;
}

int fp_ingress_read(int netlink, int index, const char *name, struct fp_ingress *ret, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    struct tcmsg header = {.tcm_ifindex = index, .tcm_parent = INGRESS_HANDLE};
    *ret = (struct fp_ingress){0};
    fp_netlink_batch_init(&batch);
    fp_netlink_request(&batch, "list ingress filters", name, RTM_GETTFILTER, NLM_F_DUMP, &header, sizeof(header));
    return fp_netlink_query(netlink, &batch, visit_filter, ret, error);
}
