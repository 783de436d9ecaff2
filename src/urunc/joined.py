"""`urunc exec`: one more process in a container of the process monitor; a unikernel has no place for one.

The one rule: it has the namespaces, the cgroups and the cage of the container, and what its command line or its file
says of it instead; nothing of the container is changed.
"""

import os

from . import _fastpath, agent, bundle, lifecycle, ordinary, plan, runtime
from .credentials import Confinement, before
from .errors import HostError, SpecError, UruncError
from .jsontext import decode, table
from .launch import advised, profile, write_pid
from .monitors import process
from .request import Outcome
from .slots import MOUNT_SLOT, TIME_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .request import Request
    from .spec import Spec
    from .terminal import Session

    Operation = tuple[object, ...]
    Groups = tuple[tuple[str, str], ...]

REFUSAL = "a unikernel has one program and no shell: exec is not possible in container"
# type of a namespace: its name below /proc/PID/ns
NAMESPACES = {
    "user": "user",
    "ipc": "ipc",
    "uts": "uts",
    "network": "net",
    "pid": "pid",
    "cgroup": "cgroup",
    "time": "time",
    "mount": "mnt",
}
_SETS = ("bounding", "effective", "permitted", "ambient")  # of the last what is inheritable too (capabilities(7))


def execute(request: "Request") -> Outcome:
    """Run the program in the container; return its status (128 + n for signal n), 0 when detached."""
    from . import terminal
    from .foreground import Forwarding, status_of

    sandbox = _fastpath.Sandbox(-1)

    def forward(number: int) -> None:
        if sandbox.pid:
            os.kill(sandbox.pid, number)

    # what joins a frozen cgroup is frozen before it has told us anything: who thaws it needs the lock
    with Forwarding(forward), runtime.open_(request, locked=not request.ignore_paused) as container:
        record = container.record()
        status = container.status(record)
        if not (status == "paused" and request.ignore_paused):
            lifecycle.check(status, "exec", request.id)
        if not record.flags & _fastpath.FLAG_PROCESS:
            raise UruncError(f"{REFUSAL} {request.id}")
        spec = spec_of(request, bundle_of(record), record.pid)
        _check_terminal(request, spec)
        with terminal.Session(request, spec.terminal and not request.console_socket) as session:
            try:
                _start(session, sandbox, spec, record)
            except BaseException:
                sandbox.close()  # ends what has not begun
                raise
            steps = _steps(spec, record.pid, sandbox.pid) if request.debug else ()
            container.let_go()  # the process is on its own, and may take its time: others need the lock
            if request.detach:
                return Outcome(steps=steps)
            session.attach()
            return Outcome(status=status_of(os.waitpid(sandbox.pid, 0)[1]), steps=steps)


def _steps(spec: "Spec", pid: int, joined: int) -> "tuple[str, ...]":
    """Return what --debug says of a process `joined` beside the container's `pid`, with the words that runc has."""
    return (
        f"nsexec container setup: namespaces {' '.join(namespaces_of(pid))} of process {pid}",
        f"child process in init(): process {joined}",
        f"setns_init: about to exec {spec.args[0]}",
    )


def bundle_of(record: "_fastpath.State") -> str:
    """Return the directory that the container was made from."""
    text = record.json("running").encode("utf-8", "surrogateescape")
    return str(table(decode(text, "state.json"), "state.json")["bundle"])


def spec_of(request: "Request", directory: str, pid: int) -> "Spec":
    """Return the container's spec with the process that `request` names; its rootfs is what process `pid` sees."""
    document = dict(table(decode(bundle.read(directory), "config.json"), "config.json"))
    where = "config.json"
    if request.process:
        where = request.process
        document["process"] = table(decode(_text(where), where), where)
    else:
        document["process"] = process_of(request, table(document.get("process"), "config.json: process"))
    if not table(document["process"], where).get("args"):
        raise SpecError("process args cannot be empty: name a command behind the id, or a file by --process")
    document["root"] = {"path": f"/proc/{pid}/root"}
    return bundle.of(document, directory, where)


def process_of(request: "Request", given: "Mapping[str, object]") -> "dict[str, object]":
    """Return the `process` of the container as the options of `request` change it."""
    user = dict(table(given.get("user"), "process.user"))
    if request.user:
        uid, colon, gid = request.user.partition(":")
        if not uid.isdecimal() or (colon and not gid.isdecimal()):
            raise SpecError(f"parsing user {request.user}: give numbers: uid or uid:gid")
        user |= {"uid": int(uid)} | ({"gid": int(gid)} if colon else {})
    wrong = [word for word in request.additional_gids if not word.isdecimal()]
    if wrong:
        raise SpecError(f"parsing additional-gids {wrong[0]}: give numbers")
    user["additionalGids"] = [*_list(user.get("additionalGids")), *(int(word) for word in request.additional_gids)]
    changes: dict[str, object] = {
        "args": list(request.args),
        "env": [*_list(given.get("env")), *request.env],
        "terminal": request.tty,
        "user": user,
    }
    if request.cwd:
        changes["cwd"] = request.cwd
    if request.no_new_privs:
        changes["noNewPrivileges"] = True
    if request.apparmor:
        changes["apparmorProfile"] = request.apparmor
    if request.process_label:
        changes["selinuxLabel"] = request.process_label
    if request.cap:
        sets = table(given.get("capabilities"), "process.capabilities")
        changes["capabilities"] = {**sets, **{name: [*_list(sets.get(name)), *request.cap] for name in _SETS}}
    return {**given, **changes}


