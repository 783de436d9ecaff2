// SPDX-License-Identifier: Apache-2.0
// The kernel's audit records; see audit.h.
#define _GNU_SOURCE
#include "audit.h"

#include "cleanup.h"
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <time.h>
#include <unistd.h>

enum { READ_ALL = 3, SIZE_BUFFER = 10 };          /* syslog(2) */
static const char INITIAL[] = "pid:[4026531836]"; /* PROC_PID_INIT_INO */

int fp_audit_find(const char *log, pid_t pid, double since_s)
{
    char wanted[32];
    int found = -1;
    snprintf(wanted, sizeof(wanted), " pid=%d ", (int)pid);
    for (const char *at = log; (at = strstr(at, "type=1326 audit(")); at++) { /* AUDIT_SECCOMP */
        const char *end = strchrnul(at, '\n');
        double stamp = strtod(at + strlen("type=1326 audit("), NULL);
        const char *process = memmem(at, (size_t)(end - at), wanted, strlen(wanted));
        const char *call = memmem(at, (size_t)(end - at), " syscall=", 9);
        if (process && call && stamp >= since_s)
            found = atoi(call + 9);
    }
    return found;
}

static double now_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int logged(pid_t pid, uint64_t start_time)
{
    char link[64] = "";
    if (readlink("/proc/self/ns/pid", link, sizeof(link) - 1) < 0 || strcmp(link, INITIAL) != 0)
        return -1;
    int size = klogctl(SIZE_BUFFER, NULL, 0);
    _cleanup_free_ char *log = size > 0 ? malloc((size_t)size + 1) : NULL;
    int length = log ? klogctl(READ_ALL, log, size) : -1;
    if (length < 0)
        return -1;
    log[length] = '\0';
    double started_s = (double)start_time / (double)sysconf(_SC_CLK_TCK);
    double since_s = now_s(CLOCK_REALTIME) - now_s(CLOCK_BOOTTIME) + started_s;
    return fp_audit_find(log, pid, since_s - 1); /* a clock that was set by a little is no reason to miss it */
}

/* The signal that ended a process whom nobody has waited for, 0 for none: the last field of proc_pid_stat(5). */
static int signal_of_end(pid_t pid, uint64_t start_time)
{
    struct fp_process process;
    char path[32], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!fp_process_stat(pid, &process) || process.start_time != start_time || process.state != 'Z')
        return 0;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    const char *last = strrchr(text, ' ');
    return last ? atoi(last) & 0x7f : 0;
}

bool fp_audit_denied(pid_t pid, uint64_t start_time, int *ret)
{
    *ret = logged(pid, start_time);
    return *ret >= 0 || signal_of_end(pid, start_time) == SIGSYS;
}
