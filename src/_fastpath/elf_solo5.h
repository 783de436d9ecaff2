/* SPDX-License-Identifier: Apache-2.0 */
/* What a tender must know of a Solo5 guest: its segments, its ABI and the devices its manifest declares. */
#pragma once

#include "elf.h"

/* Facts of Solo5's include/{elf_abi,mft_abi,spt_abi}.h (version 2 of the spt ABI, version 1 of the manifest). */
enum {
    FP_SOLO5_BASE = 0x100000, /* no guest has anything below */
    FP_SOLO5_PAGE = 0x1000,
    FP_SOLO5_SPT_VERSION = 2,
    FP_SOLO5_MANIFEST_VERSION = 1,
    FP_SOLO5_ENTRIES_MAX = 64, /* the first is none of the guest's */
    FP_SOLO5_NAME_SIZE = 68,   /* NUL included */
    FP_SOLO5_BLOCK = 1,
    FP_SOLO5_NET = 2,
    FP_SOLO5_FIRST = 1 << 30,
};

/* A device as the guest sees it.  From `device` on it is the tender's to fill in, whatever the file says. */
struct fp_solo5_entry {
    char name[FP_SOLO5_NAME_SIZE];
    uint32_t type;
    union {
        struct {
            uint64_t capacity; /* bytes */
            uint16_t sector_size;
        } block;
        struct {
            uint8_t mac[6];
            uint16_t mtu;
        } net;
    } device;
    union {
        int32_t fd;
        uint64_t word;
    } host;
    uint64_t attached; /* a byte and padding */
};
_Static_assert(sizeof(struct fp_solo5_entry) == 104, "the guest's struct mft_entry");

struct fp_solo5_manifest {
    uint32_t version;
    uint32_t count;
    struct fp_solo5_entry entries[FP_SOLO5_ENTRIES_MAX];
};

/* `start` to `end` are whole pages that no other segment touches; the file's bytes go to `address`, zeros after them.
 */
struct fp_solo5_segment {
    uint64_t start, end;
    uint64_t address, offset, size;
    int protection; /* PROT_*, never both WRITE and EXEC */
};

struct fp_solo5_guest {
    uint64_t entry; /* in an executable segment */
    uint64_t end;   /* of the last segment */
    size_t segment_count;
    struct fp_solo5_segment segments[FP_ELF_SEGMENTS_MAX]; /* ascending, all in the file, none below FP_SOLO5_BASE */
    struct fp_solo5_manifest manifest;                     /* names unique, printable and ended; nothing attached */
};

/* Read and check the spt guest `fd`, believing nothing; ENOEXEC with a sentence if it is none.  Maps nothing. */
int fp_solo5_read(int fd, struct fp_solo5_guest *ret, struct fp_error *error);

/* Read and check the manifest of a Solo5 guest for `target` (enum fp_solo5_target); ENOEXEC as above. */
int fp_solo5_read_manifest(int fd, uint32_t target, struct fp_solo5_manifest *ret, struct fp_error *error);
