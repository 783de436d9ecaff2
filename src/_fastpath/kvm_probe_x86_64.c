// SPDX-License-Identifier: Apache-2.0
// The KVM probe for x86-64: a vCPU in long mode that runs what kernels run early; see kvm_probe.h.
#include "kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "cleanup.h"

/* The guest's memory: tables that map the first 2 MiB onto themselves, code, scratch, stack. */
enum {
    PML4 = 0x1000,
    PDPT = 0x2000,
    PD = 0x3000,
    CODE = 0x4000,
    SCRATCH = 0x5000,
    STACK_TOP = 0x8000,
    MEMORY_SIZE = 0x8000,
};

enum {
    PORT = 0xf4,     /* the guest announces here what it does next: an index of `steps` */
    EXITS_MAX = 64,  /* more than steps: a guest that loops is one that fails */
    TIMEOUT_S = 2,   /* per run; a good one takes less than 1 ms, an emulated one 30 */
    CPUID_MAX = 256, /* entries; KVM's own limit */
    STEP_DONE = 10,
};

static const char *const steps[STEP_DONE + 1] = {
    "the first instruction",
    "movaps and movups",
    "fxsave and fxrstor",
    "lock cmpxchg16b",
    "rdmsr IA32_EFER",
    "wrmsr MSR_FS_BASE",
    "rdmsr IA32_ARCH_CAPABILITIES",
    "cpuid",
    "mov to cr3 and cr4, invlpg",
    "lgdt, lidt, int3 and iretq",
    "hlt",
};

/* Two programs, at CODE, independent of their address.  On entry: rsp = STACK_TOP, rdi = SCRATCH, zeroed,
 * esi = 1 if the CPU has IA32_ARCH_CAPABILITIES.  Every result is compared; a wrong one ends in ud2, and as there is
 * no interrupt table until the last step, that and every fault end in a triple fault: KVM_EXIT_SHUTDOWN. */
extern const uint8_t fp_kvm_simple[] __attribute__((visibility("hidden")));
extern const uint8_t fp_kvm_kernel[] __attribute__((visibility("hidden")));
extern const uint8_t fp_kvm_end[] __attribute__((visibility("hidden")));
__asm__(".pushsection .rodata\n"
        ".macro fp_step number\n"
        "    mov $\\number, %al\n"
        "    out %al, $0xf4\n"
        ".endm\n"
        ".hidden fp_kvm_simple, fp_kvm_kernel, fp_kvm_end\n"
        ".globl fp_kvm_simple, fp_kvm_kernel, fp_kvm_end\n"
        "fp_kvm_simple:\n"
        "    fp_step 10\n"
        "    hlt\n"
        "fp_kvm_kernel:\n"
        "    fp_step 1\n"
        "    movabs $0x0123456789abcdef, %r8\n"
        "    mov %r8, (%rdi)\n"
        "    mov %r8, 8(%rdi)\n"
        "    movaps (%rdi), %xmm0\n"
        "    movaps %xmm0, 16(%rdi)\n"
        "    movups 16(%rdi), %xmm1\n"
        "    movups %xmm1, 33(%rdi)\n"
        "    cmp %r8, 33(%rdi)\n"
        "    jne 9f\n"
        "    cmp %r8, 41(%rdi)\n"
        "    jne 9f\n"
        "    fp_step 2\n"
        "    fxsave 512(%rdi)\n"
        "    xorps %xmm1, %xmm1\n"
        "    fxrstor 512(%rdi)\n"
        "    movups %xmm1, 64(%rdi)\n"
        "    cmp %r8, 64(%rdi)\n"
        "    jne 9f\n"
        "    fp_step 3\n"
        "    mov %r8, %rax\n"
        "    mov %r8, %rdx\n"
        "    mov $5, %ebx\n"
        "    mov $6, %ecx\n"
        "    lock cmpxchg16b (%rdi)\n"
        "    jne 9f\n"
        "    cmpq $5, (%rdi)\n"
        "    jne 9f\n"
        "    cmpq $6, 8(%rdi)\n"
        "    jne 9f\n"
        "    fp_step 4\n"
        "    mov $0xc0000080, %ecx\n"
        "    rdmsr\n"
        "    test $0x400, %eax\n" /* LMA: we are in long mode */
        "    jz 9f\n"
        "    fp_step 5\n"
        "    mov $0xc0000100, %ecx\n"
        "    mov %edi, %eax\n"
        "    xor %edx, %edx\n"
        "    wrmsr\n"
        "    rdmsr\n"
        "    cmp %edi, %eax\n"
        "    jne 9f\n"
        "    cmpq $5, %fs:0\n"
        "    jne 9f\n"
        "    test %esi, %esi\n"
        "    jz 1f\n"
        "    fp_step 6\n"
        "    mov $0x10a, %ecx\n"
        "    rdmsr\n"
        "1:  fp_step 7\n"
        "    mov $1, %eax\n"
        "    xor %ecx, %ecx\n"
        "    cpuid\n"
        "    test $0x2000, %ecx\n" /* CMPXCHG16B, which has just worked */
        "    jz 9f\n"
        "    fp_step 8\n"
        "    mov %cr3, %rax\n"
        "    mov %rax, %cr3\n"
        "    mov %cr4, %rax\n"
        "    or $0x80, %rax\n" /* PGE */
        "    mov %rax, %cr4\n"
        "    invlpg (%rdi)\n"
        "    fp_step 9\n"
        "    lea 4f(%rip), %rax\n" /* the table's base, behind its limit */
        "    mov %rax, 3f+2(%rip)\n"
        "    lgdt 3f(%rip)\n"
        "    lea 2f(%rip), %rax\n" /* the gate of int3, number 3, in a table at 2048(%rdi) */
        "    mov %ax, 2096(%rdi)\n"
        "    movl $0x8e000008, 2098(%rdi)\n" /* offset follows in 2 and 4 bytes */
        "    shr $16, %rax\n"
        "    mov %ax, 2102(%rdi)\n"
        "    movw $63, 3072(%rdi)\n"
        "    lea 2048(%rdi), %rax\n"
        "    mov %rax, 3074(%rdi)\n"
        "    lidt 3072(%rdi)\n"
        "    xor %ebx, %ebx\n"
        "    int3\n"
        "    cmp $7, %ebx\n"
        "    jne 9f\n"
        "    fp_step 10\n"
        "    hlt\n"
        "2:  mov $7, %ebx\n"
        "    iretq\n"
        "9:  ud2\n"
        ".balign 8\n"
        "3:  .word 23\n"
        "    .quad 0\n"
        ".balign 8\n"
        "4:  .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n" /* code 8, data 16 */
        "fp_kvm_end:\n"
        ".purgem fp_step\n"
        ".popsection\n");

