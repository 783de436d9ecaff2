"""What a container costs by the command line, against crun and runc: rows of ratios, in one run, of one config.json.

The one rule: all runtimes are in one mount namespace with one view of the control groups, which `ci/bench` makes.
"""

import argparse
import ctypes
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "src")]

from bench import bundle as of_all  # noqa: E402
from bench import embedding, instructions, memory  # noqa: E402
from bench.chart import chart  # noqa: E402
from bench.rig import IDLE_S, NULL, Row, Runtime, Size, collect, idle  # noqa: E402

URUNC = REPOSITORY / "dist" / "urunc"
PEERS = {"crun": "/usr/bin/crun", "runc": "/usr/sbin/runc"}
PYTHON = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
DEADLINE_S = 20.0
PARTS = ("cli", "api", "instructions")


def cycle(runtime: Runtime, bundle: Path) -> dict[str, float]:
    """Create, start, exit, delete: the ms of each, and of all."""
    begin = time.perf_counter()
    create, pid = runtime.create(bundle)
    start = runtime("start", "c")
    os.waitpid(pid, 0)
    delete = runtime("delete", "c")
    total = (time.perf_counter() - begin) * 1000
    return {"create": create, "start": start, "delete": delete, "total": total}


def killed_cycle(runtime: Runtime, bundle: Path) -> dict[str, float]:
    """The commands that the other cycle has not."""
    _, pid = runtime.create(bundle)
    state = runtime("state", "c")
    kill = runtime("kill", "c", "KILL")
    os.waitpid(pid, 0)
    runtime("delete", "c")
    return {"state": state, "kill": kill}


