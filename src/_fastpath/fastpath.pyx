# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, embedsignature=False, binding=False
"""urunc._fastpath: converts, releases the lock, raises.  No policy; _fastpath.pyi is the documentation."""

from core cimport *
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DATA, PyUnicode_DecodeUTF8, PyUnicode_New
from libc.math cimport isinf
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset
from posix.fcntl cimport O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDONLY

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)

from os import close, fsencode, strerror


cdef raise_error(const fp_error *error):
    """The one place that raises: OSError(errno, text, path) with the step that failed in `.step`."""
    cdef str path = (<bytes>error.path).decode("utf-8", "surrogateescape")
    raised = OSError(error.number, strerror(error.number), path or None)
    raised.step = (<bytes>error.step).decode("utf-8", "surrogateescape")
    raise raised


OPERATIONS = {
    fp_operation_table[code].name.decode(): (code, fp_operation_table[code].signature.decode())
    for code in range(FP_OP_COUNT)
}
STAGES = {"sandbox": 0, "root": 1, "wait": 2, "enter": 3, "exec": 4}
STATUSES = {fp_status_name(<fp_status>status).decode(): status for status in range(1, FP_STOPPED + 1)}
FLAG_HOOKS = FP_FLAG_HOOKS
FLAG_TIMESTAMPS = FP_FLAG_TIMESTAMPS
FLAG_PROCESS = FP_FLAG_PROCESS
FLAG_LATE = FP_FLAG_LATE
FLAG_WAITS = FP_FLAG_WAITS
FLAG_CHROOT = FP_FLAG_CHROOT


cdef str decoded(const char *value):
    return (<bytes>value).decode("utf-8", "surrogateescape")


cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(object)  # what os.fsencode does to a str


cdef bytes integer(object value):
    cdef int64_t number = int(value)
    return (<const char *>&number)[:8]  # as the C that reads it has it


cdef bytes text(object value):
    cdef bytes data = PyUnicode_EncodeFSDefault(value) if isinstance(value, str) else value
    return integer(len(data)) + data + PADDING[:8 - len(data) % 8]


cdef bytes PADDING = bytes(8)


cdef bytes argument(str kind, object value):
    if kind == "i":
        return integer(value)
    if kind == "n":
        return integer(len(value)) + b"".join([integer(item) for item in value])
    if kind == "v":
        return integer(len(value)) + b"".join([text(item) for item in value])
    return text(value)


cdef bytes operation(tuple given):
    cdef str name = given[0]
    code, signature = OPERATIONS[name]
    values = given[1:] if name != "stage" else (STAGES[given[1]],)
    if len(values) != len(signature):
        raise ValueError(f"plan: {name} takes {len(signature)} arguments, not {len(values)}")
    cdef bytes body = b"".join([argument(kind, value) for kind, value in zip(signature, values)])
    return (<int>code).to_bytes(4, "little") + (len(body) + 8).to_bytes(4, "little") + body


def pack(operations):
    cdef list packed = [operation(given) for given in operations]
    cdef bytes body = b"".join(packed)
    return (FP_PLAN_MAGIC.to_bytes(4, "little") + FP_PLAN_VERSION.to_bytes(4, "little")
            + (len(body) + 16).to_bytes(4, "little") + len(packed).to_bytes(4, "little") + body)


