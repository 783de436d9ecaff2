"""Containers of Solo5 guests of the spt kind, from config.json to the exit status, and through containerd."""

import itertools
import os
import re
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.container import CONFIG, Runtime, exit_status, merged, process_state, read, until, write_bundle
from tests.e2e.containerd import Containerd, wait_until
from tests.e2e.spt_images import BLOCK, HVT, NET, VIRTIO, abi, device, elf, manifest
from tests.guests import build as guest_cache
from tests.guests import spt_build

from urunc.pack import File, pack

Make = Callable[..., Path]
End = tuple[str, str, int, str]  # guest, its argument, exit status, how stderr begins

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]

KEYS = {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/guest"}
GREETING = (
    "hello: {line}\nmemory {memory}\ndevices 0\nbytes of bss that are set 0\n"
    "stack in the last page 1\nheap can be written 1\nData\n"
)
DISK = b"first sector    ".ljust(16384, b"\0")
NAMES = itertools.count()


@pytest.fixture(scope="session")
def spt_guests() -> dict[str, Path]:
    return spt_build.build(guest_cache.default_cache())


@pytest.fixture
def spt(tmp_path: Path, spt_guests: dict[str, Path]) -> Make:
    """Makes bundles: a guest of tests/guests/spt by its name or an image by its path, as /guest, and its arguments.

    `files` are more of the rootfs, by content; `keys` more annotations; the rest changes config.json key by key.
    """

    def make(
        guest: str | Path,
        *args: str,
        files: dict[str, bytes] | None = None,
        keys: dict[str, str] | None = None,
        **changes: Any,
    ) -> Path:
        annotations = {f"com.urunc.unikernel.{key}": value for key, value in {**KEYS, **(keys or {})}.items()}
        config = merged(merged(CONFIG, {"annotations": annotations, "process": {"args": list(args)}}), changes)
        source = spt_guests[guest] if isinstance(guest, str) else guest
        bundle = write_bundle(tmp_path / f"b{next(NAMES)}", {"guest": source}, config)
        for name, content in (files or {}).items():
            (bundle / "rootfs" / name).write_bytes(content)
        return bundle

    return make


def image(directory: Path, *notes: bytes) -> Path:
    """A guest that ends with 9 at once, with notes of the test's."""
    path = directory / "image"
    path.write_bytes(elf(notes=notes))
    return path


def refused(urunc: Runtime, bundle: Path) -> str:
    """The one line of a create that fails; nothing is left of it."""
    ended = urunc("create", "--bundle", bundle, "c")

    assert (1, "") == (ended.returncode, ended.stdout)
    assert re.fullmatch(r"[^\n]+ level=error msg=\"urunc create failed: [^\n]+\"\n", ended.stderr), ended.stderr
    assert "gone" == urunc.status()
    assert [] == urunc.remains()
    return ended.stderr


def started(urunc: Runtime, bundle: Path, line: str) -> tuple[int, Path]:
    """Create and start a container; its pid and output, which has `line` already."""
    pid = urunc.create(bundle)
    output = next(path for path in sorted(urunc.directory.glob("out.*")) if os.path.samefile(path, f"/proc/{pid}/fd/1"))
    urunc.good("start", "c")
    until(lambda: line in read(output), f"the guest says {line!r}")
    return pid, output


# The command line.


def test_hello(urunc: Runtime, spt: Make) -> None:
    """256 MiB unless the container has a limit; it is gone when `run` returns."""
    ended = urunc("run", "--bundle", spt("hello", "one", "--two=2"), "c")

    expected = GREETING.format(line="one --two=2", memory=256 << 20)
    assert (0, expected, "") == (ended.returncode, ended.stdout, ended.stderr)
    assert [] == urunc.remains()


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("two  three", r"two\ \ three"),
        ("it's", r"it\'s"),
        ('"quoted"', r"\"quoted\""),
        ("back\\slash", r"back\\slash"),
        ("tab\there", "tab\\\there"),
        ("two\nlines", "two\\\nlines"),
        ("größe", "größe"),
        ("--", "--"),
        ("$HOME;*", "$HOME;*"),
    ],
)
def test_words_are_quoted_as_mirage_takes_them_apart(urunc: Runtime, spt: Make, word: str, quoted: str) -> None:
    ended = urunc("run", "--bundle", spt("hello", "first", word, "last"), "c")

    assert 0 == ended.returncode, ended.stderr
    assert f"hello: first {quoted} last\nmemory " in ended.stdout


