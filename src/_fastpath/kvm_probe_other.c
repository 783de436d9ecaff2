// SPDX-License-Identifier: Apache-2.0
// The KVM probe where no guest code is written for the machine yet: what makes a VM is taken to run one.
#include "kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "cleanup.h"

enum fp_kvm fp_kvm_examine(struct fp_error *ret)
{
    signal(SIGALRM, SIG_DFL); /* nothing here should block; if it does, the death is the answer */
    alarm(4);
    _cleanup_close_ int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        fp_fail(ret, "open", "/dev/kvm");
        return FP_KVM_NONE;
    }
    _cleanup_close_ int vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
    if (vm < 0) {
        fp_fail(ret, "KVM_CREATE_VM", "/dev/kvm");
        return FP_KVM_NONE;
    }
    return FP_KVM_FULL;
}
