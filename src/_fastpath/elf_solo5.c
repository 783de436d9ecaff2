// SPDX-License-Identifier: Apache-2.0
// Solo5 guests: notes and manifest of any, segments of those for the spt tender; see elf_solo5.h.
#include "elf_solo5.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "elf_file.h"

enum {
    SOLO5_NOTE_MFT1 = 0x3154464d, /* "MFT1" */
    DESCRIPTOR_AT = 20,           /* of a note named "Solo5": three words, and the name padded to 8 bytes */
    MANIFEST_PADDING = 4,         /* counted as part of the descriptor, so that the manifest is aligned to 8 */
    MANIFEST_HEAD = offsetof(struct fp_solo5_manifest, entries),
#if defined(__x86_64__)
    MACHINE = EM_X86_64,
#elif defined(__aarch64__)
    MACHINE = EM_AARCH64,
#endif
};

/* A note of the name "Solo5" that we look for, and its bytes from `skip` on once it was found. */
struct note {
    uint32_t type;
    size_t skip, least, most; /* bytes of the descriptor */
    void *found;
    const char *wrong_size, *two;
    size_t size; /* of what was found; 0: nothing yet */
};

static int take_note(const struct fp_elf_note *note, void *context, struct fp_error *error)
{
    struct note *ours = context;
    while (ours->type && !fp_elf_note_is(note, "Solo5", ours->type))
        ours++;
    if (!ours->type)
        return 0;
    if (note->size < ours->least || note->size > ours->most)
        return fp_elf_broken(error, ours->wrong_size);
    const uint8_t *bytes = note->start + DESCRIPTOR_AT + ours->skip;
    size_t size = note->size - ours->skip;
    /* The same note twice, which a walk may bring, is one; two that differ are a trap for somebody. */
    if (ours->size && (size != ours->size || memcmp(ours->found, bytes, size) != 0))
        return fp_elf_broken(error, ours->two);
    memcpy(ours->found, bytes, size);
    ours->size = size;
    return 0;
}

static int check_abi(const struct note *note, uint32_t target, struct fp_error *error)
{
    static const char *const names[] = {"nothing", "hvt", "spt", "virtio", "muen", "genode", "xen"};
    const uint32_t known = sizeof(names) / sizeof(names[0]);
    const uint32_t *abi = note->found;
    char text[80];
    if (!note->size)
        return fp_elf_broken(error, "has no Solo5 ABI note: not a Solo5 guest");
    snprintf(text, sizeof(text), "is a Solo5 guest for %s, not for %s",
             abi[0] < known ? names[abi[0]] : "an unknown target",
             target < known ? names[target] : "an unknown target");
    if (abi[0] != target)
        return fp_elf_broken(error, text);
    if (target == FP_SOLO5_SPT && abi[1] != FP_SOLO5_SPT_VERSION)
        return fp_elf_broken(error, "is for a version of the spt ABI other than 2");
    return 0;
}

static int check_manifest(struct fp_solo5_manifest *manifest, size_t size, struct fp_error *error)
{
    /* Names are letters and digits, as options can spell them. */
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    struct fp_solo5_entry *first = manifest->entries, *entry;
    if (size == 0)
        return fp_elf_broken(error, "has no Solo5 manifest");
    if (manifest->version != FP_SOLO5_MANIFEST_VERSION)
        return fp_elf_broken(error, "has a Solo5 manifest of a version other than 1");
    if (manifest->count < 1 || manifest->count > FP_SOLO5_ENTRIES_MAX ||
        size != MANIFEST_HEAD + manifest->count * sizeof(*entry))
        return fp_elf_broken(error, "has a Solo5 manifest whose size and count disagree");
    if (first->type != FP_SOLO5_FIRST || first->name[0])
        return fp_elf_broken(error, "has a Solo5 manifest without its first entry");
    for (entry = first; entry < first + manifest->count; entry++)
        memset(&entry->device, 0, sizeof(*entry) - offsetof(struct fp_solo5_entry, device));
    for (entry = first + 1; entry < first + manifest->count; entry++) {
        if (entry->type != FP_SOLO5_BLOCK && entry->type != FP_SOLO5_NET)
            return fp_elf_broken(error, "declares a device of an unknown type");
        if (!entry->name[0] || !memchr(entry->name, '\0', sizeof(entry->name)) ||
            entry->name[strspn(entry->name, letters)])
            return fp_elf_broken(error, "declares a device without a proper name");
        for (const struct fp_solo5_entry *other = first + 1; other < entry; other++)
            if (entry->type == other->type && !strcmp(entry->name, other->name))
                return fp_elf_broken(error, "declares a device twice");
    }
    return 0;
}

