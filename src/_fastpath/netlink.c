// SPDX-License-Identifier: Apache-2.0
// A netlink client; see netlink.h.
#define _GNU_SOURCE
#include "netlink.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* The kernel makes a dump in pieces of at most 32 KiB (netlink_dump), and smaller ones for smaller buffers. */
enum { RECEIVE_MAX = 32 << 10 };

void fp_netlink_batch_init(struct fp_netlink_batch *batch)
{
    batch->count = 0;
    batch->silent = 0;
    batch->size = 0;
    batch->last = 0;
}

/* Room for `size` more bytes, zeroed and aligned; NULL if there is none, and then for nothing any more. */
static void *reserve(struct fp_netlink_batch *batch, size_t size)
{
    size = NLMSG_ALIGN(size);
    if (batch->size > FP_NETLINK_BYTES_MAX || size > FP_NETLINK_BYTES_MAX - batch->size) {
        batch->size = FP_NETLINK_BYTES_MAX + 1;
        return NULL;
    }
    void *room = memset(batch->bytes + batch->size, 0, size);
    batch->size += (uint32_t)size;
    return room;
}

static struct nlmsghdr *last_message(struct fp_netlink_batch *batch)
{
    return (struct nlmsghdr *)(void *)(batch->bytes + batch->last);
}

void fp_netlink_request(struct fp_netlink_batch *batch, const char *step, const char *subject, uint16_t type,
                        uint16_t flags, const void *header, size_t size)
{
    uint32_t start = batch->size;
    struct nlmsghdr *message =
        batch->count < FP_NETLINK_REQUESTS_MAX ? reserve(batch, NLMSG_HDRLEN + NLMSG_ALIGN(size)) : NULL;
    if (!message) {
        batch->size = FP_NETLINK_BYTES_MAX + 1;
        return;
    }
    struct fp_netlink_request *request = &batch->requests[batch->count++];
    request->step = step;
    request->subject = subject;
    request->number = 0;
    request->reason[0] = '\0';
    batch->last = start;
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    memcpy(NLMSG_DATA(message), header, size);
    message->nlmsg_len = batch->size - start;
}

void fp_netlink_silence(struct fp_netlink_batch *batch)
{
    if (batch->size > FP_NETLINK_BYTES_MAX)
        return;
    last_message(batch)->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
    batch->silent++;
}

void fp_netlink_put(struct fp_netlink_batch *batch, uint16_t type, const void *data, size_t size)
{
    struct rtattr *attribute = reserve(batch, RTA_LENGTH(size));
    if (!attribute)
        return;
    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size)
        memcpy(RTA_DATA(attribute), data, size);
    last_message(batch)->nlmsg_len = batch->size - batch->last;
}

void fp_netlink_put_text(struct fp_netlink_batch *batch, uint16_t type, const char *text)
{
    fp_netlink_put(batch, type, text, strlen(text) + 1);
}

uint32_t fp_netlink_nest(struct fp_netlink_batch *batch, uint16_t type)
{
    uint32_t nest = batch->size;
    fp_netlink_put(batch, type, NULL, 0);
    return nest;
}

void fp_netlink_nest_end(struct fp_netlink_batch *batch, uint32_t nest)
{
    if (batch->size > FP_NETLINK_BYTES_MAX)
        return;
    struct rtattr *attribute = (struct rtattr *)(void *)(batch->bytes + nest);
    attribute->rta_len = (unsigned short)(batch->size - nest);
}

/* Number the requests so that answers to whatever was asked before, and not read, cannot be taken for theirs. */
static uint32_t number_requests(struct fp_netlink_batch *batch)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint32_t first = (uint32_t)now.tv_sec * 1000000000u + (uint32_t)now.tv_nsec, next = first;
    for (uint32_t offset = 0; offset < batch->size;) {
        struct nlmsghdr *message = (struct nlmsghdr *)(void *)(batch->bytes + offset);
        message->nlmsg_seq = next++;
        offset += message->nlmsg_len;
    }
    return first;
}

