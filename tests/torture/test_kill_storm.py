"""SIGKILL at a random instant of a random command: to it, its session, a process of its making or one of the container.

Whatever that was: what is left has a status, `delete --force` removes all of it, and the id can be used again.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.container import (
    CONFIG,
    KNOWN,
    UNIKERNEL,
    Runtime,
    children,
    merged,
    orphans,
    process_state,
    until,
    write_bundle,
)
from tests.e2e.lan import FOR_EVER, SPT, Lan
from tests.guests import build, spt_build
from tests.torture import kinds as others
from tests.torture.rounds import ROUNDS, SEED

pytestmark = [
    pytest.mark.torture,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

VERBS = ("create", "start", "kill", "delete")
VICTIMS = ("runtime", "session", "child", "container")
STATUSES = ("gone", "creating", "created", "running", "paused", "stopped")
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
]


@dataclass(frozen=True)
class Kind(others.Kind):
    """A kind of container, and how often it is taken."""

    weight: int = 1


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What kinds of containers need of the host, which goes after the containers."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def urunc(stack: ExitStack, urunc: Runtime) -> Runtime:
    """A runtime whose containers are gone before the host's things are."""
    return urunc


def lan_of(stack: ExitStack) -> Lan:
    made = Lan()
    stack.callback(made.remove)
    made.usual()
    return made


@pytest.fixture
def kinds(stack: ExitStack, urunc: Runtime, hello: Path) -> dict[str, Kind]:
    """One for each thing that a container can leave behind."""
    lan = lan_of(stack)
    cache = build.default_cache()
    waiting = {"guest": spt_build.build(cache)["wait"]}
    nap = {"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.01"], "env": ["PATH=/bin:/usr/bin"]}
    stages = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    joined = [
        {"type": "network", "path": f"/run/netns/{lan.inside}"},
        *({"type": t} for t in ("pid", "ipc", "uts", "mount")),
    ]
    urunc.config.write_text('process_monitor = true\nfallback = "process"\n')
    urunc.expected_warning = "the process monitor is in use"

    def make(name: str, files: dict[str, Path], keys: dict[str, str], *args: str, **changes: Any) -> Path:
        annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()} if keys else None
        config = merged(CONFIG, {"annotations": annotations, "process": {"args": list(args)}})
        path = write_bundle(urunc.directory / name, files, merged(config, changes))
        for mount in changes.get("mounts", ()):
            (path / "rootfs" / mount["destination"][1:]).mkdir()
        return path

    qemu = {key.rpartition(".")[2]: value for key, value in UNIKERNEL.items()}
    busybox = {"bin/busybox": Path("/bin/busybox")}
    sleep = ("/bin/busybox", "sleep", "1000")
    station = {"guest": build.station(cache)}
    network = make("network", station, SPT, FOR_EVER, linux={"namespaces": joined})
    button = qemu | {"stop": "powerdown"}
    made: dict[str, tuple[int, others.Kind | None]] = {
        "guest": (4, others.Kind(make("guest", waiting, SPT, "sleep"))),
        "hooks": (3, others.Kind(make("hooks", waiting, SPT, "sleep", hooks={stage: [nap] for stage in stages}))),
        "network": (4, others.Kind(network, lan.state)),
        "process": (2, others.Kind(make("process", busybox, {}, *sleep, mounts=MOUNTS))),
        "qemu": (1, others.Kind(make("qemu", {"hello": hello}, qemu, "/app", "exit=halt"))),
        "button": (1, others.Kind(make("button", {"hello": hello}, button, "/app", "exit=halt"))),
        "borrowed": (2, others.borrowed(urunc, "borrowed")),
        "joined": (2, others.joined(urunc, "joined", stack)),
        "shared": (4, others.shared(urunc, "shared", lan_of(stack))),
        "device": (2, others.device(urunc, "device", hello, stack)),
    }
    return {name: Kind(kind.bundle, kind.before, weight) for name, (weight, kind) in made.items() if kind}


def descendants(pid: int) -> list[int]:
    found = []
    for task in list(Path(f"/proc/{pid}/task").glob("*/children")):
        try:
            below = [int(word) for word in task.read_text().split()]
        except OSError:
            continue  # ended meanwhile
        for child in below:
            found += [child, *descendants(child)]
    return found


