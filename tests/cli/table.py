"""What runc 1.1.5 returns and prints, as rows: the command line that clients and conformance suites rely on.

The one rule: a row is data, true of runc; where urunc differs on purpose, `urunc` says how and `reason` why.
"""

from dataclasses import dataclass, field
from typing import Any

REMOVE = None  # as the value of a change: the key is not there


@dataclass(frozen=True)
class Row:
    """A command line.  {bundle}, {dir} and {long} in its words are filled in; `--` stands for nothing.

    `before` is what the container `c` is first (one of the states of test_table.py, "" for none); `after` its
    status then, "" for do not look.  `says` are words that must be in stderr, `prints` in stdout.
    """

    name: str
    words: tuple[str, ...]
    status: int = 0
    says: tuple[str, ...] = ()
    prints: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    changes: dict[str, Any] = field(default_factory=dict)  # of config.json
    text: str | None = None  # config.json as it stands; "" for an empty file
    files: tuple[str, ...] = ("config.json",)
    urunc: dict[str, Any] = field(default_factory=dict)  # fields of this row that are others for urunc
    reason: str = ""
    unikernel: dict[str, Any] = field(default_factory=dict)  # the same, for urunc with a guest alone
    program: bool = False  # what it is about is a program of the host: not for urunc with a guest


NO_EXEC = {"status": 255, "says": ("exec failed", "a unikernel has one program and no shell: exec is not possible")}
CREATE = ("create", "--bundle", "{bundle}", "c")
GONE = {"status": 1, "after": "gone"}


def create(name: str, *says: str, words: tuple[str, ...] = CREATE, **fields: Any) -> Row:
    """A create that fails if it says something."""
    expected = GONE if says else {"status": 0, "after": "created"}
    return Row(name=name, words=words, says=says, **({**expected, **fields}))


def named(identity: str) -> tuple[str, ...]:
    return ("create", "--bundle", "{bundle}", identity)


def option(*words: str) -> tuple[str, ...]:
    return ("create", "--bundle", "{bundle}", *words, "c")


USAGE = [
    Row("no arguments", ()),
    Row("unknown command", ("bogus",), 3, ("No help topic for 'bogus'",)),
    Row("unknown global option", ("--bogus",), 1, ("flag provided but not defined: -bogus",)),
    Row("--version", ("--version",), prints=("runc version ", "\ncommit: ", "\nspec: 1.")),
    Row("-v", ("-v",), prints=("version",)),
    Row("-h", ("-h",), prints=("NAME:\n   ", "runc - Open Container Initiative runtime")),
    Row("create -h", ("create", "-h"), prints=("NAME:\n   ", "runc create - ")),
    Row("--help", ("--help",), prints=("create", "start", "state", "kill", "delete")),
    Row("help kill", ("help", "kill"), prints=("kill",)),
    Row("unknown option of a command", ("state", "--bogus", "x"), 1, ("flag provided but not defined: -bogus",)),
    *(
        Row(f"{verb} without an id", (verb,), 1, (f'"{verb}" requires', "1 argument(s)"))
        for verb in ("create", "start", "state", "kill", "delete", "exec", "pause", "resume", "ps", "update")
    ),
    Row("start of two", ("start", "a", "b"), 1, ('"start" requires exactly 1 argument(s)',)),
    Row("unknown log format", ("--log-format", "xml", "list"), 1, ("invalid log-format: xml",)),
    Row(
        "log in a missing directory", ("--log", "/no/dir/l", "list"), 1, ("open /no/dir/l: no such file or directory",)
    ),
]

