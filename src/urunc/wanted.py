"""A container before it is one: read, checked and decided, then made.

The one rule: whatever can be refused is refused by `prepare`, before anything is made.
"""

from . import (
    _fastpath,
    annotations,
    bundle,
    cage,
    cgroup,
    config,
    facts,
    image,
    machine,
    monitors,
    network,
    plan,
    unikernels,
)
from . import state as stored
from ._record import replace
from .errors import UnikernelError
from .launch import Launch, advised, check_terminal, filters, users
from .spec import Namespace
from .trace import Trace, sinks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Config
    from .launch import Executor
    from .request import Request
    from .spec import Spec
    from .systemd import Scope
    from .trace import Sink


class Wanted:
    """What a create is about, read and checked before anything is made; a context manager that closes its files."""

    def __init__(self, request: "Request") -> None:
        self.trace = Trace("create" if request.hands_over else "template", request.id)
        self.debug = request.debug
        self.preserve_fds = request.preserve_fds
        self.config: Config = config.load(request.config)
        self.files = sinks(request.trace, self.config.timestamps)  # what listens to every container
        self.trace.listen((*self.files, *listeners(request)))
        self.overhead_bytes = self.config.memory_overhead_mib * machine.MIB
        monitors.check_names([entry.name for entry in self.config.monitors], request.config)
        self.trace.mark("configuration")
        self.spec: Spec = bundle.load(request.bundle)
        self.annotations = pairs = _fastpath.beginning(self.spec.annotations, annotations.KNOWN)
        self.process, self.unikernel = annotations.asks_for_process(pairs), None  # a program, or a unikernel
        if not self.process:
            content = None if annotations.decides(pairs) else image.urunc_json(self.spec.rootfs)
            self.unikernel = annotations.resolve(pairs, content, tuple(unikernels.MODULES))
            self.process = self.unikernel is None and self.config.fallback == config.PROCESS
        self.trace.mark("bundle")
        self.host: facts.Host | None = None
        self.hints: tuple[str, ...] = ()  # about what may become of the guest
        self.notices: tuple[str, ...] = ()  # about what the container is not
        self.maker: Callable[..., Launch] = Launch
        self.spares_cgroups = False  # whether it needs to be in no hierarchy of version 1 without a limit

    def __enter__(self) -> "Wanted":
        return self

    def __exit__(self, *_: object) -> None:
        if self.host:
            facts.close(self.host)

    def prepare(self) -> "tuple[unikernels.Guest, monitors.Monitor, facts.Host]":
        """Ask the host; refuse all that can be refused before anything is made."""
        if self.process or self.unikernel:
            from . import mounts

            cage.check(self.spec.cage)
            mounts.check(self.spec)
        if self.process:
            from . import ordinary

            self.maker, self.overhead_bytes = ordinary.Process, 0
            guest, chosen, self.host, self.notices = ordinary.prepare(self.spec, self.config, self.preserve_fds)
            return guest, chosen, self.host
        if self.unikernel is None:
            raise UnikernelError("an ordinary container has no machine")
        guest, chosen = unikernels.load(self.unikernel.type), monitors.load(self.unikernel.hypervisor)
        machine.check_pair(guest, chosen)
        plan.sandbox(self.spec)
        self.host = facts.host(self.spec, self.unikernel, chosen, self.config)
        if not network.wanted(self.unikernel, guest, self.host):
            self.spec = _apart(self.spec)
        self.overhead_bytes += machine.copied_bytes(chosen, self.host)
        rows, unfiltered = filters(self.spec, chosen, self.host.binary, debug=self.debug)
        owned, mapped = users(self.spec, self.host.files)
        self.host = replace(self.host, filters=rows, owner=owned, idmapped=mapped)
        self.trace.mark("facts of the host")
        self.notices = (*unfiltered, *machine.check(self.spec, self.unikernel, guest, chosen, self.host))
        self.hints = machine.hints(self.spec, self.unikernel, guest, chosen, self.host)
        return guest, chosen, self.host

    def groups(
        self, chosen: "monitors.Monitor", container_id: str, scope: "cgroup.Scope" = cgroup.NONE
    ) -> "tuple[tuple[object, ...], ...]":
        """Return the operations that make the cgroups of the container; refuse limits that this host cannot keep."""
        where, written = self.settings(chosen, scoped=scope.pid > 0)
        return (cgroup.made(self.spec, container_id, where, scope), *written)

    def settings(
        self, chosen: "monitors.Monitor", *, scoped: bool
    ) -> "tuple[cgroup.Where, tuple[tuple[object, ...], ...]]":
        """Return what of that is the same for every container of this bundle (cgroup.settings)."""
        if self.host is None:
            raise UnikernelError("an ordinary container has no machine")
        nodes = self._nodes(chosen, self.host)
        devices = self.host.devices  # of a Solo5 guest, which can have no others
        return cgroup.settings(
            self.spec,
            self.host.cgroups,
            nodes,
            self.overhead_bytes,
            scoped=scoped,
            sparing=self.spares_cgroups,
            has_disks=devices is None or any(kind == "block" for kind, _ in devices),
        )

    def scope(self, chosen: "monitors.Monitor", host: "facts.Host", container_id: str) -> "Scope":
        """Return the scope that systemd is to make, a context manager."""
        from . import devices, systemd

        resources, unified = self.spec.resources, cgroup.is_unified(host.cgroups)
        rules = devices.rules(resources.devices, self._nodes(chosen, host))
        given = systemd.properties(resources, self.overhead_bytes, unified=unified)
        given += systemd.granted(rules, unified=unified)
        return systemd.Scope(self.spec.cgroups_path, container_id, given)

    def _nodes(self, chosen: "monitors.Monitor", host: "facts.Host") -> "tuple[tuple[str, int, int], ...]":
        if self.unikernel is None:
            return ()  # of a process there is no monitor to open any
        return machine.device_nodes(self.unikernel, unikernels.load(self.unikernel.type), chosen, host)

    def machine(
        self, guest: "unikernels.Guest", chosen: "monitors.Monitor", net: "facts.Network", spec: "Spec | None" = None
    ) -> "monitors.Machine":
        """Decide what the machine is, once the network is known; for `spec`, if it is not as it was read."""
        if self.process:
            return monitors.Machine(binary="", accelerator="none", memory_mib=0, vcpus=0, kernel="", words=())
        if self.unikernel is None or self.host is None:
            raise UnikernelError("an ordinary container has no machine")
        return machine.machine_of(spec or self.spec, self.unikernel, guest, chosen, self.host, net)


