"""The systemd driver: a container's cgroup is that of a scope which systemd is asked for over D-Bus.

The one rule: imported with --systemd-cgroup alone, and so is the library that speaks D-Bus (jeepney).  Everything below
the scope is done as without systemd: it is asked to delegate the cgroup, and told the limits so that a reload of its
configuration keeps them.
"""

import os

from . import cgroup, limits
from .errors import HostError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .devices import Rules
    from .resources import Resources

    Property = tuple[str, tuple[str, object]]  # name, D-Bus signature and value

MANAGER = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
TIMEOUT_S = 30.0
_INFINITY = 2**64 - 1


class Scope:
    """A scope that is there while this is entered, and afterwards as long as a process is in it.

    `path` is its cgroup below the mounts of the hierarchies, `pid` a process that only waits in it.
    """

    def __init__(self, cgroups_path: str, container_id: str, given: "list[Property]") -> None:
        self.slice, self.unit = cgroup.unit_of(cgroups_path, container_id)
        self.properties = given
        self.path, self.pid, self._pipe = "", 0, -1

    def __enter__(self) -> "cgroup.Scope":
        bus = Bus()
        self.pid, self._pipe = _waiting_child()
        try:
            fixed = [
                ("Description", ("s", f"unikernel container {self.unit}")),
                ("Slice", ("s", self.slice)),
                ("Delegate", ("b", True)),
                ("DefaultDependencies", ("b", False)),
                ("CollectMode", ("s", "inactive-or-failed")),
                ("PIDs", ("au", [self.pid])),
            ]
            bus.start(self.unit, [*fixed, *self.properties])
            self.path = bus.control_group(self.unit)
        except BaseException:
            self.__exit__()
            raise
        finally:
            bus.close()
        return cgroup.Scope(path=self.path, pid=self.pid)

    def __exit__(self, *_: object) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)  # the end that the child waits for
            self._pipe = -1
            os.waitpid(self.pid, 0)


def _waiting_child() -> "tuple[int, int]":
    """Start a process that ends when the returned descriptor is closed, or when we end."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    return pid, write_end


def granted(rules: "Rules", *, unified: bool) -> "list[Property]":
    """Return which devices may be used as properties: without them systemd grants all of them, at its next occasion.

    Of version 1 there is one list, which systemd writes; cgroup2 asks a program of systemd's and ours.
    """
    if rules.allowed:
        if rules.exceptions and not unified:
            raise SpecError(
                "linux.resources.devices: systemd can only keep a list of devices that are allowed: deny all first"
            )
        return [("DevicePolicy", ("s", "auto"))]
    rows = [(_node(kind, major, minor), access) for kind, major, minor, access in rules.exceptions]
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", rows))]


def _node(kind: str, major: int, minor: int) -> str:
    name = "char" if kind == "c" else "block"
    if minor >= 0:
        if major < 0:
            what = f"linux.resources.devices: {kind} *:{minor}"
            raise SpecError(f"{what}: systemd grants no minor of all majors: name one")
        return f"/dev/{name}/{major}:{minor}"
    return f"{name}-{'*' if major < 0 else major}"


def properties(r: "Resources", overhead_bytes: int, *, unified: bool) -> "list[Property]":
    """Return the limits as properties of a unit (systemd.resource-control(5)) with their D-Bus signatures."""
    memory = r.memory_limit + overhead_bytes if r.memory_limit > 0 else r.memory_limit
    period = r.cpu_period or 100_000
    quota = _INFINITY if r.cpu_quota < 0 else r.cpu_quota * 1_000_000 // period
    swap = _INFINITY if r.memory_swap < 0 or (memory < 0 and not r.memory_swap) else r.memory_swap - r.memory_limit
    rows = (
        ("MemoryMax", "t", _INFINITY if memory < 0 else memory),
        ("MemoryLow", "t", r.memory_reservation + overhead_bytes if r.memory_reservation > 0 else 0),
        # systemd has a conversion of its own between the two
        ("CPUWeight", "t", limits.weight_of(r.cpu_shares) if unified and r.cpu_shares else 0),
        ("CPUShares", "t", 0 if unified else r.cpu_shares),
        ("CPUQuotaPerSecUSec", "t", quota),
        ("CPUQuotaPeriodUSec", "t", r.cpu_period),
        ("TasksMax", "t", _INFINITY if r.pids_limit < 0 else r.pids_limit),
        ("AllowedCPUs", "ay", _bits(r.cpus)),
        ("AllowedMemoryNodes", "ay", _bits(r.mems)),
    )
    found: list[Property] = [(name, (kind, value)) for name, kind, value in rows if value]
    if r.memory_swap or memory < 0:  # 0 bytes of it are a limit, too
        found.append(("MemorySwapMax", ("t", swap)))
    return found


def _bits(text: str) -> bytes:
    """Return 0-2,9 as a mask, its lowest byte first."""
    mask = 0
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or int(last or first) > 1 << 16:
            raise HostError(f"cpu.cpus or cpu.mems: {text!a} is no list such as 0-2,9")
        for number in range(int(first), int(last or first) + 1):
            mask |= 1 << number
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def update(
    cgroups: "tuple[tuple[str, str], ...]", resources: "Resources", overhead_bytes: int, *, unified: bool
) -> None:
    """Tell systemd the new limits of the scope that the container's `cgroups` are of."""
    changed = properties(resources, overhead_bytes, unified=unified)
    if changed:
        bus = Bus()
        try:
            bus.call("SetUnitProperties", "sba(sv)", (os.path.basename(cgroups[0][1]), True, changed))
        finally:
            bus.close()


