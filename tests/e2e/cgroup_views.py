"""The runtime as it is on a machine with cgroups of one kind: private mount namespaces show what there is as that."""

from pathlib import Path

from tests import cgroups
from tests.cgroups import NAME, OURS, cgroup_of
from tests.container import PROGRAM, Runtime

# a shell script -> what "$@" then sees on /sys/fs/cgroup
VIEWS = {
    "hybrid": "",
    "v1": "for at in $(awk '/ - cgroup2 /{print $5}' /proc/self/mountinfo); do umount -l $at; done",
    "v2": "umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup",
}


class View(Runtime):
    """A runtime that sees the cgroups as `name` of VIEWS says."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(PROGRAM, directory)
        self.name = name
        self.without = ""  # a controller of version 1 that is not to be seen

    @property
    def unified(self) -> bool:
        return self.name == "v2"

    def words(self, *words: object) -> list[str]:
        hidden = f"umount -l {cgroups.HIERARCHIES[self.without][0]}" if self.without else ""
        script = f'{VIEWS[self.name]}\n{hidden}\nexec "$@"'
        changed = VIEWS[self.name] or hidden
        inside = ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", script, "sh"] if changed else []
        return [*inside, *super().words(*words)]

    def hierarchies(self) -> list[str]:
        """Controllers of the hierarchies that a container without special wishes uses."""
        every = [names for names in cgroups.HIERARCHIES if "=" not in names or names == "name=systemd"]
        return [""] if self.unified else [names for names in every if names]

    def place(self, controller: str, name: str = "c") -> Path:
        """The directory of a container without a cgroupsPath."""
        below = f"{NAME}/{name}" if self.unified else f"{NAME}/{OURS}/{name}"
        return cgroup_of("" if self.unified else controller, below)
