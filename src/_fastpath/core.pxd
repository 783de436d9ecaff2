# SPDX-License-Identifier: Apache-2.0
"""The C core as Cython sees it: declarations only, one block per header."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "error.h":
    struct fp_error:
        int number
        const char *step
        const char *path

cdef extern from "plan.h":
    struct fp_operation_info:
        const char *name
        const char *signature
    enum:
        FP_OP_COUNT
        FP_PLAN_MAGIC
        FP_PLAN_VERSION
        FP_SLOT_COUNT
        FP_SLOT_ROOT
    const fp_operation_info fp_operation_table[1]

cdef extern from "execute.h":
    struct fp_sandbox:
        int pidfd
        int pid
        uint64_t start_time
        int streams[3]
        int slots[64]
    void fp_sandbox_init(fp_sandbox *sandbox, int state_fd) nogil
    void fp_sandbox_deinit(fp_sandbox *sandbox) nogil
    int fp_sandbox_execute(fp_sandbox *sandbox, const void *plan, size_t size, const int *slots, int count,
                           fp_error *error) nogil
    int fp_sandbox_lock_network(fp_sandbox *sandbox, fp_error *error) nogil
    int fp_sandbox_release(fp_sandbox *sandbox, fp_error *error) nogil

cdef extern from "tsc.h":
    long fp_tsc_khz() nogil

cdef extern from "sealed.h":
    int fp_sealed_memfd(const char *name, const void *data, size_t size, bint executable, fp_error *error) nogil

cdef extern from "cgroup.h":
    struct fp_hierarchy:
        const char *controllers
        const char *mount
        const char *root
        const char *own
    struct fp_cgroup_layout:
        fp_hierarchy items[1]
        int count
    int fp_cgroup_layout_read(fp_cgroup_layout *ret, fp_error *error) nogil
    void fp_cgroup_layout_deinit(fp_cgroup_layout *layout) nogil
    struct fp_cgroup:
        const char *controllers
        const char *path
    struct fp_cgroup_list:
        fp_cgroup items[1]
        int count
    struct fp_pids:
        int *items
        size_t count
        size_t room
        size_t strangers
    int fp_cgroup_processes(const char *path, fp_pids *ret, fp_error *error) nogil
    int fp_cgroup_write(int dirfd, const char *file, const char *value, fp_error *error) nogil
    int fp_cgroup_devices(int dirfd, const int64_t *rules, size_t count, fp_error *error) nogil

cdef extern from "seccomp.h":
    struct fp_comparison:
        uint32_t argument
        uint32_t operation
        uint64_t first
        uint64_t second
    struct fp_seccomp:
        pass
    int fp_seccomp_init(fp_seccomp *ret, uint32_t action, fp_error *error) nogil
    void fp_seccomp_deinit(fp_seccomp *seccomp) nogil
    int fp_seccomp_architecture(fp_seccomp *seccomp, const char *name, fp_error *error) nogil
    int fp_seccomp_rule(fp_seccomp *seccomp, uint32_t action, const char *name, const fp_comparison *comparisons,
                        unsigned count, fp_error *error) nogil
    int fp_seccomp_export(fp_seccomp *seccomp, fp_error *error) nogil
    uint64_t fp_digest(const void *data, size_t size) nogil

cdef extern from "<sys/uio.h>":
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "state.h":
    enum fp_status:
        FP_STOPPED
    enum:
        FP_FLAG_HOOKS
        FP_FLAG_TIMESTAMPS
        FP_FLAG_PROCESS
        FP_FLAG_LATE
        FP_FLAG_WAITS
        FP_FLAG_CHROOT
    struct fp_record:
        uint32_t status
        uint32_t flags
        int64_t pid
        uint64_t start_time
        uint64_t overhead
        uint32_t head_size
        uint32_t tail_size
    struct fp_state:
        fp_record record
        char *text
        uint64_t entered_ns
        fp_cgroup_list cgroups
    void fp_state_deinit(fp_state *state) nogil
    int fp_state_read(int state_fd, fp_state *ret, fp_error *error) nogil
    int fp_state_write(int state_fd, const fp_record *record, const iovec *pieces, fp_error *error) nogil
    fp_status fp_state_status(const fp_state *state) nogil
    const char *fp_status_name(fp_status status) nogil
    char *fp_state_json(const fp_state *state, fp_status status, const char *reason) nogil
    int fp_state_lock(int root_fd, const char *id, int timeout_ms, fp_error *error) nogil
    int fp_state_remove(int root_fd, const char *id, fp_error *error) nogil

cdef extern from "journal.h":
    int fp_journal_undo(int state_fd, fp_error *error) nogil

cdef extern from "lifecycle.h":
    int fp_lifecycle_start(int state_fd, fp_state *state, fp_error *error) nogil
    int fp_lifecycle_start_as(int state_fd, fp_state *state, const void *plan, size_t size, const int *slots,
                              fp_error *error) nogil
    int fp_lifecycle_exec(fp_sandbox *sandbox, fp_error *error) nogil
    int fp_lifecycle_kill(int state_fd, const fp_state *state, int number, fp_error *error) nogil
    int fp_lifecycle_kill_all(const fp_state *state, int number, fp_error *error) nogil
    int fp_lifecycle_pause(const fp_state *state, bint paused, fp_error *error) nogil
    int fp_lifecycle_end(const fp_state *state, fp_error *error) nogil

cdef extern from "verbs.h":
    enum:
        FP_CREATION_PLANS
    struct fp_creation:
        const char *root
        const char *id
        fp_record record
        iovec document[4]
        const void *plans[3]
        size_t sizes[3]
        const int *slots
        int slot_count
    int fp_container_create(fp_sandbox *sandbox, fp_creation *wanted, fp_error *error) nogil
    struct fp_container:
        int root_fd
        int lock_fd
        int fd
    void fp_container_deinit(fp_container *container) nogil
    int fp_container_open(fp_container *ret, const char *root, const char *id, bint locks) nogil
    int fp_container_start(fp_container *container, fp_error *error) nogil
    bint fp_container_delete(fp_container *container, const char *id, bint force) nogil

cdef extern from "denied.h":
    bint fp_denied_find(int state_fd, int pid, uint64_t start_time, int *ret) nogil

cdef extern from "process.h":
    int fp_process_open(int pid, uint64_t start_time) nogil

cdef extern from "hook.h":
    struct fp_hook:
        const char *path
        const char **argv
        const char **environment
        const void *input
        uint64_t input_size
        int64_t timeout_s
        const char *directory
        int root_fd
    int fp_hook_run(const fp_hook *hook, fp_error *error) nogil

cdef extern from "json.h":
    enum fp_json_kind:
        FP_JSON_END
        FP_JSON_OBJECT
        FP_JSON_OBJECT_END
        FP_JSON_ARRAY
        FP_JSON_ARRAY_END
        FP_JSON_COLON
        FP_JSON_COMMA
        FP_JSON_STRING
        FP_JSON_INTEGER
        FP_JSON_REAL
        FP_JSON_TRUE
        FP_JSON_FALSE
        FP_JSON_NULL
    struct fp_json:
        const char *at
        const char *end
    struct fp_json_token:
        fp_json_kind kind
        const char *start
        size_t length
        bint escaped
        bint other
    enum fp_json_shape:
        FP_JSON_TEXTS
        FP_JSON_PAIRS
        FP_JSON_WHATEVER
    void fp_json_next(fp_json *json, fp_json_token *ret) nogil
    bint fp_json_skip(fp_json *json, fp_json_kind first, fp_json_shape shape) nogil
    const char *fp_json_find_name(const char *at, const char *end, const char *prefix) nogil
    bint fp_json_is_plain(const char *text, size_t length) nogil
    size_t fp_json_unescape(const fp_json_token *token, char *ret) nogil

cdef extern from "kernel.h":
    struct fp_open_how:
        uint64_t flags
        uint64_t mode
        uint64_t resolve
    enum:
        FP_RESOLVE_IN_ROOT
        FP_RESOLVE_NO_MAGICLINKS
    int fp_openat2(int dirfd, const char *path, const fp_open_how *how) nogil

cdef extern from "elf.h":
    struct fp_image:
        uint64_t size
        uint32_t kind
        uint32_t solo5_target
        uint32_t solo5_version
        uint64_t extent
        uint16_t boot_protocol
        uint16_t machine
        uint8_t bits
        bint multiboot
        bint pvh
    struct fp_elf_dependencies:
        char *interpreter
        char *rpath
        char *runpath
        char **needed
        size_t needed_count
        uint16_t machine
        uint8_t bits
    int fp_image_identify(int fd, fp_image *ret, fp_error *error) nogil
    int fp_elf_dependencies_read "fp_elf_dependencies"(int fd, fp_elf_dependencies *ret, fp_error *error) nogil
    void fp_elf_dependencies_deinit(fp_elf_dependencies *dependencies) nogil

cdef extern from *:
    """
    extern const char fp_init_image_start[], fp_init_image_end[], fp_spt_image_start[], fp_spt_image_end[];
    """
    const char *fp_init_image_start
    const char *fp_init_image_end
    const char *fp_spt_image_start
    const char *fp_spt_image_end

cdef extern from "snapshot.h":
    enum:
        FP_DEVICE_OTHER
        FP_DEVICE_LOOP
        FP_DEVICE_MAPPED
        FP_DEVICE_THIN
    struct fp_mounts:
        char *text
    struct fp_mount:
        unsigned major
        unsigned minor
        const char *point
        const char *options
        const char *type
        const char *source
        const char *super_options
    struct fp_device:
        int kind
        const char *name
        uint64_t size
        bint read_only
        unsigned pool_major
        unsigned pool_minor
        uint32_t thin_id
    int fp_snapshot_find(int fd, fp_mounts *table, fp_mount *ret_mount, fp_device *ret_device, fp_error *error) nogil
    void fp_mounts_deinit(fp_mounts *mounts) nogil

cdef extern from "network.h":
    enum:
        FP_INTERFACES_MAX
        FP_ADDRESSES_MAX
    struct fp_address:
        int family
        int prefix
        uint8_t *bytes
    struct fp_interface:
        int index
        uint32_t mtu
        const char *name
        uint8_t *mac
        int address_count
        fp_address addresses[16]
    struct fp_route:
        int index
        fp_address gateway
    struct fp_owner:
        int pid
    struct fp_tap_link:
        const char *name
        fp_owner owner
    struct fp_network:
        int count
        fp_interface interfaces[16]
        int tap_count
        fp_tap_link taps[16]
        fp_route route4
        fp_route route6
    struct fp_choice:
        int count
        int interfaces[16]
    struct fp_stale:
        int tap_count
        int interface_count
    bint fp_network_has_links(int pid) nogil
    int fp_network_is_own(int fd, fp_error *error) nogil
    int fp_network_discover(int netlink, fp_network *ret, fp_error *error) nogil
    int fp_network_choose(const fp_network *network, fp_choice *ret, fp_error *error) nogil
    int fp_network_refuse_foreign(const fp_network *network, fp_error *error) nogil
    int fp_network_stale(int netlink, const fp_network *network, fp_stale *ret, fp_error *error) nogil
    int fp_network_clean(int netlink, const fp_network *network, const fp_stale *stale, fp_error *error) nogil

cdef extern from "userns.h":
    int fp_userns_map(const char *path, const char *file, char *ret, size_t size, fp_error *error) nogil

cdef extern from "netns.h":
    int fp_netns_open(const char *path, int *ret_netlink, int *ret_tun, fp_error *error) nogil

cdef extern from "<arpa/inet.h>":
    const char *inet_ntop(int family, const void *source, char *destination, uint32_t size) nogil

cdef extern from "elf_solo5.h":
    enum:
        FP_SOLO5_BLOCK
        FP_SOLO5_NET
    struct fp_solo5_entry:
        const char *name
        uint32_t type
    struct fp_solo5_manifest:
        uint32_t count
        fp_solo5_entry entries[64]
    int fp_solo5_read_manifest(int fd, uint32_t target, fp_solo5_manifest *ret, fp_error *error) nogil

cdef extern from "rules.h":
    int fp_rules_clean_in(const char *path, fp_error *error) nogil
