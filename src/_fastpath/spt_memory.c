// SPDX-License-Identifier: Apache-2.0
// The guest's memory: below the tender, exactly as its segments ask; see spt.h.
#define _GNU_SOURCE
#include "spt.h"

#include <string.h>
#include <sys/mman.h>

#include "elf_file.h"

extern const char __executable_start[]; /* the linker's: where this program begins */

/* What the guest's entry point is called with (Solo5 include/spt_abi.h). */
struct boot_info {
    uint64_t memory;
    uint64_t kernel_end;
    uint64_t cmdline;
    uint64_t manifest;
    int32_t epoll_fd;
    int32_t timer_fd;
};

int spt_memory_load(const struct spt *spt, int image, struct fp_error *error)
{
    const struct fp_solo5_guest *guest = &spt->guest;
    const struct fp_solo5_segment *end = guest->segments + guest->segment_count, *segment;
    struct fp_elf_file file;
    uint64_t tender = (uint64_t)__executable_start;
    if (tender < (uint64_t)1 << 32)
        return spt_refuse(error, "urunc-spt", "was loaded below 4 GiB, where guests are");
    if (spt->memory > tender)
        return spt_refuse(error, "--mem", "more memory than there are addresses below urunc-spt");
    if (guest->end > spt->memory - FP_SOLO5_PAGE) /* it needs a stack */
        return spt_refuse(error, "--mem", "the guest is larger than its memory");
    void *low = (void *)(uintptr_t)SPT_LOW;
    void *memory = mmap(low, spt->memory - SPT_LOW, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (memory == MAP_FAILED)
        return fp_fail(error, "mmap", "--mem");
    if (memory != low) /* Linux before 4.17 takes the flag for a hint */
        return spt_refuse(error, "--mem", "the addresses of the guest are taken");
    if (fp_elf_open(image, &file, error) < 0)
        return -1;
    for (segment = guest->segments; segment < end; segment++)
        if (fp_elf_read_at(&file, segment->offset, (void *)(uintptr_t)segment->address, segment->size, error) < 0)
            return -1;
    for (segment = guest->segments; segment < end; segment++)
        if (mprotect((void *)(uintptr_t)segment->start, segment->end - segment->start, segment->protection) < 0)
            return fp_fail(error, "mprotect", NULL);
    return 0;
}

int spt_memory_boot(const struct spt *spt, char *const *args, struct fp_error *error)
{
    const struct fp_solo5_manifest *manifest = &spt->guest.manifest;
    struct boot_info *info = (struct boot_info *)(uintptr_t)SPT_BOOT_INFO;
    size_t size = offsetof(struct fp_solo5_manifest, entries) + manifest->count * sizeof(manifest->entries[0]),
           used = 0;
    *info = (struct boot_info){.memory = spt->memory, .kernel_end = spt->guest.end};
    info->epoll_fd = spt->epoll_fd;
    info->timer_fd = spt->timer_fd;
    info->manifest = SPT_BOOT_INFO + sizeof(*info);
    info->cmdline = info->manifest + size;
    _Static_assert(SPT_BOOT_INFO + sizeof(*info) + sizeof(*manifest) + SPT_CMDLINE_MAX < FP_SOLO5_BASE, "fits");
    memcpy((void *)(uintptr_t)info->manifest, manifest, size);
    /* One string, as the ABI has it: the arguments with a blank between them.  The memory behind it is still zero. */
    char *cmdline = (char *)(uintptr_t)info->cmdline;
    for (char *const *arg = args; *arg; arg++) {
        size_t length = strlen(*arg), blank = arg > args;
        if (blank + length + 1 > SPT_CMDLINE_MAX - used)
            return spt_refuse(error, "ARGUMENT", "the guest's command line is longer than 8191 bytes");
        if (blank)
            cmdline[used++] = ' ';
        memcpy(cmdline + used, *arg, length);
        used += length;
    }
    return 0;
}