def whole_rows(urunc: Runtime, peers: list[Runtime], bundle: Path, rounds: int) -> list[Row]:
    """The life of a container, and the commands alone."""
    everybody = [urunc, *peers]
    busy = collect(everybody, rounds, lambda runtime: cycle(runtime, bundle))
    paused = collect(everybody, max(rounds // 3, 15), idle(lambda runtime: cycle(runtime, bundle)))
    killed = collect(everybody, rounds, lambda runtime: killed_cycle(runtime, bundle))
    targets = {"crun": (0.7, 0.45), "runc": (0.35, 0.35)}
    rows = []
    for peer in (peer.name for peer in peers):
        back_to_back, with_pauses = targets.get(peer, (1.0, 1.0))
        ours, theirs = busy["urunc"], busy[peer]
        rested = paused["urunc"]["total"], paused[peer]["total"]
        rows += [
            Row(f"create + start + exit + delete / {peer}", back_to_back, ours["total"], theirs["total"]),
            Row(f"the same / {peer}, {IDLE_S} s of idleness before", with_pauses, *rested),
        ]
    for what, found in (("start", busy), ("state", killed), ("kill", killed), ("delete", busy)):
        rows.append(Row(f"{what} / crun", 0.4, found["urunc"][what], found["crun"][what]))
    return rows


def create_row(urunc: Runtime, bundle: Path, rounds: int) -> Row:
    """Create against the start of an interpreter that does nothing."""
    python = Runtime("python3", PYTHON[0], urunc.root)

    def once(runtime: Runtime) -> dict[str, float]:
        if runtime is python:
            return {"time": python.spawn(*PYTHON)}
        return {"time": removed(urunc, bundle)}

    found = collect([urunc, python], rounds, once)
    return Row("create / python3 -I -S -c pass", 1.25, found["urunc"]["time"], found["python3"]["time"])


def removed(urunc: Runtime, bundle: Path, name: str = "c") -> float:
    took, pid = urunc.create(bundle, name)
    urunc("delete", "--force", name)
    os.waitpid(pid, 0)
    return took


def grown(bundle: Path, directory: Path, size: int) -> Path:
    """A bundle whose config.json has `size` bytes: more environment, mounts and annotations, as orchestrators write."""
    config = json.loads((bundle / "config.json").read_text())
    number = 0
    while len(json.dumps(config)) < size:
        number += 1
        config["process"]["env"].append(f"SERVICE_{number}_PORT_8080_TCP_ADDR=10.0.{number % 256}.1")
        config["annotations"][f"io.kubernetes.example/key-{number}"] = f"value {number} " + "x" * 40
    made = directory / f"grown-{size}"
    made.mkdir()
    (made / "rootfs").symlink_to(bundle / "rootfs")
    (made / "config.json").write_text(json.dumps(config))
    return made


def flat_rows(urunc: Runtime, bundle: Path, directory: Path, rounds: int) -> list[Row]:
    """Create with more of everything against create as it is."""
    crowded = Runtime("crowded", urunc.program, Path("/run/urunc-bench-crowded"))
    configured = Runtime("configured", urunc.program, urunc.root)
    toml = directory / "config.toml"
    toml.write_text('accelerator = "auto"\n[monitors.qemu]\npath = "/usr/bin/qemu-system-x86_64"\n')
    configured.environment = {**urunc.environment, "URUNC_CONFIG_FILE": str(toml)}
    crowded.root.mkdir()
    _, first = crowded.create(bundle, "first")
    for number in range(1000):
        shutil.copytree(crowded.root / "first", crowded.root / f"other{number}", ignore=lambda *_: ["start.sock"])
    variants: dict[str, tuple[Runtime, Path]] = {
        "plain": (urunc, bundle),
        "a config.json of 10 kB": (urunc, grown(bundle, directory, 10_000)),
        "a config.json of 200 kB": (urunc, grown(bundle, directory, 200_000)),
        "1,000 containers under --root": (crowded, bundle),
        "a config.toml": (configured, bundle),
    }
    found: dict[str, list[float]] = {what: [] for what in variants}
    for _ in range(rounds + 2):
        for what, (runtime, path) in variants.items():
            found[what].append(removed(runtime, path))
    crowded("delete", "--force", "first")
    os.waitpid(first, 0)
    shutil.rmtree(crowded.root)
    plain = found.pop("plain")[2:]
    return [Row(f"create with {what} / without", 1.2, times[2:], plain) for what, times in found.items()]


def mounts_row(urunc: Runtime, bundle: Path, directory: Path, rounds: int) -> Row:
    """In turns of ten: making the mounts each time would be most of the time."""
    found: dict[str, list[float]] = {"few": [], "many": []}
    for _ in range(max(rounds // 10, 3)):
        found["few"] += [removed(urunc, bundle) for _ in range(12)][2:]
        places = [directory / f"mount{number}" for number in range(500)]
        for place in places:
            place.mkdir(exist_ok=True)
            mount("tmpfs", place)
        found["many"] += [removed(urunc, bundle) for _ in range(12)][2:]
        for place in places:
            LIBC.umount2(str(place).encode(), 2)
    return Row("create with 500 more mounts on the host / without", 1.2, found["many"], found["few"])


LIBC = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, place: Path) -> None:
    if LIBC.mount(kind.encode(), str(place).encode(), kind.encode(), 0, None) < 0:
        raise OSError(ctypes.get_errno(), f"mount {place}")


def planner_row(urunc: Runtime, crun: Runtime, bundle: Path, rounds: int) -> Row:
    """With the resident planner, which is started here."""
    argv = [str(URUNC), "planner"]
    streams = [(os.POSIX_SPAWN_DUP2, NULL, fd) for fd in (0, 1, 2)]
    pid = os.posix_spawn(argv[0], argv, urunc.environment, file_actions=streams)
    try:
        end = time.monotonic() + DEADLINE_S
        while not Path("/run/urunc/@planner").exists() and time.monotonic() < end:
            time.sleep(0.05)
        found = collect([urunc, crun], rounds, lambda runtime: cycle(runtime, bundle))
    finally:
        os.kill(pid, 15)
        os.waitpid(pid, 0)
    times = found["urunc"]["total"], found["crun"]["total"]
    return Row("create + start + exit + delete with the planner / crun", 0.35, *times)


def main() -> int:
    """Measure, print, write; 1 if a row is missed."""
    parser = argparse.ArgumentParser(prog="ci/bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, beside it the chart as SVG")
    parser.add_argument("--peer", action="append", default=[], metavar="PATH", help="one more OCI runtime")
    parser.add_argument("--rounds", type=int, default=60, help="default: 60")
    parser.add_argument("--only", choices=PARTS, help="the rows of the command line, of the embedding API, or counts")
    options = parser.parse_args()
    LIBC.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: containers' processes are ours to wait for
    with tempfile.TemporaryDirectory(prefix="urunc-bench-") as name:
        bundle = of_all.made(Path(name))
        rows: list[Row] = []
        sizes: list[Size] = []
        counts: list[instructions.Count] = []
        if options.only in (None, "cli"):
            peers = PEERS | {Path(path).name: path for path in options.peer}
            add(rows, sizes, measure(Path(name), bundle, peers, options.rounds))
        if options.only in (None, "api"):
            add(rows, sizes, embedding.measure(bundle, Path(name), options.rounds))
        if options.only in (None, "instructions"):
            counts = counted(bundle, Path(name))
    print(*[row.judge().line() for row in rows], sep="\n")
    for what, value, most in sizes:
        print(f"{what:<66} {value:6.1f}                  <= {most:<5} {'met' if value <= most else 'MISSED'}")
    print(*[count.line() for count in counts], sep="\n")
    if options.json:
        write(options.json, rows, sizes, counts)
    missed = [row.missed for row in rows] + [count.missed for count in counts]
    return int(any(missed) or any(value > most for _, value, most in sizes))


def write(path: Path, rows: list[Row], sizes: list[Size], counts: list[instructions.Count]) -> None:
    """What was measured, as JSON, and the chart of the ratios beside it."""
    document = {"machine": os.uname().release, "cpus": os.cpu_count(), "rows": [row.document() for row in rows]}
    document["sizes"] = [{"what": what, "value": value, "target": most} for what, value, most in sizes]
    document["instructions"] = [count.document() for count in counts]
    path.write_text(json.dumps(document, indent=1) + "\n")
    if rows:
        path.with_suffix(".svg").write_text(chart([(r.what, r.ratio, r.low, r.high, r.target) for r in rows]))


def add(rows: list[Row], sizes: list[Size], found: tuple[list[Row], list[Size]]) -> None:
    rows += found[0]
    sizes += found[1]


def counted(bundle: Path, directory: Path) -> list[instructions.Count]:
    """Instructions beside times; none without valgrind."""
    if not shutil.which("valgrind"):
        print("instructions: not counted, valgrind is not installed")
        return []
    urunc = Runtime("urunc", str(URUNC), Path("/run/urunc-bench-counted"))
    urunc.root.mkdir(0o700)
    place = directory / "counts"
    place.mkdir()
    bundles = grown(bundle, place, 10_000), grown(bundle, place, 200_000)
    return instructions.measure(urunc, PEERS["crun"], bundles, place)


def measure(directory: Path, bundle: Path, peers: dict[str, str], rounds: int) -> tuple[list[Row], list[Size]]:
    """All that is measured by the command line."""
    runtimes = [Runtime(name, path, Path(f"/run/urunc-bench-{name}")) for name, path in peers.items()]
    urunc = Runtime("urunc", str(URUNC), Path("/run/urunc-bench-urunc"))
    for runtime in (urunc, *runtimes):
        runtime.root.mkdir(0o700)
    rows = whole_rows(urunc, runtimes, bundle, rounds)
    rows.append(create_row(urunc, bundle, rounds))
    rows += flat_rows(urunc, bundle, directory, rounds)
    rows.append(mounts_row(urunc, bundle, directory, rounds))
    rows.append(planner_row(urunc, runtimes[0], bundle, rounds))
    return rows, memory.sizes(urunc, bundle, directory)


if __name__ == "__main__":
    sys.exit(main())
