"""What a command line becomes, and what a client reads when it fails."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from urunc import cli
from urunc.errors import HostError, StateError
from urunc.request import GLOBALS, OPTIONS, VERBS, Outcome, Request

SOURCE = str(Path(cli.__file__).parent.parent)
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
SHIM = "--root /run/containerd/runc/k8s.io --log {log} --log-format json"


class Recorder:
    """Stands for runtime, listing and documents: keeps the requests, answers with what it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.refusals: list[str] = []
        self.answer: Any = None

    def __call__(self, request: Request, refusal: str = "") -> Any:
        self.requests.append(request)
        if refusal:
            self.refusals.append(refusal)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    module = ModuleType("urunc.recorder")
    module.__dict__.update(record=recorder, refuse=recorder)
    monkeypatch.setitem(sys.modules, "urunc.recorder", module)
    monkeypatch.setitem(sys.modules, "urunc.runtime", module)
    for verb in cli.ACTIONS:
        monkeypatch.setitem(cli.ACTIONS, verb, ("recorder", "record"))
    return recorder


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(*words: str) -> int:
    return cli.main(list(words), {})


def message(line: str) -> str:
    """The text of a line in logrus' format."""
    match = re.fullmatch(rf'time="{RFC3339}" level=error msg="(.*)"\n', line)
    assert match, line
    return match[1].replace('\\"', '"').replace("\\\\", "\\")


# --- words to requests

