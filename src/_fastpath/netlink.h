/* SPDX-License-Identifier: Apache-2.0 */
/* A netlink client: requests go out together in one sendmsg, every answer is collected, dumps end. */
#pragma once

#include "error.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    FP_NETLINK_REQUESTS_MAX = 16,
    FP_NETLINK_BYTES_MAX = 8192,
    FP_NETLINK_REASON_MAX = 80,
    FP_NETLINK_MESSAGES_MAX = 1 << 20, /* of one dump */
};

struct fp_netlink_request {
    const char *step;                   /* for the error: what was tried, and */
    const char *subject;                /* on what; both are borrowed until the batch has been checked */
    int number;                         /* the answer: an errno, 0 = done; a caller that expects one sets it to 0 */
    char reason[FP_NETLINK_REASON_MAX]; /* the kernel's own words, if it has any */
};

/* The kernel executes every request of a batch in order, the ones after a failed one as well. */
struct fp_netlink_batch {
    int count;
    uint32_t size; /* beyond FP_NETLINK_BYTES_MAX: something did not fit, sending fails */
    int silent;    /* how many requests ask for no answer */
    uint32_t last; /* offset of the request that attributes are added to */
    struct fp_netlink_request requests[FP_NETLINK_REQUESTS_MAX];
    _Alignas(8) char bytes[FP_NETLINK_BYTES_MAX];
};

/* Make `batch` empty: only its counts, its bytes are cleared as they are used. */
void fp_netlink_batch_init(struct fp_netlink_batch *batch);

/* Begin a request; NLM_F_REQUEST and NLM_F_ACK are added to `flags`. */
void fp_netlink_request(struct fp_netlink_batch *batch, const char *step, const char *subject, uint16_t type,
                        uint16_t flags, const void *header, size_t size);

/* Ask for no answer to the last request. */
void fp_netlink_silence(struct fp_netlink_batch *batch);

/* Add an attribute to the last request. */
void fp_netlink_put(struct fp_netlink_batch *batch, uint16_t type, const void *data, size_t size);
void fp_netlink_put_text(struct fp_netlink_batch *batch, uint16_t type, const char *text);

/* Attributes put between these two are inside the attribute `type`. */
uint32_t fp_netlink_nest(struct fp_netlink_batch *batch, uint16_t type);
void fp_netlink_nest_end(struct fp_netlink_batch *batch, uint32_t nest);

/* Send the batch and put each request's answer in its `number`; fails only if that itself is impossible. */
int fp_netlink_send(int fd, struct fp_netlink_batch *batch, struct fp_error *error);

/* Fail with the first request that was answered by an errno. */
int fp_netlink_check(const struct fp_netlink_batch *batch, struct fp_error *error);

/* The two together, for a batch of which nothing is expected to fail. */
int fp_netlink_execute(int fd, struct fp_netlink_batch *batch, struct fp_error *error);

typedef int (*fp_netlink_visit)(void *context, const struct nlmsghdr *message, struct fp_error *error);

/* Send the only request of `batch`, an NLM_F_DUMP or not, and visit what it yields.  The socket is free for the next
 * request even if a visit fails.  EINTR: the kernel's tables changed meanwhile, what was visited may lack some. */
int fp_netlink_query(int fd, struct fp_netlink_batch *batch, fp_netlink_visit visit, void *context,
                     struct fp_error *error);

/* Point `ret[type]` at each attribute whose type is below `count`, NULL where there is none. */
void fp_netlink_parse(const struct nlmsghdr *message, size_t header_size, const struct rtattr **ret, unsigned count);
void fp_netlink_parse_nested(const struct rtattr *attribute, const struct rtattr **ret, unsigned count);
void fp_netlink_parse_bytes(const void *first, size_t size, const struct rtattr **ret, unsigned count);

/* Copy a value; zeros, or an empty string, if the attribute is NULL or too short.  A text is cut to fit. */
bool fp_netlink_get(const struct rtattr *attribute, void *ret, size_t size);
uint32_t fp_netlink_u32(const struct rtattr *attribute);
void fp_netlink_text(const struct rtattr *attribute, char *ret, size_t size);
