// SPDX-License-Identifier: Apache-2.0
// Block devices; see devmapper.h.
#define _GNU_SOURCE
#include "devmapper.h"

#include "cleanup.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define CONTROL "/dev/mapper/control"
enum { SECTOR = 512, TABLE_MAX = 16 << 10 };

/* One line of a file of the device in sysfs; 0, or -1 with errno. */
static int read_attribute(int directory, const char *name, char *ret, size_t size)
{
    _cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, ret, size - 1);
    if (got < 0)
        return -1;
    ret[got] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    return 0;
}

static void read_name(int directory, char ret[static 128])
{
    char events[1024];
    ret[0] = '\0';
    _cleanup_close_ int fd = openat(directory, "uevent", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, events, sizeof(events) - 1);
    if (got <= 0)
        return;
    events[got] = '\0';
    const char *found = strstr(events, "DEVNAME=");
    if (found)
        sscanf(found, "DEVNAME=%127s", ret);
}

/* dm_ioctl.dev is huge_encode_dev() of include/linux/kdev_t.h. */
static uint64_t encoded(unsigned major, unsigned minor)
{
    return (minor & 0xff) | (uint64_t)major << 8 | (uint64_t)(minor & ~0xffu) << 12;
}

/* include/uapi/linux/dm-ioctl.h: DM_TABLE_STATUS with DM_STATUS_TABLE_FLAG gives each target's line of the table.  Not
 * flushing keeps a full pool from making us wait. */
static int ask_device_mapper(struct fp_device *device, struct fp_error *error)
{
    union {
        struct dm_ioctl header;
        char bytes[TABLE_MAX];
    } * answer;
    _cleanup_free_ void *memory = answer = calloc(1, sizeof(*answer));
    _cleanup_close_ int control = open(CONTROL, O_RDWR | O_CLOEXEC);
    if (!answer || control < 0)
        return fp_fail(error, "open", CONTROL);
    answer->header = (struct dm_ioctl){.version = {DM_VERSION_MAJOR, 0, 0},
                                       .data_size = sizeof(*answer),
                                       .data_start = sizeof(answer->header),
                                       .flags = DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG,
                                       .dev = encoded(device->major, device->minor)};
    if (ioctl(control, DM_TABLE_STATUS, &answer->header) < 0)
        return fp_fail(error, "ask device-mapper", device->name);
    if (strncmp(answer->header.name, device->name, sizeof(answer->header.name)) != 0)
        return fp_fail_with(error, EINVAL, "device-mapper has another name for the device", answer->header.name);
    if (answer->header.flags & DM_SUSPEND_FLAG)
        return fp_fail_with(error, EINVAL, "the device is suspended", device->name);
    const struct dm_target_spec *target = (const void *)(answer->bytes + answer->header.data_start);
    size_t end = answer->header.data_start + sizeof(*target);
    device->kind = FP_DEVICE_MAPPED;
    if (answer->header.flags & DM_BUFFER_FULL_FLAG || answer->header.target_count != 1 || end >= sizeof(*answer))
        return 0;
    const char *parameters = answer->bytes + end;
    if (strncmp(target->target_type, "thin", sizeof(target->target_type)) == 0 &&
        memchr(parameters, '\0', sizeof(*answer) - end) &&
        sscanf(parameters, "%u:%u %u", &device->pool_major, &device->pool_minor, &device->thin_id) == 3)
        device->kind = FP_DEVICE_THIN;
    return 0;
}

int fp_device_read(unsigned major, unsigned minor, struct fp_device *ret, struct fp_error *error)
{
    char path[64], text[64];
    *ret = (struct fp_device){.major = major, .minor = minor};
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major, minor);
    _cleanup_close_ int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return fp_fail_with(error, errno == ENOENT ? ENXIO : errno, "open", path);
    if (read_attribute(directory, "size", text, sizeof(text)) < 0)
        return fp_fail(error, "read", path);
    ret->size = strtoull(text, NULL, 10) * SECTOR;
    ret->read_only = read_attribute(directory, "ro", text, sizeof(text)) == 0 && text[0] == '1';
    if (read_attribute(directory, "dm/name", ret->name, sizeof(ret->name)) == 0)
        return ask_device_mapper(ret, error);
    read_name(directory, ret->name);
    ret->kind = faccessat(directory, "loop", F_OK, 0) == 0 ? FP_DEVICE_LOOP : FP_DEVICE_OTHER;
    return 0;
}
