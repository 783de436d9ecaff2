"""What many containers of one template have in common, decided and packed once (api.Template).

The one rule: what is kept is the same for every container of the template; whatever depends on one is decided anew.
"""

from . import _fastpath, facts, network, plan
from . import state as stored
from .launch import Launch, check_terminal
from .wanted import Wanted, listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .cgroup import Where
    from .facts import Host
    from .monitors import Machine, Monitor
    from .request import Request
    from .unikernels import Guest

    Operations = tuple[tuple[object, ...], ...]


class Repeated(Wanted):
    """A Wanted for any number of containers, in any number of threads."""

    def __init__(self, request: "Request") -> None:
        super().__init__(request)
        self.maker = self._launch
        self.spares_cgroups = True
        self.sandbox_plan = b""  # without the directories of the cgroups, whose names differ
        self.root_plans: dict[bool, bytes] = {}  # without a network, by whether one may come
        self._settings: tuple[Where, Operations] | None = None

    def settings(self, chosen: "Monitor", *, scoped: bool) -> "tuple[Where, Operations]":
        """Return what Wanted.settings does; all containers of a template have a scope of systemd, or none has."""
        if self._settings is None:
            self._settings = super().settings(chosen, scoped=scoped)
        return self._settings

    def at_once(
        self, request: "Request", prepared: "tuple[Guest, Monitor, Host]", sandbox: "_fastpath.Sandbox"
    ) -> "Launch | None":
        """Make a container by one call; None, and nothing done, for one that is not ordinary."""
        guest, chosen, host = prepared
        check_terminal(request, self.spec)
        has_network = self.unikernel is not None and network.wanted(self.unikernel, guest, host)
        if self._is_watched(request) or (has_network and not facts.is_new_network(self.spec)):
            return None
        container = stored.Container(-1, request.id, -1, -1)
        launch = self._launch(request, container, self.spec, self.trace, lambda _: sandbox)
        launch.has_network = has_network
        launch.overhead_bytes = self.overhead_bytes
        launch.expect(host)
        root = launch.root_plan(chosen, host, lambda net: self.machine(guest, chosen, net))
        plans = (*launch.sandbox_plans(self.groups(chosen, request.id)), root)
        files = tuple([file.fd for file in host.files])
        rest = (launch.flags, launch.overhead_bytes, launch.document)
        return launch if sandbox.create(request.root, request.id, plans, files, *rest) else None

    def _is_watched(self, request: "Request") -> bool:
        """Whether somebody has a part in its making: hooks, the reader of a terminal, who listens to the steps."""
        spec = self.spec
        hooks = spec.prestart or spec.create_runtime or spec.create_container or spec.start_container
        others = hooks or spec.poststart or spec.poststop or spec.terminal
        return bool(others or self.config.timestamps or self.files or listeners(request))

    def _launch(self, *arguments: object) -> "_Launch":
        launch = _Launch(*arguments)  # type: ignore[arg-type]  # those of Launch
        launch.common = self
        return launch


class _Launch(Launch):
    common: Repeated

    def make_sandbox(self, groups: "Operations") -> None:
        for packed in self.sandbox_plans(groups):
            self.sandbox.execute(packed)

    def sandbox_plans(self, groups: "Operations") -> "tuple[bytes, bytes]":
        directories, *limits = groups
        common = self.common
        common.sandbox_plan = common.sandbox_plan or _fastpath.pack(plan.sandbox(self.spec, tuple(limits)).operations)
        return _fastpath.pack((("stage", "sandbox"), directories)), common.sandbox_plan

    def make_root(self, chosen: "Monitor", host: "Host", machine: "Callable[[facts.Network], Machine]") -> None:
        own = self.spec.create_container or self.spec.start_container or self.request.console_socket
        net = self.network
        if own or net.interfaces or net.taps or net.private or net.is_host:
            super().make_root(chosen, host, machine)
            return
        self.sandbox.execute(self.root_plan(chosen, host, machine), tuple([file.fd for file in host.files]))

    def root_plan(self, chosen: "Monitor", host: "Host", machine: "Callable[[facts.Network], Machine]") -> bytes:
        net, plans = self.network, self.common.root_plans
        if net.may_come not in plans:
            plans[net.may_come] = _fastpath.pack(self.plan(chosen, host, machine(net)).operations)
        return plans[net.may_come]
