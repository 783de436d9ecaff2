"""A few seconds of hostile plans, records and journals for the C core, with sanitizers.

A journal is undone in a pid, mount and network namespace of its own, among things that are not the container's: a
process, a directory that looks like a cgroup, a link.  All of them must be there afterwards.
"""

import os
import random
import subprocess
from pathlib import Path

import pytest

from urunc import _fastpath

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "src" / "_fastpath"
FLAGS = ("-std=gnu11", "-O1", "-g", "-w", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
SECONDS = int(os.environ.get("URUNC_FUZZ_SECONDS", "2"))
JOURNALS = (
    b"process 1 1\n",
    b"process {pid} {start}0\nprocess -1 0\nprocess 0 0\n",
    b"cgroup memory 1 {directory}\ncgroup memory 3 {directory}/a/b\ncgroup cgroup2 1 /\ncgroup\n",
    b"network lo tap0_urunc 1 /proc/self/ns/net\nnetwork  \nnetwork eth0 lo 0 /etc\n",
    b"file {directory}/kept\nmount /\nunknown\nprocess 99999999999999999999 1\n\n\n",
)


@pytest.fixture(scope="session")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core's half without Python and without what only urunc-init has."""
    program = tmp_path_factory.mktemp("fuzz") / "core"
    subprocess.run([HERE.parents[1] / "ci" / "build", "--sanitize"], check=True, stdin=subprocess.DEVNULL)
    library = HERE.parents[1] / "build" / "sanitize" / "libfastpath_core.so"
    command: list[str | Path] = ["gcc", *FLAGS, "-iquote", SOURCES, HERE / "core.c", library, "-o", program]
    built = subprocess.run([*command, f"-Wl,-rpath,{library.parent}"], capture_output=True, text=True, check=False)

    assert built.returncode == 0, built.stderr
    return program


def fuzz(fuzzer: Path, kind: str, directory: Path, seeds: dict[str, bytes]) -> None:
    """The seed is printed when something is found; it decides all that is tried."""
    corpus = directory / "corpus"
    corpus.mkdir()
    for name, content in seeds.items():
        (corpus / name).write_bytes(content)
    (directory / "state").mkdir()
    number = random.randrange(1 << 32)
    files = sorted(corpus.iterdir())
    command: list[str | Path] = [fuzzer, kind, str(SECONDS), str(number), directory / "state", *files]
    apart = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--net", "--kill-child"]
    # of the machine nothing but `directory` can be written to, and no control group is in reach, whatever a bug may try
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && umount -R -l /sys/fs/cgroup && exec "$@"'
    caged = [*apart, "sh", "-c", script, directory, *command]
    done = subprocess.run(caged, capture_output=True, text=True, check=False, timeout=120 + SECONDS)

    assert done.returncode == 0, f"{kind}: {SECONDS} s with seed {number}:\n{done.stdout[-2000:]}{done.stderr[-6000:]}"
    assert int(done.stdout.split()[0]) > 0


def test_hostile_plans_are_refused_or_whole(fuzzer: Path, tmp_path: Path) -> None:
    plain = [
        ("stage", "sandbox"),
        ("join", 1 << 30, "/run/netns/x"),
        ("clone", 0),
        ("stage", "root"),
        ("directory", "dev", 0o755),
        ("file", "f", 0o444, b"a\0b"),
        ("stage", "enter"),
        ("hook", -1, "/bin/true", ("true", "a b", ""), ("A=1",), 3, b"{}", "/"),
        ("mount", "/a", "/b", "bind", (4096, 0, 0, 0, 0), ""),
        ("stage", "exec"),
        ("groups", (1, 2, 3)),
        ("exec", "/m", ("m", "x"), ()),
    ]
    fuzz(fuzzer, "plan", tmp_path, {"whole": _fastpath.pack(plain), "short": _fastpath.pack(plain[:3])})


def test_hostile_records_are_refused_or_shown(fuzzer: Path, tmp_path: Path) -> None:
    source = tmp_path / "made"
    source.mkdir()
    fd = os.open(source, os.O_RDONLY)
    _fastpath.write_state(fd, "running", os.getpid(), 1, 0, '{"id": "c",\n', '"bundle": "/b"}')
    os.close(fd)
    fuzz(fuzzer, "record", tmp_path, {"record": (source / "record").read_bytes(), "empty": b"\0" * 64})


def test_a_hostile_journal_removes_nothing_that_is_not_the_containers(fuzzer: Path, tmp_path: Path) -> None:
    """Nor does it end a process: this one has a pid that journals name, outside of the fuzzer's namespace."""
    kept = tmp_path / "kept"
    (kept / "a" / "b").mkdir(parents=True)
    (kept / "file").write_text("kept")
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        start = Path(f"/proc/{bystander.pid}/stat").read_text().rpartition(")")[2].split()[19]
        words = {b"{pid}": str(bystander.pid), b"{start}": start, b"{directory}": str(kept)}
        seeds = {}
        for number, journal in enumerate(JOURNALS):
            content = journal
            for name, value in words.items():
                content = content.replace(name, value.encode())
            seeds[str(number)] = content
        fuzz(fuzzer, "journal", tmp_path, seeds)

        assert bystander.poll() is None
        assert "kept" == (kept / "file").read_text()
        assert (kept / "a" / "b").is_dir(), "an empty directory that is no cgroup was removed"
    finally:
        bystander.kill()
        bystander.wait()
