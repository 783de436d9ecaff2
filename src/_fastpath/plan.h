/* SPDX-License-Identifier: Apache-2.0 */
/* The plan: what Python decided, as a flat list of operations that C checks once and then executes. */
#pragma once

#include "error.h"
#include <stdbool.h>
#include <stdint.h>

/* Signatures: i = integer (i64), s = string (no NUL inside), b = bytes, n = list of integers, v = list of strings.
 * An operation runs in the process that owns its stage: sandbox and root in the caller; wait (during create, before
 * urunc-init waits), enter and exec (during start) in urunc-init.  Slots number the descriptors that operations share;
 * FP_SLOT_ROOT is the monitor's root. */
#define FP_OPERATIONS(X)                                                                                               \
    X(STAGE, "stage", "i")              /* FP_STAGE_*: ends the stage before it */                                     \
    X(JOIN, "join", "is")               /* CLONE_NEW*, path of the namespace */                                        \
    X(CGROUP, "cgroup", "vvvi")         /* controllers, mounts, paths below them: makes a cgroup in each hierarchy;    \
                                             pid that may be there (0: none) */                                        \
    X(CGROUP_JOIN, "cgroup_join", "vv") /* controllers, directories: cgroups that are there, of a container to join */ \
    X(CGROUP_WRITE, "cgroup_write", "isv")             /* number of the cgroup, file, values: a write(2) each */       \
    X(CGROUP_WRITE_FIRST, "cgroup_write_first", "ivv") /* the same for the first of the files that is there */         \
    X(CGROUP_DEVICES, "cgroup_devices", "in")          /* number of a cgroup2, rules (cgroup.h) */                     \
    X(USER_NAMESPACE, "user_namespace", "ss")          /* uid_map, gid_map: one to join */                             \
    X(TIME_OFFSETS, "time_offsets", "s")               /* timens_offsets, of a time namespace to be made */            \
    X(CLONE, "clone", "i") /* CLONE_NEW* flags of the namespaces to make; starts urunc-init */                         \
    X(READY, "ready", "") /* wait until it has cut its mounts off from the host's: for hooks, which may add to them */ \
    X(ROOT, "root", "iis") /* size in bytes, mode, SELinux label ("": none): a detached tmpfs in FP_SLOT_ROOT */       \
    X(DIRECTORY, "directory", "si")    /* path in the root, mode */                                                    \
    X(FILE, "file", "sib")             /* path in the root, mode, content */                                           \
    X(SYMLINK, "symlink", "ss")        /* target, path in the root */                                                  \
    X(NODE, "node", "siii")            /* path in the root, mode with S_IFCHR or S_IFBLK, major, minor */              \
    X(CLONE_TREE, "clone_tree", "isi") /* slot, host directory, attributes (MOUNT_ATTR_*): recursive, detached */      \
    X(SOURCE, "source", "isi")         /* slot, host path, 1: all that is mounted below: what a mount binds */         \
    X(CLONE_FILE, "clone_file", "ii")  /* slot (becomes a detached mount of what it was), the same */                  \
    X(INITRD, "initrd", "sni") /* path in the root, slots of archives to begin with, 1: without the last trailer */    \
    X(INITRD_FILE, "initrd_file", "ssib")    /* path in the root, name in it, mode, content */                         \
    X(INITRD_TREE, "initrd_tree", "sss")     /* path in the root, name in it ("": what is below), path on the host */  \
    X(INITRD_UINIT, "initrd_uinit", "ss")    /* path in the root, name in it: uinit, to be the guest's init */         \
    X(INITRD_END, "initrd_end", "s")         /* path in the root */                                                    \
    X(CONSOLE, "console", "isiiii")          /* slot for the slave, console socket, rows, columns, uid, gid */         \
    X(PIDFD_SOCKET, "pidfd_socket", "s")     /* who gets a pidfd of urunc-init */                                      \
    X(CONSOLE_SOCKET, "console_socket", "s") /* the console socket, for a terminal that urunc-init makes:              \
                                                FP_SLOT_CONSOLE */                                                     \
    X(COPY, "copy", "isi") /* slot (used up), path in the root, mode: what outlives the file system it is on */        \
    X(SNAPSHOT, "snapshot", "iisssss") /* major, minor, mount point, source, type, options of mount and of file        \
                                          system: what start is to unmount */                                          \
    X(LINK, "link", "issiiiii")    /* slot for the tap (-1: by name only), tap, interface, its index, mtu, uid, vnet   \
                                      header, queues: a descriptor for each, in the slot and those behind it */        \
    X(SHARE, "share", "issiiiin")  /* slot, tap, interface, its index, mtu, uid, vnet header; gateway, prefix, guest,  \
                                      ports */                                                                         \
    X(VHOST_NET, "vhost_net", "i") /* slot: /dev/vhost-net, whose kernel thread serves a queue */                      \
    X(LISTENER, "listener", "ss")  /* socket of the agent that answers for system calls, the state to send it: see     \
                                      listener.h */                                                                    \
    X(NOWHERE, "nowhere", "i")     /* slot: a datagram socket that leads nowhere, for a network device */              \
    X(CONTROL, "control", "i")     /* slot for the listening end of the guest's power button, see control.h */         \
    X(ENTER_NAMESPACE, "enter_namespace", "ii") /* slot, CLONE_NEW*: one that only a process on its own can join */    \
    X(ATTACH_ROOT, "attach_root", "")           /* FP_SLOT_ROOT onto /, and enter it */                                \
    X(ATTACH, "attach", "is")                   /* slot, path in the root: an existing file or directory */            \
    X(ATTACH_BELOW, "attach_below", "iss")      /* the same; path in what is attached there, which it cannot leave */  \
    X(ROOTFS, "rootfs", "s")   /* path: the container's own, for the process monitor; in FP_SLOT_ROOT */               \
    X(MOUNT, "mount", "sssns") /* source, path, type; MS_* and FP_* below, attributes to set, to clear, the same for   \
                                  all below, propagations; options */                                                  \
    X(ROOTFS_NODE, "rootfs_node", "siiiii")        /* path, mode, major, minor, uid, gid */                            \
    X(ROOTFS_LINK, "rootfs_link", "ss")            /* target, path */                                                  \
    X(ROOTFS_TERMINAL, "rootfs_terminal", "isiii") /* slot for the slave, ptmx of a devpts, rows, columns, uid */      \
    X(ROOTFS_CONSOLE, "rootfs_console", "")        /* the terminal as /dev/console too */                              \
    X(MASK, "mask", "s")                                                                                               \
    X(READ_ONLY_PATH, "read_only_path", "s")                                                                           \
    X(SYSCTL, "sysctl", "ss") /* path below /proc/sys, value */                                                        \
    X(PROPAGATION, "propagation", "i")                                                                                 \
    X(WORKING_DIRECTORY, "working_directory", "s") /* made in FP_SLOT_ROOT where it is missing */                      \
    X(CHANGE_DIRECTORY, "change_directory", "s")   /* an existing one */                                               \
    X(PROGRAM, "program", "sv")                    /* name, environment: fails if exec would not find it */            \
    X(PROC, "proc", "s")                           /* path in the root: an existing directory */                       \
    X(PIVOT_ROOT, "pivot_root", "")                /* the caller's root is gone afterwards */                          \
    X(NAMESPACE, "namespace", "iis")               /* slot, CLONE_NEW*, path of one to enter later */                  \
    X(OTHER_ROOT, "other_root", "is")              /* slot, directory: the root of the container to join */            \
    X(LEAVE_MOUNTS, "leave_mounts", "i")           /* slot of a mount namespace: see rootfs.h */                       \
    X(CHANGE_ROOT, "change_root", "i")             /* slot of a directory: chroot(2) */                                \
    X(READ_ONLY, "read_only", "")                  /* the root itself, not what is attached below */                   \
    X(RELEASE, "release", "insis") /* slot for the device, slots to drop, path of its node, whether it is only         \
                                      read, its name: has start unmount the snapshot */                                \
    X(CLAIM, "claim", "is")        /* slot (becomes the device, had exclusively), path of its node */                  \
    X(HOSTNAME, "hostname", "s")                                                                                       \
    X(DOMAINNAME, "domainname", "s")                                                                                   \
    X(OOM_SCORE_ADJ, "oom_score_adj", "i")                                                                             \
    X(TERMINAL, "terminal", "i") /* slot of the slave: controlling terminal and standard streams */                    \
    X(HOOK, "hook", "isvvibss")  /* slot of its root (-1: ours), path, argv, environment, timeout s, stdin, cwd, which \
                                    it is, for the message */                                                          \
    X(KEYRING, "keyring", "")    /* a new session keyring */                                                           \
    X(LABEL_FILE, "label_file", "is") /* slot, directory of /proc/thread-self: its `exec`, opened */                   \
    X(LABEL, "label", "is")           /* slot of such a file, label */                                                 \
    X(RLIMIT, "rlimit", "iii")        /* RLIMIT_*, soft, hard */                                                       \
    X(UMASK, "umask", "i")                                                                                             \
    X(IO_PRIORITY, "io_priority", "ii")  /* IOPRIO_CLASS_*, level */                                                   \
    X(SCHEDULER, "scheduler", "iiiiiii") /* SCHED_*, SCHED_FLAG_*, nice, priority; runtime, deadline, period in ns */  \
    X(MEMORY_POLICY, "memory_policy", "in") /* MPOL_* and MPOL_F_*, nodes */                                           \
    X(PERSONALITY, "personality", "i")      /* PER_* */                                                                \
    X(GROUPS, "groups", "n")                                                                                           \
    X(USER, "user", "ii")                   /* uid, gid: real, effective, saved */                                     \
    X(BOUNDING_SET, "bounding_set", "i")    /* mask of the capabilities to keep */                                     \
    X(CAPABILITIES, "capabilities", "iiii") /* masks: effective, permitted, inheritable, ambient */                    \
    X(NO_NEW_PRIVILEGES, "no_new_privileges", "")                                                                      \
    X(LOAD_FILTERS, "load_filters", "") /* those so far; else just before exec */                                      \
    X(SECCOMP, "seccomp", "ib")         /* SECCOMP_FILTER_FLAG_*, struct sock_filter[] */                              \
    X(NOTIFY, "notify", "ib") /* the same, loaded at once, the last of stage wait: its listener is in FP_SLOT_LISTENER \
                                 until the commit */                                                                   \
    X(HELPER, "helper", "isvviiii") /* slot that it finds under 3 (-1: none), path in the root, argv, environment,     \
                                       uid, gid, mask of its capabilities, 1: no standard error; it serves the         \
                                       monitor */                                                                      \
    X(VHOST, "vhost", "sii")        /* directory of the root, slots for the listening and the connected end */         \
    X(SECTOR, "sector", "s")        /* directory of the root, for the file that is a disk for the guest's status */    \
    X(SCRATCH, "scratch", "sii")    /* directory of the root that is to be writable, uid, gid: for this user alone */  \
    X(COMPANION, "companion", "iiiss") /* FP_EXIT_*, slots for the monitor's end of QMP and of its events (-1: none),  \
                                          socket and request of the power button ("": none): what follows is for a     \
                                          child, see companion.h */                                                    \
    X(KEEP, "keep", "ii")              /* slot, number (3 ...) that the monitor finds it under */                      \
    X(EXEC, "exec", "svv")             /* path in the root, argv, environment */                                       \
    X(EXEC_SLOT, "exec_slot", "ivv")   /* slot of a program, argv, environment */                                      \
    X(DENIED, "denied", "i")           /* slot for what the companion notes a denied system call in, see denied.h */   \
    X(LOCK_FILE, "lock_file", "is")    /* slot, path on the host: a file for locks, made if need be */                 \
    X(LOCK, "lock", "isis") /* slot, path in the root of what is locked ("": the file in the slot), 1: for this guest  \
                               alone, its name */                                                                      \
    X(NO_CORE, "no_core", "") /* leave no core, whoever is to get it */

