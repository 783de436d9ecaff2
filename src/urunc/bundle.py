"""config.json of a bundle -> spec.Spec: the fields that are used, checked (runtime-spec config.md, config-linux.md).

The one rule: every value passes an accessor, by the tables at the end.  Null is absent, as in Go; keys that
are not used are not looked at.
"""

from . import _fastpath, cage, resources
from .errors import SpecError
from .jsontext import (
    absolute,
    decode,
    fields,
    flag,
    known,
    later_strings,
    pairs,
    pairs_unread,
    quote,
    records,
    rows,
    strings,
    table,
    text,
    whole,
    wholes,
)
from .spec import NAMESPACE_TYPES, RLIMIT_TYPES, Capabilities, Hook, IdMapping, Mount, Namespace, Rlimit, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ID = 2**32 - 2  # 2^32 - 1 is -1, which means "leave as it is" to setresuid(2) and chown(2)
_MAX_U64 = 2**64 - 1


def load(bundle: str) -> Spec:
    """Return what config.json in the directory `bundle` (absolute) asks for.

    Any fault is a SpecError, in runc's words where runc has some.  The rootfs must be a directory; no
    other path that the file names is looked at.
    """
    return of(table(decode(read(bundle), "config.json", _LATER), "config.json"), bundle)


def of(document: "Mapping[str, object]", bundle: str, where: str = "config.json") -> Spec:
    """Return the same of a config.json that is read; `where` is named for faults."""
    for key, fault in (("process", "process property must not be empty"), ("root", "root must be specified")):
        if document.get(key) is None:
            raise SpecError(f"{where}: {fault}")
    found = fields(document, f"{where}: ", _FIELDS)
    found["rootfs"] = _rootfs(bundle, found["rootfs"])
    spec = Spec(bundle=bundle, cage=cage.load(document), **found)
    _check_together(spec)
    return spec


def read(bundle: str) -> bytes:
    """Return the text of config.json in the directory `bundle`."""
    import posix  # os takes 1 ms to import

    path = f"{bundle}/config.json"
    step = f"chdir {bundle}"
    try:
        posix.stat(bundle + "/")  # ENOTDIR if it is none
        step = f"open {path}"
        # O_NONBLOCK: a pipe in place of the file must not make us wait
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and step[0] == "o":
            step = f"JSON specification file config.json not found in {bundle}: name the bundle with --bundle: {step}"
        raise SpecError(f"{step}: {str(error.strerror).lower()}") from None
    try:
        status = posix.fstat(fd)
        if status.st_mode & 0o170000 != 0o100000:  # S_IFMT, S_IFREG of inode(7)
            raise SpecError(f"{path} must be a regular file")
        # one more than there are, so that one read(2) sees the end; `open` takes 0.3 ms to be there at all
        content = posix.read(fd, status.st_size + 1)
        while len(content) > status.st_size:  # it grows
            more = posix.read(fd, 1 << 20)
            if not more:
                break
            content += more
        return content
    finally:
        posix.close(fd)


def _rootfs(bundle: str, path: str) -> str:
    if not path:
        raise SpecError("config.json: invalid rootfs: root.path must not be empty")
    import posix

    parts = (path if path[0] == "/" else f"{bundle}/{path}").split("/")
    rootfs = "/" + "/".join([part for part in parts if part not in ("", ".")])
    try:
        posix.stat(rootfs + "/")
    except OSError as error:
        raise SpecError(f"config.json: invalid rootfs: stat {rootfs}: {str(error.strerror).lower()}") from None
    return rootfs


def _check_together(spec: Spec) -> None:
    """Check what only several fields show."""
    new = [namespace.type for namespace in spec.namespaces]
    limits = [rlimit.type for rlimit in spec.rlimits]
    for names, fault in ((new, "malformed spec file: duplicated ns"), (limits, "duplicated rlimit")):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SpecError(f"config.json: {fault} {quote(twice[0])}")
    for field in ("hostname", "domainname"):
        if getattr(spec, field) and "uts" not in new:
            raise SpecError(f"config.json: unable to set {field} without a private UTS namespace")
    if (spec.uid_mappings or spec.gid_mappings) and "user" not in new:
        raise SpecError("config.json: uidMappings and gidMappings need a user namespace")
    if not spec.args and not _may_be_unikernel(spec):
        raise SpecError("config.json: args must not be empty")


def _may_be_unikernel(spec: Spec) -> bool:
    """Its command may come from the annotation cmdline then; urunc.json itself is read elsewhere, and safely."""
    import posix

    try:
        posix.lstat(spec.rootfs + "/urunc.json")
    except OSError:
        return len(_fastpath.beginning(spec.annotations, ("com.urunc.unikernel.",))) > 0
    return True


def _version(value: object, where: str) -> str:
    """Any 1.x.y of SemVer, as minor versions only add; none at all, as runc does."""
    version = text(value, where)
    numbers = version.replace("+", "-").split("-")[0].split(".")
    good = len(numbers) == 3 and numbers[0] == "1" and "".join(numbers).isdecimal() and version.isascii()
    if version and not (good and all(numbers)):
        raise SpecError(f"{where} {quote(version)} is not supported: give a version 1.x.y")
    return version


