// SPDX-License-Identifier: Apache-2.0
// nftables without its library; see rules.h.  Attributes are those of linux/netfilter/nf_tables.h, numbers in them are
// in network order.
#define _GNU_SOURCE
#include "rules.h"

#include "cleanup.h"
#include "netlink.h"
#include "netns.h"
#include "process.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <stdio.h>
#include <string.h>

#define PORTS "ports" /* the set: protocol . port */

enum { NAME_MAX_ = 64, STALE_MAX = 16, SET_ID = 1, SADDR = 12, DADDR = 16, DPORT = 2 }; /* offsets in the headers */
enum { COMMENT = 0, COMMENT_MAX = 128 }; /* NFTNL_UDATA_TABLE_COMMENT of libnftnl: type, length, text, NUL */

static void name_table(const struct fp_owner *owner, char *ret)
{
    snprintf(ret, NAME_MAX_, "urunc_%d_%llu", owner->pid, (unsigned long long)owner->start);
}

static void put_u32(struct fp_netlink_batch *batch, uint16_t type, uint32_t value)
{
    value = htonl(value);
    fp_netlink_put(batch, type, &value, sizeof(value));
}

static void request(struct fp_netlink_batch *batch, const char *step, const char *table, uint16_t type, uint16_t flags)
{
    const struct nfgenmsg header = {.nfgen_family = NFPROTO_IPV4, .version = NFNETLINK_V0};
    fp_netlink_request(batch, step, table, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, &header,
                       sizeof(header));
}

/* The limits of a transaction; kernels differ in whether they answer these, so none is asked for. */
static void limit(struct fp_netlink_batch *batch, uint16_t type)
{
    const struct nfgenmsg header = {.version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)};
    fp_netlink_request(batch, "nftables", "transaction", type, 0, &header, sizeof(header));
    fp_netlink_silence(batch);
}

