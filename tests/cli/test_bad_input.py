"""Bad input of every kind: one line that names the thing, status 1, the same line in --log, nothing left behind."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.container import UNIKERNEL, Result, Runtime, read

Make = Callable[..., Path]
KEY = "com.urunc.unikernel."
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


def refused(runtime: Runtime, *words: object, status: int = 1, **options: Any) -> str:
    """Run a command that must fail as clients expect it; return the one line that it says."""
    log = runtime.directory / "log.json"
    log.unlink(missing_ok=True)
    ended: Result = runtime("--log", log, "--log-format", "json", *words, **options)

    assert status == ended.returncode
    assert "" == ended.stdout
    assert re.fullmatch(r"[^\n]+\n", ended.stderr), ended.stderr
    message = ended.stderr.rstrip("\n")
    assert not re.search(r"(?<!\.)\.$", message)
    entry = json.loads(read(log))  # fails for two objects, as podman's json.Unmarshal does
    assert {"level", "msg", "time"} == set(entry)
    assert ("error", message) == (entry["level"], entry["msg"])
    assert re.fullmatch(RFC3339, entry["time"])
    return message


def check_create(runtime: Runtime, bundle: Path | str, *expected: str, words: tuple[object, ...] = ()) -> None:
    """A create that must fail, with its line holding `expected`, and leave nothing."""
    pid_file = runtime.directory / "pid"
    message = refused(runtime, "create", "--bundle", bundle, "--pid-file", pid_file, *words, "c")

    for word in expected:
        assert word in message
    assert "internal error" not in message
    assert [] == runtime.remains()
    assert not pid_file.exists()
    assert "gone" == runtime.status()


# --- the bundle


def test_a_missing_bundle_is_refused(urunc: Runtime) -> None:
    check_create(urunc, "/nonexistent", "chdir /nonexistent: no such file or directory")


def test_a_bundle_that_is_a_file_is_refused(urunc: Runtime) -> None:
    check_create(urunc, "/etc/passwd", "/etc/passwd", "not a directory")


def test_a_bundle_without_config_json_is_refused(urunc: Runtime, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()

    check_create(urunc, tmp_path / "b", "JSON specification file config.json not found")


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"{ bad", b"[]", b"null", b"7", b'{"ociVersion":"1.0.2"} {}', b"\xef\xbb\xbf{}", b'{"a":"\xff"}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"process":{"args":"x"}}', b'{"process":[],"root":{"path":"rootfs"}}'),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_a_broken_config_json_is_refused(urunc: Runtime, bundle: Make, text: bytes) -> None:
    """Whatever is in the file, it is named and nothing is made."""
    path = bundle()
    (path / "config.json").write_bytes(text)

    check_create(urunc, path, "config.json")


def test_a_config_json_that_is_a_pipe_is_refused_at_once(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    (path / "config.json").unlink()
    os.mkfifo(path / "config.json")

    check_create(urunc, path, "config.json", "regular file")


IDS = [{"containerID": 0, "hostID": 1000, "size": 1}]
MAPPED: dict[str, Any] = {"destination": "/data", "type": "bind", "source": "/tmp", "options": ["bind"]}
WRONG_FIELDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    **{
        f"linux.{name}": ({"linux": {name: {"x": {}}}}, (f"linux.{name} is not supported: remove it",))
        for name in ("intelRdt", "netDevices")
    },
    **{
        f"mounts with {name}": ({"mounts": [MAPPED | change]}, ("mounts: /data", f"{said} is not supported: remove it"))
        for name, change, said in (
            ("ids", {"uidMappings": IDS, "gidMappings": IDS}, "mounts[0].uidMappings"),
            ("idmap", {"options": ["bind", "idmap"]}, "idmap"),
        )
    },
    "no process": ({"process": None}, ("process property must not be empty",)),
    "no args, ordinary": ({"process": {"args": []}, "annotations": None}, ("args must not be empty",)),
    "args is a string": ({"process": {"args": "sh"}}, ("process.args",)),
    "args holds NUL": ({"process": {"args": ["a\0b"]}}, ("process.args", "NUL")),
    "env holds a number": ({"process": {"env": [1]}}, ("process.env",)),
    "relative cwd": ({"process": {"cwd": "tmp"}}, ("Cwd must be an absolute path",)),
    "no cwd": ({"process": {"cwd": None}}, ("Cwd property must not be empty",)),
    "no root": ({"root": None}, ("root must be specified",)),
    "missing rootfs": ({"root": {"path": "nope"}}, ("invalid rootfs", "nope", "no such file or directory")),
    "rootfs is a file": ({"root": {"path": "config.json"}}, ("invalid rootfs", "not a directory")),
    "unknown namespace": ({"linux": {"namespaces": [{"type": "foo"}]}}, ('"foo"', "does not exist")),
    "missing namespace file": (
        {"linux": {"namespaces": [{"type": "network", "path": "/run/netns/nope"}]}, "hostname": None},
        ("/run/netns/nope", "no such file or directory"),
    ),
    "namespace file of another type": (
        {"linux": {"namespaces": [{"type": "network", "path": "/proc/self/ns/uts"}]}, "hostname": None},
        ("/proc/self/ns/uts", "namespace"),
    ),
    "namespace file that is none": (
        {"linux": {"namespaces": [{"type": "network", "path": "/etc/passwd"}]}, "hostname": None},
        ("/etc/passwd", "namespace"),
    ),
    "namespace twice": ({"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}, "hostname": None}, ("pid",)),
    "hostname without uts": (
        {"linux": {"namespaces": [{"type": "network"}, {"type": "pid"}]}},
        ("hostname", "UTS namespace"),
    ),
    "unknown rlimit": (
        {"process": {"rlimits": [{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]}},
        ("wrong rlimit value: RLIMIT_TEST",),
    ),
    "ociVersion 2.0.0": ({"ociVersion": "2.0.0"}, ("ociVersion", "2.0.0")),
    "ociVersion abc": ({"ociVersion": "abc"}, ("ociVersion", "abc")),
    "memory of a byte": ({"linux": {"resources": {"memory": {"limit": 1}}}}, ("memory.limit",)),
    "hook without a path": ({"hooks": {"createRuntime": [{"args": ["x"]}]}}, ("createRuntime", "path")),
    "relative hook": ({"hooks": {"createRuntime": [{"path": "bin/true"}]}}, ("createRuntime", "path")),
    "hook timeout -1": ({"hooks": {"poststop": [{"path": "/bin/true", "timeout": -1}]}}, ("poststop", "timeout")),
    "hook timeout 0": ({"hooks": {"poststop": [{"path": "/bin/true", "timeout": 0}]}}, ("poststop", "timeout")),
    "argument that Linux cannot be given": ({"process": {"args": ["/app", 'a "b']}}, ("double quote",)),
    "command line too long": ({"process": {"args": ["/app", "x" * 3000]}}, ("2047",)),
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_a_wrong_field_of_config_json_is_refused(urunc: Runtime, bundle: Make, name: str) -> None:
    """The line names the field and what is wrong with it, with runc's words where clients know them."""
    changes, expected = WRONG_FIELDS[name]

    check_create(urunc, bundle(**changes), *expected)


