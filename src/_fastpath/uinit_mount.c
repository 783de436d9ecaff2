// SPDX-License-Identifier: Apache-2.0
// uinit: modules, the root file system, and what is mounted on it; see uinit.h.
#define _GNU_SOURCE
#include "cleanup.h"
#include "kernel.h"
#include "uinit.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#define ROOT  FP_UINIT_DIRECTORY "/root"
#define SHARE FP_UINIT_DIRECTORY "/share"

enum { FINIT_COMPRESSED = 4, DEVICE_TRIES = 500, DEVICE_PAUSE_NS = 20 * 1000 * 1000, BINDS_MAX = 256 };

/* What every program expects, beside what the configuration says. */
static const struct {
    const char *type, *target, *data;
    unsigned long flags;
    mode_t mode;
    bool needed;
} own[] = {
    {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, true},
    {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, true},
    {"devtmpfs", "/dev", "mode=0755", MS_NOSUID, 0755, true},
    {"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC, 0755, false},
    {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, 01777, false},
    {"mqueue", "/dev/mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0755, false},
};

int uinit_mount_own(struct fp_error *error)
{
    umask(0);
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
        mkdir(own[i].target, own[i].mode);
        int status = mount(own[i].type, own[i].target, own[i].type, own[i].flags, own[i].data);
        if (status < 0 && errno != EBUSY && own[i].needed)
            return fp_fail(error, "mount", own[i].target);
    }
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},       {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
    };
    unlink("/dev/ptmx"); /* devtmpfs has a node of the first instance there */
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
        symlink(links[i][0], links[i][1]);
    return 0;
}

static int load_module(int directory, const char *name, struct fp_error *error)
{
    size_t length = strlen(name);
    bool plain = length > 3 && strcmp(name + length - 3, ".ko") == 0;
    _cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "open module", name);
    if (syscall(SYS_finit_module, fd, "", plain ? 0 : FINIT_COMPRESSED) < 0 && errno != EEXIST)
        return fp_fail(error, "load module", name);
    return 0;
}

static int is_module(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int uinit_load_modules(struct fp_error *error)
{
    struct dirent **names;
    int count = scandir(FP_UINIT_MODULES, &names, is_module, alphasort);
    if (count < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open", FP_UINIT_MODULES);
    _cleanup_close_ int directory = open(FP_UINIT_MODULES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < count; i++)
        if (load_module(directory, names[i]->d_name, error) < 0)
            return -1;
    return 0;
}

/* A device may come a little after its driver. */
static int mount_device(const struct uinit_directive *from, const char *target, struct fp_error *error)
{
    const struct timespec pause = {.tv_nsec = DEVICE_PAUSE_NS};
    mkdir(target, 0755);
    for (int tries = DEVICE_TRIES;; tries--) {
        if (mount(from->text[1], target, from->text[0], from->number[2], from->text[3]) == 0)
            return 0;
        if (!tries || (errno != ENOENT && errno != ENXIO && errno != ENOTBLK))
            return fp_fail(error, errno == ENODEV ? "the kernel has no file system" : "mount", from->text[0]);
        nanosleep(&pause, NULL);
    }
}

/* Make `path` something that can be mounted on, as runc does; what is there already serves. */
static int make_target(const char *path, bool directory, struct fp_error *error)
{
    char text[4096];
    struct stat status;
    if (stat(path, &status) == 0)
        return 0;
    if (strlen(path) >= sizeof(text))
        return fp_fail_with(error, ENAMETOOLONG, "mkdir", path);
    strcpy(text, path);
    for (char *at = text + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = '\0';
        if (mkdir(text, 0755) < 0 && errno != EEXIST)
            return fp_fail(error, "mkdir", text);
    }
    if (directory)
        return mkdir(path, 0755) < 0 && errno != EEXIST ? fp_fail(error, "mkdir", path) : 0;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? fp_fail(error, "create", path) : 0;
}

static int bind_one(int source, const struct uinit_directive *bind, struct fp_error *error)
{
    char from[32];
    const char *target = bind->text[1];
    unsigned long flags = bind->number[2];
    snprintf(from, sizeof(from), "/proc/self/fd/%d", source);
    if (make_target(target, bind->number[3], error) < 0)
        return -1;
    if (mount(from, target, NULL, MS_BIND | MS_REC, NULL) < 0)
        return fp_fail(error, "bind", target);
    if (flags && mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | flags, NULL) < 0)
        return fp_fail(error, "remount", target);
    return 0;
}

/* What is bound, opened while it can be reached: in the order of the directives. */
static int open_sources(const struct uinit_config *config, int *ret, struct fp_error *error)
{
    struct uinit_directive found;
    int count = 0;
    for (size_t offset = 0; uinit_config_next(config, UINIT_COUNT, &offset, &found);) {
        char path[4096];
        if (found.code != UINIT_FROM_INITRD && found.code != UINIT_FROM_SHARE)
            continue;
        const char *below = found.code == UINIT_FROM_SHARE ? SHARE : "";
        if (count == BINDS_MAX || snprintf(path, sizeof(path), "%s%s", below, found.text[0]) >= (int)sizeof(path))
            return fp_fail_with(error, E2BIG, "mounts", found.text[1]);
        if ((ret[count++] = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW)) < 0)
            return fp_fail(error, "open", path);
    }
    return 0;
}