enum fp_operation_code {
#define X(code, name, signature) FP_OP_##code,
    FP_OPERATIONS(X)
#undef X
        FP_OP_COUNT
};

enum fp_stage { FP_STAGE_SANDBOX, FP_STAGE_ROOT, FP_STAGE_WAIT, FP_STAGE_ENTER, FP_STAGE_EXEC, FP_STAGE_COUNT };

enum {
    FP_PLAN_VERSION = 1,
    FP_PLAN_MAX = 16 << 20, /* bytes of a plan; argv and environment are the bulk */
    FP_ARGUMENTS_MAX = 8,
    FP_SLOT_ROOT = 0,
    FP_SLOT_DENIED = 23, /* of the file that the companion notes a denied system call in */
    FP_SLOT_TIME = 27,   /* of a time namespace to join */
    FP_SLOT_CONSOLE = 61,
    FP_SLOT_LISTENER = 62,
    FP_SLOT_COUNT = 64,
};

/* Of a mount, beside MS_*: what it hides is copied into it; its source is a path in the rootfs, where mounts before it
 * are to be seen; the slot of its source (operation `source`), 0 for none. */
#define FP_COPY_UP            (INT64_C(1) << 32)
#define FP_IN_ROOTFS          (INT64_C(1) << 33)
#define FP_SOURCE_SLOT(flags) ((flags) >> 40 & (FP_SLOT_COUNT - 1))

