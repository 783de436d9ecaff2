// SPDX-License-Identifier: Apache-2.0
// The program at the head of dist/urunc; see front.h.  Static, and against musl: its start is most of its time.
#define _GNU_SOURCE
#include "front.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FAILURE "URUNC_FRONT_FAILURE" /* "errno step<newline>path" of a start that failed; cli.py reads it */

/* Where the embedded interpreter begins in our file; ci/archive.py looks for the mark and writes the number behind it.
 * 0: it was built without one. */
static const volatile struct {
    char mark[16];
    uint64_t offset;
} embedded = {"urunc-embedded:", 0};

/* A file opened where a closed standard stream was would be taken for it: Python opens /dev/null there. */
static bool has_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return false;
    return true;
}

static void pass_failure(const struct fp_error *error)
{
    char text[FP_STEP_MAX + FP_PATH_MAX + 16];
    snprintf(text, sizeof(text), "%d %s\n%s", error->number, error->step, error->path);
    setenv(FAILURE, text, 1);
}

int main(int argc, char **argv)
{
    struct fp_command command = {0};
    struct fp_error error = {0};
    bool failed = false;
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error with a name, not the end in the midst of a step */
    if (getenv(FAILURE) || !has_streams()) {
        unsetenv(FAILURE);
        return fp_front_become_python(argc, argv);
    }
    if (fp_front_parse(argv, &command)) {
        int status = fp_front_serve(&command, &failed, &error);
        if (status >= 0)
            _exit(status);
    }
    if (failed)
        pass_failure(&error);
    else if (command.verb != FP_VERB_OTHER && embedded.offset) {
        fp_front_load((off_t)embedded.offset, argv);
        /* an ordinary CPython takes more, and 3.11 goes round for ever where it gets no object for an exception */
        if (errno == ENOMEM)
            return fp_front_complain("the interpreter does not fit: raise RLIMIT_AS or RLIMIT_DATA");
    }
    return fp_front_become_python(argc, argv);
}