static int mount_one(const struct uinit_directive *found, struct fp_error *error)
{
    const char *target = found->text[2];
    if (make_target(target, true, error) < 0)
        return -1;
    if (found->text[1][0] == '/') /* a device, which may be a moment late */
        return mount_device(&(struct uinit_directive){.text = {found->text[0], found->text[1], NULL, found->text[4]},
                                                      .number = {[2] = found->number[3]}},
                            target, error);
    if (mount(found->text[1], target, found->text[0], found->number[3], found->text[4]) < 0)
        return fp_fail(error, "mount", target);
    return 0;
}

/* switch_root(8): the initrd's file system cannot be moved or left, only covered. */
static int enter_root(struct fp_error *error)
{
    if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return fp_fail(error, "enter", "the root file system");
    return uinit_mount_own(error);
}

/* A directory of the share, or a file system of its own. */
static int mount_root(const struct uinit_directive *root, struct fp_error *error)
{
    char from[256];
    unsigned long flags = root->number[2];
    if (strcmp(root->text[0], "share") != 0)
        return mount_device(root, ROOT, error);
    snprintf(from, sizeof(from), "%s%s", SHARE, root->text[1]);
    mkdir(ROOT, 0755);
    if (mount(from, ROOT, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        (flags && mount(NULL, ROOT, NULL, MS_BIND | MS_REMOUNT | flags, NULL) < 0))
        return fp_fail(error, "mount", "the root file system");
    return 0;
}

int uinit_mount_all(const struct uinit_config *config, struct fp_error *error)
{
    int sources[BINDS_MAX], next = 0;
    struct uinit_directive found;
    if (uinit_config_last(config, UINIT_SHARE, &found) && mount_device(&found, SHARE, error) < 0)
        return -1;
    bool has_root = uinit_config_last(config, UINIT_ROOT, &found);
    if (has_root && mount_root(&found, error) < 0)
        return -1;
    if (open_sources(config, sources, error) < 0 || (has_root && enter_root(error) < 0))
        return -1;
    for (size_t offset = 0; uinit_config_next(config, UINIT_COUNT, &offset, &found);) {
        int status = 0;
        if (found.code == UINIT_MOUNT) {
            status = mount_one(&found, error);
        } else if (found.code == UINIT_FROM_INITRD || found.code == UINIT_FROM_SHARE) {
            status = bind_one(sources[next], &found, error);
            close(sources[next++]);
        }
        if (status < 0)
            return -1;
    }
    return 0;
}
