/*
 * A program in QEMU's place, and in a helper's: it does what the words of its command line say, in this order.
 *   flood       sends a megabyte without a line end on descriptor 3, then one
 *   replies=N   answers N commands on descriptor 3
 *   credentials writes its uid, its capabilities and whether descriptor 3 is open
 *   catch       says so when SIGTERM comes, and ends with 9
 *   sleep       says "ready" and waits for ever
 *   status=N    ends with N; without it with 0
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void caught(int number)
{
    (void)number;
    dprintf(1, "caught\n");
    _exit(9);
}

/* There is no /proc where monitors live. */
static void credentials(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    unsigned bounding = 0;
    syscall(SYS_capget, &header, data);
    for (int capability = 0; capability < 32; capability++)
        bounding |= (unsigned)(prctl(PR_CAPBSET_READ, capability) > 0) << capability;
    dprintf(2, "uid %d, effective %x, bounding %x, descriptor 3 %s\n", (int)geteuid(), data[0].effective, bounding,
            fcntl(3, F_GETFD) < 0 ? "closed" : "open");
}

static void reply(int count)
{
    char c;
    for (int done = 0; done < count && read(3, &c, 1) == 1;)
        if (c == '\n')
            done += dprintf(3, "{\"return\": {}}\r\n") > 0;
}

int main(int argc, char **argv)
{
    char all[65536] = "";
    for (int i = 1; i < argc; i++) {
        strncat(all, argv[i], sizeof(all) - strlen(all) - 2);
        strcat(all, " ");
    }
    if (strstr(all, "flood")) {
        char *block = malloc(1 << 20);
        memset(block, 'x', 1 << 20);
        dprintf(3, "%.*s\n", 1 << 20, block);
    }
    const char *at = strstr(all, "replies=");
    if (at)
        reply(atoi(at + 8));
    if (strstr(all, "credentials"))
        credentials();
    if (strstr(all, "catch"))
        signal(SIGTERM, caught);
    if (strstr(all, "sleep")) {
        dprintf(1, "ready\n");
        for (;;)
            poll(NULL, 0, -1); /* of the calls that a monitor's filter allows */
    }
    at = strstr(all, "status=");
    return at ? atoi(at + 7) : 0;
}
