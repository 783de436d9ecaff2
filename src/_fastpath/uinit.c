// SPDX-License-Identifier: Apache-2.0
// uinit: from the kernel's hands to the program and back to the monitor; see uinit.h.
#define _GNU_SOURCE
#include "uinit.h"

#include "cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { FAILED = 125 }; /* as of docker run: the container never ran */

static int read_config(char **ret_bytes, struct uinit_config *ret, struct fp_error *error)
{
    struct stat status;
    _cleanup_close_ int fd = open(FP_UINIT_CONFIG, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return fp_fail(error, "open", FP_UINIT_CONFIG);
    if (status.st_size > UINIT_CONFIG_MAX || !(*ret_bytes = malloc((size_t)status.st_size + 1)))
        return fp_fail_with(error, EFBIG, "read", FP_UINIT_CONFIG);
    size_t size = 0;
    for (ssize_t got; (got = read(fd, *ret_bytes + size, (size_t)status.st_size - size)) > 0;)
        size += (size_t)got;
    unlink(FP_UINIT_CONFIG); /* it holds the environment, and the program has no use for it */
    return uinit_config_open(*ret_bytes, size, ret, error);
}

static int write_text(const char *path, const char *text, struct fp_error *error)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return fp_fail(error, "write", path);
    return 0;
}

static int set_names(const struct uinit_config *config, struct fp_error *error)
{
    struct uinit_directive found;
    if (uinit_config_last(config, UINIT_HOSTNAME, &found) && sethostname(found.text[0], strlen(found.text[0])) < 0)
        return fp_fail(error, "sethostname", found.text[0]);
    if (uinit_config_last(config, UINIT_DOMAINNAME, &found) && setdomainname(found.text[0], strlen(found.text[0])) < 0)
        return fp_fail(error, "setdomainname", found.text[0]);
    for (size_t offset = 0; uinit_config_next(config, UINIT_SYSCTL, &offset, &found);) {
        char path[512];
        snprintf(path, sizeof(path), "/proc/sys/%s", found.text[0]);
        if (write_text(path, found.text[1], error) < 0)
            return -1;
    }
    return 0;
}

static int prepare(char **bytes, struct uinit_config *config, struct fp_error *error)
{
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del becomes SIGINT */
    if (uinit_mount_own(error) < 0 || read_config(bytes, config, error) < 0 || uinit_load_modules(error) < 0)
        return -1;
    if (uinit_mount_all(config, error) < 0 || set_names(config, error) < 0)
        return -1;
    return uinit_network(config, error);
}

/* One sector, written at once and through all caches: whoever reads it afterwards finds all of it or nothing. */
static void tell_status(const struct uinit_config *config, int status)
{
    static char sector[UINIT_SECTOR] __attribute__((aligned(UINIT_SECTOR)));
    struct uinit_directive device;
    if (!config->bytes || !uinit_config_last(config, UINIT_STATUS, &device))
        return;
    snprintf(sector, sizeof(sector), FP_UINIT_STATUS "%d\n", status);
    _cleanup_close_ int fd = open(device.text[0], O_WRONLY | O_SYNC | O_CLOEXEC);
    if (fd < 0 || write(fd, sector, sizeof(sector)) != (ssize_t)sizeof(sector) || fsync(fd) < 0)
        fprintf(stderr, "uinit: status %s: %s\n", device.text[0], strerror(errno));
}

/* What the program has left, in the guest; then the file systems, as far as they can be had to rest. */
static void end_all(void)
{
    kill(-1, SIGKILL);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    fflush(stderr);
    sync();
    mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

int main(void)
{
    struct fp_error error = {0};
    struct uinit_config config = {0};
    struct uinit_directive found;
    char *bytes = NULL;
    int status = FAILED;
    if (getpid() != 1) {
        fprintf(stderr, "uinit: it is the first process of a guest, and of nothing else\n");
        return FAILED;
    }
    if (prepare(&bytes, &config, &error) == 0)
        status = uinit_run(&config);
    else
        fprintf(stderr, "uinit: %s %s: %s\n", error.step, error.path, strerror(error.number));
    end_all();
    tell_status(&config, status);
    write_text("/proc/sys/kernel/printk", "0", &error); /* that it goes down is nothing that the program has said */
    reboot(config.bytes && uinit_config_last(&config, UINIT_REBOOT, &found) ? RB_AUTOBOOT : RB_POWER_OFF);
    return status;
}
