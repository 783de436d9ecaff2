"""Questions to the machine, asked of made-up roots and of this process."""

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_plan import SPEC, UNIKERNEL

from urunc import _fastpath, facts, image, kvm, monitors
from urunc._record import replace
from urunc.config import Config, KernelConfig, MonitorConfig
from urunc.errors import HostError, SpecError, UnikernelError
from urunc.spec import Mount

QEMU = monitors.load("qemu")


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A rootfs with a file that looks like a kernel, and a secret beside it."""
    (tmp_path / "rootfs" / "boot").mkdir(parents=True)
    (tmp_path / "rootfs" / "boot" / "kernel").write_bytes(b"\x1f\x8b\x08" + bytes(100))
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "rootfs"


def host(rootfs: Path, config: Config | None = None, **keys: str) -> facts.Host:
    unikernel = replace(UNIKERNEL, **({"binary": "/boot/kernel", "accelerator": "tcg"} | keys))
    return facts.host(replace(SPEC, rootfs=str(rootfs)), unikernel, QEMU, config or Config())


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_urunc_json_is_read_from_the_rootfs(rootfs: Path) -> None:
    assert image.urunc_json(str(rootfs)) is None
    (rootfs / "urunc.json").write_text('{"a": "b"}')

    assert {"a": "b"} == image.urunc_json(str(rootfs))


@pytest.mark.parametrize("text", ["", "[]", "{", "7", "{}" + " " * (1 << 20)])
def test_a_broken_urunc_json_is_an_error_by_name(rootfs: Path, text: str) -> None:
    (rootfs / "urunc.json").write_text(text)
    with pytest.raises((UnikernelError, SpecError), match=r"urunc\.json"):
        image.urunc_json(str(rootfs))


def test_a_missing_rootfs_is_an_error_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"invalid rootfs: .*nope: no such file or directory"):
        image.urunc_json(f"{tmp_path}/nope")


def test_no_question_leaves_a_descriptor_open(rootfs: Path) -> None:
    """Answered or not."""
    before = open_descriptors()
    (rootfs / "urunc.json").write_text("{}")
    image.urunc_json(str(rootfs))
    facts.network(SPEC, os.getpid())
    facts.close(host(rootfs))
    broken: tuple[dict[str, Any], ...] = (
        {"binary": "/nope"},
        {"initrd": "/nope"},
        {"kernel": "nope"},
        {"binary": "/boot"},
    )
    for keys in broken:
        with pytest.raises(UnikernelError):
            host(rootfs, **keys)
    with pytest.raises(HostError):
        host(rootfs, Config(monitors=(MonitorConfig(name="qemu", path="/nope"),)))

    assert before == open_descriptors()


def test_the_files_of_the_guest_are_opened_once(rootfs: Path) -> None:
    """What was looked at is what is handed on, whatever its name becomes."""
    (rootfs / "initrd").write_bytes(b"initrd")
    found = host(rootfs, initrd="initrd")
    (rootfs / "boot" / "kernel").unlink()
    kernel, initrd = found.files

    assert [("kernel", "/boot/kernel"), ("initrd", "initrd")] == [(file.role, file.name) for file in found.files]
    assert ("gzip", 103) == (kernel.kinds[0], kernel.size)
    assert b"initrd" == os.pread(initrd.fd, 10, 0)
    assert [False, False] == [os.get_inheritable(file.fd) for file in found.files]
    facts.close(found)


@pytest.mark.parametrize(
    ("link", "target"), [("a", "/boot/kernel"), ("b", "../../boot/kernel"), ("c/../a", "boot/kernel")]
)
def test_a_symlink_inside_is_followed_inside(rootfs: Path, link: str, target: str) -> None:
    """An absolute target starts at the rootfs, and `..` does not go above it."""
    (rootfs / "c").mkdir()
    (rootfs / link.rpartition("/")[2]).symlink_to(target)
    facts.close(host(rootfs, binary=link))


@pytest.mark.parametrize(
    "target", ["../secret", "../../secret", "{outside}/secret", "/proc/self/root/etc/passwd", "loop"]
)
def test_a_symlink_does_not_lead_outside(rootfs: Path, target: str) -> None:
    (rootfs / "loop").symlink_to(target.format(outside=rootfs.parent))
    with pytest.raises(UnikernelError, match="loop"):
        host(rootfs, binary="/loop")


@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "socket"])
def test_a_file_of_the_guest_is_a_regular_one(rootfs: Path, kind: str) -> None:
    """A device of the rootfs could be a disk of the host; opening a pipe must not wait."""
    path = rootfs / "odd"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o020600, os.makedev(1, 5))
    else:
        os.mknod(path, 0o140600)
    with pytest.raises(UnikernelError, match="odd"):
        host(rootfs, binary="/odd")


def test_a_kernel_of_the_host_needs_its_name_in_the_configuration(rootfs: Path) -> None:
    config = Config(kernels=(KernelConfig(name="6.1", path=str(rootfs / "boot" / "kernel"), initrd="/etc/hostname"),))
    (rootfs / "initrd").write_text("")
    found = host(rootfs, config, kernel="6.1", binary="", initrd="/initrd")

    assert ["kernel", "initrd", "initrd1"] == [file.role for file in found.files]
    facts.close(found)
    with pytest.raises(UnikernelError, match=r'kernel "5.4" is not in the host\'s configuration, which has: 6.1'):
        host(rootfs, config, kernel="5.4")


def test_a_monitor_is_found_without_a_path(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman's environment has none; a relative entry of it is not looked at."""
    monkeypatch.delenv("PATH", raising=False)
    facts.close(host(rootfs))
    (rootfs.parent / "qemu-system-x86_64").write_text("")
    (rootfs.parent / "qemu-system-x86_64").chmod(0o755)
    monkeypatch.chdir(rootfs.parent)
    monkeypatch.setattr(facts, "PROGRAM_DIRECTORIES", ())
    monkeypatch.setenv("PATH", ":.:")
    with pytest.raises(HostError, match="monitor qemu not found: install qemu-system-x86_64"):
        host(rootfs)


