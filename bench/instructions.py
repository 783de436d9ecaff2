"""Instructions of the commands: a count is the same each time, whatever else the machine does.

The one rule: what cannot be counted whole is named for the part that is.  valgrind 3.19 does not know openat2(2) and
pidfd_open(2): callgrind counts `create` until it opens the guest's image, `state` and `start` whole; `kill` and
`delete` are gone through step by step (steps.c).  crun executes itself anew from a memfd, where callgrind loses it.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.bundle import compiled
from bench.rig import Runtime

PYTHON = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
LIMIT_S = 60


@dataclass
class Count:
    """One line of the table: instructions of ours and of the peer, and what their ratio may be at most."""

    what: str
    target: float
    ours: int
    peer: int

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def missed(self) -> bool:
        return self.ratio > self.target

    def line(self) -> str:
        counts = f"[{self.ours / 1e6:.2f} / {self.peer / 1e6:.2f} M]"
        return (
            f"{self.what:<66} {self.ratio:6.2f} {counts:<15} <= {self.target:<5} {'MISSED' if self.missed else 'met'}"
        )

    def document(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("what", "target", "ours", "peer", "ratio", "missed")}


def callgrind(directory: Path, *words: object) -> int:
    """Return the instructions of a command, whatever its status, on a host without a configuration."""
    output = directory / "callgrind"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", *(str(word) for word in words)]
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin", "URUNC_CONFIG_FILE": str(directory / "none.toml")}
    subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=LIMIT_S
    )
    summary = next(line for line in output.read_text().splitlines() if line.startswith("summary:"))
    output.unlink()
    return int(summary.split()[1])


def stepped(directory: Path, program: Path, runtime: Runtime, *words: object) -> int:
    """Return the same of a command that must succeed."""
    count = directory / "steps-taken"
    runtime.spawn(program, count, runtime.program, "--root", runtime.root, *words)
    return int(count.read_text())


def without_guest(bundle: Path, directory: Path) -> Path:
    """A bundle whose guest is not there: `create` ends where it opens it, with whatever valgrind."""
    config = json.loads((bundle / "config.json").read_text())
    config["annotations"]["com.urunc.unikernel.binary"] = "/none"
    made = directory / f"without-{bundle.name}"
    made.mkdir()
    (made / "rootfs").mkdir()
    (made / "config.json").write_text(json.dumps(config))
    return made


def of_create(program: str, bundle: Path, directory: Path) -> int:
    """Instructions of `create` until it opens the guest's image."""
    root = directory / "counted"
    return callgrind(directory, program, "--root", root, "create", "--bundle", without_guest(bundle, directory), "c")


def measure(urunc: Runtime, crun: str, bundles: tuple[Path, Path], directory: Path) -> list[Count]:
    """The rows; `bundles` have a config.json of 10 kB and of 200 kB."""
    small, large = (of_create(urunc.program, bundle, directory) for bundle in bundles)
    steps = compiled(directory, "steps", (Path(__file__).parent / "steps.c").read_text())
    _, pid = urunc.create(bundles[0])
    ours = {verb: callgrind(directory, urunc.program, "--root", urunc.root, verb, "c") for verb in ("state", "start")}
    os.waitpid(pid, 0)
    ours["delete"] = stepped(directory, steps, urunc, "delete", "c")
    _, pid = urunc.create(bundles[0])
    ours["kill"] = stepped(directory, steps, urunc, "kill", "c", "KILL")
    os.waitpid(pid, 0)
    urunc("delete", "c")
    theirs = callgrind(directory, crun, "--root", directory, "state", "c")
    begun = "crun until it executes itself anew"
    return [
        Count(
            "instructions: create up to the guest's image / python3 -IS -c pass",
            0.25,
            small,
            callgrind(directory, *PYTHON),
        ),
        Count("instructions: the same, config.json of 200 kB / of 10 kB", 1.8, large, small),
        *[
            Count(f"instructions: {verb} / {begun}", 0.1, ours[verb], theirs)
            for verb in ("start", "state", "kill", "delete")
        ],
    ]