static int transmit(int fd, struct fp_netlink_batch *batch, uint32_t *ret_first, struct fp_error *error)
{
    if (batch->size > FP_NETLINK_BYTES_MAX)
        return fp_fail_with(error, EMSGSIZE, "netlink", "the requests do not fit");
    const int on = 1;
    /* answers without a copy of the request, and with a sentence; a kernel that lacks these answers as well */
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
    setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
    *ret_first = number_requests(batch);
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t sent;
    do
        sent = sendto(fd, batch->bytes, batch->size, 0, (struct sockaddr *)&kernel, sizeof(kernel));
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)batch->size ? 0 : fp_fail(error, "netlink", batch->requests[0].step);
}

/* The next datagram from the kernel.  It has answered when sendmsg returns, or goes on when we read: if nothing is
 * there, nothing will come. */
static ssize_t receive(int fd, char *ret, struct fp_error *error)
{
    for (;;) {
        struct sockaddr_nl sender = {0};
        struct iovec vector = {ret, RECEIVE_MAX};
        struct msghdr header = {
            .msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &vector, .msg_iovlen = 1};
        ssize_t size = recvmsg(fd, &header, MSG_DONTWAIT);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fp_fail(error, "netlink", "no answer from the kernel");
        if (header.msg_flags & MSG_TRUNC)
            return fp_fail_with(error, EMSGSIZE, "netlink", "an answer of the kernel is too long");
        if (sender.nl_pid == 0) /* other processes may send to us, too */
            return size;
    }
}

/* An NLMSG_ERROR or NLMSG_DONE: its errno, and what the kernel says about it. */
static void read_answer(const struct nlmsghdr *message, struct fp_netlink_request *request)
{
    const struct rtattr *attributes[NLMSGERR_ATTR_MSG + 1] = {0};
    int number = 0;
    size_t header_size = message->nlmsg_type == NLMSG_ERROR ? sizeof(struct nlmsgerr) : sizeof(number);
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(number)))
        return;
    memcpy(&number, NLMSG_DATA(message), sizeof(number));
    request->number = -number;
    if ((message->nlmsg_flags & (NLM_F_CAPPED | NLM_F_ACK_TLVS)) == (NLM_F_CAPPED | NLM_F_ACK_TLVS) ||
        (message->nlmsg_type == NLMSG_DONE && message->nlmsg_flags & NLM_F_ACK_TLVS))
        fp_netlink_parse(message, header_size, attributes, NLMSGERR_ATTR_MSG + 1);
    fp_netlink_text(attributes[NLMSGERR_ATTR_MSG], request->reason, sizeof(request->reason));
}

struct exchange {
    struct fp_netlink_batch *batch;
    uint32_t first;
    int answered;
    int messages;
    bool interrupted; /* NLM_F_DUMP_INTR */
    fp_netlink_visit visit;
    void *context;
};

static int take_message(struct exchange *exchange, const struct nlmsghdr *message, struct fp_error *error)
{
    uint32_t index = message->nlmsg_seq - exchange->first;
    if (index >= (uint32_t)exchange->batch->count)
        return 0;
    if (message->nlmsg_flags & NLM_F_DUMP_INTR)
        exchange->interrupted = true;
    if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE) {
        read_answer(message, &exchange->batch->requests[index]);
        exchange->answered++;
        return 0;
    }
    if (++exchange->messages > FP_NETLINK_MESSAGES_MAX)
        return fp_fail_with(error, E2BIG, exchange->batch->requests[index].step, "the kernel's answer does not end");
    if (exchange->visit && !error->number)
        exchange->visit(exchange->context, message, error); /* the rest is read all the same */
    return 0;
}

static bool has_failed(const struct fp_netlink_batch *batch)
{
    for (int i = 0; i < batch->count; i++)
        if (batch->requests[i].number)
            return true;
    return false;
}

