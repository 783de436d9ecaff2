"""What a process has around it: read from /proc, as text to hold against a golden list.

The one rule: everything is read from outside, by the kernel's own account, and nothing of the monitor is asked.
"""

import contextlib
import os
import re
import stat
from pathlib import Path

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
SECCOMP_MODES = {"0": "off", "1": "strict", "2": "filter"}
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
TREE = ".monitor"  # the prepared tree of the monitor, which a test of its own looks at


def listing(pid: int) -> str:
    """Return everything of the cage, one thing a line."""
    lines = [
        *_status(pid),
        f"environment: {_environment(pid)}",
        *(f"namespace {kind}: {_namespace(pid, kind)}" for kind in NAMESPACES),
        *(f"descriptor {line}" for line in descriptors(pid)),
        *(f"mount {line}" for line in mounts(pid)),
        *(f"file {line}" for line in files(pid)),
    ]
    return "".join(f"{line}\n" for line in lines)


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status, without blanks around the values (proc_pid_status(5))."""
    pairs = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {key: " ".join(value.split()) for key, value in pairs}


def _status(pid: int) -> list[str]:
    found = status(pid)
    return [
        f"uid: {found['Uid']}",
        f"gid: {found['Gid']}",
        f"groups: {found['Groups'] or 'none'}",
        f"umask: {found['Umask']}",
        *(f"{kind}: {int(found[kind], 16):x}" for kind in CAPABILITY_SETS),
        f"no_new_privs: {found['NoNewPrivs']}",
        f"seccomp: {SECCOMP_MODES[found['Seccomp']]}, {found['Seccomp_filters']} in all",
    ]


def _environment(pid: int) -> str:
    content = Path(f"/proc/{pid}/environ").read_bytes().rstrip(b"\0")
    return content.replace(b"\0", b" ").decode() or "none"


def _namespace(pid: int, kind: str) -> str:
    own, ours = (os.readlink(f"/proc/{who}/ns/{kind}") for who in (pid, "self"))
    return "the host's" if own == ours else "its own"


def descriptors(pid: int) -> list[str]:
    """Return the standard streams one by one, then what kinds of others there are."""
    directory = f"/proc/{pid}/fd"
    targets = {}
    for number in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile: a monitor that starts opens this and that
            targets[int(number)] = os.readlink(f"{directory}/{number}")
    standard = [f"{number}: {_shown(targets.pop(number))}" for number in range(3) if number in targets]
    return [*standard, *sorted({_shown(target) for target in targets.values()})]


def _shown(target: str) -> str:
    if Path(target).suffix and Path(target).name.startswith(("out.", "err.")):
        return "a file of the caller"
    return re.sub(r":\[\d+\]$", "", target)


def mounts(pid: int) -> list[str]:
    """Return each mount with its flags; type and limits of what is not the host's (proc_pid_mountinfo(5))."""
    lines = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        point, flags, *propagation = before.split()[4:]
        kind, _, limits = after.split(" ", 2)
        words = [point, flags, *(word.partition(":")[0] for word in propagation)]
        lines.append(" ".join([*words, kind, limits] if point == "/" else words))
    return lines


def files(pid: int) -> list[str]:
    """Return everything that is in the monitor's root, but for what is in its prepared tree."""
    root = f"/proc/{pid}/root/"
    lines = []
    for directory, directories, names in os.walk(root):
        if directory == root:
            lines.append(_file(root, ""))
        directories.sort()
        paths = (os.path.join(directory, name)[len(root) :] for name in sorted([*directories, *names]))
        lines.extend(_file(root, path) for path in paths)
        if directory == root:
            directories[:] = [name for name in directories if name != TREE]
    return lines


def _file(root: str, path: str) -> str:
    found = os.lstat(root + path)
    kind, mode = stat.filemode(found.st_mode)[0], stat.S_IMODE(found.st_mode)
    words = [f"/{path}", kind, f"{mode:04o}", f"{found.st_uid}:{found.st_gid}"]
    if kind in "cb":
        words.append(f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}")
    if kind == "l":
        words.append(f"-> {os.readlink(root + path)}")
    return " ".join(words)
