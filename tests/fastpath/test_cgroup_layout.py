"""Where control groups are found, in private mount namespaces that have them in their usual places, and elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.cgroup_views import VIEWS

SOURCE = Path(__file__).resolve().parents[2] / "src"
ASKED = "import json; from urunc import _fastpath; print(json.dumps(_fastpath.cgroup_layout()))"
# a shell script, $1 an empty directory, $2 a cgroup below a hierarchy's root -> where the hierarchies then are
ELSEWHERE = {
    "moved": 'mount --rbind /sys/fs/cgroup "$1" && umount -l /sys/fs/cgroup',
    "a part": 'mount --bind "$2" "$(dirname "$2")"',
    "covered": "mount -t tmpfs none /sys/fs/cgroup",
    "one missing": "umount -l /sys/fs/cgroup/memory || true",
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


def seen(script: str, *arguments: Path | str, kinds: tuple[str, ...] = ()) -> tuple[list[list[str]], str, str]:
    """What the layout is after the script, and what the kernel says there: mountinfo and cgroup of the process."""
    inside = ["unshare", "--mount", *kinds, "sh", "-ec", f'{script}\nshift 2\nexec "$@"', "sh", *arguments]
    code = f"{ASKED}; print(open('/proc/self/cgroup').read(), open('/proc/self/mountinfo').read(), sep='\\0', end='')"
    done = subprocess.run(
        [*inside, sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    layout, _, told = done.stdout.partition("\n")
    own, _, mounts = told.partition("\0")
    return json.loads(layout), own, mounts


def expected(own: str, mounts: str) -> list[list[str]]:
    """The layout by mountinfo alone, as proc_pid_mountinfo(5) has it."""
    shown: list[tuple[str, str, set[str]]] = []  # root, point, options
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        _, _, _, root, point, *_ = left.split()
        shown = [mount for mount in shown if not f"{mount[1]}/".startswith(point.rstrip("/") + "/")]
        if kind in ("cgroup", "cgroup2"):
            shown.append((root, point, set(options.split(",")) if kind == "cgroup" else {""}))
    found = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for root, point, names in shown:
            if set(controllers.split(",")) <= names:
                found.append([controllers or "cgroup2", point, root, path])
                break
    return [row for row in found if row[:2] == ["cgroup2", "/sys/fs/cgroup"]] or found


@pytest.mark.parametrize("name", [*VIEWS, *ELSEWHERE])
@pytest.mark.parametrize("kinds", [(), ("--cgroup",)], ids=["", "in a cgroup namespace"])
def test_layout_is_what_mountinfo_says(name: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    """Whether it was read there or told by the usual places."""
    top = next(path for path in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")) if path.is_dir())
    part = next((entry for entry in sorted(top.iterdir()) if entry.is_dir()), Path())
    if name == "a part" and part == Path():
        pytest.skip(f"{top} has no cgroup below it")
    layout, own, mounts = seen((VIEWS | ELSEWHERE)[name], tmp_path, part, kinds=kinds)

    assert expected(own, mounts) == layout


def test_a_stranger_cgroup2_is_not_taken_beside_version_1(tmp_path: Path) -> None:
    """One that somebody has mounted for himself: systemd's place is /sys/fs/cgroup/unified."""
    layout, _, mounts = seen(f'{VIEWS["v1"]}\nmount -t cgroup2 none "$1"', tmp_path, "")
    if " - cgroup " not in mounts:
        pytest.skip("this machine has no control groups of version 1")

    assert "cgroup2" not in [controllers for controllers, *_ in layout]
