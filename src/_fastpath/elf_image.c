// SPDX-License-Identifier: Apache-2.0
// Tells guest images apart by their headers; see elf.h.
#include <string.h>

#include "elf_file.h"

enum {
    HEAD_SIZE = 8192,              /* Multiboot 0.6.96, 3.1: the header lies within the first 8192 bytes */
    MULTIBOOT_MAGIC = 0x1BADB002,  /* followed by flags and checksum: the three add up to 0 */
    BZIMAGE_MAGIC = 0x53726448,    /* "HdrS" at 0x202, version at 0x206 (x86/boot.rst) */
    XEN_ELFNOTE_PHYS32_ENTRY = 18, /* xen/include/public/elfnote.h */
};

/* A note is known by its name, its type and the size of its descriptor. */
static int take_note(const struct fp_elf_note *note, void *context, struct fp_error *error)
{
    struct fp_image *ret = context;
    (void)error;
    if (fp_elf_note_is(note, "Xen", XEN_ELFNOTE_PHYS32_ENTRY) && (note->size == 4 || note->size == 8)) {
        ret->pvh = true;                                  /* Linux before 6.12 writes a pointer, later ones u32 */
        ret->pvh_entry = fp_elf_load32(note->descriptor); /* a 32-bit address in both */
    }
    if (fp_elf_note_is(note, "Solo5", SOLO5_NOTE_ABI1) && note->size == 16) {
        ret->solo5_target = fp_elf_load32(note->descriptor);
        ret->solo5_version = fp_elf_load32(note->descriptor + 4);
    }
    return 0;
}

static bool has_multiboot(const uint8_t *head, size_t size)
{
    for (size_t at = 0; at + 12 <= size; at += 4)
        if (fp_elf_load32(head + at) == MULTIBOOT_MAGIC &&
            (uint32_t)(MULTIBOOT_MAGIC + fp_elf_load32(head + at + 4) + fp_elf_load32(head + at + 8)) == 0)
            return true;
    return false;
}

static const struct magic {
    uint32_t kind;
    uint16_t offset, length;
    char bytes[8];
} magics[] = {
    {FP_IMAGE_GZIP, 0, 3, "\x1f\x8b\x08"},     {FP_IMAGE_XZ, 0, 6, "\xfd\x37zXZ\0"},
    {FP_IMAGE_ZSTD, 0, 4, "\x28\xb5\x2f\xfd"}, {FP_IMAGE_ARM64, 56, 4, "ARM\x64"},
    {FP_IMAGE_DISK, 510, 2, "\x55\xaa"}, /* last: kernels that are also EFI programs or floppies have it too */
};

static uint32_t kind_by_magic(const uint8_t *head, size_t size)
{
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
        const struct magic *magic = &magics[i];
        if ((size_t)magic->offset + magic->length <= size && !memcmp(head + magic->offset, magic->bytes, magic->length))
            return magic->kind;
    }
    return FP_IMAGE_UNKNOWN;
}

/* Segments are loaded where their physical address says (QEMU, Firecracker); one that wraps around is nobody's. */
static void add_extent(const Elf64_Phdr *segment, struct fp_image *ret)
{
    uint64_t end;
    if (segment->p_type == PT_LOAD && segment->p_memsz &&
        !__builtin_add_overflow(segment->p_paddr, segment->p_memsz, &end) && end > ret->extent)
        ret->extent = end;
}

int fp_image_identify(int fd, struct fp_image *ret, struct fp_error *error)
{
    uint8_t head[HEAD_SIZE];
    struct fp_elf_file file;
    struct fp_elf_program program;
    *ret = (struct fp_image){0};
    if (fp_elf_open(fd, &file, error) < 0)
        return -1;
    size_t size = fp_elf_smaller(file.size, sizeof(head));
    if (fp_elf_read_at(&file, 0, head, size, error) < 0)
        return -1;
    ret->size = file.size;
    ret->multiboot = has_multiboot(head, size);
    /* First, because it is first in QEMU (x86_load_linux): a file that is both is a bzImage there. */
    if (size >= 0x208 && fp_elf_load32(head + 0x202) == BZIMAGE_MAGIC) {
        ret->kind = FP_IMAGE_BZIMAGE;
        ret->boot_protocol = (uint16_t)(head[0x206] | head[0x207] << 8);
        return 0;
    }
    if (fp_elf_read_program(&file, &program, error) < 0)
        return -1;
    ret->kind = program.bits == 64 ? FP_IMAGE_ELF64 : program.bits ? FP_IMAGE_ELF32 : kind_by_magic(head, size);
    ret->bits = program.bits;
    ret->machine = program.header.e_machine;
    ret->type = program.header.e_type;
    ret->entry = program.header.e_entry;
    for (size_t i = 0; i < program.header.e_phnum; i++)
        add_extent(&program.segments[i], ret);
    return fp_elf_read_notes(&file, &program, take_note, ret, error);
}
