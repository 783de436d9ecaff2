"""Hooks of the runtime-spec: who runs when, and the state that each reads from its standard input.

The one rule: hooks of one stage run one after the other, in the order of the spec (config.md#posix-platform-hooks).
"""

import os

from . import _fastpath
from .errors import SpecError
from .jsontext import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .spec import Hook, Spec

    Operation = tuple[object, ...]

FAILED = "error running hook"  # FP_HOOK_FAILED


def state(spec: "Spec", container_id: str, status: str, pid: int) -> bytes:
    """Return the OCI state that a hook is given, as JSON; `pid` 0 = none."""
    return encode(document(spec, container_id, status, pid)).encode("utf-8", "surrogateescape")


def document(spec: "Spec", container_id: str, status: str, pid: int) -> "dict[str, object]":
    """Return the OCI state (runtime.md#state)."""
    made: dict[str, object] = {"ociVersion": spec.version, "id": container_id, "status": status}
    if pid:
        made["pid"] = pid
    return made | {"bundle": spec.bundle, "annotations": spec.annotations}


def run(hooks: "tuple[Hook, ...]", text: bytes, directory: str, stage: str) -> None:
    """Run `hooks` in the caller's namespaces, from `directory`; OSError, whose step says which one fails."""
    for number, hook in enumerate(hooks):
        argv = hook.args or (hook.path,)
        try:
            _fastpath.run_hook(hook.path, argv, _environment(hook.env), text, hook.timeout_s, directory)
        except OSError as error:
            if getattr(error, "step", "") == FAILED:
                error.step = f"error running {stage} hook #{number}"  # type: ignore[attr-defined]
            raise


def _environment(given: "Sequence[str] | None") -> "Sequence[str]":
    """Return a hook's environment: without one, as with runc, that of the command which runs it on the host."""
    if given is not None:
        return given
    from posix import environ  # as the process was given it: os.environ of an interpreter made ahead is older

    return tuple([f"{os.fsdecode(name)}={os.fsdecode(value)}" for name, value in environ.items()])


def inside(
    spec: "Spec", container_id: str, rootfs_slot: int, pid: int = 1, directory: str = ""
) -> "tuple[tuple[Operation, ...], tuple[Operation, ...]]":
    """Return the plan's operations for the hooks that urunc-init runs: createContainer's and startContainer's.

    `pid` is that of the container's process in the container's pid namespace, `directory` where the former stand, the
    bundle if it is "".  The latter are the container's: without an environment they have that of its process.
    """
    if not spec.create_container and not spec.start_container:
        return (), ()
    creating, created = (state(spec, container_id, status, pid) for status in ("creating", "created"))
    return (
        _operations("createContainer", spec.create_container, (), creating, (-1, directory or spec.bundle)),
        _operations("startContainer", spec.start_container, spec.env, created, (rootfs_slot, "/")),
    )


def inner_pid(pid: int) -> int:
    """Return the pid that the process `pid` has in its own pid namespace (proc_pid_status(5), NSpid)."""
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
        line = next(line for line in file.read(1 << 13).splitlines() if line.startswith(b"NSpid:"))
    return int(line.split()[-1])


def _operations(
    stage: str, hooks: "tuple[Hook, ...]", variables: "Sequence[str]", text: bytes, place: "tuple[int, str]"
) -> "tuple[Operation, ...]":
    slot, directory = place
    made: list[Operation] = []
    for number, hook in enumerate(hooks):
        argv, env = hook.args or (hook.path,), variables if hook.env is None else hook.env
        label = f"{stage} hook #{number}"
        made.append(("hook", slot, hook.path, argv, env, hook.timeout_s, text, directory, label))
    return tuple(made)


def load(state_fd: int) -> "dict[str, Any]":
    """Return what state.write_hooks has kept."""
    fd = os.open("hooks.json", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=state_fd)
    with open(fd, "rb", buffering=0) as file:
        kept: dict[str, Any] = decode(file.readall(), "hooks.json")  # type: ignore[assignment]
    return kept


def run_kept(  # noqa: PLR0913  what a state says, and what a failure means
    kept: "dict[str, Any]", stage: str, container_id: str, status: str, pid: int, *, strict: bool = False
) -> "tuple[str, ...]":
    """Run the kept hooks of a stage, all of them; return what is to be warned of.

    SpecError for a poststart hook that fails if `strict`, or where the bundle's version of the specification wants
    that: since 1.2 the container has to be stopped then, which is the caller's business.
    """
    document = {"ociVersion": kept["version"], "id": container_id, "status": status, "pid": pid}
    if not pid:
        del document["pid"]
    document |= {"bundle": kept["bundle"], "annotations": kept["annotations"]}
    text = encode(document).encode("utf-8", "surrogateescape")
    directory = kept["bundle"] if os.path.isdir(kept["bundle"]) else "/"
    strict = strict or (stage == "poststart" and _minor(kept["version"]) >= 2)
    warnings = []
    for number, hook in enumerate(kept[stage]):
        argv = hook["args"] or [hook["path"]]
        try:
            _fastpath.run_hook(hook["path"], argv, _environment(hook["env"]), text, hook["timeout"], directory)
        except OSError as error:
            step = getattr(error, "step", "")
            message = f"error running {stage} hook #{number}: {step}: {error.filename}"
            if step != FAILED:  # which says itself how it ended
                message += f": {os.strerror(error.errno or 0).lower()}"
            if strict:
                raise SpecError(message) from None
            warnings.append(message)
    return tuple(warnings)


def _minor(version: str) -> int:
    numbers = version.split(".")
    return int(numbers[1]) if len(numbers) > 1 and numbers[1].isdecimal() else 0


def run_last(spec: "Spec", container_id: str) -> None:
    """Run the poststop hooks of a container that never was; none of them hides the error that led here."""
    text = state(spec, container_id, "stopped", 0)
    for hook in spec.poststop:
        try:
            run((hook,), text, spec.bundle, "poststop")
        except OSError:
            continue
