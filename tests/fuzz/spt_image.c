// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as the image of an spt guest: libFuzzer's target, and with -DSTANDALONE a program of its own that
// mutates the files of a corpus for some seconds (spt_image SECONDS SEED FILE...).  What the reader accepts must keep
// its promises.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "elf_solo5.h"

enum { SIZE_MAX_FUZZED = 1 << 16 };

static void must(int holds, const char *promise)
{
    if (!holds) {
        fprintf(stderr, "broken promise: %s\n", promise);
        abort();
    }
}

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static struct fp_solo5_guest guest;
    struct fp_image image;
    struct fp_elf_dependencies dependencies;
    struct fp_error error = {0}, unused = {0};
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    if (ftruncate(fd, (off_t)size) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    if (fp_solo5_read(fd, &guest, &error) == 0) {
        must(error.number == 0, "success says no error");
        check_segments(&guest, size);
        check_manifest(&guest.manifest);
    } else {
        must(error.number != 0 && error.path[0], "failure says why");
    }
    fp_image_identify(fd, &image, &unused);
    fp_elf_dependencies(fd, &dependencies, &unused);
    fp_elf_dependencies_deinit(&dependencies);
    return 0;
}

#ifdef STANDALONE
static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

/* A few words or bytes replaced by values that hurt, a piece copied elsewhere, or the end cut off. */
static size_t mutate(uint8_t *data, size_t size)
{
    static const uint64_t hurts[] = {0,          1,           7,          0xff,       0xfff,
                                     0x1000,     0xffff,      0x10000,    0x7fffffff, 0x80000000,
                                     0xffffffff, 0x100000000, ~0ull >> 1, ~0ull,      0x100000};
    for (uint64_t changes = draw(6) + 1; changes > 0 && size > 16; changes--) {
        uint64_t window = draw(2) ? size : size < 640 ? size : 640; /* the headers, half of the time */
        size_t at = draw(window - 8), width = (size_t)1 << draw(4), from = draw(size - 8);
        uint64_t value = hurts[draw(sizeof(hurts) / sizeof(hurts[0]))] + draw(3) - 1;
        switch (draw(8)) {
        case 0:
            data[at] ^= (uint8_t)(1u << draw(8));
            break;
        case 1:
            memmove(data + at, data + from, 8);
            break;
        case 2:
            size = draw(8) ? size : draw(size);
            break;
        default:
            memcpy(data + at, &value, width);
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t seeds[64][SIZE_MAX_FUZZED], data[SIZE_MAX_FUZZED];
    size_t sizes[64], count = 0, runs = 0;
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 1);
    state = argc > 2 ? strtoull(argv[2], NULL, 10) * 2 + 1 : 1;
    for (int i = 3; i < argc && count < 64; i++, count++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file)
            return 2;
        sizes[count] = fread(seeds[count], 1, SIZE_MAX_FUZZED, file);
        fclose(file);
        LLVMFuzzerTestOneInput(seeds[count], sizes[count]);
    }
    for (; count > 0 && (runs % 256 || time(NULL) < end); runs++) {
        size_t seed = draw(count);
        memcpy(data, seeds[seed], sizes[seed]);
        LLVMFuzzerTestOneInput(data, mutate(data, sizes[seed]));
    }
    printf("%zu runs\n", runs);
    return 0;
}
#endif