def listeners(request: "Request") -> "tuple[Sink, ...]":
    """Return who listens, beside files, to a command that begins now."""
    if not request.spans:
        return ()
    from . import spans

    return spans.sinks()


def _apart(spec: "Spec") -> "Spec":
    """Return `spec` with a network namespace for the monitor in place of the host's, which its guest has no use for.

    What a monitor may do with sockets would reach the host's abstract ones there.
    """
    if any(namespace.type == "network" for namespace in spec.namespaces):
        return spec
    return replace(spec, namespaces=(*spec.namespaces, Namespace(type="network")))


def build(
    request: "Request",
    wanted: Wanted,
    prepared: "tuple[unikernels.Guest, monitors.Monitor, facts.Host]",
    executor: "Callable[[int], Executor]" = _fastpath.Sandbox,
    scope: "cgroup.Scope" = cgroup.NONE,
) -> Launch:
    """Make the container that `wanted` describes; `prepared` is what its `prepare` has returned, which may be often.

    `executor` makes what executes plans, of the descriptor of the state directory; `scope` is where systemd wants it.
    """
    check_terminal(request, wanted.spec)
    guest, chosen, host = prepared
    trace = wanted.trace
    if not request.hands_over:  # of the template
        trace = Trace("create", request.id)
        trace.listen((*wanted.files, *listeners(request)))
    if request.systemd_cgroup and not scope.pid:
        with wanted.scope(chosen, host, request.id) as made:
            return build(request, wanted, prepared, executor, made)
    groups = wanted.groups(chosen, request.id, scope)
    with stored.create(request.root, request.id) as container:
        launch = wanted.maker(request, container, wanted.spec, trace, executor)
        launch.has_network = wanted.unikernel is not None and network.wanted(wanted.unikernel, guest, host)
        launch.overhead_bytes = wanted.overhead_bytes
        launch.flags |= _fastpath.FLAG_TIMESTAMPS if wanted.config.timestamps else 0
        try:
            launch.create(chosen, host, groups, lambda net: wanted.machine(guest, chosen, net))
        except OSError as error:
            launch.discard()
            raise advised(error) from None
        except BaseException:
            launch.discard()
            raise
    return launch
