/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest of Solo5's hvt ABI (version 1) on x86-64 needs to know (include/hvt_abi.h of Solo5): it is called in
 * long mode, and asks its tender by writing the address of a struct to an I/O port.  No SSE: nested KVM may emulate. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { BLOCK = 1, NET = 2, FIRST = 1 << 30, PORT = 0x500 };
enum { PUTS = 2, POLL = 3, BLOCK_WRITE = 4, BLOCK_READ = 5, NET_WRITE = 6, NET_READ = 7, HALT = 8 };

struct device {
    char name[68];
    uint32_t type;
    uint64_t capacity, sector_size, fd, attached; /* of a net device: MAC, MTU ... */
};
_Static_assert(sizeof(struct device) == 104, "an entry of the manifest");

struct boot {
    uint64_t memory, kernel_end, frequency;
    const char *cmdline;
    const struct {
        uint32_t version, count;
        struct device devices[];
    } * manifest;
};

static const struct {
    uint32_t name_size, size, type;
    char name[8];
    uint32_t target, version, reserved[2];
} abi_note __attribute__((used, section(".note.abi"), aligned(4))) = {6, 16, 0x31494241, "Solo5", 1, VERSION, {0, 0}};

#define DEVICES(N, ...)                                                                                                \
    static const struct {                                                                                              \
        uint32_t name_size, size, type;                                                                                \
        char name[8];                                                                                                  \
        uint32_t padding, version, count;                                                                              \
        struct device devices[(N) + 1];                                                                                \
    } manifest_note __attribute__((used, section(".note.manifest"), aligned(8))) = {                                   \
        6, 12 + 104 * ((N) + 1), 0x3154464d, "Solo5", 0, 1, (N) + 1, {{.type = FIRST}, ##__VA_ARGS__}};

static void ask(int what, volatile void *argument)
{
    __asm__ volatile("outl %0, %1" : : "a"((uint32_t)(uintptr_t)argument), "d"((uint16_t)(PORT + what)) : "memory");
}

static void print(const char *text)
{
    struct {
        const char *data;
        uint64_t size;
    } puts = {text, 0};
    while (text[puts.size])
        puts.size++;
    ask(PUTS, &puts);
}

static void end(int status)
{
    struct {
        void *cookie;
        int32_t status;
    } halt = {NULL, status};
    ask(HALT, &halt);
    for (;;)
        __asm__ volatile("hlt");
}

/* A sector of a block device; 0 = done. */
static inline int block(int what, uint64_t device, uint64_t offset, void *sector)
{
    struct {
        uint64_t device, offset;
        void *data;
        uint64_t size;
        int32_t result;
    } request = {device, offset, sector, 512, -1};
    ask(what, &request);
    return request.result;
}
