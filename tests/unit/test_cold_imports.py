"""What a command of the path of a container imports: what stands here, and nothing else (DESIGN, section 7)."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.container import REPOSITORY, Runtime

PYTHON = "/usr/bin/python3"
# the command runs in this process, with nothing of the site or of the user
RUN = """
import sys
before = set(sys.modules)
sys.path.append(sys.argv.pop(1))
report = sys.argv.pop(1)
import os
from urunc import cli
status = cli.main(sys.argv[1:], os.environ)
with open(report, "w") as file:
    file.write("\\n".join(sorted(set(sys.modules) - before)))
os._exit(status)
"""
# os and what it brings
STANDARD = {"os", "os.path", "errno", "stat", "_stat", "posixpath", "genericpath", "_collections_abc", "abc", "_abc"}
NATIVE = {"cython_runtime"}  # what Cython registers for itself
CLI = {"urunc", *(f"urunc.{name}" for name in ("cli", "arguments", "errors", "request", "_record"))}
RUNTIME = {
    f"urunc.{name}"
    for name in (
        *(
            "_fastpath",
            "annotations",
            "bundle",
            "spec",
            "cage",
            "config",
            "credentials",
            "delegate",
            "facts",
            "hooks",
            "image",
            "jsontext",
            "launch",
        ),
        *(
            "kvm",
            "lifecycle",
            "machine",
            "monitors",
            "network",
            "plan",
            "runtime",
            "state",
            "storage",
            "trace",
            "wanted",
        ),
        *("cgroup", "devices", "limits", "resources", "slots", "snapshot"),
        "unikernels",
        *("payload", "shared"),
    )
}
# command -> what it may load beside STANDARD, CLI and RUNTIME
ALLOWED: dict[str, set[str]] = {
    "create": {
        *("urunc.closure", "urunc.monitors.qemu", "urunc.mounts", "urunc.tree", "urunc.uinit"),
        *("urunc.calls", f"urunc.calls_{os.uname().machine}"),
        "urunc.unikernels.linux",
    },
    "start": set(),
    "state": set(),
    "kill": set(),
    "delete": set(),
}
# what must never be among them, whatever else changes
NEVER = {"re", "enum", "typing", "dataclasses", "functools", "collections", "json", "argparse", "subprocess", "signal"}


def loaded(urunc: Runtime, *words: object) -> set[str]:
    """The modules that a command loads which the bare interpreter has not."""
    report = urunc.directory / "modules"
    command = [PYTHON, "-I", "-S", "-c", RUN, REPOSITORY / "src", report, "--root", urunc.root, *words]
    ended = urunc.run([str(word) for word in command])

    assert (0, "") == (ended.returncode, ended.stderr)
    return set(report.read_text().split())


@pytest.fixture
def commands(urunc: Runtime, bundle: Any) -> dict[str, set[str]]:
    """Every command once, on a container of the ordinary kind: without hooks."""
    path = bundle()
    urunc.good("create", "--bundle", path, "warm")  # the monitor's tree and the configuration are in their caches
    words: dict[str, tuple[object, ...]] = {
        "create": ("create", "--bundle", path, "--pid-file", urunc.directory / "pid", "c"),
        "state": ("state", "c"),
        "start": ("start", "c"),
        "kill": ("kill", "c", "KILL"),
        "delete": ("delete", "--force", "c"),
    }
    return {command: loaded(urunc, *given) for command, given in words.items()}


def test_a_command_loads_what_it_needs(commands: dict[str, set[str]]) -> None:
    """A module that is new here costs every container its import: say in docs/ what it costs, and add it."""
    new = {
        command: sorted(modules - STANDARD - NATIVE - CLI - RUNTIME - ALLOWED[command])
        for command, modules in commands.items()
    }

    assert {command: [] for command in ALLOWED} == new
    for modules in commands.values():
        assert set() == NEVER & modules


def test_nothing_is_allowed_that_nobody_loads(commands: dict[str, set[str]]) -> None:
    everything = set().union(*commands.values())
    allowed = CLI | RUNTIME | set().union(*ALLOWED.values())

    assert [] == sorted(allowed - everything)


def test_a_configuration_that_has_not_changed_costs_no_parser(urunc: Runtime, bundle: Any) -> None:
    """tomllib takes 11 ms to import: it is for a file that has changed."""
    urunc.config.write_text('accelerator = "tcg"\n')
    path = bundle()
    first = loaded(urunc, "create", "--bundle", path, "one")
    second = loaded(urunc, "create", "--bundle", path, "two")

    assert "tomllib" in first
    assert [] == sorted(second - STANDARD - NATIVE - CLI - RUNTIME - ALLOWED["create"])


def test_the_archive_loads_no_more_than_the_sources_and_its_own_loader(urunc: Runtime, bundle: Any) -> None:
    """By the interpreter's own account (-X importtime), which has no builtin modules."""
    words = [PYTHON, "-I", "-S", "-X", "importtime", *urunc.words("create", "--bundle", bundle(), "c")]
    ended = urunc.run(words)
    names = {line.rsplit("|", 1)[1].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}

    assert 0 == ended.returncode
    assert set() == names & (NEVER - {"functools", "collections", "enum", "re"})
    for name in ("urunc.runtime", "urunc.launch"):
        assert name in names


def test_an_import_of_the_package_does_no_work(tmp_path: Path) -> None:
    """No file is opened but its own, nothing else is loaded."""
    script = "import sys; before = set(sys.modules); import urunc; print(*sorted(set(sys.modules) - before))"
    environment = {"PYTHONPATH": str(REPOSITORY / "src"), "PATH": os.environ["PATH"]}
    ended = subprocess.run(
        [PYTHON, "-S", "-c", script], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert ["urunc"] == ended.stdout.split()
    assert [] == os.listdir(tmp_path)
