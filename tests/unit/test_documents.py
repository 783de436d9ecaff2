"""The features document, the starting config.json and the texts for people."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from urunc import __version__, documents, monitors, seccomp, unikernels
from urunc.errors import UruncError
from urunc.request import GLOBALS, VERBS, Request


@pytest.fixture
def process_monitor(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> bool:
    """The host's configuration has process_monitor = the fixture's parameter."""
    switch = bool(getattr(request, "param", False))
    module = ModuleType("urunc.config")
    module.__dict__["load"] = lambda _path: SimpleNamespace(process_monitor=switch)
    monkeypatch.setitem(sys.modules, "urunc.config", module)
    return switch


@pytest.mark.parametrize("process_monitor", [False, True], indirect=True)
def test_features_says_what_holds(process_monitor: bool) -> None:
    features = json.loads(documents.features(Request(verb="features")))

    assert features["ociVersionMin"] == "1.0.0"
    assert features["ociVersionMax"] == "1.3.0"
    assert features["hooks"][0] == "prestart"
    assert features["mountOptions"] == []
    assert features["linux"]["namespaces"] == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert features["linux"]["cgroup"]["v1"] is True
    assert features["linux"]["seccomp"]["enabled"] is True
    assert set(features["linux"]["seccomp"]["actions"]) == {
        *seccomp.ACTIONS,
        *({seccomp.NOTIFY} if process_monitor else ()),
    }
    assert set(features["linux"]["seccomp"]["supportedFlags"]) == {
        *seccomp.FLAGS,
        *(seccomp.LISTENER_FLAGS if process_monitor else ()),
    }
    assert set(features["linux"]["seccomp"]["operators"]) == {f"SCMP_CMP_{name}" for name in seccomp.OPERATORS}
    assert len(features["linux"]["capabilities"]) == 41
    assert features["annotations"]["org.urunc.version"] == __version__
    assert sorted(monitors.MODULES) == features["annotations"]["org.urunc.monitors"].split(",")
    assert sorted(unikernels.MODULES) == features["annotations"]["org.urunc.unikernels"].split(",")


@pytest.mark.parametrize("process_monitor", [False, True], indirect=True)
def test_features_tells_that_containers_may_be_no_virtual_machines(process_monitor: bool) -> None:
    annotations = json.loads(documents.features(Request(verb="features")))["annotations"]

    assert ("org.urunc.process-monitor" in annotations) is process_monitor


def test_spec_writes_a_config_for_a_linux_guest(process_monitor: bool, tmp_path: Path) -> None:
    documents.spec(Request(verb="spec", bundle=str(tmp_path)))
    config = json.loads((tmp_path / "config.json").read_text())

    assert config["ociVersion"] == "1.3.0"
    assert config["process"]["args"]
    assert config["process"]["cwd"] == "/"
    assert config["annotations"]["com.urunc.unikernel.unikernelType"] == "linux"


def test_spec_leaves_an_existing_config_alone(process_monitor: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("elsewhere")

    with pytest.raises(UruncError, match=r"^File config\.json exists\. Remove it first$"):
        documents.spec(Request(verb="spec", bundle=str(tmp_path)))
    assert os.listdir(tmp_path) == ["config.json"]


def test_spec_for_a_rootless_container_is_refused(process_monitor: bool, tmp_path: Path) -> None:
    with pytest.raises(UruncError, match=r"rootless.* process_monitor = true"):
        documents.spec(Request(verb="spec", bundle=str(tmp_path), rootless=True))
    assert os.listdir(tmp_path) == []


def test_version_has_the_lines_that_clients_look_for() -> None:
    lines = [f"urunc version {__version__}", f"commit: {__version__}", "spec: 1.3.0"]

    assert lines == documents.version(Request(verb="version")).splitlines()


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_help_of_a_verb_names_its_options(verb: str) -> None:
    text = documents.help_(Request(verb="help", topic=verb))

    assert f"urunc {verb}" in text
    assert all(f"--{option}" in text for option in [*VERBS[verb][4].split(), "help"])
    assert max(map(len, text.splitlines())) <= 120


def test_the_help_of_the_program_names_verbs_and_global_options() -> None:
    text = documents.help_(Request(verb="help"))

    assert all(f"\n   {verb} " in text for verb in VERBS)
    assert all(f"\n   --{option}" in text for option in GLOBALS)


def test_help_of_an_unknown_verb_is_status_3() -> None:
    with pytest.raises(UruncError, match="No help topic for 'bogus'") as caught:
        documents.help_(Request(verb="help", topic="bogus"))
    assert caught.value.status == 3
