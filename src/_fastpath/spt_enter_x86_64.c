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
};

#define NAMED(signal) [signal] = #signal

const struct spt_words spt_words __attribute__((aligned(4096))) = {
    .hex = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"},
    .fault = "urunc-spt: guest fault: ",
    .abort = "urunc-spt: guest aborted\n",
    .call = ": system call 0x",
    .at = " at 0x",
    .instruction = ", instruction at 0x",
    .newline = "\n",
    .signals = {NAMED(SIGSEGV), NAMED(SIGBUS), NAMED(SIGILL), NAMED(SIGFPE), NAMED(SIGTRAP), NAMED(SIGSYS)},
};

/* A text of spt_words: the filter lets no other pass. */
static void say(const char *text)
{
    long number = SYS_write, length = 0;
    while (text[length])
        length++;
    __asm__ volatile("syscall" : "+a"(number) : "D"(STDERR_FILENO), "S"(text), "d"(length) : "rcx", "r11", "memory");
}

static void say_hex(uint64_t value)
{
    int shift = 60;
    while (shift > 0 && value >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        say(spt_words.hex[value >> shift & 0xf]);
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

static noreturn void fault(int number, siginfo_t *info, void *context)
{
    bool call = number == SIGSYS && info->si_code == BY_SECCOMP;
    if (call && info->si_syscall == SYS_exit_group) {
        say(spt_words.abort);
        leave(SPT_STATUS_ABORT | 0x100);
    }
    say(spt_words.fault);
    say(spt_words.signals[number]);
    say(call ? spt_words.call : spt_words.at);
    say_hex(call ? (uint64_t)(unsigned)info->si_syscall : (uint64_t)info->si_addr);
    say(spt_words.instruction);
    say_hex((uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP]);
    say(spt_words.newline);
    /* Die of it: while its handler runs, the same fault once more has no handler. */
    if (number == SIGBUS) /* a stack that is not canonical */
        __asm__ volatile("movabs $0x8000000000000000, %%rsp; push %%rax" : : : "memory");
    if (number == SIGILL)
        __asm__ volatile("ud2");
    if (number == SIGFPE)
        __asm__ volatile("xor %%ecx, %%ecx; div %%ecx" : : : "rax", "rcx", "rdx");
    if (number == SIGTRAP)
        __asm__ volatile("int3");
    if (number == SIGSYS) /* no system call of this machine: the filter kills */
        __asm__ volatile("syscall" : : "a"(0x7fffffffL) : "rcx", "r11", "memory");
    for (;;)
        __asm__ volatile("mov 0, %%eax" : : : "rax"); /* nobody can map page 0 behind the filter */
}

void spt_catch_stop(void)
{
    static const int stops[] = {SIGTERM, SIGINT, SIGHUP};
    static char stack[STACK_SIZE];
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_ONSTACK}, before;
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof(stack)}, NULL);
    for (unsigned i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        sigaction(stops[i], NULL, &before);
        if (stops[i] == SIGTERM || before.sa_handler != SIG_IGN) /* nohup means what it says */
            sigaction(stops[i], &action, NULL);
    }
    sigprocmask(SIG_SETMASK, &action.sa_mask, NULL); /* it is empty */
}

void spt_catch_faults(void)
{
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_ONSTACK | SA_SIGINFO};
    for (int number = 1; number < SPT_SIGNALS; number++)
        if (spt_words.signals[number][0])
            sigaction(number, &action, NULL);
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
