// SPDX-License-Identifier: Apache-2.0
// The seccomp filter: the system calls of the spt ABI, each on the descriptors it is for; see spt.h.
#define _GNU_SOURCE
#include "spt.h"

#include <asm/prctl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CODE_MAX = 4096, /* the kernel's limit; 63 block devices take some 2,300 */
    X32_BIT = 0x40000000,
    NEXT_RULE = 0xff, /* a jump that the end of its rule gives its length */
};

struct filter {
    size_t count, rule; /* rule: where the one being written begins */
    struct sock_filter code[CODE_MAX];
};

static void add(struct filter *filter, unsigned code, uint64_t k, uint8_t if_true, uint8_t if_false)
{
    if (filter->count < CODE_MAX)
        filter->code[filter->count++] = (struct sock_filter)BPF_JUMP((uint16_t)code, (uint32_t)k, if_true, if_false);
}

static void load(struct filter *filter, size_t at)
{
    add(filter, BPF_LD | BPF_W | BPF_ABS, at, 0, 0);
}

/* A rule is a system call and conditions that must all hold; else the next rule is tried. */
static void rule(struct filter *filter, uint32_t number)
{
    filter->rule = filter->count;
    load(filter, offsetof(struct seccomp_data, nr));
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, number, 0, NEXT_RULE);
}

static void rule_end(struct filter *filter, uint32_t verdict)
{
    add(filter, BPF_RET | BPF_K, verdict, 0, 0);
    for (size_t i = filter->rule; i < filter->count; i++) {
        struct sock_filter *code = &filter->code[i];
        uint8_t length = (uint8_t)(filter->count - i - 1);
        code->jt = code->jt == NEXT_RULE ? length : code->jt;
        code->jf = code->jf == NEXT_RULE ? length : code->jf;
    }
}

/* Descriptors, clocks and codes are 32 bits wide in the kernel: what is above them is not looked at there either. */
static void is(struct filter *filter, unsigned argument, uint32_t value)
{
    load(filter, offsetof(struct seccomp_data, args[argument]));
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, value, 0, NEXT_RULE);
}

/* BPF_JGT: at most `value`; BPF_JGE: at least.  All 64 bits count. */
static void limit(struct filter *filter, unsigned argument, unsigned comparison, uint64_t value)
{
    uint8_t if_true = comparison == BPF_JGT ? NEXT_RULE : 0, if_false = comparison == BPF_JGT ? 0 : NEXT_RULE;
    load(filter, offsetof(struct seccomp_data, args[argument]) + 4);
    add(filter, BPF_JMP | comparison | BPF_K, value >> 32, if_true, if_false);
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, value >> 32, 0, 2);
    load(filter, offsetof(struct seccomp_data, args[argument]));
    add(filter, BPF_JMP | comparison | BPF_K, value, if_true, if_false);
}

static void allow(struct filter *filter, uint32_t number, int first_argument)
{
    rule(filter, number);
    is(filter, 0, (uint32_t)first_argument);
    rule_end(filter, SECCOMP_RET_ALLOW);
}

/* One sector, not beyond the size that the device had at the start: a guest cannot make a file grow. */
static void allow_block(struct filter *filter, uint32_t number, const struct fp_solo5_entry *entry)
{
    uint64_t size = entry->device.block.sector_size;
    rule(filter, number);
    is(filter, 0, (uint32_t)entry->host.fd);
    limit(filter, 2, BPF_JGE, size);
    limit(filter, 2, BPF_JGT, size);
    limit(filter, 3, BPF_JGT, entry->device.block.capacity - size);
    rule_end(filter, SECCOMP_RET_ALLOW);
}

static void build(struct filter *filter, const struct spt *spt)
{
    load(filter, offsetof(struct seccomp_data, arch));
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    add(filter, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
    load(filter, offsetof(struct seccomp_data, nr));
    add(filter, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    add(filter, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0); /* the SIGSYS handler's way out, too */
    rule(filter, SYS_epoll_pwait);
    is(filter, 0, (uint32_t)spt->epoll_fd);
    limit(filter, 4, BPF_JGT, 0); /* no signal mask: a guest that could block TERM could not be stopped */
    rule_end(filter, SECCOMP_RET_ALLOW);
    allow(filter, SYS_timerfd_settime, spt->timer_fd);
    allow(filter, SYS_clock_gettime, CLOCK_MONOTONIC);
    allow(filter, SYS_clock_gettime, CLOCK_REALTIME);
    allow(filter, SYS_write, STDOUT_FILENO);
    for (size_t i = 1; i < spt->guest.manifest.count; i++) {
        const struct fp_solo5_entry *entry = &spt->guest.manifest.entries[i];
        if (entry->type == FP_SOLO5_NET) {
            allow(filter, SYS_read, entry->host.fd);
            allow(filter, SYS_write, entry->host.fd);
        } else {
            allow_block(filter, SYS_pread64, entry);
            allow_block(filter, SYS_pwrite64, entry);
        }
    }
    allow(filter, SYS_arch_prctl, ARCH_SET_FS);
    rule(filter, SYS_write); /* what the handlers say: bytes that nobody can write */
    is(filter, 0, STDERR_FILENO);
    limit(filter, 1, BPF_JGE, (uint64_t)&spt_words);
    limit(filter, 1, BPF_JGT, (uint64_t)spt_words.end);
    limit(filter, 2, BPF_JGT, SPT_WORD_MAX);
    rule_end(filter, SECCOMP_RET_ALLOW);
    rule(filter, SYS_exit_group); /* an abort: a handler says so and exits with another status of the same low byte */
    is(filter, 0, SPT_STATUS_ABORT);
    rule_end(filter, SECCOMP_RET_TRAP);
    rule(filter, SYS_exit_group);
    rule_end(filter, SECCOMP_RET_ALLOW);
    add(filter, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
}

int spt_filter(const struct spt *spt, struct fp_error *error)
{
    static struct filter filter;
    build(&filter, spt);
    struct sock_fprog program = {.len = (unsigned short)filter.count, .filter = filter.code};
    if (filter.count == CODE_MAX) /* and cut there */
        return spt_refuse(error, "seccomp", "too many devices for one filter");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return spt_fail(error, "seccomp", "no_new_privs");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return spt_fail(error, "seccomp", "filter");
    return 0;
}