# --- the unikernel's configuration


def unikernel(**changes: str | None) -> dict[str, str | None]:
    return {KEY + key: value for key, value in changes.items()}


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


WRONG_UNIKERNELS: dict[str, tuple[dict[str, str | None], tuple[str, ...]]] = {
    "unknown type": (unikernel(unikernelType="plan9"), (KEY + "unikernelType", "plan9", "linux")),
    "unknown type in base64": (unikernel(unikernelType=encoded("plan9")), (KEY + "unikernelType", "linux")),
    "plain among base64": (unikernel(unikernelType=encoded("linux")), (KEY, "base64")),
    "no type": (unikernel(unikernelType=None), (KEY + "unikernelType",)),
    "no hypervisor": (unikernel(hypervisor=None), (KEY + "hypervisor",)),
    "no binary": (unikernel(binary=None), (KEY + "binary",)),
    "only a hypervisor": (unikernel(unikernelType=None, binary=None), (KEY + "unikernelType",)),
    "only an optional key": (
        unikernel(unikernelType=None, binary=None, hypervisor=None, cmdline="x"),
        (KEY, "unikernelType"),
    ),
    "unknown hypervisor": (unikernel(hypervisor="bhyve"), ("bhyve", "qemu")),
    "empty type": (unikernel(unikernelType=""), (KEY + "unikernelType",)),
    "unknown accelerator": (unikernel(accelerator="hvf"), (KEY + "accelerator", "hvf")),
    "unknown kernel": (unikernel(kernel="6.1"), ("6.1", "configuration")),
    "binary missing": (unikernel(binary="/nope"), ("/nope", "no such file or directory")),
    "binary is a directory": (unikernel(binary="/dir"), ("/dir", "regular file")),
    "binary is a pipe": (unikernel(binary="/pipe"), ("/pipe", "regular file")),
    "binary is empty": (unikernel(binary="/empty"), ("/empty",)),
    "binary is text": (unikernel(binary="/text"), ("/text",)),
    "binary is a cut ELF file": (unikernel(binary="/cut"), ("/cut",)),
    "binary leaves by ..": (unikernel(binary="../config.json"), ("../config.json",)),
    "binary leaves by .. inside": (unikernel(binary="/dir/../../secret"), ("/dir/../../secret",)),
    "binary leaves by a symlink": (unikernel(binary="/outside"), ("/outside",)),
    "binary leaves by a relative symlink": (unikernel(binary="/above"), ("/above",)),
    "binary leaves by a directory's symlink": (unikernel(binary="/up/secret"), ("/up/secret",)),
    "binary is a magic link": (unikernel(binary="/magic"), ("/magic",)),
    "binary is a loop": (unikernel(binary="/loop"), ("/loop",)),
    "initrd missing": (unikernel(initrd="/nope"), ("initrd", "/nope", "no such file or directory")),
    "initrd leaves by ..": (unikernel(initrd="/../secret"), ("initrd", "/../secret")),
    "initrd leaves by a symlink": (unikernel(initrd="/outside"), ("initrd", "/outside")),
    "initrd is a directory": (unikernel(initrd="/dir"), ("initrd", "/dir", "regular file")),
}