struct machine {
    int vcpu;
    uint8_t *memory;
    struct kvm_run *run;
    struct kvm_cpuid2 *cpuid;
    size_t run_size;
};

/* For the handler: without it a signal just before KVM_RUN would be missed. */
static struct kvm_run *volatile running;

static void stop_running(int signal)
{
    (void)signal;
    if (running)
        running->immediate_exit = 1;
}

static void machine_deinit(struct machine *machine)
{
    running = NULL;
    if (machine->run)
        munmap(machine->run, machine->run_size);
    if (machine->memory)
        munmap(machine->memory, MEMORY_SIZE);
    if (machine->vcpu >= 0)
        close(machine->vcpu);
    free(machine->cpuid);
}

static void *map(size_t size, int flags, int fd)
{
    void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    return mapping == MAP_FAILED ? NULL : mapping;
}

/* What KVM offers the vCPU: without it KVM has no long mode, no SSE and no cmpxchg16b to give. */
static int set_cpuid(int kvm, struct machine *machine, struct fp_error *error)
{
    machine->cpuid = calloc(1, sizeof(*machine->cpuid) + CPUID_MAX * sizeof(machine->cpuid->entries[0]));
    if (!machine->cpuid)
        return fp_fail(error, "malloc", NULL);
    machine->cpuid->nent = CPUID_MAX;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, machine->cpuid) < 0)
        return fp_fail(error, "KVM_GET_SUPPORTED_CPUID", NULL);
    if (ioctl(machine->vcpu, KVM_SET_CPUID2, machine->cpuid) < 0)
        return fp_fail(error, "KVM_SET_CPUID2", NULL);
    return 0;
}

static int machine_init(int kvm, int vm, struct machine *ret, struct fp_error *error)
{
    *ret = (struct machine){.vcpu = -1};
    ret->memory = map(MEMORY_SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);
    if (!ret->memory)
        return fp_fail(error, "mmap", NULL);
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_SIZE, .userspace_addr = (uintptr_t)ret->memory};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return fp_fail(error, "KVM_SET_USER_MEMORY_REGION", NULL);
    ret->vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
    if (ret->vcpu < 0)
        return fp_fail(error, "KVM_CREATE_VCPU", NULL);
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL);
    if (size < (int)sizeof(*ret->run))
        return fp_fail(error, "KVM_GET_VCPU_MMAP_SIZE", NULL);
    ret->run_size = (size_t)size;
    ret->run = map(ret->run_size, MAP_SHARED, ret->vcpu);
    if (!ret->run)
        return fp_fail(error, "mmap", "the vCPU");
    running = ret->run;
    return set_cpuid(kvm, ret, error);
}

/* CPUID leaf 7 says in EDX bit 29 whether MSR 0x10a exists. */
static uint64_t has_arch_capabilities(const struct kvm_cpuid2 *cpuid)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
        if (entry->function == 7 && entry->index == 0)
            return entry->edx >> 29 & 1;
    }
    return 0;
}

