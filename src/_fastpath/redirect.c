// SPDX-License-Identifier: Apache-2.0
// The guest's way in and out, and its undoing; see network.h.
#define _GNU_SOURCE
#include "network.h"

#include "cleanup.h"
#include "ingress.h"
#include "process.h"

#include <linux/if.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int refuse_own(int netlink, const char *name, struct fp_error *error)
{
    int own = fp_network_is_own(netlink, error);
    return own > 0 ? fp_fail_with(error, EPERM, "network namespace of the caller", name) : own;
}

/* Name of a device, empty if there is none. */
static void name_of(int netlink, int index, char *ret)
{
    struct ifreq request = {.ifr_ifindex = index};
    bool found = index > 0 && ioctl(netlink, SIOCGIFNAME, &request) == 0;
    snprintf(ret, FP_DEVICE_NAME_MAX, "%s", found ? request.ifr_name : "");
}

/* Replace the ingress qdisc that the interface has already, if nobody needs it. */
static int replace_qdisc(int netlink, int index, const char *name, struct fp_error *error)
{
    struct fp_ingress ingress;
    struct fp_netlink_batch batch;
    char target[FP_DEVICE_NAME_MAX], text[FP_PATH_MAX];
    if (fp_ingress_read(netlink, index, name, &ingress, error) < 0)
        return -1;
    name_of(netlink, ingress.target, target);
    if (ingress.redirects && *target) {
        snprintf(text, sizeof(text), "%s, to %s", name, target);
        return fp_fail_with(error, EBUSY, "the interface is redirected already", text);
    }
    if (ingress.others || (ingress.redirects && !ingress.marked))
        return fp_fail_with(error, EBUSY, "the interface has ingress filters of others", name);
    fp_netlink_batch_init(&batch);
    fp_ingress_remove(&batch, index, name);
    fp_ingress_add(&batch, index, name);
    if (fp_netlink_send(netlink, &batch, error) < 0)
        return -1;
    if (batch.requests[0].number) /* clsact */
        return fp_fail_with(error, EBUSY, "the interface has an ingress qdisc of others", name);
    return fp_netlink_check(&batch, error);
}

void fp_network_set_tap(struct fp_netlink_batch *batch, int index, const struct fp_redirect *redirect)
{
    struct ifinfomsg header = {.ifi_index = index};
    char alias[IFALIASZ];         /* an id that is too long for it is cut */
    const uint8_t no_address = 1; /* IN6_ADDR_GEN_MODE_NONE of <linux/if_link.h> */
    fp_netlink_request(batch, "set mtu", redirect->tap, RTM_SETLINK, 0, &header, sizeof(header));
    fp_netlink_put(batch, IFLA_MTU, &redirect->mtu, sizeof(redirect->mtu));
    if (redirect->owner.pid) {
        snprintf(alias, sizeof(alias), "urunc %d %llu %s", redirect->owner.pid,
                 (unsigned long long)redirect->owner.start, redirect->container ? redirect->container : "");
        fp_netlink_put_text(batch, IFLA_IFALIAS, alias);
    }
    fp_netlink_request(batch, "set address mode", redirect->tap, RTM_SETLINK, 0, &header, sizeof(header));
    uint32_t families = fp_netlink_nest(batch, IFLA_AF_SPEC);
    uint32_t inet6 = fp_netlink_nest(batch, AF_INET6);
    fp_netlink_put(batch, IFLA_INET6_ADDR_GEN_MODE, &no_address, sizeof(no_address));
    fp_netlink_nest_end(batch, inet6);
    fp_netlink_nest_end(batch, families);
}

static void set_up(struct fp_netlink_batch *batch, int index, const char *name)
{
    struct ifinfomsg header = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    fp_netlink_request(batch, "set up", name, RTM_SETLINK, 0, &header, sizeof(header));
}

/* Two batches, because the kernel goes on after a request that fails: filters may only come where the qdisc was ours
 * to add.  The tap's is added while it is down, which is cheap. */