CONFIGURATIONS = [
    Row(
        "missing bundle",
        ("create", "--bundle", "/nonexistent", "c"),
        1,
        ("chdir /nonexistent: no such file or directory",),
        after="gone",
    ),
    Row(
        "create with --debug",
        ("--debug", *CREATE),
        says=("level=debug", "nsexec container setup", "child process in init()", "init: closing the pipe to signal"),
        after="created",
    ),
    create("no config.json", "JSON specification file config.json not found", files=()),
    create(
        "broken JSON",
        "invalid character 'b' looking for beginning of object key string",
        text="{ bad",
        urunc={"says": ("config.json: invalid JSON at line 1 column 3",)},
        reason="says where",
    ),
    create("empty config.json", "EOF", text="", urunc={"says": ("config.json", "JSON")}, reason="says in which file"),
    create("{}", "process property must not be empty", text="{}"),
    create("[]", "", text="[]", urunc={"says": ("config.json",)}),
    create("ociVersion empty", changes={"ociVersion": ""}),
    create("ociVersion 1.0.2", changes={"ociVersion": "1.0.2"}),
    create("ociVersion 1.3.0", changes={"ociVersion": "1.3.0"}),
    create("ociVersion 1.99.0", changes={"ociVersion": "1.99.0"}),
    create("no ociVersion", changes={"ociVersion": REMOVE}),
    *(
        create(
            f"ociVersion {version}",
            changes={"ociVersion": version},
            urunc={**GONE, "says": ("ociVersion", version)},
            reason="the specification wants an error for a version that is not supported",
        )
        for version in ("0.1.0", "2.0.0", "abc")
    ),
    create("no process", "process property must not be empty", changes={"process": REMOVE}),
    create(
        "no args",
        "args must not be empty",
        changes={"process": {"args": REMOVE}},
        urunc={"changes": {"process": {"args": REMOVE}, "annotations": REMOVE}},
        reason="a unikernel's command may come from its annotations",
    ),
    create(
        "empty args",
        "args must not be empty",
        changes={"process": {"args": []}},
        urunc={"changes": {"process": {"args": []}, "annotations": REMOVE}},
        reason="a unikernel's command may come from its annotations",
    ),
    create("relative cwd", "Cwd must be an absolute path", changes={"process": {"cwd": "tmp"}}),
    create("no root", "root must be specified", changes={"root": REMOVE}),
    create(
        "missing rootfs",
        "invalid rootfs: stat",
        "no such file or directory",
        changes={"root": {"path": "nope"}},
    ),
    create(
        "args is a string",
        "process.args",
        changes={"process": {"args": "sh"}},
    ),
    create("unknown top-level key", changes={"unknown": {"a": 1}}),
    create("unknown annotation", changes={"annotations": {"org.example": "x"}}),
    create(
        "no linux section",
        "unable to set hostname without a private UTS namespace",
        changes={"linux": REMOVE},
    ),
    create(
        "unknown namespace type",
        '"foo"',
        "does not exist",
        changes={"linux": {"namespaces": [{"type": "foo"}, {"type": "mount"}]}, "hostname": REMOVE},
    ),
    create(
        "missing namespace file",
        "/run/netns/nope",
        "no such file or directory",
        changes={
            "linux": {"namespaces": [{"type": "network", "path": "/run/netns/nope"}, {"type": "mount"}]},
            "hostname": REMOVE,
        },
    ),
    create(
        "hostname without uts",
        "unable to set hostname without a private UTS namespace",
        changes={"linux": {"namespaces": [{"type": "network"}, {"type": "mount"}]}},
    ),
    create(
        "hidden paths without a mount namespace",
        "unable to restrict sys entries without a private MNT namespace",
        changes={
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}], "maskedPaths": ["/proc/kcore"]},
            "hostname": REMOVE,
        },
        unikernel={"status": 0, "says": (), "after": "created"},
        reason="a monitor has a mount namespace of its own in any case",
    ),
    create(
        "unknown rlimit",
        "wrong rlimit value: RLIMIT_TEST",
        changes={"process": {"rlimits": [{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]}},
    ),
    create(
        "cwd that is not in the rootfs",
        changes={"process": {"cwd": "/nope"}},
    ),
]

OPTIONS = [
    create(
        "pid file in a missing directory",
        "/no/dir/.p: no such file or directory",
        words=option("--pid-file", "/no/dir/p"),
    ),
    create("--preserve-fds abc", 'invalid value "abc" for flag -preserve-fds', words=option("--preserve-fds", "abc")),
    create("--no-pivot", words=option("--no-pivot")),
    create("--no-new-keyring", words=option("--no-new-keyring")),
    create(
        "terminal without a socket",
        "cannot allocate tty if",
        "will detach without setting console socket",
        changes={"process": {"terminal": True}},
    ),
    create(
        "socket without a terminal",
        "cannot use console socket if",
        words=option("--console-socket", "/tmp/nosock"),
    ),
    create(
        "terminal with a missing socket",
        "/tmp/nosock",
        "no such file or directory",
        words=option("--console-socket", "/tmp/nosock"),
        changes={"process": {"terminal": True}},
    ),
    create("options after the id", words=("create", "c", "--bundle", "{bundle}")),
    create("relative bundle", words=("create", "--bundle", ".", "c")),
    create("no bundle", words=("create", "c")),
    Row(
        "root that cannot be made",
        ("--root", "/proc/nope", *CREATE),
        1,
        ("mkdir /proc/nope: no such file or directory",),
        after="gone",
        urunc={"says": ("/proc/nope", "no such file or directory")},
    ),
]