static int collect(int fd, struct exchange *exchange, struct fp_error *error)
{
    _Alignas(8) char bytes[RECEIVE_MAX];
    while (exchange->answered < exchange->batch->count - exchange->batch->silent) {
        ssize_t received = receive(fd, bytes, error);
        if (received < 0 && exchange->batch->silent && has_failed(exchange->batch)) {
            *error = (struct fp_error){0}; /* a transaction that is refused as a whole has one answer */
            break;
        }
        if (received < 0)
            return -1;
        const struct nlmsghdr *message = (const void *)bytes;
        for (int left = (int)received; NLMSG_OK(message, (unsigned)left); message = NLMSG_NEXT(message, left))
            if (take_message(exchange, message, error) < 0)
                return -1;
    }
    return error->number ? -1 : 0;
}

int fp_netlink_send(int fd, struct fp_netlink_batch *batch, struct fp_error *error)
{
    struct exchange exchange = {.batch = batch};
    if (!batch->count && !batch->size)
        return 0;
    if (transmit(fd, batch, &exchange.first, error) < 0)
        return -1;
    return collect(fd, &exchange, error);
}

int fp_netlink_check(const struct fp_netlink_batch *batch, struct fp_error *error)
{
    for (int i = 0; i < batch->count; i++) {
        const struct fp_netlink_request *request = &batch->requests[i];
        char text[FP_PATH_MAX];
        if (!request->number)
            continue;
        snprintf(text, sizeof(text), "%s%s%s", request->subject, request->reason[0] ? ": " : "", request->reason);
        return fp_fail_with(error, request->number, request->step, text);
    }
    return 0;
}

int fp_netlink_execute(int fd, struct fp_netlink_batch *batch, struct fp_error *error)
{
    return fp_netlink_send(fd, batch, error) < 0 ? -1 : fp_netlink_check(batch, error);
}

int fp_netlink_query(int fd, struct fp_netlink_batch *batch, fp_netlink_visit visit, void *context,
                     struct fp_error *error)
{
    struct exchange exchange = {.batch = batch, .visit = visit, .context = context};
    if (transmit(fd, batch, &exchange.first, error) < 0 || collect(fd, &exchange, error) < 0 ||
        fp_netlink_check(batch, error) < 0)
        return -1;
    if (exchange.interrupted)
        return fp_fail_with(error, EINTR, batch->requests[0].step, batch->requests[0].subject);
    return 0;
}

void fp_netlink_parse_bytes(const void *first, size_t size, const struct rtattr **ret, unsigned count)
{
    memset(ret, 0, count * sizeof(*ret));
    int left = (int)size;
    for (const struct rtattr *attribute = first; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        unsigned type = attribute->rta_type & NLA_TYPE_MASK;
        if (type < count)
            ret[type] = attribute;
    }
}

void fp_netlink_parse(const struct nlmsghdr *message, size_t header_size, const struct rtattr **ret, unsigned count)
{
    size_t header = NLMSG_SPACE(header_size);
    size_t size = message->nlmsg_len > header ? message->nlmsg_len - header : 0;
    fp_netlink_parse_bytes((const char *)message + header, size, ret, count);
}

void fp_netlink_parse_nested(const struct rtattr *attribute, const struct rtattr **ret, unsigned count)
{
    fp_netlink_parse_bytes(attribute ? RTA_DATA(attribute) : NULL, attribute ? RTA_PAYLOAD(attribute) : 0, ret, count);
}

bool fp_netlink_get(const struct rtattr *attribute, void *ret, size_t size)
{
    bool fits = attribute && RTA_PAYLOAD(attribute) >= size;
    if (fits)
        memcpy(ret, RTA_DATA(attribute), size);
    else
        memset(ret, 0, size);
    return fits;
}

uint32_t fp_netlink_u32(const struct rtattr *attribute)
{
    uint32_t value;
    fp_netlink_get(attribute, &value, sizeof(value));
    return value;
}

void fp_netlink_text(const struct rtattr *attribute, char *ret, size_t size)
{
    size_t length = attribute ? strnlen(RTA_DATA(attribute), RTA_PAYLOAD(attribute)) : 0;
    if (length >= size)
        length = size - 1;
    if (length)
        memcpy(ret, RTA_DATA(attribute), length);
    ret[length] = '\0';
}
