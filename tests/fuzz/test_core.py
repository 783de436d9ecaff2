"""A few seconds of hostile plans, records, journals and images for the C core, with sanitizers; their corpora first.

A journal is undone in a pid, mount and network namespace of its own, among things that are not the container's: a
process, a directory that looks like a cgroup, a link.  All of them must be there afterwards.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.spt_images import BAD_IMAGES
from tests.fuzz import fuzzers

from urunc import _fastpath
from urunc._fastpath import Json

JOURNALS = (
    b"process 1 1\n",
    b"process {pid} {start}0\nprocess -1 0\nprocess 0 0\n",
    b"cgroup memory 1 {directory}\ncgroup memory 3 {directory}/a/b\ncgroup cgroup2 1 /\ncgroup\n",
    b"network lo tap0_urunc 1 /proc/self/ns/net\nnetwork  \nnetwork eth0 lo 0 /etc\n",
    b"rules 4026531840 1 2 /proc/self/ns/net\nsnapshot {directory}/kept\n",
    b"file {directory}/kept\nmount /\nunknown\nprocess 99999999999999999999 1\n\n\n",
)
PLAN = [
    ("stage", "sandbox"),
    ("join", 1 << 30, "/run/netns/x"),
    ("clone", 0),
    ("stage", "root"),
    ("directory", "dev", 0o755),
    ("file", "f", 0o444, b"a\0b"),
    ("stage", "enter"),
    ("hook", -1, "/bin/true", ("true", "a b", ""), ("A=1",), 3, b"{}", "/", "createRuntime hook #0"),
    ("mount", "/a", "/b", "bind", (4096, 0, 0, 0, 0), ""),
    ("stage", "exec"),
    ("groups", (1, 2, 3)),
    ("exec", "/m", ("m", "x"), ()),
]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("fuzzers")
    probe = directory / "probe.c"
    probe.write_text("int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return 0; }\n")
    link = ("clang", f"-fsanitize=fuzzer,{fuzzers.SANITIZERS}")
    if not shutil.which("clang"):
        pytest.skip("clang is not installed (ci/setup installs it): NOTHING IS FUZZED")
    ended = subprocess.run((*link, probe, "-o", directory / "probe"), capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"clang has no libFuzzer (ci/setup installs libclang-rt-dev): NOTHING IS FUZZED: {ended.stderr}")
    return fuzzers.build(directory, ("clang", f"-fsanitize=fuzzer-no-link,{fuzzers.SANITIZERS}"), link)


def corpus_with(directory: Path, name: str, seeds: dict[str, bytes]) -> Path:
    """The target's corpus and what belongs to this build or this run."""
    whole = directory / "corpus"
    shutil.copytree(fuzzers.CORPUS / name, whole)
    for key, content in seeds.items():
        (whole / f"made-{key}").write_bytes(content)
    return whole


def seeds_of(name: str, directory: Path) -> dict[str, bytes]:
    """What this build makes: good inputs keep up with the format, and bad ones with the tests of the tender."""
    if name == "plan":
        return {"whole": _fastpath.pack(PLAN), "short": _fastpath.pack(PLAN[:3])}
    if name == "record":
        fd = os.open(directory, os.O_RDONLY)
        _fastpath.write_state(fd, "running", os.getpid(), 1, 0, (b'{"id": "c",\n', b'"a":', Json(b"{}"), b"}"))
        os.close(fd)
        return {"whole": (directory / "record").read_bytes()}
    if name == "spt_image":
        return {str(number): content for number, (content, _) in enumerate(BAD_IMAGES.values())}
    return {}


@pytest.mark.parametrize("name", [name for name in fuzzers.TARGETS if name != "journal"])
def test_hostile_bytes_are_refused_or_kept_to_their_word(programs: dict[str, Path], tmp_path: Path, name: str) -> None:
    made = tmp_path / "made"
    made.mkdir()
    corpus = corpus_with(tmp_path, name, seeds_of(name, made))

    assert "DONE" in fuzzers.fuzz((programs[name],), tmp_path, corpus, fuzzers.SECONDS)


@pytest.mark.skipif(os.geteuid() != 0, reason="what undoes a journal needs a cage of namespaces")
def test_a_hostile_journal_removes_nothing_that_is_not_the_containers(
    programs: dict[str, Path], tmp_path: Path
) -> None:
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
        corpus = corpus_with(tmp_path, "journal", seeds)

        assert "DONE" in fuzzers.fuzz((programs["journal"],), tmp_path, corpus, fuzzers.SECONDS, caged=True)
        assert bystander.poll() is None
        assert "kept" == (kept / "file").read_text()
        assert (kept / "a" / "b").is_dir(), "an empty directory that is no cgroup was removed"
    finally:
        bystander.kill()
        bystander.wait()