static void add_table(struct fp_netlink_batch *batch, const char *table, const char *container)
{
    request(batch, "add nftables table", table, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    fp_netlink_put_text(batch, NFTA_TABLE_NAME, table);
    if (!container)
        return;
    char comment[2 + COMMENT_MAX] = {COMMENT};
    snprintf(comment + 2, COMMENT_MAX, "%s", container);
    size_t size = strlen(comment + 2) + 1;
    comment[1] = (char)size;
    fp_netlink_put(batch, NFTA_TABLE_USERDATA, comment, 2 + size);
}

static void add_chain(struct fp_netlink_batch *batch, const char *table, const char *name, uint32_t hook,
                      int32_t priority)
{
    request(batch, "add nftables chain", table, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
    fp_netlink_put_text(batch, NFTA_CHAIN_TABLE, table);
    fp_netlink_put_text(batch, NFTA_CHAIN_NAME, name);
    uint32_t nest = fp_netlink_nest(batch, NFTA_CHAIN_HOOK);
    put_u32(batch, NFTA_HOOK_HOOKNUM, hook);
    put_u32(batch, NFTA_HOOK_PRIORITY, (uint32_t)priority);
    fp_netlink_nest_end(batch, nest);
    fp_netlink_put_text(batch, NFTA_CHAIN_TYPE, "nat");
}

static void add_ports(struct fp_netlink_batch *batch, const char *table, const struct fp_rules *rules)
{
    request(batch, "add nftables set", table, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
    fp_netlink_put_text(batch, NFTA_SET_TABLE, table);
    fp_netlink_put_text(batch, NFTA_SET_NAME, PORTS);
    put_u32(batch, NFTA_SET_KEY_LEN, 8);
    put_u32(batch, NFTA_SET_ID, SET_ID);
    if (!rules->port_count)
        return;
    request(batch, "add ports to nftables set", table, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
    fp_netlink_put_text(batch, NFTA_SET_ELEM_LIST_TABLE, table);
    fp_netlink_put_text(batch, NFTA_SET_ELEM_LIST_SET, PORTS);
    put_u32(batch, NFTA_SET_ELEM_LIST_SET_ID, SET_ID);
    uint32_t list = fp_netlink_nest(batch, NFTA_SET_ELEM_LIST_ELEMENTS);
    for (int i = 0; i < rules->port_count; i++) {
        uint8_t pair[8] = {rules->ports[i].protocol,       0, 0, 0, (uint8_t)(rules->ports[i].number >> 8),
                           (uint8_t)rules->ports[i].number};
        uint32_t element = fp_netlink_nest(batch, NFTA_LIST_ELEM);
        uint32_t key = fp_netlink_nest(batch, NFTA_SET_ELEM_KEY);
        fp_netlink_put(batch, NFTA_DATA_VALUE, pair, sizeof(pair));
        fp_netlink_nest_end(batch, key);
        fp_netlink_nest_end(batch, element);
    }
    fp_netlink_nest_end(batch, list);
}

/* A rule is a list of expressions: nests[0] is the list, nests[1] the expression, nests[2] its data. */
static void begin_rule(struct fp_netlink_batch *batch, const char *table, const char *chain, uint32_t *ret_list)
{
    request(batch, "add nftables rule", table, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    fp_netlink_put_text(batch, NFTA_RULE_TABLE, table);
    fp_netlink_put_text(batch, NFTA_RULE_CHAIN, chain);
    *ret_list = fp_netlink_nest(batch, NFTA_RULE_EXPRESSIONS);
}

struct expression {
    uint32_t element, data;
};

static struct expression begin(struct fp_netlink_batch *batch, const char *name)
{
    struct expression made;
    made.element = fp_netlink_nest(batch, NFTA_LIST_ELEM);
    fp_netlink_put_text(batch, NFTA_EXPR_NAME, name);
    made.data = fp_netlink_nest(batch, NFTA_EXPR_DATA);
    return made;
}

static void end(struct fp_netlink_batch *batch, struct expression made)
{
    fp_netlink_nest_end(batch, made.data);
    fp_netlink_nest_end(batch, made.element);
}

static void put_value(struct fp_netlink_batch *batch, uint16_t type, const void *value, size_t size)
{
    uint32_t nest = fp_netlink_nest(batch, type);
    fp_netlink_put(batch, NFTA_DATA_VALUE, value, size);
    fp_netlink_nest_end(batch, nest);
}

static void compare(struct fp_netlink_batch *batch, uint32_t operator, const void * value, size_t size)
{
    struct expression made = begin(batch, "cmp");
    put_u32(batch, NFTA_CMP_SREG, NFT_REG_1);
    put_u32(batch, NFTA_CMP_OP, operator);
    put_value(batch, NFTA_CMP_DATA, value, size);
    end(batch, made);
}

static void load_meta(struct fp_netlink_batch *batch, uint32_t key, uint32_t where)
{
    struct expression made = begin(batch, "meta");
    put_u32(batch, NFTA_META_DREG, where);
    put_u32(batch, NFTA_META_KEY, key);
    end(batch, made);
}

static void load_payload(struct fp_netlink_batch *batch, uint32_t base, uint32_t offset, uint32_t size, uint32_t where)
{
    struct expression made = begin(batch, "payload");
    put_u32(batch, NFTA_PAYLOAD_DREG, where);
    put_u32(batch, NFTA_PAYLOAD_BASE, base);
    put_u32(batch, NFTA_PAYLOAD_OFFSET, offset);
    put_u32(batch, NFTA_PAYLOAD_LEN, size);
    end(batch, made);
}

static void match_device(struct fp_netlink_batch *batch, uint32_t key, uint32_t operator, int index)
{
    load_meta(batch, key, NFT_REG_1);
    compare(batch, operator, & index, sizeof(index));
}

static void match_network(struct fp_netlink_batch *batch, uint32_t offset, const void *value, size_t size)
{
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, offset, (uint32_t)size, NFT_REG_1);
    compare(batch, NFT_CMP_EQ, value, size);
}

/* To an address of the namespace, */
static void match_local(struct fp_netlink_batch *batch)
{
    const uint32_t local = RTN_LOCAL;
    struct expression made = begin(batch, "fib");
    put_u32(batch, NFTA_FIB_DREG, NFT_REG_1);
    put_u32(batch, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    put_u32(batch, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
    end(batch, made);
    compare(batch, NFT_CMP_EQ, &local, sizeof(local));
}

/* and to a port of the set. */
static void match_ports(struct fp_netlink_batch *batch)
{
    match_local(batch);
    load_meta(batch, NFT_META_L4PROTO, NFT_REG32_00);
    load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, DPORT, sizeof(uint16_t), NFT_REG32_01);
    struct expression made = begin(batch, "lookup");
    fp_netlink_put_text(batch, NFTA_LOOKUP_SET, PORTS);
    put_u32(batch, NFTA_LOOKUP_SET_ID, SET_ID);
    put_u32(batch, NFTA_LOOKUP_SREG, NFT_REG32_00);
    end(batch, made);
}

static void accept_packet(struct fp_netlink_batch *batch)
{
    struct expression made = begin(batch, "immediate");
    put_u32(batch, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    uint32_t data = fp_netlink_nest(batch, NFTA_IMMEDIATE_DATA);
    uint32_t verdict = fp_netlink_nest(batch, NFTA_DATA_VERDICT);
    put_u32(batch, NFTA_VERDICT_CODE, NF_ACCEPT);
    fp_netlink_nest_end(batch, verdict);
    fp_netlink_nest_end(batch, data);
    end(batch, made);
}

static void translate(struct fp_netlink_batch *batch, uint32_t address)
{
    struct expression made = begin(batch, "immediate");
    put_u32(batch, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    put_value(batch, NFTA_IMMEDIATE_DATA, &address, sizeof(address));
    end(batch, made);
    made = begin(batch, "nat");
    put_u32(batch, NFTA_NAT_TYPE, NFT_NAT_DNAT);
    put_u32(batch, NFTA_NAT_FAMILY, NFPROTO_IPV4);
    put_u32(batch, NFTA_NAT_REG_ADDR_MIN, NFT_REG_1);
    end(batch, made);
}

/* What a socket of the namespace waits for, or has a connection for, is not the guest's: asked anew for each
 * connection, so that a side-car may come later.  From inside nobody can be asked: there the socket found is the
 * client's. */
static void add_rules_for_all_ports(struct fp_netlink_batch *batch, const char *table, const struct fp_rules *rules)
{
    static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
    uint32_t list;
    begin_rule(batch, table, "prerouting", &list);
    match_device(batch, NFT_META_IIF, NFT_CMP_NEQ, rules->tap);
    struct expression made = begin(batch, "socket");
    put_u32(batch, NFTA_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
    put_u32(batch, NFTA_SOCKET_DREG, NFT_REG_1);
    end(batch, made);
    accept_packet(batch);
    fp_netlink_nest_end(batch, list);
    for (size_t i = 0; i < sizeof(protocols); i++) {
        begin_rule(batch, table, "prerouting", &list);
        match_device(batch, NFT_META_IIF, NFT_CMP_NEQ, rules->tap);
        match_local(batch);
        load_meta(batch, NFT_META_L4PROTO, NFT_REG_1);
        compare(batch, NFT_CMP_EQ, &protocols[i], sizeof(protocols[i]));
        translate(batch, rules->guest);
        fp_netlink_nest_end(batch, list);
    }
}

static void add_destination_rules(struct fp_netlink_batch *batch, const char *table, const struct fp_rules *rules)
{
    uint32_t list;
    add_chain(batch, table, "prerouting", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST - !rules->all_ports);
    begin_rule(batch, table, "prerouting", &list);
    match_device(batch, NFT_META_IIF, NFT_CMP_EQ, rules->tap);
    match_network(batch, DADDR, &rules->gateway, sizeof(rules->gateway));
    translate(batch, htonl(INADDR_LOOPBACK));
    fp_netlink_nest_end(batch, list);
    if (rules->all_ports) {
        add_rules_for_all_ports(batch, table, rules);
        return;
    }
    begin_rule(batch, table, "prerouting", &list);
    match_device(batch, NFT_META_IIF, NFT_CMP_NEQ, rules->tap);
    match_ports(batch);
    translate(batch, rules->guest);
    fp_netlink_nest_end(batch, list);
    add_chain(batch, table, "output", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST);
    begin_rule(batch, table, "output", &list);
    match_ports(batch);
    translate(batch, rules->guest);
    fp_netlink_nest_end(batch, list);
}

static void masquerade(struct fp_netlink_batch *batch)
{
    end(batch, begin(batch, "masq"));
}

static void add_source_rules(struct fp_netlink_batch *batch, const char *table, const struct fp_rules *rules)
{
    uint32_t list;
    const uint8_t loopback = IN_LOOPBACKNET;
    add_chain(batch, table, "postrouting", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC);
    begin_rule(batch, table, "postrouting", &list);
    match_device(batch, NFT_META_OIF, NFT_CMP_NEQ, rules->tap);
    match_network(batch, SADDR, &rules->guest, sizeof(rules->guest));
    masquerade(batch);
    fp_netlink_nest_end(batch, list);
    begin_rule(batch, table, "postrouting", &list);
    match_device(batch, NFT_META_OIF, NFT_CMP_EQ, rules->tap);
    match_network(batch, SADDR, &loopback, sizeof(loopback));
    masquerade(batch);
    fp_netlink_nest_end(batch, list);
}

int fp_rules_create(int netfilter, const struct fp_rules *rules, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    char table[NAME_MAX_];
    name_table(&rules->owner, table);
    fp_netlink_batch_init(&batch);
    limit(&batch, NFNL_MSG_BATCH_BEGIN);
    add_table(&batch, table, rules->container);
    add_ports(&batch, table, rules);
    add_destination_rules(&batch, table, rules);
    add_source_rules(&batch, table, rules);
    limit(&batch, NFNL_MSG_BATCH_END);
    int status = fp_netlink_execute(netfilter, &batch, error);
    if (status < 0 && rules->all_ports && error->number == ENOENT) /* nft_socket */
        return fp_fail_with(error, ENOENT, "this kernel's nftables cannot look for sockets",
                            "name the guest's ports by the annotation com.urunc.unikernel.ports");
    return status;
}

static int remove_table(int netfilter, const char *table, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    fp_netlink_batch_init(&batch);
    limit(&batch, NFNL_MSG_BATCH_BEGIN);
    request(&batch, "remove nftables table", table, NFT_MSG_DELTABLE, 0);
    fp_netlink_put_text(&batch, NFTA_TABLE_NAME, table);
    limit(&batch, NFNL_MSG_BATCH_END);
    if (fp_netlink_send(netfilter, &batch, error) < 0)
        return -1;
    if (batch.requests[1].number == ENOENT)
        batch.requests[1].number = 0;
    return fp_netlink_check(&batch, error);
}

int fp_rules_destroy(int netfilter, const struct fp_owner *owner, struct fp_error *error)
{
    char table[NAME_MAX_];
    name_table(owner, table);
    return remove_table(netfilter, table, error);
}

struct stale {
    int count;
    struct fp_owner owners[STALE_MAX];
};

static int visit_table(void *context, const struct nlmsghdr *message, struct fp_error *error)
{
    struct stale *stale = context;
    const struct rtattr *attributes[NFTA_TABLE_NAME + 1];
    char name[NAME_MAX_];
    int pid;
    unsigned long long start;
    (void)error;
    if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE) || stale->count == STALE_MAX)
        return 0;
    fp_netlink_parse(message, sizeof(struct nfgenmsg), attributes, NFTA_TABLE_NAME + 1);
    fp_netlink_text(attributes[NFTA_TABLE_NAME], name, sizeof(name));
    if (sscanf(name, "urunc_%d_%llu", &pid, &start) != 2)
        return 0;
    _cleanup_close_ int pidfd = fp_process_open(pid, start);
    if (pidfd < 0 && errno == ESRCH)
        stale->owners[stale->count++] = (struct fp_owner){pid, start};
    return 0;
}

int fp_rules_clean(int netfilter, struct fp_error *error)
{
    struct stale stale = {0};
    struct fp_netlink_batch batch;
    fp_netlink_batch_init(&batch);
    request(&batch, "list nftables tables", "", NFT_MSG_GETTABLE, NLM_F_DUMP);
    if (fp_netlink_query(netfilter, &batch, visit_table, &stale, error) < 0)
        return -1;
    for (int i = 0; i < stale.count; i++)
        if (fp_rules_destroy(netfilter, &stale.owners[i], error) < 0)
            return -1;
    return 0;
}

int fp_rules_clean_in(const char *path, struct fp_error *error)
{
    _cleanup_close_ int netfilter = fp_netns_netfilter(path, error);
    if (netfilter >= 0 && fp_rules_clean(netfilter, error) == 0)
        return 0;
    if (error->number != EPROTONOSUPPORT && error->number != EINVAL && error->number != EOPNOTSUPP)
        return -1;
    *error = (struct fp_error){0};
    return 0;
}
