"""The host's configuration and its cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from urunc import config
from urunc._record import replace
from urunc.config import Config, KernelConfig, MonitorConfig
from urunc.errors import HostError

FULL = """
fallback = "/usr/bin/crun"
accelerator = "tcg"
default_memory_mib = 512
memory_overhead_mib = 0
process_monitor = true
timestamps = "/var/log/urunc.log"
[monitors.qemu]
path = "/opt/qemu"
data_path = "/opt/share"
[monitors.cloud-hypervisor]
[linux.kernels."6.1-lts"]
path = "/boot/vmlinuz"
initrd = "/boot/initrd"
cmdline = "console=ttyS0 quiet"
[linux.kernels.bare]
path = "/boot/bare"
"""
EXPECTED = Config(
    fallback="/usr/bin/crun",
    accelerator="tcg",
    default_memory_mib=512,
    memory_overhead_mib=0,
    process_monitor=True,
    timestamps="/var/log/urunc.log",
    monitors=(
        MonitorConfig(name="qemu", path="/opt/qemu", data_path="/opt/share"),
        MonitorConfig(name="cloud-hypervisor"),
    ),
    kernels=(
        KernelConfig(name="6.1-lts", path="/boot/vmlinuz", initrd="/boot/initrd", cmdline="console=ttyS0 quiet"),
        KernelConfig(name="bare", path="/boot/bare"),
    ),
)


class Host:
    """A configuration file and a run directory."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "config.toml"
        self.run = directory / "run"
        self.run.mkdir(mode=0o700)
        self.cache = self.run / "config.cache"

    def load(self) -> Config:
        return config.load(str(self.file), str(self.run))

    def message(self, text: "str | bytes") -> str:
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(HostError) as caught:
            self.load()
        assert "\n" not in str(caught.value)
        assert not self.cache.exists()
        prefix = f"{self.file}: "
        assert str(caught.value).startswith(prefix)
        return str(caught.value)[len(prefix) :]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been parsed as TOML."""
    paths: list[str] = []
    original = config._parsed

    def parse(fd: int, path: str) -> dict[str, object]:
        paths.append(path)
        return original(fd, path)

    monkeypatch.setattr(config, "_parsed", parse)
    return paths


def test_missing_file_gives_the_defaults(host: Host) -> None:
    assert Config() == host.load()
    assert ("", "auto", 256, False, "", (), ()) == (
        Config().fallback,
        Config().accelerator,
        Config().default_memory_mib,
        Config().process_monitor,
        Config().timestamps,
        Config().monitors,
        Config().kernels,
    )
    assert not host.cache.exists()


def test_empty_file_gives_the_defaults(host: Host) -> None:
    host.file.touch()

    assert Config() == host.load() == host.load()


def test_every_key_has_its_field(host: Host) -> None:
    """Whether read from the file or from the cache."""
    host.file.write_text(FULL)

    assert EXPECTED == host.load()
    assert EXPECTED == host.load()


def test_unchanged_file_is_parsed_once(host: Host, parsed: list[str]) -> None:
    """And its cache is for nobody else, whatever the umask."""
    host.file.write_text(FULL)
    before = os.umask(0o277)
    try:
        host.load()
    finally:
        os.umask(before)
    host.load()

    assert 1 == len(parsed)
    assert 0o100600 == host.cache.stat().st_mode
    assert [host.cache] == list(host.run.iterdir())


def test_the_directory_of_the_cache_is_made(host: Host) -> None:
    """Whatever the monitor: a configuration must not cost its parser every time."""
    host.file.write_text('accelerator = "tcg"')
    directory = host.run / "run" / "@cache"
    config.load(str(host.file), str(directory))

    assert 0o40700 == directory.stat().st_mode
    assert [directory / host.cache.name] == list(directory.iterdir())


def test_cached_load_does_not_import_tomllib(host: Host) -> None:
    """That is what the cache is for: 11 ms."""
    host.file.write_text(FULL)
    host.load()
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); from urunc import config\n"
        "config.load(sys.argv[2], sys.argv[3]); print(*set(sys.modules) - before)"
    )
    arguments = [str(Path(config.__file__).parents[1]), str(host.file), str(host.run)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments], capture_output=True, text=True, check=True
    )

    assert set() == {"tomllib", "json", "re", "_json"} & set(done.stdout.split())


@pytest.mark.parametrize("change", ["size", "mtime", "inode", "path"])
def test_changed_file_is_parsed_again(host: Host, parsed: list[str], change: str) -> None:
    """Each part of the key counts."""
    host.file.write_text('accelerator = "tcg"')
    host.load()
    status = host.file.stat()
    if change == "size":
        host.file.write_text('accelerator = "auto"')
        os.utime(host.file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "mtime":
        os.utime(host.file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    else:
        other = host.file.with_name("other.toml")
        other.write_text('accelerator = "kvm"')
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        if change == "inode":
            other.rename(host.file)
        else:
            host.file = host.file.rename(host.file.with_name("renamed.toml"))
    found = host.load()

    assert 2 == len(parsed)
    assert {"size": "auto", "mtime": "tcg", "inode": "kvm", "path": "tcg"}[change] == found.accelerator
    assert found == host.load()
    assert 2 == len(parsed)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"null",
        b"[]",
        b"[null, null]",
        b"KEY",
        b"[KEY]",
        b"[KEY, []]",
        b'[KEY, {"unknown": 1}]',
        b'[KEY, {"accelerator": "xen"}]',
        b'[KEY, {"fallback": "relative"}]',
        b'[KEY, {"monitors": {"qemu": {"path": 1}}}]',
        b'[["other", 1, 2, 3, 4], {"accelerator": "kvm"}]',
        b'[KEY, {"accelerator": "kvm"}, 1]',
        b"[" + b" " * (1 << 20) + b'KEY, {"accelerator": "kvm"}]',
    ],
)
def test_broken_or_stale_cache_is_ignored(host: Host, content: bytes) -> None:
    host.file.write_text('accelerator = "tcg"')
    host.load()
    key = json.dumps(json.loads(host.cache.read_bytes())[0]).encode()
    host.cache.write_bytes(content.replace(b"KEY", key))

    assert Config(accelerator="tcg") == host.load()


def poisoned(host: Host) -> None:
    """Write a cache that says something else than the file."""
    host.file.write_text('accelerator = "tcg"')
    host.load()
    host.cache.write_text(host.cache.read_text().replace("tcg", "kvm"))
    assert "kvm" == host.load().accelerator


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666, 0o400, 0o4600])
def test_cache_of_another_mode_is_ignored(host: Host, mode: int) -> None:
    poisoned(host)
    host.cache.chmod(mode)

    assert "tcg" == host.load().accelerator


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_cache_of_another_user_is_ignored(host: Host) -> None:
    poisoned(host)
    os.chown(host.cache, 1, 1)

    assert "tcg" == host.load().accelerator


def test_cache_that_is_a_symlink_is_ignored(host: Host) -> None:
    poisoned(host)
    host.cache.rename(host.run / "elsewhere")
    host.cache.symlink_to("elsewhere")

    assert "tcg" == host.load().accelerator


def test_cache_that_is_a_pipe_is_ignored(host: Host) -> None:
    poisoned(host)
    host.cache.unlink()
    os.mkfifo(host.cache, 0o600)

    assert "tcg" == host.load().accelerator


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_directory_that_others_can_write_has_no_cache(host: Host, mode: int) -> None:
    """Neither is one read there nor written."""
    poisoned(host)
    host.run.chmod(mode)

    assert "tcg" == host.load().accelerator
    host.cache.unlink()
    host.load()
    assert [] == list(host.run.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_has_no_cache(host: Host) -> None:
    poisoned(host)
    os.chown(host.run, 1, 1)

    assert "tcg" == host.load().accelerator


def test_cache_that_cannot_be_written_is_no_error(host: Host) -> None:
    """No directory, a file in its place, a directory in the cache's place: the file is read all the same."""
    host.file.write_text(FULL)

    assert EXPECTED == config.load(str(host.file), str(host.file / "nope"))
    assert EXPECTED == config.load(str(host.file), str(host.file))
    host.cache.mkdir()
    assert EXPECTED == host.load()
    assert [host.cache] == list(host.run.iterdir())


