// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as the image of an spt guest: what the reader accepts must keep its promises.
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf_solo5.h"
#include "promise.h"

static void check_segments(const struct fp_solo5_guest *guest, uint64_t file_size)
{
    uint64_t end = FP_SOLO5_BASE;
    int entry_found = 0;
    for (size_t i = 0; i < guest->segment_count; i++) {
        const struct fp_solo5_segment *segment = &guest->segments[i];
        must(segment->start >= end && segment->end >= segment->start, "segments ascend and are apart");
        must((segment->start | segment->end) % FP_SOLO5_PAGE == 0, "segments are whole pages");
        must(segment->address >= segment->start && segment->size <= segment->end - segment->address, "bytes fit in");
        must(segment->offset <= file_size && segment->size <= file_size - segment->offset, "bytes are in the file");
        must((segment->protection & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC), "W^X");
        entry_found |= segment->protection & PROT_EXEC && guest->entry >= segment->start && guest->entry < segment->end;
        end = segment->end;
    }
    must(guest->end == end, "the end is the last segment's");
    must(entry_found, "the entry point is code");
}

static void check_manifest(const struct fp_solo5_manifest *manifest)
{
    must(manifest->count >= 1 && manifest->count <= FP_SOLO5_ENTRIES_MAX, "count");
    for (size_t i = 0; i < manifest->count; i++) {
        const struct fp_solo5_entry *entry = &manifest->entries[i];
        must(memchr(entry->name, 0, sizeof(entry->name)) != NULL, "names end");
        must(!entry->attached && !entry->host.word && !entry->device.block.capacity, "the tender's fields are clear");
        must(i == 0 || entry->type == FP_SOLO5_NET || entry->type == FP_SOLO5_BLOCK, "types are known");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static struct fp_solo5_guest guest;
    struct fp_error error = {0};
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    must(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size, "the file can be written");
    if (fp_solo5_read(fd, &guest, &error) == 0) {
        must(error.number == 0, "success says no error");
        check_segments(&guest, size);
        check_manifest(&guest.manifest);
    } else {
        must(error.number != 0 && error.path[0], "failure says why");
    }
    return 0;
}
