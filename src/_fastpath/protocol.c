// SPDX-License-Identifier: Apache-2.0
// Messages between the caller and urunc-init; see protocol.h.
#define _GNU_SOURCE
#include "protocol.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = FP_SLOT_COUNT + 1 };

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
};

static struct msghdr message_of(struct iovec *part, union control *control, size_t descriptors)
{
    struct msghdr message = {.msg_iov = part, .msg_iovlen = 1};
    if (descriptors) {
        message.msg_control = control->bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
    }
    return message;
}

static ssize_t send_again(int socket, const struct msghdr *message)
{
    ssize_t sent;
    do
        sent = sendmsg(socket, message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

int fp_send_request(int socket, const struct fp_request *request, int plan_fd, const int *slots, struct fp_error *error)
{
    int descriptors[DESCRIPTORS_MAX];
    size_t count = 0;
    if (plan_fd >= 0)
        descriptors[count++] = plan_fd;
    struct fp_request sent = *request;
    sent.slots = 0;
    for (int i = 0; slots && i < FP_SLOT_COUNT; i++)
        if (slots[i] >= 0) {
            sent.slots |= UINT64_C(1) << i;
            descriptors[count++] = slots[i];
        }
    union control control = {0};
    struct iovec part = {&sent, sizeof(sent)};
    struct msghdr message = message_of(&part, &control, count);
    if (count) {
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int) * count), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), descriptors, sizeof(int) * count);
    }
    if (send_again(socket, &message) != sizeof(sent))
        return fp_fail(error, "send to urunc-init", NULL);
    return 0;
}

static void place(const struct fp_request *request, const int *descriptors, size_t count, int *ret_plan_fd,
                  int *ret_slots)
{
    size_t next = 0;
    if (request->plan_size && next < count)
        *ret_plan_fd = descriptors[next++];
    for (int i = 0; i < FP_SLOT_COUNT; i++)
        if (request->slots >> i & 1 && next < count) {
            if (ret_slots[i] >= 0)
                close(ret_slots[i]);
            ret_slots[i] = descriptors[next++];
        }
    while (next < count)
        close(descriptors[next++]);
}

int fp_receive_request(int socket, struct fp_request *ret, int *ret_plan_fd, int *ret_slots, struct fp_error *error)
{
    union control control;
    int descriptors[DESCRIPTORS_MAX];
    struct iovec part = {ret, sizeof(*ret)};
    struct msghdr message = message_of(&part, &control, DESCRIPTORS_MAX);
    ssize_t received;
    do
        received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received == 0)
        return 0;
    if (received != sizeof(*ret))
        return fp_fail(error, "receive", "request");
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    size_t count = 0;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(descriptors, CMSG_DATA(header), count * sizeof(int));
    }
    place(ret, descriptors, count, ret_plan_fd, ret_slots);
    return 1;
}

int fp_receive_result(int socket, struct fp_error *ret, struct fp_error *error)
{
    ssize_t received;
    do
        received = recv(socket, ret, sizeof(*ret), 0);
    while (received < 0 && errno == EINTR);
    if (received == 0 || (received < 0 && errno == ECONNRESET))
        return 0;
    if (received != sizeof(*ret))
        return fp_fail(error, "receive from urunc-init", NULL);
    ret->step[FP_STEP_MAX - 1] = '\0';
    ret->path[FP_PATH_MAX - 1] = '\0';
    return 1;
}

int fp_send_result(int socket, const struct fp_error *result)
{
    ssize_t sent;
    do
        sent = send(socket, result, sizeof(*result), MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == sizeof(*result) ? 0 : -1;
}
