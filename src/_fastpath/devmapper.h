/* SPDX-License-Identifier: Apache-2.0 */
/* A block device, found by its number: what sysfs says, and what device-mapper itself says of one of its own. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

enum fp_device_kind {
    FP_DEVICE_OTHER,  /* a disk, a partition */
    FP_DEVICE_LOOP,   /* a file */
    FP_DEVICE_MAPPED, /* of device-mapper, but no thin volume */
    FP_DEVICE_THIN,   /* a thin volume of a pool: containerd's devmapper snapshot */
};

struct fp_device {
    enum fp_device_kind kind;
    unsigned major, minor;
    char name[128]; /* device-mapper's, the kernel's for others: "containerd-pool-snap-3", "loop0" */
    uint64_t size;  /* bytes */
    bool read_only;
    unsigned pool_major, pool_minor; /* of a thin volume */
    uint32_t thin_id;
};

/* Find out what the device is.  ENXIO: there is none of that number.  For one of device-mapper's its own ioctl has the
 * last word: EINVAL with a sentence if it is suspended, or if it and sysfs do not name the same device. */
int fp_device_read(unsigned major, unsigned minor, struct fp_device *ret, struct fp_error *error);