static int make_redirect(int netlink, const struct fp_redirect *redirect, int tap, const char *name, bool *ret_ours,
                         struct fp_error *error)
{
    struct fp_netlink_batch batch;
    fp_netlink_batch_init(&batch);
    fp_network_set_tap(&batch, tap, redirect);
    fp_ingress_add(&batch, tap, redirect->tap);
    fp_ingress_add(&batch, redirect->interface, name);
    enum { TAP_MODE = 1, INTERFACE_QDISC = 3 };
    if (fp_netlink_send(netlink, &batch, error) < 0)
        return -1;
    batch.requests[TAP_MODE].number = 0; /* no IPv6 in this kernel or namespace: no address either */
    int number = batch.requests[INTERFACE_QDISC].number;
    *ret_ours = number == 0;
    if (number == EEXIST)
        batch.requests[INTERFACE_QDISC].number = 0;
    if (fp_netlink_check(&batch, error) < 0)
        return -1;
    if (number == EEXIST && replace_qdisc(netlink, redirect->interface, name, error) < 0)
        return -1;
    *ret_ours = true;
    fp_netlink_batch_init(&batch);
    fp_ingress_add_redirect(&batch, tap, redirect->interface, redirect->tap);
    set_up(&batch, tap, redirect->tap);
    fp_ingress_add_redirect(&batch, redirect->interface, tap, name);
    return fp_netlink_execute(netlink, &batch, error);
}

int fp_network_redirect(int netlink, const struct fp_redirect *redirect, struct fp_error *error)
{
    int tap;
    char name[FP_DEVICE_NAME_MAX];
    bool ours = false;
    if (refuse_own(netlink, redirect->tap, error) < 0 || fp_network_index(netlink, redirect->tap, &tap, error) < 0)
        return -1;
    name_of(netlink, redirect->interface, name);
    if (!tap || !*name)
        return fp_fail_with(error, ENODEV, "redirect", tap ? "the interface is gone" : redirect->tap);
    if (make_redirect(netlink, redirect, tap, name, &ours, error) == 0)
        return 0;
    struct fp_netlink_batch batch;
    fp_netlink_batch_init(&batch);
    if (ours)
        fp_ingress_remove(&batch, redirect->interface, name);
    fp_ingress_remove(&batch, tap, redirect->tap);
    fp_netlink_send(netlink, &batch, error);
    return -1;
}

/* Whether a guest whose tap is `tap` (0: gone) has made this. */
static bool is_redirect_of(const struct fp_ingress *ingress, int tap)
{
    return ingress->redirects && (ingress->target ? ingress->target == tap : ingress->marked);
}

/* Ask for the removal of what we have at an interface's ingress: an empty qdisc is one that a crash has left. */
static int remove_ingress(int netlink, int index, const char *name, int tap, struct fp_netlink_batch *batch,
                          struct fp_error *error)
{
    struct fp_ingress ingress;
    if (fp_ingress_read(netlink, index, name, &ingress, error) < 0)
        return -1;
    bool ours = is_redirect_of(&ingress, tap);
    if (!ingress.others && (ours || !ingress.redirects))
        fp_ingress_remove(batch, index, name);
    else if (ours)
        fp_ingress_remove_redirect(batch, index, &ingress, name);
    return 0;
}

static void remove_link(struct fp_netlink_batch *batch, int index, const char *name)
{
    struct ifinfomsg header = {.ifi_index = index};
    fp_netlink_request(batch, "remove tap", name, RTM_DELLINK, 0, &header, sizeof(header));
}

/* Send removals; what is gone already has been removed.  EINVAL: the qdisc is none of kind ingress. */
static int remove_all(int netlink, struct fp_netlink_batch *batch, struct fp_error *error)
{
    if (fp_netlink_send(netlink, batch, error) < 0)
        return -1;
    for (int i = 0; i < batch->count; i++) {
        int *number = &batch->requests[i].number;
        if (*number == ENOENT || *number == ENODEV || *number == EINVAL)
            *number = 0;
    }
    return fp_netlink_check(batch, error);
}