def test_memory_is_the_containers_limit(urunc: Runtime, spt: Make) -> None:
    bundle = spt("hello", "x", linux={"resources": {"memory": {"limit": 4 << 20}}})

    assert "\nmemory 4194304\n" in urunc("run", "--bundle", bundle, "c").stdout


def test_the_annotation_is_the_command_line_of_a_placeholder(urunc: Runtime, spt: Make) -> None:
    bundle = spt("hello", "unikernel", keys={"cmdline": "from the  image"})

    assert "hello: from the image\n" in urunc("run", "--bundle", bundle, "c").stdout


def test_an_argument_that_cannot_be_said_is_refused(urunc: Runtime, spt: Make) -> None:
    assert "empty argument" in refused(urunc, spt("hello", "one", ""))


def test_a_line_of_any_length_that_the_guest_takes(urunc: Runtime, spt: Make) -> None:
    """8191 bytes; one more is refused."""
    ended = urunc("run", "--bundle", spt("hello", "x" * 8191), "c")

    assert 0 == ended.returncode, ended.stderr
    assert f"hello: {'x' * 8191}\n" in ended.stdout
    assert "8192 bytes" in refused(urunc, spt("hello", "x" * 8192))


# Exit status.

FAULT = "urunc-spt: guest fault: {}"
ENDS: list[End] = [
    ("exit", "0", 0, ""),
    ("exit", "7", 7, ""),
    ("exit", "254", 254, ""),
    ("exit", "255", 255, "urunc-spt: guest aborted"),
    ("fault", "write-text", 139, FAULT.format("SIGSEGV at 0x")),
    ("fault", "read-null", 139, FAULT.format("SIGSEGV at 0x")),
    ("fault", "illegal", 132, FAULT.format("SIGILL at 0x")),
    ("fault", "divide", 136, FAULT.format("SIGFPE at 0x")),
    ("fault", "call-getpid", 159, FAULT.format("SIGSYS: system call 0x27")),
    ("fault", "call-open", 159, FAULT.format("SIGSYS: system call 0x2")),
    ("fault", "call-i386", 159, 'time="'),  # a warning: the filter itself has ended it
]


@pytest.mark.parametrize("end", ENDS)
def test_status_of_run(urunc: Runtime, spt: Make, end: End) -> None:
    """The guest's own, 255 for an abort, 128 + n for signal n although the tender is pid 1; one line on stderr."""
    guest, word, status, said = end
    ended = urunc("run", "--bundle", spt(guest, word), "c")

    assert status == ended.returncode, ended.stderr
    assert ended.stderr.startswith(said)
    assert bool(said) == bool(ended.stderr)
    assert "alive" not in ended.stdout
    assert [] == urunc.remains()


@pytest.mark.parametrize("end", ENDS)
def test_status_of_a_detached_container(urunc: Runtime, spt: Make, end: End) -> None:
    """What a shim, who reaps it, is told; the container is `stopped` then."""
    guest, word, status, _ = end
    pid = urunc.create(spt(guest, word))
    urunc.good("start", "c")

    assert status == exit_status(pid)
    assert "stopped" == urunc.status()
    urunc.good("delete", "c")
    assert [] == urunc.remains()


# Block devices.


def block(spt: Make, *args: str, **more: Any) -> Path:
    return spt("block", *args, files={"disk.img": DISK}, keys={"block": "/disk.img"}, **more)


def test_block_device(urunc: Runtime, spt: Make) -> None:
    """The image file of the rootfs, which the guest may write; nothing but the last sector has changed."""
    bundle = block(spt, "copy")
    ended = urunc("run", "--bundle", bundle, "c")

    said = "capacity 16384\nsector 512\nattached 1\nread 512\nfirst sector    \nwritten 512\n"
    assert (0, said, "") == (ended.returncode, ended.stdout, ended.stderr)
    pattern = bytes(ord("a") + i % 26 for i in range(512))
    assert DISK[:-512] + pattern == (bundle / "rootfs/disk.img").read_bytes()