cdef class Sandbox:
    cdef fp_sandbox sandbox

    def __cinit__(self, int state_fd, tuple streams=()):
        fp_sandbox_init(&self.sandbox, state_fd)
        for i in range(min(len(streams), 3)):
            self.sandbox.streams[i] = streams[i]

    def __dealloc__(self):
        fp_sandbox_deinit(&self.sandbox)

    @property
    def pid(self):
        return self.sandbox.pid

    @property
    def start_time(self):
        return self.sandbox.start_time

    def adopt(self, int pid, uint64_t start_time):
        self.sandbox.pid = pid
        self.sandbox.start_time = start_time

    def take_pidfd(self):
        cdef int fd = self.sandbox.pidfd
        self.sandbox.pidfd = -1
        return fd

    def execute(self, bytes plan, tuple descriptors=()):
        cdef fp_error error
        cdef int[64] slots
        cdef int count = len(descriptors), status
        cdef const char *data = plan
        cdef size_t size = len(plan)
        error.number = 0
        if count > FP_SLOT_COUNT:
            raise ValueError("plan: too many descriptors")
        for i in range(count):
            slots[i] = descriptors[i]
        with nogil:
            status = fp_sandbox_execute(&self.sandbox, data, size, slots, count, &error)
        if status < 0:
            raise_error(&error)

    def create(self, str root, str container_id, tuple plans, tuple descriptors, int flags, uint64_t overhead_bytes,
               tuple document):
        cdef fp_error error
        cdef fp_creation wanted
        cdef int[64] slots
        cdef int made
        cdef bytes directory = PyUnicode_EncodeFSDefault(root), name = PyUnicode_EncodeFSDefault(container_id)
        if len(plans) != FP_CREATION_PLANS or len(descriptors) > FP_SLOT_COUNT:
            raise ValueError("plan: too many descriptors, or other plans")
        memset(&wanted, 0, sizeof(wanted))
        error.number = 0
        wanted.root = directory
        wanted.id = name
        wanted.record.flags = flags
        wanted.record.overhead = overhead_bytes
        put_document(document, wanted.document, &wanted.record)
        for i in range(FP_CREATION_PLANS):
            wanted.plans[i] = <const char *><bytes>plans[i]
            wanted.sizes[i] = len(plans[i])
        for i in range(len(descriptors)):
            slots[i] = descriptors[i]
        wanted.slots = slots
        wanted.slot_count = len(descriptors)
        with nogil:
            made = fp_container_create(&self.sandbox, &wanted, &error)
        if made < 0:
            raise_error(&error)
        return made > 0

    def lock_network(self):
        cdef fp_error error
        cdef int status
        error.number = 0
        with nogil:
            status = fp_sandbox_lock_network(&self.sandbox, &error)
        if status < 0:
            raise_error(&error)

    def release(self):
        cdef fp_error error
        cdef int status
        error.number = 0
        with nogil:
            status = fp_sandbox_release(&self.sandbox, &error)
        if status < 0:
            raise_error(&error)

    def start(self):
        cdef fp_error error
        cdef int status
        error.number = 0
        with nogil:
            status = fp_lifecycle_exec(&self.sandbox, &error)
        if status < 0:
            raise_error(&error)

    def close(self):
        with nogil:
            fp_sandbox_deinit(&self.sandbox)


cdef class State:
    cdef fp_state state

    def __cinit__(self, int state_fd):
        cdef fp_error error
        error.number = 0
        if fp_state_read(state_fd, &self.state, &error) < 0:
            raise_error(&error)

    def __dealloc__(self):
        fp_state_deinit(&self.state)

    @property
    def pid(self):
        return self.state.record.pid

    @property
    def start_time(self):
        return self.state.record.start_time

    @property
    def flags(self):
        return self.state.record.flags

    @property
    def overhead_bytes(self):
        return self.state.record.overhead

    @property
    def entered_ns(self):
        return self.state.entered_ns

    def status(self):
        return fp_status_name(fp_state_status(&self.state)).decode()

    def denied(self, int state_fd):
        cdef int call = -1
        if not fp_denied_find(state_fd, <int>self.state.record.pid, self.state.record.start_time, &call):
            return None
        return call

    def json(self, str status, str reason=""):
        cdef bytes words = reason.encode()
        cdef char *text = fp_state_json(&self.state, <fp_status><int>STATUSES[status], words)
        if text is NULL:
            raise MemoryError
        try:
            return text.decode()
        finally:
            free(text)

    def start(self, int state_fd, bytes plan=b"", Sandbox sandbox=None):
        cdef fp_error error
        cdef int status
        cdef const int *slots = NULL if sandbox is None else sandbox.sandbox.slots
        cdef const char *data = plan
        cdef size_t size = len(plan)
        error.number = 0
        with nogil:
            status = fp_lifecycle_start_as(state_fd, &self.state, data, size, slots, &error)
        if status < 0:
            raise_error(&error)

    def open_process(self):
        cdef int fd = fp_process_open(<int>self.state.record.pid, self.state.record.start_time)
        if fd < 0:
            raise OSError(errno_now(), strerror(errno_now()))
        return fd

    def kill(self, int number, int state_fd=-1):
        cdef fp_error error
        cdef int status
        error.number = 0
        with nogil:
            status = fp_lifecycle_kill(state_fd, &self.state, number, &error)
        if status < 0:
            raise_error(&error)

    def kill_all(self, int number):
        cdef fp_error error
        error.number = 0
        if fp_lifecycle_kill_all(&self.state, number, &error) < 0:
            raise_error(&error)

    def pause(self, bint paused):
        cdef fp_error error
        cdef int status
        error.number = 0
        with nogil:
            status = fp_lifecycle_pause(&self.state, paused, &error)
        if status < 0:
            raise_error(&error)

    def cgroups(self):
        return tuple([(decoded(self.state.cgroups.items[i].controllers), decoded(self.state.cgroups.items[i].path))
                      for i in range(self.state.cgroups.count)])

    def end(self):
        cdef fp_error error
        cdef int status
        error.number = 0
        with nogil:
            status = fp_lifecycle_end(&self.state, &error)
        if status < 0:
            raise_error(&error)