def furnish(bundle: Path, hello: Path) -> None:
    """Put into the rootfs, and beside it, what the rows of WRONG_UNIKERNELS name."""
    rootfs = bundle / "rootfs"
    (rootfs / "dir").mkdir()
    os.mkfifo(rootfs / "pipe")
    (rootfs / "empty").touch()
    (rootfs / "text").write_text("not a kernel\n" * 100)
    (rootfs / "cut").write_bytes(hello.read_bytes()[:100])
    (bundle / "secret").write_bytes(hello.read_bytes())
    (rootfs / "outside").symlink_to(bundle / "secret")
    (rootfs / "above").symlink_to("../secret")
    (rootfs / "up").symlink_to("..")
    (rootfs / "magic").symlink_to("/proc/self/exe")
    (rootfs / "loop").symlink_to("loop")


@pytest.mark.parametrize("name", WRONG_UNIKERNELS)
def test_a_wrong_annotation_is_refused(urunc: Runtime, bundle: Make, hello: Path, name: str) -> None:
    """A container that asked for a VM gets an error, never the fallback runtime."""
    changes, expected = WRONG_UNIKERNELS[name]
    path = bundle(annotations=changes)
    furnish(path, hello)

    check_create(urunc, path, *expected)


@pytest.mark.parametrize("name", WRONG_UNIKERNELS)
def test_a_wrong_urunc_json_is_refused(urunc: Runtime, bundle: Make, hello: Path, name: str) -> None:
    """The file in the rootfs is judged as the annotations are."""
    changes, expected = WRONG_UNIKERNELS[name]
    path = bundle(annotations=None)
    furnish(path, hello)
    content = {key: value for key, value in (UNIKERNEL | changes).items() if value is not None}
    (path / "rootfs" / "urunc.json").write_text(json.dumps(content))

    check_create(urunc, path, *expected)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"com.urunc.unikernel.binary": 7}', b"\xff", b"{} {}", b" " * (1 << 20) + b"{}"],
    ids=lambda text: repr(text[:24]),
)
def test_a_broken_urunc_json_is_refused(urunc: Runtime, bundle: Make, text: bytes) -> None:
    path = bundle(annotations=None)
    (path / "rootfs" / "urunc.json").write_bytes(text)

    check_create(urunc, path, "urunc.json")


