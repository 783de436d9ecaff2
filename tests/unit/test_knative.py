"""What becomes of the config.json of Knative's queue-proxy."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from urunc import knative

NAME = ("io.kubernetes.cri.container-name", "queue-proxy")
PROBE = '{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}'


def prepared(directory: Path, env: list[str], *annotations: tuple[str, str]) -> dict[str, Any]:
    document = {
        "ociVersion": "1.1.0",
        "process": {"env": env, "args": ["/ko-app/queue"]},
        "x": [1, 0.5, None, "\u00e9"],
    }
    (directory / "config.json").write_text(json.dumps(document))
    (directory / "config.json").chmod(0o640)
    knative.prepare(str(directory), (NAME, *annotations))
    made = json.loads((directory / "config.json").read_text())

    assert document == made | {"process": made["process"] | {"env": env}}
    assert 0o100640 == os.stat(directory / "config.json").st_mode
    assert ["config.json"] == os.listdir(directory)
    return dict(made)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PROBE, {"tcpSocket": {"port": 8080, "host": "172.16.1.2"}, "successThreshold": 1}),
        ('{"httpGet":{"path":"/"}}', {"httpGet": {"path": "/", "host": "172.16.1.2"}}),
        (f"[{PROBE}]", [{"tcpSocket": {"port": 8080, "host": "172.16.1.2"}, "successThreshold": 1}]),
        ('{"grpc":{"port":1}}', {"grpc": {"port": 1}}),
    ],
)
def test_the_readiness_probe_asks_the_guest(tmp_path: Path, before: str, after: object) -> None:
    env = prepared(tmp_path, ["A=1", f"SERVING_READINESS_PROBE={before}", "B="])["process"]["env"]

    assert ["A=1", "B=", "REDIRECT_IP=172.16.1.2"] == [env[0], *env[2:]]
    assert after == json.loads(env[1].removeprefix("SERVING_READINESS_PROBE="))


@pytest.mark.parametrize("probe", ["", "no JSON", "7", '{"tcpSocket":null}'])
def test_a_probe_that_is_none_stays(tmp_path: Path, probe: str) -> None:
    env = prepared(tmp_path, [f"SERVING_READINESS_PROBE={probe}", "REDIRECT_IP=1.2.3.4"])["process"]["env"]

    assert [f"SERVING_READINESS_PROBE={probe}", "REDIRECT_IP=172.16.1.2"] == env


@pytest.mark.parametrize("network", ["alone", "none"])
def test_a_pod_whose_guest_is_not_there_is_left_alone(tmp_path: Path, network: str) -> None:
    env = [f"SERVING_READINESS_PROBE={PROBE}"]

    assert env == prepared(tmp_path, env, ("com.urunc.unikernel.network", network))["process"]["env"]