CONTAINERD = [
    ("create --bundle /b --pid-file /b/init.pid x", {"verb": "create", "bundle": "/b", "pid_file": "/b/init.pid"}),
    (
        "create --bundle /b --pid-file /b/init.pid --console-socket /tmp/pty1/pty.sock x",
        {"verb": "create", "bundle": "/b", "pid_file": "/b/init.pid", "console_socket": "/tmp/pty1/pty.sock"},
    ),
    (
        "create --bundle /b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 2 x",
        {"verb": "create", "bundle": "/b", "pid_file": "/p", "preserve_fds": 2, "no_new_keyring": True},
    ),
    ("start x", {"verb": "start"}),
    ("delete x", {"verb": "delete"}),
    ("delete --force x", {"verb": "delete", "force": True}),
    ("kill x 15", {"verb": "kill", "signal": 15, "args": ("15",)}),
    ("kill --all x 9", {"verb": "kill", "signal": 9, "all": True, "args": ("9",)}),
    ("state x", {"verb": "state"}),
    ("ps --format json x", {"verb": "ps", "format": "json"}),
    ("pause x", {"verb": "pause"}),
    ("resume x", {"verb": "resume"}),
    ("update --resources - x", {"verb": "update", "resources": "-"}),
    ("update --resources=- x", {"verb": "update", "resources": "-"}),
    ("events --stats x", {"verb": "events", "stats": True}),
    ("events --interval=5s x", {"verb": "events", "interval_ms": 5000}),
    ("list --format=json", {"verb": "list", "id": "", "format": "json"}),
    (
        "exec --process /tmp/runc-process1 --detach --pid-file /b/e.pid x",
        {"verb": "exec", "detach": True, "pid_file": "/b/e.pid", "process": "/tmp/runc-process1"},
    ),
    (
        "exec --process /tmp/p --console-socket /s --detach --pid-file /b/e.pid x",
        {"verb": "exec", "console_socket": "/s", "detach": True, "pid_file": "/b/e.pid", "process": "/tmp/p"},
    ),
    ("checkpoint --image-path P --work-path W --leave-running x", {"verb": "checkpoint"}),
]
PODMAN = [
    (
        "create --bundle /u --pid-file /p --console-socket /tmp/conmon-term.X x",
        {"verb": "create", "bundle": "/u", "pid_file": "/p", "console_socket": "/tmp/conmon-term.X"},
    ),
    ("--systemd-cgroup create --bundle /u x", {"verb": "create", "bundle": "/u", "systemd_cgroup": True}),
    ("start x", {"verb": "start"}),
    ("kill x 9", {"verb": "kill", "signal": 9, "args": ("9",)}),
    ("kill --all x 15", {"verb": "kill", "all": True, "args": ("15",)}),
    ("delete --force x", {"verb": "delete", "force": True}),
    ("exec --pid-file /p --process /f --detach x", {"verb": "exec", "pid_file": "/p", "detach": True, "process": "/f"}),
    ("exec --process /f --pid-file /p --tty x", {"verb": "exec", "pid_file": "/p", "tty": True, "process": "/f"}),
    ("update --resources=/f x", {"verb": "update", "resources": "/f"}),
    ("features", {"verb": "features", "id": ""}),
    ("--version", {"verb": "version"}),
]
PEOPLE = [
    ("create -b /b x", {"verb": "create", "bundle": "/b"}),
    ("create x --bundle /b -pid-file /p", {"verb": "create", "bundle": "/b", "pid_file": "/p"}),
    ("create -b=/b -- -x", {"verb": "create", "bundle": "/b", "id": "-x"}),
    ("create -b /b ok_A-1.2+x", {"verb": "create", "bundle": "/b", "id": "ok_A-1.2+x"}),
    ("create -b /b/../c/ x", {"verb": "create", "bundle": "/c"}),
    ("create -b /b --no-pivot=false x", {"verb": "create", "bundle": "/b"}),
    ("-debug -root /r list -q", {"verb": "list", "id": "", "debug": True, "root": "/r", "quiet": True}),
    ("list -f json --quiet=true", {"verb": "list", "id": "", "format": "json", "quiet": True}),
    ("run -d --keep -b /b x", {"verb": "run", "detach": True, "keep": True, "bundle": "/b"}),
    ("run --dry-run --no-subreaper -b /b x", {"verb": "run", "dry_run": True, "bundle": "/b"}),
    ("kill -a x KILL", {"verb": "kill", "all": True, "signal": 9, "args": ("KILL",)}),
    ("kill x TERM -a", {"verb": "kill", "all": True, "args": ("TERM",)}),
    ("kill x", {"verb": "kill", "signal": 15}),
    ("delete x -f", {"verb": "delete", "force": True}),
    ("ps -f json x", {"verb": "ps", "format": "json"}),
    ("ps x -ef --sort=pid", {"verb": "ps", "args": ("-ef", "--sort=pid")}),
    (
        "exec -d -t -e A=1 -e B=2 -u 0:0 -g 5 --cwd / --cap CAP_KILL x ls -la -- y",
        {
            "verb": "exec",
            "detach": True,
            "tty": True,
            "env": ("A=1", "B=2"),
            "user": "0:0",
            "additional_gids": ("5",),
            "cwd": "/",
            "cap": ("CAP_KILL",),
            "args": ("ls", "-la", "--", "y"),
        },
    ),
    (
        "update --memory 64m --memory-swap -1 --memory-reservation 1.5k --pids-limit 20 x",
        {
            "verb": "update",
            "memory_bytes": 64 << 20,
            "memory_swap_bytes": -1,
            "memory_reservation_bytes": 1536,
            "pids_limit": 20,
        },
    ),
    (
        "update -r /f --cpu-quota -1 --cpu-period 100000 --cpu-share 2 --cpuset-cpus 0-1 --blkio-weight 10 x",
        {
            "verb": "update",
            "resources": "/f",
            "cpu_quota_us": -1,
            "cpu_period_us": 100000,
            "cpu_shares": 2,
            "cpuset_cpus": "0-1",
            "blkio_weight": 10,
        },
    ),
    ("events --interval 1m30.5s x", {"verb": "events", "interval_ms": 90500}),
    ("spec --bundle /b --rootless", {"verb": "spec", "id": "", "bundle": "/b", "rootless": True}),
    ("restore -b /b -d --image-path /i x", {"verb": "restore", "bundle": "/b", "detach": True}),
    ("--trace /t --criu c --rootless=true state x", {"verb": "state", "trace": "/t"}),
    ("help kill", {"verb": "help", "topic": "kill"}),
    ("kill --help", {"verb": "help", "topic": "kill"}),
    ("help", {"verb": "help"}),
    ("-h", {"verb": "help"}),
    ("", {"verb": "help"}),
    ("--root /r", {"verb": "help"}),
    ("-v", {"verb": "version"}),
]


