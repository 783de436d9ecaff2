"""config.json to Spec: what is taken over, and every error by its words."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from urunc import bundle, resources
from urunc._fastpath import Json
from urunc._record import replace
from urunc.cage import Cage, Scheduler
from urunc.errors import SpecError
from urunc.spec import Capabilities, Hook, IdMapping, Mount, Namespace, Rlimit, Spec

MINIMAL: dict[str, Any] = {"process": {"args": ["sh"], "cwd": "/"}, "root": {"path": "rootfs"}}
NUMBER_FIELDS = [
    ("process.user.uid", 2**32 - 1, 4294967294),
    ("process.user.gid", -1, 4294967294),
    ("process.user.umask", 0o10000, 0o7777),
    ("process.consoleSize.height", 65536, 65535),
    ("process.consoleSize.width", 10**400, 65535),
    ("linux.resources.cpu.period", -1, 2**64 - 1),
]


def spec_of(directory: Path) -> Spec:
    """What MINIMAL is in `directory`."""
    empty: dict[str, Any] = dict.fromkeys(Spec.__slots__, ()) | dict.fromkeys(
        ("version", "hostname", "domainname", "cgroups_path"), ""
    )
    numbers = dict.fromkeys(("uid", "gid", "memory_limit_bytes", "cpu_quota_us", "cpu_period_us"), 0)
    flags = dict.fromkeys(("readonly", "terminal", "no_new_privileges"), False)
    own = {"bundle": str(directory), "rootfs": f"{directory}/rootfs", "args": ("sh",), "cwd": "/", "umask": -1}
    rest = {
        "console_size": (0, 0),
        "oom_score_adj": None,
        "capabilities": None,
        "resources": resources.NONE,
        "cage": Cage(),
        "annotations": Json(b"{}"),
    }
    return Spec(**(empty | numbers | flags | own | rest))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    return tmp_path


def load(directory: Path, document: object) -> Spec:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    (directory / "config.json").write_bytes(text)
    return bundle.load(str(directory))


def message(directory: Path, document: object) -> str:
    with pytest.raises(SpecError) as caught:
        load(directory, document)
    assert 1 == caught.value.status
    assert "\n" not in str(caught.value)
    return str(caught.value)


def having(path: str, value: object) -> dict[str, Any]:
    """MINIMAL with `value` at the dotted `path`."""
    document = copy.deepcopy(MINIMAL)
    holder = document
    *outer, last = path.split(".")
    for key in outer:
        holder = holder.setdefault(key, {})
    holder[last] = value
    return document


def without(path: str) -> dict[str, Any]:
    document = having(path, None)
    holder = document
    *outer, last = path.split(".")
    for key in outer:
        holder = holder[key]
    del holder[last]
    return document


def test_minimal_document_gives_the_defaults(place: Path) -> None:
    assert spec_of(place) == load(place, MINIMAL)


def test_every_field_is_taken_over(place: Path) -> None:
    """As a client such as containerd writes them."""
    names = ["CAP_KILL"]
    document = {
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": True,
            "consoleSize": {"height": 24, "width": 80},
            "user": {"uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 18},
            "args": ["/app", "two words", ""],
            "env": ["A=b,c"],
            "cwd": "/srv",
            "noNewPrivileges": True,
            "oomScoreAdj": -5,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2**64 - 1}],
            "selinuxLabel": "system_u:object_r:container_t:s0",
            "apparmorProfile": "docker-default",
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "scheduler": {
                "policy": "SCHED_DEADLINE",
                "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"],
                "nice": 1,
                "priority": 2,
                "runtime": 3,
                "deadline": 4,
                "period": 2**63 - 1,
            },
            "execCPUAffinity": {"initial": "0-1"},
            "capabilities": {"bounding": names, "effective": names, "permitted": ["CAP_FOO"]},
        },
        "root": {"path": "./rootfs//", "readonly": True},
        "hostname": "h",
        "domainname": "d",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["ro"]}, {"destination": "x"}],
        "hooks": {
            kind: [{"path": "/bin/" + kind, "args": [kind, "a"], "env": ["B=c"], "timeout": 3}, {"path": "/x"}]
            for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
        },
        "annotations": {"z": "1", "a": ""},
        "linux": {
            "namespaces": [{"type": "uts"}, {"type": "user"}, {"type": "network", "path": "/run/netns/x"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "gidMappings": [{"containerID": 1, "hostID": 2000, "size": 2**32 - 1}],
            "cgroupsPath": "/a/b",
            "resources": {"memory": {"limit": 2**29}, "cpu": {"quota": 150000, "period": 100000}},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
            "mountLabel": "system_u:object_r:container_file_t:s0",
            "personality": {"domain": "LINUX32", "flags": []},
            "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 999_999_999}, "boottime": {"secs": 2}},
            "sysctl": {"net.b": "1", "net.a": "2"},
        },
        "unknown": {"anything": [1]},
    }

    def hooks(kind: str) -> tuple[Hook, ...]:
        first = Hook(path="/bin/" + kind, args=(kind, "a"), env=("B=c",), timeout_s=3)
        return (first, Hook(path="/x", args=(), env=None))

    expected = Spec(
        version="1.0.2-dev",
        bundle=str(place),
        rootfs=f"{place}/rootfs",
        readonly=True,
        args=("/app", "two words", ""),
        env=("A=b,c",),
        cwd="/srv",
        terminal=True,
        console_size=(24, 80),
        uid=1,
        gid=2,
        groups=(3, 4),
        umask=0o22,
        no_new_privileges=True,
        oom_score_adj=-5,
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=2**64 - 1),),
        capabilities=Capabilities(
            bounding=("CAP_KILL",), effective=("CAP_KILL",), inheritable=(), permitted=("CAP_FOO",), ambient=()
        ),
        hostname="h",
        domainname="d",
        mounts=(
            Mount(destination="/proc", type="proc", source="proc", options=("ro",)),
            Mount(destination="/x", type="", source="", options=()),
        ),
        namespaces=(Namespace(type="uts"), Namespace(type="user"), Namespace(type="network", path="/run/netns/x")),
        uid_mappings=(IdMapping(container_id=0, host_id=1000, size=10),),
        gid_mappings=(IdMapping(container_id=1, host_id=2000, size=2**32 - 1),),
        cgroups_path="/a/b",
        memory_limit_bytes=2**29,
        cpu_quota_us=150000,
        cpu_period_us=100000,
        prestart=hooks("prestart"),
        create_runtime=hooks("createRuntime"),
        create_container=hooks("createContainer"),
        start_container=hooks("startContainer"),
        poststart=hooks("poststart"),
        poststop=hooks("poststop"),
        annotations=Json(json.dumps(document["annotations"]).encode()),
        cage=Cage(
            selinux_label="system_u:object_r:container_t:s0",
            mount_label="system_u:object_r:container_file_t:s0",
            apparmor_profile="docker-default",
            io_priority=(2, 4),
            scheduler=Scheduler(
                policy=6, flags=5, nice=1, priority=2, runtime_ns=3, deadline_ns=4, period_ns=2**63 - 1
            ),
            personality=8,
            time_offsets=(("monotonic", -1, 999_999_999), ("boottime", 2, 0)),
            seccomp=Json(b'{"defaultAction": "SCMP_ACT_ALLOW"}'),
        ),
        sysctl=(("net.a", "2"), ("net.b", "1")),
        resources=resources.Resources(memory_limit=2**29, cpu_quota=150000, cpu_period=100000),
    )
    assert expected == load(place, document)
    assert hash(expected) == hash(load(place, document))


def test_null_is_absent(place: Path) -> None:
    """As in Go, for a field and for what holds fields."""
    nulls = dict.fromkeys(("ociVersion", "hostname", "mounts", "hooks", "annotations"))
    process = MINIMAL["process"] | dict.fromkeys(("env", "user", "rlimits", "capabilities", "oomScoreAdj", "terminal"))
    linux = {"seccomp": None, "resources": {"memory": None, "cpu": {"quota": None}}, "namespaces": None}

    assert spec_of(place) == load(place, MINIMAL | nulls | {"process": process, "linux": linux})
    assert spec_of(place) == load(place, MINIMAL | {"linux": None})


def test_last_of_duplicate_keys_wins(place: Path) -> None:
    text = b'{"hostname": 1, "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": [], "args": ["sh"]}'
    text += b', "hostname": ""}'

    assert spec_of(place) == load(place, text)


def test_absolute_root_is_taken_as_it_is(place: Path) -> None:
    """Docker and podman name the rootfs absolutely, and mount it elsewhere."""
    (place / "else where").mkdir()

    assert f"{place}/else where" == load(place, having("root.path", f"{place}/else where")).rootfs


def test_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        bundle.load(f"{tmp_path}/nope")

    assert f"chdir {tmp_path}/nope: no such file or directory" == str(caught.value)


def test_bundle_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SpecError) as caught:
        bundle.load(f"{tmp_path}/file")

    assert f"chdir {tmp_path}/file: not a directory" == str(caught.value)


def test_bundle_without_config(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        bundle.load(str(tmp_path))

    assert (
        f"JSON specification file config.json not found in {tmp_path}: name the bundle with --bundle: "
        f"open {tmp_path}/config.json: no such file or directory" == str(caught.value)
    )


def test_config_that_is_no_file(tmp_path: Path) -> None:
    """A directory, or a pipe that nobody writes to: no wait, no traceback."""
    for make in (Path.mkdir, os.mkfifo):
        path = tmp_path / make.__name__
        path.mkdir()
        make(path / "config.json")

        with pytest.raises(SpecError, match=r"config\.json must be a regular file"):
            bundle.load(str(path))


def test_config_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("config.json")

    with pytest.raises(SpecError) as caught:
        bundle.load(str(tmp_path))

    assert f"open {tmp_path}/config.json: too many levels of symbolic links" == str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "config.json: invalid JSON at line 1 column 1: unexpected end of the text"),
        (b"{ bad", "config.json: invalid JSON at line 1 column 3: expecting property name enclosed in double quotes"),
        (b"[]", "config.json must be an object"),
        (b"null", "config.json: process property must not be empty"),
        (b"{}", "config.json: process property must not be empty"),
        (b'{"process": null}', "config.json: process property must not be empty"),
        (b'{"process": {}}', "config.json: root must be specified"),
        (b'{"process": {"cwd": "/", "args": "\xff"}}', "config.json: invalid JSON at line 1 column 35: byte 0xff"),
        (b'{"process": {"user": {"uid": NaN}}}', "config.json: invalid JSON at line 1 column 30"),
        (b"\xef\xbb\xbf{}", "config.json: invalid JSON at line 1 column 1: a byte order mark is not allowed"),
        (b"[" * 100_000, "config.json: invalid JSON"),
    ],
)
def test_broken_document_is_refused(place: Path, text: bytes, fault: str) -> None:
    assert message(place, text).startswith(fault)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("process", "process property must not be empty"),
        ("process.args", "args must not be empty"),
        ("process.cwd", "process.cwd: Cwd property must not be empty"),
        ("root", "root must be specified"),
        ("root.path", "invalid rootfs: root.path must not be empty"),
    ],
)
def test_what_must_be_there(place: Path, path: str, fault: str) -> None:
    """Runc's words; null is absent."""
    assert f"config.json: {fault}" == message(place, without(path))
    assert f"config.json: {fault}" == message(place, having(path, None))


