// SPDX-License-Identifier: Apache-2.0
// The program at the head of dist/urunc; see front.h.  Static, and against musl: its start is most of its time.
#define _GNU_SOURCE
#include "front.h"

#include "error.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define PYTHON  "/usr/bin/python3"
#define FAILURE "URUNC_FRONT_FAILURE" /* "errno step<newline>path" of a start that failed; cli.py reads it */

/* A file opened where a closed standard stream was would be taken for it: Python opens /dev/null there. */
static bool has_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return false;
    return true;
}

static int complain(const char *what)
{
    fprintf(stderr, "urunc: %s: %s\n", what, strerror(errno));
    return 1;
}

/* Become `python3 -IS` with this file, which is an archive of ours too, and the same words. */
static int become_python(int argc, char **argv)
{
    const char *file = (const char *)getauxval(AT_EXECFN);
    const char **words = calloc((size_t)argc + 3, sizeof(*words));
    if (!words)
        return complain("calloc");
    words[0] = PYTHON;
    words[1] = "-IS";
    words[2] = file;
    for (int i = 1; i < argc; i++)
        words[i + 2] = argv[i];
    execv(PYTHON, (char *const *)words);
    return complain("this command needs " PYTHON);
}

static void pass_failure(const struct fp_error *error)
{
    char text[FP_STEP_MAX + FP_PATH_MAX + 16];
    snprintf(text, sizeof(text), "%d %s\n%s", error->number, error->step, error->path);
    setenv(FAILURE, text, 1);
}

int main(int argc, char **argv)
{
    struct fp_command command;
    struct fp_error error = {0};
    bool failed = false;
    unsetenv(FAILURE);
    if (has_streams() && fp_front_parse(argv, &command)) {
        int status = fp_front_serve(&command, &failed, &error);
        if (status >= 0)
            _exit(status);
        if (failed)
            pass_failure(&error);
    }
    return become_python(argc, argv);
}
