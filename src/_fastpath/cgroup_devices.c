// SPDX-License-Identifier: Apache-2.0
// Devices in cgroup2: a BPF program that the kernel asks at every open and mknod (BPF_PROG_TYPE_CGROUP_DEVICE).
#define _GNU_SOURCE
#include "cgroup.h"

#include "cleanup.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>

enum { RULE_WORDS = 4, RULES_MAX = 512, INSTRUCTIONS_PER_RULE = 8, PROGRAMS_MAX = 64, ALL_ACCESS = 7 };

struct program {
    struct bpf_insn items[RULES_MAX * INSTRUCTIONS_PER_RULE + 16];
    int count;
};

static void add(struct program *program, int code, int dst, int src, int offset, int immediate)
{
    program->items[program->count++] = (struct bpf_insn){.code = (uint8_t)code,
                                                         .dst_reg = (uint8_t)dst & 0xf,
                                                         .src_reg = (uint8_t)src & 0xf,
                                                         .off = (int16_t)offset,
                                                         .imm = immediate};
}

static void add_return(struct program *program, bool allow)
{
    add(program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allow);
    add(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* r2 = type, r3 = access, r4 = major, r5 = minor of struct bpf_cgroup_dev_ctx */
static void add_prologue(struct program *program)
{
    add(program, BPF_LDX | BPF_W | BPF_MEM, BPF_REG_2, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
    add(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
    add(program, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
    add(program, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
    add(program, BPF_LDX | BPF_W | BPF_MEM, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
    add(program, BPF_LDX | BPF_W | BPF_MEM, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

/* An exception that allows holds when nothing else is asked for, one that denies when anything of it is. */
static void add_rule(struct program *program, const int64_t *rule, bool allow)
{
    int jumps[INSTRUCTIONS_PER_RULE], count = 0;
    if (rule[0] != 'a') {
        jumps[count++] = program->count;
        add(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
            rule[0] == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    }
    for (int i = 1; i <= 2; i++)
        if (rule[i] >= 0) {
            jumps[count++] = program->count;
            add(program, BPF_JMP | BPF_JNE | BPF_K, i == 1 ? BPF_REG_4 : BPF_REG_5, 0, 0, (int)rule[i]);
        }
    if ((rule[3] & ALL_ACCESS) != ALL_ACCESS) {
        add(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
        add(program, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, (int)(allow ? ~rule[3] & ALL_ACCESS : rule[3]));
        jumps[count++] = program->count;
        add(program, BPF_JMP | (allow ? BPF_JNE : BPF_JEQ) | BPF_K, BPF_REG_1, 0, 0, 0);
    }
    add_return(program, allow);
    for (int i = 0; i < count; i++)
        program->items[jumps[i]].off = (int16_t)(program->count - jumps[i] - 1);
}

static int bpf(int command, union bpf_attr *attributes)
{
    return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int load(const struct program *program, struct fp_error *error)
{
    union bpf_attr attributes = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                                 .insns = (uintptr_t)program->items,
                                 .insn_cnt = (uint32_t)program->count,
                                 .license = (uintptr_t) "Apache-2.0"};
    int fd = bpf(BPF_PROG_LOAD, &attributes);
    return fd < 0 ? fp_fail(error, "bpf", "device program of the cgroup: the kernel refuses it") : fd;
}

static int attached(int cgroup, uint32_t *ids, uint32_t *ret, struct fp_error *error)
{
    union bpf_attr attributes = {.query = {.target_fd = (uint32_t)cgroup,
                                           .attach_type = BPF_CGROUP_DEVICE,
                                           .prog_ids = (uintptr_t)ids,
                                           .prog_cnt = PROGRAMS_MAX}};
    if (bpf(BPF_PROG_QUERY, &attributes) < 0)
        return fp_fail(error, "bpf", "device programs of the cgroup");
    *ret = attributes.query.prog_cnt;
    return 0;
}

static void detach(int cgroup, uint32_t id)
{
    union bpf_attr by_id = {.prog_id = id};
    _cleanup_close_ int old = bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
    union bpf_attr attributes = {
        .target_fd = (uint32_t)cgroup, .attach_bpf_fd = (uint32_t)old, .attach_type = BPF_CGROUP_DEVICE};
    if (old >= 0)
        bpf(BPF_PROG_DETACH, &attributes);
}

int fp_cgroup_devices(int dirfd, const int64_t *rules, size_t count, struct fp_error *error)
{
    if (count % RULE_WORDS != 1 || count / RULE_WORDS > RULES_MAX)
        return fp_fail_with(error, E2BIG, "cgroup", "device rules");
    _cleanup_close_ int cgroup = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cgroup < 0)
        return fp_fail(error, "open cgroup", NULL);
    _cleanup_free_ struct program *program = calloc(1, sizeof(*program));
    if (!program)
        return fp_fail(error, "bpf", NULL);
    bool allowed = rules[0];
    add_prologue(program);
    for (size_t i = 1; i < count; i += RULE_WORDS)
        add_rule(program, rules + i, !allowed);
    add_return(program, allowed);
    _cleanup_close_ int fd = load(program, error);
    uint32_t ids[PROGRAMS_MAX], before = 0;
    if (fd < 0 || attached(cgroup, ids, &before, error) < 0)
        return -1;
    /* the new one first: there is no moment without any */
    union bpf_attr attributes = {.target_fd = (uint32_t)cgroup,
                                 .attach_bpf_fd = (uint32_t)fd,
                                 .attach_type = BPF_CGROUP_DEVICE,
                                 .attach_flags = BPF_F_ALLOW_MULTI};
    if (bpf(BPF_PROG_ATTACH, &attributes) < 0)
        return fp_fail(error, "bpf", "device program: attach to the cgroup");
    for (uint32_t i = 0; i < before; i++)
        detach(cgroup, ids[i]);
    return 0;
}
