// SPDX-License-Identifier: Apache-2.0
// libseccomp by dlopen; see seccomp.h.
#define _GNU_SOURCE
#include "seccomp.h"

#include "cleanup.h"

#include <dlfcn.h>
#include <sys/mman.h>

enum {
    UNKNOWN_CALL = -1, /* __NR_SCMP_ERROR */
    ATTRIBUTE_OPTIMIZE = 8,
    BINARY_TREE = 2,
};

/* A symbol as a pointer to a function: ISO C has no cast for that. */
static void *symbol(const struct fp_seccomp *seccomp, const char *name)
{
    return dlsym(seccomp->library, name);
}

#define FUNCTION(result, name, ...)                                                                                    \
    result (*name)(__VA_ARGS__);                                                                                       \
    *(void **)&name = symbol(seccomp, #name);                                                                          \
    if (!name)                                                                                                         \
    return fp_fail_with(error, ENOSYS, "libseccomp has no " #name, "install libseccomp 2.3 or later")

int fp_seccomp_init(struct fp_seccomp *ret, uint32_t action, struct fp_error *error)
{
    *ret = (struct fp_seccomp){.library = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL)};
    if (!ret->library)
        return fp_fail_with(error, ENOENT, "libseccomp.so.2", dlerror());
    const struct fp_seccomp *seccomp = ret;
    FUNCTION(void *, seccomp_init, uint32_t);
    FUNCTION(int, seccomp_attr_set, void *, int, uint32_t);
    ret->filter = seccomp_init(action);
    if (!ret->filter)
        return fp_fail_with(error, EINVAL, "seccomp_init", NULL);
    seccomp_attr_set(ret->filter, ATTRIBUTE_OPTIMIZE, BINARY_TREE); /* from 2.5; slower without */
    return 0;
}

void fp_seccomp_deinit(struct fp_seccomp *seccomp)
{
    void (*release)(void *) = NULL;
    if (seccomp->filter && (*(void **)&release = symbol(seccomp, "seccomp_release")))
        release(seccomp->filter);
    if (seccomp->library)
        dlclose(seccomp->library);
    *seccomp = (struct fp_seccomp){0};
}

int fp_seccomp_architecture(struct fp_seccomp *seccomp, const char *name, struct fp_error *error)
{
    FUNCTION(uint32_t, seccomp_arch_resolve_name, const char *);
    FUNCTION(int, seccomp_arch_add, void *, uint32_t);
    uint32_t token = seccomp_arch_resolve_name(name);
    if (!token)
        return fp_fail_with(error, EINVAL, "linux.seccomp.architectures", name);
    int status = seccomp_arch_add(seccomp->filter, token);
    return status < 0 && status != -EEXIST ? fp_fail_with(error, -status, "linux.seccomp.architectures", name) : 0;
}

int fp_seccomp_rule(struct fp_seccomp *seccomp, uint32_t action, const char *name,
                    const struct fp_comparison *comparisons, unsigned count, struct fp_error *error)
{
    FUNCTION(int, seccomp_syscall_resolve_name, const char *);
    FUNCTION(int, seccomp_rule_add_array, void *, uint32_t, int, unsigned, const struct fp_comparison *);
    int number = seccomp_syscall_resolve_name(name);
    if (number == UNKNOWN_CALL)
        return 0;
    int status = seccomp_rule_add_array(seccomp->filter, action, number, count, comparisons);
    return status < 0 ? fp_fail_with(error, -status, "linux.seccomp.syscalls", name) : 0;
}

int fp_seccomp_export(struct fp_seccomp *seccomp, struct fp_error *error)
{
    FUNCTION(int, seccomp_export_bpf, const void *, int);
    _cleanup_close_ int fd = memfd_create("urunc-seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "memfd_create", "seccomp");
    int status = seccomp_export_bpf(seccomp->filter, fd);
    if (status < 0)
        return fp_fail_with(error, -status, "seccomp_export_bpf", "linux.seccomp");
    return fp_take_fd(&fd);
}

uint64_t fp_digest(const void *data, size_t size)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (const uint8_t *byte = data; size--; byte++)
        digest = (digest ^ *byte) * UINT64_C(0x100000001b3);
    return digest;
}
