"""What many containers of one template have in common, decided and packed once (api.Template).

The one rule: what is kept is the same for every container of the template; whatever depends on one is decided anew.
"""

from . import _fastpath, facts, plan
from .launch import Launch
from .wanted import Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .cgroup import Where
    from .facts import Host
    from .monitors import Machine, Monitor
    from .request import Request

    Operations = tuple[tuple[object, ...], ...]


class Repeated(Wanted):
    """A Wanted for any number of containers, in any number of threads."""

    def __init__(self, request: "Request") -> None:
        super().__init__(request)
        self.maker = self._launch
        self.sandbox_plan = b""  # without the directories of the cgroups, whose names differ
        self.root_plans: dict[bool, bytes] = {}  # without a network, by whether one may come
        self._settings: tuple[Where, Operations] | None = None

    def settings(self, chosen: "Monitor", *, scoped: bool) -> "tuple[Where, Operations]":
        """Return what Wanted.settings does; all containers of a template have a scope of systemd, or none has."""
        if self._settings is None:
            self._settings = super().settings(chosen, scoped=scoped)
        return self._settings

    def _launch(self, *arguments: object) -> "_Launch":
        launch = _Launch(*arguments)  # type: ignore[arg-type]  # those of Launch
        launch.common = self
        return launch


class _Launch(Launch):
    common: Repeated

    def make_sandbox(self, groups: "Operations") -> None:
        directories, *limits = groups
        common = self.common
        common.sandbox_plan = common.sandbox_plan or _fastpath.pack(plan.sandbox(self.spec, tuple(limits)).operations)
        self.sandbox.execute(_fastpath.pack((("stage", "sandbox"), directories)))
        self.sandbox.execute(common.sandbox_plan)

    def make_root(self, chosen: "Monitor", host: "Host", machine: "Callable[[facts.Network], Machine]") -> None:
        own = self.spec.create_container or self.spec.start_container or self.request.console_socket
        net, plans = self.network, self.common.root_plans
        if own or net.interfaces or net.taps or net.private or net.is_host:
            super().make_root(chosen, host, machine)
            return
        if net.may_come not in plans:
            plans[net.may_come] = _fastpath.pack(self.plan(chosen, host, machine(net)).operations)
        self.sandbox.execute(plans[net.may_come], tuple([file.fd for file in host.files]))