@pytest.mark.parametrize("target", ["../urunc.json", "/nope", "urunc.json", "/proc/self/cmdline"])
def test_a_urunc_json_that_is_a_stray_symlink_is_refused(urunc: Runtime, bundle: Make, target: str) -> None:
    """The name is there, so a VM was asked for: the container must not run without one."""
    path = bundle(annotations=None)
    (path / "urunc.json").write_text(json.dumps(UNIKERNEL))
    (path / "rootfs" / "urunc.json").symlink_to(target)

    check_create(urunc, path, "urunc.json")


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_a_urunc_json_that_is_no_regular_file_is_refused(urunc: Runtime, bundle: Make, kind: str) -> None:
    path = bundle(annotations=None)
    (os.mkdir if kind == "directory" else os.mkfifo)(path / "rootfs" / "urunc.json")

    check_create(urunc, path, "urunc.json", "regular file")


# --- the host


def test_a_monitor_that_the_configuration_names_and_is_missing_is_refused(urunc: Runtime, bundle: Make) -> None:
    urunc.config.write_text('[monitors.qemu]\npath = "/nonexistent/qemu"\n')

    check_create(urunc, bundle(), "monitors.qemu.path", "/nonexistent/qemu")


def test_a_monitor_that_is_not_installed_is_refused(urunc: Runtime, bundle: Make) -> None:
    """In a mount namespace of its own, QEMU's file is hidden behind one that is not executable."""
    path = bundle()
    hide = 'for f in /usr/bin/qemu-system-x86_64; do mount --bind /dev/null "$f"; done; exec "$@"'
    command = ["unshare", "-m", "sh", "-ec", hide, "sh", *urunc.words("create", "--bundle", path, "c")]
    ended = urunc.run(command)

    assert 1 == ended.returncode
    assert 1 == ended.stderr.count("\n")
    assert "monitor qemu not found" in ended.stderr
    assert "install qemu-system-x86_64" in ended.stderr
    assert [] == urunc.remains()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fallback = ", "line 1"),
        ('acelerator = "tcg"', "acelerator"),
        ('accelerator = "hvf"', "hvf"),
        ('[monitors.qemu]\npath = "qemu"', "monitors.qemu.path"),
        ("default_memory_mib = true", "default_memory_mib"),
    ],
)
def test_a_wrong_configuration_of_the_host_is_refused(urunc: Runtime, bundle: Make, text: str, expected: str) -> None:
    urunc.config.write_text(text + "\n")

    check_create(urunc, bundle(), str(urunc.config), expected)


def test_a_root_that_cannot_be_made_is_refused(urunc: Runtime, bundle: Make) -> None:
    path = bundle()
    log = urunc.directory / "log"
    ended = urunc.run([str(urunc.program), "--root", "/proc/nope", "--log", str(log), "create", "-b", str(path), "c"])

    assert 1 == ended.returncode
    assert "/proc/nope" in ended.stderr
    assert 1 == ended.stderr.count("\n")
    assert [] == urunc.remains()


def test_a_root_that_is_a_file_is_refused(urunc: Runtime, bundle: Make) -> None:
    urunc.root = urunc.directory / "file"
    urunc.root.touch()
    message = refused(urunc, "create", "--bundle", bundle(), "c")
    urunc.root = urunc.directory / "r"

    assert str(urunc.directory / "file") in message
    assert [] == urunc.remains()


# --- options of create


def test_a_pid_file_in_a_missing_directory_is_refused(urunc: Runtime, bundle: Make) -> None:
    check_create(urunc, bundle(), "/no/dir", "no such file or directory", words=("--pid-file", "/no/dir/p"))


def test_a_terminal_without_a_console_socket_is_refused(urunc: Runtime, bundle: Make) -> None:
    check_create(urunc, bundle(process={"terminal": True}), "cannot allocate tty", "console socket")


def test_a_console_socket_without_a_terminal_is_refused(urunc: Runtime, bundle: Make) -> None:
    check_create(urunc, bundle(), "cannot use console socket", words=("--console-socket", "/nosock"))


def test_a_missing_console_socket_is_refused(urunc: Runtime, bundle: Make) -> None:
    path = bundle(process={"terminal": True})

    check_create(urunc, path, "/nosock", "no such file or directory", words=("--console-socket", "/nosock"))


