// SPDX-License-Identifier: Apache-2.0
// Options of urunc-spt, which are those of solo5-spt, and the order of things; see spt.h.
#define _GNU_SOURCE
#include "spt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

static const char usage[] =
    "usage: urunc-spt [OPTION]... [--] IMAGE [ARGUMENT]...\n"
    "Run the Solo5 guest IMAGE, built for spt, in this process.\n"
    "  --mem=MIB                      memory of the guest (512)\n"
    "  --net:NAME=TAP|@FD             attach a tap, by name or as a descriptor, as net device NAME\n"
    "  --net-mac:NAME=MAC             its address (one made at random)\n"
    "  --block:NAME=FILE|@FD          attach a file or block device as block device NAME\n"
    "  --block-sector-size:NAME=BYTES a power of two, 512 to 32768 (512)\n"
    "  --help, --version\n"
    "Every device that IMAGE declares has to be attached.  The exit status is the guest's: 255 when it aborts;\n"
    "1 when it could not be started; a fault or a forbidden system call ends it by SIGSEGV, SIGSYS and so on.";

static const struct device_option {
    const char *prefix;
    uint32_t type;
    spt_device_option *take;
} device_options[] = {
    {"--net:", FP_SOLO5_NET, spt_net_attach},
    {"--net-mac:", FP_SOLO5_NET, spt_set_mac},
    {"--block:", FP_SOLO5_BLOCK, spt_block_attach},
    {"--block-sector-size:", FP_SOLO5_BLOCK, spt_set_sector_size},
    {0},
};

int spt_refuse(struct fp_error *error, const char *thing, const char *sentence)
{
    char text[FP_PATH_MAX];
    snprintf(text, sizeof(text), "%.150s: %.100s", thing, sentence);
    return fp_fail_with(error, ENOEXEC, "", text);
}

bool spt_number(const char *text, uint64_t least, uint64_t most, uint64_t *ret)
{
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length > 18 || text[length])
        return false;
    *ret = strtoull(text, NULL, 10);
    return *ret >= least && *ret <= most;
}

static int take_option(struct spt *spt, const char *option, struct fp_error *error)
{
    struct fp_solo5_manifest *manifest = &spt->guest.manifest;
    const struct device_option *known = device_options;
    if (!strncmp(option, "--mem=", strlen("--mem="))) {
        if (!spt_number(option + strlen("--mem="), 1, UINT32_MAX, &spt->memory))
            return spt_refuse(error, option, "memory is a number of MiB");
        spt->memory <<= 20;
        return 0;
    }
    while (known->prefix && strncmp(option, known->prefix, strlen(known->prefix)) != 0)
        known++;
    if (!known->prefix)
        return spt_refuse(error, option, "no such option, see --help");
    const char *name = option + strlen(known->prefix), *equals = strchr(name, '=');
    if (!equals || equals == name || !equals[1])
        return spt_refuse(error, option, "NAME=VALUE is missing after the colon");
    size_t length = (size_t)(equals - name);
    for (size_t i = 1; i < manifest->count; i++) {
        struct fp_solo5_entry *entry = &manifest->entries[i];
        if (entry->type == known->type && !strncmp(entry->name, name, length) && !entry->name[length])
            return known->take(entry, option, equals + 1, error);
    }
    return spt_refuse(error, option, "the guest declares no such device");
}

/* All that comes before the filter.  Options, up to `end`, name what the manifest of the image behind them declares. */
static int prepare(struct spt *spt, char *const *option, char *const *end, char *const *image, struct fp_error *error)
{
    if (!*image)
        return spt_refuse(error, "IMAGE", "missing, see --help");
    /* Were they closed, a descriptor of ours would take their place and be the guest's console. */
    if (fcntl(STDOUT_FILENO, F_GETFD) < 0 || fcntl(STDERR_FILENO, F_GETFD) < 0)
        return spt_refuse(error, "standard output and error", "must be open");
    _cleanup_close_ int fd = open(*image, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not keep us waiting */
    if (fd < 0 || fp_solo5_read(fd, &spt->guest, error) < 0)
        return fp_fail(error, "open", *image); /* unless the reader said why */
    for (; option < end; option++)
        if (take_option(spt, *option, error) < 0)
            return -1;
    if (spt_devices_init(spt, error) < 0 || spt_memory_load(spt, fd, error) < 0)
        return -1;
    return spt_memory_boot(spt, image + 1, error);
}

/* One line, whatever the names in it contain.  Who reads an ELF file does not know what it is called. */
static int report(const struct fp_error *error, const char *image)
{
    char line[2 * FP_PATH_MAX];
    int length;
    if (!error->step[0])
        length = snprintf(line, sizeof(line), "urunc-spt: %s", error->path);
    else if (!strcmp(error->step, "elf"))
        length = snprintf(line, sizeof(line), "urunc-spt: %.150s: %s", image, error->path);
    else
        length = snprintf(line, sizeof(line), "urunc-spt: %.150s: %s: %.50s", error->path[0] ? error->path : image,
                          error->step, strerror(error->number));
    for (int i = 0; i < length; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[length] = '\n';
    (void)!write(STDERR_FILENO, line, (size_t)length + 1);
    return 1;
}

int main(int argc, char **argv)
{
    static struct spt spt;
    struct fp_error error = {0};
    char **options = argv + (argc > 0), **end = options;
    spt.memory = (uint64_t)512 << 20;
    spt_catch_stop();
    for (; *end && **end == '-' && strcmp(*end, "--") != 0; end++) {
        if (!strcmp(*end, "--help"))
            return puts(usage) < 0;
        if (!strcmp(*end, "--version"))
            return puts("urunc-spt, Solo5 spt ABI version 2") < 0;
    }
    char **image = *end && **end == '-' ? end + 1 : end;
    if (prepare(&spt, options, end, image, &error) < 0 || spt_filter(&spt, &error) < 0)
        return report(&error, *image);
    spt_enter(spt.guest.entry, spt.memory - 8, SPT_BOOT_INFO); /* 8 below alignment, as after a call */
}
