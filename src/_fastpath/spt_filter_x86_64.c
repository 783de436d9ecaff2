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
    X32_BIT = 0x40000000,
    NEXT_RULE = 0xff, /* a jump that the end of its rule gives its length */
    NOT = 0x100,      /* of a condition: that the comparison is false */
};

struct filter {
    size_t count;
    struct sock_filter code[BPF_MAXINSNS]; /* 63 block devices take some 2,600 */
};

/* Of a system call's argument.  No condition has the test 0. */
struct condition {
    enum { IS = BPF_JEQ, IS_NOT = BPF_JEQ | NOT, AT_LEAST = BPF_JGE, AT_MOST = BPF_JGT | NOT } test;
    unsigned argument;
    uint64_t value;
};

static void add(struct filter *filter, unsigned code, uint64_t k, uint8_t if_true, uint8_t if_false)
{
    if (filter->count < BPF_MAXINSNS)
        filter->code[filter->count++] = (struct sock_filter)BPF_JUMP((uint16_t)code, (uint32_t)k, if_true, if_false);
}

/* What struct seccomp_data has `at` that offset, with `k`. */
static void compare(struct filter *filter, size_t at, unsigned how, uint64_t k, uint8_t if_true, uint8_t if_false)
{
    add(filter, BPF_LD | BPF_W | BPF_ABS, at, 0, 0);
    add(filter, BPF_JMP | how | BPF_K, k, if_true, if_false);
}

/* A system call is allowed if the conditions all hold; else the next rule is tried. */
static void allow(struct filter *filter, uint32_t number, const struct condition *condition)
{
    size_t start = filter->count;
    compare(filter, offsetof(struct seccomp_data, nr), BPF_JEQ, number, 0, NEXT_RULE);
    for (; condition->test; condition++) {
        unsigned how = BPF_OP(condition->test);
        uint8_t if_true = condition->test & NOT ? NEXT_RULE : 0, if_false = condition->test & NOT ? 0 : NEXT_RULE;
        size_t low = offsetof(struct seccomp_data, args[condition->argument]);
        /* Descriptors, clocks and codes are 32 bits wide in the kernel: what is above them is not looked at there
         * either.  Of limits all 64 bits count. */
        if (how != BPF_JEQ) {
            compare(filter, low + 4, how, condition->value >> 32, if_true, if_false);
            add(filter, BPF_JMP | BPF_JEQ | BPF_K, condition->value >> 32, 0, 2);
        }
        compare(filter, low, how, condition->value, if_true, if_false);
    }
    add(filter, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    for (size_t i = start; i < filter->count; i++) {
        struct sock_filter *code = &filter->code[i];
        uint8_t length = (uint8_t)(filter->count - i - 1);
        code->jt = code->jt == NEXT_RULE ? length : code->jt;
        code->jf = code->jf == NEXT_RULE ? length : code->jf;
    }
}

#define ALLOW(number, ...) allow(filter, number, (const struct condition[]){__VA_ARGS__, {0}})

static void build(struct filter *filter, const struct spt *spt)
{
    compare(filter, offsetof(struct seccomp_data, arch), BPF_JEQ, AUDIT_ARCH_X86_64, 0, 2);
    compare(filter, offsetof(struct seccomp_data, nr), BPF_JGE, X32_BIT, 0, 1);
    add(filter, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0); /* the SIGSYS handler's way out, too */
    /* No signal mask: a guest that could block TERM could not be stopped. */
    ALLOW(SYS_epoll_pwait, {IS, 0, (uint32_t)spt->epoll_fd}, {AT_MOST, 4, 0});
    ALLOW(SYS_timerfd_settime, {IS, 0, (uint32_t)spt->timer_fd});
    ALLOW(SYS_clock_gettime, {IS, 0, CLOCK_MONOTONIC});
    ALLOW(SYS_clock_gettime, {IS, 0, CLOCK_REALTIME});
    ALLOW(SYS_write, {IS, 0, STDOUT_FILENO});
    for (size_t i = 1; i < spt->guest.manifest.count; i++) {
        const struct fp_solo5_entry *entry = &spt->guest.manifest.entries[i];
        struct condition fd = {IS, 0, (uint32_t)entry->host.fd};
        if (entry->type == FP_SOLO5_NET) {
            ALLOW(SYS_read, fd);
            ALLOW(SYS_write, fd);
        } else { /* one sector, not beyond the size that it had at the start: a guest cannot make a file grow */
            uint64_t size = entry->device.block.sector_size, last = entry->device.block.capacity - size;
            ALLOW(SYS_pread64, fd, {AT_LEAST, 2, size}, {AT_MOST, 2, size}, {AT_MOST, 3, last});
            ALLOW(SYS_pwrite64, fd, {AT_LEAST, 2, size}, {AT_MOST, 2, size}, {AT_MOST, 3, last});
        }
    }
    ALLOW(SYS_arch_prctl, {IS, 0, ARCH_SET_FS});
    /* What the handlers say: bytes that nobody can write. */
    ALLOW(SYS_write, {IS, 0, STDERR_FILENO}, {AT_LEAST, 1, (uint64_t)&spt_words}, {AT_MOST, 1, (uint64_t)spt_words.end},
          {AT_MOST, 2, SPT_WORD_MAX});
    /* Of an abort a handler says so, and exits with another status of the same low byte. */
    ALLOW(SYS_exit_group, {IS_NOT, 0, SPT_STATUS_ABORT});
    add(filter, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
}

int spt_filter(const struct spt *spt, struct fp_error *error)
{
    static struct filter filter;
    build(&filter, spt);
    struct sock_fprog program = {.len = (unsigned short)filter.count, .filter = filter.code};
    if (filter.count == BPF_MAXINSNS) /* and cut there */
        return spt_refuse(error, "seccomp", "too many devices for one filter");
    spt_catch_faults();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fp_fail(error, "no_new_privs", "seccomp");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return fp_fail(error, "filter", "seccomp");
    return 0;
}
