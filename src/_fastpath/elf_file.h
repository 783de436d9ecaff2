/* SPDX-License-Identifier: Apache-2.0 */
/* What elf.c reads for those who look into ELF files (elf_image.c, elf_dependencies.c, elf_solo5.c): bytes, tables and
 * notes, every offset checked.
 */
#pragma once

#include <elf.h>
#include <string.h>

#include "elf.h"

enum { SOLO5_NOTE_ABI1 = 0x31494241 }; /* "ABI1": u32 target, version, two reserved (Solo5 include/elf_abi.h) */

static inline uint32_t fp_elf_load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline size_t fp_elf_smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* A file and the size it had when it was opened: what is checked stays what is used. */
struct fp_elf_file {
    int fd;
    uint64_t size;
};

/* An ELF file's tables, in the wider class whatever the file's own; `bits` 0: not a little-endian ELF file. */
struct fp_elf_program {
    Elf64_Ehdr header;
    Elf64_Phdr segments[FP_ELF_SEGMENTS_MAX];
    uint8_t bits;
};

/* `descriptor` has `size` bytes; both lie in a buffer that lives until the function that was handed them returns. */
struct fp_elf_note {
    const uint8_t *start, *descriptor;
    size_t name_size, size;
    uint32_t type;
};

/* What to do with a note; -1 ends the walk.  In a segment aligned to 8 the same note may come twice. */
typedef int fp_elf_note_function(const struct fp_elf_note *note, void *context, struct fp_error *error);

int fp_elf_open(int fd, struct fp_elf_file *ret, struct fp_error *error);

/* Exactly `length` bytes at `offset`, or an error. */
int fp_elf_read_at(const struct fp_elf_file *file, uint64_t offset, void *buffer, size_t length,
                   struct fp_error *error);
int fp_elf_read_program(const struct fp_elf_file *file, struct fp_elf_program *ret, struct fp_error *error);
int fp_elf_read_notes(const struct fp_elf_file *file, const struct fp_elf_program *program, fp_elf_note_function *take,
                      void *context, struct fp_error *error);
bool fp_elf_note_is(const struct fp_elf_note *note, const char *name, uint32_t type);

/* ENOEXEC and a sentence that says what is wrong with the file; -1. */
int fp_elf_broken(struct fp_error *error, const char *what);
