// SPDX-License-Identifier: Apache-2.0
// What the dynamic linker would read of a program; see elf.h.
#include <stdlib.h>
#include <string.h>

#include "elf_file.h"

/* The NUL-terminated string at `offset` of which no byte lies at or after `offset + limit`; replaces `*ret`. */
static int read_string(const struct fp_elf_file *file, uint64_t offset, uint64_t limit, char **ret,
                       struct fp_error *error)
{
    char text[FP_ELF_STRING_MAX];
    if (offset > file->size)
        return fp_elf_broken(error, "a string beyond the end of the file");
    size_t size = fp_elf_smaller(limit, fp_elf_smaller(file->size - offset, sizeof(text)));
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
