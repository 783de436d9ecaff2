"""Writes docs/reference/guests.md from the tables of frameworks and monitors: `python ci/guest_table.py`.

A test holds the page against the code.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from urunc import monitors, unikernels  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "guests.md"
HEAD = """\
# Guests and monitors

Made by `ci/guest_table.py` from `src/urunc/unikernels` and `src/urunc/monitors`. The command line of every pair,
with and without network, disk, initrd, environment and odd characters, is in `tests/unit/goldens/`; every pair that is
not listed is refused at create.

## Frameworks

"""
FRAMEWORKS = ("framework", "monitors", "interfaces", "IPv6", "disks", "root on", "QEMU's machine", "memory", "stop")
MONITORS = ("monitor", "program", "KVM", "loads", "tap by", "filter of its own", "power button")
MEANINGS = {
    "as-is": "the monitor's is the guest's",
    "isa-debug-exit": "2n + 1 is the guest's n",
    "solo5-virtio": "83 is the guest's end",
    "poweroff": "0 is the guest's end",
    "reboot": "0 is the guest's end, or when it reboots",
    "halt": "0 when it halts",
}


def page() -> str:
    """Return the page as the tables are now."""
    guests = [unikernels.load(name) for name in unikernels.MODULES]
    tables = [monitors.load(name) for name in monitors.MODULES]
    rows = [
        (
            guest.name,
            ", ".join(guest.monitors),
            many(guest.net),
            "yes" if guest.ipv6 else "",
            many(guest.disks),
            ", ".join(guest.roots),
            ", ".join(guest.machines) if "qemu" in guest.monitors else "",
            f">= {guest.memory_min_mib} MiB" if guest.memory_min_mib else "",
            guest.stop,
        )
        for guest in guests
    ]
    ends = [
        (guest.name, monitor, MEANINGS[dict(guest.status).get(monitor, "as-is")])
        for guest in guests
        for monitor in guest.monitors
    ]
    programs = [
        (
            monitor.name,
            ", ".join(monitor.binaries) + (", or urunc's own" if monitor.built_in else ""),
            monitor.kvm,
            ", ".join(monitor.kernels),
            {"fd": "descriptor", "name": "name"}[monitor.takes_tap],
            "yes" if monitor.seccomp else "",
            {"": "", "qmp": "over QMP"}.get(monitor.powerdown, "over its API"),
        )
        for monitor in tables
    ]
    parts = [HEAD + table(FRAMEWORKS, rows), "\n## Exit status\n\n" + table(("framework", "monitor", "status"), ends)]
    return "".join([*parts, "\n## Monitors\n\n" + table(MONITORS, programs)])


def many(count: int) -> str:
    return "many" if count == unikernels.MANY else str(count)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