def test_empty_args_are_refused(place: Path) -> None:
    assert "config.json: args must not be empty" == message(place, having("process.args", []))


def test_unikernel_may_have_no_args(place: Path) -> None:
    """Its command line may be the annotation cmdline, of config.json or of urunc.json."""
    document = having("process.args", [])
    annotated = document | {"annotations": {"com.urunc.unikernel.cmdline": "x"}}

    assert () == load(place, annotated).args
    (place / "rootfs" / "urunc.json").touch()
    assert replace(spec_of(place), args=()) == load(place, document)


def test_rootfs_that_is_not_there(place: Path) -> None:
    expected = f"config.json: invalid rootfs: stat {place}/nope: no such file or directory"

    assert expected == message(place, having("root.path", "nope"))


def test_rootfs_that_is_no_directory(place: Path) -> None:
    (place / "file").touch()

    expected = f"config.json: invalid rootfs: stat {place}/file: not a directory"
    assert expected == message(place, having("root.path", "file"))


@pytest.mark.parametrize("version", ["", "1.0.0", "1.0.2-dev", "1.2.1", "1.3.0", "1.99.0", "1.0.0-rc5+dev", "1.1.0+x"])
def test_version_1_is_accepted(place: Path, version: str) -> None:
    """Minor versions only add."""
    assert version == load(place, having("ociVersion", version)).version