struct link {
    bool is_tap;
    struct fp_owner owner;
};

static int visit_owner(void *context, const struct nlmsghdr *message, struct fp_error *error)
{
    struct link *link = context;
    const struct rtattr *attributes[IFLA_IFALIAS + 1], *info[IFLA_INFO_KIND + 1];
    char kind[16];
    (void)error;
    if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
        return 0;
    fp_netlink_parse(message, sizeof(struct ifinfomsg), attributes, IFLA_IFALIAS + 1);
    fp_netlink_parse_nested(attributes[IFLA_LINKINFO], info, IFLA_INFO_KIND + 1);
    fp_netlink_text(info[IFLA_INFO_KIND], kind, sizeof(kind));
    link->is_tap = strcmp(kind, "tun") == 0;
    fp_network_read_owner(attributes[IFLA_IFALIAS], &link->owner);
    return 0;
}

/* Forget the tap (index 0) if it is none, or says that it is another process's.  One that says nothing was made by
 * somebody who was killed before he could write on it, and that is whoever undoes. */
static int refuse_others(int netlink, const char *tap, const struct fp_owner *owner, int *index, struct fp_error *error)
{
    struct fp_netlink_batch batch;
    struct ifinfomsg header = {.ifi_index = *index};
    struct link found = {0};
    if (!*index)
        return 0;
    fp_netlink_batch_init(&batch);
    fp_netlink_request(&batch, "find tap", tap, RTM_GETLINK, 0, &header, sizeof(header));
    int status = fp_netlink_query(netlink, &batch, visit_owner, &found, error);
    bool gone = status < 0 && error->number == ENODEV;
    if (gone)
        *error = (struct fp_error){0};
    bool others = owner->pid && found.owner.pid && (found.owner.pid != owner->pid || found.owner.start != owner->start);
    if (gone || others || !found.is_tap)
        *index = 0;
    return gone ? 0 : status;
}

int fp_network_undo(int netlink, const char *interface, const char *tap, const struct fp_owner *owner,
                    struct fp_error *error)
{
    int tap_index, index = 0;
    struct fp_netlink_batch batch;
    if (!fp_network_tap_is_ours(tap))
        return fp_fail_with(error, EINVAL, "not a tap of urunc", tap);
    if (refuse_own(netlink, tap, error) < 0 || fp_network_index(netlink, tap, &tap_index, error) < 0 ||
        (*interface && fp_network_index(netlink, interface, &index, error) < 0) ||
        refuse_others(netlink, tap, owner, &tap_index, error) < 0)
        return -1;
    fp_netlink_batch_init(&batch);
    if (index)
        remove_ingress(netlink, index, interface, tap_index, &batch, error); /* the tap goes all the same */
    if (tap_index)
        remove_link(&batch, tap_index, tap);
    remove_all(netlink, &batch, error);
    return error->number ? -1 : 0;
}

/* Nobody has the tap open, and the process it was made for, if it says so, has ended. */
static bool is_ownerless(const struct fp_tap_link *tap)
{
    if (tap->carrier)
        return false;
    if (!tap->owner.pid)
        return true;
    _cleanup_close_ int pidfd = fp_process_open(tap->owner.pid, tap->owner.start);
    return pidfd < 0 && errno == ESRCH;
}

int fp_network_refuse_foreign(const struct fp_network *network, struct fp_error *error)
{
    for (int i = 0; i < network->tap_count; i++)
        if (network->taps[i].carrier && !network->taps[i].owner.pid)
            return fp_fail_with(error, EBUSY, "another program has a tap of our name", network->taps[i].name);
    return 0;
}

