// SPDX-License-Identifier: Apache-2.0
// Processes that serve a monitor; see helper.h.
#define _GNU_SOURCE
#include "helper.h"

#include "cleanup.h"
#include "enter.h"
#include "kernel.h"
#include "protocol.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { HELPER_FD = 3 };

static int drop_to(int64_t uid, int64_t gid, int64_t capabilities, struct fp_error *error)
{
    int64_t kept = uid ? capabilities : 0; /* by exec: root has what is in the bounding set */
    const struct fp_operation operations[] = {
        {FP_OP_BOUNDING_SET, {{.integer = capabilities}}},
        {FP_OP_GROUPS, {{.items = NULL, .count = 0}}},
        {FP_OP_USER, {{.integer = uid}, {.integer = gid}}},
        {FP_OP_CAPABILITIES,
         {{.integer = capabilities}, {.integer = capabilities}, {.integer = kept}, {.integer = kept}}},
        {FP_OP_NO_NEW_PRIVILEGES, {{.integer = 0}}},
    };
    for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
        if (fp_enter_operation(&operations[i], NULL, error) < 0)
            return -1;
    return 0;
}

/* In the helper: its messages go where the guest's errors go, and nothing else is shared with the guest. */
static int execute_helper(const struct fp_operation *operation, const int *slots, pid_t parent, struct fp_error *error)
{
    const union fp_argument *argument = operation->arguments;
    const char *path = argument[1].text;
    _cleanup_free_ const char **argv = calloc(argument[2].count + 1, sizeof(*argv));
    _cleanup_free_ const char **environment = calloc(argument[3].count + 1, sizeof(*environment));
    if (!argv || !environment)
        return fp_fail(error, "helper", path);
    fp_vector(&argument[2], argv);
    fp_vector(&argument[3], environment);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
        return fp_fail(error, "open", "/dev/null");
    int given = argument[0].integer < 0 ? -1 : slots[argument[0].integer];
    /* the one that has the number already would be closed at exec: dup2 leaves it as it is */
    if (given == HELPER_FD ? fcntl(given, F_SETFD, 0) < 0 : given >= 0 && dup2(given, HELPER_FD) < 0)
        return fp_fail(error, "dup", path);
    if (argument[7].integer && dup2(null, 2) < 0)
        return fp_fail(error, "open", "/dev/null");
    if (drop_to(argument[4].integer, argument[5].integer, argument[6].integer, error) < 0)
        return -1;
    fp_default_signals();
    /* after the change of user, which clears it */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        return fp_fail_with(error, ESRCH, "helper", path);
    execve(path, (char *const *)argv, (char *const *)environment);
    return fp_fail(error, "helper: exec", path);
}

int fp_helper_start(const struct fp_operation *operation, const int *slots, pid_t *ret, struct fp_error *error)
{
    const char *path = operation->arguments[1].text;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return fp_fail(error, "socketpair", path);
    _cleanup_close_ int ours = pair[0];
    _cleanup_close_ int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, FP_SLOT_COUNT);
    close(pair[1]);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return fp_fail(error, "fork", path);
    if (pid == 0) {
        struct fp_error failed = {0};
        execute_helper(operation, slots, parent, &failed);
        fp_send_result(theirs, &failed);
        _exit(127);
    }
    close(fp_take_fd(&theirs));
    struct fp_error result;
    int received = fp_receive_result(ours, &result, error); /* end of file: execve closed it */
    if (received > 0)
        *error = result;
    if (received != 0)
        return -1;
    *ret = pid;
    return 0;
}