@pytest.mark.parametrize(
    "version", ["2.0.0", "abc", "0.1.0", "1", "1.0", "1..0", "1.0.0.0", "10.0.0", "1.x.0", "1.٣.0", "1.0.-1"]
)
def test_other_version_is_refused_by_name(place: Path, version: str) -> None:
    text = message(place, having("ociVersion", version))

    assert f"config.json: ociVersion {json.dumps(version)} is not supported: give a version 1.x.y" == text


def test_relative_cwd_is_refused(place: Path) -> None:
    expected = "config.json: process.cwd: Cwd must be an absolute path"

    assert expected == message(place, having("process.cwd", "srv"))


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("process", [], "process must be an object"),
        ("process.args", "sh", "process.args must be a list of strings"),
        ("process.args", ["sh", 1], "process.args must be a list of strings"),
        ("process.args", ["sh", "a\0"], "process.args[1] must not contain a NUL byte"),
        ("process.args", ["\ud800"], "process.args[0] must not contain a lone surrogate"),
        ("process.env", {"A": "b"}, "process.env must be a list of strings"),
        ("process.env", ["A=\0"], "process.env[0] must not contain a NUL byte"),
        ("process.cwd", "/\0", "process.cwd must not contain a NUL byte"),
        ("process.terminal", 1, "process.terminal must be true or false"),
        ("process.consoleSize", [1, 2], "process.consoleSize must be an object"),
        ("process.user", "root", "process.user must be an object"),
        ("process.user.additionalGids", 1, "process.user.additionalGids must be a list of whole numbers"),
        ("process.user.additionalGids", [1, True], "process.user.additionalGids[1] must be a whole number from 0 to"),
        ("process.noNewPrivileges", "true", "process.noNewPrivileges must be true or false"),
        ("process.oomScoreAdj", 1001, "process.oomScoreAdj must be a whole number from -1000 to 1000"),
        ("process.oomScoreAdj", True, "process.oomScoreAdj must be a whole number from -1000 to 1000"),
        ("process.rlimits", {}, "process.rlimits must be a list of objects"),
        ("process.rlimits", [{"type": "RLIMIT_TEST"}], "process.rlimits[0].type: wrong rlimit value: RLIMIT_TEST"),
        ("process.rlimits", [{}], "process.rlimits[0].type: wrong rlimit value: "),
        (
            "process.rlimits",
            [{"type": "RLIMIT_CPU", "soft": -1}],
            "process.rlimits[0].soft must be a whole number from 0 to 18446744073709551615",
        ),
        (
            "process.rlimits",
            [{"type": "RLIMIT_CPU", "hard": 2**64}],
            "process.rlimits[0].hard must be a whole number from 0 to 18446744073709551615",
        ),
        ("process.rlimits", [{"type": "RLIMIT_CPU"}] * 2, 'duplicated rlimit "RLIMIT_CPU"'),
        ("process.capabilities", [], "process.capabilities must be an object"),
        ("process.capabilities.ambient", "CAP_KILL", "process.capabilities.ambient must be a list of strings"),
        ("root", "rootfs", "root must be an object"),
        ("root.path", 1, "root.path must be a string"),
        ("root.path", "a\0", "root.path must not contain a NUL byte"),
        ("root.readonly", 0, "root.readonly must be true or false"),
        ("ociVersion", 1.0, "ociVersion must be a string"),
        ("hostname", ["h"], "hostname must be a string"),
        ("hostname", "h\0", "hostname must not contain a NUL byte"),
        ("hostname", "h", "unable to set hostname without a private UTS namespace"),
        ("domainname", "d", "unable to set domainname without a private UTS namespace"),
        ("mounts", [[]], "mounts must be a list of objects"),
        ("mounts", [{"type": "tmpfs"}], "mounts[0].destination must not be empty"),
        ("mounts", [{"destination": "/x", "options": "ro"}], "mounts[0].options must be a list of strings"),
        ("mounts", [{"destination": "/x", "source": 1}], "mounts[0].source must be a string"),
        ("hooks", [], "hooks must be an object"),
        ("hooks.prestart", {}, "hooks.prestart must be a list of objects"),
        ("hooks.prestart", [{}], "hooks.prestart[0].path must be an absolute path"),
        ("hooks.poststop", [{"path": "bin/x"}], "hooks.poststop[0].path must be an absolute path"),
        ("hooks.poststart", [{"path": "/x", "timeout": 0}], "hooks.poststart[0].timeout must be a whole number from 1"),
        ("hooks.createRuntime", [{"path": "/x", "args": "a"}], "hooks.createRuntime[0].args must be a list of strings"),
        ("annotations", [], "annotations must be an object"),
        ("annotations", {"a": 1}, 'annotations["a"] must be a string'),
        ("annotations", {"a\n": "\0"}, 'annotations["a\\n"] must not contain a NUL byte'),
        ("linux", [], "linux must be an object"),
        ("linux.namespaces", [{"type": "foo"}], 'linux.namespaces[0].type: namespace "foo" does not exist'),
        ("linux.namespaces", [{}], 'linux.namespaces[0].type: namespace "" does not exist'),
        ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}], 'malformed spec file: duplicated ns "pid"'),
        ("linux.namespaces", [{"type": "pid", "path": "ns"}], "linux.namespaces[0].path must be an absolute path"),
        ("linux.uidMappings", [{"size": 1}], "uidMappings and gidMappings need a user namespace"),
        ("linux.gidMappings", [{"size": 1}], "uidMappings and gidMappings need a user namespace"),
        ("linux.gidMappings", [{"hostID": 2**32}], "linux.gidMappings[0].hostID must be a whole number from 0 to"),
        ("linux.cgroupsPath", 1, "linux.cgroupsPath must be a string"),
        ("linux.resources", [], "linux.resources must be an object"),
        ("linux.resources.memory.limit", "1G", "linux.resources.memory.limit must be a whole number from"),
        ("linux.resources.memory.limit", 2**63, "linux.resources.memory.limit must be a whole number from"),
        ("linux.resources.memory.limit", 1e9, "linux.resources.memory.limit must be a whole number from"),
        ("linux.resources.cpu", 1, "linux.resources.cpu must be an object"),
        ("linux.resources.cpu.quota", True, "linux.resources.cpu.quota must be a whole number from"),
        ("linux.sysctl", {"a": 1}, 'linux.sysctl["a"] must be a string'),
    ],
)
def test_wrong_value_is_refused_by_name(place: Path, path: str, value: object, fault: str) -> None:
    assert message(place, having(path, value)).startswith(f"config.json: {fault}")


