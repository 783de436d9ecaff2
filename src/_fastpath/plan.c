// SPDX-License-Identifier: Apache-2.0
// Reads plans: every length is checked before anything is executed.
#include "plan.h"

#include <string.h>

const struct fp_operation_info fp_operation_table[FP_OP_COUNT] = {
#define X(code, name, signature) {name, signature},
    FP_OPERATIONS(X)
#undef X
};

struct reader {
    const uint8_t *at;
    uint64_t left;
};

static uint64_t padded(uint64_t length)
{
    return (length + 7) & ~UINT64_C(7);
}

static bool take(struct reader *reader, uint64_t length, const void **ret)
{
    if (length > reader->left)
        return false;
    *ret = reader->at;
    reader->at += length;
    reader->left -= length;
    return true;
}

static bool take_word(struct reader *reader, uint64_t *ret)
{
    const void *at;
    if (!take(reader, 8, &at))
        return false;
    memcpy(ret, at, 8);
    return true;
}

/* The terminating NUL and the padding are part of the wire, so that the text can be used in place. */
static bool take_text(struct reader *reader, bool may_hold_nul, union fp_argument *ret)
{
    uint64_t length;
    const void *at;
    if (!take_word(reader, &length) || length >= FP_PLAN_MAX || !take(reader, padded(length + 1), &at))
        return false;
    ret->text = at;
    ret->length = length;
    if (ret->text[length] != '\0')
        return false;
    return may_hold_nul || memchr(at, 0, length) == NULL;
}

static bool take_list(struct reader *reader, bool of_strings, union fp_argument *ret)
{
    uint64_t count;
    if (!take_word(reader, &count) || count > reader->left / 8)
        return false;
    ret->items = reader->at;
    ret->count = count;
    for (uint64_t i = 0; i < count; i++) {
        union fp_argument element;
        uint64_t number;
        if (of_strings ? !take_text(reader, false, &element) : !take_word(reader, &number))
            return false;
    }
    return true;
}

static bool take_argument(struct reader *reader, char kind, union fp_argument *ret)
{
    uint64_t word;
    switch (kind) {
    case 'i':
        if (!take_word(reader, &word))
            return false;
        ret->integer = (int64_t)word;
        return true;
    case 's':
    case 'b':
        return take_text(reader, kind == 'b', ret);
    default:
        return take_list(reader, kind == 'v', ret);
    }
}

static bool read_operation(const uint8_t *at, uint64_t left, uint32_t *size, struct fp_operation *ret)
{
    uint16_t code;
    if (left < 8)
        return false;
    memcpy(&code, at, sizeof(code));
    memcpy(size, at + 4, sizeof(*size));
    if (code >= FP_OP_COUNT || *size < 8 || *size > left || *size % 8)
        return false;
    ret->code = code;
    struct reader reader = {at + 8, *size - 8};
    const char *signature = fp_operation_table[code].signature;
    for (int i = 0; signature[i]; i++)
        if (!take_argument(&reader, signature[i], &ret->arguments[i]))
            return false;
    return reader.left == 0;
}