def test_cache_written_by_halves_is_not_left(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk."""
    host.file.write_text(FULL)
    monkeypatch.setattr("posix.write", lambda _fd, data: len(data) - 1)

    assert EXPECTED == host.load()
    assert [] == list(host.run.iterdir())


def test_file_that_is_no_regular_one(host: Host) -> None:
    for make in (Path.mkdir, os.mkfifo):
        host.file = host.run / make.__name__
        make(host.file)

        with pytest.raises(HostError, match="must be a regular file"):
            host.load()


def test_file_that_cannot_be_opened(host: Host) -> None:
    host.file.symlink_to(host.file)

    with pytest.raises(HostError) as caught:
        host.load()

    assert f"{host.file}: too many levels of symbolic links" == str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("accelerator", "invalid TOML: expected '=' after a key in a key/value pair"),
        ("a = 1\na = 2", "invalid TOML: cannot overwrite a value"),
        (b'a = "\xff"', "invalid TOML: byte 5 is not UTF-8"),
        (b"\xef\xbb\xbfa = 1", "invalid TOML: invalid statement (at line 1, column 1)"),
        ("a = " + "[" * 100_000, "invalid TOML: "),
        ("a = " + "9" * 5000, "invalid TOML: exceeds the limit"),
    ],
)
def test_invalid_toml_is_refused(host: Host, text: "str | bytes", fault: str) -> None:
    assert host.message(text).startswith(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "acelerator = 1",
            f"acelerator is not known: allowed are {', '.join(Config.__slots__[:6])}, monitors, linux",
        ),
        ('"a\\nb" = 1', '"a\\nb" is not known: allowed are fallback'),
        ("[monitors.qemu]\nvhost = true", "monitors.qemu.vhost is not known: allowed are path, data_path"),
        ("[linux]\nkernel = 1", "linux.kernel is not known: allowed are kernels"),
        ("[linux.kernels.a]\nx = 1", "linux.kernels.a.x is not known: allowed are path, initrd, cmdline"),
        ('accelerator = "xen"', 'accelerator is "xen": it must be one of auto, kvm, tcg'),
        ("accelerator = true", "accelerator is true: it must be one of auto, kvm, tcg"),
        ('fallback = "runc"', 'fallback is "runc": it must be an absolute path'),
        ('fallback = "/a\\u0000"', 'fallback is "/a\\u0000": it must be a string without NUL bytes'),
        ('fallback = "/a\\nb"', 'fallback is "/a\\nb": it must be an absolute path'),
        ("fallback = 1", "fallback is 1: it must be a string without NUL bytes"),
        ('timestamps = "log"', 'timestamps is "log": it must be an absolute path'),
        ("timestamps = 1979-05-27", "timestamps is 1979-05-27: it must be a string without NUL bytes"),
        ("process_monitor = 1", "process_monitor is 1: it must be true or false"),
        ('process_monitor = "true"', 'process_monitor is "true": it must be true or false'),
        (
            "default_memory_mib = true",
            "default_memory_mib is true: it must be a whole number of MiB from 1 to 16777216",
        ),
        ("default_memory_mib = 0", "default_memory_mib is 0: it must be a whole number of MiB from 1 to 16777216"),
        ("default_memory_mib = 1.5", "default_memory_mib is 1.5: it must be a whole number of MiB from 1 to"),
        ("default_memory_mib = nan", "default_memory_mib is nan: it must be a whole number of MiB from 1 to"),
        ('default_memory_mib = "1G"', 'default_memory_mib is "1G": it must be a whole number of MiB from 1 to'),
        ("default_memory_mib = 0x1" + "0" * 9000, "default_memory_mib is out of range: it must be a whole number"),
        ("memory_overhead_mib = -1", "memory_overhead_mib is -1: it must be a whole number of MiB from 1 to"),
        ("memory_overhead_mib = false", "memory_overhead_mib is false: it must be a whole number of MiB from 1 to"),
        ("monitors = 1", "monitors is 1: it must be a table"),
        ("monitors = []", "monitors is an array: it must be a table"),
        ('[monitors]\nqemu = "/x"', 'monitors.qemu is "/x": it must be a table'),
        ('[monitors.qemu]\npath = "x"', 'monitors.qemu.path is "x": it must be an absolute path'),
        ("[monitors.qemu.path]", "monitors.qemu.path is a table: it must be a string without NUL bytes"),
        ('[monitors."a b"]', "monitors: name \"a b\" must be of letters, digits, '-', '_' and '.'"),
        ('[monitors."é"]', "monitors: name \"\\u00e9\" must be of letters, digits, '-', '_' and '.'"),
        ('[linux.kernels.""]', "linux.kernels: name \"\" must be of letters, digits, '-', '_' and '.'"),
        ("linux = 1", "linux is 1: it must be a table"),
        ("[linux]\nkernels = 1", "linux.kernels is 1: it must be a table"),
        ("[linux.kernels]\na = 1", "linux.kernels.a is 1: it must be a table"),
        ("[linux.kernels.a]", "linux.kernels.a.path must be given: the absolute path of a kernel"),
        ('[linux.kernels.a]\npath = ""', "linux.kernels.a.path must be given: the absolute path of a kernel"),
        ('[linux.kernels.a]\npath = "vmlinuz"', 'linux.kernels.a.path is "vmlinuz": it must be an absolute path'),
        ("[linux.kernels.a]\ncmdline = []", "linux.kernels.a.cmdline is an array: it must be a string"),
    ],
)
def test_wrong_value_is_refused_by_name(host: Host, text: str, fault: str) -> None:
    """File, key, value and what is allowed."""
    assert host.message(text).startswith(fault)


def test_configuration_is_a_value() -> None:
    assert EXPECTED == replace(EXPECTED, accelerator="tcg")
    assert hash(EXPECTED) == hash(replace(EXPECTED))
