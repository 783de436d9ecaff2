// SPDX-License-Identifier: Apache-2.0
// The registers of a program that begins (System V ABI, x86-64, 3.4.1).
#include "front.h"

void fp_front_jump(uintptr_t entry, void *stack)
{
    __asm__ volatile("mov %1, %%rsp\n\t"
                     "xor %%edx, %%edx\n\t" /* nothing to register with atexit */
                     "xor %%ebp, %%ebp\n\t"
                     "jmp *%0"
                     :
                     : "a"(entry), "c"(stack)
                     : "rdx", "memory");
    __builtin_unreachable();
}
