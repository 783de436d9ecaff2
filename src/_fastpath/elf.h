/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest file is, and what a program of the host needs to start: the only ELF parser. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Files come from images nobody has vetted: every offset is checked against the file's size, every
 * count against these, and nothing is read that a check does not cover. */
enum {
    FP_ELF_SEGMENTS_MAX = 128,
    FP_ELF_NOTES_MAX = 65536,   /* bytes, all PT_NOTE segments of a file together */
    FP_ELF_DYNAMIC_MAX = 65536, /* bytes of PT_DYNAMIC; libLLVM has 1 KiB */
    FP_ELF_NEEDED_MAX = 256,
    FP_ELF_STRING_MAX = 4096, /* PATH_MAX, NUL included */
};

enum fp_image_kind {
    FP_IMAGE_UNKNOWN,
    FP_IMAGE_BZIMAGE,
    FP_IMAGE_ELF64,
    FP_IMAGE_ELF32,
    FP_IMAGE_GZIP,
    FP_IMAGE_XZ,
    FP_IMAGE_ZSTD,
    FP_IMAGE_ARM64, /* Linux "Image" */
    FP_IMAGE_DISK,  /* a boot sector: a raw disk, nothing a loader of kernels takes */
};

enum fp_solo5_target {
    FP_SOLO5_NONE,
    FP_SOLO5_HVT,
    FP_SOLO5_SPT,
    FP_SOLO5_VIRTIO,
    FP_SOLO5_MUEN,
    FP_SOLO5_GENODE,
    FP_SOLO5_XEN,
};

struct fp_image {
    uint64_t size; /* of the file, bytes */
    uint64_t entry;
    uint64_t pvh_entry;
    uint64_t extent;        /* ELF: where the last segment ends in the guest's memory, bytes; 0 = not known */
    uint32_t kind;          /* enum fp_image_kind */
    uint32_t solo5_target;  /* enum fp_solo5_target; a later one than we know comes as it is */
    uint32_t solo5_version; /* of the target's ABI */
    uint16_t boot_protocol; /* bzImage: 0x020f = 2.15 */
    uint16_t machine;       /* e_machine, EM_*: may contradict `bits` (Mewz: 64-bit, EM_386) */
    uint16_t type;          /* e_type, ET_* */
    uint8_t bits;           /* 32, 64; 0 = not ELF */
    bool multiboot;         /* version 1, whatever the kind */
    bool pvh;
};

/* Say what the regular file `fd` is.  A file of no known kind is FP_IMAGE_UNKNOWN, not an error; an ELF
 * whose tables leave the file or pass the limits is one (ENOEXEC).  The file's offset stays. */
int fp_image_identify(int fd, struct fp_image *ret, struct fp_error *error);

struct fp_elf_dependencies {
    char *interpreter; /* NULL = none, for every string */
    char *soname;
    char *rpath;
    char *runpath;
    char **needed;
    size_t needed_count;
    uint16_t machine;
    uint8_t bits;
    bool dynamic; /* false: a static program, which needs nothing */
};

/* Read what the dynamic linker would of the ELF file `fd` (ENOEXEC: not a little-endian ELF, or broken).
 * `ret` is always initialised; fp_elf_dependencies_deinit() it, after an error too. */
int fp_elf_dependencies(int fd, struct fp_elf_dependencies *ret, struct fp_error *error);
void fp_elf_dependencies_deinit(struct fp_elf_dependencies *dependencies);
