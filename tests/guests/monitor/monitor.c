/*
 * A program in QEMU's place, in Firecracker's, and in a helper's: it does what the words of its command line or of its
 * configuration file say, in this order.
 *
 *   answer=N     listens on the socket behind --api-sock, says "ready", and gives each request this HTTP status; with 204
 *                it writes the request to its errors and ends
 *   flood        sends a megabyte without a line end to QMP's client, then one
 *   replies=N    answers N commands of QMP's client
 *   credentials  writes its uid, its capabilities and whether descriptor 3 is open
 *   catch        says so when SIGTERM comes, and ends with 9
 *   sleep        says "ready" and waits for ever
 *   status=N     ends with N; without it with 0
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int qmp = -1; /* the descriptor */

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
    for (int done = 0; done < count && read(qmp, &c, 1) == 1;)
        if (c == '\n')
            done += dprintf(qmp, "{\"return\": {}}\r\n") > 0;
}

static void answer(const char *path, int status)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), connection;
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0) {
        perror(path);
        _exit(1);
    }
    dprintf(1, "ready\n");
    /* the calls are those of a Firecracker: its filter holds here, too */
    while ((connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        char request[4096];
        ssize_t got = read(connection, request, sizeof(request));
        if (got <= 0)
            continue;
        dprintf(connection, "HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n", status);
        if (status == 204) {
            dprintf(2, "%.*s\n", (int)got, request);
            return;
        }
    }
}

/* The command line, and what is in the file behind --config-file, as one string. */
static void collect(int argc, char **argv, char *all, size_t size)
{
    for (int i = 1; i < argc; i++) {
        strncat(all, argv[i], size - strlen(all) - 2);
        strcat(all, " ");
    }
    for (int i = 1; i + 1 < argc; i++) {
        int fd = strcmp(argv[i], "--config-file") ? -1 : open(argv[i + 1], O_RDONLY);
        size_t length = strlen(all);
        ssize_t got = fd < 0 ? 0 : read(fd, all + length, size - length - 1);
        all[length + (size_t)(got > 0 ? got : 0)] = 0;
    }
}

int main(int argc, char **argv)
{
    char all[65536] = "";
    collect(argc, argv, all, sizeof(all));
    const char *at = strstr(all, "id=qmp,fd=");
    qmp = at ? atoi(at + 10) : -1;
    if (strstr(all, "flood")) {
        char *block = malloc(1 << 20);
        memset(block, 'x', 1 << 20);
        dprintf(qmp, "%.*s\n", 1 << 20, block);
    }
    if ((at = strstr(all, "replies=")))
        reply(atoi(at + 8));
    if ((at = strstr(all, "answer=")))
        for (int i = 1; i + 1 < argc; i++)
            if (strcmp(argv[i], "--api-sock") == 0)
                answer(argv[i + 1], atoi(at + 7));
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