def _list(value: object) -> "list[object]":
    return value if isinstance(value, list) else []


def _text(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"open {path}: {os.strerror(error.errno or 0).lower()}") from None
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _check_terminal(request: "Request", spec: "Spec") -> None:
    if spec.terminal and request.detach and not request.console_socket:
        raise HostError("cannot allocate tty if urunc will detach without setting console socket: give one")
    if request.console_socket and not (spec.terminal and request.detach):
        raise HostError("cannot use console socket if urunc will not detach or allocate tty: drop --console-socket")


def _start(session: "Session", sandbox: "_fastpath.Sandbox", spec: "Spec", record: "_fastpath.State") -> None:
    """Make the process and have it execute its program; the pid file is there before it does."""
    request = session.request
    files = ordinary.preserved(request.preserve_fds)
    written = False
    try:
        groups = groups_of(record.cgroups(), request.cgroup)
        kinds = namespaces_of(record.pid)
        root = f"/proc/{record.pid}/root" if record.flags & _fastpath.FLAG_CHROOT else ""
        sandbox.execute(_fastpath.pack(joining(groups, [(kind, record.pid) for kind in kinds])))
        listener = agent.connected(spec, request.id, "running", (sandbox.pid, record.pid))
        operations = operations_of(request, spec, listener, kinds, files, root)
        sandbox.execute(_fastpath.pack(operations), tuple(file.fd for file in files))
        lifecycle.check("stopped" if record.status() == "stopped" else "", "exec", request.id)  # its pid is another's?
        if spec.oom_score_adj is not None:
            _write(f"/proc/{sandbox.pid}/oom_score_adj", str(spec.oom_score_adj))
        if request.pid_file:
            write_pid(request.pid_file, sandbox.pid)
            written = True
        session.receive()
        sandbox.start()
    except BaseException as error:
        if written:
            os.unlink(request.pid_file)
        if isinstance(error, OSError):
            raise advised(error) from None
        raise
    finally:
        for file in files:
            os.close(file.fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def namespaces_of(pid: int) -> "list[str]":
    """Return the types of the namespaces of process `pid` that are not ours: joining our own is not always allowed."""
    found = []
    for kind, name in NAMESPACES.items():
        try:
            if not os.path.samestat(os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")):
                found.append(kind)
        except FileNotFoundError:
            continue  # a kernel without such namespaces; of a process that has ended, which is seen later
    return found


def groups_of(own: "Groups", wanted: "tuple[str, ...]") -> "Groups":
    """Return the cgroups to enter: the container's `own`, or those below that --cgroup names.

    `wanted` are PATH, for all hierarchies, or CONTROLLER[,CONTROLLER]:PATH.
    """
    below: dict[str, str] = {}
    for word in wanted:
        controllers, colon, path = word.rpartition(":")
        if ".." in path.split("/"):
            raise SpecError(f"bad sub cgroup path: {path}: it must not lead out of the container's")
        names = controllers.split(",") if colon else [names for names, _ in own]
        for name in names:
            matching = [names for names, _ in own if name == names or name in names.split(",")]
            if not matching:
                raise SpecError(f"unknown controller {name} in --cgroup {word}: name one that the container has")
            below[matching[0]] = path.strip("/")
    return tuple((names, f"{path}/{below[names]}".rstrip("/") if names in below else path) for names, path in own)


def joining(groups: "Groups", namespaces: "list[tuple[str, int]]") -> "tuple[Operation, ...]":
    """Return the first plan: how a urunc-init comes into the container's `namespaces` (type, pid that has it)."""
    joins = [("join", plan.CLONE_NEW[kind], f"/proc/{pid}/ns/{NAMESPACES[kind]}") for kind, pid in namespaces]
    return (
        ("stage", "sandbox"),
        ("cgroup_join", tuple(names for names, _ in groups), tuple(path for _, path in groups)),
        *joins,
        ("clone", 0),
    )


def operations_of(  # noqa: PLR0913, PLR0917  all that a process which joins is made of
    request: "Request",
    spec: "Spec",
    listener: "tuple[Operation, ...]",
    namespaces: "list[str]",
    files: "ordinary.Files",
    root: str = "",
) -> "tuple[Operation, ...]":
    """Return the second plan: how it becomes the program.

    `listener` is what hands the listener of its filter over (agent.connected); `root` is the container's, where that is
    not the one of its mount namespace.
    """
    console = len(files) + 1
    environment = ordinary.environment(spec)
    confinement = Confinement(keyring=not request.no_new_keyring)
    notify, filters = agent.loaded(spec, profile(spec, answered=True))
    return (
        ("stage", "root"),
        *([("pidfd_socket", request.pidfd_socket)] if request.pidfd_socket else []),
        *([("other_root", MOUNT_SLOT, root)] if root else []),
        *listener,
        *ordinary.console_of(spec, request.console_socket, console),
        ("stage", "wait"),
        *([("terminal", console)] if spec.terminal and not process.ptmx(spec) else []),
        *([("enter_namespace", TIME_SLOT, plan.CLONE_NEW["time"])] if "time" in namespaces else []),
        *before(spec, confinement),
        *([("change_root", MOUNT_SLOT)] if root else []),
        *process.terminal_of(spec, console),
        ("change_directory", spec.cwd),
        ("program", spec.args[0], environment),
        *notify,
        ("stage", "enter"),
        *ordinary.last_stage(spec, filters, files, environment),
    )
