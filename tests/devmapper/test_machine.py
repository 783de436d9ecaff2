import pytest
from tests.devmapper import machine

pytestmark = pytest.mark.e2e


def test_machine_has_a_thin_pool_and_a_containerd_that_uses_it(uml: None) -> None:
    script = """
        set -e
        dmsetup table $DEVMAPPER_POOL
        ctr plugins ls | grep devmapper
        ctr snapshots --snapshotter devmapper prepare first >/dev/null
        dmsetup table $DEVMAPPER_POOL-snap-1
        mkdir /run/there
        mount /dev/mapper/$DEVMAPPER_POOL-snap-1 /run/there
        grep /run/there /proc/self/mountinfo
    """

    ended = machine.run(("bash", "-c", script), timeout_s=300)

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    pool, plugin, thin, mounted = ended.stdout.splitlines()
    assert "thin-pool" in pool
    assert plugin.split()[1:2] + plugin.split()[-1:] == ["devmapper", "ok"]
    assert thin.split()[2] == "thin"
    assert " - ext4 /dev/mapper/containerd-pool-snap-1 " in mounted


def test_machine_hands_over_output_and_status(uml: None) -> None:
    ended = machine.run(("sh", "-c", "echo out; echo err >&2; exit 7"), timeout_s=300, fs_type="")

    assert (7, "out\n", "err\n") == (ended.returncode, ended.stdout, ended.stderr)


def test_machine_cannot_change_the_host(uml: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("host") / "file"
    path.write_text("before")

    ended = machine.run(("sh", "-c", f"echo after > {path}; cat {path}"), timeout_s=300, fs_type="")

    assert (0, "after\n") == (ended.returncode, ended.stdout)
    assert "before" == path.read_text()


def test_machine_that_does_not_end_is_ended(uml: None) -> None:
    with pytest.raises(machine.MachineError, match="did not end in time"):
        machine.run(("sleep", "1000"), timeout_s=15, fs_type="")