@pytest.mark.parametrize("reach", ["read-beyond", "write-beyond", "write-long"])
def test_reach_beyond_the_disk(urunc: Runtime, spt: Make, reach: str) -> None:
    bundle = block(spt, reach)

    assert 159 == urunc("run", "--bundle", bundle, "c").returncode
    assert (bundle / "rootfs/disk.img").read_bytes() == DISK


def test_block_device_of_a_read_only_container(urunc: Runtime, spt: Make) -> None:
    """Whatever else happens, the file stays as it is; the guest is told by an error or never started."""
    bundle = block(spt, "copy", root={"readonly": True})
    ended = urunc("run", "--bundle", bundle, "c")

    assert DISK == (bundle / "rootfs/disk.img").read_bytes()
    assert "written 512" not in ended.stdout
    assert [] == urunc.remains()


def test_the_first_device_can_be_named(urunc: Runtime, spt: Make) -> None:
    bundle = spt("block", "copy", files={"disk.img": DISK}, keys={"block": "/disk.img", "solo5BlkDev": "disk"})
    assert 0 == urunc("run", "--bundle", bundle, "c").returncode

    bundle = spt("block", "copy", files={"disk.img": DISK}, keys={"block": "/disk.img", "solo5BlkDev": "other"})
    said = refused(urunc, bundle)
    assert "other" in said
    assert "disk" in said.replace("disk.img", "")


def test_block_device_that_is_a_directory(urunc: Runtime, spt: Make) -> None:
    bundle = spt("block", "copy", keys={"block": "/disk"})
    (bundle / "rootfs/disk").mkdir()

    assert "not a regular file" in refused(urunc, bundle)


# What the container does not have, or the tender cannot load: refused at create, by name.


def test_a_block_device_that_the_container_does_not_have(urunc: Runtime, spt: Make) -> None:
    assert "block device disk" in refused(urunc, spt("block", "copy"))


def test_a_network_device_that_the_container_does_not_have(urunc: Runtime, spt: Make) -> None:
    """A network may come between create and start; nobody can bring one between the two of run."""
    ended = urunc("run", "--bundle", spt("net", "10.0.0.1", "1"), "c")

    assert 1 == ended.returncode
    assert "network device service" in ended.stderr
    assert [] == urunc.remains()


def test_a_second_device_that_the_container_does_not_have(urunc: Runtime, spt: Make, tmp_path: Path) -> None:
    guest = image(tmp_path, abi(), manifest(device(b"data", BLOCK), device(b"scratch", BLOCK)))
    bundle = spt(guest, files={"disk.img": DISK}, keys={"block": "/disk.img"})

    assert "block device scratch" in refused(urunc, bundle)


def test_a_block_device_that_the_guest_does_not_declare(urunc: Runtime, spt: Make) -> None:
    bundle = spt("hello", "x", files={"disk.img": DISK}, keys={"block": "/disk.img"})

    assert "disk.img" in refused(urunc, bundle)


@pytest.mark.parametrize(("target", "name"), [(HVT, "hvt"), (VIRTIO, "virtio"), (77, "solo5")])
def test_an_image_for_another_tender(urunc: Runtime, spt: Make, tmp_path: Path, target: int, name: str) -> None:
    said = refused(urunc, spt(image(tmp_path, abi(target), manifest())))

    assert "binary /guest" in said
    assert name in said


@pytest.mark.parametrize(
    "notes",
    [(abi(), manifest(count=2)), (abi(), manifest(device(b"a", NET), device(b"a", NET))), (abi(),), (manifest(),), ()],
)
def test_an_image_with_broken_notes(urunc: Runtime, spt: Make, tmp_path: Path, notes: tuple[bytes, ...]) -> None:
    assert "/guest" in refused(urunc, spt(image(tmp_path, *notes)))


def test_an_image_that_is_no_solo5_guest(urunc: Runtime, spt: Make) -> None:
    said = refused(urunc, spt(Path("/bin/busybox")))

    assert "binary /guest" in said
    assert "solo5-spt" in said


def test_a_framework_that_does_not_run_on_it(urunc: Runtime, spt: Make) -> None:
    said = refused(urunc, spt("hello", "x", keys={"unikernelType": "linux"}))

    assert "linux" in said
    assert "spt" in said


# Its end by a signal.


