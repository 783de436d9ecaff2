// SPDX-License-Identifier: Apache-2.0
// The registers of a program that begins (AAPCS64, as the kernel's ELF_PLAT_INIT leaves them).
#include "front.h"

void fp_front_jump(uintptr_t entry, void *stack)
{
    register uintptr_t to __asm__("x16") = entry;
    register void *top __asm__("x17") = stack;
    __asm__ volatile("mov sp, %1\n\t"
                     "mov x0, #0\n\t"
                     "mov x29, #0\n\t"
                     "mov x30, #0\n\t"
                     "br %0"
                     :
                     : "r"(to), "r"(top)
                     : "x0", "memory");
    __builtin_unreachable();
}
