// SPDX-License-Identifier: Apache-2.0
// steps FILE PROGRAM ARGUMENT...: runs a program step by step and writes to FILE how many instructions of its own it
// took: not those of the kernel, nor of its children.  A step takes 10 to 50 us; the exit status is the program's.
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int fault(const char *what)
{
    perror(what);
    return 125;
}

int main(int argc, char **argv)
{
    unsigned long steps = 0;
    int status;
    if (argc < 3)
        return 125;
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return fault("fork");
    for (; WIFSTOPPED(status); steps++) {
        long signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, signal) < 0 || waitpid(pid, &status, __WALL) < 0)
            return fault("ptrace");
    }
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%lu\n", steps) < 0 || fclose(file))
        return fault(argv[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
