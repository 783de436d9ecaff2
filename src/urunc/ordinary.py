"""Ordinary containers under the process monitor (monitors/process.py), which the host's configuration switches on.

The one rule: without `process_monitor` nothing here runs, whatever an image or a pod asks for.
"""

import os

from . import _fastpath, agent, bundle, credentials, documents, facts, hooks, image, plan, unikernels
from ._record import replace
from .errors import SpecError, UnikernelError, UsageError
from .jsontext import absolute, decode, fields, known, records, rows, strings, table, whole
from .launch import Launch, owner, profile
from .monitors import process
from .slots import FIRST_FIXED_SLOT, MOUNT_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Config
    from .facts import Host
    from .image import File
    from .monitors import Machine, Monitor
    from .spec import Spec

    Files = tuple[File, ...]

NAME = "process"
_MAX = 2**32 - 2
# descriptors of --preserve-fds: the first, how many slots there are for them and a terminal, what is looked at
KEPT_FIRST, KEPT_MAX, LOOKED_AT_MAX = 3, FIRST_FIXED_SLOT - 2, 1 << 16


def prepare(
    spec: "Spec", settings: "Config", preserve_fds: int
) -> "tuple[unikernels.Guest, Monitor, facts.Host, tuple[str, ...]]":
    """Return guest, monitor and facts of what is no machine, and the warning about that; refuse what would be refused.

    UnikernelError where the host's configuration does not permit it.
    """
    if not settings.process_monitor:
        raise UnikernelError(
            "hypervisor process is no virtual machine, and this host has it switched off:"
            " choose another one, or set process_monitor = true in the configuration of the host"
        )
    plan.sandbox(spec)
    process.check(spec)
    _check_network(spec)
    plan.names(spec, joined=True)
    process.check_mounts(spec, _tree(spec))
    filters = profile(spec, answered=True)
    agent.path_of(spec)
    guest = unikernels.Guest(name=NAME, monitors=(NAME,), words=lambda _: ())
    return guest, process.MONITOR, _host(settings, preserve_fds, filters), (process.WARNING,)


class Process(Launch):
    """A container whose process is process.args."""

    def create(
        self,
        chosen: "Monitor",
        host: "Host",
        groups: "tuple[tuple[object, ...], ...]",
        machine: "Callable[[facts.Network], Machine]",
    ) -> None:
        """Bring the container to `created`, see Launch; its own cgroups are what it may see of them."""
        _, controllers, mounts, paths, *_ = groups[0]
        rows = zip(controllers, mounts, paths, strict=True)  # type: ignore[call-overload]  # of `cgroup`: three lists
        self.group_directories = tuple((names, mount.rstrip("/") + path) for names, mount, path in rows)
        self.flags |= _fastpath.FLAG_PROCESS | (_fastpath.FLAG_CHROOT if process.borrowed_mounts(self.spec) else 0)
        super().create(chosen, host, groups, machine)

    def plan(self, chosen: "Monitor", host: "Host", machine: "Machine") -> plan.Plan:  # noqa: ARG002  as of Launch
        """Return how urunc-init becomes the process."""
        spec, slots, variables = self.spec, len(host.files), environment(self.spec)
        between, last = hooks.inside(replace(spec, env=variables), self.container.id, -1, self._inner_pid(), ".")
        tree = replace(_tree(spec), groups=self.group_directories)
        console, mounts = slots + 1, process.borrowed_mounts(spec)
        notify, filters = agent.loaded(spec, host.filters)
        operations = (
            ("stage", "root"),
            *([("namespace", MOUNT_SLOT, plan.CLONE_NEW["mount"], mounts)] if mounts else []),
            *console_of(spec, self.request.console_socket, console),
            *process.opened(spec),
            *agent.connected(spec, self.container.id, "creating", (self.sandbox.pid, self.sandbox.pid)),
            ("stage", "wait"),
            *([("terminal", console)] if spec.terminal and not process.ptmx(spec) else []),
            *([("oom_score_adj", spec.oom_score_adj)] if spec.oom_score_adj is not None else []),
            *plan.late_joins(spec),
            *credentials.before(spec, credentials.Confinement(keyring=not self.request.no_new_keyring)),
            *process.rootfs(spec, tree, console),
            *plan.names(spec, joined=True),
            *between,
            *process.closing(spec, tree),
            *notify,
            ("stage", "enter"),
            *last,
            *last_stage(spec, filters, host.files, variables),
        )
        return plan.Plan(operations=operations, files=host.files)


def console_of(spec: "Spec", console: str, slot: int) -> "list[tuple[object, ...]]":
    """Return what stage root does for a terminal: urunc-init makes one of the container's own devpts, if it has one."""
    if spec.terminal and process.ptmx(spec):
        return [("console_socket", console)]
    return plan.console_of(spec, console, slot, owner(spec) or (spec.uid, spec.gid))


def last_stage(
    spec: "Spec", filters: "tuple[tuple[int, bytes], ...]", files: "Files", variables: "tuple[str, ...]"
) -> "list[tuple[object, ...]]":
    """Return stage exec of a process of the container: `files` are in the slots from 1 on, `variables` its environment.

    Without no_new_privs it takes a capability to load a filter, so the profile is that of a process which has yet to
    become the container's user, as with runc.
    """
    loaded = [("seccomp", flags, program) for flags, program in filters]
    return [
        ("stage", "exec"),
        *([] if spec.no_new_privileges else [*loaded, ("load_filters",)]),
        *_credentials(spec),
        *(("keep", slot, int(file.role)) for slot, file in enumerate(files, 1)),
        *(loaded if spec.no_new_privileges else []),
        ("exec", spec.args[0], spec.args, variables),
    ]


