// SPDX-License-Identifier: Apache-2.0
// Reads the tables and notes of ELF files through pread, trusting none of them; see elf_file.h.
#include "elf_file.h"

#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are copied as they lie in the file");

int fp_elf_broken(struct fp_error *error, const char *what)
{
    return fp_fail_with(error, ENOEXEC, "elf", what);
}

int fp_elf_open(int fd, struct fp_elf_file *ret, struct fp_error *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return fp_fail(error, "fstat", NULL);
    if (!S_ISREG(status.st_mode))
        return fp_fail_with(error, EINVAL, "elf", "not a regular file");
    *ret = (struct fp_elf_file){.fd = fd, .size = (uint64_t)status.st_size};
    return 0;
}

/* Exactly `length` bytes at `offset`, or an error. */
int fp_elf_read_at(const struct fp_elf_file *file, uint64_t offset, void *buffer, size_t length, struct fp_error *error)
{
    if (offset > file->size || length > file->size - offset)
        return fp_elf_broken(error, "truncated, or an offset beyond the end of the file");
    for (size_t done = 0; done < length;) {
        ssize_t n = pread(file->fd, (char *)buffer + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fp_fail(error, "pread", NULL);
        if (n == 0)
            return fp_elf_broken(error, "the file shrank while it was read");
        done += (size_t)n;
    }
    return 0;
}

/* Little-endian files of both classes; for any other file `ret->bits` becomes 0: no guest or host of ours has one. */
static int read_header(const struct fp_elf_file *file, struct fp_elf_program *ret, struct fp_error *error)
{
    Elf32_Ehdr narrow;
    unsigned char ident[EI_NIDENT] = {0};
    if (fp_elf_read_at(file, 0, ident, fp_elf_smaller(file->size, sizeof(ident)), error) < 0)
        return -1;
    ret->bits = ident[EI_CLASS] == ELFCLASS64 ? 64 : ident[EI_CLASS] == ELFCLASS32 ? 32 : 0;
    if (memcmp(ident, ELFMAG, SELFMAG) != 0 || ident[EI_DATA] != ELFDATA2LSB)
        ret->bits = 0;
    if (ret->bits == 64)
        return fp_elf_read_at(file, 0, &ret->header, sizeof(ret->header), error);
    if (ret->bits == 0)
        return 0;
    if (fp_elf_read_at(file, 0, &narrow, sizeof(narrow), error) < 0)
        return -1;
    ret->header = (Elf64_Ehdr){.e_type = narrow.e_type,
                               .e_machine = narrow.e_machine,
                               .e_entry = narrow.e_entry,
                               .e_phoff = narrow.e_phoff,
                               .e_phentsize = narrow.e_phentsize,
                               .e_phnum = narrow.e_phnum};
    return 0;
}

static int read_segment(const struct fp_elf_file *file, uint8_t bits, uint64_t offset, Elf64_Phdr *ret,
                        struct fp_error *error)
{
    Elf32_Phdr narrow;
    if (bits == 64)
        return fp_elf_read_at(file, offset, ret, sizeof(*ret), error);
    if (fp_elf_read_at(file, offset, &narrow, sizeof(narrow), error) < 0)
        return -1;
    *ret = (Elf64_Phdr){.p_type = narrow.p_type,
                        .p_offset = narrow.p_offset,
                        .p_vaddr = narrow.p_vaddr,
                        .p_paddr = narrow.p_paddr,
                        .p_filesz = narrow.p_filesz,
                        .p_memsz = narrow.p_memsz,
                        .p_align = narrow.p_align};
    return 0;
}

int fp_elf_read_program(const struct fp_elf_file *file, struct fp_elf_program *ret, struct fp_error *error)
{
    ret->header = (Elf64_Ehdr){0};
    if (read_header(file, ret, error) < 0)
        return -1;
    size_t size = ret->bits == 64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (ret->header.e_phnum > FP_ELF_SEGMENTS_MAX) /* PN_XNUM, an escape for core dumps, too */
        return fp_elf_broken(error, "more than 128 program headers");
    if (ret->header.e_phnum && ret->header.e_phentsize != size)
        return fp_elf_broken(error, "program headers of an unknown size");
    for (size_t i = 0; i < ret->header.e_phnum; i++) { /* a sum that wraps around has failed at i = 0 */
        if (read_segment(file, ret->bits, ret->header.e_phoff + i * size, &ret->segments[i], error) < 0)
            return -1;
    }
    return 0;
}

bool fp_elf_note_is(const struct fp_elf_note *note, const char *name, uint32_t type)
{
    size_t size = strlen(name) + 1;
    return note->type == type && note->name_size == size && !memcmp(note->start + sizeof(Elf64_Nhdr), name, size);
}

/* Ends at the first note that does not fit: padding after the last note is common, and what cannot be
 * walked here cannot be found by a loader either. */
static int walk_notes(const uint8_t *notes, size_t size, size_t align, fp_elf_note_function *take, void *context,
                      struct fp_error *error)
{
    for (size_t at = 0; size - at >= sizeof(Elf64_Nhdr);) {
        size_t name = fp_elf_load32(notes + at), length = fp_elf_load32(notes + at + 4), left = size - at;
        if (name > left || length > left) /* so that the sums below stay small */
            return 0;
        size_t descriptor = (sizeof(Elf64_Nhdr) + name + align - 1) & ~(align - 1);
        if (descriptor > left || length > left - descriptor)
            return 0;
        struct fp_elf_note note = {.start = notes + at, .name_size = name, .type = fp_elf_load32(notes + at + 8)};
        note.descriptor = notes + at + descriptor;
        note.size = length;
        if (take(&note, context, error) < 0)
            return -1;
        size_t next = (descriptor + length + align - 1) & ~(align - 1);
        if (next > left)
            return 0;
        at += next;
    }
    return 0;
}

int fp_elf_read_notes(const struct fp_elf_file *file, const struct fp_elf_program *program, fp_elf_note_function *take,
                      void *context, struct fp_error *error)
{
    uint64_t left = FP_ELF_NOTES_MAX;
    for (size_t i = 0; i < program->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &program->segments[i];
        size_t size = (size_t)segment->p_filesz;
        if (segment->p_type != PT_NOTE || size == 0)
            continue;
        if (size > left)
            return fp_elf_broken(error, "more than 64 KiB of notes");
        left -= size;
        _cleanup_free_ uint8_t *notes = malloc(size);
        if (!notes)
            return fp_fail(error, "malloc", NULL);
        if (fp_elf_read_at(file, segment->p_offset, notes, size, error) < 0)
            return -1;
        /* p_align 8 should mean that notes are aligned to 8, but linkers merge notes of 4 into such segments. */
        if (walk_notes(notes, size, 4, take, context, error) < 0)
            return -1;
        if (segment->p_align == 8 && walk_notes(notes, size, 8, take, context, error) < 0)
            return -1;
    }
    return 0;
}
