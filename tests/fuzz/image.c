// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as a guest's image or as a monitor's program: told apart by its headers (multiboot, bzImage, PVH),
// its libraries found, its Solo5 manifest read for every target.
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf_solo5.h"
#include "promise.h"

static void check_dependencies(int fd, size_t size)
{
    struct fp_error error = {0};
    struct fp_elf_dependencies found;
    bool good = fp_elf_dependencies(fd, &found, &error) == 0;
    must(good || (error.number != 0 && error.path[0]), "failure says why");
    for (size_t i = 0; good && i < found.needed_count; i++)
        must(found.needed[i] && strlen(found.needed[i]) < size, "names are in the file");
    must(!good || found.dynamic || found.needed_count == 0, "a static program needs nothing");
    fp_elf_dependencies_deinit(&found);
}

static void check_manifest(int fd, uint32_t target)
{
    struct fp_error error = {0};
    static struct fp_solo5_manifest manifest;
    if (fp_solo5_read_manifest(fd, target, &manifest, &error) < 0) {
        must(error.number != 0 && error.path[0], "failure says why");
        return;
    }
    must(manifest.count >= 1 && manifest.count <= FP_SOLO5_ENTRIES_MAX, "count");
    for (size_t i = 1; i < manifest.count; i++)
        must(memchr(manifest.entries[i].name, 0, FP_SOLO5_NAME_SIZE) != NULL, "names end");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct fp_image image;
    struct fp_error error = {0};
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    must(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size, "the file can be written");
    if (fp_image_identify(fd, &image, &error) == 0) {
        must(image.size == size, "the size is the file's");
        must((image.bits != 0) == (image.kind == FP_IMAGE_ELF32 || image.kind == FP_IMAGE_ELF64), "classes are of ELF");
    } else {
        must(error.number != 0 && error.path[0], "failure says why");
    }
    check_dependencies(fd, size);
    for (uint32_t target = 0; target < 5; target++)
        check_manifest(fd, target);
    return 0;
}
