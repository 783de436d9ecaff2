// SPDX-License-Identifier: Apache-2.0
// The companion of a monitor; see companion.h.  One thread; it stays small: no stdio, no heap of its own.
#define _GNU_SOURCE
#include "companion.h"

#include "button.h"
#include "cleanup.h"
#include "credentials.h"
#include "events.h"
#include "helper.h"
#include "kernel.h"
#include "qmp.h"
#include "sector.h"
#include "unotify.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

enum { NOTES_FD = 1, ASK_MS = 200, QUIT_MS = 2000, GONE_MS = 5000, DEBUG_EXIT_SOLO5 = 83 };

struct helper {
    pid_t pid;
    const char *name; /* in the plan, which stays mapped */
};

static struct {
    enum fp_exit_code code;
    bool asks; /* over QMP, whose end may be gone again */
    struct fp_qmp qmp;
    struct fp_events events;
    bool rebooted;
    struct fp_button button;
    bool pressed;
    int listener; /* of the monitor's filter */
    int notes;    /* FP_SLOT_DENIED */
    bool denied;
    volatile pid_t monitor;
    struct helper helpers[FP_HELPERS_MAX];
    int helper_count;
    const struct helper *gone; /* it has ended in order: as it does when the monitor goes, too */
    int gone_status;
    int64_t gone_deadline;
} companion = {.qmp = {.fd = -1}, .events = {.fd = -1}, .button = {.path = "", .fd = -1}, .listener = -1, .notes = -1};

int fp_companion_helper(const struct fp_operation *operation, const int *slots, struct fp_error *error)
{
    const char *path = operation->arguments[1].text;
    if (companion.helper_count == FP_HELPERS_MAX)
        return fp_fail_with(error, E2BIG, "helper", path);
    struct helper *helper = &companion.helpers[companion.helper_count];
    helper->name = path;
    if (fp_helper_start(operation, slots, &helper->pid, error) < 0)
        return -1;
    companion.helper_count++;
    return 0;
}

int fp_companion_status(enum fp_exit_code code, int status, bool ran)
{
    if (WIFSIGNALED(status))
        return 128 + WTERMSIG(status);
    int value = WEXITSTATUS(status);
    if (code == FP_EXIT_ISA_DEBUG && ran && value % 2)
        return value / 2;
    if (code == FP_EXIT_SOLO5_VIRTIO && ran && value == DEBUG_EXIT_SOLO5)
        return 0;
    if (code == FP_EXIT_SECTOR && ran) {
        int told = fp_sector_read(FP_COMPANION_SECTOR);
        return told >= 0 ? told : value ? value : FP_EXIT_NO_STATUS;
    }
    return value;
}

/* What asks for an end is a press of the power button for a guest that listens to it, and has a program to tell; of
 * another guest it is so the first time, since it may not listen. */
static bool presses(int number)
{
    if (companion.code == FP_EXIT_SECTOR)
        return number == SIGTERM || number == SIGINT || number == SIGQUIT;
    return number == SIGTERM && !companion.pressed;
}

static bool press(void)
{
    if (*companion.button.path)
        return companion.pressed = fp_button_press(&companion.button);
    if (companion.code != FP_EXIT_SECTOR || companion.qmp.fd < 0)
        return false;
    fp_qmp_send(&companion.qmp, FP_QMP_POWERDOWN);
    return true;
}

static void forward(int number)
{
    int before = errno;
    if (companion.monitor > 0 && !(presses(number) && press()))
        kill(companion.monitor, number);
    errno = before;
}

static void nothing(int number)
{
    (void)number;
}

/* All that would end a process, so that kill(2) from outside reaches the monitor through us; what stops one acts on the
 * process it is sent to, and faults are our own. */
static void catch_signals(void)
{
    for (int number = 1; number < 65; number++) {
        bool ours = number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE || number == SIGABRT;
        if (!ours && number != SIGTSTP && number != SIGTTIN && number != SIGTTOU && number != SIGCONT)
            sigaction(number, &(struct sigaction){.sa_handler = number == SIGCHLD ? nothing : forward}, NULL);
    }
}

static _Noreturn void finish(int status)
{
    for (int i = 0; i < companion.helper_count; i++)
        kill(companion.helpers[i].pid, SIGKILL);
    _exit(status);
}

