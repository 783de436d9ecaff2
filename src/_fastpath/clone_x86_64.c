// SPDX-License-Identifier: Apache-2.0
// clone3 for x86-64: libc has no wrapper, and a C function cannot return on two stacks.
#include "clone.h"

#if defined(__x86_64__)

long fp_clone3(const struct fp_clone_args *arguments, int (*function)(void *), void *argument)
{
    register long result __asm__("rax") = SYS_clone3;
    register const void *rdi __asm__("rdi") = arguments;
    register long rsi __asm__("rsi") = sizeof(*arguments);
    register void *r12 __asm__("r12") = (void *)function;
    register void *r13 __asm__("r13") = argument;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t" /* end of the frames, for unwinders */
                     "and $-16, %%rsp\n\t"  /* the psABI's alignment before a call */
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "mov %%eax, %%edi\n\t"
                     "mov %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "1:"
                     : "+r"(result)
                     : "r"(rdi), "r"(rsi), "r"(r12), "r"(r13), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

#endif
