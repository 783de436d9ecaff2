// SPDX-License-Identifier: Apache-2.0
// Stage root: the guest's way into the container's network namespace, a tap and a redirect for each interface.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "journal.h"
#include "netns.h"
#include "network.h"
#include "state.h"
#include "tap.h"

#include <stdio.h>

static int note(struct fp_sandbox *sandbox, int netlink, const char *interface, const char *tap, struct fp_error *error)
{
    char words[FP_NETWORK_WORDS_MAX];
    const char *path = sandbox->network_path ? sandbox->network_path : "";
    const struct fp_owner owner = {(int)sandbox->pid, sandbox->start_time};
    if (fp_network_words(netlink, path, interface, tap, &owner, words, error) < 0)
        return -1;
    return fp_journal_add(sandbox->state_fd, "network", words, error);
}

/* Some client may hold the lock for ever, but not ours: whatever we do in there is done in milliseconds. */
enum { LOCK_TIMEOUT_MS = 20000 };

int fp_sandbox_lock_network(struct fp_sandbox *sandbox, struct fp_error *error)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)sandbox->pid);
    if (sandbox->network_lock >= 0)
        return 0;
    sandbox->network_lock = fp_netns_lock(path, LOCK_TIMEOUT_MS, error);
    return sandbox->network_lock < 0 ? -1 : 0;
}

int fp_link_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    const char *tap = argument[1].text, *interface = argument[2].text;
    char path[64], made[FP_DEVICE_NAME_MAX], id[FP_PATH_MAX];
    int netlink, tun;
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)sandbox->pid);
    if (fp_netns_open(path, &netlink, &tun, error) < 0)
        return -1;
    _cleanup_close_ int netlink_guard = netlink;
    _cleanup_close_ int tun_guard = tun;
    /* persistent: a monitor that opens it by name needs that, and closing one that is not costs its exit 11-26 ms */
    struct fp_tap_options options = {.uid = argument[5].integer,
                                     .gid = FP_TAP_ANY_ID,
                                     .persist = true,
                                     .vnet_header = (int)argument[6].integer,
                                     .offload = (unsigned)argument[7].integer};
    struct fp_redirect redirect = {.interface = (int)argument[3].integer,
                                   .tap = tap,
                                   .mtu = (uint32_t)argument[4].integer,
                                   .owner = {(int)sandbox->pid, sandbox->start_time},
                                   .container = fp_state_name(sandbox->state_fd, id)};
    if (note(sandbox, netlink, interface, tap, error) < 0 || fp_tap_create(tun, tap, &options, made, error) < 0 ||
        fp_network_redirect(netlink, &redirect, error) < 0)
        return -1;
    int64_t slot = argument[0].integer;
    if (slot >= 0) {
        fp_close_guard(&sandbox->slots[slot]);
        sandbox->slots[slot] = fp_take_fd(&tun_guard);
    }
    return 0;
}
