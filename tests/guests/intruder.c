/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody does who has taken a monitor over: runs in a monitor's place, tries what the last word of its command
 * line says and prints how it went, "call: errno" each, 0 for success.  What its filter does not know ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *name, long result)
{
    dprintf(1, "%s: %d\n", name, result < 0 ? errno : 0);
}

#define TRY(call) say(#call, call)

/* What a program does to a terminal that is somebody else's, too, as with `urunc run` in a shell. */
static void type(void)
{
    TRY(isatty(0) ? 0 : -1);
    TRY(ioctl(0, TIOCSTI, "x"));
    TRY(ioctl(0, TIOCSCTTY, 0));
    TRY(ioctl(0, TIOCSCTTY, 1));
    TRY(ioctl(0, TIOCCONS));
}

/* Calls that are on the list of QEMU: what they reach is up to the other walls. */
static void reach(void)
{
    TRY(open("/proc/self/status", O_RDONLY));
    TRY(open("/sys", O_RDONLY));
    TRY(open("/etc/passwd", O_RDONLY));
    TRY(open("/dev/kvm", O_RDWR));
    TRY(open("/dev/mem", O_RDWR));
    TRY(open("/new", O_RDWR | O_CREAT, 0600));
    TRY(open("/guest/kernel", O_RDWR));
    TRY(open("/.monitor/.manifest", O_RDWR));
    TRY(mkdirat(AT_FDCWD, "/new", 0700));
    TRY(mknodat(AT_FDCWD, "/dev/mem", S_IFCHR | 0600, 0x101));
    TRY(unlinkat(AT_FDCWD, "/guest/kernel", 0));
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
    TRY(syscall(SYS_clone3, NULL, 0));
    TRY(syscall(SYS_io_uring_setup, 1, NULL));
    TRY(syscall(4095));
    TRY(openat(AT_FDCWD, "..", O_RDONLY | O_DIRECTORY));
    TRY(openat(AT_FDCWD, "../../../../etc/passwd", O_RDONLY));
}

static const struct {
    const char *name;
    long number, arguments[3];
} denied[] = {
    {"mount", SYS_mount, {0}},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}},
    {"setns", SYS_setns, {0}},
    {"ptrace", SYS_ptrace, {16, 1}},
    {"setuid", SYS_setuid, {0}},
    {"bpf", SYS_bpf, {0}},
    {"fork", SYS_clone, {SIGCHLD}},
    {"kill", SYS_kill, {-1, 0}},
    {"keyctl", SYS_keyctl, {0}},
    {"chroot", SYS_chroot, {0}},
    {"pivot_root", SYS_pivot_root, {0}},
    {"socket", SYS_socket, {2, 1}},
    {"perf", SYS_perf_event_open, {0}},
    {"userfaultfd", SYS_userfaultfd, {0}},
    {"process_vm", SYS_process_vm_readv, {1}},
    {"add_key", SYS_add_key, {0}},
    {"by_handle", SYS_open_by_handle_at, {-1}},
    {"pidfd_getfd", SYS_pidfd_getfd, {0}},
    {"shmget", SYS_shmget, {0}},
};

int main(int argc, char **argv)
{
    const char *blank = strrchr(argv[argc - 1], ' '), *word = blank ? blank + 1 : argv[argc - 1];
    if (strcmp(word, "reach") == 0)
        reach();
    if (strcmp(word, "type") == 0)
        type();
#ifdef __x86_64__
    if (strcmp(word, "int80") == 0) {
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L /* getpid of i386 */) : "memory");
        say("int80", result);
    }
#endif
    for (size_t i = 0; i < sizeof(denied) / sizeof(*denied); i++)
        if (strcmp(word, denied[i].name) == 0)
            say(word,
                syscall(denied[i].number, denied[i].arguments[0], denied[i].arguments[1], denied[i].arguments[2]));
    dprintf(1, "still here\n");
    return 0;
}
