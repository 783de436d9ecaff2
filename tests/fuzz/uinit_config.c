// SPDX-License-Identifier: Apache-2.0
// Hostile configurations for uinit: refused, or every directive of them stays inside the bytes.
#define _GNU_SOURCE
#include "uinit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void try_one(const char *bytes, size_t size)
{
    struct uinit_config config;
    struct uinit_directive found;
    struct fp_error error = {0};
    if (uinit_config_open(bytes, size, &config, &error) < 0) {
        if (error.number != EINVAL || !error.step[0])
            abort();
        return;
    }
    for (size_t offset = 0; uinit_config_next(&config, UINIT_COUNT, &offset, &found);)
        if (offset > config.size || found.code >= UINIT_COUNT)
            abort();
    for (int code = 0; code < UINIT_COUNT; code++)
        uinit_config_last(&config, (enum uinit_code)code, &found);
}

/* A configuration of known words and others, then some bytes of it changed, cut or repeated. */
static size_t make(char *bytes, size_t room)
{
    static const char *const words[] = {
        "root",  "share", "mount", "bind",    "from_share", "hostname", "sysctl", "link",  "address", "gateway",
        "rlimit", "umask", "group", "user",   "bounding",   "cwd",      "env",    "arg",   "terminal", "stop",
        "status", "reboot", "/",   "/a/b",    "0",          "1",        "18446744073709551615", "18446744073709551616",
        "-1",     "",      "x=y",  "no_new_privileges", "\xff\xfe", "uinit 1",
    };
    size_t size = (size_t)snprintf(bytes, room, "%s", FP_UINIT_MAGIC) + 1;
    for (int i = rand() % 40; i > 0 && size + 64 < room; i--)
        size += (size_t)snprintf(bytes + size, 64, "%s", words[(size_t)rand() % (sizeof(words) / sizeof(*words))]) + 1;
    for (int i = rand() % 4; i > 0; i--)
        bytes[(size_t)rand() % size] = (char)rand();
    return rand() % 4 ? size : (size_t)rand() % (size + 1);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    time_t end = time(NULL) + atoi(argv[1]);
    srand((unsigned)strtoul(argv[2], NULL, 10));
    for (unsigned long count = 0; time(NULL) < end || count < 1000; count++) {
        char draft[2048];
        size_t size = make(draft, sizeof(draft));
        char *exact = malloc(size ? size : 1); /* the sanitizer knows where it ends */
        memcpy(exact, draft, size);
        try_one(exact, size);
        free(exact);
    }
    return 0;
}