static _Noreturn void helper_died(const struct helper *helper, int status)
{
    int value = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    const char digits[] = {(char)('0' + value / 100), (char)('0' + value / 10 % 10), (char)('0' + value % 10), '\0'};
    const char *const words[] = {"urunc: ", helper->name,
                                 WIFSIGNALED(status) ? ", which the monitor needs, was ended by signal "
                                                     : ", which the monitor needs, has ended with status ",
                                 value < 10    ? digits + 2
                                 : value < 100 ? digits + 1
                                               : digits,
                                 ": the container ends\n"};
    enum { WORDS = sizeof(words) / sizeof(*words) };
    struct iovec parts[WORDS];
    for (int i = 0; i < WORDS; i++)
        parts[i] = (struct iovec){(void *)(uintptr_t)words[i], strlen(words[i])};
    ssize_t written = writev(2, parts, WORDS); /* at once: the monitor writes there, too */
    (void)written;                             /* nobody may be listening */
    kill(companion.monitor, SIGKILL);
    finish(FP_EXIT_HELPER_DIED);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* One that serves the monitor ends when the monitor closes its end, which may be seen before the monitor's own end. */
static void helper_ended(const struct helper *helper, int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        helper_died(helper, status);
    companion.gone = helper;
    companion.gone_status = status;
    companion.gone_deadline = now_ms() + GONE_MS;
}

/* Once: what it does in its next life is nobody's business. */
static void watch_reboot(void)
{
    if (fp_events_reboot(&companion.events) && !companion.rebooted) {
        companion.rebooted = true;
        kill(companion.monitor, SIGKILL);
    }
}

/* What has become of the state directory is not our affair: the status says enough. */
static void note_denied(int call)
{
    ssize_t written = companion.denied ? 0 : write(companion.notes, &call, sizeof(call));
    (void)written;
    companion.denied = true;
}

static void watch_filter(void)
{
    int call;
    if (!fp_unotify_read(companion.listener, &call))
        return; /* who waited is gone */
    note_denied(call);
    kill(companion.monitor, SIGKILL);
}

/* Everything that has ended; as pid 1 of a namespace we get orphans, too. */
static void reap(bool *halted)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == companion.monitor) {
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
                note_denied(-1); /* by a filter of its own, or the spec's */
            if (companion.denied)
                finish(128 + SIGSYS);
            if (companion.qmp.fd >= 0)
                fp_qmp_read(&companion.qmp); /* it may have started the guest since we looked */
            bool ran = !companion.asks || companion.qmp.replies >= 2;
            finish(*halted ? 0 : fp_companion_status(companion.code, companion.rebooted ? 0 : status, ran));
        }
        for (int i = 0; i < companion.helper_count; i++)
            if (companion.helpers[i].pid == pid)
                helper_ended(&companion.helpers[i], status);
    }
    if (companion.gone && now_ms() >= companion.gone_deadline)
        helper_died(companion.gone, companion.gone_status);
}

/* Of a guest that halts: ask for the registers now and then; when it has, have QEMU quit, or end it. */
static int watch_halt(bool *halted, int64_t *deadline)
{
    if (!*halted && companion.qmp.halted) {
        *halted = true;
        *deadline = now_ms() + QUIT_MS;
        fp_qmp_send(&companion.qmp, FP_QMP_QUIT);
    } else if (*halted && now_ms() >= *deadline) {
        kill(companion.monitor, SIGKILL);
    } else if (!*halted && companion.qmp.replies >= 2 && now_ms() >= *deadline) {
        *deadline = now_ms() + ASK_MS;
        fp_qmp_send(&companion.qmp, FP_QMP_REGISTERS);
    }
    return ASK_MS;
}

static _Noreturn void watch(const sigset_t *open)
{
    bool halted = false;
    int64_t deadline = 0;
    for (;;) {
        reap(&halted);
        int wait_ms = companion.code == FP_EXIT_HALT ? watch_halt(&halted, &deadline) : companion.gone ? ASK_MS : -1;
        struct timespec wait = {.tv_nsec = wait_ms * 1000000L};
        struct pollfd all[] = {{.fd = companion.qmp.fd, .events = POLLIN},
                               {.fd = companion.events.fd, .events = POLLIN},
                               {.fd = companion.button.fd, .events = POLLIN},
                               {.fd = companion.listener, .events = POLLIN}};
        /* what a handler opens meanwhile is looked at in the next round: ppoll was interrupted by it */
        if (ppoll(all, sizeof(all) / sizeof(*all), wait_ms < 0 ? NULL : &wait, open) <= 0)
            continue;
        if (all[0].revents && !fp_qmp_read(&companion.qmp))
            companion.qmp.fd = (close(companion.qmp.fd), -1);
        if (all[1].revents)
            watch_reboot();
        if (all[2].revents && companion.button.fd >= 0 && fp_button_answer(&companion.button) < 0)
            kill(companion.monitor, SIGTERM); /* a guest that cannot be asked */
        if (all[3].revents & POLLIN)
            watch_filter();
        else if (all[3].revents) /* the monitor has ended: whoever asked now would wait for ever */
            companion.listener = (close(companion.listener), -1);
    }
}

