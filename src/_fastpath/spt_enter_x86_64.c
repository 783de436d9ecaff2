// SPDX-License-Identifier: Apache-2.0
// The jump into the guest, and what the guest's end looks like from outside: signals by name; see spt.h.
// The handlers run behind the filter, on a stack of their own, without thread-local storage (the guest has %fs): they
// make system calls by hand and never return, because rt_sigreturn would let a guest block signals.
#define _GNU_SOURCE
#include "spt.h"

#include <asm/prctl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    STACK_SIZE = 64 << 10, /* the kernel puts the vector registers there: 11 KiB with AMX */
    BY_SECCOMP = 1,        /* si_code; SYS_SECCOMP is not in every libc */
    SAY_FAULT = 0,
    SAY_ABORT,
    SAY_CALL,
    SAY_AT,
    SAY_INSTRUCTION,
    SAY_NEWLINE,
    SAY_SIGNALS,
};

static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};

const struct spt_words spt_words __attribute__((aligned(4096))) = {
    "0123456789abcdef",
    {"urunc-spt: guest fault: ", "urunc-spt: guest aborted\n", ": system call 0x", " at 0x", ", instruction at 0x",
     "\n", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS"},
    "",
};

static void say_bytes(const char *bytes, long length)
{
    long number = SYS_write;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"((long)STDERR_FILENO), "S"(bytes), "d"(length)
                     : "rcx", "r11", "memory");
}

static void say(unsigned row)
{
    long length = 0;
    while (spt_words.rows[row][length])
        length++;
    say_bytes(spt_words.rows[row], length);
}

static void say_hex(uint64_t value)
{
    int shift = 60;
    while (shift > 0 && value >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        say_bytes(&spt_words.hex[value >> shift & 0xf], 1);
}

static noreturn void leave(long status)
{
    for (;;)
        __asm__ volatile("syscall" : : "a"((long)SYS_exit_group), "D"(status) : "rcx", "r11", "memory");
}

static noreturn void stop(int number)
{
    leave(128 + number);
}

/* Die of `number`: while its handler runs, the same fault once more has no handler. */
static noreturn void die(int number)
{
    switch (number) {
    case SIGBUS: /* a stack that is not canonical */
        __asm__ volatile("movabs $0x8000000000000000, %%rsp; push %%rax" : : : "memory");
        break;
    case SIGILL:
        __asm__ volatile("ud2");
        break;
    case SIGFPE:
        __asm__ volatile("xor %%ecx, %%ecx; div %%ecx" : : : "rax", "rcx", "rdx");
        break;
    case SIGTRAP:
        __asm__ volatile("int3");
        break;
    case SIGSYS: /* no system call of this machine: the filter kills */
        __asm__ volatile("syscall" : : "a"(0x7fffffffL) : "rcx", "r11", "memory");
        break;
    }
    for (;;)
        __asm__ volatile("mov 0, %%eax" : : : "rax"); /* nobody can map page 0 behind the filter */
}

static void fault(int number, siginfo_t *info, void *context)
{
    uint64_t instruction = (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    bool call = number == SIGSYS && info->si_code == BY_SECCOMP;
    if (call && info->si_syscall == SYS_exit_group) {
        say(SAY_ABORT);
        leave(SPT_STATUS_ABORT | 0x100);
    }
    say(SAY_FAULT);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        if (faults[i] == number)
            say(SAY_SIGNALS + i);
    say(call ? SAY_CALL : SAY_AT);
    say_hex(call ? (uint64_t)(unsigned)info->si_syscall : (uint64_t)info->si_addr);
    say(SAY_INSTRUCTION);
    say_hex(instruction);
    say(SAY_NEWLINE);
    die(number);
}

void spt_catch_stop(void)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGHUP};
    static char stack[STACK_SIZE];
    sigset_t none;
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_ONSTACK}, before;
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof(stack)}, NULL);
    for (unsigned i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        sigaction(stops[i], NULL, &before);
        if (stops[i] == SIGTERM || before.sa_handler != SIG_IGN) /* nohup means what it says */
            sigaction(stops[i], &action, NULL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void spt_catch_faults(void)
{
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_ONSTACK | SA_SIGINFO};
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigaction(faults[i], &action, NULL);
}

/* With nothing of ours in any register: %fs is 0 until the guest sets it, and the vector registers were never used
 * (this program is compiled for general registers only). */
noreturn void spt_enter(uint64_t entry, uint64_t stack, uint64_t boot_info)
{
    register uint64_t r12 __asm__("r12") = stack, r13 __asm__("r13") = boot_info, r14 __asm__("r14") = entry;
    __asm__ volatile("syscall; mov %%r12, %%rsp; mov %%r13, %%rdi; mov %%r14, %%rax\n"
                     ".irp register, rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15\n"
                     "xor %%\\register, %%\\register\n"
                     ".endr\n"
                     "jmp *%%rax"
                     :
                     : "a"((long)SYS_arch_prctl), "D"((long)ARCH_SET_FS), "S"(0L), "r"(r12), "r"(r13), "r"(r14)
                     : "memory");
    __builtin_unreachable();
}
