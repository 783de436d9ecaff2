"""Control groups of a container: where they are and what is written into them.  Pure: spec and facts -> operations.

The one rule: a limit that no hierarchy of the machine can keep is an error, never left out (cgroups(7), the kernel's
admin-guide/cgroup-v1 and cgroup-v2.rst).
"""

from . import devices, limits
from ._record import Record
from .errors import HostError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .limits import Write
    from .resources import Resources
    from .spec import Spec

    Operation = tuple[object, ...]
    # of _fastpath.cgroup_layout: controllers, where it is mounted, what of it, the caller's own cgroup
    Layout = tuple[tuple[str, str, str, str], ...]
    Where = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # controllers, mounts, what a path is below

CGROUP2 = "cgroup2"
# of version 1, what ends and confines a container, and what its statistics are of (blkio: of one that has disks)
ALWAYS = frozenset(("blkio", "cpu", "cpuacct", "devices", "freezer", "hugetlb", "memory", "pids"))


class Scope(Record):
    """A unit of systemd: its cgroup, and the process that keeps it until the container's is in it."""

    path: str = ""
    pid: int = 0


NONE = Scope()


def unit_of(cgroups_path: str, container_id: str) -> "tuple[str, str]":
    """Return slice and scope that a cgroupsPath "slice:prefix:name" names, as runc does."""
    if not cgroups_path:
        return "system.slice", f"urunc-{container_id}.scope"
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise SpecError(
            'linux.cgroupsPath: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups,'
            f' got "{ascii(cgroups_path)[1:-1]}" instead'
        )
    parent, prefix, name = parts[0] or "system.slice", parts[1], parts[2]
    if not parent.endswith(".slice") or "/" in parent or parent[0] == "-" or "--" in parent or "/" in prefix + name:
        raise SpecError(f"linux.cgroupsPath: invalid slice name: {cgroups_path!a}: give one such as system.slice")
    return parent, name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"


def settings(  # noqa: PLR0913  what there is, and what is wanted
    spec: "Spec",
    layout: "Layout",
    nodes: "devices.Nodes",
    overhead_bytes: int,
    *,
    scoped: bool = False,
    sparing: bool = False,
    has_disks: bool = True,
) -> "tuple[Where, tuple[Operation, ...]]":
    """Return the hierarchies that a container is in and what puts its limits into force, whatever its id.

    `nodes` are the devices that the monitor needs, `overhead_bytes` is what it needs beside the guest's memory;
    `scoped` is whether systemd makes the cgroup, `sparing` whether a container is to be in no more hierarchies than it
    needs if nobody knows where to look for it, `has_disks` whether there is anything that it could read or write.
    """
    writes = limits.writes(spec.resources, overhead_bytes, unified=is_unified(layout))
    _check_unified(spec, layout)
    groups = _groups(layout, writes, scoped=scoped)
    named = spec.cgroups_path or any(namespace.type == "cgroup" for namespace in spec.namespaces)
    if sparing and not (scoped or named):
        groups = _needed(groups, writes, ALWAYS if has_disks else ALWAYS - {"blkio"})
    if not groups:
        raise HostError("no control groups are mounted here: mount cgroup2 on /sys/fs/cgroup")
    names = tuple(group[0] for group in groups)
    written = [_operation(write, _number(write, names)) for write in writes]
    bases = tuple([_clean(_base(spec.cgroups_path, group)) for group in groups])
    where = (names, tuple([group[1] for group in groups]), bases)
    return where, (*written, *_devices(spec.resources, names, nodes))


def _check_unified(spec: "Spec", layout: "Layout") -> None:
    """A controller is in one hierarchy: a file of cgroup2 is not there for one that version 1 has."""
    names = {name for group in layout if group[0] != CGROUP2 for name in group[0].split(",")}
    for file, _ in spec.resources.unified:
        controller = file.partition(".")[0]
        if controller in names:
            raise SpecError(
                f"invalid configuration: linux.resources.unified: {file}: {controller} is of version 1 here:"
                " use the other fields of linux.resources"
            )