IDENTITIES = [
    Row("id empty", named(""), 1, ("container id cannot be empty",)),
    *(
        Row(f"id {identity}", named(identity), 1, ("invalid container ID format",))
        for identity in ("../x", "a/b", "a b", ".", "..", "é", "a:b", "a\nb", "@", "*")
    ),
    Row("id of 300", named("{long}"), 1, ("file name too long",)),
    *(Row(f"id {identity}", named(identity)) for identity in ("ok_A-1.2+x", "...", "_", "0")),
    Row("id -x", ("create", "--bundle", "{bundle}", "--", "-x")),
    *(
        Row(f"{verb} ../x", (verb, "../x"), 1, ("invalid container ID format",))
        for verb in ("state", "start", "kill", "delete", "pause", "ps")
    ),
    *(
        Row(f"{verb} of an unknown id", (verb, "nope"), 1, ("container does not exist",))
        for verb in ("start", "state", "kill", "delete", "pause", "resume", "ps", "update")
    ),
    Row("exec in an unknown id", ("exec", "nope", "true"), 255, ("exec failed", "container does not exist")),
    Row("events of an unknown id", ("events", "--stats", "nope"), 1, ("container does not exist",)),
    Row("delete --force of an unknown id", ("delete", "--force", "nope")),
    Row("delete -f of an unknown id", ("delete", "-f", "nope")),
]

