// SPDX-License-Identifier: Apache-2.0
// The KVM probe as a program, for tests and for people; --verbose says why.  Not installed.
#include <stdio.h>
#include <string.h>

#include "../../src/_fastpath/kvm_probe.h"

int main(int argc, char **argv)
{
    static const char *const names[] = {"none", "limited", "full"};
    if (argc < 2 || strcmp(argv[1], "--verbose") != 0)
        return fp_kvm_probe_main();
    struct fp_error why = {0};
    enum fp_kvm kvm = fp_kvm_examine(&why);
    printf("%s\n", names[kvm]);
    if (why.number)
        printf("%s: %s: %s\n", why.step, why.path, strerror(why.number));
    return (int)kvm;
}
