// SPDX-License-Identifier: Apache-2.0
// The way out to an ordinary interpreter; see front.h.
#include "front.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define PYTHON "/usr/bin/python3"

int fp_front_complain(const char *what)
{
    fprintf(stderr, "urunc: %s: %s\n", what, strerror(errno));
    return 1;
}

int fp_front_become_python(int argc, char *const *argv)
{
    const char *file = (const char *)getauxval(AT_EXECFN);
    const char **words = calloc((size_t)argc + 3, sizeof(*words));
    if (!words)
        return fp_front_complain("calloc");
    words[0] = PYTHON;
    words[1] = "-IS";
    words[2] = file;
    for (int i = 1; i < argc; i++)
        words[i + 2] = argv[i];
    execv(PYTHON, (char *const *)words);
    return fp_front_complain("this command needs " PYTHON);
}