#define FP_PLAN_MAGIC 0x4e4c5055u /* "UPLN" */

/* Wire format, native byte order, everything aligned to 8:
 *   plan = header, operation...          operation = {u16 code, u16 0, u32 bytes of the whole}, argument...
 *   i = i64    s, b = u64 length, bytes, NUL, padding    n = u64 count, i64...    v = u64 count, s... */
struct fp_plan_header {
    uint32_t magic;
    uint16_t version;
    uint16_t reserved;
    uint32_t size;
    uint32_t count;
};

struct fp_plan {
    const uint8_t *bytes;
    uint32_t size;
    uint32_t count;
};

union fp_argument {
    int64_t integer;
    struct {
        const char *text;
        uint64_t length;
    };
    struct {
        const void *items; /* first element; see fp_numbers and fp_vector */
        uint64_t count;
    };
};

struct fp_operation {
    enum fp_operation_code code;
    union fp_argument arguments[FP_ARGUMENTS_MAX];
};

struct fp_operation_info {
    const char *name;
    const char *signature;
};

extern const struct fp_operation_info fp_operation_table[FP_OP_COUNT];

/* Check `size` bytes for being a plan, whole and to the last byte: after this fp_plan_next cannot fail.
 * The bytes are borrowed and must be 8-aligned.  EINVAL names the operation that is wrong. */
int fp_plan_open(const void *bytes, size_t size, struct fp_plan *ret, struct fp_error *error);

/* The operation at `*offset` (start with 0), which is moved on; false at the end. */
bool fp_plan_next(const struct fp_plan *plan, uint32_t *offset, struct fp_operation *ret);

/* The elements of an `n` argument. */
const int64_t *fp_numbers(const union fp_argument *argument);

/* Fill `ret` with the strings of a `v` argument and a final NULL; it needs room for count + 1. */
void fp_vector(const union fp_argument *argument, const char **ret);
