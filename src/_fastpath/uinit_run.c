// SPDX-License-Identifier: Apache-2.0
// uinit: the program, its environment and its end; see uinit.h.
#define _GNU_SOURCE
#include "cleanup.h"
#include "uinit.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

enum { BUTTONS_MAX = 8, SAME_PRESS_MS = 500, NOT_FOUND = 127, NOT_EXECUTED = 126 };

/* The strings of all directives with this code, with a NULL behind them. */
static char **strings(const struct uinit_config *config, enum uinit_code code)
{
    struct uinit_directive found;
    size_t count = 0;
    for (size_t offset = 0; uinit_config_next(config, code, &offset, &found);)
        count++;
    char **ret = calloc(count + 1, sizeof(*ret));
    count = 0;
    for (size_t offset = 0; ret && uinit_config_next(config, code, &offset, &found);)
        ret[count++] = (char *)(uintptr_t)found.text[0];
    return ret;
}

/* The console is the serial port.  Nobody's terminal passes bytes on as they are. */
static void set_console(const struct uinit_config *config)
{
    struct uinit_directive terminal;
    struct termios settings;
    if (uinit_config_last(config, UINIT_TERMINAL, &terminal)) {
        struct winsize size = {.ws_row = (unsigned short)terminal.number[0],
                               .ws_col = (unsigned short)terminal.number[1]};
        if (size.ws_row)
            ioctl(0, TIOCSWINSZ, &size);
    } else if (tcgetattr(0, &settings) == 0) {
        cfmakeraw(&settings);
        tcsetattr(0, TCSANOW, &settings);
    }
}

static int set_limits(const struct uinit_config *config, struct fp_error *error)
{
    struct uinit_directive found;
    for (size_t offset = 0; uinit_config_next(config, UINIT_RLIMIT, &offset, &found);) {
        struct rlimit limit = {found.number[1], found.number[2]};
        if (setrlimit((int)found.number[0], &limit) < 0)
            return fp_fail(error, "setrlimit", found.text[0]);
    }
    if (uinit_config_last(config, UINIT_BOUNDING_SET, &found))
        for (int number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++)
            if (!(found.number[0] >> number & 1) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0)
                return fp_fail(error, "drop capability", NULL);
    umask(uinit_config_last(config, UINIT_UMASK, &found) ? (mode_t)found.number[0] : 022);
    return 0;
}