def of_session(session: int) -> list[int]:
    """Every process of a session that was made for a command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found.append(int(entry.parent.name))
    return found


def strike(victim: str, command: int, container: int, chance: random.Random) -> str:
    """Kill; return whom, "nobody" if the command had ended by itself."""
    if process_state(command) in ("", "Z"):
        return "nobody"
    below = descendants(command)
    if victim == "container" and container:
        targets = [chance.choice([container, *descendants(container)])]
    elif victim == "child" and below:
        targets = [chance.choice(below)]
    elif victim == "session":
        targets = of_session(command)
    else:
        victim, targets = "runtime", [command]
    for pid in targets:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return victim


class Storm:
    """Rounds on one runtime; `struck` counts what was killed in which verb."""

    def __init__(self, urunc: Runtime, kinds: dict[str, Kind], seed: int) -> None:
        self.urunc, self.kinds, self.chance = urunc, kinds, random.Random(seed)
        self.struck: Counter[str] = Counter()
        self.loops = loops(urunc.directory)  # the device of a kind
        self.files = {name: tree(kind.bundle) for name, kind in kinds.items()}
        self.clean = {name: kind.before() for name, kind in kinds.items()}
        for kind in kinds.values():
            self.durations(kind.bundle)  # the first of a kind prepares things
        self.whole_s = {name: self.durations(kind.bundle) for name, kind in kinds.items()}

    def words(self, verb: str, bundle: Path) -> tuple[object, ...]:
        """The command line of a verb; a delete in the storm is one by force."""
        return {
            "create": ("create", "--bundle", bundle, "c"),
            "start": ("start", "c"),
            "kill": ("kill", "c", "KILL"),
            "delete": ("delete", "--force", "c"),
        }[verb]

    def durations(self, bundle: Path) -> dict[str, float]:
        """How long each verb takes that nobody disturbs, in seconds."""
        found = {}
        for verb in VERBS:
            begin = time.monotonic()
            self.urunc.good(*self.words(verb, bundle))
            found[verb] = time.monotonic() - begin
        return found

    def round(self) -> None:
        names = sorted(self.kinds)
        name = self.chance.choices(names, [self.kinds[name].weight for name in names])[0]
        verb, victim = self.chance.choice(VERBS), self.chance.choice(VICTIMS)
        bundle = self.kinds[name].bundle
        for before in VERBS[: VERBS.index(verb)]:
            if before != "kill" or self.chance.random() < 0.5:
                self.urunc.good(*self.words(before, bundle))
        container = 0 if verb == "create" else int(self.urunc.state()["pid"])
        delay_s = self.chance.uniform(0, self.whole_s[name][verb])
        what = f"{victim} of {verb} of {name} after {delay_s * 1000:.2f} ms"
        with (self.urunc.directory / "struck").open("wb") as output:
            command = self.urunc.begin(
                self.urunc.words(*self.words(verb, bundle)), stdout=output, stderr=output, start_new_session=True
            )
            time.sleep(delay_s)  # the instant itself is what is tried
            hit = strike(victim, command.pid, container, self.chance)
            status = command.wait(60)
        self.struck[f"{verb} {hit}"] += 1
        # the machine is not always as fast as it was: the span follows what is hit and what is missed
        self.whole_s[name][verb] *= 0.7 if hit == "nobody" else 1.2
        if verb == "create" and status > 0:
            assert "gone" == self.urunc.status(), f"{what}: a create that fails leaves nothing"
        self.check(name, what)
        self.again(name, what)

    def check(self, name: str, what: str) -> None:
        status = self.urunc.status()
        assert status in STATUSES, what
        self.urunc.good("delete", "--force", "c")
        assert "gone" == self.urunc.status(), what
        # one that was not in the journal yet ends by itself, as it hears that its maker has gone
        until(lambda: not orphans(), f"{what}: the end of all processes")
        assert [] == self.urunc.remains(), what
        assert self.clean[name] == self.kinds[name].before(), what
        assert self.files[name] == tree(self.kinds[name].bundle), what
        assert self.loops == loops(self.urunc.directory), what

    def again(self, name: str, what: str) -> None:
        """The id can be used, and leaves nothing either."""
        self.urunc.good(*self.words("create", self.kinds[name].bundle))
        self.urunc.good("start", "c")
        self.check(name, f"after {what}")


def tree(bundle: Path) -> list[str]:
    return sorted(f"{path} {path.lstat().st_mtime_ns}" for path in bundle.rglob("*"))


def loops(directory: Path) -> list[str]:
    """Loop devices of files in `directory`: others are somebody else's."""
    files = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            files.append(path.read_text().strip())
        except OSError:
            continue  # given back meanwhile
    return [file for file in files if file.startswith(f"{directory}/")]


def test_nothing_is_left_whatever_is_killed_when(urunc: Runtime, kinds: dict[str, Kind]) -> None:
    storm = Storm(urunc, kinds, SEED)
    for number in range(ROUNDS):
        try:
            storm.round()
        except BaseException as error:
            error.add_note(f"round {number} of seed {SEED}; so far {dict(sorted(storm.struck.items()))}")
            raise
    print(dict(sorted(storm.struck.items())))

    assert storm.struck.total() == ROUNDS
    assert sum(count for key, count in storm.struck.items() if not key.endswith(" nobody")) > ROUNDS / 6
    assert set(children()) <= KNOWN