int fp_network_stale(int netlink, const struct fp_network *network, struct fp_stale *ret, struct fp_error *error)
{
    *ret = (struct fp_stale){0};
    for (int i = 0; i < network->tap_count; i++)
        if (is_ownerless(&network->taps[i]))
            ret->taps[ret->tap_count++] = i;
    for (int i = 0; i < network->count; i++) {
        const struct fp_interface *interface = &network->interfaces[i];
        struct fp_ingress ingress;
        if (fp_ingress_read(netlink, interface->index, interface->name, &ingress, error) < 0)
            return -1;
        bool stale = is_redirect_of(&ingress, 0);
        for (int tap = 0; tap < ret->tap_count; tap++)
            stale = stale || is_redirect_of(&ingress, network->taps[ret->taps[tap]].index);
        if (stale)
            ret->interfaces[ret->interface_count++] = i;
    }
    return 0;
}

int fp_network_clean(int netlink, const struct fp_network *network, const struct fp_stale *stale,
                     struct fp_error *error)
{
    struct fp_netlink_batch batch;
    if (refuse_own(netlink, "", error) < 0)
        return -1;
    for (int i = 0; i < stale->tap_count; i++) {
        const struct fp_tap_link *tap = &network->taps[stale->taps[i]];
        fp_netlink_batch_init(&batch);
        remove_link(&batch, tap->index, tap->name);
        if (remove_all(netlink, &batch, error) < 0)
            return -1;
    }
    for (int i = 0; i < stale->interface_count; i++) { /* by now they lead nowhere */
        const struct fp_interface *interface = &network->interfaces[stale->interfaces[i]];
        fp_netlink_batch_init(&batch);
        if (remove_ingress(netlink, interface->index, interface->name, 0, &batch, error) < 0 ||
            remove_all(netlink, &batch, error) < 0)
            return -1;
    }
    return 0;
}

int fp_network_words(int netlink, const char *path, const char *interface, const char *tap,
                     const struct fp_owner *owner, char *ret, struct fp_error *error)
{
    uint64_t namespace;
    if (fp_network_identity(netlink, &namespace, error) < 0)
        return -1;
    int length = snprintf(ret, FP_NETWORK_WORDS_MAX, "%s %s %llu %d %llu %s", *interface ? interface : "-", tap,
                          (unsigned long long)namespace, owner->pid, (unsigned long long)owner->start, path);
    return length < FP_NETWORK_WORDS_MAX ? 0 : fp_fail_with(error, ENAMETOOLONG, "network namespace", path);
}

struct words {
    char interface[FP_DEVICE_NAME_MAX], tap[FP_DEVICE_NAME_MAX];
    unsigned long long namespace;
    struct fp_owner owner;
    int path; /* where it begins */
};

static bool read_words(const char *words, struct words *ret)
{
    unsigned long long start;
    ret->path = 0;
    if (sscanf(words, "%15s %15s %llu %d %llu%n", ret->interface, ret->tap, &ret->namespace, &ret->owner.pid, &start,
               &ret->path) != 5)
        return false;
    ret->owner.start = start;
    return words[ret->path++] == ' ';
}

const char *fp_network_words_path(const char *words)
{
    struct words read;
    return read_words(words, &read) ? words + read.path : NULL;
}

bool fp_network_words_owner(const char *words, uint64_t *ret_namespace, struct fp_owner *ret)
{
    struct words read;
    bool good = read_words(words, &read);
    *ret = good ? read.owner : (struct fp_owner){0};
    *ret_namespace = good ? read.namespace : 0;
    return good;
}

int fp_network_undo_words(int netlink, const char *words, struct fp_error *error)
{
    struct words read;
    uint64_t namespace;
    if (!read_words(words, &read))
        return fp_fail_with(error, EINVAL, "journal", words);
    if (fp_network_identity(netlink, &namespace, error) < 0)
        return -1;
    if (namespace != read.namespace)
        return 0; /* it has ended, and what was in it */
    return fp_network_undo(netlink, strcmp(read.interface, "-") == 0 ? "" : read.interface, read.tap, &read.owner,
                           error);
}
