"""Initrds of modules, in the order of what modules say that they need."""

import gzip
from pathlib import Path

import pytest

from urunc import modules


def module(directory: Path, name: str, info: bytes) -> None:
    path = directory / "kernel" / name
    path.parent.mkdir(exist_ok=True)
    content = b"\x7fELF\0license=GPL\0" + info + b"\0vermagic=6.1\0"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def names(archive: bytes) -> list[str]:
    return [part.split(b"\0")[0].decode() for part in archive.split(b".urunc/modules/")[1:]]


def test_what_a_module_needs_is_loaded_before(tmp_path: Path) -> None:
    module(tmp_path, "virtio_net.ko", b"depends=net_failover,virtio")
    module(tmp_path, "net_failover.ko.gz", b"depends=failover")
    module(tmp_path, "failover.ko", b"depends=")
    module(tmp_path, "virtio.ko", b"depends=ring")
    module(tmp_path, "ring.ko", b"depends=virtio")  # in a circle: not for ever
    module(tmp_path, "never.ko", b"depends=")
    module(tmp_path, "my-own.ko", b"softdep=pre: failover")

    archive = modules.archive(tmp_path, ("virtio_net", "my-own", "built_in"))

    order = ["failover.ko", "net_failover.ko.gz", "ring.ko", "virtio.ko", "virtio_net.ko", "my_own.ko"]
    assert [f"{number:03}-{name}" for number, name in enumerate(order)] == names(archive)
    assert 0 == len(archive) % 512


def test_a_directory_without_modules_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 1 == modules.main(["--directory", str(tmp_path), "--output", str(tmp_path / "o")])
    assert f"urunc.modules: {tmp_path} has no modules: name /lib/modules/RELEASE\n" == capsys.readouterr().err


def test_the_initrd_is_written(tmp_path: Path) -> None:
    module(tmp_path, "9p.ko", b"depends=")

    assert 0 == modules.main(["--directory", str(tmp_path), "--output", str(tmp_path / "o")])
    assert ["000-9p.ko"] == names((tmp_path / "o").read_bytes())
