"""The texts that need no container: features, spec, version and help.

The one rule: they say only what holds.  The tables are literals because the features document must not depend on
the machine (runtime-spec, features.md), except for the one switch that makes containers no virtual machines.
"""

import os

from . import cage
from .errors import UruncError
from .request import GLOBALS, OPTIONS, VERBS
from .templates import NAMESPACES, SPEC_VERSION_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .request import Request

    type_options = dict[str, tuple[str, str, str, str]]

SPEC_VERSION_MIN = "1.0.0"

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OTHER_NAMESPACES = ("time", "user")
# config-linux.md#seccomp; SCMP_ACT_NOTIFY, and its flag, are for the process monitor
SECCOMP_ACTIONS = tuple(
    f"SCMP_ACT_{name}" for name in ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "TRACE", "TRAP")
)
SECCOMP_OPERATORS = tuple(f"SCMP_CMP_{name}" for name in ("EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"))
SECCOMP_FLAGS = tuple(f"SECCOMP_FILTER_FLAG_{name}" for name in ("LOG", "SPEC_ALLOW", "TSYNC"))
SECCOMP_LISTENER_FLAGS = ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",)
# unikernels.MODULES and monitors.MODULES
UNIKERNELS = ("linux", "mewz", "mirage", "osv", "rumprun", "unikraft")
MONITORS = ("cloud-hypervisor", "firecracker", "hvt", "qemu", "spt")
# linux/capability.h; the last three are of Linux 5.8 and 5.9
CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP"
    " CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER"
    " CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE"
    " CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL"
    " CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ"
    " CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
)


def features(request: "Request") -> str:
    """Return the features document of the runtime-spec as JSON."""
    import json

    from .config import load

    return json.dumps(_features(process_monitor=load(request.config).process_monitor), indent=4)


def spec(request: "Request") -> None:
    """Write config.json into the bundle; raise UruncError if there is one, which is left as it is.

    It is that of a unikernel, or of an ordinary container where the host's configuration makes those ours.
    """
    import json

    document = _template(request)
    path = os.path.join(request.bundle, "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.dumps(document, indent="\t") + "\n")
    except FileExistsError:
        raise UruncError("File config.json exists. Remove it first") from None


def _template(request: "Request") -> "dict[str, object]":
    from . import _fastpath, cgroup, templates
    from .config import load

    if load(request.config).process_monitor:
        owner = (os.geteuid(), os.getegid()) if request.rootless else None
        return templates.program(unified=cgroup.is_unified(_fastpath.cgroup_layout()), owner=owner)
    if request.rootless:
        raise UruncError("spec --rootless: a rootless container is no unikernel: it takes process_monitor = true")
    return templates.unikernel()


def version(_: "Request") -> str:
    """Return the text of --version; podman shows its lines, docker reads `version`, `commit` (a release has its own
    number there, as Debian's runc) and `spec`.
    """
    from . import __version__

    return f"urunc version {__version__}\ncommit: {__version__}\nspec: {SPEC_VERSION_MAX}\n"


def help_(request: "Request") -> str:
    """Return the help of the verb `request.topic`, or of the program."""
    if not request.topic:
        return _program_help()
    if request.topic not in VERBS:
        raise UruncError(f"No help topic for '{request.topic}'", status=3)
    summary, arguments, _, _, names = VERBS[request.topic]
    usage = f"urunc {request.topic} [options] {arguments}".rstrip()
    options = {name: OPTIONS[name] for name in (*names.split(), "help")}
    return f"NAME:\n   urunc {request.topic} - {summary}\n\nUSAGE:\n   {usage}\n\nOPTIONS:\n{_option_lines(options)}"


def _program_help() -> str:
    commands = "".join(f"   {verb:<11} {VERBS[verb][0]}\n" for verb in sorted(VERBS))
    return (
        "NAME:\n   urunc - Open Container Initiative runtime whose containers are unikernels\n\n"
        "USAGE:\n   urunc [global options] command [options] [arguments...]\n\n"
        f"COMMANDS:\n{commands}\nGLOBAL OPTIONS:\n{_option_lines(GLOBALS)}"
    )


def _option_lines(options: "type_options") -> str:
    names = [_option_name(name, short, kind) for name, (short, kind, _, _) in options.items()]
    width = max(len(name) for name in names)
    texts = [text for _, _, _, text in options.values()]
    return "".join(f"   {name:<{width}}  {text}\n" for name, text in zip(names, texts, strict=True))


def _option_name(name: str, short: str, kind: str) -> str:
    value = "" if kind == "flag" else " value"
    return f"--{name}{value}, -{short}{value}" if short else f"--{name}{value}"


def _features(*, process_monitor: bool) -> "dict[str, object]":
    from . import __version__

    annotations = {
        "org.urunc.version": __version__,
        "org.urunc.unikernels": ",".join(UNIKERNELS),
        "org.urunc.monitors": ",".join(MONITORS),
    }
    if process_monitor:  # not a virtual machine: whoever asks is told (config.toml, process_monitor)
        annotations["org.urunc.process-monitor"] = "true"
    off = {"enabled": False}
    flags = SECCOMP_FLAGS + (SECCOMP_LISTENER_FLAGS if process_monitor else ())
    return {
        "ociVersionMin": SPEC_VERSION_MIN,
        "ociVersionMax": SPEC_VERSION_MAX,
        "hooks": HOOKS,
        "mountOptions": [],  # a guest has no mounts of the host
        "linux": {
            "namespaces": sorted(NAMESPACES + OTHER_NAMESPACES),
            "capabilities": CAPABILITIES.split(),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,  # with libseccomp, which is asked when a spec has a profile
                "actions": sorted((*SECCOMP_ACTIONS, *(("SCMP_ACT_NOTIFY",) if process_monitor else ()))),
                "operators": SECCOMP_OPERATORS,
                "knownFlags": SECCOMP_FLAGS + SECCOMP_LISTENER_FLAGS,
                "supportedFlags": flags,
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": off,
            "memoryPolicy": {"modes": list(cage.MEMORY_MODES), "flags": list(cage.MEMORY_FLAGS)},
            "mountExtensions": {"idmap": off},
            "netDevices": off,
        },
        "annotations": annotations,
        "potentiallyUnsafeConfigAnnotations": ["com.urunc.unikernel."],  # the final dot makes it a prefix
    }
