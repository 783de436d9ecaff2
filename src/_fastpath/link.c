// SPDX-License-Identifier: Apache-2.0
// Stage root: the guest's way into the container's network namespace, a tap and a redirect for each interface.
#define _GNU_SOURCE
#include "cleanup.h"
#include "execute.h"
#include "journal.h"
#include "netns.h"
#include "network.h"
#include "process.h"
#include "state.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

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

void fp_sandbox_network(const struct fp_sandbox *sandbox, char ret[FP_NETWORK_NAME_MAX])
{
    if (sandbox->network_lock >= 0)
        snprintf(ret, FP_NETWORK_NAME_MAX, "/proc/self/fd/%d", sandbox->network_lock);
    else
        snprintf(ret, FP_NETWORK_NAME_MAX, "/proc/%d/ns/net", (int)sandbox->pid);
}

int fp_sandbox_lock_network(struct fp_sandbox *sandbox, struct fp_error *error)
{
    char path[FP_NETWORK_NAME_MAX];
    fp_sandbox_network(sandbox, path);
    if (sandbox->network_lock >= 0)
        return 0;
    _cleanup_close_ int lock = fp_netns_lock(path, LOCK_TIMEOUT_MS, error);
    struct fp_process process;
    if (lock < 0)
        return -1;
    /* of a start, whose process may have ended meanwhile: what is held is the namespace of whoever has the pid now */
    if (!fp_process_stat(sandbox->pid, &process) || process.start_time != sandbox->start_time)
        return fp_fail_with(error, ESRCH, "lock network namespace", "the container has stopped");
    sandbox->network_lock = fp_take_fd(&lock);
    return 0;
}

int fp_vhost_net_open(struct fp_sandbox *sandbox, int64_t slot, struct fp_error *error)
{
    _cleanup_close_ int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "open", "/dev/vhost-net");
    fp_close_guard(&sandbox->slots[slot]);
    sandbox->slots[slot] = fp_take_fd(&fd);
    return 0;
}

int fp_nowhere_open(struct fp_sandbox *sandbox, int64_t slot, struct fp_error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
        return fp_fail(error, "socketpair", "network device");
    close(ends[1]);
    fp_close_guard(&sandbox->slots[slot]);
    sandbox->slots[slot] = ends[0];
    return 0;
}

/* One more descriptor for each queue but the first. */
static int add_queues(struct fp_sandbox *sandbox, const char *path, const char *tap, int64_t slot, int64_t queues,
                      const struct fp_tap_options *options, struct fp_error *error)
{
    for (int64_t queue = 1; queue < queues; queue++) {
        int netlink, tun;
        if (fp_netns_open(path, &netlink, &tun, error) < 0)
            return -1;
        close(netlink);
        _cleanup_close_ int guard = tun;
        if (fp_tap_attach(tun, tap, options, error) < 0)
            return -1;
        fp_close_guard(&sandbox->slots[slot + queue]);
        sandbox->slots[slot + queue] = fp_take_fd(&guard);
    }
    return 0;
}

int fp_link_create(struct fp_sandbox *sandbox, const struct fp_operation *operation, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    const char *tap = argument[1].text, *interface = argument[2].text;
    char path[FP_NETWORK_NAME_MAX], made[FP_DEVICE_NAME_MAX], id[FP_PATH_MAX];
    int netlink, tun;
    fp_sandbox_network(sandbox, path);
    if (fp_netns_open(path, &netlink, &tun, error) < 0)
        return -1;
    _cleanup_close_ int netlink_guard = netlink;
    _cleanup_close_ int tun_guard = tun;
    /* persistent: a monitor that opens it by name needs that, and closing one that is not costs its exit 11-26 ms */
    struct fp_tap_options options = {.uid = argument[5].integer,
                                     .gid = FP_TAP_ANY_ID,
                                     .persist = true,
                                     .vnet_header = (int)argument[6].integer,
                                     .multi_queue = argument[7].integer > 1}; /* offloads: the monitor's business */
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
    return add_queues(sandbox, path, tap, slot, argument[7].integer, &options, error);
}
