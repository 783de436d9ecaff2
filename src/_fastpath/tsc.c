// SPDX-License-Identifier: Apache-2.0
// The frequency of the time stamp counter; see tsc.h.
#include "tsc.h"

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)

enum { MEASURED_NS = 20000000, TRIES = 16 };

struct moment {
    uint64_t ticks, ns;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Both clocks at once: of several tries the one that took least, so that no interruption lies between them. */
static struct moment moment_now(void)
{
    struct moment best = {0};
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        uint64_t before = __builtin_ia32_rdtsc(), ns = now_ns(), after = __builtin_ia32_rdtsc();
        if (after - before < least) {
            least = after - before;
            best = (struct moment){before + least / 2, ns};
        }
    }
    return best;
}

long fp_tsc_khz(void)
{
    struct moment first = moment_now();
    nanosleep(&(struct timespec){.tv_nsec = MEASURED_NS}, NULL);
    struct moment last = moment_now();
    return last.ns > first.ns ? (long)((last.ticks - first.ticks) * 1000000 / (last.ns - first.ns)) : 0;
}

#else

long fp_tsc_khz(void)
{
    return 0;
}

#endif
