"""What config.json asks for, as records (runtime-spec config.md, config-linux.md); bundle.py reads them from it.

The one rule: data only.
"""

from . import cage, resources
from ._record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from . import _fastpath

NAMESPACE_TYPES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
_RLIMITS = "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
RLIMIT_TYPES = tuple("RLIMIT_" + name for name in _RLIMITS.split())


class Namespace(Record):
    """linux.namespaces[]: one of NAMESPACE_TYPES, made new unless `path` names one to join."""

    type: str
    path: str = ""


class Hook(Record):
    """hooks.*[]: `path` is absolute, `args` start with argv[0], no time limit if `timeout_s` is 0.

    `env` is None where there is none, which is not an empty one.
    """

    path: str
    args: "tuple[str, ...]"
    env: "tuple[str, ...] | None"
    timeout_s: int = 0


class Mount(Record):
    """mounts[]: `destination` is absolute in the container; a relative one is taken from / as runc does."""

    destination: str
    type: str
    source: str
    options: "tuple[str, ...]"
    mapped: str = ""  # where it is said with which ids, if it is


class Rlimit(Record):
    """process.rlimits[]: `type` is one of RLIMIT_TYPES; 2^64 - 1 is no limit."""

    type: str
    soft: int
    hard: int


class IdMapping(Record):
    """linux.uidMappings[] and gidMappings[]: `size` ids from `container_id` on are those from `host_id` on."""

    container_id: int
    host_id: int
    size: int


class Capabilities(Record):
    """process.capabilities: names as given; an unknown name is no error (runc warns)."""

    bounding: "tuple[str, ...]"
    effective: "tuple[str, ...]"
    inheritable: "tuple[str, ...]"
    permitted: "tuple[str, ...]"
    ambient: "tuple[str, ...]"


class Spec(Record):
    """What config.json asks for; bundle.load makes it.

    Paths are absolute; `console_size` is (rows, columns), (0, 0) if unset; `umask` is -1 if unset; a limit is 0 if
    there is none; `args` is empty only for what may be a unikernel; `annotations` are an object of strings, for
    _fastpath.beginning.
    """

    version: str
    bundle: str
    rootfs: str
    readonly: bool
    args: "tuple[str, ...]"
    env: "Sequence[str]"
    cwd: str
    terminal: bool
    console_size: "tuple[int, int]"
    uid: int
    gid: int
    groups: "tuple[int, ...]"
    umask: int
    no_new_privileges: bool
    oom_score_adj: "int | None"
    rlimits: "tuple[Rlimit, ...]"
    capabilities: "Capabilities | None"
    hostname: str
    domainname: str
    mounts: "tuple[Mount, ...]"
    namespaces: "tuple[Namespace, ...]"
    uid_mappings: "tuple[IdMapping, ...]"
    gid_mappings: "tuple[IdMapping, ...]"
    cgroups_path: str
    memory_limit_bytes: int
    cpu_quota_us: int
    cpu_period_us: int
    prestart: "tuple[Hook, ...]"
    create_runtime: "tuple[Hook, ...]"
    create_container: "tuple[Hook, ...]"
    start_container: "tuple[Hook, ...]"
    poststart: "tuple[Hook, ...]"
    poststop: "tuple[Hook, ...]"
    annotations: "_fastpath.Json"
    sysctl: "tuple[tuple[str, str], ...]"
    nodes: "tuple[resources.Node, ...]" = ()
    resources: "resources.Resources" = resources.NONE
    cage: "cage.Cage" = cage.NONE