def cgroup_layout():
    cdef fp_error error
    cdef fp_cgroup_layout layout
    error.number = 0
    if fp_cgroup_layout_read(&layout, &error) < 0:
        raise_error(&error)
    try:
        return tuple([(decoded(layout.items[i].controllers), decoded(layout.items[i].mount),
                       decoded(layout.items[i].root), decoded(layout.items[i].own)) for i in range(layout.count)])
    finally:
        fp_cgroup_layout_deinit(&layout)


def cgroup_processes(str path):
    cdef fp_error error
    cdef fp_pids pids
    cdef bytes name = fsencode(path)
    error.number = 0
    pids.items = NULL
    pids.count = 0
    pids.room = 0
    pids.strangers = 0
    try:
        if fp_cgroup_processes(name, &pids, &error) < 0:
            raise_error(&error)
        return tuple([pids.items[i] for i in range(pids.count)])
    finally:
        free(pids.items)


def cgroup_write(int dirfd, str file, str value):
    cdef fp_error error
    error.number = 0
    if fp_cgroup_write(dirfd, fsencode(file), fsencode(value), &error) < 0:
        raise_error(&error)


def cgroup_devices(int dirfd, rules):
    cdef fp_error error
    cdef bytes packed = b"".join([integer(rule) for rule in rules])
    error.number = 0
    if fp_cgroup_devices(dirfd, <const int64_t *><const char *>packed, len(packed) // 8, &error) < 0:
        raise_error(&error)


cdef put_document(tuple document, iovec *pieces, fp_record *record):
    """The bytes stay the tuple's."""
    cdef bytes head = document[0], tail = document[1], end = document[3]
    cdef Json annotations = document[2]
    pieces[0].iov_base, pieces[0].iov_len = <char *>head, len(head)
    pieces[1].iov_base, pieces[1].iov_len = <char *>tail, len(tail)
    pieces[2].iov_base, pieces[2].iov_len = <char *>annotations.start, annotations.size
    pieces[3].iov_base, pieces[3].iov_len = <char *>end, len(end)
    record.head_size = len(head)
    record.tail_size = len(tail) + annotations.size + len(end)


def write_state(int state_fd, str status, int64_t pid, uint64_t start_time, int flags, tuple document,
                uint64_t overhead_bytes=0):
    cdef fp_error error
    cdef fp_record record
    cdef iovec[4] pieces
    error.number = 0
    record.status = STATUSES[status]
    record.flags = flags
    record.overhead = overhead_bytes
    record.pid = pid
    record.start_time = start_time
    put_document(document, pieces, &record)
    if fp_state_write(state_fd, &record, pieces, &error) < 0:
        raise_error(&error)


def lock(int root_fd, str container_id, int timeout_ms):
    cdef fp_error error
    cdef bytes name = fsencode(container_id)
    cdef const char *data = name
    cdef int fd
    error.number = 0
    with nogil:
        fd = fp_state_lock(root_fd, data, timeout_ms, &error)
    if fd < 0:
        raise_error(&error)
    return fd


def remove(int root_fd, str container_id):
    cdef fp_error error
    error.number = 0
    if fp_state_remove(root_fd, fsencode(container_id), &error) < 0:
        raise_error(&error)


def start(str root, str container_id):
    cdef fp_error error
    cdef fp_container container
    cdef bytes directory = PyUnicode_EncodeFSDefault(root), name = PyUnicode_EncodeFSDefault(container_id)
    cdef const char *where = directory
    cdef const char *which = name
    cdef int served = 0
    error.number = 0
    with nogil:
        if fp_container_open(&container, where, which, True) > 0:
            served = fp_container_start(&container, &error)
        fp_container_deinit(&container)
    if served < 0:
        raise_error(&error)
    return served > 0


def delete(str root, str container_id, bint force):
    cdef fp_container container
    cdef bytes directory = PyUnicode_EncodeFSDefault(root), name = PyUnicode_EncodeFSDefault(container_id)
    cdef const char *where = directory
    cdef const char *which = name
    cdef bint served
    with nogil:
        served = fp_container_open(&container, where, which, True) > 0 and fp_container_delete(&container, which, force)
        fp_container_deinit(&container)
    return served


def undo(int state_fd):
    cdef fp_error error
    cdef int status
    error.number = 0
    with nogil:
        status = fp_journal_undo(state_fd, &error)
    if status < 0:
        raise_error(&error)


cdef class Strings:
    """A NULL-terminated array of C strings that lives as long as this object."""
    cdef const char *items[1025]
    cdef tuple owner

    def __cinit__(self, strings):
        self.owner = tuple([fsencode(item) for item in strings])
        if len(self.owner) > 1024:
            raise ValueError("more than 1024 arguments for a hook")
        for i in range(len(self.owner)):
            self.items[i] = <bytes>self.owner[i]
        self.items[len(self.owner)] = NULL


def run_hook(str path, argv, environment, bytes stdin, int64_t timeout_s, str directory):
    cdef fp_error error
    cdef fp_hook hook
    cdef int status
    cdef bytes path_bytes = fsencode(path), directory_bytes = fsencode(directory)
    cdef Strings arguments = Strings(argv), variables = Strings(environment)
    error.number = 0
    hook.path = path_bytes
    hook.argv = arguments.items
    hook.environment = variables.items
    hook.input = <const char *>stdin
    hook.input_size = len(stdin)
    hook.timeout_s = timeout_s
    hook.directory = directory_bytes
    hook.root_fd = -1
    with nogil:
        status = fp_hook_run(&hook, &error)
    if status < 0:
        raise_error(&error)


def open_in_root(int root_fd, str path):
    cdef fp_open_how how
    cdef bytes name = fsencode(path)
    how.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK
    how.mode = 0
    how.resolve = FP_RESOLVE_IN_ROOT | FP_RESOLVE_NO_MAGICLINKS
    cdef int fd = fp_openat2(root_fd, name, &how)
    if fd < 0:
        raise OSError(errno_now(), strerror(errno_now()), path)
    return fd


cdef extern from "<errno.h>" nogil:
    int errno


cdef int errno_now():
    return errno


def program(str name):
    cdef fp_error error
    cdef const char *start = fp_init_image_start if name == "urunc-init" else fp_spt_image_start
    cdef const char *end = fp_init_image_end if name == "urunc-init" else fp_spt_image_end
    error.number = 0
    cdef int fd = fp_sealed_memfd(fsencode(name), start, end - start, True, &error)
    if fd < 0:
        raise_error(&error)
    return fd


cdef int seccomp_filter(fp_seccomp *seccomp, action, architectures, rules, fp_error *error) except -2:
    cdef fp_comparison comparisons[6]
    if fp_seccomp_init(seccomp, action, error) < 0:
        return -1
    for name in architectures:
        if fp_seccomp_architecture(seccomp, fsencode(name), error) < 0:
            return -1
    for decision, name, conditions in rules:
        if len(conditions) > 6:
            raise ValueError(f"more than 6 conditions for {name}")
        for i in range(len(conditions)):
            comparisons[i].argument, comparisons[i].operation, comparisons[i].first, comparisons[i].second = conditions[i]
        if fp_seccomp_rule(seccomp, decision, fsencode(name), comparisons, len(conditions), error) < 0:
            return -1
    return fp_seccomp_export(seccomp, error)


def seccomp(uint32_t action, architectures, rules):
    cdef fp_error error
    cdef fp_seccomp filter
    error.number = 0
    try:
        fd = seccomp_filter(&filter, action, architectures, rules, &error)
    finally:
        fp_seccomp_deinit(&filter)
    if fd < 0:
        raise_error(&error)
    return fd


def user_map(str path, str file):
    cdef fp_error error
    cdef char text[4096]
    cdef int status
    cdef bytes path_bytes = fsencode(path), file_bytes = fsencode(file)
    cdef const char *path_data = path_bytes
    cdef const char *file_data = file_bytes
    error.number = 0
    with nogil:
        status = fp_userns_map(path_data, file_data, text, 4096, &error)
    if status < 0:
        raise_error(&error)
    return (<bytes>text).decode()


def digest(bytes data):
    return fp_digest(<const char *>data, len(data))


IMAGE_KINDS = ("unknown", "bzimage", "elf64", "elf32", "gzip", "xz", "zstd", "arm64", "disk")


def identify(int fd):
    cdef fp_error error
    cdef fp_image image
    cdef int status
    error.number = 0
    with nogil:
        status = fp_image_identify(fd, &image, &error)
    if status < 0:
        raise_error(&error)
    return (IMAGE_KINDS[image.kind], image.size, image.machine, image.bits, bool(image.pvh), bool(image.multiboot),
            image.boot_protocol, image.solo5_target, image.solo5_version, image.extent)


cdef optional(const char *value):
    return None if value is NULL else (<bytes>value).decode("utf-8", "surrogateescape")


def dependencies(int fd):
    cdef fp_error error
    cdef fp_elf_dependencies found
    cdef int status
    error.number = 0
    with nogil:
        status = fp_elf_dependencies_read(fd, &found, &error)
    try:
        if status < 0:
            raise_error(&error)
        needed = tuple([optional(found.needed[i]) for i in range(found.needed_count)])
        return (optional(found.interpreter), needed, optional(found.rpath), optional(found.runpath), found.machine,
                found.bits)
    finally:
        fp_elf_dependencies_deinit(&found)


def devices(int fd, uint32_t target):
    cdef fp_error error
    cdef fp_solo5_manifest manifest
    cdef int status
    error.number = 0
    with nogil:
        status = fp_solo5_read_manifest(fd, target, &manifest, &error)
    if status < 0:
        raise_error(&error)
    kinds = {FP_SOLO5_BLOCK: "block", FP_SOLO5_NET: "net"}
    entries = [(kinds.get(manifest.entries[i].type, ""), (<bytes>manifest.entries[i].name).decode())
               for i in range(manifest.count)]
    return tuple([entry for entry in entries if entry[0]])


def tsc_khz():
    cdef long khz
    with nogil:
        khz = fp_tsc_khz()
    return khz


cdef str address_text(const fp_address *address):
    cdef char text[64]
    if address.family == 0 or inet_ntop(address.family, address.bytes, text, 64) is NULL:
        return ""
    return (<bytes>text).decode()


cdef tuple interface_of(const fp_interface *found):
    addresses = [(found.addresses[i].family, address_text(&found.addresses[i]), found.addresses[i].prefix)
                 for i in range(found.address_count)]
    mac = ":".join([f"{found.mac[i]:02x}" for i in range(6)])
    return ((<bytes>found.name).decode(), found.index, mac, found.mtu, tuple(addresses))


def has_links(int pid):
    return fp_network_has_links(pid)


cdef void disown(fp_network *network, int pid) noexcept nogil:
    """What a start of this very process has left, one that was killed, is nobody's."""
    for i in range(network.tap_count):
        if pid and network.taps[i].owner.pid == pid:
            network.taps[i].owner.pid = 0


def discover(int pid, bint again=False):
    cdef fp_error error
    cdef fp_network network
    cdef fp_stale stale
    cdef fp_choice choice
    cdef int netlink, status
    cdef bytes path = f"/proc/{pid}/ns/net".encode()
    cdef const char *path_data = path
    error.number = 0
    if fp_netns_open(path_data, &netlink, NULL, &error) < 0:
        raise_error(&error)
    with nogil:
        status = fp_network_is_own(netlink, &error)
        if status == 0:
            status = fp_network_discover(netlink, &network, &error)
        if status == 0:
            status = fp_network_refuse_foreign(&network, &error)
        if status == 0 and again:
            disown(&network, pid)
        if status == 0:
            status = fp_network_stale(netlink, &network, &stale, &error)
        if status == 0 and (stale.tap_count or stale.interface_count):
            status = fp_network_clean(netlink, &network, &stale, &error)
            if status == 0 and stale.tap_count:
                status = fp_rules_clean_in(path_data, &error)
            if status == 0:
                status = fp_network_discover(netlink, &network, &error)
        if status == 0:
            status = fp_network_choose(&network, &choice, &error)
    close(netlink)
    if status < 0:
        raise_error(&error)
    if status > 0:
        return None
    interfaces = [interface_of(&network.interfaces[choice.interfaces[i]]) for i in range(choice.count)]
    taps = [(<bytes>network.taps[i].name).decode() for i in range(network.tap_count)]
    gateways = (network.route4.index, address_text(&network.route4.gateway),
                network.route6.index, address_text(&network.route6.gateway))
    return tuple(interfaces), gateways, tuple(taps)


cdef str string_of(const fp_json_token *token):
    cdef str text
    if not token.escaped and not token.other:
        text = PyUnicode_New(token.length, 127)
        memcpy(PyUnicode_DATA(text), token.start, token.length)
        return text
    if not token.escaped:
        return PyUnicode_DecodeUTF8(token.start, token.length, "surrogatepass")
    cdef char *characters = <char *>malloc(token.length)  # never empty: it holds an escape
    if characters is NULL:
        raise MemoryError
    try:
        return PyUnicode_DecodeUTF8(characters, fp_json_unescape(token, characters), "surrogatepass")
    finally:
        free(characters)


SHAPES = {"texts": FP_JSON_TEXTS, "pairs": FP_JSON_PAIRS, "whatever": FP_JSON_WHATEVER}


cdef class Json:
    cdef bytes whole
    cdef const char *start
    cdef Py_ssize_t size

    def __init__(self, bytes text):
        self.whole = text
        self.start = text
        self.size = len(text)

    def text(self):
        return self.start[:self.size]

    def value(self):
        return decode(self.start[:self.size])

    def __eq__(self, other):
        return isinstance(other, Json) and self.text() == other.text()

    def __hash__(self):
        return hash(self.text())

    def __repr__(self):
        return f"Json({self.text()})"


cdef Json skipped(bytes whole, fp_json *json, fp_json_kind first, str shape):
    cdef fp_json after = json[0]
    cdef Json found
    if not fp_json_skip(&after, first, SHAPES[shape]):
        return None
    found = Json(whole)
    found.start = json.at - 1
    found.size = after.at - found.start
    json.at = after.at
    return found


cdef object value_of(fp_json *json, const fp_json_token *token, int depth, bytes whole=None, object later=None):
    cdef double real
    cdef object unread
    if token.kind == FP_JSON_STRING:
        return string_of(token)
    if type(later) is str and (token.kind == FP_JSON_OBJECT or token.kind == FP_JSON_ARRAY):
        unread = skipped(whole, json, token.kind, later)
        if unread is not None:
            return unread
        later = None
    if token.kind == FP_JSON_OBJECT:
        return object_of(json, depth, whole, later)
    if token.kind == FP_JSON_ARRAY:
        return array_of(json, depth)
    if token.kind == FP_JSON_INTEGER:
        return int(token.start[:token.length])
    if token.kind == FP_JSON_REAL:
        real = float(token.start[:token.length])
        if isinf(real):
            raise ValueError
        return real
    if token.kind == FP_JSON_NULL:
        return None
    if token.kind == FP_JSON_TRUE or token.kind == FP_JSON_FALSE:
        return token.kind == FP_JSON_TRUE
    raise ValueError


cdef dict object_of(fp_json *json, int depth, bytes whole, dict later):
    cdef fp_json_token token
    cdef dict found = {}
    cdef str key
    if depth == 0:
        raise RecursionError
    fp_json_next(json, &token)
    if token.kind == FP_JSON_OBJECT_END:
        return found
    while token.kind == FP_JSON_STRING:
        key = string_of(&token)
        fp_json_next(json, &token)
        if token.kind != FP_JSON_COLON:
            break
        fp_json_next(json, &token)
        found[key] = value_of(json, &token, depth - 1, whole, None if later is None else later.get(key))
        fp_json_next(json, &token)
        if token.kind == FP_JSON_OBJECT_END:
            return found
        if token.kind != FP_JSON_COMMA:
            break
        fp_json_next(json, &token)
    raise ValueError


cdef list array_of(fp_json *json, int depth):
    cdef fp_json_token token
    cdef list found = []
    if depth == 0:
        raise RecursionError
    fp_json_next(json, &token)
    if token.kind == FP_JSON_ARRAY_END:
        return found
    while True:
        found.append(value_of(json, &token, depth - 1))
        fp_json_next(json, &token)
        if token.kind == FP_JSON_ARRAY_END:
            return found
        if token.kind != FP_JSON_COMMA:
            raise ValueError
        fp_json_next(json, &token)


def decode(bytes text, dict later=None):
    cdef fp_json json
    cdef fp_json_token token
    json.at = text
    json.end = json.at + len(text)
    fp_json_next(&json, &token)
    value = value_of(&json, &token, 900, text, later)
    fp_json_next(&json, &token)
    if token.kind != FP_JSON_END:
        raise ValueError
    return value


def beginning(Json pairs, tuple prefixes):
    cdef fp_json json
    cdef fp_json_token name, value
    cdef list found = []
    json.end = pairs.start + pairs.size
    for prefix in prefixes:
        json.at = fp_json_find_name(pairs.start, json.end, fsencode(prefix))
        while json.at is not NULL:
            fp_json_next(&json, &name)
            fp_json_next(&json, &value)
            fp_json_next(&json, &value)
            found.append((string_of(&name), string_of(&value)))
            json.at = fp_json_find_name(json.at, json.end, fsencode(prefix))
    return tuple(sorted(found))


cdef dict SHORT_ESCAPES = {34: '\\"', 92: "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}


cdef str escaped(int code):
    if 32 <= code <= 126 and code != 34 and code != 92:
        return chr(code)
    if code >= 0x10000:
        code -= 0x10000
        return f"\\u{0xd800 + (code >> 10):04x}\\u{0xdc00 + (code & 0x3ff):04x}"
    return SHORT_ESCAPES.get(code) or f"\\u{code:04x}"


def quote(str text):
    cdef Py_ssize_t length
    cdef const char *characters = PyUnicode_AsUTF8AndSize(text, &length) if PyUnicode_IS_ASCII(text) else NULL
    if characters is not NULL and fp_json_is_plain(characters, length):
        return '"' + text + '"'
    return '"' + "".join([escaped(ord(character)) for character in text]) + '"'


def are_texts(values):
    cdef Py_ssize_t length
    cdef const char *characters
    for value in values:
        if type(value) is not str or not PyUnicode_IS_ASCII(value):
            return False
        characters = PyUnicode_AsUTF8AndSize(value, &length)
        if memchr(characters, 0, length) is not NULL:
            return False
    return True


cdef char *put_string(char *to, str text):
    cdef Py_ssize_t length
    cdef const char *characters = PyUnicode_AsUTF8AndSize(text, &length)
    to[0] = to[length + 1] = b'"'
    memcpy(to + 1, characters, length)
    return to + length + 2


def quote_pairs(tuple pairs):
    cdef Py_ssize_t size = 2, length
    cdef const char *characters
    cdef char *at
    cdef str key, value, text
    for pair in pairs:
        for text in <tuple>pair:
            characters = PyUnicode_AsUTF8AndSize(text, &length) if PyUnicode_IS_ASCII(text) else NULL
            if characters is NULL or not fp_json_is_plain(characters, length):
                return "{" + ",".join([f"{quote(key)}:{quote(value)}" for key, value in pairs]) + "}"
            size += length + 3  # the quotes, a colon or a comma
    text = PyUnicode_New(size - (1 if pairs else 0), 127)
    at = <char *>PyUnicode_DATA(text)
    at[0] = b"{"
    at += 1
    for pair in pairs:
        at = put_string(at, (<tuple>pair)[0])
        at[0] = b":"
        at = put_string(at + 1, (<tuple>pair)[1])
        at[0] = b","
        at += 1
    at[-1 if pairs else 0] = b"}"
    return text


DEVICE_KINDS = {FP_DEVICE_OTHER: "disk", FP_DEVICE_LOOP: "loop", FP_DEVICE_MAPPED: "mapped", FP_DEVICE_THIN: "thin"}


def backing(int rootfs_fd):
    cdef fp_error error
    cdef fp_mounts table
    cdef fp_mount mount
    cdef fp_device device
    cdef int found
    error.number = 0
    table.text = NULL
    with nogil:
        found = fp_snapshot_find(rootfs_fd, &table, &mount, &device, &error)
    try:
        if found < 0:
            raise_error(&error)
        if not found:
            return None
        return (mount.major, mount.minor, optional(mount.point), optional(mount.source), optional(mount.type),
                optional(mount.options), optional(mount.super_options), DEVICE_KINDS[device.kind],
                optional(device.name), device.size, bool(device.read_only),
                (device.pool_major, device.pool_minor, device.thin_id))
    finally:
        fp_mounts_deinit(&table)