def expected_request(words: list[str], fields: dict[str, Any]) -> Request:
    if fields["verb"] in ("help", "version"):
        return Request(**fields)
    return Request(**({"id": "x", "argv": tuple(words)} | fields))


@pytest.mark.parametrize(("line", "fields"), PODMAN + PEOPLE)
def test_a_command_line_becomes_a_request(recorder: Recorder, line: str, fields: dict[str, Any]) -> None:
    words = line.split()
    if fields["verb"] in ("create", "run", "spec", "restore"):
        fields = {"bundle": os.getcwd()} | fields

    assert main(*words) == 0
    assert recorder.requests == [expected_request(words, fields)]


@pytest.mark.parametrize(("line", "fields"), CONTAINERD)
@pytest.mark.parametrize("options", [SHIM, "--debug " + SHIM + " --systemd-cgroup --rootless=false"])
def test_containerds_global_options_go_before(
    recorder: Recorder, tmp_path: Path, line: str, fields: dict[str, Any], options: str
) -> None:
    log = tmp_path / "log.json"
    words = [*options.format(log=log).split(), *line.split()]
    common = {"root": "/run/containerd/runc/k8s.io", "log": str(log), "log_format": "json"}
    if "--debug" in words:
        common |= {"debug": True, "systemd_cgroup": True}  # type: ignore[dict-item]

    assert main(*words) == 0
    assert recorder.requests == [expected_request(words, common | fields)]


def test_the_bundle_is_the_working_directory_unless_named(recorder: Recorder, tmp_path: Path) -> None:
    main("create", "x")
    main("create", "--bundle", "b", "x")

    assert [request.bundle for request in recorder.requests] == [str(tmp_path), str(tmp_path / "b")]


def test_delete_works_where_the_working_directory_is_gone(recorder: Recorder, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()

    assert main("delete", "--force", "x") == 0


def test_the_environment_names_the_configuration(recorder: Recorder) -> None:
    cli.main(["state", "x"], {"URUNC_CONFIG_FILE": "/c.toml"})
    cli.main(["state", "x"], {"XDG_RUNTIME_DIR": "/run/user/0"})

    assert [request.config for request in recorder.requests] == ["/c.toml", "/etc/urunc/config.toml"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("TERM", 15), ("SIGTERM", 15), ("sigterm", 15), ("term", 15), ("KILL", 9), ("WINCH", 28), ("SYS", 31)),
        *(("IOT", 6), ("0", 0), ("37", 37), ("64", 64), ("", 15)),
    ],
)
def test_signals_have_names_and_numbers(recorder: Recorder, name: str, number: int) -> None:
    assert main("kill", "x", name) == 0
    assert recorder.requests[0].signal == number


def test_every_option_of_the_tables_is_known_and_has_a_field() -> None:
    named = {name for row in VERBS.values() for name in row[4].split()} | {"help"}
    fields = {row[2] for table in (GLOBALS, OPTIONS) for row in table.values()} - {"", "help", "version"}

    assert named == set(OPTIONS)
    assert fields <= set(Request.__slots__)


def test_every_verb_has_an_action() -> None:
    assert set(VERBS) | {"version"} == set(cli.ACTIONS) | set(cli.REFUSALS)