EXISTS = ("container with given ID already exists",)
STARTED = ("cannot start an already running container",)
LIFE = [
    *(Row(f"duplicate of a {s} one", CREATE, 1, EXISTS, before=s, after=s) for s in ("created", "running", "stopped")),
    Row("start created", ("start", "c"), before="created", after="running"),
    Row("start running", ("start", "c"), 1, STARTED, before="running", after="running"),
    Row("start stopped", ("start", "c"), 1, ("cannot start a container that has stopped",), before="stopped"),
    *(
        Row(
            f"state {s}", ("state", "c"), prints=('"id": "c"', f'"status": "{s}"', '"bundle"', '"ociVersion"'), before=s
        )
        for s in ("created", "running", "stopped")
    ),
    Row("state stopped has no pid", ("state", "c"), prints=('"pid":0',), before="stopped"),
    *(
        Row(f"kill running {signal}", ("kill", "c", signal), before="running", after=after)
        for signal, after in {
            **dict.fromkeys(("KILL", "SIGKILL", "sigkill", "kill", "9"), "stopped"),
            **dict.fromkeys(("0", "WINCH", "CONT", "URG", "28"), "running"),
            **dict.fromkeys(("TERM", "SIGTERM", "sigterm", "term", "15", "37"), ""),
        }.items()
    ),
    Row("kill running without a signal", ("kill", "c"), before="running"),
    *(
        Row(
            f"kill running {signal}",
            ("kill", "c", signal),
            1,
            ("unknown signal", signal),
            before="running",
            after="running",
        )
        for signal in ("FOO", "RTMIN+3", "SIGRTMIN+3")
    ),
    *(
        Row(
            f"kill running {signal}",
            ("kill", "c", signal),
            1,
            ("unable to signal init: invalid argument",),
            before="running",
            after="running",
            urunc={"says": ("unknown signal", signal)},
            reason="the word is wrong whatever the container does",
        )
        for signal in ("999", "-1")
    ),
    Row("kill --all running", ("kill", "--all", "c", "KILL"), before="running", after="stopped"),
    Row("kill -a running", ("kill", "-a", "c", "9"), before="running", after="stopped"),
    Row("kill created KILL", ("kill", "c", "KILL"), before="created", after="stopped"),
    Row("kill created TERM", ("kill", "c", "TERM"), before="created"),
    Row("kill stopped", ("kill", "c", "TERM"), 1, ("container not running",), before="stopped", after="stopped"),
    Row("kill --all stopped", ("kill", "--all", "c", "9"), before="stopped", after="stopped"),
    Row("delete created", ("delete", "c"), before="created", after="gone"),
    Row("delete --force created", ("delete", "--force", "c"), before="created", after="gone"),
    Row(
        "delete running",
        ("delete", "c"),
        1,
        ("cannot delete container c that is not stopped: running",),
        before="running",
        after="running",
    ),
    Row("delete --force running", ("delete", "--force", "c"), before="running", after="gone"),
    Row("delete stopped", ("delete", "c"), before="stopped", after="gone"),
    Row("delete --force stopped", ("delete", "--force", "c"), before="stopped", after="gone"),
    Row("delete with the option last", ("delete", "c", "--force"), before="running", after="gone"),
    Row("pause stopped", ("pause", "c"), 1, ("container not running",), before="stopped"),
    Row("pause created", ("pause", "c"), before="created", after="paused"),
    Row("pause running", ("pause", "c"), before="running", after="paused"),
    Row("pause paused", ("pause", "c"), 1, ("container not running",), before="paused", after="paused"),
    Row("resume paused", ("resume", "c"), before="paused", after="running"),
    Row("kill paused KILL", ("kill", "c", "KILL"), before="paused", after="stopped"),
    Row("kill --all paused KILL", ("kill", "--all", "c", "KILL"), before="paused", after="stopped"),
    Row(
        "delete paused",
        ("delete", "c"),
        1,
        ("cannot delete container c that is not stopped: paused",),
        before="paused",
        after="paused",
    ),
    Row("delete --force paused", ("delete", "--force", "c"), before="paused", after="gone"),
    Row("start paused", ("start", "c"), 1, ("cannot start",), before="paused", after="paused"),
    Row("list of a paused one", ("list", "--format=json"), prints=('"status":"paused"',), before="paused"),
    Row(
        "exec in a paused one",
        ("exec", "c", "true"),
        255,
        ("exec failed", "cannot exec in a paused container"),
        before="paused",
    ),
    *(
        Row(
            f"exec in a {s} one, {name}",
            ("exec", "c", "/bin/busybox", *words),
            status,
            before=s,
            after=s,
            unikernel=NO_EXEC,
        )
        for s, name, words, status in (
            ("created", "true", ("true",), 0),
            ("running", "true", ("true",), 0),
            ("running", "exit 7", ("sh", "-c", "exit 7"), 7),
            ("running", "killed by KILL", ("sh", "-c", "kill -9 $$"), 137),
        )
    ),
    *(
        Row(
            f"exec {name}",
            ("exec", *words),
            255,
            ("exec failed", *says),
            before="running",
            after="running",
            unikernel=NO_EXEC,
        )
        for name, words, says in (
            ("not found", ("c", "nope"), ('exec: "nope": executable file not found in $PATH',)),
            ("not executable", ("c", "/dev"), ('exec: "/dev": permission denied',)),
            ("without a command", ("c",), ("process args cannot be empty",)),
            ("of a missing file", ("-p", "/nope", "c"), ("open /nope: no such file or directory",)),
            (
                "in a missing directory",
                ("--cwd", "/nope", "c", "/bin/busybox"),
                ('chdir to cwd ("/nope") set in config.json failed: no such file or directory',),
            ),
            (
                "--detach --tty without a console socket",
                ("-d", "-t", "c", "/bin/busybox"),
                ("cannot allocate tty if", "will detach without setting console socket"),
            ),
            (
                "with a console socket and no tty",
                ("--console-socket", "/tmp/nosock", "c", "/bin/busybox"),
                ("cannot use console socket if", "will not detach or allocate tty"),
            ),
        )
    ),
    Row("resume created", ("resume", "c"), 1, ("container not paused",), before="created", after="created"),
    Row("resume running", ("resume", "c"), 1, ("container not paused",), before="running", after="running"),
    Row("resume stopped", ("resume", "c"), 1, ("container not paused",), before="stopped"),
    Row(
        "exec in a stopped one",
        ("exec", "c", "true"),
        255,
        ("exec failed", "cannot exec in a stopped container"),
        before="stopped",
    ),
    Row("state of one that was killed", ("state", "c"), prints=('"pid":0', '"status":"stopped"'), before="killed"),
    Row("delete of one that was killed", ("delete", "c"), before="killed", after="gone"),
    Row("state without its bundle", ("state", "c"), prints=('"status":"stopped"',), before="without its bundle"),
    Row("delete without its bundle", ("delete", "c"), before="without its bundle", after="gone"),
    Row("delete of a deleted one", ("delete", "c"), 1, ("container does not exist",), before="deleted"),
    Row("create of a deleted one", CREATE, before="deleted", after="created"),
    Row("ps running", ("ps", "c"), prints=("UID", "PID"), before="running"),
    Row("ps -f json running", ("ps", "-f", "json", "c"), prints=("[", "]"), before="running"),
    Row("ps stopped", ("ps", "c"), prints=("PID",), before="stopped"),
    Row("ps -f bad", ("ps", "-f", "bad", "c"), 1, ("invalid format option",), before="created"),
    Row(
        "events --stats running",
        ("events", "--stats", "c"),
        prints=('{"type":"stats","id":"c","data":{"cpu":{"usage":{"total":', '"memory":', '"pids":', '"intel_rdt":{}'),
        before="running",
        after="running",
    ),
    Row("update --memory running", ("update", "--memory", "512m", "c"), before="running", after="running"),
    Row("update --pids-limit running", ("update", "--pids-limit", "20", "c"), before="running", after="running"),
    Row("events of a stopped one", ("events", "--stats", "c"), 1, ("c is not running",), before="stopped"),
    Row(
        "update of a stopped one",
        ("update", "--pids-limit", "20", "c"),
        1,
        ("container not running",),
        before="stopped",
    ),
    Row(
        "update -r of a missing file",
        ("update", "-r", "/nope", "c"),
        1,
        ("/nope: no such file",),
        before="created",
    ),
    Row(
        "update --memory abc",
        ("update", "--memory", "abc", "c"),
        1,
        ("invalid value for memory: invalid size: 'abc'",),
        before="created",
    ),
]