/* The pages of a segment as Solo5 counts them: its start and end widened to its own alignment. */
static int take_segment(const struct fp_elf_file *file, const Elf64_Phdr *segment, struct fp_solo5_guest *ret,
                        struct fp_error *error)
{
    uint64_t align = segment->p_align, end;
    if (segment->p_type != PT_LOAD || (segment->p_memsz == 0 && segment->p_filesz == 0))
        return 0;
    if (align == 0 || align & (align - 1))
        return fp_elf_broken(error, "has a segment whose alignment is not a power of two");
    if (segment->p_memsz < segment->p_filesz || __builtin_add_overflow(segment->p_vaddr, segment->p_memsz, &end) ||
        __builtin_add_overflow(end, align - 1, &end))
        return fp_elf_broken(error, "has a segment that is larger in the file than in memory, or wraps around");
    if (segment->p_offset > file->size || segment->p_filesz > file->size - segment->p_offset)
        return fp_elf_broken(error, "has a segment beyond the end of the file");
    struct fp_solo5_segment *new = &ret->segments[ret->segment_count++];
    *new = (struct fp_solo5_segment){.start = segment->p_vaddr & -align, .end = end & -align};
    new->address = segment->p_vaddr;
    new->offset = segment->p_offset;
    new->size = segment->p_filesz;
    new->protection = (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0) |
                      (segment->p_flags & PF_X ? PROT_EXEC : 0);
    if ((new->start | new->end) & (FP_SOLO5_PAGE - 1))
        return fp_elf_broken(error, "has a segment that does not start and end with a page");
    if (new->start < ret->end)
        return fp_elf_broken(error, "has segments that overlap, are out of order, or lie below 0x100000");
    if ((segment->p_flags & PF_W) && (segment->p_flags & PF_X))
        return fp_elf_broken(error, "has a segment that is both writable and executable");
    ret->end = new->end;
    return 0;
}

static int read_segments(const struct fp_elf_file *file, const struct fp_elf_program *program,
                         struct fp_solo5_guest *ret, struct fp_error *error)
{
    ret->end = FP_SOLO5_BASE;
    for (size_t i = 0; i < program->header.e_phnum; i++)
        if (take_segment(file, &program->segments[i], ret, error) < 0)
            return -1;
    ret->entry = program->header.e_entry;
    for (const struct fp_solo5_segment *it = ret->segments; it < ret->segments + ret->segment_count; it++)
        if (ret->entry >= it->start && ret->entry < it->end && it->protection & PROT_EXEC)
            return 0;
    return fp_elf_broken(error, "has its entry point in no executable segment");
}

/* Whatever the target: ABI and manifest are written alike. */
static int read_notes(const struct fp_elf_file *file, struct fp_elf_program *program, uint32_t target,
                      struct fp_solo5_manifest *ret, struct fp_error *error)
{
    uint32_t abi[4]; /* target, version, two reserved */
    struct note notes[] = {{SOLO5_NOTE_ABI1, 0, sizeof(abi), sizeof(abi), abi, "has a Solo5 ABI note of a wrong size",
                            "has two Solo5 ABI notes", 0},
                           {SOLO5_NOTE_MFT1, MANIFEST_PADDING, MANIFEST_PADDING + MANIFEST_HEAD,
                            MANIFEST_PADDING + sizeof(*ret), ret, "has a Solo5 manifest of a wrong size",
                            "has two Solo5 manifests", 0},
                           {0}};
    if (fp_elf_read_program(file, program, error) < 0)
        return -1;
    if (program->bits == 0)
        return fp_elf_broken(error, "is not an ELF file");
    if (fp_elf_read_notes(file, program, take_note, notes, error) < 0 || check_abi(&notes[0], target, error) < 0)
        return -1;
    return check_manifest(ret, notes[1].size, error);
}

int fp_solo5_read_manifest(int fd, uint32_t target, struct fp_solo5_manifest *ret, struct fp_error *error)
{
    struct fp_elf_file file;
    struct fp_elf_program program;
    memset(ret, 0, sizeof(*ret));
    return fp_elf_open(fd, &file, error) < 0 ? -1 : read_notes(&file, &program, target, ret, error);
}

int fp_solo5_read(int fd, struct fp_solo5_guest *ret, struct fp_error *error)
{
    struct fp_elf_file file;
    struct fp_elf_program program;
    memset(ret, 0, sizeof(*ret));
    if (fp_elf_open(fd, &file, error) < 0 || read_notes(&file, &program, FP_SOLO5_SPT, &ret->manifest, error) < 0)
        return -1;
    const Elf64_Ehdr *header = &program.header;
    if (program.bits != 64 || header->e_type != ET_EXEC || header->e_machine != MACHINE ||
        header->e_version != EV_CURRENT || header->e_ehsize != sizeof(*header))
        return fp_elf_broken(error, "is not a static executable for this machine");
    return read_segments(&file, &program, ret, error);
}