# --- errors


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ("bogus", 3, "No help topic for 'bogus'"),
        ("version", 3, "No help topic for 'version'"),
        ("--bogus", 1, "flag provided but not defined: -bogus"),
        ("state --bogus x", 1, "flag provided but not defined: -bogus"),
        ("state x --bogus=1", 1, "flag provided but not defined: -bogus"),
        ("create -x", 1, "flag provided but not defined: -x"),
        ("list -qf json", 1, "flag provided but not defined: -qf"),
        ("create ---x y", 1, "bad flag syntax: ---x"),
        ("create -=x y", 1, "bad flag syntax: -=x"),
        ("create", 1, '"create" requires exactly 1 argument(s)'),
        ("start", 1, '"start" requires exactly 1 argument(s)'),
        ("start a b", 1, '"start" requires exactly 1 argument(s)'),
        ("state x -5", 1, '"state" requires exactly 1 argument(s)'),
        ("kill", 1, '"kill" requires a minimum of 1 argument(s)'),
        ("kill x 9 y", 1, '"kill" requires a maximum of 2 argument(s)'),
        ("exec", 1, '"exec" requires a minimum of 1 argument(s)'),
        ("ps", 1, '"ps" requires a minimum of 1 argument(s)'),
        ("list x", 1, '"list" requires exactly 0 argument(s)'),
        ("create --bundle", 1, "flag needs an argument: -bundle"),
        ("create -b", 1, "flag needs an argument: -b"),
        ("create --preserve-fds abc x", 1, 'invalid value "abc" for flag -preserve-fds: parse error'),
        ("create --preserve-fds -1 x", 1, 'invalid value "-1" for flag -preserve-fds: parse error'),
        ("create --preserve-fds " + "9" * 5000 + " x", 1, None),
        ("create --no-pivot=maybe x", 1, 'invalid boolean value "maybe" for -no-pivot: parse error'),
        ("events --interval abc x", 1, 'invalid value "abc" for flag -interval: parse error'),
        ("events --interval 0s x", 1, "duration interval must be greater than 0"),
        ("update --memory abc x", 1, "invalid value for memory: invalid size: 'abc'"),
        ("update --memory 9999999p x", 1, "invalid value for memory: invalid size: '9999999p'"),
        ("update --pids-limit 1_0 x", 1, 'invalid value "1_0" for flag -pids-limit: parse error'),
        ("kill x FOO", 1, 'unknown signal "FOO"'),
        ("kill x SIGRTMIN+3", 1, 'unknown signal "SIGRTMIN+3"'),
        ("kill x 999", 1, 'unknown signal "999"'),
        ("kill x 65", 1, 'unknown signal "65"'),
        ("kill x -1", 1, 'unknown signal "-1"'),
        ("list -f bad", 1, "invalid format option"),
        ("ps -f bad x", 1, "invalid format option"),
        ("--log-format xml list", 1, "invalid log-format: xml"),
        ("--log-format xml bogus", 1, "invalid log-format: xml"),
        ("--log /no/dir/l list", 1, "open /no/dir/l: no such file or directory"),
        ("--root= list", 1, "invalid value for --root: it must not be empty"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_a_status(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], line: str, status: int, text: str | None
) -> None:
    assert main(*line.split()) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert text in (None, message(err))
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "container id cannot be empty"),
        ("../x", "invalid container ID format"),
        ("a/b", "invalid container ID format"),
        ("a b", "invalid container ID format"),
        (".", "invalid container ID format"),
        ("..", "invalid container ID format"),
        ("é", "invalid container ID format"),
        ("a\n", "invalid container ID format"),
        ("x" * 256, "file name too long"),
    ],
)
@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete", "pause", "ps", "events", "exec", "run"])
def test_a_bad_id_is_refused_by_every_verb(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], verb: str, name: str, text: str
) -> None:
    assert main(verb, name) == (255 if verb == "exec" else 1)
    line = message(capfd.readouterr().err)
    assert line.startswith(cli.PREFIXES.get(verb, "") + text) or line.endswith(text)
    assert recorder.requests == []


def test_an_id_of_255_characters_is_accepted(recorder: Recorder) -> None:
    assert main("state", "x" * 255) == 0


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
@pytest.mark.parametrize("words", [["--root"], ["create", "--bundle"], ["kill", "x"], ["state"], []])
def test_words_that_no_system_call_takes_are_refused(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], words: list[str], word: str
) -> None:
    assert main(*words, word) == 1
    assert message(capfd.readouterr().err).startswith(f"argument {len(words) + 1} ")


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_what_a_unikernel_cannot_do_is_refused_by_the_runtime(recorder: Recorder, verb: str) -> None:
    """The runtime decides: it delegates the verb if the container is the fallback runtime's."""
    assert main(verb, "x") == 0
    assert [request.verb for request in recorder.requests] == [verb]
    assert recorder.refusals == [f"{cli.REFUSALS[verb]} x"]