LISTS = [
    Row("list, empty", ("list",), prints=("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")),
    Row("list -f json, empty", ("list", "-f", "json"), prints=("null",), urunc={"prints": ("[]",)}, reason="as crun"),
    Row("list", ("list",), prints=("c", "created", "{bundle}", "root"), before="created"),
    Row("list -q", ("list", "-q"), prints=("c\n",), before="created"),
    Row("list -f json", ("list", "--format=json"), prints=('"id":"c"', '"status":"running"'), before="running"),
    Row("list -f bad", ("list", "-f", "bad"), 1, ("invalid format option",)),
    Row("features", ("features",), prints=('"ociVersionMin"', '"hooks"')),
    Row("spec", ("spec", "--bundle", "{bundle}"), files=()),
    Row(
        "spec --rootless",
        ("spec", "--rootless", "--bundle", "{bundle}"),
        files=(),
        unikernel={"status": 1, "says": ("a rootless container is no unikernel",)},
    ),
    Row("spec over a config.json", ("spec", "--bundle", "{bundle}"), 1, ("File config.json exists. Remove it first",)),
]

FALSE = {"path": "/bin/sh", "args": ["sh", "-c", "echo oops >&2; exit 5"]}


def hook(stage: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"hooks": {stage: [row]}}


HOOKS = [
    *(
        create(f"{stage} hook that exits 5", "error running hook", "exit status 5", "oops", changes=hook(stage, FALSE))
        for stage in ("prestart", "createRuntime", "createContainer")
    ),
    create(
        "hook that is missing", "/nope", "no such file or directory", changes=hook("createRuntime", {"path": "/nope"})
    ),
    create(
        "hook of a relative path",
        "bin/true",
        changes=hook("createRuntime", {"path": "bin/true"}),
        urunc={"says": ("hooks.createRuntime", "path")},
        reason="a config.json that the specification forbids, before anything is made",
    ),
    create(
        "hook past its timeout",
        "hook ran past",
        "timeout",
        changes=hook("createRuntime", {"path": "/bin/sleep", "args": ["sleep", "5"], "timeout": 1}),
    ),
    create(
        "hook of timeout -1",
        "timeout",
        # one that takes long: runc's time is over at once, but a hook that ends at once may be seen to end first
        changes=hook("createRuntime", {"path": "/bin/sleep", "args": ["sleep", "30"], "timeout": -1}),
    ),
    create(
        "hook killed by a signal",
        "error running hook",
        "signal",
        changes=hook("createRuntime", {"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}),
    ),
    Row(
        "poststop hook that exits 5",
        ("delete", "c"),
        0,
        ("exit status 5",),
        before="created",
        after="gone",
        changes=hook("poststop", FALSE),
    ),
    create(
        "poststart hook that exits 5",
        "error running hook",
        changes=hook("poststart", FALSE),
        urunc={"status": 0, "says": (), "after": "created"},
        reason="runc 1.1 runs it in create, the specification in start",
    ),
]


def program(*args: str) -> dict[str, Any]:
    return {"process": {"args": list(args)}}


PROGRAMS = [
    create(
        "args[0] not found", 'exec: "nope": executable file not found in $PATH', changes=program("nope"), program=True
    ),
    create(
        "args[0] not found, a path",
        'exec: "/etc/nope": stat',
        "no such file or directory",
        changes=program("/etc/nope"),
        program=True,
    ),
    create(
        "missing source of a mount",
        'error mounting "/no/such" to rootfs at "/x": stat /no/such: no such file or directory',
        changes={"mounts": [{"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]}]},
        program=True,
    ),
    create("--preserve-fds of what is not open", words=option("--preserve-fds", "2"), program=True),
    Row(
        "run, exit 3",
        ("run", "--bundle", "{bundle}", "c"),
        3,
        after="gone",
        changes=program("/bin/busybox", "sh", "-c", "exit 3"),
        program=True,
    ),
    Row(
        "run, args[0] not found",
        ("run", "--bundle", "{bundle}", "c"),
        1,
        ("run failed", 'exec: "nope": executable file not found in $PATH'),
        after="gone",
        changes=program("nope"),
        program=True,
    ),
    Row("run --detach", ("run", "--detach", "--bundle", "{bundle}", "c"), after="running"),
    Row(
        "run --keep",
        ("run", "--keep", "--bundle", "{bundle}", "c"),
        after="stopped",
        changes=program("/bin/busybox", "true"),
        program=True,
    ),
    Row(
        "startContainer hook that exits 5",
        ("start", "c"),
        before="created",
        after="stopped",
        changes=hook("startContainer", {"path": "/bin/busybox", "args": ["sh", "-c", "echo oops >&2; exit 5"]}),
        urunc={"status": 1, "says": ("error running hook", "exit status 5", "oops")},
        reason="the specification wants an error, and runc's start does not see it",
        program=True,
    ),
    Row(
        "unknown capability",
        CREATE,
        0,
        ("ignoring unknown or unavailable capabilities: [CAP_FOO]",),
        after="created",
        changes={"process": {"capabilities": {"bounding": ["CAP_FOO"]}}},
        urunc={"says": ()},
        reason="a warning at every create is not for who has asked for nothing else",
    ),
    create(
        "--systemd-cgroup with a path",
        'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/a/b" instead',
        words=("--systemd-cgroup", *CREATE),
        changes={"linux": {"cgroupsPath": "/a/b"}},
    ),
    Row(
        "checkpoint of a running one",
        ("checkpoint", "c"),
        1,
        ("criu",),
        before="running",
        after="running",
        urunc={"says": ("cannot be checkpointed",)},
    ),
]

LOGS = [
    Row(
        "--log on an error",
        ("--log", "{bundle}/l", "state", "nope"),
        1,
        ("container does not exist",),
    ),
    Row(
        "--log-format json on an error",
        ("--log-format", "json", "state", "nope"),
        1,
        ('{"level":"error","msg":"container does not exist', '"time":"'),
    ),
    Row(
        "--log and --log-format json on an error of create",
        ("--log", "{bundle}/l", "--log-format", "json", "create", "--bundle", "/nonexistent", "c"),
        1,
        ("create failed: chdir /nonexistent: no such file or directory",),
    ),
]

ROWS = [*USAGE, *CONFIGURATIONS, *OPTIONS, *IDENTITIES, *LIFE, *LISTS, *HOOKS, *PROGRAMS, *LOGS]
