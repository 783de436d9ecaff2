// SPDX-License-Identifier: Apache-2.0
// Ends with the status that its command line names.
#include "spt.h"

DEVICES(0)

static int run(const struct boot *boot)
{
    print("exiting\n");
    return (int)number(boot->cmdline);
}