@pytest.mark.parametrize(("path", "outside", "most"), NUMBER_FIELDS)
@pytest.mark.parametrize("wrong", [True, 1.0, "1", [], None])
def test_number_is_whole_and_in_range(place: Path, path: str, outside: int, most: int, wrong: object) -> None:
    """The id 2^32 - 1 would mean "as it is", which is root."""
    value = outside if wrong is None else wrong

    expected = f"config.json: {path} must be a whole number from 0 to {most}"
    assert expected == message(place, having(path, value))


@pytest.mark.parametrize("value", [0, -1, -(2**63)])
def test_negative_limit_is_none(place: Path, value: int) -> None:
    """-1 is unlimited."""
    document = having("linux.resources", {"memory": {"limit": value}, "cpu": {"quota": value}})

    asked = resources.Resources(memory_limit=max(-1, value), cpu_quota=max(-1, value))

    assert replace(spec_of(place), resources=asked) == load(place, document)


def test_duplicate_namespaces_to_join_are_refused(place: Path) -> None:
    document = having("linux.namespaces", [{"type": "network"}, {"type": "network", "path": "/run/netns/x"}])

    assert 'config.json: malformed spec file: duplicated ns "network"' == message(place, document)


def test_long_value_is_cut_in_the_error(place: Path) -> None:
    text = message(place, having("linux.namespaces", [{"type": "x\n" * 10_000}]))

    assert len(text) < 200