def made(spec: "Spec", container_id: str, where: "Where", scope: Scope = NONE) -> "Operation":
    """Return the operation that makes the cgroups of one container; the path of a scope is absolute."""
    wanted = scope.path or spec.cgroups_path
    inner = _clean(wanted or container_id)
    if not inner:
        raise SpecError(f"linux.cgroupsPath {wanted!a} is the root of the hierarchies: name a cgroup below it")
    names, mounts, bases = where
    return ("cgroup", names, mounts, tuple([inner if scope.path else base + inner for base in bases]), scope.pid)


def is_unified(layout: "Layout") -> bool:
    """Whether cgroup2 is all there is."""
    return len(layout) == 1 and layout[0][0] == CGROUP2


def number_of(controller: str, names: "tuple[str, ...]") -> int:
    """Return which of `names`, the controllers of a container's cgroups, has `controller`; -1 if none has."""
    for number, name in enumerate(names):
        if controller in name.split(","):
            return number
    return names.index(CGROUP2) if CGROUP2 in names else -1


def _number(write: "Write", names: "tuple[str, ...]") -> int:
    number = number_of(write.controller, names)
    if number < 0:
        raise SpecError(f"{write.limit}: no hierarchy here has the cgroup controller {write.controller}: remove it")
    return number


def _operation(write: "Write", number: int) -> "Operation":
    if len(write.files) > 1:
        return ("cgroup_write_first", number, write.files, write.values)
    return ("cgroup_write", number, write.files[0], write.values)


def _groups(layout: "Layout", writes: "tuple[Write, ...]", *, scoped: bool) -> "Layout":
    """Return the hierarchies to use: all of version 1 but those of strangers; a cgroup2 beside them if it is needed.

    It always is for a scope: that is where systemd looks whether anybody is left.
    """
    known = tuple(entry for entry in layout if "=" not in entry[0] or entry[0] == "name=systemd")
    if len(known) < 2:
        return known
    names = tuple(entry[0] for entry in known if entry[0] != CGROUP2)
    needed = scoped or any(number_of(write.controller, names) < 0 for write in writes)
    return tuple(entry for entry in known if entry[0] != CGROUP2 or needed)


def _needed(groups: "Layout", writes: "tuple[Write, ...]", always: "frozenset[str]") -> "Layout":
    """Return the hierarchies in which a container is told from its maker, where nobody knows where to look for it.

    In each other one (cpuset and net_cls without a limit, name=systemd) it would be below its maker and be like it.
    """
    names = tuple(group[0] for group in groups)
    limited = {number_of(write.controller, names) for write in writes}
    return tuple(
        group
        for number, group in enumerate(groups)
        if number in limited or group[0] == CGROUP2 or not always.isdisjoint(group[0].split(","))
    )


def _base(wanted: str, group: "tuple[str, str, str, str]") -> str:
    """Return what a path is below: the mount if the spec says where, else where we are ourselves, as runc does."""
    controllers, _, root, own = group
    if wanted[:1] == "/":
        return ""
    base = own[len(root.rstrip("/")) :] if _is_below(own, root) else ""
    # a cgroup with processes of its own hands no controllers down
    return base.rpartition("/")[0] if controllers == CGROUP2 else base


def _is_below(path: str, top: str) -> bool:
    return ".." not in path.split("/") and (path + "/").startswith(top.rstrip("/") + "/")


def _clean(path: str) -> str:
    """Return `path` absolute, without empty parts, and with no `..` that leads out; "" for the root."""
    if path in ("", "/"):
        return ""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "".join("/" + part for part in parts)


def _devices(resources: "Resources", names: "tuple[str, ...]", nodes: "devices.Nodes") -> "list[Operation]":
    number = number_of("devices", names)
    if number < 0:
        raise SpecError("linux.resources.devices: no hierarchy here has the cgroup controller devices: mount it")
    rules = devices.rules(resources.devices, nodes)
    if names[number] == CGROUP2:
        return [("cgroup_devices", number, devices.words(rules))]
    return [("cgroup_write", number, file, lines) for file, lines in devices.lines(rules)]