@pytest.mark.parametrize("value", ["abc", "-1", ""])
def test_preserve_fds_must_be_a_number(urunc: Runtime, bundle: Make, value: str) -> None:
    check_create(urunc, bundle(), "preserve-fds", "parse error", words=("--preserve-fds", value))


def test_a_failed_create_leaves_a_pid_file_of_somebody_else_alone(urunc: Runtime, bundle: Make) -> None:
    """What it did not write, it must not remove."""
    pid_file = urunc.directory / "pid"
    pid_file.write_text("1")
    hooks = {"createRuntime": [{"path": "/bin/false"}]}
    refused(urunc, "create", "--bundle", bundle(hooks=hooks), "--pid-file", pid_file, "c")

    assert "1" == pid_file.read_text()


# --- ids and states

MALFORMED = ["", ".", "..", "../x", "a/b", "a b", "é", "a\nb", "x" * 300, "@cache"]
OF_A_CONTAINER = ("create", "start", "state", "kill", "delete", "pause", "resume", "ps", "update", "events", "exec")


@pytest.mark.parametrize("verb", OF_A_CONTAINER)
@pytest.mark.parametrize("name", MALFORMED, ids=lambda name: repr(name[:8]))
def test_a_malformed_id_is_refused(urunc: Runtime, bundle: Make, verb: str, name: str) -> None:
    words = {"exec": ("true",), "kill": ("TERM",)}.get(verb, ())
    options = ("--bundle", bundle()) if verb == "create" else ()
    message = refused(urunc, verb, *options, name, *words, status=255 if verb == "exec" else 1)
    expected = "cannot be empty" if not name else "name too long" if len(name) > 255 else "invalid container ID format"

    assert expected in message
    assert [] == urunc.remains()


@pytest.mark.parametrize("verb", OF_A_CONTAINER[1:])
@pytest.mark.parametrize("root", ["missing", "empty"])
def test_an_unknown_id_is_refused(urunc: Runtime, verb: str, root: str) -> None:
    """Containerd and podman look for `does not exist`."""
    if root == "empty":
        urunc.root.mkdir()
    message = refused(urunc, verb, "nope", *(("true",) if verb == "exec" else ()), status=255 if verb == "exec" else 1)

    assert "container does not exist" in message
    assert "nope" in message
    assert [] == urunc.remains()


@pytest.mark.parametrize("words", [("delete", "--force"), ("delete", "-f")])
def test_delete_force_of_an_unknown_id_is_no_error(urunc: Runtime, words: tuple[str, ...]) -> None:
    urunc.good(*words, "nope")


@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_a_duplicate_id_is_refused_and_the_first_goes_on(urunc: Runtime, bundle: Make, status: str) -> None:
    path = bundle()
    {"created": urunc.create, "running": urunc.running, "stopped": urunc.stopped}[status](path)
    before = urunc.state()
    message = refused(urunc, "create", "--bundle", path, "c")

    assert "container with given ID already exists" in message
    assert " c" in message
    assert before == urunc.state()
    assert status == before["status"]


def test_a_second_start_is_refused_and_the_guest_goes_on(urunc: Runtime, bundle: Make) -> None:
    urunc.running(bundle())
    message = refused(urunc, "start", "c")

    assert "cannot start an already running container" in message
    assert "running" == urunc.status()


def test_a_start_of_a_stopped_container_is_refused(urunc: Runtime, bundle: Make) -> None:
    urunc.stopped(bundle())

    assert "cannot start a container that has stopped" in refused(urunc, "start", "c")


def test_a_kill_of_a_stopped_container_is_refused(urunc: Runtime, bundle: Make) -> None:
    """Containerd takes `container not running` for done."""
    urunc.stopped(bundle())

    assert "container not running" in refused(urunc, "kill", "c", "TERM")


@pytest.mark.parametrize("signal", ["FOO", "999", "65", "-1", "RTMIN+3", "SIGSIG", "9x", "٩"])
def test_an_unknown_signal_is_refused(urunc: Runtime, bundle: Make, signal: str) -> None:
    """It must not be taken for signal 0, as crun does."""
    urunc.create(bundle())
    message = refused(urunc, "kill", "c", signal)

    assert re.search("unknown signal|invalid argument", message)
    assert "created" == urunc.status()