@pytest.mark.parametrize(
    ("error", "verb", "status", "text"),
    [
        (StateError("container does not exist"), "state", 1, "container does not exist"),
        (HostError("no kvm"), "create", 1, "urunc create failed: no kvm"),
        (HostError("no kvm"), "run", 1, "urunc run failed: no kvm"),
        (HostError("no shell"), "exec", 255, "exec failed: no shell"),
        (HostError("odd", status=7), "start", 7, "odd"),
        (FileNotFoundError(2, "No such file or directory", "/x"), "start", 1, "/x: no such file or directory"),
        (PermissionError(1, "Operation not permitted"), "start", 1, "operation not permitted"),
        (PermissionError(1, "Operation not permitted", b"/\xff"), "start", 1, r"/\xff: operation not permitted"),
        (TypeError("a\nb"), "start", 1, r"internal error: TypeError: a\nb (run with --debug for the traceback)"),
        (OSError("odd"), "start", 1, "internal error: OSError: odd (run with --debug for the traceback)"),
    ],
)
def test_what_lower_layers_raise_becomes_a_line(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], error: Exception, verb: str, *, status: int, text: str
) -> None:
    recorder.answer = error

    assert main(verb, "x") == status
    assert message(capfd.readouterr().err).replace("\\\\", "\\") == text


