// SPDX-License-Identifier: Apache-2.0
// Processes by pid and start time; see process.h.
#define _GNU_SOURCE
#include "process.h"

#include "cleanup.h"
#include "kernel.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PROC_TIME_INIT_INO 0xEFFFFFFAu /* the first time namespace (include/linux/proc_ns.h) */

static ssize_t read_file(const char *path, char *buffer, size_t size)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t length = read(fd, buffer, size - 1);
    if (length < 0)
        return -1;
    buffer[length] = '\0';
    return length;
}

static ssize_t read_proc(pid_t pid, const char *file, char *buffer, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return read_file(path, buffer, size);
}

/* What the kernel adds to a start time for readers in a time namespace (time_namespaces(7)), in clock ticks.  What is
 * kept is without it: a container is the same for callers in any of them. */
static int64_t clock_offset(void)
{
    static _Atomic int64_t known = INT64_MIN;
    struct stat status;
    char text[256];
    if (known != INT64_MIN)
        return known;
    long long seconds = 0, nanoseconds = 0, ticks = sysconf(_SC_CLK_TCK);
    if (stat("/proc/self/ns/time", &status) == 0 && status.st_ino != PROC_TIME_INIT_INO &&
        read_file("/proc/self/timens_offsets", text, sizeof(text)) > 0) {
        const char *line = strstr(text, "boottime");
        if (line)
            sscanf(line, "boottime %lld %lld", &seconds, &nanoseconds);
    }
    int64_t found = seconds * ticks + nanoseconds * ticks / 1000000000;
    known = found; /* clang takes the assignment itself for an atomic value */
    return found;
}

bool fp_process_stat(pid_t pid, struct fp_process *ret)
{
    char text[1024];
    errno = ESRCH;
    if (pid <= 0 || read_proc(pid, "stat", text, sizeof(text)) <= 0) {
        if (!fp_is_shortage(errno))
            errno = ESRCH;
        return false;
    }
    /* comm may hold spaces and parentheses: it ends at the last one */
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (!open || !close || close < open)
        return false;
    size_t length = (size_t)(close - open - 1);
    if (length >= sizeof(ret->comm))
        length = sizeof(ret->comm) - 1;
    memcpy(ret->comm, open + 1, length);
    ret->comm[length] = '\0';
    unsigned long long start;
    if (sscanf(close + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &ret->state, &start) != 2)
        return false;
    ret->start_time = start - (uint64_t)clock_offset();
    return true;
}

static uint64_t mask_after(const char *text, const char *key)
{
    unsigned long long mask = 0;
    const char *at = strstr(text, key);
    if (at)
        sscanf(at + strlen(key), " %llx", &mask);
    return mask;
}

bool fp_process_signals(pid_t pid, struct fp_process *ret)
{
    char text[8192];
    if (read_proc(pid, "status", text, sizeof(text)) <= 0)
        return false;
    ret->caught = mask_after(text, "\nSigCgt:");
    ret->ignored = mask_after(text, "\nSigIgn:");
    ret->namespace_leader = false;
    const char *line = strstr(text, "\nNSpid:");
    if (line) {
        const char *end = strchr(line + 1, '\n');
        const char *last = end;
        while (last && last > line && last[-1] != '\t' && last[-1] != ' ')
            last--;
        /* one number only: the pid in our own namespace */
        bool below = last && memchr(line + 8, '\t', (size_t)(last - line - 8)) != NULL;
        ret->namespace_leader = below && end - last == 1 && *last == '1';
    }
    return true;
}

int fp_process_open(pid_t pid, uint64_t start_time)
{
    if (pid <= 0) {
        errno = ESRCH;
        return -1;
    }
    _cleanup_close_ int pidfd = fp_pidfd_open(pid);
    if (pidfd < 0)
        return -1;
    struct fp_process process;
    /* looked at after the pidfd was opened: from here on it cannot become another process */
    if (!fp_process_stat(pid, &process))
        return -1;
    if (process.start_time != start_time || process.state == 'Z' || process.state == 'X') {
        errno = ESRCH;
        return -1;
    }
    return fp_take_fd(&pidfd);
}

static bool terminates_by_default(int number)
{
    switch (number) {
    case 0:
    case SIGCHLD:
    case SIGCONT:
    case SIGURG:
    case SIGWINCH:
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
        return false;
    default:
        return number > 0 && number <= 64;
    }
}

int fp_process_effective_signal(pid_t pid, int number)
{
    struct fp_process process;
    if (!terminates_by_default(number) || !fp_process_signals(pid, &process) || !process.namespace_leader)
        return number;
    uint64_t bit = UINT64_C(1) << (number - 1);
    return process.caught & bit || process.ignored & bit ? number : SIGKILL;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

bool fp_process_wait(int pidfd, int timeout_ms)
{
    int64_t end = now_ms() + timeout_ms;
    struct pollfd one = {.fd = pidfd, .events = POLLIN};
    for (;;) {
        int64_t left = timeout_ms < 0 ? -1 : end - now_ms();
        int ready = poll(&one, 1, timeout_ms < 0 ? -1 : left > 0 ? (int)left : 0);
        if (ready > 0)
            return true;
        if (ready == 0 || errno != EINTR)
            return false;
    }
}
