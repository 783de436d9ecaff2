// SPDX-License-Identifier: Apache-2.0
// Denied system calls, told to the companion; see unotify.h.
#define _GNU_SOURCE
#include "unotify.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

/* What a program answers to a call whatever its arguments; 0, which is to kill, where they matter, and for a program of
 * another kind than libseccomp and calls.py write. */
static uint32_t answer(const struct sock_fprog *program, const struct seccomp_data *data)
{
    uint32_t value = 0;
    for (unsigned at = 0; at < program->len; at++) {
        const struct sock_filter *row = &program->filter[at];
        uint32_t k = row->k;
        switch (row->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (k != offsetof(struct seccomp_data, nr) && k != offsetof(struct seccomp_data, arch))
                return 0;
            memcpy(&value, (const char *)data + k, sizeof(value));
            break;
        case BPF_JMP | BPF_JA:
            at += k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += value == k ? row->jt : row->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            at += value >= k ? row->jt : row->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            at += value > k ? row->jt : row->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            at += value & k ? row->jt : row->jf;
            break;
        case BPF_RET | BPF_K:
            return k;
        default:
            return 0;
        }
    }
    return 0;
}

bool fp_unotify_rewrite(const struct sock_fprog *program, struct sock_filter *ret)
{
    const struct seccomp_data message = {.nr = SYS_sendmsg, .arch = ARCHITECTURE};
    bool kills = false;
    if (program->len > FP_UNOTIFY_MAX || answer(program, &message) != SECCOMP_RET_ALLOW)
        return false;
    for (unsigned at = 0; at < program->len; at++) {
        ret[at] = program->filter[at];
        if (ret[at].code == (BPF_RET | BPF_K) && ret[at].k == SECCOMP_RET_KILL_PROCESS) {
            ret[at].k = SECCOMP_RET_USER_NOTIF;
            kills = true;
        }
    }
    return kills;
}

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int fp_unotify_send(int socket, int listener, struct fp_error *error)
{
    union control control = {
        .header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &listener, sizeof(listener));
    char byte = 0;
    struct iovec part = {&byte, sizeof(byte)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)};
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    int number = errno;
    close(listener);
    return sent < 0 ? fp_fail_with(error, number, "tell the companion", "the filter of the monitor") : 0;
}

int fp_unotify_receive(int socket)
{
    int listener = -1;
    for (;;) {
        struct pollfd both[] = {{.fd = socket, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
        if (poll(both, 2, -1) < 0)
            continue;
        if (both[1].revents & POLLIN)
            return listener;
        if (!both[0].revents)
            continue;
        union control control;
        char byte;
        struct iovec part = {&byte, sizeof(byte)};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)};
        ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            return listener;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && listener < 0)
            memcpy(&listener, CMSG_DATA(header), sizeof(listener));
    }
}

bool fp_unotify_read(int listener, int *ret)
{
    union {
        struct seccomp_notif call;
        char room[512]; /* a kernel of the future may say more (SECCOMP_GET_NOTIF_SIZES) */
    } waiting;
    memset(&waiting, 0, sizeof(waiting)); /* the kernel insists */
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &waiting) < 0)
        return false;
    *ret = waiting.call.data.arch == ARCHITECTURE ? waiting.call.data.nr : -1;
    return true;
}