/* A root program keeps what the bounding set lets it have: exec takes the rest away (capabilities(7)). */
static int set_user(const struct uinit_config *config, struct fp_error *error)
{
    struct uinit_directive user, found;
    gid_t groups[1024];
    size_t count = 0;
    if (!uinit_config_last(config, UINIT_USER, &user))
        return 0;
    for (size_t offset = 0; uinit_config_next(config, UINIT_GROUP, &offset, &found); count++) {
        if (count == sizeof(groups) / sizeof(*groups))
            return fp_fail_with(error, E2BIG, "setgroups", NULL);
        groups[count] = (gid_t)found.number[0];
    }
    uid_t uid = (uid_t)user.number[0];
    gid_t gid = (gid_t)user.number[1];
    if (setgroups(count, groups) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return fp_fail(error, "become user", user.text[0]);
    if (uinit_config_last(config, UINIT_NO_NEW_PRIVILEGES, &found) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fp_fail(error, "prctl", "no_new_privs");
    return 0;
}

static const char *search_path(char **environment)
{
    for (; *environment; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* execvpe(3) with the PATH of the environment that is given; returns if nothing could be executed. */
static void execute(char **argv, char **environment)
{
    int number = ENOENT;
    if (strchr(argv[0], '/')) {
        execve(argv[0], argv, environment);
        return;
    }
    for (const char *at = search_path(environment); *at;) {
        char path[4096];
        int length = (int)strcspn(at, ":");
        if (snprintf(path, sizeof(path), "%.*s/%s", length, at, argv[0]) < (int)sizeof(path)) {
            execve(path, argv, environment);
            if (errno != ENOENT && errno != ENOTDIR)
                number = errno;
        }
        at += length + (at[length] == ':');
    }
    errno = number;
}

static void become_program(const struct uinit_config *config, char **argv, char **environment)
{
    struct fp_error error = {0};
    struct uinit_directive found;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    ioctl(0, TIOCSCTTY, 1);
    set_limits(config, &error);
    if (!error.number && set_user(config, &error) == 0) {
        const char *directory = uinit_config_last(config, UINIT_DIRECTORY, &found) ? found.text[0] : "/";
        if (chdir(directory) < 0) {
            fp_fail(&error, "chdir", directory);
        } else {
            execute(argv, environment);
            fp_fail(&error, "exec", argv[0]);
        }
    }
    fprintf(stderr, "uinit: %s %s: %s\n", error.step, error.path, strerror(error.number));
    _exit(error.number == ENOENT ? NOT_FOUND : NOT_EXECUTED);
}

static int open_buttons(struct pollfd *ret)
{
    int count = 0;
    for (int number = 0; number < BUTTONS_MAX; number++) {
        char path[32];
        snprintf(path, sizeof(path), "/dev/input/event%d", number);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            ret[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    return count;
}

/* Whether the power button was pressed, or Ctrl-Alt-Del, which is all that Firecracker can press. */
static bool is_pressed(int fd)
{
    struct input_event event;
    bool pressed = false;
    while (read(fd, &event, sizeof(event)) == sizeof(event))
        pressed |= event.type == EV_KEY && event.value == 1 && (event.code == KEY_POWER || event.code == KEY_DELETE);
    return pressed;
}

/* Reap whatever ends; true with its status when that is the program. */
static bool reap(pid_t program, int *ret)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == program) {
            *ret = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            return true;
        }
    }
    return false;
}

/* One press is one signal: a kernel with a virtual terminal says Ctrl-Alt-Del twice, as a key and as SIGINT to process
 * 1 (reboot(2), RB_DISABLE_CAD), and once more for each repetition of a key that stays down. */
static void press(pid_t program, int stop, int64_t *last_ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000, before_ms = *last_ms;
    *last_ms = now_ms;
    if (before_ms < 0 || now_ms - before_ms > SAME_PRESS_MS)
        kill(program, stop);
}

static int attend(pid_t program, int signals, int stop)
{
    struct pollfd watched[BUTTONS_MAX + 1] = {{.fd = signals, .events = POLLIN}};
    int count = 1 + open_buttons(watched + 1), status = NOT_EXECUTED;
    int64_t pressed_ms = -1;
    for (;;) {
        struct signalfd_siginfo info;
        if (poll(watched, (nfds_t)count, -1) < 0 && errno != EINTR)
            return status;
        for (int i = 1; i < count; i++)
            if (watched[i].revents && is_pressed(watched[i].fd))
                press(program, stop, &pressed_ms);
        while (read(signals, &info, sizeof(info)) == sizeof(info))
            if (info.ssi_signo == SIGINT)
                press(program, stop, &pressed_ms);
            else if (info.ssi_signo == SIGTERM)
                kill(program, stop);
        if (reap(program, &status))
            return status;
    }
}

int uinit_run(const struct uinit_config *config)
{
    struct uinit_directive stop;
    char **argv = strings(config, UINIT_ARGUMENT), **environment = strings(config, UINIT_ENVIRONMENT);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    int signals = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
    if (!argv || !environment || !argv[0] || signals < 0) {
        fprintf(stderr, "uinit: there is no program to run\n");
        return NOT_FOUND;
    }
    set_console(config);
    pid_t program = fork();
    if (program == 0)
        become_program(config, argv, environment);
    if (program < 0) {
        fprintf(stderr, "uinit: fork: %s\n", strerror(errno));
        return NOT_EXECUTED;
    }
    return attend(program, signals, uinit_config_last(config, UINIT_STOP, &stop) ? (int)stop.number[0] : SIGTERM);
}