/* The monitor's end goes into the slot; ours is above every number that an operation `keep` can name. */
static int open_pair(int64_t slot, int *slots, int *ret, struct fp_error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fp_fail(error, "socketpair", "the monitor");
    fp_close_guard(&slots[slot]);
    slots[slot] = pair[0];
    *ret = fcntl(pair[1], F_DUPFD_CLOEXEC, FP_SLOT_COUNT);
    close(pair[1]);
    return *ret < 0 ? fp_fail(error, "dup", "the monitor") : 0;
}

/* The commands wait in the socket for QEMU to come and read: the second reply
 * means that it has started the guest (it is run with -S). */
static int open_qmp(int64_t slot, int *slots, struct fp_error *error)
{
    if (open_pair(slot, slots, &companion.qmp.fd, error) < 0)
        return -1;
    companion.asks = true;
    fp_qmp_send(&companion.qmp, FP_QMP_CAPABILITIES FP_QMP_CONTINUE);
    return 0;
}

/* Of the standard streams the last, to say why the container ends; the first is in use for a moment, and the second is
 * what a denied call is noted in. */
static void close_all_but(int fd)
{
    fp_close_range(3, fd < 0 ? ~0u : (unsigned)fd - 1);
    if (fd >= 0)
        fp_close_range((unsigned)fd + 1, ~0u);
}

int fp_companion_split(const struct fp_operation *operation, int *slots, struct fp_error *error)
{
    int64_t code = operation->arguments[0].integer, slot = operation->arguments[1].integer;
    int64_t events = operation->arguments[2].integer;
    if (code < 0 || code >= FP_EXIT_COUNT || (code == FP_EXIT_HALT && slot < 0) || (slot >= 0 && events >= 0))
        return fp_fail_with(error, EINVAL, "companion", "exit status");
    companion.code = (enum fp_exit_code)code;
    companion.button.path = operation->arguments[3].text; /* in the plan, which stays mapped */
    companion.button.request = operation->arguments[4].text;
    if (slot >= 0 && open_qmp(slot, slots, error) < 0)
        return -1;
    if (events >= 0 && open_pair(events, slots, &companion.events.fd, error) < 0)
        return -1;
    int execs[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, execs) < 0)
        return fp_fail(error, "socketpair", "the monitor");
    sigset_t all, open, before;
    sigfillset(&all);
    sigemptyset(&open);
    sigprocmask(SIG_SETMASK, &all, &before); /* none may come before there is a monitor to forward it to */
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return fp_fail(error, "fork", "the monitor");
    if (pid == 0) {
        /* its own number may be one that is kept; closed by exec */
        fp_filters_tell(fcntl(execs[1], F_DUPFD_CLOEXEC, FP_SLOT_COUNT));
        close(execs[0]);
        close(execs[1]);
        sigprocmask(SIG_SETMASK, &before, NULL);
        /* where the container has no pid namespace of its own; elsewhere the kernel sees to it */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        return getppid() == parent ? 0 : fp_fail_with(error, ESRCH, "fork", "the monitor");
    }
    companion.monitor = pid;
    prctl(PR_SET_NAME, FP_COMPANION_NAME);
    catch_signals();
    dup2(execs[0], 0);
    companion.notes = dup2(slots[FP_SLOT_DENIED], NOTES_FD);
    if (companion.notes < 0)
        close(NOTES_FD);
    close_all_but(companion.qmp.fd >= 0 ? companion.qmp.fd : companion.events.fd);
    /* until the child has become the monitor or failed: what is said of it by then is an answer to start */
    companion.listener = fp_unotify_receive(0);
    close(0);
    watch(&open);
}