static void write_memory(uint8_t *memory)
{
    const uint64_t pml4 = PDPT | 3, pdpt = PD | 3, pd = 0 | 0x83; /* present, writable; 2 MiB page */
    memset(memory, 0, MEMORY_SIZE);
    memcpy(memory + PML4, &pml4, sizeof(pml4));
    memcpy(memory + PDPT, &pdpt, sizeof(pdpt));
    memcpy(memory + PD, &pd, sizeof(pd));
    memcpy(memory + CODE, fp_kvm_simple, (size_t)(fp_kvm_end - fp_kvm_simple));
}

/* Long mode with flat segments, SSE on, interrupts off, about to run `code`. */
static int set_registers(struct machine *machine, const uint8_t *code, struct fp_error *error)
{
    struct kvm_segment flat = {.limit = 0xffffffff, .type = 3, .present = 1, .s = 1, .g = 1, .selector = 16, .db = 1};
    struct kvm_sregs system;
    if (ioctl(machine->vcpu, KVM_GET_SREGS, &system) < 0)
        return fp_fail(error, "KVM_GET_SREGS", NULL);
    system.ds = system.es = system.fs = system.gs = system.ss = flat;
    system.cs = flat;
    system.cs.selector = 8;
    system.cs.type = 11;
    system.cs.l = 1;
    system.cs.db = 0;
    system.idt.limit = 0;
    system.cr0 = 0x80010033; /* PG WP NE ET MP PE */
    system.cr3 = PML4;
    system.cr4 = 0x620;  /* OSXMMEXCPT OSFXSR PAE */
    system.efer = 0x500; /* LMA LME */
    if (ioctl(machine->vcpu, KVM_SET_SREGS, &system) < 0)
        return fp_fail(error, "KVM_SET_SREGS", NULL);
    struct kvm_regs registers = {.rip = CODE + (uint64_t)(code - fp_kvm_simple),
                                 .rsp = STACK_TOP,
                                 .rdi = SCRATCH,
                                 .rsi = has_arch_capabilities(machine->cpuid),
                                 .rflags = 2};
    if (ioctl(machine->vcpu, KVM_SET_REGS, &registers) < 0)
        return fp_fail(error, "KVM_SET_REGS", NULL);
    return 0;
}

static const char *exit_name(uint32_t reason)
{
    switch (reason) {
    case KVM_EXIT_SHUTDOWN:
        return "KVM_RUN: triple fault";
    case KVM_EXIT_INTERNAL_ERROR:
        return "KVM_RUN: not emulated";
    case KVM_EXIT_FAIL_ENTRY:
        return "KVM_RUN: entry failed";
    default:
        return "KVM_RUN: unexpected exit";
    }
}

/* Run `code` to its hlt. */
static int run_guest(struct machine *machine, const uint8_t *code, struct fp_error *error)
{
    unsigned step = 0;
    struct kvm_run *run = machine->run;
    write_memory(machine->memory);
    if (set_registers(machine, code, error) < 0)
        return -1;
    alarm(TIMEOUT_S);
    for (int i = 0; i < EXITS_MAX; i++) {
        if (ioctl(machine->vcpu, KVM_RUN, 0UL) < 0)
            return fp_fail_with(error, errno == EINTR ? ETIMEDOUT : errno, "KVM_RUN", steps[step]);
        if (run->exit_reason == KVM_EXIT_HLT && step == STEP_DONE)
            return 0;
        if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT || run->io.port != PORT)
            return fp_fail_with(error, EOPNOTSUPP, exit_name(run->exit_reason), steps[step]);
        step = ((uint8_t *)run)[run->io.data_offset];
        if (step > STEP_DONE)
            return fp_fail_with(error, EPROTO, "KVM_RUN", "a step that does not exist");
    }
    return fp_fail_with(error, ELOOP, "KVM_RUN", steps[step]);
}

static int open_vm(int *kvm, int *ret, struct fp_error *error)
{
    *kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (*kvm < 0)
        return fp_fail(error, "open", "/dev/kvm");
    if (ioctl(*kvm, KVM_GET_API_VERSION, 0UL) != KVM_API_VERSION)
        return fp_fail_with(error, EPROTO, "KVM_GET_API_VERSION", "/dev/kvm");
    *ret = ioctl(*kvm, KVM_CREATE_VM, 0UL);
    return *ret < 0 ? fp_fail(error, "KVM_CREATE_VM", "/dev/kvm") : 0;
}

enum fp_kvm fp_kvm_examine(struct fp_error *ret)
{
    _cleanup_close_ int kvm = -1, vm = -1;
    struct sigaction action = {.sa_handler = stop_running}; /* without SA_RESTART: it ends ioctl and open */
    sigaction(SIGALRM, &action, NULL);
    alarm(TIMEOUT_S);
    if (open_vm(&kvm, &vm, ret) < 0)
        return FP_KVM_NONE;
    __attribute__((cleanup(machine_deinit))) struct machine machine;
    if (machine_init(kvm, vm, &machine, ret) < 0 || run_guest(&machine, fp_kvm_simple, ret) < 0)
        return FP_KVM_NONE;
    return run_guest(&machine, fp_kvm_kernel, ret) < 0 ? FP_KVM_LIMITED : FP_KVM_FULL;
}
