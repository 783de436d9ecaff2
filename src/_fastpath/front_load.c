// SPDX-License-Identifier: Apache-2.0
// Goes on as another program of the same file: what execve(2) does with a static one, without its cost.
//
// The interpreter is linked to a fixed address, as Debian's own python3 is; the front is position-independent, and the
// kernel never puts that below 4 GiB.  The stack of the process is used as the kernel has made it, but for the four
// words of the auxiliary vector that describe the program.
#define _GNU_SOURCE
#include "front.h"

#include "cleanup.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

enum { HEADERS_MAX = 16, ROOM = 1 << 20 };

struct image {
    Elf64_Ehdr header;
    Elf64_Phdr segments[HEADERS_MAX];
};

static bool read_image(int fd, off_t offset, struct image *ret)
{
    if (pread(fd, ret, sizeof(*ret), offset) != sizeof(*ret))
        return false;
    const Elf64_Ehdr *header = &ret->header;
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_type == ET_EXEC &&
           header->e_phoff == sizeof(*header) && header->e_phnum <= HEADERS_MAX;
}

static int protection(uint32_t flags)
{
    return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

static bool map_segment(int fd, off_t offset, const Elf64_Phdr *segment)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), mask = page - 1;
    uintptr_t start = segment->p_vaddr & ~mask, file_end = segment->p_vaddr + segment->p_filesz;
    uintptr_t end = (segment->p_vaddr + segment->p_memsz + mask) & ~mask, mapped = (file_end + mask) & ~mask;
    int flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE, access = protection(segment->p_flags);
    off_t from = offset + (off_t)(segment->p_offset & ~mask);
    if (mmap((void *)start, mapped - start, access, flags, fd, from) != (void *)start)
        return false;
    if (segment->p_memsz == segment->p_filesz)
        return true;
    memset((void *)file_end, 0, mapped - file_end);
    return mapped == end || mmap((void *)mapped, end - mapped, access, flags | MAP_ANONYMOUS, -1, 0) == (void *)mapped;
}

/* For what is taken before there is a Python that could say that it got nothing: its C library does not look. */
static bool has_room(void)
{
    void *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return room != MAP_FAILED && munmap(room, ROOM) == 0;
}

static void describe(Elf64_auxv_t *vector, const struct image *image, uintptr_t headers)
{
    for (; vector->a_type != AT_NULL; vector++) {
        uint64_t *value = &vector->a_un.a_val;
        switch (vector->a_type) {
        case AT_PHDR:
            *value = headers;
            break;
        case AT_PHNUM:
            *value = image->header.e_phnum;
            break;
        case AT_ENTRY:
            *value = image->header.e_entry;
            break;
        case AT_BASE:
            *value = 0;
            break;
        }
    }
}

void fp_front_load(off_t offset, char **argv)
{
    struct image image;
    uintptr_t headers = 0;
    errno = 0;
    _cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !read_image(fd, offset, &image))
        return;
    for (int i = 0; i < image.header.e_phnum; i++) {
        const Elf64_Phdr *segment = &image.segments[i];
        if (segment->p_type != PT_LOAD)
            continue;
        if (!map_segment(fd, offset, segment))
            return;
        if (segment->p_offset == 0)
            headers = segment->p_vaddr + image.header.e_phoff;
    }
    if (!has_room())
        return;
    close(fp_take_fd(&fd));
    char **at = argv;
    while (*at) /* the arguments, */
        at++;
    for (at++; *at; at++) /* the environment, */
        ;
    describe((Elf64_auxv_t *)(at + 1), &image, headers);
    fp_front_jump(image.header.e_entry, argv - 1);
}
