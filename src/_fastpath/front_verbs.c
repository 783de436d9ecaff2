// SPDX-License-Identifier: Apache-2.0
// start, state, kill and delete of an ordinary container; see front.h.  What runtime.py does, by the same C core.
#define _GNU_SOURCE
#include "front.h"

#include "cleanup.h"
#include "denied.h"
#include "lifecycle.h"
#include "planner.h"
#include "verbs.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { TO_PYTHON = -1 };

/* 1 if `ret` is a container of ours that is no special case; else what fp_front_serve returns: that there is no such
 * container is success for `delete --force` alone. */
static int open_container(const struct fp_command *command, struct fp_container *ret)
{
    bool locks = command->verb == FP_VERB_START || command->verb == FP_VERB_DELETE;
    int found = fp_container_open(ret, command->root, command->id, locks);
    if (found == 0)
        return command->verb == FP_VERB_DELETE && command->force ? 0 : TO_PYTHON;
    return found > 0 ? 1 : TO_PYTHON;
}

static int serve_start(struct fp_container *container, bool *ret_failed, struct fp_error *error)
{
    int served = fp_container_start(container, error);
    *ret_failed = served < 0;
    return served > 0 ? 0 : TO_PYTHON;
}

static int serve_kill(const struct fp_command *command, const struct fp_container *container)
{
    struct fp_error error = {0};
    if (command->all) /* of a stopped one too: what its program has left behind */
        return fp_lifecycle_kill_all(&container->state, command->signal, &error) == 0 || error.number == ESRCH
                   ? 0
                   : TO_PYTHON;
    if (container->status == FP_STOPPED)
        return TO_PYTHON;
    return fp_lifecycle_kill(container->fd, &container->state, command->signal, &error) == 0 ? 0 : TO_PYTHON;
}

/* That nobody reads the output is no failure. */
static int print(const char *text, size_t size)
{
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    int status = 0;
    while (size && status == 0) {
        ssize_t written = write(STDOUT_FILENO, text, size);
        if (written >= 0) {
            text += written;
            size -= (size_t)written;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
        } else if (errno == EPIPE) {
            break;
        } else if (errno != EINTR) {
            status = TO_PYTHON;
        }
    }
    signal(SIGPIPE, before);
    return status;
}

static int serve_state(const struct fp_container *container)
{
    const struct fp_record *record = &container->state.record;
    int call; /* who knows its name is Python */
    if (container->status == FP_STOPPED && fp_denied_find(container->fd, (pid_t)record->pid, record->start_time, &call))
        return TO_PYTHON;
    _cleanup_free_ char *json = fp_state_json(&container->state, container->status, "");
    if (!json)
        return TO_PYTHON;
    size_t size = strlen(json);
    json[size] = '\n'; /* in place of its NUL */
    return print(json, size + 1);
}

/* Path of a file, from the root; false if it is too long. */
static bool absolute(const char *directory, const char *path, char ret[PATH_MAX])
{
    bool relative = path[0] && path[0] != '/';
    return snprintf(ret, PATH_MAX, "%s%s%s", relative ? directory : "", relative ? "/" : "", path) < PATH_MAX;
}

static int serve_create(const struct fp_command *command)
{
    char directory[PATH_MAX], bundle[PATH_MAX], pid_file[PATH_MAX], log[PATH_MAX];
    const char *configuration = getenv("URUNC_CONFIG_FILE");
    struct fp_planner_create wanted = {
        .id = command->id,
        .root = command->root,
        .bundle = bundle,
        .pid_file = pid_file,
        .console_socket = command->console_socket ? command->console_socket : "",
        .log = log,
        .log_format = command->log_format,
        .configuration = configuration && *configuration ? configuration : "/etc/urunc/config.toml",
    };
    if (!getcwd(directory, sizeof(directory)) ||
        !absolute(directory, command->bundle && *command->bundle ? command->bundle : directory, bundle) ||
        !absolute(directory, command->pid_file ? command->pid_file : "", pid_file) ||
        !absolute(directory, command->log ? command->log : "", log))
        return TO_PYTHON;
    return fp_planner_create(&wanted) ? 0 : TO_PYTHON;
}

int fp_front_serve(const struct fp_command *command, bool *ret_failed, struct fp_error *error)
{
    __attribute__((cleanup(fp_container_deinit))) struct fp_container container = {
        .root_fd = -1, .lock_fd = -1, .fd = -1, .status = FP_STOPPED};
    if (command->log && *command->log) {
        /* a log that cannot be written is an error even where there is nothing to say */
        _cleanup_close_ int log = open(command->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (log < 0)
            return TO_PYTHON;
    }
    int status = command->verb == FP_VERB_CREATE ? serve_create(command) : open_container(command, &container);
    if (command->verb == FP_VERB_CREATE || status != 1)
        return status;
    switch (command->verb) {
    case FP_VERB_START:
        return serve_start(&container, ret_failed, error);
    case FP_VERB_STATE:
        return serve_state(&container);
    case FP_VERB_KILL:
        return serve_kill(command, &container);
    case FP_VERB_DELETE:
        return fp_container_delete(&container, command->id, command->force) ? 0 : TO_PYTHON;
    default:
        return TO_PYTHON;
    }
}