@pytest.mark.parametrize("doing", ["sleep", "spin"])
@pytest.mark.parametrize(("number", "status"), [("TERM", 143), ("INT", 130), ("KILL", 137)])
def test_kill(urunc: Runtime, spt: Make, doing: str, number: str, status: int) -> None:
    pid, output = started(urunc, spt("wait", doing), "waiting\n")
    assert "running" == urunc.status()

    urunc.good("kill", "c", number)

    assert status == exit_status(pid)
    assert "waiting\n" == read(output)
    urunc.good("delete", "c")
    assert [] == urunc.remains()


@pytest.mark.parametrize("by", ["urunc kill", "a signal to urunc run"])
def test_end_of_a_container_in_the_foreground(urunc: Runtime, spt: Make, by: str) -> None:
    """As soon as the guest runs, `urunc run` hands on what it is told."""
    output = urunc.directory / "foreground"
    with output.open("wb") as file:
        process = urunc.begin(urunc.words("run", "--bundle", spt("wait", "sleep"), "c"), stdout=file, stderr=file)
    try:
        until(lambda: "waiting\n" in read(output), "the guest waits")
        if by == "urunc kill":
            urunc.good("kill", "c", "TERM")
        else:
            process.send_signal(signal.SIGTERM)

        assert 143 == process.wait(10)
    finally:
        process.kill()
        process.wait()
    assert "waiting\n" == read(output)
    assert [] == urunc.remains()


def test_timer(urunc: Runtime, spt: Make) -> None:
    assert "waiting\n" + 3 * "in time\n" == urunc("run", "--bundle", spt("wait", "timer"), "c").stdout


# What the container's process has: next to nothing.


def test_the_process_has_next_to_nothing(urunc: Runtime, spt: Make) -> None:
    pid, _ = started(urunc, spt("wait", "sleep", process={"env": ["SECRET=1"]}), "waiting\n")
    status = dict(line.split(":\t", 1) for line in read(Path(f"/proc/{pid}/status")).splitlines() if ":\t" in line)
    fds = {int(name): os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}

    assert {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} == {
        key for key, value in status.items() if key.startswith("Cap") and int(value, 16) == 0
    }
    assert ("2", "1") == (status["Seccomp"], status["NoNewPrivs"])
    assert "" == read(Path(f"/proc/{pid}/environ"))
    assert b"urunc-spt\0--mem=256\0--\0/guest/kernel\0sleep\0" == Path(f"/proc/{pid}/cmdline").read_bytes()
    assert {0, 1, 2} == {number for number in fds if number <= 2}
    others = [target for number, target in fds.items() if number > 2]
    assert set(others) <= {"anon_inode:[eventpoll]", "anon_inode:[timerfd]"}, fds
    assert "1" == status["NSpid"].split()[-1]


def test_it_runs_from_a_memfd_without_a_prepared_tree(urunc: Runtime, spt: Make) -> None:
    """Which is sealed: nobody can write to what runs."""
    pid, _ = started(urunc, spt("wait", "sleep"), "waiting\n")
    mapped = {line.split(maxsplit=5)[5] for line in read(Path(f"/proc/{pid}/maps")).splitlines() if line.count(" ") > 5}
    root = Path(f"/proc/{pid}/root")

    assert "/memfd:urunc-spt (deleted)" == os.readlink(f"/proc/{pid}/exe")
    assert [] == sorted(name for name in mapped if name[0] == "/" and "memfd:urunc-spt" not in name)
    assert ["dev", "guest"] == sorted(os.listdir(root))
    assert ["kernel"] == os.listdir(root / "guest")
    assert ["null"] == os.listdir(root / "dev")
    assert (1, 3) == (os.major((root / "dev/null").stat().st_rdev), os.minor((root / "dev/null").stat().st_rdev))
    assert stat.S_ISCHR((root / "dev/null").stat().st_mode)
    with pytest.raises(OSError, match=r"Text file busy|Operation not permitted"):
        os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))


def test_the_guests_file_is_mounted_read_only(urunc: Runtime, spt: Make) -> None:
    pid, _ = started(urunc, spt("wait", "sleep"), "waiting\n")

    assert {"ro", "nosuid", "nodev", "noexec"} <= mount_options(pid)["/guest/kernel"]


def mount_options(pid: int) -> dict[str, set[str]]:
    rows = (line.split() for line in read(Path(f"/proc/{pid}/mountinfo")).splitlines())
    return {row[4]: set(row[5].split(",")) for row in rows}


