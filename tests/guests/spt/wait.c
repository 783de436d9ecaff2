// SPDX-License-Identifier: Apache-2.0
// "sleep": waits for ever; "spin": computes for ever; "timer": waits 20 ms three times and says how that went.
#include "spt.h"

DEVICES(0)

static int64_t now(void)
{
    int64_t at[2];
    call(CLOCK_GETTIME, 1, (long)at, 0, 0, 0, 0);
    return at[0] * 1000000000 + at[1];
}

static int64_t sleep_until(const struct boot *boot, int64_t deadline)
{
    int64_t when[4] = {0, 0, deadline / 1000000000, deadline % 1000000000 | 1};
    struct event event = {0};
    call(TIMERFD_SETTIME, boot->timer_fd, 1, (long)when, 0, 0, 0);
    long events = call(EPOLL_PWAIT, boot->epoll_fd, (long)&event, 1, -1, 0, 0);
    return events == 1 && event.mark == TIMER ? now() - deadline : -1;
}

static int run(const struct boot *boot)
{
    print("waiting\n");
    if (same(boot->cmdline, "spin"))
        for (;;)
            __asm__ volatile("pause");
    if (same(boot->cmdline, "sleep"))
        for (;;)
            sleep_until(boot, now() + 1000000000000);
    for (int i = 0; i < 3; i++)
        print(sleep_until(boot, now() + 20000000) >= 0 ? "in time\n" : "too early\n");
    return 0;
}
