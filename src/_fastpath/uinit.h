/* SPDX-License-Identifier: Apache-2.0 */
/* uinit: the first process of a Linux guest.  It is told what to do by the file FP_UINIT_CONFIG of its initrd.
 *
 * The file is a list of strings, each with a NUL behind it: FP_UINIT_MAGIC, then directives, each a keyword and as many
 * strings as its signature has letters.  What is executed when is uinit's affair, but mounts, addresses, variables and
 * arguments keep their order. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

/* s = any string, p = an absolute path, n = a decimal number of at most 64 bits */
#define FP_UINIT_DIRECTIVES(X)                                                                                         \
    X(ROOT, "root", "ssns")   /* file system (share: a directory of it), source, MS_* flags, data: what / is to be, if \
                               * it is not the initrd */                                                               \
    X(SHARE, "share", "ssns") /* the same: where `from_share` finds its sources */                                     \
    X(MOUNT, "mount", "sspns")     /* file system, source, target, MS_* flags, data */                                 \
    X(FROM_INITRD, "bind", "ppnn") /* path in the initrd, target, MS_* flags, 1 if it is a directory */                \
    X(FROM_SHARE, "from_share", "ppnn")                                                                                \
    X(HOSTNAME, "hostname", "s")                                                                                       \
    X(DOMAINNAME, "domainname", "s")                                                                                   \
    X(SYSCTL, "sysctl", "ss")    /* name with slashes, value */                                                        \
    X(LINK, "link", "ssn")       /* MAC, name, MTU (0: as it is) */                                                    \
    X(ADDRESS, "address", "ssn") /* MAC, address, prefix length */                                                     \
    X(GATEWAY, "gateway", "ss")  /* MAC, address: the default route */                                                 \
    X(RLIMIT, "rlimit", "nnn")   /* RLIMIT_*, soft, hard */                                                            \
    X(UMASK, "umask", "n")                                                                                             \
    X(GROUP, "group", "n")           /* a supplementary one */                                                         \
    X(USER, "user", "nn")            /* uid, gid */                                                                    \
    X(BOUNDING_SET, "bounding", "n") /* mask of the capabilities to keep */                                            \
    X(NO_NEW_PRIVILEGES, "no_new_privileges", "")                                                                      \
    X(DIRECTORY, "cwd", "p")                                                                                           \
    X(ENVIRONMENT, "env", "s")                                                                                         \
    X(ARGUMENT, "arg", "s")                                                                                            \
    X(TERMINAL, "terminal", "nn") /* rows, columns (0: not known): the console is somebody's terminal */               \
    X(STOP, "stop", "n")          /* signal for the program when the power button is pressed */                        \
    X(STATUS, "status", "p")      /* block device of one sector that takes the program's status */                     \
    X(REBOOT, "reboot", "")       /* end by a reset, where that ends the machine, not by switching off */

enum uinit_code {
#define X(code, name, signature) UINIT_##code,
    FP_UINIT_DIRECTIVES(X)
#undef X
        UINIT_COUNT
};

enum { UINIT_ARGUMENTS_MAX = 5, UINIT_CONFIG_MAX = 4 << 20, UINIT_SECTOR = 512 };

#define FP_UINIT_DIRECTORY "/.urunc"
#define FP_UINIT_CONFIG    FP_UINIT_DIRECTORY "/config"
#define FP_UINIT_MODULES   FP_UINIT_DIRECTORY "/modules" /* loaded in the order of their names */
#define FP_UINIT_MAGIC     "uinit 1"
/* the status sector begins so; the status follows in decimal, and a line end */
#define FP_UINIT_STATUS "urunc status "

struct uinit_config {
    const char *bytes;
    size_t size;
};

struct uinit_directive {
    enum uinit_code code;
    const char *text[UINIT_ARGUMENTS_MAX];
    uint64_t number[UINIT_ARGUMENTS_MAX];
};

/* Check `size` bytes for being a configuration, whole and to the last byte; the bytes are borrowed.  EINVAL names
 * the directive that is wrong. */
int uinit_config_open(const char *bytes, size_t size, struct uinit_config *ret, struct fp_error *error);

/* The next directive with this code (UINIT_COUNT: any) from `*offset` (start with 0) on; false if there is none. */
bool uinit_config_next(const struct uinit_config *config, enum uinit_code code, size_t *offset,
                       struct uinit_directive *ret);

/* The same for the only or the last one. */
bool uinit_config_last(const struct uinit_config *config, enum uinit_code code, struct uinit_directive *ret);

/* uinit_mount.c */
int uinit_mount_own(struct fp_error *error);
int uinit_load_modules(struct fp_error *error);
/* / becomes what the configuration says, with all mounts made. */
int uinit_mount_all(const struct uinit_config *config, struct fp_error *error);

/* uinit_network.c */
int uinit_network(const struct uinit_config *config, struct fp_error *error);

/* uinit_run.c: run the program to its end; its status as a shell has it. */
int uinit_run(const struct uinit_config *config);