def test_its_user_is_the_containers(urunc: Runtime, spt: Make) -> None:
    bundle = spt("wait", "sleep", process={"user": {"uid": 1234, "gid": 5678}})
    pid, _ = started(urunc, bundle, "waiting\n")
    status = read(Path(f"/proc/{pid}/status"))

    assert "\nUid:\t1234\t1234\t1234\t1234\n" in status
    assert "\nGid:\t5678\t5678\t5678\t5678\n" in status


def test_dry_run_makes_nothing(urunc: Runtime, spt: Make) -> None:
    shown = urunc.good("run", "--dry-run", "--bundle", spt("hello", "two words"), "c").splitlines()

    assert r"urunc-spt --mem=256 -- /guest/kernel 'two\ words'" == shown[-1]
    assert any(line.strip().startswith("exec_slot") for line in shown)
    assert not any("clone_tree" in line for line in shown)
    assert "gone" == urunc.status()


# Another tender, by the host's configuration.


def test_the_configuration_names_another_tender(urunc: Runtime, spt: Make, tmp_path: Path) -> None:
    """It comes from a prepared tree then.  Here it is our own one as a file."""
    pid, _ = started(urunc, spt("wait", "sleep"), "waiting\n")
    tender = tmp_path / "tender-of-a-test"
    shutil.copy(f"/proc/{pid}/exe", tender)
    tender.chmod(0o755)
    urunc.good("delete", "--force", "c")
    urunc.config.write_text(f'[monitors.spt]\npath = "{tender}"\n')

    pid, _ = started(urunc, spt("wait", "sleep"), "waiting\n")

    assert os.readlink(f"/proc/{pid}/exe").endswith("tender-of-a-test")
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(os.fsencode(tender) + b"\0--mem=256\0")
    urunc.good("kill", "c", "TERM")
    assert 143 == exit_status(pid)


def test_a_configured_tender_that_is_not_there(urunc: Runtime, spt: Make) -> None:
    urunc.config.write_text('[monitors.spt]\npath = "/nowhere/solo5-spt"\n')

    said = refused(urunc, spt("hello", "x"))

    assert "monitors.spt.path" in said
    assert "/nowhere/solo5-spt" in said


def solo5_spt() -> str:
    found = os.environ.get("SOLO5_SPT") or shutil.which("solo5-spt")
    if not found:
        pytest.skip("no solo5-spt to run a container with: neither $SOLO5_SPT nor on PATH")
    return found


@pytest.mark.parametrize(
    "end",
    [("hello", "a b", 0, r"hello: a\ b"), ("exit", "7", 7, "exiting"), ("fault", "write-text", 139, "write-text")],
)
def test_solo5_spt(urunc: Runtime, spt: Make, end: End) -> None:
    guest, word, status, said = end
    urunc.config.write_text(f'[monitors.spt]\npath = "{solo5_spt()}"\n')

    ended = urunc("run", "--bundle", spt(guest, word), "c")

    assert status == ended.returncode, ended.stderr
    assert said in ended.stdout.splitlines()


def test_solo5_spt_has_a_disk(urunc: Runtime, spt: Make) -> None:
    urunc.config.write_text(f'[monitors.spt]\npath = "{solo5_spt()}"\n')

    assert "\nwritten 512\n" in urunc("run", "--bundle", block(spt, "copy"), "c").stdout


# Life by hand.


def test_create_has_the_guest_wait_for_start(urunc: Runtime, spt: Make) -> None:
    urunc.good("create", "--bundle", spt("hello", "x"), "--pid-file", urunc.directory / "pid", "c")
    output, pid = urunc.output, int(read(urunc.directory / "pid"))

    assert "created" == urunc.status()
    assert "S" == process_state(pid)
    assert "" == read(output)
    urunc.good("start", "c")
    assert 0 == exit_status(pid)
    assert read(output).startswith("hello: x\n")
    urunc.good("delete", "c")


def test_an_image_that_is_replaced_after_create_never_runs(urunc: Runtime, spt: Make, tmp_path: Path) -> None:
    """Either the one that was checked runs, or start fails by name."""
    bundle = spt("exit", "5")
    pid = urunc.create(bundle)
    other = image(tmp_path, abi(), manifest())
    other.replace(bundle / "rootfs/guest")
    ended = urunc("start", "c")

    if ended.returncode:
        assert "guest/kernel" in ended.stderr
    else:
        assert 5 == exit_status(pid)


