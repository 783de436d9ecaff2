// SPDX-License-Identifier: Apache-2.0
// Reads ELF files, kernels and guests through pread, trusting none of them; see elf.h.
#include "elf.h"

#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "elf_file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are copied as they lie in the file");

enum {
    HEAD_SIZE = 8192,              /* Multiboot 0.6.96, 3.1: the header lies within the first 8192 bytes */
    MULTIBOOT_MAGIC = 0x1BADB002,  /* followed by flags and checksum: the three add up to 0 */
    BZIMAGE_MAGIC = 0x53726448,    /* "HdrS" at 0x202, version at 0x206 (x86/boot.rst) */
    XEN_ELFNOTE_PHYS32_ENTRY = 18, /* xen/include/public/elfnote.h */
};

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

static uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static size_t smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* Little-endian files of both classes; for any other file `ret->bits` becomes 0: no guest or host of ours has one. */
static int read_header(const struct fp_elf_file *file, struct fp_elf_program *ret, struct fp_error *error)
{
    Elf32_Ehdr narrow;
    unsigned char ident[EI_NIDENT] = {0};
    if (fp_elf_read_at(file, 0, ident, smaller(file->size, sizeof(ident)), error) < 0)
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
                        .p_filesz = narrow.p_filesz,
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

/* A note is known by its name, its type and the size of its descriptor. */
static int take_note(const struct fp_elf_note *note, void *context, struct fp_error *error)
{
    struct fp_image *ret = context;
    (void)error;
    if (fp_elf_note_is(note, "Xen", XEN_ELFNOTE_PHYS32_ENTRY) && (note->size == 4 || note->size == 8)) {
        ret->pvh = true;                           /* Linux before 6.12 writes a pointer, later ones u32 */
        ret->pvh_entry = load32(note->descriptor); /* a 32-bit address in both */
    }
    if (fp_elf_note_is(note, "Solo5", SOLO5_NOTE_ABI1) && note->size == 16) {
        ret->solo5_target = load32(note->descriptor);
        ret->solo5_version = load32(note->descriptor + 4);
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
        size_t name = load32(notes + at), length = load32(notes + at + 4), left = size - at;
        if (name > left || length > left) /* so that the sums below stay small */
            return 0;
        size_t descriptor = (sizeof(Elf64_Nhdr) + name + align - 1) & ~(align - 1);
        if (descriptor > left || length > left - descriptor)
            return 0;
        struct fp_elf_note note = {.start = notes + at, .name_size = name, .type = load32(notes + at + 8)};
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

static bool has_multiboot(const uint8_t *head, size_t size)
{
    for (size_t at = 0; at + 12 <= size; at += 4)
        if (load32(head + at) == MULTIBOOT_MAGIC &&
            (uint32_t)(MULTIBOOT_MAGIC + load32(head + at + 4) + load32(head + at + 8)) == 0)
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

int fp_image_identify(int fd, struct fp_image *ret, struct fp_error *error)
{
    uint8_t head[HEAD_SIZE];
    struct fp_elf_file file;
    struct fp_elf_program program;
    *ret = (struct fp_image){0};
    if (fp_elf_open(fd, &file, error) < 0)
        return -1;
    size_t size = smaller(file.size, sizeof(head));
    if (fp_elf_read_at(&file, 0, head, size, error) < 0)
        return -1;
    ret->size = file.size;
    ret->multiboot = has_multiboot(head, size);
    /* First, because it is first in QEMU (x86_load_linux): a file that is both is a bzImage there. */
    if (size >= 0x208 && load32(head + 0x202) == BZIMAGE_MAGIC) {
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
    return fp_elf_read_notes(&file, &program, take_note, ret, error);
}

/* The NUL-terminated string at `offset` of which no byte lies at or after `offset + limit`; replaces `*ret`. */
static int read_string(const struct fp_elf_file *file, uint64_t offset, uint64_t limit, char **ret,
                       struct fp_error *error)
{
    char text[FP_ELF_STRING_MAX];
    if (offset > file->size)
        return fp_elf_broken(error, "a string beyond the end of the file");
    size_t size = smaller(limit, smaller(file->size - offset, sizeof(text)));
    if (fp_elf_read_at(file, offset, text, size, error) < 0)
        return -1;
    if (!memchr(text, '\0', size))
        return fp_elf_broken(error, "a string without an end, or longer than 4095 bytes");
    char *copy = strdup(text);
    if (!copy)
        return fp_fail(error, "malloc", NULL);
    free(*ret);
    *ret = copy;
    return 0;
}

/* Where in the file the bytes of `address` are, and how many follow it there. */
static int find_address(const struct fp_elf_program *program, uint64_t address, uint64_t *offset, uint64_t *ret)
{
    for (size_t i = 0; i < program->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &program->segments[i];
        uint64_t within = address - segment->p_vaddr;
        if (segment->p_type != PT_LOAD || address < segment->p_vaddr || within >= segment->p_filesz)
            continue;
        *offset = segment->p_offset + within; /* may wrap around: it is checked where it is read */
        *ret = segment->p_filesz - within;
        return 0;
    }
    return -1;
}

/* Entry `i` of the dynamic segment in the wider class; DT_NULL behind its end. */
static int entry_at(const struct fp_elf_file *file, const Elf64_Phdr *segment, uint8_t bits, size_t i, Elf64_Dyn *ret,
                    struct fp_error *error)
{
    Elf32_Dyn narrow;
    size_t size = bits == 64 ? sizeof(*ret) : sizeof(narrow);
    *ret = (Elf64_Dyn){.d_tag = DT_NULL};
    if (i >= segment->p_filesz / size)
        return 0;
    if (bits == 64)
        return fp_elf_read_at(file, segment->p_offset + i * size, ret, size, error);
    if (fp_elf_read_at(file, segment->p_offset + i * size, &narrow, size, error) < 0)
        return -1;
    *ret = (Elf64_Dyn){.d_tag = narrow.d_tag, .d_un.d_val = narrow.d_un.d_val};
    return 0;
}

/* Where in the file the dynamic string table starts, and how many bytes of it may be read. */
static int find_strings(const struct fp_elf_file *file, const struct fp_elf_program *program, const Elf64_Phdr *segment,
                        uint64_t *offset, uint64_t *ret, struct fp_error *error)
{
    uint64_t address = 0, size = 0;
    Elf64_Dyn entry = {.d_tag = DT_DEBUG};
    for (size_t i = 0; entry.d_tag != DT_NULL; i++) {
        if (entry_at(file, segment, program->bits, i, &entry, error) < 0)
            return -1;
        address = entry.d_tag == DT_STRTAB ? entry.d_un.d_ptr : address;
        size = entry.d_tag == DT_STRSZ ? entry.d_un.d_val : size;
    }
    *ret = 0;
    if (find_address(program, address, offset, ret) == 0 && size < *ret)
        *ret = size;
    return 0;
}

/* The place for the string of an entry with `tag`; NULL if it is none of ours. */
static char **string_for(struct fp_elf_dependencies *dependencies, int64_t tag)
{
    return tag == DT_NEEDED    ? &dependencies->needed[dependencies->needed_count]
           : tag == DT_SONAME  ? &dependencies->soname
           : tag == DT_RPATH   ? &dependencies->rpath
           : tag == DT_RUNPATH ? &dependencies->runpath
                               : NULL;
}

static int read_dynamic(const struct fp_elf_file *file, const struct fp_elf_program *program, const Elf64_Phdr *segment,
                        struct fp_elf_dependencies *ret, struct fp_error *error)
{
    uint64_t strings = 0, size = 0;
    Elf64_Dyn entry;
    if (ret->dynamic || segment->p_filesz > FP_ELF_DYNAMIC_MAX)
        return fp_elf_broken(error, "two dynamic segments, or one of more than 64 KiB");
    ret->dynamic = true;
    ret->needed = calloc(FP_ELF_NEEDED_MAX, sizeof(*ret->needed));
    if (!ret->needed)
        return fp_fail(error, "malloc", NULL);
    if (find_strings(file, program, segment, &strings, &size, error) < 0)
        return -1;
    for (size_t i = 0;; i++) {
        if (entry_at(file, segment, program->bits, i, &entry, error) < 0)
            return -1;
        if (entry.d_tag == DT_NULL)
            return 0;
        if (entry.d_tag == DT_NEEDED && ret->needed_count == FP_ELF_NEEDED_MAX)
            return fp_elf_broken(error, "more than 256 needed libraries");
        char **string = string_for(ret, entry.d_tag);
        uint64_t name = entry.d_un.d_val;
        if (!string)
            continue;
        if (name >= size)
            return fp_elf_broken(error, "a name outside the dynamic string table");
        if (read_string(file, strings + name, size - name, string, error) < 0)
            return -1;
        ret->needed_count += entry.d_tag == DT_NEEDED;
    }
}

int fp_elf_dependencies(int fd, struct fp_elf_dependencies *ret, struct fp_error *error)
{
    struct fp_elf_file file;
    struct fp_elf_program program;
    *ret = (struct fp_elf_dependencies){0};
    if (fp_elf_open(fd, &file, error) < 0 || fp_elf_read_program(&file, &program, error) < 0)
        return -1;
    if (!program.bits)
        return fp_elf_broken(error, "not a little-endian ELF file");
    ret->bits = program.bits;
    ret->machine = program.header.e_machine;
    for (size_t i = 0; i < program.header.e_phnum; i++) {
        const Elf64_Phdr *segment = &program.segments[i];
        if (segment->p_type == PT_INTERP &&
            read_string(&file, segment->p_offset, segment->p_filesz, &ret->interpreter, error) < 0)
            return -1;
        if (segment->p_type == PT_DYNAMIC && read_dynamic(&file, &program, segment, ret, error) < 0)
            return -1;
    }
    return 0;
}

void fp_elf_dependencies_deinit(struct fp_elf_dependencies *dependencies)
{
    for (size_t i = 0; i < dependencies->needed_count; i++)
        free(dependencies->needed[i]);
    free(dependencies->needed);
    free(dependencies->interpreter);
    free(dependencies->soname);
    free(dependencies->rpath);
    free(dependencies->runpath);
    *dependencies = (struct fp_elf_dependencies){0};
}
