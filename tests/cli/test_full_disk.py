"""No space where something is to be written: one line of error, and nothing is left."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import PROGRAM, Result, Runtime
from tests.guests import build

# a file system of its own, which is full but for nothing or little, and what was left in it told on standard output
FULL = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && { [ -z "$3" ] || head -c "$3" /dev/zero >"$2/x"; }; shift 3; '


def create(urunc: Runtime, full: Path, size: str, filled: str, *words: object) -> Result:
    """Run `create` with a small file system on the directory `full`, in a mount namespace where that is all."""
    full.mkdir(exist_ok=True)
    script = FULL + f'"$@"; status=$?; find "{full}" -mindepth 1 ! -name x ! -name .lock; exit $status'
    command = ("unshare", "--mount", "sh", "-c", script, "sh", size, str(full), filled)
    return urunc.run([*command, *map(str, words)])


@pytest.mark.parametrize("size", ["64k", "1m,nr_inodes=4"])
def test_no_space_for_the_state(urunc: Runtime, bundle: Callable[..., Path], tmp_path: Path, size: str) -> None:
    root = tmp_path / "full"
    filled = "65536" if size == "64k" else ""
    ended = create(urunc, root, size, filled, PROGRAM, "--root", root, "create", "--bundle", bundle(), "c")

    assert (1, "") == (ended.returncode, ended.stdout)
    assert "no space left on device: free some space there" in ended.stderr
    assert 1 == ended.stderr.count("\n")


def test_no_space_for_the_monitor_s_tree(urunc: Runtime, bundle: Callable[..., Path]) -> None:
    where = Path("/run/urunc")
    ended = create(urunc, where, "2m", "", *urunc.words("create", "--bundle", bundle(), "c"))

    assert 1 == ended.returncode
    assert "in /run/urunc/@cache/trees: no space left on device: free some space there" in ended.stderr.lower()
    assert 1 == ended.stderr.count("\n")
    assert [] == [line for line in ended.stdout.splitlines() if "qemu" in line]
    assert "gone" == urunc.status()


def test_an_initrd_that_does_not_fit_into_the_guest(urunc: Runtime, bundle: Callable[..., Path]) -> None:
    """Of a rootfs that is larger than the memory: what was written of it is gone with the monitor's root."""
    kernel = build.hello(build.default_cache())
    urunc.config.write_text(f'[linux.kernels.k]\npath = "{kernel}"\nroot = "initrd"\n')
    keys = {"unikernelType": "linux", "hypervisor": "qemu", "kernel": "k"}
    annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
    directory = bundle(annotations=annotations, linux={"resources": {"memory": {"limit": 16 << 20}}})
    shutil.copy(build.BUSYBOX, directory / "rootfs" / "app")
    with (directory / "rootfs" / "large").open("wb") as file:
        file.write(os.urandom(1 << 20) * 40)
    ended = urunc("create", "--bundle", directory, "c")

    assert 1 == ended.returncode
    assert "write the guest's initrd large: no space left on device: it may be as large as the guest's memory" in (
        ended.stderr
    )
    assert 1 == ended.stderr.count("\n")
    assert "gone" == urunc.status()