def _cwd(value: object, where: str) -> str:
    cwd = text(value, where)
    if cwd[:1] != "/":
        raise SpecError(f"{where}: Cwd {'must be an absolute path' if cwd else 'property must not be empty'}")
    return cwd


def _console_size(value: object, where: str) -> "tuple[int, int]":
    size = table(value, where)  # struct winsize holds unsigned shorts
    return whole(size.get("height"), where + ".height", 0, 65535), whole(size.get("width"), where + ".width", 0, 65535)


def _oom_score_adj(value: object, where: str) -> "int | None":
    return None if value is None else whole(value, where, -1000, 1000)  # proc(5)


def _capabilities(value: object, where: str) -> "Capabilities | None":
    return None if value is None else Capabilities(**fields(table(value, where), where + ".", _CAPABILITIES))


def _destination(value: object, where: str) -> str:
    path = text(value, where)
    if not path:
        raise SpecError(f"{where} must not be empty")
    return path if path[0] == "/" else "/" + path


def _mapped(value: object, where: str) -> str:
    return where if value else ""


# what may be long, and many a guest is not given; the profile is in a cache
_LATER = {"process": {"env": "texts"}, "annotations": "pairs", "linux": {"seccomp": "whatever"}}

_NAMESPACE = rows(
    ("type", "type", known, NAMESPACE_TYPES, 'namespace "%s" does not exist'),
    ("path", "path", absolute),
)
_RLIMIT = rows(
    ("type", "type", known, RLIMIT_TYPES, "wrong rlimit value: %s"),
    ("soft", "soft", whole, 0, _MAX_U64),
    ("hard", "hard", whole, 0, _MAX_U64),
)
_MOUNT = rows(
    ("destination", "destination", _destination),
    ("type", "type", text),
    ("source", "source", text),
    ("options", "options", strings),
    ("mapped", "uidMappings", _mapped),
)
_MAPPING = rows(
    ("container_id", "containerID", whole, 0, _MAX_ID),
    ("host_id", "hostID", whole, 0, _MAX_ID),
    ("size", "size", whole, 0, _MAX_ID + 1),
)


def _hook_environment(value: object, where: str) -> "tuple[str, ...] | None":
    return None if value is None else strings(value, where)


_HOOK = rows(
    ("path", "path", absolute, True),
    ("args", "args", strings),
    ("env", "env", _hook_environment),
    ("timeout_s", "timeout", whole, 1, 2**31 - 1),
)
_CAPABILITIES = rows(*[(name, name, strings) for name in Capabilities.__slots__])
_FIELDS = rows(
    ("version", "ociVersion", _version),
    ("args", "process.args", strings),
    ("cwd", "process.cwd", _cwd),
    ("env", "process.env", later_strings),
    ("terminal", "process.terminal", flag),
    ("console_size", "process.consoleSize", _console_size),
    ("uid", "process.user.uid", whole, 0, _MAX_ID),
    ("gid", "process.user.gid", whole, 0, _MAX_ID),
    ("groups", "process.user.additionalGids", wholes, 0, _MAX_ID),
    ("umask", "process.user.umask", whole, 0, 0o7777, -1),
    ("no_new_privileges", "process.noNewPrivileges", flag),
    ("oom_score_adj", "process.oomScoreAdj", _oom_score_adj),
    ("rlimits", "process.rlimits", records, Rlimit, _RLIMIT),
    ("capabilities", "process.capabilities", _capabilities),
    ("rootfs", "root.path", text),
    ("readonly", "root.readonly", flag),
    ("hostname", "hostname", text),
    ("domainname", "domainname", text),
    ("mounts", "mounts", records, Mount, _MOUNT),
    ("annotations", "annotations", pairs_unread),
    ("prestart", "hooks.prestart", records, Hook, _HOOK),
    ("create_runtime", "hooks.createRuntime", records, Hook, _HOOK),
    ("create_container", "hooks.createContainer", records, Hook, _HOOK),
    ("start_container", "hooks.startContainer", records, Hook, _HOOK),
    ("poststart", "hooks.poststart", records, Hook, _HOOK),
    ("poststop", "hooks.poststop", records, Hook, _HOOK),
    ("namespaces", "linux.namespaces", records, Namespace, _NAMESPACE),
    ("uid_mappings", "linux.uidMappings", records, IdMapping, _MAPPING),
    ("gid_mappings", "linux.gidMappings", records, IdMapping, _MAPPING),
    ("cgroups_path", "linux.cgroupsPath", text),
    ("memory_limit_bytes", "linux.resources.memory.limit", resources.limit, 0),
    ("cpu_quota_us", "linux.resources.cpu.quota", resources.limit, 0),
    ("cpu_period_us", "linux.resources.cpu.period", whole, 0, _MAX_U64),
    ("sysctl", "linux.sysctl", pairs),
    ("resources", "linux.resources", resources.of),
    ("nodes", "linux.devices", records, resources.Node, resources.NODE),
)
