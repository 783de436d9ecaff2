// SPDX-License-Identifier: Apache-2.0
// The reader of uinit's configuration; see uinit.h.  Nothing in it is trusted to end.
#include "uinit.h"

#include <string.h>

static const struct {
    const char *name, *signature;
} directives[UINIT_COUNT] = {
#define X(code, name, signature) [UINIT_##code] = {name, signature},
    FP_UINIT_DIRECTIVES(X)
#undef X
};

/* The string at `*offset`, which moves behind its NUL; NULL at the end.  There is a NUL at the end of all. */
static const char *next_string(const struct uinit_config *config, size_t *offset)
{
    if (*offset >= config->size)
        return NULL;
    const char *text = config->bytes + *offset;
    *offset += strlen(text) + 1;
    return text;
}

static bool read_number(const char *text, uint64_t *ret)
{
    *ret = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        unsigned digit = (unsigned char)*text - '0';
        if (digit > 9 || *ret > (UINT64_MAX - digit) / 10)
            return false;
        *ret = *ret * 10 + digit;
    }
    return true;
}

static int find_directive(const char *name)
{
    for (int code = 0; code < UINIT_COUNT; code++)
        if (strcmp(directives[code].name, name) == 0)
            return code;
    return -1;
}

/* 1 = a directive, 0 = the end, -1 = none that there is; `*ret_name` is what it calls itself. */
static int next_directive(const struct uinit_config *config, size_t *offset, struct uinit_directive *ret,
                          const char **ret_name)
{
    const char *name = *ret_name = next_string(config, offset);
    if (!name)
        return 0;
    int code = find_directive(name);
    if (code < 0)
        return -1;
    ret->code = (enum uinit_code)code;
    const char *signature = directives[code].signature;
    for (int i = 0; signature[i]; i++) {
        const char *text = ret->text[i] = next_string(config, offset);
        if (!text || (signature[i] == 'p' && text[0] != '/') ||
            (signature[i] == 'n' && !read_number(text, &ret->number[i])))
            return -1;
    }
    return 1;
}

int uinit_config_open(const char *bytes, size_t size, struct uinit_config *ret, struct fp_error *error)
{
    if (!size || size > UINIT_CONFIG_MAX || bytes[size - 1] || strcmp(bytes, FP_UINIT_MAGIC) != 0)
        return fp_fail_with(error, EINVAL, "configuration", "it does not begin or end as one");
    *ret = (struct uinit_config){bytes + sizeof(FP_UINIT_MAGIC), size - sizeof(FP_UINIT_MAGIC)};
    struct uinit_directive directive;
    const char *name;
    int found;
    for (size_t offset = 0; (found = next_directive(ret, &offset, &directive, &name)) > 0;)
        ;
    return found < 0 ? fp_fail_with(error, EINVAL, "configuration", name) : 0;
}

bool uinit_config_next(const struct uinit_config *config, enum uinit_code code, size_t *offset,
                       struct uinit_directive *ret)
{
    const char *name;
    while (next_directive(config, offset, ret, &name) > 0)
        if (code == UINIT_COUNT || ret->code == code)
            return true;
    return false;
}

bool uinit_config_last(const struct uinit_config *config, enum uinit_code code, struct uinit_directive *ret)
{
    struct uinit_directive found;
    bool any = false;
    for (size_t offset = 0; uinit_config_next(config, code, &offset, &found); any = true)
        *ret = found;
    return any;
}
