// SPDX-License-Identifier: Apache-2.0
// Solo5 guests for the spt tender: segments, notes, manifest; see elf_solo5.h.
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

/* What the notes say while they are walked. */
struct notes {
    struct fp_solo5_manifest *manifest;
    size_t manifest_size; /* 0: no such note yet */
    uint32_t abi[2];      /* target, version; 0 = no such note yet */
};

static int wrong_target(uint32_t target, struct fp_error *error)
{
    static const char *const names[] = {"nothing", "hvt", "spt", "virtio", "muen", "genode", "xen"};
    char text[64];
    bool known = target < sizeof(names) / sizeof(names[0]);
    snprintf(text, sizeof(text), "is a Solo5 guest for %s, not for spt", known ? names[target] : "an unknown target");
    return fp_elf_broken(error, text);
}

/* The same note twice, which a walk may bring, is one; two that differ are a trap for somebody. */
static int take_abi(const uint8_t *descriptor, size_t size, struct notes *notes, struct fp_error *error)
{
    uint32_t abi[2];
    if (size != 16)
        return fp_elf_broken(error, "has a Solo5 ABI note of a wrong size");
    memcpy(abi, descriptor, sizeof(abi));
    if (notes->abi[0] && memcmp(notes->abi, abi, sizeof(abi)) != 0)
        return fp_elf_broken(error, "has two Solo5 ABI notes");
    if (abi[0] != FP_SOLO5_SPT)
        return wrong_target(abi[0], error);
    if (abi[1] != FP_SOLO5_SPT_VERSION)
        return fp_elf_broken(error, "is for a version of the spt ABI other than 2");
    memcpy(notes->abi, abi, sizeof(abi));
    return 0;
}

static int take_manifest(const uint8_t *descriptor, size_t size, struct notes *notes, struct fp_error *error)
{
    if (size < MANIFEST_PADDING + MANIFEST_HEAD || size > MANIFEST_PADDING + sizeof(*notes->manifest))
        return fp_elf_broken(error, "has a Solo5 manifest of a wrong size");
    descriptor += MANIFEST_PADDING;
    size -= MANIFEST_PADDING;
    if (notes->manifest_size && (size != notes->manifest_size || memcmp(notes->manifest, descriptor, size) != 0))
        return fp_elf_broken(error, "has two Solo5 manifests");
    memcpy(notes->manifest, descriptor, size);
    notes->manifest_size = size;
    return 0;
}

static int take_note(const struct fp_elf_note *note, void *context, struct fp_error *error)
{
    if (fp_elf_note_is(note, "Solo5", SOLO5_NOTE_ABI1))
        return take_abi(note->start + DESCRIPTOR_AT, note->size, context, error);
    if (fp_elf_note_is(note, "Solo5", SOLO5_NOTE_MFT1))
        return take_manifest(note->start + DESCRIPTOR_AT, note->size, context, error);
    return 0;
}

/* Letters and digits, as options can spell them. */
static bool is_name(const char *name)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    return name[0] && memchr(name, '\0', FP_SOLO5_NAME_SIZE) && !name[strspn(name, letters)];
}

static int check_device(const struct fp_solo5_manifest *manifest, size_t i, struct fp_error *error)
{
    const struct fp_solo5_entry *entry = &manifest->entries[i];
    if (entry->type != FP_SOLO5_BLOCK && entry->type != FP_SOLO5_NET)
        return fp_elf_broken(error, "declares a device of an unknown type");
    if (!is_name(entry->name))
        return fp_elf_broken(error, "declares a device without a proper name");
    for (size_t j = 1; j < i; j++)
        if (entry->type == manifest->entries[j].type && !strcmp(entry->name, manifest->entries[j].name))
            return fp_elf_broken(error, "declares a device twice");
    return 0;
}

static int check_manifest(struct fp_solo5_manifest *manifest, size_t size, struct fp_error *error)
{
    if (size == 0)
        return fp_elf_broken(error, "has no Solo5 manifest");
    if (manifest->version != FP_SOLO5_MANIFEST_VERSION)
        return fp_elf_broken(error, "has a Solo5 manifest of a version other than 1");
    if (manifest->count < 1 || manifest->count > FP_SOLO5_ENTRIES_MAX ||
        size != MANIFEST_HEAD + manifest->count * sizeof(manifest->entries[0]))
        return fp_elf_broken(error, "has a Solo5 manifest whose size and count disagree");
    if (manifest->entries[0].type != FP_SOLO5_FIRST || manifest->entries[0].name[0])
        return fp_elf_broken(error, "has a Solo5 manifest without its first entry");
    for (size_t i = 0; i < manifest->count; i++) {
        struct fp_solo5_entry *entry = &manifest->entries[i];
        if (i > 0 && check_device(manifest, i, error) < 0)
            return -1;
        memset(&entry->device, 0, sizeof(*entry) - offsetof(struct fp_solo5_entry, device));
    }
    return 0;
}

/* The pages of a segment as Solo5 counts them: its start and end widened to its own alignment. */
static int take_segment(const struct fp_elf_file *file, const Elf64_Phdr *segment, struct fp_solo5_guest *ret,
                        struct fp_error *error)
{
    uint64_t align = segment->p_align, end;
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
    bool entry_found = false;
    ret->end = FP_SOLO5_BASE;
    for (size_t i = 0; i < program->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &program->segments[i];
        bool empty = segment->p_memsz == 0 && segment->p_filesz == 0;
        if (segment->p_type == PT_LOAD && !empty && take_segment(file, segment, ret, error) < 0)
            return -1;
    }
    ret->entry = program->header.e_entry;
    for (size_t i = 0; i < ret->segment_count; i++)
        entry_found |= ret->entry >= ret->segments[i].start && ret->entry < ret->segments[i].end &&
                       (ret->segments[i].protection & PROT_EXEC);
    return entry_found ? 0 : fp_elf_broken(error, "has its entry point in no executable segment");
}

int fp_solo5_read(int fd, struct fp_solo5_guest *ret, struct fp_error *error)
{
    struct fp_elf_file file;
    struct fp_elf_program program;
    struct notes notes = {.manifest = &ret->manifest};
    memset(ret, 0, sizeof(*ret));
    if (fp_elf_open(fd, &file, error) < 0 || fp_elf_read_program(&file, &program, error) < 0)
        return -1;
    const Elf64_Ehdr *header = &program.header;
    if (program.bits == 0)
        return fp_elf_broken(error, "is not an ELF file");
    if (fp_elf_read_notes(&file, &program, take_note, &notes, error) < 0)
        return -1;
    if (!notes.abi[0])
        return fp_elf_broken(error, "has no Solo5 ABI note: not a Solo5 guest");
    if (program.bits != 64 || header->e_type != ET_EXEC || header->e_machine != MACHINE ||
        header->e_version != EV_CURRENT || header->e_ehsize != sizeof(*header))
        return fp_elf_broken(error, "is not a static executable for this machine");
    if (check_manifest(&ret->manifest, notes.manifest_size, error) < 0)
        return -1;
    return read_segments(&file, &program, ret, error);
}