/* Slots are indices into tables of C: the one range that must hold before anything runs. */
static bool slot_holds(const struct fp_operation *operation)
{
    switch (operation->code) {
    case FP_OP_CLONE_TREE:
    case FP_OP_CLONE_FILE:
    case FP_OP_SOURCE:
    case FP_OP_CONTROL:
    case FP_OP_VHOST_NET:
    case FP_OP_NOWHERE:
    case FP_OP_COPY:
    case FP_OP_CONSOLE:
    case FP_OP_ATTACH:
    case FP_OP_ATTACH_BELOW:
    case FP_OP_CLAIM:
    case FP_OP_TERMINAL:
    case FP_OP_ROOTFS_TERMINAL:
    case FP_OP_NAMESPACE:
    case FP_OP_OTHER_ROOT:
    case FP_OP_LEAVE_MOUNTS:
    case FP_OP_CHANGE_ROOT:
    case FP_OP_EXEC_SLOT:
        return operation->arguments[0].integer >= 0 && operation->arguments[0].integer < FP_SLOT_COUNT;
    case FP_OP_KEEP:
        return operation->arguments[0].integer >= 0 && operation->arguments[0].integer < FP_SLOT_COUNT &&
               operation->arguments[1].integer >= 3 && operation->arguments[1].integer < FP_SLOT_COUNT;
    case FP_OP_COMPANION:
        return operation->arguments[1].integer >= -1 && operation->arguments[1].integer < FP_SLOT_COUNT &&
               operation->arguments[2].integer >= -1 && operation->arguments[2].integer < FP_SLOT_COUNT;
    case FP_OP_RELEASE:
        for (uint64_t i = 0; i < operation->arguments[1].count; i++) {
            int64_t slot = fp_numbers(&operation->arguments[1])[i];
            if (slot < 0 || slot >= FP_SLOT_COUNT)
                return false;
        }
        return operation->arguments[0].integer >= 0 && operation->arguments[0].integer < FP_SLOT_COUNT;
    case FP_OP_LINK: {
        int64_t slot = operation->arguments[0].integer, queues = operation->arguments[7].integer;
        return slot >= -1 && slot < FP_SLOT_COUNT && queues >= 1 && queues <= (slot < 0 ? 1 : FP_SLOT_COUNT - slot);
    }
    case FP_OP_HELPER:
    case FP_OP_HOOK:
        return operation->arguments[0].integer >= -1 && operation->arguments[0].integer < FP_SLOT_COUNT;
    case FP_OP_STAGE:
        return operation->arguments[0].integer >= 0 && operation->arguments[0].integer < FP_STAGE_COUNT;
    default:
        return true;
    }
}

static int check(const struct fp_plan *plan, struct fp_error *error)
{
    const uint8_t *at = plan->bytes + sizeof(struct fp_plan_header);
    uint64_t left = plan->size - sizeof(struct fp_plan_header);
    int64_t stage = FP_STAGE_SANDBOX;
    for (uint32_t i = 0; i < plan->count; i++) {
        struct fp_operation operation;
        uint32_t size;
        if (!read_operation(at, left, &size, &operation) || !slot_holds(&operation))
            return fp_fail_with(error, EINVAL, "plan", "an operation is malformed");
        if (operation.code == FP_OP_STAGE) {
            if (operation.arguments[0].integer < stage)
                return fp_fail_with(error, EINVAL, "plan", "stages are out of order");
            stage = operation.arguments[0].integer;
        }
        at += size;
        left -= size;
    }
    if (left)
        return fp_fail_with(error, EINVAL, "plan", "trailing bytes");
    return 0;
}

int fp_plan_open(const void *bytes, size_t size, struct fp_plan *ret, struct fp_error *error)
{
    struct fp_plan_header header;
    if (size < sizeof(header) || size > FP_PLAN_MAX || (uintptr_t)bytes % 8)
        return fp_fail_with(error, EINVAL, "plan", "size or alignment");
    memcpy(&header, bytes, sizeof(header));
    if (header.magic != FP_PLAN_MAGIC || header.version != FP_PLAN_VERSION || header.size != size)
        return fp_fail_with(error, EINVAL, "plan", "header of another version");
    *ret = (struct fp_plan){bytes, header.size, header.count};
    return check(ret, error);
}

bool fp_plan_next(const struct fp_plan *plan, uint32_t *offset, struct fp_operation *ret)
{
    uint32_t size;
    if (*offset == 0)
        *offset = sizeof(struct fp_plan_header);
    if (*offset >= plan->size || !read_operation(plan->bytes + *offset, plan->size - *offset, &size, ret))
        return false;
    *offset += size;
    return true;
}

const int64_t *fp_numbers(const union fp_argument *argument)
{
    return argument->items;
}

void fp_vector(const union fp_argument *argument, const char **ret)
{
    const uint8_t *at = argument->items;
    for (uint64_t i = 0; i < argument->count; i++) {
        uint64_t length;
        memcpy(&length, at, 8);
        ret[i] = (const char *)at + 8;
        at += 8 + padded(length + 1);
    }
    ret[argument->count] = NULL;
}