def test_an_image_that_is_broken_after_create_is_refused_by_the_tender(urunc: Runtime, spt: Make) -> None:
    bundle = spt("exit", "5")
    pid = urunc.create(bundle)
    (bundle / "rootfs/guest").write_bytes(b"something else, written into the same file")
    urunc.good("start", "c")

    assert 1 == exit_status(pid)


# Through containerd.

RUN = ("run", "--rm", "--runtime", "io.containerd.urunc.v2")


@pytest.fixture(scope="module")
def images(
    containerd: Containerd, tmp_path_factory: pytest.TempPathFactory, spt_guests: dict[str, Path]
) -> dict[str, str]:
    """Images of the guests in containerd."""
    directory = tmp_path_factory.mktemp("spt-images")
    made = {}
    for guest in ("hello", "exit", "wait", "fault"):
        name = f"docker.io/library/spt-{guest}:latest"
        pack(directory / guest, name, [File(source=str(spt_guests[guest]), path="/guest")], KEYS, ["from", "image"])
        assert name == containerd.import_image(directory / guest)
        made[guest] = name
    return made


@pytest.fixture
def name(containerd: Containerd) -> Iterator[str]:
    """A container's name; ends what the test left."""
    name = f"urunc-spt-{os.getpid()}-{next(NAMES)}"
    yield name
    if containerd.task_status(name):
        containerd.ctr("task", "delete", "--force", name)
    if name in containerd.ctr("container", "ls", "-q").stdout.split():
        containerd.ctr("container", "delete", name)
    wait_until(lambda: not containerd.left_of(name), f"nothing is left of {name}")


def test_ctr_run(containerd: Containerd, images: dict[str, str], name: str) -> None:
    ended = containerd.ctr(*RUN, images["hello"], name, "first", "second word")

    assert GREETING.format(line=r"first second\ word", memory=256 << 20) == ended.stdout
    assert "" == ended.stderr


def test_ctr_run_with_the_command_of_the_image(containerd: Containerd, images: dict[str, str], name: str) -> None:
    assert containerd.ctr(*RUN, images["hello"], name).stdout.startswith("hello: from image\n")


@pytest.mark.parametrize("end", [("exit", "7", 7), ("exit", "255", 255), ("fault", "nothing", 3)])
def test_exit_status_through_ctr(
    containerd: Containerd, images: dict[str, str], name: str, end: tuple[str, str, int]
) -> None:
    guest, word, status = end
    assert status == containerd.ctr(*RUN, images[guest], name, word, check=False).returncode


def test_fault_through_ctr(containerd: Containerd, images: dict[str, str], name: str) -> None:
    ended = containerd.ctr(*RUN, images["fault"], name, "write-text", check=False)

    assert 139 == ended.returncode
    assert "write-text\n" == ended.stdout
    assert "guest fault: SIGSEGV" in ended.stderr


def test_ctr_task_kill(containerd: Containerd, images: dict[str, str], name: str) -> None:
    log = containerd.directory / f"{name}.log"
    words = ("run", "--detach", "--log-uri", f"file://{log}", *RUN[2:], images["wait"], name, "sleep")
    containerd.ctr(*words)
    wait_until(lambda: log.exists() and "waiting\n" in log.read_text(), "the guest waits")
    containerd.ctr("task", "kill", "--signal", "SIGTERM", name)
    wait_until(lambda: containerd.task_status(name) == "STOPPED", "TERM ends it")

    assert "exit code 143" in containerd.ctr("task", "delete", name, check=False).stderr
    containerd.ctr("container", "delete", name)


def test_ctr_run_of_an_image_whose_guest_needs_a_disk(
    containerd: Containerd, spt_guests: dict[str, Path], tmp_path: Path, name: str
) -> None:
    image_name = "docker.io/library/spt-block:latest"
    (tmp_path / "disk").write_bytes(DISK)
    files = [
        File(source=str(spt_guests["block"]), path="/guest"),
        File(source=str(tmp_path / "disk"), path="/disk.img"),
    ]
    pack(tmp_path / "image", image_name, files, {**KEYS, "block": "/disk.img"}, ["copy"])
    assert image_name == containerd.import_image(tmp_path / "image")

    assert "\nwritten 512\n" in containerd.ctr(*RUN, image_name, name).stdout