class Bus:
    """A connection to the manager of the system."""

    def __init__(self) -> None:
        self._library = _jeepney()
        from jeepney.io.blocking import open_dbus_connection

        try:
            self._connection: Any = open_dbus_connection("SYSTEM")
        except (OSError, KeyError, RuntimeError) as error:
            reason = f"cannot connect to the system's D-Bus ({error})"
            raise HostError(f"--systemd-cgroup: {reason}: start dbus, or leave out the option") from None

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def call(self, method: str, signature: str, arguments: "tuple[object, ...]") -> "tuple[Any, ...]":
        """Return what a method of the manager returns; HostError with its words if it fails."""
        return self._send(MANAGER, method, signature, arguments)

    def start(self, unit: str, given: "list[Property]") -> None:
        """Start a transient unit and wait until it has been; HostError if it has not."""
        path, _, interface = MANAGER
        rule = self._library.MatchRule(type="signal", interface=interface, member="JobRemoved", path=path)
        bus = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        self._send(bus, "AddMatch", "s", (rule.serialise(),))
        self.call("Subscribe", "", ())
        with self._connection.filter(rule, bufsize=1024) as signals:
            (job,) = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", given, []))
            while True:
                try:
                    _, ended, _, result = self._connection.recv_until_filtered(signals, timeout=TIMEOUT_S).body
                except TimeoutError:
                    raise HostError(f"systemd does not start {unit}: see systemctl status {unit}") from None
                if ended == job:
                    break
        if result != "done":
            raise HostError(f"systemd does not start {unit}: {result}")

    def control_group(self, unit: str) -> str:
        """Return the cgroup of a scope or slice, as a path from the root of the hierarchies."""
        (path,) = self.call("GetUnit", "s", (unit,))
        kind = unit.rpartition(".")[2].capitalize()
        where = (path, MANAGER[1], "org.freedesktop.DBus.Properties")
        ((_, found),) = self._send(where, "Get", "ss", (f"org.freedesktop.systemd1.{kind}", "ControlGroup"))
        if not found:
            raise HostError(f"systemd has put {unit} into no cgroup")
        return str(found)

    def _send(
        self, where: "tuple[str, str, str]", method: str, signature: str, arguments: "tuple[object, ...]"
    ) -> "tuple[Any, ...]":
        path, name, interface = where
        address = self._library.DBusAddress(path, bus_name=name, interface=interface)
        message = self._library.new_method_call(address, method, signature, arguments)
        try:
            reply = self._connection.send_and_get_reply(message, timeout=TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            raise HostError(f"systemd: {method}: no answer ({error})") from None
        if reply.header.message_type is self._library.MessageType.error:
            words = reply.body[0] if reply.body else reply.header.fields.get(self._library.HeaderFields.error_name)
            raise HostError(f"systemd: {method}: {words}")
        body: tuple[Any, ...] = reply.body
        return body


def _jeepney() -> "Any":
    """Return the library: the archive has none of its own, so this is what is installed for the machine's Python."""
    try:
        import jeepney  # the interpreter inside dist/urunc leaves here, for a whole one
    except ImportError:
        return _installed_jeepney()
    return jeepney


def _installed_jeepney() -> "Any":
    import site
    import sys

    places = [*site.getsitepackages(), "/usr/lib/python3/dist-packages"]
    sys.path += [path for path in places if path not in sys.path]
    try:
        import jeepney
    except ImportError:
        raise HostError(
            "--systemd-cgroup needs the Python package jeepney: install it (Debian: python3-jeepney), or leave it out"
        ) from None
    return jeepney