def test_a_delete_of_a_running_container_is_refused(urunc: Runtime, bundle: Make) -> None:
    pid = urunc.running(bundle())
    message = refused(urunc, "delete", "c")

    assert "cannot delete container c that is not stopped: running" in message
    assert ("running", pid) == (urunc.state()["status"], urunc.state()["pid"])


def test_a_second_delete_is_refused(urunc: Runtime, bundle: Make) -> None:
    urunc.create(bundle())
    urunc.good("delete", "c")

    assert "container does not exist" in refused(urunc, "delete", "c")


def test_resume_of_what_is_not_paused_is_refused(urunc: Runtime, bundle: Make) -> None:
    urunc.create(bundle())
    message = refused(urunc, "resume", "c")

    assert "container not paused" in message
    assert "created" == urunc.status()


def test_exec_in_a_unikernel_says_why_not_with_status_255(urunc: Runtime, bundle: Make) -> None:
    urunc.create(bundle())
    message = refused(urunc, "exec", "c", "true", status=255)

    assert "unikernel" in message


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_a_checkpoint_of_a_vm_is_refused(urunc: Runtime, bundle: Make, verb: str) -> None:
    urunc.create(bundle())

    assert verb in refused(urunc, verb, "c")


# --- the log itself


def test_without_a_log_the_line_on_stderr_is_in_logrus_format(urunc: Runtime) -> None:
    ended = urunc("state", "nope")

    assert 1 == ended.returncode
    assert re.fullmatch(rf'time="{RFC3339}" level=error msg="container does not exist[^\n]*"\n', ended.stderr)


def test_without_a_log_the_line_on_stderr_is_json_if_asked_for(urunc: Runtime) -> None:
    ended = urunc("--log-format", "json", "state", "nope")

    assert 1 == ended.returncode
    assert 1 == ended.stderr.count("\n")
    assert "container does not exist" in json.loads(ended.stderr)["msg"]


def test_the_log_is_appended_to(urunc: Runtime) -> None:
    """Containerd and its shim share the file."""
    log = urunc.directory / "log.json"
    log.write_text('{"level":"info","msg":"mine"}\n')
    urunc("--log", log, "--log-format", "json", "state", "nope")
    entries = [json.loads(line) for line in read(log).splitlines()]

    assert ["info", "error"] == [entry["level"] for entry in entries]


def test_success_leaves_the_log_empty(urunc: Runtime, bundle: Make) -> None:
    log = urunc.directory / "log.json"
    options = ("--log", log, "--log-format", "json")
    urunc.good(*options, "create", "--bundle", bundle(), "c")
    urunc.good(*options, "start", "c")
    urunc.good(*options, "delete", "--force", "c")

    assert "" == read(log)


def test_a_log_in_a_missing_directory_is_refused(urunc: Runtime) -> None:
    ended = urunc("--log", "/no/dir/l", "state", "nope")

    assert 1 == ended.returncode
    assert "open /no/dir/l: no such file or directory" in ended.stderr
    assert 1 == ended.stderr.count("\n")


def test_an_unknown_log_format_is_refused(urunc: Runtime) -> None:
    ended = urunc("--log-format", "xml", "state", "nope")

    assert (1, True) == (ended.returncode, "invalid log-format: xml" in ended.stderr)


def test_a_closed_stderr_changes_nothing(urunc: Runtime, bundle: Make) -> None:
    """Podman closes it before it has read the state."""
    urunc.create(bundle())
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh"]

    assert 0 == urunc.run([*closed, *urunc.words("state", "c")]).returncode
    assert 1 == urunc.run([*closed, *urunc.words("state", "nope")]).returncode
    assert 0 == urunc.run([*closed, *urunc.words("delete", "--force", "c")]).returncode


def test_a_reader_that_has_gone_changes_nothing(urunc: Runtime, bundle: Make) -> None:
    urunc.create(bundle())
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        statuses = [
            urunc("state", "c", stderr=write_end).returncode,
            urunc("state", "nope", stderr=write_end).returncode,
            urunc("state", "c", stdout=write_end, stderr=subprocess.DEVNULL).returncode,
        ]
    finally:
        os.close(write_end)

    assert [0, 1, 0] == statuses