def test_the_step_of_an_error_in_c_is_named(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.answer = OSError(17, "File exists", "/run/x")
    recorder.answer.step = "mkdir"
    main("start", "x")

    assert message(capfd.readouterr().err) == "mkdir /run/x: file exists"


def test_ctrl_c_is_130_without_a_word(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.answer = KeyboardInterrupt()

    assert main("run", "x") == 130
    assert capfd.readouterr() == ("", "")


# --- output


@pytest.mark.parametrize(
    ("answer", "status", "out"), [(None, 0, ""), (Outcome(status=3), 3, ""), ("{}", 0, "{}\n"), ("a\n", 0, "a\n")]
)
def test_text_is_printed_and_a_number_is_the_status(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], answer: str | Outcome | None, status: int, out: str
) -> None:
    recorder.answer = answer

    assert main("run", "x") == status
    assert capfd.readouterr() == (out, "")


def test_a_log_file_gets_the_line_and_stderr_the_bare_text(
    recorder: Recorder, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    log.write_text('{"before": 1}\n')
    recorder.answer = HostError('no "kvm"\n\x1b[1m on /\udcff\ud800')

    assert main("--log", str(log), "--log-format", "json", "create", "x") == 1
    before, line = log.read_text("utf-8").splitlines()
    error = json.loads(line)
    assert before == '{"before": 1}'
    assert list(error) == ["level", "msg", "time"]
    assert error["level"] == "error"
    assert error["msg"] == 'urunc create failed: no "kvm"\n\x1b[1m on /\ufffd\ufffd'
    assert re.fullmatch(RFC3339, error["time"])
    assert capfd.readouterr().err.startswith('urunc create failed: no "kvm" \\x1b[1m on /')


def test_the_bare_text_is_one_line_with_its_bytes_kept(tmp_path: Path) -> None:
    script = 'from urunc.errors import HostError\nraise HostError("a\\nb \\x1b[1m \\udcff \\ud800 \\"q\\"")'
    done = run(["--log", str(tmp_path / "l"), "state", "x"], tmp_path, script)

    assert done.returncode == 1
    assert done.stderr == b'a b \\x1b[1m \xff \\ud800 "q"\n'
    assert (tmp_path / "l").read_text("ascii").endswith(r'msg="a\nb \x1b[1m \xff \ud800 \"q\""' + "\n")


def test_json_without_a_log_file_goes_to_stderr(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.answer = HostError("no kvm")
    main("--log-format", "json", "state", "x")

    assert json.loads(capfd.readouterr().err)["msg"] == "no kvm"


def test_a_traceback_is_a_debug_line(recorder: Recorder, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recorder.answer = TypeError("bug")
    main("--debug", "--log", "log", "--log-format", "json", "state", "x")
    first, last = (json.loads(line) for line in (tmp_path / "log").read_text().splitlines())

    assert capfd.readouterr().err.startswith("internal error: TypeError: bug")
    assert first["level"] == "debug"
    assert "Traceback" in first["msg"]
    assert last["level"] == "error"


def test_debug_adds_nothing_to_a_plain_error(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.answer = StateError("container not running")
    main("--debug", "kill", "x")

    assert message(capfd.readouterr().err) == "container not running"


def test_the_log_file_is_not_inherited_and_closed_again(recorder: Recorder, tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    main("--log", str(tmp_path / "log"), "state", "x")

    assert os.listdir("/proc/self/fd") == before


# --- a process of its own: what else can be wrong with its streams


def run(
    words: list[str], path: Path, body: str = "return '{}'", *, shell: str = "", stdout: int = -1, stderr: int = -1
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command whose runtime.state has the lines `body`; `shell` is what sh does to its streams (-1: PIPE)."""
    script = path / "main.py"
    lines = "\n".join("    " + line for line in body.splitlines())
    script.write_text(
        f"import os, sys, types\ndef state(request):\n{lines}\nsys.path.insert(0, {SOURCE!r})\n"
        "from urunc import cli\nmodule = types.ModuleType('urunc.runtime')\nmodule.state = state\n"
        "sys.modules['urunc.runtime'] = module\nos._exit(cli.main(sys.argv[1:], os.environ))\n"
    )
    argv = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-I", str(script), *words]
    environ = {"XDG_RUNTIME_DIR": "/run"}
    return subprocess.run(argv, check=False, timeout=30, env=environ, stdout=stdout, stderr=stderr)


def broken_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_success_writes_nothing_to_stderr_even_without_path_and_home(tmp_path: Path) -> None:
    done = run(["state", "x"], tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"")


@pytest.mark.parametrize("shell", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "status"), [(["state", "x"], 0), (["state", "a/b"], 1), (["bogus"], 3)])
def test_closed_streams_change_no_status(tmp_path: Path, shell: str, words: list[str], status: int) -> None:
    assert run(words, tmp_path, shell=shell).returncode == status


@pytest.mark.parametrize(("words", "status"), [(["state", "x"], 0), (["state", "a/b"], 1), (["bogus"], 3)])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_broken_pipe_changes_no_status(tmp_path: Path, stream: str, words: list[str], status: int) -> None:
    writer = broken_pipe()
    try:
        done = run(words, tmp_path, stdout=writer) if stream == "stdout" else run(words, tmp_path, stderr=writer)
        assert done.returncode == status
    finally:
        os.close(writer)


def test_a_file_opened_later_is_never_taken_for_a_stream(tmp_path: Path) -> None:
    body = "assert os.open('/dev/null', os.O_RDONLY) > 2\nreturn '{}'"

    assert run(["--log", str(tmp_path / "l"), "state", "x"], tmp_path, body, shell="<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "l").read_bytes() == b""


def test_a_full_disk_behind_stdout_is_a_failure(tmp_path: Path) -> None:
    done = run(["state", "x"], tmp_path, shell=">/dev/full")

    assert done.returncode == 1
    assert message(done.stderr.decode()) == "write standard output: no space left on device"


def test_a_full_disk_behind_the_log_leaves_the_line_to_stderr(tmp_path: Path) -> None:
    done = run(["--log", "/dev/full", "state", "a/b"], tmp_path)

    assert done.returncode == 1
    assert message(done.stderr.decode()).startswith("invalid container ID format")


def test_a_slow_reader_of_a_non_blocking_stdout_gets_everything(tmp_path: Path) -> None:
    done = run(["state", "x"], tmp_path, "os.set_blocking(1, False)\nreturn 'x' * 1_000_000")

    assert (done.returncode, len(done.stdout)) == (0, 1_000_001)


def test_the_command_line_imports_no_more_than_it_may(tmp_path: Path) -> None:
    body = "return ' '.join(sorted(sys.modules))"
    loaded = set(run(["--log", "/dev/null", "state", "x"], tmp_path, body).stdout.decode().split())
    ours = {name for name in loaded if name.startswith("urunc.")}
    costly = "argparse collections dataclasses datetime enum functools importlib json logging pathlib re signal typing"

    assert ours == {"urunc." + name for name in ("_record", "arguments", "cli", "errors", "request", "runtime")}
    assert loaded & set(costly.split()) <= modules_of_a_bare_interpreter()


def modules_of_a_bare_interpreter() -> set[str]:
    """A virtual environment may import some of them by its .pth files."""
    argv = [sys.executable, "-I", "-c", "import sys, types; print(*sys.modules)"]
    return set(subprocess.run(argv, capture_output=True, check=True, text=True).stdout.split())