def test_the_network_of_the_host_is_nobodys() -> None:
    """A container that shares it gets no interface: the guest must not take over the host's."""
    assert facts.Network(is_host=True) == facts.network(SPEC, os.getpid())


def test_a_new_network_namespace_has_nothing_for_a_guest() -> None:
    """Not lo, and not the tunnels' templates that the kernel puts into every new one."""
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "echo; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdout.readline()
    found = facts.network(SPEC, process.pid)
    process.stdin.close()
    process.wait(10)
    process.stdout.close()

    assert () == found.interfaces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 10.0.0.1\n", ("10.0.0.1",)),
        ("# nameserver 1\n\nsearch x\nnameserver\tfd00::1 x\nnameserver\n", ("fd00::1",)),
        ("".join(f"nameserver 10.0.0.{n}\n" for n in range(5)), ("10.0.0.0", "10.0.0.1", "10.0.0.2")),
        ("\xff", ()),
    ],
)
def test_name_servers_are_those_of_the_container(rootfs: Path, text: str, expected: tuple[str, ...]) -> None:
    """Of its rootfs, or of the file that the client mounts there; the last mount counts."""
    (rootfs / "etc").mkdir()
    (rootfs / "etc" / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    (rootfs.parent / "resolv").write_bytes(text.encode("latin-1"))
    mount = Mount(destination="/etc/resolv.conf", type="bind", source=str(rootfs.parent / "resolv"), options=())
    spec = replace(SPEC, rootfs=str(rootfs))

    assert ("192.0.2.1",) == facts._name_servers(spec)
    assert expected == facts._name_servers(replace(spec, mounts=(replace(mount, source="/nope"), mount)))


ANSWERS = {0: "none", 1: "limited", 2: "full"}


@pytest.mark.parametrize("answer", ANSWERS)
def test_kvm_is_asked_once_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    asked = []

    def probe() -> int:
        asked.append(1)
        return answer

    monkeypatch.setattr(kvm, "_probe", probe)
    cache = str(tmp_path / "cache")

    assert [ANSWERS[answer]] * 3 == [kvm.level(cache) for _ in range(3)]
    assert 1 == len(asked)
    assert 0o600 == (tmp_path / "cache" / "kvm").stat().st_mode & 0o777


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": "other", "kvm": "full"}', '{"boot": "{boot}", "kvm": "x"}'])
def test_an_answer_of_another_boot_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(kvm, "_probe", lambda: 1)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "kvm").write_text(text.replace("{boot}", boot))

    assert "limited" == kvm.level(str(tmp_path))
    assert {"boot": boot, "kvm": "limited"} == json.loads((tmp_path / "kvm").read_text())


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "_probe", lambda: 2)

    assert "full" == kvm.level("/proc/nope")


def test_kvm_is_not_asked_where_it_is_not_wanted(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "_probe", lambda: pytest.fail("asked"))
    found = host(rootfs, accelerator="tcg")
    facts.close(found)

    assert "unasked" == found.kvm


@pytest.mark.parametrize("name", ["../secret", "/../secret", "boot/../../secret", "/proc/self/exe", "//secret"])
def test_a_path_is_resolved_as_if_the_rootfs_were_the_root(rootfs: Path, name: str) -> None:
    """openat2(2), RESOLVE_IN_ROOT."""
    root_fd = os.open(rootfs, os.O_PATH)
    with pytest.raises(OSError) as caught:  # noqa: PT011  the errno is what is asserted
        _fastpath.open_in_root(root_fd, name)
    os.close(root_fd)

    assert caught.value.errno in (errno.ENOENT, errno.ELOOP, errno.EXDEV)