def _credentials(spec: "Spec") -> "list[tuple[object, ...]]":
    """Return stage exec as a monitor has it, but with the capabilities of the spec, no_new_privs if it says so, and
    cores.
    """
    bounding, *sets = _masks(spec)
    dropped = {"no_core"} if spec.no_new_privileges else {"no_core", "no_new_privileges"}
    changed = {"bounding_set": ("bounding_set", bounding), "capabilities": ("capabilities", *sets)}
    return [
        changed.get(str(row[0]), row)
        for row in credentials.operations(spec, process.MONITOR, process.NO_MACHINE, 0)
        if row[0] not in dropped
    ]


def _masks(spec: "Spec") -> "tuple[int, int, int, int, int]":
    """Return bounding, effective, permitted, inheritable and ambient set as masks; an unknown name is in none.

    A capability that is not inheritable too cannot be ambient (capabilities(7)); runc's own template asks for that.
    """
    given = spec.capabilities
    if given is None:
        return (0, 0, 0, 0, 0)
    sets = (given.bounding, given.effective, given.permitted, given.inheritable, given.ambient)
    bounding, effective, permitted, inheritable, ambient = [
        sum(1 << number for number, name in enumerate(documents.CAPABILITIES.split()) if name in names)
        for names in sets
    ]
    return (bounding, effective, permitted, inheritable, ambient & permitted & inheritable)


def _check_network(spec: "Spec") -> None:
    paths = [namespace.path for namespace in spec.namespaces if namespace.type == "network" and namespace.path]
    if not paths or not any(name[:4] in ("net.", "net/") for name, _ in spec.sysctl):
        return
    try:
        is_hosts = os.path.samestat(os.stat(paths[0]), os.stat("/proc/self/ns/net"))
    except OSError:
        return  # joining it fails by name
    if is_hosts:
        raise SpecError(f"sysctl net.* is not allowed in the host's network namespace: {paths[0]} is that one")


def _host(settings: "Config", preserve_fds: int, filters: "agent.Filters") -> facts.Host:
    """Return the facts of a host that is asked for nothing but the descriptors to keep."""
    return facts.Host(
        files=preserved(preserve_fds + _listening()),
        binary="",
        program="",
        tree="",
        entries=(),
        devices=None,
        kvm="unasked",
        cpus=os.cpu_count() or 1,
        config=settings,
        filters=filters,
        cgroups=_fastpath.cgroup_layout(),
    )


def _listening() -> int:
    """Return how many more descriptors systemd's LISTEN_FDS hands on."""
    listening = os.environ.get("LISTEN_FDS", "")
    return int(listening) if listening.isdecimal() else 0


def preserved(count: int) -> "Files":
    """Return the `count` descriptors of --preserve-fds, duplicated: what is open and inheritable.

    Ours are close-on-exec, all of them, so what is not was open when we began; as runc, this passes over the others.
    UsageError for more than a plan has slots for.
    """
    numbers = [n for n in range(KEPT_FIRST, KEPT_FIRST + min(count, LOOKED_AT_MAX)) if _is_inheritable(n)]
    if len(numbers) > KEPT_MAX:
        raise UsageError(
            f"--preserve-fds: a container takes {KEPT_MAX} descriptors, {len(numbers)} are open: pass fewer"
        )
    return tuple([image.File(role=str(n), fd=os.dup(n), name=str(n), kinds=(), size=0) for n in numbers])


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def environment(spec: "Spec") -> "tuple[str, ...]":
    """Return the environment, of a variable given twice the last, with HOME, which runc adds too: that of the user in
    the rootfs, / for an unknown one.
    """
    variables = tuple({entry.partition("=")[0]: entry for entry in spec.env}.values())
    if any(entry.startswith("HOME=") and entry != "HOME=" for entry in variables):
        return variables
    variables = tuple(entry for entry in variables if entry != "HOME=")
    home = "/"
    try:
        root_fd = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
        try:
            with open(_fastpath.open_in_root(root_fd, "etc/passwd"), "rb", buffering=0) as file:
                lines = file.read(1 << 20).decode("utf-8", "replace").splitlines()
        finally:
            os.close(root_fd)
        rows = [line.split(":") for line in lines]
        home = next((row[5] for row in rows if row[2:3] == [str(spec.uid)] and row[5:]), "/")
    except OSError:
        pass
    return (*variables, f"HOME={home}")


def _tree(spec: "Spec") -> process.Rootfs:
    document = table(decode(bundle.read(spec.bundle), "config.json"), "config.json")
    return process.Rootfs(**fields(document, "config.json: ", _FIELDS))


def _mode(value: object, where: str) -> int:
    return whole(value, where, 0, 0o177777, 0o666) & 0o7777


_DEVICE = rows(
    ("type", "type", known, ("c", "b", "u", "p"), 'device type "%s" is not known'),
    ("path", "path", absolute, True),
    ("major", "major", whole, 0, _MAX),
    ("minor", "minor", whole, 0, _MAX),
    ("mode", "fileMode", _mode),
    ("uid", "uid", whole, 0, _MAX),
    ("gid", "gid", whole, 0, _MAX),
)
_PROPAGATIONS = ("", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
_FIELDS = rows(
    ("devices", "linux.devices", records, process.Device, _DEVICE),
    ("masked", "linux.maskedPaths", strings),
    ("read_only", "linux.readonlyPaths", strings),
    ("propagation", "linux.rootfsPropagation", known, _PROPAGATIONS, 'rootfsPropagation "%s" is not known'),
)
