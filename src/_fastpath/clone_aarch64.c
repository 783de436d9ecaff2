// SPDX-License-Identifier: Apache-2.0
// clone3 for aarch64; see clone_x86_64.c.
#include "clone.h"

#if defined(__aarch64__)

long fp_clone3(const struct fp_clone_args *arguments, int (*function)(void *), void *argument)
{
    register long number __asm__("x8") = SYS_clone3;
    register long result __asm__("x0") = (long)arguments;
    register long size __asm__("x1") = sizeof(*arguments);
    register void *x19 __asm__("x19") = (void *)function;
    register void *x20 __asm__("x20") = argument;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x20\n\t"
                     "blr x19\n\t"
                     "mov x8, %[exit]\n\t"
                     "svc #0\n\t"
                     "1:"
                     : "+r"(result)
                     : "r"(number), "r"(size), "r"(x19), "r"(x20), [exit] "i"(SYS_exit)
                     : "memory", "cc");
    return result;
}

#endif
