/* SPDX-License-Identifier: Apache-2.0 */
/* Whether KVM works on this machine, found by running code in it; one file per kind of machine. */
#pragma once

#include "error.h"

/* Nested and paravirtual hosts make VMs and run small guests, but emulate the guest's kernel mode and
 * lack instructions that kernels need: Linux then fails after a minute, floating point at once. */
enum fp_kvm {
    FP_KVM_NONE,    /* no /dev/kvm, no VM, or a VM that runs nothing */
    FP_KVM_LIMITED, /* runs mov, out and hlt */
    FP_KVM_FULL,    /* runs what a kernel runs early */
};

/* Try it, 4 s at most.  `ret` says why the answer is not FP_KVM_FULL: the step, the errno, and what the guest was at.
 * Sets the process's alarm and its handler of SIGALRM, so it is for a program of its own. */
enum fp_kvm fp_kvm_examine(struct fp_error *ret);

static inline enum fp_kvm fp_kvm_probe(void)
{
    struct fp_error ignored = {0};
    return fp_kvm_examine(&ignored);
}

/* All of `urunc-init --probe-kvm`: the exit status is the enum's value.  A caller that sees any other status or
 * a signal takes it for FP_KVM_NONE. */
static inline int fp_kvm_probe_main(void)
{
    return (int)fp_kvm_probe();
}
