// SPDX-License-Identifier: Apache-2.0
// Does the one wrong thing that its command line names; lives to tell only if nobody stops it.
#include "spt.h"

DEVICES(0)

static unsigned char code[] = {0xc3}; /* ret, in data */
static struct event event;
static uint64_t mask = ~(uint64_t)0;

static void write_text(const struct boot *boot)
{
    (void)boot;
    *(volatile char *)(uintptr_t)_start = 0;
}
static void write_rodata(const struct boot *boot)
{
    (void)boot;
    *(volatile char *)&abi_note = 0;
}
static void run_data(const struct boot *boot)
{
    (void)boot;
    ((void (*)(void))(uintptr_t)code)();
}
static void run_rodata(const struct boot *boot)
{
    (void)boot;
    ((void (*)(void))(uintptr_t)&abi_note)();
}
static void run_stack(const struct boot *boot)
{
    volatile unsigned char ret = 0xc3;
    (void)boot;
    ((void (*)(void))(uintptr_t)&ret)();
}
static void run_heap(const struct boot *boot)
{
    *(volatile unsigned char *)boot->kernel_end = 0xc3;
    ((void (*)(void))boot->kernel_end)();
}
static void read_null(const struct boot *boot)
{
    (void)boot;
    (void)*(volatile char *)8;
}
static void read_above(const struct boot *boot)
{
    (void)*(volatile char *)boot->memory;
}
static void read_tls(const struct boot *boot)
{
    (void)boot;
    __asm__ volatile("mov %%fs:0x28, %%rax" : : : "rax");
}
static void illegal(const struct boot *boot)
{
    (void)boot;
    __asm__ volatile("ud2");
}
static void divide(const struct boot *boot)
{
    (void)boot;
    __asm__ volatile("xor %%ecx, %%ecx; div %%ecx" : : : "rax", "rcx", "rdx");
}
static void breakpoint(const struct boot *boot)
{
    (void)boot;
    __asm__ volatile("int3");
}
static void bad_stack(const struct boot *boot)
{
    (void)boot;
    __asm__ volatile("movabs $0x8000000000000000, %rsp; push %rax");
}
static void no_stack(const struct boot *boot)
{
    (void)boot;
    __asm__ volatile("xor %esp, %esp; ud2");
}
static void call_getpid(const struct boot *boot)
{
    (void)boot;
    call(39, 0, 0, 0, 0, 0, 0);
}
static void call_open(const struct boot *boot)
{
    call(2, (long)boot->cmdline, 0, 0, 0, 0, 0);
}
static void call_mmap(const struct boot *boot)
{
    (void)boot;
    call(9, 0, 4096, 7, 0x22, -1, 0);
}
static void call_mprotect(const struct boot *boot)
{
    (void)boot;
    call(10, 0x100000, 4096, 7, 0, 0, 0);
}
static void call_sigreturn(const struct boot *boot)
{
    (void)boot;
    call(15, 0, 0, 0, 0, 0, 0);
}
static void call_read_stdin(const struct boot *boot)
{
    (void)boot;
    call(READ, 0, (long)code, 1, 0, 0, 0);
}
static void call_write_stderr(const struct boot *boot)
{
    (void)boot;
    call(WRITE, 2, (long)"out\n", 4, 0, 0, 0);
}
static void call_set_gs(const struct boot *boot)
{
    (void)boot;
    call(ARCH_PRCTL, 0x1001, 0, 0, 0, 0, 0);
}
static void call_cpu_clock(const struct boot *boot)
{
    (void)boot;
    call(CLOCK_GETTIME, 2, (long)&event, 0, 0, 0, 0);
}
static void call_other_timer(const struct boot *boot)
{
    (void)boot;
    call(TIMERFD_SETTIME, 9, 0, 0, 0, 0, 0);
}
static void call_wait_masked(const struct boot *boot)
{
    call(EPOLL_PWAIT, boot->epoll_fd, (long)&event, 1, 0, (long)&mask, 8);
}
static void call_x32(const struct boot *boot)
{
    (void)boot;
    call(0x40000000 | WRITE, 1, (long)"out\n", 4, 0, 0, 0);
}
static void call_i386(const struct boot *boot)
{
    (void)boot;
    __asm__ volatile("int $0x80" : : "a"(4), "b"(1), "c"(code), "d"(1) : "memory"); /* write of 32-bit programs */
}

static const struct {
    const char *name;
    void (*go)(const struct boot *);
} wrongs[] = {
    {"write-text", write_text},
    {"write-rodata", write_rodata},
    {"run-data", run_data},
    {"run-rodata", run_rodata},
    {"run-stack", run_stack},
    {"run-heap", run_heap},
    {"read-null", read_null},
    {"read-above", read_above},
    {"read-tls", read_tls},
    {"illegal", illegal},
    {"divide", divide},
    {"breakpoint", breakpoint},
    {"bad-stack", bad_stack},
    {"no-stack", no_stack},
    {"call-getpid", call_getpid},
    {"call-open", call_open},
    {"call-mmap", call_mmap},
    {"call-mprotect", call_mprotect},
    {"call-sigreturn", call_sigreturn},
    {"call-read-stdin", call_read_stdin},
    {"call-write-stderr", call_write_stderr},
    {"call-set-gs", call_set_gs},
    {"call-cpu-clock", call_cpu_clock},
    {"call-other-timer", call_other_timer},
    {"call-wait-masked", call_wait_masked},
    {"call-x32", call_x32},
    {"call-i386", call_i386},
};

static int run(const struct boot *boot)
{
    print(boot->cmdline);
    print("\n");
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++)
        if (same(boot->cmdline, wrongs[i].name))
            wrongs[i].go(boot);
    print("alive\n");
    return 3;
}
