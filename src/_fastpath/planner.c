// SPDX-License-Identifier: Apache-2.0
// The front's half of a create by a resident planner; see planner.h.
#define _GNU_SOURCE
#include "planner.h"

#include "cleanup.h"
#include "execute.h"
#include "journal.h"
#include "state.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { ANSWER_S = 5, DESCRIPTORS_MAX = FP_SLOT_COUNT + 1 };

/* One create: what the planner has ordered so far. */
struct order_book {
    int socket;
    int state_fd; /* -1 until the first order */
    bool released;
    struct fp_sandbox sandbox;
};

static int connect_planner(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = FP_PLANNER_SOCKET};
    struct ucred peer;
    socklen_t size = sizeof(peer);
    /* does not wait for one that is busy */
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid())
        return -1;
    struct timeval limit = {.tv_sec = ANSWER_S};
    if (fcntl(fd, F_SETFL, 0) < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
        return -1;
    return fp_take_fd(&fd);
}

static bool fill(struct fp_planner_request *request, const struct fp_planner_create *wanted, size_t *ret_size)
{
    static const char *const namespaces[FP_PLANNER_SPACES] = {
        "/proc/self/ns/mnt", "/proc/self/ns/pid", "/proc/self/ns/net", "/proc/self/ns/user", "/proc/self/ns/cgroup"};
    const char *const strings[FP_PLANNER_STRINGS] = {
        wanted->id,       wanted->root,          wanted->bundle, wanted->console_socket,
        wanted->pid_file, wanted->configuration, wanted->log,    wanted->log_format};
    struct stat status;
    request->magic = FP_PLANNER_MAGIC;
    request->version = FP_PLANNER_VERSION;
    if (stat("/proc/self/exe", &status) < 0)
        return false;
    request->build =
        (struct fp_planner_build){status.st_dev, status.st_ino, (uint64_t)status.st_size,
                                  (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec};
    for (int i = 0; i < FP_PLANNER_SPACES; i++) {
        if (stat(namespaces[i], &status) < 0)
            return false;
        request->namespaces[i] = status.st_ino;
    }
    size_t used = 0;
    for (int i = 0; i < FP_PLANNER_STRINGS; i++) {
        size_t length = strlen(strings[i]) + 1;
        if (length > sizeof(request->text) - used)
            return false;
        memcpy(request->text + used, strings[i], length);
        used += length;
    }
    *ret_size = offsetof(struct fp_planner_request, text) + used;
    return true;
}

static bool ask(int socket, const struct fp_planner_create *wanted)
{
    struct fp_planner_request request;
    size_t size;
    _cleanup_close_ int bundle = open(wanted->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (bundle < 0 || !fill(&request, wanted, &size))
        return false;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {&request, size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    memcpy(CMSG_DATA(&control.header), &bundle, sizeof(int));
    return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)size;
}

/* The number of descriptors, which are the caller's; -1 at the end, after the time limit, or for what is no order. */
static int receive_order(int socket, struct fp_planner_order *ret, int *ret_descriptors)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
    } control;
    struct iovec part = {ret, sizeof(*ret)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t received;
    do
        received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    struct cmsghdr *header = received > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    size_t count = 0;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(ret_descriptors, CMSG_DATA(header), count * sizeof(int));
    }
    if (received == sizeof(*ret) && !(message.msg_flags & MSG_CTRUNC))
        return (int)count;
    while (count)
        close(ret_descriptors[--count]);
    return -1;
}

static int execute(struct order_book *book, const struct fp_planner_order *order, const int *descriptors, int count,
                   struct fp_error *error)
{
    if (count < 1 || !order->plan_size)
        return fp_fail_with(error, EINVAL, "planner", "an order without a plan");
    void *plan = mmap(NULL, order->plan_size, PROT_READ, MAP_PRIVATE, descriptors[0], 0);
    if (plan == MAP_FAILED)
        return fp_fail(error, "mmap", "plan");
    int status = fp_sandbox_execute(&book->sandbox, plan, order->plan_size, descriptors + 1, count - 1, error);
    munmap(plan, order->plan_size);
    return status;
}

/* What is made from here on is ours to undo, whatever becomes of the planner. */
static bool take_state(struct order_book *book, const int *descriptors, int count)
{
    if (count != 1 || book->state_fd >= 0)
        return false;
    book->state_fd = descriptors[0];
    fp_sandbox_init(&book->sandbox, book->state_fd);
    return true;
}

static void obey(struct order_book *book, const struct fp_planner_order *order, const int *descriptors, int count,
                 struct fp_error *error)
{
    if (book->state_fd < 0) {
        fp_fail_with(error, EINVAL, "planner", "an order before the state directory");
    } else if (order->kind == FP_PLANNER_EXECUTE) {
        execute(book, order, descriptors, count, error);
    } else if (order->kind == FP_PLANNER_LOCK) {
        fp_sandbox_lock_network(&book->sandbox, error);
    } else if (order->kind == FP_PLANNER_RELEASE) {
        book->released = fp_sandbox_release(&book->sandbox, error) == 0;
    } else {
        fp_sandbox_deinit(&book->sandbox);
    }
}

/* What the planner orders until its last word; true if that is DONE. */
static bool serve(struct order_book *book)
{
    for (;;) {
        struct fp_planner_order order;
        struct fp_planner_result result = {0};
        int descriptors[DESCRIPTORS_MAX];
        int count = receive_order(book->socket, &order, descriptors);
        if (count < 0 || order.kind == FP_PLANNER_DONE || order.kind == FP_PLANNER_REFUSED) {
            while (count > 0)
                close(descriptors[--count]);
            return count == 0 && order.kind == FP_PLANNER_DONE && book->released;
        }
        if (order.kind == FP_PLANNER_STATE && take_state(book, descriptors, count))
            continue;
        obey(book, &order, descriptors, count, &result.error);
        while (count > 0)
            close(descriptors[--count]);
        if (book->state_fd >= 0) {
            result.pid = book->sandbox.pid;
            result.start_time = book->sandbox.start_time;
        }
        if (send(book->socket, &result, sizeof(result), MSG_NOSIGNAL) != sizeof(result))
            return false;
    }
}

/* A planner that said REFUSED has removed the container itself; one that died has not, and lost the lock by that. */
static void undo(const struct fp_planner_create *wanted, int state_fd)
{
    struct fp_error error = {0};
    struct stat status;
    _cleanup_close_ int root = open(wanted->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int lock = root < 0 ? -1 : fp_state_lock(root, wanted->id, ANSWER_S * 1000, &error);
    if (lock < 0 || fstat(state_fd, &status) < 0 || status.st_nlink == 0)
        return;
    if (fp_journal_undo(state_fd, &error) == 0)
        fp_state_remove(root, wanted->id, &error);
}

bool fp_planner_create(const struct fp_planner_create *wanted)
{
    _cleanup_close_ int socket = connect_planner();
    if (socket < 0 || !ask(socket, wanted))
        return false;
    struct order_book book = {.socket = socket, .state_fd = -1};
    bool done = serve(&book);
    if (book.state_fd < 0)
        return false;
    fp_sandbox_deinit(&book.sandbox);
    if (!done) {
        close(fp_take_fd(&socket)); /* one that is still at work sees that nobody waits any more */
        undo(wanted, book.state_fd);
    }
    close(book.state_fd);
    return done;
}
