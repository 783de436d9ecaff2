/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest of Solo5's spt ABI (version 2) needs to know, stated apart from the tender's own headers: two statements
 * of the same facts that disagree make a test fail. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { BLOCK = 1, NET = 2, FIRST = 1 << 30 };
enum {
    READ = 0,
    WRITE = 1,
    PREAD = 17,
    PWRITE = 18,
    ARCH_PRCTL = 158,
    CLOCK_GETTIME = 228,
    EXIT_GROUP = 231,
    EPOLL_PWAIT = 281,
    TIMERFD_SETTIME = 286
};
enum { TIMER = 0xfffffffe }; /* what the epoll set says of the timer; of a net device it says its index */

struct device {
    char name[68];
    uint32_t type;
    union {
        struct {
            uint64_t capacity;
            uint16_t sector_size;
        } block;
        struct {
            uint8_t mac[6];
            uint16_t mtu;
        } net;
    };
    int32_t fd;
    uint32_t unused;
    uint8_t attached;
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct device) == 104 && offsetof(struct device, fd) == 88, "as the tender lays it out");

struct manifest {
    uint32_t version, count;
    struct device devices[];
};

/* What the entry point is called with. */
struct boot {
    uint64_t memory, kernel_end;
    const char *cmdline;
    const struct manifest *manifest;
    int32_t epoll_fd, timer_fd;
};

struct event {
    uint32_t events;
    uint64_t mark;
} __attribute__((packed));

/* The two notes.  DEVICES(N, {.name = "disk", .type = BLOCK}, ...): N devices. */
static const struct {
    uint32_t name_size, size, type;
    char name[8];
    uint32_t target, version, reserved[2];
} abi_note __attribute__((used, section(".note.abi"), aligned(4))) = {6, 16, 0x31494241, "Solo5", 2, 2, {0, 0}};

#define DEVICES(N, ...)                                                                                                \
    static const struct {                                                                                              \
        uint32_t name_size, size, type;                                                                                \
        char name[8];                                                                                                  \
        uint32_t padding, version, count;                                                                              \
        struct device devices[(N) + 1];                                                                                \
    } manifest_note __attribute__((used, section(".note.manifest"), aligned(8))) = {                                   \
        6, 12 + 104 * ((N) + 1), 0x3154464d, "Solo5", 0, 1, (N) + 1, {{.type = FIRST}, ##__VA_ARGS__}};

static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return number;
}

static inline size_t length(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

static inline void print(const char *text)
{
    call(WRITE, 1, (long)text, (long)length(text), 0, 0, 0);
}

static inline void print_number(const char *what, uint64_t value)
{
    char digits[24] = {0};
    int at = 22;
    for (digits[at] = '\n'; value > 9; value /= 10)
        digits[--at] = (char)('0' + value % 10);
    digits[--at] = (char)('0' + value);
    print(what);
    print(digits + at);
}

static inline int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline uint64_t number(const char *text)
{
    uint64_t value = 0;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + (uint64_t)(*text++ - '0');
    return value;
}

/* The guest; what it returns is its exit status. */
static int run(const struct boot *boot);

void _start(const struct boot *boot);
__attribute__((force_align_arg_pointer)) void _start(const struct boot *boot)
{
    call(EXIT_GROUP, run(boot), 0, 0, 0, 0, 0);
    for (;;)
        ;
}
