// SPDX-License-Identifier: Apache-2.0
// The floor of a container's start in plain C: clone3 with five namespaces, a tmpfs as root, pivot_root, exec.
// floor PROGRAM [ARGUMENT...]: for each byte of standard input prints the microseconds that it took until PROGRAM,
// which is static, was executed (CLONE_VFORK ends then); -1 if it failed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void check(long result, const char *what)
{
    if (result >= 0)
        return;
    perror(what);
    exit(1);
}

static void enter(int program, char **argv)
{
    char *environment[] = {NULL};
    check(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
    check(mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID, "mode=755"), "mount tmpfs");
    check(chdir("/tmp"), "chdir");
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount");
    check(chdir("/"), "chdir");
    execveat(program, "", argv, environment, AT_EMPTY_PATH);
    check(-1, "exec");
}

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    int program = open(argv[1], O_RDONLY | O_CLOEXEC);
    check(program, argv[1]);
    while (getchar() != EOF) {
        struct clone_args arguments = {.flags = CLONE_VFORK | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
                                                CLONE_NEWUTS,
                                       .exit_signal = SIGCHLD};
        double begin = now_us();
        long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
        check(pid, "clone3");
        if (pid == 0)
            enter(program, argv + 1);
        double took = now_us() - begin;
        int status;
        check(waitpid((pid_t)pid, &status, 0), "wait");
        printf("%.1f\n", status ? -1.0 : took);
        fflush(stdout);
    }
    return 0;
}
